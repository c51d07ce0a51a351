//! Starts of counts: latent moments, random atoms in their subspace or anywhere, a class of the best mixture split or put somewhere.

use super::{StartKind, direction, square_distance, stream};
use crate::data::Shape;
use crate::error::Result;
use crate::fit::is_empty_class;
use crate::fit::race::Problem;
use crate::linalg;
use crate::mixture::MixtureRef;
use crate::moments::{CorrectionOptions, IllPosed, corrected, corrected_workspace, subspace, subspace_workspace, tensor, tensor_workspace};
use crate::workspace::{Workspace, WorkspaceSize};
use rand::Rng;
use rand_distr::StandardNormal;

/// Features up to which moments are taken: beyond, the frames of the correction, p r² / 2 each, cost more than the starts they replace.
const MOST_FEATURES: usize = 64;
/// Evaluations of a correction that is raced on: what is left to do EM does faster.
const CORRECTION: usize = 24;

/// Features that are many: random directions are then nearly orthogonal to all that matters. And, there, the share of relocations that cut
/// a class in halves.
const MANY: usize = 32;
const HALVES: f64 = 0.9;

/// The longest whitened atom of a start by moments: where offsets leave nearly all of the base measure to one alternative, its frame knows
/// no bounds.
const LONGEST: f64 = 100.0;

/// How near to each other whitened atoms of a given start count as one, and how far apart they are moved.
const TOGETHER: f64 = 1e-6;
const APART: f64 = 0.1;

/// Workspace of [`moment_starts`] for K classes.
pub(crate) fn moment_starts_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
    if !moments_apply(shape) {
        return WorkspaceSize::EMPTY;
    }
    let of = WorkspaceSize::of::<f64>;
    let l = shape.columns;
    let frame = of(l).and(of(l)).and(of(l.saturating_mul(l))).and(subspace_workspace(shape));
    of(l).and(corrected_workspace(shape, classes).or(tensor_workspace(shape, classes)).or(frame))
}

/// Whether latent moments are defined for data of this shape, and cheap.
fn moments_apply(shape: &Shape) -> bool {
    shape.units_are_draws && shape.sets == 1 && shape.columns <= MOST_FEATURES && !shape.is_part()
}

/// What moment starts took.
pub(crate) struct MomentStarts {
    /// How many there are.
    pub starts: usize,
    pub evaluations: u64,
    pub passes: u64,
}

/// Writes moment starts of K classes, of which the first is number `first`, to the front of `weights` (starts × K) and `atoms`
/// (starts × K × L): corrected moments, plain ones, and random atoms in their subspace, up to `kinds.len()`. An estimator that has no answer,
/// or one far beyond the features, leaves its place to the next.
pub(crate) fn moment_starts(
    problem: &Problem<'_, '_>,
    classes: usize,
    first: usize,
    kinds: &mut [StartKind],
    weights: &mut [f64],
    atoms: &mut [f64],
    mut ws: Workspace<'_>,
) -> Result<MomentStarts> {
    let (data, wh, ctx) = (problem.data, problem.wh, problem.ctx);
    let (k, l, r) = (classes, wh.columns, wh.rank);
    let mut found = MomentStarts { starts: 0, evaluations: 0, passes: 0 };
    if !moments_apply(&data.shape()) || r == 0 {
        return Ok(found);
    }
    let mut places = kinds.iter_mut().zip(weights.chunks_exact_mut(k)).zip(atoms.chunks_exact_mut(k * l)).map(|((s, w), a)| (s, w, a));
    let Some((mut kind, mut w, mut a)) = places.next() else { return Ok(found) };
    let mut ws = ws.scope();
    let beta = &mut ws.f64s(l)?[..r];
    let mut is_near = |atoms: &[f64]| {
        atoms.chunks_exact(l).all(|atom| {
            wh.whiten_atom(atom, beta);
            linalg::dot(beta, beta) <= LONGEST * LONGEST
        })
    };
    let options = CorrectionOptions { max_evaluations: CORRECTION, ..CorrectionOptions::default() };
    let report = corrected(data, wh, &options, w, a, ctx, ws.scope());
    if let Ok(report) = &report {
        found.evaluations += report.evaluations as u64;
        found.passes += report.passes;
    }
    if report.is_ok() && is_near(a) {
        *kind = StartKind::CorrectedMoments;
        found.starts += 1;
        let Some(next) = places.next() else { return Ok(found) };
        (kind, w, a) = next;
    }
    let fits = k <= r + 1;
    found.passes += u64::from(fits);
    if fits && tensor(data, wh, IllPosed::Project, w, a, ctx, ws.scope()).is_ok() && is_near(a) {
        *kind = StartKind::Moments;
        found.starts += 1;
        let Some(next) = places.next() else { return Ok(found) };
        (kind, w, a) = next;
    }
    let (mean, values, directions) = (ws.f64s(l)?, &mut ws.f64s(l)?[..r], &mut ws.f64s(l * l)?[..r * l]);
    found.passes += 1;
    if subspace(data, wh, 0.0, mean, values, directions, ctx, ws).is_err() {
        return Ok(found);
    }
    let mut start = first + found.starts;
    loop {
        // Atoms with the covariance of the second moments, in their min(K, r) leading directions.
        let mut random = stream(problem.seed, start);
        w.fill(1.0 / k as f64);
        for atom in a.chunks_exact_mut(l) {
            atom.copy_from_slice(mean);
            for (value, direction) in values.iter().zip(directions.chunks_exact(l)).take(k) {
                linalg::axpy(libm::sqrt(value.max(0.01)) * random.sample::<f64, _>(StandardNormal), direction, atom);
            }
        }
        if !is_near(a) {
            return Ok(found);
        }
        *kind = StartKind::Subspace;
        found.starts += 1;
        start += 1;
        let Some(next) = places.next() else { return Ok(found) };
        (kind, w, a) = next;
    }
}

