//! Softmax mixtures (latent-class multinomial logits): fast, reliable fitting.
#![cfg_attr(not(feature = "std"), no_std)]
#[cfg(feature = "alloc")]
extern crate alloc;

pub mod error;
pub mod scalar;
pub mod simd;
pub mod workspace;
