//! Measurements of single sensors over HTTP: batches, refusals item by item, queries, deletion.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::common::{READER, Running, WRITER, refused, started, started_with_tokens};

const PATH: &str = "/api/v1/measurements";

fn millis_ago(millis: i64) -> i64 {
    Timestamp::now().as_millisecond() - millis
}

fn sample(seq: i64, value: f64) -> Value {
    json!({"seq": seq, "sensor": "outside", "quantity": "temperature", "unit": "Cel", "value": value,
        "time_ms": millis_ago(60_000) + seq, "clock": "synchronised"})
}

fn batch(samples: &[Value]) -> Value {
    json!({"fleet": "home", "node": "n1", "boot": "3f0c", "samples": samples})
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// Sends a batch, which must be answered with 200.
async fn sent(collector: &Running, batch: &Value) -> Value {
    let answer = collector.post(PATH).json(batch).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["atalaya-collector"], "1");
    answer.json().await.unwrap()
}

fn packed(collector: &Running, body: Vec<u8>) -> reqwest::RequestBuilder {
    let request = collector.post(PATH).header("content-type", "application/json");
    request.header("content-encoding", "gzip").body(body)
}

#[tokio::test]
async fn batch_is_stored_once_and_refused_samples_are_named() {
    let collector = started().await;
    let good = batch(&[sample(1, 21.5), sample(2, 22.0)]);
    let answer = json!({"accepted": 2, "repeated": 0, "refused": [], "refused_count": 0});
    assert_eq!(sent(&collector, &good).await, answer);
    assert_eq!(sent(&collector, &good).await["repeated"], 2);
    let mut changed = good.clone();
    changed["samples"][0]["value"] = json!(1);
    let answer = sent(&collector, &changed).await;
    assert_eq!(
        (&answer["accepted"], &answer["repeated"], &answer["refused_count"]),
        (&json!(0), &json!(1), &json!(1))
    );
    assert_eq!(
        (&answer["refused"][0]["code"], &answer["refused"][0]["seq"]),
        (&json!("conflict"), &json!(1))
    );
    assert_eq!(sent(&collector, &batch(&[])).await["accepted"], 0);
    let mut plain = batch(&[sample(1, 1.0)]);
    plain.as_object_mut().unwrap().remove("fleet");
    plain["future"] = json!({"field": [1]});
    plain["samples"][0]["future"] = json!({"field": [1]});
    assert_eq!(sent(&collector, &plain).await["accepted"], 1);
    let fleets = collector.json("/api/v1/fleets").await;
    let names: Vec<_> =
        fleets["fleets"].as_array().unwrap().iter().map(|fleet| fleet["fleet"].clone()).collect();
    assert_eq!(names, ["default", "home"]);
    let metrics = collector.get("/metrics").send().await.unwrap().text().await.unwrap();
    for line in ["accepted\"} 3", "repeated\"} 3", "refused\"} 1"] {
        assert!(metrics.contains(&format!("atalaya_collector_samples_total{{outcome=\"{line}")), "{metrics}");
    }
    collector.stop().await;
}

