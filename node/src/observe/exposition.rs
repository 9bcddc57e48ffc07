//! Exposition of a node's metrics: those in the recorders' registries, and values that are read for each scrape.

mod history;
mod outputs;

use std::collections::BTreeSet;
use std::fmt::Error;

use atalaya_hal::Quantity;
use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::{Phase, Standing, WrongZnode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::metrics::{LeaderStats, Metrics, SamplingStats, TaskStats};
use crate::model::barrier::{Barrier, SamplingMode};
use crate::model::details::Findings;
use crate::model::measurement::Exclusion;
use crate::model::report::Average;
use crate::model::senml::quantity_of;
use crate::model::text::sanitize_for_log;
use crate::observe::metric_encoder::{BYTES, Encoder, SECONDS, count};
use crate::observe::observer::{NodeHandles, Observer};
use crate::observe::process_stats::ProcessStats;

/// Returns the metrics of a node as OpenMetrics text.
pub(super) fn page(observer: &Observer) -> String {
    let mut read_now = Registry::default();
    read_now.register_collector(Box::new(NodeCollector(observer.clone())));
    let Metrics { leader, sampling, tasks, history: _ } = observer.metrics();
    let mut page = String::new();
    let registries = [Some(&read_now), leader.registry(), sampling.registry(), tasks.registry()];
    for registry in registries.into_iter().flatten() {
        // Writing to a string cannot fail.
        let _ = encode_registry(&mut page, registry);
    }
    page + "# EOF\n"
}

#[derive(Debug)]
struct NodeCollector(Observer);

impl Collector for NodeCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let (mut encoder, now) = (Encoder(encoder), BootInstant::now());
        let observer = &self.0;
        let node = observer.node();
        let board = node.as_ref().map(|node| node.board.borrow().clone());
        encode_build(&mut encoder, observer.node_id(), &board.unwrap_or_default())?;
        let help = "1 if this node measures, is connected and has published recently";
        encoder.flag("atalaya_ready", help, observer.snapshot(now).readiness().is_healthy)?;
        encode_sampling(&mut encoder, &observer.metrics().sampling.stats(), now)?;
        let leader = observer.metrics().leader.stats();
        if let Some(node) = node {
            encode_node(&mut encoder, observer, &node, leader.as_ref(), now)?;
        }
        if let Some(leader) = &leader {
            encode_leader(&mut encoder, leader, now)?;
        }
        let outputs = observer.metrics().leader.outputs();
        outputs::encode(&mut encoder, &outputs, leader.as_ref(), now)?;
        if let Some(tasks) = &observer.metrics().tasks.stats() {
            encode_tasks(&mut encoder, tasks, now)?;
        }
        if let Some(stats) = &observer.metrics().history.stats() {
            history::encode(&mut encoder, stats, now)?;
        }
        let help = "Log lines that could not be written to stderr";
        encoder.counter(("atalaya_log_lines_lost", None, help), count(crate::logging::lines_lost()))?;
        encode_process(&mut encoder, ProcessStats::read())
    }
}

fn encode_build(encoder: &mut Encoder<'_>, node_id: &str, board: &str) -> Result<(), Error> {
    let features = [
        ("sim", cfg!(feature = "sim")),
        ("demo", cfg!(feature = "demo")),
        ("collector", cfg!(feature = "collector")),
        ("history", cfg!(feature = "history")),
        ("mqtt", cfg!(feature = "mqtt")),
    ];
    let features: Vec<&str> = features.iter().filter(|(_, is_on)| *is_on).map(|(name, _)| *name).collect();
    let features = features.join(",");
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("features", &*features)];
    encoder.info("atalaya_build", "Version and features of the program", labels)?;
    encoder.info("atalaya_node", "Id and board of this node", [("node", node_id), ("board", board)])
}

