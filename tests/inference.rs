//! Standard errors against their definition, and against what they mean: the spread of estimates over repetitions.
#![cfg(feature = "std")]

mod common;

use common::model::*;
use common::random::*;
use common::{Golden, assert_close, floats, golden};
use softmix::data::{Choices, Data, Features};
use softmix::fit::{Fit, FitOptions, Outcome};
use softmix::inference::{Covariance, StandardErrors, Variance};
use softmix::mixture::Mixture;
use softmix::parallel::Context;
use softmix::predict::{ChoiceProbabilities, Posterior};

/// The inverse of an n × n matrix by Gauss and Jordan, with pivots.
fn inverse(a: &[f64], n: usize) -> Vec<f64> {
    let mut rows: Vec<Vec<f64>> =
        (0..n).map(|i| (0..2 * n).map(|j| if j < n { a[i * n + j] } else { f64::from(j - n == i) }).collect()).collect();
    for j in 0..n {
        let pivot = (j..n).max_by(|a, b| rows[*a][j].abs().total_cmp(&rows[*b][j].abs())).unwrap();
        rows.swap(j, pivot);
        let scale = rows[j][j];
        rows[j].iter_mut().for_each(|x| *x /= scale);
        let row = rows[j].clone();
        for (i, other) in rows.iter_mut().enumerate().filter(|(i, _)| *i != j) {
            let factor = other[j];
            assert!(factor.is_finite(), "row {i}");
            other.iter_mut().zip(&row).for_each(|(x, r)| *x -= factor * r);
        }
    }
    rows.iter().flat_map(|r| r[n..].to_vec()).collect()
}

fn product(a: &[f64], b: &[f64], n: usize) -> Vec<f64> {
    (0..n * n).map(|ij| (0..n).map(|k| a[ij / n * n + k] * b[k * n + ij % n]).sum()).collect()
}

/// Standard errors from the covariance C of the packed parameters: of atoms the roots of its diagonal; of weights by the delta method,
/// `Var α = J C J^T` with `J_jk = α_j (δ_jk − α_k)`.
fn from_covariance(c: &[f64], m: &Mixture) -> (Vec<f64>, Vec<f64>) {
    let (k, n) = (m.classes(), m.classes() - 1 + m.atoms.len());
    let jacobian = |j: usize, i: usize| m.weights[j] * (f64::from(i == j) - m.weights[i]);
    let weight = |j: usize| {
        let pairs = (0..k - 1).flat_map(|a| (0..k - 1).map(move |b| (a, b)));
        pairs.map(|(a, b)| jacobian(j, a) * c[a * n + b] * jacobian(j, b)).sum::<f64>().sqrt()
    };
    ((0..k).map(weight).collect(), (k - 1..n).map(|a| c[a * n + a].sqrt()).collect())
}

/// The covariance of all weights and atoms from that of the packed parameters, `G C G^T`: G is J in the weights and the identity in the
/// atoms.
fn of_all_parameters(c: &[f64], m: &Mixture) -> Vec<f64> {
    let (k, n) = (m.classes(), m.classes() - 1 + m.atoms.len());
    let g = |p: usize, a: usize| match (p < k, a < k - 1) {
        (true, true) => m.weights[p] * (f64::from(p == a) - m.weights[a]),
        (false, false) => f64::from(p == a + 1),
        _ => 0.0,
    };
    let entry = |p: usize, q: usize| (0..n * n).map(|ab| g(p, ab / n) * c[ab] * g(q, ab % n)).sum();
    (0..(n + 1) * (n + 1)).map(|pq| entry(pq / (n + 1), pq % (n + 1))).collect()
}

