//! Fitting
//!
//! smx_fit looks for the mixture of K classes of highest (penalised) log-likelihood: many starts, a race of a few steps each, and the
//! best of them finished on the observed likelihood. It reports how it ended, how many starts reached the best, which
//! classes run off to infinity and which features are not identified. Classes come back by decreasing weight.

use super::call::{Call, Fault, Result, Struct, enter, guard};
use super::data::{Memory, fitting, shape_of, smx_data};
use super::em::copy_flags;
use super::evaluate::{MixtureInput, atoms_length, context, query, reserved, smx_isa};
use super::status::*;
use crate::data::Shape;
use crate::fit::{FitOptions, FitOutput, Outcome, Progress, Starts, StopRule, fit, fit_workspace, max_starts};
use crate::mixture::MixtureRef;
use crate::parallel::Context;
use crate::simd::Isa;
use crate::starts::StartKind;
use crate::workspace::WorkspaceSize;
use core::ffi::c_void;

/// How a fit ended. None of these is an error; take unknown ones for "not converged".
pub type smx_outcome = i32;
/// The gradient is within the tolerance, or the gain still to be had is below rounding, and no class runs off. Other mixtures may fit as
/// well where there are more parameters than the data tell of: smx_standard_errors, all NaN, show it.
pub const SMX_CONVERGED: smx_outcome = 1;
/// The budget of evaluations is spent.
pub const SMX_ITERATION_LIMIT: smx_outcome = 2;
/// No step ascends by more than rounding although the gradient is far above the tolerance, or a thousand steps of Newton's method did not
/// reach it.
pub const SMX_STALLED: smx_outcome = 3;
/// A class runs off to infinity: the likelihood has no finite maximum there. A ridge penalty gives one.
pub const SMX_DIVERGING: smx_outcome = 4;
/// The progress function asked for an end; the best so far is the result.
pub const SMX_CANCELLED: smx_outcome = 5;

/// Which rule stopped the start that won, or SMX_STOP_PROGRESS where the progress function ended the fit.
pub type smx_stop = i32;
/// The gradient tolerance.
pub const SMX_STOP_GRADIENT: smx_stop = 1;
/// A predicted gain below the rounding of the log-likelihood.
pub const SMX_STOP_ROUNDING: smx_stop = 2;
/// No step ascends, or steps ascend without converging.
pub const SMX_STOP_NO_ASCENT: smx_stop = 3;
/// The budget of evaluations.
pub const SMX_STOP_EVALUATIONS: smx_stop = 4;
/// The progress function.
pub const SMX_STOP_PROGRESS: smx_stop = 5;

/// How a start was made. Later versions may know more kinds.
pub type smx_start_kind = i32;
/// By the program.
pub const SMX_START_GIVEN: smx_start_kind = 1;
/// The fit of one class, from atoms at zero.
pub const SMX_START_ZERO: smx_start_kind = 2;
/// Random atoms in whitened features.
pub const SMX_START_RANDOM: smx_start_kind = 3;
/// A random partition of the units.
pub const SMX_START_PARTITION: smx_start_kind = 4;
/// A clustering of the units by their estimates, or of the alternatives that were chosen.
pub const SMX_START_CLUSTER: smx_start_kind = 5;
/// The best fit so far, with one class taken away and put elsewhere, or with a few units moved.
pub const SMX_START_RELOCATE: smx_start_kind = 6;
/// A fit of one class less, with a class put somewhere.
pub const SMX_START_GROW: smx_start_kind = 7;
/// Latent moments of order 3, by tensor.
pub const SMX_START_MOMENTS: smx_start_kind = 8;
/// Latent moments corrected by the design.
pub const SMX_START_CORRECTED_MOMENTS: smx_start_kind = 9;
/// In the subspace of the atoms: random atoms where second moments suggest it; where units make several choices, a clustering of the units
/// by their estimates, projected on the leading eigenvectors of the scores.
pub const SMX_START_SUBSPACE: smx_start_kind = 10;

