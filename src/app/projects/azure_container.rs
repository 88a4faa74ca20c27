//! The container in Azure Blob Storage that this process's identity opens.

use crate::domain::settings::azure::{ContainerUrl, Identity};
use crate::store::blob::azure::{self, AzureContainer};
use crate::store::store_error::StoreOutage;
use crate::upstream::entra::LibraryAccess;

/// The scope of tokens for Azure Storage, in every Azure cloud.
///
/// Source: <https://learn.microsoft.com/azure/storage/blobs/authorize-access-azure-active-directory>
const SCOPE: &str = "https://storage.azure.com/.default";

/// Creates a container that has sent nothing yet.
pub(super) fn azure_container(url: ContainerUrl, identity: Identity) -> AzureContainer {
    AzureContainer::new(move || {
        let (url, identity) = (url.as_url().clone(), identity.clone());
        async move {
            let access = LibraryAccess::new(&identity, SCOPE.to_owned()).await;
            let access = access.map_err(|_client| StoreOutage::Failed)?;
            azure::client(url, Some(access.credential), access.options)
        }
    })
}
