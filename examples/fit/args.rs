//! The command line, and the job it describes.

use crate::fault::{Fault, Result, usage};
use clap::Parser;
use clap::error::ErrorKind;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Fits a softmax mixture (latent-class multinomial logit) to choices
#[derive(Parser, Debug)]
#[command(name = "fit", version, after_help = EXAMPLES, allow_negative_numbers = true, max_term_width = 118)]
struct Args {
    /// Features, a row for every alternative: X.npy of shape (p, L), or a CSV
    #[arg(long, value_name = "FILE", help_heading = "Data", conflicts_with = "choices")]
    features: Option<PathBuf>,
    /// How often each alternative was chosen: n.npy of shape (p,) or a CSV of one column, row after row; with --alternative a CSV with a
    /// row for every alternative (and unit)
    #[arg(long, value_name = "FILE", help_heading = "Data", conflicts_with = "choices")]
    counts: Option<PathBuf>,
    /// Column of both files that names the alternative
    #[arg(long, value_name = "COLUMN", help_heading = "Data", conflicts_with = "choices")]
    alternative: Option<String>,
    /// Column of the counts file that counts
    #[arg(long, value_name = "COLUMN", help_heading = "Data", conflicts_with = "choices")]
    count: Option<String>,
    /// Choice sets in long form: a CSV with a row for every alternative of every choice set
    #[arg(long, value_name = "FILE", help_heading = "Data")]
    choices: Option<PathBuf>,
    /// Columns that name the unit; without them every draw of the counts is its own unit
    #[arg(long, value_name = "COLUMNS", help_heading = "Data", value_delimiter = ',')]
    unit: Vec<String>,
    /// Column that names the choice set inside its unit
    #[arg(long, value_name = "COLUMN", help_heading = "Data")]
    set: Option<String>,
    /// Column that says whether the row was chosen: 0/1, true/false, or a count
    #[arg(long, value_name = "COLUMN", help_heading = "Data")]
    chosen: Option<String>,
    /// Columns that are features, in this order
    #[arg(long, value_name = "COLUMNS", help_heading = "Data", value_delimiter = ',')]
    columns: Vec<String>,

    /// Number of classes, or a scan a..b, both included
    #[arg(long, value_name = "K|a..b", help_heading = "Fit")]
    classes: Option<Classes>,
    /// Ridge penalty λ, in observations
    #[arg(long, value_name = "λ", help_heading = "Fit", default_value_t = 0.0, value_parser = ridge)]
    ridge: f64,
    /// Seed of the random starts
    #[arg(long, help_heading = "Fit", default_value_t = 0, value_parser = seed)]
    seed: u64,
    /// Starts to try; fewer if the evaluations are spent first, and one for one class [default: the library's own rule]
    #[arg(long, value_name = "N", help_heading = "Fit", value_parser = positive::<NonZeroUsize>)]
    starts: Option<NonZeroUsize>,
    /// Threads to use
    #[arg(long, value_name = "N", help_heading = "Fit", default_value_t = NonZeroUsize::MIN, value_parser = positive::<NonZeroUsize>)]
    threads: NonZeroUsize,
    /// Precision of the features [default: that of an NPY file, f64 for a CSV]
    #[arg(long, help_heading = "Fit")]
    precision: Option<Precision>,
    /// JSON of this program to start from, nothing else tried
    #[arg(long, value_name = "FILE", help_heading = "Fit", conflicts_with = "starts")]
    init: Option<PathBuf>,
    /// No fit: the log-likelihood of these data at --init
    #[arg(long, help_heading = "Fit", requires = "init")]
    evaluate: bool,
    /// End a fit after so many evaluations of value and gradient over all starts, what is under way being finished first [default: 1000000]
    #[arg(long, value_name = "N", help_heading = "Fit", value_parser = positive::<NonZeroU64>)]
    max_evaluations: Option<NonZeroU64>,

    /// Write the result as JSON; - is standard output, instead of the table
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,
    /// Draw the result as SVG: maps of the classes where the alternatives have columns lat and lon, atoms otherwise, criteria of a scan
    #[arg(long, value_name = "FILE.svg", help_heading = "Output")]
    plot: Option<PathBuf>,
    /// Print nothing on success but the JSON of --json -
    #[arg(long, help_heading = "Output")]
    quiet: bool,
}

