//! Atoms from M1, M2, M3 for K ≤ r + 1 (section 6): with `u_k = (1, δ_k)`, `B = Σ_k α_k u_k u_k^T` is made of (1, M1, M2); its top K
//! eigenpairs `B ≈ Σ_j e_j b_j b_j^T` give `w_j = b_j / √e_j`, in which the vectors `√α_k W^T u_k` are orthonormal; they diagonalise the K
//! slices of `T = Σ_k α_k (W^T u_k)^{⊗3}` jointly, by Jacobi rotations (Cardoso and Souloumiac 1996).

use super::eigen::symmetric_eigen;
use super::frame::{Draws, Frame, natural, natural_workspace};
use super::tensors::{TensorOutput, packed_index, packed_len, tensors, tensors_workspace, third_projected, third_projected_workspace};
use super::{IllPosed, LONGEST};
use crate::data::{Data, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::linalg::{axpy, dot};
use crate::mixture::MixtureRef;
use crate::parallel::Context;
use crate::whiten::Whitening;
use crate::workspace::{Workspace, WorkspaceSize};

/// Workspace of [`tensor`] for K classes.
pub fn tensor_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
    let deltas = WorkspaceSize::of::<f64>(classes.saturating_mul(shape.columns));
    natural_workspace(shape).and(deltas).and(tensor_in_workspace(shape, classes))
}

/// The method of moments by tensor: K weights and K × L atoms, K = `weights.len()` at most r + 1. Third moments suffice, and the atoms
/// need only be affinely independent; exactly opposite ones are told apart.
///
/// Section 6 of the model, on the data as they are: biased where `e^{|θ|²}` is not small beside p or the features are not normal;
/// [`super::corrected`] is not. Cost: `p (L r + r² / 2 + K³ / 6)` on the observed rows, and `5 r³`.
///
/// # Errors
/// `Unsupported` unless choices are counts over one choice set; `IllPosed` for K > r + 1, where no feature varies, and, if asked to fail,
/// where B has not K positive eigenvalues or a class has no weight; `TooManyClasses`, `Shape`, `Workspace`.
pub fn tensor(
    data: &Data<'_>,
    wh: &Whitening<'_>,
    ill_posed: IllPosed,
    weights: &mut [f64],
    atoms: &mut [f64],
    ctx: Context,
    mut ws: Workspace<'_>,
) -> Result<()> {
    let draws = Draws::new(data)?;
    check_output(data, wh, weights, atoms)?;
    ws.require(tensor_workspace(&data.shape(), weights.len()))?;
    let mut ws = ws.scope();
    let deltas = &mut ws.f64s(weights.len() * wh.columns)?[..weights.len() * wh.rank];
    let frame = natural(data, wh, ctx, &mut ws)?;
    tensor_in(&draws, &frame, ill_posed, weights, deltas, ctx, ws)?;
    finish(&frame, weights, deltas, atoms)
}

/// Checks the lengths of what an estimator writes, and that there is a class.
pub(crate) fn check_output(data: &Data<'_>, wh: &Whitening<'_>, weights: &[f64], atoms: &[f64]) -> Result<()> {
    let (k, l) = (weights.len(), data.features().columns());
    if k == 0 {
        return Err(Error::new(ErrorKind::Empty, "classes"));
    }
    if k > data.observed_units() {
        return Err(Error::new(ErrorKind::TooManyClasses, "classes").sizes(data.observed_units(), k));
    }
    let needed = k.checked_mul(l).ok_or(Error::new(ErrorKind::Overflow, "atoms"))?;
    for (name, needed, given) in [("atoms", needed, atoms.len()), ("whitening", l, wh.columns)] {
        if needed != given {
            return Err(Error::shape(name, needed, given));
        }
    }
    Ok(())
}

/// Atoms out of the frame; an error rather than a mixture that is not valid.
pub(crate) fn finish(frame: &Frame<'_>, weights: &[f64], deltas: &[f64], atoms: &mut [f64]) -> Result<()> {
    let (l, r) = (frame.columns, frame.rank);
    for (k, atom) in atoms.chunks_exact_mut(l).enumerate() {
        frame.to_atom(&deltas[k * r..(k + 1) * r], atom);
    }
    MixtureRef::new(weights, atoms, l).map(|_| ()).map_err(|_| Error::new(ErrorKind::IllPosed, "moments"))
}

pub(crate) fn tensor_in_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
    let of = |a: usize, b: usize| WorkspaceSize::of::<f64>(a.saturating_mul(b));
    let (n, k) = (shape.columns.saturating_add(1), classes);
    let size = of(n, n).and(of(n, n)).and(of(3, n)).and(of(k, n)).and(of(k, 1)).and(of(packed_len(k), 1)).and(of(k, k.saturating_mul(k)));
    size.and(of(k, k)).and(of(n, 1)).and(tensors_workspace(shape, None).or(third_projected_workspace(shape, classes)))
}

