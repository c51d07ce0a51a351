//! The observed information in the span of the atoms, which tells L-BFGS what the metric of complete data leaves out.
//!
//! Responsibilities are functions of the logits `X Θ`: which class chose is unknown along the atoms and, where features under a class are
//! about elliptical, hardly elsewhere. In the subspace P of log-odds and of `θ_k = Σ_m c_km θ_m`, of dimension `K − 1 + K²`, the
//! information H is that of logits instead of features: it takes no read of X. With G the metric B there, `G = P^T B P`, the metric
//! `B + B P G⁻¹ (H − G) G⁻¹ P^T B` is H in P and B in what is B-orthogonal to it, and its inverse is `B⁻¹ + P (H⁻¹ − G⁻¹) P^T`.

use super::Objective;
use crate::data::Shape;
use crate::error::Result;
use crate::evaluate::{Draws, Evaluation};
use crate::fit::newton_is_cheap;
use crate::linalg::{self, axpy, dot};
use crate::workspace::{Workspace, WorkspaceSize};

/// The dimension of P at most.
const MOST: usize = 400;
/// H is at least this share of G: what else it is raised by multiples of G.
const LEAST: f64 = 0.1;

/// The dimension of P.
fn dimension(classes: usize) -> usize {
    classes.saturating_mul(classes.saturating_add(1)).saturating_sub(1)
}

/// P, H and G.
pub(crate) struct Span<'w> {
    /// The atoms, K × L; empty where the subspace does not serve.
    atoms: &'w mut [f64],
    /// Cholesky factors of H and G, n × n.
    h: &'w mut [f64],
    g: &'w mut [f64],
    /// n numbers each.
    found: &'w mut [f64],
    other: &'w mut [f64],
    /// Whether H and G are known.
    known: bool,
}

impl<'w> Span<'w> {
    /// Whether H pays, of no classes never: on counts over one choice set with fewer classes than features, where it costs no more than an
    /// evaluation, and L-BFGS has more to do than to lead to where Newton's method takes over.
    fn serves(shape: &Shape, classes: usize) -> bool {
        let (k, l) = (classes as f64, shape.columns as f64);
        let cheap = k * k * (k + 1.0) <= 8.0 * l && dimension(classes) <= MOST;
        Draws::logits_serve(shape) && classes > 1 && classes < shape.columns && cheap && !newton_is_cheap(shape, classes)
    }

