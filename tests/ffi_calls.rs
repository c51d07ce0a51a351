//! The C API called from Rust: its quantities are those of the Rust API and so of the oracle, a panic inside is a status, and garbage in
//! descriptions is a status too.

mod common;

use common::{assert_close, golden};
use proptest::prelude::*;
use softmix::ffi::*;
use std::ffi::c_void;
use std::ptr::{null, null_mut};

/// A struct of the API with its defaults.
macro_rules! new {
    ($type:ident, $init:ident) => {{
        let mut s = std::mem::MaybeUninit::<$type>::uninit();
        // SAFETY: the size is that of the room; init fills all of it.
        #[allow(unused_unsafe)]
        unsafe {
            assert_eq!($init(s.as_mut_ptr(), size_of::<$type>()), SMX_OK);
            s.assume_init()
        }
    }};
}

fn describe(panel: &common::Panel) -> smx_data {
    smx_data {
        features: panel.features.as_ptr().cast(),
        choices: SMX_UNITS,
        rows: panel.rows(),
        columns: panel.columns,
        offset: panel.offset.as_ref().map_or(null(), |b| b.as_ptr()),
        set_offsets: panel.sets.as_ptr(),
        sets: panel.sets.len() - 1,
        units: panel.indptr.len() - 1,
        entries: panel.indices.len(),
        indptr: panel.indptr.as_ptr(),
        indices: panel.indices.as_ptr(),
        counts: panel.counts.as_ptr(),
        weights: panel.weights.as_ptr(),
        ..new!(smx_data, smx_data_init)
    }
}

/// A workspace of exactly the size asked for.
fn memory(size: usize) -> Vec<u8> {
    assert_ne!(size, usize::MAX);
    vec![0xA5; size]
}

