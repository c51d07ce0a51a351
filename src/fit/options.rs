//! Options of a fit, and what is wrong with them.

use crate::data::Data;
use crate::error::{Error, ErrorKind, Result};
use crate::mixture::MixtureRef;
use crate::parallel::Context;

/// Which starts a fit tries.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Starts<'a> {
    /// The library's own rule: see [`default_starts`](super::default_starts); more when they do not agree.
    ///
    /// Counts over one choice set of at least 16 384 alternatives (64 K (L + 1) if that is more) race on a sample of them, of 4096
    /// (16 K (L + 1)); from 131 072 (256 K (L + 1)) on, on one of 32 768 (64 K (L + 1)). The smaller sample is kept only if the first
    /// starts agree on it. The best is finished on all.
    Auto,
    /// So many, of the kinds of `Auto`; fewer if `max_evaluations` is spent first, and one for one class.
    Count(usize),
    /// This one alone. Atoms that coincide are moved apart: between classes of one atom the likelihood has a saddle.
    Given(MixtureRef<'a>),
}

/// Options of a fit.
#[derive(Clone, Copy, Debug)]
pub struct FitOptions<'a> {
    /// Number of classes K, from 1 to the number of units with a positive weight.
    pub classes: usize,
    /// Ridge λ ≥ 0, in observations; 0, the default, is maximum likelihood.
    pub ridge: f64,
    /// Seed of the random starts; default 0.
    pub seed: u64,
    /// Which starts to try; default [`Starts::Auto`].
    pub starts: Starts<'a>,
    /// A fit of one class less, from which some of the first starts of `Auto` and `Count` grow; default none. See [`crate::scan`].
    pub grow: Option<MixtureRef<'a>>,
    /// Value-and-gradient evaluations over all starts after which the fit ends; default a million. What is under way then is finished
    /// first: where units make several choices the fit of one class that their starts begin with; the moments that some starts are of, a
    /// fit of one class that is not counted, and up to 24 evaluations; a start put where the best explains alternatives worst, whose own
    /// steps, the cost of up to about thirty evaluations, count as one; a step of all starts that race in one product; one evaluation that
    /// a start must have, and one to go back from a step that failed; the check whether classes run off.
    pub max_evaluations: u64,
    /// Converged when the largest entry of the gradient, in log-odds and whitened atoms, over all choices, is at most this; default 1e-8.
    pub gradient_tolerance: f64,
    /// Whether, on one choice set, starts race and L-BFGS takes its first steps on a copy of the features in f32: half the memory to read,
    /// for a copy of p × L numbers in the workspace. Where Newton's method finishes, it is the race alone. Off by default. The result is
    /// that of the features as they are given: the last steps are taken on them, and the log-likelihoods of finished starts are theirs;
    /// those of starts that fell out, and of early steps, are of the copy. Data that are one rank's part of a whole are read as they are.
    pub single_phase: bool,
    /// Instruction set and threads; default the widest of this machine, and one thread.
    pub context: Context,
    /// Whether an owned [`Fit`](super::Fit) keeps the path of the start that won; default false.
    pub keep_path: bool,
}

impl FitOptions<'_> {
    /// The defaults for K classes.
    pub fn new(classes: usize) -> Self {
        FitOptions {
            classes,
            ridge: 0.0,
            seed: 0,
            starts: Starts::Auto,
            grow: None,
            max_evaluations: 1_000_000,
            gradient_tolerance: 1e-8,
            single_phase: false,
            context: Context::default(),
            keep_path: false,
        }
    }

    /// What all ranks of a distributed run must have in common.
    pub(super) fn numbers(&self) -> impl Iterator<Item = f64> {
        let (rule, count, given) = match self.starts {
            Starts::Auto => (0.0, 0, None),
            Starts::Count(n) => (1.0, n, None),
            Starts::Given(m) => (2.0, 0, Some(m)),
        };
        let others = [(self.seed >> 32) as f64, (self.seed & 0xffff_ffff) as f64, f64::from(u8::from(self.single_phase))];
        let numbers = [self.classes as f64, self.ridge, rule, count as f64, self.max_evaluations as f64, self.gradient_tolerance];
        numbers.into_iter().chain(others).chain(given.into_iter().chain(self.grow).flat_map(MixtureRef::numbers))
    }

    pub(super) fn check(&self, data: &Data<'_>) -> Result<()> {
        let option = |name| Err(Error::new(ErrorKind::InvalidOption, name));
        if self.classes == 0 {
            return Err(Error::new(ErrorKind::Empty, "classes"));
        }
        if self.classes > data.observed_units() {
            return Err(Error::new(ErrorKind::TooManyClasses, "classes").sizes(data.observed_units(), self.classes));
        }
        if !(self.ridge >= 0.0 && self.ridge.is_finite()) {
            return option("ridge");
        }
        if !(self.gradient_tolerance > 0.0 && self.gradient_tolerance.is_finite()) {
            return option("gradient_tolerance");
        }
        if self.max_evaluations == 0 {
            return option("max_evaluations");
        }
        if self.context.threads == 0 {
            return option("threads");
        }
        let columns = data.features().columns();
        if let Some(m) = self.grow {
            m.check(columns, self.classes - 1, "grow")?;
        }
        match self.starts {
            Starts::Count(0) => option("starts"),
            Starts::Given(m) => m.check(columns, self.classes, "starts"),
            _ => Ok(()),
        }
    }
}
