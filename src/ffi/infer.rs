//! What a fitted mixture says
//!
//! Choice probabilities, standard errors, and the second-order quantities behind them. Posterior probabilities of the classes, unit by
//! unit, are the `responsibilities` of smx_evaluate. Matrices over all parameters have D = K - 1 + K * L rows: the log-odds of the
//! weights against the last class, then the atoms, class after class; but for that of smx_covariance, which is of the weights themselves.

use super::call::{Fault, Result, Struct, enter, guard};
use super::data::{Memory, shape_of, smx_data};
use super::em::{WhiteningInput, smx_whitening};
use super::evaluate::{MixtureInput, atoms_length, check_ridge, context, penalty, query, reserved, smx_evaluate_options, smx_isa};
use super::evaluate::{penalty_input, run_context, smx_run_options};
use super::status::*;
use crate::data::Shape;
use crate::error::Error;
use crate::evaluate::{hessian_vector, hessian_vector_workspace, information_workspace, observed_information, score_products};
use crate::inference::{Variance, covariance, standard_errors, standard_errors_workspace};
use crate::parallel::Context;
use crate::predict::{choice_probabilities, choice_probabilities_workspace};
use crate::scan::{criteria, criteria_workspace};
use crate::workspace::WorkspaceSize;
use core::ffi::c_void;

/// Where the variance of standard errors comes from.
pub type smx_variance = i32;
/// The inverse of the observed information: right when the model is.
pub const SMX_VARIANCE_INFORMATION: smx_variance = 0;
/// The sandwich, weights of units being frequencies: w equal units stand behind a unit of weight w.
pub const SMX_VARIANCE_ROBUST: smx_variance = 1;
/// The sandwich, weights of units being sampling weights: one unit stands behind each. It means nothing for counts (and is not
/// refused there), where one draw would stand behind each alternative.
pub const SMX_VARIANCE_ROBUST_SAMPLING: smx_variance = 2;

/// Options of smx_standard_errors and smx_covariance. NULL in place of them: the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_inference_options {
    /// sizeof(smx_inference_options), set by smx_inference_options_init.
    pub struct_size: usize,
    /// Threads, at least 1 (default).
    pub threads: usize,
    /// Instruction set; default SMX_ISA_AUTO.
    pub isa: smx_isa,
    /// Where the variance comes from; default SMX_VARIANCE_INFORMATION.
    pub variance: smx_variance,
    /// The ridge that the mixture was fitted with; default 0.
    pub ridge: f64,
}

impl Struct for smx_inference_options {
    fn blank() -> Self {
        smx_inference_options { struct_size: size_of::<Self>(), threads: 1, isa: 0, variance: SMX_VARIANCE_INFORMATION, ridge: 0.0 }
    }
}

/// What weighs likelihood against the number of parameters; smaller is better.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_criteria_result {
    /// sizeof(smx_criteria_result), set by smx_criteria_result_init.
    pub struct_size: usize,
    /// Parameters d = K - 1 + K r, r the rank of the features inside choice sets.
    pub parameters: usize,
    /// Observations n: weights of the units, summed; where they are shares of a whole the criteria mean nothing.
    pub observations: f64,
    /// -2 log-likelihood + 2 d.
    pub aic: f64,
    /// -2 log-likelihood + d ln n.
    pub bic: f64,
    /// bic, plus twice the entropy of the posterior class probabilities: classes that overlap cost.
    pub icl: f64,
}

impl Struct for smx_criteria_result {
    fn blank() -> Self {
        smx_criteria_result { struct_size: size_of::<Self>(), parameters: 0, observations: 0.0, aic: 0.0, bic: 0.0, icl: 0.0 }
    }
}

/// D × D, and K × L.
fn parameters(classes: usize, columns: usize) -> Result<(usize, usize)> {
    let n = atoms_length(classes, columns)?;
    let d = n.checked_add(classes - 1).and_then(|d| Some((d, d.checked_mul(d)?)));
    d.ok_or_else(|| Fault::new(SMX_OVERFLOW, "classes"))
}

