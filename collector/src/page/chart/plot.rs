//! The plot itself, drawn by `plotters`: axes, grid, band and line. Interactive elements lie over it, at the positions
//! that this module returns.
//!
//! Its colours are placeholders: the style sheet replaces them with those of the light or the dark theme.

use std::ops::Range;

use plotters::coord::combinators::WithKeyPoints;
use plotters::coord::ranged1d::{BoldPoints, Ranged};
use plotters::coord::types::{RangedCoordf64, RangedCoordi64};
use plotters::prelude::*;

use super::times::{Tick, times};
use super::values::Values;
use super::{Chart, ClockRun, Gap, gaps};
use crate::page::i18n::Lang;
use crate::store::Point;

/// Drawing units per pixel. `plotters` draws in whole units only, and a line in whole pixels would have steps.
pub(super) const FINE: i32 = 10;

const GRID: RGBColor = RGBColor(10, 0, 1);
const AXIS: RGBColor = RGBColor(10, 0, 2);
const LABEL: RGBColor = RGBColor(10, 0, 3);
const BAND: RGBColor = RGBColor(10, 0, 4);
const MEAN: RGBColor = RGBColor(10, 0, 5);
const AVERAGE: RGBColor = RGBColor(10, 0, 6);

/// Size of a drawing, for one width of screen.
pub(super) struct View {
    pub(super) class: &'static str,
    /// Size in pixels, at full width.
    size: (u32, u32),
    /// Width of a character of the labels beside the plot, in pixels: the text is not scaled with the drawing.
    letter: i32,
    /// Minimum number of characters in these labels.
    letters: usize,
    /// Margin at the right for half of a time label.
    right: i32,
    /// Maximum numbers of time ticks and of value ticks.
    max_ticks: (i64, usize),
}

impl View {
    /// Returns the width in drawing units.
    fn width(&self) -> u32 {
        self.size.0 * FINE.unsigned_abs()
    }

    /// Returns the height in drawing units.
    fn height(&self) -> u32 {
        self.size.1 * FINE.unsigned_abs()
    }
}

/// Views for a wide screen and for a phone: the page displays the one that fits.
pub(super) const VIEWS: [View; 2] = [
    View { class: "wide", size: (960, 300), letter: 9, letters: 5, right: 5, max_ticks: (7, 6) },
    View { class: "narrow", size: (360, 310), letter: 9, letters: 2, right: 10, max_ticks: (4, 6) },
];

/// Time range without reports, in drawing units.
pub(super) struct Shade {
    pub(super) x: i32,
    pub(super) width: i32,
    pub(super) gap: Gap,
}

/// Finished drawing, and the positions of its elements in drawing units.
pub(super) struct Plot {
    pub(super) svg: String,
    pub(super) width: u32,
    pub(super) height: u32,
    /// Position of the axes.
    pub(super) x: Range<i32>,
    pub(super) y: Range<i32>,
    pub(super) gaps: Vec<Shade>,
    /// Positions and widths of the marks of clocks.
    pub(super) clocks: Vec<(i32, i32, ClockRun)>,
    /// Positions and numbers of the beginnings of epochs.
    pub(super) epochs: Vec<(i32, i64)>,
    /// Newest mean, if reports still arrive.
    pub(super) last: Option<(i32, i32)>,
}

pub(super) type Failed = DrawingAreaErrorKind<std::io::Error>;
type Axes<'a, 'b> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<WithKeyPoints<RangedCoordi64>, RangedCoordf64>>;

/// Data to draw, independent of the view.
pub(super) struct Drawing<'a> {
    pub(super) chart: &'a Chart,
    pub(super) values: Values,
    pub(super) runs: Vec<&'a [Point]>,
    pub(super) gaps: Vec<Gap>,
    pub(super) lang: Lang,
}

