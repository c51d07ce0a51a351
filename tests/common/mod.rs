//! What the tests share: the cases of the oracle, shipped data, and generated jobs.
#![allow(dead_code)]

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
