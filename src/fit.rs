//! The driver: options, progress and cancellation, the race of starts, the finish, and the outcome.
//!
//! Starts run as columns of one product: a few steps of EM each, then the worst fall out, and the survivors are finished one by one on the
//! observed likelihood, by Newton's method where its curvature is cheap beside an evaluation and by L-BFGS elsewhere, EM being the fallback.
//! Unless those that are finished agree on the best, and are enough of the starts, more are drawn.

use crate::data::{Data, Shape};
use crate::em::{Em, MStep, VANISHED};
use crate::error::{Error, ErrorKind, Result};
use crate::finish::{Place, Run, finish};
use crate::linalg::dot;
use crate::mixture::{MixtureRef, canonical_order};
use crate::optimize::Objective;
use crate::optimize::divergence::{candidate, diverging, diverging_workspace};
use crate::optimize::lbfgs::lbfgs_workspace;
use crate::optimize::newton::newton_workspace;
use crate::optimize::single::{single_copy, single_copy_workspace};
use crate::parallel::Context;
use crate::race::{Problem, Race};
use crate::reduce::Operation;
use crate::starts::StartKind;
use crate::starts::sample::{self, Way};
use crate::whiten::Whitening;
#[cfg(feature = "alloc")]
use crate::workspace::owned;
use crate::workspace::{Workspace, WorkspaceSize};

/// Which starts a fit tries.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Starts<'a> {
    /// The library's own rule: see [`default_starts`]; more when they do not agree. On one choice set of more than a hundred thousand alternatives starts race on
    /// a sample of them, and are finished on all.
    Auto,
    /// Exactly so many, of the kinds of `Auto`.
    Count(usize),
    /// This one alone.
    Given(MixtureRef<'a>),
}

/// Options of a fit.
#[derive(Clone, Copy, Debug)]
pub struct FitOptions<'a> {
    /// Number of classes K, from 1 to the number of units with a positive weight.
    pub classes: usize,
    /// Ridge λ ≥ 0, in observations; 0 is maximum likelihood.
    pub ridge: f64,
    /// Seed of the random starts.
    pub seed: u64,
    /// Which starts to try.
    pub starts: Starts<'a>,
    /// A fit of one class less, from which some of the first starts of `Auto` and `Count` grow; see [`crate::scan`].
    pub grow: Option<MixtureRef<'a>>,
    /// Value-and-gradient evaluations over all starts after which the fit ends. What is under way then is finished first: a step of all starts that
    /// race in one product, one evaluation that a start must have, the check whether classes run off.
    pub max_evaluations: u64,
    /// Converged when the largest entry of the gradient, in log-odds and whitened atoms, over all choices, is at most this.
    pub gradient_tolerance: f64,
    /// Whether, on one choice set, starts race and L-BFGS takes its first steps on a copy of the features in f32: half the memory to read, for a copy of
    /// p × L numbers in the workspace. Where Newton's method finishes, it is the race alone. Off by default. The result is that of the features as they are given: the last
    /// steps are taken on them, and the log-likelihoods of finished starts are theirs; those of starts that fell out, and of early steps, are of the copy.
    /// Data that are one rank's part of a whole are read as they are.
    pub single_phase: bool,
    /// Instruction set and threads.
    pub context: Context,
    /// Whether an owned [`Fit`] keeps the path of the start that won.
    pub keep_path: bool,
}

