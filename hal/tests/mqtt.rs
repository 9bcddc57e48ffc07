//! Reads numbers from a real MQTT broker, Mosquitto, and from one that does not keep to the protocol.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests are tests too")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use atalaya_hal::mqtt::MAX_PAYLOAD;
use atalaya_hal::{BrokerUrl, Bus, BusAddress, Cause, Chip, MqttTopic, Quantity, Sensor, SensorSpec, linux};
use atalaya_testbed::{Mosquitto, Scratch, eventually, make_certificate};

const DEADLINE: Duration = Duration::from_secs(60);

fn topic(url: &str, topic: &str) -> MqttTopic {
    MqttTopic {
        broker: BrokerUrl::parse(url).unwrap(),
        topic: topic.to_owned(),
        pointer: None,
        max_age: Duration::from_secs(3600),
        user: None,
        password_file: None,
        ca: None,
    }
}

fn at(url: &str, name: &str, pointer: &str) -> MqttTopic {
    MqttTopic { pointer: Some(pointer.to_owned()), ..topic(url, name) }
}

/// Opens one sensor for each topic; all brokers are the same.
fn open(topics: impl IntoIterator<Item = MqttTopic>) -> Bus {
    let spec = |(index, topic): (usize, MqttTopic)| SensorSpec {
        quantities: vec![Quantity::Temperature],
        ..SensorSpec::new(format!("s{index}"), Chip::Mqtt, BusAddress::Mqtt(topic))
    };
    let specs: Vec<SensorSpec> = topics.into_iter().enumerate().map(spec).collect();
    let mut buses = linux::open(&specs, "").unwrap();
    assert_eq!(buses.len(), 1);
    buses.remove(0)
}

fn value(sensor: &mut Box<dyn Sensor>) -> Result<f64, String> {
    sensor.read().map(|readings| readings[0].value()).map_err(|error| error.to_string())
}

#[track_caller]
fn wait_for_value(sensor: &mut Box<dyn Sensor>, want: f64) {
    eventually(&format!("{} reads {want}", sensor.info().name), DEADLINE, || {
        (value(sensor) == Ok(want)).then_some(())
    });
}

#[track_caller]
fn wait_for_error(sensor: &mut Box<dyn Sensor>, want: &str) -> String {
    eventually(&format!("{} fails: {want}", sensor.info().name), DEADLINE, || {
        value(sensor).err().filter(|error| error.contains(want))
    })
}

/// Number of connections of sensors since the start of the broker.
fn connections(broker: &Mosquitto) -> usize {
    broker.count_lines(" as atalaya")
}

#[test]
fn messages_of_esphome_tasmota_and_zigbee2mqtt_are_read() {
    let broker = Mosquitto::start();
    let url = &broker.url();
    let tasmota =
        r#"{"Time":"2026-11-30T06:00:00","SI7021":{"Temperature":21.4,"Humidity":"48.9"},"TempUnit":"C"}"#;
    let zigbee =
        r#"{"battery":97,"humidity":45.31,"linkquality":87,"temperature":-3.84,"update":{"state":"idle"}}"#;
    broker.publish("kitchen/sensor/temperature/state", "21.7", true);
    broker.publish("tele/attic/SENSOR", tasmota, true);
    broker.publish("zigbee2mqtt/0x00158d0001", zigbee, true);
    broker.publish("shelly/0/Überlauf", " 12.5\n", true);
    let mut bus = open([
        topic(url, "kitchen/sensor/temperature/state"),
        at(url, "tele/attic/SENSOR", "/SI7021/Temperature"),
        at(url, "tele/attic/SENSOR", "/SI7021/Humidity"),
        at(url, "zigbee2mqtt/0x00158d0001", "/temperature"),
        topic(url, "shelly/0/Überlauf"),
        at(url, "zigbee2mqtt/0x00158d0001", "/update/state"),
        at(url, "zigbee2mqtt/0x00158d0001", "/Temperature"),
    ]);
    for (sensor, want) in bus.sensors.iter_mut().zip([21.7, 21.4, 48.9, -3.84, 12.5]) {
        wait_for_value(sensor, want);
    }
    wait_for_error(&mut bus.sensors[5], "the value at /update/state is `idle` is not one number");
    wait_for_error(&mut bus.sensors[6], "the message has no /Temperature");
    // Later messages replace the retained ones.
    for number in [22.0, 22.5] {
        broker.publish("kitchen/sensor/temperature/state", number.to_string(), false);
        wait_for_value(&mut bus.sensors[0], number);
    }
    // A read does not consume the message.
    assert_eq!(value(&mut bus.sensors[0]), Ok(22.5));
    assert_eq!(connections(&broker), 1);
}

