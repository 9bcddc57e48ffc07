use proptest::prelude::*;

use super::*;
use crate::model::health_status::HealthStatus;
use crate::model::leader_state::LeaderState;
use crate::model::node_info::SensorStatus;

const NOW: Millis = 1_767_225_600_000;

pub(crate) fn stat(made: Millis, written: Millis) -> Stat {
    Stat {
        czxid: 1,
        mzxid: 1,
        pzxid: 1,
        ctime: made,
        mtime: written,
        version: 0,
        cversion: 0,
        aversion: 0,
        ephemeral_owner: 7,
        data_length: 0,
        num_children: 0,
    }
}

fn says(host: &str, states: &[(&str, SensorState)], leading: Option<LeaderState>) -> Said {
    let sensor = |(name, state): &(&str, SensorState)| SensorStatus {
        name: (*name).to_owned(),
        chip: "lm75".into(),
        bus: None,
        address: None,
        quantities: Vec::new(),
        health: HealthStatus { state: *state, ..HealthStatus::default() },
    };
    let presence = NodeInfo {
        host: host.to_owned(),
        pid: 7,
        version: "0.1.0".into(),
        sensors: states.iter().map(sensor).collect(),
        leading,
        ..NodeInfo::new("b")
    };
    Said::of(&presence.to_json())
}

/// Two nodes of Atalaya, one of Kazoo, and one that only says who it is.
fn seen() -> Seen {
    let measured = |data: &[u8], age| Measurement::of(data, &stat(NOW - 3_720_000, NOW - age));
    let leading = LeaderState {
        epoch: 9,
        cycle: 812,
        since: moment(NOW - 192_000),
        waiting: 1,
        delivered: Some(Delivered { cycle: 811, time: moment(NOW - 400) }),
        outranked: None,
    };
    let pack = br#"[{"n":"t","u":"Cel","v":21.5},{"n":"h","u":"%RH","v":40.0}]"#;
    Seen {
        leader: Some(("2".into(), NOW - 86_400_000)),
        in_line: 3,
        term: Some(Fence { epoch: 9, cycle: 812, skipped: None }),
        waiting: 1,
        aside: 2,
        period: Some(Duration::from_millis(2_500)),
        measurements: [
            ("10", measured(b"78", 300)),
            ("2", measured(pack, 1_200)),
            ("kazoo", measured(b"NaN", 95_000)),
        ]
        .map(|(id, measurement)| (id.to_owned(), measurement))
        .into(),
        presences: [
            ("2", says("pi2", &[("air", SensorState::Ok), ("sky", SensorState::Absent)], Some(leading))),
            ("10", says("pi10", &[("s", SensorState::Ok)], None)),
            ("11", says("pi11", &[("s", SensorState::Failing)], None)),
        ]
        .map(|(id, said)| (id.to_owned(), said))
        .into(),
        wrong: Vec::new(),
        newest: NOW,
    }
}

fn overview(seen: Seen) -> FleetStatus {
    FleetStatus::of("zk1:2181,zk2:2181/fleet".into(), seen, NOW)
}

#[test]
fn a_fleet_for_people() {
    let expected = "\
fleet     zk1:2181,zk2:2181/fleet
leader    2 for 3m 12s; 2 more in line
cycle     812 (epoch 9)
reports   1 waiting, 2 set aside; cycle 811 was the last that was accepted, 0.4s ago
period    2.5s, as /config/sampling_period tells
nodes     4, 2 with sensors that cannot be read, 1 with a measurement that is none, 1 without a measurement, 1 of another kind

node     measured                age     sensors              host  version      for
2 leads  21.5 Cel, 40 %RH        1.2s    sky absent (1 of 2)  pi2   0.1.0        1h 2m
10       78                      0.3s    ok                   pi10  0.1.0        1h 2m
11       nothing                 -       s failing            pi11  0.1.0        -
kazoo    is not a finite number  1m 35s  -                    -     not Atalaya  1h 2m
";
    assert_eq!(block(&table(&overview(seen()), 1_000), false), expected);
}

