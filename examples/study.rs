//! A study in the paper's manner: normal features, atoms of one norm in random directions, equal weights, counts over one choice set.
//!
//! Questions, each answered by a table and a figure:
//! - How do the errors of the method of moments, of corrected moments and of EM from several starts change with N, p, the norm of the atoms
//!   and K?
//! - How many random starts does a fit need, drawn in all of R^L or in the subspace of the atoms, and what does each cost?
//!
//! Writes `study.csv` (one line a run), `study.md`, `errors_by_draws.svg`, `errors_by_alternatives.svg`, `errors_by_norm.svg`,
//! `errors_by_classes.svg` and `starts.svg`.
//!
//!     cargo run --release --example study -- --quick --out study
//!
//! The error is the mean distance of matched atoms in whitened units, over the best matching.

#[path = "../tests/common/simulate.rs"]
mod simulate;

use self::simulate::{matched_distance, multinomial, scale_to, shares};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use plotters::prelude::*;
use rand::Rng;
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;
use softmix::data::{Choices, Data, Features};
use softmix::em::{MStep, em_step, em_step_workspace};
use softmix::fit::{Fit, FitOptions, Starts};
use softmix::mixture::Mixture;
use softmix::moments::{self, CorrectionOptions, IllPosed};
use softmix::parallel::Context;
use softmix::whiten::Whitening;
use softmix::workspace::WorkspaceBuffer;
use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;

#[derive(Parser)]
#[command(about = "Errors of moments, corrected moments and EM, and what starts are worth, on simulated choices")]
struct Arguments {
    /// Fewer seeds and sizes: about a minute.
    #[arg(long)]
    quick: bool,
    /// Where the table and the figures go.
    #[arg(long, default_value = "study")]
    out: PathBuf,
    /// First seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

type Anything<T> = Result<T, Box<dyn Error>>;

/// One simulated choice set and its truth.
struct Simulation {
    features: Vec<f64>,
    columns: usize,
    counts: Vec<f64>,
    truth: Mixture,
}

#[derive(Clone, Copy)]
struct Setting {
    alternatives: usize,
    columns: usize,
    classes: usize,
    draws: u64,
    norm: f64,
}

fn normal(random: &mut Pcg64) -> f64 {
    random.sample(StandardNormal)
}

fn simulate(setting: Setting, seed: u64) -> Simulation {
    let Setting { alternatives, columns, classes, draws, norm } = setting;
    let mut random = Pcg64::new(u128::from(seed), 1);
    let features: Vec<f64> = (0..alternatives * columns).map(|_| normal(&mut random)).collect();
    let mut atoms: Vec<f64> = (0..classes * columns).map(|_| normal(&mut random)).collect();
    scale_to(norm, &mut atoms, columns);
    let weights = vec![1.0 / classes as f64; classes];
    let counts = multinomial(&shares(&features, columns, &weights, &atoms), draws, &mut random);
    Simulation { features, columns, counts, truth: Mixture { weights, atoms } }
}

impl Simulation {
    fn data(&self) -> softmix::error::Result<Data<'_>> {
        let features = Features::row_major(&self.features[..], self.counts.len(), self.columns)?;
        Data::new(features, None, None, Choices::Counts(&self.counts))
    }

    fn error(&self, wh: &Whitening<'_>, found: &Mixture) -> f64 {
        matched_distance(wh, &found.atoms, &self.truth.atoms)
    }
}

/// What the study knows of one simulation while it works on it.
struct Work<'a> {
    data: &'a Data<'a>,
    wh: Whitening<'a>,
    context: Context,
    classes: usize,
}

