//! Why a durable store gave no answer, in our own words: what a database or a service says may
//! quote what it was sent.

use crate::domain::vault::kek::MissingKek;

/// Why a call to a store failed. Except for a commit that was under way when its time ran out,
/// nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// Another writer changed the record since it was read.
    #[error("The record was changed by another writer.")]
    LostRace,
    /// The store cannot be used for now. It may recover without a restart.
    #[error("The store is unavailable: {0}.")]
    Unavailable(Outage),
    /// The stored data is damaged or was not written by this program. It is left unchanged.
    #[error("The store is damaged.")]
    Corrupt,
    /// One record is not what this program writes. It is left as it is, and the others serve.
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
pub enum Outage {
    /// It did not answer within the time limit.
    #[error("it did not answer in time")]
    Late,
    /// Too many calls wait for it.
    #[error("too many calls wait for it")]
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
    /// It was there and is missing now; it is not made anew, so that nobody takes an empty one for
    /// it.
    #[error("its file is missing")]
    Missing,
    /// The file or its folder cannot be opened.
    #[error("its file cannot be opened")]
    NoAccess,
    /// It refuses our credentials.
    #[error("it refuses the credentials")]
    Credentials,
    /// It cannot be reached, or the connection broke.
    #[error("it cannot be reached")]
    Unreachable,
    /// Its disk failed, or it failed otherwise.
    #[error("it failed")]
    Failed,
}

impl StoreError {
    /// The word of the log and of the metric.
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

impl Outage {
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

impl From<Outage> for StoreError {
    fn from(outage: Outage) -> Self {
        Self::Unavailable(outage)
    }
}

/// Why a change of a project's key failed that the rules allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyStoreError {
    /// The store gave no answer.
    #[error(transparent)]
    Store(StoreError),
    /// The rules refuse the change.
    #[error(transparent)]
    Refused(#[from] crate::domain::vault::changes::ChangeRefused),
    /// A KEK is not known.
    #[error(transparent)]
    Kek(#[from] MissingKek),
    /// The sealed record does not open.
    #[error("The record does not open.")]
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
