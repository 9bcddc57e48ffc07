//! Workers of native tasks in one process, for `cargo xtask bench`: those of `atalaya work`, each with a session of its own.
//! Arguments: HOSTS WORKERS. Prints `ready` when all workers are registered, and serves until its input ends.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "this is a program")]

use std::io::Read as _;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use atalaya::model::acl_policy::AclPolicy;
use atalaya::model::task::paths;
use atalaya::settings::{Env, FleetArgs, Settings};
use atalaya::tasks::actions::{ActionHandles, BoardActions, Executor};
use atalaya::tasks::worker::{Worker, info};
use atalaya_config::Boards;
use atalaya_recipes::{ConnectString, Session, SessionOptions};
use tokio::sync::watch;

/// Longer than a client waits on a busy machine.
const SESSION_TIMEOUT: Duration = Duration::from_secs(40);
const BOARDS: &str = r#"
[boards.bench]
backend = "sim"
sensors = [{ name = "s", chip = "random" }]
[boards.bench.tasks]
allow_unauthenticated = true
"#;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let (hosts, count) = (words.next().context("HOSTS")?, words.next().context("WORKERS")?);
    let (hosts, count): (ConnectString, usize) =
        (hosts.parse().map_err(|error| anyhow!("{error}"))?, count.parse()?);
    let boards = Boards::parse(BOARDS, "bench")?;
    let settings = Settings::assemble(&FleetArgs::default(), &boards, Env { variable: &|_| None })?;
    let options = SessionOptions::new(hosts, SESSION_TIMEOUT);
    let watcher = Session::start(options.clone());
    for number in 0..count {
        let session = Session::start(options.clone());
        let actions = BoardActions::of("bench", boards.boards.get("bench").context("no board")?);
        let handles =
            ActionHandles { sensors: None, leader: None, session: Some(session.clone()), install: None };
        let id = format!("sim{number}");
        let executor = Executor::new(&id, actions, &settings, handles);
        let description = watch::Sender::default();
        let worker = Worker::new(session, &id, executor.clone(), description.subscribe(), AclPolicy::open());
        tokio::spawn(async move {
            tokio::select! {
                conflict = worker.run() => eprintln!("{id}: {conflict}"),
                () = info::follow(&executor, None, &description) => {}
            }
        });
    }
    loop {
        let connection = watcher.connection().await;
        let names = connection.children_or_empty(paths::ALIVE).await.unwrap_or_default();
        if names.len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("ready");
    // The workers run on this thread.
    let end = tokio::task::spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new()));
    end.await??;
    Ok(())
}
