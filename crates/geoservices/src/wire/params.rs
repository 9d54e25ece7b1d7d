//! The parameters of one request, merged from query string, form and multipart body.
//!
//! Names are matched ignoring case and through `ALIASES`, because clients spell one parameter differently in
//! different calls. An empty value means "absent". Errors name the parameter and the legal values.
//! Source: `spec/geoservices.md` sections 0.6, 0.7 and 1.

use std::collections::BTreeMap;

use haversack_model::GlobalId;
use serde_json::{Map, Value};

use crate::wire::json;
use crate::{Error, Result};

/// Spellings that mean the same parameter, both in lower case: what is sent and what it is kept under.
const ALIASES: &[(&str, &str)] = &[
    ("returnattachmentdatabyurl", "returnattachmentsdatabyurl"),
    ("partnum", "partid"),
    ("uploadformat", "appenduploadformat"),
];

/// Longest list of ids in one parameter.
const MAX_LIST: usize = 1_000_000;

/// Merged request parameters.
#[derive(Clone, Debug, Default)]
pub struct Params {
    values: BTreeMap<String, String>,
}

/// What the answer shall look like (`f`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `json`.
    Json,
    /// `pjson`: indented JSON.
    PrettyJson,
    /// `html`, or none named.
    Html,
    /// `geojson`, for queries only.
    GeoJson,
    /// `pbf`, for queries only.
    Pbf,
}

fn canonical(name: &str) -> String {
    let lower = name.trim().to_ascii_lowercase();
    ALIASES
        .iter()
        .find(|(alias, _)| *alias == lower)
        .map_or(lower, |(_, kept)| (*kept).to_owned())
}

impl Params {
    /// No parameters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one parameter. A later value replaces an earlier one; an empty value changes nothing.
    ///
    /// # Errors
    /// [`Error::Parameter`] if the value holds a NUL character.
    pub fn add(&mut self, name: &str, value: impl Into<String>) -> Result<()> {
        let value = value.into();
        if value.contains('\0') || name.contains('\0') {
            return Err(Error::parameter(
                name.replace('\0', ""),
                "holds a NUL character",
            ));
        }
        if !value.trim().is_empty() {
            self.values.insert(canonical(name), value);
        }
        Ok(())
    }

