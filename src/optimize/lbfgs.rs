//! L-BFGS on f, with the complete-data information as its first metric and a line search to the strong Wolfe conditions.

use super::metric::Metric;
use super::{Objective, Stop};
use crate::data::Shape;
use crate::error::{Error, ErrorKind, Result};
use crate::linalg::{axpy, dot};
use crate::workspace::{Workspace, WorkspaceSize};

/// Pairs kept.
const MEMORY: usize = 20;

/// Steps after which the metric is taken anew, once, where that pays.
const REFRESH: u32 = 4;

/// Workspace of [`lbfgs`] for K classes.
pub(crate) fn lbfgs_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
    let of = WorkspaceSize::of::<f64>;
    // One more than D, as `Objective::length` may be.
    let dimension = classes.saturating_mul(shape.columns.saturating_add(1));
    let pairs = of(dimension.saturating_mul(MEMORY));
    let one = of(dimension);
    pairs
        .and(pairs)
        .and(pairs)
        .and(of(MEMORY))
        .and(of(MEMORY))
        .and(one)
        .and(one)
        .and(one)
        .and(one)
        .and(one)
        .and(one)
        .and(Metric::workspace(shape, classes))
        .and(Metric::take_workspace(shape, classes))
}

/// How far log-odds may go in the first trial of a step.
const LOG_ODDS: f64 = 1.0;

/// The largest entry of the gradient, over all choices, down to which features in f32 lead.
const SINGLE: f64 = 2e-6;

/// By how much the gradient of F may exceed the tolerance where single reads end: a step or two are left.
const LEAD: f64 = 3.0;
/// Trials of a step for which single reads may fail before evaluations in full take over.
const LOST: u32 = 3;

/// What L-BFGS knows of the curvature: falls y of the gradient along steps s, about a metric M.
///
/// M⁻¹ is applied once a step, to the gradient: that `M⁻¹ y` follow, by differences, is kept beside y.
struct Memory<'w> {
    s: &'w mut [f64],
    y: &'w mut [f64],
    /// M⁻¹ y.
    z: &'w mut [f64],
    rho: &'w mut [f64],
    coefficient: &'w mut [f64],
    metric: Metric<'w>,
    /// M⁻¹ g at the point that steps begin from.
    from: &'w mut [f64],
    pairs: usize,
    next: usize,
    steps: u32,
}

impl<'w> Memory<'w> {
    fn newest_first(&self, i: usize) -> usize {
        (self.next + MEMORY - 1 - i) % MEMORY
    }

    /// Takes the metric at the point last evaluated, whose gradient is g.
    fn renew(&mut self, o: &mut Objective<'_, '_, '_>, g: &[f64], ws: Workspace<'_>) -> Result<()> {
        let d = g.len();
        self.metric.take(o, ws)?;
        self.stand(o, g);
        for i in 0..self.pairs {
            let i = self.newest_first(i) * d;
            self.z[i..i + d].copy_from_slice(&self.y[i..i + d]);
            self.metric.solve(o, &mut self.z[i..i + d]);
        }
        Ok(())
    }

    /// Takes note of the gradient at the point that steps begin from.
    fn stand(&mut self, o: &Objective<'_, '_, '_>, g: &[f64]) {
        self.from.copy_from_slice(g);
        self.metric.solve(o, self.from);
    }

    /// The two loops, for maximisation: y are falls of the gradient along s.
    fn direct(&mut self, g: &[f64], direction: &mut [f64]) {
        let d = g.len();
        // M⁻¹ q with q as the first loop leaves it, q itself in `direction` until then.
        direction.copy_from_slice(g);
        for i in 0..self.pairs {
            let i = self.newest_first(i);
            self.coefficient[i] = self.rho[i] * dot(&self.s[i * d..(i + 1) * d], direction);
            axpy(-self.coefficient[i], &self.y[i * d..(i + 1) * d], direction);
        }
        direction.copy_from_slice(self.from);
        for i in 0..self.pairs {
            let i = self.newest_first(i);
            axpy(-self.coefficient[i], &self.z[i * d..(i + 1) * d], direction);
        }
        if self.pairs > 0 {
            let newest = self.newest_first(0);
            let range = newest * d..(newest + 1) * d;
            let gamma = 1.0 / (self.rho[newest] * dot(&self.y[range.clone()], &self.z[range]));
            direction.iter_mut().for_each(|d| *d *= gamma);
        }
        for i in (0..self.pairs).rev() {
            let i = self.newest_first(i);
            let b = self.rho[i] * dot(&self.y[i * d..(i + 1) * d], direction);
            axpy(self.coefficient[i] - b, &self.s[i * d..(i + 1) * d], direction);
        }
    }

