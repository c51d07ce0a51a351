//! Shards through the C API: two equal ranks are one process with everything twice, and what cannot be is refused.
#![cfg(feature = "std")]

use softmix::ffi::*;
use std::ffi::c_void;
use std::mem::{MaybeUninit, offset_of};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering};

macro_rules! new {
    ($type:ident, $init:ident) => {{
        let mut s = MaybeUninit::<$type>::uninit();
        // SAFETY: the size is that of the room; init fills all of it.
        unsafe {
            assert_eq!($init(s.as_mut_ptr(), size_of::<$type>()), SMX_OK);
            s.assume_init()
        }
    }};
}

/// What two ranks with the same numbers have together. `state`: how many calls were made, and at which it fails.
unsafe extern "C-unwind" fn twice(state: *mut c_void, op: smx_reduce_op, buffer: *mut f64, len: usize) -> i32 {
    // SAFETY: the test hands over its counters, and the library a buffer of `len` numbers.
    let (calls, buffer) = unsafe { (&*state.cast::<[AtomicUsize; 2]>(), std::slice::from_raw_parts_mut(buffer, len)) };
    assert!(len > 0 && (op == SMX_REDUCE_MAX || op == SMX_REDUCE_SUM));
    let call = calls[0].fetch_add(1, Ordering::Relaxed);
    let fails = calls[1].load(Ordering::Relaxed);
    assert!(call <= fails, "called again after it failed");
    if op == SMX_REDUCE_SUM {
        buffer.iter_mut().for_each(|x| *x *= 2.0);
    }
    i32::from(call == fails)
}

/// Counts of 30 alternatives with two features.
fn numbers() -> (Vec<f64>, Vec<f64>) {
    let x: Vec<f64> = (0..60).map(|i| ((i * i * 7 + 3 * i) % 23) as f64 / 11.0 - 1.0).collect();
    let counts = (0..30).map(|i| ((i * 5) % 9) as f64).collect();
    (x, counts)
}

fn describe(x: &[f64], counts: &[f64]) -> smx_data {
    smx_data { features: x.as_ptr().cast(), rows: counts.len(), columns: 2, counts: counts.as_ptr(), ..new!(smx_data, smx_data_init) }
}

struct Found {
    status: smx_status,
    error: smx_error,
    value: f64,
    weights: [f64; 2],
    atoms: [f64; 4],
}

/// A fit of two classes from a given start.
fn fit(data: &smx_data, short: usize) -> Found {
    let (start_weights, start_atoms) = ([0.5, 0.5], [0.3, 0.0, -0.3, 0.1]);
    let options = smx_fit_options {
        ridge: 4.0,
        start_weights: start_weights.as_ptr(),
        start_atoms: start_atoms.as_ptr(),
        gradient_tolerance: 1e-12,
        ..new!(smx_fit_options, smx_fit_options_init)
    };
    let (mut weights, mut atoms) = ([0.0; 2], [0.0; 4]);
    let mut result =
        smx_fit_result { weights: weights.as_mut_ptr(), atoms: atoms.as_mut_ptr(), ..new!(smx_fit_result, smx_fit_result_init) };
    let mut error = new!(smx_error, smx_error_init);
    // SAFETY: every pointer is to something that lives and is as long as it says.
    let status = unsafe {
        let size = smx_fit_workspace(data, 2, &options);
        let mut memory = vec![0u8; if size == usize::MAX { 0 } else { size - short }];
        smx_fit(data, 2, &options, &mut result, memory.as_mut_ptr().cast(), memory.len(), &mut error)
    };
    Found { status, error, value: result.penalized_log_likelihood, weights, atoms }
}

fn shard(calls: &[AtomicUsize; 2], split: smx_split) -> smx_shard {
    let state = (&raw const *calls).cast_mut().cast();
    smx_shard { reduce: Some(twice), state, split, total_rows: 60, total_units: 60, ..new!(smx_shard, smx_shard_init) }
}

fn counters(fails: usize) -> [AtomicUsize; 2] {
    [AtomicUsize::new(0), AtomicUsize::new(fails)]
}

#[test]
fn two_equal_ranks_are_one_process_with_everything_twice() {
    let (x, counts) = numbers();
    let (both, all) = ([&x[..], &x].concat(), [&counts[..], &counts].concat());
    let sets = [0usize, 30, 60];
    for split in [SMX_SPLIT_ROWS, SMX_SPLIT_SETS] {
        let mut whole = describe(&both, &all);
        if split == SMX_SPLIT_SETS {
            (whole.set_offsets, whole.sets) = (sets.as_ptr(), 2);
        }
        let calls = counters(usize::MAX);
        let shard = shard(&calls, split);
        let part = smx_data { shard: &shard, ..describe(&x, &counts) };
        let (one, two) = (fit(&whole, 0), fit(&part, 0));
        assert_eq!((one.status, two.status), (SMX_OK, SMX_OK));
        assert!((one.value - two.value).abs() <= 1e-12 * one.value.abs(), "{} {}", one.value, two.value);
        for (a, b) in one.weights.iter().chain(&one.atoms).zip(two.weights.iter().chain(&two.atoms)) {
            assert!((a - b).abs() < 1e-6, "{:?} {:?}", one.atoms, two.atoms);
        }
        assert!(calls[0].load(Ordering::Relaxed) > 10);
    }
}

