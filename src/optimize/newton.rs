//! Newton's method on f with the dense observed information, damped in the manner of Levenberg and Marquardt.
//!
//! The step solves `(I + μ C) s = g`, I the observed information in (η, β) and C the complete-data part of it, EM's own metric: a large μ
//! gives a short step of EM. μ rises until the matrix is positive definite and the step ascends, and falls to 0 near a maximum, where
//! convergence is quadratic. Where f goes straight on, no curvature tells how far: there steps grow as long as f does.

use super::divergence::{EPSILON, still};
use super::{Objective, Stop};
use crate::data::Shape;
use crate::em::FAR;
use crate::error::Result;
use crate::evaluate::{Draws, Evaluation};
use crate::linalg::{self, axpy, dot};
use crate::simd::Isa;
use crate::whiten::Whitening;
use crate::workspace::{Workspace, WorkspaceSize};

/// The smallest μ but 0, unless a whole step of Newton has failed, or the information is indefinite where the gradient is small, as beside
/// saddles that are nearly flat: then μ falls as far as steps succeed, and to 0 from where it is negligible.
const LEAST: f64 = 1e-2;
const NEGLIGIBLE: f64 = 1e-10;
/// By what μ grows where the matrix is not positive definite, which costs a factorisation, and where f falls, which costs an evaluation;
/// and by what it shrinks.
const RISE: f64 = 2.0;
const GROWTH: f64 = 4.0;
const SHRINK: f64 = 4.0;
/// The smallest μ, and by what it grows, where rounding says how far a step goes.
const LIGHT: f64 = 1e-6;
const FIRMER: f64 = 16.0;
/// The gain in f that the last step may have promised where the gradient is within the tolerance, in its square: 1e-4 at 1e-8. Of very
/// uneven counts a gradient that is small among all choices may be large among those that curve.
const ENOUGH: f64 = 1e12;
/// The gradient from which on features that no longer vary under a class are looked for, and the curvature of saddles.
const NEAR: f64 = 1e-4;
/// Steps past the tolerance at most, once little is promised.
const POLISH: u32 = 8;
/// A class that holds to few alternatives curves no more: these shares of the features' own curvature, by its choices and by all, bound its
/// steps.
const FEW: f64 = 1e-2;
const NONE: f64 = 1e-8;
/// Steps at most: what takes more goes to and fro.
const MOST: u32 = 1000;

/// Workspace of [`newton`] for K classes.
pub(crate) fn newton_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
    let of = WorkspaceSize::of::<f64>;
    let d = classes.saturating_mul(shape.columns.saturating_add(1));
    let dd = of(d.saturating_mul(d));
    let vectors = of(d).and(of(d)).and(of(d)).and(of(d)).and(of(classes));
    let l = shape.columns;
    let squares = of(classes.saturating_mul(l.saturating_mul(l)));
    let (draws, information) = match Draws::serve(shape) {
        true => (Draws::workspace(shape), Evaluation::information_of_draws_workspace(shape, classes)),
        false => {
            let theta = dd.and(squares).and(of(l.saturating_mul(l))).and(of(l.saturating_mul(l)));
            (WorkspaceSize::EMPTY, theta.and(Evaluation::information_workspace(shape, classes)))
        }
    };
    dd.and(dd).and(squares).and(vectors).and(draws).and(information.or(linalg::solve_workspace(d)))
}