#[test]
fn quantities_through_c_are_those_of_the_oracle() {
    for case in golden() {
        let data = describe(&case.panel);
        let (k, l, u) = (case.alpha.len(), case.panel.columns, case.panel.indptr.len() - 1);
        let d = k - 1 + k * l;
        let (mut s, mut to, mut from, mut flags) = (vec![0.0; l * l], vec![0.0; l * l], vec![0.0; l * l], vec![9u8; l]);
        let mut whitening = smx_whitening {
            covariance: s.as_mut_ptr(),
            to_atoms: to.as_mut_ptr(),
            from_atoms: from.as_mut_ptr(),
            unidentified: flags.as_mut_ptr(),
            ..new!(smx_whitening, smx_whitening_init)
        };
        let (alpha, theta) = (case.alpha.as_ptr(), case.theta.as_ptr());
        let (mut unit, mut r, mut ga, mut gt) = (vec![0.0; u], vec![0.0; u * k], vec![0.0; k], vec![0.0; k * l]);
        let (mut info, mut product, mut vector) = (vec![0.0; d * d], vec![0.0; d], vec![0.0; d]);
        let mut out = smx_evaluation {
            unit_log_likelihoods: unit.as_mut_ptr(),
            responsibilities: r.as_mut_ptr(),
            weight_gradient: ga.as_mut_ptr(),
            atom_gradient: gt.as_mut_ptr(),
            ..new!(smx_evaluation, smx_evaluation_init)
        };
        // SAFETY: every array has the size that the header gives, every struct is made by its initialiser.
        unsafe {
            let mut ws = memory(smx_whiten_workspace(&data));
            assert_eq!(smx_whiten(&data, null(), &mut whitening, ws.as_mut_ptr().cast(), ws.len(), null_mut()), SMX_OK);
            assert_close("sigma", &s, &case.floats("sigma"), 1e-12);
            let options =
                smx_evaluate_options { ridge: case.ridge, covariance: s.as_ptr(), ..new!(smx_evaluate_options, smx_evaluate_options_init) };
            let mut ws = memory(smx_evaluate_workspace(&data, k));
            let (p, n) = (ws.as_mut_ptr().cast::<c_void>(), ws.len());
            assert_eq!(smx_evaluate(&data, k, alpha, theta, &options, &mut out, p, n, null_mut()), SMX_OK);
            assert_close("loglik", &[out.log_likelihood], &[case.float("loglik")], 1e-12);
            assert_close("penalized", &[out.penalized_log_likelihood], &[case.float("penalized")], 1e-12);
            assert_close("unit_loglik", &unit, &case.floats("unit_loglik"), 1e-12);
            assert_close("responsibilities", &r, &case.floats("responsibilities"), 1e-12);
            assert_close("grad_theta", &gt, &case.floats("grad_theta_by_class"), 1e-12);
            let mut ws = memory(smx_information_workspace(&data, k));
            let (p, n) = (ws.as_mut_ptr().cast::<c_void>(), ws.len());
            assert_eq!(smx_score_products(&data, k, alpha, theta, 0, null(), info.as_mut_ptr(), p, n, null_mut()), SMX_OK);
            assert_close("score_products", &info, &case.floats("score_products"), 1e-12);
            assert_eq!(smx_information(&data, k, alpha, theta, &options, info.as_mut_ptr(), p, n, null_mut()), SMX_OK);
            assert_close("observed_information", &info, &case.floats("observed_information"), 1e-12);
            // Minus the unpenalised Hessian, a column.
            assert_eq!(smx_information(&data, k, alpha, theta, null(), info.as_mut_ptr(), p, n, null_mut()), SMX_OK);
            vector[d - 1] = -1.0;
            let mut ws = memory(smx_hessian_vector_workspace(&data, k));
            let (p, n) = (ws.as_mut_ptr().cast::<c_void>(), ws.len());
            let status = smx_hessian_vector(&data, k, alpha, theta, vector.as_ptr(), null(), product.as_mut_ptr(), p, n, null_mut());
            assert_eq!(status, SMX_OK);
            let largest = info.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            for (i, x) in product.iter().enumerate() {
                assert!((x - info[i * d + d - 1]).abs() <= 1e-12 * largest, "hessian_vector[{i}]");
            }
            // One converged step.
            let (mut alpha, mut theta, mut before) = (case.alpha.clone(), case.theta.clone(), 0.0);
            let options = smx_em_options { m_step: SMX_M_STEP_CONVERGED, ridge: case.ridge, ..new!(smx_em_options, smx_em_options_init) };
            let mut ws = memory(smx_em_step_workspace(&data, k, &options));
            let (p, n) = (ws.as_mut_ptr().cast::<c_void>(), ws.len());
            let (a, t) = (alpha.as_mut_ptr(), theta.as_mut_ptr());
            let status = smx_em_step(&data, &whitening, k, &options, a, t, &mut before, null_mut(), p, n, null_mut());
            assert_eq!(status, SMX_OK);
            assert_close("before", &[before], &[case.float("loglik")], 1e-12);
            assert_close("em_alpha", &alpha, &case.floats("em_alpha"), 1e-7);
            assert_close("em_theta", &theta, &case.floats("em_theta_by_class"), 1e-7);
        }
    }
}

#[cfg(feature = "std")]
unsafe extern "C-unwind" fn panics(_: *const smx_progress, _: *mut c_void) -> i32 {
    panic!("injected")
}

