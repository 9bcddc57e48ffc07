use std::sync::Arc;

use atalaya_config::ApiMethod;
use reqwest::{Method, StatusCode, Url};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::leader::delivery::outcome::{Doubt, Stale};
use crate::model::report::tests::cycle_report;
use crate::settings::api_token::ApiToken;

#[test]
fn api_client_mentions_the_clock_when_a_certificate_is_not_valid_now() {
    let early = |second: u64| {
        let cause = format!(
            "cannot connect: invalid peer certificate: certificate not valid yet: verification time {second}"
        );
        with_clock_hint(cause, SystemTime::UNIX_EPOCH + Duration::from_secs(second))
    };
    let expected = "cannot connect: invalid peer certificate: certificate not valid yet; the clock of this machine \
                says 1970-01-01: is it set?";
    assert_eq!(early(90), expected);
    assert_eq!(early(91), expected, "a constant reason is logged once");
    let other = "cannot connect: invalid peer certificate: UnknownIssuer";
    assert_eq!(with_clock_hint(other.to_owned(), SystemTime::UNIX_EPOCH), other);
}

#[test]
fn api_client_logs_no_secrets_of_the_address() {
    let url = "https://user:pass@h:8000/nuevo?token=secret".parse().unwrap();
    let api = Api::new(&"1".parse().unwrap(), url, ApiMethod::Get);
    assert_eq!(api.display_url(), "https://h:8000/nuevo");
}

#[test]
fn api_client_recognises_an_api_on_this_machine() {
    let is_local = |url: &str| is_local(&url.parse().unwrap());
    assert!(
        ["http://127.0.0.1:8000/nuevo", "http://localhost/", "http://[::1]:8000/"].into_iter().all(is_local)
    );
    assert!(!is_local("http://10.0.0.1:8000/nuevo") && !is_local("https://localhost.example/"));
}

#[test]
fn response_status_decides_the_outcome() {
    let kind = |status: u16| match response::classify_status(StatusCode::from_u16(status).unwrap()) {
        Outcome::Accepted => "accepted",
        Outcome::Rejected(_) => "rejected",
        Outcome::Failed(_) => "failed",
        Outcome::Doubtful(_) => "doubtful",
        other => panic!("{other:?}"),
    };
    for (statuses, wanted) in [
        (&[200, 201, 202, 203, 204, 409][..], "accepted"),
        (&[206, 207, 304, 500, 503], "doubtful"),
        (&[400, 404], "rejected"),
        (&[408, 429], "failed"),
    ] {
        statuses.iter().for_each(|status| assert_eq!(kind(*status), wanted, "{status}"));
    }
}

/// Starts a server that records the heads of its requests and answers each with `answer` of its path.
async fn server(
    answer: impl Fn(&str) -> String + Send + 'static,
) -> (Url, Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let heads: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let noted = heads.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            noted.lock().unwrap().push(head);
            // An answer with a body contains its length.
            let mut answer = answer(&path);
            if !answer.contains("\r\n\r\n") {
                answer += "Content-Length: 0\r\nConnection: close\r\n\r\n";
            }
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (url, heads)
}

const SECRET: &str = "abcdef-0123456789";

async fn send(api: &Api) -> Outcome {
    let report = cycle_report(7, 3, None).reports().next().unwrap();
    api.send(&report, Duration::from_secs(10)).await
}

fn api(url: Url, method: ApiMethod) -> Api {
    Api::new(&"1".parse().unwrap(), url, method)
}

