//! Correction by the design (section 7): atoms whose moments over the actual rows, exactly computed, are the observed ones.
//!
//! 1. The base measure is centred at the one-class fit, and rows and draws are tilted (`tilt`): the tilt τ* under which classes rest on
//!    most rows, and unless its equations are solved at once half and twice of it, are tried.
//! 2. Each gives a start: the tensor, the direction, or atoms spread in the subspace.
//! 3. The moment equations (`equations`) are solved by Gauss–Newton steps under the normal law, accelerated after Anderson (1965): the
//!    residuals are exact, the Jacobian that of the limit. A point whose log-likelihood falls well short of the best is left for the best.
//! 4. The best by log-likelihood goes on at τ, τ/2 and τ/4: less tilt is a less easy problem, but wastes fewer draws.
//!
//! An evaluation costs what a step of EM costs; `docs/moments.md` has what was measured and what did not help.

use super::direction::{direction_in, direction_in_workspace};
use super::equations::{Equations, Scratch};
use super::frame::{Draws, Frame};
use super::subspace::covariance_of_atoms;
use super::tensor::{check_output, shorten, simplex_above, tensor_in, tensor_in_workspace};
use super::tensors::tensors_workspace;
use super::tilt::{Tilting, best_tilt};
use super::{IllPosed, LONGEST};
use crate::data::{Data, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::linalg::{self, axpy, dot};
use crate::mixture::MixtureRef;
use crate::parallel::Context;
use crate::simd::Isa;
use crate::whiten::Whitening;
use crate::workspace::{Workspace, WorkspaceSize};
use rand::Rng;
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;

/// What a correction starts from.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum CorrectionStart<'a> {
    /// The tensor for K ≤ r + 1, else atoms spread in the subspace.
    Auto,
    /// The method of moments by tensor, K ≤ r + 1, of the tilted draws.
    Tensor,
    /// The method of moments along the first direction of the subspace.
    Direction,
    /// Normal atoms with the mean and covariance that the second moments suggest.
    Spread {
        /// Seed of the random stream.
        seed: u64,
    },
    /// This mixture.
    Given(MixtureRef<'a>),
}

/// Options of [`corrected`].
#[derive(Clone, Copy, Debug)]
pub struct CorrectionOptions<'a> {
    /// What it starts from.
    pub start: CorrectionStart<'a>,
    /// The tilt τ ≥ 0 to begin with; absent: the one under which the classes of each way to start rest on most rows, and, unless the
    /// equations are solved there at once, half and twice of it.
    pub tilt: Option<f64>,
    /// Order of the moments, 3 to 9; absent: 3 for K ≤ r + 1, else 5.
    pub order: Option<usize>,
    /// Evaluations at most, at least 1.
    pub max_evaluations: usize,
}

impl Default for CorrectionOptions<'_> {
    fn default() -> Self {
        CorrectionOptions { start: CorrectionStart::Auto, tilt: None, order: None, max_evaluations: 96 }
    }
}

/// How a correction went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CorrectionReport {
    /// ℓ of the mixture, without multinomial coefficients.
    pub log_likelihood: f64,
    /// The tilt τ that it went on with.
    pub tilt: f64,
    /// Evaluations of the moment equations, each two reads of X by K columns.
    pub evaluations: usize,
    /// All reads of X.
    pub passes: u64,
}

/// Differences that the acceleration looks at.
const HISTORY: usize = 5;
/// Evaluations in the race of tilts, and of the stages after it with the share of the tilt.
const RACE: usize = 12;
const STAGES: [(f64, usize); 3] = [(1.0, 30), (0.5, 12), (0.25, 12)];
/// Beyond this rank one tilt is tried: each costs p r² / 2.
const RACE_RANK: usize = 64;
/// Damping of the steps, relative to the diagonal.
const DAMPING: f64 = 0.03;
/// Evaluations without a gain above the tolerance that end a stage.
const PATIENCE: usize = 8;
/// A fall of ℓ per draw below the best that sends the iteration back there.
const FALL: f64 = 0.02;

/// A point of the iteration: weights a and atoms δ as one vector of D = K + K r numbers, and its step.
struct Walk<'w> {
    x: &'w mut [f64],
    step: &'w mut [f64],
    residual: &'w mut [f64],
    scale: &'w mut [f64],
    best_x: &'w mut [f64],
    best_step: &'w mut [f64],
    past_x: &'w mut [f64],
    past_step: &'w mut [f64],
    weights: &'w mut [f64],
    best_weights: &'w mut [f64],
}

