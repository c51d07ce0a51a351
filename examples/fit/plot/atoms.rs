//! The atoms: of every feature, the effect in each class of one standard deviation inside choice sets, with its 95 % interval.

use super::{Canvas, Drawn, FAINT, GRID, INK, clipped, color, left, text_style, width};
use crate::input::Input;
use crate::report::largest_features;
use crate::solve::Solution;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

const WIDTH: u32 = 860;
const HEAD: u32 = 70;
const FOOT: u32 = 58;
const MARGIN: i32 = 16;
const MOST_FEATURES: usize = 40;

pub struct Layout {
    features: Vec<usize>,
    /// Pixels of a class, and of a feature.
    step: i32,
    band: i32,
    names: i32,
}

impl Layout {
    pub fn new(input: &Input, s: &Solution) -> Self {
        let features = largest_features(s, MOST_FEATURES);
        let step = if features.len() * s.classes.len() > 120 { 7 } else { 11 };
        let names = features.iter().map(|&l| width(&input.names[l], 14)).max().unwrap_or(0).clamp(40, 220);
        Layout { band: s.classes.len() as i32 * step + 14, features, step, names }
    }

    pub fn size(&self) -> (u32, u32) {
        (WIDTH, HEAD + self.features.len() as u32 * self.band as u32 + FOOT)
    }
}

pub fn draw(canvas: &Canvas<'_>, layout: &Layout, input: &Input, s: &Solution) -> Drawn {
    let title = format!("{}: log-likelihood {:.2}", input.files, s.value.log_likelihood);
    canvas.draw_text(&title, &left(15, INK), (MARGIN, 20))?;
    let mut x = MARGIN;
    for (k, class) in s.classes.iter().enumerate() {
        let label = format!("class {}, weight {:.3}", k + 1, class.weight);
        if x + 14 + width(&label, 13) > WIDTH as i32 - MARGIN {
            break;
        }
        canvas.draw(&Circle::new((x + 5, 46), 5, color(k).filled()))?;
        canvas.draw_text(&label, &left(13, INK), (x + 14, 46))?;
        x += 14 + width(&label, 13) + 18;
    }

    let effect = |k: usize, l: usize| {
        let (class, d) = (&s.classes[k], s.deviations[l]);
        (class.atom[l] * d, 1.96 * class.errors[l] * d)
    };
    let cells = || layout.features.iter().flat_map(|&l| (0..s.classes.len()).map(move |k| effect(k, l)));
    let largest = cells().map(|(e, _)| e.abs()).fold(f64::MIN_POSITIVE, f64::max);
    // Intervals may leave the picture where they are wider than everything else.
    let ends = || cells().flat_map(|(e, h)| [e, e - h, e + h]).filter(|x| x.is_finite()).map(|x| x.clamp(-2.0 * largest, 2.0 * largest));
    let (low, high) = (ends().fold(0.0, f64::min), ends().fold(0.0, f64::max));
    let (low, high) = (low - 0.04 * (high - low), high + 0.04 * (high - low));
    let height = layout.features.len() as i32 * layout.band;
    let area = canvas
        .clone()
        .shrink((MARGIN + layout.names + 10, HEAD as i32), ((WIDTH as i32 - 2 * MARGIN - layout.names - 10) as u32, height as u32 + 26));
    let mut chart = ChartBuilder::on(&area).x_label_area_size(26).build_cartesian_2d(low..high, 0.0..f64::from(height))?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_labels(9)
        .y_labels(0)
        .x_label_style(text_style(12, FAINT, HPos::Center, VPos::Top))
        .axis_style(GRID)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()?;
    chart.draw_series([PathElement::new([(0.0, 0.0), (0.0, f64::from(height))], FAINT)])?;
    for (row, &l) in layout.features.iter().enumerate() {
        let top = f64::from(height - row as i32 * layout.band);
        let middle = HEAD as i32 + row as i32 * layout.band + layout.band / 2;
        let right = text_style(14, INK, HPos::Right, VPos::Center);
        canvas.draw_text(&clipped(&input.names[l], 14, layout.names), &right, (MARGIN + layout.names, middle))?;
        if row > 0 {
            chart.draw_series([PathElement::new([(low, top), (high, top)], GRID)])?;
        }
        for k in 0..s.classes.len() {
            let (effect, half) = effect(k, l);
            let y = top - 7.0 - (k as f64 + 0.5) * f64::from(layout.step);
            if half.is_finite() {
                let ends = [effect - half, effect + half].map(|x| (x.clamp(low, high), y));
                chart.draw_series([PathElement::new(ends, color(k).stroke_width(2))])?;
            }
            chart.draw_series([Circle::new((effect, y), 4, color(k).filled())])?;
        }
    }
    let errors = s.classes.iter().flat_map(|class| &class.errors).any(|e| e.is_finite());
    let interval = if errors { ", with its 95 % interval" } else { "" };
    let note = format!("effect on the logit of one standard deviation inside choice sets{interval}");
    let (_, bottom) = layout.size();
    canvas.draw_text(&note, &text_style(12, FAINT, HPos::Right, VPos::Center), (WIDTH as i32 - MARGIN, bottom as i32 - 18))?;
    Ok(())
}
