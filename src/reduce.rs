//! Past one machine: the reduction hook, and data that are one rank's part of a larger whole. Section 10 of the mathematics.
//!
//! Every evaluation is a sum over rows and units. Each rank of an engine (MPI, Dask, threads) holds a part of the data and calls the same
//! operations in the same order; inside them, sums and maxima are taken over all ranks by the hook, so that every rank sees the same
//! numbers, takes the same decisions, and ends with the same mixture.
//!
//! | data | [`Split`] | what a rank holds |
//! |---|---|---|
//! | counts, dense or sparse, over one choice set | `Rows` | some alternatives, and their counts |
//! | units over one choice set | `Rows` | some alternatives, and of *every* unit the choices among them (perhaps none) |
//! | panels, counts over many choice sets | `Sets` | some choice sets whole, and the units that choose in them |
//! | units over one choice set that every rank has whole | `Sets` | all alternatives, and some units |
//!
//! ```
//! use softmix::reduce::{ReduceOp, Shard, Split};
//! use softmix::{Choices, Features, Fit, FitOptions};
//!
//! // An engine of one rank: what is reduced stays as it is.
//! let reduce = |_op: ReduceOp, _buffer: &mut [f64]| Ok(());
//! let shard = Shard::new(&reduce, Split::Rows, 0);
//! let (features, counts) = ([0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0], [40.0, 10.0, 10.0, 40.0]);
//! let features = shard.agree(Features::row_major(&features[..], 4, 2))?;
//! let data = shard.data(features, None, None, Choices::Counts(&counts))?;
//! let fit = Fit::new(&data, &FitOptions { ridge: 1.0, ..FitOptions::new(2) })?;
//! # assert!(fit.report.log_likelihood < 0.0);
//! # Ok::<(), softmix::Error>(())
//! ```
//!
//! # Rules
//! - All ranks call the same operations with the same options and mixtures, in the same order. Every operation begins by comparing them (a
//!   maximum of five numbers): where they differ, all ranks return `Disagreement`.
//! - What the hook returns must be the same bits on every rank. Ranks run the same build on the same kind of processor; where their
//!   instruction sets differ they disagree.
//! - The hook is called on the thread that called the operation, one call at a time.
//! - An error found by one rank (bad input, a workspace too small) is agreed on at that beginning: the rank returns its error, the others
//!   `Remote`. A rank that fails before it can call the operation calls [`Shard::agree`] in its place. Errors found later, such as logits
//!   that overflow, are the same on all ranks.
//! - When the hook fails, the operation returns `Reduction` and the hook is not called again.
//! - A whole of one rank is no shard: after [`Shard::data`] its hook is not called any more.
//!
//! # What is sent
//! Doubles, C = classes × starts that run side by side (C = K once the race is over), for one evaluation of value and gradient:
//!
//! | split | maximum | sum |
//! |---|---|---|
//! | `Rows` | `1 + C` | `C`, then `2 C + starts`, then `C L` |
//! | `Rows`, of units | `1 + C` | `C`, then `U C`, then `C`, then `C L`; `U C` more where any rank wants what runs over units |
//! | `Sets` | `1` | `2 C + starts`, then `C L` |
//!
//! A step of EM sends `C L` twice and `2 C` more a trial; a Newton step the information, about `(K L)²`, and the curvatures `K L²`; L-BFGS
//! the curvatures and on counts about `K⁴ / 2`, twice; whitening `L²` once. The callback of a fit costs one number a step. None of it
//! depends on the number of rows.

use crate::data::{Choices, Data, Features};
use crate::error::{Error, ErrorKind, Result};
use crate::simd::Isa;
use core::fmt;
use core::sync::atomic::{AtomicBool, Ordering};

/// What is done with the numbers of all ranks, entry by entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduceOp {
    /// The largest. Never asked of a NaN; −∞ occurs.
    Max,
    /// The sum. NaN and infinities must go through.
    Sum,
}

/// The hook could not reduce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReduceFailed;

/// A reduction over all ranks of an engine, as `MPI_Allreduce` is.
pub trait Reduce {
    /// Replaces every entry of `buffer`, as long on every rank, by the maximum or the sum over the ranks: the same bits on each.
    fn reduce(&self, op: ReduceOp, buffer: &mut [f64]) -> core::result::Result<(), ReduceFailed>;
}

impl<F: Fn(ReduceOp, &mut [f64]) -> core::result::Result<(), ReduceFailed>> Reduce for F {
    fn reduce(&self, op: ReduceOp, buffer: &mut [f64]) -> core::result::Result<(), ReduceFailed> {
        self(op, buffer)
    }
}

/// Along what the whole is split: see the table of this module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// One choice set is split by its rows.
    Rows,
    /// Choice sets are whole on the rank that has them.
    Sets,
}

/// One rank of an engine.
pub struct Shard<'a> {
    reduce: &'a (dyn Reduce + Sync),
    split: Split,
    rank: u64,
    /// The hook has failed: it is not called again.
    failed: AtomicBool,
}

