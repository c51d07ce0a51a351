//! Latent moments and their estimators: against the oracle and direct sums, against the law at large p, and the table of section 7.
#![cfg(feature = "std")]

mod common;

use common::simulate::{matched_distance, multinomial, scale_to, shares};
use common::{assert_close, golden};
use rand::Rng;
use rand_distr::{Distribution, StandardNormal, StudentT};
use rand_pcg::Pcg64;
use softmix::data::{Choices, Data, Features};
use softmix::error::{Error, ErrorKind};
use softmix::mixture::Mixture;
use softmix::moments::*;
use softmix::parallel::Context;
use softmix::whiten::Whitening;
use softmix::workspace::WorkspaceBuffer;

/// The features of a job, its truth, and counts drawn from it.
struct Job {
    x: Vec<f64>,
    columns: usize,
    truth: Mixture,
    counts: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Law {
    Normal,
    Signs,
    Heavy,
    Student3,
}

/// Features of a law, atoms of one norm in random directions, equal weights; `n` draws, or expected counts for n = 0.
fn job(seed: u64, p: usize, columns: usize, classes: usize, n: u64, norm: f64, law: Law) -> Job {
    let mut random = Pcg64::new(u128::from(seed), 7);
    let normal = |random: &mut Pcg64| -> f64 { random.sample(StandardNormal) };
    let x: Vec<f64> = (0..p * columns)
        .map(|_| match law {
            Law::Normal => normal(&mut random),
            Law::Signs => normal(&mut random).signum(),
            // Student's law with 5 degrees of freedom, and with 3.
            Law::Heavy => normal(&mut random) / ((0..5).map(|_| normal(&mut random).powi(2)).sum::<f64>() / 5.0).sqrt(),
            Law::Student3 => StudentT::new(3.0).unwrap().sample(&mut random),
        })
        .collect();
    let mut atoms: Vec<f64> = (0..classes * columns).map(|_| normal(&mut random)).collect();
    scale_to(norm, &mut atoms, columns);
    let truth = Mixture { weights: vec![1.0 / classes as f64; classes], atoms };
    let pi = shares(&x, columns, &truth.weights, &truth.atoms);
    let counts = if n == 0 { pi.iter().map(|p| 1e6 * p).collect() } else { multinomial(&pi, n, &mut random) };
    Job { x, columns, truth, counts }
}

impl Job {
    fn data(&self) -> Data<'_> {
        let features = Features::row_major(&self.x[..], self.counts.len(), self.columns).unwrap();
        Data::new(features, None, None, Choices::Counts(&self.counts)).unwrap()
    }

    /// Mean distance of matched atoms in whitened units, over the best matching.
    fn error(&self, wh: &Whitening<'_>, atoms: &[f64]) -> f64 {
        matched_distance(wh, atoms, &self.truth.atoms)
    }
}

fn whitening<'w>(data: &Data<'_>, memory: &'w mut Option<WorkspaceBuffer>) -> Whitening<'w> {
    let memory = memory.insert(WorkspaceBuffer::new(Whitening::workspace(&data.shape())).unwrap());
    Whitening::new(data, Context::default().isa, &mut memory.lend()).unwrap()
}

fn frame<'w>(data: &Data<'_>, wh: &Whitening<'w>, memory: &'w mut Option<WorkspaceBuffer>) -> Frame<'w> {
    let memory = memory.insert(WorkspaceBuffer::new(Frame::workspace(&data.shape())).unwrap());
    Frame::new(data, wh, &mut memory.lend()).unwrap()
}

/// Rows in the frame, by the definition.
fn latent(frame: &Frame<'_>, x: &[f64]) -> Vec<Vec<f64>> {
    let row = |x: &[f64]| -> Vec<f64> {
        frame.to_atoms.chunks_exact(frame.columns).map(|t| (0..x.len()).map(|l| t[l] * (x[l] - frame.mean[l])).sum()).collect()
    };
    x.chunks_exact(frame.columns).map(row).collect()
}

fn he(r: usize, c: f64) -> f64 {
    match r {
        0 => 1.0,
        1 => c,
        _ => c * he(r - 1, c) - (r - 1) as f64 * he(r - 2, c),
    }
}

#[test]
fn moments_agree_with_the_oracle() {
    let mut seen = 0;
    for case in golden().iter().filter(|c| c.values.get("moments").is_some()) {
        let m = &case.values["moments"];
        let get = |name: &str| common::floats(&m[name]);
        let counts = get("frequencies");
        let (p, l) = (counts.len(), case.panel.columns);
        let features = Features::row_major(&case.panel.features[..], p, l).unwrap();
        let indices: Vec<usize> = (0..p).collect();
        for choices in [Choices::Counts(&counts), Choices::SparseCounts { indices: &indices, counts: &counts }] {
            let data = Data::new(features, None, None, choices).unwrap();
            let (ctx, shape) = (Context::default(), data.shape());
            let (mut memory, mut memory2) = (None, None);
            let wh = whitening(&data, &mut memory);
            let frame = frame(&data, &wh, &mut memory2);
            let draws = Draws::new(&data).unwrap();
            assert_close("mean", frame.mean, &get("mean"), 1e-12);
            // The oracle's z = C^-1 (x − mean) is a rotation away: y = Q z with Q = T C.
            let c = get("cholesky");
            let q = |a: usize, b: usize| (0..l).map(|j| frame.to_atoms[a * l + j] * c[j * l + b]).sum::<f64>();
            for a in 0..l {
                for b in 0..l {
                    let product: f64 = (0..l).map(|j| q(a, j) * q(b, j)).sum();
                    assert!((product - f64::from(u8::from(a == b))).abs() < 1e-12);
                }
            }
            let back = |t: &[f64]| -> Vec<f64> { (0..l).map(|b| (0..l).map(|a| q(a, b) * t[a]).sum()).collect() };
            let v: Vec<f64> = (0..l).map(|a| (0..l).map(|b| q(a, b) * get("direction")[b]).sum()).collect();

            let mut moments = vec![0.0; 8];
            let mut ws = WorkspaceBuffer::new(univariate_workspace(&shape, 1, 7)).unwrap();
            univariate(&draws, &frame, &v, 7, &mut moments, None, ctx, ws.lend()).unwrap();
            assert_close("univariate", &moments, &get("univariate"), 1e-12);
            let mut crosses = vec![0.0; 4 * l];
            let mut ws = WorkspaceBuffer::new(cross_workspace(&shape, 3)).unwrap();
            cross(&draws, &frame, &v, 3, &mut crosses, None, ctx, ws.lend()).unwrap();
            let crosses: Vec<f64> = crosses.chunks_exact(l).flat_map(back).collect();
            assert_close("cross", &crosses, &get("cross"), 1e-12);

            let (mut m1, mut m2, mut m3) = (vec![0.0; l], vec![0.0; l * l], vec![0.0; packed_len(l)]);
            let out = TensorOutput { first: Some(&mut m1), second: Some(&mut m2), third: Some(&mut m3), ..Default::default() };
            let mut ws = WorkspaceBuffer::new(tensors_workspace(&shape, None)).unwrap();
            tensors(&draws, &frame, out, ctx, ws.lend()).unwrap();
            assert_close("m1", &back(&m1), &get("m1"), 1e-12);
            let rotate = |entry: &dyn Fn(usize, usize, usize) -> f64, a: usize, b: usize, c: usize| -> f64 {
                let mut sum = 0.0;
                for i in 0..l * l * l {
                    let (x, y, z) = (i / (l * l), i / l % l, i % l);
                    sum += q(x, a) * q(y, b) * q(z, c) * entry(x, y, z);
                }
                sum
            };
            let second: Vec<f64> = (0..l * l).map(|i| (0..l * l).map(|j| q(j / l, i / l) * q(j % l, i % l) * m2[j]).sum()).collect();
            assert_close("m2", &second, &get("m2"), 1e-12);
            let third: Vec<f64> =
                (0..l * l * l).map(|i| rotate(&|x, y, z| m3[packed_index(x, y, z)], i / (l * l), i / l % l, i % l)).collect();
            assert_close("m3", &third, &get("m3"), 1e-12);
            seen += 1;
        }
    }
    assert!(seen >= 2);
}

