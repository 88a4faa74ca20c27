//! A roomkey with a store in a folder of its own, and a fake of OpenAI.

use std::path::Path;
use std::sync::Arc;

use http::Method;
use roomkey::config::Config;
use roomkey::config::admin::AdminKeySource;
use roomkey::config::projects::{KekSettings, StoreLocation};
use roomkey::domain::callers::admin_key::AdminKeys;
use roomkey::domain::realtime::endpoint::RealtimeEndpoint;
use roomkey::entropy::SystemEntropy;
use serde_json::{Value, json};

use crate::harness::{ADMIN_KEY, Answer, Setup, TestApp, UNDER_HOST};
use crate::upstream::Upstream;

pub const HASH_KEY: &str = "canary-hash-key-of-at-least-32-bytes";
/// 32 bytes in base64url: `canary-kek-of-32-bytes-012345678`.
pub const KEK_1: &str = "Y2FuYXJ5LWtlay1vZi0zMi1ieXRlcy0wMTIzNDU2Nzg";
/// 32 other bytes: `canary-KEK-OF-32-bytes-012345678`.
pub const KEK_2: &str = "Y2FuYXJ5LUtFSy1PRi0zMi1ieXRlcy0wMTIzNDU2Nzg";
pub const PROJECT_KEY: &str = "sk-proj-canary-project-key-0123";

/// A running roomkey with projects.
pub struct ProjectsApp {
    pub app: TestApp,
    pub upstream: Upstream,
    pub folder: tempfile::TempDir,
}

/// Settings of a roomkey with a store in a folder.
pub fn store_settings(folder: &tempfile::TempDir, upstream: &Upstream) -> Vec<(String, String)> {
    let store = format!("sqlite:{}", folder.path().join("store.db").display());
    [
        ("ROOMKEY_STORE", store.as_str()),
        ("ROOMKEY_KEK_V1", KEK_1),
        ("ROOMKEY_HASH_KEY", HASH_KEY),
        (
            "OPENAI_BASE_URL",
            &format!("http://{}/v1", upstream.address),
        ),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// Starts in dev mode, with the store and its keys in a folder, and a fake as OpenAI.
pub fn in_dev_mode(folder: &Path, upstream: &Upstream) -> TestApp {
    let change = |config: &mut Config| {
        assert!(config.dev_mode);
        let projects = config.projects.as_mut().unwrap();
        projects.store = StoreLocation::Sqlite(folder.join("store.db"));
        projects.keks = KekSettings::LocalFile(folder.join("store.keys"));
        let openai = format!("http://{}/v1", upstream.address);
        let upstream = config.realtime.projects.as_mut().unwrap();
        upstream.endpoint = RealtimeEndpoint::openai(&openai).unwrap();
        config.admin_keys = AdminKeySource::Given(AdminKeys::parse(ADMIN_KEY).unwrap());
    };
    Setup {
        left_out: &[
            UNDER_HOST,
            "LIVEKIT_URL",
            "LIVEKIT_API_KEY",
            "LIVEKIT_API_SECRET",
            "ROOMKEY_CALLER_AUTH",
            "ROOMKEY_ADMIN_KEYS",
        ],
        entropy: Some(Arc::new(SystemEntropy)),
        change: Some(&change),
        ..Setup::default()
    }
    .spawn()
}

impl ProjectsApp {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts with further settings, or others in place of the usual ones.
    pub async fn start_with(changed: &[(&str, &str)]) -> Self {
        let (folder, upstream) = (tempfile::tempdir().unwrap(), Upstream::start().await);
        Self::start_in(folder, upstream, changed)
    }

    /// Starts over what another one left behind.
    pub fn start_in(
        folder: tempfile::TempDir,
        upstream: Upstream,
        changed: &[(&str, &str)],
    ) -> Self {
        let usual = store_settings(&folder, &upstream);
        let settings: Vec<_> = usual
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .filter(|(name, _)| changed.iter().all(|(other, _)| name != other))
            .chain(
                changed
                    .iter()
                    .copied()
                    .filter(|(_, value)| !value.is_empty()),
            )
            .collect();
        let app = Setup {
            settings: &settings,
            // Two starts over one store must not draw the same numbers.
            entropy: Some(Arc::new(SystemEntropy)),
            ..Setup::default()
        }
        .spawn();
        Self {
            app,
            upstream,
            folder,
        }
    }

    /// Starts again over the same store.
    pub fn restart(self, changed: &[(&str, &str)]) -> Self {
        let Self {
            app,
            upstream,
            folder,
        } = self;
        // First, since it gives the thread's log back to whom it was before.
        drop(app);
        Self::start_in(folder, upstream, changed)
    }

    /// Sends a request as an operator.
    pub async fn operator(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let headers: Vec<(&str, &[u8])> = [
            ("x-admin-api-key", ADMIN_KEY),
            ("content-type", "application/json"),
        ]
        .into_iter()
        .chain(headers.iter().copied())
        .map(|(name, value)| (name, value.as_bytes()))
        .collect();
        let body = body.map(Value::to_string);
        self.app
            .send(method, path, &headers, body.as_deref().map(str::as_bytes))
            .await
    }

    pub async fn save(&self, project_id: &str, headers: &[(&str, &str)]) -> Answer {
        let body = json!({ "project_id": project_id, "openai_key": PROJECT_KEY });
        self.save_body(&body, headers).await
    }

    pub async fn save_body(&self, body: &Value, headers: &[(&str, &str)]) -> Answer {
        self.operator(Method::POST, "/api/projects/key", headers, Some(body))
            .await
    }

    pub async fn delete(&self, project_id: &str, headers: &[(&str, &str)]) -> Answer {
        let body = json!({ "project_id": project_id });
        self.operator(Method::DELETE, "/api/projects/key", headers, Some(&body))
            .await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.operator(Method::GET, path, &[], None).await
    }

    /// The audit log, newest record first, as `event_type code`.
    pub async fn events(&self) -> Vec<String> {
        let logs = self.get("/api/audit-logs?limit=1000").await.json();
        let logs = logs["logs"].as_array().unwrap().iter();
        logs.map(|log| {
            let code = log["code"].as_str().unwrap_or("ok");
            format!("{} {code}", log["event_type"].as_str().unwrap())
        })
        .collect()
    }

    /// Makes a backup of the store while it is in use, in a file beside it.
    pub fn back_up(&self, file: &str) {
        let database = rusqlite::Connection::open(self.folder.path().join("store.db")).unwrap();
        let target = self.folder.path().join(file).display().to_string();
        database.execute("VACUUM INTO ?1", [target]).unwrap();
    }

    /// Writes rubbish over the sealed key of a project.
    pub fn damage(&self, project_id: &str) {
        self.damage_column(project_id, "sealed = randomblob(length(sealed))");
    }

    /// Writes over one column of a project's row.
    pub fn damage_column(&self, project_id: &str, assignment: &str) {
        let sql = format!("UPDATE projects SET {assignment} WHERE project_id = ?1");
        let changed = self.database().execute(&sql, [project_id]).unwrap();
        assert_eq!(changed, 1);
    }

    /// Opens the file of the store beside roomkey.
    pub fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join("store.db")).unwrap()
    }
}
