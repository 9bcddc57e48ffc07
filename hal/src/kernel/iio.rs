//! `chip = "iio"`: sensors that an industrial I/O driver of the kernel exposes in `/sys/bus/iio/devices`: weather
//! chips, light sensors, analogue inputs.
//!
//! ```toml
//! chip = "iio"
//! device = "bme280"             # may be left out when only one device fits
//! quantity = ["temperature", "humidity", "pressure"]
//! # or one of its channels, which tells the quantity: channel = "in_temp"
//! ```
//!
//! Names and units: Linux, Documentation/ABI/testing/sysfs-bus-iio. A channel has either `CHANNEL_input` in that unit,
//! or `CHANNEL_raw`, to which `CHANNEL_offset` is added and which is then multiplied by `CHANNEL_scale`; offset and
//! scale may be shared by all channels of the type (`in_voltage_scale`) or of the device (`scale`). Devices are
//! searched at every read, because their numbers can change.

use std::path::Path;

use super::device::{Channel, Device, Kind, Unit, Wanted};
use super::sysfs::{self, Entry, Sysfs};
use crate::error::{Cause, ReadError};
use crate::reading::{Quantity, Reading, Readings};
use crate::sensor::{Sensor, SensorInfo};

const FOLDER: &str = "bus/iio/devices";

pub(super) const TYPES: [(&str, Quantity, Unit); 8] = [
    ("in_temp", Quantity::Temperature, Unit::Per(1e3)),
    ("in_humidityrelative", Quantity::Humidity, Unit::Per(1e3)),
    // Kilopascal.
    ("in_pressure", Quantity::Pressure, Unit::Times(1e3)),
    ("in_voltage", Quantity::Voltage, Unit::Per(1e3)),
    ("in_current", Quantity::Current, Unit::Per(1e3)),
    ("in_power", Quantity::Power, Unit::Per(1e3)),
    ("in_illuminance", Quantity::Illuminance, Unit::Times(1.0)),
    // Percent.
    ("in_concentration", Quantity::Concentration, Unit::Times(1e4)),
];

/// Channels of one device in `/sys/bus/iio/devices`.
pub struct Iio {
    sysfs: Sysfs,
    device: Option<String>,
    channel: Option<String>,
    info: SensorInfo,
}

impl Iio {
    /// Creates a sensor. `device` is its name (`bme280`), its label, its device on a bus (`1-0076`) or its number
    /// (`iio:device0`, which can differ after a reboot). Without a channel, each quantity in `info` is read from the
    /// only channel that measures it. Reads nothing yet.
    pub fn new(sysfs: Sysfs, device: Option<String>, channel: Option<String>, info: SensorInfo) -> Iio {
        // Users copy the name of the file.
        let plain = |name: String| match name.strip_suffix("_input").or(name.strip_suffix("_raw")) {
            Some(plain) => plain.to_owned(),
            None => name,
        };
        Iio { sysfs, device, channel: channel.map(plain), info }
    }

    fn look(&self, entry: Entry) -> Device {
        // The entry is a link to .../i2c-1/1-0076/iio:device0.
        let real = std::fs::canonicalize(&entry.path).ok();
        let bound = real.and_then(|path| Some(path.parent()?.file_name()?.to_str()?.to_owned()));
        let attribute = |name: &str| sysfs::word(&entry.path.join(name));
        let names = [attribute("name"), attribute("label"), bound].into_iter().flatten().collect();
        // A device that was removed in the meantime has no channels.
        let files = sysfs::entries(&entry.path, "in_").unwrap_or_default();
        let mut channels: Vec<Channel> = Vec::new();
        for ending in ["_input", "_raw"] {
            for Entry { name, path } in &files {
                let Some(channel) = name.strip_suffix(ending) else { continue };
                let kind = kind(channel).map(|(_, kind)| kind);
                let wanted = self.channel.as_deref() == Some(channel);
                if (kind.is_some() || wanted) && !channels.iter().any(|known| known.name == channel) {
                    channels.push(Channel { name: channel.to_owned(), file: path.clone(), kind });
                }
            }
        }
        Device { number: entry.name, names, channels }
    }
}

/// Returns the kind of a channel such as `in_voltage0`, with the name of its type. The type may be followed by a
/// number, another input to subtract, or a modifier such as `_co2`; `in_powerfactor` is another type.
fn kind(channel: &str) -> Option<(&'static str, Kind)> {
    let fits = |name: &str| {
        let rest = channel.strip_prefix(name);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_ascii_alphabetic()))
    };
    let (name, quantity, unit) = TYPES.into_iter().find(|(name, ..)| fits(name))?;
    Some((name, Kind { quantity, unit }))
}

