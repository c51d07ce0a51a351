//! Ranks of a distributed run together say what one process says, whatever the layout and the way it is split. Ranks are threads here.
#![cfg(feature = "std")]

mod common;

use common::assert_close;
use common::model::*;
use common::random::*;
use softmix::data::{Choices, Data, Features};
use softmix::em::{MStep, em_step, em_step_workspace};
use softmix::error::{Error, ErrorKind};
use softmix::evaluate::*;
use softmix::fit::{Fit, FitOptions, Outcome, Progress, Starts};
use softmix::inference::{Variance, covariance, covariance_workspace, standard_errors};
use softmix::mixture::{Mixture, MixtureRef};
use softmix::parallel::Context;
use softmix::reduce::{ReduceFailed, ReduceOp, Shard, Split};
use softmix::scan::{Criteria, scan, scan_workspace};
use softmix::simd::Isa;
use softmix::whiten::Whitening;
use softmix::workspace::{WorkspaceBuffer, WorkspaceSize};
use std::sync::Barrier;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What one rank brings to a reduction.
type Buffer = (ReduceOp, Vec<f64>);

/// An engine of threads: every rank lays its buffer down, and takes what all have together, in the order of the ranks.
struct Engine {
    barrier: Barrier,
    buffers: Mutex<Vec<Option<Buffer>>>,
    doubles: AtomicUsize,
}

impl Engine {
    fn new(ranks: usize) -> Self {
        Engine { barrier: Barrier::new(ranks), buffers: Mutex::new(vec![None; ranks]), doubles: AtomicUsize::new(0) }
    }

    fn reduce(&self, rank: usize, op: ReduceOp, buffer: &mut [f64]) {
        self.buffers.lock().unwrap()[rank] = Some((op, buffer.to_vec()));
        self.barrier.wait();
        let all = self.buffers.lock().unwrap().clone();
        let mut ranks = all.iter().map(|b| b.as_ref().unwrap());
        let (first_op, mut total) = ranks.next().unwrap().clone();
        for (other, numbers) in ranks {
            assert_eq!((first_op, total.len()), (*other, numbers.len()), "ranks reduce different things");
            for (t, x) in total.iter_mut().zip(numbers) {
                assert!(op == ReduceOp::Sum || !x.is_nan(), "the maximum of a NaN was asked for");
                *t = if op == ReduceOp::Sum { *t + x } else { t.max(*x) };
            }
        }
        buffer.copy_from_slice(&total);
        self.doubles.fetch_add(buffer.len(), Ordering::Relaxed);
        self.barrier.wait();
    }
}

/// One rank's part of a case, and which of the whole's rows and units it has.
#[derive(Clone, Debug)]
struct Piece {
    case: Case,
    rows: Vec<usize>,
    units: Vec<usize>,
}

/// Splits `0..n` in `ranks` parts, none of them empty, of random sizes.
fn cuts(n: usize, ranks: usize, random: &mut Random) -> Vec<usize> {
    let mut inner: Vec<usize> = random.permutation(n - 1).into_iter().take(ranks - 1).map(|i| i + 1).collect();
    inner.sort_unstable();
    [vec![0], inner, vec![n]].concat()
}

fn rows_of(case: &Case, rows: std::ops::Range<usize>) -> (Vec<f64>, Option<Vec<f64>>) {
    let l = case.columns;
    (case.features[rows.start * l..rows.end * l].to_vec(), case.offset.as_ref().map(|b| b[rows.clone()].to_vec()))
}

/// The parts of a case: one choice set by its rows, many by sets.
fn split(case: &Case, ranks: usize, random: &mut Random) -> (Split, Vec<Piece>) {
    let sets = case.sets();
    let by_rows = case.sets.is_none();
    let at = match by_rows {
        true => cuts(case.rows(), ranks, random),
        false => cuts(sets.len() - 1, ranks, random).into_iter().map(|s| sets[s]).collect(),
    };
    let (units, weights) = case.units();
    let part = |bounds: &[usize]| {
        let rows = bounds[0]..bounds[1];
        let (features, offset) = rows_of(case, rows.clone());
        let own_sets: Vec<usize> = sets.iter().filter(|s| rows.start <= **s && **s <= rows.end).map(|s| s - rows.start).collect();
        let mut kept = vec![];
        let choices = match &case.choices {
            OwnedChoices::Counts(n) => {
                kept.extend(rows.clone());
                OwnedChoices::Counts(n[rows.clone()].to_vec())
            }
            OwnedChoices::Sparse { indices, counts } => {
                kept.extend((0..indices.len()).filter(|e| rows.contains(&indices[*e])));
                let indices = kept.iter().map(|e| indices[*e] - rows.start).collect();
                OwnedChoices::Sparse { indices, counts: kept.iter().map(|e| counts[*e]).collect() }
            }
            OwnedChoices::Units { .. } => {
                // Of a split set every rank has all units; of whole sets those that choose there. (Cases are made so that these choose
                // nowhere else.)
                let here = |u: &Vec<(usize, f64)>| -> Vec<(usize, f64)> {
                    u.iter().filter(|e| rows.contains(&e.0)).map(|(i, n)| (i - rows.start, *n)).collect()
                };
                kept.extend((0..units.len()).filter(|u| by_rows || !here(&units[*u]).is_empty()));
                let own: Vec<_> = kept.iter().map(|u| here(&units[*u])).collect();
                compressed(&own, kept.iter().map(|u| weights[*u]).collect())
            }
        };
        let sets = (!by_rows).then_some(own_sets);
        Piece { case: Case { features, columns: case.columns, offset, sets, choices }, rows: rows.collect(), units: kept }
    };
    (if by_rows { Split::Rows } else { Split::Sets }, at.windows(2).map(part).collect())
}

