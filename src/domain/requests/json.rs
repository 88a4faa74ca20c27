//! Strict JSON (RFC 8259) for untrusted input.
//!
//! A derived `Deserialize` is too lenient here: it accepts an array for a struct, and it lets
//! duplicate keys, lone surrogates and invalid UTF-8 pass inside values that it ignores. These
//! functions read and check every byte once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A checked JSON value. Text borrows from the input unless it contains escapes.
#[derive(Debug, Clone, PartialEq)]
pub enum Json<'a> {
    /// The literal `null`.
    Null,
    /// The literal `true` or `false`.
    Bool(bool),
    /// A whole number below 2^64, written without a sign, a fraction or an exponent.
    Unsigned(u64),
    /// A number with a fraction or an exponent, or zero with a sign. It is always finite.
    Float(f64),
    /// A whole number below zero. No request has a use for one, so its value is dropped.
    Negative,
    /// Text of valid Unicode.
    Text(Cow<'a, str>),
    /// An array of values.
    Array(Vec<Json<'a>>),
    /// An object without duplicate keys.
    Object(Object<'a>),
    /// A value of correct syntax that breaks one of the strict rules. Only [`parse_members`] and
    /// [`parse_items`] return it.
    Invalid,
}

/// The members of a JSON object by name.
pub type Object<'a> = BTreeMap<Cow<'a, str>, Json<'a>>;

/// The error for input that is not one strict JSON object.
///
/// It has no source: the parser's message may quote the input.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the input is not one strict JSON object")]
pub struct Malformed;

impl Json<'_> {
    /// Returns the text, or `None` for any other kind of value.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

/// Returns the text of a member, or `None` if it is missing or another kind of value.
#[must_use]
pub fn text<'o>(object: &'o Object<'_>, member: &str) -> Option<&'o str> {
    object.get(member).and_then(Json::as_str)
}

/// Reads exactly one object.
///
/// # Errors
/// [`Malformed`] for any other kind of value, trailing bytes, duplicate keys at any depth, more
/// than 128 levels, a byte order mark, comments, NaN, lone surrogates and invalid UTF-8.
///
/// # Examples
/// ```
/// use roomkey::domain::requests::json::{Malformed, parse_object, text};
///
/// let object = parse_object(br#"{ "roomName": "standup-42" }"#)?;
/// assert_eq!(text(&object, "roomName"), Some("standup-42"));
///
/// // A lenient parser would keep the second value.
/// assert_eq!(parse_object(br#"{ "a": 1, "a": 2 }"#), Err(Malformed));
/// # Ok::<(), Malformed>(())
/// ```
pub fn parse_object(input: &[u8]) -> Result<Object<'_>, Malformed> {
    // One check of the whole input instead of one of each text.
    let Ok(input) = str::from_utf8(input) else {
        return Err(Malformed);
    };
    match serde_json::from_str(input) {
        Ok(Json::Object(object)) => Ok(object),
        Ok(_) | Err(_) => Err(Malformed),
    }
}

/// Reads exactly one object and judges each member by itself: one that is not strict JSON becomes
/// [`Json::Invalid`] and does not affect the others.
///
/// It is meant for documents that a trusted party signed or published and of which only a few
/// members are needed.
///
/// # Errors
/// [`Malformed`] as for [`parse_object`], except that only the syntax of a member's value counts.
pub fn parse_members(input: &[u8]) -> Result<Object<'_>, Malformed> {
    Ok(raw_members(input)?
        .into_iter()
        .map(|(name, value)| (name, parse_value(value)))
        .collect())
}

/// Reads the items of an array that is one member of an object, each as [`parse_members`] reads an
/// object. An item that is not an object is `None`.
///
/// # Errors
/// [`Malformed`] if there is no such array.
pub fn parse_items<'a>(input: &'a [u8], name: &str) -> Result<Vec<Option<Object<'a>>>, Malformed> {
    let members = raw_members(input)?;
    let array = members.get(name).ok_or(Malformed)?;
    let items: Vec<&RawValue> = serde_json::from_str(array.get()).map_err(|_| Malformed)?;
    Ok(items
        .into_iter()
        .map(|item| parse_members(item.get().as_bytes()).ok())
        .collect())
}

fn raw_members(input: &[u8]) -> Result<BTreeMap<Cow<'_, str>, &RawValue>, Malformed> {
    let RawMembers(members) = serde_json::from_slice(input).map_err(|_| Malformed)?;
    Ok(members)
}

