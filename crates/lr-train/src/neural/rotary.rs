//! Angles of the rotary position embedding (Su et al. 2021, section 3.2.2).

use lr_linalg::{Backend, DeviceError, Dims, Mats, Scalar};

/// Base of the geometric sequence of frequencies.
pub const ROTARY_BASE: f64 = 10_000.0;

/// Which way rows are turned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rotation {
    /// By the angles.
    Forward,
    /// Back by the angles: the inverse, and as rotations are orthogonal also the backward pass.
    Inverse,
}

/// The table of [`super::Neural::rotate`], `[1, sequence, head_dim]`: in row `i` the cosines of the angles
/// `i ROTARY_BASE^(-2 c / head_dim)` for `c < head_dim / 2`, then their sines. Computed in f64.
///
/// # Errors
/// [`DeviceError`] when the memory cannot be had.
///
/// # Panics
/// If `head_dim` is odd.
#[track_caller]
pub fn rotary_angles<B: Backend>(b: &B, sequence: usize, head_dim: usize) -> Result<Mats<B>, DeviceError> {
    assert!(head_dim.is_multiple_of(2), "rotations turn pairs of columns, but head_dim = {head_dim} is odd");
    let half = head_dim / 2;
    let angle = |i: usize, c: usize| i as f64 * ROTARY_BASE.powf(-2.0 * c as f64 / head_dim as f64);
    let row = |i: usize| {
        let cosines = (0..half).map(move |c| angle(i, c).cos());
        cosines.chain((0..half).map(move |c| angle(i, c).sin()))
    };
    let values: Vec<B::Elem> = (0..sequence).flat_map(row).map(B::Elem::from_f64).collect();
    Mats::from_slice(b, Dims::new(1, sequence, head_dim), &values)
}
