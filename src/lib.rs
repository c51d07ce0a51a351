//! Softmax mixtures (latent-class multinomial logits), learned fast and reliably.
//!
//! Alternatives have features `x_i ∈ R^L` and stand in choice sets; a unit (a draw, a person) of class k chooses alternative i of its set
//! with probability `A_ik = exp(b_i + x_i·θ_k) / Σ_i' exp(b_i' + x_i'·θ_k)`; classes have weights `α_k`. This crate finds weights and atoms
//! of highest likelihood, for **one large choice set with counts** and for **panels** of thousands of small choice sets, after *Learning
//! large softmax mixtures with warm start EM* (Bing, Bunea, Niles-Weed, Wegkamp, arXiv 2409.09903) and beyond it.
//!
//! ```
//! use softmix::{Choices, Data, Features, Fit, FitOptions};
//!
//! // Four alternatives with two features, and how often each was chosen.
//! let features = [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0];
//! let counts = [40.0, 10.0, 10.0, 40.0];
//! let data = Data::new(Features::row_major(&features[..], 4, 2)?, None, None, Choices::Counts(&counts))?;
//! let fit = Fit::new(&data, &FitOptions { ridge: 1.0, ..FitOptions::new(2) })?;
//! assert_eq!(fit.report.outcome, softmix::Outcome::Converged);
//! assert!((fit.mixture.weights[0] - 0.5).abs() < 1e-3);
//! # Ok::<(), softmix::Error>(())
//! ```
//!
//! A panel has choice sets, and units that choose from several of them; a scan tells how many classes there may be.
//!
//! ```
//! use softmix::inference::{StandardErrors, Variance};
//! use softmix::predict::Posterior;
//! use softmix::{Choices, Context, Data, Features, FitOptions, scan::Scan};
//!
//! // Forty choice sets of three alternatives; ten people choose from four sets each, of which they like either the first or the last.
//! let features: Vec<f64> = (0..120).map(|i| f64::from(i % 3)).collect();
//! let sets: Vec<usize> = (0..=40).map(|s| 3 * s).collect();
//! let indptr: Vec<usize> = (0..=10).map(|u| 4 * u).collect();
//! let indices: Vec<usize> = (0..40).map(|s| 3 * s + if s % 4 == 3 { 1 } else { 2 * (s / 20) }).collect();
//! let choices = Choices::Units { indptr: &indptr, indices: &indices, counts: None, weights: None };
//! let data = Data::new(Features::row_major(&features[..], 120, 1)?, None, Some(&sets), choices)?;
//!
//! let scan = Scan::new(&data, &FitOptions::new(1), 1..=2, &mut |_, _| true)?;
//! let (fit, criteria) = &scan.fits[scan.best_by(|c| c.bic)];
//! assert_eq!((fit.mixture.classes(), criteria.parameters), (2, 3));
//! let errors = StandardErrors::new(&data, 0.0, fit.mixture.view(), Variance::Information, Context::default())?;
//! assert!(fit.mixture.atoms.iter().zip(&errors.atoms).all(|(atom, error)| atom.abs() > 2.0 * error));
//! let posterior = Posterior::new(&data, fit.mixture.view(), Context::default())?;
//! assert!(posterior.responsibilities.chunks(2).all(|r| r[0].max(r[1]) > 0.99));
//! # Ok::<(), softmix::Error>(())
//! ```
//!
//! # Two layers
//! Every operation exists as `op(…, workspace)` beside `op_workspace(shape)`: it allocates nothing and runs without `std`. With the feature
//! `alloc` a convenience such as [`Fit::new`] allocates once and calls it. The caller's arrays are read where they are: row-major,
//! column-major or strided, f32 or f64.
//!
//! # Debug builds
//! They leave dependencies without optimisation, and fits take tens of times as long, unless your `Cargo.toml` says
//! `[profile.dev.package."*"]` and `opt-level = 3`.
//!
//! # The mathematics
//! Comments speak of sections: those of `docs/model.md`, where the model, its estimators and what was measured stand.
//!
//! # Features of the crate
//! - `std` (default): asks the operating system which vector registers it saves; implies `alloc`.
//! - `alloc`: owned results and workspaces.
//! - `avx512` (default): AVX-512 kernels, chosen where the machine has them. Needs Rust 1.89; without it the crate builds with 1.85.
//! - `rayon` (default): more than one thread where it is asked for, see [`Context::threads`]. Results are the same bits for any number.
//! - `capi`: the C functions of `include/softmix.h`, in the module `ffi`.
//! - `freestanding`: the C library without `std`, an allocator or an operating system; not together with `std`. See `bindings/README.md`.
#![cfg_attr(not(feature = "std"), no_std)]
#![warn(missing_docs)]
#[cfg(feature = "alloc")]
extern crate alloc;

pub mod data;
pub mod em;
pub mod error;
pub mod evaluate;
mod features;
#[cfg(feature = "capi")]
pub mod ffi;
pub mod fit;
#[cfg(all(feature = "freestanding", not(feature = "std"), not(test)))]
mod freestanding;
pub mod inference;
mod linalg;
pub mod mixture;
pub mod moments;
mod optimize;
pub mod parallel;
pub mod predict;
pub mod reduce;
pub mod scalar;
pub mod scan;
pub mod simd;
pub mod starts;
#[cfg(all(test, feature = "alloc"))]
mod testing;
pub mod whiten;
pub mod workspace;

pub use data::{Choices, Data, Features};
pub use error::{Error, ErrorKind, Result};
#[cfg(feature = "alloc")]
pub use fit::Fit;
pub use fit::{FitOptions, Outcome, Starts};
#[cfg(feature = "alloc")]
pub use mixture::Mixture;
pub use mixture::MixtureRef;
pub use parallel::Context;
#[cfg(feature = "alloc")]
pub use scan::Scan;
