//! The display name of a participant: text in any script, without characters that are invisible or
//! that move other text.

use icu_properties::CodePointMapData;
use icu_properties::props::{GeneralCategory, GeneralCategoryGroup};
use unicode_normalization::UnicodeNormalization;

use super::names::ParticipantIdentity;
use crate::domain::invisible::{is_invisible, is_needed};
use crate::domain::requests::fields::Requirement;

/// The most code points of a name, after normalization.
const MAX_CODE_POINTS: usize = 128;
/// The most bytes of a name, after normalization. It is LiveKit's own limit.
const MAX_BYTES: usize = 256;
/// A symbol that shows nothing.
const BRAILLE_PATTERN_BLANK: char = '\u{2800}';

/// A name that other participants see: 1 to 128 code points and at most 256 bytes in NFC (UAX #15).
///
/// It contains nothing that could split a line, colour a terminal, reorder text, or distinguish two
/// names invisibly.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(transparent)]
pub struct ParticipantName(String);

impl ParticipantName {
    /// Normalizes and reads a display name.
    ///
    /// # Errors
    /// The requirement that the text does not meet.
    pub fn parse(text: &str) -> Result<Self, Requirement> {
        // Most names are plain ASCII, which needs none of the checks below.
        let is_short = (1..=MAX_CODE_POINTS).contains(&text.len());
        if is_short && text.bytes().all(|b| b.is_ascii_graphic()) {
            return Ok(Self(text.to_owned()));
        }
        let name: String = text.nfc().collect();
        let characters: Vec<char> = name.chars().collect();
        if characters.is_empty() || characters.len() > MAX_CODE_POINTS || name.len() > MAX_BYTES {
            return Err("must be 1 to 128 characters and at most 256 bytes of UTF-8".into());
        }
        if characters
            .iter()
            .any(|c| c.is_control() || splits_or_reorders(*c))
        {
            return Err(
                "must not hold control characters, line separators or text direction overrides"
                    .into(),
            );
        }
        if has_needless_invisible_character(&characters) {
            return Err(
                "must not hold invisible characters, except where an emoji or a script needs them"
                    .into(),
            );
        }
        if !characters.iter().any(|c| is_visible_by_itself(*c)) {
            return Err(
                "must hold a letter, a digit or a symbol, not only spaces and marks".into(),
            );
        }
        Ok(Self(name))
    }

    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&ParticipantIdentity> for ParticipantName {
    /// Returns the default name. Every identity is a valid name: it is shorter, and consists of
    /// letters, digits, `-` and `_` only.
    fn from(identity: &ParticipantIdentity) -> Self {
        Self(identity.as_str().to_owned())
    }
}

/// Reports whether a character ends a line (U+2028, U+2029), or embeds, overrides or isolates a
/// direction (U+202A to U+202E, U+2066 to U+2069; UAX #9).
fn splits_or_reorders(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn has_needless_invisible_character(characters: &[char]) -> bool {
    (0..characters.len()).any(|index| match characters.split_at(index) {
        (before, [c, after @ ..]) => is_invisible(*c) && !is_needed(*c, before, after),
        (_, []) => false,
    })
}

/// Reports whether a character shows something by itself, unlike spaces and combining marks.
fn is_visible_by_itself(c: char) -> bool {
    let category = CodePointMapData::<GeneralCategory>::new().get(c);
    let is_mark_or_space = [GeneralCategoryGroup::Mark, GeneralCategoryGroup::Separator]
        .iter()
        .any(|group| group.contains(category));
    !is_mark_or_space && !is_invisible(c) && c != BRAILLE_PATTERN_BLANK
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_that_could_split_colour_or_reorder_a_line_are_rejected() {
        let emoji = "\u{1f600}".repeat(128);
        let (characters, bytes) = ("x".repeat(129), "é".repeat(129));
        for text in [
            "",
            "a\nb",
            "a\rb",
            "\t",
            "\u{1b}[31mred",
            "a\0b",
            "\u{7f}",
            "\u{85}",
            "\u{9b}31m",
            "\u{2028}",
            "\u{2029}",
            "\u{202e}abc",
            "\u{202a}a\u{202c}",
            "\u{2066}a\u{2069}",
            emoji.as_str(),
            characters.as_str(),
            bytes.as_str(),
        ] {
            assert!(ParticipantName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn names_with_a_needless_invisible_character_are_rejected() {
        for invisible in [
            '\u{ad}',   // soft hyphen
            '\u{34f}',  // combining grapheme joiner
            '\u{61c}',  // Arabic letter mark
            '\u{115f}', // Hangul choseong filler
            '\u{1160}', // Hangul jungseong filler
            '\u{17b4}', // Khmer inherent vowel
            '\u{17b5}',
            '\u{180b}', // Mongolian free variation selector
            '\u{180e}', // Mongolian vowel separator
            '\u{200b}', // zero width space
            '\u{200c}', // zero width non-joiner
            '\u{200d}', // zero width joiner
            '\u{200e}', // left-to-right mark
            '\u{200f}', // right-to-left mark
            '\u{2060}', // word joiner
            '\u{2061}',
            '\u{2064}',
            '\u{2065}',
            '\u{206a}',
            '\u{206f}',
            '\u{3164}', // Hangul filler
            '\u{fe00}', // variation selectors
            '\u{fe0e}',
            '\u{fe0f}',
            '\u{feff}', // zero width no-break space
            '\u{ffa0}', // halfwidth Hangul filler
            '\u{fff0}',
            '\u{fff9}', // interlinear annotation
            '\u{fffb}',
            '\u{ffff}',
            '\u{13430}',
            '\u{1bca0}', // shorthand format
            '\u{1d159}', // musical null notehead
            '\u{1d173}',
            '\u{e0001}', // language tag
            '\u{e0020}', // tag space
            '\u{e0061}', // tag a
            '\u{e007f}', // cancel tag
            '\u{e0100}', // variation selector-17
            '\u{e0fff}',
        ] {
            for text in [
                format!("Alice{invisible}"),
                format!("{invisible}Alice"),
                format!("Al{invisible}ice"),
                invisible.to_string(),
            ] {
                assert!(ParticipantName::parse(&text).is_err(), "{text:?}");
            }
        }
        for text in [
            " ",
            "\u{a0}",
            "\u{3000}\u{2003}",
            "\u{301}",
            " \u{301}\u{302} ",
            "\u{2800}",
            "\u{2800}\u{2800} ",
            "7\u{fe0f}",          // a digit with a presentation and no keycap
            "👩\u{fe0f}\u{fe0f}", // the second selector shows nothing
            "👩\u{200d}",         // joins nothing
            "\u{200d}👩",
            "👩\u{200d}a",
            "a\u{200d}👩",
            "👩\u{200d}\u{200d}👧",
            "🏴\u{e0067}\u{e0062}", // a flag without an end
            "🏴\u{e007f}",
            "👩\u{e0067}\u{e0062}\u{e007f}", // tags on what is no flag
            "🏴\u{e0067}\u{e0041}\u{e007f}", // a capital tag
            "سلام\u{200c}",                   // a non-joiner at the end
            "\u{200c}سلام",
            "سلام\u{200c}\u{200c}رضا",
            "ab\u{200c}cd",
            "क\u{200c}ष", // no virama before it
            "葛\u{e0100}\u{e0100}",
            "عربي\u{200f}",
        ] {
            assert!(ParticipantName::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn ordinary_names_in_many_scripts_are_accepted() {
        for text in [
            "Alice",
            "alice_7",
            "Jean-Luc O’Connor, Jr.",
            "Åsa Öberg",
            "Nguyễn Thị Hương",
            "Şükrü İnönü",
            "Łukasz Żółć",
            "Ñandú Peña",
            "Ólafur Þórðarson",
            "Ελένη Παπαδοπούλου",
            "Владимир Йовович",
            "Ђорђе Њушић",
            "Արամ Խաչատրյան",
            "ნინო ხარატიშვილი",
            "אֱלִיעֶזֶר בֶּן־יְהוּדָה",
            "مُحَمَّد عبد الله",
            "محمد\u{200c}رضا", // Persian, behind a letter that joins to none
            "علی\u{200c}اکبر می\u{200c}خواهد", // Persian
            "نەوزاد ئەحمەد",
            "ܡܪܝܡ",
            "ދިވެހި",
            "አበበ ቢቂላ",
            "ߒߞߏ",
            "श्री राजेश शर्मा",
            "क्\u{200d}ष राम",    // Hindi, a half form
            "र\u{200d}्याक",      // Nepali, the eyelash form
            "শ্রী র\u{200d}্যাচেল", // Bengali
            "ਗੁਰਪ੍ਰੀਤ ਸਿੰਘ",
            "ગુજરાતી પટેલ",
            "ଓଡ଼ିଆ ଦାସ",
            "முத்துவேல் கருணாநிதி",
            "శ్రీనివాస్\u{200c}రావు",        // Telugu
            "ರಾಜ್\u{200c}ಕುಮಾರ್",        // Kannada
            "മോഹന്\u{200d} ലാല്\u{200d}", // Malayalam, the older encoding of final consonants
            "ශ්\u{200d}රී ලංකා",          // Sinhala
            "สมชาย ใจดี",
            "ສົມພອນ",
            "မောင်မောင်",
            "သ\u{fe00}",
            "សុខា ចាន់",
            "བསྟན་འཛིན་རྒྱ་མཚོ་",
            "ᠮᠣᠩᠭᠣᠯ ᠬᠦᠮᠦᠨ",
            "ᠠᠶᠠᠨᠭ\u{180e}ᠠ", // Mongolian, with the separator of a final vowel
            "王小明",
            "葛\u{e0100}城ユキ", // Japanese, one form of the first character
            "神\u{fe00}",
            "山田・太郎ﾀﾛｳ",
            "ㄅㄆㄇ",
            "김민수",
            "\u{1100}\u{1161}\u{11a8}", // the same in conjoining letters
            "ꦗꦮ",
            "ᏣᎳᎩ",
            "ᐃᓄᒃᑎᑐᑦ",
            "𞤀𞤣𞤤𞤢𞤥",
            "👩‍👩‍👧",
            "👩🏽‍🚀 Mae",
            "❤️‍🔥",
            "🏳️‍🌈",
            "🏴‍☠️",
            "👁️‍🗨️",
            "🏴󠁧󠁢󠁥󠁮󠁧󠁿 Tom",
            "🇩🇪",
            "7️⃣",
            "☎︎",
            "™ ® ©️",
            "⠠⠁⠇⠊⠉⠑",
            "\u{f8ff}",
            "٣",
            "!",
            " padded ",
        ] {
            assert!(
                ParticipantName::parse(text).is_ok(),
                "{text} {:?}",
                ParticipantName::parse(text)
            );
        }
    }

    #[test]
    fn names_are_normalized_before_they_are_measured() {
        assert_eq!(ParticipantName::parse("e\u{301}").unwrap().as_str(), "é");
        assert_eq!(
            ParticipantName::parse(&"e\u{301}".repeat(128))
                .unwrap()
                .as_str(),
            "é".repeat(128)
        );
        assert!(ParticipantName::parse(&"\u{1f600}".repeat(64)).is_ok());
        assert!(ParticipantName::parse(&"\u{1f600}".repeat(65)).is_err());
    }

    proptest! {
        #[test]
        fn an_accepted_name_is_short_and_unchanged_when_parsed_again(text in "\\PC{0,140}") {
            if let Ok(name) = ParticipantName::parse(&text) {
                prop_assert!(name.as_str().chars().count() <= 128 && name.as_str().len() <= 256);
                prop_assert_eq!(ParticipantName::parse(name.as_str()), Ok(name.clone()));
            }
        }

        #[test]
        fn text_without_a_visible_character_is_rejected(
            text in "[ \u{301}\u{200c}\u{200d}\u{fe0f}\u{2800}\u{e0067}\u{e007f}\u{ad}]{0,12}",
        ) {
            prop_assert!(ParticipantName::parse(&text).is_err());
        }
    }
}
