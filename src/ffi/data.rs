//! Data
//!
//! Alternatives with features, grouped in choice sets, and who chose what. In all of this header p is the number of rows (alternatives),
//! L of columns (features), K of classes, and U of units (draws, persons): those who choose.
//!
//! One description serves three layouts: counts over one large choice set, units with counts over one choice set, and panels
//! of many small sets. It points to the program's memory and nothing is copied.

use super::call::{Call, Fault, Hook, Input, Result, Struct, guard};
use super::shard::{SMX_SPLIT_ROWS, smx_shard};
use super::status::*;
use crate::data::{Choices, Data, Features, Shape, Values};
use crate::error::{Error, ErrorKind};
use crate::reduce::{Shard, Split};
use core::cell::OnceCell;
use core::ffi::c_void;

/// Type of the features; all else is double. Arithmetic on float features is in double too, where it matters.
pub type smx_dtype = i32;
/// double
pub const SMX_F64: smx_dtype = 0;
/// float
pub const SMX_F32: smx_dtype = 1;

/// Layout of the choices.
pub type smx_choices = i32;
/// `counts[i]` (p numbers) says how often alternative i was chosen: it is the weight of a unit that chose i once. U is p.
pub const SMX_COUNTS: smx_choices = 0;
/// The same for some alternatives only: `indices[e]` was chosen `counts[e]` times, e < `entries`; U is `entries`.
pub const SMX_SPARSE_COUNTS: smx_choices = 1;
/// Units in compressed rows: unit u chose `indices[e]` for `indptr[u]` <= e < `indptr[u + 1]`, `counts[e]` times each.
pub const SMX_UNITS: smx_choices = 2;

/// The data of a fit. Fill it after smx_data_init; fields that are not mentioned for a layout stay zero, or `choices` is refused.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_data {
    /// sizeof(smx_data), set by smx_data_init.
    pub struct_size: usize,
    /// Features: feature l of alternative i is `features[i * row_stride + l * column_stride]`. Finite.
    pub features: *const c_void,
    /// Type of the features: SMX_F64 (default) or SMX_F32.
    pub dtype: smx_dtype,
    /// Layout of the choices: SMX_COUNTS (default), SMX_SPARSE_COUNTS or SMX_UNITS.
    pub choices: smx_choices,
    /// Alternatives p, over all choice sets; at least 1.
    pub rows: usize,
    /// Features L; at least 1.
    pub columns: usize,
    /// Elements, not bytes, from one row to the next; 0: `columns`, rows side by side.
    pub row_stride: usize,
    /// Elements from one column to the next; 0: 1. For columns side by side `row_stride` is 1 and `column_stride` is `rows`.
    pub column_stride: usize,
    /// p numbers added to the logits; minus infinity marks an alternative as not available. NULL: zeros.
    pub offset: *const f64,
    /// Choice set s holds the rows `set_offsets[s]` <= i < `set_offsets[s + 1]`: `sets` + 1 numbers from 0 to p, increasing. NULL,
    /// with `sets` 0 or 1: one choice set of all rows.
    pub set_offsets: *const usize,
    /// Choice sets; at least 1 where `set_offsets` is not NULL.
    pub sets: usize,
    /// SMX_UNITS: units U.
    pub units: usize,
    /// SMX_SPARSE_COUNTS, SMX_UNITS: length of `indices`.
    pub entries: usize,
    /// SMX_UNITS: U + 1 numbers from 0 to `entries`, not decreasing.
    pub indptr: *const usize,
    /// SMX_SPARSE_COUNTS, SMX_UNITS: rows, each below p.
    pub indices: *const usize,
    /// SMX_COUNTS: p numbers; SMX_SPARSE_COUNTS: `entries` numbers; SMX_UNITS: `entries` numbers, or NULL for ones. Not negative;
    /// zeros and fractions are allowed.
    pub counts: *const f64,
    /// SMX_UNITS: weights of the units, U numbers, not negative; NULL: ones.
    pub weights: *const f64,
    /// This description is one rank's part of a larger whole: see "Past one machine"; NULL: it is the whole.
    pub shard: *const smx_shard,
}

