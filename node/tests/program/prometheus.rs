//! The files of `deploy/` for Prometheus and Grafana, with a real Prometheus that scrapes a real fleet and a collector.
#![cfg(target_os = "linux")]

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use atalaya_testbed::{Process, Prometheus, Scratch, eventually, get, parent_death_command, promtool};
use serde_json::Value;

use crate::common::metrics_client::MetricsClient;
use crate::common::{DEADLINE, Fleet, wait_until};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

fn text(path: &str) -> String {
    fs::read_to_string(deploy().join(path)).unwrap()
}

#[track_caller]
fn succeeds(command: &mut Command) {
    let output = command.current_dir(deploy()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}

#[test]
fn deployed_prometheus_files_are_valid_and_alerts_fire() {
    succeeds(promtool().args(["check", "config", "prometheus.yml"]));
    succeeds(promtool().args(["check", "rules", "alerts.yml"]));
    succeeds(promtool().args(["test", "rules", "alerts_test.yml"]));
    // Every alert occurs in some test.
    let (rules, tests) = (text("alerts.yml"), text("alerts_test.yml"));
    for line in rules.lines() {
        if let Some((_, name)) = line.split_once("- alert: ") {
            assert!(tests.contains(&format!("- alertname: {name}\n")), "{name} is not tested");
        }
    }
    for file in ["provisioning/dashboards/atalaya.yml", "provisioning/datasources/prometheus.yml"] {
        assert!(text(&format!("grafana/{file}")).contains("apiVersion: 1"), "{file}");
    }
}

/// Returns all expressions of the dashboard as Prometheus queries.
fn expressions(dashboard: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels have one id: {panel}");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let expression = target["expr"].as_str().unwrap();
            found.push(expression.replace("$__rate_interval", "1m").replace("$job", ".*"));
        }
    }
    assert!(found.len() > 20 && found.iter().all(|expression| !expression.contains('$')), "{found:?}");
    found
}

/// Returns the metrics that an expression names.
fn metrics(expression: &str) -> impl Iterator<Item = &str> {
    let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("atalaya_") || word.starts_with("process_") || *word == "up")
}

/// Starts `atalaya collect` without storage. Returns its address.
fn collector() -> (Process, String) {
    let mut command = parent_death_command(Path::new(env!("CARGO_BIN_EXE_atalaya")));
    command.args(["collect", "--listen", "127.0.0.1:0", "--store", "memory"]);
    command.env_clear().current_dir(std::env::temp_dir());
    let process = Process::spawn(command);
    let line = process.wait_for_line("listening at http://", DEADLINE).text;
    let (_, address) = line.split_once("http://").unwrap();
    let address = address.split('/').next().unwrap().to_owned();
    (process, address)
}

/// Returns the configuration of `deploy/` for these processes, with short intervals.
fn configuration(folder: &Path, nodes: &[MetricsClient], collector: &str) -> PathBuf {
    let mut config = text("prometheus.yml").replace("15s", "1s").replace("10s", "1s");
    for (number, node) in nodes.iter().enumerate() {
        let name = format!("node{}:9100", number + 1);
        assert!(config.contains(&name), "{config}");
        config = config.replace(&name, &node.address);
    }
    config = config.replace("collector:8000", collector);
    let path = folder.join("prometheus.yml");
    fs::write(&path, config).unwrap();
    fs::copy(deploy().join("alerts.yml"), folder.join("alerts.yml")).unwrap();
    path
}

/// Metric that has a series only while there is a znode of the wrong type; `wrong_znodes` checks its name and labels.
const EXISTS_DURING_A_FAULT: &str = "atalaya_znode_wrong_type";

