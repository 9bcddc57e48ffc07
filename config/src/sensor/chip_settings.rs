//! Check of `settings = { ... }` and `channel` against the chip.

use atalaya_hal::{Chip, Settings};
use toml::Spanned;

use super::raw::RawSensor;
use crate::diagnostic::{BoardsError, Source, list, printable};

pub(super) fn settings(raw: &RawSensor, chip: Chip, source: &Source<'_>) -> Result<Settings, BoardsError> {
    let spec = chip.spec();
    let mut given = Vec::new();
    for (key, value) in raw.settings.iter().flat_map(|settings| &settings.get_ref().0.0) {
        if spec.settings.iter().all(|setting| setting.key != *key) {
            let problem = format!("`{chip}` has no setting `{key}`");
            let known: Vec<&str> = spec.settings.iter().map(|setting| setting.key).collect();
            let remedy = match known[..] {
                [] => format!("remove it: `{chip}` has no settings"),
                _ => format!("its settings are {}", list(&known)),
            };
            return Err(source.error(value.span(), problem, remedy));
        }
        given.push((*key, value.get_ref().0));
    }
    let channel = channel(raw, chip, source)?;
    chip.settings(&given, channel).map_err(|invalid| {
        let keys = raw.settings.iter().flat_map(|settings| &settings.get_ref().0.0);
        let span = keys.filter(|(key, _)| *key == invalid.key).map(|(_, value)| value.span()).next();
        source.error(span.unwrap_or_else(|| raw.chip.span()), invalid.problem, invalid.remedy)
    })
}

/// Returns the selected channel of a chip that has channels.
fn channel<'a>(raw: &'a RawSensor, chip: Chip, source: &Source<'_>) -> Result<Option<&'a str>, BoardsError> {
    let channels = chip.spec().channels;
    let Some(first) = channels.first() else { return Ok(None) };
    let name = chip.name().to_uppercase();
    let Some(channel) = raw.channel.as_ref().map(Spanned::get_ref) else {
        let problem = format!("the key `channel` is missing: which input of the {name}?");
        let remedy = format!("add `channel = \"{first}\"`, or another of {}", list(channels));
        return Err(source.error(raw.chip.span(), problem, remedy));
    };
    if !channels.contains(&channel.as_str()) {
        let problem = format!("`{}` is not an input of an {name}", printable(channel));
        let span = raw.channel.as_ref().map_or_else(|| raw.chip.span(), Spanned::span);
        return Err(source.error(span, problem, format!("write one of {}", list(channels))));
    }
    Ok(Some(channel))
}