impl<'w> Walk<'w> {
    fn workspace(d: usize, classes: usize) -> WorkspaceSize {
        let of = |a: usize, b: usize| WorkspaceSize::of::<f64>(a.saturating_mul(b));
        of(6, d).and(of(HISTORY + 1, d)).and(of(HISTORY + 1, d)).and(of(classes, 1)).and(of(classes, 1))
    }

    fn new(d: usize, classes: usize, ws: &mut Workspace<'w>) -> Result<Self> {
        let (x, rest) = ws.f64s(6 * d)?.split_at_mut(d);
        let (step, rest) = rest.split_at_mut(d);
        let (residual, rest) = rest.split_at_mut(d);
        let (scale, rest) = rest.split_at_mut(d);
        let (best_x, best_step) = rest.split_at_mut(d);
        Ok(Walk {
            x,
            step,
            residual,
            scale,
            best_x,
            best_step,
            past_x: ws.f64s((HISTORY + 1) * d)?,
            past_step: ws.f64s((HISTORY + 1) * d)?,
            weights: ws.f64s(classes)?,
            best_weights: ws.f64s(classes)?,
        })
    }

    /// Solves the moment equations from `x`; ℓ per draw of the best point, which ends in `best_x` with its untilted weights in
    /// `best_weights`; the evaluations; and whether the equations hold to the tolerance.
    fn run(
        &mut self,
        eq: &Equations<'_>,
        budget: usize,
        tolerance: f64,
        scratch: &mut Scratch<'_>,
        ctx: Context,
        mut ws: Workspace<'_>,
    ) -> Result<(f64, usize, bool)> {
        let (k, r, d) = (self.weights.len(), eq.frame.rank, self.x.len());
        let (mut best, mut beta, mut known, mut last_gain) = (f64::NEG_INFINITY, 0.5, 0, 0);
        for n in 1..=budget {
            simplex_above(&mut self.x[..k], least(k));
            let (a, deltas) = self.x.split_at(k);
            let value = eq.residuals(a, deltas, self.weights, self.residual, scratch, ctx);
            let fallen = !value.is_finite() || value < best - FALL;
            if fallen || !eq.step(a, deltas, self.residual, DAMPING, self.step, self.scale, scratch)? {
                if best == f64::NEG_INFINITY {
                    return Ok((best, n, false));
                }
                // Back to the best, a shorter step from there, and no memory of the way here.
                beta = f64::max(0.5 * beta, 0.05);
                self.x.copy_from_slice(self.best_x);
                self.past_x[..d].copy_from_slice(self.best_x);
                self.past_step[..d].copy_from_slice(self.best_step);
                known = 1;
                axpy(beta, self.best_step, self.x);
                continue;
            }
            for part in self.step[k..].chunks_exact_mut(r) {
                let norm = libm::sqrt(dot(part, part));
                if norm > 1.0 {
                    part.iter_mut().for_each(|x| *x /= norm);
                }
            }
            if value > best + tolerance {
                last_gain = n;
            }
            if value > best {
                best = value;
                beta = f64::min(1.2 * beta, 1.0);
                self.best_x.copy_from_slice(self.x);
                self.best_step.copy_from_slice(self.step);
                self.best_weights.copy_from_slice(self.weights);
            }
            let solved = dot(self.step, self.residual) < tolerance;
            if solved || n > last_gain + PATIENCE {
                return Ok((best, n, solved));
            }
            if known == HISTORY + 1 {
                self.past_x.copy_within(d.., 0);
                self.past_step.copy_within(d.., 0);
                known = HISTORY;
            }
            self.past_x[known * d..][..d].copy_from_slice(self.x);
            self.past_step[known * d..][..d].copy_from_slice(self.step);
            known += 1;
            axpy(beta, self.step, self.x);
            if known >= 3 {
                self.accelerate(known - 1, beta, d, ctx.isa, ws.scope())?;
            }
        }
        Ok((best, budget, false))
    }