#[test]
fn prometheus_scrapes_a_fleet_its_collector_and_a_failover() {
    let fleet = Fleet::apache();
    let (_collector, collector) = collector();
    let (url, samples) = (format!("http://{collector}/nuevo"), format!("http://{collector}/"));
    let mut arguments = vec!["--metrics-listen", "127.0.0.1:0", "--api-url", &url, "--api-method", "post"];
    arguments.extend(["--measurements-url", &samples]);
    // Outputs, whose metrics alerts and dashboard name as well.
    let desk = Scratch::new("prometheus");
    let boards = desk.path().join("boards.toml");
    let output = |name, send, path| {
        format!(
            "[[fleet.outputs]]\ntype = \"webhook\"\nname = \"{name}\"\nsend = \"{send}\"\n\
             url = \"http://{collector}/api/v1/{path}\"\n"
        )
    };
    let outputs = output("a", "averages", "reports") + &output("m", "measurements", "measurements");
    let sensor = "name = \"s\", chip = \"random\", sim = { temperature = { uniform = [75, 85] } }";
    let board = format!("[boards.random]\nbackend = \"sim\"\nsensors = [{{ {sensor} }}]\n");
    fs::write(&boards, outputs + &board).unwrap();
    arguments.extend(["--boards", boards.to_str().unwrap()]);
    let mut one = fleet.leader("1", &arguments);
    let others = [fleet.follower("2", &arguments), fleet.follower("3", &arguments)];
    let nodes = [MetricsClient::of(&one), MetricsClient::of(&others[0]), MetricsClient::of(&others[1])];

    let prometheus = Prometheus::start(&configuration(desk.path(), &nodes, &collector));
    eventually("all targets are up", DEADLINE, || {
        let targets = prometheus.api("targets")["activeTargets"].clone();
        let targets = targets.as_array().unwrap();
        let up = targets.iter().filter(|target| target["health"] == "up").count();
        (targets.len() == 4 && up == 4).then_some(())
    });

    let rules = prometheus.api("rules");
    let groups = rules["groups"].as_array().unwrap();
    let rules: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    let alerts: Vec<&str> = rules.iter().map(|rule| rule["query"].as_str().unwrap()).collect();
    assert!(alerts.len() > 10);
    let dashboard: Value = serde_json::from_str(&text("grafana/dashboards/atalaya.json")).unwrap();
    let expressions = expressions(&dashboard);
    let named: BTreeSet<&str> =
        alerts.iter().copied().chain(expressions.iter().map(String::as_str)).flat_map(metrics).collect();
    eventually("every metric that alerts and dashboard name", DEADLINE, || {
        let known = prometheus.api("label/__name__/values");
        let known: BTreeSet<&str> = known.as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let missing: Vec<&&str> =
            named.difference(&known).filter(|name| **name != EXISTS_DURING_A_FAULT).collect();
        // Shown when the scrape fails.
        println!("not there yet: {missing:?}");
        missing.is_empty().then_some(())
    });
    // With their labels. Series that exist only during a fault are queried too, and must be absent.
    for expression in expressions.iter().filter(|expression| !expression.ends_with(" > 0")) {
        wait_until(expression, || !prometheus.query(expression).is_empty());
    }
    for expression in &alerts {
        prometheus.query(expression);
    }
    eventually("every rule was evaluated", DEADLINE, || {
        let rules = prometheus.api("rules");
        let all = rules["groups"].as_array().unwrap().iter();
        let mut all = all.flat_map(|group| group["rules"].as_array().unwrap());
        all.all(|rule| rule["health"] == "ok").then_some(())
    });
    let leading = || prometheus.query("atalaya_leading == 1");
    let instance = |found: &[(Value, f64)]| found.first().map(|(labels, _)| labels["instance"].clone());
    wait_until("the leader, as Prometheus sees it", || {
        instance(&leading()) == Some(nodes[0].address.clone().into())
    });

    one.kill9();
    let next = eventually("another leads, as Prometheus sees it", DEADLINE, || {
        let found = leading();
        (found.len() == 1 && instance(&found) != Some(nodes[0].address.clone().into())).then_some(found)
    });
    assert!(nodes[1..].iter().any(|node| instance(&next) == Some(node.address.clone().into())));
    eventually("the dead one is missed", DEADLINE, || {
        let down = prometheus.query("ALERTS{alertname=\"AtalayaNodeDown\"}");
        (instance(&down) == Some(nodes[0].address.clone().into())).then_some(())
    });
    assert_eq!(prometheus.query("ALERTS{alertname=\"AtalayaTwoLeaders\"}"), []);
    let recorded = "atalaya_collector_reports_total{outcome=\"recorded\"}";
    let count = || prometheus.query(recorded).first().map(|(_, count)| *count);
    let before = eventually("the number of reports", DEADLINE, count);
    wait_until("reports go on", || count() > Some(before));

    // In OpenMetrics, as Prometheus requests it, and in the older text format, which promtool checks.
    let watch = &nodes[1];
    let open =
        get(&watch.address, "/metrics", &[("accept", "application/openmetrics-text;version=1.0.0")]).unwrap();
    assert!(open.body.ends_with("# EOF\n") && open.body.contains("# TYPE atalaya_cycles counter\n"));
    lint(&watch.text());
}

/// Checks the metrics of a node with promtool.
#[track_caller]
fn lint(figures: &str) {
    let mut tool = promtool();
    tool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tool = tool.spawn().unwrap();
    tool.stdin.take().unwrap().write_all(figures.as_bytes()).unwrap();
    let output = tool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}
