//! The race: many starts as columns of one product, a few steps of EM each, the worst fall out.

use super::finish::Run;
use super::rules::sprints;
use super::{Progress, Starts, race_form, rounding};
use crate::data::{Data, Shape};
use crate::em::{Em, MStep};
use crate::error::{ErrorKind, Result};
use crate::evaluate::blocks;
use crate::linalg::dot;
use crate::mixture::MixtureRef;
use crate::optimize::penalty_of;
use crate::parallel::Context;
use crate::starts::draws::{self, MomentStarts};
use crate::starts::rows::{RowStarts, fit_rows};
use crate::starts::units::{self, UnitStarts};
use crate::starts::{StartKind, square_distance};
use crate::whiten::Whitening;
use crate::workspace::{Workspace, WorkspaceSize};
use core::ops::Range;

/// What is fitted, and how.
pub(crate) struct Problem<'a, 'd> {
    pub data: &'a Data<'d>,
    pub wh: &'a Whitening<'a>,
    pub ridge: f64,
    pub ctx: Context,
    pub seed: u64,
}

impl Problem<'_, '_> {
    /// `½ λ Σ_k |β_k|²`. `beta`: L numbers.
    pub fn penalty(&self, atoms: &[f64], beta: &mut [f64]) -> f64 {
        penalty_of(self.wh, self.ridge, atoms, beta)
    }
}

/// Rounds of EM: steps, and the share of the starts of every kind that go on: in the first draw on counts; later, and of units with several
/// choices.
const COUNTS: [(usize, usize); 2] = [(8, 4), (20, 3)];
const UNITS: [(usize, usize); 2] = [(8, 3), (20, 2)];
/// As many starts as this need no race.
pub(super) const UNRACED: usize = 3;

/// The starts of one draw, sorted by their value as the race goes on.
pub(crate) struct Race<'w> {
    pub em: Em<'w>,
    /// starts × K.
    pub weights: &'w mut [f64],
    /// starts × K × L.
    pub atoms: &'w mut [f64],
    /// Penalised log-likelihoods.
    pub values: &'w mut [f64],
    /// Where each start stood when it was drawn.
    pub order: &'w mut [usize],
    pub kinds: &'w mut [StartKind],
    /// 2 L numbers.
    pub beta: &'w mut [f64],
    /// K numbers.
    matching: &'w mut [usize],
    units: Option<UnitStarts<'w>>,
    rows: Option<RowStarts<'w>>,
    width: usize,
}

/// Starts that run in one product: up to 64 columns, and less where p is large.
fn width(shape: &Shape, classes: usize, starts: usize) -> usize {
    let columns = ((1usize << 24) / shape.total_rows.max(1)).clamp(1, 64);
    (columns / classes.max(1)).max(1).min(starts)
}

