//! Mixtures and their evaluation
//!
//! A mixture of K classes is two arrays: K mixing weights, which are not negative and sum to one within 1e-8, and K x L atoms, class
//! after class: feature l of class k is `atoms[k * L + l]`. Within its choice set, class k chooses alternative i with probability
//! proportional to exp(offset_i + x_i . atom_k). The log-likelihood is that of all units, without multinomial coefficients.

use super::call::{Call, Fault, Input, Result, Struct, enter, guard};
use super::data::{Memory, shape_of, smx_data};
use super::status::*;
use crate::error::{Error, ErrorKind};
use crate::evaluate::{EvaluateOutput, Penalty, evaluate, evaluate_workspace};
use crate::mixture::MixtureRef;
use crate::parallel::Context;
use crate::simd::Isa;
use core::ffi::c_void;

/// Instruction set of a call. Results are the same bits for the same set, whatever the number of threads.
pub type smx_isa = i32;
/// The best one of this machine.
pub const SMX_ISA_AUTO: smx_isa = 0;
/// Plain code, everywhere.
pub const SMX_ISA_SCALAR: smx_isa = 1;
/// x86-64 with AVX2 and FMA.
pub const SMX_ISA_AVX2: smx_isa = 2;
/// x86-64 with AVX-512 F, BW, CD, DQ and VL.
pub const SMX_ISA_AVX512: smx_isa = 3;
/// AArch64.
pub const SMX_ISA_NEON: smx_isa = 4;

/// Options of functions that have no others. NULL in place of them: the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_run_options {
    /// sizeof(smx_run_options), set by smx_run_options_init.
    pub struct_size: usize,
    /// Threads, at least 1 (default); more than one only in libraries built with the feature "rayon".
    pub threads: usize,
    /// Instruction set; default SMX_ISA_AUTO, and SMX_UNSUPPORTED for one that this machine lacks.
    pub isa: smx_isa,
    /// Zero.
    pub reserved: i32,
}

impl Struct for smx_run_options {
    fn blank() -> Self {
        smx_run_options { struct_size: size_of::<Self>(), threads: 1, isa: SMX_ISA_AUTO, reserved: 0 }
    }
}

/// What run options say, checked.
///
/// # Safety
/// As for [`Call::options`].
pub(super) unsafe fn run_context(call: &mut Call, options: *const smx_run_options) -> Result<Context> {
    // SAFETY: by the caller's promise.
    let o: smx_run_options = unsafe { call.options("options", options) }?;
    reserved(o.reserved)?;
    context(o.isa, o.threads)
}

/// Options of smx_evaluate and smx_information. NULL in place of them: the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_evaluate_options {
    /// sizeof(smx_evaluate_options), set by smx_evaluate_options_init.
    pub struct_size: usize,
    /// Threads, at least 1 (default); more than one only in libraries built with the feature "rayon".
    pub threads: usize,
    /// Instruction set; default SMX_ISA_AUTO, and SMX_UNSUPPORTED for one that this machine lacks.
    pub isa: smx_isa,
    /// Zero.
    pub reserved: i32,
    /// Ridge lambda >= 0 of the penalty `lambda / 2 * sum_k atom_k' S atom_k`, in observations; default 0.
    pub ridge: f64,
    /// S, L x L: `covariance` of smx_whiten. May be NULL when `ridge` is 0.
    pub covariance: *const f64,
}

impl Struct for smx_evaluate_options {
    fn blank() -> Self {
        smx_evaluate_options {
            struct_size: size_of::<Self>(),
            threads: 1,
            isa: SMX_ISA_AUTO,
            reserved: 0,
            ridge: 0.0,
            covariance: core::ptr::null(),
        }
    }
}

/// What smx_evaluate finds. The arrays are the program's; NULL for what is not wanted.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_evaluation {
    /// sizeof(smx_evaluation), set by smx_evaluation_init.
    pub struct_size: usize,
    /// To be filled: log-likelihood of every unit, its weight (of counts, how often) not counted in, U numbers; minus infinity of an
    /// alternative that is not available, whose responsibilities are 0.
    pub unit_log_likelihoods: *mut f64,
    /// To be filled: posterior probabilities of the classes, U x K, unit after unit.
    pub responsibilities: *mut f64,
    /// To be filled: gradient of the log-likelihood in the log-odds of the weights, K numbers.
    pub weight_gradient: *mut f64,
    /// To be filled: gradient of the penalised log-likelihood in the atoms, K x L.
    pub atom_gradient: *mut f64,
    /// Log-likelihood.
    pub log_likelihood: f64,
    /// Log-likelihood less the penalty.
    pub penalized_log_likelihood: f64,
}

