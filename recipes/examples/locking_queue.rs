//! Puts its arguments into the queue at /jobs. Without arguments, processes the jobs, one second each, until the queue is
//! empty for three seconds:
//! `cargo run -p atalaya-recipes --example locking_queue -- 127.0.0.1:2181 [JOB…]`.
//!
//! Kill one while it works: when its session has ended, another one processes that job.

use std::time::Duration;

use anyhow::Context;
use atalaya_recipes::queue::DEFAULT_PRIORITY;
use atalaya_recipes::{LockingQueue, Session, SessionOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut arguments = std::env::args().skip(1);
    let servers =
        arguments.next().context("missing argument: the address of ZooKeeper, host:port")?.parse()?;
    let jobs: Vec<String> = arguments.collect();

    let session = Session::start(SessionOptions::new(servers, Duration::from_secs(10)));
    let queue = LockingQueue::new(session.clone(), "/jobs");
    let all: Vec<&[u8]> = jobs.iter().map(|job| job.as_bytes()).collect();
    if !all.is_empty() {
        queue.put_all(&all, DEFAULT_PRIORITY).await?;
        println!("put {} jobs", all.len());
    } else {
        while let Some(entry) = queue.take_within(Duration::from_secs(3)).await? {
            let job = String::from_utf8_lossy(entry.data()).into_owned();
            println!("processing {job}");
            tokio::select! {
                () = entry.lost() => println!("{job} is lost, another process will take it"),
                () = tokio::time::sleep(Duration::from_secs(1)) => {
                    entry.consume().await?;
                    println!("processed {job}");
                }
            }
        }
        println!("the queue is empty");
    }
    session.close(Duration::from_secs(2)).await;
    Ok(())
}
