//! Expectation maximisation, section 3: E-step, exact weights, and a safeguarded M-step for the atoms, of many starts at once.
//!
//! The M-step raises `q_k(θ) = Σ_i Ω_ik log A_ik(θ) − ½ λ θ^T Σ θ`, which up to a constant is
//! `(X^T Ω)_k·θ − Σ_s t_sk log Z_sk(θ) − ½ λ |β|²`: one read of X a trial, and no responsibilities. Its gradient in
//! whitened atoms is `T (X^T (Ω − t ∘ A))_k − λ β_k`, its curvature `T H_k T^T + λ I`. Steps are halved until `q_k` rises, so that the
//! penalised log-likelihood never falls beyond rounding.

use crate::data::{Data, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::evaluate::{Beside, Evaluation, Value, check_mixture, keeps_features};
use crate::linalg::{self, axpy, dot};
use crate::mixture::MixtureRef;
use crate::optimize::{penalty, penalty_of};
use crate::parallel::Context;
use crate::reduce::Operation;
use crate::whiten::Whitening;
use crate::workspace::{Workspace, WorkspaceSize};

/// How the M-step moves the atoms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MStep {
    /// One step along the gradient in whitened features, of length `1 / t_k` before halving.
    Gradient,
    /// One Newton step. Costs p L² / 2 a class.
    Newton,
    /// Newton steps to convergence.
    Converged,
}

/// The share of all choices below which a class counts as empty: its atom stays where it is, unless a penalty draws it to 0.
pub(crate) const EMPTY: f64 = 1e-12;
/// The mixing weight up to which a class of a finished fit counts as empty. More than [`EMPTY`]: where a class vanishes the gradient in its
/// log-odds is as small as its weight, and a fit ends before it is quite gone.
pub(crate) const VANISHED: f64 = 1e-10;

/// Standard deviations of the logits by which a Newton step may change them at most: where a class holds to one alternative its curvature
/// vanishes, and a step by such a curvature is longer than halving it makes up for.
pub(crate) const FAR: f64 = 1e3;

/// What the evaluation has of the current parameters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fresh {
    No,
    /// The normalizers at the atoms.
    Normalizers,
    /// All that an E-step and the direction of an M-step ask for.
    Step,
}

/// An evaluation with what an M-step needs beside it.
pub(crate) struct Em<'w> {
    pub ev: Evaluation<'w>,
    /// Atoms tried, C × L.
    trial: &'w mut [f64],
    /// Directions in θ, C × L.
    direction: &'w mut [f64],
    /// Curvature, C × L × L, and the choices of the classes where it was taken; empty without Newton steps.
    h: &'w mut [f64],
    choices: &'w mut [f64],
    /// r × r.
    factor: &'w mut [f64],
    /// C each: q, `g·d`, step, rounding of q.
    q: &'w mut [f64],
    gain: &'w mut [f64],
    step: &'w mut [f64],
    noise: &'w mut [f64],
    /// `Σ_s t_sc log Z_sc`, and the sizes of its terms: 2 C.
    partition: &'w mut [f64],
    /// L each.
    beta: &'w mut [f64],
    gradient: &'w mut [f64],
    vector: &'w mut [f64],
    scratch: Workspace<'w>,
    /// ℓ of each start where the last step began, without penalty.
    pub value: &'w mut [f64],
    /// What the E-step of the step under way found: X^T Ω, and t where trials may find their own.
    chosen: &'w mut [f64],
    t: &'w mut [f64],
    fresh: Fresh,
    /// Whether every second step takes the curvature of the step before: a race of many starts, in which a step more costs little.
    pub thrifty: bool,
    /// Whether another step follows: only then is it no wasted work that the trials of this one's M-step make its E-step, too.
    pub more: bool,
    /// Whether nothing is asked for after a step, of which the normalizers of its trials are then all that has to be found.
    alone: bool,
    /// Whether the curvature of the last step serves for the next one too.
    again: bool,
}

