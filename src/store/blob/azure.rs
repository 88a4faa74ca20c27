//! A container of Azure Blob Storage.
//!
//! Errors of Azure's library can contain responses and URLs, so each is mapped to a [`StoreError`].
//! The caller's options turn the library's retries off, so that each call is one attempt.
//!
//! # Source
//! <https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes>

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::TokenCredential;
use azure_core::error::{Error, ErrorKind};
use azure_core::http::{ClientOptions, RequestContent, Response, Url};
use azure_storage_blob::models::{
    BlobClientUploadOptions, BlobContainerClientListBlobsOptions, ListBlobsIncludeItem,
};
use azure_storage_blob::{BlobContainerClient, BlobContainerClientOptions};
use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;

use super::container::{Blob, BlobContainer, BlobPage, Metadata, WriteCondition};
use crate::store::store_error::{StoreError, StoreOutage};

/// The error code of a blob that does not exist. Any other 404 is an outage, such as that of a
/// missing container or of a proxy: it must not make existing keys look deleted.
const NO_BLOB: &str = "BlobNotFound";
/// The error codes of a write whose condition does not hold. Other conflicts are no lost race, such
/// as a container that is being deleted, a retention policy or a lease of somebody else.
const CONDITION_FAILED: [&str; 3] = [
    "BlobAlreadyExists",
    "ConditionNotMet",
    "TargetConditionNotMet",
];

/// Sets up the client of a container.
type Connect =
    dyn Fn() -> BoxFuture<'static, Result<BlobContainerClient, StoreError>> + Send + Sync;

/// A container in Azure Blob Storage. Its client is set up by the first call, since that takes
/// 30 ms.
pub struct AzureContainer {
    connect: Box<Connect>,
    client: OnceCell<BlobContainerClient>,
}

impl AzureContainer {
    /// Creates a container that has sent nothing yet. `connect` is called until it succeeds once.
    pub fn new<F>(connect: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<BlobContainerClient, StoreError>> + Send + 'static,
    {
        Self {
            connect: Box::new(move || Box::pin(connect())),
            client: OnceCell::new(),
        }
    }

    async fn client(&self) -> Result<&BlobContainerClient, StoreError> {
        self.client.get_or_try_init(|| (self.connect)()).await
    }
}

/// Creates a client of a container and sends nothing. `credential` is `None` only in tests, where
/// the address contains a signature. `options` contain the HTTP client and turn retries off.
///
/// # Errors
/// [`StoreOutage::Failed`] if the address is not the address of a container.
pub fn client(
    url: Url,
    credential: Option<Arc<dyn TokenCredential>>,
    options: ClientOptions,
) -> Result<BlobContainerClient, StoreError> {
    let options = BlobContainerClientOptions {
        client_options: options,
        ..BlobContainerClientOptions::default()
    };
    let client = BlobContainerClient::new(url, credential, Some(options));
    client.map_err(|error| cause(&error))
}

#[async_trait]
impl BlobContainer for AzureContainer {
    async fn read(&self, name: &str) -> Result<Option<Blob>, StoreError> {
        let found = match self.client().await?.blob_client(name).download(None).await {
            Err(error) if is_missing(&error) => return Ok(None),
            found => found.map_err(|error| cause(&error))?,
        };
        let bytes = found.body.collect().await.map_err(|error| cause(&error))?;
        let etag = found.properties.etag.ok_or(StoreOutage::Failed)?;
        Ok(Some(Blob {
            metadata: found.properties.metadata.into_iter().collect(),
            bytes: bytes.to_vec(),
            etag: etag.to_string(),
        }))
    }

    async fn write(
        &self,
        name: &str,
        condition: WriteCondition<'_>,
        metadata: Metadata,
        bytes: Vec<u8>,
    ) -> Result<(), StoreError> {
        let (if_match, if_none_match) = match condition {
            WriteCondition::Absent => (None, Some("*".into())),
            WriteCondition::Unchanged(etag) => (Some(etag.into()), None),
            WriteCondition::Always => (None, None),
        };
        let options = BlobClientUploadOptions {
            if_match,
            if_none_match,
            metadata: Some(metadata.into_iter().collect()),
            ..BlobClientUploadOptions::default()
        };
        let content = RequestContent::from(bytes);
        let blob = self.client().await?.blob_client(name);
        let written = blob.upload(content, Some(options)).await;
        written.map(drop).map_err(|error| cause(&error))
    }

