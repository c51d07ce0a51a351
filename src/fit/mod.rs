//! The driver: the race of starts, the finish, and the outcome.
//!
//! Starts run as columns of one product: a few steps of EM each (later ones of many features, one by one, a short run of L-BFGS), then the
//! worst fall out, and the survivors are finished one by one on the observed likelihood, by Newton's method where its curvature is cheap
//! beside an evaluation and elsewhere by L-BFGS, after which Newton's method ends what comes to no end; EM is the fallback. Unless those that
//! are finished agree on the best, and are enough of the starts, more are drawn.

mod doubled;
mod finish;
mod options;
#[cfg(feature = "alloc")]
mod owned;
pub(crate) mod race;
mod report;
mod rules;
mod sprint;
mod verdict;
mod winner;

use self::doubled::doubled_workspace;
use self::finish::{Pace, Place, Run, finish, finish_workspace};
use self::race::{Problem, Race, UNRACED};
use self::rules::{batch_size, has_single_phase, looks_at_curvature, sample_size, sprints};
use self::verdict::Verdict;
use self::winner::{Winner, mark_diverging, may_run_off};
use crate::data::{Data, Shape};
use crate::em::{Em, MStep};
use crate::error::{Error, ErrorKind, Result};
use crate::mixture::canonical_order;
use crate::optimize::Objective;
use crate::optimize::divergence::diverging_workspace;
use crate::optimize::single::{single_copy, single_copy_workspace};
use crate::reduce::Operation;
use crate::starts::StartKind;
use crate::starts::sample::{self, SampleSize, Way};
use crate::whiten::Whitening;
use crate::workspace::{Workspace, WorkspaceSize};
use core::ops::Range;

pub use self::options::{FitOptions, Starts};
#[cfg(feature = "alloc")]
pub use self::owned::Fit;
pub use self::report::{FitOutput, FitReport, Outcome, Progress, StopRule};
pub use self::rules::{default_starts, is_empty_class, max_starts};
pub(crate) use self::rules::{is_large, newton_is_cheap, newton_is_dear, newton_pays, newton_serves, race_form, starts_are_cheap};

/// Evaluations that finish a start of `Auto`, at most, and on a large choice set: where the likelihood is nearly flat it is the winner
/// alone that goes on to the end.
const EACH: u64 = 1000;
const EACH_LARGE: u64 = 200;
/// How many times as much as the best gained from its end on a sample to that on all another must gain for it to be carried on from there.
const GAINS: f64 = 4.0;
/// What the best gains on all alternatives from its end on a sample, relatively, from which on the sample stands for something else.
const MISLED: f64 = 0.05;
/// The gradient from which on going on without end looks like an end: where a budget ends sooner, what is left is ascent.
const STILL: f64 = 1e-4;

/// Workspace of [`fit`].
pub fn fit_workspace(shape: &Shape, options: &FitOptions<'_>) -> WorkspaceSize {
    let as_it_is = fit_workspace_of(shape, options);
    match shape.as_counts() {
        Some(all) => as_it_is.or(WorkspaceSize::of::<f64>(all.rows).and(fit_workspace_of(&all, options))),
        None => as_it_is,
    }
}

