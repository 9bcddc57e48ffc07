//! Checks of every request before its handler: rate, framing, `Host`, and web pages of other sites. Refusals are
//! counted and logged.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use axum::Extension;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tracing::warn;

use crate::app::{App, Peer};
use crate::auth::any_token;
use crate::cross_site::{Effect, is_cross_site};
use crate::hosts::host_of;
use crate::limits::Client;
use crate::metrics::Refused;
use crate::problem::Problem;

/// Paths without a check of `Host` and site: they reveal and change nothing, and a supervisor may use any name.
const HEALTH_CHECKS: [&str; 2] = ["/healthz", "/readyz"];

/// Counts requests, and refuses those that exceed the rate, have ambiguous framing, or come from another site's web
/// page.
pub(crate) async fn limit_and_count(
    State(app): State<Arc<App>>,
    path: Option<MatchedPath>,
    peer: Option<Extension<Peer>>,
    mut request: Request,
    next: Next,
) -> Response {
    let path = path.as_ref().map_or("", MatchedPath::as_str).to_owned();
    let peer = peer.map(|Extension(Peer(peer))| peer);
    let client = peer.map(|peer| client(&app, peer, &request));
    let taken = match &client {
        // Health checks of a supervisor are not limited.
        Some(client) if path != "/healthz" => {
            app.buckets.lock().unwrap_or_else(PoisonError::into_inner).take(client.clone(), Instant::now())
        }
        _ => Ok(()),
    };
    let address = peer.map(|peer| app.options.proxies.client(peer, request.headers()));
    let has_token = path == "/sign-in" || any_token(&request).is_some();
    let is_holder = matches!(client, Some(Client::Holder(_)));
    if let Some(client) = client {
        request.extensions_mut().insert(client);
    }
    let checked = reject_ambiguous_framing(&request)
        .and_then(|()| check_origin(&app, &path, peer, is_holder, &request));
    let mut response = match taken {
        Ok(()) => match checked {
            Ok(()) => {
                let response = next.run(request).await;
                let refused = match response.status() {
                    StatusCode::UNAUTHORIZED if has_token => Some(Refused::token_unknown),
                    StatusCode::UNAUTHORIZED => Some(Refused::token_missing),
                    StatusCode::FORBIDDEN => Some(Refused::token_role),
                    _ => None,
                };
                if let Some(refused) = refused {
                    note_refusal(&app, refused, address, &path);
                }
                response
            }
            Err(refusal) => {
                if let Some(refused) = refusal.counted {
                    note_refusal(&app, refused, address, &path);
                }
                refusal.problem.into_response()
            }
        },
        Err(pause) => Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate",
            "Too many requests",
            format!("the maximum is {} per second", app.options.limits.rate),
        )
        .retry_after(u32::try_from(pause.as_secs().saturating_add(1)).unwrap_or(u32::MAX))
        .into_response(),
    };
    let headers = response.headers_mut();
    // A proxy that caches `GET /nuevo` would swallow reports. Only handlers of constant files override this.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    // The leader of a fleet also sends the fleet status to a server with this header.
    headers.insert(HeaderName::from_static("atalaya-collector"), HeaderValue::from_static("1"));
    app.metrics.count_answer(&path, response.status().as_u16());
    response
}

/// Returns the client whose rate limit a request counts for.
fn client(app: &App, peer: IpAddr, request: &Request) -> Client {
    match any_token(request).filter(|token| app.options.tokens.is_known(token)) {
        Some(token) => Client::Holder(token.into()),
        None => Client::at(app.options.proxies.client(peer, request.headers())),
    }
}

/// Problem, and the reason under which it is counted.
struct Refusal {
    problem: Box<Problem>,
    counted: Option<Refused>,
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Refusal {
        Refusal { problem: Box::new(problem), counted: None }
    }
}

/// Refuses framing that a proxy may interpret differently (RFC 9112, 3.2 and 6.1).
fn reject_ambiguous_framing(request: &Request) -> Result<(), Refusal> {
    let headers = request.headers();
    match headers.get_all(header::HOST).iter().count() {
        1 => {}
        0 if request.version() < Version::HTTP_11 => {}
        _ => return Err(Problem::invalid("exactly one Host header is required").into()),
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    if codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"chunked")) {
        let detail = "only Transfer-Encoding: chunked is supported";
        let title = "Unsupported transfer encoding";
        return Err(Problem::new(StatusCode::NOT_IMPLEMENTED, "transfer-encoding", title, detail).into());
    }
    Ok(())
}

