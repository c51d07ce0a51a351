//! One call from C: its panics, its structs of other sizes, and its memory as ranges that must not overlap where written.

use super::status::*;
use crate::error::{Error, ErrorKind};
use crate::reduce::{Reduce, ReduceFailed, ReduceOp, Shard, Split};
use crate::workspace::{Workspace, WorkspaceSize};
use core::cell::OnceCell;
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicUsize, Ordering};

/// An error of the API: the status, and the place as the crate's own errors have it.
pub(super) struct Fault {
    pub status: smx_status,
    pub error: Error,
}

pub(super) type Result<T> = core::result::Result<T, Fault>;

impl Fault {
    #[cold]
    pub fn new(status: smx_status, argument: &'static str) -> Self {
        Fault { status, error: Error::new(ErrorKind::InvalidOption, argument) }
    }

    #[cold]
    pub fn sizes(status: smx_status, argument: &'static str, needed: usize, given: usize) -> Self {
        Fault { status, error: Error::new(ErrorKind::InvalidOption, argument).sizes(needed, given) }
    }

    /// The same of the argument `here`, which is `inside` further in.
    #[cold]
    pub fn renamed(mut self, inside: &str, here: &'static str) -> Self {
        if self.error.argument == inside {
            self.error.argument = here;
        }
        self
    }
}

/// Runs `body`; a panic is a status where there is std to catch it.
fn caught(body: impl FnOnce() -> Result<()>) -> Result<()> {
    #[cfg(feature = "std")]
    {
        // What a panic may leave half-written are outputs, which are unspecified then, and the workspace, which is garbage anyway.
        let body = std::panic::AssertUnwindSafe(body);
        std::panic::catch_unwind(body).unwrap_or_else(|payload| {
            // Dropping a payload may panic in its turn.
            core::mem::forget(payload);
            Err(Fault::new(SMX_PANIC, ""))
        })
    }
    #[cfg(not(feature = "std"))]
    body()
}

/// A call without an error record.
pub(super) fn guard(body: impl FnOnce() -> Result<()>) -> smx_status {
    match caught(body) {
        Ok(()) => SMX_OK,
        Err(fault) => fault.status,
    }
}

/// A call with an error record, which may be null.
///
/// # Safety
/// `error` is null or points to a record whose first field is its size in bytes.
pub(super) unsafe fn enter(error: *mut smx_error, body: impl FnOnce(&mut Call) -> Result<()>) -> smx_status {
    let mut size = 0;
    let hook = OnceCell::new();
    let result = caught(|| {
        let mut call = Call::new(&hook);
        if !error.is_null() {
            // SAFETY: by the caller's promise.
            match unsafe { smx_error::read(error, "error") } {
                Ok(record) => {
                    call.add("error", error.cast::<u8>(), record.struct_size, true)?;
                    size = record.struct_size;
                }
                Err(fault) => call.unusable = Some((fault.status, fault.error)),
            }
        }
        body(&mut call)
    });
    if let (Err(fault), Some(hook)) = (&result, hook.get()) {
        hook.report(fault);
    }
    let (status, mut record) = match &result {
        Ok(()) => (SMX_OK, smx_error::blank()),
        Err(fault) => (fault.status, smx_error::record(fault)),
    };
    // A record that was found to overlap other memory of the call is left alone.
    let aliased = matches!(&result, Err(f) if f.status == SMX_ALIAS && f.error.argument == "error");
    if size > 0 && !aliased {
        record.struct_size = size;
        // SAFETY: `size` is the size that `error` vouches for, read above.
        unsafe { record.write(error) };
    }
    status
}

/// The reduction of a distributed run, as the program gives it.
pub(super) struct Hook {
    reduce: unsafe extern "C-unwind" fn(*mut c_void, i32, *mut f64, usize) -> i32,
    state: *mut c_void,
    calls: AtomicUsize,
}

// SAFETY: the library calls it on the thread of the call alone; `Reduce` is shared with threads that never do.
unsafe impl Sync for Hook {}

