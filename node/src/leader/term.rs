//! The fence: which epoch it is, and how many cycles the fleet has had. It stands at `/atalaya/term`; whoever leads has
//! written its epoch there, and every cycle is written at the version that was read. Pure.

use serde::{Deserialize, Serialize};

/// Where it stands.
pub const PATH: &str = "/atalaya/term";

/// What stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Term {
    /// Goes up by one with every leader.
    pub epoch: i64,
    /// Goes up by one with every cycle that was written down, whoever leads.
    pub cycle: u64,
}

impl Term {
    /// Reads what stands there. `None`: nothing that a leader has written.
    pub fn parse(data: &[u8]) -> Option<Term> {
        serde_json::from_slice(data).ok().filter(|term: &Term| (0..i64::MAX).contains(&term.epoch))
    }

    /// As it is written.
    pub fn data(&self) -> Vec<u8> {
        // Numbers only: this cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The term of a new leader after `before`, or the first one.
    ///
    /// The first epoch is the second, since 1970, in which the leader's znode was `created` by ZooKeeper's clock, in
    /// milliseconds: should ZooKeeper's data be lost, epochs go on above all that receivers have seen. `newest` is the highest cycle of
    /// which something is written down: cycles go on above that.
    /// `own` is what this leader wrote there itself, should somebody have deleted that.
    pub fn next(before: Option<Term>, own: Option<Term>, created: i64, newest: u64) -> Term {
        let epoch = match before {
            Some(before) => before.epoch + 1,
            None => (created / 1000).max(1),
        };
        let (least, cycle) = own.map_or((1, 0), |own| (own.epoch + 1, own.cycle));
        let cycle = before.map_or(0, |before| before.cycle).max(cycle).max(newest);
        Term { epoch: epoch.max(least), cycle }
    }

    /// After one cycle more.
    pub fn advanced(self) -> Term {
        Term { cycle: self.cycle + 1, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let term = Term { epoch: 7, cycle: 41 };
        assert_eq!(String::from_utf8(term.data()).unwrap(), r#"{"epoch":7,"cycle":41}"#);
        assert_eq!(Term::parse(&term.data()), Some(term));
        assert_eq!(Term::parse(br#"{"epoch":7,"cycle":41,"later":"versions"}"#), Some(term));
        for wrong in [
            &b""[..],
            b"7",
            b"{}",
            br#"{"epoch":-1,"cycle":1}"#,
            br#"{"epoch":9223372036854775807,"cycle":1}"#,
        ] {
            assert_eq!(Term::parse(wrong), None, "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn epochs_and_cycles_go_up() {
        let before = Term { epoch: 7, cycle: 41 };
        assert_eq!(Term::next(Some(before), None, 0, 0), Term { epoch: 8, cycle: 41 });
        assert_eq!(before.advanced(), Term { epoch: 7, cycle: 42 });
        // A report is there that the fence does not know: somebody has deleted the fence.
        assert_eq!(Term::next(None, None, 1_700_000_000_123, 55), Term { epoch: 1_700_000_000, cycle: 55 });
        assert_eq!(Term::next(None, Some(before), 5_000, 0), Term { epoch: 8, cycle: 41 }, "who leads knows");
        assert_eq!(Term::next(None, None, 0, 0), Term { epoch: 1, cycle: 0 }, "a clock in 1970 is one, too");
    }
}