impl FitOptions<'_> {
    /// The defaults for K classes: no ridge, seed 0, automatic starts, 1e-8, a million evaluations.
    pub fn new(classes: usize) -> Self {
        FitOptions {
            classes,
            ridge: 0.0,
            seed: 0,
            starts: Starts::Auto,
            grow: None,
            max_evaluations: 1_000_000,
            gradient_tolerance: 1e-8,
            single_phase: false,
            context: Context::default(),
            keep_path: false,
        }
    }

    /// What all ranks of a distributed run must have in common.
    fn numbers(&self) -> impl Iterator<Item = f64> {
        let (rule, count, given) = match self.starts {
            Starts::Auto => (0.0, 0, None),
            Starts::Count(n) => (1.0, n, None),
            Starts::Given(m) => (2.0, 0, Some(m)),
        };
        let others = [(self.seed >> 32) as f64, (self.seed & 0xffff_ffff) as f64, f64::from(u8::from(self.single_phase))];
        let numbers = [self.classes as f64, self.ridge, rule, count as f64, self.max_evaluations as f64, self.gradient_tolerance];
        numbers.into_iter().chain(others).chain(given.into_iter().chain(self.grow).flat_map(MixtureRef::numbers))
    }

    fn check(&self, data: &Data<'_>) -> Result<()> {
        let option = |name| Err(Error::new(ErrorKind::InvalidOption, name));
        if self.classes == 0 {
            return Err(Error::new(ErrorKind::Empty, "classes"));
        }
        if self.classes > data.observed_units() {
            return Err(Error::new(ErrorKind::TooManyClasses, "classes").sizes(data.observed_units(), self.classes));
        }
        if !(self.ridge >= 0.0 && self.ridge.is_finite()) {
            return option("ridge");
        }
        if !(self.gradient_tolerance > 0.0 && self.gradient_tolerance.is_finite()) {
            return option("gradient_tolerance");
        }
        if self.max_evaluations == 0 {
            return option("max_evaluations");
        }
        if self.context.threads == 0 {
            return option("threads");
        }
        if let Some(m) = self.grow {
            MixtureRef::new(m.weights, m.atoms, data.features().columns())?;
            if m.classes() + 1 != self.classes {
                return Err(Error::shape("grow", self.classes - 1, m.classes()));
            }
        }
        match self.starts {
            Starts::Count(0) => option("starts"),
            Starts::Given(m) => {
                MixtureRef::new(m.weights, m.atoms, data.features().columns())?;
                match m.classes() == self.classes {
                    true => Ok(()),
                    false => Err(Error::shape("starts", self.classes, m.classes())),
                }
            }
            _ => Ok(()),
        }
    }
}

/// How a fit ended. None of these is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The gradient is within the tolerance, or the predicted gain below rounding, and no class runs off.
    Converged,
    /// The budget of evaluations is spent.
    IterationLimit,
    /// No step ascends although the gradient is above the tolerance, or a thousand of Newton's have not come there.
    Stalled,
    /// A class runs off to infinity: the likelihood has no finite maximum there. A ridge penalty gives one.
    Diverging,
    /// The callback asked for an end.
    Cancelled,
}

impl Outcome {
    /// The outcome in a word.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Converged => "converged",
            Outcome::IterationLimit => "iteration_limit",
            Outcome::Stalled => "stalled",
            Outcome::Diverging => "diverging",
            Outcome::Cancelled => "cancelled",
        }
    }
}

/// Which rule stopped the start that won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopRule {
    /// The gradient tolerance.
    Gradient,
    /// A predicted gain below the rounding of the log-likelihood.
    Rounding,
    /// No ascent, or none that comes to an end.
    NoAscent,
    /// The budget of evaluations.
    Evaluations,
    /// The callback.
    Callback,
}

/// Where a fit stands, for the callback.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Starts finished.
    pub finished: usize,
    /// Starts drawn so far.
    pub drawn: usize,
    /// Whether starts are still racing; else `start` is being finished.
    pub racing: bool,
    /// Starts still racing: 0 while one is being finished.
    pub running: usize,
    /// The start being finished, in the order drawn.
    pub start: usize,
    /// Evaluations so far, over all starts.
    pub evaluations: u64,
    /// The best penalised log-likelihood so far.
    pub best: f64,
    /// The penalised log-likelihood of the start at hand (of the best of those racing).
    pub current: f64,
}

/// What a fit found, beside the mixture.
#[derive(Clone, Copy, Debug)]
pub struct FitReport {
    /// ℓ, without penalty and multinomial coefficients.
    pub log_likelihood: f64,
    /// ℓ less the ridge penalty.
    pub penalized_log_likelihood: f64,
    /// How it ended.
    pub outcome: Outcome,
    /// Which rule stopped the start that won.
    pub stop: StopRule,
    /// The largest entry of the penalised gradient in log-odds and whitened atoms, over `Σ_u w_u Σ_i c_ui`.
    pub gradient_norm: f64,
    /// Value-and-gradient evaluations over all starts.
    pub evaluations: u64,
    /// Reads of the features; those of a sample of them count as that share.
    pub passes: u64,
    /// Starts drawn.
    pub starts: usize,
    /// Starts that ended within 1e-8 |f| of the best, f the penalised log-likelihood.
    pub at_best: usize,
    /// The start that won, in the order drawn.
    pub best_start: usize,
    /// Rank of the features inside choice sets.
    pub rank: usize,
}

