//! The objective in a single read of X, for L-BFGS on counts over one choice set: `evaluate/once.rs` near a point where all is known.
//!
//! Points have a number s behind them, and `ζ_k` is a function of the whitened atom, `log Z_k` to second order about the anchor `β°` where
//! the features under a class are as Gaussian as all: `ζ_k(β) = log Z°_k + m°_k·(β − β°) + ½ |β − β°|²`, `m°` their means there, so that
//! masses stay near 1 and `F(η, β, s)` is close to `ℓ(η, β)` with s best where it is 0. Derivatives in an atom are `X^T W_k − e_k ∂ζ_k`.

use super::{Objective, penalty};
use crate::error::Result;
use crate::evaluate::once::At;
use crate::linalg::{axpy, dot};
use crate::simd::{self, Rows};
use crate::workspace::{Workspace, WorkspaceSize};

/// `|log Z_k − ζ_k|` from which on another anchor serves better.
const FAR: f64 = 0.5;

/// ζ as a function of the atoms, and what the last evaluation found.
pub(crate) struct Once<'a> {
    /// Whether single reads serve for the data.
    pub serves: bool,
    /// Whether evaluations are single reads now.
    pub on: bool,
    /// Whether they keep probabilities.
    pub keep: bool,
    /// `ζ_k(β) = level_k + slope_k·β + ½ |β|²`: K numbers, K × r.
    level: &'a mut [f64],
    slope: &'a mut [f64],
    /// ζ, e and α', K numbers each, and α' of the point that steps begin from.
    zeta: &'a mut [f64],
    excess: &'a mut [f64],
    found: &'a mut [f64],
    from: &'a mut [f64],
    farthest: f64,
}

impl<'a> Once<'a> {
    pub fn workspace(columns: usize, classes: usize) -> WorkspaceSize {
        WorkspaceSize::of::<f64>(classes.saturating_mul(columns.saturating_add(5)))
    }

    pub fn new(serves: bool, columns: usize, classes: usize, ws: &mut Workspace<'a>) -> Result<Self> {
        let (level, rest) = ws.f64s(classes * (columns + 5))?.split_at_mut(classes);
        let (zeta, rest) = rest.split_at_mut(classes);
        let (excess, rest) = rest.split_at_mut(classes);
        let (found, rest) = rest.split_at_mut(classes);
        let (from, slope) = rest.split_at_mut(classes);
        Ok(Once { serves, on: false, keep: false, level, slope, zeta, excess, found, from, farthest: 0.0 })
    }
}

