//! The C API: the crate in C's vocabulary, one file a topic, no arithmetic. `include/softmix.h` is made from these files.
//!
//! Every function follows one path: descriptions are copied (they may be shorter or longer than ours), the caller's memory is
//! registered as ranges, ranges that are written are checked against all others, and only then do references to it exist.
//! Nothing here allocates, and nothing needs std: with it, a panic becomes a status.
#![allow(non_camel_case_types, clippy::missing_safety_doc)] // C's names; the header states the contract

mod call;
mod data;
mod em;
mod estimate;
mod evaluate;
mod fit;
mod infer;
mod kernels;
mod moments;
mod scan;
mod shard;
mod status;

pub use data::*;
pub use em::*;
pub use estimate::*;
pub use evaluate::*;
pub use fit::*;
pub use infer::*;
pub use kernels::*;
pub use moments::*;
pub use scan::*;
pub use shard::*;
pub use status::*;
