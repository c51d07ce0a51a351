//! Estimators from moments
//!
//! Mixtures from latent moments alone, for counts over one choice set (SMX_COUNTS or SMX_SPARSE_COUNTS; else SMX_UNSUPPORTED): no search
//! over many starts. smx_fit uses them among its own starts.

use super::call::{Fault, Result, Struct, enter, guard};
use super::data::{Memory, shape_of, smx_data};
use super::em::{WhiteningInput, smx_whitening};
use super::evaluate::{atoms_length, context, query, smx_isa};
use super::fit::given_start;
use super::moments::flags;
use super::status::*;
use crate::data::Shape;
use crate::moments::{
    CorrectionOptions, CorrectionStart, IllPosed, corrected, corrected_workspace, direction, direction_workspace, tensor, tensor_workspace,
};
use crate::workspace::WorkspaceSize;
use core::ffi::c_void;

/// Estimators.
pub type smx_method = i32;
/// Moments corrected by the design: a mixture whose moments over the actual rows are the observed ones as nearly as can be.
pub const SMX_METHOD_CORRECTED: smx_method = 0;
/// Moments of order 3, diagonalised jointly; at most r + 1 classes. Biased where features are not normal or atoms far.
pub const SMX_METHOD_TENSOR: smx_method = 1;
/// Moments along one direction (Lindsay and Basak); any number of classes, of which it is good for few.
pub const SMX_METHOD_DIRECTION: smx_method = 2;

/// Options of smx_estimate. NULL in place of them: the defaults. Numbers are checked whatever the method, arrays where it uses them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_estimate_options {
    /// sizeof(smx_estimate_options), set by smx_estimate_options_init.
    pub struct_size: usize,
    /// Threads, at least 1 (default).
    pub threads: usize,
    /// Instruction set; default SMX_ISA_AUTO.
    pub isa: smx_isa,
    /// The estimator; default SMX_METHOD_CORRECTED.
    pub method: smx_method,
    /// SMX_METHOD_TENSOR, SMX_METHOD_DIRECTION: where the moments are those of no mixture, 1 (default) answers with one nearby, 0 with
    /// SMX_ILL_POSED.
    pub project: i32,
    /// SMX_METHOD_CORRECTED: order of the moments, 3 to 9; default 0: the library's own rule.
    pub order: i32,
    /// SMX_METHOD_CORRECTED: the tilt to begin with, at least 0; default -1: the library's own rule.
    pub tilt: f64,
    /// SMX_METHOD_CORRECTED: evaluations of the moment equations at most, 1 or more; default 96.
    pub max_evaluations: usize,
    /// SMX_METHOD_CORRECTED: a mixture to start from, K weights; default NULL: the library's own.
    pub start_weights: *const f64,
    /// Its atoms, K x L.
    pub start_atoms: *const f64,
    /// SMX_METHOD_DIRECTION: a direction of norm 1 (to 1e-6) in whitened features, r numbers; default NULL: where the atoms differ most.
    pub direction: *const f64,
}

impl Struct for smx_estimate_options {
    fn blank() -> Self {
        smx_estimate_options {
            struct_size: size_of::<Self>(),
            threads: 1,
            isa: 0,
            method: SMX_METHOD_CORRECTED,
            project: 1,
            order: 0,
            tilt: -1.0,
            max_evaluations: CorrectionOptions::default().max_evaluations,
            start_weights: core::ptr::null(),
            start_atoms: core::ptr::null(),
            direction: core::ptr::null(),
        }
    }
}

/// What smx_estimate finds beside the mixture.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_estimate_report {
    /// sizeof(smx_estimate_report), set by smx_estimate_report_init.
    pub struct_size: usize,
    /// SMX_METHOD_CORRECTED: log-likelihood of the mixture; else NaN.
    pub log_likelihood: f64,
    /// SMX_METHOD_CORRECTED: the tilt that it went on with; else 0.
    pub tilt: f64,
    /// SMX_METHOD_DIRECTION: share of the normal law mixed into the moments, 0 where they are those of K points; else 0.
    pub shrinkage: f64,
    /// SMX_METHOD_CORRECTED: evaluations of the moment equations; else 0.
    pub evaluations: u64,
    /// SMX_METHOD_CORRECTED: reads of the features; else 0.
    pub passes: u64,
}

impl Struct for smx_estimate_report {
    fn blank() -> Self {
        smx_estimate_report {
            struct_size: size_of::<Self>(),
            log_likelihood: f64::NAN,
            tilt: 0.0,
            shrinkage: 0.0,
            evaluations: 0,
            passes: 0,
        }
    }
}

fn estimate_workspace(shape: &Shape, classes: usize, method: smx_method) -> Result<WorkspaceSize> {
    let size = match method {
        SMX_METHOD_CORRECTED => corrected_workspace(shape, classes),
        SMX_METHOD_TENSOR => tensor_workspace(shape, classes),
        SMX_METHOD_DIRECTION => direction_workspace(shape, classes),
        _ => return Err(Fault::new(SMX_INVALID_OPTION, "method")),
    };
    let found = WorkspaceSize::of::<f64>(classes).and(WorkspaceSize::of::<f64>(classes.saturating_mul(shape.columns)));
    Ok(size.and(found).and(flags(shape)))
}

