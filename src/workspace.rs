//! Scratch memory of the caller: asked for by `…_workspace(shape)`, carved by the operations, never allocated by them.

use crate::error::{Error, ErrorKind, Result};
use core::mem::{MaybeUninit, size_of};

/// Every piece is a multiple of a cache line, so that only the first one needs aligning.
const LINE: usize = 64;

/// The size of a workspace in bytes, valid for any alignment of its first byte.
///
/// Sizes saturate: a shape that overflows gives `usize::MAX`, which no workspace has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WorkspaceSize(usize);

impl WorkspaceSize {
    /// Nothing.
    pub const EMPTY: Self = WorkspaceSize(0);

    /// Room for `n` values of type `T`.
    pub const fn of<T>(n: usize) -> Self {
        let bytes = n.saturating_mul(size_of::<T>());
        WorkspaceSize(bytes.saturating_add(LINE - 1) & !(LINE - 1) | if bytes > usize::MAX - LINE { usize::MAX } else { 0 })
    }

    /// Room for both at the same time.
    pub const fn and(self, other: Self) -> Self {
        WorkspaceSize(self.0.saturating_add(other.0))
    }

    /// Room for one or the other.
    pub const fn or(self, other: Self) -> Self {
        WorkspaceSize(if self.0 > other.0 { self.0 } else { other.0 })
    }

    /// The bytes to provide, with the slack that an unaligned first byte may need; `usize::MAX` for more than any object can have.
    pub const fn bytes(self) -> usize {
        match self.0 {
            0 => 0,
            n if n > isize::MAX as usize - LINE => usize::MAX,
            n => n + LINE - 1,
        }
    }
}

/// A stack of scratch memory. What it hands out lives as long as the memory does; `scope` gives the rest back.
#[derive(Debug)]
pub struct Workspace<'w> {
    bytes: &'w mut [MaybeUninit<u8>],
}

impl<'w> Workspace<'w> {
    /// A workspace over the caller's bytes, whatever they hold and however they are aligned.
    pub fn new(bytes: &'w mut [MaybeUninit<u8>]) -> Self {
        Workspace { bytes }
    }

    /// Fails unless the workspace holds at least `size`; with `Overflow` where nothing does.
    pub fn require(&self, size: WorkspaceSize) -> Result<()> {
        let slack = self.bytes.as_ptr().align_offset(LINE);
        match size.0 == 0 || self.bytes.len().checked_sub(slack).is_some_and(|n| n >= size.0) {
            true => Ok(()),
            false if size.bytes() == usize::MAX => Err(Error::new(ErrorKind::Overflow, "workspace")),
            false => Err(Error::new(ErrorKind::Workspace, "workspace").sizes(size.bytes(), self.bytes.len())),
        }
    }

    /// The same memory for a shorter time.
    pub fn scope(&mut self) -> Workspace<'_> {
        Workspace { bytes: self.bytes }
    }

    /// Room for `n` values, taken off the stack, holding whatever it held.
    pub fn room<T: Copy>(&mut self, n: usize) -> Result<&'w mut [MaybeUninit<T>]> {
        const { assert!(align_of::<T>() <= LINE) };
        let size = WorkspaceSize::of::<T>(n);
        self.require(size)?;
        let slack = self.bytes.as_ptr().align_offset(LINE);
        let bytes = core::mem::take(&mut self.bytes);
        if size.0 == 0 {
            self.bytes = bytes;
            return Ok(&mut []);
        }
        let (piece, rest) = bytes[slack..].split_at_mut(size.0);
        self.bytes = rest;
        // SAFETY: `piece` is aligned to a line, so to T; it has room for n values of T by the computation of `size`, which did not saturate
        // since `require` found that many bytes; nothing is said of what it holds; and it is handed out once, for the lifetime of the
        // memory.
        unsafe { Ok(core::slice::from_raw_parts_mut(piece.as_mut_ptr().cast::<MaybeUninit<T>>(), n)) }
    }

    /// `n` copies of `value`, taken off the stack.
    pub fn fill<T: Copy>(&mut self, n: usize, value: T) -> Result<&'w mut [T]> {
        Ok(filled(self.room(n)?, value))
    }

    /// `n` zeros of f64, taken off the stack.
    pub fn f64s(&mut self, n: usize) -> Result<&'w mut [f64]> {
        self.fill(n, 0.0)
    }

    /// A stack of its own of the given size, taken off this one.
    pub(crate) fn split(&mut self, size: WorkspaceSize) -> Result<Workspace<'w>> {
        self.require(size)?;
        let slack = self.bytes.as_ptr().align_offset(LINE);
        let length = size.0 + if size.0 > 0 { slack } else { 0 };
        let (piece, rest) = core::mem::take(&mut self.bytes).split_at_mut(length);
        self.bytes = rest;
        Ok(Workspace { bytes: piece })
    }

    /// What is left, as bytes.
    pub fn rest(self) -> &'w mut [MaybeUninit<u8>] {
        self.bytes
    }
}

/// Writes `value` everywhere.
pub(crate) fn filled<T: Copy>(room: &mut [MaybeUninit<T>], value: T) -> &mut [T] {
    room.iter_mut().for_each(|r| {
        r.write(value);
    });
    // SAFETY: every value was just written.
    unsafe { &mut *(core::ptr::from_mut(room) as *mut [T]) }
}

/// The values as they stand if they have been `written` before, which costs nothing, else 0: for those who write them all, or do not look
/// at the rest.
///
/// # Safety
/// If `written`, all must have been.
pub(crate) unsafe fn written_or_zero(room: &mut [MaybeUninit<f64>], written: bool) -> &mut [f64] {
    match written {
        // SAFETY: by the contract.
        true => unsafe { &mut *(core::ptr::from_mut(room) as *mut [f64]) },
        false => filled(room, 0.0),
    }
}