/// Numbers of a matrix over all weights and atoms.
fn all_parameters(classes: usize, columns: usize) -> Result<usize> {
    let p = atoms_length(classes, columns)?.checked_add(classes).and_then(|p| p.checked_mul(p));
    p.ok_or_else(|| Fault::new(SMX_OVERFLOW, "classes"))
}

/// Workspace of standard errors or covariances, and of the flags that C has as bytes.
fn errors_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
    standard_errors_workspace(shape, classes).and(WorkspaceSize::of::<bool>(shape.columns))
}

impl smx_inference_options {
    fn check(&self) -> Result<(Context, Variance)> {
        let ctx = context(self.isa, self.threads)?;
        let variance = match self.variance {
            SMX_VARIANCE_INFORMATION => Variance::Information,
            SMX_VARIANCE_ROBUST => Variance::Robust,
            SMX_VARIANCE_ROBUST_SAMPLING => Variance::RobustSampling,
            _ => return Err(Fault::new(SMX_INVALID_OPTION, "variance")),
        };
        check_ridge(self.ridge)?;
        Ok((ctx, variance))
    }
}

/// Fills options with the defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_inference_options_init(options: *mut smx_inference_options, struct_size: usize) -> smx_status {
    // SAFETY: the caller vouches for `struct_size` bytes at `options`.
    guard(|| unsafe { Struct::init(options, struct_size, "options") })
}

/// Bytes of workspace that smx_choice_probabilities needs.
///
/// @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
/// @param classes K
/// @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_choice_probabilities_workspace(data: *const smx_data, classes: usize) -> usize {
    query(|| {
        // SAFETY: the caller vouches for the struct.
        let shape = unsafe { shape_of(data, classes) }?;
        Ok(room_for_probabilities(&shape, classes))
    })
}

/// Where there are no counts, one choice stands for them.
fn room_for_probabilities(shape: &Shape, classes: usize) -> WorkspaceSize {
    let one = Shape { units: 1, units_are_rows: false, ..*shape };
    choice_probabilities_workspace(shape, classes).or(choice_probabilities_workspace(&one, classes))
}

/// Choice probabilities of every alternative inside its choice set. One read of the features.
///
/// @param data the data, checked as everywhere; their choices do not matter. Where there are none: SMX_COUNTS with `counts` NULL, choice sets
///             or not, but not of a shard
/// @param classes K
/// @param weights K mixing weights
/// @param atoms K x L
/// @param options may be NULL
/// @param by_class to be filled: probability of each alternative in each class, p x K, row after row; may be NULL
/// @param mixed to be filled: the same mixed over the classes, p numbers; may be NULL
/// @param workspace smx_choice_probabilities_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_choice_probabilities(
    data: *const smx_data,
    classes: usize,
    weights: *const f64,
    atoms: *const f64,
    options: *const smx_run_options,
    by_class: *mut f64,
    mixed: *mut f64,
    workspace: *mut c_void,
    workspace_size: usize,
    error: *mut smx_error,
) -> smx_status {
    // SAFETY: the header has the caller vouch for every struct and array, here and below.
    unsafe {
        enter(error, |call| {
            let memory = Memory::of_alternatives(call, data)?;
            let mixture = MixtureInput::new(call, classes, memory.columns(), weights, atoms)?;
            let ctx = run_context(call, options)?;
            let n = memory.rows().checked_mul(classes).ok_or_else(|| Fault::new(SMX_OVERFLOW, "by_class"))?;
            let by_class = call.optional_output("by_class", by_class, n)?;
            let mixed = call.optional_output("mixed", mixed, memory.rows())?;
            let ws = call.workspace(workspace, workspace_size)?;
            call.disjoint()?;
            let data = memory.data()?;
            let ws = ws.lend(room_for_probabilities(&data.shape(), classes))?;
            choice_probabilities(&data, mixture.get()?, by_class.map(|x| x.get()), mixed.map(|x| x.get()), ctx, ws)?;
            Ok(())
        })
    }
}