/// Refuses requests with an unknown name, and those that a web page of another site causes.
fn check_origin(
    app: &App,
    path: &str,
    peer: Option<IpAddr>,
    is_holder: bool,
    request: &Request,
) -> Result<(), Refusal> {
    if HEALTH_CHECKS.contains(&path) {
        return Ok(());
    }
    let headers = request.headers();
    let own: Vec<&str> = own_names(app, peer, request);
    // With TLS the browser has checked the name, and no page of another site has a token.
    if app.options.tls.is_none()
        && !is_holder
        && let Some(unknown) = own.iter().find(|name| !app.options.hosts.allow_request(name))
    {
        return Err(Refusal { problem: Box::new(unknown_host(unknown)), counted: Some(Refused::host) });
    }
    let reads = [Method::GET, Method::HEAD].contains(request.method()) && path != "/nuevo";
    let effect = if reads { Effect::Read } else { Effect::Write };
    let is_own = |origin: &str| {
        let same = |own: &&str| {
            let bare = own.strip_suffix(":80").or_else(|| own.strip_suffix(":443")).unwrap_or(own);
            origin.eq_ignore_ascii_case(own) || origin.eq_ignore_ascii_case(bare)
        };
        own.iter().any(same) || app.options.hosts.are_given(origin)
    };
    match is_cross_site(effect, request.method(), headers, is_own) {
        false => Ok(()),
        true => Err(Refusal { problem: Box::new(cross_site()), counted: Some(Refused::cross_site) }),
    }
}

/// Returns the names in the request: `Host`, the authority of an absolute address, and `X-Forwarded-Host` of a trusted
/// proxy. A web page's script may set the latter, so it never replaces the others.
fn own_names<'a>(app: &App, peer: Option<IpAddr>, request: &'a Request) -> Vec<&'a str> {
    let text = |value: &'a HeaderValue| value.to_str().unwrap_or_default();
    let mut names = Vec::new();
    names.extend(request.headers().get(header::HOST).map(text));
    names.extend(request.uri().authority().map(|authority| authority.as_str()));
    if peer.is_some_and(|peer| app.options.proxies.include(peer)) {
        let last = request.headers().get_all("x-forwarded-host").iter().next_back().map(text);
        names.extend(last.and_then(|line| line.rsplit(',').next()).map(str::trim));
    }
    names
}

fn unknown_host(host: &str) -> Problem {
    let option = match host_of(host) {
        Some(name) => format!("--allowed-host {name}"),
        None => "--allowed-host NAME".to_owned(),
    };
    let detail = format!(
        "the request names a host that this collector does not answer to; if the name is right, start it with {option} \
         (ATALAYA_ALLOWED_HOST), or use an IP address. IP addresses, localhost, the name of its machine and names without a \
         dot are always answered"
    );
    Problem::new(StatusCode::MISDIRECTED_REQUEST, "host", "Unknown Host", detail)
}

fn cross_site() -> Problem {
    let detail = "a web page of another site caused this request (Sec-Fetch-Site, Origin or Referer). \
                  Behind a reverse proxy, pass Host on, or name the proxy with --trusted-proxy and the public name with \
                  --allowed-host";
    Problem::new(StatusCode::FORBIDDEN, "cross-site", "Request of another site", detail)
}

/// Counts a refusal, and logs it if its kind was not logged recently.
fn note_refusal(app: &App, refused: Refused, address: Option<IpAddr>, path: &str) {
    app.metrics.count_refusal(refused);
    // Every new visitor of the page has no token at first.
    if refused == Refused::token_missing
        && ["/", "/nodes", "/node", "/page/live", "/page/nodes", "/page/node"].contains(&path)
    {
        return;
    }
    let Some(suppressed) = app.refusals.due(refused, Instant::now()) else { return };
    let client = address.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
    let reason = match refused {
        Refused::token_missing => "no token",
        Refused::token_unknown => "unknown token",
        Refused::token_role => "token of another role: writers may only write, readers only read",
        Refused::host => "unknown Host: see --allowed-host",
        Refused::cross_site => "caused by a web page of another site",
    };
    warn!(client, path, suppressed, "request refused: {reason}");
}
