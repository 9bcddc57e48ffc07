//! What is only looked up when somebody asks: sensors, session, election, the process.

use std::collections::BTreeSet;
use std::fmt::Error;
use std::sync::Arc;

use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::session::Phase;
use atalaya_recipes::{SessionState, Standing, WrongZnode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::{Inner, lock};
use crate::metrics::leading::Led;
use crate::metrics::process::Process;
use crate::metrics::sensing::{Sensing, age};
use crate::model::barrier::{Barrier, SamplingMode};
use crate::model::measurement::Exclusion;
use crate::model::text::sanitize_for_log;
use crate::settings::Settings;

/// See the module.
#[derive(Debug)]
pub(super) struct Scrape(pub(super) Arc<Inner>);

/// Writes figures.
struct Page<'a>(DescriptorEncoder<'a>);

/// A name without its unit, and what it is.
type Named<'a> = (&'a str, Option<Unit>, &'a str);
type Labels<'a, const N: usize> = [(&'a str, &'a str); N];

const SECONDS: Option<Unit> = Some(Unit::Seconds);
const BYTES: Option<Unit> = Some(Unit::Bytes);

impl Page<'_> {
    /// One figure of each set of labels; if there is none, nothing.
    fn family<'v, const N: usize>(
        &mut self,
        kind: MetricType,
        (name, unit, help): Named<'_>,
        values: impl IntoIterator<Item = (Labels<'v, N>, f64)>,
    ) -> Result<(), Error> {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        let mut encoder = self.0.encode_descriptor(name, &format!("{help}."), unit.as_ref(), kind)?;
        values.try_for_each(|(labels, value)| put(encoder.encode_family(&labels)?, kind, value))
    }

    /// One without labels.
    fn single(&mut self, kind: MetricType, (name, unit, help): Named<'_>, value: f64) -> Result<(), Error> {
        put(self.0.encode_descriptor(name, &format!("{help}."), unit.as_ref(), kind)?, kind, value)
    }

    fn gauges<'v, const N: usize>(
        &mut self,
        named: Named<'_>,
        values: impl IntoIterator<Item = (Labels<'v, N>, f64)>,
    ) -> Result<(), Error> {
        self.family(MetricType::Gauge, named, values)
    }

    /// Nothing, if it is not known.
    fn gauge(&mut self, named: Named<'_>, value: Option<f64>) -> Result<(), Error> {
        value.map_or(Ok(()), |value| self.single(MetricType::Gauge, named, value))
    }

    fn flag(&mut self, name: &str, help: &str, value: bool) -> Result<(), Error> {
        self.gauge((name, None, help), Some(f64::from(u8::from(value))))
    }

    fn counters<'v, const N: usize>(
        &mut self,
        named: Named<'_>,
        values: impl IntoIterator<Item = (Labels<'v, N>, f64)>,
    ) -> Result<(), Error> {
        self.family(MetricType::Counter, named, values)
    }

    fn counter(&mut self, named: Named<'_>, value: f64) -> Result<(), Error> {
        self.single(MetricType::Counter, named, value)
    }

    fn info<const N: usize>(&mut self, name: &str, help: &str, labels: Labels<'_, N>) -> Result<(), Error> {
        let help = format!("{help}.");
        self.0.encode_descriptor(name, &help, None, MetricType::Info)?.encode_info(&labels)
    }
}

fn put(mut encoder: MetricEncoder<'_>, kind: MetricType, value: f64) -> Result<(), Error> {
    match kind {
        MetricType::Counter => encoder.encode_counter::<NoLabelSet, f64, f64>(&value, None),
        _ => encoder.encode_gauge(&value),
    }
}

