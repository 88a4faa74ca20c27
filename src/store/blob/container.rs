//! The operations on a blob container that this store needs: conditional writes, reads and
//! listings. One implementation is for Azure, one for tests.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::timeout;

use crate::store::store_error::{StoreError, StoreOutage};

/// The time limit of a call to the store, and of each step of a verification.
pub const TIME_LIMIT: Duration = Duration::from_secs(3);
/// Most blobs of one page, which is the limit of the service.
pub const MAX_PAGE: usize = 5_000;

/// The metadata of a blob: lower-case names, values of visible ASCII.
pub type Metadata = BTreeMap<String, String>;

/// A blob that was read.
#[derive(Debug, Clone)]
pub struct Blob {
    /// The metadata, which a listing returns too.
    pub metadata: Metadata,
    /// The content.
    pub bytes: Vec<u8>,
    /// The entity tag of this revision.
    pub etag: String,
}

/// The condition of a write.
#[derive(Debug, Clone, Copy)]
pub enum WriteCondition<'a> {
    /// No blob has this name.
    Absent,
    /// The blob has this entity tag.
    Unchanged(&'a str),
    /// No condition.
    Always,
}

/// A page of a listing.
#[derive(Debug, Clone, Default)]
pub struct BlobPage {
    /// Names and metadata, in the order of the names.
    pub blobs: Vec<(String, Metadata)>,
    /// The service's continuation marker for the next page; `None` after the last one.
    pub marker: Option<String>,
}

/// A container. Every call makes one attempt; [`within`] limits its time.
#[async_trait]
pub trait BlobContainer: Send + Sync {
    /// Reads a blob.
    async fn read(&self, name: &str) -> Result<Option<Blob>, StoreError>;

    /// Writes the content and the metadata of a blob at once.
    ///
    /// # Errors
    /// [`StoreError::LostRace`] if the condition does not hold.
    async fn write(
        &self,
        name: &str,
        condition: WriteCondition<'_>,
        metadata: Metadata,
        bytes: Vec<u8>,
    ) -> Result<(), StoreError>;

    /// Removes a blob, if there is one.
    async fn remove(&self, name: &str) -> Result<(), StoreError>;

    /// Lists blobs whose names begin with a prefix, `limit` at most.
    async fn list(
        &self,
        prefix: &str,
        marker: Option<&str>,
        limit: usize,
    ) -> Result<BlobPage, StoreError>;
}

/// Limits the time of a call or of a step.
///
/// # Errors
/// [`StoreOutage::Late`] after [`TIME_LIMIT`], and the errors of the call.
pub async fn within<T>(
    call: impl Future<Output = Result<T, StoreError>> + Send,
) -> Result<T, StoreError> {
    match timeout(TIME_LIMIT, call).await {
        Ok(result) => result,
        Err(_elapsed) => Err(StoreOutage::Late.into()),
    }
}
