//! A value that comes from outside and is replaced while requests read it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

/// Holds the last good value. Reading takes no lock, so that a request never waits for whoever brings a new one.
pub struct Slot<T>(ArcSwapOption<T>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self::empty()
    }
}

impl<T> Slot<T> {
    /// Nothing yet.
    #[must_use]
    pub fn empty() -> Self {
        Self(ArcSwapOption::empty())
    }

    /// A value that stays until it is replaced.
    #[must_use]
    pub fn holding(value: T) -> Self {
        Self(ArcSwapOption::from_pointee(value))
    }

    /// The present value. It stays whole for as long as the caller keeps it, whatever is put meanwhile.
    #[must_use]
    pub fn value(&self) -> Option<Arc<T>> {
        self.0.load_full()
    }

    /// Replaces the value; whoever reads from now on gets the new one.
    pub fn put(&self, value: T) {
        self.0.store(Some(Arc::new(value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_keeps_what_it_has_read() {
        let slot = Slot::empty();
        assert_eq!(slot.value(), None);
        slot.put(1);
        let first = slot.value();
        slot.put(2);
        assert_eq!((first.as_deref(), slot.value().as_deref()), (Some(&1), Some(&2)));
        assert_eq!(Slot::holding(3).value().as_deref(), Some(&3));
    }
}