#[test]
fn kernels_are_the_sums_that_define_them() {
    // Small p, f32 and f64, rank-deficient and with an offset column, importance weights too.
    for (seed, deficient, weighted) in [(1, false, false), (2, true, false), (3, true, true), (4, false, true)] {
        let mut j = job(seed, 40, 3, 2, 500, 1.0, Law::Normal);
        if deficient {
            // A fourth feature that is a sum of two, far from 0, exactly so in f32 too.
            j.x.iter_mut().for_each(|x| *x = (*x * 64.0).round() / 64.0);
            j.x = j.x.chunks_exact(3).flat_map(|x| [x[0], x[1], x[2], 1000.0 + x[0] - x[1]]).collect();
            j.columns = 4;
        }
        let single: Vec<f32> = j.x.iter().map(|x| *x as f32).collect();
        let t: Vec<f64> = (0..40).map(|i| if weighted { -0.1 * f64::from(i % 7) } else { 0.0 }).collect();
        for f32s in [false, true] {
            let features = match f32s {
                true => Features::row_major(&single[..], 40, j.columns),
                false => Features::row_major(&j.x[..], 40, j.columns),
            };
            let data = Data::new(features.unwrap(), None, None, Choices::Counts(&j.counts)).unwrap();
            let rows: Vec<f64> = if f32s { single.iter().map(|x| f64::from(*x)).collect() } else { j.x.clone() };
            let (ctx, shape) = (Context::default(), data.shape());
            let (mut memory, mut memory2) = (None, None);
            let wh = whitening(&data, &mut memory);
            assert_eq!(wh.rank, 3);
            let frame = frame(&data, &wh, &mut memory2);
            let draws = if weighted { Draws::weighted(&data, &t).unwrap() } else { Draws::new(&data).unwrap() };
            let y = latent(&frame, &rows);
            let n: Vec<f64> = j.counts.iter().zip(&t).map(|(n, t)| n * t.exp()).collect();
            let total: f64 = n.iter().sum();
            let mean = |f: &dyn Fn(&[f64]) -> f64| -> f64 { n.iter().zip(&y).map(|(n, y)| n * f(y) / total).sum() };
            let error = |f: &dyn Fn(&[f64]) -> f64| -> f64 {
                let m = mean(f);
                let sum: f64 = n.iter().zip(&y).zip(&t).map(|((n, y), t)| n * t.exp() * ((f(y) - m) / total).powi(2)).sum();
                sum.sqrt()
            };
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            let same = |a: usize, b: usize| f64::from(u8::from(a == b));
            let v = [[0.6, 0.0, 0.8], [0.0, -1.0, 0.0]];
            let flat = v.concat();
            // Errors are roots of differences: half the digits.
            let close = |name: &str, got: &[f64], expected: &[f64]| {
                assert_close(name, got, expected, if name.contains("error") { 1e-7 } else { 1e-11 })
            };

            let (mut m, mut e) = (vec![0.0; 12], vec![0.0; 12]);
            let mut ws = WorkspaceBuffer::new(univariate_workspace(&shape, 2, 5)).unwrap();
            univariate(&draws, &frame, &flat, 5, &mut m, Some(&mut e), ctx, ws.lend()).unwrap();
            let of = |i: usize| move |y: &[f64]| he(i % 6, dot(&v[i / 6], y));
            close("univariate", &m, &(0..12).map(|i| mean(&of(i))).collect::<Vec<_>>());
            close("its error", &e, &(0..12).map(|i| error(&of(i))).collect::<Vec<_>>());

            let (mut m, mut e) = (vec![0.0; 12], vec![0.0; 12]);
            let mut ws = WorkspaceBuffer::new(cross_workspace(&shape, 3)).unwrap();
            cross(&draws, &frame, &v[0], 3, &mut m, Some(&mut e), ctx, ws.lend()).unwrap();
            let of = |i: usize| {
                move |y: &[f64]| {
                    let (r, c) = (i / 3, dot(&v[0], y));
                    he(r, c) * y[i % 3] - if r > 0 { r as f64 * he(r - 1, c) * v[0][i % 3] } else { 0.0 }
                }
            };
            close("cross", &m, &(0..12).map(|i| mean(&of(i))).collect::<Vec<_>>());
            close("its error", &e, &(0..12).map(|i| error(&of(i))).collect::<Vec<_>>());

            let third = |a: usize, b: usize, c: usize| {
                move |y: &[f64]| y[a] * y[b] * y[c] - (y[a] * same(b, c) + y[b] * same(a, c) + y[c] * same(a, b))
            };
            let triples: Vec<_> = (0..27).map(|i| (i / 9, i / 3 % 3, i % 3)).filter(|(a, b, c)| a >= b && b >= c).collect();
            let mut outs = [vec![0.0; 3], vec![0.0; 9], vec![0.0; 10], vec![0.0; 3], vec![0.0; 9], vec![0.0; 10]];
            let [m1, m2, m3, e1, e2, e3] = &mut outs;
            let out = TensorOutput {
                first: Some(m1),
                second: Some(m2),
                third: Some(m3),
                first_errors: Some(e1),
                second_errors: Some(e2),
                third_errors: Some(e3),
            };
            let mut ws = WorkspaceBuffer::new(tensors_workspace(&shape, Some(3))).unwrap();
            tensors(&draws, &frame, out, ctx, ws.lend()).unwrap();
            type Entry<'a> = &'a dyn Fn(&dyn Fn(&[f64]) -> f64) -> f64;
            let firsts = |f: Entry<'_>| -> Vec<f64> { (0..3).map(|a| f(&|y: &[f64]| y[a])).collect() };
            let seconds = |f: Entry<'_>| -> Vec<f64> { (0..9).map(|i| f(&|y: &[f64]| y[i / 3] * y[i % 3] - same(i / 3, i % 3))).collect() };
            let thirds = |f: Entry<'_>| -> Vec<f64> {
                let mut out = vec![0.0; 10];
                for &(a, b, c) in &triples {
                    out[packed_index(c, a, b)] = f(&third(a, b, c));
                }
                out
            };
            close("M1", m1, &firsts(&mean));
            close("M2", m2, &seconds(&mean));
            close("M3", m3, &thirds(&mean));
            close("error of M1", e1, &firsts(&error));
            close("error of M2", e2, &seconds(&error));
            close("error of M3", e3, &thirds(&error));

            // Contractions of M3 are those of the full tensor.
            let entry = |a: usize, b: usize, c: usize| m3[packed_index(a, b, c)];
            let mut slices = vec![0.0; 18];
            let mut ws = WorkspaceBuffer::new(third_slices_workspace(&shape)).unwrap();
            third_slices(&draws, &frame, &flat, &mut slices, ctx, ws.lend()).unwrap();
            let expected: Vec<f64> = (0..18).map(|i| (0..3).map(|c| v[i / 9][c] * entry(i / 3 % 3, i % 3, c)).sum()).collect();
            close("slices", &slices, &expected);
            let mut projected = vec![0.0; packed_len(2)];
            let mut ws = WorkspaceBuffer::new(third_projected_workspace(&shape, 2)).unwrap();
            third_projected(&draws, &frame, &flat, None, &mut projected, ctx, ws.lend()).unwrap();
            let of = |a: usize, b: usize, c: usize| -> f64 {
                (0..27).map(|i| v[a][i / 9] * v[b][i / 3 % 3] * v[c][i % 3] * entry(i / 9, i / 3 % 3, i % 3)).sum()
            };
            close("projected", &projected, &[of(0, 0, 0), of(1, 0, 0), of(1, 1, 0), of(1, 1, 1)]);
            // With constants it is the augmented tensor: Π (w + v·δ) expands to M3, M2, M1 and 1.
            let w = [0.7, -0.4];
            third_projected(&draws, &frame, &flat, Some(&w), &mut projected, ctx, ws.lend()).unwrap();
            let (one, two) =
                (|a: usize| dot(&v[a], m1), |a: usize, b: usize| (0..9).map(|i| v[a][i / 3] * v[b][i % 3] * m2[i]).sum::<f64>());
            let of = |a: usize, b: usize, c: usize| -> f64 {
                of(a, b, c)
                    + w[a] * two(b, c)
                    + w[b] * two(a, c)
                    + w[c] * two(a, b)
                    + w[a] * w[b] * one(c)
                    + w[a] * w[c] * one(b)
                    + w[b] * w[c] * one(a)
                    + w[a] * w[b] * w[c]
            };
            close("augmented", &projected, &[of(0, 0, 0), of(1, 0, 0), of(1, 1, 0), of(1, 1, 1)]);
        }
    }
}

