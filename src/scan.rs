//! How many classes: a fit for every K, each growing from the one before, with the criteria that weigh likelihood against parameters.

use crate::data::{Data, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::evaluate::{EvaluateOutput, evaluate, evaluate_workspace};
use crate::fit::{FitOptions, FitOutput, FitReport, Outcome, Progress, Starts, fit, fit_workspace, max_starts};
use crate::mixture::MixtureRef;
use crate::moments::{Draws, SubspaceReport, subspace, subspace_workspace};
use crate::parallel::Context;
use crate::reduce::Operation;
use crate::starts::StartKind;
use crate::whiten::Whitening;
use crate::workspace::{Workspace, WorkspaceSize};
use core::ops::RangeInclusive;
#[cfg(feature = "alloc")]
use {crate::fit::Fit, crate::workspace::WorkspaceBuffer, alloc::vec::Vec};

/// What weighs likelihood against parameters; smaller is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Criteria {
    /// Parameters `d = K − 1 + K r`, r the rank of the features inside choice sets.
    pub parameters: usize,
    /// Observations `n = Σ_u w_u`: of weights or counts that are shares of a whole the criteria mean nothing.
    pub observations: f64,
    /// `−2 ℓ + 2 d`.
    pub aic: f64,
    /// `−2 ℓ + d ln n`.
    pub bic: f64,
    /// `bic − 2 Σ_u w_u Σ_k r_uk ln r_uk` (Biernacki, Celeux and Govaert 2000, as McLachlan and Peel approximate it): classes that overlap
    /// cost.
    pub icl: f64,
}

/// Workspace of [`criteria`] for K classes.
pub fn criteria_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
    evaluate_workspace(shape, classes).and(WorkspaceSize::of::<f64>(shape.units.saturating_mul(classes)))
}

/// The criteria of a mixture at which ℓ is the log-likelihood; `rank` of the features inside choice sets. Cost: one evaluation.
///
/// # Errors
/// `OutOfRange` for a rank above L, those of [`evaluate`], and `Workspace`.
pub fn criteria(data: &Data<'_>, mixture: MixtureRef<'_>, rank: usize, ctx: Context, mut ws: Workspace<'_>) -> Result<Criteria> {
    let (shape, k) = (data.shape(), mixture.classes());
    let check = || match rank <= shape.columns {
        true => ws.require(criteria_workspace(&shape, k)),
        false => Err(Error::new(ErrorKind::OutOfRange, "rank")),
    };
    data.open(check(), Operation::Criteria, ctx.isa, mixture.numbers().chain([rank as f64]))?;
    let responsibilities = ws.f64s(shape.units * k)?;
    let out = EvaluateOutput { responsibilities: Some(&mut *responsibilities), ..EvaluateOutput::default() };
    let log_likelihood = evaluate(data, mixture, None, ctx, out, ws)?.log_likelihood;
    let criteria = Criteria::from_responsibilities(data, log_likelihood, responsibilities, k, rank);
    data.reduced()?;
    Ok(criteria)
}

impl Criteria {
    /// The criteria where ℓ and the responsibilities (U × K) are at hand. On a shard a failure of the hook goes unnoticed here.
    ///
    /// # Panics
    /// Without classes.
    pub fn from_responsibilities(data: &Data<'_>, log_likelihood: f64, responsibilities: &[f64], classes: usize, rank: usize) -> Self {
        let entropy = |r: &[f64]| -> f64 { r.iter().filter(|r| **r > 0.0).map(|r| -r * libm::log(*r)).sum() };
        let mut overlap: f64 = responsibilities.chunks_exact(classes).enumerate().map(|(u, r)| data.unit_weight(u) * entropy(r)).sum();
        let _ = data.sum_over_units(core::slice::from_mut(&mut overlap));
        let (parameters, n) = (classes - 1 + classes * rank, data.total_weight());
        let d = parameters as f64;
        let bic = -2.0 * log_likelihood + d * libm::log(n);
        Criteria { parameters, observations: n, aic: -2.0 * log_likelihood + 2.0 * d, bic, icl: bic + 2.0 * overlap }
    }
}

#[cfg(feature = "alloc")]
impl Criteria {
    /// [`criteria`] with memory of its own.
    pub fn new(data: &Data<'_>, mixture: MixtureRef<'_>, rank: usize, ctx: Context) -> Result<Self> {
        let memory = WorkspaceBuffer::new(criteria_workspace(&data.shape(), mixture.classes()));
        let mut memory = memory.map_err(|e| data.report(e))?;
        criteria(data, mixture, rank, ctx, memory.lend())
    }
}

/// The tilt of the profile: far clearer than none.
const TILT: f64 = 0.5;

/// Workspace of [`profile`]; none for data that have none.
pub fn profile_workspace(shape: &Shape) -> WorkspaceSize {
    let (l, of) = (shape.columns, WorkspaceSize::of::<f64>);
    if !shape.units_are_draws || shape.sets > 1 || shape.is_part() {
        return WorkspaceSize::EMPTY;
    }
    Whitening::workspace(shape).and(of(l)).and(of(l.saturating_mul(l))).and(subspace_workspace(shape))
}

