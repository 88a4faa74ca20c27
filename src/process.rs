//! Requests of this process to the operating system: no core dumps, freed memory returned, and the
//! end of the parent process noticed.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use rustix::process::{DumpableBehavior, Pid, getppid, set_dumpable_behavior};
use tokio::time::interval;

use crate::config::environment::Environment;

/// The variable that tells glibc's allocator from which size on a block gets pages of its own.
/// Such a block returns to the system when it is freed.
const MMAP_THRESHOLD: &str = "MALLOC_MMAP_THRESHOLD_";
/// The size of hyper's buffers. Every connection has two.
const MMAP_THRESHOLD_BYTES: &str = "8192";
/// The time between two checks of the parent process.
const PARENT_CHECK_PERIOD: Duration = Duration::from_secs(1);

/// Keeps secrets in memory out of core dumps and away from debuggers of the same user.
pub fn forbid_core_dumps() {
    // A core pattern that is a pipe ignores the limit, and some systems refuse the other call. If
    // both fail, nothing has changed.
    let _ = rlimit::setrlimit(rlimit::Resource::CORE, 0, 0);
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// Restarts the program in the same process with an allocator that returns the buffers of closed
/// connections to the system. glibc reads its settings only at the start of a program. Without it
/// memory stays as high as after the largest number of connections.
///
/// It returns where the allocator is already configured, and where the restart fails.
pub fn return_freed_memory(environment: &Environment) {
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
