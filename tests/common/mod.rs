//! What the tests share: the cases of the oracle, shipped data, and generated jobs.
#![allow(dead_code)]

#[cfg(feature = "alloc")]
pub mod model;
pub mod random;
pub mod simulate;

use serde_json::Value;
use softmix::data::{Choices, Data, Features};

/// Data that own their memory, in units of compressed rows.
pub struct Panel {
    pub features: Vec<f64>,
    pub columns: usize,
    pub sets: Vec<usize>,
    pub offset: Option<Vec<f64>>,
    pub indptr: Vec<usize>,
    pub indices: Vec<usize>,
    pub counts: Vec<f64>,
    pub weights: Vec<f64>,
}

impl Panel {
    pub fn rows(&self) -> usize {
        self.features.len() / self.columns
    }

    pub fn data(&self) -> Data<'_> {
        let features = Features::row_major(&self.features[..], self.rows(), self.columns).unwrap();
        let choices =
            Choices::Units { indptr: &self.indptr, indices: &self.indices, counts: Some(&self.counts), weights: Some(&self.weights) };
        Data::new(features, self.offset.as_deref(), Some(&self.sets), choices).unwrap()
    }
}

pub fn floats(v: &Value) -> Vec<f64> {
    match v {
        Value::Array(a) => a.iter().flat_map(floats).collect(),
        v => vec![v.as_f64().unwrap()],
    }
}

pub struct Golden {
    pub panel: Panel,
    pub ridge: f64,
    pub alpha: Vec<f64>,
    pub theta: Vec<f64>,
    pub values: Value,
}

impl Golden {
    pub fn floats(&self, name: &str) -> Vec<f64> {
        floats(&self.values[name])
    }

    pub fn float(&self, name: &str) -> f64 {
        self.values[name].as_f64().unwrap()
    }
}

pub fn golden() -> Vec<Golden> {
    let cases: Value = serde_json::from_str(include_str!("../oracle/golden.json")).unwrap();
    let case = |c: &Value| {
        let rows = c["unit_rows"].as_array().unwrap();
        let mut indptr = vec![0];
        for r in rows {
            indptr.push(indptr.last().unwrap() + r.as_array().unwrap().len());
        }
        let offset = floats(&c["row_offset"]);
        Golden {
            panel: Panel {
                features: floats(&c["features"]),
                columns: c["features"][0].as_array().unwrap().len(),
                sets: floats(&c["set_offsets"]).iter().map(|x| *x as usize).collect(),
                offset: offset.iter().any(|b| *b != 0.0).then_some(offset),
                indptr,
                indices: floats(&c["unit_rows"]).iter().map(|x| *x as usize).collect(),
                counts: floats(&c["unit_counts"]),
                weights: floats(&c["unit_weights"]),
            },
            ridge: c["ridge"].as_f64().unwrap(),
            alpha: floats(&c["alpha"]),
            theta: floats(&c["theta_by_class"]),
            values: c.clone(),
        }
    };
    cases.as_array().unwrap().iter().map(case).collect()
}

/// Asserts that entries agree to `tolerance` times the largest of the expected.
#[track_caller]
pub fn assert_close(name: &str, got: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(got.len(), expected.len(), "{name}: lengths");
    let largest = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= tolerance * largest, "{name}[{i}]: {g} is not {e} (largest {largest})");
    }
}

/// A little-endian f64 array in NumPy's format, C order.
pub fn npy(bytes: &[u8]) -> Vec<f64> {
    let header = 10 + u16::from_le_bytes([bytes[8], bytes[9]]) as usize;
    assert!(bytes.starts_with(b"\x93NUMPY\x01") && bytes[..header].windows(3).any(|w| w == b"<f8"));
    bytes[header..].chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
}

/// Rows of a CSV file, by column name.
pub struct Table {
    names: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn read(file: &str) -> Self {
        let path = format!("{}/data/{file}", env!("CARGO_MANIFEST_DIR"));
        let mut reader = csv::Reader::from_path(&path).unwrap();
        let names = reader.headers().unwrap().iter().map(String::from).collect();
        let rows = reader.records().map(|r| r.unwrap().iter().map(String::from).collect()).collect();
        Table { names, rows }
    }

    pub fn strings(&self, name: &str) -> Vec<&str> {
        let j = self.names.iter().position(|n| n == name).unwrap();
        self.rows.iter().map(|r| r[j].as_str()).collect()
    }

    pub fn floats(&self, name: &str) -> Vec<f64> {
        self.strings(name).iter().map(|s| s.parse().unwrap()).collect()
    }

