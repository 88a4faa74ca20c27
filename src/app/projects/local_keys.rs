//! The keys of dev mode, in a file beside the store: one that seals project keys, and the one that
//! hashes callers, so that a caller is the same one after a restart.
//!
//! The file is created with the first use, so that a start which needs no store leaves nothing
//! behind, and it is never replaced: without it the keys in the store cannot be opened.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use secrecy::SecretString;
use thiserror::Error;
use tokio::sync::OnceCell;
use zeroize::Zeroizing;

use crate::domain::callers::caller_hash::HashKey;
use crate::domain::vault::kek::{KekVersion, KeyEncryptionKey, KeyEncryptionKeys};
use crate::entropy::Entropy;
use crate::platform;
use crate::upstream::slot::Slot;

/// The reason that the keys are not available.
#[derive(Debug, Error)]
pub enum LocalKeyError {
    /// The file or its folder cannot be read or written.
    #[error("The file with the keys of dev mode cannot be read or created.")]
    File(#[from] std::io::Error),
    /// The file is not one that this program wrote.
    #[error("The file with the keys of dev mode is damaged.")]
    Damaged,
}

/// A file with a key-encryption key and a key that hashes, one a line.
pub(super) struct LocalKeys {
    path: PathBuf,
    /// The content of the file if it must be created.
    drawn: Zeroizing<String>,
    /// The key that hashes callers from the start on: the file's, or the one that was drawn for it.
    hash_key: Arc<Slot<HashKey>>,
    keks: OnceCell<KeyEncryptionKeys>,
}

type Keys = (KeyEncryptionKeys, HashKey);

impl LocalKeys {
    /// Reads the file, if there is one, and puts its key into `hash_key`. Where the file cannot be
    /// read, callers are hashed with the key that is in the slot.
    pub(super) fn new(path: PathBuf, entropy: &dyn Entropy, hash_key: Arc<Slot<HashKey>>) -> Self {
        let drawn = draw(entropy);
        // A small file, once, on a developer's machine: not worth another thread.
        let keys = match read(&path) {
            Ok(None) => parse(&drawn),
            Ok(Some(keys)) => Ok(keys),
            Err(error) => Err(error),
        };
        if let Ok((_, key)) = keys {
            hash_key.put(key);
        }
        Self {
            path,
            drawn,
            hash_key,
            keks: OnceCell::new(),
        }
    }

    /// Returns the keys, and reads or creates the file with the first call that succeeds.
    pub(super) async fn current(
        &self,
    ) -> Result<(KeyEncryptionKeys, Option<Arc<HashKey>>), LocalKeyError> {
        let read_or_create = async || {
            let (keks, hash_key) = match read(&self.path)? {
                Some(keys) => keys,
                None => create(&self.path, &self.drawn)?,
            };
            // Another one where another process has created the file since the start.
            self.hash_key.put(hash_key);
            Ok::<_, LocalKeyError>(keks)
        };
        let keks = self.keks.get_or_try_init(read_or_create).await?.clone();
        Ok((keks, self.hash_key.value()))
    }
}

/// Draws the content of a new file.
fn draw(entropy: &dyn Entropy) -> Zeroizing<String> {
    let encode = |bytes: [u8; 32]| Zeroizing::new(BASE64URL_NOPAD.encode(&bytes));
    let (kek, hash_key) = (encode(entropy.bytes()), encode(entropy.bytes()));
    Zeroizing::new(format!("{}\n{}\n", *kek, *hash_key))
}

fn read(path: &Path) -> Result<Option<Keys>, LocalKeyError> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&Zeroizing::new(text)).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn parse(text: &str) -> Result<Keys, LocalKeyError> {
    let mut lines = text.lines();
    let (Some(kek), Some(hash_key), None) = (lines.next(), lines.next(), lines.next()) else {
        return Err(LocalKeyError::Damaged);
    };
    let kek = KeyEncryptionKey::parse(&SecretString::from(kek));
    let kek = kek.map_err(|_| LocalKeyError::Damaged)?;
    if hash_key.len() != BASE64URL_NOPAD.encode_len(32) {
        return Err(LocalKeyError::Damaged);
    }
    let keks = [(KekVersion::FIRST, Arc::new(kek))].into_iter().collect();
    Ok((keks, HashKey::new(hash_key.as_bytes())))
}

/// Writes a new file under another name and then links it to its own, so that no process ever
/// reads half of it and none replaces what another has written.
fn create(path: &Path, text: &str) -> Result<Keys, LocalKeyError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    platform::create_private_folder(folder)?;
    let temporary = path.with_extension(format!("keys.{}", std::process::id()));
    let written = platform::private_file_options()
        .open(&temporary)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| std::fs::hard_link(&temporary, path));
    // Left behind it would hold a key that nothing uses.
    let _ = std::fs::remove_file(&temporary);
    match written {
        Ok(()) => parse(text),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            read(path)?.ok_or(LocalKeyError::Damaged)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::entropy::SystemEntropy;

    fn local(path: &Path) -> LocalKeys {
        LocalKeys::new(path.to_owned(), &SystemEntropy, Arc::default())
    }

    fn of_callers(local: &LocalKeys) -> String {
        let hash_key = local.hash_key.value().unwrap();
        hash_key.hash("test", b"x").to_string()
    }

    async fn hashed(local: &LocalKeys) -> String {
        let (keks, hash_key) = local.current().await.unwrap();
        assert!(keks.get(KekVersion::FIRST).is_ok());
        assert_eq!(
            hash_key.unwrap().hash("test", b"x").to_string(),
            of_callers(local)
        );
        of_callers(local)
    }

    #[tokio::test]
    async fn callers_are_hashed_the_same_before_and_after_the_file_is_created_and_after_a_restart()
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.keys");
        let (first, other) = (local(&path), local(&path));
        let before = of_callers(&first);
        assert!(!path.exists(), "a start leaves a file behind");
        assert_eq!(hashed(&first).await, before);
        assert_eq!(of_callers(&local(&path)), before);
        // A process that was started before the file was there.
        assert_ne!(of_callers(&other), before);
        assert_eq!(hashed(&other).await, before);
    }

    #[tokio::test]
    async fn the_keys_are_created_once_and_only_their_owner_may_read_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".roomkey/store.keys");
        let first = hashed(&local(&path)).await;
        assert_eq!(hashed(&local(&path)).await, first);
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
        let files = std::fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(files, 1, "the temporary file is left behind");
    }

    #[tokio::test]
    async fn a_damaged_file_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.keys");
        let key = BASE64URL_NOPAD.encode(&[7; 32]);
        for text in [
            "",
            "canary",
            "\n\n",
            &key,
            &format!("{key}\n"),
            &format!("{key}\nx\n"),
        ] {
            std::fs::write(&path, text).unwrap();
            let refused = local(&path).current().await;
            assert!(matches!(refused, Err(LocalKeyError::Damaged)), "{text:?}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_created_is_an_error_that_may_pass() {
        let folder = tempfile::tempdir().unwrap();
        let blocked = folder.path().join("blocked");
        std::fs::write(&blocked, "").unwrap();
        let keys = local(&blocked.join("store.keys"));
        assert!(matches!(keys.current().await, Err(LocalKeyError::File(_))));
        std::fs::remove_file(&blocked).unwrap();
        assert!(keys.current().await.is_ok());
    }
}
