//! Who asks: Basic credentials, or a token of the server as `Bearer` or `ApiToken`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use haversack_model::host::{LoginError, Origin};
use haversack_model::{Host, Principal};
use http::HeaderValue;

use super::problem::{Problem, Result};

/// The principal of a request. Wrong credentials are refused, even where none would have been needed.
pub(crate) fn principal(
    host: &dyn Host,
    credential: Option<&HeaderValue>,
    address: &str,
) -> Result<Principal> {
    let Some(credential) = credential else {
        return Ok(Principal::anonymous());
    };
    let text = credential.to_str().ok().map(str::trim);
    let (scheme, secret) = text
        .and_then(|text| text.split_once(' '))
        .ok_or(Problem::Unauthorized)?;
    let secret = secret.trim();
    let found = match scheme.to_ascii_lowercase().as_str() {
        "basic" => {
            let pair = STANDARD
                .decode(secret)
                .ok()
                .and_then(|pair| String::from_utf8(pair).ok());
            let pair = pair.ok_or(Problem::Unauthorized)?;
            let (user, password) = pair.split_once(':').ok_or(Problem::Unauthorized)?;
            host.login(user, password, address).map_err(
                |LoginError::TooManyAttempts { retry_after_s }| Problem::TooMany { retry_after_s },
            )?
        }
        "bearer" | "apitoken" => host.verify_token(
            secret,
            Origin {
                referer: None,
                address,
            },
        ),
        _ => None,
    };
    found.ok_or(Problem::Unauthorized)
}
