//! Recognizes requests that a web page of another site makes a browser send. Pure.
//!
//! Browsers indicate it in `Sec-Fetch-Site` (to HTTPS and to loopback), otherwise in `Origin` or `Referer`; pages
//! cannot forge these headers. Programs such as curl, Kazoo programs, nodes, Prometheus and reverse proxies send none
//! of them.

use axum::http::{HeaderMap, Method, header};

/// Effect of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It may record something: a web page of another site must not cause it in any way.
    Write,
    /// It only reads: a person may follow a link from another site.
    Read,
}

/// Returns true if a page of another site sent this request. `is_own` returns true if an origin's `host[:port]` is the
/// collector itself.
pub(crate) fn is_cross_site(
    effect: Effect,
    method: &Method,
    headers: &HeaderMap,
    is_own: impl Fn(&str) -> bool,
) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    match text("sec-fetch-site") {
        // `none`: typed into the address bar, or a bookmark.
        Some("same-origin" | "none") => return false,
        Some(_) => {
            let is_framed =
                ["object", "embed", "iframe", "frame"].contains(&text("sec-fetch-dest").unwrap_or_default());
            let is_link = text("sec-fetch-mode") == Some("navigate") && *method == Method::GET && !is_framed;
            return effect == Effect::Write || !is_link;
        }
        None => {}
    }
    if let Some(origin) = text("origin") {
        return !authority(origin).is_some_and(|own| is_own(&own));
    }
    if effect == Effect::Read {
        return false;
    }
    // An image or a frame of a page, which is loaded by plain HTTP from an address other than loopback.
    match text("referer") {
        Some(referer) => !authority(referer).is_some_and(|own| is_own(&own)),
        None => {
            // A page can suppress `Referer`. Browsers always send these two, and programs do not send both.
            headers.contains_key(header::ACCEPT_LANGUAGE)
                && text("user-agent").is_some_and(|agent| agent.starts_with("Mozilla/"))
        }
    }
}

/// Returns `host[:port]` of an address, without the usual port of its scheme.
fn authority(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?.to_ascii_lowercase();
    let usual = match scheme.to_ascii_lowercase().as_str() {
        "http" => ":80",
        "https" => ":443",
        _ => return None,
    };
    let bare = authority.strip_suffix(usual).map(str::to_owned);
    Some(bare.unwrap_or(authority)).filter(|authority| !authority.is_empty())
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

    use super::*;

    /// `headers`: one per line.
    fn foreign(effect: Effect, method: &Method, headers: &str) -> bool {
        let named = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
        };
        let headers: HeaderMap = headers.lines().map(named).collect();
        is_cross_site(effect, method, &headers, |host| host == "127.0.0.1:8000")
    }

    const BROWSER: &str = "user-agent: Mozilla/5.0 (X11) Firefox/140.0\naccept-language: en";
    const LINK: &str = "sec-fetch-site: cross-site\nsec-fetch-mode: navigate\nsec-fetch-dest: document";

    #[test]
    fn programs_are_never_cross_site() {
        for headers in [
            "",
            "user-agent: python-requests/2.32.3\naccept: */*",
            "user-agent: curl/8.5.0",
            // PowerShell.
            "user-agent: Mozilla/5.0 (Windows NT; Windows NT 10.0; en-US) WindowsPowerShell/5.1",
        ] {
            for effect in [Effect::Read, Effect::Write] {
                assert!(!foreign(effect, &Method::GET, headers) && !foreign(effect, &Method::POST, headers));
            }
        }
    }

    #[test]
    fn writes_of_other_sites_are_cross_site() {
        for headers in [
            "sec-fetch-site: cross-site\nsec-fetch-mode: no-cors\nsec-fetch-dest: image",
            "sec-fetch-site: same-site\nsec-fetch-mode: no-cors",
            "sec-fetch-site: unheard-of",
            "origin: http://evil.example",
            "origin: null",
            "origin: http://127.0.0.1:3000",
            "referer: http://evil.example/page",
            LINK,
            BROWSER,
        ] {
            assert!(foreign(Effect::Write, &Method::GET, headers), "{headers:?}");
            assert!(foreign(Effect::Write, &Method::POST, headers), "{headers:?}");
        }
    }

    #[test]
    fn writes_of_own_pages_and_of_the_address_bar_are_not_cross_site() {
        for headers in [
            "sec-fetch-site: same-origin\norigin: https://reports.example.org",
            "sec-fetch-site: none\nsec-fetch-mode: navigate",
            "origin: http://127.0.0.1:8000",
            &format!("{BROWSER}\nreferer: http://127.0.0.1:8000/"),
        ] {
            assert!(!foreign(Effect::Write, &Method::POST, headers), "{headers:?}");
        }
    }

    #[test]
    fn reads_of_other_sites_are_links_only() {
        for headers in [LINK, BROWSER, "referer: http://evil.example/"] {
            assert!(!foreign(Effect::Read, &Method::GET, headers), "{headers:?}");
        }
        for headers in [
            "sec-fetch-site: cross-site\nsec-fetch-mode: no-cors\nsec-fetch-dest: script",
            "sec-fetch-site: same-site\nsec-fetch-mode: cors",
            "sec-fetch-site: cross-site\nsec-fetch-mode: navigate\nsec-fetch-dest: iframe",
            "origin: http://evil.example",
        ] {
            assert!(foreign(Effect::Read, &Method::GET, headers), "{headers:?}");
        }
    }

    #[test]
    fn authority_drops_the_usual_port() {
        assert_eq!(authority("https://Reports.example.org:443/x").as_deref(), Some("reports.example.org"));
        assert_eq!(authority("http://h:8000").as_deref(), Some("h:8000"));
        assert_eq!(authority("http://[::1]:80").as_deref(), Some("[::1]"));
        for none in ["null", "", "file:///x", "ftp://h", "http://"] {
            assert_eq!(authority(none), None, "{none}");
        }
    }
}
