//! Values as a template sees them, with Go's notions of truth, length and printing.

use std::{fmt, rc::Rc};

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::cli::format::shape::Shape;

/// What an object is, which decides how a missing field, printing and JSON behave.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// A Go map: any key may be asked for; prints sorted.
    Map,
    /// A Go map that is nil: empty, but JSON says null.
    NilMap,
    /// A Go struct of this type; an unknown field is an error.
    Struct(&'static Shape),
    /// The row of a list (docker's "context"): a struct that becomes JSON with sorted keys.
    Row(&'static str),
    /// The titles of a table's columns.
    Header,
}

impl PartialEq for Kind {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Kind::Map, Kind::Map) | (Kind::NilMap, Kind::NilMap) | (Kind::Header, Kind::Header) => true,
            (Kind::Struct(a), Kind::Struct(b)) => a.name == b.name,
            (Kind::Row(a), Kind::Row(b)) => a == b,
            _ => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Object {
    pub kind: Kind,
    pub fields: Vec<(String, Val)>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub enum Val {
    #[default]
    Nil,
    /// A key that the map does not have.
    Missing,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(Rc<str>),
    /// RFC 3339, as it came.
    Time(Rc<str>),
    /// Nanoseconds.
    Duration(i64),
    List(Rc<Vec<Val>>),
    Object(Rc<Object>),
}

impl Object {
    pub fn get(&self, key: &str) -> Option<&Val> {
        self.fields.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The fields as a Go map iterates in a template: by key.
    pub fn sorted(&self) -> Vec<&(String, Val)> {
        let mut fields: Vec<_> = self.fields.iter().collect();
        fields.sort_by(|a, b| a.0.cmp(&b.0));
        fields
    }
}

impl Val {
    pub fn text(text: impl Into<Rc<str>>) -> Val {
        Val::Text(text.into())
    }

    pub fn list(items: Vec<Val>) -> Val {
        Val::List(Rc::new(items))
    }

    pub fn object(kind: Kind, fields: Vec<(String, Val)>) -> Val {
        Val::Object(Rc::new(Object { kind, fields }))
    }

    /// A row of a list, from its columns.
    pub fn row<const N: usize>(type_name: &'static str, fields: [(&str, Val); N]) -> Val {
        Val::object(Kind::Row(type_name), fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    pub fn get(&self, key: &str) -> Option<&Val> {
        match self {
            Val::Object(object) => object.get(key),
            _ => None,
        }
    }

    /// Go's truth: the zero value is false.
    pub fn is_true(&self) -> bool {
        match self {
            Val::Nil | Val::Missing => false,
            Val::Bool(value) => *value,
            Val::Int(value) | Val::Duration(value) => *value != 0,
            Val::Uint(value) => *value != 0,
            Val::Float(value) => *value != 0.0,
            Val::Text(text) => !text.is_empty(),
            Val::Time(_) => true,
            Val::List(items) => !items.is_empty(),
            Val::Object(object) => !matches!(object.kind, Kind::Map | Kind::NilMap) || !object.fields.is_empty(),
        }
    }

    pub fn len(&self) -> Option<usize> {
        match self {
            Val::Text(text) => Some(text.len()),
            Val::List(items) => Some(items.len()),
            Val::Object(object) if matches!(object.kind, Kind::Map | Kind::NilMap) => Some(object.fields.len()),
            _ => None,
        }
    }

    pub fn type_name(&self) -> &'static str {
        match self {
            Val::Nil | Val::Missing => "nil",
            Val::Bool(_) => "bool",
            Val::Int(_) => "int64",
            Val::Uint(_) => "uint64",
            Val::Float(_) => "float64",
            Val::Text(_) => "string",
            Val::Time(_) => "time.Time",
            Val::Duration(_) => "time.Duration",
            Val::List(_) => "[]interface {}",
            Val::Object(object) => match object.kind {
                Kind::Struct(shape) => shape.name,
                Kind::Row(name) => name,
                Kind::Map | Kind::NilMap => "map[string]interface {}",
                Kind::Header => "formatter.SubHeaderContext",
            },
        }
    }
}

impl fmt::Display for Val {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Val::Nil => f.write_str("<nil>"),
            Val::Missing => f.write_str("<no value>"),
            Val::Bool(value) => write!(f, "{value}"),
            Val::Int(value) => write!(f, "{value}"),
            Val::Uint(value) => write!(f, "{value}"),
            Val::Float(value) => f.write_str(&crate::cli::format::units::shortest(*value)),
            Val::Text(text) => f.write_str(text),
            Val::Time(text) => f.write_str(&crate::cli::format::time::go_string(text)),
            Val::Duration(nanos) => f.write_str(&crate::cli::format::units::duration(*nanos)),
            Val::List(items) => {
                let items: Vec<_> = items.iter().map(Val::to_string).collect();
                write!(f, "[{}]", items.join(" "))
            }
            Val::Object(object) => match object.kind {
                Kind::Map | Kind::NilMap | Kind::Header => {
                    let pairs: Vec<_> = object.sorted().iter().map(|(key, value)| format!("{key}:{value}")).collect();
                    write!(f, "map[{}]", pairs.join(" "))
                }
                Kind::Struct(_) | Kind::Row(_) => {
                    let values: Vec<_> = object.fields.iter().map(|(_, value)| value.to_string()).collect();
                    write!(f, "{{{}}}", values.join(" "))
                }
            },
        }
    }
}

impl From<&str> for Val {
    fn from(text: &str) -> Self {
        Val::text(text)
    }
}

impl From<String> for Val {
    fn from(text: String) -> Self {
        Val::text(text)
    }
}

impl From<bool> for Val {
    fn from(value: bool) -> Self {
        Val::Bool(value)
    }
}

impl From<i64> for Val {
    fn from(value: i64) -> Self {
        Val::Int(value)
    }
}

/// JSON of unknown shape; the order of keys is kept.
impl<'de> Deserialize<'de> for Val {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyValue;

        impl<'de> Visitor<'de> for AnyValue {
            type Value = Val;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON value")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Val, E> {
                Ok(Val::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Val, E> {
                Ok(Val::Int(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Val, E> {
                Ok(i64::try_from(value).map_or(Val::Uint(value), Val::Int))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Val, E> {
                Ok(Val::Float(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Val, E> {
                Ok(Val::text(value))
            }

            fn visit_unit<E>(self) -> Result<Val, E> {
                Ok(Val::Nil)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Val, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Val::list(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Val, A::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    fields.push(entry);
                }
                Ok(Val::object(Kind::Map, fields))
            }
        }

        deserializer.deserialize_any(AnyValue)
    }
}
