//! What an upstream's answer means, by its status alone; its words are read by nobody.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Error, Response, StatusCode};
use zeroize::Zeroizing;

use super::{Failure, MintError, Repeat};
use crate::domain::realtime::client_secret::MAX_ANSWER_BYTES;
use crate::domain::realtime::upstream_id::UpstreamId;

/// After a 429 that does not say how long to wait.
const DEFAULT_WAIT: Duration = Duration::from_secs(5);
/// Longest wait that is handed on: a caller should come back while the person is still there.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// A request that got no answer.
pub(super) fn not_answered(error: &Error) -> Failure {
    let kind = if error.is_timeout() {
        MintError::Timeout
    } else {
        MintError::Network
    };
    let repeat = if error.is_connect() {
        Repeat::AfterPause
    } else {
        Repeat::Never
    };
    Failure {
        error: kind,
        repeat,
    }
}

/// An answer that is not a success.
pub(super) fn refusal(response: &Response) -> Failure {
    let error = match response.status() {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => MintError::CredentialsRejected,
        StatusCode::NOT_FOUND => MintError::Misconfigured,
        StatusCode::TOO_MANY_REQUESTS => MintError::RateLimited(wait(response.headers())),
        status if status.is_client_error() => MintError::Rejected,
        status if status.is_redirection() => MintError::Failed("the upstream redirects"),
        status if status.is_server_error() => {
            return Failure {
                error: MintError::Failed("the upstream says 5xx"),
                repeat: Repeat::AfterPause,
            };
        }
        _ => MintError::Failed("the upstream's status has no meaning here"),
    };
    error.into()
}

/// Reads an answer as it arrives and stops past the limit. It holds a secret, so its bytes are
/// wiped with it.
pub(super) async fn body(mut response: Response) -> Result<Zeroizing<Vec<u8>>, MintError> {
    let mut body = Zeroizing::new(Vec::new());
    let broken = |_: Error| MintError::Failed("the upstream's answer broke off");
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(MintError::Failed("the upstream's answer is too large"));
        }
        append(&mut body, &chunk);
    }
    Ok(body)
}

/// Moves to a larger place by itself, because a vector that grows leaves its old bytes as they are.
fn append(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    let needed = body.len() + chunk.len();
    if needed > body.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.next_power_of_two()));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(chunk);
}

/// OpenAI's header or Azure's.
pub(super) fn upstream_id(response: &Response) -> Option<UpstreamId> {
    ["x-request-id", "apim-request-id"]
        .into_iter()
        .find_map(|name| UpstreamId::parse(response.headers().get(name)?.as_bytes()))
}

/// Both vendors send milliseconds, or seconds with or without a fraction; a date is not worth a
/// parser.
fn wait(headers: &HeaderMap) -> Duration {
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
        Duration::from_secs_f64(seconds.min(LONGEST_WAIT.as_secs_f64()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_same_in_any_chunks() {
        let whole: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        for size in [1, 7, 4_096, 10_000] {
            let mut body = Zeroizing::new(Vec::new());
            whole
                .chunks(size)
                .for_each(|chunk| append(&mut body, chunk));
            assert_eq!(*body, whole, "{size}");
        }
    }

    #[test]
    fn the_upstreams_wish_to_wait_is_kept_within_reason() {
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
                wait(&headers),
                Duration::from_secs_f64(seconds),
                "{name}: {value}"
            );
        }
    }
}
