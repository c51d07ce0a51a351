//! The race of later draws where features are many: short runs of L-BFGS in place of steps of EM, one start after the other.

use super::Search;
use super::doubled::{self, doubled};
use super::race::Problem;
use crate::error::{ErrorKind, Result};
use crate::mixture::MixtureRef;
use crate::starts::StartKind;
use crate::workspace::Workspace;

/// Starts of a later draw at least: as dear as three that race by EM.
pub(super) const STARTS: usize = 6;
/// Evaluations of each, and how many race for one that goes on.
const EACH: u64 = 60;
const SPRINTERS: usize = 4;
/// One in how many is from twice the classes, and its evaluations after that.
const DOUBLED: usize = 3;
const EACH_DOUBLED: u64 = 120;

impl Search<'_, '_, '_, '_, '_> {
    /// The race of n starts where they race by L-BFGS, the last of them from twice the classes. How many go on, at the front, best first; and
    /// how many came to the best so far that did not begin there.
    pub(super) fn sprint(&mut self, n: usize, first: usize, ws: &mut Workspace<'_>) -> Result<(usize, usize)> {
        let of_twice = if self.begun.report.is_some() && !self.shape.is_part() { n.div_ceil(DOUBLED) } else { 0 };
        self.lead(0..n - of_twice, first, false, EACH, ws)?;
        for j in n - of_twice..n {
            if self.run.limit.saturating_sub(self.run.state.evaluations) >= doubled::LEAST {
                self.double(j, first, ws)?;
            }
            self.lead(j..j + 1, first, false, EACH_DOUBLED, ws)?;
        }
        let Self { racing, race, best, run, begun, .. } = self;
        let (running, back) = match begun.report {
            Some(_) => race.fall_out(racing, n, best.mixture(), run.state.best),
            None => (n, 0),
        };
        race.sort(0..running);
        Ok((running.div_ceil(SPRINTERS), back))
    }

    /// Makes start j one from twice the classes of the best, the starts of the draw before it among them.
    fn double(&mut self, j: usize, first: usize, ws: &mut Workspace<'_>) -> Result<()> {
        let (k, l) = (self.options.classes, self.shape.columns);
        let base = if self.excess.is_some() { self.estimate } else { self.run.state.best };
        let Self { data, options, racing, race, best, run, excess, .. } = self;
        let racing: &Problem<'_, '_> = racing;
        let top = (0..j).fold(None, |top, i| if race.values[i] > top.map_or(base, |top: usize| race.values[top]) { Some(i) } else { top });
        let (w, rest) = race.weights.split_at_mut(j * k);
        let (a, others) = race.atoms.split_at_mut(j * k * l);
        let from = match top {
            Some(i) => MixtureRef { weights: &w[i * k..(i + 1) * k], atoms: &a[i * k * l..(i + 1) * k * l] },
            None => best.mixture(),
        };
        race.kinds[j] = StartKind::Relocate;
        // What twice the classes come to is nothing that the best is measured by.
        (run.data, run.excess) = (racing.data, Some(excess.unwrap_or(0.0)));
        (run.state.racing, run.state.running, run.state.start) = (true, 1, first + race.order[j]);
        let out = (&mut rest[..k], &mut others[..k * l]);
        let done = doubled(racing, options, run.state.start, from, out, run, &mut race.em.ev.passes, ws.scope());
        (run.data, run.excess) = (*data, None);
        match done {
            Err(error) if error.kind == ErrorKind::NotFinite => racing.data.reduced(),
            done => done,
        }
    }
}