    /// Takes in the step from the point to the trial.
    fn learn(&mut self, o: &Objective<'_, '_, '_>, point: &Point<'_>, room: &Room<'_>) {
        let (Point { v, g, .. }, Room { trial, trial_g, .. }) = (point, room);
        let range = self.next * v.len()..(self.next + 1) * v.len();
        let (s, y, z) = (&mut self.s[range.clone()], &mut self.y[range.clone()], &mut self.z[range]);
        z.copy_from_slice(self.from);
        self.from.copy_from_slice(trial_g);
        self.metric.solve(o, self.from);
        for j in 0..v.len() {
            s[j] = trial[j] - v[j];
            y[j] = g[j] - trial_g[j];
            z[j] -= self.from[j];
        }
        let sy = dot(s, y);
        if sy > 1e-12 * libm::sqrt(dot(s, s) * dot(y, y)) {
            self.rho[self.next] = 1.0 / sy;
            self.next = (self.next + 1) % MEMORY;
            self.pairs = (self.pairs + 1).min(MEMORY);
        } else {
            // It took the place of the oldest.
            self.pairs = self.pairs.min(MEMORY - 1);
        }
    }
}

/// Maximises f from `v`, where the evaluation was just made with value `f` and gradient `g`, by [`Objective::evaluate_apart`]; all three
/// are updated.
///
/// Where single reads of X serve, they lead until the gradient is small, and the last steps are evaluated in full. Where the objective has
/// exact features beside those that it works on, it goes over to them once the gradient is as small as single precision lets it be, or when
/// nothing ascends any more. What was learnt of the curvature is kept, and f ends as that of the exact features whatever stops it.
pub(crate) fn lbfgs(
    o: &mut Objective<'_, '_, '_>,
    v: &mut [f64],
    f: &mut f64,
    g: &mut [f64],
    tolerance: f64,
    progress: &mut dyn FnMut(f64, u64) -> bool,
    mut ws: Workspace<'_>,
) -> Result<Stop> {
    let (n, d) = (o.length(), o.dimension());
    let mut memory = Memory {
        s: ws.f64s(n * MEMORY)?,
        y: ws.f64s(n * MEMORY)?,
        z: ws.f64s(n * MEMORY)?,
        rho: ws.f64s(MEMORY)?,
        coefficient: ws.f64s(MEMORY)?,
        metric: Metric::new(&o.ev.shape, o.classes(), &mut ws)?,
        from: ws.f64s(n)?,
        pairs: 0,
        next: 0,
        steps: 0,
    };
    let mut point = Point { v: ws.f64s(n)?, f: *f, g: ws.f64s(n)?, exact: true };
    point.v[..d].copy_from_slice(v);
    point.g[..d].copy_from_slice(g);
    let mut room = Room { direction: ws.f64s(n)?, trial: ws.f64s(n)?, trial_g: ws.f64s(n)? };
    memory.renew(o, point.g, ws.scope())?;
    let mut stop = None;
    if o.exact.is_some() {
        // One evaluation is kept for the exact features.
        o.limit -= 1;
        let phase = if o.once.serves { lead } else { ascend };
        let led = phase(o, &mut memory, &mut point, &mut room, tolerance.max(SINGLE), progress, ws.scope())?;
        o.limit += 1;
        point.f = o.refine(point.v, point.g).ok_or(Error::new(ErrorKind::NotFinite, "log-likelihood"))?;
        point.exact = true;
        memory.stand(o, point.g);
        stop = match led {
            Stop::Limit | Stop::Cancelled => Some(led),
            _ => (!progress(point.f, o.evaluations)).then_some(Stop::Cancelled),
        };
    }
    if stop.is_none() && o.once.serves {
        let led = lead(o, &mut memory, &mut point, &mut room, LEAD * tolerance, progress, ws.scope())?;
        stop = matches!(led, Stop::Limit | Stop::Cancelled).then_some(led);
    }
    let stop = match stop {
        None => ascend(o, &mut memory, &mut point, &mut room, tolerance, progress, ws)?,
        Some(stop) => stop,
    };
    v.copy_from_slice(&point.v[..d]);
    g.copy_from_slice(&point.g[..d]);
    *f = point.f;
    Ok(stop)
}

/// Where steps begin, its value and its gradient.
struct Point<'w> {
    v: &'w mut [f64],
    f: f64,
    g: &'w mut [f64],
    /// Whether they are those of f, and the last evaluation that of `v`.
    exact: bool,
}

/// What a step is tried in.
struct Room<'w> {
    direction: &'w mut [f64],
    trial: &'w mut [f64],
    trial_g: &'w mut [f64],
}

/// Steps by single reads of X from a point evaluated apart, down to a gradient of F of `tolerance`. Where something else stops them, the
/// point is evaluated in full again.
fn lead(
    o: &mut Objective<'_, '_, '_>,
    memory: &mut Memory<'_>,
    point: &mut Point<'_>,
    room: &mut Room<'_>,
    tolerance: f64,
    progress: &mut dyn FnMut(f64, u64) -> bool,
    ws: Workspace<'_>,
) -> Result<Stop> {
    if o.norm(point.g) <= tolerance {
        return Ok(Stop::Gradient);
    }
    // One evaluation is kept for f itself.
    if o.evaluations + 1 >= o.limit {
        return Ok(Stop::Stalled);
    }
    o.limit -= 1;
    o.anchor(point.v);
    let stop = ascend(o, memory, point, room, tolerance, progress, ws)?;
    o.limit += 1;
    o.settle(point.v, point.g);
    if stop != Stop::Gradient {
        point.f = o.evaluate(point.v, point.g).ok_or(Error::new(ErrorKind::NotFinite, "log-likelihood"))?;
        point.exact = true;
    }
    memory.stand(o, point.g);
    Ok(stop)
}