impl Struct for smx_evaluation {
    fn blank() -> Self {
        use core::ptr::null_mut;
        smx_evaluation {
            struct_size: size_of::<Self>(),
            unit_log_likelihoods: null_mut(),
            responsibilities: null_mut(),
            weight_gradient: null_mut(),
            atom_gradient: null_mut(),
            log_likelihood: 0.0,
            penalized_log_likelihood: 0.0,
        }
    }
}

/// Instruction set and threads of a call.
pub(super) fn context(isa: smx_isa, threads: usize) -> Result<Context> {
    if threads == 0 {
        return Err(Fault::new(SMX_INVALID_OPTION, "threads"));
    }
    let name = match isa {
        SMX_ISA_AUTO => return Ok(Context { isa: Isa::detect(), threads }),
        SMX_ISA_SCALAR => "scalar",
        SMX_ISA_AVX2 => "avx2",
        SMX_ISA_AVX512 => "avx512",
        SMX_ISA_NEON => "neon",
        _ => return Err(Fault::new(SMX_INVALID_OPTION, "isa")),
    };
    match Isa::available().find(|set| set.name() == name) {
        Some(isa) => Ok(Context { isa, threads }),
        None => Err(Fault::new(SMX_UNSUPPORTED, "isa")),
    }
}

pub(super) fn reserved(value: i32) -> Result<()> {
    match value {
        0 => Ok(()),
        _ => Err(Fault::new(SMX_INVALID_OPTION, "reserved")),
    }
}

pub(super) fn check_ridge(ridge: f64) -> Result<()> {
    match ridge >= 0.0 && ridge.is_finite() {
        true => Ok(()),
        false => Err(Fault::new(SMX_INVALID_OPTION, "ridge")),
    }
}

/// K × L, of which no class may be missing.
pub(super) fn atoms_length(classes: usize, columns: usize) -> Result<usize> {
    match classes.checked_mul(columns) {
        Some(0) => Err(Fault::new(SMX_EMPTY, "classes")),
        Some(n) => Ok(n),
        None => Err(Fault::new(SMX_OVERFLOW, "classes")),
    }
}

/// A mixture that is read.
pub(super) struct MixtureInput {
    names: [&'static str; 2],
    weights: Input<f64>,
    atoms: Input<f64>,
    columns: usize,
}

impl MixtureInput {
    pub fn new(call: &mut Call, classes: usize, columns: usize, weights: *const f64, atoms: *const f64) -> Result<Self> {
        Self::named(call, ["weights", "atoms"], classes, columns, weights, atoms)
    }

    /// One whose arguments have other names.
    pub fn named(
        call: &mut Call,
        names: [&'static str; 2],
        classes: usize,
        columns: usize,
        weights: *const f64,
        atoms: *const f64,
    ) -> Result<Self> {
        let n = atoms_length(classes, columns)?;
        Ok(MixtureInput { names, weights: call.input(names[0], weights, classes)?, atoms: call.input(names[1], atoms, n)?, columns })
    }

    /// # Safety
    /// As for [`Input::get`].
    pub unsafe fn get<'a>(&self) -> Result<MixtureRef<'a>> {
        // SAFETY: by the caller's promise.
        let mixture = unsafe { MixtureRef::new(self.weights.get(), self.atoms.get(), self.columns) };
        Ok(mixture.map_err(|e| match e.argument {
            "weights" => Error { argument: self.names[0], ..e },
            "atoms" => Error { argument: self.names[1], ..e },
            _ => e,
        })?)
    }
}

/// A workspace query: no error but the largest size, which no workspace has.
pub(super) fn query(body: impl FnOnce() -> Result<crate::workspace::WorkspaceSize>) -> usize {
    let mut size = usize::MAX;
    guard(|| {
        size = body().map_or(usize::MAX, |s| s.bytes());
        Ok(())
    });
    size
}

/// The covariance of a penalty, registered where there is one.
pub(super) fn penalty_input(call: &mut Call, o: &smx_evaluate_options, columns: usize) -> Result<Option<Input<f64>>> {
    check_ridge(o.ridge)?;
    let square = columns.checked_mul(columns).ok_or_else(|| Fault::new(SMX_OVERFLOW, "covariance"))?;
    match o.ridge > 0.0 {
        true => call.input("covariance", o.covariance, square).map(Some),
        false => Ok(None),
    }
}

/// The penalty, its covariance checked.
///
/// # Safety
/// As for [`Input::get`].
pub(super) unsafe fn penalty<'a>(o: &smx_evaluate_options, covariance: Option<Input<f64>>, columns: usize) -> Result<Option<Penalty<'a>>> {
    let Some(covariance) = covariance else { return Ok(None) };
    // SAFETY: by the caller's promise.
    let covariance = unsafe { covariance.get() };
    match covariance.iter().position(|c| !c.is_finite()) {
        Some(i) => Err(Error::new(ErrorKind::NotFinite, "covariance").at(i / columns).column(i % columns).into()),
        None => Ok(Some(Penalty { ridge: o.ridge, covariance })),
    }
}

/// Fills options with the defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_run_options_init(options: *mut smx_run_options, struct_size: usize) -> smx_status {
    // SAFETY: the caller vouches for `struct_size` bytes at `options`.
    guard(|| unsafe { Struct::init(options, struct_size, "options") })
}

/// Fills options with the defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_evaluate_options_init(options: *mut smx_evaluate_options, struct_size: usize) -> smx_status {
    // SAFETY: the caller vouches for `struct_size` bytes at `options`.
    guard(|| unsafe { Struct::init(options, struct_size, "options") })
}

