//! The page: an overview of a fleet for people, the list of its nodes, and a page for each node. The server renders them;
//! a small script keeps them up to date, and they are complete without the script. Nothing is loaded from other servers. All addresses are relative, so that a proxy may
//! serve it below any path.

mod assets;
mod chart;
#[cfg(test)]
mod colours;
mod document;
mod findings;
mod fleet;
mod i18n;
mod messages;
mod model;
mod navigation;
mod node;
mod nodes;
mod params;
mod range;
mod samples;
mod sign_in;
mod status;
mod tasks;
mod templates;
mod zones;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use self::document::store_response;
use self::navigation::Navigation;
use self::params::PageParams;
use self::sign_in::Permitted;
use crate::app::App;

/// Returns the routes of the page and its files.
pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(page))
        .route("/nodes", get(nodes::page))
        .route("/node", get(node::page))
        .route("/page/live", get(live))
        .route("/page/nodes", get(nodes::live))
        .route("/page/node", get(node::live))
        .route("/sign-in", post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route(assets::STYLE.path, get(async || assets::STYLE.response()))
        .route(assets::SCRIPT.path, get(async || assets::SCRIPT.response()))
        .route(assets::ICON.path, get(async || assets::ICON.response()))
}

async fn page(State(app): State<Arc<App>>, Permitted(params): Permitted<PageParams>) -> Response {
    let fleet = params.fleet.clone();
    let (model, navigation) = futures_util::join!(model::load(&app, params), Navigation::load(&app, &fleet));
    if model.kinds.is_empty()
        && model.fleet.is_none()
        && !model.store_fails()
        && !model.zones.are_shown()
        && let Some(redirect) = navigation.other_fleet(&model.params, "./")
    {
        return redirect.into_response();
    }
    store_response(model.store_fails(), templates::page(&model, &navigation))
}

/// Returns the sections that change. 401: the user must sign in.
async fn live(State(app): State<Arc<App>>, Permitted(params): Permitted<PageParams>) -> Response {
    let model = model::load(&app, params).await;
    store_response(model.store_fails(), templates::live(&model))
}
