//! Fits the mixture for every number of classes asked for, or evaluates a given one, and works out all that is reported of it.

use crate::args::{Classes, Job};
use crate::fault::{Fault, Result, bad, quoted, usage};
use crate::input::Input;
use crate::json;
use crate::report::plural;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use softmix::data::Data;
use softmix::error::{Error, ErrorKind};
use softmix::evaluate::{EvaluateOutput, Penalty, Value, evaluate, evaluate_workspace};
use softmix::fit::{Fit, FitOptions, Outcome, Progress, Starts, StopRule, default_starts, is_empty_class, max_starts};
use softmix::inference::{Variance, standard_errors, standard_errors_workspace};
use softmix::mixture::{Mixture, MixtureRef};
use softmix::parallel::Context;
use softmix::predict::ChoiceProbabilities;
use softmix::scan::Criteria;
use softmix::starts::StartKind;
use softmix::whiten::Whitening;
use softmix::workspace::WorkspaceBuffer;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// One class of a solution.
pub struct Class {
    pub weight: f64,
    pub atom: Vec<f64>,
    pub weight_error: f64,
    pub errors: Vec<f64>,
    pub robust_errors: Vec<f64>,
}

/// A mixture, how it was found, and what it says about the data.
pub struct Solution {
    /// In canonical order.
    pub classes: Vec<Class>,
    pub value: Value,
    /// Absent when nothing was fitted.
    pub ending: Option<(Outcome, StopRule)>,
    pub diverging: Vec<bool>,
    pub gradient_norm: f64,
    pub evaluations: u64,
    pub passes: u64,
    pub seconds: f64,
    pub unidentified: Vec<bool>,
    /// In the order drawn: how each start was made, and its penalised log-likelihood at its end.
    pub starts: Vec<(StartKind, f64)>,
    pub at_best: usize,
    pub criteria: Criteria,
    /// Standard deviations of the features inside choice sets.
    pub deviations: Vec<f64>,
    /// Responsibilities, unit after unit.
    pub posterior: Vec<f64>,
    /// Choice probabilities of the alternatives under each class, and under the mixture.
    pub by_class: Vec<f64>,
    pub mixed: Vec<f64>,
}

impl Solution {
    pub fn mixture(&self) -> Mixture {
        let weights = self.classes.iter().map(|c| c.weight).collect();
        Mixture { weights, atoms: self.classes.iter().flat_map(|c| c.atom.iter().copied()).collect() }
    }

    pub fn empty_classes(&self) -> Vec<usize> {
        (0..self.classes.len()).filter(|&k| is_empty_class(self.classes[k].weight)).collect()
    }

    pub fn diverging_classes(&self) -> Vec<usize> {
        (0..self.classes.len()).filter(|&k| self.diverging[k]).collect()
    }

    /// Responsibilities of unit `u`.
    pub fn responsibilities(&self, u: usize) -> &[f64] {
        let k = self.classes.len();
        &self.posterior[u * k..(u + 1) * k]
    }
}

/// What an error of the library may be told to lie in.
#[derive(Clone, Copy, Default)]
struct Place<'a> {
    files: &'a str,
    /// The features.
    names: &'a [String],
    /// The file of the start.
    init: Option<&'a Path>,
}

/// Solves the job: one solution for every number of classes.
pub fn solve(job: &Job, input: &Input) -> Result<Vec<Solution>> {
    let data = input.data()?;
    let given = job.init.as_deref().map(|path| json::mixture(path, &input.names, job.classes)).transpose()?;
    let classes = match (&given, job.classes) {
        (Some(m), _) => Classes { first: m.classes(), last: m.classes(), scan: false },
        (None, Some(classes)) => classes,
        (None, None) => return usage("--classes is missing"),
    };
    if !job.evaluate && classes.last > data.observed_units() {
        let unit = if input.units.is_some() { "unit" } else { "chosen alternative" };
        return usage(format!("--classes {}: these data have only {}", classes.last, plural(data.observed_units(), unit)));
    }
    let at = Place { files: &input.files, names: &input.names, init: job.init.as_deref() };
    let ctx = Context { threads: job.threads, ..Context::default() };
    if let (true, Some(given)) = (job.evaluate, &given) {
        return Ok(vec![evaluated(&data, at, given, job.ridge, ctx)?]);
    }
    if job.threads > 1 && !cfg!(feature = "rayon") && !job.quiet {
        eprintln!("note: one thread is used; more need the feature rayon");
    }
    let cancelled = interruptible()?;
    let mut solutions: Vec<Solution> = Vec::new();
    for k in classes.first..=classes.last {
        let mut options = FitOptions::new(k);
        (options.ridge, options.seed, options.context) = (job.ridge, job.seed, ctx);
        options.max_evaluations = job.max_evaluations.unwrap_or(options.max_evaluations);
        options.starts = match (&given, job.starts) {
            (Some(m), _) => Starts::Given(m.view()),
            (None, Some(n)) => Starts::Count(n),
            (None, None) => Starts::Auto,
        };
        // A scan grows each fit from the one before.
        let before = solutions.last().map(Solution::mixture);
        options.grow = before.as_ref().map(Mixture::view);
        solutions.push(fitted(&data, at, &options, job.quiet, &cancelled)?);
        if cancelled.load(Ordering::Relaxed) {
            break;
        }
    }
    Ok(solutions)
}

