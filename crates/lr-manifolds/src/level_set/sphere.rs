//! The Frobenius sphere: `|H|_F = 1`.
//!
//! `P_T(Z) = Z - c H`, `c = <Z, H>`; `W_H(K, Z) = -c K`.

use super::{LevelSet, LevelSetShape};
use crate::{HealthMut, ShapeError};
use lr_linalg::{Coef, Dims, Linalg, Map, MatsMut, MatsRef, Scalar, Scope};

/// Matrices of Frobenius norm 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sphere;

/// `out += -<z, h> x`.
fn subtract<B: Linalg>(b: &B, [z, h, x]: [MatsRef<'_, B>; 3], out: MatsMut<'_, B>, scope: &Scope<'_, B>) {
    scope.nest(|scope| {
        let mut c = scope.take(Dims::scalars(h.dims().batch));
        b.dot(-1.0, z, h, 0.0, c.as_mut());
        b.axpby(Coef::Device(c.as_ref()), x, 1.0, out);
    });
}

impl LevelSetShape for Sphere {
    fn name(&self) -> &'static str {
        "sphere"
    }

    fn admit(&self, _: usize, _: usize) -> Result<(), ShapeError> {
        Ok(())
    }

    fn codimension(&self, _: usize) -> usize {
        1
    }
}

impl<B: Linalg> LevelSet<B> for Sphere {
    fn project_point(&self, b: &B, y: MatsMut<'_, B>, health: HealthMut<'_, B>, scope: &Scope<'_, B>) {
        scope.nest(|scope| {
            let (mut scale, mut given) = (scope.take(Dims::scalars(y.dims().batch)), scope.take(y.dims()));
            b.dot(1.0, y.as_ref(), y.as_ref(), 0.0, scale.as_mut());
            b.map(Map::Sqrt, scale.as_mut());
            b.map(Map::Ratio { numerator: 1.0, floor: B::Elem::MIN_POSITIVE }, scale.as_mut());
            // A matrix whose norm underflows, its square included, has no direction.
            b.flag_above(1.0 / B::Elem::MIN_POSITIVE.sqrt(), scale.as_ref(), health.breakdown);
            b.copy(y.as_ref().n(), given.as_mut());
            b.axpby(Coef::Device(scale.as_ref()), given.as_ref(), 0.0, y);
        });
    }

    fn project_tangent(&self, b: &B, h: MatsRef<'_, B>, z: MatsMut<'_, B>, scope: &Scope<'_, B>) {
        scope.nest(|scope| {
            let mut c = scope.take(Dims::scalars(h.dims().batch));
            b.dot(-1.0, z.as_ref(), h, 0.0, c.as_mut());
            b.axpby(Coef::Device(c.as_ref()), h, 1.0, z);
        });
    }

    fn add_curvature(
        &self,
        b: &B,
        h: MatsRef<'_, B>,
        k: MatsRef<'_, B>,
        z: MatsRef<'_, B>,
        out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        subtract(b, [z, h, k], out, scope);
    }
}
