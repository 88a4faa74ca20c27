//! The names of rooms and participants. Each type's parser is its only public constructor from
//! text, so every value is valid.
//!
//! LiveKit itself accepts any UTF-8 of up to 256 bytes. The rule here is stricter because rooms and
//! identities reach logs, and because the server's moderation topics join both with `_`.

use data_encoding::BASE32_NOPAD;
use regex::{Regex, RegexBuilder};

use crate::domain::requests::fields::Requirement;

/// The most bytes of a room name and of an identity.
const MAX_NAME_BYTES: usize = 128;
/// The bytes of the digest in a derived identity: 128 bits, so that nobody can find a second
/// subject for one.
const DERIVED_BYTES: usize = 16;
/// The alphabet of RFC 4648 base32 in lower case. Five random bits choose one of its 32 characters
/// without bias.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The random bytes for a random name. Each determines one of its 12 characters (5 bits, 60 in
/// all).
pub type NameSeed = [u8; 12];

/// The name of a room: 1 to 128 bytes of `[a-zA-Z0-9_-]`.
///
/// # Examples
/// ```
/// use roomkey::domain::livekit::names::RoomName;
///
/// assert_eq!(RoomName::parse("standup-42").unwrap().as_str(), "standup-42");
/// let requirement = RoomName::parse("standup 42\n").unwrap_err();
/// assert_eq!(requirement.to_string(), "must be 1 to 128 letters, digits, '-' or '_'");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct RoomName(String);

