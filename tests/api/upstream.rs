//! A scripted Realtime upstream on a loopback address that records its requests.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::harness::NOW;

/// The text in every response of the upstream that must not reach a caller.
pub const CANARY: &str = "upstreamcanary9";

/// The behaviour of the upstream for one request.
#[derive(Clone)]
pub enum Act {
    /// Returns a new secret with a lifetime of a minute.
    Mint,
    /// Sends a status line and headers, then the body.
    Answer(&'static str, String),
    /// Sends raw bytes and closes the connection.
    Raw(String),
    /// Sends nothing and keeps the connection open.
    Hang,
    /// Sends a head and then nothing.
    HeadOnly,
    /// Closes the connection.
    Close,
}

/// A recorded request.
#[derive(Clone, Debug)]
pub struct Asked {
    pub head: String,
    pub body: Value,
}

#[derive(Default)]
struct Shared {
    acts: Mutex<VecDeque<Act>>,
    always: Mutex<Option<Act>>,
    asked: Mutex<Vec<Asked>>,
    connections: AtomicUsize,
    gone: AtomicUsize,
    minted: AtomicUsize,
    refused_keys: Mutex<Vec<String>>,
    /// The `Authorization` header with which each secret was minted.
    minted_with: Mutex<HashMap<String, String>>,
}

/// A scripted upstream that stops with the test.
pub struct Upstream {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

impl Upstream {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared: Arc<Shared> = Arc::default();
        let serving = tokio::spawn(serve(listener, Arc::clone(&shared)));
        Self {
            address,
            shared,
            serving,
        }
    }

    /// Returns the settings of a roomkey that uses it as OpenAI.
    pub fn openai(&self) -> Vec<(&'static str, String)> {
        vec![
            ("OPENAI_BASE_URL", format!("http://{}/v1/", self.address)),
            ("OPENAI_API_KEY", OPENAI_KEY.to_owned()),
        ]
    }

    /// Returns the settings of a roomkey that uses it as Azure OpenAI.
    pub fn azure(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AZURE_OPENAI_ENDPOINT", format!("http://{}/", self.address)),
            ("AZURE_OPENAI_DEPLOYMENT", "voice-deployment".to_owned()),
            ("AZURE_OPENAI_API_KEY", AZURE_KEY.to_owned()),
        ]
    }

    /// Sets the behaviour for the next request. Later ones mint, or follow [`Upstream::always`].
    pub fn next(&self, act: Act) {
        self.shared.acts.lock().unwrap().push_back(act);
    }

    /// Sets the behaviour for all requests.
    pub fn always(&self, act: Act) {
        *self.shared.always.lock().unwrap() = Some(act);
    }

    /// Returns all requests so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.asked.lock().unwrap().clone()
    }

    /// Answers every request with this key by 401.
    pub fn refuse_key(&self, key: &str) {
        let bearer = format!("Bearer {key}");
        self.shared.refused_keys.lock().unwrap().push(bearer);
    }

    /// Returns the key with which a secret was minted.
    pub fn key_of_secret(&self, secret: &str) -> String {
        let minted_with = self.shared.minted_with.lock().unwrap();
        minted_with[secret].trim_start_matches("Bearer ").to_owned()
    }

    /// Returns the number of connections so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Returns the number of hanging connections that the client closed.
    pub fn gone(&self) -> usize {
        self.shared.gone.load(Ordering::SeqCst)
    }
}

pub const OPENAI_KEY: &str = "sk-canary-openai-key-0123456789";
pub const AZURE_KEY: &str = "canary-azure-key-0123456789abcd";

impl Drop for Upstream {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Asked {
    /// Returns the value of a header, empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.head
            .lines()
            .find_map(|line| {
                line.split_once(": ")
                    .filter(|(found, _)| found.eq_ignore_ascii_case(name))
            })
            .map_or("", |(_, value)| value)
    }

    /// Returns the request line without the version.
    pub fn line(&self) -> &str {
        self.head
            .lines()
            .next()
            .unwrap()
            .trim_end_matches(" HTTP/1.1")
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        shared.connections.fetch_add(1, Ordering::SeqCst);
        tokio::spawn(converse(stream, Arc::clone(&shared)));
    }
}

async fn converse(mut stream: TcpStream, shared: Arc<Shared>) {
    while let Some(asked) = read(&mut stream).await {
        let is_mint = asked.line().starts_with("POST");
        shared.asked.lock().unwrap().push(asked.clone());
        let act = shared
            .acts
            .lock()
            .unwrap()
            .pop_front()
            .or_else(|| shared.always.lock().unwrap().clone())
            .unwrap_or(Act::Mint);
        let is_refused = |key: &String| key == asked.header("authorization");
        let act = if shared.refused_keys.lock().unwrap().iter().any(is_refused) {
            Act::Answer("401 Unauthorized", json!({ "error": CANARY }).to_string())
        } else {
            act
        };
        let (head, body) = match act {
            Act::Mint if is_mint => (
                "200 OK\r\nx-request-id: req_0123".to_owned(),
                mint(&shared, &asked),
            ),
            Act::Mint => ("200 OK".to_owned(), json!({ "data": [] }).to_string()),
            Act::Answer(head, body) => (head.to_owned(), body),
            Act::Raw(bytes) => {
                let _ = stream.write_all(bytes.as_bytes()).await;
                return;
            }
            Act::HeadOnly => {
                let _ = stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
                    .await;
                hang(&mut stream, &shared).await;
                return;
            }
            Act::Hang => {
                hang(&mut stream, &shared).await;
                return;
            }
            Act::Close => return,
        };
        let answer = format!(
            "HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn hang(stream: &mut TcpStream, shared: &Shared) {
    let mut byte = [0];
    while stream.read(&mut byte).await.is_ok_and(|read| read > 0) {}
    shared.gone.fetch_add(1, Ordering::SeqCst);
}

/// Returns a response as the vendors write it: it echoes the whole session, including parts that
/// roomkey must not pass on.
fn mint(shared: &Shared, asked: &Asked) -> String {
    let number = shared.minted.fetch_add(1, Ordering::SeqCst);
    let mut session = asked.body["session"].clone();
    session["id"] = format!("sess_{number}").into();
    session["note"] = CANARY.into();
    let secret = format!("ek_{number}");
    let key = asked.header("authorization").to_owned();
    shared
        .minted_with
        .lock()
        .unwrap()
        .insert(secret.clone(), key);
    json!({ "value": secret, "expires_at": NOW + 60, "session": session }).to_string()
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        let mut buffer = [0; 4_096];
        let read = stream
            .read(&mut buffer)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
    let mut asked = Asked {
        head,
        body: Value::Null,
    };
    let length: usize = asked.header("content-length").parse().unwrap_or(0);
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length {
        let mut buffer = [0; 4_096];
        let read = stream
            .read(&mut buffer)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        body.extend_from_slice(&buffer[..read]);
    }
    if length > 0 {
        asked.body = serde_json::from_slice(&body).unwrap();
    }
    Some(asked)
}
