//! Features of choice sets that stand side by side, less their mean in the set: see `panel.rs`.

use super::Isa;
use super::ahead::{Ahead, WINDOW};
use super::dispatch::Kernel;
use super::panel::SETS;
use super::products::{part, with_constant};
use super::rows::columns_fit;
use super::vector::{F64, Features, Simd};
use crate::scalar::Scalar;
use core::mem::MaybeUninit;
use core::ops::Range;

/// Vectors of features that are read together at most: their sums and their origins fit in the registers.
const MOST_VECTORS: usize = 2;

/// Features of any strides: that of row i, column l, is `values[i * row_stride + l * column_stride]`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strided<'a, T> {
    pub values: &'a [T],
    pub columns: usize,
    pub row_stride: usize,
    pub column_stride: usize,
}

/// Alternative j of set s, the rows `sets[s]`, feature l: `(x − x_0) − mean_j (x − x_0)` to `out[l * stride + 8 j + s]`, x_0 the first
/// of the set that is available, so that a common shift costs no digits; 0 for j from the end of a set up to `height`. Rows whose `offset`
/// is −∞, if there are offsets, are not available: they count for nothing, and are 0.
///
/// # Panics
/// Unless the sets lie inside the features and the offsets and are no larger than `height`, and there is room.
pub(crate) fn centered_sets<T: Scalar>(
    isa: Isa,
    x: Strided<'_, T>,
    offset: Option<&[f64]>,
    sets: &[Range<usize>; SETS],
    height: usize,
    out: &mut [MaybeUninit<f64>],
    stride: usize,
    [of_x, of_out]: [Ahead; 2],
) {
    let Some(last) = x.columns.checked_sub(1).filter(|_| height > 0) else { return };
    for set in sets.iter().filter(|set| !set.is_empty()) {
        assert!(set.len() <= height, "sets of at most the height");
        assert!((set.end - 1) * x.row_stride + last * x.column_stride < x.values.len(), "the sets must lie inside the features");
    }
    assert!(columns_fit(x.columns, stride, SETS * height, out.len()), "room");
    // Where all are available nothing asks for it.
    let offset = offset.filter(|b| sets.iter().any(|set| b[set.clone()].contains(&f64::NEG_INFINITY)));
    // Where the features come from memory and go to: in rows, a window on; in columns, as in the block that is written, the block after.
    let from = if x.column_stride == 1 { of_x.by::<u8>(WINDOW) } else { of_x.by::<T>(stride) };
    let to = of_out.by::<f64>(x.columns * stride);
    isa.run(CenteredSets { x, offset, sets, height, out: out.as_mut_ptr().cast(), stride, from, to });
}

/// `out` has room for the columns of `height · SETS` numbers, `stride` apart, and the sets lie inside `x`.
struct CenteredSets<'a, T> {
    x: Strided<'a, T>,
    offset: Option<&'a [f64]>,
    sets: &'a [Range<usize>; SETS],
    height: usize,
    out: *mut f64,
    stride: usize,
    /// How many bytes ahead of what is read and of what is written lines are asked for, if not 0.
    from: usize,
    to: usize,
}

impl<T: Scalar> Kernel for CenteredSets<'_, T> {
    type Output = ();

    fn plain(self) {
        let Self { x, sets, height, out, stride, .. } = self;
        for l in 0..x.columns {
            for (s, set) in sets.iter().enumerate() {
                let value = |i: usize| x.values[i * x.row_stride + l * x.column_stride].to_f64();
                let origin = self.origin(set);
                let (mut sum, mut count) = (0.0, 0.0);
                for i in set.clone().filter(|i| self.available(*i)) {
                    sum += value(i) - value(origin);
                    count += 1.0;
                }
                for (j, i) in (0..height).zip(set.start..) {
                    let there = j < set.len() && self.available(i);
                    let centered = if there { (value(i) - value(origin)) - sum / count } else { 0.0 };
                    // SAFETY: as the struct says.
                    unsafe { *out.add(l * stride + j * SETS + s) = centered };
                }
            }
        }
    }

    #[inline(always)]
    fn vector<S: Simd>(self, simd: S) {
        if self.x.column_stride == 1 || self.x.columns == 1 {
            self.by_rows(simd);
        } else if self.x.row_stride == 1 && self.offset.is_none() {
            self.by_columns(simd);
        } else {
            self.plain();
        }
    }
}

