//! Packages of Debian 12 that the machine itself does not have: of another architecture, or from the backports. They
//! are downloaded with a separate apt state below a cache folder, from the machine's own mirrors. So no foreign
//! architecture and no further source is added to the machine, and downloaded packages stay.
//!
//! Used for the emulated Raspberry Pi (`pi`) and for QEMU.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

use super::run;

/// Release of all packages, so that all machines use the same versions.
const RELEASE: &str = "bookworm";
const NO_DEBIAN: &str = "this needs packages of Debian 12, and this machine has no apt-get that knows a mirror of Debian; \
                         run it on Debian 12 or later, or in a container of it";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A separate apt state with the lists of Debian 12.
pub struct Debian {
    folder: PathBuf,
    config: PathBuf,
}

impl Debian {
    /// Downloads the lists of `architectures`, such as `amd64`, into an apt state below `folder`; `backports` adds the
    /// lists of the backports. Several processes must not use the same folder at the same time.
    pub fn ready(folder: &Path, architectures: &[&str], backports: bool) -> anyhow::Result<Debian> {
        for below in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(below))?;
        }
        let config = folder.join("apt.conf");
        let debian = Debian { folder: folder.to_owned(), config };
        let lists = folder.display();
        let common = format!(
            "Dir::State::lists \"{lists}/lists\";\nDir::Cache \"{lists}/cache\";\nAcquire::Languages \"none\";\n\
             Acquire::Retries \"3\";\nAPT::Sandbox::User \"root\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
        );
        let mirrors = match mirrors(&mut Command::new("apt-get")) {
            Some(mirrors) => mirrors,
            None => {
                // A fresh container has no lists at all, and without them apt does not list its mirrors.
                fs::write(&debian.config, &common)?;
                run(debian.apt("apt-get").args(["-q", "update"]))?;
                mirrors(&mut debian.apt("apt-get")).context(NO_DEBIAN)?
            }
        };
        let architectures_list = architectures.iter().map(|name| format!("\"{name}\"; ")).collect::<String>();
        let sources = folder.join("sources.list");
        fs::write(&sources, source_lines(&mirrors, architectures, backports))?;
        let own = format!(
            "{common}Dir::Etc::sourcelist \"{}\";\nDir::Etc::sourceparts \"-\";\nAPT::Architectures {{ {architectures_list}}};\n",
            sources.display()
        );
        fs::write(&debian.config, own)?;
        eprintln!("fetching the package lists of Debian 12 for {}", architectures.join(", "));
        run(debian.apt("apt-get").args(["-q", "update"]))?;
        Ok(debian)
    }

    /// Downloads packages, such as `busybox-static:arm64`, into `folder`, and returns their files in the same order. A
    /// file that exists is not downloaded again.
    pub fn download(&self, packages: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
        let debs = self.folder.join("debs");
        fs::create_dir_all(&debs)?;
        run(self.apt("apt-get").args(["-q", "download"]).args(packages).current_dir(&debs))?;
        packages.iter().map(|package| self.file(&debs, package)).collect()
    }

    /// Returns the file to which the newest version of a package was downloaded.
    fn file(&self, debs: &Path, package: &str) -> anyhow::Result<PathBuf> {
        let field = |name| self.field(package, name).unwrap_or_default();
        let name = package.split(':').next().unwrap_or(package);
        // The file names of `apt-get download`: not all file systems allow colons.
        let file = format!("{name}_{}_{}.deb", field("Version").replace(':', "%3a"), field("Architecture"));
        let path = debs.join(&file);
        path.exists().then_some(path).with_context(|| format!("{package} was not downloaded as {file}"))
    }

    /// Returns a field of the newest version of a package, as apt-cache shows it.
    pub fn field(&self, package: &str, name: &str) -> Option<String> {
        let output = self.apt("apt-cache").args(["show", package]).output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned()))
    }

    /// Returns the first package that `package` depends on whose name begins with `prefix`.
    pub fn dependency(&self, package: &str, prefix: &str) -> anyhow::Result<String> {
        let depends = self.field(package, "Depends").unwrap_or_default();
        first_dependency(&depends, prefix)
            .with_context(|| format!("{package} depends on nothing that begins with {prefix}"))
    }

    /// Installs packages on this machine, from the backports if the state includes them. Needs root.
    pub fn install(&self, packages: &[&str]) -> anyhow::Result<()> {
        let mut command = self.apt("apt-get");
        command.args(["-q", "-o", "DPkg::Lock::Timeout=300", "install", "--yes", "--no-install-recommends"]);
        command.args(["-t", &format!("{RELEASE}-backports")]).args(packages);
        run(command.env("DEBIAN_FRONTEND", "noninteractive"))
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", &self.config);
        command
    }
}

