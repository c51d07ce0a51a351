//! The symmetric eigenproblem `A = Σ_j λ_j v_j v_j^T` without an allocator: Householder's reduction to a tridiagonal matrix, and QL
//! steps with implicit shifts on it (Bowdler, Martin, Reinsch and Wilkinson 1968).
//!
//! Vectors are kept as rows, so that every rotation and reflection runs along memory.

use crate::error::{Error, ErrorKind, Result};
use crate::linalg::{axpy, dot};

/// Overwrites the symmetric `a` (n × n, row-major, both triangles) by its eigenvectors, one a row, and `values` by the eigenvalues in
/// decreasing order. `scratch`: 2 n numbers. Cost: about 5 n³.
///
/// # Errors
/// `IllPosed` when an entry is not finite.
pub(crate) fn symmetric_eigen(a: &mut [f64], n: usize, values: &mut [f64], scratch: &mut [f64]) -> Result<()> {
    if a[..n * n].iter().any(|x| !x.is_finite()) {
        return Err(Error::new(ErrorKind::IllPosed, "moments"));
    }
    let (off, work) = scratch[..2 * n].split_at_mut(n);
    reduce(a, n, values, off, work);
    tridiagonal_eigen(&mut values[..n], off, &mut a[..n * n], n)
}

/// `A = Q T Q^T` with T tridiagonal: `diagonal`, `off[i]` between i and i + 1; `a` becomes `Q^T`.
fn reduce(a: &mut [f64], n: usize, diagonal: &mut [f64], off: &mut [f64], work: &mut [f64]) {
    // Reflection k, I − 2 v v^T with |v| = 1 or v = 0, acts on k + 1.. and is kept in row k, right of the diagonal.
    for k in 0..n {
        diagonal[k] = a[k * n + k];
        off[k] = 0.0;
        if k + 1 == n {
            break;
        }
        let (rows, below) = a.split_at_mut((k + 1) * n);
        let v = &mut rows[k * n + k + 1..];
        let scale = v.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        if scale == 0.0 {
            continue;
        }
        v.iter_mut().for_each(|x| *x /= scale);
        let norm = libm::sqrt(dot(v, v));
        let alpha = if v[0] > 0.0 { -norm } else { norm };
        off[k] = alpha * scale;
        v[0] -= alpha;
        let length = libm::sqrt(dot(v, v));
        v.iter_mut().for_each(|x| *x /= length);
        // B ← (I − 2 v v^T) B (I − 2 v v^T) = B − 2 v w^T − 2 w v^T, w = B v − (v·B v) v.
        let m = n - k - 1;
        let w = &mut work[..m];
        for (i, w) in w.iter_mut().enumerate() {
            *w = dot(&below[i * n + k + 1..][..m], v);
        }
        let vw = dot(v, w);
        axpy(-vw, v, w);
        for i in 0..m {
            let row = &mut below[i * n + k + 1..][..m];
            axpy(-2.0 * v[i], w, row);
            axpy(-2.0 * w[i], v, row);
        }
    }
    // Q^T = … H_1 H_0, built from the last reflection on: the block of rows and columns k.. is known once those from k on are in.
    for k in (0..n).rev() {
        if k + 1 < n {
            let m = n - k - 1;
            work[..m].copy_from_slice(&a[k * n + k + 1..][..m]);
            // The rows k + 1.. times H_k from the right.
            for i in k + 1..n {
                let row = &mut a[i * n + k + 1..][..m];
                let s = 2.0 * dot(row, &work[..m]);
                axpy(-s, &work[..m], row);
            }
        }
        a[k * n..(k + 1) * n].fill(0.0);
        for i in k + 1..n {
            a[i * n + k] = 0.0;
        }
        a[k * n + k] = 1.0;
    }
}

