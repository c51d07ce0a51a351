//! Every kernel against its plain definition, on every instruction set of this machine, for lengths 0 to 70.

use softmix::scalar::Scalar;
use softmix::simd::{self, Isa, Rows};

/// A stream of numbers in (−1, 1), the same on every machine.
struct Stream(u64);

impl Stream {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }

    fn take<T: Scalar>(&mut self, n: usize) -> Vec<T> {
        (0..n).map(|_| T::from_f64(self.next())).collect()
    }
}

/// Shapes (rows, L, C, extra stride, extra ld): every L to 70 with few rows and columns, every count of rows to 70, every C.
fn shapes() -> impl Iterator<Item = (usize, usize, usize, usize, usize)> {
    let features = (1..=70).flat_map(|l| [(13, l, 3, 0, 0), (8, l, 9, 2, 5)]);
    let rows = (0..=70).flat_map(|n| [(n, 5, 2, 0, 1), (n, 37, 4, 1, 0)]);
    let columns = (0..=40).flat_map(|c| [(19, 6, c, 0, 0), (19, 70, c, 3, 2)]);
    features.chain(rows).chain(columns).chain([
        (128, 384, 4, 0, 0),
        (256, 50, 5, 0, 0),
        (3, 1000, 2, 0, 0),
        (20, 10, 100, 0, 0),
        (43, 200, 7, 0, 1),
        // Rows in groups, and columns that go through some of the groups at a time.
        (700, 40, 9, 0, 3),
        (300, 100, 7, 0, 0),
        (270, 33, 14, 0, 0),
        (90, 63, 13, 1, 0),
        (40, 64, 5, 0, 0),
        (50, 136, 6, 2, 0),
        // One or two features more than whole vectors hold.
        (33, 17, 1, 0, 0),
        (41, 18, 5, 0, 2),
        (30, 26, 8, 1, 0),
        (95, 34, 6, 0, 0),
        (14, 50, 5, 0, 1),
        (27, 65, 3, 0, 0),
        (3, 66, 4, 0, 0),
        (75, 130, 2, 3, 0),
    ])
}

/// Whether two sums of `n` products agree, where `size` is the sum of the products' absolute values.
fn close(a: f64, b: f64, size: f64, n: usize) -> bool {
    a == b || (a - b).abs() <= 2.0 * n as f64 * f64::EPSILON * size
}

fn products<T: Scalar>() {
    for isa in Isa::available() {
        for (rows, l, c, gap, more) in shapes() {
            let mut stream = Stream((rows * 1_000_003 + l * 1009 + c) as u64);
            let (stride, ld) = (l + gap, rows + more);
            // One past a multiple of the alignment, and not a number more than the rows need.
            let values = stream.take::<T>(1 + (rows.max(1) - 1) * stride + l);
            let x = Rows { values: &values[1..], rows, columns: l, stride };
            let theta: Vec<f64> = stream.take(l * c);
            let mut offset: Vec<f64> = stream.take(rows);
            if rows > 2 {
                offset[2] = f64::NEG_INFINITY;
            }
            let what = format!("{} {} rows {rows} L {l} C {c}", isa.name(), core::any::type_name::<T>());

            let len = if c == 0 { 0 } else { (c - 1) * ld + rows };
            for b in [None, Some(&offset[..])] {
                let mut out = vec![7.5; len];
                simd::logits(isa, x, &theta, b, &mut out, ld);
                for k in 0..c {
                    for i in 0..rows {
                        let terms = x.row(i).iter().zip(&theta[k * l..]).map(|(x, t)| x.to_f64() * t);
                        let b = b.map_or(0.0, |b| b[i]);
                        let (sum, size) = terms.fold((b, b.abs()), |(s, a), t| (s + t, a + t.abs()));
                        assert!(close(out[k * ld + i], sum, size, l + 1), "logits {what}: {} for {sum}", out[k * ld + i]);
                    }
                    for i in rows..ld {
                        assert!(out.get(k * ld + i).is_none_or(|&x| x == 7.5), "logits {what} wrote between the columns");
                    }
                }
            }

            let w: Vec<f64> = stream.take(len);
            let start: Vec<f64> = stream.take(l * c);
            let mut g = start.clone();
            simd::weighted_sum(isa, x, &w, ld, &mut g);
            for k in 0..c {
                for j in 0..l {
                    let g0 = start[k * l + j];
                    let terms = (0..rows).map(|i| w[k * ld + i] * x.row(i)[j].to_f64());
                    let (sum, size) = terms.fold((g0, g0.abs()), |(s, a), t| (s + t, a + t.abs()));
                    assert!(close(g[k * l + j], sum, size, rows + 1), "weighted_sum {what}: {} for {sum}", g[k * l + j]);
                }
            }

            if c > 3 || l > 100 {
                continue;
            }
            let w: Vec<f64> = stream.take(rows);
            let start: Vec<f64> = stream.take(l * l);
            let mut h = start.clone();
            simd::gram(isa, x, &w, &mut h);
            for a in 0..l {
                for b in 0..l {
                    let h0 = start[a * l + b];
                    if b > a {
                        assert!(h[a * l + b] == h0, "gram {what} wrote above the diagonal");
                        continue;
                    }
                    let terms = (0..rows).map(|i| w[i] * x.row(i)[a].to_f64() * x.row(i)[b].to_f64());
                    let (sum, size) = terms.fold((h0, h0.abs()), |(s, a), t| (s + t, a + t.abs()));
                    assert!(close(h[a * l + b], sum, size, rows + 2), "gram {what}: {} for {sum}", h[a * l + b]);
                }
            }
        }
    }
}

