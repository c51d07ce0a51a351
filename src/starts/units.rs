//! Starts of units that make several choices: responsibilities, from which an M-step makes the mixture.
//!
//! Random partitions of the units; clusters of unit estimates, whole or in the score subspace; relocations of a class or of units of the
//! best fit. The unit estimates are one-step estimates around the one-class fit, `e_u = C^-1 (Σ_i c_ui (z_i − μ)) / (n_u + ½ n̄)`, with
//! `C C^T` the information of one choice: distances between them are distances between what units like, and their noise is alike in all
//! directions. So the K − 1 leading eigenvectors of `Σ_u w_u e_u e_u^T`, the score subspace, span `θ_k − θ_1` to first order, and what the
//! projection on them takes away is noise.

use super::cluster::Clusters;
use super::{StartKind, pick, square_distance, stream};
use crate::data::{Data, Shape};
use crate::em::{Em, MStep};
use crate::error::Result;
use crate::evaluate::{Evaluation, unit_scratch};
use crate::fit::race::Problem;
use crate::fit::race_form;
use crate::linalg;
use crate::mixture::MixtureRef;
use crate::moments::eigen::symmetric_eigen;
use crate::workspace::{Workspace, WorkspaceSize};
use rand::{Rng, seq::SliceRandom};
use rand_pcg::Pcg64;

/// Mixtures from the responsibilities that the evaluation holds: weights, and `rounds` steps of an M-step for the atoms from where they stand.
pub(crate) fn fit_responsibilities(
    problem: &Problem<'_, '_>,
    em: &mut Em<'_>,
    rounds: usize,
    weights: &mut [f64],
    atoms: &mut [f64],
) -> Result<()> {
    em.ev.normalizers(problem.data, atoms, true, problem.ctx)?;
    em.ev.choices(problem.data, None, problem.ctx)?;
    em.update_weights(problem.data, weights);
    for _ in 0..rounds {
        em.update_atoms(problem.data, problem.wh, problem.ridge, race_form(&problem.data.shape()), atoms, problem.ctx)?;
    }
    Ok(())
}

/// Writes a random partition of this rank's units to the columns of start `column`, for start number `start`: ranks with units of their own
/// draw differently.
pub(crate) fn partition(problem: &Problem<'_, '_>, ev: &mut Evaluation<'_>, start: usize, column: usize) -> StartKind {
    let (c, k) = (ev.columns(), ev.classes);
    let mut random = stream(problem.seed ^ problem.data.rank_of_units().wrapping_mul(0x9e37_79b9_7f4a_7c15), start);
    for r in ev.r.chunks_exact_mut(c).take(ev.shape.units) {
        let class = random.random_range(0..k);
        r[column * k..(column + 1) * k].iter_mut().enumerate().for_each(|(j, r)| *r = f64::from(j == class));
    }
    StartKind::Partition
}

/// What starts of units in compressed rows are drawn from.
pub(crate) struct UnitStarts<'w> {
    classes: usize,
    rank: usize,
    /// Unit estimates e_u, U × r.
    estimates: &'w mut [f64],
    /// Their coordinates in the score subspace, U × m with m = K − 1; m = 0 where it is no smaller than the space.
    projected: &'w mut [f64],
    subspace: usize,
    clusters: Clusters<'w>,
    /// Responsibilities of the best mixture, U × K, and its class of weight 0 if it has one.
    best: &'w mut [f64],
    empty: Option<usize>,
    /// U each: an order of the units, and distances.
    order: &'w mut [usize],
    distance: &'w mut [f64],
    /// The units, those first whose estimates are farthest from the means of their classes in the best mixture so far, and the next to put
    /// a class on.
    seeds: &'w mut [usize],
    next_seed: usize,
    /// What moving a unit to a class would gain, U × K.
    gains: &'w mut [f64],
    /// Moves by decreasing gain: u K + k.
    moves: &'w mut [usize],
    /// How many moves there are, and the next to try.
    moves_left: core::ops::Range<usize>,
}

/// Dimension of the score subspace among `r` directions: 0 where it would be all of them.
fn subspace(classes: usize, r: usize) -> usize {
    if classes <= r { classes.saturating_sub(1) } else { 0 }
}

