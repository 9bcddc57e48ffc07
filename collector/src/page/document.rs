//! The HTML document around the content, its response headers, and elements that several sections use.

use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::assets;
use super::i18n::{Lang, span};

/// Content Security Policy: everything comes from this server, nothing is inline, and no page may frame this one.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Returns the response with this HTML.
pub(super) fn html_response(status: StatusCode, markup: Markup) -> Response {
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

/// Renders a whole document. If it is `live`, a browser without the script reloads it every ten seconds.
pub(super) fn document(lang: Lang, title: &str, live: bool, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(lang.messages().code) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" type="image/svg+xml" href=(assets::ICON.address());
                link rel="stylesheet" href=(assets::STYLE.address());
                @if live {
                    script src=(assets::SCRIPT.address()) defer {}
                    noscript { meta http-equiv="refresh" content="10"; }
                }
            }
            body data-ago=(lang.messages().ago) { (body) }
        }
    }
}

/// Renders an age in seconds; the script keeps counting.
pub(super) fn ago(lang: Lang, seconds: f64) -> Markup {
    let millis = (seconds * 1_000.0).round();
    html! { span.age data-age=(millis) { (lang.messages().ago.replace("{}", &span(seconds))) } }
}