/// Cases of every layout. Units of panels choose inside one part of the sets, whatever the number of ranks: each from one set.
fn cases(seeds: std::ops::Range<u64>) -> impl Iterator<Item = (Case, Random)> {
    LAYOUTS.into_iter().flat_map(move |layout| {
        seeds.clone().map(move |seed| {
            let mut random = Random::new(7000 * (layout as u64 + 1) + seed);
            let (rows, columns) =
                [(20 + random.below(60), 1 + random.below(4)), (650 + random.below(150), 1 + random.below(6))][seed as usize % 2];
            let units = 30 + random.below(80);
            let mut case = random_case(Recipe { layout, rows, columns, units, offsets: seed % 3 == 1, seed: random.next() });
            if layout == Layout::Panel {
                let (units, weights) = case.units();
                let one_set = |u: &Vec<(usize, f64)>| {
                    let set = case.set_of(u[0].0);
                    u.iter().copied().filter(|e| case.set_of(e.0) == set).collect()
                };
                let units: Vec<_> = units.iter().map(one_set).collect();
                case.choices = compressed(&units, weights);
            }
            (case, random)
        })
    })
}

/// Runs `body` on every rank, each with its data; what they return, in the order of the ranks.
fn on_ranks<R: Send>(split: Split, pieces: &[Piece], body: impl Fn(usize, &Data<'_>) -> R + Sync) -> Vec<R> {
    on_ranks_checked(split, pieces, |rank, data| body(rank, &data.unwrap())).0
}

fn on_ranks_checked<R: Send>(split: Split, pieces: &[Piece], body: impl Fn(usize, Result<Data<'_>, Error>) -> R + Sync) -> (Vec<R>, usize) {
    let engine = Engine::new(pieces.len());
    let run = |rank: usize| {
        let case = &pieces[rank].case;
        let reduce = |op: ReduceOp, buffer: &mut [f64]| {
            engine.reduce(rank, op, buffer);
            Ok(())
        };
        let shard = Shard::new(&reduce, split, rank as u64);
        let features = Features::row_major(&case.features[..], case.rows(), case.columns).unwrap();
        body(rank, shard.data(features, case.offset.as_deref(), case.sets.as_deref(), case.choices()))
    };
    let run = &run;
    let results = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..pieces.len()).map(|rank| scope.spawn(move || run(rank))).collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    (results, engine.doubles.load(Ordering::Relaxed) / pieces.len())
}

fn mixture(classes: usize, columns: usize, random: &mut Random) -> Mixture {
    Mixture { weights: random.simplex(classes), atoms: random.normals(classes * columns, 1.0 / (columns as f64).sqrt()) }
}

fn bits(x: &[f64]) -> Vec<u64> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn an_evaluation_of_all_ranks_is_that_of_one_process() {
    for (case, mut random) in cases(0..6) {
        for ranks in 1..=4 {
            let (how, pieces) = split(&case, ranks, &mut random);
            let m = mixture(1 + random.below(3), case.columns, &mut random);
            let ctx = Context::default();
            let whole = quantities(&case.data(), &m, 3.0, ctx);
            let total = case.data().total_choices();
            let found = on_ranks(how, &pieces, |_, data| {
                assert_eq!(data.observed_units(), case.data().observed_units());
                quantities(data, &m, 3.0, ctx)
            });
            let k = m.weights.len();
            for (piece, q) in pieces.iter().zip(&found) {
                let value = [q.value.log_likelihood, q.value.penalized_log_likelihood];
                assert_eq!(bits(&value), bits(&[found[0].value.log_likelihood, found[0].value.penalized_log_likelihood]));
                assert_eq!(bits(&q.atom_gradient), bits(&found[0].atom_gradient));
                assert_eq!(bits(&q.weight_gradient), bits(&found[0].weight_gradient));
                let expected = whole.value.log_likelihood;
                assert!((value[0] - expected).abs() <= 1e-12 * expected.abs().max(total), "{value:?} {expected} {how:?} {ranks}");
                assert_close("penalised", &value[1..], &[whole.value.penalized_log_likelihood], 1e-12 * total);
                // Of one class it is 0 but for rounding.
                for (g, expected) in q.weight_gradient.iter().zip(&whole.weight_gradient) {
                    assert!((g - expected).abs() <= 1e-11 * total, "weight gradient: {g} is not {expected}");
                }
                assert_close("atom gradient", &q.atom_gradient, &whole.atom_gradient, 1e-11 * total);
                for (j, u) in piece.units.iter().enumerate() {
                    let r = &whole.responsibilities[u * k..(u + 1) * k];
                    assert_close("responsibilities", &q.responsibilities[j * k..(j + 1) * k], r, 1e-10);
                    let unit = whole.unit[*u];
                    assert!((q.unit[j] - unit).abs() <= 1e-11 * unit.abs().max(1.0) || q.unit[j] == unit);
                }
            }
            if ranks == 1 {
                assert_eq!(bits(&found[0].numbers()), bits(&whole.numbers()));
            }
        }
    }
}

#[test]
fn em_and_whitening_are_those_of_one_process() {
    for (case, mut random) in cases(0..4) {
        for ranks in 2..=4 {
            let (how, pieces) = split(&case, ranks, &mut random);
            let start = mixture(2, case.columns, &mut random);
            let ctx = Context::default();
            let (covariance, rank) = whitened(&case.data(), |w| (w.covariance.to_vec(), w.rank));
            let found = on_ranks(how, &pieces, |_, data| whitened(data, |w| (w.covariance.to_vec(), w.rank)));
            for (c, r) in &found {
                assert_eq!((bits(c), *r), (bits(&found[0].0), rank));
                assert_close("covariance", c, &covariance, 1e-12);
            }
            for form in FORMS {
                let mut whole = start.clone();
                for _ in 0..2 {
                    em(&case.data(), &mut whole, 1.0, form, ctx);
                }
                let found = on_ranks(how, &pieces, |_, data| {
                    let mut m = start.clone();
                    for _ in 0..2 {
                        em(data, &mut m, 1.0, form, ctx);
                    }
                    m
                });
                for m in &found {
                    assert_eq!((bits(&m.weights), bits(&m.atoms)), (bits(&found[0].weights), bits(&found[0].atoms)));
                    assert_close("weights", &m.weights, &whole.weights, 1e-8);
                    assert_close("atoms", &m.atoms, &whole.atoms, 1e-7);
                }
            }
        }
    }
}

#[test]
fn second_order_quantities_are_those_of_one_process() {
    for (case, mut random) in cases(0..4) {
        for ranks in 2..=4 {
            let (how, pieces) = split(&case, ranks, &mut random);
            let m = mixture(2, case.columns, &mut random);
            let ctx = Context::default();
            let v = random.normals(1 + 2 * case.columns, 1.0);
            let all = |data: &Data<'_>| {
                let (weights, atoms) = errors(data, &m, 5.0, Variance::Robust);
                let criteria = Criteria::new(data, m.view(), case.columns, ctx).unwrap();
                let of_values = [criteria.aic, criteria.bic, criteria.icl];
                [
                    information(data, &m, 2.0, ctx),
                    scores(data, &m, true),
                    hessian_times(data, &m, &v, ctx),
                    weights,
                    atoms,
                    of_values.to_vec(),
                ]
            };
            let whole = all(&case.data());
            for found in on_ranks(how, &pieces, |_, data| all(data)) {
                for (name, (x, y)) in
                    ["information", "scores", "product", "weights", "atoms", "criteria"].iter().zip(found.iter().zip(&whole))
                {
                    let scale = y.iter().fold(1.0, |m: f64, y| if y.is_nan() { m } else { m.max(y.abs()) });
                    for (x, y) in x.iter().zip(y) {
                        assert!((x - y).abs() <= 1e-8 * scale || x.is_nan() && y.is_nan(), "{name}: {x} {y} {how:?} {ranks}");
                    }
                }
            }
        }
    }
}

