//! Versions, statuses and errors
//!
//! Every function that can fail returns a status: SMX_OK, or a negative number that will never change its meaning. A fit that did not
//! converge is not an error: see smx_fit_result. Where a function takes an `error`, it may be NULL, or point to a record
//! made by smx_error_init, which then says what was wrong and where: in which argument, at which row, column and class.

use super::call::{Fault, Struct, guard};
use crate::error::{Error, ErrorKind, describe};
use core::ffi::{CStr, c_char};
use core::fmt::{self, Write};

/// Major version of this header.
pub const SMX_VERSION_MAJOR: u32 = 0;
/// Minor version of this header.
pub const SMX_VERSION_MINOR: u32 = 1;
/// Patch level of this header.
pub const SMX_VERSION_PATCH: u32 = 0;

const _: () = {
    const fn number(s: &str) -> u32 {
        let (s, mut n, mut i) = (s.as_bytes(), 0, 0);
        while i < s.len() {
            n = 10 * n + (s[i] - b'0') as u32;
            i += 1;
        }
        n
    }
    assert!(SMX_VERSION_MAJOR == number(env!("CARGO_PKG_VERSION_MAJOR")));
    assert!(SMX_VERSION_MINOR == number(env!("CARGO_PKG_VERSION_MINOR")));
    assert!(SMX_VERSION_PATCH == number(env!("CARGO_PKG_VERSION_PATCH")));
};

/// What a function says about its call: SMX_OK, or one of the negative numbers below. Take unknown ones for failures.
pub type smx_status = i32;

/// All is well.
pub const SMX_OK: smx_status = 0;
/// A NaN or an infinity where a finite number must stand, or logits that overflow.
pub const SMX_NOT_FINITE: smx_status = -10;
/// A negative number where a count or a weight must stand.
pub const SMX_NEGATIVE: smx_status = -20;
/// An empty choice set, a unit without a choice, no rows, no classes, no choices: all counts or all weights of units are 0.
pub const SMX_EMPTY: smx_status = -30;
/// Two sizes that must agree do not: `needed` and `given`.
pub const SMX_SHAPE: smx_status = -40;
/// An index or an offset outside its range or out of order; of "features", a column whose squares overflow or underflow: take another unit.
pub const SMX_OUT_OF_RANGE: smx_status = -50;
/// Sizes whose product no memory holds.
pub const SMX_OVERFLOW: smx_status = -60;
/// More classes than units with a positive weight: at most `needed`, `given` asked for.
pub const SMX_TOO_MANY_CLASSES: smx_status = -70;
/// Mixing weights that do not sum to one within 1e-8.
pub const SMX_NOT_ON_SIMPLEX: smx_status = -80;
/// The workspace is too small: `needed` and `given` bytes.
pub const SMX_WORKSPACE: smx_status = -90;
/// An option outside its range, or a number that names no member of its list.
pub const SMX_INVALID_OPTION: smx_status = -100;
/// Not defined for data of this layout, or not there on this machine.
pub const SMX_UNSUPPORTED: smx_status = -110;
/// The estimating equations have no usable solution at these data.
pub const SMX_ILL_POSED: smx_status = -120;
/// Every alternative of a choice set is unavailable, or an unavailable alternative was chosen.
pub const SMX_UNAVAILABLE: smx_status = -130;
/// Another rank of a distributed run reported an error.
pub const SMX_REMOTE: smx_status = -140;
/// The reduction hook failed: it returned something else than 0.
pub const SMX_REDUCTION: smx_status = -150;
/// The ranks of a distributed run call different functions, or the same with different arguments.
pub const SMX_DISAGREEMENT: smx_status = -160;
/// A pointer that may not be NULL is.
pub const SMX_NULL: smx_status = -200;
/// A pointer is not aligned for its type. (A workspace may have any alignment.)
pub const SMX_ALIGNMENT: smx_status = -210;
/// Memory to be written overlaps other memory of the call. An error record that does is left as it was; overlap is not looked for where an
/// array would be larger than any memory.
pub const SMX_ALIAS: smx_status = -220;
/// The first field of a struct is not a size this library knows: see "Structs" above.
pub const SMX_STRUCT_SIZE: smx_status = -230;
/// A defect of the library, caught: outputs are unspecified. Please report it. Only in builds with Rust's standard library;
/// others call smx_panic of the program.
pub const SMX_PANIC: smx_status = -900;

