//! The winner of a fit: carried on to its end, with fewer classes where those do as well, and which of its classes run off.

use super::finish::{Place, Run, finish};
use super::race::Problem;
use super::{FitOptions, FitReport, Outcome, Starts, StopRule, is_empty_class, looks_at_curvature, newton_pays};
use crate::em::Em;
use crate::error::{ErrorKind, Result};
use crate::optimize::Objective;
use crate::optimize::divergence::{candidate, diverging};
use crate::workspace::Workspace;

/// Evaluations that polish the winner, at most, or carry one of fewer classes on.
const POLISH: u64 = 30;

/// By how much of the penalised log-likelihood, for every parameter, what is left of a class that follows the noise may be below the best
/// before the others have taken its part.
const TAKEN: f64 = 20.0;

/// The winner on its way to its end.
pub(super) struct Winner<'a, 'p, 'd, 'o, 'w, 'b, 'r> {
    pub problem: &'a Problem<'p, 'd>,
    pub options: &'a FitOptions<'o>,
    pub em: &'a mut Em<'w>,
    pub best: &'a mut Place<'b>,
    pub run: &'a mut Run<'r>,
    pub report: &'a mut FitReport,
}

impl Winner<'_, '_, '_, '_, '_, '_, '_> {
    /// Carries the mixture on by [`finish`], down to a gradient and in so many evaluations.
    fn finish(&mut self, gradient_tolerance: f64, max_evaluations: u64, ws: Workspace<'_>) -> Result<FitReport> {
        let options = FitOptions { gradient_tolerance, max_evaluations, ..*self.options };
        finish(self.problem, &options, true, self.em, self.best, self.run, ws)
    }

    /// So many evaluations that a step aside has, from here on.
    fn aside(&self) -> u64 {
        self.options.max_evaluations.min(self.run.state.evaluations + POLISH)
    }

    /// Goes on where the share of the evaluations stopped it. Whether it did.
    fn carry_on(&mut self, ws: Workspace<'_>) -> Result<bool> {
        let goes_on = self.report.stop == StopRule::Evaluations && !self.run.spent();
        if goes_on {
            let found = self.finish(self.options.gradient_tolerance, self.options.max_evaluations, ws)?;
            *self.report = FitReport { best_start: self.report.best_start, ..found };
        }
        Ok(goes_on)
    }

    /// Where there is a ridge, a class of weight 0 and atom 0 costs nothing, so that the best of K classes is as good as that of fewer: tries
    /// the mixture without its smallest class, in a few evaluations, and goes on as long as nothing is lost by it. `beta`: L numbers.
    pub fn empty_classes(&mut self, beta: &mut [f64], mut ws: Workspace<'_>) -> Result<()> {
        let (problem, data, k, l) = (self.problem, self.run.data, self.best.weights.len(), beta.len());
        let (weights, atoms) = (ws.f64s(k)?, ws.f64s(k * l)?);
        let parameters = (k - 1 + k * problem.wh.rank) as f64;
        for _ in 1..k {
            self.carry_on(ws.scope())?;
            let live = || (0..k).filter(|&c| !is_empty_class(self.best.weights[c]));
            let Some(smallest) = live().min_by(|&a, &b| self.best.weights[a].total_cmp(&self.best.weights[b])) else { break };
            if live().count() < 2 || self.run.spent() {
                break;
            }
            weights.copy_from_slice(self.best.weights);
            atoms.copy_from_slice(self.best.atoms);
            self.best.weights[smallest] = 0.0;
            self.best.atoms[smallest * l..(smallest + 1) * l].fill(0.0);
            let rest: f64 = self.best.weights.iter().sum();
            self.best.weights.iter_mut().for_each(|w| *w /= rest);
            self.em.restart(1);
            self.em.ev.evaluate_value(data, self.best.weights, self.best.atoms, false, problem.ctx)?;
            self.run.state.evaluations += 1;
            let f = self.em.ev.value[0] - problem.penalty(self.best.atoms, beta);
            let before = self.report.penalized_log_likelihood;
            let slight = 1e-12 * before.abs();
            // What is as good must be as good an end.
            let ended = self.report.outcome == Outcome::Converged;
            let wins = |found: &FitReport| {
                let gain = found.penalized_log_likelihood - before;
                gain > slight || gain >= -slight && (!ended || found.outcome == Outcome::Converged)
            };
            let mut won = None;
            if f + TAKEN * parameters >= before && !self.run.spent() {
                // Until it has won it is one that races with the winner.
                (self.run.state.racing, self.run.state.running) = (true, 1);
                match self.finish(self.options.gradient_tolerance, self.aside(), ws.scope()) {
                    Err(error) if error.kind == ErrorKind::NotFinite => data.reduced()?,
                    found => won = Some(found?).filter(wins),
                }
                (self.run.state.racing, self.run.state.running) = (false, 0);
            }
            let Some(found) = won else {
                self.best.weights.copy_from_slice(weights);
                self.best.atoms.copy_from_slice(atoms);
                break;
            };
            *self.report = FitReport { best_start: self.report.best_start, ..found };
            self.run.state.best = found.penalized_log_likelihood;
            self.run.tell_of_start(found.penalized_log_likelihood);
        }
        Ok(())
    }

    /// Carries it on to its end, where its share of the evaluations stopped it, and past the tolerance, where that is cheap; `suspect` is
    /// whether a class of what it becomes may run off. `beta`: L numbers.
    pub fn end(&mut self, suspect: &mut bool, beta: &mut [f64], mut ws: Workspace<'_>) -> Result<()> {
        if self.carry_on(ws.scope())? {
            *suspect = may_run_off(self.problem, self.em, self.best, self.run, beta);
        }
        let tolerance = self.options.gradient_tolerance;
        let pays = matches!(self.options.starts, Starts::Auto) && newton_pays(&self.run.data.shape(), self.options.classes);
        if pays && self.report.stop == StopRule::Gradient && !*suspect && !self.run.spent() {
            // Where the likelihood is nearly flat a small gradient is still some way off: the steps left are few and cheap.
            let (weights, atoms) = (ws.f64s(self.best.weights.len())?, ws.f64s(self.best.atoms.len())?);
            weights.copy_from_slice(self.best.weights);
            atoms.copy_from_slice(self.best.atoms);
            self.run.polishes = true;
            let polished = self.finish(1e-3 * tolerance, self.aside(), ws)?;
            self.run.polishes = false;
            if polished.gradient_norm <= tolerance {
                self.report.log_likelihood = polished.log_likelihood;
                self.report.penalized_log_likelihood = polished.penalized_log_likelihood;
                self.report.gradient_norm = polished.gradient_norm;
                *suspect = may_run_off(self.problem, self.em, self.best, self.run, beta);
            } else {
                // Where steps lead away from a small gradient there is no end nearby.
                self.best.weights.copy_from_slice(weights);
                self.best.atoms.copy_from_slice(atoms);
                *suspect = self.options.ridge == 0.0;
            }
        }
        Ok(())
    }
}

