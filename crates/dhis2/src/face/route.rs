//! Takes a request's address apart: decoded exactly once, then the only form that checks and dispatch see.
//!
//! `/api/41/programs.json` and `/api/programs` are the same. Encoded slashes, backslashes, control characters and dot segments are refused, and
//! so is what would change when decoded again. Source: `GUARANTEES.md` 4.2, 13; `spec/dhis2.md` 11.

use super::problem::Problem;

/// The segments behind `/api` and the number of a version, without `.json` at the end.
pub(crate) fn segments(raw: &str) -> Result<Vec<String>, Problem> {
    let refused = || Problem::bad("the path cannot be read in one way only");
    let mut segments = Vec::new();
    for part in raw.split('/').filter(|part| !part.is_empty()) {
        let text = decode(part, false).ok_or_else(refused)?;
        let is_dots = text == "." || text == "..";
        if is_dots || text.contains(['/', '\\', '%']) || text.chars().any(char::is_control) {
            return Err(refused());
        }
        segments.push(text);
    }
    if segments.first().is_some_and(|first| first == "api") {
        segments.remove(0);
    }
    let is_version =
        |text: &String| (1..=3).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if segments.first().is_some_and(is_version) {
        segments.remove(0);
    }
    if let Some(last) = segments.last_mut()
        && let Some(bare) = last.strip_suffix(".json")
    {
        *last = bare.to_owned();
    }
    Ok(segments)
}

/// The parameters of a query string in their order; those that cannot be decoded are refused.
pub(crate) fn query(raw: &str) -> Result<Vec<(String, String)>, Problem> {
    let pairs = raw.split('&').filter(|pair| !pair.is_empty());
    let read = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let text = decode(name, true).zip(decode(value, true));
        text.filter(|(name, value)| !name.contains('\0') && !value.contains('\0'))
            .ok_or_else(|| Problem::bad("a parameter cannot be decoded"))
    });
    read.collect()
}

fn decode(text: &str, plus_is_space: bool) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                out.push((high * 16 + low) as u8);
            }
            b'+' if plus_is_space => out.push(b' '),
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_and_suffix_are_left_out() {
        for raw in [
            "/api/programs",
            "/api/41/programs.json",
            "//api//programs/",
            "/api/%70rograms",
        ] {
            assert_eq!(segments(raw).unwrap(), ["programs"], "{raw}");
        }
        assert_eq!(
            segments("/api/tracker/jobs/a").unwrap(),
            ["tracker", "jobs", "a"]
        );
        assert!(segments("/api").unwrap().is_empty());
    }

    #[test]
    fn every_way_around_the_route_is_refused() {
        for raw in [
            "/api/..",
            "/api/%2e%2e/me",
            "/api/a%2fb",
            "/api/a%5cb",
            "/api/a%00",
            "/api/%256de",
            "/api/%c0%af",
            "/api/%zz",
        ] {
            assert!(segments(raw).is_err(), "{raw}");
        }
        assert!(query("a=%ff").is_err());
        assert!(query("a=%00").is_err());
    }

    #[test]
    fn parameters_keep_their_order_and_repeat() {
        let read = query("filter=a:eq:1+2&filter=b%3Anull&x").unwrap();
        let expected = [("filter", "a:eq:1 2"), ("filter", "b:null"), ("x", "")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(read, expected);
    }
}