const EXAMPLES: &str = "\
Without data arguments: the flights out of New York shipped with the crate,
whose units are carriers at an origin and whose alternatives are destinations,
in three classes. CSV files are UTF-8 with a header row, NPY files
little-endian; lists are comma-separated names of columns.

Examples, on the data shipped with the crate:
  fit --classes 2 --features data/flights_items.csv --alternative dest \\
      --columns lat,lon,alt,tz,distance --counts data/flights_counts.csv \\
      --count n --unit carrier,origin --plot flights.svg
  fit --classes 1..5 --choices data/electricity.csv --unit id --set chid \\
      --chosen choice --columns pf,cl,loc,wk,tod,seas --json electricity.json

The table counts classes from 1, the JSON from 0; both by decreasing weight.
Exit code: 0 for every outcome of a fit, 1 for bad data or files, 2 for bad arguments.";

/// Where the data are and what their columns mean.
pub enum Source {
    /// Row i of the counts belongs to row i of the features.
    Rows { features: PathBuf, counts: PathBuf, columns: Option<Vec<String>> },
    /// Rows of the counts are joined to the items by the column `alternative`.
    Items { features: PathBuf, counts: PathBuf, alternative: String, columns: Vec<String>, count: String, unit: Vec<String> },
    /// Panels in long form.
    Panel { choices: PathBuf, unit: Vec<String>, set: String, chosen: String, columns: Vec<String> },
}

impl Source {
    /// The files.
    pub fn files(&self) -> Vec<&Path> {
        match self {
            Source::Rows { features, counts, .. } | Source::Items { features, counts, .. } => vec![features, counts],
            Source::Panel { choices, .. } => vec![choices],
        }
    }
}

/// Numbers of classes to fit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Classes {
    pub first: usize,
    pub last: usize,
    /// Whether a range was given, even one of a single number.
    pub scan: bool,
}

impl FromStr for Classes {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let number = |s: &str| s.trim().parse::<usize>().ok().filter(|k| *k > 0);
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        match number(first).zip(number(last)) {
            Some((first, last)) if first <= last => Ok(Classes { first, last, scan: text.contains("..") }),
            Some(_) => Err("the range is empty".into()),
            None => Err("not a number from 1, nor a range such as 1..5".into()),
        }
    }
}

/// A number of its type, none of which is 0.
fn positive<T: FromStr>(text: &str) -> std::result::Result<T, String> {
    text.parse().map_err(|_| "not a whole number from 1".into())
}

fn seed(text: &str) -> std::result::Result<u64, String> {
    text.parse().map_err(|_| format!("not a whole number from 0 to {}", u64::MAX))
}

