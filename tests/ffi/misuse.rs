//! Wrong calls get a status and change nothing; the header compiles without a warning in every C and C++ of the day.

use crate::library::{Link, compile, root, run, skip, works};
use std::process::Command;

#[test]
fn misuse_is_a_status_and_changes_nothing() {
    // A panic behind a query has no status: it must not have been.
    let program = Command::new(compile("misuse.c", "cc", &["-std=c99"], Link::Static)).output().unwrap();
    let output = String::from_utf8_lossy(&program.stdout);
    assert!(program.stderr.is_empty(), "{}", String::from_utf8_lossy(&program.stderr));
    assert!(output.ends_with(" 0 failures\n"), "{output}");
}

#[test]
fn moments_criteria_and_kernels_are_right_and_refuse() {
    let program = compile("moments.c", "cc", &["-std=c99"], Link::Static);
    assert_eq!(run(Command::new(program).arg(root().join("data"))), "0 failures\n");
}

#[test]
fn results_are_what_the_header_says() {
    let program = compile("promises.c", "cc", &["-std=c99"], Link::Static);
    assert_eq!(run(&mut Command::new(program)), "0 failures\n");
}

#[test]
fn threads_do_not_disturb_one_another_and_memory_stays_flat() {
    let program = compile("stress.c", "cc", &["-std=c99", "-pthread"], Link::Static);
    run(Command::new(program).arg(root().join("data")));
}

#[test]
#[cfg(target_os = "linux")]
fn a_call_works_alone_where_the_system_gives_no_threads() {
    let program = compile("alone.c", "cc", &["-std=c99", "-pthread"], Link::Static);
    let asked = if cfg!(feature = "rayon") { "yes" } else { "no" };
    assert_eq!(run(&mut Command::new(program)), format!("asked for threads: {asked}\n"));
}

#[test]
#[cfg(target_os = "linux")]
fn strange_programs_get_an_answer() {
    let program = compile("adversary.c", "cc", &["-std=c99", "-pthread", "-frounding-math"], Link::Static);
    assert_eq!(run(&mut Command::new(program)), "0 failures\n");
}

#[test]
fn the_cpp_header_fits_and_throws() {
    for standard in ["-std=c++17", "-std=c++20"] {
        let program = compile("flights.cpp", "c++", &[standard], Link::Shared);
        let output = run(Command::new(program).arg(root().join("data")));
        assert!(output.starts_with("units 2 -1437052.19"), "{output}");
        run(&mut Command::new(compile("macros.cpp", "c++", &[standard], Link::Shared)));
    }
}

#[test]
fn the_header_is_c_and_cpp_without_a_warning() {
    let (c, cpp) = (&["c99", "c11", "c17"][..], &["c++11", "c++14", "c++17", "c++20"][..]);
    for (compiler, language, standards) in [("cc", "c", c), ("c++", "c++", cpp), ("clang", "c", c), ("clang++", "c++", cpp)] {
        if compiler.starts_with("clang") && !works(Command::new(compiler).arg("--version")) {
            skip(compiler);
            continue;
        }
        for standard in standards {
            let program = compile("header.c", compiler, &["-x", language, &format!("-std={standard}")], Link::Shared);
            run(&mut Command::new(program));
        }
    }
}

#[test]
fn the_first_fit_of_the_documentation_runs() {
    let text = std::fs::read_to_string(root().join("bindings/README.md")).unwrap();
    let program = text.split("```c\n").nth(1).unwrap().split("```").next().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let (source, binary) = (scratch.path().join("first.c"), scratch.path().join("first"));
    std::fs::write(&source, program).unwrap();
    let mut command = Command::new("cc");
    command.args(["-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]).arg("-I").arg(root().join("include")).arg(&source);
    command.arg(crate::library::folder().join("libsoftmix.a")).args(crate::library::native_libraries()).arg("-o").arg(&binary);
    run(&mut command);
    let output = run(&mut Command::new(binary));
    assert!(output.ends_with(" converged\n"), "{output}");
}
