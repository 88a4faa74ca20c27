//! Forged tokens, each a valid one with a single defect, for the tests of the rules and of the
//! whole service.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding};
use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

/// The id of the provider's key that signs.
pub const KEY_ID: &str = "k1";
/// The id of the provider's other key.
pub const OTHER_KEY_ID: &str = "k2";

/// The values that a valid token must contain.
pub struct Terms {
    /// The accepted issuer.
    pub issuer: String,
    /// An accepted audience.
    pub audience: String,
    /// A listed tenant, with a letter in it.
    pub tenant: String,
    /// The current time in seconds since 1970.
    pub now: i64,
}

/// A token that must be rejected.
pub struct Forgery {
    /// The defect.
    pub name: &'static str,
    /// The label of the expected rejection, so that a forgery is not rejected for another reason.
    pub reason: &'static str,
    /// The text after `Bearer `.
    pub token: String,
}

/// The two keys of an identity provider and one of an attacker.
pub struct Forge {
    good: KeyPair,
    other: KeyPair,
    attacker: KeyPair,
}

impl Forge {
    /// Generates new keys.
    pub fn new() -> Self {
        let key = || KeyPair::generate(KeySize::Rsa2048).unwrap();
        Self {
            good: key(),
            other: key(),
            attacker: key(),
        }
    }

    /// Returns the key set that the provider publishes.
    pub fn key_set(&self) -> Value {
        json!({ "keys": [jwk(&self.good, KEY_ID), jwk(&self.other, OTHER_KEY_ID)] })
    }