/// Where a fit stands. Lives only while the progress function runs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_progress {
    /// Size of this struct in the library: fields beyond it are not there.
    pub struct_size: usize,
    /// Starts finished.
    pub finished: usize,
    /// Starts drawn so far.
    pub drawn: usize,
    /// The start being finished, in the order drawn: `current` over its calls is its path.
    pub start: usize,
    /// Evaluations so far, over all starts.
    pub evaluations: u64,
    /// Best penalised log-likelihood so far; minus infinity before the first.
    pub best: f64,
    /// Penalised log-likelihood of the start at hand (of the best of those racing).
    pub current: f64,
    /// 1 while starts are racing, or the winner is tried with fewer classes; 0 while one is being finished.
    pub racing: i32,
    /// Zero.
    pub reserved: i32,
    /// Starts still racing; 0 while one is being finished.
    pub running: usize,
    /// Classes K of the fit at hand.
    pub classes: usize,
}

/// Called by smx_fit and smx_scan after every step, on the thread that called them: 0 to go on, anything else to cancel, and then not
/// again. It must return: no longjmp, no C++ exception. It may call any function, with memory other than that of the call it belongs to.
pub type smx_progress_fn = Option<unsafe extern "C-unwind" fn(progress: *const smx_progress, user: *mut c_void) -> i32>;

/// Options of smx_fit and smx_scan. NULL in place of them: the defaults.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_fit_options {
    /// sizeof(smx_fit_options), set by smx_fit_options_init.
    pub struct_size: usize,
    /// Threads, at least 1 (default); more than one only in libraries built with the feature "rayon".
    pub threads: usize,
    /// Instruction set; default SMX_ISA_AUTO.
    pub isa: smx_isa,
    /// Zero.
    pub reserved: i32,
    /// Ridge lambda >= 0 of the penalty `lambda / 2 * sum_k atom_k' S atom_k`, in observations, S the mean covariance of the
    /// features inside choice sets, over the alternatives that are available; default 0, which is maximum likelihood. A class of weight 0 and
    /// atom 0 costs nothing: superfluous classes tend to end so.
    pub ridge: f64,
    /// Seed of the random starts; default 0. Equal seeds give equal fits.
    pub seed: u64,
    /// Starts to try: so many, fewer if max_evaluations is spent first, and one for one class; default 0: the library's own rule, and more
    /// when they do not agree.
    pub starts: usize,
    /// The only start to try, K mixing weights; default NULL: none given. Atoms that coincide are moved apart: between classes of one atom the
    /// likelihood has a saddle.
    pub start_weights: *const f64,
    /// Its atoms, K x L.
    pub start_atoms: *const f64,
    /// A fit of K - 1 classes, at least one, that some of the first starts grow from; default NULL: none.
    pub grow_weights: *const f64,
    /// Its atoms, (K - 1) x L.
    pub grow_atoms: *const f64,
    /// Evaluations over all starts after which the fit ends, what is under way being finished first; at least 1, default 1000000.
    pub max_evaluations: u64,
    /// Converged when the largest entry of the gradient, in log-odds and whitened atoms, over the number of choices, is at most this;
    /// above 0, default 1e-8. Above 1e-4 a fit may end so far from a maximum that SMX_DIVERGING says little.
    pub gradient_tolerance: f64,
    /// Called after every step; default NULL: nobody.
    pub progress: smx_progress_fn,
    /// Handed to `progress`; default NULL.
    pub user: *mut c_void,
    /// 1: on one choice set, starts race and L-BFGS takes its first steps on a copy of the features in float, which the workspace holds:
    /// half the memory to read. The last steps are taken on the features as they are given. Without effect on data that are a rank's part
    /// of a whole; default 0.
    pub single_phase: i32,
    /// Zero.
    pub reserved_end: i32,
}

