//! Whether an atom runs off: whether going on, to twice and four times as far, does not lower the likelihood, while going back does.
//!
//! Twice the atom itself is one way on. An atom may also run off while part of it stays, as when two alternatives share a class, or one is
//! never chosen that has a feature of its own: the part that runs off is the one along which the features no longer vary under the class,
//! `d = ε (Cov_k + ε I)^-1 β_k` in whitened features, Cov_k the mean covariance under the class and ε small. Where Cov_k costs too much,
//! single features that hardly vary under the class are tried one by one. Any way on that does not lower f, for a class of positive weight,
//! is divergence. No norm is bounded.

use super::Objective;
use crate::data::{Data, Shape};
use crate::error::Result;
use crate::evaluate::{Evaluation, blocks};
use crate::linalg::{self, axpy, dot};
use crate::parallel::Context;
use crate::simd::{Isa, ln_in_place};
use crate::whiten::Whitening;
use crate::workspace::{Workspace, WorkspaceSize};

/// Shares of the variance of whitened features below which they do not vary any more: how far an atom had run when it was stopped is not
/// known.
pub(super) const EPSILON: [f64; 4] = [1e-4, 1e-6, 1e-8, 1e-10];
/// The share of an atom, squared, that lies where features do not vary, from which on that is looked at: of one alternative in a million
/// that has a feature of its own, 1e-4.
const LEAST: f64 = 1e-6;
/// How many times the rounding of the largest logit that may be, of each choice of a class, f may fall by on the way.
const ROUNDING: f64 = 16.0;
/// The share of its variance below which a single feature hardly varies under a class, and features tried one by one at most.
const HARDLY: f64 = 1e-3;
const MOST: usize = 16;
/// Rows drawn by A_k, among which features may be the same; and by how many standard deviations they may differ.
const ROWS: f64 = 64.0;
const SAME: f64 = 1e-6;

/// Workspace of [`diverging`] for K classes.
pub(crate) fn diverging_workspace(shape: &Shape, classes: usize, curvature: bool) -> WorkspaceSize {
    let of = WorkspaceSize::of::<f64>;
    let (l, k) = (shape.columns, classes);
    let d = of(k.saturating_mul(l.saturating_add(1)));
    let h = of(k.saturating_mul(l.saturating_mul(l)));
    let second = h.and(of(l.saturating_mul(l)).and(of(l.saturating_mul(l)))).and(linalg::solve_workspace(l));
    let ways = of(k).and(of(l)).and(of(l)).and(of(l)).and(of(l)).and(of(l)).and(of(l));
    d.and(d).and(ways).and(if curvature { second.or(h.and(Evaluation::curvature_workspace(shape, k))) } else { WorkspaceSize::EMPTY })
}

