//! Nothing is allocated, with and without std, and every workspace is as large as it must be and no larger than it says.
//!
//! Each operation runs on exactly the bytes that its query asks for, from first bytes of every kind of alignment, filled with NaNs
//! beforehand; it must give the same bits each time and allocate nothing. On one byte less it must fail, name both sizes, and leave the
//! outputs alone.

mod common;

use common::random::*;
use softmix::data::{Data, Features};
use softmix::em::{MStep, em_step, em_step_workspace};
use softmix::error::{ErrorKind, Result};
use softmix::evaluate::*;
use softmix::fit::{FitOptions, FitOutput, Starts, fit, fit_workspace, max_starts};
use softmix::inference::{Variance, covariance, covariance_workspace, standard_errors, standard_errors_workspace};
use softmix::mixture::MixtureRef;
use softmix::moments::{
    CorrectionOptions, Draws, Frame, IllPosed, TensorOutput, corrected, corrected_workspace, cross, cross_workspace, direction,
    direction_workspace, packed_len, subspace, subspace_workspace, tensor, tensor_workspace, tensors, tensors_workspace, third_projected,
    third_projected_workspace, third_slices, third_slices_workspace, univariate, univariate_workspace,
};
use softmix::parallel::Context;
use softmix::predict::{choice_probabilities, choice_probabilities_workspace};
use softmix::scan::{Scanned, criteria, criteria_workspace, profile, profile_workspace, scan, scan_workspace};
use softmix::starts::StartKind;
use softmix::whiten::{Whitening, within_covariance, within_covariance_workspace};
use softmix::workspace::{Workspace, WorkspaceSize};
use std::alloc::{GlobalAlloc, Layout as AllocLayout, System};
use std::cell::Cell;
use std::mem::MaybeUninit;

/// Counts what the thread at hand allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is passed on to the system's allocator; counting touches a thread-local integer, which needs no allocation and no
// destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: AllocLayout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: AllocLayout) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: AllocLayout, size: usize) -> *mut u8 {
        ALLOCATIONS.with(|n| n.set(n.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: AllocLayout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How often `body` allocates on this thread.
fn allocations(body: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.with(Cell::get);
    body();
    ALLOCATIONS.with(Cell::get) - before
}

#[test]
fn allocations_are_counted() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![1.0; 3]))), 1);
    assert_eq!(allocations(|| _ = std::hint::black_box([1.0; 3])), 0);
}

