//! The moment equations of section 7 over the actual rows, and the step that solves them under the normal law.
//!
//! Let `T(δ) = (δ, δ⊗δ, …, δ^{⊗R})` in the metric `Σ_r ⟨·,·⟩ / r!`, in which Hermite moments of a standard normal are white. The observed
//! moments less those of the model over the rows are a linear function of the residuals `ρ_i = q_i − π_i`, and their projections on the
//! derivatives of `Σ_k a_k T(δ_k)` need no tensor: with `c = y_i·δ_k`, `s = |δ_k|²` and `H_r` the Hermite polynomials of variance s,
//! `H_{r+1} = c H_r − r s H_{r−1}`,
//!
//! | projection on | value |
//! |---|---|
//! | ∂/∂a_k | `Σ_i ρ_i Σ_{r=1..R} H_r / r!` |
//! | ∂/∂δ_k | `a_k Σ_i ρ_i (y_i Σ_{r<R} H_r / r! − δ_k Σ_{r<R−1} H_r / r!)` |
//!
//! The products of the derivatives are `e_R(s) − 1`, `e_{R−1}(s) δ_k` and `e_{R−1}(s) I + e_{R−2}(s) δ_k δ_j^T` at `s = δ_j·δ_k`, with
//! `e_n` the exponential series to order n. So one evaluation costs two reads of X and K columns, like a step of EM, whatever R is.

use super::frame::Frame;
use crate::data::{Data, Shape};
use crate::error::Result;
use crate::evaluate::{block_rows, blocks};
use crate::linalg::{self, axpy, dot};
use crate::parallel::{Context, TASKS, for_each, take};
use crate::simd::{exp_shifted_sum, exp_shifted_sum_to, hermite_sums, largest, ln_in_place};
use crate::workspace::{Workspace, WorkspaceSize};
use core::mem::MaybeUninit;
use core::ops::Range;

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

/// Memory of [`Equations::residuals`] and [`Equations::step`].
pub(crate) struct Scratch<'w> {
    /// Of every task: sums, columns of a block, and room for its features.
    sums: &'w mut [f64],
    columns: &'w mut [f64],
    rows: &'w mut [MaybeUninit<f64>],
    /// θ_k − η, K × L.
    theta: &'w mut [f64],
    /// Vectors of K: log Z and log Z under the tilt of `x·(θ − η)`, shift m·(θ − η), |δ|².
    log_z: &'w mut [f64],
    log_zt: &'w mut [f64],
    shift: &'w mut [f64],
    square: &'w mut [f64],
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

/// Tasks that a read of X is split into.
fn tasks(shape: &Shape) -> usize {
    TASKS.min(shape.rows.div_ceil(block_rows(shape.columns))).max(1)
}

/// Numbers that a task sums: X^T W, K × L, three for every class, and one.
fn sums_length(columns: usize, classes: usize) -> usize {
    classes.saturating_mul(columns.saturating_add(3)).saturating_add(1)
}

/// One task: some rows, and what is its own.
struct Share<'a> {
    rows: Range<usize>,
    sums: &'a mut [f64],
    columns: &'a mut [f64],
    room: &'a mut [MaybeUninit<f64>],
}