/// Maximises f from `v`, where the evaluation was just made with value `f` and gradient `g`; all three are updated.
/// `progress(f, evaluations)` is asked after every step and may cancel.
pub(crate) fn newton(
    o: &mut Objective<'_, '_, '_>,
    v: &mut [f64],
    f: &mut f64,
    g: &mut [f64],
    tolerance: f64,
    progress: &mut dyn FnMut(f64, u64) -> bool,
    mut ws: Workspace<'_>,
) -> Result<Stop> {
    let d = o.dimension();
    let (k, r) = (o.classes(), o.wh.rank);
    let (info, factor, complete) = (ws.f64s(d * d)?, ws.f64s(d * d)?, ws.f64s(k * r * r)?);
    let (scale, step, trial, trial_g) = (ws.f64s(d)?, ws.f64s(d)?, ws.f64s(d)?, ws.f64s(d)?);
    let floor = ws.f64s(k)?;
    let draws = match Draws::serve(&o.ev.shape) {
        true => Some(Draws::new(o.data, &o.ev.layout, Some((r, o.wh.to_atoms)), o.ctx.isa, &mut ws)?),
        false => None,
    };
    let (mut mu, mut whole) = (0.0, true);
    let (mut last, mut polished, mut promised) = (f64::INFINITY, 0, 0.0);
    let enough = ENOUGH * tolerance * tolerance;
    for _ in 0..MOST {
        let norm = o.norm(g);
        // Past the tolerance Newton goes on while each step still divides the gradient by ten, or is damped: it is nearly free.
        if norm <= tolerance && promised <= enough {
            if norm <= 1e-3 * tolerance || norm > 0.1 * last && mu == 0.0 || polished >= POLISH {
                return Ok(Stop::Gradient);
            }
            polished += 1;
        }
        last = norm;
        information(o, draws.as_ref(), info, complete, ws.scope())?;
        o.still = false;
        for (j, c) in complete.chunks_exact((r * r).max(1)).enumerate().filter(|_| norm <= NEAR) {
            let (c_over, beta) = (&mut factor[..r * r], &v[k - 1 + j * r..k - 1 + (j + 1) * r]);
            c_over.copy_from_slice(c);
            o.still |= still(o.ctx.isa, c_over, o.ev.class_choices[j], EPSILON[0], beta, &mut step[..r], ws.scope())?;
        }
        o.scale(scale);
        for (j, more) in floor.iter_mut().enumerate() {
            *more = o.ridge + FEW * o.ev.class_choices[j] + NONE * o.data.total_choices();
        }
        let (mut failures, mut indefinite) = (0, false);
        let mut straight = loop {
            if o.evaluations >= o.limit {
                if failures > 0 {
                    o.evaluate(v, g);
                }
                return Ok(if norm <= tolerance { Stop::Gradient } else { Stop::Limit });
            }
            factor.copy_from_slice(info);
            if mu > 0.0 {
                damp(factor, d, mu, &scale[..k - 1], complete, floor, r);
            }
            step.copy_from_slice(g);
            let solved = linalg::solve(o.ctx.isa, factor, d, step, ws.scope())?;
            promised = dot(g, step);
            if !solved || is_lost(info, d, step, promised / o.data.total_choices()) {
                indefinite = true;
                whole &= norm > NEAR;
                mu = if solved {
                    (FIRMER * mu).max(LIGHT)
                } else if whole || mu == 0.0 {
                    (RISE * mu).max(LEAST)
                } else {
                    RISE * mu
                };
                if mu > 1e20 {
                    if failures > 0 {
                        o.evaluate(v, g);
                    }
                    return Ok(Stop::Stalled);
                }
                continue;
            }
            let predicted = promised - 0.5 * quadratic(info, d, step);
            add(v, step, trial);
            let rounding = 1e-14 * f.abs();
            let value = o.evaluate(trial, trial_g);
            let accepted = match value {
                // Below rounding f cannot tell: the gradient does.
                Some(y) if predicted.abs() <= 16.0 * rounding => y >= *f - 64.0 * rounding && o.norm(trial_g) < norm,
                Some(y) => y > *f,
                None => false,
            };
            if accepted {
                let y = value.unwrap_or(*f);
                let (gain, ratio) = (y - *f, (y - *f) / predicted);
                if ratio < 0.25 {
                    mu = raised(mu);
                } else if ratio > 0.75 {
                    mu /= if ratio > 0.95 && !indefinite { SHRINK * SHRINK } else { SHRINK };
                    if mu < if whole { LEAST } else { NEGLIGIBLE } {
                        (mu, whole) = (0.0, true);
                    }
                }
                v.copy_from_slice(trial);
                g.copy_from_slice(trial_g);
                *f = y;
                break mu <= LEAST && is_straight(gain, promised);
            }
            if norm <= tolerance && promised <= enough {
                o.evaluate(v, g);
                return Ok(Stop::Gradient);
            }
            if predicted.abs() <= rounding {
                o.evaluate(v, g);
                return Ok(Stop::Rounding);
            }
            failures += 1;
            if failures > 40 {
                o.evaluate(v, g);
                return Ok(Stop::Stalled);
            }
            whole &= mu > 0.0;
            mu = raised(mu);
        };
        while straight && o.evaluations < o.limit {
            step.iter_mut().for_each(|s| *s *= GROWTH);
            add(v, step, trial);
            let promised = dot(g, step);
            let Some(y) = o.evaluate(trial, trial_g).filter(|y| *y > *f) else {
                o.evaluate(v, g);
                break;
            };
            straight = is_straight(y - *f, promised);
            v.copy_from_slice(trial);
            g.copy_from_slice(trial_g);
            *f = y;
        }
        if !progress(*f, o.evaluations) {
            return Ok(Stop::Cancelled);
        }
    }
    Ok(Stop::Stalled)
}

/// The next larger μ.
fn raised(mu: f64) -> f64 {
    if mu > 0.0 { GROWTH * mu } else { LEAST }
}