/// Marks the classes that run off at `v`, where the evaluation was just made with value `f`. `curvature`: whether Cov_k, which costs p L² K
/// / 2, tells of the second way on. Leaves the evaluation elsewhere.
pub(crate) fn diverging(
    o: &mut Objective<'_, '_, '_>,
    v: &[f64],
    f: f64,
    curvature: bool,
    out: &mut [bool],
    mut ws: Workspace<'_>,
) -> Result<()> {
    let (k, r, l) = (o.classes(), o.wh.rank, o.wh.columns);
    let (trial, gradient) = (ws.f64s(v.len())?, ws.f64s(v.len())?);
    let choices = ws.f64s(k)?;
    let (d, atom, one, marks, variances) = (ws.f64s(l)?, ws.f64s(l)?, ws.f64s(l)?, ws.f64s(l)?, ws.f64s(l)?);
    let d = &mut d[..r];
    choices.copy_from_slice(&o.ev.class_choices[..k]);
    let directions: &mut [f64] = match curvature {
        true => {
            let h = ws.f64s(k * l * l)?;
            o.ev.class_curvature(o.data, h, o.ctx, ws.scope())?;
            h
        }
        false => &mut [],
    };
    let largest = ws.f64s(l)?;
    if !o.ev.layout.is_grouped() {
        (0..o.data.features().rows()).for_each(|i| o.data.features().raise_to_magnitudes(i, largest));
    }
    // Of ranks some may group their choice sets.
    o.data.max(largest)?;
    for (j, out) in out.iter_mut().enumerate() {
        *out = false;
        // The mixture of v, and its evaluation, were left behind by the class before.
        if o.evaluate(v, gradient).is_none() || o.weights[j] <= crate::em::VANISHED {
            continue;
        }
        // Of features far from 0 logits are large, and of those the last digits are lost: more of them farther on.
        let logits: f64 = largest.iter().zip(&o.atoms[j * l..(j + 1) * l]).map(|(x, theta)| x * theta.abs()).sum();
        let slight = 1e-12 * f.abs() + ROUNDING * f64::EPSILON * logits * choices[j];
        let range = k - 1 + j * r..k - 1 + (j + 1) * r;
        let mut goes_on = |o: &mut Objective<'_, '_, '_>, d: &[f64]| {
            let mut there = |o: &mut Objective<'_, '_, '_>, step: f64| {
                trial.copy_from_slice(v);
                axpy(step, d, &mut trial[range.clone()]);
                o.evaluate(trial, gradient)
            };
            // Farther on, too: twice as far may lie beyond a valley.
            let on = [1.0, 3.0].iter().all(|step| there(o, *step).is_some_and(|y| y >= f - slight));
            on && there(o, -1.0).is_none_or(|y| y < f - slight)
        };
        let beta = &v[range.clone()];
        if !curvature {
            // Before the evaluation is elsewhere.
            atom.copy_from_slice(&o.atoms[j * l..(j + 1) * l]);
            if let Some(row) = same_in_sample(o.data, o.wh, o.ev, j, atom, marks) {
                mean_squares(o.data, o.ev, j, row, marks, variances);
            }
        }
        *out = goes_on(o, beta);
        if *out {
            continue;
        }
        if !curvature {
            for _ in 0..MOST {
                // The one that varies least of those left.
                let hardly = |m: usize| marks[m] > 0.0 && variances[m] <= HARDLY * o.wh.covariance[m * (l + 1)];
                let Some(m) = (0..l).filter(|m| hardly(*m)).min_by(|a, b| variances[*a].total_cmp(&variances[*b])) else { break };
                (marks[m], one[m]) = (0.0, atom[m]);
                o.wh.whiten_atom(one, d);
                one[m] = 0.0;
                *out = goes_on(o, d);
                if *out {
                    break;
                }
            }
            continue;
        }
        let mut ws = ws.scope();
        let (factor, scratch) = (ws.f64s(r * r)?, ws.f64s(l * l)?);
        for epsilon in EPSILON {
            o.wh.whiten_curvature(o.ctx.isa, &directions[j * l * l..(j + 1) * l * l], factor, r, scratch);
            if !still(o.ctx.isa, factor, choices[j], epsilon, beta, d, ws.scope())? {
                break;
            }
            *out = goes_on(o, d);
            if *out {
                break;
            }
        }
    }
    Ok(())
}

/// Leaves in `d` the part of β along which features hardly vary under a class, `ε (C / t + ε I)^-1 β`, C its curvature, r × r, which is
/// lost: whether that is a part worth looking at. It is the smaller the smaller ε is.
pub(super) fn still(isa: Isa, c: &mut [f64], t: f64, epsilon: f64, beta: &[f64], d: &mut [f64], ws: Workspace<'_>) -> Result<bool> {
    let r = beta.len();
    c.iter_mut().for_each(|x| *x /= epsilon * t);
    for a in 0..r {
        c[a * r + a] += 1.0;
    }
    d.copy_from_slice(beta);
    Ok(linalg::solve(isa, c, r, d, ws)? && dot(d, d) > LEAST * dot(beta, beta))
}

/// Whether class k, of weight α_k, may run off, at the point last evaluated: an atom whose logits vary under its class as they do under the
/// features does not, unless a feature is the same wherever the class holds to. `beta`: L numbers.
pub(crate) fn candidate(
    data: &Data<'_>,
    wh: &Whitening<'_>,
    ev: &Evaluation<'_>,
    ctx: Context,
    k: usize,
    weight: f64,
    atom: &[f64],
    beta: &mut [f64],
) -> bool {
    if weight <= crate::em::VANISHED {
        return false;
    }
    let coordinates = &mut beta[..wh.rank];
    wh.whiten_atom(atom, coordinates);
    logit_variance(data, ev, ctx, k) < 0.1 * dot(coordinates, coordinates) || same_in_sample(data, wh, ev, k, atom, beta).is_some()
}