/// `Σ_u w_u^q s_u s_u^T` by its definition, with plain loops.
fn middle(case: &Golden, m: &Mixture, q: i32) -> Vec<f64> {
    let (p, l, k) = (&case.panel, case.panel.columns, m.classes());
    let n = k - 1 + k * l;
    let row = |i: usize| &p.features[i * l..(i + 1) * l];
    let mut a = vec![0.0; p.rows() * k];
    let mut means = vec![];
    for set in p.sets.windows(2) {
        for c in 0..k {
            let s = |i: usize| {
                let x: f64 = row(i).iter().zip(m.atom(c)).map(|(x, t)| x * t).sum();
                (x + p.offset.as_ref().map_or(0.0, |b| b[i])).exp()
            };
            let z: f64 = (set[0]..set[1]).map(s).sum();
            (set[0]..set[1]).for_each(|i| a[i * k + c] = s(i) / z);
            means.push((0..l).map(|j| (set[0]..set[1]).map(|i| a[i * k + c] * row(i)[j]).sum::<f64>()).collect::<Vec<_>>());
        }
    }
    let set_of = |i: usize| p.sets.partition_point(|s| *s <= i) - 1;
    let mut out = vec![0.0; n * n];
    for (u, range) in p.indptr.windows(2).enumerate() {
        let entries = || (range[0]..range[1]).map(|e| (p.indices[e], p.counts[e]));
        let joint: Vec<f64> = (0..k).map(|c| m.weights[c] * entries().map(|(i, n)| a[i * k + c].powf(n)).product::<f64>()).collect();
        let total: f64 = joint.iter().sum();
        let mut score: Vec<f64> = (0..k - 1).map(|c| joint[c] / total - m.weights[c]).collect();
        for c in 0..k {
            let y = |j: usize| entries().map(|(i, n)| n * (row(i)[j] - means[set_of(i) * k + c][j])).sum::<f64>();
            score.extend((0..l).map(|j| joint[c] / total * y(j)));
        }
        for (x, s) in score.iter().enumerate() {
            for (y, t) in score.iter().enumerate() {
                out[x * n + y] += p.weights[u].powi(q) * s * t;
            }
        }
    }
    out
}

#[test]
fn standard_errors_are_those_of_the_oracles_information() {
    for case in golden() {
        let best = &case.values["max_from_given_start"];
        let m = Mixture { weights: floats(&best["alpha"]), atoms: floats(&best["theta_by_class"]) };
        let n = m.classes() - 1 + m.atoms.len();
        let covariance = inverse(&floats(&best["observed_information"]), n);
        let (weights, atoms) = from_covariance(&covariance, &m);
        let (got_weights, got_atoms) = errors(&case.panel.data(), &m, case.ridge, Variance::Information);
        // The parameters are given to 16 digits; the condition of the information, up to 1e4 here, multiplies rounding.
        assert_close("weights", &got_weights, &weights, 1e-10);
        assert_close("atoms", &got_atoms, &atoms, 1e-10);
        let of_all = |variance| Covariance::new(&case.panel.data(), case.ridge, m.view(), variance, Context::default()).unwrap();
        // Covariances are sums of numbers as large as the errors of both.
        let assert_covariance = |found: Covariance, packed: &[f64]| {
            let (p, expected) = (found.parameters, of_all_parameters(packed, &m));
            assert_eq!((found.matrix.len(), expected.len()), (p * p, p * p));
            for (i, (got, expected)) in found.matrix.iter().zip(&expected).enumerate() {
                let scale = (found.matrix[i / p * (p + 1)] * found.matrix[i % p * (p + 1)]).sqrt();
                assert!((got - expected).abs() <= 1e-9 * scale, "{i}: {got} {expected}");
                assert_eq!(got.to_bits(), found.matrix[i % p * p + i / p].to_bits());
            }
        };
        assert_covariance(of_all(Variance::Information), &covariance);

        for (variance, q) in [(Variance::Robust, 1), (Variance::RobustSampling, 2)] {
            let middle = middle(&case, &m, q);
            assert_close("score products", &scores(&case.panel.data(), &m, q == 2), &middle, 1e-12);
            let sandwich = product(&product(&covariance, &middle, n), &covariance, n);
            let (weights, atoms) = from_covariance(&sandwich, &m);
            let (got_weights, got_atoms) = errors(&case.panel.data(), &m, case.ridge, variance);
            assert_close("robust weights", &got_weights, &weights, 1e-10);
            assert_close("robust atoms", &got_atoms, &atoms, 1e-10);
            assert_covariance(of_all(variance), &sandwich);
        }
    }
}

