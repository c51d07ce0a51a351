//! Every quantity of the oracle's cases: units with weights, multiplicities, offsets, ridge, one choice set and many.
#![cfg(feature = "std")]

mod common;

use common::{assert_close, golden};
use softmix::data::{Choices, Data, Features};
use softmix::em::{MStep, em_step, em_step_workspace};
use softmix::evaluate::*;
use softmix::fit::{Fit, FitOptions, Outcome, Starts};
use softmix::mixture::MixtureRef;
use softmix::parallel::Context;
use softmix::whiten::Whitening;
use softmix::workspace::WorkspaceBuffer;

#[test]
fn evaluation_and_information_agree_with_the_oracle() {
    for case in golden() {
        let data = case.panel.data();
        let (shape, ctx) = (data.shape(), Context::default());
        let (k, l, u) = (case.alpha.len(), shape.columns, shape.units);
        let mut memory = WorkspaceBuffer::new(Whitening::workspace(&shape)).unwrap();
        let wh = Whitening::new(&data, ctx.isa, &mut memory.lend()).unwrap();
        assert_close("sigma", wh.covariance, &case.floats("sigma"), 1e-12);
        let mixture = MixtureRef::new(&case.alpha, &case.theta, l).unwrap();
        let penalty = Penalty { ridge: case.ridge, covariance: wh.covariance };
        let (mut unit, mut r) = (vec![0.0; u], vec![0.0; u * k]);
        let (mut ga, mut gt) = (vec![0.0; k], vec![0.0; k * l]);
        let out = EvaluateOutput {
            unit_log_likelihoods: Some(&mut unit),
            responsibilities: Some(&mut r),
            weight_gradient: Some(&mut ga),
            atom_gradient: Some(&mut gt),
        };
        let mut memory2 = WorkspaceBuffer::new(evaluate_workspace(&shape, k)).unwrap();
        let value = evaluate(&data, mixture, Some(penalty), ctx, out, memory2.lend()).unwrap();
        assert_close("loglik", &[value.log_likelihood], &[case.float("loglik")], 1e-12);
        assert_close("penalized", &[value.penalized_log_likelihood], &[case.float("penalized")], 1e-12);
        assert_close("unit_loglik", &unit, &case.floats("unit_loglik"), 1e-12);
        assert_close("responsibilities", &r, &case.floats("responsibilities"), 1e-12);
        // The gradients are differences of sums over all choices: their rounding is relative to the total.
        let largest = data.total_choices();
        assert_close(
            "grad_log_odds",
            &[&ga[..k - 1], &[largest]].concat(),
            &[&case.floats("grad_log_odds")[..], &[largest]].concat(),
            1e-12,
        );
        assert_close("grad_theta", &gt, &case.floats("grad_theta_by_class"), 1e-12);

        let d = k - 1 + k * l;
        let mut info = vec![0.0; d * d];
        let mut memory3 = WorkspaceBuffer::new(information_workspace(&shape, k)).unwrap();
        observed_information(&data, mixture, Some(penalty), ctx, &mut info, memory3.lend()).unwrap();
        assert_close("observed_information", &info, &case.floats("observed_information"), 1e-12);
        score_products(&data, mixture, false, ctx, &mut info, memory3.lend()).unwrap();
        assert_close("score_products", &info, &case.floats("score_products"), 1e-12);

        // Minus the information of the unpenalised likelihood, column by column.
        observed_information(&data, mixture, None, ctx, &mut info, memory3.lend()).unwrap();
        let mut memory4 = WorkspaceBuffer::new(hessian_vector_workspace(&shape, k)).unwrap();
        let mut hessian = vec![0.0; d * d];
        for (j, column) in hessian.chunks_exact_mut(d).enumerate() {
            let mut v = vec![0.0; d];
            v[j] = -1.0;
            hessian_vector(&data, mixture, &v, ctx, column, memory4.lend()).unwrap();
        }
        assert_close("hessian_vector", &hessian, &info, 1e-12);
    }
}

