//! What a node is doing, in one line for `systemctl status`. Pure.

use std::time::{Duration, Instant};

use atalaya_recipes::{Phase, Standing};

use crate::model::text::is_unsafe;
use crate::observe::node_status::NodeStatus;
use crate::settings::Settings;

/// Shortest time between two lines.
const PAUSE: Duration = Duration::from_secs(1);
/// Most characters of a line.
const LONGEST: usize = 200;

/// The line, and when it was told last.
#[derive(Debug)]
pub(super) struct Line {
    servers: String,
    newest: String,
    told: Option<(Instant, String)>,
}

impl Line {
    /// Of a node with these settings; nothing has been told.
    pub(super) fn new(settings: &Settings) -> Line {
        Line { servers: settings.zookeeper.to_string(), newest: String::new(), told: None }
    }

    /// Whether any has been told.
    pub(super) fn is_out(&self) -> bool {
        self.told.is_some()
    }

    /// Takes note of what the node is doing; gives when the next line is due. The first one has no time of its own: it
    /// follows the word that the node is ready.
    pub(super) fn look(&mut self, node_status: &NodeStatus) -> Option<Instant> {
        self.newest = describe(node_status, &self.servers);
        match &self.told {
            None => None,
            Some((_, told)) if *told == self.newest => None,
            Some((at, _)) => Some(*at + PAUSE),
        }
    }

    /// The line that is to be told at `now`, if any; it counts as told then.
    pub(super) fn take(&mut self, now: Instant) -> Option<String> {
        let due = match &self.told {
            None => true,
            Some((at, told)) => *told != self.newest && now >= *at + PAUSE,
        };
        due.then(|| {
            self.told = Some((now, self.newest.clone()));
            self.newest.clone()
        })
    }
}

fn describe(node_status: &NodeStatus, servers: &str) -> String {
    let connected = node_status.session.is_some_and(|view| view.phase == Phase::Connected);
    let doing = match node_status.standing {
        _ if !connected => format!("waiting for ZooKeeper at {servers}"),
        Standing::Leading => "leading".to_owned(),
        Standing::Waiting { ahead: 0 } => "in line to lead".to_owned(),
        Standing::Waiting { ahead } => format!("following, {ahead} ahead"),
        Standing::Inactive if node_status.published.stored > 0 => "joining".to_owned(),
        Standing::Inactive => "connected, not published yet".to_owned(),
    };
    let failing = match (node_status.faults.len(), node_status.faults.first_key_value()) {
        (_, None) => String::new(),
        (1, Some((name, fault))) => format!("; sensor {name}: {fault}"),
        (count, Some((name, fault))) => format!("; {count} sensors fail, {name}: {fault}"),
    };
    let wrong = match node_status.wrong_znodes.first() {
        Some(wrong) => format!("; {wrong}"),
        None => String::new(),
    };
    let line = |c: char| if is_unsafe(c) { ' ' } else { c };
    format!("{doing}{wrong}{failing}").chars().take(LONGEST).map(line).collect()
}

#[cfg(test)]
mod tests {
    use atalaya_recipes::{WrongZnode, ZnodeProblem};

    use super::*;

    #[test]
    fn one_line_says_what_it_does_and_what_fails() {
        let mut node_status = NodeStatus::default();
        assert_eq!(describe(&node_status, "zk1:2181"), "waiting for ZooKeeper at zk1:2181");
        let view = atalaya_recipes::SessionState {
            phase: Phase::Connected,
            connection: 1,
            session: 7,
            timeout: Duration::from_secs(10),
        };
        node_status.session = Some(view);
        node_status.standing = Standing::Waiting { ahead: 2 };
        node_status.faults.insert("air".into(), "no acknowledge\nREADY=1".into());
        assert_eq!(describe(&node_status, ""), "following, 2 ahead; sensor air: no acknowledge READY=1");
        let squatter = WrongZnode::new("/election/x__lock__0000000000", ZnodeProblem::NotEphemeral);
        node_status.wrong_znodes.insert(squatter);
        let text = describe(&node_status, "");
        assert!(
            text.starts_with("following, 2 ahead; /election/x__lock__0000000000 is not ephemeral"),
            "{text}"
        );
        node_status.wrong_znodes.clear();
        node_status.standing = Standing::Leading;
        node_status.faults.insert("sun".into(), "x".repeat(1_000));
        let text = describe(&node_status, "");
        assert!(text.starts_with("leading; 2 sensors fail, air: ") && text.len() <= LONGEST, "{text}");
    }

    #[test]
    fn lines_are_told_once_a_second_and_the_newest_wins() {
        let (start, mut node_status) = (Instant::now(), NodeStatus::default());
        let mut line = Line::new(&crate::settings::tests::defaults());
        assert_eq!(line.look(&node_status), None);
        assert!(line.take(start).is_some());
        assert_eq!((line.look(&node_status), line.take(start + PAUSE * 9)), (None, None));
        for fault in ["a", "b"] {
            node_status.faults.insert("s".into(), fault.into());
            assert_eq!(line.look(&node_status), Some(start + PAUSE));
            assert_eq!(line.take(start), None);
        }
        assert!(line.take(start + PAUSE).unwrap().ends_with("s: b"));
    }
}
