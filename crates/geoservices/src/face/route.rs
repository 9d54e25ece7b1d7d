//! Takes a request's path apart: decoded exactly once, then the only form that access checks and dispatch see.
//!
//! Doubled and trailing slashes collapse, as clients write them. Encoded slashes, backslashes, NUL, dot segments,
//! invalid UTF-8 and double encoding are refused. Called by `face::handle`. Source: `GUARANTEES.md` 4.2, rule 13.

/// The segments of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    /// As the client wrote them, decoded.
    pub(crate) segments: Vec<String>,
    /// The same in lower case: fixed words are matched without case.
    pub(crate) lower: Vec<String>,
}

/// A path that is refused as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RefusedPath;

impl Path {
    /// Decodes a raw request path.
    pub(crate) fn decode(raw: &str) -> Result<Self, RefusedPath> {
        let mut segments = Vec::new();
        for part in raw.split('/').filter(|part| !part.is_empty()) {
            let text = decode_segment(part)?;
            if text == "." || text == ".." || text.contains(['/', '\\']) {
                return Err(RefusedPath);
            }
            if text.chars().any(char::is_control) || decodes_further(&text) {
                return Err(RefusedPath);
            }
            segments.push(text);
        }
        let lower = segments.iter().map(|s| s.to_ascii_lowercase()).collect();
        Ok(Self { segments, lower })
    }

    /// The lower-case words, to match on.
    pub(crate) fn words(&self) -> Vec<&str> {
        self.lower.iter().map(String::as_str).collect()
    }
}

fn decode_segment(part: &str) -> Result<String, RefusedPath> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let high = rest.next().and_then(hex).ok_or(RefusedPath)?;
            let low = rest.next().and_then(hex).ok_or(RefusedPath)?;
            bytes.push(high << 4 | low);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).map_err(|_not_utf8| RefusedPath)
}

/// Whether a second decoding would change the text: the mark of a double encoding.
fn decodes_further(text: &str) -> bool {
    text.as_bytes()
        .windows(3)
        .any(|w| w[0] == b'%' && hex(w[1]).is_some() && hex(w[2]).is_some())
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubled_and_trailing_slashes_collapse() {
        let path = Path::decode("//rest/services/Sync//FeatureServer//0/").unwrap();
        assert_eq!(
            path.segments,
            ["rest", "services", "Sync", "FeatureServer", "0"]
        );
        assert_eq!(path.lower[3], "featureserver");
    }

    #[test]
    fn a_name_is_decoded_once() {
        let path = Path::decode("/rest/services/B%C3%A4ume%20alt").unwrap();
        assert_eq!(path.segments[2], "Bäume alt");
    }

    #[test]
    fn every_way_around_the_route_is_refused() {
        for raw in [
            "/rest/..",
            "/rest/%2e%2e/x",
            "/a%2fb",
            "/a%5cb",
            "/a\\b",
            "/a%00",
            "/a%252fb",
            "/%c0%af",
            "/a%2",
            "/%zz",
            "/a%0a",
        ] {
            assert_eq!(Path::decode(raw), Err(RefusedPath), "{raw}");
        }
    }
}
