//! Who asks: Basic credentials, a JWT, or a token of the server; and the operation that gives JWTs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use haversack_model::Principal;
use haversack_model::host::{Binding, LoginError, Origin};
use http::{HeaderValue, Method};
use serde_json::{Value, json};

use super::answer::Answer;
use super::call::Call;
use super::jwt;
use super::problem::{Problem, Result};
use crate::wire::errors::ErrorNum;

/// How long a token of this face counts, as with ArangoDB: an hour.
const LIFETIME_MS: u64 = 3_600_000;

/// The principal of a request. Wrong credentials are refused, even where none would have been needed.
pub(crate) fn principal(call: &Call, credential: Option<&HeaderValue>) -> Result<Principal> {
    // Who comes to log in may carry what the driver carries by default: arangojs 10 sends `root` without a password.
    let comes_to_log_in = call.route.words().first() == Some(&"_open");
    let Some(credential) = credential.filter(|_| !comes_to_log_in) else {
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
            check(call, user, password)?
        }
        "bearer" => {
            let now = call.host().now().0 / 1000;
            let token = jwt::open(secret, now).unwrap_or_else(|| secret.to_owned());
            let origin = Origin {
                referer: None,
                address: &call.address,
            };
            call.host().verify_token(&token, origin)
        }
        _ => None,
    };
    found.ok_or(Problem::Unauthorized)
}

fn check(call: &Call, user: &str, password: &str) -> Result<Option<Principal>> {
    call.host()
        .login(user, password, &call.address)
        .map_err(|LoginError::TooManyAttempts { retry_after_s }| Problem::TooMany { retry_after_s })
}

/// `POST /_open/auth`.
pub(crate) fn open_auth(call: &Call) -> Result<Answer> {
    if call.method != Method::POST {
        return Err(Problem::of(ErrorNum::HttpMethodNotAllowed));
    }
    let body = call.object()?;
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    let (Some(user), Some(password)) = (text("username"), text("password")) else {
        return Err(Problem::bad_parameter("username and password are needed"));
    };
    let Some(principal) = check(call, user, password)? else {
        return Err(Problem::told(
            ErrorNum::HttpUnauthorized,
            "Wrong credentials",
        ));
    };
    let now = call.host().now();
    let token = call
        .host()
        .issue_token(&principal, LIFETIME_MS, &Binding::None);
    let jwt = jwt::make(
        &token.text,
        &principal.name,
        now.0 / 1000,
        token.expires_at.0 / 1000,
    );
    Ok(Answer::json(200, json!({"jwt": jwt})))
}
