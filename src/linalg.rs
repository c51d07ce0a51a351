//! The dense linear algebra of small symmetric matrices, each decomposition behind one non-generic function.
//!
//! Matrices are row-major n × n slices of f64. faer does the Cholesky factorisation, with parameters under which it does not allocate; ours
//! are that of a few rows, where the call costs more than the work, that by panels, and the pivoted one, which must find the rank. Systems
//! of few equations whose factor nobody needs are a kernel's, `simd/solve.rs`.

use crate::error::Result;
use crate::simd::{self, Isa, Rows};
use crate::workspace::{Workspace, WorkspaceSize};
use faer::dyn_stack::MemStack;
use faer::linalg::cholesky::llt::factor::{LltParams, cholesky_in_place, cholesky_in_place_scratch};
use faer::{MatMut, Par, Spec};

/// Workspace of [`cholesky`].
pub(crate) fn cholesky_workspace(n: usize) -> WorkspaceSize {
    // faer panics where the bytes of n × n numbers overflow.
    if n >= 1 << 28 {
        return WorkspaceSize::of::<u8>(usize::MAX);
    }
    WorkspaceSize::of::<u8>(cholesky_in_place_scratch::<f64>(n, Par::Seq, cholesky_params(n)).unaligned_bytes_required())
}

/// Workspace of [`solve`] for up to n equations.
pub(crate) fn solve_workspace(n: usize) -> WorkspaceSize {
    cholesky_workspace(n).or(WorkspaceSize::of::<f64>(simd::few_scratch(n.min(simd::FEW))))
}

fn cholesky_params(n: usize) -> Spec<LltParams, f64> {
    // Thresholds at the size keep faer on its unblocked path, which allocates nothing.
    let mut params: LltParams = <LltParams as faer::Auto<f64>>::auto();
    params.recursion_threshold = n.max(1);
    params.block_size = n.max(1);
    Spec::new(params)
}

/// Overwrites the lower triangle of `a` by its Cholesky factor; false when `a` is not positive definite.
pub(crate) fn cholesky(a: &mut [f64], n: usize, ws: Workspace<'_>) -> Result<bool> {
    if n <= simd::FEW {
        return Ok(small_cholesky(a, n));
    }
    ws.require(cholesky_workspace(n))?;
    if a[..n * n].iter().any(|x| !x.is_finite()) {
        return Ok(false);
    }
    let matrix = MatMut::from_row_major_slice_mut(&mut a[..n * n], n, n);
    let stack = MemStack::new(ws.rest());
    Ok(cholesky_in_place(matrix, Default::default(), Par::Seq, stack, cholesky_params(n)).is_ok())
}

/// [`cholesky`] of at most [`simd::FEW`] rows, column after column.
fn small_cholesky(a: &mut [f64], n: usize) -> bool {
    let mut column = [0.0; simd::FEW];
    for j in 0..n {
        // What is not finite left of a pivot has come to it.
        let pivot = a[j * n + j];
        if !(pivot > 0.0 && pivot.is_finite()) {
            return false;
        }
        let root = libm::sqrt(pivot);
        a[j * n + j] = root;
        for i in j + 1..n {
            a[i * n + j] /= root;
            column[i] = a[i * n + j];
        }
        for i in j + 1..n {
            axpy(-column[i], &column[j + 1..=i], &mut a[i * n + j + 1..=i * n + i]);
        }
    }
    true
}

/// Solves `A x = b` in place, A symmetric; false, with b as it may be, where A is not positive definite. A is destroyed. Workspace:
/// [`solve_workspace`].
pub(crate) fn solve(isa: Isa, a: &mut [f64], n: usize, b: &mut [f64], mut ws: Workspace<'_>) -> Result<bool> {
    if n <= simd::FEW {
        let scratch = ws.room(simd::few_scratch(n))?;
        return Ok(simd::solve_few(isa, &a[..n * n], n, &mut b[..n], scratch));
    }
    let definite = cholesky(a, n, ws)?;
    if definite {
        solve_cholesky(a, n, b);
    }
    Ok(definite)
}

/// Columns that [`large_cholesky`] takes at once.
const PANEL: usize = 32;

/// Numbers of scratch of [`large_cholesky`].
pub(crate) fn large_cholesky_scratch(n: usize) -> usize {
    n.saturating_add(1).saturating_mul(PANEL)
}

