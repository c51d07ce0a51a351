//! The data of a fit, read from any of the three forms and owned; the library borrows them.

use crate::args::{Precision, Source};
use crate::fault::{Fault, Result, bad, quoted, shortened};
use crate::npy::{self, Matrix, Numbers};
use crate::table::{Row, Table};
use softmix::data::{Choices, Data, Features};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Everything that was read.
pub struct Input {
    /// The files, for people.
    pub files: String,
    /// Names of the features.
    pub names: Vec<String>,
    /// The alternatives, where all choose from one set and their names are known.
    pub alternatives: Option<Vec<Alternative>>,
    /// Longitude and latitude of the alternatives, where their table has such columns.
    pub coordinates: Option<Vec<[f64; 2]>>,
    /// The units, unless every draw is its own.
    pub units: Option<Units>,
    features: Matrix,
    sets: Option<Vec<usize>>,
    choices: Chosen,
}

/// An alternative: its key, and its name in full where the table has a column for it.
pub struct Alternative {
    pub key: String,
    pub name: Option<String>,
}

/// Who chose.
pub struct Units {
    /// The columns that name a unit.
    pub columns: Vec<String>,
    pub labels: Vec<String>,
    /// Choices of each.
    pub sizes: Vec<f64>,
}

enum Chosen {
    Counts(Vec<f64>),
    Units { indptr: Vec<usize>, indices: Vec<usize>, counts: Vec<f64> },
}

impl Input {
    pub fn read(source: &Source, precision: Option<Precision>) -> Result<Self> {
        match source {
            Source::Rows { features, counts, columns } => rows(features, counts, columns.as_deref(), precision),
            Source::Items { features, counts, alternative, columns, count, unit } => {
                items(features, counts, alternative, columns, count, unit, precision)
            }
            Source::Panel { choices, unit, set, chosen, columns } => panel(choices, unit, set, chosen, columns, precision),
        }
    }

    /// The library's view of the data.
    pub fn data(&self) -> Result<Data<'_>> {
        let Matrix { numbers, rows, columns, row_major } = &self.features;
        let features = match (numbers, row_major) {
            (Numbers::F32(v), true) => Features::row_major(&v[..], *rows, *columns),
            (Numbers::F32(v), false) => Features::column_major(&v[..], *rows, *columns),
            (Numbers::F64(v), true) => Features::row_major(&v[..], *rows, *columns),
            (Numbers::F64(v), false) => Features::column_major(&v[..], *rows, *columns),
        };
        let choices = match &self.choices {
            Chosen::Counts(n) => Choices::Counts(n),
            Chosen::Units { indptr, indices, counts } => Choices::Units { indptr, indices, counts: Some(counts), weights: None },
        };
        let data = features.and_then(|x| Data::new(x, None, self.sets.as_deref(), choices));
        data.or_else(|e| bad(format!("{}: {e}", self.files)))
    }

    /// Whether the names of the features say nothing, the file having none.
    pub fn nameless(names: &[String]) -> bool {
        names.iter().enumerate().all(|(l, name)| *name == nameless(l))
    }
}

fn nameless(column: usize) -> String {
    format!("x{column}")
}

fn is_npy(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npy"))
}

fn files(paths: &[&Path]) -> String {
    let name = |p: &&Path| p.file_name().unwrap_or(p.as_os_str()).to_string_lossy().into_owned();
    paths.iter().map(name).collect::<Vec<_>>().join(", ")
}

impl Matrix {
    /// An empty matrix of features from a table, which is in f64 unless f32 is asked for.
    fn new(columns: usize, precision: Option<Precision>) -> Self {
        let numbers = match precision {
            Some(Precision::F32) => Numbers::F32(Vec::new()),
            _ => Numbers::F64(Vec::new()),
        };
        Matrix { numbers, rows: 0, columns, row_major: true }
    }

