//! The scale-out store against Azurite: the suite of all stores, and what only a service can do.

use std::sync::Arc;

use roomkey::domain::audit_log::entry::EventType;
use roomkey::store::blob::BlobStore;
use roomkey::store::blob::container::{BlobContainer, WriteCondition};
use roomkey::store::projects::ProjectWrite;
use roomkey::store::projects::keys::ProjectKeys;
use roomkey::store::store_error::{StoreError, StoreOutage};
use serde_json::json;
use uuid::Uuid;

use crate::azurite::{Azurite, opened};
use crate::peers::{script, tool};

#[path = "../project_store.rs"]
#[expect(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "the unit tests make a test of each, and kill processes"
)]
pub mod project_store;
/// What the suite calls the crate.
use ::roomkey;

use project_store::{keys_over, project, save, verified, with_store_tests};

/// Runs each over a container of its own; one server takes longer to start than all of them.
macro_rules! each_in_turn {
    ($open:path; $($name:ident,)*) => {
        #[tokio::test]
        async fn a_store_in_azurite_does_what_every_store_does() {
            let azurite = Azurite::start();
            $( project_store::$name(&$open(&azurite).await).await; )*
        }
    };
}
with_store_tests!(each_in_turn, fresh);

async fn fresh(azurite: &Azurite) -> ProjectKeys {
    over(Arc::new(opened(azurite.container().await)), 1)
}

fn over(container: Arc<dyn BlobContainer>, instance: u128) -> ProjectKeys {
    keys_over(Arc::new(BlobStore::new(
        container,
        Uuid::from_u128(instance),
    )))
}

#[tokio::test]
async fn blobs_of_azurite_are_written_by_condition_and_listed_in_pages() {
    let azurite = Azurite::start();
    let container = opened(azurite.container().await);
    let write = |name: &'static str, condition| {
        let metadata = [("projectid".to_owned(), name.to_owned())].into();
        let container = &container;
        async move { container.write(name, condition, metadata, vec![1]).await }
    };
    let absent = WriteCondition::Absent;
    assert!(container.read("p/a").await.unwrap().is_none());
    assert_eq!(write("p/a", absent).await, Ok(()));
    assert_eq!(write("p/a", absent).await, Err(StoreError::LostRace));
    let first = container.read("p/a").await.unwrap().unwrap();
    assert_eq!(first.bytes, [1]);
    assert_eq!(
        write("p/a", WriteCondition::Unchanged(&first.etag)).await,
        Ok(())
    );
    let stale = WriteCondition::Unchanged(&first.etag);
    assert_eq!(write("p/a", stale).await, Err(StoreError::LostRace));
    for name in ["p/b", "p/c", "q/a"] {
        write(name, WriteCondition::Always).await.unwrap();
    }
    let one = container.list("p/", None, 2).await.unwrap();
    let two = container
        .list("p/", one.marker.as_deref(), 2)
        .await
        .unwrap();
    let listed: Vec<_> = one.blobs.into_iter().chain(two.blobs).collect();
    assert_eq!((listed.len(), two.marker), (3, None));
    for (name, metadata) in listed {
        assert_eq!(metadata["projectid"], name);
    }
    container.remove("p/a").await.unwrap();
    container.remove("p/a").await.unwrap();
    assert!(container.read("p/a").await.unwrap().is_none());
}

#[tokio::test]
async fn two_instances_share_a_container_and_one_that_goes_away_is_an_outage() {
    let azurite = Azurite::start();
    let address = azurite.container().await;
    let one = over(Arc::new(opened(address.clone())), 1);
    let two = over(Arc::new(opened(address.clone())), 2);
    save(&one, &project("a"), 1).await;
    save(&two, &project("b"), 2).await;
    assert_eq!((verified(&one).await, verified(&two).await), (2, 2));

    let mut missing = address.clone();
    missing.set_path(&address.path().replace("container-", "missing-"));
    let nowhere = over(Arc::new(opened(missing)), 3);
    let read = nowhere.store().read_project(&project("a")).await;
    assert_eq!(read, Err(StoreOutage::Missing.into()));
    let mut unsigned = address;
    unsigned.set_query(None);
    let stranger = over(Arc::new(opened(unsigned)), 4);
    let read = stranger.store().read_project(&project("a")).await;
    assert_eq!(read, Err(StoreOutage::Credentials.into()));
    drop(azurite);
    let read = one.store().read_project(&project("a")).await;
    assert_eq!(read, Err(StoreOutage::Unreachable.into()));
}

#[tokio::test]
async fn microsofts_sdk_reads_the_blobs_of_a_store_and_its_writes_are_noticed() {
    let azurite = Azurite::start();
    let address = azurite.container().await;
    let (keys, id) = (
        over(Arc::new(opened(address.clone())), 1),
        project("customer-42"),
    );
    let saved = save(&keys, &id, 1).await;
    let before = keys.store().read_project(&id).await.unwrap().unwrap();
    let given = json!({ "container": address.as_str(), "touch": "projects/customer-42" });
    let python = tool("target/tools/venv/bin/python");
    let witness = ["tests/real/peers/python/blob_witness.py"];
    let seen = script(python.to_str().unwrap(), &witness, &given.to_string());
    let blobs = seen.as_object().unwrap();
    assert_eq!(blobs.len(), 2, "{seen}");
    let metadata = &blobs["projects/customer-42"]["metadata"];
    assert_eq!(metadata["kekversion"], "1");
    assert_eq!(metadata["recordversion"], "1");
    assert_eq!(metadata["tag"], saved.summary.tag.as_str());
    let audit = metadata["audit"].as_str().unwrap();
    let record = &blobs[audit]["metadata"];
    assert_eq!(record["eventtype"], "vault_key_saved");
    assert_eq!(record["projectid"], "customer-42");
    assert_eq!(record["hash"], saved.audit.hash.to_string());
    assert!(!seen.to_string().contains("canary"));

    let after = keys.store().read_project(&id).await.unwrap().unwrap();
    assert_eq!(after.record, before.record);
    let mut record = before.record;
    record.versions.record += 1;
    let write = ProjectWrite {
        project_id: id.clone(),
        expected: Some(before.revision),
        record,
        audit: project_store::audit(EventType::VaultKeySaved, &id),
    };
    let written = keys.store().write_project(write).await;
    assert_eq!(written, Err(StoreError::LostRace));
    assert_eq!(verified(&keys).await, 1);
}