    /// Anderson's mixing: takes off x the combination of past differences `(ΔX + β ΔF) γ` whose `ΔF γ` is nearest to the step.
    fn accelerate(&mut self, n: usize, beta: f64, d: usize, isa: Isa, ws: Workspace<'_>) -> Result<()> {
        let difference = |past: &[f64], j: usize, i: usize| past[(j + 1) * d + i] - past[j * d + i];
        let (mut normal, mut gamma) = ([0.0; HISTORY * HISTORY], [0.0; HISTORY]);
        for a in 0..n {
            for b in 0..=a {
                let sum = (0..d).map(|i| self.scale[i] * difference(self.past_step, a, i) * difference(self.past_step, b, i)).sum();
                (normal[a * n + b], normal[b * n + a]) = (sum, sum);
            }
            gamma[a] = (0..d).map(|i| self.scale[i] * difference(self.past_step, a, i) * self.step[i]).sum();
        }
        let trace: f64 = (0..n).map(|j| normal[j * n + j]).sum();
        for j in 0..n {
            normal[j * n + j] += 1e-6 * trace;
        }
        if !linalg::solve(isa, &mut normal[..n * n], n, &mut gamma[..n], ws)? {
            return Ok(());
        }
        for (j, g) in gamma[..n].iter().enumerate() {
            for i in 0..d {
                self.x[i] -= g * (difference(self.past_x, j, i) + beta * difference(self.past_step, j, i));
            }
        }
        Ok(())
    }
}

/// Workspace of [`corrected`] for K classes.
pub fn corrected_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
    let of = |a: usize, b: usize| WorkspaceSize::of::<f64>(a.saturating_mul(b));
    let (p, l, k) = (shape.rows, shape.columns, classes);
    let d = k.saturating_mul(l.saturating_add(1));
    let rows = of(p, 1).and(of(p, 1)).and(of(p, 1)).and(of(p, 1)).and(Tilting::workspace(shape));
    let held = of(k, 1).and(of(k, l)).and(Walk::workspace(d, k)).and(Scratch::workspace(shape, k));
    let second = of(l, 1).and(of(l, 1)).and(of(l, l)).and(of(2, l));
    let start = tensor_in_workspace(shape, k).or(direction_in_workspace(shape, k)).or(tensors_workspace(shape, None));
    let frames = Frame::of_base_workspace(shape).and(Frame::rescaled_workspace(shape));
    rows.and(held).and(second).and(frames).and(start.or(linalg::solve_workspace(HISTORY)))
}