#[test]
fn choice_probabilities_are_those_of_one_process() {
    for (case, mut random) in cases(0..3) {
        let (how, pieces) = split(&case, 3, &mut random);
        let m = mixture(2, case.columns, &mut random);
        let (_, whole) = probabilities(&case.data(), &m, Context::default());
        let found = on_ranks(how, &pieces, |_, data| probabilities(data, &m, Context::default()).1);
        for (piece, mixed) in pieces.iter().zip(&found) {
            let expected: Vec<f64> = piece.rows.iter().map(|i| whole[*i]).collect();
            assert_close("probabilities", mixed, &expected, 1e-12);
        }
    }
}

fn same_fit(fits: &[Fit]) {
    for fit in fits {
        assert_eq!(bits(&fit.mixture.weights), bits(&fits[0].mixture.weights));
        assert_eq!(bits(&fit.mixture.atoms), bits(&fits[0].mixture.atoms));
        assert_eq!(fit.report.outcome, fits[0].report.outcome);
        assert_eq!(fit.report.log_likelihood.to_bits(), fits[0].report.log_likelihood.to_bits());
        assert_eq!(fit.report.evaluations, fits[0].report.evaluations);
        assert_eq!(fit.starts.len(), fits[0].starts.len());
    }
}

#[test]
fn a_fit_from_a_given_start_reaches_the_same_optimum() {
    for (case, mut random) in cases(0..4) {
        let start = mixture(2, case.columns, &mut random);
        let whole = fit_from(&case.data(), &start, 4.0);
        for ranks in 1..=4 {
            let (how, pieces) = split(&case, ranks, &mut random);
            let fits = on_ranks(how, &pieces, |_, data| fit_from(data, &start, 4.0));
            same_fit(&fits);
            let (f, g) = (fits[0].report.penalized_log_likelihood, whole.report.penalized_log_likelihood);
            assert!((f - g).abs() <= 1e-12 * g.abs(), "{f} {g} {how:?} {ranks} {:?}", fits[0].report);
            // Where the likelihood is flat, equal values leave the atoms free to about the root of the rounding.
            assert_close("weights", &fits[0].mixture.weights, &whole.mixture.weights, 1e-4);
            assert_close("atoms", &fits[0].mixture.atoms, &whole.mixture.atoms, 1e-3);
            if ranks == 1 {
                assert_eq!(bits(&fits[0].mixture.atoms), bits(&whole.mixture.atoms));
            }
        }
    }
}

