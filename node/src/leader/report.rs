//! What the leader reports, and the HTTP request that carries it.

use std::time::SystemTime;

use atalaya_hal::boards::ApiMethod;
use jiff::Timestamp;
use reqwest::{Client, RequestBuilder, Url};
use serde::Serialize;

use super::aggregate::Summary;
use crate::senml;

/// One average, as it is reported.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Higher for every later leader: the `czxid` of its election znode.
    pub epoch: i64,
    /// Counts the cycles of this epoch.
    pub cycle: u64,
    /// When the fleet was read, by the leader's clock.
    pub time: Timestamp,
    /// What was averaged, if the measurements say it.
    pub quantity: Option<&'static str>,
    /// Its unit as SenML names it, if the measurements say it.
    pub unit: Option<String>,
    /// Arithmetic mean.
    pub mean: f64,
    /// Smallest measurement.
    pub min: f64,
    /// Largest measurement.
    pub max: f64,
    /// Standard deviation.
    pub stddev: Option<f64>,
    /// How many measurements.
    pub count: usize,
    /// How many znodes were listed but had no usable measurement.
    pub excluded: usize,
}

impl Report {
    /// The report of `summary`.
    pub fn new(epoch: i64, cycle: u64, time: SystemTime, summary: Summary, excluded: usize) -> Report {
        let Summary { unit, mean, min, max, stddev, count } = summary;
        let quantity = unit.as_deref().and_then(senml::quantity_of).map(|quantity| quantity.name());
        // A clock before the year -9999 or after 9999 is none.
        let time = Timestamp::try_from(time).unwrap_or(Timestamp::UNIX_EPOCH);
        Report { epoch, cycle, time, quantity, unit, mean, min, max, stddev, count, excluded }
    }

    /// The same for every try of one report, and for no two reports.
    pub fn key(&self) -> String {
        match self.unit.as_deref() {
            None => format!("{}-{}", self.epoch, self.cycle),
            Some(unit) => format!("{}-{}-{unit}", self.epoch, self.cycle),
        }
    }

    /// The request: `GET {url}?dato={mean}` as existing fleets send it, with quantity and unit if they are known, or
    /// `POST` with everything as JSON.
    pub fn request(&self, client: &Client, url: &Url, method: ApiMethod) -> RequestBuilder {
        let request = match method {
            ApiMethod::Get => {
                let mut url = url.clone();
                url.query_pairs_mut().append_pair("dato", &self.mean.to_string());
                for (name, value) in [("quantity", self.quantity), ("unit", self.unit.as_deref())] {
                    if let Some(value) = value {
                        url.query_pairs_mut().append_pair(name, value);
                    }
                }
                client.get(url)
            }
            ApiMethod::Post => client.post(url.clone()).json(self),
        };
        request.header("Idempotency-Key", self.key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(unit: Option<&str>) -> Report {
        let unit = unit.map(str::to_owned);
        let summary = Summary { unit, mean: 79.5, min: 79.0, max: 80.0, stddev: Some(0.5), count: 2 };
        Report::new(7, 3, SystemTime::UNIX_EPOCH, summary, 1)
    }

    #[test]
    fn a_get_is_what_existing_receivers_read() {
        let client = Client::new();
        let url: Url = "http://h:8000/nuevo?token=x".parse().unwrap();
        let request = report(None).request(&client, &url, ApiMethod::Get).build().unwrap();
        assert_eq!(request.url().as_str(), "http://h:8000/nuevo?token=x&dato=79.5");
        assert_eq!(request.headers()["idempotency-key"], "7-3");
        let request = report(Some("Cel")).request(&client, &url, ApiMethod::Get).build().unwrap();
        assert_eq!(
            request.url().query(),
            Some("token=x&dato=79.5&quantity=temperature&unit=Cel"),
            "quantity and unit follow when they are known"
        );
    }

    #[test]
    fn a_post_tells_everything() {
        let client = Client::new();
        let url: Url = "http://h:8000/nuevo".parse().unwrap();
        let request = report(Some("Cel")).request(&client, &url, ApiMethod::Post).build().unwrap();
        let body: serde_json::Value =
            serde_json::from_slice(request.body().unwrap().as_bytes().unwrap()).unwrap();
        assert_eq!(
            body,
            serde_json::json!({"epoch": 7, "cycle": 3, "time": "1970-01-01T00:00:00Z", "quantity": "temperature",
                "unit": "Cel", "mean": 79.5, "min": 79.0, "max": 80.0, "stddev": 0.5, "count": 2, "excluded": 1})
        );
        assert_eq!(request.headers()["idempotency-key"], "7-3-Cel");
    }
}
