//! Bytes as a call of the C API: which function, on what data, with what is wrong about them. Whatever the bytes, the answer must be a
//! known status other than SMX_PANIC, the error record must say the same, and where the call failed nothing that it could write may have
//! changed.
//!
//! Every array is a block of its own of exactly the length that the header asks for, so that AddressSanitizer sees each step outside;
//! without it, guards at both ends do. Lengths that the program states must be true, so sizes are small or so huge that they overflow.

use softmix::ffi::*;
use std::alloc::{Layout, alloc, dealloc};
use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::null_mut;

/// The largest array that is made, in elements.
const MOST: usize = 1 << 14;
/// The largest workspace that is made, in bytes; where more is asked for, the call gets too little.
const LARGEST: usize = 1 << 22;
#[allow(unexpected_cfgs)] // cargo-fuzz sets it
const GUARD: usize = if cfg!(fuzzing) { 0 } else { 64 };

/// The input, byte by byte; zeros after its end.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// True in one of 32 cases: what makes a call wrong must be rare for calls to go deep.
    fn rarely(&mut self) -> bool {
        self.byte() >= 248
    }

    /// The last byte of all: what came to be asked later, so that older inputs still say what they said.
    fn last(&mut self) -> u8 {
        let (last, rest) = self.0.split_last().unwrap_or((&0, &[]));
        self.0 = rest;
        *last
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(self.byte()) % n
    }

    /// Any size there is: small, near a power of two, or the largest.
    fn any_size(&mut self) -> usize {
        let (kind, value) = (self.byte(), self.byte());
        match kind {
            0..=99 => usize::from(value),
            100..=239 => (1usize << (value % 64)).wrapping_add(usize::from(kind % 3)).wrapping_sub(1),
            _ => usize::MAX / (1 + usize::from(value)),
        }
    }

    /// From `least` to below `least + n`, rarely 0, or a size that overflows.
    fn size(&mut self, least: usize, n: usize) -> usize {
        match self.byte() {
            byte @ 0..=247 => least + usize::from(byte) % n,
            248..=251 => 0,
            252 => usize::MAX,
            253 => usize::MAX / 2,
            254 => usize::MAX / 8 + 1,
            255 => n + 2,
        }
    }

    /// Mostly about 1, rarely what breaks things.
    fn number(&mut self) -> f64 {
        match self.byte() {
            byte @ 0..=239 => (f64::from(byte) - 120.0) / 40.0,
            240 => f64::NAN,
            241 => f64::INFINITY,
            242 => f64::NEG_INFINITY,
            243 => f64::MAX,
            244 => f64::MIN,
            245 => f64::MIN_POSITIVE,
            246 => 5e-324,
            247 => 1e300,
            248 => -1e300,
            249 => 1e155,
            250 => 1e-155,
            251 => 1e30,
            252 => 700.0,
            253 => -750.0,
            254 => -0.0,
            255 => 1e17,
        }
    }

    fn positive(&mut self) -> f64 {
        match self.byte() {
            byte @ 0..=250 => f64::from(byte % 16),
            _ => self.number(),
        }
    }

    /// A name of a list of `n`, rarely none.
    fn name(&mut self, n: i32) -> i32 {
        match self.byte() {
            byte @ 0..=250 => i32::from(byte) % n,
            251 => -1,
            252 => n,
            253 => i32::MIN,
            254 => i32::MAX,
            255 => 77,
        }
    }
}

/// Memory of the program: one array.
struct Block {
    start: *mut u8,
    bytes: usize,
    before: Vec<u8>,
}

impl Block {
    fn layout(&self) -> Layout {
        Layout::from_size_align(self.bytes + 2 * GUARD, 64).unwrap()
    }

    fn contents(&self) -> &[u8] {
        // SAFETY: allocated with that size by `Memory::array`, and written all over.
        unsafe { std::slice::from_raw_parts(self.start.add(GUARD), self.bytes) }
    }

    /// Whether the library will not take it for a struct that says to be longer than it is: that is a lie nobody can see.
    fn is_no_false_struct(&self) -> bool {
        let first = self.contents().first_chunk().map_or(0, |first| usize::from_ne_bytes(*first));
        first <= self.bytes || first > 4096
    }

    fn guarded(&self) -> bool {
        // SAFETY: as above.
        unsafe { (0..GUARD).all(|i| *self.start.add(i) == 0xA5 && *self.start.add(GUARD + self.bytes + i) == 0xA5) }
    }
}

/// All memory of one call.
#[derive(Default)]
struct Memory(Vec<Block>);

impl Memory {
    /// Room for `n` values that `value` makes; where no such room can be, a place that must not be touched.
    fn array<T: Copy>(&mut self, n: usize, value: impl FnMut(usize) -> T) -> *mut T {
        self.block(if n > MOST { 0 } else { n }, value)
    }

    fn block<T: Copy>(&mut self, n: usize, mut value: impl FnMut(usize) -> T) -> *mut T {
        let mut block = Block { start: null_mut(), bytes: n * size_of::<T>(), before: Vec::new() };
        // SAFETY: the layout is not empty, and every byte of it is written here.
        unsafe {
            let layout = Layout::from_size_align(block.layout().size().max(1), 64).unwrap();
            block.start = alloc(layout);
            block.start.write_bytes(0xA5, block.layout().size());
            let first = block.start.add(GUARD).cast::<T>();
            (0..n).for_each(|i| first.add(i).write(value(i)));
            self.0.push(block);
            first
        }
    }

