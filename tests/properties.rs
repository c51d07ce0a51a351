//! What must hold at any mixture, for data of every layout and random shapes.
#![cfg(feature = "std")]

mod common;

use common::assert_close;
use common::model::*;
use common::random::*;
use softmix::data::{Choices, Data, Features};
use softmix::em::MStep;
use softmix::error::{Error, ErrorKind};
use softmix::evaluate::{EvaluateOutput, evaluate, evaluate_workspace};
use softmix::fit::{Fit, FitOptions, Outcome, Progress, Starts, StopRule};
use softmix::inference::Variance;
use softmix::mixture::{Mixture, MixtureRef};
use softmix::parallel::Context;
use softmix::scan::{Criteria, Profile, Scan, Scanned, profile, profile_workspace, scan, scan_workspace};
use softmix::simd::Isa;
use softmix::starts::StartKind;
use softmix::workspace::WorkspaceBuffer;
use std::ops::{Range, RangeInclusive};

const NOT_AVAILABLE: f64 = f64::NEG_INFINITY;

/// Cases of every layout: from a handful of rows to three blocks with a set larger than one; with and without offsets.
fn cases(seeds: Range<u64>) -> impl Iterator<Item = (Case, Random)> {
    LAYOUTS.into_iter().flat_map(move |layout| {
        seeds.clone().map(move |seed| {
            let mut random = Random::new(1000 * (layout as u64 + 1) + seed);
            let (rows, columns) =
                [(8 + random.below(60), 1 + random.below(4)), (650 + random.below(150), 1 + random.below(6))][seed as usize % 2];
            let units = 20 + random.below(80);
            (random_case(Recipe { layout, rows, columns, units, offsets: seed % 3 == 1, seed: random.next() }), random)
        })
    })
}

/// A mixture with atoms of norm about `norm`.
fn mixture(classes: usize, columns: usize, norm: f64, random: &mut Random) -> Mixture {
    Mixture { weights: random.simplex(classes), atoms: random.normals(classes * columns, norm / (columns as f64).sqrt()) }
}

/// Total of the choices: sums over choices are known to the rounding of this, however much of them cancels.
fn total(case: &Case) -> f64 {
    case.data().total_choices()
}

#[track_caller]
fn assert_within(name: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{name}: lengths");
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= tolerance, "{name}[{i}]: {g} is not {e} within {tolerance}");
    }
}

fn bits(x: &[f64]) -> Vec<u64> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn em_never_lowers_the_penalised_likelihood() {
    for (case, mut random) in cases(0..6) {
        let data = case.data();
        for form in FORMS {
            for ridge in [0.0, 3.5] {
                let classes = 1 + random.below(4);
                // From tame to wild: at norm 30 gradient and Newton steps of length one overshoot.
                let norm = [0.5, 3.0, 30.0][random.below(3)];
                let mut m = mixture(classes, case.columns, norm, &mut random);
                let mut last = f64::NEG_INFINITY;
                for step in 0..10 {
                    let value = em(&data, &mut m, ridge, form, Context::default()).penalized_log_likelihood;
                    // Rounding of a sum of that size.
                    assert!(value >= last - 1e-12 * value.abs(), "{form:?}, step {step}: {value} after {last}");
                    last = value;
                    let sum: f64 = m.weights.iter().sum();
                    assert!((sum - 1.0).abs() < 1e-12 && m.weights.iter().all(|w| *w >= 0.0));
                }
            }
        }
    }
}

/// A read of X less, and the same log-likelihoods and responsibilities, bit for bit: of every layout, of counts of which few alternatives were chosen, and of panels of several
/// blocks, whose units stand in order and not.
#[test]
fn without_the_gradient_of_the_atoms_all_else_is_the_same() {
    let mut all: Vec<Case> = cases(0..4).map(|(case, _)| case).collect();
    let few: Vec<Case> = all
        .iter()
        .filter_map(|case| {
            let OwnedChoices::Counts(counts) = &case.choices else { return None };
            let available = |i: usize| case.offset.as_ref().is_none_or(|b| b[i] != NOT_AVAILABLE);
            let few = counts.iter().enumerate().map(|(i, n)| if i % 5 == 0 && available(i) { n + 1.0 } else { 0.0 }).collect();
            Some(Case { choices: OwnedChoices::Counts(few), ..case.clone() })
        })
        .collect();
    all.extend(few);
    let panels = [(900, 7, 3, 2), (2000, 1, 5, 7), (130, 3, 40, 4)]
        .map(|(sets, each, size, columns)| simulated_panel(sets, each, size, columns, 2, 1.0, 5).0);
    let mut random = Random::new(3);
    for data in all.iter().map(Case::data).chain(panels.iter().map(|panel| panel.data())) {
        let (shape, k) = (data.shape(), 3);
        let m = mixture(k, shape.columns, 1.0, &mut random);
        let mut memory = WorkspaceBuffer::new(evaluate_workspace(&shape, k)).unwrap();
        for isa in Isa::available() {
            for threads in [1, 2] {
                let mut found = |units: bool, gradient: bool| {
                    let (mut unit, mut responsibilities) = (vec![0.0; shape.units], vec![0.0; shape.units * k]);
                    let (mut of_weights, mut of_atoms) = (vec![0.0; k], vec![0.0; k * shape.columns]);
                    let out = EvaluateOutput {
                        unit_log_likelihoods: units.then_some(&mut unit[..]),
                        responsibilities: units.then_some(&mut responsibilities[..]),
                        weight_gradient: Some(&mut of_weights),
                        atom_gradient: gradient.then_some(&mut of_atoms[..]),
                    };
                    let value = evaluate(&data, m.view(), None, Context { isa, threads }, out, memory.lend()).unwrap();
                    assert_eq!(of_atoms.iter().any(|g| *g != 0.0), gradient);
                    (bits(&[&[value.log_likelihood, value.penalized_log_likelihood][..], &unit, &responsibilities].concat()), of_weights)
                };
                for units in [false, true] {
                    let (with, without) = (found(units, true), found(units, false));
                    assert!(with.0 == without.0, "{shape:?} {} {threads} {units}", isa.name());
                    assert_within("log-odds", &without.1, &with.1, 1e-14 * data.total_weight());
                }
            }
        }
    }
}

#[test]
fn a_step_of_em_moves_uphill_wherever_there_is_a_slope() {
    for (case, mut random) in cases(0..4) {
        let data = case.data();
        let start = mixture(2, case.columns, 2.0, &mut random);
        for form in FORMS {
            let mut m = start.clone();
            let before = em(&data, &mut m, 0.0, form, Context::default()).log_likelihood;
            let after = quantities(&data, &m, 0.0, Context::default()).value.log_likelihood;
            assert!(after > before + 1e-9 * before.abs(), "{form:?}: {after} from {before}");
        }
    }
}

/// Where offsets of hundreds hold a class to one alternative of every set there is next to no curvature. An M-step in one class, to
/// convergence, ends where the gradient of the likelihood is 0.
#[test]
fn an_m_step_ends_where_there_is_no_slope_however_little_curvature_there_was() {
    for layout in LAYOUTS {
        for seed in 0..3 {
            let mut random = Random::new(31 + seed);
            let mut case = random_case(Recipe { layout, rows: 300, columns: 4, units: 80, offsets: false, seed });
            case.offset = Some(random.normals(300, 100.0));
            let (data, start) = (case.data(), mixture(1, 4, 0.3, &mut random));
            let mut m = start.clone();
            let before = em(&data, &mut m, 0.0, MStep::Converged, Context::default()).log_likelihood;
            let after = quantities(&data, &m, 0.0, Context::default());
            assert!(after.value.log_likelihood > before + 1e-6 * before.abs(), "{before} to {}", after.value.log_likelihood);
            assert_within("gradient", &after.atom_gradient, &[0.0; 4], 1e-7 * total(&case));
            // A single step rises, too.
            let mut m = start;
            em(&data, &mut m, 0.0, MStep::Newton, Context::default());
            let after = quantities(&data, &m, 0.0, Context::default()).value.log_likelihood;
            assert!(after > before + 1e-6 * before.abs(), "{before} to {after}");
        }
    }
}

/// As its penalised likelihood wants it; without a penalty it stays where it is.
#[test]
fn a_penalty_draws_the_atom_of_an_empty_class_to_zero() {
    for (case, mut random) in cases(0..2) {
        let start = mixture(2, case.columns, 1.0, &mut random);
        let start = Mixture { weights: vec![1.0, 0.0], ..start };
        for form in FORMS {
            let step = |ridge| {
                let mut m = start.clone();
                em(&case.data(), &mut m, ridge, form, Context::default());
                m.atoms[case.columns..].to_vec()
            };
            assert_eq!(step(0.0), start.atoms[case.columns..], "{form:?}");
            assert_within("atom", &step(2.0), &vec![0.0; case.columns], 1e-9);
            // From far beyond all choices, too.
            let mut far = start.clone();
            far.atoms[case.columns..].iter_mut().for_each(|a| *a *= 1e5);
            em(&case.data(), &mut far, 2.0, form, Context::default());
            assert_within("far atom", &far.atoms[case.columns..], &vec![0.0; case.columns], 1e-5);
        }
    }
}

/// The mixture of the packed parameters: log-odds against the last class, then atoms.
fn unpack(v: &[f64], classes: usize) -> Mixture {
    let odds: Vec<f64> = v[..classes - 1].iter().chain(&[0.0]).map(|e| e.exp()).collect();
    let sum: f64 = odds.iter().sum();
    Mixture { weights: odds.iter().map(|o| o / sum).collect(), atoms: v[classes - 1..].to_vec() }
}

fn pack(m: &Mixture) -> Vec<f64> {
    let (last, rest) = m.weights.split_last().unwrap();
    rest.iter().map(|w| (w / last).ln()).chain(m.atoms.iter().copied()).collect()
}

fn gradient(data: &Data<'_>, m: &Mixture, ridge: f64) -> Vec<f64> {
    let q = quantities(data, m, ridge, Context::default());
    [&q.weight_gradient[..m.classes() - 1], &q.atom_gradient].concat()
}

#[test]
fn gradient_and_curvature_are_the_differences_of_what_they_derive() {
    for (case, mut random) in cases(0..4) {
        let data = case.data();
        let (classes, ridge) = (1 + random.below(3), 2.5);
        let v = pack(&mixture(classes, case.columns, 1.5, &mut random));
        let n = v.len();
        let m = unpack(&v, classes);
        let g = gradient(&data, &m, ridge);
        let info = information(&data, &m, ridge, Context::default());
        let h = 1e-4;
        for j in 0..n {
            let moved = |h: f64| {
                let mut v = v.clone();
                v[j] += h;
                unpack(&v, classes)
            };
            let (up, down) = (moved(h), moved(-h));
            let value = |m: &Mixture| quantities(&data, m, ridge, Context::default()).value.penalized_log_likelihood;
            // Third derivatives are up to some tens a choice: times h² / 6, and rounding 1e-15 ℓ / h.
            let tolerance = 1e-6 * total(&case);
            assert_within("gradient", &[(value(&up) - value(&down)) / (2.0 * h)], &[g[j]], tolerance);
            let (up, down) = (gradient(&data, &up, ridge), gradient(&data, &down, ridge));
            let column: Vec<f64> = up.iter().zip(&down).map(|(a, b)| -(a - b) / (2.0 * h)).collect();
            assert_within("information", &column, &info[j * n..(j + 1) * n], 10.0 * tolerance);
        }
    }
}

/// Minus the information times `v` is the Hessian's product with it.
fn agrees_with_hessian_products(case: &Case, data: &Data<'_>, m: &Mixture, v: &[f64]) {
    let info = information(data, m, 0.0, Context::default());
    let expected: Vec<f64> = info.chunks_exact(v.len()).map(|row| -row.iter().zip(v).map(|(a, b)| a * b).sum::<f64>()).collect();
    assert_within("H v", &hessian_times(data, m, v, Context::default()), &expected, 1e-11 * total(case));
}