/// A count as a figure.
#[allow(clippy::cast_precision_loss, reason = "beyond 2^53 nobody counts one by one")]
fn count(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let (mut page, now) = (Page(encoder), BootInstant::now());
        let inner = &*self.0;
        let running = lock(&inner.running).clone();
        let board = running.as_ref().map(|running| running.board.borrow().clone());
        let look = inner.look(now);
        build(&mut page, &inner.id, &board.unwrap_or_default())?;
        page.flag(
            "atalaya_ready",
            "Whether this node measures, is connected and has published lately",
            look.ready().is_good,
        )?;
        // The node itself does not wait for a lock while this writes.
        let sensing = lock(&inner.sensing).clone();
        sensors(&mut page, &sensing, now)?;
        if let Some(running) = running {
            let node_status = running.node_status.borrow().clone();
            let lease = running.session.lease_remaining(now);
            settings(&mut page, &running.settings.borrow())?;
            session(
                &mut page,
                running.session.state(),
                count(lock(&inner.seen).sessions),
                lease.as_secs_f64(),
            )?;
            election(&mut page, node_status.standing, !lease.is_zero())?;
            let led = *running.leading.borrow();
            if let Some(led) = led {
                page.gauge(
                    ("atalaya_leader_epoch", None, "The epoch in which this node leads"),
                    Some(count(u64::try_from(led.epoch).unwrap_or(0))),
                )?;
                page.gauge(
                    ("atalaya_leader_cycle", None, "The newest cycle that this leader has written down"),
                    Some(count(led.cycle)),
                )?;
            }
            step(&mut page, *running.pace.borrow())?;
            wrong_znodes(&mut page, &running.session.wrong_znodes().borrow())?;
            let tally = *running.tally.borrow();
            let led = inner.leading.led().as_ref().and_then(|led| led.tally);
            #[allow(clippy::cast_precision_loss, reason = "beyond 2^53 nobody counts one by one")]
            let tally = led.or(tally).map(|tally| tally as f64);
            page.gauge(
                (
                    "atalaya_measurements_counted",
                    None,
                    "What stood at the counter when this node counted last",
                ),
                tally,
            )?;
        }
        let led = inner.leading.led().clone();
        if let Some(led) = led {
            fleet(&mut page, &led, now)?;
        }
        let help = "Log lines that stderr did not take";
        page.counter(("atalaya_log_lines_lost", None, help), count(crate::logging::lines_lost()))?;
        process(&mut page, Process::now())
    }
}

fn build(page: &mut Page<'_>, id: &str, board: &str) -> Result<(), Error> {
    let features = [
        ("sim", cfg!(feature = "sim")),
        ("demo", cfg!(feature = "demo")),
        ("collector", cfg!(feature = "collector")),
    ];
    let features: Vec<&str> = features.iter().filter(|(_, is_on)| *is_on).map(|(name, _)| *name).collect();
    let features = features.join(",");
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("features", &*features)];
    page.info("atalaya_build", "The program that runs", labels)?;
    page.info("atalaya_node", "This node", [("node", id), ("board", board)])
}

fn settings(page: &mut Page<'_>, settings: &Settings) -> Result<(), Error> {
    let period = settings.sampling_period.as_secs_f64();
    page.gauge(("atalaya_sampling_period", SECONDS, "How often this node measures"), Some(period))
}