/// Returns the reason of an outcome that may concern one report or all.
fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Failed(reason) | Outcome::Doubtful(Doubt { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\n";

#[tokio::test]
async fn api_client_sends_the_token_to_the_api_and_not_to_the_target_of_a_redirect() {
    let (elsewhere, seen_elsewhere) = server(|_| OK.into()).await;
    let (url, seen) = server(move |path| match path {
        "/other?dato=79.5" => format!("HTTP/1.1 307 Other\r\nLocation: {elsewhere}nuevo\r\n"),
        "/here?dato=79.5" => "HTTP/1.1 307 Here\r\nLocation: /nuevo\r\n".into(),
        _ => OK.into(),
    })
    .await;
    let with_token = |heads: &std::sync::Mutex<Vec<String>>| {
        let line = format!("authorization: bearer {SECRET}");
        heads.lock().unwrap().drain(..).map(|head| head.contains(&line)).collect::<Vec<_>>()
    };
    for (path, here, there) in
        [("nuevo", &[true][..], &[][..]), ("here", &[true, true], &[]), ("other", &[true], &[])]
    {
        let token = ApiToken::given(SECRET).unwrap().with_origin(Some(url.clone()));
        let api = Api { token: Some(token), ..api(url.join(path).unwrap(), ApiMethod::Get) };
        let outcome = send(&api).await;
        assert_eq!(outcome == Outcome::Accepted, path != "other", "{path}: {outcome:?}");
        assert_eq!((&*with_token(&seen), &*with_token(&seen_elsewhere)), (here, there), "{path}");
    }
    // The token replaces a password in the address, and is not sent to another origin.
    let mut with_password = url.join("nuevo").unwrap();
    with_password.set_username("user").unwrap();
    let token = ApiToken::given(SECRET).unwrap().with_origin(Some(url.clone()));
    let api = Api { token: Some(token), ..api(with_password, ApiMethod::Post) };
    assert_eq!(send(&api).await, Outcome::Accepted);
    let head = seen.lock().unwrap().remove(0);
    assert_eq!(head.matches("authorization:").count(), 1, "{head}");
    let stray = api.request(Method::GET, "http://127.0.0.1:9/".parse().unwrap()).unwrap().build().unwrap();
    assert!(!stray.headers().contains_key("authorization"));
}

#[tokio::test]
async fn api_client_does_not_send_a_token_to_an_api_that_it_is_not_bound_to() {
    let (url, seen) = server(|_| "HTTP/1.1 401 No\r\n".into()).await;
    let own = "http://127.0.0.1:9/nuevo".parse().unwrap();
    let api = Api {
        token: Some(ApiToken::given(SECRET).unwrap().with_origin(Some(own))),
        ..api(url, ApiMethod::Get)
    };
    let outcome = send(&api).await;
    assert!(!api.has_token(), "the fleet status then uses the token of the address");
    assert!(reason(&outcome).contains("is not sent there: it is bound to http://127.0.0.1:9"), "{outcome:?}");
    assert!(!seen.lock().unwrap().remove(0).contains("authorization"));
}

#[tokio::test]
async fn api_client_does_not_repeat_a_post_as_a_get() {
    for (status, posted) in [(301, false), (302, false), (303, false), (307, true), (308, true)] {
        let (url, seen) = server(move |path| match path {
            "/nuevo" => format!("HTTP/1.1 {status} Moved\r\nLocation: /new\r\n"),
            _ => OK.into(),
        })
        .await;
        let outcome = send(&api(url.join("nuevo").unwrap(), ApiMethod::Post)).await;
        let methods: Vec<String> =
            seen.lock().unwrap().iter().map(|head| head.split(' ').next().unwrap().to_owned()).collect();
        if posted {
            assert_eq!(
                (outcome, &*methods),
                (Outcome::Accepted, &["post".to_owned(), "post".to_owned()][..])
            );
        } else {
            assert!(reason(&outcome).contains("it answers 30"), "{outcome:?}");
            assert_eq!(methods, ["post"]);
        }
    }
}

#[tokio::test]
async fn api_client_names_the_token_when_it_is_denied() {
    for status in [401, 403, 407] {
        let (url, _) = server(move |_| format!("HTTP/1.1 {status} No\r\n")).await;
        let without = send(&api(url.clone(), ApiMethod::Get)).await;
        assert!(reason(&without).contains("api_token_file"), "{without:?}");
        let token = ApiToken::given(SECRET).unwrap().with_origin(Some(url.clone()));
        let with = send(&Api { token: Some(token), ..api(url, ApiMethod::Get) }).await;
        let reason = reason(&with);
        assert!(reason.contains("ATALAYA_API_TOKEN") && !reason.contains(SECRET), "{with:?}");
    }
}

#[tokio::test]
async fn api_client_retries_while_the_collector_does_not_accept_its_host_name() {
    let (url, _) = server(|_| "HTTP/1.1 421 Misdirected Request\r\n".into()).await;
    let outcome = send(&api(url, ApiMethod::Post)).await;
    assert!(matches!(&outcome, Outcome::Failed(reason) if reason.contains("421")), "{outcome:?}");
}

#[tokio::test]
async fn api_client_sends_a_token_that_changes_in_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "of-yesterday").unwrap();
    let (url, seen) = server(|_| "HTTP/1.1 401 No\r\n".into()).await;
    let token = ApiToken::in_file(&path).with_origin(Some(url.clone()));
    token.read().unwrap();
    let api = Api { token: Some(token.clone()), ..api(url, ApiMethod::Get) };
    send(&api).await;
    std::fs::write(&path, SECRET).unwrap();
    let line = format!("authorization: bearer {SECRET}");
    let sends_new_token = async {
        while !seen.lock().unwrap().iter().any(|head| head.contains(&line)) {
            send(&api).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), sends_new_token).await.expect("the new token is sent");
}

