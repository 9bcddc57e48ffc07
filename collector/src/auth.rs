//! Tokens of requests, and the check of their role.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::app::App;
use crate::params::{cookie, from_address, single_value};
use crate::problem::Problem;
use crate::tokens::{Admission, Role};

/// Name of the cookie with a reader's token.
pub(crate) const COOKIE: &str = "atalaya_token";

/// Refuses requests without a token for this role.
pub(crate) async fn require_role(
    State((app, role)): State<(Arc<App>, Role)>,
    request: Request,
    next: Next,
) -> Response {
    let token = match role {
        Role::Read => reader_token(request.headers()),
        Role::Write => program_token(&request),
    };
    let (status, title, detail) = match app.options.tokens.admit(role, token.as_deref()) {
        Admission::Granted => return next.run(request).await,
        Admission::Unknown => {
            (StatusCode::UNAUTHORIZED, "Token required", "send Authorization: Bearer with a known token")
        }
        Admission::Forbidden => (
            StatusCode::FORBIDDEN,
            "Token of another role",
            "tokens of writers may only write, and those of readers only read",
        ),
    };
    Problem::new(status, "token", title, detail).into_response()
}

/// Returns true if the headers contain a reader's token, or if no token is required to read.
pub(crate) fn may_read(app: &App, headers: &HeaderMap) -> bool {
    app.options.tokens.admit(Role::Read, reader_token(headers).as_deref()) == Admission::Granted
}

/// Returns the token of any client.
pub(crate) fn any_token(request: &Request) -> Option<String> {
    program_token(request).or_else(|| reader_token(request.headers()))
}

/// Returns the token of a program, from `Authorization` or otherwise from the address.
fn program_token(request: &Request) -> Option<String> {
    match request.headers().contains_key(header::AUTHORIZATION) {
        true => bearer(request.headers()),
        false => token_in_address(request.uri()),
    }
}

/// Returns the reader's token from `Authorization`, or otherwise from the cookie. A cookie never permits writing.
pub(crate) fn reader_token(headers: &HeaderMap) -> Option<String> {
    if headers.contains_key(header::AUTHORIZATION) {
        return bearer(headers);
    }
    single_value(format!("t={}", cookie(headers, COOKIE)?).as_bytes(), "t")
}

/// Returns the bearer token, or `None` if the header occurs twice: a proxy that checks only the first one would let the
/// second one pass.
fn bearer(headers: &HeaderMap) -> Option<String> {
    let mut sent = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(only), None) = (sent.next(), sent.next()) else { return None };
    let (scheme, token) = only.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_owned())
}

/// Token in the address of `/nuevo`, for programs that do not support tokens: their configured address can contain one.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct TokenParam {
    /// Token, instead of `Authorization: Bearer`
    token: Option<String>,
}

fn token_in_address(address: &Uri) -> Option<String> {
    if address.path() != "/nuevo" {
        return None;
    }
    from_address::<TokenParam>(address).ok()?.token
}
