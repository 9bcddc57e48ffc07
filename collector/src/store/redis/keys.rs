//! Names and formats of the keys in Redis. The keys of the fleet `default` are below the prefix itself, those of another
//! fleet below `fleet:NAME:` after the prefix, where the name of a zone is `FLEET/ZONE`:
//!
//! | key | type | content |
//! |---|---|---|
//! | `meta` | hash | version of the data, newest id over all fleets; only below the prefix itself |
//! | `fleets` | set | the names of the other fleets; only below the prefix itself |
//! | `reports` | stream | the reports, by id |
//! | `times` | sorted set | `time:id:kind`, by time |
//! | `kinds` | hash | the number of each quantity and unit |
//! | `latest` | hash | the member of `times` of the latest report of each kind, see `recency.rs` |
//! | `keys:EPOCH:UNIT:CYCLE/100` | hash | the mean of each cycle: keys of the existing reports |
//! | `gone:EPOCH:UNIT` | sorted set | `first:last`, the cycles of deleted reports |
//! | `epochs`, `epoch:EPOCH` | sorted set, hash | the known epochs |
//! | `fence` | sorted set | `epoch:first_cycle` of those that no later epoch began before |
//! | `hours`, `hour:HOUR`, `minutes:HOUR` | sorted set, hashes | sums of each kind, over existing reports, see `moments.lua` |
//! | `old`, `old:HOUR` | sorted set, hash | the same over deleted reports |
//!
//! Sorted sets are sorted by their members, not by scores: scores are exact only up to 2^53, but epochs and cycles
//! reach 2^63. Therefore all values that are compared have a fixed width.

use std::collections::HashMap;

use jiff::Timestamp;

use crate::fleet_name::FleetName;
use crate::moments::Moments;
use crate::report::{Record, Report};
use crate::store::interface::Cursor;
use crate::store::rollup::{Kind, Rollup};
use crate::values::without_negative_zero;

/// Version of the format above; increases with every change.
pub(super) const VERSION: &str = "1";

/// Microseconds in a minute.
pub(super) const MINUTE: i64 = 60_000_000;

/// Returns the prefix of a fleet's keys.
pub(super) fn of_fleet(prefix: &str, fleet: &FleetName) -> String {
    if fleet.is_default() { prefix.to_owned() } else { format!("{prefix}fleet:{fleet}:") }
}

/// Formats an epoch or a cycle.
pub(super) fn padded(number: i64) -> String {
    format!("{number:019}")
}

/// Formats a time, in microseconds since 1970, as the beginning of a member of `times`.
pub(super) fn time(micros: i64) -> String {
    format!("{:018}", micros.clamp(0, 10_i64.pow(18) - 1))
}

/// Formats a time and an id as the beginning of a member of `times`.
pub(super) fn position(cursor: Cursor) -> String {
    let id = cursor.id.clamp(0, 10_i64.pow(16) - 1);
    format!("{}:{id:016}:", time(cursor.time))
}

/// Returns the exclusive lower bound of all members beyond `cursor`, or the upper bound if it goes backwards.
pub(super) fn beyond(cursor: Cursor, backwards: bool) -> String {
    position(cursor) + if backwards { "" } else { "~" }
}

/// Formats a quantity and a unit; empty if the report has neither.
pub(super) fn kind(report: &Report) -> String {
    format!("{}\0{}", report.quantity.as_deref().unwrap_or(""), report.unit.as_deref().unwrap_or(""))
}

/// Parses the quantity and the unit of a kind.
pub(super) fn of_kind(kind: &str) -> Kind {
    let (quantity, unit) = kind.split_once('\0').unwrap_or((kind, ""));
    let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
    (named(quantity), named(unit))
}

/// Parses a member of `times`: the position of a report, and the number of its kind.
pub(super) fn member(member: &str) -> Option<(Cursor, &str)> {
    let (time, rest) = member.split_once(':')?;
    let (id, kind) = rest.split_once(':')?;
    Some((Cursor { time: time.parse().ok()?, id: id.parse().ok()? }, kind))
}

