//! Test environment: ZooKeeper, the API and two simulated nodes on this machine, and the Pi.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use atalaya_testbed::pi::{Clock, HOST, Image, Parts, Pi};
use atalaya_testbed::{
    Api, Process, Recorded, Scratch, Tls, ZkProbe, ZooKeeper, eventually, node_command_in,
};

/// Timeout of each wait for a condition. An emulated processor on a busy machine is slow.
pub const TIMEOUT: Duration = Duration::from_secs(90);
/// Sampling period of all nodes.
pub(crate) const PERIOD: &str = "1s";
/// Session timeout: the time after which ZooKeeper drops a node that was cut off.
pub(crate) const SESSION: &str = "6s";
/// Ids of the simulated nodes, and the constant value that each of them measures, in °C.
pub(crate) const SIMULATED: [(&str, f64); 2] = [("1", 20.0), ("2", 30.0)];
/// Id of the node on the Pi.
pub const ID: &str = "7";
/// Boards of the image, as TOML.
pub(super) const BOARDS: &str = include_str!("boards.toml");
/// Path of the boards on the Pi.
pub(super) const BOARDS_PATH: &str = "/etc/atalaya/boards.toml";

/// The servers, the nodes and the Pi.
pub struct Site {
    // Fields are dropped in this order: nodes before their servers.
    /// The Pi, while it has power.
    pub pi: Option<Pi>,
    simulated: Vec<(&'static str, Process)>,
    pub(crate) probe: ZkProbe,
    pub(crate) zookeeper: ZooKeeper,
    tls: Tls,
    /// Receiver of the reports.
    pub api: Api,
    state: Scratch,
    node: PathBuf,
    pub(crate) parts: Parts,
    /// File system from which the Pi boots.
    pub image: Image,
    /// Duration of the network outage.
    pub(crate) outage: Duration,
}

impl Site {
    /// Starts the servers, but no nodes, and the Pi has no power. `program` is the node for the Pi, `node` the one for
    /// this machine.
    pub fn prepare(parts: Parts, program: &[u8], node: &Path) -> anyhow::Result<Site> {
        let api = Api::start();
        let tls = Tls::before(port(&api)?, HOST);
        let zookeeper = ZooKeeper::start();
        let probe = ZkProbe::connect(&zookeeper.connect_string());
        let state = Scratch::new("pi-site");
        let mut boards = String::new();
        for (id, celsius) in SIMULATED {
            boards += &format!(
                "[boards.n{id}]\nbackend = \"sim\"\n[[boards.n{id}.sensors]]\nname = \"ambient\"\nchip = \"lm75\"\n\
                 bus = \"i2c-1\"\naddress = 0x48\nsim = {{ temperature = {{ constant = {celsius} }} }}\n"
            );
        }
        std::fs::write(state.path().join("boards.toml"), boards).context("cannot write boards.toml")?;
        let mut image = Image::new(&parts);
        image.file(&BOARDS_PATH[1..], BOARDS.as_bytes());
        for folder in ["etc/ssl", "etc/ssl/certs"] {
            image.folder(folder);
        }
        image.file("etc/ssl/certs/ca-certificates.crt", tls.certificate());
        image.program("bin/atalaya", program);
        Ok(Site {
            pi: None,
            simulated: Vec::new(),
            probe,
            zookeeper,
            tls,
            api,
            state,
            node: node.into(),
            parts,
            image,
            outage: Duration::from_secs(30),
        })
    }

    /// Switches the Pi on. Returns the time until its shell answered. `words` are arguments for its `/init`.
    pub fn power_on(&mut self, clock: Clock, words: &[&str]) -> Duration {
        let pi = Pi::boot(&self.parts, &self.image, clock, words);
        let took = pi.powered().elapsed();
        self.pi = Some(pi);
        took
    }

    /// Returns the Pi, or an error if it has no power.
    pub fn pi(&mut self) -> anyhow::Result<&mut Pi> {
        self.pi.as_mut().context("the Pi has no power")
    }

    /// Returns the address of ZooKeeper as seen from the Pi.
    pub(crate) fn servers(&self) -> String {
        format!("{HOST}:{}", self.zookeeper.port())
    }

    /// Returns the URL of the API as seen from the Pi.
    pub fn api_url(&self) -> anyhow::Result<String> {
        Ok(format!("http://{HOST}:{}/nuevo", port(&self.api)?))
    }

    /// Returns the URL of the API with TLS as seen from the Pi.
    pub(crate) fn secure_api_url(&self) -> String {
        format!("https://{HOST}:{}/nuevo", self.tls.port())
    }

