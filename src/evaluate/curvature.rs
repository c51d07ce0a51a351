//! Second-order quantities of section 4: curvature of the classes, observed information (Louis), and products of the Hessian with a vector.
//!
//! | quantity | formula |
//! |---|---|
//! | class curvature | `H_k = Σ_s t_sk Cov_{A_sk}(x)` |
//! | unit scores | `y_uk = Σ_i c_ui (x_i − μ_s(i)k)`, and in the log-odds `e_k − α` |
//! | observed information | `complete − Σ_u w_u Cov_{r_u}(e_k, y_uk)` |
//! | score products (`scores.rs`) | `Σ_u w_u^q s_u s_u^T`, `s_u = Σ_k r_uk (e_k − α, y_uk)` |
//!
//! The packed parameters are the K − 1 log-odds against the last class, then the atoms, class after class.

use super::draws::Draws;
use super::layout::blocks;
use super::layout::{MOST_SETS, most_block_rows};
use super::panel::groups_piece;
use super::passes::Evaluation;
use super::scores::{SetCursor, Units, score_block, unit_scores, unit_scratch};
use super::tasks::share;
use crate::data::{Data, Shape};
use crate::error::Result;
use crate::linalg::{axpy, dot, symmetrize};
use crate::parallel::{Context, TASKS, for_each, sum_over, take};
use crate::simd::{self, Isa, Rows};
use crate::whiten::{Origin, centered_scratch, centered_share, for_each_centered_block, moment_rows};
use crate::workspace::{Workspace, WorkspaceSize};
use core::ops::Range;

/// Tasks of [`Evaluation::class_curvature`]: a fixed number, and no more than keep their sums smaller than a quarter of the features.
pub(super) fn curvature_tasks(shape: &Shape, columns: usize) -> usize {
    let blocks = shape.rows.div_ceil(moment_rows(shape.columns));
    if shape.is_part() { 1 } else { TASKS.min(blocks).min(room_for_sums(shape) / columns.max(1)).max(1) }
}

/// How many matrices L × L are a quarter of the features.
fn room_for_sums(shape: &Shape) -> usize {
    shape.rows / shape.columns.saturating_mul(4).max(1)
}

/// Numbers of scratch of [`Evaluation::curvature_of_rows`].
fn curvature_piece(shape: &Shape, columns: usize) -> usize {
    let (l, rows) = (shape.columns, moment_rows(shape.columns));
    let of_rows = rows.saturating_mul(l.saturating_add(SIDE_BY_SIDE + 1)).saturating_add(centered_scratch(l));
    columns.saturating_mul(l).saturating_add(of_rows)
}

/// Columns whose sums are taken together.
const SIDE_BY_SIDE: usize = 8;

/// A share of the rows: what is its own of the sums and of the scratch.
struct CurvatureTask<'a> {
    t: usize,
    /// Blocks of groups.
    blocks: Range<usize>,
    h: &'a mut [f64],
    /// Of choice sets side by side, where they are wanted.
    set_means: &'a mut [f64],
    scratch: &'a mut [f64],
    result: Result<()>,
}

/// Units of a task at least.
const FEW_UNITS: usize = 32;

/// Numbers that [`Evaluation::information_of_units`] sums.
fn information_sums(shape: &Shape, classes: usize) -> usize {
    let (l, kl) = (shape.columns, classes.saturating_mul(shape.columns));
    let d = kl.saturating_add(classes).saturating_sub(1);
    d.saturating_mul(d).saturating_add(kl.saturating_mul(l.saturating_add(1))).saturating_add(classes)
}

/// Tasks of the units: a fixed number, and no more than keep their sums smaller than a quarter of the features.
pub(super) fn information_tasks(shape: &Shape, classes: usize) -> usize {
    let blocks = shape.units.div_ceil(FEW_UNITS);
    let room = shape.rows.saturating_mul(shape.columns) / 4 / information_sums(shape, classes).max(1);
    if shape.is_part() { 1 } else { TASKS.min(blocks).min(room).max(1) }
}

/// `−1 / t`, or 0 of a class that rules a choice set out: the inverse of a number that is not normal is infinite.
fn minus_inverse(t: f64) -> f64 {
    if t >= f64::MIN_POSITIVE { -1.0 / t } else { 0.0 }
}

