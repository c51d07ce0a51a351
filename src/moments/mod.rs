//! Latent moments of one choice set, section 6, and the estimators built on them, sections 6 and 7.
//!
//! In a frame (`frame`) the rows have mean 0 and covariance I under a base measure `f`. A choice of class k then has density
//! proportional to `f(y) e^{y·δ_k}`, which for a normal f is `N(δ_k, I)`: Hermite polynomials of the chosen rows estimate the moments
//! `Σ_k α_k δ_k^{⊗r}` of the atoms.
//!
//! | file | what it computes |
//! |---|---|
//! | `frame` | base measures, `y = T (x − m)`, atoms `δ` there and back; the draws, with importance weights |
//! | `hermite` | `m_r(v) = E He_r(v·y)`, and the cross moments `E He_r(v·y) y − r m_{r−1}(v) v` |
//! | `tensors` | M1, M2, M3; M3 contracted; the same in K × K × K |
//! | `eigen` | the symmetric eigenproblem, without an allocator |
//! | `subspace` | where the atoms lie: M1 and the top eigenvectors of `M2 − M1 M1^T` |
//! | `direction` | atoms from the moments along one direction (Lindsay and Basak 1993) |
//! | `tensor` | atoms from M1, M2, M3 by joint diagonalisation |
//! | `equations` | the moments that a mixture has over the actual rows, against those observed |
//! | `tilt` | tilted base measures, under which the atoms are smaller and a class rests on more rows |
//! | `correction` | atoms that solve those equations: tilts, continuation, acceleration |
//!
//! Everything here is for choices given as counts over one choice set; anything else is `ErrorKind::Unsupported`,
//! and so are the parts of a distributed run.

mod correction;
mod direction;
pub(crate) mod eigen;
mod equations;
mod frame;
mod hermite;
mod subspace;
mod tensor;
mod tensors;
mod tilt;

pub use correction::{CorrectionOptions, CorrectionReport, CorrectionStart, corrected, corrected_workspace};
pub use direction::{DirectionReport, direction, direction_workspace};
pub use frame::{Draws, Frame};
pub use hermite::{cross, cross_workspace, univariate, univariate_workspace};
pub use subspace::{SubspaceReport, subspace, subspace_workspace};
pub use tensor::{tensor, tensor_workspace};
pub use tensors::{
    TensorOutput, packed_index, packed_len, tensors, tensors_workspace, third_projected, third_projected_workspace, third_slices,
    third_slices_workspace,
};

/// What an estimator does where the moments are not those of any mixture of K classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IllPosed {
    /// Answers with `ErrorKind::IllPosed`.
    Fail,
    /// Answers with a valid mixture nearby: weights on the simplex, atoms finite and not longer than [`LONGEST`] in the frame.
    Project,
}

/// The longest atom of a projected estimate, in whitened units: `e^{|δ|²/2}` is then 3000, more than any rows tell apart.
pub const LONGEST: f64 = 4.0;
