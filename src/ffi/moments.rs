//! Latent moments
//!
//! For counts over one choice set (SMX_COUNTS or SMX_SPARSE_COUNTS; else SMX_UNSUPPORTED): moments of the atoms from the chosen rows. In
//! whitened features y = to_atoms (x - mean), a choice of class k is as if drawn from a normal law around the atom d_k, as nearly as the
//! rows look normal: Hermite polynomials of y then estimate sum_k weight_k (v . d_k)^r.

use super::call::{Fault, Result, Struct, enter, guard};
use super::data::{Memory, shape_of, smx_data};
use super::em::{WhiteningInput, smx_whitening};
use super::evaluate::{query, run_context, smx_run_options};
use super::status::*;
use crate::data::Shape;
use crate::error::{Error, ErrorKind};
use crate::moments::{
    Draws, Frame, TensorOutput, cross, cross_workspace, packed_len, subspace, subspace_workspace, tensors_workspace, third_projected,
    third_projected_workspace, third_slices, third_slices_workspace, univariate, univariate_workspace,
};
use crate::workspace::WorkspaceSize;
use core::ffi::c_void;

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

/// Latent tensors; the arrays are the program's, NULL for what is not wanted. What is beyond a double is infinite or NaN, and its standard
/// error infinite. Third moments are packed: entry (a, b, c), a >= b >= c, is
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

pub(super) fn flags(shape: &Shape) -> WorkspaceSize {
    WorkspaceSize::of::<bool>(shape.columns)
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

/// Bytes of workspace that smx_subspace needs.
///
/// @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
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
/// Offsets enter as weights of the alternatives.
///
/// @param data counts over one choice set
/// @param whitening what smx_whiten found for these data; where its rank is 0, SMX_ILL_POSED
/// @param tilt at least 0; 0: the moments as they are; above 0, rows far from the one-class fit count less, which is clearer for far atoms
/// @param options may be NULL
/// @param result made by smx_subspace_result_init, its three arrays set
/// @param workspace smx_subspace_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_subspace(
    data: *const smx_data,
    whitening: *const smx_whitening,
    tilt: f64,
    options: *const smx_run_options,
    result: *mut smx_subspace_result,
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
            let ctx = run_context(call, options)?;
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
/// @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
/// @param number V
/// @param order R
/// @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_latent_moments_workspace(data: *const smx_data, number: usize, order: usize) -> usize {
    // SAFETY: the caller vouches for the struct.
    query(|| Ok(latent_moments_workspace(&unsafe { shape_of(data, number.max(1)) }?, number, order)))
}

/// Moments sum_k weight_k (v . d_k)^r, r = 0 to R, along V directions v, from Hermite polynomials. Finite offsets do not enter. One read of
/// the chosen rows.
///
/// @param data counts over one choice set
/// @param whitening what smx_whiten found for these data, of rank r; where that is 0, SMX_ILL_POSED
/// @param number V
/// @param directions V x r numbers, each direction of norm 1 (to 1e-6, or SMX_INVALID_OPTION) in whitened features
/// @param order R
/// @param options may be NULL
/// @param moments to be filled: V x (R + 1); of high orders they may be beyond a double, infinite or NaN, with infinite errors
/// @param errors to be filled: standard errors of `moments`; may be NULL
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
    options: *const smx_run_options,
    moments: *mut f64,
    errors: *mut f64,
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
            let ctx = run_context(call, options)?;
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
/// @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
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
/// @param options may be NULL
/// @param tensors made by smx_tensors_init, the arrays that are wanted set
/// @param workspace smx_latent_tensors_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_latent_tensors(
    data: *const smx_data,
    whitening: *const smx_whitening,
    options: *const smx_run_options,
    tensors: *const smx_tensors,
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
            let ctx = run_context(call, options)?;
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

fn cross_moments_workspace(shape: &Shape, order: usize) -> WorkspaceSize {
    Frame::workspace(shape).and(cross_workspace(shape, order)).and(flags(shape))
}

/// Bytes of workspace that smx_cross_moments needs.
///
/// @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
/// @param order R
/// @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_cross_moments_workspace(data: *const smx_data, order: usize) -> usize {
    // SAFETY: the caller vouches for the struct.
    query(|| Ok(cross_moments_workspace(&unsafe { shape_of(data, 1) }?, order)))
}

/// Cross moments sum_k weight_k (v . d_k)^r d_k, r = 0 to R, along one direction v. Finite offsets do not enter. One read of the chosen
/// rows.
///
/// @param data counts over one choice set
/// @param whitening what smx_whiten found for these data, of rank r; where that is 0, SMX_ILL_POSED
/// @param direction v: r numbers, of norm 1 (to 1e-6, or SMX_INVALID_OPTION) in whitened features
/// @param order R
/// @param options may be NULL
/// @param moments to be filled: (R + 1) x r, order after order; of high orders as those of smx_latent_moments
/// @param errors to be filled: standard errors of `moments`; may be NULL
/// @param workspace smx_cross_moments_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_cross_moments(
    data: *const smx_data,
    whitening: *const smx_whitening,
    direction: *const f64,
    order: usize,
    options: *const smx_run_options,
    moments: *mut f64,
    errors: *mut f64,
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
            let direction = call.input("direction", direction, wh.rank())?;
            let length = order.checked_add(1).and_then(|n| n.checked_mul(wh.rank())).ok_or_else(|| Fault::new(SMX_OVERFLOW, "moments"))?;
            let moments = call.output("moments", moments, length)?;
            let errors = call.optional_output("errors", errors, length)?;
            let ctx = run_context(call, options)?;
            let ws = call.workspace(workspace, workspace_size)?;
            call.disjoint()?;
            let data = memory.data()?;
            let mut ws = ws.lend(cross_moments_workspace(&data.shape(), order))?;
            let wh = wh.get(ws.fill(l, false)?)?;
            let draws = Draws::new(&data)?;
            let frame = Frame::new(&data, &wh, &mut ws)?;
            cross(&draws, &frame, direction.get(), order, moments.get(), errors.map(|x| x.get()), ctx, ws)?;
            Ok(())
        })
    }
}

