//! Figures of experiments: panels side by side, each with curves over one abscissa and a legend.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

/// A panel.
#[derive(Debug, Clone, Default)]
pub(super) struct Panel {
    /// Above it.
    pub title: String,
    /// Label of the abscissa.
    pub x_label: &'static str,
    /// Label of the ordinate.
    pub y_label: &'static str,
    /// Whether each axis is logarithmic, abscissa first.
    pub logarithmic: (bool, bool),
    /// In the order of the legend.
    pub curves: Vec<Curve>,
}

/// A curve; points without finite coordinates are left out.
#[derive(Debug, Clone, Default)]
pub(super) struct Curve {
    /// In the legend.
    pub name: String,
    /// In the units of the axes.
    pub points: Vec<(f64, f64)>,
    /// A level to compare with, without dots.
    pub reference: bool,
}

const PANEL: (u32, u32) = (430, 340);
/// Height of a row of the legend.
const ROW: u32 = 16;
/// Gridlines of an axis, about.
const GRIDLINES: usize = 6;
const COLORS: [RGBColor; 8] = [
    RGBColor(0x3b, 0x82, 0xc4),
    RGBColor(0xd9, 0x82, 0x2b),
    RGBColor(0x3a, 0x9a, 0x5b),
    RGBColor(0xa8, 0x5c, 0xb8),
    RGBColor(0xc9, 0x4f, 0x5c),
    RGBColor(0x2b, 0xa3, 0xa3),
    RGBColor(0x8a, 0x6d, 0x3b),
    RGBColor(0x60, 0x60, 0x60),
];

/// Draws the panels in one row, each above its legend.
pub(super) fn draw(panels: &[Panel]) -> String {
    let mut svg = String::new();
    let rows = panels.iter().map(|panel| panel.curves.len()).max().unwrap_or(0) as u32;
    let size = (PANEL.0 * panels.len() as u32, PANEL.1 + ROW * rows);
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        // Drawing into a string cannot fail, and every range is finite and not empty.
        area.fill(&WHITE).expect("a figure into a string");
        for (panel, area) in panels.iter().zip(area.split_evenly((1, panels.len()))) {
            let (chart, legend) = area.split_vertically(PANEL.1);
            panel.draw(&chart).expect("a figure into a string");
            panel.draw_legend(&legend).expect("a figure into a string");
        }
        area.present().expect("a figure into a string");
    }
    svg
}

type Drawn<B> = Result<(), DrawingAreaErrorKind<<B as DrawingBackend>::ErrorType>>;

impl Panel {
    fn draw<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn<B> {
        let curves: Vec<(&Curve, Vec<(f64, f64)>)> =
            self.curves.iter().map(|curve| (curve, self.scaled(curve))).collect();
        let all = || curves.iter().flat_map(|(_, points)| points);
        let x = Axis::new(span(all().map(|p| p.0)), self.logarithmic.0);
        let y = Axis::new(span(all().map(|p| p.1)), self.logarithmic.1);
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 15))
            .margin(6)
            .margin_right(14)
            .x_label_area_size(36)
            .y_label_area_size(54)
            .build_cartesian_2d(x, y)?;
        let tick = |logarithmic: bool| {
            move |value: &f64| {
                let value = if logarithmic { libm::exp10(*value) } else { *value };
                short(value)
            }
        };
        chart
            .configure_mesh()
            .bold_line_style(RGBColor(0xe4, 0xe4, 0xe4))
            .light_line_style(TRANSPARENT)
            .x_desc(self.x_label)
            .y_desc(self.y_label)
            .x_label_formatter(&tick(self.logarithmic.0))
            .y_label_formatter(&tick(self.logarithmic.1))
            .label_style(("sans-serif", 12))
            .draw()?;
        for ((curve, points), color) in curves.iter().zip(COLORS.iter().cycle()) {
            chart.draw_series(LineSeries::new(points.iter().copied(), curve.stroke(color)))?;
            if !curve.reference {
                chart.draw_series(points.iter().map(|p| Circle::new(*p, 3, color.filled())))?;
            }
        }
        Ok(())
    }

    fn draw_legend<B: DrawingBackend>(&self, area: &DrawingArea<B, Shift>) -> Drawn<B> {
        for ((row, curve), color) in self.curves.iter().enumerate().zip(COLORS.iter().cycle()) {
            let (left, middle) = (62, ROW as i32 * row as i32 + 4);
            area.draw(&PathElement::new(
                [(left, middle), (left + 18, middle)],
                curve.stroke(color),
            ))?;
            if !curve.reference {
                area.draw(&Circle::new((left + 9, middle), 3, color.filled()))?;
            }
            let place = (left + 26, middle - 6);
            area.draw(&Text::new(curve.name.clone(), place, ("sans-serif", 11)))?;
        }
        Ok(())
    }

    fn scaled(&self, curve: &Curve) -> Vec<(f64, f64)> {
        let scale = |value: f64, logarithmic| if logarithmic { libm::log10(value) } else { value };
        let points = curve.points.iter();
        let points =
            points.map(|p| (scale(p.0, self.logarithmic.0), scale(p.1, self.logarithmic.1)));
        points.filter(|p| p.0.is_finite() && p.1.is_finite()).collect()
    }
}

