//! `/metrics`, `/healthz` and `/readyz` are correct whatever fails.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use atalaya_testbed::{ApiMode, Process, Scratch, eventually};

use crate::common::metrics_client::MetricsClient;
use crate::common::{DEADLINE, Fleet, wait_until};

on_both!(
    metrics_show_api_outage_and_failover,
    metrics_show_a_failing_and_a_recovered_sensor,
    hanging_read_makes_the_node_unready_but_alive,
    frozen_process_is_ready_after_its_next_publish,
    readiness_follows_zookeeper,
    metrics_count_skipped_measurements_by_reason,
    metrics_show_barrier_and_counter_in_lock_step,
);

const LISTEN: [&str; 2] = ["--metrics-listen", "127.0.0.1:0"];

fn with<'a>(args: &[&'a str]) -> Vec<&'a str> {
    LISTEN.iter().chain(args).copied().collect()
}

fn metrics_show_api_outage_and_failover(fleet: Fleet) {
    let mut one = fleet.leader("1", &with(&["--board", "v70"]));
    let _two = fleet.follower("2", &with(&["--board", "v80"]));
    let (first, second) = (MetricsClient::of(&one), MetricsClient::of(&_two));
    first.wait_for("atalaya_leading", |leads| leads == 1.0);
    second.wait_for("atalaya_election_ahead", |ahead| ahead == 1.0);
    assert_eq!(second.figure("atalaya_leading"), Some(0.0));
    assert_eq!(second.figure("atalaya_outbox_reports"), None, "only a leader knows");
    first.wait_for("atalaya_fleet_nodes", |nodes| nodes == 2.0);
    first.wait_for("atalaya_fleet_mean{quantity=\"\",unit=\"\"}", |mean| mean == 75.0);
    first.wait_for("atalaya_deliveries_total{outcome=\"accepted\"}", |accepted| accepted > 0.0);
    first.wait_for_status("/readyz", 200);
    assert_eq!(first.ask("/healthz").body, "ok\n");
    let epoch = first.figure("atalaya_leader_epoch").unwrap();
    let labels = "{sensor=\"s\",quantity=\"temperature\",unit=\"Cel\"}";
    assert_eq!(first.figure(&format!("atalaya_sensor_value{labels}")), Some(70.0));
    assert_eq!(first.figure(&format!("atalaya_published_value{labels}")), Some(70.0));

    fleet.api.set(ApiMode::Status(503));
    first.wait_for("atalaya_outbox_reports", |waiting| waiting >= 3.0);
    first.wait_for("atalaya_outbox_oldest_age_seconds", |age| age >= 1.0);
    first.wait_for("atalaya_deliveries_total{outcome=\"failed\"}", |failed| failed >= 2.0);
    first.wait_for("atalaya_delivery_retries_total", |retries| retries >= 1.0);
    assert_eq!(first.ask("/healthz").status, 200, "no reason to start it again");

    one.kill9();
    second.wait_for("atalaya_leading", |leads| leads == 1.0);
    second.wait_for("atalaya_outbox_reports", |waiting| waiting >= 3.0);
    assert_eq!(second.figure("atalaya_leader_epoch"), Some(epoch + 1.0));
    assert_eq!(second.figure("atalaya_terms_total"), Some(1.0));
    let age = second.figure("atalaya_outbox_oldest_age_seconds").unwrap();
    assert!(age >= fleet.pace.period.as_secs_f64(), "the oldest is of the leader before: {age}");

    fleet.api.set(ApiMode::Accept);
    second.wait_for("atalaya_outbox_reports", |waiting| waiting == 0.0);
    second.wait_for("atalaya_delivery_duration_seconds_count", |count| count >= 3.0);

    fleet.api.set(ApiMode::Status(400));
    second.wait_for("atalaya_aside_reports", |aside| aside >= 1.0);
    second.wait_for("atalaya_deliveries_total{outcome=\"rejected\"}", |rejected| rejected >= 1.0);
    assert!(second.figure("atalaya_reports_set_aside_total").unwrap() >= 1.0);
}

/// Creates a board with one sensor that reads a file. Returns both paths.
fn with_a_file(desk: &Scratch) -> (String, std::path::PathBuf) {
    let (boards, file) = (desk.path().join("boards.toml"), desk.path().join("value"));
    let board = "[boards.b]\nbackend = \"linux\"\n\
                 sensors = [{ name = \"air\", chip = \"file\", path = \"value\", quantity = \"temperature\" }]\n";
    std::fs::write(&boards, board).unwrap();
    std::fs::write(&file, "21.5\n").unwrap();
    (boards.display().to_string(), file)
}

