//! Whitening, and steps of expectation maximisation
//!
//! Steps are taken in features that are centred and whitened inside choice sets, whatever their units; smx_whiten finds the maps once,
//! any number of steps use them. The features themselves are neither copied nor changed.

use super::call::{Call, Fault, Input, Output, Result, Struct, enter, guard};
use super::data::{Memory, shape_of, smx_data};
use super::evaluate::{atoms_length, check_ridge, context, query, run_context, smx_isa, smx_run_options};
use super::status::*;
use crate::data::Shape;
use crate::em::{MStep, em_step, em_step_workspace};
use crate::error::{Error, ErrorKind};
use crate::mixture::MixtureRef;
use crate::whiten::Whitening;
use crate::workspace::WorkspaceSize;
use core::ffi::c_void;

/// How the M-step moves the atoms.
pub type smx_m_step = i32;
/// One step along the gradient in whitened features.
pub const SMX_M_STEP_GRADIENT: smx_m_step = 0;
/// One Newton step; p L^2 / 2 operations a class.
pub const SMX_M_STEP_NEWTON: smx_m_step = 1;
/// Newton steps to convergence.
pub const SMX_M_STEP_CONVERGED: smx_m_step = 2;

/// Features whitened inside choice sets: where the results are to go, then the rank. The arrays are the program's and stay in use.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_whitening {
    /// sizeof(smx_whitening), set by smx_whitening_init.
    pub struct_size: usize,
    /// Features L.
    pub columns: usize,
    /// Rank r of the features inside choice sets; L unless features are collinear or constant.
    pub rank: usize,
    /// To be filled: S, the covariance inside choice sets: the sum of (x - m)(x - m)' over all alternatives that are available, m their
    /// mean in the same choice set, divided by how many they are. L x L.
    pub covariance: *mut f64,
    /// To be filled: r x L in an array of L x L: an atom is `sum_j b_j to_atoms[j]`, b its whitened coordinates.
    pub to_atoms: *mut f64,
    /// To be filled: r x L in an array of L x L: `b = from_atoms . atom`.
    pub from_atoms: *mut f64,
    /// To be filled: L flags: whether a feature is not identified, being constant inside every choice set or collinear: of its standard
    /// deviation other features leave less than 3e-7 sqrt(L), or than eight times the rounding of its largest value.
    pub unidentified: *mut u8,
}

impl Struct for smx_whitening {
    fn blank() -> Self {
        use core::ptr::null_mut;
        smx_whitening {
            struct_size: size_of::<Self>(),
            columns: 0,
            rank: 0,
            covariance: null_mut(),
            to_atoms: null_mut(),
            from_atoms: null_mut(),
            unidentified: null_mut(),
        }
    }
}

/// Options of smx_em_step. NULL in place of them: the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_em_options {
    /// sizeof(smx_em_options), set by smx_em_options_init.
    pub struct_size: usize,
    /// Threads, at least 1 (default).
    pub threads: usize,
    /// Instruction set; default SMX_ISA_AUTO.
    pub isa: smx_isa,
    /// The form of the M-step; default SMX_M_STEP_NEWTON.
    pub m_step: smx_m_step,
    /// Ridge lambda >= 0, in observations; default 0.
    pub ridge: f64,
}

impl Struct for smx_em_options {
    fn blank() -> Self {
        smx_em_options { struct_size: size_of::<Self>(), threads: 1, isa: 0, m_step: SMX_M_STEP_NEWTON, ridge: 0.0 }
    }
}

fn m_step(form: smx_m_step) -> Result<MStep> {
    match form {
        SMX_M_STEP_GRADIENT => Ok(MStep::Gradient),
        SMX_M_STEP_NEWTON => Ok(MStep::Newton),
        SMX_M_STEP_CONVERGED => Ok(MStep::Converged),
        _ => Err(Fault::new(SMX_INVALID_OPTION, "m_step")),
    }
}

/// Workspace of a step, and of the flags that C has as bytes.
fn workspace_of(shape: &Shape, classes: usize, form: MStep) -> WorkspaceSize {
    em_step_workspace(shape, classes, form).and(WorkspaceSize::of::<bool>(shape.columns))
}

