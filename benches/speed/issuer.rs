//! An issuer of bearer tokens, as small as can be: its key set over HTTP, and tokens signed ahead
//! of the measurement.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::UNIX_EPOCH;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use data_encoding::BASE64URL_NOPAD;
use roomkey::clock::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::exchange;

pub const AUDIENCE: &str = "api://roomkey";
pub const SCOPE: &str = "rooms.join";
const KEY_ID: &str = "k1";
/// In seconds; longer than any run.
const LIFETIME: u64 = 86_400;

/// A running issuer; it ends with the program.
pub struct Issuer {
    pub url: String,
    key: RsaKeyPair,
}

impl Issuer {
    /// Makes a key and serves its public half.
    pub fn start() -> Self {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let public = key.public_key();
        let encoded = |number: &[u8]| BASE64URL_NOPAD.encode(number);
        let (modulus, exponent) = (public.modulus(), public.exponent());
        let keys = json!({ "keys": [{
            "kty": "RSA", "use": "sig", "alg": "RS256", "kid": KEY_ID,
            "n": encoded(modulus.big_endian_without_leading_zero()), "e": encoded(exponent.big_endian_without_leading_zero()),
        }] });
        let discovery = json!({
            "issuer": url, "jwks_uri": format!("{url}/jwks"), "response_types_supported": ["token"],
            "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["RS256"],
        });
        thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that went away is no concern of the issuer's.
                let _ = stream.and_then(|stream| answer(stream, &discovery, &keys));
            }
        });
        Self { url, key }
    }

    /// Tokens of one caller that differ in nothing but their id.
    pub fn tokens(&self, count: usize) -> impl Iterator<Item = String> {
        let issued_at = SystemClock
            .now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        (0..count).map(move |id| self.token(id, issued_at))
    }

    fn token(&self, id: usize, issued_at: u64) -> String {
        let header = json!({ "alg": "RS256", "typ": "at+jwt", "kid": KEY_ID });
        let claims = json!({
            "iss": self.url, "aud": AUDIENCE, "sub": exchange::IDENTITY, "scope": SCOPE, "client_id": "bench",
            "iat": issued_at, "exp": issued_at + LIFETIME, "jti": format!("{id:032x}"),
        });
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                signed.as_bytes(),
                &mut signature,
            )
            .unwrap();
        format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
    }
}

fn answer(mut stream: TcpStream, discovery: &Value, keys: &Value) -> std::io::Result<()> {
    let (mut request, mut byte) = (Vec::new(), [0]);
    while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte)? == 1 {
        request.extend(byte);
    }
    let document = if request.starts_with(b"GET /jwks ") {
        keys
    } else {
        discovery
    }
    .to_string();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: ";
    write!(stream, "{head}{}\r\n\r\n{document}", document.len())
}
