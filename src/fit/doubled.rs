//! Starts by twice the classes: each class of the best in halves, which go on together until those missed least are taken away.
//!
//! A class that stands between two of the truth comes apart into both, and of which other one is then too many the data decide, not a draw:
//! splits and merges (Ueda, Nakano, Ghahramani and Hinton 2000), all at once.

use super::FitOptions;
use super::finish::{Place, Run, finish, finish_workspace};
use super::race::Problem;
use crate::data::{Data, Shape};
use crate::em::Em;
use crate::error::Result;
use crate::linalg::dot;
use crate::mixture::MixtureRef;
use crate::optimize::Objective;
use crate::starts::draws;
use crate::workspace::{Workspace, WorkspaceSize};

/// Evaluations of twice the classes, each of which counts as two.
const TOGETHER: u64 = 60;
/// Steps of EM of the weights alone, by which the others take the part of a class that is taken away.
const TAKE_OVER: usize = 6;
/// Evaluations that a start takes at least.
pub(super) const LEAST: u64 = 4;

/// Workspace of [`doubled`] for K classes.
pub(super) fn doubled_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
    let of = WorkspaceSize::of::<f64>;
    let (c, l) = (classes.saturating_mul(2), shape.columns);
    let d = c.saturating_mul(l.saturating_add(1));
    let held = of(c).and(of(c.saturating_mul(l))).and(of(d)).and(of(d)).and(WorkspaceSize::of::<usize>(c));
    let run = Objective::workspace(l, c).and(finish_workspace(shape, c));
    let taking = of(shape.units.saturating_mul(c)).and(of(c)).and(of(c)).and(of(c));
    Em::workspace(shape, c, 1, false).and(held).and(run.or(taking).or(of(l)))
}

/// Start number `start`, from the K classes of `best`: what `weights` and `atoms` become, unless the run is cancelled. The budget holds
/// [`LEAST`] evaluations. `passes`: reads of the features. Cost: up to [`TOGETHER`] evaluations of 2 K classes, and what taking classes away
/// reads of U × 2 K numbers, for each of those left some six times.
///
/// # Errors
/// `NotFinite` where the log-likelihood is no number, `Workspace`.
pub(super) fn doubled(
    problem: &Problem<'_, '_>,
    options: &FitOptions<'_>,
    start: usize,
    best: MixtureRef<'_>,
    (weights, atoms): (&mut [f64], &mut [f64]),
    run: &mut Run<'_>,
    passes: &mut u64,
    mut ws: Workspace<'_>,
) -> Result<()> {
    let (data, shape, c) = (problem.data, problem.data.shape(), 2 * best.classes());
    let (l, d) = (shape.columns, c - 1 + c * problem.wh.rank);
    let mut em = Em::new(shape, c, 1, false, &mut ws)?;
    let mut place = Place { weights: ws.f64s(c)?, atoms: ws.f64s(c * l)?, v: ws.f64s(d)?, g: ws.f64s(d)?, order: ws.fill(c, 0)? };
    draws::halve(problem, start, best, place.weights, place.atoms, ws.scope().f64s(l)?);
    let spent = run.state.evaluations;
    let together = TOGETHER.min((run.limit - spent) / 2 - 1);
    let share = FitOptions { classes: c, max_evaluations: spent + together, ..*options };
    let found = finish(problem, &share, false, &mut em, &mut place, run, ws.scope());
    run.state.evaluations += run.state.evaluations - spent;
    if found.is_ok() && !run.cancelled {
        em.restart(1);
        em.ev.normalizers(data, place.atoms, false, problem.ctx)?;
        run.state.evaluations += 2;
        let (q, r, tried, least) = (ws.f64s(shape.units * c)?, ws.f64s(c)?, ws.f64s(c)?, ws.f64s(c)?);
        for (u, q) in q.chunks_exact_mut(c).enumerate().filter(|(u, _)| data.unit_weight(*u) > 0.0) {
            em.ev.unit_responsibilities(data, place.weights, u, r);
            q.iter_mut().zip(&*r).zip(&*place.weights).for_each(|((q, r), w)| *q = if *w > 0.0 { r / w } else { 0.0 });
        }
        take_away(data, q, place.weights, best.classes(), r, tried, least);
        let total: f64 = place.weights.iter().sum();
        let left = place.weights.iter().zip(place.atoms.chunks_exact(l)).filter(|(w, _)| **w > 0.0);
        weights.fill(0.0);
        atoms.fill(0.0);
        for ((weight, atom), (w, theta)) in weights.iter_mut().zip(atoms.chunks_exact_mut(l)).zip(left) {
            *weight = w / total;
            atom.copy_from_slice(theta);
        }
    }
    *passes += em.ev.passes;
    found.map(|_| ())
}