/// "Not known", for the places in smx_error: the largest size_t.
///
/// cbindgen:ignore
pub const SMX_NONE: usize = usize::MAX;

/// What went wrong, and where.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct smx_error {
    /// sizeof(smx_error), set by smx_error_init.
    pub struct_size: usize,
    /// The status that the function returned.
    pub status: smx_status,
    /// Zero.
    pub reserved: i32,
    /// Row of the features, or position in a one-dimensional array; SMX_NONE when not known.
    pub row: usize,
    /// Column of the features; SMX_NONE when not known.
    pub column: usize,
    /// Class; SMX_NONE when not known.
    pub class_index: usize,
    /// The size or number that is needed; SMX_NONE when not known.
    pub needed: usize,
    /// The size or number that was given; SMX_NONE when not known.
    pub given: usize,
    /// Name of the argument, field or option at fault (`weights` are mixing weights where `class_index` is known, else those of units), of a
    /// quantity that they made no number ("log-likelihood", "logits", "penalty", "gradient", "information", "products", "product", "moments"),
    /// or "ranks" where others are at fault; ended by a zero.
    pub argument: [c_char; 32],
}

impl Struct for smx_error {
    fn blank() -> Self {
        let none = SMX_NONE;
        smx_error {
            struct_size: size_of::<Self>(),
            status: SMX_OK,
            reserved: 0,
            row: none,
            column: none,
            class_index: none,
            needed: none,
            given: none,
            argument: [0; 32],
        }
    }
}

impl smx_error {
    pub(super) fn record(fault: &Fault) -> Self {
        let mut e = Self::blank();
        let place = |i: Option<usize>| i.unwrap_or(SMX_NONE);
        e.status = fault.status;
        (e.row, e.column, e.class_index) = (place(fault.error.row), place(fault.error.column), place(fault.error.class));
        (e.needed, e.given) = fault.error.sizes.unwrap_or((SMX_NONE, SMX_NONE));
        for (c, byte) in e.argument[..31].iter_mut().zip(fault.error.argument.bytes()) {
            *c = byte as c_char;
        }
        e
    }
}

/// The statuses of the crate's own errors, there and back.
macro_rules! statuses {
    ($($kind:ident => $status:ident,)*) => {
        pub(super) fn status_of(kind: ErrorKind) -> smx_status {
            match kind {
                $(ErrorKind::$kind => $status,)*
            }
        }

        fn kind_of(status: smx_status) -> Option<ErrorKind> {
            match status {
                $($status => Some(ErrorKind::$kind),)*
                _ => None,
            }
        }
    };
}

statuses! {
    NotFinite => SMX_NOT_FINITE,
    Negative => SMX_NEGATIVE,
    Empty => SMX_EMPTY,
    Shape => SMX_SHAPE,
    OutOfRange => SMX_OUT_OF_RANGE,
    Overflow => SMX_OVERFLOW,
    TooManyClasses => SMX_TOO_MANY_CLASSES,
    NotOnSimplex => SMX_NOT_ON_SIMPLEX,
    Workspace => SMX_WORKSPACE,
    InvalidOption => SMX_INVALID_OPTION,
    Unsupported => SMX_UNSUPPORTED,
    IllPosed => SMX_ILL_POSED,
    Unavailable => SMX_UNAVAILABLE,
    Remote => SMX_REMOTE,
    Reduction => SMX_REDUCTION,
    Disagreement => SMX_DISAGREEMENT,
}

/// A status in words: those of the kind of error, where it is one of the crate's own.
fn message(status: smx_status) -> &'static CStr {
    match status {
        SMX_OK => c"all is well",
        // In C of an instruction set too.
        SMX_UNSUPPORTED => c"not defined for data of this layout, or not on this machine",
        SMX_NULL => c"null pointer",
        SMX_ALIGNMENT => c"pointer not aligned for its type",
        SMX_ALIAS => c"overlaps other memory of the call",
        SMX_STRUCT_SIZE => c"struct of an unknown size",
        SMX_PANIC => c"defect of the library",
        _ => kind_of(status).map_or(c"unknown status", ErrorKind::c_message),
    }
}

