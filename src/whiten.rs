//! Centre and whiten features inside choice sets, find their rank, and map atoms there and back.
//!
//! With `Σ = (1/p) Σ_s Σ_{i∈s} (x_i − x̄_s)(x_i − x̄_s)^T` and D its standard deviations, the correlations `D^-1 Σ D^-1 = M M^T` are
//! factored with pivoting, M of full column rank r. In whitened features z, `x − x̄ = D M z`, the atom is `β = M^T D θ`; the way back,
//! `θ = D^-1 M (M^T M)^-1 β`, is the answer of minimum norm in standardised features where features are collinear.
//! The features themselves are neither copied nor changed.

use crate::data::{Data, Shape};
use crate::error::{Error, ErrorKind, Result};
use crate::evaluate::{block_rows, blocks, set_groups};
use crate::linalg::{self, axpy, dot};
use crate::reduce::Operation;
use crate::simd::{self, Isa, Rows};
use crate::workspace::{Workspace, WorkspaceSize};
use core::ops::Range;

/// What features are taken relative to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The origin of the choice set, a row: a common shift of the features costs no digits.
    Row,
    /// The mean of the choice set.
    Mean,
}

/// Rows of a block: where rows are long the second moments, and not the rows, fill the cache.
pub(crate) fn moment_rows(columns: usize) -> usize {
    if columns > 64 { 128 } else { block_rows(columns) }
}

/// Share `t` of `n` of the choice sets, and of the rows: whole sets, or blocks of the one there is.
pub(crate) fn centered_share(data: &Data<'_>, t: usize, n: usize) -> (Range<usize>, Range<usize>) {
    let (sets, rows, block) = (data.set_count(), data.features().rows(), moment_rows(data.features().columns()));
    if sets > 1 {
        return (t * sets / n..(t + 1) * sets / n, 0..rows);
    }
    let blocks = rows.div_ceil(block);
    (0..sets, t * blocks / n * block..((t + 1) * blocks / n * block).min(rows))
}

/// Runs `body(sets, rows, z)` over blocks of the rows of `share` ([`centered_share`]): `z` holds the features of the rows (rows × L, f64)
/// less the origin of their choice set. Rows that are not available are zero and count for nothing. `scratch`: [`centered_scratch`]
/// numbers. Of a choice set in several shares the origin must be that row: no share knows the mean.
pub(crate) fn for_each_centered_block(
    data: &Data<'_>,
    share: (Range<usize>, Range<usize>),
    isa: Isa,
    origin: Origin,
    scratch: &mut [f64],
    mut body: impl FnMut(Range<usize>, Range<usize>, &mut [f64]),
) -> Result<()> {
    let l = data.features().columns();
    let block = moment_rows(l);
    let (rows, center) = scratch.split_at_mut(block * l);
    let hide = |range: Range<usize>, rows: &mut [f64]| {
        if data.offset().is_some() {
            let hidden = range.zip(rows.chunks_exact_mut(l)).filter(|(i, _)| !data.available(*i));
            hidden.for_each(|(_, row)| row.fill(0.0));
        }
    };
    let sum = |range: Range<usize>, rows: &[f64], center: &mut [f64]| {
        for row in rows.chunks_exact(l) {
            axpy(1.0, row, center);
        }
        range.filter(|&i| data.available(i)).count() as f64
    };
    let subtract = |rows: &mut [f64], center: &[f64]| {
        for row in rows.chunks_exact_mut(l) {
            axpy(-1.0, center, row);
        }
    };
    let (sets, held) = share;
    for group in set_groups(data, sets, block) {
        let all = data.set(group.start).start.max(held.start)..data.set(group.end - 1).end.min(held.end);
        if all.len() <= block && !data.splits_rows() {
            let rows = &mut rows[..all.len() * l];
            for set in group.clone() {
                let (first, set) = (data.origin(set), data.set(set).start.max(all.start)..data.set(set).end.min(all.end));
                let part = &mut rows[(set.start - all.start) * l..(set.end - all.start) * l];
                data.features().differences(isa, set.clone(), first, part);
                hide(set.clone(), part);
                if origin == Origin::Mean {
                    center.fill(0.0);
                    let n = sum(set.clone(), part, center);
                    center.iter_mut().for_each(|c| *c /= n);
                    subtract(part, center);
                    hide(set, part);
                }
            }
            body(group, all, rows);
            continue;
        }
        let first = data.origin(group.start);
        center.fill(0.0);
        if origin == Origin::Mean {
            let mut n = 0.0;
            for range in blocks(all.clone(), block) {
                let rows = &mut rows[..range.len() * l];
                data.features().differences(isa, range.clone(), first, rows);
                hide(range.clone(), rows);
                n += sum(range, rows, center);
            }
            if !data.splits_rows() {
                center.iter_mut().for_each(|c| *c /= n);
            }
        }
        if let Some(part) = data.part().filter(|_| data.splits_rows()) {
            // What is common to all ranks: the mean of their first rows, or of all their rows. `center` is how far that is from the first
            // row here.
            let (reference, first_row) = rows[..2 * l].split_at_mut(l);
            data.features().copy(first..first + 1, reference);
            first_row.copy_from_slice(reference);
            data.mean(reference)?;
            axpy(-1.0, reference, first_row);
            if origin == Origin::Mean {
                let n = all.clone().filter(|&i| data.available(i)).count() as f64;
                axpy(n, first_row, center);
                data.sum(center)?;
                center.iter_mut().for_each(|c| *c /= part.available);
            }
            axpy(-1.0, first_row, center);
        }
        for range in blocks(all, block) {
            let rows = &mut rows[..range.len() * l];
            data.features().differences(isa, range.clone(), first, rows);
            if origin == Origin::Mean || data.splits_rows() {
                subtract(rows, center);
            }
            hide(range.clone(), rows);
            body(group.clone(), range, rows);
        }
    }
    Ok(())
}

