//! Scan of the I²C buses of this machine without writing a byte: `atalaya sensors scan`.
//!
//! Reads one byte from each address, as `i2cdetect -r` does. This detects the presence of a chip but not its type: the
//! catalogue lists the chips that may have the address.

use std::fs;
use std::path::{Path, PathBuf};

use embedded_hal::i2c::I2c;
use serde::Serialize;

use super::LinuxI2c;
use crate::chip::Chip;
use crate::error::{BusError, Cause, Place, ReadError};
use crate::read_limited::read_limited;

/// Addresses that a chip may have; the others are reserved by the bus itself.
const ADDRESSES: std::ops::RangeInclusive<u8> = 0x08..=0x77;

/// Maximum size of a sysfs attribute, in bytes.
const MAX_SIZE: usize = 4096;

/// Maximum length of a text from sysfs.
const LONGEST: usize = 100;

/// Folders in which the kernel exposes its buses. A test can pass other folders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scanner {
    /// Folder of the device files.
    pub dev: PathBuf,
    /// Mount point of sysfs.
    pub sys: PathBuf,
}

impl Default for Scanner {
    /// Returns `/dev` and `/sys`.
    fn default() -> Scanner {
        Scanner { dev: PathBuf::from("/dev"), sys: PathBuf::from("/sys") }
    }
}

/// I²C bus of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KnownBus {
    /// Name in boards.toml: `i2c-1`.
    pub name: String,
    /// Description by the kernel: `bcm2835 (i2c@7e804000)`.
    pub about: Option<String>,
}

/// Device that answers on a bus.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Seven-bit address.
    pub address: u8,
    /// Owner of the address.
    #[serde(flatten)]
    pub owner: Owner,
    /// Chips of the catalogue that may have this address, for boards.toml.
    pub candidates: Vec<Chip>,
}

/// Owner of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "owner")]
pub enum Owner {
    /// No kernel driver owns the address; a chip acknowledged it.
    Free,
    /// A kernel driver owns the address and blocks other accesses: the reading is available in hwmon or IIO.
    Kernel {
        /// Name of the driver: `lm75`.
        driver: Option<String>,
    },
}

impl Scanner {
    /// Returns the I²C buses of this machine, by number. Empty if there are none, or none that a program may use: on a
    /// Raspberry Pi, I²C must be enabled and the module i2c-dev loaded.
    pub fn buses(&self) -> Vec<KnownBus> {
        let classes = self.sys.join("class/i2c-dev");
        let mut numbers: Vec<u16> =
            names(&classes).chain(names(&self.dev)).filter_map(|name| number(&name)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let bus = |number: u16| {
            let name = format!("i2c-{number}");
            let about = text(&classes.join(&name).join("name"));
            KnownBus { name, about }
        };
        numbers.into_iter().map(bus).collect()
    }

    /// Returns the devices that answer on `bus` (`i2c-1`), in the order of their addresses. Blocks for the duration of
    /// 112 short reads.
    ///
    /// # Errors
    /// The bus cannot be opened, or is stuck: the scan then stops.
    pub fn scan(&self, bus: &str) -> Result<Vec<Found>, ReadError> {
        let device = self.dev.join(bus);
        self.scan_on(bus, &device.display().to_string(), &mut LinuxI2c::new(&device))
    }

    /// Scans any bus, as [`scan`](Scanner::scan) does.
    fn scan_on<I: I2c<Error: BusError>>(
        &self,
        bus: &str,
        device: &str,
        i2c: &mut I,
    ) -> Result<Vec<Found>, ReadError> {
        let mut found = Vec::new();
        for address in ADDRESSES {
            let owner = match i2c.read(address, &mut [0]) {
                Ok(()) => Owner::Free,
                Err(error) => match error.cause() {
                    // Some controllers report a missing acknowledge as a bus error.
                    Cause::NotPresent | Cause::Bus => continue,
                    Cause::Busy => Owner::Kernel { driver: self.driver(bus, address) },
                    _ => return Err(ReadError::from_bus(error, &Place::new(device, address))),
                },
            };
            found.push(Found { address, owner, candidates: candidates(address) });
        }
        Ok(found)
    }

    /// Returns the kernel driver that owns an address.
    fn driver(&self, bus: &str, address: u8) -> Option<String> {
        let device = format!("{}-{address:04x}", number(bus)?);
        let device = self.sys.join("bus/i2c/devices").join(device);
        let link = fs::read_link(device.join("driver")).ok();
        let driver = link.and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned()));
        driver.or_else(|| text(&device.join("name")))
    }
}