    pub fn workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
        if !Self::serves(shape, classes) {
            return WorkspaceSize::EMPTY;
        }
        let of = WorkspaceSize::of::<f64>;
        let n = dimension(classes);
        of(classes.saturating_mul(shape.columns)).and(of(n * n)).and(of(n * n)).and(of(n)).and(of(n))
    }

    /// Workspace of [`Span::take`].
    pub fn take_workspace(shape: &Shape, classes: usize) -> WorkspaceSize {
        if !Self::serves(shape, classes) {
            return WorkspaceSize::EMPTY;
        }
        let of = WorkspaceSize::of::<f64>;
        let (n, kl) = (dimension(classes), classes.saturating_mul(shape.columns));
        let information = Draws::logits_workspace(shape).and(Evaluation::information_of_logits_workspace(shape, classes));
        of(n * n).and(of(classes * classes * classes)).and(of(kl).or(information).or(of(linalg::large_cholesky_scratch(n))))
    }

    pub fn new(shape: &Shape, classes: usize, ws: &mut Workspace<'w>) -> Result<Self> {
        let (n, l) = match Self::serves(shape, classes) {
            true => (dimension(classes), shape.columns),
            false => (0, 0),
        };
        let atoms = ws.f64s(classes * l)?;
        Ok(Span { atoms, h: ws.f64s(n * n)?, g: ws.f64s(n * n)?, found: ws.f64s(n)?, other: ws.f64s(n)?, known: false })
    }

    /// Takes H at the point last evaluated, and G of the metric B: `scale` in the log-odds, and a Cholesky factor for the atom of every
    /// class, K × L × L.
    pub fn take(&mut self, o: &Objective<'_, '_, '_>, scale: &[f64], factors: &[f64], mut ws: Workspace<'_>) -> Result<()> {
        self.known = false;
        // Where ranks have choice sets of their own, one may have a single one.
        if self.atoms.is_empty() || o.data.is_part() && !o.data.splits_rows() {
            return Ok(());
        }
        let (k, l, n) = (o.classes(), o.wh.columns, self.found.len());
        let e = k - 1;
        self.atoms.copy_from_slice(o.atoms);
        let (trial, complete) = (ws.f64s(n * n)?, ws.f64s(k * k * k)?);
        {
            let mut ws = ws.scope();
            let draws = Draws::of_logits(o.data, k, &mut ws)?;
            o.ev.information_of_draws(o.data, o.weights, &draws, complete, self.h, o.ctx, ws)?;
        }
        self.g.fill(0.0);
        for (j, scale) in scale.iter().enumerate().take(e) {
            self.g[j * n + j] = *scale;
        }
        {
            let mut ws = ws.scope();
            let images = ws.f64s(k * l)?;
            for (j, factor) in factors.chunks_exact(l * l).enumerate() {
                // θ_a^T B_j θ_b, B_j = F F^T, from F^T θ.
                for (image, atom) in images.chunks_exact_mut(l).zip(self.atoms.chunks_exact(l)) {
                    image.fill(0.0);
                    for (i, x) in atom.iter().enumerate() {
                        axpy(*x, &factor[i * l..=i * l + i], &mut image[..=i]);
                    }
                }
                products(images, images, l, e + j * k, 1.0, self.g);
            }
            if o.ridge > 0.0 {
                for (image, atom) in images.chunks_exact_mut(l).zip(self.atoms.chunks_exact(l)) {
                    image.iter_mut().zip(o.wh.covariance.chunks_exact(l)).for_each(|(i, row)| *i = dot(row, atom));
                }
                (0..k).for_each(|j| products(images, self.atoms, l, e + j * k, o.ridge, self.h));
            }
        }
        for j in 0..n {
            // Atoms that depend on one another: a combination of them that is 0 is as good as none.
            let g = 1e-10 * self.g[j * n + j];
            self.g[j * n + j] += g;
            self.h[j * n + j] += g;
        }
        let scratch = ws.f64s(linalg::large_cholesky_scratch(n))?;
        let mut raise = 0.0;
        loop {
            for ((t, h), g) in trial.iter_mut().zip(&*self.h).zip(&*self.g) {
                *t = h + (raise - LEAST) * g;
            }
            if linalg::large_cholesky(o.ctx.isa, trial, n, scratch) {
                break;
            }
            raise = if raise == 0.0 { 0.01 } else { 2.0 * raise };
            if raise > 1e3 {
                return Ok(());
            }
        }
        axpy(raise, self.g, self.h);
        self.known = linalg::large_cholesky(o.ctx.isa, self.h, n, scratch) && linalg::large_cholesky(o.ctx.isa, self.g, n, scratch);
        Ok(())
    }

    /// Finds `(H⁻¹ − G⁻¹) P^T g`, g in the log-odds and the atoms, K × L.
    pub fn solve(&mut self, eta: &[f64], atoms: &[f64]) {
        if !self.known {
            return;
        }
        let (n, l) = (self.found.len(), self.atoms.len() / (eta.len() + 1));
        let (of_eta, of_atoms) = self.found.split_at_mut(eta.len());
        of_eta.copy_from_slice(eta);
        for (found, g) in of_atoms.chunks_exact_mut(eta.len() + 1).zip(atoms.chunks_exact(l)) {
            found.iter_mut().zip(self.atoms.chunks_exact(l)).for_each(|(y, atom)| *y = dot(atom, g));
        }
        self.other.copy_from_slice(self.found);
        linalg::solve_cholesky(self.h, n, self.found);
        linalg::solve_cholesky(self.g, n, self.other);
        axpy(-1.0, self.other, self.found);
    }

    /// Adds P times what was found to a step.
    pub fn add(&self, eta: &mut [f64], atoms: &mut [f64]) {
        if !self.known {
            return;
        }
        let l = self.atoms.len() / (eta.len() + 1);
        let (of_eta, of_atoms) = self.found.split_at(eta.len());
        axpy(1.0, of_eta, eta);
        for (found, step) in of_atoms.chunks_exact(eta.len() + 1).zip(atoms.chunks_exact_mut(l)) {
            found.iter().zip(self.atoms.chunks_exact(l)).for_each(|(y, atom)| axpy(*y, atom, step));
        }
    }
}

