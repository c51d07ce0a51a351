//! Where fits end: not on the way past a saddle, not where classes coincide, and not on rounding.
#![cfg(feature = "alloc")]

mod common;

use common::assert_close;
use common::model::{fit_from, quantities};
use common::random::Random;
use common::simulate::shares;
use softmix::data::{Choices, Data, Features};
use softmix::fit::{Fit, FitOptions, Outcome, Starts};
use softmix::mixture::Mixture;
use softmix::parallel::Context;

fn features(values: &[f64], columns: usize) -> Features<'_> {
    Features::row_major(values, values.len() / columns, columns).unwrap()
}

/// An alternative, drawn by its probability.
fn draw(pi: &[f64], random: &mut Random) -> usize {
    let mut left = random.uniform();
    pi.iter()
        .position(|p| {
            left -= p;
            left < 0.0
        })
        .unwrap_or(pi.len() - 1)
}

/// With a class more than made the data, the way goes past saddles that are nearly flat: there the step is bounded by curvature as small as
/// theirs. Bounded by a share of EM's, one fit in seventy took thousands of evaluations and stalled, and one in thirty ended short.
#[test]
fn a_class_too_many_keeps_no_fit_from_its_end() {
    let (mut evaluations, fits) = (0, 150);
    for seed in 0..fits {
        let mut random = Random::new(seed);
        let (p, l, k) = (10 + random.below(190), 1 + random.below(3), 2 + random.below(3));
        let values = random.normals(p * l, 1.0);
        let pi = shares(&values, l, &vec![1.0 / (k - 1) as f64; k - 1], &random.normals((k - 1) * l, 1.0));
        let draws = 10f64.powf(3.0 + 3.0 * random.uniform());
        let mut counts = vec![0.0; p];
        for _ in 0..20_000 {
            counts[draw(&pi, &mut random)] += (draws / 20_000.0).round().max(1.0);
        }
        let start = Mixture { weights: vec![1.0 / k as f64; k], atoms: random.normals(k * l, 1.0) };
        let data = Data::new(features(&values, l), None, None, Choices::Counts(&counts)).unwrap();
        let report = fit_from(&data, &start, f64::from(u8::from(seed % 2 == 0))).report;
        assert!(matches!(report.outcome, Outcome::Converged | Outcome::Diverging), "{seed}: {report:?}");
        evaluations += report.evaluations;
    }
    assert!(evaluations < 150 * fits, "{evaluations} evaluations");
}

/// Random atoms of one feature, whatever the seed: equal ones would stay so.
#[test]
fn no_random_classes_coincide() {
    let mut random = Random::new(5);
    let values = random.normals(20, 1.0);
    let (mut indptr, mut indices) = (vec![0], vec![]);
    for u in 0..60 {
        let pi = shares(&values, 1, &[1.0], &[[1.5, -1.5, 0.0][u % 3]]);
        indices.extend((0..20).map(|_| draw(&pi, &mut random)));
        indptr.push(indices.len());
    }
    let units = Choices::Units { indptr: &indptr, indices: &indices, counts: None, weights: None };
    let data = Data::new(features(&values, 1), None, None, units).unwrap();
    for seed in 0..30 {
        let fit = Fit::new(&data, &FitOptions { starts: Starts::Count(1), seed, ..FitOptions::new(3) }).unwrap();
        let mut atoms = fit.mixture.atoms.clone();
        atoms.sort_by(f64::total_cmp);
        assert!(atoms.windows(2).all(|pair| pair[1] - pair[0] > 0.1), "seed {seed}: {atoms:?}");
    }
}

/// Logits of features with a large common part have few digits left, and the differences between chosen rows have all: a fit finds no
/// likelihood in what is between the two.
#[test]
fn what_all_alternatives_share_is_no_likelihood() {
    for shift in [1e4, 1e6, 1.7e9] {
        for seed in 0..40 {
            let mut random = Random::new(seed);
            let (p, l) = (13, 3);
            let plain: Vec<f64> = random.normals(p * l, 1.0).iter().map(|x| (x * 100.0).round() / 100.0).collect();
            let shifted: Vec<f64> = plain.iter().enumerate().map(|(i, x)| if i % l == 0 { x + shift } else { *x }).collect();
            let exact: Vec<f64> = shifted.iter().enumerate().map(|(i, x)| if i % l == 0 { x - shift } else { *x }).collect();
            let mut indptr = vec![0];
            (0..6 + random.below(10)).for_each(|_| indptr.push(indptr[indptr.len() - 1] + 1 + random.below(4)));
            let indices: Vec<usize> = (0..indptr[indptr.len() - 1]).map(|_| random.below(p)).collect();
            let data = |values| {
                let units = Choices::Units { indptr: &indptr, indices: &indices, counts: None, weights: None };
                Data::new(features(values, l), None, None, units).unwrap()
            };
            let fit = Fit::new(&data(&shifted), &FitOptions::new(3)).unwrap();
            let found = fit.report.log_likelihood;
            assert!(found <= 0.0, "shift {shift}, seed {seed}: {found}");
            let expected = quantities(&data(&exact), &fit.mixture, 0.0, Context::default()).value.log_likelihood;
            assert_close("ℓ", &[found], &[expected], 1e-5);
        }
    }
}
