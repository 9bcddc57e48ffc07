//! Whether a node lives, and whether it does what it is there for. Pure: [`Look`] is what is known of it at one moment.

use std::time::Duration;

use crate::sampling::read_timeout;

/// A node at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Look {
    pub(crate) stage: Stage,
    pub(crate) period: Duration,
    /// What does not go on.
    pub(crate) stuck: Vec<&'static str>,
    /// Sensors that cannot be read, and why.
    pub(crate) faults: Vec<(String, String)>,
    /// How long ago anything was measured.
    pub(crate) measured: Option<Duration>,
    /// How long ago a measurement was stored.
    pub(crate) published: Option<Duration>,
    /// The connection to ZooKeeper stands, and has been heard of within a session timeout.
    pub(crate) connected: bool,
    /// Its znode is its own.
    pub(crate) held: bool,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Starting,
    Running,
    /// Its own thread does not answer.
    Hanging,
    Stopping,
}

/// What is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) is_good: bool,
    pub(crate) text: String,
}

/// Sensors that are named, at most.
const NAMED: usize = 10;

/// For so long a measurement counts: as long as a leader takes it, and the time that a reading may take.
pub(crate) fn life(period: Duration) -> Duration {
    (period * 3).max(Duration::from_secs(1)) + read_timeout(period)
}

impl Look {
    /// Whether the process and its parts go on. What a restart would not change (sensors, ZooKeeper and API that are away)
    /// is told, and is no reason.
    pub(crate) fn alive(&self) -> Verdict {
        match self.stage {
            Stage::Hanging => {
                return Verdict::bad(vec!["the node does not answer within a second: it hangs".into()]);
            }
            Stage::Starting => return Verdict::good("starting", Vec::new()),
            Stage::Stopping => return Verdict::good("stopping", Vec::new()),
            Stage::Running => {}
        }
        let notes = self.notes();
        if self.stuck.is_empty() {
            return Verdict::good("ok", notes);
        }
        Verdict::bad(self.stuck.iter().map(|stuck| (*stuck).to_owned()).chain(notes).collect())
    }

    /// Whether it measures, is connected, and has published lately.
    pub(crate) fn ready(&self) -> Verdict {
        match self.stage {
            Stage::Hanging => return self.alive(),
            Stage::Starting => return Verdict::bad(vec!["it is starting".into()]),
            Stage::Stopping => return Verdict::bad(vec!["it is stopping".into()]),
            Stage::Running => {}
        }
        let life = life(self.period);
        let mut reasons = Vec::new();
        match self.measured {
            None => reasons.push("nothing was measured yet".to_owned()),
            Some(age) if age > life => reasons.push(format!("nothing was measured for {}", seconds(age))),
            Some(_) => {}
        }
        if !self.connected {
            reasons.push("ZooKeeper is not connected".to_owned());
        }
        match self.published {
            None => reasons.push("nothing was published yet".to_owned()),
            Some(age) if age > life => reasons.push(format!("nothing was published for {}", seconds(age))),
            Some(_) if self.connected && !self.held => {
                reasons.push("its measurement is not known to be its own".to_owned());
            }
            Some(_) => {}
        }
        let notes = self.faults();
        if reasons.is_empty() {
            Verdict::good("ready", notes)
        } else {
            Verdict::bad(reasons.into_iter().chain(notes).collect())
        }
    }

    fn notes(&self) -> Vec<String> {
        let away = (!self.connected).then(|| "ZooKeeper is not connected".to_owned());
        self.faults().into_iter().chain(away).collect()
    }

    fn faults(&self) -> Vec<String> {
        let named = self.faults.iter().take(NAMED).map(|(name, fault)| format!("sensor {name}: {fault}"));
        let more = self.faults.len().saturating_sub(NAMED);
        named.chain((more > 0).then(|| format!("and {more} more"))).collect()
    }
}

fn seconds(age: Duration) -> String {
    format!("{:.1} s", age.as_secs_f64())
}

impl Verdict {
    fn good(word: &str, notes: Vec<String>) -> Verdict {
        Verdict { is_good: true, text: lines(std::iter::once(word.to_owned()).chain(notes)) }
    }

    fn bad(reasons: Vec<String>) -> Verdict {
        Verdict { is_good: false, text: lines(reasons) }
    }
}

fn lines(lines: impl IntoIterator<Item = String>) -> String {
    lines.into_iter().map(|line| line + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn well() -> Look {
        Look {
            stage: Stage::Running,
            period: SECOND,
            stuck: Vec::new(),
            faults: Vec::new(),
            measured: Some(SECOND),
            published: Some(SECOND),
            connected: true,
            held: true,
        }
    }

    #[test]
    fn who_is_well_says_so_in_a_word() {
        assert_eq!(well().alive(), Verdict { is_good: true, text: "ok\n".into() });
        assert_eq!(well().ready(), Verdict { is_good: true, text: "ready\n".into() });
    }

    #[test]
    fn what_a_restart_would_not_change_is_told_and_is_no_reason_for_one() {
        let look = Look {
            connected: false,
            measured: None,
            published: None,
            faults: vec![("air".into(), "cut".into())],
            ..well()
        };
        let alive = look.alive();
        assert_eq!(
            (alive.is_good, &*alive.text),
            (true, "ok\nsensor air: cut\nZooKeeper is not connected\n")
        );
        let ready = look.ready();
        assert!(!ready.is_good && ready.text.contains("nothing was measured yet\n"), "{}", ready.text);
        assert!(ready.text.contains("nothing was published yet\nsensor air: cut\n"), "{}", ready.text);
    }

    #[test]
    fn what_hangs_is_neither_alive_nor_ready() {
        let look = Look { stage: Stage::Hanging, ..well() };
        assert!(!look.alive().is_good && !look.ready().is_good);
        let look = Look { stuck: vec!["the measuring stands still"], ..well() };
        assert!(!look.alive().is_good);
    }

    #[test]
    fn who_starts_or_stops_lives_and_is_not_ready() {
        for stage in [Stage::Starting, Stage::Stopping] {
            let look = Look { stage, ..well() };
            assert!(look.alive().is_good && !look.ready().is_good, "{stage:?}");
        }
    }

    #[test]
    fn a_measurement_has_a_life() {
        let look = |age| Look { measured: Some(age), published: Some(age), ..well() };
        assert!(look(4 * SECOND).ready().is_good);
        let ready = look(5 * SECOND).ready();
        assert_eq!(ready.text, "nothing was measured for 5.0 s\nnothing was published for 5.0 s\n");
        assert!(!Look { held: false, ..well() }.ready().is_good);
    }

    #[test]
    fn hundreds_of_sensors_do_not_make_a_page() {
        let faults = (0..500).map(|n| (n.to_string(), "cut".to_owned())).collect();
        assert_eq!(Look { faults, ..well() }.alive().text.lines().count(), 12);
    }
}