impl<'w> Em<'w> {
    /// Workspace for `starts` starts of `classes` classes; `newton`: with the forms of the M-step that need curvature.
    pub fn workspace(shape: &Shape, classes: usize, starts: usize, newton: bool) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        let (l, c) = (shape.columns, classes.saturating_mul(starts));
        let (cl, ll) = (c.saturating_mul(l), l.saturating_mul(l));
        let mut size = Evaluation::workspace(shape, classes, starts);
        let columns = of(c).and(of(c)).and(of(c)).and(of(c)).and(of(c.saturating_mul(2)));
        size = size.and(of(cl)).and(of(cl)).and(of(ll)).and(columns).and(of(l)).and(of(l)).and(of(l));
        if newton {
            size = size.and(of(cl.saturating_mul(l))).and(of(c));
        }
        size = size.and(of(starts)).and(of(Evaluation::sets_of_race(shape).saturating_mul(c))).and(of(cl));
        size.and(Self::scratch(shape, c))
    }

    fn scratch(shape: &Shape, columns: usize) -> WorkspaceSize {
        let l = shape.columns;
        let square = WorkspaceSize::of::<f64>(l.saturating_mul(l));
        Evaluation::curvature_workspace(shape, columns).or(linalg::solve_workspace(l)).or(square)
    }

    pub fn new(shape: Shape, classes: usize, starts: usize, newton: bool, ws: &mut Workspace<'w>) -> Result<Self> {
        ws.require(Self::workspace(&shape, classes, starts, newton))?;
        let (l, c) = (shape.columns, classes * starts);
        let ev = Evaluation::new(shape, classes, starts, ws)?;
        Ok(Em {
            ev,
            trial: ws.f64s(c * l)?,
            direction: ws.f64s(c * l)?,
            h: ws.f64s(if newton { c * l * l } else { 0 })?,
            choices: ws.f64s(if newton { c } else { 0 })?,
            factor: ws.f64s(l * l)?,
            q: ws.f64s(c)?,
            gain: ws.f64s(c)?,
            step: ws.f64s(c)?,
            noise: ws.f64s(c)?,
            partition: ws.f64s(2 * c)?,
            beta: ws.f64s(l)?,
            gradient: ws.f64s(l)?,
            vector: ws.f64s(l)?,
            value: ws.f64s(starts)?,
            t: ws.f64s(Evaluation::sets_of_race(&shape) * c)?,
            chosen: ws.f64s(c * l)?,
            scratch: ws.split(Self::scratch(&shape, c))?,
            fresh: Fresh::No,
            thrifty: false,
            more: false,
            alone: false,
            again: false,
        })
    }

    /// Begins anew with `starts` starts, whose atoms were changed from outside; what was asked for before is off again.
    pub fn restart(&mut self, starts: usize) {
        self.ev.set_starts(starts);
        (self.fresh, self.thrifty, self.more, self.again) = (Fresh::No, false, false, false);
    }

    /// One step of EM for every start: `weights` (starts × K) and `atoms` (C × L) become the next ones, and `value` holds ℓ where the step
    /// began.
    pub fn step(
        &mut self,
        data: &Data<'_>,
        wh: &Whitening<'_>,
        ridge: f64,
        form: MStep,
        weights: &mut [f64],
        atoms: &mut [f64],
        ctx: Context,
    ) -> Result<()> {
        let at_once = (self.more || self.fresh != Fresh::Normalizers) && form != MStep::Converged;
        if at_once && self.ev.sweep_serves_em(data, form == MStep::Newton) {
            return self.step_at_once(data, wh, ridge, form, weights, atoms, ctx);
        }
        if self.fresh != Fresh::Normalizers {
            self.ev.normalizers(data, atoms, true, ctx)?;
        }
        self.ev.choices(data, Some(weights), ctx)?;
        self.value.copy_from_slice(self.ev.value);
        self.update_weights(data, weights);
        self.update_atoms(data, wh, ridge, form, atoms, ctx)
    }

    /// The same on small choice sets, with all of the E-step in one read of X, and of several steps each trial of the M-step one with the E-step
    /// of the step that follows.
    fn step_at_once(
        &mut self,
        data: &Data<'_>,
        wh: &Whitening<'_>,
        ridge: f64,
        form: MStep,
        weights: &mut [f64],
        atoms: &mut [f64],
        ctx: Context,
    ) -> Result<()> {
        let (l, c) = (self.ev.shape.columns, self.ev.columns());
        let taken = form == MStep::Newton && !self.again;
        if self.fresh != Fresh::Step {
            self.sweep(data, weights, atoms, taken, ctx)?;
        }
        self.value.copy_from_slice(self.ev.value);
        self.update_weights(data, weights);
        self.aim(data, wh, ridge, form, taken, atoms, ctx)?;
        if !self.more {
            let halved = self.search(data, wh, ridge, atoms, ctx)?;
            (self.fresh, self.again) = (Fresh::Normalizers, self.thrifty && taken && !halved);
            return Ok(());
        }
        core::mem::swap(&mut self.ev.t, &mut self.t);
        // What the next step takes, if this one is not halved.
        let (mut halved, mut next) = (false, form == MStep::Newton && !(self.thrifty && taken));
        for _ in 0..60 {
            self.set_trial(atoms);
            let trial = core::mem::take(&mut self.trial);
            let finite = self.sweep(data, weights, &trial[..c * l], next, ctx).is_ok();
            self.trial = trial;
            data.reduced()?;
            self.ev.partition_products_of(data, self.t, self.partition, ctx)?;
            if !self.halve(finite, wh, ridge) {
                break;
            }
            (halved, next) = (true, form == MStep::Newton);
        }
        atoms[..c * l].copy_from_slice(&self.trial[..c * l]);
        self.fresh = Fresh::Step;
        self.again = self.thrifty && taken && !halved;
        Ok(())
    }

    /// The E-step, and what the M-step needs beside it.
    fn sweep(&mut self, data: &Data<'_>, weights: &[f64], atoms: &[f64], curvature: bool, ctx: Context) -> Result<()> {
        let beside = if curvature { Beside::Curvature(self.h, self.scratch.scope()) } else { Beside::Parts };
        self.ev.sweep(data, weights, atoms, beside, !self.alone || keeps_features(data), ctx)
    }

    /// `α_k ← Σ_u w_u r_uk / Σ_u w_u`.
    pub fn update_weights(&self, data: &Data<'_>, weights: &mut [f64]) {
        let c = self.ev.columns();
        for (w, n) in weights[..c].iter_mut().zip(&*self.ev.class_weight) {
            *w = n / data.total_weight();
        }
        for w in weights[..c].chunks_exact_mut(self.ev.classes) {
            let total: f64 = w.iter().sum();
            w.iter_mut().for_each(|w| *w /= total);
        }
    }

    /// The M-step for the atoms, from row weights that the evaluation holds, at atoms where it was made.
    pub fn update_atoms(
        &mut self,
        data: &Data<'_>,
        wh: &Whitening<'_>,
        ridge: f64,
        form: MStep,
        atoms: &mut [f64],
        ctx: Context,
    ) -> Result<()> {
        let c = self.ev.columns();
        for iteration in 0..200 {
            self.fresh = Fresh::No;
            let taken = form != MStep::Gradient && !self.again;
            match taken {
                true => self.ev.means_and_curvature(data, self.h, ctx, self.scratch.scope())?,
                false => self.ev.means(data, ctx)?,
            }
            self.aim(data, wh, ridge, form, taken, atoms, ctx)?;
            if (0..c).all(|k| self.gain[k] == 0.0) && iteration > 0 {
                break;
            }
            let converged = (0..c).all(|k| self.gain[k] <= 1e-13 * (self.ev.class_choices[k] + ridge));
            let halved = self.search(data, wh, ridge, atoms, ctx)?;
            self.fresh = Fresh::Normalizers;
            self.again = self.thrifty && form == MStep::Newton && taken && !halved;
            if form != MStep::Converged || converged {
                break;
            }
        }
        Ok(())
    }

    /// The objective of every class, and the direction of its step; `taken`: whether its curvature was taken here.
    fn aim(
        &mut self,
        data: &Data<'_>,
        wh: &Whitening<'_>,
        ridge: f64,
        form: MStep,
        taken: bool,
        atoms: &[f64],
        ctx: Context,
    ) -> Result<()> {
        let (l, c) = (self.ev.shape.columns, self.ev.columns());
        self.ev.partition_products(data, self.partition, ctx)?;
        self.chosen[..c * l].copy_from_slice(&self.ev.chosen[..c * l]);
        if taken {
            self.choices[..c].copy_from_slice(&self.ev.class_choices[..c]);
        }
        for k in 0..c {
            (self.q[k], self.noise[k]) = self.objective(k, &atoms[k * l..(k + 1) * l], wh, ridge);
            self.direct(k, wh, ridge, form, atoms, ctx)?;
        }
        Ok(())
    }

    /// `q_k`, and the size of the numbers it is the difference of, times the rounding unit; after `partition_products`.
    fn objective(&mut self, k: usize, atom: &[f64], wh: &Whitening<'_>, ridge: f64) -> (f64, f64) {
        let (l, c) = (self.ev.shape.columns, self.ev.columns());
        let chosen = &self.chosen[k * l..(k + 1) * l];
        let (mut value, mut size) = (0.0, 0.0);
        for (g, a) in chosen.iter().zip(atom) {
            value += g * a;
            size += (g * a).abs();
        }
        value -= self.partition[k];
        size += self.partition[c + k];
        if ridge > 0.0 {
            let beta = &mut self.beta[..wh.rank];
            wh.whiten_atom(atom, beta);
            value -= penalty(ridge, beta);
        }
        (value, 8.0 * f64::EPSILON * size)
    }

    /// The direction of class k, `g·d` in `gain`, and step 1; all zero for an empty class without penalty.
    fn direct(&mut self, k: usize, wh: &Whitening<'_>, ridge: f64, form: MStep, atoms: &[f64], ctx: Context) -> Result<()> {
        let (l, r) = (wh.columns, wh.rank);
        let range = k * l..(k + 1) * l;
        let t = self.ev.class_choices[k];
        self.direction[range.clone()].fill(0.0);
        (self.gain[k], self.step[k]) = (0.0, 0.0);
        let all: f64 = self.ev.class_choices[k / self.ev.classes * self.ev.classes..][..self.ev.classes].iter().sum();
        let empty = t <= EMPTY * all;
        if ridge == 0.0 && empty {
            return Ok(());
        }
        for ((v, chosen), mean) in self.vector.iter_mut().zip(&self.ev.chosen[range.clone()]).zip(&self.ev.mean[range.clone()]) {
            *v = chosen - mean;
        }
        let (g, beta) = (&mut self.gradient[..r], &mut self.beta[..r]);
        wh.to_whitened(self.vector, g);
        if ridge > 0.0 {
            wh.whiten_atom(&atoms[range.clone()], beta);
            axpy(-ridge, beta, g);
        }
        let d = beta;
        if form == MStep::Gradient {
            d.copy_from_slice(g);
            d.iter_mut().for_each(|d| *d /= t + ridge);
        } else {
            // Curvature is raised until the factorisation succeeds, where it is below rounding, and until the step is at most FAR: it stays
            // one of ascent.
            let mut jitter = 1e-14;
            loop {
                let factor = &mut self.factor[..r * r];
                let h = &self.h[k * l * l..(k + 1) * l * l];
                wh.whiten_curvature(ctx.isa, h, factor, r, self.scratch.scope().f64s(l * l)?);
                let share = if t > 0.0 { t / self.choices[k] } else { 0.0 };
                factor.iter_mut().for_each(|x| *x *= share);
                for j in 0..r {
                    factor[j * r + j] += ridge + jitter * t;
                }
                d.copy_from_slice(g);
                let solved = linalg::solve(ctx.isa, factor, r, d, self.scratch.scope())?;
                // The penalty alone takes an empty class to 0, from wherever.
                if solved && (empty || dot(d, d) <= FAR * FAR) {
                    break;
                }
                jitter *= 100.0;
                if jitter > 1e4 {
                    return Ok(());
                }
            }
        }
        let gain = dot(g, d);
        if gain > 0.0 && gain.is_finite() {
            wh.unwhiten_atom(d, &mut self.direction[range]);
            (self.gain[k], self.step[k]) = (gain, 1.0);
        }
        Ok(())
    }

    /// Halves the steps until every `q_k` rises; atoms and normalizers end where it does. Whether a step was halved.
    fn search(&mut self, data: &Data<'_>, wh: &Whitening<'_>, ridge: f64, atoms: &mut [f64], ctx: Context) -> Result<bool> {
        let (l, c) = (self.ev.shape.columns, self.ev.columns());
        let mut halved = false;
        for _ in 0..60 {
            self.set_trial(atoms);
            // A trial whose logits overflow is a step too long for every class: the offender is not told apart.
            let trial = &self.trial[..c * l];
            let finite = match self.alone {
                true => self.ev.normalizers_again(data, trial, ctx).is_ok(),
                false => self.ev.normalizers(data, trial, true, ctx).is_ok(),
            };
            data.reduced()?;
            self.ev.partition_products(data, self.partition, ctx)?;
            if !self.halve(finite, wh, ridge) {
                break;
            }
            halved = true;
        }
        atoms[..c * l].copy_from_slice(&self.trial[..c * l]);
        Ok(halved)
    }

    /// The trial of every class, at its step.
    fn set_trial(&mut self, atoms: &[f64]) {
        let l = self.ev.shape.columns;
        for k in 0..self.ev.columns() {
            let range = k * l..(k + 1) * l;
            self.trial[range.clone()].copy_from_slice(&atoms[range.clone()]);
            axpy(self.step[k], &self.direction[range.clone()], &mut self.trial[range]);
        }
    }

    /// Halves the step of every class whose `q_k` has not risen at its trial, or of all where that is not `finite`: whether there is one.
    fn halve(&mut self, finite: bool, wh: &Whitening<'_>, ridge: f64) -> bool {
        let l = self.ev.shape.columns;
        let mut again = false;
        for k in 0..self.ev.columns() {
            if self.step[k] == 0.0 {
                continue;
            }
            let trial = core::mem::take(&mut self.trial);
            let (q, _) = self.objective(k, &trial[k * l..(k + 1) * l], wh, ridge);
            self.trial = trial;
            let hidden = self.step[k] * self.gain[k] <= 16.0 * self.noise[k];
            if !(finite && (q >= self.q[k] + 1e-4 * self.step[k] * self.gain[k] || hidden && q >= self.q[k] - 16.0 * self.noise[k])) {
                self.step[k] = if self.step[k] > 1e-12 { 0.5 * self.step[k] } else { 0.0 };
                again = true;
            }
        }
        again
    }
}

