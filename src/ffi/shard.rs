//! Past one machine
//!
//! Every evaluation is a sum over rows and units. Each rank of an engine (MPI, Dask, threads of one process) describes its own part of the
//! data, and points the description to an smx_shard with a function that reduces an array over all ranks, as MPI_Allreduce does. The
//! functions of this header then work on the whole: sums and maxima are taken over the ranks inside them, and every rank returns the same
//! mixture, log-likelihood and errors. Arrays that run over rows or units are the rank's own.
//!
//! What a rank holds:
//!
//!   SMX_SPLIT_ROWS  one choice set split by its rows: some rows, with their counts. SMX_UNITS: of every unit, in the same order and
//!                   with the same weights on every rank, the choices among this rank's rows, perhaps none; `indices` count this rank's
//!                   rows from 0.
//!   SMX_SPLIT_SETS  whole choice sets and the units that choose in them: a panel split by units, counts over many sets. Or one choice
//!                   set that every rank has whole, and some of its units.
//!
//! A rank may have no choices and no units, but at least one row. A shard that is the whole (`total_rows` rows) is none: its function is
//! called twice, when the data are checked.
//!
//! Rules:
//!
//! - All ranks call the same functions with the same options, whitenings, mixtures and sizes K, in the same order. Every call begins with a
//!   comparison: where they differ all ranks return SMX_DISAGREEMENT. (`threads`, `progress` and `user` are each rank's own.)
//! - The function reduces on the thread that called the library, one call at a time, in the same order with the same `op` and `len` on
//!   every rank. What it leaves in `buffer` must be the same bits on every rank. All ranks run the same build of the library on the same
//!   kind of processor; where their instruction sets differ they get SMX_DISAGREEMENT too.
//! - A rank that finds its own arguments wrong (a NaN in its features, a small workspace) returns that error, and all others SMX_REMOTE; but
//!   where its `data` or `shard` is NULL or has a wrong `struct_size`, or there is no `reduce`, it can tell nobody, and the others wait. A
//!   rank that cannot even call, say because it could not read its file, calls smx_shard_agree in place of the call. Errors found on the
//!   way, such as logits that overflow, are the same on all ranks. After SMX_PANIC on a rank end the job.
//! - When the function returns something else than 0, the call returns SMX_REDUCTION and calls it no more; so should it on the other ranks.
//! - The progress function of smx_fit is called on every rank; the fit is cancelled on all when one of them asks for it.
//! - Latent moments are SMX_UNSUPPORTED. The starts of smx_fit are random atoms, relocations, and where units make several choices random
//!   partitions.
//!
//! What is sent for one evaluation, in doubles: C is K, or K times the starts that run side by side while starts race.
//!
//!   SMX_SPLIT_ROWS             1 + C maxima, and sums of C, 2 C + 1 (a start each while they race) and C L
//!   SMX_SPLIT_ROWS, SMX_UNITS  1 + C maxima, and sums of C, U C, C and C L; smx_evaluate, where any rank wants arrays over units, U C more
//!   SMX_SPLIT_SETS             1 maximum, and sums of 2 C + 1 and C L
//!
//! That is 8 (L + 4) K + 16 bytes for counts, however many rows there are. A call begins with 5 maxima, and with 5 maxima and 7 sums for
//! the data; whitening sums L L; a step of EM sends C L twice and 2 C more a trial, and with Newton's M-step C L L; a Newton step of
//! smx_fit K L L and about (K L)^2, its other steps on counts sums of 2 K + 1 and K L, and at most twice about K^4 / 2; every call of the
//! progress function 1.

use super::call::{Fault, Hook, Result, Struct, enter};
use super::status::*;
use crate::error::{Error, ErrorKind};
use crate::reduce::{Shard, Split};
use core::ffi::c_void;

/// What is done with the numbers of all ranks, entry by entry.
pub type smx_reduce_op = i32;
/// The largest. Never asked of a NaN; minus infinity occurs.
pub const SMX_REDUCE_MAX: smx_reduce_op = 1;
/// The sum. NaN and infinities must go through.
pub const SMX_REDUCE_SUM: smx_reduce_op = 2;

