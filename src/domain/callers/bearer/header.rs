//! The JOSE header of a token (RFC 7515 §4).

use super::rejection::TokenRejection;
use crate::domain::callers::key_set::{Algorithm, is_key_id};
use crate::domain::requests::json::{self, Json};

/// The only members of a header that are used.
pub(super) struct JoseHeader {
    pub algorithm: Algorithm,
    pub key_id: Option<Box<str>>,
}

/// Reads a header. Members that name or contain keys are ignored, except `kid`.
pub(super) fn read(header: &[u8]) -> Result<JoseHeader, TokenRejection> {
    let members = json::parse_members(header).map_err(|_| TokenRejection::Form)?;
    // No extension is supported, so a critical one is always unknown; `b64` (RFC 7797) changes what
    // is signed.
    if members.contains_key("crit") || members.contains_key("b64") {
        return Err(TokenRejection::Critical);
    }
    match members.get("typ") {
        // Many providers omit it, which RFC 7515 §4.1.9 allows.
        None | Some(Json::Null) => {}
        Some(Json::Text(typ)) if is_access_token_type(typ) => {}
        Some(_) => return Err(TokenRejection::Type),
    }
    let algorithm = json::text(&members, "alg")
        .and_then(Algorithm::parse)
        .ok_or(TokenRejection::Algorithm)?;
    let key_id = match members.get("kid") {
        None | Some(Json::Null) => None,
        Some(Json::Text(id)) if is_key_id(id) => Some(id.as_ref().into()),
        Some(_) => return Err(TokenRejection::Key),
    };
    Ok(JoseHeader { algorithm, key_id })
}

/// Reports whether `typ` is `JWT` or `at+jwt` (RFC 9068 §2.1). It is a media type, so case does not
/// matter and `application/` may be omitted.
///
/// This rejects other JWTs of the same issuer that have a type of their own, such as logout tokens.
fn is_access_token_type(typ: &str) -> bool {
    const PREFIX: &str = "application/";
    let short = typ
        .split_at_checked(PREFIX.len())
        .filter(|(prefix, _)| prefix.eq_ignore_ascii_case(PREFIX))
        .map_or(typ, |(_, rest)| rest);
    short.eq_ignore_ascii_case("JWT") || short.eq_ignore_ascii_case("at+jwt")
}
