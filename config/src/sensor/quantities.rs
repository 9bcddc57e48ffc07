//! Checks of the quantities of a sensor.

use atalaya_hal::kernel::channel_quantity;
use atalaya_hal::{Chip, Quantity};

use super::raw::RawSensor;
use crate::diagnostic::{BoardsError, Source, printable};

pub(super) fn quantities(
    raw: &RawSensor,
    chip: Chip,
    source: &Source<'_>,
) -> Result<Vec<Quantity>, BoardsError> {
    const REMEDY: &str = "add the quantity, such as `quantity = \"temperature\"`";
    if let Some(always) = chip.quantities() {
        return Ok(always.to_vec());
    }
    if chip == Chip::Random {
        return Ok(match raw.sim.waveforms.is_empty() {
            true => vec![Quantity::Temperature],
            false => raw.sim.waveforms.keys().map(|quantity| *quantity.get_ref()).collect(),
        });
    }
    let of_channel = match (&raw.channel, chip) {
        (Some(channel), Chip::Hwmon | Chip::Iio) => {
            if channel.get_ref().starts_with("in_") != (chip == Chip::Iio) {
                let problem = format!("`{}` is not a channel of {chip}", printable(channel.get_ref()));
                let remedy = match chip {
                    Chip::Iio => "IIO calls them \"in_temp\", \"in_humidityrelative\", \"in_voltage0\"",
                    _ => {
                        "hwmon calls them \"temp1\", \"in0\", \"curr1\", \"power1\", \"humidity1\", \"fan1\""
                    }
                };
                return Err(source.error(channel.span(), problem, remedy));
            }
            let known = channel_quantity(channel.get_ref());
            if known.is_none() && raw.quantity.is_none() {
                let problem = format!("what does `{}` measure?", printable(channel.get_ref()));
                return Err(source.error(channel.span(), problem, REMEDY));
            }
            known
        }
        _ => None,
    };
    let Some(quantity) = &raw.quantity else {
        return match chip {
            // Most sensors of these kinds measure temperature.
            Chip::Hwmon | Chip::Iio => Ok(vec![of_channel.unwrap_or(Quantity::Temperature)]),
            _ => {
                let problem = format!("the key `quantity` is missing: what does this {chip} measure?");
                Err(source.error(raw.chip.span(), problem, REMEDY))
            }
        };
    };
    let wanted = &quantity.get_ref().0;
    if let Some(measured) = of_channel.filter(|measured| wanted[..] != [*measured]) {
        let problem = format!("the channel measures {measured}");
        return Err(source.error(quantity.span(), problem, "remove `quantity`, or choose another channel"));
    }
    let several = matches!(chip, Chip::Hwmon | Chip::Iio) && raw.channel.is_none();
    if wanted.len() > 1 && !several {
        let problem = format!("one `{chip}` measures one quantity");
        return Err(source.error(quantity.span(), problem, "write a sensor for each"));
    }
    let mut sorted = wanted.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if wanted.is_empty() || sorted.len() != wanted.len() {
        let problem = if wanted.is_empty() { "no quantity at all" } else { "the same quantity twice" };
        return Err(source.error(quantity.span(), problem, "write each quantity once"));
    }
    Ok(wanted.clone())
}