fn sensors(page: &mut Page<'_>, sensing: &Sensing, now: BootInstant) -> Result<(), Error> {
    let all = || sensing.sensors.iter().map(|counted| ([("sensor", &*counted.info.name)], counted));
    let known = |value: Option<f64>, labels| value.map(|value| (labels, value));
    let addresses: Vec<String> = sensing
        .sensors
        .iter()
        .map(|counted| counted.info.address.map_or(String::new(), |address| format!("{address:#04x}")))
        .collect();
    page.gauges(
        ("atalaya_sensor_info", None, "The sensors of this node, and where they sit"),
        all().zip(&addresses).map(|(([sensor], counted), address)| {
            let bus = counted.info.bus.as_deref().unwrap_or_default();
            ([sensor, ("chip", &*counted.info.chip), ("bus", bus), ("address", address)], 1.0)
        }),
    )?;
    page.counters(
        ("atalaya_sensor_readings", None, "Samples in which a sensor was read"),
        all().map(|(labels, counted)| (labels, count(counted.readings))),
    )?;
    page.counters(
        ("atalaya_sensor_failures", None, "Samples in which a sensor was asked and could not be read"),
        all().map(|(labels, counted)| (labels, count(counted.failures))),
    )?;
    page.gauges(
        ("atalaya_sensor_failing", None, "Whether a sensor could not be read in the last sample"),
        all().map(|(labels, counted)| (labels, f64::from(u8::from(counted.fault.is_some())))),
    )?;
    page.gauges(
        ("atalaya_sensor_reading_age", SECONDS, "How long ago a sensor was read last"),
        all().filter_map(|(labels, counted)| {
            known(age(counted.read_at, now).map(|age| age.as_secs_f64()), labels)
        }),
    )?;
    page.gauges(
        (
            "atalaya_sensor_value",
            None,
            "What a sensor measured in the last sample, filtered; nothing while it fails",
        ),
        all().flat_map(|([sensor], counted)| {
            let labelled = move |(quantity, value): &(atalaya_hal::Quantity, f64)| {
                ([sensor, ("quantity", quantity.name()), ("unit", quantity.unit())], *value)
            };
            counted.values.iter().map(labelled)
        }),
    )?;
    page.counter(
        ("atalaya_samples", None, "Samples that were taken of all sensors"),
        count(sensing.samples),
    )?;
    page.gauges(
        ("atalaya_published_value", None, "What stands in the measurement's znode"),
        sensing.published.iter().map(|published| {
            let (quantity, unit) = (published.quantity.name(), published.quantity.unit());
            ([("sensor", &*published.sensor), ("quantity", quantity), ("unit", unit)], published.value)
        }),
    )?;
    let published = age(sensing.published_at, now).map(|age| age.as_secs_f64());
    page.gauge(
        ("atalaya_published_age", SECONDS, "How long ago a measurement was stored in ZooKeeper"),
        published,
    )?;
    page.counter(
        ("atalaya_publications", None, "Measurements that were stored in ZooKeeper"),
        count(sensing.stored),
    )
}

fn session(page: &mut Page<'_>, view: SessionState, sessions: f64, lease: f64) -> Result<(), Error> {
    let states = [
        ("connecting", Phase::Connecting),
        ("connected", Phase::Connected),
        ("suspended", Phase::Suspended),
        ("closed", Phase::Closed),
    ];
    page.gauges(
        ("atalaya_session_state", None, "The state of the ZooKeeper session: one of these is 1"),
        states.map(|(name, phase)| ([("state", name)], f64::from(u8::from(view.phase == phase)))),
    )?;
    page.gauge(
        ("atalaya_session_timeout", SECONDS, "The session timeout that ZooKeeper has granted"),
        Some(view.timeout.as_secs_f64()),
    )?;
    page.gauge(
        (
            "atalaya_session_lease",
            SECONDS,
            "How long the session lives for certain, if nothing more is heard",
        ),
        Some(lease),
    )?;
    page.counter(
        ("atalaya_session_reconnects", None, "Connections to ZooKeeper after the first"),
        count(view.connection.saturating_sub(1)),
    )?;
    page.counter(("atalaya_sessions", None, "Sessions that this node has had"), sessions)
}

fn election(page: &mut Page<'_>, standing: Standing, lease: bool) -> Result<(), Error> {
    // Who was stopped, and has not noticed yet, leads no more.
    let leads = standing == Standing::Leading && lease;
    page.flag("atalaya_leading", "Whether this node leads the fleet", leads)?;
    let ahead = match standing {
        Standing::Waiting { ahead } => Some(count(ahead)),
        Standing::Leading => Some(0.0),
        Standing::Inactive => None,
    };
    page.gauge(
        (
            "atalaya_election_ahead",
            None,
            "Contenders before this node when it last looked; nothing if it stands not in line",
        ),
        ahead,
    )
}