/// So many features that L-BFGS carries a fit to its end, in the metric of the whole.
#[test]
fn a_fit_of_many_features_reaches_the_same_optimum() {
    for layout in [Layout::Counts, Layout::SparseCounts] {
        let mut random = Random::new(77 + layout as u64);
        let case = random_case(Recipe { layout, rows: 700, columns: 62, units: 400, offsets: false, seed: random.next() });
        let start = mixture(2, case.columns, &mut random);
        let whole = fit_from(&case.data(), &start, 4.0);
        for ranks in [2, 3] {
            let (how, pieces) = split(&case, ranks, &mut random);
            let fits = on_ranks(how, &pieces, |_, data| fit_from(data, &start, 4.0));
            same_fit(&fits);
            let (f, g) = (fits[0].report.penalized_log_likelihood, whole.report.penalized_log_likelihood);
            assert!((f - g).abs() <= 1e-11 * g.abs(), "{f} {g} {how:?} {ranks} {:?}", fits[0].report);
        }
    }
}

/// A rank of a single choice set takes the same way as the others.
#[test]
fn sparse_counts_of_few_choice_sets_reach_the_same_optimum() {
    for seed in 0..4 {
        let mut random = Random::new(90 + seed);
        let recipe = Recipe { layout: Layout::SparseCounts, rows: 200, columns: 24, units: 90, offsets: false, seed: random.next() };
        // Of three sets two ranks have one and two.
        let case = Case { sets: Some(vec![0, 40, 80, 200]), ..random_case(recipe) };
        let start = mixture(2, case.columns, &mut random);
        let whole = fit_from(&case.data(), &start, 4.0);
        let (how, pieces) = split(&case, 2, &mut random);
        let fits = on_ranks(how, &pieces, |_, data| fit_from(data, &start, 4.0));
        same_fit(&fits);
        let (f, g) = (fits[0].report.penalized_log_likelihood, whole.report.penalized_log_likelihood);
        assert!((f - g).abs() <= 1e-9 * g.abs(), "{f} {g} {:?}", fits[0].report);
    }
}

/// A copy in single precision is of differences from a row that every rank would choose for itself: there is none, but ranks agree on what
/// is asked.
#[test]
fn ranks_fit_in_double_precision() {
    // Few features, and so many that L-BFGS would begin on the copy.
    for columns in [6, 62] {
        let mut random = Random::new(31);
        let mut case = random_case(Recipe { layout: Layout::Counts, rows: 600, columns, units: 4000, offsets: false, seed: random.next() });
        case.features.iter_mut().enumerate().for_each(|(j, x)| *x += 0.02 * (j / columns) as f64);
        let start = mixture(2, columns, &mut random);
        let fit = |data: &Data<'_>, single_phase: bool| {
            let options = FitOptions { starts: Starts::Given(start.view()), ridge: 1.0, single_phase, ..FitOptions::new(2) };
            Fit::new(data, &options)
        };
        let (how, pieces) = split(&case, 2, &mut random);
        let fits = on_ranks(how, &pieces, |_, data| [false, true].map(|single| fit(data, single).unwrap()));
        same_fit(&fits.concat());
        let kinds = on_ranks(how, &pieces, |rank, data| fit(data, rank == 0).unwrap_err().kind);
        assert_eq!(kinds, [ErrorKind::Disagreement; 2]);
    }
}

