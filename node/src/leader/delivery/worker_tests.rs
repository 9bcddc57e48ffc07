use std::sync::Arc;

use atalaya_hal::boards::ApiMethod;
use reqwest::{Method, StatusCode, Url};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::leader::delivery::queue::{Doubt, Stale};
use crate::model::report::tests::cycle_report;
use crate::settings::api_token::ApiToken;

#[test]
fn a_certificate_that_is_not_valid_now_makes_one_look_at_the_clock() {
    let early = |second: u64| {
        let cause = format!(
            "cannot connect: invalid peer certificate: certificate not valid yet: verification time {second}"
        );
        with_clock(cause, SystemTime::UNIX_EPOCH + Duration::from_secs(second))
    };
    let told = "cannot connect: invalid peer certificate: certificate not valid yet; the clock of this machine \
                says 1970-01-01: is it set?";
    assert_eq!(early(90), told);
    assert_eq!(early(91), told, "one reason, one line of log");
    let other = "cannot connect: invalid peer certificate: UnknownIssuer";
    assert_eq!(with_clock(other.to_owned(), SystemTime::UNIX_EPOCH), other);
}

#[test]
fn secrets_in_the_address_are_not_logged() {
    let url = "https://user:pass@h:8000/nuevo?token=secret".parse().unwrap();
    let api = Api::new(&"1".parse().unwrap(), url, ApiMethod::Get);
    assert_eq!(api.shown(), "https://h:8000/nuevo");
}

#[test]
fn an_api_on_this_machine_is_asked_without_a_proxy() {
    let here = |url: &str| Api::new(&"1".parse().unwrap(), url.parse().unwrap(), ApiMethod::Get).is_here();
    assert!(here("http://127.0.0.1:8000/nuevo") && here("http://localhost/") && here("http://[::1]:8000/"));
    assert!(!here("http://10.0.0.1:8000/nuevo") && !here("https://localhost.example/"));
}

#[test]
fn what_a_status_means() {
    let kind = |status: u16| match response::from_status(StatusCode::from_u16(status).unwrap()) {
        Outcome::Accepted => "accepted",
        Outcome::Rejected(_) => "rejected",
        Outcome::CommitError(_) => "failed",
        Outcome::Doubtful(_) => "failed, perhaps only this one",
        other => panic!("{other:?}"),
    };
    for (status, wanted) in [
        (200, "accepted"),
        (201, "accepted"),
        (202, "accepted"),
        (203, "accepted"),
        (204, "accepted"),
        (206, "failed, perhaps only this one"),
        (207, "failed, perhaps only this one"),
        (409, "accepted"),
        (400, "rejected"),
        (404, "rejected"),
        (408, "failed"),
        (429, "failed"),
        (304, "failed, perhaps only this one"),
        (500, "failed, perhaps only this one"),
        (503, "failed, perhaps only this one"),
    ] {
        assert_eq!(kind(status), wanted, "{status}");
    }
}

/// Notes the heads of the requests that it gets, and answers each with what `answer` makes of its path.
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
            // An answer with a body has its own length.
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

async fn sent(api: &Api) -> Outcome {
    let report = cycle_report(7, 3, None).reports().next().unwrap();
    send(api, &report, Duration::from_secs(10)).await
}

fn api(url: Url, method: ApiMethod) -> Api {
    Api::new(&"1".parse().unwrap(), url, method)
}

