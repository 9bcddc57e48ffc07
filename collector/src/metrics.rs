//! Metrics of the collector itself, for `/metrics`.

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::store::Outcome;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names of the labels")]
enum OutcomeLabel {
    recorded,
    repeated,
    conflict,
    stale,
}

impl OutcomeLabel {
    const ALL: [OutcomeLabel; 4] =
        [OutcomeLabel::recorded, OutcomeLabel::repeated, OutcomeLabel::conflict, OutcomeLabel::stale];
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: OutcomeLabel,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names of the labels")]
enum SampleLabel {
    accepted,
    repeated,
    refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BySampleOutcome {
    outcome: SampleLabel,
}

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

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    reason: Refused,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStatus {
    path: String,
    status: u16,
}

/// All metrics.
pub(crate) struct Metrics {
    registry: Registry,
    reports: Family<ByOutcome, Counter>,
    samples: Family<BySampleOutcome, Counter>,
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

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("atalaya_collector");
        let reports = Family::<ByOutcome, Counter>::default();
        let requests = Family::<ByStatus, Counter>::default();
        for outcome in OutcomeLabel::ALL {
            // Each label exists from the start, so that its first increase is visible.
            drop(reports.get_or_create(&ByOutcome { outcome }));
        }
        let samples = Family::<BySampleOutcome, Counter>::default();
        for outcome in [SampleLabel::accepted, SampleLabel::repeated, SampleLabel::refused] {
            drop(samples.get_or_create(&BySampleOutcome { outcome }));
        }
        let refused = Family::<ByReason, Counter>::default();
        for reason in Refused::ALL {
            drop(refused.get_or_create(&ByReason { reason }));
        }
        let (connections, streams, store) = (Gauge::default(), Gauge::default(), Gauge::default());
        let turned_away = Counter::default();
        registry.register("reports", "Received reports by outcome", reports.clone());
        registry.register("samples", "Received samples of single sensors by outcome", samples.clone());
        registry.register("requests", "Requests by path and status", requests.clone());
        let help = "Requests refused because of their token, Host or site, by reason";
        registry.register("requests_refused", help, refused.clone());
        registry.register("connections", "Open connections", connections.clone());
        let help = "Connections closed because their address had too many, or because others needed the slot";
        registry.register("connections_turned_away", help, turned_away.clone());
        registry.register("streams", "Open event streams", streams.clone());
        registry.register("store_ready", "1 if reports can be recorded, otherwise 0", store.clone());
        let (fleets, fleets_mixed) = (Gauge::default(), Gauge::default());
        registry.register("fleets", "Known names of fleets", fleets.clone());
        let help = "Names under which two fleets have reported within the last hour";
        registry.register("fleets_mixed", help, fleets_mixed.clone());
        Metrics {
            registry,
            reports,
            samples,
            requests,
            refused,
            connections,
            turned_away,
            streams,
            store,
            fleets,
            fleets_mixed,
        }
    }

    pub(crate) fn count_outcome(&self, outcome: &Outcome) {
        let outcome = match outcome {
            Outcome::Recorded(_) => OutcomeLabel::recorded,
            Outcome::Repeated => OutcomeLabel::repeated,
            Outcome::Conflict(_) => OutcomeLabel::conflict,
            Outcome::Stale(_) => OutcomeLabel::stale,
        };
        self.reports.get_or_create(&ByOutcome { outcome }).inc();
    }

    /// Counts the samples of a batch.
    pub(crate) fn count_samples(&self, accepted: u64, repeated: u64, refused: u64) {
        for (outcome, count) in [
            (SampleLabel::accepted, accepted),
            (SampleLabel::repeated, repeated),
            (SampleLabel::refused, refused),
        ] {
            self.samples.get_or_create(&BySampleOutcome { outcome }).inc_by(count);
        }
    }

    pub(crate) fn count_refusal(&self, reason: Refused) {
        self.refused.get_or_create(&ByReason { reason }).inc();
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