/// The eigenvalues of the covariance of the atoms that second moments suggest, in the units of a frame tilted by ½, and how many classes
/// they suggest: 1 + those above the noise. `eigenvalues` (L): decreasing, as many as the features have rank, and NaN beyond. See
/// [`crate::moments::subspace`].
///
/// Cost: a fit of one class, 2 p L², and about ten reads of X.
///
/// # Errors
/// `Unsupported` unless choices are counts over one choice set, and of a part of a larger whole; `IllPosed` without identified features;
/// `Shape`, `Workspace`.
pub fn profile(data: &Data<'_>, eigenvalues: &mut [f64], ctx: Context, mut ws: Workspace<'_>) -> Result<SubspaceReport> {
    Draws::new(data)?;
    let (shape, l) = (data.shape(), data.features().columns());
    if eigenvalues.len() != l {
        return Err(Error::shape("eigenvalues", l, eigenvalues.len()));
    }
    ws.require(profile_workspace(&shape))?;
    let wh = Whitening::new(data, ctx.isa, &mut ws)?;
    let (mean, directions) = (ws.f64s(l)?, ws.f64s(l * l)?);
    let (found, beyond) = eigenvalues.split_at_mut(wh.rank);
    let report = subspace(data, &wh, TILT, mean, found, &mut directions[..wh.rank * l], ctx, ws)?;
    beyond.fill(f64::NAN);
    Ok(report)
}

/// What [`profile`] says, owned.
#[cfg(feature = "alloc")]
#[derive(Clone, Debug)]
pub struct Profile {
    /// Decreasing, as many as the features have rank.
    pub eigenvalues: Vec<f64>,
    /// The noise and the number of classes.
    pub report: SubspaceReport,
}

#[cfg(feature = "alloc")]
impl Profile {
    /// [`profile`] with memory of its own.
    pub fn new(data: &Data<'_>, ctx: Context) -> Result<Self> {
        let mut memory = WorkspaceBuffer::new(profile_workspace(&data.shape()))?;
        let mut eigenvalues = alloc::vec![0.0; data.features().columns()];
        let report = profile(data, &mut eigenvalues, ctx, memory.lend())?;
        eigenvalues.retain(|e| !e.is_nan());
        Ok(Profile { eigenvalues, report })
    }
}

/// One fit of a [`scan`], while `found` looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Scanned<'a> {
    /// The mixture, classes in canonical order.
    pub mixture: MixtureRef<'a>,
    /// Classes that run off.
    pub diverging: &'a [bool],
    /// Features that are not identified.
    pub unidentified: &'a [bool],
    /// How it went.
    pub report: FitReport,
    /// Its criteria.
    pub criteria: Criteria,
}

/// Begins a scan: what is wrong with it as a whole, or `otherwise`.
fn begin(data: &Data<'_>, options: &FitOptions<'_>, classes: &RangeInclusive<usize>, otherwise: impl FnOnce() -> Result<()>) -> Result<()> {
    let (last, most) = (*classes.end(), data.observed_units());
    let wrong = if classes.is_empty() || *classes.start() == 0 {
        Err(Error::new(ErrorKind::Empty, "classes"))
    } else if last > most {
        Err(Error::new(ErrorKind::TooManyClasses, "classes").sizes(most, last))
    } else if matches!(options.starts, Starts::Given(_)) {
        Err(Error::new(ErrorKind::InvalidOption, "starts"))
    } else {
        otherwise()
    };
    data.open(wrong, Operation::Scan, options.context.isa, [*classes.start() as f64, last as f64])
}

/// Workspace of [`scan`]: that of the largest fit, and two mixtures. Every number of classes up to that of the units is looked at.
pub fn scan_workspace(shape: &Shape, options: &FitOptions<'_>, classes: RangeInclusive<usize>) -> WorkspaceSize {
    let (of, flags) = (WorkspaceSize::of::<f64>, WorkspaceSize::of::<bool>);
    let (l, last) = (shape.columns, *classes.end());
    let mixture = of(last).and(of(last.saturating_mul(l)));
    let (mut starts, mut largest) = (0, WorkspaceSize::EMPTY);
    // More classes than units are refused.
    for k in classes.take_while(|k| *k <= shape.total_units) {
        let options = FitOptions { classes: k, ..*options };
        starts = starts.max(max_starts(shape, &options));
        largest = largest.or(fit_workspace(shape, &options)).or(criteria_workspace(shape, k));
    }
    let starts = of(starts).and(WorkspaceSize::of::<StartKind>(starts));
    mixture.and(mixture).and(flags(last)).and(flags(l)).and(starts).and(largest)
}

