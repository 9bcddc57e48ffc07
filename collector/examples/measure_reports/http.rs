//! Minimal HTTP client, because it shares the processors with the server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Failure, Turn};

/// Posts reports until the end of the turn. Returns the duration of each request.
pub(super) async fn post(address: SocketAddr, turn: Arc<Turn>) -> Result<Vec<Duration>, Failure> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut durations = Vec::new();
    let mut answer = Vec::new();
    while let Some(cycles) = turn.next() {
        let mut reports: Vec<_> = cycles.map(|cycle| body(&turn, cycle)).collect();
        let body = match reports.pop() {
            Some(one) if reports.is_empty() => one,
            last => {
                reports.extend(last);
                format!("[{}]", reports.join(","))
            }
        };
        let request = format!(
            "POST /api/v1/reports HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let begin = Instant::now();
        stream.write_all(request.as_bytes()).await?;
        read(&mut stream, &mut answer).await?;
        durations.push(begin.elapsed());
    }
    Ok(durations)
}

fn body(turn: &Turn, cycle: i64) -> String {
    let report = turn.report(cycle);
    json!({"epoch": report.epoch, "cycle": report.cycle, "time": report.time, "quantity": report.quantity,
        "unit": report.unit, "mean": report.mean, "min": report.min, "max": report.max, "stddev": report.stddev,
        "count": report.count, "excluded": report.excluded})
    .to_string()
}

/// Reads an answer, which must be a success.
async fn read(stream: &mut TcpStream, answer: &mut Vec<u8>) -> Result<(), Failure> {
    answer.clear();
    loop {
        if stream.read_buf(answer).await? == 0 {
            return Err("the server has closed the connection".into());
        }
        let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&answer[..head])?.to_ascii_lowercase();
        if !text.starts_with("http/1.1 20") {
            return Err(String::from_utf8_lossy(answer).into());
        }
        let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
        let end = head + 4 + length.ok_or("no length")?.trim().parse::<usize>()?;
        while answer.len() < end {
            if stream.read_buf(answer).await? == 0 {
                return Err("the server has closed the connection".into());
            }
        }
        if find(answer, b"conflict") || find(answer, b"repeated") || find(answer, b"stale") {
            return Err(String::from_utf8_lossy(answer).into());
        }
        return Ok(());
    }
}

fn find(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|found| found == word)
}
