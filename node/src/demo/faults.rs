//! What is done to the fleet: faults, by keys and by scripts, carried out and said.

use std::ops::ControlFlow;
use std::time::Instant;

use super::fleet::{Member, Plan};
use super::script::{ApiMode, Fault, Who};
use super::state::Tone;
use super::{Demo, DemoError};

impl Demo {
    /// The numbers of those that are meant.
    fn meant(&self, who: Who) -> Vec<u32> {
        match who {
            Who::Node(number) => vec![number],
            Who::Leader => self.state.leader().into_iter().collect(),
            Who::All => self.members.keys().copied().collect(),
        }
    }

    /// Does something to the fleet, and says so.
    pub(super) async fn fault(&mut self, fault: Fault) -> Result<ControlFlow<()>, DemoError> {
        // Who leads may have changed since the last frame.
        self.look().await;
        let faults = self.server.faults();
        let said = match fault {
            Fault::Kill(who) => self.each(who, "killed", |member, _| Ok(member.kill()))?,
            Fault::Hang(who) => self.each(who, "stopped", |member, _| Ok(member.hang()))?,
            Fault::Revive(who) => self.each(who, "revived", |member, plan| member.revive(plan))?,
            Fault::Expire(who) => {
                let sessions: Vec<i64> = (self.state.rows.iter())
                    .filter(|row| self.meant(who).contains(&row.number))
                    .filter_map(|row| row.session())
                    .collect();
                let mut expired = 0;
                for session in sessions {
                    expired += usize::from(faults.expire(session).await);
                }
                match expired {
                    0 => format!("{who} has no session that could expire"),
                    1 => format!("the session of {who} expires"),
                    many => format!("{many} sessions expire"),
                }
            }
            Fault::Api(mode) => match self.sink.set(mode) {
                Ok(()) => format!(
                    "the API {}",
                    match mode {
                        ApiMode::Up => "is back",
                        ApiMode::Away => "goes away",
                        ApiMode::Hanging => "hangs",
                        ApiMode::Failing => "fails: 500 to every report",
                    }
                ),
                Err(error) => format!("the API cannot come back: {error}"),
            },
            Fault::StopZooKeeper => {
                faults.stop().await;
                "ZooKeeper stops".to_owned()
            }
            Fault::StartZooKeeper => {
                faults.start_again().await;
                "ZooKeeper is back".to_owned()
            }
            Fault::End => return Ok(ControlFlow::Break(())),
            Fault::Panic => panic!("as the script wants it"),
        };
        self.state.say("demo", Tone::Fault, said, Instant::now());
        Ok(ControlFlow::Continue(()))
    }

    /// Does `act` to each of those that are meant, and says to how many something was `done`.
    fn each(
        &mut self,
        who: Who,
        done: &str,
        act: impl Fn(&mut Member, &Plan) -> Result<bool, DemoError>,
    ) -> Result<String, DemoError> {
        let meant = self.meant(who);
        let mut hit = Vec::new();
        for number in &meant {
            if let Some(member) = self.members.get_mut(number)
                && act(member, &self.plan)?
            {
                hit.push(*number);
            }
        }
        Ok(match (hit.as_slice(), who) {
            ([], Who::Leader) if meant.is_empty() => "nobody leads at the moment".to_owned(),
            ([], who) => format!("{who} cannot be {done}: nothing to be done"),
            ([one], Who::Leader) => format!("node {one}, the leader, is {done}"),
            ([one], _) => format!("node {one} is {done}"),
            (many, _) => format!("{} nodes are {done}", many.len()),
        })
    }
}
