//! The moment equations of section 7 over the actual rows, and the step that solves them under the normal law.
//!
//! Let `T(δ) = (δ, δ⊗δ, …, δ^{⊗R})` in the metric `Σ_r ⟨·,·⟩ / r!`, in which Hermite moments of a standard normal are white. The observed moments
//! less those of the model over the rows are a linear function of the residuals `ρ_i = q_i − π_i`, and their
//! projections on the derivatives of `Σ_k a_k T(δ_k)` need no tensor: with `c = y_i·δ_k`, `s = |δ_k|²` and `H_r` the Hermite polynomials of
//! variance s, `H_{r+1} = c H_r − r s H_{r−1}`,
//!
//! | projection on | value |
//! |---|---|
//! | ∂/∂a_k | `Σ_i ρ_i Σ_{r=1..R} H_r / r!` |
//! | ∂/∂δ_k | `a_k Σ_i ρ_i (y_i Σ_{r<R} H_r / r! − δ_k Σ_{r<R−1} H_r / r!)` |
//!
//! The products of the derivatives are `e_R(s) − 1`, `e_{R−1}(s) δ_k` and `e_{R−1}(s) I + e_{R−2}(s) δ_k δ_j^T` at `s = δ_j·δ_k`, with `e_n` the
//! exponential series to order n. So one evaluation costs two reads of X and K columns, like a step of EM, whatever R is.

use super::frame::Frame;
use crate::data::{Data, Shape};
use crate::error::Result;
use crate::evaluate::{block_rows, blocks};
use crate::linalg::{self, axpy, dot};
use crate::parallel::Context;
use crate::simd::{exp_shifted_sum, exp_shifted_sum_to};
use crate::workspace::{Workspace, WorkspaceSize};
use core::mem::MaybeUninit;

/// The moment equations under one base measure and tilt.
pub(crate) struct Equations<'a> {
    pub data: &'a Data<'a>,
    pub frame: Frame<'a>,
    /// `b_i + x_i·η`, p numbers.
    pub log_base: &'a [f64],
    /// Tilt `t_i`, p numbers.
    pub log_weights: &'a [f64],
    /// Observed frequencies, p numbers, and those under the tilt.
    pub frequencies: &'a [f64],
    pub tilted: &'a [f64],
    /// Order R of the moments.
    pub order: usize,
}

/// Memory of [`Equations::residuals`] and [`step`].
pub(crate) struct Scratch<'w> {
    /// `(x_i − m)·(θ_k − η)`, class-major p × K.
    c: &'w mut [f64],
    columns: &'w mut [f64],
    rows: &'w mut [MaybeUninit<f64>],
    /// θ_k − η, K × L; then sums X^T W.
    theta: &'w mut [f64],
    sums: &'w mut [f64],
    /// Vectors of K: log Z, log Z under the tilt, shift m·(θ − η), |δ|², sums of weights.
    log_z: &'w mut [f64],
    log_zt: &'w mut [f64],
    shift: &'w mut [f64],
    square: &'w mut [f64],
    mass: &'w mut [f64],
    down: &'w mut [f64],
    /// For the step: Gram matrix of the atoms, an orthonormal basis of their span, coordinates, the system and its factor.
    gram: &'w mut [f64],
    basis: &'w mut [f64],
    coordinates: &'w mut [f64],
    system: &'w mut [f64],
    right: &'w mut [f64],
    factor: Workspace<'w>,
}

/// Unknowns of the system within the span of the atoms.
fn inner_size(classes: usize, columns: usize) -> usize {
    classes.saturating_mul(classes.min(columns).saturating_add(1))
}

