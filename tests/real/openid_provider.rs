//! A real identity provider with its controls: `peers/js/oidc_provider.mjs`.

use std::process::{Child, Command, Stdio};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use crate::peers::tool;
use crate::process::start_script;
use crate::signed_in::client;

/// The audience and the scope of its usual tokens.
pub const AUDIENCE: &str = "api://roomkey";
pub const SCOPE: &str = "rooms.join";

/// A provider on a loopback address for this test only. It stops with the test.
pub struct OpenIdProvider {
    child: Child,
    /// Its issuer for roomkey's setting.
    pub issuer: String,
    controls: String,
}

/// The way in which a provider is out of service.
#[derive(Debug, Clone, Copy)]
pub enum Outage {
    /// Every connection is cut.
    Reset,
    /// Every request hangs.
    Hang,
}

impl OpenIdProvider {
    /// Starts a provider and waits until it serves.
    pub fn start() -> Self {
        tool("tests/real/peers/js/node_modules/oidc-provider");
        let mut command = Command::new("node");
        command
            .arg(tool("tests/real/peers/js/oidc_provider.mjs"))
            .stderr(Stdio::null());
        let (child, said) = start_script(&mut command, 2);
        let [issuer, controls] = said.try_into().unwrap();
        Self {
            child,
            issuer,
            controls,
        }
    }

    /// Returns a token for a user with further claims.
    pub async fn token(&self, sub: &str, mut claims: Value) -> String {
        claims["sub"] = sub.into();
        self.issued("mint", &claims).await
    }

    /// Requests a token for a program by client credentials.
    pub async fn client_credentials(&self) -> String {
        let form = format!(
            "grant_type=client_credentials&client_id=demo&client_secret=demo-secret&scope={SCOPE}"
        );
        let request = client()
            .post(format!("{}/token", self.issuer))
            .header("content-type", "application/x-www-form-urlencoded");
        let answer: Value = request
            .body(form)
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        answer["access_token"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"))
            .to_owned()
    }

    /// Returns a token with changed header and claims. `null` removes a member of a valid token.
    pub async fn signed(&self, header: Value, claims: Value) -> String {
        self.issued("sign", &json!({ "header": header, "claims": claims }))
            .await
    }

    /// Returns a valid token, except that an unpublished key signed it.
    pub async fn signed_by_another(&self) -> String {
        self.issued("sign", &json!({ "foreign": true })).await
    }

    /// Rotates the signing key. The old one stays published if it is kept.
    pub async fn rotate(&self, keep: bool) {
        self.control("rotate", &json!({ "keep": keep })).await;
    }

    /// Puts the provider out of service.
    pub async fn stop(&self, outage: Outage) {
        let how = match outage {
            Outage::Reset => "reset",
            Outage::Hang => "hang",
        };
        self.control("stop", &json!({ "how": how })).await;
    }

    /// Puts the provider back into service.
    pub async fn resume(&self) {
        self.control("start", &json!({})).await;
    }

    /// Returns the number of requests for its keys.
    pub async fn key_fetches(&self) -> u64 {
        self.control("counts", &json!({})).await["keys"]
            .as_u64()
            .unwrap()
    }

    /// Returns the number of all requests.
    pub async fn requests(&self) -> u64 {
        let counts = self.control("counts", &json!({})).await;
        counts
            .as_object()
            .unwrap()
            .values()
            .filter_map(Value::as_u64)
            .sum()
    }

    async fn issued(&self, control: &str, parameters: &Value) -> String {
        self.control(control, parameters).await["token"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    async fn control(&self, control: &str, parameters: &Value) -> Value {
        let answer = client()
            .post(format!("{}/{control}", self.controls))
            .json(parameters)
            .send()
            .await
            .unwrap();
        let (status, body) = (answer.status(), answer.json::<Value>().await.unwrap());
        assert_eq!(status, 200, "{control}: {body}");
        body
    }
}

impl Drop for OpenIdProvider {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_provider_signs_counts_rotates_and_fails_as_the_tests_require() {
    let provider = OpenIdProvider::start();
    let url = format!("{}/jwks", provider.issuer);
    let published =
        async || -> Option<Value> { client().get(&url).send().await.ok()?.json().await.ok() };
    let verified = async |token: &str| -> Option<Value> {
        let keys: JwkSet = serde_json::from_value(published().await?).unwrap();
        let header = jsonwebtoken::decode_header(token).unwrap();
        let key = DecodingKey::from_jwk(keys.find(&header.kid?)?).unwrap();
        let mut validation = Validation::new(Algorithm::RS256);
        validation.set_audience(&[AUDIENCE]);
        Some(
            jsonwebtoken::decode::<Value>(token, &key, &validation)
                .ok()?
                .claims,
        )
    };

    let old = provider.token("alice", json!({ "roles": ["a"] })).await;
    let claims = verified(&old).await.unwrap();
    assert_eq!(
        (&claims["sub"], &claims["scope"], &claims["roles"]),
        (&json!("alice"), &json!(SCOPE), &json!(["a"]))
    );
    assert_eq!(
        verified(&provider.client_credentials().await)
            .await
            .unwrap()["sub"],
        "demo"
    );
    assert_eq!(
        verified(&provider.signed(json!({}), json!({ "exp": 1 })).await).await,
        None
    );
    assert_eq!(verified(&provider.signed_by_another().await).await, None);

    provider.rotate(true).await;
    assert!(verified(&old).await.is_some());
    provider.rotate(false).await;
    assert_eq!(verified(&old).await, None);
    assert_eq!(
        (provider.key_fetches().await, provider.requests().await),
        (6, 7)
    );

    provider.stop(Outage::Reset).await;
    assert_eq!(published().await, None);
    provider.resume().await;
    assert!(published().await.is_some());
}