fn parse_value(value: &RawValue) -> Json<'_> {
    serde_json::from_str(value.get()).unwrap_or(Json::Invalid)
}

/// The members of an object, with values that were not parsed.
struct RawMembers<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'de> Deserialize<'de> for RawMembers<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RawMembersVisitor;

        impl<'de> Visitor<'de> for RawMembersVisitor {
            type Value = RawMembers<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
                unique_members(members).map(RawMembers)
            }
        }

        deserializer.deserialize_map(RawMembersVisitor)
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Json::Unsigned(value))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Json::Negative)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Json::Float(value))
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        unique_members(members).map(Json::Object)
    }
}

/// Reads the members of an object, and fails on a key that occurs twice.
fn unique_members<'de, A: MapAccess<'de>, V: Deserialize<'de>>(
    mut members: A,
) -> Result<BTreeMap<Cow<'de, str>, V>, A::Error> {
    let mut object = BTreeMap::new();
    while let Some(Key(key)) = members.next_key()? {
        if object.insert(key, members.next_value()?).is_some() {
            return Err(A::Error::custom("duplicate key"));
        }
    }
    Ok(object)
}

/// The name of a member. serde's own `Cow` would always copy it.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(JsonVisitor)? {
            Json::Text(text) => Ok(Self(text)),
            _ => Err(D::Error::custom("a member's name is text")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn malformed_input_is_rejected() {
        let deep = "[".repeat(10_000);
        let deep_in_object = format!("{{\"a\":{}", "[".repeat(10_000));
        let nested = format!("{{\"a\":{}1{}}}", "[".repeat(128), "]".repeat(128));
        for input in [
            "",
            " ",
            "null",
            "1",
            "\"text\"",
            "[]",
            "[\"a\",5]",
            "{",
            "{\"a\":1",
            "{\"a\":1}x",
            "{} {}",
            "{\"a\":NaN}",
            "{\"a\":Infinity}",
            "{/*c*/}",
            "{}//c",
            "\u{feff}{}",
            "{'a':1}",
            "{a:1}",
            "{\"a\":1,}",
            "{\"a\":01}",
            "{\"a\":+1}",
            "{\"a\":.5}",
            "{\"a\":1e999}",
            "{\"a\":1,\"a\":1}",
            "{\"a\":1,\"\\u0061\":2}",
            "{\"b\":{\"a\":1,\"a\":2}}",
            "{\"b\":[{\"a\":1,\"a\":2}]}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\\udc00\\ud800\"}",
            "{\"\\ud800\":1}",
            "{\"a\":\"line\nbreak\"}",
            "{\"a\":\"\\x41\"}",
            deep.as_str(),
            deep_in_object.as_str(),
            nested.as_str(),
        ] {
            assert_eq!(
                parse_object(input.as_bytes()),
                Err(Malformed),
                "{input:.60}"
            );
        }
        for input in [
            &b"{\"a\":\"\xff\"}"[..],
            b"{\"\xff\":1}",
            b"{\"a\":\"\xed\xa0\x80\"}",
            b"\xef\xbb\xbf{}",
            b"{\"a\":\"\xc0\x80\"}",
        ] {
            assert_eq!(parse_object(input), Err(Malformed), "{input:?}");
        }
    }

    #[test]
    fn well_formed_objects_are_read_unchanged() {
        let object = parse_object(
            b" {\"a\":\"x\\u0000\\ud83d\\ude00\",\"b\":[null,true,60,-1,60.0,1e3,-0],\"\":{}} ",
        )
        .unwrap();
        assert_eq!(object["a"], Json::Text("x\0\u{1f600}".into()));
        let numbers = [
            Json::Unsigned(60),
            Json::Negative,
            Json::Float(60.0),
            Json::Float(1e3),
            Json::Float(-0.0),
        ];
        assert_eq!(
            object["b"],
            Json::Array(
                [Json::Null, Json::Bool(true)]
                    .into_iter()
                    .chain(numbers)
                    .collect()
            )
        );
        assert_eq!(object[""], Json::Object(Object::new()));
    }

    #[test]
    fn an_invalid_member_does_not_affect_the_others() {
        let invalid_values = [
            r#"{"x":1,"x":2}"#,
            r#""\ud800""#,
            "1e999",
            r#"["\udc00"]"#,
            &format!("{}1{}", "[".repeat(200), "]".repeat(200)),
        ];
        for invalid in invalid_values {
            let input = format!(r#"{{"a":"x","c":{invalid},"b":[1]}}"#);
            assert_eq!(
                parse_object(input.as_bytes()),
                Err(Malformed),
                "{invalid:.20}"
            );
            let members = parse_members(input.as_bytes()).unwrap();
            assert_eq!(members["c"], Json::Invalid, "{invalid:.20}");
            assert_eq!(
                (&members["a"], &members["b"]),
                (
                    &Json::Text("x".into()),
                    &Json::Array(vec![Json::Unsigned(1)])
                ),
                "{invalid:.20}"
            );
        }
        for input in [
            "",
            "[]",
            "null",
            "{",
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            "{}x",
            r#"{"a":NaN}"#,
            r#"{"\ud800":1}"#,
        ] {
            assert_eq!(parse_members(input.as_bytes()), Err(Malformed), "{input}");
        }
    }

    #[test]
    fn an_invalid_item_does_not_affect_the_others() {
        let input = br#"{"x":{"y":1,"y":2},"keys":[{"a":1},{"a":1,"a":2},5,{"a":"\ud800","b":2}]}"#;
        let items = parse_items(input, "keys").unwrap();
        let read: Vec<_> = items
            .iter()
            .map(|item| item.as_ref().map(BTreeMap::len))
            .collect();
        assert_eq!(read, [Some(1), None, None, Some(2)]);
        assert_eq!(items[3].as_ref().unwrap()["a"], Json::Invalid);
        for input in [
            "",
            "{}",
            "[]",
            r#"{"keys":{}}"#,
            r#"{"keys":null}"#,
            r#"{"keys":[],"keys":[]}"#,
            r#"{"keys":[}"#,
        ] {
            assert_eq!(
                parse_items(input.as_bytes(), "keys"),
                Err(Malformed),
                "{input}"
            );
        }
    }

    #[test]
    fn text_without_escapes_is_not_copied() {
        let object = parse_object(b"{\"name\":\"alice\"}").unwrap();
        let (key, value) = object.first_key_value().unwrap();
        assert!(matches!(key, Cow::Borrowed("name")));
        assert!(matches!(value, Json::Text(Cow::Borrowed("alice"))));
    }

    fn plain(value: &Json<'_>) -> serde_json::Value {
        match value {
            Json::Null => serde_json::Value::Null,
            Json::Bool(value) => (*value).into(),
            Json::Unsigned(value) => (*value).into(),
            Json::Float(_) | Json::Negative => "a number".into(),
            Json::Text(text) => text.as_ref().into(),
            Json::Array(items) => items.iter().map(plain).collect(),
            Json::Object(members) => members
                .iter()
                .map(|(key, value)| (key.to_string(), plain(value)))
                .collect(),
            Json::Invalid => "invalid".into(),
        }
    }

    fn any_value() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<u64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
                prop::collection::hash_map(any::<String>(), inner, 0..5)
                    .prop_map(|map| map.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(input in prop::collection::vec(any::<u8>(), 0..512)) {
            if let Ok(object) = parse_object(&input) {
                prop_assert!(std::str::from_utf8(&input).is_ok());
                prop_assert!(object.len() <= input.len());
            }
        }

        #[test]
        fn strict_members_parse_the_same_both_ways(
            members in prop::collection::hash_map(any::<String>(), any_value(), 0..6),
        ) {
            let text = members.into_iter().collect::<serde_json::Value>().to_string();
            prop_assert_eq!(parse_members(text.as_bytes()), parse_object(text.as_bytes()));
        }

        #[test]
        fn written_objects_are_read_back(
            members in prop::collection::hash_map(any::<String>(), any_value(), 0..6),
        ) {
            let expected: serde_json::Value = members.into_iter().collect();
            let text = expected.to_string();
            let read = parse_object(text.as_bytes()).map(Json::Object).map(|value| plain(&value));
            prop_assert_eq!(read, Ok(expected));
        }

        #[test]
        fn a_truncated_object_is_never_accepted(
            members in prop::collection::hash_map(any::<String>(), any_value(), 0..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let text = members.into_iter().collect::<serde_json::Value>().to_string();
            let truncated = &text.as_bytes()[..cut.index(text.len())];
            prop_assert_eq!(parse_object(truncated), Err(Malformed));
        }

        #[test]
        fn a_repeated_key_is_never_accepted(key in any::<String>(), value in any_value()) {
            let key = serde_json::Value::from(key).to_string();
            let text = format!("{{{key}:{value},{key}:{value}}}");
            prop_assert_eq!(parse_object(text.as_bytes()), Err(Malformed));
        }
    }
}