pub fn unpack(deb: &Path, folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    run(Command::new("dpkg").arg("-x").arg(deb).arg(folder))
}

/// Returns the release of all packages, and the Debian mirror in the machine's own sources.
pub fn mirror() -> anyhow::Result<(&'static str, String)> {
    let known = mirrors(&mut Command::new("apt-get")).unwrap_or_default();
    let mut main = known.into_iter().filter(|(_, suite)| !suite.ends_with("-security"));
    main.next().map(|(address, _)| (RELEASE, address)).context(NO_DEBIAN)
}

/// Returns the Debian mirrors in the machine's own sources: address and suite.
fn mirrors(apt: &mut Command) -> Option<Vec<(String, String)>> {
    let output = apt
        .args(["indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages"])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut mirrors: Vec<(String, String)> = Vec::new();
    for line in text.lines() {
        let Some((address, suite)) = line.split_once(' ') else { continue };
        let is_known = mirrors.iter().any(|(_, known)| known == suite);
        // Other vendors have suites of other names.
        let release = suite.strip_suffix("-security").unwrap_or(suite);
        if ["bookworm", "trixie", "forky", "sid"].contains(&release) && !is_known {
            mirrors.push((address.to_owned(), suite.to_owned()));
        }
    }
    (!mirrors.is_empty()).then_some(mirrors)
}

/// Returns the lines of a sources.list.
fn source_lines(mirrors: &[(String, String)], architectures: &[&str], backports: bool) -> String {
    let signed = if Path::new(KEYRING).exists() { format!(" signed-by={KEYRING}") } else { String::new() };
    let at = |security: bool| mirrors.iter().find(|(_, suite)| suite.ends_with("-security") == security);
    let mut suites: Vec<(&str, String)> = Vec::new();
    if let Some((address, _)) = at(false) {
        suites.push((address, RELEASE.to_owned()));
        if backports {
            suites.push((address, format!("{RELEASE}-backports")));
        }
    }
    if let Some((address, _)) = at(true) {
        suites.push((address, format!("{RELEASE}-security")));
    }
    let architectures = architectures.join(",");
    let line = |(address, suite): (&str, String)| {
        format!("deb [arch={architectures}{signed}] {address} {suite} main\n")
    };
    suites.into_iter().map(line).collect()
}

fn first_dependency(depends: &str, prefix: &str) -> Option<String> {
    let names = depends.split([',', '|']).filter_map(|one| one.split_whitespace().next());
    names.filter_map(|name| name.split(':').next()).find(|name| name.starts_with(prefix)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_from_one_release_and_the_machines_own_mirrors() {
        let mirror = |address: &str, suite: &str| (address.to_owned(), suite.to_owned());
        let mirrors =
            [mirror("http://here/debian/", "trixie"), mirror("http://here/sec/", "trixie-security")];
        let text = source_lines(&mirrors, &["amd64", "arm64"], true);
        let ends: Vec<&str> = text.lines().filter_map(|line| line.split("] ").nth(1)).collect();
        let wanted = [
            "http://here/debian/ bookworm main",
            "http://here/debian/ bookworm-backports main",
            "http://here/sec/ bookworm-security main",
        ];
        assert_eq!(ends, wanted);
        assert!(text.lines().all(|line| line.starts_with("deb [arch=amd64,arm64")), "{text}");
        assert!(!source_lines(&mirrors[..1], &["amd64"], false).contains("backports"));
    }

    #[test]
    fn the_kernel_is_found_among_the_dependencies() {
        let depends = "libc6:any (>= 2), linux-image-6.1.0-56-arm64 (= 6.1.192-2) | other";
        assert_eq!(first_dependency(depends, "linux-image-").as_deref(), Some("linux-image-6.1.0-56-arm64"));
        assert_eq!(first_dependency(depends, "libc").as_deref(), Some("libc6"));
        assert_eq!(first_dependency(depends, "nothing"), None);
    }
}
