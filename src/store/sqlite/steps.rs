//! The steps between which a process may be killed, for the tests that kill it there.

/// Marks a step. Does nothing outside the unit tests.
#[cfg(not(test))]
pub fn reached(_step: &'static str) {}

#[cfg(test)]
pub use armed::{arm, passed, reached};

#[cfg(test)]
mod armed {
    use std::sync::Mutex;

    use rustix::process::{Signal, getpid, kill_process};

    /// The steps that were passed, and at which one the process kills itself; the first has 1.
    static PASSED: Mutex<(Vec<&'static str>, usize)> = Mutex::new((Vec::new(), 0));

    /// Marks a step, at which the process may have been told to die.
    pub fn reached(step: &'static str) {
        let mut passed = PASSED.lock().unwrap();
        // Only a process that was made for dying counts, so that it does not grow in the others.
        if passed.1 == 0 {
            return;
        }
        passed.0.push(step);
        if passed.0.len() == passed.1 {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    }

    /// Lets the process kill itself at the `number`th step from now on.
    pub fn arm(number: usize) {
        *PASSED.lock().unwrap() = (Vec::new(), number);
    }

    /// The steps that were passed since [`arm`].
    pub fn passed() -> Vec<&'static str> {
        PASSED.lock().unwrap().0.clone()
    }
}
