//! Holds the lock at /locks/crane until Ctrl-C, or until it is lost:
//! `cargo run -p atalaya-recipes --example lock -- 127.0.0.1:2181 [read|write]`.
//!
//! Start it twice; stop the holder with Ctrl-C, kill it, or suspend it with Ctrl-Z and resume it, and compare the
//! output.

use std::time::Duration;

use anyhow::Context;
use atalaya_recipes::{Lock, ReadWriteLock, Session, SessionOptions};

const PATH: &str = "/locks/crane";

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut arguments = std::env::args().skip(1);
    let servers =
        arguments.next().context("missing argument: the address of ZooKeeper, host:port")?.parse()?;
    let kind = arguments.next();
    let name = format!("process {}", std::process::id());

    let session = Session::start(SessionOptions::new(servers, Duration::from_secs(10)));
    loop {
        println!("waiting");
        let acquiring = async {
            match kind.as_deref() {
                Some("read") => {
                    ReadWriteLock::new(session.clone(), PATH, name.as_str()).read_lock().acquire().await
                }
                Some("write") => {
                    ReadWriteLock::new(session.clone(), PATH, name.as_str()).write_lock().acquire().await
                }
                _ => Lock::new(session.clone(), PATH, name.as_str()).acquire().await,
            }
        };
        let guard = tokio::select! {
            guard = acquiring => guard?,
            // The dropped call leaves no znode: its background task deletes it before the session is closed.
            result = tokio::signal::ctrl_c() => {
                result.context("cannot wait for Ctrl-C")?;
                break;
            }
        };
        println!("holding it, with the fencing token {}", guard.fencing_token());
        tokio::select! {
            () = guard.lost() => println!("lost"),
            result = tokio::signal::ctrl_c() => {
                result.context("cannot wait for Ctrl-C")?;
                println!("{}", if guard.release().await { "released" } else { "it ends with the session" });
                break;
            }
        }
    }
    session.close(Duration::from_secs(2)).await;
    Ok(())
}
