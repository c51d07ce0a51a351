//! Every refusal names the argument and the place, and leaves outputs alone.
#![cfg(feature = "std")]

mod common;

use common::random::*;
use softmix::data::{Choices, Data, Features, Values};
use softmix::em::{MStep, em_step, em_step_workspace};
use softmix::error::{Error, ErrorKind, Result};
use softmix::evaluate::*;
use softmix::fit::{Fit, FitOptions, FitOutput, Starts, fit, fit_workspace, max_starts};
use softmix::inference::{Variance, covariance, covariance_workspace, standard_errors, standard_errors_workspace};
use softmix::mixture::MixtureRef;
use softmix::parallel::Context;
use softmix::predict::{choice_probabilities, choice_probabilities_workspace};
use softmix::scan::Criteria;
use softmix::starts::StartKind;
use softmix::whiten::Whitening;
use softmix::workspace::{WorkspaceBuffer, WorkspaceSize};

const NAN: f64 = f64::NAN;
const INFINITY: f64 = f64::INFINITY;

/// An error of a kind in an argument.
fn error(kind: ErrorKind, argument: &'static str) -> Error {
    Error::new(kind, argument)
}

/// Six rows of two features.
const X: [f64; 12] = [0.1, 0.2, 0.3, -0.4, 0.5, 0.6, -0.7, 0.8, 0.9, 1.0, 1.1, -1.2];

fn features() -> Features<'static> {
    Features::row_major(&X[..], 6, 2).unwrap()
}

fn units<'a>(indptr: &'a [usize], indices: &'a [usize], counts: Option<&'a [f64]>, weights: Option<&'a [f64]>) -> Choices<'a> {
    Choices::Units { indptr, indices, counts, weights }
}

fn sparse<'a>(indices: &'a [usize], counts: &'a [f64]) -> Choices<'a> {
    Choices::SparseCounts { indices, counts }
}

const ONES: Choices<'static> = Choices::Counts(&[1.0; 6]);

#[track_caller]
fn refused(offset: Option<&[f64]>, sets: Option<&[usize]>, choices: Choices<'_>, expected: Error) {
    assert_eq!(Data::new(features(), offset, sets, choices).map(|_| ()), Err(expected));
}

#[test]
fn features_must_be_finite_and_as_many_as_rows_times_columns() {
    for place in [(0, 0), (2, 1), (5, 0), (5, 1)] {
        for bad in [NAN, INFINITY, -INFINITY] {
            let expected = Err(error(ErrorKind::NotFinite, "features").at(place.0).column(place.1));
            let mut x = X;
            x[place.0 * 2 + place.1] = bad;
            // A later one is not the first.
            x[11] = if place == (5, 1) { bad } else { NAN };
            let by_rows = Features::row_major(&x[..], 6, 2).unwrap();
            assert_eq!(Data::new(by_rows, None, None, ONES).map(|_| ()), expected);
            let columns: Vec<f64> = (0..12).map(|j| x[j % 6 * 2 + j / 6]).collect();
            let by_columns = Features::column_major(&columns[..], 6, 2).unwrap();
            assert_eq!(Data::new(by_columns, None, None, ONES).map(|_| ()), expected);
            let single: Vec<f32> = x.iter().map(|x| *x as f32).collect();
            let single = Features::row_major(&single[..], 6, 2).unwrap();
            assert_eq!(Data::new(single, None, None, ONES).map(|_| ()), expected);
        }
    }
    let made = |n: usize, rows, columns, a, b| Features::strided(&X[..n], rows, columns, a, b).map(|_| ());
    assert_eq!(made(12, 0, 2, 2, 1), Err(error(ErrorKind::Empty, "features")));
    assert_eq!(made(12, 6, 0, 2, 1), Err(error(ErrorKind::Empty, "features")));
    assert_eq!(made(11, 6, 2, 2, 1), Err(Error::shape("features", 12, 11)));
    assert_eq!(made(12, 6, 2, 3, 1), Err(Error::shape("features", 17, 12)));
    assert_eq!(made(12, 6, 2, 1, 7), Err(Error::shape("features", 13, 12)));
    for (rows, columns, a, b) in
        [(usize::MAX, 2, 2, 1), (usize::MAX, 1, 1, 1), (3, 3, usize::MAX, 1), (3, 3, 1, usize::MAX), (1 << 33, 1 << 33, 0, 0)]
    {
        let made = made(12, rows, columns, a, b).unwrap_err();
        assert!(made == error(ErrorKind::Overflow, "features") || made.kind == ErrorKind::Shape, "{made}");
    }
    assert_eq!(made(12, usize::MAX, 2, 2, 1), Err(error(ErrorKind::Overflow, "features")));
    let nothing = Features::row_major(Values::F32(&[]), 1, 1).map(|_| ());
    assert_eq!(nothing, Err(Error::shape("features", 1, 0)));
}