/// The arrays of a whitening that is read.
pub(super) struct WhiteningInput {
    columns: usize,
    rank: usize,
    covariance: Input<f64>,
    to_atoms: Input<f64>,
    from_atoms: Input<f64>,
    unidentified: Input<u8>,
}

impl WhiteningInput {
    /// # Safety
    /// As for [`Struct::read`].
    pub unsafe fn new(call: &mut Call, p: *const smx_whitening, columns: usize) -> Result<Self> {
        // SAFETY: by the caller's promise.
        let w: smx_whitening = unsafe { call.description("whitening", p) }?;
        if w.columns != columns {
            return Err(Fault::sizes(SMX_SHAPE, "whitening", columns, w.columns));
        }
        if w.rank > columns {
            return Err(Fault::new(SMX_OUT_OF_RANGE, "rank"));
        }
        let square = columns.checked_mul(columns).ok_or_else(|| Fault::new(SMX_OVERFLOW, "covariance"))?;
        Ok(WhiteningInput {
            columns,
            rank: w.rank,
            covariance: call.input("covariance", w.covariance, square)?,
            to_atoms: call.input("to_atoms", w.to_atoms, w.rank * columns)?,
            from_atoms: call.input("from_atoms", w.from_atoms, w.rank * columns)?,
            unidentified: call.input("unidentified", w.unidentified, columns)?,
        })
    }

    pub fn rank(&self) -> usize {
        self.rank
    }

    /// The whitening; `flags`: L of them, since C's bytes need not be bools.
    ///
    /// # Safety
    /// As for [`Input::get`].
    pub unsafe fn get<'a>(&self, flags: &'a mut [bool]) -> Result<Whitening<'a>> {
        // SAFETY: by the caller's promise.
        let (covariance, to_atoms, from_atoms, bytes) =
            unsafe { (self.covariance.get(), self.to_atoms.get(), self.from_atoms.get(), self.unidentified.get()) };
        for (name, matrix) in [("covariance", covariance), ("to_atoms", to_atoms), ("from_atoms", from_atoms)] {
            if let Some(i) = matrix.iter().position(|x| !x.is_finite()) {
                return Err(Error::new(ErrorKind::NotFinite, name).at(i / self.columns).column(i % self.columns).into());
            }
        }
        for (flag, byte) in flags.iter_mut().zip(bytes) {
            *flag = *byte != 0;
        }
        Ok(Whitening { columns: self.columns, rank: self.rank, covariance, to_atoms, from_atoms, unidentified: flags })
    }
}

/// Fills a whitening with zeros and its size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_whitening_init(whitening: *mut smx_whitening, struct_size: usize) -> smx_status {
    // SAFETY: the caller vouches for `struct_size` bytes at `whitening`.
    guard(|| unsafe { Struct::init(whitening, struct_size, "whitening") })
}

/// Fills options with the defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_em_options_init(options: *mut smx_em_options, struct_size: usize) -> smx_status {
    // SAFETY: the caller vouches for `struct_size` bytes at `options`.
    guard(|| unsafe { Struct::init(options, struct_size, "options") })
}

/// Bytes of workspace that smx_whiten needs.
///
/// @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
/// @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_whiten_workspace(data: *const smx_data) -> usize {
    // SAFETY: the caller vouches for the struct.
    query(|| Ok(Whitening::workspace(&unsafe { shape_of(data, 1) }?)))
}

