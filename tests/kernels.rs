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