impl Struct for smx_data {
    const FIRST_SIZE: usize = core::mem::offset_of!(smx_data, shard);
    fn blank() -> Self {
        use core::ptr::null;
        smx_data {
            struct_size: size_of::<Self>(),
            features: null(),
            dtype: SMX_F64,
            choices: SMX_COUNTS,
            rows: 0,
            columns: 0,
            row_stride: 0,
            column_stride: 0,
            offset: null(),
            set_offsets: null(),
            sets: 0,
            units: 0,
            entries: 0,
            indptr: null(),
            indices: null(),
            counts: null(),
            weights: null(),
            shard: null(),
        }
    }
}

/// What data amount to.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_summary {
    /// sizeof(smx_summary), set by smx_summary_init.
    pub struct_size: usize,
    /// Units U, of this rank: numbers in `unit_log_likelihoods`, rows in `responsibilities`.
    pub units: usize,
    /// Units with a positive weight, over all ranks as are the two below: there may not be more classes.
    pub observed_units: usize,
    /// Choice sets, of this rank.
    pub sets: usize,
    /// Weights of the units, summed.
    pub total_weight: f64,
    /// Choices: counts times weights, summed.
    pub total_choices: f64,
}

impl Struct for smx_summary {
    fn blank() -> Self {
        smx_summary { struct_size: size_of::<Self>(), units: 0, observed_units: 0, sets: 0, total_weight: 0.0, total_choices: 0.0 }
    }
}

impl smx_data {
    /// The sizes, whatever the other pointers.
    fn shape(&self, shard: Option<&smx_shard>) -> Result<Shape> {
        let (units, units_are_rows) = match self.choices {
            SMX_COUNTS => (self.rows, true),
            SMX_SPARSE_COUNTS => (self.entries, false),
            SMX_UNITS => (self.units, false),
            _ => return Err(Fault::new(SMX_INVALID_OPTION, "choices")),
        };
        let units_are_draws = self.choices != SMX_UNITS;
        let (total_rows, total_units) = shard.map_or((self.rows, units), |s| (s.total_rows, s.total_units));
        for (name, part, whole) in [("total_rows", self.rows, total_rows), ("total_units", units, total_units)] {
            if part > whole {
                return Err(Fault::sizes(SMX_SHAPE, name, part, whole));
            }
        }
        Ok(Shape {
            rows: self.rows,
            columns: self.columns,
            sets: self.sets.max(1),
            largest_set: 0,
            grouped_rows: None,
            units,
            units_are_rows,
            units_are_draws,
            total_rows,
            total_units,
            units_are_split: !units_are_draws && total_rows > self.rows && shard.is_some_and(|s| s.split == SMX_SPLIT_ROWS),
        })
    }
}

/// The memory that a description points to, registered.
pub(super) struct Memory<'h> {
    shard_description: Option<smx_shard>,
    hook: &'h OnceCell<Hook>,
    shard: OnceCell<Shard<'h>>,
    description: smx_data,
    strides: (usize, usize),
    features: AnyFeatures,
    offset: Option<Input<f64>>,
    sets: Option<Input<usize>>,
    indptr: Option<Input<usize>>,
    indices: Option<Input<usize>>,
    counts: Option<Input<f64>>,
    weights: Option<Input<f64>>,
    /// An alternative that is available: the one choice that stands for those that are not there.
    any: OnceCell<[usize; 1]>,
}

enum AnyFeatures {
    F32(Input<f32>),
    F64(Input<f64>),
}

/// [`Data::new`], or one that checks less.
type Check<'a> = fn(Features<'a>, Option<&'a [f64]>, Option<&'a [usize]>, Choices<'a>) -> core::result::Result<Data<'a>, Error>;

impl<'h> Memory<'h> {
    /// Copies the description and registers what it points to.
    ///
    /// # Safety
    /// As for [`Struct::read`].
    pub unsafe fn new(call: &mut Call<'h>, data: *const smx_data) -> Result<Self> {
        // SAFETY: by the caller's promise.
        unsafe { Self::with_choices(call, data, true) }
    }

