//! A small fleet on either ZooKeeper server, for the tests beside this folder.
#![allow(
    dead_code,
    unused_macros,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "each test file uses its own part; a test may panic"
)]

/// Makes each named scenario a test on both servers, `memory::…` and `apache::…`.
macro_rules! on_both {
    ($($scenario:ident),+ $(,)?) => {
        mod memory {
            $(#[test] fn $scenario() { super::$scenario(crate::common::Fleet::memory()); })+
        }
        mod apache {
            $(#[test] fn $scenario() { super::$scenario(crate::common::Fleet::apache()); })+
        }
    };
}

/// Makes each named scenario a test on Apache ZooKeeper with TLS and SASL, `secured::…`, whose nodes use `acl = "fleet"`.
macro_rules! on_secured {
    ($($scenario:ident),+ $(,)?) => {
        mod secured {
            $(#[test] fn $scenario() { super::$scenario(crate::common::Fleet::secured()); })+
        }
    };
}

pub mod history;
pub mod large_fleet;
pub mod machine;
pub mod metrics_client;
pub mod outputs;
pub mod samples;
#[cfg(unix)]
pub mod secured;
pub mod server;
pub mod task_boards;
pub mod task_tool;
#[cfg(unix)]
pub mod tls_tunnel;
pub mod webhooks;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_testbed::{
    Api, FLEET_ACL, Kazoo, Process, Recorded, Scratch, Security, ZkProbe, ZooKeeper, eventually,
    node_command, parent_death_command,
};

use self::server::Server;

/// Deadline of conditions without a promised time, long enough for a busy machine.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Returns true if tests that have a long form run it, as `cargo xtask nightly` does.
pub fn is_nightly() -> bool {
    std::env::var_os("ATALAYA_NIGHTLY").is_some()
}

/// Address without a listener.
pub const NO_ZOOKEEPER: &str = "127.0.0.1:9";

/// Returns the lines of a file; none if it does not exist.
pub fn lines(file: &std::path::Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Returns true if a process exists and is not a zombie.
pub fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.trim().chars().next()).is_some_and(|state| state != 'Z')
}

/// Returns the child processes of `parent`, if it exists.
pub fn children(parent: impl std::fmt::Display) -> Vec<String> {
    let text = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

pub fn random() -> usize {
    RandomState::new().build_hasher().finish() as usize
}

/// Timing of a fleet. The servers' tick is 0.5 s.
#[derive(Clone, Copy)]
pub struct Timing {
    /// Session timeout of the nodes.
    pub session: Duration,
    pub period: Duration,
}

/// Timing on Apache ZooKeeper.
pub const CALM: Timing = Timing { session: Duration::from_secs(4), period: Duration::from_secs(1) };
/// Timing on the in-memory server: shorter, so that both runs together take one and a half times as long, not twice.
pub const QUICK: Timing = Timing { session: Duration::from_secs(2), period: Duration::from_millis(500) };

/// Boards `v70`, `v80` and `v90` with one constant sensor each, and `random`.
const BOARDS: &str = r#"
[boards.v70]
backend = "sim"
sensors = [{ name = "s", chip = "random", sim = { temperature = { constant = 70 } } }]
[boards.v80]
backend = "sim"
sensors = [{ name = "s", chip = "random", sim = { temperature = { constant = 80 } } }]
[boards.v90]
backend = "sim"
sensors = [{ name = "s", chip = "random", sim = { temperature = { constant = 90 } } }]
[boards.random]
backend = "sim"
sensors = [{ name = "s", chip = "random" }]
"#;

/// The environment of nodes: servers, API and boards.
pub struct TestEnv {
    pub hosts: String,
    pub pace: Timing,
    pub api: Api,
    /// Certificates and passwords, if the servers are secured.
    pub security: Option<Arc<Security>>,
    boards: PathBuf,
    _scratch: Scratch,
}

impl TestEnv {
    pub fn of(hosts: String, pace: Timing) -> TestEnv {
        TestEnv::secured(hosts, pace, None)
    }

    pub fn secured(hosts: String, pace: Timing, security: Option<Arc<Security>>) -> TestEnv {
        let scratch = Scratch::new("fleet");
        let boards = scratch.write("boards.toml", BOARDS);
        TestEnv { hosts, pace, api: Api::start(), security, boards, _scratch: scratch }
    }

    /// Returns the command `atalaya run ID` with the settings of these tests and `args`.
    pub fn command(&self, id: &str, args: &[&str]) -> Command {
        let mut command = node_command(env!("CARGO_BIN_EXE_atalaya"), id, &self.hosts);
        let milliseconds = |duration: Duration| format!("{}ms", duration.as_millis());
        let defaults = [
            ("--session-timeout", &*milliseconds(self.pace.session)),
            ("--sampling-period", &*milliseconds(self.pace.period)),
            ("--api-url", &self.api.url()),
            ("--boards", &self.boards.display().to_string()),
            ("--board", "random"),
        ];
        for (flag, value) in defaults {
            if !args.contains(&flag) {
                command.args([flag, value]);
            }
        }
        command.args(args).envs(self.identity("fleet"));
        command
    }

    /// Returns the environment with which a command authenticates as `user`; empty if the servers are not secured.
    pub fn identity(&self, user: &str) -> Vec<(String, String)> {
        self.security.as_ref().map(|security| security.environment(user)).unwrap_or_default()
    }

    /// Returns the command `atalaya`, with the identity of an administrator.
    pub fn tool(&self) -> Command {
        let mut command = parent_death_command(env!("CARGO_BIN_EXE_atalaya"));
        command.envs(self.identity("admin")).current_dir(std::env::temp_dir());
        command
    }

    /// Returns Kazoo, whose programs have the identity of a node.
    pub fn kazoo(&self) -> Kazoo {
        match &self.security {
            Some(security) => Kazoo::secured(security, "fleet", FLEET_ACL),
            None => Kazoo::ready(),
        }
    }

    /// Returns a client of the servers, with the identity of an administrator.
    pub fn probe(&self) -> ZkProbe {
        match &self.security {
            Some(security) => ZkProbe::connect_by(&Kazoo::secured(security, "admin", FLEET_ACL), &self.hosts),
            None => ZkProbe::connect(&self.hosts),
        }
    }

    pub fn node(&self, id: &str, args: &[&str]) -> Process {
        Process::spawn(self.command(id, args))
    }

    /// Starts a node and waits until it leads.
    pub fn leader(&self, id: &str, args: &[&str]) -> Process {
        let node = self.node(id, args);
        node.wait_for_line(" leading epoch=", DEADLINE);
        node
    }

    /// Starts a node and waits until it contends.
    pub fn follower(&self, id: &str, args: &[&str]) -> Process {
        let node = self.node(id, args);
        node.wait_for_line("following: waiting", DEADLINE);
        node
    }
}

pub struct Fleet {
    pub server: Server,
    pub around: TestEnv,
}

impl Fleet {
    pub fn apache() -> Fleet {
        Fleet::on(Server::apache(), CALM)
    }

    pub fn memory() -> Fleet {
        Fleet::on(Server::memory(), QUICK)
    }

    /// Returns a fleet on Apache ZooKeeper with TLS and SASL.
    pub fn secured() -> Fleet {
        let security = Arc::new(Security::new());
        let server = Server::Apache(ZooKeeper::secured(&security).into());
        let around = TestEnv::secured(server.connect_string(), CALM, Some(security));
        Fleet { server, around }
    }

    fn on(server: Server, pace: Timing) -> Fleet {
        let around = TestEnv::of(server.connect_string(), pace);
        Fleet { server, around }
    }

    /// Returns the environment of a fleet below `chroot`.
    pub fn below(&self, chroot: &str) -> TestEnv {
        TestEnv::secured(format!("{}{chroot}", self.hosts), self.pace, self.security.clone())
    }
}

impl std::ops::Deref for Fleet {
    type Target = TestEnv;

    fn deref(&self) -> &TestEnv {
        &self.around
    }
}

/// Waits for a condition, up to [`DEADLINE`].
#[track_caller]
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    eventually(what, DEADLINE, || condition().then_some(()));
}

/// Returns true if node `id` sent this request.
pub fn from(request: &Recorded, id: &str) -> bool {
    request.agent().is_some_and(|agent| agent.ends_with(&format!("(node {id})")))
}

/// Returns the epoch and cycle of a request, by its idempotency key.
pub fn key(request: &Recorded) -> (i64, u64) {
    let key = request.header("Idempotency-Key").expect("every average has a key");
    let (epoch, cycle) = key.split_once('-').expect("an epoch and a cycle");
    (epoch.parse().unwrap(), cycle.parse().unwrap())
}

/// Waits for `count` requests that are `wanted`, and returns all requests.
#[track_caller]
pub fn wait_for_requests(
    api: &Api,
    what: &str,
    count: usize,
    wanted: impl Fn(&Recorded) -> bool,
) -> Vec<Recorded> {
    api.wait_for(what, DEADLINE, |all| all.iter().filter(|request| wanted(request)).count() >= count)
}

pub fn sent_by<'a>(requests: &'a [Recorded], id: &str) -> Vec<&'a Recorded> {
    requests.iter().filter(|request| from(request, id)).collect()
}

