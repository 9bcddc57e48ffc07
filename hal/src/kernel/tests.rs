//! A sysfs in a temporary folder, and properties of every kernel sensor for any content of its files.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::file::tests::info;
use crate::reading::{Quantity, Readings};
use crate::{Cause, ReadError};

/// A fake `/sys`.
pub(super) struct Tree(tempfile::TempDir);

impl Tree {
    pub(super) fn new() -> Tree {
        Tree(tempfile::tempdir().unwrap())
    }

    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.0.path().join(relative)
    }

    pub(super) fn write(&self, relative: &str, content: impl AsRef<[u8]>) -> &Tree {
        let path = self.path(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    pub(super) fn link(&self, relative: &str, to: &str) -> &Tree {
        let (path, target) = (self.path(relative), self.path(to));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::create_dir_all(&target).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
        self
    }

    pub(super) fn remove(&self, relative: &str) {
        let path = self.path(relative);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
    }

    pub(super) fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub(super) fn sysfs(&self) -> Sysfs {
        Sysfs::new(self.0.path())
    }

    /// Returns the message without the name of the temporary folder.
    pub(super) fn text(&self, error: &ReadError) -> String {
        error.to_string().replace(&*self.0.path().to_string_lossy(), "/sys")
    }
}

pub(super) fn value(result: Result<Readings, ReadError>) -> f64 {
    let readings = result.unwrap();
    assert_eq!(readings.len(), 1);
    readings[0].value()
}

#[test]
fn a_kernel_without_such_sensors_is_an_error_of_the_read() {
    let tree = Tree::new();
    let temperature = &[Quantity::Temperature];
    let sensors: [Box<dyn Sensor>; 4] = [
        Box::new(Hwmon::new(tree.sysfs(), None, None, info("hwmon", temperature))),
        Box::new(Iio::new(tree.sysfs(), None, None, info("iio", temperature))),
        Box::new(W1::new(tree.sysfs(), None, info("w1", temperature))),
        Box::new(Thermal::new(tree.sysfs(), None, info("cpu", temperature))),
    ];
    for mut sensor in sensors {
        let error = sensor.read().unwrap_err();
        assert_eq!(error.cause(), Cause::NotPresent);
        let text = tree.text(&error);
        assert!(text.starts_with("nothing to read at /sys/"), "{text}");
        assert!(text.ends_with("this kernel has none (is the driver's module loaded?)"), "{text}");
    }
}

/// Generates the content of broken, unknown or hostile files, and the numbers at the limits.
fn content() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        any::<f64>().prop_map(|n| n.to_string().into_bytes()),
        (any::<i32>(), prop::collection::vec(any::<u8>(), 9), any::<bool>()).prop_map(|(t, bytes, yes)| {
            let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let (bytes, verdict) = (bytes.join(" "), if yes { "YES" } else { "NO" });
            format!("{bytes} : crc=00 {verdict}\n{bytes} t={t}\n").into_bytes()
        }),
        Just(b"1e308".to_vec()),
        Just(b"nan\n".to_vec()),
        Just(vec![b'9'; 5000]),
        Just(Vec::new()),
    ]
}

/// Files of one device each, which get the contents in turn.
const FILES: [(&str, &[&str]); 6] = [
    ("class/hwmon/hwmon0", &["name", "temp1_input", "temp1_fault"]),
    ("bus/iio/devices/iio:device0", &["name", "in_temp_raw", "in_temp_scale", "in_temp_offset"]),
    ("bus/iio/devices/iio:device0", &["in_temp_input"]),
    ("bus/w1/devices/28-0000", &["w1_slave"]),
    ("bus/w1/devices/28-0000", &["temperature"]),
    ("class/thermal/thermal_zone0", &["temp", "type"]),
];

fn all(root: &Path) -> [Box<dyn Sensor>; 4] {
    let sysfs = || Sysfs::new(root);
    let temperature = &[Quantity::Temperature];
    [
        Box::new(Hwmon::new(
            sysfs(),
            Some("hwmon0".into()),
            Some("temp1".into()),
            info("hwmon", temperature),
        )),
        Box::new(Iio::new(sysfs(), None, None, info("iio", temperature))),
        Box::new(W1::new(sysfs(), None, info("w1", temperature))),
        Box::new(Thermal::new(sysfs(), None, info("cpu", temperature))),
    ]
}

#[test]
fn attributes_that_are_huge_pipes_devices_or_folders_neither_block_nor_fill_the_memory() {
    for (folder, files) in FILES {
        for file in files {
            for kind in ["huge", "pipe", "zero", "folder"] {
                let tree = Tree::new();
                for other in files {
                    tree.write(&format!("{folder}/{other}"), "1\n");
                }
                let path = tree.path(&format!("{folder}/{file}"));
                std::fs::remove_file(&path).unwrap();
                match kind {
                    "huge" => std::fs::write(&path, vec![b'1'; 5 << 20]).unwrap(),
                    "pipe" => {
                        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success())
                    }
                    "zero" => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
                    _ => std::fs::create_dir(&path).unwrap(),
                }
                let (sender, receiver) = std::sync::mpsc::channel();
                let mut sensors = all(&tree.path(""));
                std::thread::spawn(move || {
                    for sensor in &mut sensors {
                        let text = sensor.read().map_err(|error| error.to_string().chars().count());
                        sender.send(text.err().unwrap_or_default()).unwrap();
                    }
                });
                for _ in 0..4 {
                    let length = receiver.recv_timeout(std::time::Duration::from_secs(30)).unwrap();
                    assert!(length < 600, "{folder}/{file} as {kind}");
                }
            }
        }
    }
}

#[test]
fn error_messages_stay_short_for_numbers_of_three_hundred_digits() {
    for (folder, files) in FILES {
        for number in ["1e308", "-1e308", "-1e300", "1e-308"] {
            let tree = Tree::new();
            for file in files {
                tree.write(&format!("{folder}/{file}"), number);
            }
            for mut sensor in all(&tree.path("")) {
                let length = sensor.read().map_or_else(|error| error.to_string().chars().count(), |_| 0);
                assert!(length < 400, "{number} in {folder}: {length} characters");
            }
        }
    }
}

proptest! {
    #[test]
    fn whatever_stands_in_the_files_is_finite_or_an_error(
        which in 0..FILES.len(),
        contents in prop::collection::vec(content(), 4),
    ) {
        let tree = Tree::new();
        let (folder, files) = FILES[which];
        for (file, content) in files.iter().zip(&contents) {
            tree.write(&format!("{folder}/{file}"), content);
        }
        for mut sensor in all(&tree.path("")) {
            for _ in 0..2 {
                match sensor.read() {
                    Ok(readings) => {
                        prop_assert_eq!(readings.len(), 1);
                        prop_assert!(readings[0].value().is_finite());
                    }
                    Err(error) => {
                        let text = tree.text(&error);
                        prop_assert!(text.chars().count() < 400 && !text.chars().any(char::is_control), "{}", text);
                    }
                }
            }
        }
    }
}
