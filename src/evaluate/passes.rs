//! The passes of an evaluation: logits → log-normalizers → responsibilities → value, gradient.
//!
//! Columns are classes of one or many starts: `C = starts × classes`, so that a race of starts reads the features once.
//! Matrices over rows, sets or units by columns are class-major (`S[c * ld + i]`); atoms and sums of features are C × L.
//!
//! | quantity | here | formula |
//! |---|---|---|
//! | logits | `s` | `S = b + X Θ` |
//! | log-normalizers | `log_z` | `log Z_sc = logsumexp_{i∈s} S_ic` |
//! | responsibilities | `r` | `r_uc ∝ α_c exp Σ_i c_ui (S_ic − log Z_s(i)c)` |
//! | row weights | `omega`, `t` | `Ω_ic = Σ_u w_u r_uc c_ui`, `t_sc = Σ_{i∈s} Ω_ic` |
//! | sums over the chosen rows | `chosen` | `X^T Ω` |
//! | sums under the model | `mean` | `X^T (t ∘ A)` |
//!
//! One choice set: the mean part is accumulated online in the first read of X, and the second read is of observed rows
//! alone. Many choice sets: `s` holds `log A` once a set's normalizer is known, and the second read serves both sums.

use crate::data::{Block, Data, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::parallel::{Context, SharedColumns, for_each_piece};
use crate::simd::{exp_shifted_sum, max, responsibilities, set_log_sum_exp};
use crate::workspace::{Workspace, WorkspaceSize};
use core::ops::Range;

/// Tasks an evaluation is split into at most: fixed, so that sums do not depend on the number of threads.
const TASKS: usize = 16;

/// The state of an evaluation: everything section 2 defines, at the parameters last given.
pub(crate) struct Evaluation<'w> {
    pub shape: Shape,
    pub classes: usize,
    pub starts: usize,
    /// Logits (one choice set) or log choice probabilities (many), `ld` × C.
    pub s: &'w mut [f64],
    pub ld: usize,
    /// sets × C.
    pub log_z: &'w mut [f64],
    /// sets × C.
    pub t: &'w mut [f64],
    /// U × C; empty where units are rows, whose responsibilities are made block by block.
    pub r: &'w mut [f64],
    /// `ld` × C; empty for counts over one choice set.
    pub omega: &'w mut [f64],
    /// Σ_u w_u r_uc, C.
    pub class_weight: &'w mut [f64],
    /// Σ_s t_sc, C.
    pub class_choices: &'w mut [f64],
    /// X^T Ω, C × L.
    pub chosen: &'w mut [f64],
    /// X^T (t ∘ A), C × L; for one choice set Σ_i A_ic x_i until multiplied by t.
    pub mean: &'w mut [f64],
    /// ℓ of each start.
    pub value: &'w mut [f64],
    scratch: &'w mut [f64],
    /// Reads of X so far.
    pub passes: u64,
}

/// Rows of a block at most.
const MOST_ROWS: usize = 256;

/// Rows of a block: fewer where a row is long, so that a block stays in cache.
pub(crate) fn block_rows(columns: usize) -> usize {
    (16384 / columns.max(1)).clamp(32, MOST_ROWS) & !7
}

/// Numbers between columns of a class-major matrix of `n` rows: off the powers of two, which share cache sets.
fn leading_dimension(n: usize) -> usize {
    if n < 256 { n } else { (n.saturating_add(7) & !7).saturating_add(8) }
}

fn tasks(shape: &Shape) -> usize {
    shape.rows.div_ceil(block_rows(shape.columns)).clamp(1, TASKS).min(if shape.sets > 1 { shape.sets } else { TASKS })
}

/// Scratch of one task: two C × L sums, three C vectors, a block of columns, a block of rows, two vectors of a block.
fn piece(shape: &Shape, columns: usize) -> usize {
    let b = block_rows(shape.columns);
    let per_column = shape.columns.saturating_add(4).saturating_add(b);
    columns.saturating_mul(per_column).saturating_add(b.saturating_mul(shape.columns.saturating_add(2)))
}

struct Piece<'a> {
    sum: &'a mut [f64],
    a: &'a mut [f64],
    b: &'a mut [f64],
    value: &'a mut [f64],
    columns: &'a mut [f64],
    rows: &'a mut [f64],
    log_likelihood: &'a mut [f64],
    weight: &'a mut [f64],
}