/// Runs `op` as the head of this file says, with the first byte `starts` past a cache line. `out` holds its outputs, which it may also
/// read.
fn exactly(name: &str, size: WorkspaceSize, out: &[f64], starts: &[usize], mut op: impl FnMut(&mut [f64], Workspace<'_>) -> Result<()>) {
    const LINE: usize = 64;
    let least = size.bytes() - if size.bytes() > 0 { LINE - 1 } else { 0 };
    // 0xFF everywhere reads as NaN.
    let mut memory = vec![MaybeUninit::new(0xFFu8); size.bytes() + 2 * LINE];
    let base = memory.as_ptr().align_offset(LINE);
    let mut first: Option<Vec<f64>> = None;
    let mut got = out.to_vec();
    for start in starts {
        let slack = (LINE - start % LINE) % LINE;
        let range = base + start..base + start + slack + least;
        memory.fill(MaybeUninit::new(0xFF));
        got.copy_from_slice(out);
        let mut result = Ok(());
        let n = allocations(|| result = op(&mut got, Workspace::new(&mut memory[range.clone()])));
        assert_eq!(result, Ok(()), "{name}: {} bytes, {start} past a line", range.len());
        assert_eq!(n, 0, "{name} allocates");
        let first = first.get_or_insert_with(|| got.clone());
        assert!(got.iter().zip(first).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}: the result depends on the workspace");
        if least > 0 {
            got.copy_from_slice(out);
            let short = range.start..range.end - 1;
            let mut result = Ok(());
            let n = allocations(|| result = op(&mut got, Workspace::new(&mut memory[short.clone()])));
            let error = result.expect_err(name);
            assert_eq!((error.kind, error.argument), (ErrorKind::Workspace, "workspace"), "{name}");
            assert_eq!(error.sizes, Some((size.bytes(), short.len())), "{name}");
            assert_eq!(n, 0, "{name} allocates to fail");
            assert!(got.iter().zip(out).all(|(a, b)| a.to_bits() == b.to_bits()), "{name} writes although it fails");
        }
    }
}

/// What to run: everything, or without the inverse that costs D³, or without information and M-steps to convergence either.
#[derive(Clone, Copy, PartialEq)]
enum Cost {
    All,
    NoInverse,
    NoInformation,
}

const ALIGNMENTS: [usize; 5] = [0, 1, 8, 33, 63];

/// Every operation at a random mixture of `k` classes.
fn check(name: &str, data: &Data<'_>, k: usize, cost: Cost, starts: &[usize]) {
    let (shape, ctx) = (data.shape(), Context::default());
    let (l, u, p) = (shape.columns, shape.units, shape.rows);
    let (kl, d) = (k * l, k - 1 + k * l);
    let mut random = Random::new(k as u64);
    let (weights, atoms) = (random.simplex(k), random.normals(kl, 1.0 / (l as f64).sqrt()));
    let mixture = || MixtureRef::new(&weights, &atoms, l).unwrap();
    let label = |op: &str| format!("{op}, {name}, K = {k}");

    exactly(&label("within_covariance"), within_covariance_workspace(&shape), &vec![7.0; l * l], starts, |out, ws| {
        within_covariance(data, ctx.isa, out, ws)
    });
    exactly(&label("whitening"), Whitening::workspace(&shape), &vec![7.0; 3 * l * l], starts, |out, mut ws| {
        let wh = Whitening::new(data, ctx.isa, &mut ws)?;
        let parts = [wh.covariance, wh.to_atoms, wh.from_atoms];
        parts.into_iter().zip(out.chunks_exact_mut(l * l)).for_each(|(part, out)| out[..part.len()].copy_from_slice(part));
        Ok(())
    });
    let mut memory = vec![MaybeUninit::uninit(); Whitening::workspace(&shape).bytes()];
    let wh = Whitening::new(data, ctx.isa, &mut Workspace::new(&mut memory)).unwrap();
    let penalty = Some(Penalty { ridge: 0.5, covariance: wh.covariance });

    exactly(&label("evaluate"), evaluate_workspace(&shape, k), &vec![7.0; u + u * k + k + kl], starts, |out, ws| {
        let (unit, rest) = out.split_at_mut(u);
        let (responsibilities, rest) = rest.split_at_mut(u * k);
        let (weight_gradient, atom_gradient) = rest.split_at_mut(k);
        let out = EvaluateOutput {
            unit_log_likelihoods: Some(unit),
            responsibilities: Some(responsibilities),
            weight_gradient: Some(weight_gradient),
            atom_gradient: Some(atom_gradient),
        };
        evaluate(data, mixture(), penalty, ctx, out, ws).map(|_| ())
    });
    exactly(&label("evaluate for the value"), evaluate_workspace(&shape, k), &[], starts, |_, ws| {
        evaluate(data, mixture(), None, ctx, EvaluateOutput::default(), ws).map(|_| ())
    });
    let v = random.normals(d, 1.0);
    exactly(&label("hessian_vector"), hessian_vector_workspace(&shape, k), &vec![7.0; d], starts, |out, ws| {
        hessian_vector(data, mixture(), &v, ctx, out, ws)
    });
    exactly(&label("choice_probabilities"), choice_probabilities_workspace(&shape, k), &vec![7.0; p * k + p], starts, |out, ws| {
        let (by_class, mixed) = out.split_at_mut(p * k);
        choice_probabilities(data, mixture(), Some(by_class), Some(mixed), ctx, ws)
    });
    exactly(&label("criteria"), criteria_workspace(&shape, k), &[7.0; 3], starts, |out, ws| {
        let found = criteria(data, mixture(), wh.rank, ctx, ws)?;
        out.copy_from_slice(&[found.aic, found.bic, found.icl]);
        Ok(())
    });
    let start = [&weights[..], &atoms].concat();
    let forms = [MStep::Gradient, MStep::Newton, MStep::Converged];
    for form in forms.into_iter().take(if cost == Cost::NoInformation { 2 } else { 3 }) {
        exactly(&label(&format!("em_step {form:?}")), em_step_workspace(&shape, k, form), &start, starts, |out, ws| {
            let (weights, atoms) = out.split_at_mut(k);
            em_step(data, &wh, 0.5, form, weights, atoms, ctx, ws).map(|_| ())
        });
    }
    if cost != Cost::NoInformation {
        exactly(&label("observed_information"), information_workspace(&shape, k), &vec![7.0; d * d], starts, |out, ws| {
            observed_information(data, mixture(), penalty, ctx, out, ws)
        });
        exactly(&label("score_products"), information_workspace(&shape, k), &vec![7.0; d * d], starts, |out, ws| {
            score_products(data, mixture(), true, ctx, out, ws)
        });
    }
    if cost == Cost::All {
        for variance in [Variance::Information, Variance::Robust, Variance::RobustSampling] {
            exactly(&label(&format!("standard_errors {variance:?}")), standard_errors_workspace(&shape, k), &start, starts, |out, ws| {
                let (weights, atoms) = out.split_at_mut(k);
                // A ridge larger than any curvature makes the information positive definite at any point.
                standard_errors(data, &wh, 1e6, mixture(), variance, weights, atoms, ctx, ws)
            });
            let all = vec![7.0; (k + kl) * (k + kl)];
            exactly(&label(&format!("covariance {variance:?}")), covariance_workspace(&shape, k), &all, starts, |out, ws| {
                covariance(data, &wh, 1e6, mixture(), variance, out, ctx, ws)
            });
        }
    }
}

/// The estimators by moments, of counts over one set.
fn check_moments(name: &str, data: &Data<'_>, k: usize, starts: &[usize]) {
    let (shape, ctx) = (data.shape(), Context::default());
    let l = shape.columns;
    let mut memory = vec![MaybeUninit::uninit(); Whitening::workspace(&shape).bytes()];
    let wh = Whitening::new(data, ctx.isa, &mut Workspace::new(&mut memory)).unwrap();
    let label = |op: &str| format!("{op}, {name}, K = {k}");
    let out = vec![7.0; k + k * l];
    if k <= wh.rank + 1 {
        exactly(&label("tensor"), tensor_workspace(&shape, k), &out, starts, |out, ws| {
            let (weights, atoms) = out.split_at_mut(k);
            tensor(data, &wh, IllPosed::Project, weights, atoms, ctx, ws)
        });
    }
    exactly(&label("direction"), direction_workspace(&shape, k), &out, starts, |out, ws| {
        let (weights, atoms) = out.split_at_mut(k);
        direction(data, &wh, None, IllPosed::Project, weights, atoms, ctx, ws).map(|_| ())
    });
    exactly(&label("corrected"), corrected_workspace(&shape, k), &out, starts, |out, ws| {
        let (weights, atoms) = out.split_at_mut(k);
        corrected(data, &wh, &CorrectionOptions::default(), weights, atoms, ctx, ws).map(|_| ())
    });
    let r = wh.rank;
    exactly(&label("profile"), profile_workspace(&shape), &vec![7.0; l], starts, |out, ws| profile(data, out, ctx, ws).map(|_| ()));
    let mut memory = vec![MaybeUninit::uninit(); Frame::workspace(&shape).bytes()];
    let (frame, draws) = (Frame::new(data, &wh, &mut Workspace::new(&mut memory)).unwrap(), Draws::new(data).unwrap());
    // Two directions of norm 1, the first of them twice where there is but one.
    let mut vectors = vec![0.0; 2 * r];
    (vectors[0], vectors[r + (r - 1).min(1)]) = (1.0, 1.0);
    let (order, both) = (4, vec![7.0; 2 * 2 * 5]);
    exactly(&label("univariate"), univariate_workspace(&shape, 2, order), &both, starts, |out, ws| {
        let (moments, errors) = out.split_at_mut(10);
        univariate(&draws, &frame, &vectors, order, moments, Some(errors), ctx, ws)
    });
    exactly(&label("cross"), cross_workspace(&shape, order), &vec![7.0; 2 * 5 * r], starts, |out, ws| {
        let (moments, errors) = out.split_at_mut(5 * r);
        cross(&draws, &frame, &vectors[..r], order, moments, Some(errors), ctx, ws)
    });
    let sizes = [r, r * r, packed_len(r)];
    for errors in [false, true] {
        let out = vec![7.0; 2 * sizes.iter().sum::<usize>()];
        exactly(&label("tensors"), tensors_workspace(&shape, errors.then_some(3)), &out, starts, |mut out, ws| {
            let mut take = |n: usize| {
                let (first, rest) = std::mem::take(&mut out).split_at_mut(n);
                out = rest;
                Some(first)
            };
            let [first, second, third] = sizes.map(&mut take);
            let [first_errors, second_errors, third_errors] = sizes.map(|n| take(n).filter(|_| errors));
            let out = TensorOutput { first, second, third, first_errors, second_errors, third_errors };
            tensors(&draws, &frame, out, ctx, ws)
        });
    }
    exactly(&label("third_projected"), third_projected_workspace(&shape, 2), &vec![7.0; packed_len(2)], starts, |out, ws| {
        third_projected(&draws, &frame, &vectors, Some(&[1.0, 0.5]), out, ctx, ws)
    });
    exactly(&label("third_slices"), third_slices_workspace(&shape), &vec![7.0; 2 * r * r], starts, |out, ws| {
        third_slices(&draws, &frame, &vectors, out, ctx, ws)
    });
    for tilt in [0.0, 0.5] {
        exactly(&label("subspace"), subspace_workspace(&shape), &vec![7.0; l + r + r * l], starts, |out, ws| {
            let (mean, rest) = out.split_at_mut(l);
            let (values, directions) = rest.split_at_mut(r);
            subspace(data, &wh, tilt, mean, values, directions, ctx, ws).map(|_| ())
        });
    }
}

#[test]
fn moments_of_counts() {
    for layout in [Layout::Counts, Layout::SparseCounts] {
        for (rows, columns, classes) in [(40, 1, 2), (60, 3, 3), (300, 9, 5), (60, 3, 6), (300, 40, 4)] {
            let case = random_case(recipe(layout, rows, columns, 400, rows as u64 + 1));
            check_moments(&format!("{layout:?} {rows} × {columns}"), &case.data(), classes, &[1, 8]);
        }
        let mut case = random_case(recipe(layout, 60, 4, 400, 1));
        for i in 0..60 {
            case.features[4 * i + 3] = case.features[4 * i] - 2.0 * case.features[4 * i + 1];
        }
        check_moments(&format!("{layout:?} of rank 3"), &case.data(), 3, &[1]);
    }
}

/// Fits of every kind of start, cut short after `evaluations`.
fn check_fits(name: &str, data: &Data<'_>, k: usize, evaluations: u64, kinds: &[usize], starts: &[usize]) {
    let (shape, l) = (data.shape(), data.shape().columns);
    let mut random = Random::new(k as u64);
    let (weights, atoms) = (random.simplex(k), random.normals(k * l, 1.0 / (l as f64).sqrt()));
    let given = Starts::Given(MixtureRef::new(&weights, &atoms, l).unwrap());
    let all = [given, Starts::Count(1), Starts::Count(5), Starts::Count(70), Starts::Auto];
    let less = random.simplex(k.max(2) - 1);
    let smaller = MixtureRef::new(&less, &atoms[..less.len() * l], l).unwrap();
    for (i, rule) in kinds.iter().map(|i| (*i, all[*i])) {
        let grow = (i == 2 && k > 1).then_some(smaller);
        let single_phase = i % 2 == 0;
        let options = FitOptions { starts: rule, grow, ridge: 0.5, single_phase, max_evaluations: evaluations, ..FitOptions::new(k) };
        let n = max_starts(&shape, &options);
        let (mut diverging, mut unidentified) = (vec![false; k], vec![false; l]);
        let mut start_kinds = vec![StartKind::Zero; n];
        let label = format!("fit {rule:?}, {name}, K = {k}");
        exactly(&label, fit_workspace(&shape, &options), &vec![7.0; k + k * l + n], starts, |out, ws| {
            let (weights, rest) = out.split_at_mut(k);
            let (atoms, start_values) = rest.split_at_mut(k * l);
            let out = FitOutput {
                weights,
                atoms,
                diverging: &mut diverging,
                unidentified: &mut unidentified,
                start_values,
                start_kinds: &mut start_kinds,
            };
            fit(data, &options, &mut |_| true, out, ws).map(|_| ())
        });
    }
}

fn recipe(layout: Layout, rows: usize, columns: usize, units: usize, seed: u64) -> Recipe {
    Recipe { layout, rows, columns, units, offsets: seed % 2 == 1, seed }
}

#[test]
fn small_shapes_of_every_layout() {
    for (i, layout) in LAYOUTS.into_iter().enumerate() {
        for (rows, columns) in [(12, 1), (40, 3), (300, 9)] {
            let case = random_case(recipe(layout, rows, columns, 40, i as u64));
            for k in [1, 2, 5] {
                check(&format!("{layout:?} {rows} × {columns}"), &case.data(), k, Cost::All, &ALIGNMENTS);
            }
        }
    }
}

#[test]
fn one_set_larger_than_a_block_beside_small_ones() {
    for layout in [Layout::Panel, Layout::CountsOverSets] {
        let case = random_case(recipe(layout, 800, 5, 60, 3));
        assert!(case.sets().windows(2).any(|s| s[1] - s[0] > 256));
        check(&format!("{layout:?} with a large set"), &case.data(), 3, Cost::All, &[1]);
    }
}

#[test]
fn features_of_any_rank_including_none() {
    for layout in LAYOUTS {
        let mut case = random_case(recipe(layout, 60, 4, 50, 1));
        for i in 0..60 {
            case.features[4 * i + 3] = case.features[4 * i] - 2.0 * case.features[4 * i + 1];
        }
        check(&format!("{layout:?} of rank 3"), &case.data(), 3, Cost::All, &[1]);
        check_fits(&format!("{layout:?} of rank 3"), &case.data(), 3, 300, &[0, 2, 4], &[1]);
        case.features.fill(2.5);
        check(&format!("{layout:?} of rank 0"), &case.data(), 2, Cost::All, &[1]);
        check_fits(&format!("{layout:?} of rank 0"), &case.data(), 2, 300, &[0, 2, 4], &[1]);
    }
}

#[test]
fn one_row_one_feature_one_unit() {
    for sets in [None, Some(vec![0, 1, 2])] {
        let case = Case { features: vec![0.5, -1.0], columns: 1, offset: None, sets, choices: compressed(&[vec![(1, 2.0)]], vec![1.5]) };
        check("one unit", &case.data(), 1, Cost::All, &ALIGNMENTS);
        check_fits("one unit", &case.data(), 1, 50, &[0, 1, 4], &[1]);
        let counts = Case { choices: OwnedChoices::Counts(vec![0.0, 3.0]), ..case };
        check("one count", &counts.data(), 1, Cost::All, &ALIGNMENTS);
        check_fits("one count", &counts.data(), 1, 50, &[0, 1, 4], &[1]);
    }
    let row = Case { features: vec![4.0], columns: 1, offset: None, sets: None, choices: OwnedChoices::Counts(vec![2.0]) };
    check("one row", &row.data(), 1, Cost::All, &ALIGNMENTS);
    check_fits("one row", &row.data(), 1, 50, &[0, 1, 4], &[1]);
}

#[test]
fn fits_of_every_layout_and_kind_of_start() {
    for (i, layout) in LAYOUTS.into_iter().enumerate() {
        for (rows, columns) in [(40, 3), (300, 2)] {
            let case = random_case(recipe(layout, rows, columns, 60, 10 + i as u64));
            for k in [1, 2, 4] {
                check_fits(&format!("{layout:?} {rows} × {columns}"), &case.data(), k, 2000, &[0, 1, 2, 3, 4], &[1]);
            }
            check_fits(&format!("{layout:?} {rows} × {columns}"), &case.data(), 2, 150, &[2], &ALIGNMENTS);
            let (data, options) = (case.data(), FitOptions { starts: Starts::Count(3), max_evaluations: 150, ..FitOptions::new(1) });
            let size = scan_workspace(&data.shape(), &options, 1..=3);
            exactly(&format!("scan {layout:?}"), size, &[7.0; 6], &ALIGNMENTS, |out, ws| {
                let mut values = out.iter_mut();
                let mut found = |fit: &Scanned<'_>| {
                    *values.next().unwrap() = fit.report.log_likelihood;
                    *values.next().unwrap() = fit.criteria.icl;
                };
                scan(&data, &options, 1..=3, &mut |_, _| true, &mut found, ws)
            });
        }
    }
}