#[test]
fn a_hessian_vector_product_is_minus_the_information_times_the_vector() {
    for (case, mut random) in cases(0..6) {
        let data = case.data();
        let classes = 1 + random.below(4);
        let m = mixture(classes, case.columns, 2.0, &mut random);
        let n = classes - 1 + m.atoms.len();
        agrees_with_hessian_products(&case, &data, &m, &random.normals(n, 1.0));
    }
}

/// The curvature of the classes is summed in several tasks here, one set split between them; Hessian products take no part in it.
#[test]
fn the_information_of_many_blocks_is_that_of_hessian_products() {
    for layout in LAYOUTS {
        let case = random_case(Recipe { layout, rows: 6000, columns: 4, units: 500, offsets: true, seed: 9 });
        let data = case.data();
        let m = mixture(3, 4, 1.5, &mut Random::new(10));
        agrees_with_hessian_products(&case, &data, &m, &Random::new(11).normals(14, 1.0));
    }
}

#[test]
fn the_same_choices_in_any_layout_are_the_same_data() {
    for (case, mut random) in cases(0..6) {
        if matches!(case.choices, OwnedChoices::Units { .. }) {
            continue;
        }
        let m = mixture(1 + random.below(3), case.columns, 1.5, &mut random);
        let units = case.as_units();
        let mut others = vec![units];
        if case.sets.is_none() {
            let mut counts = vec![0.0; case.rows()];
            let (units, weights) = case.units();
            units.iter().zip(&weights).for_each(|(u, w)| counts[u[0].0] += w);
            let chosen: Vec<usize> = random.permutation(case.rows()).into_iter().filter(|i| counts[*i] > 0.0).collect();
            // The first alternative comes twice, with half its count each time.
            let (mut indices, mut of_chosen): (Vec<_>, Vec<_>) = chosen.iter().map(|i| (*i, counts[*i])).unzip();
            of_chosen[0] /= 2.0;
            indices.push(indices[0]);
            of_chosen.push(of_chosen[0]);
            let sparse = OwnedChoices::Sparse { counts: of_chosen, indices };
            others.push(Case { choices: sparse, ..case.clone() });
            others.push(Case { choices: OwnedChoices::Counts(counts), sets: Some(vec![0, case.rows()]), ..case.clone() });
        }
        let data = case.data();
        let here = quantities(&data, &m, 2.0, Context::default());
        let info = information(&data, &m, 2.0, Context::default());
        let mut stepped = m.clone();
        em(&data, &mut stepped, 2.0, FORMS[1], Context::default());
        for other in others {
            let data = other.data();
            let there = quantities(&data, &m, 2.0, Context::default());
            assert_close("ℓ", &[there.value.log_likelihood], &[here.value.log_likelihood], 1e-13);
            assert_within("weight gradient", &there.weight_gradient, &here.weight_gradient, 1e-12 * total(&case));
            assert_within("atom gradient", &there.atom_gradient, &here.atom_gradient, 1e-12 * total(&case));
            assert_close("information", &information(&data, &m, 2.0, Context::default()), &info, 1e-12);
            let mut m = m.clone();
            em(&data, &mut m, 2.0, FORMS[1], Context::default());
            // Newton's step divides rounding by the smallest curvature.
            assert_close("EM", &[m.weights, m.atoms].concat(), &[&stepped.weights[..], &stepped.atoms].concat(), 1e-8);
        }
    }
}

/// The same bits of a fit and of an evaluation from counts, sparse ones, one of which comes twice, and units that chose once each; but for
/// fits of such units in many choice sets, which begin elsewhere.
#[test]
fn counts_in_any_form_give_the_same_fit() {
    for seed in 0..12 {
        let (rows, columns) = ([40, 700, if seed < 6 { 17_000 } else { 1500 }][seed as usize % 3], 2);
        let mut random = Random::new(50 + seed);
        let offsets = seed % 2 == 1;
        let layout = if seed < 6 { Layout::Counts } else { Layout::CountsOverSets };
        let mut case = random_case(Recipe { layout, rows, columns, units: 90, offsets, seed });
        let available = |i: usize| case.offset.as_ref().is_none_or(|b| b[i] != NOT_AVAILABLE);
        let counts: Vec<f64> = (0..rows).map(|i| if available(i) { random.below(3) as f64 * 2.0 } else { 0.0 }).collect();
        let chosen: Vec<usize> = (0..rows).filter(|i| counts[*i] > 0.0).collect();
        let again = chosen[chosen.len() / 2];
        let indices = [&chosen[..], &[again]].concat();
        let of_chosen = indices.iter().map(|i| if *i == again { counts[*i] / 2.0 } else { counts[*i] }).collect();
        let units: Vec<_> = indices.iter().map(|i| vec![(*i, 1.0)]).collect();
        let weights = indices.iter().map(|i| if *i == again { counts[*i] / 2.0 } else { counts[*i] }).collect();
        let forms = [OwnedChoices::Counts(counts), OwnedChoices::Sparse { indices, counts: of_chosen }, compressed(&units, weights)];
        let found = forms.map(|form| {
            case.choices = form;
            let (data, m) = (case.data(), Mixture { weights: vec![0.25, 0.75], atoms: vec![0.5, -0.3, -0.2, 0.8] });
            let fit = Fit::new(&data, &FitOptions { ridge: 0.5, seed, ..FitOptions::new(2) }).unwrap();
            let mut memory = WorkspaceBuffer::new(evaluate_workspace(&data.shape(), 2)).unwrap();
            let mut gradient = vec![0.0; 4];
            let out = EvaluateOutput { atom_gradient: Some(&mut gradient), ..EvaluateOutput::default() };
            let value = evaluate(&data, m.view(), None, Context::default(), out, memory.lend()).unwrap();
            let fitted = [&[fit.report.log_likelihood][..], &fit.mixture.weights, &fit.mixture.atoms].concat();
            (bits(&[&[value.log_likelihood][..], &gradient].concat()), (bits(&fitted), fit.report.evaluations))
        });
        assert!(found[0] == found[1] && found[0].0 == found[2].0, "{rows} {offsets}");
        assert!(case.sets.is_some() || found[0].1 == found[2].1, "{rows} {offsets}");
    }
}

#[test]
fn with_one_class_it_does_not_matter_who_chose() {
    for (case, mut random) in cases(0..4) {
        let (units, weights) = case.units();
        let mut counts = vec![0.0; case.rows()];
        for (unit, w) in units.iter().zip(&weights) {
            unit.iter().for_each(|(i, n)| counts[*i] += w * n);
        }
        let together = Case { choices: OwnedChoices::Counts(counts), ..case.clone() };
        let m = mixture(1, case.columns, 1.5, &mut random);
        let (a, b) = (quantities(&case.data(), &m, 0.0, Context::default()), quantities(&together.data(), &m, 0.0, Context::default()));
        assert_close("ℓ", &[a.value.log_likelihood], &[b.value.log_likelihood], 1e-13);
        assert_within("gradient", &a.atom_gradient, &b.atom_gradient, 1e-12 * total(&case));
    }
}

#[test]
fn the_order_of_classes_changes_nothing() {
    for (case, mut random) in cases(0..4) {
        let (data, l) = (case.data(), case.columns);
        let m = mixture(4, l, 1.5, &mut random);
        let order = random.permutation(4);
        let by = |x: &[f64], n: usize| -> Vec<f64> { order.iter().flat_map(|k| x[k * n..(k + 1) * n].to_vec()).collect() };
        let permuted = Mixture { weights: by(&m.weights, 1), atoms: by(&m.atoms, l) };
        assert_eq!(m.canonical(), permuted.canonical());
        let (a, b) = (quantities(&data, &m, 1.0, Context::default()), quantities(&data, &permuted, 1.0, Context::default()));
        assert_close("ℓ", &[a.value.penalized_log_likelihood], &[b.value.penalized_log_likelihood], 1e-13);
        assert_within("weights", &b.weight_gradient, &by(&a.weight_gradient, 1), 1e-12 * total(&case));
        assert_within("atoms", &b.atom_gradient, &by(&a.atom_gradient, l), 1e-12 * total(&case));
        for (a, b) in a.responsibilities.chunks_exact(4).zip(b.responsibilities.chunks_exact(4)) {
            assert_within("responsibilities", b, &by(a, 1), 1e-12);
        }
    }
}

/// The case with its choice sets, the rows inside them and its units in another order, and for every new row the old one.
fn reordered(case: &Case, random: &mut Random) -> (Case, Vec<usize>) {
    let sets = case.sets();
    let mut rows = vec![];
    let mut bounds = vec![0];
    for s in random.permutation(sets.len() - 1) {
        rows.extend(random.permutation(sets[s + 1] - sets[s]).into_iter().map(|i| sets[s] + i));
        bounds.push(rows.len());
    }
    let mut place = vec![0; rows.len()];
    rows.iter().enumerate().for_each(|(new, old)| place[*old] = new);
    let choices = match &case.choices {
        OwnedChoices::Counts(n) => OwnedChoices::Counts(rows.iter().map(|i| n[*i]).collect()),
        OwnedChoices::Sparse { indices, counts } => {
            let order = random.permutation(indices.len());
            OwnedChoices::Sparse {
                indices: order.iter().map(|e| place[indices[*e]]).collect(),
                counts: order.iter().map(|e| counts[*e]).collect(),
            }
        }
        OwnedChoices::Units { .. } => {
            let (units, weights) = case.units();
            let order = random.permutation(units.len());
            let units: Vec<Vec<_>> = order.iter().map(|u| units[*u].iter().rev().map(|(i, n)| (place[*i], *n)).collect()).collect();
            compressed(&units, order.iter().map(|u| weights[*u]).collect())
        }
    };
    let permuted = Case {
        features: rows.iter().flat_map(|i| case.row(*i).to_vec()).collect(),
        columns: case.columns,
        offset: case.offset.as_ref().map(|b| rows.iter().map(|i| b[*i]).collect()),
        sets: case.sets.as_ref().map(|_| bounds),
        choices,
    };
    (permuted, rows)
}

#[test]
fn the_order_of_rows_sets_and_units_changes_nothing() {
    for (case, mut random) in cases(0..4) {
        let (other, rows) = reordered(&case, &mut random);
        let m = mixture(2, case.columns, 1.5, &mut random);
        let (a, b) = (quantities(&case.data(), &m, 1.0, Context::default()), quantities(&other.data(), &m, 1.0, Context::default()));
        assert_close("ℓ", &[a.value.penalized_log_likelihood], &[b.value.penalized_log_likelihood], 1e-13);
        assert_within("atoms", &a.atom_gradient, &b.atom_gradient, 1e-12 * total(&case));
        let info = |case: &Case| information(&case.data(), &m, 1.0, Context::default());
        assert_close("information", &info(&case), &info(&other), 1e-12);
        let (before, after) =
            (probabilities(&case.data(), &m, Context::default()).1, probabilities(&other.data(), &m, Context::default()).1);
        assert_within("π", &after, &rows.iter().map(|i| before[*i]).collect::<Vec<_>>(), 1e-14);
        // With a ridge there is a maximum, and from one start Newton finds one and the same.
        let (fit, refit) = (fit_from(&case.data(), &m, 5.0), fit_from(&other.data(), &m, 5.0));
        assert_close("fitted ℓ", &[fit.report.log_likelihood], &[refit.report.log_likelihood], 1e-9);
    }
}

