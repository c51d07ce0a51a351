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
    features.chain(rows).chain(columns).chain([(128, 384, 4, 0, 0), (256, 50, 5, 0, 0), (3, 1000, 2, 0, 0), (20, 10, 100, 0, 0)])
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
