//! JSON as it was sent: the tree of a body, which borrows from the body until a canonical type takes a part.
//!
//! Objects are lists in the order of the wire. Nearly every name in them is one this gateway knows, looks for
//! once and never keeps; so no name is hashed or copied, and no lookup costs more than a look at each. A name
//! said twice means what it means to `serde_json`: the last value counts, at the place of the first.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::de::Read;
use serde_json::{Number, Value};

use crate::chat::Rest;

/// An object: its members in the order of the wire.
pub(super) type Members<'b> = Vec<(Cow<'b, str>, Json<'b>)>;

/// A value of a body.
#[derive(Clone, Debug, Default)]
pub(super) enum Json<'b> {
    #[default]
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'b, str>),
    Array(Vec<Self>),
    Object(Members<'b>),
}

impl Json<'_> {
    /// The member `name`; nothing where this is no object.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Object(members) => find(members, name),
            _ => None,
        }
    }

    /// The items of the member `name`; none where it is no list.
    pub(super) fn items(&self, name: &str) -> &[Self] {
        match self.get(name) {
            Some(Self::Array(items)) => items,
            _ => &[],
        }
    }

    /// The member `inner` of the member `outer`.
    pub(super) fn within(&self, outer: &str, inner: &str) -> Option<&Self> {
        self.get(outer)?.get(inner)
    }

    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) const fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(flag) => Some(*flag),
            _ => None,
        }
    }

    pub(super) fn as_u64(&self) -> Option<u64> {
        match self {
            Self::Number(number) => number.as_u64(),
            _ => None,
        }
    }

    pub(super) fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Number(number) => number.as_f64(),
            _ => None,
        }
    }

    pub(super) const fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub(super) const fn is_object(&self) -> bool {
        matches!(self, Self::Object(_))
    }

    /// The value written as JSON again, without spaces.
    pub(super) fn to_json(&self) -> String {
        // Names are texts and a `String` takes all: there is nothing to fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// The last member of that name.
pub(super) fn find<'a, 'b>(members: &'a [(Cow<'b, str>, Json<'b>)], name: &str) -> Option<&'a Json<'b>> {
    members.iter().rev().find(|(found, _)| found == name).map(|(_, value)| value)
}

/// Members to be kept. None of them costs nothing.
pub(super) fn kept(members: Members<'_>) -> Rest {
    members.into_iter().map(|(name, value)| (name.into_owned(), value.into())).collect()
}

impl PartialEq<str> for Json<'_> {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == Some(other)
    }
}

impl From<Json<'_>> for Value {
    fn from(value: Json<'_>) -> Self {
        match value {
            Json::Null => Self::Null,
            Json::Bool(flag) => Self::Bool(flag),
            Json::Number(number) => Self::Number(number),
            Json::Text(text) => Self::String(text.into_owned()),
            Json::Array(items) => Self::Array(items.into_iter().map(Self::from).collect()),
            Json::Object(members) => Self::Object(kept(members)),
        }
    }
}

impl<'b> From<&'b Value> for Json<'b> {
    fn from(value: &'b Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(flag) => Self::Bool(*flag),
            Value::Number(number) => Self::Number(number.clone()),
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Array(items) => Self::Array(items.iter().map(Self::from).collect()),
            Value::Object(fields) => fields.into(),
        }
    }
}

impl<'b> From<&'b Rest> for Json<'b> {
    fn from(fields: &'b Rest) -> Self {
        Self::Object(fields.iter().map(|(name, value)| (Cow::Borrowed(name.as_str()), value.into())).collect())
    }
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(flag) => serializer.serialize_bool(*flag),
            Self::Number(number) => number.serialize(serializer),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Object(members) if are_distinct(members) => {
                serializer.collect_map(members.iter().map(|(name, value)| (name, value)))
            }
            Self::Object(members) => kept(members.clone()).serialize(serializer),
        }
    }
}

/// Whether surely no name is said twice. Of many members that would take long to tell.
fn are_distinct(members: &Members<'_>) -> bool {
    members.len() <= 16 && (1..members.len()).all(|at| find(&members[..at], &members[at].0).is_none())
}

impl<'b> Json<'b> {
    /// Reads a body of at most so many values: a tree takes many times the bytes of the shortest ones.
    ///
    /// # Errors
    /// It is no JSON, or has more values.
    pub(super) fn parse(body: &'b [u8], most: usize) -> serde_json::Result<Self> {
        // Looked at as a whole, a body is text or not in a fraction of what asking for each of its texts takes. Of one that is not, the
        // reader of bytes says where.
        match std::str::from_utf8(body) {
            Ok(text) => Self::read(serde_json::Deserializer::from_str(text), most),
            Err(_) => Self::read(serde_json::Deserializer::from_slice(body), most),
        }
    }

    fn read<R: Read<'b>>(mut deserializer: serde_json::Deserializer<R>, most: usize) -> serde_json::Result<Self> {
        let left = Cell::new(most);
        let value = Reader { most, left: &left }.deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(value)
    }
}

/// A member's name: of a `Cow` itself serde always makes an owned text.
#[derive(serde::Deserialize)]
struct Name<'b>(#[serde(borrow)] Cow<'b, str>);

#[derive(Clone, Copy)]
struct Reader<'c> {
    most: usize,
    /// How many more values there may be.
    left: &'c Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Json<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Json<'de>, D::Error> {
        let Some(left) = self.left.get().checked_sub(1) else {
            return Err(D::Error::custom(format_args!("more than {} values", self.most)));
        };
        self.left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json<'de>, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Json<'de>, E> {
        Ok(Json::Bool(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Json<'de>, E> {
        Ok(Json::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Json<'de>, E> {
        Ok(Number::from_f64(number).map_or(Json::Null, Json::Number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json<'de>, E> {
        Ok(Json::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json<'de>, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(Name(name)) = map.next_key()? {
            members.push((name, map.next_value_seed(self)?));
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests;
