//! AdamW (Loshchilov and Hutter 2019) with PyTorch's defaults, one pass over each tensor.

use crate::{BankMeasures, BankOptimizer, OptimError, StateDict, StateError, state::save_mats};
use lr_linalg::{AdamWCoefficients, DeviceError, Dims, Linalg, Mats, MatsMut, MatsRef};
use lr_manifolds::{FactorsMut, FactorsRef};

/// Settings; the default is `torch.optim.AdamW`'s.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamWConfig {
    /// Decay of the first moment, in `[0, 1)`.
    pub beta1: f64,
    /// Decay of the second moment, in `[0, 1)`.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl Default for AdamWConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 }
    }
}

/// AdamW over a fixed list of tensors.
#[derive(Debug)]
pub struct AdamW<B: Linalg> {
    config: AdamWConfig,
    moments: Vec<(Mats<B>, Mats<B>)>,
    steps: u64,
}

impl<B: Linalg> AdamW<B> {
    /// Moments for tensors of the given shapes, in this order at every step.
    ///
    /// # Errors
    /// [`DeviceError`] when the memory cannot be had.
    pub fn new(b: &B, config: AdamWConfig, shapes: &[Dims]) -> Result<Self, DeviceError> {
        let moments = shapes
            .iter()
            .map(|d| Ok((Mats::zeros(b, *d)?, Mats::zeros(b, *d)?)))
            .collect::<Result<_, DeviceError>>()?;
        Ok(Self { config, moments, steps: 0 })
    }

    /// AdamW on a bank of factor pairs, which it treats as two independent tensors.
    ///
    /// # Errors
    /// [`DeviceError`] when the memory cannot be had.
    pub fn for_bank(b: &B, config: AdamWConfig, bank: FactorsRef<'_, B>) -> Result<Self, OptimError> {
        Ok(Self::new(b, config, &[bank.left.dims(), bank.right.dims()])?)
    }

    /// One step on `(parameters, gradient)` pairs, in the order of the shapes given to [`AdamW::new`].
    ///
    /// # Panics
    /// If the number of tensors or a shape differs.
    #[track_caller]
    pub fn step_tensors<'a>(
        &mut self,
        b: &B,
        tensors: impl IntoIterator<Item = (MatsMut<'a, B>, MatsRef<'a, B>)>,
        lr: f64,
    ) {
        let _span = tracing::trace_span!("adamw").entered();
        self.steps += 1;
        let c = self.config;
        let coefficients = AdamWCoefficients {
            lr,
            beta1: c.beta1,
            beta2: c.beta2,
            epsilon: c.epsilon,
            weight_decay: c.weight_decay,
            bias_correction1: 1.0 - c.beta1.powf(self.steps as f64),
            bias_correction2: 1.0 - c.beta2.powf(self.steps as f64),
        };
        let mut moments = self.moments.iter_mut();
        for (x, g) in tensors {
            let (m, v) = moments.next().expect("more tensors than AdamW was made for");
            b.adamw(coefficients, g, m.as_mut(), v.as_mut(), x);
        }
        assert!(moments.next().is_none(), "fewer tensors than AdamW was made for");
    }

    /// Saves the moments and the step count under `prefix`.
    ///
    /// # Errors
    /// Any pending device error.
    pub fn save(&self, b: &B, prefix: &str, dict: &mut StateDict<B::Elem>) -> Result<(), StateError> {
        dict.counters.insert(format!("{prefix}.steps"), self.steps);
        for (i, (m, v)) in self.moments.iter().enumerate() {
            save_mats(b, dict, format!("{prefix}.{i}.first_moment"), m)?;
            save_mats(b, dict, format!("{prefix}.{i}.second_moment"), v)?;
        }
        Ok(())
    }

    /// Loads what [`AdamW::save`] wrote.
    ///
    /// # Errors
    /// [`StateError`] when entries are missing or have other shapes.
    pub fn load(&mut self, b: &B, prefix: &str, dict: &StateDict<B::Elem>) -> Result<(), StateError> {
        self.steps = dict.counter(&format!("{prefix}.steps"))?;
        for (i, (m, v)) in self.moments.iter_mut().enumerate() {
            dict.load(b, &format!("{prefix}.{i}.first_moment"), [m.as_mut()])?;
            dict.load(b, &format!("{prefix}.{i}.second_moment"), [v.as_mut()])?;
        }
        Ok(())
    }
}

/// Root of the sum of the squares of all elements; for observers, it allocates.
pub(crate) fn euclidean_norm<'a, B: Linalg>(
    b: &B,
    views: impl IntoIterator<Item = MatsRef<'a, B>>,
) -> Result<f64, DeviceError> {
    let mut sum = 0.0;
    for view in views {
        let mut out = Mats::zeros(b, Dims::scalars(view.dims().batch))?;
        b.dot(1.0, view, view, 0.0, out.as_mut());
        sum += out.to_vec(b)?.into_iter().map(lr_linalg::Scalar::to_f64).sum::<f64>();
    }
    Ok(sum.sqrt())
}

impl<B: Linalg> BankOptimizer<B> for AdamW<B> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn step(&mut self, b: &B, x: FactorsMut<'_, B>, egrad: FactorsRef<'_, B>, lr: f64) {
        self.step_tensors(b, [(x.left, egrad.left), (x.right, egrad.right)], lr);
    }

    fn measure(
        &mut self,
        b: &B,
        _: FactorsRef<'_, B>,
        egrad: FactorsRef<'_, B>,
    ) -> Result<BankMeasures, DeviceError> {
        let (left, right) = (&self.moments[0].0, &self.moments[1].0);
        Ok(BankMeasures {
            gradient_norm: euclidean_norm(b, [egrad.left, egrad.right])?,
            momentum_norm: euclidean_norm(b, [left.as_ref(), right.as_ref()])?,
            ..BankMeasures::default()
        })
    }

    fn save(&self, b: &B, prefix: &str, dict: &mut StateDict<B::Elem>) -> Result<(), StateError> {
        AdamW::save(self, b, prefix, dict)
    }

    fn load(&mut self, b: &B, prefix: &str, dict: &StateDict<B::Elem>) -> Result<(), StateError> {
        AdamW::load(self, b, prefix, dict)
    }
}