#[test]
fn splitting_a_count_over_equal_units_changes_nothing() {
    for (case, mut random) in cases(0..4) {
        let (units, weights) = case.units();
        let (mut split, mut shares) = (vec![], vec![]);
        for (unit, w) in units.iter().zip(&weights).filter(|(_, w)| **w > 0.0) {
            // A unit as two of a third and two thirds of its weight, and its first choice as two entries.
            for share in [1.0 / 3.0, 2.0 / 3.0] {
                let mut entries = unit.clone();
                entries[0].1 *= 0.25;
                entries.push((unit[0].0, 0.75 * unit[0].1));
                split.push(entries);
                shares.push(share * w);
            }
        }
        let other = Case { choices: compressed(&split, shares), ..case.clone() };
        let m = mixture(3, case.columns, 1.5, &mut random);
        let (a, b) = (quantities(&case.data(), &m, 1.0, Context::default()), quantities(&other.data(), &m, 1.0, Context::default()));
        assert_close("ℓ", &[a.value.penalized_log_likelihood], &[b.value.penalized_log_likelihood], 1e-13);
        assert_within("weights", &a.weight_gradient, &b.weight_gradient, 1e-12 * total(&case));
        assert_within("atoms", &a.atom_gradient, &b.atom_gradient, 1e-12 * total(&case));
        let info = |case: &Case| information(&case.data(), &m, 1.0, Context::default());
        assert_close("information", &info(&case), &info(&other), 1e-12);
        // Frequency weights: two units of half a weight are one. For sampling weights they are two.
        let middle = |case: &Case| scores(&case.data(), &m, false);
        assert_close("scores", &middle(&case), &middle(&other), 1e-12);
    }
}

/// Features `M x + c` and atoms `M^-T θ`: M upper triangular, with scales from 1e-3 to 1e3 on its diagonal, and shifts of 1e3.
struct Wild {
    m: Vec<f64>,
    shift: Vec<f64>,
    n: usize,
}

impl Wild {
    fn new(n: usize, random: &mut Random) -> Self {
        let scales: Vec<f64> = (0..n).map(|j| 10f64.powf(if n == 1 { 3.0 } else { 6.0 * j as f64 / (n - 1) as f64 - 3.0 })).collect();
        // Row a: feature a in units of its own, correlated with those after it.
        let m = (0..n * n).map(|i| (i / n, i % n)).map(|(a, b)| {
            scales[a]
                * if a == b {
                    1.0
                } else if a < b {
                    random.uniform()
                } else {
                    0.0
                }
        });
        Wild { m: m.collect(), shift: scales.iter().map(|s| 1e3 * s.min(1.0)).collect(), n }
    }

    fn features(&self, case: &Case) -> Case {
        let row = |x: &[f64]| -> Vec<f64> {
            (0..self.n).map(|a| self.shift[a] + (0..self.n).map(|b| self.m[a * self.n + b] * x[b]).sum::<f64>()).collect()
        };
        Case { features: case.features.chunks_exact(self.n).flat_map(row).collect(), ..case.clone() }
    }

    /// Solves `M^T θ' = θ` forwards.
    fn atoms(&self, m: &Mixture) -> Mixture {
        let mut atoms = m.atoms.clone();
        for atom in atoms.chunks_exact_mut(self.n) {
            for a in 0..self.n {
                let done: f64 = (0..a).map(|b| self.m[b * self.n + a] * atom[b]).sum();
                atom[a] = (atom[a] - done) / self.m[a * self.n + a];
            }
        }
        Mixture { atoms, weights: m.weights.clone() }
    }
}

#[test]
fn scaling_shifting_and_correlating_features_maps_atoms_and_leaves_the_likelihood() {
    for (case, mut random) in cases(0..4) {
        let wild = Wild::new(case.columns, &mut random);
        let other = wild.features(&case);
        let m = mixture(2, case.columns, 1.0, &mut random);
        let (a, b) =
            (quantities(&case.data(), &m, 2.0, Context::default()), quantities(&other.data(), &wild.atoms(&m), 2.0, Context::default()));
        // Logits of size 1e3 θ' lose as many digits as that has; θ' is up to 1e3 where the scale is 1e-3.
        assert_close("ℓ", &[b.value.penalized_log_likelihood], &[a.value.penalized_log_likelihood], 1e-9);
        let (fit, refit) = (fit_from(&case.data(), &m, 2.0), fit_from(&other.data(), &wild.atoms(&m), 2.0));
        assert_eq!((fit.report.outcome, refit.report.outcome), (Outcome::Converged, Outcome::Converged));
        assert_close("maximum", &[refit.report.penalized_log_likelihood], &[fit.report.penalized_log_likelihood], 1e-9);
        assert_within("weights", &refit.mixture.weights, &fit.mixture.weights, 1e-5);
        let mapped = wild.atoms(&fit.mixture);
        for l in 0..case.columns {
            let column = |m: &Mixture| (0..2).map(|k| m.atom(k)[l]).collect::<Vec<_>>();
            assert_close("atoms", &column(&refit.mixture), &column(&mapped), 1e-4);
        }
    }
}

#[test]
fn single_precision_features_give_the_likelihood_of_their_rounded_values() {
    for (mut case, mut random) in cases(0..6) {
        let single: Vec<f32> = case.features.iter().map(|x| *x as f32).collect();
        case.features = single.iter().map(|x| *x as f64).collect();
        let (p, l) = (case.rows(), case.columns);
        let m = mixture(3, l, 3.0, &mut random);
        let a = quantities(&case.data(), &m, 1.0, Context::default());
        let data = case.with_features(Features::row_major(&single[..], p, l).unwrap());
        let b = quantities(&data, &m, 1.0, Context::default());
        assert_close("ℓ", &[b.value.log_likelihood], &[a.value.log_likelihood], 1e-9);
        assert_within("gradient", &b.atom_gradient, &a.atom_gradient, 1e-6 * total(&case));
        let (a, b) = (fit_from(&case.data(), &m, 2.0), fit_from(&data, &m, 2.0));
        assert_eq!(b.report.outcome, Outcome::Converged);
        assert_close("maximum", &[b.report.log_likelihood], &[a.report.log_likelihood], 1e-9);
    }
}

#[test]
fn views_of_any_strides_are_the_same_features() {
    let narrow = random_case(Recipe { layout: Layout::Units, rows: 40, columns: 1, units: 30, offsets: false, seed: 9 });
    for (case, mut random) in cases(0..4).chain([(narrow, Random::new(9))]) {
        let (p, l) = (case.rows(), case.columns);
        let m = mixture(3, l, 1.5, &mut random);
        let compact = quantities(&case.data(), &m, 1.0, Context::default()).numbers();
        let info = information(&case.data(), &m, 1.0, Context::default());
        let fit = fit_from(&case.data(), &m, 5.0);
        // What lies between the numbers of a view is never read: NaN would show.
        // The stride of a single column means nothing.
        let single = if l == 1 { Some((2, 0)) } else { None };
        for (rows, columns) in [(l + 3, 1), (1, p), (1, p + 5), (2 * l + 1, 2), (1, p + 1), (3, 3 * p)].into_iter().chain(single) {
            let mut values = vec![f64::NAN; (p - 1) * rows + (l - 1) * columns + 1];
            for i in 0..p {
                for j in 0..l {
                    values[i * rows + j * columns] = case.row(i)[j];
                }
            }
            let data = case.with_features(Features::strided(&values[..], p, l, rows, columns).unwrap());
            // Features that stand feature after feature have a kernel of their own, which adds in another order.
            let (numbers, found) =
                (quantities(&data, &m, 1.0, Context::default()).numbers(), information(&data, &m, 1.0, Context::default()));
            if rows == 1 && columns >= p {
                let finite = |x: &[f64]| x.iter().map(|x| x.max(f64::MIN)).collect::<Vec<_>>();
                assert_within(&format!("strides {rows}, {columns}"), &finite(&numbers), &finite(&compact), 1e-10 * total(&case));
                assert_within("information", &found, &info, 1e-10 * total(&case));
                assert_close("maximum", &[fit_from(&data, &m, 5.0).report.log_likelihood], &[fit.report.log_likelihood], 1e-10);
            } else {
                assert_eq!(bits(&numbers), bits(&compact), "strides {rows}, {columns}");
                assert_eq!(bits(&found), bits(&info));
                assert_eq!(fit_from(&data, &m, 5.0).mixture, fit.mixture);
            }
            let single: Vec<f32> = values.iter().map(|x| *x as f32).collect();
            let data = case.with_features(Features::strided(&single[..], p, l, rows, columns).unwrap());
            let value = quantities(&data, &m, 1.0, Context::default()).value.log_likelihood;
            // Rounding of features to 6e-8 moves logits by about as much.
            assert_close("ℓ of f32", &[value], &[compact[0]], 1e-5);
        }
    }
}

#[test]
fn an_unavailable_alternative_is_as_good_as_left_out() {
    for (case, mut random) in cases(0..6) {
        let Some(b) = &case.offset else { continue };
        let kept: Vec<usize> = (0..case.rows()).filter(|i| b[*i] != NOT_AVAILABLE).collect();
        let mut place = vec![usize::MAX; case.rows()];
        kept.iter().enumerate().for_each(|(new, old)| place[*old] = new);
        let (units, weights) = case.units();
        let observed: Vec<usize> = (0..units.len()).filter(|u| weights[*u] > 0.0).collect();
        let moved: Vec<Vec<_>> = observed.iter().map(|u| units[*u].iter().map(|(i, n)| (place[*i], *n)).collect()).collect();
        let without = Case {
            features: kept.iter().flat_map(|i| case.row(*i).to_vec()).collect(),
            columns: case.columns,
            offset: Some(kept.iter().map(|i| b[*i]).collect()),
            sets: case.sets.as_ref().map(|s| s.iter().map(|s| kept.partition_point(|i| i < s)).collect()),
            choices: compressed(&moved, observed.iter().map(|u| weights[*u]).collect()),
        };
        // Whatever its features say: an outlier would otherwise lead means and variances astray.
        for outlier in [1.0, 1e6] {
            let mut case = case.clone();
            for i in (0..case.rows()).filter(|i| place[*i] == usize::MAX) {
                case.features[i * case.columns..(i + 1) * case.columns].iter_mut().for_each(|x| *x *= outlier);
            }
            let m = mixture(2, case.columns, 1.5, &mut random);
            let (here, there) =
                (quantities(&case.data(), &m, 2.0, Context::default()), quantities(&without.data(), &m, 2.0, Context::default()));
            assert_close("ℓ", &[here.value.log_likelihood], &[there.value.log_likelihood], 1e-13);
            assert_close("penalised ℓ", &[here.value.penalized_log_likelihood], &[there.value.penalized_log_likelihood], 1e-11);
            assert_within("gradient", &here.atom_gradient, &there.atom_gradient, 1e-11 * total(&case));
            let info = |case: &Case| information(&case.data(), &m, 2.0, Context::default());
            assert_close("information", &info(&case), &info(&without), 1e-11);
            let v = random.normals(1 + m.atoms.len(), 1.0);
            let product = |case: &Case| hessian_times(&case.data(), &m, &v, Context::default());
            assert_within("H v", &product(&case), &product(&without), 1e-11 * total(&case));
            let (fit, refit) = (fit_from(&case.data(), &m, 5.0), fit_from(&without.data(), &m, 5.0));
            assert_eq!((fit.report.outcome, refit.report.outcome), (Outcome::Converged, Outcome::Converged));
            // A weight on its way to 0 is left where the tolerance of the gradient leaves it.
            assert_close("maximum", &[fit.report.penalized_log_likelihood], &[refit.report.penalized_log_likelihood], 2e-9);
            assert_within("atoms", &fit.mixture.atoms, &refit.mixture.atoms, 1e-5);
            let se = |case: &Case, m: &Mixture| errors(&case.data(), m, 5.0, Variance::Information).1;
            assert_close("standard errors", &se(&case, &fit.mixture), &se(&without, &fit.mixture), 1e-8);
            let pi = probabilities(&case.data(), &m, Context::default()).1;
            assert!((0..case.rows()).all(|i| (b[i] == NOT_AVAILABLE) == (pi[i] == 0.0)));
        }
    }
}