/// Fills a result with zeros and its size: no array wanted.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_evaluation_init(out: *mut smx_evaluation, struct_size: usize) -> smx_status {
    // SAFETY: the caller vouches for `struct_size` bytes at `out`.
    guard(|| unsafe { Struct::init(out, struct_size, "out") })
}

/// Bytes of workspace that smx_evaluate needs.
///
/// @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
/// @param classes K
/// @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_evaluate_workspace(data: *const smx_data, classes: usize) -> usize {
    // SAFETY: the caller vouches for the struct.
    query(|| Ok(evaluate_workspace(&unsafe { shape_of(data, classes) }?, classes)))
}

/// Log-likelihood, posterior class probabilities and gradient at a mixture. Two reads of the features, or one where atom_gradient
/// is NULL; over ranks two. One more checks them over ranks, and where there are choice sets with offsets.
///
/// @param data the data
/// @param classes K
/// @param weights K mixing weights
/// @param atoms K x L
/// @param options may be NULL
/// @param out made by smx_evaluation_init; its arrays and numbers are written only when all is well
/// @param workspace smx_evaluate_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_evaluate(
    data: *const smx_data,
    classes: usize,
    weights: *const f64,
    atoms: *const f64,
    options: *const smx_evaluate_options,
    out: *mut smx_evaluation,
    workspace: *mut c_void,
    workspace_size: usize,
    error: *mut smx_error,
) -> smx_status {
    // SAFETY: the header has the caller vouch for every struct and array, here and below.
    unsafe {
        enter(error, |call| {
            let memory = Memory::new(call, data)?;
            let l = memory.columns();
            let mixture = MixtureInput::new(call, classes, l, weights, atoms)?;
            let o = call.options("options", options)?;
            reserved(o.reserved)?;
            let ctx = context(o.isa, o.threads)?;
            let covariance = penalty_input(call, &o, l)?;
            let mut result = call.result("out", out)?;
            let u = memory.shape()?.units;
            let uk = u.checked_mul(classes).ok_or_else(|| Fault::new(SMX_OVERFLOW, "responsibilities"))?;
            let unit = call.optional_output("unit_log_likelihoods", result.unit_log_likelihoods, u)?;
            let r = call.optional_output("responsibilities", result.responsibilities, uk)?;
            let gw = call.optional_output("weight_gradient", result.weight_gradient, classes)?;
            let ga = call.optional_output("atom_gradient", result.atom_gradient, atoms_length(classes, l)?)?;
            let ws = call.workspace(workspace, workspace_size)?;
            call.disjoint()?;
            let data = memory.data_unseen()?;
            let mixture = mixture.get()?;
            let penalty = penalty(&o, covariance, l)?;
            let outputs = EvaluateOutput {
                unit_log_likelihoods: unit.map(|x| x.get()),
                responsibilities: r.map(|x| x.get()),
                weight_gradient: gw.map(|x| x.get()),
                atom_gradient: ga.map(|x| x.get()),
            };
            let value = evaluate(&data, mixture, penalty, ctx, outputs, ws.lend(evaluate_workspace(&data.shape(), classes))?)?;
            result.log_likelihood = value.log_likelihood;
            result.penalized_log_likelihood = value.penalized_log_likelihood;
            result.write(out);
            Ok(())
        })
    }
}
