//! Projects' records in blobs: one blob for each project, whose metadata contains what a listing
//! returns.
//!
//! A blob also contains the audit record of its write, so that both are one conditional write. The
//! record is then copied into the audit log. The next writer copies it again before it replaces the
//! blob, in case the first writer was killed in between.

use serde::{Deserialize, Serialize};

use super::audit::{ChainWriter, ChainedRecord};
use super::container::{Blob, BlobContainer, MAX_PAGE, Metadata, WriteCondition, within};
use crate::domain::audit_log::chain::AuditRecord;
use crate::domain::vault::associated_data::Versions;
use crate::domain::vault::kek::KekVersion;
use crate::domain::vault::project_id::ProjectId;
use crate::domain::vault::project_key::KeyFingerprint;
use crate::domain::vault::record::{KeySummary, ProjectRecord, RecordTag, StoredKey};
use crate::store::projects::{ListedProject, ProjectWrite, Revision, StoredProject};
use crate::store::store_error::StoreError;

/// The prefix of the projects' names.
const PREFIX: &str = "projects/";
/// The metadata with the version of the KEK.
const KEK_VERSION: &str = "kekversion";

/// The JSON content of a project's blob.
#[derive(Serialize, Deserialize)]
struct ProjectBlob {
    /// The sealed key in base64; absent once it was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    sealed: Option<String>,
    /// The audit record of this blob's write, in the form of its own blob in the log.
    audit: Metadata,
}

/// Reads a project by its id.
pub async fn read(
    container: &dyn BlobContainer,
    id: &ProjectId,
) -> Result<Option<StoredProject>, StoreError> {
    let Some(blob) = container.read(&name(id)).await? else {
        return Ok(None);
    };
    let content = content(&blob)?;
    let versions = versions(&blob.metadata).ok_or(StoreError::RecordCorrupt)?;
    let key = match content.sealed {
        None => None,
        Some(sealed) => Some(StoredKey {
            // Damaged bytes do not open, like any others that were changed.
            sealed: data_encoding::BASE64
                .decode(sealed.as_bytes())
                .unwrap_or_default(),
            summary: summary(&blob.metadata),
        }),
    };
    Ok(Some(StoredProject {
        record: ProjectRecord { versions, key },
        revision: Revision(blob.etag),
    }))
}

/// Replaces a project's record together with its audit record.
pub async fn write(
    container: &dyn BlobContainer,
    writer: &ChainWriter,
    write: &ProjectWrite,
) -> Result<AuditRecord, StoreError> {
    let name = name(&write.project_id);
    let mut state = writer.lock().await;
    let condition = match &write.expected {
        None => WriteCondition::Absent,
        Some(Revision(etag)) => {
            let blob = container.read(&name).await?.ok_or(StoreError::LostRace)?;
            let grows = versions(&blob.metadata).is_some_and(|before| {
                before.record < write.record.versions.record
                    && before.secret <= write.record.versions.secret
            });
            if blob.etag != *etag || !grows {
                return Err(StoreError::LostRace);
            }
            publish(container, &blob).await?;
            WriteCondition::Unchanged(etag)
        }
    };
    let record = writer.next(&mut state, &write.audit);
    let metadata = metadata(&write.record, &record);
    let content = ProjectBlob {
        sealed: (write.record.key.as_ref()).map(|key| data_encoding::BASE64.encode(&key.sealed)),
        audit: record.metadata(),
    };
    let bytes = serde_json::to_vec(&content)?;
    match container.write(&name, condition, metadata, bytes).await {
        Ok(()) => state.settle(&record, true),
        Err(StoreError::LostRace) => {
            state.settle(&record, false);
            return Err(StoreError::LostRace);
        }
        // The write may have succeeded: this chain ends here, and the next record begins a new one.
        Err(error) => return Err(error),
    }
    // The change is made and its audit record is in the blob. If this copy fails, the next write to
    // the project or the next verification repeats it.
    let _ = record.publish(container).await;
    Ok(record.record)
}

/// Copies the audit record of a project's blob into the log.
pub async fn publish(container: &dyn BlobContainer, blob: &Blob) -> Result<(), StoreError> {
    let record = ChainedRecord::read(&content(blob)?.audit);
    record.publish(container).await
}

