//! What the program asks of the operating system for its own process: no core dumps, freed memory
//! back, and whether the process that started it is still there.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::process::{DumpableBehavior, Pid, getppid, set_dumpable_behavior};
use tokio::time::interval;

use crate::config::environment::Environment;

/// The setting of glibc's allocator from which size on a block has pages of its own, which go back
/// to the system when it is freed.
const MMAP_THRESHOLD: &str = "MALLOC_MMAP_THRESHOLD_";

/// The size of hyper's buffers, two of which every connection has.
const MMAP_THRESHOLD_BYTES: &str = "8192";

/// Keeps secrets in memory out of core dumps and away from debuggers of the same user.
pub fn forbid_core_dumps() {
    // A core pattern that is a pipe ignores the limit, and some systems refuse the other; failing
    // at both leaves what was before.
    let _ = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0);
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Starts the program once more in the same process, with an allocator that gives the buffers of
/// closed connections back to the system; glibc reads its settings at the start only. Without it
/// memory stays as high as 4,000 connections once made it. Returns where that was done already, by
/// whomever, and where it cannot be done.
pub fn bound_freed_memory(environment: &Environment) {
    if environment.is_set(MMAP_THRESHOLD) {
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
        // Returns only with an error, and then the program serves as it is.
        let _ = command.exec();
    }
}

/// How often the parent is looked for.
const PARENT_PERIOD: Duration = Duration::from_secs(1);

/// The process that started this one.
#[derive(Debug, Clone, Copy)]
pub struct Parent(Option<Pid>);

impl Parent {
    /// Remembers which process that is. Called early: a parent that has ended before cannot be told
    /// from one that has not.
    #[must_use]
    pub fn current() -> Self {
        Self(getppid())
    }

    /// Waits until it has ended. A signal at the parent's death would not do: it comes when the
    /// thread that started this process ends.
    pub async fn gone(self) {
        let mut ticks = interval(PARENT_PERIOD);
        while getppid() == self.0 {
            ticks.tick().await;
        }
    }
}