impl Struct for smx_fit_options {
    fn blank() -> Self {
        let o = FitOptions { context: Context { isa: Isa::Scalar, threads: 1 }, ..FitOptions::new(1) };
        smx_fit_options {
            struct_size: size_of::<Self>(),
            threads: o.context.threads,
            isa: 0,
            reserved: 0,
            ridge: o.ridge,
            seed: o.seed,
            starts: 0,
            start_weights: core::ptr::null(),
            start_atoms: core::ptr::null(),
            grow_weights: core::ptr::null(),
            grow_atoms: core::ptr::null(),
            max_evaluations: o.max_evaluations,
            gradient_tolerance: o.gradient_tolerance,
            progress: None,
            user: core::ptr::null_mut(),
            single_phase: i32::from(o.single_phase),
            reserved_end: 0,
        }
    }
}

impl smx_fit_options {
    /// Checks what can be seen without the data.
    pub(super) fn check(&self) -> Result<Context> {
        reserved(self.reserved)?;
        if self.reserved_end != 0 {
            return Err(Fault::new(SMX_INVALID_OPTION, "reserved_end"));
        }
        match self.single_phase {
            0 | 1 => context(self.isa, self.threads),
            _ => Err(Fault::new(SMX_INVALID_OPTION, "single_phase")),
        }
    }

    pub(super) fn rust<'a>(&self, classes: usize, starts: Starts<'a>, grow: Option<MixtureRef<'a>>, context: Context) -> FitOptions<'a> {
        FitOptions {
            ridge: self.ridge,
            seed: self.seed,
            starts,
            grow,
            max_evaluations: self.max_evaluations,
            gradient_tolerance: self.gradient_tolerance,
            context,
            single_phase: self.single_phase != 0,
            ..FitOptions::new(classes)
        }
    }
}

/// What smx_fit finds. The arrays are the program's; `weights` and `atoms` must be there, the others may be NULL.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_fit_result {
    /// sizeof(smx_fit_result), set by smx_fit_result_init.
    pub struct_size: usize,
    /// To be filled: K mixing weights, decreasing. A class of 1e-10 or less is empty: its atom means nothing.
    pub weights: *mut f64,
    /// To be filled: K x L atoms.
    pub atoms: *mut f64,
    /// To be filled: K flags: whether a class runs off.
    pub diverging: *mut u8,
    /// To be filled: L flags: whether a feature is not identified: see smx_whitening.
    pub unidentified: *mut u8,
    /// To be filled: penalised log-likelihood at the end of every start, in the order drawn. Of those that were given up, where they stood,
    /// minus infinity where that is no number or they were never evaluated; of those that raced on a sample of the alternatives, as on
    /// large choice sets, an estimate.
    pub start_values: *mut f64,
    /// To be filled: kind of every start.
    pub start_kinds: *mut smx_start_kind,
    /// Room in `start_values` and `start_kinds`: at least smx_fit_max_starts where one of them is there.
    pub starts_capacity: usize,
    /// Starts drawn: as many entries of `start_values` and `start_kinds` are written.
    pub starts: usize,
    /// Starts that ended within 1e-8 |f| of the best, f the penalised log-likelihood. Without a ridge, where classes run off or are more than
    /// the data tell of, many may agree a few units below what others would reach.
    pub at_best: usize,
    /// The start that won, in the order drawn: the first of those that ended equally high, up to rounding.
    pub best_start: usize,
    /// Rank of the features inside choice sets.
    pub rank: usize,
    /// Log-likelihood, without multinomial coefficients.
    pub log_likelihood: f64,
    /// Log-likelihood less the penalty.
    pub penalized_log_likelihood: f64,
    /// Largest entry of the penalised gradient in log-odds and whitened atoms, over the number of choices.
    pub gradient_norm: f64,
    /// Evaluations of value and gradient, over all starts.
    pub evaluations: u64,
    /// Reads of the features, of a shard by its own rank; those of a sample of them count as that share.
    pub passes: u64,
    /// How the fit ended: SMX_CONVERGED, or why not.
    pub outcome: smx_outcome,
    /// Which rule stopped the start that won, or SMX_STOP_PROGRESS.
    pub stop: smx_stop,
}

