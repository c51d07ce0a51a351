//! The example program as its users meet it: every form of data, what it prints and writes, its exit codes and its errors.
#![cfg(feature = "std")]

use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Best known log-likelihoods of the shipped data.
const FLIGHTS_3: f64 = -1412158.938793;
const FLIGHTS_COUNTS_1: f64 = -1501802.268710;
const FLIGHTS_COUNTS_2: f64 = -1479194.617;
const ELECTRICITY_1: f64 = -4958.649119337;
const ELECTRICITY_2: f64 = -4526.829028773;

/// The program, which `cargo test` builds beside the tests.
fn program() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    let profile = tests.parent().and_then(Path::parent).unwrap();
    let program = profile.join("examples").join(format!("fit{}", std::env::consts::EXE_SUFFIX));
    assert!(program.is_file(), "{} is missing: run `cargo build --example fit`, or the whole of `cargo test`", program.display());
    program
}

/// What a run left behind.
struct Run {
    code: i32,
    out: String,
    err: String,
}

/// A directory of its own, in which the program runs.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Desk(TempDir::new().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// Names of the files there, sorted.
    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.path()).unwrap().map(|f| f.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Runs with the words of `args`; `data/` stands for the shipped data.
    fn run(&self, args: &str) -> Run {
        let data = format!("{}/data/", env!("CARGO_MANIFEST_DIR"));
        let words = args.split_whitespace().map(|w| if w.starts_with("data/") { w.replacen("data/", &data, 1) } else { w.to_owned() });
        let output = Command::new(program()).args(words).current_dir(self.0.path()).output().unwrap();
        Run {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// The JSON of a run that must go well.
    #[track_caller]
    fn json(&self, args: &str) -> Value {
        let run = self.run(&format!("{args} --json -"));
        assert_eq!((run.code, run.err.as_str()), (0, ""), "{args}");
        serde_json::from_str(&run.out).unwrap()
    }

    #[track_caller]
    fn log_likelihood(&self, args: &str) -> f64 {
        self.json(args)["log_likelihood"].as_f64().unwrap()
    }

    /// Checks that a run ends with `code`, one line on standard error that holds all of `parts`, and nothing else.
    #[track_caller]
    fn refused(&self, args: &str, code: i32, parts: &[&str]) {
        let run = self.run(args);
        assert_eq!((run.code, run.out.as_str()), (code, ""), "{args}: {}", run.err);
        assert!(run.err.starts_with("error: ") && run.err.ends_with('\n') && run.err.lines().count() == 1, "{args}: {:?}", run.err);
        for part in parts {
            assert!(run.err.contains(part), "{args}: {part:?} is not in {:?}", run.err);
        }
    }
}

#[track_caller]
fn assert_near(got: f64, expected: f64, tolerance: f64) {
    assert!((got - expected).abs() <= tolerance, "{got} is not {expected}");
}

fn floats(v: &Value) -> Vec<f64> {
    v.as_array().unwrap().iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect()
}

/// The same run apart from its time.
fn timeless(mut v: Value) -> Value {
    v["seconds"] = Value::Null;
    v
}

/// An NPY file of version 1.0.
fn npy(dtype: &str, fortran: bool, shape: &str, bytes: Vec<u8>) -> Vec<u8> {
    let order = if fortran { "True" } else { "False" };
    let mut header = format!("{{'descr': '{dtype}', 'fortran_order': {order}, 'shape': {shape}, }}");
    header += &" ".repeat(63 - (10 + header.len()) % 64);
    header.push('\n');
    [npy_header(&header), bytes].concat()
}

fn npy_header(header: &str) -> Vec<u8> {
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes()].concat()
}

const ITEMS: &str = "--features data/flights_items.csv --alternative dest --columns lat,lon,alt,tz,distance \
                     --counts data/flights_counts.csv --count n";
const PANEL: &str = "--choices data/electricity.csv --unit id --set chid --chosen choice --columns pf,cl,loc,wk,tod,seas";

/// Features and counts of the flights, row after row: five features of 101 airports.
fn flights() -> (Vec<[f64; 5]>, Vec<f64>) {
    let file = |name: &str| csv::Reader::from_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)).unwrap();
    let (mut features, mut keys) = (Vec::new(), Vec::new());
    for row in file("flights_items.csv").records() {
        let row = row.unwrap();
        keys.push(row[0].to_owned());
        features.push(std::array::from_fn(|l| row[l + 2].parse().unwrap()));
    }
    let mut counts = vec![0.0; keys.len()];
    for row in file("flights_counts.csv").records() {
        let row = row.unwrap();
        let i = keys.iter().position(|k| *k == row[3]).unwrap();
        counts[i] += row[4].parse::<f64>().unwrap();
    }
    (features, counts)
}

#[test]
fn without_arguments_it_fits_and_draws_the_shipped_flights() {
    let desk = Desk::new();
    let run = desk.run("");
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    for part in ["class 3", "UA/EWR", "Honolulu", "distance", "±", "-1412158.93879", "converged", "at the best", "softmix-flights.svg"] {
        assert!(run.out.contains(part), "{part:?} is not in\n{}", run.out);
    }
    let svg = fs::read_to_string(desk.path("softmix-flights.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>") && svg.contains("HNL"));
    assert_eq!(desk.files(), ["softmix-flights.svg"]);
    assert_near(desk.log_likelihood("--seed 0"), FLIGHTS_3, 1e-9 * FLIGHTS_3.abs());
    assert_eq!(desk.files(), ["softmix-flights.svg"]);
}

