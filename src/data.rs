//! The data of a fit: validated, borrowed views of the caller's memory. Features in choice sets, and who chose what.

use crate::error::{Error, ErrorKind, Result};
use crate::evaluate::grouped_rows;
pub(crate) use crate::features::Block;
pub use crate::features::{Features, Values};
use crate::reduce::{Part, Split};
use crate::simd::{CountTotals, Isa, all_finite, count_totals};
use core::ops::Range;

/// Who chose what.
#[derive(Clone, Copy, Debug)]
pub enum Choices<'a> {
    /// How often each of the p alternatives was chosen; every draw is its own unit. Counts may be zero or fractional.
    Counts(&'a [f64]),
    /// The same for the alternatives of `indices` alone.
    SparseCounts {
        /// Alternatives, each below p.
        indices: &'a [usize],
        /// How often each was chosen.
        counts: &'a [f64],
    },
    /// Units with choices in compressed rows: unit u chose `indices[indptr[u]..indptr[u + 1]]`.
    Units {
        /// U + 1 offsets into `indices`, from 0, not decreasing.
        indptr: &'a [usize],
        /// Alternatives, each below p.
        indices: &'a [usize],
        /// Multiplicities of the choices; absent: 1.
        counts: Option<&'a [f64]>,
        /// Weights of the units; absent: 1.
        weights: Option<&'a [f64]>,
    },
}

/// Alternatives for every choice from which on counts of all alternatives of many choice sets cost more than the choices alone.
const MANY_ALTERNATIVES: usize = 12;

/// The sizes on which workspaces depend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Alternatives p.
    pub rows: usize,
    /// Features L.
    pub columns: usize,
    /// Choice sets.
    pub sets: usize,
    /// Alternatives of the largest choice set; 0 where only the other sizes are known. Workspaces do not depend on it.
    pub largest_set: usize,
    /// Rows that small choice sets fill where they stand side by side; none where they do not, or where only the other sizes are known. Nor
    /// do workspaces depend on it.
    pub grouped_rows: Option<usize>,
    /// Units U; for counts the alternatives (or the entries of sparse counts), each the unit of its draws.
    pub units: usize,
    /// Whether choices are counts of all alternatives, so that units are rows.
    pub units_are_rows: bool,
    /// Whether choices are counts, dense or sparse, so that every unit is the draws of one alternative.
    pub units_are_draws: bool,
    /// Alternatives over all ranks of a distributed run; p where there is one: see [`crate::reduce`].
    pub total_rows: usize,
    /// Units over all ranks.
    pub total_units: usize,
    /// Whether the choices of a unit are on several ranks.
    pub units_are_split: bool,
}

impl Shape {
    /// Whether other ranks hold more.
    pub fn is_part(&self) -> bool {
        self.total_rows > self.rows
    }

    /// The shape of [`Data::as_counts`], which other choices may have.
    pub(crate) fn as_counts(&self) -> Option<Shape> {
        (!self.units_are_rows).then_some(Shape {
            units: self.rows,
            units_are_rows: true,
            units_are_draws: true,
            total_units: self.total_rows,
            ..*self
        })
    }
}

/// Features, offsets, choice sets and choices, checked against one another once.
#[derive(Clone, Copy, Debug)]
pub struct Data<'a> {
    features: Features<'a>,
    offset: Option<&'a [f64]>,
    sets: Option<&'a [usize]>,
    choices: Choices<'a>,
    largest_set: usize,
    grouped_rows: Option<usize>,
    total_weight: f64,
    total_choices: f64,
    observed_units: usize,
    part: Option<Part<'a>>,
    /// Whether the features are known to be finite.
    finite: bool,
}

impl<'a> Data<'a> {
    /// Checks everything and keeps views: no copy. Cost: one read of the features.
    ///
    /// `offset`: p numbers added to the logits; −inf marks an alternative as not available. `sets`: S + 1 offsets into
    /// the rows, from 0 to p, strictly increasing; absent: one choice set of all rows.
    ///
    /// # Errors
    /// Names the argument and the place of the first NaN, infinity, negative count, empty choice set, unit without a
    /// choice, index out of range, wrong length, or chosen alternative that is not available.
    pub fn new(features: Features<'a>, offset: Option<&'a [f64]>, sets: Option<&'a [usize]>, choices: Choices<'a>) -> Result<Self> {
        let data = Self::checked(features, offset, sets, choices, None)?;
        data.check_alone()?;
        Ok(data)
    }

