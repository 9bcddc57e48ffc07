//! Access to sysfs: folders of devices, attributes with one value, and the meaning of the kernel's errors. Used by the
//! sensors in this folder.
//!
//! An attribute is opened, read once and closed at each read, as the kernel requires: every read accesses the chip
//! again.

use std::io::{self, ErrorKind};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use crate::error::{Cause, Place, ReadError};
use crate::parse::{self, excerpt};
use crate::read_limited::read_limited;
use crate::reading::{Quantity, Reading};

/// Maximum size of an attribute, in bytes: one page of the smallest size; values in sysfs are much shorter.
const MAX_SIZE: usize = 4096;

/// Maximum number of entries of a folder that are examined.
const MAX_ENTRIES: usize = 4096;

/// Maximum number of names in a message.
const MAX_LISTED: usize = 12;

/// Numbers from Linux' `errno.h`, with their meaning for drivers where it differs from std's text.
mod errno {
    pub(super) const EIO: i32 = 5;
    pub(super) const ENXIO: i32 = 6;
    pub(super) const EAGAIN: i32 = 11;
    pub(super) const EBUSY: i32 = 16;
    pub(super) const ENODEV: i32 = 19;
    pub(super) const ENODATA: i32 = 61;
    pub(super) const ETIME: i32 = 62;
    pub(super) const EBADMSG: i32 = 74;
    pub(super) const EILSEQ: i32 = 84;
    pub(super) const ETIMEDOUT: i32 = 110;
    pub(super) const EREMOTEIO: i32 = 121;
}

/// Mount point of sysfs: `/sys`, except in tests.
#[derive(Clone, Debug)]
pub struct Sysfs {
    root: PathBuf,
}

impl Default for Sysfs {
    fn default() -> Self {
        Sysfs::new("/sys")
    }
}

impl Sysfs {
    /// Creates a sysfs at `root`.
    pub fn new(root: impl Into<PathBuf>) -> Sysfs {
        Sysfs { root: root.into() }
    }

    pub(super) fn folder(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) path: PathBuf,
}

/// Returns the entries of `folder` whose names begin with `prefix`, in natural order (`hwmon2` before `hwmon10`). Names
/// that are not UTF-8 are skipped: the kernel has none.
pub(super) fn entries(folder: &Path, prefix: &str) -> Result<Vec<Entry>, ReadError> {
    let list = std::fs::read_dir(folder).map_err(|failed| match failed.kind() {
        ErrorKind::NotFound => absent(folder, "this kernel has none (is the driver's module loaded?)"),
        _ => error(&failed, folder),
    })?;
    let mut entries: Vec<Entry> = list
        .take(MAX_ENTRIES)
        .filter_map(Result::ok)
        .filter_map(|entry| Some(Entry { name: entry.file_name().into_string().ok()?, path: entry.path() }))
        .filter(|entry| entry.name.starts_with(prefix))
        .collect();
    entries.sort_by(|a, b| a.name.len().cmp(&b.name.len()).then_with(|| a.name.cmp(&b.name)));
    Ok(entries)
}

/// Returns a short text of the kernel, such as `name`, made safe to display; None if the file is missing or empty.
pub(super) fn word(path: &Path) -> Option<String> {
    let text = excerpt(&read_limited(path, MAX_SIZE).ok()?);
    (!text.is_empty()).then_some(text)
}

/// Reads the bytes of an attribute.
pub(super) fn bytes(path: &Path) -> Result<Vec<u8>, ReadError> {
    read_limited(path, MAX_SIZE).map_err(|failed| error(&failed, path))
}

/// Reads the number in an attribute.
pub(super) fn number(path: &Path) -> Result<f64, ReadError> {
    parse::number(&bytes(path)?).map_err(|problem| ReadError::with_source(Cause::Other, place(path), problem))
}

/// Creates a reading of `value`; `path` is its source.
pub(super) fn reading(quantity: Quantity, value: f64, path: &Path) -> Result<Reading, ReadError> {
    let possible = possible(quantity);
    if value.is_finite() && !possible.contains(&value) {
        let (low, high, unit) = (possible.start(), possible.end(), quantity.unit());
        let value = parse::short(value);
        let why = format!("{quantity} of {value} {unit}, which is not between {low} and {high}");
        return Err(ReadError::with_source(Cause::OutOfRange, place(path), why));
    }
    Reading::new(quantity, value)
        .map_err(|error| ReadError::with_source(Cause::OutOfRange, place(path), error))
}

/// Returns the values that any sensor may measure. The minimum temperature is -273.15 °C, and no thermocouple survives
/// 3000 °C. The error of a humidity sensor is a few percent in dry and in saturated air; the range of an SHT4x is -6 to
/// 119 where its driver does not clip.
fn possible(quantity: Quantity) -> RangeInclusive<f64> {
    match quantity {
        Quantity::Temperature => -273.15..=3_000.0,
        Quantity::Humidity => -5.0..=110.0,
        _ => f64::MIN..=f64::MAX,
    }
}

/// Checks a temperature of a chip without a thermocouple: the ends of the usual registers are the values that drivers
/// show for a missing probe, or values beyond the range of the register.
///
/// Registers of 8 to 16 bits in two's complement end at -128 °C and at 128 °C less one step of 1 to 1/256 °C, unsigned
/// ones at one step below 256; some drivers avoid -128 and show -127 (Linux, drivers/hwmon: it87, lm90, ds1621).
/// Firmware and the thermal core have their own values below absolute zero (THERMAL_TEMP_INVALID is -274 °C).
pub(super) fn check_register_end(celsius: f64, path: &Path) -> Result<(), ReadError> {
    let last_code = |end: f64| (0..=8).any(|bits| (celsius - (end - 0.5_f64.powi(bits))).abs() < 0.001);
    if celsius > -127.0 && !last_code(128.0) && !last_code(256.0) {
        return Ok(());
    }
    let celsius = parse::short(celsius);
    let why = format!(
        "temperature of {celsius} °C, which drivers show for a missing probe or a saturated register"
    );
    Err(ReadError::with_source(Cause::OutOfRange, place(path), why))
}

