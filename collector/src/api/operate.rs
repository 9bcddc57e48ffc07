//! Routes for operators: health, readiness and metrics.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use crate::app::App;
use crate::problem::Problem;

/// Returns 200 while the process is alive.
#[utoipa::path(get, path = "/healthz", tag = "operate", responses((status = 200, description = "Alive", body = String)))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Returns 200 if reports can be recorded.
#[utoipa::path(get, path = "/readyz", tag = "operate", responses(
    (status = 200, description = "Ready", body = String),
    (status = 503, description = "Storage unavailable, or shutting down", body = Problem,
        content_type = "application/problem+json"),
))]
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Result<&'static str, Problem> {
    if app.stopping.is_cancelled() {
        return Err(Problem::unavailable("the collector is shutting down"));
    }
    app.with_store_timeout(app.store.check()).await?;
    Ok("ready\n")
}

/// Time limit for the store to check whether it can record, for the metrics: most scrapers time out after ten seconds.
const METRICS_TIMEOUT: Duration = Duration::from_secs(2);

/// Returns the metrics of the collector, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operate", responses(
    (status = 200, description = "Metrics in the format OpenMetrics", body = String, content_type = "application/openmetrics-text"),
))]
pub(super) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let kind = HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    let fleets = app.fleets().counts(Instant::now());
    let checked = timeout(METRICS_TIMEOUT, app.store.check()).await;
    ([(header::CONTENT_TYPE, kind)], app.metrics.text(matches!(checked, Ok(Ok(()))), fleets)).into_response()
}
