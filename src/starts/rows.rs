//! Starts of counts over one choice set: sums over the chosen rows, from which an M-step makes the mixture.
//!
//! Clusters of the chosen alternatives; and the best mixture with one class taken away and put on a few alternatives that it explains
//! worst. Those are what narrow classes live on: a softmax with a long atom chooses from a face of the hull of the features, which random
//! atoms hardly ever find.

use super::{StartKind, direction, pick, stream, weighing};
use crate::data::{Data, Shape};
use crate::em::Em;
use crate::error::Result;
use crate::evaluate::Evaluation;
use crate::fit::race::Problem;
use crate::fit::{race_form, starts_are_cheap};
use crate::linalg::{axpy, dot};
use crate::mixture::MixtureRef;
use crate::simd::{self, Isa, Rows};
use crate::workspace::{Workspace, WorkspaceSize};
use core::ops::Range;
use rand::Rng;
use rand_pcg::Pcg64;

/// Candidates a start; and how many times as many, in rounds, where starts are cheap. More draws of fewer candidates find more.
const CANDIDATES: usize = 4;
const ROUNDS: usize = 2;
/// M-steps from what found a candidate, and its steps of EM alone.
const M_STEPS: usize = 8;
const STEPS: usize = 8;

/// What starts of counts are drawn from. A unit is an alternative and its draws.
pub(crate) struct RowStarts<'w> {
    classes: usize,
    /// A row that the others are taken about.
    origin: usize,
    /// Features of a row, or an atom: L numbers; those of a row whitened, or a direction, and the mean of the chosen rows: r each.
    row: &'w mut [f64],
    z: &'w mut [f64],
    mean: &'w mut [f64],
    /// What each class would be missed by, and responsibilities: K each.
    loss: &'w mut [f64],
    responsibilities: &'w mut [f64],
    /// U each: squares of the norms of whitened rows, distances, the nearest centre, what the best mixture leaves unexplained without a
    /// class, `(w_u − N π_u)_+`, and scratch.
    norms: &'w mut [f64],
    distance: &'w mut [f64],
    nearest: &'w mut [usize],
    excess: &'w mut [f64],
    scratch: &'w mut [f64],
    /// Probabilities of the best mixture without each class, U × K.
    rest: &'w mut [f64],
    /// Of a batch of units, their rows (× L), and weights for every column.
    rows: &'w mut [f64],
    columns: &'w mut [f64],
    /// Of every candidate, a column each: atoms (× L), weight, log-likelihood, draws of the alternative it has most of; the class it takes
    /// the place of; that alternative; their order.
    candidates: &'w mut [f64],
    share: &'w mut [f64],
    gain: &'w mut [f64],
    most: &'w mut [f64],
    moved: &'w mut [usize],
    mode: &'w mut [usize],
    order: &'w mut [usize],
    /// The class that the best mixture misses least: of weight 0 if there is one.
    least: usize,
    empty: bool,
}

impl<'w> RowStarts<'w> {
    /// Whether such starts can be drawn from data of this shape.
    pub fn apply(shape: &Shape) -> bool {
        shape.units_are_draws && shape.sets == 1 && !shape.is_part()
    }

    pub fn workspace(shape: &Shape, classes: usize, columns: usize) -> WorkspaceSize {
        let of = |a: usize, b: usize| WorkspaceSize::of::<f64>(a.saturating_mul(b));
        let (l, u) = (shape.columns, shape.units);
        let rows = of(l, 1).and(of(l, 1)).and(of(l, 1));
        let each = of(columns, l).and(of(columns, 1)).and(of(columns, 1)).and(of(columns, 1)).and(of(columns, BATCH)).and(of(BATCH, l));
        let each = each
            .and(WorkspaceSize::of::<usize>(columns))
            .and(WorkspaceSize::of::<usize>(columns))
            .and(WorkspaceSize::of::<usize>(columns))
            .and(of(u, classes));
        let units = of(u, 1).and(of(u, 1)).and(of(u, 1)).and(of(u, 1)).and(WorkspaceSize::of::<usize>(u));
        rows.and(each).and(of(classes, 1)).and(of(classes, 1)).and(units)
    }

