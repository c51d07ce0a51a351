//! A softmax mixture: mixing weights on the simplex and one atom a class, in canonical order.

use crate::error::{Error, ErrorKind, Result};

/// A borrowed mixture: K weights, and K atoms of L numbers, class after class.
#[derive(Clone, Copy, Debug)]
pub struct MixtureRef<'a> {
    /// Mixing weights α, K numbers on the simplex.
    pub weights: &'a [f64],
    /// Atoms θ, K × L: the atom of class k is `atoms[k * L..(k + 1) * L]`.
    pub atoms: &'a [f64],
}

impl<'a> MixtureRef<'a> {
    /// Checks the lengths, that all numbers are finite, and that the weights are on the simplex to 1e-8.
    pub fn new(weights: &'a [f64], atoms: &'a [f64], columns: usize) -> Result<Self> {
        let classes = weights.len();
        if classes == 0 {
            return Err(Error::new(ErrorKind::Empty, "classes"));
        }
        match classes.checked_mul(columns) {
            Some(n) if n == atoms.len() => {}
            Some(n) => return Err(Error::shape("atoms", n, atoms.len())),
            None => return Err(Error::new(ErrorKind::Overflow, "atoms")),
        }
        for (k, w) in weights.iter().enumerate() {
            if !w.is_finite() {
                return Err(Error::new(ErrorKind::NotFinite, "weights").class(k));
            }
            if *w < 0.0 {
                return Err(Error::new(ErrorKind::Negative, "weights").class(k));
            }
        }
        if (weights.iter().sum::<f64>() - 1.0).abs() > 1e-8 {
            return Err(Error::new(ErrorKind::NotOnSimplex, "weights"));
        }
        if let Some(i) = atoms.iter().position(|a| !a.is_finite()) {
            return Err(Error::new(ErrorKind::NotFinite, "atoms").class(i / columns).column(i % columns));
        }
        Ok(MixtureRef { weights, atoms })
    }

    /// Checks a mixture of `classes` classes that is given as the argument `name`.
    pub(crate) fn check(self, columns: usize, classes: usize, name: &'static str) -> Result<()> {
        if self.classes() != classes {
            return Err(Error::shape(name, classes, self.classes()));
        }
        MixtureRef::new(self.weights, self.atoms, columns).map(|_| ()).map_err(|e| Error { argument: name, ..e })
    }

    /// Number of classes K.
    pub fn classes(&self) -> usize {
        self.weights.len()
    }

    /// Weights and atoms, one after the other.
    pub(crate) fn numbers(self) -> impl Iterator<Item = f64> + 'a {
        self.weights.iter().chain(self.atoms).copied()
    }
}

/// Writes to `order` (K) the classes by decreasing `weights` (K), ties by the `atoms` (K × L): entry j is the class that comes j-th.
///
/// # Panics
/// Where the lengths do not fit one another.
pub fn canonical_order(weights: &[f64], atoms: &[f64], order: &mut [usize]) {
    let columns = atoms.len() / weights.len().max(1);
    for (j, o) in order.iter_mut().enumerate() {
        *o = j;
    }
    let atom = |k: usize| &atoms[k * columns..(k + 1) * columns];
    order.sort_unstable_by(|&a, &b| {
        let by_atom = || atom(a).iter().zip(atom(b)).map(|(x, y)| x.total_cmp(y)).find(|o| o.is_ne());
        weights[b].total_cmp(&weights[a]).then_with(|| by_atom().unwrap_or(a.cmp(&b)))
    });
}

/// An owned mixture.
#[cfg(feature = "alloc")]
#[derive(Clone, Debug, PartialEq)]
pub struct Mixture {
    /// Mixing weights α, K numbers on the simplex.
    pub weights: alloc::vec::Vec<f64>,
    /// Atoms θ, K × L, class after class.
    pub atoms: alloc::vec::Vec<f64>,
}

#[cfg(feature = "alloc")]
impl Mixture {
    /// The mixture as a view; the fields are not checked.
    pub fn view(&self) -> MixtureRef<'_> {
        MixtureRef { weights: &self.weights, atoms: &self.atoms }
    }

    /// Number of classes K.
    pub fn classes(&self) -> usize {
        self.weights.len()
    }

    /// The atom of class `k`, L numbers.
    ///
    /// # Panics
    /// Unless k < K.
    pub fn atom(&self, k: usize) -> &[f64] {
        let columns = self.atoms.len() / self.weights.len();
        &self.atoms[k * columns..(k + 1) * columns]
    }

    /// The same mixture with its classes by decreasing weight, ties by the atoms.
    pub fn canonical(&self) -> Self {
        let mut order = alloc::vec![0; self.classes()];
        canonical_order(&self.weights, &self.atoms, &mut order);
        Mixture {
            weights: order.iter().map(|&k| self.weights[k]).collect(),
            atoms: order.iter().flat_map(|&k| self.atom(k).iter().copied()).collect(),
        }
    }
}
