//! A started Azurite, Microsoft's emulator of Azure Blob Storage, and containers in it.

use std::future::ready;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_lc_rs::hmac;
use azure_core::http::{ClientOptions, RetryOptions, Transport, Url};
use data_encoding::BASE64;
use roomkey::clock::Stopwatch;
use roomkey::store::blob::azure::{self, AzureContainer};

use crate::fake_azure::FakeAzure;
use crate::peers::tool;
use crate::reserved_port::ReservedPort;
use crate::signed_in::client;

/// The emulator's one account, and the key of it that Microsoft publishes.
const ACCOUNT: &str = "devstoreaccount1";
const KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// An Azurite of this test's own. It listens on loopback, keeps nothing on disk and ends with the
/// test.
pub struct Azurite {
    child: Child,
    _port: ReservedPort,
    /// The address of the account.
    address: String,
    client: reqwest::Client,
    containers: AtomicU32,
}

impl Azurite {
    /// Starts a server that takes signatures, and waits until it answers.
    pub fn start() -> Self {
        let (child, port) = start(&[]);
        Self {
            child,
            address: format!("http://{}/{ACCOUNT}", port.address),
            _port: port,
            client: client().clone(),
            containers: AtomicU32::new(1),
        }
    }

    /// Starts a server that takes tokens of an identity, over TLS.
    pub fn start_for(azure: &FakeAzure) -> Self {
        let file = |name| azure.folder.path().join(name).display().to_string();
        let (cert, key) = (file("vault.pem"), file("vault.key"));
        let (child, port) = start(&["--oauth", "basic", "--cert", &cert, "--key", &key]);
        let authority = std::fs::read(&azure.authority).unwrap();
        let authority = reqwest::Certificate::from_pem(&authority).unwrap();
        let client = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only([authority])
            .resolve(&format!("{ACCOUNT}.blob.localhost"), port.address)
            .build()
            .unwrap();
        Self {
            child,
            address: format!("https://{ACCOUNT}.blob.localhost:{}", port.address.port()),
            _port: port,
            client,
            containers: AtomicU32::new(1),
        }
    }

    /// Makes a new container; its address opens it.
    pub async fn container(&self) -> Url {
        let number = self.containers.fetch_add(1, Ordering::SeqCst);
        let address = format!("{}/container-{number}?{}", self.address, signature());
        let create = format!("{address}&restype=container");
        let answer = self.client.put(create).body("").send().await.unwrap();
        assert_eq!(answer.status(), 201);
        address.parse().unwrap()
    }

    /// Returns the listing of a container with its metadata, and then the contents of its blobs.
    pub async fn contents(&self, container: &Url) -> Vec<u8> {
        let get = async |address: String| {
            let answer = self.client.get(address).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.bytes().await.unwrap()
        };
        let list = get(format!(
            "{container}&restype=container&comp=list&include=metadata"
        ))
        .await;
        let mut contents = list.to_vec();
        let list = String::from_utf8(list.to_vec()).unwrap();
        for part in list.split("<Name>").skip(1) {
            let name = part.split("</Name>").next().unwrap();
            let mut blob = container.clone();
            blob.set_path(&format!("{}/{name}", container.path()));
            contents.extend(get(blob.into()).await);
        }
        contents
    }

    /// Stops to answer, or goes on; connections stay open.
    pub fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(status.success());
    }
}

/// Starts a server on a port of its own and waits until it answers.
fn start(arguments: &[&str]) -> (Child, ReservedPort) {
    let port = ReservedPort::new();
    let script = tool("tests/real/peers/azurite/node_modules/azurite/dist/src/blob/main.js");
    let mut child = Command::new("node")
        .arg(script)
        .args(["--silent", "--disableTelemetry", "--skipApiVersionCheck"])
        .args(["--inMemoryPersistence", "--blobHost", "127.0.0.1"])
        .args(["--blobPort", &port.address.port().to_string()])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| panic!("node: {error}; `make tools` says what is needed"));
    let began = Stopwatch::start();
    while TcpStream::connect(port.address).is_err() {
        let ended = child.try_wait().unwrap();
        assert!(ended.is_none(), "azurite ended before it answered");
        assert!(
            began.elapsed() < Duration::from_mins(2),
            "azurite does not answer"
        );
    }
    (child, port)
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
    AzureContainer::new(move || ready(azure::client(container.clone(), None, options.clone())))
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
