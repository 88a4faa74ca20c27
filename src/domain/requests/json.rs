//! Strict JSON (RFC 8259) from strangers. serde's derive alone is too kind: it takes an array for a
//! struct and lets duplicate keys, lone surrogates and invalid UTF-8 pass inside values that it
//! ignores. Here every byte is read once and checked.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// A checked value. Texts borrow from the input unless they hold escapes.
#[derive(Debug, Clone, PartialEq)]
pub enum Json<'a> {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number written as a whole one, without sign, fraction or exponent, below 2^64.
    Whole(u64),
    /// A number with a fraction or an exponent, or zero with a sign. Always finite.
    Fraction(f64),
    /// A whole number below zero; nothing of ours wants one, so its value is not kept.
    OtherNumber,
    /// Valid Unicode.
    Text(Cow<'a, str>),
    /// A list.
    Array(Vec<Json<'a>>),
    /// An object without duplicate keys.
    Object(Object<'a>),
    /// Syntactically a value, but not a strict one. Only [`parse_members`] and [`parse_items`]
    /// leave it behind.
    Unreadable,
}

/// The members of an object, by name.
pub type Object<'a> = BTreeMap<Cow<'a, str>, Json<'a>>;

/// The input is not one strict JSON object. The parser's own words are dropped: they may quote the
/// input.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// Reads exactly one object.
///
/// # Errors
/// [`Malformed`] for anything else: another kind of value, trailing bytes, duplicate keys at any
/// depth, more than 128 levels, a byte order mark, comments, NaN, lone surrogates, invalid UTF-8.
pub fn parse_object(input: &[u8]) -> Result<Object<'_>, Malformed> {
    match serde_json::from_slice(input) {
        Ok(Json::Object(object)) => Ok(object),
        Ok(_) | Err(_) => Err(Malformed),
    }
}

/// Reads exactly one object whose members come from several hands, so that one that is not strict
/// JSON spoils no other: such a member is [`Json::Unreadable`]. Used for what a trusted party
/// signed or published, of which we need a few members only.
///
/// # Errors
/// [`Malformed`] as [`parse_object`], except for what is wrong inside of a member's value: there
/// only the syntax counts.
pub fn parse_members(input: &[u8]) -> Result<Object<'_>, Malformed> {
    let Members(members) = serde_json::from_slice(input).map_err(|_| Malformed)?;
    Ok(members
        .into_iter()
        .map(|(name, value)| (name, parse_value(value)))
        .collect())
}

/// Reads the items of the list that is one member of an object, each as [`parse_members`] reads an
/// object; one that is no object is `None`.
///
/// # Errors
/// [`Malformed`] where there is no such list.
pub fn parse_items<'a>(input: &'a [u8], name: &str) -> Result<Vec<Option<Object<'a>>>, Malformed> {
    let Members(members) = serde_json::from_slice(input).map_err(|_| Malformed)?;
    let list = members.get(name).ok_or(Malformed)?;
    let items: Vec<&RawValue> = serde_json::from_str(list.get()).map_err(|_| Malformed)?;
    Ok(items
        .into_iter()
        .map(|item| parse_members(item.get().as_bytes()).ok())
        .collect())
}

fn parse_value(value: &RawValue) -> Json<'_> {
    serde_json::from_str(value.get()).unwrap_or(Json::Unreadable)
}

/// The members of an object, their values not looked into.
struct Members<'a>(BTreeMap<Cow<'a, str>, &'a RawValue>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
                let mut object = BTreeMap::new();
                while let Some(Key(key)) = members.next_key()? {
                    if object.insert(key, members.next_value()?).is_some() {
                        return Err(A::Error::custom("duplicate key"));
                    }
                }
                Ok(Members(object))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

impl<'de> Deserialize<'de> for Json<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
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
        Ok(Json::Whole(value))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Json::OtherNumber)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Json::Fraction(value))
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

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        let mut object = Object::new();
        while let Some(Key(key)) = members.next_key()? {
            if object.insert(key, members.next_value()?).is_some() {
                return Err(A::Error::custom("duplicate key"));
            }
        }
        Ok(Json::Object(object))
    }
}

