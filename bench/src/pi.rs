//! A node on an emulated Raspberry Pi: size, memory, time to the first measurement, and cost of a sample.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use atalaya_testbed::install::{self, Part};
use atalaya_testbed::pi::{Clock, Parts};
use atalaya_testbed::target_dir;

use super::Bench;
use super::proc::mib;
use super::report::{self, Section, cells};
use super::stats::{Sample, ThreeDigits};
use super::targets::Target;
use xtask::cargo::{Profile, cargo, succeeds};
use xtask::pi::build::{self, BuildOptions};
use xtask::pi::site::{ID, Site, TIMEOUT};

/// Bytes per megabyte, as in package sizes.
const MB: f64 = 1e6;
/// Minimum sampling period of a node, so that sampling causes most of the measured processor time.
const PERIOD: &str = "100ms";
/// Duration for which processor time is measured.
const MEASURING_TIME: Duration = Duration::from_secs(20);
/// Timeout for the program that reads samples in a loop.
const LOOP_TIMEOUT: Duration = Duration::from_secs(120);

/// Samples per second from one bus.
#[derive(Default)]
struct Rates {
    /// A loop over the driver alone.
    driver: Sample,
    /// A loop over a sensor of Atalaya.
    sensor: Sample,
    /// Sensor in percent of the driver alone, in rounds in which they took turns.
    share: Sample,
    /// Sensor with a filter in percent of the driver alone, where it was measured separately.
    filtered: Sample,
}

#[derive(Default)]
struct Results {
    /// Size of the program in bytes.
    size: usize,
    /// Time from power-on to the first measurement, in seconds.
    first: Sample,
    /// Resident memory as the leader, in MiB.
    resident: Sample,
    /// Maximum resident memory, in MiB.
    peak: Sample,
    /// Processor time per sample, including publishing and averaging, in milliseconds.
    sample: Sample,
    /// Rates on the Pi, and on a simulated bus of this machine.
    rates: [Rates; 2],
}

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Vec<Section>> {
    install::ensure(&[Part::OpenSsl])?;
    let parts = Parts::ready().context("cannot prepare the emulator of the Pi")?;
    let options = BuildOptions { profile: Profile::Distribution, is_static: false, is_slim: false };
    let program = build::for_the_pi(options, &[])?;
    let loop_program = build::example_for_the_pi(options, "atalaya-hal", "samples")?;
    let mut results = Results { size: program.len(), ..Results::default() };

    // No simulated nodes, because other programs take processor time from the emulator.
    let mut site = Site::prepare(parts, &program, "".as_ref())?;
    site.image.program("bin/samples", &loop_program);
    let fleet = site
        .command(ID, "pi", &site.api_url()?)
        .replace("--sampling-period 1s", &format!("--sampling-period {PERIOD}"));
    site.image.program("root/join", format!("#!/bin/sh\nexec env {fleet}\n").as_bytes());
    for boot in 1..=if bench.quick { 1 } else { 5 } {
        eprintln!("boot {boot}");
        site.power_on(Clock::Set, &["start=/root/join"]);
        let pi = site.pi()?;
        let published = pi.console().wait_for("published the first measurement", TIMEOUT);
        results.first.push(published.at.duration_since(pi.powered()).as_secs_f64());
        let from = Instant::now();
        site.api.wait_for("reports", TIMEOUT, |all| all.iter().filter(|one| one.at > from).count() > 20);
        let before = snapshot(&mut site)?;
        std::thread::sleep(MEASURING_TIME);
        let after = snapshot(&mut site)?;
        results.sample.push((after.used - before.used) * 1e3 / f64::from(after.samples - before.samples));
        results.resident.push(after.resident);
        results.peak.push(after.peak);
        // Stop the node, so that the loop has the bus alone.
        site.pi()?.console().must("kill $(pidof atalaya)");
        site.gone(ID, TIMEOUT);
        let output = site.pi()?.console().run_within("samples i2c-1 0x48", LOOP_TIMEOUT);
        ensure!(output.status == 0, "the loop over the I2C bus failed: {}", output.text());
        parse_rates(&output.text(), &mut results.rates[0]);
        site.pi.take().context("the Pi has no power")?.cut_power();
    }
    drop(site);
    parse_rates(&run_simulated()?, &mut results.rates[1]);
    Ok(vec![section(&results)])
}

/// Counters of the node, from the kernel of the Pi and from ZooKeeper.
struct Snapshot {
    used: f64,
    samples: i32,
    resident: f64,
    peak: f64,
}