#[test]
fn products_of_f64_features_are_the_sums_they_stand_for() {
    products::<f64>();
}

#[test]
fn products_of_f32_features_are_summed_in_f64() {
    products::<f32>();
}

/// Where vectors reach past the last feature into the next row, what is there stays out of the results.
#[test]
fn what_is_no_number_stays_in_its_feature() {
    let rows = 11;
    for (l, c) in (1..=21).flat_map(|l| (1..=9).map(move |c| (l, c))) {
        let mut x = vec![1.0; rows * l];
        x.iter_mut().step_by(l).skip(1).for_each(|first| *first = f64::NAN);
        let single: Vec<f32> = x.iter().map(|x| *x as f32).collect();
        let w = vec![1.0; c * rows];
        for isa in Isa::available() {
            for half in [false, true] {
                let (mut g, mut h) = (vec![0.0; c * l], vec![0.0; l * l]);
                if half {
                    let x = Rows { values: &single, rows, columns: l, stride: l };
                    simd::weighted_sum(isa, x, &w, rows, &mut g);
                    simd::gram(isa, x, &w[..rows], &mut h);
                } else {
                    let x = Rows { values: &x, rows, columns: l, stride: l };
                    simd::weighted_sum(isa, x, &w, rows, &mut g);
                    simd::gram(isa, x, &w[..rows], &mut h);
                }
                for (k, g) in g.iter().enumerate() {
                    assert!(if k % l == 0 { g.is_nan() } else { *g == rows as f64 }, "{} {l} {c} {k}: {g}", isa.name());
                }
                for (a, b) in (0..l).flat_map(|a| (0..=a).map(move |b| (a, b))) {
                    let h = h[a * l + b];
                    assert!(if b == 0 { h.is_nan() } else { h == rows as f64 }, "{} {l} {a} {b}: {h}", isa.name());
                }
            }
        }
    }
}

/// Numbers twice as long as f64, for references: an unevaluated sum.
#[derive(Clone, Copy)]
struct Double(f64, f64);

impl Double {
    fn sum(a: f64, b: f64) -> Double {
        let s = a + b;
        let t = s - a;
        Double(s, (a - (s - t)) + (b - t))
    }

    fn plus(self, other: Double) -> Double {
        let Double(s, e) = Double::sum(self.0, other.0);
        Double::sum(s, e + self.1 + other.1)
    }

    fn times(self, other: Double) -> Double {
        let p = self.0 * other.0;
        let e = self.0.mul_add(other.0, -p);
        Double::sum(p, e + self.0 * other.1 + self.1 * other.0)
    }

    /// `(2^k, e^x / 2^k)`: the Taylor series of `e^(r/64)`, squared six times.
    fn exp(x: f64) -> (i32, Double) {
        const LN_2: [f64; 3] = [std::f64::consts::LN_2, 2.3190468138462996e-17, 5.707708438416212e-34];
        let k = (x / LN_2[0]).round();
        let mut r = Double(x, 0.0);
        for part in LN_2 {
            r = r.plus(Double(-k, 0.0).times(Double(part, 0.0)));
        }
        r = Double(r.0 / 64.0, r.1 / 64.0);
        let mut y = Double(1.0, 0.0);
        for n in (1..16).rev() {
            let n = f64::from(n);
            // r / n as a product with 1 / n in two parts.
            let inverse = Double(1.0 / n, (-n).mul_add(1.0 / n, 1.0) / n);
            y = Double(1.0, 0.0).plus(r.times(inverse).times(y));
        }
        for _ in 0..6 {
            y = y.times(y);
        }
        (k as i32, y)
    }
}

