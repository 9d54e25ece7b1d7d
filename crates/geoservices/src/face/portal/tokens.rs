//! `generateToken`: a token for a name and password, or for another token.

use haversack_model::host::{Binding, LoginError};
use haversack_model::{Principal, Timestamp};
use http::Method;
use serde_json::json;

use super::super::answer::Answer;
use super::super::call::Call;
use super::super::problem::{Problem, Result};

/// Life of a token in minutes when the client names none.
pub(crate) const DEFAULT_MINUTES: u64 = 120;
/// Longest life of a token in minutes.
const MAX_MINUTES: u64 = 14 * 24 * 60;

/// `generateToken`.
pub(crate) fn generate(call: &Call) -> Result<Answer> {
    let password = call.params.text("password");
    // A password in a URL ends in logs and histories.
    if password.is_some() && call.method != Method::POST {
        return Err(Problem::Method("POST: a password does not belong in a URL"));
    }
    let (principal, binding) = match (call.params.text("username"), password) {
        (Some(user), Some(password)) => {
            let principal = check_password(call, user, password)?.ok_or(Problem::WrongPassword)?;
            (principal, binding(call)?)
        }
        (Some(_), None) => return Err(Problem::parameter("password", "it is required")),
        (None, Some(_)) => return Err(Problem::parameter("username", "it is required")),
        (None, None) if call.principal.is_anonymous() => {
            return Err(Problem::parameter("username", "it is required"));
        }
        // A token that is made of another one is bound like it.
        (None, None) => (call.principal.clone(), call.binding.clone()),
    };
    let lifetime_ms = minutes(call)? * 60 * 1000;
    let token = call.host.issue_token(&principal, lifetime_ms, &binding);
    Ok(Answer::Json(json!({
        "token": token.text,
        "expires": token.expires_at.0,
        "ssl": call.base.starts_with("https:"),
    })))
}

/// What the client wants its token to be bound to.
fn binding(call: &Call) -> Result<Binding> {
    #[derive(Clone, Copy)]
    enum Client {
        Referer,
        Ip,
        RequestIp,
    }
    let words = [
        ("referer", Client::Referer),
        ("ip", Client::Ip),
        ("requestip", Client::RequestIp),
    ];
    Ok(match call.params.choice("client", &words)? {
        None => Binding::None,
        Some(Client::Referer) => Binding::Referer(call.params.required("referer")?.to_owned()),
        Some(Client::Ip) => Binding::Address(call.params.required("ip")?.to_owned()),
        Some(Client::RequestIp) => Binding::Address(call.address.clone()),
    })
}

/// The principal of a name and password, `None` if they do not fit.
pub(crate) fn check_password(call: &Call, user: &str, password: &str) -> Result<Option<Principal>> {
    call.host.login(user, password, &call.address).map_err(
        |LoginError::TooManyAttempts { retry_after_s }| {
            Problem::TooMany(format!("too many attempts; try again in {retry_after_s} s"))
        },
    )
}

/// The life that the client asks for, within bounds.
pub(crate) fn minutes(call: &Call) -> Result<u64> {
    let asked = call.params.integer("expiration", -1..=i64::MAX)?;
    Ok(match asked {
        // The Python client's way to say "as long as you allow".
        Some(-1) => MAX_MINUTES,
        Some(0) | None => DEFAULT_MINUTES,
        Some(minutes) => (minutes as u64).clamp(1, MAX_MINUTES),
    })
}

/// Whole seconds from now to the end of a token.
pub(crate) fn seconds_until(end: Timestamp, now: Timestamp) -> i64 {
    (end.0 - now.0).max(0) / 1000
}
