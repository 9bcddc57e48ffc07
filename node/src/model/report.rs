//! What the leader reports: what a cycle came to, as it waits at `/atalaya/reports/{cycle}`, and each of its averages, with the
//! HTTP request that carries it.

use std::collections::BTreeSet;

use atalaya_hal::boards::ApiMethod;
use jiff::Timestamp;
use reqwest::{Method, RequestBuilder, Url};
use serde::{Deserialize, Serialize};

use crate::model::fence::{MAX_CYCLE, MAX_EPOCH};
use crate::model::senml;

/// Largest report that is read, in bytes. One of our own with all units that are averaged has a third of it.
pub const MAX_SIZE: usize = 64 * 1024;
/// Most averages of one report: each is a request.
pub const MAX_AVERAGES: usize = 128;
/// Longest name of a quantity, in characters. Collectors have the same limit.
const MAX_QUANTITY: usize = 64;
/// Largest count of measurements or znodes that is believed: beyond it JSON numbers are not exact everywhere.
const MAX_COUNT: u64 = 1 << 53;

/// What one cycle came to, as it is written down before anything is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CycleReport {
    /// Which leader wrote it, see [`Fence`](crate::model::fence::Fence).
    pub epoch: i64,
    /// Which cycle of the fleet.
    pub cycle: u64,
    /// When the fleet was read, by ZooKeeper's clock.
    pub time: Timestamp,
    /// How many znodes were listed but had no usable measurement.
    pub excluded: usize,
    /// Bare numbers first, then by unit.
    pub averages: Vec<Average>,
    /// Why the API will never take it, if it is set aside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The average of one unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Average {
    /// What was averaged, if the measurements say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<String>,
    /// Its unit as SenML names it, if the measurements say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Arithmetic mean.
    pub mean: f64,
    /// Smallest measurement.
    pub min: f64,
    /// Largest measurement.
    pub max: f64,
    /// Standard deviation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stddev: Option<f64>,
    /// How many measurements.
    pub count: usize,
}

impl Average {
    /// Checks that it can be sent, and that no receiver has a reason to refuse it.
    fn check(&self) -> Result<(), String> {
        let Average { quantity, unit, mean, min, max, stddev, count } = self;
        if unit.as_deref().is_some_and(|unit| !senml::is_unit(unit)) {
            return Err("it has a unit that is longer than 32 bytes or not visible ASCII".to_owned());
        }
        let name = |name: &str| {
            !name.is_empty()
                && name.chars().nth(MAX_QUANTITY).is_none()
                && !name.chars().any(|c| c.is_control() || c == char::REPLACEMENT_CHARACTER)
        };
        if quantity.as_deref().is_some_and(|quantity| !name(quantity)) {
            return Err(format!("it has a quantity that is not 1 to {MAX_QUANTITY} printable characters"));
        }
        if ![*mean, *min, *max, stddev.unwrap_or(0.0)].iter().all(|number| number.is_finite()) {
            return Err("it has a number that is not finite".to_owned());
        }
        if min > max {
            return Err(format!("it has a minimum of {min} above the maximum of {max}"));
        }
        if stddev.is_some_and(|stddev| stddev < 0.0) {
            return Err("it has a negative standard deviation".to_owned());
        }
        if *count as u64 > MAX_COUNT {
            return Err(format!("it has a count of {count}"));
        }
        Ok(())
    }

    /// Replaces negative zeros by zero.
    fn normalised(self) -> Average {
        // Adding positive zero changes no other number.
        let Average { mean, min, max, stddev, .. } = self;
        let stddev = stddev.map(|stddev| stddev + 0.0);
        Average { mean: mean + 0.0, min: min + 0.0, max: max + 0.0, stddev, ..self }
    }
}

impl CycleReport {
    /// Of `summaries`, at `time`.
    pub fn new(
        epoch: i64,
        cycle: u64,
        time: Timestamp,
        averages: Vec<Average>,
        excluded: usize,
    ) -> CycleReport {
        CycleReport { epoch, cycle, time, excluded, averages, reason: None }
    }