    /// The same pointer, or rarely a wrong one: null, not aligned, or that of another array which is long enough.
    fn spoiled<T>(&self, b: &mut Bytes, p: *mut T) -> *mut T {
        if !b.rarely() {
            return p;
        }
        let bytes = self.0.iter().find(|block| block.start.wrapping_add(GUARD) == p.cast()).map_or(0, |block| block.bytes);
        match b.byte() % 4 {
            0 | 1 => null_mut(),
            2 if align_of::<T>() > 1 => p.wrapping_byte_add(1),
            2 => p,
            _ => match &self.0[b.below(self.0.len())] {
                other if other.bytes >= bytes && other.is_no_false_struct() => other.start.wrapping_add(GUARD).cast(),
                _ => p,
            },
        }
    }

    fn outputs<T: Copy + Default>(&mut self, b: &mut Bytes, n: usize) -> *mut T {
        let p = self.array(n, |_| T::default());
        self.spoiled(b, p)
    }

    fn numbers(&mut self, b: &mut Bytes, n: usize) -> *mut f64 {
        let p = self.array(n, |_| b.number());
        self.spoiled(b, p)
    }

    fn snapshot(&mut self) {
        for block in &mut self.0 {
            block.before = block.contents().to_vec();
        }
    }

    fn unchanged(&self) -> bool {
        self.0.iter().all(|block| block.before == block.contents())
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for block in &self.0 {
            assert!(block.guarded(), "written outside");
            // SAFETY: allocated with this layout.
            unsafe { dealloc(block.start, Layout::from_size_align(block.layout().size().max(1), 64).unwrap()) };
        }
    }
}

/// A struct of the API in a block of its own, made by its initialiser, its size rarely wrong.
macro_rules! new {
    ($m:ident, $b:ident, $type:ident, $init:ident, |$s:ident| $fill:expr) => {{
        // SAFETY: the size is that of the room.
        let mut made = unsafe {
            let mut s = std::mem::MaybeUninit::<$type>::zeroed();
            assert_eq!($init(s.as_mut_ptr(), size_of::<$type>()), SMX_OK);
            s.assume_init()
        };
        #[allow(unused_variables)]
        let $s = &mut made;
        let () = $fill;
        if $b.rarely() {
            made.struct_size = [0, 7, size_of::<$type>() - 1, size_of::<$type>() - 8, usize::MAX][$b.below(5)];
        }
        let p = $m.array(1, |_| made);
        $m.spoiled($b, p)
    }};
}

const STATUSES: [smx_status; 22] = [
    SMX_OK,
    SMX_NOT_FINITE,
    SMX_NEGATIVE,
    SMX_EMPTY,
    SMX_SHAPE,
    SMX_OUT_OF_RANGE,
    SMX_OVERFLOW,
    SMX_TOO_MANY_CLASSES,
    SMX_NOT_ON_SIMPLEX,
    SMX_WORKSPACE,
    SMX_INVALID_OPTION,
    SMX_UNSUPPORTED,
    SMX_ILL_POSED,
    SMX_UNAVAILABLE,
    SMX_REMOTE,
    SMX_REDUCTION,
    SMX_DISAGREEMENT,
    SMX_NULL,
    SMX_ALIGNMENT,
    SMX_ALIAS,
    SMX_STRUCT_SIZE,
    SMX_PANIC,
];

/// The extent in elements of a strided matrix, or more than there can be.
fn extent(rows: usize, columns: usize, row_stride: usize, column_stride: usize) -> usize {
    let last = |n: usize, stride: usize| n.saturating_sub(1).saturating_mul(stride);
    last(rows, row_stride).saturating_add(last(columns, column_stride)).saturating_add(usize::from(rows > 0 && columns > 0))
}

/// Whether a length is one that arrays have here, or one that overflows whatever its type.
fn honest(n: usize) -> bool {
    !(MOST + 1..=isize::MAX as usize / 4).contains(&n)
}

struct World {
    rows: usize,
    columns: usize,
    units: usize,
    data: *mut smx_data,
    /// What the reduction of a shard is told; its address is in the data.
    ranks: Box<Ranks>,
}

/// The other ranks of a run.
struct Ranks {
    /// How many there are, all with the same data as this one.
    ranks: f64,
    /// How often the reduction works in one call of the library before it fails.
    works: u32,
    /// How often it still does.
    left: Cell<u32>,
    /// What it then leaves in the place of numbers, if it does not say that it failed.
    rubbish: Option<f64>,
}

unsafe extern "C-unwind" fn reduce(state: *mut c_void, op: smx_reduce_op, buffer: *mut f64, len: usize) -> i32 {
    assert!(len > 0 && [SMX_REDUCE_MAX, SMX_REDUCE_SUM].contains(&op));
    // SAFETY: the state is `Ranks`; the library lends the buffer.
    let (ranks, buffer) = unsafe { (&*state.cast::<Ranks>(), std::slice::from_raw_parts_mut(buffer, len)) };
    assert!(op == SMX_REDUCE_SUM || buffer.iter().all(|x| !x.is_nan()), "the largest of NaN is asked for");
    let left = ranks.left.get();
    assert!(left > 0 || ranks.rubbish.is_some(), "called again after it failed");
    ranks.left.set(left.saturating_sub(1));
    match (ranks.left.get(), ranks.rubbish) {
        (0, None) => return 1,
        (0, Some(value)) => buffer.fill(value),
        _ if op == SMX_REDUCE_SUM => buffer.iter_mut().for_each(|x| *x *= ranks.ranks),
        _ => {}
    }
    0
}

