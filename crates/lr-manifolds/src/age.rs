//! [`Age`]: for how many steps something at a point has been continued rather than measured.

use lr_linalg::{Coef, DeviceError, Dims, Linalg, Mats};

/// Steps after which it is measured anew; even, so that the factors of pulled-back coordinates go on taking turns.
const LONGEST_LIFE: f64 = 8.0;

/// Steps since it was measured, `[problems, 1, 1]`, as a checkpoint holds them.
#[derive(Debug)]
pub(crate) struct Age<B: Linalg>(pub Mats<B>);

impl<B: Linalg> Age<B> {
    pub fn zero(b: &B, problems: usize) -> Result<Self, DeviceError> {
        Ok(Self(Mats::zeros(b, Dims::scalars(problems))?))
    }

    /// It has just been measured, or is not known.
    pub fn renew(&mut self, b: &B) {
        b.fill(0.0, self.0.as_mut());
    }

    /// It is a step older than `from`.
    pub fn grow_from(&mut self, b: &B, from: &Self) {
        b.fill(1.0, self.0.as_mut());
        b.axpby(Coef::Host(1.0), from.0.as_ref(), 1.0, self.0.as_mut());
    }

    /// Steps, on devices that can tell.
    pub fn steps(&self, b: &B) -> Option<f64> {
        b.glance(self.0.as_ref())
    }

    /// Whether another step may continue it; `false` on devices that would have to stall to tell.
    pub fn is_young(&self, b: &B) -> bool {
        self.steps(b).is_some_and(|steps| steps + 1.0 < LONGEST_LIFE)
    }
}
