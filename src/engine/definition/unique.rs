//! Reads JSON and refuses objects that name a member twice: JSON parsers keep the last and say nothing.

use std::{cell::RefCell, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::engine::language::{Problem, pointer_to};

/// Reads `source`; answers the value and every member that stands twice.
///
/// # Errors
/// That it is not JSON, with line and column.
pub(super) fn parse(source: &str) -> Result<(Value, Vec<Problem>), Problem> {
    let doubled = RefCell::new(Vec::new());
    let mut reader = serde_json::Deserializer::from_str(source);
    let seed = Seed { pointer: String::new(), doubled: &doubled };
    let value = seed
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| Problem::new("", format!("it is not JSON: {error}")))?;
    Ok((value, doubled.into_inner()))
}

struct Seed<'a> {
    pointer: String,
    doubled: &'a RefCell<Vec<Problem>>,
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        loop {
            let pointer = pointer_to(&self.pointer, &array.len().to_string());
            match items.next_element_seed(Seed { pointer, doubled: self.doubled })? {
                Some(item) => array.push(item),
                None => return Ok(Value::Array(array)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let pointer = pointer_to(&self.pointer, &name);
            let value = members.next_value_seed(Seed { pointer: pointer.clone(), doubled: self.doubled })?;
            if object.insert(name.clone(), value).is_some() {
                self.doubled
                    .try_borrow_mut()
                    .map_err(A::Error::custom)?
                    .push(Problem::new(pointer, format!("`{name}` stands twice in the same object")));
            }
        }
        Ok(Value::Object(object))
    }
}
