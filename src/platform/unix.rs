//! The platform functions of Linux and macOS.

use std::fs::{DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, getppid};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::interval;

/// The variable that tells glibc's allocator from which size on a block gets pages of its own.
/// Such a block returns to the system when it is freed.
const MMAP_THRESHOLD: &str = "MALLOC_MMAP_THRESHOLD_";
/// The size of hyper's buffers. Every connection has two.
const MMAP_THRESHOLD_BYTES: &str = "8192";
/// The time between two checks of the parent process.
const PARENT_CHECK_PERIOD: Duration = Duration::from_secs(1);

/// The access rights of a folder that only its owner may use.
const PRIVATE_FOLDER: u32 = 0o700;
/// The access rights of a file that only its owner may use.
const PRIVATE_FILE: u32 = 0o600;
/// The access rights of everyone except the owner.
const RIGHTS_OF_OTHERS: u32 = 0o077;

/// Keeps secrets in memory out of core dumps and away from debuggers of the same user.
pub fn forbid_core_dumps() {
    // A core pattern that is a pipe ignores the limit, and some systems refuse the other call. If
    // both fail, nothing has changed.
    let _ = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0);
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
}

/// Restarts the program in the same process with an allocator that returns the buffers of closed
/// connections to the system. glibc reads its settings only at the start of a program. Without it
/// memory stays as high as after the largest number of connections.
///
/// It returns where the allocator is already configured, as `is_variable_set` tells, where it is
/// not glibc's, and where the restart fails.
pub fn return_freed_memory(is_variable_set: impl FnOnce(&str) -> bool) {
    if !cfg!(target_os = "linux") || is_variable_set(MMAP_THRESHOLD) {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        let mut command = Command::new(program);
        command
            .args(std::env::args_os().skip(1))
            .env(MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES);
        if let Some(name) = std::env::args_os().next() {
            command.arg0(name);
        }
        // It returns only with an error. Then the program goes on as it is.
        let _ = command.exec();
    }
}

/// The process that started this one.
#[derive(Debug, Clone, Copy)]
pub struct Parent(Option<Pid>);

impl Parent {
    /// Remembers the current parent. It must be called early: a parent that has ended before is not
    /// noticed.
    #[must_use]
    pub fn current() -> Self {
        Self(getppid())
    }

    /// Waits until the parent has ended. A parent-death signal does not serve: it is sent when the
    /// thread that started this process ends.
    pub async fn wait_for_exit(self) {
        let mut ticks = interval(PARENT_CHECK_PERIOD);
        while getppid() == self.0 {
            ticks.tick().await;
        }
    }
}

/// The signals that stop the process: SIGTERM and SIGINT.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Starts to receive the signals, which from now on do not end the process by themselves.
    ///
    /// # Errors
    /// The error of the system.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next signal.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Opens a file for reading without blocking, even if it is a pipe.
///
/// # Errors
/// The error of the system.
pub fn open_without_blocking(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

/// Creates a folder that only its owner may use, and its missing parents, unless it exists.
///
/// # Errors
/// The error of the system.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(PRIVATE_FOLDER)
        .create(path)
}

/// Returns the options that create a new file for writing which only its owner may use.
#[must_use]
pub fn private_file_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(PRIVATE_FILE);
    options
}

/// Removes the access rights of others from an existing file.
///
/// # Errors
/// The error of the system.
pub fn restrict_to_owner(path: &Path, metadata: &Metadata) -> io::Result<()> {
    if metadata.mode() & RIGHTS_OF_OTHERS == 0 {
        return Ok(());
    }
    std::fs::set_permissions(path, Permissions::from_mode(PRIVATE_FILE))
}

/// Writes the names of a folder's files to the disk, so that a new file survives a power failure.
///
/// # Errors
/// The error of the system.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Identifies a file on the disk, to detect that another file replaced it.
#[derive(Debug, PartialEq, Eq)]
pub struct FileIdentity {
    device: u64,
    inode: u64,
}

/// Returns the identity of the file that a path currently names.
///
/// # Errors
/// The error of the system, also if no file has this name.
pub fn identify_file(path: &Path) -> io::Result<FileIdentity> {
    let metadata = std::fs::metadata(path)?;
    Ok(FileIdentity {
        device: metadata.dev(),
        inode: metadata.ino(),
    })
}
