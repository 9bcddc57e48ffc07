use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::node_info::tests::sensor;

const SECOND: Duration = Duration::from_secs(1);
const NODE: &str = "homeassistant/device/atalaya__home__n1/config";
const AVERAGES: &str = "homeassistant/device/atalaya_averages__home/config";

fn announcer() -> Announcer {
    Announcer::new("homeassistant", "home", "n1", Topics::new("atalaya", "home", "n1"))
}

fn sensors(names: &[&str]) -> Vec<SensorStatus> {
    names.iter().map(|name| sensor(name, "file", &["power"])).collect()
}

/// Returns topic and keys of components of messages; those that are removed with a `-`.
fn summary(messages: &[Message]) -> Vec<String> {
    let summary = |message: &Message| {
        let value: Value = serde_json::from_slice(&message.payload).unwrap();
        let components = value["cmps"].as_object().unwrap().iter();
        let mut keys: Vec<(&String, String)> = components
            .map(|(key, component)| match component.as_object().unwrap().len() {
                1 => (key, format!("-{key}")),
                _ => (key, key.clone()),
            })
            .collect();
        keys.sort();
        let keys: Vec<String> = keys.into_iter().map(|(_, shown)| shown).collect();
        format!("{} {}", if message.topic == NODE { "node" } else { "averages" }, keys.join(" "))
    };
    messages.iter().map(summary).collect()
}

fn connect(announcer: &mut Announcer, now: Instant) {
    announcer.on_connected(now);
    assert_eq!(announcer.due(now), []);
}

#[test]
fn node_is_announced_once_if_the_broker_has_no_announcement() {
    let (mut announcer, now) = (announcer(), Instant::now());
    announcer.set_sensors(&sensors(&["a", "b"]));
    connect(&mut announcer, now);
    assert_eq!(announcer.next(), Some(now + COMPARE_TIMEOUT));
    let messages = announcer.due(now + COMPARE_TIMEOUT);
    assert_eq!(summary(&messages), ["node a__power b__power"]);
    assert_eq!(announcer.due(now + COMPARE_TIMEOUT), []);
    assert_eq!(announcer.next(), None);
    // The same announcement is not repeated after the next connect.
    connect(&mut announcer, now + 9 * SECOND);
    announcer.on_message(NODE, &messages[0].payload, true, now + 9 * SECOND, 0);
    assert_eq!(announcer.due(now + 20 * SECOND), []);
    // A broker that has lost everything gets it again.
    connect(&mut announcer, now + 30 * SECOND);
    assert_eq!(announcer.due(now + 33 * SECOND), messages);
}

#[test]
fn sensor_that_boards_toml_no_longer_has_is_removed() {
    let (mut announcer, now) = (announcer(), Instant::now());
    announcer.set_sensors(&sensors(&["a", "b"]));
    connect(&mut announcer, now);
    let before = announcer.due(now + COMPARE_TIMEOUT);
    // Another process, whose boards.toml has no `a`.
    let mut announcer = self::announcer();
    connect(&mut announcer, now);
    announcer.on_message(NODE, &before[0].payload, true, now, 0);
    // The sensors are not known yet.
    announcer.set_sensors(&[]);
    assert_eq!(announcer.due(now + 60 * SECOND), []);
    announcer.set_sensors(&sensors(&["b"]));
    assert_eq!(summary(&announcer.due(now + 60 * SECOND)), ["node -a__power b__power", "node b__power"]);
    // The same after a reload, without a new connection.
    announcer.set_sensors(&sensors(&["c"]));
    assert_eq!(summary(&announcer.due(now + 61 * SECOND)), ["node -b__power c__power", "node c__power"]);
}

#[test]
fn only_the_first_retained_announcement_of_a_connection_is_compared() {
    let (mut announcer, now) = (announcer(), Instant::now());
    announcer.set_sensors(&sensors(&["a"]));
    connect(&mut announcer, now);
    let foreign = json!({ "cmps": { "x": { "p": "sensor", "name": "x" } } }).to_string();
    announcer.on_message(NODE, foreign.as_bytes(), false, now, 0);
    assert_eq!(announcer.due(now), []);
    announcer.on_message(NODE, foreign.as_bytes(), true, now, 0);
    assert_eq!(summary(&announcer.due(now)), ["node a__power -x", "node a__power"]);
    for is_retained in [true, false] {
        announcer.on_message(NODE, foreign.as_bytes(), is_retained, now, 0);
        assert_eq!(announcer.due(now + 60 * SECOND), []);
    }
}

