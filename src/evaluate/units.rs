//! What units in compressed rows give their choice sets and rows: Ω and t; and, of few units, all that needs no look at single rows.
//!
//! A unit has the same responsibilities in all of its choice sets, so that with `z_u = Σ_i c_ui x_i`, which no parameter changes,
//!
//! - `X^T Ω = Σ_u w_u r_u z_u^T`,
//! - `log P(u | k) = Σ_i c_ui b_i + z_u·θ_k − Σ_i c_ui log Z_s(i)k`.
//!
//! Where units are at most a quarter of the rows, and small choice sets stand side by side, z is made once; and of units over one choice
//! set, where it is about a chosen row `x_o`, so that a common shift costs no digits: `log Z_k − x_o·θ_k` stands for `log Z_k` there.

use super::found::Found;
use super::layout::{FEW_COLUMNS, Kind, zone};
use super::passes::Evaluation;
use super::tasks::{Matrices, UNITS, each_task, share};
use crate::data::{Choices, Data};
use crate::linalg::{axpy, dot};
use crate::parallel::{Context, TASKS, for_each, take};
use crate::simd::panel::SETS;
use crate::simd::{self, Isa, Rows};
use crate::workspace::filled;
use core::ops::Range;

/// How many times as large as a log-likelihood (or 1) the terms that it is the sum of may be: it keeps twelve digits. And what the part that
/// the logits of one choice set have in common, with which log Z is found, counts beside them: it may leave nine.
const MOST_CANCELLED: f64 = 4096.0;
const COMMON: f64 = 1.0 / 256.0;

/// The logarithm of a probability: 0 where rounding has made it more; NaN as it is.
fn at_most_0(log: f64) -> f64 {
    if log > 0.0 { 0.0 } else { log }
}

/// Goes through the choices of all units, which stand in the order of the rows.
pub(super) struct Walk<'a> {
    indptr: Option<&'a [usize]>,
    indices: &'a [usize],
    /// Multiplicities where they are not 1.
    times: Option<&'a [f64]>,
    /// The next entry, and the unit whose it is.
    entry: usize,
    unit: usize,
}

impl<'a> Walk<'a> {
    /// From the first choice among the rows from `row` on.
    pub fn from(data: &Data<'a>, row: usize) -> Self {
        let (indptr, indices, times) = match *data.choices() {
            Choices::Units { indptr, indices, counts, .. } => (Some(indptr), indices, counts),
            Choices::SparseCounts { indices, .. } => (None, indices, None),
            Choices::Counts(_) => (None, &[][..], None),
        };
        let entry = indices.partition_point(|i| *i < row);
        let unit = indptr.map_or(entry, |p| p.partition_point(|first| *first <= entry).saturating_sub(1));
        Walk { indptr, indices, times, entry, unit }
    }

    /// Goes on to the choices of rows before `end`: `choice(u, c_ui, i)` of each.
    #[inline(always)]
    pub fn on(&mut self, end: usize, mut choice: impl FnMut(usize, f64, usize)) {
        while self.indices.get(self.entry).is_some_and(|i| *i < end) {
            let mut last = self.entry + 1;
            match self.indptr {
                Some(p) => {
                    while p[self.unit + 1] <= self.entry {
                        self.unit += 1;
                    }
                    last = p[self.unit + 1];
                }
                None => self.unit = self.entry,
            }
            for i in self.indices[self.entry..last].iter().take_while(|i| **i < end) {
                choice(self.unit, self.times.map_or(1.0, |t| t[self.entry]), *i);
                self.entry += 1;
            }
        }
    }
}

/// Units of a task, where the choices of all units stand in the order of the rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Own {
    /// All of whose choices are among the rows of the task, or that have none.
    pub units: Range<usize>,
    /// The rows of the task that no unit chose from which has choices before or after them, too.
    pub rows: Range<usize>,
}

impl Own {
    pub const NOTHING: Self = Own { units: 0..0, rows: 0..0 };