#[test]
fn offsets_may_be_minus_infinity_alone() {
    for bad in [NAN, INFINITY] {
        let mut b = [0.0; 6];
        b[4] = bad;
        refused(Some(&b), None, ONES, error(ErrorKind::NotFinite, "offset").at(4));
    }
    refused(Some(&[0.0; 5]), None, ONES, Error::shape("offset", 6, 5));
    refused(Some(&[0.0; 7]), None, ONES, Error::shape("offset", 6, 7));
}

/// Features are finite, but squares of them are not, or are 0.
#[test]
fn features_whose_variance_has_no_number_are_named() {
    for size in [1e160, 1e200, 1e-170, 1e-200] {
        for column in [0, 1] {
            let x: Vec<f64> = X.iter().enumerate().map(|(i, x)| if i % 2 == column { size * x } else { *x }).collect();
            let data = Data::new(Features::row_major(&x[..], 6, 2).unwrap(), None, None, ONES).unwrap();
            let found = Fit::new(&data, &FitOptions::new(1)).map(|_| ());
            assert_eq!(found, Err(error(ErrorKind::OutOfRange, "features").column(column)), "{size}");
            // An evaluation needs none.
            let atom = [0.1; 2];
            let mixture = MixtureRef { weights: &[1.0], atoms: &atom.map(|a| a / size.max(1.0)) };
            let mut memory = memory(evaluate_workspace(&data.shape(), 1));
            evaluate(&data, mixture, None, Context::default(), EvaluateOutput::default(), memory.lend()).unwrap();
        }
    }
    // The same small number everywhere is a constant.
    let x: Vec<f64> = X.iter().enumerate().map(|(i, x)| if i % 2 == 0 { 1e-200 } else { *x }).collect();
    let data = Data::new(Features::row_major(&x[..], 6, 2).unwrap(), None, None, ONES).unwrap();
    assert_eq!(Fit::new(&data, &FitOptions { ridge: 0.1, ..FitOptions::new(1) }).unwrap().unidentified, [true, false]);
}

/// However long the atoms of a start are, without a ridge they are a start.
#[test]
fn a_given_start_may_be_far_out() {
    let data = Data::new(features(), None, None, ONES).unwrap();
    let start = MixtureRef { weights: &[1.0], atoms: &[1e160, 0.0] };
    let fit = Fit::new(&data, &FitOptions { starts: Starts::Given(start), ..FitOptions::new(1) }).unwrap();
    assert!(fit.report.log_likelihood.is_finite());
}

#[test]
fn what_is_not_available_cannot_be_chosen() {
    let gone = [0.0, 0.0, 0.0, -INFINITY, 0.0, 0.0];
    let place = |i: usize| error(ErrorKind::Unavailable, "choices").at(i);
    refused(Some(&gone), None, ONES, place(3));
    refused(Some(&gone), None, sparse(&[5, 3, 0], &[1.0, 2.0, 1.0]), place(1));
    refused(Some(&gone), None, units(&[0, 2, 3], &[0, 1, 3], None, None), place(2));
    refused(Some(&gone), Some(&[0, 2, 6]), units(&[0, 2, 3], &[0, 3, 1], Some(&[1.0; 3]), Some(&[1.0, 0.0])), place(1));
    // However little it counts.
    let rare = Some(&[1e-200; 3][..]);
    refused(Some(&gone), None, units(&[0, 2, 3], &[0, 1, 3], rare, Some(&[1.0, 1e-200])), place(2));
    // Not chosen after all: no count, or no weight.
    let fine = [
        Choices::Counts(&[1.0, 1.0, 1.0, 0.0, 1.0, 1.0]),
        sparse(&[5, 3, 0], &[1.0, 0.0, 1.0]),
        units(&[0, 2, 3], &[0, 3, 1], Some(&[1.0, 0.0, 1.0]), None),
        units(&[0, 2, 3], &[0, 1, 3], None, Some(&[1.0, 0.0])),
    ];
    for choices in fine {
        let data = Data::new(features(), Some(&gone), None, choices).unwrap();
        let fit = Fit::new(&data, &FitOptions { ridge: 1.0, ..FitOptions::new(1) }).unwrap();
        assert!(fit.report.log_likelihood.is_finite());
    }
    let none = [-INFINITY; 6];
    refused(Some(&none), None, Choices::Counts(&[0.0; 6]), error(ErrorKind::Unavailable, "offset"));
    let second = [0.0, 0.0, -INFINITY, -INFINITY, 0.0, 0.0];
    refused(Some(&second), Some(&[0, 2, 4, 6]), ONES, error(ErrorKind::Unavailable, "sets").at(1));
}