/// Moments corrected by the design: K weights and K × L atoms, K = `weights.len()`, whose moments over the actual rows are the observed
/// ones as nearly as can be, and their log-likelihood. No step of EM is taken. Deterministic.
///
/// Section 7 of the model. Cost: at most `max_evaluations` evaluations, two reads of X by K columns each; the fit of one class, and at
/// most 23 reads for the frames, with at most five times `p L² / 2`; and the starts.
///
/// # Errors
/// `Unsupported` unless choices are counts over one choice set; `IllPosed` where no start gives finite moments, or for a tensor with
/// K > r + 1; `InvalidOption`; `Shape`; `TooManyClasses`; `Workspace`.
pub fn corrected(
    data: &Data<'_>,
    wh: &Whitening<'_>,
    options: &CorrectionOptions<'_>,
    weights: &mut [f64],
    atoms: &mut [f64],
    ctx: Context,
    mut ws: Workspace<'_>,
) -> Result<CorrectionReport> {
    let (p, l, r, k) = (data.features().rows(), wh.columns, wh.rank, weights.len());
    let draws = Draws::new(data)?;
    check_output(data, wh, weights, atoms)?;
    check_options(options, k, r, l)?;
    ws.require(corrected_workspace(&data.shape(), k))?;
    let frequencies = ws.f64s(p)?;
    let (tilted, log_weights, log_base) = (ws.f64s(p)?, ws.f64s(p)?, ws.f64s(p)?);
    draws.add_frequencies(frequencies);
    let tilting = Tilting::new(data, wh, ctx, &mut ws)?;
    let (best_weights, best_atoms) = (ws.f64s(k)?, ws.f64s(k * l)?);
    let d = k * (r + 1);
    let mut walk = Walk::new(d, k, &mut ws)?;
    let mut scratch = Scratch::new(&data.shape(), k, &mut ws)?;
    let (first, values) = (&mut ws.f64s(l)?[..r], &mut ws.f64s(l)?[..r]);
    let (vectors, small) = (&mut ws.f64s(l * l)?[..r * r], ws.f64s(2 * l)?);

    let order = options.order.unwrap_or(if k <= r + 1 { 3 } else { 5 });
    let total = data.total_choices();
    let tolerance = f64::min(1e-6, 0.1 / total);
    let mut report = CorrectionReport { log_likelihood: f64::NEG_INFINITY, tilt: 0.0, evaluations: 0, passes: tilting.passes };
    let mut best = f64::NEG_INFINITY;

    // The rule for the tilt: the length of the atoms by second moments under τ = ½.
    let guess = match options.tilt {
        Some(tau) => tau,
        None => {
            let mut ws = ws.scope();
            tilting.tilt(0.5, log_weights, log_base);
            let frame = Frame::of_base(data, wh, log_base, tilting.center, ctx, &mut ws)?;
            let draws = Draws::weighted(data, log_weights)?;
            covariance_of_atoms(&draws, &frame, first, values, vectors, small, ctx, ws)?;
            report.passes += 3;
            let spread: f64 = values.iter().take(k).map(|v| f64::max(*v, 0.0)).sum();
            best_tilt(r, f64::min(1.5 * (spread + dot(first, first)), LONGEST * LONGEST))
        }
    };
    let all = [guess, 0.5 * guess, 2.0 * guess];
    let tilts = if options.tilt.is_some() || r > RACE_RANK { &all[..1] } else { &all[..] };
    let limit = options.max_evaluations;

    // The race of tilts, each from its own start; the winner then goes on with less and less tilt.
    for (entry, tau) in tilts.iter().enumerate() {
        // What is left of the evaluations; one is there for the first start that there is.
        let left = limit.saturating_sub(report.evaluations);
        if left == 0 {
            break;
        }
        let mut ws = ws.scope();
        tilting.tilt(*tau, log_weights, log_base);
        let frame = Frame::of_base(data, wh, log_base, tilting.center, ctx, &mut ws)?;
        let Ok(draws) = Draws::weighted(data, log_weights) else { continue };
        tilted.fill(0.0);
        draws.add_frequencies(tilted);
        report.passes += 4;
        let (a, deltas) = walk.x.split_at_mut(k);
        match start(options, &draws, &frame, a, deltas, first, values, vectors, small, ctx, ws.scope()) {
            Ok(()) => {}
            // Another tilt may do; an error that no tilt can mend shows at the end.
            Err(e) if e.kind == ErrorKind::IllPosed && e.argument == "moments" => continue,
            Err(e) => return Err(e),
        }
        let eq = Equations { data, frame, log_base: tilting.log_base, log_weights, frequencies, tilted, order };
        let given = matches!(options.start, CorrectionStart::Given(_));
        let mut share = (left / (tilts.len() - entry)).clamp(1, RACE + usize::from(given));
        if given && share > 1 {
            let spent = retilt(&eq, &mut walk, &mut scratch, ctx);
            report.evaluations += spent;
            share -= spent;
        }
        let (value, evaluations, solved) = walk.run(&eq, share, tolerance, &mut scratch, ctx, ws)?;
        report.evaluations += evaluations;
        if value > best {
            best = value;
            report.tilt = *tau;
            keep(&eq.frame, &walk, best_weights, best_atoms);
        }
        if solved {
            break;
        }
    }
    if best == f64::NEG_INFINITY {
        return Err(Error::new(ErrorKind::IllPosed, "moments"));
    }
    tilting.tilt(report.tilt, log_weights, log_base);
    let whole = Frame::of_base(data, wh, log_base, tilting.center, ctx, &mut ws)?;
    report.passes += 2;
    for (share, budget) in STAGES {
        if report.evaluations + 2 > limit || k == 1 {
            break;
        }
        let mut ws = ws.scope();
        let tau = share * report.tilt;
        tilting.tilt(tau, log_weights, log_base);
        let frame = whole.rescaled(data, log_base, libm::sqrt((1.0 + tau) / (1.0 + report.tilt)), ctx, &mut ws)?;
        tilted.fill(0.0);
        Draws::weighted(data, log_weights)?.add_frequencies(tilted);
        report.passes += 1;
        let eq = Equations { data, frame, log_base: tilting.log_base, log_weights, frequencies, tilted, order };
        walk.x[..k].copy_from_slice(best_weights);
        for (atom, delta) in best_atoms.chunks_exact(l).zip(walk.x[k..].chunks_exact_mut(r)) {
            frame.from_atom(atom, delta);
        }
        report.evaluations += retilt(&eq, &mut walk, &mut scratch, ctx);
        let budget = budget.min(limit - report.evaluations);
        let (value, evaluations, _) = walk.run(&eq, budget, tolerance, &mut scratch, ctx, ws)?;
        report.evaluations += evaluations;
        if value > best {
            best = value;
            keep(&eq.frame, &walk, best_weights, best_atoms);
        }
    }
    report.passes += 2 * report.evaluations as u64;
    report.log_likelihood = best * total;
    MixtureRef::new(best_weights, best_atoms, l).map_err(|_| Error::new(ErrorKind::IllPosed, "moments"))?;
    weights.copy_from_slice(best_weights);
    atoms.copy_from_slice(best_atoms);
    Ok(report)
}