    /// Checks everything but that the features are finite, which an operation does by [`Data::look`] at its end: a read of the features
    /// less.
    #[cfg(feature = "capi")]
    pub(crate) fn unseen(
        features: Features<'a>,
        offset: Option<&'a [f64]>,
        sets: Option<&'a [usize]>,
        choices: Choices<'a>,
    ) -> Result<Self> {
        let mut data = Self::of(features, offset, sets, choices, None)?;
        data.check_alone()?;
        if data.set_count() > 1 && data.offset.is_some() {
            // The layout of many small sets does not look at alternatives that are not available.
            data.check_features()?;
            data.finite = true;
        }
        Ok(data)
    }

    fn check_features(&self) -> Result<()> {
        match self.features.first_not_finite() {
            Some((i, l)) => Err(Error::new(ErrorKind::NotFinite, "features").at(i).column(l)),
            None => Ok(()),
        }
    }

    /// Whether a feature of some rows is not finite, where they are not known to be and logits of the rows, class by class, tell that one may
    /// be: no log-normalizer tells of −∞.
    pub(crate) fn hides_infinite<'b>(&self, isa: Isa, rows: Range<usize>, mut logits: impl Iterator<Item = &'b [f64]>) -> bool {
        !self.finite && logits.any(|of_class| !all_finite(isa, of_class)) && !self.features.are_finite(rows)
    }

    /// The same data where no pass need look whether features are finite: sums over all of them tell, which [`Data::look`] is shown.
    pub(crate) fn told_by_sums(&self) -> Self {
        Data { finite: true, ..*self }
    }

    /// The error of features that are not finite, where they are not known to be and `result` or one of `sums`, to which all of them
    /// contributed, tells that something is not.
    pub(crate) fn look<T>(&self, result: Result<T>, sums: impl FnOnce(&T) -> bool) -> Result<T> {
        if !self.finite && !result.as_ref().is_ok_and(sums) {
            self.check_features()?;
        }
        result
    }

    /// Data that may be a part of a whole: what only the whole must be is not checked. A part may be without choices; of one choice set
    /// split by rows, it may be without available rows, and units without choices.
    pub(crate) fn checked(
        features: Features<'a>,
        offset: Option<&'a [f64]>,
        sets: Option<&'a [usize]>,
        choices: Choices<'a>,
        split: Option<Split>,
    ) -> Result<Self> {
        let data = Self::of(features, offset, sets, choices, split)?;
        data.check_features()?;
        Ok(Data { finite: true, ..data })
    }

    fn of(
        features: Features<'a>,
        offset: Option<&'a [f64]>,
        sets: Option<&'a [usize]>,
        choices: Choices<'a>,
        split: Option<Split>,
    ) -> Result<Self> {
        let p = features.rows();
        let sets = sets.filter(|s| *s != [0, p]);
        if let Some(s) = sets {
            check_offsets("sets", s, p)?;
            if let Some(i) = (1..s.len()).find(|&i| s[i] == s[i - 1]) {
                return Err(Error::new(ErrorKind::Empty, "sets").at(i - 1));
            }
        }
        if let Some(b) = offset {
            if b.len() != p {
                return Err(Error::shape("offset", p, b.len()));
            }
            if let Some(i) = b.iter().position(|b| b.is_nan() || *b == f64::INFINITY) {
                return Err(Error::new(ErrorKind::NotFinite, "offset").at(i));
            }
        }
        let largest_set = sets.map_or(p, |s| s.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(p));
        let mut data = Data {
            features,
            offset,
            sets,
            choices,
            largest_set,
            grouped_rows: sets.and_then(|s| grouped_rows(s, largest_set)),
            total_weight: 0.0,
            total_choices: 0.0,
            observed_units: 0,
            part: None,
            finite: false,
        };
        if split == Some(Split::Rows) && sets.is_some() {
            return Err(Error::new(ErrorKind::Unsupported, "sets"));
        }
        if let Some(b) = offset.filter(|_| split != Some(Split::Rows)) {
            let dead = (0..data.set_count()).find(|&s| b[data.set(s)].iter().all(|b| *b == f64::NEG_INFINITY));
            if let Some(s) = dead {
                return Err(match sets {
                    Some(_) => Error::new(ErrorKind::Unavailable, "sets").at(s),
                    None => Error::new(ErrorKind::Unavailable, "offset"),
                });
            }
        }
        data.check_choices(split)?;
        Ok(data)
    }

    fn check_choices(&mut self, split: Option<Split>) -> Result<()> {
        let (p, b) = (self.features.rows(), self.offset);
        match self.choices {
            Choices::Counts(n) => {
                if n.len() != p {
                    return Err(Error::shape("counts", p, n.len()));
                }
                let totals = check_counts("counts", n)?;
                if b.is_none() {
                    (self.total_weight, self.total_choices, self.observed_units) = (totals.sum, totals.sum, totals.positive);
                    return Ok(());
                }
            }
            Choices::SparseCounts { indices, counts } => {
                if indices.len() != counts.len() {
                    return Err(Error::shape("counts", indices.len(), counts.len()));
                }
                check_counts("counts", counts)?;
                check_indices(indices, p)?;
            }
            Choices::Units { indptr, indices, counts, weights } => {
                // A part may be without units.
                if split.is_some() && *indptr == [0] {
                    if !indices.is_empty() {
                        return Err(Error::shape("indices", 0, indices.len()));
                    }
                } else {
                    check_offsets("indptr", indptr, indices.len())?;
                }
                check_indices(indices, p)?;
                if let Some(c) = counts {
                    if c.len() != indices.len() {
                        return Err(Error::shape("counts", indices.len(), c.len()));
                    }
                    check_counts("counts", c)?;
                }
                if let Some(w) = weights {
                    if w.len() != indptr.len() - 1 {
                        return Err(Error::shape("weights", indptr.len() - 1, w.len()));
                    }
                    check_counts("weights", w)?;
                }
                for u in 0..indptr.len() - 1 {
                    let mut entries = indptr[u]..indptr[u + 1];
                    if split != Some(Split::Rows) && entries.all(|e| counts.is_some_and(|c| c[e] == 0.0)) {
                        return Err(Error::new(ErrorKind::Empty, "units").at(u));
                    }
                }
            }
        }
        let (mut weight, mut choices, mut observed) = (0.0, 0.0, 0);
        for u in 0..self.shape().units {
            let w = self.unit_weight(u);
            let mut n = 0.0;
            for (e, (i, c)) in self.entries(u).enumerate() {
                if c > 0.0 && w > 0.0 && b.is_some_and(|b| b[i] == f64::NEG_INFINITY) {
                    let place = match self.choices {
                        Choices::Counts(_) | Choices::SparseCounts { .. } => u,
                        Choices::Units { indptr, .. } => indptr[u] + e,
                    };
                    return Err(Error::new(ErrorKind::Unavailable, "choices").at(place));
                }
                n += c;
            }
            observed += usize::from(w > 0.0);
            weight += w;
            // Of a unit of no weight the choices may be more than there are numbers.
            choices += if w > 0.0 { w * n } else { 0.0 };
        }
        (self.total_weight, self.total_choices, self.observed_units) = (weight, choices, observed);
        Ok(())
    }

    /// What data that are no part must be.
    fn check_alone(&self) -> Result<()> {
        if !(self.total_weight > 0.0 && self.total_choices > 0.0) {
            return Err(Error::new(ErrorKind::Empty, "choices"));
        }
        match self.total_weight.is_finite() && self.total_choices.is_finite() {
            true => Ok(()),
            false => Err(Error::new(ErrorKind::NotFinite, "choices")),
        }
    }

    /// The same data, no part of anything.
    pub(crate) fn alone(self) -> Result<Self> {
        Self::new(self.features, self.offset, self.sets, self.choices)
    }

    /// The same data with the sums of the whole that they are a part of.
    pub(crate) fn of_whole(self, total_weight: f64, total_choices: f64, observed_units: usize, part: Part<'a>) -> Self {
        Data { total_weight, total_choices, observed_units, part: Some(part), ..self }
    }

    pub(crate) fn part(&self) -> Option<&Part<'a>> {
        self.part.as_ref()
    }

    /// The same choices among rows with other features, which must be finite and as many.
    pub(crate) fn with_features(&self, features: Features<'a>) -> Self {
        debug_assert_eq!((features.rows(), features.columns()), (self.features.rows(), self.features.columns()));
        Data { features, ..*self }
    }

    /// Whether the choices are counts in another form, sparse ones or units that chose once each, which [`Data::as_counts`] is faster than:
    /// of one choice set, or with few alternatives for every choice.
    pub(crate) fn are_counts(&self) -> bool {
        let shape = self.shape();
        if shape.sets > 1 && shape.rows / MANY_ALTERNATIVES > shape.units {
            return false;
        }
        match self.choices {
            Choices::Counts(_) => false,
            // On all ranks or none.
            Choices::SparseCounts { .. } => self.part.is_none() || self.splits_rows(),
            Choices::Units { indptr, counts, .. } => {
                let once = indptr.windows(2).all(|w| w[1] == w[0] + 1) && counts.is_none_or(|c| c.iter().all(|c| *c == 1.0));
                once && self.part.is_none()
            }
        }
    }

    /// Such choices as counts of all alternatives, in room for p numbers: of these a pass over the rows takes half the time, or less.
    pub(crate) fn as_counts<'b>(&self, room: &'b mut [f64]) -> Result<Data<'b>>
    where
        'a: 'b,
    {
        debug_assert!(self.are_counts());
        room.fill(0.0);
        for u in 0..self.shape().units {
            self.entries(u).for_each(|(i, _)| room[i] += self.unit_weight(u));
        }
        let part = self.part.map(|part| Part { units: part.rows, ..part });
        let mut data = Data { choices: Choices::Counts(room), part, ..*self };
        if part.is_none() {
            // The sums, as they are of counts of all.
            data.check_choices(None)?;
            data.check_alone()?;
        }
        Ok(data)
    }

    /// The sizes on which workspaces depend.
    pub fn shape(&self) -> Shape {
        let (units, units_are_rows) = match self.choices {
            Choices::Counts(n) => (n.len(), true),
            Choices::SparseCounts { indices, .. } => (indices.len(), false),
            Choices::Units { indptr, .. } => (indptr.len() - 1, false),
        };
        let units_are_draws = !matches!(self.choices, Choices::Units { .. });
        Shape {
            rows: self.features.rows(),
            columns: self.features.columns(),
            sets: self.set_count(),
            largest_set: self.largest_set,
            grouped_rows: self.grouped_rows,
            units,
            units_are_rows,
            units_are_draws,
            total_rows: self.part.map_or(self.features.rows(), |p| p.rows),
            total_units: self.part.map_or(units, |p| p.units),
            units_are_split: self.splits_units(),
        }
    }

    /// The features.
    pub fn features(&self) -> &Features<'a> {
        &self.features
    }

    /// The offsets of the rows.
    pub fn offset(&self) -> Option<&'a [f64]> {
        self.offset
    }

    /// The choices.
    pub fn choices(&self) -> &Choices<'a> {
        &self.choices
    }

    /// `Σ_u w_u`.
    pub fn total_weight(&self) -> f64 {
        self.total_weight
    }

    /// `Σ_u w_u Σ_i c_ui`.
    pub fn total_choices(&self) -> f64 {
        self.total_choices
    }

    /// Units with a positive weight: classes may not be more.
    pub fn observed_units(&self) -> usize {
        self.observed_units
    }

    /// Number of choice sets.
    pub fn set_count(&self) -> usize {
        self.sets.map_or(1, |s| s.len() - 1)
    }

    /// Rows of choice set `s`.
    #[inline]
    pub fn set(&self, s: usize) -> Range<usize> {
        self.sets.map_or(0..self.features.rows(), |o| o[s]..o[s + 1])
    }

    /// Where the choice sets begin, and the end; not of one set of all rows.
    pub(crate) fn set_offsets(&self) -> Option<&'a [usize]> {
        self.sets
    }

    /// The first set that begins at row `i` or later.
    pub(crate) fn first_set_from(&self, i: usize) -> usize {
        match self.sets {
            Some(o) => o[..o.len() - 1].partition_point(|&first| first < i),
            None => usize::from(i > 0),
        }
    }

    /// Whether alternative `i` is available.
    #[inline]
    pub(crate) fn available(&self, i: usize) -> bool {
        self.offset.is_none_or(|b| b[i] != f64::NEG_INFINITY)
    }

    /// The row that the features of choice set `s` are taken about, so that what they have in common costs no digits. Of one choice set it is
    /// one that was chosen, amid the rows or the choices: the first or the last may be unlike all others. Else, and of a part of a whole, it
    /// is the first that is available.
    pub(crate) fn origin(&self, s: usize) -> usize {
        let rows = self.set(s);
        if self.set_count() == 1 && self.part.is_none() {
            let units = self.shape().units;
            let chosen = |u: usize| self.entries(u).find(|e| e.1 > 0.0 && self.unit_weight(u) > 0.0).map(|e| e.0);
            if let Some(i) = (units / 2..units).chain(0..units / 2).find_map(chosen) {
                return i;
            }
        }
        rows.clone().find(|&i| self.available(i)).unwrap_or(rows.start)
    }

    /// The choice set of row `i`.
    pub fn set_of(&self, i: usize) -> usize {
        self.sets.map_or(0, |o| o.partition_point(|&first| first <= i) - 1)
    }

    /// Weight of unit `u`.
    #[inline]
    pub fn unit_weight(&self, u: usize) -> f64 {
        match self.choices {
            Choices::Counts(n) => n[u],
            Choices::SparseCounts { counts, .. } => counts[u],
            Choices::Units { weights, .. } => weights.map_or(1.0, |w| w[u]),
        }
    }

    /// The rows that unit `u` chose, with multiplicities.
    #[inline]
    pub fn entries(&self, u: usize) -> impl Iterator<Item = (usize, f64)> + 'a {
        let choices = self.choices;
        let range = match choices {
            Choices::Units { indptr, .. } => indptr[u]..indptr[u + 1],
            _ => u..u + 1,
        };
        range.map(move |e| match choices {
            Choices::Counts(_) => (e, 1.0),
            Choices::SparseCounts { indices, .. } => (indices[e], 1.0),
            Choices::Units { indices, counts, .. } => (indices[e], counts.map_or(1.0, |c| c[e])),
        })
    }
}

