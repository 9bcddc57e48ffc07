//! Compose file of an existing fleet, with our image instead of its own.

use std::fs;
use std::path::Path;

use super::docker::Docker;
use super::fleet::CALM;
use super::project::{Project, holds};
use super::reports::Reports;
use super::wait::until;

pub(super) fn check(docker: &Docker, folder: &Path) -> anyhow::Result<()> {
    let folder = folder.join("existing");
    fs::create_dir_all(&folder)?;
    let compose = folder.join("docker-compose.yml");
    fs::write(&compose, include_str!("existing/docker-compose.yml"))?;
    fs::write(folder.join("Dockerfile"), include_str!("existing/Dockerfile"))?;
    Project::new(docker, "existing", &[compose]).run(|fleet| {
        fleet.said(&["up", "--detach", "--build"])?;
        let reports = Reports::new()?;
        until("reports arrive", CALM, || Ok((reports.newest()? >= 5).then_some(())))?;
        let cycles = reports.complete()?;
        holds(&format!("built from its Dockerfile, told only an id: {cycles} averages arrive, each once"));
        let last = fleet.said(&["logs", "--no-color", "--tail", "3", "app1"])?;
        fleet.stop(&["app1", "app2", "app3", "api"], 0).map_err(|error| error.context(last))?;
        holds("nodes and API ended with 0");
        Ok(())
    })
}