#[test]
fn choice_sets_are_not_empty_and_cover_the_rows() {
    let sets = |s: &[usize], expected| refused(None, Some(s), ONES, expected);
    sets(&[], error(ErrorKind::Empty, "sets"));
    sets(&[0], error(ErrorKind::Empty, "sets"));
    sets(&[1, 6], error(ErrorKind::OutOfRange, "sets").at(0));
    sets(&[0, 3, 5], Error::shape("sets", 6, 5).at(2));
    sets(&[0, 3, 7], Error::shape("sets", 6, 7).at(2));
    sets(&[0, 3, 3, 6], error(ErrorKind::Empty, "sets").at(1));
    sets(&[0, 0, 6], error(ErrorKind::Empty, "sets").at(0));
    sets(&[0, 6, 6], error(ErrorKind::Empty, "sets").at(1));
    sets(&[0, 4, 3, 6], error(ErrorKind::OutOfRange, "sets").at(2));
    sets(&[0, 9, 6], error(ErrorKind::OutOfRange, "sets").at(2));
}

#[test]
fn counts_and_weights_are_finite_and_not_negative() {
    for (bad, kind) in
        [(NAN, ErrorKind::NotFinite), (INFINITY, ErrorKind::NotFinite), (-1.0, ErrorKind::Negative), (-INFINITY, ErrorKind::NotFinite)]
    {
        let mut n = [1.0; 6];
        n[2] = bad;
        refused(None, None, Choices::Counts(&n), error(kind, "counts").at(2));
        refused(None, Some(&[0, 3, 6]), Choices::Counts(&n), error(kind, "counts").at(2));
        refused(None, None, sparse(&[0, 1, 2], &n[..3]), error(kind, "counts").at(2));
        refused(None, None, units(&[0, 1, 3], &[0, 1, 2], Some(&n[..3]), None), error(kind, "counts").at(2));
        refused(None, None, units(&[0, 1, 2, 3], &[0, 1, 2], None, Some(&n[..3])), error(kind, "weights").at(2));
    }
}

#[test]
fn lengths_agree_and_indices_are_in_range() {
    refused(None, None, Choices::Counts(&[1.0; 5]), Error::shape("counts", 6, 5));
    refused(None, None, Choices::Counts(&[]), Error::shape("counts", 6, 0));
    refused(None, None, sparse(&[0, 1], &[1.0; 3]), Error::shape("counts", 2, 3));
    refused(None, None, sparse(&[0, 6], &[1.0; 2]), error(ErrorKind::OutOfRange, "indices").at(1));
    refused(None, None, units(&[0, 1, 3], &[0, 1, usize::MAX], None, None), error(ErrorKind::OutOfRange, "indices").at(2));
    refused(None, None, units(&[0, 1, 3], &[0, 1, 2], Some(&[1.0; 2]), None), Error::shape("counts", 3, 2));
    refused(None, None, units(&[0, 1, 3], &[0, 1, 2], None, Some(&[1.0; 3])), Error::shape("weights", 2, 3));
    refused(None, None, units(&[], &[], None, None), error(ErrorKind::Empty, "indptr"));
    refused(None, None, units(&[0], &[], None, None), error(ErrorKind::Empty, "indptr"));
    refused(None, None, units(&[1, 3], &[0, 1, 2], None, None), error(ErrorKind::OutOfRange, "indptr").at(0));
    refused(None, None, units(&[0, 1, 4], &[0, 1, 2], None, None), Error::shape("indptr", 3, 4).at(2));
    refused(None, None, units(&[0, 1, 2], &[0, 1, 2], None, None), Error::shape("indptr", 3, 2).at(2));
    refused(None, None, units(&[0, 2, 1, 3], &[0, 1, 2], None, None), error(ErrorKind::OutOfRange, "indptr").at(2));
}

#[test]
fn every_unit_chose_something_and_somebody_counts() {
    refused(None, None, units(&[0, 1, 1, 2], &[0, 1], None, None), error(ErrorKind::Empty, "units").at(1));
    refused(None, None, units(&[0, 1, 3], &[0, 1, 2], Some(&[1.0, 0.0, 0.0]), None), error(ErrorKind::Empty, "units").at(1));
    refused(None, None, Choices::Counts(&[0.0; 6]), error(ErrorKind::Empty, "choices"));
    refused(None, None, sparse(&[], &[]), error(ErrorKind::Empty, "choices"));
    refused(None, None, sparse(&[3], &[0.0]), error(ErrorKind::Empty, "choices"));
    refused(None, None, units(&[0, 1, 2], &[0, 1], None, Some(&[0.0, 0.0])), error(ErrorKind::Empty, "choices"));
    // Counts whose sum is not a number that f64 has.
    refused(None, None, Choices::Counts(&[f64::MAX; 6]), error(ErrorKind::NotFinite, "choices"));
}

