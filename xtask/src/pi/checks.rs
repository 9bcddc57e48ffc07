//! Checks of a Pi in a fleet, from outside: in ZooKeeper with Kazoo, at the API, on the Pi's console. They run in this
//! order, and each leaves the state that the next one needs.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, ensure};
use atalaya_testbed::eventually;
use atalaya_testbed::pi::{Clock, THERMOMETERS};

use super::site::{ID, SIMULATED, Site, TIMEOUT};

/// A promise, and its check, which returns its observations as text.
type Check = (&'static str, fn(&mut Site) -> anyhow::Result<String>);

/// All checks, in their order.
pub(crate) const ALL: [Check; 9] = [
    ("the Pi boots, and its clock says 1970", boots),
    ("with its clock in 1970 the node runs, and a TLS error names the clock", clock),
    ("what the thermometer measures is in ZooKeeper at the next sample, and in the average", measures),
    ("an address where nothing answers is told, and costs its own sensor only", absent),
    ("an address that the kernel has taken is told, and is read where the kernel shows it", kernel),
    ("after an outage of the network the node is back by itself", network),
    ("the Pi leads, and reports, when the others are killed", leads),
    ("when its power is cut while it leads, another leads", power),
    ("with power again, the Pi is back", again),
];

/// Temperatures to set, in °C: the limits of the thermometer, and values that are easily converted wrongly.
const TEMPERATURES: [f64; 6] = [-40.0, -5.5, 0.0, 21.5, 85.0, 125.0];
/// Thermometer that node 7 reads.
const AMBIENT: &str = THERMOMETERS[0].id;

fn boots(site: &mut Site) -> anyhow::Result<String> {
    let took = site.power_on(Clock::Unset, &[]);
    let year = site.pi()?.console().must("date +%Y").text();
    ensure!(year.trim() == "1970", "the clock says {year}");
    Ok(format!("{:.1} s from power-on to a shell", took.as_secs_f64()))
}

fn clock(site: &mut Site) -> anyhow::Result<String> {
    let url = site.secure_api_url();
    site.pi()?.qmp().set_temperature(AMBIENT, 19.5)?;
    let pid = site.start_in_pi(ID, "pi", &url)?;
    site.measures(ID, 19.5)?;
    let complaint = site.pi()?.console().wait_for("the API does not accept reports", TIMEOUT);
    ensure!(
        complaint.text.contains("clock") && complaint.text.contains("1970"),
        "it says: {}",
        complaint.text
    );
    ensure!(site.api.requests().is_empty(), "a request came through without a valid certificate");
    let set = Instant::now();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs();
    site.pi()?.console().must(&format!("date -s @{now}"));
    let took = site.report(set, ID, 19.5, 1);
    site.stop_in_pi(ID, pid)?;
    let said = reason(&complaint.text, "reports: ");
    Ok(format!("\"{said}\"; reports {:.1} s after the clock was set", took.as_secs_f64()))
}

fn measures(site: &mut Site) -> anyhow::Result<String> {
    for (id, _) in SIMULATED {
        site.start_simulated(id);
    }
    let url = site.api_url()?;
    site.start_in_pi(ID, "pi", &url)?;
    site.measures(ID, 19.5)?;
    let mut slowest = Duration::ZERO;
    for celsius in TEMPERATURES {
        site.pi()?.qmp().set_temperature(AMBIENT, celsius)?;
        let set = Instant::now();
        let (_, before) = site.measurement(ID)?.context("the node of the Pi has no znode")?;
        eventually(&format!("{celsius} °C in ZooKeeper"), TIMEOUT, || match site.measurement(ID) {
            Ok(Some((value, _))) if value == celsius => Some(Ok(())),
            // When the temperature was set, one sample may have been on its way to ZooKeeper, and another one about to
            // be sent.
            Ok(Some((value, version))) if version >= before + 3 => {
                Some(Err(anyhow::anyhow!("three samples after {celsius} °C were set it is {value}")))
            }
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })?;
        let mean = (celsius + SIMULATED.iter().map(|(_, value)| value).sum::<f64>()) / 3.0;
        slowest = slowest.max(site.report(set, SIMULATED[0].0, mean, 3));
    }
    let list = TEMPERATURES.map(|celsius| celsius.to_string()).join(", ");
    Ok(format!("{list} °C; in the average after {:.1} s at most", slowest.as_secs_f64()))
}

fn absent(site: &mut Site) -> anyhow::Result<String> {
    let url = site.api_url()?;
    site.pi()?.qmp().set_temperature(THERMOMETERS[1].id, 33.5)?;
    let pid = site.start_in_pi("8", "absent", &url)?;
    let words = "no acknowledge at 0x4a on /dev/i2c-1";
    site.pi()?.console().wait_for(words, TIMEOUT);
    let seen = eventually("/mediciones/8 has the other sensor", TIMEOUT, || {
        site.probe.text("/mediciones/8").filter(|text| text.contains("33.5"))
    });
    site.stop_in_pi("8", pid)?;
    Ok(format!("\"{words}\"; the other sensor: {seen}"))
}

fn kernel(site: &mut Site) -> anyhow::Result<String> {
    let url = site.api_url()?;
    site.pi()?.qmp().set_temperature(AMBIENT, -7.5)?;
    let console = site.pi()?.console();
    console.must("insmod /modules/lm75.ko; echo lm75 0x48 >/sys/bus/i2c/devices/i2c-1/new_device");
    let pid = site.start_in_pi("8", "pi", &url)?;
    let busy = site.pi()?.console().wait_for("a kernel driver owns 0x48 on /dev/i2c-1", TIMEOUT);
    ensure!(busy.text.contains("/sys/bus/i2c/devices/1-0048"), "it does not say where: {}", busy.text);
    // The node has measured nothing, so it has no znode.
    site.pi()?.console().must(&format!("kill {pid}"));
    let pid = site.start_in_pi("9", "kernel", &url)?;
    site.measures("9", -7.5)?;
    site.pi()?.qmp().set_temperature(AMBIENT, 64.0)?;
    site.measures("9", 64.0)?;
    site.stop_in_pi("9", pid)?;
    site.pi()?.console().must("echo 0x48 >/sys/bus/i2c/devices/i2c-1/delete_device");
    let said = reason(&busy.text, "cannot be read: ");
    Ok(format!("\"{said}\"; hwmon: -7.5, then 64 °C"))
}

fn network(site: &mut Site) -> anyhow::Result<String> {
    site.pi()?.qmp().set_network(false)?;
    let cut = Instant::now();
    let noticed = site.gone(ID, TIMEOUT);
    site.report(cut, SIMULATED[0].0, 25.0, 2);
    site.pi()?.qmp().set_temperature(AMBIENT, 11.5)?;
    // The duration of the outage is part of the promise.
    thread::sleep(site.outage.saturating_sub(cut.elapsed()));
    ensure!(site.measurement(ID)?.is_none(), "the Pi reached ZooKeeper without a network");
    site.pi()?.qmp().set_network(true)?;
    let restored = Instant::now();
    site.measures(ID, 11.5)?;
    let back = restored.elapsed();
    site.report(restored, SIMULATED[0].0, 61.5 / 3.0, 3);
    let [outage, noticed, back] = [site.outage, noticed, back].map(|time| time.as_secs_f64());
    Ok(format!("gone after {noticed:.1} s of {outage} s, back after {back:.1} s"))
}

fn leads(site: &mut Site) -> anyhow::Result<String> {
    let killed = Instant::now();
    site.kill_simulated();
    let took = site.report(killed, ID, 11.5, 1);
    Ok(format!("its own report after {:.1} s", took.as_secs_f64()))
}

fn power(site: &mut Site) -> anyhow::Result<String> {
    let (other, celsius) = SIMULATED[0];
    site.start_simulated(other);
    let together = Instant::now();
    site.report(together, ID, (11.5 + celsius) / 2.0, 2);
    let cut = Instant::now();
    site.pi.take().context("the Pi has no power")?.cut_power();
    let took = site.report(cut, other, celsius, 1);
    ensure!(site.measurement(ID)?.is_none(), "the znode of the Pi is still there");
    Ok(format!("another's report after {:.1} s", took.as_secs_f64()))
}

fn again(site: &mut Site) -> anyhow::Result<String> {
    let (other, celsius) = SIMULATED[0];
    let powered = Instant::now();
    site.power_on(Clock::Set, &[]);
    site.pi()?.qmp().set_temperature(AMBIENT, 24.0)?;
    let url = site.api_url()?;
    site.start_in_pi(ID, "pi", &url)?;
    site.measures(ID, 24.0)?;
    let took = powered.elapsed();
    site.report(powered, other, (24.0 + celsius) / 2.0, 2);
    Ok(format!("measures {:.1} s after power-on, as a follower", took.as_secs_f64()))
}

/// Returns the part of a log line after `words`, without the fields.
fn reason<'a>(line: &'a str, words: &str) -> &'a str {
    let reason = line.split_once(words).map_or("", |(_, reason)| reason);
    // On a terminal, such as the console, the names of the fields are in italics.
    let reason = reason.split('\u{1b}').next().unwrap_or_default();
    reason.split("; retrying").next().unwrap_or_default().trim()
}
