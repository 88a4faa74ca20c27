//! The operations that this store needs of a blob container: conditional writes, reads and
//! listings. One container is Azure's, one a test's.

use std::collections::BTreeMap;

use async_trait::async_trait;

use crate::store::store_error::StoreError;

/// Most blobs of one page, the service's own limit.
pub const MAX_PAGE: usize = 5_000;

/// The metadata of a blob: lower-case names, values of visible ASCII.
pub type Metadata = BTreeMap<String, String>;

/// A blob as it was read.
#[derive(Debug, Clone)]
pub struct Blob {
    /// The metadata, which a listing returns too.
    pub metadata: Metadata,
    /// The content.
    pub bytes: Vec<u8>,
    /// The service's entity tag of this state.
    pub etag: String,
}

/// The state in which a blob may be written.
#[derive(Debug, Clone, Copy)]
pub enum WriteCondition<'a> {
    /// There is none of this name.
    Absent,
    /// It has this entity tag.
    Unchanged(&'a str),
    /// Any.
    Always,
}

/// A page of a listing.
#[derive(Debug, Clone, Default)]
pub struct BlobPage {
    /// Names and metadata, in the order of the names.
    pub blobs: Vec<(String, Metadata)>,
    /// Where the next page begins, in the service's own words; `None` behind the last one.
    pub marker: Option<String>,
}

/// A container. Every call ends by itself, and makes one attempt.
#[async_trait]
pub trait BlobContainer: Send + Sync {
    /// Reads a blob.
    async fn read(&self, name: &str) -> Result<Option<Blob>, StoreError>;

    /// Writes a blob, content and metadata at once.
    ///
    /// # Errors
    /// [`StoreError::LostRace`] when it is in another state.
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
