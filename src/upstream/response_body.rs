//! Reads the body of a response up to a size limit.

use reqwest::Response;
use zeroize::Zeroizing;

/// An error that occurs while a body is read.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResponseBodyError {
    /// The body is larger than the limit.
    #[error("the response body is too large")]
    TooLarge,
    /// The connection failed before the end of the body.
    #[error("the response body is incomplete")]
    Incomplete(#[from] reqwest::Error),
}

/// Reads a body as it arrives and stops once it is larger than `max_bytes`. The bytes may hold a
/// secret, so they are wiped when they are dropped.
///
/// # Errors
/// [`ResponseBodyError`].
pub(super) async fn read_body(
    mut response: Response,
    max_bytes: usize,
) -> Result<Zeroizing<Vec<u8>>, ResponseBodyError> {
    let mut body = Zeroizing::new(Vec::new());
    while let Some(chunk) = response.chunk().await? {
        if body.len() + chunk.len() > max_bytes {
            return Err(ResponseBodyError::TooLarge);
        }
        append(&mut body, &chunk);
    }
    Ok(body)
}

/// Appends a chunk. Growing the vector in place would leave a copy of the old bytes in freed
/// memory, so a larger vector replaces it and the old one is wiped.
fn append(body: &mut Zeroizing<Vec<u8>>, chunk: &[u8]) {
    let needed = body.len() + chunk.len();
    if needed > body.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.next_power_of_two()));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(chunk);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_of_any_size_make_the_same_body() {
        let whole: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        for size in [1, 7, 4_096, 10_000] {
            let mut body = Zeroizing::new(Vec::new());
            whole
                .chunks(size)
                .for_each(|chunk| append(&mut body, chunk));
            assert_eq!(*body, whole, "{size}");
        }
    }
}