#[test]
fn a_hook_that_fails_is_a_status_at_every_call() {
    let (x, counts) = numbers();
    let calls = counters(usize::MAX);
    let one = shard(&calls, SMX_SPLIT_ROWS);
    assert_eq!(fit(&smx_data { shard: &one, ..describe(&x, &counts) }, 0).status, SMX_OK);
    for fails in 0..calls[0].load(Ordering::Relaxed) {
        let calls = counters(fails);
        let shard = shard(&calls, SMX_SPLIT_ROWS);
        let found = fit(&smx_data { shard: &shard, ..describe(&x, &counts) }, 0);
        assert_eq!((found.status, found.error.status, found.weights), (SMX_REDUCTION, SMX_REDUCTION, [0.0; 2]), "call {fails}");
    }
}

#[test]
fn what_a_shard_cannot_be_is_refused_and_told_to_the_others() {
    let (x, counts) = numbers();
    let calls = counters(usize::MAX);
    let good = shard(&calls, SMX_SPLIT_ROWS);
    let sets = [0usize, 10, 30];
    let nan = [&[f64::NAN], &x[1..]].concat();
    let part = |shard: &smx_shard| smx_data { shard, ..describe(&x, &counts) };
    type Case<'a> = (smx_shard, Box<dyn Fn(&mut smx_data) + 'a>, smx_status, usize);
    let cases: [Case<'_>; 9] = [
        (smx_shard { reduce: None, ..good }, Box::new(|_| ()), SMX_NULL, 0),
        (smx_shard { struct_size: 3, ..good }, Box::new(|_| ()), SMX_STRUCT_SIZE, 0),
        (smx_shard { split: 7, ..good }, Box::new(|_| ()), SMX_INVALID_OPTION, 1),
        (smx_shard { reserved: 1, ..good }, Box::new(|_| ()), SMX_INVALID_OPTION, 1),
        (smx_shard { total_rows: 29, ..good }, Box::new(|_| ()), SMX_SHAPE, 1),
        (smx_shard { total_units: 0, ..good }, Box::new(|_| ()), SMX_SHAPE, 1),
        // Known when the sums are: on all ranks alike, each of which may say so once more.
        (smx_shard { total_rows: 61, ..good }, Box::new(|_| ()), SMX_SHAPE, 3),
        (good, Box::new(|d| (d.set_offsets, d.sets) = (sets.as_ptr(), 2)), SMX_UNSUPPORTED, 1),
        (good, Box::new(|d| d.features = nan.as_ptr().cast()), SMX_NOT_FINITE, 1),
    ];
    for (shard, change, expected, told) in cases {
        calls[0].store(0, Ordering::Relaxed);
        let mut data = part(&shard);
        change(&mut data);
        let mut error = new!(smx_error, smx_error_init);
        // SAFETY: every pointer is to something that lives.
        let status = unsafe { smx_data_check(&data, null_mut(), &mut error) };
        assert_eq!((status, calls[0].load(Ordering::Relaxed)), (expected, told), "{:?}", error.argument);
    }
    // A workspace that is a byte short: after the data were agreed on, before the fit began.
    calls[0].store(0, Ordering::Relaxed);
    assert_eq!(fit(&part(&good), 1).status, SMX_WORKSPACE);
    assert_eq!(calls[0].load(Ordering::Relaxed), 3);
}

#[test]
fn programs_that_know_no_shards_go_on() {
    let (x, counts) = numbers();
    let mut old = describe(&x, &counts);
    old.struct_size = offset_of!(smx_data, shard);
    // What lies behind the struct of such a program is not looked at.
    old.shard = std::ptr::without_provenance(1);
    assert_eq!(fit(&old, 0).status, SMX_OK);
}

#[test]
fn ranks_agree_before_they_call() {
    let calls = counters(usize::MAX);
    let shard = shard(&calls, SMX_SPLIT_ROWS);
    for status in [SMX_OK, SMX_EMPTY, -12345] {
        // SAFETY: the shard lives.
        assert_eq!(unsafe { smx_shard_agree(&shard, status, null_mut()) }, status);
    }
    assert_eq!(calls[0].load(Ordering::Relaxed), 3);
}
