//! What the demo knows, and what it says when something happens. No I/O; time comes from outside.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use atalaya_recipes::{Phase, Standing};
use atalaya_sim::zookeeper::Figures;
use tracing::Level;

use super::fleet::Condition;
use super::happening::Happening;
use super::ledger::{Arrival, Ledger, Verdict};
use super::script::ApiMode;
use super::throttle::Throttle;
use crate::model::report::{Average, Report};
use crate::observe::node_status::NodeStatus;

/// How many lines of the log are kept.
const LINES: usize = 1_000;

/// A node, as it is shown.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Its number, and its id.
    pub number: u32,
    /// Whether it runs.
    pub condition: Condition,
    /// What it was doing when it was last looked at.
    pub vitals: NodeStatus,
}

impl Row {
    /// A node that is about to be started.
    pub(crate) fn new(number: u32) -> Row {
        Row { number, condition: Condition::Up, vitals: NodeStatus::default() }
    }

    fn runs(&self) -> bool {
        self.condition == Condition::Up
    }

    /// Whether it leads, and runs.
    pub(crate) fn leads(&self) -> bool {
        self.runs() && self.vitals.standing == Standing::Leading
    }

    /// Whether its measurement stands in ZooKeeper.
    pub(crate) fn publishes(&self) -> bool {
        self.runs() && self.vitals.published.held
    }

    /// Its session, if it is connected.
    pub(crate) fn session(&self) -> Option<i64> {
        self.vitals.session.filter(|view| view.session != 0).map(|view| view.session)
    }

    /// Whether it is without ZooKeeper.
    pub(crate) fn cut_off(&self) -> bool {
        self.runs() && self.vitals.session.is_some_and(|view| view.phase != Phase::Connected)
    }
}

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Somebody says what he does.
    Plain,
    /// An average.
    Average,
    /// Something is done to the fleet.
    Fault,
    /// Something is wrong.
    Bad,
}

/// A line of the event log.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    /// Since the start.
    pub at: Duration,
    /// Who says it.
    pub who: String,
    /// How it is meant.
    pub tone: Tone,
    /// What is said.
    pub text: String,
}

/// Everything that is shown.
#[derive(Debug)]
pub(crate) struct State {
    /// When the demo began.
    pub started: Instant,
    /// How often the nodes measure.
    pub period: Duration,
    /// The nodes by number.
    pub rows: Vec<Row>,
    /// The averages.
    pub ledger: Ledger,
    /// What was said, oldest first.
    pub log: VecDeque<Line>,
    /// What the API does.
    pub api: ApiMode,
    /// Where its page is.
    pub page: String,
    /// Where ZooKeeper is.
    pub zookeeper: String,
    /// Whether it runs.
    pub zookeeper_up: bool,
    /// What it counts.
    pub figures: Figures,
    /// Cycles whose average was one of all nodes.
    pub complete: u64,
    /// Lines that are not printed yet.
    unsaid: VecDeque<Line>,
    throttle: Throttle,
    whole: bool,
}

impl State {
    /// A fleet of `nodes` that are about to be started.
    pub(crate) fn new(
        nodes: u32,
        period: Duration,
        (zookeeper, page): (String, String),
        started: Instant,
    ) -> State {
        State {
            started,
            period,
            rows: (1..=nodes).map(Row::new).collect(),
            ledger: Ledger::default(),
            log: VecDeque::new(),
            api: ApiMode::Up,
            page,
            zookeeper,
            zookeeper_up: true,
            figures: Figures::default(),
            complete: 0,
            unsaid: VecDeque::new(),
            throttle: Throttle::default(),
            whole: false,
        }
    }

    /// The number of the node that leads, if one does.
    pub(crate) fn leader(&self) -> Option<u32> {
        self.rows.iter().find(|row| row.leads()).map(|row| row.number)
    }

    /// How many nodes publish.
    pub(crate) fn publishing(&self) -> usize {
        self.rows.iter().filter(|row| row.publishes()).count()
    }

    /// Something happened, at `now`.
    pub(crate) fn on(&mut self, happening: Happening, now: Instant) {
        match happening {
            Happening::Said(said) => {
                let who = said.node.map_or_else(|| "zookeeper".to_owned(), |number| format!("node {number}"));
                let tone = if said.level <= Level::WARN { Tone::Bad } else { Tone::Plain };
                let at = said.at.saturating_duration_since(self.started);
                let pass = self.throttle.line(at);
                self.held_back(pass.held, at);
                // Who leads is what everybody waits for, however many others speak.
                if pass.line || said.text.starts_with("leading") {
                    self.push(Line { at, who, tone, text: said.text });
                }
            }
            Happening::Averaged(report) => self.averaged(&report, now),
            Happening::Arrived(arrival, verdict) => {
                self.ledger.arrived(&arrival, verdict);
                let Arrival { epoch, cycle, .. } = arrival;
                let problem = match verdict {
                    Verdict::New | Verdict::Repeated => return,
                    Verdict::Stale => format!("a report of epoch {epoch}, whose leader was deposed, arrived"),
                    Verdict::Conflict => format!("cycle {cycle} arrived with another average than before"),
                };
                self.say("api", Tone::Bad, problem, now);
            }
            Happening::Ended { node, why, .. } => {
                if let Some(why) = why {
                    self.say(&format!("node {node}"), Tone::Bad, format!("ended: {why}"), now);
                }
            }
        }
    }

