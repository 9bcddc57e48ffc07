//! The load generator of `cargo xtask bench server`: one program that sends requests to any ZooKeeper server at the
//! highest rate the server sustains, so that several servers can take turns. Commands, one per line of standard input;
//! SERVER is HOST:PORT:
//!
//! ```text
//! read SERVER CONNECTIONS DEPTH MS       getData of 100 bytes; each connection keeps DEPTH requests in flight
//! write SERVER CONNECTIONS DEPTH MS      setData of 100 bytes, each connection on its own znode
//! once SERVER WATCHERS MS                one-shot watches on one znode: it changes when all are set (again)
//! stay SERVER WATCHERS CHANGES MS        persistent watches on one znode; CHANGES changes are in flight
//! hold SERVER SESSIONS                   opens SESSIONS sessions and keeps them, instead of those held before
//! ```
//!
//! Each command is answered with one line of JSON on standard output: `{"count":…,"ns":…}`, the replies or
//! notifications and the time that they took; `hold` with `{"held":…}`. Connections are opened before that time and
//! closed after it.
//!
//! The program implements the protocol itself (`wire`), because otherwise a client library would be measured with the
//! server. Run as `load floor`, it is a server that answers without processing (`floor`): the upper bound of any server
//! with this load.
//!
//! To run it manually: `cargo bench -p atalaya-zookeeper --bench load`, then type commands.

mod floor;
mod requests;
mod watches;
mod wire;

use std::error::Error;
use std::io::Write as _;
use std::time::{Duration, Instant};

use wire::Connection;

/// Number of replies or notifications, and the time that they took.
struct Counted {
    count: u64,
    time: Duration,
}

fn main() -> Result<(), Box<dyn Error>> {
    // One thread, as in the in-memory server: the machine has few cores, and the other one is for the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if std::env::args().nth(1).is_some_and(|argument| argument == "floor") {
        return Ok(runtime.block_on(floor::serve())?);
    }
    let mut held = Vec::new();
    for line in std::io::stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer =
            runtime.block_on(execute(&words, &mut held)).map_err(|error| format!("{line}: {error}"))?;
        println!("{answer}");
        std::io::stdout().flush()?;
    }
    Ok(())
}

async fn execute(words: &[&str], held: &mut Vec<Connection>) -> Result<String, Box<dyn Error>> {
    let (&[command, server], numbers) = words.split_first_chunk().ok_or("COMMAND SERVER NUMBERS")?;
    let numbers: Vec<u64> = numbers.iter().map(|word| word.parse()).collect::<Result<_, _>>()?;
    let counted = match (command, &numbers[..]) {
        ("read", &[connections, depth, ms]) => requests::reads(server, connections, depth, ms).await?,
        ("write", &[connections, depth, ms]) => requests::writes(server, connections, depth, ms).await?,
        ("once", &[watchers, ms]) => watches::once(server, watchers, ms).await?,
        ("stay", &[watchers, changes, ms]) => watches::stay(server, watchers, changes, ms).await?,
        ("hold", &[sessions]) => {
            for connection in held.drain(..) {
                connection.close().await?;
            }
            for _ in 0..sessions {
                held.push(Connection::open(server).await?);
            }
            return Ok(format!("{{\"held\":{sessions}}}"));
        }
        _ => return Err("no such command".into()),
    };
    Ok(format!("{{\"count\":{},\"ns\":{}}}", counted.count, counted.time.as_nanos()))
}

/// Waits for the duration of the measurement, and returns the increase of `count` in it.
async fn during(ms: u64, count: impl Fn() -> u64) -> Counted {
    let (start, before) = (Instant::now(), count());
    tokio::time::sleep(Duration::from_millis(ms)).await;
    Counted { count: count() - before, time: start.elapsed() }
}
