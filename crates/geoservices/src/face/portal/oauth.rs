//! Login by a form, as the Python client does it: it fetches the page, finds the state in it, and posts the form itself.
//!
//! The token goes only to this server's own address, to a listed origin, to a loopback address or to the client's own
//! window: a stranger's `redirect_uri` would carry it away. The page keeps no state on the server; what it carries is
//! checked again when it comes back. Source: `spec/geoservices.md` 2, steps 1 to 3.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use haversack_model::host::{Binding, Origin};
use http::Method;
use serde_json::{Value, json};

use super::super::answer::{Answer, escape, html_of};
use super::super::call::{Call, encode_segment};
use super::super::problem::{Problem, Result};
use super::tokens;

/// The client has no address: the code is shown in the page's title.
const OUT_OF_BAND: &str = "urn:ietf:wg:oauth:2.0:oob";
/// Life of a code in milliseconds.
const CODE_LIFETIME_MS: u64 = 5 * 60 * 1000;

/// What a login shall lead to.
#[derive(Debug)]
struct Wish {
    redirect_uri: String,
    state: String,
    wants_code: bool,
}

impl Wish {
    fn to_text(&self) -> String {
        let value = json!([self.redirect_uri, self.state, self.wants_code]);
        URL_SAFE_NO_PAD.encode(value.to_string())
    }
    fn from_text(text: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(text.trim()).ok()?;
        let value: Value = serde_json::from_slice(&bytes).ok()?;
        Some(Self {
            redirect_uri: value[0].as_str()?.to_owned(),
            state: value[1].as_str()?.to_owned(),
            wants_code: value[2].as_bool()?,
        })
    }
}

/// `oauth2/authorize`: the page with the form.
pub(crate) fn authorize(call: &Call) -> Result<Answer> {
    let redirect_uri = call.params.text("redirect_uri").unwrap_or_default();
    if !is_acceptable(call, redirect_uri) {
        return Ok(Answer::Page(html_of(
            "Sign in",
            "<p>Invalid redirect_uri</p>",
        )));
    }
    let response_type = [("token", false), ("code", true)];
    let wish = Wish {
        redirect_uri: redirect_uri.to_owned(),
        state: call.params.text("state").unwrap_or_default().to_owned(),
        wants_code: call
            .params
            .choice("response_type", &response_type)?
            .unwrap_or(false),
    };
    Ok(Answer::Page(form(call, &wish, "")))
}

/// The client looks for one line with one JSON object that names the state: no other braces on it.
fn form(call: &Call, wish: &Wish, message: &str) -> String {
    let state = wish.to_text();
    let action = format!("{}/sharing/oauth2/signin", call.base);
    html_of(
        "Sign in",
        &format!(
            "<script type=\"application/json\">\nvar oAuthInfo = {{\"oauth_state\":\"{state}\"}};\n</script>\n\
             <h1>Sign in to Haversack</h1>\n<p>{message}</p>\n\
             <form method=\"post\" action=\"{}\">\n<input type=\"hidden\" name=\"oauth_state\" value=\"{state}\">\n\
             <label>User <input name=\"username\" autocomplete=\"username\"></label>\n\
             <label>Password <input name=\"password\" type=\"password\" autocomplete=\"current-password\"></label>\n\
             <button>Sign in</button>\n</form>",
            escape(&action)
        ),
    )
}

/// `oauth2/signin`: the target of the form.
pub(crate) fn sign_in(call: &Call) -> Result<Answer> {
    if call.method != Method::POST {
        return Err(Problem::Method("POST"));
    }
    let wish = call
        .params
        .text("oauth_state")
        .and_then(Wish::from_text)
        .filter(|wish| is_acceptable(call, &wish.redirect_uri))
        .ok_or_else(|| Problem::parameter("oauth_state", "start again at oauth2/authorize"))?;
    let user = call.params.required("username")?;
    let password = call.params.required("password")?;
    let Some(principal) = tokens::check_password(call, user, password)? else {
        let message = "<!-- OAUTH_0015 {\"messages\":[\"Invalid username or password.\"]} -->Invalid username or password.";
        return Ok(Answer::Page(form(call, &wish, message)));
    };
    if wish.wants_code || wish.redirect_uri == OUT_OF_BAND {
        let code = call
            .host
            .issue_token(&principal, CODE_LIFETIME_MS, &Binding::None)
            .text;
        if wish.redirect_uri == OUT_OF_BAND {
            let title = format!("SUCCESS code={code}");
            return Ok(Answer::Page(html_of(&title, "<p>Signed in.</p>")));
        }
        let joint = if wish.redirect_uri.contains('?') {
            '&'
        } else {
            '?'
        };
        return Ok(Answer::Redirect(format!(
            "{}{joint}code={}&state={}",
            wish.redirect_uri,
            encode_segment(&code),
            encode_segment(&wish.state)
        )));
    }
    let token = call.host.issue_token(
        &principal,
        tokens::minutes(call)? * 60 * 1000,
        &Binding::None,
    );
    Ok(Answer::Redirect(format!(
        "{}#access_token={}&expires_in={}&state={}&token_type=bearer&username={}&ssl=true",
        wish.redirect_uri,
        encode_segment(&token.text),
        tokens::seconds_until(token.expires_at, call.now()),
        encode_segment(&wish.state),
        encode_segment(&principal.name),
    )))
}

/// `oauth2/token`: a token for a code.
pub(crate) fn exchange_code(call: &Call) -> Result<Answer> {
    if call.method != Method::POST {
        return Err(Problem::Method("POST"));
    }
    call.params
        .choice("grant_type", &[("authorization_code", ())])?;
    let code = call.params.required("code")?;
    let principal = call
        .host
        .verify_token(code, Origin::default())
        .ok_or_else(|| Problem::parameter("code", "it is invalid or has expired"))?;
    call.host.revoke_token(code);
    let token = call.host.issue_token(
        &principal,
        tokens::DEFAULT_MINUTES * 60 * 1000,
        // Any token does as a code, and none becomes more than it was.
        &Binding::of(code),
    );
    Ok(Answer::Json(json!({
        "access_token": token.text,
        "expires_in": tokens::seconds_until(token.expires_at, call.now()),
        "username": principal.name,
        "ssl": true,
    })))
}

/// `oauth2/revokeToken`: ends a token.
pub(crate) fn revoke(call: &Call) -> Answer {
    if let Some(token) = call.params.text("auth_token") {
        call.host.revoke_token(token);
    }
    Answer::Json(json!({"success": true}))
}

fn is_acceptable(call: &Call, redirect_uri: &str) -> bool {
    if redirect_uri == OUT_OF_BAND {
        return true;
    }
    let Ok(uri) = redirect_uri.parse::<http::Uri>() else {
        return false;
    };
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return false;
    };
    if !matches!(scheme, "http" | "https") || authority.as_str().contains('@') {
        return false;
    }
    let own = call.base.split("://").nth(1).unwrap_or_default();
    let own = own.split('/').next().unwrap_or_default();
    own == authority.as_str()
        || matches!(authority.host(), "localhost" | "127.0.0.1" | "[::1]")
        || call.host.allows_origin(&format!("{scheme}://{authority}"))
}