fn snapshot(site: &mut Site) -> anyhow::Result<Snapshot> {
    let samples = site.measurement(ID)?.context("the node has no znode")?.1;
    let command = "cd /proc/$(pidof atalaya) && cat task/*/schedstat && grep -E 'VmRSS|VmHWM' status";
    let output = site.pi()?.console().must(command);
    let text = output.text();
    let used: u64 = output
        .lines
        .iter()
        .filter_map(|line| {
            let fields: Vec<u64> = line.split(' ').map_while(|field| field.parse().ok()).collect();
            (fields.len() == 3).then(|| fields[0])
        })
        .sum();
    ensure!(used > 0, "no processor time of the node in {text}");
    Ok(Snapshot {
        used: used as f64 / 1e9,
        samples,
        resident: mib(&text, "VmRSS")?,
        peak: mib(&text, "VmHWM")?,
    })
}

/// Builds and runs the loop over a simulated bus on this machine, and returns its output.
fn run_simulated() -> anyhow::Result<String> {
    let profile = Profile::Distribution;
    let words =
        ["build", "--profile", profile.name(), "--package", "atalaya-sim", "--example", "simulated_samples"];
    succeeds(cargo().args(words))?;
    let program = target_dir().join(profile.folder()).join("examples/simulated_samples");
    let output = std::process::Command::new(&program).output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(
        output.status.success(),
        "the loop over a simulated bus failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Parses lines `samples DRIVER SENSOR` and `samples DRIVER SENSOR FILTERED`.
fn parse_rates(text: &str, into: &mut Rates) {
    for line in text.lines() {
        let Some(numbers) = line.strip_prefix("samples ") else { continue };
        let numbers: Vec<f64> = numbers.split(' ').filter_map(|number| number.parse().ok()).collect();
        let (driver, sensor) = match numbers[..] {
            [driver, sensor] => (driver, sensor),
            [driver, sensor, filtered] => {
                into.filtered.push(filtered / driver * 100.0);
                (driver, sensor)
            }
            _ => continue,
        };
        into.driver.push(driver);
        into.sensor.push(sensor);
        into.share.push(sensor / driver * 100.0);
    }
}

fn section(results: &Results) -> Section {
    let row = |name: &str, value: String| report::row(name, [value]);
    let [bus, simulated] = &results.rates;
    let mb = results.size as f64 / MB;
    let mut rows = vec![
        row("program, MB", format!("**{}**", ThreeDigits(mb))),
        row("from power-on to the first measurement, s", results.first.with_range()),
        row("resident memory, as the leader, MiB", results.resident.with_range()),
        row("  maximum", results.peak.with_range()),
        row(
            "processor time per sample, including publishing, averaging and reporting, ms",
            results.sample.with_range(),
        ),
    ];
    for (name, rates) in [("/dev/i2c-1", bus), ("a simulated bus, on this machine", simulated)] {
        rows.push(row(&format!("samples per second from {name}: driver alone"), rates.driver.with_range()));
        rows.push(row("  sensor, with error handling and checks", rates.sensor.with_range()));
        rows.push(row("  percent of the driver alone", rates.share.with_range()));
        if rates.filtered.len() > 0 {
            rows.push(row("  percent, with a filter", rates.filtered.with_range()));
        }
    }
    Section {
        title: "On an emulated Raspberry Pi".into(),
        method: format!(
            "A Raspberry Pi 3B under QEMU on this machine (`cargo xtask pi`), with one processor instead of four, Debian's \
             kernel and a TMP105 on `/dev/i2c-1`; ZooKeeper and the HTTP listener run beside it. `/init` starts the \
             program as soon as the network is up. It leads, with one sensor and a period of {PERIOD}; processor time is \
             the kernel's (`schedstat`) over {} s. **Median** (smallest – largest) of {} boots. Samples per second: the two \
             take turns of a few samples; the driver alone is the crate `lm75` on linux-embedded-hal, or on the simulated \
             bus; the sensor on `/dev/i2c-1` has a filter. Times on an emulated processor depend on this machine: only \
             the ratios carry over.",
            MEASURING_TIME.as_secs(),
            results.first.len(),
        ),
        head: cells(["", ""]),
        rows,
        notes: Vec::new(),
        targets: vec![
            Target::at_most("program for a Raspberry Pi", 12.0, " MB", mb),
            Target::at_most("resident memory on a Raspberry Pi", 12.0, " MiB", results.resident.median()),
            Target::at_least(
                "samples from /dev/i2c-1, relative to the driver alone",
                90.0,
                " %",
                bus.share.median(),
            ),
            Target::at_least(
                "samples from a simulated bus, relative to the driver alone",
                90.0,
                " %",
                simulated.share.median(),
            ),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sample_rates_are_parsed() {
        let mut into = Rates::default();
        parse_rates("samples 100 90\n(noise)\nsamples 200.5 200.5 401\nsamples 1\n", &mut into);
        assert_eq!((into.driver.median(), into.sensor.len(), into.share.median()), (150.25, 2, 95.0));
        assert_eq!(into.filtered.median(), 200.0);
    }
}
