//! Standard errors and covariances of atoms and mixing weights, from the observed information and from the sandwich, section 4.
//!
//! The information is inverted in log-odds and whitened atoms, where collinear features leave no null space; atoms go back by `θ = T β`,
//! weights by the delta method, `∂α_k / ∂η_j = α_k (δ_jk − α_j)`. A standard error is NaN where it is not defined: of a feature that is not
//! identified, of a class that is empty, of what is beyond the range of f64, or of everything when the information is not positive definite
//! or is so by rounding alone: a pivot of its Cholesky factorisation is no more than `1e-13 D` of the complete-data information there.
//! Those of classes that run off are numbers without a meaning, large ones from the information and small ones where they are robust: leave
//! them out.

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
    let p = k.saturating_mul(l.saturating_add(1));
    let pp = of(p.saturating_mul(p));
    let mixture = of(k).and(of(k.saturating_mul(l)));
    let whitened = of(l.saturating_mul(l)).and(of(l.saturating_mul(l))).and(of(k.saturating_mul(l.saturating_mul(l)))).and(of(p));
    let inner = linalg::cholesky_workspace(p).or(Evaluation::inference_workspace_up_to(shape, k));
    Evaluation::workspace(shape, k, 1).and(mixture).and(pp).and(pp).and(pp).and(pp).and(whitened).and(inner)
}

/// Workspace of [`covariance`] for K classes.
pub fn covariance_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
    standard_errors_workspace(shape, classes)
}

/// The classes that are not empty, which carry no information: the others alone make the mixture here.
fn live(mixture: MixtureRef<'_>) -> impl Iterator<Item = usize> + Clone {
    (0..mixture.classes()).filter(move |&j| !is_empty_class(mixture.weights[j]))
}

/// What is asked, beside the mixture.
struct Question<'a> {
    whitening: &'a Whitening<'a>,
    ridge: f64,
    variance: Variance,
    operation: Operation,
    /// What is wrong with where the answer goes.
    checked: Result<()>,
}

