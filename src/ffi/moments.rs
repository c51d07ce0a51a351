//! Latent moments and estimators
//!
//! For counts over one choice set (SMX_COUNTS or SMX_SPARSE_COUNTS; else SMX_UNSUPPORTED): moments of the atoms from the chosen rows, and
//! mixtures from the moments. In whitened features y = to_atoms (x - mean), a choice of class k is as if drawn from a normal law around the atom
//! d_k, as nearly as the rows look normal: Hermite polynomials of y then estimate sum_k weight_k (v . d_k)^r.

use super::call::{Fault, Result, Struct, enter, guard};
use super::data::{Memory, shape_of, smx_data};
use super::em::{WhiteningInput, smx_whitening};
use super::evaluate::{MixtureInput, atoms_length, context, query, reserved, smx_isa, smx_run_options};
use super::status::*;
use crate::data::Shape;
use crate::moments::{
    CorrectionOptions, CorrectionStart, Draws, Frame, IllPosed, TensorOutput, corrected, corrected_workspace, direction,
    direction_workspace, packed_len, subspace, subspace_workspace, tensor, tensor_workspace, tensors_workspace, univariate,
    univariate_workspace,
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

/// Options of smx_estimate. NULL in place of them: the defaults.
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
    /// SMX_METHOD_CORRECTED: evaluations of the moment equations at most; default 72.
    pub max_evaluations: usize,
    /// SMX_METHOD_CORRECTED: a mixture to start from, K weights; default NULL: the library's own.
    pub start_weights: *const f64,
    /// Its atoms, K x L.
    pub start_atoms: *const f64,
    /// SMX_METHOD_DIRECTION: a direction of norm 1 in whitened features, r numbers; default NULL: where the atoms differ most.
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

/// What smx_subspace finds. `mean_atom`, `eigenvalues` and `directions` are the program's.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_subspace_result {
    /// sizeof(smx_subspace_result), set by smx_subspace_result_init.
    pub struct_size: usize,
    /// To be filled: the mean atom, L numbers.
    pub mean_atom: *mut f64,
    /// To be filled: r eigenvalues, decreasing.
    pub eigenvalues: *mut f64,
    /// To be filled: r x L: atoms are about `mean_atom + sum_j c_j directions[j]`, c_j of variance `eigenvalues[j]`, j below K - 1.
    pub directions: *mut f64,
    /// 1 + the eigenvalues above the noise.
    pub suggested_classes: usize,
    /// The noise.
    pub noise: f64,
    /// Effective number of draws.
    pub draws: f64,
}

impl Struct for smx_subspace_result {
    fn blank() -> Self {
        use core::ptr::null_mut;
        smx_subspace_result {
            struct_size: size_of::<Self>(),
            mean_atom: null_mut(),
            eigenvalues: null_mut(),
            directions: null_mut(),
            suggested_classes: 0,
            noise: 0.0,
            draws: 0.0,
        }
    }
}

/// Latent tensors; the arrays are the program's, NULL for what is not wanted. Third moments are packed: entry (a, b, c), a >= b >= c, is
/// `third[a (a + 1) (a + 2) / 6 + b (b + 1) / 2 + c]`, of r (r + 1) (r + 2) / 6.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_tensors {
    /// sizeof(smx_tensors), set by smx_tensors_init.
    pub struct_size: usize,
    /// To be filled: sum_k weight_k d_k, r numbers.
    pub first: *mut f64,
    /// To be filled: sum_k weight_k d_k d_k', r x r.
    pub second: *mut f64,
    /// To be filled: the same of order 3, packed.
    pub third: *mut f64,
    /// To be filled: standard errors of `first`, which must be there too; so with the others.
    pub first_errors: *mut f64,
    /// To be filled: standard errors of `second`.
    pub second_errors: *mut f64,
    /// To be filled: standard errors of `third`.
    pub third_errors: *mut f64,
}

impl Struct for smx_tensors {
    fn blank() -> Self {
        use core::ptr::null_mut;
        smx_tensors {
            struct_size: size_of::<Self>(),
            first: null_mut(),
            second: null_mut(),
            third: null_mut(),
            first_errors: null_mut(),
            second_errors: null_mut(),
            third_errors: null_mut(),
        }
    }
}