impl<T> CenteredSets<'_, T> {
    /// Whether alternative i is available.
    #[inline(always)]
    fn available(&self, i: usize) -> bool {
        match self.offset {
            Some(b) => b[i] != f64::NEG_INFINITY,
            None => true,
        }
    }

    /// The first row of a set that is available.
    #[inline(always)]
    fn origin(&self, set: &Range<usize>) -> usize {
        let mut i = set.start;
        while i < set.end && !self.available(i) {
            i += 1;
        }
        if i < set.end { i } else { set.start }
    }
}

impl<T: Scalar> CenteredSets<'_, T> {
    /// Squares of N features of N sets, of which each row is one alternative's, after the means of some vectors of features.
    #[inline(always)]
    fn by_rows<S: Features>(self, simd: S) {
        let (n, columns, vectors) = (S::N, self.x.columns, self.x.columns.div_ceil(S::N));
        let (mut origins, mut means) = ([MaybeUninit::uninit(); MOST_VECTORS], [MaybeUninit::uninit(); MOST_VECTORS]);
        for lane in (0..SETS).step_by(n) {
            let sets = &self.sets[lane..lane + n];
            let mut v = 0;
            while v < vectors {
                let some = part(vectors - v, MOST_VECTORS);
                with_constant!(V = some, one of 1 2; self.means::<S, V>(simd, sets, v * n, &mut origins, &mut means));
                for ((l, origin), mean) in (v * n..).step_by(n).zip(&origins[..some]).zip(&means) {
                    let count = n.min(columns - l);
                    let first = simd.first(count);
                    // SAFETY: `means` has written as many as there are vectors.
                    let (origin, mean) = unsafe { (origin.assume_init(), mean.assume_init()) };
                    let squares = (l, first, origin, mean);
                    match count == n {
                        true => self.turned::<S, true>(simd, lane, squares),
                        false => self.turned::<S, false>(simd, lane, squares),
                    }
                }
                v += some;
            }
        }
    }

    /// The squares of N sets from `lane` on and of the features from `l` on, ALL N of them or the first, less origins and means.
    #[inline(always)]
    fn turned<S: Features, const ALL: bool>(
        &self,
        simd: S,
        lane: usize,
        (l, first, origin, mean): (usize, S::First, S::Square, S::Square),
    ) {
        let Self { x, height, out, stride, to, .. } = self;
        let (n, zero, sets) = (S::N, simd.splat(0.0), &self.sets[lane..lane + S::N]);
        // Up to where every set has an alternative that is available.
        let full = if self.offset.is_none() { sets.iter().map(Range::len).min().unwrap_or(0) } else { 0 };
        let mut from = [x.values.as_ptr(); SETS];
        from.iter_mut().zip(sets).for_each(|(from, set)| *from = self.at(set.start, l));
        let mut rows = simd.square(zero);
        for j in 0..*height {
            for (s, row) in rows.as_mut().iter_mut().enumerate() {
                *row = zero;
                if j < full || j < sets[s].len() && self.available(sets[s].start + j) {
                    let from = from[s].wrapping_add(j * x.row_stride);
                    // SAFETY: the row of an alternative that is there lies inside the features, and `first` chooses as many of it as there are.
                    let value = unsafe { if ALL { simd.load_as_f64(from) } else { simd.load_first_as_f64(first, from) } };
                    *row = simd.sub(simd.sub(value, origin.as_ref()[s]), mean.as_ref()[s]);
                }
            }
            let turned = simd.transpose(rows);
            for (f, v) in turned.as_ref().iter().enumerate().take(if ALL { n } else { x.columns - l }) {
                let place = out.wrapping_add((l + f) * stride + j * SETS + lane);
                if *to > 0 {
                    simd.fetch(place.wrapping_byte_add(*to));
                }
                // SAFETY: as the struct says.
                unsafe { simd.store(place, *v) };
            }
        }
    }

    /// V vectors of features from feature `l` on: those of the first row that is available, and the means less those, in one read of the rows
    /// as they stand.
    #[inline(always)]
    fn means<S: Features, const V: usize>(
        &self,
        simd: S,
        sets: &[Range<usize>],
        l: usize,
        origins: &mut [MaybeUninit<S::Square>; MOST_VECTORS],
        means: &mut [MaybeUninit<S::Square>; MOST_VECTORS],
    ) {
        let (n, zero) = (S::N, simd.splat(0.0));
        let nothing = simd.square(zero);
        let origins: [&mut S::Square; V] = each_written(origins, nothing);
        let means: [&mut S::Square; V] = each_written(means, nothing);
        let last = simd.first(self.x.columns - l - (V - 1) * n);
        for (s, set) in sets.iter().enumerate().filter(|(_, set)| !set.is_empty()) {
            let first = self.origin(set);
            let (mut origin, mut sum, mut count) = ([zero; V], [zero; V], 0.0);
            for v in 0..V {
                origin[v] = self.load(simd, first, l + v * n, v + 1 < V, last);
            }
            for i in set.clone() {
                if self.from > 0 {
                    for v in 0..V {
                        simd.fetch(self.at(i, l + v * n).wrapping_byte_add(self.from).cast());
                    }
                }
                if self.available(i) {
                    for v in 0..V {
                        sum[v] = simd.add(sum[v], simd.sub(self.load(simd, i, l + v * n, v + 1 < V, last), origin[v]));
                    }
                    count += 1.0;
                }
            }
            for v in 0..V {
                origins[v].as_mut()[s] = origin[v];
                means[v].as_mut()[s] = simd.div(sum[v], simd.splat(count));
            }
        }
    }

    #[inline(always)]
    fn at(&self, i: usize, l: usize) -> *const T {
        self.x.values.as_ptr().wrapping_add(i * self.x.row_stride + l)
    }

    /// The N features of row i from feature `l` on, or the first of them, and 0, where there are not so many.
    #[inline(always)]
    fn load<S: Features>(&self, simd: S, i: usize, l: usize, all: bool, first: S::First) -> F64<S> {
        // SAFETY: the row lies inside the features, and `first` chooses as many of it as there are from l on.
        unsafe { if all { simd.load_as_f64(self.at(i, l)) } else { simd.load_first_as_f64(first, self.at(i, l)) } }
    }

    /// Squares of N alternatives of N sets, of which each row is one set's.
    #[inline(always)]
    fn by_columns<S: Features>(self, simd: S) {
        let Self { x, sets, height, out, stride, from, to, .. } = self;
        let (n, zero) = (S::N, simd.splat(0.0));
        for lane in (0..SETS).step_by(n) {
            let sets = &sets[lane..lane + n];
            let mut sizes = [0.0; SETS];
            sizes.iter_mut().zip(sets).for_each(|(size, set)| *size = set.len() as f64);
            // SAFETY: there are at least N.
            let sizes: F64<S> = unsafe { simd.load(sizes.as_ptr()) };
            for l in 0..x.columns {
                let column = x.values.as_ptr().wrapping_add(l * x.column_stride);
                let out = out.wrapping_add(l * stride + lane);
                let (mut rows, mut sum) = (simd.square(zero), zero);
                for j in (0..height).step_by(n) {
                    for (row, set) in rows.as_mut().iter_mut().zip(sets) {
                        *row = zero;
                        if j < set.len() {
                            let first = simd.first(set.len() - j);
                            if from > 0 {
                                simd.fetch(column.wrapping_add(set.start + j).wrapping_byte_add(from).cast());
                            }
                            // SAFETY: the column of the set lies inside the features; `first` chooses what is left of it from j on.
                            unsafe {
                                let origin = simd.splat((*column.add(set.start)).to_f64());
                                *row = simd.sub(simd.load_first_as_f64(first, column.add(set.start + j)), origin);
                            }
                            *row = simd.select_first(first, *row, zero);
                        }
                    }
                    for (j, v) in (j..height).zip(simd.transpose(rows).as_ref()) {
                        sum = simd.add(sum, *v);
                        if to > 0 {
                            simd.fetch(out.wrapping_add(j * SETS).wrapping_byte_add(to));
                        }
                        // SAFETY: as the struct says.
                        unsafe { simd.store(out.add(j * SETS), *v) };
                    }
                }
                let mean = simd.div(sum, simd.max(simd.splat(1.0), sizes));
                for j in 0..height {
                    // SAFETY: as the struct says; just written.
                    unsafe {
                        let v = simd.load(out.add(j * SETS));
                        simd.store(out.add(j * SETS), simd.select_less(simd.splat(j as f64), sizes, simd.sub(v, mean), v));
                    }
                }
            }
        }
    }
}

