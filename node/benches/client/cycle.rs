//! One cycle of a leader: list the znodes, read all of them, average. Implemented with the node's own code, and with
//! only the ZooKeeper client, which is the lower limit of the time.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use atalaya::leader::evaluation::{Nodes, ValueConfig, evaluate};
use atalaya::leader::members::{MAX_BATCH, Members};
use atalaya::leader::read_fleet::{Freshness, read_fleet};
use atalaya::settings::zookeeper_access::ZooKeeperAccess;
use atalaya::settings::{Env, FleetArgs, Settings, environment};
use atalaya_config::Boards;
use atalaya_recipes::{Connection, Session};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use zookeeper_client as zk;

use super::SESSION_TIMEOUT;
use super::tls_tunnel::tls_tunnel;

/// Parent of the measurements.
pub(crate) const PARENT: &str = "/mediciones";
/// Number of znodes created per request.
const CREATE_BATCH: usize = 500;

/// Znodes of a fleet, with two clients that read them.
pub(crate) struct Fleet {
    /// Connection as used by a node.
    connection: Connection,
    /// The client crate that the connection uses.
    bare: zk::Client,
    created: usize,
    /// Members, with the sizes of their measurements in the last cycle.
    members: Members,
}

impl Fleet {
    /// Connects with the certificates and the identity that the environment names, as a node does.
    pub(crate) async fn connect(hosts: &str) -> anyhow::Result<Fleet> {
        let env = Env { variable: &environment };
        let settings = Settings::assemble(&FleetArgs::default(), &Boards::builtin(), env)?;
        let options = ZooKeeperAccess::read(&settings)?.options(hosts.parse()?, SESSION_TIMEOUT);
        let session = Session::start(options);
        let connection = session.connection().await;
        let bare = bare_client(&settings, hosts).await?;
        Ok(Fleet { connection, bare, created: 0, members: Members::default() })
    }

    pub(crate) fn client(&self) -> &zk::Client {
        &self.bare
    }

    /// Creates znodes until there are `count`, with integers from 75 to 85 as nodes of existing fleets write them.
    pub(crate) async fn fill(&mut self, count: usize) -> anyhow::Result<Value> {
        let anyone = zk::Acls::anyone_all();
        self.bare.mkdir(PARENT, &zk::CreateMode::Persistent.with_acls(anyone)).await?;
        let ephemeral = zk::CreateMode::Ephemeral.with_acls(anyone);
        while self.created < count {
            let end = count.min(self.created + CREATE_BATCH);
            let mut writer = self.bare.new_multi_writer();
            for number in self.created..end {
                let measurement = 75 + number * 7 % 11;
                writer.add_create(
                    &format!("{PARENT}/{number}"),
                    measurement.to_string().as_bytes(),
                    &ephemeral,
                )?;
            }
            writer.commit().await?;
            self.created = end;
        }
        self.members.update(PARENT, self.connection.children(PARENT).await?);
        average(&self.connection, &mut self.members).await?;
        Ok(json!({"filled": self.created}))
    }

    /// Returns the times of each implementation in nanoseconds, for `times` rounds. The implementations alternate, so
    /// that load on the machine affects all of them.
    pub(crate) async fn cycle(&mut self, times: usize) -> anyhow::Result<Value> {
        let (mut first, mut listed, mut read, mut floor) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut mean = 0.0;
        for _ in 0..times {
            let start = Instant::now();
            let mut members = Members::default();
            self.list(&mut members).await?;
            mean = average(&self.connection, &mut members).await?;
            first.push(start.elapsed());

            let start = Instant::now();
            self.bare_cycle().await?;
            floor.push(start.elapsed());

            let start = Instant::now();
            let mut members = std::mem::take(&mut self.members);
            self.list(&mut members).await?;
            average(&self.connection, &mut members).await?;
            listed.push(start.elapsed());

            let start = Instant::now();
            average(&self.connection, &mut members).await?;
            read.push(start.elapsed());
            ensure!(members.len() == self.created, "{} of {} znodes", members.len(), self.created);
            self.members = members;
        }
        let ns = |times: Vec<Duration>| times.iter().map(|time| time.as_nanos() as u64).collect::<Vec<_>>();
        let [first, listed, read, floor] = [first, listed, read, floor].map(ns);
        Ok(json!({"mean": mean, "first": first, "listed": listed, "read": read, "floor": floor}))
    }

    /// Lists the members, as a leader does when its watch reports a change.
    async fn list(&self, members: &mut Members) -> anyhow::Result<()> {
        let mut names = self.connection.children(PARENT).await?;
        // `atalaya_recipes::children_watch` sorts them too.
        names.sort_unstable();
        members.update(PARENT, names);
        Ok(())
    }

    /// Lists once and sends all batches at once, without parsing, caching or limits.
    async fn bare_cycle(&self) -> anyhow::Result<()> {
        let names = self.bare.list_children(PARENT).await?;
        let batches = names.chunks(MAX_BATCH).map(|names| {
            let mut reader = self.bare.new_multi_reader();
            names.iter().try_for_each(|name| reader.add_get_data(&format!("{PARENT}/{name}")))?;
            Ok::<_, zk::Error>(reader.commit())
        });
        let batches = batches.collect::<Result<Vec<_>, _>>()?;
        let answers = try_join_all(batches).await?;
        let count: usize = answers.iter().map(Vec::len).sum();
        ensure!(count == self.created, "{count} of {} znodes", self.created);
        Ok(())
    }
}

/// Connects with the client crate alone.
async fn bare_client(settings: &Settings, hosts: &str) -> anyhow::Result<zk::Client> {
    let mut connector = zk::Client::connector().with_session_timeout(SESSION_TIMEOUT);
    if let Some((user, file)) =
        settings.zookeeper_user.as_ref().zip(settings.zookeeper_password_file.as_ref())
    {
        let password = std::fs::read_to_string(file)?.trim_end().to_owned();
        connector = connector.with_sasl(zk::SaslOptions::digest_md5(user.clone(), password));
    }
    let Some(ca) = &settings.zookeeper_ca else { return Ok(connector.connect(hosts).await?) };
    let certificate = settings.zookeeper_certificate.as_ref().context("no certificate")?;
    let key = settings.zookeeper_key.as_ref().context("no key")?;
    Ok(connector.connect(&tls_tunnel(hosts, ca, certificate, key).await).await?)
}

/// Reads and averages all members.
async fn average(connection: &Connection, members: &mut Members) -> anyhow::Result<f64> {
    let reading = read_fleet(connection, members, Freshness::default(), 0).await?;
    ensure!(reading.excluded == 0, "{} znodes could not be averaged", reading.excluded);
    let id_of = |node: usize| node.to_string();
    let nodes = Nodes { count: members.len(), id_of: &id_of, groups: &[] };
    let averages = evaluate(&reading.aggregate, &ValueConfig::default(), &nodes).averages;
    averages.first().map(|average| average.mean).context("no measurement to average")
}
