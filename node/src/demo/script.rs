//! Faults: what can be done to the fleet, by a key or by a script, and scripts: lists of timed faults. Pure.
//!
//! A script has one fault a line, when and what, and `#` begins a comment:
//!
//! ```text
//! 5s   kill leader
//! 12s  api away
//! 20s  api back
//! ```

use std::collections::VecDeque;
use std::time::Duration;

use atalaya_hal::duration;

use crate::model::text::sanitize_for_log;

/// One thing that is done to the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A node ends without a word, as after SIGKILL: its session stays until it times out.
    Kill(Who),
    /// A node stops, as after SIGSTOP.
    Hang(Who),
    /// A node that hangs goes on, one that is dead is started anew.
    Revive(Who),
    /// ZooKeeper ends a node's session.
    Expire(Who),
    /// What the API does from now on.
    Api(ApiMode),
    /// ZooKeeper stops: connections break, new ones are refused, what it knows stays.
    StopZooKeeper,
    /// ZooKeeper is back.
    StartZooKeeper,
    /// The demo ends.
    End,
    /// The demo fails as a defect would make it fail. For those who want to see the screen restored.
    Panic,
}

/// Whom a fault is done to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The node of this number, from 1.
    Node(u32),
    /// Whoever leads at that time.
    Leader,
    /// All.
    All,
}

/// What the API does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiMode {
    /// It takes reports.
    #[default]
    Up,
    /// It is not there: connections are refused.
    Away,
    /// It takes connections and requests, and never answers.
    Hanging,
    /// It answers 500 to everything.
    Failing,
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Who::Node(number) => write!(f, "node {number}"),
            Who::Leader => f.write_str("the leader"),
            Who::All => f.write_str("all nodes"),
        }
    }
}

/// A line that is no fault.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}; expected {expected}")]
pub struct NotAScript {
    line: usize,
    problem: String,
    expected: &'static str,
}

/// Most lines of a script.
const LONGEST: usize = 10_000;

const A_LINE: &str = "when and what, such as 5s kill leader";
const A_FAULT: &str = "kill, hang, revive or expire with a node's number, leader or all; api with away, back, hang or \
                       fail; zookeeper with stop or start; or end";
const A_TIME: &str = "a time since the start, such as 5s or 1m 30s";

/// Faults and when they are due, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    steps: VecDeque<(Duration, Fault)>,
}

impl Script {
    /// Reads a script for a fleet of `nodes`. Lines may come in any order; those of the same time are kept in theirs.
    ///
    /// # Errors
    /// A line is no fault, or names a node that does not exist.
    pub fn parse(text: &str, nodes: u32) -> Result<Script, NotAScript> {
        let mut steps = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let error = |(problem, expected)| NotAScript { line: index + 1, problem, expected };
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                steps.push(step(line, nodes).map_err(error)?);
            }
            if steps.len() > LONGEST {
                return Err(error((format!("more than {LONGEST} faults"), "a shorter script")));
            }
        }
        steps.sort_by_key(|(at, _)| *at);
        Ok(Script { steps: steps.into() })
    }

    /// When the next fault is due, since the start.
    pub fn next(&self) -> Option<Duration> {
        self.steps.front().map(|(at, _)| *at)
    }

    /// Takes the next fault, if it is due.
    pub fn take(&mut self, elapsed: Duration) -> Option<Fault> {
        self.next().filter(|at| *at <= elapsed)?;
        self.steps.pop_front().map(|(_, fault)| fault)
    }
}

