//! Series over time as a standalone SVG file: an observation over the replayed simulations, or one simulation by itself.
//!
//! Color says which mechanism, strength how much a simulation weighs; what was observed is black.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::contrast::{Contrast, Separation};
use crate::explanation::NearSimulation;
use crate::replay::Replayed;

/// Text and what was observed.
const INK: RGBColor = RGBColor(0x1c, 0x24, 0x30);
/// Labels and axes.
const SOFT: RGBColor = RGBColor(0x5b, 0x66, 0x75);
/// Grid.
const GRID: RGBColor = RGBColor(0xe3, 0xe7, 0xec);
/// Of the mechanisms, in order; after the last one again the first.
const MECHANISMS: [RGBColor; 6] = [
    RGBColor(0xd9, 0x7b, 0x1f),
    RGBColor(0x24, 0x6f, 0xb8),
    RGBColor(0x2e, 0x91, 0x50),
    RGBColor(0xa0, 0x4f, 0xb4),
    RGBColor(0xc4, 0x43, 0x52),
    RGBColor(0x1e, 0x9a, 0x9a),
];

const WIDTH: u32 = 860;
const PANEL_HEIGHT: u32 = 330;
const HEADER_HEIGHT: u32 = 78;
const LEGEND_WIDTH: u32 = 205;
const MARGIN: i32 = 18;

/// What all pictures of a model share.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Names of the mechanisms, which decide the colors.
    pub mechanisms: Vec<String>,
    /// Name and unit of each channel of the window.
    pub channels: Vec<(String, String)>,
    /// Time between two steps.
    pub period: String,
}

/// The observation over the simulations that explain it.
#[derive(Debug, Clone)]
pub struct ExplanationPicture<'e> {
    /// First line.
    pub title: String,
    /// Lines below it.
    pub subtitles: [String; 2],
    /// The window.
    pub observed: &'e [f32],
    /// The simulations, nearest first; those that are not replayed are left out.
    pub nearest: &'e [NearSimulation],
    /// Draws the two contrasted simulations alone, and tints the steps that separate them by what they speak for.
    pub contrast: Option<&'e Contrast>,
}

/// One series in a panel.
#[derive(Clone)]
struct Line {
    channel: usize,
    points: Vec<(f64, f64)>,
    color: RGBColor,
    opacity: f64,
    style: LineStyle,
    /// Written where the line is highest.
    name: String,
}

#[derive(Clone, Copy, PartialEq)]
enum LineStyle {
    Solid,
    /// Solid with a dot for each value.
    Dotted,
    /// What followed the window.
    Dashed,
}

/// A step of a panel that speaks for a mechanism.
struct Tint {
    channel: usize,
    step: f64,
    color: RGBColor,
    opacity: f64,
}

/// One row of the legend.
struct Entry {
    label: String,
    value: String,
    color: RGBColor,
    opacity: f64,
    mark: Mark,
}

/// How a row of the legend shows what it names.
enum Mark {
    Line(LineStyle),
    Tint,
}

impl Entry {
    fn new(label: impl Into<String>, color: RGBColor, mark: Mark) -> Entry {
        Entry { label: label.into(), value: String::new(), color, opacity: 1.0, mark }
    }
}

