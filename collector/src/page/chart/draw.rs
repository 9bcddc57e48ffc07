//! The chart in the page: the plots, and over each of them the elements that have titles, move or react to the pointer.

use maud::{Markup, PreEscaped, html};

use super::plot::{Drawing, FINE, Plot, VIEWS, View};
use super::values::Values;
use super::{Chart, clock_class_and_name, gaps, seconds};
use crate::page::i18n::{Lang, span};
use crate::store::Point;

/// Maximum number of epochs that are marked.
const MAX_EPOCHS: usize = 40;

/// Returns the data for the script: position in the plot as fractions from the left and the top, seconds since 1970,
/// mean, minimum, maximum, number of reports.
fn data(drawing: &Drawing<'_>) -> String {
    let (window, range) = (&drawing.chart.window, drawing.values.range());
    let round = |share: f64| (share * 10_000.0).round() / 10_000.0;
    let row = |point: &Point| {
        let x = (drawing.at(point) - window.from) as f64 / (window.now - window.from).max(1) as f64;
        let y = (range.end - drawing.values.scaled(point.mean)) / (range.end - range.start);
        (round(x), round(y), point.time.as_second(), point.mean, point.min, point.max, point.reports)
    };
    // Cannot fail, because it contains only numbers.
    serde_json::to_string(&drawing.chart.points.iter().map(row).collect::<Vec<_>>()).unwrap_or_default()
}

/// Renders the chart. `label` describes it for screen readers.
pub(super) fn draw(chart: &Chart, lang: Lang, label: &str) -> Markup {
    let (noun, _) = chart.subject.nouns(lang);
    if chart.points.is_empty() {
        return nothing(&lang.messages().no_data_in_range.replace("{what}", noun));
    }
    let Some(values) = Values::of(&[&chart.points[..], &chart.average].concat()) else {
        return nothing(lang.messages().chart_failed);
    };
    let (runs, gaps) = gaps::cut(&chart.points, chart.window.step, chart.period, chart.window.now);
    let drawing = Drawing { chart, values, runs, gaps, lang };
    let plots: Result<Vec<_>, _> = VIEWS.iter().map(|view| Ok((view, drawing.draw(view)?))).collect();
    match plots {
        Ok(plots) => html! {
            div.chart data-points=(data(&drawing)) {
                @for (view, plot) in &plots { (over(view, plot, lang, noun, label)) }
            }
        },
        Err::<_, super::plot::Failed>(error) => {
            tracing::error!(%error, "the chart cannot be drawn");
            nothing(lang.messages().chart_failed)
        }
    }
}

fn nothing(reason: &str) -> Markup {
    html! { p.nothing { (reason) } }
}