/// Squares of Hermite polynomials are beyond f64 before their means are: that is no error of 0.
#[test]
fn moments_of_high_orders_have_infinite_errors() {
    let j = job(4, 40, 2, 2, 200, 1.0, Law::Normal);
    let data = j.data();
    let (ctx, shape, order) = (Context::default(), data.shape(), 200);
    let (mut memory, mut memory2) = (None, None);
    let wh = whitening(&data, &mut memory);
    let frame = frame(&data, &wh, &mut memory2);
    let draws = Draws::new(&data).unwrap();
    let (mut moments, mut errors) = (vec![0.0; order + 1], vec![0.0; order + 1]);
    let mut ws = WorkspaceBuffer::new(univariate_workspace(&shape, 1, order)).unwrap();
    univariate(&draws, &frame, &[1.0, 0.0], order, &mut moments, Some(&mut errors), ctx, ws.lend()).unwrap();
    assert!(moments.iter().all(|m| m.is_finite()) && errors[order] == f64::INFINITY, "{} {}", moments[order], errors[order]);
    assert!(errors[1..100].iter().all(|e| *e > 0.0 && e.is_finite()));
    let (mut moments, mut errors) = (vec![0.0; 2 * (order + 1)], vec![0.0; 2 * (order + 1)]);
    let mut ws = WorkspaceBuffer::new(cross_workspace(&shape, order)).unwrap();
    cross(&draws, &frame, &[1.0, 0.0], order, &mut moments, Some(&mut errors), ctx, ws.lend()).unwrap();
    assert!(errors[2 * order..].iter().all(|e| *e == f64::INFINITY));
    let got = cross(&draws, &frame, &[0.5, 0.5], order, &mut moments, None, ctx, ws.lend());
    assert_eq!(got, Err(Error::new(ErrorKind::InvalidOption, "direction")));
}

#[test]
fn moments_of_the_model_are_those_of_its_atoms_at_large_p() {
    // Expected counts over p normal rows: what is left is the sampling of the rows, of order √(Var / p).
    let p = 200_000;
    let j = job(3, p, 3, 3, 0, 1.0, Law::Normal);
    let data = j.data();
    let (ctx, shape) = (Context::default(), data.shape());
    let (mut memory, mut memory2) = (None, None);
    let wh = whitening(&data, &mut memory);
    let frame = frame(&data, &wh, &mut memory2);
    let draws = Draws::new(&data).unwrap();
    let v = [2.0 / 3.0, -1.0 / 3.0, 2.0 / 3.0];
    let mut moments = vec![0.0; 7];
    let mut ws = WorkspaceBuffer::new(univariate_workspace(&shape, 1, 6)).unwrap();
    univariate(&draws, &frame, &v, 6, &mut moments, None, ctx, ws.lend()).unwrap();
    let along: Vec<f64> = (0..3)
        .map(|k| {
            let mut delta = [0.0; 3];
            frame.from_atom(j.truth.atom(k), &mut delta);
            delta.iter().zip(&v).map(|(a, b)| a * b).sum()
        })
        .collect();
    let mut factorial = 1.0;
    for (r, m) in moments.iter().enumerate() {
        factorial *= f64::max(r as f64, 1.0);
        let law: f64 = along.iter().map(|a| a.powi(r as i32) / 3.0).sum();
        // Var of He_r times a density ratio of mean square e: five deviations.
        let tolerance = 5.0 * (factorial * 3.0 * 2f64.powi(r as i32) / p as f64).sqrt();
        assert!((m - law).abs() < tolerance, "order {r}: {m} is not {law} to {tolerance}");
    }
    assert!((moments[0] - 1.0).abs() < 1e-12);
}