/// Small choice sets, of whatever sizes, stand side by side in the order of their sizes; with a large one among them all stand as they
/// come.
#[test]
fn a_choice_set_that_nobody_chose_in_is_as_good_as_left_out() {
    for layout in [Layout::Panel, Layout::CountsOverSets] {
        for seed in 0..8 {
            let mut random = Random::new(77 + seed);
            let columns = 1 + random.below(7);
            let mut case = random_case(Recipe { layout, rows: 600, columns, units: 70, offsets: seed % 3 == 1, seed });
            if seed % 2 == 1 {
                // One of fifty or so.
                case.sets.iter_mut().for_each(|s| s.retain(|s| !(101..150).contains(s)));
            }
            let mut with = case.clone();
            with.features.extend(random.normals(300 * columns, 1.0));
            with.offset.iter_mut().for_each(|b| b.extend([0.0; 300]));
            with.sets.iter_mut().for_each(|s| s.push(900));
            if let OwnedChoices::Counts(n) = &mut with.choices {
                n.extend([0.0; 300]);
            }
            assert!(case.data().shape().grouped_rows.is_some() && with.data().shape().grouped_rows.is_none());
            let (m, ctx) = (mixture(3, columns, 1.5, &mut random), Context::default());
            let (here, there) = (quantities(&case.data(), &m, 0.0, ctx), quantities(&with.data(), &m, 0.0, ctx));
            let units = here.unit.len();
            assert_close("ℓ", &[here.value.log_likelihood], &[there.value.log_likelihood], 1e-13);
            // Minus infinity of counts of nothing where an alternative is not available.
            let finite = |x: &[f64]| x.iter().map(|x| x.max(-1e300)).collect::<Vec<_>>();
            assert_within("ℓ of units", &finite(&here.unit), &finite(&there.unit[..units]), 1e-11);
            assert_within("responsibilities", &here.responsibilities, &there.responsibilities[..units * 3], 1e-12);
            assert_within("gradient", &here.atom_gradient, &there.atom_gradient, 1e-12 * total(&case));
            assert_within("gradient", &here.weight_gradient, &there.weight_gradient, 1e-12 * total(&case));
            assert_close("information", &information(&case.data(), &m, 0.0, ctx), &information(&with.data(), &m, 0.0, ctx), 1e-11);
            assert_close("scores", &scores(&case.data(), &m, false), &scores(&with.data(), &m, false), 1e-11);
            let v = random.normals(2 + m.atoms.len(), 1.0);
            let product = |case: &Case| hessian_times(&case.data(), &m, &v, ctx);
            assert_within("H v", &product(&case), &product(&with), 1e-11 * total(&case));
            let pi = |case: &Case| probabilities(&case.data(), &m, ctx).0;
            assert_within("probabilities", &pi(&case), &pi(&with)[..1800], 1e-13);
        }
    }
}

#[test]
fn extreme_logits_leave_finite_numbers() {
    for (case, mut random) in cases(0..4) {
        let data = case.data();
        for size in [1e3, 1e30, 1e150, 1e300] {
            let mut m = mixture(3, case.columns, 1.0, &mut random);
            // Beyond 1e300 logits may overflow: the features are at most about 5.
            m.atoms.iter_mut().for_each(|a| *a *= 0.05 * size);
            let q = quantities(&data, &m, 0.0, Context::default());
            assert!(q.value.log_likelihood.is_finite() && q.value.log_likelihood <= 0.0, "{size}: {:?}", q.value);
            assert!([&q.weight_gradient[..], &q.atom_gradient].concat().iter().all(|x| x.is_finite()), "gradient at {size}");
            for (r, (u, w)) in q.responsibilities.chunks_exact(3).zip(q.unit.iter().zip(case.units().1)) {
                // A unit of weight 0 may have chosen what is not available: it has no class.
                assert!(w == 0.0 && *u == NOT_AVAILABLE || (r.iter().sum::<f64>() - 1.0).abs() < 1e-12, "{r:?}");
            }
            assert!(information(&data, &m, 0.0, Context::default()).iter().all(|x| x.is_finite()), "information at {size}");
            let n = 2 + m.atoms.len();
            assert!(hessian_times(&data, &m, &vec![1.0; n], Context::default()).iter().all(|x| x.is_finite()));
            let (by_class, _) = probabilities(&data, &m, Context::default());
            assert!(by_class.iter().all(|a| (0.0..=1.0 + 1e-12).contains(a)));
            for form in FORMS {
                let mut m = m.clone();
                let before = em(&data, &mut m, 0.0, form, Context::default()).log_likelihood;
                let after = quantities(&data, &m, 0.0, Context::default()).value.log_likelihood;
                assert!(after >= before - 1e-12 * before.abs(), "{form:?} at {size}");
            }
        }
    }
}

/// Blocks of rows whose logits lie far apart, in any order: what serves for some of the blocks of a task must not be kept for those that it
/// does not serve.
#[test]
fn logits_at_levels_far_apart_give_the_same_in_any_order() {
    // Six blocks of each of at most sixteen tasks.
    let (block, blocks, columns) = (256, 96, 3);
    let mut random = Random::new(7);
    let features = random.normals(blocks * block * columns, 1.0);
    let m = mixture(3, columns, 2.0, &mut random);
    // The first has no alternative that is available, the second is out of reach of all others, as far as f64 goes.
    let levels = [NOT_AVAILABLE, -3000.0, 0.0, 250.0, 500.0, 490.0];
    let counts: Vec<f64> = (0..blocks * block).map(|i| if i % (6 * block) < block { 0.0 } else { random.below(4) as f64 }).collect();
    // Block b is at level `b mod 6`.
    let of = |order: &dyn Fn(usize) -> usize| {
        let rows = || (0..blocks).map(order).flat_map(|b| b * block..(b + 1) * block);
        let features: Vec<f64> = rows().flat_map(|i| features[i * columns..(i + 1) * columns].to_vec()).collect();
        let offset: Vec<f64> = rows().map(|i| levels[i / block % 6]).collect();
        let counts: Vec<f64> = rows().map(|i| counts[i]).collect();
        let features = Features::row_major(&features[..], blocks * block, columns).unwrap();
        let data = Data::new(features, Some(&offset), None, Choices::Counts(&counts)).unwrap();
        let information = information(&data, &m, 0.0, Context::default());
        (quantities(&data, &m, 0.0, Context::default()), information, data.total_choices())
    };
    // Level after level, the highest first.
    let (expected, of_expected, total) = of(&|b| b % 16 * 6 + [4, 5, 3, 2, 1, 0][b / 16]);
    assert!(expected.value.log_likelihood.is_finite());
    for order in [[0, 1, 2, 3, 4, 5], [1, 0, 2, 5, 3, 4], [2, 4, 1, 3, 0, 5], [3, 2, 1, 0, 5, 4]] {
        let (q, information, _) = of(&|b| b / 6 * 6 + order[b % 6]);
        assert_within("log-likelihood", &[q.value.log_likelihood], &[expected.value.log_likelihood], 1e-12 * total * 3000.0);
        assert_within("weight gradient", &q.weight_gradient, &expected.weight_gradient, 1e-11 * total);
        assert_within("atom gradient", &q.atom_gradient, &expected.atom_gradient, 1e-11 * total);
        assert_within("information", &information, &of_expected, 1e-11 * total);
    }
}

#[test]
fn single_precision_logits_of_1e37_are_fine() {
    let features: Vec<f32> = vec![1e37, -1e37, 3e36, 0.5, -2.0, 1e37];
    let counts = [4.0, 3.0, 2.0];
    for sets in [None, Some(&[0, 2, 3][..])] {
        let features = Features::row_major(&features[..], 3, 2).unwrap();
        let data = Data::new(features, None, sets, Choices::Counts(&counts)).unwrap();
        let m = Mixture { weights: vec![0.5, 0.5], atoms: vec![1.0, 0.5, -1.0, 1.0] };
        let q = quantities(&data, &m, 0.0, Context::default());
        assert!(q.numbers().iter().all(|x| x.is_finite()), "{q:?}");
    }
}

/// Every entry of sparse counts is a unit: there may be more classes than alternatives.
#[test]
fn more_classes_than_alternatives_are_fitted() {
    let features = [0.0, 1.0, 3.0];
    let (indices, counts) = ([2, 0, 1, 0, 2, 1, 1, 0, 2, 2, 0], [1.0, 2.0, 3.0, 1.0, 4.0, 1.0, 1.0, 2.0, 5.0, 1.0, 1.0]);
    let choices = Choices::SparseCounts { indices: &indices, counts: &counts };
    let data = Data::new(Features::row_major(&features[..], 3, 1).unwrap(), None, None, choices).unwrap();
    let expected: f64 = [6.0f64, 5.0, 11.0].iter().map(|n| n * (n / 22.0).ln()).sum();
    for classes in [2, 10, 11] {
        let fit = Fit::new(&data, &FitOptions::new(classes)).unwrap();
        assert!(fit.mixture.atoms.iter().chain(&fit.mixture.weights).all(|x| x.is_finite()));
        // Two classes can give any probabilities to three alternatives, or come as near as they like.
        assert!((fit.report.log_likelihood - expected).abs() < 1e-3, "{classes}: {:?} {expected}", fit.report);
    }
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let (rows, entries, columns) = (2 + random.below(4), 3 + random.below(9), 1 + random.below(3));
        let indices: Vec<usize> = (0..entries).map(|_| random.below(rows)).collect();
        let (features, counts) = (random.normals(rows * columns, 1.0), vec![1.5; entries]);
        let features = Features::row_major(&features[..], rows, columns).unwrap();
        let data = Data::new(features, None, None, Choices::SparseCounts { indices: &indices, counts: &counts }).unwrap();
        let starts = [Starts::Auto, Starts::Count(3)][seed as usize % 2];
        let (classes, ridge) = (1 + random.below(entries), [0.0, 0.5][seed as usize / 2 % 2]);
        let fit = Fit::new(&data, &FitOptions { ridge, seed, starts, ..FitOptions::new(classes) });
        match fit {
            Ok(fit) => assert!(fit.mixture.atoms.iter().chain(&fit.mixture.weights).all(|x| x.is_finite())),
            Err(e) => panic!("{seed}: {e:?}"),
        }
    }
}

#[test]
fn classes_of_no_weight_leave_finite_numbers_and_the_rest_alone() {
    for (case, mut random) in cases(0..4) {
        let data = case.data();
        let l = case.columns;
        let rest = mixture(2, l, 1.5, &mut random);
        let empty = random.normals(l, 50.0);
        let m = Mixture { weights: [&[0.0], &rest.weights[..]].concat(), atoms: [&empty, &rest.atoms[..]].concat() };
        let (a, b) = (quantities(&data, &m, 0.0, Context::default()), quantities(&data, &rest, 0.0, Context::default()));
        assert_close("ℓ", &[a.value.log_likelihood], &[b.value.log_likelihood], 1e-14);
        assert!(a.atom_gradient[..l].iter().all(|g| *g == 0.0) && a.weight_gradient[0] == 0.0);
        assert_within("gradient", &a.atom_gradient[l..], &b.atom_gradient, 1e-12 * total(&case));
        assert!(information(&data, &m, 0.0, Context::default()).iter().all(|x| x.is_finite()));
        for (form, ridge) in FORMS.into_iter().flat_map(|form| [(form, 0.0), (form, 3.0)]) {
            let mut next = m.clone();
            em(&data, &mut next, ridge, form, Context::default());
            assert!(next.weights[0] == 0.0 && next.atoms.iter().all(|a| a.is_finite()));
            assert!(ridge > 0.0 || next.atoms[..l] == empty, "the atom of an empty class stays");
        }
        // With a ridge: without one the classes that are left may have no maximum.
        let fit = fit_from(&data, &m, 2.0);
        assert!(fit.mixture.weights.iter().chain(&fit.mixture.atoms).all(|x| x.is_finite()));
        assert!(fit.report.log_likelihood.is_finite());
        let rest = fit_from(&data, &rest, 20.0).mixture;
        let m = Mixture { weights: [&[0.0], &rest.weights[..]].concat(), atoms: [&empty, &rest.atoms[..]].concat() };
        let (weights, atoms) = errors(&data, &m, 20.0, Variance::Information);
        assert!(weights[0].is_nan() && atoms[..l].iter().all(|x| x.is_nan()), "what is empty has no standard error");
        let (expected, rest) = errors(&data, &rest, 20.0, Variance::Information);
        assert!(expected.iter().chain(&rest).all(|x| x.is_finite()), "at a maximum: {expected:?} {rest:?}");
        assert_close("weights", &weights[1..], &expected, 1e-9);
        assert_close("atoms", &atoms[l..], &rest, 1e-9);
    }
}