/// A scan that one rank cannot begin ends on all.
#[test]
fn a_scan_begins_on_all_ranks_or_none() {
    let (case, mut random) = cases(0..1).next().unwrap();
    let (how, pieces) = split(&case, 2, &mut random);
    let options = FitOptions { ridge: 4.0, ..FitOptions::new(1) };
    let kinds = on_ranks(how, &pieces, |rank, data| {
        let size = if rank == 0 { scan_workspace(&data.shape(), &options, 1..=2) } else { WorkspaceSize::EMPTY };
        let mut memory = WorkspaceBuffer::new(size).unwrap();
        scan(data, &options, 1..=2, &mut |_, _| true, &mut |_| {}, memory.lend()).unwrap_err().kind
    });
    assert_eq!(kinds, [ErrorKind::Remote, ErrorKind::Workspace]);
}

#[test]
fn starts_that_are_not_given_reach_the_same_optimum() {
    for (case, mut random) in cases(0..2) {
        for starts in [Starts::Count(12), Starts::Auto] {
            let options = FitOptions { starts, ridge: 6.0, ..FitOptions::new(2) };
            let whole = Fit::new(&case.data(), &options).unwrap();
            let (how, pieces) = split(&case, 3, &mut random);
            let fits = on_ranks(how, &pieces, |_, data| Fit::new(data, &options).unwrap());
            same_fit(&fits);
            let (f, g) = (fits[0].report.penalized_log_likelihood, whole.report.penalized_log_likelihood);
            assert!((f - g).abs() <= 1e-9 * g.abs(), "{f} {g} {how:?} {:?} {:?}", case.choices, fits[0].starts);
        }
    }
}

#[test]
fn an_error_of_one_rank_is_an_error_of_all() {
    for (case, mut random) in cases(0..1) {
        let (how, pieces) = split(&case, 3, &mut random);
        let m = mixture(2, case.columns, &mut random);
        // Bad input of one.
        let mut bad = pieces.clone();
        bad[1].case.features[0] = f64::NAN;
        let kinds = on_ranks_checked(how, &bad, |_, data| data.unwrap_err().kind).0;
        assert_eq!(kinds, [ErrorKind::Remote, ErrorKind::NotFinite, ErrorKind::Remote]);
        // A step that one takes with too little memory.
        let kinds = on_ranks(how, &pieces, |rank, data| {
            let classes = if rank == 2 { 1 } else { 2 };
            let mut memory = WorkspaceBuffer::new(evaluate_workspace(&data.shape(), classes)).unwrap();
            evaluate(data, m.view(), None, Context::default(), Default::default(), memory.lend()).err().map(|e| e.kind)
        });
        assert_eq!(kinds, [Some(ErrorKind::Remote), Some(ErrorKind::Remote), Some(ErrorKind::Workspace)]);
        // Ranks that ask for different things.
        let kinds = on_ranks(how, &pieces, |rank, data| {
            let odd = if rank == 2 { 1.0 } else { 0.0 };
            let (seed, good, atoms) = (rank as u64 / 2, FitOptions::new(2), vec![odd; case.columns]);
            let grow = Some(MixtureRef { weights: &[1.0], atoms: &atoms });
            let others = [FitOptions { seed, ..good }, FitOptions { gradient_tolerance: 1e-8 + odd, ..good }, FitOptions { grow, ..good }];
            others.map(|options| Fit::new(data, &options).unwrap_err().kind)
        });
        assert_eq!(kinds, [[ErrorKind::Disagreement; 3]; 3]);
        // Ranks that compute in different ways, or with different matrices.
        let kinds = on_ranks(how, &pieces, |rank, data| {
            let odd = if rank == 2 { 1.0 } else { 0.0 };
            let isa = if rank == 2 { Isa::Scalar } else { Isa::available().last().unwrap() };
            let (shape, ctx, l) = (data.shape(), Context::default(), case.columns);
            let fit = Fit::new(data, &FitOptions { context: Context { isa, ..ctx }, ..FitOptions::new(2) }).err();
            let covariance = vec![odd; l * l];
            let mut memory = WorkspaceBuffer::new(evaluate_workspace(&shape, 2)).unwrap();
            let penalty = Some(Penalty { ridge: 1.0, covariance: &covariance });
            let value = evaluate(data, m.view(), penalty, ctx, Default::default(), memory.lend()).err();
            let mut memory = WorkspaceBuffer::new(Whitening::workspace(&shape)).unwrap();
            let mut whitening = Whitening::new(data, ctx.isa, &mut memory.lend()).unwrap();
            let other = whitening.to_atoms.iter().map(|x| x + odd).collect::<Vec<_>>();
            whitening.to_atoms = &other;
            let (mut weights, mut atoms) = (m.weights.clone(), m.atoms.clone());
            let mut memory = WorkspaceBuffer::new(em_step_workspace(&shape, 2, MStep::Newton)).unwrap();
            let step = em_step(data, &whitening, 0.0, MStep::Newton, &mut weights, &mut atoms, ctx, memory.lend()).err();
            [fit, value, step].map(|e| e.map(|e| e.kind))
        });
        assert_eq!(kinds, [[Some(ErrorKind::Disagreement); 3]; 3]);
        // Too many classes: all find that themselves.
        let kinds = on_ranks(how, &pieces, |_, data| Fit::new(data, &FitOptions::new(100_000)).unwrap_err().kind);
        assert_eq!(kinds, [ErrorKind::TooManyClasses; 3]);
        // Logits that overflow where one rank alone has the rows.
        let mut steep = pieces.clone();
        steep[1].case.features[0] = 1e300;
        if steep[1].case.offset.is_none() {
            let far = Mixture { atoms: vec![1e10; m.atoms.len()], ..m.clone() };
            let errors = on_ranks(how, &steep, |_, data| {
                let mut memory = WorkspaceBuffer::new(evaluate_workspace(&data.shape(), 2)).unwrap();
                evaluate(data, far.view(), None, Context::default(), Default::default(), memory.lend()).unwrap_err()
            });
            assert_eq!(errors, [Error::new(ErrorKind::NotFinite, "logits").class(0); 3]);
        }
    }
}

