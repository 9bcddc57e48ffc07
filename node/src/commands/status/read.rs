//! Reads a whole fleet: few requests, bounded memory.

use atalaya_recipes::node_names::{Naming, sorted_contenders};
use atalaya_recipes::wrong_znode::is_ephemeral;
use atalaya_recipes::{Connection, Error, WrongZnode, ZnodeProblem};

use crate::dynamic_config::{self, Key};
use crate::fleet_status::{Measurement, Said, Seen};
use crate::leader::fenced_store::{BARRIER, COUNTER};
use crate::leader::outbox_store;
use crate::model::fence::{self, Fence};
use crate::model::node_info;
use crate::settings::Settings;
use crate::zk::bulk_read::{SizeCache, read_children, read_named_children};

/// Who reads, and remembers how large the znodes were: what has been read before takes fewer requests.
#[derive(Default)]
pub(super) struct Reader {
    measurements: SizeCache,
    presences: SizeCache,
    contenders: SizeCache,
}

impl Reader {
    pub(super) async fn read(&mut self, connection: &Connection, settings: &Settings) -> Result<Seen, Error> {
        // What others have written just now is to be seen.
        connection.sync().await?;
        let mut seen = Seen::default();
        if let Some((data, stat)) = connection.get_opt(fence::PATH).await? {
            seen.written(&stat);
            seen.wrong.extend(WrongZnode::not_persistent(fence::PATH, &stat));
            seen.term = Fence::parse(&data);
        }
        let period = format!("{}/{}", dynamic_config::FLEET, Key::SamplingPeriod.name());
        if let Some((data, _)) = connection.get_opt(&period).await? {
            seen.period = dynamic_config::period(&data);
        }
        seen.waiting =
            outbox_store::cycles(connection, outbox_store::PATH).await?.map_or(0, |cycles| cycles.len());
        seen.aside = below(connection, outbox_store::REJECTED_PATH).await?;
        self.read_line(connection, &settings.election, &mut seen).await?;
        read_barrier_and_counter(connection, &mut seen).await?;
        let found =
            read_children(connection, &settings.measurements, &mut self.measurements, Measurement::of)
                .await?;
        for (name, stat, measurement) in found {
            seen.written(&stat);
            let path = format!("{}/{name}", settings.measurements);
            seen.wrong.extend(WrongZnode::not_ephemeral(&path, &stat));
            // What is called otherwise than this fleet's measurements is shown by its name.
            let id = settings.id_of(&name).unwrap_or(&name);
            seen.measurements.insert(id.to_owned(), measurement);
        }
        let found =
            read_children(connection, node_info::PARENT, &mut self.presences, |data, _| Said::of(data))
                .await?;
        for (id, stat, said) in found {
            seen.written(&stat);
            seen.wrong.extend(WrongZnode::not_ephemeral(&format!("{}/{id}", node_info::PARENT), &stat));
            seen.presences.insert(id, said);
        }
        Ok(seen)
    }

    /// Reads the contenders of the election. A contender that is not ephemeral is not shown as the leader, although it blocks the
    /// election.
    async fn read_line(
        &mut self,
        connection: &Connection,
        election: &str,
        seen: &mut Seen,
    ) -> Result<(), Error> {
        let names = connection.children_or_empty(election).await?;
        let line: Vec<String> =
            sorted_contenders(Naming::Kazoo, &names).into_iter().map(str::to_owned).collect();
        seen.in_line = line.len();
        let Some(first) = line.first().cloned() else { return Ok(()) };
        for (name, stat, ()) in
            read_named_children(connection, election, line, &mut self.contenders, |_, _| ()).await?
        {
            seen.wrong.extend(WrongZnode::not_ephemeral(&format!("{election}/{name}"), &stat));
        }
        if let Some((data, stat)) = connection.get_opt(&format!("{election}/{first}")).await?
            && is_ephemeral(stat.ephemeral_owner)
        {
            seen.leader = Some((String::from_utf8_lossy(&data).into_owned(), stat.ctime));
        }
        Ok(())
    }
}

/// Checks that the barrier can be opened, and that the counter holds a number.
async fn read_barrier_and_counter(connection: &Connection, seen: &mut Seen) -> Result<(), Error> {
    if let Some(stat) = connection.stat(BARRIER).await? {
        seen.wrong.extend(WrongZnode::not_childless(BARRIER, &stat));
        seen.wrong.extend(WrongZnode::not_persistent(BARRIER, &stat));
    }
    if let Some((data, stat)) = connection.get_opt(COUNTER).await? {
        seen.wrong.extend(WrongZnode::not_persistent(COUNTER, &stat));
        let text = String::from_utf8_lossy(&data);
        if !text.trim().is_empty() && text.trim().parse::<i64>().is_err() {
            seen.wrong.push(WrongZnode::new(COUNTER, ZnodeProblem::NotANumber));
        }
    }
    Ok(())
}

/// How many children there are at `path`; their names are not read.
async fn below(connection: &Connection, path: &str) -> Result<usize, Error> {
    let stat = connection.stat(path).await?;
    Ok(stat.map_or(0, |stat| usize::try_from(stat.num_children).unwrap_or(0)))
}