#[cfg(feature = "rayon")]
#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for layout in LAYOUTS {
        // More blocks than tasks.
        let case = random_case(Recipe { layout, rows: 5000, columns: 3, units: 400, offsets: true, seed: 5 });
        let data = case.data();
        let m = mixture(3, 3, 1.5, &mut Random::new(6));
        let all = |threads: usize| {
            let ctx = Context { threads, ..Context::default() };
            let mut next = m.clone();
            em(&data, &mut next, 1.0, FORMS[1], ctx);
            let v = vec![1.0; 11];
            let fit = Fit::new(&data, &FitOptions { starts: Starts::Count(4), ridge: 5.0, context: ctx, ..FitOptions::new(2) }).unwrap();
            let parts = [
                quantities(&data, &m, 1.0, ctx).numbers(),
                information(&data, &m, 1.0, ctx),
                hessian_times(&data, &m, &v, ctx),
                probabilities(&data, &m, ctx).0,
                [next.weights, next.atoms, fit.mixture.weights, fit.mixture.atoms].concat(),
            ];
            bits(&parts.concat())
        };
        let one = all(1);
        for threads in [2, 7] {
            assert!(all(threads) == one, "{layout:?} on {threads} threads");
        }
    }
}

#[test]
fn a_seed_determines_a_fit() {
    for (case, _) in cases(0..2) {
        let data = case.data();
        let run = |seed: u64| {
            let options = FitOptions { seed, ridge: 2.0, starts: Starts::Count(8), ..FitOptions::new(2) };
            let fit = Fit::new(&data, &options).unwrap();
            (fit.mixture, fit.starts.iter().map(|s| s.1.to_bits()).collect::<Vec<_>>(), fit.report.evaluations)
        };
        assert!(run(3) == run(3));
        assert_ne!(run(3).1, run(4).1, "other seeds draw other starts");
    }
}

#[test]
fn collinear_and_constant_features_are_named_and_change_nothing() {
    for (case, mut random) in cases(0..4) {
        if case.columns < 2 {
            continue;
        }
        let (p, l) = (case.rows(), case.columns);
        // Beside what there is: a combination of the first two, a constant, and a number for every choice set.
        let extra = |i: usize| [2.0 * case.row(i)[0] - 0.5 * case.row(i)[1], 7.0, 1.5 * case.set_of(i) as f64];
        let wide = Case {
            features: (0..p).flat_map(|i| case.row(i).iter().copied().chain(extra(i)).collect::<Vec<_>>()).collect(),
            columns: l + 3,
            ..case.clone()
        };
        let m = mixture(2, l, 1.0, &mut random);
        let start = Mixture { weights: m.weights.clone(), atoms: m.atoms.chunks_exact(l).flat_map(|a| [a, &[0.0; 3]].concat()).collect() };
        let (narrow, fit) = (fit_from(&case.data(), &m, 3.0), fit_from(&wide.data(), &start, 3.0));
        let named: Vec<bool> = (0..l + 3).map(|j| j < 2 || j >= l).collect();
        assert_eq!((fit.unidentified, fit.report.rank), (named.clone(), l));
        assert!(narrow.unidentified.iter().all(|u| !u));
        assert_eq!(fit.report.outcome, Outcome::Converged);
        assert_close("maximum", &[fit.report.penalized_log_likelihood], &[narrow.report.penalized_log_likelihood], 1e-10);
        let pi = |case: &Case, fit: &Mixture| probabilities(&case.data(), fit, Context::default()).1;
        assert_within("π", &pi(&wide, &fit.mixture), &pi(&case, &narrow.mixture), 1e-6);
        // Of all atoms with these logits the one of least Σ (sd_j θ_j)²: orthogonal in those terms to what changes no logit.
        whitened(&wide.data(), |wh| {
            let sd: Vec<f64> = (0..l + 3).map(|j| wh.covariance[j * (l + 3) + j].sqrt()).collect();
            for (k, atom) in fit.mixture.atoms.chunks_exact(l + 3).enumerate() {
                assert!(atom[l + 1] == 0.0 && atom[l + 2] == 0.0, "{atom:?}");
                let null = [2.0, -0.5, -1.0];
                let along: f64 = [0, 1, l].iter().zip(null).map(|(j, n)| sd[*j] * sd[*j] * atom[*j] * n).sum();
                assert!(along.abs() < 1e-6 * (1.0 + atom.iter().map(|a| a * a).sum::<f64>()), "{along} in class {k}");
            }
        });
        // Standard errors: none along what is named, and elsewhere those without the extra features.
        let (weights, atoms) = errors(&wide.data(), &fit.mixture, 3.0, Variance::Information);
        let (expected, rest) = errors(&case.data(), &narrow.mixture, 3.0, Variance::Information);
        assert_close("weights", &weights, &expected, 1e-5);
        for k in 0..2 {
            for j in 0..l + 3 {
                assert_eq!(atoms[k * (l + 3) + j].is_nan(), named[j]);
            }
            assert_within("atoms", &atoms[k * (l + 3) + 2..k * (l + 3) + l], &rest[k * l + 2..(k + 1) * l], 1e-5);
        }
    }
}

#[test]
fn features_that_vary_nowhere_leave_the_choice_to_chance() {
    let counts = [3.0, 0.0, 2.0, 1.0];
    let features = [2.0; 8];
    let data = Data::new(Features::row_major(&features[..], 4, 2).unwrap(), None, None, Choices::Counts(&counts)).unwrap();
    for classes in [1, 2] {
        let fit = Fit::new(&data, &FitOptions::new(classes)).unwrap();
        assert_eq!((fit.report.rank, &fit.unidentified[..]), (0, &[true, true][..]));
        assert_close("ℓ", &[fit.report.log_likelihood], &[6.0 * 0.25f64.ln()], 1e-14);
        assert!(fit.mixture.atoms.iter().all(|a| *a == 0.0));
    }
}

/// Separable: the alternatives that were chosen lie at the end of every direction.
fn separable() -> Vec<(&'static str, Case, usize)> {
    let counts = |n: &[f64], features: &[f64], columns: usize| Case {
        features: features.to_vec(),
        columns,
        offset: None,
        sets: None,
        choices: OwnedChoices::Counts(n.to_vec()),
    };
    let panel = Case {
        features: vec![1.0, 0.0, 2.0, -1.0, 0.5, 3.0],
        columns: 1,
        offset: None,
        sets: Some(vec![0, 2, 4, 6]),
        choices: compressed(&[vec![(0, 1.0), (2, 2.0)], vec![(5, 1.0)]], vec![1.0, 1.0]),
    };
    vec![
        ("one alternative of three", counts(&[5.0, 0.0, 0.0], &[2.0, 1.0, -1.0], 1), 1),
        ("both ends of a line", counts(&[5.0, 0.0, 4.0], &[2.0, 1.0, -1.0], 1), 2),
        ("three corners", counts(&[5.0, 4.0, 3.0, 0.0], &[1.0, 0.0, 0.0, 1.0, -1.0, -1.0, 0.0, 0.0], 2), 3),
        ("the better of two, always", panel, 1),
    ]
}

#[test]
fn a_class_that_runs_off_is_never_called_converged_and_a_ridge_holds_it() {
    for (name, case, classes) in separable() {
        let data = case.data();
        let fit = Fit::new(&data, &FitOptions::new(classes)).unwrap();
        assert_eq!(fit.report.outcome, Outcome::Diverging, "{name}: {:?}", fit.mixture);
        assert!(fit.diverging.iter().any(|d| *d), "{name}");
        assert!(fit.mixture.atoms.iter().all(|a| a.is_finite()));
        let held = Fit::new(&data, &FitOptions { ridge: 0.5, ..FitOptions::new(classes) }).unwrap();
        assert_eq!(held.report.outcome, Outcome::Converged, "{name}: {:?}", held.mixture);
        assert!(held.diverging.iter().all(|d| !d), "{name}");
        assert!(held.mixture.atoms.iter().all(|a| a.abs() < 100.0), "{name}: {:?}", held.mixture);
    }
}

/// Marks are in the order of the classes, whichever of them runs off, and their check is counted. A class of atom 0, which can be doubled
/// at no loss, does not run off.
#[test]
fn it_is_the_class_that_runs_off_that_is_marked() {
    for (alone, slope, marks) in [(1000.0, 1.0, [false, true]), (9000.0, 1.0, [true, false]), (1000.0, 0.0, [false, true])] {
        // A class among many alternatives, and one that holds to the last.
        let mut random = Random::new(3);
        let mut x = random.normals(60 * 2, 1.0);
        x[118..].copy_from_slice(&[9.0, 9.0]);
        let likely: Vec<f64> = x.chunks(2).map(|x| (-slope * (0.4 * x[0] + 0.3 * x[1])).exp()).collect();
        let total: f64 = likely.iter().sum();
        let counts = (0..60).map(|i| (4000.0 * likely[i] / total).round() + if i == 59 { alone } else { 0.0 }).collect();
        let case = Case { features: x, columns: 2, offset: None, sets: None, choices: OwnedChoices::Counts(counts) };
        let mut last = 0;
        let fit = Fit::with_progress(&case.data(), &FitOptions::new(2), &mut |p| {
            last = p.evaluations;
            true
        })
        .unwrap();
        assert_eq!((fit.report.outcome, &fit.diverging[..]), (Outcome::Diverging, &marks[..]), "{:?}", fit.mixture);
        assert!(fit.report.evaluations > last, "{:?} {last}", fit.report);
    }
}

/// Choices among p alternatives by l − 1 features and the indicator of one that nobody chose: its coefficient has no finite maximum,
/// however small its variance is beside that of the others.
#[test]
fn a_feature_of_what_nobody_chose_runs_off_and_a_ridge_holds_it() {
    for (p, l, k) in [(50, 2, 2), (200, 40, 1), (400, 200, 2), (3000, 2, 1)] {
        let mut random = common::random::Random::new(p as u64);
        let x: Vec<f64> = (0..p * l).map(|i| if i % l < l - 1 { random.normal() } else { f64::from(u8::from(i / l == 7)) }).collect();
        let chosen = |i: usize| (20.0 * (0.7 * x[i * l].exp() + 0.3 * (-1.5 * x[i * l]).exp())).floor() + 1.0;
        let counts: Vec<f64> = (0..p).map(|i| if i == 7 { 0.0 } else { chosen(i) }).collect();
        let data = Data::new(Features::row_major(&x[..], p, l).unwrap(), None, None, Choices::Counts(&counts)).unwrap();
        let mut options = FitOptions::new(k);
        options.starts = softmix::Starts::Count(3);
        let fit = Fit::new(&data, &options).unwrap();
        assert_eq!(fit.report.outcome, Outcome::Diverging, "{p} x {l}, K = {k}: {:?}", fit.report);
        options.ridge = 1.0;
        let held = Fit::new(&data, &options).unwrap();
        assert_eq!((held.report.outcome, held.diverging), (Outcome::Converged, vec![false; k]), "{p} x {l}, K = {k}: {:?}", held.report);
        // Had it been chosen once there would be a maximum.
        let counts: Vec<f64> = (0..p).map(|i| if i == 7 { 1.0 } else { counts[i] }).collect();
        let data = Data::new(Features::row_major(&x[..], p, l).unwrap(), None, None, Choices::Counts(&counts)).unwrap();
        let once = Fit::new(&data, &FitOptions { ridge: 0.0, classes: 1, ..options }).unwrap();
        assert_eq!(once.report.outcome, Outcome::Converged, "{p} x {l}: {:?}", once.report);
    }
}

