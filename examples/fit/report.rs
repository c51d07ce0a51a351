//! The solution for people: what was fitted, the classes, and how far to trust it.

use crate::args::Job;
use crate::input::{Alternative, Input};
use crate::json::BestBy;
use crate::solve::Solution;
use softmix::fit::{Outcome, StopRule, default_starts, is_empty_class};
use softmix::parallel::Context;
use softmix::scan::Profile;
use std::collections::BTreeMap;
use std::fmt::Write;

/// The longest line.
const WIDTH: usize = 110;
/// The longest table of features; the JSON has them all.
const MOST_FEATURES: usize = 40;
/// Alternatives named for every class.
const FAVOURITES: usize = 5;
/// Units named for every class, where they are not so many that names say nothing.
const MOST_UNITS: usize = 24;
const MOST_NAMED: usize = 200;
/// Where the text of an entry begins.
const INDENT: usize = 16;

/// The whole report.
pub fn text(job: &Job, input: &Input, solutions: &[Solution], scan: bool) -> String {
    let mut out = String::new();
    describe(&mut out, input);
    let detailed = match scan {
        true => {
            let best = BestBy::of(solutions);
            criteria_table(&mut out, solutions, &best);
            profile(&mut out, job, input);
            let by_bic = best.bic.and_then(|k| solutions.iter().find(|s| s.classes.len() == k));
            if let Some(k) = best.bic {
                line(&mut out, &format!("\nThe fit of {k} classes, the best by BIC:"));
            }
            by_bic
        }
        false => solutions.first(),
    };
    if let Some(s) = detailed {
        atoms(&mut out, input, s);
        classes(&mut out, input, s);
        trust(&mut out, job, input, s);
    }
    for (name, path) in [("plot", &job.plot), ("JSON", &job.json)] {
        if let Some(path) = path {
            entry(&mut out, name, &shown(&path.display().to_string()));
        }
    }
    out
}

