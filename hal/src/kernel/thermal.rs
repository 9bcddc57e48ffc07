//! `chip = "cpu"`: the temperature of this machine's processor, from the kernel's thermal zones. Laptops and Raspberry
//! Pis have one, so this sensor needs no soldering.
//!
//! ```toml
//! chip = "cpu"
//! device = "x86_pkg_temp"     # another zone, by type or as "thermal_zone2"; may be left out
//! ```
//!
//! Attributes: Linux, Documentation/driver-api/thermal/sysfs-api.rst; m°C. The zone of the processor is determined by
//! its name, see [`PREFERRED`]. A machine without zones (a desktop with an AMD processor) may show it in hwmon:
//! `chip = "hwmon"`, `device = "k10temp"`.

use smallvec::smallvec;

use super::sysfs::{self, Entry, Sysfs};
use crate::error::ReadError;
use crate::reading::{Quantity, Readings};
use crate::sensor::{Sensor, SensorInfo};

const FOLDER: &str = "class/thermal";

/// Types of processor zones, in order of preference: that of a Raspberry Pi and of most boards with a device tree,
/// Intel's package, and the zone of a laptop's firmware. On a board that has none of these, the first zone is used.
pub const PREFERRED: [&str; 9] = [
    "cpu-thermal",
    "cpu_thermal",
    "x86_pkg_temp",
    "soc-thermal",
    "soc_thermal",
    "cpu0-thermal",
    "cpu-thermal-zone",
    "TCPU",
    "acpitz",
];

/// A thermal zone.
pub struct Thermal {
    sysfs: Sysfs,
    device: Option<String>,
    info: SensorInfo,
}

impl Thermal {
    /// Creates a sensor. `device` is the type (`cpu-thermal`) or number (`thermal_zone0`) of a zone; without one, the
    /// zone of the processor is used. Reads nothing yet.
    pub fn new(sysfs: Sysfs, device: Option<String>, info: SensorInfo) -> Thermal {
        Thermal { sysfs, device, info }
    }

    fn find(&self) -> Result<Entry, ReadError> {
        let folder = self.sysfs.folder(FOLDER);
        let zones: Vec<(String, Entry)> = sysfs::entries(&folder, "thermal_zone")?
            .into_iter()
            .map(|zone| (sysfs::word(&zone.path.join("type")).unwrap_or_default(), zone))
            .collect();
        let Some(device) = &self.device else {
            let preferred =
                PREFERRED.into_iter().find_map(|wanted| zones.iter().find(|(kind, _)| kind == wanted));
            let (_, zone) = preferred.or(zones.first()).ok_or_else(|| {
                let why = "this machine has no thermal zone; look for its processor with `chip = \"hwmon\"`";
                sysfs::absent(&folder, why)
            })?;
            return Ok(zone.clone());
        };
        // Zones of the same type are numbered; the first is the one that other programs also show.
        let named = zones.iter().find(|(kind, zone)| kind == device || zone.name == *device);
        named.map(|(_, zone)| zone.clone()).ok_or_else(|| {
            let kinds: Vec<&String> = zones.iter().map(|(kind, _)| kind).collect();
            sysfs::absent(&folder, format!("no zone is called `{device}`; there is {}", sysfs::list(&kinds)))
        })
    }
}

impl Sensor for Thermal {
    fn info(&self) -> &SensorInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Readings, ReadError> {
        let file = self.find()?.path.join("temp");
        let celsius = sysfs::number(&file)? / 1e3;
        sysfs::check_register_end(celsius, &file)?;
        Ok(smallvec![sysfs::reading(Quantity::Temperature, celsius, &file)?])
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
#[path = "thermal_tests.rs"]
mod tests;