fn metrics_show_a_failing_and_a_recovered_sensor(fleet: Fleet) {
    let desk = Scratch::new("watched");
    let (boards, file) = with_a_file(&desk);
    let node = fleet.leader("1", &with(&["--boards", &boards, "--board", "b"]));
    let watch = MetricsClient::of(&node);
    watch.wait_for("atalaya_sensor_readings_total{sensor=\"air\"}", |readings| readings >= 2.0);
    watch.wait_for_status("/readyz", 200);
    assert_eq!(watch.figure("atalaya_sensor_failing{sensor=\"air\"}"), Some(0.0));
    let value = "atalaya_sensor_value{sensor=\"air\",quantity=\"temperature\",unit=\"Cel\"}";
    assert_eq!(watch.figure(value), Some(21.5));

    std::fs::remove_file(&file).unwrap();
    watch.wait_for("atalaya_sensor_failing{sensor=\"air\"}", |failing| failing == 1.0);
    watch.wait_for("atalaya_sensor_failures_total{sensor=\"air\"}", |failures| failures >= 1.0);
    assert_eq!(watch.figure(value), None, "no metric for quantities that are not measured");
    let words = watch.wait_for_status("/readyz", 503);
    assert!(words.contains("no measurement for") && words.contains("sensor air: "), "{words}");
    let age = fleet.pace.period.as_secs_f64() * 3.0;
    watch.wait_for("atalaya_sensor_reading_age_seconds{sensor=\"air\"}", |seconds| seconds > age);
    watch.wait_for("atalaya_published_age_seconds", |seconds| seconds > age);
    watch.wait_for("atalaya_ready", |ready| ready == 0.0);
    let health = watch.ask("/healthz");
    assert_eq!(health.status, 200, "a restart mends no sensor");
    assert!(health.body.starts_with("ok\nsensor air: "), "{}", health.body);

    std::fs::write(&file, "22.5\n").unwrap();
    watch.wait_for_status("/readyz", 200);
    watch.wait_for(value, |value| value == 22.5);
}

fn hanging_read_makes_the_node_unready_but_alive(fleet: Fleet) {
    let desk = Scratch::new("watched");
    let file = desk.path().join("boards.toml");
    let board = "[boards.b]\nbackend = \"sim\"\nsensors = [{ name = \"air\", chip = \"lm75\", bus = \"i2c-1\", address = 0x48, \
                 sim = { temperature = { constant = 20 }, faults = [{ fault = \"hang\", after = \"3s\", for = \"1h\" }] } }]\n";
    std::fs::write(&file, board).unwrap();
    let node = fleet.leader("1", &with(&["--boards", &file.display().to_string(), "--board", "b"]));
    let watch = MetricsClient::of(&node);
    watch.wait_for_status("/readyz", 200);
    let words = watch.wait_for_status("/readyz", 503);
    assert!(words.contains("no measurement for") && words.contains("does not return"), "{words}");
    watch.wait_for("atalaya_sensor_failing{sensor=\"air\"}", |failing| failing == 1.0);
    let health = watch.ask("/healthz");
    assert_eq!(health.status, 200, "{}", health.body);
    assert!(health.body.contains("sensor air: no answer from bus"), "{}", health.body);
}

fn frozen_process_is_ready_after_its_next_publish(fleet: Fleet) {
    let mut node = fleet.leader("1", &LISTEN);
    let watch = MetricsClient::of(&node);
    watch.wait_for_status("/readyz", 200);
    let probe = fleet.probe();
    let before = probe.exists("/mediciones/1").unwrap();
    node.stop();
    wait_until("its session is over", || probe.exists("/mediciones/1").is_none());
    node.cont();
    // The first ready answer must already be true.
    watch.wait_for_status("/readyz", 200);
    let after = probe.exists("/mediciones/1").expect("it has said that it has published");
    assert_ne!(after.czxid, before.czxid);
    assert_eq!(watch.ask("/healthz").body, "ok\n");
    watch.wait_for("atalaya_sessions_total", |sessions| sessions == 2.0);
    watch.wait_for("atalaya_terms_total", |terms| terms == 2.0);
}

fn readiness_follows_zookeeper(mut fleet: Fleet) {
    let node = fleet.leader("1", &LISTEN);
    let watch = MetricsClient::of(&node);
    watch.wait_for_status("/readyz", 200);
    fleet.server.vanish();
    watch.wait_for("atalaya_session_state{state=\"connected\"}", |connected| connected == 0.0);
    watch.wait_for("atalaya_leading", |leads| leads == 0.0);
    let words = watch.wait_for_status("/readyz", 503);
    assert!(words.contains("ZooKeeper is not connected"), "{words}");
    let health = watch.ask("/healthz");
    assert_eq!((health.status, &*health.body), (200, "ok\nZooKeeper is not connected\n"));
    let samples = watch.figure("atalaya_samples_total").unwrap();
    watch.wait_for("atalaya_samples_total", |now| now > samples);
    fleet.server.come_back();
    watch.wait_for_status("/readyz", 200);
    watch.wait_for("atalaya_session_reconnects_total", |reconnects| reconnects >= 1.0);
    watch.wait_for("atalaya_leading", |leads| leads == 1.0);
}

