//! Static files of the page. They are part of the program; a browser caches each of them until its content changes.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// Static file of the page.
pub(super) struct Asset {
    pub(super) path: &'static str,
    kind: &'static str,
    pub(super) text: &'static str,
}

pub(super) const STYLE: Asset =
    Asset { path: "/page/page.css", kind: "text/css; charset=utf-8", text: include_str!("page.css") };
pub(super) const SCRIPT: Asset =
    Asset { path: "/page/page.js", kind: "text/javascript; charset=utf-8", text: include_str!("page.js") };
pub(super) const ICON: Asset =
    Asset { path: "/page/tower.svg", kind: "image/svg+xml", text: include_str!("tower.svg") };

/// SVG of the tower, to be embedded in the page.
pub(super) const TOWER: &str = ICON.text;

impl Asset {
    /// Returns the address relative to the page, which may be below a prefix of a proxy. A file with other content has
    /// another address.
    pub(super) fn address(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.text.hash(&mut hasher);
        format!("{}?v={:016x}", self.path.trim_start_matches('/'), hasher.finish())
    }

    pub(super) fn response(&self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.kind)),
            (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable")),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        (headers, self.text).into_response()
    }
}
