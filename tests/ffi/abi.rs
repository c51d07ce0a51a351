//! The binary interface that programs were compiled against: sizes and offsets of structs, values of constants, exported symbols. All are
//! committed; `SOFTMIX_WRITE_ABI=1 cargo test --test ffi` records additions. What vanishes or changes needs a new minor version (a new
//! major one from 1.0 on), since the name of the shared library carries it.

use crate::library::{folder, root, run};
use std::fmt::Write;
use std::fs;
use std::process::Command;

/// Structs with their fields, and macros, as the header has them.
fn items(header: &str) -> (Vec<(String, Vec<String>)>, Vec<String>) {
    let (mut structs, mut macros) = (Vec::<(String, Vec<String>)>::new(), Vec::new());
    let mut inside = false;
    for line in header.lines() {
        if let Some(name) = line.strip_prefix("typedef struct ") {
            structs.push((name.trim_end_matches(" {").to_owned(), Vec::new()));
            inside = true;
        } else if line.starts_with('}') {
            inside = false;
        } else if let Some(rest) = line.strip_prefix("#define SMX_") {
            macros.push(format!("SMX_{}", rest.split(' ').next().unwrap()));
        } else if inside && line.ends_with(';') && !line.trim().starts_with('*') {
            let declarator = line.trim().trim_end_matches(';').split('[').next().unwrap();
            let name = declarator.rsplit([' ', '*']).next().unwrap();
            structs.last_mut().unwrap().1.push(name.to_owned());
        }
    }
    (structs, macros)
}

/// Static assertions for everything, as this machine has it.
fn assertions() -> String {
    let (structs, macros) = items(&fs::read_to_string(root().join("include/softmix.h")).unwrap());
    let mut program = String::from("#include <softmix.h>\n#include <stdio.h>\nint main(void) {\n");
    let mut size = |what: &str| writeln!(program, "printf(\"_Static_assert({what} == %zu, \\\"\\\");\\n\", {what});").unwrap();
    for (name, fields) in &structs {
        size(&format!("sizeof({name})"));
        fields.iter().for_each(|field| size(&format!("offsetof({name}, {field})")));
    }
    for name in macros.iter().filter(|name| !name.starts_with("SMX_VERSION") && *name != "SMX_NONE") {
        writeln!(program, "printf(\"_Static_assert({name} == %d, \\\"\\\");\\n\", {name});").unwrap();
    }
    program += "return 0; }\n";
    let scratch = folder().join("ffi-tests");
    fs::create_dir_all(&scratch).unwrap();
    let (source, binary) = (scratch.join("sizes.c"), scratch.join("sizes"));
    fs::write(&source, program).unwrap();
    run(Command::new("cc").arg("-I").arg(root().join("include")).arg(&source).arg("-o").arg(&binary));
    let comment =
        "/* The binary interface of 64-bit systems, made by `SOFTMIX_WRITE_ABI=1 cargo test --test ffi`: see tests/ffi/abi.rs. */";
    format!("{comment}\n#include \"softmix.h\"\n\n{}", run(&mut Command::new(binary)))
}

fn compare(path: &str, now: &str) {
    let path = root().join(path);
    if std::env::var_os("SOFTMIX_WRITE_ABI").is_some() {
        fs::write(&path, now).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    // Structs that begin with their size may grow at the end.
    let size = |line: &str| -> Option<(String, usize)> {
        let (name, rest) = line.strip_prefix("_Static_assert(sizeof(")?.split_once(") == ")?;
        Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
    };
    let grown = |line: &str| {
        size(line).is_some_and(|(name, bytes)| {
            let sized = now.contains(&format!("offsetof({name}, struct_size) == 0"));
            sized && now.lines().filter_map(size).any(|(other, more)| other == name && more > bytes)
        })
    };
    for line in committed.lines() {
        assert!(
            now.lines().any(|l| l == line) || grown(line),
            "{}: `{line}` is gone: programs break, so the version must change (then SOFTMIX_WRITE_ABI=1)",
            path.display()
        );
    }
    assert!(committed == now, "{} does not know an addition: SOFTMIX_WRITE_ABI=1 cargo test --test ffi", path.display());
}

#[test]
#[cfg(target_pointer_width = "64")]
fn structs_and_constants_are_what_programs_were_compiled_with() {
    compare("ffi-tests/abi.c", &assertions());
    run(Command::new("cc").args(["-std=c11", "-fsyntax-only", "-Iinclude", "ffi-tests/abi.c"]).current_dir(root()));
}

#[test]
#[cfg(target_os = "linux")]
fn the_shared_library_exports_the_header_and_nothing_else() {
    let library = folder().join("libsoftmix.so");
    let table = run(Command::new("nm").args(["-D", "--defined-only"]).arg(&library));
    let mut symbols: Vec<&str> = table.lines().map(|l| l.rsplit(' ').next().unwrap()).collect();
    symbols.sort_unstable();
    compare("ffi-tests/symbols.txt", &(symbols.join("\n") + "\n"));
    let header = fs::read_to_string(root().join("include/softmix.h")).unwrap();
    for symbol in &symbols {
        assert!(symbol.starts_with("smx_") && header.contains(&format!("{symbol}(")), "{symbol} is not of the header");
    }
    for word in header.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| w.starts_with("smx_")) {
        let function = header.contains(&format!(" {word}(")) || header.contains(&format!("*{word}("));
        assert!(!function || symbols.contains(&word), "{word} is not exported");
    }
    let dynamic = run(Command::new("readelf").arg("-d").arg(&library));
    assert!(dynamic.contains(&format!("[{}]", crate::library::soname())), "{dynamic}");
}

/// Only kernels themselves, which are compiled with an instruction set, hold its operations: in what should be inlined into them and is not,
/// like a closure, every operation on a vector would be a call.
#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn operations_on_vectors_are_in_kernels_alone() {
    let library = folder().join("libsoftmix.so");
    let code = run(Command::new("objdump").args(["--disassemble", "--demangle", "--no-show-raw-insn"]).arg(library));
    let (mut function, mut kernels, mut strays) = ("", 0, vec![]);
    for line in code.lines() {
        if let Some(name) = line.strip_suffix(">:") {
            function = name.split_once('<').map_or("", |(_, name)| name);
            kernels += usize::from(function.contains("vectorize::imp"));
        } else if line.contains("<core::core_arch::x86::") && !line.contains("::_xgetbv") {
            let known = function.contains("vectorize::imp") || function.starts_with("core::core_arch::");
            strays.extend((!known).then(|| format!("{function}: {line}")));
        }
    }
    assert!(kernels > 100, "{kernels} kernels found by name");
    assert!(strays.is_empty(), "{}", strays.join("\n"));
}
