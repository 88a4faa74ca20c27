//! Valid tokens, key sets and discovery documents of real providers that a stricter implementation
//! would reject.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Method, StatusCode};
use roomkey::clock::{Clock, Stopwatch};
use serde_json::{Value, json};

use crate::forgery::{KEY_ID, OTHER_KEY_ID, changed, claims, header};
use crate::harness::{Answer, NOW, TestApp};
use crate::issuer::{FORGE, Issuer, Manner};

const JSON: (&str, &[u8]) = ("content-type", b"application/json");
const BODY: &[u8] = br#"{"roomName":"r"}"#;

async fn ask(app: &TestApp, token: &str) -> Answer {
    app.send(
        Method::POST,
        "/api/token",
        &[
            JSON,
            ("authorization", format!("Bearer {token}").as_bytes()),
        ],
        Some(BODY),
    )
    .await
}

async fn metrics(app: &TestApp) -> String {
    app.metrics().await.text
}

/// Returns a valid token with changed header and claims. Null removes a member.
fn token(issuer: &Issuer, of_header: Value, of_claims: Value) -> String {
    FORGE.sign(
        &changed(&header(), of_header),
        &changed(&claims(&issuer.terms), of_claims),
    )
}

#[tokio::test]
async fn tokens_of_real_providers_are_accepted() {
    let issuer = Issuer::start().await;
    let app = issuer.app(&[]);
    let groups: Vec<_> = (0..200)
        .map(|n| format!("{n:08}-aaaa-bbbb-cccc-dddddddddddd"))
        .collect();
    let large = token(&issuer, json!({}), json!({ "groups": groups }));
    assert!(
        (10 * 1024..16 * 1024).contains(&large.len()),
        "{}",
        large.len()
    );
    let largest = token(&issuer, json!({}), json!({ "x": "x".repeat(11_600) }));
    assert!(
        (15_900..=16 * 1024).contains(&largest.len()),
        "{}",
        largest.len()
    );
    let odd_claim = claims(&issuer.terms).to_string().replacen(
        '{',
        r#"{"name":"\ud83d","address":{"a":1,"a":2},"#,
        1,
    );
    for (token, what) in [
        (large, "200 groups"),
        (largest, "nearly 16 KiB"),
        (token(&issuer, json!({ "typ": null }), json!({})), "no typ"),
        (
            token(&issuer, json!({ "typ": "application/at+JWT" }), json!({})),
            "typ as a media type",
        ),
        (
            token(&issuer, json!({ "kid": null }), json!({})),
            "no key id among two keys",
        ),
        (
            token(&issuer, json!({}), json!({ "exp": 253_402_300_799_u64 })),
            "an end in the year 9999",
        ),
        (
            token(
                &issuer,
                json!({}),
                json!({ "exp": 1.7e9 + 600.5, "iat": 1.7e9, "nbf": 1.7e9 }),
            ),
            "fractions",
        ),
        (
            token(&issuer, json!({}), json!({ "nbf": -62_135_596_800_i64 })),
            "no beginning, as .NET writes it",
        ),
        (
            token(
                &issuer,
                json!({}),
                json!({ "aud": ["x", "api://roomkey", null] }),
            ),
            "several audiences",
        ),
        (
            token(
                &issuer,
                json!({}),
                json!({ "scope": null, "scp": ["x", "rooms.join", null] }),
            ),
            "scopes as a list",
        ),
        (
            FORGE.sign_text(&header().to_string(), &odd_claim),
            "claims that are broken and that nobody needs",
        ),
    ] {
        let answer = ask(&app, &token).await;
        assert_eq!(
            (answer.status, what),
            (StatusCode::OK, what),
            "{}",
            answer.text
        );
    }
    for scheme in ["bearer", "BEARER", "bEaReR"] {
        let value = format!("{scheme} {}", issuer.token(json!({})));
        let answer = app
            .send(
                Method::POST,
                "/api/token",
                &[JSON, ("authorization", value.as_bytes())],
                Some(BODY),
            )
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{scheme}");
    }
}

