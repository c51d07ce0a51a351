//! Alternatives of one large choice set that stand for all of them while starts race.
//!
//! A sample by size, weighted by the inverse of how often each alternative is expected in it (Hansen and Hurwitz 1943; Horvitz and Thompson
//! 1952): what `n (½ n_i / N + ¼ / p + ¼ d_i / Σ d)` expects once or more is taken once, `e_i = 1`; for the others e_i is in that
//! proportion, n in all. d_i is the squared distance from the mean, in standard deviations of the features, so that what lies far out, and
//! would have the whole of a class with a long atom, is not left out. Where no more than a quarter of n were chosen, they are all taken.
//! An alternative that is taken counts `n_i / e_i` choices and has the offset `b_i − log e_i`. Sums over the alternatives, such as `Z_k`,
//! are then those of all but for sampling errors, and so is the log-likelihood less `−Σ_i (n_i / e_i) log e_i`, which does not depend on
//! the mixture; and because every class holds to alternatives that were chosen, at least `½ α_k n` of them tell of it, however narrow it
//! is.

use super::stream;
use crate::data::{Choices, Data, Features, Shape};
use crate::error::Result;
use crate::evaluate::blocks;
use crate::linalg::axpy;
use crate::simd::Isa;
use crate::whiten::Whitening;
use crate::workspace::{Workspace, WorkspaceSize};
use rand::Rng;

/// Alternatives at least, and for every parameter: of a sample that a whole search may rest on, and of one that tells whether a search is
/// easy.
const LASTING: (usize, usize) = (1 << 15, 64);
const PASSING: (usize, usize) = (1 << 12, 16);
/// How many times as many there must be for a sample to be worth while.
const WORTH: usize = 4;
/// Alternatives that were chosen, of which a sample has more.
const FEW: usize = 256;
/// The streams that samples are drawn from, on machines of 32 bits and 64 alike: no start has them.
const STREAMS: usize = u32::MAX as usize - 1;

/// How alternatives are taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By size, weighted: for likelihoods.
    BySize,
    /// Evenly, as they are: a mixture over some of the alternatives has the atoms of one over all, and its moments know no weights.
    Evenly,
}

/// The size of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SampleSize {
    pub rows: usize,
    /// Whether a search may rest on it whatever it finds; else only if its first starts agree, as they do where there is little to find.
    pub lasts: bool,
}

/// How many alternatives stand for all while K classes are searched for; `None` where all of them do.
pub(crate) fn size(shape: &Shape, classes: usize) -> Option<SampleSize> {
    let parameters = classes.saturating_mul(shape.columns.saturating_add(1));
    let serves = shape.units_are_rows && shape.sets == 1 && !shape.is_part();
    let size = |(least, each): (usize, usize), lasts| {
        let rows = parameters.saturating_mul(each).max(least);
        (serves && shape.rows / WORTH >= rows).then_some(SampleSize { rows, lasts })
    };
    size(LASTING, true).or(size(PASSING, false))
}

/// The shape of the data of n of the alternatives.
pub(crate) fn shape_of(shape: &Shape, n: usize) -> Shape {
    Shape { rows: n, units: n, units_are_rows: true, total_rows: n, total_units: n, largest_set: n, grouped_rows: None, ..*shape }
}

/// Workspace of [`take`].
pub(crate) fn workspace(shape: &Shape, n: usize) -> WorkspaceSize {
    let of = WorkspaceSize::of::<f64>;
    let taken = of(n.saturating_mul(shape.columns)).and(of(n)).and(of(n));
    taken.and(WorkspaceSize::of::<usize>(n)).and(Shares::workspace(shape.columns))
}

/// Whether so many alternatives are available that n of them save something.
pub(crate) fn serves(data: &Data<'_>, n: usize) -> bool {
    available(data) / WORTH >= n
}

fn available(data: &Data<'_>) -> usize {
    data.offset().map_or(data.features().rows(), |b| b.iter().filter(|b| **b > f64::NEG_INFINITY).count())
}

