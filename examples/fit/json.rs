//! Solutions as JSON, shortest round-trip numbers and `null` for what is not finite; and a solution read back as a start.
//!
//! Classes are numbered from 0, in the order in which they stand. `criteria.icl` is `bic − 2 Σ_u w_u Σ_k r_uk ln r_uk`. After
//! `--evaluate` the outcome is `null`.

use crate::args::Classes;
use crate::fault::{Fault, Result, bad, listed, usage};
use crate::input::Input;
use crate::solve::Solution;
use serde::{Deserialize, Serialize};
use softmix::mixture::{Mixture, MixtureRef};
use std::fs;
use std::path::Path;

#[derive(Serialize)]
struct FitJson<'a> {
    log_likelihood: f64,
    penalized_log_likelihood: f64,
    outcome: Option<&'static str>,
    diverging_classes: Vec<usize>,
    empty_classes: Vec<usize>,
    gradient_norm: f64,
    evaluations: u64,
    passes: u64,
    seconds: f64,
    features: &'a [String],
    unidentified: Vec<&'a str>,
    classes: Vec<ClassJson<'a>>,
    starts: StartsJson,
    criteria: CriteriaJson,
}

#[derive(Serialize)]
struct ClassJson<'a> {
    weight: f64,
    atom: &'a [f64],
    weight_standard_error: f64,
    standard_errors: &'a [f64],
    robust_standard_errors: &'a [f64],
}

#[derive(Serialize)]
struct StartsJson {
    kinds: Vec<&'static str>,
    log_likelihoods: Vec<f64>,
    at_best: usize,
}

#[derive(Serialize)]
struct CriteriaJson {
    parameters: usize,
    n: f64,
    aic: f64,
    bic: f64,
    icl: f64,
}

#[derive(Serialize)]
struct ScanJson<'a> {
    fits: Vec<FitJson<'a>>,
    best_by: BestBy,
}

/// Numbers of classes that minimise a criterion.
#[derive(Serialize)]
pub struct BestBy {
    pub aic: Option<usize>,
    pub bic: Option<usize>,
    pub icl: Option<usize>,
}

impl BestBy {
    pub fn of(solutions: &[Solution]) -> Self {
        let best = |criterion: fn(&Solution) -> f64| {
            let finite = solutions.iter().filter(|s| criterion(s).is_finite());
            finite.min_by(|a, b| criterion(a).total_cmp(&criterion(b))).map(|s| s.classes.len())
        };
        BestBy { aic: best(|s| s.criteria.aic), bic: best(|s| s.criteria.bic), icl: best(|s| s.criteria.icl) }
    }
}

impl<'a> FitJson<'a> {
    fn new(input: &'a Input, s: &'a Solution) -> Self {
        let class = |c: &'a crate::solve::Class| ClassJson {
            weight: c.weight,
            atom: &c.atom,
            weight_standard_error: c.weight_error,
            standard_errors: &c.errors,
            robust_standard_errors: &c.robust_errors,
        };
        let unidentified = input.names.iter().zip(&s.unidentified).filter(|(_, u)| **u).map(|(n, _)| n.as_str());
        let c = s.criteria;
        FitJson {
            log_likelihood: s.value.log_likelihood,
            penalized_log_likelihood: s.value.penalized_log_likelihood,
            outcome: s.ending.map(|(outcome, _)| outcome.name()),
            diverging_classes: s.diverging_classes(),
            empty_classes: s.empty_classes(),
            gradient_norm: s.gradient_norm,
            evaluations: s.evaluations,
            passes: s.passes,
            seconds: s.seconds,
            features: &input.names,
            unidentified: unidentified.collect(),
            classes: s.classes.iter().map(class).collect(),
            starts: StartsJson {
                kinds: s.starts.iter().map(|(kind, _)| kind.name()).collect(),
                log_likelihoods: s.starts.iter().map(|(_, f)| *f).collect(),
                at_best: s.at_best,
            },
            criteria: CriteriaJson { parameters: c.parameters, n: c.observations, aic: c.aic, bic: c.bic, icl: c.icl },
        }
    }
}

/// The text of one solution, or of a scan.
pub fn text(input: &Input, solutions: &[Solution], scan: bool) -> Result<String> {
    let mut fits: Vec<FitJson<'_>> = solutions.iter().map(|s| FitJson::new(input, s)).collect();
    let text = match fits.pop() {
        Some(one) if !scan => serde_json::to_string_pretty(&one),
        last => {
            fits.extend(last);
            serde_json::to_string_pretty(&ScanJson { fits, best_by: BestBy::of(solutions) })
        }
    };
    text.map(|t| t + "\n").or_else(|e| bad(e.to_string()))
}

/// A fit as JSON of this program.
#[derive(Deserialize)]
struct GivenJson {
    #[serde(default)]
    features: Vec<String>,
    #[serde(default)]
    classes: Vec<GivenClass>,
    /// Of a scan.
    #[serde(default)]
    fits: Vec<GivenJson>,
}

#[derive(Deserialize)]
struct GivenClass {
    weight: f64,
    atom: Vec<f64>,
}

/// Reads the mixture of a file, of a scan that with so many `classes`, and checks it against the names of the features.
pub fn mixture(path: &Path, names: &[String], classes: Option<Classes>) -> Result<Mixture> {
    let at = path.display();
    let text = fs::read_to_string(path).map_err(|e| Fault::file(path, e))?;
    let mut json: GivenJson = serde_json::from_str(&text).map_err(|e| Fault::file(path, format!("not a fit as JSON: {e}")))?;
    let mut fits = std::mem::take(&mut json.fits);
    if !fits.is_empty() {
        let Some(k) = classes.map(|c| c.first) else {
            return usage(format!("--classes is missing: {at} is a scan, which of its fits is the start?"));
        };
        match fits.iter().position(|f| f.classes.len() == k) {
            Some(i) => json = fits.swap_remove(i),
            None => return usage(format!("--classes {k}: {at} is a scan without such a fit")),
        }
    }
    let k = json.classes.len();
    if k == 0 {
        return bad(format!("{at}: no classes"));
    }
    if let Some(c) = classes.filter(|c| c.first != k) {
        return usage(format!("--classes {}: {at} has {k} classes", c.first));
    }
    let told = !json.features.is_empty() && !Input::nameless(&json.features) && !Input::nameless(names);
    if told && json.features != names {
        return bad(format!("{at}: its features are {}, those of the data {}", listed(&json.features), listed(names)));
    }
    if let Some((j, c)) = json.classes.iter().enumerate().find(|(_, c)| c.atom.len() != names.len()) {
        return bad(format!("{at}: classes[{j}].atom has {} numbers for {} features", c.atom.len(), names.len()));
    }
    let weights: Vec<f64> = json.classes.iter().map(|c| c.weight).collect();
    let atoms: Vec<f64> = json.classes.into_iter().flat_map(|c| c.atom).collect();
    MixtureRef::new(&weights, &atoms, names.len()).map_err(|e| Fault::file(path, e))?;
    Ok(Mixture { weights, atoms })
}