/// A shard in one of four cases: one of several ranks that hold the same, of which all goes well or something does not.
fn shard(m: &mut Memory, b: &mut Bytes, rows: usize, units: usize) -> (*const smx_shard, Box<Ranks>) {
    let (kind, calls, more) = (b.last(), b.last(), b.last());
    let rubbish = (kind & 0x30 == 0x30).then(|| Bytes(&[more]).number());
    let ranks = 1 + usize::from(kind >> 6);
    let calls = if kind & 0x10 == 0 { u32::MAX } else { 1 + u32::from(calls) };
    let state = Box::new(Ranks { ranks: ranks as f64, works: calls, left: Cell::new(calls), rubbish });
    if kind & 3 != 3 {
        return (std::ptr::null(), state);
    }
    let made = new!(m, b, smx_shard, smx_shard_init, |s| {
        s.reduce = if b.rarely() { None } else { Some(reduce) };
        s.state = (&raw const *state).cast_mut().cast();
        s.split = if b.rarely() { b.name(4) } else { 1 + i32::from(kind & 4 != 0) };
        s.reserved = i32::from(b.rarely());
        s.rank = u64::from(more);
        (s.total_rows, s.total_units) = (rows.saturating_mul(ranks), units.saturating_mul(ranks));
        if b.rarely() {
            s.total_rows = b.any_size();
        }
        if b.rarely() {
            s.total_units = b.any_size();
        }
        if more & 1 == 1 && s.split == SMX_SPLIT_ROWS {
            s.total_units = units;
        }
    });
    (made, state)
}

/// Data of any layout.
fn describe(m: &mut Memory, b: &mut Bytes) -> Option<World> {
    let (rows, columns) = (b.size(1, 12), b.size(1, 4));
    let single = b.name(2);
    let choices = b.name(3);
    let (row_stride, column_stride) = match b.below(8) {
        0 => (1, rows.clamp(1, 32)),
        1 => (columns.saturating_add(1), 1),
        2 => (b.size(0, 3), b.size(0, 3)),
        _ => (0, 0),
    };
    let n = extent(rows, columns, if row_stride == 0 { columns } else { row_stride }, column_stride.max(1));
    let features: *mut c_void =
        if single == SMX_F32 { m.array(n, |_| b.number() as f32).cast() } else { m.array(n, |_| b.number()).cast() };
    let features = m.spoiled(b, features.cast::<f64>()).cast::<c_void>();
    let offset = if b.below(4) == 0 { m.numbers(b, rows) } else { null_mut() };
    let sets = if b.below(2) == 0 { 0 } else { b.size(1, 4) };
    let set_offsets = if sets == 0 {
        null_mut()
    } else {
        let p = m.array(sets.saturating_add(1), |s| if b.rarely() { b.size(0, 14) } else { rows.saturating_mul(s) / sets.max(1) });
        m.spoiled(b, p)
    };
    let (units, entries) = match choices {
        SMX_UNITS => (b.size(1, 5), b.size(1, 10)),
        SMX_SPARSE_COUNTS => (0, b.size(1, 10)),
        _ => (0, 0),
    };
    let indptr = m.array(units.saturating_add(1), |u| if b.rarely() { b.size(0, 12) } else { entries.saturating_mul(u) / units.max(1) });
    let indptr = m.spoiled(b, indptr);
    let indices = m.array(entries, |_| if b.rarely() { b.size(0, 16) } else { b.below(rows.clamp(1, 255)) });
    let indices = m.spoiled(b, indices);
    let many = if choices == SMX_COUNTS { rows } else { entries };
    let counts = m.array(many, |_| b.positive());
    let counts = if choices == SMX_UNITS && b.below(2) == 0 { null_mut() } else { m.spoiled(b, counts) };
    let weights = if choices == SMX_UNITS && b.below(2) == 0 { m.array(units, |_| b.positive()) } else { null_mut() };
    if ![n, rows, columns, units, entries, sets].into_iter().all(honest) {
        return None;
    }
    let all_units = match choices {
        SMX_UNITS => units,
        SMX_SPARSE_COUNTS => entries,
        _ => rows,
    };
    let (shard, ranks) = shard(m, b, rows, all_units);
    let data = new!(m, b, smx_data, smx_data_init, |d| {
        (d.features, d.dtype, d.choices) = (features, single, choices);
        (d.rows, d.columns, d.row_stride, d.column_stride) = (rows, columns, row_stride, column_stride);
        (d.offset, d.set_offsets, d.sets) = (offset, set_offsets, sets);
        (d.units, d.entries, d.indptr, d.indices) = (units, entries, indptr, indices);
        (d.counts, d.weights, d.shard) = (counts, weights, shard);
    });
    Some(World { rows, columns, units: all_units, data, ranks })
}

/// Weights on the simplex, or rarely not, and atoms.
fn mixture(m: &mut Memory, b: &mut Bytes, classes: usize, columns: usize) -> (*mut f64, *mut f64) {
    let k = classes.clamp(1, 64);
    let mut values: Vec<f64> = (0..k).map(|_| f64::from(b.byte() % 8)).collect();
    let sum: f64 = values.iter().sum();
    values.iter_mut().for_each(|w| *w = if sum > 0.0 { *w / sum } else { 1.0 / k as f64 });
    if b.rarely() {
        values[0] = b.number();
    }
    let weights = m.array(classes, |i| values[i % k]);
    let atoms = m.numbers(b, classes.saturating_mul(columns));
    (m.spoiled(b, weights), atoms)
}