fn check_offsets(name: &'static str, offsets: &[usize], end: usize) -> Result<()> {
    match offsets {
        [] | [_] => Err(Error::new(ErrorKind::Empty, name)),
        [first, ..] if *first != 0 => Err(Error::new(ErrorKind::OutOfRange, name).at(0)),
        [.., last] if *last != end => Err(Error::shape(name, end, *last).at(offsets.len() - 1)),
        _ => match (1..offsets.len()).find(|&i| offsets[i] < offsets[i - 1]) {
            Some(i) => Err(Error::new(ErrorKind::OutOfRange, name).at(i)),
            None => Ok(()),
        },
    }
}

/// What all counts are together, which are finite and at least 0.
fn check_counts(name: &'static str, counts: &[f64]) -> Result<CountTotals> {
    let totals = count_totals(Isa::for_checks(), counts);
    if totals.good {
        return Ok(totals);
    }
    match counts.iter().position(|c| !(*c >= 0.0 && c.is_finite())) {
        Some(i) if counts[i] < 0.0 && counts[i].is_finite() => Err(Error::new(ErrorKind::Negative, name).at(i)),
        Some(i) => Err(Error::new(ErrorKind::NotFinite, name).at(i)),
        None => Ok(totals),
    }
}

fn check_indices(indices: &[usize], rows: usize) -> Result<()> {
    match indices.iter().position(|i| *i >= rows) {
        Some(i) => Err(Error::new(ErrorKind::OutOfRange, "indices").at(i)),
        None => Ok(()),
    }
}
