//! What a fitted mixture says: posterior classes of units, and choice probabilities of alternatives.

use crate::data::{Data, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::evaluate::{Evaluation, check_mixture};
use crate::mixture::MixtureRef;
use crate::parallel::Context;
use crate::reduce::Operation;
use crate::workspace::{Workspace, WorkspaceSize};

/// Workspace of [`choice_probabilities`] for K classes.
pub fn choice_probabilities_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
    Evaluation::probabilities_workspace(shape, classes)
}

/// Choice probabilities of every alternative inside its choice set: `by_class` (p × K, row after row) `A_ik`, and `mixed` (p)
/// `π_i = Σ_k α_k A_ik`; either may be absent. For the posterior classes of units see [`crate::evaluate::evaluate`].
///
/// Cost: one read of X. Only features, offsets and choice sets of `data` matter: for alternatives that nobody has chosen from yet, one
/// choice of one that is available serves.
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