/// A whitening: the library's own, or any numbers.
fn whitening(m: &mut Memory, b: &mut Bytes, w: &World, found: bool) -> *mut smx_whitening {
    let l = w.columns;
    let square = l.saturating_mul(l);
    let matrices = [(); 3].map(|_| m.array(square, |_| 0.0f64));
    // None of them spoiled before the library's own whitening is there: it would write what is not checked to be a struct.
    let flags = m.array(l, |_| 0u8);
    let mut rank = l;
    if found {
        // SAFETY: arrays and structs are as long as they say.
        unsafe {
            let mut own = std::mem::MaybeUninit::<smx_whitening>::zeroed().assume_init();
            assert_eq!(smx_whitening_init(&mut own, size_of::<smx_whitening>()), SMX_OK);
            [own.covariance, own.to_atoms, own.from_atoms] = matrices;
            own.unidentified = flags;
            let size = smx_whiten_workspace(w.data);
            let size = if size > LARGEST { 0 } else { size };
            let ws = m.block(size, |_| 0x5Au8);
            w.ranks.left.set(w.ranks.works);
            let known = smx_whiten(w.data, std::ptr::null(), &mut own, ws.cast(), size, null_mut()) == SMX_OK;
            rank = if known { own.rank } else { rank };
            if (!known || b.rarely()) && square <= MOST {
                rank = b.size(0, 4);
                for matrix in matrices {
                    (0..square).for_each(|i| matrix.add(i).write(b.number()));
                }
            }
        }
    }
    let [covariance, to, from] = matrices.map(|matrix| m.spoiled(b, matrix));
    let flags = m.spoiled(b, flags);
    new!(m, b, smx_whitening, smx_whitening_init, |s| {
        (s.columns, s.rank) = if found { (l, rank) } else { (0, 0) };
        (s.covariance, s.to_atoms, s.from_atoms, s.unidentified) = (covariance, to, from, flags);
    })
}

unsafe extern "C-unwind" fn watch(progress: *const smx_progress, user: *mut c_void) -> i32 {
    // SAFETY: smx_fit lends a progress, and hands on the counter below.
    let (now, calls) = unsafe { (&*progress, &mut *user.cast::<u32>()) };
    assert!(now.struct_size == size_of::<smx_progress>() && now.classes > 0 && !now.best.is_nan());
    assert!(*calls > 0, "called again after it asked for an end");
    *calls -= 1;
    i32::from(*calls == 0)
}

fn fit_options(m: &mut Memory, b: &mut Bytes, classes: usize, columns: usize, calls: *mut u32) -> *mut smx_fit_options {
    if b.below(8) == 0 {
        // Defaults, of which a million evaluations is one, may take too long for one input of many: few of them are asked for then.
        return null_mut();
    }
    let start = if b.below(4) == 0 { mixture(m, b, classes, columns) } else { (null_mut(), null_mut()) };
    let grow = if b.below(4) == 0 { mixture(m, b, classes.wrapping_sub(1), columns) } else { (null_mut(), null_mut()) };
    new!(m, b, smx_fit_options, smx_fit_options_init, |o| {
        o.threads = if b.rarely() { 0 } else { 1 };
        o.isa = b.name(5);
        o.reserved = i32::from(b.rarely());
        o.ridge = if b.below(2) == 0 { 0.0 } else { b.positive() };
        o.seed = u64::from(b.byte());
        o.starts = b.size(1, 3);
        (o.start_weights, o.start_atoms) = start;
        (o.grow_weights, o.grow_atoms) = grow;
        o.max_evaluations = if b.rarely() { 0 } else { 1 + u64::from(b.byte()) / 4 };
        o.gradient_tolerance = if b.rarely() { b.number() } else { 1e-6 };
        if b.below(2) == 0 {
            o.progress = Some(watch);
            o.user = calls.cast();
        }
    })
}

fn run_options(m: &mut Memory, b: &mut Bytes) -> *mut smx_run_options {
    match b.below(2) {
        0 => null_mut(),
        _ => new!(m, b, smx_run_options, smx_run_options_init, |o| {
            o.threads = if b.rarely() { 0 } else { 1 };
            o.isa = b.name(5);
            o.reserved = i32::from(b.rarely());
        }),
    }
}

/// A workspace of the size asked for, rarely one byte less.
fn workspace(m: &mut Memory, b: &mut Bytes, size: usize) -> (*mut c_void, usize) {
    let size = if size > LARGEST { 64 } else { size };
    let size = if b.rarely() { size.saturating_sub(1) } else { size };
    let shift = b.below(3);
    // Of bytes, since it may have any alignment; not among the arrays, since it may change.
    let p = m.block(size + shift, |_| 0x5Au8);
    let unspoiled = p.wrapping_add(shift);
    (if b.rarely() { null_mut() } else { unspoiled.cast() }, size)
}