#[test]
fn fits_on_a_sample_and_in_single_precision() {
    let case = random_case(recipe(Layout::Counts, 17_000, 2, 4000, 4));
    check_fits("a sample", &case.data(), 2, 400, &[3, 4], &[1]);
    let case = random_case(recipe(Layout::Counts, 400, 200, 4000, 5));
    check_fits("wide", &case.data(), 2, 60, &[0, 2, 4], &[1]);
}

/// Features of a case in single or double precision, by rows or by columns.
fn stored(case: &Case, single: bool, by_columns: bool) -> (Vec<f32>, Vec<f64>) {
    let (p, l) = (case.rows(), case.columns);
    let at = |j: usize| if by_columns { case.features[j % p * l + j / p] } else { case.features[j] };
    let doubles: Vec<f64> = (0..p * l).map(at).collect();
    if single { (doubles.iter().map(|x| *x as f32).collect(), vec![]) } else { (vec![], doubles) }
}

fn view<'a>(case: &'a Case, stored: &'a (Vec<f32>, Vec<f64>), by_columns: bool) -> Data<'a> {
    let (p, l) = (case.rows(), case.columns);
    let make = if by_columns { (1, p) } else { (l, 1) };
    let features = match stored.1.is_empty() {
        true => Features::strided(&stored.0[..], p, l, make.0, make.1),
        false => Features::strided(&stored.1[..], p, l, make.0, make.1),
    };
    case.with_features(features.unwrap())
}

