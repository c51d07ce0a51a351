//! Frames: coordinates in which a base measure over the rows has mean 0 and covariance I; and the draws, with importance weights.
//!
//! For base weights `f_i ∝ e^{g_i}` with mean m and covariance S: `y = T (x − m)`, `T S T^T = I`. The law of class k over the rows,
//! `∝ e^{b_i + x_i·θ_k}`, is `∝ e^{g_i} e^{y_i·δ_k}` with `θ_k = η + T^T δ_k` when `g_i = b_i + x_i·η`. Multiplying rows and draws alike by
//! `e^{t_i}` (a tilt) changes the weights of the classes to `a_k ∝ α_k Σ_i A_ik e^{t_i}`, and leaves the atoms.

use crate::data::{Choices, Data, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::evaluate::{block_rows, blocks};
use crate::linalg::{self, axpy, dot};
use crate::parallel::Context;
use crate::simd::{self, Rows};
use crate::whiten::Whitening;
use crate::workspace::{Workspace, WorkspaceSize};

/// By which part of its mean the covariance of a base measure is raised in all directions. Raised only where it seemed singular, eigenvalues
/// under a tilt differed in the second digit between features by rows and by columns (48 distinct rows with 40 features).
const RAISED: f64 = 1e-9;

/// Coordinates in which a base measure over the rows has mean 0 and covariance I.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'w> {
    /// Number of features L.
    pub columns: usize,
    /// Rank r of the features.
    pub rank: usize,
    /// Mean m of the features under the base measure, L numbers.
    pub mean: &'w [f64],
    /// η, the atom at the origin of the frame, L numbers.
    pub center: &'w [f64],
    /// T, r × L: `y = T (x − m)`, and `θ = η + T^T δ`.
    pub to_atoms: &'w [f64],
    /// r × L: `δ = F (θ − η)`.
    pub from_atoms: &'w [f64],
}