/// n alternatives of the one choice set of `data`, less the origin, of which [`serves`] has said that there are more;
/// `None` where too few of those taken were chosen, or n hold no more than what is certain. With the sum by which the log-likelihood exceeds
/// that of all. Cost: 2 p L by size, else p, and n L.
pub(crate) fn take<'a, 'w: 'a>(
    data: &Data<'_>,
    wh: &Whitening<'_>,
    (n, way): (usize, Way),
    seed: u64,
    isa: Isa,
    ws: &mut Workspace<'w>,
) -> Result<Option<(Data<'a>, f64)>> {
    let l = data.features().columns();
    let (features, counts, offset) = (ws.f64s(n * l)?, ws.f64s(n)?, ws.f64s(n)?);
    let mut scratch = ws.scope();
    let picked = scratch.fill(n, 0usize)?;
    let Choices::Counts(all) = *data.choices() else { unreachable!("samples are of counts of all alternatives") };
    let by_size = way == Way::BySize;
    let mut shares = Shares::new(data, all, by_size.then_some(wh), isa, &mut scratch)?;
    // Those that are expected once at least are taken once; and what was chosen, if it is little.
    let few = by_size && all.iter().filter(|n| **n > 0.0).count() <= n / 4;
    let certain = |i: usize, share: f64| few && all[i] > 0.0 || n as f64 * share >= 1.0;
    let (mut sure, mut rest) = (0, 0.0);
    shares.each(|i, share| match certain(i, share) {
        true => sure += 1,
        false => rest += share,
    });
    if sure >= n {
        return Ok(None);
    }
    // The others, one in every stretch of equal shares: nothing that returns evenly among them is in step with that.
    let scale = (n - sure) as f64 / rest;
    let mut random = stream(seed, STREAMS + usize::from(way == Way::Evenly));
    let (mut held, mut stretch, mut sum, mut excess) = (0, 0, 0.0, 0.0);
    let mut next: f64 = random.random();
    let mut last = (0, 1.0);
    let mut put = |i: usize, expected: f64| {
        let (count, b) = (all[i], data.offset().map_or(0.0, |b| b[i]));
        picked[held] = i;
        (counts[held], offset[held]) = match way {
            Way::BySize => (count / expected, b - libm::log(expected)),
            Way::Evenly => (count, b),
        };
        excess += counts[held] * (offset[held] - b);
        held += 1;
    };
    shares.each(|i, share| {
        if certain(i, share) {
            return put(i, 1.0);
        }
        let expected = scale * share;
        if expected > 0.0 {
            (sum, last) = (sum + expected, (i, expected));
        }
        while stretch < n - sure && next < sum {
            put(i, expected);
            stretch += 1;
            next = stretch as f64 + random.random::<f64>();
        }
    });
    // What rounding has left out.
    while stretch < n - sure {
        put(last.0, last.1);
        stretch += 1;
    }
    if way == Way::Evenly && counts.iter().filter(|n| **n > 0.0).count() <= FEW {
        return Ok(None);
    }
    data.features().differences_of(picked, data.origin(0), features);
    let offset = (way == Way::BySize || data.offset().is_some()).then_some(&*offset);
    Ok(Some((Data::new(Features::row_major(&*features, n, l)?, offset, None, Choices::Counts(counts))?, excess)))
}

/// Rows whose features are looked at together, and of how many such blocks their mean is taken.
const ROWS: usize = 64;
const BLOCKS: usize = 64;

/// The shares of the alternatives; 0 of what is not available.
struct Shares<'a> {
    data: &'a Data<'a>,
    counts: &'a [f64],
    isa: Isa,
    /// Whether they are by size, or even.
    by_size: bool,
    there: f64,
    origin: usize,
    /// The mean less the origin, and what squared differences from it are multiplied by: 1 over the variance, over all features that vary.
    mean: &'a mut [f64],
    scale: &'a mut [f64],
    /// ROWS × L.
    block: &'a mut [f64],
}

impl<'a> Shares<'a> {
    fn workspace(columns: usize) -> WorkspaceSize {
        let of = WorkspaceSize::of::<f64>;
        of(columns).and(of(columns)).and(of(columns.saturating_mul(ROWS)))
    }

