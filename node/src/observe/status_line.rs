//! The line that `systemctl status` shows for a node. No I/O; time is passed in.

use std::time::{Duration, Instant};

use atalaya_config::LeadMode;
use atalaya_recipes::{Phase, Standing};

use crate::model::text::is_unsafe;
use crate::observe::node_status::NodeStatus;
use crate::settings::Settings;

const MIN_INTERVAL: Duration = Duration::from_secs(1);
const MAX_LENGTH: usize = 200;

/// The newest line, and the last one that was sent.
#[derive(Debug)]
pub(super) struct StatusLine {
    servers: String,
    contends: bool,
    newest: String,
    pub(super) sent: Option<(Instant, String)>,
}

impl StatusLine {
    pub(super) fn new(settings: &Settings) -> StatusLine {
        let servers = settings.zookeeper.to_string();
        StatusLine { servers, contends: settings.lead != LeadMode::Never, newest: String::new(), sent: None }
    }

    /// Updates the line. Returns when it must be sent; `None` if it has not changed, and for the first line, which
    /// follows the message that the node is ready.
    pub(super) fn update(&mut self, status: &NodeStatus) -> Option<Instant> {
        self.newest = describe(status, &self.servers, self.contends);
        let (at, _) = self.sent.as_ref().filter(|(_, sent)| *sent != self.newest)?;
        Some(*at + MIN_INTERVAL)
    }

    /// Returns the line if it must be sent at `now`, and marks it as sent.
    pub(super) fn take(&mut self, now: Instant) -> Option<String> {
        let is_early = |(at, sent): &(Instant, String)| *sent == self.newest || now < *at + MIN_INTERVAL;
        if self.sent.as_ref().is_some_and(is_early) {
            return None;
        }
        self.sent = Some((now, self.newest.clone()));
        Some(self.newest.clone())
    }
}

fn describe(status: &NodeStatus, servers: &str, contends: bool) -> String {
    let is_connected = status.session.is_some_and(|session| session.phase == Phase::Connected);
    let activity = match status.standing {
        _ if !is_connected => match &status.connect_error {
            Some(error) => format!("waiting for ZooKeeper at {servers}: {error}"),
            None => format!("waiting for ZooKeeper at {servers}"),
        },
        Standing::Leading => "leading".to_owned(),
        Standing::Waiting { ahead: 0 } => "next in line to lead".to_owned(),
        Standing::Waiting { ahead } => format!("following, {ahead} ahead"),
        Standing::Standby => "on standby, waiting until a contender leaves".to_owned(),
        Standing::Inactive if status.published.stored > 0 && !contends => "measuring, never leads".to_owned(),
        Standing::Inactive if status.published.stored > 0 => "joining".to_owned(),
        Standing::Inactive => "connected, not published yet".to_owned(),
    };
    let errors = match (status.sensor_errors.len(), status.sensor_errors.first_key_value()) {
        (_, None) => String::new(),
        (1, Some((name, error))) => format!("; sensor {name}: {error}"),
        (count, Some((name, error))) => format!("; {count} sensors fail, {name}: {error}"),
    };
    let wrong = status.wrong_znodes.first().map(|wrong| format!("; {wrong}")).unwrap_or_default();
    // A line break would start another assignment of the notification protocol.
    let safe = |c: char| if is_unsafe(c) { ' ' } else { c };
    format!("{activity}{wrong}{errors}").chars().take(MAX_LENGTH).map(safe).collect()
}

#[cfg(test)]
mod tests {
    use atalaya_recipes::{WrongZnode, ZnodeProblem};

    use super::*;

    #[test]
    fn status_line_shows_the_activity_and_the_errors() {
        let mut status = NodeStatus::default();
        assert_eq!(describe(&status, "zk1:2181", true), "waiting for ZooKeeper at zk1:2181");
        let session = atalaya_recipes::SessionState {
            phase: Phase::Connected,
            connection: 1,
            session: 7,
            timeout: Duration::from_secs(10),
        };
        status.session = Some(session);
        status.published.stored = 1;
        assert_eq!(describe(&status, "", true), "joining");
        assert_eq!(describe(&status, "", false), "measuring, never leads");
        status.standing = Standing::Waiting { ahead: 2 };
        status.sensor_errors.insert("air".into(), "no acknowledge\nREADY=1".into());
        assert_eq!(describe(&status, "", true), "following, 2 ahead; sensor air: no acknowledge READY=1");
        status.standing = Standing::Standby;
        let text = describe(&status, "", true);
        assert!(text.starts_with("on standby, waiting until a contender leaves; sensor air: "), "{text}");
        status.standing = Standing::Waiting { ahead: 2 };
        let squatter = WrongZnode::new("/election/x__lock__0000000000", ZnodeProblem::NotEphemeral);
        status.wrong_znodes.insert(squatter);
        let text = describe(&status, "", true);
        assert!(
            text.starts_with("following, 2 ahead; /election/x__lock__0000000000 is not ephemeral"),
            "{text}"
        );
        status.wrong_znodes.clear();
        status.standing = Standing::Leading;
        status.sensor_errors.insert("sun".into(), "x".repeat(1_000));
        let text = describe(&status, "", true);
        assert!(text.starts_with("leading; 2 sensors fail, air: ") && text.len() <= MAX_LENGTH, "{text}");
    }

    #[test]
    fn status_line_is_sent_once_a_second_and_only_the_newest() {
        let (start, mut status) = (Instant::now(), NodeStatus::default());
        let mut line = StatusLine::new(&crate::settings::tests::defaults());
        assert_eq!(line.update(&status), None);
        assert!(line.take(start).is_some());
        assert_eq!((line.update(&status), line.take(start + MIN_INTERVAL * 9)), (None, None));
        for error in ["a", "b"] {
            status.sensor_errors.insert("s".into(), error.into());
            assert_eq!(line.update(&status), Some(start + MIN_INTERVAL));
            assert_eq!(line.take(start), None);
        }
        assert!(line.take(start + MIN_INTERVAL).unwrap().ends_with("s: b"));
    }
}
