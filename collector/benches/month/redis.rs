//! The same data in Redis, written as the keys of the store (`store/redis/samples/mod.rs`), which takes a minute.

use atalaya_testbed::Redis;
use redis::aio::MultiplexedConnection;

use super::{DAY, HOUR, MINUTE, PERIOD};

const PREFIX: &str = "atalaya:m:";

/// Starts a server whose acknowledged data is on its disk.
pub(super) fn start() -> Redis {
    Redis::with("appendonly yes\nappendfsync always")
}

/// Returns the value of a node at a time: daily and hourly waves, as in the SQLite file.
fn value(node: i64, time: i64) -> f64 {
    let hundredths = 2_000
        + node % 700
        + (time / MINUTE % 1_440 - 720).abs() / 2
        + (time / 1_000 % 3_600 - 1_800).abs() / 20;
    hundredths as f64 / 100.0
}

fn sums(node: i64, time: i64, length: i64) -> String {
    let (count, mean) = ((length / (PERIOD * 1_000)) as f64, value(node, time));
    format!("{count} {:?} {:?} {:?} 0", mean * count, mean - 0.5, mean + 0.5)
}

/// Adds the measurements up to the current time.
pub(super) async fn fill_samples(server: &Redis, nodes: i64, now: i64) {
    let client = redis::Client::open(server.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut all = redis::pipe();
    all.cmd("HSET").arg(format!("{PREFIX}fleets")).arg("default").arg(nodes);
    all.cmd("HSET").arg(format!("{PREFIX}last")).arg(&["node", "series", "boot"].map(|name| (name, nodes)));
    all.query_async::<()>(&mut connection).await.unwrap();
    for node in 1..=nodes {
        fill_node(&mut connection, node, now).await;
    }
}

async fn fill_node(connection: &mut MultiplexedConnection, node: i64, now: i64) {
    let (key, step) = (|name: &str| format!("{PREFIX}{name}:{node}"), PERIOD * 1_000);
    let mut all = redis::pipe();
    all.cmd("HSET").arg(format!("{PREFIX}nodes")).arg(format!("default\0node-{node}")).arg(node);
    all.cmd("HSET").arg(key("series")).arg("roof\0temperature").arg(node);
    all.cmd("ZADD").arg(format!("{PREFIX}all")).arg(node).arg(format!("{node}:{node}"));
    all.cmd("HSET").arg(key("latest")).arg(node).arg(format!("{node} {now} 0 {now} 21.5 Cel"));
    all.cmd("HSET").arg(key("boots")).arg("b").arg(format!("{node} {now}"));
    all.cmd("HSET").arg(key("marks")).arg(node).arg(format!("{:019}", 7 * DAY / step));
    for hour in (now - 30 * DAY) / HOUR..=now / HOUR {
        let begin = hour * HOUR;
        all.cmd("HSET").arg(key("hours")).arg(hour).arg(sums(node, begin, HOUR));
        all.cmd("ZADD").arg(key("minutes")).arg(hour).arg(hour);
        let minutes = all.cmd("HSET").arg(format!("{PREFIX}minutes:{node}:{hour}"));
        for minute in (0..60).filter(|minute| begin + minute * MINUTE <= now) {
            minutes.arg(minute).arg(sums(node, begin + minute * MINUTE, MINUTE));
        }
        let mut samples = Vec::new();
        for time in (begin..begin + HOUR).step_by(usize::try_from(step).unwrap()) {
            if (now - 7 * DAY..=now).contains(&time) {
                samples.extend(u32::try_from(node).unwrap().to_be_bytes());
                samples.extend(time.to_be_bytes());
                samples.extend(((time - now + 7 * DAY) / step).to_be_bytes());
                samples.extend(value(node, time).to_be_bytes());
                samples.push(0);
            }
        }
        if !samples.is_empty() {
            all.cmd("ZADD").arg(key("raws")).arg(hour).arg(hour);
            // As after many batches, the text has unused space.
            all.cmd("APPEND").arg(format!("{PREFIX}raw:{node}:{hour}")).arg(samples);
        }
    }
    all.query_async::<()>(connection).await.unwrap();
}

/// Prints how much memory the data takes.
pub(super) fn describe(server: &Redis) {
    let text = server.ask(&["INFO"]);
    for name in ["used_memory_human", "used_memory_rss_human", "aof_current_size", "redis_version"] {
        let line = text.lines().find(|line| line.starts_with(&format!("{name}:")));
        println!("{}", line.unwrap_or(name));
    }
}