    /// Signs a token with the provider's key by RS256.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(&header.to_string(), &claims.to_string())
    }

    /// Signs a header and claims that need not be JSON.
    pub fn sign_text(&self, header: &str, claims: &str) -> String {
        signed(&self.good, &RSA_PKCS1_SHA256, header, claims)
    }

    /// Returns a valid token.
    pub fn good(&self, terms: &Terms) -> String {
        self.sign(&header(), &claims(terms))
    }

    /// Returns every forgery. `terms` must be those of the verifier, which must have a list of
    /// tenants.
    pub fn forgeries(&self, terms: &Terms) -> Vec<Forgery> {
        let mut forgeries = self.header_forgeries(terms);
        forgeries.extend(self.signature_forgeries(terms));
        forgeries.extend(self.claim_forgeries(terms));
        forgeries.extend(self.form_forgeries(terms));
        forgeries
    }

    #[expect(clippy::too_many_lines, reason = "one table of cases")]
    fn header_forgeries(&self, terms: &Terms) -> Vec<Forgery> {
        let claims = claims(terms);
        let attacker = jwk(&self.attacker, KEY_ID);
        let signed = |name, reason, change: Value| Forgery {
            name,
            reason,
            token: self.sign(&changed(&header(), change), &claims),
        };
        // The attacker signs, and sends or names the matching key.
        let with_own_key = |name, change: Value| Forgery {
            name,
            reason: "signature",
            token: signed_by(&self.attacker, &changed(&header(), change), &claims),
        };
        let in_text = |name, reason, header: &str| Forgery {
            name,
            reason,
            token: self.sign_text(header, &claims.to_string()),
        };
        let mut forgeries = vec![
            signed(
                "alg is none, signature kept",
                "algorithm",
                json!({ "alg": "none" }),
            ),
            signed("alg is missing", "algorithm", json!({ "alg": null })),
            signed(
                "alg is in lower case",
                "algorithm",
                json!({ "alg": "rs256" }),
            ),
            signed("alg is a number", "algorithm", json!({ "alg": 256 })),
            signed("alg is a list", "algorithm", json!({ "alg": ["RS256"] })),
            signed("alg is unknown", "algorithm", json!({ "alg": "RS1" })),
            signed(
                "alg is another one of the same key",
                "signature",
                json!({ "alg": "RS512" }),
            ),
            signed(
                "alg is PSS, signature is not",
                "signature",
                json!({ "alg": "PS256" }),
            ),
            signed(
                "alg is of another kind of key",
                "key",
                json!({ "alg": "ES256" }),
            ),
            signed("typ is empty", "type", json!({ "typ": "" })),
            signed(
                "typ is an empty media type",
                "type",
                json!({ "typ": "application/" }),
            ),
            signed("typ is JWE", "type", json!({ "typ": "JWE" })),
            signed(
                "typ is of a logout token",
                "type",
                json!({ "typ": "logout+jwt" }),
            ),
            signed(
                "typ is of a DPoP proof",
                "type",
                json!({ "typ": "dpop+jwt" }),
            ),
            signed(
                "typ is another media type",
                "type",
                json!({ "typ": "text/jwt" }),
            ),
            signed("typ is a list", "type", json!({ "typ": ["at+jwt"] })),
            signed(
                "crit names an unknown extension",
                "critical",
                json!({ "crit": ["x"], "x": 1 }),
            ),
            signed("crit is empty", "critical", json!({ "crit": [] })),
            signed(
                "b64 is false",
                "critical",
                json!({ "b64": false, "crit": ["b64"] }),
            ),
            signed(
                "b64 is false without crit",
                "critical",
                json!({ "b64": false }),
            ),
            signed(
                "kid is another key of the provider's",
                "signature",
                json!({ "kid": OTHER_KEY_ID }),
            ),
            signed("kid is unknown", "key", json!({ "kid": "k3" })),
            signed("kid is empty", "key", json!({ "kid": "" })),
            signed("kid is a path", "key", json!({ "kid": "../../dev/null" })),
            signed("kid is a number", "key", json!({ "kid": 1 })),
            signed("kid holds a line break", "key", json!({ "kid": "k1\n" })),
            signed("kid is too long", "key", json!({ "kid": "k".repeat(257) })),
            Forgery {
                name: "kid is missing and the key is not the provider's",
                reason: "signature",
                token: signed_by(
                    &self.attacker,
                    &changed(&header(), json!({ "kid": null })),
                    &claims,
                ),
            },
            with_own_key("the key is sent as jwk", json!({ "jwk": attacker })),
            with_own_key(
                "the key is at jku",
                json!({ "jku": "http://127.0.0.1:9/keys" }),
            ),
            with_own_key(
                "the certificate is at x5u",
                json!({ "x5u": "http://127.0.0.1:9/cert" }),
            ),
            with_own_key("the certificate is sent as x5c", json!({ "x5c": ["MIIB"] })),
            in_text("the header is a list", "form", r#"["RS256"]"#),
            in_text("the header is a text", "form", r#""RS256""#),
            in_text(
                "the header names alg twice",
                "form",
                r#"{"alg":"none","alg":"RS256","typ":"at+jwt","kid":"k1"}"#,
            ),
            in_text("the header is not JSON", "form", "{alg:RS256}"),
            in_text("the header is empty", "form", ""),
        ];
        for (name, is_pem) in [
            ("HS256 with the public key as secret, in PEM", true),
            ("HS256 with the public key as secret, in DER", false),
        ] {
            let der = self.good.public_key().as_ref();
            let pem = format!(
                "-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n",
                data_encoding::BASE64.encode(der)
            );
            let key = hmac::Key::new(hmac::HMAC_SHA256, if is_pem { pem.as_bytes() } else { der });
            let message = message(
                &changed(&header(), json!({ "alg": "HS256" })).to_string(),
                &claims.to_string(),
            );
            let signature = hmac::sign(&key, message.as_bytes());
            let token = format!("{message}.{}", BASE64URL_NOPAD.encode(signature.as_ref()));
            forgeries.push(Forgery {
                name,
                reason: "algorithm",
                token,
            });
        }
        forgeries
    }

    fn signature_forgeries(&self, terms: &Terms) -> Vec<Forgery> {
        let (header, claims) = (header(), claims(terms));
        let good = self.sign(&header, &claims);
        let (message_of_good, signature) = good.rsplit_once('.').unwrap();
        let mallory = changed(&claims, json!({ "sub": "mallory" }));
        let signature_of_another = self
            .sign(&header, &mallory)
            .rsplit_once('.')
            .unwrap()
            .1
            .to_owned();
        let with_signature = |name, bytes: &[u8]| Forgery {
            name,
            reason: "signature",
            token: format!("{message_of_good}.{}", BASE64URL_NOPAD.encode(bytes)),
        };
        let bytes = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
        let mut flipped = bytes.clone();
        flipped[100] ^= 1;
        let plain = |name, reason, token| Forgery {
            name,
            reason,
            token,
        };
        let none = message(
            &json!({ "alg": "none", "typ": "JWT" }).to_string(),
            &claims.to_string(),
        );
        vec![
            plain(
                "a valid token signed with the wrong key",
                "signature",
                signed_by(&self.attacker, &header, &claims),
            ),
            plain(
                "signed with PSS, alg says RS256",
                "signature",
                signed(
                    &self.good,
                    &RSA_PSS_SHA256,
                    &header.to_string(),
                    &claims.to_string(),
                ),
            ),
            plain(
                "the payload is swapped",
                "signature",
                format!(
                    "{}.{signature}",
                    message(&header.to_string(), &mallory.to_string())
                ),
            ),
            plain(
                "the signature of another token",
                "signature",
                format!("{message_of_good}.{signature_of_another}"),
            ),
            plain(
                "the signature is removed",
                "signature",
                format!("{message_of_good}."),
            ),
            plain(
                "alg is none, signature removed",
                "algorithm",
                format!("{none}."),
            ),
            with_signature("one bit of the signature is flipped", &flipped),
            with_signature("the signature is truncated", &bytes[..255]),
            with_signature("the signature is longer", &[&bytes[..], &[0]].concat()),
            with_signature("the signature is all zeros", &[0; 256]),
            with_signature("the signature is one byte", &[1]),
        ]
    }

    #[expect(clippy::too_many_lines, reason = "one table of cases")]
    fn claim_forgeries(&self, terms: &Terms) -> Vec<Forgery> {
        let (header, claims) = (header(), claims(terms));
        let (now, issuer, audience) = (terms.now, terms.issuer.as_str(), terms.audience.as_str());
        let signed = |name, reason, change: Value| Forgery {
            name,
            reason,
            token: self.sign(&header, &changed(&claims, change)),
        };
        let in_text = |name, claims: &str| Forgery {
            name,
            reason: "claims",
            token: self.sign_text(&header.to_string(), claims),
        };
        let half_a_second_late: Value = serde_json::from_str(&format!("{}.5", now - 61)).unwrap();
        let doubled = claims.to_string().replacen('{', r#"{"sub":"mallory","#, 1);
        vec![
            signed("exp is missing", "claims", json!({ "exp": null })),
            signed(
                "exp is text",
                "claims",
                json!({ "exp": (now + 600).to_string() }),
            ),
            signed("exp is below zero", "claims", json!({ "exp": -1 })),
            signed("exp is true", "claims", json!({ "exp": true })),
            signed("exp is a list", "claims", json!({ "exp": [now + 600] })),
            signed("exp passed 61 s ago", "expired", json!({ "exp": now - 61 })),
            signed(
                "exp passed 60.5 s ago",
                "expired",
                json!({ "exp": half_a_second_late }),
            ),
            signed("exp is zero", "expired", json!({ "exp": 0 })),
            signed(
                "exp is in milliseconds",
                "claims",
                json!({ "exp": (now + 600) * 1_000 }),
            ),
            signed(
                "exp is past the year 9999",
                "claims",
                json!({ "exp": 253_402_300_800_u64 }),
            ),
            signed(
                "exp is the largest number",
                "claims",
                json!({ "exp": u64::MAX }),
            ),
            signed("exp is 1e300", "claims", json!({ "exp": 1e300 })),
            signed("nbf is 61 s ahead", "too_early", json!({ "nbf": now + 61 })),
            signed("nbf is text", "claims", json!({ "nbf": now.to_string() })),
            signed("iat is 61 s ahead", "too_early", json!({ "iat": now + 61 })),
            signed("iat is text", "claims", json!({ "iat": now.to_string() })),
            signed("iss is missing", "issuer", json!({ "iss": null })),
            signed(
                "iss is another",
                "issuer",
                json!({ "iss": "https://evil.example" }),
            ),
            signed(
                "iss has an extra slash",
                "issuer",
                json!({ "iss": format!("{issuer}/") }),
            ),
            signed(
                "iss lacks a slash",
                "issuer",
                json!({ "iss": issuer.replacen("//", "/", 1) }),
            ),
            signed(
                "iss has another case",
                "issuer",
                json!({ "iss": issuer.to_uppercase() }),
            ),
            signed(
                "iss is a longer one",
                "issuer",
                json!({ "iss": format!("{issuer}.evil.example") }),
            ),
            signed("iss is a list", "issuer", json!({ "iss": [issuer] })),
            signed("iss is empty", "issuer", json!({ "iss": "" })),
            signed(
                "iss is Entra's version 1",
                "issuer",
                json!({ "iss": format!("https://sts.windows.net/{}/", terms.tenant) }),
            ),
            signed("tid is missing", "tenant", json!({ "tid": null })),
            signed(
                "tid is another tenant",
                "tenant",
                json!({ "tid": "99999999-2222-3333-4444-555555555555" }),
            ),
            signed(
                "tid has another case",
                "tenant",
                json!({ "tid": terms.tenant.to_uppercase() }),
            ),
            signed("tid is a list", "tenant", json!({ "tid": [terms.tenant] })),
            signed("aud is missing", "audience", json!({ "aud": null })),
            signed("aud is another", "audience", json!({ "aud": "other" })),
            signed(
                "aud is a longer one",
                "audience",
                json!({ "aud": format!("{audience}/") }),
            ),
            signed("aud is an empty list", "audience", json!({ "aud": [] })),
            signed(
                "aud is a list without ours",
                "audience",
                json!({ "aud": ["a", "b"] }),
            ),
            signed(
                "aud is a list with more than texts",
                "audience",
                json!({ "aud": [audience, 5] }),
            ),
            signed(
                "aud contains ours among other words",
                "audience",
                json!({ "aud": format!("other {audience}") }),
            ),
            signed(
                "aud is an object",
                "audience",
                json!({ "aud": { "aud": audience } }),
            ),
            signed("sub is missing", "claims", json!({ "sub": null })),
            signed("sub is empty", "claims", json!({ "sub": "" })),
            signed("sub is a number", "claims", json!({ "sub": 5 })),
            signed("sub is a list", "claims", json!({ "sub": ["alice"] })),
            signed("sub holds a NUL", "claims", json!({ "sub": "alice\0" })),
            signed(
                "sub is too long",
                "claims",
                json!({ "sub": "a".repeat(256) }),
            ),
            in_text("a claim occurs twice", &doubled),
            in_text("the claims are a list", &format!("[{claims}]")),
            in_text("the claims are a text", r#""alice""#),
            in_text("the claims are not JSON", "sub=alice"),
            in_text("the claims are empty", ""),
            in_text("something follows the claims", &format!("{claims}{{}}")),
        ]
    }

    fn form_forgeries(&self, terms: &Terms) -> Vec<Forgery> {
        let good = self.good(terms);
        let [header, claims, signature] = [0, 1, 2].map(|part| good.split('.').nth(part).unwrap());
        let plain = |name, reason, token| Forgery {
            name,
            reason,
            token,
        };
        // 256 bytes make 342 characters, of which the last has four unused bits.
        let changed_end = if good.ends_with('A') { "B" } else { "_" };
        vec![
            plain("nothing", "credentials", String::new()),
            plain("one part", "form", header.to_owned()),
            plain("two parts", "form", format!("{header}.{claims}")),
            plain("four parts", "form", format!("{good}.{signature}")),
            plain(
                "five parts, as an encrypted one has",
                "form",
                format!("{header}.{claims}.{claims}.{claims}.{signature}"),
            ),
            plain("an empty header", "form", format!(".{claims}.{signature}")),
            plain(
                "an empty payload",
                "signature",
                format!("{header}..{signature}"),
            ),
            plain("padding after the signature", "form", format!("{good}==")),
            plain(
                "padding after the header",
                "form",
                format!("{header}=.{claims}.{signature}"),
            ),
            plain(
                "base64 with + instead of base64url",
                "form",
                format!("{header}.{claims}.+{}", &signature[1..]),
            ),
            plain(
                "unused bits are set at the end",
                "form",
                format!("{}{changed_end}", &good[..good.len() - 1]),
            ),
            plain(
                "a space inside",
                "credentials",
                format!("{header}. {claims}.{signature}"),
            ),
            plain("a tab at the end", "credentials", format!("{good}\t")),
            plain("two tokens", "credentials", format!("{good} {good}")),
            plain(
                "two tokens with a comma",
                "credentials",
                format!("{good},{good}"),
            ),
            plain("quoted", "credentials", format!("\"{good}\"")),
            plain("the scheme twice", "credentials", format!("Bearer {good}")),
            plain("larger than 16 KiB", "too_long", "a".repeat(16 * 1024 + 1)),
        ]
    }
}

/// Returns the header of a valid token.
pub fn header() -> Value {
    json!({ "alg": "RS256", "typ": "at+jwt", "kid": KEY_ID })
}

/// Returns the claims of a valid token.
pub fn claims(terms: &Terms) -> Value {
    json!({
        "iss": terms.issuer, "aud": terms.audience, "sub": "alice", "tid": terms.tenant,
        "iat": terms.now, "nbf": terms.now, "exp": terms.now + 600,
        "scope": "openid rooms.join", "jti": "1",
    })
}

/// Returns `base` with members set, or removed by null.
pub fn changed(base: &Value, change: Value) -> Value {
    let (mut changed, Value::Object(change)) = (base.clone(), change) else {
        panic!("not an object")
    };
    for (member, value) in change {
        let members = changed.as_object_mut().unwrap();
        match value {
            Value::Null => drop(members.remove(&member)),
            value => drop(members.insert(member, value)),
        }
    }
    changed
}

fn jwk(key: &KeyPair, key_id: &str) -> Value {
    let key = key.public_key();
    let [n, e] = [
        key.modulus().big_endian_without_leading_zero(),
        key.exponent().big_endian_without_leading_zero(),
    ]
    .map(|bytes| BASE64URL_NOPAD.encode(bytes));
    json!({ "kty": "RSA", "use": "sig", "kid": key_id, "n": n, "e": e })
}

fn message(header: &str, claims: &str) -> String {
    format!(
        "{}.{}",
        BASE64URL_NOPAD.encode(header.as_bytes()),
        BASE64URL_NOPAD.encode(claims.as_bytes())
    )
}

fn signed_by(key: &KeyPair, header: &Value, claims: &Value) -> String {
    signed(
        key,
        &RSA_PKCS1_SHA256,
        &header.to_string(),
        &claims.to_string(),
    )
}

fn signed(key: &KeyPair, encoding: &'static dyn RsaEncoding, header: &str, claims: &str) -> String {
    let message = message(header, claims);
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(
        encoding,
        &SystemRandom::new(),
        message.as_bytes(),
        &mut signature,
    )
    .unwrap();
    format!("{message}.{}", BASE64URL_NOPAD.encode(&signature))
}
