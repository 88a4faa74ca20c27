-- Version 1. A later version is another file with what changes.
CREATE TABLE projects (
  project_id TEXT NOT NULL PRIMARY KEY,
  -- Both only grow, also over a deletion, which leaves the row without a key.
  secret_version INTEGER NOT NULL CHECK (secret_version >= 1),
  record_version INTEGER NOT NULL CHECK (record_version >= 1),
  sealed BLOB,
  kek_version INTEGER CHECK (kek_version BETWEEN 1 AND 9999),
  fingerprint TEXT,
  tag TEXT,
  created_at_ms INTEGER,
  rotated_at_ms INTEGER,
  CHECK ((sealed IS NULL) = (kek_version IS NULL)),
  CHECK ((sealed IS NULL) = (fingerprint IS NULL)),
  CHECK ((sealed IS NULL) = (tag IS NULL)),
  CHECK ((sealed IS NULL) = (created_at_ms IS NULL))
) STRICT, WITHOUT ROWID;

CREATE INDEX projects_by_kek ON projects (kek_version, project_id) WHERE kek_version IS NOT NULL;

CREATE TABLE audit (
  sequence INTEGER NOT NULL PRIMARY KEY,
  timestamp_ms INTEGER NOT NULL,
  event_type TEXT NOT NULL,
  actor TEXT NOT NULL,
  project_id TEXT,
  session_id TEXT,
  code TEXT,
  request_id TEXT NOT NULL,
  hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;

CREATE TABLE sessions (
  session_id TEXT NOT NULL PRIMARY KEY,
  project_id TEXT NOT NULL,
  owner TEXT NOT NULL,
  opened_at_ms INTEGER NOT NULL,
  expires_at_ms INTEGER NOT NULL,
  ended_at_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX sessions_by_project ON sessions (project_id, expires_at_ms) WHERE ended_at_ms IS NULL;
CREATE INDEX sessions_by_expiry ON sessions (expires_at_ms);

CREATE TABLE session_days (
  day INTEGER NOT NULL,
  project_id TEXT NOT NULL,
  opened INTEGER NOT NULL CHECK (opened >= 0),
  PRIMARY KEY (day, project_id)
) STRICT, WITHOUT ROWID;

-- The one row of the vault's health check.
CREATE TABLE health (
  id INTEGER NOT NULL PRIMARY KEY CHECK (id = 1),
  probe BLOB NOT NULL
) STRICT;
