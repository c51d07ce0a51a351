//! The observed information of counts over one choice set, where every unit is the draws of one alternative and scores are `x_i − μ_k`.
//!
//! With `q_ikm = w_i r_ik r_im` for two classes and `q_ikk = −w_i r_ik (1 − r_ik) = −Σ_{m≠k} q_ikm` for one, every block is
//! `Σ_i q_ikm (z_i − μ_k)(z_i − μ_m)^T`, and the curvature of a class `t_k Σ_i A_ik (z_i − μ_k)(z_i − μ_k)^T`: second moments of the
//! features, or of whitened ones. No scores are formed; with a 1 beside the features second moments hold sums and masses too; and those of
//! one class, which are minus the sums of those of two, cost nothing, and no digits where classes are nearly certain.
//!
//! In the span of the atoms, `θ_k = Σ_m c_km θ_m`, the features are the logits, `z_im = x_i·θ_m`, which the evaluation has: there the
//! information takes no read of X.

use super::layout::Layout;
use super::passes::{Evaluation, TRUSTED};
use crate::data::{Choices, Data, Shape};
use crate::error::Result;
use crate::linalg::{axpy, symmetrize};
use crate::parallel::{Context, TASKS, sum_over};
use crate::simd::{self, Columns, Isa, Rows};
use crate::workspace::{Workspace, WorkspaceSize};
use core::ops::Range;

/// Numbers that [`Draws`] keeps at most, as many as stay in the second cache; where there would be more, each block is made when it is
/// needed.
const KEPT: usize = 1 << 15;

/// Responsibilities that count as 0 beside others.
const NOTHING: f64 = 1e-140;

/// Stands for the logarithm of probabilities that are smaller still.
const LEAST_LOG: f64 = -700.0;

/// Pairs of classes k > m: (k, m) is number `pairs(k) + m`.
fn pairs(classes: usize) -> usize {
    classes.saturating_mul(classes.saturating_sub(1)) / 2
}

/// What z are.
enum Source<'m> {
    /// Features about the origin, `z_i = T (x_i − x_o)`; without T, which is R × L, the differences themselves.
    Features { map: Option<&'m [f64]>, origin: usize },
    /// The logits, as far as exponentials tell them: `z_im = log A_im`.
    Logits,
}

/// Features of one choice set, and what was drawn: block after block, and feature after feature in each, z, then 1, then `1 / w_i`, or 0 of
/// alternatives that were not drawn.
pub(crate) struct Draws<'m, 'w> {
    source: Source<'m>,
    /// R.
    rank: usize,
    /// Of every alternative; empty where choices are counts of all, which are read there.
    counts: &'w [f64],
    /// All blocks, or nothing.
    kept: &'w [f64],
}

impl<'m, 'w> Draws<'m, 'w> {
    /// Whether counts are over one choice set: not the parts of a larger whole, whose rows have no origin in common.
    pub fn serve(shape: &Shape) -> bool {
        Self::logits_serve(shape) && !shape.is_part()
    }

    /// The same of logits, which are those of the whole.
    pub fn logits_serve(shape: &Shape) -> bool {
        shape.units_are_draws && shape.sets == 1
    }

    fn keeps(shape: &Shape) -> usize {
        let (rows, _) = Layout::most_numbers(shape);
        let numbers = rows.saturating_mul(shape.columns.saturating_add(2));
        if numbers <= KEPT { numbers } else { 0 }
    }

    /// Workspace of [`Draws::of_logits`].
    pub fn logits_workspace(shape: &Shape) -> WorkspaceSize {
        WorkspaceSize::of::<f64>(if shape.units_are_rows { 0 } else { shape.rows })
    }