    pub fn new(problem: &Problem<'_, '_>, classes: usize, columns: usize, ws: &mut Workspace<'w>) -> Result<Self> {
        let (l, r, u) = (problem.wh.columns, problem.wh.rank, problem.data.shape().units);
        let mut starts = RowStarts {
            classes,
            origin: problem.data.origin(0),
            row: ws.f64s(l)?,
            z: &mut ws.f64s(l)?[..r],
            mean: &mut ws.f64s(l)?[..r],
            loss: ws.f64s(classes)?,
            responsibilities: ws.f64s(classes)?,
            norms: ws.f64s(u)?,
            distance: ws.f64s(u)?,
            nearest: ws.fill(u, 0)?,
            excess: ws.f64s(u)?,
            scratch: ws.f64s(u)?,
            rest: ws.f64s(u * classes)?,
            rows: ws.f64s(BATCH * l)?,
            columns: ws.f64s(columns * BATCH)?,
            candidates: ws.f64s(columns * l)?,
            share: ws.f64s(columns)?,
            gain: ws.f64s(columns)?,
            most: ws.f64s(columns)?,
            moved: ws.fill(columns, 0)?,
            mode: ws.fill(columns, 0)?,
            order: ws.fill(columns, 0)?,
            least: 0,
            empty: false,
        };
        starts.take_norms(problem);
        Ok(starts)
    }

    /// The squares of the norms of the whitened rows.
    fn take_norms(&mut self, problem: &Problem<'_, '_>) {
        let (isa, l) = (problem.ctx.isa, problem.wh.columns);
        let mut z = [0.0; 4 * BATCH];
        for batch in batches(problem.data) {
            let x = batch.about(problem.data, self.origin, self.rows);
            // Four coordinates at once.
            for map in problem.wh.to_atoms.chunks(4 * l) {
                simd::logits(isa, x, map, None, &mut z, BATCH);
                for z in z.chunks_exact(BATCH).take(map.len() / l) {
                    batch.units().iter().zip(z).for_each(|(u, z)| self.norms[*u] += z * z);
                }
            }
        }
    }

    /// `z_u·z` of the rows that were drawn about the origin, in `scratch`.
    fn project(&mut self, problem: &Problem<'_, '_>) {
        problem.wh.unwhiten_atom(self.z, self.row);
        let mut products = [0.0; BATCH];
        for batch in batches(problem.data) {
            let x = batch.about(problem.data, self.origin, self.rows);
            simd::logits(problem.ctx.isa, x, self.row, None, &mut products, BATCH);
            batch.units().iter().zip(products).for_each(|(u, product)| self.scratch[*u] = product);
        }
    }

    /// A clustering in whitened features, centres drawn by their counts and far from one another (k-means++), each class fitted to its own:
    /// the sums of an M-step for the columns of start `column`.
    pub fn cluster(&mut self, problem: &Problem<'_, '_>, ev: &mut Evaluation<'_>, start: usize, column: usize) -> StartKind {
        let (data, k) = (problem.data, self.classes);
        let mut random = stream(problem.seed, start);
        self.distance.fill(1.0);
        for j in 0..k {
            let center = pick(data, &mut random, |u| data.unit_weight(u) * self.distance[u]);
            self.whiten(problem, center);
            self.project(problem);
            for u in weighing(data) {
                let (norms, product) = (self.norms[u] + self.norms[center], self.scratch[u]);
                // What is left of rounding is 0.
                let d = if norms - 2.0 * product > 1e-12 * norms { norms - 2.0 * product } else { 0.0 };
                if j == 0 || d < self.distance[u] {
                    (self.distance[u], self.nearest[u]) = (d, j);
                }
            }
        }
        // Clusters that are a little mixed: a class that nothing else chose would run off at once.
        let own = 0.5 + 0.5 * random.random::<f64>();
        clear(ev, column * k..(column + 1) * k);
        for batch in batches(data) {
            for (j, weights) in self.columns.chunks_exact_mut(BATCH).enumerate().take(k) {
                for (weight, u) in weights.iter_mut().zip(batch.units()) {
                    *weight = data.unit_weight(*u) * if j == self.nearest[*u] { own } else { (1.0 - own) / (k - 1) as f64 };
                }
            }
            batch.add(data, problem.ctx.isa, self.rows, self.columns, ev, column * k..(column + 1) * k);
        }
        StartKind::Cluster
    }