    fn push(&mut self, row: Row<'_>, columns: &[usize]) -> Result<()> {
        for &c in columns {
            match &mut self.numbers {
                Numbers::F32(v) => v.push(row.number(c)?),
                Numbers::F64(v) => v.push(row.number(c)?),
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// The rows in another order.
    fn reordered(self, order: &[usize]) -> Self {
        fn gather<T: Copy>(v: &[T], columns: usize, order: &[usize]) -> Vec<T> {
            order.iter().flat_map(|&i| &v[i * columns..(i + 1) * columns]).copied().collect()
        }
        let numbers = match &self.numbers {
            Numbers::F32(v) => Numbers::F32(gather(v, self.columns, order)),
            Numbers::F64(v) => Numbers::F64(gather(v, self.columns, order)),
        };
        Matrix { numbers, ..self }
    }
}

/// What a table of alternatives says beside their features.
struct Captions {
    key: Option<usize>,
    name: Option<usize>,
    place: Option<[usize; 2]>,
    alternatives: Vec<Alternative>,
    coordinates: Vec<[f64; 2]>,
}

impl Captions {
    fn new(table: &Table, key: Option<usize>, features: &[usize]) -> Self {
        let column = |names: &[&str]| table.header().position(|h| names.iter().any(|n| h.eq_ignore_ascii_case(n)));
        let place = column(&["lon", "longitude", "lng"]).zip(column(&["lat", "latitude"])).map(|(x, y)| [x, y]);
        let name = column(&["name", "label", "title"]).filter(|c| key != Some(*c) && !features.contains(c));
        Captions { key, name, place, alternatives: Vec::new(), coordinates: Vec::new() }
    }

    fn push(&mut self, row: Row<'_>) {
        if let Some(key) = self.key {
            let name = self.name.map(|n| row.text(n).to_owned()).filter(|n| !n.is_empty());
            self.alternatives.push(Alternative { key: row.text(key).to_owned(), name });
        }
        let number = |c: usize| row.text(c).parse::<f64>().ok().filter(|x| x.is_finite());
        if let Some([Some(x), Some(y)]) = self.place.map(|place| place.map(number)) {
            self.coordinates.push([x, y]);
        }
    }

    /// Alternatives and coordinates, each if every row has them.
    fn finish(self, rows: usize) -> (Option<Vec<Alternative>>, Option<Vec<[f64; 2]>>) {
        let Captions { alternatives, coordinates, .. } = self;
        (Some(alternatives).filter(|a| a.len() == rows), Some(coordinates).filter(|c| c.len() == rows))
    }
}

/// The first form: counts of the rows of the features, in their order.
fn rows(features: &Path, counts: &Path, columns: Option<&[String]>, precision: Option<Precision>) -> Result<Input> {
    let (matrix, names, (alternatives, coordinates)) = if is_npy(features) {
        if columns.is_some() {
            return Err(Fault::Usage(format!("--columns names columns of a CSV; {} has no names", features.display())));
        }
        let features = npy::features(features, precision.map(|p| p == Precision::F32))?;
        let names = (0..features.columns).map(nameless).collect();
        (features, names, (None, None))
    } else {
        let table = Table::open(features)?;
        if columns.is_none() {
            table.expect_names()?;
        }
        let names = columns.map_or_else(|| table.header().map(str::to_owned).collect(), <[String]>::to_vec);
        let columns = table.columns(&names)?;
        // The first column that is no feature names the rows.
        let key = (0..table.header().count()).find(|c| !columns.contains(c));
        let mut captions = Captions::new(&table, key, &columns);
        let mut matrix = Matrix::new(columns.len(), precision);
        table.rows(|_, row| {
            captions.push(row);
            matrix.push(row, &columns)
        })?;
        let captions = captions.finish(matrix.rows);
        (matrix, names, captions)
    };
    let n = if is_npy(counts) {
        npy::counts(counts)?
    } else {
        let table = Table::open(counts)?;
        table.expect_names()?;
        let width = table.header().count();
        if width != 1 {
            return bad(format!("{}: {width} columns where one must stand; a table with keys needs --alternative", counts.display()));
        }
        let mut n = Vec::new();
        table.rows(|_, row| {
            n.push(row.count(0)?);
            Ok(())
        })?;
        n
    };
    let p = matrix.rows;
    if n.len() != p {
        let advice = if n.len().abs_diff(p) == 1 { "; the first line of a CSV is its header" } else { "" };
        return bad(format!("{}: {} counts for the {p} rows of {}{advice}", counts.display(), n.len(), features.display()));
    }
    if n.iter().all(|n| *n == 0.0) {
        return bad(format!("{}: every count is zero", counts.display()));
    }
    summable(counts, n.iter())?;
    let (files, choices) = (files(&[features, counts]), Chosen::Counts(n));
    Ok(Input { files, names, alternatives, coordinates, units: None, features: matrix, sets: None, choices })
}

/// Refuses counts of a file whose sum is infinite.
fn summable<'a>(path: &Path, counts: impl Iterator<Item = &'a f64>) -> Result<()> {
    match counts.sum::<f64>().is_finite() {
        true => Ok(()),
        false => bad(format!("{}: the sum of its counts is beyond the range of numbers", path.display())),
    }
}

/// Numbers for keys, in the order they first come.
#[derive(Default)]
struct Index {
    numbers: HashMap<Vec<String>, usize>,
    keys: Vec<Vec<String>>,
}

impl Index {
    fn number(&mut self, key: Vec<String>) -> usize {
        let next = self.keys.len();
        *self.numbers.entry(key).or_insert_with_key(|key| {
            self.keys.push(key.clone());
            next
        })
    }

    fn labels(&self) -> Vec<String> {
        self.keys.iter().map(|k| k.join("/")).collect()
    }
}

/// The second form: counts in long form, joined to the items by a column.
fn items(
    features: &Path,
    counts: &Path,
    alternative: &str,
    columns: &[String],
    count: &str,
    unit: &[String],
    precision: Option<Precision>,
) -> Result<Input> {
    let table = Table::open(features)?;
    let (key, selected) = (table.column(alternative)?, table.columns(columns)?);
    let mut captions = Captions::new(&table, Some(key), &selected);
    let mut matrix = Matrix::new(selected.len(), precision);
    let mut known: HashMap<String, (usize, u64)> = HashMap::new();
    table.rows(|i, row| {
        if let Some((_, byte)) = known.insert(row.name(key)?.to_owned(), (i, row.byte())) {
            return row.error(key, &format!("stands on line {} already", table.line(byte)));
        }
        captions.push(row);
        matrix.push(row, &selected)
    })?;
    let p = matrix.rows;

    let long = Table::open(counts)?;
    let (key, count, unit_columns) = (long.column(alternative)?, long.column(count)?, long.columns(unit)?);
    let mut units = Index::default();
    let mut sums: Vec<BTreeMap<usize, f64>> = Vec::new();
    long.rows(|_, row| {
        let Some((i, _)) = known.get(row.name(key)?) else {
            return row.error(key, &format!("is no alternative of {}", features.display()));
        };
        let u = units.number(row.names(&unit_columns)?);
        sums.resize_with(units.keys.len(), BTreeMap::new);
        *sums[u].entry(*i).or_insert(0.0) += row.count(count)?;
        Ok(())
    })?;
    summable(counts, sums.iter().flat_map(BTreeMap::values))?;
    sums.iter_mut().for_each(|sum| sum.retain(|_, n| *n > 0.0));
    let labels = units.labels();
    if let Some(u) = sums.iter().position(BTreeMap::is_empty) {
        let whose = if unit.is_empty() { String::new() } else { format!(" of the unit {}", quoted(&labels[u])) };
        return bad(format!("{}: every count{whose} is zero", counts.display()));
    }
    let (choices, units) = if unit.is_empty() {
        let mut n = vec![0.0; p];
        sums.iter().flatten().for_each(|(i, c)| n[*i] = *c);
        (Chosen::Counts(n), None)
    } else {
        compressed(sums, unit, labels)
    };
    let (alternatives, coordinates) = captions.finish(p);
    Ok(Input {
        files: files(&[features, counts]),
        names: columns.to_vec(),
        alternatives,
        coordinates,
        units,
        features: matrix,
        sets: None,
        choices,
    })
}

/// Choices of units in compressed rows.
fn compressed(units: Vec<BTreeMap<usize, f64>>, columns: &[String], labels: Vec<String>) -> (Chosen, Option<Units>) {
    let (mut indptr, mut indices, mut counts) = (vec![0], Vec::new(), Vec::new());
    for unit in &units {
        indices.extend(unit.keys());
        counts.extend(unit.values());
        indptr.push(indices.len());
    }
    let sizes = units.iter().map(|u| u.values().sum()).collect();
    (Chosen::Units { indptr, indices, counts }, Some(Units { columns: columns.to_vec(), labels, sizes }))
}

/// The third form: choice sets of units in long form, rows in any order.
fn panel(choices: &Path, unit: &[String], set: &str, chosen: &str, columns: &[String], precision: Option<Precision>) -> Result<Input> {
    let table = Table::open(choices)?;
    let (unit_columns, set_column) = (table.columns(unit)?, table.column(set)?);
    let (chosen, selected) = (table.column(chosen)?, table.columns(columns)?);
    let mut matrix = Matrix::new(selected.len(), precision);
    let (mut units, mut sets) = (Index::default(), Index::default());
    // Of every row its set and count; of every set its unit and where it begins.
    let mut rows: Vec<(usize, f64)> = Vec::new();
    let mut begins: Vec<(usize, u64)> = Vec::new();
    table.rows(|_, row| {
        let mut key = row.names(&unit_columns)?;
        let u = units.number(key.clone());
        key.push(row.name(set_column)?.to_owned());
        let s = sets.number(key);
        if s == begins.len() {
            begins.push((u, row.byte()));
        }
        let count = match row.text(chosen) {
            t if t.eq_ignore_ascii_case("true") => 1.0,
            t if t.eq_ignore_ascii_case("false") => 0.0,
            _ => row.count(chosen)?,
        };
        rows.push((s, count));
        matrix.push(row, &selected)
    })?;
    summable(choices, rows.iter().map(|(_, count)| count))?;
    // Rows set after set, each set in the order of the file.
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&i| rows[i].0);
    let mut offsets = vec![0; begins.len() + 1];
    rows.iter().for_each(|(s, _)| offsets[s + 1] += 1);
    (1..offsets.len()).for_each(|s| offsets[s] += offsets[s - 1]);
    let mut sums = vec![BTreeMap::new(); units.keys.len()];
    for (s, (u, byte)) in begins.iter().enumerate() {
        let range = offsets[s]..offsets[s + 1];
        let picked = |i: &usize| rows[order[*i]].1 > 0.0;
        if !range.clone().any(|i| picked(&i)) {
            let (path, line, key) = (choices.display(), table.line(*byte), &sets.keys[s]);
            let (set, value) = (quoted(set), quoted(&key[key.len() - 1]));
            let whose = shortened(&format!("{} {}", unit.join("/"), key[..key.len() - 1].join("/")), 100);
            return bad(format!("{path}, line {line}: no row of the choice set {set} {value} of {whose} is chosen"));
        }
        sums[*u].extend(range.filter(picked).map(|i| (i, rows[order[i]].1)));
    }
    let (choices_by_unit, units) = compressed(sums, unit, units.labels());
    Ok(Input {
        files: files(&[choices]),
        names: columns.to_vec(),
        alternatives: None,
        coordinates: None,
        units,
        features: matrix.reordered(&order),
        sets: Some(offsets),
        choices: choices_by_unit,
    })
}
