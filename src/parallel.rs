//! How a call runs: the instruction set and the threads, with pieces of fixed size and sums in a fixed order.

use crate::linalg::axpy;
use crate::simd::Isa;
use core::ops::Range;

/// Tasks that a section is split into at most: fixed, so that sums do not depend on the number of threads.
pub(crate) const TASKS: usize = 16;

/// Options of a call that do not change what it computes.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The instruction set.
    pub isa: Isa,
    /// Threads to use, at least 1. More than one needs the feature `rayon`; results are the same bits for any number.
    pub threads: usize,
}

impl Default for Context {
    fn default() -> Self {
        Context { isa: Isa::detect(), threads: 1 }
    }
}

/// Runs `body` for each of the items, on up to `threads` threads. Which thread runs which makes no difference to what they compute.
pub(crate) fn for_each<T: Send>(threads: usize, items: &mut [T], body: impl Fn(&mut T) + Sync) {
    for_each_with(threads, items, &mut [(); TASKS], |item, ()| body(item));
}

/// The same on as many threads as there are `rooms` at most, one or more, each of which has one to itself, as any of the items may have left
/// it.
pub(crate) fn for_each_with<T: Send, R: Send>(threads: usize, items: &mut [T], rooms: &mut [R], body: impl Fn(&mut T, &mut R) + Sync) {
    #[cfg(feature = "rayon")]
    if threads > 1 && items.len() > 1 && rooms.len() > 1 {
        return pool::share(threads, items, rooms, &body);
    }
    let _ = threads;
    for item in items {
        body(item, &mut rooms[0]);
    }
}

/// A task of [`sum_over`]: some of the items, and what is its own.
struct Share<'a> {
    range: Range<usize>,
    sums: &'a mut [f64],
    scratch: &'a mut [f64],
}

/// Runs `body(range, sums, scratch)` in `n` tasks, each with some of the items and with its part of `sums` and `scratch`. The sums over all
/// items, added in the order of the tasks, are left in the first part of `sums`.
pub(crate) fn sum_over(
    threads: usize,
    n: usize,
    items: usize,
    sums: &mut [f64],
    scratch: &mut [f64],
    body: impl Fn(Range<usize>, &mut [f64], &mut [f64]) + Sync,
) {
    let (length, own) = (sums.len() / n, scratch.len() / n);
    {
        let (mut sums, mut scratch) = (&mut *sums, scratch);
        let mut shares: [Option<Share<'_>>; TASKS] = [const { None }; TASKS];
        for (t, share) in shares.iter_mut().enumerate().take(n) {
            let range = t * items / n..(t + 1) * items / n;
            *share = Some(Share { range, sums: take(&mut sums, length), scratch: take(&mut scratch, own) });
        }
        for_each(threads, &mut shares[..n], |share| {
            if let Some(Share { range, sums, scratch }) = share {
                body(range.clone(), sums, scratch);
            }
        });
    }
    let (first, others) = sums.split_at_mut(length);
    others.chunks_exact(length.max(1)).for_each(|other| axpy(1.0, other, first));
}

/// Takes the first `n` numbers off, or all that are left.
pub(crate) fn take<'a, T>(values: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    let n = n.min(values.len());
    let (first, rest) = core::mem::take(values).split_at_mut(n);
    *values = rest;
    first
}

