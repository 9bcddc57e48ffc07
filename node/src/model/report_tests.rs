use proptest::prelude::*;

use super::*;
use crate::http_client;
use crate::model::details::Outlier;

pub(crate) fn cycle_report(epoch: i64, cycle: u64, unit: Option<&str>) -> CycleReport {
    let quantity = unit.and_then(senml::quantity_of).map(|quantity| quantity.name().to_owned());
    let unit = unit.map(str::to_owned);
    let average = Average {
        quantity,
        unit,
        mean: 79.5,
        min: 79.0,
        max: 80.0,
        stddev: Some(0.5),
        count: 2,
        details: None,
    };
    CycleReport::new(epoch, cycle, Timestamp::UNIX_EPOCH, vec![average], 1)
}

fn report(unit: Option<&str>) -> Report {
    cycle_report(7, 3, unit).reports().next().unwrap()
}

fn built(report: &Report, url: &Url, method: ApiMethod) -> reqwest::Request {
    let client = http_client::builder().build().unwrap();
    let begin = |method, url| Ok(client.request(method, url));
    report.request(url, method, Origin::default(), begin).unwrap().build().unwrap()
}

#[test]
fn get_request_has_the_parameters_of_existing_fleets() {
    let url: Url = "http://h:8000/nuevo?token=x".parse().unwrap();
    let request = built(&report(None), &url, ApiMethod::Get);
    assert_eq!(request.url().as_str(), "http://h:8000/nuevo?token=x&dato=79.5");
    assert_eq!(request.headers()["idempotency-key"], "7-3");
    let request = built(&report(Some("Cel")), &url, ApiMethod::Get);
    let query = "token=x&dato=79.5&quantity=temperature&unit=Cel";
    assert_eq!(request.url().query(), Some(query), "with quantity and unit if they are known");
}

#[test]
fn post_request_has_all_values() {
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
fn requests_have_the_names_of_the_fleet_and_its_zone() {
    let client = http_client::builder().build().unwrap();
    let built = |method| {
        let begin = |method, url| Ok(client.request(method, url));
        let url = "http://h/nuevo".parse().unwrap();
        let origin = Origin { fleet: Some("home"), zone: Some("north") };
        report(None).request(&url, method, origin, begin).unwrap().build().unwrap()
    };
    assert_eq!(built(ApiMethod::Auto).url().query(), Some("dato=79.5&fleet=home&zone=north"));
    let body = built(ApiMethod::Post).body().unwrap().as_bytes().unwrap().to_vec();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&body["fleet"], &body["zone"]), (&"home".into(), &"north".into()));
}

#[test]
fn report_of_another_cycle_is_rejected() {
    let report = cycle_report(7, 3, None);
    assert_eq!(CycleReport::parse(&report.data(), 3).as_ref(), Ok(&report));
    assert!(CycleReport::parse(&report.data(), 4).is_err());
    assert!(CycleReport::parse(b"", 3).is_err());
    assert!(CycleReport::parse(&CycleReport { averages: Vec::new(), ..report }.data(), 3).is_err());
}

/// Returns the data of a report with these averages and additional fields.
fn text(averages: &str, more: &str) -> Vec<u8> {
    format!(
        r#"{{"epoch":7,"cycle":3,"time":"1970-01-01T00:00:00Z","excluded":0,"averages":[{averages}]{more}}}"#
    )
    .into_bytes()
}

const GOOD: &str = r#"{"mean":1,"min":1,"max":1,"count":1}"#;

