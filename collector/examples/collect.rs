//! `cargo run -p atalaya-collector --example collect -- 127.0.0.1:8000 sqlite:reports.db`: a collector, until Ctrl-C.
#![allow(clippy::print_stderr, reason = "the example has no log")]

use std::error::Error;

use atalaya_collector::{Collector, Options, open_store};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(address), Some(store)) = (arguments.next(), arguments.next()) else {
        eprintln!("collect ADDRESS STORE");
        return Ok(());
    };
    let collector = Collector::bind(address, open_store(&store)?, Options::default()).await?;
    eprintln!("listens at http://{}", collector.address()?);
    let stop = CancellationToken::new();
    let stopper = stop.clone();
    tokio::spawn(async move {
        // Without signals it runs until it is killed, which is safe.
        if tokio::signal::ctrl_c().await.is_ok() {
            stopper.cancel();
        }
    });
    collector.run(stop).await;
    Ok(())
}
