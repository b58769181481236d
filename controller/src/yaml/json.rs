//! A JSON text -> its documents, one after the other.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;

use super::{Chunk, SyntaxError};

/// The documents of a JSON text. What stands behind a syntax error cannot be told apart and is lost.
pub(super) fn chunks(text: &str) -> impl Iterator<Item = (Chunk<'_>, Result<Value, SyntaxError>)> {
    let mut stream = serde_json::Deserializer::from_str(text).into_iter::<Strict>();
    let (mut line, mut counted) = (1, 0);
    std::iter::from_fn(move || {
        let before = stream.byte_offset();
        let start = before + (text[before..].len() - text[before..].trim_start().len());
        line += newlines(&text[counted..start]);
        counted = start;
        let value = stream.next()?;
        let chunk = Chunk { line, text: &text[start..stream.byte_offset().max(start)] };
        Some(match value {
            Ok(Strict(value)) => (chunk, Ok(value)),
            Err(error) => {
                let at = u32::try_from(error.line()).unwrap_or(1);
                let error = SyntaxError { line: at, message: format!("this is not valid JSON: {error}") };
                (Chunk { line, text: &text[start..] }, Err(error))
            }
        })
    })
}

fn newlines(text: &str) -> u32 {
    text.bytes().filter(|b| *b == b'\n').count().try_into().unwrap_or(u32::MAX)
}

/// A value in which no key stands twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut fields = serde_json::Map::new();
        while let Some(key) = map.next_key::<String>()? {
            let Strict(value) = map.next_value()?;
            if fields.contains_key(&key) {
                return Err(A::Error::custom(format!("the key {key:?} stands twice")));
            }
            fields.insert(key, value);
        }
        Ok(fields.into())
    }
}
