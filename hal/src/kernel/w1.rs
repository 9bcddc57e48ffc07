//! `chip = "w1"`: a DS18B20, or another thermometer on the 1-Wire bus, read by the kernel's `w1_therm`.
//!
//! ```toml
//! chip = "w1"
//! device = "28-0316a2795fff"    # may be left out when there is only one thermometer
//! ```
//!
//! On a Raspberry Pi: `dtoverlay=w1-gpio` in config.txt, data on GPIO 4, a resistor of 4.7 kΩ from it to 3.3 V. A read
//! makes the chip measure, which takes it 750 ms at twelve bits.
//!
//! Two files contain the temperature (Linux, Documentation/w1/slaves/w1_therm.rst). `temperature` contains only the
//! number. `w1_slave`, which every kernel has, also contains the nine bytes that the chip sent, so it is read first.
//! These invalid results look like numbers and can be detected by the bytes:
//!
//! * A wrong checksum (`NO`): the number was computed from bytes that were received incorrectly.
//! * Nine zeros, whose checksum is right: the data line is shorted. It would read as 0 °C.
//! * The values 85 °C and 127.9375 °C: the content of the register from power-up until the first measurement, so the
//!   chip lost its power while measuring. The reserved byte 6 of a genuine chip is then still 0x0c; after a measurement
//!   that gave 85 °C it is 0x10. Clones have other bytes there, such as a constant 0xff. If byte 6 is not available, or
//!   has another meaning (all families except 28 and 22; clones, which are also detected by a byte 6 that does not
//!   match another temperature), exactly 85 °C is accepted only from a chip whose previous measurement was within
//!   [`NEAR`] of it.
//! * An empty file: the chip did not answer, or answered three times in a row with a wrong checksum.

use std::ops::RangeInclusive;
use std::path::Path;

use smallvec::smallvec;

use super::sysfs::{self, Entry, Sysfs};
use crate::error::{Cause, ReadError};
use crate::parse::{self, excerpt};
use crate::reading::{Quantity, Readings};
use crate::sensor::{Sensor, SensorInfo};

const FOLDER: &str = "bus/w1/devices";

/// Maximum distance of the previous reading from 85 °C, in °C, for 85 °C to be accepted without the bytes of the chip.
pub const NEAR: f64 = 5.0;

/// Content of the chip's register after power-up, in °C.
pub(super) const POWER_UP: f64 = 85.0;

/// Families of thermometers: DS18S20, DS1822, DS18B20, DS1825 or MAX31850, DS28EA00.
const FAMILIES: [&str; 5] = ["10-", "22-", "28-", "3b-", "42-"];

/// Thermometer on the 1-Wire bus.
pub struct W1 {
    sysfs: Sysfs,
    device: Option<String>,
    /// Last temperature, if no error occurred since.
    last: Option<f64>,
    /// True if byte 6 did not follow the temperature of the chip, so the chip is a clone.
    clone: bool,
    info: SensorInfo,
}

impl W1 {
    /// Creates a sensor. `device` is the id of the chip in the kernel's form, `28-0316a2795fff`. Reads nothing yet.
    pub fn new(sysfs: Sysfs, device: Option<String>, info: SensorInfo) -> W1 {
        W1 { sysfs, device, last: None, clone: false, info }
    }

    fn find(&self) -> Result<Entry, ReadError> {
        let folder = self.sysfs.folder(FOLDER);
        let mut chips = sysfs::entries(&folder, "")?;
        chips.retain(|chip| FAMILIES.iter().any(|family| chip.name.starts_with(family)));
        let names: Vec<String> = chips.iter().map(|chip| chip.name.clone()).collect();
        if let Some(device) = &self.device {
            chips.retain(|chip| chip.name.eq_ignore_ascii_case(device));
        }
        match (chips.pop(), chips.is_empty(), &self.device) {
            (Some(chip), true, _) => Ok(chip),
            (None, _, Some(device)) => {
                let why = format!("no thermometer `{device}`; there is {}", sysfs::list(&names));
                Err(sysfs::absent(&folder, why))
            }
            (None, _, None) => {
                Err(sysfs::absent(&folder, "no thermometer answered the search of the bus yet"))
            }
            (Some(_), false, _) => {
                let why = format!("several thermometers: {}; say which with `device`", sysfs::list(&names));
                Err(sysfs::unclear(&folder, why))
            }
        }
    }

    fn celsius(&mut self) -> Result<f64, ReadError> {
        let chip = self.find()?;
        let slave = chip.path.join("w1_slave");
        let file = if slave.exists() { slave } else { chip.path.join("temperature") };
        let bytes = sysfs::bytes(&file)?;
        if bytes.trim_ascii().is_empty() {
            let why = "the kernel got no answer from the chip, or none with a right checksum";
            return Err(ReadError::with_source(Cause::Bus, sysfs::place(&file), why));
        }
        let told = if file.ends_with("w1_slave") { slave_says(&bytes) } else { plain(&bytes) };
        let reply = told.map_err(|(cause, why)| ReadError::with_source(cause, sysfs::place(&file), why))?;
        self.clone |= reply.clone;
        self.believe(reply, &chip.name, &file)
    }

