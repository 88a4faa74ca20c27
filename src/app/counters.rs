//! Chooses where the requests of callers are counted.

use std::sync::Arc;

use crate::config::fault::Fault;
use crate::config::rate_limits::REDIS_URL;
use crate::domain::settings::secrets::{SecretName, SecretSource};
use crate::store::counters::Counters;
use crate::store::redis::{Redis, RedisDeadlines};

/// The name of Redis' address in Key Vault, and the client that waits for it.
pub type RedisAddress = (SecretName, Arc<Redis>);

/// Creates the counters. The second value is set where the address must be read from Key Vault
/// first.
///
/// # Errors
/// A [`Fault`] where the client does not accept the address.
pub fn from_settings(
    redis_url: Option<&SecretSource>,
) -> Result<(Counters, Option<RedisAddress>), Fault> {
    match redis_url {
        None => Ok((Counters::in_memory(), None)),
        Some(SecretSource::Given(url)) => Counters::shared(url.clone())
            .map(|counters| (counters, None))
            .map_err(|_| Fault::new(REDIS_URL, "is not the address of a Redis server")),
        Some(SecretSource::InVault(name)) => {
            let redis = Arc::new(Redis::awaiting_address(RedisDeadlines::default()));
            let counters = Counters::Redis(Arc::clone(&redis));
            Ok((counters, Some((name.clone(), redis))))
        }
    }
}