/// The method of moments by tensor, and corrected moments.
fn by_tensor(data: &Data<'_>, wh: &Whitening<'_>, classes: usize, ill_posed: IllPosed) -> softmix::error::Result<Mixture> {
    let mut found = Mixture { weights: vec![0.0; classes], atoms: vec![0.0; classes * wh.columns] };
    let mut ws = WorkspaceBuffer::new(tensor_workspace(&data.shape(), classes)).unwrap();
    tensor(data, wh, ill_posed, &mut found.weights, &mut found.atoms, Context::default(), ws.lend())?;
    Ok(found)
}

fn by_correction(
    data: &Data<'_>,
    wh: &Whitening<'_>,
    classes: usize,
    options: &CorrectionOptions<'_>,
) -> softmix::error::Result<(Mixture, CorrectionReport)> {
    let mut found = Mixture { weights: vec![0.0; classes], atoms: vec![0.0; classes * wh.columns] };
    let mut ws = WorkspaceBuffer::new(corrected_workspace(&data.shape(), classes)).unwrap();
    let report = corrected(data, wh, options, &mut found.weights, &mut found.atoms, Context::default(), ws.lend())?;
    Ok((found, report))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    0.5 * (values[(n - 1) / 2] + values[n / 2])
}

/// Medians over ten seeds of the error of matched atoms: by tensor, and corrected. Normal features, equal weights.
fn table(p: usize, l: usize, k: usize, n: u64, norm: f64) -> (f64, f64, usize) {
    let (mut plain, mut fixed, mut evaluations) = (vec![], vec![], 0);
    for seed in 0..10 {
        let j = job(100 + seed, p, l, k, n, norm, Law::Normal);
        let data = j.data();
        let mut memory = None;
        let wh = whitening(&data, &mut memory);
        plain.push(j.error(&wh, &by_tensor(&data, &wh, k, IllPosed::Project).unwrap().atoms));
        let (found, report) = by_correction(&data, &wh, k, &CorrectionOptions::default()).unwrap();
        fixed.push(j.error(&wh, &found.atoms));
        evaluations = evaluations.max(report.evaluations);
    }
    println!(
        "{p} {l} {k} {n} {norm}: tensor {:.3} corrected {:.3} evaluations {evaluations} {fixed:.2?}",
        median(plain.clone()),
        median(fixed.clone())
    );
    (median(plain), median(fixed), evaluations)
}

#[test]
fn corrected_moments_beat_the_table_of_section_7() {
    // (p, L, K, N, norm), and the medians of the table there: corrected by the plain iteration. Ours must be below them.
    let rows = [
        ((1000, 5, 2, 20_000, 1.0), 0.060),
        ((1000, 5, 2, 20_000, 2.0), 0.046),
        ((1000, 5, 3, 20_000, 2.0), 0.060),
        ((5000, 10, 5, 100_000, 2.0), 0.060),
        ((2000, 20, 8, 200_000, 2.5), 0.12),
    ];
    for ((p, l, k, n, norm), bound) in rows {
        let (plain, fixed, evaluations) = table(p, l, k, n, norm);
        assert!(fixed < bound && fixed < 0.5 * plain, "{p} {l} {k} {n} {norm}: {fixed}, bound {bound}, by tensor {plain}");
        assert!(evaluations <= CorrectionOptions::default().max_evaluations);
    }
}

#[test]
fn estimators_find_the_atoms_of_exact_moments() {
    // A grid with offsets −|x|²/2 is a normal law to many digits (the trapezoidal rule), and expected counts over it have exact moments.
    // Exactly opposite atoms, K = L + 1, uneven weights, one class.
    let cases: [(usize, &[f64], &[f64]); 6] = [
        (2, &[0.5, 0.5], &[0.8, 0.6, -0.8, -0.6]),
        (2, &[0.4, 0.3, 0.3], &[1.2, 0.2, 0.0, -0.6, -1.2, 0.3]),
        (1, &[0.3, 0.7], &[1.0, -1.0]),
        (3, &[0.6, 0.4], &[1.0, 0.0, 0.0, 0.0, 1.0, 0.0]),
        (3, &[0.1, 0.2, 0.3, 0.4], &[1.0, 0.0, 0.0, -0.2, 1.0, 0.0, 0.5, 0.3, 1.0, -1.0, -1.0, -1.0]),
        (3, &[1.0], &[0.3, -0.4, 0.5]),
    ];
    for (l, weights, atoms) in cases {
        let side = 33usize;
        let x: Vec<f64> =
            (0..side.pow(l as u32)).flat_map(|i| (0..l).map(move |j| 0.5 * ((i / side.pow(j as u32) % side) as f64 - 16.0))).collect();
        let b: Vec<f64> = x.chunks_exact(l).map(|x| -0.5 * x.iter().map(|x| x * x).sum::<f64>()).collect();
        let k = weights.len();
        let truth = Mixture { weights: weights.to_vec(), atoms: atoms.to_vec() };
        // Offsets by an extra feature whose atom is 1.
        let with: Vec<f64> = x.chunks_exact(l).zip(&b).flat_map(|(x, b)| x.iter().chain([b])).copied().collect();
        let longer: Vec<f64> = truth.atoms.chunks_exact(l).flat_map(|a| a.iter().chain(&[1.0])).copied().collect();
        let counts: Vec<f64> = shares(&with, l + 1, weights, &longer).iter().map(|p| 1e6 * p).collect();
        let j = Job { x, columns: l, truth, counts };
        let features = Features::row_major(&j.x[..], b.len(), l).unwrap();
        let data = Data::new(features, Some(&b), None, Choices::Counts(&j.counts)).unwrap();
        let mut memory = None;
        let wh = whitening(&data, &mut memory);
        let found = by_tensor(&data, &wh, k, IllPosed::Fail).unwrap();
        assert!(j.error(&wh, &found.atoms) < 1e-6, "tensor, L = {l}, K = {k}: {found:?}");
        assert_close("weights", &found.canonical().weights, &j.truth.canonical().weights, 1e-6);
        let (mut w, mut a) = (vec![0.0; k], vec![0.0; k * l]);
        let mut ws = WorkspaceBuffer::new(direction_workspace(&data.shape(), k)).unwrap();
        let report = direction(&data, &wh, None, IllPosed::Fail, &mut w, &mut a, Context::default(), ws.lend());
        let report = report.unwrap_or_else(|e| panic!("direction, L = {l}, K = {k}: {e}"));
        assert_eq!(report.shrinkage, 0.0);
        // The Hankel matrix of four points turns the ninth digit of a moment into the fourth of an atom.
        assert!(j.error(&wh, &a) < if k < 4 { 1e-5 } else { 5e-3 }, "direction, L = {l}, K = {k}: {w:?} {a:?}");
        // The equations hold exactly at the truth: corrected moments find it to the tolerance of their iteration.
        let (fixed, report) = by_correction(&data, &wh, k, &CorrectionOptions::default()).unwrap();
        assert!(j.error(&wh, &fixed.atoms) < 5e-3, "corrected, L = {l}, K = {k}: {fixed:?} {report:?}");
        let (found, truth) = (fixed.canonical(), j.truth.canonical());
        assert_close("weights", &found.weights, &truth.weights, 1e-2);
    }
}

