//! Puts what it is given into the queue at /jobs; given nothing, does the jobs, a second each, until none has come for three:
//! `cargo run -p atalaya-recipes --example locking_queue -- 127.0.0.1:2181 [JOB…]`.
//!
//! Kill one at its work: when its session has ended, another one does that job.

use std::time::Duration;

use anyhow::Context;
use atalaya_recipes::queue::DEFAULT_PRIORITY;
use atalaya_recipes::{LockingQueue, Session, SessionOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut arguments = std::env::args().skip(1);
    let servers = arguments.next().context("which ZooKeeper? Say host:port")?.parse()?;
    let jobs: Vec<String> = arguments.collect();

    let session = Session::start(SessionOptions { servers, timeout: Duration::from_secs(10) });
    let queue = LockingQueue::new(session.clone(), "/jobs");
    let all: Vec<&[u8]> = jobs.iter().map(|job| job.as_bytes()).collect();
    if !all.is_empty() {
        queue.put_all(&all, DEFAULT_PRIORITY).await?;
        println!("put {} jobs", all.len());
    } else {
        while let Some(taken) = queue.take_within(Duration::from_secs(3)).await? {
            let job = String::from_utf8_lossy(taken.data()).into_owned();
            println!("at {job}");
            tokio::select! {
                () = taken.lost() => println!("{job} is somebody else's now"),
                () = tokio::time::sleep(Duration::from_secs(1)) => {
                    taken.consume().await?;
                    println!("done with {job}");
                }
            }
        }
        println!("there is no more");
    }
    session.close(Duration::from_secs(2)).await;
    Ok(())
}
