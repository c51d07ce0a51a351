//! Softmax mixtures (latent-class multinomial logits): fast, reliable fitting.
#![cfg_attr(not(feature = "std"), no_std)]
#[cfg(feature = "alloc")]
extern crate alloc;

mod blocks;
pub mod data;
pub mod em;
pub mod error;
pub mod evaluate;
#[cfg(feature = "capi")]
pub mod ffi;
pub mod fit;
pub mod inference;
mod linalg;
pub mod mixture;
mod optimize;
pub mod parallel;
pub mod predict;
mod race;
pub mod scalar;
pub mod simd;
pub mod starts;
pub mod whiten;
pub mod workspace;
