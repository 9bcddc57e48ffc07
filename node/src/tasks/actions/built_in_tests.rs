use std::collections::BTreeMap;
use std::sync::Arc;

use atalaya_hal::{Quantity, Reading, Readings};
use jiff::Timestamp;
use tokio::sync::watch;

use super::*;
use crate::model::health_status::HealthStatus;
use crate::model::leader_state::tests::leader_state;
use crate::model::node_info::tests::sensor_info;
use crate::sampling::{BusReservations, Sample};

fn sensor(name: &str, state: SensorState, error: Option<&str>) -> SensorStatus {
    let info = sensor_info(name, "lm75", &[Quantity::Temperature]);
    let error = error.map(str::to_owned);
    SensorStatus::new(&info, &HealthStatus { state, error, ..HealthStatus::default() })
}

fn sample(sensor: &str, result: Result<f64, &str>) -> Sample {
    let readings = |value| Readings::from_iter([Reading::new(Quantity::Temperature, value).unwrap()]);
    let result = result.map(readings).map_err(str::to_owned);
    Sample { sensor: sensor.to_owned(), result, health_changed: false, skipped: false }
}

struct Node {
    info: watch::Sender<Vec<SensorStatus>>,
    latest: watch::Sender<Option<Arc<LatestSample>>>,
    handles: ActionHandles,
}

fn node(sensors: Vec<SensorStatus>) -> Node {
    let (info, latest) = (watch::Sender::new(sensors), watch::Sender::default());
    let handles = ActionHandles {
        install: None,
        sensors: Some(SensorHandles {
            info: info.subscribe(),
            latest: latest.subscribe(),
            reservations: BusReservations::default(),
        }),
        leader: Some(watch::Sender::new(Some(leader_state())).subscribe()),
        session: None,
    };
    Node { info, latest, handles }
}

fn request(run_for: Duration) -> ExecutionRequest {
    ExecutionRequest { task: "t-1".into(), run_for: Some(run_for), ..ExecutionRequest::default() }
}

async fn run_for(action: BuiltIn, handles: &ActionHandles, limit: Duration) -> Execution {
    let board = BoardActions { board: "b".into(), backend: Backend::Sim, tasks: None };
    run(action, handles, &board, Instant::now(), &request(limit), std::future::pending()).await
}

async fn run_on(action: BuiltIn, handles: &ActionHandles) -> Execution {
    run_for(action, handles, Duration::from_secs(30)).await
}

#[tokio::test]
async fn sensors_read_waits_for_the_first_sample_and_lists_readings_and_errors() {
    let node = node(vec![]);
    let samples = vec![sample("air", Ok(21.5)), sample("water", Err("no chip\nat 0x48"))];
    let send =
        async { node.latest.send_replace(Some(Arc::new(LatestSample { time: Timestamp::now(), samples }))) };
    let (execution, _) = tokio::join!(run_on(BuiltIn::Read, &node.handles), send);
    assert_eq!(execution.outcome, ExecutionOutcome::Done, "{execution:?}");
    assert_eq!(execution.output, "air temperature 21.5 Cel\nwater error no chip at 0x48\n");

    let samples = vec![sample("water", Err("no chip"))];
    node.latest.send_replace(Some(Arc::new(LatestSample { time: Timestamp::now(), samples })));
    let execution = run_on(BuiltIn::Read, &node.handles).await;
    assert_eq!(execution.outcome, ExecutionOutcome::Failed);
    assert_eq!(execution.reason.as_deref(), Some("no sensor has a reading"));
}

#[tokio::test]
async fn built_in_action_has_a_time_limit() {
    let node = node(vec![]);
    let execution = run_for(BuiltIn::Read, &node.handles, Duration::from_millis(1)).await;
    assert_eq!(execution.outcome, ExecutionOutcome::TimedOut);
}

#[tokio::test]
async fn self_test_fails_if_a_sensor_cannot_be_read() {
    let node = node(vec![sensor("air", SensorState::Ok, None)]);
    node.latest.send_replace(Some(Arc::new(LatestSample { time: Timestamp::now(), samples: vec![] })));
    let execution = run_on(BuiltIn::SelfTest, &node.handles).await;
    assert_eq!((execution.outcome, execution.output.as_str()), (ExecutionOutcome::Done, "air ok\n"));

    let failing = sensor("water", SensorState::Failing, Some("bad checksum"));
    node.info.send_modify(|sensors| sensors.push(failing));
    let execution = run_on(BuiltIn::SelfTest, &node.handles).await;
    assert_eq!(execution.outcome, ExecutionOutcome::Failed);
    assert_eq!(execution.output, "air ok\nwater failing bad checksum\n");
    assert_eq!(execution.reason.as_deref(), Some("1 of 2 sensors cannot be read: water"));
}

#[tokio::test]
async fn scan_of_simulated_buses_lists_the_configured_chips() {
    let node = node(vec![sensor("air", SensorState::Ok, None), sensor("gone", SensorState::Absent, None)]);
    let execution = run_on(BuiltIn::Scan, &node.handles).await;
    assert_eq!(execution.output, "i2c-1, simulated\n  0x48  lm75\n");
}

#[tokio::test]
async fn status_has_one_value_per_line() {
    let execution = run_on(BuiltIn::Status, &node(vec![]).handles).await;
    assert_eq!(execution.outcome, ExecutionOutcome::Done);
    let lines: BTreeMap<&str, &str> =
        execution.output.lines().map(|line| line.split_once(' ').unwrap()).collect();
    assert_eq!((lines["board"], lines["version"]), ("b", env!("CARGO_PKG_VERSION")));
    assert_eq!((lines["leader"], lines["epoch"], lines["sensors"]), ("yes", "7", "0"));
    let alone = run_on(BuiltIn::Status, &ActionHandles::default()).await;
    assert!(!alone.output.contains("leader") && !alone.output.contains("sensors"), "{alone:?}");
}

#[test]
fn output_of_many_sensors_is_cut_after_a_line() {
    let line = "sensor temperature 1 Cel\n";
    let (text, cut) = first_lines(&line.repeat(1_000));
    assert!(text.len() <= super::super::MAX_OUTPUT && text.ends_with('\n'));
    assert_eq!(text.len() as u64 + cut, 1_000 * line.len() as u64);
}

#[test]
fn built_in_actions_have_the_names_that_boards_toml_reserves() {
    for action in BuiltIn::ALL {
        assert!(atalaya_config::BUILT_IN_ACTIONS.contains(&action.name()));
        assert_eq!(BuiltIn::parse(action.name()), Some(action));
    }
}
