//! The winner of a fit: carried on to its end, and which of its classes run off.

use super::finish::{Place, Run, finish};
use super::race::Problem;
use super::{FitOptions, FitReport, Starts, StopRule, looks_at_curvature, newton_pays};
use crate::em::Em;
use crate::error::Result;
use crate::optimize::Objective;
use crate::optimize::divergence::{candidate, diverging};
use crate::workspace::Workspace;

/// Evaluations that polish the winner, at most.
const POLISH: u64 = 30;

/// Carries the winner on to its end, where its share of the evaluations stopped it, and past the tolerance, where that is cheap; `suspect`
/// is whether a class of what it becomes may run off. `beta`: L numbers.
pub(super) fn finish_winner(
    problem: &Problem<'_, '_>,
    options: &FitOptions<'_>,
    em: &mut Em<'_>,
    best: &mut Place<'_>,
    run: &mut Run<'_>,
    report: &mut FitReport,
    suspect: &mut bool,
    beta: &mut [f64],
    mut ws: Workspace<'_>,
) -> Result<()> {
    run.state.start = report.best_start;
    if report.stop == StopRule::Evaluations && !run.spent() {
        let found = finish(problem, options, true, em, best, run, ws.scope())?;
        *report = FitReport { best_start: report.best_start, ..found };
        *suspect = may_run_off(problem, em, best, run, beta);
    }
    let pays = matches!(options.starts, Starts::Auto) && newton_pays(&run.data.shape(), options.classes);
    if pays && report.stop == StopRule::Gradient && !*suspect && !run.spent() {
        // Where the likelihood is nearly flat a small gradient is still some way off: the steps left are few and cheap.
        let (weights, atoms) = (ws.f64s(best.weights.len())?, ws.f64s(best.atoms.len())?);
        weights.copy_from_slice(best.weights);
        atoms.copy_from_slice(best.atoms);
        let limit = options.max_evaluations.min(run.state.evaluations + POLISH);
        let further = FitOptions { gradient_tolerance: 1e-3 * options.gradient_tolerance, max_evaluations: limit, ..*options };
        run.polishes = true;
        let polished = finish(problem, &further, true, em, best, run, ws)?;
        run.polishes = false;
        if polished.gradient_norm <= options.gradient_tolerance {
            report.log_likelihood = polished.log_likelihood;
            report.penalized_log_likelihood = polished.penalized_log_likelihood;
            report.gradient_norm = polished.gradient_norm;
            *suspect = may_run_off(problem, em, best, run, beta);
        } else {
            // Where steps lead away from a small gradient there is no end nearby.
            best.weights.copy_from_slice(weights);
            best.atoms.copy_from_slice(atoms);
            *suspect = options.ridge == 0.0;
        }
    }
    Ok(())
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
