//! Joins the election at /election and prints all changes, until Ctrl-C:
//! `cargo run -p atalaya-recipes --example election -- 127.0.0.1:2181 [NAME]`.
//!
//! Start it twice; stop the leader with Ctrl-C, kill it, or suspend it with Ctrl-Z, and see when the other one
//! becomes the leader.

use std::time::Duration;

use anyhow::Context;
use atalaya_recipes::node_names::Naming;
use atalaya_recipes::{Election, Leadership, Session, SessionOptions};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut arguments = std::env::args().skip(1);
    let servers =
        arguments.next().context("missing argument: the address of ZooKeeper, host:port")?.parse()?;
    let name = arguments.next().unwrap_or_else(|| format!("process {}", std::process::id()));

    let session = Session::start(SessionOptions::new(servers, Duration::from_secs(10)));
    let election = Election::new(session.clone(), "/election", name.as_str(), Naming::Kazoo);
    let mut standing = election.standing();
    let mut states = session.watch();
    println!("{name} joins");
    {
        let mut run = std::pin::pin!(election.run(lead));
        loop {
            tokio::select! {
                result = tokio::signal::ctrl_c() => {
                    result.context("cannot wait for Ctrl-C")?;
                    break;
                }
                () = &mut run => {
                    println!("{name} has left the election");
                    break;
                }
                Ok(()) = standing.changed() => println!("{:?}", *standing.borrow_and_update()),
                Ok(()) = states.changed() => {
                    let state = *states.borrow_and_update();
                    println!("{:?}: connection {} of session {:#x}", state.phase, state.connection, state.session);
                }
            }
        }
    }
    // Closing the session deletes its znode, so the next contender need not wait for the session to expire.
    let closed = session.close(Duration::from_secs(2)).await;
    println!(
        "{}",
        if closed { "the session is closed" } else { "ZooKeeper does not respond; the session will expire" }
    );
    Ok(())
}

/// Leads for up to a minute, and then resigns.
async fn lead(leadership: Leadership) {
    println!("leading with the fencing token {}, znode {}", leadership.fencing_token(), leadership.znode());
    for second in 1..=60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if second % 10 == 0 {
            println!("leading for {second} s");
        }
    }
}