/// Fills a result with zeros and its size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_criteria_result_init(result: *mut smx_criteria_result, struct_size: usize) -> smx_status {
    // SAFETY: the caller vouches for `struct_size` bytes at `result`.
    guard(|| unsafe { Struct::init(result, struct_size, "result") })
}

/// Bytes of workspace that smx_criteria needs.
///
/// @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
/// @param classes K
/// @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_criteria_workspace(data: *const smx_data, classes: usize) -> usize {
    // SAFETY: the caller vouches for the struct.
    query(|| Ok(criteria_workspace(&unsafe { shape_of(data, classes) }?, classes)))
}

/// Criteria of a mixture, to choose the number of classes by: fit with K = 1, 2, ... (smx_fit_options.grow_weights makes each begin at the
/// one before) and take the smallest. One evaluation.
///
/// @param data the data
/// @param classes K
/// @param weights K mixing weights
/// @param atoms K x L
/// @param rank r, at most L: of smx_fit_result or smx_whitening
/// @param options may be NULL
/// @param result made by smx_criteria_result_init
/// @param workspace smx_criteria_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_criteria(
    data: *const smx_data,
    classes: usize,
    weights: *const f64,
    atoms: *const f64,
    rank: usize,
    options: *const smx_run_options,
    result: *mut smx_criteria_result,
    workspace: *mut c_void,
    workspace_size: usize,
    error: *mut smx_error,
) -> smx_status {
    // SAFETY: the header has the caller vouch for every struct and array, here and below.
    unsafe {
        enter(error, |call| {
            let memory = Memory::new(call, data)?;
            let mixture = MixtureInput::new(call, classes, memory.columns(), weights, atoms)?;
            let mut r: smx_criteria_result = call.result("result", result)?;
            let ctx = run_context(call, options)?;
            let ws = call.workspace(workspace, workspace_size)?;
            call.disjoint()?;
            let data = memory.data()?;
            let ws = ws.lend(criteria_workspace(&data.shape(), classes))?;
            let found = criteria(&data, mixture.get()?, rank, ctx, ws)?;
            (r.parameters, r.observations) = (found.parameters, found.observations);
            (r.aic, r.bic, r.icl) = (found.aic, found.bic, found.icl);
            r.write(result);
            Ok(())
        })
    }
}

/// Bytes of workspace that smx_standard_errors needs.
///
/// @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
/// @param classes K
/// @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_standard_errors_workspace(data: *const smx_data, classes: usize) -> usize {
    query(|| {
        // SAFETY: the caller vouches for the struct.
        let shape = unsafe { shape_of(data, classes) }?;
        parameters(classes, shape.columns)?;
        Ok(errors_workspace(&shape, classes))
    })
}

/// Standard errors at a fitted mixture, by the observed information or the sandwich; for the weights by the delta method.
///
/// NaN where they are not defined: of features that are not identified, of empty classes, beyond the range of doubles, or of everything
/// where the information is not positive definite, or is so by rounding alone. Those of classes that run off (`diverging` of a fit) are
/// numbers without a meaning: large ones from the information, small ones where they are robust. p L^2 K / 2 + U (K L)^2 / 2 + D^3
/// operations, p L^2 K (K + 1) / 4 + D^3 for counts over one choice set, and 3 U D^2 / 2 more where they are robust.
///
/// @param data the data
/// @param whitening what smx_whiten found for these data
/// @param classes K
/// @param weights K mixing weights
/// @param atoms K x L
/// @param options may be NULL
/// @param weight_errors to be filled: K numbers
/// @param atom_errors to be filled: K x L
/// @param workspace smx_standard_errors_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_standard_errors(
    data: *const smx_data,
    whitening: *const smx_whitening,
    classes: usize,
    weights: *const f64,
    atoms: *const f64,
    options: *const smx_inference_options,
    weight_errors: *mut f64,
    atom_errors: *mut f64,
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
            let mixture = MixtureInput::new(call, classes, l, weights, atoms)?;
            let weight_errors = call.output("weight_errors", weight_errors, classes)?;
            let atom_errors = call.output("atom_errors", atom_errors, atoms_length(classes, l)?)?;
            let o: smx_inference_options = call.options("options", options)?;
            let (ctx, variance) = o.check()?;
            let ws = call.workspace(workspace, workspace_size)?;
            call.disjoint()?;
            let data = memory.data()?;
            let mixture = mixture.get()?;
            let mut ws = ws.lend(errors_workspace(&data.shape(), classes))?;
            let wh = wh.get(ws.fill(l, false)?)?;
            standard_errors(&data, &wh, o.ridge, mixture, variance, weight_errors.get(), atom_errors.get(), ctx, ws)?;
            Ok(())
        })
    }
}

