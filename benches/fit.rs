//! Whole fits, from given starts and by default options; before each is timed, one line says how many evaluations it takes.
//!
//! Jobs A and B are those of the tests. A2 (10 000 alternatives, 50 features, 5 classes) and A3 (30 000, 384, 4) are read from `a2_*.npy`
//! and `a3_*.npy` (features, counts, theta_warm) in the directory that `SOFTMIX_JOBS` names, and drawn alike where it names none.

#[path = "../tests/common/mod.rs"]
mod common;

use common::random::{Random, simulated_panel};
use common::simulate::{multinomial, scale_to, shares};
use common::{Panel, electricity, flights, job, job_b, npy};
use criterion::{Criterion, criterion_group, criterion_main};
use rand::Rng;
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;
use softmix::data::{Choices, Data, Features};
use softmix::fit::{Fit, FitOptions, Starts};
use softmix::mixture::MixtureRef;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// What is chosen from, by whom, and where a fit starts.
struct Job {
    name: &'static str,
    classes: usize,
    panel: Option<Panel>,
    features: Vec<f64>,
    counts: Vec<f64>,
    start: Option<Vec<f64>>,
    /// Whether default options are timed too.
    search: bool,
}

impl Job {
    fn data(&self) -> Data<'_> {
        match &self.panel {
            Some(panel) => panel.data(),
            None => {
                let (p, l) = (self.counts.len(), self.features.len() / self.counts.len());
                Data::new(Features::row_major(&self.features[..], p, l).unwrap(), None, None, Choices::Counts(&self.counts)).unwrap()
            }
        }
    }

    fn counts(name: &'static str, classes: usize, features: Vec<f64>, counts: Vec<f64>, start: Vec<f64>, search: bool) -> Self {
        Job { name, classes, panel: None, features, counts, start: Some(start), search }
    }

    fn panel(name: &'static str, classes: usize, panel: Panel, start: Option<Vec<f64>>) -> Self {
        Job { name, classes, panel: Some(panel), features: vec![], counts: vec![], start, search: true }
    }
}

/// Features, counts and a start near the truth: atoms of norm 2, weights in the ratio 2 : 3 : …, a million draws.
fn draw(rows: usize, columns: usize, classes: usize) -> [Vec<f64>; 3] {
    let mut random = Pcg64::new(20240914, classes as u128);
    let mut normal = |n: usize| -> Vec<f64> { (0..n).map(|_| random.sample(StandardNormal)).collect() };
    let features = normal(rows * columns);
    let mut scaled = |norm: f64| -> Vec<f64> {
        let mut atoms = normal(classes * columns);
        scale_to(norm, &mut atoms, columns);
        atoms
    };
    let (atoms, moves) = (scaled(2.0), scaled(0.6));
    let rising: Vec<f64> = (0..classes).map(|k| (k + 2) as f64 / (classes * (classes + 3) / 2) as f64).collect();
    let counts = multinomial(&shares(&features, columns, &rising, &atoms), 1_000_000, &mut random);
    [features, counts, atoms.iter().zip(&moves).map(|(a, d)| a + d).collect()]
}

fn large(name: &'static str, rows: usize, columns: usize, classes: usize, search: bool) -> Job {
    let [features, counts, start] = match std::env::var("SOFTMIX_JOBS") {
        Ok(directory) => ["features", "counts", "theta_warm"]
            .map(|part| npy(&std::fs::read(format!("{directory}/{}_{part}.npy", name.to_lowercase())).unwrap())),
        Err(_) => draw(rows, columns, classes),
    };
    Job::counts(name, classes, features, counts, start, search)
}

/// A million alternatives, 16 features, 4 classes: starts race on a sample.
fn million() -> Job {
    let [features, counts, start] = draw(1_000_000, 16, 4);
    Job::counts("million", 4, features, counts, start, true)
}

/// The electricity panel without three fifths of what nobody chose: choice sets of 1 to 4 alternatives.
fn uneven() -> Panel {
    let Panel { features, columns, sets, indices, indptr, counts, weights, .. } = electricity(usize::MAX);
    let rows = features.len() / columns;
    let kept: Vec<usize> = (0..rows).filter(|i| 7 * i % 5 < 2 || indices.binary_search(i).is_ok()).collect();
    let place = |i: &usize| kept.partition_point(|k| k < i);
    Panel {
        features: kept.iter().flat_map(|i| &features[i * columns..(i + 1) * columns]).copied().collect(),
        columns,
        sets: sets.iter().map(place).collect(),
        offset: None,
        indptr,
        indices: indices.iter().map(place).collect(),
        counts,
        weights,
    }
}

