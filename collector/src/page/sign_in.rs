//! Sign-in with a reader's token. The token is stored in a cookie that no script can read and that other sites cannot
//! use.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{PreEscaped, html};

use super::assets;
use super::document::{document, html_response};
use super::i18n::Lang;
use super::params::{FromAddress, PageParams};
use crate::app::App;
use crate::auth::{COOKIE, may_read};
use crate::body::receive;
use crate::params::single_value;
use crate::tokens::{Admission, Role};

/// Lifetime of the cookie, in seconds: 30 days.
const LIFETIME: u32 = 30 * 86_400;

/// Renders the form that asks for a token; `error` is that of the previous attempt.
fn form_page(lang: Lang, status: StatusCode, error: Option<&str>) -> Response {
    let body = html! {
        main.sign-in {
            form.card method="post" action="sign-in" {
                p.mark { (PreEscaped(assets::TOWER)) }
                h1 { "Atalaya" }
                p { (lang.messages().token_required) }
                @if let Some(error) = error { p.banner.bad role="alert" { (error) } }
                label for="token" { "Token" }
                input #token type="password" name="token" autocomplete="current-password" required autofocus;
                button { (lang.messages().sign_in) }
            }
        }
    };
    let mut response = html_response(status, document(lang, "Atalaya", None, &body));
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Extractor of the parameters of a page, for users who may read. Others get the form, with status 401.
pub(super) struct Permitted<P>(pub(super) P);

impl<P: FromAddress> FromRequestParts<Arc<App>> for Permitted<P> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Permitted<P>, Response> {
        let (query, headers) = (parts.uri.query(), &parts.headers);
        match may_read(app, headers) {
            true => Ok(Permitted(P::of(query, headers))),
            false => Err(form_page(PageParams::of(query, headers).lang, StatusCode::UNAUTHORIZED, None)),
        }
    }
}

/// Redirects to the page and sets the cookie.
fn redirect(app: &App, headers: &HeaderMap, value: &str, lifetime: u32) -> Response {
    // With TLS, terminated here or by a proxy, the cookie is restricted to TLS.
    let secure =
        app.options.tls.is_some() || headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let secure = if secure { "; Secure" } else { "" };
    // A cookie without a path applies to the folder of this request: a proxy may serve the page below a prefix, beside
    // other programs.
    let cookie = format!("{COOKIE}={value}; HttpOnly; SameSite=Strict; Max-Age={lifetime}{secure}");
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, "./")]).into_response();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Handles the form.
pub(super) async fn sign_in(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    let lang = PageParams::of(None, &headers).lang;
    let form = match receive(&app.options.limits, body).await {
        Ok(form) => form,
        Err(problem) => return problem.into_response(),
    };
    let token = single_value(&form, "token").unwrap_or_default();
    let token = token.trim();
    match app.options.tokens.admit(Role::Read, Some(token)) {
        Admission::Granted => {
            let encoded: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
            redirect(&app, &headers, &encoded, LIFETIME)
        }
        Admission::Forbidden => form_page(lang, StatusCode::FORBIDDEN, Some(lang.messages().token_of_writer)),
        Admission::Unknown => form_page(lang, StatusCode::UNAUTHORIZED, Some(lang.messages().token_unknown)),
    }
}

/// Deletes the cookie.
pub(super) async fn sign_out(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    redirect(&app, &headers, "", 0)
}
