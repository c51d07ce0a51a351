//! Numbers near the ends of the range of f64, and classes that rule out what was chosen: quantities are those of ordinary numbers, or
//! refused.
#![cfg(feature = "alloc")]

mod common;

use common::assert_close;
use common::model::*;
use common::random::*;
use softmix::data::{Choices, Data, Features};
use softmix::error::{Error, ErrorKind};
use softmix::fit::{Fit, FitOptions, Outcome};
use softmix::inference::Variance;
use softmix::mixture::Mixture;
use softmix::moments::{Draws, Frame, univariate, univariate_workspace};
use softmix::parallel::Context;
use softmix::simd::Isa;
use softmix::workspace::WorkspaceBuffer;

const RIDGE: f64 = 3.0;

fn case(layout: Layout) -> (Case, Mixture) {
    let case = random_case(Recipe { layout, rows: 120, columns: 3, units: 300, offsets: false, seed: 4 });
    let mut random = Random::new(3);
    (case, Mixture { weights: random.simplex(2), atoms: random.normals(6, 0.7) })
}

/// The features times s, and the mixture of the same logits.
fn scaled(case: &Case, m: &Mixture, s: f64) -> (Case, Mixture) {
    let features = case.features.iter().map(|x| x * s).collect();
    (Case { features, ..case.clone() }, Mixture { weights: m.weights.clone(), atoms: m.atoms.iter().map(|a| a / s).collect() })
}

/// The weights of the units times c.
fn weighted(case: &Case, c: f64) -> Case {
    let times = |n: &[f64]| n.iter().map(|n| n * c).collect::<Vec<f64>>();
    let choices = match case.choices.clone() {
        OwnedChoices::Counts(n) => OwnedChoices::Counts(times(&n)),
        OwnedChoices::Sparse { indices, counts } => OwnedChoices::Sparse { indices, counts: times(&counts) },
        OwnedChoices::Units { indptr, indices, counts, weights } => {
            OwnedChoices::Units { indptr, indices, counts, weights: times(&weights) }
        }
    };
    Case { choices, ..case.clone() }
}

fn times(x: &[f64], by: f64) -> Vec<f64> {
    x.iter().map(|x| x * by).collect()
}

#[test]
fn features_of_any_scale_are_fitted_or_refused() {
    for layout in LAYOUTS {
        let (plain, m) = case(layout);
        let expected = fit_from(&plain.data(), &m, RIDGE);
        let errors_of = |case: &Case, m: &Mixture, v: Variance| errors(&case.data(), m, RIDGE, v).1;
        for s in [1e-143, 1e-100, 1e100, 1e143] {
            let (other, start) = scaled(&plain, &m, s);
            let found = fit_from(&other.data(), &start, RIDGE);
            let (a, b) = (found.report.penalized_log_likelihood, expected.report.penalized_log_likelihood);
            assert!((a / b - 1.0).abs() < 1e-9, "{layout:?} {s:e}: {:?} at {a} for {b}", found.report.outcome);
            let (_, at) = scaled(&plain, &expected.mixture, s);
            for v in [Variance::Information, Variance::Robust] {
                let found = times(&errors_of(&other, &at, v), s);
                assert_close("standard errors", &found, &errors_of(&plain, &expected.mixture, v), 1e-6);
            }
        }
        for s in [1e-160, 1e-147, 1e147, 1e153] {
            let (other, _) = scaled(&plain, &m, s);
            let error = Fit::new(&other.data(), &FitOptions::new(2)).unwrap_err();
            assert_eq!(error, Error { column: Some(0), ..Error::new(ErrorKind::OutOfRange, "features") }, "{layout:?} {s:e}");
        }
    }
}

#[test]
fn standard_errors_fall_with_the_root_of_the_weights_whatever_their_unit() {
    for layout in LAYOUTS {
        let (plain, m) = case(layout);
        let at = fit_from(&plain.data(), &m, RIDGE).mixture;
        let of = |case: &Case, ridge: f64, v: Variance| errors(&case.data(), &at, ridge, v).1;
        for c in [1e-200, 1e-138, 1e-100, 1e100, 1e160] {
            let other = weighted(&plain, c);
            let found = times(&of(&other, RIDGE * c, Variance::Information), c.sqrt());
            assert_close("of the model", &found, &of(&plain, RIDGE, Variance::Information), 1e-8);
            let found = of(&other, RIDGE * c, Variance::RobustSampling);
            assert_close("of sampling weights", &found, &of(&plain, RIDGE, Variance::RobustSampling), 1e-8);
        }
    }
}