fn metrics_count_skipped_measurements_by_reason(fleet: Fleet) {
    let node = fleet.leader("1", &with(&["--board", "v70"]));
    let watch = MetricsClient::of(&node);
    let probe = fleet.probe();
    probe.create("/mediciones/dumb", b"warm", true).unwrap();
    probe.create("/mediciones/empty", b"", true).unwrap();
    watch.wait_for("atalaya_fleet_excluded{reason=\"not_a_number\"}", |excluded| excluded == 1.0);
    watch.wait_for("atalaya_fleet_excluded{reason=\"empty\"}", |excluded| excluded == 1.0);
    watch.wait_for("atalaya_fleet_nodes", |nodes| nodes == 3.0);
    assert_eq!(watch.figure("atalaya_fleet_counted"), Some(1.0));
    assert_eq!(watch.figure("atalaya_fleet_excluded{reason=\"stale\"}"), Some(0.0));
}

fn metrics_show_barrier_and_counter_in_lock_step(fleet: Fleet) {
    let node = fleet.leader("1", &with(&["--sync", "barrier"]));
    let watch = MetricsClient::of(&node);
    watch.wait_for("atalaya_lockstep", |is| is == 1.0);
    watch.wait_for("atalaya_barrier_wait_seconds_count", |count| count >= 2.0);
    watch.wait_for("atalaya_barrier_state{state=\"closed\"}", |is| is == 1.0);
    let counted = watch.wait_for("atalaya_measurements_counted", |counted| counted >= 2.0);
    watch.wait_for("atalaya_measurements_counted", |now| now > counted);
    assert_eq!(watch.ask("/healthz").body, "ok\n");
}

#[test]
fn bad_http_clients_do_not_block_others() {
    let fleet = Fleet::memory();
    let mut node = fleet.leader("1", &LISTEN);
    let watch = MetricsClient::of(&node);
    for (garbage, status) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 this is TLS\r\n\r\n"[..], "400"),
        (b"GET /metrics HTTP/9.9\r\n\r\n", ""),
        (b"POST /metrics HTTP/1.1\r\nhost: h\r\ncontent-length: 9999999999\r\n\r\n", "405"),
        (b"GET /etc/passwd HTTP/1.1\r\nhost: h\r\n\r\n", "404"),
        (&[b'A'; 200_000], "4"),
    ] {
        let mut stream = TcpStream::connect(&watch.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        // The server may have closed the connection already.
        let _ = stream.write_all(garbage);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    // More clients than the server admits, none of which sends or completes a request.
    let idle: Vec<TcpStream> = (0..40)
        .map(|number| {
            let mut stream = TcpStream::connect(&watch.address).unwrap();
            if number % 2 == 0 {
                stream.write_all(b"GET /metrics HTTP/1.1\r\nhost:").unwrap();
            }
            stream
        })
        .collect();
    let probe = fleet.probe();
    crate::common::goes_on_publishing(&probe, "1", 5);
    // They are disconnected in time.
    eventually("an answer", DEADLINE, || {
        atalaya_testbed::get(&watch.address, "/readyz", &[]).ok().filter(|answer| answer.status == 200)
    });
    drop(idle);
    // A client that has just connected does not delay the shutdown.
    let _asking = TcpStream::connect(&watch.address).unwrap();
    node.shut_down(Duration::from_secs(2));
    assert!(TcpStream::connect(&watch.address).is_err(), "the port is closed");
}

#[test]
fn node_listens_at_the_given_address_or_does_not_start() {
    let fleet = Fleet::memory();
    let node = fleet.leader("1", &["--metrics-listen", "[::1]:0"]);
    let watch = MetricsClient::of(&node);
    assert!(watch.address.starts_with("[::1]:"), "{}", watch.address);
    watch.wait_for_status("/readyz", 200);

    let refused = |mut node: Process, code: i32, words: &[&str]| {
        assert_eq!(node.wait_exit(DEADLINE).code(), Some(code));
        let log: String = node.log().iter().map(|line| format!("{}\n", line.text)).collect();
        assert!(words.iter().all(|word| log.contains(word)), "{words:?} in {log}");
    };
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let words = ["cannot listen on", &address, "--metrics-listen", "in use"];
    refused(fleet.node("2", &["--metrics-listen", &address]), 69, &words);
    assert_eq!(fleet.probe().ls("/mediciones"), ["1"], "it has not begun");
    refused(
        fleet.node("2", &["--metrics-listen", "9100"]),
        64,
        &["--metrics-listen", "no port", ":9100 for all addresses"],
    );
    let mut command = fleet.command("2", &[]);
    command.env("ATALAYA_METRICS_LISTEN", "h:x");
    refused(Process::spawn(command), 78, &["ATALAYA_METRICS_LISTEN", "port"]);
    let desk = Scratch::new("watched");
    let file = desk.write("boards.toml", "[fleet]\nmetrics_listen = \"::1:9100\"\n");
    let boards = file.display().to_string();
    let words = ["boards.toml:2", "metrics", "brackets"];
    refused(fleet.node("2", &["--boards", &boards, "--board", "default"]), 78, &words);
}