impl Struct for smx_fit_result {
    fn blank() -> Self {
        use core::ptr::null_mut;
        smx_fit_result {
            struct_size: size_of::<Self>(),
            weights: null_mut(),
            atoms: null_mut(),
            diverging: null_mut(),
            unidentified: null_mut(),
            start_values: null_mut(),
            start_kinds: null_mut(),
            starts_capacity: 0,
            starts: 0,
            at_best: 0,
            best_start: 0,
            rank: 0,
            log_likelihood: 0.0,
            penalized_log_likelihood: 0.0,
            gradient_norm: 0.0,
            evaluations: 0,
            passes: 0,
            outcome: 0,
            stop: 0,
        }
    }
}

pub(super) const fn outcome(outcome: Outcome) -> smx_outcome {
    match outcome {
        Outcome::Converged => SMX_CONVERGED,
        Outcome::IterationLimit => SMX_ITERATION_LIMIT,
        Outcome::Stalled => SMX_STALLED,
        Outcome::Diverging => SMX_DIVERGING,
        Outcome::Cancelled => SMX_CANCELLED,
    }
}

const fn stop(rule: StopRule) -> smx_stop {
    match rule {
        StopRule::Gradient => SMX_STOP_GRADIENT,
        StopRule::Rounding => SMX_STOP_ROUNDING,
        StopRule::NoAscent => SMX_STOP_NO_ASCENT,
        StopRule::Evaluations => SMX_STOP_EVALUATIONS,
        StopRule::Callback => SMX_STOP_PROGRESS,
    }
}

const fn start_kind(kind: StartKind) -> smx_start_kind {
    match kind {
        StartKind::Given => SMX_START_GIVEN,
        StartKind::Zero => SMX_START_ZERO,
        StartKind::Random => SMX_START_RANDOM,
        StartKind::Partition => SMX_START_PARTITION,
        StartKind::Cluster => SMX_START_CLUSTER,
        StartKind::Relocate => SMX_START_RELOCATE,
        StartKind::Grow => SMX_START_GROW,
        StartKind::Moments => SMX_START_MOMENTS,
        StartKind::CorrectedMoments => SMX_START_CORRECTED_MOMENTS,
        StartKind::Subspace => SMX_START_SUBSPACE,
    }
}

/// The start that options may hold, registered.
pub(super) fn given_start(call: &mut Call, w: *const f64, a: *const f64, classes: usize, columns: usize) -> Result<Option<MixtureInput>> {
    match (w.is_null(), a.is_null()) {
        (true, true) => Ok(None),
        _ => MixtureInput::named(call, ["start_weights", "start_atoms"], classes, columns, w, a).map(Some),
    }
}

/// The fit of one class less that the options may hold, registered.
pub(super) fn grown(call: &mut Call, o: &smx_fit_options, classes: usize, columns: usize) -> Result<Option<MixtureInput>> {
    match (o.grow_weights.is_null() && o.grow_atoms.is_null(), classes) {
        (true, _) => Ok(None),
        (false, 1) => Err(Fault::new(SMX_INVALID_OPTION, "grow_weights")),
        (false, k) => MixtureInput::named(call, ["grow_weights", "grow_atoms"], k - 1, columns, o.grow_weights, o.grow_atoms).map(Some),
    }
}

/// The program's progress function. It is not called again after it asked for an end.
///
/// # Safety
/// The function may be called with `o.user` as long as what is returned lives.
pub(super) unsafe fn relay(o: &smx_fit_options) -> impl FnMut(usize, &Progress) -> bool + use<> {
    let (progress, user, mut going) = (o.progress, o.user, true);
    move |classes, p| {
        let Some(progress) = progress else { return true };
        if going {
            let now = smx_progress {
                struct_size: size_of::<smx_progress>(),
                finished: p.finished,
                drawn: p.drawn,
                start: p.start,
                evaluations: p.evaluations,
                best: p.best,
                current: p.current,
                racing: i32::from(p.racing),
                reserved: 0,
                running: p.running,
                classes,
            };
            // SAFETY: by the caller's promise.
            going = unsafe { progress(&now, user) } == 0;
        }
        going
    }
}

