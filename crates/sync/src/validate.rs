//! Whether values fit their fields, and the forms in which they are kept.
//!
//! Owns: types, lengths, ranges, domains, nullability and geometry kinds. Does not own: who may edit (`apply`).
//! Values are brought to one form per type (GUIDs braced and upper case, whole reals to integers where the field is
//! integer), so that equal content compares equal. A geometry with other z or m than the layer's is accepted: the
//! coordinates that came are the coordinates that are kept.

use haversack_model::{
    Collection, Domain, Edit, Field, FieldType, Geometry, GlobalId, RejectCode, Value,
};

/// Why something was refused: the code for programs, the sentence for people.
pub type Refusal = (RejectCode, String);

/// The value in the form in which the field keeps it.
///
/// # Errors
/// A sentence that names the field and what would be right.
pub fn fit(field: &Field, value: &Value) -> Result<Value, String> {
    if value.is_null() {
        return if field.nullable {
            Ok(Value::Null)
        } else {
            Err(format!("{} must have a value", field.name))
        };
    }
    let fitted = typed(field, value)?;
    if let (Some(length), Value::Text(text)) = (field.length, &fitted) {
        let count = text.chars().count();
        if count > length as usize {
            return Err(format!(
                "{} takes {length} characters, and the text has {count}",
                field.name
            ));
        }
    }
    match &field.domain {
        Some(domain) if !in_domain(domain, &fitted) => Err(match domain {
            Domain::Coded { name, .. } => {
                format!("{} must be one of the codes of {name}", field.name)
            }
            Domain::Range { min, max, .. } => {
                format!("{} must lie between {min} and {max}", field.name)
            }
        }),
        _ => Ok(fitted),
    }
}

fn typed(field: &Field, value: &Value) -> Result<Value, String> {
    let wrong = |wanted: &str| Err(format!("{} takes {wanted}", field.name));
    let whole = |min: i64, max: i64, wanted: &str| {
        let number = match value {
            Value::Integer(n) => Some(*n),
            // 2^53: every whole number below has an exact float.
            Value::Real(x) if x.fract() == 0.0 && x.abs() <= 9_007_199_254_740_992.0 => {
                Some(*x as i64)
            }
            _ => None,
        };
        match number {
            Some(n) if (min..=max).contains(&n) => Ok(Value::Integer(n)),
            _ => wrong(wanted),
        }
    };
    let text = || match value {
        Value::Text(text) if !text.contains('\0') => Some(text.as_str()),
        _ => None,
    };
    match field.kind {
        FieldType::SmallInteger => whole(
            i16::MIN.into(),
            i16::MAX.into(),
            "a whole number of 16 bits",
        ),
        FieldType::Integer => whole(
            i32::MIN.into(),
            i32::MAX.into(),
            "a whole number of 32 bits",
        ),
        FieldType::BigInteger => whole(i64::MIN, i64::MAX, "a whole number of 64 bits"),
        FieldType::Date => whole(i64::MIN, i64::MAX, "a time in milliseconds since 1970"),
        FieldType::Single | FieldType::Double => {
            let x = match value {
                Value::Integer(n) => *n as f64,
                Value::Real(x) => *x,
                _ => return wrong("a number"),
            };
            let limit = if field.kind == FieldType::Single {
                f64::from(f32::MAX)
            } else {
                f64::MAX
            };
            if x.is_finite() && x.abs() <= limit {
                Ok(Value::Real(x))
            } else {
                wrong("a finite number of its size")
            }
        }
        FieldType::String => text().map_or_else(|| wrong("text without NUL"), |t| Ok(t.into())),
        FieldType::DateOnly => match text() {
            Some(t) if is_date(t) => Ok(t.into()),
            _ => wrong("a date as YYYY-MM-DD"),
        },
        FieldType::TimeOnly => match text() {
            Some(t) if is_time(t) => Ok(t.into()),
            _ => wrong("a time as HH:MM:SS"),
        },
        FieldType::TimestampOffset => match text() {
            Some(t) if is_offset_timestamp(t) => Ok(t.into()),
            _ => wrong("a timestamp with offset as YYYY-MM-DDTHH:MM:SS+HH:MM"),
        },
        FieldType::Guid => match text().map(GlobalId::parse_uuid) {
            Some(Ok(id)) => Ok(id.braced().into()),
            _ => wrong("a GUID"),
        },
        FieldType::Blob => match value {
            Value::Blob(_) => Ok(value.clone()),
            _ => wrong("bytes"),
        },
    }
}

