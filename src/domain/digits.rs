//! Whole numbers written in ASCII digits only. `str::parse` also accepts a leading `+`.

use std::str::FromStr;

/// Reads a whole number that consists of ASCII digits.
///
/// Returns `None` for an empty text, a sign, white space, and a number that does not fit.
#[must_use]
pub fn parse_digits<N: FromStr>(text: &str) -> Option<N> {
    if text.bytes().all(|b| b.is_ascii_digit()) {
        text.parse().ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_with_anything_but_digits_is_rejected() {
        for text in ["", "+1", "-1", " 1", "1 ", "1.0", "1e3", "0x1", "１", "1_0"] {
            assert_eq!(parse_digits::<u64>(text), None, "{text:?}");
        }
        assert_eq!(parse_digits::<u8>("256"), None);
    }

    #[test]
    fn digits_are_read_up_to_the_largest_number() {
        assert_eq!(parse_digits::<u8>("255"), Some(255));
        assert_eq!(parse_digits::<u64>("007"), Some(7));
    }
}