/// Version of the library at hand: major * 1000000 + minor * 1000 + patch.
///
/// While the major version is 0, a program needs the minor version it was built with; from 1 on, one not older.
#[unsafe(no_mangle)]
pub extern "C" fn smx_version() -> u32 {
    SMX_VERSION_MAJOR * 1_000_000 + SMX_VERSION_MINOR * 1_000 + SMX_VERSION_PATCH
}

/// Version of the library at hand as text, such as "0.1.0".
#[unsafe(no_mangle)]
pub extern "C" fn smx_version_string() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// A status in words: static text, never NULL, whatever the number.
#[unsafe(no_mangle)]
pub extern "C" fn smx_status_message(status: smx_status) -> *const c_char {
    message(status).as_ptr()
}

/// Fills an error record with "no error", ready for any call.
///
/// @param error what to fill
/// @param struct_size sizeof(smx_error) as the program knows it
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_error_init(error: *mut smx_error, struct_size: usize) -> smx_status {
    // SAFETY: the caller vouches for `struct_size` bytes at `error`.
    guard(|| unsafe { Struct::init(error, struct_size, "error") })
}

/// Writes an error record as one line of text, such as "features: not a finite number at row 3, column 1", ended by a zero
/// and cut where the buffer ends.
///
/// @return the length of the whole text without the zero, as snprintf does; 0, and an empty text, where the record is NULL or unusable.
/// `buffer` may be NULL when `size` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn smx_error_format(error: *const smx_error, buffer: *mut c_char, size: usize) -> usize {
    let mut length = 0;
    if size > 0 && !buffer.is_null() {
        // Programs print what they find there, whatever is returned. SAFETY: the caller vouches for `size` bytes.
        unsafe { buffer.write(0) };
    }
    guard(|| {
        // SAFETY: the caller vouches for a record whose first field is its size.
        let e = unsafe { Struct::read(error, "error") }?;
        if buffer.is_null() && size > 0 {
            return Err(Fault::new(SMX_NULL, "buffer"));
        }
        let mut text = Text { buffer: buffer.cast(), size, length: 0 };
        e.write(&mut text).map_err(|_| Fault::new(SMX_PANIC, "error"))?;
        if size > 0 {
            // SAFETY: `length.min(size - 1)` is inside the buffer of `size` bytes.
            unsafe { buffer.add(text.length.min(size - 1)).write(0) };
        }
        length = text.length;
        Ok(())
    });
    length
}

impl smx_error {
    fn write(&self, out: &mut dyn Write) -> fmt::Result {
        let some = |i: usize| (i != SMX_NONE).then_some(i);
        let mut name = [0u8; 32];
        let mut n = 0;
        while n < 32 && self.argument[n] != 0 {
            name[n] = self.argument[n] as u8;
            n += 1;
        }
        // The record may have been written by anybody: a name that is not text is left out.
        let name = core::str::from_utf8(&name[..n]).unwrap_or_default();
        let words = match self.status {
            SMX_OUT_OF_RANGE => ErrorKind::OutOfRange.message_of(name),
            SMX_EMPTY => ErrorKind::Empty.message_of(name),
            _ => message(self.status).to_str().unwrap_or_default(),
        };
        describe(out, name, words, [some(self.row), some(self.column), some(self.class_index)], some(self.needed).zip(some(self.given)))
    }
}

struct Text {
    buffer: *mut u8,
    size: usize,
    length: usize,
}

impl Write for Text {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for byte in s.bytes() {
            if self.length + 1 < self.size {
                // SAFETY: below `size`, the bytes that the caller vouches for; one is left for the zero.
                unsafe { self.buffer.add(self.length).write(byte) };
            }
            self.length += 1;
        }
        Ok(())
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault { status: status_of(error.kind), error }
    }
}
