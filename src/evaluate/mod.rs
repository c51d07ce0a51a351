//! One evaluation of the model, section 2 of the mathematics, and the second-order quantities of section 4.
//!
//! Everything else in the crate (EM, the optimisers, standard errors, starts) goes through the state and the passes of this
//! module; the functions here are its public face. They allocate nothing.

mod choices;
mod copy;
mod counts;
pub(crate) mod curvature;
mod draws;
mod found;
mod groups;
mod layout;
pub(crate) mod once;
mod one;
mod panel;
pub(crate) mod passes;
mod posterior;
mod rows;
mod sampled;
mod scores;
mod split;
mod sums;
mod sweep;
mod tasks;
mod units;

pub(crate) use draws::Draws;
pub(crate) use layout::{block_rows, blocks, grouped_rows, set_groups};
pub(crate) use passes::Evaluation;
pub(crate) use sampled::{sample_rows, sample_scratch, sample_serves};
pub(crate) use scores::unit_scratch;
pub(crate) use sweep::{Beside, keeps_features};

use crate::data::{Data, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::linalg::dot;
use crate::mixture::MixtureRef;
use crate::parallel::Context;
use crate::reduce::Operation;
use crate::workspace::{Workspace, WorkspaceSize};

/// The ridge penalty `½ λ Σ_k θ_k^T Σ θ_k`, with Σ the mean covariance of the features inside choice sets.
#[derive(Clone, Copy, Debug)]
pub struct Penalty<'a> {
    /// λ, in observations.
    pub ridge: f64,
    /// Σ, L × L; see [`crate::whiten::within_covariance`].
    pub covariance: &'a [f64],
}

impl<'a> Penalty<'a> {
    fn check(&self, columns: usize) -> Result<()> {
        if !(self.ridge >= 0.0 && self.ridge.is_finite()) {
            return Err(Error::new(ErrorKind::InvalidOption, "ridge"));
        }
        match self.covariance.len() == columns * columns {
            true => Ok(()),
            false => Err(Error::shape("covariance", columns * columns, self.covariance.len())),
        }
    }

    /// What ranks must agree on.
    fn numbers(self) -> impl Iterator<Item = f64> + 'a {
        let covariance = if self.ridge > 0.0 { self.covariance } else { &[] };
        covariance.iter().copied().chain([self.ridge])
    }

    /// `½ λ θ^T Σ θ` of one atom; takes `λ Σ θ` off `gradient`.
    fn apply(&self, atom: &[f64], gradient: &mut [f64]) -> f64 {
        let mut value = 0.0;
        for ((row, a), g) in self.covariance.chunks_exact(atom.len()).zip(atom).zip(gradient) {
            let st = dot(row, atom);
            value += 0.5 * self.ridge * a * st;
            *g -= self.ridge * st;
        }
        value
    }
}

/// Where [`evaluate`] writes what is asked for.
#[derive(Debug, Default)]
pub struct EvaluateOutput<'a> {
    /// Log-likelihood of every unit, `log Σ_k α_k P(u | k)`, U numbers.
    pub unit_log_likelihoods: Option<&'a mut [f64]>,
    /// Responsibilities `r_uk`, U × K, unit after unit.
    pub responsibilities: Option<&'a mut [f64]>,
    /// Gradient of ℓ in the log-odds of the weights, `Σ_u w_u r_uk − α_k Σ_u w_u`, K numbers.
    pub weight_gradient: Option<&'a mut [f64]>,
    /// Gradient of the penalised ℓ in the atoms, `X^T (Ω − t ∘ A) − λ Σ θ`, K × L.
    pub atom_gradient: Option<&'a mut [f64]>,
}

impl EvaluateOutput<'_> {
    fn check(&self, shape: &Shape, classes: usize) -> Result<()> {
        let check = |name, slice: &Option<&mut [f64]>, n: Option<usize>| match (slice, n) {
            (Some(_), None) => Err(Error::new(ErrorKind::Overflow, name)),
            (Some(s), Some(n)) if s.len() != n => Err(Error::shape(name, n, s.len())),
            _ => Ok(()),
        };
        check("unit_log_likelihoods", &self.unit_log_likelihoods, Some(shape.units))?;
        check("responsibilities", &self.responsibilities, shape.units.checked_mul(classes))?;
        check("weight_gradient", &self.weight_gradient, Some(classes))?;
        check("atom_gradient", &self.atom_gradient, classes.checked_mul(shape.columns))
    }
}