type Problem = (String, &'static str);

fn step(line: &str, nodes: u32) -> Result<(Duration, Fault), Problem> {
    let words: Vec<&str> = line.split_whitespace().collect();
    // A duration may have blanks in it: it ends where a fault's name begins.
    let begin = words.iter().position(|word| !word.starts_with(|first: char| first.is_ascii_digit()));
    let begin = begin.ok_or_else(|| (format!("\"{}\" lacks what to do", sanitize_for_log(line)), A_LINE))?;
    let (when, what) = words.split_at(begin);
    let when = when.join(" ");
    let at = match when.as_str() {
        "" => return Err((format!("\"{}\" lacks when to do it", sanitize_for_log(line)), A_LINE)),
        "0" | "0s" => Duration::ZERO,
        text => duration::parse(text)
            .map_err(|_| (format!("\"{}\" is no time", sanitize_for_log(text)), A_TIME))?,
    };
    let fault = match what {
        ["kill", who] => Fault::Kill(self::who(who, nodes)?),
        ["hang", who] => Fault::Hang(self::who(who, nodes)?),
        ["revive", who] => Fault::Revive(self::who(who, nodes)?),
        ["expire", who] => Fault::Expire(self::who(who, nodes)?),
        ["api", "away"] => Fault::Api(ApiMode::Away),
        ["api", "back"] => Fault::Api(ApiMode::Up),
        ["api", "hang"] => Fault::Api(ApiMode::Hanging),
        ["api", "fail"] => Fault::Api(ApiMode::Failing),
        ["zookeeper", "stop"] => Fault::StopZooKeeper,
        ["zookeeper", "start"] => Fault::StartZooKeeper,
        ["end"] => Fault::End,
        ["panic"] => Fault::Panic,
        other => return Err((format!("\"{}\" is no fault", sanitize_for_log(&other.join(" "))), A_FAULT)),
    };
    Ok((at, fault))
}

fn who(word: &str, nodes: u32) -> Result<Who, Problem> {
    match word {
        "leader" => Ok(Who::Leader),
        "all" => Ok(Who::All),
        number => match number.parse() {
            Ok(number) if (1..=nodes).contains(&number) => Ok(Who::Node(number)),
            _ => Err((
                format!("there is no node \"{}\"; the nodes are 1 to {nodes}", sanitize_for_log(number)),
                "a node's number, leader or all",
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn faults_come_in_the_order_of_their_times() {
        let text = "# a show\n20s api back\n\n5s kill leader # who leads\n5s hang 2\n0s expire all\n1m 30s end\n\
                    12 api away\n500ms zookeeper stop\n700ms zookeeper start\n6s revive 2\n";
        let mut script = Script::parse(text, 3).unwrap();
        assert_eq!(script.next(), Some(Duration::ZERO));
        assert_eq!(script.take(Duration::ZERO), Some(Fault::Expire(Who::All)));
        assert_eq!(script.take(Duration::ZERO), None);
        let rest: Vec<_> = std::iter::from_fn(|| script.take(seconds(90))).collect();
        assert_eq!(
            rest,
            [
                Fault::StopZooKeeper,
                Fault::StartZooKeeper,
                Fault::Kill(Who::Leader),
                Fault::Hang(Who::Node(2)),
                Fault::Revive(Who::Node(2)),
                Fault::Api(ApiMode::Away),
                Fault::Api(ApiMode::Up),
                Fault::End
            ]
        );
        assert_eq!(script.next(), None);
    }

    #[test]
    fn a_mistake_is_named_with_its_line_and_what_would_be_right() {
        for (text, words) in [
            ("\n5s", ["line 2", "what to do"]),
            ("kill 1", ["line 1", "when"]),
            ("5x kill 1", ["5x", "such as 5s"]),
            ("5s kill 4", ["no node \"4\"", "1 to 3"]),
            ("5s kill", ["is no fault", "hang, revive"]),
            ("5s explode 1", ["explode 1", "kill, hang"]),
            ("5s api gone", ["api gone", "away, back"]),
        ] {
            let message = Script::parse(text, 3).unwrap_err().to_string();
            assert!(words.iter().all(|word| message.contains(word)), "{text}: {message}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_script_or_a_short_error(text in any::<String>()) {
            if let Err(error) = Script::parse(&text, 3) {
                prop_assert!(error.to_string().len() < 500);
            }
        }
    }
}