fn read(channel: &Channel, quantity: Quantity) -> Result<Reading, ReadError> {
    let mut value = sysfs::number(&channel.file)?;
    let raw = channel.file.to_string_lossy().ends_with("_raw");
    if matches!(quantity, Quantity::Temperature | Quantity::Humidity) {
        sysfs::check_heater(channel.file.parent().unwrap_or(Path::new("")))?;
    }
    if raw {
        check_raw(channel, quantity, value)?;
        let scale = shared(channel, "scale")?;
        // An absent offset is zero. An absent scale means that the unit is not known, unless boards.toml names it.
        value += shared(channel, "offset")?.unwrap_or(0.0);
        value *= match (scale, channel.kind) {
            (Some(scale), _) => scale,
            (None, None) => 1.0,
            (None, Some(_)) => {
                let why = "the driver tells no scale, so its unit is unknown; read it with `chip = \"file\"` and a \
                           filter `scale`";
                return Err(sysfs::unclear(&channel.file, why));
            }
        };
    }
    let value = channel.kind.map_or(value, |kind| kind.unit.ours(value));
    sysfs::reading(quantity, value, &channel.file)
}

/// Refuses a raw value at an end of the converter's range: the true value may be beyond it. An unsigned 0 is valid: a
/// voltage that is off, or darkness.
///
/// The number of bits of the converter is in `scan_elements/CHANNEL_type` (`be:s12/16>>4`), if the driver has buffers.
/// If not, only the ends of the common whole widths are known; those of an MCP3008 (1023) are not.
fn check_raw(channel: &Channel, quantity: Quantity, value: f64) -> Result<(), ReadError> {
    let folder = channel.file.parent().unwrap_or(Path::new(""));
    let shown = sysfs::word(&folder.join("scan_elements").join(format!("{}_type", channel.name)));
    let ends = match shown.as_deref().and_then(converter) {
        Some(ends) => vec![ends],
        None => {
            [(true, 16), (false, 16), (true, 24), (false, 24), (true, 32), (false, 32)].map(ends).to_vec()
        }
    };
    if value == 0.0 || !ends.iter().flatten().any(|end| *end == value) {
        return Ok(());
    }
    let why = format!(
        "{quantity} at the end of the converter's range (raw {value}), so the true value may be beyond it; choose a larger \
         range or a smaller signal"
    );
    Err(ReadError::with_source(Cause::OutOfRange, sysfs::place(&channel.file), why))
}

/// Returns the ends of the converter's range for a type in `scan_elements`: `le:u12/16>>0` has 12 bits without a sign.
fn converter(text: &str) -> Option<[f64; 2]> {
    let (_, layout) = text.split_once(':')?;
    let (bits, _) = layout.split_once('/')?;
    let signed = match bits.chars().next()? {
        's' => true,
        'u' => false,
        _ => return None,
    };
    let bits: i32 = bits.get(1..)?.parse().ok()?;
    (1..=64).contains(&bits).then(|| ends((signed, bits)))
}

fn ends((signed, bits): (bool, i32)) -> [f64; 2] {
    let full = 2_f64.powi(bits);
    if signed { [-full / 2.0, full / 2.0 - 1.0] } else { [0.0, full - 1.0] }
}

/// Returns the value of an attribute (`scale`, `offset`) of this channel, of its type, or of all channels.
fn shared(channel: &Channel, what: &str) -> Result<Option<f64>, ReadError> {
    let folder = channel.file.parent().unwrap_or(Path::new(""));
    let mut files = vec![format!("{}_{what}", channel.name)];
    if let Some((name, _)) = kind(&channel.name) {
        if channel.name.contains('-') {
            files.push(format!("{name}-{}_{what}", name.trim_start_matches("in_")));
        }
        files.push(format!("{name}_{what}"));
    }
    files.extend([format!("in_{what}"), what.to_owned()]);
    for file in files {
        match sysfs::number(&folder.join(file)) {
            Ok(number) => return Ok(Some(number)),
            Err(error) if error.cause() == Cause::NotPresent => {}
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

impl Sensor for Iio {
    fn info(&self) -> &SensorInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Readings, ReadError> {
        let folder = self.sysfs.folder(FOLDER);
        let devices = sysfs::entries(&folder, "iio:device")?.into_iter();
        let devices = devices.map(|entry| self.look(entry)).collect();
        let (device, channel) = (self.device.as_deref(), self.channel.as_deref());
        let wanted = Wanted { device, channel, quantities: &self.info.quantities };
        let chosen = wanted.choose(devices, &folder)?;
        chosen.iter().map(|(channel, quantity)| read(channel, *quantity)).collect()
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
#[path = "iio_tests.rs"]
mod tests;