/// What sizes depend on: the mixture of a given start is not looked at.
pub(super) fn sizing<'a>(o: &smx_fit_options, classes: usize) -> FitOptions<'a> {
    let none = MixtureRef { weights: &[], atoms: &[] };
    let starts = match (o.start_weights.is_null(), o.starts) {
        (false, _) => Starts::Given(none),
        (true, 0) => Starts::Auto,
        (true, n) => Starts::Count(n),
    };
    let context = Context { isa: Isa::Scalar, threads: 1 };
    FitOptions { starts, context, single_phase: o.single_phase != 0, max_evaluations: o.max_evaluations, ..FitOptions::new(classes) }
}

/// Workspace of the fit and of the outputs that C has in another form.
fn workspace_of(shape: &Shape, o: &FitOptions<'_>) -> WorkspaceSize {
    let n = max_starts(shape, o);
    let flags = WorkspaceSize::of::<bool>(o.classes).and(WorkspaceSize::of::<bool>(shape.columns));
    fit_workspace(shape, o).and(flags).and(WorkspaceSize::of::<f64>(n)).and(WorkspaceSize::of::<StartKind>(n))
}

/// Workspace that there can be: what overflows is the room for starts.
pub(super) fn sized(needed: WorkspaceSize) -> Result<WorkspaceSize> {
    match needed.bytes() {
        usize::MAX => Err(Fault::new(SMX_OVERFLOW, "starts")),
        _ => Ok(needed),
    }
}

/// # Safety
/// As for [`Struct::read`].
unsafe fn sizes(data: *const smx_data, classes: usize, options: *const smx_fit_options) -> Result<(Shape, FitOptions<'static>)> {
    // SAFETY: by the caller's promise, both.
    let shape = unsafe { shape_of(data, classes) }?;
    let o = unsafe { Struct::read_or_blank(options, "options") }?;
    atoms_length(classes, shape.columns)?;
    Ok((shape, sizing(&o, classes)))
}

/// Fills options with the defaults.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_fit_options_init(options: *mut smx_fit_options, struct_size: usize) -> smx_status {
    // SAFETY: the caller vouches for `struct_size` bytes at `options`.
    guard(|| unsafe { Struct::init(options, struct_size, "options") })
}

/// Fills a result with zeros and its size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_fit_result_init(result: *mut smx_fit_result, struct_size: usize) -> smx_status {
    // SAFETY: the caller vouches for `struct_size` bytes at `result`.
    guard(|| unsafe { Struct::init(result, struct_size, "result") })
}

/// The most starts that smx_fit may draw: room that `start_values` and `start_kinds` need.
///
/// @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
/// @param classes K
/// @param options may be NULL
/// @return the number; SIZE_MAX where a description is unusable or sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_fit_max_starts(data: *const smx_data, classes: usize, options: *const smx_fit_options) -> usize {
    let mut n = usize::MAX;
    guard(|| {
        // SAFETY: the caller vouches for the structs.
        let (shape, o) = unsafe { sizes(data, classes, options) }?;
        n = max_starts(&shape, &o);
        Ok(())
    });
    n
}

/// Bytes of workspace that smx_fit needs.
///
/// @param data of which the sizes, the layout of the choices and `shard` count: other pointers may be NULL
/// @param classes K
/// @param options may be NULL
/// @return the bytes; SIZE_MAX where a description is unusable or sizes overflow
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_fit_workspace(data: *const smx_data, classes: usize, options: *const smx_fit_options) -> usize {
    query(|| {
        // SAFETY: the caller vouches for the structs.
        let (shape, o) = unsafe { sizes(data, classes, options) }?;
        Ok(workspace_of(&shape, &o))
    })
}