fn carve<'a>(piece: &'a mut [f64], shape: &Shape, c: usize) -> Piece<'a> {
    let (l, block) = (shape.columns, block_rows(shape.columns));
    let (sum, rest) = piece.split_at_mut(c * l);
    let (a, rest) = rest.split_at_mut(c);
    let (b, rest) = rest.split_at_mut(c);
    let (value, rest) = rest.split_at_mut(2 * c);
    let (columns, rest) = rest.split_at_mut(c * block);
    let (rows, rest) = rest.split_at_mut(l * block);
    let (log_likelihood, weight) = rest.split_at_mut(block);
    Piece { sum, a, b, value, columns, rows, log_likelihood, weight }
}

impl<'w> Evaluation<'w> {
    pub fn workspace(shape: &Shape, classes: usize, starts: usize) -> WorkspaceSize {
        let c = classes.saturating_mul(starts);
        let of = |n: usize| WorkspaceSize::of::<f64>(n.saturating_mul(c));
        let ld = leading_dimension(shape.rows);
        let mut size = of(ld).and(of(shape.sets)).and(of(shape.sets)).and(of(1)).and(of(1));
        size = size.and(of(shape.columns)).and(of(shape.columns)).and(WorkspaceSize::of::<f64>(starts));
        if !shape.units_are_rows {
            size = size.and(of(shape.units));
        }
        if !(shape.units_are_rows && shape.sets == 1) {
            size = size.and(of(ld));
        }
        size.and(WorkspaceSize::of::<f64>(piece(shape, c).saturating_mul(tasks(shape))))
    }

    pub fn new(shape: Shape, classes: usize, starts: usize, ws: &mut Workspace<'w>) -> Result<Self> {
        ws.require(Self::workspace(&shape, classes, starts))?;
        let c = classes * starts;
        let ld = leading_dimension(shape.rows);
        Ok(Evaluation {
            shape,
            classes,
            starts,
            s: ws.f64s(ld * c)?,
            ld,
            log_z: ws.f64s(shape.sets * c)?,
            t: ws.f64s(shape.sets * c)?,
            r: ws.f64s(if shape.units_are_rows { 0 } else { shape.units * c })?,
            omega: ws.f64s(if shape.units_are_rows && shape.sets == 1 { 0 } else { ld * c })?,
            class_weight: ws.f64s(c)?,
            class_choices: ws.f64s(c)?,
            chosen: ws.f64s(c * shape.columns)?,
            mean: ws.f64s(c * shape.columns)?,
            value: ws.f64s(starts)?,
            scratch: ws.f64s(piece(&shape, c) * tasks(&shape))?,
            passes: 0,
        })
    }

    /// Works on fewer starts than the workspace was made for, until called again.
    pub fn set_starts(&mut self, starts: usize) {
        debug_assert!(starts * self.classes * self.shape.columns <= self.mean.len());
        self.starts = starts;
    }

    pub fn columns(&self) -> usize {
        self.classes * self.starts
    }

    /// Value and the parts of the gradient at `weights` (starts × K) and `atoms` (C × L): all of section 2.
    pub fn evaluate(&mut self, data: &Data<'_>, weights: &[f64], atoms: &[f64], ctx: Context) -> Result<()> {
        self.normalizers(data, atoms, true, ctx)?;
        self.choices(data, Some(weights), ctx)?;
        self.means(data, ctx);
        Ok(())
    }

    /// The first read of X: logits, log-normalizers, and for one choice set the mean features `Σ_i A_ic x_i` if wanted.
    pub fn normalizers(&mut self, data: &Data<'_>, atoms: &[f64], mean: bool, ctx: Context) -> Result<()> {
        self.passes += 1;
        if self.shape.sets == 1 {
            self.normalizers_of_one_set(data, atoms, mean, ctx);
        } else {
            self.normalizers_of_sets(data, atoms, ctx);
        }
        let sets = self.shape.sets;
        match self.log_z[..sets * self.columns()].iter().position(|z| !z.is_finite()) {
            Some(i) => Err(Error::new(ErrorKind::NotFinite, "logits").class(i / sets % self.classes)),
            None => Ok(()),
        }
    }

