//! Kernel modules by name, with their dependencies, in load order.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

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
        let all = WalkDir::new(folder).into_iter().flatten().map(DirEntry::into_path);
        let modules = all.filter(|path| path.extension() == Some(OsStr::new("ko")));
        let files: HashMap<_, _> = modules.filter_map(|path| Some((name(&path)?, path))).collect();
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