    /// Reads the znode of a cycle. Everything is checked: a report that this returns can be sent. Unknown fields, of
    /// later versions, are ignored.
    ///
    /// # Errors
    /// The data is not a report, or a report of another cycle, or one that can never be sent.
    pub fn parse(data: &[u8], cycle: u64) -> Result<CycleReport, String> {
        if data.len() > MAX_SIZE {
            return Err(format!("it has {} bytes, and {MAX_SIZE} are the maximum", data.len()));
        }
        let mut report: CycleReport = serde_json::from_slice(data).map_err(|error| error.to_string())?;
        if report.cycle != cycle || report.averages.is_empty() {
            return Err(format!("it is cycle {}, with {} averages", report.cycle, report.averages.len()));
        }
        if report.averages.len() > MAX_AVERAGES {
            return Err(format!(
                "it has {} averages, and {MAX_AVERAGES} are the maximum",
                report.averages.len()
            ));
        }
        if !(1..=MAX_EPOCH).contains(&report.epoch) || cycle > MAX_CYCLE {
            return Err(format!("epoch {} and cycle {cycle} are not those of a leader", report.epoch));
        }
        if report.excluded as u64 > MAX_COUNT {
            return Err(format!("it has {} excluded znodes", report.excluded));
        }
        let mut units = BTreeSet::new();
        for average in &report.averages {
            average.check()?;
            if !units.insert(average.unit.as_deref()) {
                return Err("it has two averages of one unit".to_owned());
            }
        }
        report.averages = report.averages.into_iter().map(Average::normalised).collect();
        Ok(report)
    }

    /// Returns about how many bytes of memory it takes.
    pub fn size(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::capacity);
        let averages = self
            .averages
            .iter()
            .map(|average| std::mem::size_of::<Average>() + text(&average.quantity) + text(&average.unit));
        std::mem::size_of::<CycleReport>() + text(&self.reason) + averages.sum::<usize>()
    }

    /// As it is written down.
    pub fn data(&self) -> Vec<u8> {
        // Strings and finite numbers only: this cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Each of its averages, as it is reported.
    pub fn reports(&self) -> impl Iterator<Item = Report> {
        self.averages.iter().map(|average| Report {
            epoch: self.epoch,
            cycle: self.cycle,
            time: self.time,
            excluded: self.excluded,
            average: average.clone(),
        })
    }
}

/// One average, as it is reported.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Goes up with every leader.
    pub epoch: i64,
    /// Counts the cycles of the fleet.
    pub cycle: u64,
    /// When the fleet was read, by ZooKeeper's clock.
    pub time: Timestamp,
    /// How many znodes were listed but had no usable measurement.
    pub excluded: usize,
    /// What is reported.
    pub average: Average,
}

/// The body of a `POST`. What is not known is null, not left out.
#[derive(Serialize)]
struct Body<'a> {
    epoch: i64,
    cycle: u64,
    time: Timestamp,
    quantity: Option<&'a str>,
    unit: Option<&'a str>,
    mean: f64,
    min: f64,
    max: f64,
    stddev: Option<f64>,
    count: usize,
    excluded: usize,
}

impl Report {
    /// The same for every try of one report, and for no two reports.
    pub fn idempotency_key(&self) -> String {
        match self.average.unit.as_deref() {
            None => format!("{}-{}", self.epoch, self.cycle),
            Some(unit) => format!("{}-{}-{unit}", self.epoch, self.cycle),
        }
    }

    /// The request: `GET {url}?dato={mean}` as existing fleets send it, with quantity and unit if they are known, or
    /// `POST` with everything as JSON.
    ///
    /// # Errors
    /// Those of `begin`, which begins a request.
    pub fn request<E>(
        &self,
        url: &Url,
        method: ApiMethod,
        begin: impl FnOnce(Method, Url) -> Result<RequestBuilder, E>,
    ) -> Result<RequestBuilder, E> {
        let Average { quantity, unit, mean, .. } = &self.average;
        let request = match method {
            ApiMethod::Get => {
                let mut url = url.clone();
                url.query_pairs_mut().append_pair("dato", &mean.to_string());
                for (name, value) in [("quantity", quantity), ("unit", unit)] {
                    if let Some(value) = value {
                        url.query_pairs_mut().append_pair(name, value);
                    }
                }
                begin(Method::GET, url)?
            }
            ApiMethod::Post => begin(Method::POST, url.clone())?.json(&self.body()),
        };
        Ok(request.header("Idempotency-Key", self.idempotency_key()))
    }

    fn body(&self) -> Body<'_> {
        let Average { quantity, unit, mean, min, max, stddev, count } = &self.average;
        Body {
            epoch: self.epoch,
            cycle: self.cycle,
            time: self.time,
            quantity: quantity.as_deref(),
            unit: unit.as_deref(),
            mean: *mean,
            min: *min,
            max: *max,
            stddev: *stddev,
            count: *count,
            excluded: self.excluded,
        }
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
pub(crate) mod tests;