/// Takes classes away until `classes` are left, each time the one whose part the others take over with the least loss: its weight becomes 0.
/// `q`: `P(u | k)` of every unit and class, as multiples of any number for each unit, U × C. The others: C numbers each.
fn take_away(data: &Data<'_>, q: &[f64], weights: &mut [f64], classes: usize, tried: &mut [f64], least: &mut [f64], sum: &mut [f64]) {
    let c = weights.len();
    while weights.iter().filter(|w| **w > 0.0).count() > classes {
        let mut best = f64::NEG_INFINITY;
        for j in (0..c).filter(|&j| weights[j] > 0.0) {
            tried.copy_from_slice(weights);
            tried[j] = 0.0;
            for _ in 0..TAKE_OVER {
                step(data, q, tried, sum);
            }
            let value = value(data, q, tried);
            if value > best || best == f64::NEG_INFINITY {
                best = value;
                least.copy_from_slice(tried);
            }
        }
        weights.copy_from_slice(least);
    }
}

/// The units of positive weight: `n_u`, `q_u` and `Σ_k α_k q_uk`.
fn units<'a>(data: &'a Data<'_>, q: &'a [f64], weights: &'a [f64]) -> impl Iterator<Item = (f64, &'a [f64], f64)> + 'a {
    let each = q.chunks_exact(weights.len()).enumerate().map(|(u, q)| (data.unit_weight(u), q));
    each.filter(|(n, _)| *n > 0.0).map(|(n, q)| (n, q, f64::max(dot(q, weights), f64::MIN_POSITIVE)))
}

/// A step of EM of the weights alone, which need not add up to 1 before. `sum`: C numbers.
fn step(data: &Data<'_>, q: &[f64], weights: &mut [f64], sum: &mut [f64]) {
    sum.fill(0.0);
    for (n, q, mixed) in units(data, q, weights) {
        sum.iter_mut().zip(q).for_each(|(s, q)| *s += n * (q / mixed));
    }
    weights.iter_mut().zip(&*sum).for_each(|(w, s)| *w *= s / data.total_weight());
}

