//! Univariate latent moments `m_r(v) = E He_r(v·y)`, which estimate `Σ_k α_k (v·δ_k)^r`, and cross moments
//! `E [He_r(v·y) y − r He_{r−1}(v·y) v]`, which estimate `Σ_k α_k (v·δ_k)^r δ_k`; |v| = 1 in the frame.
//!
//! Hermite polynomials by their recurrence `He_{r+1}(c) = c He_r(c) − r He_{r−1}(c)`.

use super::frame::{Draws, Frame, latent_rows};
use crate::data::Shape;
use crate::error::{Error, ErrorKind, Result};
use crate::evaluate::block_rows;
use crate::linalg::dot;
use crate::parallel::Context;
use crate::simd;
use crate::workspace::{Workspace, WorkspaceSize};

/// Checks that every direction, r numbers each, has norm 1 to 1e-6; how many they are.
fn check_directions(directions: &[f64], rank: usize) -> Result<usize> {
    if directions.len() % rank != 0 {
        return Err(Error::shape("directions", rank, directions.len()));
    }
    for (i, v) in directions.chunks_exact(rank).enumerate() {
        check_direction("directions", v).map_err(|e| e.at(i * rank + e.row.unwrap_or(0)))?;
    }
    Ok(directions.len() / rank)
}

/// The same of one.
pub(super) fn check_direction(name: &'static str, direction: &[f64]) -> Result<()> {
    match direction.iter().position(|x| !x.is_finite()) {
        Some(at) => Err(Error::new(ErrorKind::NotFinite, name).at(at)),
        None if (libm::sqrt(dot(direction, direction)) - 1.0).abs() <= 1e-6 => Ok(()),
        None => Err(Error::new(ErrorKind::InvalidOption, name)),
    }
}

pub(crate) fn check_length(name: &'static str, errors: &Option<&mut [f64]>, n: usize) -> Result<()> {
    match errors {
        Some(e) if e.len() != n => Err(Error::shape(name, n, e.len())),
        _ => Ok(()),
    }
}

/// Workspace of [`univariate`] along V directions up to `order`.
pub fn univariate_workspace(shape: &Shape, directions: usize, order: usize) -> WorkspaceSize {
    let of = |a: usize, b: usize| WorkspaceSize::of::<f64>(a.saturating_mul(b));
    let sums = of(directions, order.saturating_add(1));
    of(Draws::scratch(shape.columns), 1)
        .and(of(directions, shape.columns))
        .and(of(directions, block_rows(shape.columns)))
        .and(sums)
        .and(sums)
}

/// Moments `m_0(v) … m_R(v)` along V directions: `moments[i * (R + 1) + r]` is `m_r` along direction i, with R = `order`;
/// `directions` are V × r numbers in the frame, each of norm 1. `errors`, if wanted: standard errors of the same shape.
///
/// Section 6 of the model; one read of the observed rows, `p V (L + R)` products, nothing allocated. Moments of high orders may be beyond
/// f64: infinite, or no number, with infinite errors.
///
/// # Errors
/// `IllPosed` where no feature varies, `Shape`, `NotFinite`, `InvalidOption` for a direction that is not of norm 1, `Workspace`.
pub fn univariate(
    draws: &Draws<'_>,
    frame: &Frame<'_>,
    directions: &[f64],
    order: usize,
    moments: &mut [f64],
    errors: Option<&mut [f64]>,
    ctx: Context,
    mut ws: Workspace<'_>,
) -> Result<()> {
    let (l, n) = (frame.columns, check_directions(directions, draws.rank_in(frame)?)?);
    let stride = order.saturating_add(1);
    let len = n.checked_mul(stride).ok_or(Error::new(ErrorKind::Overflow, "moments"))?;
    if moments.len() != len {
        return Err(Error::shape("moments", len, moments.len()));
    }
    check_length("errors", &errors, len)?;
    ws.require(univariate_workspace(&draws.data().shape(), n, order))?;
    let block = block_rows(l);
    let scratch = ws.f64s(Draws::scratch(l))?;
    let theta = ws.f64s(n * l)?;
    let columns = ws.f64s(n * block)?;
    let (first, second) = (ws.f64s(len)?, ws.f64s(len)?);
    for (v, theta) in directions.chunks_exact(frame.rank).zip(theta.chunks_exact_mut(l)) {
        frame.pull(v, theta);
    }
    moments.fill(0.0);
    let wanted = errors.is_some();
    draws.for_each_block(frame.mean, scratch, |x, q, e| {
        simd::logits(ctx.isa, x, theta, None, columns, block);
        for d in 0..n {
            for (i, &c) in columns[d * block..][..x.rows].iter().enumerate() {
                let (mut h, mut before) = (1.0, 0.0);
                for r in 0..stride {
                    moments[d * stride + r] += q[i] * h;
                    if wanted {
                        first[d * stride + r] += e[i] * h;
                        second[d * stride + r] += e[i] * h * h;
                    }
                    (h, before) = (c * h - r as f64 * before, h);
                }
            }
        }
    });
    if let Some(errors) = errors {
        draws.standard_errors(errors, first, second, moments);
    }
    Ok(())
}

