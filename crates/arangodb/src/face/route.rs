//! Takes a request's address apart: decoded exactly once, then the only form that access checks and dispatch see.
//!
//! `/_db/<name>/` in front names the database; without it, it is `_system`. Doubled slashes collapse. Encoded slashes,
//! backslashes, control characters and dot segments are refused, and so is what would change when decoded again, except in the
//! key of a document, which may hold a percent sign. Source: `GUARANTEES.md` 4.2, 13; `spec/arangodb.md` 1.

use std::collections::BTreeMap;

use super::problem::Problem;
use crate::wire::key;

/// The database that is always there.
pub(crate) const SYSTEM: &str = "_system";

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// Which database.
    pub(crate) database: String,
    /// The segments behind the database, such as `_api`, `version`.
    pub(crate) segments: Vec<String>,
}

impl Route {
    /// Decodes a raw path.
    pub(crate) fn decode(raw: &str) -> Result<Self, Problem> {
        let refused = || Problem::bad_parameter("the path cannot be read in one way only");
        let mut segments = Vec::new();
        for part in raw.split('/').filter(|part| !part.is_empty()) {
            let text = key::decode(part, false).ok_or_else(refused)?;
            let is_dots = text == "." || text == "..";
            if is_dots || text.contains(['/', '\\']) || text.chars().any(char::is_control) {
                return Err(refused());
            }
            segments.push(text);
        }
        let mut database = SYSTEM.to_owned();
        if segments.first().is_some_and(|first| first == "_db") {
            let mut rest = segments.split_off(1).into_iter();
            database = rest.next().ok_or_else(refused)?;
            segments = rest.collect();
        }
        let is_document = segments.len() == 4 && segments[..2] == ["_api", "document"];
        let keys = usize::from(is_document);
        let fixed = &segments[..segments.len() - keys];
        if fixed
            .iter()
            .chain([&database])
            .any(|text| decodes_further(text))
        {
            return Err(refused());
        }
        Ok(Self { database, segments })
    }

    /// The segments, to match on.
    pub(crate) fn words(&self) -> Vec<&str> {
        self.segments.iter().map(String::as_str).collect()
    }
}

/// Whether a second decoding would change the text: the mark of a double encoding.
fn decodes_further(text: &str) -> bool {
    let mut windows = text.as_bytes().windows(3);
    windows.any(|w| w[0] == b'%' && w[1].is_ascii_hexdigit() && w[2].is_ascii_hexdigit())
}

/// The parameters of a query string; the first of a name counts, and one that cannot be decoded is left out.
pub(crate) fn query(raw: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if let (Some(name), Some(value)) = (key::decode(name, true), key::decode(value, true)) {
            found.entry(name).or_insert(value);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_is_the_one_in_front_or_the_system() {
        let route = Route::decode("/_db/caf%C3%A9/_api//version/").unwrap();
        assert_eq!(route.database, "café");
        assert_eq!(route.words(), ["_api", "version"]);
        assert_eq!(Route::decode("/_api/version").unwrap().database, SYSTEM);
    }

    #[test]
    fn every_encoding_of_a_path_is_seen_in_its_decoded_form() {
        for raw in [
            "/%5fapi/user",
            "/_ap%69/user",
            "/_db/_system/_api/us%65r",
            "//_api//user",
        ] {
            assert_eq!(
                Route::decode(raw).unwrap().words(),
                ["_api", "user"],
                "{raw}"
            );
        }
    }

    #[test]
    fn every_way_around_the_route_is_refused() {
        for raw in [
            "/_api/..",
            "/_api/%2e%2e/user",
            "/_db/a%2fb/_api",
            "/_api/a%5cb",
            "/_api/a%00",
            "/%255fapi/user",
            "/_api/%c0%af",
            "/_api/a%2",
            "/_db/%255f/_api/version",
            "/_api/document/c%252f/k",
            "/_db",
        ] {
            assert!(Route::decode(raw).is_err(), "{raw}");
        }
    }

    #[test]
    fn a_key_may_hold_a_percent_sign() {
        let route = Route::decode("/_api/document/c/testi$!%2520%2544+abc=").unwrap();
        assert_eq!(route.segments[3], "testi$!%20%44+abc=");
    }
}
