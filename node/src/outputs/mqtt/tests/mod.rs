mod home_assistant;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_config::Boards;
use atalaya_testbed::{Mosquitto, MqttClient, MqttMessage, TcpFault, TcpProxy};
use tokio::sync::watch;

use crate::model::node_info::SensorStatus;
use crate::model::node_info::tests::sensor;
use crate::model::report::Report;
use crate::model::sample::Batch;
use crate::outputs::test_support::{self, failed, sample};
use crate::outputs::{Outcome, Output, Sender};

const TIMEOUT: Duration = Duration::from_secs(20);
/// Timeout of a request that must fail.
const SHORT: Duration = Duration::from_secs(2);
/// Time for anything that happens without a request.
const LONG: Duration = Duration::from_secs(60);
const STATUS: &str = "atalaya/home/n1/status";
const TOPIC: &str = "atalaya/home/n1/a/temperature";
const NODE: &str = "homeassistant/device/atalaya__home__n1/config";
const AVERAGES: &str = "homeassistant/device/atalaya_averages__home/config";
const VERSIONS: [&str; 2] = ["3.1.1", "5"];

/// Starts a broker, a subscriber of a topic, and an output to the broker.
fn start(topic: &str, version: &str) -> (Mosquitto, MqttClient, tokio::runtime::Runtime, Arc<Output>) {
    let server = Mosquitto::start();
    let subscriber = MqttClient::subscribe(server.port(), topic);
    let output = output_to(&server.url(), version);
    (server, subscriber, multi_thread(), output)
}

/// Returns an output with these lines of boards.toml besides the type.
fn output(lines: &str) -> Result<Output, String> {
    let text = format!("[[fleet.outputs]]\ntype = \"mqtt\"\nsend = \"both\"\n{lines}\n");
    let boards = Boards::parse(&text, "boards.toml").unwrap();
    let sender = Sender { fleet: "home".into(), zone: None, node: "n1".parse().unwrap() };
    Output::new(boards.fleet.outputs[0].clone(), &sender)
}

fn output_to(url: &str, version: &str) -> Arc<Output> {
    Arc::new(output(&format!("url = \"{url}\"\nversion = \"{version}\"")).unwrap())
}

fn sensors(names: &[&str]) -> watch::Receiver<Vec<SensorStatus>> {
    let sensor = |name: &&str| sensor(name, "file", &["temperature"]);
    watch::Sender::new(names.iter().map(sensor).collect()).subscribe()
}

fn report(cycle: u64) -> Report {
    Report { epoch: 1, ..test_support::report(cycle, 0, 20.5) }
}

/// Returns samples of the sensor `a` with these sequence numbers. Times and values increase with them.
fn batch(seqs: std::ops::Range<i64>) -> Batch {
    let sample = |seq: i64| sample(seq, "a", 1_795_993_511_000 + seq, seq as f64);
    Batch { boot: "b1".into(), ..test_support::batch(&seqs.map(sample).collect::<Vec<_>>()) }
}

fn seqs(messages: &[MqttMessage]) -> Vec<i64> {
    messages.iter().map(|message| message.json()["seq"].as_i64().unwrap()).collect()
}

/// Sends a batch until the broker has accepted it, like the caller of an output. Each call waits for the next attempt to
/// connect.
async fn deliver(output: &Output, batch: &Batch) {
    let deadline = Instant::now() + 3 * LONG;
    loop {
        match output.send_samples(batch, Duration::from_secs(5)).await {
            Outcome::Accepted(refused) => return assert_eq!(refused, []),
            outcome => assert!(Instant::now() < deadline, "{outcome:?}"),
        }
    }
}

/// Checks that all sequence numbers below `end` have arrived, and that no message went back except by repeating.
fn assert_complete_and_in_order(messages: &[MqttMessage], end: i64) {
    let seqs = seqs(messages);
    assert_eq!(seqs.last(), Some(&(end - 1)), "the newest is last");
    for seq in 0..end {
        assert!(seqs.contains(&seq), "{seq} is missing in {seqs:?}");
    }
    let first = |seq: i64| seqs.iter().position(|known| *known == seq);
    assert!((1..end).all(|seq| first(seq - 1) < first(seq)), "{seqs:?}");
}

fn multi_thread() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