/// Encodes what exists only while the node runs.
fn encode_node(
    encoder: &mut Encoder<'_>,
    observer: &Observer,
    node: &NodeHandles,
    leader: Option<&LeaderStats>,
    now: BootInstant,
) -> Result<(), Error> {
    let standing = node.status.borrow().standing;
    let lease = node.session.lease_remaining(now);
    let period = node.settings.borrow().sampling_period.as_secs_f64();
    encoder.gauge(("atalaya_sampling_period", SECONDS, "Sampling period"), Some(period))?;
    let session = node.session.state();
    let states = [
        ("connecting", Phase::Connecting),
        ("connected", Phase::Connected),
        ("suspended", Phase::Suspended),
        ("closed", Phase::Closed),
    ];
    let states = states.map(|(name, phase)| (name, session.phase == phase));
    let help = "State of the ZooKeeper session: the current one is 1";
    encoder.states("atalaya_session_state", help, states)?;
    let help = "Session timeout that ZooKeeper granted";
    encoder.gauge(("atalaya_session_timeout", SECONDS, help), Some(session.timeout.as_secs_f64()))?;
    let help = "Remaining time in which the session certainly exists, without further answers from ZooKeeper";
    encoder.gauge(("atalaya_session_lease", SECONDS, help), Some(lease.as_secs_f64()))?;
    let reconnects = count(session.connection.saturating_sub(1));
    let help = "Connections to ZooKeeper after the first";
    encoder.counter(("atalaya_session_reconnects", None, help), reconnects)?;
    let sessions = count(observer.sessions());
    encoder.counter(("atalaya_sessions", None, "ZooKeeper sessions of this process"), sessions)?;
    encode_election(encoder, standing, !lease.is_zero())?;
    let leading = node.leader.borrow().clone();
    if let Some(leading) = leading {
        let epoch = count(u64::try_from(leading.epoch).unwrap_or(0));
        encoder.gauge(("atalaya_leader_epoch", None, "Epoch of this leader"), Some(epoch))?;
        let help = "Newest cycle that this leader has committed";
        encoder.gauge(("atalaya_leader_cycle", None, help), Some(count(leading.cycle)))?;
    }
    encode_sampling_mode(encoder, *node.sampling_mode.borrow())?;
    encode_wrong_znodes(encoder, &node.session.wrong_znodes().borrow())?;
    let own_count = *node.counter.borrow();
    #[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
    let counter = leader.and_then(|leader| leader.counter).or(own_count).map(|counter| counter as f64);
    let help = "Value of the counter when this node wrote it last";
    encoder.gauge(("atalaya_measurements_counted", None, help), counter)
}

fn encode_sampling(encoder: &mut Encoder<'_>, stats: &SamplingStats, now: BootInstant) -> Result<(), Error> {
    encode_sensors(encoder, stats, now)?;
    encoder.counter(("atalaya_samples", None, "Samples of all sensors"), count(stats.samples))?;
    let published = stats.published.iter().map(|published| {
        let (quantity, unit) = (published.quantity.name(), published.quantity.unit());
        ([("sensor", &*published.sensor), ("quantity", quantity), ("unit", unit)], published.value)
    });
    encoder.gauges(("atalaya_published_value", None, "Value in the measurement's znode"), published)?;
    let age = stats.published_at.map(|at| now.since(at).as_secs_f64());
    let help = "Time since a measurement was stored in ZooKeeper";
    encoder.gauge(("atalaya_published_age", SECONDS, help), age)?;
    let help = "Measurements that were stored in ZooKeeper";
    encoder.counter(("atalaya_publications", None, help), count(stats.publications))
}

fn encode_sensors(encoder: &mut Encoder<'_>, stats: &SamplingStats, now: BootInstant) -> Result<(), Error> {
    let sensors = || stats.sensors.iter().map(|sensor| ([("sensor", &*sensor.info.name)], sensor));
    let address = |address: u8| format!("{address:#04x}");
    let addresses: Vec<String> =
        stats.sensors.iter().map(|sensor| sensor.info.address.map_or(String::new(), address)).collect();
    let infos = sensors().zip(&addresses).map(|(([name], sensor), address)| {
        let bus = sensor.info.bus.as_deref().unwrap_or_default();
        ([name, ("chip", &*sensor.info.chip), ("bus", bus), ("address", address)], 1.0)
    });
    let help = "Sensors of this node, with their buses and addresses";
    encoder.gauges(("atalaya_sensor_info", None, help), infos)?;
    let readings = sensors().map(|(labels, sensor)| (labels, count(sensor.readings)));
    let help = "Samples in which the sensor was read";
    encoder.family(MetricType::Counter, ("atalaya_sensor_readings", None, help), readings)?;
    let failures = sensors().map(|(labels, sensor)| (labels, count(sensor.failures)));
    let help = "Samples in which reading the sensor failed";
    encoder.family(MetricType::Counter, ("atalaya_sensor_failures", None, help), failures)?;
    let failing = sensors().map(|(labels, sensor)| (labels, f64::from(u8::from(sensor.error.is_some()))));
    let help = "1 if the sensor could not be read in the last sample";
    encoder.gauges(("atalaya_sensor_failing", None, help), failing)?;
    let ages =
        sensors().filter_map(|(labels, sensor)| Some((labels, now.since(sensor.read_at?).as_secs_f64())));
    let help = "Time since the last reading of the sensor";
    encoder.gauges(("atalaya_sensor_reading_age", SECONDS, help), ages)?;
    let values = sensors().flat_map(|([name], sensor)| {
        let labelled = move |(quantity, value): &(Quantity, f64)| {
            ([name, ("quantity", quantity.name()), ("unit", quantity.unit())], *value)
        };
        sensor.values.iter().map(labelled)
    });
    let help = "Value of the last sample, filtered; missing while the sensor cannot be read";
    encoder.gauges(("atalaya_sensor_value", None, help), values)
}