/// One call.
pub fn run(input: &[u8]) {
    let b = &mut Bytes(input);
    let m = &mut Memory::default();
    let op = match b.byte() {
        252..=255 => return queries(m, b),
        byte => usize::from(byte) % 21,
    };
    if op >= 19 {
        return kernels(m, b);
    }
    let Some(w) = describe(m, b) else { return };
    let k = b.size(1, 4);
    let (p, l, u) = (w.rows, w.columns, w.units);
    let (kl, uk, pk) = (k.saturating_mul(l), u.saturating_mul(k), p.saturating_mul(k));
    let d = kl.saturating_add(k).wrapping_sub(1);
    if ![kl, uk, pk, l.saturating_mul(l)].into_iter().all(honest) || !honest(d.saturating_mul(d)) {
        return;
    }
    let calls = m.array(1, |_| 1 + u32::from(b.byte()));
    let error = new!(m, b, smx_error, smx_error_init, |e| ());
    // SAFETY, here and below: every array has the length that the header gives for the sizes at hand, or the sizes overflow.
    let (status, size): (smx_status, usize);
    let counter = m.0.iter().position(|block| block.start.wrapping_add(GUARD) == calls.cast()).unwrap();
    macro_rules! call {
        ($size:expr, |$ws:ident, $n:ident| $call:expr) => {{
            // SAFETY: as above.
            unsafe {
                size = $size;
                let ($ws, $n) = workspace(m, b, size);
                w.ranks.left.set(w.ranks.works);
                let record = m.0.iter().position(|block| block.start.wrapping_add(GUARD) == error.cast());
                let scratch = m.0.len() - 1;
                m.snapshot();
                status = $call;
                // What may change: the record, the workspace, and the counter of the progress function.
                for i in [record, Some(scratch), Some(counter)].into_iter().flatten() {
                    m.0[i].before = m.0[i].contents().to_vec();
                }
            }
        }};
    }
    match op {
        0 => {
            let summary = new!(m, b, smx_summary, smx_summary_init, |s| ());
            call!(0, |_ws, _n| smx_data_check(w.data, summary, error));
        }
        1 => {
            let (weights, atoms) = mixture(m, b, k, l);
            let options = evaluate_options(m, b, l);
            let (unit, r, gw, ga) = (m.outputs(b, u), m.outputs(b, uk), m.outputs(b, k), m.outputs(b, kl));
            let out = new!(m, b, smx_evaluation, smx_evaluation_init, |o| {
                (o.unit_log_likelihoods, o.responsibilities, o.weight_gradient, o.atom_gradient) = (unit, r, gw, ga);
            });
            call!(smx_evaluate_workspace(w.data, k), |ws, n| smx_evaluate(w.data, k, weights, atoms, options, out, ws, n, error));
        }
        2 => {
            let wh = whitening(m, b, &w, false);
            let options = run_options(m, b);
            call!(smx_whiten_workspace(w.data), |ws, n| smx_whiten(w.data, options, wh, ws, n, error));
        }
        3 => {
            let wh = whitening(m, b, &w, true);
            let (weights, atoms) = mixture(m, b, k, l);
            let (value, penalized) = (m.outputs(b, 1), m.outputs(b, 1));
            let options = new!(m, b, smx_em_options, smx_em_options_init, |o| {
                (o.isa, o.m_step) = (b.name(5), b.name(3));
                o.ridge = if b.below(2) == 0 { 0.0 } else { b.positive() };
            });
            call!(smx_em_step_workspace(w.data, k, options), |ws, n| smx_em_step(
                w.data, wh, k, options, weights, atoms, value, penalized, ws, n, error
            ));
        }
        4 => {
            let mut options = fit_options(m, b, k, l, calls);
            if options.is_null() {
                options = new!(m, b, smx_fit_options, smx_fit_options_init, |o| (o.starts, o.max_evaluations) = (1, 20));
            }
            if options.is_null() {
                return;
            }
            // SAFETY: structs are as long as they say.
            let most = unsafe { smx_fit_max_starts(w.data, k, options) };
            if !honest(most) {
                return;
            }
            let (weights, atoms) = (m.outputs(b, k), m.outputs(b, kl));
            let (diverging, unidentified) = (m.outputs(b, k), m.outputs(b, l));
            let (values, kinds) = (m.outputs(b, most), m.outputs(b, most));
            let result = new!(m, b, smx_fit_result, smx_fit_result_init, |r| {
                (r.weights, r.atoms, r.diverging, r.unidentified) = (weights, atoms, diverging, unidentified);
                (r.start_values, r.start_kinds, r.starts_capacity) = (values, kinds, if b.rarely() { most / 2 } else { most });
            });
            call!(smx_fit_workspace(w.data, k, options), |ws, n| smx_fit(w.data, k, options, result, ws, n, error));
            if status == SMX_OK {
                // SAFETY: the library found them to be there.
                let (r, weights) = unsafe { (&*result, std::slice::from_raw_parts((*result).weights, k)) };
                assert!(r.log_likelihood.is_finite() && (weights.iter().sum::<f64>() - 1.0).abs() < 1e-9 && r.starts <= most);
            }
        }
        5 => {
            let (weights, atoms) = mixture(m, b, k, l);
            let (by_class, mixed) = (m.outputs(b, pk), m.outputs(b, p));
            let options = run_options(m, b);
            call!(smx_choice_probabilities_workspace(w.data, k), |ws, n| smx_choice_probabilities(
                w.data, k, weights, atoms, options, by_class, mixed, ws, n, error
            ));
        }
        6 => {
            let (weights, atoms) = mixture(m, b, k, l);
            let result = new!(m, b, smx_criteria_result, smx_criteria_result_init, |r| ());
            let (options, rank) = (run_options(m, b), b.size(1, 3));
            call!(smx_criteria_workspace(w.data, k), |ws, n| smx_criteria(w.data, k, weights, atoms, rank, options, result, ws, n, error));
        }
        7 => {
            let wh = whitening(m, b, &w, true);
            let (weights, atoms) = mixture(m, b, k, l);
            let (we, ae) = (m.outputs(b, k), m.outputs(b, kl));
            let options = new!(m, b, smx_inference_options, smx_inference_options_init, |o| {
                (o.isa, o.variance) = (b.name(5), b.name(3));
                o.ridge = if b.below(2) == 0 { 0.0 } else { b.positive() };
            });
            if b.below(2) == 0 {
                call!(smx_standard_errors_workspace(w.data, k), |ws, n| smx_standard_errors(
                    w.data, wh, k, weights, atoms, options, we, ae, ws, n, error
                ));
            } else {
                let all = k.saturating_add(kl);
                let covariance = m.outputs(b, all.saturating_mul(all));
                call!(smx_covariance_workspace(w.data, k), |ws, n| smx_covariance(
                    w.data, wh, k, weights, atoms, options, covariance, ws, n, error
                ));
            }
        }
        8 => {
            let (weights, atoms) = mixture(m, b, k, l);
            let options = evaluate_options(m, b, l);
            let information = m.outputs(b, d.saturating_mul(d));
            call!(smx_information_workspace(w.data, k), |ws, n| smx_information(
                w.data,
                k,
                weights,
                atoms,
                options,
                information,
                ws,
                n,
                error
            ));
        }
        9 => {
            let (weights, atoms) = mixture(m, b, k, l);
            let (options, sampling) = (run_options(m, b), b.name(2));
            let products = m.outputs(b, d.saturating_mul(d));
            call!(smx_information_workspace(w.data, k), |ws, n| smx_score_products(
                w.data, k, weights, atoms, sampling, options, products, ws, n, error
            ));
        }
        10 => {
            let (weights, atoms) = mixture(m, b, k, l);
            let (vector, product) = (m.numbers(b, d), m.outputs(b, d));
            let options = run_options(m, b);
            call!(smx_hessian_vector_workspace(w.data, k), |ws, n| smx_hessian_vector(
                w.data, k, weights, atoms, vector, options, product, ws, n, error
            ));
        }
        11 => {
            let wh = whitening(m, b, &w, true);
            let (weights, atoms) = (m.outputs(b, k), m.outputs(b, kl));
            let report = new!(m, b, smx_estimate_report, smx_estimate_report_init, |r| ());
            let start = if b.below(4) == 0 { mixture(m, b, k, l) } else { (null_mut(), null_mut()) };
            let direction = if b.below(4) == 0 { m.numbers(b, l) } else { null_mut() };
            let options = new!(m, b, smx_estimate_options, smx_estimate_options_init, |o| {
                (o.isa, o.method, o.project, o.order) = (b.name(5), b.name(3), b.name(2), b.name(10));
                o.tilt = if b.below(2) == 0 { -1.0 } else { b.positive() };
                o.max_evaluations = b.size(1, 30);
                (o.start_weights, o.start_atoms, o.direction) = (start.0, start.1, direction);
                if o.max_evaluations > 100 {
                    o.max_evaluations = 100;
                }
            });
            call!(smx_estimate_workspace(w.data, k, options), |ws, n| smx_estimate(
                w.data, wh, k, options, weights, atoms, report, ws, n, error
            ));
        }
        12 => {
            let wh = whitening(m, b, &w, true);
            let (mean, values, axes) = (m.outputs(b, l), m.outputs(b, l), m.outputs(b, l.saturating_mul(l)));
            let result = new!(m, b, smx_subspace_result, smx_subspace_result_init, |r| {
                (r.mean_atom, r.eigenvalues, r.directions) = (mean, values, axes);
            });
            let (tilt, options) = (b.positive(), run_options(m, b));
            call!(smx_subspace_workspace(w.data), |ws, n| smx_subspace(w.data, wh, tilt, options, result, ws, n, error));
        }
        13 => {
            let wh = whitening(m, b, &w, true);
            let (v, order) = (b.size(1, 3), b.size(0, 6));
            let length = v.saturating_mul(order.saturating_add(1));
            if !honest(length) || !honest(v.saturating_mul(l)) {
                return;
            }
            // Of norm 1 where each is a unit vector.
            let directions = m.array(v.saturating_mul(l), |i| if b.rarely() { b.number() } else { f64::from(l > 0 && i % (l + 1) == 0) });
            let (moments, errors) = (m.outputs(b, length), m.outputs(b, length));
            let options = run_options(m, b);
            call!(smx_latent_moments_workspace(w.data, v, order), |ws, n| smx_latent_moments(
                w.data, wh, v, directions, order, options, moments, errors, ws, n, error
            ));
        }
        14 => {
            let wh = whitening(m, b, &w, true);
            let (square, cube) = (l.saturating_mul(l), l.saturating_mul(l).saturating_mul(l));
            if !honest(cube) {
                return;
            }
            let (one, two, three) = (m.outputs(b, l), m.outputs(b, square), m.outputs(b, cube));
            let wanted = b.below(2) == 0;
            let (e1, e2, e3) = match wanted {
                true => (m.outputs(b, l), m.outputs(b, square), m.outputs(b, cube)),
                false => (null_mut(), null_mut(), null_mut()),
            };
            let tensors = new!(m, b, smx_tensors, smx_tensors_init, |t| {
                (t.first, t.second, t.third) = (one, two, three);
                (t.first_errors, t.second_errors, t.third_errors) = (e1, e2, e3);
            });
            let options = run_options(m, b);
            call!(smx_latent_tensors_workspace(w.data, i32::from(wanted)), |ws, n| smx_latent_tensors(
                w.data, wh, options, tensors, ws, n, error
            ));
        }
        15 => {
            let wh = whitening(m, b, &w, true);
            let order = b.size(0, 6);
            let length = l.saturating_mul(order.saturating_add(1));
            if !honest(length) {
                return;
            }
            let direction = m.array(l, |i| if b.rarely() { b.number() } else { f64::from(i == 0) });
            let (moments, errors) = (m.outputs(b, length), m.outputs(b, length));
            let options = run_options(m, b);
            call!(smx_cross_moments_workspace(w.data, order), |ws, n| smx_cross_moments(
                w.data, wh, direction, order, options, moments, errors, ws, n, error
            ));
        }
        16 | 17 => {
            let wh = whitening(m, b, &w, true);
            let v = b.size(1, 3);
            let n = v.saturating_mul(l);
            let length =
                if op == 16 { v.saturating_mul(v.saturating_add(2)).saturating_mul(v.saturating_add(2)) } else { n.saturating_mul(l) };
            if !honest(length) || !honest(n) {
                return;
            }
            let (vectors, third) = (m.numbers(b, n), m.outputs(b, length));
            let constants = if b.below(2) == 0 { m.numbers(b, v) } else { null_mut() };
            let options = run_options(m, b);
            call!(smx_third_moments_workspace(w.data, v), |ws, n| match op {
                16 => smx_third_projected(w.data, wh, v, vectors, constants, options, third, ws, n, error),
                _ => smx_third_slices(w.data, wh, v, vectors, options, third, ws, n, error),
            });
        }
        _ => {
            let (first, last) = (b.size(1, 2), b.size(1, 4));
            let all = last.saturating_mul(last.saturating_add(1));
            let fits = last.saturating_sub(first).saturating_add(1);
            if !honest(all) || !honest(all.saturating_mul(l)) {
                return;
            }
            let mut options = fit_options(m, b, first, l, calls);
            if options.is_null() {
                options = new!(m, b, smx_fit_options, smx_fit_options_init, |o| (o.starts, o.max_evaluations) = (1, 20));
            }
            if options.is_null() {
                return;
            }
            let (weights, atoms, diverging) = (m.outputs(b, all), m.outputs(b, all.saturating_mul(l)), m.outputs(b, all));
            let (outcomes, parameters, starts) = (m.outputs(b, fits), m.outputs(b, fits), m.outputs(b, fits));
            let (one, two, three, four) = (m.outputs(b, fits), m.outputs(b, fits), m.outputs(b, fits), m.outputs(b, fits));
            let eigenvalues = m.outputs(b, l);
            let result = new!(m, b, smx_scan_result, smx_scan_result_init, |r| {
                (r.weights, r.atoms, r.diverging, r.outcomes) = (weights, atoms, diverging, outcomes);
                (r.log_likelihoods, r.aic, r.bic, r.icl) = (one, two, three, four);
                (r.parameters, r.starts, r.eigenvalues) = (parameters, starts, eigenvalues);
            });
            call!(smx_scan_workspace(w.data, first, last, options), |ws, n| smx_scan(w.data, first, last, options, result, ws, n, error));
        }
    }
    assert!(STATUSES.contains(&status) && status != SMX_PANIC, "operation {op}: status {status}");
    assert!(status == SMX_OK || m.unchanged(), "operation {op}: status {status}, and memory has changed");
    assert!(status != SMX_OK || size != usize::MAX, "operation {op}: well without a size");
    let written = m.0.iter().any(|block| block.start.wrapping_add(GUARD) == error.cast() && block.bytes == size_of::<smx_error>());
    // SAFETY: a record of the whole size.
    if written && status != SMX_ALIAS && unsafe { (*error).struct_size } == size_of::<smx_error>() {
        // SAFETY: as above.
        assert_eq!(unsafe { (*error).status }, status, "operation {op}: the record says something else");
        let mut text = [0; 40];
        // SAFETY: as above.
        assert!(unsafe { smx_error_format(error, text.as_mut_ptr(), text.len()) } > 0);
    }
}