#[test]
fn mixtures_are_finite_and_on_the_simplex() {
    let made = |weights: &[f64], atoms: &[f64]| MixtureRef::new(weights, atoms, 2).map(|_| ());
    assert_eq!(made(&[], &[]), Err(error(ErrorKind::Empty, "classes")));
    assert_eq!(made(&[0.5, 0.5], &[0.0; 3]), Err(Error::shape("atoms", 4, 3)));
    assert_eq!(made(&[0.5, 0.6], &[0.0; 4]), Err(error(ErrorKind::NotOnSimplex, "weights")));
    assert_eq!(made(&[0.5, 0.5 + 1e-7], &[0.0; 4]), Err(error(ErrorKind::NotOnSimplex, "weights")));
    assert_eq!(made(&[0.5, 0.5 + 1e-10], &[0.0; 4]), Ok(()));
    assert_eq!(made(&[1.5, -0.5], &[0.0; 4]), Err(error(ErrorKind::Negative, "weights").class(1)));
    assert_eq!(made(&[0.5, NAN], &[0.0; 4]), Err(error(ErrorKind::NotFinite, "weights").class(1)));
    assert_eq!(made(&[INFINITY, 0.5], &[0.0; 4]), Err(error(ErrorKind::NotFinite, "weights").class(0)));
    assert_eq!(made(&[0.5, 0.5], &[0.0, 0.0, 0.0, NAN]), Err(error(ErrorKind::NotFinite, "atoms").class(1).column(1)));
    assert_eq!(made(&[0.5, 0.5], &[0.0, -INFINITY, 0.0, NAN]), Err(error(ErrorKind::NotFinite, "atoms").class(0).column(1)));
    let overflow = MixtureRef::new(&[0.5, 0.5], &[0.0; 4], usize::MAX).map(|_| ());
    assert_eq!(overflow, Err(error(ErrorKind::Overflow, "atoms")));
}

fn memory(size: WorkspaceSize) -> WorkspaceBuffer {
    WorkspaceBuffer::new(size).unwrap()
}

/// Cases of every layout, of 30 rows and 2 features.
fn layouts() -> impl Iterator<Item = Case> {
    LAYOUTS.into_iter().map(|layout| random_case(Recipe { layout, rows: 30, columns: 2, units: 20, offsets: false, seed: 3 }))
}

/// A mixture that no operation takes, its fields written without a check, and what is wrong with it.
fn bad_mixtures() -> Vec<(Vec<f64>, Vec<f64>, Error)> {
    vec![
        (vec![0.5, 0.5], vec![0.0, 0.0, 0.0, NAN], error(ErrorKind::NotFinite, "atoms").class(1).column(1)),
        (vec![NAN, 0.5], vec![0.0; 4], error(ErrorKind::NotFinite, "weights").class(0)),
        (vec![0.7, 0.7], vec![0.0; 4], error(ErrorKind::NotOnSimplex, "weights")),
        (vec![0.5, 0.5], vec![0.0; 5], Error::shape("atoms", 4, 5)),
        (vec![], vec![], error(ErrorKind::Empty, "classes")),
    ]
}

const MARK: f64 = 7.25;

/// Runs every operation that takes a mixture on all outputs marked, and asserts that each fails with `expected` and writes nothing.
#[track_caller]
fn every_operation_refuses(data: &Data<'_>, weights: &[f64], atoms: &[f64], expected: Error) {
    let (shape, ctx, k) = (data.shape(), Context::default(), weights.len());
    let mixture = MixtureRef { weights, atoms };
    let (mut unit, mut r) = (vec![MARK; shape.units], vec![MARK; shape.units * k]);
    let (mut gw, mut ga) = (vec![MARK; k], vec![MARK; k * shape.columns]);
    let out = EvaluateOutput {
        unit_log_likelihoods: Some(&mut unit),
        responsibilities: Some(&mut r),
        weight_gradient: Some(&mut gw),
        atom_gradient: Some(&mut ga),
    };
    let got = evaluate(data, mixture, None, ctx, out, memory(evaluate_workspace(&shape, k)).lend()).map(|_| ());
    assert_eq!(got, Err(expected), "evaluate");
    assert!([unit, r, gw, ga].concat().iter().all(|x| *x == MARK), "evaluate writes");

    let d = (k + k * shape.columns).saturating_sub(1);
    let mut out = vec![MARK; d * d];
    let size = information_workspace(&shape, k);
    let results = [
        observed_information(data, mixture, None, ctx, &mut out, memory(size).lend()),
        score_products(data, mixture, false, ctx, &mut out, memory(size).lend()),
        hessian_vector(data, mixture, &vec![1.0; d], ctx, &mut out[..d], memory(hessian_vector_workspace(&shape, k)).lend()),
    ];
    assert_eq!(results, [Err(expected); 3]);
    assert!(out.iter().all(|x| *x == MARK), "second-order quantities write");

    let (mut by_class, mut mixed) = (vec![MARK; shape.rows * k], vec![MARK; shape.rows]);
    let size = choice_probabilities_workspace(&shape, k);
    let got = choice_probabilities(data, mixture, Some(&mut by_class), Some(&mut mixed), ctx, memory(size).lend());
    assert_eq!(got, Err(expected), "choice_probabilities");
    assert!(by_class.iter().chain(&mixed).all(|x| *x == MARK));

    let mut wh_memory = memory(Whitening::workspace(&shape));
    let wh = Whitening::new(data, ctx.isa, &mut wh_memory.lend()).unwrap();
    let (mut se_w, mut se_a) = (vec![MARK; k], vec![MARK; k * shape.columns]);
    let size = standard_errors_workspace(&shape, k.max(1));
    let got = standard_errors(data, &wh, 0.0, mixture, Variance::Robust, &mut se_w, &mut se_a, ctx, memory(size).lend());
    assert_eq!(got, Err(expected), "standard_errors");
    assert!(se_w.iter().chain(&se_a).all(|x| *x == MARK));
    let all = k + k * shape.columns;
    let (mut estimates, size) = (vec![MARK; all * all], covariance_workspace(&shape, k.max(1)));
    let got = covariance(data, &wh, 0.0, mixture, Variance::Robust, &mut estimates, ctx, memory(size).lend());
    assert_eq!(got, Err(expected), "covariance");
    assert!(estimates.iter().all(|x| *x == MARK));
    assert_eq!(Criteria::new(data, mixture, 1, ctx), Err(expected), "criteria");

    let (mut w, mut a) = (weights.to_vec(), atoms.to_vec());
    let size = em_step_workspace(&shape, k, MStep::Newton);
    let got = em_step(data, &wh, 0.0, MStep::Newton, &mut w, &mut a, ctx, memory(size).lend()).map(|_| ());
    assert_eq!(got, Err(expected), "em_step");
    let same = |x: &[f64], y: &[f64]| x.iter().zip(y).all(|(x, y)| x.to_bits() == y.to_bits());
    assert!(same(&w, weights) && same(&a, atoms), "em_step writes");

    if k > 0 {
        let options = FitOptions { starts: Starts::Given(mixture), ..FitOptions::new(k) };
        assert_eq!(fit_marked(data, &options, shape.columns), Err(Error { argument: "starts", ..expected }), "fit");
    }
}

