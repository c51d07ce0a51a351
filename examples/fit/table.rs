//! CSV tables with a header row: columns by name, and errors that name file, line, column and value.

use crate::fault::{Fault, Result, bad, listed, quoted};
use csv::{Position, ReaderBuilder, StringRecord, Trim};
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A table, its text in memory: lines are counted when an error needs one.
pub struct Table {
    path: PathBuf,
    text: String,
    header: StringRecord,
}

/// One row of a table.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    table: &'a Table,
    record: &'a StringRecord,
    /// Of a blank line.
    line: Option<usize>,
    byte: u64,
}

impl Table {
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).map_err(|e| Fault::file(path, e))?;
        if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"\x93NUMPY") {
            return bad(format!("{}: not a CSV: arrays of NumPy are read from files named .npy, each of one array", path.display()));
        }
        let text = String::from_utf8(bytes).or_else(|e| {
            let line = line(&e.as_bytes()[..e.utf8_error().valid_up_to()]);
            bad(format!("{}, line {line}: not UTF-8", path.display()))
        })?;
        let mut table = Table { path: path.to_owned(), text, header: StringRecord::new() };
        let header = table.reader().headers().cloned();
        table.header = header.or_else(|e| bad(table.csv_error(&e)))?;
        // NumPy writes a header as a comment.
        if let Some(first) = table.header.get(0).and_then(|first| first.strip_prefix("# ")) {
            table.header = core::iter::once(first.trim_start()).chain(table.header.iter().skip(1)).collect();
        }
        if table.header.iter().all(str::is_empty) {
            return bad(format!("{}: empty, a header row is needed", path.display()));
        }
        if table.header.len() == 1 && table.text.trim_start_matches('\u{feff}').starts_with(['\r', '\n']) {
            return bad(format!("{}, line 1: empty where a header row must stand", path.display()));
        }
        Ok(table)
    }

    fn reader(&self) -> csv::Reader<&[u8]> {
        ReaderBuilder::new().trim(Trim::All).from_reader(self.text.as_bytes())
    }

    fn csv_error(&self, error: &csv::Error) -> String {
        match error.kind() {
            csv::ErrorKind::UnequalLengths { pos: Some(pos), expected_len, len } => {
                let (line, header) = (self.line(pos.byte()), self.header.len());
                debug_assert_eq!(*expected_len as usize, header);
                let fields = if *len == 1 { "field" } else { "fields" };
                format!("{}, line {line}: {len} {fields} where the header has {header}", self.path.display())
            }
            _ => format!("{}: {error}", self.path.display()),
        }
    }

    /// The line of the record that the parser began to look for at `byte`.
    pub fn line(&self, byte: u64) -> usize {
        let text = self.text.as_bytes();
        let start = (byte as usize).min(text.len());
        let blank = text[start..].iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
        line(&text[..start + blank])
    }

    /// The lines of the blank ones before the record that the parser began to look for at `byte`.
    fn blank_lines(&self, byte: u64) -> impl Iterator<Item = usize> {
        let text = self.text.as_bytes();
        let start = (byte as usize).min(text.len());
        // The parser may have stopped between the two characters of an end of line.
        let cut = start > 0 && text[start - 1] == b'\r' && text.get(start) == Some(&b'\n');
        let first = line(&text[..start + usize::from(cut)]);
        first..self.line(byte)
    }

    pub fn header(&self) -> impl Iterator<Item = &str> {
        self.header.iter()
    }

    /// Refuses a first row that is no header but numbers, or has columns without a name, as the index is that pandas writes. The places of
    /// several columns may be their names, from 0, as pandas writes them.
    pub fn expect_names(&self) -> Result<()> {
        let number = |h: &str| h.parse::<f64>().is_ok();
        let places = self.header.len() > 1 && self.header().enumerate().all(|(i, h)| h.parse() == Ok(i));
        if self.header().all(number) && !places {
            return bad(format!("{}, line 1: numbers where a header row must stand", self.path.display()));
        }
        match self.header().position(str::is_empty) {
            // Of a single column it is a blank line, which has been refused.
            Some(i) if self.header.len() > 1 => {
                bad(format!("{}, line 1: column {} has no name (an index?): name it, or leave it out", self.path.display(), i + 1))
            }
            _ => Ok(()),
        }
    }

    /// The column of this name.
    pub fn column(&self, name: &str) -> Result<usize> {
        let mut found = self.header().enumerate().filter(|(_, h)| *h == name).map(|(i, _)| i);
        match (found.next(), found.next()) {
            (Some(column), None) => Ok(column),
            (Some(_), Some(_)) => bad(format!("{}, line 1: two columns are named {}", self.path.display(), quoted(name))),
            (None, _) => {
                let names: Vec<&str> = self.header().collect();
                let path = self.path.display();
                bad(format!("{path}, line 1: no column {}; there are {}", quoted(name), listed(&names)))
            }
        }
    }

    pub fn columns(&self, names: &[String]) -> Result<Vec<usize>> {
        names.iter().map(|n| self.column(n)).collect()
    }

    /// Calls `body` with every row, and its number from 0. The parser passes over blank lines: in a table of one column they are rows, but
    /// for those at the end.
    pub fn rows(&self, mut body: impl FnMut(usize, Row<'_>) -> Result<()>) -> Result<()> {
        let mut reader = self.reader();
        let mut record = StringRecord::new();
        let mut number = 0;
        let empty = StringRecord::from(vec![""]);
        while reader.read_record(&mut record).or_else(|e| bad(self.csv_error(&e)))? {
            let byte = record.position().map_or(0, Position::byte);
            if self.header.len() == 1 {
                for line in self.blank_lines(byte) {
                    body(number, Row { table: self, record: &empty, line: Some(line), byte })?;
                    number += 1;
                }
            }
            body(number, Row { table: self, record: &record, line: None, byte })?;
            number += 1;
        }
        match number {
            0 => bad(format!("{}: no rows under the header", self.path.display())),
            _ => Ok(()),
        }
    }
}