    async fn remove(&self, name: &str) -> Result<(), StoreError> {
        match self.client().await?.blob_client(name).delete(None).await {
            Err(error) if is_missing(&error) => Ok(()),
            removed => removed.map(drop).map_err(|error| cause(&error)),
        }
    }

    async fn list(
        &self,
        prefix: &str,
        marker: Option<&str>,
        limit: usize,
    ) -> Result<BlobPage, StoreError> {
        let options = BlobContainerClientListBlobsOptions {
            include: Some(vec![ListBlobsIncludeItem::Metadata]),
            marker: marker.map(str::to_owned),
            maxresults: i32::try_from(limit).ok(),
            prefix: Some(prefix.to_owned()),
            ..BlobContainerClientListBlobsOptions::default()
        };
        let client = self.client().await?;
        let page = async {
            let mut pages = client.list_blobs(Some(options))?.into_pages();
            pages
                .try_next()
                .await?
                .map(Response::into_model)
                .transpose()
        };
        let page = page.await.map_err(|error| cause(&error))?;
        let page = page.ok_or(StoreOutage::Failed)?;
        let blobs = page.blob_items.into_iter().filter_map(|item| {
            let metadata = item.metadata.and_then(|metadata| metadata.values);
            Some((
                item.name?,
                metadata.unwrap_or_default().into_iter().collect(),
            ))
        });
        Ok(BlobPage {
            blobs: blobs.collect(),
            marker: page.next_marker.filter(|marker| !marker.is_empty()),
        })
    }
}

fn is_missing(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::HttpResponse { status, error_code, .. }
        if u16::from(*status) == 404 && error_code.as_deref() == Some(NO_BLOB))
}

fn cause(error: &Error) -> StoreError {
    match error.kind() {
        ErrorKind::Credential => StoreOutage::Credentials.into(),
        ErrorKind::HttpResponse {
            status, error_code, ..
        } => match (u16::from(*status), error_code.as_deref()) {
            (409 | 412, Some(code)) if CONDITION_FAILED.contains(&code) => StoreError::LostRace,
            (401 | 403, _) => StoreOutage::Credentials.into(),
            (404, _) => StoreOutage::Missing.into(),
            (429 | 503, _) => StoreOutage::Busy.into(),
            _ => StoreOutage::Failed.into(),
        },
        ErrorKind::Connection | ErrorKind::Io => StoreOutage::Unreachable.into(),
        ErrorKind::DataConversion | ErrorKind::Other => StoreOutage::Failed.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_response_of_the_service_has_its_cause() {
        let answered = |status: u16, code: &str| {
            ErrorKind::HttpResponse {
                status: status.into(),
                error_code: Some(code.to_owned()),
                raw_response: None,
            }
            .into_error()
        };
        for (status, code, word) in [
            (409, "BlobAlreadyExists", "lost_race"),
            (412, "ConditionNotMet", "lost_race"),
            (412, "TargetConditionNotMet", "lost_race"),
            (409, "ContainerBeingDeleted", "failed"),
            (409, "BlobImmutableDueToPolicy", "failed"),
            (412, "LeaseIdMissing", "failed"),
            (500, "ConditionNotMet", "failed"),
            (401, "canary", "credentials"),
            (403, "canary", "credentials"),
            (404, "canary", "missing"),
            (429, "canary", "busy"),
            (503, "canary", "busy"),
            (500, "canary", "failed"),
            (302, "canary", "failed"),
        ] {
            let error = cause(&answered(status, code));
            assert_eq!(error.cause(), word, "{status} {code}");
        }
        for (kind, word) in [
            (ErrorKind::Credential, "credentials"),
            (ErrorKind::Connection, "unreachable"),
            (ErrorKind::Io, "unreachable"),
            (ErrorKind::DataConversion, "failed"),
        ] {
            assert_eq!(cause(&kind.into_error()).cause(), word);
        }
        assert!(is_missing(&answered(404, "BlobNotFound")));
        for code in ["ContainerNotFound", "ResourceNotFound", "canary"] {
            assert!(!is_missing(&answered(404, code)), "{code}");
        }
        let uncoded = ErrorKind::HttpResponse {
            status: 404.into(),
            error_code: None,
            raw_response: None,
        };
        assert!(!is_missing(&uncoded.into_error()));
        assert!(!is_missing(&answered(500, "BlobNotFound")));
    }
}
