//! Tests of the OpenAPI document with external programs: the document is valid, and the collector conforms to it.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;

use atalaya_collector::{Options, SqliteOptions, SqliteStore, Tokens, openapi};
use atalaya_testbed::install::{self, Environment, Part};
use atalaya_testbed::parent_death_command;

use crate::common::{READER, WRITER, full, open_to_all, run};

/// Option of Schemathesis: number of requests of each kind per operation. The seed makes them reproducible.
const EXAMPLES: &str = "20";
const SEED: &str = "20261121";

fn python() -> Command {
    let python = install::ensure(&[Part::Python]).and_then(|()| Environment::API.ready());
    let mut command = parent_death_command(python.expect("Python with Schemathesis"));
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

fn succeeds(output: &Output) {
    let text = [&output.stdout[..], &output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&text));
}

#[test]
fn openapi_document_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("openapi.json");
    let document = openapi().unwrap();
    assert!(document.contains(r#""openapi": "3.1"#));
    std::fs::write(&file, document).unwrap();
    succeeds(&python().args(["-m", "openapi_spec_validator"]).arg(file).output().unwrap());
}

/// Checks that requests which the document permits are accepted, that all others are refused, and that answers conform.
async fn conforms(tokens: Tokens, more: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(SqliteOptions::new(folder.path().join("reports.db"))).unwrap();
    let collector = run(Arc::new(store), Options { tokens, ..open_to_all() }).await;
    // Store some reports to return.
    let batch: Vec<_> = (1..=20).map(|cycle| full(1, cycle, 1.5)).collect();
    let sent = collector.post("/api/v1/reports").bearer_auth(WRITER).json(&batch).send().await.unwrap();
    assert_eq!(sent.status(), 200);
    let mut command = python();
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testbed/api");
    let settings = hooks.join("schemathesis.toml");
    command.current_dir(folder.path()).env("PYTHONPATH", hooks).env("SCHEMATHESIS_HOOKS", "hooks");
    command.args(["-m", "schemathesis.cli", "--no-color", "--config-file"]).arg(settings);
    command.args(["run", &collector.url("/api/v1/openapi.json")]);
    // The address in the document is relative to the document.
    command.args(["--url", &collector.url("")]);
    // The stream does not end, so it is excluded.
    command.args(["--exclude-path", "/api/v1/stream", "--checks", "all", "--continue-on-failure"]);
    command.args(["--max-examples", EXAMPLES, "--seed", SEED, "--request-timeout", "30"]).args(more);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    succeeds(&output);
    let report = String::from_utf8_lossy(&output.stdout);
    let count = |what: &str| {
        let line = report.lines().find_map(|line| line.trim().strip_prefix(what)).unwrap_or_default();
        line.split('/').map(|count| count.trim().parse::<u32>().unwrap()).collect::<Vec<_>>()
    };
    // All operations except the stream.
    let (selected, tested) = (count("Selected:"), count("Tested:"));
    assert_eq!((tested[0], selected[0]), (selected[0], selected[1] - 1), "{report}");
    collector.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collector_conforms_to_its_document() {
    conforms(Tokens::none(), &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collector_with_tokens_conforms_to_its_document() {
    let tokens = Tokens::parse(&format!("write {WRITER}\nread {WRITER}\nread {READER}")).unwrap();
    conforms(tokens, &["--header", &format!("Authorization: Bearer {WRITER}")]).await;
}
