//! Who asks: tokens from header, query, body or cookie, and what they are worth.
//!
//! A token never appears in an answer other than the one that hands it out. Source: `spec/geoservices.md` 2 and 7.

use haversack_model::Principal;
use haversack_model::host::Origin;
use http::header;
use http::request::Parts;

use super::call::Call;
use super::problem::{Problem, Result};
use super::route::Path;
use crate::wire::params::Params;

/// Where clients of the dialect put a token in a header.
const ESRI_HEADER: &str = "x-esri-authorization";
/// The cookie that browsers of the dialect carry.
const COOKIE: &str = "agstoken";

/// The token of a request; it is taken out of the parameters, so that nothing echoes or stores it.
pub(crate) fn credential(parts: &Parts, params: &mut Params, base: &str) -> Option<String> {
    let sent = params.take("token");
    header_token(parts)
        .or(sent)
        .or_else(|| cookie_token(parts, base))
}

/// The principal of a request. Places where one logs in ask for no valid token.
pub(crate) fn principal(
    call: &Call,
    path: &Path,
    token: Option<String>,
    referer: Option<&str>,
) -> Result<Principal> {
    let Some(token) = token else {
        return Ok(Principal::anonymous());
    };
    let origin = Origin {
        referer,
        address: &call.address,
    };
    match call.host.verify_token(token.trim(), origin) {
        Some(principal) => Ok(principal),
        None if is_open(path) => Ok(Principal::anonymous()),
        None => Err(Problem::InvalidToken),
    }
}

fn is_open(path: &Path) -> bool {
    matches!(
        path.words().as_slice(),
        ["info"]
            | ["rest" | "sharing", "info"]
            | ["sharing", "rest", "info"]
            | ["sharing" | "tokens", .., "generatetoken"]
            | ["sharing", "oauth2", ..]
            | ["sharing", "rest", "oauth2", ..]
    )
}

fn header_token(parts: &Parts) -> Option<String> {
    [ESRI_HEADER, header::AUTHORIZATION.as_str()]
        .iter()
        .filter_map(|name| parts.headers.get(*name)?.to_str().ok())
        .find_map(|text| {
            let (scheme, token) = text.trim().split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then(|| token.trim().to_owned())
        })
        .filter(|token| !token.is_empty())
}

/// A cookie counts only for requests that a page of this very server made, or no page at all.
fn cookie_token(parts: &Parts, base: &str) -> Option<String> {
    let text = |name: &str| parts.headers.get(name).and_then(|v| v.to_str().ok());
    let own_page = match text("origin") {
        Some(origin) => base.starts_with(&format!("{origin}/")),
        None => !matches!(text("sec-fetch-site"), Some("cross-site" | "same-site")),
    };
    if !own_page {
        return None;
    }
    text("cookie")?
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == COOKIE)
        .map(|(_, value)| value.trim_matches('"').to_owned())
        .filter(|token| !token.is_empty())
}