impl Frame {
    /// Draws an explanation.
    pub fn explanation(&self, picture: &ExplanationPicture<'_>) -> String {
        let steps = self.steps(picture.observed);
        let shown: Vec<&NearSimulation> = match picture.contrast {
            Some(contrast) => vec![&contrast.against, &contrast.nearest],
            None => picture.nearest.iter().collect(),
        };
        let replays = shown.into_iter().filter_map(|near| Some((near, near.replay.as_ref()?)));
        let strongest = picture.nearest.iter().map(|near| near.weight).fold(0.0, f32::max);
        let mut lines = Vec::new();
        let mut legend = vec![Entry::new("observed", INK, Mark::Line(LineStyle::Dotted))];
        let mut continued = false;
        for (rank, (near, replay)) in replays.enumerate() {
            let color = self.color(&near.mechanism);
            let strength = f64::from(near.weight / strongest.max(f32::MIN_POSITIVE));
            let opacity = if picture.contrast.is_some() { 1.0 } else { 0.35 + 0.65 * strength };
            let name = (rank + 1).to_string();
            let label = format!("{name}  {} {}", near.mechanism, near.index);
            let value = format!("{:.1} %", 100.0 * near.weight);
            let mark = Mark::Line(LineStyle::Solid);
            legend.push(Entry { value, opacity, ..Entry::new(label, color, mark) });
            for channel in 0..self.channels.len() {
                let observed = self.points(&replay.x, channel, 0);
                let after = self.points(&replay.forecast, channel, steps);
                let style = LineStyle::Dashed;
                if !after.is_empty() {
                    let points = observed.last().copied().into_iter().chain(after).collect();
                    lines.push(Line {
                        channel,
                        points,
                        color,
                        opacity,
                        style,
                        name: String::new(),
                    });
                    continued = true;
                }
                let (style, name) = (LineStyle::Solid, name.clone());
                lines.push(Line { channel, points: observed, color, opacity, style, name });
            }
        }
        // The nearest and the observation last, so that nothing covers them.
        lines.reverse();
        lines.extend(self.lines(picture.observed, 0, INK, LineStyle::Dotted));
        if continued {
            legend.push(Entry::new("what followed", SOFT, Mark::Line(LineStyle::Dashed)));
        }
        let tints = picture.contrast.map_or_else(Vec::new, |contrast| self.tints(contrast));
        for near in picture.contrast.iter().flat_map(|c| [&c.against, &c.nearest]) {
            let label = format!("speaks for {}", near.mechanism);
            let tint = Entry::new(label, self.color(&near.mechanism), Mark::Tint);
            legend.push(Entry { opacity: 0.25, ..tint });
        }
        self.draw(&picture.title, &picture.subtitles, &lines, &tints, &legend, "weight")
    }

    /// Draws one simulation: what was observed of it and, of an epidemic, what was to be expected.
    pub fn simulation(&self, title: &str, subtitles: &[String; 2], replayed: &Replayed) -> String {
        let color = self.color(&replayed.mechanism);
        let expected: Vec<f32> = replayed.expected.iter().map(|x| *x as f32).collect();
        let mut legend = vec![Entry::new("observed", INK, Mark::Line(LineStyle::Dotted))];
        let mut lines = Vec::new();
        if !expected.is_empty() {
            lines.extend(self.lines(&expected, 0, color, LineStyle::Solid));
            let mark = Mark::Line(LineStyle::Solid);
            legend.push(Entry::new("expected, before noise", color, mark));
        }
        lines.extend(self.lines(&replayed.x, 0, INK, LineStyle::Dotted));
        if !replayed.forecast.is_empty() {
            let steps = self.steps(&replayed.x);
            lines.extend(self.lines(&replayed.forecast, steps, INK, LineStyle::Dashed));
            legend.push(Entry::new("what followed", INK, Mark::Line(LineStyle::Dashed)));
        }
        self.draw(title, subtitles, &lines, &[], &legend, "")
    }

    /// A line for each channel.
    fn lines(&self, x: &[f32], before: usize, color: RGBColor, style: LineStyle) -> Vec<Line> {
        let line = |channel| {
            let points = self.points(x, channel, before);
            Line { channel, points, color, opacity: 1.0, style, name: String::new() }
        };
        (0..self.channels.len()).map(line).collect()
    }

    fn tints(&self, contrast: &Contrast) -> Vec<Tint> {
        let strongest = contrast.inputs.iter().map(|input| input.share.abs()).fold(0.0, f32::max);
        let tint = |input: &Separation| {
            let near = if input.share < 0.0 { &contrast.nearest } else { &contrast.against };
            Tint {
                channel: input.at % self.channels.len().max(1),
                step: (input.at / self.channels.len().max(1) + 1) as f64,
                color: self.color(&near.mechanism),
                opacity: 0.35 * f64::from(input.share.abs() / strongest.max(f32::MIN_POSITIVE)),
            }
        };
        // Fainter ones would be seen and mean little.
        let strong = |input: &&Separation| input.share.abs() >= 0.1 * strongest;
        contrast.inputs.iter().filter(strong).map(tint).collect()
    }

