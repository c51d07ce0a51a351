//! Features in single precision for the early phase of a fit: half the memory to read.
//!
//! Rows are stored as differences from the origin, which changes no choice probability: a common shift costs no digits.

use crate::data::{Data, Features, Shape};
use crate::error::Result;
use crate::evaluate::blocks;
use crate::parallel::{Context, TASKS, for_each, take};
use crate::simd::all_finite;
use crate::whiten::Whitening;
use crate::workspace::{Workspace, WorkspaceSize, filled};
use core::mem::MaybeUninit;
use core::ops::Range;

/// The variance of features below which differences of them are no normal numbers in single precision, or lose digits.
const LEAST: f64 = 1e-60;
/// Numbers converted at once, while they are in the first cache.
const BLOCK: usize = 1 << 12;

/// Workspace of [`single_copy`].
pub(crate) fn single_copy_workspace(shape: &Shape) -> WorkspaceSize {
    WorkspaceSize::of::<f32>(shape.rows.saturating_mul(shape.columns))
}

/// Some of the rows, where they go, and whether all of them are within the range.
#[derive(Default)]
struct Piece<'a> {
    rows: Range<usize>,
    out: &'a mut [MaybeUninit<f32>],
    finite: bool,
}

/// Data of one choice set with features in single precision; `None` where they are that already, or where one is beyond its range or
/// a column below it.
pub(crate) fn single_copy<'a, 'd: 'a, 'w: 'a>(
    data: &Data<'d>,
    wh: &Whitening<'_>,
    ctx: Context,
    ws: &mut Workspace<'w>,
) -> Result<Option<Data<'a>>> {
    let features = data.features();
    let (p, l, first) = (features.rows(), features.columns(), data.origin(0));
    let small = (0..l).any(|j| (f64::MIN_POSITIVE..LEAST).contains(&wh.covariance[j * (l + 1)]));
    if small || features.epsilon() >= f32::EPSILON as f64 {
        return Ok(None);
    }
    let room = ws.room::<f32>(p * l)?;
    let mut left = &mut *room;
    let mut pieces: [Piece<'_>; TASKS] = Default::default();
    for (j, piece) in pieces.iter_mut().enumerate() {
        let rows = j * p / TASKS..(j + 1) * p / TASKS;
        let out = take(&mut left, rows.len() * l);
        *piece = Piece { rows, out, finite: true };
    }
    for_each(ctx.threads, &mut pieces, |Piece { rows, out, finite }| {
        let mut left = &mut **out;
        for rows in blocks(rows.clone(), (BLOCK / l).max(1)) {
            let out = filled(take(&mut left, rows.len() * l), 0.0);
            features.differences(ctx.isa, rows, first, out);
            *finite &= all_finite(ctx.isa, out);
        }
    });
    if !pieces.iter().all(|piece| piece.finite) {
        return Ok(None);
    }
    // SAFETY: the pieces are all of the rows, and their blocks are filled one and all.
    let copy = unsafe { &*(core::ptr::from_mut(room) as *const [f32]) };
    let data: Data<'a> = *data;
    Ok(Some(data.with_features(Features::row_major(copy, p, l)?)))
}