    /// Evaluates the best mixture: what is left of it without each class, and the class it would miss least.
    fn prepare(&mut self, problem: &Problem<'_, '_>, em: &mut Em<'_>, best: MixtureRef<'_>) -> Result<()> {
        let data = problem.data;
        em.restart(1);
        em.ev.normalizers(data, best.atoms, false, problem.ctx)?;
        self.loss.fill(0.0);
        for u in weighing(data) {
            let w = data.unit_weight(u);
            let log_share = em.ev.unit_responsibilities(data, best.weights, u, self.responsibilities);
            let share = libm::exp(log_share);
            for (j, (rest, r)) in self.rest[u * self.classes..].iter_mut().zip(&*self.responsibilities).enumerate() {
                *rest = share * (1.0 - r) / f64::max(1.0 - best.weights[j], f64::MIN_POSITIVE);
            }
            for (loss, r) in self.loss.iter_mut().zip(&*self.responsibilities) {
                *loss -= w * libm::log(f64::max(1.0 - r, 1e-10));
            }
        }
        self.row.fill(0.0);
        for batch in batches(data) {
            let x = batch.about(data, self.origin, self.rows);
            let weights = &mut self.columns[..BATCH];
            weights.iter_mut().zip(batch.units()).for_each(|(w, u)| *w = data.unit_weight(*u) / data.total_weight());
            simd::weighted_sum(problem.ctx.isa, x, weights, BATCH, self.row);
        }
        problem.wh.to_whitened(self.row, self.mean);
        let empty = best.weights.iter().position(|w| *w == 0.0);
        let loss = &*self.loss;
        self.least = empty.unwrap_or_else(|| (1..loss.len()).fold(0, |a, j| if loss[j] < loss[a] { j } else { a }));
        self.empty = empty.is_some();
        Ok(())
    }

    /// Starts for a class to move: the best mixture less one class, and a class put on a few alternatives instead. In rounds, each with
    /// candidates of its own, as one face of the hull among many is found by trying.
    pub fn narrow(
        &mut self,
        problem: &Problem<'_, '_>,
        em: &mut Em<'_>,
        best: MixtureRef<'_>,
        start: usize,
        kinds: &mut [StartKind],
        weights: &mut [f64],
        atoms: &mut [f64],
    ) -> Result<()> {
        let (k, l) = (self.classes, problem.wh.columns);
        self.prepare(problem, em, best)?;
        let rounds = if starts_are_cheap(&problem.data.shape(), k) { ROUNDS } else { 1 };
        // As many as there are candidates at once.
        let each = kinds.len().div_ceil(rounds).min(self.share.len() / k * k);
        let starts = kinds.chunks_mut(each).zip(weights.chunks_mut(each * k)).zip(atoms.chunks_mut(each * k * l));
        for (round, ((kinds, weights), atoms)) in starts.enumerate() {
            self.best_candidates(problem, em, best, start + round * each, rounds * CANDIDATES, kinds, weights, atoms)?;
        }
        Ok(())
    }

