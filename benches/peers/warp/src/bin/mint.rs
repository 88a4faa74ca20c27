//! warp and reqwest that only mint: no rules, no log lines, no deadlines, no retries, no breaker.
#![expect(clippy::disallowed_methods, reason = "roomkey's rules for testing do not bind what it is compared with")]

use std::env;
use std::time::{Duration, UNIX_EPOCH};

use reqwest::Client;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use warp::Filter;

#[derive(Deserialize)]
struct TokenRequest {
    voice: String,
}

#[derive(Deserialize)]
struct Minted {
    value: String,
    expires_at: u64,
    session: Value,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenAnswer<'a> {
    provider: &'static str,
    token: &'a str,
    expires_at: String,
    session_id: &'a str,
    model: &'a str,
    voice: &'a str,
    webrtc_url: String,
}

struct Settings {
    client: Client,
    endpoint: String,
    deployment: String,
    key: String,
}

async fn mint(settings: &Settings, request: &TokenRequest) -> warp::reply::Json {
    let body = json!({
        "expires_after": { "anchor": "created_at", "seconds": 60 },
        "session": {
            "type": "realtime", "model": settings.deployment,
            "audio": {
                "input": { "turn_detection": { "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 500 } },
                "output": { "voice": request.voice },
            },
        },
    });
    let url = format!("{}/openai/v1/realtime/client_secrets", settings.endpoint);
    let answer = settings.client.post(url).header("api-key", &settings.key).json(&body).send().await.expect("an answer");
    let minted: Minted = answer.json().await.expect("a secret");
    let expires_at = UNIX_EPOCH + Duration::from_secs(minted.expires_at);
    warp::reply::json(&TokenAnswer {
        provider: "azure-openai",
        token: &minted.value,
        expires_at: humantime::format_rfc3339_millis(expires_at).to_string(),
        session_id: minted.session["id"].as_str().unwrap_or_default(),
        model: &settings.deployment,
        voice: &request.voice,
        webrtc_url: format!("{}/openai/v1/realtime/calls?webrtcfilter=on", settings.endpoint),
    })
}

#[tokio::main]
async fn main() {
    let setting = |name| env::var(name).expect(name);
    let settings: &'static Settings = Box::leak(Box::new(Settings {
        client: Client::builder().no_proxy().build().expect("a client"),
        endpoint: setting("AZURE_OPENAI_ENDPOINT"),
        deployment: setting("AZURE_OPENAI_DEPLOYMENT"),
        key: setting("AZURE_OPENAI_API_KEY"),
    }));
    let port: u16 = setting("PORT").parse().expect("PORT");
    let token = warp::path!("api" / "token")
        .and(warp::post())
        .and(warp::body::json())
        .then(move |request: TokenRequest| async move { mint(settings, &request).await });
    warp::serve(token).run(([127, 0, 0, 1], port)).await;
}