#[tokio::test]
async fn each_sample_that_can_never_be_accepted_is_refused_alone() {
    let collector = started().await;
    let with = |field: &str, value: Value| {
        let mut sample = sample(1, 1.0);
        sample[field] = value;
        (sample.to_string(), if field == "time_ms" { "time" } else { field }.to_owned())
    };
    let without = |field: &str| {
        let mut sample = sample(1, 1.0);
        sample.as_object_mut().unwrap().remove(field);
        (sample.to_string(), if field == "time_ms" { "time" } else { field }.to_owned())
    };
    let raw = |text: &str, code: &str| (text.to_owned(), code.to_owned());
    let mut wrong =
        vec![raw("null", "sample"), raw("[]", "sample"), raw("7", "sample"), raw("\"x\"", "sample")];
    wrong.push(raw(&sample(1, 1.5).to_string().replace("1.5", "1e999"), "value"));
    wrong.push(raw(&sample(1, 1.5).to_string().replace("1.5", "1.5,\"value\":1.5"), "sample"));
    for field in ["seq", "sensor", "quantity", "value", "time_ms", "clock"] {
        wrong.push(without(field));
        wrong.push(with(field, Value::Null));
        wrong.push(with(field, json!({"nested": [1, 2, 3]})));
        wrong.push(with(field, json!("")));
    }
    wrong.extend([
        with("seq", json!(-1)),
        with("seq", json!(1.5)),
        with("seq", json!(u64::MAX)),
        with("value", json!("21.5")),
        with("value", json!(true)),
        with("sensor", json!("x".repeat(129))),
        with("sensor", json!("a\u{7}b")),
        with("quantity", json!("a\nb")),
        with("unit", json!("x".repeat(33))),
        with("unit", json!(7)),
        with("clock", json!("perfect")),
        with("time_ms", json!(-1)),
        with("time_ms", json!(0)),
        with("time_ms", json!(946_684_799_999_i64)),
        with("time_ms", json!(i64::MAX)),
        with("time_ms", json!(millis_ago(-90_000_000))),
    ]);
    let mut samples: Vec<String> = wrong.iter().map(|(text, _)| text.clone()).collect();
    samples.insert(3, sample(50, 1.0).to_string());
    let body = format!(r#"{{"samples":[{}],"node":"n1","boot":"a"}}"#, samples.join(","));
    let answer =
        collector.post(PATH).header("content-type", "application/json").body(body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer: Value = answer.json().await.unwrap();
    assert_eq!((&answer["accepted"], &answer["refused_count"]), (&json!(1), &json!(wrong.len())));
    let found = answer["refused"].as_array().unwrap();
    for (place, ((text, code), refusal)) in wrong.iter().zip(found).enumerate() {
        assert_eq!(refusal["code"], **code, "{text}: {refusal}");
        assert_eq!(refusal["index"], if place < 3 { place } else { place + 1 });
        assert!(
            refusal["detail"].as_str().is_some_and(|detail| !detail.is_empty() && detail.len() < 300),
            "{refusal}"
        );
    }
    // A time of an unsynchronised clock may be long ago.
    let mut early = sample(60, 1.0);
    (early["time_ms"], early["clock"]) = (json!(0), json!("unsynchronised"));
    assert_eq!(sent(&collector, &batch(&[early])).await["accepted"], 1);
    // A name of a megabyte among good samples; the list of refusals is bounded.
    let mut many: Vec<Value> = (1..=150).map(|seq| sample(seq, 1.0)).collect();
    many.iter_mut().for_each(|sample| sample["value"] = Value::Null);
    many.push(sample(200, 1.0));
    many[0]["sensor"] = json!("x".repeat(1 << 20));
    let answer = packed(&collector, gzip(batch(&many).to_string().as_bytes())).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!((&answer["accepted"], &answer["refused_count"]), (&json!(1), &json!(150)));
    assert_eq!(answer["refused"].as_array().unwrap().len(), 100);
    collector.stop().await;
}

#[tokio::test]
async fn batch_that_is_not_valid_is_refused_as_a_whole() {
    let collector = started().await;
    let good = batch(&[sample(1, 1.0)]);
    for (field, value) in [
        ("node", Value::Null),
        ("node", json!("")),
        ("node", json!("x".repeat(65))),
        ("fleet", json!("a\nb")),
        ("fleet", json!(7)),
        ("boot", json!("a b")),
        ("boot", json!("")),
        ("boot", json!("x".repeat(65))),
        ("samples", Value::Null),
        ("samples", json!({})),
    ] {
        let mut wrong = good.clone();
        wrong[field] = value;
        refused(collector.post(PATH).json(&wrong), 400).await;
    }
    let text = |text: String| collector.post(PATH).header("content-type", "application/json").body(text);
    for wrong in [String::new(), "[]".to_owned(), good.to_string().replace("1.0", "NaN"), "[".repeat(100_000)]
    {
        refused(text(wrong), 400).await;
    }
    refused(collector.post(PATH).body(good.to_string()), 415).await;
    refused(text(good.to_string()).header("content-encoding", "br"), 415).await;
    refused(
        text(good.to_string()).header("content-encoding", "gzip").header("content-encoding", "gzip"),
        415,
    )
    .await;
    refused(text(format!("{{\"x\":\"{}\"}}", "y".repeat(300_000))), 413).await;
    let samples = vec!["7"; 1_000_000].join(",");
    let many = format!(r#"{{"node":"n1","boot":"a","samples":[{samples}]}}"#);
    let problem = refused(packed(&collector, gzip(many.as_bytes())), 413).await;
    assert!(problem["detail"].as_str().unwrap().contains("10000 samples"), "{problem}");
    assert!(collector.json("/api/v1/fleets").await["fleets"].as_array().unwrap().is_empty());
    collector.stop().await;
}

#[tokio::test]
async fn compressed_batch_is_unpacked_up_to_its_limit() {
    let collector = started().await;
    let many: Vec<Value> = (0..10_000).map(|seq| sample(seq, 1.0)).collect();
    let body = gzip(batch(&many).to_string().as_bytes());
    assert!(body.len() < 256 << 10);
    let answer: Value = packed(&collector, body).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["accepted"], 10_000);
    let bomb = gzip(&vec![b' '; 32 << 20]);
    assert!(bomb.len() < 256 << 10);
    let problem = refused(packed(&collector, bomb), 413).await;
    assert!(problem["detail"].as_str().unwrap().contains("16777216"), "{problem}");
    let whole = gzip(batch(&[sample(20_000, 1.0)]).to_string().as_bytes());
    let cut = whole[..whole.len() - 9].to_vec();
    let trailing = [&whole[..], b"x"].concat();
    for wrong in [Vec::new(), b"{}".to_vec(), cut, trailing] {
        refused(packed(&collector, wrong), 400).await;
    }
    let two_parts = [gzip(b"{\"node\":\"n1\",\"boot\":"), gzip(b"\"a\",\"samples\":[]}")].concat();
    assert_eq!(packed(&collector, two_parts).send().await.unwrap().status(), 200);
    collector.stop().await;
}

#[tokio::test]
async fn measurements_are_returned_by_series_and_resolution() {
    let collector = started().await;
    let begin = millis_ago(3 * 3_600_000) / 3_600_000 * 3_600_000;
    let samples: Vec<Value> = (0..240)
        .map(|seq| {
            let mut sample = sample(seq, f64::from(u8::try_from(seq % 10).unwrap()));
            sample["time_ms"] = json!(begin + seq * 30_000);
            sample["sensor"] = json!(if seq % 2 == 0 { "outside" } else { "=inside" });
            sample
        })
        .collect();
    assert_eq!(sent(&collector, &batch(&samples)).await["accepted"], 240);
    let other = json!({"fleet": "home", "node": "n2", "boot": "b", "samples": [sample(1, 5.0)]});
    sent(&collector, &other).await;
    let time = |millis: i64| Timestamp::from_millisecond(millis).unwrap();
    let path = |more: &str| {
        let (from, to) = (time(begin), time(begin + 7_200_000));
        format!("{PATH}?fleet=home&node=n1&sensor=outside&from={from}&to={to}{more}")
    };
    let raw = collector.json(&path("&resolution=raw&limit=100")).await;
    let series = &raw["series"][0];
    assert_eq!((&raw["step"], series["rows"].as_array().unwrap().len()), (&Value::Null, 100));
    let first = json!({"time": time(begin).to_string(), "value": 0.0, "clock": "synchronised", "boot": "3f0c", "seq": 0});
    assert_eq!(series["rows"][0], first);
    let next = series["next"].as_str().unwrap();
    let rest = collector.json(&path("&resolution=raw").replace(&time(begin).to_string(), next)).await;
    let rest = &rest["series"][0];
    assert_eq!((rest["rows"].as_array().unwrap().len(), &rest["next"]), (20, &Value::Null));
    assert_eq!(rest["rows"][0]["seq"], 200);

    let minutes = collector.json(&path("")).await;
    assert_eq!(minutes["step"], 60.0, "auto");
    let rows = minutes["series"][0]["rows"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[1]["count"], &rows[1]["mean"]), (120, &json!(1), &json!(2.0)));
    let hours = collector.json(&path("&resolution=hour")).await;
    let expected = json!({"time": time(begin).to_string(), "mean": 4.0, "min": 0.0, "max": 8.0, "count": 60,
        "clock": "synchronised"});
    assert_eq!(hours["series"][0]["rows"][0], expected);
    let tens = collector.json(&path("&resolution=10m")).await;
    assert_eq!(tens["series"][0]["rows"].as_array().unwrap().len(), 12);
    let days = collector.json(&path("&resolution=day")).await;
    let counts =
        days["series"][0]["rows"].as_array().unwrap().iter().map(|row| row["count"].as_i64().unwrap());
    assert_eq!(counts.sum::<i64>(), 120);

    let csv = collector.get(&path("&format=csv&resolution=raw&limit=1")).send().await.unwrap();
    assert_eq!(csv.headers()["content-type"], "text/csv; charset=utf-8");
    let text = csv.text().await.unwrap();
    let line = format!("home,n1,outside,temperature,Cel,{},0,synchronised,3f0c,0", time(begin));
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        ["fleet,node,sensor,quantity,unit,time,value,clock,boot,seq", &line]
    );
    let steps = collector.get(&path("&resolution=hour")).header("accept", "text/csv").send().await.unwrap();
    let text = steps.text().await.unwrap();
    assert!(
        text.starts_with("fleet,node,sensor,quantity,unit,time,mean,min,max,count,clock\nhome,n1,outside,"),
        "{text}"
    );
    let latest = format!("{PATH}/latest?fleet=home");
    let text = collector.get(&format!("{latest}&format=csv")).send().await.unwrap().text().await.unwrap();
    assert!(text.contains("\nhome,n1,'=inside,temperature,Cel,9,"), "{text}");
    let latest = collector.json(&latest).await;
    let values: Vec<_> =
        latest["measurements"].as_array().unwrap().iter().map(|latest| latest["value"].clone()).collect();
    assert_eq!(values, [9.0, 8.0, 5.0]);
    let fleets = collector.json("/api/v1/fleets").await;
    assert_eq!((&fleets["fleets"][0]["nodes"], &fleets["fleets"][0]["series"]), (&json!(2), &json!(3)));

    let wrong = "&resolution=1s &resolution=90s &resolution=x &limit=0 &limit=20001 &format=xml &unknown=1";
    for wrong in wrong.split(' ') {
        refused(collector.get(&path(wrong)), 400).await;
    }
    let ahead = Timestamp::now() + SignedDuration::from_hours(1);
    refused(collector.get(&format!("{PATH}?from={ahead}")), 400).await;
    collector.stop().await;
}

