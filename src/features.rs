//! The features of alternatives: numbers in f32 or f64 as they lie in the caller's memory, by rows, by columns or strided.

use crate::error::{Error, ErrorKind, Result};
use crate::scalar::Scalar;
use crate::simd::panel::SETS;
use crate::simd::{self, Ahead, Columns, Isa, Rows, Strided};
use crate::workspace::filled;
use core::mem::MaybeUninit;
use core::ops::Range;

/// The numbers of a feature matrix, in f32 or f64.
#[derive(Clone, Copy, Debug)]
pub enum Values<'a> {
    /// Single precision; arithmetic on them is in f64.
    F32(&'a [f32]),
    /// Double precision.
    F64(&'a [f64]),
}

impl<'a> From<&'a [f32]> for Values<'a> {
    fn from(v: &'a [f32]) -> Self {
        Values::F32(v)
    }
}

impl<'a> From<&'a [f64]> for Values<'a> {
    fn from(v: &'a [f64]) -> Self {
        Values::F64(v)
    }
}

impl<'a, const N: usize> From<&'a [f32; N]> for Values<'a> {
    fn from(v: &'a [f32; N]) -> Self {
        Values::F32(v)
    }
}

impl<'a, const N: usize> From<&'a [f64; N]> for Values<'a> {
    fn from(v: &'a [f64; N]) -> Self {
        Values::F64(v)
    }
}

#[cfg(feature = "alloc")]
impl<'a> From<&'a alloc::vec::Vec<f32>> for Values<'a> {
    fn from(v: &'a alloc::vec::Vec<f32>) -> Self {
        Values::F32(v)
    }
}

#[cfg(feature = "alloc")]
impl<'a> From<&'a alloc::vec::Vec<f64>> for Values<'a> {
    fn from(v: &'a alloc::vec::Vec<f64>) -> Self {
        Values::F64(v)
    }
}

/// `$body`, compiled for either type that the values `$v` of features may have.
macro_rules! each_type {
    ($features:expr, |$v:ident| $body:expr) => {
        match $features.values {
            Values::F32($v) => $body,
            Values::F64($v) => $body,
        }
    };
}

impl Values<'_> {
    fn len(&self) -> usize {
        match self {
            Values::F32(v) => v.len(),
            Values::F64(v) => v.len(),
        }
    }
}