impl<'w> Scratch<'w> {
    pub fn workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
        let of = |a: usize, b: usize| WorkspaceSize::of::<f64>(a.saturating_mul(b));
        let (l, k, block) = (shape.columns, classes, block_rows(shape.columns));
        let d = inner_size(k, l);
        let n = tasks(shape);
        let columns = block.saturating_mul(k.saturating_mul(2).saturating_add(4));
        let passes = of(n, sums_length(l, k)).and(of(n, columns)).and(of(n, block.saturating_mul(l))).and(of(k, l));
        let vectors = of(k, 1).and(of(k, 1)).and(of(k, 1)).and(of(k, 1));
        let small = of(k, k).and(of(k.min(l), l)).and(of(k, k.min(l))).and(of(d, d)).and(of(2, d));
        passes.and(vectors).and(small).and(linalg::cholesky_workspace(d).or(linalg::cholesky_workspace(k)))
    }

    pub fn new(shape: &Shape, classes: usize, ws: &mut Workspace<'w>) -> Result<Self> {
        let (l, k, block, n) = (shape.columns, classes, block_rows(shape.columns), tasks(shape));
        let d = inner_size(k, l);
        Ok(Scratch {
            sums: ws.f64s(n * sums_length(l, k))?,
            columns: ws.f64s(n * block * (2 * k + 4))?,
            rows: ws.room(n * block * l)?,
            theta: ws.f64s(k * l)?,
            log_z: ws.f64s(k)?,
            log_zt: ws.f64s(k)?,
            shift: ws.f64s(k)?,
            square: ws.f64s(k)?,
            gram: ws.f64s(k * k)?,
            basis: ws.f64s(k.min(l) * l)?,
            coordinates: ws.f64s(k * k.min(l))?,
            system: ws.f64s(d * d)?,
            right: ws.f64s(2 * d)?,
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
        let (l, r, k) = (self.frame.columns, self.frame.rank, a.len());
        let block = block_rows(l);
        let (features, ahead) = (self.data.features(), self.data.features().ahead());
        for (j, theta) in s.theta.chunks_exact_mut(l).enumerate() {
            self.frame.pull(&deltas[j * r..(j + 1) * r], theta);
            s.shift[j] = dot(self.frame.mean, theta);
            s.square[j] = dot(&deltas[j * r..(j + 1) * r], &deltas[j * r..(j + 1) * r]);
        }
        // log Z_k and log Z_k under the tilt, online: states (m, z, z under the tilt) of every task.
        let theta = &*s.theta;
        let (n, length) = self.each_task(&mut *s.sums, &mut *s.columns, &mut *s.rows, k, ctx, |share| {
            let Share { rows, sums, columns, room } = share;
            let (m, rest) = sums.split_at_mut(k);
            let (z, rest) = rest.split_at_mut(k);
            let zt = &mut rest[..k];
            m.fill(f64::NEG_INFINITY);
            z.fill(0.0);
            zt.fill(0.0);
            let (tilts, columns) = columns.split_at_mut(block);
            for range in blocks(rows.clone(), block) {
                let n = range.len();
                let x = features.block(range.clone(), room);
                x.logits(ctx.isa, theta, Some(&self.log_base[range.clone()]), columns, block, ahead);
                exp_shifted_sum_to(ctx.isa, &self.log_weights[range], 0.0, &mut tilts[..n]);
                for j in 0..k {
                    let column = &mut columns[j * block..][..n];
                    let top = largest(ctx.isa, column);
                    if top > m[j] {
                        let scale = libm::exp(m[j] - top);
                        z[j] *= scale;
                        zt[j] *= scale;
                        m[j] = top;
                    }
                    if m[j] == f64::NEG_INFINITY {
                        continue;
                    }
                    z[j] += exp_shifted_sum(ctx.isa, column, m[j]);
                    zt[j] += dot(column, &tilts[..n]);
                }
            }
        });
        let mut total = 0.0;
        for j in 0..k {
            let states = || s.sums[..n * length].chunks_exact(length).map(|sums| (sums[j], sums[k + j], sums[2 * k + j]));
            let m = states().fold(f64::NEG_INFINITY, |m, state| f64::max(m, state.0));
            let (mut z, mut zt) = (0.0, 0.0);
            for state in states().filter(|state| state.0 > f64::NEG_INFINITY) {
                let share = libm::exp(state.0 - m);
                z += share * state.1;
                zt += share * state.2;
            }
            weights[j] = a[j] * z / f64::max(zt, f64::MIN_POSITIVE);
            total += weights[j];
            s.log_z[j] = m + libm::log(z);
            s.log_zt[j] = m + libm::log(zt);
        }
        weights.iter_mut().for_each(|w| *w /= total);
        if !weights.iter().chain(&*s.log_zt).all(|x| x.is_finite()) {
            return f64::NEG_INFINITY;
        }
        // Residuals, and their sums with the truncated exponential generating functions of the Hermite polynomials.
        let (log_z, log_zt, shift, square, weights) = (&*s.log_z, &*s.log_zt, &*s.shift, &*s.square, &*weights);
        let (n, length) = self.each_task(&mut *s.sums, &mut *s.columns, &mut *s.rows, k, ctx, |share| {
            let Share { rows, sums, columns, room } = share;
            sums.fill(0.0);
            let (features_sum, rest) = sums.split_at_mut(k * l);
            let (of_classes, value) = rest.split_at_mut(3 * k);
            let (rho, rest) = columns.split_at_mut(block);
            let (pi, rest) = rest.split_at_mut(block);
            let (tilts, rest) = rest.split_at_mut(block);
            let (column, rest) = rest.split_at_mut(block);
            let (c, w) = rest.split_at_mut(k * block);
            for range in blocks(rows.clone(), block) {
                let n = range.len();
                let (rho, pi, tilts, column) = (&mut rho[..n], &mut pi[..n], &mut tilts[..n], &mut column[..n]);
                rho.fill(0.0);
                pi.fill(0.0);
                let x = features.block(range.clone(), room);
                let [first, second] = features.halves(ahead, n);
                x.logits(ctx.isa, theta, None, c, block, first);
                // Whatever stands for alternatives that are not available: polynomials of it may be infinite.
                for (i, _) in self.log_base[range.clone()].iter().enumerate().filter(|(_, g)| **g == f64::NEG_INFINITY) {
                    c[i..].iter_mut().step_by(block).take(k).for_each(|c| *c = 0.0);
                }
                for j in 0..k {
                    let (share, tilted) = (weights[j], a[j] * libm::exp(log_z[j] - log_zt[j]));
                    for ((e, c), g) in column.iter_mut().zip(&c[j * block..]).zip(&self.log_base[range.clone()]) {
                        *e = c + g;
                    }
                    exp_shifted_sum(ctx.isa, column, log_z[j]);
                    axpy(share, column, pi);
                    axpy(-tilted, column, rho);
                }
                exp_shifted_sum_to(ctx.isa, &self.log_weights[range.clone()], 0.0, tilts);
                for ((rho, tilt), q) in rho.iter_mut().zip(&*tilts).zip(&self.tilted[range.clone()]) {
                    *rho = *rho * tilt + q;
                }
                ln_in_place(ctx.isa, pi);
                for (log, q) in pi.iter().zip(&self.frequencies[range]).filter(|(_, q)| **q > 0.0) {
                    value[0] += q * log;
                }
                for j in 0..k {
                    let (c, w) = (&c[j * block..][..n], &mut w[j * block..][..n]);
                    let found = hermite_sums(ctx.isa, c, shift[j], square[j], self.order, rho, w);
                    of_classes[3 * j..][..3].iter_mut().zip(found).for_each(|(sum, found)| *sum += found);
                }
                x.weighted_sum(ctx.isa, w, block, features_sum, second);
            }
        });
        // Sums over the tasks, in their order.
        let (first, others) = s.sums[..n * length].split_at_mut(length);
        others.chunks_exact(length).for_each(|other| axpy(1.0, other, first));
        for j in 0..k {
            let [whole, up, down] = [0, 1, 2].map(|i| first[k * l + 3 * j + i]);
            let sum = &mut first[j * l..(j + 1) * l];
            axpy(-up, self.frame.mean, sum);
            residual[j] = whole;
            for ((g, row), d) in
                residual[k + j * r..][..r].iter_mut().zip(self.frame.to_atoms.chunks_exact(l)).zip(&deltas[j * r..(j + 1) * r])
            {
                *g = a[j] * (dot(row, sum) - down * d);
            }
        }
        first[k * (l + 3)]
    }

    /// Runs `body` over the tasks of a read of X for K classes: how many there are, and how many numbers each sums.
    fn each_task(
        &self,
        sums: &mut [f64],
        columns: &mut [f64],
        rows: &mut [MaybeUninit<f64>],
        classes: usize,
        ctx: Context,
        body: impl Fn(&mut Share<'_>) + Sync,
    ) -> (usize, usize) {
        let (p, l) = (self.log_base.len(), self.frame.columns);
        let (block, n, length) = (block_rows(l), tasks(&self.data.shape()), sums_length(l, classes));
        let all = p.div_ceil(block);
        let (mut sums, mut columns, mut rows) = (sums, columns, rows);
        let mut shares: [Option<Share<'_>>; TASKS] = [const { None }; TASKS];
        for (t, share) in shares.iter_mut().enumerate().take(n) {
            let range = (t * all / n * block).min(p)..((t + 1) * all / n * block).min(p);
            let columns = take(&mut columns, block * (2 * classes + 4));
            *share = Some(Share { rows: range, sums: take(&mut sums, length), columns, room: take(&mut rows, block * l) });
        }
        for_each(ctx.threads, &mut shares[..n], |share| {
            if let Some(share) = share {
                body(share);
            }
        });
        (n, length)
    }

    /// The Gauss–Newton step of the moment equations under the normal law: `direction` (as `residual`), and the metric of its
    /// entries in `scale`. The weights keep their sum. `damping` is relative to the diagonal. False when the system is singular.
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