impl Reduce for Hook {
    fn reduce(&self, op: ReduceOp, buffer: &mut [f64]) -> core::result::Result<(), ReduceFailed> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let op = if op == ReduceOp::Max { super::shard::SMX_REDUCE_MAX } else { super::shard::SMX_REDUCE_SUM };
        // SAFETY: the caller's function with the caller's pointer, and an array of the length it is told.
        match unsafe { (self.reduce)(self.state, op, buffer.as_mut_ptr(), buffer.len()) } {
            0 => Ok(()),
            _ => Err(ReduceFailed),
        }
    }
}

impl Hook {
    pub fn new(reduce: unsafe extern "C-unwind" fn(*mut c_void, i32, *mut f64, usize) -> i32, state: *mut c_void) -> Self {
        Hook { reduce, state, calls: AtomicUsize::new(0) }
    }

    /// Tells the other ranks of an error that they cannot know of: one before the data were agreed on, which is the first call, or after
    /// their sums, which are the second, and before the operation itself began, which does so with the third.
    fn report(&self, fault: &Fault) {
        let known = matches!(fault.status, SMX_PANIC | SMX_REDUCTION | SMX_REMOTE | SMX_DISAGREEMENT);
        if !known && matches!(self.calls.load(Ordering::Relaxed), 0 | 2) {
            // The error of this rank stands, whatever the others answer.
            let _ = Shard::new(self, Split::Sets, 0).agree(Err::<(), _>(fault.error));
        }
    }
}

/// A struct of the API: its first field is its size as the program knows it.
pub(super) trait Struct: Copy {
    /// The size of the first version: programs cannot have a smaller one. A struct that gains fields at its end sets this to the
    /// `offset_of!` of the first of them.
    const FIRST_SIZE: usize = size_of::<Self>();
    /// Defaults, with our size.
    fn blank() -> Self;

    /// A copy of the caller's struct, fields that it does not know having their defaults.
    ///
    /// # Safety
    /// `p` is null, or points to a struct of this type (of any version) whose first field is its size in bytes.
    unsafe fn read(p: *const Self, name: &'static str) -> Result<Self> {
        check_pointer(p, name)?;
        // SAFETY: aligned and not null; every version begins with its size.
        let size = unsafe { p.cast::<usize>().read() };
        check_struct_size::<Self>(size, name)?;
        let mut s = Self::blank();
        let known = size.min(size_of::<Self>());
        // SAFETY: `known` bytes are inside both; structs of the API are plain numbers and pointers, good for any bytes.
        unsafe { core::ptr::copy_nonoverlapping(p.cast::<u8>(), (&raw mut s).cast::<u8>(), known) };
        for i in known..size {
            // SAFETY: inside the `size` bytes that the caller vouches for.
            if unsafe { p.cast::<u8>().add(i).read() } != 0 {
                return Err(Fault::sizes(SMX_STRUCT_SIZE, name, size_of::<Self>(), size));
            }
        }
        Ok(s)
    }

    /// [`Struct::read`], or the defaults where the pointer is null.
    ///
    /// # Safety
    /// As for [`Struct::read`].
    unsafe fn read_or_blank(p: *const Self, name: &'static str) -> Result<Self> {
        match p.is_null() {
            true => Ok(Self::blank()),
            // SAFETY: by the caller's promise.
            false => unsafe { Self::read(p, name) },
        }
    }

    /// Writes back as much as the caller's struct holds.
    ///
    /// # Safety
    /// `p` is what `read` was given, and the first field is what it was.
    unsafe fn write(&self, p: *mut Self) {
        // SAFETY: the first field of `self` was copied from there, and promises that many bytes.
        unsafe {
            let size = (&raw const *self).cast::<usize>().read();
            core::ptr::copy_nonoverlapping((&raw const *self).cast::<u8>(), p.cast::<u8>(), size.min(size_of::<Self>()));
        }
    }

    /// Defaults, in a struct of `size` bytes; what this library does not know is zero.
    ///
    /// # Safety
    /// `p` is null or points to `size` bytes.
    unsafe fn init(p: *mut Self, size: usize, name: &'static str) -> Result<()> {
        check_pointer(p, name)?;
        check_struct_size::<Self>(size, name)?;
        let mut s = Self::blank();
        // SAFETY: the first field is the size; `size` bytes at `p` by the caller's promise, at least one usize.
        unsafe {
            (&raw mut s).cast::<usize>().write(size);
            p.cast::<u8>().write_bytes(0, size);
            s.write(p);
        }
        Ok(())
    }
}

