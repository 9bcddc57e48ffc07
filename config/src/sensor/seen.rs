//! Names and places that must be unique on a board.

use std::collections::BTreeMap;

use atalaya_hal::{BusAddress, Chip};

use super::raw::RawSensor;
use crate::diagnostic::{BoardsError, Source};

/// Names and places that must be unique on a board, with the line of their first use.
#[derive(Default)]
pub(crate) struct Seen {
    pub(super) names: BTreeMap<String, usize>,
    /// Sensors by bus and address; a chip and channel may share the place with another channel of the same chip.
    places: BTreeMap<(String, Option<u8>), Vec<Tenant>>,
}

/// Sensor at a place.
struct Tenant {
    chip: Chip,
    channel: Option<String>,
    name: String,
    line: usize,
}

impl Seen {
    /// Refuses a place on a bus that is already in use.
    pub(super) fn place(
        &mut self,
        raw: &RawSensor,
        bus_address: &BusAddress,
        chip: Chip,
        line: usize,
        source: &Source<'_>,
    ) -> Result<(), BoardsError> {
        let (place, shown, span, remedy) = match (bus_address, &raw.address, &raw.bus) {
            (BusAddress::I2c { bus, address }, Some(key), _) => (
                (bus.clone(), Some(*address)),
                format!("{address:#04x} on {bus}"),
                key.span(),
                "two chips on one bus need different addresses, set by their pins",
            ),
            (BusAddress::Spi { bus }, _, Some(key)) => (
                (bus.clone(), None),
                bus.clone(),
                key.span(),
                "two chips on one SPI bus need different chip selects, such as spi-0.0 and spi-0.1",
            ),
            _ => return Ok(()),
        };
        let channel = raw.channel.as_ref().map(|channel| channel.get_ref().clone());
        let tenants = self.places.entry(place).or_default();
        let shares = |tenant: &&Tenant| tenant.chip != chip || tenant.channel == channel;
        if let Some(Tenant { name, line, .. }) = tenants.iter().find(shares) {
            let problem = format!("{shown} is taken by the sensor `{name}` in line {line}");
            return Err(source.error(span, problem, remedy));
        }
        tenants.push(Tenant { chip, channel, name: raw.name.get_ref().clone(), line });
        Ok(())
    }
}
