//! The race: many starts as columns of one product, a few steps of EM each, the worst fall out.

use crate::data::{Data, Shape};
use crate::em::Em;
use crate::error::Result;
use crate::fit::{Progress, Starts, Steps, race_form};
use crate::linalg::dot;
use crate::mixture::MixtureRef;
use crate::parallel::Context;
use crate::starts::StartKind;
use crate::starts::draws::{self, MomentStarts};
use crate::starts::units::{self, UnitStarts};
use crate::whiten::Whitening;
use crate::workspace::{Workspace, WorkspaceSize};

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
        let mut square = 0.0;
        if self.ridge > 0.0 {
            let beta = &mut beta[..self.wh.rank];
            for atom in atoms.chunks_exact(self.wh.columns) {
                self.wh.whiten_atom(atom, beta);
                square += dot(beta, beta);
            }
        }
        0.5 * self.ridge * square
    }
}

/// Rounds of EM: steps, and the share of the starts that go on, but no fewer than `LEAST`.
const ROUNDS: [(usize, usize); 2] = [(8, 4), (20, 3)];
const LEAST: usize = 3;

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
    /// L numbers.
    pub beta: &'w mut [f64],
    units: Option<UnitStarts<'w>>,
    /// For clusters of rows: r + L + K r + p numbers.
    scratch: &'w mut [f64],
    width: usize,
}

/// Starts that run in one product: up to 64 columns, and less where p is large.
fn width(shape: &Shape, classes: usize, starts: usize) -> usize {
    let columns = ((1usize << 24) / shape.total_rows.max(1)).clamp(1, 64);
    (columns / classes.max(1)).max(1).min(starts)
}

/// Numbers of scratch for clusters of rows.
fn cluster_scratch(shape: &Shape, classes: usize) -> usize {
    shape.columns.saturating_mul(classes.saturating_add(2)).saturating_add(shape.rows)
}

