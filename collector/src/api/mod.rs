//! What is answered to whom. The OpenAPI document is made of the same routes, so that neither has what the other lacks.

mod problem;
mod query;
mod read;
mod stream;
mod write;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json, Router};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::problem::Problem;
use self::query::Query;
use crate::limits::{Buckets, Limits};
use crate::metrics::Metrics;
use crate::store::Store;
use crate::tokens::{Admission, Role, Tokens};

/// What all answers need.
pub(crate) struct App {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) tokens: Tokens,
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
    /// The highest id that this process has recorded.
    pub(crate) newest: watch::Sender<i64>,
    /// Streams end when it is cancelled.
    pub(crate) stopping: CancellationToken,
    streams: Arc<Semaphore>,
    buckets: Mutex<Buckets>,
}

impl App {
    pub(crate) fn new(store: Arc<dyn Store>, tokens: Tokens, limits: Limits) -> App {
        App {
            store,
            tokens,
            metrics: Metrics::new(),
            newest: watch::Sender::new(0),
            stopping: CancellationToken::new(),
            streams: Arc::new(Semaphore::new(limits.streams)),
            buckets: Mutex::new(Buckets::new(&limits)),
            limits,
        }
    }
}

/// Whose connection it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) IpAddr);

#[derive(OpenApi)]
#[openapi(
    info(title = "Atalaya collector", description = "Takes the reports of a fleet, keeps each once, and tells them again."),
    modifiers(&Bearer),
    security((), ("bearer" = [])),
    tags(
        (name = "write", description = "Needs a writer's token, if there are tokens"),
        (name = "read", description = "Needs a reader's token, if there are tokens"),
        (name = "operate", description = "How the collector is"),
    )
)]
struct Described;

/// Tells how a token is sent.
struct Bearer;

impl Modify for Bearer {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        document.components.get_or_insert_default().add_security_scheme("bearer", scheme);
    }
}

fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    let guarded = |role| from_fn_with_state((Arc::clone(app), role), admit);
    let write = OpenApiRouter::new()
        .routes(routes!(write::nuevo_get, write::nuevo_post))
        .routes(routes!(write::post_reports))
        .route_layer(guarded(Role::Write));
    let read = OpenApiRouter::new()
        .routes(routes!(read::get_reports))
        .routes(routes!(read::get_series))
        .routes(routes!(read::get_latest))
        .routes(routes!(read::get_fleet))
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

/// Everything that is answered.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let (router, document) = routes(app).split_for_parts();
    let document = Arc::new(document);
    router
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
        .layer(from_fn_with_state(Arc::clone(app), watch_over))
        .with_state(Arc::clone(app))
}

/// The OpenAPI document, as it is served at `/api/v1/openapi.json`.
///
/// # Errors
/// It cannot be written as JSON.
pub fn openapi() -> Result<String, serde_json::Error> {
    let store = Arc::new(crate::store::MemoryStore::new());
    let app = Arc::new(App::new(store, Tokens::none(), Limits::default()));
    routes(&app).split_for_parts().1.to_pretty_json()
}

fn method_not_allowed() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method",
        "It cannot be asked like this",
        "see /api/v1/openapi.json",
    )
}

/// Counts requests, and holds back whoever sends too many. That a supervisor asks for health is never too many.
async fn watch_over(
    State(app): State<Arc<App>>,
    path: Option<MatchedPath>,
    peer: Option<Extension<Peer>>,
    request: Request,
    next: Next,
) -> Response {
    let path = path.as_ref().map_or("", MatchedPath::as_str).to_owned();
    let taken = match peer {
        Some(Extension(Peer(address))) if path != "/healthz" => {
            app.buckets.lock().unwrap_or_else(PoisonError::into_inner).take(address, Instant::now())
        }
        _ => Ok(()),
    };
    let mut response = match taken {
        Ok(()) => next.run(request).await,
        Err(pause) => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate",
            "Too many requests",
            format!("{} a second are answered", app.limits.rate),
        )
        .retry_after(u32::try_from(pause.as_secs().saturating_add(1)).unwrap_or(u32::MAX))
        .into_response(),
    };
    // A proxy that answers `GET /nuevo` by itself would swallow reports.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    app.metrics.answered(&path, response.status().as_u16());
    response
}

/// Lets pass who has the right token.
async fn admit(State((app, role)): State<(Arc<App>, Role)>, request: Request, next: Next) -> Response {
    let token = bearer(request.headers()).or_else(|| token_in_address(request.uri()));
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

fn bearer(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// Programs that know nothing of tokens have an address to which one can be added.
fn token_in_address(uri: &Uri) -> Option<String> {
    if uri.path() != "/nuevo" {
        return None;
    }
    Query::parse(uri.query()?.as_bytes()).ok()?.take("token").ok()?
}

/// That the process lives.
#[utoipa::path(get, path = "/healthz", tag = "operate", responses((status = 200, description = "It lives", body = String)))]
async fn healthz() -> &'static str {
    "ok\n"
}

/// That reports can be kept.
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

/// How long the store may take to say whether it could record, for the figures: who asks for them waits for ten seconds,
/// mostly.
const SCRAPE: Duration = Duration::from_secs(2);

/// Figures of the collector, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operate", responses(
    (status = 200, description = "OpenMetrics", body = String, content_type = "application/openmetrics-text"),
))]
async fn metrics(State(app): State<Arc<App>>) -> Response {
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    let checked = tokio::time::timeout(SCRAPE, app.store.check()).await;
    ([(header::CONTENT_TYPE, kind)], app.metrics.text(matches!(checked, Ok(Ok(()))))).into_response()
}
