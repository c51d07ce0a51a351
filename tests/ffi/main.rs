//! The C API as C sees it: the library is built as its users build it, and programs of `ffi-tests` are compiled against it.
#![cfg(all(feature = "std", unix))]

mod abi;
mod clients;
#[path = "../common/mod.rs"]
mod common;
mod flights;
mod install;
mod library;
mod misuse;
mod ranks;
