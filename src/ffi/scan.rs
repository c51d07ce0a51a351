//! How many classes
//!
//! smx_scan fits every number of classes from `first` to `last`, each growing from the one before, with the criteria that weigh likelihood
//! against parameters. Entry j of an array belongs to K = first + j; mixtures stand side by side: the weights of K classes begin after
//! those of fewer, at `(K (K - 1) - first (first - 1)) / 2`, and their atoms at L times that. All of them are
//! `(last (last + 1) - first (first - 1)) / 2` classes.

use super::call::{Fault, Output, Result, Struct, enter, guard};
use super::data::{Memory, fitting, shape_of, smx_data};
use super::em::copy_flags;
use super::evaluate::{atoms_length, query};
use super::fit::{SMX_CANCELLED, grown, outcome, relay, sized, sizing, smx_fit_options, smx_outcome};
use super::status::*;
use crate::data::Shape;
use crate::fit::FitOptions;
use crate::scan::{Criteria, Scanned, profile, profile_workspace, scan, scan_workspace};
use crate::workspace::WorkspaceSize;
use core::ffi::c_void;

/// The most numbers of classes that one scan takes: `last - first + 1`.
pub const SMX_SCAN_MAX: usize = 4096;

/// What smx_scan finds. The arrays are the program's; `weights` and `atoms` must be there, the others may be NULL. n = last - first + 1.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_scan_result {
    /// sizeof(smx_scan_result), set by smx_scan_result_init.
    pub struct_size: usize,
    /// To be filled: mixing weights of all fits, those of each decreasing.
    pub weights: *mut f64,
    /// To be filled: atoms of all fits, L numbers a class.
    pub atoms: *mut f64,
    /// To be filled: flags of the classes of all fits: whether a class runs off.
    pub diverging: *mut u8,
    /// To be filled: how each fit ended, n entries.
    pub outcomes: *mut smx_outcome,
    /// To be filled: log-likelihood of each fit, n numbers.
    pub log_likelihoods: *mut f64,
    /// To be filled: the same less the penalty, n numbers.
    pub penalized_log_likelihoods: *mut f64,
    /// To be filled: parameters d = K - 1 + K r of each fit, n numbers; r is `rank`.
    pub parameters: *mut usize,
    /// To be filled: -2 log-likelihood + 2 d, n numbers.
    pub aic: *mut f64,
    /// To be filled: -2 log-likelihood + d ln(weights of the units, summed), n numbers; where they are shares of a whole the criteria mean
    /// nothing.
    pub bic: *mut f64,
    /// To be filled: bic plus twice the entropy of the posterior class probabilities, n numbers.
    pub icl: *mut f64,
    /// To be filled: starts drawn by each fit, n numbers.
    pub starts: *mut usize,
    /// To be filled: starts that reached the best of their fit, n numbers.
    pub at_best: *mut usize,
    /// Fits found: n, or fewer after a cancellation, of which the last is then SMX_CANCELLED. As many entries are written.
    pub fits: usize,
    /// Number of classes where aic is smallest, the first of equals.
    pub best_aic: usize,
    /// Number of classes where bic is smallest, the first of equals.
    pub best_bic: usize,
    /// Number of classes where icl is smallest, the first of equals.
    pub best_icl: usize,
    /// Rank r of the features inside choice sets.
    pub rank: usize,
    /// Evaluations of value and gradient, over all fits.
    pub evaluations: u64,
    /// To be filled: eigenvalues of the covariance of the atoms that second moments suggest, decreasing, r of them in an array of L, NaN
    /// beyond: those of smx_subspace with a tilt of 1/2, for which one class is fitted and the features are read about ten times more. All
    /// are NaN where smx_subspace has none: where choices are not counts over one choice set, no feature is identified, or the data are a
    /// part of a whole; and after a cancellation.
    pub eigenvalues: *mut f64,
    /// 1 + the eigenvalues above the noise; 0 where `eigenvalues` is NULL or all NaN.
    pub suggested_classes: usize,
    /// The noise; NaN there.
    pub noise: f64,
}

impl Struct for smx_scan_result {
    const FIRST_SIZE: usize = core::mem::offset_of!(smx_scan_result, eigenvalues);
    fn blank() -> Self {
        use core::ptr::null_mut;
        smx_scan_result {
            struct_size: size_of::<Self>(),
            weights: null_mut(),
            atoms: null_mut(),
            diverging: null_mut(),
            outcomes: null_mut(),
            log_likelihoods: null_mut(),
            penalized_log_likelihoods: null_mut(),
            parameters: null_mut(),
            aic: null_mut(),
            bic: null_mut(),
            icl: null_mut(),
            starts: null_mut(),
            at_best: null_mut(),
            fits: 0,
            best_aic: 0,
            best_bic: 0,
            best_icl: 0,
            rank: 0,
            evaluations: 0,
            eigenvalues: null_mut(),
            suggested_classes: 0,
            noise: 0.0,
        }
    }
}

