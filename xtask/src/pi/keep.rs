//! Interactive use of the Pi: a console, an adjustable thermometer, and a fleet to join.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use atalaya_testbed::pi::{Clock, Qmp, THERMOMETERS, emulator};
use atalaya_testbed::{Scratch, target_dir};

use super::site::{ID, SIMULATED, Site};

/// Returns the path of the socket at which `--temperature` finds the running Pi.
fn socket() -> PathBuf {
    target_dir().join("testbed").join("pi.sock")
}

pub(crate) fn set_temperature(celsius: f64) -> anyhow::Result<ExitCode> {
    let socket = socket();
    let Ok(mut qmp) = Qmp::connect(&socket) else {
        bail!("no Pi runs here: start one with `cargo xtask pi --shell` or `--keep`");
    };
    let thermometer = THERMOMETERS[0];
    qmp.set_temperature(thermometer.id, celsius).context("the thermometer takes -40 to 125 °C")?;
    println!("the thermometer at {:#04x} measures {celsius} °C", thermometer.address);
    Ok(ExitCode::SUCCESS)
}

/// Links to the socket of the emulator, which is in a scratch folder, from the path of [`socket`].
fn publish(own: &std::path::Path) -> anyhow::Result<()> {
    let socket = socket();
    match std::fs::remove_file(&socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", socket.display()));
        }
        _ => {}
    }
    symlink(own, &socket).with_context(|| format!("cannot make {}", socket.display()))
}

/// Keeps everything running until Ctrl-C, which ends this process, and with it all programs that it has started.
pub(crate) fn until_stopped(site: &mut Site) -> anyhow::Result<ExitCode> {
    let Some(pi) = site.pi.as_mut() else { bail!("the Pi has no power") };
    publish(&pi.socket())?;
    pi.qmp().hang_up();
    println!("ZooKeeper:    {}", site.zookeeper.connect_string());
    println!("temperature:  cargo xtask pi --temperature 36.5");
    println!("end it:       Ctrl-C");
    loop {
        std::thread::park();
    }
}

pub(crate) fn shell(site: &mut Site) -> anyhow::Result<ExitCode> {
    for (id, _) in SIMULATED {
        site.start_simulated(id);
    }
    let run = site.command(ID, "pi", &site.api_url()?);
    let motd = format!(
        "\nA Raspberry Pi 3B, emulated. Two thermometers are on /dev/i2c-1, at 0x48 and 0x49.\n\n\
         join the fleet:   /root/join\n\
         the bus:          i2cdetect -y 1\n\
         the boards:       cat /etc/atalaya/boards.toml\n\
         the temperature:  on another terminal of this machine: cargo xtask pi --temperature 36.5\n\
         ZooKeeper:        {} from here, {} on this machine\n\
         switch it off:    poweroff -f\n\n",
        site.servers(),
        site.zookeeper.connect_string(),
    );
    let mut image = site.image.clone();
    image.file("etc/motd", motd.as_bytes());
    image.program("root/join", format!("#!/bin/sh\nexec env {run}\n").as_bytes());
    let folder = Scratch::new("pi");
    let mut command = emulator(&site.parts, &image, Clock::Set, folder.path(), &["person"]);
    publish(&folder.path().join("qmp.sock"))?;
    eprintln!("booting; this terminal becomes the console of the Pi");
    // Ctrl-C on this terminal is sent to the Pi as a character.
    let status = command.status().context("cannot start QEMU")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
