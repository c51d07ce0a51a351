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
        Fault::Data(format!("{}: {error}", path.display()))
    }

    pub fn code(&self) -> ExitCode {
        match self {
            Fault::Data(_) => ExitCode::from(1),
            Fault::Usage(_) => ExitCode::from(2),
        }
    }
}

impl fmt::Display for Fault {
    /// One line, whatever the message holds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Fault::Usage(message) | Fault::Data(message)) = self;
        let words: Vec<&str> = message.split(['\n', '\r']).map(str::trim).filter(|w| !w.is_empty()).collect();
        f.write_str(&words.join(" "))
    }
}

/// A value as it stands in a file, shortened, quoted.
pub fn quoted(value: &str) -> String {
    const LONGEST: usize = 40;
    let short: String = value.chars().take(LONGEST).collect();
    let more = if short.len() < value.len() { "…" } else { "" };
    format!("'{}{more}'", short.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\""))
}