fn fit_workspace_of(shape: &Shape, options: &FitOptions<'_>) -> WorkspaceSize {
    let of = WorkspaceSize::of::<f64>;
    let (k, l) = (options.classes, shape.columns);
    let (kl, d) = (k.saturating_mul(l), k.saturating_mul(l.saturating_add(1)));
    let held = of(k).and(of(kl)).and(WorkspaceSize::of::<usize>(k)).and(of(d)).and(of(d));
    let race = Race::workspace(shape, k, batch_size(shape, options));
    let finish = finish_workspace(shape, k);
    let single = if has_single_phase(shape, options) { single_copy_workspace(shape) } else { WorkspaceSize::EMPTY };
    let diverging = diverging_workspace(shape, k, looks_at_curvature(shape, k));
    let drawn = k > 1 && !matches!(options.starts, Starts::Given(_));
    let draw = if drawn { Race::draw_workspace(shape, k, batch_size(shape, options)) } else { WorkspaceSize::EMPTY };
    let twice =
        |shape: &Shape| if drawn && sprints(shape) && !shape.is_part() { doubled_workspace(shape, k) } else { WorkspaceSize::EMPTY };
    let draw = draw.or(twice(shape));
    // Where a sample serves for the race, it may turn out that it does not.
    let (race, draw, finish) = match sample_size(shape, options) {
        Some(SampleSize { rows: n, .. }) => {
            let of_sample = sample::shape_of(shape, n);
            let taken = sample::workspace(shape, n);
            let em = Em::workspace(shape, k, 1, race_form(shape) == MStep::Newton);
            let batch = batch_size(shape, options);
            let sampled = taken.and(taken).and(Race::workspace(&of_sample, k, batch)).and(em);
            (
                race.or(sampled),
                draw.or(Race::draw_workspace(&of_sample, k, batch)).or(twice(&of_sample)),
                finish.or(finish_workspace(&of_sample, k)),
            )
        }
        None => (race, draw, finish),
    };
    let polish = of(k).and(of(kl));
    Whitening::workspace(shape)
        .and(single)
        .and(race)
        .and(held)
        .and(Objective::workspace(l, k).and(finish.and(polish).or(diverging)).or(draw))
}

/// Fits the mixture. `progress` is called after every step and cancels the fit by answering false: the best so far is the result.
/// The mixture is written at the end, or not at all when an error is returned. Units that chose once each from one choice set are fitted as
/// counts of all alternatives; so are sparse counts, but for those of several choice sets with many alternatives for every choice.
///
/// # Errors
/// `TooManyClasses`, `InvalidOption`, `NotFinite` where the log-likelihood of every start is no number, `OutOfRange` for a feature whose
/// variance is beyond the range of f64, `Shape` for outputs of the wrong length, `Workspace`, and what is wrong with a given start.
pub fn fit(
    data: &Data<'_>,
    options: &FitOptions<'_>,
    progress: &mut dyn FnMut(&Progress) -> bool,
    mut out: FitOutput<'_>,
    mut ws: Workspace<'_>,
) -> Result<FitReport> {
    let shape = data.shape();
    let check = || {
        options.check(data)?;
        out.check(&shape, options)?;
        ws.require(fit_workspace(&shape, options))
    };
    data.open(check(), Operation::Fit, options.context.isa, options.numbers())?;
    // Of units in many choice sets other starts are drawn than of counts.
    let serve = (shape.sets == 1 || shape.units_are_draws) && data.are_counts();
    let counts = if serve { Some(data.as_counts(ws.f64s(shape.rows)?)?) } else { None };
    let data = counts.as_ref().unwrap_or(data);
    let shape = data.shape();
    let (k, l, ctx) = (options.classes, shape.columns, options.context);
    // Moments and the penalty are about the covariance of all rows; the rest needs coordinates alone.
    let wh = match options.starts {
        Starts::Given(_) if options.ridge == 0.0 => Whitening::sampled(data, ctx.isa, &mut ws)?,
        _ => Whitening::new(data, ctx.isa, &mut ws)?,
    };
    let single = if has_single_phase(&shape, options) { single_copy(data, &wh, ctx, &mut ws)? } else { None };
    let problem = Problem { data: single.as_ref().unwrap_or(data), wh: &wh, ridge: options.ridge, ctx, seed: options.seed };
    let d = k - 1 + k * wh.rank;
    let mut best = Place { weights: ws.f64s(k)?, atoms: ws.f64s(k * l)?, v: ws.f64s(d)?, g: ws.f64s(d)?, order: ws.fill(k, 0)? };
    if let Some(m) = options.grow {
        // A class of weight 0 is what the first relocations put somewhere.
        best.weights[..k - 1].copy_from_slice(m.weights);
        best.atoms[..(k - 1) * l].copy_from_slice(m.atoms);
    }
    let mut begun = Begun { state: Progress::BEGUN, told: f64::NEG_INFINITY, report: None, suspect: false, passes: 0 };
    if let Some(size) = sample_size(&shape, options).filter(|size| sample::serves(data, size.rows)) {
        match search(data, &problem, options, Some(size), begun, &mut best, progress, &mut out, ws.scope())? {
            Ended::Done(report) => return Ok(report),
            Ended::Open(so_far) => begun = so_far,
        }
    }
    match search(data, &problem, options, None, begun, &mut best, progress, &mut out, ws)? {
        Ended::Done(report) => Ok(report),
        Ended::Open(_) => unreachable!("a search on all alternatives comes to an end"),
    }
}