impl fmt::Debug for Shard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shard").field("split", &self.split).field("rank", &self.rank).field("failed", &self.failed).finish_non_exhaustive()
    }
}

/// What data that are a part know of the whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'a> {
    pub shard: &'a Shard<'a>,
    pub ranks: f64,
    pub rows: usize,
    pub units: usize,
    /// Rows that are available.
    pub available: f64,
}

/// The operations, as they are compared at their beginning.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Operation {
    Data = 1,
    Agree,
    Covariance,
    Whitening,
    Evaluate,
    Em,
    Information,
    ScoreProducts,
    HessianVector,
    Fit,
    StandardErrors,
    Criteria,
    Probabilities,
    Scan,
    EstimateCovariance,
}

impl<'a> Shard<'a> {
    /// A rank that reduces by `reduce`. `rank` tells ranks apart where they draw random numbers for units of their own.
    pub fn new(reduce: &'a (dyn Reduce + Sync), split: Split, rank: u64) -> Self {
        Shard { reduce, split, rank, failed: AtomicBool::new(false) }
    }

    /// The data of this rank, as [`Data::new`] checks them; all ranks call it. Of units over a split choice set every rank names all units
    /// in the same order with the same weights. A rank may be without choices, not without rows.
    ///
    /// # Errors
    /// Those of [`Data::new`] on the rank that has them and `Remote` on the others; `Disagreement` where the ranks differ in the number of
    /// features, their type, the layout, or the units of a split choice set; `Unsupported` for several choice sets split by rows.
    pub fn data(
        &'a self,
        features: Features<'a>,
        offset: Option<&'a [f64]>,
        sets: Option<&'a [usize]>,
        choices: Choices<'a>,
    ) -> Result<Data<'a>> {
        self.data_of(Data::checked(features, offset, sets, choices, Some(self.split)), None)
    }

    /// The same of data that were checked, and of rows and units of the whole where they are thought to be known.
    pub(crate) fn data_of(&'a self, data: Result<Data<'a>>, totals: Option<(usize, usize)>) -> Result<Data<'a>> {
        let numbers = data.as_ref().map(|data| {
            let layout = match data.choices() {
                Choices::Counts(_) => 1.0,
                Choices::SparseCounts { .. } => 2.0,
                Choices::Units { .. } => 3.0,
            };
            let split = if self.split == Split::Rows { 1.0 } else { 2.0 };
            let units = if self.splits_units(data) { data.shape().units } else { 0 };
            let (rows, all) = totals.unwrap_or((0, 0));
            let numbers =
                [data.features().columns() as f64, data.features().epsilon(), layout, split, units as f64, rows as f64, all as f64];
            hash(numbers.into_iter().chain((0..units).map(|u| data.unit_weight(u))))
        });
        let result = data.as_ref().map(|_| ()).map_err(|e| *e);
        self.open(result, Operation::Data, numbers.unwrap_or(0.0))?;
        let data = data?;
        let shape = data.shape();
        let available = (0..shape.rows).filter(|&i| data.available(i)).count() as f64;
        let mut sums = [
            1.0,
            shape.rows as f64,
            shape.units as f64,
            available,
            data.total_weight(),
            data.total_choices(),
            data.observed_units() as f64,
        ];
        self.reduce(ReduceOp::Sum, &mut sums)?;
        let [ranks, rows, units, available, mut weight, choices, mut observed] = sums;
        let mut units = units as usize;
        if self.splits_units(&data) {
            (units, weight, observed) = (shape.units, data.total_weight(), data.observed_units() as f64);
        }
        if let Some((total_rows, total_units)) = totals {
            for (name, needed, given) in [("total_rows", rows as usize, total_rows), ("total_units", units, total_units)] {
                if needed != given {
                    return Err(Error::shape(name, needed, given));
                }
            }
        }
        if !(weight > 0.0 && choices > 0.0) {
            return Err(Error::new(ErrorKind::Empty, "choices"));
        }
        if !(weight.is_finite() && choices.is_finite()) {
            return Err(Error::new(ErrorKind::NotFinite, "choices"));
        }
        if available == 0.0 {
            return Err(Error::new(ErrorKind::Unavailable, "offset"));
        }
        if ranks < 1.5 {
            return data.alone();
        }
        Ok(data.of_whole(weight, choices, observed as usize, Part { shard: self, ranks, rows: rows as usize, units, available }))
    }

    /// The answer of all ranks to something that each did on its own: this rank's own error, `Remote` where another rank has one. Where the
    /// others call an operation instead, it returns `Remote` there.
    pub fn agree<T>(&self, result: Result<T>) -> Result<T> {
        let outcome = result.as_ref().map(|_| ()).map_err(|e| *e);
        self.open(outcome, Operation::Agree, 0.0)?;
        result
    }

    /// The beginning of an operation.
    fn open(&self, result: Result<()>, operation: Operation, hash: f64) -> Result<()> {
        let code = f64::from(operation as u8);
        // Whether there is an error; the operation and a hash of its arguments, as they are and negated.
        let mut opening = match result {
            Ok(()) => [0.0, code, -code, hash, -hash],
            Err(_) => [1.0, f64::NEG_INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY, f64::NEG_INFINITY],
        };
        let reduced = self.reduce(ReduceOp::Max, &mut opening);
        result?;
        reduced?;
        let [error, code, minus_code, hash, minus_hash] = opening;
        if error > 0.0 {
            return Err(Error::new(ErrorKind::Remote, "ranks"));
        }
        match code == -minus_code && hash == -minus_hash {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::Disagreement, "ranks")),
        }
    }

    fn reduce(&self, op: ReduceOp, buffer: &mut [f64]) -> Result<()> {
        self.check()?;
        if buffer.is_empty() {
            return Ok(());
        }
        if self.reduce.reduce(op, buffer).is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        self.check()
    }

    fn check(&self) -> Result<()> {
        match self.failed.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::Reduction, "reduce")),
            false => Ok(()),
        }
    }

    fn splits_units(&self, data: &Data<'_>) -> bool {
        self.split == Split::Rows && matches!(data.choices(), Choices::Units { .. })
    }
}