/// How far `y` is from `e^x`, in units in the last place of f64.
fn ulps_of_exp(x: f64, y: f64) -> f64 {
    let (k, exact) = Double::exp(x);
    // In units of the last place of the result, which has exponent k, or k − 1 if exact.0 < 1, and at least −1022.
    let exponent = (k + exact.0.log2().floor() as i32).max(-1022);
    let unit = 52 - exponent;
    let scaled = |v: f64, by: i32| v * 2f64.powi(by / 2) * 2f64.powi(by - by / 2);
    let y = scaled(y, unit);
    ((y - scaled(exact.0, k + unit)) - scaled(exact.1, k + unit)).abs()
}

#[test]
fn exp_of_f64_is_within_1_05_units_in_the_last_place() {
    let mut x: Vec<f64> = Vec::new();
    let mut stream = Stream(1);
    for i in 0..400_000 {
        let u = stream.next();
        x.push(u * 2f64.powi(-(i % 40)));
        x.push(u * 40.0);
        x.push(u * 709.78);
        x.push(-708.0 - 38.0 * u.abs());
        x.push(709.0 + 0.78 * u);
    }
    for isa in Isa::available() {
        let mut y = vec![0.0; x.len()];
        simd::exp(isa, &x, &mut y);
        let worst = x.iter().zip(&y).map(|(&x, &y)| (ulps_of_exp(x, y), x)).fold((0.0, 0.0), |a, b| if b.0 > a.0 { b } else { a });
        println!("{}: {} at {:e}", isa.name(), worst.0, worst.1);
        assert!(worst.0 <= 1.05, "{}: {} at {:e}", isa.name(), worst.0, worst.1);
    }
}

/// Every 61st f32 by default, all of them with `SOFTMIX_EXHAUSTIVE=1`.
#[test]
fn exp_of_f32_is_within_1_05_units_in_the_last_place() {
    let step = if std::env::var_os("SOFTMIX_EXHAUSTIVE").is_some() { 1 } else { 61 };
    for isa in Isa::available() {
        let (mut x, mut y) = (vec![0.0f32; 4096], vec![0.0f32; 4096]);
        let (mut exact, mut wide) = (vec![0.0f64; 4096], vec![0.0f64; 4096]);
        let mut worst = (0.0, 0.0);
        let mut bits = 0u64;
        while bits <= u64::from(u32::MAX) {
            for x in &mut x {
                *x = f32::from_bits(bits.min(u64::from(u32::MAX)) as u32);
                bits += step;
            }
            simd::exp(isa, &x, &mut y);
            for (wide, &x) in wide.iter_mut().zip(&x) {
                *wide = f64::from(x);
            }
            // The f64 kernel has been tested above, and its error does not count here.
            simd::exp(Isa::detect(), &wide, &mut exact);
            for ((&x, &y), &exact) in x.iter().zip(&y).zip(&exact) {
                if x.is_nan() {
                    assert!(y.is_nan());
                } else if exact > 3.402823567797336e38 {
                    assert_eq!(y, f32::INFINITY, "at {x:e}");
                } else {
                    let exponent = ((exact.to_bits() >> 52) as i32 - 1023).max(-126);
                    let ulps = (f64::from(y) - exact).abs() * f64::from_bits(((1023 + 23 - exponent) as u64) << 52);
                    if ulps > worst.0 {
                        worst = (ulps, x);
                    }
                }
            }
        }
        println!("{}: {} at {:e}", isa.name(), worst.0, worst.1);
        assert!(worst.0 <= 1.05, "{}: {} at {:e}", isa.name(), worst.0, worst.1);
    }
}

const SPECIAL: [f64; 4] = [f64::NEG_INFINITY, f64::INFINITY, f64::NAN, -1e300];

/// Lengths 0 to 70 and a few beyond a chunk, each with plain numbers, with numbers wide apart, and with special ones.
fn samples<T: simd::Element>() -> impl Iterator<Item = Vec<T>> {
    (0..=70).chain([127, 128, 129, 1000, 2051, 5000]).flat_map(|n| {
        let mut stream = Stream(n as u64 + 17);
        let mut all = vec![stream.take(n), (0..n).map(|_| T::from_f64(300.0 * stream.next())).collect(), vec![T::from_f64(-1.5); n]];
        all.push((0..n).map(|i| T::from_f64(i as f64 - 20.0)).collect());
        for special in SPECIAL {
            all.push(vec![T::from_f64(special); n]);
            for at in [0, n / 2, n.saturating_sub(1)] {
                let mut x: Vec<T> = stream.take(n);
                if let Some(x) = x.get_mut(at) {
                    *x = T::from_f64(special);
                }
                all.push(x);
            }
        }
        all.into_iter()
    })
}