fn encode_election(encoder: &mut Encoder<'_>, standing: Standing, has_lease: bool) -> Result<(), Error> {
    // A process that was stopped and has not noticed yet is not the leader any more: its lease has expired.
    let is_leader = standing == Standing::Leading && has_lease;
    encoder.flag("atalaya_leading", "1 if this node is the leader of the fleet", is_leader)?;
    let help = "1 if this node waits until the election has fewer contenders than the limit";
    encoder.flag("atalaya_standby", help, standing == Standing::Standby)?;
    let ahead = match standing {
        Standing::Waiting { ahead } => Some(count(ahead)),
        Standing::Leading => Some(0.0),
        Standing::Standby | Standing::Inactive => None,
    };
    let help = "Contenders ahead of this node when it checked last; missing while it is not a contender";
    encoder.gauge(("atalaya_election_ahead", None, help), ahead)
}

fn encode_sampling_mode(encoder: &mut Encoder<'_>, mode: SamplingMode) -> Result<(), Error> {
    let help = "1 if this node samples in lock-step with the leader";
    encoder.flag("atalaya_lockstep", help, mode.barrier.is_some())?;
    let Some(barrier) = mode.barrier else { return Ok(()) };
    let states = [
        ("unseen", barrier == Barrier::Unknown),
        ("open", barrier == Barrier::Open),
        ("closed", matches!(barrier, Barrier::Closed(_))),
        ("released", barrier == Barrier::Released),
    ];
    let help = "Last known state of the barrier: the current one is 1";
    encoder.states("atalaya_barrier_state", help, states)
}

/// Maximum number of znodes of the wrong type that are named, so that the number of time series stays bounded.
const MAX_WRONG_ZNODES: usize = 16;

fn encode_wrong_znodes(encoder: &mut Encoder<'_>, wrong: &BTreeSet<WrongZnode>) -> Result<(), Error> {
    let help = "Number of znodes of the wrong type on the paths of this node";
    encoder.gauge(("atalaya_znodes_wrong_type", None, help), Some(count(wrong.len())))?;
    // A set, because two paths can be equal after they were shortened.
    let named: BTreeSet<(String, &str)> = wrong
        .iter()
        .take(MAX_WRONG_ZNODES)
        .map(|wrong| (sanitize_for_log(&wrong.path), wrong.problem.name()))
        .collect();
    let named = named.iter().map(|(path, problem)| ([("path", &**path), ("problem", *problem)], 1.0));
    let help = "Znodes of the wrong type on the paths of this node";
    encoder.gauges(("atalaya_znode_wrong_type", None, help), named)
}