    /// One round of [`RowStarts::narrow`]: `candidates` for a start, the best of them written as starts.
    ///
    /// A candidate is one column: an M-step from the alternatives that found it, then steps of EM of that class alone against what is left
    /// of the best mixture (greedy EM: Verbeek, Vlassis and Kröse 2003). Those of the highest likelihood become starts, one for an
    /// alternative that it has most of before others.
    fn best_candidates(
        &mut self,
        problem: &Problem<'_, '_>,
        em: &mut Em<'_>,
        best: MixtureRef<'_>,
        start: usize,
        candidates: usize,
        kinds: &mut [StartKind],
        weights: &mut [f64],
        atoms: &mut [f64],
    ) -> Result<()> {
        let (k, l) = (self.classes, problem.wh.columns);
        let n = (candidates * kinds.len()).min(self.share.len() / k * k).next_multiple_of(k);
        em.restart(n / k);
        for c in 0..n {
            let mut random = stream(problem.seed, start.wrapping_add(c.wrapping_mul(1 << 20)));
            self.moved[c] = if self.empty || random.random() { self.least } else { random.random_range(0..k) };
            self.choose(problem, self.moved[c], best, &mut random);
            let whole: bool = random.random();
            clear(&mut em.ev, c..c + 1);
            for u in weighing(problem.data).filter(|&u| self.distance[u] < 0.0) {
                let i = row_of(problem.data, u);
                problem.data.features().copy(i..i + 1, self.row);
                let w = problem.data.unit_weight(u);
                add(&mut em.ev, c, if whole { w } else { f64::max(self.excess[u], 1e-3 * w) }, self.row);
            }
        }
        let candidates = core::mem::take(&mut self.candidates);
        candidates[..n * l].fill(0.0);
        self.share[..n].copy_from_slice(&em.ev.class_weight[..n]);
        let result = self.refine(problem, em, n, &mut candidates[..n * l]);
        self.order[..n].iter_mut().enumerate().for_each(|(c, o)| *o = c);
        let gain = &*self.gain;
        self.order[..n].sort_unstable_by(|&a, &b| gain[b].total_cmp(&gain[a]).then(a.cmp(&b)));
        // The best of those that live on an alternative first, then the others.
        let alike = |j: usize| self.order[..j].iter().any(|&c| self.mode[c] == self.mode[self.order[j]]);
        let chosen = (0..n).filter(|&j| !alike(j)).chain((0..n).filter(|&j| alike(j)));
        for (((j, kind), w), a) in chosen.zip(kinds).zip(weights.chunks_exact_mut(k)).zip(atoms.chunks_exact_mut(k * l)) {
            let c = self.order[j];
            let class = self.moved[c];
            let rest = f64::max(1.0 - best.weights[class], f64::MIN_POSITIVE);
            for (j, (w, b)) in w.iter_mut().zip(best.weights).enumerate() {
                *w = if j == class { self.share[c] } else { b / rest * (1.0 - self.share[c]) };
            }
            a.copy_from_slice(best.atoms);
            a[class * l..(class + 1) * l].copy_from_slice(&candidates[c * l..(c + 1) * l]);
            *kind = if self.empty { StartKind::Grow } else { StartKind::Relocate };
        }
        self.candidates = candidates;
        result
    }

    /// M-steps from the sums that found the candidates, and steps of EM of each alone: `share` are their weights, `gain` their
    /// log-likelihoods.
    fn refine(&mut self, problem: &Problem<'_, '_>, em: &mut Em<'_>, n: usize, atoms: &mut [f64]) -> Result<()> {
        let (data, k) = (problem.data, self.classes);
        fit_rows(problem, em, M_STEPS, atoms)?;
        self.share[..n].iter_mut().for_each(|s| *s = (*s / data.total_weight()).clamp(1e-6, 0.5));
        let (mut own, mut all, mut logs, mut draws) = ([0.0; BATCH], [0.0; BATCH], [0.0; BATCH], [0.0; BATCH]);
        for round in 0..=STEPS {
            clear(&mut em.ev, 0..n);
            self.gain[..n].fill(0.0);
            self.most[..n].fill(0.0);
            self.mode[..n].fill(usize::MAX);
            for batch in batches(data) {
                let units = batch.units();
                let (own, all) = (&mut own[..units.len()], &mut all[..units.len()]);
                let (logs, draws) = (&mut logs[..units.len()], &mut draws[..units.len()]);
                draws.iter_mut().zip(units).for_each(|(w, u)| *w = data.unit_weight(*u));
                for (c, omega) in self.columns.chunks_exact_mut(BATCH).enumerate().take(n) {
                    let (share, moved) = (self.share[c], self.moved[c]);
                    em.ev.probabilities_of(batch.rows(), c, own);
                    for ((own, all), u) in own.iter_mut().zip(&mut *all).zip(units) {
                        *own *= share;
                        *all = *own + (1.0 - share) * self.rest[u * k + moved] + f64::MIN_POSITIVE;
                    }
                    logs.copy_from_slice(all);
                    simd::ln_in_place(problem.ctx.isa, logs);
                    self.gain[c] += dot(draws, logs);
                    let omega = &mut omega[..units.len()];
                    for (((omega, w), own), all) in omega.iter_mut().zip(&*draws).zip(&*own).zip(&*all) {
                        *omega = if *own > 1e-12 * *all { *w * *own / *all } else { 0.0 };
                    }
                    let most = omega.iter().fold(0.0, |m, o| if *o > m { *o } else { m });
                    if most > self.most[c] {
                        self.most[c] = most;
                        self.mode[c] = omega.iter().position(|o| *o == most).map_or(0, |j| units[j]);
                    }
                }
                batch.add(data, problem.ctx.isa, self.rows, self.columns, &mut em.ev, 0..n);
            }
            for (share, n) in self.share[..n].iter_mut().zip(&*em.ev.class_weight) {
                *share = (n / data.total_weight()).clamp(1e-6, 1.0 - 1e-6);
            }
            if round < STEPS {
                step_rows(problem, em, atoms)?;
            }
        }
        Ok(())
    }