    fn steps(&self, x: &[f32]) -> usize {
        x.len() / self.channels.len().max(1)
    }

    /// One channel of a time-major series that starts after `before` steps.
    fn points(&self, x: &[f32], channel: usize, before: usize) -> Vec<(f64, f64)> {
        let values = x.iter().skip(channel).step_by(self.channels.len().max(1));
        values.enumerate().map(|(at, x)| ((before + at + 1) as f64, f64::from(*x))).collect()
    }

    fn color(&self, mechanism: &str) -> RGBColor {
        let at = self.mechanisms.iter().position(|name| name == mechanism).unwrap_or(0);
        MECHANISMS[at % MECHANISMS.len()]
    }

    fn draw(
        &self,
        title: &str,
        subtitles: &[String; 2],
        lines: &[Line],
        tints: &[Tint],
        legend: &[Entry],
        legend_title: &str,
    ) -> String {
        let mut svg = String::new();
        let height = HEADER_HEIGHT + PANEL_HEIGHT * self.channels.len().max(1) as u32;
        let draw = |svg: &mut String| -> Result<(), DrawingError> {
            let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
            root.fill(&WHITE)?;
            write(&root, title, 17, INK, (MARGIN, 16), HPos::Left)?;
            for (subtitle, y) in subtitles.iter().zip([40, 59]) {
                write(&root, subtitle, 13, SOFT, (MARGIN, y), HPos::Left)?;
            }
            let (_, body) = root.split_vertically(HEADER_HEIGHT);
            let (panels, side) = body.split_horizontally(WIDTH - LEGEND_WIDTH);
            let panels = panels.split_evenly((self.channels.len().max(1), 1));
            for (channel, panel) in panels.iter().enumerate() {
                let own = lines.iter().filter(|line| line.channel == channel);
                let tints = tints.iter().filter(|tint| tint.channel == channel);
                self.panel(panel, channel, &own.collect::<Vec<_>>(), tints)?;
            }
            draw_legend(&side, legend, legend_title)?;
            root.present()
        };
        // Drawing into a string cannot fail, and every range is finite and not empty.
        draw(&mut svg).expect("a picture into a string");
        svg
    }

    fn panel<'t>(
        &self,
        area: &Area<'_>,
        channel: usize,
        lines: &[&Line],
        tints: impl Iterator<Item = &'t Tint>,
    ) -> Result<(), DrawingError> {
        let points = || lines.iter().flat_map(|line| &line.points).filter(|(_, y)| y.is_finite());
        let last = points().map(|(x, _)| *x).fold(2.0, f64::max);
        let low = points().map(|(_, y)| *y).fold(0.0, f64::min);
        let high = points().map(|(_, y)| *y).fold(low, f64::max);
        let high = if high > low { high + 0.09 * (high - low) } else { low + 1.0 };
        let mut chart = ChartBuilder::on(area)
            .margin_left(MARGIN - 10)
            .margin_right(8)
            .margin_top(10)
            .margin_bottom(8)
            .x_label_area_size(42)
            .y_label_area_size(58)
            .build_cartesian_2d(1.0..last, low..high)?;
        let (name, unit) = &self.channels[channel];
        let ordinate = if unit.is_empty() { name.clone() } else { format!("{name} ({unit})") };
        let abscissa = match self.period.as_str() {
            "1 day" => "day".to_owned(),
            "" => "step".to_owned(),
            period => format!("step of {period}"),
        };
        let labels = ("sans-serif", 13).into_font().color(&SOFT);
        chart
            .configure_mesh()
            .disable_x_mesh()
            .x_labels(8)
            .y_labels(6)
            .axis_style(SOFT)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .x_desc(abscissa)
            .y_desc(ordinate)
            .label_style(labels.clone())
            .axis_desc_style(labels)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| ((y * 1e6).round() / 1e6).to_string())
            .draw()?;
        for tint in tints {
            let (left, right) = ((tint.step - 0.5).max(1.0), (tint.step + 0.5).min(last));
            let style = tint.color.mix(tint.opacity).filled();
            chart.draw_series([Rectangle::new([(left, low), (right, high)], style)])?;
        }
        for line in lines {
            let width = if line.style == LineStyle::Dotted { 3 } else { 2 };
            let style = line.color.mix(line.opacity).stroke_width(width);
            for run in line.points.split(|(_, y)| y.is_nan()) {
                let series = run.iter().copied();
                if line.style == LineStyle::Dashed {
                    chart.draw_series(DashedLineSeries::new(series, 4, 4, style))?;
                } else {
                    chart.draw_series(LineSeries::new(series, style))?;
                }
                // A value between two gaps has no line to be seen by.
                if line.style == LineStyle::Dotted || run.len() == 1 {
                    let dot = |point: &(f64, f64)| Circle::new(*point, 3, line.color.filled());
                    chart.draw_series(run.iter().map(dot))?;
                }
            }
        }
        for line in lines.iter().filter(|line| !line.name.is_empty()) {
            let values = line.points.iter().filter(|(_, y)| y.is_finite());
            let Some(top) = values.max_by(|a, b| a.1.total_cmp(&b.1)) else { continue };
            let above = Pos::new(HPos::Center, VPos::Bottom);
            let font = ("sans-serif", 12).into_font().color(&line.color).pos(above);
            chart.draw_series([
                EmptyElement::at(*top) + Text::new(line.name.clone(), (0, -3), font)
            ])?;
        }
        Ok(())
    }
}