/// Features that are not finite are found by what comes out of an evaluation, in every layout, wherever they are, and whether or not the
/// gradient is asked for, which has a part of every feature.
#[test]
fn an_evaluation_finds_features_that_are_not_finite() {
    struct Case {
        rows: usize,
        columns: usize,
        set_rows: usize,
        observed: usize,
        by_columns: bool,
        /// Every eleventh alternative is not available.
        offset: bool,
        places: usize,
    }
    let plain = Case { rows: 300, columns: 3, set_rows: 300, observed: 300, by_columns: false, offset: false, places: 40 };
    let cases = [
        Case { ..plain },
        Case { observed: 20, ..plain },
        Case { by_columns: true, offset: true, ..plain },
        Case { offset: true, observed: 20, ..plain },
        Case { set_rows: 5, ..plain },
        Case { set_rows: 5, offset: true, ..plain },
        Case { set_rows: 150, offset: true, ..plain },
        Case { rows: 120, columns: 60, set_rows: 5, ..plain },
        Case { rows: 1_100_000, columns: 1, set_rows: 1_100_000, places: 2, ..plain },
    ];
    for Case { rows, columns, set_rows, observed, by_columns, offset, places } in cases {
        let mut x: Vec<f64> = (0..rows * columns).map(|i| ((i * 7919) % 101) as f64 / 50.0 - 1.0).collect();
        let b: Vec<f64> = (0..rows).map(|i| if i % 11 == 7 { f64::NEG_INFINITY } else { 0.1 }).collect();
        let counts: Vec<f64> = (0..rows).map(|i| f64::from(u8::from(i < observed.min(rows) && !(offset && i % 11 == 7)))).collect();
        let sets: Vec<usize> = (0..=rows / set_rows).map(|s| s * set_rows).collect();
        let (weights, mut atoms) = ([0.4, 0.6], vec![0.3; 2 * columns]);
        atoms[columns..].fill(-0.2);
        let data = smx_data {
            rows,
            columns,
            row_stride: if by_columns { 1 } else { 0 },
            column_stride: if by_columns { rows } else { 0 },
            counts: counts.as_ptr(),
            offset: if offset { b.as_ptr() } else { null() },
            set_offsets: sets.as_ptr(),
            sets: sets.len() - 1,
            ..new!(smx_data, smx_data_init)
        };
        // SAFETY: every array has the size that the description gives.
        let mut ws = memory(unsafe { smx_evaluate_workspace(&data, 2) });
        let mut gradient = vec![0.0; 2 * columns];
        let mut evaluate_at = |x: &[f64], atoms: &[f64]| {
            let data = smx_data { features: x.as_ptr().cast(), ..data };
            let [with, without] = [gradient.as_mut_ptr(), null_mut()].map(|atom_gradient| {
                let mut out = smx_evaluation { atom_gradient, ..new!(smx_evaluation, smx_evaluation_init) };
                let mut error = new!(smx_error, smx_error_init);
                // SAFETY: as above.
                let status = unsafe {
                    smx_evaluate(&data, 2, weights.as_ptr(), atoms.as_ptr(), null(), &mut out, ws.as_mut_ptr().cast(), ws.len(), &mut error)
                };
                assert_eq!(status == SMX_OK, out.log_likelihood != 0.0, "numbers are written only when all is well");
                (status, error.row, error.column)
            });
            assert_eq!(with, without, "with the gradient and without");
            with
        };
        let mut evaluate = |x: &[f64]| evaluate_at(x, &atoms);
        assert_eq!(evaluate(&x).0, SMX_OK);
        for place in 0..places {
            let i = (place * 104_729 + place / 7) % x.len();
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                let kept = std::mem::replace(&mut x[i], bad);
                let (row, column) = if by_columns { (i % rows, i / rows) } else { (i / columns, i % columns) };
                assert_eq!(evaluate(&x), (SMX_NOT_FINITE, row, column), "{bad} at {row}, {column}");
                x[i] = kept;
            }
        }
        // Nothing but NaN in the last block, which nobody chose from where few alternatives were chosen.
        let first = (rows - 1) / 256 * 256;
        let place = |row: usize| if by_columns { 2 % columns * rows + row } else { row * columns + 2 % columns };
        let block = || (first..rows).map(place);
        let kept: Vec<f64> = block().map(|i| std::mem::replace(&mut x[i], f64::NAN)).collect();
        assert_eq!(evaluate(&x), (SMX_NOT_FINITE, first, 2 % columns), "a block of NaN");
        block().zip(kept).for_each(|(i, kept)| x[i] = kept);
        // The same of infinite ones, whose logits are −∞ under both classes.
        let mut falling = x.clone();
        (0..rows).filter(|row| *row >= first).for_each(|row| falling[place(row)] = f64::NEG_INFINITY);
        assert_eq!(evaluate_at(&falling, &vec![0.2; 2 * columns]), (SMX_NOT_FINITE, first, 2 % columns), "a block of −∞");
    }
}