    /// Gives the alternatives that found a narrow class a negative `distance`.
    fn choose(&mut self, problem: &Problem<'_, '_>, class: usize, best: MixtureRef<'_>, random: &mut Pcg64) {
        let (data, k) = (problem.data, self.classes);
        let left = data.total_weight() * (1.0 - best.weights[class]);
        for u in weighing(data) {
            self.excess[u] = f64::max(data.unit_weight(u) - left * self.rest[u * k + class], 0.0);
        }
        let seed = pick(data, random, |u| self.excess[u]);
        let most = (data.observed_units() / self.classes).max(1);
        let size = (libm::pow(most as f64, random.random::<f64>()) as usize).clamp(1, most);
        let how = random.random_range(0..7);
        if how == 0 || how > 3 {
            self.distance.fill(0.0);
            for _ in 0..random.random_range(1..=3) {
                self.distance[pick(data, random, |u| self.excess[u])] = -1.0;
            }
            return;
        }
        self.whiten(problem, seed);
        match how {
            1 => {}
            2 => self.z.iter_mut().zip(&*self.mean).for_each(|(z, m)| *z -= m),
            _ => direction(random, 1.0, self.z),
        }
        self.project(problem);
        let mut n = 0;
        for u in weighing(data) {
            // Square distances, but for what all have in common.
            self.distance[u] = if how == 1 { self.norms[u] - 2.0 * self.scratch[u] } else { -self.scratch[u] };
            self.scratch[n] = self.distance[u];
            n += 1;
        }
        let (_, limit, _) = self.scratch[..n].select_nth_unstable_by(size - 1, f64::total_cmp);
        let limit = *limit;
        self.distance.iter_mut().for_each(|d| *d = if *d <= limit { -1.0 } else { 1.0 });
    }

    /// Whitened features of the alternative of unit `u`, about the origin, in `z`.
    fn whiten(&mut self, problem: &Problem<'_, '_>, u: usize) {
        problem.data.features().differences_of(&[row_of(problem.data, u)], self.origin, self.row);
        problem.wh.to_whitened(self.row, self.z);
    }
}

/// Units that go through the kernels together.
const BATCH: usize = 128;

/// Some of the units that were drawn, and the rows that they chose.
struct Batch {
    units: [usize; BATCH],
    rows: [usize; BATCH],
    held: usize,
}

impl Batch {
    fn units(&self) -> &[usize] {
        &self.units[..self.held]
    }

    fn rows(&self) -> &[usize] {
        &self.rows[..self.held]
    }

    /// The rows less row `origin`, in `room`.
    fn about<'r>(&self, data: &Data<'_>, origin: usize, room: &'r mut [f64]) -> Rows<'r, f64> {
        let l = data.features().columns();
        let values = &mut room[..self.held * l];
        data.features().differences_of(self.rows(), origin, values);
        Rows { values, rows: self.held, columns: l, stride: l }
    }

    /// Adds the rows to the sums of `columns` of the evaluation, with weights, BATCH for each.
    fn add(&self, data: &Data<'_>, isa: Isa, room: &mut [f64], weights: &[f64], ev: &mut Evaluation<'_>, columns: Range<usize>) {
        let l = data.features().columns();
        let values = &mut room[..self.held * l];
        data.features().gather(self.rows().iter().copied(), values);
        let x = Rows { values, rows: self.held, columns: l, stride: l };
        for (total, weights) in ev.class_weight[columns.clone()].iter_mut().zip(weights.chunks_exact(BATCH)) {
            *total += weights[..self.held].iter().sum::<f64>();
        }
        simd::weighted_sum(isa, x, weights, BATCH, &mut ev.chosen[columns.start * l..columns.end * l]);
    }
}

