//! The page of one node: its current values, and a chart of each series.

mod model;
mod templates;

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;

use self::model::{NodeModel, NodeParams};
use super::document::store_response;
use super::navigation::Navigation;
use super::sign_in::Permitted;
use crate::app::App;

pub(super) async fn page(State(app): State<Arc<App>>, Permitted(params): Permitted<NodeParams>) -> Response {
    let fleet = params.page.fleet.clone();
    let (model, navigation) =
        futures_util::join!(NodeModel::load(&app, params), Navigation::load(&app, &fleet));
    store_response(model.problem.is_some(), templates::page(&model, &navigation))
}

/// Returns the sections that change.
pub(super) async fn live(State(app): State<Arc<App>>, Permitted(params): Permitted<NodeParams>) -> Response {
    let model = NodeModel::load(&app, params).await;
    store_response(model.problem.is_some(), templates::live(&model))
}
