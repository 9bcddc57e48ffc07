//! Injection of faults into the fleet, on the request of a key or of the script.

use std::ops::ControlFlow;
use std::time::Instant;

use super::fleet::{Member, NodeConfig};
use super::script::{ApiMode, Fault, Target};
use super::state::LineKind;
use super::{Demo, DemoError};

impl Demo {
    fn targets(&self, target: Target) -> Vec<u32> {
        match target {
            Target::Node(number) => vec![number],
            Target::Leader => self.state.leader().into_iter().collect(),
            Target::All => self.members.keys().copied().collect(),
        }
    }

    /// Injects a fault and adds a line about it to the event log.
    pub(super) async fn inject(&mut self, fault: Fault) -> Result<ControlFlow<()>, DemoError> {
        // The leader may have changed since the last frame.
        self.refresh().await;
        let faults = self.server.faults();
        let message = match fault {
            Fault::Kill(target) => self.for_each(target, "killed", |member, _| Ok(member.kill()))?,
            Fault::Hang(target) => self.for_each(target, "stopped", |member, _| Ok(member.hang()))?,
            Fault::Revive(target) => {
                self.for_each(target, "revived", |member, config| member.revive(config))?
            }
            Fault::Expire(target) => {
                let targets = self.targets(target);
                let rows = self.state.rows.iter().filter(|row| targets.contains(&row.number));
                let mut expired = 0;
                for session in rows.filter_map(|row| row.session()) {
                    expired += usize::from(faults.expire(session).await);
                }
                match expired {
                    0 => format!("{target}: no session to expire"),
                    1 => format!("the session of {target} expires"),
                    many => format!("{many} sessions expire"),
                }
            }
            Fault::Api(mode) => match (self.api.set_mode(mode), mode) {
                (Err(error), _) => format!("the API cannot be started again: {error}"),
                (Ok(()), ApiMode::Up) => "the API is up again".to_owned(),
                (Ok(()), ApiMode::Down) => "the API is down".to_owned(),
                (Ok(()), ApiMode::Hanging) => "the API hangs".to_owned(),
                (Ok(()), ApiMode::Failing) => "the API answers every report with 503".to_owned(),
            },
            Fault::StopZooKeeper => {
                faults.stop().await;
                "ZooKeeper stops".to_owned()
            }
            Fault::StartZooKeeper => {
                faults.restart().await;
                "ZooKeeper is up again".to_owned()
            }
            Fault::End => return Ok(ControlFlow::Break(())),
            Fault::Panic => panic!("requested by the script"),
        };
        self.state.log("demo", LineKind::Fault, message, Instant::now());
        Ok(ControlFlow::Continue(()))
    }

    /// Applies `action` to each target node. Returns a message with the number of nodes that were affected.
    fn for_each(
        &mut self,
        target: Target,
        done: &str,
        action: impl Fn(&mut Member, &NodeConfig) -> Result<bool, DemoError>,
    ) -> Result<String, DemoError> {
        let targets = self.targets(target);
        let mut affected = Vec::new();
        for number in &targets {
            if let Some(member) = self.members.get_mut(number)
                && action(member, &self.config)?
            {
                affected.push(*number);
            }
        }
        Ok(match (affected.as_slice(), target) {
            ([], Target::Leader) if targets.is_empty() => "no node is the leader at the moment".to_owned(),
            ([], target) => format!("{target} cannot be {done} in its current state"),
            ([one], Target::Leader) => format!("node {one}, the leader, is {done}"),
            ([one], _) => format!("node {one} is {done}"),
            (many, _) => format!("{} nodes are {done}", many.len()),
        })
    }
}
