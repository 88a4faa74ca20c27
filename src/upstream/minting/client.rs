//! The HTTP client that all upstreams that mint share.

use std::time::Duration;

use reqwest::Client;
use tokio::sync::OnceCell;

use super::deadlines::MAX_MINTS_IN_FLIGHT;
use crate::domain::realtime::mint::MintError;
use crate::upstream::client;

/// The time after which an idle connection is closed. The vendors' front ends keep connections for
/// longer, so few mints meet a connection that is being closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// A client that is built by the first use: reading the system's certificates takes 30 ms, which
/// would delay the start.
#[derive(Default)]
pub struct SharedClient(OnceCell<Client>);

impl SharedClient {
    /// Returns the client.
    ///
    /// # Errors
    /// [`MintError::Failed`] if it cannot be set up.
    pub async fn client(&self) -> Result<Client, MintError> {
        let set_up = async || {
            let builder = client::builder()
                .pool_idle_timeout(IDLE_TIMEOUT)
                .pool_max_idle_per_host(MAX_MINTS_IN_FLIGHT);
            client::build(builder)
                .await
                .ok_or(MintError::Failed("the HTTP client could not be set up"))
        };
        self.0.get_or_try_init(set_up).await.cloned()
    }
}
