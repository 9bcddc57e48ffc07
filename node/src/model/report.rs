//! Reports: the result of a cycle, stored at `/atalaya/reports/{cycle}`, and the HTTP request for each average.

use std::collections::BTreeSet;

use atalaya_config::ApiMethod;
use jiff::Timestamp;
use reqwest::{Method, RequestBuilder, Url};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::model::details::{self, Details};
use crate::model::fence::{MAX_CYCLE, MAX_EPOCH};
use crate::model::json::to_json;
use crate::model::senml;

/// Maximum size of a report that is read, in bytes. A report of this version has a third of it at most.
pub const MAX_SIZE: usize = 64 * 1024;
/// Maximum number of averages in a report. Each is sent in its own request.
pub const MAX_AVERAGES: usize = 128;
/// Maximum length of the name of a quantity, in characters. Collectors have the same limit.
const MAX_QUANTITY: usize = 64;
/// Maximum count of measurements or znodes that is accepted. Larger JSON numbers are not exact in all parsers.
const MAX_COUNT: u64 = 1 << 53;

/// Result of a cycle. It is stored in the outbox before any of its averages is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CycleReport {
    /// Epoch of the leader that wrote it, see [`Fence`](crate::model::fence::Fence).
    pub epoch: i64,
    /// Number of the cycle.
    pub cycle: u64,
    /// Time at which the fleet was read, by ZooKeeper's clock.
    pub time: Timestamp,
    /// Number of znodes that were listed but had no usable measurement.
    pub excluded: usize,
    /// Averages: first of numbers without a unit, then ordered by unit.
    pub averages: Vec<Average>,
    /// Reason why the API rejected the report for good; `None` for a report in the outbox.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Average of the measurements of one unit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Average {
    /// Measured quantity, if the unit identifies it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<String>,
    /// Unit as named by SenML; `None` for measurements that are only a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Main value: the arithmetic mean, or the value that [`Details::aggregate`] names. It keeps the name of earlier
    /// versions, so that all receivers and leaders use it.
    pub mean: f64,
    /// Minimum.
    pub min: f64,
    /// Maximum.
    pub max: f64,
    /// Population standard deviation: the measurements are the whole fleet, not a sample of it, so the divisor is
    /// their number. `None` if it exceeds the range of a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stddev: Option<f64>,
    /// Number of measurements.
    pub count: usize,
    /// More values, if settings or nodes ask for them.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "details::lenient")]
    pub details: Option<Box<Details>>,
}

impl Average {
    /// Returns the arithmetic mean.
    pub fn arithmetic_mean(&self) -> f64 {
        let statistics = self.details.as_ref().and_then(|details| details.statistics.as_ref());
        statistics.map_or(self.mean, |statistics| statistics.mean)
    }

    /// Checks that the average can be sent and that no receiver has a reason to reject it.
    fn check(&self) -> Result<(), String> {
        let Average { quantity, unit, mean, min, max, stddev, count, details: _ } = self;
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
}

impl CycleReport {
    #[cfg(test)]
    pub(crate) fn new(
        epoch: i64,
        cycle: u64,
        time: Timestamp,
        averages: Vec<Average>,
        excluded: usize,
    ) -> CycleReport {
        CycleReport { epoch, cycle, time, excluded, averages, reason: None }
    }

    /// Parses the znode of a cycle. All fields are checked, so a report that this returns can be sent. Unknown
    /// fields, of later versions, are ignored.
    ///
    /// # Errors
    /// The data is not a report, is a report of another cycle, or can never be sent.
    pub fn parse(data: &[u8], cycle: u64) -> Result<CycleReport, String> {
        if data.len() > MAX_SIZE {
            return Err(format!("it has {} bytes, and {MAX_SIZE} are the maximum", data.len()));
        }
        let mut report: CycleReport = serde_json::from_slice(data).map_err(|error| error.to_string())?;
        let averages = report.averages.len();
        if report.cycle != cycle || averages == 0 {
            return Err(format!("it is cycle {}, with {averages} averages", report.cycle));
        }
        if averages > MAX_AVERAGES {
            return Err(format!("it has {averages} averages, and {MAX_AVERAGES} are the maximum"));
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
        for Average { mean, min, max, stddev, .. } in &mut report.averages {
            // Adding positive zero turns a negative zero into zero, and changes no other number.
            [mean, min, max].into_iter().chain(stddev).for_each(|number| *number += 0.0);
        }
        Ok(report)
    }

    /// Returns the approximate size in memory, in bytes.
    pub fn size(&self) -> usize {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::capacity);
        let averages = self.averages.iter().map(|average| {
            let details = average.details.as_ref().map_or(0, |details| details.size());
            std::mem::size_of::<Average>() + text(&average.quantity) + text(&average.unit) + details
        });
        std::mem::size_of::<CycleReport>() + text(&self.reason) + averages.sum::<usize>()
    }