/// The maximum and `Σ e^(x − max)`, to about 1 ε: terms by the standard library, added with compensation.
fn reference<T: simd::Element>(x: &[T]) -> (f64, f64) {
    let m = x.iter().fold(f64::NEG_INFINITY, |m, x| m.max(x.to_f64()));
    let (mut sum, mut rest) = (0.0, 0.0);
    for x in x {
        let Double(s, e) = Double::sum(sum, (x.to_f64() - m).exp());
        (sum, rest) = (s, rest + e);
    }
    (m, sum + rest)
}

/// The smallest positive number of a type: the distance between subnormal numbers.
fn smallest<T: Scalar>() -> f64 {
    if T::EPSILON > 1e-10 { f64::from(f32::from_bits(1)) } else { f64::from_bits(1) }
}

/// The bound of logsumexp and softmax, for all special cases too.
fn check_logsumexp<T: simd::Element>(isa: Isa, x: &[T], found: f64, what: &str) {
    let (m, sum) = reference(x);
    let what = || format!("{what} {} {} n {}: {found}", isa.name(), core::any::type_name::<T>(), x.len());
    if x.iter().any(|x| x.to_f64().is_nan()) {
        assert!(found.is_nan(), "{}", what());
    } else if m.is_infinite() {
        assert_eq!(found, m, "{}", what());
    } else {
        let bound = 8.0 * T::EPSILON * (m.abs() + (x.len() as f64).ln()).max(1.0);
        assert!((found - (m + sum.ln())).abs() <= bound, "{} for {} ± {bound:e}", what(), m + sum.ln());
    }
}

fn check_softmax<T: simd::Element>(isa: Isa, x: &[T], found: &[T], log: Option<&[T]>) {
    let (m, sum) = reference(x);
    let hopeless = x.iter().any(|x| x.to_f64().is_nan() || x.to_f64() == f64::INFINITY);
    for (i, (x, &found)) in x.iter().zip(found).enumerate() {
        let (x, found, log) = (x.to_f64(), found.to_f64(), log.map(|log| log[i].to_f64()));
        let what = || format!("{} {} n {}: at {x} {found} {log:?}", isa.name(), core::any::type_name::<T>(), sum);
        if hopeless {
            assert!(found.is_nan() && log.is_none_or(f64::is_nan), "{}", what());
        } else if x == f64::NEG_INFINITY {
            assert!(found == 0.0 && log.is_none_or(|log| log == x), "{}", what());
        } else {
            let exact = (x - m).exp() / sum;
            let bound = 8.0 * T::EPSILON * (1.0 + (x - m).abs());
            assert!((found - exact).abs() <= bound * exact + smallest::<T>(), "{} for {exact}", what());
            let exact = x - m - sum.ln();
            assert!(log.is_none_or(|log| (log - exact).abs() <= bound + 4.0 * T::EPSILON * sum.ln()), "{}", what());
        }
    }
}