/// Returns a response with this head and body, and with the content length `claimed`.
fn with_body(status: &str, kind: &str, body: &str, claimed: usize) -> String {
    let kind = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
    format!("HTTP/1.1 {status}\r\n{kind}Content-Length: {claimed}\r\nConnection: close\r\n\r\n{body}")
}

const PAGE: &str = "<!doctype html><title>Sign in</title>";

/// Returns the outcome of a report if `/nuevo` redirects to `to` and every other path answers `answer`.
async fn redirected(method: ApiMethod, to: &str, answer: String) -> Outcome {
    let status = if method == ApiMethod::Get { 302 } else { 307 };
    let head = format!("HTTP/1.1 {status} Moved\r\nLocation: {to}\r\n");
    let answers = move |path: &str| {
        if path.starts_with("/nuevo?") || path == "/nuevo" { head.clone() } else { answer.clone() }
    };
    let (url, _) = server(answers).await;
    send(&api(url.join("nuevo").unwrap(), method)).await
}

#[tokio::test]
async fn api_client_does_not_accept_a_redirect_to_an_html_page() {
    let page = |kind: &str, body: &str| with_body("200 OK", kind, body, body.len());
    for method in [ApiMethod::Get, ApiMethod::Post] {
        for answer in [
            page("text/html; charset=utf-8", PAGE),
            page("TEXT/HTML", ""),
            page("application/xhtml+xml", PAGE),
            page("", &format!("\n {PAGE}")),
            with_body("200 OK", "", "", 500),
        ] {
            let outcome = redirected(method, "/login", answer.clone()).await;
            let reason = reason(&outcome);
            assert!(reason.contains("/login") && reason.contains("HTML"), "{answer}: {reason}");
        }
        for answer in [
            page("text/plain", "ok"),
            page("application/json", "{}"),
            page("", "ok"),
            "HTTP/1.1 204 No Content\r\n".to_owned(),
        ] {
            assert_eq!(redirected(method, "/nuevo/", answer.clone()).await, Outcome::Accepted, "{answer}");
        }
    }
}

#[tokio::test]
async fn api_client_does_not_follow_a_redirect_to_another_origin() {
    for method in [ApiMethod::Get, ApiMethod::Post] {
        let (elsewhere, seen) = server(|_| OK.into()).await;
        let to = elsewhere.join("nuevo?user=secret").unwrap();
        let outcome = redirected(method, to.as_str(), OK.into()).await;
        let origin = elsewhere.origin().ascii_serialization();
        let reason = reason(&outcome);
        assert!(
            reason.contains(&origin) && reason.contains("not the API") && !reason.contains("secret"),
            "{reason}"
        );
        assert_eq!(seen.lock().unwrap().len(), 0, "reports are sent to the API only");
    }
    let circle = redirected(ApiMethod::Get, "/nuevo?dato=79.5", OK.into()).await;
    assert!(reason(&circle).contains("302"), "{circle:?}");
}

#[tokio::test]
async fn api_client_accepts_html_from_the_address_itself_as_flask_returns_for_strings() {
    let (url, _) = server(|_| with_body("200 OK", "text/html; charset=utf-8", "ok", 2)).await;
    assert_eq!(send(&api(url.join("nuevo").unwrap(), ApiMethod::Get)).await, Outcome::Accepted);
}

#[tokio::test]
async fn api_client_accepts_a_status_of_success_with_any_body() {
    let huge = "x".repeat(1 << 20);
    for answer in [
        with_body("200 OK", "text/plain", &huge, huge.len()),
        with_body("200 OK", "text/plain", "short", 5_000),
        format!("HTTP/1.1 103 Early Hints\r\n\r\n{}", with_body("200 OK", "text/plain", "ok", 2)),
        with_body("202 Accepted", "text/plain", "ok", 2),
    ] {
        let shown = answer[..60].to_owned();
        let (url, _) = server(move |_| answer.clone()).await;
        let outcome = send(&api(url.join("nuevo").unwrap(), ApiMethod::Get)).await;
        assert_eq!(outcome, Outcome::Accepted, "{shown}");
    }
    let (url, _) = server(|_| with_body("206 Partial Content", "text/plain", "ok", 2)).await;
    assert!(reason(&send(&api(url, ApiMethod::Get)).await).contains("206"));
}

