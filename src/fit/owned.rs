//! A fit with memory of its own.

use super::{FitOptions, FitOutput, FitReport, Progress, fit, fit_workspace, max_starts};
use crate::data::Data;
use crate::error::Result;
use crate::mixture::Mixture;
use crate::starts::StartKind;
use crate::workspace::{WorkspaceBuffer, owned};
use alloc::vec::Vec;

/// A fit, owned.
#[derive(Clone, Debug)]
pub struct Fit {
    /// The mixture, classes in canonical order.
    pub mixture: Mixture,
    /// How it went.
    pub report: FitReport,
    /// Classes that run off.
    pub diverging: Vec<bool>,
    /// Features that are not identified.
    pub unidentified: Vec<bool>,
    /// Every start in the order drawn: its kind, and its penalised log-likelihood at its end, as in [`FitOutput::start_values`].
    pub starts: Vec<(StartKind, f64)>,
    /// The penalised log-likelihood after every step of the start that won, from the end of its race on; empty unless `keep_path` asked for
    /// it.
    pub path: Vec<f64>,
}

impl Fit {
    /// Fits with memory of its own, which it frees at the end: as much as [`fit_workspace`] says, and the result.
    ///
    /// Cost: by default draws of [`default_starts`](super::default_starts), as many as are about a second's work, until some in a row find
    /// nothing better; a start takes about 20 evaluations, the best ones a hundred or so more.
    ///
    /// # Errors
    /// Those of [`fit`]; `Workspace` where there is no memory.
    pub fn new(data: &Data<'_>, options: &FitOptions<'_>) -> Result<Self> {
        Self::with_progress(data, options, &mut |_| true)
    }

    /// [`Fit::new`]; `progress` is called after every step and cancels the fit by answering false: the best so far is the result.
    ///
    /// # Errors
    /// Those of [`Fit::new`].
    pub fn with_progress(data: &Data<'_>, options: &FitOptions<'_>, progress: &mut dyn FnMut(&Progress) -> bool) -> Result<Self> {
        options.check(data).map_err(|e| data.report(e))?;
        let shape = data.shape();
        let (k, l, n) = (options.classes, shape.columns, max_starts(&shape, options));
        let buffer = WorkspaceBuffer::new(fit_workspace(&shape, options));
        let mut buffer = buffer.map_err(|e| data.report(e))?;
        let outputs = || -> Result<_> {
            let mixture = (owned("weights", k, 0.0)?, owned("atoms", k.saturating_mul(l), 0.0)?);
            let flags = (owned("diverging", k, false)?, owned("unidentified", l, false)?);
            Ok((mixture, flags, owned("starts", n, f64::NEG_INFINITY)?, owned("starts", n, StartKind::Random)?))
        };
        let ((mut weights, mut atoms), (mut diverging, mut unidentified), mut start_values, mut start_kinds) =
            outputs().map_err(|e| data.report(e))?;
        let out = FitOutput {
            weights: &mut weights,
            atoms: &mut atoms,
            diverging: &mut diverging,
            unidentified: &mut unidentified,
            start_values: &mut start_values,
            start_kinds: &mut start_kinds,
        };
        // Which start wins is known at the end: the paths of all that are finished are kept till then.
        let mut paths: Vec<(usize, Vec<f64>)> = Vec::new();
        let mut keep = |state: &Progress| {
            if options.keep_path && !state.racing {
                // The winner is polished in the end: its path goes on.
                match paths.iter_mut().find(|(start, _)| *start == state.start) {
                    Some((_, path)) => path.push(state.current),
                    None => paths.push((state.start, alloc::vec![state.current])),
                }
            }
            progress(state)
        };
        let report = fit(data, options, &mut keep, out, buffer.lend())?;
        let path = paths.into_iter().find(|(start, _)| *start == report.best_start).map_or(Vec::new(), |(_, path)| path);
        let starts = start_kinds.into_iter().zip(start_values).take(report.starts).collect();
        Ok(Fit { mixture: Mixture { weights, atoms }, report, diverging, unidentified, starts, path })
    }
}