/// Why a report is not accepted, for answers that may be about this one or about all.
fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::CommitError(reason) | Outcome::Doubtful(Doubt { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\n";

#[tokio::test]
async fn the_token_is_shown_to_the_api_and_not_where_that_points() {
    let (elsewhere, seen_elsewhere) = server(|_| OK.into()).await;
    let (url, seen) = server(move |path| match path {
        "/other?dato=79.5" => format!("HTTP/1.1 307 Other\r\nLocation: {elsewhere}nuevo\r\n"),
        "/here?dato=79.5" => "HTTP/1.1 307 Here\r\nLocation: /nuevo\r\n".into(),
        _ => OK.into(),
    })
    .await;
    let shown = |heads: &std::sync::Mutex<Vec<String>>| {
        let line = format!("authorization: bearer {SECRET}");
        heads.lock().unwrap().drain(..).map(|head| head.contains(&line)).collect::<Vec<_>>()
    };
    for (path, here, there) in
        [("nuevo", &[true][..], &[][..]), ("here", &[true, true], &[]), ("other", &[true], &[])]
    {
        let token = ApiToken::given(SECRET).unwrap().with_origin(Some(url.clone()));
        let api = api(url.join(path).unwrap(), ApiMethod::Get).showing(Some(token));
        let outcome = sent(&api).await;
        assert_eq!(outcome == Outcome::Accepted, path != "other", "{path}: {outcome:?}");
        assert_eq!((&*shown(&seen), &*shown(&seen_elsewhere)), (here, there), "{path}");
    }
    // It takes the place of a password in the address, and goes nowhere else by itself.
    let mut with_password = url.join("nuevo").unwrap();
    with_password.set_username("user").unwrap();
    let token = ApiToken::given(SECRET).unwrap().with_origin(Some(url.clone()));
    let api = api(with_password, ApiMethod::Post).showing(Some(token));
    assert_eq!(sent(&api).await, Outcome::Accepted);
    let head = seen.lock().unwrap().remove(0);
    assert_eq!(head.matches("authorization:").count(), 1, "{head}");
    let stray = api.request(Method::GET, "http://127.0.0.1:9/".parse().unwrap()).unwrap().build().unwrap();
    assert!(!stray.headers().contains_key("authorization"));
}

#[tokio::test]
async fn a_token_is_not_shown_to_an_api_that_zookeeper_tells_of() {
    let (url, seen) = server(|_| "HTTP/1.1 401 No\r\n".into()).await;
    let own = "http://127.0.0.1:9/nuevo".parse().unwrap();
    let api = api(url, ApiMethod::Get).showing(Some(ApiToken::given(SECRET).unwrap().with_origin(Some(own))));
    let outcome = sent(&api).await;
    assert!(!api.has_token(), "nor with the status of the fleet: a token in the address has its place");
    assert!(reason(&outcome).contains("is not sent there: it is bound to http://127.0.0.1:9"), "{outcome:?}");
    assert!(!seen.lock().unwrap().remove(0).contains("authorization"));
}

#[tokio::test]
async fn a_posted_report_does_not_become_a_get_without_it() {
    for (status, posted) in [(301, false), (302, false), (303, false), (307, true), (308, true)] {
        let (url, seen) = server(move |path| match path {
            "/nuevo" => format!("HTTP/1.1 {status} Moved\r\nLocation: /new\r\n"),
            _ => OK.into(),
        })
        .await;
        let outcome = sent(&api(url.join("nuevo").unwrap(), ApiMethod::Post)).await;
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
async fn who_is_not_known_waits() {
    for status in [401, 403, 407] {
        let (url, _) = server(move |_| format!("HTTP/1.1 {status} No\r\n")).await;
        let without = sent(&api(url.clone(), ApiMethod::Get)).await;
        assert!(reason(&without).contains("api_token_file"), "{without:?}");
        let token = ApiToken::given(SECRET).unwrap().with_origin(Some(url.clone()));
        let with = sent(&api(url, ApiMethod::Get).showing(Some(token))).await;
        let reason = reason(&with);
        assert!(reason.contains("ATALAYA_API_TOKEN") && !reason.contains(SECRET), "{with:?}");
    }
}

#[tokio::test]
async fn report_waits_while_the_collector_does_not_answer_to_its_host_name() {
    let (url, _) = server(|_| "HTTP/1.1 421 Misdirected Request\r\n".into()).await;
    let outcome = sent(&api(url, ApiMethod::Post)).await;
    assert!(matches!(&outcome, Outcome::CommitError(reason) if reason.contains("421")), "{outcome:?}");
}

#[tokio::test]
async fn a_token_that_changes_in_its_file_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "of-yesterday").unwrap();
    let (url, seen) = server(|_| "HTTP/1.1 401 No\r\n".into()).await;
    let token = ApiToken::in_file(&path).with_origin(Some(url.clone()));
    token.read().unwrap();
    let api = api(url, ApiMethod::Get).showing(Some(token.clone()));
    sent(&api).await;
    std::fs::write(&path, SECRET).unwrap();
    let line = format!("authorization: bearer {SECRET}");
    let told = async {
        while !seen.lock().unwrap().iter().any(|head| head.contains(&line)) {
            sent(&api).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told).await.expect("the new token is shown");
}

/// An answer with this head and body, whose length is `claimed`.
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
    sent(&api(url.join("nuevo").unwrap(), method)).await
}

#[tokio::test]
async fn redirect_to_a_page_of_html_is_no_acceptance() {
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
async fn redirect_to_another_origin_is_no_acceptance_and_is_not_followed() {
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
        assert_eq!(seen.lock().unwrap().len(), 0, "what a report says goes to the API only");
    }
    let circle = redirected(ApiMethod::Get, "/nuevo?dato=79.5", OK.into()).await;
    assert!(reason(&circle).contains("302"), "{circle:?}");
}

#[tokio::test]
async fn html_from_the_address_itself_is_acceptance_as_flask_answers_plain_strings() {
    let (url, _) = server(|_| with_body("200 OK", "text/html; charset=utf-8", "ok", 2)).await;
    assert_eq!(sent(&api(url.join("nuevo").unwrap(), ApiMethod::Get)).await, Outcome::Accepted);
}

#[tokio::test]
async fn a_status_of_success_counts_whatever_its_body() {
    let huge = "x".repeat(1 << 20);
    for answer in [
        with_body("200 OK", "text/plain", &huge, huge.len()),
        with_body("200 OK", "text/plain", "short", 5_000),
        format!("HTTP/1.1 103 Early Hints\r\n\r\n{}", with_body("200 OK", "text/plain", "ok", 2)),
        with_body("202 Accepted", "text/plain", "ok", 2),
    ] {
        let shown = answer[..60].to_owned();
        let (url, _) = server(move |_| answer.clone()).await;
        let outcome = sent(&api(url.join("nuevo").unwrap(), ApiMethod::Get)).await;
        assert_eq!(outcome, Outcome::Accepted, "{shown}");
    }
    let (url, _) = server(|_| with_body("206 Partial Content", "text/plain", "ok", 2)).await;
    assert!(reason(&sent(&api(url, ApiMethod::Get)).await).contains("206"));
}

#[tokio::test]
async fn a_409_says_whether_the_report_is_recorded() {
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
        (with_body("409 Conflict", problem, stale, 5_000), "breaks off"),
    ] {
        let shown = answer.clone();
        let (url, _) = server(move |_| answer.clone()).await;
        let outcome = format!("{:?}", sent(&api(url, ApiMethod::Get)).await);
        assert!(outcome.contains(wanted), "{shown}: {outcome}");
    }
}

#[tokio::test]
async fn a_request_that_cannot_be_built_is_about_its_report_only() {
    let mut report = cycle_report(7, 3, Some("Cel\r\nX-Evil: 1")).reports().next().unwrap();
    let api = api("http://127.0.0.1:9/nuevo".parse().unwrap(), ApiMethod::Get);
    let outcome = send(&api, &report, Duration::from_secs(10)).await;
    assert!(matches!(&outcome, Outcome::Invalid(reason) if reason.contains("cannot be sent")), "{outcome:?}");
    report.average.unit = None;
    assert!(matches!(send(&api, &report, Duration::from_secs(10)).await, Outcome::CommitError(_)));
}
