//! Writing: files whole or not at all, and standard output.

use crate::fault::{Fault, Result, bad};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Text on its way to a file: written beside it, to take its place at the end.
pub enum Pending {
    Beside {
        file: NamedTempFile,
        place: PathBuf,
    },
    /// What is no regular file (a pipe, a device) is written to, not replaced.
    Device {
        place: PathBuf,
        text: String,
    },
}

impl Pending {
    pub fn write(path: &Path, text: &str) -> Result<Self> {
        // A link stays a link: what it points to is replaced.
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if place.exists() && !place.is_file() {
            return Ok(Pending::Device { place, text: text.to_owned() });
        }
        let fault = |e| Fault::file(path, e);
        let mut builder = tempfile::Builder::new();
        builder.prefix(".softmix-");
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        let mut file = builder.tempfile_in(directory(&place)).map_err(|e| Fault::file(path, e.kind()))?;
        file.write_all(text.as_bytes()).map_err(fault)?;
        Ok(Pending::Beside { file, place })
    }

    pub fn keep(self) -> Result<()> {
        match self {
            Pending::Beside { file, place } => file.persist(&place).map(drop).map_err(|e| Fault::file(&place, e.error)),
            Pending::Device { place, text } => fs::write(&place, text).map_err(|e| Fault::file(&place, e)),
        }
    }
}

/// Refuses, before any work is done, a file that cannot be written.
pub fn check(path: &Path) -> Result<()> {
    match path {
        _ if path.is_dir() => bad(format!("{}: is a directory", path.display())),
        _ if !directory(path).is_dir() => bad(format!("{}: no such directory", directory(path).display())),
        _ => Ok(()),
    }
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Prints to standard output; a reader that has gone is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => bad(format!("standard output: {e}")),
        _ => Ok(()),
    }
}
