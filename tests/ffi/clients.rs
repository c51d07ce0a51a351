//! The library under other runtimes: each client's own tests, where the runtime is there.

use crate::library::{folder, python_with, root, run, skip, works};
use std::process::Command;

fn library() -> std::path::PathBuf {
    folder().join(if cfg!(target_os = "macos") { "libsoftmix.dylib" } else { "libsoftmix.so" })
}

#[test]
fn python() {
    let Some(python) = python_with("numpy") else { return skip("numpy") };
    let test = root().join("bindings/python/test_softmix.py");
    run(Command::new(python).arg("-B").arg(test).env("SOFTMIX_LIBRARY", library()));
}

#[test]
fn luajit() {
    if !works(Command::new("luajit").arg("-v")) {
        return skip("luajit");
    }
    let output = run(Command::new("luajit").arg(root().join("bindings/lua/test.lua")).env("SOFTMIX_LIBRARY", library()));
    assert!(output.ends_with("lua: ok\n"), "{output}");
}

#[test]
fn r() {
    if !works(Command::new("R").arg("--version")) {
        return skip("R");
    }
    // R compiles beside the source: in a copy.
    let scratch = tempfile::tempdir().unwrap();
    let here = scratch.path().join("bindings/r");
    std::fs::create_dir_all(&here).unwrap();
    std::os::unix::fs::symlink(root().join("data"), scratch.path().join("data")).unwrap();
    for name in ["softmix.c", "softmix.R", "test.R"] {
        std::fs::copy(root().join("bindings/r").join(name), here.join(name)).unwrap();
    }
    let libraries = format!("-L{0} -lsoftmix -Wl,-rpath,{0}", folder().display());
    let mut compile = Command::new("R");
    compile.current_dir(&here).args(["CMD", "SHLIB", "-o", "softmix_r.so", "softmix.c"]);
    run(compile.env("PKG_CPPFLAGS", format!("-I{}", root().join("include").display())).env("PKG_LIBS", libraries));
    let output = run(Command::new("Rscript").current_dir(&here).arg("test.R"));
    assert!(output.ends_with("r: ok\n"), "{output}");
}