/// Numbers that are written as far as they are asked for, and not before: pages of memory that no one needs stay untouched.
#[derive(Debug, Default)]
pub(crate) struct Numbers<'w> {
    room: &'w mut [MaybeUninit<f64>],
    /// How many are written, from the first on.
    written: usize,
    /// How many have ever been.
    reached: usize,
}

impl<'w> Numbers<'w> {
    pub fn new(room: &'w mut [MaybeUninit<f64>]) -> Self {
        Numbers { room, written: 0, reached: 0 }
    }

    /// How many there may be.
    pub fn capacity(&self) -> usize {
        self.room.len()
    }

    /// Takes all away to be written, by way of [`filled`]; [`Numbers::give_back`] returns them.
    pub fn take(&mut self) -> &'w mut [MaybeUninit<f64>] {
        self.written = 0;
        core::mem::take(&mut self.room)
    }

    /// # Safety
    /// `room` must be what [`Numbers::take`] returned, of which [`Numbers::reached`] goes on to speak, and its first `written` must have
    /// been written.
    pub unsafe fn give_back(&mut self, room: &'w mut [MaybeUninit<f64>], written: usize) {
        assert!(written <= room.len());
        (self.room, self.written) = (room, written);
        self.reached = self.reached.max(written);
    }

    /// How many have been written ever since the workspace was lent, with whatever values.
    pub fn reached(&self) -> usize {
        self.reached
    }

    /// Sees to it that the first `n` are written: as they stand, or 0 one and all.
    pub fn ensure(&mut self, n: usize) {
        if self.written < n {
            self.zero(n);
        }
    }

    /// Writes 0 to the first `n`.
    pub fn zero(&mut self, n: usize) {
        filled(&mut self.room[..n], 0.0);
        self.written = n;
        self.reached = self.reached.max(n);
    }
}

impl core::ops::Deref for Numbers<'_> {
    type Target = [f64];
    fn deref(&self) -> &[f64] {
        // SAFETY: the first `written` are, by the only two functions that set it to more than 0.
        unsafe { &*(core::ptr::from_ref(&self.room[..self.written]) as *const [f64]) }
    }
}

impl core::ops::DerefMut for Numbers<'_> {
    fn deref_mut(&mut self) -> &mut [f64] {
        // SAFETY: as above.
        unsafe { &mut *(core::ptr::from_mut(&mut self.room[..self.written]) as *mut [f64]) }
    }
}

/// A workspace of its own: allocated once, lent to any number of operations.
#[cfg(feature = "alloc")]
#[derive(Debug)]
pub struct WorkspaceBuffer(alloc::vec::Vec<MaybeUninit<u8>>);

#[cfg(feature = "alloc")]
impl WorkspaceBuffer {
    /// Allocates `size`; an error when the allocator has not that much.
    pub fn new(size: WorkspaceSize) -> Result<Self> {
        let mut bytes = alloc::vec::Vec::new();
        bytes.try_reserve_exact(size.bytes()).map_err(|_| Error::new(ErrorKind::Workspace, "workspace").sizes(size.bytes(), 0))?;
        // SAFETY: MaybeUninit<u8> needs no initialisation, and the capacity was reserved just above.
        unsafe { bytes.set_len(size.bytes()) };
        Ok(WorkspaceBuffer(bytes))
    }

    /// Lends the memory.
    pub fn lend(&mut self) -> Workspace<'_> {
        Workspace::new(&mut self.0)
    }
}

/// `n` copies of `value`; an error when the allocator has not that much, where `vec!` would end the program.
#[cfg(feature = "alloc")]
pub(crate) fn owned<T: Clone>(name: &'static str, n: usize, value: T) -> Result<alloc::vec::Vec<T>> {
    let mut values = alloc::vec::Vec::new();
    values.try_reserve_exact(n).map_err(|_| Error::new(ErrorKind::Workspace, name).sizes(n.saturating_mul(size_of::<T>()), 0))?;
    values.resize(n, value);
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_alignment_of_the_first_byte_is_enough_and_one_byte_less_is_not() {
        let size = WorkspaceSize::of::<f64>(3).and(WorkspaceSize::of::<u8>(1)).and(WorkspaceSize::of::<usize>(9));
        let mut memory = [MaybeUninit::<u8>::uninit(); 1024];
        for start in 0..130 {
            let mut ws = Workspace::new(&mut memory[start..start + size.bytes()]);
            ws.require(size).unwrap();
            let a = ws.f64s(3).unwrap();
            let b = ws.fill(1, 7u8).unwrap();
            let c = ws.fill(9, 5usize).unwrap();
            assert_eq!((a[2], b[0], c[8]), (0.0, 7, 5));
        }
        let aligned = memory.as_ptr().align_offset(LINE) + 1;
        let short = Workspace::new(&mut memory[aligned..aligned + size.bytes() - 1]).require(size).unwrap_err();
        assert_eq!(short.sizes, Some((size.bytes(), size.bytes() - 1)));
    }

    #[test]
    fn sizes_saturate() {
        assert_eq!(WorkspaceSize::of::<f64>(usize::MAX).and(WorkspaceSize::of::<f64>(8)).bytes(), usize::MAX);
        assert_eq!(WorkspaceSize::of::<u8>(usize::MAX - 3).bytes(), usize::MAX);
        assert_eq!(WorkspaceSize::of::<f64>(0).bytes(), 0);
    }
}
