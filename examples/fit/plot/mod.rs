//! The solution drawn as SVG: maps of what the classes choose, their atoms, or the criteria of a scan.

mod atoms;
mod criteria;
mod maps;

use crate::fault::{Result, bad};
use crate::input::Input;
use crate::solve::Solution;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use std::error::Error;

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Drawn = std::result::Result<(), Box<dyn Error>>;

const INK: RGBColor = RGBColor(40, 44, 52);
const FAINT: RGBColor = RGBColor(120, 126, 136);
const GRID: RGBColor = RGBColor(232, 234, 238);

/// Colours that people who confuse some can tell apart (Okabe and Ito).
const COLORS: [RGBColor; 8] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(117, 112, 179),
    RGBColor(90, 90, 90),
];

fn color(class: usize) -> RGBColor {
    COLORS[class % COLORS.len()]
}

/// The picture that says most about these data.
pub fn svg(input: &Input, solutions: &[Solution], scan: bool) -> Result<String> {
    let mut text = String::new();
    let drawn = match (solutions, &input.coordinates) {
        (_, _) if scan => draw(&mut text, criteria::SIZE, |canvas| criteria::draw(canvas, solutions)),
        ([s, ..], Some(places)) if !s.mixed.is_empty() => {
            let layout = maps::Layout::new(s, places);
            draw(&mut text, layout.size(), |canvas| maps::draw(canvas, &layout, input, s, places))
        }
        ([s, ..], _) => {
            let layout = atoms::Layout::new(input, s);
            draw(&mut text, layout.size(), |canvas| atoms::draw(canvas, &layout, input, s))
        }
        ([], _) => Ok(()),
    };
    drawn.or_else(|e| bad(format!("plot: {e}")))?;
    // XML has no control characters but the ends of lines.
    Ok(text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}"))
}

fn draw(text: &mut String, size: (u32, u32), body: impl FnOnce(&Canvas<'_>) -> Drawn) -> Drawn {
    let canvas = SVGBackend::with_string(text, size).into_drawing_area();
    canvas.fill(&WHITE)?;
    body(&canvas)?;
    canvas.present()?;
    Ok(())
}

/// A style of text: its size, colour and anchor.
fn text_style(size: i32, color: RGBColor, h: HPos, v: VPos) -> TextStyle<'static> {
    ("sans-serif", size).into_font().color(&color).pos(Pos::new(h, v))
}

fn left(size: i32, color: RGBColor) -> TextStyle<'static> {
    text_style(size, color, HPos::Left, VPos::Center)
}

/// The width of a character in hundredths of the size, which the backend divides by 1.24.
const CHARACTER: i32 = 49;

/// About how wide a text is, in pixels.
fn width(text: &str, size: i32) -> i32 {
    text.chars().count() as i32 * size * CHARACTER / 100
}

/// The text cut to so many pixels.
fn clipped(text: &str, size: i32, room: i32) -> String {
    let most = (room * 100 / (size * CHARACTER)).max(1) as usize;
    match text.chars().count() {
        n if n > most => text.chars().take(most - 1).chain(['…']).collect(),
        _ => text.to_owned(),
    }
}
