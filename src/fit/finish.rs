//! The finish: one start carried to its end on the observed likelihood, EM being the fallback.

use super::race::Problem;
use super::{
    FitOptions, FitReport, Outcome, Progress, STILL, StopRule, newton_is_cheap, newton_is_dear, newton_pays, newton_serves, race_form,
};
use crate::data::{Data, Shape};
use crate::em::Em;
use crate::error::{Error, ErrorKind, Result};
use crate::mixture::{MixtureRef, canonical_order};
use crate::optimize::lbfgs::{lbfgs, lbfgs_workspace};
use crate::optimize::newton::{newton, newton_workspace};
use crate::optimize::{Objective, Stop};
use crate::workspace::{Workspace, WorkspaceSize};
use core::cell::Cell;

/// The run of a fit: where it stands, its budget and the callback.
pub(crate) struct Run<'a> {
    pub data: &'a Data<'a>,
    pub state: Progress,
    pub progress: &'a mut dyn FnMut(&Progress) -> bool,
    pub cancelled: bool,
    pub limit: u64,
    /// By how much values exceed those that they are estimates of, where they are of a sample.
    pub excess: Option<f64>,
    /// The pace of the start being finished, where it may be given up.
    pub pace: Option<Pace>,
    /// f where the start finished last began.
    pub entered: f64,
    /// Whether the start finished last may run off, as far as Newton's method has seen.
    pub still: bool,
    /// The best that the callback was told of.
    pub told: f64,
    /// Whether the winner is polished, which may be undone.
    pub polishes: bool,
}

impl<'a> Run<'a> {
    /// `told`: the best that the callback was told of before.
    pub fn new(data: &'a Data<'a>, state: Progress, told: f64, progress: &'a mut dyn FnMut(&Progress) -> bool, limit: u64) -> Self {
        let entered = f64::NEG_INFINITY;
        Run { data, state, progress, cancelled: false, limit, excess: None, pace: None, entered, still: false, told, polishes: false }
    }

    /// Tells the callback that the fit stands at `now`, unless it has said no before.
    pub fn tell(&mut self, now: Progress) {
        if !self.cancelled {
            let (current, best) = (now.current - self.excess.unwrap_or(0.0), self.told.max(now.best));
            self.cancelled = !(self.progress)(&Progress { current, best, ..now });
            // One rank speaks for all.
            self.cancelled = self.data.any(self.cancelled);
        }
    }

    /// Tells it that the start being finished stands at f, the best if it is.
    pub fn tell_of_start(&mut self, f: f64) {
        self.state.current = f;
        if self.excess.is_none() && !self.polishes {
            self.told = self.told.max(f);
        }
        self.tell(self.state);
    }

    /// Steps of EM of one start on `data`, as many as the budget holds. `beta`: L numbers.
    pub fn steps(
        &mut self,
        problem: &Problem<'_, '_>,
        data: &Data<'_>,
        options: &FitOptions<'_>,
        em: &mut Em<'_>,
        place: &mut Place<'_>,
        steps: usize,
        beta: &mut [f64],
    ) -> Result<()> {
        em.restart(1);
        for step in 1..=steps {
            if self.cancelled || self.state.evaluations + 1 >= options.max_evaluations {
                break;
            }
            // The penalty is that of the atoms where the step begins, as the value is.
            let penalty = problem.penalty(place.atoms, beta);
            em.more = step < steps;
            em.step(data, problem.wh, options.ridge, race_form(&data.shape()), place.weights, place.atoms, options.context)?;
            self.state.evaluations += 1;
            self.tell_of_start(em.value[0] - penalty);
        }
        Ok(())
    }

    /// Whether the fit must end.
    pub fn spent(&self) -> bool {
        self.cancelled || self.state.evaluations >= self.limit
    }
}

