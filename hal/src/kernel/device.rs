//! Devices with channels, as in hwmon and IIO, and the selection of those that a board uses: a pure function of the
//! devices found.

use std::fmt;
use std::path::{Path, PathBuf};

use super::sysfs;
use crate::error::ReadError;
use crate::reading::Quantity;

#[derive(Clone, Debug)]
pub(super) struct Device {
    /// Number assigned by the kernel, which can change: `hwmon3`, `iio:device0`.
    pub(super) number: String,
    /// Other names: the chip (`lm75`), its device on a bus (`1-0048`).
    pub(super) names: Vec<String>,
    pub(super) channels: Vec<Channel>,
}

/// Source of one value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Channel {
    /// `temp1`, `in_temp`
    pub(super) name: String,
    /// Path of the attribute.
    pub(super) file: PathBuf,
    /// None for a kind without a quantity in this crate: boards.toml then names the quantity, and the number is used
    /// unchanged.
    pub(super) kind: Option<Kind>,
}

/// Quantity and unit of a kind of channel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Kind {
    pub(super) quantity: Quantity,
    pub(super) unit: Unit,
}

/// Conversion from a unit of the kernel to that of the quantity. Milli is divided by 1000 and not multiplied by 0.001,
/// which a float cannot represent exactly.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Unit {
    /// Divides: this many units of the kernel are one unit of the quantity.
    Per(f64),
    /// Multiplies: one unit of the kernel is this many units of the quantity.
    Times(f64),
}

impl Unit {
    pub(super) fn ours(self, value: f64) -> f64 {
        match self {
            Unit::Per(count) => value / count,
            Unit::Times(count) => value * count,
        }
    }
}

/// Configuration of a sensor in boards.toml.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) device: Option<&'a str>,
    pub(super) channel: Option<&'a str>,
    /// One quantity if `channel` is set; otherwise each is measured by a channel of its own.
    pub(super) quantities: &'a [Quantity],
}

impl Wanted<'_> {
    /// Returns the channels of the one matching device, in the order of the quantities, each with its quantity.
    ///
    /// # Errors
    /// No device matches, or more than one; the message lists the devices. `folder` is the folder in which they were
    /// found.
    pub(super) fn choose(
        &self,
        mut devices: Vec<Device>,
        folder: &Path,
    ) -> Result<Vec<(Channel, Quantity)>, ReadError> {
        let all = devices.clone();
        match self.device {
            Some(name) => devices.retain(|device| device.is(name)),
            None => devices.retain(|device| self.fits(device)),
        }
        let names: Vec<String> = devices.iter().map(Device::to_string).collect();
        match (devices.pop(), devices.is_empty(), self.device) {
            (Some(device), true, _) => self.channels(&device, &folder.join(&device.number)),
            (Some(_), false, _) => {
                let why = format!("several devices fit: {}; say which with `device`", sysfs::list(&names));
                Err(sysfs::unclear(folder, why))
            }
            (None, _, Some(name)) => {
                let known: Vec<String> = all.iter().map(Device::to_string).collect();
                let why = format!("no device is called `{name}`; there is {}", sysfs::list(&known));
                Err(sysfs::absent(folder, why))
            }
            (None, _, None) => {
                let channels = |device: &Device| {
                    let name = |channel: &Channel| format!("{} of {device}", channel.name);
                    device.channels.iter().map(name).collect::<Vec<String>>()
                };
                let known: Vec<String> = all.iter().flat_map(channels).collect();
                let why = format!("no device has {}; there is {}", self.words(), sysfs::list(&known));
                Err(sysfs::absent(folder, why))
            }
        }
    }

    fn fits(&self, device: &Device) -> bool {
        match self.channel {
            Some(name) => device.channels.iter().any(|channel| channel.name == name),
            None => self.quantities.iter().all(|quantity| !device.measuring(*quantity).is_empty()),
        }
    }

    fn channels(&self, device: &Device, place: &Path) -> Result<Vec<(Channel, Quantity)>, ReadError> {
        let known = || {
            let names: Vec<&str> = device.channels.iter().map(|channel| channel.name.as_str()).collect();
            sysfs::list(&names)
        };
        if let Some(name) = self.channel {
            let channel = device.channels.iter().find(|channel| channel.name == name).ok_or_else(|| {
                sysfs::absent(place, format!("{device} has no channel `{name}`; there is {}", known()))
            })?;
            let quantity = channel.kind.map(|kind| kind.quantity).or(self.quantities.first().copied());
            let unknown = || sysfs::unclear(place, format!("`{name}` measures nothing that is known here"));
            return Ok(vec![(channel.clone(), quantity.ok_or_else(unknown)?)]);
        }
        let one = |quantity: &Quantity| match device.measuring(*quantity)[..] {
            [only] => Ok((only.clone(), *quantity)),
            [] => {
                let why = format!("{device} has no channel for {quantity}; there is {}", known());
                Err(sysfs::absent(place, why))
            }
            ref several => {
                let names: Vec<&str> = several.iter().map(|channel| channel.name.as_str()).collect();
                let why = format!(
                    "{device} has several channels for {quantity}: {}; say which with `channel`",
                    sysfs::list(&names)
                );
                Err(sysfs::unclear(place, why))
            }
        };
        self.quantities.iter().map(one).collect()
    }

    fn words(&self) -> String {
        let quantities: Vec<&str> = self.quantities.iter().map(|quantity| quantity.name()).collect();
        match self.channel {
            Some(channel) => format!("a channel `{channel}`"),
            None => format!("a channel for {}", quantities.join(" and one for ")),
        }
    }
}

impl Device {
    fn is(&self, name: &str) -> bool {
        self.number == name || self.names.iter().any(|known| known == name)
    }

    /// Returns the channels for `quantity`; extremes and averages, which IIO also exposes as channels, must be named
    /// explicitly.
    fn measuring(&self, quantity: Quantity) -> Vec<&Channel> {
        let derived = ["_peak", "_trough", "_mean"];
        let plain = |channel: &&Channel| !derived.iter().any(|suffix| channel.name.ends_with(suffix));
        let fits = |channel: &&Channel| channel.kind.is_some_and(|kind| kind.quantity == quantity);
        self.channels.iter().filter(plain).filter(fits).collect()
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.names.split_first() {
            Some((name, [])) => write!(f, "{name} ({})", self.number),
            Some((name, others)) => write!(f, "{name} ({}, {})", others.join(", "), self.number),
            None => f.write_str(&self.number),
        }
    }
}