/// Where a fit writes.
#[derive(Debug)]
pub struct FitOutput<'a> {
    /// K mixing weights, in canonical order.
    pub weights: &'a mut [f64],
    /// K × L atoms.
    pub atoms: &'a mut [f64],
    /// Classes that run off.
    pub diverging: &'a mut [bool],
    /// Features that are not identified.
    pub unidentified: &'a mut [bool],
    /// Penalised log-likelihood at the end of every start, [`max_starts`] numbers: an estimate for those that fell out of a race on a sample.
    pub start_values: &'a mut [f64],
    /// The kind of every start.
    pub start_kinds: &'a mut [StartKind],
}

impl FitOutput<'_> {
    fn check(&self, shape: &Shape, options: &FitOptions<'_>) -> Result<()> {
        let (k, l, n) = (options.classes, shape.columns, max_starts(shape, options));
        let lengths = [
            ("weights", k, self.weights.len()),
            ("atoms", k.saturating_mul(l), self.atoms.len()),
            ("diverging", k, self.diverging.len()),
            ("unidentified", l, self.unidentified.len()),
            ("start_values", n, self.start_values.len()),
            ("start_kinds", n, self.start_kinds.len()),
        ];
        match lengths.iter().find(|(_, needed, given)| needed != given) {
            Some((name, needed, given)) => Err(Error::shape(name, *needed, *given)),
            None => Ok(()),
        }
    }
}

/// How often `Auto` draws at most.
const BATCHES: usize = 12;
/// Numbers of features from which a choice set of counts is large: past the fast caches.
const LARGE: usize = 1 << 15;
/// Evaluations that polish the winner, at most.
const POLISH: u64 = 30;
/// Evaluations that finish a start of `Auto`, at most, and on a large choice set: where the likelihood is nearly flat it is the winner alone that goes on to
/// the end.
const EACH: u64 = 1000;
const EACH_LARGE: u64 = 200;
/// Evaluations that take a start from its end on a sample to that on all rows where no class follows the noise: 10 to 20.
const NEAR: u64 = 24;
/// `Auto` ends when so many draws in a row found nothing better, and sooner when independent starts agree on the best.
const IDLE: usize = 4;
/// The same on counts, whose later draws are small; large choice sets end sooner.
const IDLE_COUNTS: usize = 6;
const IDLE_LARGE: usize = 3;