/// Adds `f a_i·b_j`, j ≤ i, of rows of l numbers to the lower triangle of a matrix, from `(at, at)` on.
fn products(a: &[f64], b: &[f64], l: usize, at: usize, f: f64, out: &mut [f64]) {
    let (k, n) = (a.len() / l, out.len().isqrt());
    for i in 0..k {
        for j in 0..=i {
            out[(at + i) * n + at + j] += f * dot(&a[i * l..(i + 1) * l], &b[j * l..(j + 1) * l]);
        }
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::data::{Choices, Data, Features};
    use crate::parallel::Context;
    use crate::testing::numbers;
    use crate::whiten::Whitening;
    use crate::workspace::WorkspaceBuffer;
    use alloc::vec::Vec;

    #[test]
    fn the_inverse_is_that_of_a_metric_that_is_the_information_in_the_span() {
        let (p, l, k, ridge) = (700, 13, 3, 2.0);
        let (e, n, d) = (k - 1, dimension(k), k - 1 + k * l);
        let x: Vec<f64> = numbers(p * l, 1).iter().map(|x| 2.0 * x + 0.3).collect();
        let counts: Vec<f64> = numbers(p, 2).iter().map(|x| (9.0 * x).max(0.0).floor()).collect();
        let drawn: Vec<usize> = (0..p).filter(|i| counts[*i] > 0.0).collect();
        let of_drawn: Vec<f64> = drawn.iter().map(|i| counts[*i]).collect();
        for choices in [Choices::Counts(&counts), Choices::SparseCounts { indices: &drawn, counts: &of_drawn }] {
            let data = Data::new(Features::row_major(&x[..], p, l).unwrap(), None, None, choices).unwrap();
            let (shape, ctx) = (data.shape(), Context::default());
            assert!(Span::serves(&shape, k));
            let mut buffers: Vec<WorkspaceBuffer> =
                (0..4).map(|_| WorkspaceBuffer::new(WorkspaceSize::of::<f64>(1 << 20)).unwrap()).collect();
            let [of_whitening, of_evaluation, of_objective, of_span] = &mut buffers[..] else { unreachable!() };
            let wh = Whitening::new(&data, ctx.isa, &mut of_whitening.lend()).unwrap();
            let mut ev = Evaluation::new(shape, k, 1, &mut of_evaluation.lend()).unwrap();
            let mut ws = of_objective.lend();
            let mut o = Objective::new(&data, &wh, ridge, ctx, &mut ev, 9, &mut ws).unwrap();
            let atoms = numbers(k * l, 3);
            let mut v = alloc::vec![0.0; d];
            o.pack(&[0.5, 0.2, 0.3], &atoms, &mut v);
            let mut g = alloc::vec![0.0; d];
            o.evaluate(&v, &mut g).unwrap();
            // The information of all parameters, with the ridge penalty.
            let mut all = alloc::vec![0.0; d * d];
            o.ev.information(&data, o.weights, &mut all, ctx, ws.scope()).unwrap();
            for j in 0..k {
                for (a, row) in wh.covariance.chunks_exact(l).enumerate() {
                    axpy(ridge, row, &mut all[(e + j * l + a) * d + e + j * l..][..l]);
                }
            }
            // B: some factors, and P.
            let scale = [300.0, 200.0];
            let mut factors = numbers(k * l * l, 4);
            (0..k * l).for_each(|j| factors[j / l * l * l + j % l * (l + 1)] = 20.0);
            let mut b = alloc::vec![0.0; d * d];
            (0..e).for_each(|j| b[j * d + j] = scale[j]);
            for (j, f) in factors.chunks_exact(l * l).enumerate() {
                for (r, c) in (0..l).flat_map(|r| (0..l).map(move |c| (r, c))) {
                    b[(e + j * l + r) * d + e + j * l + c] = (0..=r.min(c)).map(|i| f[r * l + i] * f[c * l + i]).sum();
                }
            }
            let mut span = alloc::vec![0.0; n * d];
            (0..e).for_each(|j| span[j * d + j] = 1.0);
            for (j, m) in (0..k).flat_map(|j| (0..k).map(move |m| (j, m))) {
                span[(e + j * k + m) * d + e + j * l..][..l].copy_from_slice(&o.atoms[m * l..(m + 1) * l]);
            }
            let times = |a: &[f64], x: &[f64]| -> Vec<f64> { a.chunks_exact(d).map(|row| dot(row, x)).collect() };
            let mut ws = of_span.lend();
            let mut found = Span::new(&shape, k, &mut ws).unwrap();
            found.take(&o, &scale, &factors, ws).unwrap();
            assert!(found.known);
            // M s for a step s = P c: `M P c = B P G⁻¹ H c`, and the inverse must lead back.
            let (h, gram): (Vec<f64>, Vec<f64>) = {
                let product = |m: &[f64]| -> Vec<f64> {
                    let images: Vec<Vec<f64>> = span.chunks_exact(d).map(|row| times(m, row)).collect();
                    span.chunks_exact(d).flat_map(|row| images.iter().map(|i| dot(row, i)).collect::<Vec<_>>()).collect()
                };
                (product(&all), product(&b))
            };
            // H may have been raised by multiples of G: both are found again from their factors.
            let of_factor = |f: &[f64], r: usize, c: usize| -> f64 { (0..=r.min(c)).map(|i| f[r * n + i] * f[c * n + i]).sum() };
            let raise = (of_factor(found.h, 0, 0) - h[0]) / gram[0];
            let largest = h.iter().chain(&gram).fold(0.0, |m: f64, x| m.max(x.abs()));
            for (r, c) in (0..n).flat_map(|r| (0..n).map(move |c| (r, c))) {
                let (h, g) = (h[r * n + c] + raise * gram[r * n + c], gram[r * n + c]);
                assert!((of_factor(found.h, r, c) - h).abs() <= 1e-8 * largest, "H {r} {c}: {} {h}", of_factor(found.h, r, c));
                assert!((of_factor(found.g, r, c) - g).abs() <= 1e-8 * largest, "G {r} {c}");
            }
            let c = numbers(n, 5);
            let mut hc: Vec<f64> = (0..n).map(|r| (0..n).map(|j| of_factor(found.h, r, j) * c[j]).sum()).collect();
            linalg::solve_cholesky(found.g, n, &mut hc);
            let combine = |c: &[f64]| -> Vec<f64> { (0..d).map(|i| (0..n).map(|j| c[j] * span[j * d + i]).sum()).collect() };
            let (step, image) = (combine(&c), times(&b, &combine(&hc)));
            found.solve(&image[..e], &image[e..]);
            let mut back = image;
            back[..e].iter_mut().zip(&scale).for_each(|(x, s)| *x /= s);
            back[e..].chunks_exact_mut(l).zip(factors.chunks_exact(l * l)).for_each(|(x, f)| linalg::solve_cholesky(f, l, x));
            let (eta, atoms) = back.split_at_mut(e);
            found.add(eta, atoms);
            for (x, y) in back.iter().zip(&step) {
                assert!((x - y).abs() <= 1e-6 * (1.0 + y.abs()), "{x} {y}");
            }
        }
    }
}