impl RoomName {
    /// Reads a room name.
    ///
    /// # Errors
    /// The requirement, if the text does not meet it.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        parse_name(text).map(Self)
    }

    /// Returns a room name that nobody can guess: `room-` and 12 random characters.
    #[must_use]
    pub fn random(seed: NameSeed) -> Self {
        Self(random_name("room-", seed))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The identity of a participant: 1 to 128 bytes of `[a-zA-Z0-9_-]`. A second participant with the
/// same identity evicts the first.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct ParticipantIdentity(String);

impl ParticipantIdentity {
    /// Reads an identity.
    ///
    /// # Errors
    /// The requirement, if the text does not meet it.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        parse_name(text).map(Self)
    }

    /// Returns the identity for a caller who sent none: `guest-` and 12 random characters.
    #[must_use]
    pub fn guest(seed: NameSeed) -> Self {
        Self(random_name("guest-", seed))
    }

    /// Returns the identity for a signed-in caller whose subject is not a valid name: `u-` and 26
    /// characters for the first 16 bytes of a digest.
    pub(in crate::domain) fn derived(digest: &[u8]) -> Self {
        let text = BASE32_NOPAD.encode(digest.get(..DERIVED_BYTES).unwrap_or(digest));
        Self(format!("u-{}", text.to_ascii_lowercase()))
    }

    /// Returns the identity as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The operator's own pattern for room names, which must match the whole name.
#[derive(Debug, Clone)]
pub struct RoomPattern(Regex);

impl RoomPattern {
    /// The most bytes of a compiled pattern, about a hundred times what a rule for names needs.
    const MAX_COMPILED_BYTES: usize = 1 << 20;

    /// Compiles the pattern by itself and then anchored: `)|(` becomes valid only when it is
    /// wrapped, and a `(?x)` comment could hide the end of the wrapping.
    ///
    /// # Errors
    /// The requirement, if either does not compile, or for a pattern between slashes. The
    /// compiler's message is dropped: it quotes the pattern.
    pub fn parse(pattern: &str) -> Result<Self, Requirement> {
        // As in JavaScript. No room name contains a slash, so nothing would match.
        if pattern.starts_with('/') {
            return Err("must be the regular expression alone, without slashes around it".into());
        }
        let compile = |pattern: &str| {
            RegexBuilder::new(pattern)
                .size_limit(Self::MAX_COMPILED_BYTES)
                .build()
                .map_err(|_| {
                    Requirement::from(
                        "must be a regular expression (syntax of the Rust crate regex), without a \
                         comment at its end",
                    )
                })
        };
        compile(pattern)?;
        compile(&format!(r"\A(?:{pattern})\z")).map(Self)
    }

    /// Reports whether the whole name matches.
    #[must_use]
    pub fn matches(&self, room_name: &RoomName) -> bool {
        self.0.is_match(&room_name.0)
    }
}

/// Checks the whole text against the rule for room names and identities.
fn parse_name(text: &str) -> Result<String, Requirement> {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(is_allowed) {
        Ok(text.to_owned())
    } else {
        Err("must be 1 to 128 letters, digits, '-' or '_'".into())
    }
}

fn random_name(prefix: &str, seed: NameSeed) -> String {
    let characters = seed
        .iter()
        .filter_map(|byte| BASE32.get(usize::from(byte % 32)))
        .map(|byte| char::from(*byte));
    prefix.chars().chain(characters).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::livekit::participant_name::ParticipantName;

    #[test]
    fn names_that_break_the_rule_are_rejected() {
        let long = "a".repeat(129);
        for text in [
            "",
            " ",
            "a b",
            " a",
            "a ",
            "a\n",
            "\na",
            "a\r\n",
            "a\0",
            "../",
            "..",
            "%2e%2e",
            "a/b",
            "a.b",
            "ä",
            "а",
            "a\u{200d}",
            "１",
            "a\u{301}",
            long.as_str(),
        ] {
            assert!(RoomName::parse(text).is_err(), "{text:?}");
            assert!(ParticipantIdentity::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_within_the_rule_are_kept_unchanged() {
        let long = "a".repeat(128);
        for text in ["a", "-", "_", "0", "standup-42", "A_b-9", long.as_str()] {
            assert_eq!(RoomName::parse(text).unwrap().as_str(), text);
            assert_eq!(ParticipantIdentity::parse(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn a_pattern_that_only_compiles_when_wrapped_or_can_match_nothing_is_rejected() {
        for pattern in [
            ")|(",
            "(",
            "a)",
            "(?x)a #c",
            "*",
            "[",
            r"(?P<n>a)(?P<n>b)",
            "(a{1000}){1000}",
            "/^team-[0-9]+$/",
            "/team/i",
        ] {
            assert!(RoomPattern::parse(pattern).is_err(), "{pattern:?}");
        }
    }

    #[test]
    fn a_pattern_must_match_the_whole_name() {
        let matches = |pattern: &str, room: &str| {
            RoomPattern::parse(pattern)
                .unwrap()
                .matches(&RoomName::parse(room).unwrap())
        };
        assert!(matches("a|ab", "ab"));
        assert!(matches("team-[0-9]+", "team-7"));
        assert!(!matches("team-[0-9]+", "team-7x"));
        assert!(!matches("team-[0-9]+", "xteam-7"));
        assert!(!matches("a|b", "ab"));
        assert!(!matches("(?m)^a$", "ab"));
        assert!(matches("(?i)team-.*", "TEAM-7"));
        assert!(matches(r"\w+", "team_7"));
    }

    #[test]
    fn random_names_follow_the_rule() {
        let seed = [0, 29, 58, 87, 116, 145, 174, 203, 232, 5, 34, 63];
        let guest = ParticipantIdentity::guest(seed);
        assert_eq!(guest.as_str(), "guest-a52xurolifc7");
        assert_eq!(ParticipantIdentity::parse(guest.as_str()), Ok(guest));
        let room = RoomName::random(seed);
        assert_eq!(room.as_str(), "room-a52xurolifc7");
        assert_eq!(RoomName::parse(room.as_str()), Ok(room));
    }

    proptest! {
        #[test]
        fn any_text_is_either_kept_unchanged_or_rejected(text in any::<String>()) {
            if let Ok(room) = RoomName::parse(&text) {
                prop_assert_eq!(room.as_str(), text.as_str());
                prop_assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)));
            }
        }

        #[test]
        fn every_name_within_the_rule_is_accepted(text in "[a-zA-Z0-9_-]{1,128}") {
            let identity = ParticipantIdentity::parse(&text).unwrap();
            let name = ParticipantName::from(&identity);
            prop_assert_eq!(ParticipantName::parse(&text), Ok(name));
        }
    }
}