#[test]
fn standard_errors_of_moments_fall_with_the_root_of_the_counts() {
    let of = |case: &Case| {
        let data = case.data();
        whitened(&data, |wh| {
            let draws = Draws::new(&data).unwrap();
            let mut memory = WorkspaceBuffer::new(Frame::workspace(&data.shape())).unwrap();
            let frame = Frame::new(&data, wh, &mut memory.lend()).unwrap();
            let (mut moments, mut errors) = ([0.0; 4], [0.0; 4]);
            let mut ws = WorkspaceBuffer::new(univariate_workspace(&data.shape(), 1, 3)).unwrap();
            univariate(&draws, &frame, &[1.0, 0.0, 0.0], 3, &mut moments, Some(&mut errors), Context::default(), ws.lend()).unwrap();
            (errors[1..].to_vec(), draws.effective_size())
        })
    };
    let (plain, _) = case(Layout::Counts);
    let expected = of(&plain);
    for c in [1e-160, 1e-100, 1e100, 1e160] {
        let found = of(&weighted(&plain, c));
        assert_close("errors", &times(&found.0, c.sqrt()), &expected.0, 1e-9);
        assert_close("effective size", &[found.1 / c], &[expected.1], 1e-9);
    }
}

/// One choice set of seven, of which the second class gives what was chosen e^-gap: the six others tell both classes well.
#[test]
fn a_choice_set_that_a_class_rules_out_leaves_standard_errors() {
    let found = [690.0, 712.0, 760.0].map(|gap: f64| {
        let mut random = Random::new(3);
        let (p, theta) = (600, [[1.0, 0.5], [-1.0, -gap]]);
        // The second feature is small, but in the last set.
        let mut x: Vec<f64> = (0..p).flat_map(|_| [random.normal(), random.normal() / gap]).collect();
        x.extend([0.0, 1.0, 0.3, 0.0, -0.2, 0.0]);
        let sets: Vec<usize> = (0..=6).map(|s| 100 * s).chain([p + 3]).collect();
        let expected = |i: usize| theta.iter().map(|t| (x[2 * i] * t[0] + x[2 * i + 1] * t[1]).exp()).sum::<f64>();
        let n: Vec<f64> = (0..p).map(|i| (20.0 * expected(i)).floor()).chain([2.0, 0.0, 0.0]).collect();
        let m = Mixture { weights: vec![0.5, 0.5], atoms: theta.concat() };
        let data = Data::new(Features::row_major(&x[..], p + 3, 2).unwrap(), None, Some(&sets), Choices::Counts(&n)).unwrap();
        errors(&data, &m, 0.0, Variance::Information)
    });
    for (weights, atoms) in &found {
        assert!(weights.iter().chain(atoms).all(|e| e.is_finite() && *e > 0.0), "{found:?}");
        assert_close("the other class", &atoms[..2], &found[0].1[..2], 0.01);
    }
}

/// `n / π` is beyond the range of f64, but what is made of it is not.
#[test]
fn large_counts_of_unlikely_alternatives_leave_finite_gradients() {
    let (x, n) = ([0.0, -30.0, 0.5, 1.0], [1e300, 1e300, 0.0, 1e299]);
    let m = Mixture { weights: vec![0.5, 0.5], atoms: vec![1.0, 0.7] };
    let data = |n: &[f64; 4]| quantities_of(&x, n, &m);
    let expected = data(&n.map(|n| n * 1e-300));
    for (isa, found) in data(&n) {
        let (_, plain) = &expected[0];
        assert_close(isa.name(), &times(&found.atom_gradient, 1e-300), &plain.atom_gradient, 1e-9);
        assert_close(isa.name(), &times(&found.weight_gradient, 1e-300), &plain.weight_gradient, 1e-9);
        assert_close(isa.name(), &[found.value.log_likelihood * 1e-300], &[plain.value.log_likelihood], 1e-9);
    }
}