/// Numbers of scratch of [`for_each_centered_block`].
pub(crate) fn centered_scratch(columns: usize) -> usize {
    (moment_rows(columns).saturating_add(1)).saturating_mul(columns)
}

/// The mean covariance of the features inside choice sets, Σ (L × L), over the alternatives that are available. Cost p L² / 2.
///
/// # Errors
/// `Shape` for an output of the wrong length, `Workspace`.
pub fn within_covariance(data: &Data<'_>, isa: Isa, covariance: &mut [f64], mut ws: Workspace<'_>) -> Result<()> {
    let l = data.features().columns();
    let check = match covariance.len() == l * l {
        true => ws.require(within_covariance_workspace(&data.shape())),
        false => Err(Error::shape("covariance", l * l, covariance.len())),
    };
    data.open(check, Operation::Covariance, isa, [])?;
    let scratch = ws.f64s(centered_scratch(l))?;
    let weights = ws.fill(moment_rows(l), 1.0)?;
    covariance.fill(0.0);
    for_each_centered_block(data, centered_share(data, 0, 1), isa, Origin::Mean, scratch, |_, range, rows| {
        simd::gram(isa, Rows { values: rows, rows: range.len(), columns: l, stride: l }, weights, covariance);
    })?;
    data.sum(covariance)?;
    let available = || (0..data.features().rows()).filter(|&i| data.available(i)).count() as f64;
    let n = data.part().map_or_else(available, |part| part.available);
    covariance.iter_mut().for_each(|c| *c /= n);
    linalg::symmetrize(covariance, l);
    Ok(())
}

/// One of every `step` of `0..n`, at no even distance: nothing that returns evenly is in step with them.
fn spaced(n: usize, step: usize) -> impl Iterator<Item = usize> {
    // The fractions of multiples of the golden ratio (Weyl 1916), times `step`.
    let at = move |j: usize| ((u128::from((j as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)) * step as u128) >> 64) as usize;
    (0..n).step_by(step).enumerate().map(move |(j, first)| (first + at(j)).min(n - 1))
}