/// As [`cholesky`], by panels whose products are those of the kernels: for large n. `scratch` holds the columns of a panel one after
/// another.
pub(crate) fn large_cholesky(isa: Isa, a: &mut [f64], n: usize, scratch: &mut [f64]) -> bool {
    let (panel, weights) = scratch.split_at_mut(n * PANEL);
    for start in (0..n).step_by(PANEL) {
        let end = (start + PANEL).min(n);
        let width = end - start;
        for (i, row) in a.chunks_exact(n).enumerate().take(n).skip(start) {
            row[start..end].iter().enumerate().for_each(|(j, x)| panel[j * n + i] = *x);
        }
        for j in 0..width {
            let at = start + j;
            let (done, column) = panel.split_at_mut(j * n);
            let column = &mut column[at..n];
            if j > 0 {
                let minus = &mut weights[..j];
                minus.iter_mut().zip(done.chunks_exact(n)).for_each(|(w, done)| *w = -done[at]);
                let done = Rows { values: &done[at..], rows: j, columns: n - at, stride: n };
                simd::weighted_sum(isa, done, minus, j, column);
            }
            if !(column[0] > 0.0 && column[0].is_finite()) {
                return false;
            }
            let pivot = libm::sqrt(column[0]);
            column[0] = pivot;
            column[1..].iter_mut().for_each(|x| *x /= pivot);
        }
        for (i, row) in a.chunks_exact_mut(n).enumerate().take(n).skip(start) {
            row[start..end.min(i + 1)].iter_mut().enumerate().for_each(|(j, x)| *x = panel[j * n + i]);
        }
        if end < n {
            weights[..width].fill(-1.0);
            let below = Rows { values: &panel[end..], rows: width, columns: n - end, stride: n };
            simd::gram_into(isa, below, &weights[..width], &mut a[end * n + end..], n);
        }
    }
    true
}

/// As [`solve_cholesky`], by panels whose products are those of the kernels: for large n.
pub(crate) fn solve_large_cholesky(isa: Isa, l: &[f64], n: usize, b: &mut [f64]) {
    let mut products = [0.0; PANEL];
    // What stands before the diagonal blocks of a panel.
    let before = |start: usize, end: usize| Rows { values: &l[start * n..], rows: end - start, columns: start, stride: n };
    for start in (0..n).step_by(PANEL) {
        let end = (start + PANEL).min(n);
        let (known, rest) = b.split_at_mut(start);
        let products = &mut products[..end - start];
        if start > 0 {
            simd::logits(isa, before(start, end), known, None, products, end - start);
        }
        for i in start..end {
            let s = products[i - start] + dot(&l[i * n + start..i * n + i], &rest[..i - start]);
            rest[i - start] = (rest[i - start] - s) / l[i * n + i];
        }
    }
    for start in (0..n).step_by(PANEL).rev() {
        let end = (start + PANEL).min(n);
        let (rest, found) = b.split_at_mut(start);
        for i in (start..end).rev() {
            found[i - start] /= l[i * n + i];
            let x = found[i - start];
            axpy(-x, &l[i * n + start..i * n + i], &mut found[..i - start]);
        }
        if start > 0 {
            let minus = &mut products[..end - start];
            minus.iter_mut().zip(&*found).for_each(|(m, x)| *m = -x);
            simd::weighted_sum(isa, before(start, end), minus, end - start, rest);
        }
    }
}

/// Solves `L L^T x = b` in place, L lower triangular.
pub(crate) fn solve_cholesky(l: &[f64], n: usize, b: &mut [f64]) {
    solve_lower(l, n, b);
    solve_lower_transposed(l, n, b);
}

/// Solves `L x = b` in place.
pub(crate) fn solve_lower(l: &[f64], n: usize, b: &mut [f64]) {
    for i in 0..n {
        let s: f64 = dot(&l[i * n..i * n + i], &b[..i]);
        b[i] = (b[i] - s) / l[i * n + i];
    }
}

/// Solves `L^T x = b` in place.
pub(crate) fn solve_lower_transposed(l: &[f64], n: usize, b: &mut [f64]) {
    for i in (0..n).rev() {
        b[i] /= l[i * n + i];
        let x = b[i];
        axpy(-x, &l[i * n..i * n + i], &mut b[..i]);
    }
}

/// `Σ_i a_i b_i`, in eight sums that go into vectors.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    const N: usize = 8;
    let n = a.len().min(b.len());
    let whole = n - n % N;
    let mut sums = [0.0; N];
    for (a, b) in a[..whole].chunks_exact(N).zip(b[..whole].chunks_exact(N)) {
        for j in 0..N {
            sums[j] += a[j] * b[j];
        }
    }
    let rest: f64 = a[whole..n].iter().zip(&b[whole..n]).map(|(x, y)| x * y).sum();
    ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7])) + rest
}