#[tokio::test]
async fn nulls_and_broken_entries_do_not_affect_the_rest_of_a_key_set() {
    let issuer = Issuer::start().await;
    let mut keys = FORGE.key_set();
    let modulus = data_encoding::BASE64URL_NOPAD
        .decode(keys["keys"][0]["n"].as_str().unwrap().as_bytes())
        .unwrap();
    keys["keys"][0]["n"] =
        json!(data_encoding::BASE64URL_NOPAD.encode(&[&[0][..], &modulus].concat()));
    keys["keys"][0]["alg"] = json!(null);
    keys["keys"].as_array_mut().unwrap().extend([
        json!({
            "kty": "RSA", "use": "enc", "kid": "e", "alg": "RSA-OAEP", "n": "AQAB", "e": "AQAB",
        }),
        json!({ "kty": "oct", "kid": "s", "k": "AQAB" }),
        json!({ "kty": "EC", "crv": "P-521", "kid": "p", "x": "AQAB", "y": "AQAB" }),
        json!({ "kty": "RSA", "kid": "weak", "n": "AQAB", "e": "AQAB" }),
        json!(null),
    ]);
    let broken = r#"{"keys":[{"kid":"twice","kid":"twice"},{"kid":"\ud800","kty":"RSA"},"#;
    issuer.publish(format!(
        "\u{feff}{}",
        keys.to_string().replacen(r#"{"keys":["#, broken, 1)
    ));
    let app = issuer.app(&[]);
    for key_id in [KEY_ID.into(), Value::Null] {
        assert_eq!(
            ask(&app, &token(&issuer, json!({ "kid": key_id }), json!({})))
                .await
                .status,
            StatusCode::OK,
            "{key_id}"
        );
    }
    let seen = metrics(&app).await;
    assert!(
        seen.contains("\nroomkey_oidc_keys_unreadable 4\n"),
        "{seen}"
    );
}

#[tokio::test]
async fn a_discovery_document_elsewhere_must_name_the_same_issuer() {
    let manner = Manner {
        discovery_at: Some("/b2c/v2.0/.well-known/openid-configuration?p=B2C_1_signin"),
        ..Manner::default()
    };
    let issuer = Issuer::start_with(manner).await;
    let url = format!("{}{}", issuer.terms.issuer, manner.discovery_at.unwrap());
    let app = issuer.app(&[("ROOMKEY_OIDC_DISCOVERY_URL", &url)]);
    assert_eq!(
        ask(&app, &issuer.token(json!({}))).await.status,
        StatusCode::OK
    );
    let elsewhere = Issuer::start().await;
    let app = elsewhere.app(&[("ROOMKEY_OIDC_DISCOVERY_URL", &url)]);
    assert_eq!(
        ask(&app, &elsewhere.token(json!({}))).await.code(),
        "auth_unavailable",
        "it speaks for another issuer"
    );
    assert!(
        app.log().contains(r#""cause":"discovery""#),
        "{}",
        app.log()
    );
    assert_eq!(elsewhere.asked(), 0);
}

#[tokio::test]
async fn the_first_caller_waits_for_two_slow_documents() {
    let latency = Duration::from_millis(1_100);
    // A caller waits for 3 s at most, which a busy machine may use up.
    for _ in 0..5 {
        let issuer = Issuer::start_with(Manner {
            latency,
            ..Manner::default()
        })
        .await;
        let app = issuer.app(&[]);
        let began = Stopwatch::start();
        let answer = ask(&app, &issuer.token(json!({}))).await;
        assert!(began.elapsed() >= 2 * latency && issuer.asked() == 2);
        if began.elapsed() < Duration::from_secs(3) {
            assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
            return;
        }
    }
    panic!("the documents never came within 3 s");
}

#[tokio::test]
async fn roles_are_also_read_from_the_operators_claim() {
    let issuer = Issuer::start().await;
    let keycloak =
        json!({ "scope": "openid", "realm_access": { "roles": ["rooms.join", "Roomkey.Admin"] } });
    let auth0 = json!({ "scope": "openid", "permissions": ["rooms.join", "Roomkey.Admin"] });
    let namespaced =
        json!({ "scope": "openid", "https://example.com/roles": ["rooms.join", "Roomkey.Admin"] });
    for (path, claims) in [
        ("realm_access.roles", keycloak),
        ("permissions", auth0),
        ("https://example.com/roles", namespaced),
    ] {
        let bearer = issuer.token(claims);
        let app = issuer.app(&[("ROOMKEY_ROLES_CLAIM", path)]);
        assert_eq!(ask(&app, &bearer).await.status, StatusCode::OK, "{path}");
        let bearer = format!("Bearer {bearer}");
        let seen = app
            .send(
                Method::GET,
                "/api/metrics",
                &[("authorization", bearer.as_bytes())],
                None,
            )
            .await;
        assert_eq!(
            seen.status,
            StatusCode::OK,
            "{path} opens the operators' routes"
        );
        let without = issuer.app(&[]);
        let answer = without
            .send(
                Method::POST,
                "/api/token",
                &[JSON, ("authorization", bearer.as_bytes())],
                Some(BODY),
            )
            .await;
        assert_eq!(answer.code(), "insufficient_scope", "{path}");
    }
}

/// A clock that advances by a millisecond with each reading.
#[derive(Default)]
struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(NOW * 1_000 + self.0.fetch_add(1, Ordering::SeqCst))
    }
}

