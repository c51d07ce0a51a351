//! The latent tensors `M1 = E y`, `M2 = E yy^T − I`, `M3_abc = E y_a y_b y_c − (M1_a δ_bc + M1_b δ_ac + M1_c δ_ab)`, which estimate
//! `Σ_k α_k δ_k^{⊗r}`: in full (M3 packed), contracted with vectors, and projected to few dimensions without the r × r × r tensor.

use super::frame::{Draws, Frame, latent_rows};
use super::hermite::check_length;
use crate::data::Shape;
use crate::error::{Error, ErrorKind, Result};
use crate::evaluate::block_rows;
use crate::linalg::{axpy, dot, symmetrize};
use crate::parallel::Context;
use crate::simd::{self, Rows};
use crate::workspace::{Workspace, WorkspaceSize};

/// Entries of a packed symmetric n × n × n tensor: `n (n + 1) (n + 2) / 6`.
pub fn packed_len(n: usize) -> usize {
    n.saturating_mul(n.saturating_add(1)).saturating_mul(n.saturating_add(2)) / 6
}

/// Where entry (a, b, c) of a symmetric tensor is packed: with a ≥ b ≥ c, `a (a + 1) (a + 2) / 6 + b (b + 1) / 2 + c`.
pub fn packed_index(a: usize, b: usize, c: usize) -> usize {
    let (a, b) = (a.max(b), a.min(b));
    let (a, c) = (a.max(c), a.min(c));
    let (b, c) = (b.max(c), b.min(c));
    a * (a + 1) * (a + 2) / 6 + b * (b + 1) / 2 + c
}

/// Where [`tensors`] writes what is asked for.
#[derive(Debug, Default)]
pub struct TensorOutput<'a> {
    /// M1, r numbers.
    pub first: Option<&'a mut [f64]>,
    /// M2, r × r.
    pub second: Option<&'a mut [f64]>,
    /// M3, packed: see [`packed_index`].
    pub third: Option<&'a mut [f64]>,
    /// Standard errors of M1.
    pub first_errors: Option<&'a mut [f64]>,
    /// Standard errors of M2, which must be asked for too.
    pub second_errors: Option<&'a mut [f64]>,
    /// Standard errors of M3, packed, which must be asked for too.
    pub third_errors: Option<&'a mut [f64]>,
}

impl TensorOutput<'_> {
    fn check(&self, r: usize) -> Result<()> {
        let (square, cube) = (r.saturating_mul(r), packed_len(r));
        check_length("first", &self.first, r)?;
        check_length("second", &self.second, square)?;
        check_length("third", &self.third, cube)?;
        check_length("first_errors", &self.first_errors, r)?;
        check_length("second_errors", &self.second_errors, square)?;
        check_length("third_errors", &self.third_errors, cube)?;
        // A standard error is about its moment.
        match (self.second_errors.is_some() && self.second.is_none(), self.third_errors.is_some() && self.third.is_none()) {
            (true, _) => Err(Error::shape("second", square, 0)),
            (_, true) => Err(Error::shape("third", cube, 0)),
            _ => Ok(()),
        }
    }
}

/// Workspace of [`tensors`]; `errors`: with standard errors of the tensors up to `order` (1, 2 or 3).
pub fn tensors_workspace(shape: &Shape, errors: Option<usize>) -> WorkspaceSize {
    let of = |a: usize, b: usize| WorkspaceSize::of::<f64>(a.saturating_mul(b));
    let (l, block) = (shape.columns, block_rows(shape.columns));
    let size = of(Draws::scratch(l), 1).and(of(block, l)).and(of(block, l)).and(of(l, 1)).and(of(l, 1));
    let square = of(2, l.saturating_mul(l));
    match errors {
        None => size,
        Some(0 | 1) => size.and(of(2, l)),
        Some(2) => size.and(of(2, l)).and(square),
        Some(_) => size.and(of(2, l)).and(square).and(of(2, packed_len(l))),
    }
}

