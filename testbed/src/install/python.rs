//! Python virtual environments below the target folder.

use std::path::PathBuf;
use std::process::Command;

use super::command::{InstallError, locked, run};
use super::part::{Part, python, runs};
use crate::scratch;

/// A Python virtual environment below the target folder.
#[derive(Clone, Copy, Debug)]
pub struct Environment {
    name: &'static str,
    requirements: &'static str,
    imports: &'static str,
}

impl Environment {
    /// Kazoo, and the packages that its programs use.
    pub const KAZOO: Self = Self {
        name: "kazoo",
        requirements: include_str!("../../kazoo/requirements.txt"),
        imports: "kazoo.client, puresasl, requests",
    };
    /// Tools that check an API from outside: Schemathesis, and the validator of OpenAPI documents.
    pub const API: Self = Self {
        name: "api",
        requirements: include_str!("../../api/requirements.txt"),
        imports: "schemathesis, openapi_spec_validator",
    };
    /// Common packages for an API like the collector's, and for the execution of tasks.
    pub const PEER: Self = Self {
        name: "peer",
        requirements: include_str!("../../peer/requirements.txt"),
        imports: "celery.bin.celery, flask, gunicorn, redis",
    };
    /// numpy and scipy, whose statistics are the reference for the leader's.
    pub const NUMERIC: Self = Self {
        name: "numeric",
        requirements: include_str!("../../numeric/requirements.txt"),
        imports: "numpy, scipy",
    };
}

/// Creates the virtual environment with Kazoo; see [`ensure_environment`].
pub fn ensure_kazoo(progress: impl FnMut(&str)) -> Result<PathBuf, InstallError> {
    ensure_environment(Environment::KAZOO, progress)
}

/// Creates a virtual environment if it is missing or its requirements have changed, and returns the path of its Python.
/// [`Part::Python`] must be installed.
pub fn ensure_environment(
    environment: Environment,
    mut progress: impl FnMut(&str),
) -> Result<PathBuf, InstallError> {
    let Environment { name, requirements, imports } = environment;
    let folder = scratch::testbed_dir().join(name);
    let io = |what: String| move |source| InstallError::Io { what, source };
    let parent = scratch::testbed_dir();
    std::fs::create_dir_all(&parent).map_err(io(format!("make the folder {}", parent.display())))?;
    let _one_at_a_time = locked(&parent.join(format!("{name}.lock")))?;

    let interpreter = folder.join("bin/python");
    let done = folder.join("requirements.installed");
    let is_current = std::fs::read_to_string(&done).is_ok_and(|installed| installed == requirements);
    if is_current && runs(Command::new(&interpreter).args(["-c", &format!("import {imports}")])) {
        return Ok(interpreter);
    }
    let Some(python) = python() else {
        return Err(InstallError::ByHand {
            why: "Python or its venv is missing",
            missing: vec![Part::Python],
        });
    };
    progress(&format!("making a Python environment with {imports} in {}", folder.display()));
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(io(format!("remove the old {}", folder.display())))?;
    }
    run(Command::new(python).args(["-m", "venv"]).arg(&folder), &mut progress)?;
    let wanted = folder.join("requirements.txt");
    std::fs::write(&wanted, requirements).map_err(io(format!("write {}", wanted.display())))?;
    let pip = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--requirement"];
    run(Command::new(&interpreter).args(pip).arg(&wanted), &mut progress)?;
    std::fs::write(&done, requirements).map_err(io(format!("write {}", done.display())))?;
    Ok(interpreter)
}