impl Drawing<'_> {
    /// Returns the time at which a point is drawn: the middle of its step, or now if that is earlier.
    pub(super) fn at(&self, point: &Point) -> i64 {
        let window = &self.chart.window;
        point.time.as_microsecond().saturating_add(window.step / 2).min(window.now).max(window.from)
    }

    /// Returns the times of a run; a single point has no width and gets a small one.
    fn positions<'a>(&self, run: &'a [Point], window: &Range<i64>) -> Vec<(i64, &'a Point)> {
        let positions: Vec<_> = run.iter().map(|point| (self.at(point), point)).collect();
        match positions[..] {
            [(at, point)] => {
                let half = (window.end - window.start) / 1_000;
                [at - half, at + half].map(|at| (at.clamp(window.start, window.end), point)).to_vec()
            }
            _ => positions,
        }
    }

    /// Draws the chart for this view. The result does not depend on the machine, for example on its fonts.
    pub(super) fn draw(&self, view: &View) -> Result<Plot, Failed> {
        let Chart { window, ahead, .. } = self.chart;
        let time = window.from..window.now.max(window.from + 1);
        let values = &self.values;
        let ticks = times(time.start, time.end, *ahead, view.max_ticks.0);
        let axis = RangedCoordf64::from(values.range());
        let lines = axis.key_points(BoldPoints(view.max_ticks.1));
        let label = |line: &f64| values.label(self.lang, *line, &lines);
        let letters = lines.iter().map(|line| label(line).chars().count()).max().unwrap_or(0);
        let letters = i32::try_from(letters.clamp(view.letters, 14)).unwrap_or(0);

        let mut svg = String::new();
        let root = SVGBackend::with_string(&mut svg, (view.width(), view.height())).into_drawing_area();
        let mut chart = ChartBuilder::on(&root)
            .margin_top(8 * FINE)
            .margin_right(view.right * FINE)
            .set_label_area_size(LabelAreaPosition::Left, letters * view.letter * FINE + 8 * FINE)
            .set_label_area_size(LabelAreaPosition::Bottom, 28 * FINE)
            .build_cartesian_2d(
                time.clone().with_key_points(ticks.iter().map(|tick| tick.at).collect()),
                axis.clone(),
            )?;
        let text = ("sans-serif", 15 * FINE, &LABEL);
        let mut mesh = chart.configure_mesh();
        mesh.disable_x_mesh().disable_x_axis().axis_style(TRANSPARENT).max_light_lines(0);
        mesh.y_labels(view.max_ticks.1).y_label_formatter(&label).y_label_style(text).bold_line_style(GRID);
        mesh.set_tick_mark_size(LabelAreaPosition::Left, 4 * FINE).draw()?;
        let named = |at: &i64| {
            let tick = ticks.iter().find(|tick| tick.at == *at);
            tick.map_or_else(String::new, |Tick { label, .. }| label.clone())
        };
        self.series(&mut chart, &time)?;
        let mut mesh = chart.configure_mesh();
        mesh.disable_mesh().disable_y_axis().axis_style(AXIS).max_light_lines(0);
        mesh.x_label_formatter(&named).x_label_style(text);
        mesh.set_tick_mark_size(LabelAreaPosition::Bottom, 5 * FINE).draw()?;

        let plot = self.plot(&chart, view, &time);
        root.present()?;
        drop((chart, root));
        Ok(Plot { svg, ..plot })
    }

    /// Draws the bands, and the lines over them.
    fn series(&self, chart: &mut Axes<'_, '_>, time: &Range<i64>) -> Result<(), Failed> {
        for run in &self.runs {
            let positions = self.positions(run, time);
            let up = positions.iter().map(|(at, point)| (*at, self.values.scaled(point.max)));
            let down = positions.iter().rev().map(|(at, point)| (*at, self.values.scaled(point.min)));
            chart.draw_series([Polygon::new(up.chain(down).collect::<Vec<_>>(), BAND.filled())])?;
        }
        for run in &self.runs {
            let positions = self.positions(run, time);
            let means = positions.iter().map(|(at, point)| (*at, self.values.scaled(point.mean)));
            chart.draw_series(LineSeries::new(means, MEAN))?;
        }
        let average = &self.chart.average;
        let (runs, _) = gaps::cut(average, self.chart.window.step, None, self.chart.window.now);
        for run in runs {
            let positions = self.positions(run, time);
            let means = positions.iter().map(|(at, point)| (*at, self.values.scaled(point.mean)));
            chart.draw_series(LineSeries::new(means, AVERAGE))?;
        }
        Ok(())
    }

    /// Returns the positions of all elements, without the drawing itself.
    fn plot(&self, chart: &Axes<'_, '_>, view: &View, time: &Range<i64>) -> Plot {
        let position = |at: i64, value: f64| chart.backend_coord(&(at.clamp(time.start, time.end), value));
        let x = |at: i64| position(at, self.values.range().start).0;
        let shade = |gap: &Gap| Shade { x: x(gap.from), width: x(gap.to) - x(gap.from), gap: *gap };
        let mark = |run: &ClockRun| (x(run.from), (x(run.to) - x(run.from)).max(4 * FINE), *run);
        let Chart { window, changes, clocks, points, .. } = self.chart;
        let last = points.last().filter(|_| self.gaps.last().is_none_or(|gap| gap.to < window.now));
        Plot {
            width: view.width(),
            height: view.height(),
            x: chart.plotting_area().get_x_axis_pixel_range(),
            y: chart.plotting_area().get_y_axis_pixel_range(),
            gaps: self.gaps.iter().map(shade).collect(),
            clocks: clocks.iter().map(mark).collect(),
            epochs: changes.iter().map(|(at, epoch)| (x(*at), *epoch)).collect(),
            last: last.map(|last| position(self.at(last), self.values.scaled(last.mean))),
            svg: String::new(),
        }
    }
}