/// A fit into marked outputs: the mixture and its flags are not written when it fails, nor anything by a fit that did not begin.
fn fit_marked(data: &Data<'_>, options: &FitOptions<'_>, columns: usize) -> Result<()> {
    let n = max_starts(&data.shape(), options);
    let (mut weights, mut atoms) = (vec![MARK; options.classes], vec![MARK; options.classes * columns]);
    let (mut diverging, mut unidentified) = (vec![true; options.classes], vec![true; columns]);
    let (mut start_values, mut start_kinds) = (vec![MARK; n], vec![StartKind::Given; n]);
    let out = FitOutput {
        weights: &mut weights,
        atoms: &mut atoms,
        diverging: &mut diverging,
        unidentified: &mut unidentified,
        start_values: &mut start_values,
        start_kinds: &mut start_kinds,
    };
    let result = fit(data, options, &mut |_| true, out, memory(fit_workspace(&data.shape(), options)).lend()).map(|_| ());
    if result.is_err() {
        assert!(weights.iter().chain(&atoms).all(|x| *x == MARK), "fit writes");
        let numeric = matches!(result, Err(e) if e.argument == "logits" || e.argument == "log-likelihood");
        assert!(numeric || start_values.iter().all(|x| *x == MARK), "fit writes values");
        assert!(diverging.iter().chain(&unidentified).all(|x| *x));
    }
    result
}

#[test]
fn every_operation_refuses_a_bad_mixture() {
    for case in layouts() {
        for (weights, atoms, expected) in bad_mixtures() {
            every_operation_refuses(&case.data(), &weights, &atoms, expected);
        }
    }
}

#[test]
fn logits_that_overflow_name_the_class() {
    for case in layouts() {
        let data = case.data();
        let atoms = [0.0, 0.0, f64::MAX, f64::MAX];
        let mixture = MixtureRef::new(&[0.5, 0.5], &atoms, 2).unwrap();
        let mut gradient = [MARK; 4];
        let out = EvaluateOutput { atom_gradient: Some(&mut gradient), ..Default::default() };
        let got = evaluate(&data, mixture, None, Context::default(), out, memory(evaluate_workspace(&data.shape(), 2)).lend()).map(|_| ());
        assert_eq!(got, Err(error(ErrorKind::NotFinite, "logits").class(1)));
        assert_eq!(gradient, [MARK; 4]);
        let starts = Starts::Given(mixture);
        let got = fit_marked(&data, &FitOptions { starts, ..FitOptions::new(2) }, 2);
        assert_eq!(got.map_err(|e| e.kind), Err(ErrorKind::NotFinite));
    }
}

