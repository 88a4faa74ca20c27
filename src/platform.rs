//! Everything that differs between operating systems: the signals that stop the process, its memory
//! and its parent, and the files that only their owner may read. `platform/unix.rs` and
//! `platform/windows.rs` export the same names; no other module depends on the operating system.

#[cfg_attr(unix, path = "platform/unix.rs")]
#[cfg_attr(windows, path = "platform/windows.rs")]
mod system;

pub use self::system::{
    FileIdentity, Parent, StopSignals, create_private_folder, forbid_core_dumps, identify_file,
    open_without_blocking, private_file_options, restrict_to_owner, return_freed_memory,
    sync_folder,
};
