//! `chip = "hwmon"`: sensors that a kernel driver exposes in `/sys/class/hwmon`. They include I²C chips whose address
//! answers EBUSY, and the fans, voltages and temperatures of a mainboard.
//!
//! ```toml
//! chip = "hwmon"
//! device = "1-0048"       # or the chip's name, "lm75"; may be left out when only one chip fits
//! channel = "temp1"       # may be left out when the chip has only one for the quantity
//! ```
//!
//! Attributes and units: Linux, Documentation/hwmon/sysfs-interface.rst. `hwmonN` is numbered in the order in which
//! drivers were loaded, so the chip is searched by name at every read: no number is cached, so none can become stale.

use std::path::{Path, PathBuf};

use super::device::{Channel, Device, Kind, Unit, Wanted};
use super::sysfs::{self, Entry, Sysfs};
use super::w1::POWER_UP;
use crate::error::{Cause, ReadError};
use crate::reading::{Quantity, Reading, Readings};
use crate::sensor::{Sensor, SensorInfo};

const FOLDER: &str = "class/hwmon";

pub(super) const KINDS: [(&str, Quantity, Unit); 6] = [
    ("temp", Quantity::Temperature, Unit::Per(1e3)),
    ("in", Quantity::Voltage, Unit::Per(1e3)),
    ("curr", Quantity::Current, Unit::Per(1e3)),
    ("power", Quantity::Power, Unit::Per(1e6)),
    ("humidity", Quantity::Humidity, Unit::Per(1e3)),
    // Revolutions per minute.
    ("fan", Quantity::Count, Unit::Times(1.0)),
];

/// Channels of one chip in `/sys/class/hwmon`.
pub struct Hwmon {
    sysfs: Sysfs,
    device: Option<String>,
    channel: Option<String>,
    info: SensorInfo,
}

impl Hwmon {
    /// Creates a sensor. `device` is the chip's name (`lm75`), its device on a bus (`1-0048`) or its number (`hwmon3`,
    /// which can differ after a reboot). Without a channel, each quantity in `info` is read from the only channel that
    /// measures it. Reads nothing yet.
    pub fn new(sysfs: Sysfs, device: Option<String>, channel: Option<String>, info: SensorInfo) -> Hwmon {
        // Users copy the name of the file.
        let channel = channel.map(|name| name.strip_suffix("_input").unwrap_or(&name).to_owned());
        Hwmon { sysfs, device, channel, info }
    }

    fn look(&self, entry: Entry) -> Option<Device> {
        let bound = std::fs::canonicalize(entry.path.join("device")).ok();
        let bound = bound.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
        // Old drivers keep name and values in this subfolder.
        let folders = [entry.path.clone(), entry.path.join("device")];
        let named = |folder: PathBuf| Some((sysfs::word(&folder.join("name"))?, folder));
        let (name, folder) = folders.into_iter().find_map(named)?;
        // A chip that was removed in the meantime has no channels.
        let files = sysfs::entries(&folder, "").unwrap_or_default();
        let mut channels: Vec<Channel> = Vec::new();
        // Some power meters have only an average; attributes that are not measurements for hwmon (pwm1) have no suffix.
        for ending in ["_input", "_average", ""] {
            for Entry { name, path } in &files {
                let Some(channel) = name.strip_suffix(ending) else { continue };
                let wanted = self.channel.as_deref() == Some(channel);
                let kind = if ending.is_empty() { None } else { kind(channel) };
                if (kind.is_some() || wanted) && !channels.iter().any(|known| known.name == channel) {
                    channels.push(Channel { name: channel.to_owned(), file: path.clone(), kind });
                }
            }
        }
        Some(Device {
            number: entry.name,
            names: [Some(name), bound].into_iter().flatten().collect(),
            channels,
        })
    }
}

/// Returns the kind of a channel such as `temp1`, which is the prefix of the kind and a number.
fn kind(channel: &str) -> Option<Kind> {
    let letters = channel.trim_end_matches(|c: char| c.is_ascii_digit());
    let known = KINDS.into_iter().find(|(name, ..)| *name == letters && letters.len() < channel.len());
    known.map(|(_, quantity, unit)| Kind { quantity, unit })
}

fn read(channel: &Channel, quantity: Quantity) -> Result<Reading, ReadError> {
    let value = sysfs::number(&channel.file)?;
    // An open diode or a missing probe: the value is then meaningless.
    let fault = sysfs::word(&channel.file.with_file_name(format!("{}_fault", channel.name)));
    if fault.is_some_and(|fault| fault != "0") {
        return Err(sysfs::unclear(&channel.file, "the kernel says that its probe is broken or missing"));
    }
    let value = channel.kind.map_or(value, |kind| kind.unit.ours(value));
    let folder = channel.file.parent().unwrap_or(Path::new(""));
    if quantity == Quantity::Temperature {
        sysfs::check_register_end(value, &channel.file)?;
        // The w1_therm driver exposes its thermometers here, too, but not the bytes that distinguish this value from
        // the power-up value.
        if value == POWER_UP && sysfs::word(&folder.join("name")).as_deref() == Some("w1_slave_temp") {
            let why = "temperature of 85 °C, which may be what a DS18B20 has before it measured; read it with \
                       chip = \"w1\"";
            return Err(ReadError::with_source(Cause::OutOfRange, sysfs::place(&channel.file), why));
        }
    }
    if matches!(quantity, Quantity::Temperature | Quantity::Humidity) {
        sysfs::check_heater(folder)?;
    }
    sysfs::reading(quantity, value, &channel.file)
}

impl Sensor for Hwmon {
    fn info(&self) -> &SensorInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Readings, ReadError> {
        let folder = self.sysfs.folder(FOLDER);
        let chips = sysfs::entries(&folder, "hwmon")?.into_iter();
        let chips = chips.filter_map(|entry| self.look(entry)).collect();
        let (device, channel) = (self.device.as_deref(), self.channel.as_deref());
        let wanted = Wanted { device, channel, quantities: &self.info.quantities };
        let chosen = wanted.choose(chips, &folder)?;
        chosen.iter().map(|(channel, quantity)| read(channel, *quantity)).collect()
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
#[path = "hwmon_tests.rs"]
mod tests;