/// Logits that are finite, of atoms whose penalty is none, or no number.
#[test]
fn a_penalty_beyond_the_range_is_an_error() {
    for case in layouts() {
        let data = case.data();
        let (ctx, size) = (Context::default(), evaluate_workspace(&data.shape(), 1));
        for atoms in [[1e160, 1e159], [1e160, 0.0]] {
            let mixture = MixtureRef::new(&[1.0], &atoms, 2).unwrap();
            let penalty = Some(Penalty { ridge: 1.0, covariance: &[1.0, -0.5, -0.5, 1.0] });
            let mut gradient = [MARK; 2];
            let out = EvaluateOutput { atom_gradient: Some(&mut gradient), ..Default::default() };
            let got = evaluate(&data, mixture, penalty, ctx, out, memory(size).lend()).map(|_| ());
            assert_eq!(got, Err(error(ErrorKind::NotFinite, "penalty")));
            assert_eq!(gradient, [MARK; 2]);
            let mut of_whitening = memory(Whitening::workspace(&data.shape()));
            let whitening = Whitening::new(&data, ctx.isa, &mut of_whitening.lend()).unwrap();
            for ridge in [5e-324, 1.0] {
                let (mut weights, mut moved) = ([1.0], atoms);
                let ws = &mut memory(em_step_workspace(&data.shape(), 1, MStep::Newton));
                let got = em_step(&data, &whitening, ridge, MStep::Newton, &mut weights, &mut moved, ctx, ws.lend()).map(|_| ());
                assert_eq!((got, weights, moved), (Err(error(ErrorKind::NotFinite, "penalty")), [1.0], atoms));
            }
        }
    }
}

/// Logits that are finite, of choices so many and so unlikely that their log-likelihood is no number.
#[test]
fn a_log_likelihood_beyond_the_range_is_an_error() {
    let many = [1e300; 6];
    let (indptr, indices) = ([0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 5]);
    for choices in [Choices::Counts(&many), sparse(&indices, &many), units(&indptr, &indices, None, Some(&many))] {
        for sets in [None, Some(&[0, 3, 6][..])] {
            let data = Data::new(features(), None, sets, choices).unwrap();
            let mixture = MixtureRef::new(&[1.0], &[1e12, -1e12], 2).unwrap();
            let out = EvaluateOutput::default();
            let got = evaluate(&data, mixture, None, Context::default(), out, memory(evaluate_workspace(&data.shape(), 1)).lend());
            assert_eq!(got, Err(error(ErrorKind::NotFinite, "log-likelihood")));
        }
    }
}

#[test]
fn outputs_have_the_length_they_need() {
    for case in layouts() {
        let (data, ctx) = (case.data(), Context::default());
        let shape = data.shape();
        let mixture = MixtureRef::new(&[0.5, 0.5], &[0.1, 0.2, 0.3, 0.4], 2).unwrap();
        let (u, p) = (shape.units, shape.rows);
        let evaluated = |name: &'static str, needed: usize| {
            for given in [needed - 1, needed + 1, 0] {
                let mut values = vec![MARK; given];
                let mut out = EvaluateOutput::default();
                let field = match name {
                    "unit_log_likelihoods" => &mut out.unit_log_likelihoods,
                    "responsibilities" => &mut out.responsibilities,
                    "weight_gradient" => &mut out.weight_gradient,
                    _ => &mut out.atom_gradient,
                };
                *field = Some(&mut values);
                let got = evaluate(&data, mixture, None, ctx, out, memory(evaluate_workspace(&shape, 2)).lend()).map(|_| ());
                assert_eq!(got, Err(Error::shape(name, needed, given)));
                assert!(values.iter().all(|x| *x == MARK));
            }
        };
        evaluated("unit_log_likelihoods", u);
        evaluated("responsibilities", 2 * u);
        evaluated("weight_gradient", 2);
        evaluated("atom_gradient", 4);

        let size = information_workspace(&shape, 2);
        for given in [24, 26] {
            let mut out = vec![MARK; given];
            let got = observed_information(&data, mixture, None, ctx, &mut out, memory(size).lend());
            assert_eq!(got, Err(Error::shape("out", 25, given)));
            let got = score_products(&data, mixture, true, ctx, &mut out, memory(size).lend());
            assert_eq!(got, Err(Error::shape("out", 25, given)));
        }
        let size = hessian_vector_workspace(&shape, 2);
        let product = |v: &[f64], n: usize| hessian_vector(&data, mixture, v, ctx, &mut vec![MARK; n], memory(size).lend());
        assert_eq!(product(&[1.0; 4], 5), Err(Error::shape("v", 5, 4)));
        assert_eq!(product(&[1.0; 5], 6), Err(Error::shape("out", 5, 6)));
        assert_eq!(product(&[1.0, 1.0, 1.0, NAN, 1.0], 5), Err(error(ErrorKind::NotFinite, "v").at(3)));

        let size = choice_probabilities_workspace(&shape, 2);
        let got = choice_probabilities(&data, mixture, Some(&mut vec![MARK; 2 * p - 1]), None, ctx, memory(size).lend());
        assert_eq!(got, Err(Error::shape("by_class", 2 * p, 2 * p - 1)));
        let got = choice_probabilities(&data, mixture, None, Some(&mut vec![MARK; p + 1]), ctx, memory(size).lend());
        assert_eq!(got, Err(Error::shape("mixed", p, p + 1)));

        let mut wh_memory = memory(Whitening::workspace(&shape));
        let wh = Whitening::new(&data, ctx.isa, &mut wh_memory.lend()).unwrap();
        let size = standard_errors_workspace(&shape, 2);
        let errors = |w: usize, a: usize, ridge: f64| {
            let (w, a) = (&mut vec![MARK; w], &mut vec![MARK; a]);
            standard_errors(&data, &wh, ridge, mixture, Variance::Information, w, a, ctx, memory(size).lend())
        };
        assert_eq!(errors(1, 4, 0.0), Err(Error::shape("weights", 2, 1)));
        assert_eq!(errors(2, 5, 0.0), Err(Error::shape("atoms", 4, 5)));
        assert_eq!(errors(2, 4, NAN), Err(error(ErrorKind::InvalidOption, "ridge")));
        let size = covariance_workspace(&shape, 2);
        let estimates = |n: usize, ridge: f64| {
            covariance(&data, &wh, ridge, mixture, Variance::Information, &mut vec![MARK; n], ctx, memory(size).lend())
        };
        assert_eq!(estimates(35, 0.0), Err(Error::shape("covariance", 36, 35)));
        assert_eq!(estimates(36, -1.0), Err(error(ErrorKind::InvalidOption, "ridge")));
        assert_eq!(Criteria::new(&data, mixture, 3, ctx), Err(error(ErrorKind::OutOfRange, "rank")));
    }
}