impl<'w> Frame<'w> {
    /// Workspace of [`Frame::new`], of which the result borrows its part.
    pub fn workspace(shape: &Shape) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        of(shape.columns).and(of(shape.columns)).and(of(shape.columns))
    }

    /// The frame of a whitening: equal base weights on the rows that are available, η = 0. Offsets that are finite are not part of this
    /// base measure; with any, use [`Frame::of_base`]. Cost: one read of X.
    pub fn new(data: &Data<'_>, wh: &Whitening<'w>, ws: &mut Workspace<'w>) -> Result<Self> {
        let l = data.features().columns();
        check_whitening(wh, l)?;
        let mean = ws.f64s(l)?;
        let center = ws.f64s(l)?;
        let (reference, mut n) = (ws.f64s(l)?, 0.0);
        for i in 0..data.features().rows() {
            if !data.available(i) {
                continue;
            }
            if n == 0.0 {
                data.features().copy(i..i + 1, reference);
            }
            n += 1.0;
            for (j, m) in mean.iter_mut().enumerate() {
                *m += data.features().get(i, j) - reference[j];
            }
        }
        mean.iter_mut().zip(&*reference).for_each(|(m, x)| *m = x + *m / n);
        Ok(Frame { columns: l, rank: wh.rank, mean, center, to_atoms: wh.to_atoms, from_atoms: wh.from_atoms })
    }

    /// Workspace of [`Frame::of_base`], of which the result borrows its part.
    pub fn of_base_workspace(shape: &Shape) -> WorkspaceSize {
        let l = shape.columns;
        let of = WorkspaceSize::of::<f64>;
        let square = of(l.saturating_mul(l));
        let block = block_rows(l);
        let pass = of(block.saturating_mul(l)).and(of(block)).and(of(l));
        let factor = square.and(square).and(linalg::cholesky_workspace(l));
        of(l).and(of(l)).and(square).and(square).and(square).and(pass.or(factor))
    }

    /// The frame of base weights `f_i ∝ e^{log_base_i}` (p numbers, −inf leaves a row out), with the atom η = `center` at its origin. The
    /// covariance is raised by a billionth of its mean in all directions of `wh`, and by more where that is not enough: the base measure may
    /// rest on so few rows that it is singular, which rounding must not decide. Cost: two reads of X and p L² / 2.
    ///
    /// # Errors
    /// `IllPosed` when no row has weight.
    pub fn of_base(
        data: &Data<'_>,
        wh: &Whitening<'_>,
        log_base: &[f64],
        center: &[f64],
        ctx: Context,
        ws: &mut Workspace<'w>,
    ) -> Result<Self> {
        let (l, r, p) = (data.features().columns(), wh.rank, data.features().rows());
        check_whitening(wh, l)?;
        for (name, needed, given) in [("log_base", p, log_base.len()), ("center", l, center.len())] {
            if needed != given {
                return Err(Error::shape(name, needed, given));
            }
        }
        ws.require(Self::of_base_workspace(&data.shape()))?;
        let (mean, origin) = (ws.f64s(l)?, ws.f64s(l)?);
        origin.copy_from_slice(center);
        let (to_atoms, from_atoms, covariance) = (ws.f64s(l * l)?, ws.f64s(l * l)?, ws.f64s(l * l)?);
        {
            base_mean(data, log_base, mean, ctx, ws.scope())?;
            let total = for_each_weighted_block(data, log_base, mean, ctx, ws.scope(), |x, weights| {
                simd::gram(ctx.isa, x, weights, covariance);
            })?;
            covariance.iter_mut().for_each(|c| *c /= total);
        }
        linalg::symmetrize(covariance, l);
        let mut scratch = ws.scope();
        let (factor, half) = (scratch.f64s(l * l)?, scratch.f64s(l * l)?);
        let mut raised = RAISED;
        loop {
            let factor = &mut factor[..r * r];
            wh.whiten_curvature(ctx.isa, covariance, factor, r, half);
            let trace: f64 = (0..r).map(|j| factor[j * r + j]).sum();
            for j in 0..r {
                factor[j * r + j] += raised * f64::max(trace / r as f64, f64::MIN_POSITIVE);
            }
            if linalg::cholesky(factor, r, scratch.scope())? {
                break;
            }
            raised *= 10.0;
            if raised > 1.0 {
                return Err(Error::new(ErrorKind::IllPosed, "log_base"));
            }
        }
        // T = C^-1 T_wh, column by column; F = C^T F_wh.
        for j in 0..l {
            for (a, v) in half[..r].iter_mut().enumerate() {
                *v = wh.to_atoms[a * l + j];
            }
            linalg::solve_lower(&factor[..r * r], r, &mut half[..r]);
            for (a, v) in half[..r].iter().enumerate() {
                to_atoms[a * l + j] = *v;
            }
        }
        for a in 0..r {
            let row = &mut from_atoms[a * l..(a + 1) * l];
            for b in a..r {
                axpy(factor[b * r + a], &wh.from_atoms[b * l..(b + 1) * l], row);
            }
        }
        Ok(Frame { columns: l, rank: r, mean, center: origin, to_atoms: &to_atoms[..r * l], from_atoms: &from_atoms[..r * l] })
    }

    /// Workspace of [`Frame::rescaled`], of which the result borrows its part.
    pub(crate) fn rescaled_workspace(shape: &Shape) -> WorkspaceSize {
        let of = |a: usize, b: usize| WorkspaceSize::of::<f64>(a.saturating_mul(b));
        let (l, block) = (shape.columns, block_rows(shape.columns));
        of(l, 1).and(of(l, l)).and(of(l, l)).and(of(block, l).and(of(block, 1)).and(of(l, 1)))
    }

    /// This frame with T times `factor`, about the mean under other base weights. Cost: one read of X.
    pub(crate) fn rescaled<'v>(
        &self,
        data: &Data<'_>,
        log_base: &[f64],
        factor: f64,
        ctx: Context,
        ws: &mut Workspace<'v>,
    ) -> Result<Frame<'v>>
    where
        'w: 'v,
    {
        let (l, r) = (self.columns, self.rank);
        let mean = ws.f64s(l)?;
        let (to_atoms, from_atoms) = (&mut ws.f64s(l * l)?[..r * l], &mut ws.f64s(l * l)?[..r * l]);
        base_mean(data, log_base, mean, ctx, ws.scope())?;
        for (t, x) in to_atoms.iter_mut().zip(self.to_atoms) {
            *t = factor * x;
        }
        for (f, x) in from_atoms.iter_mut().zip(self.from_atoms) {
            *f = x / factor;
        }
        Ok(Frame { columns: l, rank: r, mean, center: self.center, to_atoms, from_atoms })
    }

    /// `δ = F (θ − η)`: r numbers.
    pub fn from_atom(&self, atom: &[f64], delta: &mut [f64]) {
        for (d, row) in delta.iter_mut().zip(self.from_atoms.chunks_exact(self.columns)) {
            *d = dot(row, atom) - dot(row, self.center);
        }
    }

    /// `θ = η + T^T δ`: L numbers.
    pub fn to_atom(&self, delta: &[f64], atom: &mut [f64]) {
        atom.copy_from_slice(self.center);
        for (d, row) in delta.iter().zip(self.to_atoms.chunks_exact(self.columns)) {
            axpy(*d, row, atom);
        }
    }

    /// A direction of the frame as one of the features: `v·y = (T^T v)·(x − m)`.
    pub(crate) fn pull(&self, v: &[f64], out: &mut [f64]) {
        out.fill(0.0);
        for (v, row) in v.iter().zip(self.to_atoms.chunks_exact(self.columns)) {
            axpy(*v, row, out);
        }
    }
}

