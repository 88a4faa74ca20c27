//! Why Redis gave no answer, and what an operator does about it, in our own words: what a server
//! says may quote what it was sent.

use redis::{ErrorKind, RedisError};

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RedisFailure {
    /// No answer in time.
    Late,
    /// No connection, or it broke.
    Connection,
    /// The password is wrong or missing, or the user may not do this.
    Credentials,
    /// A server of a cluster, which has some keys only.
    Cluster,
    /// A replica, which takes no writes.
    Replica,
    /// A replica without its primary.
    Orphaned,
    /// It has just been started.
    Loading,
    /// No memory is left.
    Full,
    /// It cannot write to its disk, and refuses to be written to.
    Disk,
    /// It wants replicas that it does not have.
    Replicas,
    /// Another script runs.
    Busy,
    /// It takes no connections from other machines.
    Protected,
    /// It does not know scripts, or not this one's commands.
    Script,
    /// Its answer is none of a Redis.
    Nonsense,
}

impl RedisFailure {
    /// Every cause.
    #[cfg(test)]
    pub const ALL: [Self; 14] = [
        Self::Late,
        Self::Connection,
        Self::Credentials,
        Self::Cluster,
        Self::Replica,
        Self::Orphaned,
        Self::Loading,
        Self::Full,
        Self::Disk,
        Self::Replicas,
        Self::Busy,
        Self::Protected,
        Self::Script,
        Self::Nonsense,
    ];

    /// Reads an error by its kind and the code at its beginning.
    pub fn of(error: &RedisError) -> Self {
        match (error.kind(), error.code()) {
            (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS" | "NOPERM")) => {
                Self::Credentials
            }
            (_, Some("MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN" | "TRYAGAIN")) => Self::Cluster,
            (_, Some("READONLY")) => Self::Replica,
            (_, Some("MASTERDOWN")) => Self::Orphaned,
            (_, Some("LOADING")) => Self::Loading,
            (_, Some("OOM")) => Self::Full,
            (_, Some("MISCONF")) => Self::Disk,
            (_, Some("NOREPLICAS")) => Self::Replicas,
            (_, Some("BUSY")) => Self::Busy,
            (_, Some("DENIED")) => Self::Protected,
            (ErrorKind::Io, _) => Self::Connection,
            (ErrorKind::Server(_) | ErrorKind::Extension, _) => Self::Script,
            _ => Self::Nonsense,
        }
    }

    /// Returns one fixed sentence: what is wrong, and where it is in the operator's hands, what to
    /// do.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Late => "it took too long",
            Self::Connection => "the connection failed",
            Self::Credentials => "it refused the credentials",
            Self::Cluster => {
                "it is a cluster, whose servers have some keys only: use a Redis without cluster mode (Azure Managed Redis: the \
                 cluster policy Enterprise)"
            }
            Self::Replica => "it is a read-only replica: name the primary in ROOMKEY_REDIS_URL",
            Self::Orphaned => "it is a replica that has lost its primary",
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
            Self::Nonsense => "its answer made no sense",
        }
    }
}

#[cfg(test)]
mod tests {
    use redis::Value;

    use super::*;

    /// What the client makes of an error that a server writes.
    fn answered(line: &str) -> RedisError {
        let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes());
        match value.and_then(Value::extract_error) {
            Err(error) => error,
            Ok(value) => panic!("{value:?}"),
        }
    }

    #[test]
    fn each_refusal_of_a_server_has_its_cause() {
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
                RedisFailure::Orphaned,
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
            assert_eq!(RedisFailure::of(&answered(line)), cause, "{line}");
        }
    }

    #[test]
    fn no_two_causes_read_alike() {
        let texts: std::collections::BTreeSet<_> =
            RedisFailure::ALL.map(RedisFailure::as_str).into();
        assert_eq!(texts.len(), RedisFailure::ALL.len());
    }
}