    /// The same for an operation to which choices do not matter: but of a shard, there may be no counts.
    ///
    /// # Safety
    /// As for [`Struct::read`].
    pub unsafe fn of_alternatives(call: &mut Call<'h>, data: *const smx_data) -> Result<Self> {
        // SAFETY: by the caller's promise.
        unsafe { Self::with_choices(call, data, false) }
    }

    /// # Safety
    /// As for [`Struct::read`].
    unsafe fn with_choices(call: &mut Call<'h>, data: *const smx_data, needed: bool) -> Result<Self> {
        // SAFETY: by the caller's promise.
        let d: smx_data = unsafe { call.description("data", data) }?;
        let mut shard_description = None;
        if !d.shard.is_null() {
            // SAFETY: by the caller's promise.
            let shard: smx_shard = unsafe { call.description("shard", d.shard) }?;
            // From here on an error is told to the other ranks.
            let hook = shard.hook()?;
            call.hook.get_or_init(|| hook);
            shard.split()?;
            d.shape(Some(&shard))?;
            shard_description = Some(shard);
        }
        let overflow = || Fault::new(SMX_OVERFLOW, "features");
        for (name, n) in [("rows", d.rows), ("columns", d.columns)] {
            if n == 0 {
                return Err(Fault::new(SMX_EMPTY, name));
            }
        }
        let strides = (if d.row_stride == 0 { d.columns } else { d.row_stride }, if d.column_stride == 0 { 1 } else { d.column_stride });
        let last = (d.rows - 1).checked_mul(strides.0).zip((d.columns - 1).checked_mul(strides.1));
        let n = last.and_then(|(a, b)| a.checked_add(b)?.checked_add(1)).ok_or_else(overflow)?;
        let features = match d.dtype {
            SMX_F64 => AnyFeatures::F64(call.input("features", d.features.cast(), n)?),
            SMX_F32 => AnyFeatures::F32(call.input("features", d.features.cast(), n)?),
            _ => return Err(Fault::new(SMX_INVALID_OPTION, "dtype")),
        };
        let offset = call.optional_input("offset", d.offset, d.rows)?;
        let sets = match (d.set_offsets.is_null(), d.sets) {
            (true, 0 | 1) => None,
            (false, 0) => return Err(Fault::new(SMX_EMPTY, "sets")),
            (_, sets) => {
                let n = sets.checked_add(1).ok_or_else(|| Fault::new(SMX_OVERFLOW, "sets"))?;
                Some(call.input("set_offsets", d.set_offsets, n)?)
            }
        };
        let mut memory = Memory {
            shard_description,
            hook: call.hook,
            shard: OnceCell::new(),
            description: d,
            strides,
            features,
            offset,
            sets,
            indptr: None,
            indices: None,
            counts: None,
            weights: None,
            any: OnceCell::new(),
        };
        // What another layout is made of tells that `choices` was forgotten: `counts` would be read as what it is not.
        let has_units = !d.indptr.is_null() || !d.weights.is_null() || d.units > 0;
        let has_entries = !d.indices.is_null() || d.entries > 0;
        if match d.choices {
            SMX_COUNTS => (has_units || has_entries) && (needed || !d.counts.is_null()),
            SMX_SPARSE_COUNTS => has_units,
            _ => false,
        } {
            return Err(Fault::new(SMX_INVALID_OPTION, "choices"));
        }
        match d.choices {
            SMX_COUNTS if d.counts.is_null() && !needed && d.shard.is_null() => {}
            SMX_COUNTS => memory.counts = Some(call.input("counts", d.counts, d.rows)?),
            SMX_SPARSE_COUNTS => {
                memory.indices = Some(call.input("indices", d.indices, d.entries)?);
                memory.counts = Some(call.input("counts", d.counts, d.entries)?);
            }
            SMX_UNITS => {
                let n = d.units.checked_add(1).ok_or_else(|| Fault::new(SMX_OVERFLOW, "units"))?;
                memory.indptr = Some(call.input("indptr", d.indptr, n)?);
                memory.indices = Some(call.input("indices", d.indices, d.entries)?);
                memory.counts = call.optional_input("counts", d.counts, d.entries)?;
                memory.weights = call.optional_input("weights", d.weights, d.units)?;
            }
            _ => return Err(Fault::new(SMX_INVALID_OPTION, "choices")),
        }
        Ok(memory)
    }