/// The covariance inside one of every `step` of many choice sets, none larger than a block, or of one of every `step` rows of one; all rows
/// are available.
fn covariance_of_every(data: &Data<'_>, isa: Isa, step: usize, covariance: &mut [f64], mut ws: Workspace<'_>) -> Result<()> {
    let (p, l, sets) = (data.features().rows(), data.features().columns(), data.set_count());
    let block = moment_rows(l);
    let (rows, sum) = ws.f64s(centered_scratch(l))?.split_at_mut(block * l);
    let weights = ws.fill(block, 1.0)?;
    covariance.fill(0.0);
    let mut gram = |rows: &[f64]| {
        simd::gram(isa, Rows { values: rows, rows: rows.len() / l, columns: l, stride: l }, weights, covariance);
    };
    let (mut held, mut n, origin) = (0, 0, data.origin(0));
    for first in spaced(if sets > 1 { sets } else { p }, step) {
        let range = if sets > 1 { data.set(first) } else { first..first + 1 };
        if (held + range.len()) * l > rows.len() {
            gram(&rows[..held * l]);
            held = 0;
        }
        let part = &mut rows[held * l..(held + range.len()) * l];
        data.features().differences(isa, range.clone(), if sets > 1 { range.start } else { origin }, part);
        part.chunks_exact(l).for_each(|row| axpy(1.0, row, sum));
        if sets > 1 {
            sum.iter_mut().for_each(|s| *s /= range.len() as f64);
            part.chunks_exact_mut(l).for_each(|row| axpy(-1.0, sum, row));
            sum.fill(0.0);
        }
        held += range.len();
        n += range.len();
    }
    gram(&rows[..held * l]);
    simd::gram(isa, Rows { values: &*sum, rows: 1, columns: l, stride: l }, &[-1.0 / n as f64], covariance);
    covariance.iter_mut().for_each(|c| *c /= n as f64);
    linalg::symmetrize(covariance, l);
    Ok(())
}

/// Workspace of [`within_covariance`].
pub fn within_covariance_workspace(shape: &Shape) -> WorkspaceSize {
    WorkspaceSize::of::<f64>(centered_scratch(shape.columns)).and(WorkspaceSize::of::<f64>(moment_rows(shape.columns)))
}

/// Features whitened inside choice sets: their rank, and the maps of atoms.
#[derive(Debug)]
pub struct Whitening<'w> {
    /// Number of features L.
    pub columns: usize,
    /// Rank r of the features inside choice sets.
    pub rank: usize,
    /// Σ, L × L.
    pub covariance: &'w [f64],
    /// r × L: `θ = Σ_j β_j to_atoms[j]`, and gradients `g_β = to_atoms · g_θ`.
    pub to_atoms: &'w [f64],
    /// r × L: `β = from_atoms · θ`.
    pub from_atoms: &'w [f64],
    /// Whether a feature is not identified: constant inside every choice set, or collinear: of its standard deviation other features leave
    /// less than `√(1e-13 L)`, or than eight times the rounding of its largest value.
    pub unidentified: &'w [bool],
}

/// Whether feature j differs inside a choice set.
fn varies(data: &Data<'_>, j: usize) -> bool {
    (0..data.set_count()).any(|s| {
        let mut there = data.set(s).filter(|&i| data.available(i)).map(|i| data.features().get(i, j));
        let first = there.next();
        there.any(|x| Some(x) != first)
    })
}

