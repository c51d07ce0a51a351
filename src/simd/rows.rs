//! The view of a block of rows that the products read.

/// A block of rows: row-major, `stride` values from one row to the next, columns side by side.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T> {
    /// At least `(rows - 1) * stride + columns` values.
    pub values: &'a [T],
    /// Number of rows.
    pub rows: usize,
    /// Number of columns.
    pub columns: usize,
    /// Values from one row to the next, at least `columns`.
    pub stride: usize,
}

impl<'a, T> Rows<'a, T> {
    /// Row `i`.
    #[inline(always)]
    pub fn row(&self, i: usize) -> &'a [T] {
        &self.values[i * self.stride..][..self.columns]
    }

    /// How many of `rows` rows from row `start` on may be read up to column `end`, which may lie past the last one: what follows a row is the
    /// next one, if they stand side by side.
    #[inline(always)]
    pub(super) fn readable(&self, start: usize, rows: usize, end: usize) -> usize {
        let left = self.values.len().saturating_sub(start * self.stride);
        match () {
            _ if end <= self.columns => rows,
            _ if self.stride == self.columns && end <= left => rows.min((left - end) / self.stride + 1),
            _ => 0,
        }
    }

    /// Whether every row lies inside `values`: what the vector kernels rely on.
    pub(super) fn fits(&self) -> bool {
        let Some(last) = self.rows.checked_sub(1) else { return true };
        last.checked_mul(self.stride).and_then(|start| start.checked_add(self.columns)).is_some_and(|end| end <= self.values.len())
    }
}

/// Whether `columns` columns of `rows` numbers each, the first of them `ld` apart, lie inside `len` numbers: what the vector kernels rely
/// on.
pub(super) fn columns_fit(columns: usize, ld: usize, rows: usize, len: usize) -> bool {
    let Some(last) = columns.checked_sub(1) else { return true };
    ld >= rows && last.checked_mul(ld).and_then(|start| start.checked_add(rows)).is_some_and(|end| end <= len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_readable_as_far_as_there_are_values() {
        let values = [0.0; 32];
        let side_by_side = Rows { values: &values, rows: 6, columns: 5, stride: 5 };
        // From row 0 on: row 5 is 25..30, and two values follow.
        assert_eq!([4, 5, 7, 8, 12, 13].map(|end| side_by_side.readable(0, 6, end)), [6, 6, 6, 5, 5, 4]);
        assert_eq!([5, 7, 8, 13].map(|end| side_by_side.readable(4, 2, end)), [2, 2, 1, 0]);
        assert_eq!(side_by_side.readable(0, 6, 40), 0);
        let apart = Rows { values: &values, rows: 6, columns: 4, stride: 5 };
        assert_eq!([4, 5].map(|end| apart.readable(0, 6, end)), [6, 0]);
    }
}
