//! Begins and ends the faults of a schedule.

use std::time::{Duration, SystemTime};

use super::faults::{Fault, StderrFault, Target};
use super::foreign_client::Request;
use super::history::Stall;
use super::poison::{self, Outbox};
use super::runner::Run;
use super::tree::Snapshot;
use super::txn_effects::{MEASUREMENTS, REPORTS};
use super::wrong_znode::WrongZnode;
use crate::api::ApiMode;
use crate::time::millis;

/// Time for which a node stays down after its session has ended, so that another client can take its path.
const DOWN_TIME: Duration = Duration::from_millis(1_500);

impl Run<'_> {
    fn find(&self, target: Target) -> Option<usize> {
        match target {
            Target::Node(node) => Some(node),
            Target::Leader => {
                let leader = self.snapshot().leader?;
                self.nodes.iter().position(|node| node.id == leader)
            }
        }
    }

    pub(super) fn begin(&mut self, number: usize) {
        let scheduled = &self.schedule.faults[number];
        match &scheduled.fault {
            Fault::Kill(target) => {
                let Some(node) = self.find(*target) else { return };
                if !self.kill(node, scheduled.lasts) {
                    return;
                }
                self.count(if *target == Target::Leader { "leader killed" } else { "node killed" });
            }
            Fault::Stop(target) => {
                let Some(node) = self.find(*target) else { return };
                let Some(process) = &self.nodes[node].managed.process else { return };
                process.freeze();
                self.targets.insert(number, node);
                self.count(if *target == Target::Leader { "leader stopped" } else { "node stopped" });
            }
            Fault::Servers(servers) => {
                self.disturbed.get_or_insert_with(|| millis(SystemTime::now()));
                servers.iter().for_each(|server| self.ensemble.kill(*server));
                self.count(format!("{} of 3 servers killed", servers.len()));
            }
            Fault::LeadingServer => {
                self.disturbed.get_or_insert_with(|| millis(SystemTime::now()));
                self.leader_kills.push(scheduled.lasts);
            }
            Fault::Api(mode) => {
                self.api_faults.push(number);
                self.sink.set(*mode);
                self.count(match mode {
                    ApiMode::Slow(_) => "API slow".to_owned(),
                    mode => format!("API {mode:?}"),
                });
            }
            Fault::Collector(fault) => {
                if self.sink.inject(number, *fault, scheduled.lasts) {
                    self.count(fault.to("collector"));
                }
            }
            Fault::Server(server, fault) => {
                if self.sink.inject_into_server(number, *fault, scheduled.lasts) {
                    self.count(fault.to(server));
                }
            }
            Fault::Stderr(target, fault) => {
                if let Some(node) = self.find(*target) {
                    self.lose_stderr(number, node, *fault);
                }
            }
            Fault::WrongZnode(wrong_znode) => self.create_wrong_znode(number, *wrong_znode),
            Fault::ReadOnly(path) => {
                self.ask(number, Request::Restrict { path: (*path).to_owned() });
            }
            Fault::PoisonedReport(poison, first, notifies) => {
                let snapshot = self.snapshot();
                let Snapshot { cycle, epoch, .. } = snapshot;
                let now = millis(SystemTime::now()) / 1_000;
                let outbox = Outbox { first: *first, fault: number, cycle, now, epoch };
                let (_, name, data) = poison::REPORTS[*poison];
                let name = name(outbox);
                let data = data(outbox, name.parse().unwrap_or(1));
                self.create(number, format!("{REPORTS}{name}"), data, false, Duration::ZERO);
                if *notifies {
                    self.touch_outbox();
                }
            }
            Fault::PoisonedMeasurement(poison, ephemeral) => {
                let path = measurement_path(number);
                self.create(
                    number,
                    path,
                    poison::MEASUREMENTS[*poison].1(self.schedule.seed),
                    *ephemeral,
                    Duration::ZERO,
                );
            }
        }
    }

    pub(super) fn end(&mut self, number: usize) {
        match &self.schedule.faults[number].fault {
            // The node restarts at its time, even if it was killed again by another fault.
            Fault::Kill(_) => {}
            Fault::Stop(_) => {
                if let Some(node) = self.targets.remove(&number)
                    && let Some(process) = &self.nodes[node].managed.process
                {
                    process.cont();
                }
            }
            Fault::Servers(servers) => servers.iter().for_each(|server| self.restart(*server)),
            // The server restarts when this time has passed since it was killed.
            Fault::LeadingServer => {}
            Fault::Api(_) => {
                self.api_faults.retain(|api_fault| *api_fault != number);
                let api_fault = self.api_faults.last().map(|number| &self.schedule.faults[*number].fault);
                self.sink.set(if let Some(Fault::Api(mode)) = api_fault { *mode } else { ApiMode::Once });
            }
            Fault::Collector(_) | Fault::Server(..) => self.sink.end(number),
            Fault::Stderr(_, fault) => self.restore_stderr(number, *fault),
            Fault::WrongZnode(wrong_znode) => {
                self.take_back(number, Request::Remove { path: wrong_znode.path(number) })
            }
            Fault::ReadOnly(path) => {
                let faults = &self.schedule.faults;
                let is_same =
                    |other: &usize| *other != number && faults[*other].fault == Fault::ReadOnly(path);
                // Another fault may keep it read-only.
                if self.active.iter().any(is_same) {
                    self.active.remove(&number);
                } else {
                    self.take_back(number, Request::Unrestrict { path: (*path).to_owned() });
                }
            }
            // The leader must reject it.
            Fault::PoisonedReport(..) => {}
            Fault::PoisonedMeasurement(..) => {
                self.take_back(number, Request::Remove { path: measurement_path(number) });
            }
        }
    }

    /// Ends all faults of other clients and of standard error.
    pub(super) fn end_hostile_faults(&mut self) {
        let active: Vec<usize> = self.active.iter().copied().collect();
        active.into_iter().for_each(|number| self.end(number));
        if self.schedule.faults.iter().any(|scheduled| matches!(scheduled.fault, Fault::PoisonedReport(..))) {
            self.touch_outbox();
        }
    }

    fn lose_stderr(&mut self, number: usize, node: usize, fault: StderrFault) {
        let node_process = &mut self.nodes[node];
        let Some(process) = &node_process.managed.process else { return };
        match fault {
            StderrFault::Closed => process.stderr().close(),
            StderrFault::Stalled => {
                process.stderr().stall();
                self.stalled.insert(number, (millis(SystemTime::now()), node_process.managed.starts));
            }
            StderrFault::Full => {
                node_process.full.insert(number);
                self.kill(node, Duration::ZERO);
            }
        }
        self.nodes[node].is_mute = true;
        self.has_lost_logs = true;
        self.targets.insert(number, node);
        self.active.insert(number);
        self.count(self.schedule.faults[number].fault.subject());
    }

    fn restore_stderr(&mut self, number: usize, fault: StderrFault) {
        self.active.remove(&number);
        let Some(node) = self.targets.remove(&number) else { return };
        let node_process = &mut self.nodes[node];
        node_process.full.remove(&number);
        if let Some((from, process)) = self.stalled.remove(&number)
            && self.schedule.is_calm_but_for(number)
            && process == node_process.managed.starts
            && node_process.managed.process.is_some()
        {
            self.stalls.push(Stall { node: node_process.id.clone(), from, to: millis(SystemTime::now()) });
        }
        if fault == StderrFault::Stalled
            && let Some(process) = &node_process.managed.process
        {
            process.stderr().resume();
        }
    }

    fn create_wrong_znode(&mut self, number: usize, wrong_znode: WrongZnode) {
        let mut wait = Duration::ZERO;
        if let Some(node) = wrong_znode.node() {
            wait = self.schedule.session + DOWN_TIME;
            if !self.kill(node, wait) {
                return;
            }
        }
        self.create(number, wrong_znode.path(number), wrong_znode.data().to_vec(), false, wait);
    }

    fn create(&mut self, number: usize, path: String, data: Vec<u8>, ephemeral: bool, wait: Duration) {
        self.ask(number, Request::Create { path, data, ephemeral, wait });
    }

    /// Makes the other client begin an fault.
    fn ask(&mut self, number: usize, request: Request) {
        let Some(client) = &self.client else { return };
        client.send(Some(number), request);
        self.active.insert(number);
    }

    /// Makes the other client end an fault.
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

fn measurement_path(number: usize) -> String {
    format!("{MEASUREMENTS}other-{number}")
}
