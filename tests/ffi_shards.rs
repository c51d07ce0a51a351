//! Shards through the C API: two equal ranks are one process with everything twice, and what cannot be is refused.
#![cfg(feature = "std")]

use softmix::ffi::*;
use std::ffi::c_void;
use std::mem::{MaybeUninit, offset_of};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicUsize, Ordering};

macro_rules! new {
    ($type:ident, $init:ident) => {{
        let mut s = MaybeUninit::<$type>::uninit();
        // SAFETY: the size is that of the room; init fills all of it.
        #[allow(unused_unsafe)]
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
    // A workspace that is a byte short: of a fit before the data are looked at; of an evaluation after they were agreed on, before it
    // began.
    calls[0].store(0, Ordering::Relaxed);
    assert_eq!(fit(&part(&good), 1).status, SMX_WORKSPACE);
    assert_eq!(calls[0].swap(0, Ordering::Relaxed), 1);
    let (data, mut evaluation) = (part(&good), new!(smx_evaluation, smx_evaluation_init));
    // SAFETY: every pointer is to something that lives and is as long as it says.
    let status = unsafe {
        let mut memory = vec![0u8; smx_evaluate_workspace(&data, 2) - 1];
        let (w, a, ws) = ([0.5, 0.5], [0.3, 0.0, -0.3, 0.1], memory.as_mut_ptr().cast());
        smx_evaluate(&data, 2, w.as_ptr(), a.as_ptr(), null(), &mut evaluation, ws, memory.len(), null_mut())
    };
    assert_eq!((status, calls[0].load(Ordering::Relaxed)), (SMX_WORKSPACE, 3));
    // A record that was never set: the others would wait for this rank.
    let mut unset = smx_error { struct_size: 0, ..new!(smx_error, smx_error_init) };
    calls[0].store(0, Ordering::Relaxed);
    // SAFETY: every pointer is to something that lives.
    unsafe {
        assert_eq!(smx_data_check(&data, null_mut(), &mut unset), SMX_STRUCT_SIZE);
        assert_eq!(calls[0].swap(0, Ordering::Relaxed), 1);
        for status in [SMX_OK, SMX_EMPTY] {
            assert_eq!(smx_shard_agree(&good, status, &mut unset), SMX_STRUCT_SIZE);
            assert_eq!(calls[0].swap(0, Ordering::Relaxed), 1);
        }
    }
    assert_eq!((unset.struct_size, unset.status), (0, SMX_OK));
}

#[test]
fn programs_that_know_no_shards_go_on() {
    let (x, counts) = numbers();
    let mut old = describe(&x, &counts);
    old.struct_size = offset_of!(smx_data, shard);
    // What lies behind the struct of such a program is not looked at.
    old.shard = std::ptr::without_provenance(1);
    assert_eq!(fit(&old, 0).status, SMX_OK);
    // Nor is it where the size ends inside the pointer: no program has such a struct.
    for size in (offset_of!(smx_data, shard) + 1..size_of::<smx_data>()).chain([size_of::<smx_data>() + 1]) {
        old.struct_size = size;
        let mut new = describe(&x, &counts);
        // SAFETY: the structs live, and are as large as the sizes of this version.
        unsafe {
            assert_eq!(smx_data_check(&old, null_mut(), null_mut()), SMX_STRUCT_SIZE, "{size}");
            assert_eq!(smx_data_init(&mut new, size), SMX_STRUCT_SIZE, "{size}");
        }
    }
}

#[test]
fn ranks_agree_before_they_call() {
    let calls = counters(usize::MAX);
    let shard = shard(&calls, SMX_SPLIT_ROWS);
    for status in [SMX_OK, SMX_EMPTY, -12345] {
        // SAFETY: the shard lives.
        assert_eq!(unsafe { smx_shard_agree(&shard, status, null_mut()) }, status);
    }
    // A number that is no status. SAFETY: as above.
    assert_eq!(unsafe { smx_shard_agree(&shard, 5, null_mut()) }, SMX_INVALID_OPTION);
    assert_eq!(calls[0].load(Ordering::Relaxed), 4);
}

/// Everything that a call writes, in one piece, so that all of it can be compared with what it was.
struct Results {
    memory: Vec<u64>,
    used: usize,
    before: Vec<u64>,
}

impl Results {
    fn new() -> Self {
        Results { memory: vec![0xA5A5_A5A5_A5A5_A5A5; 4096], used: 0, before: Vec::new() }
    }

    /// Room for `n` values.
    fn room<T>(&mut self, n: usize) -> *mut T {
        let (at, words) = (self.used, (n * size_of::<T>()).div_ceil(8));
        self.used += words;
        self.memory[at..at + words].as_mut_ptr().cast()
    }

    /// Room for a value that is there before the call.
    fn with<T: Copy>(&mut self, values: &[T]) -> *mut T {
        let room: *mut T = self.room(values.len());
        // SAFETY: there is that much room.
        unsafe { room.copy_from_nonoverlapping(values.as_ptr(), values.len()) };
        room
    }

    /// The last word before the call.
    fn ready(&mut self) {
        self.before.clone_from(&self.memory);
    }
}

/// What calls are made with: two classes, two features.
struct Setting {
    whitening: smx_whitening,
    weights: [f64; 2],
    atoms: [f64; 4],
}

type Operation = (&'static str, unsafe fn(&smx_data, &Setting, &mut Results) -> smx_status);

/// A workspace of the size asked for.
fn workspace(size: usize) -> (Vec<u8>, usize) {
    assert_ne!(size, usize::MAX);
    (vec![0xFF; size], size)
}

unsafe fn whiten(data: &smx_data, out: &mut Results) -> (smx_status, *mut smx_whitening) {
    let whitening = smx_whitening {
        covariance: out.room(4),
        to_atoms: out.room(4),
        from_atoms: out.room(4),
        unidentified: out.room(2),
        ..new!(smx_whitening, smx_whitening_init)
    };
    let whitening = out.with(&[whitening]);
    out.ready();
    // SAFETY: every pointer is to room of the size that the header asks for.
    unsafe {
        let (mut ws, size) = workspace(smx_whiten_workspace(data));
        (smx_whiten(data, null(), whitening, ws.as_mut_ptr().cast(), size, null_mut()), whitening)
    }
}

unsafe fn em(data: &smx_data, s: &Setting, out: &mut Results, m_step: smx_m_step) -> smx_status {
    let options = smx_em_options { m_step, ridge: 0.5, ..new!(smx_em_options, smx_em_options_init) };
    let (weights, atoms, values) = (out.with(&s.weights), out.with(&s.atoms), out.room::<f64>(2));
    out.ready();
    // SAFETY: as above.
    unsafe {
        let (mut ws, size) = workspace(smx_em_step_workspace(data, 2, &options));
        let (ws, second) = (ws.as_mut_ptr().cast(), values.add(1));
        smx_em_step(data, &s.whitening, 2, &options, weights, atoms, values, second, ws, size, null_mut())
    }
}

unsafe fn errors(data: &smx_data, s: &Setting, out: &mut Results, variance: smx_variance) -> smx_status {
    let options = smx_inference_options { variance, ..new!(smx_inference_options, smx_inference_options_init) };
    let (weights, atoms) = (out.room(2), out.room(4));
    out.ready();
    // SAFETY: as above.
    unsafe {
        let (mut ws, size) = workspace(smx_standard_errors_workspace(data, 2));
        let (w, a, ws) = (s.weights.as_ptr(), s.atoms.as_ptr(), ws.as_mut_ptr().cast());
        smx_standard_errors(data, &s.whitening, 2, w, a, &options, weights, atoms, ws, size, null_mut())
    }
}

unsafe fn covariance(data: &smx_data, s: &Setting, out: &mut Results) -> smx_status {
    let covariance = out.room(36);
    out.ready();
    // SAFETY: as above.
    unsafe {
        let (mut ws, size) = workspace(smx_covariance_workspace(data, 2));
        let (w, a, ws) = (s.weights.as_ptr(), s.atoms.as_ptr(), ws.as_mut_ptr().cast());
        smx_covariance(data, &s.whitening, 2, w, a, null(), covariance, ws, size, null_mut())
    }
}

unsafe fn products(data: &smx_data, s: &Setting, out: &mut Results, sampling: i32) -> smx_status {
    let products = out.room(25);
    out.ready();
    // SAFETY: as above.
    unsafe {
        let (mut ws, size) = workspace(smx_information_workspace(data, 2));
        let (w, a, ws) = (s.weights.as_ptr(), s.atoms.as_ptr(), ws.as_mut_ptr().cast());
        smx_score_products(data, 2, w, a, sampling, null(), products, ws, size, null_mut())
    }
}

/// Few and short starts: every call of the hook is a run.
fn short_fit() -> smx_fit_options {
    smx_fit_options { starts: 2, max_evaluations: 6, ridge: 1.0, ..new!(smx_fit_options, smx_fit_options_init) }
}

unsafe fn whole_fit(data: &smx_data, out: &mut Results, options: &smx_fit_options) -> smx_status {
    // SAFETY: as above.
    let most = unsafe { smx_fit_max_starts(data, 2, options) };
    let result = smx_fit_result {
        weights: out.room(2),
        atoms: out.room(4),
        diverging: out.room(2),
        unidentified: out.room(2),
        start_values: out.room(most),
        start_kinds: out.room(most),
        starts_capacity: most,
        ..new!(smx_fit_result, smx_fit_result_init)
    };
    let result = out.with(&[result]);
    out.ready();
    // SAFETY: as above.
    unsafe {
        let (mut ws, size) = workspace(smx_fit_workspace(data, 2, options));
        smx_fit(data, 2, options, result, ws.as_mut_ptr().cast(), size, null_mut())
    }
}

/// Every function that takes data, with everything wanted that it can give.
// SAFETY: all of them: pointers are to room of the size that the header asks for.
const OPERATIONS: [Operation; 18] = [
    ("data_check", |data, _, out| {
        let summary = out.with(&[new!(smx_summary, smx_summary_init)]);
        out.ready();
        unsafe { smx_data_check(data, summary, null_mut()) }
    }),
    ("whiten", |data, _, out| unsafe { whiten(data, out).0 }),
    ("evaluate", |data, s, out| {
        let u = if data.choices == SMX_UNITS { data.units } else { data.rows };
        let options = smx_evaluate_options {
            ridge: 0.5,
            covariance: s.whitening.covariance,
            ..new!(smx_evaluate_options, smx_evaluate_options_init)
        };
        let evaluation = smx_evaluation {
            unit_log_likelihoods: out.room(u),
            responsibilities: out.room(2 * u),
            weight_gradient: out.room(2),
            atom_gradient: out.room(4),
            ..new!(smx_evaluation, smx_evaluation_init)
        };
        let evaluation = out.with(&[evaluation]);
        out.ready();
        unsafe {
            let (mut ws, size) = workspace(smx_evaluate_workspace(data, 2));
            let (w, a, ws) = (s.weights.as_ptr(), s.atoms.as_ptr(), ws.as_mut_ptr().cast());
            smx_evaluate(data, 2, w, a, &options, evaluation, ws, size, null_mut())
        }
    }),
    ("em_step, gradient", |data, s, out| unsafe { em(data, s, out, SMX_M_STEP_GRADIENT) }),
    ("em_step, Newton", |data, s, out| unsafe { em(data, s, out, SMX_M_STEP_NEWTON) }),
    ("em_step, converged", |data, s, out| unsafe { em(data, s, out, SMX_M_STEP_CONVERGED) }),
    ("fit", |data, _, out| unsafe { whole_fit(data, out, &short_fit()) }),
    ("fit that runs off", |data, s, out| {
        let far = s.atoms.map(|a| 100.0 * a);
        let (start_weights, start_atoms) = (s.weights.as_ptr(), far.as_ptr());
        unsafe {
            whole_fit(data, out, &smx_fit_options { starts: 0, start_weights, start_atoms, max_evaluations: 2, ridge: 0.0, ..short_fit() })
        }
    }),
    ("scan", |data, _, out| {
        let options = short_fit();
        let result = smx_scan_result {
            weights: out.room(3),
            atoms: out.room(6),
            diverging: out.room(3),
            outcomes: out.room(2),
            log_likelihoods: out.room(2),
            penalized_log_likelihoods: out.room(2),
            parameters: out.room(2),
            aic: out.room(2),
            bic: out.room(2),
            icl: out.room(2),
            starts: out.room(2),
            at_best: out.room(2),
            eigenvalues: out.room(2),
            ..new!(smx_scan_result, smx_scan_result_init)
        };
        let result = out.with(&[result]);
        out.ready();
        unsafe {
            let (mut ws, size) = workspace(smx_scan_workspace(data, 1, 2, &options));
            smx_scan(data, 1, 2, &options, result, ws.as_mut_ptr().cast(), size, null_mut())
        }
    }),
    ("choice_probabilities", |data, s, out| {
        let (by_class, mixed) = (out.room(2 * data.rows), out.room(data.rows));
        out.ready();
        unsafe {
            let (mut ws, size) = workspace(smx_choice_probabilities_workspace(data, 2));
            let (w, a, ws) = (s.weights.as_ptr(), s.atoms.as_ptr(), ws.as_mut_ptr().cast());
            smx_choice_probabilities(data, 2, w, a, null(), by_class, mixed, ws, size, null_mut())
        }
    }),
    ("criteria", |data, s, out| {
        let result = out.with(&[new!(smx_criteria_result, smx_criteria_result_init)]);
        out.ready();
        unsafe {
            let (mut ws, size) = workspace(smx_criteria_workspace(data, 2));
            let (w, a, ws) = (s.weights.as_ptr(), s.atoms.as_ptr(), ws.as_mut_ptr().cast());
            smx_criteria(data, 2, w, a, 2, null(), result, ws, size, null_mut())
        }
    }),
    ("standard_errors", |data, s, out| unsafe { errors(data, s, out, SMX_VARIANCE_INFORMATION) }),
    ("covariance", |data, s, out| unsafe { covariance(data, s, out) }),
    ("standard_errors, robust", |data, s, out| unsafe { errors(data, s, out, SMX_VARIANCE_ROBUST) }),
    ("information", |data, s, out| {
        let options = smx_evaluate_options {
            ridge: 0.5,
            covariance: s.whitening.covariance,
            ..new!(smx_evaluate_options, smx_evaluate_options_init)
        };
        let information = out.room(25);
        out.ready();
        unsafe {
            let (mut ws, size) = workspace(smx_information_workspace(data, 2));
            let (w, a, ws) = (s.weights.as_ptr(), s.atoms.as_ptr(), ws.as_mut_ptr().cast());
            smx_information(data, 2, w, a, &options, information, ws, size, null_mut())
        }
    }),
    ("score_products", |data, s, out| unsafe { products(data, s, out, 0) }),
    ("score_products, sampling", |data, s, out| unsafe { products(data, s, out, 1) }),
    ("hessian_vector", |data, s, out| {
        let (vector, product) = ([0.3, -0.2, 0.5, 0.1, -0.4], out.room(5));
        out.ready();
        unsafe {
            let (mut ws, size) = workspace(smx_hessian_vector_workspace(data, 2));
            let (w, a, ws) = (s.weights.as_ptr(), s.atoms.as_ptr(), ws.as_mut_ptr().cast());
            smx_hessian_vector(data, 2, w, a, vector.as_ptr(), null(), product, ws, size, null_mut())
        }
    }),
];

/// Counts and units, over one choice set split by rows and over several of which ranks have some.
fn on_every_layout(check: impl Fn(&str, &smx_data, smx_shard)) {
    let (x, counts) = numbers();
    let (sets, indptr): ([usize; 4], Vec<usize>) = ([0, 9, 20, 30], (0..=12).map(|u| 2 * u).collect());
    let indices: Vec<usize> = (0..24).map(|e| (e * e + 5 * e) % 30).collect();
    let mut units = smx_data { choices: SMX_UNITS, units: 12, entries: 24, ..describe(&x, &counts) };
    (units.indptr, units.indices, units.counts) = (indptr.as_ptr(), indices.as_ptr(), null());
    let calls = counters(usize::MAX);
    for (name, one, total_units) in [("counts", describe(&x, &counts), 60), ("units", units, 24)] {
        let rows = shard(&calls, SMX_SPLIT_ROWS);
        // Every rank has all units of a choice set that is split.
        check(&format!("{name} by rows"), &one, smx_shard { total_units: if name == "units" { 12 } else { 60 }, ..rows });
        let many = smx_data { set_offsets: sets.as_ptr(), sets: 3, ..one };
        check(&format!("{name} by sets"), &many, smx_shard { total_units, ..shard(&calls, SMX_SPLIT_SETS) });
    }
}

#[test]
fn a_hook_that_fails_at_any_call_leaves_results_as_they_were() {
    on_every_layout(|layout, data, shard| {
        let with_hook = |calls: &[AtomicUsize; 2], run: &mut dyn FnMut(&smx_data) -> smx_status| {
            let shard = smx_shard { state: (&raw const *calls).cast_mut().cast(), ..shard };
            run(&smx_data { shard: &shard, ..*data })
        };
        let mut room = Results::new();
        let mut setting = None;
        let status = with_hook(&counters(usize::MAX), &mut |data| {
            // SAFETY: `room` outlives the setting, which points to it.
            let (status, whitening) = unsafe { whiten(data, &mut room) };
            // SAFETY: as above.
            setting = Some(Setting { whitening: unsafe { *whitening }, weights: [0.6, 0.4], atoms: [0.4, -0.1, -0.5, 0.3] });
            status
        });
        assert_eq!(status, SMX_OK, "{layout}");
        let setting = setting.unwrap();
        for (name, run) in OPERATIONS {
            for fails in 0.. {
                let calls = counters(fails);
                let mut out = Results::new();
                // SAFETY: the data, the setting and the room for results live.
                let status = with_hook(&calls, &mut |data| unsafe { run(data, &setting, &mut out) });
                if status == SMX_OK {
                    assert!(fails >= 2 && out.memory != out.before, "{name}, {layout}: nothing was reduced or written");
                    break;
                }
                assert_eq!(status, SMX_REDUCTION, "{name}, {layout}, call {fails}");
                assert!(out.memory == out.before, "{name}, {layout}: results were written when call {fails} had failed");
            }
        }
    });
}

#[test]
fn latent_moments_of_shards_are_refused() {
    let (x, counts) = numbers();
    let calls = counters(usize::MAX);
    let one = shard(&calls, SMX_SPLIT_ROWS);
    let part = smx_data { shard: &one, ..describe(&x, &counts) };
    let mut room = Results::new();
    // SAFETY: every pointer is to something that lives.
    unsafe {
        let (status, whitening) = whiten(&part, &mut room);
        assert_eq!(status, SMX_OK);
        let (mean_atom, eigenvalues, directions) = (room.room(2), room.room(2), room.room(4));
        let subspace = smx_subspace_result { mean_atom, eigenvalues, directions, ..new!(smx_subspace_result, smx_subspace_result_init) };
        let (tensors, subspace) = (new!(smx_tensors, smx_tensors_init), room.with(&[subspace]));
        let (w, a, v, m) = (room.room(2), room.room(4), room.with(&[1.0, 0.0]), room.room(9));
        let (mut ws, size) = workspace(1 << 20);
        let (ws, none) = (ws.as_mut_ptr().cast::<c_void>(), null_mut());
        let answers = [
            smx_subspace(&part, whitening, 0.0, null(), subspace, ws, size, none),
            smx_latent_moments(&part, whitening, 1, v, 2, null(), m, none.cast(), ws, size, none),
            smx_latent_tensors(&part, whitening, null(), &tensors, ws, size, none),
            smx_cross_moments(&part, whitening, v, 2, null(), m, none.cast(), ws, size, none),
            smx_third_projected(&part, whitening, 1, v, null(), null(), m, ws, size, none),
            smx_third_slices(&part, whitening, 1, v, null(), m, ws, size, none),
            smx_estimate(&part, whitening, 2, null(), w, a, none.cast(), ws, size, none),
        ];
        assert_eq!(answers, [SMX_UNSUPPORTED; 7]);
    }
}

#[test]
fn a_shard_that_is_the_whole_is_none() {
    let (x, counts) = numbers();
    let calls = counters(usize::MAX);
    let whole = smx_shard { reduce: Some(alone), total_rows: 30, total_units: 30, ..shard(&calls, SMX_SPLIT_ROWS) };
    let data = describe(&x, &counts);
    let (one, two) = (fit(&data, 0), fit(&smx_data { shard: &whole, ..data }, 0));
    assert_eq!((one.status, two.status, calls[0].load(Ordering::Relaxed)), (SMX_OK, SMX_OK, 2));
    assert_eq!((one.value.to_bits(), one.weights, one.atoms), (two.value.to_bits(), two.weights, two.atoms));
}

/// The reduction of a rank that has no others: what it has stays.
unsafe extern "C-unwind" fn alone(state: *mut c_void, _: smx_reduce_op, _: *mut f64, _: usize) -> i32 {
    // SAFETY: the test hands over its counters.
    let calls = unsafe { &*state.cast::<[AtomicUsize; 2]>() };
    calls[0].fetch_add(1, Ordering::Relaxed);
    0
}