impl Evaluation<'_> {
    /// Workspace of [`Evaluation::class_curvature`] for at most C columns.
    pub fn curvature_workspace(shape: &Shape, columns: usize) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        // Fewer columns may have more tasks, but then no more sums than there is room for.
        let tasks = curvature_tasks(shape, 1);
        let sums = columns.saturating_mul(tasks - 1).min(room_for_sums(shape)).saturating_mul(shape.columns.saturating_mul(shape.columns));
        let piece = if shape.sets > 1 {
            curvature_piece(shape, columns).max(groups_piece(shape.columns, columns, MOST_SETS, most_block_rows(shape)))
        } else {
            curvature_piece(shape, columns)
        };
        of(sums).and(of(piece.saturating_mul(tasks)))
    }

    /// `H_c = Σ_s t_sc Cov_{A_sc}(x)` for every column c: C matrices L × L, at the last `normalizers` and the last `t`.
    /// Cost: p L² C / 2.
    pub fn class_curvature(&mut self, data: &Data<'_>, h: &mut [f64], ctx: Context, ws: Workspace<'_>) -> Result<()> {
        self.curvature(data, false, &mut [], h, ctx, ws)
    }

    /// [`Self::class_curvature`] and [`Self::set_means`]: of choice sets side by side in one read.
    pub fn curvature_and_set_means(
        &mut self,
        data: &Data<'_>,
        h: &mut [f64],
        means: &mut [f64],
        ctx: Context,
        ws: Workspace<'_>,
    ) -> Result<()> {
        if self.layout.is_grouped() {
            return self.curvature(data, false, means, h, ctx, ws);
        }
        self.class_curvature(data, h, ctx, ws)?;
        self.set_means(data, means, ctx)
    }

    /// [`Self::means`] and [`Self::class_curvature`]: of choice sets side by side in one read.
    pub fn means_and_curvature(&mut self, data: &Data<'_>, h: &mut [f64], ctx: Context, ws: Workspace<'_>) -> Result<()> {
        let grouped = self.layout.is_grouped();
        if !grouped {
            self.means(data, ctx)?;
        }
        self.curvature(data, grouped, &mut [], h, ctx, ws)
    }

    /// The curvature; of choice sets side by side `with_means`, too, and the means of the sets where there is room for them.
    fn curvature(
        &mut self,
        data: &Data<'_>,
        with_means: bool,
        set_means: &mut [f64],
        h: &mut [f64],
        ctx: Context,
        mut ws: Workspace<'_>,
    ) -> Result<()> {
        let (l, c) = (self.shape.columns, self.columns());
        let h = &mut h[..c * l * l];
        let n = curvature_tasks(&self.shape, c);
        let grouped = self.layout.is_grouped();
        // Of the blocks that are there, not of the largest there may be.
        let piece = match grouped {
            true => groups_piece(l, c, self.layout.sets_of_block(), self.layout.longest()),
            false => curvature_piece(&self.shape, c),
        };
        let (others, pieces) = (ws.f64s((n - 1) * h.len())?, ws.f64s(n * piece)?);
        self.passes += 1;
        let ev = &*self;
        let failed = {
            let mut tasks: [Option<CurvatureTask<'_>>; TASKS] = [const { None }; TASKS];
            let mut left = set_means;
            let sums = core::iter::once(&mut *h).chain(others.chunks_exact_mut((c * l * l).max(1)));
            for (t, (task, (h, scratch))) in tasks.iter_mut().zip(sums.zip(pieces.chunks_exact_mut(piece.max(1)))).enumerate() {
                let blocks = share(&ev.layout, t, n);
                let set_means = take(&mut left, blocks.len() * ev.layout.sets_of_block() * c * l);
                *task = Some(CurvatureTask { t, blocks, h, set_means, scratch, result: Ok(()) });
            }
            for_each(ctx.threads, &mut tasks[..n], |task| {
                let Some(CurvatureTask { t, blocks, h, set_means, scratch, result }) = task else { return };
                h.fill(0.0);
                match grouped {
                    true => ev.curvature_of_groups(blocks.clone(), h, set_means, scratch, ctx),
                    false => *result = ev.curvature_of_rows(data, *t, n, h, scratch, ctx),
                }
            });
            tasks.into_iter().flatten().find_map(|task| task.result.err())
        };
        if let Some(error) = failed {
            return Err(error);
        }
        // Sums over the tasks, in their order.
        for other in others.chunks_exact((c * l * l).max(1)) {
            axpy(1.0, other, h);
        }
        if with_means {
            let mean = &mut self.mean[..c * l];
            mean.fill(0.0);
            pieces.chunks_exact(piece).for_each(|piece| axpy(1.0, &piece[..c * l], mean));
            data.sum(mean)?;
        }
        // Of one choice set, whose rows are in several tasks or on several ranks, v is known only now.
        let correct = |ev: &Self, v: &[f64], h: &mut [f64]| {
            for (k, (v, h)) in v.chunks_exact(l).zip(h.chunks_exact_mut(l * l)).enumerate() {
                simd::gram(ctx.isa, Rows { values: v, rows: 1, columns: l, stride: l }, &[minus_inverse(ev.t(0, k))], h);
            }
        };
        let one = self.shape.sets == 1;
        let (first, rest) = pieces.split_at_mut(piece);
        let v = &mut first[..if one { c * l } else { 0 }];
        for other in rest.chunks_exact(piece.max(1)) {
            axpy(1.0, &other[..v.len()], v);
        }
        if one && !data.splits_rows() {
            correct(self, v, h);
        }
        if data.splits_rows() {
            data.sum(v)?;
        }
        data.sum(h)?;
        if data.splits_rows() {
            correct(self, v, h);
        }
        h.chunks_exact_mut((l * l).max(1)).for_each(|h| symmetrize(h, l));
        Ok(())
    }

    /// Share `t` of `n` of `Σ_i t A z z^T − Σ_s v_s v_s^T / t_s`, `v_s = Σ_{i∈s} t A z`, the lower triangles: a product of rows, and one of
    /// the sums of sets. Of one choice set the first of them alone; its v is left at the front of `scratch`.
    fn curvature_of_rows(&self, data: &Data<'_>, t: usize, n: usize, h: &mut [f64], scratch: &mut [f64], ctx: Context) -> Result<()> {
        let (l, c) = (self.shape.columns, self.columns());
        let (sums, rest) = scratch.split_at_mut(c * l);
        let (weights, rest) = rest.split_at_mut(moment_rows(l) * SIDE_BY_SIDE);
        let (scales, rest) = rest.split_at_mut(moment_rows(l));
        let (set_sums, centered) = rest.split_at_mut(moment_rows(l) * l);
        sums.fill(0.0);
        for_each_centered_block(data, centered_share(data, t, n), ctx.isa, Origin::Row, centered, |group, range, rows| {
            let rows_here = range.len();
            let x = Rows { values: &*rows, rows: rows_here, columns: l, stride: l };
            for some in blocks(0..c, SIDE_BY_SIDE) {
                let weights = &mut weights[..rows_here * some.len()];
                for (k, w) in some.clone().zip(weights.chunks_exact_mut(rows_here.max(1))) {
                    self.probabilities(k, range.start, w);
                }
                if group.len() == 1 {
                    let set = data.set(group.start);
                    for (k, w) in some.clone().zip(weights.chunks_exact_mut(rows_here.max(1))) {
                        let t = self.t(group.start, k);
                        w.iter_mut().for_each(|w| *w *= t);
                    }
                    simd::weighted_sum(ctx.isa, x, weights, rows_here, &mut sums[some.start * l..some.end * l]);
                    for k in some.clone().filter(|_| range.end == set.end && self.shape.sets > 1) {
                        let (v, h) = (&mut sums[k * l..(k + 1) * l], &mut h[k * l * l..(k + 1) * l * l]);
                        let less = minus_inverse(self.t(group.start, k));
                        simd::gram(ctx.isa, Rows { values: &*v, rows: 1, columns: l, stride: l }, &[less], h);
                        v.fill(0.0);
                    }
                } else {
                    for (k, w) in some.clone().zip(weights.chunks_exact_mut(rows_here.max(1))) {
                        let v = &mut set_sums[..group.len() * l];
                        v.fill(0.0);
                        for ((set, v), scale) in group.clone().zip(v.chunks_exact_mut(l)).zip(&mut *scales) {
                            let (t, set) = (self.t(set, k), data.set(set));
                            let rows = set.start - range.start..set.end - range.start;
                            for (w, z) in w[rows.clone()].iter_mut().zip(x.values[rows.start * l..].chunks_exact(l)) {
                                *w *= t;
                                let w = *w;
                                v.iter_mut().zip(z).for_each(|(v, z)| *v += w * z);
                            }
                            *scale = minus_inverse(t);
                        }
                        let of_sets = Rows { values: &*v, rows: group.len(), columns: l, stride: l };
                        simd::gram(ctx.isa, of_sets, &scales[..group.len()], &mut h[k * l * l..(k + 1) * l * l]);
                    }
                }
                for (k, w) in some.zip(weights.chunks_exact(rows_here.max(1))) {
                    simd::gram(ctx.isa, x, w, &mut h[k * l * l..(k + 1) * l * l]);
                }
            }
        })
    }

    /// Workspace of [`Evaluation::information`] for K classes.
    pub fn information_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        let (l, kl) = (shape.columns, classes.saturating_mul(shape.columns));
        let tasks = information_tasks(shape, classes);
        let sums = of(information_sums(shape, classes).saturating_mul(tasks));
        let each = shape.units.div_ceil(tasks);
        let scratch = unit_scratch(l, classes, each).saturating_add(score_block(l, classes, each)).saturating_mul(tasks);
        let means = of(kl.saturating_mul(shape.sets));
        let kept = of(kl.saturating_mul(l)).and(means).and(Self::curvature_workspace(shape, classes).or(sums.and(of(scratch))));
        if Draws::serve(shape) {
            let draws = Draws::workspace(shape).and(Self::information_of_draws_workspace(shape, classes));
            return kept.or(of(kl.saturating_mul(l)).and(draws));
        }
        kept
    }

    /// The larger of it and of the workspace of the products of as many combinations of scores as there are weights and atoms, for K
    /// classes or fewer, which may have more tasks, or larger blocks: up to so many of them that there is one task and blocks are smallest.
    pub fn inference_workspace_up_to(shape: &Shape, classes: usize) -> WorkspaceSize {
        let of = |m: usize| {
            let parameters = m.saturating_mul(shape.columns.saturating_add(1));
            Self::information_workspace(shape, m).or(Self::score_workspace(shape, m, Some(parameters)))
        };
        const NO_MACHINE_HAS: usize = match 1usize.checked_shl(44) {
            Some(bytes) => bytes,
            None => usize::MAX,
        };
        let all = of(classes);
        let few = if all.bytes() < NO_MACHINE_HAS { classes.min(shape.rows.isqrt().max(512)) } else { 0 };
        (1..=few).fold(all, |size, m| size.or(of(m)))
    }

    /// Minus the Hessian of the unpenalised ℓ of one start in the packed parameters, D × D with D = K − 1 + K L, after
    /// `evaluate`: complete-data information less the covariance, under the responsibilities, of the scores.
    ///
    /// Blocks of two classes k ≠ m gain `Σ_u w_u r_uk r_um y_uk y_um^T`: the products of the unit scores `r_uk (1, y_uk)`, one product of a
    /// block of units. Those of one class lose `Σ_u w_u r_uk (1 − r_uk) y_uk y_uk^T`, which is taken off by itself, so that certain classes
    /// cost no digits. Cost: p L² K / 2 + U (K L)² / 2.
    pub fn information(&mut self, data: &Data<'_>, weights: &[f64], out: &mut [f64], ctx: Context, mut ws: Workspace<'_>) -> Result<()> {
        let complete = ws.f64s(self.columns() * self.shape.columns * self.shape.columns)?;
        self.information_beside(data, weights, complete, out, ctx, ws)
    }

    /// [`Self::information`], and the complete-data part of it in the atoms, K × L × L.
    pub fn information_beside(
        &mut self,
        data: &Data<'_>,
        weights: &[f64],
        complete: &mut [f64],
        out: &mut [f64],
        ctx: Context,
        mut ws: Workspace<'_>,
    ) -> Result<()> {
        let (l, c) = (self.shape.columns, self.columns());
        let (e, d) = (c - 1, c - 1 + c * l);
        if Draws::serve(&self.shape) {
            let draws = Draws::new(data, &self.layout, None, ctx.isa, &mut ws)?;
            self.information_of_draws(data, weights, &draws, complete, out, ctx, ws)?;
            symmetrize(out, d);
            return Ok(());
        }
        let means = ws.f64s(self.shape.sets * c * l)?;
        self.curvature_and_set_means(data, complete, means, ctx, ws.scope())?;
        let (n, length) = (information_tasks(&self.shape, c), information_sums(&self.shape, c));
        let sums = ws.f64s(n * length)?;
        let each = self.shape.units.div_ceil(n);
        let scratches = ws.f64s(n * (unit_scratch(l, c, each) + score_block(l, c, each)))?;
        let ev = &*self;
        sum_over(ctx.threads, n, self.shape.units, sums, scratches, |units, sums, scratch| {
            ev.information_of_units(data, units, weights, means, sums, scratch, ctx.isa);
        });
        data.reduced()?;
        // On the curvature of the classes.
        let sums = &mut sums[..length];
        let (products, sums) = sums.split_at_mut(d * d);
        let (h, rest) = sums.split_at_mut(c * l * l);
        let mut own = [1.0];
        data.share_over_units(&mut own);
        axpy(own[0], complete, h);
        for sums in [&mut *products, &mut *h, &mut *rest] {
            data.sum_over_units(sums)?;
        }
        let (lost, spread) = rest.split_at(c * l);
        out[..d * d].copy_from_slice(products);
        let total = data.total_weight();
        for a in 0..e {
            for b in 0..a {
                out[a * d + b] -= total * weights[a] * weights[b];
            }
            out[a * d + a] = total * weights[a] * (1.0 - weights[a]) - spread[a];
        }
        for k in 0..c {
            for a in 0..l {
                let row = &mut out[(e + k * l + a) * d..][..d];
                if k < e {
                    row[k] = lost[k * l + a];
                }
                row[e + k * l..e + k * l + a + 1].copy_from_slice(&h[(k * l + a) * l..][..a + 1]);
            }
        }
        symmetrize(out, d);
        Ok(())
    }

    /// What `units` add to the products of scores (D × D), to the curvature (K × L × L), to `Σ_u w_u r_uk (1 − r_uk) y_uk` (K × L), less,
    /// and to `Σ_u w_u r_uk (1 − r_uk)` (K), one after the other in `sums`.
    fn information_of_units(
        &self,
        data: &Data<'_>,
        units: Range<usize>,
        weights: &[f64],
        means: &[f64],
        sums: &mut [f64],
        scratch: &mut [f64],
        isa: Isa,
    ) {
        let (l, c) = (self.shape.columns, self.columns());
        let (e, d) = (c - 1, c - 1 + c * l);
        let (products, rest) = sums.split_at_mut(d * d);
        let (h, rest) = rest.split_at_mut(c * l * l);
        let (lost, spread) = rest.split_at_mut(c * l);
        let (scores, scratch) = scratch.split_at_mut(score_block(l, c, units.len()));
        self.for_each_unit_block(data, units, weights, isa, means, scratch, |units| {
            if c > 1 {
                unit_scores(&units, e, l, scores);
            }
            let Units { n, w, r, y, ld, .. } = units;
            if c > 1 {
                simd::gram(isa, Rows { values: &*scores, rows: n, columns: d, stride: d }, w, products);
            }
            for k in 0..c {
                let r = &mut r[k * ld..][..n];
                for (r, w) in r.iter_mut().zip(&*w) {
                    *r *= w * (*r - 1.0);
                    spread[k] -= *r;
                }
                let y = Rows { values: &y[k * l..], rows: n, columns: l, stride: c * l };
                simd::gram(isa, y, r, &mut h[k * l * l..(k + 1) * l * l]);
                simd::weighted_sum(isa, y, r, n, &mut lost[k * l..(k + 1) * l]);
            }
        });
    }

    /// Workspace of [`Evaluation::hessian_vector`] for K classes.
    pub fn hessian_vector_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
        let of = |n: usize| WorkspaceSize::of::<f64>(n.saturating_mul(classes));
        of(shape.rows)
            .and(of(shape.rows))
            .and(of(shape.rows))
            .and(of(shape.sets))
            .and(of(shape.sets))
            .and(of(moment_rows(shape.columns)))
            .and(of(1))
            .and(of(if shape.units_are_split { shape.units } else { 1 }))
            .and(WorkspaceSize::of::<f64>(centered_scratch(shape.columns)))
    }

    /// The Hessian of the unpenalised ℓ of one start times `v`, packed parameters, after `evaluate`. Two reads of X and no L × L matrix,
    /// both less an origin of every choice set, so that a common shift costs no digits: with `ds_ik = x_i·v_k`,
    /// `dA_ik = A_ik (ds_ik − Σ_j A_jk ds_jk)`, and the change `dr` of the responsibilities, the part of θ_k is
    /// `X^T (dΩ − dt ∘ A − t ∘ dA)`.
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
        let (e, block) = (c - 1, moment_rows(l));
        let (v_eta, v_theta) = v.split_at(e);
        let ds = ws.f64s(p * c)?;
        let d_omega = ws.f64s(p * c)?;
        let mean_ds = ws.f64s(sets * c)?;
        let dt = ws.f64s(sets * c)?;
        let columns = ws.f64s(block * c)?;
        let r = ws.f64s(c)?;
        // Of units that other ranks have parts of all are needed at once.
        let da = ws.f64s(c * if data.splits_units() { self.shape.units } else { 1 })?;
        let a = ws.f64s(p * c)?;
        let scratch = ws.f64s(centered_scratch(l))?;
        self.passes += 2;
        for_each_centered_block(data, centered_share(data, 0, 1), ctx.isa, Origin::Row, scratch, |_, range, z| {
            simd::logits(ctx.isa, Rows { values: z, rows: range.len(), columns: l, stride: l }, v_theta, None, columns, block);
            for k in 0..c {
                ds[k * p..][range.clone()].copy_from_slice(&columns[k * block..][..range.len()]);
            }
        })?;
        for k in 0..c {
            self.probabilities(k, 0, &mut a[k * p..(k + 1) * p]);
            for set in 0..sets {
                let rows = k * p + data.set(set).start..k * p + data.set(set).end;
                mean_ds[k * sets + set] = dot(&a[rows.clone()], &ds[rows]);
            }
        }
        if data.splits_rows() {
            data.sum(mean_ds)?;
        }
        let weight_mean = dot(&weights[..e], v_eta);
        out.fill(0.0);
        let mut cursor = SetCursor::default();
        let mut change = |u: usize, da: &mut [f64]| {
            da.fill(0.0);
            for (i, n) in data.entries(u).filter(|e| e.1 != 0.0) {
                let set = cursor.of(data, i);
                for (k, a) in da.iter_mut().enumerate() {
                    *a += n * (ds[k * p + i] - mean_ds[k * sets + set]);
                }
            }
        };
        if data.splits_units() {
            da.chunks_exact_mut(c).enumerate().for_each(|(u, da)| change(u, da));
            data.sum(da)?;
        }
        let mut places = SetCursor::default();
        for u in 0..self.shape.units {
            let w = data.unit_weight(u);
            if w == 0.0 {
                continue;
            }
            match self.shape.units_are_rows {
                true => _ = self.unit_responsibilities(data, weights, u, r),
                false => r.copy_from_slice(&self.r[u * c..(u + 1) * c]),
            }
            let da = match data.splits_units() {
                true => &mut da[u * c..(u + 1) * c],
                false => {
                    change(u, da);
                    &mut *da
                }
            };
            for (k, a) in da.iter_mut().enumerate() {
                *a += if k < e { v_eta[k] } else { 0.0 } - weight_mean;
            }
            let mean = dot(r, da);
            for (k, r) in r.iter_mut().enumerate() {
                *r *= w * (da[k] - mean);
                if k < e {
                    out[k] += *r;
                }
            }
            for (i, n) in data.entries(u).filter(|e| e.1 != 0.0) {
                let set = places.of(data, i);
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
                for i in k * p + data.set(set).start..k * p + data.set(set).end {
                    d_omega[i] -= a[i] * (dt + t * (ds[i] - mean));
                }
            }
        }
        for_each_centered_block(data, centered_share(data, 0, 1), ctx.isa, Origin::Row, scratch, |_, range, z| {
            for k in 0..c {
                columns[k * block..][..range.len()].copy_from_slice(&d_omega[k * p..][range.clone()]);
            }
            let z = Rows { values: z, rows: range.len(), columns: l, stride: l };
            simd::weighted_sum(ctx.isa, z, columns, block, &mut out[e..]);
        })?;
        data.sum(&mut out[e..])
    }
}
