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

    /// Whether every row lies inside `values`: what the vector kernels rely on.
    pub(super) fn fits(&self) -> bool {
        let Some(last) = self.rows.checked_sub(1) else { return true };
        last.checked_mul(self.stride).and_then(|start| start.checked_add(self.columns)).is_some_and(|end| end <= self.values.len())
    }
}