fn flags(shape: &Shape) -> WorkspaceSize {
    WorkspaceSize::of::<bool>(shape.columns)
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

fn subspace_in(shape: &Shape) -> WorkspaceSize {
    let (l, of) = (shape.columns, WorkspaceSize::of::<f64>);
    subspace_workspace(shape).and(of(l)).and(of(l)).and(of(l.saturating_mul(l))).and(flags(shape))
}

fn latent_moments_workspace(shape: &Shape, directions: usize, order: usize) -> WorkspaceSize {
    Frame::workspace(shape).and(univariate_workspace(shape, directions, order)).and(flags(shape))
}

fn latent_tensors_workspace(shape: &Shape, errors: bool) -> WorkspaceSize {
    Frame::workspace(shape).and(tensors_workspace(shape, errors.then_some(3))).and(flags(shape))
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

/// Fills a result with zeros and its size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_subspace_result_init(result: *mut smx_subspace_result, struct_size: usize) -> smx_status {
    // SAFETY: the caller vouches for `struct_size` bytes at `result`.
    guard(|| unsafe { Struct::init(result, struct_size, "result") })
}

/// Fills tensors with zeros and their size: none wanted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_tensors_init(tensors: *mut smx_tensors, struct_size: usize) -> smx_status {
    // SAFETY: the caller vouches for `struct_size` bytes at `tensors`.
    guard(|| unsafe { Struct::init(tensors, struct_size, "tensors") })
}

/// Bytes of workspace that smx_estimate needs.
///
/// @param data of which only the sizes and the layout of the choices count: pointers may be NULL
/// @param classes K
/// @param options may be NULL
/// @return the bytes; SIZE_MAX where a description is unusable or sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_estimate_workspace(data: *const smx_data, classes: usize, options: *const smx_estimate_options) -> usize {
    query(|| {
        // SAFETY: the caller vouches for the structs.
        let shape = unsafe { shape_of(data, classes) }?;
        // SAFETY: as above.
        let o: smx_estimate_options = if options.is_null() { Struct::blank() } else { unsafe { Struct::read(options, "options") }? };
        atoms_length(classes, shape.columns)?;
        estimate_workspace(&shape, classes, o.method)
    })
}

/// A mixture from moments alone: no iteration over starts. A start for smx_fit, or an estimate by itself.
///
/// @param data counts over one choice set
/// @param whitening what smx_whiten found for these data
/// @param classes K
/// @param weights to be filled: K mixing weights
/// @param atoms to be filled: K x L
/// @param report may be NULL
/// @param options may be NULL
/// @param workspace smx_estimate_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_estimate(
    data: *const smx_data,
    whitening: *const smx_whitening,
    classes: usize,
    weights: *mut f64,
    atoms: *mut f64,
    report: *mut smx_estimate_report,
    options: *const smx_estimate_options,
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
            let mut found = if report.is_null() { None } else { Some(call.result("report", report)?) };
            let o: smx_estimate_options = call.options("options", options)?;
            let ctx = context(o.isa, o.threads)?;
            let start = match (o.start_weights.is_null(), o.start_atoms.is_null()) {
                (true, true) => None,
                _ => Some(MixtureInput::new(call, classes, l, o.start_weights, o.start_atoms)?),
            };
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
            let ws = call.workspace(workspace, workspace_size)?;
            call.disjoint()?;
            let data = memory.data()?;
            let mut ws = ws.lend(estimate_workspace(&data.shape(), classes, o.method)?)?;
            let wh = wh.get(ws.fill(l, false)?)?;
            // Copied to the program's arrays at the end.
            let (alpha, theta) = (ws.f64s(classes)?, ws.f64s(classes * l)?);
            let mut blank = smx_estimate_report::blank();
            match o.method {
                SMX_METHOD_TENSOR => tensor(&data, &wh, ill_posed, alpha, theta, ctx, ws)?,
                SMX_METHOD_DIRECTION => {
                    let along = along.map(|v| v.get());
                    blank.shrinkage = direction(&data, &wh, along, ill_posed, alpha, theta, ctx, ws)?.shrinkage;
                }
                _ => {
                    let start = match &start {
                        Some(start) => CorrectionStart::Given(start.get()?),
                        None => CorrectionStart::Auto,
                    };
                    let options = CorrectionOptions { start, tilt, order, max_evaluations: o.max_evaluations };
                    let r = corrected(&data, &wh, &options, alpha, theta, ctx, ws)?;
                    (blank.log_likelihood, blank.tilt) = (r.log_likelihood, r.tilt);
                    (blank.evaluations, blank.passes) = (r.evaluations as u64, r.passes);
                }
            }
            weights.get().copy_from_slice(alpha);
            atoms.get().copy_from_slice(theta);
            if let Some(found) = &mut found {
                blank.struct_size = found.struct_size;
                blank.write(report);
            }
            Ok(())
        })
    }
}