#[test]
fn owned_forms_say_what_the_others_say() {
    for case in golden() {
        let best = &case.values["max_from_given_start"];
        let m = Mixture { weights: floats(&best["alpha"]), atoms: floats(&best["theta_by_class"]) };
        let (data, ctx) = (case.panel.data(), Context::default());
        let owned = StandardErrors::new(&data, case.ridge, m.view(), Variance::Robust, ctx).unwrap();
        assert_eq!((owned.weights, owned.atoms), errors(&data, &m, case.ridge, Variance::Robust));
        let owned = ChoiceProbabilities::new(&data, m.view(), ctx).unwrap();
        assert_eq!((owned.by_class, owned.mixed), probabilities(&data, &m, ctx));
        let owned = Posterior::new(&data, m.view(), ctx).unwrap();
        let others = quantities(&data, &m, 0.0, ctx);
        assert_eq!((owned.responsibilities, owned.log_likelihoods), (others.responsibilities, others.unit));
        let wrong = Mixture { weights: m.weights.clone(), atoms: vec![f64::NAN; m.atoms.len()] };
        assert_eq!(Posterior::new(&data, wrong.view(), ctx).unwrap_err().argument, "atoms");
        assert_eq!(StandardErrors::new(&data, -1.0, m.view(), Variance::Robust, ctx).unwrap_err().argument, "ridge");
        assert_eq!(Covariance::new(&data, -1.0, m.view(), Variance::Robust, ctx).unwrap_err().argument, "ridge");
    }
}

#[test]
fn standard_errors_do_not_depend_on_the_order_of_classes() {
    for case in golden() {
        let best = &case.values["max_from_given_start"];
        let m = Mixture { weights: floats(&best["alpha"]), atoms: floats(&best["theta_by_class"]) };
        let (k, l) = (m.classes(), case.panel.columns);
        let turned = Mixture {
            weights: m.weights.iter().rev().copied().collect(),
            atoms: m.atoms.chunks_exact(l).rev().flatten().copied().collect(),
        };
        for variance in [Variance::Information, Variance::Robust, Variance::RobustSampling] {
            let (weights, atoms) = errors(&case.panel.data(), &m, case.ridge, variance);
            let (other_weights, other_atoms) = errors(&case.panel.data(), &turned, case.ridge, variance);
            let back: Vec<f64> = (0..k).rev().flat_map(|c| other_atoms[c * l..(c + 1) * l].to_vec()).collect();
            assert_close("weights", &other_weights.into_iter().rev().collect::<Vec<_>>(), &weights, 1e-10);
            assert_close("atoms", &back, &atoms, 1e-10);
        }
    }
}

/// `units` people with `choices` choices each among four alternatives, every person of a class, every choice from a set of its own.
fn people(units: usize, choices: usize, weights: &[f64], atoms: &[f64], columns: usize, random: &mut Random) -> Case {
    let mut case = Case { features: vec![], columns, offset: None, sets: Some(vec![0]), choices: OwnedChoices::Counts(vec![]) };
    let mut chosen = vec![];
    for _ in 0..units {
        let mut left = random.uniform();
        let class = weights.iter().position(|w| {
            left -= w;
            left < 0.0
        });
        let class = class.unwrap_or(0);
        let mut entries = vec![];
        for _ in 0..choices {
            let first = case.rows();
            case.features.extend(random.normals(4 * columns, 1.0));
            let utility = |i: usize, random: &mut Random| {
                let s: f64 = case.row(i).iter().zip(&atoms[class * columns..]).map(|(x, t)| x * t).sum();
                s - (-random.uniform().ln()).ln()
            };
            let utilities: Vec<f64> = (first..first + 4).map(|i| utility(i, random)).collect();
            let best = (1..4).fold(0, |b, j| if utilities[j] > utilities[b] { j } else { b });
            entries.push((first + best, 1.0));
            case.sets.as_mut().unwrap().push(first + 4);
        }
        chosen.push(entries);
    }
    case.choices = compressed(&chosen, vec![1.0; units]);
    case
}