/// Neither a class that a ridge penalty leaves nothing of, nor a fit whose budget ends far from any end, runs off.
#[test]
fn what_vanishes_and_what_is_not_finished_does_not_run_off() {
    for seed in 0..6 {
        let mut random = common::random::Random::new(seed);
        let x = random.normals(100 * 5, 1.0);
        let weight: Vec<f64> = x.chunks(5).map(|x| (0.8 * x[0] - 0.5 * x[1]).exp()).collect();
        let counts: Vec<f64> = weight.iter().map(|w| (3.0 * w + 0.3 * random.normal()).round().max(0.0)).collect();
        let data = Data::new(Features::row_major(&x[..], 100, 5).unwrap(), None, None, Choices::Counts(&counts)).unwrap();
        let fit = Fit::new(&data, &FitOptions { ridge: 5.0, ..FitOptions::new(3) }).unwrap();
        assert_eq!((fit.report.outcome, fit.diverging), (Outcome::Converged, vec![false; 3]), "{:?}", fit.report);
        for max_evaluations in [1, 5, 20] {
            let fit = Fit::new(&data, &FitOptions { max_evaluations, ..FitOptions::new(4) }).unwrap();
            assert!(fit.report.outcome != Outcome::Diverging || fit.report.gradient_norm <= 1e-4, "{:?}", fit.report);
        }
    }
}

/// When the budget ends in a race, what stands above the best is not thrown away.
#[test]
fn no_start_stands_above_the_result_whenever_the_budget_ends() {
    for seed in 0..4 {
        let mut random = common::random::Random::new(131 * seed + 5);
        let (sets, per, l, k) = (200, 4, 3, 4);
        let x = random.normals(sets * per * l, 1.0);
        let atoms = random.normals(k * l, 1.2);
        let begins: Vec<usize> = (0..=sets).map(|i| i * per).collect();
        let chosen: Vec<usize> = (0..sets)
            .map(|s| {
                let atom = &atoms[s / 4 % k * l..][..l];
                let utility = |i: usize| x[i * l..(i + 1) * l].iter().zip(atom).map(|(x, a)| x * a).sum::<f64>();
                (begins[s]..begins[s + 1]).max_by(|a, b| utility(*a).total_cmp(&utility(*b))).unwrap()
            })
            .map(|i| if random.normal() > 0.5 { i / per * per } else { i })
            .collect();
        let indptr: Vec<usize> = (0..=sets / 4).map(|u| 4 * u).collect();
        let units = Choices::Units { indptr: &indptr, indices: &chosen, counts: None, weights: None };
        let data = Data::new(Features::row_major(&x[..], sets * per, l).unwrap(), None, Some(&begins), units).unwrap();
        for max_evaluations in [300, 600, 1000, 2000, 3000] {
            let fit = Fit::new(&data, &FitOptions { max_evaluations, ..FitOptions::new(k) }).unwrap();
            let highest = fit.starts.iter().fold(f64::NEG_INFINITY, |m, s| m.max(s.1));
            assert!(highest <= fit.report.log_likelihood + 1e-7 * highest.abs(), "{max_evaluations}: {highest} {:?}", fit.report);
        }
    }
}

/// Offsets that leave the base measure to one alternative make moments wild: no start is, and one whose log-likelihood is no number does
/// not fail the others.
#[test]
fn uneven_offsets_fail_no_fit() {
    for seed in 0..20 {
        let mut random = common::random::Random::new(seed);
        let (p, l) = (30, 3);
        let (x, offset) = (random.normals(p * l, 1.0), random.normals(p, [30.0, 200.0, 500.0, 1000.0][seed as usize % 4]));
        let counts: Vec<f64> = (0..p).map(|i| (i * 7 % 10) as f64).collect();
        let data = Data::new(Features::row_major(&x[..], p, l).unwrap(), Some(&offset), None, Choices::Counts(&counts)).unwrap();
        for (ridge, classes) in [(0.0, 2), (1.0, 3)] {
            let options = FitOptions { ridge, starts: softmix::Starts::Count(24), ..FitOptions::new(classes) };
            let fit = Fit::new(&data, &options).unwrap();
            assert!(fit.starts.iter().all(|(_, f)| *f > -1e30), "{:?}", fit.starts);
            for max_evaluations in [1, 30, 400] {
                let short = Fit::new(&data, &FitOptions { max_evaluations, ..options }).unwrap().report;
                assert!(short.log_likelihood < 0.0 && short.log_likelihood >= short.penalized_log_likelihood, "{short:?}");
            }
        }
    }
}

#[test]
fn features_below_and_beyond_single_precision_are_read_as_they_are() {
    let mut random = common::random::Random::new(3);
    let x = random.normals(30 * 4, 1.0);
    let counts: Vec<f64> = (0..30).map(|i| (i * 7 % 10) as f64).collect();
    let mut values = vec![];
    for scale in [1.0, 1e-44, 1e-50, 1e-100, 1e39, 1e100] {
        let x: Vec<f64> = x.iter().map(|x| scale * x).collect();
        let data = Data::new(Features::row_major(&x[..], 30, 4).unwrap(), None, None, Choices::Counts(&counts)).unwrap();
        let fit = Fit::new(&data, &FitOptions { ridge: 1.0, single_phase: true, ..FitOptions::new(3) }).unwrap();
        assert_eq!(fit.report.outcome, Outcome::Converged);
        values.push(fit.report.penalized_log_likelihood);
    }
    assert_close("f", &values, &[values[0]; 6], 1e-9);
}

#[test]
fn a_finite_maximum_far_out_is_not_divergence() {
    // One choice in a thousand speaks against: the maximum is at a log-odds of ln 999, and twice as far is worse.
    let case = |against: f64| Case {
        features: vec![1.0, 0.0],
        columns: 1,
        offset: None,
        sets: None,
        choices: OwnedChoices::Counts(vec![1000.0 - against, against]),
    };
    for against in [1.0, 1e-2, 1e-4] {
        let case = case(against);
        let fit = Fit::new(&case.data(), &FitOptions::new(1)).unwrap();
        assert_eq!(fit.report.outcome, Outcome::Converged, "{against}");
        assert_close("log-odds", &fit.mixture.atoms, &[((1000.0 - against) / against).ln()], 1e-6);
    }
}

/// The last digits of logits are lost where a feature is far from 0, as years are: a class that runs off along it is named all the same.
#[test]
fn classes_that_run_off_along_a_feature_far_from_0_are_named() {
    let (p, l, units) = (100, 2, 100);
    let mut named = 0;
    for seed in 0..12 {
        let mut random = common::random::Random::new(seed);
        let mut x = random.normals(p * l, 1.0);
        x.chunks_exact_mut(l).for_each(|x| x[0] = if x[0] > 0.0 { 2014.0 } else { 2013.0 });
        let atoms = random.normals(2 * l, 1.0);
        let utility = |x: &[f64], atom: &[f64]| (x[0] - 2013.5) * atom[0] + x[1] * atom[1];
        let mut chosen = vec![];
        for u in 0..units {
            let atom = &atoms[u % 2 * l..][..l];
            for _ in 0..3 {
                // Gumbel's largest.
                let of_row = |x: &[f64], random: &mut common::random::Random| utility(x, atom) - (-random.uniform().ln()).ln();
                let utilities: Vec<f64> = x.chunks_exact(l).map(|x| of_row(x, &mut random)).collect();
                chosen.push((0..p).max_by(|a, b| utilities[*a].total_cmp(&utilities[*b])).unwrap());
            }
        }
        let indptr: Vec<usize> = (0..=units).map(|u| 3 * u).collect();
        let choices = Choices::Units { indptr: &indptr, indices: &chosen, counts: None, weights: None };
        let data = Data::new(Features::row_major(&x[..], p, l).unwrap(), None, None, choices).unwrap();
        let fit = Fit::new(&data, &FitOptions::new(3)).unwrap();
        let farthest = fit.mixture.atoms.iter().step_by(l).fold(0.0, |m: f64, a| m.max(a.abs()));
        assert!(fit.report.outcome != Outcome::Converged || farthest < 500.0, "{seed}: {:?}", fit.mixture);
        named += usize::from(fit.report.outcome == Outcome::Diverging);
    }
    assert!(named > 0);
}

/// Features differ in directions that no choice tells of, since nobody chose from the sets where they do: rounding must not say how far to
/// go there, of a finite maximum and of one that is not.
#[test]
fn what_no_choice_tells_of_stays_where_it_is() {
    let x: Vec<f64> = [
        [1, -1, 2, -2],
        [0, -1, 1, -1],
        [-2, 2, 2, -1],
        [0, -1, 1, -2],
        [-2, -2, -2, 1],
        [-1, 0, -2, 0],
        [2, -2, -1, 2],
        [0, 1, 2, 0],
        [1, 2, 1, 0],
        [0, -1, 1, 1],
        [2, 2, -1, -2],
    ]
    .concat()
    .into_iter()
    .map(f64::from)
    .collect();
    let (sets, counts) = ([0, 2, 5, 6, 7, 8, 9, 10, 11], [1.0, 2.0, 0.0, 0.0, 0.0, 2.0, 1.0, 2.0, 2.0, 1.0, 4.0]);
    let data = Data::new(Features::row_major(&x[..], 11, 4).unwrap(), None, Some(&sets), Choices::Counts(&counts)).unwrap();
    let y: Vec<f64> = [[0, -2, -2, -2], [0, -1, 0, 0], [0, 1, 0, -1], [0, -2, 2, 1], [0, -2, 0, 2], [1, 1, -1, -2], [0, -2, 0, 1]]
        .concat()
        .into_iter()
        .map(f64::from)
        .collect();
    let sets = [0, 1, 3, 6, 7];
    for isa in Isa::available() {
        let fit =
            |data: &Data<'_>| Fit::new(data, &FitOptions { context: Context { isa, ..Context::default() }, ..FitOptions::new(1) }).unwrap();
        let found = fit(&data);
        assert_eq!(found.report.outcome, Outcome::Converged);
        assert_close("log-likelihood", &[found.report.log_likelihood], &[(1.0f64 / 3.0).ln() + 2.0 * (2.0f64 / 3.0).ln()], 1e-14);
        assert!(found.mixture.atoms.iter().all(|a| a.abs() < 100.0), "{:?}", found.mixture.atoms);
        for weight in [1.0, 1e9] {
            let choices = Choices::Units { indptr: &[0, 1], indices: &[1], counts: None, weights: Some(&[weight]) };
            let data = Data::new(Features::row_major(&y[..], 7, 4).unwrap(), None, Some(&sets), choices).unwrap();
            let found = fit(&data);
            assert_eq!(found.report.outcome, Outcome::Diverging);
            assert!(found.report.log_likelihood <= 0.0 && found.report.log_likelihood > -1e-8 * weight, "{:?}", found.report);
            assert!(found.mixture.atoms.iter().all(|a| a.abs() < 1e4), "{:?}", found.mixture.atoms);
        }
    }
}

#[test]
fn a_maximum_as_far_out_as_the_offsets_are_large_is_reached_by_steps_that_grow() {
    for scale in [1e6, 1e10, 1e15, 1e25, 1e30] {
        for seed in 0..6 {
            let mut random = Random::new(seed);
            let x: Vec<f64> = (0..8).map(|_| 2.0 * random.uniform() - 1.0).collect();
            let offset: Vec<f64> = (0..4).map(|i| if i % 2 == 1 { -scale } else { scale } * random.uniform()).collect();
            let counts: Vec<f64> = (0..4).map(|_| 1.0 + random.below(10_000) as f64).collect();
            let data = Data::new(Features::row_major(&x[..], 4, 2).unwrap(), Some(&offset), None, Choices::Counts(&counts)).unwrap();
            let report = Fit::new(&data, &FitOptions::new(1)).unwrap().report;
            assert!(report.outcome == Outcome::Converged && report.evaluations < 5000, "{scale:e}, {seed}: {report:?}");
        }
    }
}

