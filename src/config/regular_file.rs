//! Reads a file that an operator names, without ever waiting for it: a pipe or a device is refused
//! instead of read.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Why a file was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// There is no file of this name.
    Missing,
    /// It is a folder, a pipe, a socket or a device.
    NotRegular,
    /// It has more bytes than it may.
    TooLarge,
    /// The process may not read it, or reading failed.
    Failed,
}

/// Reads a regular file of at most `max_bytes`. A symbolic link to one is followed: Kubernetes
/// mounts secrets that way.
///
/// # Errors
/// [`Unreadable`], when it is anything else.
pub fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, Unreadable> {
    // Before it is opened, which has effects of its own on some devices, and once more on what was
    // opened.
    check(&std::fs::metadata(path)?)?;
    let file = open(path)?;
    check(&file.metadata()?)?;
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        Err(Unreadable::TooLarge)
    } else {
        Ok(bytes)
    }
}

/// Never waits for the other end of a pipe that took the file's place in between.
fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
}

fn check(metadata: &Metadata) -> Result<(), Unreadable> {
    if metadata.is_file() {
        Ok(())
    } else {
        Err(Unreadable::NotRegular)
    }
}

impl From<std::io::Error> for Unreadable {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == ErrorKind::NotFound {
            Self::Missing
        } else {
            Self::Failed
        }
    }
}
