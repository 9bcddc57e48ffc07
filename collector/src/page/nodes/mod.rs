//! The page of all nodes of a fleet: current values, health, age of the data, and a small chart of each.

mod model;
mod params;
mod sparkline;
mod templates;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use self::model::NodesModel;
pub(super) use self::model::old_after;
use self::params::NodesParams;
use super::document::store_response;
use super::navigation::Navigation;
use super::sign_in::Permitted;
use crate::app::App;

pub(super) async fn page(State(app): State<Arc<App>>, Permitted(params): Permitted<NodesParams>) -> Response {
    let fleet = params.page.fleet.clone();
    let (model, navigation) =
        futures_util::join!(NodesModel::load(&app, params), Navigation::load(&app, &fleet));
    if model.all == 0
        && model.problem.is_none()
        && let Some(redirect) = navigation
            .first_zone(&model.params.page)
            .or_else(|| navigation.other_fleet(&model.params.page, "nodes"))
    {
        return redirect.into_response();
    }
    store_response(model.problem.is_some(), templates::page(&model, &navigation))
}

/// Returns the sections that change.
pub(super) async fn live(State(app): State<Arc<App>>, Permitted(params): Permitted<NodesParams>) -> Response {
    let model = NodesModel::load(&app, params).await;
    store_response(model.problem.is_some(), templates::live(&model))
}