#[test]
fn a_penalty_is_not_negative_and_of_the_features() {
    for case in layouts() {
        let (data, ctx) = (case.data(), Context::default());
        let shape = data.shape();
        let mixture = MixtureRef::new(&[0.5, 0.5], &[0.1, 0.2, 0.3, 0.4], 2).unwrap();
        let expect = |ridge: f64, covariance: &[f64], expected: Error| {
            let penalty = Some(Penalty { ridge, covariance });
            let size = evaluate_workspace(&shape, 2);
            let got = evaluate(&data, mixture, penalty, ctx, EvaluateOutput::default(), memory(size).lend()).map(|_| ());
            assert_eq!(got, Err(expected));
            let mut out = [MARK; 25];
            let size = information_workspace(&shape, 2);
            assert_eq!(observed_information(&data, mixture, penalty, ctx, &mut out, memory(size).lend()), Err(expected));
            assert_eq!(out, [MARK; 25]);
        };
        for ridge in [-1.0, NAN, INFINITY] {
            expect(ridge, &[1.0, 0.0, 0.0, 1.0], error(ErrorKind::InvalidOption, "ridge"));
        }
        expect(1.0, &[1.0; 3], Error::shape("covariance", 4, 3));
        expect(1.0, &[1.0; 9], Error::shape("covariance", 4, 9));

        // A whitening of other features.
        let x = [1.0, 2.0, 3.0, 0.5, 0.1, -1.0];
        let other = Data::new(Features::row_major(&x[..], 2, 3).unwrap(), None, None, Choices::Counts(&[1.0, 2.0])).unwrap();
        let mut wh_memory = memory(Whitening::workspace(&other.shape()));
        let wh = Whitening::new(&other, ctx.isa, &mut wh_memory.lend()).unwrap();
        let size = em_step_workspace(&shape, 2, MStep::Newton);
        let got = em_step(&data, &wh, 0.0, MStep::Newton, &mut [0.5, 0.5], &mut [0.0; 4], ctx, memory(size).lend()).map(|_| ());
        assert_eq!(got, Err(Error::shape("whitening", 2, 3)));
        let size = standard_errors_workspace(&shape, 2);
        let (mut w, mut a) = ([MARK; 2], [MARK; 4]);
        let got = standard_errors(&data, &wh, 0.0, mixture, Variance::Information, &mut w, &mut a, ctx, memory(size).lend());
        assert_eq!(got, Err(Error::shape("whitening", 2, 3)));
        // And an M-step that would go downhill.
        let mut wh_memory = memory(Whitening::workspace(&shape));
        let wh = Whitening::new(&data, ctx.isa, &mut wh_memory.lend()).unwrap();
        for ridge in [-1.0, NAN, INFINITY] {
            let size = em_step_workspace(&shape, 2, MStep::Newton);
            let got = em_step(&data, &wh, ridge, MStep::Newton, &mut [0.5, 0.5], &mut [0.0; 4], ctx, memory(size).lend()).map(|_| ());
            assert_eq!(got, Err(error(ErrorKind::InvalidOption, "ridge")));
        }
    }
}

