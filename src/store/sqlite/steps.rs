//! Named points in the code at which the tests kill the process, to check that the file survives.

/// Marks a point. It does nothing outside the unit tests.
#[cfg(not(test))]
pub fn reached(_step: &'static str) {}

#[cfg(test)]
pub use armed::{arm, passed, reached};

#[cfg(test)]
mod armed {
    use std::sync::Mutex;

    use rustix::process::{Signal, getpid, kill_process};

    /// The names of the points passed so far, and the number of the point, counted from 1, at which
    /// the process kills itself; 0 means never.
    static PASSED: Mutex<(Vec<&'static str>, usize)> = Mutex::new((Vec::new(), 0));

    /// Marks a point, and kills the process if it is the armed one.
    pub fn reached(step: &'static str) {
        let mut passed = PASSED.lock().unwrap();
        // Other processes record nothing, so that the list does not grow there.
        if passed.1 == 0 {
            return;
        }
        passed.0.push(step);
        if passed.0.len() == passed.1 {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
    }

    /// Makes the process kill itself at the `number`th point from now on.
    pub fn arm(number: usize) {
        *PASSED.lock().unwrap() = (Vec::new(), number);
    }

    /// Returns the names of the points passed since [`arm`].
    pub fn passed() -> Vec<&'static str> {
        PASSED.lock().unwrap().0.clone()
    }
}
