//! The `roomkey` program: it starts, serves and stops.

use std::io::{ErrorKind, Write};
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use roomkey::app::App;
use roomkey::clock::SystemClock;
use roomkey::config::Config;
use roomkey::config::address;
use roomkey::config::admin::AdminKeySource;
use roomkey::config::environment::Environment;
use roomkey::config::fault::{Fault, Faults};
use roomkey::config::reader::SettingsReader;
use roomkey::domain::callers::admin_key::AdminKeys;
use roomkey::domain::settings::log_format::LogFormat;
use roomkey::entropy::{Entropy, SystemEntropy};
use roomkey::http::edge::ConnectionLimits;
use roomkey::http::{health_check, server};
use roomkey::platform::{self, Parent, StopSignals};
use roomkey::telemetry::{self, LogLines};
use tokio::runtime::Builder;

const HELP: &str = "\
roomkey issues short-lived keys for voice in the browser.

Usage: roomkey [--check | --health | --help | --version]

  (nothing)   serve
  --check     check the settings, print what would be served and for whom, exit with 0 or 1
  --health    ask the roomkey that runs with the same settings whether it is alive, exit with 0 or 1
  --help      print this text
  --version   print the version

Settings come from the environment. Without any, roomkey starts in dev mode on
http://127.0.0.1:7071. docs/settings.md lists all settings.
";

/// The longest time that a stop waits for blocking work. The resolution of a host name may take
/// many seconds, and nothing needs its result any more.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    platform::forbid_core_dumps();
    let arguments: Vec<_> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        [] => serve(),
        ["--check"] => check(),
        ["--health"] => health(),
        ["--help" | "-h"] => print_lines(HELP.lines()),
        ["--version" | "-V"] => print_lines([concat!("roomkey ", env!("CARGO_PKG_VERSION"))]),
        _ => {
            print_errors(["unknown arguments; roomkey --help lists the known ones"]);
            ExitCode::from(2)
        }
    }
}

fn check() -> ExitCode {
    match Config::read(&Environment::of_process()) {
        Ok(config) => print_lines(config.check_lines()),
        Err(Faults { faults, .. }) => fail_with(&faults),
    }
}

fn health() -> ExitCode {
    let environment = Environment::of_process();
    let mut reader = SettingsReader::new(&environment);
    let address = address::read(&mut reader);
    let Some(address) = address else {
        return fail_with(&reader.into_faults());
    };
    match health_check::ask(address) {
        Ok(()) => print_lines([format!("roomkey at http://{address} is alive")]),
        Err(error) => {
            print_errors([format!("roomkey at http://{address}: {error}")]);
            ExitCode::FAILURE
        }
    }
}