impl<'w> Whitening<'w> {
    /// What ranks must agree on.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = f64> {
        let flags = self.unidentified.iter().map(|flag| f64::from(u8::from(*flag)));
        self.covariance.iter().chain(self.to_atoms).chain(self.from_atoms).copied().chain(flags)
    }

    /// Workspace of [`Whitening::new`], of which the result borrows its part.
    pub fn workspace(shape: &Shape) -> WorkspaceSize {
        let l = shape.columns;
        let of = |n: usize| WorkspaceSize::of::<f64>(n);
        let square = of(l.saturating_mul(l));
        let kept = square.and(square).and(square).and(WorkspaceSize::of::<bool>(l));
        let inner = linalg::cholesky_workspace(l).or(within_covariance_workspace(shape));
        kept.and(square).and(square).and(of(l)).and(of(l)).and(of(l)).and(of(l)).and(WorkspaceSize::of::<usize>(l)).and(inner)
    }

    /// Whitens the features of `data`. Cost: p L² / 2 and L³.
    ///
    /// # Errors
    /// `OutOfRange` for a feature whose standard deviation is not within 1e-145 to 1e145; `Workspace`.
    pub fn new(data: &Data<'_>, isa: Isa, ws: &mut Workspace<'w>) -> Result<Self> {
        Self::of_rows(data, isa, 1, ws)
    }

    /// Whitens by one of every so many rows of one choice set, or choice sets, a few for every feature, where they tell that the features
    /// are of full rank: then so do all. Otherwise by all rows. Either way neither the units of the features matter nor shifts, but Σ is
    /// that of the rows taken. Cost: a few L³ where rows or sets are many.
    pub(crate) fn sampled(data: &Data<'_>, isa: Isa, ws: &mut Workspace<'w>) -> Result<Self> {
        let (shape, l) = (data.shape(), data.features().columns());
        let all = if shape.sets > 1 { shape.sets } else { shape.rows };
        let serves = data.offset().is_none() && !data.is_part() && (shape.sets == 1 || shape.largest_set <= moment_rows(l));
        let step = if serves { all / l.saturating_mul(4).max(512) } else { 1 };
        Self::of_rows(data, isa, step.max(1), ws)
    }

    /// Whitens by one of every `step` rows or choice sets, or by all when those are not of full rank; `step` above 1 without offsets alone.
    fn of_rows(data: &Data<'_>, isa: Isa, mut step: usize, ws: &mut Workspace<'w>) -> Result<Self> {
        data.open(ws.require(Self::workspace(&data.shape())), Operation::Whitening, isa, [])?;
        let n = data.features().columns();
        let covariance = ws.f64s(n * n)?;
        let to_atoms = ws.f64s(n * n)?;
        let from_atoms = ws.f64s(n * n)?;
        let unidentified = ws.fill(n, false)?;
        let mut scratch = ws.scope();
        let (m, work) = (scratch.f64s(n * n)?, scratch.f64s(n * n)?);
        let (sd, tolerance) = (scratch.f64s(n)?, scratch.f64s(n)?);
        let order = scratch.fill(n, 0usize)?;
        // A feature is known to the rounding of its largest value: variance below that is noise.
        let (largest, products) = (scratch.f64s(n)?, scratch.f64s(n)?);
        let rank = loop {
            match step {
                1 => within_covariance(data, isa, covariance, scratch.scope())?,
                _ => covariance_of_every(data, isa, step, covariance, scratch.scope())?,
            }
            for i in spaced(data.features().rows(), step).filter(|&i| data.available(i)) {
                data.features().raise_to_magnitudes(i, largest);
            }
            data.max(largest)?;
            for j in 0..n {
                let variance = covariance[j * n + j];
                let noise = data.features().epsilon() * largest[j];
                sd[j] = if variance > 64.0 * noise * noise { libm::sqrt(variance) } else { 0.0 };
                // Squares may be below the range of f64, too.
                let vanishes = variance == 0.0 && largest[j] > 0.0 && largest[j] < SMALLEST;
                let small = sd[j] > 0.0 && sd[j] < SMALLEST || vanishes && step == 1 && data.any(varies(data, j));
                if small && step == 1 || !(sd[j] <= LARGEST && variance.is_finite()) {
                    return Err(Error::new(ErrorKind::OutOfRange, "features").column(j));
                }
                // Of a sample: all rows are asked.
                sd[j] = if small { 0.0 } else { sd[j] };
                let relative = if sd[j] > 0.0 { noise / sd[j] } else { 0.0 };
                tolerance[j] = 64.0 * relative * relative;
            }
            for a in 0..n {
                for b in 0..n {
                    let scale = sd[a] * sd[b];
                    work[a * n + b] = if scale > 0.0 { covariance[a * n + b] / scale } else { 0.0 };
                }
            }
            let rank = linalg::pivoted_cholesky(isa, work, n, 1e-13 * n as f64, tolerance, m, order, products);
            if rank == n || step == 1 {
                break rank;
            }
            step = 1;
        };
        for j in 0..rank {
            for l in 0..n {
                from_atoms[j * n + l] = m[l * n + j] * sd[l];
            }
        }
        if rank == n {
            // θ = D^-1 M^-T β: row j of the map is row j of M^-1 times D^-1, found in the order of the pivots from the rows before.
            for j in 0..n {
                let row = &m[order[j] * n..][..=j];
                let (known, x) = work.split_at_mut(j * n);
                let x = &mut x[..n];
                x.fill(0.0);
                x[j] = 1.0 / row[j];
                if j > 0 {
                    let weights = &mut products[..j];
                    weights.iter_mut().zip(row).for_each(|(w, m)| *w = -m / row[j]);
                    simd::weighted_sum(isa, Rows { values: &*known, rows: j, columns: j, stride: n }, weights, j, &mut x[..j]);
                }
                for (x, o) in x.iter().zip(&*order) {
                    to_atoms[j * n + o] = x / sd[*o];
                }
            }
        } else {
            // θ = D^-1 M (M^T M)^-1 β.
            for a in 0..rank {
                for b in 0..rank {
                    work[a * rank + b] = (0..n).map(|l| m[l * n + a] * m[l * n + b]).sum();
                }
            }
            if !linalg::cholesky(work, rank, scratch.scope())? {
                return Err(Error::new(ErrorKind::IllPosed, "features"));
            }
            for j in 0..rank {
                let y = &mut tolerance[..rank];
                y.fill(0.0);
                y[j] = 1.0;
                linalg::solve_cholesky(work, rank, y);
                for l in 0..n {
                    let theta = dot(&m[l * n..l * n + rank], y);
                    to_atoms[j * n + l] = if sd[l] > 0.0 { theta / sd[l] } else { 0.0 };
                }
            }
            // A feature left out is a combination of pivots: it and they are not identified.
            for &j in &order[rank..n] {
                unidentified[j] = true;
                let c = &mut tolerance[..rank];
                c.copy_from_slice(&m[j * n..j * n + rank]);
                for a in (0..rank).rev() {
                    let row = &m[order[a] * n..];
                    c[a] /= row[a];
                    let ca = c[a];
                    axpy(-ca, &row[..a], &mut c[..a]);
                    unidentified[order[a]] |= ca.abs() > 1e-6;
                }
            }
        }
        Ok(Whitening { columns: n, rank, covariance, to_atoms: &to_atoms[..rank * n], from_atoms: &from_atoms[..rank * n], unidentified })
    }

    /// `β = M^T D θ`.
    pub fn whiten_atom(&self, atom: &[f64], beta: &mut [f64]) {
        for (b, row) in beta.iter_mut().zip(self.from_atoms.chunks_exact(self.columns)) {
            *b = dot(row, atom);
        }
    }

    /// `θ = D^-1 M (M^T M)^-1 β`.
    pub fn unwhiten_atom(&self, beta: &[f64], atom: &mut [f64]) {
        atom.fill(0.0);
        for (b, row) in beta.iter().zip(self.to_atoms.chunks_exact(self.columns)) {
            axpy(*b, row, atom);
        }
    }

    /// `T x` with T = `to_atoms`, from L numbers to r: whitened features from features or their differences, the gradient in β from the
    /// gradient in θ.
    pub fn to_whitened(&self, x: &[f64], out: &mut [f64]) {
        for (z, row) in out.iter_mut().zip(self.to_atoms.chunks_exact(self.columns)) {
            *z = dot(row, x);
        }
    }

    /// The r × r curvature in β from the L × L curvature in θ, `T left T^T`. `scratch`: L × L numbers.
    pub(crate) fn whiten_curvature(&self, isa: Isa, left: &[f64], out: &mut [f64], ld: usize, scratch: &mut [f64]) {
        let (n, r) = (self.columns, self.rank);
        if r == 0 {
            return;
        }
        let half = &mut scratch[..r * n];
        half.fill(0.0);
        if n >= FEW {
            simd::weighted_sum(isa, Rows { values: left, rows: n, columns: n, stride: n }, self.to_atoms, n, half);
            simd::logits(isa, Rows { values: self.to_atoms, rows: r, columns: n, stride: n }, half, None, out, ld);
            return;
        }
        for ((row, half), out) in self.to_atoms.chunks_exact(n).zip(half.chunks_exact_mut(n)).zip(out.chunks_mut(ld)) {
            for (l, t) in row.iter().enumerate() {
                axpy(*t, &left[l * n..(l + 1) * n], half);
            }
            for (out, column) in out.iter_mut().zip(self.to_atoms.chunks_exact(n)) {
                *out = dot(half, column);
            }
        }
    }
}

/// Standard deviations of features: squares of smaller or larger ones, times numbers of choices, may leave the range of f64.
const SMALLEST: f64 = 1e-145;
const LARGEST: f64 = 1e145;

/// Features of which products of matrices cost less than the calls of the kernels.
const FEW: usize = 12;