/// Steps until one of the rules stops them; the last evaluation is that of the point, unless it is by single reads.
fn ascend(
    o: &mut Objective<'_, '_, '_>,
    memory: &mut Memory<'_>,
    point: &mut Point<'_>,
    room: &mut Room<'_>,
    tolerance: f64,
    progress: &mut dyn FnMut(f64, u64) -> bool,
    mut ws: Workspace<'_>,
) -> Result<Stop> {
    let once = o.once.on;
    loop {
        if (point.exact || once) && o.norm(point.g) <= tolerance {
            return Ok(Stop::Gradient);
        }
        if o.evaluations >= o.limit {
            return Ok(Stop::Limit);
        }
        memory.direct(point.g, room.direction);
        // A weight that falls far at once may stay where it falls: its gradient goes with it.
        let farthest = room.direction[..o.classes() - 1].iter().fold(0.0, |m: f64, d| m.max(d.abs()));
        if farthest > LOG_ODDS {
            room.direction.iter_mut().for_each(|d| *d *= LOG_ODDS / farthest);
        }
        let slope = dot(point.g, room.direction);
        let rounding = 1e-15 * point.f.abs();
        let fresh = memory.pairs == 0;
        let refresh = memory.steps + 1 == REFRESH && Metric::refresh_pays(&o.ev.shape);
        let ascends = slope.is_finite() && slope > rounding;
        if !ascends && slope > 0.0 && (point.exact || once) {
            return Ok(Stop::Rounding);
        }
        o.once.keep = refresh;
        let found = if ascends { search(o, point, slope, room) } else { None };
        let Some(value) = found else {
            let (spent, exact) = (o.evaluations >= o.limit, point.exact);
            if once {
                return Ok(if spent { Stop::Limit } else { Stop::Stalled });
            }
            if ascends || !exact {
                point.f = o.evaluate(point.v, point.g).unwrap_or(point.f);
                point.exact = true;
            }
            if spent {
                return Ok(Stop::Limit);
            }
            if fresh && exact {
                return Ok(if ascends && slope <= 100.0 * rounding { Stop::Rounding } else { Stop::Stalled });
            }
            memory.pairs = 0;
            memory.renew(o, point.g, ws.scope())?;
            continue;
        };
        memory.learn(o, point, room);
        point.v.copy_from_slice(room.trial);
        point.g.copy_from_slice(room.trial_g);
        (point.f, point.exact) = (value, !once);
        let far = once && o.accept();
        if !progress(point.f, o.evaluations) {
            return Ok(Stop::Cancelled);
        }
        memory.steps += 1;
        if far && o.evaluations < o.limit {
            o.settle(point.v, point.g);
            point.f = o.evaluate_apart(point.v, point.g).ok_or(Error::new(ErrorKind::NotFinite, "log-likelihood"))?;
            o.anchor(point.v);
            memory.stand(o, point.g);
        }
        if refresh {
            memory.renew(o, point.g, ws.scope())?;
        }
    }
}

/// A trial along the direction where f rises enough and its slope has fallen (strong Wolfe, 1e-4 and 0.9), evaluated last.
fn search(o: &mut Objective<'_, '_, '_>, point: &Point<'_>, slope: f64, room: &mut Room<'_>) -> Option<f64> {
    let (Point { v, f, .. }, Room { direction, trial, trial_g }) = (point, room);
    let (f, mut lost) = (*f, 0);
    // (step, value, slope) of the ends of the bracket.
    let mut low = (0.0, f, slope);
    let mut high: Option<(f64, f64, f64)> = None;
    let mut step = 1.0;
    let mut best: Option<f64> = None;
    for _ in 0..40 {
        if o.evaluations >= o.limit {
            break;
        }
        trial.iter_mut().zip(&**v).zip(&**direction).for_each(|((t, v), d)| *t = v + step * d);
        let value = o.evaluate(trial, trial_g);
        lost += u32::from(value.is_none());
        if o.once.on && lost > LOST {
            break;
        }
        let (y, dy) = match value {
            Some(y) => (y, dot(trial_g, direction)),
            None => (f64::NEG_INFINITY, f64::NAN),
        };
        let rounding = 4.0 * f64::EPSILON * f.abs();
        let rises = y >= f + 1e-4 * step * slope || (step * slope <= 1e3 * rounding && y >= f - rounding && dy.abs() <= slope);
        if !rises || y < low.1 - rounding {
            high = Some((step, y, dy));
        } else if dy.abs() <= 0.9 * slope {
            return value;
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
    // A rise without the curvature condition is still a rise. Beyond the limit one more evaluation ends there, where all features are read
    // anew for either end.
    match best {
        Some(step) if o.evaluations < o.limit || !o.once.on => {
            trial.iter_mut().zip(&**v).zip(&**direction).for_each(|((t, v), d)| *t = v + step * d);
            o.evaluate(trial, trial_g).filter(|y| *y > f)
        }
        _ => None,
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
