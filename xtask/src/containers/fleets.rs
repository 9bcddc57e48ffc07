//! Fleets of deploy/: started, killed service by service, and stopped in order.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use atalaya_testbed::get;
use serde_json::Value;

use super::compose::{Docker, Project, TIMEOUT, passed, until};
use super::reports::{self, COLLECTOR, PROMETHEUS, get_json};
use xtask::cargo::workspace;

/// Sampling period of the test, in seconds.
const PERIOD: &str = "1";
/// Token of the nodes, if the collector requires tokens.
const TOKEN: &str = "of-this-test-and-nothing-else";
const NODES: [&str; 3] = ["node1", "node2", "node3"];
/// Exit code of a JVM that was ended by SIGTERM.
const SIGTERM: i64 = 143;

fn file(name: &str) -> PathBuf {
    workspace().join("deploy").join(name)
}

/// Tests deploy/compose.yml.
pub(super) fn ensemble(docker: &Docker, folder: &Path) -> anyhow::Result<()> {
    const SERVERS: [&str; 3] = ["zoo1", "zoo2", "zoo3"];
    const WATCHERS: [&str; 3] = ["redis", "collector", "prometheus"];
    let everything: Vec<&str> = [SERVERS, WATCHERS, NODES].concat();
    let (secrets, more, boards) =
        (folder.join("secrets"), folder.join("everything.yml"), folder.join("boards.toml"));
    make_certificates(&secrets)?;
    fs::write(&more, include_str!("everything.yml"))?;
    fs::write(&boards, include_str!("boards.toml"))?;
    let fleet = Project::new(docker, "ensemble", &[file("compose.yml"), more]);
    let fleet = fleet.with("SECRETS", secrets.display().to_string());
    let fleet = fleet.with("BOARDS", boards.display().to_string());
    fleet.with("SAMPLING_PERIOD", PERIOD).run(|fleet| {
        // All services except Grafana: Compose starts the others as dependencies of these.
        fleet.compose(&["up", "--detach", "--no-build", "prometheus", "node1", "node2", "node3"])?;
        fleet.healthy(&everything)?;
        passed(&format!("all {} services are healthy", everything.len()));
        in_order(fleet, &SERVERS, &["collector"])?;
        in_order(fleet, &["collector"], &NODES)?;
        in_order(fleet, &["redis"], &["collector"])?;
        restricted(fleet, &everything, &["collector", "prometheus"])?;
        all_nodes_count()?;
        administrator_configures(fleet)?;
        prometheus_reaches_all()?;
        dashboard_has_its_metrics()?;

        let server = SERVERS
            .into_iter()
            .find(|server| mode(fleet, server).is_ok_and(|mode| mode == "leader"))
            .context("no ZooKeeper server leads")?;
        fleet.kill(server)?;
        let cycle = reports::wait_for_more(5)?;
        passed(&format!("{server}, which led the ensemble, is dead: reports go on, cycle {cycle}"));
        fleet.start(server)?;

        leader_crashes(fleet)?;
        collector_was_down(fleet)?;

        fleet.crash("redis")?;
        fleet.healthy(&["redis", "collector"])?;
        let cycle = reports::wait_for_more(3)?;
        passed(&format!("Redis was killed and is back by itself: reports go on, cycle {cycle}"));

        fleet.healthy(&everything)?;
        all_nodes_count()?;
        complete()?;
        end(fleet)?;
        fleet.stop(&WATCHERS, 0)?;
        fleet.stop(&SERVERS, SIGTERM)?;
        passed("Redis, collector and Prometheus ended with 0, ZooKeeper by SIGTERM");
        Ok(())
    })
}

