//! The methods that finish on the observed likelihood itself, in log-odds and whitened atoms.
//!
//! The objective is `f(η, β) = ℓ − ½ λ Σ_k |β_k|²`, with `α = softmax(η, 0)` and `θ_k = T β_k`: the ridge penalty is a plain norm in
//! whitened features. Both methods only ever move to points where f is not lower, beyond rounding.

pub(crate) mod divergence;
pub(crate) mod lbfgs;
mod metric;
pub(crate) mod newton;
mod once;
pub(crate) mod single;
mod span;

use self::once::Once;
use crate::data::Data;
use crate::error::Result;
use crate::evaluate::Evaluation;
use crate::linalg::{axpy, dot};
use crate::parallel::Context;
use crate::simd::{self, Rows};
use crate::whiten::Whitening;
use crate::workspace::{Workspace, WorkspaceSize};

/// Why a method stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The gradient is within the tolerance.
    Gradient,
    /// The predicted gain is below the rounding of f.
    Rounding,
    /// No step ascends, or too many did.
    Stalled,
    /// The budget of evaluations is spent.
    Limit,
    /// The callback asked for an end.
    Cancelled,
}

/// `½ λ |β|²`; 0 without a ridge, however long β is.
pub(crate) fn penalty(ridge: f64, beta: &[f64]) -> f64 {
    if ridge > 0.0 { 0.5 * ridge * dot(beta, beta) } else { 0.0 }
}

/// `½ λ Σ_k |β_k|²` of atoms. `beta`: L numbers.
pub(crate) fn penalty_of(wh: &Whitening<'_>, ridge: f64, atoms: &[f64], beta: &mut [f64]) -> f64 {
    if ridge == 0.0 {
        return 0.0;
    }
    let beta = &mut beta[..wh.rank];
    let of = |atom: &[f64]| {
        wh.whiten_atom(atom, beta);
        penalty(ridge, beta)
    };
    atoms.chunks_exact(wh.columns).map(of).sum()
}

/// The objective of one start, with the maps between parameters.
pub(crate) struct Objective<'a, 'd, 'w> {
    /// The data worked on.
    pub data: &'a Data<'d>,
    /// The data that the fit is about, while `data` has their features in single precision.
    pub exact: Option<&'a Data<'d>>,
    pub wh: &'a Whitening<'a>,
    pub ridge: f64,
    pub ctx: Context,
    pub ev: &'a mut Evaluation<'w>,
    /// α and θ at the point last evaluated.
    pub weights: &'a mut [f64],
    pub atoms: &'a mut [f64],
    /// Evaluations so far, and how many there may be.
    pub evaluations: u64,
    pub limit: u64,
    /// ℓ at the point last evaluated.
    pub log_likelihood: f64,
    gradient: &'a mut [f64],
    /// Whether Newton's method has seen, near the end, that features no longer vary under a class along its atom.
    pub still: bool,
    /// Evaluations in a single read of X.
    pub once: Once<'a>,
}