/// Features: a strided p × L view, row i the features of alternative i. Nothing here copies them as a whole.
#[derive(Clone, Copy, Debug)]
pub struct Features<'a> {
    values: Values<'a>,
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Features<'a> {
    /// Rows side by side: `values[i * columns + l]`.
    ///
    /// # Errors
    /// `Empty` without rows or columns, `Overflow`, and `Shape` unless `values` has `rows * columns` numbers.
    pub fn row_major(values: impl Into<Values<'a>>, rows: usize, columns: usize) -> Result<Self> {
        Self::strided(values, rows, columns, columns, 1)?.that_fills_its_values()
    }

    /// Columns side by side: `values[l * rows + i]`.
    ///
    /// # Errors
    /// As [`Features::row_major`].
    pub fn column_major(values: impl Into<Values<'a>>, rows: usize, columns: usize) -> Result<Self> {
        Self::strided(values, rows, columns, 1, rows)?.that_fills_its_values()
    }

    /// The same, if there are no more numbers than these: more are a sign of other sizes.
    fn that_fills_its_values(self) -> Result<Self> {
        match (self.rows * self.columns, self.values.len()) {
            (needed, given) if needed == given => Ok(self),
            (needed, given) => Err(Error::shape("features", needed, given)),
        }
    }

    /// `values[i * row_stride + l * column_stride]`, of numbers that may be more than these.
    ///
    /// # Errors
    /// `Empty` without rows or columns, `Overflow`, and `Shape` when `values` has fewer than
    /// `(rows - 1) * row_stride + (columns - 1) * column_stride + 1` numbers. Contents are looked at by
    /// [`Data::new`](crate::data::Data::new).
    pub fn strided(values: impl Into<Values<'a>>, rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> Result<Self> {
        let values = values.into();
        if rows == 0 || columns == 0 {
            return Err(Error::new(ErrorKind::Empty, "features"));
        }
        let needed = (rows - 1)
            .checked_mul(row_stride)
            .zip((columns - 1).checked_mul(column_stride))
            .and_then(|(a, b)| a.checked_add(b)?.checked_add(1))
            .filter(|_| rows.checked_mul(columns).is_some())
            .ok_or(Error::new(ErrorKind::Overflow, "features"))?;
        if values.len() < needed {
            return Err(Error::shape("features", needed, values.len()));
        }
        // The stride of a single column is never taken.
        let column_stride = if columns == 1 { 1 } else { column_stride };
        Ok(Features { values, rows, columns, row_stride, column_stride })
    }

    /// Number of alternatives p.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of features L.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The rounding unit of the numbers: that of f32 or f64.
    pub fn epsilon(&self) -> f64 {
        match self.values {
            Values::F32(_) => f32::EPSILON as f64,
            Values::F64(_) => f64::EPSILON,
        }
    }

    /// Where the numbers begin.
    pub(crate) fn address(&self) -> usize {
        each_type!(self, |v| v.as_ptr() as usize)
    }

    /// Bytes of the p × L numbers.
    pub fn bytes(&self) -> usize {
        let size = if matches!(self.values, Values::F32(_)) { 4 } else { 8 };
        self.rows.saturating_mul(self.columns).saturating_mul(size)
    }

    /// What a read of all rows asks of the memory ahead.
    pub(crate) fn ahead(&self) -> Ahead {
        let ahead = Ahead::of_features(self.bytes());
        if self.column_stride == 1 { ahead.of_rows() } else { ahead }
    }

    /// The same of two products that read a block of `rows` rows one after the other.
    pub(crate) fn halves(&self, ahead: Ahead, rows: usize) -> [Ahead; 2] {
        match self.values {
            Values::F64(_) if self.column_stride == 1 && self.row_stride == self.columns => {
                ahead.halves(rows, self.columns * size_of::<f64>())
            }
            // Products of numbers that are converted take longer than to read them.
            _ => [ahead, Ahead::Nothing],
        }
    }

    /// How far ahead of the f64 at `at` row `row` begins, for kernels that ask for lines that far ahead of what they read from there on while
    /// the rows are still to come; 0 where they are not to, or do not take as much room.
    pub(crate) fn ahead_of(&self, at: *const f64, row: usize) -> usize {
        match self.values {
            Values::F64(v)
                if self.column_stride == 1 && self.row_stride == self.columns && Ahead::beyond_second(self.bytes()) == Ahead::Lines =>
            {
                v.as_ptr().wrapping_add(row * self.columns).addr().wrapping_sub(at.addr())
            }
            _ => 0,
        }
    }

    /// Feature `column` of alternative `row`, as f64.
    #[inline]
    pub fn get(&self, row: usize, column: usize) -> f64 {
        debug_assert!(row < self.rows && column < self.columns);
        let i = row * self.row_stride + column * self.column_stride;
        match self.values {
            Values::F32(v) => v[i] as f64,
            Values::F64(v) => v[i],
        }
    }

    /// Rows as a block for the kernels: the caller's memory where the numbers of a row or of a feature lie side by side, else copied to
    /// `room` (rows × L numbers).
    pub(crate) fn block<'b>(&self, rows: Range<usize>, room: &'b mut [MaybeUninit<f64>]) -> Block<'b>
    where
        'a: 'b,
    {
        let n = rows.len();
        if self.column_stride == 1 && (self.row_stride >= self.columns || n <= 1) {
            let stride = if n <= 1 { self.columns } else { self.row_stride };
            let window = rows.start * self.row_stride..(rows.end.max(1) - 1) * self.row_stride + self.columns;
            return match self.values {
                Values::F32(v) => Block::F32(Rows { values: &v[window], rows: n, columns: self.columns, stride }),
                Values::F64(v) => Block::F64(Rows { values: &v[window], rows: n, columns: self.columns, stride }),
            };
        }
        if self.row_stride == 1 && self.column_stride >= n {
            let window = rows.start..rows.start + (self.columns - 1) * self.column_stride + n;
            return match self.values {
                Values::F32(v) => {
                    Block::F32Columns(Columns { values: &v[window], rows: n, columns: self.columns, stride: self.column_stride })
                }
                Values::F64(v) => {
                    Block::F64Columns(Columns { values: &v[window], rows: n, columns: self.columns, stride: self.column_stride })
                }
            };
        }
        let values = filled(&mut room[..n * self.columns], 0.0);
        self.copy(rows, values);
        Block::F64(Rows { values, rows: n, columns: self.columns, stride: self.columns })
    }

    /// Rows copied to `out`, row-major in f64.
    pub(crate) fn copy(&self, rows: Range<usize>, out: &mut [f64]) {
        each_type!(self, |v| {
            for (row, i) in out.chunks_exact_mut(self.columns).zip(rows) {
                if self.column_stride == 1 {
                    let from = &v[i * self.row_stride..][..self.columns];
                    row.iter_mut().zip(from).for_each(|(x, v)| *x = v.to_f64());
                    continue;
                }
                for (l, x) in row.iter_mut().enumerate() {
                    *x = v[i * self.row_stride + l * self.column_stride].to_f64();
                }
            }
        })
    }

    /// `largest ← max(largest, |x_row|)`, feature by feature.
    pub(crate) fn raise_to_magnitudes(&self, row: usize, largest: &mut [f64]) {
        each_type!(self, |v| {
            if self.column_stride == 1 {
                let row = &v[row * self.row_stride..][..self.columns];
                largest.iter_mut().zip(row).for_each(|(m, x)| *m = if x.to_f64().abs() > *m { x.to_f64().abs() } else { *m });
                return;
            }
            let row = &v[row * self.row_stride..];
            largest.iter_mut().enumerate().for_each(|(l, m)| *m = f64::max(*m, row[l * self.column_stride].to_f64().abs()));
        })
    }

    /// `out = x_i − x_origin`, rows × L, taken in f64.
    pub(crate) fn differences<O: Scalar>(&self, isa: Isa, rows: Range<usize>, origin: usize, out: &mut [O]) {
        each_type!(self, |v| {
            if self.column_stride == 1 {
                let x =
                    Rows { values: &v[rows.start * self.row_stride..], rows: rows.len(), columns: self.columns, stride: self.row_stride };
                return simd::row_differences(isa, x, &v[origin * self.row_stride..][..self.columns], out);
            }
            let x = |i: usize, l: usize| v[i * self.row_stride + l * self.column_stride].to_f64();
            for (out, i) in out.chunks_exact_mut(self.columns).zip(rows) {
                out.iter_mut().enumerate().for_each(|(l, d)| *d = O::from_f64(x(i, l) - x(origin, l)));
            }
        })
    }

    /// `out += Σ_j times_j (x_i − origin)`, i = `rows[j]`, in f64: see [`simd::add_row_differences`].
    pub(crate) fn add_differences_of(&self, isa: Isa, rows: &[usize], times: Option<&[f64]>, origin: &[f64], out: &mut [f64]) {
        each_type!(self, |v| {
            if self.column_stride == 1 {
                let x = Rows { values: v, rows: self.rows, columns: self.columns, stride: self.row_stride };
                return simd::add_row_differences(isa, x, rows, times, origin, out);
            }
            for (j, i) in rows.iter().enumerate() {
                let times = times.map_or(1.0, |t| t[j]);
                if times != 0.0 {
                    let row = &v[i * self.row_stride..];
                    let terms = origin.iter().enumerate().map(|(l, o)| row[l * self.column_stride].to_f64() - o);
                    out.iter_mut().zip(terms).for_each(|(out, difference)| *out += times * difference);
                }
            }
        })
    }

    /// `out = x_i − x_origin` for the rows of a list, one after the other, in f64.
    pub(crate) fn differences_of(&self, rows: &[usize], origin: usize, out: &mut [f64]) {
        each_type!(self, |v| {
            if self.column_stride == 1 {
                let row = |i: usize| &v[i * self.row_stride..][..self.columns];
                for (out, i) in out.chunks_exact_mut(self.columns).zip(rows) {
                    out.iter_mut().zip(row(*i)).zip(row(origin)).for_each(|((d, x), o)| *d = x.to_f64() - o.to_f64());
                }
                return;
            }
            for (out, i) in out.chunks_exact_mut(self.columns).zip(rows) {
                out.iter_mut().enumerate().for_each(|(l, d)| *d = self.get(*i, l) - self.get(origin, l));
            }
        })
    }

    /// Choice sets side by side, less their means: see [`simd::centered_sets`]. To where it stays (`kept`), or is used at once.
    pub(crate) fn centered_sets(
        &self,
        isa: Isa,
        offset: Option<&[f64]>,
        sets: &[Range<usize>; SETS],
        height: usize,
        out: &mut [MaybeUninit<f64>],
        stride: usize,
        kept: bool,
    ) {
        let (columns, row_stride, column_stride, ahead) =
            (self.columns, self.row_stride, self.column_stride, Ahead::beyond_second(self.bytes()));
        let ahead = [ahead, if kept { ahead } else { Ahead::Nothing }];
        each_type!(self, |values| {
            let x = Strided { values, columns, row_stride, column_stride };
            simd::centered_sets(isa, x, offset, sets, height, out, stride, ahead);
        })
    }

    /// `sum += Σ_i a_i (x_i − x_origin)` over the rows i.
    pub(crate) fn add_differences(&self, rows: Range<usize>, origin: usize, a: &[f64], sum: &mut [f64]) {
        each_type!(self, |v| {
            if self.column_stride == 1 {
                let row = |i: usize| &v[i * self.row_stride..][..self.columns];
                for (a, i) in a.iter().zip(rows) {
                    for ((s, x), o) in sum.iter_mut().zip(row(i)).zip(row(origin)) {
                        *s += a * (x.to_f64() - o.to_f64());
                    }
                }
                return;
            }
            let x = |i: usize, l: usize| v[i * self.row_stride + l * self.column_stride].to_f64();
            for (a, i) in a.iter().zip(rows) {
                for (l, s) in sum.iter_mut().enumerate() {
                    *s += a * (x(i, l) - x(origin, l));
                }
            }
        })
    }

    /// The rows of `indices`, gathered to `out`, row-major in f64.
    pub(crate) fn gather(&self, indices: impl Iterator<Item = usize>, out: &mut [f64]) {
        for (row, i) in out.chunks_exact_mut(self.columns).zip(indices) {
            self.copy(i..i + 1, row);
        }
    }

    /// Row and column of the first feature that is not finite. Cost: one read.
    pub(crate) fn first_not_finite(&self) -> Option<(usize, usize)> {
        if self.are_finite(0..self.rows) {
            return None;
        }
        (0..self.rows).flat_map(|i| (0..self.columns).map(move |l| (i, l))).find(|(i, l)| !self.get(*i, *l).is_finite())
    }

    /// Whether the features of some rows are finite. Cost: one read of them.
    pub(crate) fn are_finite(&self, rows: Range<usize>) -> bool {
        each_type!(self, |v| {
            let isa = Isa::for_checks();
            let all_finite = |from: usize, length: usize| simd::all_finite(isa, &v[from..][..length]);
            // Runs of numbers side by side: rows, or features.
            match (self.row_stride, self.column_stride) {
                (r, 1) if r == self.columns => all_finite(rows.start * r, rows.len() * r),
                (r, 1) => rows.into_iter().all(|i| all_finite(i * r, self.columns)),
                (1, c) => (0..self.columns).all(|l| all_finite(l * c + rows.start, rows.len())),
                _ => rows
                    .into_iter()
                    .all(|i| (0..self.columns).all(|l| v[i * self.row_stride + l * self.column_stride].to_f64().is_finite())),
            }
        })
    }
}

