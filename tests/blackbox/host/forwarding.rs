//! The mode that copies: a new request is made of what the host knows, and the whole answer is read
//! before it goes on.

use uuid::Uuid;

use super::dot_net::Request as Copy;
use super::headers::{Headers, is_token};
use super::kestrel::{Answer, Request};
use super::source::Source;
use super::worker::Worker;
use super::{HOST_VERSION, INVOCATION_ID, VERSION, path};

/// What .NET keeps with a body. Of these only type and length are set again, and only if there is a
/// body.
const CONTENT_HEADERS: [&str; 11] = [
    "allow",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-md5",
    "content-range",
    "content-type",
    "expires",
    "last-modified",
];

/// Lists in an answer that .NET takes apart, so that each part becomes a line.
const LISTS: [&str; 12] = [
    "accept-ranges",
    "allow",
    "content-encoding",
    "content-language",
    "pragma",
    "proxy-authenticate",
    "trailer",
    "upgrade",
    "vary",
    "via",
    "warning",
    "www-authenticate",
];

/// The parts of `Cache-Control` in the order in which .NET writes them; others come last.
const CACHE_CONTROL: [&str; 12] = [
    "no-store",
    "no-transform",
    "only-if-cached",
    "public",
    "must-revalidate",
    "proxy-revalidate",
    "no-cache",
    "max-age",
    "s-maxage",
    "max-stale",
    "min-fresh",
    "private",
];

/// Passes a request on; `None` where the handler did not answer it, or never saw it.
pub async fn pass(
    worker: &Worker,
    request: &Request,
    source: &mut Source<'_>,
    invocation: Uuid,
) -> Option<Answer> {
    // A body counts by its announced length, and .NET sends no chunks without one.
    if request.is_chunked() {
        return None;
    }
    let query = request.query.as_deref().and_then(path::forwarded_query);
    let target = path::forwarded(&request.path)
        + &query.map(|query| format!("?{query}")).unwrap_or_default();
    let headers = headers(request, invocation)?;
    let mut answer = worker
        .client
        .send(
            &Copy {
                method: request.method.clone(),
                target,
                headers,
            },
            source,
        )
        .await
        .ok()?;
    let whole = answer.whole().await.ok()?;
    match answer_headers(&answer.headers) {
        Some(headers) => Some(Answer::whole(answer.status, &answer.reason, headers, whole)),
        // The reason was copied before the headers were refused.
        None => Some(Answer::whole(
            500,
            &answer.reason,
            Headers::default(),
            Vec::new(),
        )),
    }
}

fn headers(request: &Request, invocation: Uuid) -> Option<Headers> {
    let mut headers = request.headers.clone();
    headers.retain(|name| {
        !CONTENT_HEADERS
            .iter()
            .any(|content| content.eq_ignore_ascii_case(name))
    });
    headers.append(HOST_VERSION, VERSION);
    headers.append(INVOCATION_ID, invocation.to_string());
    headers.append("User-Agent", format!("Azure-Functions-Host/{VERSION}"));
    if let Some(length) = request.content_length() {
        headers.append("Content-Length", length.to_string());
        let mut types = request.headers.all("content-type");
        if let Some(first) = types.next() {
            // Two are one list, which is no media type.
            let only = std::str::from_utf8(first)
                .ok()
                .filter(|text| types.next().is_none() && is_media_type(text))?;
            headers.append("Content-Type", only);
        }
    } else if request.must_have_length() {
        headers.append("Content-Length", "0");
    }
    Some(headers.one_line_each())
}

fn is_media_type(text: &str) -> bool {
    let mut parts = text.split(';').map(str::trim);
    let is_type = parts
        .next()
        .and_then(|kind| kind.split_once('/'))
        .is_some_and(|(kind, sub)| is_token(kind) && is_token(sub));
    let is_quoted = |value: &str| value.len() > 1 && value.starts_with('"') && value.ends_with('"');
    is_type
        && parts.all(|part| {
            part.split_once('=')
                .is_none_or(|(name, value)| is_token(name) && (is_token(value) || is_quoted(value)))
        })
}

/// `None` if the server refuses one.
fn answer_headers(sent: &Headers) -> Option<Headers> {
    let mut headers = Headers::default();
    for (name, value) in sent.iter().filter(|(_, value)| !value.is_empty()) {
        let text = std::str::from_utf8(value)
            .ok()
            .filter(|text| text.is_ascii())?;
        match name.to_ascii_lowercase().as_str() {
            "transfer-encoding" => {}
            "content-length" if text.parse::<u64>().is_err() => {}
            "content-length" if headers.contains(name) => return None,
            "cache-control" => headers.append(name, cache_control(text)),
            lower if LISTS.contains(&lower) => parts(text)
                .iter()
                .for_each(|part| headers.append(name, part)),
            _ => headers.append(name, text),
        }
    }
    Some(headers)
}

fn cache_control(text: &str) -> String {
    let mut parts: Vec<_> = text.split(',').map(str::trim).collect();
    let place = |part: &&str| {
        CACHE_CONTROL
            .iter()
            .position(|known| part.split('=').next() == Some(known))
            .unwrap_or(CACHE_CONTROL.len())
    };
    parts.sort_by_key(place);
    parts.join(", ")
}

/// The parts of a list. A part that is only a parameter, such as `error="…"`, belongs to the
/// challenge before it.
fn parts(list: &str) -> Vec<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut in_quotes = false;
    let split = list.split(|character| {
        in_quotes ^= character == '"';
        character == ',' && !in_quotes
    });
    for part in split.map(str::trim) {
        let is_parameter = part.split_once('=').is_some_and(|(name, _)| is_token(name));
        match parts.last_mut() {
            Some(challenge) if is_parameter => *challenge = format!("{challenge}, {part}"),
            _ => parts.push(part.to_owned()),
        }
    }
    parts
}
