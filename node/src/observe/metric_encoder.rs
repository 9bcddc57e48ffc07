//! Encodes metrics for Prometheus: one call per metric.

use std::fmt::Error;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// Encoder for values that are read at the time of a scrape.
pub(super) struct Encoder<'a>(pub(super) DescriptorEncoder<'a>);

/// Name of a metric without its unit, the unit, and the help text.
pub(super) type Descriptor<'a> = (&'a str, Option<Unit>, &'a str);
pub(super) type Labels<'a, const N: usize> = [(&'a str, &'a str); N];

pub(super) const SECONDS: Option<Unit> = Some(Unit::Seconds);
pub(super) const BYTES: Option<Unit> = Some(Unit::Bytes);

impl Encoder<'_> {
    /// Encodes one value per set of labels. Without values, the metric is left out.
    pub(super) fn family<'v, const N: usize>(
        &mut self,
        kind: MetricType,
        (name, unit, help): Descriptor<'_>,
        values: impl IntoIterator<Item = (Labels<'v, N>, f64)>,
    ) -> Result<(), Error> {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        let mut encoder = self.0.encode_descriptor(name, &format!("{help}."), unit.as_ref(), kind)?;
        values.try_for_each(|(labels, value)| encode(encoder.encode_family(&labels)?, kind, value))
    }

    fn single(
        &mut self,
        kind: MetricType,
        (name, unit, help): Descriptor<'_>,
        value: f64,
    ) -> Result<(), Error> {
        encode(self.0.encode_descriptor(name, &format!("{help}."), unit.as_ref(), kind)?, kind, value)
    }

    pub(super) fn gauges<'v, const N: usize>(
        &mut self,
        descriptor: Descriptor<'_>,
        values: impl IntoIterator<Item = (Labels<'v, N>, f64)>,
    ) -> Result<(), Error> {
        self.family(MetricType::Gauge, descriptor, values)
    }

    /// Encodes a gauge for each state, which is 1 for the current one.
    pub(super) fn states<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        states: [(&str, bool); N],
    ) -> Result<(), Error> {
        let states = states.map(|(state, is_current)| ([("state", state)], f64::from(u8::from(is_current))));
        self.gauges((name, None, help), states)
    }

    /// Encodes a gauge. An unknown value is left out.
    pub(super) fn gauge(&mut self, descriptor: Descriptor<'_>, value: Option<f64>) -> Result<(), Error> {
        value.map_or(Ok(()), |value| self.single(MetricType::Gauge, descriptor, value))
    }

    pub(super) fn flag(&mut self, name: &str, help: &str, value: bool) -> Result<(), Error> {
        self.gauge((name, None, help), Some(f64::from(u8::from(value))))
    }

    pub(super) fn counter(&mut self, descriptor: Descriptor<'_>, value: f64) -> Result<(), Error> {
        self.single(MetricType::Counter, descriptor, value)
    }

    pub(super) fn info<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: Labels<'_, N>,
    ) -> Result<(), Error> {
        let help = format!("{help}.");
        self.0.encode_descriptor(name, &help, None, MetricType::Info)?.encode_info(&labels)
    }
}

fn encode(mut encoder: MetricEncoder<'_>, kind: MetricType, value: f64) -> Result<(), Error> {
    match kind {
        MetricType::Counter => encoder.encode_counter::<NoLabelSet, f64, f64>(&value, None),
        _ => encoder.encode_gauge(&value),
    }
}

#[allow(clippy::cast_precision_loss, reason = "exact up to 2^53")]
pub(super) fn count(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}