fn evaluate_options(m: &mut Memory, b: &mut Bytes, l: usize) -> *mut smx_evaluate_options {
    let covariance = if b.below(2) == 0 { m.numbers(b, l.saturating_mul(l)) } else { null_mut() };
    new!(m, b, smx_evaluate_options, smx_evaluate_options_init, |o| {
        o.isa = b.name(5);
        o.ridge = if covariance.is_null() { 0.0 } else { b.positive() };
        o.covariance = covariance;
    })
}

/// Queries of workspaces, which only look at sizes: any sizes. What no memory holds is SIZE_MAX.
fn queries(m: &mut Memory, b: &mut Bytes) {
    let (rows, columns, sets, units, entries) = (b.any_size(), b.any_size(), b.any_size(), b.any_size(), b.any_size());
    let (k, other) = (b.any_size(), b.any_size());
    let (single, choices) = (b.name(2), b.name(3));
    let shard = new!(m, b, smx_shard, smx_shard_init, |s| {
        (s.split, s.total_rows, s.total_units) = (b.name(3), b.any_size(), b.any_size());
    });
    let shard = if b.below(4) == 0 { shard } else { null_mut() };
    let data = new!(m, b, smx_data, smx_data_init, |d| {
        (d.rows, d.columns, d.sets, d.units, d.entries) = (rows, columns, sets, units, entries);
        (d.dtype, d.choices, d.shard) = (single, choices, shard);
    });
    let fit = new!(m, b, smx_fit_options, smx_fit_options_init, |o| {
        (o.threads, o.starts, o.max_evaluations) = (b.any_size().max(1), b.any_size(), b.any_size() as u64);
        o.isa = b.name(5);
        o.single_phase = i32::from(b.below(2) == 0);
        if b.below(4) == 0 {
            (o.start_weights, o.start_atoms) = (m.numbers(b, 1), m.numbers(b, 1));
        }
        if b.below(4) == 0 {
            (o.grow_weights, o.grow_atoms) = (m.numbers(b, 1), m.numbers(b, 1));
        }
    });
    let em = new!(m, b, smx_em_options, smx_em_options_init, |o| (o.threads, o.m_step) = (b.any_size().max(1), b.name(3)));
    let estimate = new!(m, b, smx_estimate_options, smx_estimate_options_init, |o| {
        (o.method, o.order, o.max_evaluations) = (b.name(3), b.name(11), b.any_size());
    });
    m.snapshot();
    // SAFETY: structs are as long as they say; nothing else is looked at.
    let sizes = unsafe {
        [
            smx_evaluate_workspace(data, k),
            smx_whiten_workspace(data),
            smx_em_step_workspace(data, k, em),
            smx_fit_workspace(data, k, fit),
            smx_fit_max_starts(data, k, fit),
            smx_scan_workspace(data, k, other, fit),
            smx_choice_probabilities_workspace(data, k),
            smx_criteria_workspace(data, k),
            smx_standard_errors_workspace(data, k),
            smx_covariance_workspace(data, k),
            smx_information_workspace(data, k),
            smx_hessian_vector_workspace(data, k),
            smx_subspace_workspace(data),
            smx_latent_moments_workspace(data, k, other),
            smx_latent_tensors_workspace(data, i32::from(other & 1 == 1)),
            smx_cross_moments_workspace(data, other),
            smx_third_moments_workspace(data, k),
            smx_estimate_workspace(data, k, estimate),
        ]
    };
    assert!(m.unchanged(), "a query writes");
    for (i, size) in sizes.into_iter().enumerate() {
        // The fifth is a number, and may be the program's own.
        assert!(i == 4 || size == usize::MAX || size <= isize::MAX as usize, "query {i}: {size} bytes");
    }
}

