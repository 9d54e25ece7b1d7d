//! Documents: on the wire `_key`, `_id` and `_rev` stand in front of the body; the store keeps the body alone.
//!
//! Source: `spec/arangodb.md` 1 and 10.

use serde_json::{Map, Value};

use super::errors::ErrorNum;
use super::{key, revision};

/// A document taken apart.
#[derive(Clone, Debug, Default)]
pub struct Parsed {
    /// Its key, if it names one.
    pub key: Option<String>,
    /// Its revision, if it names one.
    pub revision: Option<u64>,
    /// Everything else.
    pub body: Map<String, Value>,
}

/// Takes a document apart.
///
/// # Errors
/// The number of what is wrong: no object, a bad key, a bad revision.
pub fn parse(document: Value) -> Result<Parsed, ErrorNum> {
    let Value::Object(mut body) = document else {
        return Err(ErrorNum::BadDocumentType);
    };
    let id = body.shift_remove("_id");
    let given = match body.shift_remove("_key") {
        None => {
            let key = id
                .as_ref()
                .and_then(Value::as_str)
                .and_then(|id| id.split_once('/'));
            key.map(|(_, key)| key.to_owned())
        }
        Some(Value::String(text)) => Some(text),
        Some(_) => return Err(ErrorNum::BadKey),
    };
    if given.as_deref().is_some_and(|given| !key::is_key(given)) {
        return Err(ErrorNum::BadKey);
    }
    let revision = match body.shift_remove("_rev") {
        Some(Value::String(text)) if !text.is_empty() => {
            let revision = revision::decode(&text);
            Some(revision.map_err(|_not_one| ErrorNum::BadRevision)?)
        }
        _ => None,
    };
    Ok(Parsed {
        key: given,
        revision,
        body,
    })
}

/// A document for the wire; `body` is the text of an object.
pub fn render(collection: &str, key: &str, revision: u64, body: &str) -> String {
    let rest = body
        .trim_start()
        .strip_prefix('{')
        .unwrap_or("}")
        .trim_start();
    let comma = if rest.starts_with('}') { "" } else { "," };
    let rev = revision::encode(revision);
    format!(r#"{{"_key":"{key}","_id":"{collection}/{key}","_rev":"{rev}"{comma}{rest}"#)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_system_attributes_stand_in_front() {
        let revision = revision::decode("_k1ZYo-----").unwrap();
        for (body, expected) in [
            ("{}", r#"{"_key":"a","_id":"c/a","_rev":"_k1ZYo-----"}"#),
            (
                r#"{"n":1}"#,
                r#"{"_key":"a","_id":"c/a","_rev":"_k1ZYo-----","n":1}"#,
            ),
            (
                r#" { "n":1}"#,
                r#"{"_key":"a","_id":"c/a","_rev":"_k1ZYo-----","n":1}"#,
            ),
        ] {
            assert_eq!(render("c", "a", revision, body), expected);
        }
    }

    #[test]
    fn a_document_is_taken_apart() {
        let parsed =
            parse(json!({"n": 1, "_id": "c/a", "_rev": "_k1ZYo-----", "_from": "x/y"})).unwrap();
        assert_eq!(parsed.key.as_deref(), Some("a"));
        assert!(parsed.revision.is_some());
        assert_eq!(Value::Object(parsed.body), json!({"n": 1, "_from": "x/y"}));
        for bad in [
            json!({"_key": 7}),
            json!({"_key": "a/b"}),
            json!([]),
            json!({"_rev": "?"}),
        ] {
            assert!(parse(bad.clone()).is_err(), "{bad}");
        }
    }
}
