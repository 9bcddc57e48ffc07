//! `atalaya collect` as a command: start, refusals, shutdown.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use atalaya_testbed::{Collector, Process, Scratch, clean_command};

use crate::common::{DEADLINE, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_atalaya");
/// The grace period for pending requests at shutdown, plus a margin for a busy machine.
const ENDS: Duration = Duration::from_secs(15);

fn collect(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> Process {
    let mut command = clean_command(folder, BINARY);
    command.arg("collect").args(args).envs(variables.iter().copied());
    Process::spawn(command)
}

fn ended(folder: &Path, args: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut process = collect(folder, args, variables);
    let exit = process.wait_exit(DEADLINE);
    let lines: Vec<String> = process.log().into_iter().map(|line| line.text).collect();
    (exit.code(), lines.join("\n"))
}

#[test]
fn collect_help_has_examples() {
    let folder = Scratch::new("collect");
    let (code, help) = ended(folder.path(), &["--help"], &[]);
    assert_eq!(code, Some(0));
    for word in ["Examples:", "--token-file tokens", "SIGHUP", "ATALAYA_STORE", "[default: 127.0.0.1:8000]"] {
        assert!(help.contains(word), "{word} is not in\n{help}");
    }
}

#[test]
fn collect_refuses_wrong_arguments() {
    let folder = Scratch::new("collect");
    std::fs::write(folder.path().join("tokens"), "write short\n").unwrap();
    std::fs::create_dir(folder.path().join("folder")).unwrap();
    let refused = |args: &[&str], variables: &[(&str, &str)], code: i32, words: &[&str]| {
        let (exit, said) = ended(folder.path(), args, variables);
        assert_eq!(exit, Some(code), "{args:?} {variables:?}: {said}");
        assert!(words.iter().all(|word| said.contains(word)), "{args:?} does not say {words:?}: {said}");
        assert!(said.len() < 2_000 && !said.contains("panicked"), "{said}");
    };
    refused(&["--listne", "x"], &[], 64, &["--listen"]);
    refused(&["--rate", "0"], &[], 64, &["--rate", "0.1"]);
    refused(&["--keep-reports", "soon"], &[], 64, &["--keep-reports", "duration"]);
    refused(&["--tls-key", "k"], &[], 64, &["--tls-certificate"]);
    refused(&[], &[("ATALAYA_KEEP_REPORTS", "1s")], 78, &["ATALAYA_KEEP_REPORTS", "hour"]);
    refused(&["--token-file", "tokens"], &[], 78, &["tokens", "line 1"]);
    refused(&["--token-file", "missing"], &[], 78, &["missing"]);
    refused(&["--tls-certificate", "c", "--tls-key", "k"], &[], 78, &["c: no certificate"]);
    refused(&["--store", "paper:reports"], &[], 78, &["paper", "sqlite:"]);
}

#[test]
fn collect_reports_a_port_in_use() {
    let folder = Scratch::new("collect");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = ended(folder.path(), &["--listen", &address], &[]);
    assert_eq!(code, Some(69), "{said}");
    assert!(said.contains(&address) && said.contains("--listen") && said.contains("in use"), "{said}");
}

#[test]
fn collector_answers_503_while_its_store_cannot_be_written() {
    let collector = Collector::start(BINARY, &["--store", "sqlite:later/reports.db"]);
    let mut collector = collector;
    collector.process().wait_for_line("cannot be stored yet", DEADLINE);
    let answer = collector.get("/nuevo?dato=1.5");
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(collector.get("/readyz").status, 503);
    assert_eq!(collector.get("/healthz").status, 200, "it lives");
    std::fs::create_dir(collector.folder().join("later")).unwrap();
    assert_eq!(collector.get("/nuevo?dato=2.5").status, 200);
    assert_eq!(collector.get("/readyz").status, 200);
    let means: Vec<f64> = collector.reports().iter().map(|held| held.mean).collect();
    assert_eq!(means, [2.5], "a refused report is not recorded");
    assert!(collector.end().success());
}

/// At an orderly shutdown, every recorded report is answered, and every answered report is recorded.
#[test]
fn collector_answers_accepted_reports_before_it_ends_by_sigterm() {
    const CLIENTS: usize = 8;
    let mut collector = Collector::start(BINARY, &[]);
    let (url, begun) = (collector.url(), AtomicUsize::new(0));
    let acknowledged: BTreeSet<String> = thread::scope(|scope| {
        let client = |number: usize| {
            let (url, begun) = (url.clone(), &begun);
            move || {
                // The connection is kept alive.
                let config = ureq::Agent::config_builder().proxy(None).timeout_global(Some(DEADLINE)).build();
                let agent = ureq::Agent::new_with_config(config);
                let mut known = Vec::new();
                for cycle in 1.. {
                    let key = format!("7-{}", cycle * CLIENTS + number);
                    begun.fetch_add(1, Ordering::Relaxed);
                    let sent = agent.get(format!("{url}?dato=1")).header("idempotency-key", &key).call();
                    match sent {
                        Ok(_) => known.push(key),
                        Err(ureq::Error::StatusCode(status)) => panic!("{key}: {status}"),
                        // The collector has ended.
                        Err(_) => break,
                    }
                }
                known
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|number| scope.spawn(client(number))).collect();
        wait_until("reports to be under way", || begun.load(Ordering::Relaxed) > 200);
        let told = Instant::now();
        collector.process().term();
        let exit = collector.process().wait_exit(ENDS);
        assert_eq!(exit.code(), Some(0), "after {:?}", told.elapsed());
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    collector.restart();
    let held: BTreeSet<String> =
        collector.reports().iter().filter_map(atalaya_testbed::StoredReport::key).collect();
    assert_eq!(held, acknowledged);
    assert!(held.len() > 100, "{}", held.len());
    assert!(collector.end().success());
}

#[test]
fn collector_ends_in_time_although_clients_are_slow() {
    use std::io::Write as _;
    let mut collector = Collector::start(BINARY, &[]);
    // One client sends nothing, one stops in the middle of its request, one does not read the event stream.
    let connect = || std::net::TcpStream::connect(collector.address()).unwrap();
    let (_silent, mut half, mut stream) = (connect(), connect(), connect());
    half.write_all(b"POST /nuevo HTTP/1.1\r\nhost: h\r\ncontent-length: 100\r\n\r\n{").unwrap();
    stream.write_all(b"GET /api/v1/stream HTTP/1.1\r\nhost: h\r\n\r\n").unwrap();
    assert_eq!(collector.get("/nuevo?dato=1").status, 200);
    collector.process().term();
    assert_eq!(collector.process().wait_exit(ENDS).code(), Some(0));
}

#[test]
fn collector_reads_its_tokens_again_at_sighup() {
    const OLD: &str = "0123456789abcdef-old";
    const NEW: &str = "0123456789abcdef-new";
    let folder = Scratch::new("collect");
    let tokens = folder.write("tokens", format!("write {OLD}\nread *\n"));
    let mut collector = Collector::start(BINARY, &["--token-file", &tokens.display().to_string()]);
    let writes = |collector: &Collector, token| {
        collector.try_get("/nuevo?dato=1", Some(token), DEADLINE).unwrap().status
    };
    assert_eq!((writes(&collector, OLD), writes(&collector, NEW)), (200, 401));
    std::fs::write(&tokens, "write\n").unwrap();
    collector.process().hup();
    collector.process().wait_for_line("the previous tokens remain valid", DEADLINE);
    assert_eq!((writes(&collector, OLD), writes(&collector, NEW)), (200, 401));
    std::fs::write(&tokens, format!("write {NEW}\nread *\n")).unwrap();
    collector.process().hup();
    collector.process().wait_for_line("token file reloaded", DEADLINE);
    assert_eq!((writes(&collector, OLD), writes(&collector, NEW)), (401, 200));
    assert!(collector.end().success());
    let log: String = collector.process().log().into_iter().map(|line| line.text + "\n").collect();
    assert!(!log.contains(OLD) && !log.contains(NEW), "{log}");
}

/// Sends a request with these headers. Returns the status.
fn status_of(address: &str, path: &str, headers: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

#[test]
fn collector_without_tokens_answers_only_to_known_hosts_and_not_to_pages_of_other_sites() {
    let mut collector =
        Collector::start(BINARY, &["--allowed-host", "reports.example", "--allowed-host", "b.example"]);
    let address = collector.address();
    let status = |headers: &str| status_of(&address, "/nuevo?dato=1", headers);
    for known in ["reports.example", "b.example:8000", "127.0.0.1:8000", "localhost", "collector:8000"] {
        assert_eq!(status(&format!("Host: {known}\r\n")), "200", "{known}");
    }
    assert_eq!(status("Host: evil.example\r\n"), "421");
    assert_eq!(status("Host: 127.0.0.1\r\nSec-Fetch-Site: cross-site\r\n"), "403");
    assert_eq!(status("Host: reports.example\r\nOrigin: https://reports.example\r\n"), "200");
    assert_eq!(collector.reports().len(), 6);
    collector.process().wait_for_line("unknown Host: see --allowed-host", DEADLINE);
    collector.restart_with(&["--allowed-host", "*"]);
    assert_eq!(status("Host: evil.example\r\n"), "200");
    assert!(collector.end().success());
}

#[test]
fn collector_logs_tokens_that_it_refuses_without_showing_them() {
    const WRITER: &str = "0123456789abcdef-w";
    const GUESS: &str = "0123456789abcdef-guess";
    let folder = Scratch::new("collect");
    let tokens = folder.write("tokens", format!("write {WRITER}\n"));
    let mut collector = Collector::start(BINARY, &["--token-file", &tokens.display().to_string()]);
    for _ in 0..20 {
        assert_eq!(collector.try_get("/nuevo?dato=1", Some(GUESS), DEADLINE).unwrap().status, 401);
        assert_eq!(collector.get(&format!("/nuevo?dato=1&token={GUESS}")).status, 401);
    }
    assert_eq!(collector.get("/nuevo?dato=1").status, 401);
    assert_eq!(collector.try_get("/listar", Some(WRITER), DEADLINE).unwrap().status, 403);
    for why in ["unknown token", "request refused: no token", "token of another role"] {
        let line = collector.process().wait_for_line(why, DEADLINE);
        assert!(line.text.contains("127.0.0.1"), "{}", line.text);
    }
    assert!(collector.end().success());
    let log: String = collector.process().log().into_iter().map(|line| line.text + "\n").collect();
    assert!(!log.contains(GUESS) && !log.contains(WRITER), "{log}");
    // One log line per kind in ten seconds.
    assert!(log.matches("unknown token").count() < 10, "{log}");
}

#[test]
fn collector_warns_of_secrets_that_others_can_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Scratch::new("collect");
    let (certificate, key) = atalaya_testbed::make_certificate(folder.path(), "127.0.0.1");
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "write 0123456789abcdef-w\n").unwrap();
    let set =
        |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    let paths = [&certificate, &key, &tokens].map(|path| path.display().to_string());
    let args = ["--tls-certificate", &paths[0], "--tls-key", &paths[1], "--token-file", &paths[2]];
    for (mode, remedy) in [(0o640, Some("chmod g-rwx")), (0o604, Some("chmod go-rwx")), (0o600, None)] {
        set(&key, mode);
        set(&tokens, mode);
        let mut collector = Collector::start(BINARY, &args);
        assert!(collector.end().success());
        let log: Vec<String> = collector.process().log().into_iter().map(|line| line.text).collect();
        let warnings: Vec<&String> = log.iter().filter(|line| line.contains("is not private")).collect();
        match remedy {
            Some(remedy) => {
                assert_eq!(warnings.len(), 2, "{log:#?}");
                for path in &paths[1..] {
                    assert!(
                        warnings.iter().any(|line| line.contains(&format!("{remedy} {path}"))),
                        "{log:#?}"
                    );
                }
            }
            None => assert!(warnings.is_empty(), "{log:#?}"),
        }
    }
}

#[test]
fn collector_listens_at_all_addresses_without_a_host() {
    let folder = Scratch::new("collect");
    let mut process = collect(folder.path(), &["--listen", ":0"], &[]);
    let line = process.wait_for_line("listening at http://", DEADLINE);
    let address = line.text.split("http://").nth(1).unwrap().split('/').next().unwrap();
    let port = address.rsplit(':').next().unwrap();
    for host in ["127.0.0.1", "127.0.0.2"] {
        assert_eq!(status_of(&format!("{host}:{port}"), "/healthz", "Host: x\r\n"), "200");
    }
    process.term();
    assert_eq!(process.wait_exit(ENDS).code(), Some(0));
    for (wrong, word) in [("8000", "no port"), ("http://127.0.0.1:8000", "URL"), (":70000", "65535")] {
        let (code, said) = ended(folder.path(), &["--listen", wrong], &[]);
        assert_eq!(code, Some(64), "{said}");
        assert!(said.contains(word) && said.contains("--listen"), "{said}");
        let (code, said) = ended(folder.path(), &[], &[("ATALAYA_LISTEN", wrong)]);
        assert_eq!(code, Some(78), "{said}");
    }
}