/// Calls `add` with the name and the value of each field of the report's entry in the stream. The fleet is not part of an
/// entry.
pub(super) fn fields(report: &Report, mut add: impl FnMut(&str, &str)) {
    let whole = |number: Option<i64>| number.map(|number| number.to_string());
    let real = |number: Option<f64>| number.map(text_of);
    let mut add_some = |name: &str, value: Option<&str>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            add(name, value);
        }
    };
    add_some("epoch", whole(report.epoch).as_deref());
    add_some("cycle", whole(report.cycle).as_deref());
    add_some("time", Some(&report.time.as_microsecond().to_string()));
    add_some("quantity", report.quantity.as_deref());
    add_some("unit", report.unit.as_deref());
    add_some("mean", Some(&text_of(report.mean)));
    add_some("min", real(report.min).as_deref());
    add_some("max", real(report.max).as_deref());
    add_some("stddev", real(report.stddev).as_deref());
    add_some("count", whole(report.count).as_deref());
    add_some("excluded", whole(report.excluded).as_deref());
    add_some("received", Some(&report.received.as_microsecond().to_string()));
    add_some("reporter", report.reporter.as_deref());
    add_some("aggregate", report.aggregate.as_deref());
}

/// Formats a number so that parsing returns the same number.
pub(super) fn text_of(number: f64) -> String {
    format!("{number:?}")
}

/// Parses an entry of a fleet's stream; `None` if its format is unknown.
pub(super) fn record(fleet: &FleetName, id: &str, fields: &HashMap<String, String>) -> Option<Record> {
    let text = |name: &str| fields.get(name).cloned();
    let whole = |name: &str| {
        fields.get(name).map(|text| text.parse::<i64>().ok()).map_or(Some(None), |it| it.map(Some))
    };
    let real = |name: &str| {
        let read = |text: &String| text.parse::<f64>().ok().map(without_negative_zero);
        fields.get(name).map(read).map_or(Some(None), |it| it.map(Some))
    };
    let micros = |name: &str| Timestamp::from_microsecond(whole(name)??).ok();
    Some(Record {
        id: id.strip_suffix("-0")?.parse().ok()?,
        report: Report {
            fleet: fleet.clone(),
            epoch: whole("epoch")?,
            cycle: whole("cycle")?,
            time: micros("time")?,
            quantity: text("quantity"),
            unit: text("unit"),
            mean: real("mean")??,
            min: real("min")?,
            max: real("max")?,
            stddev: real("stddev")?,
            count: whole("count")?,
            excluded: whole("excluded")?,
            received: micros("received")?,
            reporter: text("reporter"),
            aggregate: text("aggregate"),
        },
    })
}

/// Parses a sum in the format of the scripts.
pub(super) fn sum(text: &str) -> Option<Rollup> {
    let mut parts = text.split(' ');
    let reports = parts.next()?.parse().ok()?;
    // A sum that overflows is infinite or NaN.
    let mut real = || parts.next()?.parse::<f64>().ok();
    let (sum, min, max) = (real().unwrap_or(f64::NAN), real()?, real()?);
    Some(Rollup { reports, sum, min, max, moments: Moments::from_words(parts) })
}

/// Returns true if a sum has moments, or no readings; those of earlier versions have neither.
pub(super) fn has_moments(sum: &str) -> bool {
    sum.split(' ').nth(4).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn members_are_in_the_order_of_time_and_id(a in (0..1_i64 << 57, 0..1_i64 << 53), b in (0..1_i64 << 57, 0..1_i64 << 53)) {
            let cursor = |(time, id)| Cursor { time, id };
            let name = |(at, id): (i64, i64)| format!("{}:{id:016}:7", time(at));
            let own = name(a);
            prop_assert_eq!(member(&own), Some((cursor(a), "7")));
            prop_assert_eq!(name(a) < name(b), a < b);
            prop_assert_eq!(beyond(cursor(a), false) < name(b), a < b);
            prop_assert_eq!(beyond(cursor(a), true) > name(b), a > b);
        }

        #[test]
        fn nothing_read_panics(text in ".*", time in any::<i64>(), id in any::<i64>()) {
            let _ = (member(&text), of_kind(&text), sum(&text), beyond(Cursor { time, id }, true));
            let _ = record(&FleetName::default(), &text, &HashMap::from([("mean".to_owned(), text.clone())]));
        }
    }
}
