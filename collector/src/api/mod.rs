//! The HTTP API. The OpenAPI document is generated from the same routes, so the two cannot differ.

mod clocks;
mod document;
mod fleet;
mod guard;
pub(crate) mod problem;
pub(crate) mod query;
pub(crate) mod read;
mod stream;
mod streams;
pub(crate) mod write;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::document::Described;
use self::problem::Problem;
use self::query::Query;
use self::streams::Streams;
use crate::fleet::Fleet;
use crate::hosts::Hosts;
use crate::limits::{Buckets, Limits};
use crate::metrics::Metrics;
use crate::page;
use crate::proxies::Proxies;
use crate::store::Store;
use crate::tokens::{Admission, Role, Tokens};

/// State that all handlers share.
pub(crate) struct App {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tokens: Tokens,
    pub(crate) limits: Limits,
    /// True if the collector itself serves TLS.
    pub(crate) secure: bool,
    pub(crate) proxies: Proxies,
    /// Names in `Host` that are answered.
    pub(crate) hosts: Hosts,
    pub(crate) metrics: Metrics,
    /// Highest id that this process has recorded.
    pub(crate) newest: watch::Sender<i64>,
    /// Id and time of the newest report that this process recorded. It decides whether reports arrive, so its clock is
    /// monotonic.
    arrived: Mutex<Option<(i64, Instant)>>,
    /// Last fleet status.
    pub(crate) fleet: Mutex<Fleet>,
    /// Cancelled at shutdown; ends the streams.
    pub(crate) stopping: CancellationToken,
    streams: Mutex<Streams>,
    buckets: Mutex<Buckets>,
    refusals: guard::Refusals,
}

impl App {
    pub(crate) fn new(store: Arc<dyn Store>, tokens: Tokens, limits: Limits, proxies: Proxies) -> App {
        App {
            store,
            tokens,
            secure: false,
            proxies,
            hosts: Hosts::default(),
            metrics: Metrics::new(),
            newest: watch::Sender::new(0),
            arrived: Mutex::default(),
            fleet: Mutex::default(),
            stopping: CancellationToken::new(),
            streams: Mutex::new(Streams::new(&limits)),
            buckets: Mutex::new(Buckets::new(&limits)),
            refusals: guard::Refusals::default(),
            limits,
        }
    }

    /// Records that a report has just arrived.
    pub(crate) fn note_arrival(&self, id: i64) {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        if arrived.is_none_or(|(known, _)| id > known) {
            *arrived = Some((id, Instant::now()));
        }
    }

    /// Returns the time since this process recorded report `id`, if that was the newest one that it recorded.
    pub(crate) fn since_arrival(&self, id: i64) -> Option<Duration> {
        let arrived = *self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.filter(|(known, _)| *known == id).map(|(_, at)| at.elapsed())
    }
}

/// Address of the other end of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    let guarded = |role| from_fn_with_state((Arc::clone(app), role), admit);
    let write = OpenApiRouter::new()
        .routes(routes!(write::nuevo_get, write::nuevo_post))
        .routes(routes!(write::post_reports))
        .routes(routes!(fleet::post_fleet))
        .route_layer(guarded(Role::Write));
    let read = OpenApiRouter::new()
        .routes(routes!(read::get_reports))
        .routes(routes!(read::get_series))
        .routes(routes!(read::get_latest))
        .routes(routes!(fleet::get_fleet))
        .routes(routes!(read::listar))
        .routes(routes!(stream::stream))
        .routes(routes!(metrics))
        .route_layer(guarded(Role::Read));
    OpenApiRouter::with_openapi(Described::openapi())
        .merge(write)
        .merge(read)
        .routes(routes!(healthz))
        .routes(routes!(readyz))
}