/// Workspace of [`cross`] up to `order`.
pub fn cross_workspace(shape: &Shape, order: usize) -> WorkspaceSize {
    let of = |a: usize, b: usize| WorkspaceSize::of::<f64>(a.saturating_mul(b));
    let (l, block) = (shape.columns, block_rows(shape.columns));
    let sums = of(l, order.saturating_add(1));
    of(Draws::scratch(l), 1).and(of(block, l)).and(of(block, l)).and(sums).and(sums)
}

/// Cross moments along `direction` (r numbers, norm 1) of orders 0 to R = `order`: `moments[r * rank + j]` estimates
/// `Σ_k α_k (v·δ_k)^r δ_kj`. `errors`, if wanted: standard errors of the same shape.
///
/// Section 6 of the model; one read of the observed rows, `p r (L + R)` products, nothing allocated.
///
/// # Errors
/// As [`univariate`].
pub fn cross(
    draws: &Draws<'_>,
    frame: &Frame<'_>,
    direction: &[f64],
    order: usize,
    moments: &mut [f64],
    errors: Option<&mut [f64]>,
    ctx: Context,
    mut ws: Workspace<'_>,
) -> Result<()> {
    let (l, rank) = (frame.columns, draws.rank_in(frame)?);
    if direction.len() != rank {
        return Err(Error::shape("direction", rank, direction.len()));
    }
    check_direction("direction", direction)?;
    let len = order.checked_add(1).and_then(|n| n.checked_mul(rank)).ok_or(Error::new(ErrorKind::Overflow, "moments"))?;
    if moments.len() != len {
        return Err(Error::shape("moments", len, moments.len()));
    }
    check_length("errors", &errors, len)?;
    ws.require(cross_workspace(&draws.data().shape(), order))?;
    let block = block_rows(l);
    let scratch = ws.f64s(Draws::scratch(l))?;
    let (columns, y) = (ws.f64s(block * l)?, ws.f64s(block * l)?);
    let (first, second) = (ws.f64s(len)?, ws.f64s(len)?);
    moments.fill(0.0);
    let wanted = errors.is_some();
    draws.for_each_block(frame.mean, scratch, |x, q, e| {
        latent_rows(ctx, frame, x, columns, y);
        for (i, y) in y.chunks_exact(rank).take(x.rows).enumerate() {
            let c = dot(direction, y);
            let (mut h, mut before) = (1.0, 0.0);
            for r in 0..=order {
                let down = r as f64 * before;
                for j in 0..rank {
                    let f = h * y[j] - down * direction[j];
                    moments[r * rank + j] += q[i] * f;
                    if wanted {
                        first[r * rank + j] += e[i] * f;
                        second[r * rank + j] += e[i] * f * f;
                    }
                }
                (h, before) = (c * h - down, h);
            }
        }
    });
    if let Some(errors) = errors {
        draws.standard_errors(errors, first, second, moments);
    }
    Ok(())
}