#[test]
fn a_converged_em_step_agrees_with_the_oracle() {
    for case in golden() {
        let data = case.panel.data();
        let (shape, ctx) = (data.shape(), Context::default());
        let mut memory = WorkspaceBuffer::new(Whitening::workspace(&shape)).unwrap();
        let wh = Whitening::new(&data, ctx.isa, &mut memory.lend()).unwrap();
        let (mut alpha, mut theta) = (case.alpha.clone(), case.theta.clone());
        let mut memory2 = WorkspaceBuffer::new(em_step_workspace(&shape, alpha.len(), MStep::Converged)).unwrap();
        let before = em_step(&data, &wh, case.ridge, MStep::Converged, &mut alpha, &mut theta, ctx, memory2.lend()).unwrap();
        assert_close("penalized before", &[before.penalized_log_likelihood], &[case.float("penalized")], 1e-12);
        assert_close("em_alpha", &alpha, &case.floats("em_alpha"), 1e-7);
        assert_close("em_theta", &theta, &case.floats("em_theta_by_class"), 1e-7);
        let mut memory3 = WorkspaceBuffer::new(evaluate_workspace(&shape, alpha.len())).unwrap();
        let mixture = MixtureRef::new(&alpha, &theta, shape.columns).unwrap();
        let after = evaluate(&data, mixture, None, ctx, EvaluateOutput::default(), memory3.lend()).unwrap();
        assert_close("em_loglik", &[after.log_likelihood], &[case.float("em_loglik")], 1e-9);
    }
}

#[test]
fn the_optimum_from_the_given_start_agrees_with_the_oracle() {
    for case in golden() {
        let data = case.panel.data();
        let start = MixtureRef::new(&case.alpha, &case.theta, data.shape().columns).unwrap();
        let options = FitOptions { ridge: case.ridge, starts: Starts::Given(start), ..FitOptions::new(case.alpha.len()) };
        let fit = Fit::new(&data, &options).unwrap();
        assert_eq!(fit.report.outcome, Outcome::Converged);
        let best = &case.values["max_from_given_start"];
        let expected =
            softmix::mixture::Mixture { weights: common::floats(&best["alpha"]), atoms: common::floats(&best["theta_by_class"]) }
                .canonical();
        assert_close("max loglik", &[fit.report.log_likelihood], &[best["loglik"].as_f64().unwrap()], 1e-9);
        assert_close("max alpha", &fit.mixture.weights, &expected.weights, 1e-7);
        assert_close("max theta", &fit.mixture.atoms, &expected.atoms, 1e-7);
    }
}

#[test]
fn counts_of_one_choice_set_are_units_of_one_choice() {
    for case in golden().into_iter().filter(|c| c.panel.sets.len() == 2 && c.panel.counts.iter().all(|c| *c == 1.0)) {
        let p = case.panel.rows();
        let mut counts = vec![0.0; p];
        for (u, i) in case.panel.indices.iter().enumerate() {
            counts[*i] += case.panel.weights[u];
        }
        let features = Features::row_major(&case.panel.features[..], p, case.panel.columns).unwrap();
        let (indices, values): (Vec<usize>, Vec<f64>) = (0..p).rev().filter(|i| counts[*i] > 0.0).map(|i| (i, counts[i])).unzip();
        for choices in [Choices::Counts(&counts), Choices::SparseCounts { indices: &indices, counts: &values }] {
            let data = Data::new(features, case.panel.offset.as_deref(), None, choices).unwrap();
            let (k, l) = (case.alpha.len(), case.panel.columns);
            let mut memory = WorkspaceBuffer::new(evaluate_workspace(&data.shape(), k)).unwrap();
            let mut gradient = vec![0.0; k * l];
            let out = EvaluateOutput { atom_gradient: Some(&mut gradient), ..Default::default() };
            let mixture = MixtureRef::new(&case.alpha, &case.theta, l).unwrap();
            let value = evaluate(&data, mixture, None, Context::default(), out, memory.lend()).unwrap();
            assert_close("loglik", &[value.log_likelihood], &[case.float("loglik")], 1e-12);
            assert_close("grad_theta", &gradient, &case.floats("grad_theta_by_class"), 1e-12);
        }
    }
}
