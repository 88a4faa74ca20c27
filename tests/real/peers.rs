//! The installed peers, a LiveKit server, and tokens to present to them.

use std::io::Write;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use roomkey::clock::{Clock, Stopwatch, SystemClock};
use roomkey::domain::livekit::access_token::{Attachments, JoinGrant, Role, Signer};
use roomkey::domain::livekit::lifetime::Validity;
use roomkey::domain::livekit::names::{ParticipantIdentity, RoomName};
use roomkey::domain::livekit::participant_name::ParticipantName;
use serde_json::Value;

use crate::process::{Roomkey, client};
use crate::reserved_port::ReservedPort;

/// A key that only the tests use.
pub const API_KEY: &str = "APIrealparts";
pub const API_SECRET: &str = "a-throw-away-secret-of-32-bytes-or-more";

/// Returns the path of an installed tool.
pub fn tool(path: &str) -> PathBuf {
    let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    assert!(
        tool.exists(),
        "{path} is missing: `make tools` installs it, and `make test` does that first"
    );
    tool
}

/// A LiveKit server for this test only. It listens on loopback addresses and stops with the test.
pub struct LiveKitServer {
    child: Child,
    pub url: String,
    _port: ReservedPort,
    _folder: tempfile::TempDir,
}

impl LiveKitServer {
    /// Starts a server and waits until it serves.
    pub async fn start() -> Self {
        // A port for UDP cannot be reserved, and one that was free a moment ago may be taken by now.
        // Then another one is tried.
        for _ in 0..5 {
            if let Some(server) = Self::try_start().await {
                return server;
            }
        }
        panic!("livekit-server ended five times before it answered");
    }

    async fn try_start() -> Option<Self> {
        let port = ReservedPort::new();
        let udp_port = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("livekit.yaml");
        let text = format!(
            "port: {}\nbind_addresses: [127.0.0.1]\nkeys: {{ {API_KEY}: {API_SECRET} }}\n\
             logging: {{ level: error }}\n\
             rtc: {{ node_ip: 127.0.0.1, use_external_ip: false, enable_loopback_candidate: true, \
             interfaces: {{ includes: [lo] }}, tcp_port: 0, udp_port: {udp_port}, \
             stun_servers: [\"127.0.0.1:9\"] }}\n",
            port.address.port()
        );
        std::fs::write(&config, text).unwrap();
        // Its error messages go to the test's own stderr.
        let mut command = Command::new(tool("target/tools/bin/livekit-server"));
        let child = command
            .arg("--config")
            .arg(&config)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut server = Self {
            child,
            url: format!("http://{}", port.address),
            _port: port,
            _folder: folder,
        };
        let began = Stopwatch::start();
        while client().get(&server.url).send().await.is_err() {
            if server.child.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(
                began.elapsed() < Duration::from_mins(1),
                "livekit-server does not answer"
            );
        }
        Some(server)
    }

    /// Asks the server to validate a token without a join.
    pub async fn validate(&self, token: &str) -> (u16, String) {
        let answer = client()
            .get(format!("{}/rtc/validate", self.url))
            .bearer_auth(token)
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }
}

impl Drop for LiveKitServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a roomkey that signs with the tests' key.
pub fn roomkey(settings: &[(&str, &str)]) -> Roomkey {
    let base = [
        ("FUNCTIONS_CUSTOMHANDLER_PORT", "0"),
        ("LIVEKIT_URL", "wss://livekit.example.com"),
        ("LIVEKIT_API_KEY", API_KEY),
        ("LIVEKIT_API_SECRET", API_SECRET),
        ("ROOMKEY_CALLER_AUTH", "anonymous"),
    ];
    Roomkey::start(
        Path::new(env!("CARGO_BIN_EXE_roomkey")),
        Path::new(env!("CARGO_MANIFEST_DIR")),
        &[&base, settings].concat(),
    )
}

/// Requests a token from roomkey.
pub async fn token(roomkey: &Roomkey, path: &str, body: &Value) -> String {
    let answer: Value = client()
        .post(format!("{}{path}", roomkey.url))
        .json(body)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let token = answer.get("token").or(answer.get("participant_token"));
    token
        .and_then(Value::as_str)
        .unwrap_or_else(|| panic!("{answer}"))
        .to_owned()
}

/// Signs a token as roomkey does, with any key and any times: `expires_in` is in seconds from now,
/// negative for the past.
pub fn signed(api_key: &str, api_secret: &str, expires_in: i64) -> String {
    let now = SystemClock
        .now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let expires_at = now.saturating_add_signed(expires_in);
    let grant = JoinGrant {
        room_name: RoomName::parse("standup-42").unwrap(),
        participant_identity: ParticipantIdentity::parse("alice").unwrap(),
        participant_name: ParticipantName::parse("Alice").unwrap(),
        role: Role::Speaker,
        attachments: Attachments::default(),
    };
    let signer = Signer::new(api_key.into(), &api_secret.into());
    let Ok(token) = signer.sign(
        &grant,
        Validity {
            issued_at: expires_at - 600,
            expires_at,
        },
        uuid::Uuid::nil(),
    ) else {
        panic!("a token could not be signed");
    };
    serde_json::to_value(token)
        .unwrap()
        .as_str()
        .unwrap()
        .to_owned()
}

/// Returns the token with one changed claim and the old signature.
pub fn tampered(token: &str) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let parts: Vec<_> = token.split('.').collect();
    let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    let changed = claims.replacen(r#""canPublishData":false"#, r#""canPublishData":true"#, 1);
    assert_ne!(claims, changed);
    format!(
        "{}.{}.{}",
        parts[0],
        URL_SAFE_NO_PAD.encode(changed),
        parts[2]
    )
}

/// Runs one of the peers' scripts with `input` on stdin and returns the JSON that it prints.
pub fn script(program: &str, arguments: &[&str], input: &str) -> Value {
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("{program}: {error}; `make tools` installs what the tests need")
        });
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}