/// Tests deploy/compose.single.yml, with tokens.
pub(super) fn single(docker: &Docker, folder: &Path) -> anyhow::Result<()> {
    let (tokens, token) = (folder.join("tokens"), folder.join("api-token"));
    fs::write(&tokens, format!("write {TOKEN}\nread *\n"))?;
    fs::write(&token, TOKEN)?;
    let everything: Vec<&str> = [&["zoo1", "collector"][..], &NODES].concat();
    let fleet = Project::new(docker, "single", &[file("compose.single.yml"), file("compose.tokens.yml")]);
    let fleet = fleet.with("TOKENS", tokens.display().to_string());
    let fleet = fleet.with("API_TOKEN_FILE", token.display().to_string());
    fleet.with("SAMPLING_PERIOD", PERIOD).run(|fleet| {
        fleet.compose(&["up", "--detach", "--no-build"])?;
        fleet.healthy(&everything)?;
        passed(&format!("all {} services are healthy", everything.len()));
        in_order(fleet, &["zoo1", "collector"], &NODES)?;
        restricted(fleet, &everything, &["collector"])?;
        all_nodes_count()?;
        let refused = get(COLLECTOR, "/nuevo?dato=78.4", &[]).map_err(anyhow::Error::msg)?.status;
        ensure!(refused == 401, "without a token a report is answered {refused}");
        passed("without a token no report is taken");

        fleet.kill("zoo1")?;
        fleet.start("zoo1")?;
        let cycle = reports::wait_for_more(3)?;
        passed(&format!("the only ZooKeeper server was dead: reports go on, cycle {cycle}"));
        leader_crashes(fleet)?;
        collector_was_down(fleet)?;

        // New containers with the same volumes, as after an upgrade.
        let before = complete()?;
        end(fleet)?;
        fleet.compose(&["down"])?;
        fleet.compose(&["up", "--detach", "--no-build"])?;
        fleet.healthy(&everything)?;
        ensure!(reports::wait_for_more(3)? > before, "reports did not go on after {before}");
        complete()?;
        passed("after `down` and `up` the reports continue: volumes keep the data");

        end(fleet)?;
        fleet.stop(&["collector"], 0)?;
        fleet.stop(&["zoo1"], SIGTERM)?;
        passed("the collector ended with 0, ZooKeeper by SIGTERM");
        Ok(())
    })
}

/// Runs deploy/make-certificates.sh twice: the second run must not change anything.
fn make_certificates(folder: &Path) -> anyhow::Result<()> {
    let run = || -> anyhow::Result<Vec<u8>> {
        let output = Command::new("sh").arg(file("make-certificates.sh")).arg(folder).output()?;
        ensure!(output.status.success(), "no certificates: {}", String::from_utf8_lossy(&output.stderr));
        let keystore = folder.join("zoo1-keystore.pem");
        fs::read(&keystore).with_context(|| format!("cannot read {}", keystore.display()))
    };
    ensure!(run()? == run()?, "make-certificates.sh has replaced a certificate");
    Ok(())
}

/// Checks that the service `admin` can change the configuration and a node cannot.
fn administrator_configures(fleet: &Project) -> anyhow::Result<()> {
    let set = ["config", "set", "/config/sampling_period", PERIOD];
    fleet.compose(&[&["run", "--rm", "-T", "admin"][..], &set].concat())?;
    let refused = fleet.exec("node1", &[&["atalaya"][..], &set].concat());
    ensure!(refused.is_err(), "a node has changed the configuration");
    passed("the administrator can change the configuration, a node cannot");
    Ok(())
}

/// Checks that each service of `first` was started before each service of `then`.
fn in_order(fleet: &Project, first: &[&str], then: &[&str]) -> anyhow::Result<()> {
    let started = |service: &str| -> anyhow::Result<jiff::Timestamp> {
        let state = fleet.inspect(service)?;
        Ok(state["State"]["StartedAt"].as_str().unwrap_or_default().parse()?)
    };
    for before in first {
        for after in then {
            ensure!(started(before)? < started(after)?, "{after} was started before {before}");
        }
    }
    Ok(())
}