#[test]
fn znodes_of_the_wrong_type_are_shown_with_their_remedies() {
    use atalaya_recipes::{WrongZnode, ZnodeProblem};
    let squatter = "/election/0123456789abcdef0123456789abcdef__lock__0000000000";
    let mut wrong = vec![WrongZnode::new("/barrier", ZnodeProblem::HasChildren)];
    wrong.extend((0..100).map(|_| WrongZnode::new(squatter, ZnodeProblem::NotEphemeral)));
    let fleet = overview(Seen { wrong, ..seen() });
    let json = serde_json::to_value(&fleet).unwrap();
    assert_eq!(json["wrong_znodes"][0]["problem"], "has_children");
    assert_eq!(json["wrong_znodes"][1]["path"], squatter);
    assert_eq!(json["more_wrong_znodes"], 101 - MOST_WRONG);
    let text = block(&table(&fleet, 10), false);
    assert!(
        text.contains("wrong type /barrier has children") && text.contains("atalaya inspect /barrier"),
        "{text}"
    );
    assert!(text.contains(&format!("zkCli.sh deleteall {squatter}\n")), "{text}");
    assert!(!block(&table(&overview(seen()), 10), false).contains("wrong type"));
    // Nobody measures or stands in line, but the barrier is blocked.
    let only =
        Seen { wrong: vec![WrongZnode::new("/barrier", ZnodeProblem::HasChildren)], ..Seen::default() };
    assert!(block(&table(&overview(only), 10), false).contains("wrong type /barrier"));
}

#[test]
fn a_long_list_is_cut_and_says_so() {
    let text = block(&table(&overview(seen()), 2), false);
    assert!(text.contains("\n10 ") && !text.contains("\n11 ") && text.ends_with("\nand 2 more\n"), "{text}");
}

#[test]
fn a_fleet_for_programs() {
    let json = serde_json::to_value(overview(seen())).unwrap();
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
fn where_there_is_no_fleet_it_says_so() {
    let text = block(&table(&overview(Seen::default()), 10), false);
    assert!(text.contains("there is no fleet here"), "{text}");
}

#[test]
fn what_an_earlier_leader_of_the_same_name_said_does_not_count() {
    let mut seen = seen();
    seen.term = Some(Fence { epoch: 10, cycle: 813, skipped: None });
    let overview = overview(seen);
    assert_eq!((overview.leader.as_ref().unwrap().since, &overview.delivered), (None, &None));
    let text = block(&table(&overview, 10), false);
    assert!(text.contains("leader    2, in line for 1d 0h; 2 more in line"), "{text}");
}

#[test]
fn colours_only_where_they_are_wanted_and_no_line_is_wider_than_the_terminal() {
    let lines = table(&overview(seen()), 10);
    assert!(block(&lines, true).contains("\x1b[31mis not a finite number"));
    assert!(!block(&lines, false).contains('\x1b'));
    for width in [0, 1, 20, 79] {
        for line in &lines {
            assert!(line.text(width, false).chars().count() <= width);
        }
    }
}

proptest! {
    #[test]
    fn whatever_stands_there_is_shown_in_bounds_and_without_control_characters(
        id in ".{1,200}",
        data in prop::collection::vec(any::<u8>(), 0..300),
        said in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..300),
            "[\u{0}-\u{9f}]{0,300}".prop_map(|text| {
                let presence = NodeInfo { host: text.clone(), version: text.clone(), ..NodeInfo::new(&text) };
                presence.to_json()
            }),
        ],
        times in (any::<i64>(), any::<i64>(), any::<i64>()),
    ) {
        let (made, written, now) = times;
        let seen = Seen {
            leader: Some((id.clone(), made)),
            in_line: 1,
            measurements: BTreeMap::from([(id.clone(), Measurement::of(&data, &stat(made, written)))]),
            presences: BTreeMap::from([(id, Said::of(&said))]),
            ..Seen::default()
        };
        let overview = FleetStatus::of("zk".into(), seen, now);
        prop_assert!(overview.nodes.iter().all(|node| node.age.unwrap() >= 0.0));
        prop_assert!(serde_json::to_string(&overview).is_ok());
        for line in table(&overview, 10) {
            let text = line.text(usize::MAX, false);
            prop_assert!(text.chars().count() < 600 && !text.chars().any(char::is_control), "{:?}", text);
        }
    }
}