/// [`tensor`] in a frame: K weights and K × r atoms δ.
pub(crate) fn tensor_in(
    draws: &Draws<'_>,
    frame: &Frame<'_>,
    ill_posed: IllPosed,
    weights: &mut [f64],
    deltas: &mut [f64],
    ctx: Context,
    mut ws: Workspace<'_>,
) -> Result<()> {
    let (r, k) = (draws.rank_in(frame)?, weights.len());
    let n = r + 1;
    let fail = || Err(Error::new(ErrorKind::IllPosed, "moments"));
    if k > n {
        return Err(Error::new(ErrorKind::IllPosed, "classes").sizes(n, k));
    }
    let b = ws.f64s(n * n)?;
    let m2 = &mut ws.f64s(n * n)?[..r * r];
    let (values, scratch) = ws.f64s(3 * n)?.split_at_mut(n);
    let vectors = ws.f64s(k * n)?;
    let constants = ws.f64s(k)?;
    let packed = ws.f64s(packed_len(k))?;
    let slices = ws.f64s(k * k * k)?;
    let rotation = ws.f64s(k * k)?;
    let u = ws.f64s(n)?;
    {
        let m1 = &mut scratch[..r];
        let out = TensorOutput { first: Some(m1), second: Some(m2), ..Default::default() };
        tensors(draws, frame, out, ctx, ws.scope())?;
        b[0] = 1.0;
        for a in 0..r {
            b[a + 1] = m1[a];
            b[(a + 1) * n] = m1[a];
            b[(a + 1) * n + 1..(a + 2) * n].copy_from_slice(&m2[a * r..(a + 1) * r]);
        }
    }
    symmetric_eigen(b, n, values, scratch)?;
    if ill_posed == IllPosed::Fail && values[k - 1] <= 1e-9 * values[0] {
        return fail();
    }
    for j in 0..k {
        // Below a thousandth of the largest an eigenvalue is noise.
        if ill_posed == IllPosed::Project {
            values[j] = f64::max(values[j], 1e-3 * values[0]);
        }
        let root = libm::sqrt(values[j]);
        constants[j] = b[j * n] / root;
        for (v, b) in vectors[j * r..(j + 1) * r].iter_mut().zip(&b[j * n + 1..(j + 1) * n]) {
            *v = b / root;
        }
    }
    third_projected(draws, frame, &vectors[..k * r], Some(constants), packed, ctx, ws)?;
    if packed.iter().any(|x| !x.is_finite()) {
        return fail();
    }
    for c in 0..k {
        for a in 0..k {
            for b in 0..k {
                slices[(c * k + a) * k + b] = packed[packed_index(a, b, c)];
            }
        }
    }
    diagonalize(slices, rotation, k);
    // √α_k u_k = Σ_j rotation_kj √e_j b_j, of which the first entry is √α_k up to sign.
    for (c, delta) in deltas.chunks_exact_mut(r).enumerate() {
        u.fill(0.0);
        for j in 0..k {
            axpy(rotation[c * k + j] * libm::sqrt(values[j]), &b[j * n..(j + 1) * n], u);
        }
        weights[c] = u[0] * u[0];
        if ill_posed == IllPosed::Fail && weights[c] < 1e-9 {
            return fail();
        }
        let first = if u[0].abs() > 1e-8 { u[0] } else { 1e-8 };
        for (d, u) in delta.iter_mut().zip(&u[1..]) {
            *d = u / first;
        }
    }
    simplex(weights);
    if ill_posed == IllPosed::Project {
        shorten(deltas, r);
    }
    if !deltas.iter().chain(&*weights).all(|x| x.is_finite()) {
        return fail();
    }
    Ok(())
}

/// Atoms no longer than [`LONGEST`].
pub(crate) fn shorten(deltas: &mut [f64], rank: usize) {
    for delta in deltas.chunks_exact_mut(rank) {
        let norm = libm::sqrt(dot(delta, delta));
        if norm > LONGEST {
            delta.iter_mut().for_each(|d| *d *= LONGEST / norm);
        }
    }
}