/// No struct will ever be larger: a first field beyond it was never set.
const LARGEST: usize = 4096;

fn check_struct_size<S: Struct>(size: usize, name: &'static str) -> Result<()> {
    // Those of every version since the first end where a field does.
    match (S::FIRST_SIZE..=LARGEST).contains(&size) && size % align_of::<S>() == 0 {
        true => Ok(()),
        false => Err(Fault::sizes(SMX_STRUCT_SIZE, name, size_of::<S>(), size)),
    }
}

fn check_pointer<T>(p: *const T, name: &'static str) -> Result<()> {
    if p.is_null() {
        return Err(Fault::new(SMX_NULL, name));
    }
    match p.is_aligned() {
        true => Ok(()),
        false => Err(Fault::new(SMX_ALIGNMENT, name)),
    }
}

/// The bytes of an argument.
#[derive(Clone, Copy)]
pub(super) struct Range {
    name: &'static str,
    start: usize,
    end: usize,
    written: bool,
}

impl Range {
    /// Those of `n` values at `p`, where they may be.
    pub fn new<T>(name: &'static str, p: *const T, n: usize, written: bool) -> Result<Self> {
        check_pointer(p, name)?;
        let bytes = n.checked_mul(size_of::<T>()).filter(|bytes| *bytes <= isize::MAX as usize);
        let end = bytes.and_then(|bytes| p.addr().checked_add(bytes)).ok_or_else(|| Fault::new(SMX_OVERFLOW, name))?;
        Ok(Range { name, start: p.addr(), end, written })
    }

    /// Whether both overlap and one is written.
    pub fn clashes(&self, other: &Range) -> bool {
        (self.written || other.written) && self.start < other.end && other.start < self.end
    }
}

/// The memory of a call, and its hook if it has one.
pub(super) struct Call<'h> {
    pub hook: &'h OnceCell<Hook>,
    /// What is wrong with the error record, which is said at the last step: until then a rank of a distributed run does not know whom to
    /// tell.
    unusable: Option<(smx_status, Error)>,
    ranges: [Range; 32],
    len: usize,
}

impl<'h> Call<'h> {
    fn new(hook: &'h OnceCell<Hook>) -> Self {
        Call { hook, unusable: None, ranges: [Range { name: "", start: 0, end: 0, written: false }; 32], len: 0 }
    }

    /// Registers `n` values. Null only where `n` is 0.
    fn add<T>(&mut self, name: &'static str, p: *const T, n: usize, written: bool) -> Result<()> {
        if n > 0 {
            self.ranges[self.len] = Range::new(name, p, n, written)?;
            self.len += 1;
        }
        Ok(())
    }

    /// Registers `n` values that are read. Null only where `n` is 0.
    pub fn input<T>(&mut self, name: &'static str, p: *const T, n: usize) -> Result<Input<T>> {
        self.add(name, p, n, false)?;
        Ok(Input { p, n })
    }

    /// Registers `n` values that are read, or none where the pointer is null.
    pub fn optional_input<T>(&mut self, name: &'static str, p: *const T, n: usize) -> Result<Option<Input<T>>> {
        match p.is_null() {
            true => Ok(None),
            false => self.input(name, p, n).map(Some),
        }
    }

    /// Registers `n` values that are written (and may be read).
    pub fn output<T>(&mut self, name: &'static str, p: *mut T, n: usize) -> Result<Output<T>> {
        self.add(name, p, n, true)?;
        Ok(Output { p, n })
    }

    /// Registers `n` values that are written, or none where the pointer is null.
    pub fn optional_output<T>(&mut self, name: &'static str, p: *mut T, n: usize) -> Result<Option<Output<T>>> {
        match p.is_null() {
            true => Ok(None),
            false => self.output(name, p, n).map(Some),
        }
    }

    /// Copies a struct that is read, and registers it.
    ///
    /// # Safety
    /// As for [`Struct::read`].
    pub unsafe fn description<S: Struct>(&mut self, name: &'static str, p: *const S) -> Result<S> {
        // SAFETY: by the caller's promise.
        let (s, size) = unsafe { (S::read(p, name)?, p.cast::<usize>().read()) };
        self.add(name, p.cast::<u8>(), size, false)?;
        Ok(s)
    }