/// The mixtures of the options have names of their own in errors.
#[test]
fn errors_tell_the_mixtures_of_a_call_apart() {
    let case = &golden()[0];
    let data = describe(&case.panel);
    let n = 2 * data.columns;
    let (halves, wrong, start) = ([0.5; 2], [0.5, 0.6], vec![0.1; n]);
    let fit = |change: &dyn Fn(&mut smx_fit_options)| {
        let (mut weights, mut atoms) = (vec![0.0; 3], vec![0.0; 3 * data.columns]);
        let mut options = new!(smx_fit_options, smx_fit_options_init);
        change(&mut options);
        let mut result =
            smx_fit_result { weights: weights.as_mut_ptr(), atoms: atoms.as_mut_ptr(), ..new!(smx_fit_result, smx_fit_result_init) };
        let mut error = new!(smx_error, smx_error_init);
        let classes = if options.grow_weights.is_null() && options.grow_atoms.is_null() { 2 } else { 3 };
        // SAFETY: every array has the size that the description gives.
        let mut ws = memory(unsafe { smx_fit_workspace(&data, classes, &options) });
        // SAFETY: as above.
        let status = unsafe { smx_fit(&data, classes, &options, &mut result, ws.as_mut_ptr().cast(), ws.len(), &mut error) };
        // SAFETY: a string that ends in 0, by the header.
        (status, unsafe { std::ffi::CStr::from_ptr(error.argument.as_ptr()) }.to_str().unwrap().to_owned())
    };
    for (change, expected) in [
        (&(|o: &mut smx_fit_options| o.start_weights = halves.as_ptr()) as &dyn Fn(&mut smx_fit_options), (SMX_NULL, "start_atoms")),
        (&|o| o.start_atoms = start.as_ptr(), (SMX_NULL, "start_weights")),
        (&|o| (o.start_weights, o.start_atoms) = (wrong.as_ptr(), start.as_ptr()), (SMX_NOT_ON_SIMPLEX, "start_weights")),
        (&|o| (o.grow_weights, o.grow_atoms) = (wrong.as_ptr(), start.as_ptr()), (SMX_NOT_ON_SIMPLEX, "grow_weights")),
    ] {
        assert_eq!(fit(change), (expected.0, expected.1.to_owned()));
    }
}

#[test]
#[cfg(feature = "std")]
fn a_panic_deep_inside_a_fit_is_a_status() {
    let case = &golden()[0];
    let data = describe(&case.panel);
    let (mut weights, mut atoms) = (vec![0.0; 2], vec![0.0; 2 * data.columns]);
    let options = smx_fit_options { progress: Some(panics), ..new!(smx_fit_options, smx_fit_options_init) };
    let mut result =
        smx_fit_result { weights: weights.as_mut_ptr(), atoms: atoms.as_mut_ptr(), ..new!(smx_fit_result, smx_fit_result_init) };
    let mut error = new!(smx_error, smx_error_init);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    // SAFETY: as above.
    let status = unsafe {
        let mut ws = memory(smx_fit_workspace(&data, 2, &options));
        smx_fit(&data, 2, &options, &mut result, ws.as_mut_ptr().cast(), ws.len(), &mut error)
    };
    std::panic::set_hook(hook);
    assert_eq!((status, error.status), (SMX_PANIC, SMX_PANIC));
    // The next call is as good as ever.
    // SAFETY: as above.
    assert_eq!(unsafe { smx_data_check(&data, null_mut(), &mut error) }, SMX_OK);
}