    fn normalizers_of_one_set(&mut self, data: &Data<'_>, atoms: &[f64], mean: bool, ctx: Context) {
        let (shape, c, l) = (self.shape, self.columns(), self.shape.columns);
        let (block, n) = (block_rows(l), tasks(&shape));
        let s = SharedColumns::new(self.s, self.ld);
        let length = piece(&shape, c);
        let span = shape.rows.div_ceil(block).div_ceil(n) * block;
        for_each_piece(ctx.threads, &mut self.scratch[..length * n], length, |task, piece| {
            let Piece { sum: v, a: m, b: z, columns, rows, .. } = carve(piece, &shape, c);
            v.fill(0.0);
            m.fill(f64::NEG_INFINITY);
            z.fill(0.0);
            for range in blocks(task * span..((task + 1) * span).min(shape.rows), block) {
                let n = range.len();
                let x = data.features().block(range.clone(), rows);
                x.logits(ctx.isa, atoms, data.offset().map(|b| &b[range.clone()]), columns, block);
                for k in 0..c {
                    let column = &mut columns[k * block..][..n];
                    // SAFETY: tasks have disjoint ranges of rows.
                    unsafe { s.rows(k, range.start, n) }.copy_from_slice(column);
                    let top = max(ctx.isa, column);
                    if top > m[k] || top.is_nan() {
                        let scale = libm::exp(m[k] - top);
                        z[k] *= scale;
                        v[k * l..(k + 1) * l].iter_mut().for_each(|v| *v *= scale);
                        m[k] = top;
                    }
                    if m[k] == f64::NEG_INFINITY {
                        column.fill(0.0);
                    } else {
                        z[k] += exp_shifted_sum(ctx.isa, column, m[k]);
                    }
                }
                if mean {
                    x.weighted_sum(ctx.isa, columns, block, v);
                }
            }
        });
        // The states (m, z, Σ e^{S − m} x) of the tasks, merged in their order.
        self.mean[..c * l].fill(0.0);
        for k in 0..c {
            let state = |task: usize| &self.scratch[task * length..][..c * (l + 2)];
            let m = (0..n).map(|t| state(t)[c * l + k]).fold(f64::NEG_INFINITY, |m, x| if x.is_nan() || x > m { x } else { m });
            let mut z = 0.0;
            for task in 0..n {
                let piece = state(task);
                if piece[c * l + k] == f64::NEG_INFINITY {
                    continue;
                }
                let scale = libm::exp(piece[c * l + k] - m);
                z += scale * piece[c * (l + 1) + k];
                for (mean, v) in self.mean[k * l..(k + 1) * l].iter_mut().zip(&piece[k * l..(k + 1) * l]) {
                    *mean += scale * v;
                }
            }
            self.log_z[k] = m + libm::log(z);
            self.mean[k * l..(k + 1) * l].iter_mut().for_each(|v| *v /= z);
        }
    }

    fn normalizers_of_sets(&mut self, data: &Data<'_>, atoms: &[f64], ctx: Context) {
        let (shape, c, n) = (self.shape, self.columns(), tasks(&self.shape));
        let block = block_rows(shape.columns);
        let s = SharedColumns::new(self.s, self.ld);
        let log_z = SharedColumns::new(self.log_z, shape.sets);
        let length = piece(&shape, c);
        for_each_piece(ctx.threads, &mut self.scratch[..length * n], length, |task, piece| {
            let Piece { columns, rows, a: m, b: z, .. } = carve(piece, &shape, c);
            let mut offsets = [0; MOST_ROWS + 1];
            for group in set_groups(data, task_sets(data, task, n), block) {
                let all = rows_of(data, group.clone());
                for (offset, set) in offsets[1..].iter_mut().zip(group.clone()) {
                    *offset = data.set(set).end - all.start;
                }
                m.fill(f64::NEG_INFINITY);
                z.fill(0.0);
                for range in blocks(all.clone(), block) {
                    let n = range.len();
                    let x = data.features().block(range.clone(), rows);
                    x.logits(ctx.isa, atoms, data.offset().map(|b| &b[range.clone()]), columns, block);
                    for k in 0..c {
                        let column = &mut columns[k * block..][..n];
                        // SAFETY: tasks have disjoint ranges of sets, and so of rows.
                        let (s, log_z) = unsafe { (s.rows(k, range.start, n), log_z.rows(k, group.start, group.len())) };
                        s.copy_from_slice(column);
                        if group.len() > 1 || range == all {
                            set_log_sum_exp(ctx.isa, s, &offsets[..=group.len()], log_z);
                            continue;
                        }
                        // A set of several blocks: its state goes from block to block.
                        let top = max(ctx.isa, column);
                        if top == f64::NEG_INFINITY {
                            continue;
                        }
                        let shift = if top > m[k] || top.is_nan() { top } else { m[k] };
                        z[k] = z[k] * libm::exp(m[k] - shift) + exp_shifted_sum(ctx.isa, column, shift);
                        m[k] = shift;
                        log_z[0] = m[k] + libm::log(z[k]);
                    }
                }
                for k in 0..c {
                    // SAFETY: as above.
                    let log_z = unsafe { log_z.rows(k, group.start, group.len()) };
                    for (set, z) in group.clone().zip(log_z.iter()) {
                        let set = data.set(set);
                        // SAFETY: as above.
                        unsafe { s.rows(k, set.start, set.len()) }.iter_mut().for_each(|s| *s -= z);
                    }
                }
            }
        });
    }