impl Work<'_> {
    fn empty(&self) -> Mixture {
        Mixture { weights: vec![0.0; self.classes], atoms: vec![0.0; self.classes * self.wh.columns] }
    }

    fn tensor(&self) -> softmix::error::Result<Mixture> {
        let mut m = self.empty();
        let mut memory = WorkspaceBuffer::new(moments::tensor_workspace(&self.data.shape(), self.classes))?;
        moments::tensor(self.data, &self.wh, IllPosed::Project, &mut m.weights, &mut m.atoms, self.context, memory.lend())?;
        Ok(m)
    }

    fn corrected(&self) -> softmix::error::Result<(Mixture, u64)> {
        let mut m = self.empty();
        let options = CorrectionOptions::default();
        let mut memory = WorkspaceBuffer::new(moments::corrected_workspace(&self.data.shape(), self.classes))?;
        let report = moments::corrected(self.data, &self.wh, &options, &mut m.weights, &mut m.atoms, self.context, memory.lend())?;
        Ok((m, report.passes))
    }

    /// So many steps of EM with one Newton step for the atoms, from a start.
    fn em(&self, start: &Mixture, steps: usize) -> softmix::error::Result<Mixture> {
        let mut m = start.clone();
        let mut memory = WorkspaceBuffer::new(em_step_workspace(&self.data.shape(), self.classes, MStep::Newton))?;
        for _ in 0..steps {
            em_step(self.data, &self.wh, 0.0, MStep::Newton, &mut m.weights, &mut m.atoms, self.context, memory.lend())?;
        }
        Ok(m)
    }

    /// A fit from one start, to its end.
    fn fit(&self, start: &Mixture) -> softmix::error::Result<Fit> {
        Fit::new(self.data, &FitOptions { starts: Starts::Given(start.view()), context: self.context, ..FitOptions::new(self.classes) })
    }

    /// Random atoms in whitened R^L, of a norm between a half and two and a half.
    fn anywhere(&self, random: &mut Pcg64) -> Mixture {
        let mut m = self.empty();
        m.weights.fill(1.0 / self.classes as f64);
        let norm: f64 = random.random_range(0.5..2.5);
        for atom in m.atoms.chunks_exact_mut(self.wh.columns) {
            let mut beta: Vec<f64> = (0..self.wh.rank).map(|_| normal(random)).collect();
            let length = beta.iter().map(|b| b * b).sum::<f64>().sqrt();
            beta.iter_mut().for_each(|b| *b *= norm / length);
            self.wh.unwhiten_atom(&beta, atom);
        }
        m
    }

    fn subspace(&self) -> softmix::error::Result<Subspace> {
        let (l, r) = (self.wh.columns, self.wh.rank);
        let mut s = Subspace { mean: vec![0.0; l], values: vec![0.0; r], directions: vec![0.0; r * l] };
        let mut memory = WorkspaceBuffer::new(moments::subspace_workspace(&self.data.shape()))?;
        moments::subspace(self.data, &self.wh, 0.5, &mut s.mean, &mut s.values, &mut s.directions, self.context, memory.lend())?;
        Ok(s)
    }

    /// Random atoms in the subspace, of the covariance that second moments suggest.
    fn inside(&self, s: &Subspace, random: &mut Pcg64) -> Mixture {
        let mut m = self.empty();
        m.weights.fill(1.0 / self.classes as f64);
        for atom in m.atoms.chunks_exact_mut(self.wh.columns) {
            atom.copy_from_slice(&s.mean);
            for (value, v) in s.values.iter().zip(s.directions.chunks_exact(self.wh.columns)).take(self.classes) {
                let c = normal(random) * value.max(0.05).sqrt();
                atom.iter_mut().zip(v).for_each(|(a, v)| *a += c * v);
            }
        }
        m
    }
}

struct Subspace {
    mean: Vec<f64>,
    values: Vec<f64>,
    directions: Vec<f64>,
}

