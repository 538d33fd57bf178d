//! Plots as inline SVG. Fixed colors are middle tones that read on light and dark; axes, grid and truth have marker colors that the
//! page's style replaces.

use std::ops::Range;

use maud::{Markup, PreEscaped};
use plotters::prelude::*;

/// Axes and labels.
const AXIS: RGBColor = RGBColor(0x12, 0x34, 0x56);
/// Grid.
const GRID: RGBColor = RGBColor(0x12, 0x34, 0x57);
/// Where a calibrated model lies.
pub const BAND: RGBColor = RGBColor(0x80, 0x88, 0x90);
/// What was observed, and the diagonal.
pub const TRUTH: RGBColor = RGBColor(0x12, 0x34, 0x58);
/// The model.
pub const MODEL: RGBColor = RGBColor(0x3b, 0x82, 0xc4);
/// Further series, in order.
pub const OTHERS: [RGBColor; 5] = [
    RGBColor(0xd9, 0x82, 0x2b),
    RGBColor(0x3a, 0x9a, 0x5b),
    RGBColor(0xa8, 0x5c, 0xb8),
    RGBColor(0xc9, 0x4f, 0x5c),
    RGBColor(0x2b, 0xa3, 0xa3),
];

const SIZE: (u32, u32) = (520, 330);

/// Text on a plot, each behind a key of its color where it has one.
pub type Caption<'c> = &'c [(Option<RGBColor>, String)];

