//! Kernel modules by name, with their dependencies, in load order.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of one kernel.
pub(crate) struct Modules {
    /// Files by name, with `_` for `-`.
    files: HashMap<String, PathBuf>,
    /// Modules that are built into the kernel.
    builtin: Vec<String>,
}

impl Modules {
    /// Finds the modules below `folder`, which is `/lib/modules/RELEASE` of that kernel.
    #[track_caller]
    pub(crate) fn below(folder: &Path) -> Self {
        let mut files = HashMap::new();
        collect(folder, &mut files);
        assert!(!files.is_empty(), "there are no kernel modules below {}", folder.display());
        let builtin = fs::read_to_string(folder.join("modules.builtin")).unwrap_or_default();
        let builtin = builtin.lines().filter_map(|line| name(Path::new(line))).collect();
        Self { files, builtin }
    }

    /// Returns the modules called `names` and their dependencies, each after its own dependencies.
    #[track_caller]
    pub(crate) fn in_order(&self, names: &[&str]) -> Vec<(String, Vec<u8>)> {
        let mut order = Vec::new();
        for name in names {
            self.add(&name.replace('-', "_"), &mut order);
        }
        order
    }

    #[track_caller]
    fn add(&self, name: &str, order: &mut Vec<(String, Vec<u8>)>) {
        if order.iter().any(|(known, _)| known == name) || self.builtin.iter().any(|known| known == name) {
            return;
        }
        let Some(path) = self.files.get(name) else { panic!("the kernel has no module {name}") };
        let bytes = fs::read(path).expect("read a kernel module");
        for needed in depends(&bytes) {
            self.add(&needed, order);
        }
        order.push((name.to_owned(), bytes));
    }
}

fn collect(folder: &Path, files: &mut HashMap<String, PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&path, files);
        } else if path.extension() == Some(OsStr::new("ko"))
            && let Some(name) = name(&path)
        {
            files.insert(name, path);
        }
    }
}

fn name(path: &Path) -> Option<String> {
    Some(path.file_stem()?.to_str()?.replace('-', "_"))
}

/// Returns the dependencies of a module: the text `depends=a,b` with a NUL at its end, in its section `.modinfo`.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value = module[at + KEY.len()..].split(|&byte| byte == 0).next().unwrap_or_default();
    let names = String::from_utf8_lossy(value).into_owned();
    names.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let module = |name: &str, needs: &str| {
            let text = format!("ELF\0license=GPL\0depends={needs}\0name={name}\0");
            fs::write(folder.path().join("net").join(format!("{name}.ko")), text).unwrap();
        };
        fs::create_dir(folder.path().join("net")).unwrap();
        module("usbcore", "usb-common");
        module("usb-common", "");
        module("usbnet", "mii,usbcore");
        module("mii", "");
        fs::write(folder.path().join("modules.builtin"), "kernel/drivers/hwmon/hwmon.ko\n").unwrap();
        let modules = Modules::below(folder.path());
        let order = |names: &[&str]| -> Vec<String> {
            modules.in_order(names).into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(order(&["usbnet", "usbcore", "hwmon"]), ["mii", "usb_common", "usbcore", "usbnet"]);
    }

    #[test]
    #[should_panic(expected = "no module i2c_dev")]
    fn a_missing_module_is_named() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("one.ko"), "").unwrap();
        Modules::below(folder.path()).in_order(&["i2c-dev"]);
    }
}