/// Returns all routes.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let (router, mut document) = routes(app).split_for_parts();
    document::complete(&mut document, &app.tokens);
    let document = Arc::new(document);
    router
        .merge(page::router())
        .route(
            "/api/v1/openapi.json",
            axum::routing::get(move || async move { Json(document.as_ref().clone()) }),
        )
        .fallback(async || {
            Problem::new(
                StatusCode::NOT_FOUND,
                "not-found",
                "There is no such thing",
                "see /api/v1/openapi.json",
            )
        })
        .method_not_allowed_fallback(async || method_not_allowed())
        .layer(from_fn_with_state(Arc::clone(app), guard::watch_over))
        .with_state(Arc::clone(app))
}

/// Returns the OpenAPI document, as it is served at `/api/v1/openapi.json`.
///
/// # Errors
/// Returns an error if the document cannot be serialized as JSON.
pub fn openapi() -> Result<String, serde_json::Error> {
    let store = Arc::new(crate::store::MemoryStore::new());
    let app = Arc::new(App::new(store, Tokens::none(), Limits::default(), Proxies::default()));
    let (_, mut document) = routes(&app).split_for_parts();
    document::complete(&mut document, &app.tokens);
    document.to_pretty_json()
}

fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method",
        "It cannot be asked like this",
        "see /api/v1/openapi.json",
    )
}

/// Refuses requests without a token for this role.
async fn admit(State((app, role)): State<(Arc<App>, Role)>, request: Request, next: Next) -> Response {
    let token = match role {
        Role::Read => page::token_of(request.headers()),
        Role::Write => token(&request),
    };
    match app.tokens.admit(role, token.as_deref()) {
        Admission::Granted => next.run(request).await,
        Admission::Unknown => Problem::new(
            StatusCode::UNAUTHORIZED,
            "token",
            "A token is needed",
            "Authorization: Bearer with a token that is known",
        )
        .into_response(),
        Admission::Forbidden => Problem::new(
            StatusCode::FORBIDDEN,
            "token",
            "This token is for something else",
            "writers write and readers read",
        )
        .into_response(),
    }
}

/// Returns the token of a program, from `Authorization` or otherwise from the address.
fn token(request: &Request) -> Option<String> {
    match request.headers().contains_key(header::AUTHORIZATION) {
        true => bearer(request.headers()),
        false => token_in_address(request.uri()),
    }
}

/// Returns the bearer token, or `None` if the header occurs twice: a proxy that checks only the first one would let the
/// second one pass.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<String> {
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (sent.next(), sent.next()) else { return None };
    let text = only.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// Returns the token in the address, for programs that do not support tokens: their configured address can contain one.
fn token_in_address(uri: &Uri) -> Option<String> {
    if uri.path() != "/nuevo" {
        return None;
    }
    Query::parse(uri.query()?.as_bytes()).ok()?.take("token").ok()?
}

/// Returns 200 while the process is alive.
#[utoipa::path(get, path = "/healthz", tag = "operate", responses((status = 200, description = "It lives", body = String)))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// Returns 200 if reports can be recorded.
#[utoipa::path(get, path = "/readyz", tag = "operate", responses(
    (status = 200, description = "They can", body = String),
    (status = 503, description = "They cannot", body = Problem, content_type = "application/problem+json"),
))]
async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    if app.stopping.is_cancelled() {
        return Err(Problem::unavailable("it is about to stop"));
    }
    let checked = tokio::time::timeout(app.limits.answer, app.store.check()).await;
    checked.map_err(|_| Problem::unavailable("the store has not answered in time"))??;
    Ok("ready\n")
}

/// Time limit for the store to check whether it can record, for the metrics: most scrapers time out after ten seconds.
const SCRAPE: Duration = Duration::from_secs(2);

/// Returns the metrics of the collector, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operate", responses(
    (status = 200, description = "OpenMetrics", body = String, content_type = "application/openmetrics-text"),
))]
async fn metrics(State(app): State<Arc<App>>) -> Response {
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    let checked = tokio::time::timeout(SCRAPE, app.store.check()).await;
    ([(header::CONTENT_TYPE, kind)], app.metrics.text(matches!(checked, Ok(Ok(()))))).into_response()
}
