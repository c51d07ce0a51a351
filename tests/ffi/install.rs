//! CMake installs the library, and projects of their own find it: in C by pkg-config, in C++ by find_package.

use crate::library::{STRICT, folder, root, run, skip, soname, works};
use std::path::Path;
use std::process::Command;

fn there(tool: &str) -> bool {
    let found = works(Command::new(tool).arg("--version"));
    if !found {
        skip(tool);
    }
    found
}

fn install(scratch: &Path, name: &str, options: &[&str]) -> std::path::PathBuf {
    let (build, prefix) = (scratch.join(format!("build-{name}")), scratch.join(name));
    // cargo's folder is that of these tests, so that nothing is compiled twice.
    let library = folder();
    let profile = match library.file_name().unwrap().to_str().unwrap() {
        "debug" => "dev",
        profile => profile,
    };
    let mut features = Vec::new();
    features.extend(cfg!(feature = "avx512").then_some("avx512"));
    features.extend(cfg!(feature = "rayon").then_some("rayon"));
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(root()).arg("-B").arg(&build).args(options);
    configure.arg(format!("-DSOFTMIX_PROFILE={profile}")).arg(format!("-DSOFTMIX_FEATURES={}", features.join(";")));
    configure.arg(format!("-DSOFTMIX_CARGO_DIR={}", library.parent().unwrap().display())).arg("-DCMAKE_INSTALL_LIBDIR=lib");
    configure.arg(format!("-DCARGO={}", env!("CARGO")));
    run(&mut configure);
    run(Command::new("cmake").arg("--build").arg(&build));
    run(Command::new("cmake").arg("--install").arg(&build).arg("--prefix").arg(&prefix));
    prefix
}

/// The log-likelihood that a program prints for two classes of units.
fn units(output: &str) -> f64 {
    let line = output.lines().find(|l| l.starts_with("units 2 ")).unwrap_or_else(|| panic!("{output}"));
    line.split(' ').nth(2).unwrap().parse().unwrap()
}

#[test]
#[cfg(target_os = "linux")]
fn projects_find_the_installed_library() {
    if !(there("cmake") && there("pkg-config")) {
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let (scratch, data) = (scratch.path(), root().join("data"));
    let best = -1437052.191213;

    let prefix = install(scratch, "both", &[]);
    for file in ["include/softmix.h", "include/softmix.hpp", "lib/libsoftmix.a", "lib/pkgconfig/softmix.pc"] {
        assert!(prefix.join(file).is_file(), "{file}");
    }
    let real = prefix.join("lib/libsoftmix.so").canonicalize().unwrap();
    assert_eq!(real.file_name().unwrap().to_str().unwrap(), concat!("libsoftmix.so.", env!("CARGO_PKG_VERSION")));
    assert!(prefix.join("lib").join(soname()).exists());

    // The prefix may be moved.
    let moved = scratch.join("moved");
    std::fs::rename(&prefix, &moved).unwrap();
    let flags = |prefix: &Path, kind: &[&str]| {
        let mut command = Command::new("pkg-config");
        command.env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig")).args(kind).arg("softmix");
        run(&mut command).split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(flags(&moved, &["--modversion"]), [env!("CARGO_PKG_VERSION")]);
    let program = scratch.join("shared");
    run(Command::new("cc")
        .args(STRICT)
        .arg(root().join("ffi-tests/flights.c"))
        .args(flags(&moved, &["--cflags", "--libs"]))
        .arg("-o")
        .arg(&program));
    let output = run(Command::new(&program).arg(&data).env("LD_LIBRARY_PATH", moved.join("lib")));
    assert!((units(&output) - best).abs() < 1e-2, "{output}");

    // Only the archive: what it needs stands in Libs too.
    let only = install(scratch, "static", &["-DSOFTMIX_SHARED=OFF"]);
    assert!(!only.join("lib/libsoftmix.so").exists());
    let program = scratch.join("archive");
    let libraries = flags(&only, &["--cflags", "--libs"]);
    run(Command::new("cc").args(STRICT).arg(root().join("ffi-tests/flights.c")).args(libraries).arg("-o").arg(&program));
    let output = run(Command::new(&program).arg(&data));
    assert!((units(&output) - best).abs() < 1e-2, "{output}");

    let consumer = scratch.join("consumer");
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(root().join("ffi-tests/consumer")).arg("-B").arg(&consumer);
    run(configure.arg(format!("-DCMAKE_PREFIX_PATH={}", moved.display())));
    run(Command::new("cmake").arg("--build").arg(&consumer));
    for program in ["flights_softmix", "flights_static"] {
        let output = run(Command::new(consumer.join(program)).arg(&data));
        assert!((units(&output) - best).abs() < 1e-2, "{output}");
    }

    // Uninstalling takes away what was installed, and nothing else.
    std::fs::write(only.join("lib/mine"), "").unwrap();
    run(Command::new("cmake").arg("--build").arg(scratch.join("build-static")).args(["--target", "softmix_uninstall"]));
    let left: Vec<_> = files(&only);
    assert_eq!(left, [only.join("lib/mine")], "{left:?}");
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
