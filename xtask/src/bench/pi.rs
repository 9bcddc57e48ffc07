//! The node on an emulated Raspberry Pi: its size, its memory, how soon it measures, and what a sample costs.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use atalaya_testbed::install::Part;
use atalaya_testbed::pi::{Clock, Parts};
use atalaya_testbed::target_dir;

use super::Bench;
use super::figures::{Aim, Sample, Section, Short};
use crate::cargo::{cargo, require};
use crate::pi::build::{self, How};
use crate::pi::site::{ID, PATIENCE, Site};

/// The megabyte of package sizes.
const MB: f64 = 1e6;
/// The shortest period that a node takes, so that most of what is measured is sampling.
const PERIOD: &str = "100ms";
/// How long a node's processor time is looked at.
const WINDOW: Duration = Duration::from_secs(20);
/// What the programs that loop over a bus may take for all their rounds.
const LOOPS: Duration = Duration::from_secs(120);

/// Samples a second.
#[derive(Default)]
struct Rates {
    /// A bare loop over the driver.
    bare: Sample,
    /// Ours.
    ours: Sample,
    /// Ours in percent of the bare one, of a round in which they took turns.
    share: Sample,
    /// A sensor with a filter, in percent of the bare one; where it was measured apart.
    filtered: Sample,
}

/// What came out.
#[derive(Default)]
struct Figures {
    /// Bytes of the program.
    size: usize,
    /// Seconds from power-on to the first measurement.
    first: Sample,
    /// MiB, as the leader, after a while.
    resident: Sample,
    peak: Sample,
    /// Milliseconds of processor time for each sample, published and averaged.
    sample: Sample,
    /// On the Pi, and on a simulated bus.
    rates: [Rates; 2],
}

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Vec<Section>> {
    require(&[Part::OpenSsl])?;
    let parts = Parts::ready(|line| eprintln!("{line}")).context("no parts for a Pi")?;
    let how = How { release: true, is_static: false };
    let program = build::for_the_pi(how)?;
    let loops = build::example_for_the_pi(how, "atalaya-hal", "samples")?;
    let mut figures = Figures { size: program.len(), ..Figures::default() };

    // No simulated nodes: whatever runs beside the Pi takes the processor that it is emulated on.
    let mut site = Site::prepare(parts, &program, "".as_ref())?;
    site.image.program("bin/samples", &loops);
    let fleet = site
        .command(ID, "pi", &site.api_url()?)
        .replace("--sampling-period 1s", &format!("--sampling-period {PERIOD}"));
    site.image.program("root/join", format!("#!/bin/sh\nexec env {fleet}\n").as_bytes());
    for boot in 1..=if bench.quick { 1 } else { 5 } {
        eprintln!("boot {boot}");
        site.power_on(Clock::Set, &["start=/root/join"]);
        let pi = site.pi()?;
        let published = pi.console().wait_for("published the first measurement", PATIENCE);
        figures.first.push(published.at.duration_since(pi.powered()).as_secs_f64());
        let from = Instant::now();
        site.api.wait_for("reports", PATIENCE, |all| all.iter().filter(|one| one.at > from).count() > 20);
        let before = look(&mut site)?;
        std::thread::sleep(WINDOW);
        let after = look(&mut site)?;
        figures.sample.push((after.used - before.used) * 1e3 / f64::from(after.samples - before.samples));
        figures.resident.push(after.resident);
        figures.peak.push(after.peak);
        // The bus for itself.
        site.pi()?.console().must("kill $(pidof atalaya)");
        site.gone(ID, PATIENCE);
        let output = site.pi()?.console().run_within("samples i2c-1 0x48", LOOPS);
        ensure!(output.status == 0, "the loop over the bus failed: {}", output.text());
        rates(&output.text(), &mut figures.rates[0]);
        site.pi.take().context("the Pi has no power")?.cut_power();
    }
    drop(site);
    rates(&simulated()?, &mut figures.rates[1]);
    Ok(vec![section(&figures)])
}

/// What the Pi's kernel says of the node.
struct Look {
    /// Seconds of processor time.
    used: f64,
    samples: i32,
    /// MiB.
    resident: f64,
    peak: f64,
}