#[tokio::test]
async fn measurements_of_a_node_are_deleted_by_a_writer() {
    let collector = started_with_tokens().await;
    let send = |token: &str| collector.post(PATH).bearer_auth(token).json(&batch(&[sample(1, 1.0)]));
    refused(collector.post(PATH).json(&batch(&[])), 401).await;
    refused(send(READER), 403).await;
    assert_eq!(send(WRITER).send().await.unwrap().status(), 200);
    let delete = |token: &str, query: &str| {
        collector.client.delete(collector.url(&format!("{PATH}?{query}"))).bearer_auth(token)
    };
    refused(delete(READER, "fleet=home&node=n1"), 403).await;
    refused(delete(WRITER, "fleet=home"), 400).await;
    refused(delete(WRITER, "node=n1"), 404).await;
    let latest = async || {
        let latest = collector.get(&format!("{PATH}/latest")).bearer_auth(READER).send().await.unwrap();
        latest.json::<Value>().await.unwrap()["measurements"].as_array().unwrap().len()
    };
    assert_eq!(latest().await, 1);
    assert_eq!(delete(WRITER, "fleet=home&node=n1").send().await.unwrap().status(), 204);
    assert_eq!(latest().await, 0);
    refused(delete(WRITER, "fleet=home&node=n1"), 404).await;
    refused(collector.get(PATH).bearer_auth(WRITER), 403).await;
    collector.stop().await;
}

#[tokio::test]
async fn number_of_series_of_a_fleet_is_bounded() {
    let collector = started().await;
    let (first, mut accepted) = (sample(1, 1.0), 0);
    for part in 0..11 {
        let samples: Vec<Value> = (0..10_000)
            .map(|number| {
                let mut sample = first.clone();
                sample["sensor"] = json!(format!("{part}-{number}"));
                sample
            })
            .collect();
        let answer = packed(&collector, gzip(batch(&samples).to_string().as_bytes())).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        let answer: Value = answer.json().await.unwrap();
        accepted += answer["accepted"].as_u64().unwrap();
        if part == 10 {
            assert_eq!(
                (&answer["refused_count"], &answer["refused"][0]["code"]),
                (&json!(10_000), &json!("too_many_series"))
            );
        }
    }
    assert_eq!(accepted, 100_000);
    collector.stop().await;
}