/// A member's name; serde's own `Cow` would always copy it.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(ValueVisitor)? {
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
    fn malformed_inputs_are_refused() {
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
    fn well_formed_objects_are_read_as_they_stand() {
        let object = parse_object(
            b" {\"a\":\"x\\u0000\\ud83d\\ude00\",\"b\":[null,true,60,-1,60.0,1e3,-0],\"\":{}} ",
        )
        .unwrap();
        assert_eq!(object["a"], Json::Text("x\0\u{1f600}".into()));
        let numbers = [
            Json::Whole(60),
            Json::OtherNumber,
            Json::Fraction(60.0),
            Json::Fraction(1e3),
            Json::Fraction(-0.0),
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
    fn one_member_that_is_not_strict_spoils_no_other() {
        let odd = [
            r#"{"x":1,"x":2}"#,
            r#""\ud800""#,
            "1e999",
            r#"["\udc00"]"#,
            &format!("{}1{}", "[".repeat(200), "]".repeat(200)),
        ];
        for odd in odd {
            let input = format!(r#"{{"a":"x","odd":{odd},"b":[1]}}"#);
            assert_eq!(parse_object(input.as_bytes()), Err(Malformed), "{odd:.20}");
            let members = parse_members(input.as_bytes()).unwrap();
            assert_eq!(members["odd"], Json::Unreadable, "{odd:.20}");
            assert_eq!(
                (&members["a"], &members["b"]),
                (&Json::Text("x".into()), &Json::Array(vec![Json::Whole(1)])),
                "{odd:.20}"
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
    fn one_item_that_is_not_strict_spoils_no_other() {
        let input = br#"{"x":{"y":1,"y":2},"keys":[{"a":1},{"a":1,"a":2},5,{"a":"\ud800","b":2}]}"#;
        let items = parse_items(input, "keys").unwrap();
        let read: Vec<_> = items
            .iter()
            .map(|item| item.as_ref().map(BTreeMap::len))
            .collect();
        assert_eq!(read, [Some(1), None, None, Some(2)]);
        assert_eq!(items[3].as_ref().unwrap()["a"], Json::Unreadable);
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
    fn texts_without_escapes_are_not_copied() {
        let object = parse_object(b"{\"name\":\"alice\"}").unwrap();
        let (key, value) = object.first_key_value().unwrap();
        assert!(matches!(key, Cow::Borrowed("name")));
        assert!(matches!(value, Json::Text(Cow::Borrowed("alice"))));
    }

    fn plain(value: &Json<'_>) -> serde_json::Value {
        match value {
            Json::Null => serde_json::Value::Null,
            Json::Bool(value) => (*value).into(),
            Json::Whole(value) => (*value).into(),
            Json::Fraction(_) | Json::OtherNumber => "a number".into(),
            Json::Text(text) => text.as_ref().into(),
            Json::Array(items) => items.iter().map(plain).collect(),
            Json::Object(members) => members
                .iter()
                .map(|(key, value)| (key.to_string(), plain(value)))
                .collect(),
            Json::Unreadable => "unreadable".into(),
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
        fn any_bytes_are_survived(input in prop::collection::vec(any::<u8>(), 0..512)) {
            if let Ok(object) = parse_object(&input) {
                prop_assert!(std::str::from_utf8(&input).is_ok());
                prop_assert!(object.len() <= input.len());
            }
        }

        #[test]
        fn strict_members_are_the_same_either_way(members in prop::collection::hash_map(any::<String>(), any_value(), 0..6)) {
            let text = members.into_iter().collect::<serde_json::Value>().to_string();
            prop_assert_eq!(parse_members(text.as_bytes()), parse_object(text.as_bytes()));
        }

        #[test]
        fn what_is_written_is_read_back(members in prop::collection::hash_map(any::<String>(), any_value(), 0..6)) {
            let expected: serde_json::Value = members.into_iter().collect();
            let text = expected.to_string();
            let read = parse_object(text.as_bytes()).map(Json::Object).map(|value| plain(&value));
            prop_assert_eq!(read, Ok(expected));
        }

        #[test]
        fn a_truncated_object_is_never_accepted(members in prop::collection::hash_map(any::<String>(), any_value(), 0..4), cut in any::<prop::sample::Index>()) {
            let text = members.into_iter().collect::<serde_json::Value>().to_string();
            prop_assert_eq!(parse_object(&text.as_bytes()[..cut.index(text.len())]), Err(Malformed));
        }

        #[test]
        fn a_repeated_key_is_never_accepted(key in any::<String>(), value in any_value()) {
            let key = serde_json::Value::from(key).to_string();
            let text = format!("{{{key}:{value},{key}:{value}}}");
            prop_assert_eq!(parse_object(text.as_bytes()), Err(Malformed));
        }
    }
}
