//! Atalaya's side of `cargo xtask bench recipes`: runs recipes on command, so that its rounds can alternate with
//! Kazoo's. Kazoo's side is `testbed/kazoo/bench_recipes.py`, with the same commands. Arguments: HOSTS. One command per
//! line of standard input; COUNT is the number of clients, each with its own session:
//!
//! ```text
//! sessions COUNT                 opens this number of sessions
//! contend PATH COUNT MS          acquires and releases one lock repeatedly
//! add PATH KIND COUNT MS         adds 1 to one counter repeatedly; KIND is exact or compatible (Kazoo's: kazoo)
//! value PATH                     value of that counter
//! queue KIND PATH BATCH TIMES    puts BATCH entries and takes them, TIMES times; KIND is plain or locking
//! await PATH COUNT               waits at a barrier
//! watch PATH COUNT               watches a znode
//! seen VALUE                     time at which each watcher got this value
//! unwatch                        ends the watchers
//! close PATH, open PATH          closes a barrier; opens it
//! set PATH VALUE                 writes a znode, creates it if missing
//! times WHAT PATH COUNT          performs one operation COUNT times: see `alone`
//! line PATH COUNT                queues COUNT clients for a lock
//! pass                           passes the lock through the queue
//! ```
//!
//! Each command is answered with one line of JSON on standard output; `await` with two: when waiting has begun, and
//! when all have passed. Times are nanoseconds of `CLOCK_MONOTONIC`, which all processes of a machine share.
//!
//! `recipes serve` runs the in-memory server and prints, for each line of standard input, the number of requests it has
//! received.
//!
//! By hand, against any ZooKeeper: `cargo bench -p atalaya-recipes --bench recipes -- 127.0.0.1:2181`, then type
//! commands.

mod alone;
mod counters;
mod locks;
mod queues;
mod serve;
mod waiting;

use std::io::{BufRead as _, Write as _};
use std::time::Duration;

use anyhow::bail;
use atalaya_recipes::{Barrier, ConnectString, Session, SessionOptions};
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Longer than any delay of a busy machine. Pings, which count as requests, are rare then.
const SESSION_TIMEOUT: Duration = Duration::from_secs(40);

fn main() -> anyhow::Result<()> {
    // `cargo bench` appends `--bench` to the arguments.
    let Some(hosts) = std::env::args().nth(1).filter(|argument| !argument.starts_with('-')) else {
        println!(
            "run this as `cargo xtask bench recipes`, or with the address of a ZooKeeper: see the top of its source"
        );
        return Ok(());
    };
    // One thread, as in the node.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut lines = lines();
        if hosts == "serve" {
            return serve::serve(lines).await;
        }
        let mut told = Told::connect(hosts.parse()?).await?;
        answer("{\"ready\":true}")?;
        while let Some(line) = lines.recv().await {
            let words: Vec<&str> = line.split_whitespace().collect();
            let said = told.obey(&words).await.map_err(|error| error.context(line.clone()))?;
            answer(&said)?;
        }
        Ok(())
    })
}

/// Reads standard input on its own thread, so that sessions send their pings between commands.
fn lines() -> mpsc::UnboundedReceiver<String> {
    let (sender, lines) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        std::io::stdin().lock().lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    lines
}

fn answer(said: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{said}")?;
    out.flush()
}

/// Returns nanoseconds of a clock that all processes of this machine share.
fn now() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// A task that was started.
type Task<T> = JoinHandle<anyhow::Result<T>>;

/// Starts all futures at once, each in its own task.
fn begin<T: Send + 'static>(
    futures: impl Iterator<Item = impl Future<Output = anyhow::Result<T>> + Send + 'static>,
) -> Vec<Task<T>> {
    futures.map(tokio::spawn).collect()
}

/// Waits for all tasks and returns their results.
async fn all<T>(tasks: Vec<Task<T>>) -> anyhow::Result<Vec<T>> {
    let mut done = Vec::new();
    for task in tasks {
        done.push(task.await??);
    }
    Ok(done)
}

/// Runs commands, and owns the sessions.
struct Told {
    hosts: ConnectString,
    sessions: Vec<Session>,
    watching: Option<waiting::Watching>,
    in_line: Option<locks::InLine>,
    alone: Option<alone::Alone>,
}

impl Told {
    /// Starts with one session.
    async fn connect(hosts: ConnectString) -> anyhow::Result<Told> {
        let mut told = Told { hosts, sessions: Vec::new(), watching: None, in_line: None, alone: None };
        told.sessions(1).await;
        Ok(told)
    }

    /// Returns `count` connected sessions.
    async fn sessions(&mut self, count: usize) -> &[Session] {
        while self.sessions.len() < count {
            let options = SessionOptions::new(self.hosts.clone(), SESSION_TIMEOUT);
            let session = Session::start(options);
            session.connection().await;
            self.sessions.push(session);
        }
        &self.sessions[..count]
    }

    async fn obey(&mut self, words: &[&str]) -> anyhow::Result<String> {
        Ok(match *words {
            ["sessions", count] => {
                format!("{{\"sessions\":{}}}", self.sessions(count.parse()?).await.len())
            }
            ["contend", path, count, ms] => {
                locks::contend(self.sessions(count.parse()?).await, path, milliseconds(ms)?).await?
            }
            ["line", path, count] => {
                let in_line = locks::InLine::stand(self.sessions(count.parse()?).await, path).await?;
                let standing = in_line.len();
                self.in_line = Some(in_line);
                format!("{{\"standing\":{standing}}}")
            }
            ["pass"] => match &mut self.in_line {
                Some(in_line) => format!("{{\"passed\":{}}}", in_line.pass().await?),
                None => bail!("the queue is empty"),
            },
            ["add", path, kind, count, ms] => {
                let kind = kind.parse()?;
                counters::add(self.sessions(count.parse()?).await, path, kind, milliseconds(ms)?).await?
            }
            ["value", path] => counters::value(&self.sessions[0], path).await?,
            ["queue", kind, path, batch, times] => {
                let (batch, times) = (batch.parse()?, times.parse()?);
                queues::put_and_take(&self.sessions[0], kind, path, batch, times).await?
            }
            ["await", path, count] => {
                let passing = waiting::wait(self.sessions(count.parse()?).await, path);
                answer(&format!("{{\"waiting\":{count}}}"))?;
                passing.await?
            }
            ["watch", path, count] => {
                let watching = waiting::Watching::begin(self.sessions(count.parse()?).await, path).await?;
                self.watching = Some(watching);
                format!("{{\"watching\":{count}}}")
            }
            ["seen", value] => match &mut self.watching {
                Some(watching) => watching.seen(value).await?,
                None => bail!("nobody watches"),
            },
            ["unwatch"] => {
                self.watching = None;
                "{\"watching\":0}".into()
            }
            ["close", path] => {
                format!("{{\"closed\":{}}}", Barrier::new(self.sessions[0].clone(), path).close().await?)
            }
            ["open", path] => waiting::open(&self.sessions[0], path).await?,
            ["set", path, value] => waiting::set(&self.sessions[0], path, value).await?,
            ["times", what, path, count] => {
                let alone = match self.alone.take() {
                    Some(alone) => alone,
                    None => alone::Alone::at(self.sessions[0].clone(), path)?,
                };
                self.alone.insert(alone).times(what, count.parse()?).await?
            }
            _ => bail!("no such command"),
        })
    }
}

fn milliseconds(word: &str) -> anyhow::Result<Duration> {
    Ok(Duration::from_millis(word.parse()?))
}