impl<'w> Race<'w> {
    pub fn workspace(shape: &Shape, classes: usize, starts: usize) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        let (k, kl) = (starts.saturating_mul(classes), starts.saturating_mul(classes).saturating_mul(shape.columns));
        let newton = race_form(shape) == crate::em::MStep::Newton;
        let em = Em::workspace(shape, classes, width(shape, classes, starts), newton);
        let held = of(k).and(of(kl)).and(of(starts)).and(WorkspaceSize::of::<usize>(starts)).and(WorkspaceSize::of::<StartKind>(starts));
        let units = match shape.units_are_draws {
            _ if starts <= 1 || shape.is_part() => WorkspaceSize::EMPTY,
            true => of(cluster_scratch(shape, classes)),
            false => UnitStarts::workspace(shape, classes),
        };
        em.and(held).and(of(shape.columns)).and(units)
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
        let newton = race_form(&shape) == crate::em::MStep::Newton;
        let width = width(&shape, classes, starts);
        Ok(Race {
            em: Em::new(shape, classes, width, newton, ws)?,
            weights: ws.f64s(starts * classes)?,
            atoms: ws.f64s(starts * classes * shape.columns)?,
            values: ws.f64s(starts)?,
            order: ws.fill(starts, 0)?,
            kinds: ws.fill(starts, StartKind::Random)?,
            beta: ws.f64s(shape.columns)?,
            units: if starts > 1 && !shape.units_are_draws && !shape.is_part() {
                Some(UnitStarts::new(problem, classes, ws)?)
            } else {
                None
            },
            scratch: ws.f64s(if starts > 1 && shape.units_are_draws && !shape.is_part() { cluster_scratch(&shape, classes) } else { 0 })?,
            width,
        })
    }

    /// Draws starts `first..first + n`. `best` is the best mixture so far, from which some of them relocate a class.
    pub fn draw(
        &mut self,
        problem: &Problem<'_, '_>,
        rule: &Starts<'_>,
        first: usize,
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
            return Ok(());
        }
        if k == 1 {
            self.kinds[0] = StartKind::Zero;
            self.weights.fill(1.0);
            self.atoms.fill(0.0);
            return Ok(());
        }
        if problem.data.is_part() {
            return self.draw_on_shards(problem, first, n, best, state);
        }
        if let Some(units) = &mut self.units {
            units.prepare(problem, &mut self.em, best, ws)?;
            for from in (0..n).step_by(self.width) {
                let to = (from + self.width).min(n);
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
        // Counts: moments first, a fifth of the first draw; then clusters, side by side so that they share a product; then random atoms and relocations.
        let mut taken = 0;
        if first == 0 {
            let most = n.div_ceil(5).max(2).min(n);
            let (weights, atoms) = (&mut self.weights[..most * k], &mut self.atoms[..most * k * l]);
            let MomentStarts { starts, evaluations, passes } =
                draws::moment_starts(problem, k, &mut self.kinds[..most], weights, atoms, ws)?;
            taken = starts;
            state.evaluations += evaluations;
            self.em.ev.passes += passes;
        }
        let clusters = if problem.data.shape().units_are_rows && problem.data.set_count() == 1 { (n - taken) / 3 } else { 0 };
        for from in (taken..taken + clusters).step_by(self.width) {
            let to = (from + self.width).min(taken + clusters);
            self.em.restart(to - from);
            for j in from..to {
                self.kinds[j] = draws::cluster_rows(problem, &mut self.em.ev, first + j, j - from, self.scratch);
            }
            let (weights, atoms) = (&mut self.weights[from * k..to * k], &mut self.atoms[from * k * l..to * k * l]);
            draws::fit_rows(problem, &mut self.em, weights, atoms)?;
            state.evaluations += (to - from) as u64;
        }
        for (j, (w, a)) in
            self.weights.chunks_exact_mut(k).zip(self.atoms.chunks_exact_mut(k * l)).enumerate().take(n).skip(taken + clusters)
        {
            self.kinds[j] = match best {
                Some(best) if j % 2 == 0 => draws::relocate(problem, first + j, best, w, a, self.beta),
                _ => draws::random(problem, first + j, w, a, self.beta),
            };
        }
        Ok(())
    }

    /// Draws starts that every rank of a distributed run makes alike: random atoms and relocations; where units make several choices random partitions
    /// too, each rank's of its own units.
    fn draw_on_shards(
        &mut self,
        problem: &Problem<'_, '_>,
        first: usize,
        n: usize,
        best: Option<MixtureRef<'_>>,
        state: &mut Progress,
    ) -> Result<()> {
        let (k, l) = (self.em.ev.classes, problem.wh.columns);
        if !problem.data.shape().units_are_draws {
            for from in (0..n).step_by(self.width) {
                let to = (from + self.width).min(n);
                self.em.restart(to - from);
                for j in from..to {
                    self.kinds[j] = units::partition(problem, &mut self.em.ev, first + j, j - from);
                }
                let (weights, atoms) = (&mut self.weights[from * k..to * k], &mut self.atoms[from * k * l..to * k * l]);
                atoms.fill(0.0);
                units::fit_responsibilities(problem, &mut self.em, 1, weights, atoms)?;
                state.evaluations += (to - from) as u64;
            }
        }
        for (j, (w, a)) in self.weights.chunks_exact_mut(k).zip(self.atoms.chunks_exact_mut(k * l)).enumerate().take(n) {
            match (problem.data.shape().units_are_draws, (first + j) % 4, best) {
                (_, 0 | 2, Some(best)) => self.kinds[j] = draws::relocate(problem, first + j, best, w, a, self.beta),
                (true, _, _) | (false, 1, _) => self.kinds[j] = draws::random(problem, first + j, w, a, self.beta),
                _ => {}
            }
        }
        Ok(())
    }

    /// Runs the race over the first `n` starts; how many are left, at the front, best first.
    pub fn run(&mut self, problem: &Problem<'_, '_>, n: usize, state: &mut Progress, steps: &mut Steps<'_>) -> Result<usize> {
        let (k, l) = (self.em.ev.classes, problem.wh.columns);
        let form = race_form(&problem.data.shape());
        let mut running = n;
        for (rounds, share) in ROUNDS {
            let keep = running.div_ceil(share).max(LEAST);
            if running <= LEAST {
                break;
            }
            state.running = running;
            for from in (0..running).step_by(self.width) {
                let to = (from + self.width).min(running);
                self.em.restart(to - from);
                let (weights, atoms) = (&mut self.weights[from * k..to * k], &mut self.atoms[from * k * l..to * k * l]);
                for _ in 0..rounds {
                    if steps.spent(state) {
                        break;
                    }
                    // The penalty is that of the atoms where the step begins, as the value is.
                    for (value, atoms) in self.values[from..to].iter_mut().zip(atoms.chunks_exact(k * l)) {
                        *value = -problem.penalty(atoms, self.beta);
                    }
                    self.em.step(problem.data, problem.wh, problem.ridge, form, weights, atoms, problem.ctx)?;
                    state.evaluations += (to - from) as u64;
                    for (value, l) in self.values[from..to].iter_mut().zip(&*self.em.ev.value) {
                        *value += l;
                    }
                    state.current = self.values[from..to].iter().fold(f64::NEG_INFINITY, |m, v| m.max(*v));
                    steps.tell(state);
                }
            }
            self.sort(running, k, k * l);
            running = keep;
        }
        Ok(running)
    }

    /// The first `n` starts by decreasing value.
    fn sort(&mut self, n: usize, k: usize, kl: usize) {
        for a in 0..n {
            let best = (a..n).fold(a, |b, j| if self.values[j] > self.values[b] { j } else { b });
            if best != a {
                self.values.swap(a, best);
                self.order.swap(a, best);
                self.kinds.swap(a, best);
                for (x, n) in [(&mut *self.weights, k), (&mut *self.atoms, kl)] {
                    let (low, high) = x.split_at_mut(best * n);
                    low[a * n..(a + 1) * n].swap_with_slice(&mut high[..n]);
                }
            }
        }
    }
}
