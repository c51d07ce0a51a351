//! Responsibilities, value and row weights, and the sums `X^T Ω`, `X^T (t ∘ A)` and `X^T (Ω − t ∘ A)` of the second read of X.

use super::found::Found;
use super::layout::{Kind, MOST_ROWS, block_rows, blocks, zone};
use super::passes::{Evaluation, TRUSTED};
use super::posterior::Posterior;
use super::tasks::{ENTRIES, Matrices, Piece, UNITS, carve, each_task};
use super::units::OfUnits;
use crate::data::{Block, Choices, Data};
use crate::error::{Error, ErrorKind, Result};
use crate::linalg::{axpy, dot};
use crate::parallel::{Context, TASKS, take};
use crate::simd::panel::{products_of_groups, sums_of_groups};
use crate::simd::{self, Ahead, Rows, ln_in_place, responsibilities, subtract_scaled};
use crate::workspace::filled;
use core::mem::MaybeUninit;
use core::ops::Range;

/// Which sums are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Sums {
    /// `X^T Ω`
    Chosen,
    /// `X^T (t ∘ A)`, of many choice sets that do not stand side by side. Overwrites Ω.
    Mean,
    /// `X^T (Ω − t ∘ A)`. Overwrites Ω.
    Difference,
}

/// Entries of the units of a batch, unit after unit, that go through the kernels together.
struct Entries {
    rows: [usize; ENTRIES],
    times: [f64; ENTRIES],
    held: usize,
    /// `(unit of the batch, end of its entries)`.
    runs: [(usize, usize); UNITS],
    units: usize,
}

impl Default for Entries {
    fn default() -> Self {
        Entries { rows: [0; ENTRIES], times: [0.0; ENTRIES], held: 0, runs: [(0, 0); UNITS], units: 0 }
    }
}

impl Entries {
    #[inline]
    fn push(&mut self, row: usize, times: f64, unit: usize) {
        (self.rows[self.held], self.times[self.held]) = (row, times);
        self.held += 1;
        if self.units == 0 || self.runs[self.units - 1].0 != unit {
            self.units += 1;
        }
        self.runs[self.units - 1] = (unit, self.held);
    }
}

/// The first unit of a task, what is found of its units, and its piece.
type UnitTask<'a> = (usize, Posterior<'a>, &'a mut [f64]);

