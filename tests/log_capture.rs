//! Captures log lines in tests. Shared by the unit tests and those of the whole service.

use std::io::Write;
use std::sync::{Arc, Mutex};

/// The log lines that were written while it was the writer of a subscriber.
#[derive(Debug, Clone, Default)]
pub struct LogCapture(Arc<Mutex<Vec<u8>>>);

impl LogCapture {
    /// Returns a writer for a subscriber.
    pub fn writer(&self) -> impl Fn() -> Self + Send + Sync + 'static {
        let capture = self.clone();
        move || capture.clone()
    }

    /// Returns all lines so far.
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for LogCapture {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
