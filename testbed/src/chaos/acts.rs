//! Begins and ends the acts of a schedule.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::deeds::{MEASUREMENTS, REPORTS};
use super::evidence::{Stall, millis};
use super::foreign_client::Request;
use super::hostile::StderrFault;
use super::schedule::{What, Whom};
use super::squatter::Squatter;
use super::stage::Play;
use crate::api::ApiMode;

/// Time for which a node stays down after its session has ended, so that another client can take its path.
const STAYS_DOWN: Duration = Duration::from_millis(1_500);

impl Play<'_> {
    fn find(&self, whom: Whom) -> Option<usize> {
        match whom {
            Whom::Node(node) => Some(node),
            Whom::Leader => {
                let leader = self.glance().leader?;
                self.players.iter().position(|player| player.id == leader)
            }
        }
    }

    pub(super) fn begin(&mut self, number: usize) {
        let act = &self.schedule.acts[number];
        match &act.what {
            What::Kill(whom) => {
                let Some(node) = self.find(*whom) else { return };
                let Some(process) = &mut self.players[node].process else { return };
                let exit = process.kill9();
                self.bury(node, exit, true);
                self.players[node].again = Some(Instant::now() + act.lasts);
                self.count(if *whom == Whom::Leader { "leader killed" } else { "node killed" });
            }
            What::Stop(whom) => {
                let Some(node) = self.find(*whom) else { return };
                let Some(process) = &mut self.players[node].process else { return };
                process.freeze();
                self.whom.insert(number, node);
                self.count(if *whom == Whom::Leader { "leader stopped" } else { "node stopped" });
            }
            What::Servers(servers) => {
                self.disturbed.get_or_insert_with(|| millis(SystemTime::now()));
                servers.iter().for_each(|server| self.ensemble.kill(*server));
                self.count(format!("{} of 3 servers killed", servers.len()));
            }
            What::LeadingServer => {
                self.disturbed.get_or_insert_with(|| millis(SystemTime::now()));
                self.doomed.push(act.lasts);
            }
            What::Api(mode) => {
                self.moods.push(number);
                self.desk.set(*mode);
                self.count(match mode {
                    ApiMode::Slow(_) => "API slow".to_owned(),
                    mode => format!("API {mode:?}"),
                });
            }
            What::Collector(blow) => {
                if self.desk.befalls(number, *blow, act.lasts) {
                    self.count(blow.to("collector"));
                }
            }
            What::Store(blow) => {
                if self.desk.befalls_store(number, *blow, act.lasts) {
                    self.count(blow.to("Redis"));
                }
            }
            What::Stderr(whom, fault) => {
                if let Some(node) = self.find(*whom) {
                    self.lose_stderr(number, node, *fault);
                }
            }
            What::Squatter(squatter) => self.squat(number, *squatter),
            What::ReadOnly(path) => {
                self.ask(number, Request::Restrict { path: (*path).to_owned() });
            }
            What::PoisonedReport(poison, first, rings) => {
                let glance = self.glance();
                let name = poison.name(*first, number, glance.cycle);
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                let data = poison.data(&name, i64::try_from(now).unwrap_or(i64::MAX), glance.epoch);
                self.create(number, format!("{REPORTS}{name}"), data, false, Duration::ZERO);
                if *rings {
                    self.touch_outbox();
                }
            }
            What::PoisonedMeasurement(poison, ephemeral) => {
                let path = measurement_path(number);
                self.create(number, path, poison.data(self.schedule.seed), *ephemeral, Duration::ZERO);
            }
        }
    }

    pub(super) fn end(&mut self, number: usize) {
        match &self.schedule.acts[number].what {
            // The node restarts at its time, even if it was killed again by another fault.
            What::Kill(_) => {}
            What::Stop(_) => {
                if let Some(node) = self.whom.remove(&number)
                    && let Some(process) = &self.players[node].process
                {
                    process.cont();
                }
            }
            What::Servers(servers) => servers.iter().for_each(|server| self.restart(*server)),
            // The server restarts when this time has passed since it was killed.
            What::LeadingServer => {}
            What::Api(_) => {
                self.moods.retain(|mood| *mood != number);
                let mood = self.moods.last().map(|number| &self.schedule.acts[*number].what);
                self.desk.set(if let Some(What::Api(mode)) = mood { *mode } else { ApiMode::Once });
            }
            What::Collector(_) | What::Store(_) => self.desk.passes(number),
            What::Stderr(_, fault) => self.restore_stderr(number, *fault),
            What::Squatter(squatter) => {
                self.take_back(number, Request::Remove { path: squatter.path(number) })
            }
            What::ReadOnly(path) => {
                let acts = &self.schedule.acts;
                let is_same = |other: &usize| *other != number && acts[*other].what == What::ReadOnly(path);
                // Another act may keep it read-only.
                if self.active.iter().any(is_same) {
                    self.active.remove(&number);
                } else {
                    self.take_back(number, Request::Unrestrict { path: (*path).to_owned() });
                }
            }
            // The leader must reject it.
            What::PoisonedReport(..) => {}
            What::PoisonedMeasurement(..) => {
                self.take_back(number, Request::Remove { path: measurement_path(number) });
            }
        }
    }

    /// Ends all acts of other clients and of standard error.
    pub(super) fn end_hostile_acts(&mut self) {
        let active: Vec<usize> = self.active.iter().copied().collect();
        active.into_iter().for_each(|number| self.end(number));
        if self.schedule.acts.iter().any(|act| matches!(act.what, What::PoisonedReport(..))) {
            self.touch_outbox();
        }
    }

    fn lose_stderr(&mut self, number: usize, node: usize, fault: StderrFault) {
        let player = &mut self.players[node];
        let Some(process) = &mut player.process else { return };
        match fault {
            StderrFault::Closed => process.stderr().close(),
            StderrFault::Stalled => {
                process.stderr().stall();
                self.stalled.insert(number, (millis(SystemTime::now()), player.processes));
            }
            StderrFault::Full => {
                let exit = process.kill9();
                player.full.insert(number);
                player.again = Some(Instant::now());
                self.bury(node, exit, true);
            }
        }
        self.players[node].is_mute = true;
        self.has_lost_logs = true;
        self.whom.insert(number, node);
        self.active.insert(number);
        self.count(self.schedule.acts[number].what.subject());
    }

    fn restore_stderr(&mut self, number: usize, fault: StderrFault) {
        self.active.remove(&number);
        let Some(node) = self.whom.remove(&number) else { return };
        let player = &mut self.players[node];
        player.full.remove(&number);
        if let Some((from, process)) = self.stalled.remove(&number)
            && self.schedule.is_calm_but_for(number)
            && process == player.processes
            && player.process.is_some()
        {
            self.stalls.push(Stall { node: player.id.clone(), from, to: millis(SystemTime::now()) });
        }
        if fault == StderrFault::Stalled
            && let Some(process) = &player.process
        {
            process.stderr().resume();
        }
    }

    fn squat(&mut self, number: usize, squatter: Squatter) {
        let mut wait = Duration::ZERO;
        if let Some(node) = squatter.node() {
            let Some(process) = &mut self.players[node].process else { return };
            let exit = process.kill9();
            self.bury(node, exit, true);
            wait = self.schedule.session + STAYS_DOWN;
            self.players[node].again = Some(Instant::now() + wait);
        }
        self.create(number, squatter.path(number), squatter.data().to_vec(), false, wait);
    }

    /// Makes the other client create a znode.
    fn create(&mut self, number: usize, path: String, data: Vec<u8>, ephemeral: bool, wait: Duration) {
        self.ask(number, Request::Create { path, data, ephemeral, wait });
    }

    /// Makes the other client begin an act.
    fn ask(&mut self, number: usize, request: Request) {
        let Some(client) = &self.client else { return };
        client.send(Some(number), request);
        self.active.insert(number);
    }

    /// Makes the other client end an act.
    fn take_back(&mut self, number: usize, request: Request) {
        if let (true, Some(client)) = (self.active.remove(&number), &self.client) {
            client.send(None, request);
        }
    }

    /// Notifies the leader that the outbox has changed.
    fn touch_outbox(&self) {
        let path = REPORTS.trim_end_matches('/').to_owned();
        if let Some(client) = &self.client {
            client.send(None, Request::Touch { path });
        }
    }
}

/// Returns the path of a measurement of another client.
fn measurement_path(number: usize) -> String {
    format!("{MEASUREMENTS}other-{number}")
}