/// Checks that no heater of the chip with attributes in `folder` is on: a heater warms and dries the measured air.
///
/// Names: `heater_enable` (hwmon sht3x and sht4x; iio htu21, hts221), `out_current_heater_raw` (iio si7020, hdc100x,
/// hdc3020).
pub(super) fn check_heater(folder: &Path) -> Result<(), ReadError> {
    for name in ["heater_enable", "out_current_heater_raw"] {
        let file = folder.join(name);
        if word(&file).is_some_and(|state| state != "0") {
            let why =
                "the heater of the chip is on, so temperature and humidity are wrong; write 0 into this file";
            return Err(unclear(&file, why));
        }
    }
    Ok(())
}

/// Converts an error of Linux at `path`, with a remedy.
pub(super) fn error(error: &io::Error, path: &Path) -> ReadError {
    let (cause, remedy) = meaning(error);
    ReadError::with_source(cause, place(path), format!("{error}{remedy}"))
}

fn meaning(error: &io::Error) -> (Cause, &'static str) {
    match error.raw_os_error() {
        Some(errno::ENXIO | errno::ENODEV | errno::EREMOTEIO) => {
            (Cause::NotPresent, "; the chip does not answer its driver")
        }
        Some(errno::EIO) => (Cause::Bus, "; the driver could not talk to the chip"),
        Some(errno::EAGAIN) => (Cause::Bus, "; the driver has no value yet"),
        Some(errno::ETIME | errno::ETIMEDOUT) => (Cause::Timeout, ""),
        Some(errno::EBUSY) => (Cause::Busy, "; another program reads it, perhaps through an IIO buffer"),
        Some(errno::EBADMSG | errno::EILSEQ) => (Cause::Checksum, ""),
        Some(errno::ENODATA) => (Cause::Other, "; this channel is disabled"),
        _ => match error.kind() {
            ErrorKind::NotFound => (Cause::NotPresent, ""),
            ErrorKind::PermissionDenied => (Cause::Other, "; the user of this process may not read it"),
            _ => (Cause::Other, ""),
        },
    }
}

/// Creates the error for a missing `path`, with this reason.
pub(super) fn absent(path: &Path, why: impl Into<String>) -> ReadError {
    ReadError::with_source(Cause::NotPresent, place(path), why.into())
}

/// Creates the error for a `path` that cannot be read, with this reason.
pub(super) fn unclear(path: &Path, why: impl Into<String>) -> ReadError {
    ReadError::with_source(Cause::Other, place(path), why.into())
}

pub(super) fn place(path: &Path) -> Place {
    Place::at(path.display().to_string())
}

/// Formats names for a message: `a`, `b` and `c`.
pub(super) fn list<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(MAX_LISTED)
        .map(|name| format!("`{}`", excerpt(name.as_ref().as_bytes())))
        .collect();
    match (names.len().saturating_sub(MAX_LISTED), shown.split_last()) {
        (_, None) => "nothing".to_owned(),
        (0, Some((only, []))) => only.clone(),
        (0, Some((last, first))) => format!("{} and {last}", first.join(", ")),
        (more, Some(_)) => format!("{} and {more} more", shown.join(", ")),
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_has_its_cause_and_keeps_its_text() {
        let table = [
            (2, Cause::NotPresent),
            (6, Cause::NotPresent),
            (19, Cause::NotPresent),
            (121, Cause::NotPresent),
            (5, Cause::Bus),
            (11, Cause::Bus),
            (62, Cause::Timeout),
            (110, Cause::Timeout),
            (16, Cause::Busy),
            (74, Cause::Checksum),
            (84, Cause::Checksum),
            (61, Cause::Other),
            (13, Cause::Other),
            (22, Cause::Other),
            (34, Cause::Other),
        ];
        for (number, cause) in table {
            let error = error(&io::Error::from_raw_os_error(number), Path::new("/sys/x"));
            assert_eq!(error.cause(), cause, "{number}");
            assert!(error.to_string().contains("/sys/x"), "{error}");
            assert!(error.to_string().contains(&format!("(os error {number})")), "{error}");
        }
        let error = error(&io::Error::from_raw_os_error(61), Path::new("/sys/x")).to_string();
        assert_eq!(error, "cannot read /sys/x: No data available (os error 61); this channel is disabled");
    }

    #[test]
    fn entries_come_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["hwmon10", "hwmon2", "hwmon0", "other"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        let names: Vec<String> =
            entries(folder.path(), "hwmon").unwrap().into_iter().map(|e| e.name).collect();
        assert_eq!(names, ["hwmon0", "hwmon2", "hwmon10"]);
        let error = entries(&folder.path().join("none"), "").unwrap_err();
        assert_eq!(error.cause(), Cause::NotPresent);
    }

    #[test]
    fn lists_are_short() {
        let names: Vec<String> = (0..20).map(|n| n.to_string()).collect();
        assert_eq!(list::<&str>(&[]), "nothing");
        assert_eq!(list(&names[..1]), "`0`");
        assert_eq!(list(&names[..3]), "`0`, `1` and `2`");
        assert!(list(&names).ends_with("`11` and 8 more"));
    }
}