/// Checks that containers have restricted rights, and that only the services `published` have ports, on 127.0.0.1.
fn restricted(fleet: &Project, services: &[&str], published: &[&str]) -> anyhow::Result<()> {
    for service in services {
        let known = fleet.inspect(service)?;
        let host = &known["HostConfig"];
        let user = known["Config"]["User"].as_str().unwrap_or_default();
        ensure!(!["", "0", "root"].contains(&user), "{service} runs as root");
        ensure!(host["ReadonlyRootfs"] == true, "{service} can write to its root file system");
        ensure!(host["CapDrop"] == serde_json::json!(["ALL"]), "{service} keeps capabilities");
        let options = host["SecurityOpt"].to_string();
        ensure!(options.contains("no-new-privileges:true"), "{service} may gain privileges: {options}");
        ensure!(host["RestartPolicy"]["Name"] == "unless-stopped", "{service} is not started again");
        let bindings: Vec<&Value> =
            host["PortBindings"].as_object().into_iter().flat_map(|map| map.values()).collect();
        ensure!(bindings.is_empty() != published.contains(service), "{service} publishes {bindings:?}");
        let elsewhere = bindings.iter().any(|binding| binding[0]["HostIp"] != "127.0.0.1");
        ensure!(!elsewhere, "{service} publishes to all the world: {bindings:?}");
    }
    passed("no root, read-only, no capabilities; published on 127.0.0.1 only");
    Ok(())
}

/// Waits for a report with the measurements of all three nodes.
fn all_nodes_count() -> anyhow::Result<()> {
    let newest = until("an average of all nodes is kept", TIMEOUT, || {
        let latest = get_json(COLLECTOR, "/api/v1/latest")?;
        let count = latest["reports"][0]["count"].clone();
        ensure!(count == NODES.len(), "the newest is of {count} nodes");
        Ok(latest["reports"][0]["cycle"].as_u64())
    })?;
    passed(&format!("the average of all nodes arrives, cycle {newest}"));
    Ok(())
}

/// Checks that Prometheus reaches all nodes and the collector.
fn prometheus_reaches_all() -> anyhow::Result<()> {
    let up = until("Prometheus reaches all targets", TIMEOUT, || {
        let answer = get_json(PROMETHEUS, "/api/v1/query?query=up")?;
        let results = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let up = results.iter().filter(|result| result["value"][1] == "1").count();
        ensure!(up == results.len() && up > NODES.len(), "{up} of {}: {answer}", results.len());
        Ok(Some(up))
    })?;
    passed(&format!("Prometheus reaches all {up} targets"));
    Ok(())
}

/// Checks that Prometheus has all metrics that the Grafana dashboard queries. Grafana itself is not started.
fn dashboard_has_its_metrics() -> anyhow::Result<()> {
    let folder = workspace().join("deploy/grafana");
    let text = fs::read_to_string(folder.join("dashboards/atalaya.json")).context("there is no dashboard")?;
    let dashboard: Value = serde_json::from_str(&text).context("the dashboard is no JSON")?;
    ensure!(dashboard["panels"].as_array().is_some_and(|panels| !panels.is_empty()), "it shows nothing");
    let source = fs::read_to_string(folder.join("provisioning/datasources/prometheus.yml"))?;
    ensure!(source.contains("url: http://prometheus:9090"), "its Prometheus is another one:\n{source}");
    let wanted = metric_names(&text);
    let known = until("all metrics of the dashboard exist", TIMEOUT, || {
        let answer = get_json(PROMETHEUS, "/api/v1/label/__name__/values")?;
        let known = answer["data"].as_array().context("no names")?;
        let missing: Vec<&String> =
            wanted.iter().filter(|name| !known.iter().any(|one| one == *name)).collect();
        ensure!(missing.is_empty(), "Prometheus has no {missing:?}");
        Ok(Some(wanted.len()))
    })?;
    passed(&format!(
        "Prometheus has all {known} metrics that the dashboard queries; Grafana itself was not started"
    ));
    Ok(())
}

fn metric_names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let words = words.filter(|word| word.starts_with("atalaya_") && word.len() > "atalaya_".len());
    words.map(str::to_owned).collect()
}

/// Returns the mode of a ZooKeeper server: leader, follower or standalone.
fn mode(fleet: &Project, server: &str) -> anyhow::Result<String> {
    let ask = "exec 3<>/dev/tcp/127.0.0.1/2181; echo srvr >&3; sed -n 's/^Mode: //p' <&3";
    fleet.exec(server, &["bash", "-c", ask])
}