/// What a search knows that begins where another left the best.
#[derive(Clone, Copy)]
struct Begun {
    state: Progress,
    /// The best that the callback was told of.
    told: f64,
    report: Option<FitReport>,
    /// Whether a class of the best may run off.
    suspect: bool,
    /// Reads of all features so far.
    passes: u64,
}

/// How a search ended.
enum Ended {
    Done(FitReport),
    /// On a sample starts did not agree, or it misled them: others must race on all alternatives.
    Open(Begun),
}

/// Draws starts until the best is settled, on a sample if there is one.
fn search(
    data: &Data<'_>,
    problem: &Problem<'_, '_>,
    options: &FitOptions<'_>,
    size: Option<SampleSize>,
    begun: Begun,
    best: &mut Place<'_>,
    progress: &mut dyn FnMut(&Progress) -> bool,
    out: &mut FitOutput<'_>,
    mut ws: Workspace<'_>,
) -> Result<Ended> {
    let k = options.classes;
    let shape = data.shape();
    let samples = match size {
        Some(SampleSize { rows, .. }) => {
            let by_size = sample::take(data, problem.wh, (rows, Way::BySize), options.seed, problem.ctx.isa, &mut ws)?;
            let evenly = sample::take(data, problem.wh, (rows, Way::Evenly), options.seed, problem.ctx.isa, &mut ws)?;
            let Some((by_size, excess)) = by_size else { return Ok(Ended::Open(begun)) };
            Some((by_size, excess, evenly.map(|(evenly, _)| evenly)))
        }
        None => None,
    };
    // A sample by size takes two reads.
    let begun = Begun { passes: begun.passes + if samples.is_some() { 2 } else { 0 }, ..begun };
    let racing = Problem { data: samples.as_ref().map_or(problem.data, |(by_size, ..)| by_size), ..*problem };
    let of_moments = samples.as_ref().map_or(problem.data, |(by_size, _, evenly)| evenly.as_ref().unwrap_or(by_size));
    let mut race = Race::new(&racing, k, batch_size(&shape, options), &mut ws)?;
    let mut of_all = match samples {
        Some(_) => Some(Em::new(shape, k, 1, race_form(&shape) == MStep::Newton, &mut ws)?),
        None => None,
    };
    let mut search = Search {
        data,
        shape,
        options,
        problem,
        racing: &racing,
        of_moments,
        excess: samples.as_ref().map(|(_, excess, _)| *excess),
        hands_over: size.is_some_and(|size| !size.lasts),
        race: &mut race,
        of_all: of_all.as_mut(),
        best: Place { weights: best.weights, atoms: best.atoms, v: best.v, g: best.g, order: best.order },
        run: Run::new(data, begun.state, begun.told, progress, options.max_evaluations),
        draws: 0,
        begun,
        verdict: Verdict::default(),
        estimate: f64::NEG_INFINITY,
        top: f64::NEG_INFINITY,
        leads: samples.is_some(),
        gain: 0.0,
        misled: false,
        out,
    };
    search.run(ws)
}

