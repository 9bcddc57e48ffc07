use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::{fs, thread};

use atalaya_config::ReceiverConfig;
use atalaya_testbed::{Api, ApiMode, Scratch, Tls};

use super::*;
use crate::outputs::test_support::{SHORT, TIMEOUT, config, failed, located, sender};

const SECRET: &str = "s3cret-pass";

fn client(config: &OutputConfig) -> HttpClient {
    HttpClient::new(config, parse_url(config).unwrap(), "Bearer", &sender("1")).unwrap()
}

async fn post(client: &HttpClient, timeout: Duration) -> Result<Answer, String> {
    client.post(HeaderMap::new(), b"body".to_vec(), timeout).await
}

async fn outcome(client: &HttpClient) -> Outcome {
    post(client, TIMEOUT).await.map_or_else(Outcome::Failed, Answer::outcome)
}

/// Starts a server that answers each connection with this text, repeated until the client closes it.
fn server(answer: &'static str, repeats: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/write", listener.local_addr().unwrap());
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (mut request, mut part) = (Vec::new(), [0; 4096]);
            while !request.ends_with(b"body") {
                match stream.read(&mut part) {
                    Ok(length @ 1..) => request.extend_from_slice(&part[..length]),
                    _ => break,
                }
            }
            for _ in 0..repeats {
                if stream.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    url
}

#[tokio::test]
async fn status_of_a_receiver_decides_the_outcome() {
    let api = Api::start();
    let client = client(&config(&api.url(), ReceiverConfig::Webhook));
    for (statuses, wanted) in [
        (&[200, 204][..], "Accepted"),
        (&[400, 413, 415, 422], "Refused"),
        (&[401, 403, 404, 409, 429, 500, 503], "Failed"),
    ] {
        for status in statuses {
            api.set(ApiMode::Status(*status));
            let outcome = format!("{:?}", outcome(&client).await);
            assert!(outcome.starts_with(wanted), "{status}: {outcome}");
        }
    }
    api.set(ApiMode::Refuse);
    // The first request may still have the connection that was cut.
    failed(outcome(&client).await);
    assert!(failed(outcome(&client).await).contains("cannot connect"));
    api.set(ApiMode::Hang);
    assert_eq!(post(&client, SHORT).await.unwrap_err(), "no answer within 500ms");
}

#[tokio::test]
async fn credentials_are_read_from_their_file_again_after_401_and_are_never_shown() {
    let (api, folder) = (Api::start(), Scratch::new("secrets"));
    let file = folder.path().join("secret");
    let mut settings = config(&api.url(), ReceiverConfig::Webhook);
    settings.token_file = Some(located(file.to_str().unwrap()));
    let token = client(&settings);
    (settings.user, settings.password_file) = (Some(located("ana")), settings.token_file.take());
    let basic = client(&settings);
    let headers =
        |api: &Api| api.requests().last().and_then(|last| last.header("authorization").map(str::to_owned));
    for (client, first, second) in [
        (token, format!("Bearer {SECRET}"), "Bearer other".to_owned()),
        (basic, "Basic YW5hOnMzY3JldC1wYXNz".to_owned(), "Basic YW5hOm90aGVy".to_owned()),
    ] {
        let _ = fs::remove_file(&file);
        assert!(failed(outcome(&client).await).contains(file.to_str().unwrap()), "the file is missing");
        fs::write(&file, format!("{SECRET}\n")).unwrap();
        api.set(ApiMode::Status(401));
        let reason = failed(outcome(&client).await);
        assert_eq!(headers(&api).as_deref(), Some(first.as_str()));
        let shown = format!("{reason} {client:?}");
        assert!(
            reason.contains(file.to_str().unwrap()) && !shown.contains(SECRET) && !shown.contains("YW5h"),
            "{shown}"
        );
        fs::write(&file, "other").unwrap();
        api.set(ApiMode::Accept);
        assert_eq!(outcome(&client).await, Outcome::Accepted(Vec::new()));
        assert_eq!(headers(&api), Some(second));
        for wrong in ["", "\n", "two\nlines"] {
            fs::write(&file, wrong).unwrap();
            client.credentials.read_again();
            assert!(failed(outcome(&client).await).contains(file.to_str().unwrap()), "{wrong:?}");
        }
    }
}

#[tokio::test]
async fn answers_are_bounded_and_redirects_are_not_followed() {
    let endless = server("HTTP/1.1 400 Bad\r\n\r\n", 1_000_000);
    let answer = post(&client(&config(&endless, ReceiverConfig::Webhook)), TIMEOUT).await.unwrap();
    assert_eq!((answer.status, answer.body.len()), (StatusCode::BAD_REQUEST, MAX_BODY));
    assert!(
        answer.reason.chars().count() < MAX_DETAIL + 50 && !answer.reason.contains('\r'),
        "{}",
        answer.reason
    );
    let elsewhere = Api::start();
    let location =
        format!("HTTP/1.1 308 There\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n", elsewhere.url());
    let redirects = server(location.leak(), 1);
    let reason = failed(outcome(&client(&config(&redirects, ReceiverConfig::Webhook))).await);
    assert!(reason.contains(&elsewhere.url()) && elsewhere.requests().is_empty(), "{reason}");
    let page = server("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>", 1);
    let answer = post(&client(&config(&page, ReceiverConfig::Webhook)), TIMEOUT).await.unwrap();
    assert!(failed(answer.outcome_of_api()).contains("HTML"), "a login page is not a receiver");
}

#[tokio::test]
async fn receiver_with_tls_needs_a_trusted_certificate() {
    let (api, folder) = (Api::start(), Scratch::new("tls"));
    let port = api.base_url().trim_end_matches('/').rsplit(':').next().unwrap().parse().unwrap();
    let tls = Tls::before(port, "127.0.0.1");
    let file = folder.path().join("ca.pem");
    fs::write(&file, tls.certificate()).unwrap();
    let mut settings = config(&format!("https://127.0.0.1:{}/write", tls.port()), ReceiverConfig::Webhook);
    let reason = failed(outcome(&client(&settings)).await);
    assert!(reason.contains("certificate"), "{reason}");
    settings.ca = Some(located(file.to_str().unwrap()));
    assert_eq!(outcome(&client(&settings)).await, Outcome::Accepted(Vec::new()));
    for wrong in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n"] {
        fs::write(&file, wrong).unwrap();
        let url = parse_url(&settings).unwrap();
        let problem = HttpClient::new(&settings, url, "Bearer", &sender("1")).unwrap_err();
        assert!(problem.contains("ca.pem"), "{problem}");
    }
}

#[test]
fn addresses_and_users_that_cannot_be_used_are_refused() {
    for url in ["http://ana:x@h/", "http://ana@h/", "http://h/#x", "http://h:99999/", "http://[h/"] {
        let problem = parse_url(&config(url, ReceiverConfig::Webhook)).unwrap_err();
        assert!(problem.contains("address"), "{url}: {problem}");
    }
    let mut settings = config("http://h/", ReceiverConfig::Webhook);
    settings.user = Some(located("a:b"));
    assert!(Credentials::new(&settings, "Bearer").unwrap_err().contains("colon"));
}
