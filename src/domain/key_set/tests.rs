//! Key sets as providers publish them, and as an attacker or a mistake might.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const MESSAGE: &[u8] = b"header.payload";

fn parse(keys: &[Value]) -> Result<KeySet, Unusable> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
}

fn b64(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

fn rsa_jwk(key: &RsaKeyPair) -> Value {
    let key = key.public_key();
    let (n, e) = (key.modulus(), key.exponent());
    json!({ "kty": "RSA", "kid": "r", "n": b64(n.big_endian_without_leading_zero()), "e": b64(e.big_endian_without_leading_zero()) })
}

fn elliptic(algorithm: &'static EcdsaSigningAlgorithm, curve: &str) -> (EcdsaKeyPair, Value) {
    let key = EcdsaKeyPair::generate(algorithm).unwrap();
    let (x, y) = key.public_key().as_ref()[1..].split_at(key.public_key().as_ref().len() / 2);
    let jwk = json!({ "kty": "EC", "kid": curve, "crv": curve, "x": b64(x), "y": b64(y) });
    (key, jwk)
}

fn edwards() -> (Ed25519KeyPair, Value) {
    let key = Ed25519KeyPair::generate().unwrap();
    let jwk = json!({ "kty": "OKP", "kid": "o", "crv": "Ed25519", "x": b64(key.public_key().as_ref()) });
    (key, jwk)
}

fn with(jwk: &Value, member: &str, value: Value) -> Value {
    let mut jwk = jwk.clone();
    jwk[member] = value;
    jwk
}

#[test]
fn each_kind_of_key_verifies_what_it_signed_and_nothing_else() {
    let random = SystemRandom::new();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let (p256, p256_jwk) = elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256");
    let (p384, p384_jwk) = elliptic(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384");
    let (ed, ed_jwk) = edwards();
    let with_rsa = |encoding: &'static dyn RsaEncoding| {
        let mut signature = vec![0; 256];
        rsa.sign(encoding, &random, MESSAGE, &mut signature).unwrap();
        signature
    };
    let set = parse(&[rsa_jwk(&rsa), p256_jwk, p384_jwk, ed_jwk]).unwrap();
    for (kid, algorithm, signature) in [
        ("r", Algorithm::Rs512, with_rsa(&RSA_PKCS1_SHA512)),
        ("r", Algorithm::Ps256, with_rsa(&RSA_PSS_SHA256)),
        ("P-256", Algorithm::Es256, p256.sign(&random, MESSAGE).unwrap().as_ref().to_vec()),
        ("P-384", Algorithm::Es384, p384.sign(&random, MESSAGE).unwrap().as_ref().to_vec()),
        ("o", Algorithm::EdDsa, ed.sign(MESSAGE).as_ref().to_vec()),
    ] {
        let key = set.find(Some(kid), algorithm).unwrap();
        assert!(key.verifies(MESSAGE, &signature), "{algorithm:?}");
        assert!(!key.verifies(b"header.payloaD", &signature), "{algorithm:?}");
        assert!(!key.verifies(MESSAGE, &[]), "{algorithm:?}");
        assert!(!key.verifies(MESSAGE, &vec![0; signature.len()]), "{algorithm:?}");
    }
    for (kid, algorithm) in [("r", Algorithm::Es256), ("P-256", Algorithm::Es384), ("P-384", Algorithm::Rs256), ("o", Algorithm::Es256)] {
        assert_eq!(set.find(Some(kid), algorithm).err(), Some(NoKey::OtherAlgorithm), "{kid}");
    }
}

#[test]
fn keys_that_must_not_verify_are_passed_over() {
    let (_, good) = edwards();
    let (_, p256) = elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256");
    let rsa = rsa_jwk(&RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
    let modulus = BASE64URL_NOPAD.decode(rsa["n"].as_str().unwrap().as_bytes()).unwrap();
    for (name, bad) in [
        ("symmetric", json!({ "kty": "oct", "kid": "x", "k": b64(&[7; 32]), "alg": "HS256" })),
        ("unknown kind", json!({ "kty": "AKP", "kid": "x" })),
        ("no kind", with(&rsa, "kty", json!(null))),
        ("for encryption", with(&rsa, "use", json!("enc"))),
        ("use of another type", with(&rsa, "use", json!(["sig"]))),
        ("operations without verify", with(&rsa, "key_ops", json!(["encrypt"]))),
        ("an algorithm of encryption", with(&rsa, "alg", json!("RSA-OAEP"))),
        ("an algorithm of another kind", with(&rsa, "alg", json!("ES256"))),
        ("a symmetric algorithm", with(&rsa, "alg", json!("HS256"))),
        ("alg of another type", with(&rsa, "alg", json!(5))),
        ("id of another type", with(&rsa, "kid", json!(5))),
        ("empty id", with(&rsa, "kid", json!(""))),
        ("long id", with(&rsa, "kid", json!("k".repeat(257)))),
        ("1024 bits", with(&rsa, "n", json!(b64(&modulus[..128])))),
        ("2047 bits", with(&rsa, "n", json!(b64(&[&[0x7f], &modulus[1..]].concat())))),
        ("padded with a zero", with(&rsa, "n", json!(b64(&[&[0], &modulus[..]].concat())))),
        ("8200 bits", with(&rsa, "n", json!(b64(&[0xff; 1025])))),
        ("exponent one", with(&rsa, "e", json!("AQ"))),
        ("even exponent", with(&rsa, "e", json!("BA"))),
        ("no exponent", with(&rsa, "e", json!(""))),
        ("huge exponent", with(&rsa, "e", json!(b64(&[0xff; 32])))),
        ("no modulus", with(&rsa, "n", json!(""))),
        ("padding", with(&rsa, "e", json!("AQAB===="))),
        ("another curve", with(&p256, "crv", json!("secp256k1"))),
        ("a curve that does not fit", with(&p256, "crv", json!("P-384"))),
        ("a point off the curve", with(&p256, "y", p256["x"].clone())),
        ("a short coordinate", with(&p256, "x", json!(b64(&[1; 31])))),
        ("another Edwards curve", with(&good, "crv", json!("X25519"))),
        ("a short Edwards key", with(&good, "x", json!(b64(&[1; 31])))),
        ("not an object", json!("key")),
    ] {
        assert_eq!(parse(std::slice::from_ref(&bad)).err(), Some(Unusable), "{name}");
        let set = parse(&[bad, with(&good, "kid", json!("good"))]).unwrap();
        assert!(set.find(Some("good"), Algorithm::EdDsa).is_ok(), "{name} locks out others");
    }
}

#[test]
fn a_key_that_says_its_algorithm_serves_no_other() {
    let jwk = rsa_jwk(&RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
    let set = parse(&[with(&jwk, "alg", json!("RS256"))]).unwrap();
    assert!(set.find(Some("r"), Algorithm::Rs256).is_ok());
    assert_eq!(set.find(Some("r"), Algorithm::Ps256).err(), Some(NoKey::OtherAlgorithm));
}

#[test]
fn a_key_without_a_name_serves_only_alone() {
    let (_, named) = edwards();
    let (_, mut nameless) = edwards();
    nameless.as_object_mut().unwrap().remove("kid");
    let alone = parse(std::slice::from_ref(&nameless)).unwrap();
    assert!(alone.find(None, Algorithm::EdDsa).is_ok() && alone.find(Some("x"), Algorithm::EdDsa).is_ok());
    let one = parse(std::slice::from_ref(&named)).unwrap();
    assert!(one.find(None, Algorithm::EdDsa).is_ok());
    assert_eq!(one.find(Some("x"), Algorithm::EdDsa).err(), Some(NoKey::UnknownId));
    assert_eq!(parse(&[nameless.clone(), nameless.clone()]).err(), Some(Unusable));
    let two = parse(&[named.clone(), with(&named, "kid", json!("p"))]).unwrap();
    assert_eq!(two.find(None, Algorithm::EdDsa).err(), Some(NoKey::Unnamed));
    assert_eq!(two.find(Some(""), Algorithm::EdDsa).err(), Some(NoKey::UnknownId));
}

#[test]
fn of_two_keys_with_one_name_the_first_counts() {
    let ((first, first_jwk), (second, second_jwk)) = (edwards(), edwards());
    let (_, elliptic) = elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256");
    let set = parse(&[first_jwk, second_jwk, with(&elliptic, "kid", json!("o"))]).unwrap();
    let key = set.find(Some("o"), Algorithm::EdDsa).unwrap();
    assert!(key.verifies(MESSAGE, first.sign(MESSAGE).as_ref()));
    assert!(!key.verifies(MESSAGE, second.sign(MESSAGE).as_ref()));
    assert!(set.find(Some("o"), Algorithm::Es256).is_ok());
}

#[test]
fn documents_that_are_no_key_set_are_refused() {
    let (_, key) = edwards();
    let large = json!({ "keys": [key], "x": "x".repeat(MAX_DOCUMENT_BYTES) }).to_string();
    for document in ["", "{}", "[]", r#"{"keys":[]}"#, r#"{"keys":{}}"#, r#"{"keys":null}"#, "<html>", &large, &format!("[{key}]")] {
        assert_eq!(KeySet::parse(document.as_bytes()).err(), Some(Unusable), "{document:.40}");
    }
    assert!(parse(&vec![key.clone(); 100]).is_ok());
    assert_eq!(parse(&vec![key; 101]).err(), Some(Unusable));
}

#[test]
fn only_registered_names_of_the_list_are_algorithms() {
    for name in ["", "none", "None", "HS256", "HS384", "HS512", "RS1", "rs256", "RS256 ", "ES512", "ES256K", "EdDSA\0", "RSA-OAEP", "dir"] {
        assert_eq!(Algorithm::parse(name), None, "{name:?}");
    }
}

proptest! {
    #[test]
    fn any_members_are_survived(kty in "(RSA|EC|OKP)", a in "[A-Za-z0-9_-]{0,90}", b in "[A-Za-z0-9_-]{0,90}", crv in "(P-256|P-384|Ed25519)") {
        drop(parse(&[json!({ "kty": kty, "crv": crv, "n": a, "e": b, "x": a, "y": b })]));
    }
}
