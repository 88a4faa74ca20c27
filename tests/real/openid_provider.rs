//! A real identity provider, and what it can be told to do: `peers/js/oidc_provider.mjs`.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use crate::peers::tool;
use crate::signed_in::client;

/// The audience and the scope of the tokens that it issues by itself.
pub const AUDIENCE: &str = "api://roomkey";
pub const SCOPE: &str = "rooms.join";

/// A provider of this test's own, on loopback. It ends with the test.
pub struct OpenIdProvider {
    child: Child,
    /// Its issuer, as roomkey's setting has it.
    pub issuer: String,
    controls: String,
}

/// How a provider is out of service.
#[derive(Debug, Clone, Copy)]
pub enum Outage {
    /// Every connection is cut.
    Reset,
    /// Every request stays without an answer.
    Hang,
}

impl OpenIdProvider {
    /// Starts a provider and waits until it serves.
    pub fn start() -> Self {
        tool("tests/real/peers/js/node_modules/oidc-provider");
        let mut child = Command::new("node")
            .arg(tool("tests/real/peers/js/oidc_provider.mjs"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("node: {error}; `make tools` says what the tests need"));
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut line = || {
            lines
                .next()
                .unwrap_or_else(|| panic!("the provider ended before it served"))
                .unwrap()
        };
        Self {
            child,
            issuer: line(),
            controls: line(),
        }
    }

    /// A token for a user, with whatever other claims it shall have.
    pub async fn token(&self, sub: &str, mut claims: Value) -> String {
        claims["sub"] = sub.into();
        self.issued("mint", &claims).await
    }

    /// A token for a program, asked for as any program would.
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

    /// A token with any header and claims; `null` takes one of a good token's away.
    pub async fn signed(&self, header: Value, claims: Value) -> String {
        self.issued("sign", &json!({ "header": header, "claims": claims }))
            .await
    }

    /// A good token but for its signature, which is of a key that nobody publishes.
    pub async fn signed_by_another(&self) -> String {
        self.issued("sign", &json!({ "foreign": true })).await
    }

    /// Signs with a new key from now on. The old one stays published where it is kept.
    pub async fn rotate(&self, keep: bool) {
        self.control("rotate", &json!({ "keep": keep })).await;
    }

    /// Goes out of service.
    pub async fn stop(&self, outage: Outage) {
        let how = match outage {
            Outage::Reset => "reset",
            Outage::Hang => "hang",
        };
        self.control("stop", &json!({ "how": how })).await;
    }

    /// Serves again.
    pub async fn resume(&self) {
        self.control("start", &json!({})).await;
    }

    /// How often its keys were asked for.
    pub async fn key_fetches(&self) -> u64 {
        self.control("counts", &json!({})).await["keys"]
            .as_u64()
            .unwrap()
    }

    /// How often it was asked for anything.
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
async fn the_provider_signs_counts_turns_its_keys_and_fails_as_the_tests_rely_on() {
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
