//! Lines of a dump: a document each, bare or within an envelope that names its kind.
//!
//! Source: `spec/arangodb.md` 6.5.

use serde_json::{Map, Value};

use super::json;
use super::marker;

/// Chunk of a dump when nothing is asked for, in bytes.
pub const DEFAULT_CHUNK: u64 = 131_072;
/// Largest chunk that may be asked for.
pub const MAX_CHUNK: u64 = 134_217_728;
/// Largest chunk that a secondary asks for.
pub const MAX_ASKED_CHUNK: u64 = 10 * 1024 * 1024;

/// What one line says.
#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// A document with its system attributes.
    Document(Map<String, Value>),
    /// A document of this key is gone.
    Removal(String),
}

/// Why a line is not understood.
#[derive(Debug, thiserror::Error)]
pub enum BadLine {
    /// It is no JSON object.
    #[error(transparent)]
    Json(#[from] haversack_model::json::BadJson),
    /// A marker of another kind.
    #[error("a marker of type {0} does not belong into a dump")]
    Type(u64),
    /// A marker without what it needs.
    #[error("a marker without {0}")]
    Missing(&'static str),
}

/// Whether the lines of a response are bare documents, by its first line.
pub fn is_bare(first: &Map<String, Value>) -> bool {
    first.get("_key").is_some_and(Value::is_string)
}

/// The envelope of a document.
pub fn enveloped(document: &str) -> String {
    format!(r#"{{"type":{},"data":{document}}}"#, marker::DOCUMENT)
}

/// Reads one line. `bare` is what [`is_bare`] said of the first one of the response; `None` for the first itself.
///
/// # Errors
/// [`BadLine`].
pub fn read(line: &[u8], bare: &mut Option<bool>) -> Result<Line, BadLine> {
    let mut members = json::parse_object(line)?;
    if *bare.get_or_insert_with(|| is_bare(&members)) {
        return Ok(Line::Document(members));
    }
    let kind = members.get("type").and_then(Value::as_u64);
    let kind = kind.ok_or(BadLine::Missing("a type"))?;
    let Some(Value::Object(data)) = members.remove("data") else {
        return Err(BadLine::Missing("data"));
    };
    match kind {
        marker::DOCUMENT => Ok(Line::Document(data)),
        marker::REMOVE => {
            let key = data.get("_key").and_then(Value::as_str);
            let key = key.ok_or(BadLine::Missing("a key"))?;
            Ok(Line::Removal(key.to_owned()))
        }
        other => Err(BadLine::Type(other)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_a_document_are_read() {
        let bare_line = r#"{"_id":"c/a","_key":"a","_rev":"_k1ZYo-----","type":7}"#;
        for line in [bare_line.to_owned(), enveloped(bare_line)] {
            let mut bare = None;
            let Line::Document(document) = read(line.as_bytes(), &mut bare).unwrap() else {
                panic!("{line}");
            };
            assert_eq!(document["_key"], "a");
            assert_eq!(document["type"], 7);
        }
    }

    #[test]
    fn a_removal_names_its_key() {
        let line = br#"{"type":2302,"data":{"_key":"a"}}"#;
        let read = read(line, &mut None).unwrap();
        assert_eq!(read, Line::Removal("a".to_owned()));
    }

    #[test]
    fn what_is_no_marker_is_refused() {
        for line in [
            &b"{}"[..],
            b"[]",
            b"{\"type\":2300}",
            b"{\"type\":2001,\"data\":{}}",
            b"{\"type\":2302,\"data\":{}}",
            b"{\"type\":2300,\"data\":{",
        ] {
            assert!(read(line, &mut None).is_err());
        }
    }
}