#[test]
fn a_callback_that_says_no_ends_the_fit_with_a_valid_mixture() {
    let case = random_case(Recipe { layout: Layout::Panel, rows: 120, columns: 3, units: 60, offsets: false, seed: 4 });
    let counts = random_case(Recipe { layout: Layout::Counts, rows: 120, columns: 3, units: 500, offsets: false, seed: 5 });
    for case in [case, counts] {
        let data = case.data();
        let options = FitOptions { ridge: 1.0, ..FitOptions::new(2) };
        let mut calls = 0;
        let whole = Fit::with_progress(&data, &options, &mut |_| {
            calls += 1;
            true
        });
        assert_eq!(whole.unwrap().report.outcome, Outcome::Converged);
        for last in [1, 2, 5, calls / 3, calls / 2, calls - 1] {
            let (mut n, mut best) = (0, f64::NEG_INFINITY);
            let fit = Fit::with_progress(&data, &options, &mut |p| {
                assert!(p.best >= best, "the best so far does not fall");
                (n, best) = (n + 1, p.best);
                n < last
            })
            .unwrap();
            assert_eq!(fit.report.outcome, Outcome::Cancelled, "after {last} of {calls} calls");
            assert!(fit.report.penalized_log_likelihood >= best - 1e-12 * best.abs(), "and is the result: {best}, {:?}", fit.report);
            assert_eq!(fit.report.stop, StopRule::Callback);
            assert_eq!(n, last, "no call after the answer was no");
            assert!((fit.mixture.weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            let value = quantities(&data, &fit.mixture, 1.0, Context::default()).value;
            assert_close("ℓ", &[fit.report.log_likelihood], &[value.log_likelihood], 1e-12);
        }
    }
}

#[test]
fn a_budget_of_evaluations_is_kept() {
    let case = random_case(Recipe { layout: Layout::Panel, rows: 120, columns: 3, units: 60, offsets: false, seed: 4 });
    let counts = random_case(Recipe { layout: Layout::Counts, rows: 120, columns: 3, units: 500, offsets: false, seed: 5 });
    for case in [case, counts] {
        let data = case.data();
        for budget in [1, 2, 3, 10, 50, 200] {
            let start = mixture(3, 3, 3.0, &mut Random::new(budget));
            let starts = Starts::Given(start.view());
            let options = FitOptions { starts, max_evaluations: budget, gradient_tolerance: 1e-14, ..FitOptions::new(3) };
            let fit = Fit::new(&data, &options).unwrap();
            if budget <= 3 {
                assert_eq!((fit.report.outcome, fit.report.stop), (Outcome::IterationLimit, StopRule::Evaluations), "{budget}");
            }
            // Beside them the check of divergence at the end, at most five evaluations a class and one.
            assert!(fit.report.evaluations <= budget + 16, "{} of {budget}", fit.report.evaluations);
            let value = quantities(&data, &fit.mixture, 0.0, Context::default()).value;
            assert_close("ℓ", &[fit.report.log_likelihood], &[value.log_likelihood], 1e-12);
        }
        // Many starts: a step of the race is one evaluation of each, and is not broken off.
        let options = FitOptions { max_evaluations: 300, ..FitOptions::new(3) };
        let fit = Fit::new(&data, &options).unwrap();
        assert!(fit.report.evaluations <= 300 + 2 * 64 + 16, "{}", fit.report.evaluations);
    }
}

/// A fit that a callback ends at its call number `last`, and what the callback was told: evaluations, and where the fit was.
fn told(data: &Data<'_>, options: &FitOptions<'_>, last: usize) -> (Fit, Vec<(u64, f64)>) {
    let mut calls = vec![];
    let mut progress = |p: &Progress| {
        calls.push((p.evaluations, p.current));
        calls.len() < last
    };
    let fit = Fit::with_progress(data, options, &mut progress).unwrap();
    (fit, calls)
}

/// Whether a fit with a ridge says what the mixture is that it returns.
fn agrees(data: &Data<'_>, fit: &Fit, ridge: f64) {
    let value = quantities(data, &fit.mixture, ridge, Context::default()).value;
    let found = [fit.report.log_likelihood, fit.report.penalized_log_likelihood];
    assert_close("ℓ", &found, &[value.log_likelihood, value.penalized_log_likelihood], 1e-9);
}

/// Whether a given start keeps its budget and ends at any of these `calls`, of which `before` there were others. With a ridge no check of
/// divergence follows, and beside the budget there is at most an evaluation that goes back to where the start stood.
fn ends_where_it_is_told_to(data: &Data<'_>, options: &FitOptions<'_>, before: usize, calls: &[(u64, f64)]) {
    for max_evaluations in (1..60).chain(calls.iter().map(|call| call.0)) {
        let short = Fit::new(data, &FitOptions { max_evaluations, ..*options }).unwrap();
        assert!(short.report.evaluations <= max_evaluations + 1, "{max_evaluations}: {:?}", short.report);
        agrees(data, &short, options.ridge);
    }
    for (j, (evaluations, _)) in calls.iter().enumerate() {
        let (cancelled, calls) = told(data, options, before + j + 1);
        assert_eq!((cancelled.report.outcome, calls.len()), (Outcome::Cancelled, before + j + 1));
        assert!(cancelled.report.evaluations <= evaluations + 1, "{evaluations}: {:?}", cancelled.report);
        agrees(data, &cancelled, options.ridge);
    }
}

/// On counts, and on a panel, where EM leads.
#[test]
fn a_given_start_ends_at_any_step_and_says_where_it_is() {
    for (layout, seed) in [(Layout::Panel, 4), (Layout::Counts, 5)] {
        let case = random_case(Recipe { layout, rows: 120, columns: 3, units: 60, offsets: false, seed });
        let (data, ctx, ridge) = (case.data(), Context::default(), 1.0);
        let start = mixture(3, 3, 1.0, &mut Random::new(8));
        let options = FitOptions { starts: Starts::Given(start.view()), ridge, ..FitOptions::new(3) };
        let (whole, calls) = told(&data, &options, usize::MAX);
        agrees(&data, &whole, ridge);
        ends_where_it_is_told_to(&data, &options, 0, &calls);
        if layout == Layout::Panel {
            let mut m = start.clone();
            let values: Vec<f64> = (0..6).map(|_| em(&data, &mut m, ridge, FORMS[1], ctx).penalized_log_likelihood).collect();
            assert_close("on the way", &calls[..6].iter().map(|call| call.1).collect::<Vec<_>>(), &values, 1e-10);
        }
        // The gradient is the largest entry in all log-odds and whitened atoms: on the way, and where at the atoms of the maximum one
        // weight is far off, so that it is that of the log-odds which are not among the parameters.
        let far = MixtureRef { weights: &[0.9, 0.05, 0.05], atoms: &whole.mixture.atoms };
        for (starts, max_evaluations) in [(options.starts, 1), (options.starts, 10), (Starts::Given(far), 1)] {
            let fit = Fit::new(&data, &FitOptions { starts, max_evaluations, ..options }).unwrap();
            let q = quantities(&data, &fit.mixture, ridge, ctx);
            let slopes = whitened(&data, |wh| {
                let rows = wh.to_atoms.chunks(3);
                let of_atom = |g: &[f64]| rows.clone().map(|row| row.iter().zip(g).map(|(t, g)| t * g).sum()).collect::<Vec<f64>>();
                q.atom_gradient.chunks(3).flat_map(of_atom).chain(q.weight_gradient).collect::<Vec<_>>()
            });
            let largest = slopes.iter().fold(0.0, |m: f64, g| m.max(g.abs()));
            assert_close("gradient", &[fit.report.gradient_norm], &[largest / data.total_choices()], 1e-9);
        }
    }
}

/// Where Newton's method comes to no end in its thousand steps, as with offsets beside which gains are below rounding, ten steps of EM are
/// the fallback.
#[test]
fn em_as_the_fallback_keeps_the_budget_and_ends_where_it_is_told_to() {
    let mut fallbacks = 0;
    // Plain Rust takes the same steps on every machine.
    for (seed, scale, isa) in (0..24).map(|i| (i / 4, [1e10, 1e12][i as usize % 2], [Isa::Scalar, Isa::detect()][i as usize / 2 % 2])) {
        let mut random = Random::new(seed);
        let x: Vec<f64> = (0..8).map(|_| 2.0 * random.uniform() - 1.0).collect();
        let offset: Vec<f64> = (0..4).map(|i| if i % 2 == 1 { -scale } else { scale } * random.uniform()).collect();
        let counts: Vec<f64> = (0..4).map(|_| 1.0 + random.below(10_000) as f64).collect();
        let data = Data::new(Features::row_major(&x[..], 4, 2).unwrap(), Some(&offset), None, Choices::Counts(&counts)).unwrap();
        let start = mixture(1, 2, 1.0, &mut Random::new(8));
        let context = Context { isa, ..Context::default() };
        let options = FitOptions { starts: Starts::Given(start.view()), ridge: 1e-6, context, ..FitOptions::new(1) };
        let (whole, calls) = told(&data, &options, usize::MAX);
        agrees(&data, &whole, options.ridge);
        let first = 1001;
        if calls.len() < first + 10 {
            continue;
        }
        fallbacks += 1;
        let steps = &calls[first..first + 10];
        assert!(steps.windows(2).all(|w| w[1].0 == w[0].0 + 1), "{steps:?}");
        assert_close("where the first of them begins", &[steps[0].1], &[calls[first - 1].1], 1e-12);
        ends_where_it_is_told_to(&data, &options, first, steps);
    }
    assert!(fallbacks > 0);
}

/// What the callback is told of a race: how many are in it, what all of them cost, and where the best of them is; and of a start being
/// finished, that none is above the best.
#[test]
fn a_callback_is_told_of_the_race() {
    let counts = random_case(Recipe { layout: Layout::Counts, rows: 120, columns: 3, units: 500, offsets: false, seed: 5 });
    let panel = random_case(Recipe { layout: Layout::Panel, rows: 120, columns: 3, units: 60, offsets: false, seed: 4 });
    for case in [counts, panel] {
        let data = case.data();
        // All in one product: 64 columns.
        let options = FitOptions { ridge: 1.0, starts: Starts::Count(24), ..FitOptions::new(2) };
        let mut calls: Vec<Progress> = vec![];
        let fit = Fit::with_progress(&data, &options, &mut |p| {
            calls.push(*p);
            true
        })
        .unwrap();
        let drawn = |kind| fit.starts.iter().filter(|s| s.0 == kind).count() as u64;
        let (race, finish): (Vec<Progress>, Vec<_>) = calls.iter().partition(|p| p.racing);
        let mut running: Vec<usize> = race.iter().map(|p| p.running).collect();
        running.dedup();
        assert!(running.len() == 2 && running[0] == 24 && running[1] < 24 && finish.iter().all(|p| p.running == 0), "{running:?}");
        assert!(finish.iter().all(|p| p.best >= p.current), "{finish:?}");
        // A race ends when the budget is spent, but for a step of those that are in it, and for the moments.
        let short = |max_evaluations| Fit::new(&data, &FitOptions { max_evaluations, ..options }).unwrap().report;
        for max_evaluations in [1, 30, 60, 100, 150, 200, 250] {
            let report = short(max_evaluations);
            assert!(report.evaluations <= max_evaluations + 24 + report.starts as u64, "{max_evaluations}: {report:?}");
        }
        // Before the first step: an evaluation for every start of a partition or of clusters, and those of the moments, which read the
        // features for more.
        let (before, one) = (race[0].evaluations - 24, short(1));
        if data.set_count() == 1 {
            assert_eq!((drawn(StartKind::CorrectedMoments), before), (1, one.evaluations - 1 + drawn(StartKind::Cluster)));
            assert!(one.evaluations > 1 && one.passes > 2 * one.evaluations, "{one:?}");
        } else {
            assert_eq!(before, 24);
        }
        // After it one start is finished, with one evaluation; the others are where they were.
        let first = Fit::with_progress(&data, &options, &mut |_| false).unwrap();
        let others = first.starts.iter().enumerate().filter(|(j, _)| *j != first.report.best_start);
        assert!(others.clone().count() == 23 && others.clone().all(|(_, s)| s.1 <= race[0].current), "{:?}", first.starts);
    }
}

/// Starts are told apart by the order in which they were drawn, however they come out of the race.
#[test]
fn a_start_keeps_its_number() {
    for seed in [8, 14, 23, 40, 55] {
        let case = random_case(Recipe { layout: Layout::Panel, rows: 120, columns: 3, units: 60, offsets: false, seed });
        let options = FitOptions { ridge: 0.5, starts: Starts::Count(24), ..FitOptions::new(4) };
        let fit = Fit::new(&case.data(), &options).unwrap();
        assert!(fit.starts.iter().enumerate().all(|(j, (kind, _))| (*kind == StartKind::Partition) == (j % 2 == 0)), "{:?}", fit.starts);
        // It alone comes to the best, and without those after it still does.
        let n = fit.report.best_start + 1;
        let few = Fit::new(&case.data(), &FitOptions { starts: Starts::Count(n), ..options }).unwrap();
        assert!(n > 10 && fit.report.at_best == 1 && few.report.best_start + 1 == n, "{:?} {:?}", fit.report, few.report);
        assert_close("f", &[few.report.penalized_log_likelihood], &[fit.report.penalized_log_likelihood], 1e-12);
    }
}

/// The fits of a scan are those that each grow from the one before, whoever owns their memory.
#[test]
fn a_scan_grows_from_fit_to_fit_and_ends_where_it_is_told_to() {
    for layout in [Layout::Counts, Layout::Panel] {
        let case = random_case(Recipe { layout, rows: 120, columns: 3, units: 60, offsets: false, seed: 4 });
        let (data, ctx) = (case.data(), Context::default());
        let options = FitOptions { ridge: 1.0, starts: Starts::Count(8), ..FitOptions::new(1) };
        let mut fits: Vec<Fit> = vec![];
        for classes in 1..=3 {
            let grow = fits.last().map(|fit| fit.mixture.view());
            fits.push(Fit::new(&data, &FitOptions { classes, grow, ..options }).unwrap());
        }
        let expected: Vec<_> =
            fits.iter().map(|fit| (fit.mixture.clone(), Criteria::new(&data, fit.mixture.view(), 3, ctx).unwrap())).collect();
        // `last`: of how many classes the fit is that the callback ends.
        let both = |options: &FitOptions<'_>, range: RangeInclusive<usize>, last: usize| {
            let owned = Scan::new(&data, options, range.clone(), &mut |k, _| k < last).unwrap();
            let owned: Vec<_> = owned.fits.into_iter().map(|(fit, criteria)| (fit.mixture, criteria)).collect();
            let mut found = vec![];
            let mut keep = |s: &Scanned<'_>| {
                let m = Mixture { weights: s.mixture.weights.to_vec(), atoms: s.mixture.atoms.to_vec() };
                found.push((m, s.criteria));
            };
            let mut memory = WorkspaceBuffer::new(scan_workspace(&data.shape(), options, range.clone())).unwrap();
            scan(&data, options, range, &mut |k, _| k < last, &mut keep, memory.lend()).unwrap();
            assert!(owned == found, "{owned:?}\n{found:?}");
            owned
        };
        assert!(both(&options, 1..=3, 9) == expected);
        assert!(both(&FitOptions { grow: Some(fits[1].mixture.view()), ..options }, 3..=3, 9)[..] == expected[2..]);
        let ended = both(&options, 1..=3, 2);
        assert!(ended.len() == 2 && ended[0] == expected[0]);
        let whole = Scan::new(&data, &options, 1..=2, &mut |_, _| true).unwrap();
        assert_eq!((whole.best_by(|_| 0.0), whole.best_by(|c| -(c.parameters as f64))), (0, 1));
        let mut memory = WorkspaceBuffer::new(scan_workspace(&data.shape(), &options, 1..=2)).unwrap();
        for none in [0..=2, RangeInclusive::new(3, 2)] {
            let owned = Scan::new(&data, &options, none.clone(), &mut |_, _| true).map(|_| ());
            let error = scan(&data, &options, none, &mut |_, _| true, &mut |_| {}, memory.lend());
            assert_eq!((owned, error), (Err(Error::new(ErrorKind::Empty, "classes")), Err(Error::new(ErrorKind::Empty, "classes"))));
        }
    }
}

