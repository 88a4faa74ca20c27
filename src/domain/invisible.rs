//! Characters for which a renderer shows nothing, and the places where a script or an emoji needs
//! one.
//!
//! # Source
//! Renderers show nothing for `Default_Ignorable_Code_Point` (UAX #44). The exceptions are the
//! places where scripts and emoji need such a character: joiners by RFC 5892, appendix A, and UTS
//! #51; variation selectors by UTS #37 and UTS #51.

use icu_properties::props::{
    DefaultIgnorableCodePoint, Emoji, EmojiModifier, ExtendedPictographic, JoiningType,
    UnifiedIdeograph,
};
use icu_properties::{CodePointMapData, CodePointSetData};
use unicode_normalization::char::canonical_combining_class;

const ZERO_WIDTH_NON_JOINER: char = '\u{200c}';
const ZERO_WIDTH_JOINER: char = '\u{200d}';
const MONGOLIAN_VOWEL_SEPARATOR: char = '\u{180e}';
const COMBINING_ENCLOSING_KEYCAP: char = '\u{20e3}';
/// The base of the flags of England, Scotland and Wales, which tag characters follow.
const BLACK_FLAG: char = '\u{1f3f4}';
const CANCEL_TAG: char = '\u{e007f}';
/// The combining class of a sign that removes the vowel of a consonant (UAX #44, `Virama`).
const VIRAMA: u8 = 9;

/// Reports whether a renderer shows nothing for a character.
///
/// In addition to the characters that renderers ignore, these are annotation and hieroglyph
/// controls, a musical note without a head, and noncharacters.
#[must_use]
pub fn is_invisible(c: char) -> bool {
    CodePointSetData::new::<DefaultIgnorableCodePoint>().contains(c)
        || matches!(c, '\u{fff9}'..='\u{fffb}' | '\u{13430}'..='\u{1343f}' | '\u{1d159}')
        || matches!(c, '\u{fdd0}'..='\u{fdef}')
        || u32::from(c) & 0xfffe == 0xfffe
}

/// Reports whether a script or an emoji needs an invisible character between these characters.
pub(super) fn is_needed(c: char, before: &[char], after: &[char]) -> bool {
    let (last, next) = (before.last().copied(), after.first().copied());
    match c {
        ZERO_WIDTH_JOINER => {
            ends_in_virama(before)
                // Bengali and Kannada write ra, joiner, virama for a special form.
                || (last.is_some_and(char::is_alphabetic) && next.is_some_and(is_virama))
                || (ends_in_pictograph(before) && next.is_some_and(is_pictograph))
        }
        ZERO_WIDTH_NON_JOINER => {
            ends_in_virama(before) || is_between_joining_letters(before, after)
        }
        '\u{180b}'..='\u{180d}' | '\u{180f}' => last.is_some_and(is_mongolian),
        MONGOLIAN_VOWEL_SEPARATOR => {
            last.is_some_and(is_mongolian) && next.is_some_and(is_mongolian)
        }
        '\u{fe00}'..='\u{fe0f}' => match last {
            Some('#' | '*' | '0'..='9') => next == Some(COMBINING_ENCLOSING_KEYCAP),
            Some(last) => {
                CodePointSetData::new::<Emoji>().contains(last) || has_standard_variations(last)
            }
            None => false,
        },
        '\u{e0100}'..='\u{e01ef}' => last.is_some_and(is_ideograph),
        CANCEL_TAG => last.is_some_and(is_tag),
        c if is_tag(c) => {
            last.is_some_and(|last| last == BLACK_FLAG || is_tag(last))
                && next.is_some_and(|next| next == CANCEL_TAG || is_tag(next))
        }
        _ => false,
    }
}

/// Reports whether a non-joiner is between letters that would join (RFC 5892, appendix A.1).
/// Writers of Persian also use it after letters that join to none, which is accepted too.
fn is_between_joining_letters(before: &[char], after: &[char]) -> bool {
    let joining_type = |c: &char| CodePointMapData::<JoiningType>::new().get(*c);
    let is_letter = |kind: &JoiningType| *kind != JoiningType::Transparent;
    let last = before.iter().rev().map(joining_type).find(is_letter);
    let next = after.iter().map(joining_type).find(is_letter);
    matches!(
        last,
        Some(JoiningType::DualJoining | JoiningType::LeftJoining | JoiningType::RightJoining)
    ) && matches!(
        next,
        Some(JoiningType::DualJoining | JoiningType::RightJoining)
    )
}

fn ends_in_virama(before: &[char]) -> bool {
    before.last().copied().is_some_and(is_virama)
}

fn is_virama(c: char) -> bool {
    canonical_combining_class(c) == VIRAMA
}

/// Reports whether a text ends in a pictograph, which may have a skin tone, a presentation selector
/// or a flag's tags after it.
fn ends_in_pictograph(before: &[char]) -> bool {
    let is_suffix = |c: char| {
        CodePointSetData::new::<EmojiModifier>().contains(c)
            || matches!(c, '\u{fe0f}' | CANCEL_TAG)
            || is_tag(c)
    };
    before
        .iter()
        .rev()
        .copied()
        .find(|c| !is_suffix(*c))
        .is_some_and(is_pictograph)
}

fn is_pictograph(c: char) -> bool {
    CodePointSetData::new::<ExtendedPictographic>().contains(c)
}

fn is_ideograph(c: char) -> bool {
    CodePointSetData::new::<UnifiedIdeograph>().contains(c)
}

/// Reports whether a character other than an emoji has standard variants
/// (`StandardizedVariants.txt`): ideographs, and letters of Burmese and of 'Phags-pa.
fn has_standard_variations(c: char) -> bool {
    is_ideograph(c)
        || matches!(c, '\u{1000}'..='\u{109f}' | '\u{a840}'..='\u{a877}' | '\u{aa60}'..='\u{aa7f}')
}

fn is_mongolian(c: char) -> bool {
    matches!(c, '\u{1820}'..='\u{18aa}' | '\u{180b}'..='\u{180f}')
}

/// Reports whether a character is a digit or small letter as a tag, which spell a region's code.
fn is_tag(c: char) -> bool {
    matches!(c, '\u{e0030}'..='\u{e0039}' | '\u{e0061}'..='\u{e007a}')
}
