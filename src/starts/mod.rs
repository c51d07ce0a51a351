//! Where to start: the kinds of starts, and the random streams they are drawn from.

mod cluster;
pub(crate) mod draws;
pub(crate) mod rows;
pub(crate) mod sample;
pub(crate) mod units;

use crate::data::Data;
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
    /// A clustering of the units by their estimates, or of the alternatives that were chosen, each class fitted to its own.
    Cluster,
    /// The best fit so far, with one class taken away and put elsewhere, with a few units moved, or with each class in halves until as many
    /// as there were are left.
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

/// The units of positive weight: of counts, the alternatives that were chosen.
fn weighing<'a>(data: &'a Data<'_>) -> impl Iterator<Item = usize> + 'a {
    (0..data.shape().units).filter(|&u| data.unit_weight(u) > 0.0)
}

/// A unit of positive weight, with probabilities proportional to `mass`; to its weight when all are 0.
fn pick(data: &Data<'_>, random: &mut Pcg64, mass: impl Fn(usize) -> f64) -> usize {
    let total: f64 = weighing(data).map(&mass).sum();
    let by = |u: usize| if total > 0.0 { mass(u) } else { data.unit_weight(u) };
    let mut left = random.random::<f64>() * if total > 0.0 { total } else { data.total_weight() };
    let mut last = 0;
    for u in weighing(data).filter(|&u| by(u) > 0.0) {
        left -= by(u);
        last = u;
        if left < 0.0 {
            break;
        }
    }
    last
}

pub(crate) fn square_distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x - y) * (x - y)).sum()
}