/// Starts that `Auto` draws at once: as many as cost about as much as a second's work, from 24 to 120 where units make several choices,
/// from 6 to 64 on counts. One for one class.
pub fn default_starts(shape: &Shape, classes: usize) -> usize {
    if classes <= 1 {
        return 1;
    }
    let l = shape.columns;
    let step = shape.total_rows.saturating_mul(l).saturating_mul(classes).saturating_mul(if race_form(shape) == MStep::Newton {
        l / 2 + 6
    } else {
        6
    });
    let (least, most) = if shape.units_are_draws { (6, 64) } else { (24, 120) };
    (100_000_000 / step.max(1)).clamp(least, most)
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
fn batch_size(shape: &Shape, options: &FitOptions<'_>) -> usize {
    let affordable = usize::try_from(options.max_evaluations / 20).unwrap_or(usize::MAX).max(1);
    default_starts(shape, options.classes).min(max_starts(shape, options)).min(affordable)
}

/// The M-step of the race: Newton where its curvature is cheap.
pub(crate) fn race_form(shape: &Shape) -> MStep {
    if shape.columns <= 32 { MStep::Newton } else { MStep::Gradient }
}

/// The products of the dense information over those of an evaluation; of counts over one choice set half as many are needed.
fn information_cost(shape: &Shape, classes: usize) -> f64 {
    let (p, l, k) = (shape.total_rows as f64, shape.columns as f64, classes as f64);
    l / 6.0 + shape.total_units as f64 * k * l / (6.0 * p)
}

/// Whether a step of Newton's method costs little more than one of L-BFGS.
pub(crate) fn newton_is_cheap(shape: &Shape, classes: usize) -> bool {
    information_cost(shape, classes) <= 4.0
}

/// Whether L-BFGS, which reads X once a step, is likely to come to the end sooner on counts over one choice set.
pub(crate) fn newton_is_dear(shape: &Shape, classes: usize) -> bool {
    shape.units_are_draws && information_cost(shape, classes) > 10.0
}

/// Whether the dense information is cheap beside an evaluation.
pub(crate) fn newton_pays(shape: &Shape, classes: usize) -> bool {
    let parameters = classes as f64 * (shape.columns as f64 + 1.0);
    // Scores of units whose choices are on several ranks would have to be put together one by one.
    !shape.units_are_split && information_cost(shape, classes) <= 30.0 && parameters <= 400.0
}

/// Whether the early phase may read a copy in single precision. Ranks have none: each would shift its rows by one of its own.
fn has_single_phase(shape: &Shape, options: &FitOptions<'_>) -> bool {
    options.single_phase && shape.sets == 1 && !shape.is_part()
}

/// Workspace of [`fit`].
pub fn fit_workspace(shape: &Shape, options: &FitOptions<'_>) -> WorkspaceSize {
    let of = WorkspaceSize::of::<f64>;
    let (k, l) = (options.classes, shape.columns);
    let (kl, d) = (k.saturating_mul(l), k.saturating_mul(l.saturating_add(1)));
    let held = of(k).and(of(kl)).and(WorkspaceSize::of::<usize>(k)).and(of(d)).and(of(d));
    let race = Race::workspace(shape, k, batch_size(shape, options));
    let finish = finish_workspace(shape, k);
    let single = if has_single_phase(shape, options) { single_copy_workspace(shape) } else { WorkspaceSize::EMPTY };
    let diverging = diverging_workspace(shape, k, race_form(shape) == MStep::Newton);
    let drawn = k > 1 && !matches!(options.starts, Starts::Given(_));
    let draw = if drawn { Race::draw_workspace(shape, k, batch_size(shape, options)) } else { WorkspaceSize::EMPTY };
    // Where a sample serves for the race, it may turn out that it does not.
    let (race, draw, finish) = match sample_size(shape, options) {
        Some(n) => {
            let of_sample = sample::shape_of(shape, n);
            let taken = sample::workspace(shape, n);
            let em = Em::workspace(shape, k, 1, race_form(shape) == MStep::Newton);
            let batch = batch_size(shape, options);
            let sampled = taken.and(taken).and(Race::workspace(&of_sample, k, batch)).and(em);
            (race.or(sampled), draw.or(Race::draw_workspace(&of_sample, k, batch)), finish.or(finish_workspace(&of_sample, k)))
        }
        None => (race, draw, finish),
    };
    Whitening::workspace(shape).and(single).and(race).and(held).and(Objective::workspace(l, k).and(finish.or(diverging)).or(draw))
}

/// Workspace of a finish, but for the objective.
fn finish_workspace(shape: &Shape, k: usize) -> WorkspaceSize {
    match newton_pays(shape, k) {
        true if shape.units_are_draws => newton_workspace(shape, k).or(lbfgs_workspace(shape, k)),
        true => newton_workspace(shape, k),
        false => lbfgs_workspace(shape, k),
    }
}

/// Of how many rows starts race, if not of all: see `starts/sample.rs`.
fn sample_size(shape: &Shape, options: &FitOptions<'_>) -> Option<usize> {
    let searches = options.classes > 1 && !matches!(options.starts, Starts::Given(_));
    sample::size(shape, options.classes).filter(|_| searches)
}

/// Fits the mixture. `progress` is called after every step and cancels the fit by answering false: the best so far is the result.
/// The mixture is written at the end, or not at all when an error is returned.
///
/// # Errors
/// `TooManyClasses`, `InvalidOption`, `OutOfRange` for a feature whose variance is beyond the range of f64, `Shape` for outputs of the wrong length,
/// `Workspace`, and what is wrong with a given start.
pub fn fit(
    data: &Data<'_>,
    options: &FitOptions<'_>,
    progress: &mut dyn FnMut(&Progress) -> bool,
    out: FitOutput<'_>,
    mut ws: Workspace<'_>,
) -> Result<FitReport> {
    let shape = data.shape();
    let check = || {
        options.check(data)?;
        out.check(&shape, options)?;
        ws.require(fit_workspace(&shape, options))
    };
    data.open(check(), Operation::Fit, options.numbers())?;
    let (k, l, ctx) = (options.classes, shape.columns, options.context);
    // Moments and the penalty are about the covariance of all rows; the rest needs coordinates alone.
    let wh = match options.starts {
        Starts::Given(_) if options.ridge == 0.0 => Whitening::sampled(data, ctx.isa, &mut ws)?,
        _ => Whitening::new(data, ctx.isa, &mut ws)?,
    };
    let batch = batch_size(&shape, options);
    let single = if has_single_phase(&shape, options) { single_copy(data, ctx, &mut ws)? } else { None };
    let problem = Problem { data: single.as_ref().unwrap_or(data), wh: &wh, ridge: options.ridge, ctx, seed: options.seed };
    let samples = match sample_size(&shape, options).filter(|n| sample::serves(data, *n)) {
        Some(n) => {
            let by_size = sample::take(data, n, Way::BySize, options.seed, &mut ws)?;
            let evenly = sample::take(data, n, Way::Evenly, options.seed, &mut ws)?;
            by_size.map(|(by_size, excess)| (by_size, excess, evenly.map(|(evenly, _)| evenly)))
        }
        None => None,
    };
    let racing = Problem { data: samples.as_ref().map_or(problem.data, |(by_size, ..)| by_size), ..problem };
    let of_moments = samples.as_ref().map_or(problem.data, |(by_size, _, evenly)| evenly.as_ref().unwrap_or(by_size));
    let excess = samples.as_ref().map(|(_, excess, _)| *excess);
    let mut race = Race::new(&racing, k, batch, &mut ws)?;
    // What survivors are finished with: the race's own, but where it is of a sample.
    let mut of_all = match samples {
        Some(_) => Some(Em::new(shape, k, 1, race_form(&shape) == MStep::Newton, &mut ws)?),
        None => None,
    };
    let d = k - 1 + k * wh.rank;
    let best = &mut Place { weights: ws.f64s(k)?, atoms: ws.f64s(k * l)?, v: ws.f64s(d)?, g: ws.f64s(d)?, order: ws.fill(k, 0)? };
    let total = max_starts(&shape, options);
    let mut run = Run::new(data, progress, options.max_evaluations);
    let mut report: Option<FitReport> = None;
    // Where the best has come to on the sample, and whether from there the ends on all rows are near.
    let (mut estimate, mut leads) = (f64::NEG_INFINITY, samples.is_some());
    // The best estimate of the penalised log-likelihood.
    let mut top = f64::NEG_INFINITY;
    let mut verdict = Verdict::default();
    // Whether a class of the best may run off.
    let mut suspect = false;
    // On counts the draws after the first are mostly relocations, of the best as it then is: fewer at a time.
    let later = if shape.units_are_draws { batch.div_ceil(2) } else { batch };
    if let Some(m) = options.grow {
        // A class of weight 0 is what the first relocations put somewhere.
        best.weights[..k - 1].copy_from_slice(m.weights);
        best.atoms[..(k - 1) * l].copy_from_slice(m.atoms);
    }
    while run.state.drawn < total {
        let first = run.state.drawn;
        let n = if report.is_none() { batch } else { later }.min(total - first);
        run.state.drawn += n;
        (run.state.racing, run.excess) = (true, excess);
        let known = (report.is_some() || options.grow.is_some()).then_some(best.mixture());
        race.draw(&racing, of_moments, &options.starts, first, n, known, &mut run.state, ws.scope())?;
        let (survivors, back) = race.run(&racing, n, known.filter(|_| report.is_some()), &mut run)?;
        for j in 0..n {
            out.start_values[first + race.order[j]] = race.values[j];
            out.start_kinds[first + race.order[j]] = race.kinds[j];
        }
        (run.state.racing, run.state.running, run.excess) = (false, 0, None);
        let before = run.state.best;
        // Those that are on their way to the best need not be seen to arrive there.
        (verdict.finished, verdict.alike, verdict.agree) = (back, back, verdict.agree + back);
        for j in 0..survivors {
            // Three that end alike are enough of one draw.
            if report.is_some() && run.spent() || verdict.alike >= 3 {
                break;
            }
            // Relocations begin at the best: that they end there says nothing.
            let independent = race.kinds[j] != StartKind::Relocate;
            if report.is_some() && race.came_to(&wh, j, best.mixture(), run.state.best) {
                verdict.finished += usize::from(independent);
                verdict.count(independent);
                continue;
            }
            run.state.start = first + race.order[j];
            let (w, a) = (&mut race.weights[j * k..(j + 1) * k], &mut race.atoms[j * k * l..(j + 1) * k * l]);
            let place = &mut Place { weights: w, atoms: a, v: best.v, g: best.g, order: best.order };
            let raced = n > 1 || k == 1;
            let each = |spent: u64| {
                let each = match options.starts {
                    Starts::Auto if n > 1 => spent + if is_large(&shape) { EACH_LARGE } else { EACH },
                    _ => u64::MAX,
                };
                FitOptions { max_evaluations: options.max_evaluations.min(each), ..*options }
            };
            let mut at_hand = f64::NEG_INFINITY;
            if leads {
                // To its end on the sample first: where the best has come to that and gone on, this one would follow.
                (run.data, run.excess) = (racing.data, excess);
                (run.state.racing, run.state.running) = (true, 1);
                race.em.restart(1);
                let each = each(run.state.evaluations);
                let end = finish(&racing, &each, raced, &mut race.em, place, &mut run, ws.scope())?.penalized_log_likelihood;
                (run.data, run.excess) = (data, None);
                (run.state.racing, run.state.running) = (false, 0);
                if near(end, estimate) && near(estimate, end) {
                    out.start_values[run.state.start] = run.state.best;
                    verdict.finished += usize::from(independent);
                    verdict.count(independent);
                    continue;
                }
                at_hand = end;
            }
            let em = of_all.as_mut().unwrap_or(&mut race.em);
            // A start that has not raced is led to a basin by EM; on counts L-BFGS leads.
            let warm = if raced || shape.units_are_draws || race_form(&shape) != MStep::Newton { 0 } else { 6 };
            em.restart(1);
            for _ in 0..warm {
                if run.cancelled || run.state.evaluations + 1 >= options.max_evaluations {
                    break;
                }
                em.step(problem.data, &wh, options.ridge, race_form(&shape), place.weights, place.atoms, ctx)?;
                run.state.evaluations += 1;
                run.state.current = em.ev.value[0] - problem.penalty(place.atoms, race.beta);
                run.tell(run.state);
            }
            let spent = run.state.evaluations;
            let mut found = finish(&problem, &each(spent), raced, em, place, &mut run, ws.scope())?;
            // With more classes than there are some follow the noise, and that of a sample is another.
            leads &= run.state.evaluations - spent <= NEAR;
            let f = found.penalized_log_likelihood;
            run.state.finished += 1;
            found.best_start = run.state.start;
            out.start_values[found.best_start] = f;
            // Starts that end alike to rounding are one optimum: the first one stands for it.
            if report.as_ref().is_none_or(|r| f > r.penalized_log_likelihood + 1e-12 * f.abs()) {
                best.weights.copy_from_slice(w);
                best.atoms.copy_from_slice(a);
                if !near(run.state.best, f) {
                    (verdict.alike, verdict.agree) = (0, 0);
                }
                suspect = (0..k).any(|j| {
                    let beta = &mut race.beta[..wh.rank];
                    wh.whiten_atom(&a[j * l..(j + 1) * l], beta);
                    candidate(data, &em.ev, ctx.isa, j, w[j], dot(beta, beta))
                });
                (run.state.best, estimate) = (f, at_hand);
                report = Some(found);
            }
            verdict.finished += 1;
            verdict.count(independent && near(f, run.state.best));
        }
        if samples.is_some() {
            top = race.values[..n].iter().fold(top.max(estimate), |m, f| m.max(*f));
            settle_estimates(&mut race.values[..n], race.order, run.state.best, top, &mut out.start_values[first..]);
        }
        let settled = verdict.settled(&shape, before, run.state.best, &race.values[..n], race.kinds);
        if run.spent() || matches!(options.starts, Starts::Auto) && settled {
            break;
        }
    }
    data.reduced()?;
    let Some(mut report) = report else { return Err(Error::new(ErrorKind::NotFinite, "log-likelihood")) };
    // What it becomes on the way may run off.
    let em = of_all.as_mut().unwrap_or(&mut race.em);
    suspect |= finish_winner(&problem, options, em, best, &mut run, &mut report, ws.scope())?;
    out.start_values[report.best_start] = report.penalized_log_likelihood;
    out.diverging.fill(false);
    if suspect {
        mark_diverging(&problem, em, best, &mut run, out.diverging, ws)?;
    }
    if run.cancelled {
        (report.outcome, report.stop) = (Outcome::Cancelled, StopRule::Callback);
    } else if out.diverging.iter().any(|d| *d) {
        report.outcome = Outcome::Diverging;
    }
    data.reduced()?;
    canonical_order(best.weights, best.atoms, best.order);
    for (j, &c) in best.order.iter().enumerate() {
        out.weights[j] = best.weights[c];
        out.atoms[j * l..(j + 1) * l].copy_from_slice(&best.atoms[c * l..(c + 1) * l]);
    }
    out.unidentified.copy_from_slice(wh.unidentified);
    report.at_best = out.start_values[..run.state.drawn].iter().filter(|f| near(**f, report.penalized_log_likelihood)).count();
    report.starts = run.state.drawn;
    report.evaluations = run.state.evaluations;
    // Reads of a sample are that share of reads.
    report.passes = em.ev.passes;
    if samples.is_some() {
        report.passes += race.em.ev.passes * racing.data.features().rows() as u64 / shape.rows as u64;
    }
    report.rank = wh.rank;
    Ok(report)
}

/// Estimates of a draw that raced on a sample are as far below the best as they are below `top`, the best of them. Starts that were not finished, whose values
/// are their estimates still, are not at the best.
fn settle_estimates(estimates: &mut [f64], order: &[usize], best: f64, top: f64, start_values: &mut [f64]) {
    for (f, o) in estimates.iter_mut().zip(order) {
        let value = &mut start_values[*o];
        let estimated = *value == *f;
        *f += best - top;
        if estimated {
            *value = f.min(best - 2e-8 * best.abs());
        }
    }
}

/// What the draws say of the best.
#[derive(Default)]
struct Verdict {
    /// Starts of the draw at hand that came to an end, and those of them that came to the best, relocations apart.
    finished: usize,
    alike: usize,
    /// The latter since the best was found.
    agree: usize,
    /// Draws in a row that found nothing better.
    idle: usize,
    /// On counts, whether the starts of the draw that found the best agreed.
    unanimous: bool,
}

impl Verdict {
    /// Counts a start, if it came to the best.
    fn count(&mut self, came: bool) {
        self.alike += usize::from(came);
        self.agree += usize::from(came);
    }

    /// Whether the draws are enough, after one whose starts ended their race at `values` and that took the best from `before` to `best`.
    fn settled(&mut self, shape: &Shape, before: f64, best: f64, values: &[f64], kinds: &[StartKind]) -> bool {
        let large = is_large(shape);
        // With more classes than there are, optima differ by less than the data can tell.
        let slight = if large { 1e-7 } else { 1e-8 };
        self.idle = if best > before + slight * before.abs() || before == f64::NEG_INFINITY { 0 } else { self.idle + 1 };
        // Enough agree when all that were finished do and they are a third of the starts; on a large choice set, where random starts reach the best
        // more often than not and reading it is what costs, when all that were finished do. Otherwise the best must withstand draws with relocations.
        let independent = values.iter().zip(kinds).filter(|(_, kind)| **kind != StartKind::Relocate);
        let raced = independent.filter(|(f, _)| **f >= best - 1e-6 * best.abs()).count();
        let consensus = self.alike == self.finished && (3 * raced >= values.len() || large && self.finished >= 3);
        let (idle, agree) = (self.idle, self.agree);
        if !shape.units_are_draws {
            return consensus || idle >= IDLE || idle >= 3 && agree >= 2;
        }
        // One draw in any case: narrow classes are found by relocations alone.
        self.unanimous = if idle == 0 { consensus } else { self.unanimous };
        large && (self.unanimous && idle >= 1 || idle >= IDLE_LARGE) || idle >= IDLE_COUNTS && agree >= 2 || idle >= 2 * IDLE
    }
}

/// Carries the winner on to its end, where its share of the evaluations stopped it, and past the tolerance, where that is cheap. Whether it was stopped.
fn finish_winner(
    problem: &Problem<'_, '_>,
    options: &FitOptions<'_>,
    em: &mut Em<'_>,
    best: &mut Place<'_>,
    run: &mut Run<'_>,
    report: &mut FitReport,
    mut ws: Workspace<'_>,
) -> Result<bool> {
    run.state.start = report.best_start;
    let stopped = report.stop == StopRule::Evaluations && !run.spent();
    if stopped {
        let found = finish(problem, options, true, em, best, run, ws.scope())?;
        *report = FitReport { best_start: report.best_start, ..found };
    }
    let pays = matches!(options.starts, Starts::Auto) && newton_pays(&run.data.shape(), options.classes);
    if pays && report.stop == StopRule::Gradient && !run.spent() {
        // Where the likelihood is nearly flat a small gradient is still some way off: Newton's steps are few and cheap.
        let limit = options.max_evaluations.min(run.state.evaluations + POLISH);
        let options = FitOptions { gradient_tolerance: 1e-3 * options.gradient_tolerance, max_evaluations: limit, ..*options };
        let polished = finish(problem, &options, true, em, best, run, ws)?;
        report.log_likelihood = polished.log_likelihood;
        report.penalized_log_likelihood = polished.penalized_log_likelihood;
        report.gradient_norm = polished.gradient_norm;
    }
    Ok(stopped)
}

/// Marks the classes of the best that run off, in canonical order.
fn mark_diverging(
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
        diverging(&mut o, best.v, f, race_form(&run.data.shape()) == MStep::Newton, marks, ws)?;
        // The largest class is the last of the packed parameters.
        marks.reverse();
    }
    run.state.evaluations += o.evaluations;
    Ok(())
}

