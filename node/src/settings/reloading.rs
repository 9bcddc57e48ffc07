//! Settings that are read again: which of them a running node takes over.

use super::setting::ChangeMode;
use super::table::SETTINGS;
use super::{Settings, outputs};

impl Settings {
    /// Returns the names of the fixed settings that differ in `new`.
    pub(crate) fn fixed_changes(&self, new: &Settings) -> Vec<&'static str> {
        let fixed = SETTINGS.iter().filter(|setting| setting.change == ChangeMode::Fixed);
        let changed = fixed.filter(|setting| !(setting.field.is_same)(self, new)).map(|setting| setting.name);
        let outputs = (!outputs::are_same(&self.outputs, &new.outputs)).then_some("outputs");
        changed.chain(outputs).collect()
    }

    /// Returns these settings with all values of `new` except those of fixed settings.
    pub(crate) fn reloaded(&self, new: &Settings) -> Settings {
        let mut settings = self.clone();
        for setting in SETTINGS.iter().filter(|setting| setting.change != ChangeMode::Fixed) {
            (setting.field.copy)(new, &mut settings);
        }
        settings
    }
}