impl Objective<'_, '_, '_> {
    /// Numbers of a point of L-BFGS: D, and s where single reads serve.
    pub fn length(&self) -> usize {
        self.dimension() + usize::from(self.once.serves)
    }

    /// Goes over to single reads about `v`, where the evaluation was just made in full with the means apart.
    pub fn anchor(&mut self, v: &[f64]) {
        let (k, r, l) = (self.classes(), self.wh.rank, self.wh.columns);
        for (j, (mean, sum)) in self.gradient.chunks_exact_mut(l).zip(self.ev.mean.chunks_exact(l)).enumerate() {
            let t = self.ev.class_choices[j].max(f64::MIN_POSITIVE);
            mean.iter_mut().zip(sum).for_each(|(m, s)| *m = s / t);
        }
        let map = Rows { values: self.wh.to_atoms, rows: r, columns: l, stride: l };
        simd::logits(self.ctx.isa, map, self.gradient, None, &mut self.once.slope[..k * r], r);
        let Once { level, slope, from, .. } = &mut self.once;
        for j in 0..k {
            let (beta, slope) = (&v[k - 1 + j * r..][..r], &mut slope[j * r..(j + 1) * r]);
            axpy(-1.0, beta, slope);
            level[j] = self.ev.log_z(0, j) - dot(slope, beta) - 0.5 * dot(beta, beta);
        }
        from.copy_from_slice(self.weights);
        (self.once.on, self.once.farthest) = (true, 0.0);
    }

    /// Goes back to evaluations in full at `v`, the point that steps begin from: its log-odds become those of α', and s 0.
    pub fn settle(&mut self, v: &mut [f64], g: &mut [f64]) {
        let (k, d) = (self.classes(), self.dimension());
        for (e, w) in v[..k - 1].iter_mut().zip(&*self.once.from) {
            *e = libm::log(w.max(1e-300) / self.once.from[k - 1].max(1e-300));
        }
        (v[d], g[d]) = (0.0, 0.0);
        self.once.on = false;
    }

    /// Takes note that steps begin from the point last evaluated. Whether another anchor would serve better.
    pub fn accept(&mut self) -> bool {
        self.once.from.copy_from_slice(self.once.found);
        self.once.farthest > FAR
    }

    /// F and its gradient at `v`, whose mixture was unpacked; `None` where single reads do not serve.
    pub(super) fn evaluate_once(&mut self, v: &[f64], g: &mut [f64]) -> Option<f64> {
        let (k, r, l, d) = (self.classes(), self.wh.rank, self.wh.columns, self.dimension());
        let (eta_beta, s) = (&v[..d], v[d]);
        let beta = &eta_beta[k - 1..];
        let Once { keep, level, slope, zeta, excess, found, farthest, .. } = &mut self.once;
        let slope = &slope[..k * r];
        for (j, zeta) in zeta.iter_mut().enumerate() {
            let beta = &beta[j * r..(j + 1) * r];
            *zeta = level[j] + dot(&slope[j * r..(j + 1) * r], beta) + 0.5 * dot(beta, beta);
        }
        let at = At { weights: self.weights, atoms: self.atoms, zeta, s, keep: *keep };
        let once = self.ev.once(self.data, at, found, excess, self.ctx).ok()??;
        *farthest = once.farthest;
        self.log_likelihood = self.ev.value[0];
        let all: f64 = excess.iter().sum();
        for ((g, e), w) in g.iter_mut().zip(excess.iter()).zip(&*self.weights).take(k - 1) {
            *g = e - w * all;
        }
        g[d] = all;
        let map = Rows { values: self.wh.to_atoms, rows: r, columns: l, stride: l };
        let g_beta = &mut g[k - 1..d];
        simd::logits(self.ctx.isa, map, &self.ev.chosen[..k * l], None, g_beta, r);
        for ((g, e), at) in g_beta.chunks_exact_mut(r.max(1)).zip(excess.iter()).zip((0..).step_by(r.max(1))) {
            axpy(-e, &slope[at..at + r], g);
            axpy(-e, &beta[at..at + r], g);
        }
        axpy(-self.ridge, beta, g_beta);
        self.weights.copy_from_slice(found);
        let f = once.value - penalty(self.ridge, beta);
        (f.is_finite() && g.iter().all(|g| g.is_finite())).then_some(f)
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::data::{Choices, Data, Features};
    use crate::evaluate::Evaluation;
    use crate::parallel::Context;
    use crate::testing::numbers;
    use crate::whiten::Whitening;
    use crate::workspace::WorkspaceBuffer;
    use alloc::vec::Vec;

    #[test]
    fn near_an_anchor_f_has_the_gradient_of_its_differences_and_at_it_the_value_and_gradient_of_the_likelihood() {
        let (p, l, k, ridge) = (300, 6, 3, 2.0);
        let x: Vec<f64> = numbers(p * l, 1).iter().map(|x| 2.0 * x + 0.3).collect();
        let counts: Vec<f64> = numbers(p, 2).iter().map(|x| (9.0 * x + 2.0).max(0.0).floor()).collect();
        let data = Data::new(Features::row_major(&x[..], p, l).unwrap(), None, None, Choices::Counts(&counts)).unwrap();
        let ctx = Context::default();
        let mut buffers: Vec<WorkspaceBuffer> = (0..3).map(|_| WorkspaceBuffer::new(WorkspaceSize::of::<f64>(1 << 18)).unwrap()).collect();
        let [of_whitening, of_evaluation, of_objective] = &mut buffers[..] else { unreachable!() };
        let wh = Whitening::new(&data, ctx.isa, &mut of_whitening.lend()).unwrap();
        let mut ev = Evaluation::new(data.shape(), k, 1, &mut of_evaluation.lend()).unwrap();
        let mut ws = of_objective.lend();
        let mut o = Objective::new(&data, &wh, ridge, ctx, &mut ev, 999, &mut ws).unwrap();
        let n = o.length();
        assert_eq!(n, o.dimension() + 1);
        let (mut v, mut g, mut at_anchor) = (alloc::vec![0.0; n], alloc::vec![0.0; n], alloc::vec![0.0; n]);
        o.pack(&[0.5, 0.2, 0.3], &numbers(k * l, 3), &mut v[..n - 1]);
        let f = o.evaluate_apart(&v, &mut at_anchor).unwrap();
        o.anchor(&v);
        let close = |a: f64, b: f64, eps: f64| assert!((a - b).abs() <= eps * (1.0 + b.abs()), "{a} {b}");
        close(o.evaluate(&v, &mut g).unwrap(), f, 1e-12);
        g.iter().zip(&at_anchor).for_each(|(a, b)| close(*a, *b, 1e-9));
        // Somewhere else, s included.
        v.iter_mut().zip(numbers(n, 4)).for_each(|(v, d)| *v += 0.3 * d);
        o.evaluate(&v, &mut g).unwrap();
        let mut other = alloc::vec![0.0; n];
        for j in 0..n {
            let mut value = |h: f64| {
                let mut w = v.clone();
                w[j] += h;
                o.evaluate(&w, &mut other).unwrap()
            };
            close((value(1e-5) - value(-1e-5)) / 2e-5, g[j], 1e-5);
        }
        // Back to the likelihood, at the weights found: at most less than F promised by nothing.
        let value = o.evaluate(&v, &mut g).unwrap();
        o.accept();
        o.settle(&mut v, &mut g);
        assert!(o.evaluate(&v, &mut g).unwrap() >= value - 1e-9 * value.abs());
        assert_eq!(g[n - 1], 0.0);
    }
}