fn elementary_kernels<T: simd::Element>() {
    for isa in Isa::available() {
        for sample in samples::<T>() {
            // One past the alignment of the allocation.
            let n = sample.len();
            let mut room = vec![T::ZERO; n + 1];
            room[1..].copy_from_slice(&sample);
            let x = &room[1..];

            let mut y = vec![T::ZERO; n];
            simd::exp(isa, x, &mut y);
            for (x, y) in x.iter().zip(&y) {
                let (x, y) = (x.to_f64(), y.to_f64());
                let exact = T::from_f64(x.exp()).to_f64();
                assert!(
                    y == exact || (x.is_nan() && y.is_nan()) || (y - exact).abs() <= 1.6 * T::EPSILON * exact + smallest::<T>(),
                    "{}: e^{x} {y}",
                    isa.name()
                );
            }
            let mut z = x.to_vec();
            simd::exp_in_place(isa, &mut z);
            assert!(z.iter().zip(&y).all(|(a, b)| a == b || (a.to_f64().is_nan() && b.to_f64().is_nan())));

            simd::ln(isa, x, &mut y);
            for (x, y) in x.iter().zip(&y) {
                let (x, y) = (x.to_f64(), y.to_f64());
                let exact = T::from_f64(x.ln()).to_f64();
                assert!(
                    y == exact || (x.is_nan() || x < 0.0) && y.is_nan() || (y - exact).abs() <= 1.1 * T::EPSILON * exact.abs(),
                    "{}: ln {x} {y}",
                    isa.name()
                );
            }

            check_logsumexp(isa, x, simd::logsumexp(isa, x).to_f64(), "logsumexp");
            let state = simd::LogSumExp::of(isa, x);
            check_logsumexp(isa, x, T::from_f64(state.value()).to_f64(), "state");
            let (a, b) = x.split_at(n / 3);
            let merged = simd::LogSumExp::of(isa, a).merge(simd::LogSumExp::of(isa, b));
            check_logsumexp(isa, x, T::from_f64(merged.value()).to_f64(), "merged");
            for stride in [2, 3, 7] {
                let some: Vec<T> = x.iter().step_by(stride).copied().collect();
                check_logsumexp(isa, &some, simd::logsumexp_strided(isa, x, stride).to_f64(), "strided");
            }
            for columns in [1, 2, 3, 5, 8, 13, 16, 17, 40, 300] {
                let x = &x[..n - n % columns];
                let mut out = vec![T::ZERO; columns];
                simd::logsumexp_columns(isa, x, &mut out);
                for (c, out) in out.iter().enumerate() {
                    let column: Vec<T> = x.iter().skip(c).step_by(columns).copied().collect();
                    check_logsumexp(isa, &column, out.to_f64(), "columns");
                }
            }

            let (mut p, mut log) = (vec![T::ZERO; n], vec![T::ZERO; n]);
            simd::softmax(isa, x, &mut p);
            simd::log_softmax(isa, x, &mut log);
            check_softmax(isa, x, &p, Some(&log));
            let (mut p, mut log) = (x.to_vec(), x.to_vec());
            simd::softmax_in_place(isa, &mut p);
            simd::log_softmax_in_place(isa, &mut log);
            check_softmax(isa, x, &p, Some(&log));
        }
    }
}

#[test]
fn f64_kernels_keep_their_bounds_and_rules_at_every_length() {
    elementary_kernels::<f64>();
}

#[test]
fn f32_kernels_keep_their_bounds_and_rules_at_every_length() {
    elementary_kernels::<f32>();
}

/// Sums begin near the largest of the first numbers: wherever those are among the others, and with whatever comes late.
fn sums_from_any_beginning<T: simd::Element>() {
    let mut stream = Stream(5);
    for n in [700, 1541, 5000, 40_001] {
        for level in [0.0, -300.1, 5e4, 1e6, 3e8] {
            for rise in [0.0, 1.7, 33.3, 290.4, 750.0, -200.0, -900.0] {
                let first: Vec<f64> = (0..n).map(|i| level + 2.0 * stream.next() + if i < 64 { 0.0 } else { rise }).collect();
                for (at, special) in
                    [(n, 0.0), (0, f64::NEG_INFINITY), (n - 1, f64::NEG_INFINITY), (n - 3, f64::NAN), (n - 9, f64::INFINITY)]
                {
                    let mut x: Vec<T> = first.iter().map(|x| T::from_f64(*x)).collect();
                    match (at, special) {
                        (0, _) => x[..64].fill(T::from_f64(special)),
                        _ if at < n => x[at] = T::from_f64(special),
                        _ => {}
                    }
                    let largest = x.iter().map(|x| x.to_f64()).fold(f64::NEG_INFINITY, f64::max);
                    let (mut p, mut log) = (vec![T::ZERO; n], vec![T::ZERO; n]);
                    for isa in Isa::available() {
                        check_logsumexp(isa, &x, simd::logsumexp(isa, &x).to_f64(), "from a beginning");
                        let state = simd::LogSumExp::of(isa, &x);
                        assert!(largest.is_infinite() || special.is_nan() || state.max == largest && state.sum >= 1.0, "{state:?}");
                        check_logsumexp(isa, &x, simd::logsumexp_strided(isa, &x, 1).to_f64(), "from a beginning");
                        simd::softmax(isa, &x, &mut p);
                        simd::log_softmax(isa, &x, &mut log);
                        check_softmax(isa, &x, &p, Some(&log));
                    }
                }
            }
        }
    }
}

#[test]
fn f64_sums_keep_their_bounds_from_any_beginning() {
    sums_from_any_beginning::<f64>();
}

#[test]
fn f32_sums_keep_their_bounds_from_any_beginning() {
    sums_from_any_beginning::<f32>();
}