/// The value of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value {
    /// `ℓ = Σ_u w_u log Σ_k α_k P(u | k)`, without multinomial coefficients.
    pub log_likelihood: f64,
    /// `ℓ − ½ λ Σ_k θ_k^T Σ θ_k`.
    pub penalized_log_likelihood: f64,
}

/// Workspace of [`evaluate`] for K classes.
pub fn evaluate_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
    let of = WorkspaceSize::of::<f64>;
    let of_units = of(if shape.units_are_rows { 0 } else { shape.units });
    let size = Evaluation::workspace(shape, classes, 1).and(of(classes)).and(of(classes.saturating_mul(shape.columns))).and(of_units);
    shape.as_counts().map_or(size, |all| size.or(of(all.rows).and(evaluate_workspace(&all, classes))))
}

/// Log-likelihood, responsibilities and gradient at a mixture: section 2. Outputs are written only when all is well.
///
/// Cost: two reads of X, `2 p L K` to `2.5 p L K` products, and `p K` exponentials; where less than an eighth of a large choice set was chosen
/// the second read is of observed rows alone, and small choice sets whose units stand in order are read once. Without `atom_gradient`, of data
/// that are no part of a whole, one read, `p L K` products, and the same log-likelihoods and responsibilities, bit for bit.
///
/// # Errors
/// `Shape` for an output of the wrong length, `NotFinite` where logits, the penalty or the gradient, if it is asked for, overflow, `Workspace`.
pub fn evaluate(
    data: &Data<'_>,
    mixture: MixtureRef<'_>,
    penalty: Option<Penalty<'_>>,
    ctx: Context,
    out: EvaluateOutput<'_>,
    mut ws: Workspace<'_>,
) -> Result<Value> {
    let (shape, k) = (data.shape(), mixture.classes());
    let (l, u) = (shape.columns, shape.units);
    let check = || {
        check_mixture(data, mixture)?;
        penalty.map_or(Ok(()), |p| p.check(l))?;
        out.check(&shape, k)?;
        ws.require(evaluate_workspace(&shape, k))
    };
    data.open(check(), Operation::Evaluate, ctx.isa, mixture.numbers().chain(penalty.into_iter().flat_map(Penalty::numbers)))?;
    let wanted = out.unit_log_likelihoods.is_some() || out.responsibilities.is_some();
    // Ranks do the same, whatever each is asked for.
    let counts = if !wanted && !data.is_part() && data.are_counts() { Some(data.as_counts(ws.f64s(shape.rows)?)?) } else { None };
    let data = counts.as_ref().unwrap_or(data);
    let shape = data.shape();
    let mut ev = Evaluation::new(shape, k, 1, &mut ws)?;
    ev.is_alone();
    let row = ws.f64s(k)?;
    let gradient = ws.f64s(k * l)?;
    if out.unit_log_likelihoods.is_some() && !shape.units_are_rows {
        ev.keep_log_likelihoods(ws.f64s(u)?);
    }
    // What is found of units is kept by itself; of rows, from the probabilities.
    let probabilities = wanted && (shape.units_are_rows || data.splits_units());
    let sums = out.atom_gradient.is_some() || data.is_part();
    let evaluated = match (sums, probabilities) {
        (false, _) => ev.evaluate_value(data, mixture.weights, mixture.atoms, probabilities, ctx),
        (true, true) => ev.evaluate(&data.told_by_sums(), mixture.weights, mixture.atoms, ctx),
        (true, false) => ev.evaluate_alone(&data.told_by_sums(), mixture.weights, mixture.atoms, ctx),
    };
    if sums {
        ev.atom_gradient(gradient);
    }
    data.look(evaluated, |_| gradient.iter().all(|g| g.is_finite()))?;
    let penalty: f64 =
        penalty.map_or(0.0, |p| mixture.atoms.chunks_exact(l).zip(gradient.chunks_exact_mut(l)).map(|(a, g)| p.apply(a, g)).sum());
    finite("penalty", &[penalty])?;
    if sums {
        finite("gradient", gradient)?;
    }
    // A unit of which other ranks have a part is worked out by all ranks or none.
    let joined = data.splits_units() && data.any(wanted);
    if joined {
        ev.join_units(data)?;
    }
    // Nothing is reduced from here on, and nothing fails: what is found is written.
    if let Some(g) = out.atom_gradient {
        g.copy_from_slice(gradient);
    }
    if let Some(g) = out.weight_gradient {
        for ((g, n), w) in g.iter_mut().zip(&*ev.class_weight).zip(mixture.weights) {
            *g = n - w * data.total_weight();
        }
    }
    let (log_likelihoods, r) = (out.unit_log_likelihoods.unwrap_or(&mut []), out.responsibilities.unwrap_or(&mut []));
    if shape.units_are_rows && wanted {
        ev.posterior_of_rows(data, mixture.weights, r, log_likelihoods, ctx);
    } else if joined {
        for u in 0..u {
            let value = ev.joined_responsibilities(mixture.weights, u, row);
            if let Some(out) = log_likelihoods.get_mut(u) {
                *out = value;
            }
            if let Some(out) = r.get_mut(u * k..(u + 1) * k) {
                out.copy_from_slice(row);
            }
        }
    } else {
        let n = r.len();
        r.copy_from_slice(&ev.r[..n]);
        log_likelihoods.copy_from_slice(&ev.log_likelihoods[..log_likelihoods.len()]);
    }
    Ok(Value { log_likelihood: ev.value[0], penalized_log_likelihood: ev.value[0] - penalty })
}

