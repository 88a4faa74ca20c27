//! The packaged app under the Functions host's rules (`host.rs` simulates them), in both of the
//! host's modes.

use http::{HeaderMap, Method, StatusCode};
use serde_json::Value;

use crate::host::{Host, Mode};
use crate::package::unpacked;
use crate::process::client;

/// Makes a test of each function for each mode, so that the mode is in the test's name.
macro_rules! in_both_modes {
    ($($test:ident)*) => {
        mod forwarding {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::host::Mode::Forwarding).await;
            })*
        }
        mod proxying {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(crate::host::Mode::Proxying).await;
            })*
        }
    };
}

mod early;
mod heads;
mod hostile;
mod life;
mod load;
mod paths;
mod requests;

/// A host in dev mode: no setting but what every custom handler has.
async fn start(mode: Mode) -> Host {
    start_with(mode, &[]).await
}

/// The same, with more settings.
async fn start_with(mode: Mode, settings: &[(&str, &str)]) -> Host {
    let usual = [
        ("FUNCTIONS_WORKER_RUNTIME", "custom"),
        ("AzureWebJobsDisableHomepage", "true"),
        ("ROOMKEY_RATE_LIMIT", "off"),
    ];
    Host::start(unpacked(), mode, &[&usual, settings].concat()).await
}

/// One answer.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

impl Answer {
    async fn of(request: reqwest::RequestBuilder) -> Self {
        let answer = request.send().await.unwrap();
        Self {
            status: answer.status(),
            headers: answer.headers().clone(),
            text: answer.text().await.unwrap(),
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// A list, whether it came as one line or as several.
    fn list(&self, name: &str) -> Option<String> {
        let lines: Vec<_> = self
            .headers
            .get_all(name)
            .iter()
            .map(|value| value.to_str().unwrap())
            .collect();
        (!lines.is_empty()).then(|| lines.join(", "))
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// An answer that did not come from the handler: no body, no request id.
    fn is_the_hosts_own(&self, status: StatusCode) -> bool {
        self.status == status && self.text.is_empty() && self.header("x-request-id").is_none()
    }
}

fn request(host: &Host, method: Method, path: &str) -> reqwest::RequestBuilder {
    client().request(method, format!("{}{path}", host.url))
}

fn post(host: &Host, path: &str, body: impl Into<reqwest::Body>) -> reqwest::RequestBuilder {
    request(host, Method::POST, path)
        .header("content-type", "application/json")
        .body(body)
}

/// The room that a token opens.
fn room(token: &str) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let claims = URL_SAFE_NO_PAD
        .decode(token.split('.').nth(1).unwrap())
        .unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    claims
        .pointer("/video/room")
        .and_then(Value::as_str)
        .unwrap()
        .to_owned()
}