#[test]
fn a_rank_that_cannot_begin_says_so() {
    let engine = Engine::new(2);
    let answers: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|rank| {
                let engine = &engine;
                scope.spawn(move || {
                    let reduce = |op: ReduceOp, buffer: &mut [f64]| {
                        engine.reduce(rank, op, buffer);
                        Ok(())
                    };
                    let shard = Shard::new(&reduce, Split::Rows, rank as u64);
                    let read: Result<(), Error> = if rank == 0 { Err(Error::new(ErrorKind::Empty, "file")) } else { Ok(()) };
                    shard.agree(read).unwrap_err().kind
                })
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    assert_eq!(answers, [ErrorKind::Empty, ErrorKind::Remote]);
}

#[test]
fn a_hook_that_fails_ends_every_operation_and_is_not_called_again() {
    for (case, mut random) in cases(0..1) {
        let (how, pieces) = split(&case, 2, &mut random);
        // It fails at the n-th call on both ranks, for every n up to the end of the fit.
        for n in (0..40).chain([60, 90, 200]) {
            let engine = Engine::new(2);
            let run = |rank: usize| {
                let calls = AtomicUsize::new(0);
                let reduce = |op: ReduceOp, buffer: &mut [f64]| {
                    let call = calls.fetch_add(1, Ordering::Relaxed);
                    assert!(call <= n, "called again after it failed");
                    if call == n {
                        return Err(ReduceFailed);
                    }
                    engine.reduce(rank, op, buffer);
                    Ok(())
                };
                let shard = Shard::new(&reduce, how, rank as u64);
                let case = &pieces[rank].case;
                let features = Features::row_major(&case.features[..], case.rows(), case.columns).unwrap();
                let data = shard.data(features, case.offset.as_deref(), case.sets.as_deref(), case.choices());
                let options = FitOptions { starts: Starts::Count(2), ridge: 2.0, ..FitOptions::new(2) };
                let fit = data.and_then(|data| Fit::new(&data, &options));
                (calls.load(Ordering::Relaxed), fit.map(|_| ()).map_err(|e| e.kind))
            };
            let run = &run;
            let found: Vec<_> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..2).map(|rank| scope.spawn(move || run(rank))).collect();
                threads.into_iter().map(|t| t.join().unwrap()).collect()
            });
            for (calls, result) in found {
                let expected = if calls > n { Err(ErrorKind::Reduction) } else { Ok(()) };
                assert_eq!(result, expected, "call {n}");
            }
        }
    }
}

#[test]
fn one_rank_cancels_for_all() {
    for (case, mut random) in cases(0..1) {
        let (how, pieces) = split(&case, 3, &mut random);
        let outcomes = on_ranks(how, &pieces, |rank, data| {
            let mut steps = 0;
            let mut progress = |_: &Progress| {
                steps += 1;
                !(rank == 1 && steps == 5)
            };
            let fit = Fit::with_progress(data, &FitOptions { ridge: 1.0, ..FitOptions::new(2) }, &mut progress).unwrap();
            (fit.report.outcome, fit.report.evaluations, steps)
        });
        assert_eq!(outcomes, [(Outcome::Cancelled, outcomes[0].1, 5); 3]);
    }
}