impl Curve {
    fn stroke(&self, color: &RGBColor) -> ShapeStyle {
        color.stroke_width(if self.reference { 1 } else { 2 })
    }
}

/// An axis whose gridlines are at round numbers; a logarithmic one is given in powers of ten.
struct Axis {
    values: RangedCoordf64,
    gridlines: Vec<f64>,
}

impl Axis {
    fn new(range: Range<f64>, logarithmic: bool) -> Self {
        let gridlines = if logarithmic {
            powers(&range)
        } else {
            RangedCoordf64::from(range.clone()).key_points(GRIDLINES)
        };
        Axis { values: range.into(), gridlines }
    }
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        self.values.map(value, limit)
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.gridlines.clone()
    }

    fn range(&self) -> Range<f64> {
        self.values.range()
    }
}

/// Logarithms in `range` of round numbers.
fn powers(range: &Range<f64>) -> Vec<f64> {
    let decades = range.start.floor() as i32..=range.end.ceil() as i32;
    let marks = |of: &[f64]| -> Vec<f64> {
        let marks = decades.clone().flat_map(|d| of.iter().map(move |m| f64::from(d) + m.log10()));
        marks.filter(|mark| range.contains(mark)).collect()
    };
    let candidates = [&[1.0, 2.0, 5.0][..], &[1.0, 3.0], &[1.0]].map(marks);
    let fits = |marks: &&Vec<f64>| marks.len() <= GRIDLINES + 2;
    candidates.iter().find(fits).unwrap_or(&candidates[2]).clone()
}

fn span(values: impl Iterator<Item = f64>) -> Range<f64> {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    let margin = 0.04 * (high - low);
    if high > low { low - margin..high + margin } else { 0.0..1.0 }
}

/// Two significant digits.
fn short(value: f64) -> String {
    if value == 0.0 || (value.abs() >= 0.01 && value.abs() < 1000.0) {
        let digits = (1.0 - value.abs().max(1e-9).log10().floor()).clamp(0.0, 3.0) as usize;
        format!("{value:.digits$}")
    } else {
        format!("{value:.0e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_short() {
        let ticks = [0.0, 0.05, 0.25, 12.0, 250.0, 1e5, 0.001].map(short);
        assert_eq!(ticks, ["0.000", "0.050", "0.25", "12", "250", "1e5", "1e-3"]);
    }

    #[test]
    fn gridlines_are_at_round_numbers() {
        let marks = |low: f64, high: f64| {
            let marks = powers(&(low.log10()..high.log10()));
            marks.into_iter().map(|mark| short(libm::exp10(mark))).collect::<Vec<_>>()
        };
        assert_eq!(marks(0.9, 300.0), ["1.0", "2.0", "5.0", "10", "20", "50", "100", "200"]);
        assert_eq!(marks(0.9, 2e3), ["1.0", "3.0", "10", "30", "100", "300", "1e3"]);
        assert_eq!(marks(0.9, 2e6).len(), 7);
        assert_eq!(Axis::new(0.0..1.0, false).gridlines.len(), 6);
    }

    #[test]
    fn names_every_curve_and_survives_an_empty_one() {
        let curve = |name: &str, points: &[(f64, f64)]| Curve {
            name: name.into(),
            points: points.to_vec(),
            reference: false,
        };
        let panel = Panel {
            logarithmic: (true, true),
            curves: vec![curve("one", &[(1.0, 2.0), (10.0, 0.0)]), curve("two", &[])],
            ..Panel::default()
        };
        let svg = draw(&[panel.clone(), panel]);
        assert!(svg.matches("two").count() == 2 && svg.ends_with("</svg>\n"), "{svg}");
    }
}