/// Workspace of [`observed_information`] and [`score_products`] for K classes.
pub fn information_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
    let d = parameters(shape, classes);
    Evaluation::workspace(shape, classes, 1)
        .and(Evaluation::information_workspace(shape, classes).or(Evaluation::score_workspace(shape, classes, None)))
        .and(WorkspaceSize::of::<f64>(d.saturating_mul(d)))
}

/// The length of packed parameters, `D = K − 1 + K L`.
fn parameters(shape: &Shape, classes: usize) -> usize {
    classes.saturating_mul(shape.columns.saturating_add(1)).saturating_sub(1)
}

/// Minus the Hessian of the penalised ℓ (Louis 1982): complete-data information less the covariance, under the responsibilities, of
/// the complete-data scores. D × D with D = K − 1 + K L: the log-odds against the last class, then the atoms, class after class.
///
/// Cost: `p L² K / 2 + U (K L)² / 2`, of counts over one choice set `p L² K (K + 1) / 4`. `out` is written only when all is well.
///
/// # Errors
/// What is wrong with the mixture or the penalty, `Shape` for an output of the wrong length, `NotFinite` where logits overflow or second
/// derivatives do, `Workspace`.
pub fn observed_information(
    data: &Data<'_>,
    mixture: MixtureRef<'_>,
    penalty: Option<Penalty<'_>>,
    ctx: Context,
    out: &mut [f64],
    mut ws: Workspace<'_>,
) -> Result<()> {
    let (k, l) = (mixture.classes(), data.features().columns());
    let checked = penalty.map_or(Ok(()), |p| p.check(l));
    let size = information_workspace(&data.shape(), k);
    let numbers = &mut penalty.into_iter().flat_map(Penalty::numbers);
    let mut ev = at_mixture(data, mixture, numbers, ctx, checked, Operation::Information, out.len(), size, &mut ws)?;
    let found = ws.f64s(out.len())?;
    ev.information(data, mixture.weights, found, ctx, ws)?;
    if let Some(p) = penalty {
        let (e, d) = (k - 1, k - 1 + k * l);
        for j in 0..k {
            for (a, row) in p.covariance.chunks_exact(l).enumerate() {
                let at = e + j * l;
                found[(at + a) * d + at..][..l].iter_mut().zip(row).for_each(|(o, c)| *o += p.ridge * c);
            }
        }
    }
    finite("information", found)?;
    out.copy_from_slice(found);
    Ok(())
}

/// Derivatives and penalties may be beyond the range of numbers where the log-likelihood is not.
fn finite(name: &'static str, values: &[f64]) -> Result<()> {
    match values.iter().all(|x| x.is_finite()) {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::NotFinite, name)),
    }
}

