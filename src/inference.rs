//! Standard errors of atoms and mixing weights, from the observed information and from the sandwich, section 4.
//!
//! The information is inverted in log-odds and whitened atoms, where collinear features leave no null space; atoms go back by `θ = T β`,
//! weights by the delta method, `∂α_k / ∂η_j = α_k (δ_jk − α_j)`. A standard error is NaN where it is not defined: of a feature that is not
//! identified, of a class that is empty, of what is beyond the range of f64, or of everything when the information is not positive definite
//! or is so by rounding alone: a pivot of its Cholesky factorisation is no more than `1e-13 D` of the complete-data information there.

use crate::data::{Data, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::evaluate::{Evaluation, check_mixture};
use crate::fit::is_empty_class;
use crate::linalg::{self, dot};
use crate::mixture::MixtureRef;
use crate::optimize::newton::whiten_packed;
use crate::parallel::Context;
use crate::reduce::Operation;
use crate::whiten::Whitening;
use crate::workspace::{Workspace, WorkspaceSize};
#[cfg(feature = "alloc")]
use {
    crate::workspace::{WorkspaceBuffer, owned},
    alloc::vec::Vec,
};

/// The share of the complete-data information that may be rounding, for every parameter that there is.
const ROUNDING: f64 = 1e-13;

/// Where the variance comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Variance {
    /// The inverse of the observed information: right when the model is.
    Information,
    /// The sandwich, weights being frequencies: `w` equal units stand behind a unit of weight w.
    Robust,
    /// The sandwich, weights being sampling weights: one unit stands behind each.
    RobustSampling,
}

/// Workspace of [`standard_errors`] for K classes.
pub fn standard_errors_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
    let of = WorkspaceSize::of::<f64>;
    let (l, k) = (shape.columns, classes);
    let d = k.saturating_mul(l.saturating_add(1));
    let dd = of(d.saturating_mul(d));
    let vectors = of(k).and(of(k.saturating_mul(l))).and(of(d)).and(of(d)).and(of(l.saturating_mul(l))).and(of(l.saturating_mul(l)));
    let vectors = vectors.and(of(k.saturating_mul(l.saturating_mul(l)))).and(of(d));
    let inner = linalg::cholesky_workspace(d).or(Evaluation::information_workspace_up_to(shape, k));
    Evaluation::workspace(shape, k, 1).and(dd).and(dd).and(dd).and(vectors).and(inner)
}

