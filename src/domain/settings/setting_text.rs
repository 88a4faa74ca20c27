//! Text in a setting that can never be its value: values in quotes, placeholders, unresolved
//! references.

/// The most bytes of a text whose repetition counts as a placeholder.
const MAX_REPEATED_BYTES: usize = 16;

/// The pairs of quotation marks that editors, shells and word processors put around a value.
const QUOTES: [(char, char); 7] = [
    ('"', '"'),
    ('\'', '\''),
    ('`', '`'),
    ('“', '”'),
    ('‘', '’'),
    ('„', '“'),
    ('«', '»'),
];

/// The brackets around the name of a value that was never filled in.
const BRACKETS: [(&str, &str); 7] = [
    ("<", ">"),
    ("${", "}"),
    ("$(", ")"),
    ("{{", "}}"),
    ("#{", "}#"),
    ("%{", "}"),
    ("[[", "]]"),
];

/// The prefixes of OpenAI's and LiveKit's keys, which placeholders may have too.
const KEY_PREFIXES: [&str; 3] = ["sk-", "sk-proj-", "API"];

/// The beginnings of references that Azure replaces by a value before the process starts, if it
/// can.
const REFERENCES: [&str; 2] = ["@microsoft.keyvault(", "@microsoft.appconfiguration("];

/// Reports whether the value, or each value of a comma-separated list, is in quotation marks.
///
/// Marks that also occur inside, as in a sentence that begins and ends with a quotation, are part
/// of the value.
#[must_use]
pub fn is_in_quotes(text: &str) -> bool {
    is_wrapped(text) || (text.contains(',') && text.split(',').all(|part| is_wrapped(part.trim())))
}

fn is_wrapped(text: &str) -> bool {
    QUOTES.iter().any(|(open, close)| {
        let inner = text
            .strip_prefix(*open)
            .and_then(|rest| rest.strip_suffix(*close));
        inner.is_some_and(|inner| inner.contains('\\') || !inner.contains([*open, *close]))
    })
}

/// Reports whether the value is a reference that the platform failed to resolve.
#[must_use]
pub fn is_unresolved_reference(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    REFERENCES
        .iter()
        .any(|reference| lower.starts_with(reference))
}

/// Reports whether the value is a placeholder: any spelling of `changeme`, `replace…`, `your…`,
/// `example…`, `password`, a name in brackets, a masked copy, or a short text repeated. A vendor's
/// key prefix before it does not matter.
#[must_use]
pub fn is_placeholder(text: &str) -> bool {
    is_bare_placeholder(text)
        || KEY_PREFIXES
            .iter()
            .any(|prefix| text.strip_prefix(prefix).is_some_and(is_bare_placeholder))
}

fn is_bare_placeholder(text: &str) -> bool {
    let letters: String = text
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .collect::<String>()
        .to_ascii_lowercase();
    let first_word = letters.trim_end_matches(|c: char| c.is_ascii_digit());
    letters.contains("changeme")
        || letters.contains("changethis")
        || ["replace", "your", "example", "placeholder", "insert"]
            .iter()
            .any(|word| letters.starts_with(word))
        || [
            "password",
            "passw0rd",
            "secret",
            "todo",
            "tbd",
            "dummy",
            "none",
            "null",
            "undefined",
        ]
        .contains(&first_word)
        || BRACKETS
            .iter()
            .any(|(open, close)| text.starts_with(open) && text.ends_with(close))
        || text.contains("****")
        || text.contains("••••")
        || is_repeated(text)
        || (letters.len() > 1 && letters.len() * 2 >= text.len() && is_repeated(&letters))
}

/// Reports whether the text repeats one part of up to [`MAX_REPEATED_BYTES`] bytes.
fn is_repeated(text: &str) -> bool {
    let bytes = text.as_bytes();
    let longest = MAX_REPEATED_BYTES.min(bytes.len() / 2);
    bytes.len() == 1
        || (1..=longest).any(|period| {
            bytes
                .iter()
                .zip(bytes.iter().skip(period))
                .all(|(one, other)| one == other)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_in_quotes_is_recognized_and_one_that_contains_quotes_is_not() {
        for text in [
            "\"x\"",
            "'x'",
            "`x`",
            "“x”",
            "‘x’",
            "„x“",
            "«x»",
            "\"\"",
            "\"a b\"",
            "\"a\",\"b\"",
            "'a', 'b'",
            r#"'{"a":1}'"#,
            r#""{\"a\":1}""#,
        ] {
            assert!(is_in_quotes(text), "{text}");
        }
        for text in [
            "x",
            "",
            "\"",
            "'",
            "\"x",
            "x\"",
            "it's",
            "\"Yes\" means \"No\"",
            r#"{"a":"b"}"#,
            "a,\"b\"",
            "\"a\",b",
            "x\"y\"z",
        ] {
            assert!(!is_in_quotes(text), "{text}");
        }
    }

    #[test]
    fn placeholders_are_recognized_in_any_spelling() {
        for text in [
            "changeme",
            "CHANGE-ME",
            "change_me",
            "Change Me!",
            "changeme-changeme-changeme-changeme",
            "please-change-this-to-a-secret-of-32-bytes",
            "replace-me",
            "REPLACE_WITH_YOUR_KEY",
            "replaceme",
            "your-api-key",
            "your_api_key",
            "YourApiKey",
            "<your key>",
            "<>",
            "${LIVEKIT_API_SECRET}",
            "$(livekit-secret)",
            "{{ secret }}",
            "#{Secret}#",
            "example",
            "Example-Secret-Of-At-Least-32-Bytes",
            "password",
            "PassWord123",
            "p-a-s-s-w-o-r-d",
            "passw0rd",
            "secret",
            "placeholder",
            "x",
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "abababababababababababababababab",
            "0123456789012345678901234567890123456789",
            "password-password-password-password",
            "secret-secret-secret-secret-secret",
            "sk-****************abcd",
            "sk-your-openai-api-key",
            "sk-xxxxxxxxxxxxxxxxxxxxxxxx",
            "sk-proj-xxxxxxxxxxxxxxxxxxxx",
            "sk-proj-<your key>",
            "sk-...",
            "APIxxxxxxxxxx",
            "••••••••",
        ] {
            assert!(is_placeholder(text), "{text}");
        }
        for text in [
            "APIkey",
            "APIwRxJ4zBBTnYz",
            "APIabc123",
            "sk-canary-openai-key-0123",
            "canary-secret-of-at-least-32-bytes",
            "rediss://:password@cache.example.com:6380",
            "redis://127.0.0.1:6379/",
            "sk-proj-Ab3dEf6hIj9kLm2nOp5q",
            "7f83b1657ff1fc53b92dc18148a1d65dfc2d4b1fa3d677284addd200126d9069",
            "aGVsbG8gd29ybGQgaGVsbG8gbW9vbiBoZWxsbyBzdW4=",
            "ek",
            "my-secret-is-longer-than-this-password",
            "a*b***c",
        ] {
            assert!(!is_placeholder(text), "{text}");
        }
    }

    #[test]
    fn unresolved_references_are_recognized_in_any_case() {
        for text in [
            "@Microsoft.KeyVault(SecretUri=https://v/s)",
            "@microsoft.keyvault(x",
            "@Microsoft.AppConfiguration(Endpoint=x)",
        ] {
            assert!(is_unresolved_reference(text), "{text}");
        }
        assert!(!is_unresolved_reference("@Microsoft.Other(x)"));
    }
}
