//! The only source of randomness. Everything else is handed an [`Entropy`], so that tests can seed
//! it.

use rand::Rng;
use uuid::{Builder, Uuid};

/// Random bytes fit for identifiers that nobody may guess.
pub trait Entropy: Send + Sync {
    /// Overwrites all of `bytes`.
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

/// Lets the TLS library gather what its own generator begins with. It would do so within the first
/// handshake, for some 25 ms of CPU on a thread that serves; whoever is about to connect calls this
/// on another.
pub fn prepare_for_tls() {
    // Should it fail, the handshake fails too and is reported there.
    let _ = aws_lc_rs::rand::fill(&mut [0]);
}

impl dyn Entropy + '_ {
    /// As many random bytes as the caller has use for.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }

    /// A random UUID (RFC 9562, version 4).
    #[must_use]
    pub fn uuid(&self) -> Uuid {
        Builder::from_random_bytes(self.bytes()).into_uuid()
    }
}

/// A source that repeats one byte, for tests.
#[cfg(test)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct FixedEntropy(pub(crate) u8);

#[cfg(test)]
impl Entropy for FixedEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(self.0);
    }
}
