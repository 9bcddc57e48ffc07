//! Prints the data of /config/sampling_period, whenever they change, until Ctrl-C:
//! `cargo run -p atalaya-recipes --example data_watch -- 127.0.0.1:2181 [PATH]`.
//!
//! Change the znode with zkCli.sh, delete it, restart ZooKeeper: the last line shows the current data.

use std::time::Duration;

use anyhow::Context;
use atalaya_recipes::{DataWatch, Session, SessionOptions, WatchedData};

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::WARN).init();
    let mut arguments = std::env::args().skip(1);
    let servers =
        arguments.next().context("missing argument: the address of ZooKeeper, host:port")?.parse()?;
    let path = arguments.next().unwrap_or_else(|| "/config/sampling_period".to_owned());

    let session = Session::start(SessionOptions::new(servers, Duration::from_secs(10)));
    let watch = DataWatch::new(session.clone(), path.as_str());
    let mut newest = watch.subscribe();
    let show = async {
        while newest.changed().await.is_ok() {
            match &*newest.borrow_and_update() {
                WatchedData::Present(data, stat) => {
                    println!("version {}: {}", stat.version, String::from_utf8_lossy(data));
                }
                WatchedData::Missing => println!("{path} does not exist"),
                WatchedData::Unknown => {}
            }
        }
    };
    tokio::select! {
        error = watch.run() => return Err(error.into()),
        () = show => {}
        result = tokio::signal::ctrl_c() => result.context("cannot wait for Ctrl-C")?,
    }
    session.close(Duration::from_secs(2)).await;
    Ok(())
}