/// Whether a class of the mixture finished last may run off. A ridge penalty holds them all. `beta`: L numbers.
pub(super) fn may_run_off(problem: &Problem<'_, '_>, em: &Em<'_>, place: &Place<'_>, run: &Run<'_>, beta: &mut [f64]) -> bool {
    let l = beta.len();
    let mut candidate = |j: usize| {
        let (weight, atom) = (place.weights[j], &place.atoms[j * l..(j + 1) * l]);
        candidate(run.data, problem.wh, &em.ev, problem.ctx, j, weight, atom, beta)
    };
    problem.ridge == 0.0 && (run.still || (0..place.weights.len()).any(&mut candidate))
}

/// Marks the classes of the best that run off, in canonical order.
pub(super) fn mark_diverging(
    problem: &Problem<'_, '_>,
    em: &mut Em<'_>,
    best: &mut Place<'_>,
    run: &mut Run<'_>,
    marks: &mut [bool],
    mut ws: Workspace<'_>,
) -> Result<()> {
    em.restart(1);
    let mut ws = ws.scope();
    let mut o = Objective::new(run.data, problem.wh, problem.ridge, problem.ctx, &mut em.ev, u64::MAX, &mut ws)?;
    best.pack(&mut o);
    if let Some(f) = o.evaluate(best.v, best.g) {
        diverging(&mut o, best.v, f, looks_at_curvature(&run.data.shape(), marks.len()), marks, ws)?;
        // The largest class is the last of the packed parameters.
        marks.reverse();
    }
    run.state.evaluations += o.evaluations;
    Ok(())
}