/// Standard errors of the mixing weights (K) and atoms (K × L) at a fitted mixture; NaN where they are not defined.
///
/// Cost: `p L² K / 2 + U (K L)² / 2 + D³` (counts over one choice set: `p L² K (K + 1) / 4 + D³`), with D = K − 1 + K L. They are written
/// only when all is well.
///
/// # Errors
/// `Shape` for outputs or a whitening of the wrong length, `InvalidOption` for the ridge, `NotFinite` where logits overflow, `Workspace`.
pub fn standard_errors(
    data: &Data<'_>,
    whitening: &Whitening<'_>,
    ridge: f64,
    mixture: MixtureRef<'_>,
    variance: Variance,
    weights: &mut [f64],
    atoms: &mut [f64],
    ctx: Context,
    mut ws: Workspace<'_>,
) -> Result<()> {
    let (shape, k, l, r) = (data.shape(), mixture.classes(), data.features().columns(), whitening.rank);
    let check = || {
        check_mixture(data, mixture)?;
        if weights.len() != k {
            return Err(Error::shape("weights", k, weights.len()));
        }
        if atoms.len() != k * l {
            return Err(Error::shape("atoms", k * l, atoms.len()));
        }
        if !(ridge >= 0.0 && ridge.is_finite()) {
            return Err(Error::new(ErrorKind::InvalidOption, "ridge"));
        }
        if whitening.columns != l {
            return Err(Error::shape("whitening", l, whitening.columns));
        }
        ws.require(standard_errors_workspace(&shape, k))
    };
    let arguments = mixture.numbers().chain(whitening.numbers()).chain([ridge, f64::from(variance as u8)]);
    data.open(check(), Operation::StandardErrors, ctx.isa, arguments)?;
    // Empty classes carry no information: the others alone make the mixture here.
    let live = || (0..k).filter(|&j| !is_empty_class(mixture.weights[j]));
    let m = live().count();
    let mut ev = Evaluation::new(shape, m, 1, &mut ws)?;
    let (alpha, theta) = (ws.f64s(m)?, ws.f64s(m * l)?);
    for (j, c) in live().enumerate() {
        alpha[j] = mixture.weights[c];
        theta[j * l..(j + 1) * l].copy_from_slice(&mixture.atoms[c * l..(c + 1) * l]);
    }
    let total: f64 = alpha.iter().sum();
    alpha.iter_mut().for_each(|a| *a /= total);
    ev.evaluate(data, alpha, theta, ctx)?;

    let (e, n, d) = (m - 1, m - 1 + m * l, m - 1 + m * r);
    let (packed, info, middle) = (ws.f64s(n * n)?, ws.f64s(d * d)?, ws.f64s(d * d)?);
    let (x, y) = (ws.f64s(n)?, ws.f64s(n)?);
    let (block, half) = (ws.f64s(l * l)?, ws.f64s(l * l)?);
    // What the information is a part of: the diagonal of that of complete data, in log-odds and whitened atoms.
    let (complete, most) = (ws.f64s(m * l * l)?, ws.f64s(d)?);
    ev.information_beside(data, alpha, complete, packed, ctx, ws.scope())?;
    whiten_packed(whitening, ctx.isa, m, packed, info, block, half);
    for (most, a) in most.iter_mut().zip(&alpha[..e]) {
        *most = data.total_weight() * a * (1.0 - a);
    }
    for (complete, most) in complete.chunks_exact(l * l).zip(most[e..].chunks_exact_mut(r.max(1))) {
        whitening.whiten_curvature(ctx.isa, complete, block, r, half);
        most.iter_mut().enumerate().for_each(|(a, most)| *most = block[a * (r + 1)] + ridge);
    }
    for j in e..d {
        info[j * d + j] += ridge;
    }
    let sampling = (variance == Variance::RobustSampling).then_some(data.total_weight());
    if variance != Variance::Information {
        ev.score_products(data, alpha, sampling, ctx.isa, packed, ws.scope())?;
        whiten_packed(whitening, ctx.isa, m, packed, middle, block, half);
    }
    // A pivot that should be 0 comes out as rounding.
    let rounding = ROUNDING * d as f64;
    let definite = linalg::cholesky(info, d, ws.scope())?
        && info.iter().step_by(d + 1).zip(&*most).all(|(pivot, most)| pivot * pivot > rounding * most);
    // Nothing fails from here on: what is found is written.
    weights.fill(f64::NAN);
    atoms.fill(f64::NAN);
    if !definite {
        return Ok(());
    }
    // The standard error of a linear combination x of the packed whitened parameters.
    let error_of = |x: &mut [f64], y: &mut [f64]| {
        let (x, y) = (&mut x[..d], &mut y[..d]);
        y.copy_from_slice(x);
        linalg::solve_cholesky(info, d, y);
        let variance: f64 = match variance {
            Variance::Information => dot(x, y),
            _ => {
                let unit = sampling.unwrap_or(1.0);
                y.iter_mut().for_each(|y| *y *= unit);
                (0..d).map(|a| y[a] * dot(&middle[a * d..(a + 1) * d], y)).sum()
            }
        };
        if variance.is_finite() { libm::sqrt(variance.max(0.0)) } else { f64::NAN }
    };
    for (j, c) in live().enumerate() {
        x.fill(0.0);
        for (i, x) in x[..e].iter_mut().enumerate() {
            *x = alpha[j] * (if i == j { 1.0 } else { 0.0 } - alpha[i]);
        }
        weights[c] = error_of(x, y);
        for feature in (0..l).filter(|&f| !whitening.unidentified[f]) {
            x.fill(0.0);
            for (a, t) in whitening.to_atoms.chunks_exact(l).enumerate() {
                x[e + j * r + a] = t[feature];
            }
            atoms[c * l + feature] = error_of(x, y);
        }
    }
    Ok(())
}

/// What [`standard_errors`] says, owned.
#[cfg(feature = "alloc")]
#[derive(Clone, Debug)]
pub struct StandardErrors {
    /// Of the mixing weights, K.
    pub weights: Vec<f64>,
    /// Of the atoms, K × L, class after class.
    pub atoms: Vec<f64>,
}

#[cfg(feature = "alloc")]
impl StandardErrors {
    /// [`standard_errors`] with a whitening and memory of its own. Cost: theirs, and `p L² / 2` for the whitening.
    ///
    /// # Errors
    /// Those of [`standard_errors`] and of [`Whitening::new`].
    pub fn new(data: &Data<'_>, ridge: f64, mixture: MixtureRef<'_>, variance: Variance, ctx: Context) -> Result<Self> {
        let (shape, k) = (data.shape(), mixture.classes());
        let room = || -> Result<_> {
            let memory = WorkspaceBuffer::new(Whitening::workspace(&shape).and(standard_errors_workspace(&shape, k)))?;
            Ok((memory, owned("weights", k, f64::NAN)?, owned("atoms", k.saturating_mul(shape.columns), f64::NAN)?))
        };
        let (mut memory, mut weights, mut atoms) = room().map_err(|e| data.report(e))?;
        let mut ws = memory.lend();
        let whitening = Whitening::new(data, ctx.isa, &mut ws)?;
        standard_errors(data, &whitening, ridge, mixture, variance, &mut weights, &mut atoms, ctx, ws)?;
        Ok(StandardErrors { weights, atoms })
    }
}
