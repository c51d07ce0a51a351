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

/// Where there is a ridge, a class of weight 0 and atom 0 costs nothing, so that the best of K classes is as good as that of fewer: tries the
/// winner without its smallest class, in a few evaluations, and goes on as long as nothing is lost by it. `beta`: L numbers.
pub(super) fn empty_classes(
    problem: &Problem<'_, '_>,
    options: &FitOptions<'_>,
    em: &mut Em<'_>,
    best: &mut Place<'_>,
    run: &mut Run<'_>,
    report: &mut FitReport,
    beta: &mut [f64],
    mut ws: Workspace<'_>,
) -> Result<()> {
    let (data, k, l) = (run.data, best.weights.len(), beta.len());
    let (weights, atoms) = (ws.f64s(k)?, ws.f64s(k * l)?);
    let parameters = (k - 1 + k * problem.wh.rank) as f64;
    for _ in 1..k {
        carry_on(problem, options, em, best, run, report, ws.scope())?;
        let live = || (0..k).filter(|&c| !is_empty_class(best.weights[c]));
        let Some(smallest) = live().min_by(|&a, &b| best.weights[a].total_cmp(&best.weights[b])) else { break };
        if live().count() < 2 || run.spent() {
            break;
        }
        weights.copy_from_slice(best.weights);
        atoms.copy_from_slice(best.atoms);
        best.weights[smallest] = 0.0;
        best.atoms[smallest * l..(smallest + 1) * l].fill(0.0);
        let rest: f64 = best.weights.iter().sum();
        best.weights.iter_mut().for_each(|w| *w /= rest);
        em.restart(1);
        em.ev.evaluate_value(data, best.weights, best.atoms, false, problem.ctx)?;
        run.state.evaluations += 1;
        let (f, before) = (em.ev.value[0] - problem.penalty(best.atoms, beta), report.penalized_log_likelihood);
        let slight = 1e-12 * before.abs();
        // What is as good must be as good an end.
        let ended = report.outcome == Outcome::Converged;
        let wins = |found: &FitReport| {
            let gain = found.penalized_log_likelihood - before;
            gain > slight || gain >= -slight && (!ended || found.outcome == Outcome::Converged)
        };
        let mut won = None;
        if f + TAKEN * parameters >= before && !run.spent() {
            let limit = options.max_evaluations.min(run.state.evaluations + POLISH);
            // Until it has won it is one that races with the winner.
            (run.state.racing, run.state.running) = (true, 1);
            match finish(problem, &FitOptions { max_evaluations: limit, ..*options }, true, em, best, run, ws.scope()) {
                Err(error) if error.kind == ErrorKind::NotFinite => data.reduced()?,
                found => won = Some(found?).filter(wins),
            }
            (run.state.racing, run.state.running) = (false, 0);
        }
        let Some(found) = won else {
            best.weights.copy_from_slice(weights);
            best.atoms.copy_from_slice(atoms);
            break;
        };
        *report = FitReport { best_start: report.best_start, ..found };
        run.state.best = found.penalized_log_likelihood;
        run.tell_of_start(found.penalized_log_likelihood);
    }
    Ok(())
}

/// Carries the winner on where its share of the evaluations stopped it. Whether it did.
fn carry_on(
    problem: &Problem<'_, '_>,
    options: &FitOptions<'_>,
    em: &mut Em<'_>,
    best: &mut Place<'_>,
    run: &mut Run<'_>,
    report: &mut FitReport,
    ws: Workspace<'_>,
) -> Result<bool> {
    let goes_on = report.stop == StopRule::Evaluations && !run.spent();
    if goes_on {
        let found = finish(problem, options, true, em, best, run, ws)?;
        *report = FitReport { best_start: report.best_start, ..found };
    }
    Ok(goes_on)
}

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
    if carry_on(problem, options, em, best, run, report, ws.scope())? {
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