#[test]
fn birth_message_repeats_all_announcements_after_a_random_delay() {
    let (mut announcer, now) = (announcer(), Instant::now());
    announcer.set_sensors(&sensors(&["a"]));
    assert!(announcer.note_average(Some("Cel"), now));
    connect(&mut announcer, now);
    assert_eq!(announcer.due(now + COMPARE_TIMEOUT).len(), 2);
    let birth = now + 10 * SECOND;
    announcer.on_message("homeassistant/status", b"offline", false, birth, 0);
    assert_eq!(announcer.next(), None);
    announcer.on_message("homeassistant/status", b"online", false, birth, 5_000);
    // Further birth messages do not delay the answer.
    announcer.on_message("homeassistant/status", b"online", false, birth + SECOND, 20_000);
    let due = birth + 6 * SECOND;
    assert_eq!(announcer.next(), Some(due));
    assert_eq!(announcer.due(due - Duration::from_millis(1)), []);
    assert_eq!(summary(&announcer.due(due)), ["node a__power", "averages unit__Cel"]);
    assert_eq!((announcer.due(due + 60 * SECOND), announcer.next()), (vec![], None));
}

#[test]
fn averages_of_other_leaders_stay_announced() {
    let (mut first, mut second, now) = (announcer(), announcer(), Instant::now());
    assert!(first.note_average(Some("Cel"), now) && first.note_average(Some("lx"), now));
    assert!(!first.note_average(Some("Cel"), now));
    connect(&mut first, now);
    let messages = first.due(now + COMPARE_TIMEOUT);
    assert_eq!(summary(&messages), ["averages unit__Cel unit__lx"]);
    // The second leader has not seen `lx` yet, and adds `V`.
    second.note_average(Some("Cel"), now);
    second.note_average(Some("V"), now);
    connect(&mut second, now);
    second.on_message(AVERAGES, &messages[0].payload, true, now, 0);
    let messages = second.due(now);
    assert_eq!(summary(&messages), ["averages unit__Cel unit__V unit__lx"]);
    // The first leader receives that, and does not answer.
    first.on_message(AVERAGES, &messages[0].payload, false, now, 0);
    assert_eq!(first.due(now + 60 * SECOND), []);
    // When it leads again, it knows the averages of the second one.
    assert!(first.note_average(None, now + 60 * SECOND));
    let messages = first.due(now + 60 * SECOND);
    assert_eq!(summary(&messages), ["averages number unit__Cel unit__V unit__lx"]);
}

#[test]
fn average_is_removed_after_a_day_of_one_leader_without_it() {
    let (mut announcer, start) = (announcer(), Instant::now());
    announcer.note_average(Some("Cel"), start);
    announcer.note_average(Some("lx"), start);
    connect(&mut announcer, start);
    assert_eq!(announcer.due(start + COMPARE_TIMEOUT).len(), 1);
    let quarter = Duration::from_secs(900);
    let steps = u32::try_from(AVERAGE_LIFETIME.as_secs() / quarter.as_secs()).unwrap();
    for step in 1..steps {
        assert!(!announcer.note_average(Some("Cel"), start + step * quarter));
    }
    assert!(announcer.note_average(Some("Cel"), start + steps * quarter));
    let messages = announcer.due(start + steps * quarter);
    assert_eq!(summary(&messages), ["averages unit__Cel -unit__lx", "averages unit__Cel"]);
    // A node that has not led for a day keeps all averages.
    announcer.note_average(Some("lx"), start + steps * quarter);
    assert!(!announcer.note_average(Some("Cel"), start + 3 * steps * quarter));
    // A leader that receives a removal does not announce the average again.
    let mut other = self::announcer();
    other.note_average(Some("Cel"), start);
    connect(&mut other, start);
    other.on_message(AVERAGES, &messages[0].payload, true, start, 0);
    assert_eq!(summary(&other.due(start)).last().map(String::as_str), Some("averages unit__Cel"));
}

#[test]
fn hostile_announcement_of_averages_adds_a_bounded_number_of_own_components() {
    let (mut announcer, now) = (announcer(), Instant::now());
    announcer.note_average(Some("Cel"), now);
    connect(&mut announcer, now);
    let many: serde_json::Map<String, Value> = (0..2_000)
        .map(|i| (format!("unit__u{i}"), json!({ "p": "sensor", "state_topic": "elsewhere" })))
        .collect();
    announcer.on_message(AVERAGES, json!({ "cmps": many }).to_string().as_bytes(), true, now, 0);
    let messages = announcer.due(now);
    let last: Value = serde_json::from_slice(&messages.last().unwrap().payload).unwrap();
    assert!(last["cmps"].as_object().unwrap().len() <= MAX_COMPONENTS);
    assert!(!last.to_string().contains("elsewhere"));
}

proptest! {
    #[test]
    fn delay_after_a_birth_message_is_1_to_30_seconds(random in any::<u64>()) {
        prop_assert!((SECOND..=30 * SECOND).contains(&repeat_delay(random)));
    }
}