#[test]
fn records_are_retained_with_their_fields_and_availability_follows_the_connection() {
    for version in VERSIONS {
        let (server, subscriber, runtime, output) = start("#", version);
        runtime.block_on(async {
            output.connect(sensors(&["a", "b"]));
            assert_eq!(output.send_samples(&batch(0..3), TIMEOUT).await, Outcome::Accepted(vec![]));
            assert_eq!(output.send_report(&report(7), TIMEOUT).await, Outcome::Accepted(vec![]));
        });
        subscriber.wait_for(STATUS, LONG, |message| message.text() == "online");
        subscriber.wait_for(NODE, LONG, |message| message.json()["cmps"]["b__temperature"].is_object());
        subscriber.wait_for(AVERAGES, LONG, |message| message.json()["cmps"]["unit__Cel"].is_object());
        // A subscriber that comes later gets the newest value of each topic.
        let late = MqttClient::subscribe(server.port(), "#");
        let state = late.wait_for(TOPIC, LONG, |message| message.is_retained).json();
        let expected = serde_json::json!({
            "value": 2.0, "unit": "Cel", "time": "2026-11-29T23:05:11.002Z", "clock": "synchronised", "boot": "b1", "seq": 2,
        });
        assert_eq!(state, expected);
        let average = late.wait_for("atalaya/home/average/temperature", LONG, |m| m.is_retained).json();
        assert_eq!(
            (&average["value"], &average["cycle"], &average["epoch"]),
            (&20.5.into(), &7.into(), &1.into())
        );
        // Without DISCONNECT, as if the process was killed.
        drop(output);
        runtime.shutdown_background();
        late.wait_for(STATUS, LONG, |message| message.text() == "offline");
    }
}

#[test]
fn many_samples_arrive_in_order_and_the_state_is_the_newest() {
    for version in VERSIONS {
        let server = Mosquitto::start();
        let subscriber = MqttClient::subscribe(server.port(), TOPIC);
        multi_thread().block_on(async {
            let output = output_to(&server.url(), version);
            assert_eq!(output.send_samples(&batch(0..500), TIMEOUT).await, Outcome::Accepted(vec![]));
        });
        subscriber.wait_for(TOPIC, LONG, |message| message.json()["seq"] == 499);
        assert_eq!(seqs(&subscriber.of(TOPIC)), (0..500).collect::<Vec<i64>>());
    }
}

#[test]
fn broker_with_tls_is_trusted_by_its_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = atalaya_testbed::make_certificate(folder.path(), "127.0.0.1");
    let server = Mosquitto::with_tls(&certificate, &key);
    let url = format!("mqtts://127.0.0.1:{}", server.port());
    multi_thread().block_on(async {
        for version in VERSIONS {
            let lines = format!("url = \"{url}\"\nversion = \"{version}\"");
            let trusting = output(&format!("{lines}\nca = \"{}\"", certificate.display())).unwrap();
            deliver(&trusting, &batch(0..1)).await;
            let reason = failed(output(&lines).unwrap().send_report(&report(1), TIMEOUT).await);
            assert!(reason.contains("certificate"), "{reason}");
            let plain = format!("url = \"mqtt://127.0.0.1:{}\"\nversion = \"{version}\"", server.port());
            failed(output(&plain).unwrap().send_report(&report(1), SHORT).await);
        }
    });
}

#[test]
fn files_that_cannot_be_used_are_refused_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    let (missing, empty) = (folder.path().join("missing").display().to_string(), empty.display().to_string());
    for (lines, expected) in [
        (format!("url = \"mqtts://b\"\nca = \"{missing}\""), "the certificates in"),
        (format!("url = \"mqtts://b\"\nca = \"{empty}\""), "the file has no certificate"),
        (format!("url = \"mqtt://b\"\nca = \"{empty}\""), "begins with mqtts://"),
        (format!("url = \"mqtt://b\"\nuser = \"u\"\npassword_file = \"{missing}\""), "the password in"),
        (format!("url = \"mqtt://b\"\nuser = \"u\"\npassword_file = \"{empty}\""), "the file is empty"),
        ("url = \"mqtt://b/topic\"".to_owned(), "more than a host and a port"),
    ] {
        let problem = output(&lines).unwrap_err();
        assert!(problem.contains(expected), "{problem}");
    }
}