/// Whether data are counts whose features are read often enough to cost.
pub(crate) fn is_large(shape: &Shape) -> bool {
    shape.units_are_draws && shape.total_rows.saturating_mul(shape.columns) > LARGE
}

/// Whether `f` is within 1e-8 of the best, relatively.
fn near(f: f64, best: f64) -> bool {
    f >= best - 1e-8 * best.abs()
}

/// Classes whose share of the choices is nothing: their atoms mean nothing.
pub fn is_empty_class(weight: f64) -> bool {
    weight <= VANISHED
}

/// A fit, owned.
#[cfg(feature = "alloc")]
#[derive(Clone, Debug)]
pub struct Fit {
    /// The mixture, classes in canonical order.
    pub mixture: crate::mixture::Mixture,
    /// How it went.
    pub report: FitReport,
    /// Classes that run off.
    pub diverging: alloc::vec::Vec<bool>,
    /// Features that are not identified.
    pub unidentified: alloc::vec::Vec<bool>,
    /// Every start in the order drawn: its kind, and its penalised log-likelihood at its end, as in [`FitOutput::start_values`].
    pub starts: alloc::vec::Vec<(StartKind, f64)>,
    /// The penalised log-likelihood after every step of the start that won, from the end of its race on; empty unless `keep_path` asked for it.
    pub path: alloc::vec::Vec<f64>,
}