/// The eigenvalues of a tridiagonal matrix, in decreasing order, in `diagonal`; `vectors` (n rows of any length) becomes `V^T vectors`.
pub(crate) fn tridiagonal_eigen(diagonal: &mut [f64], off: &mut [f64], vectors: &mut [f64], n: usize) -> Result<()> {
    if n == 0 {
        return Ok(());
    }
    let columns = vectors.len() / n;
    for l in 0..n {
        let mut iterations = 0;
        loop {
            let m = (l..n - 1).find(|&m| off[m].abs() <= f64::EPSILON * (diagonal[m].abs() + diagonal[m + 1].abs())).unwrap_or(n - 1);
            if m == l {
                break;
            }
            iterations += 1;
            if iterations > 60 {
                return Err(Error::new(ErrorKind::IllPosed, "eigenvalues"));
            }
            // Wilkinson's shift, then one sweep of rotations from m up to l.
            let h = (diagonal[l + 1] - diagonal[l]) / (2.0 * off[l]);
            let r = libm::hypot(h, 1.0);
            let mut g = diagonal[m] - diagonal[l] + off[l] / (h + if h < 0.0 { -r } else { r });
            let (mut s, mut c, mut p) = (1.0, 1.0, 0.0);
            let mut split = false;
            for i in (l..m).rev() {
                let (f, b) = (s * off[i], c * off[i]);
                let r = libm::hypot(f, g);
                off[i + 1] = r;
                if r == 0.0 {
                    diagonal[i + 1] -= p;
                    off[m] = 0.0;
                    split = true;
                    break;
                }
                (s, c) = (f / r, g / r);
                g = diagonal[i + 1] - p;
                let t = (diagonal[i] - g) * s + 2.0 * c * b;
                p = s * t;
                diagonal[i + 1] = g + p;
                g = c * t - b;
                let (low, high) = vectors.split_at_mut((i + 1) * columns);
                for (x, y) in low[i * columns..].iter_mut().zip(&mut high[..columns]) {
                    (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
                }
            }
            if !split {
                diagonal[l] -= p;
                off[l] = g;
                off[m] = 0.0;
            }
        }
    }
    for a in 0..n {
        let best = (a..n).fold(a, |b, j| if diagonal[j] > diagonal[b] { j } else { b });
        if best != a {
            diagonal.swap(a, best);
            let (low, high) = vectors.split_at_mut(best * columns);
            low[a * columns..(a + 1) * columns].swap_with_slice(&mut high[..columns]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn eigenvectors_are_orthonormal_and_rebuild_the_matrix() {
        let mut random = rand_pcg::Pcg64::new(1, 1);
        for n in [1, 2, 3, 5, 8, 21, 50] {
            for kind in 0..4 {
                let mut a = [0.0; 2500];
                for i in 0..n {
                    for j in 0..=i {
                        let x: f64 = random.random_range(-1.0..1.0);
                        let x = match kind {
                            0 => x,
                            // Ranks one, none, and a diagonal.
                            1 => (i + 1) as f64 * (j + 1) as f64,
                            2 => 0.0,
                            _ => f64::from(u8::from(i == j)) * x,
                        };
                        (a[i * n + j], a[j * n + i]) = (x, x);
                    }
                }
                let (mut v, mut values, mut scratch) = (a, [0.0; 50], [0.0; 100]);
                symmetric_eigen(&mut v, n, &mut values, &mut scratch).unwrap();
                assert!(values[..n].windows(2).all(|w| w[0] >= w[1]));
                let largest = values[..n].iter().fold(1.0f64, |m, x| m.max(x.abs()));
                for i in 0..n {
                    for j in 0..n {
                        let entry: f64 = (0..n).map(|k| values[k] * v[k * n + i] * v[k * n + j]).sum();
                        assert!((entry - a[i * n + j]).abs() < 1e-13 * largest * n as f64, "n {n}, kind {kind}, {i} {j}");
                        let product = dot(&v[i * n..(i + 1) * n], &v[j * n..(j + 1) * n]);
                        assert!((product - f64::from(u8::from(i == j))).abs() < 1e-13 * n as f64);
                    }
                }
            }
        }
        assert!(symmetric_eigen(&mut [f64::NAN], 1, &mut [0.0], &mut [0.0; 2]).is_err());
    }
}
