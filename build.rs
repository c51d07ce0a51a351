//! Hands the header to crates that build C code against this one, as `DEP_SOFTMIX_INCLUDE`.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo::rerun-if-changed=include/softmix.h");
    println!("cargo::rerun-if-changed=build.rs");
    if env::var_os("CARGO_FEATURE_CAPI").is_none() {
        return;
    }
    let include = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("include");
    fs::create_dir_all(&include).expect("OUT_DIR can be written");
    fs::copy("include/softmix.h", include.join("softmix.h")).expect("the header is part of the package");
    println!("cargo::metadata=include={}", include.display());
}
