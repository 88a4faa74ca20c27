//! Reads a file that an operator names, without blocking: a pipe or a device is refused instead of
//! read.

use std::fs::Metadata;
use std::io::{ErrorKind, Read};
use std::path::Path;

use crate::platform;

/// Explains why a file was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// No file has this name.
    #[error("the file does not exist")]
    Missing,
    /// It is a folder, a pipe, a socket or a device.
    #[error("it is not a regular file")]
    NotRegular,
    /// It is larger than allowed.
    #[error("the file is too large")]
    TooLarge,
    /// The process may not read it, or reading failed.
    #[error("the file cannot be read")]
    Unreadable,
}

/// Reads a regular file of at most `max_bytes`. A symbolic link to one is followed: Kubernetes
/// mounts secrets that way.
///
/// # Errors
/// [`FileError`], for anything else.
pub fn read(path: &Path, max_bytes: u64) -> Result<Vec<u8>, FileError> {
    // Checked before opening, which has side effects on some devices, and again on the open file,
    // because a pipe may have replaced it in the meantime.
    check(&std::fs::metadata(path)?)?;
    let file = platform::open_without_blocking(path)?;
    check(&file.metadata()?)?;
    let mut bytes = Vec::new();
    file.take(max_bytes + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max_bytes {
        Err(FileError::TooLarge)
    } else {
        Ok(bytes)
    }
}

fn check(metadata: &Metadata) -> Result<(), FileError> {
    if metadata.is_file() {
        Ok(())
    } else {
        Err(FileError::NotRegular)
    }
}

impl From<std::io::Error> for FileError {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == ErrorKind::NotFound {
            Self::Missing
        } else {
            Self::Unreadable
        }
    }
}
