//! The quantities of the model at a mixture, each with memory of its own.

use softmix::data::Data;
use softmix::em::{MStep, em_step, em_step_workspace};
use softmix::evaluate::*;
use softmix::fit::{Fit, FitOptions, Starts};
use softmix::inference::{Variance, standard_errors, standard_errors_workspace};
use softmix::mixture::{Mixture, MixtureRef};
use softmix::parallel::Context;
use softmix::predict::{choice_probabilities, choice_probabilities_workspace};
use softmix::whiten::Whitening;
use softmix::workspace::WorkspaceBuffer;

pub const FORMS: [MStep; 3] = [MStep::Gradient, MStep::Newton, MStep::Converged];

/// Calls `body` with the whitening of `data`.
pub fn whitened<R>(data: &Data<'_>, body: impl FnOnce(&Whitening<'_>) -> R) -> R {
    let mut memory = WorkspaceBuffer::new(Whitening::workspace(&data.shape())).unwrap();
    body(&Whitening::new(data, Context::default().isa, &mut memory.lend()).unwrap())
}

/// Everything that an evaluation gives.
#[derive(Clone, Debug)]
pub struct Quantities {
    pub value: Value,
    pub unit: Vec<f64>,
    pub responsibilities: Vec<f64>,
    pub weight_gradient: Vec<f64>,
    pub atom_gradient: Vec<f64>,
}

impl Quantities {
    /// All numbers, one after another.
    pub fn numbers(&self) -> Vec<f64> {
        let values = [self.value.log_likelihood, self.value.penalized_log_likelihood];
        [&values[..], &self.unit, &self.responsibilities, &self.weight_gradient, &self.atom_gradient].concat()
    }
}

pub fn quantities(data: &Data<'_>, m: &Mixture, ridge: f64, ctx: Context) -> Quantities {
    let (shape, k) = (data.shape(), m.classes());
    let (mut unit, mut responsibilities) = (vec![0.0; shape.units], vec![0.0; shape.units * k]);
    let (mut weight_gradient, mut atom_gradient) = (vec![0.0; k], vec![0.0; k * shape.columns]);
    let out = EvaluateOutput {
        unit_log_likelihoods: Some(&mut unit),
        responsibilities: Some(&mut responsibilities),
        weight_gradient: Some(&mut weight_gradient),
        atom_gradient: Some(&mut atom_gradient),
    };
    let mut memory = WorkspaceBuffer::new(evaluate_workspace(&shape, k)).unwrap();
    let value = whitened(data, |wh| {
        let penalty = Penalty { ridge, covariance: wh.covariance };
        evaluate(data, m.view(), (ridge > 0.0).then_some(penalty), ctx, out, memory.lend()).unwrap()
    });
    Quantities { value, unit, responsibilities, weight_gradient, atom_gradient }
}

pub fn information(data: &Data<'_>, m: &Mixture, ridge: f64, ctx: Context) -> Vec<f64> {
    let d = m.classes() - 1 + m.atoms.len();
    let mut out = vec![0.0; d * d];
    let mut memory = WorkspaceBuffer::new(information_workspace(&data.shape(), m.classes())).unwrap();
    whitened(data, |wh| {
        let penalty = Penalty { ridge, covariance: wh.covariance };
        observed_information(data, m.view(), Some(penalty), ctx, &mut out, memory.lend()).unwrap();
    });
    out
}

pub fn scores(data: &Data<'_>, m: &Mixture, sampling: bool) -> Vec<f64> {
    let d = m.classes() - 1 + m.atoms.len();
    let mut out = vec![0.0; d * d];
    let mut memory = WorkspaceBuffer::new(information_workspace(&data.shape(), m.classes())).unwrap();
    score_products(data, m.view(), sampling, Context::default(), &mut out, memory.lend()).unwrap();
    out
}

pub fn hessian_times(data: &Data<'_>, m: &Mixture, v: &[f64], ctx: Context) -> Vec<f64> {
    let mut out = vec![0.0; v.len()];
    let mut memory = WorkspaceBuffer::new(hessian_vector_workspace(&data.shape(), m.classes())).unwrap();
    hessian_vector(data, m.view(), v, ctx, &mut out, memory.lend()).unwrap();
    out
}

/// One step of EM; the value where it began.
pub fn em(data: &Data<'_>, m: &mut Mixture, ridge: f64, form: MStep, ctx: Context) -> Value {
    let mut memory = WorkspaceBuffer::new(em_step_workspace(&data.shape(), m.classes(), form)).unwrap();
    whitened(data, |wh| em_step(data, wh, ridge, form, &mut m.weights, &mut m.atoms, ctx, memory.lend()).unwrap())
}

/// Standard errors of the weights, then of the atoms.
pub fn errors(data: &Data<'_>, m: &Mixture, ridge: f64, variance: Variance) -> (Vec<f64>, Vec<f64>) {
    let (mut weights, mut atoms) = (vec![0.0; m.weights.len()], vec![0.0; m.atoms.len()]);
    let mut memory = WorkspaceBuffer::new(standard_errors_workspace(&data.shape(), m.classes())).unwrap();
    whitened(data, |wh| {
        standard_errors(data, wh, ridge, m.view(), variance, &mut weights, &mut atoms, Context::default(), memory.lend()).unwrap();
    });
    (weights, atoms)
}

/// `A` (p × K) and `π` (p).
pub fn probabilities(data: &Data<'_>, m: &Mixture, ctx: Context) -> (Vec<f64>, Vec<f64>) {
    let p = data.shape().rows;
    let (mut by_class, mut mixed) = (vec![0.0; p * m.classes()], vec![0.0; p]);
    let mut memory = WorkspaceBuffer::new(choice_probabilities_workspace(&data.shape(), m.classes())).unwrap();
    choice_probabilities(data, m.view(), Some(&mut by_class), Some(&mut mixed), ctx, memory.lend()).unwrap();
    (by_class, mixed)
}

/// A fit from one given start.
pub fn fit_from(data: &Data<'_>, start: &Mixture, ridge: f64) -> Fit {
    let starts = Starts::Given(MixtureRef::new(&start.weights, &start.atoms, data.shape().columns).unwrap());
    Fit::new(data, &FitOptions { ridge, starts, ..FitOptions::new(start.classes()) }).unwrap()
}
