//! A search for secrets in the output of a program, in every form in which they could leak.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Returns a text, and the forms in which a log or a response could contain it.
fn forms(text: &str) -> [String; 5] {
    let each = |format: fn(u8) -> String| text.bytes().map(format).collect::<String>();
    [
        text.to_owned(),
        each(|byte| format!("{byte:02x}")),
        each(|byte| format!("%{byte:02X}")),
        STANDARD_NO_PAD.encode(text),
        URL_SAFE_NO_PAD.encode(text),
    ]
}

/// Panics if one of the outputs contains one of the texts.
pub fn assert_absent(texts: &[&str], outputs: &[&str]) {
    for output in outputs {
        let output = output.to_lowercase();
        for text in texts {
            assert!(
                !forms(text)
                    .iter()
                    .any(|form| output.contains(&form.to_lowercase())),
                "{text} stands in {output}"
            );
        }
    }
}

#[test]
fn a_leak_is_found_in_every_form() {
    let text = "a-canary-0123";
    for form in forms(text) {
        let output = format!("before {form} after");
        assert!(
            std::panic::catch_unwind(|| assert_absent(&[text], &["nothing", &output])).is_err(),
            "{form}"
        );
    }
    assert_absent(&[text], &["nothing"]);
}
