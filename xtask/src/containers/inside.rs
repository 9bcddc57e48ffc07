//! Part of the test that runs in the namespaces.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, ensure};

use super::compose::{Daemon, Docker, passed};
use super::{fleets, parts};
use xtask::cargo::{succeeds, workspace};

type Check = fn(&Docker, &Path) -> anyhow::Result<()>;
const CHECKS: [(&str, Check); 3] =
    [("ensemble", fleets::ensemble), ("single", fleets::single), ("existing", fleets::existing)];

/// Runs the tests in an empty folder. The other files were prepared outside, where the network is available: the archive
/// of a Debian system with the third-party programs; the path of the program, relative to the workspace; and the image on
/// which ours is based, `scratch` if the program is static.
pub(super) fn run(
    folder: &Path,
    tarball: &Path,
    [program, base]: [&str; 2],
    filters: &[String],
) -> anyhow::Result<()> {
    ensure!(std::process::id() == 1, "this is called by `cargo xtask containers` only");
    // Docker and its helpers use fixed paths here.
    for folder in ["/run", "/etc/docker"] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {folder}"))?;
        succeeds(Command::new("mount").args(["-t", "tmpfs", "atalaya-containers", folder]))?;
    }
    succeeds(Command::new("ip").args(["link", "set", "lo", "up"]))?;
    let start = Instant::now();
    let daemon = Daemon::start(folder)?;
    let check = |docker: &Docker| {
        parts::images(docker, tarball, &folder.join("parts"))?;
        image(docker, program, base)?;
        for (name, check) in CHECKS {
            if filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str())) {
                check(docker, folder).with_context(|| format!("the fleet {name}"))?;
                println!("  ({:.0} s so far)", start.elapsed().as_secs_f64());
            }
        }
        Ok(())
    };
    let outcome = check(&daemon.docker);
    daemon.stop();
    println!("\nthe daemon has ended ({:.0} s so far)", start.elapsed().as_secs_f64());
    outcome
}

/// Builds our image twice and inspects it.
fn image(docker: &Docker, program: &str, base: &str) -> anyhow::Result<()> {
    println!("\nthe image");
    let context = workspace().display().to_string();
    let (program_argument, base_argument) = (format!("PROGRAM={program}"), format!("BASE={base}"));
    let options = "build --quiet --no-cache --network=none --build-arg BUILDER=atalaya-test-parts --tag";
    let build = |tag: &str| {
        let arguments = ["--build-arg", &program_argument, "--build-arg", &base_argument, &context];
        let words: Vec<&str> = options.split(' ').chain([tag]).chain(arguments).collect();
        docker.run(&words)
    };
    build("atalaya")?;
    build("atalaya:again")?;
    let (one, two) = (docker.inspect("atalaya")?, docker.inspect("atalaya:again")?);
    ensure!(one["RootFS"]["Layers"] == two["RootFS"]["Layers"], "built twice, its files are not the same");
    let bytes = one["Size"].as_u64().unwrap_or(0);
    let size = fs::metadata(workspace().join(program))?.len();
    let is_small = base != "scratch" || bytes < size + 1_000_000;
    ensure!(is_small, "the image has {bytes} bytes, the program {size}: what else is in it?");
    let config = &one["Config"];
    ensure!(config["User"] == "65532:65532", "it runs as {}", config["User"]);
    passed(&format!(
        "the same files from two builds; {bytes} bytes, the program has {size} of them; no root"
    ));

    let version = docker.run(&["run", "--rm", "--network=none", "--read-only", "atalaya", "--version"])?;
    ensure!(version == concat!("atalaya ", env!("CARGO_PKG_VERSION")), "it says it is {version}");
    let label = &config["Labels"]["org.opencontainers.image.version"];
    ensure!(label == env!("CARGO_PKG_VERSION"), "the label of the Dockerfile says version {label}");
    let demo = "run --rm --network=none --read-only --cap-drop=ALL atalaya demo --plain --for 3s";
    let demo = docker.run(&demo.split(' ').collect::<Vec<_>>())?;
    ensure!(demo.contains("average"), "the demo shows no average:\n{demo}");
    passed("`atalaya demo --plain` in a container that can write nothing");
    Ok(())
}
