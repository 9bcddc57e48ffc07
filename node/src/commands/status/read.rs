//! Reads the znodes of a fleet, with few requests and bounded memory.

use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::node_names::{Naming, sorted_contenders};
use atalaya_recipes::wrong_znode::is_ephemeral;
use atalaya_recipes::{Connection, Error, Session, WrongZnode, ZnodeProblem};

use crate::dynamic_config::{fleet_path, parse_sampling_period};
use crate::fleet_status::{FleetStatus, RawFleet, RawMeasurement, parse_node_info};
use crate::leader::outbox_store::{self, OUTPUTS_PATH, OutboxPaths};
use crate::model::counter;
use crate::model::fence::{self, Fence};
use crate::model::{barrier, node_info};
use crate::settings::Settings;
use crate::settings::table::SAMPLING_PERIOD;
use crate::zk::bulk_read::{SizeCache, read_children, read_named_children};
use crate::zk::server_clock::{ServerClock, local_time};

/// Maximum number of outboxes of outputs that are read, also of outputs that were removed from boards.toml.
const MAX_OUTPUTS: usize = 64;

/// Reader that remembers the sizes of the znodes, so that the next reading takes fewer requests.
pub(super) struct FleetReader {
    session: Session,
    pub(super) settings: Settings,
    clock: ServerClock,
    measurements: SizeCache,
    node_infos: SizeCache,
    contenders: SizeCache,
}

impl FleetReader {
    pub(super) fn new(session: Session, settings: Settings) -> FleetReader {
        let (measurements, node_infos, contenders) = Default::default();
        FleetReader { session, settings, clock: ServerClock::default(), measurements, node_infos, contenders }
    }

    pub(super) async fn read(&mut self) -> Result<FleetStatus, Error> {
        let connection = self.session.connection().await;
        let started = BootInstant::now();
        let fleet = self.read_znodes(&connection).await?;
        let ended = BootInstant::now();
        if fleet.newest_write > 0 {
            self.clock.record_read(fleet.newest_write, started, ended, local_time());
        }
        let now = self.clock.now(ended).unwrap_or_else(local_time);
        Ok(FleetStatus::new(self.settings.zookeeper.to_string(), fleet, now))
    }

    async fn read_znodes(&mut self, connection: &Connection) -> Result<RawFleet, Error> {
        // Without a sync, the server that this session is connected to may be behind the others.
        connection.sync().await?;
        let mut fleet = RawFleet::default();
        if let Some((data, stat)) = connection.get_opt(fence::PATH).await? {
            fleet.record_stat(&stat);
            fleet.wrong_znodes.extend(WrongZnode::not_persistent(fence::PATH, &stat));
            fleet.fence = Fence::parse(&data).ok();
        }
        let period = fleet_path(SAMPLING_PERIOD);
        if let Some((data, _)) = connection.get_opt(&period).await? {
            fleet.sampling_period = parse_sampling_period(&data);
        }
        let paths = OutboxPaths::api();
        let waiting = outbox_store::cycles(connection, &paths.reports).await?;
        fleet.waiting_reports = waiting.map_or(0, |cycles| cycles.len());
        fleet.rejected_reports = count_children(connection, &paths.rejected).await?;
        for name in connection.children_or_empty(OUTPUTS_PATH).await?.into_iter().take(MAX_OUTPUTS) {
            let paths = OutboxPaths::of_output(&name);
            let waiting = count_children(connection, &paths.reports).await?;
            let rejected = count_children(connection, &paths.rejected).await?;
            fleet.outputs.insert(name, (waiting, rejected));
        }
        self.read_contenders(connection, &mut fleet).await?;
        read_barrier_and_counter(connection, &mut fleet).await?;
        let parent = &self.settings.measurements;
        let found = read_children(connection, parent, &mut self.measurements, RawMeasurement::parse).await?;
        for (name, stat, measurement) in found {
            fleet.record_stat(&stat);
            fleet.wrong_znodes.extend(WrongZnode::not_ephemeral(&format!("{parent}/{name}"), &stat));
            // A name that does not match the template is used as the id.
            let id = self.settings.id_of(&name).unwrap_or(&name);
            fleet.measurements.insert(id.to_owned(), measurement);
        }
        let parent = node_info::PARENT_PATH;
        let parse = |data: &[u8], _: &_| parse_node_info(data);
        for (id, stat, info) in read_children(connection, parent, &mut self.node_infos, parse).await? {
            fleet.record_stat(&stat);
            fleet.wrong_znodes.extend(WrongZnode::not_ephemeral(&format!("{parent}/{id}"), &stat));
            fleet.node_infos.insert(id, info);
        }
        Ok(fleet)
    }

    /// Reads the contenders of the election. A contender that is not ephemeral is not shown as the leader, although it
    /// blocks the election.
    async fn read_contenders(&mut self, connection: &Connection, fleet: &mut RawFleet) -> Result<(), Error> {
        let election = &self.settings.election;
        let names = connection.children_or_empty(election).await?;
        let contenders: Vec<String> =
            sorted_contenders(Naming::Kazoo, &names).into_iter().map(str::to_owned).collect();
        fleet.contenders = contenders.len();
        let Some(first) = contenders.first().cloned() else { return Ok(()) };
        for (name, stat, ()) in
            read_named_children(connection, election, contenders, &mut self.contenders, |_, _| ()).await?
        {
            fleet.wrong_znodes.extend(WrongZnode::not_ephemeral(&format!("{election}/{name}"), &stat));
        }
        if let Some((data, stat)) = connection.get_opt(&format!("{election}/{first}")).await?
            && is_ephemeral(stat.ephemeral_owner)
        {
            fleet.leader = Some((String::from_utf8_lossy(&data).into_owned(), stat.ctime));
        }
        Ok(())
    }
}

/// Checks that the barrier can be deleted, and that the counter contains a number.
async fn read_barrier_and_counter(connection: &Connection, fleet: &mut RawFleet) -> Result<(), Error> {
    if let Some(stat) = connection.stat(barrier::PATH).await? {
        fleet.wrong_znodes.extend(WrongZnode::not_childless(barrier::PATH, &stat));
        fleet.wrong_znodes.extend(WrongZnode::not_persistent(barrier::PATH, &stat));
    }
    if let Some((data, stat)) = connection.get_opt(counter::PATH).await? {
        fleet.wrong_znodes.extend(WrongZnode::not_persistent(counter::PATH, &stat));
        let text = String::from_utf8_lossy(&data);
        if !text.trim().is_empty() && text.trim().parse::<i64>().is_err() {
            fleet.wrong_znodes.push(WrongZnode::new(counter::PATH, ZnodeProblem::NotANumber));
        }
    }
    Ok(())
}

/// Returns the number of children, without reading their names.
async fn count_children(connection: &Connection, path: &str) -> Result<usize, Error> {
    let stat = connection.stat(path).await?;
    Ok(stat.map_or(0, |stat| usize::try_from(stat.num_children).unwrap_or(0)))
}
