//! Three Apache ZooKeeper servers that elect a leader among themselves.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use crate::journal::Transaction;
use crate::ports::Port;
use crate::security::Security;
use crate::wait::eventually;
use crate::zookeeper::{self, ZooKeeper};

const SERVERS: usize = 3;
/// Timeout for the start of three JVMs on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(120);

/// Ports that the servers use among themselves.
struct Peer {
    quorum: Port,
    election: Port,
}

/// Three servers, numbered 0 to 2, on loopback.
pub struct Ensemble {
    servers: Vec<ZooKeeper>,
    /// Kept while the ensemble lives, so that a server that is down finds its ports again.
    _peers: Vec<Peer>,
}

impl Ensemble {
    /// Starts three servers with ticks of 500 ms (session timeouts from 1 s), and waits until all of them serve.
    #[track_caller]
    pub fn start() -> Self {
        Self::configured(SERVERS, zookeeper::TICK, None)
    }

    /// Starts servers like [`start`](Self::start), secured as by [`ZooKeeper::secured`]. The connections between the
    /// servers are not encrypted.
    #[track_caller]
    pub fn secured(security: &Security) -> Self {
        Self::configured(SERVERS, zookeeper::TICK, Some(security))
    }

    /// Starts this number of servers like [`start`](Self::start) with another tick, in milliseconds: the minimum session
    /// timeout is twice that. A single server is standalone.
    #[track_caller]
    pub fn with_servers(count: usize, ms: u32) -> Self {
        Self::configured(count, ms, None)
    }

    #[track_caller]
    fn configured(count: usize, ms: u32, security: Option<&Security>) -> Self {
        let peers: Vec<_> =
            (0..count).map(|_| Peer { quorum: Port::reserve(), election: Port::reserve() }).collect();
        // The limits are in ticks. In seconds they stay the same: 20 s to join, 4 s until a server counts as lost.
        let ticks = |seconds: u32| (seconds * 1_000).div_ceil(ms);
        let mut shared = format!("initLimit={}\nsyncLimit={}\n", ticks(20), ticks(4));
        shared += "electionPortBindRetry=10\nfastleader.maxNotificationInterval=1000\n";
        for (peer, i) in peers.iter().zip(1..).filter(|_| count > 1) {
            let Peer { quorum, election } = peer;
            let _ = writeln!(shared, "server.{i}=127.0.0.1:{}:{}", quorum.number(), election.number());
        }
        let mut servers = Vec::new();
        for i in 1..=count {
            let mut server = ZooKeeper::configure(ms, &shared, security);
            fs::write(server.folder().join("myid"), i.to_string()).expect("write ZooKeeper's myid");
            server.spawn();
            servers.push(server);
        }
        let mut ensemble = Self { servers, _peers: peers };
        eventually("the ZooKeeper servers start", START, || {
            for server in &mut ensemble.servers {
                // The server lost a port to another process: the others wait for it, and the port may be free again.
                if server.has_ended() {
                    server.spawn();
                }
            }
            ensemble.all_serve().then_some(())
        });
        ensemble
    }

    /// Returns `host:port` of all servers, separated by commas, for clients.
    pub fn connect_string(&self) -> String {
        self.servers.iter().map(ZooKeeper::connect_string).collect::<Vec<_>>().join(",")
    }

    /// Returns the number of servers, including killed ones.
    #[expect(clippy::len_without_is_empty, reason = "an ensemble is never empty")]
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    pub fn server(&self, i: usize) -> &ZooKeeper {
        &self.servers[i]
    }

    /// Returns a server, to freeze it.
    pub fn server_mut(&mut self, i: usize) -> &mut ZooKeeper {
        &mut self.servers[i]
    }

    pub fn servers_mut(&mut self) -> &mut [ZooKeeper] {
        &mut self.servers
    }