/// Fills options with the defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_estimate_options_init(options: *mut smx_estimate_options, struct_size: usize) -> smx_status {
    // SAFETY: the caller vouches for `struct_size` bytes at `options`.
    guard(|| unsafe { Struct::init(options, struct_size, "options") })
}

/// Fills a report with its size and nothing found.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_estimate_report_init(report: *mut smx_estimate_report, struct_size: usize) -> smx_status {
    // SAFETY: the caller vouches for `struct_size` bytes at `report`.
    guard(|| unsafe { Struct::init(report, struct_size, "report") })
}

/// Bytes of workspace that smx_estimate needs.
///
/// @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
/// @param classes K
/// @param options may be NULL
/// @return the bytes; SIZE_MAX where a description is unusable or sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_estimate_workspace(data: *const smx_data, classes: usize, options: *const smx_estimate_options) -> usize {
    query(|| {
        // SAFETY: the caller vouches for the structs.
        let shape = unsafe { shape_of(data, classes) }?;
        // SAFETY: as above.
        let o = unsafe { Struct::read_or_blank(options, "options") }?;
        atoms_length(classes, shape.columns)?;
        estimate_workspace(&shape, classes, o.method)
    })
}

/// A mixture from moments alone: no iteration over starts. A start for smx_fit, or an estimate by itself. Classes come in no order.
///
/// @param data counts over one choice set
/// @param whitening what smx_whiten found for these data; SMX_METHOD_CORRECTED: where its rank is 0, SMX_ILL_POSED
/// @param classes K
/// @param options may be NULL
/// @param weights to be filled: K mixing weights
/// @param atoms to be filled: K x L
/// @param report may be NULL
/// @param workspace smx_estimate_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_estimate(
    data: *const smx_data,
    whitening: *const smx_whitening,
    classes: usize,
    options: *const smx_estimate_options,
    weights: *mut f64,
    atoms: *mut f64,
    report: *mut smx_estimate_report,
    workspace: *mut c_void,
    workspace_size: usize,
    error: *mut smx_error,
) -> smx_status {
    // SAFETY: the header has the caller vouch for every struct and array, here and below.
    unsafe {
        enter(error, |call| {
            let memory = Memory::new(call, data)?;
            let l = memory.columns();
            let wh = WhiteningInput::new(call, whitening, l)?;
            let weights = call.output("weights", weights, classes)?;
            let atoms = call.output("atoms", atoms, atoms_length(classes, l)?)?;
            let mut found = smx_estimate_report::blank();
            if !report.is_null() {
                found.struct_size = call.result("report", report)?.struct_size;
            }
            let o: smx_estimate_options = call.options("options", options)?;
            let ctx = context(o.isa, o.threads)?;
            let start = given_start(call, o.start_weights, o.start_atoms, classes, l)?;
            let along = call.optional_input("direction", o.direction, wh.rank())?;
            let ill_posed = match o.project {
                0 => IllPosed::Fail,
                1 => IllPosed::Project,
                _ => return Err(Fault::new(SMX_INVALID_OPTION, "project")),
            };
            let order = match o.order {
                0 => None,
                3..=9 => Some(o.order as usize),
                _ => return Err(Fault::new(SMX_INVALID_OPTION, "order")),
            };
            let tilt = match o.tilt {
                -1.0 => None,
                tilt if tilt >= 0.0 && tilt.is_finite() => Some(tilt),
                _ => return Err(Fault::new(SMX_INVALID_OPTION, "tilt")),
            };
            if o.max_evaluations == 0 {
                return Err(Fault::new(SMX_INVALID_OPTION, "max_evaluations"));
            }
            let ws = call.workspace(workspace, workspace_size)?;
            call.disjoint()?;
            let data = memory.data()?;
            let mut ws = ws.lend(estimate_workspace(&data.shape(), classes, o.method)?)?;
            let wh = wh.get(ws.fill(l, false)?)?;
            // Copied to the program's arrays at the end.
            let (alpha, theta) = (ws.f64s(classes)?, ws.f64s(classes * l)?);
            match o.method {
                SMX_METHOD_TENSOR => tensor(&data, &wh, ill_posed, alpha, theta, ctx, ws)?,
                SMX_METHOD_DIRECTION => {
                    let along = along.map(|v| v.get());
                    let report = direction(&data, &wh, along, ill_posed, alpha, theta, ctx, ws);
                    found.shrinkage = report.map_err(|e| Fault::from(e).renamed("along", "direction"))?.shrinkage;
                }
                _ => {
                    let start = match &start {
                        Some(start) => CorrectionStart::Given(start.get()?),
                        None => CorrectionStart::Auto,
                    };
                    let options = CorrectionOptions { start, tilt, order, max_evaluations: o.max_evaluations };
                    let r = corrected(&data, &wh, &options, alpha, theta, ctx, ws)?;
                    (found.log_likelihood, found.tilt) = (r.log_likelihood, r.tilt);
                    (found.evaluations, found.passes) = (r.evaluations as u64, r.passes);
                }
            }
            weights.get().copy_from_slice(alpha);
            atoms.get().copy_from_slice(theta);
            if !report.is_null() {
                found.write(report);
            }
            Ok(())
        })
    }
}