/// The covariance of weights and atoms of the live classes, P × P; NaN where it is not defined.
fn covariance_of_live<'w>(
    data: &Data<'_>,
    question: Question<'_>,
    mixture: MixtureRef<'_>,
    ctx: Context,
    mut ws: Workspace<'w>,
) -> Result<&'w [f64]> {
    let Question { whitening, ridge, variance, operation, checked } = question;
    let (shape, l, r) = (data.shape(), data.features().columns(), whitening.rank);
    let check = || {
        check_mixture(data, mixture)?;
        checked?;
        if !(ridge >= 0.0 && ridge.is_finite()) {
            return Err(Error::new(ErrorKind::InvalidOption, "ridge"));
        }
        if whitening.columns != l {
            return Err(Error::shape("whitening", l, whitening.columns));
        }
        ws.require(standard_errors_workspace(&shape, mixture.classes()))
    };
    let arguments = mixture.numbers().chain(whitening.numbers()).chain([ridge, f64::from(variance as u8)]);
    data.open(check(), operation, ctx.isa, arguments)?;
    let m = live(mixture).count();
    let mut ev = Evaluation::new(shape, m, 1, &mut ws)?;
    let (alpha, theta) = (ws.f64s(m)?, ws.f64s(m * l)?);
    for (j, c) in live(mixture).enumerate() {
        alpha[j] = mixture.weights[c];
        theta[j * l..(j + 1) * l].copy_from_slice(&mixture.atoms[c * l..(c + 1) * l]);
    }
    let total: f64 = alpha.iter().sum();
    alpha.iter_mut().for_each(|a| *a /= total);
    ev.evaluate(data, alpha, theta, ctx)?;

    let (e, n, d, p) = (m - 1, m - 1 + m * l, m - 1 + m * r, m + m * l);
    let (found, packed, info, roots) = (ws.f64s(p * p)?, ws.f64s(p * n)?, ws.f64s(d * d)?, ws.f64s(p * d)?);
    let (block, half) = (ws.f64s(l * l)?, ws.f64s(l * l)?);
    // What the information is a part of: the diagonal of that of complete data, in log-odds and whitened atoms.
    let (complete, most) = (ws.f64s(m * l * l)?, ws.f64s(d)?);
    ev.information_beside(data, alpha, complete, &mut packed[..n * n], ctx, ws.scope())?;
    whiten_packed(whitening, ctx.isa, m, &packed[..n * n], info, block, half);
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
    // A pivot that should be 0 comes out as rounding.
    let rounding = ROUNDING * d as f64;
    let definite = linalg::cholesky(info, d, ws.scope())?
        && info.iter().step_by(d + 1).zip(&*most).all(|(pivot, most)| pivot * pivot > rounding * most);
    if !definite {
        found.fill(f64::NAN);
        return Ok(found);
    }
    // The derivatives x of every weight and atom by the packed whitened parameters.
    for (at, x) in roots.chunks_exact_mut(d.max(1)).enumerate() {
        match at.checked_sub(m) {
            None => {
                for (i, x) in x[..e].iter_mut().enumerate() {
                    *x = alpha[at] * (if i == at { 1.0 } else { 0.0 } - alpha[i]);
                }
            }
            Some(entry) => {
                for (x, t) in x[e + entry / l * r..].iter_mut().zip(whitening.to_atoms.chunks_exact(l)) {
                    *x = t[entry % l];
                }
            }
        }
    }
    match variance {
        Variance::Information => {
            // With the factor L of the information the covariance of two is `(L^-1 x)·(L^-1 x')`.
            roots.chunks_exact_mut(d.max(1)).for_each(|x| linalg::solve_lower(info, d, x));
            for (a, x) in roots.chunks_exact(d.max(1)).enumerate() {
                for (b, y) in roots.chunks_exact(d.max(1)).enumerate().take(a + 1) {
                    let covariance = dot(x, y);
                    (found[a * p + b], found[b * p + a]) = (covariance, covariance);
                }
            }
        }
        _ => {
            // The products of scores are taken along `y = I^-1 x`: where the information is nearly singular, the middle of the sandwich
            // between two such y would cancel.
            let total = data.total_weight();
            let sampling = variance == Variance::RobustSampling;
            let unit = if sampling { total } else { libm::sqrt(total) };
            packed.fill(0.0);
            for (y, out) in roots.chunks_exact_mut(d.max(1)).zip(packed.chunks_exact_mut(n)) {
                linalg::solve_cholesky(info, d, y);
                y.iter_mut().for_each(|y| *y *= unit);
                out[..e].copy_from_slice(&y[..e]);
                for (out, y) in out[e..].chunks_exact_mut(l).zip(y[e..].chunks_exact(r.max(1))) {
                    whitening.unwhiten_atom(y, out);
                }
            }
            ev.score_products(data, alpha, Some(packed), (sampling, total), found, ctx, ws)?;
        }
    }
    let undefined = |at: usize| at >= m && whitening.unidentified[(at - m) % l];
    for (i, x) in found.iter_mut().enumerate() {
        if undefined(i / p) || undefined(i % p) || !x.is_finite() {
            *x = f64::NAN;
        }
    }
    Ok(found)
}

/// Where the weights and atoms of the live classes stand among all.
fn places(mixture: MixtureRef<'_>, columns: usize) -> impl Iterator<Item = usize> + Clone {
    let k = mixture.classes();
    live(mixture).chain(live(mixture).flat_map(move |c| k + c * columns..k + (c + 1) * columns))
}

