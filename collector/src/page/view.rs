//! The page as HTML. The parts that change are sections with ids, which the script replaces one by one.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::assets;
use super::chart;
use super::fleet::fleet;
use super::gather::View;
use super::range::RANGES;
use super::state::State;
use super::tasks::tasks;
use super::words::{Lang, span, unit};
use crate::report::{Record, Report};

/// Renders a whole document. If it is `live`, a browser without the script reloads it every ten seconds.
pub(super) fn document(lang: Lang, title: &str, live: bool, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang=(lang.code()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" type="image/svg+xml" href=(assets::ICON.address());
                link rel="stylesheet" href=(assets::STYLE.address());
                @if live {
                    script src=(assets::SCRIPT.address()) defer {}
                    noscript { meta http-equiv="refresh" content="10"; }
                }
            }
            body data-ago=(lang.ago()) { (body) }
        }
    }
}

pub(super) fn page(view: &View, may_leave: bool) -> Markup {
    let lang = view.asked.lang;
    let title = match view.report() {
        Some(report) => format!("{} · Atalaya", value(report, lang)),
        None => "Atalaya".to_owned(),
    };
    let other = lang.say("es", "en");
    let body = html! {
        a.skip href="#main" { (lang.say("To the averages", "A las medias")) }
        header {
            a.brand href="./" {
                (PreEscaped(assets::TOWER))
                span { "Atalaya" }
            }
            nav.small aria-label=(lang.say("Language", "Idioma")) {
                a href=(view.asked.with_lang(match lang { Lang::En => Lang::Es, Lang::Es => Lang::En })) hreflang=(other) lang=(other) {
                    (lang.say("Español", "English"))
                }
                @if may_leave {
                    form method="post" action="sign-out" {
                        button.link { (lang.say("Sign out", "Cerrar sesión")) }
                    }
                }
            }
        }
        p #spoken.unseen role="status" aria-live="polite" {}
        main #main {
            div #away.banner.bad hidden role="alert" {
                strong { (lang.say("The collector does not answer.", "El colector no responde.")) }
                " "
                span { (lang.say("What you see was true ", "Lo que se ve era cierto ")) span.age data-age="0" {} "." }
            }
            (live(view))
        }
        footer {
            p {
                a href="api/v1/openapi.json" { "API" }
                " · "
                a href="metrics" { (lang.say("Metrics", "Métricas")) }
                " · Atalaya " (env!("CARGO_PKG_VERSION"))
            }
        }
    };
    document(lang, &title, true, &body)
}

/// Renders the sections that change.
pub(super) fn live(view: &View) -> Markup {
    html! {
        (state(view))
        (now(view))
        (history(view))
        (fleet(view))
        (tasks(view))
    }
}

/// Renders an age in seconds; the script keeps counting.
pub(super) fn ago(lang: Lang, seconds: f64) -> Markup {
    let millis = (seconds * 1_000.0).round();
    html! { span.age data-age=(millis) { (lang.ago().replace("{}", &span(seconds))) } }
}

/// Renders the state. It has no ARIA alert: the script replaces this section every second and announces only the
/// changes.
fn state(view: &View) -> Markup {
    let lang = view.asked.lang;
    let name = view.state.name();
    let word = match &view.state {
        State::Live => lang.say("Live", "En directo"),
        State::Empty => lang.say("Waiting", "Esperando"),
        State::Late(_) => lang.say("No reports", "Sin informes"),
        State::Behind(_) => lang.say("Catching up", "Poniéndose al día"),
        State::Store(_) => lang.say("Store away", "Almacén no disponible"),
    };
    html! {
        section #state data-state=(name) {
            p.pill.(name) {
                span.light aria-hidden="true" {}
                (word)
                @if let Some(age) = view.age { " · " span { (ago(lang, age)) } }
            }
            @match &view.state {
                State::Live => {}
                State::Empty => div.banner.calm {
                    strong { (lang.say("No report has come yet.", "Aún no ha llegado ningún informe.")) }
                    " "
                    (lang.say("Tell the fleet where to report: ", "Indica a la flota adónde informar: "))
                    code { "--api-url http://…/nuevo" }
                },
                State::Late(age) => div.banner.bad {
                    strong {
                        (lang.say("No report for ", "Sin informes desde hace ")) (span(*age)) "."
                    }
                    " "
                    (lang.say(
                        "The leader, its way to this collector, or ZooKeeper is away. Nothing is lost: what is averaged meanwhile comes later.",
                        "El líder, su camino hasta este colector o ZooKeeper no están. No se pierde nada: lo que se promedie entretanto llegará después.",
                    ))
                },
                State::Behind(delay) => div.banner.warn {
                    strong { (lang.say("Catching up.", "Poniéndose al día.")) }
                    " "
                    (lang.say("Reports of ", "Llegan informes de hace ")) (span(*delay)) (lang.say(" ago are arriving.", "."))
                },
                State::Store(reason) => div.banner.bad {
                    strong { (lang.say("Reports cannot be kept or shown at present.", "Ahora no se pueden guardar ni mostrar informes.")) }
                    " " span lang="en" { (reason) } ". "
                    (lang.say("The fleet keeps what it has and sends it later.", "La flota conserva lo que tiene y lo envía después."))
                },
            }
        }
    }
}