fn serve() -> ExitCode {
    let environment = Environment::of_process();
    platform::return_freed_memory(|name| environment.is_set(name));
    let parent = Parent::current();
    let (config, listener) = match read_and_bind(&environment) {
        Ok(read) => read,
        Err(faults) => return fail_with(&faults),
    };
    let format = telemetry::format(config.log.format);
    let lines = FlushOnDrop(telemetry::start(config.log.level, format));
    telemetry::log_panics();
    let runtime = Builder::new_multi_thread().enable_all().build();
    let served = runtime.map_err(ServeError::from).and_then(|runtime| {
        let served = runtime.block_on(run(listener, config, format, lines.0, parent));
        runtime.shutdown_timeout(SHUTDOWN_TIMEOUT);
        served
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(ServeError::Setting(fault)) => {
            lines.0.print_error(&fault.to_string());
            ExitCode::FAILURE
        }
        Err(ServeError::System(error)) => {
            tracing::error!(kind = %error.kind(), "the service could not run");
            ExitCode::FAILURE
        }
    }
}

/// Reads the settings and binds the address. A port in use is reported together with wrong
/// settings.
fn read_and_bind(environment: &Environment) -> Result<(Config, TcpListener), Vec<Fault>> {
    let bind = |address| server::bind(address).map_err(|error| bind_fault(&error));
    match Config::read(environment) {
        Ok(config) => match bind(config.address) {
            Ok(listener) => Ok((config, listener)),
            Err(fault) => Err(vec![fault]),
        },
        Err(Faults {
            mut faults,
            address,
        }) => {
            faults.extend(address.and_then(|address| bind(address).err()));
            Err(faults)
        }
    }
}

/// Writes the remaining log lines when the process ends, also by a panic.
struct FlushOnDrop(&'static LogLines);

impl Drop for FlushOnDrop {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// An error that ends the service.
enum ServeError {
    Setting(Fault),
    System(std::io::Error),
}

impl From<std::io::Error> for ServeError {
    fn from(error: std::io::Error) -> Self {
        Self::System(error)
    }
}

async fn run(
    listener: TcpListener,
    mut config: Config,
    format: LogFormat,
    out: &LogLines,
    parent: Parent,
) -> Result<(), ServeError> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    // Installed before the first line is written: its reader may send a signal at once.
    let mut signals = StopSignals::install()?;
    let started_by_host = config.hosting.started_by_host;
    let mut lines = config.start_lines(listener.local_addr()?);
    let warning = config.start_warning();
    lines.extend(create_dev_admin_key(&mut config));
    let app = App::new(config, Arc::new(SystemClock), Arc::new(SystemEntropy))
        .map_err(ServeError::Setting)?;
    announce(&lines, warning.as_deref(), format, out);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let limits = ConnectionLimits::default();
    let app = Arc::new(app);
    let serving = server::serve(listener, Arc::clone(&app), limits, async {
        let _ = stopped.await;
    });
    let signalled = async {
        signals.next().await;
        tracing::info!("stopping: requests in flight may finish; a second signal ends at once");
        let _ = stop.send(());
        signals.next().await;
    };
    let is_hurried = tokio::select! {
        () = serving => false,
        () = signalled => true,
        // Without that host nobody can forward a response, or end this process.
        () = parent.wait_for_exit(), if started_by_host => {
            tracing::warn!("stopping: the Functions host is gone");
            false
        }
        // It ends with the serving. An export on its way is given up; the last one has its values.
        never = app.export_metrics() => match never {},
    };
    // A second signal ends at once here too.
    tokio::select! {
        () = app.finish_exports(is_hurried) => {}
        () = signals.next() => {}
    }
    Ok(())
}

/// Creates an admin key for this start in dev mode, which configures none. Returns the line that
/// prints it.
fn create_dev_admin_key(config: &mut Config) -> Option<String> {
    let entropy: &dyn Entropy = &SystemEntropy;
    let key = BASE64URL_NOPAD.encode(&entropy.bytes::<32>());
    let keys = AdminKeys::parse(&key).ok().filter(|_| config.dev_mode)?;
    config.admin_keys = AdminKeySource::Given(keys);
    Some(format!(
        "Admin key of this start, for the header X-Admin-API-Key: {key}"
    ))
}

/// Writes the lines of a start: as text for a terminal, otherwise as log lines.
fn announce(lines: &[String], warning: Option<&str>, format: LogFormat, out: &LogLines) {
    match format {
        LogFormat::Text => {
            for line in lines {
                out.print_line(line);
            }
            if let Some(line) = warning {
                out.print_error(line);
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
    const PORT: &str = "FUNCTIONS_CUSTOMHANDLER_PORT";
    match error.kind() {
        ErrorKind::AddrInUse => Fault::new(
            PORT,
            "is in use; stop the other program or choose another port",
        ),
        ErrorKind::PermissionDenied => {
            Fault::new(PORT, "requires more privileges; choose a port from 1024 up")
        }
        _ => Fault::new("ROOMKEY_BIND", "is not an address of this machine"),
    }
}

fn fail_with(faults: &[Fault]) -> ExitCode {
    print_errors(faults.iter().map(Fault::to_string));
    ExitCode::FAILURE
}

/// Prints lines to stdout and waits for their reader. A reader that has gone away is ignored.
fn print_lines<L: AsRef<str>>(lines: impl IntoIterator<Item = L>) -> ExitCode {
    for line in lines {
        let _ = writeln!(std::io::stdout(), "{}", line.as_ref());
    }
    ExitCode::SUCCESS
}

/// Prints lines to stderr. A reader that has gone away is ignored.
fn print_errors<L: AsRef<str>>(lines: impl IntoIterator<Item = L>) {
    for line in lines {
        let _ = writeln!(std::io::stderr(), "{}", line.as_ref());
    }
}