    /// Returns the number of the server that leads at this moment.
    pub fn leader(&self) -> Option<usize> {
        self.up().find(|&i| self.servers[i].mode().is_some_and(|mode| mode == "leader"))
    }

    /// Returns the number of the server that a session is connected to at this moment, from the answer to `cons`.
    pub fn server_of_session(&self, session_id: i64) -> Option<usize> {
        let sid = format!("sid=0x{session_id:x},");
        self.up().find(|&i| self.servers[i].connections().is_some_and(|clients| clients.contains(&sid)))
    }

    /// Returns the committed transactions from `zxid` on. Only for moments when all servers serve and no client writes.
    ///
    /// The log of one server may end in transactions that were never committed, and may lack those that it received in
    /// a snapshot. Transactions in the logs of two of three servers were acknowledged by a quorum, and all that a
    /// quorum ever acknowledged are in two logs.
    ///
    /// # Panics
    ///
    /// If the logs differ: then no reliable history exists.
    #[track_caller]
    pub fn journal(&self, zxid: i64) -> Vec<Transaction> {
        let mut wrong = String::new();
        // A log may be behind for a moment.
        for _ in 0..100 {
            match self.agreed(zxid) {
                Ok(journal) => return journal,
                Err(why) => wrong = why,
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the servers' logs do not agree: {wrong}");
    }

    /// Returns the log of the leading server, if two of three servers hold the same.
    fn agreed(&self, zxid: i64) -> Result<Vec<Transaction>, String> {
        let leader = self.leader().ok_or("no server leads")?;
        let mut logs: Vec<_> = self.servers.iter().map(|server| server.journal(zxid)).collect();
        let told = logs.swap_remove(leader);
        let holds = |log: &[Transaction], zxid| log.binary_search_by_key(&zxid, |other| other.zxid).is_ok();
        let alone = told.iter().find(|told| !logs.iter().any(|log| holds(log, told.zxid)));
        if let Some(Transaction { zxid, .. }) = alone {
            return Err(format!("only its leader's log holds {zxid:#x}"));
        }
        let lacking = logs[0].iter().find(|other| holds(&logs[1], other.zxid) && !holds(&told, other.zxid));
        match lacking {
            Some(Transaction { zxid, .. }) => Err(format!("the log of its leader lacks {zxid:#x}")),
            None => Ok(told),
        }
    }

    /// Kills a server with SIGKILL, and waits until it is gone.
    pub fn kill(&mut self, i: usize) {
        self.servers[i].kill();
    }

    /// Restarts a killed server with the same ports and data, and waits until it answers. It serves as soon as there is
    /// a quorum, see [`wait_for_quorum`](Self::wait_for_quorum).
    #[track_caller]
    pub fn restart(&mut self, i: usize) {
        self.servers[i].relaunch(zookeeper::answers);
    }

    /// Waits until one server leads and all that are neither killed nor frozen serve clients.
    ///
    /// # Panics
    ///
    /// At the deadline, or at once if fewer than two servers are up.
    #[track_caller]
    pub fn wait_for_quorum(&self, deadline: Duration) {
        let up = self.up().count();
        assert!(up > self.len() / 2, "{up} of {} servers cannot be a quorum", self.len());
        eventually("the ZooKeeper servers have a quorum", deadline, || self.all_serve().then_some(()));
    }

    /// Returns true if all servers that are neither killed nor frozen serve, and one of them leads.
    pub(crate) fn all_serve(&self) -> bool {
        let modes: Option<Vec<_>> = self.up().map(|i| self.servers[i].mode()).collect();
        let leads = |mode: &&String| ["leader", "standalone"].contains(&mode.as_str());
        modes.is_some_and(|modes| modes.iter().filter(leads).count() == 1)
    }

    /// Returns the servers that are neither killed nor frozen.
    fn up(&self) -> impl Iterator<Item = usize> {
        (0..self.len()).filter(|&i| self.servers[i].is_up() && !self.servers[i].is_frozen())
    }
}
