//! What a node says of itself at `/atalaya/nodes/{id}`, and how the holder of a taken id is named with it.

use std::time::Duration;

use atalaya_hal::SensorInfo;
use atalaya_recipes::Session;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The parent of what nodes say of themselves.
pub const PARENT: &str = "/atalaya/nodes";

/// A node, in its own words.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Presence {
    /// The machine's host name.
    pub host: String,
    /// The process id on that machine.
    pub pid: u32,
    /// Atalaya's version.
    pub version: String,
    /// Which board of boards.toml it is.
    pub board: String,
    /// When it was started, by its own clock.
    pub started: Timestamp,
    /// Its sensors.
    #[serde(default)]
    pub sensors: Vec<PresentSensor>,
}

/// A sensor of a node.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct PresentSensor {
    /// Its name.
    pub name: String,
    /// Its chip.
    pub chip: String,
    /// What it measures.
    pub quantities: Vec<String>,
}

impl Presence {
    /// This process, as board `board` with `sensors`.
    pub fn of<'a>(board: &str, sensors: impl Iterator<Item = &'a SensorInfo>) -> Presence {
        Presence {
            host: host(),
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            board: board.to_owned(),
            started: Timestamp::now(),
            sensors: sensors
                .map(|sensor| PresentSensor {
                    name: sensor.name.clone(),
                    chip: sensor.chip.clone(),
                    quantities: sensor.quantities.iter().map(|quantity| quantity.name().to_owned()).collect(),
                })
                .collect(),
        }
    }

    /// As the znode has it.
    pub fn data(&self) -> Vec<u8> {
        // Strings and numbers only: this cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// This machine's name.
#[cfg(unix)]
pub fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// This machine's name.
#[cfg(not(unix))]
pub fn host() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_else(|_| "unknown".to_owned())
}

/// Names the process behind `session`, which holds the id `id`: its host, if it is a node that says so.
pub async fn describe_holder(session: &Session, id: &str, holder: i64) -> String {
    const PATIENCE: Duration = Duration::from_secs(1);
    let said = tokio::time::timeout(PATIENCE, async {
        session.link().await.get(&format!("{PARENT}/{id}")).await.ok()
    });
    let said = said.await.ok().flatten().filter(|(_, stat)| stat.ephemeral_owner == holder);
    match said.and_then(|(data, _)| serde_json::from_slice::<Presence>(&data).ok()) {
        Some(Presence { host, pid, .. }) => format!("session {holder:#x} (process {pid} on host {host})"),
        None => format!("session {holder:#x} (which does not say its host)"),
    }
}
