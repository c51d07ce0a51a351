//! Default options reach the best log-likelihood known on simulated choice sets, that reached from the true parameters included, at a
//! bounded cost.
//!
//! Best known: of the fit from the truth, of default options with every seed tried, and of a fit with many more starts. `SOFTMIX_SEARCH=n`
//! takes n instances of every setting and three seeds instead of one each, and prints a line an instance.
#![cfg(feature = "alloc")]

mod common;

use common::simulate::{multinomial, scale_to, shares};
use rand::Rng;
use rand_distr::{ChiSquared, Distribution, Poisson, StandardNormal};
use rand_pcg::Pcg64;
use softmix::{Choices, Data, Features, Fit, FitOptions, MixtureRef, Starts};
use std::sync::Mutex;

/// The law of the features.
#[derive(Clone, Copy, Debug)]
enum Law {
    Normal,
    Signs,
    /// Student with three degrees of freedom, scaled to variance 1.
    Heavy,
    /// Scales from 1e-3 to 1e3, every feature correlated with the one before it, shifted by ten times its scale.
    Wild,
}

/// The atoms: of one norm in random directions; or that with each second one opposite to the first.
#[derive(Clone, Copy, Debug)]
enum Atoms {
    Random(f64),
    Opposite(f64),
}

/// The weights, largest first but for the last kind.
#[derive(Clone, Copy, Debug)]
enum Weights {
    Equal,
    /// 2, 3, 4, … in proportion.
    Rising,
    /// One class of 0.9, the rest shared.
    Uneven,
}

/// Alternatives, features, classes, expected draws.
type Size = (usize, usize, usize, f64);

const SETTINGS: [(Size, Law, Atoms, Weights); 36] = [
    ((1000, 5, 2, 2e4), Law::Normal, Atoms::Random(1.0), Weights::Rising),
    ((1000, 5, 3, 2e4), Law::Normal, Atoms::Random(2.0), Weights::Rising),
    ((2000, 3, 5, 1e5), Law::Normal, Atoms::Random(2.0), Weights::Rising),
    ((5000, 10, 5, 1e5), Law::Normal, Atoms::Random(2.5), Weights::Rising),
    ((2000, 20, 8, 2e5), Law::Normal, Atoms::Random(2.5), Weights::Rising),
    ((3000, 10, 10, 3e5), Law::Normal, Atoms::Random(2.5), Weights::Rising),
    ((1000, 4, 6, 5e4), Law::Normal, Atoms::Random(3.0), Weights::Rising),
    ((2000, 8, 4, 500.0), Law::Normal, Atoms::Random(2.0), Weights::Rising),
    ((1024, 10, 4, 1e5), Law::Signs, Atoms::Random(1.5), Weights::Rising),
    ((300, 2, 4, 1e5), Law::Normal, Atoms::Random(3.0), Weights::Rising),
    // More classes than L + 1.
    ((2000, 2, 5, 1e5), Law::Normal, Atoms::Random(2.5), Weights::Rising),
    ((1500, 3, 7, 2e5), Law::Normal, Atoms::Random(2.5), Weights::Equal),
    ((500, 1, 3, 1e5), Law::Normal, Atoms::Random(2.0), Weights::Rising),
    // Opposite atoms.
    ((1000, 4, 2, 3e4), Law::Normal, Atoms::Opposite(1.5), Weights::Equal),
    ((2000, 6, 4, 1e5), Law::Normal, Atoms::Opposite(2.0), Weights::Equal),
    ((1000, 8, 4, 1e5), Law::Signs, Atoms::Opposite(1.0), Weights::Rising),
    // Fewer draws than alternatives.
    ((3000, 5, 3, 1000.0), Law::Normal, Atoms::Random(2.0), Weights::Equal),
    ((5000, 10, 2, 2000.0), Law::Normal, Atoms::Random(1.5), Weights::Rising),
    ((1500, 3, 4, 300.0), Law::Normal, Atoms::Random(1.5), Weights::Equal),
    // Heavy tails.
    ((2000, 5, 3, 5e4), Law::Heavy, Atoms::Random(1.0), Weights::Rising),
    ((1000, 10, 5, 1e5), Law::Heavy, Atoms::Random(1.0), Weights::Equal),
    ((2000, 4, 4, 1e5), Law::Heavy, Atoms::Random(2.0), Weights::Rising),
    // Signs.
    ((512, 9, 3, 3e4), Law::Signs, Atoms::Random(2.0), Weights::Equal),
    ((2000, 20, 10, 3e5), Law::Signs, Atoms::Random(2.5), Weights::Rising),
    // Badly scaled.
    ((1000, 6, 4, 1e5), Law::Wild, Atoms::Random(2.0), Weights::Rising),
    // Uneven.
    ((1000, 5, 3, 5e4), Law::Normal, Atoms::Random(2.0), Weights::Uneven),
    ((2000, 10, 5, 1e5), Law::Normal, Atoms::Random(2.0), Weights::Uneven),
    ((1000, 3, 3, 2e4), Law::Heavy, Atoms::Random(1.5), Weights::Uneven),
    // So many features that relocations race by L-BFGS, with few alternatives for each, where every other start ends elsewhere, and with many.
    ((1000, 128, 3, 3e4), Law::Normal, Atoms::Random(2.0), Weights::Rising),
    ((3000, 64, 4, 9e4), Law::Signs, Atoms::Random(2.0), Weights::Rising),
    ((6000, 100, 4, 2e5), Law::Normal, Atoms::Random(1.5), Weights::Rising),
    // So many alternatives that starts race on a sample of them; classes that hold to a few of them, and few that were chosen.
    ((140_000, 5, 3, 3e5), Law::Normal, Atoms::Random(2.0), Weights::Rising),
    ((140_000, 17, 3, 2e5), Law::Signs, Atoms::Random(2.0), Weights::Rising),
    ((140_000, 6, 3, 2e5), Law::Normal, Atoms::Random(6.0), Weights::Uneven),
    ((140_000, 3, 2, 2000.0), Law::Normal, Atoms::Random(1.5), Weights::Rising),
    ((140_000, 12, 4, 3e5), Law::Wild, Atoms::Random(2.0), Weights::Rising),
];

