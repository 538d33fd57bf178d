//! Figures of experiments: panels side by side, each with curves over one abscissa and a legend.

use std::ops::Range;

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

/// Draws the panels in one row.
pub(super) fn draw(panels: &[Panel]) -> String {
    let mut svg = String::new();
    let size = (PANEL.0 * panels.len() as u32, PANEL.1);
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        // Drawing into a string cannot fail, and every range is finite and not empty.
        area.fill(&WHITE).expect("a figure into a string");
        for (panel, area) in panels.iter().zip(area.split_evenly((1, panels.len()))) {
            panel.draw(&area).expect("a figure into a string");
        }
        area.present().expect("a figure into a string");
    }
    svg
}

impl Panel {
    fn draw<B: DrawingBackend>(
        &self,
        area: &DrawingArea<B, plotters::coord::Shift>,
    ) -> Result<(), DrawingAreaErrorKind<B::ErrorType>> {
        let curves: Vec<(&Curve, Vec<(f64, f64)>)> =
            self.curves.iter().map(|curve| (curve, self.scaled(curve))).collect();
        let all = || curves.iter().flat_map(|(_, points)| points);
        let mut chart = ChartBuilder::on(area)
            .caption(&self.title, ("sans-serif", 15))
            .margin(6)
            .margin_right(14)
            .x_label_area_size(36)
            .y_label_area_size(54)
            .build_cartesian_2d(span(all().map(|p| p.0)), span(all().map(|p| p.1)))?;
        let tick = |logarithmic: bool| {
            move |value: &f64| {
                let value = if logarithmic { libm::exp10(*value) } else { *value };
                short(value)
            }
        };
        chart
            .configure_mesh()
            .x_labels(6)
            .y_labels(6)
            .bold_line_style(RGBColor(0xe4, 0xe4, 0xe4))
            .light_line_style(TRANSPARENT)
            .x_desc(self.x_label)
            .y_desc(self.y_label)
            .x_label_formatter(&tick(self.logarithmic.0))
            .y_label_formatter(&tick(self.logarithmic.1))
            .label_style(("sans-serif", 12))
            .draw()?;
        for ((curve, points), color) in curves.iter().zip(COLORS.iter().cycle()) {
            let style = color.stroke_width(if curve.reference { 1 } else { 2 });
            chart
                .draw_series(LineSeries::new(points.iter().copied(), style))?
                .label(&curve.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], style));
            if !curve.reference {
                chart.draw_series(points.iter().map(|p| Circle::new(*p, 3, color.filled())))?;
            }
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::LowerLeft)
            .label_font(("sans-serif", 11))
            .draw()
    }

    fn scaled(&self, curve: &Curve) -> Vec<(f64, f64)> {
        let scale = |value: f64, logarithmic| if logarithmic { libm::log10(value) } else { value };
        let points = curve.points.iter();
        let points =
            points.map(|p| (scale(p.0, self.logarithmic.0), scale(p.1, self.logarithmic.1)));
        points.filter(|p| p.0.is_finite() && p.1.is_finite()).collect()
    }
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
