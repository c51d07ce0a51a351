//! The first metric of L-BFGS: the complete-data information of every class at a point, as far as a sample of rows tells it.
//!
//! `M_k = t_k ((1 − ε) C_k + ε Σ) + λ Σ`, C_k the covariance of the features under the class, of a sample where there are many rows
//! (`evaluate/sampled.rs`), and Σ that of the rows: EM's own metric, in which a step is close to a Newton step of every M-step at once. ε
//! keeps a class that holds to few rows from steps without measure. Of counts, what is observed tells more in the span of the atoms: see
//! `span.rs`.

use super::Objective;
use super::span::Span;
use crate::data::Shape;
use crate::error::Result;
use crate::evaluate::{Evaluation, sample_rows, sample_scratch, sample_serves};
use crate::linalg;
use crate::parallel::{for_each, take};
use crate::simd::{self, Rows};
use crate::workspace::{Workspace, WorkspaceSize};
use core::ops::Range;

/// ε.
const SHARE_OF_ALL: f64 = 0.1;
/// Tasks that classes are shared among.
const PARTS: usize = 4;

/// Whether the curvature of classes is worth its cost: where it is sampled, but for that of choice sets with many features, whose noise
/// costs more than it saves; where there are few rows; or where it costs little beside an evaluation.
fn pays(shape: &Shape) -> bool {
    // On all ranks or none.
    let most = if sample_serves(shape) { 100 } else { 64 };
    let few = !shape.is_part() && shape.rows / 2 <= sample_rows(shape.columns);
    sample_serves(shape) && shape.sets == 1 || shape.columns <= most || few
}

pub(crate) struct Metric<'w> {
    /// K × L × L Cholesky factors; empty where the diagonal serves.
    factors: &'w mut [f64],
    /// The diagonal of [`Objective::scale`], D.
    scale: &'w mut [f64],
    dense: bool,
    span: Span<'w>,
    /// K × L numbers.
    rows: &'w mut [f64],
}

impl<'w> Metric<'w> {
    pub fn workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        let (l, dense) = (shape.columns, if pays(shape) { classes } else { 0 });
        let factors = of(dense.saturating_mul(l.saturating_mul(l)));
        let rows = of(classes.saturating_mul(l));
        factors.and(of(classes.saturating_mul(l.saturating_add(1)))).and(Span::workspace(shape, dense)).and(rows)
    }

    /// Workspace of [`Metric::take`].
    pub fn take_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        let curvature = if sample_serves(shape) { WorkspaceSize::EMPTY } else { Evaluation::curvature_workspace(shape, classes) };
        let parts = of(part_scratch(shape).saturating_mul(classes.min(PARTS)));
        if pays(shape) { curvature.or(parts).or(Span::take_workspace(shape, classes)) } else { WorkspaceSize::EMPTY }
    }

    pub fn new(shape: &Shape, classes: usize, ws: &mut Workspace<'w>) -> Result<Self> {
        let (l, dense) = (shape.columns, if pays(shape) { classes } else { 0 });
        Ok(Metric {
            factors: ws.f64s(dense * l * l)?,
            scale: ws.f64s(classes * (l + 1))?,
            dense: false,
            span: Span::new(shape, dense, ws)?,
            rows: ws.f64s(classes * l)?,
        })
    }

    /// Whether a better metric on the way saves more evaluations than it costs: a sample costs about L² / p of them.
    pub fn refresh_pays(shape: &Shape) -> bool {
        !sample_serves(shape) || shape.columns.saturating_mul(shape.columns) <= shape.total_rows
    }

    /// Takes the metric at the point last evaluated.
    pub fn take(&mut self, o: &mut Objective<'_, '_, '_>, mut ws: Workspace<'_>) -> Result<()> {
        let (k, l, shape) = (o.classes(), o.wh.columns, o.ev.shape);
        o.scale(&mut self.scale[..o.dimension()]);
        self.dense = false;
        if self.factors.is_empty() {
            return Ok(());
        }
        if !sample_serves(&shape) {
            o.ev.class_curvature(o.data, self.factors, o.ctx, ws.scope())?;
        }
        let n = k.min(PARTS);
        {
            let (o, mut ws) = (&*o, ws.scope());
            let mut scratch = ws.f64s(n * part_scratch(&shape))?;
            let (mut factors, mut sums) = (&mut *self.factors, &mut *self.rows);
            let mut parts: [Option<Part<'_>>; PARTS] = [const { None }; PARTS];
            for (t, part) in parts.iter_mut().enumerate().take(n) {
                let classes = t * k / n..(t + 1) * k / n;
                let (factors, sums) = (take(&mut factors, classes.len() * l * l), take(&mut sums, classes.len() * l));
                *part = Some(Part { classes, factors, sums, scratch: take(&mut scratch, part_scratch(&shape)), definite: true });
            }
            for_each(o.ctx.threads, &mut parts[..n], |part| {
                if let Some(part) = part {
                    part.factorize(o);
                }
            });
            if !parts.iter().flatten().all(|part| part.definite) {
                return Ok(());
            }
        }
        self.dense = true;
        self.span.take(o, self.scale, self.factors, ws)
    }

    /// `v ← M⁻¹ v`, v in log-odds and whitened atoms, and s if it is there.
    pub fn solve(&mut self, o: &Objective<'_, '_, '_>, v: &mut [f64]) {
        let (k, l, r) = (o.classes(), o.wh.columns, o.wh.rank);
        let (v, s) = v.split_at_mut(o.dimension());
        // `−∂²F/∂s²` where s is best.
        s.iter_mut().for_each(|s| *s /= o.data.total_weight());
        let (eta, beta) = v.split_at_mut(k - 1);
        let diagonal = |v: &mut [f64], s: &[f64]| v.iter_mut().zip(s).for_each(|(v, s)| *v /= s);
        if !self.dense {
            diagonal(eta, self.scale);
            diagonal(beta, &self.scale[k - 1..]);
            return;
        }
        // β = F θ: gradients go over by F^T and steps by F.
        let f = Rows { values: o.wh.from_atoms, rows: r, columns: l, stride: l };
        self.rows.fill(0.0);
        simd::weighted_sum(o.ctx.isa, f, beta, r, self.rows);
        self.span.solve(eta, self.rows);
        diagonal(eta, self.scale);
        for (row, factor) in self.rows.chunks_exact_mut(l).zip(self.factors.chunks_exact(l * l)) {
            linalg::solve_large_cholesky(o.ctx.isa, factor, l, row);
        }
        self.span.add(eta, self.rows);
        simd::logits(o.ctx.isa, f, self.rows, None, beta, r);
    }
}