/// What second moments say of the number of classes, where they apply.
fn profile(out: &mut String, job: &Job, input: &Input) {
    let ctx = Context { threads: job.threads, ..Context::default() };
    let Some(p) = input.data().ok().and_then(|data| Profile::new(&data, ctx).ok()) else { return };
    let values: Vec<String> = p.eigenvalues.iter().take(12).map(|v| format!("{v:.3}")).collect();
    let text = format!("K = {} (eigenvalues {}; noise {:.3})", p.report.suggested_classes, values.join(", "), p.report.noise);
    entry(out, "moments suggest", &text);
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

/// A named line, its text wrapped under itself.
fn entry(out: &mut String, name: &str, text: &str) {
    let mut column = INDENT;
    let _ = write!(out, "{name:<INDENT$}");
    for (i, word) in text.split(' ').enumerate() {
        let width = word.chars().count();
        if i > 0 && column + 1 + width > WIDTH {
            let _ = write!(out, "\n{:INDENT$}", "");
            column = INDENT;
        } else if i > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out.push('\n');
}

fn describe(out: &mut String, input: &Input) {
    let Ok(data) = input.data() else { return };
    let rows = match data.set_count() {
        1 => plural(data.features().rows(), "alternative"),
        sets => format!("{} in {}", plural(data.features().rows(), "row"), plural(sets, "choice set")),
    };
    let units = match &input.units {
        Some(u) => format!("{} ({})", plural(u.labels.len(), "unit"), shown(&u.columns.join("/"))),
        None => "every draw its own unit".into(),
    };
    let choices = format!("{} choices", data.total_choices());
    entry(out, "data", &format!("{}: {rows}, {}, {units}, {choices}", shown(&input.files), plural(input.names.len(), "feature")));
}

/// A name as a terminal can take it: what would move the cursor is replaced.
fn shown(name: &str) -> String {
    name.replace(char::is_control, "\u{fffd}")
}

pub fn plural(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

fn criteria_table(out: &mut String, solutions: &[Solution], best: &BestBy) {
    line(out, "\nclasses  log-likelihood  parameters            AIC            BIC            ICL  outcome      at best  seconds");
    for s in solutions {
        let (k, c) = (s.classes.len(), s.criteria);
        let mark = |value: f64, best: Option<usize>| format!("{value:.2}{}", if best == Some(k) { "*" } else { " " });
        let outcome = s.ending.map_or("", |(o, _)| o.name()).replace('_', " ");
        let at_best = format!("{}/{}", s.at_best, s.starts.len());
        let _ = writeln!(
            out,
            "{k:>7}  {:>14.4}  {:>10}  {:>14} {:>14} {:>14} {outcome:<15} {at_best:>5}  {:>7.2}",
            s.value.log_likelihood,
            c.parameters,
            mark(c.aic, best.aic),
            mark(c.bic, best.bic),
            mark(c.icl, best.icl),
            s.seconds
        );
    }
    line(out, "* the least; at best: starts that end within 1e-8 of the best one; others may leave their race before that");
}

/// Weights and atoms, a column for every class, as many side by side as a line holds.
fn atoms(out: &mut String, input: &Input, s: &Solution) {
    let features = largest_features(s, MOST_FEATURES);
    let weights = row("weight", s.classes.iter().map(|c| (c.weight, c.weight_error)), 3);
    let atoms = features.iter().map(|&l| row(&shown(&input.names[l]), s.classes.iter().map(|c| (c.atom[l], c.errors[l])), 0));
    let rows: Vec<(String, Vec<String>)> = std::iter::once(weights).chain(atoms).collect();
    let label = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max(6);
    let width = rows.iter().flat_map(|(_, cells)| cells).map(|c| c.chars().count()).max().unwrap_or(0);
    let classes: Vec<usize> = (0..s.classes.len()).collect();
    for some in classes.chunks(((WIDTH - label.min(WIDTH / 2)) / (width + 3)).max(1)) {
        let _ = write!(out, "\n{:label$}", "");
        for k in some {
            let _ = write!(out, "   {:^width$}", format!("class {}", k + 1));
        }
        for (name, cells) in &rows {
            let _ = write!(out, "\n{name:<label$}");
            for &k in some {
                let _ = write!(out, "   {:>width$}", cells[k]);
            }
        }
        out.push('\n');
    }
    let hidden = input.names.len() - features.len();
    if hidden > 0 {
        line(out, &format!("(and {}, of less effect)", plural(hidden, "feature")));
    }
    let note = match s.classes.iter().all(|c| c.weight_error.is_nan()) {
        true => {
            "no standard errors: the observed information is not positive definite here;\n\
             where other mixtures fit as well, fewer classes or a --ridge tell more"
        }
        false => "± standard errors from the observed information; the JSON also has those robust to a wrong model",
    };
    line(out, note);
}

/// At most `most` features, those of the largest effect, in their order.
pub fn largest_features(s: &Solution, most: usize) -> Vec<usize> {
    let effect = |l: usize| s.classes.iter().map(|c| (c.atom[l] * s.deviations[l]).abs()).fold(0.0, f64::max);
    let mut order: Vec<usize> = (0..s.deviations.len()).collect();
    order.sort_by(|&a, &b| effect(b).total_cmp(&effect(a)));
    order.truncate(most);
    order.sort_unstable();
    order
}

/// Estimates with their standard errors, all to the same decimal, `fewest` at least.
fn row(name: &str, cells: impl Iterator<Item = (f64, f64)> + Clone, fewest: i32) -> (String, Vec<String>) {
    let least = |values: &mut dyn Iterator<Item = f64>| values.filter(|x| x.is_finite() && *x > 0.0).fold(f64::INFINITY, f64::min);
    let error = least(&mut cells.clone().map(|(_, e)| e));
    // Two digits of the smallest error, else four of the smallest estimate.
    let decimals = match error.is_finite() {
        true => 1 - error.log10().floor() as i32,
        false => 3 - least(&mut cells.clone().map(|(x, _)| x.abs())).clamp(1e-9, 1e9).log10().floor() as i32,
    };
    // Of features of large units, nine decimals would be zeros.
    let (small, decimals) = (decimals > 9, decimals.clamp(fewest, 9) as usize);
    let number = |x: f64| match if x.abs() >= 1e7 || small && x != 0.0 { format!("{x:.3e}") } else { format!("{x:.decimals$}") } {
        // What is rounded to nothing has no sign.
        zero if zero.starts_with('-') && zero.bytes().all(|b| matches!(b, b'-' | b'0' | b'.')) => zero[1..].to_owned(),
        number => number,
    };
    let errors: Vec<String> = cells.clone().map(|(_, e)| if e.is_finite() { number(e) } else { "—".into() }).collect();
    let width = errors.iter().map(|e| e.chars().count()).max().unwrap_or(0);
    let cells = cells.zip(errors).map(|((x, _), e)| format!("{} ± {e:<width$}", number(x)));
    (name.to_owned(), cells.collect())
}

/// What each class favours, and who belongs to it.
fn classes(out: &mut String, input: &Input, s: &Solution) {
    for (k, class) in s.classes.iter().enumerate() {
        let note = match () {
            () if is_empty_class(class.weight) => ", empty: its atom means nothing",
            () if s.diverging[k] => ", running off to infinity",
            () => "",
        };
        line(out, &format!("\nclass {}: weight {:.4}{note}", k + 1, class.weight));
        if s.classes.len() > 1 {
            members_of(input, s, k).into_iter().for_each(|members| entry(out, "  units", &members));
        }
        if !is_empty_class(class.weight) {
            favourites(out, input, s, k);
        }
    }
}

/// The alternatives that the class chooses most, of those that it chooses more than all do, and how much more.
fn favourites(out: &mut String, input: &Input, s: &Solution, k: usize) {
    let classes = s.classes.len();
    let probability = |i: usize| s.by_class[i * classes + k];
    let mut order: Vec<usize> = (0..s.mixed.len()).filter(|&i| classes == 1 || probability(i) > s.mixed[i]).collect();
    order.sort_by(|&a, &b| probability(b).total_cmp(&probability(a)));
    order.truncate(FAVOURITES);
    let labels: Vec<String> = order.iter().map(|&i| label(input.alternatives.as_deref(), i)).collect();
    let width = labels.iter().map(|l| l.chars().count()).max().unwrap_or(0);
    for (j, (&i, label)) in order.iter().zip(&labels).enumerate() {
        let times = if classes > 1 { format!("   {:.1} times the average", probability(i) / s.mixed[i]) } else { String::new() };
        let name = if j == 0 { "  favours" } else { "" };
        line(out, &format!("{name:<INDENT$}{label:<width$}  {:>5.1} %{times}", 100.0 * probability(i)));
    }
}

fn label(alternatives: Option<&[Alternative]>, i: usize) -> String {
    let long = match alternatives.map(|a| &a[i]) {
        Some(Alternative { key, name: Some(name) }) if key != name => format!("{key}  {name}"),
        Some(Alternative { key, .. }) => key.clone(),
        None => format!("row {i}"),
    };
    shown(&long).chars().take(WIDTH / 2).collect()
}

/// The units of which the class is the likeliest: how many, and which, the largest first. Nothing where every draw is its own unit.
pub fn members_of(input: &Input, s: &Solution, class: usize) -> Option<String> {
    const SURE: f64 = 0.95;
    let units = input.units.as_ref()?;
    let total = units.labels.len();
    let likeliest = |r: &[f64]| (0..r.len()).fold(0, |b, k| if r[k] > r[b] { k } else { b });
    let probability = |u: usize| s.responsibilities(u)[class];
    let mut members: Vec<usize> = (0..total).filter(|&u| likeliest(s.responsibilities(u)) == class).collect();
    let sure = members.iter().filter(|u| probability(**u) >= SURE).count();
    let count = match members.len() {
        n if n == sure => format!("{n} of {total}"),
        n => format!("{n} of {total}, {sure} of them with a probability above {SURE}"),
    };
    if total > MOST_NAMED || members.is_empty() {
        return Some(count);
    }
    members.sort_by(|&a, &b| units.sizes[b].total_cmp(&units.sizes[a]));
    let label = |&u: &usize| match &units.labels[u] {
        l if probability(u) >= SURE => shown(l),
        l => format!("{} ({:.2})", shown(l), probability(u)),
    };
    let some: Vec<String> = members.iter().take(MOST_UNITS).map(label).collect();
    let more = if members.len() > some.len() { format!(", and {} more", members.len() - some.len()) } else { String::new() };
    Some(format!("{count}: {}{more}", some.join(", ")))
}

/// How the solution was found, and what to do about what is wrong with it.
fn trust(out: &mut String, job: &Job, input: &Input, s: &Solution) {
    out.push('\n');
    let penalised = match job.ridge > 0.0 {
        true => format!(", {:.6} less the ridge penalty", s.value.penalized_log_likelihood),
        false => String::new(),
    };
    entry(out, "log-likelihood", &format!("{:.6}{penalised}", s.value.log_likelihood));
    entry(out, "outcome", &outcome(job, input, s));
    let unidentified: Vec<&str> = input.names.iter().zip(&s.unidentified).filter(|u| *u.1).map(|u| u.0.as_str()).collect();
    if !unidentified.is_empty() {
        let names = shown(&unidentified.join(", "));
        entry(out, "not identified", &format!("{names}: constant within choice sets or collinear; of the atoms that fit alike, the least"));
    }
    let empty: Vec<String> = s.empty_classes().iter().map(|k| (k + 1).to_string()).collect();
    if !empty.is_empty() {
        let fewer = s.ending.is_some_and(|(outcome, _)| outcome != Outcome::IterationLimit && outcome != Outcome::Cancelled);
        entry(out, "empty classes", &format!("{}{}", empty.join(", "), if fewer { "; fit fewer" } else { "" }));
    }
    if s.ending.is_some() {
        entry(out, "starts", &starts(job, input, s));
        let work = format!("{} evaluations over all starts, {} reads of the features, {:.3} s", s.evaluations, s.passes, s.seconds);
        entry(out, "work", &work);
    }
    let c = s.criteria;
    let units = if c.observations == 1.0 { "1 unit".into() } else { format!("{} units", c.observations) };
    let criteria = format!("AIC {:.3}, BIC {:.3}, ICL {:.3} ({}, {units})", c.aic, c.bic, c.icl, plural(c.parameters, "parameter"));
    entry(out, "criteria", &criteria);
}

fn outcome(job: &Job, input: &Input, s: &Solution) -> String {
    let Some((outcome, rule)) = s.ending else {
        return format!("evaluated at the given start, not fitted; gradient {:.1e}", s.gradient_norm);
    };
    let rule = match rule {
        StopRule::Gradient => "the gradient is within its tolerance",
        StopRule::Rounding => "what there is to gain is below rounding",
        StopRule::NoAscent => "no step ascends",
        StopRule::Evaluations => "the evaluations are spent",
        StopRule::Callback => "interrupted",
        other => other.name(),
    };
    let advice = match outcome {
        Outcome::IterationLimit => "; allow more --max-evaluations".into(),
        Outcome::Stalled => "; the gradient tells how far from a maximum: try another --seed, more --starts, or a --ridge".into(),
        Outcome::Cancelled => "; this is the best so far".into(),
        Outcome::Diverging => {
            let classes: Vec<String> = s.diverging_classes().iter().map(|k| (k + 1).to_string()).collect();
            let (noun, verb) = if classes.len() == 1 { ("class", "runs") } else { ("classes", "run") };
            let classes = classes.join(", ");
            // A thousandth of the observations: little beside the data, much beside nothing.
            let choices = input.data().map_or(1.0, |d| d.total_choices());
            let ridge = if job.ridge > 0.0 { 10.0 * job.ridge } else { (choices / 1000.0).ceil() };
            format!("; {noun} {classes} {verb} off, the likelihood has no finite maximum there: try --ridge {ridge}")
        }
        _ => String::new(),
    };
    format!("{} ({rule}, gradient {:.1e}){advice}", outcome.name().replace('_', " "), s.gradient_norm)
}

fn starts(job: &Job, input: &Input, s: &Solution) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    s.starts.iter().for_each(|(kind, _)| *kinds.entry(kind.name()).or_default() += 1);
    let kinds: Vec<String> = kinds.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    let k = s.classes.len();
    let rule = match (job.starts, &job.init, input.data()) {
        (None, None, Ok(data)) if k > 1 => format!("; the library's own rule: {} at first", default_starts(&data.shape(), k)),
        _ => String::new(),
    };
    let advice = match s.at_best {
        1 if s.starts.len() > 1 => "; a single one, so more --starts or another --seed would tell whether there is better",
        _ => "",
    };
    format!("{} of {} at the best ({}{rule}){advice}", s.at_best, s.starts.len(), kinds.join(", "))
}