/// `y += a x`.
pub(crate) fn axpy(a: f64, x: &[f64], y: &mut [f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * x;
    }
}

/// Copies the lower triangle to the upper one.
pub(crate) fn symmetrize(a: &mut [f64], n: usize) {
    for i in 0..n {
        for j in 0..i {
            a[j * n + i] = a[i * n + j];
        }
    }
}

/// Cholesky with complete pivoting of a correlation matrix: `R ≈ M M^T`, M n × rank with `m[i * n + j]`, of which the rows of the pivots
/// `order[..rank]` are lower triangular. A column is left out whose residual variance is at most `tolerance` and `noise`, the variance that
/// rounding alone may give it; the noise of a pivot goes over to the columns that it is taken off. Destroys the diagonal of `r`, which
/// holds the residual variances, and `noise`. `products`: n numbers. Cost: n² rank / 2.
pub(crate) fn pivoted_cholesky(
    isa: Isa,
    r: &mut [f64],
    n: usize,
    tolerance: f64,
    noise: &mut [f64],
    m: &mut [f64],
    order: &mut [usize],
    products: &mut [f64],
) -> usize {
    m[..n * n].fill(0.0);
    for (i, o) in order.iter_mut().enumerate() {
        *o = i;
    }
    for j in 0..n {
        let candidate = (j..n).filter(|&a| r[order[a] * n + order[a]] > tolerance.max(noise[order[a]]));
        let Some(best) = candidate.max_by(|&a, &b| r[order[a] * n + order[a]].total_cmp(&r[order[b] * n + order[b]])) else {
            return j;
        };
        order.swap(j, best);
        let p = order[j];
        let pivot = libm::sqrt(r[p * n + p]);
        if j > 0 {
            let known = Rows { values: &*m, rows: n, columns: j, stride: n };
            simd::logits(isa, known, &m[p * n..p * n + j], None, products, n);
        }
        for &i in &order[j + 1..n] {
            let x = (r[i * n + p] - if j > 0 { products[i] } else { 0.0 }) / pivot;
            m[i * n + j] = x;
            r[i * n + i] -= x * x;
            let share = x / pivot;
            noise[i] += share * share * noise[p];
        }
        m[p * n + j] = pivot;
    }
    n
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    /// A positive definite matrix.
    fn matrix(n: usize) -> Vec<f64> {
        let x = |i: usize, j: usize| libm::sin((i * 31 + j * 17 + 1) as f64);
        let entry = |i: usize, j: usize| (0..n + 3).map(|k| x(i, k) * x(j, k)).sum::<f64>() + if i == j { 0.5 } else { 0.0 };
        (0..n * n).map(|at| entry(at / n, at % n)).collect()
    }

    #[test]
    fn cholesky_by_panels_is_cholesky() {
        for n in [1, 2, 7, 31, 32, 33, 64, 65, 97] {
            let a = matrix(n);
            let mut factor = a.clone();
            let mut scratch = vec![f64::NAN; large_cholesky_scratch(n)];
            assert!(large_cholesky(Isa::detect(), &mut factor, n, &mut scratch));
            for i in 0..n {
                for j in 0..n {
                    if j > i {
                        assert_eq!(factor[i * n + j], a[i * n + j], "above the diagonal nothing is written");
                        continue;
                    }
                    let product = dot(&factor[i * n..=i * n + j], &factor[j * n..=j * n + j]);
                    assert!((product - a[i * n + j]).abs() <= 1e-12 * n as f64, "{n} {i} {j}");
                }
            }
            let x: Vec<f64> = (0..n).map(|i| (i % 5) as f64 - 1.5).collect();
            let mut b: Vec<f64> = a.chunks_exact(n).map(|row| dot(row, &x)).collect();
            solve_large_cholesky(Isa::detect(), &factor, n, &mut b);
            assert!(b.iter().zip(&x).all(|(b, x)| (b - x).abs() <= 1e-8), "{n}");
            // Not positive definite, at the last row and not a number.
            for bad in [-1.0, f64::NAN] {
                let mut a = a.clone();
                a[n * n - 1] = bad;
                assert!(!large_cholesky(Isa::detect(), &mut a, n, &mut scratch), "{n} {bad}");
            }
        }
    }
}
