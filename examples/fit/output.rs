//! Writing: files whole or not at all, and standard output.

use crate::fault::{Fault, Result, bad, usage};
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
        let place = place(path);
        if is_device(&place) {
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
        _ if is_device(path) => Ok(()),
        _ => tempfile::tempfile_in(directory(&place(path))).map(drop).map_err(|e| Fault::file(path, e.kind())),
    }
}

/// Refuses files to be written that are one another, or one of the data.
pub fn apart<'a>(written: impl Iterator<Item = &'a PathBuf>, read: Vec<&Path>) -> Result<()> {
    let mut taken: Vec<PathBuf> = read.into_iter().map(place).collect();
    for path in written.filter(|path| !is_device(path)) {
        if taken.contains(&place(path)) {
            return usage(format!("{}: named twice, or one of the data", path.display()));
        }
        taken.push(place(path));
    }
    Ok(())
}

/// Where a path leads: a link to what it points to, which may not be there yet.
fn place(path: &Path) -> PathBuf {
    let beside = || fs::canonicalize(directory(path)).ok().zip(path.file_name()).map(|(directory, name)| directory.join(name));
    fs::canonicalize(path).ok().or_else(beside).unwrap_or_else(|| path.to_owned())
}

/// Whether a path is something, but no regular file: a pipe, a device.
fn is_device(path: &Path) -> bool {
    path.exists() && !path.is_file()
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
