//! Rules by the shape of the data: how many starts, which of the methods, and what costs little or much.

use super::{FitOptions, Starts};
use crate::data::Shape;
use crate::em::{MStep, VANISHED};
use crate::starts::sample::{self, SampleSize};

/// How many first draws all draws of `Auto` amount to at most; on counts the later ones are half as large.
const BATCHES: usize = 24;
/// Evaluations a start takes at least, its race and what comes before it, with as many for the finish of the best.
const AFFORDABLE: u64 = 40;
/// Numbers of features from which a choice set of counts is large: past the fast caches.
const LARGE: usize = 1 << 15;

/// Starts that cost about as much as a second's work.
fn starts_a_second(shape: &Shape, classes: usize) -> usize {
    let l = shape.columns;
    let step = shape.total_rows.saturating_mul(l).saturating_mul(classes).saturating_mul(if race_form(shape) == MStep::Newton {
        l / 2 + 6
    } else {
        6
    });
    100_000_000 / step.max(1)
}

/// Starts of the first draw of `Auto`: as many as cost about as much as a second's work, from 24 to 120 where units make several choices,
/// from 6 to 64 on counts (32 where features are many), of which later draws have half as many. One for one class.
pub fn default_starts(shape: &Shape, classes: usize) -> usize {
    if classes <= 1 {
        return 1;
    }
    let (least, most) = match shape.units_are_draws {
        true if sprints(shape) => (6, 32),
        true => (6, 64),
        false => (24, 120),
    };
    starts_a_second(shape, classes).clamp(least, most)
}

/// Whether starts cost so little that many more than one draw of them are made in a second.
pub(crate) fn starts_are_cheap(shape: &Shape, classes: usize) -> bool {
    starts_a_second(shape, classes) >= 512
}

/// On counts, the draws in a row that must find nothing better: the more the less they cost. That independent starts agree says little
/// there, as narrow classes are found by relocations alone.
pub(super) fn patience(shape: &Shape, classes: usize) -> usize {
    (starts_a_second(shape, classes) / 64).clamp(12, 18)
}

/// Where units make several choices, the draws in a row that must find nothing better, or one less where independent starts agree on the
/// best: the more the less they cost.
pub(super) fn idle_draws_of_units(shape: &Shape, classes: usize) -> usize {
    (starts_a_second(shape, classes) / 256).clamp(4, 6)
}

/// The most starts a fit may draw.
pub fn max_starts(shape: &Shape, options: &FitOptions<'_>) -> usize {
    match options.starts {
        Starts::Given(_) => 1,
        _ if options.classes <= 1 => 1,
        Starts::Count(n) => n,
        Starts::Auto => BATCHES * default_starts(shape, options.classes),
    }
}

/// Starts drawn at once: no more than the budget can carry through a race.
pub(super) fn batch_size(shape: &Shape, options: &FitOptions<'_>) -> usize {
    let affordable = usize::try_from(options.max_evaluations / AFFORDABLE).unwrap_or(usize::MAX).max(1);
    default_starts(shape, options.classes).min(max_starts(shape, options)).min(affordable)
}

/// The M-step of the race: Newton where its curvature is cheap.
pub(crate) fn race_form(shape: &Shape) -> MStep {
    if shape.columns <= 32 { MStep::Newton } else { MStep::Gradient }
}

/// Whether later draws race by short runs of L-BFGS in place of steps of EM: on counts where features are so many that an M-step is a step
/// along the gradient, few of which tell little of where a start ends. The first draw does not: from far away long steps lead classes onto few
/// alternatives.
pub(super) fn sprints(shape: &Shape) -> bool {
    shape.units_are_draws && race_form(shape) == MStep::Gradient
}

/// What the dense information may cost for Newton's method to be as cheap as L-BFGS.
const CHEAP: f64 = 4.0;

/// The products of the dense information over those of an evaluation; of counts over one choice set half as many are needed.
fn information_cost(shape: &Shape, classes: usize) -> f64 {
    let (p, l, k) = (shape.total_rows as f64, shape.columns as f64, classes as f64);
    l / 6.0 + shape.total_units as f64 * k * l / (6.0 * p)
}

/// Whether a step of Newton's method costs little more than one of L-BFGS.
pub(crate) fn newton_is_cheap(shape: &Shape, classes: usize) -> bool {
    information_cost(shape, classes) <= CHEAP
}

/// Whether L-BFGS, which reads X once a step, is likely to come to the end sooner: on panels wherever a step of Newton's method costs more
/// than a few of it.
pub(crate) fn newton_is_dear(shape: &Shape, classes: usize) -> bool {
    information_cost(shape, classes) > if shape.units_are_draws { 10.0 } else { CHEAP }
}

/// Whether the dense information is cheap beside an evaluation.
pub(crate) fn newton_pays(shape: &Shape, classes: usize) -> bool {
    newton_serves(shape, classes) && information_cost(shape, classes) <= 30.0
}

/// Whether Newton's method may finish what L-BFGS comes to no end of.
pub(crate) fn newton_serves(shape: &Shape, classes: usize) -> bool {
    // Scores of units whose choices are on several ranks would have to be put together one by one.
    !shape.units_are_split && classes as f64 * (shape.columns as f64 + 1.0) <= 400.0
}

/// Whether the curvature of the classes is looked at where one may run off.
pub(super) fn looks_at_curvature(shape: &Shape, classes: usize) -> bool {
    race_form(shape) == MStep::Newton || newton_serves(shape, classes)
}

/// Whether the early phase may read a copy in single precision. Ranks have none: each would shift its rows by one of its own.
pub(super) fn has_single_phase(shape: &Shape, options: &FitOptions<'_>) -> bool {
    options.single_phase && shape.sets == 1 && !shape.is_part()
}

/// Of how many rows starts race, if not of all: see `starts/sample.rs`.
pub(super) fn sample_size(shape: &Shape, options: &FitOptions<'_>) -> Option<SampleSize> {
    let searches = options.classes > 1 && !matches!(options.starts, Starts::Given(_));
    sample::size(shape, options.classes).filter(|_| searches)
}

/// Whether data are counts whose features are read often enough to cost.
pub(crate) fn is_large(shape: &Shape) -> bool {
    shape.units_are_draws && shape.total_rows.saturating_mul(shape.columns) > LARGE
}

/// Classes whose share of the choices is nothing: their atoms mean nothing.
pub fn is_empty_class(weight: f64) -> bool {
    weight <= VANISHED
}
