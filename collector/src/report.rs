//! Reports: their keys, their format in requests, and their stored form.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::fleet_name::{FleetFields, FleetName, ZoneName};
use crate::invalid::Invalid;
use crate::plausibility::{check_cycle_range, check_epoch_range};
use crate::values::{cut, integer, name, shortened, without_negative_zero};

/// Key that identifies a report and is the same for each attempt to send it: `{epoch}-{cycle}[-{unit}]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Epoch; increases with every leader.
    pub epoch: i64,
    /// Number of the cycle, counted over all epochs.
    pub cycle: i64,
    /// Unit that was averaged in that cycle; `None` for bare numbers.
    pub unit: Option<String>,
}

impl Key {
    /// Parses an `Idempotency-Key`, with or without the quotation marks of a structured field.
    ///
    /// # Errors
    /// Returns an error if the text is not the key of a report.
    pub fn parse(text: &str) -> Result<Key, Invalid> {
        let wrong = || {
            Invalid::new(format!(
                "Idempotency-Key: {:?} is not {{epoch}}-{{cycle}} or {{epoch}}-{{cycle}}-{{unit}}, with an epoch from 1 and a cycle \
                 from 0, both below 2^63",
                shortened(text)
            ))
        };
        let text = text.trim();
        let bare = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
        let mut parts = bare.splitn(3, '-');
        let mut number = || parts.next().and_then(whole);
        let (epoch, cycle) = number().zip(number()).ok_or_else(wrong)?;
        let unit = parts.next().map(|unit| name(unit).map_err(|invalid| invalid.of("unit"))).transpose()?;
        if epoch < 1 {
            return Err(wrong());
        }
        Ok(Key { epoch, cycle, unit })
    }
}

impl fmt::Display for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.epoch, self.cycle)?;
        self.unit.as_ref().map_or(Ok(()), |unit| write!(formatter, "-{unit}"))
    }
}

/// Parses digits only: our nodes do not send `+7` or `-7`.
fn whole(text: &str) -> Option<i64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Average, as it is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct Report {
    /// Fleet of the sender, and its zone.
    #[serde(flatten, serialize_with = "FleetFields::serialize_name")]
    #[schema(value_type = FleetFields)]
    pub fleet: FleetName,
    /// Epoch; increases with every leader. Null: the sender has no epochs.
    #[schema(minimum = 1)]
    pub epoch: Option<i64>,
    /// Number of the cycle of the fleet. Null: the sender does not count cycles.
    #[schema(minimum = 0)]
    pub cycle: Option<i64>,
    /// Time at which the fleet was read, by the sender's clock; if missing, the time of arrival.
    pub time: Timestamp,
    /// Quantity that was averaged, if known.
    pub quantity: Option<String>,
    /// Unit as a SenML name (RFC 8428), if known.
    pub unit: Option<String>,
    /// Main value: the arithmetic mean of the fleet, or the value that `aggregate` names.
    pub mean: f64,
    /// Name of the main value, such as `median`; missing if it is the arithmetic mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub aggregate: Option<String>,
    /// Smallest measurement.
    pub min: Option<f64>,
    /// Largest measurement.
    pub max: Option<f64>,
    /// Standard deviation.
    pub stddev: Option<f64>,
    /// Number of measurements that were averaged.
    #[schema(minimum = 0)]
    pub count: Option<i64>,
    /// Number of nodes without a usable measurement.
    #[schema(minimum = 0)]
    pub excluded: Option<i64>,
    /// Time of arrival, by the collector's clock.
    pub received: Timestamp,
    /// `User-Agent` of the sender.
    pub reporter: Option<String>,
}

impl Report {
    /// Creates a report of a bare average that was received at `received`.
    pub fn bare(mean: f64, received: Timestamp) -> Report {
        Report { time: received, mean: without_negative_zero(mean), received, ..Report::default() }
    }

    /// Returns the key of cycle, epoch and unit. `None`: the report has no key, so it is always recorded as a new one.
    pub fn key(&self) -> Option<Key> {
        let (epoch, cycle) = self.epoch.zip(self.cycle)?;
        Some(Key { epoch, cycle, unit: self.unit.clone() })
    }

    /// Returns true if a second report of the same key has the same content. Only the mean is compared: `GET` transmits
    /// only the mean, and a fleet that is switched from `GET` to `POST` sends the reports in its outbox with `POST`.
    pub fn agrees(&self, mean: f64) -> bool {
        self.mean == mean
    }
}

/// Report in a request, as JSON. Unknown fields are ignored, because newer senders may add some.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
pub struct Incoming {
    /// Name of the fleet; `default` if it is missing.
    #[schema(value_type = Option<FleetName>)]
    pub fleet: Option<FleetName>,
    /// Zone of the fleet; none if it is missing.
    #[schema(value_type = Option<ZoneName>)]
    pub zone: Option<String>,
    /// Epoch; increases with every leader; not without `cycle`. The maximum is the collector's clock in seconds since
    /// 1970 plus its `--max-clock-skew` (one day), or the number after the highest recorded epoch.
    #[schema(minimum = 1, maximum = 4_611_686_018_427_387_904_i64)]
    #[serde(default, deserialize_with = "integer")]
    pub epoch: Option<i64>,
    /// Number of the cycle of the fleet, over all epochs; not without `epoch`.
    #[schema(minimum = 0, maximum = 4_611_686_018_427_387_904_i64)]
    #[serde(default, deserialize_with = "integer")]
    pub cycle: Option<i64>,
    /// Time at which the fleet was read, RFC 3339, from 1970 to the collector's clock plus its `--max-clock-skew` (one
    /// day); the time of arrival if it is missing.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub time: Option<Timestamp>,
    /// Quantity that was averaged.
    pub quantity: Option<String>,
    /// Unit of the quantity.
    pub unit: Option<String>,
    /// Arithmetic mean of the fleet.
    #[serde(alias = "dato")]
    pub mean: f64,
    /// Smallest measurement.
    pub min: Option<f64>,
    /// Largest measurement.
    pub max: Option<f64>,
    /// Standard deviation.
    #[schema(minimum = 0)]
    pub stddev: Option<f64>,
    /// Number of measurements that were averaged.
    #[schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    #[serde(default, deserialize_with = "integer")]
    pub count: Option<i64>,
    /// Number of nodes without a usable measurement.
    #[schema(minimum = 0, maximum = 9_223_372_036_854_775_807_i64)]
    #[serde(default, deserialize_with = "integer")]
    pub excluded: Option<i64>,
    /// Further values; only `aggregate`, the name of the main value, is read.
    #[schema(value_type = Option<IncomingDetails>)]
    #[serde(default, rename = "details", deserialize_with = "aggregate")]
    pub aggregate: Option<String>,
}

