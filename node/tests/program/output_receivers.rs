//! InfluxDB and Prometheus as outputs of a fleet: each average is there once, with the same values as at the API, whatever
//! happens to leaders and receivers.

use std::collections::BTreeMap;
use std::process::Command;

use atalaya_testbed::{Influxdb, Process, Prometheus, Scratch, eventually};
use serde_json::Value;

use crate::common::{DEADLINE, Fleet, wait_until};

const DATABASE: &str = "home";

/// Both receivers, and boards.toml files with them as outputs.
struct Receivers {
    influxdb: Influxdb,
    prometheus: Prometheus,
    scratch: Scratch,
}

impl Receivers {
    fn start() -> Receivers {
        let influxdb = Influxdb::start();
        influxdb.create_database(DATABASE, "");
        // Without a window for samples out of order: averages need none.
        let prometheus = Prometheus::receiver("global: {}\n");
        Receivers { influxdb, prometheus, scratch: Scratch::new("receivers") }
    }

    /// Returns the command of a node of the fleet `name`.
    fn command(&self, fleet: &Fleet, name: &str, id: &str) -> Command {
        let file = self.scratch.path().join(format!("{name}.toml"));
        let boards = format!(
            "[fleet]\nfleet_name = \"{name}\"\n\
             [[fleet.outputs]]\ntype = \"influxdb\"\nurl = \"{}\"\ndatabase = \"{DATABASE}\"\n\
             [[fleet.outputs]]\ntype = \"prometheus\"\nurl = \"{}\"\n\
             [boards.random]\nbackend = \"sim\"\nsensors = [{{ name = \"s\", chip = \"random\" }}]\n",
            self.influxdb.url(),
            self.prometheus.write_url(),
        );
        std::fs::write(&file, boards).unwrap();
        fleet.command(id, &["--boards", file.to_str().unwrap(), "--api-method", "post"])
    }

    /// Returns time and mean of each cycle of a fleet that InfluxDB has.
    fn averages(&self, name: &str) -> BTreeMap<u64, (i64, f64)> {
        let query = format!("SELECT cycle, mean FROM atalaya_average WHERE fleet = '{name}'");
        let found = self.influxdb.try_query(DATABASE, &query).unwrap_or_default();
        let mut averages = BTreeMap::new();
        for point in found[0]["values"].as_array().into_iter().flatten() {
            let number = |index: usize| point[index].as_i64().unwrap();
            let repeated = averages.insert(number(1) as u64, (number(0), point[2].as_f64().unwrap()));
            assert_eq!(repeated, None, "two points of one cycle: {found}");
        }
        averages
    }

    /// Waits until both receivers have `cycle`, and checks that they have all cycles, each once, as the API has them.
    fn check(&self, fleet: &Fleet, name: &str, cycle: u64) {
        eventually(&format!("cycle {cycle} in InfluxDB"), DEADLINE, || {
            let averages = self.averages(name);
            (1..=cycle).all(|cycle| averages.contains_key(&cycle)).then_some(())
        });
        let selector = format!("atalaya_average{{fleet=\"{name}\"}}");
        wait_until(&format!("cycle {cycle} in Prometheus"), || {
            self.prometheus.samples(&selector).len() as u64 >= cycle
        });
        let averages = self.averages(name);
        let wanted: Vec<(i64, f64)> = averages.values().copied().take(cycle as usize).collect();
        assert_eq!(self.prometheus.samples(&selector)[..cycle as usize], wanted, "{name}");
        for request in fleet.api.requests().iter().filter(|request| request.kept) {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            if let Some((_, mean)) = body["cycle"].as_u64().and_then(|cycle| averages.get(&cycle)) {
                assert_eq!(Some(*mean), body["mean"].as_f64(), "{body}");
            }
        }
        let probe = fleet.probe();
        for output in ["influxdb", "prometheus"] {
            let aside = probe.ls(&format!("/atalaya/outputs/{output}/aside"));
            assert!(aside.is_empty(), "{name}: {output} has refused {aside:?}");
        }
    }
}

#[test]
fn receivers_that_are_killed_or_hang_get_each_average_once() {
    let (fleet, mut receivers) = (Fleet::apache(), Receivers::start());
    let mut node = Process::spawn(receivers.command(&fleet, "away", "1"));
    receivers.check(&fleet, "away", 2);
    receivers.influxdb.kill();
    receivers.prometheus.kill();
    node.wait_for_line("output=\"influxdb\"", DEADLINE);
    node.wait_for_line("output=\"prometheus\"", DEADLINE);
    receivers.influxdb.restart();
    receivers.prometheus.restart();
    let next = receivers.averages("away").len() as u64 + 3;
    receivers.check(&fleet, "away", next);
    receivers.influxdb.stop_process();
    receivers.prometheus.stop_process();
    let probe = fleet.probe();
    for output in ["influxdb", "prometheus"] {
        let path = format!("/atalaya/outputs/{output}/reports");
        wait_until("three waiting averages", || probe.ls(&path).len() >= 3);
    }
    receivers.influxdb.continue_process();
    receivers.prometheus.continue_process();
    receivers.check(&fleet, "away", next + 4);
    node.shut_down(DEADLINE);
}

/// The leader dies at each step of committing and delivering averages; passes of the API and of both outputs count.
#[cfg(feature = "fault-points")]
#[test]
fn leader_that_dies_at_a_step_of_delivering_changes_no_average_of_a_receiver() {
    let receivers = Receivers::start();
    for (point, passes) in [
        ("committing", &[3][..]),
        ("committed", &[3]),
        ("sending", &[4, 5, 6]),
        ("answered", &[4, 5, 6]),
        ("deleting", &[5]),
        ("deleted", &[5]),
    ] {
        for pass in passes {
            let (fleet, name) = (Fleet::memory(), format!("{point}-{pass}"));
            let mut command = receivers.command(&fleet, &name, "1");
            command.env("ATALAYA_FAULT", format!("{point}:{pass}"));
            let mut one = Process::start(command, " leading epoch=", DEADLINE);
            let two = Process::spawn(receivers.command(&fleet, &name, "2"));
            one.wait_exit(DEADLINE);
            two.wait_for_line(" leading epoch=", DEADLINE);
            let next = receivers.averages(&name).len() as u64 + 3;
            receivers.check(&fleet, &name, next);
        }
    }
}
