//! Where to start: the kinds of starts, and the random streams they are drawn from.

mod cluster;
pub(crate) mod draws;
pub(crate) mod rows;
pub(crate) mod sample;
pub(crate) mod units;

use rand::Rng;
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
    /// Latent moments of order 3, by tensor.
    Moments,
    /// Latent moments corrected by the design.
    CorrectedMoments,
    /// In the subspace of the atoms: random atoms where second moments suggest it; where units make several choices, a clustering of the
    /// units by their estimates projected on the leading eigenvectors of the scores, each class fitted to its own.
    Subspace,
    /// A random partition of the units, each class fitted to its own.
    Partition,
    /// A clustering of the units by their estimates, each class fitted to its own.
    Cluster,
    /// The best fit so far, with one class taken away and put elsewhere, or with a few units moved.
    Relocate,
    /// A fit of one class less, with a class put somewhere.
    Grow,
}

impl StartKind {
    /// The kind in a word.
    pub const fn name(self) -> &'static str {
        match self {
            StartKind::Given => "given",
            StartKind::Zero => "zero",
            StartKind::Random => "random",
            StartKind::Moments => "moments",
            StartKind::CorrectedMoments => "corrected_moments",
            StartKind::Subspace => "subspace",
            StartKind::Partition => "partition",
            StartKind::Cluster => "cluster",
            StartKind::Relocate => "relocate",
            StartKind::Grow => "grow",
        }
    }
}

/// The random stream of one start: seeds and starts give independent streams, the same on every platform.
fn stream(seed: u64, start: usize) -> Pcg64 {
    Pcg64::new(u128::from(seed), start as u128)
}

/// A normal vector of the given norm.
fn direction(random: &mut Pcg64, norm: f64, out: &mut [f64]) {
    let mut square = 0.0;
    for b in out.iter_mut() {
        *b = random.sample(StandardNormal);
        square += *b * *b;
    }
    let scale = norm / libm::sqrt(f64::max(square, f64::MIN_POSITIVE));
    out.iter_mut().for_each(|b| *b *= scale);
}

pub(crate) fn square_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}
