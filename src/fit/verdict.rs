//! When starts are enough: what the draws say of the best.

use super::rules::{idle_draws_of_units, patience, sprints, starts_are_cheap};
use super::{is_large, rounding};
use crate::data::{Data, Shape};
use crate::starts::sample;

/// On large choice sets, `Auto` ends when so many draws in a row found nothing better; for other data see [`patience`] and
/// [`idle_draws_of_units`].
const IDLE_LARGE: usize = 3;
/// The same where starts race by L-BFGS; and what is better there at least, relatively: every start ends elsewhere, most by less than the
/// data can tell.
const IDLE_SPRINTS: usize = 4;
const TOLD: f64 = 1e-5;

/// What the draws say of the best.
#[derive(Default)]
pub(super) struct Verdict {
    /// Starts of the draw at hand that came to an end, and those of them that came to the best: relocations that did apart.
    pub finished: usize,
    pub alike: usize,
    /// The latter since the best was found.
    agree: usize,
    /// Draws in a row that found nothing better.
    idle: usize,
    /// On large choice sets, whether the starts of the draw that found the best agreed.
    unanimous: bool,
}

impl Verdict {
    /// Begins with another draw, of which `back` starts were on their way to the best.
    pub fn begin(&mut self, back: usize) {
        (self.finished, self.alike) = (back, back);
        self.agree += back;
    }

    /// Counts a start that came to the best: where it began says something if it is independent of it.
    pub fn arrive(&mut self, independent: bool) {
        self.finished += usize::from(independent);
        self.count(independent);
    }

    /// A start has ended at `f`, more than `best`: unless that was as good, those that came to it no longer count.
    pub fn rise(&mut self, data: &Data<'_>, classes: usize, best: f64, f: f64) {
        if best < f - slight(data, classes, f) {
            (self.alike, self.agree) = (0, 0);
        }
    }

    /// Counts a start that ended at `f`: that a relocation ends at the best, where it began, says nothing.
    pub fn end(&mut self, data: &Data<'_>, classes: usize, f: f64, best: f64, independent: bool) {
        let came = f >= best - slight(data, classes, best);
        self.finished += usize::from(independent || !came);
        self.count(independent && came);
    }

    /// Counts a start, if it came to the best.
    fn count(&mut self, came: bool) {
        self.alike += usize::from(came);
        self.agree += usize::from(came);
    }

    /// Whether starts of the draw at hand agree on the best: two at least, and half of those that came to an end.
    pub fn agrees(&self) -> bool {
        self.alike >= 2 && 2 * self.alike >= self.finished
    }

    /// Whether the draws are enough, after one of n starts of which `came` came to the best, or were on their way, and that took the best
    /// from `before` to `best`.
    pub fn settled(&mut self, data: &Data<'_>, classes: usize, before: f64, best: f64, n: usize, came: usize) -> bool {
        let shape = data.shape();
        let large = is_large(&shape);
        let told = if sprints(&shape) { noise(&shape, classes).min(TOLD * best.abs()) } else { 0.0 };
        self.idle = if before < best - slight(data, classes, best).max(told) { 0 } else { self.idle + 1 };
        // Enough agree when all that were finished do and they are a third of the starts, as they may be in a first draw, later ones being
        // mostly relocations; on a large choice set, where random starts reach the best more often than not and reading it is what costs,
        // when all that were finished do. Otherwise the best must withstand draws with relocations.
        let consensus = self.alike == self.finished && (3 * came >= n || large && self.finished >= 3);
        let (idle, agree) = (self.idle, self.agree);
        if !shape.units_are_draws {
            let most = idle_draws_of_units(&shape, classes);
            // Where starts cost little, relocations are tried in any case, as below.
            return consensus && !starts_are_cheap(&shape, classes) || idle >= most || idle + 1 >= most && agree >= 2;
        }
        // One draw in any case: narrow classes are found by relocations alone.
        self.unanimous = if idle == 0 { consensus } else { self.unanimous };
        let most = if sprints(&shape) { IDLE_SPRINTS } else { IDLE_LARGE };
        large && (self.unanimous && idle >= 1 || idle >= most) || idle >= patience(&shape, classes)
    }
}

/// What parameters gain from noise, half a unit of the log-likelihood each (Wilks 1938).
fn noise(shape: &Shape, classes: usize) -> f64 {
    0.5 * (classes * (shape.columns + 1)) as f64
}

/// How far below the best what is as good as it may end. With more classes than there are, optima of large choice sets differ by less than
/// the data can tell: by what parameters gain from noise, but no more than 1e-6 of it where starts race on a sample, and 1e-7 elsewhere.
fn slight(data: &Data<'_>, classes: usize, best: f64) -> f64 {
    let shape = data.shape();
    let share = if sample::size(&shape, classes).is_some() { 1e-6 } else { 1e-7 };
    let told = if is_large(&shape) { noise(&shape, classes).min(share * best.abs()) } else { 0.0 };
    told.max(rounding(data, best))
}
