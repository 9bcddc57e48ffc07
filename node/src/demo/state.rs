//! State of the demo, and the lines of its events and averages. No I/O; times are passed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use atalaya_collector::Outcome;
use atalaya_recipes::{Phase, Standing};
use atalaya_zookeeper::ServerStats;
use tracing::Level;

use super::Event;
use super::delivery_audit::DeliveryAudit;
use super::fleet::Condition;
use super::script::ApiMode;
use super::throttle::Throttle;
use crate::model::report::{Average, Report};
use crate::observe::node_status::NodeStatus;

/// Maximum number of lines in each of the two lists.
const MAX_LINES: usize = 1_000;

#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Number of the node, which is also its id.
    pub(crate) number: u32,
    pub(crate) condition: Condition,
    /// Status at the last refresh.
    pub(crate) status: NodeStatus,
}

impl Row {
    fn is_running(&self) -> bool {
        self.condition == Condition::Running
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.is_running() && self.status.standing == Standing::Leading
    }

    /// Returns true if the node's measurement is in ZooKeeper.
    pub(crate) fn is_publishing(&self) -> bool {
        self.is_running() && self.status.published.held
    }

    pub(crate) fn session(&self) -> Option<i64> {
        self.status.session.filter(|state| state.session != 0).map(|state| state.session)
    }

    pub(crate) fn is_disconnected(&self) -> bool {
        self.is_running() && self.status.session.is_some_and(|state| state.phase != Phase::Connected)
    }
}

/// Kind of a line; decides its colour, and its list: averages have their own, so that they do not displace the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LineKind {
    Info,
    Average,
    Fault,
    Warning,
}

/// A line of the events or of the averages.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Number of lines before, in both lists.
    number: u64,
    /// Time since the start.
    pub(crate) at: Duration,
    /// Node or part of the demo that caused the line.
    pub(crate) source: String,
    pub(crate) kind: LineKind,
    pub(crate) text: String,
}

/// Everything that the demo shows.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) started: Instant,
    /// Sampling period of the nodes.
    pub(crate) period: Duration,
    /// Nodes by number.
    pub(crate) rows: Vec<Row>,
    pub(crate) audit: DeliveryAudit,
    /// Lines of all kinds except averages, oldest first.
    pub(crate) events: VecDeque<Line>,
    /// Lines of averages, oldest first.
    pub(crate) averages: VecDeque<Line>,
    pub(crate) api: ApiMode,
    pub(crate) page: String,
    pub(crate) zookeeper: String,
    /// Counters of the ZooKeeper server.
    pub(crate) server: ServerStats,
    /// Number of averages over all nodes.
    pub(crate) complete: u64,
    /// Number of lines so far, in both lists.
    lines: u64,
    /// Number of the first line that was not printed yet.
    unprinted: u64,
    throttle: Throttle,
    /// True once all nodes have published.
    all_published: bool,
}

impl State {
    /// Returns the state of a fleet whose nodes are not started yet.
    pub(crate) fn new(
        nodes: u32,
        period: Duration,
        (zookeeper, page): (String, String),
        started: Instant,
    ) -> State {
        let row = |number| Row { number, condition: Condition::Running, status: NodeStatus::default() };
        State {
            started,
            period,
            rows: (1..=nodes).map(row).collect(),
            audit: DeliveryAudit::default(),
            events: VecDeque::new(),
            averages: VecDeque::new(),
            api: ApiMode::Up,
            page,
            zookeeper,
            server: ServerStats::default(),
            complete: 0,
            lines: 0,
            unprinted: 0,
            throttle: Throttle::default(),
            all_published: false,
        }
    }

    pub(crate) fn leader(&self) -> Option<u32> {
        self.rows.iter().find(|row| row.is_leader()).map(|row| row.number)
    }

    pub(crate) fn publishing(&self) -> usize {
        self.rows.iter().filter(|row| row.is_publishing()).count()
    }

