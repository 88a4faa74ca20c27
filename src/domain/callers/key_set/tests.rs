//! Tests of key sets: those that providers publish, hostile ones and broken ones.

use std::slice;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
    EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
};
use data_encoding::BASE64URL_NOPAD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const MESSAGE: &[u8] = b"header.payload";

fn parse(keys: &[Value]) -> Result<KeySet, KeySetError> {
    KeySet::parse(json!({ "keys": keys }).to_string().as_bytes())
}

fn b64(bytes: &[u8]) -> String {
    BASE64URL_NOPAD.encode(bytes)
}

fn rsa_jwk(key: &RsaKeyPair) -> Value {
    let key = key.public_key();
    let (n, e) = (key.modulus(), key.exponent());
    json!({
        "kty": "RSA",
        "kid": "r",
        "n": b64(n.big_endian_without_leading_zero()),
        "e": b64(e.big_endian_without_leading_zero()),
    })
}

fn elliptic(algorithm: &'static EcdsaSigningAlgorithm, curve: &str) -> (EcdsaKeyPair, Value) {
    let key = EcdsaKeyPair::generate(algorithm).unwrap();
    let (x, y) = key.public_key().as_ref()[1..].split_at(key.public_key().as_ref().len() / 2);
    let jwk = json!({ "kty": "EC", "kid": curve, "crv": curve, "x": b64(x), "y": b64(y) });
    (key, jwk)
}

