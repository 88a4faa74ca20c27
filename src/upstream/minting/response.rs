//! Classifies the responses of an upstream by their status. Of their text only the code of a refused
//! hang-up is read.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Response, StatusCode};
use serde::Deserialize;

use crate::domain::realtime::mint::MintError;
use crate::domain::realtime::upstream_id::UpstreamId;
use crate::upstream::response_body::{ResponseBodyError, read_body};

/// The wait after a 429 without a usable `Retry-After`.
const DEFAULT_WAIT: Duration = Duration::from_secs(5);
/// The longest wait that is passed on to the caller, who should return while a user still waits.
const MAX_WAIT: Duration = Duration::from_mins(1);

/// Most bytes of an error whose code is read.
const MAX_ERROR_BYTES: usize = 16 * 1024;

/// An attempt that returned no secret.
pub(super) struct AttemptError {
    pub(super) error: MintError,
    pub(super) retry: Retry,
}

/// Says whether an attempt may be repeated.
pub(super) enum Retry {
    /// The attempt is not repeated.
    Never,
    /// Nothing was sent, or the upstream itself failed.
    AfterPause,
    /// The upstream refused the credential; a newer one may be accepted.
    WithNewCredential,
}

impl From<MintError> for AttemptError {
    fn from(error: MintError) -> Self {
        Self {
            error,
            retry: Retry::Never,
        }
    }
}

impl From<reqwest::Error> for AttemptError {
    /// Classifies a request that got no response.
    fn from(error: reqwest::Error) -> Self {
        Self {
            error: if error.is_timeout() {
                MintError::Timeout
            } else {
                MintError::Network
            },
            retry: if error.is_connect() {
                Retry::AfterPause
            } else {
                Retry::Never
            },
        }
    }
}

impl From<ResponseBodyError> for AttemptError {
    fn from(error: ResponseBodyError) -> Self {
        let cause = match error {
            ResponseBodyError::TooLarge => "the upstream's answer is too large",
            ResponseBodyError::Incomplete(_) => "the upstream's answer is incomplete",
        };
        MintError::Failed(cause).into()
    }
}

/// Checks that a response has a success status.
///
/// # Errors
/// [`AttemptError`] for every other status.
pub(super) fn require_success(response: &Response) -> Result<(), AttemptError> {
    let (error, retry) = match response.status() {
        status if status.is_success() => return Ok(()),
        StatusCode::UNAUTHORIZED => (MintError::CredentialsRejected, Retry::WithNewCredential),
        // The credential is known, so a newer one would not help.
        StatusCode::FORBIDDEN => (MintError::CredentialsRejected, Retry::Never),
        StatusCode::NOT_FOUND => (MintError::Misconfigured, Retry::Never),
        StatusCode::TOO_MANY_REQUESTS => {
            let wait = retry_after(response.headers());
            (MintError::RateLimited(wait), Retry::Never)
        }
        status if status.is_client_error() => (MintError::Rejected, Retry::Never),
        status if status.is_redirection() => (
            MintError::Failed("the upstream returned a redirect"),
            Retry::Never,
        ),
        status if status.is_server_error() => (MintError::SERVER_ERROR, Retry::AfterPause),
        _ => (
            MintError::Failed("the upstream returned an unexpected status"),
            Retry::Never,
        ),
    };
    Err(AttemptError { error, retry })
}

/// Returns whether the answer to a hang-up means that the call is over or never existed: 404, or
/// 400 with a code that says so. The vendors document neither; a call that is over counts as hung
/// up.
pub(super) async fn is_unknown_call(response: Response) -> bool {
    match response.status() {
        StatusCode::NOT_FOUND => true,
        StatusCode::BAD_REQUEST => {
            let body = read_body(response, MAX_ERROR_BYTES).await;
            body.is_ok_and(|body| {
                let refusal = serde_json::from_slice::<Refusal>(&body);
                refusal.is_ok_and(|refusal| refusal.error.code.ends_with("not_found"))
            })
        }
        _ => false,
    }
}

#[derive(Deserialize)]
struct Refusal {
    error: RefusalError,
}

#[derive(Deserialize)]
struct RefusalError {
    code: String,
}

/// Reads the upstream's id of the request, from the header of OpenAI, Azure or Cloudflare.
pub(super) fn upstream_id(response: &Response) -> Option<UpstreamId> {
    ["x-request-id", "apim-request-id", "cf-ray"]
        .into_iter()
        .find_map(|name| UpstreamId::parse(response.headers().get(name)?.as_bytes()))
}

/// Reads the time to wait. The vendors send milliseconds, or seconds with or without a fraction; a
/// date counts as absent.
fn retry_after(headers: &HeaderMap) -> Duration {
    let number = |name: &str| {
        headers
            .get(name)?
            .to_str()
            .ok()?
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite() && *number > 0.0)
    };
    let seconds = number("retry-after-ms")
        .map(|milliseconds| milliseconds / 1_000.0)
        .or_else(|| number("retry-after"));
    seconds.map_or(DEFAULT_WAIT, |seconds| {
        Duration::from_secs_f64(seconds.min(MAX_WAIT.as_secs_f64()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_that_an_upstream_asks_for_is_bounded() {
        for (name, value, seconds) in [
            ("retry-after", "7", 7.0),
            ("retry-after", "0.5", 0.5),
            ("retry-after-ms", "1500", 1.5),
            ("retry-after", "86400", 60.0),
            ("retry-after", "1e300", 60.0),
            ("retry-after", "0", 5.0),
            ("retry-after", "-1", 5.0),
            ("retry-after", "NaN", 5.0),
            ("retry-after", "inf", 5.0),
            ("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT", 5.0),
            ("x-other", "7", 5.0),
        ] {
            let headers = [(name.parse().unwrap(), value.parse().unwrap())]
                .into_iter()
                .collect();
            assert_eq!(
                retry_after(&headers),
                Duration::from_secs_f64(seconds),
                "{name}: {value}"
            );
        }
    }
}
