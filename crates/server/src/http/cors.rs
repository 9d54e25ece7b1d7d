//! Cross-origin calls from web pages: off unless origins are listed; never with cookies.

use http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::Config;

/// The layer for the listed origins; `None` if there are none.
pub(super) fn layer(config: &Config) -> Option<CorsLayer> {
    if config.cors_origins.is_empty() {
        return None;
    }
    let origins = config.cors_origins.clone();
    let allowed = AllowOrigin::predicate(move |origin: &HeaderValue, _request| {
        origin
            .to_str()
            .is_ok_and(|origin| is_listed(&origins, origin))
    });
    let headers = [
        "authorization",
        "content-type",
        "x-esri-authorization",
        "range",
        "idempotency-key",
    ];
    Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::POST, Method::PUT, Method::DELETE])
            .allow_headers(headers.map(HeaderName::from_static))
            .max_age(std::time::Duration::from_mins(10)),
    )
}

/// Whether an origin is among the listed ones.
pub(crate) fn is_listed(origins: &[String], origin: &str) -> bool {
    origins.iter().any(|listed| fits(listed, origin))
}

/// Whether an origin is the listed one; a listed `:*` stands for any port.
fn fits(listed: &str, origin: &str) -> bool {
    let (listed, origin) = (listed.to_ascii_lowercase(), origin.to_ascii_lowercase());
    let Some(host) = listed.strip_suffix(":*") else {
        return listed == origin;
    };
    match origin.strip_prefix(host) {
        Some("") => true,
        Some(rest) => rest
            .strip_prefix(':')
            .is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_a_port_and_for_nothing_else() {
        let listed = "http://localhost:*";
        assert!(fits(listed, "http://localhost:5173") && fits(listed, "http://localhost"));
        for other in [
            "http://localhost.evil.example",
            "http://localhost:80.evil.example",
            "https://localhost:1",
            "null",
        ] {
            assert!(!fits(listed, other), "{other}");
        }
    }
}