fn step(page: &mut Page<'_>, pace: SamplingMode) -> Result<(), Error> {
    page.flag(
        "atalaya_lockstep",
        "Whether this node measures in step with the leader",
        pace.barrier.is_some(),
    )?;
    let Some(barrier) = pace.barrier else { return Ok(()) };
    let is = |is: bool| f64::from(u8::from(is));
    let states = [
        ([("state", "unseen")], is(barrier == Barrier::Unknown)),
        ([("state", "open")], is(barrier == Barrier::Open)),
        ([("state", "closed")], is(matches!(barrier, Barrier::Closed(_)))),
        ([("state", "released")], is(barrier == Barrier::Released)),
    ];
    page.gauges(
        ("atalaya_barrier_state", None, "What the barrier was last seen to be: one of these is 1"),
        states,
    )
}

/// Maximum number of znodes of the wrong type that are named, so that the number of time series stays bounded.
const MOST_PATHS: usize = 16;

fn wrong_znodes(page: &mut Page<'_>, wrong: &BTreeSet<WrongZnode>) -> Result<(), Error> {
    page.gauge(
        (
            "atalaya_znodes_wrong_type",
            None,
            "Znodes of the wrong type that this node sees on the paths that it uses",
        ),
        Some(count(wrong.len() as u64)),
    )?;
    // Paths that only differ behind the cut are one.
    let named: BTreeSet<(String, &str)> = wrong
        .iter()
        .take(MOST_PATHS)
        .map(|wrong| (sanitize_for_log(&wrong.path), wrong.problem.name()))
        .collect();
    page.gauges(
        ("atalaya_znode_wrong_type", None, "The znodes of the wrong type, and what is wrong with them"),
        named.iter().map(|(path, problem)| ([("path", &**path), ("problem", *problem)], 1.0)),
    )
}

fn fleet(page: &mut Page<'_>, led: &Led, now: BootInstant) -> Result<(), Error> {
    if let Some((nodes, counted, excluded)) = &led.fleet {
        page.gauge(
            ("atalaya_fleet_nodes", None, "Measurements that are there, as the leader sees it"),
            Some(count(*nodes)),
        )?;
        page.gauge(
            ("atalaya_fleet_counted", None, "Measurements that count in the average"),
            Some(count(*counted)),
        )?;
        let reasons = Exclusion::REASONS.iter().zip(excluded);
        page.gauges(
            ("atalaya_fleet_excluded", None, "Measurements that do not count in the average, by reason"),
            reasons.map(|(reason, excluded)| ([("reason", *reason)], count(*excluded))),
        )?;
    }
    page.gauges(
        (
            "atalaya_fleet_mean",
            None,
            "The average of the newest cycle; bare numbers have neither quantity nor unit",
        ),
        led.means.iter().map(|mean| ([("quantity", &*mean.quantity), ("unit", &*mean.unit)], mean.mean)),
    )?;
    page.gauge(
        ("atalaya_outbox_reports", None, "Reports that wait to be accepted by the API"),
        Some(count(led.waiting)),
    )?;
    page.gauge(
        ("atalaya_outbox_oldest_age", SECONDS, "How old the oldest report is that waits; 0 without any"),
        Some(led.oldest_age(now).as_secs_f64()),
    )?;
    page.gauge(
        ("atalaya_aside_reports", None, "Reports that the API has rejected and that are kept"),
        led.aside.map(f64::from),
    )
}

fn process(page: &mut Page<'_>, process: Process) -> Result<(), Error> {
    if let Some(cpu) = process.cpu {
        page.counter(("process_cpu", SECONDS, "Processor time"), cpu)?;
    }
    for (name, unit, help, value) in [
        ("process_resident_memory", BYTES, "Memory that is resident", process.resident),
        ("process_virtual_memory", BYTES, "Memory that is mapped", process.virtual_size),
        ("process_start_time", SECONDS, "When the process was started, since 1970", process.started),
        ("process_threads", None, "Threads", process.threads),
        ("process_open_fds", None, "Open files", process.files),
        ("process_max_fds", None, "Open files at most", process.most_files),
    ] {
        page.gauge((name, unit, help), value)?;
    }
    Ok(())
}