/// Items shared with threads of rayon. A section may last microseconds, less than a thread takes to wake: the caller takes items as the
/// others do, and waits for items alone that someone has begun. It takes them from the front, the others from the back, so that each is
/// likely to get those again whose data it had in its caches in the section before.
#[cfg(feature = "rayon")]
mod pool {
    use std::any::Any;
    use std::error::Error;
    use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, OnceLock, PoisonError};

    /// Callers that share items at this moment: threads that compute already get no others to help them.
    static CALLERS: AtomicUsize = AtomicUsize::new(0);
    /// Looks at the items under way before the processor is offered to others.
    const SPINS: u32 = 1 << 12;

    /// Where items are taken from.
    #[derive(Clone, Copy)]
    enum End {
        Front,
        Back,
    }

    /// Items of a section at most, and what one stands for in the upper half of [`Section::left`].
    const MOST: usize = (1 << (usize::BITS / 2)) - 1;
    const FIRST: usize = MOST + 1;

    /// One section.
    struct Section {
        items: usize,
        /// The items that nobody has: the first, and how many.
        left: AtomicUsize,
        done: AtomicUsize,
        /// Rooms that are taken: the caller has the first.
        begun: AtomicUsize,
        /// What an item panicked with.
        panic: Mutex<Option<Box<dyn Any + Send>>>,
        /// Runs an item of `work`, which lives on the caller's stack until all items are done, in a room.
        run: unsafe fn(*const (), usize, usize),
        work: *const (),
    }

    // SAFETY: `work` is a `Work` of items and rooms that are Send and of a body that is Sync, and is only used as `share` says.
    unsafe impl Send for Section {}
    // SAFETY: as above.
    unsafe impl Sync for Section {}

    struct Work<'a, T, R, F> {
        items: *mut T,
        rooms: *mut R,
        body: &'a F,
    }

    /// # Safety
    /// `work` is a `Work<T, R, F>` that lives, and nobody else has item `i` or room `r`.
    unsafe fn run<T, R, F: Fn(&mut T, &mut R)>(work: *const (), i: usize, r: usize) {
        // SAFETY: by the contract.
        unsafe {
            let work = &*work.cast::<Work<'_, T, R, F>>();
            (work.body)(&mut *work.items.add(i), &mut *work.rooms.add(r));
        }
    }

    impl Section {
        /// The next item that nobody has, from the front or from the back.
        fn next(&self, from: End) -> Option<usize> {
            let take = |left: usize| match (left & MOST, from) {
                (0, _) => None,
                (_, End::Front) => Some(left + FIRST - 1),
                (_, End::Back) => Some(left - 1),
            };
            let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
            Some(match from {
                End::Front => left / FIRST,
                End::Back => left / FIRST + (left & MOST) - 1,
            })
        }

        /// Takes items until there are none.
        fn take_part(&self, from: End, room: usize) {
            while let Some(i) = self.next(from) {
                // SAFETY: this thread alone has got i and the room, of which there is one for the caller and every helper; and the caller
                // keeps `work` until this item is done.
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| unsafe { (self.run)(self.work, i, room) })) {
                    *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
                }
                self.done.fetch_add(1, Ordering::Release);
            }
        }
    }

    /// Threads that there are, the caller's among them: it is alone where the system gives no others, which rayon, left to begin by itself,
    /// would panic at.
    fn there_are() -> usize {
        static POOL: OnceLock<bool> = OnceLock::new();
        // One that the program made before is as good.
        let begin = || rayon::ThreadPoolBuilder::new().build_global().map_or_else(|e| e.source().is_none(), |()| true);
        let pool = rayon::current_thread_index().is_some() || *POOL.get_or_init(begin);
        if pool { rayon::current_num_threads() } else { 1 }
    }

    pub fn share<T: Send, R: Send, F: Fn(&mut T, &mut R) + Sync>(threads: usize, items: &mut [T], rooms: &mut [R], body: &F) {
        debug_assert!(items.len() <= MOST);
        let workers = there_are();
        let callers = CALLERS.fetch_add(1, Ordering::Relaxed) + 1;
        let free = workers.saturating_sub(callers);
        let helpers = (threads.min(items.len()).min(rooms.len()) - 1).min(free);
        let work = Work { items: items.as_mut_ptr(), rooms: rooms.as_mut_ptr(), body };
        let section = Arc::new(Section {
            items: items.len(),
            left: AtomicUsize::new(items.len()),
            done: AtomicUsize::new(0),
            begun: AtomicUsize::new(1),
            panic: Mutex::new(None),
            run: run::<T, R, F>,
            work: (&raw const work).cast(),
        });
        for _ in 0..helpers {
            let section = section.clone();
            // One that wakes when all items are taken finds none, and touches nothing but the section.
            rayon::spawn(move || section.take_part(End::Back, section.begun.fetch_add(1, Ordering::Relaxed)));
        }
        section.take_part(End::Front, 0);
        let mut looks = 0;
        while section.done.load(Ordering::Acquire) < section.items {
            looks += 1;
            if looks < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        CALLERS.fetch_sub(1, Ordering::Relaxed);
        let panic = section.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

#[cfg(all(test, feature = "rayon"))]
mod tests {
    use super::{for_each, for_each_with};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_item_is_run_once_however_many_call_at_a_time() {
        std::thread::scope(|scope| {
            for threads in [2, 3, 7, 2, 2, 5, 2, 2] {
                scope.spawn(move || {
                    for n in 0..200 {
                        let mut items = vec![0; n % 23];
                        for_each(threads, &mut items, |x| *x += 1);
                        assert!(items.iter().all(|x| *x == 1));
                    }
                });
            }
        });
    }

    /// However many threads there are, and rooms.
    #[test]
    fn no_two_threads_are_in_one_room() {
        for (threads, rooms) in [(2, 16), (16, 2), (5, 5), (1, 1), (7, 1)] {
            for n in 0..100 {
                let (mut items, mut rooms) = (vec![0; n % 17], vec![(false, 0); rooms]);
                for_each_with(threads, &mut items, &mut rooms, |x, (taken, count)| {
                    assert!(!std::mem::replace(taken, true));
                    *x += 1;
                    *count += 1;
                    for _ in 0..n {
                        std::hint::spin_loop();
                    }
                    assert!(std::mem::replace(taken, false));
                });
                assert!(items.iter().all(|x| *x == 1));
                assert_eq!(rooms.iter().map(|(_, count)| count).sum::<usize>(), items.len());
            }
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_after_all_items() {
        let run = AtomicUsize::new(0);
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for_each(2, &mut [0, 1, 2, 3, 4], |x| {
                run.fetch_add(1, Ordering::Relaxed);
                assert!(*x != 2, "one of them");
            });
        }));
        assert!(caught.is_err());
        assert_eq!(run.load(Ordering::Relaxed), 5);
        let mut items = [0; 9];
        for_each(2, &mut items, |x| *x = 1);
        assert_eq!(items, [1; 9]);
    }
}