    /// Leaves out details until the report is so small that every leader reads it: first groups and outliers, then all.
    pub(crate) fn limit_size(&mut self) {
        let has_details = self.averages.iter().any(|average| average.details.is_some());
        if has_details && self.data().len() > MAX_SIZE / 2 {
            for details in self.averages.iter_mut().filter_map(|average| average.details.as_mut()) {
                details.more_outliers += std::mem::take(&mut details.outliers).len();
                details.groups.clear();
            }
            if self.data().len() > MAX_SIZE / 2 {
                self.averages.iter_mut().for_each(|average| average.details = None);
            }
        }
    }

    /// Returns the data of the znode.
    pub fn data(&self) -> Vec<u8> {
        to_json(self)
    }

    /// Returns one report per average.
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

/// One average, as it is sent to the API.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Increases with every leader.
    pub epoch: i64,
    /// Number of the cycle.
    pub cycle: u64,
    /// Time at which the fleet was read, by ZooKeeper's clock.
    pub time: Timestamp,
    /// Number of znodes that were listed but had no usable measurement.
    pub excluded: usize,
    /// Average to send.
    pub average: Average,
}

/// Fleet and zone that a request names. `None`: not sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin<'a> {
    /// Name of the fleet.
    pub fleet: Option<&'a str>,
    /// Zone of the fleet.
    pub zone: Option<&'a str>,
}

impl Report {
    /// Returns the idempotency key: the same for all tries of a report, and different for each report.
    pub fn idempotency_key(&self) -> String {
        match self.average.unit.as_deref() {
            None => format!("{}-{}", self.epoch, self.cycle),
            Some(unit) => format!("{}-{}-{unit}", self.epoch, self.cycle),
        }
    }

    /// Returns the request: `GET {url}?dato={mean}` as existing fleets send it, with quantity and unit if they are
    /// known, or `POST` with all values as JSON. Both have the names of the fleet and its zone, if there are any. `begin`
    /// creates a request.
    ///
    /// # Errors
    /// The errors of `begin`.
    pub fn request(
        &self,
        url: &Url,
        method: ApiMethod,
        origin: Origin<'_>,
        begin: impl FnOnce(Method, Url) -> reqwest::Result<RequestBuilder>,
    ) -> reqwest::Result<RequestBuilder> {
        let Average { quantity, unit, mean, .. } = &self.average;
        let request = match method {
            ApiMethod::Get | ApiMethod::Auto => {
                let mut url = url.clone();
                url.query_pairs_mut().append_pair("dato", &mean.to_string());
                let named = [
                    ("quantity", quantity.as_deref()),
                    ("unit", unit.as_deref()),
                    ("fleet", origin.fleet),
                    ("zone", origin.zone),
                ];
                for (name, value) in named {
                    if let Some(value) = value {
                        url.query_pairs_mut().append_pair(name, value);
                    }
                }
                begin(Method::GET, url)?
            }
            ApiMethod::Post => begin(Method::POST, url.clone())?.json(&self.body(origin)),
        };
        Ok(request.header("Idempotency-Key", self.idempotency_key()))
    }

    /// Returns the body of a `POST`. An unknown value is null, not omitted; only fleet, zone and details are.
    pub(crate) fn body(&self, origin: Origin<'_>) -> serde_json::Value {
        let Report { epoch, cycle, time, excluded, average } = self;
        let Average { quantity, unit, mean, min, max, stddev, count, details } = average;
        let mut body = json!({
            "epoch": epoch, "cycle": cycle, "time": time, "quantity": quantity, "unit": unit, "mean": mean,
            "min": min, "max": max, "stddev": stddev, "count": count, "excluded": excluded,
        });
        for (key, name) in [("fleet", origin.fleet), ("zone", origin.zone)] {
            if let Some(name) = name {
                body[key] = name.into();
            }
        }
        if let Some(details) = details {
            body["details"] = json!(details);
        }
        body
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
pub(crate) mod tests;