/// Ctrl-C asks the fit for the best it has; a second one ends the program.
fn interruptible() -> Result<Arc<AtomicBool>> {
    let cancelled = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&cancelled);
    let handler = move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).map_err(|e| Fault::Data(e.to_string()))?;
    Ok(cancelled)
}

fn fitted(data: &Data<'_>, at: Place<'_>, options: &FitOptions<'_>, quiet: bool, cancelled: &AtomicBool) -> Result<Solution> {
    let bar = Bar::new(data, options, quiet);
    let begun = Instant::now();
    let fit = Fit::with_progress(data, options, &mut |p| {
        bar.show(p);
        !cancelled.load(Ordering::Relaxed)
    });
    let seconds = begun.elapsed().as_secs_f64();
    bar.bar.set_message("standard errors");
    let fit = fit.or_else(|e| refused(e, at))?;
    let (report, mut told) = (fit.report, evaluated(data, at, &fit.mixture, options.ridge, options.context)?);
    bar.bar.finish_and_clear();
    // How precisely the atom of a class that runs off is known cannot be said.
    for (class, _) in told.classes.iter_mut().zip(&fit.diverging).filter(|(_, runs_off)| **runs_off) {
        class.errors.fill(f64::NAN);
        class.robust_errors.fill(f64::NAN);
    }
    Ok(Solution {
        ending: Some((report.outcome, report.stop)),
        diverging: fit.diverging,
        gradient_norm: report.gradient_norm,
        evaluations: report.evaluations,
        passes: report.passes,
        seconds,
        starts: fit.starts,
        at_best: report.at_best,
        ..told
    })
}

/// What a mixture says about the data, no fit being made: two reads of the features, and the standard errors.
fn evaluated(data: &Data<'_>, at: Place<'_>, mixture: &Mixture, ridge: f64, ctx: Context) -> Result<Solution> {
    let mixture = mixture.canonical();
    let view = mixture.view();
    let (shape, k, l) = (data.shape(), mixture.classes(), data.features().columns());
    let begun = Instant::now();
    let mut kept = buffer(WorkspaceBuffer::new(Whitening::workspace(&shape)))?;
    let whitening = Whitening::new(data, ctx.isa, &mut kept.lend()).or_else(|e| refused(e, at))?;
    let mut posterior = vec![0.0; shape.units * k];
    let (mut weight_gradient, mut atom_gradient) = (vec![0.0; k], vec![0.0; k * l]);
    let out = EvaluateOutput {
        responsibilities: Some(&mut posterior),
        weight_gradient: Some(&mut weight_gradient),
        atom_gradient: Some(&mut atom_gradient),
        ..EvaluateOutput::default()
    };
    let penalty = Penalty { ridge, covariance: whitening.covariance };
    let mut memory = buffer(WorkspaceBuffer::new(evaluate_workspace(&shape, k)))?;
    let value = evaluate(data, view, Some(penalty), ctx, out, memory.lend()).or_else(|e| refused(e, at))?;
    let mut whitened = vec![0.0; whitening.rank];
    let mut largest = weight_gradient.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
    for gradient in atom_gradient.chunks_exact(l) {
        whitening.to_whitened(gradient, &mut whitened);
        largest = whitened.iter().fold(largest, |m, g| m.max(g.abs()));
    }
    let seconds = begun.elapsed().as_secs_f64();

    let errors = |variance| errors(data, &whitening, ridge, view, variance, ctx);
    let (weight_errors, plain) = errors(Variance::Information);
    // Where the information has no inverse, neither has the sandwich.
    let robust = match weight_errors.iter().all(|e| e.is_nan()) {
        true => plain.clone(),
        false => errors(Variance::Robust).1,
    };
    let class = |j: usize| Class {
        weight: mixture.weights[j],
        atom: mixture.atom(j).to_vec(),
        weight_error: weight_errors[j],
        errors: plain[j * l..(j + 1) * l].to_vec(),
        robust_errors: robust[j * l..(j + 1) * l].to_vec(),
    };
    let (mut by_class, mut mixed) = (Vec::new(), Vec::new());
    if shape.sets == 1 {
        let probabilities = ChoiceProbabilities::new(data, view, ctx).or_else(|e| refused(e, at))?;
        (by_class, mixed) = (probabilities.by_class, probabilities.mixed);
    }
    Ok(Solution {
        classes: (0..k).map(class).collect(),
        value,
        ending: None,
        diverging: vec![false; k],
        gradient_norm: largest / data.total_choices(),
        evaluations: 1,
        passes: 2,
        seconds,
        unidentified: whitening.unidentified.to_vec(),
        starts: vec![(StartKind::Given, value.penalized_log_likelihood)],
        at_best: 1,
        criteria: Criteria::from_responsibilities(data, value.log_likelihood, &posterior, k, whitening.rank),
        deviations: (0..l).map(|j| whitening.covariance[j * l + j].sqrt()).collect(),
        posterior,
        by_class,
        mixed,
    })
}