    /// Returns the command line of a node on the Pi.
    pub fn command(&self, id: &str, board: &str, api: &str) -> String {
        format!(
            "NO_COLOR=1 ATALAYA_STATE_DIR=/var/atalaya-{id} atalaya run {id} --board {board} --boards {BOARDS_PATH} \
             --zookeeper {} --api-url {api} --api-method post --sampling-period {PERIOD} --session-timeout {SESSION}",
            self.servers()
        )
    }

    /// Starts a node on the Pi. Returns its process id there.
    pub(crate) fn start_in_pi(&mut self, id: &str, board: &str, api: &str) -> anyhow::Result<u32> {
        let command = self.command(id, board, api);
        Ok(self.pi()?.console().start(&command))
    }

    /// Stops a node on the Pi as systemd would, and waits until its znode is deleted.
    pub(crate) fn stop_in_pi(&mut self, id: &str, pid: u32) -> anyhow::Result<()> {
        self.pi()?.console().must(&format!("kill {pid}"));
        self.gone(id, TIMEOUT);
        Ok(())
    }

    /// Starts a simulated node on this machine.
    pub(crate) fn start_simulated(&mut self, id: &'static str) {
        let servers = self.zookeeper.connect_string();
        let mut command = node_command_in(self.state.path(), &self.node.to_string_lossy(), id, &servers);
        command.args(["--board", &format!("n{id}"), "--boards"]).arg(self.state.path().join("boards.toml"));
        command.args(["--api-url", &self.api.url(), "--api-method", "post"]);
        command.args(["--sampling-period", PERIOD, "--session-timeout", SESSION]);
        let process = Process::start(command, "published the first measurement", TIMEOUT);
        self.simulated.push((id, process));
    }

    /// Sends SIGKILL to all simulated nodes.
    pub(crate) fn kill_simulated(&mut self) {
        for (_, mut process) in self.simulated.drain(..) {
            process.kill9();
        }
    }

    /// Returns the value in the znode of a node, and how often it was written. Returns `None` if the znode does not
    /// exist.
    pub fn measurement(&self, id: &str) -> anyhow::Result<Option<(f64, i32)>> {
        let Some((data, stat)) = self.probe.get(&format!("/mediciones/{id}")) else { return Ok(None) };
        let text = String::from_utf8_lossy(&data).into_owned();
        let value = text.trim().parse().with_context(|| format!("/mediciones/{id} holds {text:?}"))?;
        Ok(Some((value, stat.version)))
    }

    /// Waits until the node has measured `celsius`.
    pub(crate) fn measures(&self, id: &str, celsius: f64) -> anyhow::Result<()> {
        let what = format!("/mediciones/{id} is {celsius}");
        eventually(&what, TIMEOUT, || match self.measurement(id) {
            Ok(Some((value, _))) if value == celsius => Some(Ok(())),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
    }

    /// Waits until the znode of the node does not exist. Returns the time that this took.
    pub fn gone(&self, id: &str, timeout: Duration) -> Duration {
        let start = Instant::now();
        let path = format!("/mediciones/{id}");
        eventually(&format!("{path} is gone"), timeout, || self.probe.exists(&path).is_none().then_some(()));
        start.elapsed()
    }

    /// Waits for a report that arrived after `since`, from the node `from`, with this mean of `count` measurements.
    /// Returns the time since `since`.
    pub(crate) fn report(&self, since: Instant, from: &str, mean: f64, count: u64) -> Duration {
        let what = format!("a report of node {from}: {mean} of {count}");
        let agent = format!("(node {from})");
        let wanted = |request: &Recorded| {
            let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let near = |value: f64| (value - mean).abs() < 1e-9;
            request.at > since
                && request.agent().is_some_and(|known| known.ends_with(&agent))
                && body["mean"].as_f64().is_some_and(near)
                && body["count"].as_u64() == Some(count)
        };
        let requests = self.api.wait_for(&what, TIMEOUT, |all| all.iter().any(wanted));
        let found = requests.iter().find(|request| wanted(request)).map(|request| request.at);
        found.map_or(TIMEOUT, |at| at.duration_since(since))
    }
}

pub(super) fn port(api: &Api) -> anyhow::Result<u16> {
    let url = api.base_url();
    let port = url.trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok());
    let port: u16 = port.with_context(|| format!("no port in {url}"))?;
    ensure!(port != 0, "no port in {url}");
    Ok(port)
}
