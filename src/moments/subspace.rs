//! Where the atoms lie: M1, and the eigenvectors of `M2 − M1 M1^T`, which estimates the covariance `Σ_k α_k (δ_k − M1)(δ_k − M1)^T` of
//! rank K − 1. Its eigenvalues suggest K.

use super::eigen::symmetric_eigen;
use super::frame::{Draws, Frame, latent_rows, natural, natural_workspace};
use super::tensors::{TensorOutput, tensors, tensors_workspace};
use super::tilt::Tilting;
use crate::data::{Data, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::evaluate::block_rows;
use crate::linalg::{axpy, dot, symmetrize};
use crate::parallel::Context;
use crate::simd::{self, Rows};
use crate::whiten::Whitening;
use crate::workspace::{Workspace, WorkspaceSize};

/// What [`subspace`] found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SubspaceReport {
    /// 1 + the eigenvalues above the noise.
    pub suggested_classes: usize,
    /// The noise: the larger of twice the most negative eigenvalue's size, which measures how far the rows and their shape are from a
    /// normal law, and of three times the root of the largest `u^T (E Z²) u` over the eigenvectors u, Z the sampling error of M2: under
    /// normal features `3 √((r + 1) / N)`, with N the effective number of draws.
    pub noise: f64,
    /// Effective number of draws.
    pub draws: f64,
}

/// M1 (r numbers), and the eigenvalues and eigenvectors (rows) of `M2 − M1 M1^T` in a frame. `scratch`: 2 r numbers.
pub(crate) fn covariance_of_atoms(
    draws: &Draws<'_>,
    frame: &Frame<'_>,
    first: &mut [f64],
    values: &mut [f64],
    vectors: &mut [f64],
    scratch: &mut [f64],
    ctx: Context,
    ws: Workspace<'_>,
) -> Result<()> {
    let r = frame.rank;
    let out = TensorOutput { first: Some(first), second: Some(vectors), ..Default::default() };
    tensors(draws, frame, out, ctx, ws)?;
    for (a, row) in vectors.chunks_exact_mut(r).enumerate() {
        axpy(-first[a], first, row);
    }
    symmetric_eigen(vectors, r, values, scratch)
}

/// Workspace of [`subspace`].
pub fn subspace_workspace(shape: &Shape) -> WorkspaceSize {
    let of = |a: usize, b: usize| WorkspaceSize::of::<f64>(a.saturating_mul(b));
    let (p, l) = (shape.rows, shape.columns);
    let tilted = of(p, 1).and(of(p, 1)).and(Tilting::workspace(shape)).and(Frame::of_base_workspace(shape));
    let size = natural_workspace(shape).or(tilted);
    size.and(of(l, 1)).and(of(l, 1)).and(of(l, l)).and(of(2, l)).and(tensors_workspace(shape, None).or(sampling_workspace(shape)))
}

fn sampling_workspace(shape: &Shape) -> WorkspaceSize {
    let of = |a: usize, b: usize| WorkspaceSize::of::<f64>(a.saturating_mul(b));
    let (l, block) = (shape.columns, block_rows(shape.columns));
    of(Draws::scratch(l), 1).and(of(block, l)).and(of(block, l)).and(of(block, 1)).and(of(l, l))
}

/// The largest of `u^T (E Z²) u` over the vectors u, of length 1: Z is the sampling error of M2, and
/// `E Z² = Σ_i e_i ((|y_i|² − 2) y_i y_i^T + I)`, e_i the variance of the weight of row i's draws, what M2 itself takes off left out.
fn sampling(draws: &Draws<'_>, frame: &Frame<'_>, vectors: &[f64], ctx: Context, mut ws: Workspace<'_>) -> Result<f64> {
    let (l, r, block) = (frame.columns, frame.rank, block_rows(frame.columns));
    let scratch = ws.f64s(Draws::scratch(l))?;
    let (columns, y, weights) = (ws.f64s(block * l)?, ws.f64s(block * l)?, ws.f64s(block)?);
    let squares = &mut ws.f64s(l * l)?[..r * r];
    draws.for_each_block(frame.mean, scratch, |x, _, e| {
        latent_rows(ctx, frame, x, columns, y);
        let y = &y[..x.rows * r];
        for ((w, e), y) in weights.iter_mut().zip(e).zip(y.chunks_exact(r)) {
            *w = e * (dot(y, y) - 2.0);
        }
        simd::gram(ctx.isa, Rows { values: y, rows: x.rows, columns: r, stride: r }, &weights[..x.rows], squares);
    });
    symmetrize(squares, r);
    let along = |u: &[f64]| u.iter().zip(squares.chunks_exact(r)).map(|(a, row)| a * dot(row, u)).sum::<f64>();
    let most = vectors.chunks_exact(r).map(along).fold(f64::NEG_INFINITY, f64::max) + draws.error_mass();
    Ok(if most.is_finite() { most.max(0.0) } else { f64::INFINITY })
}

