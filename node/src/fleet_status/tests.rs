use proptest::prelude::*;

use super::*;
use crate::model::health_status::HealthStatus;
use crate::model::leader_state::{LeaderState, OutputState};
use crate::model::node_info::SensorStatus;
use crate::model::node_info::tests::sensor;

const NOW: Millis = 1_767_225_600_000;

/// Returns the stat of an ephemeral znode.
pub(crate) fn stat(created: Millis, modified: Millis) -> Stat {
    Stat {
        czxid: 1,
        mzxid: 1,
        pzxid: 1,
        ctime: created,
        mtime: modified,
        version: 0,
        cversion: 0,
        aversion: 0,
        ephemeral_owner: 7,
        data_length: 0,
        num_children: 0,
    }
}

fn node_info(host: &str, states: &[(&str, SensorState)], leading: Option<LeaderState>) -> Option<NodeInfo> {
    let sensor = |(name, state): &(&str, SensorState)| SensorStatus {
        health: HealthStatus { state: *state, ..HealthStatus::default() },
        ..sensor(name, "lm75", &[])
    };
    let info = NodeInfo {
        host: host.to_owned(),
        pid: 7,
        version: "0.1.0".into(),
        sensors: states.iter().map(sensor).collect(),
        leading,
        ..NodeInfo::new("b")
    };
    parse_node_info(&info.to_json())
}

/// Returns a fleet of two nodes of Atalaya, one of Kazoo, and one that has published only its node info.
fn fleet() -> RawFleet {
    let measurement = |data: &[u8], age| RawMeasurement::parse(data, &stat(NOW - 3_720_000, NOW - age));
    let leading = LeaderState {
        waiting: 1,
        delivered: Some(Delivered { cycle: 811, time: timestamp(NOW - 400) }),
        ..LeaderState::new(9, 812, timestamp(NOW - 192_000))
    };
    let pack = br#"[{"n":"t","u":"Cel","v":21.5},{"n":"h","u":"%RH","v":40.0}]"#;
    RawFleet {
        leader: Some(("2".into(), NOW - 86_400_000)),
        contenders: 3,
        fence: Some(Fence { epoch: 9, cycle: 812, skipped: None }),
        waiting_reports: 1,
        rejected_reports: 2,
        outputs: BTreeMap::new(),
        sampling_period: Some(Duration::from_millis(2_500)),
        measurements: [
            ("10", measurement(b"78", 300)),
            ("2", measurement(pack, 1_200)),
            ("kazoo", measurement(b"NaN", 95_000)),
        ]
        .map(|(id, measurement)| (id.to_owned(), measurement))
        .into(),
        node_infos: [
            ("2", node_info("pi2", &[("air", SensorState::Ok), ("sky", SensorState::Absent)], Some(leading))),
            ("10", node_info("pi10", &[("s", SensorState::Ok)], None)),
            ("11", node_info("pi11", &[("s", SensorState::Failing)], None)),
        ]
        .map(|(id, info)| (id.to_owned(), info))
        .into(),
        wrong_znodes: Vec::new(),
        newest_write: NOW,
    }
}

fn status(fleet: RawFleet) -> FleetStatus {
    FleetStatus::new("zk1:2181,zk2:2181/fleet".into(), fleet, NOW)
}

/// Returns the table without colours.
fn text(fleet: RawFleet, max_nodes: usize) -> String {
    render_lines(&render_table(&status(fleet), max_nodes), false)
}

#[test]
fn fleet_status_is_rendered_as_a_table() {
    let expected = "\
fleet     zk1:2181,zk2:2181/fleet
leader    2 for 3m 12s; 2 more contenders
cycle     812 (epoch 9)
reports   1 waiting, 2 rejected; last accepted: cycle 811, 0.4s ago
period    2.5s (from /config/sampling_period)
nodes     4: 2 with failing sensors, 1 with an invalid measurement, 1 without a measurement, 1 not Atalaya

node        measurement             age     sensors              host  version      online
2 (leader)  21.5 Cel, 40 %RH        1.2s    sky absent (1 of 2)  pi2   0.1.0        1h 2m
10          78                      0.3s    ok                   pi10  0.1.0        1h 2m
11          none                    -       s failing            pi11  0.1.0        -
kazoo       is not a finite number  1m 35s  -                    -     not Atalaya  1h 2m
";
    assert_eq!(text(fleet(), 1_000), expected);
}

