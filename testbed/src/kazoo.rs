//! Kazoo, the Python client of existing fleets, unmodified.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::install::{self, Environment, Part};
use crate::process::Process;
use crate::security::Security;
use crate::spawn::parent_death_command;

/// A Python with Kazoo, in a virtual environment below the target folder that is created on first use.
#[derive(Clone, Debug)]
pub struct Kazoo {
    python: PathBuf,
    /// Connection settings of its programs; see `kazoo/secured.py`.
    environment: Vec<(&'static str, String)>,
}

impl Kazoo {
    #[track_caller]
    pub fn ready() -> Self {
        static PYTHON: OnceLock<PathBuf> = OnceLock::new();
        let python = PYTHON.get_or_init(|| {
            install::require(&[Part::Python]);
            Environment::KAZOO.ready().unwrap_or_else(|error| panic!("cannot use Kazoo: {error:#}"))
        });
        Self { python: python.clone(), environment: Vec::new() }
    }

    /// Returns a Kazoo like [`ready`](Self::ready) whose programs connect with TLS, authenticate as `user`, and create
    /// znodes with `acl`.
    ///
    /// Entries of an ACL are separated by spaces, such as `sasl:fleet:cdrw sasl:admin:cdrwa`.
    #[track_caller]
    pub fn secured(security: &Security, user: &str, acl: &str) -> Self {
        let path = |path: PathBuf| path.display().to_string();
        let environment = vec![
            ("KAZOO_CA", path(security.ca())),
            ("KAZOO_CERTIFICATE", path(security.certificate())),
            ("KAZOO_KEY", path(security.key())),
            ("KAZOO_USER", user.to_owned()),
            ("KAZOO_PASSWORD_FILE", path(security.password_file(user))),
            ("KAZOO_ACL", acl.to_owned()),
        ];
        Self { environment, ..Self::ready() }
    }

    /// Returns a Kazoo like [`secured`](Self::secured) without TLS, with the scheme `digest` instead of SASL.
    #[track_caller]
    pub fn with_digest(security: &Security, user: &str, acl: &str) -> Self {
        let environment = vec![
            ("KAZOO_AUTH", "digest".to_owned()),
            ("KAZOO_USER", user.to_owned()),
            ("KAZOO_PASSWORD_FILE", security.password_file(user).display().to_string()),
            ("KAZOO_ACL", acl.to_owned()),
        ];
        Self { environment, ..Self::ready() }
    }

    /// Runs one of the scripts in `testbed/kazoo/`: `follower.py`, `leader.py`, `contend.py`, `hold.py`, `classic.py`,
    /// `init_config.py`. The comment at the top of each lists its arguments and the lines that it prints.
    #[track_caller]
    pub fn script(&self, name: &str, args: &[&str]) -> Process {
        Process::spawn(self.command(name, args)).called(format!("{name} {}", args.join(" ")), usize::MAX)
    }

    /// Runs a script that reads commands from its standard input: `probe.py`, `cycle.py`.
    #[track_caller]
    pub fn piped(&self, name: &str, args: &[&str]) -> Process {
        Process::spawn_piped(self.command(name, args)).called(name, 20)
    }

    #[track_caller]
    pub(crate) fn command(&self, name: &str, args: &[&str]) -> Command {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("kazoo").join(name);
        assert!(script.exists(), "there is no {}", script.display());
        let mut command = parent_death_command(&self.python);
        // Proxies must not be used for an API on loopback.
        for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.env("PYTHONDONTWRITEBYTECODE", "1").arg("-u").arg(script).args(args);
        command
    }
}
