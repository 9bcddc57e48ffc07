//! The HTTP API. The OpenAPI document is generated from the same routes, so the two cannot differ.

mod accept;
mod csv;
mod document;
mod fleet;
mod fleets;
mod measurements;
mod operate;
mod read;
mod stream;
mod write;
mod zones;

use std::sync::Arc;

use axum::middleware::from_fn_with_state;
use axum::routing::get;
use axum::{Json, Router};
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::require_role;
use crate::options::Options;
use crate::store::MemoryStore;
use crate::tokens::Role;

fn routes(app: &Arc<App>) -> OpenApiRouter<Arc<App>> {
    let guarded = |role| from_fn_with_state((Arc::clone(app), role), require_role);
    let write = OpenApiRouter::new()
        .routes(routes!(write::nuevo_get, write::nuevo_post))
        .routes(routes!(write::post_reports))
        .routes(routes!(fleet::post_fleet))
        .routes(routes!(zones::delete_zone))
        .routes(routes!(measurements::post_measurements, measurements::delete_measurements))
        .route_layer(guarded(Role::Write));
    let read = OpenApiRouter::new()
        .routes(routes!(read::get_reports))
        .routes(routes!(read::get_series))
        .routes(routes!(read::get_latest))
        .routes(routes!(fleet::get_fleet))
        .routes(routes!(fleets::get_fleets))
        .routes(routes!(zones::get_zones))
        .routes(routes!(measurements::get_latest_measurements))
        .routes(routes!(measurements::get_measurements))
        .routes(routes!(read::listar))
        .routes(routes!(stream::stream))
        .routes(routes!(operate::metrics))
        .route_layer(guarded(Role::Read));
    OpenApiRouter::with_openapi(document::General::openapi())
        .merge(write)
        .merge(read)
        .routes(routes!(operate::healthz))
        .routes(routes!(operate::readyz))
}

/// Returns the routes, and the OpenAPI document that describes them.
fn described_routes(app: &Arc<App>) -> (Router<Arc<App>>, utoipa::openapi::OpenApi) {
    let (router, mut document) = routes(app).split_for_parts();
    document::complete(&mut document, &app.options.tokens);
    (router, document)
}

/// Returns the routes of the API and of its OpenAPI document.
pub(crate) fn router(app: &Arc<App>) -> Router<Arc<App>> {
    let (router, document) = described_routes(app);
    let document = Arc::new(document);
    router.route("/api/v1/openapi.json", get(move || async move { Json(document.as_ref().clone()) }))
}

/// Returns the OpenAPI document, as it is served at `/api/v1/openapi.json`.
///
/// # Errors
/// Returns an error if the document cannot be serialized as JSON.
pub fn openapi() -> Result<String, serde_json::Error> {
    let app = Arc::new(App::new(Arc::new(MemoryStore::new()), Options::default()));
    described_routes(&app).1.to_pretty_json()
}
