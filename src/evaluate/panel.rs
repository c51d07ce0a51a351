//! Curvature and mean features of small choice sets that stand side by side: see [`super::layout::Kind::Groups`].

use super::layout::{MOST_SETS, SMALL_SET};
use super::passes::Evaluation;
use super::tasks::share;
use crate::linalg::dot;
use crate::parallel::{Context, TASKS, for_each, sum_over, take};
use crate::simd::panel::{Groups, SETS, products_of_groups, weighted_sums_of_groups};
use crate::simd::{Columns, Isa, gram_of_columns, logits_of_columns, weighted_sum_of_columns};
use core::ops::Range;

/// Numbers of scratch of [`Evaluation::curvature_of_groups`]: L for every column, L + 1 for every set of a block, and one for every row.
pub(super) fn groups_piece(features: usize, columns: usize, sets: usize, rows: usize) -> usize {
    columns.saturating_mul(features).saturating_add(sets.saturating_mul(features.saturating_add(1))).saturating_add(rows)
}

impl Evaluation<'_> {
    /// The part of some blocks of `H_c = Σ_s t_sc Cov_{A_sc}(x) = Σ_i t A x x^T − Σ_s t_s μ_s μ_s^T`, `μ_s = Σ_{i∈s} A x`, the lower
    /// triangles, and of the sums under the model `Σ_s t_s μ_s`, which are left at the front of `scratch`.
    ///
    /// `set_means`, which may be empty: as [`Self::set_means_of_groups`] leaves them, of the sets of these blocks.
    pub(super) fn curvature_of_groups(
        &self,
        blocks: Range<usize>,
        h: &mut [f64],
        set_means: &mut [f64],
        scratch: &mut [f64],
        ctx: Context,
    ) {
        let (l, c) = (self.shape.columns, self.columns());
        let sets = self.layout.sets_of_block();
        let (sums, scratch) = scratch.split_at_mut(c * l);
        sums.fill(0.0);
        let mut left = set_means;
        for b in blocks {
            let (at, n) = (self.layout.start(b) * c, self.layout.length(b) * c);
            let (x, a, t) = (self.layout.features_of(b, l), &self.a[at..at + n], &self.t[b * sets * c..(b + 1) * sets * c]);
            self.curvature_of_block(b, x, a, t, h, sums, take(&mut left, sets * c * l), scratch, ctx.isa);
        }
    }

    /// That of block `b`, whose features, probabilities and t these are, and what it adds to the `sums`. `scratch`: [`groups_piece`] less C × L.
    pub(super) fn curvature_of_block(
        &self,
        b: usize,
        x: Columns<'_, f64>,
        a: &[f64],
        t: &[f64],
        h: &mut [f64],
        sums: &mut [f64],
        set_means: &mut [f64],
        scratch: &mut [f64],
        isa: Isa,
    ) {
        let (l, c, sets) = (self.shape.columns, self.columns(), self.layout.sets_of_block());
        let groups = self.layout.groups(b, 1);
        let (means, scratch) = scratch.split_at_mut(sets * l);
        let (of_class, scratch) = scratch.split_at_mut(sets);
        let w = &mut scratch[..groups.rows];
        for ((k, h), a) in h.chunks_exact_mut(l * l).enumerate().zip(a.chunks_exact(groups.rows)) {
            for (group, of_class) in of_class.chunks_exact_mut(SETS).enumerate() {
                of_class.copy_from_slice(&t[(group * c + k) * SETS..][..SETS]);
            }
            products_of_groups::<true>(isa, groups, of_class, a, w);
            gram_of_columns(isa, x, w, h);
            weighted_sums_of_groups(isa, Groups { columns: l, ..groups }, a, x.values, means);
            for (set, to) in (b * sets..).zip(set_means.chunks_exact_mut(c * l)) {
                let from = means[self.layout.position(set) - b * sets..].iter().step_by(sets);
                to[k * l..(k + 1) * l].iter_mut().zip(from).for_each(|(to, mean)| *to = *mean);
            }
            let means = Columns { values: &*means, rows: sets, columns: l, stride: sets };
            weighted_sum_of_columns(isa, means, of_class, sets, &mut sums[k * l..(k + 1) * l]);
            of_class.iter_mut().for_each(|t| *t = -*t);
            gram_of_columns(isa, means, of_class, h);
        }
    }

    /// `μ_sk` of every set and class, sets × C × L, in the features as the layout has them, less their mean in the set.
    pub(super) fn set_means_of_groups(&self, means: &mut [f64], ctx: Context) {
        let (l, c) = (self.shape.columns, self.columns());
        let sets = self.layout.sets_of_block();
        let mut tasks: [Option<(Range<usize>, &mut [f64])>; TASKS] = [const { None }; TASKS];
        let n = self.layout.blocks.min(TASKS);
        let mut means = means;
        for (t, task) in tasks.iter_mut().enumerate().take(n) {
            let blocks = share(&self.layout, t, n);
            let mine = (blocks.end * sets).min(self.shape.sets) - blocks.start * sets;
            *task = Some((blocks, take(&mut means, mine * c * l)));
        }
        for_each(ctx.threads, &mut tasks[..n], |task| {
            if let Some((blocks, means)) = task {
                self.set_means_of_blocks(ctx.isa, blocks.clone(), means);
            }
        });
    }

    /// Those of the sets of some blocks.
    fn set_means_of_blocks(&self, isa: Isa, blocks: Range<usize>, means: &mut [f64]) {
        let (l, c) = (self.shape.columns, self.columns());
        let sets = self.layout.sets_of_block();
        // A few features at a time, so that the sums fit on the stack.
        let mut v = [0.0; MOST_SETS * 4];
        for (b, means) in blocks.zip(means.chunks_mut(sets * c * l)) {
            let x = self.layout.features_of(b, l).values;
            let position = |set: usize| self.layout.position(b * sets + set) - b * sets;
            for k in 0..c {
                let a = self.probabilities_of_block(b, k);
                for from in (0..l).step_by(4) {
                    let to = (from + 4).min(l);
                    let x = &x[from * a.len()..to * a.len()];
                    weighted_sums_of_groups(isa, self.layout.groups(b, to - from), a, x, &mut v);
                    for (set, means) in means.chunks_exact_mut(c * l).enumerate() {
                        let mean = &mut means[k * l..][from..to];
                        mean.iter_mut().enumerate().for_each(|(j, m)| *m = v[j * sets + position(set)]);
                    }
                }
            }
        }
    }

    /// The variance of the logits `x·θ_k` under class `k` of every choice set, weighted by t: its sum, and that of t.
    pub(crate) fn logit_variance_of_groups(&self, k: usize, ctx: Context) -> (f64, f64) {
        let n = self.layout.blocks.clamp(1, TASKS);
        let mut sums = [0.0; 2 * TASKS];
        sum_over(ctx.threads, n, self.layout.blocks, &mut sums[..2 * n], &mut [], |blocks, sums, _| {
            (sums[0], sums[1]) = self.logit_variance_of_blocks(blocks, k, ctx.isa);
        });
        (sums[0], sums[1])
    }

    /// The same of some blocks.
    fn logit_variance_of_blocks(&self, blocks: Range<usize>, k: usize, isa: Isa) -> (f64, f64) {
        let (l, c) = (self.shape.columns, self.columns());
        let sets = self.layout.sets_of_block();
        let atom = &self.atoms[k * l..(k + 1) * l];
        let (mut sum, mut total) = (0.0, 0.0);
        let mut logits = [0.0; SETS * SMALL_SET];
        for b in blocks {
            let (x, a) = (self.layout.features_of(b, l), self.probabilities_of_block(b, k));
            let t = &self.t[b * sets * c..(b + 1) * sets * c];
            for (height, at, group) in self.layout.groups(b, c).each() {
                let n = SETS * height;
                let (a, logits) = (&a[at..at + n], &mut logits[..n]);
                logits_of_columns(isa, Columns { values: &x.values[at..], rows: n, ..x }, atom, None, logits, n);
                let (mut mean, mut square) = ([0.0; SETS], [0.0; SETS]);
                let rows = || a.chunks_exact(SETS).zip(logits.chunks_exact(SETS));
                for (a, s) in rows() {
                    (0..SETS).for_each(|j| mean[j] += a[j] * s[j]);
                }
                for (a, s) in rows() {
                    (0..SETS).for_each(|j| square[j] += a[j] * (s[j] - mean[j]) * (s[j] - mean[j]));
                }
                let t = &t[(group * c + k) * SETS..][..SETS];
                sum += dot(t, &square);
                total += t.iter().sum::<f64>();
            }
        }
        (sum, total)
    }

    /// `A_ik` of block b of groups, as they stand there.
    fn probabilities_of_block(&self, b: usize, k: usize) -> &[f64] {
        let n = self.layout.length(b);
        &self.a[self.layout.start(b) * self.columns() + k * n..][..n]
    }
}