/// A panel of 400 people, 10 × 8 alternatives with 40 features, from a start well off the truth.
fn wide() -> Job {
    let (panel, atoms) = simulated_panel(4000, 10, 8, 40, 4, 0.3, 1);
    let mut random = Random::new(2);
    Job::panel("wide 4", 4, panel, Some(atoms.iter().map(|t| t + 0.3 * random.normal()).collect()))
}

/// 1000 units, each with 50 choices from the same 2000 alternatives.
fn baskets() -> Job {
    let (units, each, rows, columns, classes) = (1000, 50, 2000, 10, 4);
    let mut random = Random::new(3);
    let features = random.normals(rows * columns, 1.0);
    let atoms = random.normals(classes * columns, 2.0 / (columns as f64).sqrt());
    let below: Vec<Vec<f64>> = atoms
        .chunks_exact(columns)
        .map(|atom| {
            let weight = |x: &[f64]| x.iter().zip(atom).map(|(x, t)| x * t).sum::<f64>().exp();
            features.chunks_exact(columns).scan(0.0, |sum, x| Some(std::mem::replace(sum, *sum + weight(x)) + weight(x))).collect()
        })
        .collect();
    let mut choose = |k: usize| below[k].partition_point(|sum| *sum < below[k][rows - 1] * random.uniform()).min(rows - 1);
    let indices: Vec<usize> = (0..units * each).map(|e| choose(e / each % classes)).collect();
    let panel = Panel {
        features,
        columns,
        sets: vec![0, rows],
        offset: None,
        indptr: (0..=units).map(|u| u * each).collect(),
        counts: vec![1.0; indices.len()],
        indices,
        weights: vec![1.0; units],
    };
    Job::panel("baskets 4", classes, panel, None)
}

fn jobs() -> Vec<Job> {
    let a = |name, k| {
        let file = |part| job(&format!("a_k{k}_{part}"));
        Job::counts(name, k, file("features"), file("counts"), file("theta0"), true)
    };
    let b = |name, k| Job::panel(name, k, job_b(k), Some(job(&format!("b_k{k}_theta0"))));
    vec![
        a("A 2", 2),
        a("A 3", 3),
        b("B 2", 2),
        b("B 3", 3),
        Job::panel("electricity 3", 3, electricity(usize::MAX), None),
        Job::panel("electricity 3 uneven", 3, uneven(), None),
        wide(),
        baskets(),
        Job::panel("flights 3", 3, flights(), None),
        large("A2", 10_000, 50, 5, true),
        large("A3", 30_000, 384, 4, false),
        million(),
    ]
}

/// The evaluations of a fit: all of them, and how many until ℓ was within 1e-9 of where it ended.
fn describe(name: &str, data: &Data<'_>, options: &FitOptions<'_>) {
    let mut steps = vec![];
    let started = Instant::now();
    let fit = Fit::with_progress(data, options, &mut |p| {
        steps.push((p.evaluations, p.current, started.elapsed()));
        true
    })
    .unwrap();
    let end = fit.report.penalized_log_likelihood;
    let near = steps.iter().find(|s| s.1 >= end - 1e-9 * end.abs()).unwrap();
    let all = started.elapsed();
    println!(
        "{name}: {:.6}, {} of {} evaluations and {:.3} of {:.3} ms until within 1e-9, {} reads, {:?} by {:?}, {} of {} starts at the best",
        fit.report.log_likelihood,
        near.0,
        fit.report.evaluations,
        1e3 * near.2.as_secs_f64(),
        1e3 * all.as_secs_f64(),
        fit.report.passes,
        fit.report.outcome,
        fit.report.stop,
        fit.report.at_best,
        fit.report.starts
    );
}

fn benchmark(c: &mut Criterion) {
    let wanted = std::env::args().skip(1).find(|a| !a.starts_with('-'));
    for job in jobs() {
        let data = job.data();
        let weights = vec![1.0 / job.classes as f64; job.classes];
        let base = FitOptions::new(job.classes);
        let given = job.start.as_ref().map(|atoms| FitOptions { starts: Starts::Given(MixtureRef { weights: &weights, atoms }), ..base });
        for (kind, options) in [("given", given), ("default", job.search.then_some(base))] {
            let Some(options) = options else { continue };
            let name = format!("{} {kind}", job.name);
            if wanted.as_ref().is_some_and(|w| !name.contains(w.as_str())) {
                continue;
            }
            describe(&name, &data, &options);
            c.bench_function(&name, |b| b.iter(|| black_box(Fit::new(&data, &options).unwrap())));
        }
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(2)).warm_up_time(Duration::from_millis(300));
    targets = benchmark
}
criterion_main!(benches);