/// Marks, with 1, the features that are the same, and to which the atom holds, in rows drawn systematically by A_k from one choice set: one
/// of the rows, if there are any.
fn same_in_sample(data: &Data<'_>, wh: &Whitening<'_>, ev: &Evaluation<'_>, k: usize, atom: &[f64], marks: &mut [f64]) -> Option<usize> {
    let (l, x) = (wh.columns, data.features());
    if ev.shape.sets > 1 || ev.shape.is_part() {
        marks.fill(0.0);
        return None;
    }
    marks.iter_mut().zip(atom).for_each(|(m, theta)| *m = f64::from(u8::from(*theta != 0.0)));
    let (mut a, mut cumulated, mut taken, mut first) = ([0.0; BLOCK], 0.5, 0.0, None);
    for rows in blocks(data.set(0), BLOCK) {
        let a = &mut a[..rows.len()];
        ev.probabilities(k, rows.start, a);
        for (i, a) in rows.zip(a) {
            cumulated += ROWS * *a;
            if cumulated - taken < 1.0 {
                continue;
            }
            taken = libm::floor(cumulated);
            let first = *first.get_or_insert(i);
            let mut any = false;
            for (m, mark) in marks.iter_mut().enumerate().filter(|(_, mark)| **mark > 0.0) {
                if (x.get(i, m) - x.get(first, m)).abs() > SAME * libm::sqrt(wh.covariance[m * (l + 1)]) {
                    *mark = 0.0;
                }
                any |= *mark > 0.0;
            }
            if !any {
                return None;
            }
        }
    }
    first
}

/// The mean squares under class k of the differences of the features that are marked from those of a row, which bound their variances.
fn mean_squares(data: &Data<'_>, ev: &Evaluation<'_>, k: usize, row: usize, marks: &[f64], out: &mut [f64]) {
    let x = data.features();
    let mut a = [0.0; BLOCK];
    out.fill(0.0);
    for rows in blocks(data.set(0), BLOCK) {
        let a = &mut a[..rows.len()];
        ev.probabilities(k, rows.start, a);
        for (m, out) in out.iter_mut().enumerate().filter(|(m, _)| marks[*m] > 0.0) {
            let origin = x.get(row, m);
            *out += rows.clone().zip(&*a).map(|(i, a)| a * (x.get(i, m) - origin) * (x.get(i, m) - origin)).sum::<f64>();
        }
    }
}

/// Rows whose probabilities are looked at together.
const BLOCK: usize = 256;

/// The mean variance of the logits `x·θ_k` under class k inside choice sets, weighted by t.
fn logit_variance(data: &Data<'_>, ev: &Evaluation<'_>, ctx: Context, k: usize) -> f64 {
    let sets = ev.shape.sets;
    if ev.layout.is_grouped() {
        return variance_over_ranks(data, ev.logit_variance_of_groups(k, ctx));
    }
    let (mut a, mut logits, ones) = ([0.0; BLOCK], [0.0f64; BLOCK], [1.0; BLOCK]);
    let (mut sum, mut total) = (0.0, 0.0);
    for set in 0..sets {
        let t = ev.t(set, k);
        // Mean and squares of the rows so far; those of a block are added to them (Chan, Golub and LeVeque 1983), so that large logits cost
        // no digits.
        let (mut n, mut m, mut q) = (0.0, 0.0, 0.0);
        for rows in blocks(data.set(set), BLOCK) {
            let a = &mut a[..rows.len()];
            ev.probabilities(k, rows.start, a);
            let logits = &mut logits[..rows.len()];
            logits.copy_from_slice(a);
            ln_in_place(ctx.isa, logits);
            // Up to a constant of the set; where the probability is 0, so is the weight.
            for (i, s) in rows.clone().zip(&mut *logits) {
                *s = if s.is_finite() { *s - data.offset().map_or(0.0, |b| b[i]) } else { 0.0 };
            }
            let weight = dot(a, &ones[..a.len()]);
            if weight > 0.0 {
                let mean = dot(a, logits) / weight;
                logits.iter_mut().for_each(|s| *s = (*s - mean) * (*s - mean));
                let square = dot(a, logits);
                let step = mean - m;
                q += square + n * weight / (n + weight) * step * step;
                n += weight;
                m += weight / n * step;
            }
        }
        if data.splits_rows() {
            // The ranks' rows of one set: the mean of all, and the squares about it. A failure is found by whoever began the operation.
            let mut moments = [n, n * m];
            let _ = data.sum(&mut moments);
            let step = m - moments[1] / moments[0];
            let mut squares = [q + n * step * step];
            let _ = data.sum(&mut squares);
            (n, q) = (moments[0], squares[0]);
        }
        if t > 0.0 {
            sum += t * q / n;
            total += t;
        }
    }
    variance_over_ranks(data, (sum, total))
}

/// The mean of all ranks from their sums; +∞ without choices.
fn variance_over_ranks(data: &Data<'_>, (mut sum, mut total): (f64, f64)) -> f64 {
    if data.is_part() && !data.splits_rows() {
        let mut sums = [sum, total];
        let _ = data.sum(&mut sums);
        [sum, total] = sums;
    }
    if total > 0.0 { sum / total } else { f64::INFINITY }
}