    /// Copies a struct that is read, or the defaults where the pointer is null.
    ///
    /// # Safety
    /// As for [`Struct::read`].
    pub unsafe fn options<S: Struct>(&mut self, name: &'static str, p: *const S) -> Result<S> {
        match p.is_null() {
            true => Ok(S::blank()),
            // SAFETY: by the caller's promise.
            false => unsafe { self.description(name, p) },
        }
    }

    /// Copies a struct that is written back at the end, and registers it.
    ///
    /// # Safety
    /// As for [`Struct::read`].
    pub unsafe fn result<S: Struct>(&mut self, name: &'static str, p: *mut S) -> Result<S> {
        // SAFETY: by the caller's promise.
        let (s, size) = unsafe { (S::read(p, name)?, p.cast::<usize>().read()) };
        self.add(name, p.cast::<u8>(), size, true)?;
        Ok(s)
    }

    /// Registers the workspace, of any alignment; null only where its size is 0.
    pub fn workspace(&mut self, p: *mut c_void, size: usize) -> Result<Output<MaybeUninit<u8>>> {
        self.output("workspace", p.cast(), size)
    }

    /// The last step before references are made: what is written overlaps nothing, and the error record is one.
    pub fn disjoint(&self) -> Result<()> {
        if let Some((status, error)) = self.unusable {
            return Err(Fault { status, error });
        }
        let ranges = &self.ranges[..self.len];
        for (i, a) in ranges.iter().enumerate() {
            for b in &ranges[..i] {
                if a.clashes(b) {
                    // The error record is named before others, since it must not be written then.
                    return Err(Fault::new(SMX_ALIAS, if b.name == "error" { b.name } else { a.name }));
                }
            }
        }
        Ok(())
    }
}

/// Values that are read.
pub(super) struct Input<T> {
    p: *const T,
    n: usize,
}

impl<T> Input<T> {
    /// # Safety
    /// After [`Call::disjoint`], while the call lasts: the header makes the caller vouch for `n` values at `p` that nobody writes.
    pub unsafe fn get<'a>(&self) -> &'a [T] {
        match self.n {
            0 => &[],
            // SAFETY: not null, aligned, and of a size that fits, by `Call::input`; valid by the caller's promise.
            n => unsafe { core::slice::from_raw_parts(self.p, n) },
        }
    }
}

/// Values that are written.
pub(super) struct Output<T> {
    p: *mut T,
    n: usize,
}

impl<T> Output<T> {
    /// # Safety
    /// After [`Call::disjoint`], once, while the call lasts: the header makes the caller vouch for `n` values at `p` that nobody else
    /// touches. They may be uninitialised where they are only written.
    pub unsafe fn get<'a>(&self) -> &'a mut [T] {
        match self.n {
            0 => &mut [],
            // SAFETY: not null, aligned, and of a size that fits, by `Call::output`; exclusive by `disjoint` and the caller's promise.
            n => unsafe { core::slice::from_raw_parts_mut(self.p, n) },
        }
    }
}

impl Output<MaybeUninit<u8>> {
    /// Refuses a workspace that is too small.
    pub fn holds(&self, needed: WorkspaceSize) -> Result<()> {
        match self.n >= needed.bytes() {
            true => Ok(()),
            false if needed.bytes() == usize::MAX => Err(Fault::new(SMX_OVERFLOW, "workspace")),
            false => Err(Fault::sizes(SMX_WORKSPACE, "workspace", needed.bytes(), self.n)),
        }
    }

    /// The workspace, which must have all the bytes that were asked for, even where its alignment happens to need fewer.
    ///
    /// # Safety
    /// As for [`Output::get`].
    pub unsafe fn lend<'a>(&self, needed: WorkspaceSize) -> Result<Workspace<'a>> {
        self.holds(needed)?;
        // SAFETY: by the caller's promise.
        Ok(Workspace::new(unsafe { self.get() }))
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_a_status_and_a_record() {
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        let mut record = smx_error::blank();
        // SAFETY: the record is ours, and whole.
        let status = unsafe { enter(&mut record, |_| panic!("injected")) };
        std::panic::set_hook(hook);
        assert_eq!((status, record.status), (SMX_PANIC, SMX_PANIC));
    }
}