    /// Workspace of [`Draws::new`].
    pub fn workspace(shape: &Shape) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        Self::logits_workspace(shape).and(of(Self::keeps(shape))).and(of(rows_of_block(shape)))
    }

    /// Of the logits of K classes.
    pub fn of_logits(data: &Data<'_>, classes: usize, ws: &mut Workspace<'w>) -> Result<Self> {
        let shape = data.shape();
        let counts = ws.f64s(if shape.units_are_rows { 0 } else { shape.rows })?;
        if let Choices::SparseCounts { indices, counts: drawn } = *data.choices() {
            indices.iter().zip(drawn).for_each(|(i, n)| counts[*i] += n);
        }
        Ok(Draws { source: Source::Logits, rank: classes, counts, kept: &[] })
    }

    /// Of the features; `map`: R and the R × L numbers of T.
    pub fn new(data: &Data<'_>, layout: &Layout<'_>, map: Option<(usize, &'m [f64])>, isa: Isa, ws: &mut Workspace<'w>) -> Result<Self> {
        let shape = data.shape();
        let rank = map.map_or(shape.columns, |m| m.0);
        let source = Source::Features { map: map.map(|m| m.1), origin: data.origin(0) };
        let mut draws = Draws { source, rank, ..Self::of_logits(data, 0, ws)? };
        let kept = ws.f64s(Self::keeps(&shape))?;
        if !kept.is_empty() {
            let rows = ws.f64s(rows_of_block(&shape))?;
            for (b, block) in kept.chunks_exact_mut(layout.block * (rank + 2)).enumerate().take(layout.blocks) {
                draws.make(data, layout.rows(b), layout.block, isa, block, rows);
            }
            draws.kept = kept;
        }
        Ok(draws)
    }

    fn counts<'a>(&'a self, data: &'a Data<'_>) -> &'a [f64] {
        match *data.choices() {
            Choices::Counts(counts) => counts,
            _ => self.counts,
        }
    }

    /// Makes a block, whose features are `ld` apart, but for z of logits. `scratch`: [`rows_of_block`] numbers for features.
    fn make(&self, data: &Data<'_>, range: Range<usize>, ld: usize, isa: Isa, block: &mut [f64], scratch: &mut [f64]) {
        let (n, l) = (range.len(), data.features().columns());
        let (z, rest) = block.split_at_mut(ld * self.rank);
        if let Source::Features { map, origin } = self.source {
            let rows = &mut scratch[..n * l];
            data.features().differences(isa, range.clone(), origin, rows);
            match map {
                Some(_) if self.rank == 0 => {}
                Some(map) => simd::logits(isa, Rows { values: rows, rows: n, columns: l, stride: l }, map, None, z, ld),
                None => z
                    .chunks_exact_mut(ld)
                    .enumerate()
                    .for_each(|(j, z)| z.iter_mut().zip(rows[j..].iter().step_by(l)).for_each(|(z, x)| *z = *x)),
            }
        }
        let (ones, inverses) = rest.split_at_mut(ld);
        ones.fill(1.0);
        for (inverse, w) in inverses.iter_mut().zip(&self.counts(data)[range]) {
            *inverse = if *w >= f64::MIN_POSITIVE { 1.0 / w } else { 0.0 };
        }
    }

    /// Numbers of a row of a block that is made when it is needed, and of the features that it is made of.
    fn made(&self, shape: &Shape) -> usize {
        match self.source {
            Source::Logits => made_of_logits(self.rank),
            Source::Features { .. } => made_of_features(shape),
        }
    }
}

fn made_of_logits(classes: usize) -> usize {
    classes.saturating_add(2)
}

fn made_of_features(shape: &Shape) -> usize {
    if Draws::keeps(shape) > 0 { 0 } else { shape.columns.saturating_mul(2).saturating_add(2) }
}

/// Rows of the largest block.
fn largest_block(shape: &Shape) -> usize {
    super::block_rows(shape.columns).min(shape.rows.saturating_add(7) & !7)
}

/// Its features, in numbers.
fn rows_of_block(shape: &Shape) -> usize {
    largest_block(shape).saturating_mul(shape.columns)
}

/// Second moments of so many features with 1 beside them, of the classes and then of the pairs.
fn moments(columns: usize, classes: usize) -> usize {
    let side = columns.saturating_add(1);
    pairs(classes).saturating_add(classes).saturating_mul(side.saturating_mul(side))
}

/// Tasks of [`Evaluation::information_of_draws`] in so many features: a fixed number, and no more than keep their sums smaller than a
/// quarter of X.
fn tasks(shape: &Shape, columns: usize, classes: usize) -> usize {
    let room = shape.rows.saturating_mul(shape.columns) / 4 / moments(columns, classes).max(1);
    Layout::most_blocks(shape).min(TASKS).min(room).max(1)
}