/// Whether f has gained what its slope promised, no less for any curvature.
fn is_straight(gain: f64, promised: f64) -> bool {
    (gain - promised).abs() <= 1e-3 * promised
}

/// Whether a step goes far where both the slope, per choice, and the information, beside its largest entry, are all rounding: along what no
/// choice tells of, since nobody chose from the sets where features differ so.
fn is_lost(info: &[f64], n: usize, step: &[f64], slope: f64) -> bool {
    let square = dot(step, step);
    let largest = || info.iter().step_by(n + 1).fold(0.0, |m: f64, x| m.max(*x));
    square > FAR * FAR && slope <= 1e-13 * libm::sqrt(square) && quadratic(info, n, step) <= 1e-13 * largest() * square
}

fn add(v: &[f64], step: &[f64], out: &mut [f64]) {
    out.iter_mut().zip(v).zip(step).for_each(|((o, v), s)| *o = v + s);
}

fn quadratic(a: &[f64], n: usize, x: &[f64]) -> f64 {
    (0..n).map(|i| x[i] * dot(&a[i * n..(i + 1) * n], x)).sum()
}

/// Adds `μ C`: `eta` the diagonal of C in the log-odds, `complete` its blocks in the whitened atoms of the classes, r × r, and `floor` on
/// the diagonal of each.
fn damp(matrix: &mut [f64], d: usize, mu: f64, eta: &[f64], complete: &[f64], floor: &[f64], r: usize) {
    for (j, c) in eta.iter().enumerate() {
        matrix[j * d + j] += mu * c;
    }
    for ((k, block), floor) in complete.chunks_exact((r * r).max(1)).enumerate().zip(floor) {
        let at = eta.len() + k * r;
        for (a, row) in block.chunks_exact(r).enumerate() {
            let to = &mut matrix[(at + a) * d + at..][..r];
            axpy(mu, row, to);
            to[a] += mu * floor;
        }
    }
}

/// The observed information of f in (η, β) at the evaluation last made, and its complete-data part in every class, r × r.
fn information(
    o: &mut Objective<'_, '_, '_>,
    draws: Option<&Draws<'_, '_>>,
    out: &mut [f64],
    complete: &mut [f64],
    mut ws: Workspace<'_>,
) -> Result<()> {
    let (k, r, l) = (o.classes(), o.wh.rank, o.wh.columns);
    let (e, n, d) = (k - 1, k - 1 + k * l, k - 1 + k * r);
    if let Some(draws) = draws {
        o.ev.information_of_draws(o.data, o.weights, draws, complete, out, o.ctx, ws)?;
        linalg::symmetrize(out, d);
    } else {
        let theta = ws.f64s(n * n)?;
        let (block, half) = (ws.f64s(l * l)?, ws.f64s(l * l)?);
        let blocks = ws.f64s(k * l * l)?;
        o.ev.information_beside(o.data, o.weights, blocks, theta, o.ctx, ws)?;
        whiten_packed(o.wh, o.ctx.isa, k, theta, out, block, half);
        for (complete, block) in complete.chunks_exact_mut((r * r).max(1)).zip(blocks.chunks_exact(l * l)) {
            o.wh.whiten_curvature(o.ctx.isa, block, complete, r, half);
        }
    }
    for j in e..d {
        out[j * d + j] += o.ridge;
    }
    Ok(())
}

/// A symmetric matrix over the packed parameters, from atoms to whitened atoms: every block `T B T^T`. `block`, `half`: L × L.
pub(crate) fn whiten_packed(
    wh: &Whitening<'_>,
    isa: Isa,
    classes: usize,
    theta: &[f64],
    out: &mut [f64],
    block: &mut [f64],
    half: &mut [f64],
) {
    let (r, l, e) = (wh.rank, wh.columns, classes - 1);
    let (n, d) = (e + classes * l, e + classes * r);
    for a in 0..e {
        out[a * d..a * d + e].copy_from_slice(&theta[a * n..a * n + e]);
        for j in 0..classes {
            wh.to_whitened(&theta[a * n + e + j * l..][..l], &mut out[a * d + e + j * r..][..r]);
            for b in e + j * r..e + (j + 1) * r {
                out[b * d + a] = out[a * d + b];
            }
        }
    }
    if r == 0 {
        return;
    }
    for j in 0..classes {
        for m in 0..classes {
            for a in 0..l {
                block[a * l..(a + 1) * l].copy_from_slice(&theta[(e + j * l + a) * n + e + m * l..][..l]);
            }
            wh.whiten_curvature(isa, block, &mut out[(e + j * r) * d + e + m * r..], d, half);
        }
    }
}