/// The latent tensors M1, M2, M3 and their standard errors, in one read of the observed rows.
///
/// Section 6 of the model. Cost: `p (L r + r² / 2)` for M2, `p r³ / 6` more for M3, and as much again for standard errors.
///
/// # Errors
/// `Shape`, `Workspace`.
pub fn tensors(draws: &Draws<'_>, frame: &Frame<'_>, mut out: TensorOutput<'_>, ctx: Context, mut ws: Workspace<'_>) -> Result<()> {
    draws.check(frame)?;
    let (l, r) = (frame.columns, frame.rank);
    out.check(r)?;
    let errors = match (&out.third_errors, &out.second_errors, &out.first_errors) {
        (Some(_), _, _) => Some(3),
        (_, Some(_), _) => Some(2),
        (_, _, Some(_)) => Some(1),
        _ => None,
    };
    ws.require(tensors_workspace(&draws.data().shape(), errors))?;
    if r == 0 {
        return Ok(());
    }
    let block = block_rows(l);
    let scratch = ws.f64s(Draws::scratch(l))?;
    let (columns, y) = (ws.f64s(block * l)?, ws.f64s(block * l)?);
    let (mean, products) = (&mut ws.f64s(l)?[..r], &mut ws.f64s(l)?[..r]);
    let n1 = if out.first_errors.is_some() { r } else { 0 };
    let (e1, f1) = ws.f64s(2 * n1)?.split_at_mut(n1);
    let n2 = if out.second_errors.is_some() { r * r } else { 0 };
    let (e2, f2) = ws.f64s(2 * n2)?.split_at_mut(n2);
    let n3 = if out.third_errors.is_some() { packed_len(r) } else { 0 };
    let (e3, f3) = ws.f64s(2 * n3)?.split_at_mut(n3);
    for t in [&mut out.second, &mut out.third].into_iter().flatten() {
        t.fill(0.0);
    }
    draws.for_each_block(frame.mean, scratch, |x, q, e| {
        latent_rows(ctx, frame, x, columns, y);
        let y = &y[..x.rows * r];
        if let Some(m2) = out.second.as_deref_mut() {
            simd::gram(ctx.isa, Rows { values: y, rows: x.rows, columns: r, stride: r }, q, m2);
        }
        for (i, y) in y.chunks_exact(r).enumerate() {
            axpy(q[i], y, mean);
            if let Some(m3) = out.third.as_deref_mut() {
                third_powers(q[i], y, products, m3);
            }
            if !e1.is_empty() {
                for (j, y) in y.iter().enumerate() {
                    e1[j] += e[i] * y;
                    f1[j] += e[i] * y * y;
                }
            }
            if !e2.is_empty() {
                for a in 0..r {
                    for b in 0..=a {
                        let f = y[a] * y[b] - f64::from(u8::from(a == b));
                        e2[a * r + b] += e[i] * f;
                        f2[a * r + b] += e[i] * f * f;
                    }
                }
            }
            if !e3.is_empty() {
                let mut at = 0;
                for a in 0..r {
                    for b in 0..=a {
                        for c in 0..=b {
                            let pairs = y[a] * same(b, c) + y[b] * same(a, c) + y[c] * same(a, b);
                            let f = y[a] * y[b] * y[c] - pairs;
                            e3[at] += e[i] * f;
                            f3[at] += e[i] * f * f;
                            at += 1;
                        }
                    }
                }
            }
        }
    });
    if let Some(m2) = out.second.as_deref_mut() {
        for a in 0..r {
            m2[a * r + a] -= 1.0;
        }
        symmetrize(m2, r);
    }
    if let Some(m3) = out.third.as_deref_mut() {
        for a in 0..r {
            for b in 0..=a {
                m3[packed_index(a, b, b)] -= mean[a];
                m3[packed_index(a, a, b)] -= mean[b];
                if a == b {
                    m3[packed_index(a, a, a)] -= mean[a];
                }
            }
        }
    }
    if let Some(errors) = out.first_errors {
        draws.standard_errors(errors, e1, f1, mean);
    }
    if let (Some(errors), Some(m2)) = (out.second_errors, out.second.as_deref()) {
        draws.standard_errors(errors, e2, f2, m2);
        symmetrize(errors, r);
    }
    if let (Some(errors), Some(m3)) = (out.third_errors, out.third.as_deref()) {
        draws.standard_errors(errors, e3, f3, m3);
    }
    if let Some(m1) = out.first {
        m1.copy_from_slice(mean);
    }
    Ok(())
}

fn same(a: usize, b: usize) -> f64 {
    f64::from(u8::from(a == b))
}

/// `out += w y ⊗ y ⊗ y`, packed. `products`: as long as y.
fn third_powers(w: f64, y: &[f64], products: &mut [f64], out: &mut [f64]) {
    let mut at = 0;
    for (p, y) in products.iter_mut().zip(y) {
        *p = w * y;
    }
    for a in 0..y.len() {
        for b in 0..=a {
            let scale = y[a] * y[b];
            axpy(scale, &products[..=b], &mut out[at..at + b + 1]);
            at += b + 1;
        }
    }
}

/// Workspace of [`third_projected`] for C vectors.
pub fn third_projected_workspace(shape: &Shape, vectors: usize) -> WorkspaceSize {
    let of = |a: usize, b: usize| WorkspaceSize::of::<f64>(a.saturating_mul(b));
    let (l, block) = (shape.columns, block_rows(shape.columns));
    of(Draws::scratch(l), 1).and(of(vectors, l)).and(of(vectors, block)).and(of(vectors, 1)).and(of(vectors, 1)).and(of(vectors, 1))
}