/// Bytes of workspace that smx_covariance needs.
///
/// @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
/// @param classes K
/// @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_covariance_workspace(data: *const smx_data, classes: usize) -> usize {
    query(|| {
        // SAFETY: the caller vouches for the struct.
        let shape = unsafe { shape_of(data, classes) }?;
        all_parameters(classes, shape.columns)?;
        Ok(errors_workspace(&shape, classes))
    })
}

/// The covariance matrix of the estimates, of P = K + K L parameters: the weights, then the atoms, class after class. A function of them
/// with gradient g has variance g' V g; so the ratio of two features of an atom, a willingness to pay where one of them is a price.
///
/// NaN where smx_standard_errors has NaN, which are the roots of the diagonal. Operations: those of smx_standard_errors.
///
/// @param data the data
/// @param whitening what smx_whiten found for these data
/// @param classes K
/// @param weights K mixing weights
/// @param atoms K x L
/// @param options may be NULL
/// @param covariance to be filled: P x P
/// @param workspace smx_covariance_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_covariance(
    data: *const smx_data,
    whitening: *const smx_whitening,
    classes: usize,
    weights: *const f64,
    atoms: *const f64,
    options: *const smx_inference_options,
    covariance: *mut f64,
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
            let mixture = MixtureInput::new(call, classes, l, weights, atoms)?;
            let out = call.output("covariance", covariance, all_parameters(classes, l)?)?;
            let o: smx_inference_options = call.options("options", options)?;
            let (ctx, variance) = o.check()?;
            let ws = call.workspace(workspace, workspace_size)?;
            call.disjoint()?;
            let data = memory.data()?;
            let mixture = mixture.get()?;
            let mut ws = ws.lend(errors_workspace(&data.shape(), classes))?;
            let wh = wh.get(ws.fill(l, false)?)?;
            self::covariance(&data, &wh, o.ridge, mixture, variance, out.get(), ctx, ws)?;
            Ok(())
        })
    }
}

/// Bytes of workspace that smx_information and smx_score_products need.
///
/// @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
/// @param classes K
/// @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_information_workspace(data: *const smx_data, classes: usize) -> usize {
    query(|| {
        // SAFETY: the caller vouches for the struct.
        let shape = unsafe { shape_of(data, classes) }?;
        parameters(classes, shape.columns)?;
        Ok(information_workspace(&shape, classes))
    })
}

/// The observed information: minus the Hessian of the penalised log-likelihood. p L^2 K / 2 + U (K L)^2 / 2 operations, p L^2 K (K + 1) / 4
/// for counts over one choice set.
///
/// @param data the data
/// @param classes K
/// @param weights K mixing weights
/// @param atoms K x L
/// @param options may be NULL
/// @param information to be filled: D x D
/// @param workspace smx_information_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_information(
    data: *const smx_data,
    classes: usize,
    weights: *const f64,
    atoms: *const f64,
    options: *const smx_evaluate_options,
    information: *mut f64,
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
            let information = call.output("information", information, parameters(classes, l)?.1)?;
            let ws = call.workspace(workspace, workspace_size)?;
            call.disjoint()?;
            let data = memory.data()?;
            let (mixture, penalty) = (mixture.get()?, penalty(&o, covariance, l)?);
            observed_information(&data, mixture, penalty, ctx, information.get(), ws.lend(information_workspace(&data.shape(), classes))?)?;
            Ok(())
        })
    }
}