/// The mean of the features under base weights `∝ e^{log_base}`, about the heaviest row, so that a common shift costs no digits.
fn base_mean(data: &Data<'_>, log_base: &[f64], mean: &mut [f64], ctx: Context, mut ws: Workspace<'_>) -> Result<()> {
    let reference = ws.f64s(mean.len())?;
    let top = largest(log_base);
    if !top.is_finite() {
        return Err(Error::new(ErrorKind::IllPosed, "log_base"));
    }
    let heaviest = log_base.iter().position(|g| *g == top).unwrap_or(0);
    data.features().copy(heaviest..heaviest + 1, reference);
    mean.fill(0.0);
    let total = for_each_weighted_block(data, log_base, reference, ctx, ws, |x, weights| {
        simd::weighted_sum(ctx.isa, x, weights, weights.len(), mean);
    })?;
    mean.iter_mut().zip(&*reference).for_each(|(m, x)| *m = x + *m / total);
    Ok(())
}

pub(super) fn largest(log_base: &[f64]) -> f64 {
    log_base.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// Blocks of rows less a reference, with base weights `e^{log_base}` over the largest: the sum of all weights. Workspace: a block of rows,
/// and as many numbers.
fn for_each_weighted_block(
    data: &Data<'_>,
    log_base: &[f64],
    reference: &[f64],
    ctx: Context,
    mut ws: Workspace<'_>,
    mut body: impl FnMut(Rows<'_, f64>, &[f64]),
) -> Result<f64> {
    let l = reference.len();
    let block = block_rows(l);
    let (rows, weights) = (ws.f64s(block * l)?, ws.f64s(block)?);
    let (top, mut total) = (largest(log_base), 0.0);
    for range in blocks(0..log_base.len(), block) {
        let n = range.len();
        total += simd::exp_shifted_sum_to(ctx.isa, &log_base[range.clone()], top, &mut weights[..n]);
        data.features().copy(range, &mut rows[..n * l]);
        for row in rows[..n * l].chunks_exact_mut(l) {
            axpy(-1.0, reference, row);
        }
        body(Rows { values: &rows[..n * l], rows: n, columns: l, stride: l }, &weights[..n]);
    }
    Ok(total)
}

fn check_whitening(wh: &Whitening<'_>, columns: usize) -> Result<()> {
    match wh.columns == columns {
        true => Ok(()),
        false => Err(Error::shape("whitening", columns, wh.columns)),
    }
}

/// The draws of one choice set: how often each row was chosen, times importance weights `e^{t_i}`.
#[derive(Clone, Copy, Debug)]
pub struct Draws<'a> {
    data: &'a Data<'a>,
    log_weights: Option<&'a [f64]>,
    total: f64,
    squares: f64,
}

impl<'a> Draws<'a> {
    /// The draws as they are.
    ///
    /// # Errors
    /// `Unsupported` unless choices are counts over one choice set.
    pub fn new(data: &'a Data<'a>) -> Result<Self> {
        Self::of(data, None)
    }

    /// The draws with importance weights `e^{t_i}`, t the p numbers of `log_weights`, at most 0 or near it.
    ///
    /// # Errors
    /// As [`Draws::new`]; `Shape`; `IllPosed` when the weights leave no draw.
    pub fn weighted(data: &'a Data<'a>, log_weights: &'a [f64]) -> Result<Self> {
        if log_weights.len() != data.features().rows() {
            return Err(Error::shape("log_weights", data.features().rows(), log_weights.len()));
        }
        Self::of(data, Some(log_weights))
    }

    fn of(data: &'a Data<'a>, log_weights: Option<&'a [f64]>) -> Result<Self> {
        let units = matches!(data.choices(), Choices::Units { .. });
        for (argument, is) in [("choices", units), ("sets", data.set_count() != 1), ("shard", data.is_part())] {
            if is {
                return Err(Error::new(ErrorKind::Unsupported, argument));
            }
        }
        let mut draws = Draws { data, log_weights, total: 0.0, squares: 0.0 };
        let (mut total, mut squares) = (0.0, 0.0);
        for (_, n, w) in draws.observed() {
            total += n * w;
            squares += n * w * w;
        }
        (draws.total, draws.squares) = (total, squares);
        match total > 0.0 && total.is_finite() && squares > 0.0 {
            true => Ok(draws),
            false => Err(Error::new(ErrorKind::IllPosed, "log_weights")),
        }
    }

    /// The data.
    pub fn data(&self) -> &'a Data<'a> {
        self.data
    }

    /// How many unweighted draws would estimate as well: `(Σ_i n_i w_i)² / Σ_i n_i w_i²`.
    pub fn effective_size(&self) -> f64 {
        self.total / self.squares * self.total
    }

    /// Refuses a frame of other features; its rank, at least 1.
    pub(crate) fn rank_in(&self, frame: &Frame<'_>) -> Result<usize> {
        self.check(frame)?;
        if frame.rank == 0 { Err(Error::new(ErrorKind::IllPosed, "features")) } else { Ok(frame.rank) }
    }

    /// Refuses a frame of other features.
    pub(crate) fn check(&self, frame: &Frame<'_>) -> Result<()> {
        let l = self.data.features().columns();
        if frame.columns == l { Ok(()) } else { Err(Error::shape("frame", l, frame.columns)) }
    }

    /// Observed rows: row, count, importance weight.
    fn observed(&self) -> impl Iterator<Item = (usize, f64, f64)> + 'a {
        let (data, log_weights) = (self.data, self.log_weights);
        (0..data.shape().units)
            .filter(move |&u| data.unit_weight(u) > 0.0)
            .flat_map(move |u| data.entries(u).map(move |(i, _)| (i, data.unit_weight(u), log_weights.map_or(1.0, |t| libm::exp(t[i])))))
    }

    /// Adds the frequencies `q_i = n_i w_i / Σ n w` to `out`, p numbers.
    pub(crate) fn add_frequencies(&self, out: &mut [f64]) {
        for (i, n, w) in self.observed() {
            out[i] += n * w / self.total;
        }
    }

    /// Numbers of scratch of [`Draws::for_each_block`].
    pub(crate) fn scratch(columns: usize) -> usize {
        block_rows(columns).saturating_mul(columns.saturating_add(2))
    }

    /// Runs `body(rows, q, e)` over blocks of observed rows, centred at `mean` (n × L, row-major): frequencies `q_i = n_i w_i / Σ n w`, and
    /// `e_i = n_i w_i² / (Σ n w)²`, with which the variance of a moment `Σ q f` is `Σ e (f − Σ q f)²`.
    pub(crate) fn for_each_block(&self, mean: &[f64], scratch: &mut [f64], mut body: impl FnMut(Rows<'_, f64>, &[f64], &[f64])) {
        let l = mean.len();
        let block = block_rows(l);
        let (rows, rest) = scratch.split_at_mut(block * l);
        let (q, e) = rest.split_at_mut(block);
        let mut observed = self.observed();
        loop {
            let mut n = 0;
            for (i, count, w) in observed.by_ref().take(block) {
                let row = &mut rows[n * l..(n + 1) * l];
                self.data.features().copy(i..i + 1, row);
                axpy(-1.0, mean, row);
                q[n] = count * w / self.total;
                e[n] = q[n] * (w / self.total);
                n += 1;
            }
            if n == 0 {
                return;
            }
            body(Rows { values: &rows[..n * l], rows: n, columns: l, stride: l }, &q[..n], &e[..n]);
        }
    }

    /// `Σ_i e_i`: what a variance needs beside the sums of `e f` and `e f²`.
    pub(crate) fn error_mass(&self) -> f64 {
        self.squares / self.total / self.total
    }

    /// Standard errors from `Σ e f`, `Σ e f²` and the moments m.
    pub(crate) fn standard_errors(&self, out: &mut [f64], first: &[f64], second: &[f64], moments: &[f64]) {
        let mass = self.error_mass();
        for (((out, first), second), m) in out.iter_mut().zip(first).zip(second).zip(moments) {
            *out = standard_error(*first, *second, *m, mass);
        }
    }
}

/// The standard error from `Σ e f`, `Σ e f²` and the moment m: `√(Σ e f² − 2 m Σ e f + m² Σ e)`; ∞ where one of them is beyond f64.
fn standard_error(first: f64, second: f64, moment: f64, mass: f64) -> f64 {
    let variance = second - 2.0 * moment * first + moment * moment * mass;
    if variance.is_finite() { libm::sqrt(variance.max(0.0)) } else { f64::INFINITY }
}

/// Latent coordinates `y = T (x − m)` of a block of centred rows, row-major n × r, by way of `columns` (r × block).
pub(crate) fn latent_rows(ctx: Context, frame: &Frame<'_>, x: Rows<'_, f64>, columns: &mut [f64], y: &mut [f64]) {
    let (r, block) = (frame.rank, block_rows(frame.columns));
    simd::logits(ctx.isa, x, frame.to_atoms, None, columns, block);
    for i in 0..x.rows {
        for j in 0..r {
            y[i * r + j] = columns[j * block + i];
        }
    }
}

/// Workspace of [`natural`], of which the result borrows its part.
pub(crate) fn natural_workspace(shape: &Shape) -> WorkspaceSize {
    Frame::workspace(shape).or(Frame::of_base_workspace(shape).and(WorkspaceSize::of::<f64>(shape.columns)))
}

/// The frame of the rows as the model weighs them: `e^b`, η = 0.
pub(crate) fn natural<'w>(data: &Data<'_>, wh: &Whitening<'w>, ctx: Context, ws: &mut Workspace<'w>) -> Result<Frame<'w>> {
    match data.offset().filter(|b| b.iter().any(|b| b.is_finite() && *b != 0.0)) {
        None => Frame::new(data, wh, ws),
        Some(b) => {
            let center = ws.f64s(data.features().columns())?;
            Frame::of_base(data, wh, b, center, ctx, ws)
        }
    }
}