#[test]
fn a_correction_from_the_truth_stays_there_and_reports_the_likelihood_of_what_it_returns() {
    use softmix::evaluate::{EvaluateOutput, evaluate, evaluate_workspace};
    // Offsets, f32, sparse counts in reverse: the truth solves the equations at expected counts whatever the features are.
    for (law, offsets, order) in [(Law::Normal, true, 3), (Law::Signs, false, 3), (Law::Heavy, true, 5)] {
        let mut j = job(21, 3000, 4, 3, 0, 1.2, law);
        j.x.iter_mut().for_each(|x| *x = f64::from(*x as f32));
        let single: Vec<f32> = j.x.iter().map(|x| *x as f32).collect();
        let b: Vec<f64> = (0..3000).map(|i| if offsets { 0.3 * f64::from(i % 5) } else { 0.0 }).collect();
        // Σ_k α_k A_ik with offsets, by an extra feature whose atom is 1.
        let with: Vec<f64> = j.x.chunks_exact(4).zip(&b).flat_map(|(x, b)| [x[0], x[1], x[2], x[3], *b]).collect();
        let atoms: Vec<f64> = j.truth.atoms.chunks_exact(4).flat_map(|a| [a[0], a[1], a[2], a[3], 1.0]).collect();
        let pi = shares(&with, 5, &j.truth.weights, &atoms);
        let (indices, counts): (Vec<usize>, Vec<f64>) = pi.iter().enumerate().rev().map(|(i, p)| (i, 1e6 * p)).unzip();
        let features = Features::row_major(&single[..], 3000, 4).unwrap();
        let data =
            Data::new(features, offsets.then_some(&b[..]), None, Choices::SparseCounts { indices: &indices, counts: &counts }).unwrap();
        let mut memory = None;
        let wh = whitening(&data, &mut memory);
        let options = CorrectionOptions { start: CorrectionStart::Given(j.truth.view()), order: Some(order), ..Default::default() };
        let (found, report) = by_correction(&data, &wh, 3, &options).unwrap();
        assert!(j.error(&wh, &found.atoms) < 2e-3, "{law:?}: {found:?} {report:?}");
        let mut ws = WorkspaceBuffer::new(evaluate_workspace(&data.shape(), 3)).unwrap();
        let value = evaluate(&data, found.view(), None, Context::default(), EvaluateOutput::default(), ws.lend()).unwrap();
        assert_close("log-likelihood", &[report.log_likelihood], &[value.log_likelihood], 1e-12);
    }
}

#[test]
fn a_correction_keeps_to_its_evaluations() {
    let j = job(3, 2000, 3, 3, 1_000_000, 1.0, Law::Normal);
    let data = j.data();
    let mut memory = None;
    let wh = whitening(&data, &mut memory);
    for start in [CorrectionStart::Auto, CorrectionStart::Given(j.truth.view())] {
        for max_evaluations in [1, 2, 3, 5, 8, 13, 40] {
            let options = CorrectionOptions { start, max_evaluations, ..Default::default() };
            let (_, report) = by_correction(&data, &wh, 3, &options).unwrap();
            assert!((1..=max_evaluations).contains(&report.evaluations), "{report:?} of {max_evaluations}");
        }
    }
}

#[test]
fn a_correction_heeds_its_options() {
    let j = job(3, 2000, 3, 3, 1_000_000, 1.0, Law::Normal);
    let data = j.data();
    let mut memory = None;
    let wh = whitening(&data, &mut memory);
    let options = CorrectionOptions { tilt: Some(0.2), max_evaluations: 20, ..Default::default() };
    let run = |options: CorrectionOptions<'_>| by_correction(&data, &wh, 3, &options).unwrap();
    let (found, report) = run(options);
    assert!(report.tilt == 0.2 && report.passes > 2 * report.evaluations as u64, "{report:?}");
    assert_ne!(run(CorrectionOptions { tilt: Some(0.3), ..options }).0, found);
    assert_eq!(run(CorrectionOptions { order: Some(3), ..options }).0, found, "the default of so few classes");
    assert_ne!(run(CorrectionOptions { order: Some(4), ..options }).0, found);
    let spread = |seed| run(CorrectionOptions { start: CorrectionStart::Spread { seed }, ..options }).0;
    assert_eq!(spread(1), spread(1));
    assert_ne!(spread(1), spread(2));
}

#[test]
fn the_subspace_holds_the_atoms_and_its_profile_counts_them() {
    let j = job(31, 50_000, 8, 4, 400_000, 1.5, Law::Normal);
    let data = j.data();
    let mut memory = None;
    let wh = whitening(&data, &mut memory);
    let (mut mean, mut values, mut directions) = (vec![0.0; 8], vec![0.0; 8], vec![0.0; 64]);
    for tilt in [0.0, 0.5] {
        let mut ws = WorkspaceBuffer::new(subspace_workspace(&data.shape())).unwrap();
        let ctx = Context::default();
        let report = subspace(&data, &wh, tilt, &mut mean, &mut values, &mut directions, ctx, ws.lend()).unwrap();
        assert_eq!(report.suggested_classes, 4, "tilt {tilt}: {values:?}, noise {}", report.noise);
        // What of θ_k − mean lies outside the first three directions: features are close to white, so plain products will do.
        for k in 0..4 {
            let mut rest: Vec<f64> = j.truth.atom(k).iter().zip(&mean).map(|(a, m)| a - m).collect();
            let whole = rest.iter().map(|x| x * x).sum::<f64>();
            for d in directions.chunks_exact(8).take(3) {
                let (c, n) = (d.iter().zip(&rest).map(|(a, b)| a * b).sum::<f64>(), d.iter().map(|a| a * a).sum::<f64>());
                rest.iter_mut().zip(d).for_each(|(x, d)| *x -= c / n * d);
            }
            let left = rest.iter().map(|x| x * x).sum::<f64>();
            assert!(left < 0.05 * whole, "tilt {tilt}, class {k}: {left} of {whole}");
        }
    }
}