/// A mixture on its way, and what its parameters are packed in.
pub(crate) struct Place<'a> {
    /// K weights and K × L atoms.
    pub weights: &'a mut [f64],
    pub atoms: &'a mut [f64],
    /// The parameters and the gradient, `K − 1 + K r` numbers each.
    pub v: &'a mut [f64],
    pub g: &'a mut [f64],
    /// K numbers.
    pub order: &'a mut [usize],
}

impl Place<'_> {
    pub fn mixture(&self) -> MixtureRef<'_> {
        MixtureRef { weights: self.weights, atoms: self.atoms }
    }

    /// Packs the parameters, with the largest class last: log-odds are against it.
    pub fn pack(&mut self, o: &mut Objective<'_, '_, '_>) {
        canonical_order(self.weights, self.atoms, self.order);
        let l = o.wh.columns;
        for (j, &c) in self.order.iter().rev().enumerate() {
            o.weights[j] = self.weights[c];
            o.atoms[j * l..(j + 1) * l].copy_from_slice(&self.atoms[c * l..(c + 1) * l]);
        }
        self.weights.copy_from_slice(o.weights);
        self.atoms.copy_from_slice(o.atoms);
        o.pack(self.weights, self.atoms, self.v);
    }
}

/// The gradient, over all choices, from which on Newton's method takes over from L-BFGS where it pays; and the same where a step costs
/// little more than one of L-BFGS, which leads through the first region alone, where the likelihood is not concave.
const NEWTON_FROM: f64 = 1e-3;
const CHEAP_NEWTON_FROM: f64 = 1e-1;
/// Evaluations of L-BFGS after which Newton's method takes over where a step of it costs as much as many of them, and where it costs as
/// much as more.
const PATIENCE: u64 = 60;
const ENDURANCE: u64 = 600;

/// Down to which gradient L-BFGS goes, and in how many evaluations, if it goes before Newton's method or alone.
fn lead_of_lbfgs(shape: &Shape, classes: usize, raced: bool, tolerance: f64) -> Option<(f64, u64)> {
    let from = if newton_is_cheap(shape, classes) { CHEAP_NEWTON_FROM } else { NEWTON_FROM };
    match newton_pays(shape, classes) {
        false if newton_serves(shape, classes) => Some((tolerance, ENDURANCE)),
        false => Some((tolerance, u64::MAX)),
        true if newton_is_dear(shape, classes) => Some((tolerance, PATIENCE)),
        // After a race the first region, where the likelihood is not concave, is behind.
        true if shape.units_are_draws && !raced => Some((tolerance.max(from), u64::MAX)),
        true => None,
    }
}

/// Workspace of a finish, but for the objective.
pub(super) fn finish_workspace(shape: &Shape, k: usize) -> WorkspaceSize {
    let newton = if newton_serves(shape, k) { newton_workspace(shape, k) } else { WorkspaceSize::EMPTY };
    match lead_of_lbfgs(shape, k, false, 0.0) {
        Some(_) => newton.or(lbfgs_workspace(shape, k)),
        None => newton,
    }
}

/// Evaluations over which the pace of a start is taken.
const STRETCH: u64 = 20;

/// The pace of a start, which tells whether it will come to the best in its share of the evaluations.
///
/// With more classes than there are, some follow the noise: starts end in optima of their own, apart by less than the data can tell, in
/// valleys so narrow that they take hundreds of evaluations. Gains shrink on the way, so that one which would not come to the best at twice
/// its pace does not.
pub(crate) struct Pace {
    /// The best so far, and how far below it the data can tell nothing.
    best: f64,
    noise: f64,
    /// Evaluations after which the share is spent.
    share: u64,
    /// Evaluations, and f, where the stretch began.
    from: Option<(u64, f64)>,
}

impl Pace {
    /// What the data can tell nothing of is one unit of the log-likelihood for every parameter, or the hundredth part of one for every
    /// unit, whose weights may be shares of a whole.
    pub fn new(best: f64, parameters: usize, units: f64, share: u64) -> Self {
        Pace { best, noise: (parameters as f64).min(0.01 * units), share, from: None }
    }