/// Numbers of scratch of a [`Part`].
fn part_scratch(shape: &Shape) -> usize {
    let l = shape.columns;
    let rows = if sample_serves(shape) { sample_scratch(l) } else { 0 };
    rows.max(linalg::large_cholesky_scratch(l))
}

/// Some of the classes: what is theirs of the factors, a row of sums for each, and scratch.
struct Part<'a> {
    classes: Range<usize>,
    factors: &'a mut [f64],
    sums: &'a mut [f64],
    scratch: &'a mut [f64],
    definite: bool,
}

impl Part<'_> {
    /// The Cholesky factors of `M_k`, from the curvature of the classes where it is not sampled.
    fn factorize(&mut self, o: &Objective<'_, '_, '_>) {
        let (l, shape) = (o.wh.columns, o.ev.shape);
        let least = 1e-8 * o.data.total_choices();
        for ((j, m), sum) in self.classes.clone().zip(self.factors.chunks_exact_mut(l * l)).zip(self.sums.chunks_exact_mut(l)) {
            if sample_serves(&shape) {
                o.ev.sampled_covariance(o.data, j, o.ctx.isa, m, sum, self.scratch);
            }
            let t = o.ev.class_choices[j];
            let curvature = (1.0 - SHARE_OF_ALL) * if sample_serves(&shape) { t } else { 1.0 };
            let all = SHARE_OF_ALL * t.max(least) + o.ridge;
            for (m, c) in m.iter_mut().zip(o.wh.covariance) {
                *m = curvature * *m + all * c;
            }
            for a in 0..l {
                // Collinear features leave a null space, which whitened atoms do not see.
                let m = &mut m[a * l + a];
                *m = if *m > 0.0 { *m * (1.0 + 1e-10) } else { 1.0 };
            }
            self.definite &= linalg::large_cholesky(o.ctx.isa, m, l, self.scratch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_curvature_of_one_choice_set_is_whole_or_sampled_whatever_its_rows() {
        for rows in 1500..1600 {
            let whole = Shape {
                rows,
                columns: 70,
                sets: 1,
                largest_set: rows,
                grouped_rows: None,
                units: rows,
                units_are_rows: true,
                units_are_draws: true,
                total_rows: rows,
                total_units: rows,
                units_are_split: false,
            };
            assert!(pays(&whole), "{rows} rows");
        }
    }
}