#[tokio::test]
async fn api_client_learns_from_a_409_whether_the_report_is_recorded() {
    let problem = "application/problem+json";
    let stale = r#"{"type":"urn:problem-type:atalaya:stale","epoch":99,"first_cycle":3}"#;
    let conflict = r#"{"type":"urn:problem-type:atalaya:conflict","kept":80.5}"#;
    let answer = |kind: &str, body: &str| with_body("409 Conflict", kind, body, body.len());
    for (answer, wanted) in [
        ("HTTP/1.1 409 Conflict\r\n".to_owned(), "Accepted"),
        (answer("text/plain", "known already"), "Accepted"),
        (answer(problem, r#"{"type":"about:blank"}"#), "Accepted"),
        (answer(problem, stale), &*format!("{:?}", Outcome::Stale(Stale { epoch: 99, first_cycle: 3 }))),
        (answer(problem, r#"{"type":"urn:problem-type:atalaya:stale"}"#), "Invalid"),
        (answer(problem, conflict), "with another mean of 80.5"),
        (with_body("409 Conflict", problem, stale, 5_000), "incomplete"),
    ] {
        let shown = answer.clone();
        let (url, _) = server(move |_| answer.clone()).await;
        let outcome = format!("{:?}", send(&api(url, ApiMethod::Get)).await);
        assert!(outcome.contains(wanted), "{shown}: {outcome}");
    }
}

#[tokio::test]
async fn api_client_blames_the_report_if_the_request_cannot_be_built() {
    let mut report = cycle_report(7, 3, Some("Cel\r\nX-Evil: 1")).reports().next().unwrap();
    let api = api("http://127.0.0.1:9/nuevo".parse().unwrap(), ApiMethod::Get);
    let outcome = api.send(&report, Duration::from_secs(10)).await;
    assert!(matches!(&outcome, Outcome::Invalid(reason) if reason.contains("cannot be sent")), "{outcome:?}");
    report.average.unit = None;
    assert!(matches!(api.send(&report, Duration::from_secs(10)).await, Outcome::Failed(_)));
}

/// Sends three reports to a collector whose `POST` answers `answer`. Returns the last outcome, and the methods of all
/// requests.
async fn posted(answer: &'static str) -> (Outcome, Vec<String>) {
    let (url, seen) = server(move |path| match path.split('?').next().unwrap() {
        "/a/nuevo" if answer == DENIED => answer.into(),
        "/a/nuevo" => format!("{OK}Atalaya-Collector: 1\r\n"),
        "/a/api/v1/reports" => answer.into(),
        _ => "HTTP/1.1 500 Path\r\n".into(),
    })
    .await;
    let api = api(url.join("a/nuevo?token=x").unwrap(), ApiMethod::Auto);
    if answer == DENIED {
        api.full_reports.start();
    }
    let mut outcome = Outcome::Accepted;
    for _ in 0..3 {
        outcome = send(&api).await;
    }
    let seen = seen.lock().unwrap();
    assert!(seen.iter().all(|head| head.contains("idempotency-key: 7-3\r\n")), "{seen:?}");
    let posts = seen.iter().filter(|head| head.starts_with("post"));
    assert!(posts.into_iter().all(|head| head.contains("authorization: bearer x\r\n")), "{seen:?}");
    (outcome, seen.iter().map(|head| head.split(' ').next().unwrap().to_owned()).collect())
}

const DENIED: &str = "HTTP/1.1 401 No\r\nAtalaya-Collector: 1\r\n";

#[tokio::test]
async fn api_client_sends_full_reports_once_it_has_found_a_collector() {
    let (outcome, methods) = posted("HTTP/1.1 201 Created\r\nAtalaya-Collector: 1\r\n").await;
    assert_eq!((outcome, &*methods.join(" ")), (Outcome::Accepted, "get post post"));
    let (outcome, methods) = posted("HTTP/1.1 503 Later\r\nAtalaya-Collector: 1\r\n").await;
    assert!(reason(&outcome).contains("503"), "{outcome:?}");
    assert_eq!(methods.join(" "), "get post post", "it is tried again in the same way");
}

#[tokio::test]
async fn api_client_returns_to_get_if_full_reports_are_refused() {
    for answer in [
        "HTTP/1.1 403 No\r\nAtalaya-Collector: 1\r\n",
        "HTTP/1.1 404 No\r\n",
        "HTTP/1.1 405 No\r\n",
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 302 Sign in\r\nLocation: /sign-in\r\n",
        "HTTP/1.1 501 No POST\r\n",
    ] {
        let (outcome, methods) = posted(answer).await;
        assert_eq!((outcome, &*methods.join(" ")), (Outcome::Accepted, "get post get get"), "{answer}");
    }
    let (outcome, methods) = posted(DENIED).await;
    assert!(reason(&outcome).contains("401"), "{outcome:?}");
    assert_eq!(methods.join(" "), "post get post get post get", "the token is wrong for both");
}
