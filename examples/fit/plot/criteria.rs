//! The criteria of a scan against the number of classes, the least of each marked.

use super::{Canvas, Drawn, FAINT, GRID, INK, color, left, text_style};
use crate::solve::Solution;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

pub const SIZE: (u32, u32) = (720, 460);

pub fn draw(canvas: &Canvas<'_>, solutions: &[Solution]) -> Drawn {
    type Criterion = (&'static str, fn(&Solution) -> f64);
    let criteria: [Criterion; 3] = [("AIC", |s| s.criteria.aic), ("BIC", |s| s.criteria.bic), ("ICL", |s| s.criteria.icl)];
    let values = || solutions.iter().flat_map(|s| criteria.iter().map(move |(_, c)| c(s))).filter(|v| v.is_finite());
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    if !(low.is_finite() && high.is_finite()) {
        return Err("no criterion is finite".into());
    }
    let pad = 0.06 * (high - low).max(1e-6 * high.abs().max(1.0));
    let classes = |s: &Solution| s.classes.len() as f64;
    let (first, last) = (solutions.first().map_or(1.0, classes), solutions.last().map_or(1.0, classes));

    let mut chart = ChartBuilder::on(canvas)
        .margin(16)
        .margin_top(50)
        .x_label_area_size(46)
        .y_label_area_size(92)
        .build_cartesian_2d(first - 0.3..last + 0.3, low - pad..high + pad)?;
    let decimals = if high - low < 20.0 { 1 } else { 0 };
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_desc("classes")
        .x_labels(solutions.len().min(20))
        .x_label_formatter(&|k| if (k - k.round()).abs() < 1e-6 { format!("{k:.0}") } else { String::new() })
        .y_label_formatter(&|v| format!("{v:.decimals$}"))
        .label_style(text_style(12, FAINT, HPos::Center, VPos::Center))
        .axis_desc_style(text_style(13, INK, HPos::Center, VPos::Center))
        .axis_style(FAINT)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .draw()?;
    canvas.draw_text("The smaller the better:", &left(14, INK), (92, 26))?;
    for (j, (name, criterion)) in criteria.iter().enumerate() {
        let points: Vec<(f64, f64)> = solutions.iter().map(|s| (classes(s), criterion(s))).filter(|p| p.1.is_finite()).collect();
        chart.draw_series([PathElement::new(points.clone(), color(j).stroke_width(2))])?;
        chart.draw_series(points.iter().map(|p| Circle::new(*p, 3, color(j).filled())))?;
        if let Some(best) = points.iter().min_by(|a, b| a.1.total_cmp(&b.1)) {
            chart.draw_series([Circle::new(*best, 8, color(j).stroke_width(2))])?;
        }
        let x = 270 + j as i32 * 80;
        canvas.draw(&PathElement::new([(x, 26), (x + 22, 26)], color(j).stroke_width(2)))?;
        canvas.draw_text(name, &left(14, INK), (x + 28, 26))?;
    }
    Ok(())
}
