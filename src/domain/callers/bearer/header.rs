//! The JOSE header of a token (RFC 7515 §4): read strictly, believed as little as possible.

use super::TokenRejection;
use crate::domain::callers::key_set::{Algorithm, is_key_id};
use crate::domain::requests::json::{self, Json};

/// All that is taken from a header.
pub(super) struct Header {
    pub algorithm: Algorithm,
    pub key_id: Option<Box<str>>,
}

/// Reads a header. Members that only name or bring keys are not looked at.
pub(super) fn read(header: &[u8]) -> Result<Header, TokenRejection> {
    let members = json::parse_members(header).map_err(|_| TokenRejection::Form)?;
    let text = |member| match members.get(member) {
        Some(Json::Text(text)) => Some(text.as_ref()),
        _ => None,
    };
    // We know no extension, so whatever is critical is unknown; `b64` (RFC 7797) changes what is
    // signed.
    if members.contains_key("crit") || members.contains_key("b64") {
        return Err(TokenRejection::Critical);
    }
    match members.get("typ") {
        // Many providers leave it out (RFC 7515 §4.1.9 lets them).
        None | Some(Json::Null) => {}
        Some(Json::Text(typ)) if is_access_token(typ) => {}
        Some(_) => return Err(TokenRejection::Type),
    }
    let algorithm = text("alg")
        .and_then(Algorithm::parse)
        .ok_or(TokenRejection::Algorithm)?;
    let key_id = match members.get("kid") {
        None | Some(Json::Null) => None,
        Some(Json::Text(id)) if is_key_id(id) => Some(id.as_ref().into()),
        Some(_) => return Err(TokenRejection::Key),
    };
    Ok(Header { algorithm, key_id })
}

/// `JWT`, or `at+jwt` (RFC 9068 §2.1): a media type, so case does not matter and `application/` may
/// be left out. The type keeps other JWTs of the same issuer out that name theirs, such as logout
/// tokens.
fn is_access_token(typ: &str) -> bool {
    const PREFIX: &str = "application/";
    let short = typ
        .split_at_checked(PREFIX.len())
        .filter(|(prefix, _)| prefix.eq_ignore_ascii_case(PREFIX))
        .map_or(typ, |(_, rest)| rest);
    short.eq_ignore_ascii_case("JWT") || short.eq_ignore_ascii_case("at+jwt")
}
