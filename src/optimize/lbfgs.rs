//! L-BFGS on f, with the complete-data information as its first metric and a line search to the strong Wolfe conditions.

use super::metric::Metric;
use super::{Objective, Stop};
use crate::data::Shape;
use crate::error::Result;
use crate::linalg::{axpy, dot};
use crate::workspace::{Workspace, WorkspaceSize};

/// Pairs kept.
const MEMORY: usize = 20;

/// Steps after which the metric is taken anew, once.
const REFRESH: u32 = 4;

/// Workspace of [`lbfgs`] for K classes.
pub(crate) fn lbfgs_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
    let of = WorkspaceSize::of::<f64>;
    let dimension = classes.saturating_mul(shape.columns.saturating_add(1));
    let pairs = of(dimension.saturating_mul(MEMORY));
    let one = of(dimension);
    pairs
        .and(pairs)
        .and(of(MEMORY))
        .and(of(MEMORY))
        .and(one)
        .and(one)
        .and(one)
        .and(one)
        .and(Metric::workspace(shape, classes))
        .and(Metric::take_workspace(shape, classes))
}

/// Maximises f from `v`, where the evaluation was just made with value `f` and gradient `g`; all three are updated.
pub(crate) fn lbfgs(
    o: &mut Objective<'_, '_, '_>,
    v: &mut [f64],
    f: &mut f64,
    g: &mut [f64],
    tolerance: f64,
    progress: &mut dyn FnMut(f64, u64) -> bool,
    mut ws: Workspace<'_>,
) -> Result<Stop> {
    let d = o.dimension();
    let (s, y) = (ws.f64s(d * MEMORY)?, ws.f64s(d * MEMORY)?);
    let (rho, coefficient) = (ws.f64s(MEMORY)?, ws.f64s(MEMORY)?);
    let (metric_y, direction, trial, trial_g) = (ws.f64s(d)?, ws.f64s(d)?, ws.f64s(d)?, ws.f64s(d)?);
    let (mut pairs, mut next, mut steps) = (0, 0, 0);
    let mut metric = Metric::new(&o.ev.shape, o.classes(), &mut ws)?;
    metric.take(o, ws.scope())?;
    loop {
        if o.norm(g) <= tolerance {
            return Ok(Stop::Gradient);
        }
        // The two loops, for maximisation: y are falls of the gradient along s.
        direction.copy_from_slice(g);
        let newest_first = |i: usize| (next + MEMORY - 1 - i) % MEMORY;
        for i in (0..pairs).map(newest_first) {
            coefficient[i] = rho[i] * dot(&s[i * d..(i + 1) * d], direction);
            axpy(-coefficient[i], &y[i * d..(i + 1) * d], direction);
        }
        let gamma = match pairs {
            0 => 1.0,
            _ => {
                let y = &y[newest_first(0) * d..][..d];
                metric_y.copy_from_slice(y);
                metric.solve(o, metric_y);
                1.0 / (rho[newest_first(0)] * dot(y, metric_y))
            }
        };
        metric.solve(o, direction);
        direction.iter_mut().for_each(|d| *d *= gamma);
        for i in (0..pairs).rev().map(newest_first) {
            let b = rho[i] * dot(&y[i * d..(i + 1) * d], direction);
            axpy(coefficient[i] - b, &s[i * d..(i + 1) * d], direction);
        }
        let slope = dot(g, direction);
        let rounding = 1e-15 * f.abs();
        if !(slope > 0.0 && slope.is_finite()) {
            if pairs == 0 {
                return Ok(Stop::Stalled);
            }
            pairs = 0;
            metric.take(o, ws.scope())?;
            continue;
        }
        if slope <= rounding {
            return Ok(Stop::Rounding);
        }
        let found = search(o, v, *f, slope, direction, trial, trial_g)?;
        let Some(value) = found else {
            if o.evaluations >= o.limit {
                o.evaluate(v, g);
                return Ok(Stop::Limit);
            }
            if pairs == 0 {
                o.evaluate(v, g);
                return Ok(if slope <= 100.0 * rounding { Stop::Rounding } else { Stop::Stalled });
            }
            pairs = 0;
            o.evaluate(v, g);
            metric.take(o, ws.scope())?;
            continue;
        };
        let (sn, yn) = (&mut s[next * d..(next + 1) * d], &mut y[next * d..(next + 1) * d]);
        for j in 0..d {
            sn[j] = trial[j] - v[j];
            yn[j] = g[j] - trial_g[j];
        }
        let sy = dot(sn, yn);
        v.copy_from_slice(trial);
        g.copy_from_slice(trial_g);
        *f = value;
        if sy > 1e-12 * libm::sqrt(dot(sn, sn) * dot(yn, yn)) {
            rho[next] = 1.0 / sy;
            next = (next + 1) % MEMORY;
            pairs = (pairs + 1).min(MEMORY);
        }
        if !progress(*f, o.evaluations) {
            return Ok(Stop::Cancelled);
        }
        steps += 1;
        if steps == REFRESH {
            metric.take(o, ws.scope())?;
        }
        if o.evaluations >= o.limit {
            return Ok(if o.norm(g) <= tolerance { Stop::Gradient } else { Stop::Limit });
        }
    }
}