#[test]
fn robust_and_model_based_errors_agree_when_the_model_is_right() {
    let mut random = Random::new(1);
    let (weights, atoms) = ([0.6, 0.4], [1.0, -0.5, 0.5, -1.0, 1.0, 0.0]);
    let case = people(3000, 8, &weights, &atoms, 3, &mut random);
    let data = case.data();
    let fit = fit_from(&data, &Mixture { weights: weights.to_vec(), atoms: atoms.to_vec() }, 0.0);
    assert_eq!(fit.report.outcome, Outcome::Converged);
    let (w, a) = errors(&data, &fit.mixture, 0.0, Variance::Information);
    for variance in [Variance::Robust, Variance::RobustSampling] {
        let (robust_w, robust_a) = errors(&data, &fit.mixture, 0.0, variance);
        // Both are estimates from 3000 units: a ratio of standard deviations is known to about 2 %.
        for (r, m) in robust_w.iter().chain(&robust_a).zip(w.iter().chain(&a)) {
            assert!((r / m - 1.0).abs() < 0.1, "{r} against {m}");
        }
    }
    // And they are what separates the estimates from the truth: beyond four of them once in 16 000.
    let truth = weights.iter().chain(&atoms);
    let found = fit.mixture.weights.iter().chain(&fit.mixture.atoms);
    for ((t, f), se) in truth.zip(found).zip(w.iter().chain(&a)) {
        assert!((t - f).abs() < 4.5 * se, "{f} ± {se} is not {t}");
    }
}

#[test]
fn robust_errors_are_the_spread_of_estimates_when_the_model_is_wrong() {
    // People of two classes, fitted as if there were one: choices of a person are alike, which the model does not know.
    let mut random = Random::new(2);
    let repetitions = 200;
    let (mut estimates, mut squares, mut robust_squares) = (vec![], 0.0, 0.0);
    for _ in 0..repetitions {
        let case = people(60, 10, &[0.5, 0.5], &[1.5, -1.5], 1, &mut random);
        let data = case.data();
        let fit = Fit::new(&data, &FitOptions::new(1)).unwrap();
        estimates.push(fit.mixture.atoms[0]);
        squares += errors(&data, &fit.mixture, 0.0, Variance::Information).1[0].powi(2) / repetitions as f64;
        robust_squares += errors(&data, &fit.mixture, 0.0, Variance::Robust).1[0].powi(2) / repetitions as f64;
    }
    let mean = estimates.iter().sum::<f64>() / repetitions as f64;
    let variance = estimates.iter().map(|e| (e - mean).powi(2)).sum::<f64>() / (repetitions - 1) as f64;
    // A variance from 200 repetitions is known to 10 %.
    assert!((robust_squares / variance - 1.0).abs() < 0.35, "robust {robust_squares}, seen {variance}");
    assert!(squares < 0.5 * variance, "model {squares}, seen {variance}");
}

