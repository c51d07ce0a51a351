//! NPY arrays: features (p, L) in f4 or f8, in C or Fortran order, and counts (p,) in f8, i8 or i4.

use crate::fault::{Fault, Result, bad, shortened};
use npyz::{DType, Deserialize, NpyFile, NpyHeader, Order};
use std::fs::File;
use std::io::{self, BufReader, Read, Seek};
use std::path::Path;

/// A matrix as it lies in its file.
pub struct Matrix {
    pub numbers: Numbers,
    pub rows: usize,
    pub columns: usize,
    pub row_major: bool,
}

/// Features in the precision of the fit.
pub enum Numbers {
    F32(Vec<f32>),
    F64(Vec<f64>),
}

/// An open array, its header read.
struct Array<'a> {
    path: &'a Path,
    file: NpyFile<BufReader<File>>,
    dtype: String,
    shape: Vec<usize>,
}

impl<'a> Array<'a> {
    fn open(path: &'a Path) -> Result<Self> {
        let fault = |e| Fault::file(path, e);
        let mut reader = BufReader::new(File::open(path).map_err(fault)?);
        let header = preamble(&mut reader).and_then(|text| NpyHeader::from_reader(&text[..]));
        let header = header.map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => Fault::file(path, "not an NPY file: it ends before its header does"),
            _ => Fault::file(path, format!("not an NPY file: {e}")),
        })?;
        let (dtype, bytes) = match header.dtype() {
            DType::Plain(t) => (t.to_string(), t.num_bytes().unwrap_or(0)),
            other => (other.descr(), 0),
        };
        let shape: Option<Vec<usize>> = header.shape().iter().map(|n| usize::try_from(*n).ok()).collect();
        let needed = shape.as_deref().and_then(|s| s.iter().try_fold(bytes, |n, d| n.checked_mul(*d)));
        // Of a pipe the length is not known before it ends.
        let metadata = reader.get_ref().metadata().map_err(fault)?;
        let there = if metadata.is_file() { metadata.len() - reader.stream_position().map_err(fault)? } else { u64::MAX };
        if needed.is_none_or(|n| n as u64 > there) {
            let (shape, dtype) = (shown(header.shape()), shortened(&dtype, 40));
            return bad(format!("{}: shorter than its shape {shape} of type {dtype} says", path.display()));
        }
        let file = NpyFile::with_header(header, reader);
        Ok(Array { path, file, dtype, shape: shape.unwrap_or_default() })
    }

    fn read<T: Deserialize>(self) -> Result<Vec<T>> {
        self.file.into_vec().map_err(|e| Fault::file(self.path, e))
    }

    fn wrong_type<T>(&self, allowed: &str) -> Result<T> {
        bad(format!("{}: numbers of type {} where {allowed} must stand", self.path.display(), shortened(&self.dtype, 40)))
    }
}

/// The bytes before the numbers, with hardly more brackets than arrays of numbers have: the parser of headers recurs, and tries again.
fn preamble(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    const LONGEST: usize = 2_000;
    const MOST_BRACKETS: usize = 6;
    let invalid = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what));
    let mut bytes = vec![0; 8];
    reader.read_exact(&mut bytes)?;
    if !bytes.starts_with(b"\x93NUMPY") {
        return invalid("it does not begin as one");
    }
    // From version 2 on the length of the header has four bytes.
    let begin = if bytes[6] < 2 { 10 } else { 12 };
    bytes.resize(begin, 0);
    reader.read_exact(&mut bytes[8..])?;
    let length = bytes[8..].iter().rev().fold(0, |n, b| n << 8 | usize::from(*b));
    if length > LONGEST {
        return invalid(&format!("its header has {length} bytes"));
    }
    bytes.resize(begin + length, 0);
    reader.read_exact(&mut bytes[begin..])?;
    match bytes[begin..].iter().filter(|b| b"([{".contains(b)).count() {
        n if n > MOST_BRACKETS => invalid("its header has more brackets than that of an array of numbers"),
        _ => Ok(bytes),
    }
}

fn shown(shape: &[impl std::fmt::Debug]) -> String {
    shortened(&format!("{shape:?}"), 40)
}

/// Features; in f32 when asked for, or when the file has them so and nothing was asked for.
pub fn features(path: &Path, single: Option<bool>) -> Result<Matrix> {
    let array = Array::open(path)?;
    let &[rows, columns] = &array.shape[..] else {
        return bad(format!("{}: shape {} where (p, L) must stand", path.display(), shown(&array.shape)));
    };
    if rows == 0 || columns == 0 {
        return bad(format!("{}: shape ({rows}, {columns}) is empty", path.display()));
    }
    let row_major = array.file.order() == Order::C;
    let numbers = match (array.dtype.as_str(), single) {
        ("<f4", None | Some(true)) => Numbers::F32(array.read()?),
        ("<f4", Some(false)) => Numbers::F64(array.read::<f32>()?.into_iter().map(f64::from).collect()),
        ("<f8", None | Some(false)) => Numbers::F64(array.read()?),
        ("<f8", Some(true)) => Numbers::F32(rounded(path, array.read()?, rows, columns, row_major)?),
        _ => return array.wrong_type("<f8 or <f4"),
    };
    let finite = |i: usize| match &numbers {
        Numbers::F32(v) => v[i].is_finite(),
        Numbers::F64(v) => v[i].is_finite(),
    };
    if let Some(i) = (0..rows * columns).find(|&i| !finite(i)) {
        return bad(format!("{}: {} is not a finite number", path.display(), place(i, rows, columns, row_major)));
    }
    Ok(Matrix { numbers, rows, columns, row_major })
}

fn rounded(path: &Path, values: Vec<f64>, rows: usize, columns: usize, row_major: bool) -> Result<Vec<f32>> {
    match values.iter().position(|x| x.is_finite() && (*x as f32).is_infinite()) {
        Some(i) => {
            let place = place(i, rows, columns, row_major);
            bad(format!("{}: {place}: {:e} is too large a number for f32", path.display(), values[i]))
        }
        None => Ok(values.into_iter().map(|x| x as f32).collect()),
    }
}

/// Row and column of a number, from 0 as NumPy counts.
fn place(i: usize, rows: usize, columns: usize, row_major: bool) -> String {
    let (row, column) = if row_major { (i / columns, i % columns) } else { (i % rows, i / rows) };
    format!("[{row}, {column}]")
}

/// Counts, none of them negative.
pub fn counts(path: &Path) -> Result<Vec<f64>> {
    let array = Array::open(path)?;
    if array.shape.len() != 1 {
        return bad(format!("{}: shape {} where (p,) must stand", path.display(), shown(&array.shape)));
    }
    let counts: Vec<f64> = match array.dtype.as_str() {
        "<f8" => array.read()?,
        "<i8" => array.read::<i64>()?.into_iter().map(|n| n as f64).collect(),
        "<i4" => array.read::<i32>()?.into_iter().map(f64::from).collect(),
        _ => return array.wrong_type("<f8, <i8 or <i4"),
    };
    match counts.iter().enumerate().find(|(_, n)| !(n.is_finite() && **n >= 0.0)) {
        Some((i, n)) if *n < 0.0 => bad(format!("{}: [{i}]: {n} is a negative count", path.display())),
        Some((i, n)) => bad(format!("{}: [{i}]: {n} is not a finite number", path.display())),
        None => Ok(counts),
    }
}