/// Fits a mixture.
///
/// @param data the data
/// @param classes K, from 1 to the number of units with a positive weight
/// @param options may be NULL
/// @param result made by smx_fit_result_init, at least `weights` and `atoms` set; written only when all is well
/// @param workspace smx_fit_workspace bytes, of any alignment
/// @param workspace_size bytes that there are
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_fit(
    data: *const smx_data,
    classes: usize,
    options: *const smx_fit_options,
    result: *mut smx_fit_result,
    workspace: *mut c_void,
    workspace_size: usize,
    error: *mut smx_error,
) -> smx_status {
    // SAFETY: the header has the caller vouch for every struct and array, here and below.
    unsafe {
        enter(error, |call| {
            let memory = Memory::new(call, data)?;
            let (l, shape) = (memory.columns(), memory.shape()?);
            fitting(&shape, classes)?;
            let n = atoms_length(classes, l)?;
            let o = call.options("options", options)?;
            let ctx = o.check()?;
            let start = given_start(call, o.start_weights, o.start_atoms, classes, l)?;
            let grow = grown(call, &o, classes, l)?;
            let size = sizing(&o, classes);
            let needed = sized(workspace_of(&shape, &size))?;
            let most = max_starts(&shape, &size);
            let mut r = call.result("result", result)?;
            let weights = call.output("weights", r.weights, classes)?;
            let atoms = call.output("atoms", r.atoms, n)?;
            let diverging = call.optional_output("diverging", r.diverging, classes)?;
            let unidentified = call.optional_output("unidentified", r.unidentified, l)?;
            if !(r.start_values.is_null() && r.start_kinds.is_null()) && r.starts_capacity < most {
                return Err(Fault::sizes(SMX_SHAPE, "starts_capacity", most, r.starts_capacity));
            }
            let start_values = call.optional_output("start_values", r.start_values, most)?;
            let start_kinds = call.optional_output("start_kinds", r.start_kinds, most)?;
            let ws = call.workspace(workspace, workspace_size)?;
            ws.holds(needed)?;
            call.disjoint()?;

            let data = memory.data()?;
            let starts = match &start {
                Some(start) => Starts::Given(start.get()?),
                None => size.starts,
            };
            let rust = o.rust(classes, starts, grow.map(|m| m.get()).transpose()?, ctx);
            let mut ws = ws.lend(workspace_of(&shape, &rust))?;
            let (run_off, free) = (ws.fill(classes, false)?, ws.fill(l, false)?);
            let (values, kinds) = (ws.f64s(most)?, ws.fill(most, StartKind::Random)?);
            let out = FitOutput {
                weights: weights.get(),
                atoms: atoms.get(),
                diverging: &mut *run_off,
                unidentified: &mut *free,
                start_values: &mut *values,
                start_kinds: &mut *kinds,
            };
            let mut tell = relay(&o);
            let mut report = |p: &Progress| tell(classes, p);
            let found = fit(&data, &rust, &mut report, out, ws)?;
            copy_flags(diverging, run_off);
            copy_flags(unidentified, free);
            if let Some(out) = start_values {
                out.get()[..found.starts].copy_from_slice(&values[..found.starts]);
            }
            if let Some(out) = start_kinds {
                for (out, kind) in out.get().iter_mut().zip(&kinds[..found.starts]) {
                    *out = start_kind(*kind);
                }
            }
            (r.starts, r.at_best, r.best_start, r.rank) = (found.starts, found.at_best, found.best_start, found.rank);
            (r.log_likelihood, r.penalized_log_likelihood) = (found.log_likelihood, found.penalized_log_likelihood);
            (r.gradient_norm, r.evaluations, r.passes) = (found.gradient_norm, found.evaluations, found.passes);
            (r.outcome, r.stop) = (outcome(found.outcome), stop(found.stop));
            r.write(result);
            Ok(())
        })
    }
}