fn in_domain(domain: &Domain, value: &Value) -> bool {
    let number = |value: &Value| match value {
        Value::Integer(n) => Some(*n as f64),
        Value::Real(x) => Some(*x),
        _ => None,
    };
    match domain {
        Domain::Coded { values, .. } => values.iter().any(|(code, _)| {
            code == value || matches!((number(code), number(value)), (Some(a), Some(b)) if a.total_cmp(&b).is_eq())
        }),
        Domain::Range { min, max, .. } => number(value).is_some_and(|x| *min <= x && x <= *max),
    }
}

/// Reads `pattern`, in which `0` stands for a digit, and gives the rest of the text.
fn after_pattern<'a>(text: &'a str, pattern: &str) -> Option<&'a str> {
    let head = text.as_bytes().get(..pattern.len())?;
    head.iter()
        .zip(pattern.bytes())
        .all(|(c, p)| {
            if p == b'0' {
                c.is_ascii_digit()
            } else {
                *c == p
            }
        })
        .then(|| &text[pattern.len()..])
}

fn number(text: &str, from: usize) -> u8 {
    text.get(from..from + 2)
        .and_then(|t| t.parse().ok())
        .unwrap_or(u8::MAX)
}

fn is_date_prefix(text: &str) -> Option<&str> {
    let rest = after_pattern(text, "0000-00-00")?;
    let (month, day) = (number(text, 5), number(text, 8));
    ((1..=12).contains(&month) && (1..=31).contains(&day)).then_some(rest)
}
fn is_time_prefix(text: &str) -> Option<&str> {
    let rest = after_pattern(text, "00:00:00")?;
    if number(text, 0) > 23 || number(text, 3) > 59 || number(text, 6) > 60 {
        return None;
    }
    match rest.strip_prefix('.') {
        Some(fraction) => {
            let end = fraction
                .find(|c: char| !c.is_ascii_digit())
                .unwrap_or(fraction.len());
            (end > 0).then(|| &fraction[end..])
        }
        None => Some(rest),
    }
}
fn is_date(text: &str) -> bool {
    is_date_prefix(text) == Some("")
}
fn is_time(text: &str) -> bool {
    is_time_prefix(text) == Some("")
}
fn is_offset_timestamp(text: &str) -> bool {
    let rest = is_date_prefix(text).and_then(|rest| rest.strip_prefix(['T', ' ']));
    match rest.and_then(is_time_prefix) {
        Some("Z") => true,
        Some(offset) => {
            after_pattern(offset, "+00:00").or_else(|| after_pattern(offset, "-00:00")) == Some("")
        }
        None => false,
    }
}

/// Whether a geometry fits the collection.
///
/// # Errors
/// A refusal that names the wanted and the found kind.
pub fn fit_geometry(collection: &Collection, geometry: Option<&Geometry>) -> Result<(), Refusal> {
    let refuse = |text: String| Err((RejectCode::InvalidGeometry, text));
    match (&collection.geometry, geometry) {
        (None, Some(_)) => refuse(format!("{} has no geometry", collection.name)),
        (Some(column), Some(geometry)) if geometry.kind() != column.kind => refuse(format!(
            "{} takes {:?} geometries, and this is a {:?}",
            collection.name,
            column.kind,
            geometry.kind()
        )),
        _ => Ok(()),
    }
}

