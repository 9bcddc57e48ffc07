//! The in-memory server, which counts the requests of clients.

use anyhow::Context as _;
use atalaya_zookeeper::Server;
use tokio::sync::mpsc::UnboundedReceiver;

use super::answer;

/// Answers each input line with the number of requests received and of watches set, until the end of the input.
pub(crate) async fn serve(mut lines: UnboundedReceiver<String>) -> anyhow::Result<()> {
    let server = Server::builder().listen("127.0.0.1:0").start().await?;
    let faults = server.faults();
    answer(&format!("{{\"listening\":\"{}\"}}", server.connect_string()))?;
    while lines.recv().await.is_some() {
        let figures = faults.stats().await.context("the server is gone")?;
        answer(&format!("{{\"requests\":{},\"watches\":{}}}", figures.requests, figures.watches))?;
    }
    Ok(())
}
