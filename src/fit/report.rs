//! What a fit tells: on its way, and at its end.

use super::{FitOptions, max_starts};
use crate::data::Shape;
use crate::error::{Error, Result};
use crate::starts::StartKind;

/// How a fit ended. None of these is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The gradient is within the tolerance, or the predicted gain below rounding, and no class runs off. Other mixtures may fit as well
    /// where there are more parameters than the data tell of: standard errors that are NaN show it.
    Converged,
    /// The budget of evaluations is spent.
    IterationLimit,
    /// No step ascends by more than rounding although the gradient is far above the tolerance, or a thousand steps of Newton's method did
    /// not reach it.
    Stalled,
    /// A class runs off to infinity: the likelihood has no finite maximum there. A ridge penalty gives one.
    Diverging,
    /// The callback asked for an end.
    Cancelled,
}

impl Outcome {
    /// The outcome in a word.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Converged => "converged",
            Outcome::IterationLimit => "iteration_limit",
            Outcome::Stalled => "stalled",
            Outcome::Diverging => "diverging",
            Outcome::Cancelled => "cancelled",
        }
    }
}

/// Which rule stopped the start that won, or [`StopRule::Callback`] where the callback ended the fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopRule {
    /// The gradient tolerance.
    Gradient,
    /// A predicted gain below the rounding of the log-likelihood.
    Rounding,
    /// No step ascends, or steps ascend without converging.
    NoAscent,
    /// The budget of evaluations.
    Evaluations,
    /// The callback.
    Callback,
}

impl StopRule {
    /// The rule in a word.
    pub const fn name(self) -> &'static str {
        match self {
            StopRule::Gradient => "gradient",
            StopRule::Rounding => "rounding",
            StopRule::NoAscent => "no_ascent",
            StopRule::Evaluations => "evaluations",
            StopRule::Callback => "callback",
        }
    }
}

/// Where a fit stands, for the callback.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Starts finished.
    pub finished: usize,
    /// Starts drawn so far.
    pub drawn: usize,
    /// Whether starts are still racing, or the winner is tried with fewer classes; else `start` is being finished.
    pub racing: bool,
    /// Starts still racing: 0 while one is being finished.
    pub running: usize,
    /// The start being finished, in the order drawn.
    pub start: usize,
    /// Evaluations so far, over all starts.
    pub evaluations: u64,
    /// The best penalised log-likelihood so far.
    pub best: f64,
    /// The penalised log-likelihood of the start at hand (of the best of those racing).
    pub current: f64,
}

impl Progress {
    /// Where every fit begins.
    pub(super) const BEGUN: Progress = Progress {
        finished: 0,
        drawn: 0,
        racing: true,
        running: 0,
        start: 0,
        evaluations: 0,
        best: f64::NEG_INFINITY,
        current: f64::NEG_INFINITY,
    };
}

/// What a fit found, beside the mixture.
#[derive(Clone, Copy, Debug)]
pub struct FitReport {
    /// ℓ, without penalty and multinomial coefficients.
    pub log_likelihood: f64,
    /// ℓ less the ridge penalty.
    pub penalized_log_likelihood: f64,
    /// How it ended.
    pub outcome: Outcome,
    /// Which rule stopped the start that won, or [`StopRule::Callback`] where the callback ended the fit.
    pub stop: StopRule,
    /// The largest entry of the penalised gradient in log-odds and whitened atoms, over `Σ_u w_u Σ_i c_ui`.
    pub gradient_norm: f64,
    /// Value-and-gradient evaluations over all starts.
    pub evaluations: u64,
    /// Reads of the features, of a shard by its own rank; those of a sample of them count as that share.
    pub passes: u64,
    /// Starts drawn.
    pub starts: usize,
    /// Starts that ended within 1e-8 |f| of the best, f the penalised log-likelihood. Without a ridge, where classes run off or are more than
    /// the data tell of, many may agree a few units below what others would reach.
    pub at_best: usize,
    /// The start that won, in the order drawn: the first of those that ended equally high, up to rounding.
    pub best_start: usize,
    /// Rank of the features inside choice sets.
    pub rank: usize,
}

/// Where a fit writes.
#[derive(Debug)]
pub struct FitOutput<'a> {
    /// K mixing weights, in canonical order.
    pub weights: &'a mut [f64],
    /// K × L atoms.
    pub atoms: &'a mut [f64],
    /// Classes that run off.
    pub diverging: &'a mut [bool],
    /// Features that are not identified.
    pub unidentified: &'a mut [bool],
    /// Penalised log-likelihood at the end of every start, [`max_starts`] numbers: an estimate for those that fell out of a race on a
    /// sample, and, of those that were given up, where they stood: −∞ where that is no number or they were never evaluated.
    pub start_values: &'a mut [f64],
    /// The kind of every start.
    pub start_kinds: &'a mut [StartKind],
}

impl FitOutput<'_> {
    pub(super) fn check(&self, shape: &Shape, options: &FitOptions<'_>) -> Result<()> {
        let (k, l, n) = (options.classes, shape.columns, max_starts(shape, options));
        let lengths = [
            ("weights", k, self.weights.len()),
            ("atoms", k.saturating_mul(l), self.atoms.len()),
            ("diverging", k, self.diverging.len()),
            ("unidentified", l, self.unidentified.len()),
            ("start_values", n, self.start_values.len()),
            ("start_kinds", n, self.start_kinds.len()),
        ];
        match lengths.iter().find(|(_, needed, given)| needed != given) {
            Some((name, needed, given)) => Err(Error::shape(name, *needed, *given)),
            None => Ok(()),
        }
    }
}