#[test]
fn a_hundred_sensors_share_one_connection_which_ends_with_them() {
    let broker = Mosquitto::start();
    let url = broker.url();
    let mut bus = open((0..100).map(|index| topic(&url, &format!("fleet/{index}"))));
    assert_eq!(bus.name, url);
    let _ = value(&mut bus.sensors[0]);
    for index in 0..100 {
        broker.publish(&format!("fleet/{index}"), index.to_string(), true);
    }
    for (index, sensor) in bus.sensors.iter_mut().enumerate() {
        wait_for_value(sensor, index as f64);
    }
    assert_eq!(connections(&broker), 1);
    drop(bus);
    broker.wait_for_line("Client atalaya");
}

#[test]
fn after_a_restart_of_the_broker_new_messages_are_read() {
    let mut broker = Mosquitto::start();
    let short = MqttTopic { max_age: Duration::from_millis(500), ..topic(&broker.url(), "short") };
    let mut bus = open([topic(&broker.url(), "long"), short]);
    for name in ["long", "short"] {
        broker.publish(name, "1", true);
    }
    wait_for_value(&mut bus.sensors[0], 1.0);
    broker.kill();
    // A value is returned until its maximum age, without a broker, too.
    let error = wait_for_error(&mut bus.sensors[1], "nothing to read at short on mqtt://127.0.0.1:");
    assert!(error.contains("cannot connect: ") || error.contains("the connection ended: "), "{error}");
    assert_eq!(value(&mut bus.sensors[0]), Ok(1.0));
    broker.restart();
    wait_for_error(&mut bus.sensors[1], "cannot read short on");
    broker.publish("long", "2", true);
    broker.publish("short", "3", false);
    wait_for_value(&mut bus.sensors[0], 2.0);
    eventually("short is read again", DEADLINE, || {
        broker.publish("short", "3", false);
        (value(&mut bus.sensors[1]) == Ok(3.0)).then_some(())
    });
}

#[test]
fn a_silent_sensor_fails_after_its_maximum_age() {
    let broker = Mosquitto::start();
    let quick = MqttTopic { max_age: Duration::from_millis(300), ..topic(&broker.url(), "a") };
    let mut bus = open([quick, topic(&broker.url(), "a"), topic(&broker.url(), "never")]);
    broker.publish("a", "5", true);
    wait_for_value(&mut bus.sensors[1], 5.0);
    let error = wait_for_error(&mut bus.sensors[0], "no message for longer than 300ms");
    assert_eq!(error, format!("cannot read a on {}: no message for longer than 300ms", broker.url()));
    wait_for_error(&mut bus.sensors[2], "no message since the connection began");
    assert_eq!(value(&mut bus.sensors[1]), Ok(5.0));
    eventually("the sensor is read again", DEADLINE, || {
        broker.publish("a", "6", false);
        (value(&mut bus.sensors[0]) == Ok(6.0)).then_some(())
    });
}

#[test]
fn hostile_messages_are_errors_of_their_sensor_alone() {
    let broker = Mosquitto::start();
    let url = &broker.url();
    let mut bus = open([topic(url, "good"), topic(url, "bad"), at(url, "bad", "/v")]);
    broker.publish("good", "1", true);
    wait_for_value(&mut bus.sensors[0], 1.0);
    let deep = "[".repeat(MAX_PAYLOAD - 1);
    let long = "1".repeat(MAX_PAYLOAD + 1);
    let [megabyte, huge] = [vec![b'1'; 1 << 20], vec![0xff; 20 << 20]];
    let messages: [(&[u8], &str, &str); 9] = [
        (b"", "empty, where a number should be", "is not JSON"),
        (b"NaN", "`NaN` is no finite number", "is not JSON"),
        (b"\x00\x1b[2J", "is not one number", "is not JSON"),
        (b"{\"v\":{\"v\":1}}", "is not one number", "the value at /v is an object"),
        (b"{\"v\":true}", "is not one number", "the value at /v is true"),
        (deep.as_bytes(), "is not one number", "recursion limit exceeded"),
        (long.as_bytes(), "the message has more than 65536 bytes", "the message has more than 65536 bytes"),
        (&megabyte, "more than 65536 bytes", "more than 65536 bytes"),
        (&huge, "more than 65536 bytes", "more than 65536 bytes"),
    ];
    for (round, (message, plain, pointer)) in messages.into_iter().enumerate() {
        // The sensors recover from each message.
        broker.publish("bad", "{\"v\":7}", false);
        wait_for_value(&mut bus.sensors[2], 7.0);
        broker.publish("bad", message, true);
        let error = wait_for_error(&mut bus.sensors[1], plain);
        assert!(error.len() < 300 && !error.contains(char::is_control), "{error:?}");
        wait_for_error(&mut bus.sensors[2], pointer);
        broker.publish("good", round.to_string(), false);
        wait_for_value(&mut bus.sensors[0], round as f64);
    }
    assert_eq!(connections(&broker), 1);
    // A new connection receives the largest message, which is retained, at its start.
    let mut bus = open([topic(url, "bad"), topic(url, "good")]);
    wait_for_value(&mut bus.sensors[1], 1.0);
    wait_for_error(&mut bus.sensors[0], "more than 65536 bytes");
    assert_eq!(connections(&broker), 2);
}