/// Whitens the features inside choice sets. p L^2 / 2 and L^3 operations.
///
/// @param data the data
/// @param options may be NULL
/// @param whitening made by smx_whitening_init, its four arrays set; they, `columns` and `rank` are written when all is well
/// @param workspace smx_whiten_workspace bytes, of any alignment; free to use again afterwards
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_whiten(
    data: *const smx_data,
    options: *const smx_run_options,
    whitening: *mut smx_whitening,
    workspace: *mut c_void,
    workspace_size: usize,
    error: *mut smx_error,
) -> smx_status {
    // SAFETY: the header has the caller vouch for every struct and array, here and below.
    unsafe {
        enter(error, |call| {
            let memory = Memory::new(call, data)?;
            let l = memory.columns();
            let mut result = call.result("whitening", whitening)?;
            let ctx = run_context(call, options)?;
            let square = l.checked_mul(l).ok_or_else(|| Fault::new(SMX_OVERFLOW, "covariance"))?;
            let covariance = call.output("covariance", result.covariance, square)?;
            let to_atoms = call.output("to_atoms", result.to_atoms, square)?;
            let from_atoms = call.output("from_atoms", result.from_atoms, square)?;
            let unidentified = call.output("unidentified", result.unidentified, l)?;
            let ws = call.workspace(workspace, workspace_size)?;
            call.disjoint()?;
            let data = memory.data()?;
            let wh = Whitening::new(&data, ctx.isa, &mut ws.lend(Whitening::workspace(&data.shape()))?)?;
            let n = wh.rank * l;
            covariance.get().copy_from_slice(wh.covariance);
            for (out, from) in [(to_atoms.get(), wh.to_atoms), (from_atoms.get(), wh.from_atoms)] {
                out[..n].copy_from_slice(from);
                out[n..].fill(0.0);
            }
            copy_flags(Some(unidentified), wh.unidentified);
            (result.columns, result.rank) = (l, wh.rank);
            result.write(whitening);
            Ok(())
        })
    }
}

/// Bytes of workspace that smx_em_step needs.
///
/// @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
/// @param classes K
/// @param options may be NULL
/// @return the bytes; SIZE_MAX where a description is unusable or sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_em_step_workspace(data: *const smx_data, classes: usize, options: *const smx_em_options) -> usize {
    query(|| {
        // SAFETY: the caller vouches for the structs.
        let shape = unsafe { shape_of(data, classes) }?;
        // SAFETY: as above.
        let o = unsafe { Struct::read_or_blank(options, "options") }?;
        Ok(workspace_of(&shape, classes, m_step(o.m_step)?))
    })
}

/// One safeguarded step of expectation maximisation: weights and atoms become the next ones, whose penalised log-likelihood is not
/// lower beyond rounding.
///
/// @param data the data
/// @param whitening what smx_whiten found for these data
/// @param classes K
/// @param options may be NULL
/// @param weights K mixing weights, before and after; kept on errors
/// @param atoms K x L, before and after; kept on errors
/// @param log_likelihood log-likelihood where the step began; may be NULL
/// @param penalized_log_likelihood the same less the penalty; may be NULL
/// @param workspace smx_em_step_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_em_step(
    data: *const smx_data,
    whitening: *const smx_whitening,
    classes: usize,
    options: *const smx_em_options,
    weights: *mut f64,
    atoms: *mut f64,
    log_likelihood: *mut f64,
    penalized_log_likelihood: *mut f64,
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
            let n = atoms_length(classes, l)?;
            let weights = call.output("weights", weights, classes)?;
            let atoms = call.output("atoms", atoms, n)?;
            let value = call.optional_output("log_likelihood", log_likelihood, 1)?;
            let penalized = call.optional_output("penalized_log_likelihood", penalized_log_likelihood, 1)?;
            let o = call.options("options", options)?;
            let (ctx, form) = (context(o.isa, o.threads)?, m_step(o.m_step)?);
            check_ridge(o.ridge)?;
            let ws = call.workspace(workspace, workspace_size)?;
            call.disjoint()?;
            let data = memory.data()?;
            let (weights, atoms) = (weights.get(), atoms.get());
            MixtureRef::new(weights, atoms, l)?;
            let mut ws = ws.lend(workspace_of(&data.shape(), classes, form))?;
            let wh = wh.get(ws.fill(l, false)?)?;
            let found = em_step(&data, &wh, o.ridge, form, weights, atoms, ctx, ws)?;
            for (out, x) in [(value, found.log_likelihood), (penalized, found.penalized_log_likelihood)] {
                if let Some(out) = out {
                    out.get()[0] = x;
                }
            }
            Ok(())
        })
    }
}

/// Flags of Rust as bytes of C.
///
/// # Safety
/// As of [`Output::get`]: the call is past `disjoint`, and the output is not in use.
pub(super) unsafe fn copy_flags(out: Option<Output<u8>>, flags: &[bool]) {
    if let Some(out) = out {
        // SAFETY: by the contract.
        for (out, flag) in unsafe { out.get() }.iter_mut().zip(flags) {
            *out = u8::from(*flag);
        }
    }
}
