//! Executes the action `run` of a board, with a lease that is always renewed, as a worker does. A process of
//! `tests/program/task_guardian.rs`, which stops and kills it.
//!
//! Usage: `task_worker ATALAYA FOLDER`: the program that becomes the guardian process, and a folder with `boards.toml`.
//! The result is written to the file `execution` in that folder.
#![allow(clippy::unwrap_used, reason = "a failed test process panics")]

#[cfg(not(target_os = "linux"))]
fn main() {}

#[cfg(target_os = "linux")]
#[tokio::main]
async fn main() {
    use std::future::pending;
    use std::path::PathBuf;
    use std::time::Duration;

    use atalaya::settings::{Env, FleetArgs, Settings};
    use atalaya::tasks::actions::{ActionHandles, BoardActions, ExecutionRequest, Executor, LocalLease};
    use atalaya_config::Boards;
    use tokio::sync::watch;

    let [program, folder] = [1, 2].map(|number| PathBuf::from(std::env::args_os().nth(number).unwrap()));
    let text = std::fs::read_to_string(folder.join("boards.toml")).unwrap();
    let boards = Boards::parse(&text, "boards.toml").unwrap();
    let actions = BoardActions::of("b", &boards.boards["b"]);
    let settings = Settings::assemble(&FleetArgs::default(), &boards, Env { variable: &|_| None }).unwrap();
    let executor = Executor::new("7", actions, &settings, ActionHandles::default()).with_program(program);
    let request = ExecutionRequest {
        file: None,
        task: "t-0000000001".to_owned(),
        action: "run".to_owned(),
        args: [("x".to_owned(), "1".to_owned())].into(),
        attempt: 2,
        fence: 99,
        run_for: None,
    };
    let session_timeout = Duration::from_secs(20);
    let lease = move || LocalLease { remaining: session_timeout / 2, session_timeout };
    let execution = executor.execute(request, lease, watch::Sender::default(), pending()).await;
    std::fs::write(folder.join("execution"), format!("{execution:?}")).unwrap();
}