/// The edit with every value in the form of its field. Records of an older shape, with fewer values, get the
/// defaults of the new fields; a null where only a default is allowed becomes the default.
///
/// Fields that the server stamps are not looked at: what a client sends for them does not count.
///
/// # Errors
/// A refusal that names the first field that does not fit.
pub fn fit_edit(collection: &Collection, edit: &Edit) -> Result<Edit, Refusal> {
    let stamped = stamped_fields(collection);
    let refuse = |text| (RejectCode::InvalidValue, text);
    let unknown = || {
        (
            RejectCode::Refused,
            format!(
                "the edit names more fields than {} has ({}); the replica's schema is newer",
                collection.name,
                collection.fields.len()
            ),
        )
    };
    match edit {
        Edit::Add { record, undelete } => {
            let mut record = record.clone();
            if record.values.len() > collection.fields.len() {
                return Err(unknown());
            }
            for at in record.values.len()..collection.fields.len() {
                record.values.push(collection.fields[at].default.clone());
            }
            for (at, (value, field)) in record.values.iter_mut().zip(&collection.fields).enumerate()
            {
                if stamped.contains(&at) {
                    *value = Value::Null;
                    continue;
                }
                if value.is_null() && !field.nullable {
                    value.clone_from(&field.default);
                }
                if !field.editable && !value.is_null() && *value != field.default {
                    return Err(refuse(format!("{} cannot be set", field.name)));
                }
                *value = fit(field, value).map_err(refuse)?;
            }
            fit_geometry(collection, record.geometry.as_ref())?;
            Ok(Edit::Add {
                record,
                undelete: *undelete,
            })
        }
        Edit::Update {
            global_id,
            mine,
            base,
        } => {
            let mut mine = mine.clone();
            mine.values.retain(|at, _| !stamped.contains(at));
            for (&at, value) in &mut mine.values {
                let field = collection.fields.get(at).ok_or_else(unknown)?;
                *value = fit(field, value).map_err(refuse)?;
            }
            if let Some(geometry) = &mine.geometry {
                fit_geometry(collection, geometry.as_ref())?;
            }
            Ok(Edit::Update {
                global_id: global_id.clone(),
                mine,
                base: base.clone(),
            })
        }
        Edit::Delete { .. } => Ok(edit.clone()),
    }
}

/// Positions of the fields that the server stamps on edits.
pub fn stamped_fields(collection: &Collection) -> Vec<usize> {
    let Some(names) = &collection.editor_fields else {
        return Vec::new();
    };
    [
        &names.created_at,
        &names.creator,
        &names.edited_at,
        &names.editor,
    ]
    .into_iter()
    .filter_map(|name| collection.field_index(name))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(kind: FieldType) -> Field {
        Field {
            name: "f".to_owned(),
            alias: "f".to_owned(),
            kind,
            length: Some(38),
            nullable: false,
            editable: true,
            domain: None,
            default: Value::Null,
        }
    }

    #[test]
    fn integers_are_checked_against_their_width() {
        let small = field(FieldType::SmallInteger);
        assert_eq!(fit(&small, &Value::Real(7.0)), Ok(Value::Integer(7)));
        assert!(fit(&small, &Value::Integer(40_000)).is_err());
        assert!(fit(&small, &Value::Real(7.5)).is_err());
        assert!(fit(&small, &Value::Null).is_err());
        assert!(fit(&small, &"7".into()).is_err());
    }

    #[test]
    fn guids_are_kept_braced_and_in_upper_case() {
        let guid = field(FieldType::Guid);
        let text = "6fa459ea-ee8a-3ca4-894e-db77e160355e";
        assert_eq!(
            fit(&guid, &text.into()),
            Ok("{6FA459EA-EE8A-3CA4-894E-DB77E160355E}".into())
        );
        assert!(fit(&guid, &"six".into()).is_err());
    }

    #[test]
    fn texts_are_counted_in_characters_and_hold_no_nul() {
        let mut text = field(FieldType::String);
        text.length = Some(3);
        assert!(fit(&text, &"äöü".into()).is_ok());
        assert!(fit(&text, &"äöüß".into()).is_err());
        assert!(fit(&text, &"a\0".into()).is_err());
    }

    #[test]
    fn dates_and_times_have_one_form() {
        for (kind, good, bad) in [
            (FieldType::DateOnly, "2026-11-22", "2026-13-22"),
            (FieldType::TimeOnly, "23:59:59", "24:00:00"),
            (
                FieldType::TimestampOffset,
                "2026-11-22T01:02:03.5+01:00",
                "2026-11-22T01:02:03",
            ),
        ] {
            assert!(fit(&field(kind), &good.into()).is_ok(), "{good}");
            assert!(fit(&field(kind), &bad.into()).is_err(), "{bad}");
        }
    }

    #[test]
    fn domains_bound_codes_and_ranges() {
        let mut coded = field(FieldType::Double);
        coded.domain = Some(Domain::Coded {
            name: "height".to_owned(),
            values: vec![(Value::Integer(1), "low".to_owned())],
        });
        assert!(fit(&coded, &Value::Real(1.0)).is_ok());
        assert!(fit(&coded, &Value::Real(2.0)).is_err());
        coded.domain = Some(Domain::Range {
            name: "height".to_owned(),
            min: 0.0,
            max: 2.0,
        });
        assert!(fit(&coded, &Value::Real(2.0)).is_ok());
        assert!(fit(&coded, &Value::Real(2.1)).is_err());
    }
}