    pub fn columns(&self) -> usize {
        self.description.columns
    }

    pub fn rows(&self) -> usize {
        self.description.rows
    }

    pub fn shape(&self) -> Result<Shape> {
        self.description.shape(self.shard_description.as_ref())
    }

    /// The data, checked; of a shard, by all ranks together.
    ///
    /// # Safety
    /// As for [`Input::get`].
    pub unsafe fn data<'a>(&'a self) -> Result<Data<'a>> {
        // SAFETY: by the caller's promise.
        unsafe { self.checked(Data::new) }
    }

    /// The data for an operation that finds by itself whether features are finite; of a shard they are looked at before.
    ///
    /// # Safety
    /// As for [`Input::get`].
    pub unsafe fn data_unseen<'a>(&'a self) -> Result<Data<'a>> {
        // SAFETY: by the caller's promise.
        unsafe { self.checked(Data::unseen) }
    }

    /// # Safety
    /// As for [`Input::get`].
    unsafe fn checked<'a>(&'a self, check: Check<'a>) -> Result<Data<'a>> {
        // SAFETY: by the caller's promise.
        Ok(unsafe { self.named_in_rust(check).map_err(|e| self.named_in_c(e)) }?)
    }

    /// An error of the data with the field of `smx_data` that its place is in.
    ///
    /// # Safety
    /// As for [`Input::get`].
    unsafe fn named_in_c(&self, e: Error) -> Error {
        let d = &self.description;
        // SAFETY: by the caller's promise.
        let no_weights = self.weights.as_ref().is_some_and(|w| unsafe { w.get() }.iter().all(|w| *w == 0.0));
        let argument = match (e.argument, e.kind) {
            ("sets", _) => "set_offsets",
            ("units", _) => "indptr",
            ("choices", ErrorKind::Unavailable) if d.choices != SMX_COUNTS => "indices",
            ("choices", ErrorKind::Empty) if no_weights => "weights",
            ("choices", _) if !d.counts.is_null() => "counts",
            ("choices", _) if !d.weights.is_null() => "weights",
            ("choices", _) => "indices",
            (name, _) => name,
        };
        Error { argument, ..e }
    }

    /// # Safety
    /// As for [`Input::get`].
    unsafe fn named_in_rust<'a>(&'a self, check: Check<'a>) -> core::result::Result<Data<'a>, Error> {
        // SAFETY: by the caller's promise, here and below.
        let values = unsafe {
            match &self.features {
                AnyFeatures::F32(x) => Values::F32(x.get()),
                AnyFeatures::F64(x) => Values::F64(x.get()),
            }
        };
        let d = &self.description;
        let features = Features::strided(values, d.rows, d.columns, self.strides.0, self.strides.1)?;
        // SAFETY: as above.
        let numbers = |x: &Option<Input<f64>>| x.as_ref().map(|x| unsafe { x.get() });
        // SAFETY: as above.
        let sizes = |x: &Option<Input<usize>>| x.as_ref().map(|x| unsafe { x.get() });
        let counts = numbers(&self.counts);
        let (indptr, indices) = (sizes(&self.indptr).unwrap_or(&[]), sizes(&self.indices).unwrap_or(&[]));
        let (offset, sets) = (numbers(&self.offset), sizes(&self.sets));
        let available = || offset.and_then(|b| b.iter().position(|b| *b != f64::NEG_INFINITY)).unwrap_or(0);
        let choices = match (d.choices, counts) {
            (SMX_COUNTS, Some(counts)) => Choices::Counts(counts),
            (SMX_COUNTS, None) => Choices::SparseCounts { indices: self.any.get_or_init(|| [available()]), counts: &[1.0] },
            (SMX_SPARSE_COUNTS, _) => Choices::SparseCounts { indices, counts: counts.unwrap_or(&[]) },
            _ => Choices::Units { indptr, indices, counts, weights: numbers(&self.weights) },
        };
        let (Some(description), Some(hook)) = (&self.shard_description, self.hook.get()) else {
            return check(features, offset, sets, choices);
        };
        let split = if description.split == SMX_SPLIT_ROWS { Split::Rows } else { Split::Sets };
        let shard = self.shard.get_or_init(|| Shard::new(hook, split, description.rank));
        let totals = (description.total_rows, description.total_units);
        shard.data_of(Data::checked(features, offset, sets, choices, Some(split)), Some(totals))
    }
}

