//! One evaluation (value and gradient, and responsibilities), choice probabilities, and one EM step, over shapes of both kinds of job.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rand::Rng;
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;
use softmix::em::{MStep, em_step, em_step_workspace};
use softmix::evaluate::{EvaluateOutput, evaluate, evaluate_workspace};
use softmix::predict::{choice_probabilities, choice_probabilities_workspace};
use softmix::whiten::Whitening;
use softmix::workspace::WorkspaceBuffer;
use softmix::{Choices, Context, Data, Features, MixtureRef};

/// Gaussian features and atoms of norm 2, and what there is to choose from.
struct Job {
    name: &'static str,
    features: Vec<f64>,
    features32: Vec<f32>,
    columns: usize,
    counts: Vec<f64>,
    sets: Option<Vec<usize>>,
    indptr: Vec<usize>,
    indices: Vec<usize>,
    weights: Vec<f64>,
    atoms: Vec<f64>,
}

impl Job {
    fn new(name: &'static str, rows: usize, columns: usize, classes: usize, panel: Option<(usize, usize)>) -> Self {
        let mut random = Pcg64::new(1, 2);
        let features: Vec<f64> = (0..rows * columns).map(|_| random.sample(StandardNormal)).collect();
        let atoms = (0..classes * columns).map(|_| 2.0 / (columns as f64).sqrt() * random.sample::<f64, _>(StandardNormal)).collect();
        let counts = (0..rows).map(|_| f64::from(random.random_range(1..100u32))).collect();
        let (sets, indptr, indices) = match panel {
            Some((alternatives, situations)) => {
                let sets: Vec<usize> = (0..=rows / alternatives).map(|s| s * alternatives).collect();
                let indices = sets[..sets.len() - 1].iter().map(|s| s + random.random_range(0..alternatives)).collect();
                (Some(sets), (0..=rows / alternatives / situations).map(|u| u * situations).collect(), indices)
            }
            None => (None, vec![], vec![]),
        };
        let features32 = features.iter().map(|x| *x as f32).collect();
        Job { name, features, features32, columns, counts, sets, indptr, indices, weights: vec![1.0 / classes as f64; classes], atoms }
    }

    fn data(&self, single: bool) -> Data<'_> {
        let rows = self.counts.len();
        let features = match single {
            true => Features::row_major(&self.features32[..], rows, self.columns),
            false => Features::row_major(&self.features[..], rows, self.columns),
        };
        let choices = match self.sets {
            Some(_) => Choices::Units { indptr: &self.indptr, indices: &self.indices, counts: None, weights: None },
            None => Choices::Counts(&self.counts),
        };
        Data::new(features.unwrap(), None, self.sets.as_deref(), choices).unwrap()
    }
}

fn jobs() -> Vec<Job> {
    vec![
        Job::new("counts 200x5x2", 200, 5, 2, None),
        Job::new("counts 10000x50x5", 10_000, 50, 5, None),
        Job::new("counts 30000x384x4", 30_000, 384, 4, None),
        Job::new("counts 1000000x16x8", 1_000_000, 16, 8, None),
        Job::new("panel 300x12x4x6x2", 14_400, 6, 2, Some((4, 12))),
        Job::new("panel 361x12x4x6x4", 17_328, 6, 4, Some((4, 12))),
        Job::new("panel 10000x10x10x20x4", 1_000_000, 20, 4, Some((10, 10))),
    ]
}

fn benchmark(c: &mut Criterion) {
    let ctx = Context::default();
    for job in jobs() {
        let k = job.weights.len();
        let mixture = MixtureRef { weights: &job.weights, atoms: &job.atoms };
        let mut group = c.benchmark_group(job.name);
        for (precision, single) in [("f64", false), ("f32", true)] {
            let data = job.data(single);
            let shape = data.shape();
            group.throughput(Throughput::Bytes(2 * data.features().bytes() as u64));
            let mut gradient = vec![0.0; job.atoms.len()];
            let mut memory = WorkspaceBuffer::new(evaluate_workspace(&shape, k)).unwrap();
            group.bench_function(BenchmarkId::new("evaluate", precision), |b| {
                b.iter(|| {
                    let out = EvaluateOutput { atom_gradient: Some(&mut gradient), ..Default::default() };
                    evaluate(&data, mixture, None, ctx, out, memory.lend()).unwrap().log_likelihood
                })
            });
            group.bench_function(BenchmarkId::new("log-likelihood alone", precision), |b| {
                b.iter(|| evaluate(&data, mixture, None, ctx, EvaluateOutput::default(), memory.lend()).unwrap().log_likelihood)
            });
            if single {
                continue;
            }
            let (mut responsibilities, mut logs) = (vec![0.0; shape.units * k], vec![0.0; shape.units]);
            group.bench_function(BenchmarkId::new("evaluate with responsibilities", precision), |b| {
                b.iter(|| {
                    let (r, logs) = (Some(&mut responsibilities[..]), Some(&mut logs[..]));
                    let gradient = Some(&mut gradient[..]);
                    let out =
                        EvaluateOutput { atom_gradient: gradient, responsibilities: r, unit_log_likelihoods: logs, weight_gradient: None };
                    evaluate(&data, mixture, None, ctx, out, memory.lend()).unwrap().log_likelihood
                })
            });
            let mut memory = WorkspaceBuffer::new(choice_probabilities_workspace(&shape, k)).unwrap();
            let mut by_class = vec![0.0; shape.rows * k];
            group.bench_function(BenchmarkId::new("choice probabilities", precision), |b| {
                b.iter(|| choice_probabilities(&data, mixture, Some(&mut by_class), None, ctx, memory.lend()).unwrap())
            });
            let mut memory = WorkspaceBuffer::new(Whitening::workspace(&shape)).unwrap();
            let whitening = Whitening::new(&data, ctx.isa, &mut memory.lend()).unwrap();
            for form in [MStep::Gradient, MStep::Newton] {
                let mut memory = WorkspaceBuffer::new(em_step_workspace(&shape, k, form)).unwrap();
                group.bench_function(BenchmarkId::new("em_step", format!("{form:?}")), |b| {
                    b.iter(|| {
                        let (mut weights, mut atoms) = (job.weights.clone(), job.atoms.clone());
                        em_step(&data, &whitening, 0.0, form, &mut weights, &mut atoms, ctx, memory.lend()).unwrap().log_likelihood
                    })
                });
            }
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(std::time::Duration::from_secs(2)).warm_up_time(std::time::Duration::from_millis(300));
    targets = benchmark
}
criterion_main!(benches);