/// Rotations that make K symmetric K × K slices as diagonal as can be, one after the other for every pair of rows. Row k of `rotation` is
/// the k-th joint eigenvector. For exactly opposite atoms the best angle is π/4, where the off-diagonal part is 0 and the difference
/// negative.
fn diagonalize(slices: &mut [f64], rotation: &mut [f64], k: usize) {
    rotation.fill(0.0);
    for j in 0..k {
        rotation[j * k + j] = 1.0;
    }
    for _ in 0..100 {
        let mut largest: f64 = 0.0;
        for p in 0..k {
            for q in p + 1..k {
                // G = Σ_c h_c h_c^T, h_c = (T_pp − T_qq, 2 T_pq).
                let (mut on, mut off) = (0.0, 0.0);
                for t in slices.chunks_exact(k * k) {
                    let (d, o) = (t[p * k + p] - t[q * k + q], 2.0 * t[p * k + q]);
                    on += d * d - o * o;
                    off += 2.0 * d * o;
                }
                let angle = match off == 0.0 && on < 0.0 {
                    true => core::f64::consts::FRAC_PI_4,
                    false => 0.5 * libm::atan2(off, on + libm::hypot(on, off)),
                };
                let (s, c) = (libm::sin(angle), libm::cos(angle));
                if s.abs() <= 1e-12 {
                    continue;
                }
                largest = largest.max(s.abs());
                for t in slices.chunks_exact_mut(k * k) {
                    for j in 0..k {
                        let (x, y) = (t[p * k + j], t[q * k + j]);
                        (t[p * k + j], t[q * k + j]) = (c * x + s * y, c * y - s * x);
                    }
                    for row in t.chunks_exact_mut(k) {
                        let (x, y) = (row[p], row[q]);
                        (row[p], row[q]) = (c * x + s * y, c * y - s * x);
                    }
                }
                for j in 0..k {
                    let (x, y) = (rotation[p * k + j], rotation[q * k + j]);
                    (rotation[p * k + j], rotation[q * k + j]) = (c * x + s * y, c * y - s * x);
                }
            }
        }
        if largest < 1e-10 {
            break;
        }
    }
}

/// The nearest point of the simplex, by bisection for the level that is taken off.
pub(crate) fn simplex(weights: &mut [f64]) {
    let largest = weights.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if !largest.is_finite() {
        weights.fill(1.0 / weights.len() as f64);
        return;
    }
    // Relative to the largest, however large it is.
    weights.iter_mut().for_each(|w| *w -= largest);
    let (mut low, mut high) = (-1.0, 0.0);
    for _ in 0..60 {
        let level = 0.5 * (low + high);
        let sum: f64 = weights.iter().map(|w| f64::max(w - level, 0.0)).sum();
        if sum > 1.0 {
            low = level;
        } else {
            high = level;
        }
    }
    let mut total = 0.0;
    for w in weights.iter_mut() {
        *w = f64::max(*w - high, 0.0);
        total += *w;
    }
    weights.iter_mut().for_each(|w| *w /= total);
}

/// A point of the simplex with every weight at least `least`: the nearest one, drawn towards the middle.
pub(crate) fn simplex_above(weights: &mut [f64], least: f64) {
    simplex(weights);
    let k = weights.len() as f64;
    let scale = 1.0 - k * least;
    weights.iter_mut().for_each(|w| *w = least + scale * *w);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_simplex_projection_has_no_nearer_point() {
        for w in [[0.2, 0.3, 0.5], [0.2, 0.3, 0.6], [-1.0, 4.0, 3.5], [1e-9, 0.0, 0.0], [1e9, -1e9, 1e9]] {
            let mut p = w;
            simplex(&mut p);
            assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-14 && p.iter().all(|p| *p >= 0.0));
            // The gradient w − p is the same where p is positive, and not larger where it is 0.
            let level = w.iter().zip(&p).filter(|(_, p)| **p > 0.0).map(|(w, p)| w - p).fold(f64::NEG_INFINITY, f64::max);
            for (w, p) in w.iter().zip(&p) {
                assert!(if *p > 0.0 { (w - p - level).abs() < 1e-9 * (1.0 + w.abs()) } else { *w <= level + 1e-9 });
            }
        }
    }

    #[test]
    fn slices_of_one_tensor_are_diagonalised_to_rounding_opposite_atoms_too() {
        // T = Σ_k λ_k v_k^{⊗3} with orthonormal v; λ of opposite signs too.
        let (s, c) = (0.6, 0.8);
        let v = [[c, s, 0.0], [-s * 0.8, c * 0.8, 0.6], [s * 0.6, -c * 0.6, 0.8]];
        let half = core::f64::consts::FRAC_1_SQRT_2;
        let opposite = [[half, half, 0.0], [half, -half, 0.0], [0.0, 0.0, 1.0]];
        for (v, lambda) in
            [(v, [1.0, 2.0, 3.0]), (v, [1.0, 1.0, 1.0]), (v, [-1.0, 1.0, 2.0]), (opposite, [2.0, -2.0, 1.0]), (opposite, [2.0; 3])]
        {
            let mut slices = [0.0; 27];
            for (i, t) in slices.iter_mut().enumerate() {
                *t = (0..3).map(|k| lambda[k] * v[k][i / 9] * v[k][i / 3 % 3] * v[k][i % 3]).sum();
            }
            let mut rotation = [0.0; 9];
            diagonalize(&mut slices, &mut rotation, 3);
            for row in rotation.chunks_exact(3) {
                let found = v.iter().any(|v| (dot(v, row).abs() - 1.0).abs() < 1e-12);
                assert!(found, "{row:?} is none of {v:?}");
            }
        }
    }
}