/// The line on which the text after `before` begins. Lines end with CR LF, LF, or CR alone.
fn line(before: &[u8]) -> usize {
    let ends = |i: usize| before[i] == b'\n' || before[i] == b'\r' && before.get(i + 1) != Some(&b'\n');
    1 + (0..before.len()).filter(|&i| ends(i)).count()
}

impl Row<'_> {
    pub fn text(&self, column: usize) -> &str {
        &self.record[column]
    }

    /// A name of what the row belongs to, which no row may lack.
    pub fn name(&self, column: usize) -> Result<&str> {
        match self.text(column) {
            "" => self.error(column, "stands where a name must"),
            name => Ok(name),
        }
    }

    /// Names in several columns.
    pub fn names(&self, columns: &[usize]) -> Result<Vec<String>> {
        columns.iter().map(|c| self.name(*c).map(str::to_owned)).collect()
    }

    /// Where in the file the row is; see [`Table::line`].
    pub fn byte(&self) -> u64 {
        self.byte
    }

    /// An error about the value of a column.
    pub fn error<T>(&self, column: usize, what: &str) -> Result<T> {
        let (table, value) = (self.table, quoted(self.text(column)));
        let line = self.line.unwrap_or_else(|| table.line(self.byte));
        let (path, name) = (table.path.display(), quoted(&table.header[column]));
        bad(format!("{path}, line {line}, column {name}: {value} {what}"))
    }

    /// A finite number, rounded to its type on reading.
    pub fn number<T: FromStr + Into<f64> + Copy>(&self, column: usize) -> Result<T> {
        match self.text(column).parse::<T>() {
            Ok(x) if x.into().is_finite() => Ok(x),
            Ok(_) if self.text(column).contains(|c: char| c.is_ascii_digit()) => self.error(column, "is too large a number"),
            Ok(_) => self.error(column, "is not a finite number"),
            Err(_) if self.text(column).is_empty() => self.error(column, "stands where a number must"),
            Err(_) => self.error(column, "is not a number"),
        }
    }

    /// A count: finite, not negative.
    pub fn count(&self, column: usize) -> Result<f64> {
        match self.number(column)? {
            n if n < 0.0 => self.error(column, "is a negative count"),
            n => Ok(n),
        }
    }
}
