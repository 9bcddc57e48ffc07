//! What the leader reports: what a cycle came to, as it waits at `/atalaya/reports/{cycle}`, and each of its averages, with the
//! HTTP request that carries it.

use atalaya_hal::boards::ApiMethod;
use jiff::Timestamp;
use reqwest::{Method, RequestBuilder, Url};
use serde::{Deserialize, Serialize};

use super::aggregate::Summary;
use crate::senml;

/// What one cycle came to, as it is written down before anything is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CycleReport {
    /// Which leader wrote it, see [`Term`](super::term::Term).
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

impl From<Summary> for Average {
    fn from(summary: Summary) -> Average {
        let Summary { unit, mean, min, max, stddev, count } = summary;
        let quantity =
            unit.as_deref().and_then(senml::quantity_of).map(|quantity| quantity.name().to_owned());
        Average { quantity, unit, mean, min, max, stddev, count }
    }
}

impl CycleReport {
    /// Of `summaries`, at `time`.
    pub fn new(
        epoch: i64,
        cycle: u64,
        time: Timestamp,
        summaries: Vec<Summary>,
        excluded: usize,
    ) -> CycleReport {
        let averages = summaries.into_iter().map(Average::from).collect();
        CycleReport { epoch, cycle, time, excluded, averages, reason: None }
    }

    /// Reads what is written down.
    ///
    /// # Errors
    /// It is no report, or another cycle's.
    pub fn parse(data: &[u8], cycle: u64) -> Result<CycleReport, String> {
        let report: CycleReport = serde_json::from_slice(data).map_err(|error| error.to_string())?;
        if report.cycle != cycle || report.averages.is_empty() {
            return Err(format!("it is cycle {}, with {} averages", report.cycle, report.averages.len()));
        }
        Ok(report)
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
    pub fn key(&self) -> String {
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
        Ok(request.header("Idempotency-Key", self.key()))
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
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A cycle with one average.
    pub(crate) fn cycle_report(epoch: i64, cycle: u64, unit: Option<&str>) -> CycleReport {
        let unit = unit.map(str::to_owned);
        let summary = Summary { unit, mean: 79.5, min: 79.0, max: 80.0, stddev: Some(0.5), count: 2 };
        CycleReport::new(epoch, cycle, Timestamp::UNIX_EPOCH, vec![summary], 1)
    }

    fn report(unit: Option<&str>) -> Report {
        cycle_report(7, 3, unit).reports().next().unwrap()
    }

    fn built(report: &Report, url: &Url, method: ApiMethod) -> reqwest::Request {
        let client = reqwest::Client::new();
        let begin = |method, url| Ok::<_, std::convert::Infallible>(client.request(method, url));
        report.request(url, method, begin).unwrap().build().unwrap()
    }

    #[test]
    fn a_get_is_what_existing_receivers_read() {
        let url: Url = "http://h:8000/nuevo?token=x".parse().unwrap();
        let request = built(&report(None), &url, ApiMethod::Get);
        assert_eq!(request.url().as_str(), "http://h:8000/nuevo?token=x&dato=79.5");
        assert_eq!(request.headers()["idempotency-key"], "7-3");
        let request = built(&report(Some("Cel")), &url, ApiMethod::Get);
        assert_eq!(
            request.url().query(),
            Some("token=x&dato=79.5&quantity=temperature&unit=Cel"),
            "quantity and unit follow when they are known"
        );
    }

    #[test]
    fn a_post_tells_everything() {
        let url: Url = "http://h:8000/nuevo".parse().unwrap();
        let request = built(&report(Some("Cel")), &url, ApiMethod::Post);
        let body: serde_json::Value =
            serde_json::from_slice(request.body().unwrap().as_bytes().unwrap()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"epoch": 7, "cycle": 3, "time": "1970-01-01T00:00:00Z", "quantity": "temperature",
                "unit": "Cel", "mean": 79.5, "min": 79.0, "max": 80.0, "stddev": 0.5, "count": 2, "excluded": 1})
        );
        assert_eq!(request.headers()["idempotency-key"], "7-3-Cel");
    }

    #[test]
    fn what_is_no_report_of_that_cycle_is_refused() {
        let report = cycle_report(7, 3, None);
        assert_eq!(CycleReport::parse(&report.data(), 3).as_ref(), Ok(&report));
        assert!(CycleReport::parse(&report.data(), 4).is_err());
        assert!(CycleReport::parse(b"", 3).is_err());
        assert!(CycleReport::parse(&CycleReport { averages: Vec::new(), ..report }.data(), 3).is_err());
    }

    proptest! {
        /// Whoever delivers it reports to the last bit what was computed.
        #[test]
        fn what_is_written_down_is_read_to_the_last_bit(mean in prop::num::f64::NORMAL, stddev in prop::option::of(prop::num::f64::POSITIVE)) {
            let summary = Summary { unit: None, mean, min: mean, max: mean, stddev, count: 1 };
            let report = CycleReport::new(1, 2, Timestamp::UNIX_EPOCH, vec![summary], 0);
            prop_assert_eq!(CycleReport::parse(&report.data(), 2), Ok(report));
        }
    }
}