/// Of few draws it is sampling that hides eigenvalues: three times the root of `u^T (E Z²) u`, Z the error of M2, where that is largest.
#[test]
fn the_noise_of_a_profile_is_that_of_its_draws_or_of_its_rows() {
    for (n, of_draws) in [(100, true), (400_000, false)] {
        let j = job(32, 2000, 3, 2, n, 1.0, Law::Normal);
        let data = j.data();
        let (mut memory, mut other) = (None, None);
        let wh = whitening(&data, &mut memory);
        let frame = frame(&data, &wh, &mut other);
        let (mut mean, mut values, mut directions) = (vec![0.0; 3], vec![0.0; 3], vec![0.0; 9]);
        let mut ws = WorkspaceBuffer::new(subspace_workspace(&data.shape())).unwrap();
        let report = subspace(&data, &wh, 0.0, &mut mean, &mut values, &mut directions, Context::default(), ws.lend()).unwrap();
        let mut largest = 0.0f64;
        for direction in directions.chunks_exact(3) {
            let (mut u, mut sum) = ([0.0; 3], 0.0);
            frame.from_atom(direction, &mut u);
            // |(y y^T - I) u|² of every draw.
            for (y, c) in latent(&frame, &j.x).iter().zip(&j.counts) {
                let along: f64 = y.iter().zip(&u).map(|(y, u)| y * u).sum();
                sum += c * y.iter().zip(&u).map(|(y, u)| (y * along - u).powi(2)).sum::<f64>();
            }
            largest = largest.max(sum / (report.draws * report.draws));
        }
        assert_close("draws", &[report.draws], &[n as f64], 1e-12);
        let (sampling, rows) = (3.0 * largest.sqrt(), -2.0 * values[2]);
        assert!((sampling > rows) == of_draws, "{sampling} {rows}");
        assert_close("noise", &[report.noise], &[sampling.max(rows)], 1e-9);
        assert_eq!(report.suggested_classes, 1 + values.iter().filter(|v| **v > report.noise).count());
    }
}

/// The base measure is centred at the optimum of one class, which steps along the gradient do not reach with such features, and what heavy
/// tails do to second moments is counted as noise.
#[test]
fn one_class_of_heavy_features_is_told_as_one() {
    for seed in 0..12 {
        for (p, columns, n) in [(1000, 5, 20_000), (2000, 8, 1_000_000)] {
            let j = job(seed, p, columns, 1, n, 1.0, Law::Student3);
            let profile = softmix::scan::Profile::new(&j.data(), Context::default()).unwrap();
            assert_eq!(profile.report.suggested_classes, 1, "seed {seed}, {p} rows: {profile:?}");
        }
    }
}

#[test]
fn more_classes_than_a_tensor_holds_are_found_from_spread_atoms() {
    // K = 4 in two dimensions: order 5 by default.
    let mut best = f64::INFINITY;
    let mut j = job(41, 5000, 2, 4, 200_000, 1.0, Law::Normal);
    j.truth.atoms = vec![2.0, 0.0, 0.0, 2.0, -2.0, 0.0, 0.0, -2.0];
    j.counts = multinomial(&shares(&j.x, 2, &j.truth.weights, &j.truth.atoms), 200_000, &mut Pcg64::new(1, 1));
    let data = j.data();
    let mut memory = None;
    let wh = whitening(&data, &mut memory);
    assert_eq!(by_tensor(&data, &wh, 4, IllPosed::Project).unwrap_err().kind, ErrorKind::IllPosed);
    for seed in 0..4 {
        let options = CorrectionOptions { start: CorrectionStart::Spread { seed }, ..Default::default() };
        best = f64::min(best, j.error(&wh, &by_correction(&data, &wh, 4, &options).unwrap().0.atoms));
    }
    assert!(best < 0.1, "{best}");
    let options = CorrectionOptions { start: CorrectionStart::Direction, ..Default::default() };
    by_correction(&data, &wh, 4, &options).unwrap();
}

#[test]
fn hard_data_give_a_valid_mixture_or_a_named_error_and_never_nan() {
    let equal = |p: usize| vec![3.0; p];
    let mut one = vec![0.0; 60];
    one[7] = 1000.0;
    let mut two = vec![0.0; 60];
    (two[1], two[50]) = (5.0, 1.0);
    let base = job(51, 60, 3, 2, 40, 2.0, Law::Heavy);
    let scaled: Vec<f64> = base.x.chunks_exact(3).flat_map(|x| [1e8 * x[0] + 1e9, 1e-8 * x[1], x[2]]).collect();
    let constant = vec![4.0; 180];
    let cases: [(&[f64], Vec<f64>); 7] = [
        (&base.x, equal(60)),
        (&base.x, one.clone()),
        (&base.x, two),
        (&base.x, base.counts.clone()),
        (&scaled, base.counts.clone()),
        (&constant, base.counts.clone()),
        (&base.x[..3], vec![10.0]),
    ];
    for (i, (x, counts)) in cases.iter().enumerate() {
        let features = Features::row_major(*x, counts.len(), 3).unwrap();
        let data = Data::new(features, None, None, Choices::Counts(counts)).unwrap();
        let (ctx, shape) = (Context::default(), data.shape());
        let mut memory = None;
        let wh = whitening(&data, &mut memory);
        for k in 1..=12 {
            let check = |name: &str, result: softmix::error::Result<Mixture>| match result {
                Ok(m) => {
                    let valid = softmix::mixture::MixtureRef::new(&m.weights, &m.atoms, 3);
                    assert!(valid.is_ok(), "case {i}, K = {k}, {name}: {m:?}");
                }
                Err(e) => {
                    let many = k > data.observed_units();
                    let kind = if many { ErrorKind::TooManyClasses } else { ErrorKind::IllPosed };
                    assert_eq!(e.kind, kind, "case {i}, K = {k}, {name}: {e}");
                }
            };
            for ill_posed in [IllPosed::Fail, IllPosed::Project] {
                let is_short = |m: &Mixture| {
                    let mut beta = vec![0.0; wh.rank];
                    m.atoms.chunks_exact(3).all(|atom| {
                        wh.whiten_atom(atom, &mut beta);
                        beta.iter().map(|b| b * b).sum::<f64>().sqrt() <= LONGEST * (1.0 + 1e-9)
                    })
                };
                let by_tensor = by_tensor(&data, &wh, k, ill_posed);
                assert!(ill_posed == IllPosed::Fail || by_tensor.as_ref().ok().is_none_or(is_short), "case {i}, K = {k}");
                check("tensor", by_tensor);
                let mut m = Mixture { weights: vec![0.0; k], atoms: vec![0.0; 3 * k] };
                let mut ws = WorkspaceBuffer::new(direction_workspace(&shape, k)).unwrap();
                let result = direction(&data, &wh, None, ill_posed, &mut m.weights, &mut m.atoms, ctx, ws.lend());
                assert!(ill_posed == IllPosed::Fail || result.is_err() || is_short(&m), "case {i}, K = {k}");
                check("direction", result.map(|_| m));
            }
            for start in [CorrectionStart::Auto, CorrectionStart::Direction, CorrectionStart::Spread { seed: 1 }] {
                let options = CorrectionOptions { start, ..Default::default() };
                check("corrected", by_correction(&data, &wh, k, &options).map(|m| m.0));
            }
        }
    }
}