#[test]
fn what_is_sent_does_not_grow_with_the_rows() {
    let sent = |rows: usize, ranks: usize| {
        let mut random = Random::new(5);
        let case = random_case(Recipe { layout: Layout::Counts, rows, columns: 3, units: 400, offsets: false, seed: 3 });
        let (how, pieces) = split(&case, ranks, &mut random);
        let m = mixture(2, 3, &mut random);
        on_ranks_checked(how, &pieces, |_, data| quantities(&data.unwrap(), &m, 0.0, Context::default())).1
    };
    assert_eq!(sent(100, 2), sent(5000, 2));
    // The beginnings of the data (5 and 7), of whitening for the penalty, and of the evaluation, 5; then the table of `softmix::reduce`.
    let (k, l) = (2, 3);
    let evaluation = 5 + (1 + k) + k + (2 * k + 1) + k * l;
    let whitening = 5 + 5 + l + l + l * l + l;
    assert_eq!(sent(100, 2), 5 + 7 + whitening + evaluation);
}

#[test]
fn a_scan_that_one_rank_refuses_begins_on_none() {
    for (case, mut random) in cases(0..1) {
        let (how, pieces) = split(&case, 2, &mut random);
        let m = mixture(1, case.columns, &mut random);
        let errors = on_ranks(how, &pieces, |rank, data| {
            let starts = if rank == 0 { Starts::Given(m.view()) } else { Starts::Count(2) };
            let options = FitOptions { starts, ridge: 1.0, ..FitOptions::new(1) };
            softmix::Scan::new(data, &options, 1..=2, &mut |_, _| true).err().map(|e| e.kind)
        });
        assert_eq!(errors, [Some(ErrorKind::InvalidOption), Some(ErrorKind::Remote)]);
    }
}

#[test]
fn scans_of_other_ranges_disagree() {
    for (case, mut random) in cases(0..1) {
        let (how, pieces) = split(&case, 2, &mut random);
        let errors = on_ranks(how, &pieces, |rank, data| {
            let options = FitOptions { starts: Starts::Count(2), ridge: 1.0, ..FitOptions::new(1) };
            softmix::Scan::new(data, &options, 1..=1 + rank, &mut |_, _| true).err().map(|e| e.kind)
        });
        assert_eq!(errors, [Some(ErrorKind::Disagreement); 2]);
    }
}

/// Whatever is asked for beside the mixture: where ranks ask for different things, none is told anything.
#[test]
fn ranks_that_ask_for_different_things_disagree() {
    for (case, mut random) in cases(0..2) {
        let (how, pieces) = split(&case, 2, &mut random);
        let m = mixture(2, case.columns, &mut random);
        let d = 1 + 2 * case.columns;
        let within = vec![0.0; case.columns * case.columns];
        let found = on_ranks(how, &pieces, |rank, data| {
            let (shape, ctx, rank) = (data.shape(), Context::default(), rank as f64);
            let size = evaluate_workspace(&shape, 2).or(information_workspace(&shape, 2)).or(hessian_vector_workspace(&shape, 2));
            let mut memory = WorkspaceBuffer::new(size).unwrap();
            let penalty = Some(Penalty { ridge: rank, covariance: &within });
            let (mut matrix, mut vector, mut v) = (vec![0.0; d * d], vec![0.0; d], vec![1.0; d]);
            v[d - 1] = rank;
            let (form, variance) = if rank == 0.0 { (FORMS[0], Variance::Information) } else { (FORMS[1], Variance::Robust) };
            let (mut next, mut errors) = (m.clone(), m.clone());
            let others = whitened(data, |wh| {
                let size = em_step_workspace(&shape, 2, FORMS[1]).or(covariance_workspace(&shape, 2));
                let mut estimates = vec![0.0; (d + 1) * (d + 1)];
                let mut memory = WorkspaceBuffer::new(size).unwrap();
                let (weights, atoms) = (&mut errors.weights, &mut errors.atoms);
                [
                    em_step(data, wh, 1.0, form, &mut next.weights, &mut next.atoms, ctx, memory.lend()).map(|_| ()),
                    standard_errors(data, wh, 1.0, m.view(), variance, weights, atoms, ctx, memory.lend()),
                    covariance(data, wh, 1.0, m.view(), variance, &mut estimates, ctx, memory.lend()),
                ]
            });
            let evaluations = [
                evaluate(data, m.view(), penalty, ctx, EvaluateOutput::default(), memory.lend()).map(|_| ()),
                observed_information(data, m.view(), penalty, ctx, &mut matrix, memory.lend()),
                score_products(data, m.view(), rank == 1.0, ctx, &mut matrix, memory.lend()),
                hessian_vector(data, m.view(), &v, ctx, &mut vector, memory.lend()),
            ];
            [&others[..], &evaluations[..]].concat()
        });
        assert!(found.iter().flatten().all(|r| r.is_err_and(|e| e.kind == ErrorKind::Disagreement)), "{found:?}");
    }
}

