//! Kernels on every instruction set of the machine: exp, ln, logsumexp and softmax over 1e3 to 1e7 numbers, the products of
//! a block over typical shapes, and the exponential steps of a block.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use softmix::scalar::Scalar;
use softmix::simd::{self, Element, Isa, Rows};
use std::hint::black_box;
use std::time::Duration;

/// A stream of numbers in (−1, 1), the same on every machine.
fn numbers<T: Scalar>(n: usize, scale: f64) -> Vec<T> {
    let mut state = 1u64;
    (0..n)
        .map(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            T::from_f64(scale * ((state >> 11) as f64 / (1u64 << 52) as f64 - 1.0))
        })
        .collect()
}

fn elementary<T: Element>(c: &mut Criterion, kind: &str) {
    for n in [1_000, 10_000, 100_000, 1_000_000, 10_000_000] {
        let x: Vec<T> = numbers(n, 8.0);
        let positive: Vec<T> = x.iter().map(|x| T::from_f64(x.to_f64().abs())).collect();
        let mut y = vec![T::ZERO; n];
        for isa in Isa::available() {
            let id = BenchmarkId::new(isa.name(), n);
            let mut group = |name: &str, run: &mut dyn FnMut()| {
                let mut group = c.benchmark_group(format!("{name} {kind}"));
                group.throughput(Throughput::Elements(n as u64));
                group.bench_function(id.clone(), |b| b.iter(&mut *run));
                group.finish();
            };
            group("exp", &mut || simd::exp(isa, black_box(&x), &mut y));
            group("ln", &mut || simd::ln(isa, black_box(&positive), &mut y));
            group("logsumexp", &mut || {
                black_box(simd::logsumexp(isa, black_box(&x)));
            });
            group("logsumexp of every 8th", &mut || {
                black_box(simd::logsumexp_strided(isa, black_box(&x), 8));
            });
            group("logsumexp of 8 columns", &mut || simd::logsumexp_columns(isa, black_box(&x), &mut y[..8]));
            group("softmax", &mut || simd::softmax(isa, black_box(&x), &mut y));
            group("softmax in place", &mut || simd::softmax_in_place(isa, black_box(&mut y)));
            group("log-softmax", &mut || simd::log_softmax(isa, black_box(&x), &mut y));
        }
    }
}

fn products<T: Scalar>(c: &mut Criterion, kind: &str) {
    const ROWS: usize = 128;
    for (l, k) in [(5, 2), (5, 3), (6, 8), (10, 40), (16, 8), (50, 5), (384, 4)] {
        let values: Vec<T> = numbers(ROWS * l, 1.0);
        let x = Rows { values: &values, rows: ROWS, columns: l, stride: l };
        let (theta, w): (Vec<f64>, Vec<f64>) = (numbers(l * k, 1.0), numbers(ROWS * k, 1.0));
        let (mut out, mut g, mut h) = (vec![0.0; ROWS * k], vec![0.0; l * k], vec![0.0; l * l]);
        for isa in Isa::available() {
            let id = BenchmarkId::new(isa.name(), format!("{ROWS}x{l}x{k}"));
            // Throughput counts multiply-adds.
            let mut group = |name: &str, work: usize, run: &mut dyn FnMut()| {
                let mut group = c.benchmark_group(format!("{name} {kind}"));
                group.throughput(Throughput::Elements(work as u64));
                group.bench_function(id.clone(), |b| b.iter(&mut *run));
                group.finish();
            };
            group("logits", ROWS * l * k, &mut || simd::logits(isa, black_box(x), &theta, None, &mut out, ROWS));
            group("weighted sum", ROWS * l * k, &mut || simd::weighted_sum(isa, black_box(x), &w, ROWS, &mut g));
            group("gram", ROWS * l * (l + 1) / 2, &mut || simd::gram(isa, black_box(x), &w[..ROWS], &mut h));
        }
    }
}

fn blocks(c: &mut Criterion) {
    const ROWS: usize = 128;
    let s: Vec<f64> = numbers(ROWS * 32, 8.0);
    let (mut y, mut values) = (vec![0.0; ROWS * 32], vec![0.0; ROWS]);
    for isa in Isa::available() {
        let mut group = |name: &str, id: usize, work: usize, run: &mut dyn FnMut()| {
            let mut group = c.benchmark_group(name);
            group.throughput(Throughput::Elements(work as u64));
            group.bench_function(BenchmarkId::new(isa.name(), id), |b| b.iter(&mut *run));
            group.finish();
        };
        group("exp_shifted_sum_to", ROWS, ROWS, &mut || {
            black_box(simd::exp_shifted_sum_to(isa, black_box(&s[..ROWS]), 8.0, &mut y[..ROWS]));
        });
        for k in [2, 3, 5, 8] {
            group("responsibilities of classes", k, ROWS * k, &mut || {
                simd::responsibilities(isa, black_box(&mut y), ROWS, ROWS, k, &mut values)
            });
        }
        for size in [2, 3, 4, 6, 8, 12, 16, 30] {
            let offsets: Vec<usize> = (0..=ROWS).map(|s| s * size).collect();
            group("set_log_sum_exp of size", size, ROWS * size, &mut || simd::set_log_sum_exp(isa, black_box(&s), &offsets, &mut values));
            group("set_softmax of size", size, ROWS * size, &mut || simd::set_softmax(isa, black_box(&mut y), &offsets, &mut values));
        }
    }
}

fn all(c: &mut Criterion) {
    elementary::<f64>(c, "f64");
    elementary::<f32>(c, "f32");
    products::<f64>(c, "f64");
    products::<f32>(c, "f32");
    blocks(c);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(500));
    targets = all
}
criterion_main!(benches);
