//! The page of all nodes of a fleet: current values, health, age of the data, and a small chart of each.

mod model;
mod params;
mod sparkline;
mod templates;

use std::sync::Arc;

use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};

use self::model::NodesModel;
pub(super) use self::model::old_after;
use self::params::NodesParams;
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
    let params = NodesParams::of(query.as_deref(), &headers);
    if !may_read(&app, &headers) {
        return sign_in::required(params.page.lang);
    }
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
    let may_leave = sign_in::has_cookie(&headers);
    store_response(model.problem.is_some(), templates::page(&model, &navigation, may_leave))
}

/// Returns the sections that change.
pub(super) async fn live(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Response {
    let params = NodesParams::of(query.as_deref(), &headers);
    if !may_read(&app, &headers) {
        return sign_in::required(params.page.lang);
    }
    let model = NodesModel::load(&app, params).await;
    store_response(model.problem.is_some(), templates::live(&model))
}