    /// Of the task with these rows. Every unit is one task's own, or has choices in several.
    pub fn of(data: &Data<'_>, rows: Range<usize>) -> Self {
        let units = data.shape().units;
        let (indptr, indices) = match *data.choices() {
            Choices::Units { indptr, indices, .. } => (Some(indptr), indices),
            Choices::SparseCounts { indices, .. } => (None, indices),
            Choices::Counts(_) => return Own { units: rows.clone(), rows },
        };
        let entries = |row: usize| indices.partition_point(|i| *i < row);
        let ended = |entry: usize| indptr.map_or(entry, |p| p[1..].partition_point(|end| *end <= entry));
        let first_of = |u: usize| indptr.map_or(u, |p| p[u]);
        let (from, to) = (entries(rows.start), entries(rows.end));
        let (before, after) = (if rows.start == 0 { 0 } else { ended(from) }, ended(to));
        let cut = |u: usize, entry: usize| u < units && first_of(u) < entry;
        let (mut first, mut clean) = (before, rows.clone());
        if cut(before, from) {
            first += 1;
            clean.start = (indices[first_of(first) - 1] + 1).min(rows.end);
        }
        if cut(after, to) {
            clean.end = indices[first_of(after).max(from)];
        }
        clean.end = clean.end.max(clean.start);
        Own { units: first..after.max(first), rows: clean }
    }
}

/// The choice set of rows that come in their order.
#[derive(Clone, Copy)]
pub(super) struct Set<'a> {
    /// The ends of the choice sets.
    ends: &'a [usize],
    set: usize,
}

impl<'a> Set<'a> {
    /// From the choice set of row i on.
    pub fn from(data: &Data<'a>, i: usize) -> Self {
        Set { ends: data.set_offsets().map_or(&[], |o| &o[1..]), set: data.set_of(i) }
    }

    /// That of row i.
    #[inline(always)]
    pub fn of(&mut self, i: usize) -> usize {
        while self.ends.get(self.set).is_some_and(|end| *end <= i) {
            self.set += 1;
        }
        self.set
    }
}

/// `out[at + k * stride] += f r_k`.
#[inline(always)]
pub(super) fn add_strided(f: f64, r: &[f64], out: &mut [f64], at: usize, stride: usize) {
    // Without an iterator of steps, which divides to know its length.
    for (k, r) in r.iter().enumerate() {
        out[at + k * stride] += f * r;
    }
}

/// Sums over units: C numbers each, and, of units with z, `X^T Ω`, C × L.
pub(super) struct OfUnits<'a> {
    pub class_weight: &'a mut [f64],
    pub class_choices: &'a mut [f64],
    pub chosen: &'a mut [f64],
}

/// What a task of [`Evaluation::prepare`] has of its own: z of its units.
struct OfTask<'a> {
    walk: Walk<'a>,
    own: Range<usize>,
    features: &'a mut [f64],
    /// What the unit before its own has here, and the one after, 2 × (L + 2).
    ends: &'a mut [f64],
}