/// Fits of a scan.
fn fits_of(first: usize, last: usize) -> Result<usize> {
    match last.checked_sub(first) {
        _ if first == 0 => Err(Fault::new(SMX_EMPTY, "first")),
        None => Err(Fault::sizes(SMX_EMPTY, "last", first, last)),
        Some(more) if more >= SMX_SCAN_MAX => Err(Fault::sizes(SMX_OUT_OF_RANGE, "last", SMX_SCAN_MAX, more.saturating_add(1))),
        Some(more) => Ok(more + 1),
    }
}

/// An error of the classes of a fit as one of the last fit.
fn of_last(fault: impl Into<Fault>) -> Fault {
    fault.into().renamed("classes", "last")
}

/// Fits of a scan, and classes of all of them together.
fn lengths(first: usize, last: usize, columns: usize) -> Result<(usize, usize)> {
    let fits = fits_of(first, last)?;
    atoms_length(last, columns).map_err(of_last)?;
    // n fits of (first + last) / 2 classes.
    let twice = first.checked_add(last).and_then(|n| n.checked_mul(fits));
    let all = twice.map(|n| n / 2).filter(|n| n.checked_mul(columns).is_some());
    all.map(|all| (fits, all)).ok_or_else(|| Fault::new(SMX_OVERFLOW, "last"))
}

/// What one fit is beside its mixture, as it waits in the workspace until the whole scan is well.
#[derive(Clone, Copy)]
struct Line {
    outcome: smx_outcome,
    log_likelihood: f64,
    penalized_log_likelihood: f64,
    criteria: Criteria,
    starts: usize,
    at_best: usize,
}

const BLANK: Line = Line {
    outcome: 0,
    log_likelihood: 0.0,
    penalized_log_likelihood: 0.0,
    criteria: Criteria { parameters: 0, observations: 0.0, aic: 0.0, bic: 0.0, icl: 0.0 },
    starts: 0,
    at_best: 0,
};

fn workspace_of(shape: &Shape, o: &FitOptions<'_>, first: usize, last: usize) -> Result<WorkspaceSize> {
    let (fits, all) = lengths(first, last, shape.columns)?;
    let of = WorkspaceSize::of::<f64>;
    let waiting = of(all).and(of(all * shape.columns)).and(WorkspaceSize::of::<bool>(all)).and(WorkspaceSize::of::<Line>(fits));
    // The profile comes last, and takes the place of the fits.
    let eigenvalues = of(shape.columns);
    Ok(scan_workspace(shape, o, first..=last).or(profile_workspace(shape)).and(waiting).and(eigenvalues))
}

/// A column of the lines, where it is wanted.
///
/// # Safety
/// As for [`Output::get`].
unsafe fn column<T>(out: Option<Output<T>>, lines: &[Line], of: impl Fn(&Line) -> T) {
    if let Some(out) = out {
        // SAFETY: by the caller's promise.
        unsafe { out.get() }.iter_mut().zip(lines).for_each(|(out, line)| *out = of(line));
    }
}

/// Where a criterion is smallest, the first of equals.
fn smallest(first: usize, lines: &[Line], of: impl Fn(&Criteria) -> f64) -> usize {
    let value = |j: usize| of(&lines[j].criteria);
    first + (1..lines.len()).fold(0, |best, j| if value(j) < value(best) { j } else { best })
}

/// Fills a result with zeros and its size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_scan_result_init(result: *mut smx_scan_result, struct_size: usize) -> smx_status {
    // SAFETY: the caller vouches for `struct_size` bytes at `result`.
    guard(|| unsafe { Struct::init(result, struct_size, "result") })
}

/// Bytes of workspace that smx_scan needs.
///
/// @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
/// @param first smallest K, at least 1
/// @param last largest K
/// @param options may be NULL
/// @return the bytes; SIZE_MAX where a description is unusable, there are more than SMX_SCAN_MAX fits, or sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_scan_workspace(data: *const smx_data, first: usize, last: usize, options: *const smx_fit_options) -> usize {
    query(|| {
        // SAFETY: the caller vouches for the structs.
        let shape = unsafe { shape_of(data, last) }?;
        // SAFETY: as above.
        let o = unsafe { Struct::read_or_blank(options, "options") }?;
        workspace_of(&shape, &sizing(&o, last), first, last)
    })
}