impl<'a, 'd, 'w> Objective<'a, 'd, 'w> {
    pub fn workspace(columns: usize, classes: usize) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        let kl = classes.saturating_mul(columns);
        of(kl).and(of(kl)).and(of(classes)).and(Once::workspace(columns, classes))
    }

    pub fn new(
        data: &'a Data<'d>,
        wh: &'a Whitening<'a>,
        ridge: f64,
        ctx: Context,
        ev: &'a mut Evaluation<'w>,
        limit: u64,
        ws: &mut Workspace<'a>,
    ) -> Result<Self> {
        let (k, l) = (ev.classes, ev.shape.columns);
        ev.set_starts(1);
        let serves = ev.once_serves(data);
        let (weights, atoms, gradient) = (ws.f64s(k)?, ws.f64s(k * l)?, ws.f64s(k * l)?);
        Ok(Objective {
            data,
            exact: None,
            wh,
            ridge,
            ctx,
            ev,
            weights,
            atoms,
            evaluations: 0,
            limit,
            log_likelihood: f64::NEG_INFINITY,
            gradient,
            still: false,
            once: Once::new(serves, l, k, ws)?,
        })
    }

    pub fn classes(&self) -> usize {
        self.ev.classes
    }

    /// Number of parameters `D = K − 1 + K r`.
    pub fn dimension(&self) -> usize {
        let k = self.classes();
        k - 1 + k * self.wh.rank
    }

    /// The point of a mixture whose last class has a positive weight.
    pub fn pack(&self, weights: &[f64], atoms: &[f64], v: &mut [f64]) {
        let (k, r, l) = (self.classes(), self.wh.rank, self.wh.columns);
        let (eta, beta) = v.split_at_mut(k - 1);
        for (e, w) in eta.iter_mut().zip(weights) {
            // A class of weight 0 has log-odds −∞: as far as f64 goes without losing the others.
            *e = libm::log(w.max(1e-300) / weights[k - 1]);
        }
        for (atom, beta) in atoms.chunks_exact(l).zip(beta.chunks_exact_mut(r.max(1))) {
            self.wh.whiten_atom(atom, beta);
        }
    }

    /// The mixture of a point; what is behind its D numbers is left alone.
    pub fn unpack(&mut self, v: &[f64]) {
        let (k, r, l) = (self.classes(), self.wh.rank, self.wh.columns);
        let (eta, beta) = v[..self.dimension()].split_at(k - 1);
        let m = eta.iter().fold(0.0, |m: f64, e| m.max(*e));
        for (w, e) in self.weights.iter_mut().zip(eta.iter().chain(&[0.0])) {
            *w = libm::exp(e - m);
        }
        let total: f64 = self.weights.iter().sum();
        self.weights.iter_mut().for_each(|w| *w /= total);
        self.atoms.fill(0.0);
        let map = Rows { values: self.wh.to_atoms, rows: r, columns: l, stride: l };
        simd::weighted_sum(self.ctx.isa, map, beta, r, self.atoms);
    }

    /// f and its gradient at `v`; `None` where f is not a finite number. While single reads are on, F and its gradient.
    pub fn evaluate(&mut self, v: &[f64], g: &mut [f64]) -> Option<f64> {
        self.unpack(v);
        self.evaluations += 1;
        if self.once.on {
            return self.evaluate_once(v, g);
        }
        self.ev.evaluate(self.data, self.weights, self.atoms, self.ctx).ok()?;
        self.log_likelihood = self.ev.value[0];
        self.gather(v, g)
    }

    /// f and its gradient at `v`, in full: with the means that [`Objective::anchor`] needs apart where single reads serve.
    pub fn evaluate_apart(&mut self, v: &[f64], g: &mut [f64]) -> Option<f64> {
        if !self.once.serves {
            return self.evaluate(v, g);
        }
        self.unpack(v);
        self.evaluations += 1;
        self.ev.evaluate_apart(self.data, self.weights, self.atoms, self.ctx).ok()?;
        self.log_likelihood = self.ev.value[0];
        self.gather(v, g)
    }

    /// Goes over to the exact features: f and its gradient at `v`, as [`Objective::evaluate_apart`].
    pub fn refine(&mut self, v: &[f64], g: &mut [f64]) -> Option<f64> {
        self.data = self.exact.take().unwrap_or(self.data);
        self.evaluate_apart(v, g)
    }

    /// f and its gradient from the evaluation last made at `v`.
    pub fn gather(&mut self, v: &[f64], g: &mut [f64]) -> Option<f64> {
        let (k, r, l, d) = (self.classes(), self.wh.rank, self.wh.columns, self.dimension());
        g[d..].fill(0.0);
        let (g_eta, g_beta) = g[..d].split_at_mut(k - 1);
        for (j, g) in g_eta.iter_mut().enumerate() {
            *g = self.ev.class_weight[j] - self.weights[j] * self.data.total_weight();
        }
        self.ev.atom_gradient(self.gradient);
        let map = Rows { values: self.wh.to_atoms, rows: r, columns: l, stride: l };
        simd::logits(self.ctx.isa, map, self.gradient, None, g_beta, r);
        let beta = &v[k - 1..d];
        axpy(-self.ridge, beta, g_beta);
        let f = self.log_likelihood - penalty(self.ridge, beta);
        (f.is_finite() && g.iter().all(|g| g.is_finite())).then_some(f)
    }

    /// The largest entry of the gradient, in all K log-odds, over `Σ_u w_u Σ_i c_ui`.
    pub fn norm(&self, g: &[f64]) -> f64 {
        let last: f64 = g[..self.classes() - 1].iter().sum();
        g.iter().fold(last.abs(), |m, g| m.max(g.abs())) / self.data.total_choices()
    }

    /// The diagonal of the complete-data information where features under a class vary as they do in all: `W α (1 − α)` for log-odds,
    /// `t_k + λ` for atoms. It scales the first step of L-BFGS, and log-odds in the damping of Newton's method.
    pub fn scale(&self, out: &mut [f64]) {
        let (k, r) = (self.classes(), self.wh.rank);
        let (eta, beta) = out.split_at_mut(k - 1);
        let floor = 1e-8 * self.data.total_weight();
        for (s, w) in eta.iter_mut().zip(&*self.weights) {
            *s = (self.data.total_weight() * w * (1.0 - w)).max(floor);
        }
        for (j, s) in beta.chunks_exact_mut(r.max(1)).enumerate() {
            s.fill((self.ev.class_choices[j] + self.ridge).max(1e-8 * self.data.total_choices()));
        }
    }
}
