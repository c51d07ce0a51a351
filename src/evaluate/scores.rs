//! Scores of the units, block by block: mean features of the choice sets, responsibilities, and `y_uk = Σ_i c_ui (x_i − μ_s(i)k)`; and the
//! products of the scores.

use super::block_rows;
use super::curvature::information_tasks;
use super::layout::{blocks, set_groups};
use super::passes::{Evaluation, normalize};
use crate::data::{Data, Shape};
use crate::error::Result;
use crate::linalg::{axpy, symmetrize};
use crate::parallel::{Context, sum_over};
use crate::simd::{self, Columns, Isa, Rows, responsibilities};
use crate::workspace::{Workspace, WorkspaceSize};
use core::ops::Range;

/// Rows of a block at most, and units of one.
const MOST: usize = 256;

/// Units of a block, of so many: as many as keep their scores in cache.
fn block_units(columns: usize, classes: usize, units: usize) -> usize {
    block_rows(columns.saturating_mul(classes)).min(units)
}

/// Numbers of scratch of [`Evaluation::for_each_unit_block`] among so many units, and of [`Evaluation::for_each_unit`].
pub(crate) fn unit_scratch(columns: usize, classes: usize, units: usize) -> usize {
    let kl = classes.saturating_mul(columns);
    let unit = kl.saturating_add(classes).saturating_add(2);
    unit.saturating_mul(block_units(columns, classes, units)).saturating_add(columns).saturating_add(classes.saturating_mul(2))
}

/// Numbers of the scores of a block, D for every unit.
pub(crate) fn score_block(columns: usize, classes: usize, units: usize) -> usize {
    classes.saturating_mul(columns.saturating_add(1)).saturating_mul(block_units(columns, classes, units))
}

/// A block of units of positive weight.
pub(crate) struct Units<'b> {
    /// How many.
    pub n: usize,
    /// Which.
    pub index: &'b [usize],
    /// Their weights; may be overwritten.
    pub w: &'b mut [f64],
    /// Responsibilities, class-major: `r[k * ld + j]`; may be overwritten.
    pub r: &'b mut [f64],
    pub ld: usize,
    /// Scores in the atoms: n × K × L.
    pub y: &'b [f64],
}

/// The scores `(r_u1 … r_ue, r_u1 y_u1, …, r_uK y_uK)` of a block, n × D: those of the units, but for −α in the log-odds.
pub(crate) fn unit_scores(units: &Units<'_>, e: usize, columns: usize, out: &mut [f64]) {
    let (c, d) = (e + 1, e + (e + 1) * columns);
    for ((j, score), y) in out.chunks_exact_mut(d).enumerate().take(units.n).zip(units.y.chunks_exact(c * columns)) {
        let (eta, theta) = score.split_at_mut(e);
        for (k, eta) in eta.iter_mut().enumerate() {
            *eta = units.r[k * units.ld + j];
        }
        for (k, (theta, y)) in theta.chunks_exact_mut(columns).zip(y.chunks_exact(columns)).enumerate() {
            let r = units.r[k * units.ld + j];
            theta.iter_mut().zip(y).for_each(|(s, y)| *s = r * y);
        }
    }
}

/// Numbers of scratch of a task of [`Evaluation::score_products`], of so many combinations.
fn score_scratch(shape: &Shape, classes: usize, combinations: Option<usize>) -> usize {
    let (l, each) = (shape.columns, shape.units.div_ceil(information_tasks(shape, classes)));
    let combined = combinations.unwrap_or(0).saturating_mul(block_units(l, classes, each));
    unit_scratch(l, classes, each).saturating_add(score_block(l, classes, each)).saturating_add(combined)
}

/// Finds choice sets of rows that mostly follow one another.
#[derive(Default)]
pub(crate) struct SetCursor(usize);

impl SetCursor {
    /// The choice set of row `i`.
    #[inline]
    pub fn of(&mut self, data: &Data<'_>, i: usize) -> usize {
        for set in self.0..(self.0 + 2).min(data.set_count()) {
            if data.set(set).contains(&i) {
                self.0 = set;
                return set;
            }
        }
        self.0 = data.set_of(i);
        self.0
    }
}