/// Fits every number of classes of `classes`, each growing from the one before, and hands each to `found`; `options.classes` is not looked
/// at, and `options.grow` is where the first one grows from. `progress` is told the number of classes, and ends the scan by answering
/// false: the fit at hand is the last that is found. Nothing is allocated. See [`Scan::new`].
///
/// # Errors
/// `Empty` for an empty range or K = 0, `TooManyClasses`, `InvalidOption` for a given start, and those of [`fit()`].
pub fn scan(
    data: &Data<'_>,
    options: &FitOptions<'_>,
    classes: RangeInclusive<usize>,
    progress: &mut dyn FnMut(usize, &Progress) -> bool,
    found: &mut dyn FnMut(&Scanned<'_>),
    mut ws: Workspace<'_>,
) -> Result<()> {
    let shape = data.shape();
    begin(data, options, &classes, || ws.require(scan_workspace(&shape, options, classes.clone())))?;
    let ((first, last), l) = (classes.into_inner(), shape.columns);
    let most = (first..=last).map(|k| max_starts(&shape, &FitOptions { classes: k, ..*options })).max().unwrap_or(0);
    let (mut weights, mut atoms) = (ws.f64s(last)?, ws.f64s(last * l)?);
    let (mut before_weights, mut before_atoms) = (ws.f64s(last)?, ws.f64s(last * l)?);
    let (diverging, unidentified) = (ws.fill(last, false)?, ws.fill(l, false)?);
    let (start_values, start_kinds) = (ws.f64s(most)?, ws.fill(most, StartKind::Random)?);
    let mut cancelled = false;
    for k in first..=last {
        let before = MixtureRef { weights: &before_weights[..k - 1], atoms: &before_atoms[..(k - 1) * l] };
        let options = FitOptions { classes: k, grow: if k == first { options.grow } else { Some(before) }, ..*options };
        let n = max_starts(&shape, &options);
        let out = FitOutput {
            weights: &mut weights[..k],
            atoms: &mut atoms[..k * l],
            diverging: &mut diverging[..k],
            unidentified: &mut *unidentified,
            start_values: &mut start_values[..n],
            start_kinds: &mut start_kinds[..n],
        };
        let mut tell = |p: &Progress| {
            cancelled |= !progress(k, p);
            !cancelled
        };
        let report = fit(data, &options, &mut tell, out, ws.scope())?;
        // Of data that are a part of a whole, another rank's word counts as well.
        cancelled |= report.outcome == Outcome::Cancelled;
        let mixture = MixtureRef { weights: &weights[..k], atoms: &atoms[..k * l] };
        let criteria = criteria(data, mixture, report.rank, options.context, ws.scope())?;
        found(&Scanned { mixture, diverging: &diverging[..k], unidentified, report, criteria });
        if cancelled {
            break;
        }
        core::mem::swap(&mut weights, &mut before_weights);
        core::mem::swap(&mut atoms, &mut before_atoms);
    }
    Ok(())
}

/// Fits for consecutive numbers of classes.
#[cfg(feature = "alloc")]
#[derive(Clone, Debug)]
pub struct Scan {
    /// One fit a number of classes, in rising order, with its criteria. Fewer than asked for when cancelled.
    pub fits: Vec<(Fit, Criteria)>,
    /// What second moments say of the number of classes, where choices are counts over one choice set; not of a scan that was cancelled.
    pub profile: Option<Profile>,
}

#[cfg(feature = "alloc")]
impl Scan {
    /// Fits every number of classes of `classes`; `options.classes` is not looked at. Some of the first starts of each fit grow from the
    /// fit of one class less (the first from `options.grow`, if there is one): it takes what that fit found, and adds a class where the
    /// units or the alternatives that it explains worst are.
    ///
    /// # Errors
    /// `Empty` for an empty range or K = 0, `TooManyClasses`, `InvalidOption` for a given start, and those of [`Fit::with_progress`].
    pub fn new(
        data: &Data<'_>,
        options: &FitOptions<'_>,
        classes: RangeInclusive<usize>,
        progress: &mut dyn FnMut(usize, &Progress) -> bool,
    ) -> Result<Self> {
        begin(data, options, &classes, || Ok(()))?;
        let mut fits: Vec<(Fit, Criteria)> = Vec::new();
        let mut cancelled = false;
        for k in classes {
            let grow = fits.last().map(|(fit, _)| fit.mixture.view()).or(options.grow);
            let mut progress = |p: &Progress| {
                cancelled |= !progress(k, p);
                !cancelled
            };
            let fit = Fit::with_progress(data, &FitOptions { classes: k, grow, ..*options }, &mut progress)?;
            let criteria = Criteria::new(data, fit.mixture.view(), fit.report.rank, options.context)?;
            cancelled |= fit.report.outcome == Outcome::Cancelled;
            fits.push((fit, criteria));
            // On a shard another rank may have asked for it.
            if cancelled {
                break;
            }
        }
        let profile = if cancelled { None } else { Profile::new(data, options.context).ok() };
        Ok(Scan { fits, profile })
    }

    /// The position of the fit where `criterion` is smallest, the first of equals.
    pub fn best_by(&self, criterion: impl Fn(&Criteria) -> f64) -> usize {
        let value = |j: usize| criterion(&self.fits[j].1);
        (1..self.fits.len()).fold(0, |best, j| if value(j) < value(best) { j } else { best })
    }
}
