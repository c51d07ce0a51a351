//! A map for every class: circles at the alternatives, their areas the choice probabilities of the class.

use super::{Canvas, Drawn, FAINT, GRID, INK, clipped, color, left, text_style, width};
use crate::input::Input;
use crate::report::members_of;
use crate::solve::Solution;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use std::ops::Range;

const PANEL: u32 = 480;
const TITLE: u32 = 34;
const HEAD: u32 = 56;
const FOOT: u32 = 46;
const MARGIN: u32 = 14;
/// The radius of the largest probability, in pixels.
const LARGEST: f64 = 19.0;
/// Alternatives named on every map.
const LABELS: usize = 9;
const LABEL_SIZE: i32 = 12;

/// Sizes and scales that the maps share.
pub struct Layout {
    longitudes: Range<f64>,
    latitudes: Range<f64>,
    columns: u32,
    rows: u32,
    map_height: u32,
    largest: f64,
}

impl Layout {
    pub fn new(s: &Solution, places: &[[f64; 2]]) -> Self {
        let range = |axis: usize| {
            let values = || places.iter().map(|p| p[axis]);
            let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
            let pad = 0.06 * (high - low).max(1e-3 * low.abs().max(1.0));
            low - pad..high + pad
        };
        let (longitudes, latitudes) = (range(0), range(1));
        // One kilometre is as long east as north at the middle of the map.
        let middle = (0.5 * (latitudes.start + latitudes.end)).to_radians();
        let ratio = (latitudes.end - latitudes.start) / ((longitudes.end - longitudes.start) * middle.cos().max(0.2));
        let classes = s.classes.len() as u32;
        let columns = if classes == 4 { 2 } else { classes.min(3) };
        Layout {
            longitudes,
            latitudes,
            columns,
            rows: classes.div_ceil(columns),
            map_height: (f64::from(PANEL - 2 * MARGIN) * ratio).clamp(140.0, 620.0) as u32,
            largest: s.by_class.iter().copied().fold(f64::MIN_POSITIVE, f64::max),
        }
    }

    pub fn size(&self) -> (u32, u32) {
        (self.columns * PANEL, TITLE + self.rows * (HEAD + self.map_height + MARGIN) + FOOT)
    }

    fn radius(&self, probability: f64) -> f64 {
        LARGEST * (probability / self.largest).sqrt()
    }
}

pub fn draw(canvas: &Canvas<'_>, layout: &Layout, input: &Input, s: &Solution, places: &[[f64; 2]]) -> Drawn {
    let title = format!("{}: {} classes, log-likelihood {:.2}", input.files, s.classes.len(), s.value.log_likelihood);
    canvas.draw_text(&title, &left(15, INK), (MARGIN as i32, TITLE as i32 / 2 + 4))?;
    for class in 0..s.classes.len() {
        let (column, row) = (class as u32 % layout.columns, class as u32 / layout.columns);
        let corner = ((column * PANEL) as i32, (TITLE + row * (HEAD + layout.map_height + MARGIN)) as i32);
        let height = (HEAD + layout.map_height + MARGIN) as i32;
        let panel = canvas.clone().shrink(corner, (PANEL, height as u32));
        draw_class(&panel, layout, input, s, places, class)?;
    }
    legend(canvas, layout)
}

fn draw_class(panel: &Canvas<'_>, layout: &Layout, input: &Input, s: &Solution, places: &[[f64; 2]], class: usize) -> Drawn {
    let x = MARGIN as i32;
    let heading = format!("class {}, weight {:.3}", class + 1, s.classes[class].weight);
    panel.draw_text(&heading, &left(16, color(class)), (x, 18))?;
    let who = members_of(input, s, class).unwrap_or_default();
    panel.draw_text(&clipped(&who, 12, PANEL as i32 - 2 * x), &left(12, FAINT), (x, 40))?;

    let (width, height) = (PANEL - 2 * MARGIN, layout.map_height);
    let map = panel.clone().shrink((x, HEAD as i32), (width, height));
    let mut chart = ChartBuilder::on(&map).build_cartesian_2d(layout.longitudes.clone(), layout.latitudes.clone())?;
    chart.configure_mesh().disable_axes().x_labels(8).y_labels(6).bold_line_style(GRID).light_line_style(TRANSPARENT).draw()?;
    map.draw(&Rectangle::new([(0, 0), (width as i32 - 1, height as i32 - 1)], GRID))?;

    let origin = map.get_base_pixel();
    let pixel = |i: usize| {
        let (x, y) = chart.backend_coord(&(places[i][0], places[i][1]));
        (x - origin.0, y - origin.1)
    };
    let probability = |i: usize| s.by_class[i * s.classes.len() + class];
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|&a, &b| probability(b).total_cmp(&probability(a)));
    for &i in &order {
        let radius = layout.radius(probability(i));
        if radius < 1.5 {
            map.draw(&Circle::new(pixel(i), 1, FAINT.mix(0.6).filled()))?;
        } else {
            map.draw(&Circle::new(pixel(i), radius.round() as i32, color(class).mix(0.35).filled()))?;
            map.draw(&Circle::new(pixel(i), radius.round() as i32, color(class).stroke_width(1)))?;
        }
    }
    let circles: Vec<(String, (i32, i32), i32)> =
        order.iter().take(3 * LABELS).map(|&i| (caption(input, i), pixel(i), layout.radius(probability(i)).round() as i32)).collect();
    for (text, at) in placed(&circles, width as i32, height as i32) {
        map.draw_text(text, &left(LABEL_SIZE, INK), at)?;
    }
    Ok(())
}

