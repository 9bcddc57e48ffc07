//! Sign-in with a reader's token. The token is stored in a cookie that no script can read and that other sites cannot
//! use.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{PreEscaped, html};

use super::asked::{Asked, cookie};
use super::words::Lang;
use super::{answer, assets, view};
use crate::api::query::Query;
use crate::api::write::receive;
use crate::api::{App, bearer};
use crate::tokens::{Admission, Role};

/// Name of the cookie.
const NAME: &str = "atalaya_token";
/// Lifetime of the cookie, in seconds: 30 days.
const KEEP: u32 = 30 * 86_400;

/// Returns the reader's token from `Authorization`, or otherwise from the cookie. A cookie never permits writing.
pub(crate) fn token_of(headers: &HeaderMap) -> Option<String> {
    if headers.contains_key(header::AUTHORIZATION) {
        return bearer(headers);
    }
    let encoded = format!("t={}", cookie(headers, NAME)?);
    Query::parse(encoded.as_bytes()).ok()?.take("t").ok()?
}

pub(super) fn has_cookie(headers: &HeaderMap) -> bool {
    cookie(headers, NAME).is_some()
}

/// Renders the form that asks for a token; `wrong` is the error of the previous attempt.
pub(super) fn asking(lang: Lang, status: StatusCode, wrong: Option<&str>) -> Response {
    let body = html! {
        main.sign-in {
            form.card method="post" action="sign-in" {
                p.mark { (PreEscaped(assets::TOWER)) }
                h1 { "Atalaya" }
                p { (lang.say("Who reads here needs a token.", "Para leer aquí hace falta un token.")) }
                @if let Some(wrong) = wrong { p.banner.bad role="alert" { (wrong) } }
                label for="token" { "Token" }
                input #token type="password" name="token" autocomplete="current-password" required autofocus;
                button { (lang.say("Sign in", "Entrar")) }
            }
        }
    };
    let mut response = answer(status, view::document(lang, "Atalaya", false, &body));
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// Redirects to the page and sets the cookie.
fn back(app: &App, headers: &HeaderMap, value: &str, keep: u32) -> Response {
    // With TLS, terminated here or by a proxy, the cookie is restricted to TLS.
    let secure = app.secure || headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let secure = if secure { "; Secure" } else { "" };
    // A cookie without a path applies to the folder of this request: a proxy may serve the page below a prefix, beside
    // other programs.
    let cookie = format!("{NAME}={value}; HttpOnly; SameSite=Strict; Max-Age={keep}{secure}");
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, "./")]).into_response();
    if let Ok(cookie) = HeaderValue::from_str(&cookie) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Handles the form.
pub(super) async fn sign_in(State(app): State<Arc<App>>, headers: HeaderMap, body: Body) -> Response {
    let lang = Asked::of(None, &headers).lang;
    let form = match receive(&app, body).await {
        Ok(form) => form,
        Err(problem) => return problem.into_response(),
    };
    let token = Query::parse(&form).ok().and_then(|mut form| form.take("token").ok()?);
    let token = token.as_deref().map(str::trim).unwrap_or_default();
    match app.tokens.admit(Role::Read, Some(token)) {
        Admission::Granted => {
            let encoded: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
            back(&app, &headers, &encoded, KEEP)
        }
        Admission::Forbidden => {
            let wrong = lang.say("This token is for writing.", "Este token es para escribir.");
            asking(lang, StatusCode::FORBIDDEN, Some(wrong))
        }
        Admission::Unknown => {
            let wrong = lang.say("This token is not known.", "Este token no se conoce.");
            asking(lang, StatusCode::UNAUTHORIZED, Some(wrong))
        }
    }
}

/// Deletes the cookie.
pub(super) async fn sign_out(State(app): State<Arc<App>>, headers: HeaderMap) -> Response {
    back(&app, &headers, "", 0)
}