#[test]
fn options_are_in_range() {
    for case in layouts() {
        let data = case.data();
        let good = FitOptions::new(2);
        let option = |name| Err(error(ErrorKind::InvalidOption, name));
        for ridge in [-1e-300, NAN, INFINITY] {
            assert_eq!(fit_marked(&data, &FitOptions { ridge, ..good }, 2), option("ridge"));
        }
        for gradient_tolerance in [0.0, -1.0, NAN, INFINITY] {
            assert_eq!(fit_marked(&data, &FitOptions { gradient_tolerance, ..good }, 2), option("gradient_tolerance"));
        }
        assert_eq!(fit_marked(&data, &FitOptions { max_evaluations: 0, ..good }, 2), option("max_evaluations"));
        assert_eq!(fit_marked(&data, &FitOptions { starts: Starts::Count(0), ..good }, 2), option("starts"));
        let context = Context { threads: 0, ..Context::default() };
        assert_eq!(fit_marked(&data, &FitOptions { context, ..good }, 2), option("threads"));
        assert_eq!(Fit::new(&data, &FitOptions { ridge: NAN, ..good }).map(|_| ()), option("ridge"));
        let three = MixtureRef::new(&[0.25, 0.25, 0.5], &[0.0; 6], 2).unwrap();
        assert_eq!(fit_marked(&data, &FitOptions { starts: Starts::Given(three), ..good }, 2), Err(Error::shape("starts", 2, 3)));
        assert_eq!(fit_marked(&data, &FitOptions { grow: Some(three), ..good }, 2), Err(Error::shape("grow", 1, 3)));
        let wrong = MixtureRef { weights: &[1.0], atoms: &[0.0, NAN] };
        let expected = Err(error(ErrorKind::NotFinite, "grow").class(0).column(1));
        assert_eq!(fit_marked(&data, &FitOptions { grow: Some(wrong), ..good }, 2), expected);
    }
}

#[test]
fn classes_are_at_least_one_and_at_most_the_units_that_count() {
    for case in layouts() {
        let data = case.data();
        let units = case.units().1.iter().filter(|w| **w > 0.0).count();
        assert_eq!(data.observed_units(), units);
        assert_eq!(Fit::new(&data, &FitOptions::new(0)).map(|_| ()), Err(error(ErrorKind::Empty, "classes")));
        for k in [units + 1, usize::MAX] {
            let expected = error(ErrorKind::TooManyClasses, "classes").sizes(units, k);
            assert_eq!(Fit::new(&data, &FitOptions::new(k)).map(|_| ()), Err(expected));
        }
    }
    // As many as units is allowed.
    let data = Data::new(features(), None, None, Choices::Counts(&[3.0, 0.0, 2.0, 0.0, 0.0, 1.0])).unwrap();
    let fit = Fit::new(&data, &FitOptions { ridge: 0.5, ..FitOptions::new(3) }).unwrap();
    assert!(fit.report.log_likelihood.is_finite());
}

#[test]
fn more_starts_than_memory_is_an_error() {
    let data = Data::new(features(), None, None, ONES).unwrap();
    for n in [usize::MAX, usize::MAX / 64, 1 << 58] {
        let options = FitOptions { starts: Starts::Count(n), ..FitOptions::new(2) };
        let got = Fit::new(&data, &options).map(|_| ()).map_err(|e| e.kind);
        assert_eq!(got, Err(ErrorKind::Workspace), "{n}");
    }
}

#[test]
fn fits_write_to_outputs_of_the_right_length() {
    let data = Data::new(features(), None, None, ONES).unwrap();
    let options = FitOptions { starts: Starts::Count(3), ..FitOptions::new(2) };
    let right = [2, 4, 2, 2, 3, 3];
    let names = ["weights", "atoms", "diverging", "unidentified", "start_values", "start_kinds"];
    for (which, name) in names.into_iter().enumerate() {
        for given in [right[which] - 1, right[which] + 1] {
            let mut n = right;
            n[which] = given;
            let out = FitOutput {
                weights: &mut vec![MARK; n[0]],
                atoms: &mut vec![MARK; n[1]],
                diverging: &mut vec![false; n[2]],
                unidentified: &mut vec![false; n[3]],
                start_values: &mut vec![MARK; n[4]],
                start_kinds: &mut vec![StartKind::Given; n[5]],
            };
            let size = fit_workspace(&data.shape(), &options);
            let got = fit(&data, &options, &mut |_| true, out, memory(size).lend()).map(|_| ());
            assert_eq!(got, Err(Error::shape(name, right[which], given)));
        }
    }
}

#[test]
fn errors_say_what_and_where() {
    let text = |e: Error| e.to_string();
    let mut x = X;
    x[5] = NAN;
    let bad = Data::new(Features::row_major(&x[..], 6, 2).unwrap(), None, None, ONES).unwrap_err();
    assert_eq!(text(bad), "features: not a finite number at row 2, column 1");
    let offset = [0.0, 0.0, 0.0, NAN, 0.0, 0.0];
    let bad = Data::new(features(), Some(&offset), None, ONES).unwrap_err();
    assert_eq!(text(bad), "offset: not a finite number at row 3");
    let bad = Data::new(features(), None, Some(&[0, 4, 2, 6]), ONES).unwrap_err();
    assert_eq!(text(bad), "sets: out of range or out of order at position 2");
    let data = Data::new(features(), None, None, ONES).unwrap();
    let many = Fit::new(&data, &FitOptions::new(9)).unwrap_err();
    assert_eq!(text(many), "classes: more classes than units with a positive weight (needed 6, given 9)");
    let atoms = MixtureRef::new(&[0.5, 0.5], &[0.0, 0.0, NAN, 0.0], 2).unwrap_err();
    assert_eq!(text(atoms), "atoms: not a finite number at column 0, class 1");
}
