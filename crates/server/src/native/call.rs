//! One request: who makes it, and what they may do. The only gate of the native API.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequestParts, Request};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, HeaderMap};
use http::request::Parts;

use haversack_model::host::{Connection, Origin};
use haversack_model::{Access, Host as _, Principal, Right, Store};

use super::problem::{Problem, Result};
use crate::Server;

/// What came with a request before anybody looked at who sent it.
#[derive(Clone, Debug)]
pub(super) struct Incoming {
    pub(super) headers: HeaderMap,
    /// The client's address, for limits on logging in.
    pub(super) address: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Incoming {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Self::Rejection> {
        let connection = parts.extensions.get::<Connection>();
        Ok(Self {
            headers: parts.headers.clone(),
            address: connection.map_or_else(String::new, |c| c.peer.ip().to_string()),
        })
    }
}

/// A request whose sender is known.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) server: Arc<Server>,
    pub(super) who: Principal,
    pub(super) headers: HeaderMap,
}

/// Does the work of a handler on a thread that may block.
pub(super) async fn answer(
    server: Arc<Server>,
    incoming: Incoming,
    work: impl FnOnce(&Call) -> Result<Response> + Send + 'static,
) -> Response {
    let span = tracing::Span::current();
    let done = tokio::task::spawn_blocking(move || {
        span.in_scope(|| {
            let who = caller(&server, &incoming)?;
            work(&Call {
                server,
                who,
                headers: incoming.headers,
            })
        })
    });
    match done.await {
        Ok(answer) => answer.unwrap_or_else(Problem::into_response),
        Err(error) => {
            tracing::error!(%error, "a request ended in a panic");
            Problem::internal().into_response()
        }
    }
}

/// The whole body, if it has at most `limit` bytes.
pub(super) async fn body(request: Request, limit: u64) -> Result<Bytes> {
    axum::body::to_bytes(request.into_body(), limit as usize)
        .await
        .map_err(|_cut_or_too_large| Problem::too_large(limit))
}

/// Who makes a request: the anonymous user without credentials, nobody with wrong ones.
pub(super) fn caller(server: &Server, incoming: &Incoming) -> Result<Principal> {
    let Some(value) = incoming.headers.get(AUTHORIZATION) else {
        return Ok(Principal::anonymous());
    };
    let unreadable = || Problem::unauthorized("the authorization header is not Basic or Bearer");
    let value = value.to_str().map_err(|_not_text| unreadable())?;
    let (scheme, secret) = value.split_once(' ').ok_or_else(unreadable)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        let origin = Origin {
            referer: crate::http::referer(&incoming.headers),
            address: &incoming.address,
        };
        return server.verify_token(secret.trim(), origin).ok_or_else(|| {
            Problem::unauthorized("the token is unknown or has ended; log in again")
        });
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(unreadable());
    }
    let decoded = STANDARD.decode(secret.trim()).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let (user, password) = decoded
        .as_deref()
        .and_then(|text| text.split_once(':'))
        .ok_or_else(unreadable)?;
    server
        .login(user, password, &incoming.address)?
        .ok_or_else(|| Problem::unauthorized("user name or password is wrong"))
}

impl Call {
    /// A service and what the caller may do with it, if that includes `right`. Without `read` it does not exist.
    pub(super) fn service(&self, name: &str, right: Right) -> Result<(Arc<dyn Store>, Access)> {
        let known = self.server.services.canonical(name);
        let access = known
            .as_deref()
            .map(|name| self.server.access(&self.who, name))
            .unwrap_or_default();
        let store = known
            .filter(|_| access.allows(Right::Read))
            .and_then(|name| self.server.service(&name));
        let Some(store) = store else {
            return Err(if self.who.is_anonymous() {
                Problem::unauthorized("there is no such service, or it needs a login")
            } else {
                Problem::missing("service")
            });
        };
        if !access.allows(right) {
            let word = crate::grants::right_word(right);
            return Err(self.refused(format!("this needs the right {word:?}")));
        }
        Ok((store, access))
    }

    /// Refuses whoever does not administer the server.
    pub(super) fn admin(&self) -> Result<()> {
        if self.who.is_admin {
            return Ok(());
        }
        Err(self.refused("this is for administrators"))
    }

    fn refused(&self, message: impl Into<String>) -> Problem {
        if self.who.is_anonymous() {
            Problem::unauthorized(message)
        } else {
            Problem::forbidden(message)
        }
    }

    /// Largest JSON body after decompression.
    pub(super) fn max_json(&self) -> u64 {
        self.server.config.max_json_bytes
    }
}
