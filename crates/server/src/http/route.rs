//! What a path may look like, and how addresses are logged.
//!
//! A path is decoded once, by the router. What could be read in two ways is refused before anybody looks at it, so that
//! the check of rights and the dispatch see the same bytes.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{StatusCode, Uri};

/// Refuses paths with two readings.
pub(super) async fn check(request: Request, next: Next) -> Response {
    match ambiguity(request.uri().path()) {
        None => next.run(request).await,
        Some(what) => super::problem(
            StatusCode::BAD_REQUEST,
            "badPath",
            "the path can be read in two ways",
            what,
        ),
    }
}

fn ambiguity(path: &str) -> Option<&'static str> {
    let lower = path.to_ascii_lowercase();
    for (encoded, what) in [
        ("%2f", "an encoded slash"),
        ("%5c", "an encoded backslash"),
        ("%00", "a zero byte"),
        ("%2e", "an encoded dot"),
    ] {
        if lower.contains(encoded) {
            return Some(what);
        }
    }
    // Keys of documents hold percent signs; that face looks at each part of the path itself.
    if lower.contains("%25") && !holds_document_key(path) {
        return Some("a percent sign encoded twice");
    }
    if path.contains('\\') {
        return Some("a backslash");
    }
    if path
        .split('/')
        .any(|segment| segment == ".." || segment == ".")
    {
        return Some("a dot segment");
    }
    decoded_is_utf8(path)
        .then_some(())
        .map_or(Some("bytes that are not UTF-8"), |()| None)
}

/// Whether a path ends in the key of a document, before which no percent sign is encoded.
fn holds_document_key(path: &str) -> bool {
    let Some((before, key)) = path.rsplit_once('/') else {
        return false;
    };
    let parts: Vec<&str> = before.split('/').collect();
    let is_document = matches!(
        parts.as_slice(),
        ["", "_api", "document", _] | ["", "_db", _, "_api", "document", _]
    );
    is_document && !before.contains("%25") && key.contains("%25")
}

fn decoded_is_utf8(path: &str) -> bool {
    let bytes = path.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'%' {
            let hex = path.get(at + 1..at + 3).unwrap_or_default();
            let Ok(byte) = u8::from_str_radix(hex, 16) else {
                return false;
            };
            decoded.push(byte);
            at += 3;
        } else {
            decoded.push(bytes[at]);
            at += 1;
        }
    }
    String::from_utf8(decoded).is_ok()
}

/// Path and query as logged: values of parameters that may hold secrets are left out.
pub(crate) fn redacted(uri: &Uri) -> String {
    const SECRET: [&str; 9] = [
        "token",
        "password",
        "access_token",
        "code",
        "refresh_token",
        "client_secret",
        "oauth_state",
        "state",
        "edits",
    ];
    let Some(query) = uri.query() else {
        return uri.path().to_owned();
    };
    let pairs: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            // A name may itself be encoded to hide from this list: then its value is left out too.
            Some((name, _))
                if name.contains('%') || SECRET.iter().any(|s| name.eq_ignore_ascii_case(s)) =>
            {
                format!("{name}=..")
            }
            _ => pair.to_owned(),
        })
        .collect();
    format!("{}?{}", uri.path(), pairs.join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_with_two_readings_are_refused() {
        for path in [
            "/a%2fb",
            "/a%5Cb",
            "/a%00",
            "/%252e%252e/",
            "/a/../b",
            "/a/%2e%2e/b",
            "/%c0%af",
            "/%ff",
            "/%zz",
            "/a\\b",
            "/_api/document/c%2525/k",
            "/_api/collection/a%2525",
            "/_db/x%255f/_api/document/c/k",
        ] {
            assert!(ambiguity(path).is_some(), "{path}");
        }
        for path in [
            "/",
            "/arcgis/rest/services/Caf%C3%A9/FeatureServer//0",
            "/v1/x..y",
            "/_api/document/c/100%25",
            "/_db/x/_api/document/c/a%2520b",
        ] {
            assert_eq!(ambiguity(path), None, "{path}");
        }
    }

    #[test]
    fn secrets_do_not_reach_the_log() {
        let uri: Uri = "/q?f=json&Token=CANARY&tok%65n=CANARY&where=1%3D1"
            .parse()
            .unwrap();
        let logged = redacted(&uri);
        assert!(!logged.contains("CANARY"), "{logged}");
        assert!(logged.contains("where=1%3D1"), "{logged}");
    }
}