/// Writes `value` to the first V.
#[inline(always)]
fn each_written<T: Copy, const V: usize, const M: usize>(room: &mut [MaybeUninit<T>; M], value: T) -> [&mut T; V] {
    let mut rooms = room.iter_mut();
    core::array::from_fn(|_| rooms.next().expect("V is at most M").write(value))
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    fn run<T: Scalar>(isa: Isa, x: Strided<'_, T>, offset: Option<&[f64]>, sets: &[Range<usize>; SETS]) -> Vec<u64> {
        let height = sets.iter().map(|set| set.len()).max().unwrap().max(1);
        let stride = SETS * height + 3;
        let [bits, ahead] = [[Ahead::Nothing; 2], [Ahead::Lines; 2]].map(|ahead| {
            let mut out = vec![MaybeUninit::new(f64::NAN); stride * x.columns];
            centered_sets(isa, x, offset, sets, height, &mut out, stride, ahead);
            // SAFETY: all were given a value to begin with.
            let bits = |l: usize| out[l * stride..][..SETS * height].iter().map(|v| unsafe { v.assume_init() }.to_bits());
            (0..x.columns).flat_map(bits).collect::<Vec<_>>()
        });
        assert!(bits == ahead, "whatever is asked for");
        bits
    }

    /// The same bits from every instruction set and for every order in memory, sets of unequal sizes and of none included, in f64 and f32.
    #[test]
    fn every_instruction_set_and_every_stride_gives_the_same_bits() {
        for columns in [1, 2, 5, 8, 11, 17, 31, 34, 50] {
            for sizes in [[3; SETS], [1; SETS], [8; SETS], [19; SETS], [4, 4, 3, 3, 3, 1, 0, 0], [0; SETS], [17, 9, 8, 8, 7, 2, 1, 1]] {
                let mut end = 2;
                let sets = sizes.map(|n| {
                    end += n;
                    end - n..end
                });
                let value = |i: usize, l: usize| 100.0 + libm::sin(1.0 + 12.9898 * (i * columns + l) as f64);
                let by_rows: Vec<f64> = (0..end * columns).map(|at| value(at / columns, at % columns)).collect();
                let by_columns: Vec<f64> = (0..end * columns).map(|at| value(at % end, at / end)).collect();
                let apart: Vec<f64> = by_rows.iter().flat_map(|x| [*x, f64::NAN]).collect();
                let as_f32 = |x: &[f64]| x.iter().map(|x| *x as f32).collect::<Vec<_>>();
                let rounded: Vec<f64> = as_f32(&by_rows).iter().map(|x| f64::from(*x)).collect();
                let (rows, columns_of_f32) = (as_f32(&by_rows), as_f32(&by_columns));
                let of = |values, row_stride, column_stride| Strided { values, columns, row_stride, column_stride };
                let some: Vec<f64> = (0..end).map(|i| if i % 3 == 1 { f64::NEG_INFINITY } else { 0.5 }).collect();
                for offset in [None, Some(&some[..])] {
                    let plain = run(Isa::Scalar, of(&by_rows[..], columns, 1), offset, &sets);
                    assert!(plain.iter().all(|bits| f64::from_bits(*bits).is_finite()), "{sizes:?}");
                    let plain_rounded = run(Isa::Scalar, of(&rounded[..], columns, 1), offset, &sets);
                    for isa in Isa::available() {
                        for (x, row, column) in [(&by_rows, columns, 1), (&by_columns, 1, end), (&apart, 2 * columns, 2)] {
                            let got = run(isa, of(&x[..], row, column), offset, &sets);
                            assert!(got == plain, "{} {columns} {sizes:?} {row} {column}", isa.name());
                        }
                        for (values, row_stride, column_stride) in [(&rows[..], columns, 1), (&columns_of_f32[..], 1, end)] {
                            let x = Strided { values, columns, row_stride, column_stride };
                            assert!(run(isa, x, offset, &sets) == plain_rounded, "{} {columns} {sizes:?} in f32", isa.name());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn the_mean_of_a_set_is_taken_off() {
        let x = [1.0, 5.0, 3.0, 7.0, 2.0, 3.0];
        let sets = core::array::from_fn(|s| if s == 0 { 0..3 } else { 3..3 });
        let without_the_first = [f64::NEG_INFINITY, 0.0, 0.0];
        for isa in Isa::available() {
            for (offset, first, second) in
                [(None, [-1.0, 1.0, 0.0], [0.0, 2.0, -2.0]), (Some(&without_the_first[..]), [0.0, 0.5, -0.5], [0.0, 2.0, -2.0])]
            {
                let out = run(isa, Strided { values: &x[..], columns: 2, row_stride: 2, column_stride: 1 }, offset, &sets);
                let of = |l: usize| [0, 1, 2].map(|j| f64::from_bits(out[l * 24 + j * SETS]));
                assert_eq!([of(0), of(1)], [first, second], "{}", isa.name());
            }
        }
    }
}
