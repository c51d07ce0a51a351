//! Kernels generic over the instruction set: one file a kernel, dispatched once a call, never allocating.
//!
//! Every kernel is written once over the vector trait of `vector.rs`, which `avx2.rs`, `avx512.rs` and `neon.rs` implement, and has a
//! plain twin in ordinary Rust that [`Isa::Scalar`] runs and the tests compare with.
#![allow(clippy::needless_range_loop, reason = "loops over the vectors of a tile index several arrays alike")]

mod ahead;
mod along;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(all(target_arch = "x86_64", feature = "avx512"))]
mod avx512;
mod blocks;
mod caches;
mod centered;
mod columns;
mod differences;
mod dispatch;
mod elementary;
mod exp;
mod finite;
mod hermite;
mod interleaved;
mod isa;
mod log;
mod logits;
mod logsumexp;
mod map;
#[cfg(target_arch = "aarch64")]
mod neon;
pub(crate) mod panel;
mod products;
mod rows;
mod sets;
mod shares;
mod shifted;
mod softmax;
mod solve;
mod state;
mod sums;
mod vector;

pub(crate) use ahead::Ahead;
pub(crate) use blocks::{exp_below_largest, largest};
pub use blocks::{exp_shifted_sum, exp_shifted_sum_to, responsibilities, subtract_scaled};
pub(crate) use centered::{Strided, centered_sets};
pub use columns::{Columns, gram_of_columns, logits_of_columns, weighted_sum_of_columns};
pub(crate) use columns::{logits_of_columns_ahead, weighted_sum_of_columns_ahead};
pub(crate) use differences::{add_row_differences, row_differences};
pub use dispatch::Element;
pub(crate) use dispatch::Products;
pub use exp::{exp, exp_in_place};
pub use finite::all_finite;
pub(crate) use finite::{CountTotals, count_totals};
pub(crate) use hermite::hermite_sums;
pub use interleaved::logsumexp_columns;
pub use isa::{Isa, Proof};
pub use log::{ln, ln_in_place};
pub use logsumexp::{logsumexp, logsumexp_strided};
pub use products::{gram, logits, weighted_sum};
pub(crate) use products::{gram_into, logits_ahead, weighted_sum_ahead};
pub use rows::Rows;
pub use sets::{set_log_sum_exp, set_softmax};
pub use shares::{RowTotals, row_shares, row_weights, weigh};
pub(crate) use shares::{row_shares_to, row_weights_from, weigh_columns, weigh_in_place};
pub use softmax::{log_softmax, log_softmax_in_place, softmax, softmax_in_place};
pub(crate) use solve::{FEW, few_scratch, solve_few};
pub use state::LogSumExp;