fn third_moments_workspace(shape: &Shape, vectors: usize) -> WorkspaceSize {
    let one = third_projected_workspace(shape, vectors).or(third_slices_workspace(shape));
    Frame::workspace(shape).and(one).and(flags(shape))
}

/// Bytes of workspace that smx_third_projected and smx_third_slices need.
///
/// @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
/// @param number C
/// @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_third_moments_workspace(data: *const smx_data, number: usize) -> usize {
    // SAFETY: the caller vouches for the struct.
    query(|| Ok(third_moments_workspace(&unsafe { shape_of(data, number.max(1)) }?, number)))
}

/// Third moments seen through C vectors: entry (a, b, c) is sum_k weight_k (w_a + v_a . d_k) (w_b + v_b . d_k) (w_c + v_c . d_k), without
/// the r x r x r tensor. One read of the chosen rows, L C + C^3 / 6 operations a row.
///
/// @param data counts over one choice set
/// @param whitening what smx_whiten found for these data, of rank r; where that is 0, SMX_ILL_POSED
/// @param number C
/// @param vectors C x r numbers v, in whitened features
/// @param constants C numbers w; NULL: zeros
/// @param options may be NULL
/// @param third to be filled: C (C + 1) (C + 2) / 6 numbers, packed as in smx_tensors; infinite or NaN where they are beyond a double
/// @param workspace smx_third_moments_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_third_projected(
    data: *const smx_data,
    whitening: *const smx_whitening,
    number: usize,
    vectors: *const f64,
    constants: *const f64,
    options: *const smx_run_options,
    third: *mut f64,
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
            let n = number.checked_mul(wh.rank()).ok_or_else(|| Fault::new(SMX_OVERFLOW, "vectors"))?;
            let vectors = call.input("vectors", vectors, n)?;
            let constants = call.optional_input("constants", constants, number)?;
            let third = call.output("third", third, packed_len(number))?;
            let ctx = run_context(call, options)?;
            let ws = call.workspace(workspace, workspace_size)?;
            call.disjoint()?;
            let data = memory.data()?;
            let mut ws = ws.lend(third_moments_workspace(&data.shape(), number))?;
            let wh = wh.get(ws.fill(l, false)?)?;
            let (vectors, constants) = (finite("vectors", vectors.get())?, constants.map(|w| w.get()));
            let constants = constants.map(|w| finite("constants", w)).transpose()?;
            let draws = Draws::new(&data)?;
            let frame = Frame::new(&data, &wh, &mut ws)?;
            third_projected(&draws, &frame, vectors, constants, third.get(), ctx, ws)?;
            Ok(())
        })
    }
}

/// Third moments contracted with C vectors v: slice i is sum_k weight_k (v_i . d_k) d_k d_k'. One read of the chosen rows, L r + C r^2 / 2
/// operations a row.
///
/// @param data counts over one choice set
/// @param whitening what smx_whiten found for these data, of rank r; where that is 0, SMX_ILL_POSED
/// @param number C
/// @param vectors C x r numbers, in whitened features
/// @param options may be NULL
/// @param slices to be filled: C x r x r; infinite or NaN where they are beyond a double
/// @param workspace smx_third_moments_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_third_slices(
    data: *const smx_data,
    whitening: *const smx_whitening,
    number: usize,
    vectors: *const f64,
    options: *const smx_run_options,
    slices: *mut f64,
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
            let n = number.checked_mul(wh.rank()).ok_or_else(|| overflow("vectors"))?;
            let vectors = call.input("vectors", vectors, n)?;
            let length = n.checked_mul(wh.rank()).ok_or_else(|| overflow("slices"))?;
            let slices = call.output("slices", slices, length)?;
            let ctx = run_context(call, options)?;
            let ws = call.workspace(workspace, workspace_size)?;
            call.disjoint()?;
            let data = memory.data()?;
            let mut ws = ws.lend(third_moments_workspace(&data.shape(), number))?;
            let wh = wh.get(ws.fill(l, false)?)?;
            let vectors = finite("vectors", vectors.get())?;
            let draws = Draws::new(&data)?;
            let frame = Frame::new(&data, &wh, &mut ws)?;
            third_slices(&draws, &frame, vectors, slices.get(), ctx, ws)?;
            Ok(())
        })
    }
}

/// The values, unless one of them is a NaN or an infinity.
fn finite<'a>(name: &'static str, values: &'a [f64]) -> Result<&'a [f64]> {
    match values.iter().position(|x| !x.is_finite()) {
        None => Ok(values),
        Some(i) => Err(Error::new(ErrorKind::NotFinite, name).at(i).into()),
    }
}