/// The hardest cases for a sum of ten million terms: all equal, all but one far below, and random.
fn long_sums<T: simd::Element>() {
    let n = 10_000_000;
    let mut stream = Stream(3);
    let mut x = vec![T::from_f64(0.1); n];
    for case in 0..3 {
        match case {
            0 => {}
            1 => x[n / 2] = T::from_f64(7.3),
            _ => x.iter_mut().for_each(|x| *x = T::from_f64(3.0 * stream.next())),
        }
        let mut y = vec![T::ZERO; n];
        for isa in Isa::available() {
            check_logsumexp(isa, &x, simd::logsumexp(isa, &x).to_f64(), "long");
            simd::softmax(isa, &x, &mut y);
            check_softmax(isa, &x, &y, None);
            let mut two = [T::ZERO; 2];
            simd::logsumexp_columns(isa, &x, &mut two);
            for (c, value) in two.iter().enumerate() {
                check_logsumexp(isa, &x.iter().skip(c).step_by(2).copied().collect::<Vec<_>>(), value.to_f64(), "long columns");
            }
        }
    }
}

/// Arrays around the sizes where a kernel takes another way: from the last cache, through chunks, past the caches; the maximum of every
/// chunk beyond that of the one before, and neither array aligned.
fn large_arrays<T: simd::Element>() {
    let bytes = size_of::<T>();
    for n in [(1 << 20) / bytes + 5, (8 << 20) / bytes, (8 << 20) / bytes + 1, (13 << 20) / bytes + 7] {
        let mut stream = Stream(n as u64);
        let mut room = stream.take::<T>(n + 3);
        for (i, x) in room.iter_mut().enumerate() {
            *x = T::from_f64(3.0 * x.to_f64() + 20.0 * i as f64 / n as f64);
        }
        let x = &room[3..];
        let mut out = vec![T::ZERO; n + 1];
        for isa in Isa::available() {
            let out = &mut out[1..];
            let (mut part, mut same) = (vec![T::ZERO; 999], true);
            let functions =
                [(simd::exp as fn(Isa, &[T], &mut [T]), simd::exp_in_place as fn(Isa, &mut [T])), (simd::ln, simd::ln_in_place)];
            for (function, in_place) in functions {
                function(isa, x, out);
                let mut room = x.to_vec();
                in_place(isa, &mut room);
                same &= room.iter().zip(&*out).all(|(a, b)| a == b || (a.to_f64().is_nan() && b.to_f64().is_nan()));
                for (x, y) in x.chunks(part.len()).zip(out.chunks(part.len())) {
                    let part = &mut part[..x.len()];
                    function(isa, x, part);
                    same &= part.iter().zip(y).all(|(a, b)| a == b || (a.to_f64().is_nan() && b.to_f64().is_nan()));
                }
                assert!(same, "{} n {n}: a large array is its parts", isa.name());
            }
            simd::softmax(isa, x, out);
            let softmax = out.to_vec();
            simd::log_softmax(isa, x, out);
            check_softmax(isa, x, &softmax, Some(out));
            out.copy_from_slice(x);
            simd::softmax_in_place(isa, out);
            check_softmax(isa, x, out, None);
            // Where the result lies, and what stands beside a number, does not change its bits.
            let mut far = x.to_vec();
            far.iter_mut().step_by(1001).for_each(|x| *x = T::from_f64(f64::NEG_INFINITY));
            far.iter_mut().skip(7).step_by(503).for_each(|x| *x = T::from_f64(x.to_f64() - 85.0));
            let mut in_place = far.clone();
            simd::softmax_in_place(isa, &mut in_place);
            simd::softmax(isa, &far, out);
            assert!(in_place == out, "{} n {n}: softmax in place is that elsewhere", isa.name());
        }
    }
}

#[test]
fn large_arrays_keep_the_bounds_too() {
    large_arrays::<f64>();
    large_arrays::<f32>();
}

#[test]
fn errors_do_not_grow_with_the_length() {
    long_sums::<f64>();
    long_sums::<f32>();
}