/// The shape behind a description of which only the sizes count. Sizes that no memory holds are refused here, so that products of
/// them are nobody's concern further on.
///
/// # Safety
/// As for [`Struct::read`].
pub(super) unsafe fn shape_of(data: *const smx_data, classes: usize) -> Result<Shape> {
    // SAFETY: by the caller's promise.
    let d: smx_data = unsafe { Struct::read(data, "data") }?;
    let shard = match d.shard.is_null() {
        true => None,
        // SAFETY: by the caller's promise.
        false => Some(unsafe { Struct::read(d.shard, "shard") }?),
    };
    let shape = d.shape(shard.as_ref())?;
    if shape.rows == 0 || shape.columns == 0 {
        return Err(Fault::new(SMX_EMPTY, "features"));
    }
    if classes == 0 {
        return Err(Fault::new(SMX_EMPTY, "classes"));
    }
    held(&shape, classes)?;
    Ok(shape)
}

/// Refuses sizes that no memory holds.
pub(super) fn held(shape: &Shape, classes: usize) -> Result<()> {
    let held = |a: usize, b: usize| a.checked_mul(b).is_some_and(|n| n <= isize::MAX as usize / size_of::<f64>());
    let l = shape.columns;
    let all = held(shape.rows, l) && held(l, l) && held(shape.rows, classes) && held(shape.units, classes) && held(shape.sets, classes);
    match all && held(l, classes) {
        true => Ok(()),
        false => Err(Fault::new(SMX_OVERFLOW, "data")),
    }
}

/// Refuses classes and sizes of a fit that are wrong whatever the data hold: before memory is compared, which sizes that are not true make
/// overlap.
pub(super) fn fitting(shape: &Shape, classes: usize) -> Result<()> {
    match shape.total_units {
        0 => Err(Fault::new(SMX_EMPTY, "choices")),
        units if classes > units => Err(Fault::sizes(SMX_TOO_MANY_CLASSES, "classes", units, classes)),
        _ => held(shape, classes),
    }
}

/// Fills a description with zeros and its size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_data_init(data: *mut smx_data, struct_size: usize) -> smx_status {
    // SAFETY: the caller vouches for `struct_size` bytes at `data`.
    guard(|| unsafe { Struct::init(data, struct_size, "data") })
}

/// Fills a summary with zeros and its size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_summary_init(summary: *mut smx_summary, struct_size: usize) -> smx_status {
    // SAFETY: the caller vouches for `struct_size` bytes at `summary`.
    guard(|| unsafe { Struct::init(summary, struct_size, "summary") })
}

/// Checks data, all of them: the status names the first thing wrong, and the record its place. Every function that takes data does this
/// first, except that smx_evaluate tells features that are not finite by what comes out, unless the data are a shard or have offsets and
/// several choice sets. Cost: one read of the features. What an operation makes of them, variances and logits, may still be beyond the
/// range of doubles.
///
/// @param data the data
/// @param summary what they amount to; may be NULL
/// @param error may be NULL
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_data_check(data: *const smx_data, summary: *mut smx_summary, error: *mut smx_error) -> smx_status {
    // SAFETY: the header has the caller vouch for every struct and array, here and below.
    unsafe {
        super::call::enter(error, |call| {
            let memory = Memory::new(call, data)?;
            let out = if summary.is_null() { None } else { Some(call.result("summary", summary)?) };
            call.disjoint()?;
            let data = memory.data()?;
            if let Some(mut out) = out {
                out.units = data.shape().units;
                out.observed_units = data.observed_units();
                out.sets = data.set_count();
                out.total_weight = data.total_weight();
                out.total_choices = data.total_choices();
                out.write(summary);
            }
            Ok(())
        })
    }
}