/// Bytes of workspace that smx_subspace needs.
///
/// @param data of which only the sizes and the layout of the choices count: pointers may be NULL
/// @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_subspace_workspace(data: *const smx_data) -> usize {
    query(|| {
        // SAFETY: the caller vouches for the struct.
        let shape = unsafe { shape_of(data, 1) }?;
        Ok(subspace_in(&shape))
    })
}

/// Where the atoms lie: their mean and the directions in which they differ, from second moments; and how many classes these suggest.
///
/// @param data counts over one choice set
/// @param whitening what smx_whiten found for these data
/// @param tilt 0: the moments as they are; above 0, rows far from the one-class fit count less, which is clearer for far atoms
/// @param result made by smx_subspace_result_init, its three arrays set
/// @param options may be NULL
/// @param workspace smx_subspace_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_subspace(
    data: *const smx_data,
    whitening: *const smx_whitening,
    tilt: f64,
    result: *mut smx_subspace_result,
    options: *const smx_run_options,
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
            let mut r: smx_subspace_result = call.result("result", result)?;
            let o: smx_run_options = call.options("options", options)?;
            reserved(o.reserved)?;
            let ctx = context(o.isa, o.threads)?;
            let mean_atom = call.output("mean_atom", r.mean_atom, l)?;
            let eigenvalues = call.output("eigenvalues", r.eigenvalues, wh.rank())?;
            let directions = call.output("directions", r.directions, wh.rank() * l)?;
            let ws = call.workspace(workspace, workspace_size)?;
            call.disjoint()?;
            let data = memory.data()?;
            let mut ws = ws.lend(subspace_in(&data.shape()))?;
            let wh = wh.get(ws.fill(l, false)?)?;
            // Copied to the program's arrays at the end.
            let (m, e, d) = (ws.f64s(l)?, ws.f64s(wh.rank)?, ws.f64s(wh.rank * l)?);
            let found = subspace(&data, &wh, tilt, m, e, d, ctx, ws)?;
            mean_atom.get().copy_from_slice(m);
            eigenvalues.get().copy_from_slice(e);
            directions.get().copy_from_slice(d);
            (r.suggested_classes, r.noise, r.draws) = (found.suggested_classes, found.noise, found.draws);
            r.write(result);
            Ok(())
        })
    }
}

/// Bytes of workspace that smx_latent_moments needs.
///
/// @param data of which only the sizes and the layout of the choices count: pointers may be NULL
/// @param directions V
/// @param order R
/// @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_latent_moments_workspace(data: *const smx_data, directions: usize, order: usize) -> usize {
    // SAFETY: the caller vouches for the struct.
    query(|| Ok(latent_moments_workspace(&unsafe { shape_of(data, directions) }?, directions, order)))
}

