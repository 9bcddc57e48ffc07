//! Names and values of samples as texts.

use maud::{Markup, html};

use super::chart::clock_class_and_name;
use super::i18n::{Lang, unit};
use crate::measurements::{ClockState, LatestSample};

/// Renders the sensor and the quantity.
pub(super) fn series_name(sample: &LatestSample, lang: Lang) -> Markup {
    html! { bdi { (sample.sensor) } " · " bdi { (lang.quantity(Some(&sample.quantity))) } }
}

/// Formats a value with its unit, such as `21.48 °C`.
pub(super) fn value(sample: &LatestSample, lang: Lang) -> String {
    format!("{} {}", lang.measured(sample.value), unit(sample.unit.as_deref())).trim_end().to_owned()
}

/// Renders the mark of a clock that was corrected or not synchronised.
pub(super) fn clock_note(sample: &LatestSample, lang: Lang) -> Markup {
    html! {
        @if sample.clock != ClockState::Synchronised {
            @let (class, name) = clock_class_and_name(sample.clock, lang);
            span.clock-note.(class) { (name) }
        }
    }
}
