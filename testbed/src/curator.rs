//! Apache Curator, the Java client of many fleets, unmodified.

use std::path::Path;
use std::sync::OnceLock;

use crate::install::{self, Part};
use crate::java;
use crate::process::Process;
use crate::spawn::parent_death_command;

/// Curator's recipes, and a Java that runs programs from source.
#[derive(Clone, Copy, Debug)]
pub struct Curator(());

impl Curator {
    #[track_caller]
    pub fn ready() -> Self {
        static READY: OnceLock<()> = OnceLock::new();
        READY.get_or_init(|| install::require(&[Part::Curator]));
        Self(())
    }

    /// Runs `testbed/curator/Hold.java`. The comment at its top lists its arguments and the lines that it prints. A
    /// line on its standard input makes it release its recipe.
    #[track_caller]
    pub fn hold(self, kind: &str, id: &str, hosts: &str, path: &str) -> Process {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("curator/Hold.java");
        let mut command = parent_death_command("java");
        java::own_options(&mut command);
        command.args(["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData"]);
        command.args(["-cp", &java::curator_classpath().expect("Curator was looked for before")]);
        command.arg(program).args([kind, id, hosts, path]);
        Process::spawn_piped(command).called(format!("Curator {kind} {id}"), usize::MAX)
    }
}