    fn believe(&self, reply: Reply, chip: &str, file: &Path) -> Result<f64, ReadError> {
        let Reply { celsius, reserved, .. } = reply;
        let impossible =
            |why: String| Err(ReadError::with_source(Cause::OutOfRange, sysfs::place(file), why));
        let range = range(chip);
        if !range.contains(&celsius) {
            let celsius = parse::short(celsius);
            return impossible(format!(
                "{celsius} °C, but the chip measures from {} to {}",
                range.start(),
                range.end()
            ));
        }
        let measured = match reserved {
            _ if celsius != POWER_UP => true,
            Some(0x0c) if counts_in_byte_6(chip) => false,
            Some(0x10) if counts_in_byte_6(chip) && !self.clone => true,
            _ => self.last.is_some_and(|last| (last - POWER_UP).abs() <= NEAR),
        };
        if measured {
            return Ok(celsius);
        }
        impossible("85 °C, which is what the chip has before it measured; does its power hold?".to_owned())
    }
}

/// Returns true if byte 6 of a genuine chip of this family follows its temperature.
fn counts_in_byte_6(chip: &str) -> bool {
    chip.starts_with("28-") || chip.starts_with("22-")
}

/// Returns the measuring range of the chip, in °C. Family 3b includes a thermocouple converter.
fn range(chip: &str) -> RangeInclusive<f64> {
    if chip.starts_with("3b-") { -270.0..=1800.0 } else { -55.0..=125.0 }
}

/// Content of one of the files.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Reply {
    celsius: f64,
    /// Byte 6 of the chip's memory, if the file contains it.
    reserved: Option<u8>,
    /// True if byte 6 does not match the temperature.
    clone: bool,
}

type Told = Result<Reply, (Cause, String)>;

/// Parses the content of `temperature`, such as `23125`.
fn plain(bytes: &[u8]) -> Told {
    let millis = parse::number(bytes).map_err(|why| (Cause::Other, why))?;
    Ok(Reply { celsius: millis / 1e3, reserved: None, clone: false })
}

/// Parses the content of `w1_slave`:
///
/// ```text
/// 72 01 4b 46 7f ff 0e 10 57 : crc=57 YES
/// 72 01 4b 46 7f ff 0e 10 57 t=23125
/// ```
fn slave_says(bytes: &[u8]) -> Told {
    let strange = || (Cause::Other, format!("`{}` is not what w1_therm writes", excerpt(bytes)));
    let text = std::str::from_utf8(bytes).map_err(|_| strange())?;
    let (first, second) = text.trim().split_once('\n').ok_or_else(strange)?;
    let (memory, verdict) = first.split_once(':').ok_or_else(strange)?;
    let memory: Result<Vec<u8>, _> =
        memory.split_ascii_whitespace().map(|byte| u8::from_str_radix(byte, 16)).collect();
    let memory: [u8; 9] = memory.ok().and_then(|memory| memory.try_into().ok()).ok_or_else(strange)?;
    match verdict.split_ascii_whitespace().next_back() {
        Some("YES") => {}
        Some("NO") => return Err((Cause::Checksum, excerpt(first.as_bytes()))),
        _ => return Err(strange()),
    }
    if memory == [0; 9] {
        return Err((Cause::Bus, "nothing but zeros; is the data line shorted to ground?".to_owned()));
    }
    if memory[..2] == [0xff, 0x07] && memory[6] == 0x0c {
        return Err((Cause::OutOfRange, "the chip lost its power while it measured".to_owned()));
    }
    let (_, millis) = second.rsplit_once("t=").ok_or_else(strange)?;
    // At twelve bits (byte 4), byte 6 is 16 less the sixteenths of a degree, or has its power-up value.
    let genuine = [0x10 - (memory[0] & 0x0f), 0x0c].contains(&memory[6]);
    let clone = memory[4] == 0x7f && !genuine;
    Ok(Reply { reserved: Some(memory[6]), clone, ..plain(millis.as_bytes())? })
}

impl Sensor for W1 {
    fn info(&self) -> &SensorInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Readings, ReadError> {
        let result = self.celsius();
        self.last = result.as_ref().ok().copied();
        let folder = self.sysfs.folder(FOLDER);
        result.and_then(|celsius| Ok(smallvec![sysfs::reading(Quantity::Temperature, celsius, &folder)?]))
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
#[path = "w1_tests.rs"]
mod tests;