type Area<'s> = DrawingArea<SVGBackend<'s>, Shift>;
type DrawingError = DrawingAreaErrorKind<<SVGBackend<'static> as DrawingBackend>::ErrorType>;

fn draw_legend(area: &Area<'_>, legend: &[Entry], title: &str) -> Result<(), DrawingError> {
    const ROW: i32 = 21;
    let right = LEGEND_WIDTH as i32 - MARGIN;
    write(area, title, 12, SOFT, (right, 12), HPos::Right)?;
    for (entry, y) in legend.iter().zip((12..).step_by(ROW as usize)) {
        let color = entry.color.mix(entry.opacity);
        let line = |from, to| PathElement::new(vec![(from, y), (to, y)], color.stroke_width(2));
        match entry.mark {
            Mark::Tint => area.draw(&Rectangle::new([(4, y - 7), (26, y + 7)], color.filled()))?,
            Mark::Line(LineStyle::Dashed) => {
                for from in [4, 12, 20] {
                    area.draw(&line(from, from + 5))?;
                }
            }
            Mark::Line(style) => {
                area.draw(&line(4, 26))?;
                if style == LineStyle::Dotted {
                    area.draw(&Circle::new((15, y), 3, color.filled()))?;
                }
            }
        }
        write(area, &entry.label, 13, INK, (34, y), HPos::Left)?;
        write(area, &entry.value, 13, INK, (right, y), HPos::Right)?;
    }
    Ok(())
}

/// A line of text whose middle is at `y`.
fn write(
    area: &Area<'_>,
    text: &str,
    size: u32,
    color: RGBColor,
    (x, y): (i32, i32),
    horizontal: HPos,
) -> Result<(), DrawingError> {
    let style = ("sans-serif", size).into_font().color(&color);
    area.draw_text(text, &style.pos(Pos::new(horizontal, VPos::Center)), (x, y))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_gaps_constants_and_channels() {
        let frame = Frame {
            mechanisms: vec!["SIR".into()],
            channels: vec![("cases".into(), "people".into()), ("<beds>".into(), String::new())],
            period: "1 day".into(),
        };
        let observed = [1.0, 5.0, f32::NAN, 5.0, 3.0, f32::NAN];
        let picture = ExplanationPicture {
            title: "a < b".into(),
            subtitles: ["first".into(), "second".into()],
            observed: &observed,
            nearest: &[],
            contrast: None,
        };
        let svg = frame.explanation(&picture);
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in ["cases (people)", "&lt;beds&gt;", "a &lt; b", "second", "observed"] {
            assert!(svg.contains(text), "{text}");
        }
        // Two dots in the first channel beside a gap, two in the second, one in the legend.
        assert_eq!(svg.matches("<circle").count(), 5);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }
}
