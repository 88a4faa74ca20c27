//! `GET /api/metrics`: the metrics for Prometheus.

use http::StatusCode;

use super::error::ApiError;
use super::guard;
use super::reply::{self, Reply};
use super::request::Request;
use crate::app::App;
use crate::metrics::CONTENT_TYPE;

/// Returns all metrics as text.
pub async fn scrape(app: &App, mut request: Request<'_>) -> Result<Reply, ApiError> {
    let now = guard::admit_scraper(app, &mut request).await?;
    let text = app
        .metrics
        .render(&app.scrape(now))
        .map_err(|_| ApiError::Internal("the metrics could not be written"))?;
    Ok(reply::with_body(
        StatusCode::OK,
        CONTENT_TYPE,
        text.into_bytes(),
    ))
}
