//! The C library, built once by the command of the README, with the profile and the features of these tests, so that it shares
//! their dependencies; and the C programs that are compiled against it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

pub const STRICT: [&str; 6] = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"];

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The file name that programs ask the loader for.
pub fn soname() -> String {
    match env!("CARGO_PKG_VERSION_MAJOR") {
        "0" => concat!("libsoftmix.so.0.", env!("CARGO_PKG_VERSION_MINOR")).to_owned(),
        major => format!("libsoftmix.so.{major}"),
    }
}

/// What a static archive needs beside itself.
pub fn native_libraries() -> &'static [&'static str] {
    match cfg!(target_os = "linux") {
        true => &["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"],
        false => &["-lSystem", "-lc", "-lm"],
    }
}

#[track_caller]
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{text}\n{errors}", output.status);
    text
}

pub fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|o| o.status.success())
}

/// Says that a test is skipped as this is not here, which is a failure where `SOFTMIX_REQUIRED` names it.
pub fn skip(what: &str) {
    let required = std::env::var("SOFTMIX_REQUIRED").unwrap_or_default();
    assert!(!required.split_whitespace().any(|r| r == what), "{what} is required");
    eprintln!("SKIPPED: no {what}");
}

/// Whether this Python has modules; the one that has.
pub fn python_with(modules: &str) -> Option<&'static str> {
    ["python3", "/usr/bin/python3"].into_iter().find(|p| works(Command::new(p).args(["-c", &format!("import {modules}")])))
}

/// The folder with libsoftmix.so and libsoftmix.a.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // target/PROFILE/deps/ffi-HASH
        let program = std::env::current_exe().unwrap();
        let folder = program.parent().unwrap().parent().unwrap();
        let profile = match folder.file_name().unwrap().to_str().unwrap() {
            "debug" => "dev",
            profile => profile,
        };
        let mut target = folder.parent().unwrap();
        let mut command = Command::new(env!("CARGO"));
        // With --target there is one more level.
        if target.file_name().is_some_and(|name| name.to_str().unwrap().matches('-').count() >= 2) {
            command.arg("rustc").arg("--target").arg(target.file_name().unwrap());
            target = target.parent().unwrap();
        } else {
            command.arg("rustc");
        }
        let mut features = vec!["std", "capi"];
        features.extend(cfg!(feature = "avx512").then_some("avx512"));
        features.extend(cfg!(feature = "rayon").then_some("rayon"));
        command.current_dir(root()).args(["--lib", "--crate-type", "cdylib,staticlib", "--no-default-features"]);
        command.arg("--features").arg(features.join(",")).args(["--profile", profile]).arg("--target-dir").arg(target);
        if cfg!(target_os = "linux") {
            command.arg("--").arg("-C").arg(format!("link-arg=-Wl,-soname,{}", soname()));
        }
        run(&mut command);
        if cfg!(target_os = "linux") {
            let link = folder.join(soname());
            let _ = std::fs::remove_file(&link);
            std::os::unix::fs::symlink("libsoftmix.so", link).unwrap();
        }
        folder.to_owned()
    })
}

/// How a program is linked.
#[derive(Clone, Copy, PartialEq)]
pub enum Link {
    Shared,
    Static,
}

/// Compiles `ffi-tests/NAME` with `compiler` and `flags`, and links it.
pub fn compile(name: &str, compiler: &str, flags: &[&str], link: Link) -> PathBuf {
    let library = folder();
    let folder = library.join("ffi-tests");
    std::fs::create_dir_all(&folder).unwrap();
    let program = folder.join(format!("{}-{}", name.replace('.', "-"), if link == Link::Shared { "shared" } else { "static" }));
    let mut command = Command::new(compiler);
    command.current_dir(root()).args(flags).args(STRICT).args(["-g", "-O1", "-Iinclude", "-o"]).arg(&program);
    command.arg(Path::new("ffi-tests").join(name));
    match link {
        Link::Shared => {
            command.arg("-L").arg(library).arg("-lsoftmix").arg(format!("-Wl,-rpath,{}", library.display())).args(["-lpthread", "-lm"]);
        }
        Link::Static => {
            command.arg(library.join("libsoftmix.a")).args(native_libraries());
        }
    }
    run(&mut command);
    program
}