#[test]
fn fleet_status_shows_outputs_with_their_problems_and_outboxes_of_removed_ones() {
    let mut fleet = fleet();
    let state = OutputState {
        name: "alarm".into(),
        waiting: 13,
        oldest: Some(timestamp(NOW - 70_000)),
        delivered: Some(Delivered { cycle: 790, time: timestamp(NOW - 72_000) }),
        problem: Some("it answers 503\u{1b}[2J".into()),
    };
    let info = fleet.node_infos.get_mut("2").unwrap().as_mut().unwrap();
    info.leading.as_mut().unwrap().outputs =
        vec![state, OutputState { name: "mqtt".into(), ..OutputState::default() }];
    fleet.outputs =
        [("alarm", (14, 0)), ("mqtt", (0, 3)), ("old", (2, 0))].map(|(name, n)| (name.to_owned(), n)).into();
    let expected = "\
outputs   alarm: 14 waiting, 0 rejected, the oldest for 1m 10s; last accepted: cycle 790, 1m 12s ago
          it answers 503\u{fffd}[2J
          mqtt: 0 waiting, 3 rejected
          old: 2 waiting, 0 rejected; the leader does not have this output
";
    let table = text(fleet.clone(), 1_000);
    assert!(table.contains(expected), "{table}");
    let json = serde_json::to_value(status(fleet)).unwrap();
    assert_eq!((&json["outputs"][0]["used"], &json["outputs"][2]["used"]), (&true.into(), &false.into()));
    assert_eq!(serde_json::to_value(status(self::fleet())).unwrap().get("outputs"), None);
}

#[test]
fn fleet_status_shows_znodes_of_the_wrong_type_with_their_remedies() {
    use atalaya_recipes::{WrongZnode, ZnodeProblem};
    let contender = "/election/0123456789abcdef0123456789abcdef__lock__0000000000";
    let mut wrong_znodes = vec![WrongZnode::new("/barrier", ZnodeProblem::HasChildren)];
    wrong_znodes.extend((0..100).map(|_| WrongZnode::new(contender, ZnodeProblem::NotEphemeral)));
    let blocked = RawFleet { wrong_znodes, ..fleet() };
    let json = serde_json::to_value(status(blocked.clone())).unwrap();
    assert_eq!(json["wrong_znodes"][0]["problem"], "has_children");
    assert_eq!(json["wrong_znodes"][1]["path"], contender);
    assert_eq!(json["more_wrong_znodes"], 101 - MAX_WRONG_ZNODES);
    let table = text(blocked, 10);
    assert!(
        table.contains("wrong type /barrier has children") && table.contains("atalaya inspect /barrier"),
        "{table}"
    );
    assert!(table.contains(&format!("zkCli.sh deleteall {contender}\n")), "{table}");
    assert!(!text(fleet(), 10).contains("wrong type"));
    // There are neither measurements nor contenders, but the barrier is blocked.
    let wrong_znodes = vec![WrongZnode::new("/barrier", ZnodeProblem::HasChildren)];
    assert!(text(RawFleet { wrong_znodes, ..RawFleet::default() }, 10).contains("wrong type /barrier"));
}

#[test]
fn fleet_status_shows_groups_outliers_and_withheld_values() {
    let mut fleet = fleet();
    let findings = r#"{"withheld":[{"unit":"%RH","value":40.0,"nodes":1,"needed":3}],
        "outliers":[{"node":"10","value":78.0},{"node":"12\u0007","unit":"Cel","value":-3.25}],"more_outliers":2,
        "groups":[{"group":"cellar","unit":"Cel","value":12.5,"min":12.0,"max":13.0,"count":2},
                  {"group":"roof","unit":"Cel","value":41.0,"min":40.0,"max":42.0,"count":3}]}"#;
    let info = fleet.node_infos.get_mut("2").unwrap().as_mut().unwrap();
    info.group = Some("roof".to_owned());
    info.leading.as_mut().unwrap().findings = serde_json::from_str(findings).unwrap();
    let json = serde_json::to_value(status(fleet.clone())).unwrap();
    assert_eq!((&json["nodes"][0]["group"], &json["groups"][1]["value"]), (&"roof".into(), &41.0.into()));
    assert_eq!((&json["withheld"][0]["needed"], &json["more_outliers"]), (&3.into(), &2.into()));
    let table = text(fleet, 10);
    let expected = "\
withheld  40 %RH (count 1, 3 needed)
outliers  10 (78), 12� (-3.25 Cel), 2 more
groups    cellar: 12.5 Cel (count 2)
          roof: 41 Cel (count 3)
nodes     4:";
    assert!(table.contains(expected), "{table}");
    assert!(table.contains("\n2 (leader, roof)  21.5 Cel"), "{table}");
}

