//! Initial weights (paper section 5.1): entries uniform in `[-a, a]`, `a` the inverse square root of the
//! operator's input dimension; query, key, value and output maps then orthogonalized.

use super::{ModelShape, Parameters};
use lr_linalg::{DeviceError, Dims, Linalg, Mats, Scalar};
use rand::{Rng, SeedableRng, rngs::StdRng};

impl<B: Linalg> Parameters<B> {
    /// Random initial weights, a function of `shape` and `seed` alone.
    ///
    /// Input dimensions: `vocabulary` for the embedding (an operator on one-hot vectors), `d_ff` for the
    /// second feed-forward matrix, `head_dim` for the output maps, `d_model` for all else. The maps of every
    /// head get orthonormal columns, the `Q` of a QR factorization with non-negative diagonal.
    ///
    /// # Errors
    /// [`DeviceError`] when the memory cannot be had.
    ///
    /// # Panics
    /// As [`Parameters::zeros`].
    #[track_caller]
    pub fn random(b: &B, shape: &ModelShape, seed: u64) -> Result<Self, DeviceError> {
        let mut parameters = Self::zeros(b, shape)?;
        let mut rng = StdRng::seed_from_u64(seed);
        let (d, r) = (shape.d_model, shape.head_dim);
        let inputs = [shape.vocabulary, d, d, d, d, r, d, shape.d_ff];
        for (tensor, input) in parameters.tensors_mut().into_iter().zip(inputs) {
            let a = 1.0 / (input as f64).sqrt();
            let values: Vec<B::Elem> =
                (0..tensor.mats.dims().len()).map(|_| B::Elem::from_f64(rng.random_range(-a..=a))).collect();
            b.upload(&values, tensor.mats);
        }
        let sides = [
            (&mut parameters.qk.left, shape.heads),
            (&mut parameters.qk.right, shape.kv_heads),
            (&mut parameters.vo.left, shape.kv_heads),
            (&mut parameters.vo.right, shape.heads),
        ];
        for (side, heads) in sides {
            let problems = shape.layers * heads;
            let mut r_factor = Mats::zeros(b, Dims::square(problems, r))?;
            let mut status = Mats::zeros(b, Dims::scalars(problems))?;
            b.qr(side.as_mut().reshape(Dims::new(problems, d, r)), r_factor.as_mut(), status.as_mut());
        }
        Ok(parameters)
    }
}