/// M3 projected to C dimensions, packed, without an r × r × r tensor: with `u_a = w_a + v_a·y`, entry (a, b, c) estimates
/// `Σ_k α_k Π (w + v·δ_k)`, namely `E u_a u_b u_c − (E u_a v_b·v_c + E u_b v_a·v_c + E u_c v_a·v_b)`. `vectors`: the C × r numbers v;
/// `constants`: the C numbers w, absent 0.
///
/// Cost: `p (L C + C³ / 6)` on the observed rows.
///
/// # Errors
/// `IllPosed` where no feature varies, `Shape`, `Workspace`.
pub fn third_projected(
    draws: &Draws<'_>,
    frame: &Frame<'_>,
    vectors: &[f64],
    constants: Option<&[f64]>,
    out: &mut [f64],
    ctx: Context,
    mut ws: Workspace<'_>,
) -> Result<()> {
    let (l, r) = (frame.columns, draws.rank_in(frame)?);
    if vectors.len() % r != 0 {
        return Err(Error::shape("vectors", r, vectors.len()));
    }
    let c = vectors.len() / r;
    if out.len() != packed_len(c) {
        return Err(Error::shape("third", packed_len(c), out.len()));
    }
    if let Some(w) = constants.filter(|w| w.len() != c) {
        return Err(Error::shape("constants", c, w.len()));
    }
    ws.require(third_projected_workspace(&draws.data().shape(), c))?;
    let block = block_rows(l);
    let scratch = ws.f64s(Draws::scratch(l))?;
    let theta = ws.f64s(c * l)?;
    let columns = ws.f64s(c * block)?;
    let (u, mean, products) = (ws.f64s(c)?, ws.f64s(c)?, ws.f64s(c)?);
    for (v, theta) in vectors.chunks_exact(r).zip(theta.chunks_exact_mut(l)) {
        frame.pull(v, theta);
    }
    out.fill(0.0);
    draws.for_each_block(frame.mean, scratch, |x, q, _| {
        simd::logits(ctx.isa, x, theta, None, columns, block);
        for (i, q) in q.iter().enumerate() {
            for (a, u) in u.iter_mut().enumerate() {
                *u = columns[a * block + i] + constants.map_or(0.0, |w| w[a]);
            }
            axpy(*q, u, mean);
            third_powers(*q, u, products, out);
        }
    });
    let inner = |a: usize, b: usize| dot(&vectors[a * r..(a + 1) * r], &vectors[b * r..(b + 1) * r]);
    let mut at = 0;
    for a in 0..c {
        for b in 0..=a {
            let ab = inner(a, b);
            for k in 0..=b {
                out[at] -= mean[a] * inner(b, k) + mean[b] * inner(a, k) + mean[k] * ab;
                at += 1;
            }
        }
    }
    Ok(())
}

/// Workspace of [`third_slices`] for any number of vectors.
pub fn third_slices_workspace(shape: &Shape) -> WorkspaceSize {
    let of = |a: usize, b: usize| WorkspaceSize::of::<f64>(a.saturating_mul(b));
    let (l, block) = (shape.columns, block_rows(shape.columns));
    of(Draws::scratch(l), 1).and(of(block, l)).and(of(block, l)).and(of(block, 1)).and(of(l, 1))
}

/// M3 contracted with C vectors (C × r numbers v): `out[i]`, r × r, estimates `Σ_k α_k (v_i·δ_k) δ_k δ_k^T`, namely
/// `E (v·y) yy^T − M1 v^T − v M1^T − (v·M1) I`.
///
/// Cost: `p (L r + C r² / 2)` on the observed rows.
///
/// # Errors
/// `IllPosed` where no feature varies, `Shape`, `Workspace`.
pub fn third_slices(
    draws: &Draws<'_>,
    frame: &Frame<'_>,
    vectors: &[f64],
    out: &mut [f64],
    ctx: Context,
    mut ws: Workspace<'_>,
) -> Result<()> {
    let (l, r) = (frame.columns, draws.rank_in(frame)?);
    if vectors.len() % r != 0 {
        return Err(Error::shape("vectors", r, vectors.len()));
    }
    match vectors.len().checked_mul(r) {
        Some(n) if n == out.len() => {}
        Some(n) => return Err(Error::shape("third", n, out.len())),
        None => return Err(Error::new(ErrorKind::Overflow, "third")),
    }
    ws.require(third_slices_workspace(&draws.data().shape()))?;
    let block = block_rows(l);
    let scratch = ws.f64s(Draws::scratch(l))?;
    let (columns, y) = (ws.f64s(block * l)?, ws.f64s(block * l)?);
    let weights = ws.f64s(block)?;
    let mean = &mut ws.f64s(l)?[..r];
    out.fill(0.0);
    draws.for_each_block(frame.mean, scratch, |x, q, _| {
        latent_rows(ctx, frame, x, columns, y);
        let y = &y[..x.rows * r];
        for (q, y) in q.iter().zip(y.chunks_exact(r)) {
            axpy(*q, y, mean);
        }
        for (v, out) in vectors.chunks_exact(r).zip(out.chunks_exact_mut(r * r)) {
            for ((w, q), y) in weights.iter_mut().zip(q).zip(y.chunks_exact(r)) {
                *w = q * dot(v, y);
            }
            simd::gram(ctx.isa, Rows { values: y, rows: x.rows, columns: r, stride: r }, &weights[..x.rows], out);
        }
    });
    for (v, out) in vectors.chunks_exact(r).zip(out.chunks_exact_mut(r * r)) {
        let vm = dot(v, mean);
        for a in 0..r {
            for b in 0..=a {
                out[a * r + b] -= mean[a] * v[b] + mean[b] * v[a] + vm * same(a, b);
            }
        }
        symmetrize(out, r);
    }
    Ok(())
}
