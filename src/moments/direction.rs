//! Atoms from the moments along one direction, for any K in theory (Lindsay and Basak 1993): the nodes `v·δ_k` are the roots of the
//! orthogonal polynomial of degree K of the moments m_0 … m_{2K−1}, the weights those of its quadrature, and the other coordinates
//! solve `Σ_k α_k (v·δ_k)^i δ_k = E [He_i(v·y) y − i He_{i−1}(v·y) v]`, i < K.
//!
//! Computed from moments about their mean in units of their deviation: recurrence coefficients by Chebyshev's algorithm, nodes and weights
//! by the eigenproblem of the Jacobi matrix (Golub and Welsch 1969), whose eigenvectors `√α_k p_i(x_k)` solve the Vandermonde systems too.
//! Moments that are not those of any law on K points are mixed with those of the normal law of the same mean and deviation until they are.

use super::eigen::tridiagonal_eigen;
use super::frame::{Draws, Frame, natural, natural_workspace};
use super::hermite::{check_direction, cross, cross_workspace, univariate, univariate_workspace};
use super::subspace::covariance_of_atoms;
use super::tensor::{check_output, finish, shorten};
use super::{IllPosed, tensors_workspace};
use crate::data::{Data, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::linalg::axpy;
use crate::parallel::Context;
use crate::whiten::Whitening;
use crate::workspace::{Workspace, WorkspaceSize};

/// What [`direction`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DirectionReport {
    /// The share of the normal law that was mixed into the moments, 0 where they are those of a law on K points.
    pub shrinkage: f64,
}

/// The least recurrence coefficient `β_i`, in units of the variance, of moments that count as well-posed.
const LEAST: f64 = 1e-4;
/// The least standard deviation along the direction, in the frame, for a projected estimate.
const NARROW: f64 = 0.2;

/// Workspace of [`direction`] for K classes.
pub fn direction_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
    let deltas = WorkspaceSize::of::<f64>(classes.saturating_mul(shape.columns));
    natural_workspace(shape).and(deltas).and(direction_in_workspace(shape, classes))
}

/// The method of moments along one direction of the frame of whitened features: K weights and K × L atoms, K = `weights.len()`. `along`: r
/// numbers of norm 1; absent: the eigenvector of the largest eigenvalue of `M2 − M1 M1^T`.
///
/// Section 6 of the model. The error grows exponentially with K; beyond K = 5 or so moments of real samples are those of no law on K
/// points. Cost: `p (r² / 2 + r (2 L + K))` on the observed rows.
///
/// # Errors
/// `Unsupported` unless choices are counts over one choice set; `IllPosed` where no feature varies, and, if asked to fail, where the moments
/// are those of no law on K points, two nodes coincide or a class has no weight; `InvalidOption` for a direction not of norm 1;
/// `TooManyClasses`, `Shape`, `Workspace`.
pub fn direction(
    data: &Data<'_>,
    wh: &Whitening<'_>,
    along: Option<&[f64]>,
    ill_posed: IllPosed,
    weights: &mut [f64],
    atoms: &mut [f64],
    ctx: Context,
    mut ws: Workspace<'_>,
) -> Result<DirectionReport> {
    let draws = Draws::new(data)?;
    check_output(data, wh, weights, atoms)?;
    ws.require(direction_workspace(&data.shape(), weights.len()))?;
    let mut ws = ws.scope();
    let deltas = &mut ws.f64s(weights.len() * wh.columns)?[..weights.len() * wh.rank];
    let frame = natural(data, wh, ctx, &mut ws)?;
    let report = direction_in(&draws, &frame, along, ill_posed, weights, deltas, ctx, ws)?;
    finish(&frame, weights, deltas, atoms)?;
    Ok(report)
}

pub(crate) fn direction_in_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
    let of = |a: usize, b: usize| WorkspaceSize::of::<f64>(a.saturating_mul(b));
    let (l, k) = (shape.columns, classes);
    let passes = tensors_workspace(shape, None).or(univariate_workspace(shape, 1, k.saturating_mul(2))).or(cross_workspace(shape, k));
    let size = of(l, 1).and(of(l, 1)).and(of(l, l)).and(of(l, 1)).and(of(2, l)).and(of(9, k.saturating_mul(2)));
    size.and(of(k, k)).and(of(k, k)).and(of(k, l)).and(passes)
}

