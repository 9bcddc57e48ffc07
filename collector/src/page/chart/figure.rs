//! The chart with its legend, its description, and its data as a table.

use maud::{Markup, html};

use super::draw::draw;
use super::table::{merged, table};
use super::{Chart, clock_class_and_name, seconds};
use crate::page::i18n::{Lang, span};

/// Renders the chart and everything below it. `table_id` is unique in the page.
pub(in super::super) fn figure(chart: &Chart, lang: Lang, table_id: &str) -> Markup {
    let messages = lang.messages();
    let summary = summary(chart, lang);
    let (noun, _) = chart.subject.nouns(lang);
    html! {
        (draw(chart, lang, &summary))
        ul.legend aria-hidden="true" {
            li.mean { (messages.legend_mean) }
            li.band { (messages.legend_band) }
            @if !chart.average.is_empty() { li.average { (messages.fleet_average) } }
            @if !chart.gaps().is_empty() { li.gap { (messages.no_data.replace("{what}", noun)) } }
            @if !chart.changes.is_empty() { li.epoch { (messages.legend_epoch) } }
            @for clock in chart.marked_clocks() {
                @let (class, name) = clock_class_and_name(clock, lang);
                li.(class) { (name) }
            }
            li.zone { (zone(chart.ahead.seconds())) }
        }
        p.summary { (summary) }
        details id=(table_id) {
            summary { (messages.as_table) }
            div.scroll id=(format!("{table_id}-rows")) tabindex="0" role="region" aria-label=(messages.data_as_table) {
                (table(chart, lang))
            }
        }
    }
}

/// Formats an offset, such as `UTC+2`.
fn zone(ahead: i32) -> String {
    let (hours, minutes) = (ahead / 3_600, ahead.abs() / 60 % 60);
    match (ahead, minutes) {
        (0, _) => "UTC".to_owned(),
        (_, 0) => format!("UTC{hours:+}"),
        _ => format!("UTC{}{}:{minutes:02}", if ahead < 0 { "-" } else { "+" }, hours.abs()),
    }
}

/// Returns a description of the chart for people who cannot see it.
fn summary(chart: &Chart, lang: Lang) -> String {
    let messages = lang.messages();
    let Some(whole) = merged(&chart.points) else { return String::new() };
    let number = |value| lang.with_unit(value, whole.unit.as_deref());
    let mut text = messages
        .summary
        .replace("{count}", &chart.subject.counted(whole.reports, lang))
        .replace("{mean}", &number(whole.mean))
        .replace("{min}", &number(whole.min))
        .replace("{max}", &number(whole.max));
    for (count, one, more) in [
        (chart.gaps().len(), messages.gap, messages.gaps),
        (chart.changes.len(), messages.leader_change, messages.leader_changes),
    ] {
        match count {
            0 => {}
            1 => text += &format!("; 1 {one}"),
            count => text += &format!("; {count} {more}"),
        }
    }
    for clock in chart.marked_clocks() {
        let runs = chart.clocks.iter().filter(|run| run.clock == clock);
        let total: i64 = runs.map(|run| run.to - run.from).sum();
        text += &format!("; {}: {}", clock_class_and_name(clock, lang).1, span(seconds(total)));
    }
    text + "."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_sample_is_singular() {
        use crate::page::chart::Subject::{Reports, Samples};
        for (subject, count, lang, text) in [
            (Samples, 1, Lang::En, "1 sample"),
            (Samples, 2, Lang::En, "2 samples"),
            (Reports, 1, Lang::En, "1 report"),
            (Samples, 1, Lang::Es, "1 muestra"),
            (Reports, 1, Lang::Es, "1 informe"),
            (Reports, 0, Lang::Es, "0 informes"),
        ] {
            assert_eq!(subject.counted(count, lang), text);
        }
    }

    #[test]
    fn zone_is_an_offset_from_utc() {
        let zones: Vec<_> = [0, 7_200, -12_600, 20_700].into_iter().map(zone).collect();
        assert_eq!(zones, ["UTC", "UTC+2", "UTC-3:30", "UTC+5:45"]);
    }
}