/// Formats a value with its unit, such as `21.48 °C`.
fn value(report: &Report, lang: Lang) -> String {
    let unit = unit(report.unit.as_deref());
    format!("{} {unit}", lang.measured(report.mean)).trim_end().to_owned()
}

fn now(view: &View) -> Markup {
    let lang = view.asked.lang;
    let Some(report) = view.report() else { return html! { section #now hidden {} } };
    html! {
        section #now.card {
            div.hero {
                h1 { (lang.quantity(report.quantity.as_deref())) }
                p.value data-spoken=(value(report, lang)) {
                    span.number { (lang.measured(report.mean)) }
                    @let unit = unit(report.unit.as_deref());
                    @if !unit.is_empty() { " " span.unit { (unit) } }
                }
                p.under {
                    (lang.say("average of the fleet", "media de la flota"))
                    @if let Some(cycle) = report.cycle { " · " (lang.say("cycle", "ciclo")) " " span.nobreak { (lang.count(cycle)) } }
                }
            }
            (spread(report, lang))
            @if view.kinds.len() > 1 {
                ul.kinds aria-label=(lang.say("Quantities", "Magnitudes")) {
                    @for (at, record) in view.kinds.iter().enumerate() { (kind(view, at, record)) }
                }
            }
        }
    }
}

fn spread(report: &Report, lang: Lang) -> Markup {
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| lang.measured(value));
    let count = |value: Option<i64>| value.map_or("–".to_owned(), |value| lang.count(value));
    let figures = [
        (lang.say("least", "mínimo"), number(report.min), false),
        (lang.say("most", "máximo"), number(report.max), false),
        (lang.say("std. deviation", "desv. típica"), number(report.stddev), false),
        (lang.say("measured", "medidas"), count(report.count), false),
        (
            lang.say("excluded", "excluidas"),
            count(report.excluded),
            report.excluded.is_some_and(|count| count > 0),
        ),
    ];
    html! {
        dl.spread {
            @for (name, figure, warn) in &figures {
                div.warn[*warn] { dt { (name) } dd { (figure) } }
            }
        }
    }
}

fn kind(view: &View, at: usize, record: &Record) -> Markup {
    let lang = view.asked.lang;
    let report = &record.report;
    html! {
        li {
            a id=(format!("kind-{at}")) href=(view.asked.with_kind(report)) aria-current=[(at == view.chosen).then_some("true")] {
                span { (lang.quantity(report.quantity.as_deref())) }
                strong { (value(report, lang)) }
            }
        }
    }
}

fn history(view: &View) -> Markup {
    let lang = view.asked.lang;
    let range = view.asked.range;
    html! {
        section #history.card hidden[view.chart.is_none()] {
            div.head {
                h2 { (range.words(lang)) }
                nav.ranges aria-label=(lang.say("Time shown", "Tiempo mostrado")) {
                    @for other in RANGES {
                        a id=(format!("range-{}", other.name)) href=(view.asked.with_range(other))
                            aria-current=[(other == range).then_some("true")] title=(other.words(lang)) {
                            (other.short(lang))
                        }
                    }
                }
            }
            @if let Some(chart) = &view.chart {
                @let summary = summary(view, chart);
                (chart::draw(chart, lang, &summary))
                ul.legend aria-hidden="true" {
                    li.mean { (lang.say("mean", "media")) }
                    li.band { (lang.say("least to most", "mínimo a máximo")) }
                    @if !chart.gaps().is_empty() { li.gap { (lang.say("no reports", "sin informes")) } }
                    @if !chart.changes.is_empty() { li.epoch { (lang.say("new leader", "nuevo líder")) } }
                    li.zone { (zone(chart.ahead.seconds())) }
                }
                p.summary { (summary) }
                details #table {
                    summary { (lang.say("As a table", "Como tabla")) }
                    div.scroll tabindex="0" role="region" aria-label=(lang.say("Averages as a table", "Medias como tabla")) { (chart::table(chart, lang)) }
                }
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

/// Describes the chart in words.
fn summary(view: &View, chart: &chart::Chart) -> String {
    let lang = view.asked.lang;
    let Some(whole) = chart.whole() else { return String::new() };
    let unit = unit(whole.unit.as_deref());
    let number = |value| format!("{} {unit}", lang.measured(value)).trim_end().to_owned();
    let plural = |count: usize, one: &str, more: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {more}"),
    };
    let gaps = chart.gaps().len();
    let changes = chart.changes.len();
    let mut text = format!(
        "{} {}, {} {}, {} {} {} {}",
        lang.count(whole.reports),
        lang.say("reports", "informes"),
        number(whole.mean),
        lang.say("on average", "de media"),
        lang.say("from", "de"),
        number(whole.min),
        lang.say("to", "a"),
        number(whole.max)
    );
    if gaps > 0 {
        text += "; ";
        text += &plural(gaps, lang.say("gap", "hueco"), lang.say("gaps", "huecos"));
    }
    if changes > 0 {
        text += "; ";
        text += &plural(
            changes,
            lang.say("change of leader", "cambio de líder"),
            lang.say("changes of leader", "cambios de líder"),
        );
    }
    text + "."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_short() {
        let told: Vec<_> = [0, 7_200, -12_600, 20_700].into_iter().map(zone).collect();
        assert_eq!(told, ["UTC", "UTC+2", "UTC-3:30", "UTC+5:45"]);
    }
}