#[test]
fn a_projected_direction_is_on_the_simplex_where_the_strict_one_fails() {
    // One class fitted with many: the moments are those of no law on eight points, up to sampling.
    let j = job(61, 2000, 3, 1, 5000, 1.0, Law::Normal);
    let data = j.data();
    let mut memory = None;
    let wh = whitening(&data, &mut memory);
    let (mut w, mut a) = (vec![0.0; 8], vec![0.0; 24]);
    let mut ws = WorkspaceBuffer::new(direction_workspace(&data.shape(), 8)).unwrap();
    let ctx = Context::default();
    let error = direction(&data, &wh, None, IllPosed::Fail, &mut w, &mut a, ctx, ws.lend()).unwrap_err();
    assert_eq!((error.kind, error.argument), (ErrorKind::IllPosed, "moments"));
    let report = direction(&data, &wh, None, IllPosed::Project, &mut w, &mut a, ctx, ws.lend()).unwrap();
    assert!(report.shrinkage > 0.0 && report.shrinkage <= 1.0);
    assert!((w.iter().sum::<f64>() - 1.0).abs() < 1e-12 && w.iter().all(|w| *w >= 0.0));
    // Along another direction, which must be one.
    let before = a.clone();
    direction(&data, &wh, Some(&[0.6, 0.0, -0.8]), IllPosed::Project, &mut w, &mut a, ctx, ws.lend()).unwrap();
    assert_ne!(a, before);
    for (along, kind) in [(&[1.0, 1.0, 0.0][..], ErrorKind::InvalidOption), (&[1.0, 0.0], ErrorKind::Shape)] {
        let error = direction(&data, &wh, Some(along), IllPosed::Project, &mut w, &mut a, ctx, ws.lend()).unwrap_err();
        assert_eq!(error.kind, kind);
    }
}

#[test]
fn only_counts_of_one_choice_set_and_workspaces_of_full_size_are_taken() {
    let j = job(71, 100, 3, 2, 1000, 1.0, Law::Normal);
    let features = Features::row_major(&j.x[..], 100, 3).unwrap();
    let (indptr, indices) = ([0, 2, 3], [4, 5, 9]);
    let units = Choices::Units { indptr: &indptr, indices: &indices, counts: None, weights: None };
    let sets = [0, 50, 100];
    for (sets, choices) in [(None, units), (Some(&sets[..]), Choices::Counts(&j.counts))] {
        let data = Data::new(features, None, sets, choices).unwrap();
        assert_eq!(Draws::new(&data).unwrap_err().kind, ErrorKind::Unsupported);
    }
    let data = j.data();
    let (ctx, shape) = (Context::default(), data.shape());
    let mut memory = None;
    let wh = whitening(&data, &mut memory);
    let mut bytes = vec![core::mem::MaybeUninit::uninit(); 1 << 22];
    let (mut w, mut a) = ([0.0; 3], [0.0; 9]);
    let start = bytes.as_ptr().align_offset(64);
    // Exactly the size from an aligned byte is enough for every start; a line less is an error, not a panic.
    let size = corrected_workspace(&shape, 3).bytes() - 63;
    for start_kind in [CorrectionStart::Tensor, CorrectionStart::Direction, CorrectionStart::Spread { seed: 0 }] {
        let options = CorrectionOptions { start: start_kind, ..Default::default() };
        let ws = softmix::workspace::Workspace::new(&mut bytes[start..start + size]);
        corrected(&data, &wh, &options, &mut w, &mut a, ctx, ws).unwrap();
        let ws = softmix::workspace::Workspace::new(&mut bytes[start..start + size - 64]);
        assert_eq!(corrected(&data, &wh, &options, &mut w, &mut a, ctx, ws).unwrap_err().kind, ErrorKind::Workspace);
    }
    for (which, size) in [(0, tensor_workspace(&shape, 3)), (1, direction_workspace(&shape, 3)), (2, subspace_workspace(&shape))] {
        let mut run = |n: usize| {
            let ws = softmix::workspace::Workspace::new(&mut bytes[start..start + n]);
            match which {
                0 => tensor(&data, &wh, IllPosed::Project, &mut w, &mut a, ctx, ws),
                1 => direction(&data, &wh, None, IllPosed::Project, &mut w, &mut a, ctx, ws).map(|_| ()),
                _ => subspace(&data, &wh, 0.5, &mut [0.0; 3], &mut [0.0; 3], &mut [0.0; 9], ctx, ws).map(|_| ()),
            }
        };
        run(size.bytes() - 63).unwrap();
        assert_eq!(run(size.bytes() - 63 - 64).unwrap_err().kind, ErrorKind::Workspace);
    }
}

#[test]
fn a_frame_of_other_features_is_refused() {
    let [one, two] = [3, 2].map(|l| job(1, 60, l, 2, 1000, 1.0, Law::Normal));
    let (data, other) = (one.data(), two.data());
    let (mut first, mut second) = (None, None);
    let wh = whitening(&other, &mut first);
    let frame = frame(&other, &wh, &mut second);
    let draws = Draws::new(&data).unwrap();
    let size = univariate_workspace(&data.shape(), 2, 2)
        .or(cross_workspace(&data.shape(), 2))
        .or(tensors_workspace(&data.shape(), None))
        .or(third_projected_workspace(&data.shape(), 2))
        .or(third_slices_workspace(&data.shape()));
    let mut memory = WorkspaceBuffer::new(size).unwrap();
    let (v, ctx) = ([1.0, 0.0], Context::default());
    let found = [
        univariate(&draws, &frame, &v, 2, &mut [0.0; 3], None, ctx, memory.lend()),
        cross(&draws, &frame, &v, 2, &mut [0.0; 6], None, ctx, memory.lend()),
        tensors(&draws, &frame, TensorOutput::default(), ctx, memory.lend()),
        third_projected(&draws, &frame, &v, None, &mut [0.0], ctx, memory.lend()),
        third_slices(&draws, &frame, &v, &mut [0.0; 4], ctx, memory.lend()),
    ];
    for found in found {
        assert_eq!(found, Err(softmix::Error { argument: "frame", kind: ErrorKind::Shape, sizes: Some((3, 2)), ..found.unwrap_err() }));
    }
}