impl<'w> Scratch<'w> {
    pub fn workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
        let of = |a: usize, b: usize| WorkspaceSize::of::<f64>(a.saturating_mul(b));
        let (p, l, k, block) = (shape.rows, shape.columns, classes, block_rows(shape.columns));
        let d = inner_size(k, l);
        let passes = of(p, k).and(of(block, k.saturating_add(2))).and(of(block, l)).and(of(k, l)).and(of(k, l));
        let vectors = of(k, 1).and(of(k, 1)).and(of(k, 1)).and(of(k, 1)).and(of(k, 1)).and(of(k, 1));
        let small = of(k, k).and(of(k.min(l), l)).and(of(k, k.min(l))).and(of(d, d)).and(of(4, d));
        passes.and(vectors).and(small).and(linalg::cholesky_workspace(d).or(linalg::cholesky_workspace(k)))
    }

    pub fn new(shape: &Shape, classes: usize, ws: &mut Workspace<'w>) -> Result<Self> {
        let (p, l, k, block) = (shape.rows, shape.columns, classes, block_rows(shape.columns));
        let d = inner_size(k, l);
        Ok(Scratch {
            c: ws.f64s(p * k)?,
            columns: ws.f64s(block * (k + 2))?,
            rows: ws.room(block * l)?,
            theta: ws.f64s(k * l)?,
            sums: ws.f64s(k * l)?,
            log_z: ws.f64s(k)?,
            log_zt: ws.f64s(k)?,
            shift: ws.f64s(k)?,
            square: ws.f64s(k)?,
            mass: ws.f64s(k)?,
            down: ws.f64s(k)?,
            gram: ws.f64s(k * k)?,
            basis: ws.f64s(k.min(l) * l)?,
            coordinates: ws.f64s(k * k.min(l))?,
            system: ws.f64s(d * d)?,
            right: ws.f64s(4 * d)?,
            factor: ws.split(linalg::cholesky_workspace(d).or(linalg::cholesky_workspace(k)))?,
        })
    }
}

