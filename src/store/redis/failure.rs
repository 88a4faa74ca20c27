//! The reasons why a call to Redis fails. An error text of a server may quote what it was sent, so
//! it is never logged.

use redis::{ErrorKind, RedisError};

use crate::store::store_error::StoreOutage;

/// A reason why a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.as_str())]
pub enum RedisFailure {
    /// No response arrived in time.
    Timeout,
    /// The connection could not be opened, or broke.
    Connection,
    /// The password is wrong or missing, or the user may not do this.
    Credentials,
    /// The server is part of a cluster and has some of the keys only.
    Cluster,
    /// The server is a replica, which accepts no writes.
    Replica,
    /// The server is a replica that lost its primary.
    ReplicaWithoutPrimary,
    /// The server has just started and loads its data.
    Loading,
    /// The server has no memory left.
    Full,
    /// The server cannot save to its disk and accepts no writes.
    Disk,
    /// The server has too few replicas and accepts no writes.
    Replicas,
    /// Another script blocks the server.
    Busy,
    /// The server accepts no connections from other machines.
    Protected,
    /// The server does not support scripts, or a command of this one.
    Script,
    /// The response is not one of a Redis server.
    InvalidResponse,
}

impl RedisFailure {
    /// All failures.
    #[cfg(test)]
    pub const ALL: [Self; 14] = [
        Self::Timeout,
        Self::Connection,
        Self::Credentials,
        Self::Cluster,
        Self::Replica,
        Self::ReplicaWithoutPrimary,
        Self::Loading,
        Self::Full,
        Self::Disk,
        Self::Replicas,
        Self::Busy,
        Self::Protected,
        Self::Script,
        Self::InvalidResponse,
    ];

    /// Classifies an error by its kind and the code at its beginning.
    pub fn classify(error: &RedisError) -> Self {
        match (error.kind(), error.code()) {
            (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS" | "NOPERM")) => {
                Self::Credentials
            }
            (_, Some("MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN" | "TRYAGAIN")) => Self::Cluster,
            (_, Some("READONLY")) => Self::Replica,
            (_, Some("MASTERDOWN")) => Self::ReplicaWithoutPrimary,
            (_, Some("LOADING")) => Self::Loading,
            (_, Some("OOM")) => Self::Full,
            (_, Some("MISCONF")) => Self::Disk,
            (_, Some("NOREPLICAS")) => Self::Replicas,
            (_, Some("BUSY")) => Self::Busy,
            (_, Some("DENIED")) => Self::Protected,
            (ErrorKind::Io, _) => Self::Connection,
            (ErrorKind::Server(_) | ErrorKind::Extension, _) => Self::Script,
            _ => Self::InvalidResponse,
        }
    }

    /// Returns whether it may concern one call only, such as a key whose value is damaged, so that
    /// other calls may succeed.
    pub fn may_concern_one_call(self) -> bool {
        matches!(self, Self::Script | Self::InvalidResponse)
    }

    /// Returns the value of the log field `cause`: what is wrong, and what an operator can do.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "it took too long",
            Self::Connection => "the connection failed",
            Self::Credentials => "it refused the credentials",
            Self::Cluster => {
                "it is a cluster, whose servers have some keys only: use a Redis without cluster mode \
                 (Azure Managed Redis: the cluster policy Enterprise)"
            }
            Self::Replica => "it is a read-only replica: name the primary in ROOMKEY_REDIS_URL",
            Self::ReplicaWithoutPrimary => "it is a replica that has lost its primary",
            Self::Loading => "it is still loading its data",
            Self::Full => {
                "its memory is full: raise maxmemory, or set a maxmemory-policy that evicts"
            }
            Self::Disk => "it cannot save to its disk and takes no writes",
            Self::Replicas => {
                "it has fewer replicas than min-replicas-to-write and takes no writes"
            }
            Self::Busy => "a script of somebody else blocks it",
            Self::Protected => "it runs in protected mode: set a password for it",
            Self::Script => "it refused the script",
            Self::InvalidResponse => "its answer made no sense",
        }
    }
}

impl From<RedisFailure> for StoreOutage {
    fn from(failure: RedisFailure) -> Self {
        match failure {
            RedisFailure::Timeout => Self::Late,
            RedisFailure::Connection | RedisFailure::Protected => Self::Unreachable,
            RedisFailure::Credentials => Self::Credentials,
            RedisFailure::Replica
            | RedisFailure::ReplicaWithoutPrimary
            | RedisFailure::Disk
            | RedisFailure::Replicas => Self::ReadOnly,
            RedisFailure::Full => Self::Full,
            RedisFailure::Busy | RedisFailure::Loading => Self::Busy,
            RedisFailure::Cluster | RedisFailure::Script | RedisFailure::InvalidResponse => {
                Self::Failed
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    /// Parses an error as a server sends it.
    fn server_error(line: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes());
        match value.and_then(Value::extract_error) {
            Err(error) => error,
            Ok(value) => panic!("{value:?}"),
        }
    }

    #[test]
    fn a_broken_connection_is_a_failure_of_the_connection() {
        let refused = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        assert_eq!(RedisFailure::classify(&refused), RedisFailure::Connection);
    }

    #[test]
    fn each_error_of_a_server_has_its_failure() {
        for (line, cause) in [
            ("MOVED 3999 10.0.0.7:6381", RedisFailure::Cluster),
            ("ASK 3999 10.0.0.7:6381", RedisFailure::Cluster),
            (
                "CROSSSLOT Keys in request don't hash to the same slot",
                RedisFailure::Cluster,
            ),
            ("CLUSTERDOWN Hash slot not served", RedisFailure::Cluster),
            (
                "TRYAGAIN Multiple keys request during rehashing of slot",
                RedisFailure::Cluster,
            ),
            (
                "READONLY You can't write against a read only replica.",
                RedisFailure::Replica,
            ),
            (
                "MASTERDOWN Link with MASTER is down",
                RedisFailure::ReplicaWithoutPrimary,
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                RedisFailure::Loading,
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                RedisFailure::Full,
            ),
            (
                "MISCONF Redis is configured to save RDB snapshots",
                RedisFailure::Disk,
            ),
            (
                "NOREPLICAS Not enough good replicas to write.",
                RedisFailure::Replicas,
            ),
            ("BUSY Redis is busy running a script.", RedisFailure::Busy),
            (
                "DENIED Redis is running in protected mode",
                RedisFailure::Protected,
            ),
            ("NOAUTH Authentication required.", RedisFailure::Credentials),
            (
                "WRONGPASS invalid username-password pair",
                RedisFailure::Credentials,
            ),
            (
                "NOPERM User canary has no permissions",
                RedisFailure::Credentials,
            ),
            ("ERR unknown command 'EVALSHA'", RedisFailure::Script),
            ("NOSCRIPT No matching script.", RedisFailure::Script),
            ("EXECABORT x", RedisFailure::Script),
            ("CANARY x", RedisFailure::Script),
        ] {
            assert_eq!(RedisFailure::classify(&server_error(line)), cause, "{line}");
        }
    }

    #[test]
    fn each_failure_has_a_text_of_its_own() {
        let texts: std::collections::BTreeSet<_> =
            RedisFailure::ALL.map(RedisFailure::as_str).into();
        assert_eq!(texts.len(), RedisFailure::ALL.len());
    }
}