    /// Whether the start, at f after so many evaluations, would not come to the best at twice its pace.
    fn is_short(&mut self, f: f64, evaluations: u64) -> bool {
        let (since, before) = *self.from.get_or_insert((evaluations, f));
        if evaluations < since + STRETCH {
            return false;
        }
        self.from = Some((evaluations, f));
        let gain = (f - before) * self.share.saturating_sub(evaluations) as f64 / (evaluations - since) as f64;
        f < self.best && f + self.noise >= self.best && f + 2.0 * gain < self.best
    }
}

/// Carries one start to its end on the data of the run, or gives it up where its pace is short, and reports but for what only the whole fit
/// knows.
pub(crate) fn finish(
    problem: &Problem<'_, '_>,
    options: &FitOptions<'_>,
    raced: bool,
    em: &mut Em<'_>,
    place: &mut Place<'_>,
    run: &mut Run<'_>,
    mut ws: Workspace<'_>,
) -> Result<FitReport> {
    let (data, wh, ctx, k) = (run.data, problem.wh, problem.ctx, options.classes);
    let shape = data.shape();
    let pays = newton_pays(&shape, k);
    let spent = run.state.evaluations;
    // Where it is polished a start is near its end, which few steps of Newton come to.
    let lead = if run.polishes { None } else { lead_of_lbfgs(&shape, k, raced, options.gradient_tolerance) };
    let limit = options.max_evaluations.saturating_sub(spent).max(1);
    let mut attempt = 0;
    loop {
        let (mut inner, mut short) = (ws.scope(), false);
        let (stop, f, log_likelihood, norm, evaluations) = {
            let mut o = Objective::new(data, wh, options.ridge, ctx, &mut em.ev, limit, &mut inner)?;
            place.pack(&mut o);
            let (v, g) = (&mut *place.v, &mut *place.g);
            o.evaluations = run.state.evaluations - spent;
            // One evaluation of the exact features follows at least one of the copy.
            if !pays && attempt == 0 && limit > 1 && !core::ptr::eq(problem.data, data) {
                (o.data, o.exact) = (problem.data, Some(data));
            }
            o.once.serves &= lead.is_some() && !newton_is_cheap(&shape, k);
            let Some(mut f) = o.evaluate_apart(v, g) else {
                data.reduced()?;
                return Err(Error::new(ErrorKind::NotFinite, "log-likelihood"));
            };
            run.entered = if attempt == 0 { f } else { run.entered };
            // Newton's method has a pace of its own.
            let alone = Cell::new(!pays);
            let mut report = |f: f64, evaluations: u64| {
                run.state.evaluations = spent + evaluations;
                run.tell_of_start(f);
                short = alone.get() && run.pace.as_mut().is_some_and(|pace| pace.is_short(f, evaluations));
                !run.cancelled && !short
            };
            let tolerance = options.gradient_tolerance;
            let mut stop = match (report(f, o.evaluations), lead) {
                (false, _) => {
                    // What is told at the end is of the features as they are.
                    if o.exact.is_some() {
                        f = o.refine(v, g).ok_or(Error::new(ErrorKind::NotFinite, "log-likelihood"))?;
                    }
                    Stop::Cancelled
                }
                (true, None) => Stop::Gradient,
                (true, Some((tolerance, patience))) => {
                    o.limit = limit.min(o.evaluations.saturating_add(patience));
                    lbfgs(&mut o, v, &mut f, g, tolerance, &mut report, inner.scope())?
                }
            };
            if o.limit < limit && stop == Stop::Limit {
                stop = Stop::Stalled;
            }
            o.limit = limit;
            let done = lead.is_some_and(|lead| lead.0 <= tolerance) && stop == Stop::Gradient;
            let stop = match stop {
                Stop::Gradient | Stop::Rounding | Stop::Stalled if newton_serves(&shape, k) && !done => {
                    alone.set(true);
                    newton(&mut o, v, &mut f, g, tolerance, &mut report, inner.scope())?
                }
                stop => stop,
            };
            o.unpack(v);
            place.weights.copy_from_slice(o.weights);
            place.atoms.copy_from_slice(o.atoms);
            run.still = o.still;
            (stop, f, o.log_likelihood, o.norm(g), o.evaluations)
        };
        run.state.evaluations = spent + evaluations;
        // What promised nothing may have been a step kept short.
        let stop = if stop == Stop::Rounding && !may_be_none(data, norm)? { Stop::Stalled } else { stop };
        let (outcome, rule) = match stop {
            Stop::Gradient => (Outcome::Converged, StopRule::Gradient),
            Stop::Rounding => (Outcome::Converged, StopRule::Rounding),
            Stop::Stalled => (Outcome::Stalled, StopRule::NoAscent),
            Stop::Limit => (Outcome::IterationLimit, StopRule::Evaluations),
            Stop::Cancelled if short => (Outcome::IterationLimit, StopRule::Evaluations),
            Stop::Cancelled => (Outcome::Cancelled, StopRule::Callback),
        };
        let report = FitReport {
            log_likelihood,
            penalized_log_likelihood: f,
            outcome,
            stop: rule,
            gradient_norm: norm,
            evaluations: 0,
            passes: 0,
            starts: 0,
            at_best: 0,
            best_start: 0,
            rank: wh.rank,
        };
        if stop != Stop::Stalled || attempt == 2 {
            return Ok(report);
        }
        attempt += 1;
        // EM is the fallback: it ascends wherever ascent is left.
        run.steps(problem, data, options, em, place, 10, ws.scope().f64s(wh.columns)?)?;
    }
}

