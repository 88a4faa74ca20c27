//! A blob container whose client is set up by the first call, since that takes 30 ms.

use async_trait::async_trait;
use tokio::sync::OnceCell;

use crate::domain::settings::azure::{ContainerUrl, Identity};
use crate::store::blob::azure::AzureContainer;
use crate::store::blob::container::{Blob, BlobContainer, BlobPage, Metadata, WriteCondition};
use crate::store::store_error::{StoreError, StoreOutage};
use crate::upstream::entra::LibraryAccess;

/// The scope of tokens for Azure Storage, in every Azure cloud.
///
/// Source: <https://learn.microsoft.com/azure/storage/blobs/authorize-access-azure-active-directory>
const SCOPE: &str = "https://storage.azure.com/.default";

/// A container of Azure Blob Storage that this process's identity opens.
pub(super) struct LazyContainer {
    url: ContainerUrl,
    identity: Identity,
    container: OnceCell<AzureContainer>,
}

impl LazyContainer {
    /// Creates a container that has sent nothing yet.
    pub(super) fn new(url: ContainerUrl, identity: Identity) -> Self {
        Self {
            url,
            identity,
            container: OnceCell::new(),
        }
    }

    async fn container(&self) -> Result<&AzureContainer, StoreError> {
        let set_up = async || {
            let access = LibraryAccess::new(&self.identity, SCOPE.to_owned()).await;
            let access = access.map_err(|_client| StoreOutage::Failed)?;
            let url = self.url.as_url().clone();
            AzureContainer::new(url, Some(access.credential), access.options)
        };
        self.container.get_or_try_init(set_up).await
    }
}

#[async_trait]
impl BlobContainer for LazyContainer {
    async fn read(&self, name: &str) -> Result<Option<Blob>, StoreError> {
        self.container().await?.read(name).await
    }

    async fn write(
        &self,
        name: &str,
        condition: WriteCondition<'_>,
        metadata: Metadata,
        bytes: Vec<u8>,
    ) -> Result<(), StoreError> {
        let container = self.container().await?;
        container.write(name, condition, metadata, bytes).await
    }

    async fn remove(&self, name: &str) -> Result<(), StoreError> {
        self.container().await?.remove(name).await
    }

    async fn list(
        &self,
        prefix: &str,
        marker: Option<&str>,
        limit: usize,
    ) -> Result<BlobPage, StoreError> {
        self.container().await?.list(prefix, marker, limit).await
    }
}
