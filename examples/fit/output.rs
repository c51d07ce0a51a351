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
        // What replaces a file has its mode, before anything is in it.
        #[cfg(unix)]
        let old = fs::metadata(&place).ok().map(|m| m.permissions());
        #[cfg(unix)]
        if old.is_none() {
            builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
        }
        let mut file = builder.tempfile_in(directory(&place)).map_err(|e| Fault::file(path, e.kind()))?;
        #[cfg(unix)]
        if let Some(old) = old {
            file.as_file().set_permissions(old).map_err(fault)?;
        }
        file.write_all(text.as_bytes()).map_err(fault)?;
        Ok(Pending::Beside { file, place })
    }

    /// Writes to a device.
    pub fn send(&self) -> Result<()> {
        match self {
            Pending::Beside { .. } => Ok(()),
            Pending::Device { place, text } => fs::write(place, text).map_err(|e| Fault::file(place, e)),
        }
    }

    /// Puts a file in its place.
    pub fn keep(self) -> Result<()> {
        match self {
            Pending::Beside { file, place } => file.persist(&place).map(drop).map_err(|e| Fault::file(&place, e.error)),
            Pending::Device { .. } => Ok(()),
        }
    }
}

/// Refuses, before any work is done, a file that cannot be written.
pub fn check(path: &Path) -> Result<()> {
    let place = place(path);
    match directory(&place) {
        _ if path.is_dir() => bad(format!("{}: is a directory", path.display())),
        _ if place.is_symlink() => bad(format!("{}: too many links", path.display())),
        directory if !directory.is_dir() => bad(format!("{}: no such directory", directory.display())),
        _ if is_device(path) => Ok(()),
        directory => tempfile::tempfile_in(directory).map(drop).map_err(|e| Fault::file(path, e.kind())),
    }
}

/// Refuses files to be written that are one another, or taken: by the data, by standard output.
pub fn apart<'a>(written: impl Iterator<Item = &'a PathBuf>, taken: impl Iterator<Item = &'a Path>) -> Result<()> {
    let taken: Vec<PathBuf> = taken.map(place).collect();
    let mut named: Vec<PathBuf> = Vec::new();
    for path in written.filter(|path| !is_device(path)) {
        let place = place(path);
        if named.contains(&place) {
            return usage(format!("{}: named twice for what is written", path.display()));
        }
        if taken.contains(&place) {
            return usage(format!("{}: one of the data, or standard output: write elsewhere", path.display()));
        }
        named.push(place);
    }
    Ok(())
}

/// Where a path leads: a link to what it points to, which may not be there yet.
fn place(path: &Path) -> PathBuf {
    const MOST_LINKS: usize = 40;
    if let Ok(path) = fs::canonicalize(path) {
        return path;
    }
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = directory(&path).join(target),
            Err(_) => break,
        }
    }
    let beside = fs::canonicalize(directory(&path)).ok().zip(path.file_name()).map(|(directory, name)| directory.join(name));
    beside.unwrap_or(path)
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
