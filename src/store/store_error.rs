//! The errors of a durable store. Their texts are fixed: messages of a database or a service may
//! quote data that was sent to it.

use crate::domain::vault::kek::MissingKek;

/// The failure of a call to a store. Nothing has changed, with one exception: a commit in progress
/// when the time limit passed may still succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another writer changed the record since it was read.
    #[error("The record was changed by another writer.")]
    LostRace,
    /// The store cannot be used for now. It may recover without a restart.
    #[error("The store is unavailable: {0}.")]
    Unavailable(StoreOutage),
    /// The stored data is damaged or was not written by this program. It is left unchanged.
    #[error("The store is damaged.")]
    Corrupt,
    /// One record is damaged. It is left unchanged, and the other records can still be used.
    #[error("The record is damaged.")]
    RecordCorrupt,
    /// A newer version of the program wrote the store.
    #[error("The store was written by a newer version of roomkey.")]
    NewerSchema,
    /// The file belongs to another program.
    #[error("The store's file belongs to another program.")]
    Foreign,
}

/// The reason that a store is unavailable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreOutage {
    /// It did not respond within the time limit.
    #[error("it did not respond in time")]
    Late,
    /// Too many calls are waiting for it.
    #[error("too many calls are waiting for it")]
    Busy,
    /// Another process holds its lock.
    #[error("another process holds its lock")]
    Locked,
    /// The disk or its quota is full.
    #[error("its disk is full")]
    Full,
    /// It cannot be written to.
    #[error("it is read-only")]
    ReadOnly,
    /// It existed before and is missing now. It is not created again, because an empty store would
    /// look like lost keys.
    #[error("its file is missing")]
    Missing,
    /// The file or its folder cannot be opened.
    #[error("its file cannot be opened")]
    NoAccess,
    /// It rejects roomkey's credentials.
    #[error("it rejects the credentials")]
    Credentials,
    /// It cannot be reached, or the connection was lost.
    #[error("it cannot be reached")]
    Unreachable,
    /// It failed in another way, such as a disk error.
    #[error("it failed")]
    Failed,
}

impl StoreError {
    /// Returns the one-word cause for the log and the metric.
    #[must_use]
    pub fn cause(self) -> &'static str {
        match self {
            Self::LostRace => "lost_race",
            Self::Unavailable(outage) => outage.as_str(),
            Self::Corrupt => "corrupt",
            Self::RecordCorrupt => "record_corrupt",
            Self::NewerSchema => "newer_schema",
            Self::Foreign => "foreign",
        }
    }
}

impl StoreOutage {
    fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Busy => "busy",
            Self::Locked => "locked",
            Self::Full => "full",
            Self::ReadOnly => "read_only",
            Self::Missing => "missing",
            Self::NoAccess => "no_access",
            Self::Credentials => "credentials",
            Self::Unreachable => "unreachable",
            Self::Failed => "failed",
        }
    }
}

impl From<StoreOutage> for StoreError {
    fn from(outage: StoreOutage) -> Self {
        Self::Unavailable(outage)
    }
}

/// The failure of an operation on a project's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyStoreError {
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
    /// The rules refuse the change.
    #[error(transparent)]
    Refused(#[from] crate::domain::vault::changes::ChangeRefused),
    /// A key encryption key is not configured.
    #[error(transparent)]
    Kek(#[from] MissingKek),
    /// The sealed record cannot be opened.
    #[error("The record cannot be opened.")]
    RecordCorrupt,
    /// The crypto library failed.
    #[error("The cryptographic library failed.")]
    Crypto,
}

impl From<StoreError> for KeyStoreError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::RecordCorrupt => Self::RecordCorrupt,
            error => Self::Store(error),
        }
    }
}
