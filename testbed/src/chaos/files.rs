//! Files of one schedule, for analysis.

use std::fs;
use std::io;
use std::path::Path;

use crate::journal::{Change, Transaction};
use crate::process::Line;

pub(super) fn write_lines(folder: &Path, name: &str, lines: impl Iterator<Item = String>) -> io::Result<()> {
    fs::write(folder.join(name), lines.map(|line| line + "\n").collect::<String>())
}

pub(super) fn write_transactions(folder: &Path, transactions: &[Transaction]) -> io::Result<()> {
    let lines = transactions.iter().map(|Transaction { zxid, session, time, changes }| {
        let changes: Vec<String> = changes.iter().map(describe).collect();
        format!("{} {zxid:#x} {session:#x} {}", clock(*time), changes.join(" "))
    });
    write_lines(folder, "zookeeper.txt", lines)
}

pub(super) fn write_logs(folder: &Path, logs: &[(String, Vec<Line>)]) -> io::Result<()> {
    for (name, log) in logs {
        write_lines(folder, &format!("{name}.log"), log.iter().map(|line| line.text.clone()))?;
    }
    Ok(())
}

fn describe(change: &Change) -> String {
    let text = |data: &[u8]| String::from_utf8_lossy(data).chars().take(300).collect::<String>();
    match change {
        Change::Create { path, data, .. } => format!("create {path} {}", text(data)),
        Change::Set { path, data } => format!("set {path} {}", text(data)),
        Change::Delete { path } => format!("delete {path}"),
        Change::Check { path } => format!("check {path}"),
        Change::Opened => "session opened".into(),
        Change::Closed => "session closed".into(),
    }
}

/// Formats milliseconds since 1970 as the time of day, as the nodes log it.
pub(super) fn clock(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).unwrap_or_default().strftime("%H:%M:%S%.3f").to_string()
}