fn ridge(text: &str) -> std::result::Result<f64, String> {
    text.parse().ok().filter(|r| (0.0..f64::INFINITY).contains(r)).ok_or_else(|| "not a finite number from 0".into())
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
pub enum Precision {
    F32,
    F64,
}

/// What to do.
pub struct Job {
    pub source: Source,
    /// Absent: as many as the given start has.
    pub classes: Option<Classes>,
    pub ridge: f64,
    pub seed: u64,
    pub starts: Option<usize>,
    pub threads: usize,
    pub precision: Option<Precision>,
    pub init: Option<PathBuf>,
    pub evaluate: bool,
    pub max_evaluations: Option<u64>,
    pub json: Option<PathBuf>,
    pub plot: Option<PathBuf>,
    pub quiet: bool,
}

impl Job {
    /// The job of the command line; nothing when it asked for help, which is printed.
    pub fn from_command_line() -> Result<Option<Self>> {
        match Args::try_parse() {
            Ok(args) => Self::new(args, std::env::args_os().len() <= 1).map(Some),
            Err(e) if matches!(e.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
                e.print().map(|()| None).map_err(|e| Fault::Data(e.to_string()))
            }
            Err(e) => {
                let text = e.to_string();
                let first = text.lines().take_while(|l| !l.trim().is_empty()).flat_map(str::split_whitespace);
                usage(first.collect::<Vec<_>>().join(" ").trim_start_matches("error: "))
            }
        }
    }

    fn new(mut args: Args, bare: bool) -> Result<Self> {
        for (name, list) in [("--columns", &args.columns), ("--unit", &args.unit)] {
            if list.iter().any(|c| c.trim().is_empty()) {
                return usage(format!("{name}: the name of a column is empty"));
            }
            if let Some(twice) = list.iter().enumerate().find(|(i, c)| list[..*i].contains(c)) {
                return usage(format!("{name} names {} twice", twice.1));
            }
        }
        if args.init.is_some() && args.classes.is_some_and(|c| c.scan) {
            return usage("--init is one start: it goes with one number of classes");
        }
        if let Some(plot) =
            args.plot.as_deref().filter(|p| p.as_os_str() == "-" || p.extension().is_some_and(|e| !e.eq_ignore_ascii_case("svg")))
        {
            return usage(format!("--plot {}: a file for SVG is needed, such as plot.svg", plot.display()));
        }
        let shipped = args.features.is_none() && args.counts.is_none() && args.choices.is_none();
        let source = source(&mut args)?;
        let classes = match args.classes {
            None if shipped && args.init.is_none() => Some(Classes { first: 3, last: 3, scan: false }),
            None if args.init.is_none() => return usage("--classes is missing: a number, or a scan such as 1..5"),
            classes => classes,
        };
        let plot = args.plot.or_else(|| bare.then(|| "softmix-flights.svg".into()));
        Ok(Job {
            source,
            classes,
            ridge: args.ridge,
            seed: args.seed,
            starts: args.starts.map(NonZeroUsize::get),
            threads: args.threads.get(),
            precision: args.precision,
            init: args.init,
            evaluate: args.evaluate,
            max_evaluations: args.max_evaluations.map(NonZeroU64::get),
            json: args.json,
            plot,
            quiet: args.quiet,
        })
    }
}

/// Which of the three forms the data have.
fn source(args: &mut Args) -> Result<Source> {
    let given = |list: &mut Vec<String>| Some(std::mem::take(list)).filter(|l| !l.is_empty());
    let (unit, columns) = (given(&mut args.unit), given(&mut args.columns));
    let (set, chosen) = (args.set.take(), args.chosen.take());
    // Options that do not belong to the form at hand.
    let stray = |options: &[(&str, bool)], form: &str| match options.iter().find(|(_, given)| *given) {
        Some((name, _)) => usage(format!("{name} does not go with {form}")),
        None => Ok(()),
    };
    let panel_only = [("--set", set.is_some()), ("--chosen", chosen.is_some())];
    if let Some(choices) = args.choices.take() {
        let (unit, set) = (needed(unit, "--unit", "--choices")?, needed(set, "--set", "--choices")?);
        let (chosen, columns) = (needed(chosen, "--chosen", "--choices")?, needed(columns, "--columns", "--choices")?);
        return Ok(Source::Panel { choices, unit, set, chosen, columns });
    }
    let (alternative, count) = (args.alternative.take(), args.count.take());
    let (features, counts) = match (args.features.take(), args.counts.take()) {
        (Some(features), Some(counts)) => (features, counts),
        (Some(_), None) => return usage("--features needs --counts"),
        (None, Some(_)) => return usage("--counts needs --features"),
        (None, None) => {
            stray(&panel_only, "the shipped flights; --choices is missing")?;
            let options = [
                ("--alternative", alternative.is_some()),
                ("--count", count.is_some()),
                ("--unit", unit.is_some()),
                ("--columns", columns.is_some()),
            ];
            stray(&options, "the shipped flights; --features and --counts, or --choices, are missing")?;
            return Ok(flights());
        }
    };
    stray(&panel_only, "--features")?;
    match alternative {
        Some(alternative) => {
            let (columns, count) = (needed(columns, "--columns", "--alternative")?, needed(count, "--count", "--alternative")?);
            Ok(Source::Items { features, counts, alternative, columns, count, unit: unit.unwrap_or_default() })
        }
        None => {
            stray(&[("--count", count.is_some()), ("--unit", unit.is_some())], "--features without --alternative")?;
            Ok(Source::Rows { features, counts, columns })
        }
    }
}

fn needed<T>(value: Option<T>, name: &str, by: &str) -> Result<T> {
    value.map_or_else(|| usage(format!("{by} needs {name}")), Ok)
}

/// The data shipped with the crate: destinations of the flights of 2013 out of New York, by carrier and origin.
fn flights() -> Source {
    let file = |name: &str| [env!("CARGO_MANIFEST_DIR"), "data", name].iter().collect();
    let list = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Source::Items {
        features: file("flights_items.csv"),
        counts: file("flights_counts.csv"),
        alternative: "dest".into(),
        columns: list(&["lat", "lon", "alt", "tz", "distance"]),
        count: "n".into(),
        unit: list(&["carrier", "origin"]),
    }
}
