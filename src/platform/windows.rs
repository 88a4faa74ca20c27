//! The platform functions of Windows.
//!
//! Files and folders get the access control list of the folder that contains them, as is usual on
//! Windows: there is no portable equivalent of a file mode.

use std::fs::{File, Metadata, OpenOptions};
use std::future::pending;
use std::io;
use std::path::Path;

use tokio::signal::windows::{
    CtrlBreak, CtrlC, CtrlClose, CtrlShutdown, ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown,
};

/// Does nothing: Windows writes a full dump of a crashed program only if an administrator has
/// configured it for this program.
pub fn forbid_core_dumps() {}

/// Does nothing: it is a setting of glibc's allocator.
pub fn return_freed_memory(_is_variable_set: impl FnOnce(&str) -> bool) {}

/// The process that started this one.
#[derive(Debug, Clone, Copy)]
pub struct Parent;

impl Parent {
    /// Returns the parent, of which nothing needs to be remembered.
    #[must_use]
    pub fn current() -> Self {
        Self
    }

    /// Waits forever: Windows ends this process together with the Functions host, which puts its
    /// workers into a job object that is closed when the host ends.
    ///
    /// # Source
    /// `JobObjectRegistry.cs` of Azure/azure-functions-host.
    pub async fn wait_for_exit(self) {
        pending::<()>().await;
    }
}

/// The events that stop the process: Ctrl+C, Ctrl+Break, a closed console window, and for a service
/// the shutdown of the system.
///
/// After the last two Windows ends the process when a few seconds have passed, whether or not
/// requests are still in flight.
#[derive(Debug)]
pub struct StopSignals {
    interrupt: CtrlC,
    break_key: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

impl StopSignals {
    /// Starts to receive the events, which from now on do not end the process by themselves.
    ///
    /// # Errors
    /// The error of the system.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            interrupt: ctrl_c()?,
            break_key: ctrl_break()?,
            close: ctrl_close()?,
            shutdown: ctrl_shutdown()?,
        })
    }

    /// Waits for the next event.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.break_key.recv() => {}
            _ = self.close.recv() => {}
            _ = self.shutdown.recv() => {}
        }
    }
}

/// Opens a file for reading. The caller has checked that it is a regular file, and a named pipe
/// cannot replace it: those have a folder of their own.
///
/// # Errors
/// The error of the system.
pub fn open_without_blocking(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Creates a folder with the access control list of its parent, and its missing parents, unless it
/// exists.
///
/// # Errors
/// The error of the system.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

/// Returns the options that create a new file for writing. It gets the access control list of its
/// folder.
#[must_use]
pub fn private_file_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    options
}

/// Does nothing: who may read the file is what the access control list of its folder says.
///
/// # Errors
/// None.
pub fn restrict_to_owner(_path: &Path, _metadata: &Metadata) -> io::Result<()> {
    Ok(())
}

/// Does nothing: a folder cannot be flushed on Windows, and NTFS keeps a journal of its changes.
///
/// # Errors
/// None.
pub fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Identifies a file on the disk. All are equal: SQLite opens its files so that they can be neither
/// removed nor replaced while they are open.
///
/// # Source
/// `winOpen` in SQLite's `os_win.c`, which does not set `FILE_SHARE_DELETE`.
#[derive(Debug, PartialEq, Eq)]
pub struct FileIdentity(());

/// Returns the identity of the file that a path currently names.
///
/// # Errors
/// The error of the system, also if no file has this name.
pub fn identify_file(path: &Path) -> io::Result<FileIdentity> {
    std::fs::metadata(path).map(|_| FileIdentity(()))
}