/// Of features that are collinear a profile has fewer eigenvalues than there are features.
#[test]
fn a_profile_has_as_many_eigenvalues_as_the_features_have_rank() {
    let mut case = random_case(Recipe { layout: Layout::Counts, rows: 200, columns: 3, units: 2000, offsets: false, seed: 4 });
    case.features.chunks_exact_mut(3).for_each(|x| x[2] = x[0] - x[1]);
    let (data, ctx) = (case.data(), Context::default());
    let mut memory = WorkspaceBuffer::new(profile_workspace(&data.shape())).unwrap();
    let mut values = [0.0; 3];
    profile(&data, &mut values, ctx, memory.lend()).unwrap();
    assert!(values[0] >= values[1] && values[1].is_finite() && values[2].is_nan(), "{values:?}");
    assert_eq!(Profile::new(&data, ctx).unwrap().eigenvalues, values[..2]);
    for n in [2, 4] {
        assert_eq!(profile(&data, &mut vec![0.0; n], ctx, memory.lend()).unwrap_err(), Error::shape("eigenvalues", 3, n));
    }
}

#[test]
fn one_class_has_one_start() {
    let case = random_case(Recipe { layout: Layout::Panel, rows: 60, columns: 2, units: 30, offsets: false, seed: 6 });
    for starts in [Starts::Auto, Starts::Count(5)] {
        assert_eq!(Fit::new(&case.data(), &FitOptions { starts, ..FitOptions::new(1) }).unwrap().report.starts, 1);
    }
}

#[test]
fn a_report_tells_the_truth() {
    for (case, _) in cases(0..2) {
        let data = case.data();
        let options = FitOptions { ridge: 2.0, keep_path: true, ..FitOptions::new(2) };
        let fit = Fit::new(&data, &options).unwrap();
        let q = quantities(&data, &fit.mixture, 2.0, Context::default());
        assert_close("ℓ", &[fit.report.log_likelihood], &[q.value.log_likelihood], 1e-12);
        assert_close("penalised ℓ", &[fit.report.penalized_log_likelihood], &[q.value.penalized_log_likelihood], 1e-12);
        assert_eq!(fit.starts.len(), fit.report.starts);
        let best = fit.starts.iter().map(|s| s.1).fold(f64::NEG_INFINITY, f64::max);
        assert!(best <= fit.report.penalized_log_likelihood + 1e-9 * best.abs());
        assert_eq!(fit.starts[fit.report.best_start].1, fit.report.penalized_log_likelihood);
        let near = fit.starts.iter().filter(|s| s.1 >= fit.report.penalized_log_likelihood * (1.0 + 1e-8)).count();
        assert_eq!(fit.report.at_best, near);
        assert_eq!(fit.mixture, fit.mixture.canonical());
        if fit.report.outcome == Outcome::Converged {
            let slope = [&q.weight_gradient[..], &q.atom_gradient].concat().iter().fold(0.0f64, |m, g| m.max(g.abs()));
            // The features are near whitened ones: the norms differ by a small factor. Rounding stops earlier.
            assert!(slope <= 1e-6 * total(&case), "{slope}");
        }
        // The path ascends to the end.
        assert!(fit.path.windows(2).all(|w| w[1] >= w[0] - 1e-11 * w[0].abs()), "{:?}", fit.path);
        assert_close("end of the path", &fit.path[fit.path.len() - 1..], &[fit.report.penalized_log_likelihood], 1e-12);
    }
}

#[test]
fn probabilities_sum_to_one_over_sets_and_classes() {
    for (case, mut random) in cases(0..6) {
        let data = case.data();
        let m = mixture(3, case.columns, 2.0, &mut random);
        let (by_class, mixed) = probabilities(&data, &m, Context::default());
        for set in case.sets().windows(2) {
            for k in 0..3 {
                let sum: f64 = (set[0]..set[1]).map(|i| by_class[3 * i + k]).sum();
                assert!((sum - 1.0).abs() < 1e-12, "{sum}");
            }
            assert!((mixed[set[0]..set[1]].iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
        let q = quantities(&data, &m, 0.0, Context::default());
        let (units, weights) = case.units();
        for (u, r) in q.responsibilities.chunks_exact(3).enumerate().filter(|(u, _)| weights[*u] > 0.0) {
            assert!((r.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            // The posterior by its definition.
            let likelihood = |k: usize| m.weights[k] * units[u].iter().map(|(i, n)| by_class[3 * i + k].powf(*n)).product::<f64>();
            let marginal: f64 = (0..3).map(likelihood).sum();
            if marginal > 1e-200 {
                assert_within("posterior", r, &(0..3).map(|k| likelihood(k) / marginal).collect::<Vec<_>>(), 1e-10);
                assert_within("unit ℓ", &[q.unit[u]], &[marginal.ln()], 1e-10);
            }
        }
        let total: f64 = q.unit.iter().zip(&weights).filter(|(_, w)| **w > 0.0).map(|(l, w)| l * w).sum();
        assert_close("ℓ", &[q.value.log_likelihood], &[total], 1e-12);
    }
}

/// The first alternative may be unlike all others, as one that stands for none of them is: what is taken about a row keeps its digits.
#[test]
fn a_first_alternative_unlike_all_others_costs_no_digits() {
    let (p, l) = (41, 2);
    for far in [1e6, 1e9, 1e12] {
        let mut random = Random::new(7);
        let near: Vec<f64> = (0..(p - 1) * l).map(|_| 4.0 * random.uniform()).collect();
        let first = [&[far, 1.0][..], &near].concat();
        let last = [&near[..], &[far, 1.0]].concat();
        let chosen: Vec<usize> = (0..300).map(|_| random.below(p - 1).min(random.below(p - 1))).collect();
        let indptr: Vec<usize> = (0..=60).map(|u| 5 * u).collect();
        let after: Vec<usize> = chosen.iter().map(|i| i + 1).collect();
        let m = Mixture { weights: vec![0.4, 0.6], atoms: vec![-0.3, 0.2, -0.6, -0.1] };
        let counts = |of: &[usize]| (0..p).map(|i| of.iter().filter(|c| **c == i).count() as f64).collect::<Vec<_>>();
        let (of_first, of_last) = (counts(&after), counts(&chosen));
        for units in [true, false] {
            let [a, b] = [(&first, &after, &of_first), (&last, &chosen, &of_last)].map(|(x, indices, counts)| {
                let units_of = Choices::Units { indptr: &indptr, indices, counts: None, weights: None };
                let choices = if units { units_of } else { Choices::Counts(counts) };
                let data = Data::new(Features::row_major(&x[..], p, l).unwrap(), None, None, choices).unwrap();
                let q = quantities(&data, &m, 0.0, Context::default());
                (q.value.log_likelihood, q.atom_gradient, information(&data, &m, 0.0, Context::default()))
            });
            assert_close("ℓ", &[a.0], &[b.0], 1e-12);
            assert_close("gradient", &a.1, &b.1, 1e-9);
            assert_close("information", &a.2, &b.2, 1e-9);
        }
    }
}
