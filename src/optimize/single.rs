//! Features in single precision for the early phase of a fit: half the memory to read.
//!
//! Rows are stored as differences from the first available row of their choice set, which changes no choice probability: a common shift costs no digits.

use crate::data::{Data, Features, Shape};
use crate::error::Result;
use crate::evaluate::blocks;
use crate::workspace::{Workspace, WorkspaceSize};

/// Numbers converted at once, and room for a row at least.
const BLOCK: usize = 1 << 12;

fn scratch(columns: usize) -> usize {
    columns.max(BLOCK)
}

/// Workspace of [`single_copy`].
pub(crate) fn single_copy_workspace(shape: &Shape) -> WorkspaceSize {
    WorkspaceSize::of::<f32>(shape.rows.saturating_mul(shape.columns)).and(WorkspaceSize::of::<f64>(scratch(shape.columns)))
}

/// The data with features in single precision; `None` where they are that already, or where one is beyond its range.
pub(crate) fn single_copy<'a, 'd: 'a, 'w: 'a>(data: &Data<'d>, ws: &mut Workspace<'w>) -> Result<Option<Data<'a>>> {
    let (p, l) = (data.features().rows(), data.features().columns());
    if data.features().epsilon() >= f32::EPSILON as f64 {
        return Ok(None);
    }
    let copy = ws.fill(p * l, 0.0f32)?;
    let rows = ws.f64s(scratch(l))?;
    let mut finite = true;
    for set in 0..data.set_count() {
        let first = data.first_available(set);
        for range in blocks(data.set(set), rows.len() / l) {
            let rows = &mut rows[..range.len() * l];
            data.features().differences(range.clone(), first, rows);
            let mut largest = 0.0f32;
            for (to, from) in copy[range.start * l..range.end * l].iter_mut().zip(&*rows) {
                *to = *from as f32;
                largest = if to.abs() > largest { to.abs() } else { largest };
            }
            finite &= largest < f32::INFINITY;
        }
    }
    if !finite {
        return Ok(None);
    }
    let data: Data<'a> = *data;
    Ok(Some(data.with_features(Features::row_major(&*copy, p, l)?)))
}