/// A fit on its way.
struct Search<'a, 'd, 'o, 'p, 'w> {
    data: &'a Data<'a>,
    shape: Shape,
    options: &'a FitOptions<'o>,
    /// What is fitted, what starts race on, which may be a sample, and what their moments are of.
    problem: &'a Problem<'a, 'd>,
    racing: &'a Problem<'a, 'd>,
    of_moments: &'a Data<'d>,
    /// By how much values on the sample exceed those that they are estimates of; where there is none, starts race on all.
    excess: Option<f64>,
    /// Whether another search takes over where the starts of the first draw do not agree on the sample.
    hands_over: bool,
    race: &'a mut Race<'w>,
    /// What survivors are finished with where that is not what they raced with: where there is a sample.
    of_all: Option<&'a mut Em<'w>>,
    /// The best so far, and what is known of it.
    best: Place<'a>,
    begun: Begun,
    run: Run<'a>,
    /// Draws so far.
    draws: usize,
    verdict: Verdict,
    /// Where the best has come to on the sample, the best estimate of the penalised log-likelihood there, and whether ends on the sample
    /// tell starts apart.
    estimate: f64,
    top: f64,
    leads: bool,
    /// What the best has gained from its end on the sample to that on all, and whether that is so much that others must race on all.
    gain: f64,
    misled: bool,
    out: &'a mut FitOutput<'p>,
}

