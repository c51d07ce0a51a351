//! The tall-skinny products of a block of rows: logits `S = b + X Θ`, sums `G += X^T W`, second moments `H += X^T diag(w) X`.

use super::{Isa, Rows};
use crate::scalar::Scalar;

/// `out[c * ld + i] = offset[i] + Σ_l x_il θ[c * L + l]` for every row i of the block and every column c of Θ.
pub fn logits<T: Scalar>(_isa: Isa, x: Rows<'_, T>, theta: &[f64], offset: Option<&[f64]>, out: &mut [f64], ld: usize) {
    for (c, atom) in theta.chunks_exact(x.columns).enumerate() {
        for i in 0..x.rows {
            let mut s = 0.0;
            for (a, b) in x.row(i).iter().zip(atom) {
                s += a.to_f64() * b;
            }
            out[c * ld + i] = s + offset.map_or(0.0, |b| b[i]);
        }
    }
}

/// `g[c * L + l] += Σ_i w[c * ld + i] x_il` for every column c of W and every feature l.
pub fn weighted_sum<T: Scalar>(_isa: Isa, x: Rows<'_, T>, w: &[f64], ld: usize, g: &mut [f64]) {
    for (c, sum) in g.chunks_exact_mut(x.columns).enumerate() {
        for i in 0..x.rows {
            let wi = w[c * ld + i];
            for (s, a) in sum.iter_mut().zip(x.row(i)) {
                *s += wi * a.to_f64();
            }
        }
    }
}

/// `h[a * L + b] += Σ_i w_i x_ia x_ib` for b ≤ a: the lower triangle, row-major.
pub fn gram<T: Scalar>(_isa: Isa, x: Rows<'_, T>, w: &[f64], h: &mut [f64]) {
    let l = x.columns;
    for (i, &wi) in w.iter().enumerate().take(x.rows) {
        let row = x.row(i);
        for a in 0..l {
            let wa = wi * row[a].to_f64();
            for b in 0..=a {
                h[a * l + b] += wa * row[b].to_f64();
            }
        }
    }
}