impl<'w> Race<'w> {
    pub fn workspace(shape: &Shape, classes: usize, starts: usize) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        let (k, kl) = (starts.saturating_mul(classes), starts.saturating_mul(classes).saturating_mul(shape.columns));
        let newton = race_form(shape) == MStep::Newton;
        let em = Em::workspace(shape, classes, width(shape, classes, starts), newton);
        let held = of(k).and(of(kl)).and(of(starts)).and(WorkspaceSize::of::<usize>(starts)).and(WorkspaceSize::of::<StartKind>(starts));
        let units = match shape.units_are_draws {
            _ if starts <= 1 || shape.is_part() => WorkspaceSize::EMPTY,
            true if RowStarts::apply(shape) => RowStarts::workspace(shape, classes, width(shape, classes, starts).saturating_mul(classes)),
            true => WorkspaceSize::EMPTY,
            false => UnitStarts::workspace(shape, classes),
        };
        em.and(held).and(of(shape.columns.saturating_mul(2))).and(WorkspaceSize::of::<usize>(classes)).and(units)
    }

    /// Workspace of [`Race::draw`].
    pub fn draw_workspace(shape: &Shape, classes: usize, starts: usize) -> WorkspaceSize {
        match shape.units_are_draws {
            true => draws::moment_starts_workspace(shape, classes),
            false if starts > 1 && !shape.is_part() => UnitStarts::prepare_workspace(shape, classes),
            false => WorkspaceSize::EMPTY,
        }
    }

    pub fn new(problem: &Problem<'_, '_>, classes: usize, starts: usize, ws: &mut Workspace<'w>) -> Result<Self> {
        let shape = problem.data.shape();
        let newton = race_form(&shape) == MStep::Newton;
        let width = width(&shape, classes, starts);
        // What reads single rows or units is off where others hold the rest of them.
        let by_units = starts > 1 && !shape.units_are_draws && !shape.is_part();
        let by_rows = starts > 1 && RowStarts::apply(&shape);
        let mut em = Em::new(shape, classes, width, newton, ws)?;
        let passes = &mut em.ev.passes;
        Ok(Race {
            weights: ws.f64s(starts * classes)?,
            atoms: ws.f64s(starts * classes * shape.columns)?,
            values: ws.f64s(starts)?,
            order: ws.fill(starts, 0)?,
            kinds: ws.fill(starts, StartKind::Random)?,
            beta: ws.f64s(2 * shape.columns)?,
            matching: ws.fill(classes, 0)?,
            units: if by_units { Some(UnitStarts::new(problem, classes, passes, ws)?) } else { None },
            rows: if by_rows { Some(RowStarts::new(problem, classes, width * classes, ws)?) } else { None },
            width,
            em,
        })
    }

    /// Draws starts `first..first + n`, by moments too if they are `fresh`, the first of a search. `best` is the best mixture so far, from
    /// which some of them relocate a class. `of_moments`: the data that moments are of.
    pub fn draw(
        &mut self,
        problem: &Problem<'_, '_>,
        of_moments: &Data<'_>,
        rule: &Starts<'_>,
        (first, fresh): (usize, bool),
        n: usize,
        best: Option<MixtureRef<'_>>,
        state: &mut Progress,
        ws: Workspace<'_>,
    ) -> Result<()> {
        let (k, l) = (self.em.ev.classes, problem.wh.columns);
        for j in 0..n {
            self.order[j] = j;
            self.values[j] = f64::NEG_INFINITY;
        }
        if let Starts::Given(m) = rule {
            self.kinds[0] = StartKind::Given;
            self.weights.copy_from_slice(m.weights);
            self.atoms.copy_from_slice(m.atoms);
            draws::part(problem, self.weights, self.atoms, self.beta);
            return Ok(());
        }
        if k == 1 {
            self.kinds[0] = StartKind::Zero;
            self.weights.fill(1.0);
            self.atoms.fill(0.0);
            return Ok(());
        }
        if problem.data.is_part() || self.units.is_none() && !problem.data.shape().units_are_draws {
            return self.draw_apart(problem, first, n, best, state);
        }
        if let Some(units) = &mut self.units {
            units.prepare(problem, &mut self.em, best, ws)?;
            for Range { start: from, end: to } in blocks(0..n, self.width) {
                self.em.restart(to - from);
                for j in from..to {
                    self.kinds[j] = units.draw(problem, &mut self.em.ev, first + j, j - from, best.is_some());
                }
                let (weights, atoms) = (&mut self.weights[from * k..to * k], &mut self.atoms[from * k * l..to * k * l]);
                for (atoms, kind) in atoms.chunks_exact_mut(k * l).zip(&self.kinds[from..to]) {
                    match best.filter(|_| matches!(kind, StartKind::Relocate | StartKind::Grow)) {
                        Some(best) => atoms.copy_from_slice(best.atoms),
                        None => atoms.fill(0.0),
                    }
                }
                let rounds = if best.is_some() { 3 } else { 1 };
                units::fit_responsibilities(problem, &mut self.em, rounds, weights, atoms)?;
                state.evaluations += (to - from) as u64;
            }
            return Ok(());
        }
        // Counts: moments first, a fifth of the first draw; then clusters, side by side so that they share a product; then random atoms and
        // relocations.
        let mut taken = 0;
        if fresh {
            let most = n.div_ceil(5).max(2).min(n);
            let (weights, atoms) = (&mut self.weights[..most * k], &mut self.atoms[..most * k * l]);
            let MomentStarts { starts, evaluations, passes } =
                draws::moment_starts(&Problem { data: of_moments, ..*problem }, k, first, &mut self.kinds[..most], weights, atoms, ws)?;
            taken = starts;
            state.evaluations += evaluations;
            self.em.ev.passes += passes;
        }
        // Where features are many a few alternatives tell less of a class: the later draws are mostly of classes cut in halves.
        let halves = best.is_some() && !fresh && sprints(&problem.data.shape());
        let mut done = taken;
        if let Some(rows) = &mut self.rows {
            let narrow = if best.is_some() { (n - taken).div_ceil(if halves { 3 } else { 2 }) } else { 0 };
            let clusters = if halves { 0 } else { (n - taken - narrow) / 3 };
            for Range { start: from, end: to } in blocks(taken..taken + clusters, self.width) {
                self.em.restart(to - from);
                for j in from..to {
                    self.kinds[j] = rows.cluster(problem, &mut self.em.ev, first + j, j - from);
                }
                let (weights, atoms) = (&mut self.weights[from * k..to * k], &mut self.atoms[from * k * l..to * k * l]);
                atoms.fill(0.0);
                self.em.update_weights(problem.data, weights);
                fit_rows(problem, &mut self.em, 1, atoms)?;
            }
            if let (Some(best), true) = (best, narrow > 0) {
                let range = taken + clusters..taken + clusters + narrow;
                let (weights, atoms) =
                    (&mut self.weights[range.start * k..range.end * k], &mut self.atoms[range.start * k * l..range.end * k * l]);
                rows.narrow(problem, &mut self.em, best, first + range.start, &mut self.kinds[range], weights, atoms)?;
            }
            done += clusters + narrow;
            state.evaluations += (clusters + narrow) as u64;
        }
        for (j, (w, a)) in self.weights.chunks_exact_mut(k).zip(self.atoms.chunks_exact_mut(k * l)).enumerate().take(n).skip(done) {
            self.kinds[j] = match best {
                Some(best) if halves || (first + j) % 2 == 0 => draws::relocate(problem, first + j, best, w, a, self.beta),
                _ => draws::random(problem, first + j, w, a, self.beta),
            };
        }
        Ok(())
    }

    /// Draws starts that ask for no single row or unit, as every rank of a distributed run makes them alike: random atoms and relocations;
    /// where units make several choices random partitions too, each rank's of its own units.
    fn draw_apart(
        &mut self,
        problem: &Problem<'_, '_>,
        first: usize,
        n: usize,
        best: Option<MixtureRef<'_>>,
        state: &mut Progress,
    ) -> Result<()> {
        let (k, l) = (self.em.ev.classes, problem.wh.columns);
        // Of units three of four starts are partitions until there is a best, then one of four. The others are random, and from then on one
        // in `random` of them, while the rest relocate a class of the best.
        let (partitions, random) = match (problem.data.shape().units_are_draws, best) {
            (true, _) => (0, 2),
            (false, None) => (n - n / 4, 1),
            (false, Some(_)) => (n / 4, 3),
        };
        for Range { start: from, end: to } in blocks(0..partitions, self.width) {
            self.em.restart(to - from);
            for j in from..to {
                self.kinds[j] = units::partition(problem, &mut self.em.ev, first + j, j - from);
            }
            let (weights, atoms) = (&mut self.weights[from * k..to * k], &mut self.atoms[from * k * l..to * k * l]);
            atoms.fill(0.0);
            units::fit_responsibilities(problem, &mut self.em, 1, weights, atoms)?;
            state.evaluations += (to - from) as u64;
        }
        let drawn = self.weights.chunks_exact_mut(k).zip(self.atoms.chunks_exact_mut(k * l)).enumerate();
        for (j, (w, a)) in drawn.take(n).skip(partitions) {
            self.kinds[j] = match best {
                Some(best) if (first + j + 1) % random != 0 => draws::relocate(problem, first + j, best, w, a, self.beta),
                _ => draws::random(problem, first + j, w, a, self.beta),
            };
        }
        Ok(())
    }

    /// Runs the race over the first `n` starts, the `fresh` ones of a search or later ones. Those that come to the classes of `best` fall
    /// out. How many are left, at the front, best first; and how many came to `best` that did not begin there.
    pub fn run(
        &mut self,
        problem: &Problem<'_, '_>,
        n: usize,
        fresh: bool,
        best: Option<MixtureRef<'_>>,
        run: &mut Run<'_>,
    ) -> Result<(usize, usize)> {
        let (mut running, mut back) = (n, 0);
        for (rounds, share) in if problem.data.shape().units_are_draws && fresh { COUNTS } else { UNITS } {
            if running <= UNRACED {
                break;
            }
            run.state.running = running;
            for Range { start: from, end: to } in blocks(0..running, self.width) {
                match self.steps(problem, from, to, rounds, run) {
                    Err(error) if error.kind == ErrorKind::NotFinite => self.steps_apart(problem, from, to, rounds, run)?,
                    done => done?,
                }
            }
            if let Some(best) = best {
                let came = self.fall_out(problem, running, best, run.state.best);
                (running, back) = (came.0, back + came.1);
            }
            running = self.select(running, share);
        }
        Ok((running, back))
    }

    /// Those of the first `running` starts that came to the classes of `best`, of penalised log-likelihood `value`, fall out. How many are
    /// left, at the front; and how many fell out that did not begin there.
    pub fn fall_out(&mut self, problem: &Problem<'_, '_>, mut running: usize, best: MixtureRef<'_>, value: f64) -> (usize, usize) {
        let mut back = 0;
        for j in (0..running).rev() {
            if self.came_to(problem, j, best, value) {
                back += usize::from(self.kinds[j] != StartKind::Relocate);
                running -= 1;
                self.swap(j, running);
            }
        }
        (running, back)
    }

    /// Steps of EM of the starts `from..to`, as columns of one product.
    fn steps(&mut self, problem: &Problem<'_, '_>, from: usize, to: usize, rounds: usize, run: &mut Run<'_>) -> Result<()> {
        let (k, l) = (self.em.ev.classes, problem.wh.columns);
        let form = race_form(&problem.data.shape());
        self.em.restart(to - from);
        self.em.thrifty = true;
        let (weights, atoms) = (&mut self.weights[from * k..to * k], &mut self.atoms[from * k * l..to * k * l]);
        for round in 1..=rounds {
            if run.spent() {
                break;
            }
            self.em.more = round < rounds;
            // The penalty is that of the atoms where the step begins, as the value is.
            for (value, atoms) in self.values[from..to].iter_mut().zip(atoms.chunks_exact(k * l)) {
                *value = -problem.penalty(atoms, self.beta);
            }
            self.em.step(problem.data, problem.wh, problem.ridge, form, weights, atoms, problem.ctx)?;
            run.state.evaluations += (to - from) as u64;
            for (value, l) in self.values[from..to].iter_mut().zip(&*self.em.value) {
                *value += l;
            }
            run.state.current = self.values[from..to].iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
            run.tell(run.state);
        }
        Ok(())
    }

    /// The same one by one: a start whose log-likelihood is no number counts −∞, and the others go on.
    #[cold]
    fn steps_apart(&mut self, problem: &Problem<'_, '_>, from: usize, to: usize, rounds: usize, run: &mut Run<'_>) -> Result<()> {
        problem.data.reduced()?;
        // What a budget that ends here leaves undone counts as little.
        self.values[from..to].fill(f64::NEG_INFINITY);
        for j in from..to {
            match self.steps(problem, j, j + 1, rounds, run) {
                Err(error) if error.kind == ErrorKind::NotFinite => self.values[j] = f64::NEG_INFINITY,
                done => done?,
            }
            problem.data.reduced()?;
        }
        Ok(())
    }

    /// Whether start `j` is on its way to `best`, of penalised log-likelihood `value`: at most 1e-6 below it, relatively, not above, and
    /// with its classes. On a sample, whose values are others, hardly one is.
    pub fn came_to(&mut self, problem: &Problem<'_, '_>, j: usize, best: MixtureRef<'_>, value: f64) -> bool {
        let below = value - self.values[j];
        let close = below <= 1e-6 * value.abs() && below >= -rounding(problem.data, value);
        close && self.has_classes_of(problem.wh, j, best)
    }

    /// How many of the first `n` starts, relocations apart, came to `best` of penalised log-likelihood `value`, or were on their way when
    /// they fell out of the race: those within 1e-6 of it, relatively, and, where units make several choices and steps of EM are short,
    /// those within 1e-3 that have its classes.
    pub fn count_at(&mut self, wh: &Whitening<'_>, n: usize, best: MixtureRef<'_>, value: f64) -> usize {
        let shape = &self.em.ev.shape;
        let far = if shape.units_are_draws || race_form(shape) == MStep::Newton { 0.0 } else { 1e-3 };
        let came = |race: &mut Self, j: usize| {
            let below = value - race.values[j];
            below <= 1e-6 * value.abs() || below <= far * value.abs() && race.has_classes_of(wh, j, best)
        };
        (0..n).filter(|j| self.kinds[*j] != StartKind::Relocate && came(self, *j)).count()
    }

    /// Whether every class of start `j` is one of `best`, nearly: weights within 0.02, whitened atoms within a twentieth of their norm and
    /// 0.05.
    fn has_classes_of(&mut self, wh: &Whitening<'_>, j: usize, best: MixtureRef<'_>) -> bool {
        let (l, k) = (wh.columns, best.classes());
        let (weights, atoms) = (&self.weights[j * k..(j + 1) * k], &self.atoms[j * k * l..(j + 1) * k * l]);
        let (one, other) = self.beta.split_at_mut(l);
        let (one, other) = (&mut one[..wh.rank], &mut other[..wh.rank]);
        let left = &mut self.matching[..k];
        left.iter_mut().enumerate().for_each(|(j, o)| *o = j);
        (0..k).all(|j| {
            wh.whiten_atom(&atoms[j * l..(j + 1) * l], one);
            let close = |i: usize| {
                wh.whiten_atom(&best.atoms[i * l..(i + 1) * l], other);
                let (d, norm) = (square_distance(one, other), dot(other, other));
                (weights[j] - best.weights[i]).abs() <= 0.02 && libm::sqrt(d) <= 0.05 * (1.0 + libm::sqrt(norm))
            };
            let at = left[j..].iter().copied().position(close);
            at.inspect(|at| left.swap(j, j + at)).is_some()
        })
    }

    /// Exchanges two starts.
    fn swap(&mut self, a: usize, b: usize) {
        let (a, b) = (a.min(b), a.max(b));
        if a == b {
            return;
        }
        self.values.swap(a, b);
        self.order.swap(a, b);
        self.kinds.swap(a, b);
        let k = self.em.ev.classes;
        let kl = k * self.em.ev.shape.columns;
        for (x, n) in [(&mut *self.weights, k), (&mut *self.atoms, kl)] {
            let (low, high) = x.split_at_mut(b * n);
            low[a * n..(a + 1) * n].swap_with_slice(&mut high[..n]);
        }
    }

    /// The best of every kind among the first `n` starts to the front, one in `share` of them and at least one, by decreasing value: how
    /// many they are. Kinds differ in how far along they begin, which says little of where they end.
    fn select(&mut self, n: usize, share: usize) -> usize {
        self.sort(0..n);
        let mut kept = 0;
        for j in 0..n {
            let kind = self.kinds[j];
            let of_kind = |range: Range<usize>| range.filter(|&i| self.kinds[i] == kind).count();
            if of_kind(0..kept) < of_kind(0..n).div_ceil(share) {
                for i in (kept..j).rev() {
                    self.swap(i, i + 1);
                }
                kept += 1;
            }
        }
        kept
    }

    /// Some of the starts by decreasing value.
    pub fn sort(&mut self, starts: Range<usize>) {
        for a in starts.clone() {
            let best = (a..starts.end).fold(a, |b, j| if self.values[j] > self.values[b] { j } else { b });
            self.swap(a, best);
        }
    }
}