/// Replaces every entry of `buffer` by the maximum or the sum over all ranks; 0 when that worked. `len` is at least 1, and may be larger
/// than what fits an int. It must return: no longjmp, no C++ exception.
pub type smx_reduce_fn = Option<unsafe extern "C-unwind" fn(state: *mut c_void, op: smx_reduce_op, buffer: *mut f64, len: usize) -> i32>;

/// Along what the whole is split.
pub type smx_split = i32;
/// One choice set by its rows.
pub const SMX_SPLIT_ROWS: smx_split = 1;
/// By choice sets, or by the units of one that every rank has whole.
pub const SMX_SPLIT_SETS: smx_split = 2;

/// One rank of a distributed run. Fill it after smx_shard_init; smx_data points to it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_shard {
    /// sizeof(smx_shard), set by smx_shard_init.
    pub struct_size: usize,
    /// The reduction; must be there.
    pub reduce: smx_reduce_fn,
    /// Handed to `reduce`.
    pub state: *mut c_void,
    /// SMX_SPLIT_ROWS or SMX_SPLIT_SETS.
    pub split: smx_split,
    /// Zero.
    pub reserved: i32,
    /// A number that other ranks do not have: they draw random numbers for units of their own by it.
    pub rank: u64,
    /// The sum of `rows` over all ranks.
    pub total_rows: usize,
    /// The sum of U over all ranks: of `rows` for SMX_COUNTS, of `entries` for SMX_SPARSE_COUNTS, of `units` for SMX_UNITS; but `units`
    /// itself where a choice set of SMX_UNITS is split by rows.
    pub total_units: usize,
}

impl Struct for smx_shard {
    fn blank() -> Self {
        smx_shard {
            struct_size: size_of::<Self>(),
            reduce: None,
            state: core::ptr::null_mut(),
            split: 0,
            reserved: 0,
            rank: 0,
            total_rows: 0,
            total_units: 0,
        }
    }
}

impl smx_shard {
    /// The hook, as soon as there is one.
    pub(super) fn hook(&self) -> Result<Hook> {
        match self.reduce {
            Some(reduce) => Ok(Hook::new(reduce, self.state)),
            None => Err(Fault::new(SMX_NULL, "reduce")),
        }
    }

    pub(super) fn split(&self) -> Result<Split> {
        match (self.split, self.reserved) {
            (SMX_SPLIT_ROWS, 0) => Ok(Split::Rows),
            (SMX_SPLIT_SETS, 0) => Ok(Split::Sets),
            (_, 0) => Err(Fault::new(SMX_INVALID_OPTION, "split")),
            _ => Err(Fault::new(SMX_INVALID_OPTION, "reserved")),
        }
    }
}

/// Fills a shard with zeros and its size.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_shard_init(shard: *mut smx_shard, struct_size: usize) -> smx_status {
    // SAFETY: the caller vouches for `struct_size` bytes at `shard`.
    super::call::guard(|| unsafe { Struct::init(shard, struct_size, "shard") })
}

/// Agrees on the success of something that every rank did on its own, before it calls a function of this library together with the others.
///
/// @param shard of which only `reduce` and `state` count
/// @param status SMX_OK, or a negative status: what went wrong here
/// @param error may be NULL
/// @return SMX_OK when all ranks said so; else `status` on those that did not, and SMX_REMOTE on the others
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_shard_agree(shard: *const smx_shard, status: smx_status, error: *mut smx_error) -> smx_status {
    // SAFETY: the header has the caller vouch for the structs.
    unsafe {
        enter(error, |call| {
            let hook = call.description("shard", shard)?.hook()?;
            // From here on an error is told to the other ranks.
            let hook = call.hook.get_or_init(|| hook);
            call.disjoint()?;
            // A number that is no status is an error of its own, of which the others hear all the same.
            let status = if status > SMX_OK { SMX_INVALID_OPTION } else { status };
            let here = if status == SMX_OK { Ok(()) } else { Err(Error::new(ErrorKind::InvalidOption, "status")) };
            let agreed = Shard::new(hook, Split::Sets, 0).agree(here);
            match status {
                SMX_OK => Ok(agreed?),
                status => Err(Fault::new(status, "status")),
            }
        })
    }
}