/// A number below 2^52 that differs where the numbers do, but for one case in 2^52 (FNV-1a, Fowler, Noll and Vo 1991).
pub(crate) fn hash(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut h = 0xcbf2_9ce4_8422_2325_u64;
    for x in numbers {
        for byte in x.to_bits().to_le_bytes() {
            h = (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    ((h >> 52 ^ h) & ((1 << 52) - 1)) as f64
}

/// What the passes ask of data that may be a part. Without other ranks all of it is nothing.
impl Data<'_> {
    /// Whether other ranks hold more.
    pub(crate) fn is_part(&self) -> bool {
        self.part().is_some()
    }

    /// Whether one choice set is split by its rows.
    pub(crate) fn splits_rows(&self) -> bool {
        self.part().is_some_and(|p| p.shard.split == Split::Rows)
    }

    /// Whether the choices of a unit are on several ranks, each of which has all units.
    pub(crate) fn splits_units(&self) -> bool {
        self.part().is_some_and(|p| p.shard.splits_units(self))
    }

    /// The number that tells this rank's own units from those of others; 0 where every rank has all.
    pub(crate) fn rank_of_units(&self) -> u64 {
        self.part().filter(|_| !self.splits_units()).map_or(0, |p| p.shard.rank)
    }

    /// The beginning of an operation with the arguments `numbers` on an instruction set: an error of this rank, or of another.
    pub(crate) fn open(&self, result: Result<()>, operation: Operation, isa: Isa, numbers: impl IntoIterator<Item = f64>) -> Result<()> {
        match self.part() {
            None => result,
            Some(p) => p.shard.open(result, operation, hash(numbers.into_iter().chain([isa.number()]))),
        }
    }

    /// Reports an error to ranks that begin an operation which this one cannot.
    #[cfg(feature = "alloc")]
    pub(crate) fn report(&self, error: Error) -> Error {
        if let Some(p) = self.part() {
            // This rank's own error comes first, whatever becomes of the others.
            let _ = p.shard.open(Err(error), Operation::Agree, 0.0);
        }
        error
    }

    /// The sum over the ranks.
    pub(crate) fn sum(&self, buffer: &mut [f64]) -> Result<()> {
        self.part().map_or(Ok(()), |p| p.shard.reduce(ReduceOp::Sum, buffer))
    }

    /// The sum over the ranks of what each has from units of its own; of units that all ranks have nothing is to be done.
    pub(crate) fn sum_over_units(&self, buffer: &mut [f64]) -> Result<()> {
        if self.splits_units() { Ok(()) } else { self.sum(buffer) }
    }

    /// Makes what every rank has its share of a later [`Self::sum_over_units`].
    pub(crate) fn share_over_units(&self, buffer: &mut [f64]) {
        if let Some(p) = self.part().filter(|_| !self.splits_units()) {
            buffer.iter_mut().for_each(|x| *x /= p.ranks);
        }
    }

    /// The mean over the ranks of what each has.
    pub(crate) fn mean(&self, buffer: &mut [f64]) -> Result<()> {
        if let Some(p) = self.part() {
            buffer.iter_mut().for_each(|x| *x /= p.ranks);
        }
        self.sum(buffer)
    }

    /// The largest over the ranks.
    pub(crate) fn max(&self, buffer: &mut [f64]) -> Result<()> {
        self.part().map_or(Ok(()), |p| p.shard.reduce(ReduceOp::Max, buffer))
    }

    /// Whether it is so on any rank.
    pub(crate) fn any(&self, here: bool) -> bool {
        let mut flag = [f64::from(u8::from(here))];
        let reduced = self.max(&mut flag);
        reduced.is_err() || flag[0] > 0.0
    }

    /// The error of a hook that has failed: checked where a failure was let pass.
    pub(crate) fn reduced(&self) -> Result<()> {
        self.part().map_or(Ok(()), |p| p.shard.check())
    }
}
