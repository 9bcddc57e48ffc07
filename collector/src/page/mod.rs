//! The page: an overview of the fleet for people. The server renders it; a small script keeps it up to date, and it is
//! complete without the script. Nothing is loaded from other servers. All addresses are relative, so that a proxy may
//! serve it below any path.

mod asked;
mod assets;
mod chart;
#[cfg(test)]
mod colours;
mod fleet;
mod gather;
mod range;
mod sign_in;
mod state;
mod tasks;
mod view;
mod words;

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State as Extract};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use maud::Markup;

use self::asked::Asked;
use self::state::State;
use crate::api::App;
use crate::tokens::{Admission, Role};

pub(crate) use sign_in::token_of;

/// Content Security Policy: everything comes from this server, nothing is inline, and no page may frame this one.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

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

fn answer(status: StatusCode, markup: Markup) -> Response {
    let headers: [(HeaderName, &str); 6] = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::VARY, "Accept-Language, Cookie"),
    ];
    (status, headers, markup.into_string()).into_response()
}

async fn page(Extract(app): Extract<Arc<App>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let asked = Asked::of(query.as_deref(), &headers);
    if app.tokens.admit(Role::Read, token_of(&headers).as_deref()) != Admission::Granted {
        return sign_in::asking(asked.lang, StatusCode::UNAUTHORIZED, None);
    }
    let may_leave = sign_in::has_cookie(&headers);
    let view = gather::view(&app, asked).await;
    shown(&view.state, view::page(&view, may_leave))
}

/// Returns the sections that change. 401: the user must sign in.
async fn live(Extract(app): Extract<Arc<App>>, headers: HeaderMap, RawQuery(query): RawQuery) -> Response {
    let asked = Asked::of(query.as_deref(), &headers);
    if app.tokens.admit(Role::Read, token_of(&headers).as_deref()) != Admission::Granted {
        return sign_in::asking(asked.lang, StatusCode::UNAUTHORIZED, None);
    }
    let view = gather::view(&app, asked).await;
    shown(&view.state, view::live(&view))
}

fn shown(state: &State, markup: Markup) -> Response {
    match state {
        State::Store(_) => {
            let mut response = answer(StatusCode::SERVICE_UNAVAILABLE, markup);
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
            response
        }
        _ => answer(StatusCode::OK, markup),
    }
}