fn check_large_shapes(layout: Layout) {
    let case = random_case(recipe(layout, 600, 384, 300, 6));
    let stores = [(false, false), (true, true), (true, false), (false, true)];
    // What is stored how matters to one kernel or another, whatever the layout: half of them for panels.
    for (single, by_columns) in stores.into_iter().take(if layout == Layout::Counts { 4 } else { 2 }) {
        // A thread of its own: what is set up on a first call would be counted.
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let stored = stored(&case, single, by_columns);
                let data = view(&case, &stored, by_columns);
                let name = format!("{layout:?} 600 × 384, f32 {single}, by columns {by_columns}");
                let whole = layout == Layout::Counts && !single && !by_columns;
                let cost = if whole { Cost::NoInverse } else { Cost::NoInformation };
                check(&name, &data, 8, cost, &[1]);
                check_fits(&name, &data, 8, 12, &[0], &[1]);
            });
        });
    }
    check_fits(&format!("{layout:?} 600 × 384"), &case.data(), 8, 120, &[2], &[1]);
    // Dense matrices of 769 and 399 rows: where an inverse, and where Newton's method, is at its largest.
    let narrow = random_case(recipe(layout, 600, 48, 300, 7));
    check(&format!("{layout:?} 600 × 48"), &narrow.data(), 8, Cost::All, &[1]);
    let newton = random_case(recipe(layout, 600, 49, 100, 8));
    check_fits(&format!("{layout:?} 600 × 49"), &newton.data(), 8, 12, &[0], &[1]);
}

