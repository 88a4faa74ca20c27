//! Who is measured, how each is started, and which versions that means.

use std::fs;
use std::process::Command;

use crate::exchange;

/// One server.
pub struct Peer {
    pub name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    /// Where it runs; everything is relative to roomkey's folder.
    folder: &'static str,
    /// What its answers must be.
    pub check: fn(&[u8]) -> Result<(), String>,
    versions: fn() -> String,
}

pub const ROOMKEY: &str = "roomkey";
pub const CEILING: &str = "warp, echo";
pub const SIGN: &str = "warp, sign";
pub const GO: &str = "Go";
pub const FASTIFY: &str = "Fastify";
pub const FASTAPI: &str = "FastAPI";

/// All servers, in the order in which each round visits them; roomkey first.
pub const PEERS: [Peer; 6] = [
    Peer {
        name: ROOMKEY,
        program: "dist/roomkey/handler",
        arguments: &[],
        folder: "dist/roomkey",
        check: exchange::check_token,
        versions: || {
            format!(
                "{}, {}",
                said("dist/roomkey/handler", &["--version"]),
                rust()
            )
        },
    },
    Peer {
        name: CEILING,
        program: "target/peers/x86_64-unknown-linux-gnu/release/echo",
        arguments: &[],
        folder: ".",
        check: exchange::check_echo,
        versions: warp,
    },
    Peer {
        name: SIGN,
        program: "target/peers/x86_64-unknown-linux-gnu/release/sign",
        arguments: &[],
        folder: ".",
        check: exchange::check_token,
        versions: warp,
    },
    Peer {
        name: FASTIFY,
        program: "node",
        arguments: &["benches/peers/fastify/server.mjs"],
        folder: ".",
        check: exchange::check_token,
        versions: || {
            let pins = pins(
                "benches/peers/fastify/package.json",
                |line| line.split_once("\": \""),
                &["fastify", "livekit-server-sdk"],
            );
            format!("{pins}, Node.js {}", said("node", &["--version"]))
        },
    },
    Peer {
        name: FASTAPI,
        program: "target/tools/bench-venv/bin/python",
        arguments: &["benches/peers/fastapi/server.py"],
        folder: ".",
        check: exchange::check_token,
        versions: || {
            let pins = pins(
                "benches/peers/fastapi/requirements.in",
                |line| line.split_once("=="),
                &["fastapi", "uvicorn[standard]", "livekit-api"],
            );
            format!(
                "{pins}, {}",
                said("target/tools/bench-venv/bin/python", &["--version"])
            )
        },
    },
    Peer {
        name: GO,
        program: "target/peers/go",
        arguments: &[],
        folder: ".",
        check: exchange::check_token,
        versions: || {
            let pins = pins(
                "benches/peers/go/go.mod",
                |line| line.strip_prefix("require ")?.split_once(" v"),
                &["github.com/livekit/protocol"],
            );
            format!(
                "{pins}, {}",
                said("go", &["version"]).replace("go version ", "")
            )
        },
    },
];

/// Fastify once more, for callers with a bearer.
pub const FASTIFY_JOSE: Peer = Peer {
    name: "Fastify + jose",
    program: "node",
    arguments: &["benches/peers/fastify/jose.mjs"],
    folder: ".",
    check: exchange::check_token,
    versions: || {
        let pins = pins(
            "benches/peers/fastify/package.json",
            |line| line.split_once("\": \""),
            &["fastify", "jose", "livekit-server-sdk"],
        );
        format!("{pins}, Node.js {}", said("node", &["--version"]))
    },
};

/// roomkey once more, for client secrets.
pub const ROOMKEY_MINT: Peer = Peer {
    name: "roomkey, mint",
    check: exchange::check_mint,
    ..PEERS[0]
};

/// roomkey once more, for sessions of projects.
pub const ROOMKEY_SESSION: Peer = Peer {
    name: "roomkey, session",
    check: exchange::check_session,
    ..PEERS[0]
};

/// warp and reqwest, which mint and do nothing else.
pub const WARP_MINT: Peer = Peer {
    name: "warp + reqwest, mint",
    program: "target/peers/x86_64-unknown-linux-gnu/release/mint",
    arguments: &[],
    folder: ".",
    check: exchange::check_mint,
    versions: || format!("{}, {}", locked("reqwest"), warp()),
};

/// A limit that every request of roomkey is counted against and none reaches: the widest there is.
pub const WIDE_LIMIT: &str = "1000000/100s";

impl Peer {
    /// The command that starts it on a port. Nothing of our environment reaches it but the way to
    /// its programs.
    pub fn command(&self, port: u16) -> Command {
        let is_path = self.program.contains('/');
        let program = if is_path {
            std::path::absolute(self.program).unwrap()
        } else {
            self.program.into()
        };
        let mut command = Command::new(program);
        command
            .args(self.arguments)
            .current_dir(self.folder)
            .env_clear();
        command.envs(
            ["PATH", "HOME"]
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        );
        let port = port.to_string();
        command.envs([
            ("LIVEKIT_URL", exchange::SERVER_URL),
            ("LIVEKIT_API_KEY", exchange::API_KEY),
            ("LIVEKIT_API_SECRET", exchange::API_SECRET),
            ("ROOMKEY_CALLER_AUTH", "anonymous"),
            ("ROOMKEY_RATE_LIMIT", WIDE_LIMIT),
            ("FUNCTIONS_CUSTOMHANDLER_PORT", &port),
            ("PORT", &port),
            ("NODE_ENV", "production"),
        ]);
        command
    }

    /// The versions of everything that matters to its speed.
    pub fn versions(&self) -> String {
        (self.versions)()
    }
}

fn rust() -> String {
    let rustc = said("rustc", &["--version"]);
    format!(
        "{}, {}",
        rustc.split(" (").next().unwrap_or_default(),
        said("getconf", &["GNU_LIBC_VERSION"])
    )
}

fn warp() -> String {
    format!("{}, {}, {}", locked("warp"), locked("hyper"), rust())
}

/// The version of a crate of the bare servers.
fn locked(name: &str) -> String {
    let lock = fs::read_to_string("benches/peers/warp/Cargo.lock").unwrap();
    let (_, package) = lock
        .split_once(&format!("name = \"{name}\"\nversion = \""))
        .unwrap();
    format!("{name} {}", package.split('"').next().unwrap())
}

/// The pinned versions that a file names, one a line.
fn pins(file: &str, split: fn(&str) -> Option<(&str, &str)>, names: &[&str]) -> String {
    let text = fs::read_to_string(file).unwrap();
    let pin = |name: &&str| {
        let mut pairs = text.lines().filter_map(|line| split(line.trim()));
        let (_, version) = pairs
            .find(|(found, _)| found.trim_matches('"') == *name)
            .unwrap();
        format!("{name} {}", version.trim_end_matches([',', '"']))
    };
    names.iter().map(pin).collect::<Vec<_>>().join(", ")
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
