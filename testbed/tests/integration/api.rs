//! The HTTP listener in each of its modes, with raw HTTP requests.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use atalaya_testbed::{Api, ApiMode};

const SECONDS: Duration = Duration::from_secs(10);

fn connect(api: &Api) -> std::io::Result<TcpStream> {
    let address = api.base_url();
    let stream = TcpStream::connect(address.trim_start_matches("http://").trim_end_matches('/'))?;
    stream.set_read_timeout(Some(SECONDS))?;
    Ok(stream)
}

/// Sends a request on a connection that is closed after it, and returns the complete answer.
fn ask(api: &Api, request: &str) -> String {
    let mut stream = connect(api).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

const GET: &str =
    "GET /nuevo?dato=78.4&a+b=%C3%A1 HTTP/1.1\r\nHost: x\r\nUser-Agent: test/1\r\nConnection: close\r\n\r\n";

#[test]
fn accepts_and_records_a_get() {
    let api = Api::start();
    assert_eq!(api.url(), format!("{}nuevo", api.base_url()));
    assert!(ask(&api, GET).starts_with("HTTP/1.1 200 "));
    let [request] = &api.requests()[..] else { panic!("one request, not {:?}", api.requests()) };
    assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/nuevo"));
    assert_eq!(request.query[1], ("a b".to_owned(), "á".to_owned()));
    assert_eq!(request.dato(), Some(78.4));
    assert_eq!(request.agent(), Some("test/1"));
    assert_eq!(request.answered, Some(200));
    assert!(request.wall.elapsed().unwrap() < SECONDS && request.at.elapsed() < SECONDS);
}

#[test]
fn keeps_each_key_once_and_may_keep_one_whatever_it_answers() {
    let api = Api::start();
    let get = |key: &str| {
        let mut stream = connect(&api).unwrap();
        let head = "GET /nuevo?dato=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
        stream.write_all(format!("{head}Idempotency-Key: {key}\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        // A cut connection may end with an error.
        let _ = stream.read_to_string(&mut answer);
        answer.get(9..12).unwrap_or_default().to_owned()
    };
    let modes = [ApiMode::Once, ApiMode::KeepAndAnswer(500), ApiMode::KeepAndCut, ApiMode::Status(500)];
    let mut answers = Vec::new();
    for (key, mode) in ["a", "b", "c", "d"].into_iter().zip(modes) {
        api.set(mode);
        answers.push(get(key));
    }
    assert_eq!(answers, ["200", "500", "", "500"]);
    api.set(ApiMode::Once);
    assert_eq!(["a", "b", "c", "d", "d"].map(get), ["409", "409", "409", "200", "409"]);
    let kept: Vec<_> = api.requests().iter().map(|request| request.kept).collect();
    assert_eq!(kept, [true, true, true, false, false, false, false, true, false]);
}

#[test]
#[should_panic(
    expected = "two averages: not within 50ms; 1 requests, at last:\n  GET /nuevo?dato=78.4&a b=á -> 200"
)]
fn says_what_did_not_come_and_what_did() {
    let api = Api::start();
    ask(&api, GET);
    api.wait_for("two averages", Duration::from_millis(50), |requests| requests.len() == 2);
}

#[test]
fn a_watcher_sees_each_request() {
    let (sender, watched) = std::sync::mpsc::channel();
    let api = Api::start_watched(move |request| sender.send(request.dato()).unwrap());
    ask(&api, GET);
    assert_eq!(watched.recv_timeout(SECONDS), Ok(Some(78.4)));
}