#[test]
fn json_has_every_field() {
    let desk = Desk::new();
    let fit = desk.json("--starts 3");
    let keys: Vec<&String> = fit.as_object().unwrap().keys().collect();
    let mut expected = [
        "log_likelihood",
        "penalized_log_likelihood",
        "outcome",
        "diverging_classes",
        "empty_classes",
        "gradient_norm",
        "evaluations",
        "passes",
        "seconds",
        "features",
        "unidentified",
        "classes",
        "starts",
        "criteria",
    ];
    expected.sort_unstable();
    assert_eq!(keys, expected);
    assert_eq!(fit["features"], serde_json::json!(["lat", "lon", "alt", "tz", "distance"]));
    let classes = fit["classes"].as_array().unwrap();
    assert_eq!(classes.len(), 3);
    for class in classes {
        for name in ["atom", "standard_errors", "robust_standard_errors"] {
            assert_eq!(floats(&class[name]).len(), 5, "{name}");
        }
        assert!(class["weight_standard_error"].as_f64().unwrap() > 0.0);
    }
    let weights: Vec<f64> = classes.iter().map(|c| c["weight"].as_f64().unwrap()).collect();
    assert_near(weights.iter().sum(), 1.0, 1e-12);
    assert!(weights.is_sorted_by(|a, b| a >= b));
    let starts = &fit["starts"];
    assert_eq!((starts["kinds"].as_array().unwrap().len(), floats(&starts["log_likelihoods"]).len()), (3, 3));
    let best = floats(&starts["log_likelihoods"]).into_iter().fold(f64::NEG_INFINITY, f64::max);
    assert_near(best, fit["log_likelihood"].as_f64().unwrap(), 1e-6);
    assert!(starts["at_best"].as_u64().unwrap() >= 1);
    let (criteria, l) = (&fit["criteria"], fit["log_likelihood"].as_f64().unwrap());
    let (d, n) = (2.0 + 15.0, 35.0_f64);
    assert_eq!((criteria["parameters"].as_f64(), criteria["n"].as_f64()), (Some(d), Some(n)));
    assert_near(criteria["aic"].as_f64().unwrap(), -2.0 * l + 2.0 * d, 1e-6);
    assert_near(criteria["bic"].as_f64().unwrap(), -2.0 * l + d * n.ln(), 1e-6);
    assert!(criteria["icl"].as_f64() >= criteria["bic"].as_f64());
}

#[test]
fn counts_in_npy_and_csv_of_every_kind_give_one_answer() {
    let (features, counts) = flights();
    let desk = Desk::new();
    let columns_first = || (0..5).flat_map(|l| features.iter().map(move |row| row[l]));
    let bytes8 = |v: &mut dyn Iterator<Item = f64>| v.flat_map(f64::to_le_bytes).collect::<Vec<u8>>();
    let bytes4 = |v: &mut dyn Iterator<Item = f64>| v.flat_map(|x| (x as f32).to_le_bytes()).collect::<Vec<u8>>();
    desk.write("c8.npy", npy("<f8", false, "(101, 5)", bytes8(&mut features.iter().flatten().copied())));
    desk.write("f8.npy", npy("<f8", true, "(101, 5)", bytes8(&mut columns_first())));
    desk.write("c4.npy", npy("<f4", false, "(101, 5)", bytes4(&mut features.iter().flatten().copied())));
    desk.write("f4.npy", npy("<f4", true, "(101, 5)", bytes4(&mut columns_first())));
    let lines: Vec<String> = features.iter().map(|row| row.map(|x| x.to_string()).join(",")).collect();
    desk.write("x.csv", format!("a,b,c,d,e\n{}\n", lines.join("\n")));
    desk.write("nf8.npy", npy("<f8", false, "(101,)", bytes8(&mut counts.iter().copied())));
    desk.write("ni8.npy", npy("<i8", false, "(101,)", counts.iter().flat_map(|n| (*n as i64).to_le_bytes()).collect()));
    desk.write("ni4.npy", npy("<i4", true, "(101,)", counts.iter().flat_map(|n| (*n as i32).to_le_bytes()).collect()));
    desk.write("n.csv", counts.iter().fold("n\n".to_owned(), |text, n| format!("{text}{n}\n")));

    for (x, n) in [("c8.npy", "nf8.npy"), ("f8.npy", "ni8.npy"), ("x.csv", "ni4.npy"), ("c8.npy", "n.csv"), ("x.csv", "n.csv")] {
        let l = desk.log_likelihood(&format!("--classes 1 --features {x} --counts {n}"));
        assert_near(l, FLIGHTS_COUNTS_1, 1e-9 * FLIGHTS_COUNTS_1.abs());
    }
    // The features rounded to f32 are other features, but the same ones in every file.
    let single: Vec<f64> =
        [("c4.npy", ""), ("f4.npy", ""), ("c8.npy", "--precision f32"), ("x.csv", "--precision f32"), ("c4.npy", "--precision f64")]
            .iter()
            .map(|(x, options)| desk.log_likelihood(&format!("--classes 2 --features {x} --counts ni4.npy {options}")))
            .collect();
    for l in &single {
        assert_near(*l, single[0], 1e-9 * single[0].abs());
        assert_near(*l, FLIGHTS_COUNTS_2, 1.0);
    }
    assert_eq!(desk.json("--classes 1 --features f4.npy --counts n.csv")["features"][4], "x4");

    // Some of the columns, in another order.
    let some = desk.json("--classes 1 --features x.csv --counts n.csv --columns e,b");
    assert_eq!(some["features"], serde_json::json!(["e", "b"]));
}