#[test]
fn report_that_can_never_be_sent_is_rejected_with_the_reason() {
    assert!(CycleReport::parse(&text(GOOD, r#","later":{"versions":[1]}"#), 3).is_ok());
    let unit = |unit: &str| format!(r#"{{"unit":{unit},"mean":1,"min":1,"max":1,"count":1}}"#);
    let many: Vec<String> = (0..=MAX_AVERAGES).map(|n| unit(&format!("\"u{n}\""))).collect();
    assert!(CycleReport::parse(&text(&many[1..].join(","), ""), 3).is_ok());
    for (averages, reason) in [
        (unit(r#""Cel\r\nX-Evil: 1""#), "unit"),
        (unit(r#""a b""#), "unit"),
        (unit(r#""""#), "unit"),
        (unit(&format!("\"{}\"", "x".repeat(33))), "unit"),
        (format!("{},{}", unit("\"Cel\""), unit("\"Cel\"")), "two averages of one unit"),
        (format!("{GOOD},{GOOD}"), "two averages of one unit"),
        (many.join(","), "129 averages"),
        (r#"{"quantity":"a\nb","mean":1,"min":1,"max":1,"count":1}"#.into(), "quantity"),
        (r#"{"quantity":"","mean":1,"min":1,"max":1,"count":1}"#.into(), "quantity"),
        (r#"{"mean":1e400,"min":1,"max":1,"count":1}"#.into(), "out of range"),
        (r#"{"mean":1,"min":2,"max":1,"count":1}"#.into(), "above the maximum"),
        (r#"{"mean":1,"min":1,"max":1,"stddev":-1,"count":1}"#.into(), "negative standard deviation"),
        (r#"{"mean":1,"min":1,"max":1,"count":-1}"#.into(), "invalid value"),
        (r#"{"mean":1,"min":1,"max":1,"count":18446744073709551615}"#.into(), "count"),
    ] {
        let problem = CycleReport::parse(&text(&averages, ""), 3).unwrap_err();
        assert!(problem.contains(reason), "{averages}: {problem}");
    }
    let large = text(GOOD, &format!(r#","pad":"{}""#, "x".repeat(MAX_SIZE)));
    assert!(CycleReport::parse(&large, 3).unwrap_err().contains("bytes"));
    for (epoch, cycle) in [(0, 3), (-1, 3), (i64::MAX, 3), (7, u64::MAX), (7, MAX_CYCLE + 1)] {
        let report = CycleReport { epoch, cycle, ..cycle_report(7, 3, None) };
        assert!(CycleReport::parse(&report.data(), cycle).is_err(), "{epoch} {cycle}");
    }
}

#[test]
fn report_has_no_negative_zero() {
    let negative = r#"{"mean":-0.0,"min":-0.0,"max":-0.0,"stddev":-0.0,"count":1}"#;
    let report = CycleReport::parse(&text(negative, ""), 3).unwrap();
    let url: Url = "http://h/nuevo".parse().unwrap();
    let request = built(&report.reports().next().unwrap(), &url, ApiMethod::Get);
    assert_eq!(request.url().query(), Some("dato=0"));
    assert!(!String::from_utf8(report.data()).unwrap().contains(":-0"));
}

#[test]
fn details_are_sent_with_post_and_kept_in_the_outbox() {
    let details = r#"{"aggregate":"median","statistics":{"mean":2.5,"median":2.0,"trimmed_mean":2.0,"trimmed":0.1,"quantiles":[[0.9,3.0]]},"outliers":[{"node":"7","value":4.0}],"later":1}"#;
    let averages = format!(r#"{{"mean":2.0,"min":1,"max":4,"count":4,"details":{details}}}"#);
    let report = CycleReport::parse(&text(&averages, ""), 3).unwrap();
    assert_eq!(CycleReport::parse(&report.data(), 3).as_ref(), Ok(&report));
    assert_eq!((report.averages[0].mean, report.averages[0].arithmetic_mean()), (2.0, 2.5));
    let url: Url = "http://h/nuevo".parse().unwrap();
    let report = report.reports().next().unwrap();
    assert_eq!(
        built(&report, &url, ApiMethod::Get).url().query(),
        Some("dato=2"),
        "GET has the main value only"
    );
    let body = built(&report, &url, ApiMethod::Post).body().unwrap().as_bytes().unwrap().to_vec();
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((&body["mean"], &body["details"]["outliers"][0]["node"]), (&2.0.into(), &"7".into()));
    assert_eq!(body["details"]["statistics"]["quantiles"], serde_json::json!([[0.9, 3.0]]));
}

#[test]
fn report_with_too_many_details_is_made_small_enough_for_every_leader() {
    let mut report = cycle_report(7, 3, None);
    report.limit_size();
    assert_eq!(report, cycle_report(7, 3, None));
    let outlier = Outlier { node: "x".repeat(64), value: 1.5 };
    let details = Details { aggregate: "mean".into(), outliers: vec![outlier; 16], ..Details::default() };
    report.averages = (0..75)
        .map(|n| Average {
            unit: Some(format!("u{n}")),
            details: Some(Box::new(details.clone())),
            ..report.averages[0].clone()
        })
        .collect();
    assert!(report.data().len() > MAX_SIZE);
    report.limit_size();
    assert!(report.data().len() <= MAX_SIZE / 2 && CycleReport::parse(&report.data(), 3).is_ok());
    assert_eq!(report.averages[0].details.as_ref().unwrap().more_outliers, 16);
}

proptest! {
    #[test]
    fn report_parses_any_bytes_in_linear_time_to_a_bounded_report(data in crate::model::foreign_input::bytes(), cycle in any::<u64>()) {
        let read = crate::model::foreign_input::in_time(data.len(), || CycleReport::parse(&data, cycle));
        let Ok(report) = read else { return Ok(()) };
        prop_assert!(report.averages.len() <= MAX_AVERAGES && report.data().len() <= 2 * MAX_SIZE);
    }

    /// A report with arbitrary values is rejected, or can be sent.
    #[test]
    fn report_that_is_parsed_can_be_sent(
        unit in prop::option::of(prop_oneof!["[!-~]{0,40}", any::<String>()]),
        quantity in prop::option::of(any::<String>()),
        numbers in any::<(f64, f64, f64)>(), stddev in any::<Option<f64>>(),
        epoch in any::<i64>(), cycle in any::<u64>(), post in any::<bool>(),
    ) {
        let (mean, min, max) = numbers;
        let average = Average { quantity, unit, mean, min, max, stddev, count: 1, details: None };
        let report = CycleReport { epoch, cycle, averages: vec![average], ..cycle_report(7, 3, None) };
        let Ok(report) = CycleReport::parse(&report.data(), cycle) else { return Ok(()) };
        let method = if post { ApiMethod::Post } else { ApiMethod::Get };
        built(&report.reports().next().unwrap(), &"http://h/nuevo".parse().unwrap(), method);
    }

    /// Any later leader sends the same bits that the first one computed.
    #[test]
    fn stored_report_parses_to_the_same_bits(mean in prop::num::f64::NORMAL, stddev in prop::option::of(prop::num::f64::POSITIVE)) {
        let average = Average { quantity: None, unit: None, mean, min: mean, max: mean, stddev, count: 1, details: None };
        let report = CycleReport::new(1, 2, Timestamp::UNIX_EPOCH, vec![average], 0);
        prop_assert_eq!(CycleReport::parse(&report.data(), 2), Ok(report));
    }
}