/// Moments of the standard normal law: 1, 0, 1, 0, 3, 0, 15, …
fn normal_moment(r: usize) -> f64 {
    if r % 2 == 1 { 0.0 } else { (1..r).step_by(2).map(|i| i as f64).product() }
}

/// Recurrence coefficients of the monic orthogonal polynomials of the moments `c_0 … c_{2K−1}`, `P_{i+1} = (x − a_i) P_i − b_i P_{i−1}`, by
/// Chebyshev's algorithm; the smallest b_i over i, i > 0, in units where the normal law has b_i = i. `rows`: 6 K numbers.
fn recurrence(c: &[f64], a: &mut [f64], b: &mut [f64], rows: &mut [f64]) -> f64 {
    let k = a.len();
    let n = 2 * k;
    let (mut before, rest) = rows.split_at_mut(n);
    let (mut now, mut next) = rest.split_at_mut(n);
    before.fill(0.0);
    now[..n].copy_from_slice(&c[..n]);
    a[0] = c[1] / c[0];
    b[0] = c[0];
    let mut least = f64::INFINITY;
    for i in 1..k {
        for l in i..n - i {
            next[l] = now[l + 1] - a[i - 1] * now[l] - if i > 1 { b[i - 1] * before[l] } else { 0.0 };
        }
        a[i] = next[i + 1] / next[i] - now[i] / now[i - 1];
        b[i] = next[i] / now[i - 1];
        if b[i].is_nan() || b[i] <= 0.0 || !a[i].is_finite() {
            return f64::NEG_INFINITY;
        }
        least = least.min(b[i] / i as f64);
        (before, now, next) = (now, next, before);
    }
    least
}