/// Whether a gradient of this norm may be what rounding leaves of none: of logits as large as the offsets the last digits are lost.
fn may_be_none(data: &Data<'_>, norm: f64) -> Result<bool> {
    if norm <= STILL {
        return Ok(true);
    }
    let finite = data.offset().into_iter().flatten().filter(|b| b.is_finite());
    let mut largest = [finite.fold(0.0, |m, b| f64::max(m, b.abs()))];
    data.max(&mut largest)?;
    Ok(norm <= 16.0 * f64::EPSILON * largest[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a start of f after so many evaluations is given up, of a share of 200, with the best at -100 and 10 parameters.
    fn given_up(f: impl Fn(u64) -> f64) -> Option<u64> {
        let mut pace = Pace::new(-100.0, 10, 1e4, 200);
        (60..200).step_by(3).find(|e| pace.is_short(f(*e), *e))
    }

    #[test]
    fn a_start_is_given_up_where_its_pace_is_short_of_the_best_and_the_data_can_tell_nothing() {
        // It closes in on an optimum 3 below the best.
        let closes_in = |at: f64| move |e: u64| at - libm::exp(-(e as f64 - 60.0) / 10.0);
        assert_eq!(given_up(closes_in(-103.0)), Some(102));
        // The best itself, and better.
        assert_eq!(given_up(closes_in(-100.0)), None);
        assert_eq!(given_up(closes_in(-99.9)), None);
        // Something that the data tell from the best.
        assert_eq!(given_up(closes_in(-120.0)), None);
        // A steady pace that comes to the best in time, and one that does not.
        assert_eq!(given_up(|e| -109.0 + (e as f64 - 60.0) * 0.08), None);
        assert_eq!(given_up(|e| -109.0 + (e as f64 - 60.0) * 0.03), Some(81));
        // Units whose weights are shares of a whole: 3 below the best is far.
        let mut pace = Pace::new(-100.0, 10, 1.0, 200);
        assert!((60..200).all(|e| !pace.is_short(-103.0, e)));
        // Nothing is said before a stretch is over.
        let mut pace = Pace::new(-100.0, 10, 1e4, 200);
        assert!((60..80).all(|e| !pace.is_short(-103.0, e)) && pace.is_short(-103.0, 80));
    }
}