/// Random atoms: in whitened features of random directions and one norm between a half and eight, or between a half and two where features
/// are many: there far atoms of random directions sit on single alternatives. Of one feature, normal numbers times the norm; equal weights.
/// `beta`: L numbers.
pub(crate) fn random(problem: &Problem<'_, '_>, start: usize, weights: &mut [f64], atoms: &mut [f64], beta: &mut [f64]) -> StartKind {
    let mut random = stream(problem.seed, start);
    weights.fill(1.0 / weights.len() as f64);
    let most = if problem.wh.rank > MANY { 4.0 } else { 16.0 };
    let norm = 0.5 * libm::pow(most, random.random::<f64>());
    for atom in atoms.chunks_exact_mut(problem.wh.columns) {
        let beta = &mut beta[..problem.wh.rank];
        if let [beta] = beta {
            // Along one direction atoms of one norm coincide.
            *beta = norm * random.sample::<f64, _>(StandardNormal);
        } else {
            direction(&mut random, norm, beta);
        }
        problem.wh.unwhiten_atom(beta, atom);
    }
    StartKind::Random
}

/// Moves atoms of classes that are not empty apart where they coincide, in random directions: where classes are one the likelihood has a
/// saddle, which no step leaves. `beta`: 2 L numbers.
pub(crate) fn part(problem: &Problem<'_, '_>, weights: &[f64], atoms: &mut [f64], beta: &mut [f64]) {
    let (wh, l) = (problem.wh, problem.wh.columns);
    let mut random = stream(problem.seed, 0);
    let (room, beta) = beta.split_at_mut(l);
    let beta = &mut beta[..wh.rank];
    for c in (1..weights.len()).filter(|&c| !is_empty_class(weights[c])) {
        let (before, atom) = atoms[..(c + 1) * l].split_at_mut(c * l);
        wh.whiten_atom(atom, beta);
        let nearest = TOGETHER * TOGETHER * (1.0 + linalg::dot(beta, beta));
        let coincides = before.chunks_exact(l).zip(weights).any(|(other, weight)| {
            wh.whiten_atom(other, &mut room[..wh.rank]);
            !is_empty_class(*weight) && square_distance(&room[..wh.rank], beta) <= nearest
        });
        if coincides {
            direction(&mut random, APART, beta);
            wh.unwhiten_atom(beta, room);
            linalg::axpy(1.0, room, atom);
        }
    }
}

/// The best mixture with one class taken away and put elsewhere: half of another class, each half moved apart along a random direction; or,
/// every second time, a small class of an atom in a random direction, where features are many one in ten, and less far. `beta`: L numbers.
pub(crate) fn relocate(
    problem: &Problem<'_, '_>,
    start: usize,
    best: MixtureRef<'_>,
    weights: &mut [f64],
    atoms: &mut [f64],
    beta: &mut [f64],
) -> StartKind {
    let mut random = stream(problem.seed, start);
    let (k, l) = (best.classes(), problem.wh.columns);
    weights.copy_from_slice(best.weights);
    atoms.copy_from_slice(best.atoms);
    let empty = best.weights.iter().position(|w| *w == 0.0);
    let from = empty.unwrap_or_else(|| random.random_range(0..k));
    let to = (from + random.random_range(1..k)) % k;
    let many = problem.wh.rank > MANY;
    let norm = 0.25 * libm::pow(if many { 8.0 } else { 32.0 }, random.random::<f64>());
    let beta = &mut beta[..problem.wh.rank];
    direction(&mut random, norm, beta);
    problem.wh.unwhiten_atom(beta, &mut atoms[from * l..(from + 1) * l]);
    if if many { random.random::<f64>() < HALVES } else { random.random() } {
        let half = 0.5 * (weights[from] + weights[to]);
        (weights[from], weights[to]) = (half, half);
        for j in 0..l {
            let (shift, theta) = (atoms[from * l + j], atoms[to * l + j]);
            atoms[from * l + j] = theta + shift;
            atoms[to * l + j] = theta - shift;
        }
    } else {
        weights[to] += weights[from] - 0.1 * (weights[to] + weights[from]);
        weights[from] = 1.0 - weights.iter().enumerate().filter(|(j, _)| *j != from).map(|(_, w)| w).sum::<f64>();
        weights[from] = weights[from].max(1e-3);
        let total: f64 = weights.iter().sum();
        weights.iter_mut().for_each(|w| *w /= total);
    }
    if empty.is_some() { StartKind::Grow } else { StartKind::Relocate }
}

/// The best mixture with every class in halves, moved apart along random directions, all equally far: 2 K classes. `beta`: L numbers.
pub(crate) fn halve(
    problem: &Problem<'_, '_>,
    start: usize,
    best: MixtureRef<'_>,
    weights: &mut [f64],
    atoms: &mut [f64],
    beta: &mut [f64],
) {
    let mut random = stream(problem.seed, start);
    let (beta, norm) = (&mut beta[..problem.wh.rank], 0.25 * libm::pow(8.0, random.random::<f64>()));
    let (l, halves) = (problem.wh.columns, weights.chunks_exact_mut(2));
    let of_best = best.weights.iter().zip(best.atoms.chunks_exact(l));
    for ((weights, atoms), (w, theta)) in halves.zip(atoms.chunks_exact_mut(2 * l)).zip(of_best) {
        weights.fill(0.5 * w);
        let (one, other) = atoms.split_at_mut(l);
        direction(&mut random, norm, beta);
        problem.wh.unwhiten_atom(beta, one);
        for ((one, other), theta) in one.iter_mut().zip(other).zip(theta) {
            (*one, *other) = (theta + *one, theta - *one);
        }
    }
}