fn look(site: &mut Site) -> anyhow::Result<Look> {
    let samples = site.measurement(ID)?.context("the node has no znode")?.1;
    let command = "cd /proc/$(pidof atalaya) && cat task/*/schedstat && grep -E 'VmRSS|VmHWM' status";
    let output = site.pi()?.console().must(command);
    let mib = |name: &str| {
        let kib = output.lines.iter().find_map(|line| {
            line.strip_prefix(name)?.trim_matches([':', ' ', '\t']).split(' ').next()?.parse::<f64>().ok()
        });
        kib.map(|kib| kib / 1024.0).with_context(|| format!("no {name} in {}", output.text()))
    };
    let used: u64 = output
        .lines
        .iter()
        .filter_map(|line| {
            let fields: Vec<u64> = line.split(' ').map_while(|field| field.parse().ok()).collect();
            (fields.len() == 3).then(|| fields[0])
        })
        .sum();
    ensure!(used > 0, "the Pi does not say how long the node has run: {}", output.text());
    Ok(Look { used: used as f64 / 1e9, samples, resident: mib("VmRSS")?, peak: mib("VmHWM")? })
}

/// Runs the loops over a simulated bus on this machine.
fn simulated() -> anyhow::Result<String> {
    let words = ["build", "--release", "--package", "atalaya-sim", "--example", "samples"];
    let status = cargo().args(words).status().context("cannot run cargo")?;
    ensure!(status.success(), "the loop over a simulated bus does not build, see above");
    let program = target_dir().join("release/examples/samples");
    let output = std::process::Command::new(&program).output();
    let output = output.with_context(|| format!("cannot run {}", program.display()))?;
    ensure!(
        output.status.success(),
        "the loop over a simulated bus failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Lines of `samples BARE OURS`, or `samples BARE OURS FILTERED`.
fn rates(text: &str, into: &mut Rates) {
    for line in text.lines() {
        let Some(numbers) = line.strip_prefix("samples ") else { continue };
        let numbers: Vec<f64> = numbers.split(' ').filter_map(|number| number.parse().ok()).collect();
        let (bare, ours) = match numbers[..] {
            [bare, ours] => (bare, ours),
            [bare, ours, filtered] => {
                into.filtered.push(filtered / bare * 100.0);
                (bare, ours)
            }
            _ => continue,
        };
        into.bare.push(bare);
        into.ours.push(ours);
        into.share.push(ours / bare * 100.0);
    }
}

fn section(figures: &Figures) -> Section {
    let show = |sample: &Sample| format!("**{}** ({})", Short(sample.median()), sample.range());
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let [bus, simulated] = &figures.rates;
    let mb = figures.size as f64 / MB;
    let mut rows = vec![
        row("the program, MB", format!("**{}**", Short(mb))),
        row("from power-on to the first measurement, s", show(&figures.first)),
        row("resident memory, as the leader, MiB", show(&figures.resident)),
        row("  at most", show(&figures.peak)),
        row("processor time for a sample, published, averaged and reported, ms", show(&figures.sample)),
    ];
    for (name, rates) in [("/dev/i2c-1", bus), ("a simulated bus, on this machine", simulated)] {
        rows.push(row(&format!("samples a second from {name}: the driver alone"), show(&rates.bare)));
        rows.push(row("  a sensor, with its errors and checks", show(&rates.ours)));
        rows.push(row("  percent of the driver alone", show(&rates.share)));
        if rates.filtered.len() > 0 {
            rows.push(row("  percent, with a filter", show(&rates.filtered)));
        }
    }
    Section {
        title: "On an emulated Raspberry Pi".into(),
        method: format!(
            "A Raspberry Pi 3B under QEMU on this machine (`cargo xtask pi`), one processor for its four, with Debian's \
             kernel and a TMP105 on `/dev/i2c-1`; ZooKeeper and the HTTP listener beside it. The program is \
             started by `/init` as soon as there is a network. It leads, with one sensor and a period of {PERIOD}; \
             processor time is the kernel's (`schedstat`) over {} s. **Median** (smallest – largest) of {} boots. Samples a \
             second: the two take turns of a few samples; the driver alone is the crate `lm75` on linux-embedded-hal, or \
             on the simulated bus; the sensor on `/dev/i2c-1` has a filter. Times on an emulated processor are this machine's: what carries over is how they compare.",
            WINDOW.as_secs(),
            figures.first.len(),
        ),
        head: vec![String::new(), String::new()],
        rows,
        notes: Vec::new(),
        aims: vec![
            Aim::at_most("program for a Raspberry Pi", 12.0, " MB", mb),
            Aim::at_most("resident memory on a Raspberry Pi", 12.0, " MiB", figures.resident.median()),
            Aim::at_least("samples from /dev/i2c-1, beside the driver alone", 90.0, " %", bus.share.median()),
            Aim::at_least(
                "samples from a simulated bus, beside the driver alone",
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
    fn the_loops_are_understood() {
        let mut into = Rates::default();
        rates("samples 100 90\n(noise)\nsamples 200.5 200.5 401\nsamples 1\n", &mut into);
        assert_eq!((into.bare.median(), into.ours.len(), into.share.median()), (150.25, 2, 95.0));
        assert_eq!(into.filtered.median(), 200.0);
    }
}