/// Moments sum_k weight_k (v . d_k)^r, r = 0 to R, along V directions v, from Hermite polynomials. Finite offsets do not enter. One read of
/// the chosen rows.
///
/// @param data counts over one choice set
/// @param whitening what smx_whiten found for these data
/// @param number V
/// @param directions V x r numbers, each direction of norm 1 in whitened features
/// @param order R
/// @param moments to be filled: V x (R + 1)
/// @param errors to be filled: standard errors of `moments`; may be NULL
/// @param options may be NULL
/// @param workspace smx_latent_moments_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_latent_moments(
    data: *const smx_data,
    whitening: *const smx_whitening,
    number: usize,
    directions: *const f64,
    order: usize,
    moments: *mut f64,
    errors: *mut f64,
    options: *const smx_run_options,
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
            let overflow = |name| Fault::new(SMX_OVERFLOW, name);
            let n = number.checked_mul(wh.rank()).ok_or_else(|| overflow("directions"))?;
            let directions = call.input("directions", directions, n)?;
            let length = order.checked_add(1).and_then(|r| r.checked_mul(number)).ok_or_else(|| overflow("moments"))?;
            let moments = call.output("moments", moments, length)?;
            let errors = call.optional_output("errors", errors, length)?;
            let o: smx_run_options = call.options("options", options)?;
            reserved(o.reserved)?;
            let ctx = context(o.isa, o.threads)?;
            let ws = call.workspace(workspace, workspace_size)?;
            call.disjoint()?;
            let data = memory.data()?;
            let mut ws = ws.lend(latent_moments_workspace(&data.shape(), number, order))?;
            let wh = wh.get(ws.fill(l, false)?)?;
            let draws = Draws::new(&data)?;
            let frame = Frame::new(&data, &wh, &mut ws)?;
            univariate(&draws, &frame, directions.get(), order, moments.get(), errors.map(|x| x.get()), ctx, ws)?;
            Ok(())
        })
    }
}

/// Bytes of workspace that smx_latent_tensors needs.
///
/// @param data of which only the sizes and the layout of the choices count: pointers may be NULL
/// @param errors 1 where any standard errors are wanted, else 0
/// @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_latent_tensors_workspace(data: *const smx_data, errors: i32) -> usize {
    // SAFETY: the caller vouches for the struct.
    query(|| Ok(latent_tensors_workspace(&unsafe { shape_of(data, 1) }?, errors != 0)))
}

/// Latent tensors of order 1 to 3 and their standard errors. Finite offsets do not enter. One read of the chosen rows.
///
/// @param data counts over one choice set
/// @param whitening what smx_whiten found for these data
/// @param tensors made by smx_tensors_init, the arrays that are wanted set
/// @param options may be NULL
/// @param workspace smx_latent_tensors_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_latent_tensors(
    data: *const smx_data,
    whitening: *const smx_whitening,
    tensors: *const smx_tensors,
    options: *const smx_run_options,
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
            let t: smx_tensors = call.description("tensors", tensors)?;
            let r = wh.rank();
            // r is at most L, and L x L numbers exist.
            let cube = r.checked_mul(r * r).map(|_| packed_len(r)).ok_or_else(|| Fault::new(SMX_OVERFLOW, "third"))?;
            for (name, errors, of) in
                [("first", t.first_errors, t.first), ("second", t.second_errors, t.second), ("third", t.third_errors, t.third)]
            {
                if !errors.is_null() && of.is_null() {
                    return Err(Fault::new(SMX_NULL, name));
                }
            }
            let first = call.optional_output("first", t.first, r)?;
            let second = call.optional_output("second", t.second, r * r)?;
            let third = call.optional_output("third", t.third, cube)?;
            let first_errors = call.optional_output("first_errors", t.first_errors, r)?;
            let second_errors = call.optional_output("second_errors", t.second_errors, r * r)?;
            let third_errors = call.optional_output("third_errors", t.third_errors, cube)?;
            let o: smx_run_options = call.options("options", options)?;
            reserved(o.reserved)?;
            let ctx = context(o.isa, o.threads)?;
            let ws = call.workspace(workspace, workspace_size)?;
            call.disjoint()?;
            let data = memory.data()?;
            let wanted = first_errors.is_some() || second_errors.is_some() || third_errors.is_some();
            let mut ws = ws.lend(latent_tensors_workspace(&data.shape(), wanted))?;
            let wh = wh.get(ws.fill(l, false)?)?;
            let draws = Draws::new(&data)?;
            let frame = Frame::new(&data, &wh, &mut ws)?;
            let out = TensorOutput {
                first: first.map(|x| x.get()),
                second: second.map(|x| x.get()),
                third: third.map(|x| x.get()),
                first_errors: first_errors.map(|x| x.get()),
                second_errors: second_errors.map(|x| x.get()),
                third_errors: third_errors.map(|x| x.get()),
            };
            crate::moments::tensors(&draws, &frame, out, ctx, ws)?;
            Ok(())
        })
    }
}
