//! Reads a whole fleet: few requests, bounded memory.

use atalaya_recipes::node_names::{Naming, sorted_contenders};
use atalaya_recipes::wrong_znode::is_ephemeral;
use atalaya_recipes::{Connection, Error, Stat, WrongZnode, ZnodeProblem};

use crate::dynamic_config::{fleet_path, parse_sampling_period};
use crate::fleet_status::znodes::{all, children, read};
use crate::fleet_status::{Measurement, Said, Seen};
use crate::leader::delivery::outbox;
use crate::leader::fenced_store::COUNTER;
use crate::leader::members::Members;
use crate::leader::outbox_store;
use crate::model::barrier;
use crate::model::fence::{self, Fence};
use crate::model::node_info;
use crate::settings::Settings;
use crate::settings::table::SAMPLING_PERIOD;

/// Who reads, and remembers how large the znodes were: what has been read before takes fewer requests.
#[derive(Default)]
pub(super) struct Reader {
    measurements: Members,
    presences: Members,
    contenders: Members,
}

impl Reader {
    pub(super) async fn read(&mut self, connection: &Connection, settings: &Settings) -> Result<Seen, Error> {
        // What others have written just now is to be seen.
        connection.sync().await?;
        let mut seen = Seen::default();
        if let Some((data, stat)) = get(connection, fence::PATH).await? {
            seen.written(&stat);
            seen.wrong.extend(WrongZnode::not_persistent(fence::PATH, &stat));
            seen.term = Fence::parse(&data);
        }
        let period = fleet_path(SAMPLING_PERIOD);
        if let Some((data, _)) = get(connection, &period).await? {
            seen.period = parse_sampling_period(&data);
        }
        seen.waiting = outbox_store::cycles(connection, outbox::PATH).await?.map_or(0, |cycles| cycles.len());
        seen.aside = below(connection, outbox::ASIDE).await?;
        self.read_line(connection, &settings.election, &mut seen).await?;
        read_barrier_and_counter(connection, &mut seen).await?;
        let found = all(connection, &settings.measurements, &mut self.measurements, Measurement::of).await?;
        for (name, stat, measurement) in found {
            seen.written(&stat);
            let path = format!("{}/{name}", settings.measurements);
            seen.wrong.extend(WrongZnode::not_ephemeral(&path, &stat));
            // What is called otherwise than this fleet's measurements is shown by its name.
            let id = settings.id_of(&name).unwrap_or(&name);
            seen.measurements.insert(id.to_owned(), measurement);
        }
        let found =
            all(connection, node_info::PARENT_PATH, &mut self.presences, |data, _| Said::of(data)).await?;
        for (id, stat, said) in found {
            seen.written(&stat);
            seen.wrong.extend(WrongZnode::not_ephemeral(&format!("{}/{id}", node_info::PARENT_PATH), &stat));
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
        let names = children(connection, election).await?;
        let line: Vec<String> =
            sorted_contenders(Naming::Kazoo, &names).into_iter().map(str::to_owned).collect();
        seen.in_line = line.len();
        let Some(first) = line.first().cloned() else { return Ok(()) };
        for (name, stat, ()) in read(connection, election, line, &mut self.contenders, |_, _| ()).await? {
            seen.wrong.extend(WrongZnode::not_ephemeral(&format!("{election}/{name}"), &stat));
        }
        if let Some((data, stat)) = get(connection, &format!("{election}/{first}")).await?
            && is_ephemeral(stat.ephemeral_owner)
        {
            seen.leader = Some((String::from_utf8_lossy(&data).into_owned(), stat.ctime));
        }
        Ok(())
    }
}

/// Checks that the barrier can be opened, and that the counter holds a number.
async fn read_barrier_and_counter(connection: &Connection, seen: &mut Seen) -> Result<(), Error> {
    if let Some(stat) = connection.stat(barrier::PATH).await? {
        seen.wrong.extend(WrongZnode::not_childless(barrier::PATH, &stat));
        seen.wrong.extend(WrongZnode::not_persistent(barrier::PATH, &stat));
    }
    if let Some((data, stat)) = get(connection, COUNTER).await? {
        seen.wrong.extend(WrongZnode::not_persistent(COUNTER, &stat));
        let text = String::from_utf8_lossy(&data);
        if !text.trim().is_empty() && text.trim().parse::<i64>().is_err() {
            seen.wrong.push(WrongZnode::new(COUNTER, ZnodeProblem::NotANumber));
        }
    }
    Ok(())
}

async fn get(connection: &Connection, path: &str) -> Result<Option<(Vec<u8>, Stat)>, Error> {
    match connection.get(path).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_no_node() => Ok(None),
        Err(error) => Err(error),
    }
}

/// How many children there are at `path`; their names are not read.
async fn below(connection: &Connection, path: &str) -> Result<usize, Error> {
    let stat = connection.stat(path).await?;
    Ok(stat.map_or(0, |stat| usize::try_from(stat.num_children).unwrap_or(0)))
}
