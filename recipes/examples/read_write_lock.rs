//! Reads, or writes, for three seconds under the lock at /locks/map:
//! `cargo run -p atalaya-recipes --example read_write_lock -- 127.0.0.1:2181 [read|write]`.
//!
//! Start several at once: readers hold the lock together, and a writer waits until it is alone.

use std::time::Duration;

use anyhow::Context;
use atalaya_recipes::{ReadWriteLock, Session, SessionOptions};

const PATH: &str = "/locks/map";

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut arguments = std::env::args().skip(1);
    let servers =
        arguments.next().context("missing argument: the address of ZooKeeper, host:port")?.parse()?;
    let writes = arguments.next().as_deref() == Some("write");
    let name = format!("process {}", std::process::id());

    let session = Session::start(SessionOptions::new(servers, Duration::from_secs(10)));
    let guard = if writes {
        println!("waiting to write");
        ReadWriteLock::new(session.clone(), PATH, name).write_lock().acquire().await?
    } else {
        println!("waiting to read");
        ReadWriteLock::new(session.clone(), PATH, name).read_lock().acquire().await?
    };
    match writes {
        true => println!("writing, alone, with the fencing token {}", guard.fencing_token()),
        false => println!("reading, together with other readers"),
    }
    tokio::select! {
        () = guard.lost() => println!("lost: the work must stop"),
        () = tokio::time::sleep(Duration::from_secs(3)) => println!("done"),
    }
    guard.release().await;
    session.close(Duration::from_secs(2)).await;
    Ok(())
}
