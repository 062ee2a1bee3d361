//! The oblique set: every row has norm 1.
//!
//! `P_T(Z) = Z - d o H`, `d = rowsum(Z o H)`; `W_H(K, Z) = -d o K`. Row sums are products with a matrix of
//! ones, which leaves `d` in every column, ready to be multiplied element by element.

use super::{LevelSet, LevelSetShape};
use crate::{HealthMut, ShapeError};
use lr_linalg::{Coef, Dims, Epilogue::Overwrite, Linalg, Map, MatsMut, MatsRef, Scalar, Scope};

/// Matrices whose rows have norm 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oblique;

/// `out = rowsum(x o y)` in every column.
fn row_products<B: Linalg>(
    b: &B,
    x: MatsRef<'_, B>,
    y: MatsRef<'_, B>,
    out: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    let d = x.dims();
    scope.nest(|scope| {
        let (mut product, mut ones) = (scope.take(d), scope.take(Dims::square(1, d.cols)));
        b.copy(x.n(), product.as_mut());
        b.multiply(y, product.as_mut());
        b.fill(1.0, ones.as_mut());
        b.gemm(1.0, product.as_ref().n(), ones.as_ref().n(), Overwrite, out);
    });
}

/// `out += -rowsum(z o h) o x`.
fn subtract_rows<B: Linalg>(
    b: &B,
    [z, h, x]: [MatsRef<'_, B>; 3],
    out: MatsMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let mut d = scope.take(h.dims());
        row_products(b, z, h, d.as_mut(), scope);
        b.multiply(x, d.as_mut());
        b.axpby(Coef::Host(-1.0), d.as_ref(), 1.0, out);
    });
}

impl LevelSetShape for Oblique {
    fn name(&self) -> &'static str {
        "oblique"
    }

    fn admit(&self, _: usize, _: usize) -> Result<(), ShapeError> {
        Ok(())
    }

    fn codimension(&self, m: usize) -> usize {
        m
    }
}

impl<B: Linalg> LevelSet<B> for Oblique {
    fn project_point(&self, b: &B, mut y: MatsMut<'_, B>, health: HealthMut<'_, B>, scope: &Scope<'_, B>) {
        scope.nest(|scope| {
            let mut scale = scope.take(y.dims());
            row_products(b, y.as_ref(), y.as_ref(), scale.as_mut(), scope);
            b.map(Map::Sqrt, scale.as_mut());
            b.map(Map::Ratio { numerator: 1.0, floor: B::Elem::MIN_POSITIVE }, scale.as_mut());
            // A row whose norm underflows, its square included, has no direction.
            b.flag_above(1.0 / B::Elem::MIN_POSITIVE.sqrt(), scale.as_ref(), health.breakdown);
            b.multiply(scale.as_ref(), y.as_mut());
        });
    }

    fn project_tangent(&self, b: &B, h: MatsRef<'_, B>, z: MatsMut<'_, B>, scope: &Scope<'_, B>) {
        scope.nest(|scope| {
            let mut given = scope.take(z.dims());
            b.copy(z.as_ref().n(), given.as_mut());
            subtract_rows(b, [given.as_ref(), h, h], z, scope);
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
        subtract_rows(b, [z, h, k], out, scope);
    }
}
