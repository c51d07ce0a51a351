use softmix::{Choices, Data, Features, Fit, FitOptions, MixtureRef, Starts};
use std::collections::HashMap;
fn main() {
    let mut it = csv::Reader::from_path("data/flights_items.csv").unwrap();
    let h = it.headers().unwrap().clone();
    let col = |n: &str| h.iter().position(|c| c == n).unwrap();
    let (mut x, mut names) = (vec![], vec![]);
    for r in it.records() {
        let r = r.unwrap();
        names.push(r[col("dest")].to_string());
        for c in ["lat", "lon", "alt", "tz", "distance"] {
            x.push(r[col(c)].parse::<f64>().unwrap());
        }
    }
    let mut n: HashMap<String, f64> = HashMap::new();
    let mut ct = csv::Reader::from_path("data/flights_counts.csv").unwrap();
    let h = ct.headers().unwrap().clone();
    let col = |n: &str| h.iter().position(|c| c == n).unwrap();
    for r in ct.records() {
        let r = r.unwrap();
        *n.entry(r[col("dest")].into()).or_default() += r[col("n")].parse::<f64>().unwrap();
    }
    let counts: Vec<f64> = names.iter().map(|k| n[k]).collect();
    let f = || Features::row_major(&x[..], counts.len(), 5).unwrap();
    let data = Data::new(f(), None, None, Choices::Counts(&counts)).unwrap();
    let one = Fit::new(&data, &FitOptions::new(1)).unwrap();
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by(|a, b| counts[*b].total_cmp(&counts[*a]));
    println!("{:?}", order.iter().take(25).map(|i| (&names[*i], counts[*i])).collect::<Vec<_>>());
    for set in [
        vec!["BOS", "MIA", "FLL"],
        vec!["BOS", "MIA"],
        vec!["BOS", "FLL"],
        vec!["MIA", "FLL"],
        vec!["BOS"],
        vec!["BOS", "MCO"],
        vec!["BOS", "ATL"],
        vec!["BOS", "MIA", "MCO"],
        vec!["BOS", "MIA", "FLL", "PBI"],
        vec!["BOS", "MIA", "FLL", "ORD"],
    ] {
        for ridge in [10000.0, 1000.0, 100.0, 10.0, 1.0] {
            let c: Vec<f64> = names.iter().zip(&counts).map(|(k, n)| if set.contains(&k.as_str()) { *n } else { 0.0 }).collect();
            let d = Data::new(f(), None, None, Choices::Counts(&c)).unwrap();
            let a = Fit::new(&d, &FitOptions { ridge, ..FitOptions::new(1) }).unwrap();
            let w = c.iter().sum::<f64>() / counts.iter().sum::<f64>();
            let mut atoms = one.mixture.atoms.clone();
            atoms.extend(&a.mixture.atoms);
            let fit = Fit::new(
                &data,
                &FitOptions { starts: Starts::Given(MixtureRef { weights: &[1.0 - w, w], atoms: &atoms }), ..FitOptions::new(2) },
            )
            .unwrap();
            print!("{set:?} {ridge}: {:.3} {:?} | ", fit.report.log_likelihood, fit.report.evaluations);
        }
        println!();
    }
}
