//! Rows of the [table](super) for the zone and the values in the leader's reports.

use atalaya_config::{AggregateMode, Quantiles, Quorum};

use super::{as_text, name_of};
use crate::settings::Source;
use crate::settings::setting::{ChangeMode, DefaultValue, Field, Setting};
use crate::settings::values::{InvalidValue, OUTLIERS, from_config, one_of, zone_name};

pub(super) const ZONE: Setting = Setting {
    name: "zone",
    value_name: Some("NAME"),
    help: "Zone of the fleet in reports, for a collector that combines several elections under one fleet_name",
    default: DefaultValue::Unset("none"),
    change: ChangeMode::Reloadable,
    in_file: Some(|boards| boards.fleet.zone.clone()),
    show: |settings| settings.zone.clone(),
    field: field!(zone, |text, _| zone_name(text)),
};

pub(super) const AGGREGATE: Setting = Setting {
    name: "aggregate",
    value_name: Some("VALUE"),
    help: "Value of the fleet in a report: mean, median, trimmed=0.1 (the mean without a tenth at each end) or quantile=0.9",
    default: DefaultValue::Value("mean"),
    change: ChangeMode::Dynamic,
    in_file: Some(|boards| as_text(&boards.fleet.aggregate, AggregateMode::to_string)),
    show: |settings| Some(settings.aggregate.to_string()),
    field: field!(aggregate, |text, _| from_config("aggregate", text)),
};

pub(super) const QUORUM: Setting = Setting {
    name: "quorum",
    value_name: Some("NODES"),
    help: "Nodes that a value needs to be reported: a number such as 3, or a percentage of the measurement znodes such as 60%",
    default: DefaultValue::Unset("none: one node is enough"),
    change: ChangeMode::Dynamic,
    in_file: Some(|boards| as_text(&boards.fleet.quorum, Quorum::to_string)),
    show: |settings| settings.quorum.map(|quorum| quorum.to_string()),
    field: field!(quorum, |text, _| from_config("quorum", text).map(Some)),
};

pub(super) const TREATMENT: Setting = Setting {
    name: "outliers",
    value_name: Some("TREATMENT"),
    help: "Readings far from the median of their group: flag (report the node) or exclude (leave them out of the values, too)",
    default: DefaultValue::Value("flag"),
    change: ChangeMode::Dynamic,
    in_file: Some(|boards| as_text(&boards.fleet.outliers, |outliers| name_of(OUTLIERS, outliers))),
    show: |settings| Some(name_of(OUTLIERS, &settings.outliers)),
    field: field!(outliers, |text, _| one_of("treatment", OUTLIERS, text)),
};

pub(super) const QUANTILES: Setting = Setting {
    name: "quantiles",
    value_name: Some("NUMBERS"),
    help: "Quantiles in reports as JSON, up to 9 numbers from 0 to 1 separated by commas (a list in boards.toml)",
    default: DefaultValue::Unset("none"),
    change: ChangeMode::Dynamic,
    in_file: Some(|boards| as_text(&boards.fleet.quantiles, Quantiles::to_string)),
    show: |settings| Some(settings.quantiles.to_string()).filter(|text| !text.is_empty()),
    field: field!(quantiles, |text, _| from_config("list of quantiles", text)),
};
