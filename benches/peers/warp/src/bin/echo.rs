//! The ceiling: warp reads the request's JSON and answers with it, nothing else.
#![expect(clippy::disallowed_methods, reason = "roomkey's rules for testing do not bind what it is compared with")]

use serde::{Deserialize, Serialize};
use warp::Filter;

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct TokenRequest {
    room_name: String,
    participant_identity: String,
    participant_name: String,
    role: String,
    expiration_seconds: u64,
}

#[tokio::main]
async fn main() {
    let port: u16 = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).expect("PORT");
    let echo =
        warp::path!("api" / "token").and(warp::post()).and(warp::body::json()).map(|request: TokenRequest| warp::reply::json(&request));
    warp::serve(echo).run(([127, 0, 0, 1], port)).await;
}