impl Evaluation<'_> {
    /// Mean features `μ_sk = Σ_{i∈s} A_ik x_i` of every set and class: sets × K × L, of one start, after `normalizers`. The features are
    /// those of `Layout::row`.
    pub fn set_means(&self, data: &Data<'_>, means: &mut [f64], ctx: Context) -> Result<()> {
        if self.layout.is_grouped() {
            self.set_means_of_groups(means, ctx);
            return Ok(());
        }
        if data.splits_rows() {
            return self.split_set_means(data, means);
        }
        let (l, c, sets) = (self.shape.columns, self.columns(), self.shape.sets);
        let features = data.features();
        let mut a = [0.0; MOST];
        means.fill(0.0);
        // About the origin, so that a common shift of the features costs no digits.
        for group in set_groups(data, 0..sets, MOST) {
            let rows = data.set(group.start).start..data.set(group.end - 1).end;
            // Looked for once: in a large set that may take as many steps as it has rows.
            let origin = data.origin(group.start);
            for k in 0..c {
                for block in blocks(rows.clone(), MOST) {
                    self.probabilities(k, block.start, &mut a[..block.len()]);
                    for set in group.clone() {
                        let first = if group.len() == 1 { origin } else { data.origin(set) };
                        let (from, to) = (data.set(set).start.max(block.start), data.set(set).end.min(block.end));
                        let mean = &mut means[(set * c + k) * l..][..l];
                        features.add_differences(from..to, first, &a[from - block.start..to - block.start], mean);
                    }
                }
            }
        }
        for (set, means) in means.chunks_exact_mut(c * l).enumerate() {
            let first = data.origin(set);
            for mean in means.chunks_exact_mut(l) {
                for (j, m) in mean.iter_mut().enumerate() {
                    *m += features.get(first, j);
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
        out.iter_mut().zip(weights).for_each(|(j, w)| *j += libm::log(*w));
    }

    /// Responsibilities of unit `u`, K numbers of one start, after `normalizers`; its log-likelihood.
    pub fn unit_responsibilities(&self, data: &Data<'_>, weights: &[f64], u: usize, out: &mut [f64]) -> f64 {
        self.unit_log_joint(data, weights, u, out);
        normalize(out)
    }

    /// Runs `body` over blocks of those `among` the units that have a positive weight, of one start, after `evaluate`; `means` from
    /// [`Self::set_means`], `scratch` of [`unit_scratch`] numbers.
    pub fn for_each_unit_block(
        &self,
        data: &Data<'_>,
        among: Range<usize>,
        weights: &[f64],
        isa: Isa,
        means: &[f64],
        scratch: &mut [f64],
        mut body: impl FnMut(Units<'_>),
    ) {
        let (l, c) = (self.shape.columns, self.columns());
        let block = block_units(l, c, among.len());
        // Those of units in compressed rows are held since `evaluate`.
        let known = !self.shape.units_are_rows;
        let (row, rest) = scratch.split_at_mut(l);
        let (log_weights, rest) = rest.split_at_mut(c);
        let (w, rest) = rest.split_at_mut(block);
        let (value, rest) = rest.split_at_mut(block);
        let (r, y) = rest.split_at_mut(c * block);
        log_weights.iter_mut().zip(weights).for_each(|(log, w)| *log = libm::log(*w));
        let mut index = [0; MOST];
        let mut cursor = SetCursor::default();
        let mut units = among.filter(|&u| data.unit_weight(u) != 0.0);
        loop {
            let mut n = 0;
            for u in units.by_ref().take(block) {
                index[n] = u;
                w[n] = data.unit_weight(u);
                for (k, r) in r[n..].iter_mut().step_by(block).enumerate() {
                    *r = if known { self.r[u * c + k] } else { log_weights[k] };
                }
                let y = &mut y[n * c * l..(n + 1) * c * l];
                if known && self.by_units() {
                    let z = self.features_of_unit(u);
                    y.chunks_exact_mut(l).for_each(|y| y.copy_from_slice(z));
                    if self.shape.sets == 1 {
                        // About the origin, as z is.
                        let choices = self.choices_of_unit(data, u);
                        for (y, mean) in y.chunks_exact_mut(l).zip(means.chunks_exact(l)) {
                            y.iter_mut().zip(mean).zip(&*self.unit_origin).for_each(|((y, m), o)| *y -= choices * (m - o));
                        }
                    } else {
                        for (i, times) in data.entries(u).filter(|e| e.1 != 0.0) {
                            axpy(-times, &means[cursor.of(data, i) * c * l..][..c * l], y);
                        }
                    }
                    n += 1;
                    continue;
                }
                y.fill(0.0);
                for (i, times) in data.entries(u).filter(|e| e.1 != 0.0) {
                    self.layout.row(data, i, row);
                    let means = &means[cursor.of(data, i) * c * l..][..c * l];
                    for (k, (y, mean)) in y.chunks_exact_mut(l).zip(means.chunks_exact(l)).enumerate() {
                        if !known {
                            r[k * block + n] += times * self.log_probability(data, i, k);
                        }
                        for ((y, x), m) in y.iter_mut().zip(&*row).zip(mean) {
                            *y += times * (x - m);
                        }
                    }
                }
                n += 1;
            }
            if n == 0 {
                return;
            }
            if data.splits_units() {
                // As above.
                let _ = data.sum(&mut y[..n * c * l]);
            }
            if !known {
                responsibilities(isa, r, block, n, c, &mut value[..n]);
            }
            body(Units { n, index: &index[..n], w: &mut w[..n], r, ld: block, y });
        }
    }

    /// Runs `body(u, w, r, y)` over the units of positive weight, as [`Self::for_each_unit_block`] does over blocks: responsibilities r (K)
    /// and scores y (K × L).
    pub fn for_each_unit(
        &self,
        data: &Data<'_>,
        weights: &[f64],
        isa: Isa,
        means: &[f64],
        scratch: &mut [f64],
        mut body: impl FnMut(usize, f64, &[f64], &[f64]),
    ) {
        let (l, c) = (self.shape.columns, self.columns());
        let (one, scratch) = scratch.split_at_mut(c);
        self.for_each_unit_block(data, 0..self.shape.units, weights, isa, means, scratch, |units| {
            for (j, (&u, y)) in units.index.iter().zip(units.y.chunks_exact(c * l)).enumerate() {
                one.iter_mut().zip(units.r[j..].iter().step_by(units.ld)).for_each(|(one, r)| *one = *r);
                body(u, units.w[j], one, y);
            }
        });
    }

    /// Workspace of [`Evaluation::score_products`] for K classes, of the scores themselves or of so many combinations of them.
    pub fn score_workspace(shape: &Shape, classes: usize, combinations: Option<usize>) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        let (l, tasks) = (shape.columns, information_tasks(shape, classes));
        let d = classes.saturating_mul(l.saturating_add(1)).saturating_sub(1);
        let m = combinations.unwrap_or(d);
        let means = of(classes.saturating_mul(l).saturating_mul(shape.sets));
        let scratch = score_scratch(shape, classes, combinations.is_some().then_some(m)).saturating_mul(tasks);
        means.and(of(m.saturating_mul(m).saturating_mul(tasks))).and(of(scratch))
    }

    /// The middle of the sandwich of one start, after `evaluate`: `Σ_u (w_u / c)^q s_u s_u^T` with q = 1 of frequency and 2 of sampling
    /// weights, whose squares may be beyond the range of f64 unless c is as large. D × D; or, with m `combinations` C (m × D), the same of
    /// `C s_u`, m × m: what `C (Σ_u w_u^q s_u s_u^T) C^T` loses where it nearly cancels is kept. Cost: U D² / 2, or U m (D + m / 2).
    pub fn score_products(
        &self,
        data: &Data<'_>,
        weights: &[f64],
        combinations: Option<&[f64]>,
        (sampling, unit): (bool, f64),
        out: &mut [f64],
        ctx: Context,
        mut ws: Workspace<'_>,
    ) -> Result<()> {
        let (l, c) = (self.shape.columns, self.columns());
        let (e, d) = (c - 1, c - 1 + c * l);
        let m = combinations.map_or(d, |all| all.len() / d);
        let means = ws.f64s(self.shape.sets * c * l)?;
        self.set_means(data, means, ctx)?;
        let n = information_tasks(&self.shape, c);
        let sums = ws.f64s(n * m * m)?;
        let scratches = ws.f64s(n * score_scratch(&self.shape, c, combinations.map(|_| m)))?;
        sum_over(ctx.threads, n, self.shape.units, sums, scratches, |units, sums, scratch| {
            let each = units.len();
            let (scores, scratch) = scratch.split_at_mut(score_block(l, c, each));
            let ld = block_units(l, c, each);
            let (combined, scratch) = scratch.split_at_mut(if combinations.is_some() { m * ld } else { 0 });
            self.for_each_unit_block(data, units, weights, ctx.isa, means, scratch, |units| {
                unit_scores(&units, e, l, scores);
                for score in scores[..units.n * d].chunks_exact_mut(d) {
                    score[..e].iter_mut().zip(weights).for_each(|(s, w)| *s -= w);
                }
                for w in units.w.iter_mut() {
                    let share = *w / unit;
                    *w = if sampling { share * share } else { share };
                }
                let scores = Rows { values: &*scores, rows: units.n, columns: d, stride: d };
                match combinations {
                    None => simd::gram(ctx.isa, scores, units.w, sums),
                    Some(all) => {
                        simd::logits(ctx.isa, scores, all, None, combined, ld);
                        let combined = Columns { values: &*combined, rows: units.n, columns: m, stride: ld };
                        simd::gram_of_columns(ctx.isa, combined, units.w, sums);
                    }
                }
            });
        });
        data.reduced()?;
        out.copy_from_slice(&sums[..m * m]);
        data.sum_over_units(out)?;
        symmetrize(out, m);
        Ok(())
    }
}
