//! Where to start: random atoms in whitened features, and random partitions of the units.

use crate::data::Data;
use crate::em::{Em, MStep};
use crate::error::Result;
use crate::parallel::Context;
use crate::whiten::Whitening;
use rand::{Rng, seq::SliceRandom};
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;

/// How a start was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StartKind {
    /// By the caller.
    Given,
    /// The fit of one class, from atoms at zero.
    Zero,
    /// Random atoms in whitened features, equal weights.
    Random,
    /// A random partition of the units, each class fitted to its own.
    Partition,
}

impl StartKind {
    /// The kind in a word.
    pub const fn name(self) -> &'static str {
        match self {
            StartKind::Given => "given",
            StartKind::Zero => "zero",
            StartKind::Random => "random",
            StartKind::Partition => "partition",
        }
    }
}

/// The random stream of one start: seeds and starts give independent streams, the same on every platform.
fn stream(seed: u64, start: usize) -> Pcg64 {
    Pcg64::new(u128::from(seed), start as u128)
}

/// Random atoms: in whitened features normal, of a norm between a half and two and a half; equal weights. `beta`: r numbers.
pub(crate) fn random(wh: &Whitening<'_>, seed: u64, start: usize, weights: &mut [f64], atoms: &mut [f64], beta: &mut [f64]) {
    let mut random = stream(seed, start);
    let classes = weights.len();
    weights.fill(1.0 / classes as f64);
    let norm: f64 = random.random_range(0.5..2.5);
    for atom in atoms.chunks_exact_mut(wh.columns) {
        let beta = &mut beta[..wh.rank];
        let mut square = 0.0;
        for b in beta.iter_mut() {
            *b = random.sample(StandardNormal);
            square += *b * *b;
        }
        let scale = norm / libm::sqrt(f64::max(square, f64::MIN_POSITIVE));
        beta.iter_mut().for_each(|b| *b *= scale);
        wh.unwhiten_atom(beta, atom);
    }
}

/// Random partitions of the units into classes of equal size, one for every start from `first` on; each class takes one Newton step
/// from zero towards the fit of its own units. Of units in compressed rows only. `order`: U numbers.
#[allow(clippy::too_many_arguments)]
pub(crate) fn partitions(
    em: &mut Em<'_>,
    data: &Data<'_>,
    wh: &Whitening<'_>,
    ridge: f64,
    form: MStep,
    seed: u64,
    first: usize,
    weights: &mut [f64],
    atoms: &mut [f64],
    order: &mut [usize],
    ctx: Context,
) -> Result<()> {
    let (c, classes) = (em.ev.columns(), em.ev.classes);
    em.ev.r.fill(0.0);
    for start in 0..em.ev.starts {
        for (u, o) in order.iter_mut().enumerate() {
            *o = u;
        }
        order.shuffle(&mut stream(seed, first + start));
        for (j, u) in order.iter().enumerate() {
            em.ev.r[u * c + start * classes + j % classes] = 1.0;
        }
    }
    atoms[..c * wh.columns].fill(0.0);
    em.ev.normalizers(data, &atoms[..c * wh.columns], true, ctx)?;
    em.ev.choices(data, None, ctx)?;
    em.ev.means(data, ctx);
    em.update_weights(data, weights);
    em.update_atoms(data, wh, ridge, form, atoms, ctx)
}
