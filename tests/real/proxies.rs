//! Proxy variables in the environment, which must not redirect keys and tokens.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::fake_azure::FakeAzure;
use crate::fake_realtime::{self, FakeRealtime};
use crate::openid_provider::OpenIdProvider;
use crate::signed_in::ask;

/// A listener that counts connections and closes them.
fn proxy() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    std::thread::spawn(move || {
        while listener.accept().is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (url, connections)
}

#[tokio::test]
async fn proxy_variables_are_ignored_for_every_upstream() {
    let (url, connections) = proxy();
    let names = [
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "http_proxy",
        "https_proxy",
        "all_proxy",
    ];
    let variables = names.map(|name| (name, url.as_str()));
    let (azure, realtime, provider) = (
        FakeAzure::start(),
        FakeRealtime::start(),
        OpenIdProvider::start(),
    );
    azure.set("livekit-api-key", "APIcanary").await;
    azure
        .set("livekit-api-secret", "a-canary-secret-of-32-bytes-or-more")
        .await;
    azure.set("openai-key", fake_realtime::API_KEY).await;
    let settings = [
        ("LIVEKIT_URL", "wss://livekit.example.com"),
        ("OPENAI_API_KEY_SECRET_NAME", "openai-key"),
        ("ROOMKEY_CALLER_AUTH", "oidc"),
        ("ROOMKEY_OIDC_ISSUER", &provider.issuer),
        ("ROOMKEY_OIDC_AUDIENCE", crate::openid_provider::AUDIENCE),
    ];
    // Azure's side of the fake gets an Entra token, OpenAI's a key from the vault.
    let upstreams = [
        azure.settings().as_slice(),
        &realtime.azure_settings(),
        &realtime.openai_settings(),
    ]
    .concat();
    let roomkey = crate::realtime::bare(&[&settings[..], &upstreams, &variables].concat());

    let bearer = provider.token("alice", json!({})).await;
    let began = roomkey::clock::Stopwatch::start();
    for body in [
        json!({ "provider": "livekit", "roomName": "standup-42" }),
        json!({ "provider": "azure-openai" }),
        json!({ "provider": "openai" }),
    ] {
        loop {
            let answer = ask(&roomkey, &bearer, &body).await;
            if answer.status == 200 {
                break;
            }
            // Repeats until the keys, the secrets and the token have been fetched.
            assert_eq!(answer.status, 503, "{body} {answer:?}");
            assert!(
                began.elapsed() < std::time::Duration::from_mins(1),
                "{body} {answer:?}"
            );
        }
    }
    assert!(
        provider.requests().await > 0
            && azure.identity_requests().await > 0
            && azure.reads("openai-key").await > 0
    );
    assert_eq!(realtime.count("mints").await, 2);
    assert_eq!(connections.load(Ordering::SeqCst), 0);

    // Another program does use the same variables.
    let mut curl = Command::new("curl");
    curl.args(["-sS", "http://upstream.invalid/"])
        .env_clear()
        .envs(variables)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    assert!(!curl.status().unwrap().success());
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}
