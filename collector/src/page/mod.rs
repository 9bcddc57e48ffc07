//! The page: an overview of the fleet for people. The server renders it; a small script keeps it up to date, and it is
//! complete without the script. Nothing is loaded from other servers. All addresses are relative, so that a proxy may
//! serve it below any path.

mod assets;
mod chart;
#[cfg(test)]
mod colours;
mod document;
mod fleet;
mod i18n;
mod messages;
mod model;
mod params;
mod range;
mod sign_in;
mod status;
mod tasks;
mod templates;

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{get, post};
use maud::Markup;

use self::document::html_response;
use self::model::PageModel;
use self::params::PageParams;
use self::status::ReportStatus;
use crate::app::App;
use crate::auth::may_read;

/// Returns the routes of the page and its files.
pub(crate) fn router() -> Router<Arc<App>> {
    Router::new()
        .route("/", get(page))
        .route("/page/live", get(live))
        .route("/sign-in", post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route(assets::STYLE.path, get(async || assets::STYLE.response()))
        .route(assets::SCRIPT.path, get(async || assets::SCRIPT.response()))
        .route(assets::ICON.path, get(async || assets::ICON.response()))
}

async fn page(State(app): State<Arc<App>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let may_leave = sign_in::has_cookie(&headers);
    respond(&app, &headers, query, |model| templates::page(model, may_leave)).await
}

/// Returns the sections that change. 401: the user must sign in.
async fn live(State(app): State<Arc<App>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    respond(&app, &headers, query, templates::live).await
}

async fn respond(
    app: &App,
    headers: &HeaderMap,
    query: Option<String>,
    render: impl FnOnce(&PageModel) -> Markup,
) -> Response {
    let params = PageParams::of(query.as_deref(), headers);
    if !may_read(app, headers) {
        return sign_in::form_page(params.lang, StatusCode::UNAUTHORIZED, None);
    }
    let model = model::load(app, params).await;
    let markup = render(&model);
    if !matches!(model.status, ReportStatus::Store(_)) {
        return html_response(StatusCode::OK, markup);
    }
    let mut response = html_response(StatusCode::SERVICE_UNAVAILABLE, markup);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    response
}