/// Of a choice set that is split every rank has all units: as many, of the same weights.
#[test]
fn ranks_have_the_same_units_of_a_split_choice_set() {
    let case = random_case(Recipe { layout: Layout::Units, rows: 40, columns: 2, units: 12, offsets: false, seed: 3 });
    let (how, mut pieces) = split(&case, 2, &mut Random::new(1));
    let checked = |pieces: &[Piece]| on_ranks_checked(how, pieces, |_, data| data.map(|_| ()).map_err(|e| e.kind)).0;
    assert_eq!(checked(&pieces), [Ok(()); 2]);
    // Two weights change places: their sum is the same.
    let (units, mut weights) = pieces[1].case.units();
    weights[..2].copy_from_slice(&[0.5, 1.5]);
    pieces[1].case.choices = compressed(&units, weights.clone());
    weights.swap(0, 1);
    let (units, _) = pieces[0].case.units();
    pieces[0].case.choices = compressed(&units, weights);
    assert_eq!(checked(&pieces), [Err(ErrorKind::Disagreement); 2]);
}

#[test]
fn a_rank_without_units_has_no_entries() {
    let reduce = |_: ReduceOp, _: &mut [f64]| Ok(());
    let shard = Shard::new(&reduce, Split::Sets, 0);
    let choices = Choices::Units { indptr: &[0], indices: &[1, 2], counts: None, weights: None };
    let data = shard.data(Features::row_major(&[0.0, 1.0, 2.0, 4.0][..], 4, 1).unwrap(), None, None, choices);
    assert_eq!(data.err(), Some(Error::shape("indices", 0, 2)));
}

#[test]
fn a_hessian_vector_product_sends_no_message_for_a_unit() {
    let calls = |units: usize| {
        let case = random_case(Recipe { layout: Layout::Units, rows: 40, columns: 2, units, offsets: false, seed: 3 });
        let (how, pieces) = split(&case, 2, &mut Random::new(1));
        let m = mixture(2, 2, &mut Random::new(2));
        let calls = AtomicUsize::new(0);
        let engine = Engine::new(2);
        std::thread::scope(|scope| {
            for (rank, piece) in pieces.iter().enumerate() {
                let (engine, calls, m) = (&engine, &calls, &m);
                scope.spawn(move || {
                    let reduce = |op: ReduceOp, buffer: &mut [f64]| {
                        calls.fetch_add(1, Ordering::Relaxed);
                        engine.reduce(rank, op, buffer);
                        Ok(())
                    };
                    let shard = Shard::new(&reduce, how, rank as u64);
                    let features = Features::row_major(&piece.case.features[..], piece.case.rows(), 2).unwrap();
                    let data = shard.data(features, None, None, piece.case.choices()).unwrap();
                    hessian_times(&data, m, &[1.0; 5], Context::default())
                });
            }
        });
        calls.load(Ordering::Relaxed)
    };
    assert_eq!(calls(4), calls(40));
}

/// Of ranks some may hold their choice sets in groups and some may not: what one process says of a class that runs off all of them say.
#[test]
fn a_class_runs_off_on_ranks_whose_choice_sets_are_unlike() {
    for columns in [1, 2] {
        let mut random = Random::new(77);
        // All choose the alternative with most of the first feature.
        let mut piece = |sets: usize, size: usize| {
            let features = random.normals(sets * size * columns, 1.0);
            let mut counts = vec![0.0; sets * size];
            for s in 0..sets {
                let first = |i: &usize| features[i * columns];
                counts[(s * size..(s + 1) * size).max_by(|a, b| first(a).total_cmp(&first(b))).unwrap()] = 1.0;
            }
            let sets = Some((0..=sets).map(|s| s * size).collect());
            Piece {
                case: Case { features, columns, offset: None, sets, choices: OwnedChoices::Counts(counts) },
                rows: vec![],
                units: vec![],
            }
        };
        let pieces = [piece(40, 4), piece(1, 300)];
        let fits = on_ranks(Split::Sets, &pieces, |_, data| Fit::new(data, &FitOptions::new(1)).unwrap());
        assert_eq!((fits[0].report.outcome, &fits[0].diverging[..]), (Outcome::Diverging, &[true][..]), "{columns}");
        same_fit(&fits);
    }
}
