//! The HTTP client of all Realtime upstreams.

use std::time::Duration;

use reqwest::Client;
use tokio::sync::OnceCell;

use super::MINTS_IN_FLIGHT;
use crate::upstream::client;

/// Shorter than what front ends of either vendor keep, so that few mints meet a connection that is
/// being closed.
const IDLE: Duration = Duration::from_secs(30);

/// Set up with the first use: reading the system's certificates takes 30 ms, which a start has no
/// time for.
#[derive(Default)]
pub struct SharedClient(OnceCell<Client>);

impl SharedClient {
    /// The client; `None` where it cannot be set up.
    pub async fn client(&self) -> Option<Client> {
        let set_up = async || {
            let builder = client::builder()
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(MINTS_IN_FLIGHT);
            client::build(builder).await.ok_or(())
        };
        self.0.get_or_try_init(set_up).await.ok().cloned()
    }
}
