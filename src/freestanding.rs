//! What a library without Rust's standard library needs to be one by itself: where panics go, and an allocator that has nothing.
//!
//! Functions that take a workspace never allocate, so the allocator satisfies the linker and keeps the promise: whatever asks it for
//! memory gets none. A panic is a defect of the library; it is handed to `smx_panic` of the program, which must not return.

use core::alloc::{GlobalAlloc, Layout};
use core::panic::PanicInfo;

unsafe extern "C" {
    /// The program's end after a defect of the library: to reset, to halt, or to leave by longjmp. `line` is where, in the file whose name
    /// is the `length` bytes at `file` (no zero at the end).
    fn smx_panic(file: *const u8, length: usize, line: u32) -> !;
}

struct Nothing;

// SAFETY: null is what an allocator without memory returns; nothing is ever given back.
unsafe impl GlobalAlloc for Nothing {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        core::ptr::null_mut()
    }

    unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
}

#[global_allocator]
static NOTHING: Nothing = Nothing;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let (file, line) = info.location().map_or(("", 0), |place| (place.file(), place.line()));
    // SAFETY: the program defines the function as documented; the name lives for ever.
    unsafe { smx_panic(file.as_ptr(), file.len(), line) }
}

/// The personality that unwinders ask for frames. Nothing unwinds here: a call of the program's function that must not be left by unwinding
/// names it in its tables, and nobody reads them.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}