struct Instance {
    x: Vec<f64>,
    columns: usize,
    counts: Vec<f64>,
    weights: Vec<f64>,
    atoms: Vec<f64>,
}

impl Instance {
    fn new((size, law, atoms, weights): (Size, Law, Atoms, Weights), instance: u128) -> Self {
        let (p, l, k, draws) = size;
        let mut random = Pcg64::new(instance, 5);
        let heavy = ChiSquared::new(3.0).unwrap();
        let mut feature = || -> f64 {
            let z: f64 = random.sample(StandardNormal);
            match law {
                Law::Signs => z.signum(),
                Law::Heavy => z / f64::sqrt(heavy.sample(&mut random)),
                _ => z,
            }
        };
        let mut x: Vec<f64> = (0..p * l).map(|_| feature()).collect();
        let mut theta: Vec<f64> = (0..k * l).map(|_| random.sample(StandardNormal)).collect();
        let (Atoms::Random(norm) | Atoms::Opposite(norm)) = atoms;
        scale_to(norm, &mut theta, l);
        if matches!(atoms, Atoms::Opposite(_)) {
            for pair in theta.chunks_mut(2 * l).filter(|pair| pair.len() == 2 * l) {
                let (a, b) = pair.split_at_mut(l);
                b.iter_mut().zip(a).for_each(|(b, a)| *b = -*a);
            }
        }
        let raw: Vec<f64> = match weights {
            Weights::Equal => vec![1.0; k],
            Weights::Rising => (2..k + 2).map(|j| j as f64).collect(),
            Weights::Uneven => (0..k).map(|j| if j == 0 { 0.9 } else { 0.1 / (k - 1) as f64 }).collect(),
        };
        let total: f64 = raw.iter().sum();
        let weights: Vec<f64> = raw.iter().map(|w| w / total).collect();
        let pi = shares(&x, l, &weights, &theta);
        let counts = pi.iter().map(|m| Poisson::new((draws * m).max(1e-12)).unwrap().sample(&mut random)).collect();
        if matches!(law, Law::Wild) {
            let scale = |j: usize| 10f64.powf(6.0 * j as f64 / (l - 1).max(1) as f64 - 3.0);
            // x'_j = s_j (x_j + 3 x_{j−1} + 10): θ from the last feature to the first.
            for row in x.chunks_mut(l) {
                for j in (0..l).rev() {
                    row[j] = scale(j) * (10.0 + row[j] + if j > 0 { 3.0 * row[j - 1] } else { 0.0 });
                }
            }
            for atom in theta.chunks_mut(l) {
                for j in (0..l).rev() {
                    atom[j] -= if j + 1 < l { 3.0 * atom[j + 1] * scale(j + 1) } else { 0.0 };
                    atom[j] /= scale(j);
                }
            }
        }
        Instance { x, columns: l, counts, weights, atoms: theta }
    }