    /// Adds the parameters of a query string (without its `?`).
    pub fn add_query(&mut self, query: &str) -> Result<()> {
        query
            .split('&')
            .filter(|pair| !pair.is_empty())
            .try_for_each(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                let name = decode(name, "parameter name")?;
                let value = decode(value, &name)?;
                self.add(&name, value)
            })
    }

    /// Adds the parameters of an `application/x-www-form-urlencoded` body.
    ///
    /// QGIS posts `f=json&features=[...]` without any percent-encoding, so a value that begins with a bracket and
    /// holds a bare quote is taken as it stands, up to the end of its JSON.
    pub fn add_form(&mut self, body: &[u8]) -> Result<()> {
        let body = std::str::from_utf8(body)
            .map_err(|_not_utf8| Error::document("request body", "is not UTF-8"))?;
        let mut rest = body;
        while !rest.is_empty() {
            let end_of_name = rest.find(['=', '&']).unwrap_or(rest.len());
            let name = decode(&rest[..end_of_name], "parameter name")?;
            if !rest[end_of_name..].starts_with('=') {
                rest = rest[end_of_name..].strip_prefix('&').unwrap_or("");
                continue;
            }
            let from = &rest[end_of_name + 1..];
            let raw_json = bare_json_length(from);
            let length = raw_json.unwrap_or_else(|| from.find('&').unwrap_or(from.len()));
            let value = match raw_json {
                Some(_) => from[..length].to_owned(),
                None => decode(&from[..length], &name)?,
            };
            self.add(&name, value)?;
            rest = from[length..].strip_prefix('&').unwrap_or("");
        }
        Ok(())
    }

    /// The text of a parameter, if it was sent and is not empty.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.values.get(&canonical(name)).map(String::as_str)
    }
    /// Whether a parameter was sent.
    pub fn has(&self, name: &str) -> bool {
        self.text(name).is_some()
    }
    /// The text of a parameter that must be there.
    pub fn required(&self, name: &str) -> Result<&str> {
        self.text(name)
            .ok_or_else(|| Error::parameter(name, "is required"))
    }
    /// Names and values, in order of the names in lower case. Meant for storing a request as a job.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }
    /// Removes a parameter and gives its value; for values that must not be kept, such as `token`.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.values.remove(&canonical(name))
    }

    /// A boolean: `true`, `false`, `1`, `0`, in any case.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool> {
        let Some(text) = self.text(name) else {
            return Ok(default);
        };
        match text.trim().to_ascii_lowercase().as_str() {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            // Some clients write an absent Python value.
            "none" | "null" => Ok(default),
            _ => Err(illegal(name, text, "true, false")),
        }
    }

    /// A whole number within bounds.
    pub fn integer(&self, name: &str, legal: std::ops::RangeInclusive<i64>) -> Result<Option<i64>> {
        self.text(name)
            .map(|text| {
                let number: Option<i64> = text.trim().parse().ok();
                number.filter(|n| legal.contains(n)).ok_or_else(|| {
                    let words = format!("a whole number from {} to {}", legal.start(), legal.end());
                    illegal(name, text, &words)
                })
            })
            .transpose()
    }

    /// A finite number.
    pub fn number(&self, name: &str) -> Result<Option<f64>> {
        self.text(name)
            .map(|text| {
                let number: Option<f64> = text.trim().parse().ok();
                number
                    .filter(|x| x.is_finite())
                    .ok_or_else(|| illegal(name, text, "a number"))
            })
            .transpose()
    }

    /// One of some words, ignoring case. `None` if it was not sent.
    pub fn choice<T: Copy>(&self, name: &str, legal: &[(&str, T)]) -> Result<Option<T>> {
        self.text(name)
            .map(|text| choose(name, text, legal))
            .transpose()
    }

    /// A list of whole numbers: `0`, `0,1`, `[0, 1]`.
    pub fn ids(&self, name: &str) -> Result<Option<Vec<i64>>> {
        let Some(items) = self.words(name)? else {
            return Ok(None);
        };
        let parse = |item: &String| {
            item.parse::<i64>()
                .map_err(|_not_a_number| illegal(name, item, "whole numbers separated by commas"))
        };
        items.iter().map(parse).collect::<Result<_>>().map(Some)
    }

    /// A list of global ids, separated by commas or as a JSON array, with or without braces and quotes.
    pub fn global_ids(&self, name: &str) -> Result<Option<Vec<GlobalId>>> {
        let Some(items) = self.words(name)? else {
            return Ok(None);
        };
        let parse = |item: &String| {
            GlobalId::parse_uuid(item.trim_matches(['\'', '"']))
                .map_err(|_not_a_uuid| illegal(name, item, "global ids separated by commas"))
        };
        items.iter().map(parse).collect::<Result<_>>().map(Some)
    }

    /// A list of words: `a,b` or `["a","b"]`; numbers of a JSON array become text.
    pub fn words(&self, name: &str) -> Result<Option<Vec<String>>> {
        let Some(text) = self.text(name) else {
            return Ok(None);
        };
        let trimmed = text.trim();
        let items: Vec<String> = if trimmed.starts_with('[') {
            let value = json::parse(trimmed.as_bytes(), name)?;
            let Value::Array(items) = value else {
                return Err(illegal(name, text, "a list"));
            };
            let item = |item: Value| match item {
                Value::String(text) => Ok(text.trim().to_owned()),
                Value::Number(number) => Ok(number.to_string()),
                other => Err(illegal(name, &other.to_string(), "texts or numbers")),
            };
            items.into_iter().map(item).collect::<Result<_>>()?
        } else {
            let items = trimmed.split(',').map(str::trim);
            items
                .filter(|item| !item.is_empty())
                .map(str::to_owned)
                .collect()
        };
        if items.len() > MAX_LIST {
            return Err(Error::parameter(
                name,
                format!("holds more than {MAX_LIST} items"),
            ));
        }
        Ok(Some(items))
    }

    /// A JSON value.
    pub fn json(&self, name: &str) -> Result<Option<Value>> {
        self.text(name)
            .map(|text| json::parse(text.as_bytes(), name))
            .transpose()
            .map(|value| value.filter(|value| !value.is_null()))
    }

    /// A JSON object.
    pub fn object(&self, name: &str) -> Result<Option<Map<String, Value>>> {
        match self.json(name)? {
            None => Ok(None),
            Some(Value::Object(members)) => Ok(Some(members)),
            Some(other) => Err(Error::parameter(
                name,
                format!("must be a JSON object, not {}", json::kind(&other)),
            )),
        }
    }

    /// A JSON array; a single object is taken as an array of one.
    pub fn array(&self, name: &str) -> Result<Option<Vec<Value>>> {
        match self.json(name)? {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(one @ Value::Object(_)) => Ok(Some(vec![one])),
            Some(other) => Err(Error::parameter(
                name,
                format!("must be a JSON array, not {}", json::kind(&other)),
            )),
        }
    }

    /// The answer's format.
    pub fn format(&self) -> Result<Format> {
        let legal = [
            ("json", Format::Json),
            ("pjson", Format::PrettyJson),
            ("html", Format::Html),
            ("geojson", Format::GeoJson),
            ("pbf", Format::Pbf),
        ];
        Ok(self.choice("f", &legal)?.unwrap_or(Format::Html))
    }
}