#[test]
fn a_wrong_password_is_named_and_a_corrected_file_is_read() {
    let broker = Mosquitto::with_user("atalaya", "s3cret");
    let folder = Scratch::new("mqtt");
    let password_file = folder.write("password", "wrong\n");
    let with = |user: Option<&str>, file: Option<&PathBuf>| MqttTopic {
        user: user.map(str::to_owned),
        password_file: file.cloned(),
        ..topic(&broker.url(), "a")
    };
    let absent = folder.path().join("absent");
    let mut bus = open([
        with(None, None),
        with(Some("atalaya"), Some(&password_file)),
        with(Some("nobody"), Some(&password_file)),
        with(Some("atalaya"), Some(&absent)),
    ]);
    for sensor in &mut bus.sensors[..3] {
        wait_for_error(sensor, "the broker refuses the user or the password");
    }
    let error = bus.sensors[3].read().unwrap_err();
    assert_eq!(error.cause(), Cause::NotPresent);
    assert!(error.to_string().contains("absent cannot be read: No such file"), "{error}");
    broker.publish_as(Some(("atalaya", "s3cret")), "a", b"8", true);
    std::fs::write(&password_file, "s3cret\n").unwrap();
    wait_for_value(&mut bus.sensors[1], 8.0);
}

#[test]
fn certificates_of_the_broker_are_verified() {
    let [folder, other] = [Scratch::new("mqtt-tls"), Scratch::new("mqtt-tls")];
    let (certificate, key) = make_certificate(folder.path(), "127.0.0.1");
    let (other, _) = make_certificate(other.path(), "127.0.0.1");
    let broker = Mosquitto::with_tls(&certificate, &key);
    let url = broker.url().replace("mqtt:", "mqtts:");
    let with = |ca: Option<&PathBuf>| MqttTopic { ca: ca.cloned(), ..topic(&url, "a") };
    let plain = topic(&broker.url(), "a");
    let mut bus = open([with(Some(&certificate)), with(Some(&other)), with(None)]);
    wait_for_error(&mut bus.sensors[0], "no message since the connection began");
    wait_for_error(&mut bus.sensors[1], "certificate");
    wait_for_error(&mut bus.sensors[2], "certificate");
    // Without TLS, the broker ends the connection.
    wait_for_error(&mut open([plain]).sensors[0], "nothing to read at a on mqtt://");
}

#[test]
fn a_frozen_broker_delays_only_the_first_reads() {
    let mut broker = Mosquitto::start();
    broker.stop_process();
    let mut bus = open((0..50).map(|index| topic(&broker.url(), &format!("a/{index}"))));
    let start = Instant::now();
    for sensor in &mut bus.sensors {
        assert!(value(sensor).unwrap_err().contains("not connected yet"));
    }
    // One second for all of them, and time for a busy machine.
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    broker.continue_process();
    broker.publish("a/49", "49", true);
    wait_for_value(&mut bus.sensors[49], 49.0);
}

/// Starts a server that answers each connection with these bytes, after the first packet of the client.
fn fake_broker(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            thread::spawn(move || {
                let _ = stream.read(&mut [0; 1024]);
                let _ = stream.write_all(answer);
                // Until the client ends the connection.
                while stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0) {}
            });
        }
    });
    url
}

#[test]
fn refused_subscriptions_and_broken_brokers_are_named() {
    // CONNACK; SUBACK with failure for the packet identifier 1, and success for 2; PUBLISH "b" with "4".
    let url = fake_broker(b"\x20\x02\x00\x00\x90\x03\x00\x01\x80\x90\x03\x00\x02\x01\x30\x04\x00\x01b4");
    let mut bus = open([topic(&url, "a"), topic(&url, "b")]);
    wait_for_value(&mut bus.sensors[1], 4.0);
    wait_for_error(&mut bus.sensors[0], "the broker refuses the subscription");
    let broken: [&'static [u8]; 5] = [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x20\x02\x00\x03",
        b"\x20\x02\x00\x00\x30\x02\x00\xff",
        b"\x20\x02\x00\x00\xd0\xff\xff\xff\xff\xff\xff",
        b"\x20\x02\x00\x00\x32\xff\xff\xff\x7f\x00\x01a\x00\x00",
    ];
    for answer in broken {
        let url = fake_broker(answer);
        let mut bus = open([topic(&url, "a")]);
        let want = if answer.len() > 25 { "nothing to read at a on" } else { " a on mqtt://127.0.0.1:" };
        let error = wait_for_error(&mut bus.sensors[0], want);
        assert!(error.len() < 300 && !error.contains(char::is_control), "{error:?}");
    }
}