    /// By size where there is a whitening, else even.
    fn new(data: &'a Data<'_>, counts: &'a [f64], wh: Option<&Whitening<'_>>, isa: Isa, ws: &mut Workspace<'a>) -> Result<Self> {
        let l = data.features().columns();
        let (mean, scale, block) = (ws.f64s(l)?, ws.f64s(l)?, ws.f64s(ROWS * l)?);
        mean.fill(0.0);
        let (there, origin) = (available(data) as f64, data.origin(0));
        let shares = Shares { data, counts, isa, by_size: wh.is_some(), there, origin, mean, scale, block };
        if let Some(wh) = wh {
            let vary = (0..l).filter(|j| wh.covariance[j * l + j] > f64::MIN_POSITIVE).count() as f64;
            for (j, scale) in shares.scale.iter_mut().enumerate() {
                let variance = wh.covariance[j * l + j];
                *scale = if variance > f64::MIN_POSITIVE { 1.0 / (variance * vary) } else { 0.0 };
            }
            // That of some blocks serves.
            let (p, mut n) = (data.features().rows(), 0);
            for rows in blocks(0..p, ROWS).step_by((p / ROWS / BLOCKS).max(1)) {
                data.features().differences(isa, rows.clone(), shares.origin, &mut shares.block[..rows.len() * l]);
                for (x, _) in shares.block.chunks_exact(l).zip(rows).filter(|(_, i)| data.available(*i)) {
                    axpy(1.0, x, shares.mean);
                    n += 1;
                }
            }
            shares.mean.iter_mut().for_each(|m| *m /= f64::from(n.max(1)));
        }
        Ok(shares)
    }

    /// Calls `body` with every alternative and its share.
    fn each(&mut self, mut body: impl FnMut(usize, f64)) {
        let (l, even) = (self.data.features().columns(), 1.0 / self.there);
        let each = 0.5 / self.data.total_choices();
        for rows in blocks(0..self.data.features().rows(), ROWS) {
            if self.by_size {
                self.data.features().differences(self.isa, rows.clone(), self.origin, &mut self.block[..rows.len() * l]);
            }
            for (i, x) in rows.zip(self.block.chunks_exact(l)) {
                let far = || -> f64 { x.iter().zip(&*self.mean).zip(&*self.scale).map(|((x, m), s)| (x - m) * (x - m) * s).sum() };
                let share = match self.by_size {
                    _ if !self.data.available(i) => 0.0,
                    true => each * self.counts[i] + 0.25 * even * (1.0 + far()),
                    false => even,
                };
                body(i, share);
            }
        }
    }
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use crate::testing::numbers;
    use crate::workspace::WorkspaceBuffer;
    use alloc::vec::Vec;