#[test]
fn fleet_table_is_cut_after_the_maximum_number_of_nodes() {
    let table = text(fleet(), 2);
    assert!(
        table.contains("\n10 ") && !table.contains("\n11 ") && table.ends_with("\nand 2 more\n"),
        "{table}"
    );
}

#[test]
fn fleet_status_is_serialised_for_programs() {
    let json = serde_json::to_value(status(fleet())).unwrap();
    assert_eq!(json["leader"]["id"], "2");
    assert_eq!(json["leader"]["since"], "2025-12-31T23:56:48Z");
    assert_eq!((&json["epoch"], &json["cycle"]), (&9.into(), &812.into()));
    assert_eq!((&json["waiting"], &json["aside"]), (&1.into(), &2.into()));
    assert_eq!(json["delivered"]["cycle"], 811);
    assert_eq!(json["sampling_period"], 2.5);
    let nodes = json["nodes"].as_array().unwrap();
    assert_eq!(nodes[0]["readings"][0], serde_json::json!({"value": 21.5, "unit": "Cel"}));
    assert_eq!((&nodes[0]["leads"], &nodes[0]["age"]), (&true.into(), &1.2.into()));
    assert_eq!(nodes[0]["failing"][0]["health"], "absent");
    assert_eq!((&nodes[3]["id"], &nodes[3]["atalaya"]), (&"kazoo".into(), &false.into()));
    assert!(nodes[3]["problem"].is_string() && nodes[3].get("host").is_none());
}

#[test]
fn fleet_table_says_that_no_fleet_was_found() {
    let table = text(RawFleet::default(), 10);
    assert!(table.contains("no fleet found"), "{table}");
}

#[test]
fn fleet_status_names_nodes_on_standby() {
    let mut fleet = fleet();
    for id in ["2", "10"] {
        // The info of the leader is older than its leadership.
        fleet.node_infos.get_mut(id).unwrap().as_mut().unwrap().standby = true;
    }
    let json = serde_json::to_value(status(fleet.clone())).unwrap();
    assert_eq!((json["nodes"][0].get("standby"), &json["nodes"][1]["standby"]), (None, &true.into()));
    let table = text(fleet, 10);
    for part in [", 1 not Atalaya, 1 on standby\n", "\n2 (leader)  ", "\n10 (standby)  "] {
        assert!(table.contains(part), "no {part:?} in {table}");
    }
}

#[test]
fn fleet_status_ignores_the_node_info_of_an_earlier_leader_with_the_same_id() {
    let fleet = RawFleet { fence: Some(Fence { epoch: 10, cycle: 813, skipped: None }), ..fleet() };
    let status = status(fleet.clone());
    assert_eq!((status.leader.as_ref().unwrap().since, &status.delivered), (None, &None));
    let table = text(fleet, 10);
    assert!(table.contains("leader    2, contender for 1d 0h; 2 more contenders"), "{table}");
}

#[test]
fn fleet_table_has_colours_on_request_and_fits_the_terminal() {
    let lines = render_table(&status(fleet()), 10);
    assert!(render_lines(&lines, true).contains("\x1b[31mis not a finite number"));
    assert!(!render_lines(&lines, false).contains('\x1b'));
    for width in [0, 1, 20, 79] {
        for line in &lines {
            assert!(line.render(width, false).chars().count() <= width);
        }
    }
}

proptest! {
    #[test]
    fn fleet_status_of_any_data_is_bounded_and_has_no_control_characters(
        id in ".{1,200}",
        data in prop::collection::vec(any::<u8>(), 0..300),
        info in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            "[\u{0}-\u{9f}]{0,300}".prop_map(|text| {
                let info = NodeInfo { host: text.clone(), version: text.clone(), ..NodeInfo::new(&text) };
                info.to_json()
            }),
        ],
        times in (any::<i64>(), any::<i64>(), any::<i64>()),
    ) {
        let (created, modified, now) = times;
        let measurement = RawMeasurement::parse(&data, &stat(created, modified));
        let fleet = RawFleet {
            leader: Some((id.clone(), created)),
            contenders: 1,
            measurements: BTreeMap::from([(id.clone(), measurement)]),
            node_infos: BTreeMap::from([(id, parse_node_info(&info))]),
            ..RawFleet::default()
        };
        let status = FleetStatus::new("zk".into(), fleet, now);
        prop_assert!(status.nodes.iter().all(|node| node.age.unwrap() >= 0.0));
        prop_assert!(serde_json::to_string(&status).is_ok());
        for line in render_table(&status, 10) {
            let text = line.render(usize::MAX, false);
            prop_assert!(text.chars().count() < 600 && !text.chars().any(char::is_control), "{:?}", text);
        }
    }
}