#[test]
fn counts_joined_to_items_without_units() {
    let desk = Desk::new();
    let fit = desk.json(&format!("{ITEMS} --classes 2"));
    assert_near(fit["log_likelihood"].as_f64().unwrap(), FLIGHTS_COUNTS_2, 0.01);
    assert_eq!(fit["criteria"]["n"], 329174.0);
}

#[test]
fn panels_in_long_form_with_rows_in_any_order() {
    let desk = Desk::new();
    assert_near(desk.log_likelihood(&format!("{PANEL} --classes 1")), ELECTRICITY_1, 1e-6);
    // The file upside down, with true and false, quoted, CRLF, and a byte order mark.
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/electricity.csv")).unwrap();
    let mut lines = text.lines();
    let header = lines.next().unwrap();
    let mut upside_down = format!("\u{feff}{header}\r\n");
    for line in lines.rev() {
        let mut fields: Vec<&str> = line.split(',').collect();
        fields[3] = if fields[3] == "1" { "\"True\"" } else { "false" };
        upside_down += &format!("{}\r\n", fields.join(","));
    }
    desk.write("long.csv", upside_down);
    let panel = PANEL.replace("data/electricity.csv", "long.csv");
    assert_near(desk.log_likelihood(&format!("{panel} --classes 1")), ELECTRICITY_1, 1e-6);
}

#[test]
fn a_scan_tells_the_best_by_every_criterion() {
    let desk = Desk::new();
    let scan = desk.json(&format!("{PANEL} --classes 1..2 --starts 8 --plot scan.svg"));
    let fits = scan["fits"].as_array().unwrap();
    let values: Vec<f64> = fits.iter().map(|f| f["log_likelihood"].as_f64().unwrap()).collect();
    assert_eq!(fits.iter().map(|f| f["classes"].as_array().unwrap().len()).collect::<Vec<_>>(), [1, 2]);
    assert_near(values[0], ELECTRICITY_1, 1e-6);
    assert_near(values[1], ELECTRICITY_2, 1e-5);
    assert_eq!(scan["best_by"], serde_json::json!({"aic": 2, "bic": 2, "icl": 2}));
    assert!(fs::read_to_string(desk.path("scan.svg")).unwrap().contains("BIC"));
    // A fit of a scan is a start; a scan of one number is a scan.
    desk.write("scan.json", scan.to_string());
    assert_near(desk.log_likelihood(&format!("{PANEL} --init scan.json --classes 2 --evaluate")), values[1], 1e-9);
    desk.refused(&format!("{PANEL} --init scan.json"), 2, &["--classes", "scan.json"]);
    desk.refused(&format!("{PANEL} --init scan.json --classes 3"), 2, &["scan.json", "--classes 3"]);
    assert_eq!(desk.json("--classes 1..1")["fits"].as_array().unwrap().len(), 1);
    let table = desk.run("--classes 1..2");
    assert!(table.out.contains("BIC") && table.out.contains("of 2 classes, the best by BIC"), "{}", table.out);
}

