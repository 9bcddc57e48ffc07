//! Nodes with `lead = false` measure and publish, and never lead.

use crate::common::{DEADLINE, Fleet, goes_on_publishing, mean_reported};

on_both!(node_with_no_lead_is_averaged_and_never_contends);

fn node_with_no_lead_is_averaged_and_never_contends(fleet: Fleet) {
    let boards = tempfile::tempdir().unwrap();
    let board = |value: &str| {
        let path = boards.path().join(format!("{value}.toml"));
        let sensor = "{ name = \"s\", chip = \"random\", sim = { temperature = { constant = VALUE } } }";
        let text =
            format!("[boards.random]\nbackend = \"sim\"\nsensors = [{}]\n", sensor.replace("VALUE", value));
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let probe = fleet.probe();
    let measuring = fleet.node("1", &["--no-lead", "--boards", &board("90")]);
    measuring.wait_for_line("not contending for leadership", DEADLINE);
    // Alone it publishes, and no node leads.
    goes_on_publishing(&probe, "1", 3);
    assert!(probe.ls("/election").is_empty(), "{:?}", probe.ls("/election"));
    let start = std::time::Instant::now();
    let mut leader = fleet.leader("2", &["--boards", &board("70")]);
    mean_reported(&fleet.api, 80.0, start);
    assert_eq!(probe.ls("/election").len(), 1);
    leader.shut_down(DEADLINE);
    // Without a leader it still publishes and does not contend.
    goes_on_publishing(&probe, "1", 3);
    assert!(probe.ls("/election").is_empty(), "{:?}", probe.ls("/election"));
    assert!(measuring.log().iter().all(|line| !line.text.contains(" leading epoch=")));
}
