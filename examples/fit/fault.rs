//! What can go wrong: bad arguments (exit code 2), or bad data and files (exit code 1), each said in one line.

use std::fmt;
use std::path::Path;
use std::process::ExitCode;

#[derive(Debug)]
pub enum Fault {
    /// The command line is wrong.
    Usage(String),
    /// A file, or what it holds, is wrong.
    Data(String),
}

pub type Result<T> = std::result::Result<T, Fault>;

/// An error of the command line.
pub fn usage<T>(message: impl Into<String>) -> Result<T> {
    Err(Fault::Usage(message.into()))
}

/// An error of a file or of the data.
pub fn bad<T>(message: impl Into<String>) -> Result<T> {
    Err(Fault::Data(message.into()))
}

impl Fault {
    /// An error of the system at a file.
    pub fn file(path: &Path, error: impl fmt::Display) -> Self {
        let error: Vec<char> = error.to_string().chars().collect();
        // What it echoes of a file may be long, and its end say where.
        let words: String = match error.len() {
            0..=200 => error.into_iter().collect(),
            n => error[..120].iter().chain(&['…']).chain(&error[n - 80..]).collect(),
        };
        Fault::Data(format!("{}: {words}", path.display()))
    }

    pub fn code(&self) -> ExitCode {
        match self {
            Fault::Data(_) => ExitCode::from(1),
            Fault::Usage(_) => ExitCode::from(2),
        }
    }
}

impl fmt::Display for Fault {
    /// One line that a terminal can take, whatever the message holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Fault::Usage(message) | Fault::Data(message)) = self;
        let words: Vec<&str> = message.split(['\n', '\r']).map(str::trim).filter(|w| !w.is_empty()).collect();
        f.write_str(&words.join(" ").replace(char::is_control, "\u{fffd}"))
    }
}

/// The beginning of a text.
pub fn shortened(text: &str, longest: usize) -> String {
    match text.char_indices().nth(longest) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Names, as many as a line holds.
pub fn listed<S: std::borrow::Borrow<str>>(names: &[S]) -> String {
    shortened(&names.join(", "), 200)
}

/// A value as it stands in a file, shortened, quoted.
pub fn quoted(value: &str) -> String {
    format!("'{}'", shortened(value, 40).escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\""))
}
