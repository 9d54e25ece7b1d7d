//! Values of attributes and values of columns.
//!
//! Reading is lenient, since other programs write into these files: what does not fit its field comes back as
//! it is stored. Writing is strict.

use haversack_model::{Field, FieldType, GlobalId, Result, Value};
use rusqlite::types::{ToSqlOutput, ValueRef};

use super::datetime;
use crate::error::{corrupt, invalid};

/// The SQL type of a field's column in a GeoPackage.
pub fn sql_type(field: &Field) -> String {
    match field.kind {
        FieldType::SmallInteger => "SMALLINT".to_owned(),
        FieldType::Integer => "MEDIUMINT".to_owned(),
        FieldType::BigInteger => "INTEGER".to_owned(),
        FieldType::Single => "FLOAT".to_owned(),
        FieldType::Double => "DOUBLE".to_owned(),
        FieldType::String => match field.length {
            Some(length) => format!("TEXT({length})"),
            None => "TEXT".to_owned(),
        },
        FieldType::Date => "DATETIME".to_owned(),
        FieldType::DateOnly => "DATE".to_owned(),
        FieldType::TimeOnly | FieldType::TimestampOffset => "TEXT".to_owned(),
        FieldType::Guid => "TEXT(38)".to_owned(),
        FieldType::Blob => "BLOB".to_owned(),
    }
}

/// What is stored for a value.
///
/// # Errors
/// [`haversack_model::Error::Invalid`] if it is not of the field's type.
pub fn to_sql<'a>(field: &Field, value: &'a Value) -> Result<ToSqlOutput<'a>> {
    let borrowed = |v| Ok(ToSqlOutput::Borrowed(v));
    match (field.kind, value) {
        (_, Value::Null) => borrowed(ValueRef::Null),
        (FieldType::Date, Value::Integer(ms)) => match datetime::to_text(*ms) {
            Some(text) => Ok(ToSqlOutput::Owned(text.into())),
            None => Err(invalid(
                &field.name,
                format!("{ms} ms is not within the years 0 to 9999"),
            )),
        },
        (FieldType::Single | FieldType::Double, Value::Integer(n)) => {
            borrowed(ValueRef::Real(*n as f64))
        }
        (FieldType::Single | FieldType::Double, Value::Real(x)) => borrowed(ValueRef::Real(*x)),
        (
            FieldType::SmallInteger | FieldType::Integer | FieldType::BigInteger,
            Value::Integer(n),
        ) => borrowed(ValueRef::Integer(*n)),
        (
            FieldType::String
            | FieldType::DateOnly
            | FieldType::TimeOnly
            | FieldType::TimestampOffset
            | FieldType::Guid,
            Value::Text(text),
        ) => borrowed(ValueRef::Text(text.as_bytes())),
        (FieldType::Blob, Value::Blob(bytes)) => borrowed(ValueRef::Blob(bytes)),
        (kind, _) => Err(invalid(
            &field.name,
            format!("the value is not of type {kind:?}"),
        )),
    }
}

/// A text of the file; bytes that are not UTF-8 become replacement characters.
pub(crate) fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The value of a column of this type.
pub fn from_sql(kind: FieldType, stored: ValueRef<'_>) -> Value {
    match (kind, stored) {
        (_, ValueRef::Null) => Value::Null,
        (FieldType::Date, ValueRef::Text(bytes)) => {
            let parsed = std::str::from_utf8(bytes)
                .ok()
                .and_then(datetime::from_text);
            parsed.map_or_else(|| Value::Text(text_of(bytes)), Value::Integer)
        }
        (FieldType::Single | FieldType::Double, ValueRef::Integer(n)) => Value::Real(n as f64),
        (
            FieldType::SmallInteger | FieldType::Integer | FieldType::BigInteger | FieldType::Date,
            ValueRef::Real(x),
        ) if x.fract() == 0.0 && x.abs() < 9.0e15 => Value::Integer(x as i64),
        (
            FieldType::String
            | FieldType::DateOnly
            | FieldType::TimeOnly
            | FieldType::TimestampOffset
            | FieldType::Guid,
            ValueRef::Integer(n),
        ) => Value::Text(n.to_string()),
        (FieldType::Blob, ValueRef::Text(bytes)) => Value::Blob(bytes.to_vec()),
        (_, other) => plain(other),
    }
}