impl Equations<'_> {
    /// At tilted weights a (K) and atoms δ (K × r): the log-likelihood per draw of the untilted model, whose weights go to
    /// `weights`; and the projections of the moment residuals, `residual`: K numbers for a, then K × r for δ. Two reads of X.
    pub fn residuals(
        &self,
        a: &[f64],
        deltas: &[f64],
        weights: &mut [f64],
        residual: &mut [f64],
        s: &mut Scratch<'_>,
        ctx: Context,
    ) -> f64 {
        let (p, l, r, k) = (self.log_base.len(), self.frame.columns, self.frame.rank, a.len());
        let block = block_rows(l);
        let features = self.data.features();
        for (j, theta) in s.theta.chunks_exact_mut(l).enumerate() {
            self.frame.pull(&deltas[j * r..(j + 1) * r], theta);
            s.shift[j] = dot(self.frame.mean, theta);
            s.square[j] = dot(&deltas[j * r..(j + 1) * r], &deltas[j * r..(j + 1) * r]);
        }
        // log Z_k and log Z_k under the tilt, online: the running maximum in `mass`.
        s.mass.fill(f64::NEG_INFINITY);
        s.log_z.fill(0.0);
        s.log_zt.fill(0.0);
        let (tilts, rest) = s.columns.split_at_mut(block);
        let (_, columns) = rest.split_at_mut(block);
        for range in blocks(0..p, block) {
            let n = range.len();
            features.block(range.clone(), s.rows).logits(ctx.isa, s.theta, None, columns, block);
            exp_shifted_sum_to(ctx.isa, &self.log_weights[range.clone()], 0.0, &mut tilts[..n]);
            for j in 0..k {
                let c = &mut s.c[j * p..][range.clone()];
                let mut top = s.mass[j];
                let column = &mut columns[j * block..][..n];
                for ((c, x), g) in c.iter_mut().zip(&mut *column).zip(&self.log_base[range.clone()]) {
                    *c = *x - s.shift[j];
                    *x = *c + g;
                    top = f64::max(top, *x);
                }
                if top > s.mass[j] {
                    let scale = libm::exp(s.mass[j] - top);
                    s.log_z[j] *= scale;
                    s.log_zt[j] *= scale;
                    s.mass[j] = top;
                }
                if top == f64::NEG_INFINITY {
                    continue;
                }
                s.log_z[j] += exp_shifted_sum(ctx.isa, column, top);
                s.log_zt[j] += dot(column, &tilts[..n]);
            }
        }
        let mut total = 0.0;
        for j in 0..k {
            let (z, zt) = (s.log_z[j], s.log_zt[j]);
            weights[j] = a[j] * z / f64::max(zt, f64::MIN_POSITIVE);
            total += weights[j];
            s.log_z[j] = s.mass[j] + libm::log(z);
            s.log_zt[j] = s.mass[j] + libm::log(zt);
        }
        weights.iter_mut().for_each(|w| *w /= total);
        if !weights.iter().chain(&*s.log_zt).all(|x| x.is_finite()) {
            return f64::NEG_INFINITY;
        }
        // Residuals, and their sums with the truncated exponential generating functions of the Hermite polynomials.
        residual.fill(0.0);
        s.sums.fill(0.0);
        s.mass.fill(0.0);
        s.down.fill(0.0);
        let mut value = 0.0;
        let (rho, rest) = s.columns.split_at_mut(block);
        let (pi, columns) = rest.split_at_mut(block);
        for range in blocks(0..p, block) {
            let n = range.len();
            rho[..n].fill(0.0);
            pi[..n].fill(0.0);
            let base = &self.log_base[range.clone()];
            for j in 0..k {
                let (share, tilted) = (weights[j], a[j] * libm::exp(s.log_z[j] - s.log_zt[j]));
                let column = &mut columns[..n];
                for ((e, c), g) in column.iter_mut().zip(&s.c[j * p..][range.clone()]).zip(base) {
                    *e = c + g;
                }
                exp_shifted_sum(ctx.isa, column, s.log_z[j]);
                axpy(share, column, pi);
                axpy(-tilted, column, rho);
            }
            for i in 0..n {
                let at = range.start + i;
                rho[i] = rho[i] * libm::exp(self.log_weights[at]) + self.tilted[at];
                if self.frequencies[at] > 0.0 {
                    value += self.frequencies[at] * libm::log(pi[i]);
                }
            }
            for j in 0..k {
                let column = &mut columns[j * block..][..n];
                let (mut whole, mut up, mut down) = (0.0, 0.0, 0.0);
                for (i, w) in column.iter_mut().enumerate() {
                    let (all, but_one, but_two) = self.series(s.c[j * p + range.start + i], s.square[j]);
                    whole += rho[i] * (all - 1.0);
                    *w = rho[i] * but_one;
                    up += *w;
                    down += rho[i] * but_two;
                }
                residual[j] += whole;
                s.mass[j] += up;
                s.down[j] += down;
            }
            features.block(range, s.rows).weighted_sum(ctx.isa, columns, block, s.sums);
        }
        for j in 0..k {
            let sum = &mut s.sums[j * l..(j + 1) * l];
            axpy(-s.mass[j], self.frame.mean, sum);
            for ((g, row), d) in
                residual[k + j * r..][..r].iter_mut().zip(self.frame.to_atoms.chunks_exact(l)).zip(&deltas[j * r..(j + 1) * r])
            {
                *g = a[j] * (dot(row, sum) - s.down[j] * d);
            }
        }
        value
    }

    /// `Σ H_r(c; s) / r!` to the orders R, R − 1 and R − 2.
    #[inline]
    fn series(&self, c: f64, s: f64) -> (f64, f64, f64) {
        let (mut h, mut before, mut factorial) = (1.0, 0.0, 1.0);
        let (mut all, mut but_one, mut but_two) = (1.0, 0.0, 0.0);
        for r in 0..self.order {
            (h, before) = (c * h - r as f64 * s * before, h);
            factorial *= (r + 1) as f64;
            (all, but_one, but_two) = (all + h / factorial, all, but_one);
        }
        (all, but_one, but_two)
    }

    /// The Gauss–Newton step of the moment equations under the normal law: `direction` (as `residual`), and the metric of its
    /// entries in `scale`. The weights keep their sum. `damping` is relative to the diagonal. False when the system is singular.
    #[allow(clippy::too_many_arguments)]
    pub fn step(
        &self,
        a: &[f64],
        deltas: &[f64],
        residual: &[f64],
        damping: f64,
        direction: &mut [f64],
        scale: &mut [f64],
        s: &mut Scratch<'_>,
    ) -> Result<bool> {
        let (r, k) = (self.frame.rank, a.len());
        let delta = |j: usize| &deltas[j * r..(j + 1) * r];
        for i in 0..k {
            for j in 0..k {
                s.gram[i * k + j] = dot(delta(i), delta(j));
            }
        }
        // An orthonormal basis of the span of the atoms, by Gram and Schmidt, twice.
        let mut span = 0;
        for j in 0..k {
            if span == k.min(r) {
                break;
            }
            let (done, rest) = s.basis.split_at_mut(span * r);
            let v = &mut rest[..r];
            v.copy_from_slice(delta(j));
            for _ in 0..2 {
                for q in done.chunks_exact(r) {
                    let c = dot(q, v);
                    axpy(-c, q, v);
                }
            }
            let norm = libm::sqrt(dot(v, v));
            if norm > 1e-8 * (1.0 + libm::sqrt(s.gram[j * k + j])) {
                v.iter_mut().for_each(|v| *v /= norm);
                span += 1;
            }
        }
        for j in 0..k {
            for b in 0..span {
                s.coordinates[j * span + b] = dot(&s.basis[b * r..(b + 1) * r], delta(j));
            }
        }
        let series = |x: f64, order: usize| {
            let (mut sum, mut term) = (1.0, 1.0);
            for i in 1..=order {
                term *= x / i as f64;
                sum += term;
            }
            sum
        };
        let (whole, one, two) =
            (|x: f64| series(x, self.order) - 1.0, |x: f64| series(x, self.order - 1), |x: f64| series(x, self.order - 2));
        for j in 0..k {
            let square = s.gram[j * k + j];
            scale[j] = whole(square);
            scale[k + j * r..][..r].fill(a[j] * a[j] * one(square));
        }
        let d = k * (span + 1);
        let (right, rest) = s.right.split_at_mut(d);
        let ones = &mut rest[..d];
        for (i, right) in right[..k].iter_mut().enumerate() {
            *right = residual[i];
        }
        for j in 0..k {
            for b in 0..span {
                right[k + j * span + b] = dot(&s.basis[b * r..(b + 1) * r], &residual[k + j * r..][..r]);
            }
        }
        let system = &mut s.system[..d * d];
        system.fill(0.0);
        for i in 0..k {
            for j in 0..k {
                let x = s.gram[i * k + j];
                let (w, o, t) = (whole(x), one(x), two(x));
                system[i * d + j] = w;
                for b in 0..span {
                    // ⟨T(δ_i), ∂/∂δ_j⟩ = a_j e_{R−1} δ_i.
                    let v = a[j] * o * s.coordinates[i * span + b];
                    system[(k + j * span + b) * d + i] = v;
                    for c in 0..span {
                        let outer = t * s.coordinates[j * span + b] * s.coordinates[i * span + c];
                        system[(k + i * span + b) * d + k + j * span + c] = a[i] * a[j] * (if b == c { o } else { 0.0 } + outer);
                    }
                }
            }
        }
        for i in 0..d {
            let least = if i < k { scale[i] } else { scale[k + (i - k) / span.max(1) * r] };
            // An atom at 0 has no moments: its weight stays where it is.
            system[i * d + i] += damping * f64::max(least, 1e-6);
        }
        if !linalg::cholesky(system, d, s.factor.scope())? {
            return Ok(false);
        }
        ones.fill(0.0);
        ones[..k].fill(1.0);
        linalg::solve_cholesky(system, d, right);
        linalg::solve_cholesky(system, d, ones);
        let (sum, norm) = (right[..k].iter().sum::<f64>(), ones[..k].iter().sum::<f64>());
        axpy(-sum / norm, ones, right);
        direction[..k].copy_from_slice(&right[..k]);
        // Across the span the derivatives of the atoms meet only through e_{R−1}: one K × K system for every coordinate.
        let across = &mut s.system[..k * k];
        for i in 0..k {
            for j in 0..k {
                across[i * k + j] = a[i] * a[j] * one(s.gram[i * k + j]);
            }
            across[i * k + i] += damping * scale[k + i * r];
        }
        if !linalg::cholesky(across, k, s.factor.scope())? {
            return Ok(false);
        }
        direction[k..].copy_from_slice(&residual[k..]);
        for part in direction[k..].chunks_exact_mut(r) {
            for q in s.basis[..span * r].chunks_exact(r) {
                let c = dot(q, part);
                axpy(-c, q, part);
            }
        }
        for i in 0..r {
            let column = &mut ones[..k];
            for (j, c) in column.iter_mut().enumerate() {
                *c = direction[k + j * r + i];
            }
            linalg::solve_cholesky(across, k, column);
            for (j, c) in column.iter().enumerate() {
                direction[k + j * r + i] = *c;
            }
        }
        for j in 0..k {
            for b in 0..span {
                axpy(right[k + j * span + b], &s.basis[b * r..(b + 1) * r], &mut direction[k + j * r..][..r]);
            }
        }
        Ok(direction.iter().all(|x| x.is_finite()))
    }
}
