//! Settings of project keys, their store and their sessions.

use super::setting::{Setting, optional, secret, with_default};

/// The beginning of the settings with key-encryption keys; the number of the version follows.
pub const KEK_PREFIX: &str = "ROOMKEY_KEK_V";
/// The name under which the table lists the key-encryption keys of all versions.
pub const FIRST_KEK: &str = "ROOMKEY_KEK_V1";

pub(super) const PROJECTS: &[Setting] = &[
    with_default(
        "ROOMKEY_STORE",
        "dev mode: sqlite:.roomkey/store.db",
        "The store of project keys, their sessions and the audit log. `sqlite:<path>` is a file on \
         a local disk of this machine (not in Azure, whose disks are shared or temporary). \
         `https://<account>.blob.core.windows.net/<container>` is a container that any number of \
         instances share; the app's identity needs the role Storage Blob Data Contributor. Absent: \
         the routes of projects and of the audit log do not exist.",
    ),
    secret(
        FIRST_KEK,
        "A key-encryption key, which seals project keys: 32 random bytes in base64url (`openssl \
         rand 32 | basenc --base64url`). Further versions are `ROOMKEY_KEK_V2` and so on, up to \
         `ROOMKEY_KEK_V9999`. Keep every version with which a key in the store is still sealed: \
         without it that key cannot be opened. Required with `ROOMKEY_STORE`; in dev mode a key is \
         created beside the store.",
    ),
    with_default(
        "ROOMKEY_KEK_VERSION",
        "the highest",
        "The version of the key-encryption key that seals new project keys: `v1`, `v2` and so on.",
    ),
    optional(
        "ROOMKEY_PROJECTS_CLAIM",
        "The claim that lists the projects of a signed-in caller, like `ROOMKEY_ROOMS_CLAIM`. \
         Absent: every project is allowed. Set, but missing from a token: no project is allowed.",
    ),
    with_default(
        "ROOMKEY_ANONYMOUS_PROJECTS",
        "dev mode: all",
        "The projects that anonymous callers may use, separated by commas. Absent: none.",
    ),
    with_default(
        "ROOMKEY_PROJECT_RATE_LIMIT",
        "100/15m",
        "The number of sessions that the callers of one project may open together, as \
         `ROOMKEY_RATE_LIMIT`; or `off`.",
    ),
    with_default(
        "ROOMKEY_PROJECT_DAILY_SESSIONS",
        "off",
        "The most sessions of one project per day in UTC, 1 to 1000000; or `off`.",
    ),
    with_default(
        "ROOMKEY_PROJECT_CONCURRENCY",
        "5",
        "The most sessions of one project at the same time, 1 to 1000. A session counts until it \
         is ended or `ROOMKEY_SESSION_SECONDS` have passed.",
    ),
    with_default(
        "ROOMKEY_SESSION_SECONDS",
        "3600",
        "The longest time for which a session counts, 60 to 7200 seconds. A call at OpenAI lasts \
         at most an hour.",
    ),
    with_default(
        "ROOMKEY_PROJECT_INSTRUCTIONS",
        "server",
        "`client`: callers of `POST /api/session` may send `instructions` in place of \
         `ROOMKEY_REALTIME_INSTRUCTIONS`. `server`: they may not.",
    ),
];
