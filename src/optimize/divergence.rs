//! Whether an atom runs off: whether going on, to twice as far, does not lower the likelihood.
//!
//! Twice the atom itself is one way on. An atom may also run off while part of it stays, as when two alternatives share a class: the part that
//! runs off is the one along which the features no longer vary under the class, `d = ε (Cov_k + ε I)^-1 β_k` in whitened features, Cov_k the mean
//! covariance under the class and ε small. Either way on that does not lower f, for a class of positive weight, is divergence. No norm is bounded.

use super::Objective;
use crate::data::Shape;
use crate::error::Result;
use crate::evaluate::Evaluation;
use crate::linalg::{self, axpy, dot};
use crate::workspace::{Workspace, WorkspaceSize};

/// Shares of the variance of whitened features below which they do not vary any more: how far an atom had run when it was stopped is not known.
const EPSILON: [f64; 4] = [1e-4, 1e-6, 1e-8, 1e-10];

/// Workspace of [`diverging`] for K classes.
pub(crate) fn diverging_workspace(shape: &Shape, classes: usize, curvature: bool) -> WorkspaceSize {
    let of = WorkspaceSize::of::<f64>;
    let (l, k) = (shape.columns, classes);
    let d = of(k.saturating_mul(l.saturating_add(1)));
    let h = of(k.saturating_mul(l.saturating_mul(l)));
    let second = h.and(of(l.saturating_mul(l)).and(of(l)).and(of(l))).and(linalg::cholesky_workspace(l));
    d.and(d).and(of(k)).and(of(k.saturating_mul(5))).and(if curvature { second.or(h.and(Evaluation::curvature_workspace(shape, k))) } else { WorkspaceSize::EMPTY })
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
    let (spread, scratch) = (ws.f64s(k)?, ws.f64s(5 * k)?);
    logit_variances(o, scratch)?;
    spread.copy_from_slice(&scratch[..k]);
    out.fill(false);
    // An atom whose logits vary under its class as they do under the features is no candidate.
    let candidate = |j: usize, spread: &[f64]| {
        let beta = &v[k - 1 + j * r..][..r];
        o.weights[j] > crate::em::EMPTY && spread[j] < 0.1 * dot(beta, beta)
    };
    let mut candidates = 0;
    for (j, out) in out.iter_mut().enumerate() {
        *out = candidate(j, spread);
        candidates += usize::from(*out);
    }
    if candidates == 0 {
        return Ok(());
    }
    let choices = spread;
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
            let (factor, d, scratch) = (ws.f64s(r * r)?, ws.f64s(r)?, ws.f64s(l)?);
            let beta = &v[range.clone()];
            for epsilon in EPSILON {
                o.wh.whiten_curvature(&directions[j * l * l..(j + 1) * l * l], factor, r, scratch);
                factor.iter_mut().for_each(|x| *x /= epsilon * choices[j]);
                for a in 0..r {
                    factor[a * r + a] += 1.0;
                }
                d.copy_from_slice(beta);
                if linalg::cholesky(factor, r, ws.scope())? {
                    linalg::solve_cholesky(factor, r, d);
                    out[j] |= dot(d, d) > 1e-4 * dot(beta, beta) && goes_on(o, d);
                }
            }
        }
    }
    Ok(())
}

/// The mean variance of the logits `x·θ_k` under each class inside choice sets, weighted by t: the first K of 5 K numbers.
fn logit_variances(o: &Objective<'_, '_, '_>, out: &mut [f64]) -> Result<()> {
    let (sets, data, split) = (o.ev.shape.sets, o.data, o.data.splits_rows());
    let classes = out.len() / 5;
    let (sums, own) = out.split_at_mut(3 * classes);
    let (spread, rest) = sums.split_at_mut(classes);
    let (total, moment) = rest.split_at_mut(classes);
    let (mass, mean) = own.split_at_mut(classes);
    for k in 0..classes {
        (spread[k], total[k]) = (0.0, 0.0);
        for set in 0..sets {
            let t = o.ev.t(set, k);
            let (mut a, mut m, mut q) = (0.0, 0.0, 0.0);
            // The mean and the squares are updated together (West 1979), so that large logits cost no digits.
            for i in data.set(set) {
                let w = o.ev.probability(i, k);
                if w > 0.0 {
                    // Up to a constant of the set.
                    let x = libm::log(w) - data.offset().map_or(0.0, |b| b[i]);
                    a += w;
                    let step = x - m;
                    m += w / a * step;
                    q += w * step * (x - m);
                }
            }
            if split {
                // Of a part of the set: its share, its mean, and its squares about it.
                (spread[k], total[k], moment[k]) = (q, a, a * m);
                (mass[k], mean[k]) = (a, m);
            } else {
                spread[k] += t * q / a;
                total[k] += t;
            }
        }
    }
    if split {
        data.sum(&mut out[classes..3 * classes])?;
        for k in 0..classes {
            let away = out[4 * classes + k] - out[2 * classes + k] / out[classes + k];
            out[k] += out[3 * classes + k] * away * away;
        }
        data.sum(&mut out[..classes])?;
    } else {
        data.sum(&mut out[..2 * classes])?;
    }
    for k in 0..classes {
        out[k] = if out[classes + k] > 0.0 { out[k] / out[classes + k] } else { f64::INFINITY };
    }
    Ok(())
}