/// A block of rows of the features, in the type they have.
#[derive(Clone, Copy)]
pub(crate) enum Block<'b> {
    F32(Rows<'b, f32>),
    F64(Rows<'b, f64>),
    F32Columns(Columns<'b, f32>),
    F64Columns(Columns<'b, f64>),
}

impl Block<'_> {
    /// Logits `S = b + X Θ` of the block: see [`simd::logits`].
    pub fn logits(&self, isa: Isa, theta: &[f64], offset: Option<&[f64]>, out: &mut [f64], ld: usize, ahead: Ahead) {
        match *self {
            Block::F32(x) => simd::logits_ahead(isa, x, theta, offset, out, ld, ahead),
            Block::F64(x) => simd::logits_ahead(isa, x, theta, offset, out, ld, ahead),
            Block::F32Columns(x) => simd::logits_of_columns_ahead(isa, x, theta, offset, out, ld, ahead.by::<f32>(x.rows)),
            Block::F64Columns(x) => simd::logits_of_columns_ahead(isa, x, theta, offset, out, ld, ahead.by::<f64>(x.rows)),
        }
    }

    /// `G += X^T W`: see [`simd::weighted_sum`].
    pub fn weighted_sum(&self, isa: Isa, w: &[f64], ld: usize, g: &mut [f64], ahead: Ahead) {
        match *self {
            Block::F32(x) => simd::weighted_sum_ahead(isa, x, w, ld, g, ahead),
            Block::F64(x) => simd::weighted_sum_ahead(isa, x, w, ld, g, ahead),
            Block::F32Columns(x) => simd::weighted_sum_of_columns_ahead(isa, x, w, ld, g, ahead.by::<f32>(x.rows)),
            Block::F64Columns(x) => simd::weighted_sum_of_columns_ahead(isa, x, w, ld, g, ahead.by::<f64>(x.rows)),
        }
    }
}