/// [`direction`] in a frame: K weights and K × r atoms δ.
pub(crate) fn direction_in(
    draws: &Draws<'_>,
    frame: &Frame<'_>,
    along: Option<&[f64]>,
    ill_posed: IllPosed,
    weights: &mut [f64],
    deltas: &mut [f64],
    ctx: Context,
    mut ws: Workspace<'_>,
) -> Result<DirectionReport> {
    let (l, r, k) = (frame.columns, draws.rank_in(frame)?, weights.len());
    let fail = || Err(Error::new(ErrorKind::IllPosed, "moments"));
    let v = &mut ws.f64s(l)?[..r];
    let first = &mut ws.f64s(l)?[..r];
    let vectors = &mut ws.f64s(l * l)?[..r * r];
    let values = &mut ws.f64s(l)?[..r];
    let scratch = ws.f64s(2 * l)?;
    let work = ws.f64s(9 * 2 * k)?;
    let jacobi = ws.f64s(k * k)?;
    let shifted = ws.f64s(k * k)?;
    let moments_of_y = &mut ws.f64s(k * l)?[..k * r];
    match along {
        Some(along) if along.len() != r => return Err(Error::shape("along", r, along.len())),
        Some(along) => {
            check_direction("along", along)?;
            v.copy_from_slice(along);
        }
        None => {
            covariance_of_atoms(draws, frame, first, values, vectors, scratch, ctx, ws.scope())?;
            v.copy_from_slice(&vectors[..r]);
        }
    }
    let n = 2 * k;
    let (moments, rest) = work.split_at_mut(n);
    let (central, rest) = rest.split_at_mut(n);
    let (mixed, rest) = rest.split_at_mut(n);
    let (rows, rest) = rest.split_at_mut(3 * n);
    let (nodes, rest) = rest.split_at_mut(n);
    let (off, binomial) = rest.split_at_mut(n);
    univariate(draws, frame, v, n - 1, moments, None, ctx, ws.scope())?;
    cross(draws, frame, v, k - 1, moments_of_y, None, ctx, ws)?;
    // Moments about the mean, in units of the deviation.
    let mean = moments[1];
    let variance = if k > 1 { moments[2] - mean * mean } else { 1.0 };
    let narrow = variance.is_nan() || variance <= NARROW * NARROW;
    if ill_posed == IllPosed::Fail && (variance.is_nan() || variance <= 0.0) {
        return fail();
    }
    let deviation = if narrow && ill_posed == IllPosed::Project { NARROW } else { libm::sqrt(variance) };
    let row = &mut binomial[..n];
    for i in 0..n {
        // Row i of Pascal's triangle.
        row[i] = 1.0;
        for j in (1..i).rev() {
            row[j] += row[j - 1];
        }
        let (mut sum, mut power) = (0.0, 1.0);
        for j in (0..=i).rev() {
            sum += row[j] * moments[j] * power;
            power *= -mean;
        }
        central[i] = sum / powi(deviation, i);
        if i < k {
            let mut power = 1.0 / powi(deviation, i);
            for j in (0..=i).rev() {
                shifted[i * k + j] = row[j] * power;
                power *= -mean;
            }
        }
    }
    let (a, b) = (&mut nodes[..k], &mut off[..k]);
    let mut shrinkage = 0.0;
    loop {
        for (i, (m, c)) in mixed.iter_mut().zip(&*central).enumerate() {
            *m = c + shrinkage * (normal_moment(i) - c);
        }
        if recurrence(mixed, a, b, rows) > LEAST {
            break;
        }
        if ill_posed == IllPosed::Fail || shrinkage >= 1.0 {
            return fail();
        }
        shrinkage = if shrinkage == 0.0 { 1.0 / 1024.0 } else { f64::min(2.0 * shrinkage, 1.0) };
    }
    // Coefficients of the orthonormal polynomials, row i that of degree i, over the shifted powers: P_{i+1} = (x − a_i) P_i − b_i P_{i−1}.
    let coefficients = jacobi;
    coefficients.fill(0.0);
    coefficients[0] = 1.0;
    for i in 1..k {
        for j in 0..=i {
            let at = |row: usize, j: usize| coefficients[row * k + j];
            let up = if j > 0 { at(i - 1, j - 1) } else { 0.0 };
            let two = if i > 1 { b[i - 1] * at(i - 2, j) } else { 0.0 };
            let value = up - a[i - 1] * at(i - 1, j) - two;
            coefficients[i * k + j] = value;
        }
    }
    // ĉ_i = the functional of the cross moments at p_i, i.e. coefficients · shifted · moments_of_y; kept in `deltas`.
    let mut norm = 1.0;
    for (i, out) in deltas.chunks_exact_mut(r).enumerate() {
        if i > 0 {
            norm *= libm::sqrt(b[i]);
        }
        out.fill(0.0);
        for j in 0..=i {
            for m in 0..=j {
                let w = coefficients[i * k + j] * shifted[j * k + m] / norm;
                axpy(w, &moments_of_y[m * r..(m + 1) * r], out);
            }
        }
    }
    // Nodes and weights: the Jacobi matrix has a on its diagonal and √b_i beside it.
    for i in 1..k {
        b[i - 1] = libm::sqrt(b[i]);
    }
    b[k - 1] = 0.0;
    let eigenvectors = shifted;
    eigenvectors.fill(0.0);
    for i in 0..k {
        eigenvectors[i * k + i] = 1.0;
    }
    tridiagonal_eigen(a, b, eigenvectors, k)?;
    moments_of_y.copy_from_slice(deltas);
    for (j, delta) in deltas.chunks_exact_mut(r).enumerate() {
        let e = &eigenvectors[j * k..(j + 1) * k];
        weights[j] = e[0] * e[0];
        if ill_posed == IllPosed::Fail && weights[j] < 1e-9 {
            return fail();
        }
        delta.fill(0.0);
        let first = if e[0].abs() > 1e-8 { e[0] } else { 1e-8 };
        for (e, c) in e.iter().zip(moments_of_y.chunks_exact(r)) {
            axpy(e / first, c, delta);
        }
    }
    let total: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= total);
    if ill_posed == IllPosed::Project {
        shorten(deltas, r);
    }
    match deltas.iter().chain(&*weights).all(|x| x.is_finite()) {
        true => Ok(DirectionReport { shrinkage }),
        false => fail(),
    }
}

fn powi(x: f64, n: usize) -> f64 {
    (0..n).fold(1.0, |p, _| p * x)
}