/// Many starts have a log-likelihood beyond f64 here, and share a product with others.
#[test]
fn starts_whose_log_likelihood_is_no_number_do_not_end_a_fit() {
    let mut random = Random::new(1);
    let (x, offset) = (random.normals(400, 1.0), random.normals(200, 300.0));
    let m = Mixture { weights: vec![0.5, 0.5], atoms: vec![1.4, 1.4, -1.4, 1.4] };
    let plain = Data::new(Features::row_major(&x[..], 200, 2).unwrap(), None, None, Choices::Counts(&[1.0; 200])).unwrap();
    let counts: Vec<f64> = probabilities(&plain, &m, Context::default()).1.iter().map(|p| (2000.0 * p).round() * 1e302).collect();
    let data = Data::new(*plain.features(), Some(&offset), None, Choices::Counts(&counts)).unwrap();
    let fit = Fit::new(&data, &FitOptions::new(2)).unwrap();
    assert!(fit.report.log_likelihood.is_finite(), "{:?}", fit.report);
    assert!(fit.starts.iter().any(|(_, f)| *f == f64::NEG_INFINITY), "{:?}", fit.starts);
}

fn quantities_of(x: &[f64; 4], n: &[f64; 4], m: &Mixture) -> Vec<(Isa, Quantities)> {
    let data = Data::new(Features::row_major(&x[..], 4, 1).unwrap(), None, None, Choices::Counts(n)).unwrap();
    Isa::available().map(|isa| (isa, quantities(&data, m, 0.0, Context { isa, threads: 1 }))).collect()
}

#[test]
fn a_unit_of_no_weight_counts_for_nothing() {
    let (indptr, indices) = ([0, 2, 3], [0, 1, 1]);
    let choices = Choices::Units { indptr: &indptr, indices: &indices, counts: Some(&[1e308, 1e308, 1.0]), weights: Some(&[0.0, 1.0]) };
    let data = Data::new(Features::row_major(&[0.0, 1.0][..], 2, 1).unwrap(), None, None, choices).unwrap();
    assert_eq!((data.total_choices(), data.total_weight()), (1.0, 1.0));
}

/// A logarithm of +∞ has no responsibilities, on any instruction set, whatever stands beside it.
#[test]
fn responsibilities_of_infinite_logarithms_are_no_numbers() {
    for isa in Isa::available() {
        let (mut j, mut found) = ([f64::INFINITY, 0.0], [0.0]);
        softmix::simd::responsibilities(isa, &mut j, 1, 1, 2, &mut found);
        assert!(j.iter().chain(&found).all(|x| x.is_nan()), "{}: {j:?} {found:?}", isa.name());
    }
}

/// Far from any end a step kept short promises less than the rounding of a log-likelihood of -1e13: that is no convergence.
#[test]
fn a_start_that_nothing_leads_away_from_has_not_converged() {
    let (case, _) = case(Layout::Counts);
    let data = case.data();
    for far in [1e10, 1e50] {
        let start = Mixture { weights: vec![0.5, 0.5], atoms: vec![far, 0.0, 0.0, 0.0, far, 0.0] };
        let fit = fit_from(&data, &start, 0.0);
        assert!(fit.report.outcome != Outcome::Converged || fit.report.gradient_norm < 1e-4, "{far}: {:?}", fit.report);
    }
}

/// What features have in common costs a product with the Hessian the digits that it costs the features, and not their square.
#[test]
fn products_with_the_hessian_bear_a_common_shift_of_the_features() {
    for layout in LAYOUTS {
        let (mut plain, m) = case(layout);
        // On a grid, so that the shift itself costs nothing.
        plain.features.iter_mut().for_each(|x| *x = (*x * 1024.0).round() / 1024.0);
        let v: Vec<f64> = (0..7).map(|j| 1.0 - 0.3 * f64::from(j)).collect();
        let expected = hessian_times(&plain.data(), &m, &v, Context::default());
        for shift in [1e4, 1e7] {
            let features = plain.features.iter().enumerate().map(|(j, x)| x + shift * (1 + j % 3) as f64).collect();
            let found = hessian_times(&Case { features, ..plain.clone() }.data(), &m, &v, Context::default());
            assert_close("products", &found, &expected, 1e-13 * shift);
        }
    }
}
