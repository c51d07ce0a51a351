//! What a fitted mixture says: posterior classes of units, and choice probabilities of alternatives.

use crate::data::{Data, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::evaluate::{Evaluation, check_mixture};
use crate::mixture::MixtureRef;
use crate::parallel::Context;
use crate::reduce::Operation;
use crate::workspace::{Workspace, WorkspaceSize};
#[cfg(feature = "alloc")]
use {
    crate::evaluate::{EvaluateOutput, evaluate, evaluate_workspace},
    crate::workspace::{WorkspaceBuffer, owned},
    alloc::vec::Vec,
};

/// Workspace of [`choice_probabilities`] for K classes.
pub fn choice_probabilities_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
    Evaluation::probabilities_workspace(shape, classes)
}

/// Choice probabilities of every alternative inside its choice set: `by_class` (p × K, row after row) `A_ik`, and `mixed` (p)
/// `π_i = Σ_k α_k A_ik`; either may be absent. For the posterior classes of units see [`crate::evaluate::evaluate`].
///
/// Cost: one read of X. Only features, offsets and choice sets of `data` matter: for alternatives that nobody has chosen from yet, one
/// choice of one that is available serves.
///
/// # Errors
/// What is wrong with the mixture, `Shape` for outputs of the wrong length, `NotFinite` where logits overflow, `Workspace`.
pub fn choice_probabilities(
    data: &Data<'_>,
    mixture: MixtureRef<'_>,
    by_class: Option<&mut [f64]>,
    mixed: Option<&mut [f64]>,
    ctx: Context,
    mut ws: Workspace<'_>,
) -> Result<()> {
    let (shape, k) = (data.shape(), mixture.classes());
    let p = shape.rows;
    let check = || {
        check_mixture(data, mixture)?;
        let pk = p.checked_mul(k).ok_or(Error::new(ErrorKind::Overflow, "by_class"))?;
        if let Some(b) = by_class.as_ref().filter(|b| b.len() != pk) {
            return Err(Error::shape("by_class", pk, b.len()));
        }
        if let Some(m) = mixed.as_ref().filter(|m| m.len() != p) {
            return Err(Error::shape("mixed", p, m.len()));
        }
        ws.require(choice_probabilities_workspace(&shape, k))
    };
    data.open(check(), Operation::Probabilities, ctx.isa, mixture.numbers())?;
    let mut ev = Evaluation::of_probabilities(shape, k, &mut ws)?;
    ev.normalizers_alone(data, mixture.atoms, ctx)?;
    ev.probabilities_of_rows(data, mixture.weights, by_class.unwrap_or(&mut []), mixed.unwrap_or(&mut []), ctx);
    Ok(())
}

/// What [`choice_probabilities`] says, owned.
#[cfg(feature = "alloc")]
#[derive(Clone, Debug)]
pub struct ChoiceProbabilities {
    /// `A_ik`, p × K, row after row.
    pub by_class: Vec<f64>,
    /// `π_i`, p.
    pub mixed: Vec<f64>,
}

#[cfg(feature = "alloc")]
impl ChoiceProbabilities {
    /// [`choice_probabilities`] with memory of its own. Cost: one read of X.
    ///
    /// # Errors
    /// Those of [`choice_probabilities`].
    pub fn new(data: &Data<'_>, mixture: MixtureRef<'_>, ctx: Context) -> Result<Self> {
        let (shape, k) = (data.shape(), mixture.classes());
        let room = || -> Result<_> {
            let memory = WorkspaceBuffer::new(choice_probabilities_workspace(&shape, k))?;
            Ok((memory, owned("by_class", shape.rows.saturating_mul(k), 0.0)?, owned("mixed", shape.rows, 0.0)?))
        };
        let (mut memory, mut by_class, mut mixed) = room().map_err(|e| data.report(e))?;
        choice_probabilities(data, mixture, Some(&mut by_class), Some(&mut mixed), ctx, memory.lend())?;
        Ok(ChoiceProbabilities { by_class, mixed })
    }
}

/// The posterior classes of units, from [`evaluate`], owned.
#[cfg(feature = "alloc")]
#[derive(Clone, Debug)]
pub struct Posterior {
    /// Responsibilities `r_uk`, the probability that unit u is of class k, U × K, unit after unit.
    pub responsibilities: Vec<f64>,
    /// The log-likelihood of every unit, U.
    pub log_likelihoods: Vec<f64>,
}

#[cfg(feature = "alloc")]
impl Posterior {
    /// Responsibilities and log-likelihoods with memory of their own. Cost: an evaluation without the gradient.
    ///
    /// # Errors
    /// Those of [`evaluate`].
    pub fn new(data: &Data<'_>, mixture: MixtureRef<'_>, ctx: Context) -> Result<Self> {
        let (shape, k) = (data.shape(), mixture.classes());
        let room = || -> Result<_> {
            let memory = WorkspaceBuffer::new(evaluate_workspace(&shape, k))?;
            let responsibilities = owned("responsibilities", shape.units.saturating_mul(k), 0.0)?;
            Ok((memory, responsibilities, owned("unit_log_likelihoods", shape.units, 0.0)?))
        };
        let (mut memory, mut responsibilities, mut log_likelihoods) = room().map_err(|e| data.report(e))?;
        let out = EvaluateOutput {
            responsibilities: Some(&mut responsibilities),
            unit_log_likelihoods: Some(&mut log_likelihoods),
            ..EvaluateOutput::default()
        };
        evaluate(data, mixture, None, ctx, out, memory.lend())?;
        Ok(Posterior { responsibilities, log_likelihoods })
    }
}