/// The subspace of the atoms. `mean_atom` (L): the mean atom `Σ_k α_k θ_k`; `eigenvalues` (r, decreasing) and `directions` (r × L): atoms
/// are, as far as second moments tell, `mean_atom + Σ_j c_j directions[j]` with c_j of mean 0 and variance `eigenvalues[j]`, j up to K − 1.
///
/// `tilt` τ ≥ 0: 0 is section 6 as it stands; above 0 the base measure is centred at the one-class fit and rows and draws are weighted by
/// `e^{−τ d²/2}`, which makes the profile far clearer where `e^{|θ|²}` is not small beside p (eigenvalues are then in units of the tilted
/// frame, about `1 / (1 + τ)` of those in whitened features). Cost: p L² / 2, as much and p L r twice on the observed rows, and for a tilt
/// a fit of one class.
///
/// # Errors
/// `Unsupported` unless choices are counts over one choice set; `InvalidOption`, `Shape`, `IllPosed` without identified features.
pub fn subspace(
    data: &Data<'_>,
    wh: &Whitening<'_>,
    tilt: f64,
    mean_atom: &mut [f64],
    eigenvalues: &mut [f64],
    directions: &mut [f64],
    ctx: Context,
    mut ws: Workspace<'_>,
) -> Result<SubspaceReport> {
    let (l, r, p) = (data.features().columns(), wh.rank, data.features().rows());
    let lengths = [("whitening", l, wh.columns), ("mean_atom", l, mean_atom.len()), ("eigenvalues", r, eigenvalues.len())];
    for (name, needed, given) in lengths.into_iter().chain([("directions", r * l, directions.len())]) {
        if needed != given {
            return Err(Error::shape(name, needed, given));
        }
    }
    if !(tilt >= 0.0 && tilt.is_finite()) {
        return Err(Error::new(ErrorKind::InvalidOption, "tilt"));
    }
    if r == 0 {
        return Err(Error::new(ErrorKind::IllPosed, "features"));
    }
    let plain = Draws::new(data)?;
    ws.require(subspace_workspace(&data.shape()))?;
    let mut ws = ws.scope();
    let (first, vectors, scratch) = (&mut ws.f64s(l)?[..r], &mut ws.f64s(l * l)?[..r * r], ws.f64s(2 * l)?);
    let (frame, draws) = if tilt == 0.0 {
        (natural(data, wh, ctx, &mut ws)?, plain)
    } else {
        let (log_weights, log_base) = (ws.f64s(p)?, ws.f64s(p)?);
        let tilting = Tilting::new(data, wh, ctx, &mut ws)?;
        tilting.tilt(tilt, log_weights, log_base);
        (Frame::of_base(data, wh, log_base, tilting.center, ctx, &mut ws)?, Draws::weighted(data, log_weights)?)
    };
    covariance_of_atoms(&draws, &frame, first, eigenvalues, vectors, scratch, ctx, ws.scope())?;
    frame.to_atom(first, mean_atom);
    for (v, out) in vectors.chunks_exact(r).zip(directions.chunks_exact_mut(l)) {
        frame.pull(v, out);
    }
    let noise = f64::max(-2.0 * eigenvalues[r - 1], 3.0 * libm::sqrt(sampling(&draws, &frame, vectors, ctx, ws)?));
    let suggested_classes = 1 + eigenvalues.iter().filter(|e| **e > noise).count();
    Ok(SubspaceReport { suggested_classes, noise, draws: draws.effective_size() })
}