    /// Totals over a sample are near those of all, ties and extremes included, and it is as large as it was asked to be.
    #[test]
    fn a_sample_has_the_sums_of_all_alternatives() {
        let (p, l, n) = (40_000, 3, 4000);
        let x: Vec<f64> = numbers(p * l, 1).iter().map(|x| 3.0 * x + 5.0).collect();
        // A feature that returns evenly; alternatives that are not available; some that nearly all choices are of.
        let x: Vec<f64> = x.iter().enumerate().map(|(i, x)| if i % l == 2 { ((i / l) % 10) as f64 } else { *x }).collect();
        let counts: Vec<f64> =
            numbers(p, 2).iter().enumerate().map(|(i, n)| (4.0 * n).max(0.0).floor() + if i % 5000 == 7 { 900.0 } else { 0.0 }).collect();
        let hidden = |i: usize| i % 9 == 4 && counts[i] == 0.0;
        let offset: Vec<f64> = (0..p).map(|i| if hidden(i) { f64::NEG_INFINITY } else { (i % 3) as f64 / 4.0 }).collect();
        let features = Features::row_major(&x[..], p, l).unwrap();
        let atom = [0.3, -0.2, 0.05];
        // Σ_i e^{b_i + S_i} f(i), S about the origin.
        let sum = |data: &Data<'_>, f: &dyn Fn(usize) -> f64| -> f64 {
            let (p, first) = (data.features().rows(), if data.features().rows() == 40_000 { 0 } else { usize::MAX });
            let get =
                |i: usize, j: usize| data.features().get(i, j) - if first == 0 { data.features().get(data.origin(0), j) } else { 0.0 };
            let term = |i: usize| libm::exp(data.offset().map_or(0.0, |b| b[i]) + (0..l).map(|j| atom[j] * get(i, j)).sum::<f64>()) * f(i);
            (0..p).map(term).sum()
        };
        let near = |a: f64, b: f64, by: f64| assert!((a - b).abs() <= by * b.abs(), "{a} for {b}");
        let data = Data::new(features, Some(&offset), None, Choices::Counts(&counts)).unwrap();
        assert!(serves(&data, n) && !serves(&data, p / 4));
        let mut kept = WorkspaceBuffer::new(Whitening::workspace(&data.shape())).unwrap();
        let wh = Whitening::new(&data, Isa::detect(), &mut kept.lend()).unwrap();
        let mut buffer = WorkspaceBuffer::new(workspace(&data.shape(), n)).unwrap();
        let mut ws = buffer.lend();
        let (sample, excess) = take(&data, &wh, (n, Way::BySize), 3, Isa::detect(), &mut ws).unwrap().unwrap();
        assert_eq!(sample.shape(), shape_of(&data.shape(), n));
        near(sample.total_choices(), data.total_choices(), 0.03);
        near(sum(&sample, &|_| 1.0), sum(&data, &|_| 1.0), 0.06);
        // The log-likelihood of one class: Σ n (b + S) − N log Z.
        let likelihood = |d: &Data<'_>| {
            let origin = if d.features().rows() == p { 1.0 } else { 0.0 };
            let s = |i: usize| (0..l).map(|j| atom[j] * (d.features().get(i, j) - origin * d.features().get(d.origin(0), j))).sum::<f64>();
            let Choices::Counts(taken) = *d.choices() else { unreachable!() };
            let chosen = (0..taken.len()).filter(|i| taken[*i] > 0.0).map(|i| taken[i] * (d.offset().map_or(0.0, |b| b[i]) + s(i)));
            chosen.sum::<f64>() - d.total_choices() * libm::log(sum(d, &|_| 1.0))
        };
        near(likelihood(&sample) - excess, likelihood(&data), 0.03);
        assert!(excess > 0.0);
        // What returns evenly is there evenly.
        let third = |d: &Data<'_>, i: usize| {
            if (d.features().get(i, 2) - if d.features().rows() == p { d.features().get(data.origin(0), 2) } else { 0.0 }) > 4.0 {
                1.0
            } else {
                0.0
            }
        };
        near(sum(&sample, &|i| third(&sample, i)), sum(&data, &|i| third(&data, i)), 0.06);
        let Choices::Counts(taken) = *sample.choices() else { unreachable!() };
        assert!((0..n).all(|i| sample.available(i)));
        assert_eq!(taken.iter().filter(|c| **c >= 900.0).count(), 8, "what nearly all choices are of is taken once each, as it is");

        let mut buffer = WorkspaceBuffer::new(workspace(&data.shape(), n)).unwrap();
        let mut ws = buffer.lend();
        let (evenly, none) = take(&data, &wh, (n, Way::Evenly), 3, Isa::detect(), &mut ws).unwrap().unwrap();
        assert_eq!(none, 0.0);
        let Choices::Counts(taken) = *evenly.choices() else { unreachable!() };
        assert!((0..n).all(|i| evenly.available(i)) && taken.iter().all(|c| c.fract() == 0.0));
        let available = (0..p).filter(|i| !hidden(*i)).count();
        near(sum(&evenly, &|_| 1.0) * available as f64 / n as f64, sum(&data, &|_| 1.0), 0.06);
    }

    /// What lies far out is in it whether it was chosen or not, with features in common that are a million times as large; and so is all that
    /// was chosen, if that is little.
    #[test]
    fn what_lies_far_out_and_what_little_was_chosen_is_in_a_sample() {
        let (p, l, n) = (20_000, 2, 2000);
        let far = |i: usize| i % 4000 == 33;
        let value = |i: usize, x: f64| 1e6 + x + if far(i) { 60.0 } else { 0.0 };
        let x: Vec<f64> = numbers(p * l, 5).iter().enumerate().map(|(j, x)| if j % l == 0 { value(j / l, *x) } else { *x }).collect();
        let counts: Vec<f64> = (0..p).map(|i| if i % 50 == 7 { 1.0 } else { 0.0 }).collect();
        let data = Data::new(Features::row_major(&x[..], p, l).unwrap(), None, None, Choices::Counts(&counts)).unwrap();
        let mut kept = WorkspaceBuffer::new(Whitening::workspace(&data.shape())).unwrap();
        let wh = Whitening::new(&data, Isa::detect(), &mut kept.lend()).unwrap();
        let mut buffer = WorkspaceBuffer::new(workspace(&data.shape(), n)).unwrap();
        let (sample, excess) = take(&data, &wh, (n, Way::BySize), 1, Isa::detect(), &mut buffer.lend()).unwrap().unwrap();
        let Choices::Counts(taken) = *sample.choices() else { unreachable!() };
        assert_eq!((taken.iter().filter(|n| **n == 1.0).count(), sample.total_choices(), excess), (400, 400.0, 0.0));
        assert_eq!((0..n).filter(|i| sample.features().get(*i, 0) > 30.0 && sample.offset().unwrap()[*i] == 0.0).count(), 5);
    }

    #[test]
    fn samples_are_for_many_alternatives_that_are_available_and_chosen() {
        let few = Shape {
            rows: 16_383,
            total_rows: 16_383,
            columns: 2,
            sets: 1,
            largest_set: 16_383,
            grouped_rows: None,
            units: 16_383,
            units_are_rows: true,
            units_are_draws: true,
            total_units: 16_383,
            units_are_split: false,
        };
        let of =
            |rows: usize, columns: usize| size(&Shape { rows, total_rows: rows, columns, ..few }, 2).map(|size| (size.rows, size.lasts));
        assert_eq!((of(16_383, 2), of(16_384, 2), of(131_071, 2)), (None, Some((1 << 12, false)), Some((1 << 12, false))));
        assert_eq!(of(131_072, 2), Some((1 << 15, true)));
        // More for more parameters; none for panels, units with several choices, and parts.
        assert_eq!((of(51_199, 399), of(131_072, 399), of(1 << 20, 399)), (None, Some((12_800, false)), Some((51_200, true))));
        let many = Shape { rows: 131_072, total_rows: 131_072, ..few };
        for other in [Shape { sets: 2, ..many }, Shape { units_are_rows: false, ..many }, Shape { total_rows: 1 << 20, ..many }] {
            assert_eq!(size(&other, 2), None);
        }
        // Evenly taken alternatives of which none was chosen tell no moments.
        let (x, mut counts) = (numbers(4000, 1), alloc::vec![0.0; 4000]);
        counts[17] = 5.0;
        let data = Data::new(Features::row_major(&x[..], 4000, 1).unwrap(), None, None, Choices::Counts(&counts)).unwrap();
        let mut kept = WorkspaceBuffer::new(Whitening::workspace(&data.shape())).unwrap();
        let wh = Whitening::new(&data, Isa::detect(), &mut kept.lend()).unwrap();
        let mut buffer = WorkspaceBuffer::new(workspace(&data.shape(), 500).and(workspace(&data.shape(), 500))).unwrap();
        let mut ws = buffer.lend();
        assert!(take(&data, &wh, (500, Way::Evenly), 0, Isa::detect(), &mut ws).unwrap().is_none());
        let (sample, _) = take(&data, &wh, (500, Way::BySize), 0, Isa::detect(), &mut ws).unwrap().unwrap();
        assert_eq!(sample.total_choices(), 5.0);
    }
}