/// A point along `direction` where f rises enough and its slope has fallen (strong Wolfe, 1e-4 and 0.9), in `trial`, evaluated last.
fn search(
    o: &mut Objective<'_, '_, '_>,
    v: &[f64],
    f: f64,
    slope: f64,
    direction: &[f64],
    trial: &mut [f64],
    trial_g: &mut [f64],
) -> Result<Option<f64>> {
    // (step, value, slope) of the ends of the bracket.
    let mut low = (0.0, f, slope);
    let mut high: Option<(f64, f64, f64)> = None;
    let mut step = 1.0;
    let mut best: Option<f64> = None;
    for _ in 0..40 {
        if o.evaluations >= o.limit {
            break;
        }
        trial.iter_mut().zip(v).zip(direction).for_each(|((t, v), d)| *t = v + step * d);
        let value = o.evaluate(trial, trial_g);
        let (y, dy) = match value {
            Some(y) => (y, dot(trial_g, direction)),
            None => (f64::NEG_INFINITY, f64::NAN),
        };
        let rounding = 4.0 * f64::EPSILON * f.abs();
        let rises = y >= f + 1e-4 * step * slope || (step * slope <= 1e3 * rounding && y >= f - rounding && dy.abs() <= slope);
        if !rises || y < low.1 - rounding {
            high = Some((step, y, dy));
        } else if dy.abs() <= 0.9 * slope {
            return Ok(value);
        } else {
            best = Some(step);
            if dy < 0.0 {
                high = Some(low);
            }
            low = (step, y, dy);
        }
        step = match high {
            None => step * 4.0,
            Some(h) => {
                let next = cubic(low, h);
                let (a, b) = (low.0.min(h.0), low.0.max(h.0));
                if b - a <= 1e-14 * b {
                    break;
                }
                if next.is_finite() {
                    next.clamp(a + 0.1 * (b - a), b - 0.1 * (b - a))
                } else {
                    a + if h.1.is_finite() { 0.5 } else { 0.1 } * (b - a)
                }
            }
        };
    }
    // A rise without the curvature condition is still a rise.
    match best {
        Some(step) if o.evaluations < o.limit => {
            trial.iter_mut().zip(v).zip(direction).for_each(|((t, v), d)| *t = v + step * d);
            Ok(o.evaluate(trial, trial_g).filter(|y| *y > f))
        }
        _ => Ok(None),
    }
}

/// The maximum of the cubic through two points with their slopes.
fn cubic(a: (f64, f64, f64), b: (f64, f64, f64)) -> f64 {
    let (x0, f0, d0) = (a.0, -a.1, -a.2);
    let (x1, f1, d1) = (b.0, -b.1, -b.2);
    let t = d0 + d1 - 3.0 * (f0 - f1) / (x0 - x1);
    let q = libm::sqrt(t * t - d0 * d1) * if x1 > x0 { 1.0 } else { -1.0 };
    x1 - (x1 - x0) * (d1 + q - t) / (d1 - d0 + 2.0 * q)
}