fn with_work<T>(s: &Simulation, body: impl FnOnce(&Work<'_>) -> Anything<T>) -> Anything<T> {
    let data = s.data()?;
    let context = Context::default();
    let mut memory = WorkspaceBuffer::new(Whitening::workspace(&data.shape()))?;
    let wh = Whitening::new(&data, context.isa, &mut memory.lend())?;
    body(&Work { data: &data, wh, context, classes: s.truth.classes() })
}

/// A line of `study.csv`.
struct Line {
    part: &'static str,
    setting: Setting,
    seed: u64,
    method: &'static str,
    value: f64,
}

const METHODS: [&str; 7] = [
    "moments",
    "corrected moments",
    "EM from random",
    "EM from moments",
    "EM from corrected",
    "EM from the truth",
    "fit (maximum likelihood)",
];

/// Errors of every method on one simulation; not a number where a method has no answer.
fn errors(setting: Setting, seed: u64, steps: usize) -> Anything<[f64; 7]> {
    let s = simulate(setting, seed);
    with_work(&s, |w| {
        let of = |m: softmix::error::Result<Mixture>| m.map_or(f64::NAN, |m| s.error(&w.wh, &m));
        let (plain, fixed) = (w.tensor(), w.corrected().map(|m| m.0));
        let random = w.anywhere(&mut Pcg64::new(u128::from(seed), 2));
        let after = |m: &softmix::error::Result<Mixture>| m.clone().and_then(|m| w.em(&m, steps));
        let (from_plain, from_fixed) = (after(&plain), after(&fixed));
        let from_random = w.em(&random, steps);
        let from_truth = w.em(&s.truth, steps);
        let best = w.fit(&s.truth).map(|f| f.mixture);
        Ok([of(plain), of(fixed), of(from_random), of(from_plain), of(from_fixed), of(from_truth), of(best)])
    })
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut v: Vec<f64> = values.filter(|x| x.is_finite()).collect();
    v.sort_by(f64::total_cmp);
    if v.is_empty() { f64::NAN } else { 0.5 * (v[(v.len() - 1) / 2] + v[v.len() / 2]) }
}

/// The slope of log y against log x by least squares.
fn slope(points: &[(f64, f64)]) -> f64 {
    let logs: Vec<(f64, f64)> = points.iter().filter(|p| p.1.is_finite()).map(|p| (p.0.ln(), p.1.ln())).collect();
    let n = logs.len() as f64;
    let (mx, my) = (logs.iter().map(|p| p.0).sum::<f64>() / n, logs.iter().map(|p| p.1).sum::<f64>() / n);
    logs.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum::<f64>() / logs.iter().map(|p| (p.0 - mx).powi(2)).sum::<f64>()
}

const COLORS: [RGBColor; 7] = [
    RGBColor(170, 60, 60),
    RGBColor(30, 110, 180),
    RGBColor(150, 150, 150),
    RGBColor(220, 140, 40),
    RGBColor(40, 150, 90),
    RGBColor(130, 90, 170),
    RGBColor(0, 0, 0),
];

struct Series {
    name: String,
    points: Vec<(f64, f64)>,
}

/// A number to two digits, without zeros at its end.
fn short(x: f64) -> String {
    let digits = if x >= 10.0 { 0 } else { (1.0 - x.abs().log10().floor()).clamp(0.0, 9.0) as usize };
    let text = format!("{x:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').into() } else { text }
}

/// Curves on a logarithmic axis (x too, if asked for) with a legend on the right; `names`: of the places 1, 2, … on the x axis.
fn draw(path: PathBuf, title: &str, x_name: &str, y_name: &str, names: Option<&[String]>, log_x: bool, curves: &[Series]) -> Anything<()> {
    let finite = || curves.iter().flat_map(|c| &c.points).filter(|p| p.0.is_finite() && p.1.is_finite() && p.1 > 0.0);
    let bounds = |f: fn(&(f64, f64)) -> f64| finite().map(f).fold((f64::INFINITY, 0.0f64), |(a, b), v| (a.min(v), b.max(v)));
    let ((x0, x1), (y0, y1)) = (bounds(|p| p.0), bounds(|p| p.1));
    let root = SVGBackend::new(&path, (920, 520)).into_drawing_area();
    root.fill(&WHITE)?;
    let (plot, side) = root.split_horizontally(670);
    let mut builder = ChartBuilder::on(&plot);
    builder.caption(title, ("sans-serif", 18)).margin(12).x_label_area_size(44).y_label_area_size(62);
    let y_axis = (y0 * 0.7..y1 * 1.4).log_scale();
    macro_rules! chart {
        ($x:expr) => {{
            let mut chart = builder.build_cartesian_2d($x, y_axis)?;
            chart
                .configure_mesh()
                .x_desc(x_name)
                .y_desc(y_name)
                .x_labels(curves[0].points.len())
                .x_label_formatter(&|x| match names {
                    Some(names) => names.get((x.round() as usize).wrapping_sub(1)).cloned().unwrap_or_default(),
                    None if *x >= 1000.0 => format!("{x:.0e}"),
                    None => short(*x),
                })
                .y_label_formatter(&|y| short(*y))
                .light_line_style(RGBColor(238, 238, 238))
                .label_style(("sans-serif", 14))
                .draw()?;
            for (i, curve) in curves.iter().enumerate() {
                let color = COLORS[i % COLORS.len()];
                let points: Vec<(f64, f64)> = curve.points.iter().copied().filter(|p| p.1.is_finite() && p.1 > 0.0).collect();
                // Places that only have names have nothing between them.
                if names.is_none() {
                    chart.draw_series([PathElement::new(points.clone(), color.stroke_width(2))])?;
                }
                chart.draw_series(points.iter().map(|p| Circle::new(*p, if names.is_none() { 3 } else { 5 }, color.filled())))?;
            }
        }};
    }
    if log_x {
        chart!((x0 * 0.85..x1 * 1.18).log_scale());
    } else {
        chart!(x0 - 0.25..x1 + 0.25);
    }
    for (i, curve) in curves.iter().enumerate() {
        let (y, color) = (60 + 26 * i as i32, COLORS[i % COLORS.len()]);
        side.draw(&PathElement::new(vec![(4, y), (30, y)], color.stroke_width(3)))?;
        side.draw(&Text::new(curve.name.clone(), (38, y - 8), ("sans-serif", 14)))?;
    }
    root.present()?;
    Ok(())
}

/// Errors along one of the sizes of a setting.
struct Part {
    name: &'static str,
    heading: String,
    x: fn(&Setting) -> f64,
    x_name: &'static str,
    log_x: bool,
    settings: Vec<Setting>,
}

/// The parts of the study that measure errors.
fn parts(quick: bool) -> Vec<Part> {
    let some = |all: &[f64], few: &[f64]| if quick { few.to_vec() } else { all.to_vec() };
    let base = Setting { alternatives: 2000, columns: 5, classes: 3, draws: 100_000, norm: 2.0 };
    let wide = Setting { alternatives: if quick { 2000 } else { 5000 }, columns: 10, classes: 4, draws: 100_000, norm: 2.0 };
    let sizes = some(&[1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6], &[1e3, 1e4, 1e5, 1e6]);
    let rows = some(&[3e2, 1e3, 3e3, 1e4, 3e4, 1e5], &[3e2, 1e3, 3e3, 1e4]);
    let norms = some(&[0.5, 1.0, 1.5, 2.0, 2.5, 3.0], &[1.0, 2.0, 3.0]);
    let Setting { alternatives: p, columns: l, classes: k, draws: n, norm } = base;
    let Setting { alternatives: wide_p, columns: wide_l, classes: wide_k, .. } = wide;
    vec![
        Part {
            name: "draws",
            heading: format!("By the number of draws: p = {p}, L = {l}, K = {k}, atoms of norm {norm}"),
            x: |s| s.draws as f64,
            x_name: "N",
            log_x: true,
            settings: sizes.iter().map(|n| Setting { draws: *n as u64, ..base }).collect(),
        },
        Part {
            name: "alternatives",
            heading: format!("By the number of alternatives: L = {l}, K = {k}, N = {n}, atoms of norm {norm}"),
            x: |s| s.alternatives as f64,
            x_name: "p",
            log_x: true,
            settings: rows.iter().map(|p| Setting { alternatives: *p as usize, ..base }).collect(),
        },
        Part {
            name: "norm",
            heading: format!("By the norm of the atoms: p = {wide_p}, L = {wide_l}, K = {wide_k}, N = {n}"),
            x: |s| s.norm,
            x_name: "norm",
            log_x: false,
            settings: norms.iter().map(|norm| Setting { norm: *norm, ..wide }).collect(),
        },
        Part {
            name: "classes",
            heading: format!("By the number of classes: p = {wide_p}, L = {wide_l}, N = {n}, atoms of norm {norm}"),
            x: |s| s.classes as f64,
            x_name: "K",
            log_x: false,
            settings: (2..=8).map(|k| Setting { classes: k, ..wide }).collect(),
        },
    ]
}

/// Medians by method along a part's settings, as a table and as curves.
fn summary(lines: &[Line], part: &Part, table: &mut String) -> Anything<Vec<Series>> {
    let mut curves: Vec<Series> = METHODS.iter().map(|m| Series { name: (*m).into(), points: vec![] }).collect();
    writeln!(table, "\n## {}\n", part.heading)?;
    writeln!(table, "| {} | {} |", part.x_name, METHODS.join(" | "))?;
    writeln!(table, "|{}", "---|".repeat(METHODS.len() + 1))?;
    for setting in &part.settings {
        let x = (part.x)(setting);
        write!(table, "| {x} |")?;
        for (curve, method) in curves.iter_mut().zip(METHODS) {
            let at = lines.iter().filter(|l| l.part == part.name && l.method == method && (part.x)(&l.setting) == x);
            let m = median(at.map(|l| l.value));
            curve.points.push((x, m));
            write!(table, " {m:.3} |")?;
        }
        writeln!(table)?;
    }
    if part.log_x {
        writeln!(table, "\nSlopes of log error against log {}:\n", part.x_name)?;
        for c in &curves {
            writeln!(table, "- {}: {:.2}", c.name, slope(&c.points))?;
        }
    }
    Ok(curves)
}

fn main() -> Anything<()> {
    let arguments = Arguments::parse();
    let quick = arguments.quick;
    std::fs::create_dir_all(&arguments.out)?;
    let (seeds, steps) = if quick { (10, 50) } else { (20, 100) };
    let parts = parts(quick);
    // (p, L, K, N, norm)
    let hard = [
        (1000, 5, 5, 20_000, 2.0),
        (2000, 2, 5, 100_000, 2.5),
        (2000, 3, 6, 100_000, 2.5),
        (2000, 10, 8, 100_000, 2.0),
        (2000, 20, 8, 200_000, 2.5),
        (2000, 20, 10, 200_000, 2.5),
        (20_000, 20, 8, 200_000, 2.0),
        (2000, 50, 3, 100_000, 2.0),
        (2000, 50, 6, 100_000, 2.0),
        (10_000, 50, 6, 100_000, 2.0),
    ];
    let race: Vec<Setting> = (hard.iter().take(if quick { 5 } else { hard.len() }))
        .map(|&(alternatives, columns, classes, draws, norm)| Setting { alternatives, columns, classes, draws, norm })
        .collect();
    let (race_seeds, tries) = if quick { (3, 4) } else { (5, 20) };

    let jobs = parts.iter().map(|p| p.settings.len() as u64).sum::<u64>() * seeds + race.len() as u64 * race_seeds;
    let bar = ProgressBar::new(jobs).with_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} {eta}")?);
    let mut lines: Vec<Line> = vec![];
    for part in &parts {
        for setting in &part.settings {
            for seed in arguments.seed..arguments.seed + seeds {
                bar.set_message(format!("{} = {}", part.x_name, (part.x)(setting)));
                let values = errors(*setting, seed, steps)?;
                let line = |(method, value): (&&'static str, f64)| Line { part: part.name, setting: *setting, seed, method, value };
                lines.extend(METHODS.iter().zip(values).map(line));
                bar.inc(1);
            }
        }
    }

    // Shares of single starts that reach the best optimum known.
    let mut shares = vec![];
    for setting in &race {
        let (mut hits, mut spent, mut passes) = ([0usize; 3], [0u64; 3], 0u64);
        for seed in arguments.seed..arguments.seed + race_seeds {
            bar.set_message(format!("starts, L = {}, K = {}", setting.columns, setting.classes));
            let s = simulate(*setting, 1000 + seed);
            let found = with_work(&s, |w| {
                let value = |m: &Mixture| w.fit(m).map_or((f64::NEG_INFINITY, 0), |f| (f.report.log_likelihood, f.report.evaluations));
                let subspace = w.subspace()?;
                let mut random = Pcg64::new(u128::from(seed), 3);
                let anywhere: Vec<(f64, u64)> = (0..tries).map(|_| value(&w.anywhere(&mut random))).collect();
                let inside: Vec<(f64, u64)> = (0..tries).map(|_| value(&w.inside(&subspace, &mut random))).collect();
                let (m, passes) = w.corrected()?;
                Ok((anywhere, inside, value(&m), value(&s.truth), passes))
            })?;
            let (anywhere, inside, corrected, truth, used) = found;
            passes += used;
            let best = anywhere.iter().chain(&inside).map(|f| f.0).fold(truth.0.max(corrected.0), f64::max);
            let reached = |f: &(f64, u64)| f.0 >= best - 1e-8 * s.counts.iter().sum::<f64>();
            spent[0] += anywhere.iter().map(|f| f.1).sum::<u64>();
            spent[1] += inside.iter().map(|f| f.1).sum::<u64>();
            spent[2] += corrected.1;
            hits[0] += anywhere.iter().filter(|f| reached(f)).count();
            hits[1] += inside.iter().filter(|f| reached(f)).count();
            hits[2] += usize::from(reached(&corrected));
            for (method, n) in [("anywhere", &anywhere), ("subspace", &inside)] {
                let share = n.iter().filter(|f| reached(f)).count() as f64 / tries as f64;
                lines.push(Line { part: "starts", setting: *setting, seed, method, value: share });
            }
            lines.push(Line {
                part: "starts",
                setting: *setting,
                seed,
                method: "corrected",
                value: f64::from(u8::from(reached(&corrected))),
            });
            bar.inc(1);
        }
        let runs = (race_seeds * tries as u64) as f64;
        let few = race_seeds as f64;
        let rates = [hits[0] as f64 / runs, hits[1] as f64 / runs, hits[2] as f64 / few];
        shares.push((*setting, rates, [spent[0] as f64 / runs, spent[1] as f64 / runs, spent[2] as f64 / few], passes / race_seeds));
    }
    bar.finish_and_clear();

    let mut table = String::from(
        "# Simulated choices: errors, and what starts are worth\n\nMedians over seeds of the mean distance of matched atoms, in whitened units.\n",
    );
    for part in &parts {
        let curves = summary(&lines, part, &mut table)?;
        let path = arguments.out.join(format!("errors_by_{}.svg", part.name));
        draw(path, &part.heading, part.x_name, "mean error of the atoms", None, part.log_x, &curves)?;
    }

    // Starts for the best optimum with probability 95 %.
    let needed = |share: f64| match share {
        s if s <= 0.0 => f64::NAN,
        s if s >= 0.95 => 1.0,
        s => 0.05f64.ln() / (1.0 - s).ln(),
    };
    writeln!(table, "\n## Starts: the share of single starts that reach the best optimum known, and how many are needed for 95 %\n")?;
    writeln!(table, "In brackets: evaluations of a fit from one such start. The last column is what corrected moments cost themselves.\n")?;
    writeln!(table, "| p, L, K, N, norm | in R^L | needed | in the subspace | needed | from corrected moments | reads of X for those |")?;
    writeln!(table, "|{}", "---|".repeat(7))?;
    let mut curves: Vec<Series> = ["random in R^L", "random in the subspace"].map(|n| Series { name: n.into(), points: vec![] }).into();
    let mut names = vec![];
    for (i, (s, rates, spent, passes)) in shares.iter().enumerate() {
        let text = |share: f64| if needed(share).is_nan() { "none reached it".into() } else { format!("{:.1}", needed(share)) };
        let [a, b, c] = [0, 1, 2].map(|m| format!("{:.2} ({:.0})", rates[m], spent[m]));
        let name = format!("{}, {}, {}, {}, {}", s.alternatives, s.columns, s.classes, s.draws, s.norm);
        writeln!(table, "| {name} | {a} | {} | {b} | {} | {c} | {passes} |", text(rates[0]), text(rates[1]))?;
        for (curve, rate) in curves.iter_mut().zip(rates) {
            curve.points.push((i as f64 + 1.0, needed(*rate)));
        }
        names.push(format!("L {} K {}", s.columns, s.classes));
    }
    let title = "Starts needed for the best optimum with probability 95 %";
    draw(arguments.out.join("starts.svg"), title, "setting, in the order of the table", "starts", Some(&names), false, &curves)?;
    std::fs::write(arguments.out.join("study.md"), &table)?;

    let mut csv = csv::Writer::from_path(arguments.out.join("study.csv"))?;
    csv.write_record(["part", "alternatives", "columns", "classes", "draws", "norm", "seed", "method", "value"])?;
    for l in &lines {
        let s = l.setting;
        csv.write_record([
            l.part.into(),
            s.alternatives.to_string(),
            s.columns.to_string(),
            s.classes.to_string(),
            s.draws.to_string(),
            s.norm.to_string(),
            l.seed.to_string(),
            l.method.into(),
            l.value.to_string(),
        ])?;
    }
    csv.flush()?;
    print!("{table}");
    Ok(())
}