#[test]
fn ln_of_f64_is_within_1_unit_in_the_last_place() {
    let mut stream = Stream(5);
    let mut x = vec![f64::MIN_POSITIVE, f64::MAX, 1.0, f64::from_bits(1), f64::from_bits(12345)];
    for i in 0..200_000 {
        let u = stream.next().abs();
        x.extend([u, 1.0 + u * 2f64.powi(-(i % 52)), 1.0 - u * 2f64.powi(-(i % 52)), u * f64::MAX, u * f64::MIN_POSITIVE, 0.6 + u]);
    }
    for isa in Isa::available() {
        let mut y = vec![0.0; x.len()];
        simd::ln(isa, &x, &mut y);
        let mut worst = (0.0, 0.0);
        for (&x, &y) in x.iter().zip(&y) {
            if x == 0.0 || x == 1.0 {
                assert_eq!(y, if x == 0.0 { f64::NEG_INFINITY } else { 0.0 });
                continue;
            }
            let difference = if (x - 1.0).abs() < 1e-3 {
                // The series of ln(1 + f), Horner's way.
                let f = Double(x - 1.0, 0.0);
                let mut series = Double(0.0, 0.0);
                for n in (1..14).rev() {
                    let n = f64::from(n);
                    let inverse = Double(1.0 / n, (-n).mul_add(1.0 / n, 1.0) / n);
                    series = inverse.plus(f.times(series).times(Double(-1.0, 0.0)));
                }
                f.times(series).plus(Double(-y, 0.0))
            } else {
                // ln x − y = ln(x / e^y) = δ − δ²/2 + …, x e^(−y) = 1 + δ.
                let (k, e) = Double::exp(-y);
                let x = x * 2f64.powi(k / 2) * 2f64.powi(k - k / 2);
                e.times(Double(x, 0.0)).plus(Double(-1.0, 0.0))
            };
            let unit = 2f64.powi(y.abs().log2().floor() as i32 - 52);
            let ulps = difference.0.abs() / unit;
            if ulps > worst.0 {
                worst = (ulps, x);
            }
        }
        println!("{}: {} at {:e}", isa.name(), worst.0, worst.1);
        assert!(worst.0 <= 1.0, "{}: {} at {:e}", isa.name(), worst.0, worst.1);
    }
}

#[test]
fn block_kernels_are_what_they_say() {
    for isa in Isa::available() {
        for x in samples::<f64>() {
            let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            if max == f64::INFINITY || x.iter().any(|x| x.is_nan()) {
                continue;
            }
            let mut out = vec![0.0; x.len()];
            let sum = simd::exp_shifted_sum_to(isa, &x, max, &mut out);
            let mut same = x.clone();
            assert_eq!(sum, simd::exp_shifted_sum(isa, &mut same, max));
            assert_eq!(same, out);
            let exact: Vec<f64> = x.iter().map(|x| if x.is_infinite() || x - max < -690.0 { 0.0 } else { (x - max).exp() }).collect();
            for ((&e, &exact), &x) in out.iter().zip(&exact).zip(&x) {
                assert!(
                    (e - exact).abs() <= 2.0 * f64::EPSILON * (1.0 + (x - max).abs()) * exact + f64::from_bits(1) || e == exact,
                    "{x} {e} {exact}"
                );
            }
            assert!((sum - exact.iter().sum::<f64>()).abs() <= x.len() as f64 * f64::EPSILON * sum);
        }
        // Far above the shift a number counts as 707, wherever it stands and however far: a sum never looks smaller than it is.
        for (n, above) in
            [(1, 708.0), (9, 720.0), (40, 1000.0), (40, 1420.5), (13, 1500.0), (70, 3000.0), (33, 1e7), (8, 1e300), (70, f64::INFINITY)]
        {
            for at in 0..n {
                let mut x = vec![-3.0; n];
                x[at] = above;
                let sum = simd::exp_shifted_sum(isa, &mut x, 0.0);
                assert!(sum >= 1e307 && x[at] >= 1e307 && x[at].is_finite(), "{isa:?} {above} at {at} of {n}: {sum}");
            }
            let mut x = vec![f64::NAN; n];
            assert!(simd::exp_shifted_sum(isa, &mut x, 0.0).is_nan());
        }
    }
}

#[test]
fn responsibilities_sum_to_one_and_leave_other_numbers_alone() {
    for isa in Isa::available() {
        for (rows, classes) in (0..=70).flat_map(|n| [(n, 1), (n, 2), (n, 3), (n, 8)]).chain((0..20).map(|k| (11, k))) {
            let mut stream = Stream((rows * 100 + classes) as u64);
            let ld = rows + 3;
            let mut j: Vec<f64> = (0..ld * classes).map(|_| 100.0 * stream.next()).collect();
            for k in 0..classes {
                for (i, special) in [(1, f64::NEG_INFINITY), (5, f64::NEG_INFINITY), (6, f64::NAN), (7, -1e300)] {
                    if i < rows && (i != 5 || k == 0) {
                        j[k * ld + i] = special;
                    }
                }
            }
            let before = j.clone();
            let mut value = vec![0.5; rows];
            simd::responsibilities(isa, &mut j, ld, rows, classes, &mut value);
            for i in 0..ld {
                let row: Vec<f64> = (0..classes).map(|k| before[k * ld + i]).collect();
                let found: Vec<f64> = (0..classes).map(|k| j[k * ld + i]).collect();
                if i >= rows {
                    assert_eq!(row, found);
                    continue;
                }
                check_logsumexp(isa, &row, value[i], "responsibilities");
                check_softmax(isa, &row, &found, None);
            }
        }
    }
}

