//! Home Assistant's discovery with a real broker.

use super::*;

#[test]
fn birth_message_of_home_assistant_is_answered_within_30_seconds() {
    let server = Mosquitto::start();
    let subscriber = MqttClient::subscribe(server.port(), "homeassistant/#");
    let runtime = multi_thread();
    let output = output_to(&server.url(), "5");
    let _entered = runtime.enter();
    output.connect(sensors(&["a"]));
    subscriber.wait_for(NODE, LONG, |_| true);
    subscriber.publish("homeassistant/status", "online", false);
    let asked = Instant::now();
    atalaya_testbed::eventually("the second announcement", LONG, || {
        (subscriber.of(NODE).len() > 1).then_some(())
    });
    let after = asked.elapsed();
    assert!(after > Duration::from_millis(900), "{after:?}");
    assert_eq!(subscriber.of(NODE)[0].payload, subscriber.of(NODE)[1].payload);
}

#[test]
fn removed_sensor_is_removed_from_home_assistant_by_the_next_process() {
    for version in VERSIONS {
        let server = Mosquitto::start();
        let subscriber = MqttClient::subscribe(server.port(), NODE);
        let runtime = multi_thread();
        let _entered = runtime.enter();
        let first = output_to(&server.url(), version);
        first.connect(sensors(&["a", "b"]));
        subscriber.wait_for(NODE, LONG, |message| message.json()["cmps"]["b__temperature"].is_object());
        drop(first);
        let second = output_to(&server.url(), version);
        second.connect(sensors(&["a"]));
        let components = |count: usize| {
            move |message: &MqttMessage| {
                message.json()["cmps"].as_object().is_some_and(|all| all.len() == count)
            }
        };
        let removal = subscriber.wait_for(NODE, LONG, |message| {
            message.json()["cmps"]["b__temperature"] == serde_json::json!({ "p": "sensor" })
        });
        assert!(removal.json()["cmps"]["a__temperature"]["state_topic"].is_string());
        subscriber.wait_for(NODE, LONG, components(1));
        assert_eq!(subscriber.of(NODE).len(), 3);
        let late = MqttClient::subscribe(server.port(), NODE);
        late.wait_for(NODE, LONG, components(1));
    }
}

#[test]
fn hostile_announcements_do_not_stop_the_records() {
    for version in VERSIONS {
        let server = Mosquitto::start();
        let subscriber = MqttClient::subscribe(server.port(), "#");
        // Larger than the node accepts, and not an announcement.
        subscriber.publish(NODE, vec![b'x'; 3 << 20], true);
        subscriber.publish(AVERAGES, "[[[[", true);
        subscriber.wait_for(AVERAGES, LONG, |_| true);
        let runtime = multi_thread();
        let output = output_to(&server.url(), version);
        runtime.block_on(async {
            output.connect(sensors(&["a"]));
            deliver(&output, &batch(0..10)).await;
            output.send_report(&report(1), TIMEOUT).await;
        });
        subscriber.wait_for(NODE, LONG, |message| message.json()["cmps"]["a__temperature"].is_object());
        subscriber.wait_for(AVERAGES, LONG, |message| message.json()["cmps"]["unit__Cel"].is_object());
    }
}

#[test]
fn discovery_can_be_switched_off() {
    let server = Mosquitto::start();
    let subscriber = MqttClient::subscribe(server.port(), "#");
    let output = output(&format!("url = \"{}\"\ndiscovery = false", server.url())).unwrap();
    multi_thread().block_on(async {
        output.connect(sensors(&["a"]));
        deliver(&output, &batch(0..2)).await;
    });
    subscriber.wait_for(TOPIC, LONG, |message| message.json()["seq"] == 1);
    let topics: Vec<_> = subscriber.messages().into_iter().map(|message| message.topic).collect();
    assert!(topics.iter().all(|topic| topic.starts_with("atalaya/")), "{topics:?}");
}
