//! Images of third-party services in the compose files, made of Debian's packages, so that no registry is needed.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use atalaya_testbed::install::debian;
use atalaya_testbed::{Scratch, target_dir};

use xtask::cargo::{Profile, output, succeeds};

use super::compose::Docker;

const BASE: &str = "atalaya-test-parts";

/// Script that creates a Debian system with all services. `$1`: the folder; `$2`: the file; `$3`: the release; `$4`:
/// the mirror.
const SCRIPT: &str = r#"
set -eu
debootstrap --variant=minbase --include=ca-certificates "$3" "$1" "$4"
# Nothing is started.
printf '#!/bin/sh\nexit 101\n' > "$1/usr/sbin/policy-rc.d"
chmod 755 "$1/usr/sbin/policy-rc.d"
mount -t proc proc "$1/proc"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
chroot "$1" apt-get -q -o Acquire::Retries=3 install --yes --no-install-recommends \
    default-jre-headless zookeeper libnetty-java redis-server redis-tools prometheus wget
chroot "$1" dpkg-query --show --showformat '${Package} ${Version}\n' zookeeper redis-server prometheus > "$1/versions"
umount "$1/proc"
rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/usr/share/doc "$1"/usr/share/locale
tar --numeric-owner -C "$1" -cf "$2" .
"#;

/// Recipe of an image: its name, its Dockerfile, and the files that the Dockerfile copies.
type Recipe = (&'static str, &'static str, &'static [(&'static str, &'static str)]);
const IMAGES: [Recipe; 3] = [
    (
        "zookeeper:3.9",
        include_str!("parts/Dockerfile.zookeeper"),
        &[
            ("zookeeper.sh", include_str!("parts/zookeeper.sh")),
            ("log4j.properties", include_str!("parts/log4j.properties")),
        ],
    ),
    ("redis:7", include_str!("parts/Dockerfile.redis"), &[("redis.sh", include_str!("parts/redis.sh"))]),
    (PROMETHEUS, include_str!("parts/Dockerfile.prometheus"), &[]),
];
/// Name of the image in deploy/compose.yml.
const PROMETHEUS: &str = "prom/prometheus:v3.5.0";

/// Returns the archive of the Debian system. Creates it, unless an earlier run did. Needs the machine's network.
pub(super) fn tarball() -> anyhow::Result<PathBuf> {
    let mut recipe = DefaultHasher::new();
    SCRIPT.hash(&mut recipe);
    let folder = target_dir().join("containers");
    let file = folder.join(format!("parts-{:016x}.tar", recipe.finish()));
    if file.exists() {
        return Ok(file);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let (release, mirror) = debian::mirror()?;
    eprintln!("making a Debian {release} with ZooKeeper, Redis and Prometheus in it, once");
    let scratch = Scratch::new("parts");
    let (root, made) = (scratch.path().join("root"), scratch.path().join("parts.tar"));
    // In namespaces of its own, so that its mounts and processes end with it.
    let mut command = atalaya_testbed::parent_death_command("unshare");
    command.args(["--mount", "--pid", "--fork", "--kill-child", "--", "sh", "-c", SCRIPT, "parts"]);
    let output =
        command.args([&root, &made]).args([release, &mirror]).output().context("cannot run unshare")?;
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "no Debian could be made:\n{}", String::from_utf8_lossy(&said));
    fs::rename(&made, &file).with_context(|| format!("cannot move {}", made.display()))?;
    Ok(file)
}

/// Builds the images and prints the versions of their packages.
pub(super) fn images(docker: &Docker, tarball: &Path, folder: &Path) -> anyhow::Result<()> {
    docker.run(&["import", &tarball.display().to_string(), BASE])?;
    for (name, dockerfile, files) in IMAGES {
        let context = folder.join(name.replace([':', '/'], "-"));
        fs::create_dir_all(&context)?;
        fs::write(context.join("Dockerfile"), dockerfile)?;
        for (file, text) in files {
            fs::write(context.join(file), text)?;
        }
        let context = context.display().to_string();
        docker.run(&["build", "--quiet", "--network=none", "--tag", name, &context])?;
    }
    let versions = docker.run(&["run", "--rm", "--network=none", BASE, "cat", "/versions"])?;
    ensure!(versions.lines().count() == 3, "what is in {BASE}? {versions}");
    println!("instead of the images of a registry, Debian's packages:");
    for (name, package) in IMAGES.iter().zip(["zookeeper", "redis-server", "prometheus"]) {
        let version = versions.lines().find_map(|line| line.strip_prefix(package)).unwrap_or_default();
        println!("  {:24} {package}{version}", name.0);
    }
    println!(
        "  {:24} not in Debian: its service is not started, only its files are looked at",
        "grafana/grafana"
    );
    Ok(())
}

/// Returns the program for an image as a path relative to the workspace, where the Dockerfile finds it, and the image
/// below it. The program contains no data that only debuggers read.
pub(super) fn program(arguments: &super::Arguments) -> anyhow::Result<[&'static str; 2]> {
    const PATH: &str = "target/dist/atalaya-test";
    let target =
        xtask::toolchain::Target::here().context("this machine is none that Atalaya is packaged for")?;
    let toolchain = xtask::toolchain::Toolchain::ready(target)?;
    let built = match &arguments.program {
        Some(program) => program.clone(),
        None => {
            let mut command = toolchain.build(true);
            let profile = if arguments.release { Profile::Distribution } else { Profile::Dev };
            command.args(["--profile", profile.name(), "--package", "atalaya", "--bin", "atalaya"]);
            succeeds(&mut command)?;
            target_dir().join(target.triple()).join(profile.folder()).join("atalaya")
        }
    };
    let path = xtask::cargo::workspace().join(PATH);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    toolchain.strip(&built, &path)?;
    let headers = output(Command::new("readelf").arg("--program-headers").arg(&path))?;
    let headers = String::from_utf8_lossy(&headers);
    // The name of the dynamic linker.
    let is_static = !headers.contains("INTERP");
    Ok([PATH, if is_static { "scratch" } else { BASE }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_part_for_each_image_of_the_compose_files() {
        for file in ["compose.yml", "compose.single.yml"] {
            let text = fs::read_to_string(xtask::cargo::workspace().join("deploy").join(file)).unwrap();
            let images: Vec<&str> =
                text.lines().filter_map(|line| line.trim().strip_prefix("image: ")).collect();
            assert!(images.contains(&"atalaya"), "{file}: {images:?}");
            for image in images {
                let ours = image == "atalaya" || image.starts_with("grafana/grafana:");
                assert!(ours || IMAGES.iter().any(|part| part.0 == image), "{file}: {image}");
            }
        }
    }
}