/// Kernels: any numbers, any length, in place or apart.
fn kernels(m: &mut Memory, b: &mut Bytes) {
    let n = b.size(0, 70);
    if !honest(n) {
        return;
    }
    let which = b.below(9);
    let isa = b.name(5);
    let x = m.numbers(b, n);
    let single = m.array(n, |_| b.number() as f32);
    let in_place = b.below(2) == 0;
    let out = if in_place { x } else { m.outputs(b, n) };
    let outf = if in_place { single } else { m.outputs(b, n) };
    let (value, valuef) = (m.outputs(b, 1), m.outputs(b, 1));
    let sum = m.array(1, |_| smx_sum { max: 0.0, sum: 0.0 });
    let columns = 1 + b.below(5);
    m.snapshot();
    // SAFETY: arrays are as long as said, or overflow.
    let status = unsafe {
        match which {
            0 => smx_exp(x, out, n, isa).min(smx_expf(single, outf, n, isa)),
            1 => smx_log(x, out, n, isa).min(smx_logf(single, outf, n, isa)),
            2 => smx_softmax(x, out, n, isa).min(smx_softmaxf(single, outf, n, isa)),
            3 => smx_log_softmax(x, out, n, isa).min(smx_log_softmaxf(single, outf, n, isa)),
            4 => smx_logsumexp(x, n, value, isa).min(smx_logsumexpf(single, n, valuef, isa)),
            5 => smx_sum_of(x, n, sum, isa).min(smx_sum_of_float(single, n, sum, isa)),
            6 => {
                let other = smx_sum { max: b.number(), sum: b.number() };
                let merged = smx_sum_merge(*sum, other);
                let _ = smx_sum_log(merged);
                SMX_OK
            }
            8 => {
                // Of `n` numbers, every `columns`-th; or of more than there can be.
                let many = if n > MOST { n } else { n.div_ceil(columns) };
                smx_logsumexp_strided(x, many, columns, value, isa).min(smx_logsumexp_stridedf(single, many, columns, valuef, isa))
            }
            _ if n <= MOST => {
                let room = m.array(columns, |_| 0.0);
                let roomf = m.array(columns, |_| 0.0);
                smx_logsumexp_columns(x, n / columns, columns, room, isa).min(smx_logsumexp_columnsf(
                    single,
                    n / columns,
                    columns,
                    roomf,
                    isa,
                ))
            }
            _ => smx_logsumexp_columns(x, n, columns, value, isa),
        }
    };
    assert!(STATUSES.contains(&status) && status != SMX_PANIC, "kernel {which}: status {status}");
}