#[test]
fn wrong_password_is_named_and_a_corrected_file_is_read() {
    let server = Mosquitto::with_user("user1", "right");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "wrong\n").unwrap();
    multi_thread().block_on(async {
        for version in VERSIONS {
            std::fs::write(&file, "wrong\n").unwrap();
            let lines = |rest: &str| format!("url = \"{}\"\nversion = \"{version}\"\n{rest}", server.url());
            let user = lines(&format!("user = \"user1\"\npassword_file = \"{}\"", file.display()));
            let with_user = output(&user).unwrap();
            let reason = failed(with_user.send_report(&report(1), TIMEOUT).await);
            let named =
                format!("the broker refuses the user `user1` with the password in {}", file.display());
            assert!(reason.starts_with(&named), "{reason}");
            assert!(!reason.contains("wrong"), "{reason}");
            std::fs::write(&file, "right\n").unwrap();
            let deadline = Instant::now() + LONG;
            while with_user.send_report(&report(1), TIMEOUT).await != Outcome::Accepted(vec![]) {
                assert!(Instant::now() < deadline, "the file is not read again");
            }
            let reason = failed(output(&lines("")).unwrap().send_report(&report(1), TIMEOUT).await);
            assert!(reason.starts_with("the broker refuses clients without a user"), "{reason}");
        }
    });
}

#[test]
fn nothing_is_lost_when_the_broker_is_killed_and_restarted_empty() {
    for version in VERSIONS {
        let (mut server, subscriber, runtime, output) = start(TOPIC, version);
        runtime.block_on(async {
            output.connect(sensors(&["a"]));
            deliver(&output, &batch(0..50)).await;
        });
        subscriber.wait_for(TOPIC, LONG, |message| message.json()["seq"] == 49);
        server.kill();
        let reason = runtime.block_on(output.send_samples(&batch(50..100), SHORT));
        assert!(!failed(reason).is_empty());
        server.lose_all();
        server.restart();
        // The announcements and the availability are lost, and come again.
        let late = MqttClient::subscribe(server.port(), "#");
        runtime.block_on(deliver(&output, &batch(50..100)));
        runtime.block_on(deliver(&output, &batch(100..101)));
        late.wait_for(STATUS, LONG, |message| message.text() == "online");
        late.wait_for(NODE, LONG, |message| message.json()["cmps"]["a__temperature"].is_object());
        late.wait_for(TOPIC, LONG, |message| message.json()["seq"] == 100);
        let seqs = seqs(&late.of(TOPIC));
        assert!((50..=100).all(|seq| seqs.contains(&seq)) && seqs.last() == Some(&100), "{seqs:?}");
    }
}

#[test]
fn persistent_broker_has_the_state_after_a_restart() {
    let mut server = Mosquitto::persistent();
    let runtime = multi_thread();
    let output = output_to(&server.url(), "3.1.1");
    runtime.block_on(deliver(&output, &batch(0..3)));
    let folder = server.folder();
    atalaya_testbed::eventually("Mosquitto stores its messages", LONG, || has_content(folder).then_some(()));
    server.kill();
    server.restart();
    let late = MqttClient::subscribe(server.port(), TOPIC);
    late.wait_for(TOPIC, LONG, |message| message.is_retained && message.json()["seq"] == 2);
}

