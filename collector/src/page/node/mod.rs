//! The page of one node: its current values, and a chart of each series.

mod model;
mod templates;

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;

use self::model::{NodeModel, NodeParams};
use super::document::store_response;
use super::navigation::Navigation;
use super::sign_in;
use crate::app::App;
use crate::auth::may_read;

pub(super) async fn page(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let params = NodeParams::of(query.as_deref(), &headers);
    if !may_read(&app, &headers) {
        return sign_in::required(params.page.lang);
    }
    let fleet = params.page.fleet.clone();
    let (model, navigation) =
        futures_util::join!(NodeModel::load(&app, params), Navigation::load(&app, &fleet));
    let may_leave = sign_in::has_cookie(&headers);
    store_response(model.problem.is_some(), templates::page(&model, &navigation, may_leave))
}

/// Returns the sections that change.
pub(super) async fn live(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let params = NodeParams::of(query.as_deref(), &headers);
    if !may_read(&app, &headers) {
        return sign_in::required(params.page.lang);
    }
    let model = NodeModel::load(&app, params).await;
    store_response(model.problem.is_some(), templates::live(&model))
}
