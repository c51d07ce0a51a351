//! A map for every class: circles at the alternatives, their areas the choice probabilities of the class.

use super::{Canvas, Drawn, FAINT, GRID, INK, clipped, color, left, text_style, width};
use crate::input::Input;
use crate::report::members_of;
use crate::solve::Solution;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use std::ops::Range;

const PANEL: u32 = 540;
const TITLE: u32 = 34;
const HEAD: u32 = 56;
const FOOT: u32 = 46;
const MARGIN: u32 = 14;
/// A picture of more would be a blot.
const MOST_CIRCLES: usize = 3000;
/// The radius of the largest probability, in pixels.
const LARGEST: f64 = 15.0;
/// Alternatives named on every map.
const LABELS: usize = 10;
const LABEL_SIZE: i32 = 13;

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
            map_height: (f64::from(PANEL - 2 * MARGIN) * ratio).clamp(160.0, 640.0) as u32,
            largest: s.by_class.iter().copied().fold(f64::MIN_POSITIVE, f64::max),
        }
    }

    pub fn size(&self) -> (u32, u32) {
        (self.columns * PANEL, TITLE + self.rows * (HEAD + self.map_height + MARGIN) + FOOT)
    }

    fn pixel(&self, [x, y]: [f64; 2], (width, height): (u32, u32)) -> (i32, i32) {
        let along = |v: f64, range: &Range<f64>| (v - range.start) / (range.end - range.start);
        let (right, up) = (along(x, &self.longitudes), along(y, &self.latitudes));
        ((right * f64::from(width)).round() as i32, ((1.0 - up) * f64::from(height)).round() as i32)
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
    graticule(&map, layout, (width, height))?;
    let pixel = |i: usize| layout.pixel(places[i], (width, height));
    let probability = |i: usize| s.by_class[i * s.classes.len() + class];
    let mut order: Vec<usize> = (0..places.len()).collect();
    order.sort_by(|&a, &b| probability(b).total_cmp(&probability(a)));
    order.truncate(MOST_CIRCLES);
    for &i in &order {
        let radius = layout.radius(probability(i));
        if radius < 1.5 {
            map.draw(&Circle::new(pixel(i), 1, FAINT.mix(0.6).filled()))?;
        } else {
            map.draw(&Circle::new(pixel(i), radius.round() as i32, color(class).mix(0.3).filled()))?;
            map.draw(&Circle::new(pixel(i), radius.round() as i32, color(class).stroke_width(1)))?;
        }
    }
    let circles: Vec<(String, (i32, i32), i32)> =
        order.iter().map(|&i| (caption(input, i), pixel(i), layout.radius(probability(i)).round() as i32)).collect();
    for (text, at) in placed(&circles, width as i32, height as i32) {
        let (right, half) = (at.0 + super::width(text, LABEL_SIZE), LABEL_SIZE / 2);
        map.draw(&Rectangle::new([(at.0 - 1, at.1 - half), (right + 1, at.1 + half)], WHITE.mix(0.5).filled()))?;
        map.draw_text(text, &left(LABEL_SIZE, INK), at)?;
    }
    Ok(())
}

/// Lines of round longitudes and latitudes, with their degrees.
fn graticule(map: &Canvas<'_>, layout: &Layout, size: (u32, u32)) -> Drawn {
    let (right, bottom) = (size.0 as i32 - 1, size.1 as i32 - 1);
    let degrees = |v: f64, [plus, minus]: [&str; 2]| {
        let side = if v > 0.0 { plus } else { minus };
        format!("{}°{}", (1e6 * v.abs()).round() / 1e6, if v == 0.0 { "" } else { side })
    };
    for v in round_values(&layout.longitudes) {
        let (x, _) = layout.pixel([v, layout.latitudes.start], size);
        map.draw(&PathElement::new([(x, 0), (x, bottom)], GRID))?;
        map.draw_text(&degrees(v, ["E", "W"]), &text_style(11, FAINT, HPos::Center, VPos::Center), (x, bottom - 8))?;
    }
    for v in round_values(&layout.latitudes) {
        let (_, y) = layout.pixel([layout.longitudes.start, v], size);
        map.draw(&PathElement::new([(0, y), (right, y)], GRID))?;
        map.draw_text(&degrees(v, ["N", "S"]), &left(11, FAINT), (4, y - 7))?;
    }
    map.draw(&Rectangle::new([(0, 0), (right, bottom)], GRID))?;
    Ok(())
}

/// A few multiples of 1, 2 or 5 times a power of ten, not too near the ends.
fn round_values(range: &Range<f64>) -> impl Iterator<Item = f64> + use<> {
    let length = range.end - range.start;
    let power = 10f64.powf((length / 4.0).log10().floor());
    let step = [5.0, 2.0, 1.0].map(|d| d * power).into_iter().find(|s| length / s >= 4.0).unwrap_or(power);
    let (first, last) = (range.start + 0.04 * length, range.end - 0.04 * length);
    ((first / step).ceil() as i64..=(last / step).floor() as i64).map(move |i| i as f64 * step)
}

fn caption(input: &Input, i: usize) -> String {
    let key = input.alternatives.as_ref().map_or_else(|| i.to_string(), |a| a[i].key.clone());
    clipped(&key, LABEL_SIZE, 110)
}

/// Places for the captions of the circles, the first ones first: none covers another or the middle of a circle, and each as
/// little of the circles as can be.
fn placed(circles: &[(String, (i32, i32), i32)], map_width: i32, map_height: i32) -> Vec<(&str, (i32, i32))> {
    type Area = (i32, i32, i32, i32);
    let common = |a: &Area, b: &Area| (a.2.min(b.2) - a.0.max(b.0)).max(0) * (a.3.min(b.3) - a.1.max(b.1)).max(0);
    let half = LABEL_SIZE / 2;
    let mut taken: Vec<Area> = Vec::new();
    let mut placed = Vec::new();
    for (text, (x, y), r) in circles.iter().take(3 * LABELS) {
        let w = width(text, LABEL_SIZE);
        let (gap, slant) = (r + 3, r * 7 / 10 + 2);
        let around = [
            (x + gap, *y),
            (x - gap - w, *y),
            (x - w / 2, y - gap - half),
            (x - w / 2, y + gap + half),
            (x + slant, y - slant - half),
            (x + slant, y + slant + half),
            (x - slant - w, y - slant - half),
            (x - slant - w, y + slant + half),
        ];
        let area = |(left, middle): (i32, i32)| (left - 2, middle - half - 1, left + w + 2, middle + half + 1);
        let free = |b: &Area| {
            let inside = b.0 >= 0 && b.1 >= 0 && b.2 <= map_width && b.3 <= map_height - 14;
            let covers = |(_, (x, y), _): &(String, (i32, i32), i32)| b.0 < *x && *x < b.2 && b.1 < *y && *y < b.3;
            inside && taken.iter().all(|t| common(t, b) == 0) && !circles[..circles.len().min(3 * LABELS)].iter().any(covers)
        };
        let covered = |b: &Area| circles.iter().map(|(_, (x, y), r)| common(b, &(x - r, y - r, x + r, y + r))).sum::<i32>();
        if let Some(at) = around.into_iter().filter(|at| free(&area(*at))).min_by_key(|at| covered(&area(*at))) {
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
