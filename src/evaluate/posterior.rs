//! Where responsibilities and log-likelihoods go while units are worked out.

use super::passes::Evaluation;
use crate::parallel::take;
use core::ops::Range;

/// Of some units that follow one another.
pub(super) struct Posterior<'a> {
    /// C numbers of each.
    pub r: &'a mut [f64],
    /// Of one start; empty where nobody asks for them.
    pub log_likelihoods: &'a mut [f64],
}

impl<'a> Posterior<'a> {
    /// Takes the first `n` units off, with C numbers each.
    pub fn take(&mut self, n: usize, c: usize) -> Posterior<'a> {
        Posterior { r: take(&mut self.r, n * c), log_likelihoods: take(&mut self.log_likelihoods, n) }
    }

    /// Some of these units.
    pub fn some(&mut self, units: Range<usize>, c: usize) -> Posterior<'_> {
        let log_likelihoods = self.log_likelihoods.get_mut(units.clone()).unwrap_or(&mut []);
        Posterior { r: &mut self.r[units.start * c..units.end * c], log_likelihoods }
    }
}

impl<'w> Evaluation<'w> {
    pub(super) fn take_posterior(&mut self) -> Posterior<'w> {
        Posterior { r: core::mem::take(&mut self.r), log_likelihoods: core::mem::take(&mut self.log_likelihoods) }
    }

    pub(super) fn give_posterior(&mut self, units: Posterior<'w>) {
        Posterior { r: self.r, log_likelihoods: self.log_likelihoods } = units;
    }

    /// Sees to it that the log-likelihoods of units are kept, U, where they come from compressed rows.
    pub fn keep_log_likelihoods(&mut self, room: &'w mut [f64]) {
        self.log_likelihoods = room;
    }
}
