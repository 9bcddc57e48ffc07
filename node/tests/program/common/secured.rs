//! A fleet on Apache ZooKeeper with users, for tests of ACLs.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Instant;

use atalaya_recipes::{Acl, Connection, Credentials, Session, SessionOptions};
use atalaya_testbed::{Process, Scratch, ZooKeeper, parent_death_command};
use tokio::runtime::Runtime;

use super::{CALM, DEADLINE, TestEnv, wait_for_requests, wait_until};

pub const FLEET: &str = "fleet";
pub const ADMIN: &str = "admin";
/// User to which a fleet changes.
pub const NEXT: &str = "next";
pub const POLICY: [&str; 4] = ["--acl-fleet", "sasl:fleet", "--acl-admin", "sasl:admin"];

pub fn password(user: &str) -> &'static str {
    match user {
        FLEET => "fleet-secret",
        NEXT => "next-secret",
        _ => "admin-secret",
    }
}

/// A server with three users, and the environment of nodes.
pub struct Secured {
    pub server: ZooKeeper,
    pub env: TestEnv,
    pub scratch: Scratch,
    pub runtime: Runtime,
}

impl Secured {
    pub fn start() -> Secured {
        let server = ZooKeeper::with_sasl(&[FLEET, NEXT, ADMIN].map(|user| (user, password(user))));
        let scratch = Scratch::new("acl");
        for user in [FLEET, NEXT, ADMIN] {
            std::fs::write(scratch.path().join(user), password(user)).unwrap();
        }
        let env = TestEnv::of(server.connect_string(), CALM);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        Secured { server, env, scratch, runtime: runtime.unwrap() }
    }

    pub fn password_file(&self, user: &str) -> PathBuf {
        self.scratch.path().join(user)
    }

    /// Starts a node of the fleet with this policy, and waits until it takes part in the election.
    pub fn node(&self, id: &str, policy: &str) -> Process {
        self.node_in(&self.env, id, FLEET, &[&["--acl", policy], &POLICY[..]].concat())
    }

    /// Starts a node as `user` with `flags`, and waits until it takes part in the election.
    pub fn node_in(&self, env: &TestEnv, id: &str, user: &str, flags: &[&str]) -> Process {
        let file = self.password_file(user).display().to_string();
        let identity = ["--zookeeper-user", user, "--zookeeper-password-file", &file];
        let node = env.node(id, &[&identity, flags].concat());
        let is_in_election =
            |text: &str| text.contains(" leading epoch=") || text.contains("following: waiting");
        wait_until(&format!("node {id} in the election"), || {
            node.log().iter().any(|line| is_in_election(&line.text))
        });
        node
    }

    /// Returns `atalaya WORDS…` as this user, on `hosts`.
    pub fn tool(&self, hosts: &str, user: &str, words: &[&str]) -> Command {
        let mut command = parent_death_command(env!("CARGO_BIN_EXE_atalaya"));
        command.args(words).args(["--zookeeper", hosts, "--zookeeper-user", user]);
        command.arg("--zookeeper-password-file").arg(self.password_file(user));
        command.current_dir(self.scratch.path());
        command
    }

    /// Like [`Secured::tool`], with the identities of the policy.
    pub fn command_on(&self, hosts: &str, user: &str, words: &[&str]) -> Command {
        let mut command = self.tool(hosts, user, words);
        command.args(POLICY);
        command
    }

    pub fn run(&self, user: &str, words: &[&str]) -> Output {
        self.command_on(&self.env.hosts, user, words).output().unwrap()
    }

    /// Connects as a user, or without an identity, and returns the result of `work`.
    pub fn connected<T>(&self, user: Option<&str>, work: impl AsyncFnOnce(Connection) -> T) -> T {
        let mut options = SessionOptions::new(self.env.hosts.parse().unwrap(), CALM.session);
        if let Some(user) = user {
            options = options.with_sasl(Credentials::new(user, password(user)));
        }
        self.runtime.block_on(async {
            let session = Session::start(options);
            let connection = tokio::time::timeout(DEADLINE, session.connection()).await.unwrap();
            let result = work(connection).await;
            session.close(DEADLINE).await;
            result
        })
    }

    /// Creates znodes that any client can write.
    pub fn create_open(&self, paths: &[&str]) {
        self.connected(None, async |connection| {
            for path in paths {
                connection.ensure(path).await.unwrap();
            }
        });
    }

    pub fn acl(&self, path: &str) -> Vec<Acl> {
        self.connected(Some(ADMIN), async |connection| connection.get_acl(path).await.unwrap().0)
    }
}

pub fn stop(node: &mut Process) {
    node.shut_down(DEADLINE);
}

/// Waits for two more reports.
pub fn assert_reports_continue(env: &TestEnv, when: &str) {
    let since = Instant::now();
    wait_for_requests(&env.api, &format!("reports {when}"), 2, |request| request.at > since);
}
