//! Metrics of the collector itself, for `/metrics`.

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry};

use crate::store::Outcome;

/// The label `outcome`.
type ByOutcome = [(&'static str, &'static str); 1];

/// Reason to refuse a request because of its token, host or site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names of the labels")]
pub(crate) enum Refused {
    token_missing,
    token_unknown,
    token_role,
    host,
    cross_site,
}

impl Refused {
    const ALL: [Refused; 5] = [
        Refused::token_missing,
        Refused::token_unknown,
        Refused::token_role,
        Refused::host,
        Refused::cross_site,
    ];
}

/// The label `reason`.
type ByReason = [(&'static str, Refused); 1];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    path: String,
    status: u16,
}

pub(crate) struct Metrics {
    registry: Registry,
    reports: Family<ByOutcome, Counter>,
    samples: Family<ByOutcome, Counter>,
    requests: Family<ByStatus, Counter>,
    refused: Family<ByReason, Counter>,
    /// Number of open connections.
    pub(crate) connections: Gauge,
    /// Connections that were closed because their address had too many, or because others needed the slot.
    pub(crate) turned_away: Counter,
    /// Number of open event streams.
    pub(crate) streams: Gauge,
    store: Gauge,
    fleets: Gauge,
    fleets_mixed: Gauge,
}

/// Creates a metric with this name and help text.
fn registered<M: Metric + Clone + Default>(registry: &mut Registry, name: &str, help: &str) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("atalaya_collector");
        let all = &mut registry;
        let refused = "Requests refused because of their token, Host or site, by reason";
        let away = "Connections closed because their address had too many, or because others needed the slot";
        let mixed = "Names under which two fleets have reported within the last hour";
        let metrics = Metrics {
            reports: registered(all, "reports", "Received reports by outcome"),
            samples: registered(all, "samples", "Received samples of single sensors by outcome"),
            requests: registered(all, "requests", "Requests by path and status"),
            refused: registered(all, "requests_refused", refused),
            connections: registered(all, "connections", "Open connections"),
            turned_away: registered(all, "connections_turned_away", away),
            streams: registered(all, "streams", "Open event streams"),
            store: registered(all, "store_ready", "1 if reports can be recorded, otherwise 0"),
            fleets: registered(all, "fleets", "Known names of fleets"),
            fleets_mixed: registered(all, "fleets_mixed", mixed),
            registry,
        };
        // Each label exists from the start, so that its first increase is visible.
        for outcome in ["recorded", "repeated", "conflict", "stale"] {
            drop(metrics.reports.get_or_create(&[("outcome", outcome)]));
        }
        for outcome in ["accepted", "repeated", "refused"] {
            drop(metrics.samples.get_or_create(&[("outcome", outcome)]));
        }
        for reason in Refused::ALL {
            drop(metrics.refused.get_or_create(&[("reason", reason)]));
        }
        metrics
    }

    pub(crate) fn count_outcome(&self, outcome: &Outcome) {
        let outcome = match outcome {
            Outcome::Recorded(_) => "recorded",
            Outcome::Repeated => "repeated",
            Outcome::Conflict(_) => "conflict",
            Outcome::Stale(_) => "stale",
        };
        self.reports.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// Counts the samples of a batch.
    pub(crate) fn count_samples(&self, accepted: u64, repeated: u64, refused: u64) {
        for (outcome, count) in [("accepted", accepted), ("repeated", repeated), ("refused", refused)] {
            self.samples.get_or_create(&[("outcome", outcome)]).inc_by(count);
        }
    }

    pub(crate) fn count_refusal(&self, reason: Refused) {
        self.refused.get_or_create(&[("reason", reason)]).inc();
    }

    /// Counts an answer. `path` is a route, not the requested path, so the number of labels is bounded.
    pub(crate) fn count_answer(&self, path: &str, status: u16) {
        self.requests.get_or_create(&ByStatus { path: path.to_owned(), status }).inc();
    }

    /// Formats the metrics. `ready`: true if reports can be recorded. `fleets`: number of fleets, and of names of two
    /// fleets.
    pub(crate) fn text(&self, ready: bool, fleets: (usize, usize)) -> String {
        self.store.set(i64::from(ready));
        let count = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.fleets.set(count(fleets.0));
        self.fleets_mixed.set(count(fleets.1));
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