/// Further values of a report, of which the collector reads one. For the OpenAPI document.
#[derive(Deserialize, ToSchema)]
pub struct IncomingDetails {
    /// Name of the main value; `mean` if it is missing. Averages with another one are not combined over zones.
    aggregate: Option<String>,
}

/// Name of a main value whose own name is empty, too long or not printable.
const UNNAMED: &str = "unknown";

/// Reads the name of the main value. Details of another form, of other senders, have none.
fn aggregate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let details = Option::<serde_json::Value>::deserialize(deserializer)?;
    let details = details.and_then(|details| serde_json::from_value::<IncomingDetails>(details).ok());
    let named = details.and_then(|details| details.aggregate).filter(|aggregate| aggregate != "mean");
    Ok(named.map(|aggregate| name(&aggregate).unwrap_or_else(|_| UNNAMED.to_owned())))
}

impl Incoming {
    /// Creates a report of a bare average.
    pub fn bare(mean: f64) -> Incoming {
        Incoming { mean, ..Incoming::default() }
    }

    /// Returns the report to be stored, if it is valid. `key` is the `Idempotency-Key` of the request, and must not
    /// contradict the report. Times and epochs are not compared with a clock here.
    ///
    /// # Errors
    /// Returns an error with the reason if the report is not valid.
    pub fn accept(
        self,
        key: Option<Key>,
        received: Timestamp,
        reporter: Option<&str>,
    ) -> Result<Report, Invalid> {
        let Incoming { mut epoch, mut cycle, mut unit, mean, min, max, stddev, count, excluded, .. } = self;
        if let Some(key) = key {
            let same = |own: Option<i64>, keys: i64, name| match own.filter(|own| *own != keys) {
                None => Ok(Some(keys)),
                Some(own) => Err(Invalid::new(format!("{name} is {own}, but {keys} in the Idempotency-Key"))),
            };
            epoch = same(epoch, key.epoch, "epoch")?;
            cycle = same(cycle, key.cycle, "cycle")?;
            if unit.is_some() && unit != key.unit {
                return Err(Invalid::new("unit is not that of the Idempotency-Key"));
            }
            unit = key.unit;
        }
        if epoch.is_some() != cycle.is_some() {
            return Err(Invalid::new("epoch and cycle come together or not at all"));
        }
        if let Some(epoch) = epoch {
            check_epoch_range(epoch)?;
        }
        if let Some(cycle) = cycle {
            check_cycle_range(cycle)?;
        }
        for (what, whole) in [("count", count), ("excluded", excluded)] {
            if whole.is_some_and(|whole| whole < 0) {
                return Err(Invalid::new(format!("{what} is negative")));
            }
        }
        for (what, real) in [("mean", Some(mean)), ("min", min), ("max", max), ("stddev", stddev)] {
            if real.is_some_and(|real| !real.is_finite()) {
                return Err(Invalid::new(format!("{what} is not a finite number")));
            }
        }
        if min.zip(max).is_some_and(|(min, max)| min > max) {
            return Err(Invalid::new("min is above max"));
        }
        if stddev.is_some_and(|stddev| stddev < 0.0) {
            return Err(Invalid::new("stddev is negative"));
        }
        let time = self.time.unwrap_or(received);
        if time < Timestamp::UNIX_EPOCH {
            return Err(Invalid::new("time is before 1970"));
        }
        let named = |what: &str, text: Option<String>| {
            text.map(|text| name(&text).map_err(|invalid| invalid.of(what))).transpose()
        };
        let (quantity, unit) = (named("quantity", self.quantity)?, named("unit", unit)?);
        let zone = self.zone.as_deref().map(str::parse).transpose();
        let zone: Option<ZoneName> = zone.map_err(|invalid: Invalid| invalid.of("zone"))?;
        let reporter = reporter.map(cut);
        Ok(Report {
            fleet: self.fleet.unwrap_or_default().in_zone(zone.as_ref()),
            epoch,
            cycle,
            time: micros(time),
            quantity,
            unit,
            mean: without_negative_zero(mean),
            aggregate: self.aggregate,
            min: min.map(without_negative_zero),
            max: max.map(without_negative_zero),
            stddev: stddev.map(without_negative_zero),
            count,
            excluded,
            received: micros(received),
            reporter,
        })
    }
}

/// Truncates a time to microseconds, the precision of the stores.
pub(crate) fn micros(time: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(time.as_microsecond()).unwrap_or(time)
}

/// Stored report.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct Record {
    /// Id of the report; increases with every stored report.
    pub id: i64,
    /// The report.
    #[serde(flatten)]
    pub report: Report,
}

#[cfg(test)]
mod tests;
