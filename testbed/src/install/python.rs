//! Python virtual environments below the target folder.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use super::part::{Part, python, python_of_version, runs};
use super::{locked, run};
use crate::scratch;

#[derive(Clone, Copy, Debug)]
pub struct Environment {
    name: &'static str,
    requirements: &'static str,
    imports: &'static str,
    /// Version of Python, `None` for any.
    version: Option<&'static str>,
    options: &'static [&'static str],
}

impl Environment {
    /// Kazoo, and the packages that its programs use.
    pub const KAZOO: Self =
        Self::of("kazoo", include_str!("../../kazoo/requirements.txt"), "kazoo.client, puresasl, requests");
    /// Tools that check an API from outside: Schemathesis, and the validator of OpenAPI documents.
    pub const API: Self =
        Self::of("api", include_str!("../../api/requirements.txt"), "schemathesis, openapi_spec_validator");
    /// Common packages for an API like the collector's, and for the execution of tasks.
    pub const PEER: Self = Self::of(
        "peer",
        include_str!("../../peer/requirements.txt"),
        "celery.bin.celery, flask, gunicorn, redis",
    );
    /// numpy and scipy, whose statistics are the reference for the leader's.
    pub const NUMERIC: Self =
        Self::of("numeric", include_str!("../../numeric/requirements.txt"), "numpy, scipy");
    /// Home Assistant with its MQTT integration, and without the packages that only other integrations need.
    pub const HOME_ASSISTANT: Self = Self {
        version: Some("3.13"),
        // All packages are named in the requirements.
        options: &["--no-deps"],
        ..Self::of(
            "home-assistant",
            include_str!("../../home-assistant/requirements.txt"),
            "homeassistant.const, paho.mqtt.client, voluptuous",
        )
    };

    const fn of(name: &'static str, requirements: &'static str, imports: &'static str) -> Self {
        Self { name, requirements, imports, version: None, options: &[] }
    }

    /// Creates the virtual environment if it is missing or its requirements have changed, and returns the path of its
    /// Python. [`Part::Python`] must be installed.
    pub fn ready(self) -> anyhow::Result<PathBuf> {
        let Environment { name, requirements, imports, version, options } = self;
        let parent = scratch::testbed_dir();
        std::fs::create_dir_all(&parent).with_context(|| format!("cannot make {}", parent.display()))?;
        let _one_at_a_time = locked(&parent.join(format!("{name}.lock")))?;
        let folder = parent.join(name);
        let (interpreter, done) = (folder.join("bin/python"), folder.join("requirements.installed"));
        let is_current = std::fs::read_to_string(&done).is_ok_and(|installed| installed == requirements);
        if is_current && runs(Command::new(&interpreter).args(["-c", &format!("import {imports}")])) {
            return Ok(interpreter);
        }
        let python = match version {
            None => python().map(str::to_owned),
            Some(version) => python_of_version(version),
        };
        let missing = || match version {
            None => format!("please install {}", Part::Python.advice()),
            Some(version) => {
                format!("please install Python {version}, for example with `pyenv install {version}`")
            }
        };
        let python = python.with_context(missing)?;
        eprintln!("making a Python environment with {imports} in {}", folder.display());
        run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&folder))?;
        let wanted = folder.join("requirements.txt");
        std::fs::write(&wanted, requirements)
            .with_context(|| format!("cannot write {}", wanted.display()))?;
        let pip = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--requirement"];
        run(Command::new(&interpreter).args(pip).arg(&wanted).args(options))?;
        std::fs::rename(&wanted, &done).with_context(|| format!("cannot write {}", done.display()))?;
        Ok(interpreter)
    }
}