#[cfg(feature = "alloc")]
impl Fit {
    /// Fits with memory of its own.
    pub fn new(data: &Data<'_>, options: &FitOptions<'_>) -> Result<Self> {
        Self::with_progress(data, options, &mut |_| true)
    }

    /// Fits with memory of its own; `progress` may cancel.
    pub fn with_progress(data: &Data<'_>, options: &FitOptions<'_>, progress: &mut dyn FnMut(&Progress) -> bool) -> Result<Self> {
        use alloc::vec::Vec;
        options.check(data).map_err(|e| data.report(e))?;
        let shape = data.shape();
        let (k, l, n) = (options.classes, shape.columns, max_starts(&shape, options));
        let buffer = crate::workspace::WorkspaceBuffer::new(fit_workspace(&shape, options));
        let mut buffer = buffer.map_err(|e| data.report(e))?;
        let outputs = || -> Result<_> {
            let mixture = (owned("weights", k, 0.0)?, owned("atoms", k.saturating_mul(l), 0.0)?);
            let flags = (owned("diverging", k, false)?, owned("unidentified", l, false)?);
            Ok((mixture, flags, owned("starts", n, f64::NEG_INFINITY)?, owned("starts", n, StartKind::Random)?))
        };
        let ((mut weights, mut atoms), (mut diverging, mut unidentified), mut start_values, mut start_kinds) =
            outputs().map_err(|e| data.report(e))?;
        let out = FitOutput {
            weights: &mut weights,
            atoms: &mut atoms,
            diverging: &mut diverging,
            unidentified: &mut unidentified,
            start_values: &mut start_values,
            start_kinds: &mut start_kinds,
        };
        // Which start wins is known at the end: the paths of all that are finished are kept till then.
        let mut paths: Vec<(usize, Vec<f64>)> = Vec::new();
        let mut keep = |state: &Progress| {
            if options.keep_path && !state.racing {
                // The winner is polished in the end: its path goes on.
                match paths.iter_mut().find(|(start, _)| *start == state.start) {
                    Some((_, path)) => path.push(state.current),
                    None => paths.push((state.start, alloc::vec![state.current])),
                }
            }
            progress(state)
        };
        let report = fit(data, options, &mut keep, out, buffer.lend())?;
        let path = paths.into_iter().find(|(start, _)| *start == report.best_start).map_or(Vec::new(), |(_, path)| path);
        let starts = start_kinds.into_iter().zip(start_values).take(report.starts).collect();
        Ok(Fit { mixture: crate::mixture::Mixture { weights, atoms }, report, diverging, unidentified, starts, path })
    }
}
