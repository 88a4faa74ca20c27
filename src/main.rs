//! Start, serve, stop.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use roomkey::app::App;
use roomkey::clock::SystemClock;
use roomkey::config::Config;
use roomkey::config::admin::AdminKeySource;
use roomkey::config::environment::Environment;
use roomkey::config::fault::{Fault, Faults};
use roomkey::domain::callers::admin_key::AdminKeys;
use roomkey::domain::settings::log_format::LogFormat;
use roomkey::entropy::{Entropy, SystemEntropy};
use roomkey::http::edge::ConnectionLimits;
use roomkey::http::server;
use roomkey::process::{self, Parent};
use roomkey::telemetry::{self, LogLines};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

const HELP: &str = "\
roomkey issues short-lived keys for voice in the browser.

Usage: roomkey [--check | --help | --version]

  (nothing)   serve
  --check     read the settings, say what would be served and for whom, and exit 0 or 1
  --help      this text
  --version   the version

Settings come from the environment. With none it starts in dev mode on http://127.0.0.1:7071.
docs/settings.md lists them all.
";

/// How long the end waits for work on other threads.
const SHUTDOWN: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    process::forbid_core_dumps();
    let arguments: Vec<_> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    match arguments
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .as_slice()
    {
        [] => serve(),
        ["--check"] => check(),
        ["--help" | "-h"] => say(HELP.lines()),
        ["--version" | "-V"] => say([concat!("roomkey ", env!("CARGO_PKG_VERSION"))]),
        _ => {
            complain(["unknown arguments; roomkey --help lists those it has"]);
            ExitCode::from(2)
        }
    }
}

fn check() -> ExitCode {
    match Config::read(&Environment::of_process()) {
        Ok(config) => say(config.check_lines()),
        Err(Faults { faults, .. }) => refuse(&faults),
    }
}

fn serve() -> ExitCode {
    let environment = Environment::of_process();
    process::bound_freed_memory(&environment);
    let parent = Parent::current();
    let config = match Config::read(&environment) {
        Ok(config) => config,
        Err(Faults {
            mut faults,
            address,
        }) => {
            faults.extend(
                address
                    .and_then(|address| server::bind(address).err())
                    .map(|error| bind_fault(&error)),
            );
            return refuse(&faults);
        }
    };
    let listener = match server::bind(config.address) {
        Ok(listener) => listener,
        Err(error) => return refuse(&[bind_fault(&error)]),
    };
    let format = telemetry::format(config.log.format);
    let lines = LastLines(telemetry::start(config.log.level, format));
    telemetry::log_panics();
    let runtime = Builder::new_multi_thread().enable_all().build();
    let served = runtime.map_err(Failed::from).and_then(|runtime| {
        let served = runtime.block_on(run(listener, config, format, lines.0, parent));
        // A name that is being resolved may take a resolver many seconds, and nobody waits for it
        // any more.
        runtime.shutdown_timeout(SHUTDOWN);
        served
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed::Setting(fault)) => {
            lines.0.complain(&fault.to_string());
            ExitCode::FAILURE
        }
        Err(Failed::System(error)) => {
            tracing::error!(kind = %error.kind(), "the service could not run");
            ExitCode::FAILURE
        }
    }
}

/// Lets the last lines leave when the process ends, by a panic too.
struct LastLines(&'static LogLines);

impl Drop for LastLines {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// Why it does not serve.
enum Failed {
    Setting(Fault),
    System(std::io::Error),
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        Self::System(error)
    }
}

async fn run(
    listener: std::net::TcpListener,
    mut config: Config,
    format: LogFormat,
    out: &LogLines,
    parent: Parent,
) -> Result<(), Failed> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    // Before the first line is written: whoever reads it may send a signal at once.
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let mut signals = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let started_by_host = config.hosting.started_by_host;
    let (mut lines, warning) = (
        config.start_lines(listener.local_addr()?),
        config.start_warning(),
    );
    lines.extend(dev_admin_key(&mut config));
    let app = Arc::new(
        App::new(config, Arc::new(SystemClock), Arc::new(SystemEntropy))
            .map_err(Failed::Setting)?,
    );
    announce(&lines, warning.as_deref(), format, out);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = server::serve(listener, app, ConnectionLimits::default(), async {
        let _ = stopped.await;
    });
    let signalled = async {
        signals().await;
        tracing::info!("stopping: requests in flight may finish; a second signal ends at once");
        let _ = stop.send(());
        signals().await;
    };
    tokio::select! {
        () = serving => {}
        () = signalled => {}
        // Nobody is left who could hand on an answer, and nobody who would end this process.
        () = parent.gone(), if started_by_host => tracing::warn!("stopping: the Functions host is gone"),
    }
    Ok(())
}

/// Makes an admin key for this start in dev mode, which configures none, and returns the line that
/// shows it.
fn dev_admin_key(config: &mut Config) -> Option<String> {
    let entropy: &dyn Entropy = &SystemEntropy;
    let key = BASE64URL_NOPAD.encode(&entropy.bytes::<32>());
    let keys = AdminKeys::parse(&key).ok().filter(|_| config.dev_mode)?;
    config.admin_keys = AdminKeySource::Given(keys);
    Some(format!(
        "Admin key of this start, for the header X-Admin-API-Key: {key}"
    ))
}

fn announce(lines: &[String], warning: Option<&str>, format: LogFormat, out: &LogLines) {
    match format {
        LogFormat::Text => {
            for line in lines {
                out.say(line);
            }
            if let Some(line) = warning {
                out.complain(line);
            }
        }
        LogFormat::Json => {
            for line in lines {
                tracing::info!(target: telemetry::START, "{line}");
            }
            if let Some(line) = warning {
                tracing::warn!(target: telemetry::START, "{line}");
            }
        }
    }
}

fn bind_fault(error: &std::io::Error) -> Fault {
    let (setting, remedy) = match error.kind() {
        ErrorKind::AddrInUse => (
            "FUNCTIONS_CUSTOMHANDLER_PORT",
            "the port is in use; stop the other program or choose another port",
        ),
        ErrorKind::PermissionDenied => (
            "FUNCTIONS_CUSTOMHANDLER_PORT",
            "this port needs more rights; choose one from 1024 up",
        ),
        _ => ("ROOMKEY_BIND", "this machine cannot listen on this address"),
    };
    Fault::new(setting, remedy)
}

fn refuse(faults: &[Fault]) -> ExitCode {
    complain(faults.iter().map(Fault::to_string));
    ExitCode::FAILURE
}

/// Writes lines to stdout and waits for their reader, who asked for nothing else. One that went
/// away is no reason to stop.
fn say<L: AsRef<str>>(lines: impl IntoIterator<Item = L>) -> ExitCode {
    for line in lines {
        let _ = writeln!(std::io::stdout(), "{}", line.as_ref());
    }
    ExitCode::SUCCESS
}

fn complain<L: AsRef<str>>(lines: impl IntoIterator<Item = L>) {
    for line in lines {
        let _ = writeln!(std::io::stderr(), "{}", line.as_ref());
    }
}
