//! What becomes of a path and a query: as the server reads them, and as each mode writes them anew.

use std::fmt::Write;

/// The path as the host's server hands it on: escapes undone once, all but that of a slash and
/// those that are no UTF-8, and dot segments followed. `None` if it has a NUL.
pub fn read(raw: &str) -> Option<String> {
    let path = unescaped(raw, |byte| byte != b'/');
    (!path.contains('\0')).then(|| without_dots(&path))
}

/// The path as forwarding writes it: `\` is a slash, what follows a `?` or `#` is lost, an escape
/// stays one.
pub fn forwarded(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap().replace('\\', "/");
    escaped(&without_dots(&path), true, |byte| {
        is_of_a_segment(byte) || b"[]".contains(&byte)
    })
}

/// The path as proxying writes it: nothing is lost, and `%` is a letter like others.
pub fn proxied(path: &str) -> String {
    escaped(path, false, is_of_a_segment)
}

/// The query as forwarding writes it, from its parts. Keys that differ in case only are one, under
/// the spelling of the second that came. Nothing left means no query.
pub fn forwarded_query(query: &str) -> Option<String> {
    let mut pairs: Vec<(String, Vec<String>)> = Vec::new();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let [key, value] = [key, value].map(|text| unescaped(&text.replace('+', " "), |_| true));
        match pairs
            .iter_mut()
            .find(|(known, _)| known.eq_ignore_ascii_case(&key))
        {
            Some((known, values)) => {
                if values.len() == 1 {
                    *known = key;
                }
                values.push(value);
            }
            None => pairs.push((key, vec![value])),
        }
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$()*,;@".contains(&byte);
    let written = |(key, values): (String, Vec<String>)| {
        format!(
            "{}={}",
            escaped(&key, false, plain),
            escaped(&values.join(","), false, plain)
        )
    };
    let pairs: Vec<_> = pairs.into_iter().map(written).collect();
    (!pairs.is_empty()).then(|| pairs.join("&"))
}

/// The query as proxying writes it: only what no URI may hold is escaped.
pub fn proxied_query(query: &str) -> String {
    escaped(query, true, |byte| {
        byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)
    })
}

fn is_of_a_segment(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte)
}

/// `.` and `..` followed, as RFC 3986 has it.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').peekable();
    segments.next();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            segment => {
                kept.push(segment);
                continue;
            }
        }
        if is_last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

/// Undoes escapes that are wanted and, together with their neighbours, are UTF-8.
fn unescaped(text: &str, is_wanted: impl Fn(u8) -> bool) -> String {
    let (mut result, mut rest) = (String::new(), text);
    while let Some(first) = rest.chars().next() {
        let (character, length) = (1..=4)
            .find_map(|count| character(rest, count))
            .unwrap_or((first, first.len_utf8()));
        let is_escape = length % 3 == 0 && rest.starts_with('%');
        if is_escape && character.is_ascii() && !is_wanted(character as u8) {
            result.push_str(&rest[..length]);
        } else {
            result.push(character);
        }
        rest = &rest[length..];
    }
    result
}

/// The character that so many escapes at the front of a text stand for, and how long they are.
fn character(text: &str, escapes: usize) -> Option<(char, usize)> {
    let front = text.get(..escapes * 3)?;
    let bytes: Option<Vec<u8>> = front.as_bytes().chunks(3).map(escape).collect();
    let decoded = String::from_utf8(bytes?).ok()?;
    let mut characters = decoded.chars();
    let character = characters.next()?;
    characters
        .next()
        .is_none()
        .then_some((character, escapes * 3))
}

fn escape(bytes: &[u8]) -> Option<u8> {
    let [b'%', high, low] = bytes else {
        return None;
    };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// Escapes all bytes that are not plain, and `%` unless escapes are kept and it begins one.
fn escaped(text: &str, keeps_escapes: bool, is_plain: impl Fn(u8) -> bool) -> String {
    let (bytes, mut result) = (text.as_bytes(), String::new());
    for (at, byte) in bytes.iter().enumerate() {
        let begins_escape = || keeps_escapes && bytes.get(at..at + 3).and_then(escape).is_some();
        if *byte == b'%' && begins_escape() || *byte != b'%' && is_plain(*byte) {
            result.push(char::from(*byte));
        } else {
            let _ = write!(result, "%{byte:02X}");
        }
    }
    result
}

#[test]
fn a_path_keeps_the_escape_of_a_slash_and_what_is_no_utf_8() {
    for (raw, path) in [
        ("/a%2Fb%2fc%5C", "/a%2Fb%2fc\\"),
        ("/%2574%", "/%74%"),
        ("/%ff%74%c3%28", "/%fft%c3("),
        ("/a/%2e./b/..", "/"),
    ] {
        assert_eq!(read(raw).as_deref(), Some(path), "{raw}");
    }
    assert_eq!(read("/%00"), None);
}