/// Workspace of [`em_step`] for K classes.
pub fn em_step_workspace(shape: &Shape, classes: usize, form: MStep) -> WorkspaceSize {
    let columns = classes.saturating_mul(shape.columns.saturating_add(1));
    Em::workspace(shape, classes, 1, form != MStep::Gradient)
        .and(WorkspaceSize::of::<f64>(columns))
        .and(WorkspaceSize::of::<f64>(shape.columns))
}

/// One safeguarded step of EM: `weights` (K) and `atoms` (K × L) become the next ones, whose penalised ℓ is not lower beyond
/// rounding. Returns ℓ and the penalised ℓ where the step began. On an error the parameters stay as they were.
///
/// Cost: one evaluation (of small choice sets one read of X) and one read of X for every trial of the M-step, `p L² K / 2` more for every
/// Newton step.
///
/// # Errors
/// What is wrong with the mixture, `InvalidOption` for a ridge that is negative or no number, `Shape` for a whitening of other features,
/// `NotFinite` where logits overflow, `Workspace`.
pub fn em_step(
    data: &Data<'_>,
    whitening: &Whitening<'_>,
    ridge: f64,
    form: MStep,
    weights: &mut [f64],
    atoms: &mut [f64],
    ctx: Context,
    mut ws: Workspace<'_>,
) -> Result<Value> {
    let (shape, k) = (data.shape(), weights.len());
    let check = || {
        check_mixture(data, MixtureRef { weights, atoms })?;
        if !(ridge >= 0.0 && ridge.is_finite()) {
            return Err(Error::new(ErrorKind::InvalidOption, "ridge"));
        }
        if whitening.columns != shape.columns {
            return Err(Error::shape("whitening", shape.columns, whitening.columns));
        }
        ws.require(em_step_workspace(&shape, k, form))
    };
    let mixture = MixtureRef { weights, atoms };
    let arguments = [ridge, form as u8 as f64].into_iter().chain(mixture.numbers()).chain(whitening.numbers());
    data.open(check(), Operation::Em, ctx.isa, arguments)?;
    let mut em = Em::new(shape, k, 1, form != MStep::Gradient, &mut ws)?;
    let (next_weights, next_atoms) = ws.f64s(k + atoms.len())?.split_at_mut(k);
    let beta = ws.f64s(shape.columns)?;
    // Steps to convergence go on from where they come to.
    em.alone = form != MStep::Converged;
    next_weights.copy_from_slice(weights);
    next_atoms.copy_from_slice(atoms);
    let penalty = penalty_of(whitening, ridge, atoms, beta);
    if !penalty.is_finite() {
        return Err(Error::new(ErrorKind::NotFinite, "penalty"));
    }
    em.step(data, whitening, ridge, form, next_weights, next_atoms, ctx)?;
    data.reduced()?;
    let (log_likelihood, penalized_log_likelihood) = (em.value[0], em.value[0] - penalty);
    weights.copy_from_slice(next_weights);
    atoms.copy_from_slice(next_atoms);
    Ok(Value { log_likelihood, penalized_log_likelihood })
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::data::{Choices, Features};
    use crate::testing::numbers;
    use crate::workspace::WorkspaceBuffer;
    use alloc::vec::Vec;

    /// Steps whose trials make the next E-step are those that take each by itself: with and without the curvature of the step before, from
    /// atoms so far off that steps are halved, and for units that are rows.
    #[test]
    fn steps_of_many_are_steps_one_by_one() {
        let (l, k, starts, sets, j) = (3, 2, 3, 2000, 6);
        let p = sets * j;
        let x = numbers(p * l, 1);
        let offsets: Vec<usize> = (0..=sets).map(|s| s * j).collect();
        let chosen: Vec<usize> = (0..sets).map(|s| s * j + (s * s + 3 * s / 5) % j).collect();
        let indptr: Vec<usize> = (0..=sets / 5).map(|u| 5 * u).collect();
        let counts: Vec<f64> = (0..p).map(|i| if chosen.contains(&i) { 1.5 } else { 0.0 }).collect();
        let ctx = Context::default();
        for choices in [Choices::Units { indptr: &indptr, indices: &chosen, counts: None, weights: None }, Choices::Counts(&counts)] {
            let data = Data::new(Features::row_major(&x[..], p, l).unwrap(), None, Some(&offsets), choices).unwrap();
            let shape = data.shape();
            let mut memory = WorkspaceBuffer::new(Whitening::workspace(&shape)).unwrap();
            let wh = Whitening::new(&data, ctx.isa, &mut memory.lend()).unwrap();
            for (form, thrifty, far) in [
                (MStep::Newton, false, 1.0),
                (MStep::Newton, true, 1.0),
                (MStep::Newton, true, 60.0),
                (MStep::Gradient, false, 1.0),
                (MStep::Gradient, false, 60.0),
            ] {
                let run = |many: bool| {
                    let mut memory = WorkspaceBuffer::new(Em::workspace(&shape, k, starts, true)).unwrap();
                    let mut em = Em::new(shape, k, starts, true, &mut memory.lend()).unwrap();
                    let mut weights: Vec<f64> = (0..k * starts).map(|c| [0.4, 0.6][c % 2]).collect();
                    let (mut atoms, mut values) = (numbers(k * starts * l, 7), Vec::new());
                    atoms.iter_mut().for_each(|a| *a *= far);
                    em.thrifty = thrifty;
                    if !many {
                        em.ev.normalizers(&data, &atoms, true, ctx).unwrap();
                        em.fresh = Fresh::Normalizers;
                    }
                    for step in 1..=7 {
                        em.more = many && step < 7;
                        em.step(&data, &wh, 0.3, form, &mut weights, &mut atoms, ctx).unwrap();
                        assert!((em.fresh == Fresh::Step) == em.more, "one read serves");
                        values.extend_from_slice(em.value);
                    }
                    (weights, atoms, values, em.ev.passes)
                };
                let (one, many) = (run(false), run(true));
                for (what, a, b) in [("weights", &one.0, &many.0), ("atoms", &one.1, &many.1), ("values", &one.2, &many.2)] {
                    for (a, b) in a.iter().zip(b) {
                        assert!((a - b).abs() <= 1e-8 * (1.0 + a.abs()), "{form:?} {thrifty} {far}: {what} {a} {b}");
                    }
                }
                // A read for each step, and the first; Newton's are halved from afar.
                assert_eq!(many.3 > 8, far > 1.0 && form == MStep::Newton, "{form:?} {thrifty} {far}: {}", many.3);
            }
        }
    }

    /// A step by itself, which keeps neither the features of a large panel side by side nor what its trials find, is what one pass after the
    /// other comes to: of small choice sets in one read, of others, and of one.
    #[test]
    fn a_step_by_itself_is_one_of_passes() {
        let (l, k, ctx) = (3, 2, Context::default());
        for (sets, j) in [(60_000, 6), (40, 300), (1, 500)] {
            let p = sets * j;
            let x = numbers(p * l, 1);
            let offsets: Vec<usize> = (0..=sets).map(|s| s * j).collect();
            let chosen: Vec<usize> = (0..sets).map(|s| s * j + (s * s + 3 * s / 5) % j).collect();
            let indptr: Vec<usize> = (0..=sets.div_ceil(5)).map(|u| (5 * u).min(sets)).collect();
            let counts: Vec<f64> = (0..p).map(|i| (i % 4) as f64).collect();
            let choices = match sets {
                1 => Choices::Counts(&counts),
                _ => Choices::Units { indptr: &indptr, indices: &chosen, counts: None, weights: None },
            };
            let data = Data::new(Features::row_major(&x[..], p, l).unwrap(), None, (sets > 1).then_some(&offsets[..]), choices).unwrap();
            assert_eq!(sets == 60_000, !keeps_features(&data));
            let shape = data.shape();
            let mut memory = WorkspaceBuffer::new(Whitening::workspace(&shape)).unwrap();
            let wh = Whitening::new(&data, ctx.isa, &mut memory.lend()).unwrap();
            for (form, far) in [(MStep::Gradient, 1.0), (MStep::Newton, 1.0), (MStep::Newton, 60.0), (MStep::Converged, 1.0)] {
                let atoms: Vec<f64> = numbers(k * l, 7).iter().map(|a| far * a).collect();
                let (mut weights, mut next) = ([0.4, 0.6], atoms.clone());
                let mut memory = WorkspaceBuffer::new(Em::workspace(&shape, k, 1, true)).unwrap();
                let mut em = Em::new(shape, k, 1, true, &mut memory.lend()).unwrap();
                em.ev.normalizers(&data, &atoms, true, ctx).unwrap();
                em.fresh = Fresh::Normalizers;
                em.step(&data, &wh, 0.3, form, &mut weights, &mut next, ctx).unwrap();
                let mut memory = WorkspaceBuffer::new(em_step_workspace(&shape, k, form)).unwrap();
                let mut before = None;
                for threads in [1, 2] {
                    let (mut alone, mut at) = ([0.4, 0.6], atoms.clone());
                    let ctx = Context { threads, ..ctx };
                    let found = em_step(&data, &wh, 0.3, form, &mut alone, &mut at, ctx, memory.lend()).unwrap();
                    let close = |a: f64, b: f64| (a - b).abs() <= 1e-10 * (1.0 + b.abs());
                    assert!(close(found.log_likelihood, em.value[0]), "{sets} {form:?} {far}");
                    let found = || alone.iter().chain(&at);
                    for (a, b) in found().zip(weights.iter().chain(&next)) {
                        assert!(close(*a, *b), "{sets} {form:?} {far}: {a} {b}");
                    }
                    let bits: Vec<u64> = found().map(|x| x.to_bits()).collect();
                    assert!(before.get_or_insert(bits.clone()) == &bits);
                }
            }
        }
    }
}