impl<'w> UnitStarts<'w> {
    pub fn workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        let (u, l) = (shape.units, shape.columns);
        let ll = of(l.saturating_mul(l));
        let kept = of(u.saturating_mul(l)).and(of(u.saturating_mul(classes))).and(of(u)).and(WorkspaceSize::of::<usize>(u));
        let kept = kept.and(WorkspaceSize::of::<usize>(u));
        let kept = kept.and(of(u.saturating_mul(subspace(classes, l)))).and(Clusters::workspace(u, l, classes));
        let one = Em::workspace(shape, 1, 1, true).and(of(l)).and(of(1)).and(of(shape.sets.saturating_mul(l))).and(of(unit_scratch(
            shape.columns,
            1,
            shape.units,
        )));
        let curvature = Evaluation::curvature_workspace(shape, 1).or(linalg::cholesky_workspace(l));
        let uk = u.saturating_mul(classes);
        let eigen = of(l.saturating_mul(3));
        kept.and(of(uk)).and(WorkspaceSize::of::<usize>(uk)).and(one.and(ll).and(ll).and(ll).and(eigen).and(curvature))
    }

    /// Workspace of [`Self::prepare`].
    pub fn prepare_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        let (l, kl) = (shape.columns, classes.saturating_mul(shape.columns));
        let squares = of(kl.saturating_mul(l));
        let curvature = Evaluation::curvature_workspace(shape, classes).or(linalg::cholesky_workspace(l));
        let scratch = of(unit_scratch(shape.columns, classes, shape.units)).and(of(classes));
        let means = of(kl).and(of(classes)).and(of(kl.saturating_mul(shape.sets)));
        squares.and(squares).and(of(l.saturating_mul(l))).and(means).and(scratch).and(curvature)
    }

    /// Fits one class and takes the estimates of all units around it; `passes` counts the reads of the features.
    pub fn new(problem: &Problem<'_, '_>, classes: usize, passes: &mut u64, ws: &mut Workspace<'w>) -> Result<Self> {
        let (data, wh, ctx, shape) = (problem.data, problem.wh, problem.ctx, problem.data.shape());
        let (u, l, r) = (shape.units, wh.columns, wh.rank);
        let mut starts = UnitStarts {
            classes,
            rank: r,
            estimates: ws.f64s(u * l)?,
            projected: ws.f64s(u * subspace(classes, l))?,
            subspace: 0,
            clusters: Clusters::new(u, l, classes, ws)?,
            best: ws.f64s(u * classes)?,
            empty: None,
            order: ws.fill(u, 0)?,
            distance: ws.f64s(u)?,
            seeds: ws.fill(u, 0)?,
            next_seed: 0,
            gains: ws.f64s(u * classes)?,
            moves: ws.fill(u * classes, 0)?,
            moves_left: 0..0,
        };
        let mut ws = ws.scope();
        let mut em = Em::new(shape, 1, 1, true, &mut ws)?;
        let (atom, weight) = (ws.f64s(l)?, ws.f64s(1)?);
        weight.fill(1.0);
        em.step(data, wh, problem.ridge, MStep::Converged, weight, atom, ctx)?;
        // The information of one choice in whitened features, C C^T.
        let (h, factor, half) = (ws.f64s(l * l)?, ws.f64s(l * l)?, ws.f64s(l * l)?);
        let means = ws.f64s(shape.sets * l)?;
        em.ev.curvature_and_set_means(data, h, means, ctx, ws.scope())?;
        let factor = &mut factor[..r * r];
        wh.whiten_curvature(ctx.isa, h, factor, r, half);
        factor.iter_mut().for_each(|x| *x /= data.total_choices());
        for j in 0..r {
            factor[j * r + j] += 1e-6 + problem.ridge / data.total_choices();
        }
        let known = linalg::cholesky(factor, r, ws.scope())?;
        let scratch = ws.f64s(unit_scratch(shape.columns, 1, shape.units))?;
        let typical = 0.5 * data.total_choices() / data.total_weight();
        let estimates = &mut *starts.estimates;
        em.ev.for_each_unit(data, weight, ctx.isa, means, scratch, |u, _, _, y| {
            let e = &mut estimates[u * r..(u + 1) * r];
            wh.to_whitened(y, e);
            if known {
                linalg::solve_lower(factor, r, e);
            }
            let n: f64 = data.entries(u).map(|e| e.1).sum();
            e.iter_mut().for_each(|e| *e /= n + typical);
        });
        *passes += em.ev.passes;
        let eigen = ws.f64s(3 * l)?;
        starts.project(data, h, eigen);
        Ok(starts)
    }

    /// Projects the unit estimates on the score subspace, if there is one. `second`: r² numbers of scratch, `eigen`: 3 r.
    fn project(&mut self, data: &Data<'_>, second: &mut [f64], eigen: &mut [f64]) {
        let (r, m) = (self.rank, subspace(self.classes, self.rank));
        if m == 0 {
            return;
        }
        let second = &mut second[..r * r];
        second.fill(0.0);
        for (u, e) in self.estimates.chunks_exact(r).take(self.distance.len()).enumerate() {
            for (a, second) in second.chunks_exact_mut(r).enumerate() {
                linalg::axpy(data.unit_weight(u) * e[a], e, second);
            }
        }
        let (values, scratch) = eigen.split_at_mut(r);
        if symmetric_eigen(second, r, values, scratch).is_err() {
            return;
        }
        for (e, projected) in self.estimates.chunks_exact(r).zip(self.projected.chunks_exact_mut(m)).take(self.distance.len()) {
            for (p, v) in projected.iter_mut().zip(second.chunks_exact(r)) {
                *p = linalg::dot(e, v);
            }
        }
        self.subspace = m;
    }

    /// Takes the responsibilities of the best mixture so far, and orders the moves of single units by what they would gain.
    ///
    /// Where units make many choices their classes are certain, and EM no longer moves one even if both classes, refitted, would gain by it
    /// (the difference between Hartigan's and Lloyd's clustering). With class information H_k and scores s_uk, moving u from a to b gains
    /// to second order `log P(u|b) − log P(u|a) + ½ s_ub^T H_b^-1 s_ub / (1 + n_u / t_b) + ½ s_ua^T H_a^-1 s_ua / (1 − n_u / t_a)`.
    pub fn prepare(
        &mut self,
        problem: &Problem<'_, '_>,
        em: &mut Em<'_>,
        best: Option<MixtureRef<'_>>,
        mut ws: Workspace<'_>,
    ) -> Result<()> {
        let Some(best) = best else { return Ok(()) };
        let (data, wh, ctx, k) = (problem.data, problem.wh, problem.ctx, self.classes);
        let (l, r) = (wh.columns, wh.rank);
        self.empty = best.weights.iter().position(|w| *w == 0.0);
        em.restart(1);
        em.ev.evaluate(data, best.weights, best.atoms, ctx)?;
        let h = ws.f64s(k * l * l)?;
        let means = ws.f64s(em.ev.shape.sets * k * l)?;
        em.ev.curvature_and_set_means(data, h, means, ctx, ws.scope())?;
        let (factors, half) = (ws.f64s(k * r * r)?, ws.f64s(l * l)?);
        for (j, factor) in factors.chunks_exact_mut((r * r).max(1)).enumerate() {
            let t = em.ev.class_choices[j];
            wh.whiten_curvature(ctx.isa, &h[j * l * l..(j + 1) * l * l], factor, r, half);
            for a in 0..r {
                factor[a * r + a] += problem.ridge + 1e-6 * t + f64::MIN_POSITIVE;
            }
            if t == 0.0 || !linalg::cholesky(factor, r, ws.scope())? {
                // Nothing is gained by refitting it.
                factor.fill(0.0);
                factor.iter_mut().step_by(r + 1).for_each(|x| *x = f64::INFINITY);
            }
        }
        let (scratch, joint) = (ws.f64s(unit_scratch(em.ev.shape.columns, k, em.ev.shape.units))?, ws.f64s(k)?);
        self.gains.fill(f64::NEG_INFINITY);
        let (gains, responsibilities) = (&mut *self.gains, &mut *self.best);
        em.ev.for_each_unit(data, best.weights, ctx.isa, means, scratch, |u, _, resp, y| {
            responsibilities[u * k..(u + 1) * k].copy_from_slice(resp);
            em.ev.unit_log_joint(data, best.weights, u, joint);
            let from = (1..k).fold(0, |a, j| if joint[j] > joint[a] { j } else { a });
            let n: f64 = data.entries(u).map(|e| e.1).sum();
            let refit = |j: usize, sign: f64, row: &mut [f64]| {
                let share = 1.0 + sign * data.unit_weight(u) * n / em.ev.class_choices[j];
                let s = &mut row[..r];
                wh.to_whitened(&y[j * l..(j + 1) * l], s);
                linalg::solve_lower(&factors[j * r * r..(j + 1) * r * r], r, s);
                0.5 * data.unit_weight(u) * linalg::dot(s, s) / share.max(0.05)
            };
            let leave = refit(from, -1.0, half);
            for j in (0..k).filter(|&j| j != from) {
                gains[u * k + j] = data.unit_weight(u) * (joint[j] - joint[from]) + leave + refit(j, 1.0, half);
            }
        });
        // How far the estimates are from the means of their classes.
        let (means, masses) = (ws.f64s(k * r)?, ws.f64s(k)?);
        let shares = |u: usize| self.best[u * k..(u + 1) * k].iter().enumerate();
        let estimates = || self.estimates.chunks_exact(r.max(1)).enumerate().take(self.seeds.len());
        for (u, e) in estimates() {
            for (j, share) in shares(u) {
                linalg::axpy(data.unit_weight(u) * share, e, &mut means[j * r..(j + 1) * r]);
                masses[j] += data.unit_weight(u) * share;
            }
        }
        for (mean, mass) in means.chunks_exact_mut(r.max(1)).zip(&*masses) {
            mean.iter_mut().for_each(|m| *m /= mass.max(f64::MIN_POSITIVE));
        }
        self.distance.fill(0.0);
        for (u, e) in estimates() {
            let there = if data.unit_weight(u) > 0.0 { 1.0 } else { 0.0 };
            self.distance[u] = shares(u).map(|(j, share)| there * share * square_distance(e, &means[j * r..(j + 1) * r])).sum();
        }
        self.seeds.iter_mut().enumerate().for_each(|(u, seed)| *seed = u);
        let distance = &*self.distance;
        self.seeds.sort_unstable_by(|&a, &b| distance[b].total_cmp(&distance[a]).then(a.cmp(&b)));
        self.next_seed = 0;
        let mut n = 0;
        for m in (0..gains.len()).filter(|&m| gains[m].is_finite()) {
            self.moves[n] = m;
            n += 1;
        }
        let gains = &*self.gains;
        self.moves[..n].sort_unstable_by(|&a, &b| gains[b].total_cmp(&gains[a]).then(a.cmp(&b)));
        self.moves_left = 0..n;
        Ok(())
    }

    /// Writes the responsibilities of start number `start` to the columns of start `column`.
    pub fn draw(&mut self, problem: &Problem<'_, '_>, ev: &mut Evaluation<'_>, start: usize, column: usize, best: bool) -> StartKind {
        let mut random = stream(problem.seed, start);
        let (c, k) = (ev.columns(), self.classes);
        // Where a best is known relocations of it come to more than anything else: one start in four is of the other kinds, in turns.
        let (relocates, other) = match (best, self.empty) {
            (false, _) => (false, start),
            (true, None) => (start % 4 < 3, start / 4),
            (true, Some(_)) => (start % 4 < 2, start),
        };
        let kind = match other % 4 {
            _ if relocates && self.empty.is_some() => StartKind::Grow,
            _ if relocates => StartKind::Relocate,
            3 if self.subspace > 0 && (!best || other % 8 == 3) => StartKind::Subspace,
            1 | 3 => StartKind::Cluster,
            _ => StartKind::Partition,
        };
        let r = |u: usize| u * c + column * k..u * c + (column + 1) * k;
        match kind {
            StartKind::Relocate if random.random_range(0..6) == 0 => {
                // The next of the best moves of one unit, with a few random ones beside it every other time.
                for (u, best) in self.best.chunks_exact(k).enumerate() {
                    ev.r[r(u)].copy_from_slice(best);
                }
                let mut put = |u: usize, class: usize| ev.r[r(u)].iter_mut().enumerate().for_each(|(j, r)| *r = f64::from(j == class));
                if let Some(m) = self.moves_left.next().map(|m| self.moves[m]) {
                    put(m / k, m % k);
                }
                if random.random() {
                    let most = (self.distance.len() / 4).max(2);
                    for _ in 0..libm::pow(most as f64, random.random::<f64>()) as usize {
                        put(random.random_range(0..self.distance.len()), random.random_range(0..k));
                    }
                }
            }
            StartKind::Relocate | StartKind::Grow => {
                let class = self.relocate(problem.data, &mut random);
                for u in 0..ev.shape.units {
                    let (out, best) = (&mut ev.r[r(u)], &self.best[u * k..(u + 1) * k]);
                    let rest = 1.0 - best[class];
                    for (j, (r, b)) in out.iter_mut().zip(best).enumerate() {
                        *r = match () {
                            _ if self.distance[u] < 0.0 => f64::from(j == class),
                            _ if j == class => 0.0,
                            // A unit of the class taken away alone goes to the others in equal parts.
                            _ if rest > 1e-9 => b / rest,
                            _ => 1.0 / (k - 1) as f64,
                        };
                    }
                }
            }
            StartKind::Cluster | StartKind::Subspace => {
                let steps = random.random_range(0..4);
                let (points, dimension) = match kind {
                    StartKind::Cluster => (&*self.estimates, self.rank),
                    _ => (&*self.projected, self.subspace),
                };
                self.clusters.draw(problem.data, points, dimension, &mut random, steps);
                for (u, &label) in self.clusters.labels.iter().enumerate() {
                    ev.r[r(u)].iter_mut().enumerate().for_each(|(j, r)| *r = f64::from(j == label));
                }
            }
            _ => {
                self.order.iter_mut().enumerate().for_each(|(u, o)| *o = u);
                self.order.shuffle(&mut random);
                for (j, &u) in self.order.iter().enumerate() {
                    ev.r[r(u)].iter_mut().enumerate().for_each(|(i, r)| *r = f64::from(i == j % k));
                }
            }
        }
        kind
    }

    fn estimate(&self, u: usize) -> &[f64] {
        &self.estimates[u * self.rank..(u + 1) * self.rank]
    }

    /// The class to take away; units that found the new one have a negative `distance`: the next of the seeds or a unit drawn by its
    /// weight, and those nearest to it.
    fn relocate(&mut self, data: &Data<'_>, random: &mut Pcg64) -> usize {
        let units = self.distance.len();
        let seed = match random.random() && self.next_seed < units {
            true => {
                self.next_seed += 1;
                self.seeds[self.next_seed - 1]
            }
            false => pick(data, random, |u| data.unit_weight(u)),
        };
        for u in 0..units {
            self.distance[u] = square_distance(self.estimate(u), self.estimate(seed));
            self.order[u] = u;
        }
        let most = (units / self.classes).max(1);
        let size = (libm::pow(most as f64, random.random::<f64>()) as usize).clamp(1, most);
        let distance = &*self.distance;
        self.order.select_nth_unstable_by(size - 1, |&a, &b| distance[a].total_cmp(&distance[b]).then(a.cmp(&b)));
        for &u in &self.order[..size] {
            self.distance[u] = -1.0;
        }
        self.empty.unwrap_or_else(|| random.random_range(0..self.classes))
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::data::{Choices, Features};
    use crate::parallel::Context;
    use crate::whiten::Whitening;
    use crate::workspace::WorkspaceBuffer;
    use alloc::vec::Vec;
    use rand_distr::StandardNormal;

    const P: usize = 40;
    const L: usize = 10;
    const K: usize = 3;
    const U: usize = 900;
    const N: usize = 20;

    /// Units of three classes that choose from one set, in turns of the classes; features are on scales of their own.
    fn panel() -> (Vec<f64>, Vec<usize>) {
        let mut random = Pcg64::new(7, 7);
        let z: Vec<f64> = (0..P * L).map(|_| random.sample(StandardNormal)).collect();
        let mut atoms: Vec<f64> = (0..K * L).map(|_| random.sample(StandardNormal)).collect();
        for atom in atoms.chunks_exact_mut(L) {
            let norm = libm::sqrt(linalg::dot(atom, atom));
            atom.iter_mut().for_each(|t| *t *= 1.2 / norm);
        }
        let mut indices = Vec::new();
        for u in 0..U {
            let atom = &atoms[u % K * L..][..L];
            let mass: Vec<f64> = z.chunks_exact(L).map(|z| libm::exp(linalg::dot(z, atom))).collect();
            let total: f64 = mass.iter().sum();
            for _ in 0..N {
                let mut left = random.random::<f64>() * total;
                let chosen = mass.iter().position(|m| {
                    left -= m;
                    left < 0.0
                });
                indices.push(chosen.unwrap_or(P - 1));
            }
        }
        let x = z.iter().enumerate().map(|(i, z)| z * libm::pow(10.0, (i % L) as f64 - 5.0)).collect();
        (x, indices)
    }

    #[test]
    fn the_score_subspace_keeps_the_classes_and_leaves_most_noise_out() {
        let (x, indices) = panel();
        let indptr: Vec<usize> = (0..=U).map(|u| u * N).collect();
        let choices = Choices::Units { indptr: &indptr, indices: &indices, counts: None, weights: None };
        let data = Data::new(Features::row_major(&x[..], P, L).unwrap(), None, None, choices).unwrap();
        let (shape, ctx) = (data.shape(), Context::default());
        let size = Whitening::workspace(&shape)
            .and(UnitStarts::workspace(&shape, K))
            .and(UnitStarts::prepare_workspace(&shape, K))
            .and(Em::workspace(&shape, K, 1, true));
        let mut buffer = WorkspaceBuffer::new(size).unwrap();
        let mut ws = buffer.lend();
        let wh = Whitening::new(&data, ctx.isa, &mut ws).unwrap();
        let problem = Problem { data: &data, wh: &wh, ridge: 0.0, ctx, seed: 0 };
        let mut em = Em::new(shape, K, 1, true, &mut ws).unwrap();
        let mut starts = UnitStarts::new(&problem, K, &mut 0, &mut ws).unwrap();
        assert_eq!(starts.subspace, K - 1);

        // The squares between the true classes, and within them.
        let squares = |points: &[f64], m: usize| {
            let mut means = [0.0; K * L];
            for (u, point) in points.chunks_exact(m).take(U).enumerate() {
                linalg::axpy(K as f64 / U as f64, point, &mut means[u % K * m..][..m]);
            }
            let within: f64 = (0..U).map(|u| square_distance(&points[u * m..(u + 1) * m], &means[u % K * m..][..m])).sum();
            (linalg::dot(&means[..K * m], &means[..K * m]) * (U / K) as f64, within)
        };
        let (between, within) = squares(starts.estimates, L);
        let (kept, noise) = squares(starts.projected, K - 1);
        assert!(kept > 0.9 * between && kept <= between * (1.0 + 1e-12), "{kept} of {between}");
        assert!(noise < 0.4 * within, "{noise} of {within}");

        // The clusters there are nearly the classes: the largest cluster of every class holds most of it.
        let kind = starts.draw(&problem, &mut em.ev, 3, 0, false);
        assert_eq!(kind, StartKind::Subspace);
        let mut table = [[0usize; K]; K];
        for (u, r) in em.ev.r.chunks_exact(K).take(U).enumerate() {
            assert!(r.iter().sum::<f64>() == 1.0 && r.contains(&1.0));
            table[u % K][r.iter().position(|r| *r == 1.0).unwrap()] += 1;
        }
        let right: usize = table.iter().map(|row| row.iter().max().unwrap()).sum();
        let clusters: Vec<usize> = table.iter().map(|row| (0..K).max_by_key(|&j| row[j]).unwrap()).collect();
        assert!(right * 10 > U * 8 && (0..K).all(|j| clusters.contains(&j)), "{table:?}");
    }

    #[test]
    fn where_the_score_subspace_is_everything_there_is_none() {
        assert_eq!([(1, 4), (2, 4), (4, 4), (5, 4), (2, 1), (3, 0)].map(|(k, r)| subspace(k, r)), [0, 1, 3, 0, 0, 0]);
    }
}