#[test]
fn what_it_wrote_is_a_start_and_gives_the_same_value() {
    let desk = Desk::new();
    let run = desk.run("--classes 2 --json two.json --quiet");
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, "", ""));
    assert_eq!(desk.files(), ["two.json"]);
    let two: Value = serde_json::from_str(&fs::read_to_string(desk.path("two.json")).unwrap()).unwrap();
    let l = two["log_likelihood"].as_f64().unwrap();

    let evaluated = desk.json("--init two.json --evaluate");
    assert_near(evaluated["log_likelihood"].as_f64().unwrap(), l, 1e-12 * l.abs());
    assert_eq!(evaluated["outcome"], Value::Null);
    assert_eq!(evaluated["evaluations"], 1);
    for (a, b) in evaluated["classes"].as_array().unwrap().iter().zip(two["classes"].as_array().unwrap()) {
        assert_eq!((&a["weight"], &a["atom"]), (&b["weight"], &b["atom"]));
    }

    let again = desk.json("--init two.json");
    assert_near(again["log_likelihood"].as_f64().unwrap(), l, 1e-9 * l.abs());
    assert_eq!(again["starts"]["kinds"], serde_json::json!(["given"]));
    assert_eq!(again["outcome"], "converged");

    let ridge = desk.json("--init two.json --evaluate --ridge 1000");
    assert!(ridge["penalized_log_likelihood"].as_f64().unwrap() < ridge["log_likelihood"].as_f64().unwrap());

    desk.refused("--init two.json --classes 3", 2, &["--classes 3", "2 classes"]);
    desk.refused("--init two.json --classes 1..3", 2, &["--init"]);
    desk.refused("--init two.json --starts 3", 2, &["--init", "--starts"]);
    desk.refused("--evaluate", 2, &["--init"]);
    desk.refused("--init none.json", 1, &["none.json"]);
    desk.refused(&format!("{PANEL} --init two.json"), 1, &["two.json", "lat", "pf"]);
    let swapped = ITEMS.replace("lat,lon", "lon,lat");
    desk.refused(&format!("{swapped} --init two.json"), 1, &["two.json", "lat, lon", "lon, lat"]);
    for (text, parts) in [
        ("{", &["line 1"][..]),
        ("{}", &["no classes"]),
        (r#"{"classes": [{"weight": 1.0, "atom": [1, 2]}]}"#, &["2 numbers for 5 features"]),
        (r#"{"classes": [{"weight": 0.5, "atom": [1, 2, 3, 4, 5]}]}"#, &["sum to one"]),
        (r#"{"classes": [{"weight": 1.0, "atom": [1, 2, null, 4, 5]}]}"#, &["null", "line 1"]),
        (&format!(r#"{{"classes": [{{"weight": "{}"}}]}}"#, "long".repeat(1000)), &["longlong", "…", "line 1"]),
    ] {
        desk.write("bad.json", text);
        desk.refused("--init bad.json", 1, &[&["bad.json"], parts].concat());
    }
    // Logits beyond the range of numbers are those of the start.
    for atom in ["1e300, -1e308, 1e308, 1e308, 1e308", "1e305, 0, 0, 0, 0"] {
        desk.write("far.json", format!(r#"{{"classes": [{{"weight": 1.0, "atom": [{atom}]}}]}}"#));
        desk.refused("--init far.json", 1, &["far.json", "logits", "range"]);
        desk.refused("--init far.json --evaluate", 1, &["far.json", "logits", "range"]);
    }
}

#[test]
fn the_seed_decides_the_result_and_threads_do_not() {
    let desk = Desk::new();
    let fit = |options: &str| timeless(desk.json(&format!("--classes 3 --starts 4 {options}")));
    assert_eq!(fit("--seed 7"), fit("--seed 7"));
    assert_ne!(fit("--seed 7")["starts"], fit("--seed 8")["starts"]);
    let run = desk.run("--classes 3 --starts 4 --seed 7 --threads 2 --quiet --json two.json");
    assert_eq!((run.code, run.out.as_str(), run.err.as_str()), (0, "", ""));
    let threads = serde_json::from_str(&fs::read_to_string(desk.path("two.json")).unwrap()).unwrap();
    assert_eq!(timeless(threads), fit("--seed 7"));
}

#[test]
fn outcomes_are_no_errors_and_come_with_advice() {
    let desk = Desk::new();
    // Both draws of the first alternative and none of others: the more the better, without end.
    desk.write("x.csv", "a\n0\n1\n2\n");
    desk.write("n.csv", "n\n0\n0\n7\n");
    let run = desk.run("--classes 1 --features x.csv --counts n.csv --json fit.json");
    assert_eq!(run.code, 0, "{}", run.err);
    assert!(run.out.contains("diverging") && run.out.contains("--ridge"), "{}", run.out);
    let fit: Value = serde_json::from_str(&fs::read_to_string(desk.path("fit.json")).unwrap()).unwrap();
    assert_eq!((&fit["outcome"], &fit["diverging_classes"]), (&"diverging".into(), &serde_json::json!([0])));
    assert_eq!(desk.json("--classes 1 --features x.csv --counts n.csv --ridge 1")["outcome"], "converged");

    let run = desk.run("--max-evaluations 3");
    assert!(run.out.contains("iteration limit") && run.out.contains("--max-evaluations"), "{}", run.out);

    // A constant feature is named, and has no standard error.
    desk.write("x.csv", "a,one\n0,1\n1,1\n2,1\n");
    desk.write("n.csv", "n\n3\n2\n7\n");
    let fit = desk.json("--classes 1 --features x.csv --counts n.csv");
    assert_eq!(fit["unidentified"], serde_json::json!(["one"]));
    assert_eq!((&fit["classes"][0]["standard_errors"][1], &fit["classes"][0]["atom"][1]), (&Value::Null, &0.0.into()));
    assert_eq!(fit["criteria"]["parameters"], 1);
    assert!(desk.run("--classes 1 --features x.csv --counts n.csv").out.contains("not identified"));
}

/// Names may hold what would move a terminal's cursor or is no XML: the JSON has them as they are.
#[test]
fn names_are_shown_without_control_characters() {
    let desk = Desk::new();
    desk.write("x.csv", "name,lat,lon,lat\u{1b}\n\"two\nlines\",1,2,3\nbell\u{7},4,5,1\nplain,6,8,0\n");
    desk.write("n.csv", "name,who,n\n\"two\nlines\",\"a\nb\",3\nbell\u{7},c,2\nplain,c,4\n");
    let args = "--classes 1 --ridge 1 --features x.csv --alternative name --columns lat,lon,lat\u{1b} --counts n.csv --count n --unit who";
    let run = desk.run(&format!("{args} --plot map.svg"));
    assert_eq!((run.code, run.err.as_str()), (0, ""));
    let drawn = fs::read_to_string(desk.path("map.svg")).unwrap();
    assert!(run.out.contains("two\u{fffd}lines") && drawn.contains("bell\u{fffd}"), "{}", run.out);
    assert!(run.out.chars().chain(drawn.chars()).all(|c| !c.is_control() || c == '\n'));
    assert_eq!(desk.json(args)["features"][2], "lat\u{1b}");
}

/// Estimates of features in large units are small numbers, not zeros.
#[test]
fn estimates_keep_digits_whatever_the_units() {
    let desk = Desk::new();
    desk.write("x.csv", "pop,size\n1e11,1\n3e11,4\n2e11,2\n6e11,1\n");
    desk.write("n.csv", "n\n7\n3\n5\n2\n");
    let run = desk.run("--classes 1 --features x.csv --counts n.csv");
    let row = run.out.lines().find(|line| line.trim_start().starts_with("pop")).unwrap();
    assert!(row.contains("e-12 ± ") && !row.contains("0.0000000"), "{row}");
    let row = run.out.lines().find(|line| line.trim_start().starts_with("size")).unwrap();
    assert!(!row.contains("e-"), "{row}");
}

#[test]
fn bad_arguments_end_with_2() {
    let desk = Desk::new();
    desk.write("x.csv", "a\n0\n1\n2\n");
    desk.write("n.csv", "n\n3\n0\n7\n");
    desk.write("x.npy", npy("<f8", false, "(1, 1)", vec![0; 8]));
    for (args, parts) in [
        ("--bogus", &["--bogus"][..]),
        ("stray", &["stray"]),
        ("--classes 0", &["--classes", "'0'"]),
        ("--classes two", &["--classes", "'two'"]),
        ("--classes 3..2", &["--classes", "empty"]),
        ("--classes 36", &["--classes 36", "35 units"]),
        ("--classes 1 --classes 2", &["--classes"]),
        ("--ridge -1", &["--ridge", "-1"]),
        ("--ridge nan", &["--ridge", "nan"]),
        ("--ridge inf", &["--ridge", "finite number from 0"]),
        ("--ridge much", &["--ridge", "'much'", "finite number from 0"]),
        ("--seed -1", &["--seed", "whole number from 0"]),
        ("--starts 0", &["--starts", "whole number from 1"]),
        ("--plot -", &["--plot -", "plot.svg"]),
        ("--plot plot.png", &["--plot plot.png", "SVG"]),
        ("--threads 0", &["--threads"]),
        ("--max-evaluations 0", &["--max-evaluations"]),
        ("--precision f16", &["--precision", "f32, f64"]),
        ("--json", &["--json"]),
        ("--features x.csv --classes 1", &["--counts"]),
        ("--counts n.csv --classes 1", &["--features"]),
        ("--features x.csv --counts n.csv", &["--classes"]),
        ("--features x.csv --counts n.csv --classes 3", &["--classes 3", "only 2"]),
        ("--features x.csv --counts n.csv --classes 1 --unit a", &["--unit", "--alternative"]),
        ("--features x.csv --counts n.csv --classes 1 --chosen a", &["--chosen"]),
        ("--features x.csv --counts n.csv --classes 1 --columns a,a", &["--columns", "twice"]),
        ("--features x.npy --counts n.csv --classes 1 --columns a", &["--columns", "x.npy"]),
        ("--features x.csv --counts n.csv --classes 1 --alternative a", &["--columns"]),
        ("--features x.csv --counts n.csv --classes 1 --alternative a --columns a", &["--count"]),
        ("--choices x.csv --classes 1", &["--unit"]),
        ("--choices x.csv --classes 1 --unit a", &["--set"]),
        ("--choices x.csv --classes 1 --unit a --set a", &["--chosen"]),
        ("--choices x.csv --classes 1 --unit a --set a --chosen a", &["--columns"]),
        ("--choices x.csv --features x.csv", &["--choices", "--features"]),
        ("--columns lat", &["--columns"]),
        ("--features x.csv --counts n.csv --classes 1 --columns=", &["--columns", "empty"]),
        ("--features x.csv --counts n.csv --classes 1 --columns a,,b", &["--columns", "empty"]),
        ("--features x.csv --counts n.csv --classes 2 --starts 1000000000000000", &["--starts", "memory"]),
        ("--features x.csv --counts n.csv --classes 1 --json one.svg --plot ./one.svg", &["one.svg", "twice"]),
        ("--features x.csv --counts n.csv --classes 1 --json ./n.csv", &["n.csv", "data"]),
    ] {
        desk.refused(args, 2, parts);
    }
    for help in ["--help", "-h", "--version"] {
        let run = desk.run(help);
        assert_eq!((run.code, run.err.as_str()), (0, ""));
        assert!(!run.out.is_empty());
    }
}

#[test]
fn bad_tables_end_with_1_and_name_the_place() {
    let desk = Desk::new();
    let good = "a,b\n1,2\n3,4\n5,7\n";
    for (x, n, parts) in [
        ("a,b\n1,2\n3,x\n5,7\n", "n\n1\n2\n3\n", &["x.csv, line 3, column 'b': 'x'"][..]),
        ("a,b\r\n1,2\r\n\r\n3,\r\n5,7\r\n", "n\n1\n2\n3\n", &["x.csv, line 4, column 'b': ''"]),
        ("\u{feff}a,b\n1,NaN\n3,4\n5,7\n", "n\n1\n2\n3\n", &["x.csv, line 2, column 'b': 'NaN'", "finite"]),
        ("a,b\n1,-inf\n3,4\n5,7\n", "n\n1\n2\n3\n", &["'-inf'", "finite"]),
        ("a,b\n1,1e999\n3,4\n5,7\n", "n\n1\n2\n3\n", &["'1e999'", "too large"]),
        ("a,b\n1,2\n3\n5,7\n", "n\n1\n2\n3\n", &["x.csv, line 3", "1 field", "2"]),
        ("a,b\n1,2\n3,4,5\n5,7\n", "n\n1\n2\n3\n", &["x.csv, line 3", "3 fields", "2"]),
        ("a,b\n1,\"2\n3,4\n5,7\n", "n\n1\n2\n3\n", &["x.csv, line 2, column 'b'"]),
        ("a,a\n1,2\n", "n\n1\n", &["x.csv", "'a'"]),
        ("0.5,2\n1,2\n", "n\n1\n", &["x.csv, line 1", "header"]),
        // Rows of whole numbers are no header either, but for the places of the columns.
        ("3,2\n1,2\n", "n\n1\n", &["x.csv, line 1", "header"]),
        ("0\n1\n2\n", "n\n1\n2\n", &["x.csv, line 1", "header"]),
        (good, "0\n1\n2\n3\n", &["n.csv, line 1", "header"]),
        ("0,1\n1,2\n3,4\n5,7\n", "n\n1\n2\n3\n4\n", &["n.csv: 4 counts for the 3 rows of x.csv; the first line of a CSV"]),
        ("", "n\n1\n", &["x.csv", "empty"]),
        ("a,b\n", "n\n1\n", &["x.csv", "no rows"]),
        (good, "n\n1\n2\n", &["n.csv", "2 counts", "3 rows"]),
        (good, "n\n1\n-2\n3\n", &["n.csv, line 3, column 'n': '-2'", "negative"]),
        (good, "n\n1\nnan\n3\n", &["n.csv, line 3, column 'n': 'nan'"]),
        (good, "n\n0\n0\n0\n", &["n.csv", "zero"]),
        (good, "k,n\n0,1\n0,1\n0,1\n", &["n.csv", "2 columns"]),
        // The index that pandas writes has no name; a comma at the end is a column without one, too.
        (",a,b\n0,1,2\n1,3,4\n2,5,7\n", "n\n1\n2\n3\n", &["x.csv, line 1: column 1 has no name"]),
        ("a,b,\n1,2,\n3,4,\n5,7,\n", "n\n1\n2\n3\n", &["x.csv, line 1: column 3 has no name"]),
        (good, ",n\n0,1\n1,2\n2,3\n", &["n.csv, line 1: column 1 has no name"]),
        ("PK\u{3}\u{4}\n", "n\n1\n2\n3\n", &["x.csv: not a CSV", "NumPy", ".npy"]),
        // In one column a blank line is an empty cell.
        (good, "n\n1\n\n3\n", &["n.csv, line 3, column 'n': '' stands where a number must"]),
        (good, "n\r\n\r\n1\r\n2\r\n3\r\n", &["n.csv, line 2, column 'n': ''"]),
        (good, "\u{feff}n\n1\n2\n\n\n3\n\n", &["n.csv, line 4, column 'n': ''"]),
        ("a\n1\n\n3\n5\n", "n\n1\n2\n3\n", &["x.csv, line 3, column 'a': ''"]),
        ("\n1\n3\n5\n", "n\n1\n2\n3\n", &["x.csv, line 1", "header"]),
        // Lines may end with CR alone.
        ("a,b\r1,2\r3,x\r5,7\r", "n\n1\n2\n3\n", &["x.csv, line 3, column 'b': 'x'"]),
        (good, "n\r1\r\r3\r", &["n.csv, line 3, column 'n': ''"]),
        (good, "n\n1e308\n1e308\n1e308\n", &["n.csv: the sum of its counts is beyond the range of numbers"]),
    ] {
        desk.write("x.csv", x);
        desk.write("n.csv", n);
        desk.refused("--classes 1 --features x.csv --counts n.csv", 1, parts);
    }
    desk.write("x.csv", good);
    desk.write("n.csv", b"n\n1\n\xff\n3\n");
    desk.refused("--classes 1 --features x.csv --counts n.csv", 1, &["n.csv, line 3", "UTF-8"]);
    desk.write("n.csv", "n\n1\n2\n3\n");
    desk.refused("--classes 1 --features x.csv --counts n.csv --columns a,c", 1, &["x.csv", "'c'", "a, b"]);
    desk.refused("--classes 1 --features none.csv --counts n.csv", 1, &["none.csv"]);
    desk.write("n.csv", "n\r\n1\r\n2\r\n3\r\n\r\n\n");
    desk.log_likelihood("--classes 1 --features x.csv --counts n.csv");
    // Named columns leave an index out; a header that NumPy wrote is no comment.
    desk.write("x.csv", ",a,b\n0,1,2\n1,3,4\n2,5,7\n");
    let named = desk.log_likelihood("--classes 1 --features x.csv --counts n.csv --columns a,b");
    desk.write("x.csv", "# a,b\n1,2\n3,4\n5,7\n");
    assert_eq!(desk.log_likelihood("--classes 1 --features x.csv --counts n.csv --columns a,b"), named);
    desk.write("x.csv", "b,a\n1,1e200\n1,1\n2,2\n");
    desk.refused("--classes 1 --features x.csv --counts n.csv", 1, &["x.csv", "'a'", "squares"]);
    desk.write("x.csv", format!("a,b\u{1b}]0;{}\n1,2\n", "long".repeat(1000)));
    let run = desk.run("--classes 1 --features x.csv --counts n.csv --columns c");
    assert!(run.code == 1 && run.err.len() < 400 && !run.err.trim_end().contains(char::is_control), "{:?}", run.err);
    desk.write("x.csv", "a\n1e39\n1\n2\n");
    desk.refused("--classes 1 --features x.csv --counts n.csv --precision f32", 1, &["x.csv, line 2, column 'a': '1e39'"]);
}

#[test]
fn bad_joins_and_panels_end_with_1_and_name_the_place() {
    let desk = Desk::new();
    let join = "--classes 1 --features items.csv --alternative key --columns x --counts long.csv --count n --unit who";
    let items = "key,x\nu,1\nv,2\n";
    for (items, long, parts) in [
        (items, "who,key,n\nA,u,1\nA,w,1\n", &["long.csv, line 3, column 'key': 'w'", "items.csv"][..]),
        ("key,x\nu,1\nv,2\n\nu,3\n", "who,key,n\nA,u,1\n", &["items.csv, line 5, column 'key': 'u'", "line 2"]),
        (items, "who,key,n\nA,u,one\n", &["long.csv, line 2, column 'n': 'one'"]),
        (items, "who,key,n\nA,u,1\nB,u,0\n", &["long.csv", "'B'", "zero"]),
        (items, "who,dest,n\nA,u,1\n", &["long.csv", "'key'", "who, dest, n"]),
        (items, "who,key,n\nA,u,1\n,v,1\n", &["long.csv, line 3, column 'who': '' stands where a name must"]),
        (items, "who,key,n\nA,u,1\nA,,1\n", &["long.csv, line 3, column 'key': ''"]),
        ("key,x\nu,1\n,2\n", "who,key,n\nA,u,1\n", &["items.csv, line 3, column 'key': ''"]),
        (items, "who,key,n\nA,u,1e308\nA,u,1e308\n", &["long.csv: the sum of its counts"]),
    ] {
        desk.write("items.csv", items);
        desk.write("long.csv", long);
        desk.refused(join, 1, parts);
    }
    let panel = "--classes 1 --choices long.csv --unit who --set task --chosen y --columns x";
    for (long, parts) in [
        ("who,task,y,x\nA,1,1,0\nA,1,0,1\nB,1,0,0\nB,1,0,1\n", &["long.csv, line 4", "'task' '1'", "who B"][..]),
        ("who,task,y,x\nA,1,yes,0\n", &["long.csv, line 2, column 'y': 'yes'"]),
        ("who,task,y,x\nA,1,-1,0\n", &["long.csv, line 2, column 'y': '-1'", "negative"]),
        ("who,task,x\nA,1,0\n", &["long.csv", "'y'"]),
        ("who,task,y,x\nA,1,1,0\n,1,1,1\n", &["long.csv, line 3, column 'who': '' stands where a name must"]),
        ("who,task,y,x\nA,1,1,0\nA, ,1,1\n", &["long.csv, line 3, column 'task': ''"]),
        ("who,task,y,x\nA,1,1e308,0\nA,1,1e308,1\n", &["long.csv: the sum of its counts"]),
    ] {
        desk.write("long.csv", long);
        desk.refused(panel, 1, parts);
    }
    // Repeated rows are summed, missing ones are zeros, and a unit is a set of columns.
    desk.write("items.csv", "key,x\nu,1\nv,2\nw,4\n");
    desk.write("long.csv", "who,key,n\nA,u,1\nA,u,2\nA,v,4\n");
    desk.write("x.csv", "x\n1\n2\n4\n");
    desk.write("n.csv", "n\n3\n4\n0\n");
    let joined = desk.log_likelihood(join);
    assert_near(joined, desk.log_likelihood("--classes 1 --features x.csv --counts n.csv"), 1e-12);
}

#[test]
fn bad_npy_files_end_with_1_and_name_the_place() {
    let desk = Desk::new();
    let x = |values: &[f64]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    desk.write("n.csv", "n\n1\n2\n");
    for (file, parts) in [
        (npy("<f8", false, "(2, 2)", x(&[1.0, 2.0, f64::NAN, 4.0])), &["x.npy: [1, 0]", "finite"][..]),
        (npy("<f8", true, "(2, 2)", x(&[1.0, 2.0, f64::INFINITY, 4.0])), &["x.npy: [0, 1]", "finite"]),
        (npy("<f8", false, "(2, 2)", x(&[1.0, 2.0, 3.0])), &["x.npy", "[2, 2]"]),
        (npy("<f8", false, "(4,)", x(&[1.0, 2.0, 3.0, 4.0])), &["x.npy", "(p, L)"]),
        (npy("<f8", false, "(0, 2)", vec![]), &["x.npy", "empty"]),
        (npy("<i8", false, "(2, 1)", x(&[1.0, 2.0])), &["x.npy", "<i8", "<f8"]),
        (npy("<f8", false, "(99999999999, 999)", vec![]), &["x.npy"]),
        (b"a,b\n1,2\n".to_vec(), &["x.npy", "NPY"]),
        (vec![], &["x.npy", "NPY"]),
        (npy_header(&"(".repeat(60_000)), &["x.npy", "header"]),
        (npy_header(&"{".repeat(1000)), &["x.npy", "brackets"]),
        (npy("<f8", false, &format!("({})", "1, ".repeat(500)), x(&[1.0])), &["x.npy", "[1, 1, 1", "(p, L)"]),
        (npy_header(&format!("{{'descr': [('{}', '<f8')], 'fortran_order': False, 'shape': (2, 1)}}", "long".repeat(400))), &["x.npy"]),
    ] {
        desk.write("x.npy", file);
        desk.refused("--classes 1 --features x.npy --counts n.csv", 1, parts);
        assert!(desk.run("--classes 1 --features x.npy --counts n.csv").err.len() < 400);
    }
    desk.write("x.npy", npy("<f8", false, "(2, 1)", x(&[1.0, 1e300])));
    desk.refused("--classes 1 --features x.npy --counts n.csv --precision f32", 1, &["x.npy: [1, 0]", "1e300"]);
    for (file, parts) in [
        (npy("<f8", false, "(2,)", x(&[1.0, -1.5])), &["n.npy: [1]", "-1.5", "negative"][..]),
        (npy("<f8", false, "(2,)", x(&[f64::NAN, 1.0])), &["n.npy: [0]", "finite"]),
        (npy("<f8", false, "(1, 2)", x(&[1.0, 1.0])), &["n.npy", "(p,)"]),
        (npy("<f8", false, "(3,)", x(&[1.0, 1.0, 1.0])), &["n.npy", "3 counts", "2 rows"]),
        (npy("<u8", false, "(2,)", x(&[1.0, 1.0])), &["n.npy", "<u8", "<i4"]),
    ] {
        desk.write("n.npy", file);
        desk.refused("--classes 1 --features x.npy --counts n.npy", 1, parts);
    }
}

#[test]
fn files_are_written_whole_or_not_at_all() {
    let desk = Desk::new();
    desk.write("old.json", "old");
    desk.refused("--json old.json --plot none/plot.svg", 1, &["none"]);
    desk.refused("--plot .", 1, &["directory"]);
    assert_eq!((fs::read_to_string(desk.path("old.json")).unwrap().as_str(), desk.files()), ("old", vec!["old.json".into()]));
    let run = desk.run("--classes 1 --json old.json --plot plot.svg");
    assert_eq!((run.code, desk.files()), (0, vec!["old.json".into(), "plot.svg".into()]));
    assert!(run.out.contains("old.json") && run.out.contains("plot.svg"));
    assert!(fs::read_to_string(desk.path("old.json")).unwrap().starts_with('{'));
    assert_eq!(desk.run(&format!("{PANEL} --classes 2 --starts 1 --plot atoms.svg --quiet")).code, 0);
    assert!(fs::read_to_string(desk.path("atoms.svg")).unwrap().contains("seas"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_file_is_not_written_where_another_output_fails() {
    let desk = Desk::new();
    desk.refused("--classes 1 --json new.json --plot /dev/full", 1, &["/dev/full"]);
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = Command::new(program()).args(["--classes", "1", "--json", "new.json"]).current_dir(desk.0.path()).stdout(full()).output();
    let run = run.unwrap();
    assert_eq!(run.status.code(), Some(1));
    assert!(String::from_utf8(run.stderr).unwrap().starts_with("error: standard output"));
    assert!(desk.files().is_empty(), "{:?}", desk.files());
    // Where standard output is a file, nothing takes its place.
    for (args, code) in [("--json -", 2), ("", 2), ("--quiet", 0)] {
        let words = args.split_whitespace().chain("--classes 1 --plot /dev/stdout".split(' '));
        let out = fs::File::create(desk.path("out.txt")).unwrap();
        let run = Command::new(program()).args(words).current_dir(desk.0.path()).stdout(out).output().unwrap();
        assert_eq!(run.status.code(), Some(code), "{args}");
    }
    assert!(fs::read_to_string(desk.path("out.txt")).unwrap().starts_with("<svg"));
}

#[test]
#[cfg(unix)]
fn what_is_replaced_keeps_its_mode_and_links_are_followed() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let desk = Desk::new();
    desk.write("old.json", "old");
    fs::set_permissions(desk.path("old.json"), PermissionsExt::from_mode(0o600)).unwrap();
    fs::create_dir(desk.path("there")).unwrap();
    symlink("there/new.svg", desk.path("second")).unwrap();
    symlink(desk.path("second"), desk.path("first")).unwrap();
    assert_eq!(desk.run("--classes 1 --quiet --json old.json --plot first").code, 0);
    assert_eq!(fs::metadata(desk.path("old.json")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::read_to_string(desk.path("old.json")).unwrap().starts_with('{'));
    assert!(desk.path("first").is_symlink() && desk.path("second").is_symlink());
    assert!(fs::read_to_string(desk.path("there/new.svg")).unwrap().starts_with("<svg"));

    desk.refused("--classes 1 --json first --plot there/new.svg", 2, &["twice"]);
    fs::remove_file(desk.path("there/new.svg")).unwrap();
    desk.refused("--classes 1 --json first --plot there/new.svg", 2, &["twice"]);
    symlink("nowhere/new.svg", desk.path("lost")).unwrap();
    desk.refused("--classes 1 --plot lost", 1, &["no such directory"]);
    symlink("round", desk.path("round")).unwrap();
    desk.refused("--classes 1 --plot round", 1, &["round", "links"]);
}

#[test]
fn what_the_data_do_not_determine_is_said() {
    let desk = Desk::new();
    desk.write("x.csv", "a,b\n0,0\n1,0\n0,1\n1,1\n");
    desk.write("n.csv", "n\n40\n10\n10\n41\n");
    // Three classes have eight parameters, of which four counts tell three.
    let run = desk.run("--features x.csv --counts n.csv --classes 3 --plot a.svg");
    assert!(run.out.contains("where other mixtures fit as well") && !run.out.contains("-0.00 "), "{}", run.out);
    let run = desk.run("--features x.csv --counts n.csv --classes 1");
    assert!(run.out.contains("± standard errors") && run.out.contains("(2 parameters, 101 units)"), "{}", run.out);
    // Where the budget is spent an empty class is no sign of too many.
    desk.write("init.json", r#"{"classes": [{"weight": 1, "atom": [1, 1]}, {"weight": 0, "atom": [0, 0]}], "features": ["a", "b"]}"#);
    let run = desk.run("--features x.csv --counts n.csv --init init.json --max-evaluations 1");
    assert!(run.out.contains("empty classes   2\n") && run.out.contains("allow more") && !run.out.contains("fit fewer"), "{}", run.out);
}