/// Numbers of scratch of a task: Ω, r, and a column of weights; two numbers for every class; what of every row is `made`.
fn piece(shape: &Shape, classes: usize, made: usize) -> usize {
    let block = largest_block(shape).saturating_mul(classes.saturating_mul(2).saturating_add(1).saturating_add(made));
    block.saturating_add(classes.saturating_mul(2))
}

fn information_workspace(shape: &Shape, columns: usize, classes: usize, made: usize) -> WorkspaceSize {
    let of = WorkspaceSize::of::<f64>;
    let n = tasks(shape, columns, classes);
    of(moments(columns, classes).saturating_mul(n)).and(of(moments(columns, 1))).and(of(piece(shape, classes, made).saturating_mul(n)))
}

impl Evaluation<'_> {
    /// Workspace of [`Evaluation::information_of_draws`] of the features for K classes.
    pub fn information_of_draws_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
        information_workspace(shape, shape.columns, classes, made_of_features(shape))
    }

    /// Workspace of [`Evaluation::information_of_draws`] of the logits of K classes.
    pub fn information_of_logits_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
        information_workspace(shape, classes, classes, made_of_logits(classes))
    }

    /// The observed information in the packed parameters, as [`Evaluation::information`] gives it, in the coordinates of `draws`: its lower
    /// triangle. `complete`: takes the curvature of the classes there, K × R × R. Cost: p R² K (K + 1) / 4.
    pub fn information_of_draws(
        &self,
        data: &Data<'_>,
        weights: &[f64],
        draws: &Draws<'_, '_>,
        complete: &mut [f64],
        out: &mut [f64],
        ctx: Context,
        mut ws: Workspace<'_>,
    ) -> Result<()> {
        let (c, r, shape) = (self.columns(), draws.rank, self.shape);
        let of = if let Source::Logits = draws.source { c } else { shape.columns };
        let (n, side) = (tasks(&shape, of, c), r + 1);
        let square = side * side;
        let (length, scratch) = ((c + pairs(c)) * square, piece(&shape, c, draws.made(&shape)));
        let (sums, pieces, moment) = (ws.f64s(n * length)?, ws.f64s(n * scratch)?, ws.f64s(square)?);
        sum_over(ctx.threads, n, self.layout.blocks, sums, pieces, |blocks, sums, scratch| {
            self.moments_of_draws(data, weights, draws, blocks, sums, scratch, ctx.isa);
        });
        let sums = &mut sums[..length];
        data.sum(sums)?;
        let (of_classes, of_pairs) = sums.split_at(c * square);
        let (e, d) = (c - 1, c - 1 + c * r);
        let all = data.total_weight();
        out[..d * d].fill(0.0);
        for k in 0..c {
            let of_class = &of_classes[k * square..(k + 1) * square];
            let (mk, t) = (&of_class[r * side..][..r], self.t(0, k));
            let complete = &mut complete[k * r * r..(k + 1) * r * r];
            for a in 0..r {
                for b in 0..=a {
                    let curvature = t * (of_class[a * side + b] - mk[a] * mk[b]);
                    (complete[a * r + b], complete[b * r + a]) = (curvature, curvature);
                }
            }
            let of_pair = |k: usize, m: usize| &of_pairs[(pairs(k) + m) * square..][..square];
            for m in 0..=k {
                match m < k {
                    true => moment.copy_from_slice(of_pair(k, m)),
                    false => {
                        moment.fill(0.0);
                        (0..c).filter(|m| *m != k).for_each(|m| axpy(-1.0, of_pair(k.max(m), k.min(m)), moment));
                    }
                }
                symmetrize(moment, side);
                let mm = &of_classes[m * square + r * side..][..r];
                let (second, sum) = moment.split_at(r * side);
                let (sum, mass) = (&sum[..r], sum[r]);
                for a in 0..r {
                    let row = &mut out[(e + k * r + a) * d + e + m * r..][..r];
                    let (sa, ma) = (sum[a], mk[a]);
                    for (((x, second), mm), sb) in row.iter_mut().zip(&second[a * side..][..r]).zip(mm).zip(sum) {
                        *x = second - sa * mm - ma * (sb - mass * mm);
                    }
                    if k == m {
                        axpy(1.0, &complete[a * r..][..r], row);
                    }
                    // The log-odds of m against the atom of k, and of k against the atom of m.
                    if m < e {
                        out[(e + k * r + a) * d + m] = sa - mass * ma;
                    }
                    if k < e && k != m {
                        out[(e + m * r + a) * d + k] = sa - mass * mm[a];
                    }
                }
                if k < e {
                    out[k * d + m] = mass + all * weights[k] * (if k == m { 1.0 } else { 0.0 } - weights[m]);
                }
            }
        }
        Ok(())
    }

    /// `z_ik = log A_ik` of the n rows of block `b`.
    fn logits_of_block(&self, b: usize, n: usize, isa: Isa, z: &mut [f64]) {
        let (c, ld) = (self.columns(), self.layout.block);
        let a = &self.a[self.layout.start(b) * c..];
        for (k, z) in z.chunks_exact_mut(ld).enumerate().take(c) {
            let z = &mut z[..n];
            z.copy_from_slice(&a[k * ld..][..n]);
            simd::ln_in_place(isa, z);
            let log_scale = self.log_scale[b * c + k];
            z.iter_mut().for_each(|z| *z = f64::max(*z + log_scale, LEAST_LOG));
        }
    }

    /// The second moments of `blocks`, with weights `A_k` of every class and `q_km` of every pair, lower triangles.
    fn moments_of_draws(
        &self,
        data: &Data<'_>,
        weights: &[f64],
        draws: &Draws<'_, '_>,
        blocks: Range<usize>,
        sums: &mut [f64],
        scratch: &mut [f64],
        isa: Isa,
    ) {
        let (c, ld, side) = (self.columns(), self.layout.block, draws.rank + 1);
        let numbers = ld * (side + 1);
        let (omega, rest) = scratch.split_at_mut(c * ld);
        let (r, rest) = rest.split_at_mut(c * ld);
        let (w, rest) = rest.split_at_mut(ld);
        let (totals, rest) = rest.split_at_mut(c);
        let (factors, rest) = rest.split_at_mut(c);
        let (made, rows) = rest.split_at_mut(if draws.kept.is_empty() { numbers } else { 0 });
        let (of_classes, of_pairs) = sums.split_at_mut(c * side * side);
        let far = self.probabilities_are_far();
        for b in blocks {
            let range = self.layout.rows(b);
            let (n, counts) = (range.len(), &draws.counts(data)[range.clone()]);
            let block = match draws.kept.is_empty() {
                true => {
                    draws.make(data, range.clone(), ld, isa, made, rows);
                    if let Source::Logits = draws.source {
                        self.logits_of_block(b, n, isa, made);
                    }
                    &*made
                }
                false => &draws.kept[b * numbers..(b + 1) * numbers],
            };
            let (z, inverses) = block.split_at(ld * side);
            let z = Columns { values: z, rows: n, columns: side, stride: ld };
            for (k, h) in of_classes.chunks_exact_mut(side * side).enumerate() {
                self.probabilities(k, range.start, &mut w[..n]);
                simd::gram_of_columns(isa, z, w, h);
            }
            if counts.iter().all(|n| *n == 0.0) {
                continue;
            }
            for (k, f) in factors.iter_mut().enumerate() {
                *f = weights[k] * self.scale[b * c + k];
            }
            let found = simd::row_weights_from(isa, &self.a[self.layout.start(b) * c..], ld, factors, counts, omega, totals, far);
            if found.smallest < TRUSTED {
                self.counts_anew(self.found(), data, b, 0, weights, counts, omega, totals);
            }
            // Products of two that are smaller would be no normal numbers, which take processors tens of times as long.
            for omega in omega.chunks_exact_mut(ld) {
                omega.iter_mut().zip(counts).for_each(|(w, n)| *w = if *w < NOTHING * n { 0.0 } else { *w });
            }
            // r_im of all classes but the last, and w_i r_ik times it.
            for (omega, r) in omega.chunks_exact(ld).zip(r.chunks_exact_mut(ld)).take(c - 1) {
                simd::weigh(isa, &inverses[..n], &omega[..n], [1.0, 0.0], &mut r[..n]);
            }
            let mut of_pairs = of_pairs.chunks_exact_mut(side * side);
            for (k, omega) in omega.chunks_exact(ld).enumerate() {
                for (r, h) in r.chunks_exact(ld).zip(of_pairs.by_ref().take(k)) {
                    simd::weigh(isa, &omega[..n], &r[..n], [1.0, 0.0], &mut w[..n]);
                    simd::gram_of_columns(isa, z, w, h);
                }
            }
        }
    }
}
