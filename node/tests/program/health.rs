//! `atalaya health`, the health check of a container.

use std::net::TcpListener;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use atalaya_testbed::{Api, ApiMode};

fn health(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_atalaya"));
    // A proxy in the environment is not used.
    command.env_clear().env("http_proxy", "http://127.0.0.1:1").arg("health").args(words).output().unwrap()
}

fn ends(output: &Output, code: i32, says: &str) {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{complaint}");
    assert!(complaint.contains(says), "{complaint}");
}

/// An address where no process listens.
fn nobody() -> String {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    format!("http://127.0.0.1:{port}/readyz")
}

#[test]
fn health_exit_code_follows_the_http_status() {
    let api = Api::start();
    ends(&health(&[&api.url()]), 0, "");
    for status in [503, 404, 302] {
        api.set(ApiMode::Status(status));
        ends(&health(&[&api.url()]), 69, &status.to_string());
    }
    api.set(ApiMode::Refuse);
    ends(&health(&[&api.url()]), 69, "onnect");
}

#[test]
fn health_times_out_without_an_answer() {
    let api = Api::start();
    api.set(ApiMode::Hang);
    let start = Instant::now();
    ends(&health(&[&api.url(), "--timeout", "300ms"]), 69, "no response within 300ms");
    assert!(start.elapsed() >= Duration::from_millis(300));
}

#[test]
fn health_uses_the_first_address_that_accepts() {
    let (first, second) = (Api::start(), Api::start());
    ends(&health(&[&nobody(), &first.url()]), 0, "");
    first.set(ApiMode::Status(503));
    ends(&health(&[&nobody(), &first.url(), &second.url()]), 69, "503");
    assert!(second.requests().is_empty());
    ends(&health(&[&nobody(), &nobody()]), 69, "; ");
}

#[test]
fn health_refuses_an_invalid_address() {
    for words in [
        &[][..],
        &["127.0.0.1:80"],
        &["file:///etc/passwd"],
        &["http://"],
        &["http://a/", "--timeout", "soon"],
    ] {
        ends(&health(words), 64, "");
    }
}

#[test]
fn number_in_place_of_a_command_runs_a_node() {
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_atalaya"));
        command.env_clear().env("ZK_HOST", "127.0.0.1:1").args(words);
        command.args(["--connect-timeout", "1ms", "--state-dir", "off"]).output().unwrap()
    };
    ends(&run(&["1"]), 69, "127.0.0.1:1");
    ends(&run(&["one"]), 64, "one");
}
