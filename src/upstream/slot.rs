//! A value that comes from outside and is replaced while requests read it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::refresher::Refresher;

/// Holds the last good value. Reading takes no lock, so that a request never waits for whoever
/// brings a new one.
pub struct Slot<T> {
    value: ArcSwapOption<T>,
    refresher: Option<Arc<Refresher>>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self::empty()
    }
}

impl<T> Slot<T> {
    /// Creates a slot without a value, which nothing fetches.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            value: ArcSwapOption::empty(),
            refresher: None,
        }
    }

    /// Creates a slot with a value that stays until it is replaced.
    #[must_use]
    pub fn holding(value: T) -> Self {
        Self {
            value: ArcSwapOption::from_pointee(value),
            refresher: None,
        }
    }

    /// Creates a slot without a value, which a refresher's source fills.
    #[must_use]
    pub fn fetched_by(refresher: Arc<Refresher>) -> Self {
        Self {
            value: ArcSwapOption::empty(),
            refresher: Some(refresher),
        }
    }

    /// Returns the present value. It stays whole for as long as the caller keeps it, whatever is
    /// put meanwhile.
    #[must_use]
    pub fn value(&self) -> Option<Arc<T>> {
        self.value.load_full()
    }

    /// Returns the present value, and waits for it where the first fetch has not finished yet.
    pub async fn fetched_value(&self) -> Option<Arc<T>> {
        let value = self.value();
        match &self.refresher {
            Some(refresher) if value.is_none() => {
                refresher.first_fetch().await;
                self.value()
            }
            _ => value,
        }
    }

    /// Returns what fetches the value, if something does.
    #[must_use]
    pub fn refresher(&self) -> Option<&Refresher> {
        self.refresher.as_deref()
    }

    /// Replaces the value; whoever reads from now on gets the new one.
    pub fn put(&self, value: T) {
        self.value.store(Some(Arc::new(value)));
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
        assert_eq!(
            (first.as_deref(), slot.value().as_deref()),
            (Some(&1), Some(&2))
        );
        assert_eq!(Slot::holding(3).value().as_deref(), Some(&3));
    }

    #[tokio::test]
    async fn a_slot_that_nothing_fetches_is_answered_at_once() {
        assert_eq!(Slot::<u8>::empty().fetched_value().await, None);
        assert_eq!(Slot::holding(3).fetched_value().await.as_deref(), Some(&3));
    }
}