/// Picks one of some words, ignoring case; the error names them all.
pub fn choose<T: Copy>(name: &str, text: &str, legal: &[(&str, T)]) -> Result<T> {
    let wanted = text.trim();
    let found = legal
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(wanted));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<&str> = legal.iter().map(|(word, _)| *word).collect();
        illegal(name, text, &words.join(", "))
    })
}

/// An error that quotes the start of the value and names what would be legal.
pub(crate) fn illegal(name: &str, value: &str, legal: &str) -> Error {
    let shown: String = value.chars().take(60).collect();
    Error::parameter(name, format!("cannot be {shown:?}; legal: {legal}"))
}

/// Decodes `%XX` and `+`.
fn decode(text: &str, name: &str) -> Result<String> {
    if !text.contains(['%', '+']) {
        return Ok(text.to_owned());
    }
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escape = (byte == b'%')
            .then(|| bytes.get(at + 1..at + 3))
            .flatten()
            .and_then(|pair| hex(pair[0]).zip(hex(pair[1])));
        match (byte, escape) {
            (_, Some((high, low))) => {
                decoded.push(high << 4 | low);
                at += 3;
            }
            // A percent sign without two hex digits stands for itself, as in `name LIKE 'a%'` typed by hand.
            (b'+', None) => {
                decoded.push(b' ');
                at += 1;
            }
            (other, None) => {
                decoded.push(other);
                at += 1;
            }
        }
    }
    String::from_utf8(decoded).map_err(|_not_utf8| Error::parameter(name, "is not UTF-8"))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|d| d as u8)
}