impl Evaluation<'_> {
    /// Responsibilities, value, row weights and their sums `X^T Ω` over the chosen rows, after `normalizers`. Without
    /// weights, of units in compressed rows, the responsibilities are taken as they stand and the value is 0.
    pub fn choices(&mut self, data: &Data<'_>, weights: Option<&[f64]>, ctx: Context) -> Result<()> {
        self.choices_here(data, weights, ctx)?;
        let n = self.columns() * self.shape.columns;
        data.sum(&mut self.chosen[..n])
    }

    /// The same, with the sums over the chosen rows of this rank alone.
    pub(super) fn choices_here(&mut self, data: &Data<'_>, weights: Option<&[f64]>, ctx: Context) -> Result<()> {
        self.row_weights(data, weights, false, ctx)?;
        if self.omega.capacity() > 0 && !self.by_units() {
            self.passes += 1;
            self.sums(data, Sums::Chosen, ctx);
        }
        Ok(())
    }

    /// The sums under the model `Σ_i t_s(i)c A_ic x_i`, at the last `normalizers` and the t of the last choices.
    pub fn means(&mut self, data: &Data<'_>, ctx: Context) -> Result<()> {
        self.means_here(data, ctx);
        let n = self.columns() * self.shape.columns;
        data.sum(&mut self.mean[..n])
    }

    /// The same of this rank alone.
    pub(super) fn means_here(&mut self, data: &Data<'_>, ctx: Context) {
        if self.layout.is_grouped() {
            return self.means_of_groups(ctx);
        }
        if self.shape.sets > 1 {
            let n = self.layout.start(self.layout.blocks) * self.columns();
            self.omega.ensure(n);
            self.passes += 1;
            return self.sums(data, Sums::Mean, ctx);
        }
        let (c, l) = (self.columns(), self.shape.columns);
        for (k, mean) in self.mean[..c * l].chunks_exact_mut(l).enumerate() {
            mean.iter_mut().for_each(|v| *v *= self.t[zone(0, k, c)]);
        }
    }

    /// The whole gradient `X^T (Ω − t ∘ A)` in one read, left in `chosen`; `mean` is 0.
    pub(super) fn gradient_at_once(&mut self, data: &Data<'_>, ctx: Context) {
        self.passes += 1;
        self.sums(data, Sums::Difference, ctx);
        let n = self.columns() * self.shape.columns;
        self.mean[..n].fill(0.0);
    }

    /// Responsibilities, value, Ω and t. Of counts over one choice set, which do not store Ω: shares instead if the gradient follows
    /// `at_once`, else the sums over the chosen rows too.
    pub(super) fn row_weights(&mut self, data: &Data<'_>, weights: Option<&[f64]>, at_once: bool, ctx: Context) -> Result<()> {
        let shape = self.shape;
        match (shape.units_are_rows, weights) {
            (true, Some(weights)) if at_once && self.has_shares() => self.counts_at_once(data, weights, ctx),
            (true, weights) => self.counts(data, weights.unwrap_or_default(), ctx),
            (false, Some(weights)) if data.splits_units() => self.split_units(data, weights, ctx)?,
            (false, weights) => {
                self.value.fill(0.0);
                self.units(data, weights, ctx);
            }
        }
        // t is of a choice set as far as it is here, or of all of it where its rows are on several ranks.
        if shape.sets == 1 {
            self.set_t(|ev, k| ev.class_choices[k]);
        } else if !self.by_units() {
            self.sums_of_sets(data, ctx);
        }
        self.sum_choices(data)?;
        if data.splits_rows() {
            self.set_t(|ev, k| ev.class_choices[k]);
        }
        self.check_value()
    }

    /// An error where a log-likelihood is not finite.
    pub(super) fn check_value(&self) -> Result<()> {
        match self.value[..self.starts].iter().all(|v| v.is_finite()) {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::NotFinite, "log-likelihood")),
        }
    }

    /// Units that are rows: `π_i = Σ_k α_k A_ik`, `Ω_ik = n_i α_k A_ik / π_i`.
    fn counts(&mut self, data: &Data<'_>, weights: &[f64], ctx: Context) {
        let (shape, c, l, kk) = (self.shape, self.columns(), self.shape.columns, self.classes);
        let stored = self.omega.capacity() > 0;
        self.passes += u64::from(!stored);
        let (length, far) = (self.scratch_length(), self.probabilities_are_far());
        let room = self.omega.take();
        let mut scratch = core::mem::take(&mut self.scratch);
        let ev = &*self;
        let matrices = Matrices { rows: room, ..Matrices::default() };
        let n = each_task(&ev.layout, c, length, &mut scratch, matrices, ctx, |layout, task, room| {
            let Piece { sum, m: factors, z: class_weight, totals, value, .. } = carve(task.piece, &shape, c);
            let columns = &mut *room.columns;
            sum.fill(0.0);
            class_weight.fill(0.0);
            value.fill(0.0);
            let mut omega = &mut *task.of.rows;
            for b in task.blocks.clone() {
                let (at, ld) = (layout.start(b), layout.length(b));
                let a = &ev.a[at * c..(at + ld) * c];
                let counts: &[f64] = match (layout.kind, data.choices()) {
                    (Kind::Groups, _) => &layout.counts[at..at + ld],
                    (_, Choices::Counts(n)) => &n[layout.rows(b)],
                    _ => &[],
                };
                let omega = if stored { filled(take(&mut omega, ld * c), 0.0) } else { &mut columns[..ld * c] };
                for (k, f) in factors.iter_mut().enumerate() {
                    *f = weights[k] * ev.scale.get(b * c + k).copied().unwrap_or(1.0);
                }
                for start in 0..c / kk {
                    let of = start * kk..(start + 1) * kk;
                    let (a, omega) = (&a[of.start * ld..of.end * ld], &mut omega[of.start * ld..of.end * ld]);
                    let totals_of = &mut totals[of.clone()];
                    let found = simd::row_weights_from(ctx.isa, a, ld, &factors[of.clone()], counts, omega, totals_of, far);
                    match found.smallest >= TRUSTED {
                        true => value[start] += found.value,
                        false => {
                            value[start] += ev.counts_anew(ev.found(), data, b, start, weights, counts, omega, &mut totals[of.clone()])
                        }
                    }
                    for (sum, total) in class_weight[of.clone()].iter_mut().zip(&totals[of]) {
                        *sum += total;
                    }
                }
                if !stored {
                    let mut list = [0; MOST_ROWS];
                    let observed = which(counts.len(), &mut list, |i| counts[i] > 0.0);
                    ev.add_observed(data, b, observed, omega, room.copy, sum, ctx);
                }
            }
        });
        self.scratch = scratch;
        let written = if stored { self.layout.start(self.layout.blocks) * c } else { 0 };
        // SAFETY: where Ω is stored, the tasks have filled every block.
        unsafe { self.omega.give_back(room, written) };
        // Sums over the tasks, in their order.
        self.class_weight[..c].fill(0.0);
        self.value.fill(0.0);
        if !stored {
            self.chosen[..c * l].fill(0.0);
        }
        for piece in self.scratch.of_tasks(n, length) {
            let Piece { sum, z, value, .. } = carve(piece, &shape, c);
            axpy(1.0, z, &mut self.class_weight[..c]);
            axpy(1.0, &value[..c / kk], &mut self.value[..c / kk]);
            if !stored {
                axpy(1.0, sum, &mut self.chosen[..c * l]);
            }
        }
        self.class_choices[..c].copy_from_slice(&self.class_weight[..c]);
    }

    /// The weights of a block with a row whose probability is too small for the fast way: by logarithms. Their value.
    #[cold]
    pub(super) fn counts_anew(
        &self,
        found: Found<'_>,
        data: &Data<'_>,
        b: usize,
        start: usize,
        weights: &[f64],
        counts: &[f64],
        omega: &mut [f64],
        totals: &mut [f64],
    ) -> f64 {
        let (kk, ld) = (self.classes, self.layout.length(b));
        let mut value = 0.0;
        totals.fill(0.0);
        omega.fill(0.0);
        for i in self.rows_of_block(data, b) {
            let (base, _) = self.layout.at(i, 1);
            let at = base - self.layout.start(b);
            if counts[at] == 0.0 {
                continue;
            }
            for k in 0..kk {
                let c = start * kk + k;
                omega[k * ld + at] = libm::log(weights[c]) + self.log_probability_of(found, data, i, c);
            }
            let m = (0..kk).fold(f64::NEG_INFINITY, |m, k| m.max(omega[k * ld + at]));
            let sum: f64 = (0..kk).map(|k| libm::exp(omega[k * ld + at] - m)).sum();
            value += counts[at] * (m + libm::log(sum));
            for k in 0..kk {
                omega[k * ld + at] = counts[at] * libm::exp(omega[k * ld + at] - m) / sum;
                totals[k] += omega[k * ld + at];
            }
        }
        value
    }

    /// Units in compressed rows: responsibilities, value, and `Ω` of the chosen rows, or `X^T Ω` where it comes from the units. The
    /// value is added to what stands there.
    pub(super) fn units(&mut self, data: &Data<'_>, weights: Option<&[f64]>, ctx: Context) {
        let (shape, c, kk) = (self.shape, self.columns(), self.classes);
        let (l, length) = (shape.columns, self.scratch_length());
        // Where every rank has all units, all must sum alike, however many rows they have.
        let n = if data.splits_units() { 1 } else { TASKS.min(self.layout.blocks.max(1)).min(shape.units) };
        let mut units = self.take_posterior();
        let mut scratch = core::mem::take(&mut self.scratch);
        let ev = &*self;
        {
            let mut left = units.some(0..shape.units, c);
            let mut tasks: [Option<UnitTask<'_>>; TASKS] = [const { None }; TASKS];
            for ((t, task), piece) in tasks.iter_mut().enumerate().zip(scratch.pieces.chunks_exact_mut(length.piece)).take(n) {
                let (from, to) = (t * shape.units / n, (t + 1) * shape.units / n);
                *task = Some((from, left.take(to - from, c), piece));
            }
            scratch.rooms.for_each(ctx.threads, length, &mut tasks[..n], |(first, of, piece), room| {
                let Piece { part, z, totals, value, .. } = carve(piece, &shape, c);
                [&mut *part, z, totals, value].into_iter().for_each(|v| v.fill(0.0));
                if let Some(weights) = weights {
                    ev.units_of(ev.found(), data, weights, *first, of, value, room.columns, room.column, ctx);
                }
                ev.add_units(data, *first, of.r, &mut OfUnits { class_weight: z, class_choices: totals, chosen: part });
            });
        }
        self.give_posterior(units);
        self.scratch = scratch;
        self.class_weight[..c].fill(0.0);
        self.class_choices[..c].fill(0.0);
        self.chosen[..c * l].fill(0.0);
        for piece in self.scratch.of_tasks(n, length) {
            let Piece { part, z, totals, value, .. } = carve(piece, &shape, c);
            axpy(1.0, z, &mut self.class_weight[..c]);
            axpy(1.0, totals, &mut self.class_choices[..c]);
            axpy(1.0, part, &mut self.chosen[..c * l]);
            // 0 without weights.
            axpy(1.0, &value[..c / kk], &mut self.value[..c / kk]);
        }
        match self.is_ordered(data) {
            _ if self.by_units() && self.shape.sets == 1 => {
                for (k, chosen) in self.chosen[..c * l].chunks_exact_mut(l).enumerate() {
                    axpy(self.class_choices[k], self.unit_origin, chosen);
                }
            }
            _ if self.by_units() => self.choices_of_sets(data, ctx),
            true => self.weights_of_ordered_units(data, ctx),
            false => self.weights_of_units(data),
        }
    }

    /// The rows of block `b`, in whatever order the layout has them.
    pub(super) fn rows_of_block(&self, data: &Data<'_>, b: usize) -> Range<usize> {
        match self.layout.kind {
            Kind::Groups => self.layout.rows_of(data, b..b + 1),
            _ => self.layout.rows(b),
        }
    }

    /// The rows of some blocks, one at least.
    pub(super) fn rows_of_blocks(&self, data: &Data<'_>, blocks: Range<usize>) -> Range<usize> {
        self.rows_of_block(data, blocks.start).start..self.rows_of_block(data, blocks.end - 1).end
    }

    /// The units from `first` on, as many as there is room for: responsibilities and value. `columns`: C × (ENTRIES + UNITS), `log_likelihood`:
    /// UNITS.
    pub(super) fn units_of(
        &self,
        found: Found<'_>,
        data: &Data<'_>,
        weights: &[f64],
        first: usize,
        of: &mut Posterior<'_>,
        value: &mut [f64],
        columns: &mut [f64],
        log_likelihood: &mut [f64],
        ctx: Context,
    ) {
        let (c, kk) = (self.columns(), self.classes);
        let (logs, joint) = columns.split_at_mut(c * ENTRIES);
        let last = first + of.r.len() / c.max(1);
        let mut entries = Entries::default();
        for batch in blocks(first..last, UNITS) {
            for (k, w) in weights.iter().enumerate() {
                joint[k * UNITS..][..batch.len()].fill(libm::log(*w));
            }
            if self.by_units() {
                match self.shape.sets {
                    1 => self.add_log_likelihoods_of_one_set(found, data, batch.clone(), joint, logs, ctx.isa),
                    _ => self.add_log_likelihoods(found, data, batch.clone(), joint),
                }
            } else {
                for u in batch.clone() {
                    for (i, times) in data.entries(u).filter(|e| e.1 != 0.0) {
                        if entries.held == ENTRIES {
                            self.add_entries(found, data, &mut entries, logs, joint, ctx);
                        }
                        entries.push(i, times, u - batch.start);
                    }
                }
                self.add_entries(found, data, &mut entries, logs, joint, ctx);
            }
            let n = batch.len();
            let Posterior { r, log_likelihoods } = of.some(batch.start - first..batch.end - first, c);
            for (start, joint) in joint.chunks_exact_mut(kk * UNITS).enumerate() {
                let log_likelihood = &mut log_likelihood[..n];
                responsibilities(ctx.isa, joint, UNITS, n, kk, log_likelihood);
                if !log_likelihoods.is_empty() {
                    log_likelihoods.copy_from_slice(log_likelihood);
                }
                for (j, l) in log_likelihood.iter().enumerate() {
                    let w = data.unit_weight(batch.start + j);
                    if w > 0.0 {
                        value[start] += w * l;
                    }
                    for k in 0..kk {
                        r[j * c + start * kk + k] = joint[k * UNITS + j];
                    }
                }
            }
        }
    }

    /// Adds `c_ui log A_ic` of the entries to the units' `joint`, and takes them away.
    fn add_entries(&self, found: Found<'_>, data: &Data<'_>, entries: &mut Entries, logs: &mut [f64], joint: &mut [f64], ctx: Context) {
        let (c, n) = (self.columns(), entries.held);
        let rows = &entries.rows[..n];
        for (e, i) in rows.iter().enumerate() {
            let (base, stride) = self.layout.at(*i, c);
            let (mut from, mut to) = (base, e);
            for _ in 0..c {
                logs[to] = found.probability(from, c);
                (from, to) = (from + stride, to + ENTRIES);
            }
        }
        for (k, logs) in logs.chunks_exact_mut(ENTRIES).enumerate() {
            let logs = &mut logs[..n];
            let small = logs.iter().fold(false, |small, a| small | (*a < TRUSTED));
            ln_in_place(ctx.isa, logs);
            if self.shape.sets == 1 {
                for (log, i) in logs.iter_mut().zip(rows) {
                    *log += self.log_scale[self.layout.block_of(*i) * c + k];
                }
            }
            if small {
                for (log, i) in logs.iter_mut().zip(rows) {
                    *log = self.log_probability_of(found, data, *i, k);
                }
            }
            let joint = &mut joint[k * UNITS..(k + 1) * UNITS];
            let mut from = 0;
            for (unit, to) in &entries.runs[..entries.units] {
                joint[*unit] += dot(&entries.times[from..*to], &logs[from..*to]);
                from = *to;
            }
        }
        (entries.held, entries.units) = (0, 0);
    }

    /// `t_sc = Σ_{i∈s} Ω_ic` of many choice sets.
    fn sums_of_sets(&mut self, data: &Data<'_>, ctx: Context) {
        let (shape, c, length) = (self.shape, self.columns(), self.scratch_length());
        let Evaluation { layout, omega, t, scratch, .. } = self;
        if layout.is_grouped() {
            let omega = &**omega;
            let matrices: Matrices<'_, f64> = Matrices { sets: t, ..Matrices::default() };
            each_task(layout, c, length, scratch, matrices, ctx, |layout, task, _| {
                let mut t = &mut *task.of.sets;
                for b in task.blocks.clone() {
                    let omega = &omega[layout.start(b) * c..layout.start(b + 1) * c];
                    sums_of_groups(ctx.isa, layout.groups(b, c), omega, take(&mut t, layout.sets_of_block() * c));
                }
            });
        } else {
            for set in 0..shape.sets {
                let rows = data.set(set);
                let (base, stride) = layout.at(rows.start, c);
                for k in 0..c {
                    t[zone(set, k, c)] = omega[base + k * stride..][..rows.len()].iter().sum();
                }
            }
        }
    }

    /// Adds `X^T Ω` of block `b` of one choice set, where the rows `observed` have weights. A block of which half is observed goes through
    /// whole; of others rows are gathered, and `omega` with them.
    fn add_observed(
        &self,
        data: &Data<'_>,
        b: usize,
        observed: &[usize],
        omega: &mut [f64],
        room: &mut [MaybeUninit<f64>],
        sum: &mut [f64],
        ctx: Context,
    ) {
        let (range, ld, n, l) = (self.layout.rows(b), self.layout.block, observed.len(), self.shape.columns);
        if n == 0 {
            return;
        }
        if 2 * n >= range.len() {
            return data.features().block(range, room).weighted_sum(ctx.isa, omega, ld, sum, data.features().ahead());
        }
        let rows = filled(&mut room[..n * l], 0.0);
        data.features().gather(observed.iter().map(|i| range.start + i), rows);
        for column in omega.chunks_exact_mut(ld) {
            for (j, i) in observed.iter().enumerate() {
                column[j] = column[*i];
            }
        }
        Block::F64(Rows { values: rows, rows: n, columns: l, stride: l }).weighted_sum(ctx.isa, omega, ld, sum, Ahead::Nothing);
    }

    /// One of the sums over all blocks, in a fixed order.
    fn sums(&mut self, data: &Data<'_>, what: Sums, ctx: Context) {
        let (shape, c, l, length) = (self.shape, self.columns(), self.shape.columns, self.scratch_length());
        let mut omega = core::mem::take(&mut self.omega);
        let mut scratch = core::mem::take(&mut self.scratch);
        let ev = &*self;
        let matrices = Matrices { rows: &mut omega, ..Matrices::default() };
        let n = each_task(&ev.layout, c, length, &mut scratch, matrices, ctx, |layout, task, room| {
            let Piece { sum, .. } = carve(task.piece, &shape, c);
            sum.fill(0.0);
            let base = layout.start(task.blocks.start);
            for b in task.blocks.clone() {
                let (at, ld) = (layout.start(b), layout.length(b));
                let omega = &mut task.of.rows[(at - base) * c..(at - base + ld) * c];
                let a = &ev.a[at * c..(at + ld) * c];
                match layout.kind {
                    Kind::Groups => {
                        let groups = layout.groups(b, c);
                        let sets = layout.sets_of_block() * c;
                        let t = &ev.t[b * sets..(b + 1) * sets];
                        if what == Sums::Difference {
                            products_of_groups::<false>(ctx.isa, groups, t, a, omega);
                        }
                        simd::weighted_sum_of_columns(ctx.isa, layout.features_of(b, l), omega, ld, sum);
                    }
                    Kind::Whole => {
                        let range = layout.rows(b);
                        for set in layout.sets(data, b).filter(|_| what != Sums::Chosen) {
                            let set_rows = data.set(set).start - range.start..data.set(set).end - range.start;
                            for k in 0..c {
                                let t = ev.t[zone(set, k, c)];
                                let of = k * ld + set_rows.start..k * ld + set_rows.end;
                                if what == Sums::Mean {
                                    omega[of.clone()].fill(0.0);
                                }
                                subtract_scaled(ctx.isa, if what == Sums::Mean { -t } else { t }, &a[of.clone()], &mut omega[of]);
                            }
                        }
                        for part in blocks(range.clone(), block_rows(l)) {
                            let x = data.features().block(part.clone(), room.copy);
                            x.weighted_sum(ctx.isa, &omega[part.start - range.start..], ld, sum, data.features().ahead());
                        }
                    }
                    Kind::One if what == Sums::Difference => {
                        let range = layout.rows(b);
                        for k in 0..c {
                            let of = k * ld..k * ld + range.len();
                            subtract_scaled(ctx.isa, ev.t[zone(0, k, c)] * ev.scale[b * c + k], &a[of.clone()], &mut omega[of]);
                        }
                        data.features().block(range, room.copy).weighted_sum(ctx.isa, omega, ld, sum, data.features().ahead());
                    }
                    Kind::One => {
                        let range = layout.rows(b);
                        let observed = |i: usize| (0..c).any(|k| omega[k * ld + i] != 0.0);
                        let mut list = [0; MOST_ROWS];
                        let observed = which(range.len(), &mut list, observed);
                        ev.add_observed(data, b, observed, omega, room.copy, sum, ctx);
                    }
                }
            }
        });
        (self.omega, self.scratch) = (omega, scratch);
        self.add_sums(n, what);
    }

    /// The sums under the model of small choice sets side by side.
    fn means_of_groups(&mut self, ctx: Context) {
        let (shape, c, l, length) = (self.shape, self.columns(), self.shape.columns, self.scratch_length());
        // Nobody reads the products again: they stand in the same place for all blocks of a task, which stays in cache.
        let room = self.omega.take();
        let mut scratch = core::mem::take(&mut self.scratch);
        let ev = &*self;
        let matrices = Matrices { rows: &mut *room, ..Matrices::default() };
        let n = each_task(&ev.layout, c, length, &mut scratch, matrices, ctx, |layout, task, _| {
            let Piece { sum, .. } = carve(task.piece, &shape, c);
            sum.fill(0.0);
            let longest = task.blocks.clone().map(|b| layout.length(b)).max().unwrap_or(0);
            let products = filled(&mut task.of.rows[..longest * c], 0.0);
            for b in task.blocks.clone() {
                let (at, ld, sets) = (layout.start(b), layout.length(b), layout.sets_of_block() * c);
                let (a, t) = (&ev.a[at * c..(at + ld) * c], &ev.t[b * sets..(b + 1) * sets]);
                products_of_groups::<true>(ctx.isa, layout.groups(b, c), t, a, &mut products[..ld * c]);
                simd::weighted_sum_of_columns(ctx.isa, layout.features_of(b, l), &products[..ld * c], ld, sum);
            }
        });
        self.scratch = scratch;
        // SAFETY: of nothing nothing is written.
        unsafe { self.omega.give_back(room, 0) };
        self.add_sums(n, Sums::Mean);
    }

    /// The sums of the `n` tasks, in their order.
    pub(super) fn add_sums(&mut self, n: usize, what: Sums) {
        let (c, l, length) = (self.columns(), self.shape.columns, self.scratch_length());
        let out = if what == Sums::Mean { &mut self.mean[..c * l] } else { &mut self.chosen[..c * l] };
        out.fill(0.0);
        for piece in self.scratch.of_tasks(n, length) {
            axpy(1.0, &piece[..c * l], out);
        }
    }
}

/// The numbers below `n` that `wanted` wants.
fn which(n: usize, list: &mut [usize; MOST_ROWS], wanted: impl Fn(usize) -> bool) -> &[usize] {
    let mut found = 0;
    for i in 0..n {
        list[found] = i;
        found += usize::from(wanted(i));
    }
    &list[..found]
}
