//! `cargo xtask home-assistant`: lets Home Assistant read what a fleet publishes through an MQTT broker.

use std::process::ExitCode;

use anyhow::Context as _;
use atalaya_testbed::install::{self, Environment, Part};
use xtask::cargo::cargo;

/// Let Home Assistant read the announcements and records of a fleet, through a broker.
///
/// Home Assistant, without its web server, is installed from PyPI below the target folder on first use. It needs Python
/// 3.13.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments) -> anyhow::Result<ExitCode> {
    let python = install::ensure(&[Part::Python, Part::Mosquitto])
        .and_then(|()| Environment::HOME_ASSISTANT.ready())
        .context("cannot install Home Assistant")?;
    let test = [
        "test",
        "--package",
        "atalaya",
        "--features",
        "fault-points",
        "--test",
        "program",
        "home_assistant::",
    ];
    let status = cargo().env("ATALAYA_HOME_ASSISTANT", python).args(test).status();
    Ok(if status.context("cannot run cargo")?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