/// The middle of the sandwich: sum over the units of w^q s s', with unit scores s.
///
/// @param data the data
/// @param classes K
/// @param weights K mixing weights
/// @param atoms K x L
/// @param sampling 0: weights of units are frequencies, q = 1; 1: they are sampling weights, q = 2
/// @param options may be NULL
/// @param products to be filled: D x D
/// @param workspace smx_information_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_score_products(
    data: *const smx_data,
    classes: usize,
    weights: *const f64,
    atoms: *const f64,
    sampling: i32,
    options: *const smx_run_options,
    products: *mut f64,
    workspace: *mut c_void,
    workspace_size: usize,
    error: *mut smx_error,
) -> smx_status {
    // SAFETY: the header has the caller vouch for every struct and array, here and below.
    unsafe {
        enter(error, |call| {
            let memory = Memory::new(call, data)?;
            let mixture = MixtureInput::new(call, classes, memory.columns(), weights, atoms)?;
            if !(0..=1).contains(&sampling) {
                return Err(Fault::new(SMX_INVALID_OPTION, "sampling"));
            }
            let ctx = run_context(call, options)?;
            let products = call.output("products", products, parameters(classes, memory.columns())?.1)?;
            let ws = call.workspace(workspace, workspace_size)?;
            call.disjoint()?;
            let data = memory.data()?;
            score_products(
                &data,
                mixture.get()?,
                sampling == 1,
                ctx,
                products.get(),
                ws.lend(information_workspace(&data.shape(), classes))?,
            )?;
            Ok(())
        })
    }
}

/// Bytes of workspace that smx_hessian_vector needs.
///
/// @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
/// @param classes K
/// @return the bytes; SIZE_MAX where the description is unusable or its sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_hessian_vector_workspace(data: *const smx_data, classes: usize) -> usize {
    // SAFETY: the caller vouches for the struct.
    query(|| Ok(hessian_vector_workspace(&unsafe { shape_of(data, classes) }?, classes)))
}

/// The Hessian of the log-likelihood, without penalty, times a vector: the passes of two evaluations, and no matrix.
///
/// @param data the data
/// @param classes K
/// @param weights K mixing weights
/// @param atoms K x L
/// @param vector D numbers
/// @param options may be NULL
/// @param product to be filled: D numbers
/// @param workspace smx_hessian_vector_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_hessian_vector(
    data: *const smx_data,
    classes: usize,
    weights: *const f64,
    atoms: *const f64,
    vector: *const f64,
    options: *const smx_run_options,
    product: *mut f64,
    workspace: *mut c_void,
    workspace_size: usize,
    error: *mut smx_error,
) -> smx_status {
    // SAFETY: the header has the caller vouch for every struct and array, here and below.
    unsafe {
        enter(error, |call| {
            let memory = Memory::new(call, data)?;
            let mixture = MixtureInput::new(call, classes, memory.columns(), weights, atoms)?;
            let d = parameters(classes, memory.columns())?.0;
            let vector = call.input("vector", vector, d)?;
            let ctx = run_context(call, options)?;
            let product = call.output("product", product, d)?;
            let ws = call.workspace(workspace, workspace_size)?;
            call.disjoint()?;
            let data = memory.data()?;
            hessian_vector(
                &data,
                mixture.get()?,
                vector.get(),
                ctx,
                product.get(),
                ws.lend(hessian_vector_workspace(&data.shape(), classes))?,
            )
            .map_err(|e| if e.argument == "v" { Error { argument: "vector", ..e } } else { e })?;
            Ok(())
        })
    }
}
