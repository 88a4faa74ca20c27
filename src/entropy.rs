//! The only source of randomness. Everything else gets an [`Entropy`] as a parameter, so that tests
//! can seed it.

use rand::Rng;
use uuid::{Builder, Uuid};

/// A source of random bytes for identifiers that must not be guessable.
pub trait Entropy: Send + Sync {
    /// Fills all of `bytes` with random values.
    fn fill(&self, bytes: &mut [u8]);
}

/// The thread's generator, a `ChaCha` stream seeded and reseeded by the operating system.
#[derive(Debug, Clone, Copy)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    #[expect(clippy::disallowed_methods, reason = "this is the home of randomness")]
    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

/// Seeds the random generator of the TLS library. Otherwise the first handshake seeds it, which
/// takes about 25 ms of CPU on a thread that serves requests. It is called on another thread before
/// the first connection.
pub fn prepare_for_tls() {
    // If it fails, the handshake fails too and reports it.
    let _ = aws_lc_rs::rand::fill(&mut [0]);
}

impl dyn Entropy + '_ {
    /// Returns an array of random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// Returns a random UUID (RFC 9562, version 4).
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        Builder::from_random_bytes(self.bytes()).into_uuid()
    }
}

/// A source that always returns the same byte, for tests.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct FixedEntropy(pub(crate) u8);

#[cfg(test)]
impl Entropy for FixedEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}
