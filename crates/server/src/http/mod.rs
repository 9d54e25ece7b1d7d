//! The tree of addresses and what every request goes through: route check, limits, headers, log, metrics, panics.

use std::any::Any;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::{
    CACHE_CONTROL, CONTENT_TYPE, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, StatusCode};
use metrics_exporter_prometheus::PrometheusHandle;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::{RequestBodyTimeoutLayer, TimeoutLayer};
use tracing::Instrument as _;

use haversack_model::Host;
use haversack_model::host::{Connection, Origin};

use crate::{Config, Server, secret};

pub(crate) mod cors;
mod route;
pub(crate) use route::redacted;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// All addresses of a server.
pub(crate) fn router(server: &Arc<Server>, metrics: PrometheusHandle) -> Router {
    let config = &server.config;
    let own = Router::new()
        .route("/", get(front_page))
        .route("/health", get(health))
        .route("/metrics", get(show_metrics))
        .with_state((Arc::clone(server), metrics));
    let host: Arc<dyn Host> = Arc::clone(server) as Arc<dyn Host>;
    let router = own
        .nest(
            "/arcgis",
            haversack_geoservices::face::router(Arc::clone(&host)),
        )
        .merge(haversack_arangodb::face::router(Arc::clone(&host)))
        .merge(haversack_dhis2::face::router(host))
        .layer(RequestBodyLimitLayer::new(config.max_body_bytes as usize))
        .merge(crate::native::router(server))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            Duration::from_secs(config.request_timeout_s.max(1)),
        ))
        .layer(RequestBodyTimeoutLayer::new(Duration::from_secs(
            config.idle_timeout_s.max(1),
        )))
        .layer(axum::extract::DefaultBodyLimit::disable());
    wrap(router, config)
}

fn wrap(router: Router, config: &Config) -> Router {
    let router = match cors::layer(config) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router
        .layer(CatchPanicLayer::custom(after_panic))
        .layer(middleware::from_fn(route::check))
        .layer(middleware::from_fn(observe))
}

/// The answer to plain http from another machine, where that was not allowed.
pub(crate) fn refuse_plain_http() -> Response {
    problem(
        StatusCode::FORBIDDEN,
        "httpsRequired",
        "this server speaks plain http on its own machine only; use https",
        "scheme",
    )
}

/// An error as `application/problem+json` with `code`, `message` and `what`.
pub(crate) fn problem(status: StatusCode, code: &str, message: &str, what: &str) -> Response {
    let body = serde_json::json!({ "code": code, "message": message, "what": what });
    let kind = HeaderValue::from_static("application/problem+json");
    (status, [(CONTENT_TYPE, kind)], body.to_string()).into_response()
}

async fn health(State((server, _)): State<(Arc<Server>, PrometheusHandle)>) -> Response {
    let mut told = serde_json::json!({ "status": "ok" });
    if let Some(upstream) = server.upstream.get() {
        let status = upstream.status();
        told["upstream"] = serde_json::json!({
            "reached": status.is_reached, "syncedAt": status.synced_at.map(|at| at.0), "waiting": status.waiting,
            "refused": status.refused, "conflicts": status.conflicts,
        });
    }
    axum::Json(told).into_response()
}

async fn front_page() -> Response {
    let text = "Haversack\n\n/arcgis/rest/services  feature services\n/_api                  collections, for clients of ArangoDB\n/api                   metadata and tracker data, for clients of DHIS2\n/v1                    our own API, described at /v1/openapi.json\n/health                liveness\n/metrics               for Prometheus\n";
    text.into_response()
}

async fn show_metrics(
    State((server, metrics)): State<(Arc<Server>, PrometheusHandle)>,
    request: Request,
) -> Response {
    let peer = request
        .extensions()
        .get::<Connection>()
        .map(|c| c.peer.ip());
    let is_local = peer.is_some_and(|ip| ip.to_canonical().is_loopback());
    let address = peer.map_or_else(String::new, |ip| ip.to_string());
    let origin = Origin {
        referer: referer(request.headers()),
        address: &address,
    };
    let is_admin = bearer(request.headers())
        .and_then(|token| server.verify_token(token, origin))
        .is_some_and(|who| who.is_admin);
    if !is_local && !is_admin {
        return problem(
            StatusCode::FORBIDDEN,
            "forbidden",
            "metrics are for administrators and the machine itself",
            "authorization",
        );
    }
    metrics::gauge!("haversack_jobs_running").set(server.jobs.running_count() as f64);
    metrics::gauge!("haversack_services").set(server.services.names().len() as f64);
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    ([(CONTENT_TYPE, kind)], metrics.render()).into_response()
}

/// The token of an `Authorization: Bearer` header.
pub(crate) fn bearer(headers: &http::HeaderMap) -> Option<&str> {
    let value = headers.get(http::header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// The page that a request was made by, as far as it says.
pub(crate) fn referer(headers: &http::HeaderMap) -> Option<&str> {
    headers.get(http::header::REFERER)?.to_str().ok()
}

/// Gives each request an id, logs it without secrets, counts it, and sets the headers that every answer carries.
async fn observe(request: Request, next: Next) -> Response {
    let id = secret::random_uuid().simple().to_string();
    let method = request.method().clone();
    let path = redacted(request.uri());
    let connection = request.extensions().get::<Connection>().copied();
    let begun = Instant::now();
    let span = tracing::info_span!("request", id = %id);
    let mut response = next.run(request).instrument(span.clone()).await;
    let elapsed = begun.elapsed();
    let status = response.status().as_u16();
    span.in_scope(|| {
        tracing::info!(
            %method,
            path,
            status,
            ms = elapsed.as_millis() as u64,
            peer = connection.map(|c| c.peer.to_string()),
            tls = connection.map(|c| c.is_tls),
            "request"
        );
    });
    metrics::counter!("haversack_requests_total", "status" => status.to_string()).increment(1);
    metrics::histogram!("haversack_request_seconds").record(elapsed.as_secs_f64());
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    for (name, value) in [
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-frame-options"), "DENY"),
    ] {
        headers
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that the layer calls"
)]
fn after_panic(panic: Box<dyn Any + Send>) -> Response<Body> {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(text, "a request ended in a panic");
    problem(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "the request could not be answered; the log has the reason under this request's id",
        "server",
    )
}