impl Search<'_, '_, '_, '_, '_> {
    /// Draw after draw until the best is settled, and what becomes of it; or what there is after the first, where another search is to take
    /// over.
    fn run(&mut self, mut ws: Workspace<'_>) -> Result<Ended> {
        let (total, batch) = (max_starts(&self.shape, self.options), batch_size(&self.shape, self.options));
        // On counts the draws after the first are mostly relocations, of the best as it then is: fewer at a time.
        let later = match self.shape.units_are_draws {
            true if sprints(&self.shape) => batch.div_ceil(2).max(sprint::STARTS.min(batch)),
            true => batch.div_ceil(2),
            false => batch,
        };
        while self.run.state.drawn < total {
            let n = if self.draws == 0 { batch } else { later }.min(total - self.run.state.drawn);
            let settled = self.draw(n, &mut ws)?;
            let open = self.misled || self.hands_over && self.draws == 1 && !self.verdict.agrees();
            if open && !self.run.spent() && self.run.state.drawn < total {
                let passes = self.passes();
                return Ok(Ended::Open(Begun { state: self.run.state, told: self.run.told, passes, ..self.begun }));
            }
            // Where no feature varies there is nothing to find.
            let settled = settled || self.problem.wh.rank == 0;
            if self.run.spent() || matches!(self.options.starts, Starts::Auto) && settled {
                break;
            }
        }
        self.conclude(ws).map(Ended::Done)
    }

    /// Reads of all features so far; those of a sample are that share of them.
    fn passes(&self) -> u64 {
        let here = self.race.em.ev.passes;
        let rows = (self.racing.data.features().rows() as u64, self.shape.rows as u64);
        self.begun.passes + self.of_all.as_ref().map_or(here, |em| em.ev.passes + here * rows.0 / rows.1)
    }

    /// Draws n starts, lets them race and finishes the survivors. Whether the best is settled.
    fn draw(&mut self, n: usize, ws: &mut Workspace<'_>) -> Result<bool> {
        let Self { options, racing, race, best, run, begun, .. } = self;
        let (first, fresh) = (run.state.drawn, self.draws == 0);
        self.draws += 1;
        run.state.drawn += n;
        (run.state.racing, run.excess) = (true, self.excess);
        let (known, reached) = (begun.report.is_some(), best.mixture());
        let from = (known && !fresh || options.grow.is_some()).then_some(reached);
        race.draw(racing, self.of_moments, &options.starts, (first, fresh), n, from, &mut run.state, ws.scope())?;
        let (survivors, back) = match sprints(&self.shape) && !fresh && n > UNRACED {
            true => self.sprint(n, first, ws)?,
            false => race.run(racing, n, fresh, known.then_some(reached), run)?,
        };
        let Self { race, run, out, .. } = self;
        for j in 0..n {
            out.start_values[first + race.order[j]] = race.values[j];
            out.start_kinds[first + race.order[j]] = race.kinds[j];
        }
        (run.state.racing, run.state.running, run.excess) = (false, 0, None);
        let before = if fresh { f64::NEG_INFINITY } else { run.state.best };
        let (leads, mut open) = (self.leads, 0);
        if leads {
            self.lead(0..survivors, first, n > 1, each_of(self.options, &self.shape, n), ws)?;
        }
        // Those that are on their way to the best need not be seen to arrive there.
        self.verdict.begin(back);
        for j in 0..survivors {
            // Three that end alike are enough of one draw, and a spent budget of all, but for what stands above the best already.
            let enough = self.verdict.alike >= 3 || self.begun.report.is_some() && self.run.spent();
            if enough && !self.stands_above(j) {
                continue;
            }
            open += usize::from(self.carry(j, first, n, ws)?);
        }
        // With more classes than there are some follow the noise, and that of a sample is another: starts end apart on it by less than it
        // can tell.
        self.leads = leads && 2 * open < survivors;
        let Self { race, run, best, .. } = self;
        if self.excess.is_some() {
            self.top = race.values[..n].iter().fold(self.top.max(self.estimate), |m, f| m.max(*f));
            settle_estimates(&mut race.values[..n], race.order, run.state.best, self.top, &mut self.out.start_values[first..]);
        }
        let came = race.count_at(self.problem.wh, n, best.mixture(), run.state.best);
        Ok(self.verdict.settled(self.data, self.options.classes, before, run.state.best, n, came))
    }

    /// Carries some of the starts, which have `raced` or not, on by as many evaluations `each` on what they race on, the best of them first
    /// from then on.
    fn lead(&mut self, starts: Range<usize>, first: usize, raced: bool, each: u64, ws: &mut Workspace<'_>) -> Result<()> {
        let (k, l) = (self.options.classes, self.shape.columns);
        let Self { data, options, racing, race, best, run, out, .. } = self;
        let racing: &Problem<'_, '_> = racing;
        (run.data, run.excess) = (racing.data, self.excess);
        (run.state.racing, run.state.running) = (true, starts.len());
        for j in starts.clone() {
            if run.spent() {
                break;
            }
            run.state.start = first + race.order[j];
            let (weights, atoms) = (&mut race.weights[j * k..(j + 1) * k], &mut race.atoms[j * k * l..(j + 1) * k * l]);
            let place = &mut Place { weights, atoms, v: best.v, g: best.g, order: best.order };
            race.em.restart(1);
            let each = share_of_budget(options, each, run.state.evaluations);
            race.values[j] = match finish(racing, &each, raced, &mut race.em, place, run, ws.scope()) {
                Ok(found) => found.penalized_log_likelihood,
                Err(error) if error.kind == ErrorKind::NotFinite => {
                    racing.data.reduced()?;
                    f64::NEG_INFINITY
                }
                Err(error) => return Err(error),
            };
            out.start_values[run.state.start] = race.values[j];
        }
        (run.data, run.excess) = (*data, None);
        (run.state.racing, run.state.running) = (false, 0);
        race.sort(starts);
        Ok(())
    }

    /// Whether survivor j has come to more in its race than the best in the end, on what it raced on.
    fn stands_above(&self, j: usize) -> bool {
        let best = if self.excess.is_some() { self.estimate } else { self.run.state.best };
        best.is_finite() && !near(self.data, best, self.race.values[j])
    }

    /// Carries survivor j of n starts, of which the first is number `first`, to its end, unless that is the best, or below it by what its
    /// end on the sample tells. One of several whose log-likelihood is no number counts −∞. Whether its end on the sample did not tell.
    fn carry(&mut self, j: usize, first: usize, n: usize, ws: &mut Workspace<'_>) -> Result<bool> {
        match self.carry_on(j, first, n, ws) {
            Err(error) if error.kind == ErrorKind::NotFinite && (n > 1 || self.begun.report.is_some()) => {
                self.out.start_values[self.run.state.start] = f64::NEG_INFINITY;
                self.race.values[j] = f64::NEG_INFINITY;
                self.run.pace = None;
                self.data.reduced()?;
                Ok(false)
            }
            done => done,
        }
    }

    /// The same, but for what is no number.
    fn carry_on(&mut self, j: usize, first: usize, n: usize, ws: &mut Workspace<'_>) -> Result<bool> {
        let (k, l) = (self.options.classes, self.shape.columns);
        let Self { data, shape, options, problem, race, best, run, verdict, out, .. } = self;
        // Relocations begin at the best: that they end there says nothing.
        let independent = race.kinds[j] != StartKind::Relocate;
        if self.begun.report.is_some() && race.came_to(problem, j, best.mixture(), run.state.best) {
            verdict.arrive(independent);
            return Ok(false);
        }
        run.state.start = first + race.order[j];
        let (w, a) = (&mut race.weights[j * k..(j + 1) * k], &mut race.atoms[j * k * l..(j + 1) * k * l]);
        let place = &mut Place { weights: w, atoms: a, v: best.v, g: best.g, order: best.order };
        let raced = n > 1 || k == 1;
        let em = self.of_all.as_deref_mut().unwrap_or(&mut race.em);
        let (mut at_hand, mut open) = (f64::NEG_INFINITY, false);
        if self.leads {
            at_hand = race.values[j];
            if self.begun.report.is_some() && near(data, at_hand, self.estimate) && near(data, self.estimate, at_hand) {
                // Where the best has come to that and gone on, this one would follow.
                out.start_values[run.state.start] = run.state.best;
                verdict.arrive(independent);
                return Ok(false);
            }
            if self.begun.report.is_some() {
                em.restart(1);
                em.ev.evaluate_value(problem.data, place.weights, place.atoms, false, options.context)?;
                run.state.evaluations += 1;
                let there = em.ev.value[0] - problem.penalty(place.atoms, race.beta);
                if !there.is_finite() || there + GAINS * self.gain < run.state.best {
                    verdict.finished += 1;
                    return Ok(false);
                }
                open = there < run.state.best;
            }
        }
        // A start of so few that none have raced is led to a basin by EM; on counts L-BFGS leads, of one alone.
        let warm = if n > UNRACED || k == 1 || shape.units_are_draws || race_form(shape) != MStep::Newton { 0 } else { 6 };
        run.steps(problem, problem.data, options, em, place, warm, race.beta)?;
        let spent = run.state.evaluations;
        let each = share_of_budget(options, each_of(options, shape, n), spent);
        // What is left of the share, against the best: of a start that is one of many.
        run.pace = (each.max_evaluations < options.max_evaluations && self.begun.report.is_some())
            .then(|| Pace::new(run.state.best, k - 1 + k * problem.wh.rank, data.total_weight(), each.max_evaluations - spent));
        let mut found = finish(problem, &each, raced, em, place, run, ws.scope())?;
        run.pace = None;
        let f = found.penalized_log_likelihood;
        run.state.finished += 1;
        found.best_start = run.state.start;
        out.start_values[found.best_start] = f;
        if self.excess.is_none() {
            race.values[j] = f;
        }
        // Starts that end alike to rounding are one optimum: the first one stands for it.
        if self.begun.report.as_ref().is_none_or(|r| f > r.penalized_log_likelihood + 1e-12 * f.abs()) {
            self.gain = if open { self.gain } else { f - run.entered };
            self.misled |= self.leads && f - run.entered > MISLED * f.abs();
            best.weights.copy_from_slice(w);
            best.atoms.copy_from_slice(a);
            verdict.rise(data, k, run.state.best, f);
            self.begun.suspect = may_run_off(problem, em, best, run, &mut race.beta[..l]);
            (run.state.best, self.estimate) = (f, at_hand);
            self.begun.report = Some(found);
        }
        verdict.end(data, k, f, run.state.best, independent);
        Ok(open)
    }

    /// Carries the best on where it was stopped, looks whether classes of it run off, and writes it.
    fn conclude(&mut self, mut ws: Workspace<'_>) -> Result<FitReport> {
        self.data.reduced()?;
        let Begun { report: Some(mut report), mut suspect, .. } = self.begun else {
            return Err(Error::new(ErrorKind::NotFinite, "log-likelihood"));
        };
        let Self { data, shape, options, problem, race, of_all, best, run, out, .. } = self;
        let em = of_all.as_deref_mut().unwrap_or(&mut race.em);
        run.state.start = report.best_start;
        let beta = &mut race.beta[..shape.columns];
        let mut winner = Winner { problem, options, em: &mut *em, best: &mut *best, run: &mut *run, report: &mut report };
        if options.ridge > 0.0 && options.classes > 1 && !matches!(options.starts, Starts::Given(_)) {
            winner.empty_classes(beta, ws.scope())?;
        }
        // What it becomes on the way may run off.
        winner.end(&mut suspect, beta, ws.scope())?;
        // Where the budget or the caller ended it far from any end, going on is what there is to do.
        suspect &= !matches!(report.stop, StopRule::Evaluations | StopRule::Callback) || report.gradient_norm <= STILL;
        out.start_values[report.best_start] = report.penalized_log_likelihood;
        out.diverging.fill(false);
        if suspect {
            mark_diverging(problem, em, best, run, out.diverging, ws)?;
        }
        if run.cancelled {
            (report.outcome, report.stop) = (Outcome::Cancelled, StopRule::Callback);
        } else if out.diverging.iter().any(|d| *d) {
            report.outcome = Outcome::Diverging;
        }
        data.reduced()?;
        let l = shape.columns;
        canonical_order(best.weights, best.atoms, best.order);
        for (j, &c) in best.order.iter().enumerate() {
            out.weights[j] = best.weights[c];
            out.atoms[j * l..(j + 1) * l].copy_from_slice(&best.atoms[c * l..(c + 1) * l]);
        }
        out.unidentified.copy_from_slice(problem.wh.unidentified);
        report.at_best = out.start_values[..run.state.drawn].iter().filter(|f| near(data, **f, report.penalized_log_likelihood)).count();
        report.starts = run.state.drawn;
        report.evaluations = run.state.evaluations;
        report.passes = self.passes();
        Ok(report)
    }
}