/// Numbers that break things.
fn wild() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => -3.0..3.0f64,
        1 => Just(0.0),
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300, -1e300, 1e-300, f64::MAX, f64::MIN_POSITIVE]),
    ]
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![12 => 0usize..7, 1 => prop::sample::select(vec![usize::MAX, usize::MAX / 2, usize::MAX / 8 + 1])]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("SOFTMIX_CASES").map_or(4000, |n| n.parse().unwrap()),
        max_global_rejects: u32::MAX,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Arrays have the length that honest sizes say; anything may stand in them and in the sizes.
    #[test]
    fn any_description_gets_a_status(
        values in prop::collection::vec(wild(), 36),
        counts in prop::collection::vec(wild(), 12),
        offset in prop::option::weighted(0.3, prop::collection::vec(wild(), 6)),
        sizes in prop::collection::vec(size(), 8),
        offsets in prop::collection::vec(size(), 8),
        indices in prop::collection::vec(size(), 8),
        names in prop::collection::vec(-1i32..4, 4),
        classes in size(),
        ridge in wild(),
        sane in any::<bool>(),
    ) {
        let mut offsets = offsets;
        if sane {
            offsets.sort_unstable();
            offsets[0] = 0;
        }
        let data = smx_data {
            features: values.as_ptr().cast(),
            dtype: names[0],
            choices: names[1],
            rows: sizes[0],
            columns: sizes[1],
            row_stride: if sane { 0 } else { sizes[2] },
            column_stride: if sane { 0 } else { sizes[3] },
            offset: offset.as_ref().map_or(null(), |b| b.as_ptr()),
            set_offsets: if sizes[4] == 0 { null() } else { offsets.as_ptr() },
            sets: sizes[4],
            units: sizes[5],
            entries: sizes[6],
            indptr: offsets.as_ptr(),
            indices: indices.as_ptr(),
            counts: counts.as_ptr(),
            weights: null(),
            ..new!(smx_data, smx_data_init)
        };
        // Lengths that the program states must be true: what would be read must be there.
        let last = |n: usize, stride: usize| n.saturating_sub(1).saturating_mul(stride);
        let (rs, cs) = (if data.row_stride == 0 { sizes[1] } else { data.row_stride }, data.column_stride.max(1));
        let extent = last(sizes[0], rs).saturating_add(last(sizes[1], cs));
        prop_assume!(!(36..=usize::MAX / 8).contains(&extent));
        let mut error = new!(smx_error, smx_error_init);
        let k = if classes > 6 { classes } else { classes.min(4) };
        let (mut weights, mut atoms) = (vec![0.0; 8], vec![0.0; 64]);
        let mut evaluation = new!(smx_evaluation, smx_evaluation_init);
        let options = smx_fit_options {
            max_evaluations: 60, starts: 2, ridge: ridge.abs(), isa: SMX_ISA_AUTO, ..new!(smx_fit_options, smx_fit_options_init)
        };
        let mut result = smx_fit_result {
            weights: weights.as_mut_ptr(), atoms: atoms.as_mut_ptr(), ..new!(smx_fit_result, smx_fit_result_init)
        };
        // SAFETY: arrays are as long as honest sizes say, and sizes beyond them overflow before anything is read.
        unsafe {
            let status = smx_data_check(&data, null_mut(), &mut error);
            prop_assert!(status <= SMX_OK && status != SMX_PANIC, "check: {status}");
            prop_assert_eq!(status, error.status);
            let equal = [1.0 / k.clamp(1, 8) as f64; 8];
            let call = |size: usize, f: &mut dyn FnMut(*mut c_void, usize) -> i32| -> i32 {
                let mut ws = vec![0u8; if size > 1 << 24 { 64 } else { size }];
                f(ws.as_mut_ptr().cast(), ws.len())
            };
            let evaluated = call(smx_evaluate_workspace(&data, k), &mut |p, n| {
                smx_evaluate(&data, k, equal.as_ptr(), values.as_ptr(), null(), &mut evaluation, p, n, null_mut())
            });
            prop_assert!(evaluated <= SMX_OK && evaluated != SMX_PANIC, "evaluate: {evaluated}");
            prop_assert!(evaluated != SMX_OK || evaluation.log_likelihood.is_finite());
            let fitted = call(smx_fit_workspace(&data, k, &options), &mut |p, n| {
                smx_fit(&data, k, &options, &mut result, p, n, &mut error)
            });
            prop_assert!(fitted <= SMX_OK && fitted != SMX_PANIC, "fit: {fitted}");
            prop_assert_eq!(fitted, error.status);
            if fitted == SMX_OK {
                prop_assert!(status == SMX_OK && result.log_likelihood.is_finite());
                let sum: f64 = weights[..k].iter().sum();
                prop_assert!((sum - 1.0).abs() < 1e-9, "weights sum to {sum}");
                prop_assert!(atoms[..k * sizes[1]].iter().all(|a| a.is_finite()), "atoms {atoms:?}");
            }
        }
    }
}
