//! Second-order quantities of section 4: curvature of the classes, observed information (Louis), unit scores, and products
//! of the Hessian with a vector.
//!
//! | quantity | formula |
//! |---|---|
//! | class curvature | `H_k = Σ_s t_sk Cov_{A_sk}(x)` |
//! | unit scores | `y_uk = Σ_i c_ui (x_i − μ_s(i)k)`, and in the log-odds `e_k − α` |
//! | observed information | `complete − Σ_u w_u Cov_{r_u}(e_k, y_uk)` |
//! | score products | `Σ_u w_u^q s_u s_u^T`, `s_u = Σ_k r_uk (e_k − α, y_uk)` |
//!
//! The packed parameters are the K − 1 log-odds against the last class, then the atoms, class after class.

use super::block_rows;
use super::passes::{Evaluation, blocks, normalize};
use crate::data::{Data, Shape};
use crate::error::Result;
use crate::linalg::{axpy, dot, symmetrize};
use crate::parallel::Context;
use crate::simd::{self, Rows};
use crate::whiten::{centered_scratch, for_each_centered_block};
use crate::workspace::{Workspace, WorkspaceSize};

impl Evaluation<'_> {
    /// Workspace of [`Evaluation::class_curvature`] for C columns.
    pub fn curvature_workspace(shape: &Shape, columns: usize) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        let block = of(block_rows(shape.columns));
        let rows = of(block_rows(shape.columns).saturating_mul(shape.columns));
        of(centered_scratch(shape.columns)).and(block).and(of(shape.columns.saturating_mul(columns))).and(rows).and(block)
    }

    /// `H_c = Σ_s t_sc Cov_{A_sc}(x)` for every column c: C matrices L × L, at the last `normalizers` and the last `t`.
    /// Cost: p L² C / 2.
    pub fn class_curvature(&mut self, data: &Data<'_>, h: &mut [f64], ctx: Context, mut ws: Workspace<'_>) -> Result<()> {
        let (l, c) = (self.shape.columns, self.columns());
        let scratch = ws.f64s(centered_scratch(l))?;
        let weights = ws.f64s(block_rows(l))?;
        let sums = ws.f64s(c * l)?;
        let set_sums = ws.f64s(block_rows(l) * l)?;
        let scales = ws.f64s(block_rows(l))?;
        let minus_inverse = |t: f64| if t > 0.0 { -1.0 / t } else { 0.0 };
        h[..c * l * l].fill(0.0);
        self.passes += 1;
        let ev = &*self;
        for_each_centered_block(data, scratch, |group, range, rows| {
            let x = Rows { values: &*rows, rows: range.len(), columns: l, stride: l };
            for k in 0..c {
                let w = &mut weights[..range.len()];
                w.iter_mut().zip(range.clone()).for_each(|(w, i)| *w = ev.probability(i, k));
                let h = &mut h[k * l * l..(k + 1) * l * l];
                // Σ w z z^T − Σ_s v_s v_s^T / t_s with v_s = Σ_{i∈s} w_i z_i: the second sum too is a product of a block, once its sets are complete.
                if group.len() == 1 {
                    let (t, set) = (ev.t(group.start, k), data.set(group.start));
                    w.iter_mut().for_each(|w| *w *= t);
                    let v = &mut sums[k * l..(k + 1) * l];
                    simd::weighted_sum(ctx.isa, x, w, w.len(), v);
                    if range.end == set.end && !data.splits_rows() {
                        simd::gram(ctx.isa, Rows { values: &*v, rows: 1, columns: l, stride: l }, &[minus_inverse(t)], h);
                        v.fill(0.0);
                    }
                } else {
                    let v = &mut set_sums[..group.len() * l];
                    v.fill(0.0);
                    for ((set, v), scale) in group.clone().zip(v.chunks_exact_mut(l)).zip(&mut *scales) {
                        let (t, set) = (ev.t(set, k), data.set(set));
                        let rows = set.start - range.start..set.end - range.start;
                        for (w, z) in w[rows.clone()].iter_mut().zip(x.values[rows.start * l..].chunks_exact(l)) {
                            *w *= t;
                            let w = *w;
                            v.iter_mut().zip(z).for_each(|(v, z)| *v += w * z);
                        }
                        *scale = minus_inverse(t);
                    }
                    simd::gram(ctx.isa, Rows { values: &*v, rows: group.len(), columns: l, stride: l }, &scales[..group.len()], h);
                }
                simd::gram(ctx.isa, x, w, h);
            }
        })?;
        if data.splits_rows() {
            data.sum(sums)?;
        }
        data.sum(&mut h[..c * l * l])?;
        if data.splits_rows() {
            for (k, (v, h)) in sums.chunks_exact(l).zip(h.chunks_exact_mut(l * l)).enumerate() {
                let v = Rows { values: v, rows: 1, columns: l, stride: l };
                simd::gram(ctx.isa, v, &[minus_inverse(self.t(0, k))], h);
            }
        }
        h[..c * l * l].chunks_exact_mut(l * l).for_each(|h| symmetrize(h, l));
        Ok(())
    }

    /// Mean features `μ_sk = Σ_{i∈s} A_ik x_i` of every set and class: sets × K × L, of one start, after `normalizers`.
    pub fn set_means(&self, data: &Data<'_>, means: &mut [f64]) -> Result<()> {
        let (l, c) = (self.shape.columns, self.columns());
        if data.splits_rows() {
            return self.split_set_means(data, means);
        }
        for (set, means) in means.chunks_exact_mut(c * l).enumerate() {
            means.fill(0.0);
            let (first, set) = (data.first_available(set), data.set(set));
            // About the first row there is, so that a common shift of the features costs no digits.
            for i in set.clone() {
                for (k, mean) in means.chunks_exact_mut(l).enumerate() {
                    let a = self.probability(i, k);
                    for (j, m) in mean.iter_mut().enumerate() {
                        *m += a * (data.features().get(i, j) - data.features().get(first, j));
                    }
                }
            }
            for mean in means.chunks_exact_mut(l) {
                for (j, m) in mean.iter_mut().enumerate() {
                    *m += data.features().get(first, j);
                }
            }
        }
        Ok(())
    }

    /// `log α_k + log P(u | k)` of unit `u`, K numbers of one start, after `normalizers`.
    pub fn unit_log_joint(&self, data: &Data<'_>, weights: &[f64], u: usize, out: &mut [f64]) {
        for (k, j) in out.iter_mut().enumerate() {
            let chosen = data.entries(u).filter(|e| e.1 != 0.0);
            *j = chosen.map(|(i, n)| n * self.log_probability(data, i, k)).sum::<f64>();
        }
        if data.splits_units() {
            // A failure is found by whoever began the operation.
            let _ = data.sum(out);
        }
        out.iter_mut().zip(weights).for_each(|(j, w)| *j += libm::log(*w));
    }

    /// Responsibilities of unit `u`, K numbers of one start, after `normalizers`; its log-likelihood.
    pub fn unit_responsibilities(&self, data: &Data<'_>, weights: &[f64], u: usize, out: &mut [f64]) -> f64 {
        self.unit_log_joint(data, weights, u, out);
        normalize(out)
    }

    /// Runs `body(u, w, r, y)` over the units of positive weight: responsibilities r (K) and scores
    /// `y_uk = Σ_i c_ui (x_i − μ_s(i)k)` (K × L) of one start, after `normalizers`; `means` from [`Self::set_means`].
    pub fn for_each_unit(
        &self,
        data: &Data<'_>,
        weights: &[f64],
        means: &[f64],
        scratch: &mut [f64],
        mut body: impl FnMut(usize, f64, &[f64], &[f64]),
    ) {
        let (l, c) = (self.shape.columns, self.columns());
        let (r, rest) = scratch.split_at_mut(c);
        let (y, row) = rest.split_at_mut(c * l);
        for u in 0..self.shape.units {
            let w = data.unit_weight(u);
            if w == 0.0 {
                continue;
            }
            self.unit_responsibilities(data, weights, u, r);
            y.fill(0.0);
            for (i, n) in data.entries(u).filter(|e| e.1 != 0.0) {
                data.features().copy(i..i + 1, row);
                let means = &means[if self.shape.sets == 1 { 0 } else { data.set_of(i) } * c * l..][..c * l];
                for (y, mean) in y.chunks_exact_mut(l).zip(means.chunks_exact(l)) {
                    for ((y, x), m) in y.iter_mut().zip(&*row).zip(mean) {
                        *y += n * (x - m);
                    }
                }
            }
            if data.splits_units() {
                let _ = data.sum(y);
            }
            body(u, w, r, y);
        }
    }

    /// Workspace of [`Evaluation::information`] and [`Evaluation::score_products`] for K classes.
    pub fn information_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        let (l, kl) = (shape.columns, classes.saturating_mul(shape.columns));
        let curvature = of(kl.saturating_mul(l)).and(Self::curvature_workspace(shape, classes));
        let units = of(kl.saturating_mul(shape.sets)).and(of(kl.saturating_add(classes).saturating_add(l)));
        curvature.or(units.and(of(classes.saturating_add(kl))))
    }

    /// Minus the Hessian of the unpenalised ℓ of one start in the packed parameters, D × D with D = K − 1 + K L, after
    /// `evaluate`: complete-data information less the covariance, under the responsibilities, of the scores.
    /// Cost: p L² K / 2 + U (K L)² / 2.
    pub fn information(&mut self, data: &Data<'_>, weights: &[f64], out: &mut [f64], ctx: Context, mut ws: Workspace<'_>) -> Result<()> {
        let (l, c) = (self.shape.columns, self.columns());
        let (e, d) = (c - 1, c - 1 + c * l);
        out.fill(0.0);
        {
            let mut ws = ws.scope();
            let h = ws.f64s(c * l * l)?;
            self.class_curvature(data, h, ctx, ws)?;
            for (k, h) in h.chunks_exact(l * l).enumerate() {
                for (a, row) in h.chunks_exact(l).enumerate() {
                    out[(e + k * l + a) * d + e + k * l..][..l].copy_from_slice(row);
                }
            }
        }
        let total = data.total_weight();
        for a in 0..e {
            for b in 0..e {
                out[a * d + b] = total * (if a == b { weights[a] } else { 0.0 } - weights[a] * weights[b]);
            }
        }
        let means = ws.f64s(self.shape.sets * c * l)?;
        let scratch = ws.f64s(c + c * l + l)?;
        self.set_means(data, means)?;
        data.share_over_units(out);
        self.for_each_unit(data, weights, means, scratch, |_, w, r, y| {
            for k in 0..c {
                for m in 0..=k {
                    let v = w * r[k] * (if k == m { 1.0 } else { 0.0 } - r[m]);
                    if v == 0.0 {
                        continue;
                    }
                    let ym = &y[m * l..(m + 1) * l];
                    let yk = &y[k * l..(k + 1) * l];
                    if k < e {
                        out[k * d + m] -= v;
                    }
                    if m < e {
                        // Log-odds of m against the atom of k, and of k against the atom of m.
                        for a in 0..l {
                            out[(e + k * l + a) * d + m] -= v * yk[a];
                        }
                    }
                    if k < e && k != m {
                        for a in 0..l {
                            out[(e + m * l + a) * d + k] -= v * ym[a];
                        }
                    }
                    for a in 0..l {
                        let row = (e + k * l + a) * d + e + m * l;
                        let end = if k == m { a + 1 } else { l };
                        axpy(-v * yk[a], &ym[..end], &mut out[row..row + end]);
                    }
                }
            }
        });
        data.reduced()?;
        data.sum_over_units(out)?;
        symmetrize(out, d);
        Ok(())
    }

    /// The middle of the sandwich `Σ_u w_u^q s_u s_u^T`, D × D, of one start, after `evaluate`; `sampling`: q = 2, else 1.
    pub fn score_products(&self, data: &Data<'_>, weights: &[f64], sampling: bool, out: &mut [f64], mut ws: Workspace<'_>) -> Result<()> {
        let (l, c) = (self.shape.columns, self.columns());
        let (e, d) = (c - 1, c - 1 + c * l);
        let means = ws.f64s(self.shape.sets * c * l)?;
        let scratch = ws.f64s(c + c * l + l)?;
        let score = ws.f64s(d)?;
        out.fill(0.0);
        self.set_means(data, means)?;
        self.for_each_unit(data, weights, means, scratch, |_, w, r, y| {
            for k in 0..e {
                score[k] = r[k] - weights[k];
            }
            for ((score, y), r) in score[e..].chunks_exact_mut(l).zip(y.chunks_exact(l)).zip(r) {
                score.iter_mut().zip(y).for_each(|(s, y)| *s = r * y);
            }
            let q = if sampling { w * w } else { w };
            for a in 0..d {
                axpy(q * score[a], &score[..=a], &mut out[a * d..=a * d + a]);
            }
        });
        data.reduced()?;
        data.sum_over_units(out)?;
        symmetrize(out, d);
        Ok(())
    }

    /// Workspace of [`Evaluation::hessian_vector`] for K classes.
    pub fn hessian_vector_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
        let of = |n: usize| WorkspaceSize::of::<f64>(n.saturating_mul(classes));
        let block = WorkspaceSize::of::<f64>(block_rows(shape.columns).saturating_mul(shape.columns));
        of(shape.rows).and(of(shape.rows)).and(of(shape.sets)).and(of(shape.sets)).and(of(block_rows(shape.columns))).and(of(2)).and(block)
    }

    /// The Hessian of the unpenalised ℓ of one start times `v`, packed parameters, after `evaluate`. Two reads of X and no
    /// L × L matrix: with `ds_ik = x_i·v_k`, `dA_ik = A_ik (ds_ik − Σ_j A_jk ds_jk)`, and the change `dr` of the responsibilities,
    /// the part of θ_k is `X^T (dΩ − dt ∘ A − t ∘ dA)`.
    pub fn hessian_vector(
        &mut self,
        data: &Data<'_>,
        weights: &[f64],
        v: &[f64],
        out: &mut [f64],
        ctx: Context,
        mut ws: Workspace<'_>,
    ) -> Result<()> {
        let (l, c, p, sets) = (self.shape.columns, self.columns(), self.shape.rows, self.shape.sets);
        let (e, block) = (c - 1, block_rows(l));
        let (v_eta, v_theta) = v.split_at(e);
        let ds = ws.f64s(p * c)?;
        let d_omega = ws.f64s(p * c)?;
        let mean_ds = ws.f64s(sets * c)?;
        let dt = ws.f64s(sets * c)?;
        let columns = ws.f64s(block * c)?;
        let (r, a) = ws.f64s(2 * c)?.split_at_mut(c);
        let rows = ws.f64s(block * l)?;
        self.passes += 2;
        for range in blocks(0..p, block) {
            let x = data.features().block(range.clone(), rows);
            x.logits(ctx.isa, v_theta, None, columns, block);
            for k in 0..c {
                ds[k * p..][range.clone()].copy_from_slice(&columns[k * block..][..range.len()]);
            }
        }
        for k in 0..c {
            for set in 0..sets {
                let mut mean = 0.0;
                for i in data.set(set) {
                    mean += self.probability(i, k) * ds[k * p + i];
                }
                mean_ds[k * sets + set] = mean;
            }
        }
        if data.splits_rows() {
            data.sum(mean_ds)?;
        }
        let weight_mean = dot(&weights[..e], v_eta);
        out.fill(0.0);
        for u in 0..self.shape.units {
            let w = data.unit_weight(u);
            if w == 0.0 {
                continue;
            }
            self.unit_responsibilities(data, weights, u, r);
            a.fill(0.0);
            for (i, n) in data.entries(u).filter(|e| e.1 != 0.0) {
                let set = if sets == 1 { 0 } else { data.set_of(i) };
                for (k, a) in a.iter_mut().enumerate() {
                    *a += n * (ds[k * p + i] - mean_ds[k * sets + set]);
                }
            }
            if data.splits_units() {
                data.sum(a)?;
            }
            for (k, a) in a.iter_mut().enumerate() {
                *a += if k < e { v_eta[k] } else { 0.0 } - weight_mean;
            }
            let mean = dot(r, a);
            for (k, r) in r.iter_mut().enumerate() {
                *r *= w * (a[k] - mean);
                if k < e {
                    out[k] += *r;
                }
            }
            for (i, n) in data.entries(u).filter(|e| e.1 != 0.0) {
                let set = if sets == 1 { 0 } else { data.set_of(i) };
                for (k, dr) in r.iter().enumerate() {
                    d_omega[k * p + i] += n * dr;
                    dt[k * sets + set] += n * dr;
                }
            }
        }
        if data.splits_rows() {
            data.sum(dt)?;
        }
        data.sum_over_units(&mut out[..e])?;
        for (k, out) in out[..e].iter_mut().enumerate() {
            *out -= data.total_weight() * weights[k] * (v_eta[k] - weight_mean);
        }
        for k in 0..c {
            for set in 0..sets {
                let (t, dt, mean) = (self.t(set, k), dt[k * sets + set], mean_ds[k * sets + set]);
                for i in data.set(set) {
                    let a = self.probability(i, k);
                    d_omega[k * p + i] -= a * (dt + t * (ds[k * p + i] - mean));
                }
            }
        }
        for range in blocks(0..p, block) {
            for k in 0..c {
                columns[k * block..][..range.len()].copy_from_slice(&d_omega[k * p..][range.clone()]);
            }
            data.features().block(range, rows).weighted_sum(ctx.isa, columns, block, &mut out[e..]);
        }
        data.sum(&mut out[e..])
    }
}