/// Counts, a mixture where two classes are nearly determined by no choice, and errors of weights and atoms by the sandwich, by frequency
/// and by sampling weights, from central differences of the log-likelihood in 80 digits.
struct Nearly {
    columns: usize,
    features: &'static [f64],
    counts: &'static [f64],
    weights: &'static [f64],
    atoms: &'static [f64],
    robust: [&'static [f64]; 2],
}

#[rustfmt::skip]
const NEARLY_SINGULAR: [Nearly; 2] = [
    Nearly {
        columns: 3,
        features: &[
            -1.75, -0.3, -0.68, 1.23, -0.77, 0.08, -1.11, 0.34, -1.43, -0.49, 1.64, 2.16, -1.0, -1.95, -1.3, 0.3, -2.17, -0.56, -0.35, -0.38,
            -1.33, 0.94, 0.47, 2.36, 0.26, -0.49, -0.84, 1.35, -0.48, 0.09, -0.32, 0.27, 0.34, -1.58, 2.18, 1.51, -0.85, 0.47, 1.47, -0.53,
            -0.47, -0.73, -0.59, -0.6, 1.0, 1.36, 0.36, -0.54,
        ],
        counts: &[13.0, 11.0, 9.0, 11.0, 17.0, 7.0, 7.0, 13.0, 13.0, 15.0, 13.0, 4.0, 10.0, 15.0, 12.0, 15.0],
        weights: &[0.8398540329444106, 0.10700689031466623, 0.05313907674092325],
        atoms: &[
            0.2523443790212791, 0.08082730912302072, -0.13658768183710993, -34.35177299676927, -23.160846229441955, 19.441770474590097,
            -32.35706424082336, -28.39300766168129, 65.18094566148557,
        ],
        robust: [
            &[0.071812087, 0.043881435, 0.050995924, 0.1097535, 0.11438961, 0.13565185, 2.7807204, 1.5054944, 1.6635431, 3.1212439,
                1.9477348, 5.4310059],
            &[0.23578, 0.15669787, 0.15980876, 0.39158871, 0.36947411, 0.42376868, 9.6112961, 4.9537591, 5.658031, 10.058971, 5.8323414,
                16.88884],
        ],
    },
    Nearly {
        columns: 2,
        features: &[
            1.23, -0.83, 0.59, -0.66, 0.52, -0.37, -0.8, 0.4, 1.93, -1.46, -0.46, -0.11, 0.94, -1.21, -0.89, -2.24, 0.83, -0.22, -0.27, -0.8,
            0.99, -0.48, -1.33, -1.66, -1.79, -0.89, 0.38, 1.23, -1.55, 2.05, 1.59, -1.84, -0.15, 0.85, 0.91, 2.17, -0.54, -0.4, -0.42,
            -0.13, 2.6, 1.27, -0.35, 0.09,
        ],
        counts: &[
            1.0, 3.0, 4.0, 1.0, 3.0, 5.0, 2.0, 3.0, 4.0, 4.0, 4.0, 1.0, 3.0, 2.0, 6.0, 8.0, 4.0, 1.0, 4.0, 4.0, 9.0, 2.0,
        ],
        weights: &[0.8286303357096549, 0.09545258994272546, 0.07591707434761967],
        atoms: &[
            -0.12153874863965955, 0.06785948982869301, 28.54192850158332, -6.249578277509645, 6.603841871997032, -31.134999982985953,
        ],
        robust: [
            &[0.068574429, 0.048278874, 0.045760983, 0.14112011, 0.11514521, 2.3550089, 1.39702, 4.1045739, 16.422893],
            &[0.16085028, 0.12054861, 0.11062013, 0.27420255, 0.23375297, 3.9404188, 2.4810764, 7.1880656, 28.252918],
        ],
    },
];

#[test]
fn robust_errors_keep_digits_where_the_information_is_nearly_singular() {
    for case in NEARLY_SINGULAR {
        let x = Features::row_major(case.features, case.counts.len(), case.columns).unwrap();
        let data = Data::new(x, None, None, Choices::Counts(case.counts)).unwrap();
        let m = Mixture { weights: case.weights.to_vec(), atoms: case.atoms.to_vec() };
        for (variance, expected) in [Variance::Robust, Variance::RobustSampling].into_iter().zip(case.robust) {
            let (weights, atoms) = errors(&data, &m, 0.0, variance);
            for (found, expected) in weights.iter().chain(&atoms).zip(expected) {
                // The inverse of the information, of condition 1e10 and more, has no more.
                assert!((found / expected - 1.0).abs() < 0.02, "{variance:?}: {weights:?} {atoms:?} beside {expected:?}");
            }
        }
    }
}

#[test]
fn frequency_weights_count_units_and_sampling_weights_have_no_scale() {
    let mut random = Random::new(3);
    let case = people(200, 6, &[0.6, 0.4], &[1.0, -0.5, -1.0, 1.0], 2, &mut random);
    let fit = Fit::new(&case.data(), &FitOptions::new(2)).unwrap();
    let (units, weights) = case.units();
    let fourfold = Case { choices: compressed(&units, weights.iter().map(|w| 4.0 * w).collect()), ..case.clone() };
    let all = |case: &Case, variance: Variance| {
        let (w, a) = errors(&case.data(), &fit.mixture, 0.0, variance);
        [w, a].concat()
    };
    for (variance, factor) in [(Variance::Information, 0.5), (Variance::Robust, 0.5), (Variance::RobustSampling, 1.0)] {
        let expected: Vec<f64> = all(&case, variance).iter().map(|se| factor * se).collect();
        assert_close("four times the weight", &all(&fourfold, variance), &expected, 1e-10);
    }
}

#[test]
fn the_workspace_serves_whichever_classes_are_empty() {
    // Shapes where fewer classes have more tasks, or larger blocks of units, than all of them.
    let mut random = Random::new(8);
    for (layout, rows, columns, classes) in
        [(Layout::Counts, 1120, 2, 6), (Layout::Counts, 1296, 3, 6), (Layout::SparseCounts, 3512, 8, 4), (Layout::Panel, 6000, 10, 4)]
    {
        let case = random_case(Recipe { layout, rows, columns, units: 900, offsets: false, seed: random.next() });
        for live in 1..classes {
            let mut weights = random.simplex(live);
            weights.resize(classes, 0.0);
            let m = Mixture { weights, atoms: random.normals(classes * columns, 0.3) };
            let (of_weights, of_atoms) = errors(&case.data(), &m, 1e4, Variance::Information);
            assert!(of_weights[live..].iter().chain(&of_atoms[live * columns..]).all(|e| e.is_nan()));
            // Of one class there is no doubt.
            assert!(live > 1 || of_atoms[..columns].iter().all(|e| e.is_finite()), "{layout:?} {live}");
        }
    }
}

#[test]
fn errors_are_absent_where_the_information_is_not_positive() {
    // Two equal classes: their difference has no information, whichever of its directions is asked for.
    let mut random = Random::new(4);
    let case = people(50, 4, &[1.0], &[1.0, -0.5], 2, &mut random);
    let one = Fit::new(&case.data(), &FitOptions::new(1)).unwrap().mixture;
    let twice = Mixture { weights: vec![0.5, 0.5], atoms: [&one.atoms[..], &one.atoms].concat() };
    for variance in [Variance::Information, Variance::Robust, Variance::RobustSampling] {
        let (weights, atoms) = errors(&case.data(), &twice, 0.0, variance);
        assert!(weights.iter().chain(&atoms).all(|x| x.is_nan()), "{weights:?} {atoms:?}");
    }
    // Far from a maximum the information of the mixture has negative directions.
    let wild = Mixture { weights: vec![0.9, 0.1], atoms: vec![-3.0, 2.0, 4.0, 4.0] };
    let (weights, atoms) = errors(&case.data(), &wild, 0.0, Variance::Information);
    assert!(weights.iter().chain(&atoms).all(|x| x.is_nan()), "{weights:?} {atoms:?}");
    // Features that do not vary: weights alone are left, and any are as good. Whether the pivot comes out as 0 or as rounding, there are none.
    for seed in 0..50 {
        let mut random = Random::new(seed);
        let counts: Vec<f64> = (0..37).map(|_| (9.0 * random.uniform()).floor() + 1.0).collect();
        let data = Data::new(Features::row_major(&[0.7; 37][..], 37, 1).unwrap(), None, None, Choices::Counts(&counts)).unwrap();
        let a = random.uniform();
        let any = Mixture { weights: vec![a, 1.0 - a], atoms: vec![random.uniform(), -random.uniform()] };
        for variance in [Variance::Information, Variance::Robust, Variance::RobustSampling] {
            let (weights, _) = errors(&data, &any, 0.0, variance);
            assert!(weights.iter().all(|x| x.is_nan()), "{weights:?}");
        }
    }
}

#[test]
fn robust_errors_do_not_depend_on_the_scale_of_counts() {
    let x: Vec<f64> = (0..12).map(|i| f64::from(i * i % 7) - 3.0).collect();
    let indptr: Vec<usize> = (0..=6).map(|u| 2 * u).collect();
    let indices: Vec<usize> = (0..12).map(|i| 5 * i % 12).collect();
    let mixture = Mixture { weights: vec![1.0], atoms: vec![0.1] };
    let of = |scale: f64| {
        let counts: Vec<f64> = (0..12).map(|i| scale * f64::from(1 + i % 3)).collect();
        let choices = Choices::Units { indptr: &indptr, indices: &indices, counts: Some(&counts), weights: None };
        let data = Data::new(Features::row_major(&x[..], 12, 1).unwrap(), None, None, choices).unwrap();
        errors(&data, &mixture, 0.0, Variance::Robust).1[0]
    };
    for scale in [1e-300, 1e-100, 1e100, 1e200, 1e300] {
        assert_close("scale", &[of(scale)], &[of(1.0)], 1e-12);
    }
}
