//! `include/softmix.h` is what src/ffi says: made by cbindgen, a section a file, and compared with the one committed.
//! `SOFTMIX_WRITE_HEADER=1 cargo test --test header` writes it.

use std::fs;
use std::path::Path;

/// The reading order of the sections.
const SECTIONS: [&str; 11] = ["status", "shard", "data", "evaluate", "em", "fit", "scan", "infer", "moments", "estimate", "kernels"];

/// The module documentation of a file: its title and the paragraph below.
fn banner(source: &str) -> (String, Vec<String>) {
    let mut lines = source.lines().map_while(|l| l.strip_prefix("//!")).map(|l| l.strip_prefix(' ').unwrap_or(l).to_owned());
    let title = lines.next().unwrap();
    (title, lines.collect())
}

fn section(file: &Path) -> String {
    let config = cbindgen::Config::from_file("cbindgen.toml").unwrap();
    let config = cbindgen::Config { cpp_compat: false, ..config };
    let bindings = cbindgen::Builder::new().with_config(config).with_src(file).generate().unwrap();
    let mut text = Vec::new();
    bindings.write(&mut text);
    dense(String::from_utf8(text).unwrap().trim())
}

/// Comments of one line on one line, no empty lines between macros, and negative macros in parentheses.
fn dense(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let (mut out, mut i) = (Vec::<String>::new(), 0);
    while i < lines.len() {
        let line = lines[i];
        let one = line.trim() == "/**" && lines.get(i + 2).is_some_and(|end| end.trim() == "*/");
        if one {
            out.push(lines[i].to_owned() + lines[i + 1].trim_start().trim_start_matches('*') + " */");
            i += 3;
            continue;
        }
        let macro_ended = out.last().is_some_and(|l| l.starts_with("#define"));
        let more = lines.get(i + 1..i + 5).is_some_and(|next| next.iter().any(|l| l.starts_with("#define")));
        if !(line.is_empty() && macro_ended && more) {
            out.push(match line.split_once(" -") {
                Some((name, value)) if line.starts_with("#define") => format!("{name} (-{value})"),
                _ => line.to_owned(),
            });
        }
        i += 1;
    }
    out.join("\n")
}

fn header() -> String {
    let rule = "=".repeat(110);
    let mut contents = String::new();
    let mut body = String::new();
    for name in SECTIONS {
        let file = Path::new("src/ffi").join(name).with_extension("rs");
        let (title, text) = banner(&fs::read_to_string(&file).unwrap());
        let functions = section(&file);
        contents += &format!(" *   {title}\n");
        body += &format!("\n/* {rule}\n * {title}\n * {rule}\n");
        for line in text {
            body += format!(" * {line}").trim_end();
            body.push('\n');
        }
        body += &format!(" */\n\n{functions}\n");
    }
    let manual = fs::read_to_string("src/ffi/manual.h").unwrap().replace("@SECTIONS@\n", &contents);
    format!("{manual}{body}\n#ifdef __cplusplus\n}} // extern \"C\"\n#endif\n\n#endif /* SOFTMIX_H */\n")
}

#[test]
fn the_committed_header_is_what_the_sources_say() {
    let expected = header();
    let path = "include/softmix.h";
    if std::env::var_os("SOFTMIX_WRITE_HEADER").is_some() {
        fs::write(path, &expected).unwrap();
    }
    let committed = fs::read_to_string(path).unwrap_or_default().replace("\r\n", "\n");
    assert!(expected.is_ascii(), "the header is for every compiler");
    let tags = |line: &str| line.matches("@param ").count() + line.matches("@return ").count();
    assert!(
        expected.lines().all(|line| tags(line) == 0 || tags(line) == 1 && line.trim_start().starts_with("* @")),
        "a tag begins its line"
    );
    assert!(committed == expected, "{path} is out of date: run SOFTMIX_WRITE_HEADER=1 cargo test --test header");
}