fn caption(input: &Input, i: usize) -> String {
    let key = input.alternatives.as_ref().map_or_else(|| i.to_string(), |a| a[i].key.clone());
    clipped(&key, LABEL_SIZE, 110)
}

/// Places for the captions of the circles, the first ones first, such that none covers another or its neighbours' middles.
fn placed(circles: &[(String, (i32, i32), i32)], map_width: i32, map_height: i32) -> Vec<(&str, (i32, i32))> {
    type Box = (i32, i32, i32, i32);
    let apart = |a: &Box, b: &Box| a.2 <= b.0 || b.2 <= a.0 || a.3 <= b.1 || b.3 <= a.1;
    let half = LABEL_SIZE / 2 + 1;
    let mut taken: Vec<Box> = Vec::new();
    let mut placed = Vec::new();
    for (text, (x, y), r) in circles {
        let w = width(text, LABEL_SIZE) + 2;
        let gap = r + 2;
        let diagonal = gap * 7 / 10 + half;
        let corners = [
            (x + gap, *y),
            (x - gap - w, *y),
            (x - w / 2, y - gap - half),
            (x - w / 2, y + gap + half),
            (x + gap * 7 / 10, y - diagonal),
            (x + gap * 7 / 10, y + diagonal),
            (x - gap * 7 / 10 - w, y - diagonal),
            (x - gap * 7 / 10 - w, y + diagonal),
        ];
        let area = |(left, middle): (i32, i32)| (left, middle - half, left + w, middle + half);
        let free = |b: &Box| {
            let inside = b.0 >= 2 && b.1 >= 2 && b.2 <= map_width - 2 && b.3 <= map_height - 2;
            let covers = |c: &(String, (i32, i32), i32)| b.0 < c.1.0 && c.1.0 < b.2 && b.1 < c.1.1 && c.1.1 < b.3;
            inside && taken.iter().all(|t| apart(t, b)) && !circles.iter().any(covers)
        };
        if let Some(at) = corners.into_iter().find(|at| free(&area(*at))) {
            taken.push(area(at));
            placed.push((text.as_str(), at));
        }
        if placed.len() == LABELS {
            break;
        }
    }
    placed
}

/// What the areas mean: circles of round probabilities.
fn legend(canvas: &Canvas<'_>, layout: &Layout) -> Drawn {
    let (_, height) = layout.size();
    let middle = (height - FOOT / 2) as i32;
    let text = "area: choice probability in the class";
    canvas.draw_text(text, &left(12, FAINT), (MARGIN as i32, middle))?;
    let mut x = MARGIN as i32 + width(text, 12) + 24;
    // One round number of the first digit 1, 2 or 5 near the largest, and what is a quarter and less of it.
    let power = 10f64.powf(layout.largest.log10().floor());
    let top = [5.0, 2.0, 1.0].map(|d| d * power).into_iter().find(|p| *p <= layout.largest).unwrap_or(power);
    for probability in [top / 10.0, top / 2.5, top] {
        let r = layout.radius(probability).round() as i32;
        canvas.draw(&Circle::new((x + r, middle), r, FAINT.stroke_width(1)))?;
        let label = format!("{} %", (1e4 * probability).round() / 100.0);
        canvas.draw_text(&label, &text_style(12, FAINT, HPos::Left, VPos::Center), (x + 2 * r + 6, middle))?;
        x += 2 * r + 6 + width(&label, 12) + 16;
    }
    Ok(())
}