#[test]
fn counts_of_large_shapes_on_fresh_threads() {
    check_large_shapes(Layout::Counts);
}

#[test]
fn panels_of_large_shapes_on_fresh_threads() {
    check_large_shapes(Layout::Panel);
}

#[test]
fn the_first_call_on_a_fresh_thread_allocates_nothing() {
    let case = random_case(recipe(Layout::Panel, 60, 3, 40, 2));
    let data = case.data();
    let (shape, ctx) = (data.shape(), Context::default());
    let (weights, atoms) = ([0.25, 0.75], [0.1, 0.2, 0.3, -0.1, -0.2, -0.3]);
    let mixture = MixtureRef::new(&weights, &atoms, 3).unwrap();
    type Op<'a> = &'a (dyn Fn(Workspace<'_>) -> Result<()> + Sync);
    let one = |size: WorkspaceSize, op: Op<'_>| {
        std::thread::scope(|scope| {
            let run = || {
                let mut memory = vec![MaybeUninit::uninit(); size.bytes()];
                assert_eq!(allocations(|| op(Workspace::new(&mut memory)).unwrap()), 0);
            };
            scope.spawn(run).join().unwrap();
        });
    };
    one(evaluate_workspace(&shape, 2), &|ws| evaluate(&data, mixture, None, ctx, EvaluateOutput::default(), ws).map(|_| ()));
    one(Whitening::workspace(&shape).and(em_step_workspace(&shape, 2, MStep::Converged)), &|mut ws| {
        let wh = Whitening::new(&data, ctx.isa, &mut ws)?;
        em_step(&data, &wh, 0.0, MStep::Converged, &mut weights.clone(), &mut atoms.clone(), ctx, ws).map(|_| ())
    });
    one(hessian_vector_workspace(&shape, 2), &|ws| hessian_vector(&data, mixture, &[1.0; 7], ctx, &mut [0.0; 7], ws));
    one(information_workspace(&shape, 2), &|ws| observed_information(&data, mixture, None, ctx, &mut [0.0; 49], ws));
    one(choice_probabilities_workspace(&shape, 2), &|ws| choice_probabilities(&data, mixture, None, Some(&mut [0.0; 60]), ctx, ws));
    let options = FitOptions { starts: Starts::Count(4), ..FitOptions::new(2) };
    one(fit_workspace(&shape, &options), &|ws| {
        let out = FitOutput {
            weights: &mut [0.0; 2],
            atoms: &mut [0.0; 6],
            diverging: &mut [false; 2],
            unidentified: &mut [false; 3],
            start_values: &mut [0.0; 4],
            start_kinds: &mut [StartKind::Zero; 4],
        };
        fit(&data, &options, &mut |_| true, out, ws).map(|_| ())
    });
}

#[test]
fn sizes_that_overflow_ask_for_what_no_machine_has() {
    for huge in [usize::MAX, usize::MAX / 2, 1 << 62, 1 << 33] {
        let mut shape = random_case(recipe(Layout::Panel, 12, 2, 4, 1)).data().shape();
        (shape.rows, shape.columns) = (huge, huge);
        (shape.sets, shape.units) = (huge, huge);
        for k in [3, huge] {
            let options = FitOptions::new(k);
            let sizes = [
                Whitening::workspace(&shape),
                evaluate_workspace(&shape, k),
                information_workspace(&shape, k),
                hessian_vector_workspace(&shape, k),
                em_step_workspace(&shape, k, MStep::Newton),
                standard_errors_workspace(&shape, k),
                fit_workspace(&shape, &options),
                fit_workspace(&shape, &FitOptions { starts: Starts::Count(huge), ..options }),
            ];
            assert!(huge < 1 << 62 || sizes.iter().all(|s| s.bytes() >= 1 << 62), "{sizes:?}");
        }
    }
}