    fn data(&self) -> Data<'_> {
        let features = Features::row_major(&self.x[..], self.counts.len(), self.columns).unwrap();
        Data::new(features, None, None, Choices::Counts(&self.counts)).unwrap()
    }

    fn truth(&self) -> Starts<'_> {
        Starts::Given(MixtureRef { weights: &self.weights, atoms: &self.atoms })
    }
}

/// Whether reading the features is what costs, and starts agree: not with few alternatives for each feature.
fn reads_are_few((p, l, _, _): Size) -> bool {
    p * l > 1 << 15 && p > 10 * l
}

/// What is wrong with the fits of an instance; with `trials`, two seeds more are tried and a line is printed.
fn failures(at: usize, instance: u128, trials: bool) -> Vec<String> {
    let setting = SETTINGS[at];
    let mut failures = vec![];
    let clock = std::time::Instant::now();
    let job = Instance::new(setting, instance);
    let (data, k) = (job.data(), setting.0.2);
    let fit = |options: &FitOptions<'_>| Fit::new(&data, options).unwrap();
    let value = |f: &Fit| f.report.log_likelihood;
    let truth = fit(&FitOptions { starts: job.truth(), ..FitOptions::new(k) });
    let found: Vec<Fit> = (0..if trials { 3 } else { 1 }).map(|seed| fit(&FitOptions { seed, ..FitOptions::new(k) })).collect();
    let took = clock.elapsed().as_secs_f64();
    let wide = trials.then(|| fit(&FitOptions { seed: 1000, starts: Starts::Count(400), ..FitOptions::new(k) }));
    let best = found.iter().chain(&wide).fold(value(&truth), |m, f| m.max(value(f)));
    let short: Vec<f64> = found.iter().map(|f| (best - value(f)) / data.total_weight()).collect();
    if let Some(wide) = &wide {
        let one: Vec<u64> = (0..8)
            .map(|seed| fit(&FitOptions { seed, max_evaluations: 1000, starts: Starts::Count(1), ..FitOptions::new(k) }).report.passes)
            .collect();
        let mean = one.iter().sum::<u64>() as f64 / one.len() as f64;
        println!(
            "{at:>2} {instance} {setting:?}: short {short:?} truth {:.1e} wide {:.1e} ({} of {}); {:?} starts {:?} at best {:?} by {:?}; evaluations {:?}, passes {:?} one {mean:.0} truth {} ratio {:.1}; {took:.2} s",
            (best - value(&truth)) / data.total_weight(),
            (best - value(wide)) / data.total_weight(),
            wide.report.at_best,
            wide.report.starts,
            found.iter().map(|f| f.report.outcome).collect::<Vec<_>>(),
            found.iter().map(|f| f.report.starts).collect::<Vec<_>>(),
            found.iter().map(|f| f.report.at_best).collect::<Vec<_>>(),
            found.iter().map(|f| f.starts[f.report.best_start].0.name()).collect::<Vec<_>>(),
            found.iter().map(|f| f.report.evaluations).collect::<Vec<_>>(),
            found.iter().map(|f| f.report.passes).collect::<Vec<_>>(),
            truth.report.passes,
            found.iter().map(|f| f.report.passes as f64).sum::<f64>() / found.len() as f64 / mean,
        );
    }
    // Reading a large choice set is what costs: at most ten times what one start reads.
    if reads_are_few(setting.0) {
        let one = |seed| fit(&FitOptions { seed, starts: Starts::Count(1), ..FitOptions::new(k) }).report.passes;
        let (all, one) = (found[0].report.passes, (0..4).map(one).sum::<u64>() / 4);
        if all > 10 * one {
            failures.push(format!("{at} {setting:?}, instance {instance}: {all} reads of the features, {one} by one start"));
        }
    }
    if short.iter().any(|s| *s > 1e-8) {
        failures.push(format!("{at} {setting:?}, instance {instance}: {short:?} per draw below the best"));
    }
    failures
}

