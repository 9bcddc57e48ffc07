//! Invalid measurements and children that vanish are skipped and counted.

use std::time::Instant;

use crate::common::{DEADLINE, Fleet, bodies};

on_both!(
    invalid_measurements_are_skipped_counted_and_logged_once,
    measurements_that_vanish_between_list_and_read_do_not_stop_the_average
);

fn invalid_measurements_are_skipped_counted_and_logged_once(fleet: Fleet) {
    let probe = fleet.probe();
    let large = vec![b'7'; 900_000];
    let garbage: [(&str, &[u8]); 8] = [
        ("abc", b"abc"),
        ("empty", b""),
        ("nan", b"nan"),
        ("inf", b"inf"),
        ("overflow", b"1e400"),
        ("not-utf8", b"\xff\xfe\x00"),
        ("large", &large),
        ("comma", b"78,4"),
    ];
    let one = fleet.leader("1", &["--board", "v80", "--api-method", "post"]);
    for (name, data) in garbage {
        probe.create(&format!("/mediciones/{name}"), data, true).unwrap();
    }
    let whole = |body: &serde_json::Value| body["excluded"] == garbage.len();
    fleet.api.wait_for("all garbage counted, three times", DEADLINE, |all| {
        bodies(all).iter().filter(|body| whole(body)).count() >= 3
    });
    for body in bodies(&fleet.api.requests()) {
        assert_eq!((&body["mean"], &body["count"]), (&80.0.into(), &1.into()), "{body}");
    }
    for (name, _) in garbage {
        let said = |text: &str| {
            text.contains("excluded from the average") && text.contains(&format!("node=\"{name}\""))
        };
        assert_eq!(one.log().iter().filter(|line| said(&line.text)).count(), 1, "{name}: said once");
    }
    // A measurement that becomes a number counts again.
    let since = Instant::now();
    probe.set("/mediciones/abc", b" 60.0\n").unwrap();
    crate::common::mean_posted(&fleet.api, 70.0, since);
    one.wait_for_line("included in the average again", DEADLINE);
}

fn measurements_that_vanish_between_list_and_read_do_not_stop_the_average(fleet: Fleet) {
    let probe = fleet.probe();
    let args = ["--board", "v80", "--api-method", "post", "--sampling-period", "100ms"];
    let _one = fleet.leader("1", &args);
    let begin = fleet.api.requests().len();
    // As fast as possible, until some fifty averages were computed.
    atalaya_testbed::eventually("fifty averages", DEADLINE, || {
        for child in 0..10 {
            probe.create(&format!("/mediciones/blink-{child}"), b"80", true).unwrap();
        }
        for child in 0..10 {
            probe.delete(&format!("/mediciones/blink-{child}")).unwrap();
        }
        (fleet.api.requests().len() >= begin + 50).then_some(())
    });
    for body in bodies(&fleet.api.requests()) {
        assert_eq!(body["mean"], 80.0, "{body}");
    }
}