#[test]
fn what_stands_for_alternatives_that_are_not_available_does_not_matter() {
    let made = job(2, 400, 3, 3, 20_000, 1.5, Law::Normal);
    for (k, order, sentinel) in [(2, 3, 1e38), (3, 9, 1e38), (2, 3, 1e120)] {
        let found_with = |x: f64| {
            let (mut features, mut n, mut b) = (made.x.clone(), made.counts.clone(), vec![0.0; 400]);
            features[21..24].fill(x);
            (n[7], b[7]) = (0.0, f64::NEG_INFINITY);
            let data = Data::new(Features::row_major(&features[..], 400, 3).unwrap(), Some(&b), None, Choices::Counts(&n)).unwrap();
            let mut memory = None;
            let wh = whitening(&data, &mut memory);
            let (mut w, mut a) = (vec![0.0; k], vec![0.0; 3 * k]);
            let mut ws = WorkspaceBuffer::new(corrected_workspace(&data.shape(), k)).unwrap();
            let options = CorrectionOptions { order: Some(order), ..Default::default() };
            corrected(&data, &wh, &options, &mut w, &mut a, Context::default(), ws.lend()).unwrap();
            let plain = by_tensor(&data, &wh, k, IllPosed::Project).unwrap();
            [w, a, plain.weights, plain.atoms].concat()
        };
        assert_close("the correction, and plain moments", &found_with(sentinel), &found_with(0.0), 1e-9);
    }
}

/// Few distinct rows beside the features, so that a tilt's covariance is all but singular: rounding must not decide what becomes of it.
#[test]
fn a_subspace_under_a_tilt_does_not_turn_on_rounding() {
    let (rows, columns) = (144, 40);
    for seed in 0..60 {
        let mut random = Pcg64::new(seed, 3);
        let distinct: Vec<f64> = (0..48 * columns).map(|_| random.sample(StandardNormal)).collect();
        let mut x = vec![];
        for _ in 0..rows {
            let i = random.random_range(0..48);
            x.extend_from_slice(&distinct[i * columns..(i + 1) * columns]);
        }
        let counts: Vec<f64> = (0..rows).map(|_| f64::from(random.random_range(0..10_u32))).collect();
        let found = |times: f64| {
            let counts: Vec<f64> = counts.iter().map(|n| n * times).collect();
            let data = Data::new(Features::row_major(&x[..], rows, columns).unwrap(), None, None, Choices::Counts(&counts)).unwrap();
            let mut memory = None;
            let wh = whitening(&data, &mut memory);
            let r = wh.rank;
            let (mut mean, mut values, mut directions) = (vec![0.0; columns], vec![0.0; r], vec![0.0; r * columns]);
            let mut ws = WorkspaceBuffer::new(subspace_workspace(&data.shape())).unwrap();
            let ctx = Context::default();
            subspace(&data, &wh, 0.5, &mut mean, &mut values, &mut directions, ctx, ws.lend()).unwrap();
            values
        };
        assert_close("eigenvalues", &found(1.0 + 1e-15), &found(1.0), 1e-3);
    }
}

#[test]
fn features_that_do_not_vary_and_directions_with_nan_are_named() {
    let (x, counts) = ([2.0; 15], [1.0, 2.0, 3.0, 0.0, 4.0]);
    let data = Data::new(Features::row_major(&x[..], 5, 3).unwrap(), None, None, Choices::Counts(&counts)).unwrap();
    let (mut first, mut second) = (None, None);
    let wh = whitening(&data, &mut first);
    let of_nothing = frame(&data, &wh, &mut second);
    let draws = Draws::new(&data).unwrap();
    let mut ws = WorkspaceBuffer::new(
        univariate_workspace(&data.shape(), 2, 2)
            .or(cross_workspace(&data.shape(), 2))
            .or(third_projected_workspace(&data.shape(), 2))
            .or(third_slices_workspace(&data.shape()))
            .or(tensor_workspace(&data.shape(), 1))
            .or(direction_workspace(&data.shape(), 1)),
    )
    .unwrap();
    let (ctx, w, a) = (Context::default(), &mut [0.0], &mut [0.0; 3]);
    for found in [
        univariate(&draws, &of_nothing, &[], 2, &mut [], None, ctx, ws.lend()),
        cross(&draws, &of_nothing, &[], 2, &mut [], None, ctx, ws.lend()),
        third_projected(&draws, &of_nothing, &[], None, &mut [], ctx, ws.lend()),
        third_slices(&draws, &of_nothing, &[], &mut [], ctx, ws.lend()),
        tensor(&data, &wh, IllPosed::Project, w, a, ctx, ws.lend()),
        direction(&data, &wh, None, IllPosed::Project, w, a, ctx, ws.lend()).map(|_| ()),
    ] {
        assert_eq!(found, Err(Error::new(ErrorKind::IllPosed, "features")));
    }
    let made = job(1, 60, 3, 2, 1000, 1.0, Law::Normal);
    let (data, mut first, mut second) = (made.data(), None, None);
    let wh = whitening(&data, &mut first);
    let frame = frame(&data, &wh, &mut second);
    let draws = Draws::new(&data).unwrap();
    let mut ws = WorkspaceBuffer::new(univariate_workspace(&data.shape(), 2, 2).or(cross_workspace(&data.shape(), 2))).unwrap();
    let v = [0.0, 1.0, 0.0, 0.0, f64::NAN, 1.0];
    let found = univariate(&draws, &frame, &v, 2, &mut [0.0; 6], None, ctx, ws.lend());
    assert_eq!(found, Err(Error::new(ErrorKind::NotFinite, "directions").at(4)));
    let long = [0.0, 1.0, 0.0, 0.0, 2.0, 0.0];
    let found = univariate(&draws, &frame, &long, 2, &mut [0.0; 6], None, ctx, ws.lend());
    assert_eq!(found, Err(Error::new(ErrorKind::InvalidOption, "directions").at(3)));
    let found = cross(&draws, &frame, &v[3..], 2, &mut [0.0; 9], None, ctx, ws.lend());
    assert_eq!(found, Err(Error::new(ErrorKind::NotFinite, "direction").at(1)));
}
