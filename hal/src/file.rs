//! `chip = "file"`: a number in a file that another program updates.
//!
//! ```toml
//! [[boards.pi.sensors]]
//! name = "tank"
//! chip = "file"
//! path = "/run/tank/level"                 # relative paths start from the folder of boards.toml
//! quantity = "dimensionless"
//! filters = [{ scale = 0.01 }]
//! ```
//!
//! The file is opened, read and closed at each read, so it may be replaced (use `mv new old`: a file that is written in
//! place can be read while it is incomplete). It contains one number, surrounded by optional whitespace, and at most
//! [`MAX_SIZE`] bytes. Only regular files are read, including those of /proc and /sys: a read of a pipe or a device
//! could block indefinitely.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use smallvec::smallvec;

use crate::error::{Cause, Place, ReadError};
use crate::parse;
use crate::read_limited::read_limited;
use crate::reading::{Quantity, Reading, Readings};
use crate::sensor::{Sensor, SensorInfo};

/// Maximum size of a file, in bytes.
pub const MAX_SIZE: usize = 64 * 1024;

/// File that contains a number.
pub struct NumberFile {
    path: PathBuf,
    quantity: Quantity,
    info: SensorInfo,
}

impl NumberFile {
    /// Creates a sensor for the file at `path`, whose number is in the unit of `quantity`. Opens nothing.
    pub fn new(path: impl AsRef<Path>, quantity: Quantity, info: SensorInfo) -> NumberFile {
        NumberFile { path: path.as_ref().to_path_buf(), quantity, info }
    }
}

impl Sensor for NumberFile {
    fn info(&self) -> &SensorInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Readings, ReadError> {
        let place = || Place::at(self.path.display().to_string());
        let bytes = read_limited(&self.path, MAX_SIZE).map_err(|error| {
            let cause = match error.kind() {
                ErrorKind::NotFound => Cause::NotPresent,
                ErrorKind::TimedOut => Cause::Timeout,
                _ => Cause::Other,
            };
            ReadError::with_source(cause, place(), error)
        })?;
        let value = parse::number(&bytes)
            .map_err(|problem| ReadError::with_source(Cause::Other, place(), problem))?;
        let reading = Reading::new(self.quantity, value)
            .map_err(|error| ReadError::with_source(Cause::OutOfRange, place(), error))?;
        Ok(smallvec![reading])
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Returns the info of a sensor without a bus.
    pub(crate) fn info(chip: &str, quantities: &[Quantity]) -> SensorInfo {
        let quantities = quantities.to_vec();
        SensorInfo { name: "s".into(), chip: chip.into(), bus: None, address: None, quantities }
    }

    fn sensor(path: &Path) -> NumberFile {
        NumberFile::new(path, Quantity::Power, info("file", &[Quantity::Power]))
    }

    #[test]
    fn the_number_is_read_anew_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("power");
        let mut sensor = sensor(&path);
        let error = sensor.read().unwrap_err();
        assert_eq!(error.cause(), Cause::NotPresent);
        let want = format!("nothing to read at {}: ", path.display());
        assert!(error.to_string().starts_with(&want), "{error}");
        for (text, value) in [("230.5\n", 230.5), ("-1", -1.0)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(sensor.read().unwrap()[..], [Reading::new(Quantity::Power, value).unwrap()]);
        }
        let fresh = folder.path().join("power.new");
        std::fs::write(&fresh, "7").unwrap();
        std::fs::rename(&fresh, &path).unwrap();
        assert_eq!(sensor.read().unwrap()[0].value(), 7.0);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(sensor.read().unwrap_err().cause(), Cause::NotPresent);
    }

    #[test]
    fn what_is_no_number_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("power");
        let large = "1".repeat(MAX_SIZE + 1);
        let table = [
            ("", "empty, where a number should be"),
            ("off", "`off` is not one number"),
            ("NaN", "`NaN` is no finite number"),
            (large.as_str(), "larger than 65536 bytes"),
        ];
        for (text, want) in table {
            std::fs::write(&path, text).unwrap();
            let error = sensor(&path).read().unwrap_err();
            assert_eq!(error.cause(), Cause::Other);
            assert_eq!(error.to_string(), format!("cannot read {}: {want}", path.display()));
        }
        let error = sensor(folder.path()).read().unwrap_err().to_string();
        assert!(error.contains("a folder, and only a regular file"), "{error}");
    }

    /// Reads in a separate thread, because a read that blocks would never return.
    #[cfg(unix)]
    fn read_in_time(path: &Path) -> Result<f64, String> {
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut sensor = sensor(path);
        std::thread::spawn(move || {
            let result = sensor.read().map(|readings| readings[0].value());
            sender.send(result.map_err(|error| error.to_string()))
        });
        receiver.recv_timeout(std::time::Duration::from_secs(30)).unwrap()
    }

    #[cfg(unix)]
    #[test]
    fn links_pipes_devices_and_folders_neither_block_nor_fill_the_memory() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("number"), "7\n").unwrap();
        assert!(std::process::Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for (link, target) in [
            ("to-number", at("number")),
            ("to-pipe", at("pipe")),
            ("to-zero", "/dev/zero".into()),
            ("to-nothing", at("absent")),
            ("to-itself", at("to-itself")),
        ] {
            symlink(target, at(link)).unwrap();
        }
        assert_eq!(read_in_time(&at("to-number")), Ok(7.0));
        for name in ["pipe", "socket", "to-pipe", "to-zero", ""] {
            let message = read_in_time(&at(name)).unwrap_err();
            assert!(message.contains("only a regular file"), "{name}: {message}");
        }
        assert!(read_in_time(&at("to-nothing")).unwrap_err().starts_with("nothing to read at"));
        assert!(read_in_time(&at("to-itself")).unwrap_err().contains("symbolic links"));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn files_of_proc_are_files_too() {
        let mut sensor = sensor(Path::new("/proc/sys/kernel/pid_max"));
        assert!(sensor.read().unwrap()[0].value() >= 301.0);
    }

    proptest! {
        #[test]
        fn whatever_stands_there_is_finite_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            if let Ok(readings) = sensor(file.path()).read() {
                prop_assert!(readings.len() == 1 && readings[0].value().is_finite());
            }
        }
    }
}