/// Returns true if the file of the broker has the last sample. While it is written, it has another name.
fn has_content(folder: &Path) -> bool {
    let needle = b"\"seq\":2}";
    let bytes = std::fs::read(folder.join("mosquitto.db")).unwrap_or_default();
    bytes.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn frozen_broker_delays_samples_and_mixes_nothing_up() {
    for version in VERSIONS {
        let (mut server, subscriber, runtime, output) = start(TOPIC, version);
        runtime.block_on(deliver(&output, &batch(0..10)));
        server.stop_process();
        let start = Instant::now();
        let reason = failed(runtime.block_on(output.send_samples(&batch(10..20), SHORT)));
        assert!(reason.contains("did not acknowledge"), "{reason}");
        assert!(start.elapsed() < SHORT + Duration::from_secs(10));
        // The next attempt finds no connection.
        failed(runtime.block_on(output.send_samples(&batch(10..20), SHORT)));
        server.continue_process();
        runtime.block_on(deliver(&output, &batch(10..20)));
        runtime.block_on(deliver(&output, &batch(20..30)));
        subscriber.wait_for(TOPIC, LONG, |message| message.json()["seq"] == 29);
        assert_complete_and_in_order(&subscriber.of(TOPIC), 30);
    }
}

#[test]
fn lost_acknowledgements_cause_repeats_and_no_loss() {
    for version in VERSIONS {
        let server = Mosquitto::start();
        let proxy = TcpProxy::to_broker(server.port());
        let subscriber = MqttClient::subscribe(server.port(), TOPIC);
        let runtime = multi_thread();
        let output = output_to(&format!("mqtt://{}", proxy.address()), version);
        proxy.set(TcpFault::DropAcknowledgements);
        for _ in 0..2 {
            failed(runtime.block_on(output.send_samples(&batch(0..10), SHORT)));
        }
        assert!(proxy.dropped() > 0);
        proxy.set(TcpFault::None);
        runtime.block_on(deliver(&output, &batch(0..10)));
        runtime.block_on(deliver(&output, &batch(10..12)));
        subscriber.wait_for(TOPIC, LONG, |message| message.json()["seq"] == 11);
        let messages = subscriber.of(TOPIC);
        assert_complete_and_in_order(&messages, 12);
        assert!(messages.len() > 12, "the broker has stored samples whose acknowledgement was lost");
        // Repeats have the same keys and the same content.
        let mut different: Vec<_> = messages.iter().map(|message| message.text()).collect();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), 12);
    }
}

#[test]
fn dropped_request_does_not_disturb_the_next_one() {
    let server = Mosquitto::start();
    let proxy = TcpProxy::to_broker(server.port());
    let subscriber = MqttClient::subscribe(server.port(), TOPIC);
    multi_thread().block_on(async {
        let output = output_to(&format!("mqtt://{}", proxy.address()), "5");
        deliver(&output, &batch(0..1)).await;
        proxy.set(TcpFault::DropAcknowledgements);
        for _ in 0..20 {
            let batch = batch(1..100);
            let request = output.send_samples(&batch, TIMEOUT);
            assert!(tokio::time::timeout(Duration::from_millis(20), request).await.is_err());
        }
        proxy.set(TcpFault::None);
        deliver(&output, &batch(1..100)).await;
        deliver(&output, &batch(100..101)).await;
    });
    subscriber.wait_for(TOPIC, LONG, |message| message.json()["seq"] == 100);
    assert_complete_and_in_order(&subscriber.of(TOPIC), 101);
}

#[test]
fn broker_that_limits_packets_refuses_large_records_only() {
    let server = Mosquitto::with("allow_anonymous true\nmax_packet_size 400");
    let subscriber = MqttClient::subscribe(server.port(), "atalaya/#");
    multi_thread().block_on(async {
        let output = output_to(&server.url(), "5");
        let mut batch = batch(0..3);
        batch.samples[1].sensor = "long".repeat(100);
        let outcome = output.send_samples(&batch, TIMEOUT).await;
        let Outcome::Accepted(refused) = outcome else { panic!("{outcome:?}") };
        assert_eq!(refused.iter().map(|sample| sample.seq).collect::<Vec<_>>(), [1]);
        assert!(refused[0].reason.contains("400 bytes"), "{}", refused[0].reason);
    });
    subscriber.wait_for(TOPIC, LONG, |message| message.json()["seq"] == 2);
}

#[test]
fn user_without_permission_is_an_error_with_mqtt_5() {
    let folder = tempfile::tempdir().unwrap();
    let acl = folder.path().join("acl");
    std::fs::write(&acl, format!("topic read #\ntopic write {STATUS}\n")).unwrap();
    let server = Mosquitto::with(&format!("allow_anonymous true\nacl_file {}", acl.display()));
    let lines = format!("url = \"{}\"\nversion = \"5\"\ndiscovery = false", server.url());
    let output = output(&lines).unwrap();
    // Mosquitto 2.0.11 disconnects after its answer, which is then sometimes lost.
    let deadline = Instant::now() + LONG;
    multi_thread().block_on(async {
        loop {
            let reason = failed(output.send_samples(&batch(0..1), TIMEOUT).await);
            if reason.contains("NotAuthorized") {
                return;
            }
            assert!(Instant::now() < deadline, "{reason}");
        }
    });
}