/// Fits every number of classes from `first` to `last`.
///
/// @param data the data
/// @param first smallest K, at least 1
/// @param last largest K, at most the number of units with a positive weight
/// @param options may be NULL; `start_weights` and `start_atoms` must be; `starts`, `max_evaluations` and `gradient_tolerance` hold for
/// each fit; the fit of `first` classes grows from `grow_weights` and `grow_atoms`, if they are there; smx_progress tells the
/// number of classes
/// @param result made by smx_scan_result_init, at least `weights` and `atoms` set; written only when all is well
/// @param workspace smx_scan_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_scan(
    data: *const smx_data,
    first: usize,
    last: usize,
    options: *const smx_fit_options,
    result: *mut smx_scan_result,
    workspace: *mut c_void,
    workspace_size: usize,
    error: *mut smx_error,
) -> smx_status {
    // SAFETY: the header has the caller vouch for every struct and array, here and below.
    unsafe {
        enter(error, |call| {
            let memory = Memory::new(call, data)?;
            let (l, shape) = (memory.columns(), memory.shape()?);
            fits_of(first, last)?;
            fitting(&shape, last).map_err(of_last)?;
            let (fits, all) = lengths(first, last, l)?;
            let o: smx_fit_options = call.options("options", options)?;
            let ctx = o.check()?;
            for (name, start) in [("start_weights", o.start_weights), ("start_atoms", o.start_atoms)] {
                if !start.is_null() {
                    return Err(Fault::new(SMX_INVALID_OPTION, name));
                }
            }
            let grow = grown(call, &o, first, l)?;
            let size = sizing(&o, last);
            let needed = sized(workspace_of(&shape, &size, first, last)?)?;
            let mut r: smx_scan_result = call.result("result", result)?;
            let weights = call.output("weights", r.weights, all)?;
            let atoms = call.output("atoms", r.atoms, all * l)?;
            let diverging = call.optional_output("diverging", r.diverging, all)?;
            let outcomes = call.optional_output("outcomes", r.outcomes, fits)?;
            let log_likelihoods = call.optional_output("log_likelihoods", r.log_likelihoods, fits)?;
            let penalized = call.optional_output("penalized_log_likelihoods", r.penalized_log_likelihoods, fits)?;
            let parameters = call.optional_output("parameters", r.parameters, fits)?;
            let aic = call.optional_output("aic", r.aic, fits)?;
            let bic = call.optional_output("bic", r.bic, fits)?;
            let icl = call.optional_output("icl", r.icl, fits)?;
            let starts = call.optional_output("starts", r.starts, fits)?;
            let at_best = call.optional_output("at_best", r.at_best, fits)?;
            let eigenvalues = call.optional_output("eigenvalues", r.eigenvalues, l)?;
            let ws = call.workspace(workspace, workspace_size)?;
            ws.holds(needed)?;
            call.disjoint()?;

            let data = memory.data()?;
            let rust = o.rust(last, size.starts, grow.map(|m| m.get()).transpose()?, ctx);
            let mut ws = ws.lend(workspace_of(&shape, &rust, first, last)?)?;
            let (found_weights, found_atoms, run_off) = (ws.f64s(all)?, ws.f64s(all * l)?, ws.fill(all, false)?);
            let (lines, profiled) = (ws.fill(fits, BLANK)?, ws.f64s(l)?);
            let (mut n, mut at, mut evaluations, mut rank) = (0, 0, 0, 0);
            let mut found = |fit: &Scanned<'_>| {
                let (k, report) = (fit.mixture.classes(), &fit.report);
                found_weights[at..at + k].copy_from_slice(fit.mixture.weights);
                found_atoms[at * l..(at + k) * l].copy_from_slice(fit.mixture.atoms);
                run_off[at..at + k].copy_from_slice(fit.diverging);
                lines[n] = Line {
                    outcome: outcome(report.outcome),
                    log_likelihood: report.log_likelihood,
                    penalized_log_likelihood: report.penalized_log_likelihood,
                    criteria: fit.criteria,
                    starts: report.starts,
                    at_best: report.at_best,
                };
                (n, at, evaluations, rank) = (n + 1, at + k, evaluations + report.evaluations, report.rank);
            };
            scan(&data, &rust, first..=last, &mut relay(&o), &mut found, ws.scope()).map_err(of_last)?;
            (r.suggested_classes, r.noise) = (0, f64::NAN);
            if let Some(out) = eigenvalues {
                profiled.fill(f64::NAN);
                // There is none of some data, and no time for one after a cancellation.
                if lines[..n].last().is_none_or(|line| line.outcome != SMX_CANCELLED) {
                    match profile(&data, profiled, ctx, ws) {
                        Ok(found) => (r.suggested_classes, r.noise) = (found.suggested_classes, found.noise),
                        Err(_) => profiled.fill(f64::NAN),
                    }
                }
                out.get().copy_from_slice(profiled);
            }
            let lines = &lines[..n];
            weights.get()[..at].copy_from_slice(&found_weights[..at]);
            atoms.get()[..at * l].copy_from_slice(&found_atoms[..at * l]);
            copy_flags(diverging, &run_off[..at]);
            column(outcomes, lines, |line| line.outcome);
            column(log_likelihoods, lines, |line| line.log_likelihood);
            column(penalized, lines, |line| line.penalized_log_likelihood);
            column(parameters, lines, |line| line.criteria.parameters);
            column(aic, lines, |line| line.criteria.aic);
            column(bic, lines, |line| line.criteria.bic);
            column(icl, lines, |line| line.criteria.icl);
            column(starts, lines, |line| line.starts);
            column(at_best, lines, |line| line.at_best);
            (r.fits, r.rank, r.evaluations) = (n, rank, evaluations);
            r.best_aic = smallest(first, lines, |c| c.aic);
            r.best_bic = smallest(first, lines, |c| c.bic);
            r.best_icl = smallest(first, lines, |c| c.icl);
            r.write(result);
            Ok(())
        })
    }
}