/// Length of a JSON value that stands in a form body without percent-encoding; `None` if there is none.
fn bare_json_length(text: &str) -> Option<usize> {
    if !text.starts_with(['[', '{']) {
        return None;
    }
    let (mut depth, mut in_text, mut escaped, mut quotes) = (0_usize, false, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if in_text {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_text = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => (in_text, quotes) = (true, true),
            b'[' | b'{' => depth += 1,
            b']' | b'}' => {
                depth -= 1;
                if depth == 0 {
                    let end = at + 1;
                    let ends_pair = end == text.len() || text.as_bytes()[end] == b'&';
                    return (quotes && ends_pair).then_some(end);
                }
            }
            b'&' | b'%' => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn form(body: &str) -> Params {
        let mut params = Params::new();
        params.add_form(body.as_bytes()).expect(body);
        params
    }

    #[test]
    fn names_are_found_in_any_case_and_spelling() {
        for name in [
            "returnAttachmentsDatabyUrl",
            "returnAttachmentDatabyURL",
            "returnAttachmentsDatabyURL",
            "returnAttachmentsDataByUrl",
        ] {
            let params = form(&format!("{name}=False"));
            assert_eq!(
                params.flag("returnAttachmentsDataByUrl", true).ok(),
                Some(false),
                "{name}"
            );
        }
        assert_eq!(form("replicaId=x").text("replicaID"), Some("x"));
    }

    #[test]
    fn booleans_are_read_in_the_spellings_that_clients_use() {
        let params = form("a=true&b=True&c=1&d=false&e=0&g=&h=yes");
        for (name, expected) in [
            ("a", true),
            ("b", true),
            ("c", true),
            ("d", false),
            ("e", false),
        ] {
            assert_eq!(params.flag(name, !expected).ok(), Some(expected), "{name}");
        }
        assert_eq!(
            params.flag("g", true).ok(),
            Some(true),
            "empty means absent"
        );
        let refusal = params.flag("h", true).expect_err("yes is no boolean");
        assert_eq!(
            refusal.to_string(),
            r#"'h': cannot be "yes"; legal: true, false"#
        );
    }

    #[test]
    fn id_lists_are_read_in_three_forms() {
        for (text, expected) in [
            ("0", vec![0]),
            ("0,1", vec![0, 1]),
            ("[0, 1]", vec![0, 1]),
            ("[]", vec![]),
        ] {
            assert_eq!(
                form(&format!("layers={text}")).ids("layers").ok(),
                Some(Some(expected))
            );
        }
        assert!(form("layers=0,x").ids("layers").is_err());
    }

    #[test]
    fn an_unencoded_form_body_is_read_as_it_stands() {
        let params =
            form(r#"f=json&features=[{"attributes":{"name":"50% & more + \"x\" =1"}}]&x=1"#);
        let features = params.array("features").expect("JSON").expect("sent");
        assert_eq!(features[0]["attributes"]["name"], "50% & more + \"x\" =1");
        assert_eq!(params.text("x"), Some("1"));
    }

    #[test]
    fn an_encoded_form_body_is_decoded() {
        let params = form(
            "where=name+LIKE+%27a%25%27&features=%5B%7B%22a%22%3A%22b%2Bc%22%7D%5D&g={%22a%22:1}",
        );
        assert_eq!(params.text("where"), Some("name LIKE 'a%'"));
        assert_eq!(
            params.array("features").expect("JSON").expect("sent")[0]["a"],
            "b+c"
        );
        assert_eq!(params.object("g").expect("JSON").expect("sent")["a"], 1);
    }

    #[test]
    fn the_body_replaces_the_query_string_but_an_empty_value_does_not() {
        let mut params = Params::new();
        params.add_query("where=1=1&token=abc").expect("query");
        params.add_form(b"where=2%3D2&token=").expect("form");
        assert_eq!(params.text("where"), Some("2=2"));
        assert_eq!(params.text("token"), Some("abc"));
    }

    #[test]
    fn nul_and_duplicate_keys_are_refused_by_name() {
        let mut params = Params::new();
        assert!(
            params
                .add_form(b"where=a%00b")
                .expect_err("NUL")
                .to_string()
                .contains("'where'")
        );
        let twice = form(r#"geometry={"x":1,"x":2}"#).object("geometry");
        assert!(
            twice
                .expect_err("twice")
                .to_string()
                .contains("occurs twice")
        );
    }

    proptest! {
        #[test]
        fn any_body_gives_parameters_or_an_error(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut params = Params::new();
            if params.add_form(&body).is_ok() {
                let names: Vec<String> = params.iter().map(|(n, _)| n.to_owned()).collect();
                for name in names {
                    let _ = (params.flag(&name, true), params.ids(&name), params.global_ids(&name), params.json(&name));
                }
            }
        }

        #[test]
        fn what_is_percent_encoded_comes_back(text in "\\PC{0,40}") {
            let encoded: Vec<String> = text.bytes().map(|b| format!("%{b:02X}")).collect();
            let params = form(&format!("a={}", encoded.concat()));
            prop_assert_eq!(params.text("a").unwrap_or(""), if text.trim().is_empty() { "" } else { &text });
        }
    }
}
