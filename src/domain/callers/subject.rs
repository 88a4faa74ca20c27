//! The subject of a caller: the id under which an issuer knows somebody.

/// The most bytes of a subject (`OpenID` Connect Core 1.0 §2).
const MAX_BYTES: usize = 255;

/// Reports whether a text can be a subject: 1 to 255 bytes without control characters.
pub(super) fn is_subject(text: &str) -> bool {
    (1..=MAX_BYTES).contains(&text.len()) && !text.chars().any(char::is_control)
}