fn encode_leader(encoder: &mut Encoder<'_>, stats: &LeaderStats, now: BootInstant) -> Result<(), Error> {
    if let Some(fleet) = &stats.fleet {
        let help = "Measurements of the fleet, as the leader sees it";
        encoder.gauge(("atalaya_fleet_nodes", None, help), Some(count(fleet.nodes)))?;
        let counted = count(fleet.nodes.saturating_sub(fleet.excluded.iter().sum()));
        let help = "Measurements that are included in the average";
        encoder.gauge(("atalaya_fleet_counted", None, help), Some(counted))?;
        let excluded = Exclusion::REASONS.iter().zip(fleet.excluded);
        let excluded = excluded.map(|(reason, excluded)| ([("reason", *reason)], count(excluded)));
        let help = "Measurements that are excluded from the average, by reason";
        encoder.gauges(("atalaya_fleet_excluded", None, help), excluded)?;
    }
    encode_values(encoder, stats)?;
    let help = "Reports that the API has not accepted yet";
    encoder.gauge(("atalaya_outbox_reports", None, help), Some(count(stats.outbox_reports)))?;
    let age = stats.oldest_report_age(now).as_secs_f64();
    let help = "Age of the oldest report that the API has not accepted yet, or 0";
    encoder.gauge(("atalaya_outbox_oldest_age", SECONDS, help), Some(age))?;
    let help = "Rejected reports that are kept in ZooKeeper";
    encoder.gauge(("atalaya_aside_reports", None, help), stats.rejected_reports.map(f64::from))
}

fn labels(average: &Average) -> [(&str, &str); 2] {
    let (quantity, unit) = (average.quantity.as_deref(), average.unit.as_deref());
    [("quantity", quantity.unwrap_or_default()), ("unit", unit.unwrap_or_default())]
}

fn encode_values(encoder: &mut Encoder<'_>, stats: &LeaderStats) -> Result<(), Error> {
    let means = stats.averages.iter().map(|average| (labels(average), average.arithmetic_mean()));
    let help = "Average of the newest cycle; the labels are empty for measurements without quantity and unit";
    encoder.gauges(("atalaya_fleet_mean", None, help), means)?;
    let values = stats.averages.iter().map(|average| (labels(average), average.mean));
    let help = "Main value of the newest cycle: the mean, or what the setting aggregate chooses";
    encoder.gauges(("atalaya_fleet_value", None, help), values)?;
    let Findings { groups, outliers, more_outliers, withheld } = &stats.findings;
    let groups = groups.iter().map(|group| {
        let unit = group.unit.as_deref().unwrap_or_default();
        let quantity = quantity_of(unit).map_or("", |quantity| quantity.name());
        ([("group", group.group.as_str()), ("quantity", quantity), ("unit", unit)], group.value)
    });
    let help = "Main value of each group in the newest cycle";
    encoder.gauges(("atalaya_fleet_group_value", None, help), groups)?;
    let help = "Outliers among the measurements of the newest cycle";
    encoder.gauge(("atalaya_fleet_outliers", None, help), Some(count(outliers.len() + more_outliers)))?;
    let help = "Values of the newest cycle that too few nodes support";
    encoder.gauge(("atalaya_fleet_withheld", None, help), Some(count(withheld.len())))
}

fn encode_tasks(encoder: &mut Encoder<'_>, stats: &TaskStats, now: BootInstant) -> Result<(), Error> {
    let live = ["queued", "waiting", "assigned"].into_iter().zip(stats.live);
    let live = live.map(|(state, tasks)| ([("state", state)], count(tasks)));
    encoder.gauges(("atalaya_tasks", None, "Live tasks of the fleet, by state"), live)?;
    let wait = stats.longest_wait(now).as_secs_f64();
    let help = "Time for which the oldest task has been waiting for a node, or 0";
    encoder.gauge(("atalaya_tasks_oldest_wait", SECONDS, help), Some(wait))?;
    let help = "Tasks that the present workers could execute in addition";
    encoder.gauge(("atalaya_task_slots_free", None, help), Some(count(stats.free_slots)))
}

fn encode_process(encoder: &mut Encoder<'_>, stats: ProcessStats) -> Result<(), Error> {
    if let Some(cpu_seconds) = stats.cpu_seconds {
        encoder.counter(("process_cpu", SECONDS, "CPU time"), cpu_seconds)?;
    }
    for (name, unit, help, value) in [
        ("process_resident_memory", BYTES, "Resident memory", stats.resident_bytes),
        ("process_virtual_memory", BYTES, "Virtual memory", stats.virtual_bytes),
        ("process_start_time", SECONDS, "Start of the process since 1970", stats.start_time),
        ("process_threads", None, "Threads", stats.threads),
        ("process_open_fds", None, "Open file descriptors", stats.open_files),
        ("process_max_fds", None, "Maximum number of open file descriptors", stats.max_open_files),
    ] {
        encoder.gauge((name, unit, help), value)?;
    }
    Ok(())
}
