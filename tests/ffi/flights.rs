//! The same fits from C and from Rust.

use crate::common::{flights, total_counts};
use crate::library::{Link, compile, root, run};
use softmix::data::{Choices, Data, Features};
use softmix::fit::{Fit, FitOptions, Outcome};
use std::process::Command;

#[test]
fn c_and_rust_find_the_same_flights() {
    let f = flights();
    let (p, totals) = (f.rows(), total_counts(&f));
    let single: Vec<f32> = f.features.iter().map(|x| *x as f32).collect();
    let double = Features::row_major(&f.features[..], p, 5).unwrap();
    let single = Features::row_major(&single[..], p, 5).unwrap();
    let counts = Choices::Counts(&totals);
    let units = Choices::Units { indptr: &f.indptr, indices: &f.indices, counts: Some(&f.counts), weights: None };
    let mut expected = Vec::new();
    for (layout, features, choices, classes) in
        [("counts", double, counts, 1), ("counts", double, counts, 2), ("counts_f32", single, counts, 2), ("units", double, units, 2)]
    {
        let data = Data::new(features, None, None, choices).unwrap();
        let fit = Fit::new(&data, &FitOptions::new(classes)).unwrap();
        assert_eq!(fit.report.outcome, Outcome::Converged, "{layout}");
        expected.push((layout, classes, fit.report.log_likelihood));
    }
    // The best known optima.
    for (i, best) in [(0, -1501802.268710), (1, -1479194.617), (3, -1437052.191213)] {
        assert!((expected[i].2 - best).abs() <= 1e-2, "{}", expected[i].2);
    }
    let program = compile("flights.c", "cc", &["-std=c99"], Link::Shared);
    let output = run(Command::new(program).arg(root().join("data")));
    let mut fits = Vec::new();
    for line in output.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        if words[0] == "em" {
            assert_eq!(words[1], "5", "all five features are identified");
            let l: f64 = words[2].parse().unwrap();
            assert!((-1502000.0..-1480839.0).contains(&l), "{l}: ten steps come near one class, and not past two");
            continue;
        }
        assert_eq!(words[4], "1", "converged: {line}");
        let (fit, evaluated): (f64, f64) = (words[2].parse().unwrap(), words[3].parse().unwrap());
        assert!((fit - evaluated).abs() <= 1e-12 * fit.abs(), "{line}");
        fits.push((words[0], words[1].parse().unwrap(), fit));
    }
    // One library, one machine: the same bits.
    assert_eq!(fits, expected);
}
