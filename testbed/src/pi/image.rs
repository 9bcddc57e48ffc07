//! File system in memory from which the Pi boots, in cpio's format `newc`
//! (<https://docs.kernel.org/driver-api/early-userspace/buffer-format.html>). It is not compressed: the emulated
//! processor would need more time to unpack it than this machine needs to transfer it.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::modules::Modules;
use super::parts::Parts;

/// First program of the Pi.
const INIT: &str = include_str!("../../pi/init");

/// Modules that are loaded at boot: the watchdog that QEMU needs to reset, the network on USB, I²C.
const AT_BOOT: [&str; 6] = ["bcm2835_wdt", "dwc2", "usbnet", "cdc_ether", "i2c-bcm2835", "i2c-dev"];
/// Modules that are loaded at boot if the Pi has an SD card with ext4. No module names crc32c as a dependency.
const FOR_CARD: [&str; 5] = ["bcm2835", "sdhci-iproc", "mmc_block", "crc32c_generic", "ext4"];
/// Modules that can be loaded with `insmod` on the console.
const ON_DEMAND: [&str; 1] = ["lm75"];

/// Files of the C library, for programs that are not linked statically.
const LIBRARIES: [&str; 4] = ["ld-linux-aarch64.so.1", "libc.so.6", "libm.so.6", "libgcc_s.so.1"];

const FOLDER: u32 = 0o040_755;
const LINK: u32 = 0o120_777;
const PROGRAM: u32 = 0o100_755;
const FILE: u32 = 0o100_644;

/// A file system with busybox, the drivers, the C library, and added files.
#[derive(Clone)]
pub struct Image {
    bytes: Vec<u8>,
    /// Number of entries, for inode numbers.
    entries: u32,
}

impl Image {
    /// Creates an image that boots into a shell.
    #[track_caller]
    pub fn new(parts: &Parts) -> Self {
        let mut image = Self { bytes: Vec::new(), entries: 0 };
        for folder in
            ["bin", "lib", "proc", "sys", "dev", "etc", "etc/atalaya", "modules", "root", "tmp", "var"]
        {
            image.entry(folder, FOLDER, &[], (0, 0));
        }
        image.entry("dev/console", 0o020_600, &[], (5, 1));
        image.program("init", INIT.as_bytes());
        image.program("bin/busybox", &read(&parts.busybox));
        image.entry("bin/sh", LINK, b"busybox", (0, 0));
        let modules = Modules::below(&parts.modules);
        let for_card: &[&str] = if parts.card.is_some() { &FOR_CARD } else { &[] };
        let at_boot = modules.in_order(&[&AT_BOOT, for_card].concat());
        let mut order = String::new();
        for (name, bytes) in &at_boot {
            order += &format!("{name}\n");
            image.file(&format!("modules/{name}.ko"), bytes);
        }
        image.file("modules/order", order.as_bytes());
        for (name, bytes) in modules.in_order(&ON_DEMAND) {
            if !at_boot.iter().any(|(known, _)| *known == name) {
                image.file(&format!("modules/{name}.ko"), &bytes);
            }
        }
        for library in LIBRARIES {
            // The program loader is one of them, so all are made executable.
            image.program(&format!("lib/{library}"), &read(&shared_library(library)));
        }
        image
    }

    /// Adds a program, such as `bin/atalaya`.
    pub fn program(&mut self, path: &str, bytes: &[u8]) {
        self.entry(path, PROGRAM, bytes, (0, 0));
    }

    /// Adds a file, such as `etc/atalaya/boards.toml`. Its folder must exist: see [`folder`](Self::folder).
    pub fn file(&mut self, path: &str, bytes: &[u8]) {
        self.entry(path, FILE, bytes, (0, 0));
    }

    pub fn folder(&mut self, path: &str) {
        self.entry(path, FOLDER, &[], (0, 0));
    }

    /// Returns the complete archive.
    pub fn bytes(&self) -> Vec<u8> {
        let mut whole = self.clone();
        whole.entry("TRAILER!!!", 0, &[], (0, 0));
        whole.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, data: &[u8], (major, minor): (u32, u32)) {
        self.entries += 1;
        let size = u32::try_from(data.len()).expect("a file of less than 4 GiB");
        let name = u32::try_from(path.len() + 1).expect("a short name");
        let links = if mode == FOLDER { 2 } else { 1 };
        // Inode, mode, user, group, links, time, size, its device, the device that it represents, length of the name,
        // checksum.
        let fields = [self.entries, mode, 0, 0, links, 0, size, 0, 0, major, minor, name, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(path.bytes().chain([0]));
        self.pad();
        self.bytes.extend(data);
        self.pad();
    }

    fn pad(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
    }
}

#[track_caller]
fn read(path: &Path) -> Vec<u8> {
    match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => panic!("cannot read {}, which belongs to the image of the Pi: {error}", path.display()),
    }
}

/// Returns the path of a shared library in the cross compiler's C library.
#[track_caller]
fn shared_library(name: &str) -> std::path::PathBuf {
    let mut ask = Command::new("aarch64-linux-gnu-gcc");
    let output = ask.arg(format!("-print-file-name={name}")).output().expect("run aarch64-linux-gnu-gcc");
    let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(path.contains('/'), "aarch64-linux-gnu-gcc has no {name}");
    path.into()
}