/// Evaluations that finish one of n starts, at most.
fn each_of(options: &FitOptions<'_>, shape: &Shape, n: usize) -> u64 {
    match options.starts {
        Starts::Auto if n > 1 && is_large(shape) => EACH_LARGE,
        Starts::Auto if n > 1 => EACH,
        _ => u64::MAX,
    }
}

/// The options with so many evaluations for `each` after those that are `spent`.
fn share_of_budget<'o>(options: &FitOptions<'o>, each: u64, spent: u64) -> FitOptions<'o> {
    FitOptions { max_evaluations: options.max_evaluations.min(spent.saturating_add(each)), ..*options }
}

/// Estimates of a draw that raced on a sample are as far below the best as they are below `top`, the best of them. Starts that were not
/// finished, whose values are their estimates still, are not at the best.
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

/// Whether `f` is as good as `best`.
fn near(data: &Data<'_>, f: f64, best: f64) -> bool {
    f >= best - rounding(data, best)
}

/// By how much ends of one optimum differ: 1e-8 of it, and what rounding leaves where nothing is chosen that could have been otherwise.
fn rounding(data: &Data<'_>, best: f64) -> f64 {
    1e-8 * best.abs() + 1e-14 * data.total_choices()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_are_as_far_below_the_best_as_they_were_and_not_at_it_unless_they_were_finished() {
        // Starts 1, 0 and 2, by their estimates on a sample; start 0 was finished, and is the best.
        let (mut estimates, mut values) = ([-95.0, -96.0, -99.0], [-100.0, -95.0, -99.0]);
        settle_estimates(&mut estimates, &[1, 0, 2], -100.0, -95.0, &mut values);
        assert_eq!(estimates, [-100.0, -101.0, -104.0]);
        assert_eq!(values, [-100.0, -100.0 - 2e-6, -104.0]);
    }
}