#[test]
fn default_options_reach_the_best_known_optimum_of_simulated_choice_sets() {
    let instances: Option<u128> = std::env::var("SOFTMIX_SEARCH").ok().map(|n| n.parse().unwrap());
    let only: Option<usize> = std::env::var("SOFTMIX_SETTING").ok().map(|n| n.parse().unwrap());
    let first: u128 = std::env::var("SOFTMIX_FIRST").map_or(77, |n| n.parse().unwrap());
    let settings = (0..SETTINGS.len()).filter(|at| only.is_none_or(|o| o == *at));
    let jobs = Mutex::new(settings.flat_map(|at| (first..first + instances.unwrap_or(1)).map(move |instance| (at, instance))));
    // Trials are timed, one after the other.
    let threads = if instances.is_some() { 1 } else { std::thread::available_parallelism().map_or(1, |n| n.get()) };
    let next = || jobs.lock().unwrap().next();
    let work = || std::iter::from_fn(next).flat_map(|(at, instance)| failures(at, instance, instances.is_some())).collect::<Vec<_>>();
    let failures: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn races_on_a_sample_keep_the_rules_of_a_fit() {
    keeps_the_rules_of_a_fit(140_000);
}

#[test]
fn races_on_a_small_sample_keep_the_rules_of_a_fit() {
    keeps_the_rules_of_a_fit(20_000);
}

/// Where first starts on a small sample do not agree others race on all alternatives, and nothing is lost: to classes of which some are
/// small.
#[test]
fn a_search_that_is_not_easy_is_of_all_alternatives() {
    let job = Instance::new(((17_000, 3, 3, 1e5), Law::Heavy, Atoms::Random(2.0), Weights::Uneven), 5);
    let data = job.data();
    let truth = Fit::new(&data, &FitOptions { starts: job.truth(), ..FitOptions::new(3) }).unwrap().report;
    let fit = Fit::new(&data, &FitOptions::new(3)).unwrap();
    assert!(fit.report.log_likelihood >= truth.log_likelihood - 1e-8 * truth.log_likelihood.abs(), "{:?} {truth:?}", fit.report);
    assert!(fit.starts.iter().all(|(_, f)| *f <= fit.report.log_likelihood + 1e-8 * f.abs()), "{:?}", fit.starts);
    assert!(2 * fit.report.passes > fit.report.evaluations, "read as often as a search on all takes: {:?}", fit.report);
    assert_eq!(fit.report.starts, fit.starts.len());
    // A budget that ends with the race on the sample ends all.
    for most in [100, 200, 300] {
        let short = Fit::new(&data, &FitOptions { max_evaluations: most, ..FitOptions::new(3) }).unwrap().report;
        assert!(short.evaluations <= most + 60 && short.starts as u64 <= most / 40, "{short:?}");
    }
    // As many as are asked for.
    assert_eq!(Fit::new(&data, &FitOptions { starts: Starts::Count(19), ..FitOptions::new(3) }).unwrap().report.starts, 19);
}

/// Of an alternative that lies far from all others a sample may have nothing: what starts came to on it is nothing on all, where others
/// race.
#[test]
fn a_sample_that_misleads_is_not_rested_on() {
    let (p, l) = (20_000, 3);
    let mut on_all = 0;
    for seed in 0..3 {
        let mut random = Pcg64::new(seed, 9);
        let mut x: Vec<f64> = (0..p * l).map(|_| random.sample(StandardNormal)).collect();
        // The difference of two features tells both from all others, each of which is within what others have.
        x.chunks_exact_mut(l).for_each(|x| x[1] = x[0] + 0.01 * x[1]);
        x[..2 * l].copy_from_slice(&[0.0, 0.45, 0.0, 0.1, 0.7, 0.2]);
        let mut counts = multinomial(&shares(&x, l, &[1.0], &[-0.5, 0.3, -0.8]), 18_000, &mut random);
        (counts[0], counts[1]) = (12_000.0, 0.0);
        let data = Data::new(Features::row_major(&x[..], p, l).unwrap(), None, None, Choices::Counts(&counts)).unwrap();
        let [one, two] = [1, 2].map(|k| Fit::new(&data, &FitOptions::new(k)).unwrap().report);
        let given = MixtureRef { weights: &[0.6, 0.4], atoms: &[-0.5, 0.3, -0.8, -30.0, 30.0, 0.0] };
        let from_near = Fit::new(&data, &FitOptions { starts: Starts::Given(given), ..FitOptions::new(2) }).unwrap().report;
        let least = f64::max(one.log_likelihood + 5.0, from_near.log_likelihood - 1e-2);
        assert!(two.log_likelihood >= least, "{two:?} {one:?} {from_near:?}");
        // A first draw of 64, and another.
        on_all += usize::from(two.starts > 128);
    }
    assert!(on_all >= 2, "{on_all}");
}

/// A race on a sample of p alternatives: the same bits for any number of threads, sparse counts as dense ones, an end wherever the budget
/// or the callback asks for one, and starts that fell out are not at the best.
fn keeps_the_rules_of_a_fit(p: usize) {
    let job = Instance::new(((p, 3, 2, 1e5), Law::Normal, Atoms::Random(1.5), Weights::Rising), 7);
    let (data, options) = (job.data(), FitOptions { gradient_tolerance: 1e-7, ..FitOptions::new(2) });
    let fit = Fit::new(&data, &options).unwrap();
    let report = fit.report;
    assert_eq!(report.outcome, softmix::Outcome::Converged);
    let best = report.penalized_log_likelihood;
    // But for rounding, which ways of evaluation that differ do apart.
    assert!(fit.starts.iter().all(|(_, f)| *f <= best + 1e-13 * best.abs()), "{best} {:?}", fit.starts);
    assert!((1..=fit.starts.len()).contains(&report.at_best), "{report:?}");
    assert!(4 * report.passes < report.evaluations, "{report:?}");

    let mut threads = options;
    threads.context.threads = 3;
    let again = Fit::new(&data, &threads).unwrap();
    assert!(again.mixture == fit.mixture && again.starts == fit.starts);

    let (indices, counts): (Vec<usize>, Vec<f64>) = job.counts.iter().copied().enumerate().filter(|(_, n)| *n > 0.0).unzip();
    let sparse = Data::new(*data.features(), None, None, Choices::SparseCounts { indices: &indices, counts: &counts }).unwrap();
    let of_sparse = Fit::new(&sparse, &options).unwrap().report.log_likelihood;
    assert!((of_sparse - report.log_likelihood).abs() <= 1e-9 * best.abs(), "{of_sparse} {report:?}");

    for most in [1, 2, 50, 150, report.evaluations - 10] {
        let short = Fit::new(&data, &FitOptions { max_evaluations: most, ..options }).unwrap().report;
        assert!(short.log_likelihood.is_finite() && short.evaluations <= most + 60, "{most} {short:?}");
    }
    let mut all = 0;
    let mut racing = f64::NEG_INFINITY;
    let mut count = |p: &softmix::fit::Progress| {
        all += 1;
        racing = if p.racing { racing.max(p.current) } else { racing };
        true
    };
    Fit::with_progress(&data, &options, &mut count).unwrap();
    // Values on a sample are told as the estimates that they are.
    assert!((racing - best).abs() <= 0.02 * best.abs(), "{racing} {best}");
    for after in [1, all / 4, all / 2, 3 * all / 4, all - 1] {
        let (mut calls, mut highest) = (0, f64::NEG_INFINITY);
        let mut progress = |p: &softmix::fit::Progress| {
            calls += 1;
            highest = p.best;
            calls < after
        };
        let cancelled = Fit::with_progress(&data, &options, &mut progress).unwrap().report;
        assert_eq!(cancelled.outcome, softmix::Outcome::Cancelled);
        assert!(cancelled.log_likelihood.is_finite() && highest <= best + 1e-9 * best.abs(), "{cancelled:?}");
    }

    // Hardly more alternatives are available than a sample would have: all of them race.
    let offset: Vec<f64> =
        job.counts.iter().enumerate().map(|(i, n)| if *n == 0.0 && i % 8 > 0 { f64::NEG_INFINITY } else { 0.0 }).collect();
    let few = Data::new(*data.features(), Some(&offset), None, Choices::Counts(&job.counts)).unwrap();
    let fit = Fit::new(&few, &options).unwrap();
    assert!(fit.report.outcome == softmix::Outcome::Converged && fit.report.log_likelihood > report.log_likelihood);
}

#[test]
fn data_without_an_answer_still_give_a_valid_fit() {
    let x: Vec<f64> = (0..60).map(|i| f64::from((i * 37) % 23) / 7.0 - 1.5).collect();
    let support: Vec<f64> = (0..30).map(|i| f64::from(i % 3)).flat_map(|v| [v, v * v]).collect();
    let (equal, mut few) = (vec![3.0; 30], vec![0.0; 30]);
    (few[3], few[9], few[20]) = (5.0, 1.0, 2.0);
    // Name, features of two columns, counts, most classes.
    let cases: [(&str, &[f64], &[f64], usize); 6] = [
        ("all-equal counts", &x, &equal, 4),
        ("as many classes as chosen alternatives", &x, &few, 3),
        ("more classes than different rows", &support, &equal, 5),
        ("identical features", &[2.0; 60], &equal, 3),
        ("one alternative", &x[..2], &[7.0], 1),
        ("one of two alternatives", &x[..4], &[7.0, 0.0], 1),
    ];
    for (name, x, counts, most) in cases {
        let data = Data::new(Features::row_major(x, counts.len(), 2).unwrap(), None, None, Choices::Counts(counts)).unwrap();
        for k in 1..=most {
            let fit = Fit::new(&data, &FitOptions::new(k)).unwrap();
            let m = MixtureRef::new(&fit.mixture.weights, &fit.mixture.atoms, 2);
            assert!(m.is_ok() && fit.report.log_likelihood.is_finite(), "{name}, K = {k}: {fit:?}");
        }
        assert!(Fit::new(&data, &FitOptions::new(counts.len() + 1)).is_err(), "{name}: more classes than units");
    }
    // One unit.
    let (indptr, indices) = ([0, 3], [0, 4, 4]);
    let choices = Choices::Units { indptr: &indptr, indices: &indices, counts: None, weights: None };
    let data = Data::new(Features::row_major(&x[..], 30, 2).unwrap(), None, None, choices).unwrap();
    assert!(Fit::new(&data, &FitOptions::new(1)).unwrap().report.log_likelihood.is_finite());
    assert!(Fit::new(&data, &FitOptions::new(2)).is_err());
}

/// People who choose at random among two alternatives: starts agree on one class twice, or on broad classes, and miss a narrow one.
#[test]
fn agreement_does_not_end_the_search_of_a_small_panel() {
    let mut below = 0;
    for seed in 0..40 {
        let mut random = Pcg64::new(seed, 7);
        let (people, situations, columns) = (random.random_range(15..60), random.random_range(3..8), random.random_range(1..4));
        let sets: Vec<usize> = (0..=people * situations).map(|s| 2 * s).collect();
        let x: Vec<f64> = (0..sets.len() * 2 * columns - 2 * columns).map(|_| random.sample(StandardNormal)).collect();
        let indptr: Vec<usize> = (0..=people).map(|u| u * situations).collect();
        let indices: Vec<usize> = sets[1..].iter().map(|end| end - random.random_range(1..3)).collect();
        let choices = Choices::Units { indptr: &indptr, indices: &indices, counts: None, weights: None };
        let data = Data::new(Features::row_major(&x[..], 2 * people * situations, columns).unwrap(), None, Some(&sets), choices).unwrap();
        let f = |options: &FitOptions<'_>| Fit::new(&data, options).unwrap().report.penalized_log_likelihood;
        let found = f(&FitOptions::new(2));
        let best = f(&FitOptions { starts: Starts::Count(800), seed: 1, ..FitOptions::new(2) });
        below += usize::from(found < best - 1e-5 * best.abs());
    }
    assert!(below <= 2, "{below} of 40 fits end below the best known");
}
