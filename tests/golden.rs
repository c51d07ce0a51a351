//! Every quantity of the oracle's cases: units with weights, multiplicities, offsets, ridge, one choice set and many.
#![cfg(feature = "std")]

mod common;

use common::model::*;
use common::{Golden, assert_close, floats, golden};
use softmix::data::{Choices, Data, Features};
use softmix::em::MStep;
use softmix::fit::Outcome;
use softmix::mixture::Mixture;
use softmix::parallel::Context;

fn mixture(case: &Golden) -> Mixture {
    Mixture { weights: case.alpha.clone(), atoms: case.theta.clone() }
}

#[test]
fn evaluation_and_information_agree_with_the_oracle() {
    for case in golden() {
        let (data, m, ctx) = (case.panel.data(), mixture(&case), Context::default());
        let k = m.classes();
        whitened(&data, |wh| assert_close("sigma", wh.covariance, &case.floats("sigma"), 1e-12));
        let q = quantities(&data, &m, case.ridge, ctx);
        assert_close("loglik", &[q.value.log_likelihood], &[case.float("loglik")], 1e-12);
        assert_close("penalized", &[q.value.penalized_log_likelihood], &[case.float("penalized")], 1e-12);
        assert_close("unit_loglik", &q.unit, &case.floats("unit_loglik"), 1e-12);
        assert_close("responsibilities", &q.responsibilities, &case.floats("responsibilities"), 1e-12);
        // The gradients are differences of sums over all choices: their rounding is relative to the total.
        let largest = [data.total_choices()];
        let with_largest = |g: &[f64]| [&g[..k - 1], &largest].concat();
        assert_close("grad_log_odds", &with_largest(&q.weight_gradient), &with_largest(&case.floats("grad_log_odds")), 1e-12);
        assert_close("grad_theta", &q.atom_gradient, &case.floats("grad_theta_by_class"), 1e-12);
        assert_close("observed_information", &information(&data, &m, case.ridge, ctx), &case.floats("observed_information"), 1e-12);
        assert_close("score_products", &scores(&data, &m, false), &case.floats("score_products"), 1e-12);

        // Minus the information of the unpenalised likelihood, column by column.
        let d = k - 1 + m.atoms.len();
        let column = |j: usize| {
            let mut v = vec![0.0; d];
            v[j] = -1.0;
            hessian_times(&data, &m, &v, ctx)
        };
        let hessian: Vec<f64> = (0..d).flat_map(column).collect();
        assert_close("hessian_vector", &hessian, &information(&data, &m, 0.0, ctx), 1e-12);
    }
}

#[test]
fn a_converged_em_step_agrees_with_the_oracle() {
    for case in golden() {
        let (data, mut m, ctx) = (case.panel.data(), mixture(&case), Context::default());
        let before = em(&data, &mut m, case.ridge, MStep::Converged, ctx);
        assert_close("penalized before", &[before.penalized_log_likelihood], &[case.float("penalized")], 1e-12);
        assert_close("em_alpha", &m.weights, &case.floats("em_alpha"), 1e-7);
        assert_close("em_theta", &m.atoms, &case.floats("em_theta_by_class"), 1e-7);
        let after = quantities(&data, &m, 0.0, ctx).value;
        assert_close("em_loglik", &[after.log_likelihood], &[case.float("em_loglik")], 1e-9);
    }
}

#[test]
fn the_optimum_from_the_given_start_agrees_with_the_oracle() {
    for case in golden() {
        let fit = fit_from(&case.panel.data(), &mixture(&case), case.ridge);
        assert_eq!(fit.report.outcome, Outcome::Converged);
        let best = &case.values["max_from_given_start"];
        let expected = Mixture { weights: floats(&best["alpha"]), atoms: floats(&best["theta_by_class"]) }.canonical();
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
            let q = quantities(&data, &mixture(&case), 0.0, Context::default());
            assert_close("loglik", &[q.value.log_likelihood], &[case.float("loglik")], 1e-12);
            assert_close("grad_theta", &q.atom_gradient, &case.floats("grad_theta_by_class"), 1e-12);
        }
    }
}
