//! Faults that a key or a script injects into the fleet, and the parser of scripts, whose format is in the help of
//! `atalaya demo`. No I/O.

use std::collections::VecDeque;
use std::time::Duration;

use atalaya_config::duration;

use crate::model::text::sanitize_for_log;

/// A fault, or the end of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Ends nodes like SIGKILL: their sessions exist until they time out.
    Kill(Target),
    /// Stops nodes like SIGSTOP.
    Hang(Target),
    /// Resumes stopped nodes and starts dead ones again.
    Revive(Target),
    Expire(Target),
    Api(ApiMode),
    /// Stops ZooKeeper: connections break, new ones are refused; the data stays.
    StopZooKeeper,
    StartZooKeeper,
    End,
    /// Panics like a defect of the demo, to show that the screen is restored.
    Panic,
}

/// Nodes that a fault affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The node with this number; the first is 1.
    Node(u32),
    /// The leader at that time.
    Leader,
    All,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ApiMode {
    /// Accepts reports.
    #[default]
    Up,
    /// Stopped: connections are refused.
    Down,
    /// Accepts connections and requests, but never answers.
    Hanging,
    /// Answers 503 to every request.
    Failing,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Target::Node(number) => write!(f, "node {number}"),
            Target::Leader => f.write_str("the leader"),
            Target::All => f.write_str("all nodes"),
        }
    }
}

const MAX_FAULTS: usize = 10_000;

const EXPECTED_LINE: &str = "a time and a fault, such as 5s kill leader";
const EXPECTED_FAULT: &str = "kill, hang, revive or expire with a node's number, leader or all; \
                              api with away, back, hang or fail; zookeeper with stop or start; or end";
const EXPECTED_TIME: &str = "a time since the start, such as 5s or 1m 30s";

/// Faults with their times, in order of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Script {
    steps: VecDeque<(Duration, Fault)>,
}

impl Script {
    /// Parses a script for a fleet of `nodes` nodes. The lines may have any order; lines with the same time keep
    /// theirs.
    pub(crate) fn parse(text: &str, nodes: u32) -> Result<Script, String> {
        let mut steps = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let error = |problem| format!("line {}: {problem}", index + 1);
            let line = line.split('#').next().unwrap_or_default().trim();
            if !line.is_empty() {
                steps.push(step(line, nodes).map_err(error)?);
            }
            if steps.len() > MAX_FAULTS {
                return Err(error(format!("more than {MAX_FAULTS} faults; expected a shorter script")));
            }
        }
        steps.sort_by_key(|(at, _)| *at);
        Ok(Script { steps: steps.into() })
    }

    /// Returns the time of the next fault, since the start.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.steps.front().map(|(at, _)| *at)
    }

    /// Removes and returns the next fault, if it is due.
    pub(crate) fn take(&mut self, elapsed: Duration) -> Option<Fault> {
        self.next().filter(|at| *at <= elapsed)?;
        self.steps.pop_front().map(|(_, fault)| fault)
    }
}

fn problem(text: &str, what: &str, expected: &str) -> String {
    format!("\"{}\" {what}; expected {expected}", sanitize_for_log(text))
}

fn step(line: &str, nodes: u32) -> Result<(Duration, Fault), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    // The time may contain spaces. It ends before the first word that does not start with a digit, which is the name
    // of a fault.
    let begin = words.iter().position(|word| !word.starts_with(|first: char| first.is_ascii_digit()));
    let begin = begin.ok_or_else(|| problem(line, "has no fault", EXPECTED_LINE))?;
    let (when, what) = words.split_at(begin);
    let when = when.join(" ");
    let at = match when.as_str() {
        "" => return Err(problem(line, "has no time", EXPECTED_LINE)),
        "0" | "0s" => Duration::ZERO,
        text => duration::parse(text).map_err(|_| problem(text, "is not a time", EXPECTED_TIME))?,
    };
    let fault = match what {
        ["kill", word] => Fault::Kill(target(word, nodes)?),
        ["hang", word] => Fault::Hang(target(word, nodes)?),
        ["revive", word] => Fault::Revive(target(word, nodes)?),
        ["expire", word] => Fault::Expire(target(word, nodes)?),
        ["api", "away"] => Fault::Api(ApiMode::Down),
        ["api", "back"] => Fault::Api(ApiMode::Up),
        ["api", "hang"] => Fault::Api(ApiMode::Hanging),
        ["api", "fail"] => Fault::Api(ApiMode::Failing),
        ["zookeeper", "stop"] => Fault::StopZooKeeper,
        ["zookeeper", "start"] => Fault::StartZooKeeper,
        ["end"] => Fault::End,
        ["panic"] => Fault::Panic,
        other => return Err(problem(&other.join(" "), "is not a fault", EXPECTED_FAULT)),
    };
    Ok((at, fault))
}

fn target(word: &str, nodes: u32) -> Result<Target, String> {
    match word {
        "leader" => Ok(Target::Leader),
        "all" => Ok(Target::All),
        number => match number.parse() {
            Ok(number) if (1..=nodes).contains(&number) => Ok(Target::Node(number)),
            _ => Err(format!(
                "node \"{}\" does not exist; the nodes are 1 to {nodes}; expected a node's number, leader or \
                 all",
                sanitize_for_log(number)
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
    fn script_returns_faults_in_the_order_of_their_times() {
        let text = "# a test\n20s api back\n\n5s kill leader # the first leader\n5s hang 2\n0s expire all\n1m 30s end\n\
                    12 api away\n500ms zookeeper stop\n700ms zookeeper start\n6s revive 2\n";
        let mut script = Script::parse(text, 3).unwrap();
        assert_eq!(script.next(), Some(Duration::ZERO));
        assert_eq!(script.take(Duration::ZERO), Some(Fault::Expire(Target::All)));
        assert_eq!(script.take(Duration::ZERO), None);
        let rest: Vec<_> = std::iter::from_fn(|| script.take(seconds(90))).collect();
        assert_eq!(
            rest,
            [
                Fault::StopZooKeeper,
                Fault::StartZooKeeper,
                Fault::Kill(Target::Leader),
                Fault::Hang(Target::Node(2)),
                Fault::Revive(Target::Node(2)),
                Fault::Api(ApiMode::Down),
                Fault::Api(ApiMode::Up),
                Fault::End
            ]
        );
        assert_eq!(script.next(), None);
    }

    #[test]
    fn script_error_has_the_line_the_problem_and_what_was_expected() {
        for (text, words) in [
            ("\n5s", ["line 2", "no fault"]),
            ("kill 1", ["line 1", "no time"]),
            ("5x kill 1", ["5x", "such as 5s"]),
            ("5s kill 4", ["node \"4\" does not exist", "1 to 3"]),
            ("5s kill", ["is not a fault", "hang, revive"]),
            ("5s explode 1", ["explode 1", "kill, hang"]),
            ("5s api gone", ["api gone", "away, back"]),
        ] {
            let message = Script::parse(text, 3).unwrap_err();
            assert!(words.iter().all(|word| message.contains(word)), "{text}: {message}");
        }
    }

    proptest! {
        #[test]
        fn script_parses_any_text_to_faults_or_a_short_error(text in any::<String>()) {
            if let Err(error) = Script::parse(&text, 3) {
                prop_assert!(error.len() < 500);
            }
        }
    }
}