/// Returns the chips of the catalogue that can have this address.
pub fn candidates(address: u8) -> Vec<Chip> {
    Chip::ALL.into_iter().filter(|chip| chip.addresses().contains(&address)).collect()
}

/// Returns the 1 of `i2c-1`.
fn number(name: &str) -> Option<u16> {
    let digits = name.strip_prefix("i2c-")?;
    digits.parse().ok().filter(|number: &u16| number.to_string() == digits)
}

fn names(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// Returns the first line of a small sysfs file.
fn text(path: &Path) -> Option<String> {
    let text = String::from_utf8(read_limited(path, MAX_SIZE).ok()?).ok()?;
    let line: String =
        text.lines().next()?.trim().chars().filter(|c| !c.is_control()).take(LONGEST).collect();
    (!line.is_empty()).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal::i2c::{ErrorKind, ErrorType, NoAcknowledgeSource, Operation};
    use std::collections::BTreeMap;

    /// Bus that counts the operations on it.
    #[derive(Default)]
    struct Pretend {
        answers: BTreeMap<u8, Cause>,
        reads: usize,
    }

    #[derive(Debug)]
    struct Refusal(Cause);

    impl std::fmt::Display for Refusal {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{:?}", self.0)
        }
    }

    impl embedded_hal::i2c::Error for Refusal {
        fn kind(&self) -> ErrorKind {
            ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown)
        }
    }

    impl BusError for Refusal {
        fn cause(&self) -> Cause {
            self.0
        }
    }

    impl ErrorType for Pretend {
        type Error = Refusal;
    }

    /// In `answers`, `Other` represents a chip that acknowledges.
    impl I2c for Pretend {
        fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), Refusal> {
            let [Operation::Read(buffer)] = operations else {
                panic!("something was written: {operations:?}")
            };
            assert_eq!(buffer.len(), 1);
            self.reads += 1;
            match self.answers.get(&address) {
                Some(Cause::Other) => Ok(()),
                Some(cause) => Err(Refusal(*cause)),
                None => Err(Refusal(Cause::NotPresent)),
            }
        }
    }

    #[test]
    fn names_of_buses_are_read_in_bounded_time_and_memory() {
        let (_folder, scanner) = machine();
        let name = scanner.sys.join("class/i2c-dev/i2c-1/name");
        fs::write(&name, vec![b'x'; 10 << 20]).unwrap();
        assert_eq!(scanner.buses()[0].about, None, "no attribute of sysfs is as large");
        fs::remove_file(&name).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&name).status().unwrap().success());
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(scanner.buses().len()));
        assert_eq!(
            receiver.recv_timeout(std::time::Duration::from_secs(30)),
            Ok(3),
            "a pipe without a writer"
        );
    }

    fn machine() -> (tempfile::TempDir, Scanner) {
        let folder = tempfile::tempdir().unwrap();
        let scanner = Scanner { dev: folder.path().join("dev"), sys: folder.path().join("sys") };
        let class = scanner.sys.join("class/i2c-dev");
        for (bus, name) in [("i2c-10", "HDMI\n"), ("i2c-1", "bcm2835 (i2c@7e804000)\n")] {
            fs::create_dir_all(class.join(bus)).unwrap();
            fs::write(class.join(bus).join("name"), name).unwrap();
        }
        fs::create_dir_all(&scanner.dev).unwrap();
        for file in ["i2c-1", "i2c-2", "i2c-x", "i2c-01", "tty1"] {
            fs::write(scanner.dev.join(file), "").unwrap();
        }
        (folder, scanner)
    }

    #[test]
    fn buses_come_from_sysfs_and_from_dev_by_their_number() {
        let (_folder, scanner) = machine();
        let buses: Vec<_> = scanner.buses().into_iter().map(|bus| (bus.name, bus.about)).collect();
        let known = |name: &str, about: Option<&str>| (name.to_owned(), about.map(str::to_owned));
        let want = [
            known("i2c-1", Some("bcm2835 (i2c@7e804000)")),
            known("i2c-2", None),
            known("i2c-10", Some("HDMI")),
        ];
        assert_eq!(buses, want);
        let nowhere = Scanner { dev: "/nowhere".into(), sys: "/nowhere".into() };
        assert_eq!(nowhere.buses(), []);
    }

    #[test]
    fn every_address_is_read_once_and_nothing_is_written() {
        let (_folder, scanner) = machine();
        let mut bus = Pretend {
            answers: [(0x48, Cause::Other), (0x76, Cause::Other), (0x20, Cause::Bus)].into(),
            reads: 0,
        };
        let found = scanner.scan_on("i2c-1", "/dev/i2c-1", &mut bus).unwrap();
        assert_eq!(bus.reads, 112);
        let got: Vec<_> = found.iter().map(|found| (found.address, &found.owner)).collect();
        assert_eq!(got, [(0x48, &Owner::Free), (0x76, &Owner::Free)]);
        assert!(found[0].candidates.contains(&Chip::Lm75) && found[0].candidates.contains(&Chip::Ads1115));
        assert_eq!(found[1].candidates, [Chip::Bme280, Chip::Bmp280, Chip::Bmp390]);
    }

    #[test]
    fn an_address_that_a_kernel_driver_owns_names_it() {
        let (_folder, scanner) = machine();
        let devices = scanner.sys.join("bus/i2c/devices");
        fs::create_dir_all(devices.join("1-0048")).unwrap();
        fs::create_dir_all(devices.join("1-0068")).unwrap();
        std::os::unix::fs::symlink("../../../../bus/i2c/drivers/lm75", devices.join("1-0048/driver"))
            .unwrap();
        fs::write(devices.join("1-0068/name"), "ds1307\n").unwrap();
        let answers = [(0x48, Cause::Busy), (0x68, Cause::Busy), (0x69, Cause::Busy)].into();
        let found = scanner.scan_on("i2c-1", "/dev/i2c-1", &mut Pretend { answers, reads: 0 }).unwrap();
        let drivers: Vec<_> = found
            .iter()
            .map(|found| match &found.owner {
                Owner::Kernel { driver } => driver.as_deref(),
                Owner::Free => panic!("{found:?}"),
            })
            .collect();
        assert_eq!(drivers, [Some("lm75"), Some("ds1307"), None]);
        let json = serde_json::to_value(&found[0]).unwrap();
        assert_eq!((&json["owner"], &json["driver"]), (&"kernel".into(), &"lm75".into()));
    }

    #[test]
    fn a_stuck_bus_is_not_asked_a_hundred_times() {
        let (_folder, scanner) = machine();
        let mut bus = Pretend { answers: [(0x09, Cause::Timeout)].into(), reads: 0 };
        let error = scanner.scan_on("i2c-1", "/dev/i2c-1", &mut bus).unwrap_err();
        assert_eq!((error.cause(), bus.reads), (Cause::Timeout, 2));
    }

    #[test]
    fn a_bus_that_cannot_be_opened_says_why() {
        let (_folder, scanner) = machine();
        let error = scanner.scan("i2c-7").unwrap_err().to_string();
        assert!(error.contains("No such file") && error.contains("is I2C enabled?"), "{error}");
    }
}