/// Standard errors of weights and atoms; NaN throughout where they cannot be had.
fn errors(
    data: &Data<'_>,
    whitening: &Whitening<'_>,
    ridge: f64,
    mixture: MixtureRef<'_>,
    variance: Variance,
    ctx: Context,
) -> (Vec<f64>, Vec<f64>) {
    let (mut weights, mut atoms) = (vec![f64::NAN; mixture.weights.len()], vec![f64::NAN; mixture.atoms.len()]);
    // The fit stands even where there is no memory for its information.
    let memory = WorkspaceBuffer::new(standard_errors_workspace(&data.shape(), mixture.classes()));
    let done = memory.and_then(|mut m| standard_errors(data, whitening, ridge, mixture, variance, &mut weights, &mut atoms, ctx, m.lend()));
    if done.is_err() {
        weights.fill(f64::NAN);
        atoms.fill(f64::NAN);
    }
    (weights, atoms)
}

/// An error of the library that the reading of the files did not foresee.
fn refused<T>(error: Error, at: Place<'_>) -> Result<T> {
    let files = at.files;
    match (error.kind, error.argument, error.sizes) {
        (ErrorKind::Workspace, "starts", _) => usage("--starts: there is no memory for so many"),
        (ErrorKind::Workspace, _, Some((needed, _))) => bad(format!("there is no memory for the {needed} bytes that this takes")),
        (ErrorKind::OutOfRange, "features", _) => {
            let name = error.column.and_then(|j| at.names.get(j)).map_or("features", |name| name);
            bad(format!("{files}: {}: its squares are beyond the range of numbers: take another unit", quoted(name)))
        }
        (ErrorKind::NotFinite, "logits" | "log-likelihood", _) => match at.init {
            Some(path) => bad(format!("{}: its atoms take the logits of {files} beyond the range of numbers", path.display())),
            None => bad(format!("{files}: logits beyond the range of numbers")),
        },
        _ => bad(format!("{files}: {error}")),
    }
}

fn buffer(memory: std::result::Result<WorkspaceBuffer, Error>) -> Result<WorkspaceBuffer> {
    memory.or_else(|e| refused(e, Place::default()))
}

/// Progress on standard error, shown only on a terminal: the starts drawn of those that may be, and where the best is.
struct Bar {
    bar: ProgressBar,
    /// Starts drawn at once.
    batch: usize,
}

impl Bar {
    fn new(data: &Data<'_>, options: &FitOptions<'_>, quiet: bool) -> Self {
        let (shape, k) = (data.shape(), options.classes);
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(max_starts(&shape, options) as u64), target);
        if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:24} {pos}/{len} starts  {elapsed}  {wide_msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(if k == 1 { "1 class".into() } else { format!("{k} classes") });
        bar.enable_steady_tick(Duration::from_millis(100));
        Bar { bar, batch: default_starts(&shape, k) }
    }

    fn show(&self, p: &Progress) {
        let racing = if p.racing { self.batch } else { 0 };
        self.bar.set_position(p.drawn.saturating_sub(racing) as u64);
        let doing = if p.racing { "racing" } else { "finishing" };
        self.bar.set_message(format!("{doing}, {} evaluations, log-likelihood {:.4}", p.evaluations, p.best.max(p.current)));
    }
}