fn check_options(options: &CorrectionOptions<'_>, classes: usize, rank: usize, columns: usize) -> Result<()> {
    let option = |name| Err(Error::new(ErrorKind::InvalidOption, name));
    if rank == 0 {
        return Err(Error::new(ErrorKind::IllPosed, "features"));
    }
    if options.max_evaluations == 0 {
        return option("max_evaluations");
    }
    if options.tilt.is_some_and(|t| !(t >= 0.0 && t.is_finite())) {
        return option("tilt");
    }
    if options.order.is_some_and(|r| !(3..=9).contains(&r)) {
        return option("order");
    }
    match options.start {
        CorrectionStart::Tensor if classes > rank + 1 => Err(Error::new(ErrorKind::IllPosed, "classes").sizes(rank + 1, classes)),
        CorrectionStart::Given(m) => m.check(columns, classes, "start"),
        _ => Ok(()),
    }
}

/// Weights a and atoms δ to start from, in a frame.
fn start(
    options: &CorrectionOptions<'_>,
    draws: &Draws<'_>,
    frame: &Frame<'_>,
    a: &mut [f64],
    deltas: &mut [f64],
    first: &mut [f64],
    values: &mut [f64],
    vectors: &mut [f64],
    scratch: &mut [f64],
    ctx: Context,
    ws: Workspace<'_>,
) -> Result<()> {
    let (k, r) = (a.len(), frame.rank);
    let seed = match options.start {
        _ if k == 1 => {
            a.fill(1.0);
            deltas.fill(0.0);
            return Ok(());
        }
        CorrectionStart::Given(m) => {
            a.copy_from_slice(m.weights);
            for (atom, delta) in m.atoms.chunks_exact(frame.columns).zip(deltas.chunks_exact_mut(r)) {
                frame.from_atom(atom, delta);
            }
            return Ok(());
        }
        CorrectionStart::Direction => return direction_in(draws, frame, None, IllPosed::Project, a, deltas, ctx, ws).map(|_| ()),
        CorrectionStart::Spread { seed } => seed,
        _ if k <= r + 1 => return tensor_in(draws, frame, IllPosed::Project, a, deltas, ctx, ws),
        _ => 0,
    };
    covariance_of_atoms(draws, frame, first, values, vectors, scratch, ctx, ws)?;
    let mut random = Pcg64::new(u128::from(seed), 0x736d_6978);
    a.fill(1.0 / k as f64);
    for delta in deltas.chunks_exact_mut(r) {
        delta.copy_from_slice(first);
        for (value, v) in values.iter().zip(vectors.chunks_exact(r)) {
            let normal: f64 = random.sample(StandardNormal);
            axpy(normal * libm::sqrt(f64::max(*value, 0.05)), v, delta);
        }
    }
    shorten(deltas, r);
    Ok(())
}

/// The least weight of one of K classes on the way.
fn least(classes: usize) -> f64 {
    f64::min(1e-3, 0.1 / classes as f64)
}

/// Turns untilted weights at the head of the walk into tilted ones, `a_k ∝ α_k Σ_i A_ik e^{t_i}`. Evaluations spent.
fn retilt(eq: &Equations<'_>, walk: &mut Walk<'_>, scratch: &mut Scratch<'_>, ctx: Context) -> usize {
    let k = walk.weights.len();
    simplex_above(&mut walk.x[..k], least(k));
    let (a, deltas) = walk.x.split_at(k);
    // The equations turn a into weights ∝ a / s, s = Σ_i A_i e^{t_i}; so α² over them is ∝ α s.
    if eq.residuals(a, deltas, walk.weights, walk.residual, scratch, ctx).is_finite() {
        for (a, w) in walk.x[..k].iter_mut().zip(&*walk.weights) {
            *a = *a * *a / f64::max(*w, f64::MIN_POSITIVE);
        }
        let total: f64 = walk.x[..k].iter().sum();
        walk.x[..k].iter_mut().for_each(|a| *a /= total);
    }
    1
}

/// The best point of the walk as a mixture of the untilted model.
fn keep(frame: &Frame<'_>, walk: &Walk<'_>, weights: &mut [f64], atoms: &mut [f64]) {
    let k = weights.len();
    weights.copy_from_slice(walk.best_weights);
    for (atom, delta) in atoms.chunks_exact_mut(frame.columns).zip(walk.best_x[k..].chunks_exact(frame.rank)) {
        frame.to_atom(delta, atom);
    }
}