/// Drawn plots with their captions as one file: two in a row, in colors for a white ground.
pub fn standalone(title: &str, reading: &str, plots: &[(String, Caption<'_>)]) -> String {
    const HEADER: usize = 84;
    /// Letters of a line of `reading`.
    const LINE: usize = 135;
    const ROW: usize = SIZE.1 as usize + 40;
    let columns = plots.len().clamp(1, 2);
    let width = (columns * SIZE.0 as usize).max(900);
    let height = HEADER + plots.len().div_ceil(columns) * ROW;
    let text = |x: usize, y: usize, size: usize, color: &str, text: &str| {
        format!(
            "<text x=\"{x}\" y=\"{y}\" font-family=\"sans-serif\" font-size=\"{size}\" fill=\"{color}\">{}</text>\n",
            escaped(text)
        )
    };
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    svg += &text(18, 26, 17, "#1c2430", title);
    let mut lines = vec![String::new()];
    for word in reading.split(' ') {
        if lines.last().is_some_and(|line| line.len() + word.len() > LINE) {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            *line += &format!("{word} ");
        }
    }
    for (line, y) in lines.iter().zip((48..).step_by(18)) {
        svg += &text(18, y, 12, "#5b6675", line.trim_end());
    }
    for (at, (plot, caption)) in plots.iter().enumerate() {
        let (x, y) = (at % columns * SIZE.0 as usize, HEADER + at / columns * ROW);
        svg += &plot.replacen("<svg ", &format!("<svg x=\"{x}\" y=\"{y}\" "), 1);
        let mut x = x + 66;
        for (color, words) in *caption {
            if let Some(RGBColor(r, g, b)) = color {
                let y = y + SIZE.1 as usize + 5;
                svg += &format!(
                    "<rect x=\"{x}\" y=\"{y}\" width=\"10\" height=\"10\" fill=\"#{r:02x}{g:02x}{b:02x}\"/>\n"
                );
                x += 15;
            }
            svg += &text(x, y + SIZE.1 as usize + 14, 12, "#1c2430", words);
            // Nearly the width of a letter in the mean.
            x += 7 * words.chars().count() + 14;
        }
    }
    svg += "</svg>\n";
    [(AXIS, "#5b6675"), (GRID, "#e3e7ec"), (TRUTH, "#1c2430")].iter().fold(
        svg,
        |svg, (marker, color)| {
            svg.replace(&format!("#{:02X}{:02X}{:02X}", marker.0, marker.1, marker.2), color)
        },
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

/// A curve.
#[derive(Debug, Clone)]
pub struct Curve {
    /// Points; a gap where y is NaN.
    pub points: Vec<(f64, f64)>,
    /// Color.
    pub color: RGBColor,
    /// Pixels.
    pub width: u32,
    /// Whether to mark the points.
    pub dots: bool,
}

/// An area between two curves over the same abscissae.
#[derive(Debug, Clone)]
pub struct Band {
    /// `(x, low, high)`.
    pub points: Vec<(f64, f64, f64)>,
    /// Color.
    pub color: RGBColor,
    /// Opacity.
    pub opacity: f64,
}

/// A cell of a map.
#[derive(Debug, Clone)]
pub struct Cell {
    /// From left to right.
    pub x: Range<f64>,
    /// From bottom to top.
    pub y: Range<f64>,
    /// Opacity of the model's color.
    pub opacity: f64,
}

/// Everything in one plot.
#[derive(Debug, Clone, Default)]
pub struct Plot {
    /// Label of the abscissa.
    pub x_label: String,
    /// Label of the ordinate.
    pub y_label: String,
    /// Range of both axes; by default what the data span, from 0.
    pub range: Option<(Range<f64>, Range<f64>)>,
    /// At the bottom.
    pub cells: Vec<Cell>,
    /// Below the curves.
    pub bands: Vec<Band>,
    /// In order, later ones above.
    pub curves: Vec<Curve>,
    /// Bars `(from, to, height)`.
    pub bars: Vec<(f64, f64, f64)>,
}

impl Plot {
    /// Draws it. `alt` says to those who do not see it what it shows.
    pub fn draw(&self, alt: &str) -> Markup {
        let mut svg = String::new();
        // Drawing into a string cannot fail, and every range below is finite and not empty.
        self.draw_into(&mut svg).expect("a plot into a string");
        let alt = escaped(alt);
        PreEscaped(svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{alt}\" "), 1))
    }

    fn draw_into(
        &self,
        svg: &mut String,
    ) -> Result<(), DrawingAreaErrorKind<<SVGBackend<'_> as DrawingBackend>::ErrorType>> {
        let (x_range, y_range) = self.range.clone().unwrap_or_else(|| self.spanned());
        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(8)
            .margin_right(16)
            .x_label_area_size(40)
            .y_label_area_size(58)
            .build_cartesian_2d(x_range, y_range)?;
        let labels = ("sans-serif", 13).into_font().color(&AXIS);
        chart
            .configure_mesh()
            .x_labels(7)
            .y_labels(6)
            .axis_style(AXIS)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .x_desc(self.x_label.as_str())
            .y_desc(self.y_label.as_str())
            .label_style(labels.clone())
            .axis_desc_style(labels)
            .x_label_formatter(&tick)
            .y_label_formatter(&tick)
            .draw()?;
        for cell in &self.cells {
            let corners = [(cell.x.start, cell.y.start), (cell.x.end, cell.y.end)];
            let style = MODEL.mix(cell.opacity).filled();
            chart.draw_series([Rectangle::new(corners, style)])?;
        }
        for &(from, to, height) in &self.bars {
            let style = MODEL.mix(0.75).filled();
            chart.draw_series([Rectangle::new([(from, 0.0), (to, height)], style)])?;
        }
        for band in &self.bands {
            let upper = band.points.iter().map(|(x, _, high)| (*x, *high));
            let lower = band.points.iter().rev().map(|(x, low, _)| (*x, *low));
            let outline: Vec<(f64, f64)> = upper.chain(lower).collect();
            chart.draw_series([Polygon::new(outline, band.color.mix(band.opacity).filled())])?;
        }
        for curve in &self.curves {
            let style = curve.color.stroke_width(curve.width);
            for run in curve.points.split(|(_, y)| y.is_nan()) {
                chart.draw_series(LineSeries::new(run.iter().copied(), style))?;
                // A value between two gaps has no line to be seen by.
                if curve.dots || run.len() == 1 {
                    let dots = run.iter().map(|point| Circle::new(*point, 3, curve.color.filled()));
                    chart.draw_series(dots)?;
                }
            }
        }
        area.present()
    }

    fn spanned(&self) -> (Range<f64>, Range<f64>) {
        let curves = self.curves.iter().flat_map(|curve| curve.points.iter().copied());
        let bands = self.bands.iter().flat_map(|band| &band.points);
        let bands = bands.flat_map(|(x, low, high)| [(*x, *low), (*x, *high)]);
        let bars = self.bars.iter().flat_map(|(from, to, y)| [(*from, *y), (*to, *y)]);
        let points: Vec<(f64, f64)> = curves.chain(bands).chain(bars).collect();
        let span = |values: &mut dyn Iterator<Item = f64>| {
            values
                .filter(|value| value.is_finite())
                .fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)))
        };
        let (x_low, x_high) = span(&mut points.iter().map(|point| point.0));
        let (y_low, y_high) = span(&mut points.iter().map(|point| point.1));
        let widened = |low: f64, high: f64| match high > low {
            true if high.is_finite() && low.is_finite() => low..high,
            _ if low.is_finite() => low..low + 1.0,
            _ => 0.0..1.0,
        };
        (widened(x_low, x_high), widened(y_low.min(0.0), y_high * 1.05))
    }
}

/// A tick without the noise of binary fractions.
fn tick(value: &f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    // A negative zero is a zero.
    (rounded + 0.0).to_string()
}
