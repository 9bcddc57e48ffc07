//! One cycle of a leader: list the znodes, read all of them, average. By the node's own code, and by the bare client
//! without anything that a node needs, which is as fast as it could be.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use atalaya::leader::members::{LARGEST_BATCH, Members};
use atalaya::leader::read_fleet::{Since, gather};
use atalaya_recipes::{Connection, Session, SessionOptions};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use zookeeper_client as zk;

use super::SESSION_TIMEOUT;

/// Where measurements stand.
pub(crate) const PARENT: &str = "/mediciones";
/// Znodes made in one request.
const WRITTEN_AT_ONCE: usize = 500;

/// A fleet's znodes, and two clients to read them with.
pub(crate) struct Fleet {
    /// As a node has it.
    connection: Connection,
    /// The same crate without anything around it.
    bare: zk::Client,
    made: usize,
    /// Who measures, with the sizes of the last cycle.
    roster: Members,
}

impl Fleet {
    pub(crate) async fn connect(hosts: &str) -> anyhow::Result<Fleet> {
        let session = Session::start(SessionOptions { servers: hosts.parse()?, timeout: SESSION_TIMEOUT });
        let connection = session.connection().await;
        let bare = zk::Client::connector().with_session_timeout(SESSION_TIMEOUT).connect(hosts).await?;
        Ok(Fleet { connection, bare, made: 0, roster: Members::default() })
    }

    pub(crate) fn client(&self) -> &zk::Client {
        &self.bare
    }

    /// Makes it `count` znodes that hold whole numbers from 75 to 85, as the nodes of existing fleets write them.
    pub(crate) async fn fill(&mut self, count: usize) -> anyhow::Result<Value> {
        let anyone = zk::Acls::anyone_all();
        self.bare.mkdir(PARENT, &zk::CreateMode::Persistent.with_acls(anyone)).await?;
        let ephemeral = zk::CreateMode::Ephemeral.with_acls(anyone);
        while self.made < count {
            let end = count.min(self.made + WRITTEN_AT_ONCE);
            let mut writer = self.bare.new_multi_writer();
            for number in self.made..end {
                let measurement = 75 + number * 7 % 11;
                writer.add_create(
                    &format!("{PARENT}/{number}"),
                    measurement.to_string().as_bytes(),
                    &ephemeral,
                )?;
            }
            writer.commit().await?;
            self.made = end;
        }
        self.roster.update(PARENT, self.connection.children(PARENT).await?);
        average(&self.connection, &mut self.roster).await?;
        Ok(json!({"filled": self.made}))
    }

    /// Nanoseconds of each way, `times` times, one way after the other so that none has the machine to itself.
    pub(crate) async fn cycle(&mut self, times: usize) -> anyhow::Result<Value> {
        let (mut first, mut listed, mut read, mut floor) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut mean = 0.0;
        for _ in 0..times {
            let start = Instant::now();
            let mut roster = Members::default();
            self.list(&mut roster).await?;
            mean = average(&self.connection, &mut roster).await?;
            first.push(start.elapsed());

            let start = Instant::now();
            self.bare_cycle().await?;
            floor.push(start.elapsed());

            let start = Instant::now();
            let mut roster = std::mem::take(&mut self.roster);
            self.list(&mut roster).await?;
            average(&self.connection, &mut roster).await?;
            listed.push(start.elapsed());

            let start = Instant::now();
            average(&self.connection, &mut roster).await?;
            read.push(start.elapsed());
            ensure!(roster.len() == self.made, "{} of {} znodes", roster.len(), self.made);
            self.roster = roster;
        }
        let ns = |times: Vec<Duration>| times.iter().map(|time| time.as_nanos() as u64).collect::<Vec<_>>();
        let [first, listed, read, floor] = [first, listed, read, floor].map(ns);
        Ok(json!({"mean": mean, "first": first, "listed": listed, "read": read, "floor": floor}))
    }

    /// What a leader does when its watch says that nodes have come or gone.
    async fn list(&self, roster: &mut Members) -> anyhow::Result<()> {
        let mut names = self.connection.children(PARENT).await?;
        // As atalaya_recipes::children_watch hands them on.
        names.sort_unstable();
        roster.update(PARENT, names);
        Ok(())
    }

    /// One list, and all batches sent at once; nothing is parsed, kept, or bounded.
    async fn bare_cycle(&self) -> anyhow::Result<()> {
        let names = self.bare.list_children(PARENT).await?;
        let batches = names.chunks(LARGEST_BATCH).map(|names| {
            let mut reader = self.bare.new_multi_reader();
            names.iter().try_for_each(|name| reader.add_get_data(&format!("{PARENT}/{name}")))?;
            Ok::<_, zk::Error>(reader.commit())
        });
        let batches = batches.collect::<Result<Vec<_>, _>>()?;
        let answers = try_join_all(batches).await?;
        let count: usize = answers.iter().map(Vec::len).sum();
        ensure!(count == self.made, "{count} of {} znodes", self.made);
        Ok(())
    }
}

/// Reads the whole roster and averages it.
async fn average(connection: &Connection, roster: &mut Members) -> anyhow::Result<f64> {
    let gathered = gather(connection, roster, Since::default()).await?;
    ensure!(gathered.excluded == 0, "{} znodes could not be averaged", gathered.excluded);
    let averages = gathered.aggregate.averages();
    averages.first().map(|average| average.mean).context("there is nothing to average")
}