    /// Responsibilities, value, row weights and their sums `X^T Ω` over the chosen rows, after `normalizers`. Without
    /// weights, of units in compressed rows, the responsibilities are taken as they stand and the value is 0.
    pub fn choices(&mut self, data: &Data<'_>, weights: Option<&[f64]>, ctx: Context) -> Result<()> {
        self.passes += 1;
        if !self.shape.units_are_rows {
            self.units(data, weights);
        }
        let weights = weights.unwrap_or_default();
        let (shape, c, l, kk) = (self.shape, self.columns(), self.shape.columns, self.classes);
        let (block, n, length) = (block_rows(l), tasks(&self.shape), piece(&self.shape, self.columns()));
        let one_set = shape.sets == 1;
        let span = shape.rows.div_ceil(block).div_ceil(n) * block;
        let omega = SharedColumns::new(self.omega, self.ld);
        let (s, log_z, ld) = (&*self.s, &*self.log_z, self.ld);
        for_each_piece(ctx.threads, &mut self.scratch[..length * n], length, |task, piece| {
            let Piece { sum, a: class_weight, value, columns, rows, log_likelihood, weight, .. } = carve(piece, &shape, c);
            let mut observed = [0usize; MOST_ROWS];
            sum.fill(0.0);
            class_weight.fill(0.0);
            value.fill(0.0);
            let all = match one_set {
                true => task * span..((task + 1) * span).min(shape.rows),
                false => rows_of(data, task_sets(data, task, n)),
            };
            for range in blocks(all, block) {
                // The observed rows. A block of which half is observed goes through whole, with weights of zero.
                let mut found = 0;
                for i in range.clone() {
                    let chosen = match shape.units_are_rows {
                        true => data.unit_weight(i) > 0.0,
                        // SAFETY: tasks have disjoint ranges of rows.
                        false => (0..c).any(|k| unsafe { omega.get(k, i) } != 0.0),
                    };
                    if chosen {
                        observed[found] = i;
                        found += 1;
                    }
                }
                if found == 0 && (one_set || !shape.units_are_rows) {
                    continue;
                }
                let whole = 2 * found >= range.len() || shape.units_are_rows && !one_set;
                let n = if whole { range.len() } else { found };
                let row = |j: usize| if whole { range.start + j } else { observed[j] };
                let x = match whole {
                    true => data.features().block(range.clone(), rows),
                    false => {
                        let rows = &mut rows[..n * l];
                        data.features().gather(observed[..n].iter().copied(), rows);
                        Block::F64(crate::simd::Rows { values: rows, rows: n, columns: l, stride: l })
                    }
                };
                if !shape.units_are_rows {
                    for (k, column) in columns.chunks_exact_mut(block).enumerate() {
                        for (j, w) in column[..n].iter_mut().enumerate() {
                            // SAFETY: as above.
                            *w = unsafe { omega.get(k, row(j)) };
                        }
                    }
                    x.weighted_sum(ctx.isa, columns, block, sum);
                    continue;
                }
                for (k, column) in columns.chunks_exact_mut(block).enumerate() {
                    let shift = libm::log(weights[k]) - if one_set { log_z[k] } else { 0.0 };
                    let s = &s[k * ld..(k + 1) * ld];
                    match whole {
                        true => column.iter_mut().zip(&s[range.clone()]).for_each(|(j, s)| *j = s + shift),
                        false => column.iter_mut().zip(&observed[..n]).for_each(|(j, i)| *j = s[*i] + shift),
                    }
                }
                for (j, w) in weight[..n].iter_mut().enumerate() {
                    *w = data.unit_weight(row(j));
                }
                for (start, columns) in columns.chunks_exact_mut(kk * block).enumerate() {
                    responsibilities(ctx.isa, columns, block, n, kk, &mut log_likelihood[..n]);
                    for (l, w) in log_likelihood[..n].iter().zip(&*weight) {
                        if *w > 0.0 {
                            value[start] += w * l;
                        }
                    }
                    for (k, column) in columns.chunks_exact_mut(block).enumerate() {
                        let k = start * kk + k;
                        let mut total = 0.0;
                        for (r, w) in column[..n].iter_mut().zip(&*weight) {
                            *r *= w;
                            total += *r;
                        }
                        class_weight[k] += total;
                        if !one_set {
                            // SAFETY: as above.
                            unsafe { omega.rows(k, range.start, n) }.copy_from_slice(&column[..n]);
                        }
                    }
                }
                x.weighted_sum(ctx.isa, columns, block, sum);
            }
        });
        // Sums over the tasks, in their order.
        self.chosen[..c * l].fill(0.0);
        for piece in self.scratch[..length * n].chunks_exact(length) {
            self.chosen.iter_mut().zip(&piece[..c * l]).for_each(|(g, v)| *g += v);
        }
        if shape.units_are_rows {
            self.class_weight[..c].fill(0.0);
            self.value.fill(0.0);
            for piece in self.scratch[..length * n].chunks_exact(length) {
                self.class_weight[..c].iter_mut().zip(&piece[c * l..]).for_each(|(g, v)| *g += v);
                self.value[..c / kk].iter_mut().zip(&piece[c * (l + 2)..]).for_each(|(g, v)| *g += v);
            }
            self.class_choices[..c].copy_from_slice(&self.class_weight[..c]);
        }
        if one_set {
            self.t[..c].copy_from_slice(&self.class_choices[..c]);
        } else {
            for k in 0..c {
                let omega = &self.omega[k * ld..(k + 1) * ld];
                for set in 0..shape.sets {
                    self.t[k * shape.sets + set] = omega[data.set(set)].iter().sum();
                }
            }
        }
        match self.value[..c / kk].iter().all(|v| v.is_finite()) {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::NotFinite, "log-likelihood")),
        }
    }

    /// Units in compressed rows: responsibilities, value, and `Ω` of the chosen rows.
    fn units(&mut self, data: &Data<'_>, weights: Option<&[f64]>) {
        let (c, kk, sets, ld) = (self.columns(), self.classes, self.shape.sets, self.ld);
        self.omega[..ld * c].fill(0.0);
        self.class_weight[..c].fill(0.0);
        self.class_choices[..c].fill(0.0);
        self.value.fill(0.0);
        for u in 0..self.shape.units {
            let w = data.unit_weight(u);
            let r = &mut self.r[u * c..(u + 1) * c];
            let n: f64 = data.entries(u).map(|e| e.1).sum();
            if let Some(weights) = weights {
                r.fill(0.0);
                for (i, times) in data.entries(u).filter(|e| e.1 != 0.0) {
                    for (k, r) in r.iter_mut().enumerate() {
                        *r += times * self.s[k * ld + i];
                    }
                }
                for (start, value) in self.value[..c / kk].iter_mut().enumerate() {
                    let r = &mut r[start * kk..(start + 1) * kk];
                    for (k, r) in r.iter_mut().enumerate() {
                        let k = start * kk + k;
                        *r += libm::log(weights[k]) - if sets == 1 { n * self.log_z[k] } else { 0.0 };
                    }
                    let log_likelihood = normalize(r);
                    if w > 0.0 {
                        *value += w * log_likelihood;
                    }
                }
            }
            for (k, r) in r.iter().enumerate() {
                self.class_weight[k] += w * r;
                self.class_choices[k] += w * r * n;
            }
            for (i, times) in data.entries(u) {
                for (k, r) in r.iter().enumerate() {
                    self.omega[k * ld + i] += w * r * times;
                }
            }
        }
    }

    /// The sums under the model `Σ_i t_s(i)c A_ic x_i`, at the last `normalizers` and the `t` of the last `choices`.
    pub fn means(&mut self, data: &Data<'_>, ctx: Context) {
        let (shape, c, l, ld) = (self.shape, self.columns(), self.shape.columns, self.ld);
        if shape.sets == 1 {
            for (mean, t) in self.mean[..c * l].chunks_exact_mut(l).zip(&*self.t) {
                mean.iter_mut().for_each(|v| *v *= t);
            }
            return;
        }
        let (block, n, length) = (block_rows(l), tasks(&shape), piece(&shape, c));
        let (s, t) = (&*self.s, &*self.t);
        for_each_piece(ctx.threads, &mut self.scratch[..length * n], length, |task, piece| {
            let Piece { sum, columns, rows, .. } = carve(piece, &shape, c);
            sum.fill(0.0);
            for group in set_groups(data, task_sets(data, task, n), block) {
                for range in blocks(rows_of(data, group.clone()), block) {
                    for k in 0..c {
                        let column = &mut columns[k * block..][..range.len()];
                        column.copy_from_slice(&s[k * ld..][range.clone()]);
                        exp_shifted_sum(ctx.isa, column, 0.0);
                        for set in group.clone() {
                            let t = t[k * shape.sets + set];
                            let rows = data.set(set);
                            let (from, to) = (rows.start.max(range.start), rows.end.min(range.end));
                            column[from - range.start..to - range.start].iter_mut().for_each(|a| *a *= t);
                        }
                    }
                    data.features().block(range.clone(), rows).weighted_sum(ctx.isa, columns, block, sum);
                }
            }
        });
        self.mean[..c * l].fill(0.0);
        for piece in self.scratch[..length * n].chunks_exact(length) {
            self.mean.iter_mut().zip(&piece[..c * l]).for_each(|(g, v)| *g += v);
        }
    }

    /// The gradient of ℓ in the atoms, C × L: `X^T (Ω − t ∘ A)`.
    pub fn atom_gradient(&self, out: &mut [f64]) {
        for ((g, chosen), mean) in out.iter_mut().zip(&*self.chosen).zip(&*self.mean) {
            *g = chosen - mean;
        }
    }
}

