//! [`Health`]: what numerical operations report of each problem, beside their results.

use lr_linalg::{Coef, DeviceError, Dims, Linalg, Mats, MatsMut, Scope};

/// What went wrong numerically, for each problem of a slice; all parts are `[problems, 1, 1]`.
#[derive(Debug)]
pub struct Health<B: Linalg> {
    /// Not zero once a factorization failed without a repair.
    pub breakdown: Mats<B>,
    /// Number of operations that needed a repair (a shifted Gram matrix).
    pub repairs: Mats<B>,
    /// Number of steps whose certificate sent them down the exact, slower path.
    pub exact_steps: Mats<B>,
}

impl<B: Linalg> Health<B> {
    /// Nothing wrong with any of `problems` problems.
    ///
    /// # Errors
    /// [`DeviceError`] when the memory cannot be had.
    pub fn new(b: &B, problems: usize) -> Result<Self, DeviceError> {
        let scalars = || Mats::zeros(b, Dims::scalars(problems));
        Ok(Self { breakdown: scalars()?, repairs: scalars()?, exact_steps: scalars()? })
    }

    /// To be written to.
    pub fn as_mut(&mut self) -> HealthMut<'_, B> {
        HealthMut {
            breakdown: self.breakdown.as_mut(),
            repairs: self.repairs.as_mut(),
            exact_steps: self.exact_steps.as_mut(),
        }
    }
}

/// [`Health`], lent to an operation.
#[derive(Debug)]
pub struct HealthMut<'a, B: Linalg> {
    /// Not zero once a factorization failed without a repair.
    pub breakdown: MatsMut<'a, B>,
    /// Number of operations that needed a repair (a shifted Gram matrix).
    pub repairs: MatsMut<'a, B>,
    /// Number of steps whose certificate sent them down the exact, slower path.
    pub exact_steps: MatsMut<'a, B>,
}

impl<B: Linalg> HealthMut<'_, B> {
    /// Reborrows.
    pub fn as_mut(&mut self) -> HealthMut<'_, B> {
        HealthMut {
            breakdown: self.breakdown.as_mut(),
            repairs: self.repairs.as_mut(),
            exact_steps: self.exact_steps.as_mut(),
        }
    }

    /// Counts one step down the exact path for every problem.
    pub fn count_exact_step(&mut self, b: &B, scope: &Scope<'_, B>) {
        scope.nest(|scope| {
            let mut one = scope.take(self.exact_steps.dims());
            b.fill(1.0, one.as_mut());
            b.axpby(Coef::Host(1.0), one.as_ref(), 1.0, self.exact_steps.as_mut());
        });
    }

    /// Counts one repair for every problem whose `status` is not zero.
    ///
    /// # Panics
    /// If `status` is not that of the same problems.
    pub fn count_repairs(&mut self, b: &B, status: &MatsMut<'_, B>, scope: &Scope<'_, B>) {
        scope.nest(|scope| {
            let mut touched = scope.status(status.dims().batch);
            b.flag_above(0.5, status.as_ref(), touched.as_mut());
            b.axpby(Coef::Host(1.0), touched.as_ref(), 1.0, self.repairs.as_mut());
        });
    }
}