    pub(crate) fn on_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Logged(line) => {
                let source =
                    line.node.map_or_else(|| "zookeeper".to_owned(), |number| format!("node {number}"));
                let kind = if line.level <= Level::WARN { LineKind::Warning } else { LineKind::Info };
                let at = line.at.saturating_duration_since(self.started);
                self.log_suppressed(at);
                // A change of the leader is always shown, independent of the number of other lines.
                if self.throttle.admit() || line.text.starts_with("leading") {
                    self.push(at, source, kind, line.text);
                }
            }
            Event::Averaged(report) => self.on_averaged(&report, now),
            Event::Received(key, outcome) => {
                let (epoch, cycle, _) = key;
                self.audit.on_received(key, &outcome);
                let problem = match outcome {
                    Outcome::Recorded(_) | Outcome::Repeated => return,
                    Outcome::Stale(_) => format!("rejected a report of the deposed leader of epoch {epoch}"),
                    Outcome::Conflict(_) => format!("rejected a second, different average of cycle {cycle}"),
                };
                self.log("api", LineKind::Warning, problem, now);
            }
            Event::NodeEnded { node, reason: Some(reason), .. } => {
                self.log(&format!("node {node}"), LineKind::Warning, format!("ended: {reason}"), now);
            }
            Event::NodeEnded { .. } => {}
            Event::Task { text, is_problem } => {
                let kind = if is_problem { LineKind::Warning } else { LineKind::Info };
                self.log("task", kind, text, now);
            }
        }
    }

    fn on_averaged(&mut self, report: &Report, now: Instant) {
        if !self.audit.on_computed(now.saturating_duration_since(self.started).as_secs_f64(), report) {
            return;
        }
        if report.average.count == self.rows.len() {
            self.complete += 1;
        }
        let Report { average: Average { mean, min, max, count, .. }, excluded, cycle, .. } = report;
        let unit = report.average.unit.as_deref().map(|unit| format!(" {unit}")).unwrap_or_default();
        let mut text = format!("{mean:.2}{unit} count={count} min={min} max={max} cycle={cycle}");
        if *excluded > 0 {
            text.push_str(&format!(" excluded={excluded}"));
        }
        // The newest average always waits for a moment.
        if self.audit.waiting() > 1 {
            text.push_str(&format!(" waiting={}", self.audit.waiting()));
        }
        self.log("average", LineKind::Average, text, now);
    }

    /// Updates what depends on time and on the status of the nodes.
    pub(crate) fn tick(&mut self, now: Instant) {
        let at = now.saturating_duration_since(self.started);
        self.log_suppressed(at);
        let (publishing, all) = (self.publishing(), self.rows.len());
        if publishing == all && !self.all_published {
            self.all_published = true;
            self.log("demo", LineKind::Info, format!("all {all} nodes publish"), now);
        }
    }

    fn log_suppressed(&mut self, at: Duration) {
        if let Some(suppressed) = self.throttle.flush(at) {
            let text = format!("… and {suppressed} more lines");
            self.push(at, "nodes".to_owned(), LineKind::Info, text);
        }
    }

    pub(crate) fn log(&mut self, source: &str, kind: LineKind, text: String, now: Instant) {
        let at = now.saturating_duration_since(self.started);
        self.push(at, source.to_owned(), kind, text);
    }

    fn push(&mut self, at: Duration, source: String, kind: LineKind, text: String) {
        let list = if kind == LineKind::Average { &mut self.averages } else { &mut self.events };
        if list.len() == MAX_LINES {
            list.pop_front();
        }
        list.push_back(Line { number: self.lines, at, source, kind, text });
        self.lines += 1;
    }

    /// Returns the lines of both lists since the last call as text, in the order of their arrival.
    pub(crate) fn take_lines(&mut self) -> String {
        let first = std::mem::replace(&mut self.unprinted, self.lines);
        let lists = [&self.events, &self.averages];
        let new = lists.map(|list| list.range(list.partition_point(|line| line.number < first)..));
        let mut new: Vec<&Line> = new.into_iter().flatten().collect();
        new.sort_unstable_by_key(|line| line.number);
        new.iter()
            .map(|line| format!("{:>9.3}  {:<10} {}\n", line.at.as_secs_f64(), line.source, line.text))
            .collect()
    }

    /// Returns the summary, with one `key: value` per line.
    pub(crate) fn summary(&self) -> String {
        let audit = &self.audit;
        let values: [(&str, u64); 11] = [
            ("nodes", self.rows.len() as u64),
            ("publishing", self.publishing() as u64),
            ("sessions", self.server.sessions as u64),
            ("leaders", audit.epochs),
            ("averages", audit.computed),
            ("averages of all nodes", self.complete),
            ("delivered", audit.delivered),
            ("waiting", audit.waiting() as u64),
            ("lost", audit.lost() as u64),
            ("repeated", audit.repeated),
            ("from a deposed leader", audit.stale),
        ];
        values.iter().map(|(key, value)| format!("{key}: {value}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::log_capture::LogLine;
    use super::*;
    use crate::model::report::CycleReport;

    fn state(nodes: u32) -> (State, Instant) {
        let start = Instant::now();
        let addresses = ("127.0.0.1:2181".to_owned(), "http://127.0.0.1:8000/".to_owned());
        (State::new(nodes, Duration::from_secs(1), addresses, start), start)
    }

    #[test]
    fn event_log_is_bounded_for_any_number_of_lines() {
        let (mut state, start) = state(1000);
        for milliseconds in 0..5_000 {
            let at = start + Duration::from_millis(milliseconds);
            let line = LogLine { at, node: Some(7), level: Level::WARN, text: "suspended".to_owned() };
            state.on_event(Event::Logged(line), at);
        }
        assert!(state.events.len() < 350, "{} lines", state.events.len());
        let (at, text) = (start + Duration::from_millis(4_999), "leading epoch=5".to_owned());
        state.on_event(Event::Logged(LogLine { at, node: Some(8), level: Level::INFO, text }), at);
        let newest = state.events.back();
        assert!(newest.is_some_and(|line| line.text.contains("leading")), "{newest:?}");
        assert!(state.events.iter().any(|line| line.text.contains("more lines")));
        assert_eq!(state.take_lines().lines().count(), state.events.len());
        assert_eq!(state.take_lines(), "");
    }

    #[test]
    fn average_is_logged_with_its_values() {
        let (mut state, start) = state(3);
        let average = Average {
            unit: Some("Cel".to_owned()),
            mean: 79.666,
            min: 75.0,
            max: 85.0,
            count: 3,
            ..Average::default()
        };
        let report =
            CycleReport::new(5, 1, Timestamp::UNIX_EPOCH, vec![average], 1).reports().next().unwrap();
        state.on_event(Event::Averaged(report), start + Duration::from_secs(2));
        let line = state.averages.back().unwrap();
        assert_eq!(line.text, "79.67 Cel count=3 min=75 max=85 cycle=1 excluded=1");
        assert_eq!(state.complete, 1);
        assert!(state.summary().contains("averages of all nodes: 1\n"), "{}", state.summary());
    }
}