#[tokio::test]
async fn a_withdrawn_key_invalidates_the_tokens_that_it_signed() {
    let issuer = Issuer::start().await;
    let app = issuer.app_with(&[], Some(Arc::new(Ticking::default())));
    let alice = issuer.token(json!({}));
    for _ in 0..2 {
        assert_eq!(
            ask(&app, &alice).await.status,
            StatusCode::OK,
            "checked, and then remembered"
        );
    }
    let mut keys = FORGE.key_set();
    keys["keys"]
        .as_array_mut()
        .unwrap()
        .retain(|key| key["kid"] == OTHER_KEY_ID);
    issuer.publish(keys.to_string());
    assert_eq!(
        ask(&app, &alice).await.status,
        StatusCode::OK,
        "nobody has asked for newer keys"
    );
    let unknown = token(&issuer, json!({ "kid": "unknown" }), json!({}));
    assert_eq!(ask(&app, &unknown).await.code(), "unauthenticated");
    assert_eq!(issuer.asked(), 4, "it has caused a look-up");
    for token in [alice, issuer.token(json!({ "jti": "2" }))] {
        assert_eq!(ask(&app, &token).await.code(), "unauthenticated");
    }
}

#[tokio::test]
async fn a_provider_without_key_ids_may_rotate_its_key() {
    let issuer = Issuer::start().await;
    let nameless = |key_id: &str| {
        let mut keys = FORGE.key_set();
        keys["keys"]
            .as_array_mut()
            .unwrap()
            .retain(|key| key["kid"] == key_id);
        keys["keys"][0].as_object_mut().unwrap().remove("kid");
        keys.to_string()
    };
    issuer.publish(nameless(OTHER_KEY_ID));
    let app = issuer.app(&[]);
    let bearer = token(&issuer, json!({ "kid": null }), json!({}));
    assert_eq!(
        ask(&app, &bearer).await.code(),
        "unauthenticated",
        "signed by a key that is not published yet"
    );
    assert_eq!(issuer.asked(), 4, "a newer key was looked for");
    issuer.publish(nameless(KEY_ID));
    let app = issuer.app(&[]);
    assert_eq!(ask(&app, &bearer).await.status, StatusCode::OK);
    assert_eq!(
        ask(&app, &token(&issuer, json!({}), json!({})))
            .await
            .status,
        StatusCode::OK,
        "named in the token only"
    );
}

#[tokio::test]
async fn a_token_that_azures_front_end_put_in_place_is_rejected_as_platform_token() {
    let issuer = Issuer::start().await;
    let app = issuer.app(&[]);
    assert_eq!(
        ask(&app, &issuer.token(json!({}))).await.status,
        StatusCode::OK
    );
    let asked = issuer.asked();
    for iss in [
        "https://calm-sea-1.2.azurestaticapps.net/.auth",
        "https://0a1b.scm.azurewebsites.net",
    ] {
        for header in [
            json!({ "kid": "unknown" }),
            json!({ "alg": "HS256" }),
            json!({}),
        ] {
            assert_eq!(
                ask(&app, &token(&issuer, header, json!({ "iss": iss })))
                    .await
                    .code(),
                "unauthenticated"
            );
        }
    }
    let log = app.log();
    assert_eq!(
        log.matches(r#""cause":"platform_token""#).count(),
        6,
        "{log}"
    );
    assert_eq!(
        issuer.asked(),
        asked,
        "no key of such a token is looked for"
    );
    assert!(
        metrics(&app)
            .await
            .contains("roomkey_auth_rejected_total{reason=\"platform_token\"} 6\n")
    );
}