/// The middle of the sandwich, `Σ_u w_u^q s_u s_u^T` with unit scores s_u, D × D: q = 1 where weights are frequencies, 2 where they
/// are sampling weights. `out` is written only when all is well.
///
/// Cost: `p K L + U (K L)² / 2`.
///
/// # Errors
/// Those of [`observed_information`], but for the penalty's.
pub fn score_products(
    data: &Data<'_>,
    mixture: MixtureRef<'_>,
    sampling: bool,
    ctx: Context,
    out: &mut [f64],
    mut ws: Workspace<'_>,
) -> Result<()> {
    let size = information_workspace(&data.shape(), mixture.classes());
    let kind = &mut [f64::from(u8::from(sampling))].into_iter();
    let ev = at_mixture(data, mixture, kind, ctx, Ok(()), Operation::ScoreProducts, out.len(), size, &mut ws)?;
    let found = ws.f64s(out.len())?;
    ev.score_products(data, mixture.weights, None, (sampling, 1.0), found, ctx, ws)?;
    finite("products", found)?;
    out.copy_from_slice(found);
    Ok(())
}

/// Workspace of [`hessian_vector`] for K classes.
pub fn hessian_vector_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
    let found = WorkspaceSize::of::<f64>(parameters(shape, classes));
    Evaluation::workspace(shape, classes, 1).and(Evaluation::hessian_vector_workspace(shape, classes)).and(found)
}

/// The Hessian of the unpenalised ℓ times `v`, both in the packed parameters of [`observed_information`]: the passes of two
/// evaluations, and no L × L matrix. `out` is written only when all is well.
///
/// # Errors
/// What is wrong with the mixture, `Shape` for `v` or an output of the wrong length, `NotFinite` for an entry of `v` that is, and where
/// logits or the product overflow, `Workspace`.
pub fn hessian_vector(
    data: &Data<'_>,
    mixture: MixtureRef<'_>,
    v: &[f64],
    ctx: Context,
    out: &mut [f64],
    mut ws: Workspace<'_>,
) -> Result<()> {
    let d = parameters(&data.shape(), mixture.classes());
    let lengths = [("v", v.len()), ("out", out.len())];
    let checked = match (lengths.iter().find(|(_, n)| *n != d), v.iter().position(|v| !v.is_finite())) {
        (Some((name, n)), _) => Err(Error::shape(name, d, *n)),
        (None, Some(i)) => Err(Error::new(ErrorKind::NotFinite, "v").at(i)),
        (None, None) => Ok(()),
    };
    let size = hessian_vector_workspace(&data.shape(), mixture.classes());
    let mut ev =
        at_mixture(data, mixture, &mut v.iter().copied(), ctx, checked, Operation::HessianVector, d.saturating_mul(d), size, &mut ws)?;
    let found = ws.f64s(d)?;
    ev.hessian_vector(data, mixture.weights, v, found, ctx, ws)?;
    finite("product", found)?;
    out.copy_from_slice(found);
    Ok(())
}

/// The evaluation at a mixture, of an operation that is said to write `len` numbers; `others`: the numbers beside the mixture that must be
/// the same on all ranks.
fn at_mixture<'w>(
    data: &Data<'_>,
    mixture: MixtureRef<'_>,
    others: &mut dyn Iterator<Item = f64>,
    ctx: Context,
    checked: Result<()>,
    operation: Operation,
    len: usize,
    size: WorkspaceSize,
    ws: &mut Workspace<'w>,
) -> Result<Evaluation<'w>> {
    let check = || {
        check_mixture(data, mixture)?;
        checked?;
        let d = parameters(&data.shape(), mixture.classes());
        match d.checked_mul(d) {
            Some(n) if n == len => ws.require(size),
            Some(n) => Err(Error::shape("out", n, len)),
            None => Err(Error::new(ErrorKind::Overflow, "out")),
        }
    };
    data.open(check(), operation, ctx.isa, mixture.numbers().chain(others))?;
    let mut ev = Evaluation::new(data.shape(), mixture.classes(), 1, ws)?;
    ev.evaluate(data, mixture.weights, mixture.atoms, ctx)?;
    Ok(ev)
}

pub(crate) fn check_mixture(data: &Data<'_>, mixture: MixtureRef<'_>) -> Result<()> {
    MixtureRef::new(mixture.weights, mixture.atoms, data.features().columns()).map(|_| ())
}
