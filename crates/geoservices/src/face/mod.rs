//! The face: a feature server and the little of a portal that clients of the dialect need, as one router.
//!
//! Owns: routes, parameters, login, the translation of the dialect to the sync core and back. Does not own: codecs
//! ([`crate::wire`]), the rules of sync (`haversack-sync`), users, jobs and files (the [`Host`]). The server mounts it:
//! `Router::new().nest("/arcgis", face::router(host))`.
//!
//! Every request takes one way: `route::Path` decodes its path once, `body` reads its parameters within the size
//! limit, `login` finds who asks, `dispatch` runs one operation on a thread for blocking work, and
//! `problem` turns what went wrong into the dialect's error. Source: `spec/geoservices.md`.

mod answer;
mod attachments;
mod body;
mod call;
mod dispatch;
mod edits;
mod extract;
mod files;
mod jobs;
mod login;
mod metadata;
mod portal;
mod problem;
mod query;
mod replica;
mod route;
mod uploads;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{OriginalUri, Request};
use axum::response::Response;
use haversack_model::host::{Binding, Connection};
use haversack_model::{Host, Principal};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use uuid::Uuid;

use crate::wire::params::Params;
use answer::{Answer, Format};
use call::Call;
use problem::{Problem, Result};
use route::Path;

/// Name of the header that carries the id of a request, both ways.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The face on a host, to be mounted at one path segment such as `/arcgis`.
///
/// Registers the runner of its jobs, so that jobs of an earlier run continue.
pub fn router(host: Arc<dyn Host>) -> Router {
    let runner = jobs::Runner {
        host: Arc::downgrade(&host),
    };
    host.register_job_runner(jobs::KIND, Arc::new(runner));
    Router::new().fallback(move |request: Request| handle(Arc::clone(&host), request))
}

async fn handle(host: Arc<dyn Host>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let id = request_id(&parts, host.as_ref());
    let origin = allowed_origin(&parts, host.as_ref());
    let mut response = if parts.method == Method::OPTIONS {
        preflight()
    } else {
        respond(host, &parts, body, id).await
    };
    decorate(&mut response, id, origin);
    response
}

async fn respond(host: Arc<dyn Host>, parts: &Parts, body: Body, id: Uuid) -> Response {
    let Ok(path) = Path::decode(parts.uri.path()) else {
        let problem = Problem::parameter("the path", "it cannot be decoded");
        let mut response = answer::json(&problem.to_json(id), Format::Json);
        *response.status_mut() = StatusCode::BAD_REQUEST;
        return response;
    };
    let mut format = Format::Json;
    match run(host, parts, body, path, &mut format).await {
        Ok(response) => response,
        Err(problem) => answer::json(&problem.to_json(id), format),
    }
}

async fn run(
    host: Arc<dyn Host>,
    parts: &Parts,
    body: Body,
    path: Path,
    format: &mut Format,
) -> Result<Response> {
    if !matches!(parts.method, Method::GET | Method::HEAD | Method::POST) {
        return Err(Problem::Method("GET or POST"));
    }
    let (mut params, files) = body::read(parts, body, host.max_body_bytes()).await?;
    *format = wanted_format(parts, &params, &path)?;
    let base = base_url(parts, host.as_ref())?;
    let credential = login::credential(parts, &mut params, &base);
    let referer = parts.headers.get(header::REFERER);
    let referer = referer.and_then(|value| value.to_str().ok().map(str::to_owned));
    let connection = parts.extensions.get::<Connection>();
    let mut call = Call {
        host,
        principal: Principal::anonymous(),
        params,
        files,
        method: parts.method.clone(),
        base,
        address: connection.map_or_else(String::new, |c| c.peer.ip().to_string()),
        binding: credential.as_deref().map_or(Binding::None, Binding::of),
        job: None,
    };
    let work = tokio::task::spawn_blocking(move || {
        call.principal = login::principal(&call, &path, credential, referer.as_deref())?;
        dispatch::dispatch(&call, &path)
    });
    let answer: Answer = work
        .await
        .map_err(|error| Problem::Internal(format!("an operation stopped: {error}")))??;
    let range = parts
        .headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok());
    answer.into_response(*format, range)
}

/// `f` decides; without it, a browser gets a page and a program gets JSON. Files come as they are, whatever is added to
/// their URL.
fn wanted_format(parts: &Parts, params: &Params, path: &Path) -> Result<Format> {
    if matches!(path.words().as_slice(), ["rest", "files", ..]) {
        return Ok(Format::Json);
    }
    let words = [
        ("json", Format::Json),
        ("pjson", Format::Pretty),
        ("html", Format::Html),
        // Of queries alone, which look at the word again.
        ("geojson", Format::Json),
        ("pbf", Format::Json),
    ];
    if let Some(format) = params.choice("f", &words)? {
        return Ok(format);
    }
    let accept = parts.headers.get(header::ACCEPT);
    let accept = accept.and_then(|value| value.to_str().ok());
    Ok(if accept.is_some_and(|text| text.contains("text/html")) {
        Format::Html
    } else {
        Format::Json
    })
}

fn request_id(parts: &Parts, host: &dyn Host) -> Uuid {
    parts
        .headers
        .get(&REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| Uuid::try_parse(text).ok())
        .unwrap_or_else(|| host.fresh_uuid())
}

/// The face's own root as clients see it: the configured one, or the address that this request was sent to.
fn base_url(parts: &Parts, host: &dyn Host) -> Result<String> {
    let mount = mount_path(parts);
    if let Some(base) = host.base_url() {
        return Ok(format!("{}{mount}", base.trim_end_matches('/')));
    }
    let tls = parts
        .extensions
        .get::<Connection>()
        .is_some_and(|connection| connection.is_tls);
    let authority = parts
        .headers
        .get(header::HOST)
        .and_then(|value| value.to_str().ok())
        .or_else(|| parts.uri.authority().map(http::uri::Authority::as_str))
        .unwrap_or("localhost");
    let harmless = |c: char| c.is_ascii_alphanumeric() || ".-:[]_".contains(c);
    if authority.is_empty() || !authority.chars().all(harmless) {
        return Err(Problem::parameter("Host", "it is not a host name"));
    }
    let scheme = if tls { "https" } else { "http" };
    Ok(format!("{scheme}://{authority}{mount}"))
}

/// The part of the original path that the mounting router took off.
fn mount_path(parts: &Parts) -> String {
    let original = parts
        .extensions
        .get::<OriginalUri>()
        .map_or(parts.uri.path(), |uri| uri.0.path());
    original
        .strip_suffix(parts.uri.path())
        .unwrap_or_default()
        .trim_end_matches('/')
        .to_owned()
}

fn allowed_origin(parts: &Parts, host: &dyn Host) -> Option<HeaderValue> {
    let origin = parts.headers.get(header::ORIGIN)?;
    host.allows_origin(origin.to_str().ok()?)
        .then(|| origin.clone())
}

fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Headers that every response carries.
fn decorate(response: &mut Response, id: Uuid, origin: Option<HeaderValue>) {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::try_from(id.to_string()) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-store, private"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin else {
        return;
    };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            "authorization, content-type, range, x-esri-authorization, x-requested-with",
        ),
        (
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            "content-disposition, content-range, x-request-id",
        ),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