/// Turns logarithms into probabilities in place; the log of their sum before.
pub(crate) fn normalize(j: &mut [f64]) -> f64 {
    let m = j.iter().fold(f64::NEG_INFINITY, |m, x| if x.is_nan() || *x > m { *x } else { m });
    if m == f64::NEG_INFINITY {
        j.fill(0.0);
        return m;
    }
    let mut sum = 0.0;
    for x in j.iter_mut() {
        *x = libm::exp(*x - m);
        sum += *x;
    }
    j.iter_mut().for_each(|x| *x /= sum);
    m + libm::log(sum)
}

/// `range` in consecutive pieces of at most `block`.
pub(crate) fn blocks(range: Range<usize>, block: usize) -> impl Iterator<Item = Range<usize>> {
    let end = range.end;
    range.step_by(block).map(move |i| i..(i + block).min(end))
}

/// The choice sets of a task: those whose first row lies in its share of the rows.
fn task_sets(data: &Data<'_>, task: usize, tasks: usize) -> Range<usize> {
    let rows = data.features().rows();
    let first = |t: usize| data.first_set_from((t as u128 * rows as u128 / tasks as u128) as usize);
    first(task)..first(task + 1)
}

fn rows_of(data: &Data<'_>, sets: Range<usize>) -> Range<usize> {
    if sets.is_empty() { 0..0 } else { data.set(sets.start).start..data.set(sets.end - 1).end }
}

/// Consecutive sets that fit into a block together, or one set that may be larger.
pub(crate) fn set_groups<'a>(data: &'a Data<'_>, sets: Range<usize>, block: usize) -> impl Iterator<Item = Range<usize>> + 'a {
    let mut next = sets.start;
    core::iter::from_fn(move || {
        if next >= sets.end {
            return None;
        }
        let from = next;
        let first = data.set(from).start;
        next += 1;
        while next < sets.end && data.set(next).end - first <= block {
            next += 1;
        }
        Some(from..next)
    })
}