/// The value of a computed column.
pub fn plain(stored: ValueRef<'_>) -> Value {
    match stored {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(n) => Value::Integer(n),
        ValueRef::Real(x) => Value::Real(x),
        ValueRef::Text(bytes) => Value::Text(text_of(bytes)),
        ValueRef::Blob(bytes) => Value::Blob(bytes.to_vec()),
    }
}

/// A value to bind in a computed place, where no field says its type.
pub fn bind(value: &Value) -> rusqlite::types::Value {
    match value {
        Value::Null => rusqlite::types::Value::Null,
        Value::Integer(n) => (*n).into(),
        Value::Real(x) => (*x).into(),
        Value::Text(text) => text.clone().into(),
        Value::Blob(bytes) => bytes.clone().into(),
    }
}

/// The text under which a feature's global id is stored.
///
/// # Errors
/// [`haversack_model::Error::Invalid`] if it is not a UUID.
pub fn global_id_text(id: &GlobalId) -> Result<String> {
    match id {
        GlobalId::Uuid(_) => Ok(id.braced()),
        GlobalId::Text(_) => Err(invalid("GlobalID", "features have UUIDs")),
    }
}

/// The text under which the global id of a collection's record is stored.
///
/// # Errors
/// [`haversack_model::Error::Invalid`] if it is not one of this collection: features have UUIDs, documents keys.
pub fn key_text(is_documents: bool, id: &GlobalId) -> Result<String> {
    if is_documents {
        let key = match id {
            GlobalId::Text(key) => key.to_string(),
            GlobalId::Uuid(_) => haversack_model::documents::key_of(id),
        };
        let fits = (1..=haversack_model::documents::MAX_KEY_BYTES).contains(&key.len())
            && !key.contains('\0');
        return if fits {
            Ok(key)
        } else {
            Err(invalid("_key", "it must have 1 to 254 bytes"))
        };
    }
    match id {
        // Readers of documents name features by the text of their UUID.
        GlobalId::Text(text) => match GlobalId::parse_uuid(text) {
            Ok(id) => Ok(id.braced()),
            Err(_not_a_uuid) => global_id_text(id),
        },
        GlobalId::Uuid(_) => Ok(id.braced()),
    }
}

/// The global id that [`key_text`] stored.
///
/// # Errors
/// [`haversack_model::Error::Corrupt`] if it is none.
pub fn key(is_documents: bool, stored: ValueRef<'_>) -> Result<GlobalId> {
    if !is_documents {
        return global_id(stored);
    }
    match stored {
        ValueRef::Text(bytes) => Ok(GlobalId::Text(text_of(bytes).into())),
        _ => Err(corrupt("a document has no key")),
    }
}

/// The global id of a row of a layer, which has UUIDs or texts.
///
/// # Errors
/// [`haversack_model::Error::Corrupt`] if it is none.
pub fn feature_id(has_uids: bool, stored: ValueRef<'_>) -> Result<GlobalId> {
    match stored {
        ValueRef::Text(bytes) if has_uids && !bytes.is_empty() => {
            Ok(GlobalId::Text(text_of(bytes).into()))
        }
        _ if has_uids => Err(corrupt("a row has no uid")),
        _ => global_id(stored),
    }
}

/// The global id of a stored text.
///
/// # Errors
/// [`haversack_model::Error::Corrupt`] if it is not a UUID.
pub fn global_id(stored: ValueRef<'_>) -> Result<GlobalId> {
    let text = match stored {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    };
    text.and_then(|text| GlobalId::parse_uuid(text).ok())
        .ok_or_else(|| corrupt("a GlobalID is not a UUID"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(kind: FieldType) -> Field {
        Field {
            name: "f".into(),
            alias: "f".into(),
            kind,
            length: None,
            nullable: true,
            editable: true,
            domain: None,
            default: Value::Null,
        }
    }

    #[test]
    fn a_value_of_another_type_is_refused_by_name() {
        let error = to_sql(&field(FieldType::Integer), &Value::Text("x".into())).unwrap_err();
        assert_eq!(error.to_string(), "f: the value is not of type Integer");
    }

    #[test]
    fn what_other_programs_wrote_comes_back_as_it_is() {
        assert_eq!(
            from_sql(FieldType::Date, ValueRef::Text(b"soon")),
            Value::Text("soon".into())
        );
        assert_eq!(
            from_sql(FieldType::Double, ValueRef::Integer(3)),
            Value::Real(3.0)
        );
        assert_eq!(
            from_sql(FieldType::Date, ValueRef::Text(b"1970-01-02")),
            Value::Integer(86_400_000)
        );
    }
}