#[test]
fn sets_of_any_sizes_have_their_normalizers() {
    for isa in Isa::available() {
        for sets in 0..=40 {
            for size in 0..=40 {
                let mut stream = Stream((sets * 41 + size) as u64);
                // All of one size, and all sizes up to it.
                for mixed in [false, true] {
                    let mut offsets = vec![3];
                    for _ in 0..sets {
                        let count = if mixed { (stream.next().abs() * (size + 1) as f64) as usize } else { size };
                        offsets.push(offsets[offsets.len() - 1] + count);
                    }
                    let mut s: Vec<f64> = (0..offsets[sets]).map(|_| 50.0 * stream.next()).collect();
                    if sets % 3 == 1 {
                        let n = s.len();
                        s[3.max(n / 2).min(n - 1)] = SPECIAL[size % 4];
                    }
                    let mut out = vec![0.5; sets];
                    simd::set_log_sum_exp(isa, &s, &offsets, &mut out);
                    for (w, &out) in offsets.windows(2).zip(&out) {
                        check_logsumexp(isa, &s[w[0]..w[1]], out, "sets");
                    }
                    let (mut p, mut same) = (s.clone(), vec![0.5; sets]);
                    simd::set_softmax(isa, &mut p, &offsets, &mut same);
                    assert_eq!(p[..3], s[..3]);
                    for (w, (&a, &b)) in offsets.windows(2).zip(out.iter().zip(&same)) {
                        assert!(a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= 4.0 * f64::EPSILON * a.abs().max(1.0));
                        let (x, p) = (&s[w[0]..w[1]], &p[w[0]..w[1]]);
                        check_softmax(isa, x, p, None);
                    }
                }
            }
        }
    }
}

#[test]
fn shares_tell_the_row_weights() {
    for isa in Isa::available() {
        for (rows, classes) in (0..=40).flat_map(|n| (0..=10).map(move |classes| (n, classes))) {
            let mut stream = Stream((rows * 100 + classes) as u64);
            let ld = rows + 5;
            let a: Vec<f64> = (0..ld * classes).map(|_| stream.next().abs()).collect();
            let counts: Vec<f64> = (0..rows).map(|i| if i % 4 == 1 { 0.0 } else { 10.0 * stream.next().abs() }).collect();
            let factors: Vec<f64> = (0..classes).map(|_| 0.1 + stream.next().abs()).collect();
            let (mut omega, mut shares) = (vec![0.0; ld * classes], vec![f64::NAN; rows]);
            let (mut totals, mut same) = (vec![f64::NAN; classes], vec![f64::NAN; classes]);
            let weights = simd::row_weights(isa, &a, ld, &factors, &counts, &mut omega, &mut totals);
            let found = simd::row_shares(isa, &a, ld, &factors, &counts, &mut shares, &mut same);
            assert_eq!(found.smallest, weights.smallest);
            assert!((found.value - weights.value).abs() <= 1e-14 * weights.value.abs());
            for (k, f) in factors.iter().enumerate() {
                assert!((same[k] - totals[k]).abs() <= 1e-14 * totals[k], "{} {}", same[k], totals[k]);
                let (of, t) = (k * ld..k * ld + rows, 0.7 * totals[k]);
                let mut out = vec![f64::NAN; rows];
                simd::weigh(isa, &a[of.clone()], &shares, [*f, t], &mut out);
                simd::subtract_scaled(isa, t, &a[of.clone()], &mut omega[of.clone()]);
                for (out, omega) in out.iter().zip(&omega[of]) {
                    assert!((out - omega).abs() <= 1e-13 * (omega.abs() + t), "{out} {omega}");
                }
            }
        }
    }
}

#[test]
fn numbers_that_are_not_finite_are_seen_wherever_they_are() {
    fn run<T: simd::Element>(isa: Isa, bad: [T; 3]) {
        for n in (0..=70).chain([1000]) {
            let mut x = vec![T::LARGEST; n];
            assert!(simd::all_finite(isa, &x));
            for i in (0..n).step_by(1 + n / 80) {
                for bad in bad {
                    let kept = std::mem::replace(&mut x[i], bad);
                    assert!(!simd::all_finite(isa, &x));
                    x[i] = kept;
                }
            }
        }
    }
    for isa in Isa::available() {
        run(isa, [f64::NAN, f64::INFINITY, f64::NEG_INFINITY]);
        run(isa, [f32::NAN, f32::INFINITY, f32::NEG_INFINITY]);
    }
}