/// Renders a plot and its overlay. `noun`: plural of the subject. `data-area` is the position of the plot for the script: left, top, width and height.
fn over(view: &View, plot: &Plot, lang: Lang, noun: &str, label: &str) -> Markup {
    let (x, y) = (&plot.x, &plot.y);
    html! {
        svg.plot.(view.class) viewBox=(format!("0 0 {} {}", plot.width, plot.height)) role="img" aria-label=(label)
            data-area=(format!("{} {} {} {}", x.start, y.start, x.end - x.start, y.end - y.start)) {
            (PreEscaped(&plot.svg))
            @for shade in &plot.gaps {
                rect.gap x=(shade.x) y=(y.start) width=(shade.width) height=(y.end - y.start) {
                    @let length = span(seconds(shade.gap.to - shade.gap.from));
                    title { (lang.messages().gap_title.replace("{what}", noun).replace("{}", &length)) }
                }
            }
            @for (x, width, run) in &plot.clocks {
                @let (class, name) = clock_class_and_name(run.clock, lang);
                line.clock.(class) x1=(x) x2=(x + width) y1=(y.start) y2=(y.start) {
                    title { (name) ": " (span(seconds(run.to - run.from))) }
                }
            }
            @for (x, epoch) in plot.epochs.iter().take(MAX_EPOCHS) {
                g.epoch {
                    title { (lang.messages().epoch_title.replace("{}", &epoch.to_string())) }
                    line x1=(x) x2=(x) y1=(y.start) y2=(y.end) {}
                    circle cx=(x) cy=(y.start) r=(5 * FINE) {}
                }
            }
            @if let Some((x, y)) = plot.last {
                circle.halo cx=(x) cy=(y) r=(9 * FINE) {}
                circle.last cx=(x) cy=(y) r=(4 * FINE) {}
            }
            g.pointed {
                line x1="0" x2="0" y1=(y.start) y2=(y.end) {}
                circle cx="0" cy="0" r=(4 * FINE) {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz;
    use proptest::prelude::*;

    use super::*;
    use crate::measurements::ClockState;
    use crate::page::chart::{ClockRun, Subject};
    use crate::page::range::Window;

    fn chart(points: Vec<(i64, f64, f64, f64)>) -> Chart {
        let window = Window { from: 0, now: 299_500_000, to: 300_000_000, step: 1_000_000 };
        let point = |(second, mean, min, max)| Point { min, max, ..Point::of_one(second, mean) };
        let points = points.into_iter().map(point).collect();
        let changes = vec![(100_000_000, 8)];
        Chart { changes, ..Chart::new(Subject::Reports, window, points, tz::Offset::UTC) }
    }

    /// Returns all values of an attribute.
    fn all<'a>(svg: &'a str, attribute: &str) -> Vec<&'a str> {
        let begins = format!(" {attribute}=\"");
        svg.split(&begins).skip(1).filter_map(|rest| rest.split('"').next()).collect()
    }

    #[test]
    fn line_is_interrupted_where_reports_are_missing() {
        let points = [0, 5, 10, 15, 100, 105, 295].map(|second| (second, 1.0, 0.5, 2.0));
        let svg = draw(&chart(points.to_vec()), Lang::En, "x").into_string();
        for view in svg.split("<svg class=\"plot").skip(1) {
            assert_eq!(view.matches("<title>No reports for").count(), 2, "{view}");
            assert!(view.contains("<title>A new leader: epoch 8"));
            let count = |shape: &str| view.matches(shape).count();
            assert_eq!(count("<polyline fill=\"none\" opacity=\"1\" stroke=\"#0A0005\""), 3, "{view}");
            assert_eq!(count("<polygon"), 3, "{view}");
            assert!(view.contains("circle class=\"last\""), "the last report is recent");
        }
        assert_eq!(svg.matches("<svg class=\"plot").count(), 2);
    }

    #[test]
    fn axes_have_labels_in_the_format_of_the_language() {
        let points: Vec<_> = (0..60).map(|at| (at * 5, 20.0, 17.2, 23.9)).collect();
        for (lang, half) in [(Lang::En, "20.2\n"), (Lang::Es, "20,2\n")] {
            let mut chart = chart(points.clone());
            let svg = draw(&chart, lang, "x").into_string();
            for label in [">\n20\n<", ">\n00:01\n<", ">\n00:04\n<"] {
                assert_eq!(svg.matches(label).count(), 2, "{label} in {svg}");
            }
            for point in &mut chart.points {
                (point.min, point.max) = (19.6, 20.6);
            }
            assert!(draw(&chart, lang, "x").into_string().contains(half));
        }
    }

    #[test]
    fn style_sheet_has_each_colour_and_the_chart_no_inline_styles() {
        let svg = draw(&chart(vec![(1, 1.0, 0.5, 2.0), (2, 2.0, 1.0, 3.0)]), Lang::En, "x").into_string();
        let css = crate::page::assets::STYLE.text;
        let mut colours = 0;
        for attribute in ["fill", "stroke"] {
            for colour in all(&svg, attribute).into_iter().filter(|colour| *colour != "none") {
                assert!(css.contains(&format!(".plot [{attribute}=\"{colour}\"]")), "{attribute} {colour}");
                colours += 1;
            }
        }
        assert!(colours > 20, "{svg}");
        assert!(!svg.contains("style=") && !svg.contains("<?") && !svg.contains("<!"), "{svg}");
    }

    #[test]
    fn samples_have_marks_of_clocks_and_the_average_of_the_fleet() {
        let mut chart = chart([0, 5, 10, 15, 290].map(|second| (second, 1.0, 0.5, 2.0)).to_vec());
        chart.subject = Subject::Samples;
        chart.average = vec![Point::of_one(1, 9.0), Point::of_one(2, 9.0)];
        let run = |from: i64, clock| ClockRun { from: from * 1_000_000, to: (from + 60) * 1_000_000, clock };
        chart.clocks = vec![run(1, ClockState::Corrected), run(100, ClockState::Unsynchronised)];
        let svg = draw(&chart, Lang::Es, "x").into_string();
        for view in svg.split("<svg class=\"plot").skip(1) {
            assert!(
                view.contains("<title>reloj corregido: 1 min")
                    && view.contains("<title>reloj sin sincronizar: 1 min")
            );
            assert!(
                view.contains("<title>Sin muestras durante") && view.contains("stroke=\"#0A0006\""),
                "{view}"
            );
        }
    }

    proptest! {
        #[test]
        fn all_values_are_drawn_within_the_plot(
            seconds in prop::collection::vec(0i64..300, 0..50),
            middle in prop_oneof![Just(0.0), Just(20.0), Just(f64::MAX), -1e300..1e300f64, -1e-300..1e-300f64, any::<f64>()],
            spread in prop_oneof![Just(0.0), Just(1e-300), Just(5e-324), Just(1e300), Just(f64::MAX), 0.0..10.0f64],
            shares in prop::collection::vec((-1.0..1.0f64, 0.0..1.0f64), 50),
        ) {
            prop_assume!(middle.is_finite());
            let finite = |value: f64| value.clamp(f64::MIN, f64::MAX);
            let point = |(second, (share, more)): (i64, &(f64, f64))| {
                let mean = finite(middle + share * spread);
                (second, mean, finite(mean - more * spread), finite(mean + more * spread))
            };
            let mut chart = chart(seconds.into_iter().zip(&shares).map(point).collect());
            chart.points.sort_by_key(|point| point.time);
            let svg = draw(&chart, Lang::En, "x").into_string();
            prop_assert!(!svg.contains("NaN") && !svg.contains("inf"), "{}", svg);
            prop_assert_eq!(svg.contains("<polygon"), !chart.points.is_empty());
            for view in svg.split("<svg class=\"plot").skip(1) {
                let area: Vec<i32> = all(view, "data-area")[0].split(' ').map(|part| part.parse().unwrap()).collect();
                let measured = view.split("<poly").filter(|shape| shape.contains("#0A0004") || shape.contains("#0A0005"));
                for place in measured.flat_map(|shape| all(shape, "points")).flat_map(str::split_whitespace) {
                    let (x, y) = place.split_once(',').unwrap();
                    let (x, y): (i32, i32) = (x.parse().unwrap(), y.parse().unwrap());
                    prop_assert!((area[0]..=area[0] + area[2]).contains(&x), "{} in {:?}", place, area);
                    prop_assert!((area[1]..=area[1] + area[3]).contains(&y), "{} in {:?}", place, area);
                }
            }
        }
    }
}