fn edwards() -> (Ed25519KeyPair, Value) {
    let key = Ed25519KeyPair::generate().unwrap();
    let jwk =
        json!({ "kty": "OKP", "kid": "o", "crv": "Ed25519", "x": b64(key.public_key().as_ref()) });
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
        rsa.sign(encoding, &random, MESSAGE, &mut signature)
            .unwrap();
        signature
    };
    let set = parse(&[rsa_jwk(&rsa), p256_jwk, p384_jwk, ed_jwk]).unwrap();
    for (kid, algorithm, signature) in [
        ("r", Algorithm::Rs512, with_rsa(&RSA_PKCS1_SHA512)),
        ("r", Algorithm::Ps256, with_rsa(&RSA_PSS_SHA256)),
        (
            "P-256",
            Algorithm::Es256,
            p256.sign(&random, MESSAGE).unwrap().as_ref().to_vec(),
        ),
        (
            "P-384",
            Algorithm::Es384,
            p384.sign(&random, MESSAGE).unwrap().as_ref().to_vec(),
        ),
        ("o", Algorithm::EdDsa, ed.sign(MESSAGE).as_ref().to_vec()),
    ] {
        let found = set.find(Some(kid), algorithm).unwrap();
        let [key] = found.iter().collect::<Vec<_>>()[..] else {
            panic!("{algorithm:?}")
        };
        assert!(
            found.are_named && key.verifies(MESSAGE, &signature),
            "{algorithm:?}"
        );
        assert!(
            !key.verifies(b"header.payloaD", &signature),
            "{algorithm:?}"
        );
        assert!(!key.verifies(MESSAGE, &[]), "{algorithm:?}");
        assert!(
            !key.verifies(MESSAGE, &vec![0; signature.len()]),
            "{algorithm:?}"
        );
    }
    for (kid, algorithm) in [
        ("r", Algorithm::Es256),
        ("P-256", Algorithm::Es384),
        ("P-384", Algorithm::Rs256),
        ("o", Algorithm::Es256),
    ] {
        assert_eq!(
            set.find(Some(kid), algorithm).err(),
            Some(KeySelectionError::OtherAlgorithm),
            "{kid}"
        );
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one table of cases")]
fn unusable_entries_are_skipped_and_broken_ones_are_counted() {
    let (_, good) = edwards();
    let (_, p256) = elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256");
    let rsa = rsa_jwk(&RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
    let modulus = BASE64URL_NOPAD
        .decode(rsa["n"].as_str().unwrap().as_bytes())
        .unwrap();
    let mut certificate_only = with(&rsa, "x5c", json!(["MIIB"]));
    certificate_only
        .as_object_mut()
        .unwrap()
        .retain(|member, _| member != "n" && member != "e");
    let not_applicable = [
        (
            "symmetric",
            json!({ "kty": "oct", "kid": "x", "k": b64(&[7; 32]), "alg": "HS256" }),
        ),
        ("unknown kind", json!({ "kty": "AKP", "kid": "x" })),
        ("for encryption", with(&rsa, "use", json!("enc"))),
        (
            "for encryption, and broken",
            with(&with(&rsa, "use", json!("enc")), "n", json!("x")),
        ),
        (
            "operations without verify",
            with(&rsa, "key_ops", json!(["encrypt"])),
        ),
        ("no operations", with(&rsa, "key_ops", json!([]))),
        (
            "an encryption algorithm",
            with(&rsa, "alg", json!("RSA-OAEP")),
        ),
        ("a symmetric algorithm", with(&rsa, "alg", json!("HS256"))),
        ("another curve", with(&p256, "crv", json!("secp256k1"))),
        ("a curve of 521 bits", with(&p256, "crv", json!("P-521"))),
        ("a curve for agreement", with(&good, "crv", json!("X25519"))),
        ("another Edwards curve", with(&good, "crv", json!("Ed448"))),
    ];
    let unreadable = [
        ("no kind", with(&rsa, "kty", json!(null))),
        ("a kind of another type", with(&rsa, "kty", json!(["RSA"]))),
        ("use of another type", with(&rsa, "use", json!(["sig"]))),
        (
            "operations of another type",
            with(&rsa, "key_ops", json!("verify")),
        ),
        (
            "an algorithm of another kind",
            with(&rsa, "alg", json!("ES256")),
        ),
        ("alg of another type", with(&rsa, "alg", json!(5))),
        ("id of another type", with(&rsa, "kid", json!(5))),
        ("empty id", with(&rsa, "kid", json!(""))),
        ("long id", with(&rsa, "kid", json!("k".repeat(257)))),
        ("a certificate only", certificate_only),
        ("1024 bits", with(&rsa, "n", json!(b64(&modulus[..128])))),
        (
            "2047 bits",
            with(&rsa, "n", json!(b64(&[&[0x7f], &modulus[1..]].concat()))),
        ),
        (
            "zeros before 1024 bits",
            with(
                &rsa,
                "n",
                json!(b64(&[&[0; 128], &modulus[..128]].concat())),
            ),
        ),
        ("8200 bits", with(&rsa, "n", json!(b64(&[0xff; 1025])))),
        ("exponent one", with(&rsa, "e", json!("AQ"))),
        ("exponent one behind zeros", with(&rsa, "e", json!("AAAB"))),
        ("exponent zero", with(&rsa, "e", json!("AA"))),
        ("even exponent", with(&rsa, "e", json!("BA"))),
        ("no exponent", with(&rsa, "e", json!(""))),
        ("huge exponent", with(&rsa, "e", json!(b64(&[0xff; 32])))),
        ("no modulus", with(&rsa, "n", json!(""))),
        ("a modulus of another type", with(&rsa, "n", json!(5))),
        ("a modulus that is no base64", with(&rsa, "n", json!("a b"))),
        ("no curve", with(&p256, "crv", json!(null))),
        (
            "a curve that does not fit",
            with(&p256, "crv", json!("P-384")),
        ),
        ("a point off the curve", with(&p256, "y", p256["x"].clone())),
        ("a long coordinate", with(&p256, "x", json!(b64(&[1; 33])))),
        ("no coordinate", with(&p256, "x", json!(null))),
        (
            "a short Edwards key",
            with(&good, "x", json!(b64(&[1; 31]))),
        ),
        ("not an object", json!("key")),
        ("nothing", json!(null)),
    ];
    let all = not_applicable
        .into_iter()
        .map(|bad| (bad, 0))
        .chain(unreadable.into_iter().map(|bad| (bad, 1)));
    for ((name, bad), counted) in all {
        assert_eq!(
            parse(slice::from_ref(&bad)).err(),
            Some(KeySetError),
            "{name}"
        );
        let set = parse(&[bad, with(&good, "kid", json!("good"))]).unwrap();
        assert!(
            set.find(Some("good"), Algorithm::EdDsa).is_ok(),
            "{name} locks out others"
        );
        assert_eq!(set.unreadable_entries(), counted, "{name}");
    }
}

#[test]
fn harmless_deviations_of_real_libraries_are_accepted() {
    let random = SystemRandom::new();
    let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let mut signature = vec![0; 256];
    rsa.sign(&RSA_PKCS1_SHA512, &random, MESSAGE, &mut signature)
        .unwrap();
    let jwk = rsa_jwk(&rsa);
    let raw = |member: &str| {
        BASE64URL_NOPAD
            .decode(jwk[member].as_str().unwrap().as_bytes())
            .unwrap()
    };
    let plain = BASE64URL_NOPAD
        .encode(&raw("n"))
        .replace('-', "+")
        .replace('_', "/");
    for (name, key) in [
        (
            "a modulus with the sign byte",
            with(&jwk, "n", json!(b64(&[&[0][..], &raw("n")].concat()))),
        ),
        (
            "a modulus with several zeros",
            with(&jwk, "n", json!(b64(&[&[0; 8][..], &raw("n")].concat()))),
        ),
        (
            "an exponent of four bytes",
            with(&jwk, "e", json!(b64(&[&[0][..], &raw("e")].concat()))),
        ),
        (
            "base64 of the other alphabet",
            with(&jwk, "n", json!(plain)),
        ),
        (
            "padding",
            with(
                &with(&jwk, "e", json!("AQAB====")),
                "n",
                json!(format!("{}==", jwk["n"].as_str().unwrap())),
            ),
        ),
        (
            "nulls",
            with(
                &with(
                    &with(&with(&jwk, "use", json!(null)), "alg", json!(null)),
                    "key_ops",
                    json!(null),
                ),
                "x5c",
                json!(null),
            ),
        ),
        (
            "unrelated members",
            with(&with(&jwk, "x5c", json!(["MIIB"])), "exp", json!(1e300)),
        ),
        (
            "several operations",
            with(&jwk, "key_ops", json!(["sign", "verify"])),
        ),
        ("a purpose", with(&jwk, "use", json!("sig"))),
    ] {
        let set = parse(slice::from_ref(&key)).unwrap_or_else(|_| panic!("{name}"));
        let found = set.find(Some("r"), Algorithm::Rs512).unwrap();
        assert!(
            found.iter().all(|key| key.verifies(MESSAGE, &signature))
                && set.unreadable_entries() == 0,
            "{name}"
        );
    }
    // A coordinate begins with a zero in one key of 256.
    let (key, mut jwk, x) = std::iter::repeat_with(|| {
        let (key, jwk) = elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256");
        let x = BASE64URL_NOPAD
            .decode(jwk["x"].as_str().unwrap().as_bytes())
            .unwrap();
        (key, jwk, x)
    })
    .find(|(_, _, x)| x[0] == 0)
    .unwrap();
    let signature = key.sign(&random, MESSAGE).unwrap();
    for x in [&x[..], &x[1..], &[&[0], &x[..]].concat()] {
        jwk["x"] = json!(b64(x));
        let found = parse(slice::from_ref(&jwk))
            .unwrap()
            .find(Some("P-256"), Algorithm::Es256)
            .unwrap();
        assert!(
            found
                .iter()
                .any(|key| key.verifies(MESSAGE, signature.as_ref())),
            "{} bytes",
            x.len()
        );
    }
}

#[test]
fn an_entry_that_is_not_strict_json_does_not_affect_the_others() {
    let (_, good) = edwards();
    for invalid in [
        r#"{"kid":"a","kid":"b"}"#,
        r#"{"kid":"\ud800","kty":"RSA"}"#,
        r#"{"kty":"RSA","n":1e999}"#,
        "[[]]",
        "5",
    ] {
        let document = format!(r#"{{"keys":[{invalid},{good}],"x":{{"y":1,"y":2}}}}"#);
        let set = KeySet::parse(document.as_bytes()).unwrap_or_else(|_| panic!("{invalid}"));
        assert!(set.find(Some("o"), Algorithm::EdDsa).is_ok(), "{invalid}");
        assert_eq!(set.unreadable_entries(), 1, "{invalid}");
    }
}

#[test]
fn a_key_that_names_its_algorithm_is_used_with_no_other() {
    let jwk = rsa_jwk(&RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
    let set = parse(&[with(&jwk, "alg", json!("RS256"))]).unwrap();
    assert!(set.find(Some("r"), Algorithm::Rs256).is_ok());
    assert_eq!(
        set.find(Some("r"), Algorithm::Ps256).err(),
        Some(KeySelectionError::OtherAlgorithm)
    );
}

#[test]
fn without_a_key_id_at_most_eight_keys_of_the_algorithm_are_tried() {
    let (_, named) = edwards();
    let (_, mut unnamed) = edwards();
    unnamed.as_object_mut().unwrap().remove("kid");
    let (_, elliptic) = elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256");
    let found = |keys: &[Value], id: Option<&str>, algorithm| {
        parse(keys)
            .unwrap()
            .find(id, algorithm)
            .map(|found| (found.iter().count(), found.are_named))
    };
    let all = [named.clone(), unnamed.clone(), elliptic.clone()];
    for (keys, id, expected) in [
        (&all[..], Some("o"), Ok((1, true))),
        (&all, Some("x"), Ok((1, false))),
        (&all, Some("P-256"), Err(KeySelectionError::OtherAlgorithm)),
        (&all, None, Ok((2, false))),
        (&all[..1], None, Ok((1, false))),
        (&all[..1], Some("x"), Err(KeySelectionError::UnknownId)),
        (&all[1..2], Some("x"), Ok((1, false))),
        (&all[1..2], None, Ok((1, false))),
        (&all[2..], None, Err(KeySelectionError::OtherAlgorithm)),
        (&vec![unnamed.clone(); 20], None, Ok((8, false))),
        (&vec![unnamed.clone(); 20], Some("x"), Ok((8, false))),
        (&vec![named.clone(); 20], None, Ok((8, false))),
        (&vec![named; 20], Some("o"), Ok((8, true))),
    ] {
        assert_eq!(
            found(keys, id, Algorithm::EdDsa),
            expected,
            "{} {id:?}",
            keys.len()
        );
    }
}

#[test]
fn every_key_with_the_same_id_is_tried() {
    let ((first, first_jwk), (second, second_jwk)) = (edwards(), edwards());
    let (_, elliptic) = elliptic(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256");
    let set = parse(&[first_jwk, second_jwk, with(&elliptic, "kid", json!("o"))]).unwrap();
    let found = set.find(Some("o"), Algorithm::EdDsa).unwrap();
    for signer in [first, second] {
        assert_eq!(
            found
                .iter()
                .filter(|key| key.verifies(MESSAGE, signer.sign(MESSAGE).as_ref()))
                .count(),
            1
        );
    }
    assert!(set.find(Some("o"), Algorithm::Es256).is_ok());
}

#[test]
fn documents_that_are_not_a_key_set_are_rejected() {
    let (_, key) = edwards();
    let large = json!({ "keys": [key], "x": "x".repeat(MAX_DOCUMENT_BYTES) }).to_string();
    for document in [
        "",
        "{}",
        "[]",
        r#"{"keys":[]}"#,
        r#"{"keys":{}}"#,
        r#"{"keys":null}"#,
        "<html>",
        &large,
        &format!("[{key}]"),
    ] {
        assert_eq!(
            KeySet::parse(document.as_bytes()).err(),
            Some(KeySetError),
            "{document:.40}"
        );
    }
    assert_eq!(
        parse(&vec![key.clone(); 100]).unwrap().unreadable_entries(),
        0
    );
    let many = parse(&[vec![json!({}); 200], vec![key; 130]].concat()).unwrap();
    assert_eq!(
        (many.entries.len(), many.unreadable_entries()),
        (100, 230),
        "entries past the limit are skipped"
    );
}

#[test]
fn only_the_listed_registered_names_are_algorithms() {
    for name in [
        "", "none", "None", "HS256", "HS384", "HS512", "RS1", "rs256", "RS256 ", "ES512", "ES256K",
        "EdDSA\0", "ed25519", "Ed448", "RSA-OAEP", "dir",
    ] {
        assert_eq!(Algorithm::parse(name), None, "{name:?}");
    }
    assert_eq!(
        [Algorithm::parse("EdDSA"), Algorithm::parse("Ed25519")],
        [Some(Algorithm::EdDsa); 2]
    );
    let (_, key) = edwards();
    for name in ["EdDSA", "Ed25519"] {
        assert!(
            parse(&[with(&key, "alg", json!(name))])
                .unwrap()
                .find(Some("o"), Algorithm::EdDsa)
                .is_ok(),
            "{name}"
        );
    }
}

proptest! {
    #[test]
    fn arbitrary_members_never_panic(
        kty in "(RSA|EC|OKP)",
        a in "[A-Za-z0-9_-]{0,90}",
        b in "[A-Za-z0-9_-]{0,90}",
        crv in "(P-256|P-384|Ed25519)",
    ) {
        drop(parse(&[json!({ "kty": kty, "crv": crv, "n": a, "e": b, "x": a, "y": b })]));
    }
}
