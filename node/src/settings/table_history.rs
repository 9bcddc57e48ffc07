//! Rows of the [table](super) for the samples that wait for the collector.

use super::{as_text, debug};
use crate::settings::Source;
use crate::settings::setting::{ChangeMode, DefaultValue, Field, Setting};
use crate::settings::values::{
    InvalidValue, interval, interval_text, measurements_url, period, size, size_text, url_text,
};

pub(super) const URL: Setting = Setting {
    name: "measurements_url",
    value_name: Some("URL"),
    help: "Collector to which the node sends every sample; a URL that ends in / means api/v1/measurements below it",
    default: DefaultValue::Unset("none: samples are not stored"),
    change: ChangeMode::Fixed,
    in_file: Some(|boards| boards.fleet.measurements_url.clone()),
    show: |settings| settings.measurements_url.as_ref().map(url_text),
    field: field!(measurements_url, |text, _| measurements_url(text).map(Some)),
};

pub(super) const KEEP: Setting = Setting {
    name: "measurements_keep",
    value_name: Some("DURATION"),
    help: "Maximum age of samples that wait for the collector or an output; older ones are dropped",
    default: DefaultValue::Value("24h"),
    change: ChangeMode::Fixed,
    in_file: Some(|boards| as_text(&boards.fleet.measurements_keep, debug)),
    show: |settings| Some(debug(&settings.measurements_keep)),
    field: field!(measurements_keep, |text, _| period("maximum age", text)),
};

pub(super) const MAX_SIZE: Setting = Setting {
    name: "measurements_max_size",
    value_name: Some("SIZE"),
    help: "Maximum size of the samples that wait for the collector or an output; the oldest are dropped",
    default: DefaultValue::Value("64MiB"),
    change: ChangeMode::Fixed,
    in_file: Some(|boards| boards.fleet.measurements_max_size.clone()),
    show: |settings| Some(size_text(settings.measurements_max_size)),
    field: field!(measurements_max_size, |text, _| size(text)),
};

pub(super) const SYNC: Setting = Setting {
    name: "measurements_sync",
    value_name: Some("DURATION"),
    help: "Time after which a sample is synced to the disk, so that a power cut costs no older one; 0s: at once",
    default: DefaultValue::Value("10s"),
    change: ChangeMode::Fixed,
    in_file: Some(|boards| boards.fleet.measurements_sync.clone()),
    show: |settings| Some(interval_text(settings.measurements_sync)),
    field: field!(measurements_sync, |text, _| interval(text)),
};
