//! The one error of the crate: what is wrong, in which argument, and where in it. Shared by Rust and C.

use core::ffi::CStr;
use core::fmt;

/// What is wrong. Outcomes of a fit that did not converge are not errors; see `Outcome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A NaN or an infinity where a finite number must stand.
    NotFinite,
    /// A negative number where a count or a weight must stand.
    Negative,
    /// An empty choice set, a unit without a choice, no rows, no classes.
    Empty,
    /// Two lengths that must agree do not: `needed` and `given`.
    Shape,
    /// An index or an offset outside its range or out of order; of features, a column whose squares overflow or underflow.
    OutOfRange,
    /// A product of sizes overflows the address space.
    Overflow,
    /// More classes than units with a positive weight: `needed` classes at most, `given` asked for.
    TooManyClasses,
    /// Mixing weights that do not sum to one.
    NotOnSimplex,
    /// The workspace is too small: `needed` and `given` bytes.
    Workspace,
    /// An option outside its range.
    InvalidOption,
    /// The estimator does not apply to data of this layout or shape.
    Unsupported,
    /// The estimating equations have no usable solution at these data.
    IllPosed,
    /// Every alternative of a choice set is unavailable, or an unavailable alternative was chosen.
    Unavailable,
    /// Another rank of a distributed run reported an error.
    Remote,
    /// The reduction hook failed.
    Reduction,
    /// The ranks of a distributed run call different operations, or the same with different arguments.
    Disagreement,
}

/// An error: its kind, the name of the argument at fault, and the place in it as far as one is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorKind,
    /// The argument or option at fault, by its name in the documentation.
    pub argument: &'static str,
    /// Row of the features, or position in a one-dimensional argument.
    pub row: Option<usize>,
    /// Column of the features.
    pub column: Option<usize>,
    /// Class.
    pub class: Option<usize>,
    /// The size that is needed, and the one that was given, for `Shape`, `Workspace` and `TooManyClasses`.
    pub sizes: Option<(usize, usize)>,
}

/// The result of everything in this crate that can fail.
pub type Result<T> = core::result::Result<T, Error>;

impl Error {
    /// An error without a place.
    #[cold]
    pub const fn new(kind: ErrorKind, argument: &'static str) -> Self {
        Error { kind, argument, row: None, column: None, class: None, sizes: None }
    }

    /// The same error at a row (or position).
    #[cold]
    pub const fn at(mut self, row: usize) -> Self {
        self.row = Some(row);
        self
    }

    /// The same error at a column.
    #[cold]
    pub const fn column(mut self, column: usize) -> Self {
        self.column = Some(column);
        self
    }

    /// The same error in a class.
    #[cold]
    pub const fn class(mut self, class: usize) -> Self {
        self.class = Some(class);
        self
    }

    /// The same error with the size needed and the size given.
    #[cold]
    pub const fn sizes(mut self, needed: usize, given: usize) -> Self {
        self.sizes = Some((needed, given));
        self
    }

    /// A length that is not the one needed.
    #[cold]
    pub const fn shape(argument: &'static str, needed: usize, given: usize) -> Self {
        Error::new(ErrorKind::Shape, argument).sizes(needed, given)
    }
}

impl ErrorKind {
    /// The kind in words.
    pub const fn message(self) -> &'static str {
        match self.c_message().to_str() {
            Ok(message) => message,
            Err(_) => "",
        }
    }

    /// The kind in words, of this argument.
    pub(crate) fn message_of(self, argument: &str) -> &'static str {
        match (self, argument) {
            (ErrorKind::OutOfRange, "features" | "X" | "x") => "squares beyond the range of numbers",
            (ErrorKind::Empty, "classes") => "none, where at least one is needed",
            _ => self.message(),
        }
    }

    /// The same for C, ended by a zero.
    pub(crate) const fn c_message(self) -> &'static CStr {
        match self {
            ErrorKind::NotFinite => c"not a finite number",
            ErrorKind::Negative => c"negative",
            ErrorKind::Empty => c"empty",
            ErrorKind::Shape => c"wrong size",
            ErrorKind::OutOfRange => c"out of range or out of order",
            ErrorKind::Overflow => c"sizes overflow",
            ErrorKind::TooManyClasses => c"more classes than units with a positive weight",
            ErrorKind::NotOnSimplex => c"mixing weights do not sum to one",
            ErrorKind::Workspace => c"workspace too small",
            ErrorKind::InvalidOption => c"option out of range",
            ErrorKind::Unsupported => c"not defined for data of this layout",
            ErrorKind::IllPosed => c"the estimating equations have no usable solution",
            ErrorKind::Unavailable => c"alternative not available",
            ErrorKind::Remote => c"another rank reported an error",
            ErrorKind::Reduction => c"the reduction hook failed",
            ErrorKind::Disagreement => c"ranks differ in what they call or in its arguments",
        }
    }
}

impl fmt::Display for Error {
    #[cold]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        describe(f, self.argument, self.kind.message_of(self.argument), [self.row, self.column, self.class], self.sizes)
    }
}

/// An error as one line of text: the argument, if it has a name, what is wrong, its row (or position), column and class, and the sizes.
pub(crate) fn describe(
    out: &mut dyn fmt::Write,
    argument: &str,
    words: &str,
    [row, column, class]: [Option<usize>; 3],
    sizes: Option<(usize, usize)>,
) -> fmt::Result {
    let of_rows = column.is_some() || matches!(argument, "features" | "X" | "x" | "offset");
    out.write_str(argument)?;
    write!(out, "{}{words}", if argument.is_empty() { "" } else { ": " })?;
    let mut sep = " at ";
    for (name, place) in [(if of_rows { "row" } else { "position" }, row), ("column", column), ("class", class)] {
        if let Some(i) = place {
            write!(out, "{sep}{name} {i}")?;
            sep = ", ";
        }
    }
    match sizes {
        Some((needed, given)) => write!(out, " (needed {needed}, given {given})"),
        None => Ok(()),
    }
}

impl core::error::Error for Error {}
