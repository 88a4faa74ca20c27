//! A started Azurite, Microsoft's emulator of Azure Blob Storage, and containers in it.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_lc_rs::hmac;
use azure_core::http::{ClientOptions, RetryOptions, Transport, Url};
use data_encoding::BASE64;
use roomkey::clock::Stopwatch;
use roomkey::store::blob::azure::AzureContainer;

use crate::peers::tool;
use crate::signed_in::client;

/// The emulator's one account, and the key of it that Microsoft publishes.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// An Azurite of this test's own. It listens on loopback, keeps nothing on disk and ends with the
/// test.
pub struct Azurite {
    child: Child,
    port: u16,
    containers: AtomicU32,
}

impl Azurite {
    /// Starts a server on a port of its own and waits until it answers.
    pub fn start() -> Self {
        // The server cannot be handed a socket, and a port that was free a moment ago may be taken
        // now: then another one.
        for _ in 0..5 {
            if let Some(server) = Self::try_start() {
                return server;
            }
        }
        panic!("azurite ended five times before it answered");
    }

    fn try_start() -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let script = tool("tests/real/peers/azurite/node_modules/azurite/dist/src/blob/main.js");
        let mut child = Command::new("node")
            .arg(script)
            .args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"])
            .args(["--inMemoryPersistence", "--blobHost", "127.0.0.1"])
            .args(["--blobPort", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("node: {error}; `make tools` says what is needed"));
        let began = Stopwatch::start();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            assert!(
                began.elapsed() < Duration::from_mins(1),
                "azurite does not answer"
            );
        }
        Some(Self {
            child,
            port,
            containers: AtomicU32::new(1),
        })
    }

    /// Makes a new container; its address opens it.
    pub async fn container(&self) -> Url {
        let number = self.containers.fetch_add(1, Ordering::SeqCst);
        let address = format!(
            "http://127.0.0.1:{}/{ACCOUNT}/container-{number}?{}",
            self.port,
            signature()
        );
        let create = format!("{address}&restype=container");
        let answer = client().put(create).body("").send().await.unwrap();
        assert_eq!(answer.status(), 201);
        address.parse().unwrap()
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens a container as roomkey would: one attempt, a client of ours.
pub fn opened(container: Url) -> AzureContainer {
    let options = ClientOptions {
        transport: Some(Transport::new(Arc::new(client().clone()))),
        retry: RetryOptions::none(),
        ..ClientOptions::default()
    };
    AzureContainer::new(container, None, options).unwrap()
}

/// A shared access signature of the account: blobs and containers, all rights.
fn signature() -> String {
    let (version, expiry) = ("2022-11-02", "2099-01-01T00:00:00Z");
    let text = format!("{ACCOUNT}\nrwdlac\nb\nsco\n\n{expiry}\n\n\n{version}\n\n");
    let key = hmac::Key::new(hmac::HMAC_SHA256, &BASE64.decode(KEY.as_bytes()).unwrap());
    let signature = BASE64.encode(hmac::sign(&key, text.as_bytes()).as_ref());
    let signature: String = url::form_urlencoded::byte_serialize(signature.as_bytes()).collect();
    format!("sv={version}&ss=b&srt=sco&sp=rwdlac&se={expiry}&sig={signature}")
}