/// `Σ_u n_u log Σ_k α_k q_uk`, of weights that add up to 1.
fn value(data: &Data<'_>, q: &[f64], weights: &[f64]) -> f64 {
    let total: f64 = weights.iter().sum();
    units(data, q, weights).map(|(n, _, mixed)| n * libm::log(mixed / total)).sum()
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::data::{Choices, Features};
    use crate::fit::{Progress, fit_workspace};
    use crate::parallel::Context;
    use crate::testing::numbers;
    use crate::whiten::Whitening;
    use crate::workspace::WorkspaceBuffer;
    use alloc::vec::Vec;

    /// Two classes that one stands for, and one that two stand for: no step of ascent leads from there to the classes as they are.
    #[test]
    fn a_class_between_two_comes_apart_and_one_of_two_alike_goes() {
        let x = numbers(400, 3);
        let atoms = [4.0, 0.0, 0.0, 4.0, -4.0, -4.0];
        let choose = |atom: &[f64]| {
            let a: Vec<f64> = x.chunks_exact(2).map(|x| libm::exp(x[0] * atom[0] + x[1] * atom[1])).collect();
            let z: f64 = a.iter().sum();
            a.into_iter().map(move |a| a / z).collect::<Vec<f64>>()
        };
        let classes: Vec<Vec<f64>> = atoms.chunks_exact(2).map(choose).collect();
        let counts: Vec<f64> = (0..200).map(|i| libm::round(1e4 * classes.iter().map(|c| c[i]).sum::<f64>())).collect();
        let data = Data::new(Features::row_major(&x[..], 200, 2).unwrap(), None, None, Choices::Counts(&counts)).unwrap();
        let (k, third) = (3, 1.0 / 3.0);
        let options = FitOptions::new(k);
        let mut memory = WorkspaceBuffer::new(fit_workspace(&data.shape(), &options).and(doubled_workspace(&data.shape(), k))).unwrap();
        let mut ws = memory.lend();
        let ctx = Context::default();
        let wh = Whitening::new(&data, ctx.isa, &mut ws).unwrap();
        let problem = Problem { data: &data, wh: &wh, ridge: 0.0, ctx, seed: 0 };
        let mut em = Em::new(data.shape(), k, 1, false, &mut ws).unwrap();
        let mut value = |weights: &[f64], atoms: &[f64]| {
            em.restart(1);
            em.ev.evaluate_value(&data, weights, atoms, false, ctx).unwrap();
            em.ev.value[0]
        };
        let truth = value(&[third; 3], &atoms);
        let best = MixtureRef { weights: &[2.0 * third, 0.5 * third, 0.5 * third], atoms: &[2.0, 2.0, -4.0, -4.0, -4.0, -4.0] };
        let before = value(best.weights, best.atoms);
        for start in 0..8 {
            let (mut weights, mut atoms, mut passes) = ([0.0; 3], [0.0; 6], 0);
            let mut progress = |_: &Progress| true;
            let mut run = Run::new(&data, Progress::BEGUN, f64::NEG_INFINITY, &mut progress, 1000);
            doubled(&problem, &options, start, best, (&mut weights, &mut atoms), &mut run, &mut passes, ws.scope()).unwrap();
            let after = value(&weights, &atoms);
            assert!(after > truth - 0.1 * (truth - before), "{start}: {after}, before {before}, of the truth {truth}");
            assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12 && passes > 0, "{start}: {weights:?}");
            assert!(run.state.evaluations <= 2 * (TOGETHER + 1) && run.state.evaluations >= LEAST, "{start}: {}", run.state.evaluations);
        }
    }

    #[test]
    fn of_two_halves_one_goes_and_the_other_takes_its_part() {
        // Two classes of two alternatives each, the first in two halves, and a third that explains nothing better.
        let x = [0.0, 1.0, 2.0, 3.0];
        let data = Data::new(Features::row_major(&x[..], 4, 1).unwrap(), None, None, Choices::Counts(&[30.0, 10.0, 0.0, 60.0])).unwrap();
        let q = [0.7, 0.8, 0.01, 0.25, 0.3, 0.2, 0.01, 0.25, 0.0, 0.0, 0.0, 0.25, 0.0, 0.0, 0.98, 0.25];
        let mut weights = [0.25, 0.25, 0.25, 0.25];
        let (mut tried, mut least, mut sum) = ([0.0; 4], [0.0; 4], [0.0; 4]);
        take_away(&data, &q, &mut weights, 2, &mut tried, &mut least, &mut sum);
        assert!(weights[3] == 0.0 && (weights[0] == 0.0) != (weights[1] == 0.0), "{weights:?}");
        assert!((weights[2] - 0.6).abs() < 0.02 && (weights.iter().sum::<f64>() - 1.0).abs() < 1e-3, "{weights:?}");
    }
}