/// Waits for a report from `id` after `since`. Returns its time.
pub fn report_from(api: &Api, id: &str, since: Instant, deadline: Duration) -> Instant {
    let fresh = |request: &Recorded| from(request, id) && request.at > since;
    let requests = api.wait_for(&format!("a report of node {id}"), deadline, |all| all.iter().any(fresh));
    requests.iter().find(|request| fresh(request)).map(|request| request.at).expect("it was just there")
}

pub fn mean_reported(api: &Api, mean: f64, since: Instant) {
    api.wait_for(&format!("a mean of {mean}"), DEADLINE, |all| {
        all.iter().any(|request| request.at > since && request.dato() == Some(mean))
    });
}

/// Waits for `writes` more writes of the measurement of `id`.
pub fn goes_on_publishing(probe: &ZkProbe, id: &str, writes: i32) {
    let path = format!("/mediciones/{id}");
    let first = eventually(&format!("a measurement of {id}"), DEADLINE, || probe.exists(&path));
    eventually(&format!("new measurements of {id}"), DEADLINE, || {
        probe.exists(&path).filter(|stat| stat.czxid != first.czxid || stat.version >= first.version + writes)
    });
}

/// Waits until all of `ids` contend and the first of them reports, and checks that no other node reports. Returns the
/// leader.
pub fn exactly_one_leads(probe: &ZkProbe, api: &Api, ids: &[&str], when: &str) -> String {
    let mut contenders = eventually(&format!("{ids:?} in line {when}"), DEADLINE, || {
        let contenders = probe.contenders("/election");
        let mut sorted = contenders.clone();
        sorted.sort();
        (sorted == ids).then_some(contenders)
    });
    let leader = contenders.remove(0);
    // From here on, only the first contender reports.
    let since = Instant::now();
    let requests = wait_for_requests(api, &format!("reports {when}"), 3, |request| request.at > since);
    for request in requests.iter().filter(|request| request.at > since) {
        assert!(from(request, &leader), "{:?} reports {when}", request.agent());
    }
    leader
}

pub fn bodies(requests: &[Recorded]) -> Vec<serde_json::Value> {
    requests.iter().filter_map(|request| serde_json::from_slice(&request.body).ok()).collect()
}

pub fn mean_posted(api: &Api, mean: f64, since: Instant) {
    api.wait_for(&format!("a posted mean of {mean}"), DEADLINE, |all| {
        let fresh: Vec<Recorded> = all.iter().filter(|request| request.at > since).cloned().collect();
        bodies(&fresh).iter().any(|body| body["mean"] == mean)
    });
}