impl Evaluation<'_> {
    /// Whether the choices of all units stand in the order of the rows.
    pub(super) fn is_ordered(&mut self, data: &Data<'_>) -> bool {
        *self.ordered.get_or_insert_with(|| match *data.choices() {
            Choices::Units { indices, .. } | Choices::SparseCounts { indices, .. } => indices.is_sorted(),
            Choices::Counts(_) => true,
        })
    }

    /// Whether `X^T Ω` comes from the units, and Ω is not stored.
    pub(super) fn by_units(&self) -> bool {
        let made = match self.layout.kind {
            Kind::One => self.unit_source != 0,
            Kind::Groups => self.layout.is_copied() && self.ordered == Some(true),
            Kind::Whole => false,
        };
        made && !self.unit_features.is_empty()
    }

    /// Says that one evaluation is all that is asked for: many features of units over one choice set take longer to make than they save.
    pub(super) fn is_alone(&mut self) {
        if self.layout.kind == Kind::One && self.shape.columns > FEW_COLUMNS {
            self.unit_features = &mut [];
        }
    }

    /// Gets the layout ready, with z, `Σ_i c_ui b_i` and `Σ_i c_ui` in the features as it has them where they serve.
    pub(super) fn prepare(&mut self, data: &Data<'_>, ctx: Context) {
        if self.layout.kind == Kind::One && !self.unit_features.is_empty() {
            self.make_units(data, ctx);
        }
        if self.layout.is_ready(data) {
            return;
        }
        let ordered = self.layout.is_grouped() && self.is_ordered(data);
        if ordered {
            self.find_own(data);
        }
        let length = self.scratch_length();
        let Evaluation { layout, unit_features, shape, own, scratch, .. } = self;
        let n = layout.blocks.clamp(1, TASKS);
        if !ordered || unit_features.is_empty() {
            return layout.prepare(data, &mut [(); TASKS][..n], ctx, |_, _| {});
        }
        let (l, offset) = (shape.columns, |i: usize| data.offset().map_or(0.0, |b| b[i]));
        unit_features.fill(0.0);
        let mut tasks: [Option<OfTask<'_>>; TASKS] = [const { None }; TASKS];
        let (mut left, mut next) = (&mut **unit_features, 0);
        for (t, ((task, own), piece)) in tasks.iter_mut().zip(&*own).zip(scratch.of_tasks(n, length)).enumerate() {
            let (own, ends) = (own.units.clone(), &mut piece[..2 * (l + 2)]);
            ends.fill(0.0);
            take(&mut left, (own.start - next) * (l + 2));
            let features = take(&mut left, own.len() * (l + 2));
            next = own.end;
            let walk = Walk::from(data, layout.rows_of(data, share(layout, t, n)).start);
            *task = Some(OfTask { walk, own, features, ends });
        }
        layout.prepare(data, &mut tasks[..n], ctx, |task, block| {
            let Some(OfTask { walk, own, features, ends }) = task else { return };
            walk.on(block.rows.end, |u, times, i| {
                if times != 0.0 {
                    let sums = match u {
                        u if u < own.start => &mut ends[..l + 2],
                        u if u >= own.end => &mut ends[l + 2..],
                        u => &mut features[(u - own.start) * (l + 2)..][..l + 2],
                    };
                    let (z, rest) = sums.split_at_mut(l);
                    block.add_row(i, times, z);
                    rest[0] += times * offset(i);
                    rest[1] += times;
                }
            });
        });
        // What units have in several tasks.
        for (own, piece) in own.iter().zip(scratch.of_tasks(n, length)) {
            for (u, sums) in [(own.units.start.checked_sub(1), &piece[..l + 2]), (Some(own.units.end), &piece[l + 2..])] {
                if let Some(features) = u.and_then(|u| unit_features.chunks_exact_mut(l + 2).nth(u)) {
                    axpy(1.0, &sums[..l + 2], features);
                }
            }
        }
    }

    /// The same of units over one choice set.
    fn make_units(&mut self, data: &Data<'_>, ctx: Context) {
        let (x, l, units) = (data.features(), self.shape.columns, self.shape.units);
        let Choices::Units { indptr, indices, counts, .. } = *data.choices() else { return };
        if core::mem::replace(&mut self.unit_source, x.address()) == x.address() {
            return;
        }
        let o = data.origin(0);
        self.unit_origin.iter_mut().enumerate().for_each(|(a, origin)| *origin = x.get(o, a));
        let (origin, n) = (&*self.unit_origin, TASKS.min(units));
        let (mut left, mut tasks) = (&mut *self.unit_features, [const { None }; TASKS]);
        for (t, task) in tasks.iter_mut().enumerate().take(n) {
            let (from, to) = (t * units / n, (t + 1) * units / n);
            *task = Some((from, take(&mut left, (to - from) * (l + 2))));
        }
        for_each(ctx.threads, &mut tasks[..n], |task| {
            let Some((first, features)) = task else { return };
            for (u, sums) in (*first..).zip(features.chunks_exact_mut(l + 2)) {
                sums.fill(0.0);
                let (z, rest) = sums.split_at_mut(l);
                let chosen = indptr[u]..indptr[u + 1];
                let times = counts.map(|c| &c[chosen.clone()]);
                x.add_differences_of(ctx.isa, &indices[chosen.clone()], times, origin, z);
                if let Some(b) = data.offset() {
                    rest[0] = data.entries(u).filter(|e| e.1 != 0.0).map(|(i, times)| times * b[i]).sum();
                }
                rest[1] = times.map_or(chosen.len() as f64, |t| t.iter().sum());
            }
        });
    }

    /// Finds what the tasks have of their own, where choices stand in the order of the rows.
    pub(super) fn find_own(&mut self, data: &Data<'_>) {
        if core::mem::replace(&mut self.own_known, true) {
            return;
        }
        let n = self.layout.blocks.clamp(1, TASKS);
        for (t, own) in self.own.iter_mut().enumerate().take(n) {
            *own = Own::of(data, self.layout.rows_of(data, share(&self.layout, t, n)));
        }
    }

    /// `z_u`, in the features as the layout has them; of one choice set, about the origin.
    pub(super) fn features_of_unit(&self, u: usize) -> &[f64] {
        let l = self.shape.columns;
        &self.unit_features[u * (l + 2)..][..l]
    }

    /// `Σ_i c_ui`.
    pub(super) fn choices_of_unit(&self, data: &Data<'_>, u: usize) -> f64 {
        match self.by_units() {
            true => self.unit_features[(u + 1) * (self.shape.columns + 2) - 1],
            false => data.entries(u).map(|e| e.1).sum(),
        }
    }

    /// Adds what the units from `first` on with responsibilities `r` add to the sums over units.
    pub(super) fn add_units(&self, data: &Data<'_>, first: usize, r: &[f64], sums: &mut OfUnits<'_>) {
        let (c, l) = (self.columns(), self.shape.columns);
        for (u, r) in (first..).zip(r.chunks_exact(c.max(1))) {
            let w = data.unit_weight(u);
            if w == 0.0 {
                continue;
            }
            axpy(w, r, sums.class_weight);
            axpy(w * self.choices_of_unit(data, u), r, sums.class_choices);
            if self.by_units() {
                let z = self.features_of_unit(u);
                r.iter().zip(sums.chosen.chunks_exact_mut(l)).for_each(|(r, chosen)| axpy(w * r, z, chosen));
            }
        }
    }

    /// Adds `log P(u | c)` of the units: that of unit `units.start + j` to `joint[c * UNITS + j]`.
    pub(super) fn add_log_likelihoods(&self, found: Found<'_>, data: &Data<'_>, units: Range<usize>, joint: &mut [f64]) {
        let c = self.columns();
        let Some((first, _)) = units.clone().find_map(|u| data.entries(u).next()) else { return };
        let mut set = Set::from(data, first);
        for (j, u) in units.enumerate() {
            let here = set;
            for k in (0..c).step_by(4) {
                set = here;
                let joint = &mut joint[k * UNITS + j..];
                match c - k {
                    1 => self.add_log_likelihood::<1>(found, data, u, k, &mut set, joint),
                    2 => self.add_log_likelihood::<2>(found, data, u, k, &mut set, joint),
                    3 => self.add_log_likelihood::<3>(found, data, u, k, &mut set, joint),
                    _ => self.add_log_likelihood::<4>(found, data, u, k, &mut set, joint),
                }
            }
        }
    }

    /// The same of one unit and N columns from `k` on, whose sums stay in registers. From z, but where that is the small difference of
    /// large numbers, which offsets or runaway atoms make, from the probabilities of the rows.
    #[inline(always)]
    fn add_log_likelihood<const N: usize>(
        &self,
        found: Found<'_>,
        data: &Data<'_>,
        u: usize,
        k: usize,
        set: &mut Set<'_>,
        joint: &mut [f64],
    ) {
        let (c, l) = (self.columns(), self.shape.columns);
        let (z, rest) = self.unit_features[u * (l + 2)..(u + 1) * (l + 2)].split_at(l);
        let atoms = &self.atoms[k * l..(k + N) * l];
        let mut products = [0.0; N];
        for (a, z) in z.iter().enumerate() {
            products.iter_mut().enumerate().for_each(|(n, product)| *product += z * atoms[n * l + a]);
        }
        let mut sums = products.map(|product| rest[0] + product);
        let mut sizes = products.map(|product: f64| rest[0].abs() + product.abs());
        for (i, times) in data.entries(u) {
            let log_z = &found.log_z[self.layout.zone(set.of(i), k, c) - found.before.1..][..(N - 1) * SETS + 1];
            for n in 0..N {
                let term = times * log_z[n * SETS];
                sums[n] -= term;
                sizes[n] += term.abs();
            }
        }
        for n in 0..N {
            joint[n * UNITS] += match sizes[n] <= MOST_CANCELLED * (1.0 + sums[n].abs()) {
                true => at_most_0(sums[n]),
                false => self.log_likelihood_by_rows(found, data, u, k + n),
            };
        }
    }

    /// [`Self::add_log_likelihoods`] of units over one choice set, by rows also where the common part `x_o·θ` of all logits is too large to
    /// leave log Z its digits. `products`: room for as many as `joint` has.
    pub(super) fn add_log_likelihoods_of_one_set(
        &self,
        found: Found<'_>,
        data: &Data<'_>,
        units: Range<usize>,
        joint: &mut [f64],
        products: &mut [f64],
        isa: Isa,
    ) {
        let (c, l) = (self.columns(), self.shape.columns);
        let (features, atoms) = (&self.unit_features[units.start * (l + 2)..units.end * (l + 2)], &self.atoms[..c * l]);
        simd::logits(isa, Rows { values: features, rows: units.len(), columns: l, stride: l + 2 }, atoms, None, products, UNITS);
        for (k, (joint, products)) in joint.chunks_exact_mut(UNITS).zip(products.chunks(UNITS)).enumerate().take(c) {
            let (common, log_z) = (dot(self.unit_origin, &atoms[k * l..(k + 1) * l]), found.log_z[zone(0, k, c)]);
            for (((u, joint), product), features) in units.clone().zip(joint).zip(products).zip(features.chunks_exact(l + 2)) {
                let (offsets, taken) = (features[l], features[l + 1] * (log_z - common));
                let sum = offsets + product - taken;
                let size = offsets.abs() + product.abs() + taken.abs() + COMMON * features[l + 1] * common.abs();
                *joint += match size <= MOST_CANCELLED * (1.0 + sum.abs()) {
                    true => at_most_0(sum),
                    false => self.log_likelihood_by_rows(found, data, u, k),
                };
            }
        }
    }

    /// `log P(u | k)` from the probabilities of the rows.
    #[cold]
    fn log_likelihood_by_rows(&self, found: Found<'_>, data: &Data<'_>, u: usize, k: usize) -> f64 {
        let chosen = data.entries(u).filter(|e| e.1 != 0.0);
        chosen.map(|(i, times)| times * self.log_probability_of(found, data, i, k)).sum()
    }

    /// t of choice sets side by side, straight from the choices.
    pub(super) fn choices_of_sets(&mut self, data: &Data<'_>, ctx: Context) {
        let (c, length) = (self.columns(), self.scratch_length());
        let t = core::mem::take(&mut self.t);
        let mut scratch = core::mem::take(&mut self.scratch);
        let ev = &*self;
        let matrices: Matrices<'_, f64> = Matrices { sets: t, ..Matrices::default() };
        each_task(&ev.layout, c, length, &mut scratch, matrices, ctx, |layout, task, _| {
            let mut left = &mut *task.of.sets;
            let mut walk = Walk::from(data, ev.rows_of_block(data, task.blocks.start).start);
            for b in task.blocks.clone() {
                let (sets, rows) = (layout.sets(data, b), ev.rows_of_block(data, b));
                let t = take(&mut left, sets.len() * c);
                t.fill(0.0);
                let mut set = Set::from(data, rows.start);
                walk.on(rows.end, |u, times, i| {
                    let at = zone(layout.position(set.of(i)) - sets.start, 0, c);
                    add_strided(data.unit_weight(u) * times, &ev.r[u * c..(u + 1) * c], t, at, SETS);
                });
            }
        });
        (self.t, self.scratch) = (t, scratch);
    }

    /// Ω of units, serially: they may have chosen the same row.
    pub(super) fn weights_of_units(&mut self, data: &Data<'_>) {
        let c = self.columns();
        self.omega.zero(self.layout.start(self.layout.blocks) * c);
        let Evaluation { r, omega, layout, .. } = self;
        let omega = &mut **omega;
        for (u, r) in r.chunks_exact(c.max(1)).enumerate().take(self.shape.units) {
            for (i, times) in data.entries(u) {
                let (at, stride) = layout.at(i, c);
                add_strided(data.unit_weight(u) * times, r, omega, at, stride);
            }
        }
    }

    /// The same block by block, where the choices of all units stand in the order of the rows.
    pub(super) fn weights_of_ordered_units(&mut self, data: &Data<'_>, ctx: Context) {
        let (c, length) = (self.columns(), self.scratch_length());
        let room = self.omega.take();
        let mut scratch = core::mem::take(&mut self.scratch);
        let ev = &*self;
        let matrices = Matrices { rows: room, ..Matrices::default() };
        each_task(&ev.layout, c, length, &mut scratch, matrices, ctx, |layout, task, _| {
            let mut left = &mut *task.of.rows;
            let mut walk = Walk::from(data, ev.rows_of_block(data, task.blocks.start).start);
            for b in task.blocks.clone() {
                let (before, end) = (layout.start(b) * c, ev.rows_of_block(data, b).end);
                let omega = filled(take(&mut left, layout.length(b) * c), 0.0);
                walk.on(end, |u, times, i| {
                    let (at, stride) = layout.at(i, c);
                    add_strided(data.unit_weight(u) * times, &ev.r[u * c..(u + 1) * c], omega, at - before, stride);
                });
            }
        });
        self.scratch = scratch;
        // SAFETY: the tasks have filled every block.
        unsafe { self.omega.give_back(room, self.layout.start(self.layout.blocks) * c) };
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::data::Features;
    use crate::testing::numbers;
    use crate::workspace::{WorkspaceBuffer, WorkspaceSize};
    use alloc::vec;
    use alloc::vec::Vec;

    /// What comes from the features of units is what comes from Ω, for units with and without weights and multiplicities, sets of any
    /// sizes and one, alternatives that are not available, rows chosen more than once, and single precision.
    #[test]
    fn sums_by_units_are_those_of_the_row_weights() {
        for (largest, weighted, offsets, repeats, c) in [
            (4, false, false, false, 2),
            (5, true, true, true, 1),
            (4, true, false, true, 3),
            (3, false, true, false, 4),
            (4, true, true, true, 9),
        ] {
            let l = 3;
            let sizes: Vec<usize> = (0..61).map(|s| if offsets || s % 5 != 3 { largest } else { largest - 1 }).collect();
            let sets: Vec<usize> = core::iter::once(0)
                .chain(sizes.iter().scan(0, |sum, n| {
                    *sum += n;
                    Some(*sum)
                }))
                .collect();
            let p = sets[61];
            let x: Vec<f64> = numbers(p * l, 1).iter().map(|x| 3.0 * x + 0.5).collect();
            let single: Vec<f32> = x.iter().map(|x| *x as f32).collect();
            let chosen = |s: usize| sets[s] + (s * 7 + 1) % sizes[s];
            let offset: Vec<f64> =
                (0..p).map(|i| if (0..61).any(|s| i == sets[s] && chosen(s) != i) { f64::NEG_INFINITY } else { 0.1 }).collect();
            // Units of three sets, the last one of one; sets that nobody chose in, and one that two units chose in.
            let (mut indptr, mut indices) = (vec![0], vec![]);
            for u in 0..21 {
                for s in (3 * u..(3 * u + 3).min(61)).filter(|s| s % 11 != 10) {
                    indices.push(chosen(s));
                    if repeats && s % 4 == 0 {
                        indices.push(chosen(s));
                    }
                }
                indptr.push(indices.len());
            }
            let times: Vec<f64> = (0..indices.len()).map(|e| [1.0, 2.0, 0.0, 0.5][e % 4]).collect();
            let w: Vec<f64> = (0..21).map(|u| [1.0, 0.0, 2.5][u % 3]).collect();
            let choices = Choices::Units {
                indptr: &indptr,
                indices: &indices,
                counts: weighted.then_some(&times[..]),
                weights: weighted.then_some(&w[..]),
            };
            let theta = numbers(c * l, 4);
            let alpha: Vec<f64> = (1..=c).map(|k| 2.0 * k as f64 / (c * (c + 1)) as f64).collect();
            let of = |sets| [(Features::row_major(&x[..], p, l).unwrap(), sets), (Features::row_major(&single[..], p, l).unwrap(), sets)];
            for (features, sets) in of(Some(&sets[..])).into_iter().chain(of(None)) {
                let data = Data::new(features, offsets.then_some(&offset[..]), sets, choices).unwrap();
                let ctx = Context { threads: 2, ..Context::default() };
                let buffers = || WorkspaceBuffer::new(WorkspaceSize::of::<f64>(1 << 18)).unwrap();
                let (mut of_one, mut of_other) = (buffers(), buffers());
                let mut by_units = Evaluation::new(data.shape(), c, 1, &mut of_one.lend()).unwrap();
                let mut by_rows = Evaluation::new(data.shape(), c, 1, &mut of_other.lend()).unwrap();
                by_rows.unit_features = &mut [];
                for apart in [false, true] {
                    for ev in [&mut by_units, &mut by_rows] {
                        match apart {
                            true => ev.evaluate_apart(&data, &alpha, &theta, ctx).unwrap(),
                            false => ev.evaluate(&data, &alpha, &theta, ctx).unwrap(),
                        }
                    }
                    assert!(by_units.by_units() && !by_rows.by_units());
                    assert!((by_units.value[0] - by_rows.value[0]).abs() < 1e-11);
                    assert!(by_units.r.iter().zip(&*by_rows.r).all(|(a, b)| (a - b).abs() < 1e-13));
                    let (mut one, mut other) = (vec![0.0; c * l], vec![0.0; c * l]);
                    by_units.atom_gradient(&mut one);
                    by_rows.atom_gradient(&mut other);
                    for (a, b) in one.iter().zip(&other).chain(by_units.class_choices.iter().zip(&*by_rows.class_choices)) {
                        assert!((a - b).abs() < 1e-11, "{a} {b}");
                    }
                    for s in 0..data.shape().sets {
                        for k in 0..c {
                            assert!((by_units.t(s, k) - by_rows.t(s, k)).abs() < 1e-13, "t of set {s}");
                        }
                    }
                }
            }
        }
    }

    /// Offsets that leave one alternative of a set, or are many: what comes from z keeps its digits, or comes from the rows. So it does of one
    /// choice set, where a common shift of the features costs none either.
    #[test]
    fn log_likelihoods_of_units_do_not_cancel() {
        let (l, c, sets) = (2, 2, 24);
        let offsets: Vec<usize> = (0..=sets).map(|s| 4 * s).collect();
        let x = numbers(8 * sets, 1);
        let indptr: Vec<usize> = (0..=8).map(|u| 3 * u).collect();
        let chosen: Vec<usize> = (0..sets).map(|s| 4 * s + s % 4).collect();
        let (theta, alpha) = (numbers(c * l, 4), [0.3, 0.7]);
        let shifted: Vec<f64> = x.iter().map(|x| f64::from((x * 1024.0) as f32) / 1024.0 + 4096.0).collect();
        for (size, one) in [1.0, 1e3, 1e6, 1e9, 1e17, 1e200].into_iter().flat_map(|size| [(size, false), (size, true)]) {
            let x = if one { &shifted } else { &x };
            // Of some sets the chosen alternative alone is likely, of others all are shifted.
            let b: Vec<f64> = (0..4 * sets).map(|i| if chosen[i / 4] == i || i / 4 % 3 == 0 { size } else { 0.0 }).collect();
            let choices = Choices::Units { indptr: &indptr, indices: &chosen, counts: None, weights: None };
            let offsets = if one { None } else { Some(&offsets[..]) };
            let data = Data::new(Features::row_major(&x[..], 4 * sets, l).unwrap(), Some(&b), offsets, choices).unwrap();
            let buffers = || WorkspaceBuffer::new(WorkspaceSize::of::<f64>(1 << 15)).unwrap();
            let (mut of_one, mut of_other) = (buffers(), buffers());
            let mut by_units = Evaluation::new(data.shape(), c, 1, &mut of_one.lend()).unwrap();
            let mut by_rows = Evaluation::new(data.shape(), c, 1, &mut of_other.lend()).unwrap();
            by_rows.unit_features = &mut [];
            for ev in [&mut by_units, &mut by_rows] {
                ev.evaluate(&data, &alpha, &theta, Context::default()).unwrap();
            }
            assert!(by_units.by_units());
            let (value, expected) = (by_units.value[0], by_rows.value[0]);
            assert!((value - expected).abs() < 1e-9 * if one { 1.0 + expected.abs() } else { 1.0 }, "{size}: {value} {expected}");
            assert!(by_units.r.iter().zip(&*by_rows.r).all(|(a, b)| (a - b).abs() < 1e-9), "{size}");
        }
    }
}
