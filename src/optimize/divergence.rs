//! Whether an atom runs off: whether going on, to twice as far, does not lower the likelihood.
//!
//! Twice the atom itself is one way on. An atom may also run off while part of it stays, as when two alternatives share a class: the part that
//! runs off is the one along which the features no longer vary under the class, `d = ε (Cov_k + ε I)^-1 β_k` in whitened features, Cov_k the mean
//! covariance under the class and ε small. Either way on that does not lower f, for a class of positive weight, is divergence. No norm is bounded.

use super::Objective;
use crate::data::{Data, Shape};
use crate::error::Result;
use crate::evaluate::{Evaluation, blocks};
use crate::linalg::{self, axpy, dot};
use crate::simd::{Isa, ln_in_place};
use crate::workspace::{Workspace, WorkspaceSize};

/// Shares of the variance of whitened features below which they do not vary any more: how far an atom had run when it was stopped is not known.
const EPSILON: [f64; 4] = [1e-4, 1e-6, 1e-8, 1e-10];

/// Workspace of [`diverging`] for K classes.
pub(crate) fn diverging_workspace(shape: &Shape, classes: usize, curvature: bool) -> WorkspaceSize {
    let of = WorkspaceSize::of::<f64>;
    let (l, k) = (shape.columns, classes);
    let d = of(k.saturating_mul(l.saturating_add(1)));
    let h = of(k.saturating_mul(l.saturating_mul(l)));
    let second = h.and(of(l.saturating_mul(l)).and(of(l)).and(of(l.saturating_mul(l)))).and(linalg::cholesky_workspace(l));
    d.and(d).and(of(k)).and(if curvature { second.or(h.and(Evaluation::curvature_workspace(shape, k))) } else { WorkspaceSize::EMPTY })
}

/// Marks the classes that run off at `v`, where the evaluation was just made with value `f`. `curvature`: whether the second way on, which costs
/// p L² K / 2, is tried. Leaves the evaluation elsewhere.
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
    let mut candidates = false;
    for (j, out) in out.iter_mut().enumerate() {
        let beta = &v[k - 1 + j * r..][..r];
        *out = candidate(o.data, o.ev, o.ctx.isa, j, o.weights[j], dot(beta, beta));
        candidates |= *out;
    }
    if !candidates {
        return Ok(());
    }
    choices.copy_from_slice(&o.ev.class_choices[..k]);
    let directions: &mut [f64] = match curvature {
        true => {
            let h = ws.f64s(k * l * l)?;
            o.ev.class_curvature(o.data, h, o.ctx, ws.scope())?;
            h
        }
        false => &mut [],
    };
    for j in 0..k {
        if !out[j] {
            continue;
        }
        let range = k - 1 + j * r..k - 1 + (j + 1) * r;
        let mut goes_on = |o: &mut Objective<'_, '_, '_>, d: &[f64]| {
            trial.copy_from_slice(v);
            axpy(1.0, d, &mut trial[range.clone()]);
            o.evaluate(trial, gradient).is_some_and(|y| y >= f - 1e-12 * f.abs())
        };
        out[j] = goes_on(o, &v[range.clone()]);
        if !out[j] && curvature {
            let mut ws = ws.scope();
            let (factor, d, scratch) = (ws.f64s(r * r)?, ws.f64s(r)?, ws.f64s(l * l)?);
            let beta = &v[range.clone()];
            for epsilon in EPSILON {
                o.wh.whiten_curvature(o.ctx.isa, &directions[j * l * l..(j + 1) * l * l], factor, r, scratch);
                factor.iter_mut().for_each(|x| *x /= epsilon * choices[j]);
                for a in 0..r {
                    factor[a * r + a] += 1.0;
                }
                d.copy_from_slice(beta);
                if linalg::solve(o.ctx.isa, factor, r, d, ws.scope())? {
                    out[j] |= dot(d, d) > 1e-4 * dot(beta, beta) && goes_on(o, d);
                }
            }
        }
    }
    Ok(())
}

/// Whether class k, of weight α_k and with `square` = |β_k|², may run off, at the point last evaluated: an atom whose logits vary under its class as they
/// do under the features does not.
pub(crate) fn candidate(data: &Data<'_>, ev: &Evaluation<'_>, isa: Isa, k: usize, weight: f64, square: f64) -> bool {
    weight > crate::em::EMPTY && logit_variance(data, ev, isa, k) < 0.1 * square
}

/// The mean variance of the logits `x·θ_k` under class k inside choice sets, weighted by t.
fn logit_variance(data: &Data<'_>, ev: &Evaluation<'_>, isa: Isa, k: usize) -> f64 {
    const BLOCK: usize = 256;
    let sets = ev.shape.sets;
    if ev.layout.is_grouped() {
        return variance_over_ranks(data, ev.logit_variance_of_groups(isa, k));
    }
    let (mut a, mut logits, ones) = ([0.0; BLOCK], [0.0f64; BLOCK], [1.0; BLOCK]);
    let (mut sum, mut total) = (0.0, 0.0);
    for set in 0..sets {
        let t = ev.t(set, k);
        // Mean and squares of the rows so far; those of a block are added to them (Chan, Golub and LeVeque 1983), so that large logits cost no digits.
        let (mut n, mut m, mut q) = (0.0, 0.0, 0.0);
        for rows in blocks(data.set(set), BLOCK) {
            let a = &mut a[..rows.len()];
            ev.probabilities(k, rows.start, a);
            let logits = &mut logits[..rows.len()];
            logits.copy_from_slice(a);
            ln_in_place(isa, logits);
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