/// The units that were drawn, in batches.
fn batches<'a>(data: &'a Data<'_>) -> impl Iterator<Item = Batch> + 'a {
    let mut units = weighing(data);
    core::iter::from_fn(move || {
        let mut batch = Batch { units: [0; BATCH], rows: [0; BATCH], held: 0 };
        for u in units.by_ref().take(BATCH) {
            (batch.units[batch.held], batch.rows[batch.held]) = (u, row_of(data, u));
            batch.held += 1;
        }
        (batch.held > 0).then_some(batch)
    })
}

/// The alternative that unit `u` chose.
fn row_of(data: &Data<'_>, u: usize) -> usize {
    data.entries(u).next().map_or(0, |entry| entry.0)
}

/// Atoms from the sums over the chosen rows that the columns of the evaluation hold: `rounds` M-steps from where they stand.
pub(crate) fn fit_rows(problem: &Problem<'_, '_>, em: &mut Em<'_>, rounds: usize, atoms: &mut [f64]) -> Result<()> {
    em.ev.normalizers(problem.data, atoms, true, problem.ctx)?;
    for _ in 0..rounds {
        step_rows(problem, em, atoms)?;
    }
    Ok(())
}

/// An M-step from such sums, at atoms where the evaluation was made or the last step ended.
fn step_rows(problem: &Problem<'_, '_>, em: &mut Em<'_>, atoms: &mut [f64]) -> Result<()> {
    let c = em.ev.columns();
    em.ev.class_choices[..c].copy_from_slice(&em.ev.class_weight[..c]);
    em.ev.set_t(|ev, k| ev.class_weight[k]);
    em.update_atoms(problem.data, problem.wh, problem.ridge, race_form(&problem.data.shape()), atoms, problem.ctx)
}

/// Zeros in the sums of `columns`.
fn clear(ev: &mut Evaluation<'_>, columns: Range<usize>) {
    let l = ev.shape.columns;
    ev.chosen[columns.start * l..columns.end * l].fill(0.0);
    ev.class_weight[columns].fill(0.0);
}

/// Adds a row with weight `omega` to the sums of column `c`.
fn add(ev: &mut Evaluation<'_>, c: usize, omega: f64, row: &[f64]) {
    ev.class_weight[c] += omega;
    axpy(omega, row, &mut ev.chosen[c * row.len()..(c + 1) * row.len()]);
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::data::{Choices, Features};
    use crate::testing::numbers;
    use crate::workspace::WorkspaceBuffer;
    use alloc::vec;

    /// Where rows are so many that a start goes alone, several are to be written all the same.
    #[test]
    fn every_start_of_a_moved_class_is_written_however_few_columns_there_are() {
        const STARTS: usize = 5;
        let (x, counts) = (numbers(60, 1), [3.0; 20]);
        let data = Data::new(Features::row_major(&x[..], 20, 3).unwrap(), None, None, Choices::Counts(&counts)).unwrap();
        let (ctx, k) = (crate::parallel::Context::default(), 2);
        let mut memory = WorkspaceBuffer::new(WorkspaceSize::of::<f64>(100_000)).unwrap();
        let mut ws = memory.lend();
        let wh = crate::whiten::Whitening::new(&data, ctx.isa, &mut ws).unwrap();
        let problem = Problem { data: &data, wh: &wh, ridge: 0.0, ctx, seed: 0 };
        for width in [1, 2, 8] {
            let mut ws = ws.scope();
            let mut em = Em::new(data.shape(), k, width, true, &mut ws).unwrap();
            let mut rows = RowStarts::new(&problem, k, width * k, &mut ws).unwrap();
            let best = MixtureRef { weights: &[0.7, 0.3], atoms: &[0.5; 6] };
            let (mut kinds, mut weights, mut atoms) = ([StartKind::Random; STARTS], [0.0; 2 * STARTS], vec![0.0; 6 * STARTS]);
            rows.narrow(&problem, &mut em, best, 0, &mut kinds, &mut weights, &mut atoms).unwrap();
            assert_eq!(kinds, [StartKind::Relocate; STARTS], "{width}");
            assert!(weights.chunks_exact(k).all(|w| (w[0] + w[1] - 1.0).abs() < 1e-12), "{width}: {weights:?}");
        }
    }
}