/// Reads a project's blob and copies its audit record into the log.
pub async fn publish_state(container: &dyn BlobContainer, project: &str) -> Result<(), StoreError> {
    match container.read(project).await? {
        Some(blob) => publish(container, &blob).await,
        None => Ok(()),
    }
}

/// Lists projects that have a key and that `wanted` accepts. A blob whose name is that of no project
/// is somebody else's, and must not fail the listing.
pub async fn list(
    container: &dyn BlobContainer,
    after: Option<&ProjectId>,
    limit: usize,
    wanted: impl Fn(&Metadata) -> bool + Send + Sync,
) -> Result<Vec<ListedProject>, StoreError> {
    let after = after.map(name).unwrap_or_default();
    let mut found = Vec::new();
    for_each(container, |name, metadata| {
        let id = name.strip_prefix(PREFIX).unwrap_or_default();
        if *name > *after
            && has_key(metadata)
            && wanted(metadata)
            && let Ok(project_id) = ProjectId::parse(id)
        {
            let summary = summary(metadata);
            found.push(ListedProject {
                project_id,
                summary,
            });
        }
        Ok(found.len() < limit)
    })
    .await?;
    Ok(found)
}

/// Calls `each` with the name and the metadata of each project's blob, until it returns false.
/// The time of each page is limited.
pub async fn for_each(
    container: &dyn BlobContainer,
    mut each: impl FnMut(&str, &Metadata) -> Result<bool, StoreError> + Send,
) -> Result<(), StoreError> {
    let mut marker = None;
    loop {
        let page = within(container.list(PREFIX, marker.as_deref(), MAX_PAGE)).await?;
        for (name, metadata) in &page.blobs {
            if !each(name, metadata)? {
                return Ok(());
            }
        }
        marker = page.marker;
        if marker.is_none() {
            return Ok(());
        }
    }
}

/// Returns whether a project has a key. One that was deleted has none.
pub fn has_key(metadata: &Metadata) -> bool {
    metadata.contains_key(KEK_VERSION)
}

/// Returns the version of the KEK that seals a project's key, `None` if it cannot be read.
pub fn sealed_under(metadata: &Metadata) -> Option<KekVersion> {
    KekVersion::from_number(metadata.get(KEK_VERSION)?.parse().ok()?)
}

fn name(id: &ProjectId) -> String {
    format!("{PREFIX}{id}")
}

fn content(blob: &Blob) -> Result<ProjectBlob, StoreError> {
    serde_json::from_slice(&blob.bytes).map_err(|_| StoreError::RecordCorrupt)
}

fn metadata(record: &ProjectRecord, audit: &ChainedRecord) -> Metadata {
    let mut metadata = Metadata::new();
    let mut put = |name: &str, value: String| {
        metadata.insert(name.to_owned(), value);
    };
    put("secretversion", record.versions.secret.to_string());
    put("recordversion", record.versions.record.to_string());
    put("audit", audit.name());
    if let Some(summary) = record.key.as_ref().and_then(|key| key.summary.as_ref()) {
        put(KEK_VERSION, summary.kek_version.number().to_string());
        put("fingerprint", summary.fingerprint.to_string());
        put("tag", summary.tag.to_string());
        put("createdatms", summary.created_at_ms.to_string());
        if let Some(rotated_at_ms) = summary.rotated_at_ms {
            put("rotatedatms", rotated_at_ms.to_string());
        }
    }
    metadata
}

fn number(metadata: &Metadata, name: &str) -> Option<u64> {
    metadata.get(name)?.parse().ok()
}

fn versions(metadata: &Metadata) -> Option<Versions> {
    Some(Versions {
        secret: number(metadata, "secretversion")?,
        record: number(metadata, "recordversion")?,
    })
}

fn summary(metadata: &Metadata) -> Option<KeySummary> {
    Some(KeySummary {
        kek_version: sealed_under(metadata)?,
        fingerprint: KeyFingerprint::parse(metadata.get("fingerprint")?)?,
        tag: RecordTag::from_text(metadata.get("tag")?),
        created_at_ms: number(metadata, "createdatms")?,
        rotated_at_ms: number(metadata, "rotatedatms"),
    })
}
