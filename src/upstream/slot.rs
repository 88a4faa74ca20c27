//! Holds a value that is fetched from outside and replaced while requests read it.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::refresher::Refresher;

/// Holds the latest value. Reading takes no lock, so a request never waits for a writer.
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
    /// Creates a slot without a value and without a refresher.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            value: ArcSwapOption::empty(),
            refresher: None,
        }
    }

    /// Creates a slot with a value and without a refresher.
    #[must_use]
    pub fn holding(value: T) -> Self {
        Self {
            value: ArcSwapOption::from_pointee(value),
            refresher: None,
        }
    }

    /// Creates a slot without a value, which the source of a refresher fills.
    #[must_use]
    pub fn fetched_by(refresher: Arc<Refresher>) -> Self {
        Self {
            value: ArcSwapOption::empty(),
            refresher: Some(refresher),
        }
    }

    /// Returns the current value. The caller may keep it while the slot gets another one.
    #[must_use]
    pub fn value(&self) -> Option<Arc<T>> {
        self.value.load_full()
    }

    /// Returns the current value, and waits for the first fetch if it has not finished yet.
    pub async fn fetched_value(&self) -> Option<Arc<T>> {
        let value = self.value();
        match &self.refresher {
            Some(refresher) if value.is_none() => {
                refresher.wait_for_first_fetch().await;
                self.value()
            }
            _ => value,
        }
    }

    /// Returns the refresher that fetches the value, if there is one.
    #[must_use]
    pub fn refresher(&self) -> Option<&Refresher> {
        self.refresher.as_deref()
    }

    /// Replaces the value.
    pub fn put(&self, value: T) {
        self.value.store(Some(Arc::new(value)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_keeps_the_value_that_it_has_read() {
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
    async fn a_slot_without_a_refresher_answers_at_once() {
        assert_eq!(Slot::<u8>::empty().fetched_value().await, None);
        assert_eq!(Slot::holding(3).fetched_value().await.as_deref(), Some(&3));
    }
}