    fn averaged(&mut self, report: &Report, now: Instant) {
        if !self.ledger.computed(now.saturating_duration_since(self.started).as_secs_f64(), report) {
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
        match self.ledger.waiting() {
            // The newest is always on its way for a moment.
            0 | 1 => {}
            waiting => text.push_str(&format!(" waiting={waiting}")),
        }
        self.say("average", Tone::Average, text, now);
    }

    /// Time went by.
    pub(crate) fn tick(&mut self, now: Instant) {
        let at = now.saturating_duration_since(self.started);
        let held = self.throttle.flush(at);
        self.held_back(held, at);
        let (publishing, all) = (self.publishing(), self.rows.len());
        if publishing == all && !self.whole {
            self.whole = true;
            self.say("demo", Tone::Plain, format!("all {all} nodes publish"), now);
        }
    }

    fn held_back(&mut self, held: Option<u64>, at: Duration) {
        if let Some(held) = held {
            let text = format!("… and {held} lines more");
            self.push(Line { at, who: "nodes".to_owned(), tone: Tone::Plain, text });
        }
    }

    /// Says something.
    pub(crate) fn say(&mut self, who: &str, tone: Tone, text: String, now: Instant) {
        let at = now.saturating_duration_since(self.started);
        self.push(Line { at, who: who.to_owned(), tone, text });
    }

    fn push(&mut self, line: Line) {
        for lines in [&mut self.log, &mut self.unsaid] {
            if lines.len() == LINES {
                lines.pop_front();
            }
        }
        self.log.push_back(line.clone());
        self.unsaid.push_back(line);
    }

    /// The lines since the last call, oldest first.
    pub(crate) fn take_lines(&mut self) -> impl Iterator<Item = Line> {
        std::mem::take(&mut self.unsaid).into_iter()
    }

    /// What it came to, one `key: value` a line.
    pub(crate) fn summary(&self) -> String {
        let ledger = &self.ledger;
        let figures: [(&str, u64); 11] = [
            ("nodes", self.rows.len() as u64),
            ("publishing", self.publishing() as u64),
            ("sessions", self.figures.sessions as u64),
            ("leaders", ledger.terms),
            ("averages", ledger.computed),
            ("averages of all nodes", self.complete),
            ("delivered", ledger.delivered),
            ("waiting", ledger.waiting() as u64),
            ("lost", ledger.lost() as u64),
            ("repeated", ledger.repeated),
            ("from a deposed leader", ledger.stale),
        ];
        figures.iter().map(|(key, value)| format!("{key}: {value}\n")).collect()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::super::journal::Said;
    use super::*;
    use crate::model::report::CycleReport;

    fn state(nodes: u32) -> (State, Instant) {
        let start = Instant::now();
        let places = ("127.0.0.1:2181".to_owned(), "http://127.0.0.1:8000/".to_owned());
        (State::new(nodes, Duration::from_secs(1), places, start), start)
    }

    #[test]
    fn lines_are_bounded_however_many_nodes_shout() {
        let (mut state, start) = state(1000);
        for milliseconds in 0..5_000 {
            let at = start + Duration::from_millis(milliseconds);
            let said = Said { at, node: Some(7), level: Level::WARN, text: "suspended".to_owned() };
            state.on(Happening::Said(said), at);
        }
        assert!(state.log.len() < 350, "{} lines", state.log.len());
        let (at, text) = (start + Duration::from_millis(4_999), "leading epoch=5".to_owned());
        state.on(Happening::Said(Said { at, node: Some(8), level: Level::INFO, text }), at);
        assert!(state.log.back().is_some_and(|line| line.text.contains("leading")), "{:?}", state.log.back());
        assert!(state.log.iter().any(|line| line.text.contains("lines more")));
        assert_eq!(state.take_lines().count(), state.log.len());
        assert_eq!(state.take_lines().count(), 0);
    }

    #[test]
    fn an_average_is_said_with_all_it_is_made_of() {
        let (mut state, start) = state(3);
        let average = Average {
            quantity: None,
            unit: Some("Cel".to_owned()),
            mean: 79.666,
            min: 75.0,
            max: 85.0,
            stddev: None,
            count: 3,
        };
        let report =
            CycleReport::new(5, 1, Timestamp::UNIX_EPOCH, vec![average], 1).reports().next().unwrap();
        state.on(Happening::Averaged(report), start + Duration::from_secs(2));
        let line = state.log.back().unwrap();
        assert_eq!(line.text, "79.67 Cel count=3 min=75 max=85 cycle=1 excluded=1");
        assert_eq!(state.complete, 1);
        assert!(state.summary().contains("averages of all nodes: 1\n"), "{}", state.summary());
    }
}
