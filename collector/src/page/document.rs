//! The HTML document around the content, its response headers, and elements that several sections use.

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::assets;
use super::i18n::{Lang, span};
use super::params::PageParams;

/// Content Security Policy: everything comes from this server, nothing is inline, and no page may frame this one.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

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

/// Returns the response with this HTML; 503 if the store cannot be read.
pub(super) fn store_response(is_unreadable: bool, markup: Markup) -> Response {
    if !is_unreadable {
        return html_response(StatusCode::OK, markup);
    }
    let mut response = html_response(StatusCode::SERVICE_UNAVAILABLE, markup);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    response
}

/// How a page is kept up to date.
pub(super) struct Live {
    /// Path of the sections that change, for the script.
    pub(super) path: &'static str,
    /// Seconds after which a browser without the script loads the page again.
    pub(super) reload: u32,
}

/// Renders a whole document.
pub(super) fn document(lang: Lang, title: &str, live: Option<&Live>, body: &Markup) -> Markup {
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
                @if let Some(live) = live {
                    script src=(assets::SCRIPT.address()) defer {}
                    noscript { meta http-equiv="refresh" content=(live.reload); }
                }
            }
            body data-ago=(lang.messages().ago) data-live=[live.map(|live| live.path)] { (body) }
        }
    }
}

/// Page of a fleet: the content with its head and foot.
pub(super) struct Frame<'a> {
    pub(super) params: &'a PageParams,
    pub(super) title: String,
    /// Address of the same page in the other language.
    pub(super) translated: String,
    pub(super) live: &'static Live,
    /// Links to the averages and to the nodes: address, text, and true for this page.
    pub(super) pages: Vec<(String, &'static str, bool)>,
}

impl Frame<'_> {
    /// Renders the document around the content.
    pub(super) fn document(&self, content: &Markup) -> Markup {
        let lang = self.params.lang;
        let messages = lang.messages();
        let other = lang.other().messages().code;
        let body = html! {
            a.skip href="#main" { (messages.skip) }
            header {
                a.brand href=(self.params.link("./", &[])) {
                    (PreEscaped(assets::TOWER))
                    span { "Atalaya" }
                }
                nav.pages aria-label=(messages.pages) {
                    @for (address, text, is_current) in &self.pages {
                        a href=(address) aria-current=[is_current.then_some("page")] { (text) }
                    }
                }
                nav.small aria-label=(messages.language) {
                    a href=(self.translated) hreflang=(other) lang=(other) { (messages.other_language) }
                    @if self.params.may_leave {
                        form method="post" action="sign-out" { button.link { (messages.sign_out) } }
                    }
                }
            }
            p #spoken.unseen role="status" aria-live="polite" {}
            main #main {
                div #away.banner.bad hidden role="alert" {
                    strong { (messages.no_answer) }
                    " "
                    span { (messages.data_from) span.age data-age="0" {} "." }
                }
                (content)
            }
            footer {
                p {
                    a href="api/v1/openapi.json" { "API" }
                    " · "
                    a href="metrics" { (messages.metrics) }
                    " · Atalaya " (env!("CARGO_PKG_VERSION"))
                }
            }
        };
        document(lang, &self.title, Some(self.live), &body)
    }
}

/// Renders an age in seconds; the script keeps counting.
pub(super) fn ago(lang: Lang, seconds: f64) -> Markup {
    let millis = (seconds * 1_000.0).round();
    html! { span.age data-age=(millis) { (lang.messages().ago.replace("{}", &span(seconds))) } }
}

/// Renders the section that tells the script and the user whether the store can be read.
pub(super) fn store_state(problem: Option<&str>, lang: Lang) -> Markup {
    html! {
        @match problem {
            None => section #state data-state="live" hidden {},
            Some(problem) => section #state data-state="store" {
                div.banner.bad {
                    strong { (lang.messages().store_unreadable) } " " span lang="en" { (problem) } "."
                }
            },
        }
    }
}

/// Renders the links to the previous and the next of `all` parts of a list, from 1.
pub(super) fn pager(lang: Lang, current: usize, all: usize, address: impl Fn(usize) -> String) -> Markup {
    let messages = lang.messages();
    let text = messages.part.replace("{part}", &current.to_string()).replace("{parts}", &all.to_string());
    html! {
        @if all > 1 {
            nav.pager aria-label=(messages.parts) {
                @if current > 1 { a #page-previous rel="prev" href=(address(current - 1)) { (messages.previous) } }
                span { (text) }
                @if current < all { a #page-next rel="next" href=(address(current + 1)) { (messages.next) } }
            }
        }
    }
}
