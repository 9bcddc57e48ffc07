//! Parts of an emulated Pi: QEMU, Debian's kernel for 64-bit ARM with its modules, busybox. They are downloaded into
//! the cache folder once, and used from there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::install::debian::{self, Debian};
use crate::install::{self, InstallError, Part};

/// Debian's package that depends on the newest kernel.
const KERNEL: &str = "linux-image-arm64:arm64";
const BUSYBOX: &str = "busybox-static:arm64";
/// Device tree of a Raspberry Pi 3B, below the folder of a kernel's device trees.
const DEVICE_TREE: &str = "broadcom/bcm2837-rpi-3-b.dtb";
/// File that is written when everything is unpacked; contains the names of the packages.
const COMPLETE: &str = "complete";

/// Paths of the parts.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Kernel, in the form that QEMU loads.
    pub kernel: PathBuf,
    /// Device tree, which describes the board to the kernel.
    pub device_tree: PathBuf,
    /// `/lib/modules/RELEASE` of the kernel.
    pub modules: PathBuf,
    /// Busybox, statically linked.
    pub busybox: PathBuf,
}

impl Parts {
    /// Finds the parts, and downloads or installs the missing ones; reports each step to `progress`. Several processes
    /// may call it at the same time.
    pub fn ready(mut progress: impl FnMut(&str)) -> Result<Parts, InstallError> {
        install::ensure(&[Part::Qemu, Part::Aarch64Gcc], &mut progress)?;
        let folder = install::cache_dir().join("pi");
        fs::create_dir_all(&folder)
            .map_err(|error| InstallError::io(format!("make the folder {}", folder.display()), error))?;
        let _one_at_a_time = install::locked(&folder.join("lock"))?;
        let root = folder.join("root");
        if !root.join(COMPLETE).exists() {
            fetch(&folder, &root, &mut progress)?;
        }
        Self::in_root(&root)
    }

    fn in_root(root: &Path) -> Result<Parts, InstallError> {
        let modules = only_entry(&root.join("lib/modules"))?;
        let release = modules.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let parts = Parts {
            kernel: root.join("boot").join(format!("vmlinuz-{release}")),
            device_tree: root.join(format!("usr/lib/linux-image-{release}")).join(DEVICE_TREE),
            modules,
            busybox: root.join("bin/busybox"),
        };
        for path in [&parts.kernel, &parts.device_tree, &parts.busybox] {
            fs::metadata(path)
                .map_err(|error| InstallError::io(format!("find {}", path.display()), error))?;
        }
        Ok(parts)
    }
}

fn fetch(folder: &Path, root: &Path, progress: &mut impl FnMut(&str)) -> Result<(), InstallError> {
    progress(&format!("fetching the parts of a Raspberry Pi into {}", folder.display()));
    // Left over from an interrupted download.
    if root.exists() {
        fs::remove_dir_all(root)
            .map_err(|error| InstallError::io(format!("remove {}", root.display()), error))?;
    }
    let debian = Debian::ready(&folder.join("apt"), &["arm64"], false, progress)?;
    let kernel = debian.dependency(KERNEL, "linux-image-")? + ":arm64";
    let packages = [kernel.as_str(), BUSYBOX];
    for deb in debian.download(&packages, progress)? {
        debian::unpack(&deb, root, progress)?;
    }
    fs::write(root.join(COMPLETE), packages.join("\n"))
        .map_err(|error| InstallError::io(format!("write in {}", root.display()), error))
}

/// Returns the only entry of a folder.
fn only_entry(folder: &Path) -> Result<PathBuf, InstallError> {
    let io = |error| InstallError::io(format!("look into {}", folder.display()), error);
    let mut entries = fs::read_dir(folder).map_err(io)?;
    match entries.next() {
        Some(entry) => Ok(entry.map_err(io)?.path()),
        None => Err(io(std::io::ErrorKind::NotFound.into())),
    }
}