    /// The columns of `names` side by side, row-major.
    pub fn matrix(&self, names: &[&str]) -> Vec<f64> {
        let columns: Vec<Vec<f64>> = names.iter().map(|n| self.floats(n)).collect();
        (0..self.rows.len()).flat_map(|i| columns.iter().map(move |c| c[i])).collect()
    }
}

/// The first `people` of the electricity panel.
pub fn electricity(people: usize) -> Panel {
    let t = Table::read("electricity.csv");
    let (id, set) = (t.floats("id"), t.floats("chid"));
    let (chosen, features) = (t.floats("choice"), t.matrix(&["pf", "cl", "loc", "wk", "tod", "seas"]));
    let rows = id.iter().position(|i| *i as usize > people).unwrap_or(id.len());
    let mut panel = Panel {
        features: features[..rows * 6].to_vec(),
        columns: 6,
        sets: vec![],
        offset: None,
        indptr: vec![],
        indices: vec![],
        counts: vec![],
        weights: vec![],
    };
    for i in 0..rows {
        if i == 0 || set[i] != set[i - 1] {
            panel.sets.push(i);
        }
        if i == 0 || id[i] != id[i - 1] {
            panel.indptr.push(panel.indices.len());
        }
        if chosen[i] == 1.0 {
            panel.indices.push(i);
            panel.counts.push(1.0);
        }
    }
    panel.sets.push(rows);
    panel.indptr.push(panel.indices.len());
    panel.weights = vec![1.0; panel.indptr.len() - 1];
    panel
}

/// Flights by carrier and origin: 35 units with counts over one choice set of 101 destinations.
pub fn flights() -> Panel {
    let items = Table::read("flights_items.csv");
    let features = items.matrix(&["lat", "lon", "alt", "tz", "distance"]);
    let names = items.strings("dest");
    let long = Table::read("flights_counts.csv");
    let (carrier, origin, dest, n) = (long.strings("carrier"), long.strings("origin"), long.strings("dest"), long.floats("n"));
    let mut units: std::collections::BTreeMap<(&str, &str), Vec<f64>> = Default::default();
    for j in 0..n.len() {
        let row = names.iter().position(|d| *d == dest[j]).unwrap();
        units.entry((carrier[j], origin[j])).or_insert_with(|| vec![0.0; names.len()])[row] += n[j];
    }
    let mut panel = Panel {
        features,
        columns: 5,
        sets: vec![0, names.len()],
        offset: None,
        indptr: vec![0],
        indices: vec![],
        counts: vec![],
        weights: vec![1.0; units.len()],
    };
    for counts in units.values() {
        for (i, n) in counts.iter().enumerate().filter(|(_, n)| **n > 0.0) {
            panel.indices.push(i);
            panel.counts.push(*n);
        }
        panel.indptr.push(panel.indices.len());
    }
    panel
}

/// The counts of all units together.
pub fn total_counts(panel: &Panel) -> Vec<f64> {
    let mut counts = vec![0.0; panel.rows()];
    for (i, n) in panel.indices.iter().zip(&panel.counts) {
        counts[*i] += n;
    }
    counts
}

/// A file of `tests/jobs`.
pub fn job(name: &str) -> Vec<f64> {
    npy(&std::fs::read(format!("{}/tests/jobs/{name}.npy", env!("CARGO_MANIFEST_DIR"))).unwrap())
}

/// Job C: 200 people with 8 choices of 2 to 5 alternatives, 2 features, drawn from four classes with atoms of norm 1.
pub fn job_c() -> Panel {
    let whole = |name: &str| -> Vec<usize> { job(name).iter().map(|i| *i as usize).collect() };
    let indices = whole("c_choices");
    Panel {
        features: job("c_features"),
        columns: 2,
        sets: whole("c_sets"),
        offset: None,
        indptr: (0..=200).map(|u| 8 * u).collect(),
        counts: vec![1.0; indices.len()],
        weights: vec![1.0; 200],
        indices,
    }
}

/// Job B: 300 people with 12 choices of 4 alternatives, 6 features.
pub fn job_b(classes: usize) -> Panel {
    let indices: Vec<usize> = job(&format!("b_k{classes}_choices")).iter().map(|i| *i as usize).collect();
    Panel {
        features: job(&format!("b_k{classes}_features")),
        columns: 6,
        sets: (0..=3600).map(|s| 4 * s).collect(),
        offset: None,
        indptr: (0..=300).map(|u| 12 * u).collect(),
        counts: vec![1.0; indices.len()],
        indices,
        weights: vec![1.0; 300],
    }
}