/// Standard errors of the mixing weights (K) and atoms (K × L) at a fitted mixture; NaN where they are not defined.
///
/// Cost: `p L² K / 2 + U (K L)² / 2 + P³` (counts over one choice set: `p L² K (K + 1) / 4 + P³`), with P = K + K L, and `3 U P² / 2` more
/// where they are robust. They are written only when all is well.
///
/// # Errors
/// What is wrong with the mixture, `Shape` for outputs or a whitening of the wrong length, `InvalidOption` for the ridge, `NotFinite` where
/// logits overflow, `Workspace`.
pub fn standard_errors(
    data: &Data<'_>,
    whitening: &Whitening<'_>,
    ridge: f64,
    mixture: MixtureRef<'_>,
    variance: Variance,
    weights: &mut [f64],
    atoms: &mut [f64],
    ctx: Context,
    ws: Workspace<'_>,
) -> Result<()> {
    let (k, l) = (mixture.classes(), data.features().columns());
    let checked = if weights.len() != k {
        Err(Error::shape("weights", k, weights.len()))
    } else if atoms.len() != k.saturating_mul(l) {
        Err(Error::shape("atoms", k.saturating_mul(l), atoms.len()))
    } else {
        Ok(())
    };
    let question = Question { whitening, ridge, variance, operation: Operation::StandardErrors, checked };
    let found = covariance_of_live(data, question, mixture, ctx, ws)?;
    weights.fill(f64::NAN);
    atoms.fill(f64::NAN);
    let p = places(mixture, l).count();
    for (at, variance) in places(mixture, l).zip(found.iter().step_by(p + 1)) {
        let error = if at < k { &mut weights[at] } else { &mut atoms[at - k] };
        *error = libm::sqrt(*variance);
    }
    Ok(())
}

/// The covariance matrix of the estimates at a fitted mixture, P × P with P = K + K L: the mixing weights, then the atoms, class after
/// class. NaN where it is not defined, as [`standard_errors`] are, which are the roots of its diagonal. Functions of the estimates have the
/// variance `g^T V g`, g their gradient; so the ratio of two features of an atom, a willingness to pay where one of them is a price.
///
/// Cost: that of [`standard_errors`]. It is written only when all is well.
///
/// # Errors
/// Those of [`standard_errors`], and `Overflow`.
pub fn covariance(
    data: &Data<'_>,
    whitening: &Whitening<'_>,
    ridge: f64,
    mixture: MixtureRef<'_>,
    variance: Variance,
    out: &mut [f64],
    ctx: Context,
    ws: Workspace<'_>,
) -> Result<()> {
    let (k, l) = (mixture.classes(), data.features().columns());
    let p = k.saturating_mul(l.saturating_add(1));
    let checked = match p.checked_mul(p) {
        Some(n) if n == out.len() => Ok(()),
        Some(n) => Err(Error::shape("covariance", n, out.len())),
        None => Err(Error::new(ErrorKind::Overflow, "covariance")),
    };
    let question = Question { whitening, ridge, variance, operation: Operation::EstimateCovariance, checked };
    let found = covariance_of_live(data, question, mixture, ctx, ws)?;
    out.fill(f64::NAN);
    for (a, row) in places(mixture, l).zip(found.chunks_exact(places(mixture, l).count())) {
        places(mixture, l).zip(row).for_each(|(b, covariance)| out[a * p + b] = *covariance);
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

/// What [`covariance`] says, owned.
#[cfg(feature = "alloc")]
#[derive(Clone, Debug)]
pub struct Covariance {
    /// P × P, P = K + K L: the mixing weights, then the atoms, class after class.
    pub matrix: Vec<f64>,
    /// P.
    pub parameters: usize,
}

#[cfg(feature = "alloc")]
impl Covariance {
    /// [`covariance`] with a whitening and memory of its own. Cost: theirs, and `p L² / 2` for the whitening.
    ///
    /// # Errors
    /// Those of [`covariance`] and of [`Whitening::new`].
    pub fn new(data: &Data<'_>, ridge: f64, mixture: MixtureRef<'_>, variance: Variance, ctx: Context) -> Result<Self> {
        let (shape, k) = (data.shape(), mixture.classes());
        let parameters = k.saturating_mul(shape.columns.saturating_add(1));
        let room = || -> Result<_> {
            let memory = WorkspaceBuffer::new(Whitening::workspace(&shape).and(covariance_workspace(&shape, k)))?;
            Ok((memory, owned("covariance", parameters.saturating_mul(parameters), f64::NAN)?))
        };
        let (mut memory, mut matrix) = room().map_err(|e| data.report(e))?;
        let mut ws = memory.lend();
        let whitening = Whitening::new(data, ctx.isa, &mut ws)?;
        covariance(data, &whitening, ridge, mixture, variance, &mut matrix, ctx, ws)?;
        Ok(Covariance { matrix, parameters })
    }
}