/// Returns the output of `atalaya status` in a node's container.
fn status(fleet: &Project, node: &str) -> anyhow::Result<Value> {
    let text = fleet.exec(node, &["atalaya", "status", "--output", "json"])?;
    serde_json::from_str(&text).context("status tells no JSON")
}

fn leader(fleet: &Project, ask: &str) -> anyhow::Result<String> {
    let status = status(fleet, ask)?;
    let id = status["leader"]["id"].as_str().context("nobody leads")?;
    Ok(format!("node{id}"))
}

/// Kills the process of the leader. Checks that a leader reports, the same node or another one, and that the container
/// restarts.
fn leader_crashes(fleet: &Project) -> anyhow::Result<()> {
    let first = until("a node leads", TIMEOUT, || leader(fleet, "node1").map(Some))?;
    fleet.crash(&first)?;
    let cycle = reports::wait_for_more(5)?;
    fleet.healthy(&[&first])?;
    let next = leader(fleet, &first)?;
    passed(&format!("{first}, which led, crashed: it is back, {next} leads, cycle {cycle}"));
    Ok(())
}

/// Kills the collector. Checks that the fleet keeps its reports until the collector accepts them again.
fn collector_was_down(fleet: &Project) -> anyhow::Result<()> {
    fleet.kill("collector")?;
    until("reports wait", TIMEOUT, || {
        let waiting = status(fleet, "node1")?["waiting"].as_u64();
        ensure!(waiting >= Some(5), "{waiting:?} do");
        Ok(Some(()))
    })?;
    fleet.start("collector")?;
    until("nothing waits any more", TIMEOUT, || {
        let waiting = status(fleet, "node1")?["waiting"].as_u64();
        ensure!(waiting <= Some(1), "{waiting:?} do");
        Ok(Some(()))
    })?;
    let cycle = reports::newest()?;
    passed(&format!("the collector was dead for a while, and has everything now, cycle {cycle}"));
    Ok(())
}

fn complete() -> anyhow::Result<u64> {
    let newest = reports::complete()?;
    passed(&format!("each of {newest} cycles is kept, once, without a gap"));
    Ok(newest)
}

/// Stops the nodes and checks that none of their znodes is left.
fn end(fleet: &Project) -> anyhow::Result<()> {
    fleet.stop(&NODES, 0)?;
    // A container of its own, with the access rights of a node.
    let status = ["run", "--rm", "--no-deps", "-T", "node1", "status", "--output", "json"];
    let status: Value = serde_json::from_str(&fleet.compose(&status)?)?;
    if status["in_line"] != 0 || status["nodes"].as_array().is_some_and(|nodes| !nodes.is_empty()) {
        bail!("nodes that have stopped left something behind: {status}");
    }
    passed(&format!(
        "the nodes ended with 0, and no znode of them is left; {} report(s) wait",
        status["waiting"]
    ));
    Ok(())
}

/// Tests the compose file of an existing fleet, with our image instead of its own.
pub(super) fn existing(docker: &Docker, folder: &Path) -> anyhow::Result<()> {
    let folder = folder.join("existing");
    fs::create_dir_all(&folder)?;
    let compose = folder.join("docker-compose.yml");
    fs::write(&compose, include_str!("existing/docker-compose.yml"))?;
    fs::write(folder.join("Dockerfile"), include_str!("existing/Dockerfile"))?;
    Project::new(docker, "existing", &[compose]).run(|fleet| {
        fleet.compose(&["up", "--detach", "--build"])?;
        until("reports arrive", TIMEOUT, || Ok((reports::newest()? >= 5).then_some(())))?;
        complete()?;
        let last = fleet.compose(&["logs", "--no-color", "--tail", "3", "app1"])?;
        fleet.stop(&["app1", "app2", "app3", "api"], 0).context(last)?;
        passed("nodes and API ended with 0");
        Ok(())
    })
}
