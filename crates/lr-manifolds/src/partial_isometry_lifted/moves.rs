//! Retractions of the lifted geometries, factor by factor, and the projection as their transport.

use super::{IsometryMetric, PartialIsometryLifted, middles};
use crate::{
    Base, FactorsMut, HealthMut, Manifold, Order, Ray, Retraction, StiefelRetraction, Timing, Transport,
    grid::Pass, stiefel::follow,
};
use lr_linalg::{Coef, Dims, Linalg, MatsMut, MatsRef, Scope};

impl<B: Linalg> Retraction<B, PartialIsometryLifted> for StiefelRetraction {
    fn name(&self) -> &'static str {
        match self {
            Self::Polar => "polar",
            Self::Qr => "qr",
            Self::Cayley => "cayley",
        }
    }

    fn order(&self, manifold: &PartialIsometryLifted) -> Order {
        match (self, manifold.metric) {
            (Self::Polar, IsometryMetric::Quotient) | (Self::Cayley, IsometryMetric::Canonical) => {
                Order::Second
            }
            // Geodesics of the canonical metric accelerate within the tangent space of the quotient one, by
            // X Omega; the Cayley transform does so, the polar factor does not.
            _ => Order::First,
        }
    }

    fn retract(
        &self,
        b: &B,
        manifold: &PartialIsometryLifted,
        ray: Ray<'_, B, PartialIsometryLifted>,
        t: Coef<'_, B>,
        to: FactorsMut<'_, B>,
        _: &mut (),
        mut health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let (x, v, grid) = (ray.at.x, ray.tangent, &manifold.grid);
        for (blocks, x, v, mut to) in
            [(&grid.left, x.left, v.left, to.left), (&grid.right, x.right, v.right, to.right)]
        {
            for pass in blocks.passes() {
                let to = pass.of_mut(to.as_mut());
                self.move_blocks(b, &pass, [pass.of(x), pass.of(v)], t, to, health.as_mut(), scope);
            }
        }
    }
}

impl StiefelRetraction {
    /// Moves the blocks `u` of one pass along `m`; what breaks down there breaks down its problem.
    #[allow(clippy::too_many_arguments)]
    fn move_blocks<B: Linalg>(
        self,
        b: &B,
        pass: &Pass,
        [u, m]: [MatsRef<'_, B>; 2],
        t: Coef<'_, B>,
        to: MatsMut<'_, B>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let problems = health.breakdown.dims().batch;
        scope.nest(|scope| {
            let [mut breakdown, mut repairs, mut exact_steps] =
                [(); 3].map(|()| scope.status(u.dims().batch));
            let mut each = scope.take(Dims::scalars(u.dims().batch));
            let t = match t {
                Coef::Host(t) => Coef::Host(t),
                Coef::Device(t) => {
                    b.copy(t.n(), each.as_mut());
                    Coef::Device(each.as_ref())
                }
            };
            let own = HealthMut {
                breakdown: breakdown.as_mut(),
                repairs: repairs.as_mut(),
                exact_steps: exact_steps.as_mut(),
            };
            follow(b, self, [u, m], t, to, own, scope);
            let flags = breakdown.as_ref().reshape(Dims::new(problems, pass.blocks(), 1));
            b.flag_above(0.0, flags, health.breakdown);
        });
    }
}

/// Tangent, then horizontal projection at the new point.
#[derive(Clone, Copy, Debug, Default)]
pub struct LiftedProjection;

impl<B: Linalg> Transport<B, PartialIsometryLifted> for LiftedProjection {
    fn name(&self) -> &'static str {
        "projection"
    }

    fn timing(&self) -> Timing {
        Timing::WithNextGradient
    }

    fn transport(
        &self,
        b: &B,
        manifold: &PartialIsometryLifted,
        _: Base<'_, B, PartialIsometryLifted>,
        to: Base<'_, B, PartialIsometryLifted>,
        v: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        manifold.project(b, to, v, scope);
    }

    fn carry(
        &self,
        b: &B,
        manifold: &PartialIsometryLifted,
        ray: Ray<'_, B, PartialIsometryLifted>,
        to: Base<'_, B, PartialIsometryLifted>,
        out: FactorsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        scope.nest(|scope| {
            let mut k = manifold.overlaps(b, to.x, ray.tangent, scope);
            manifold.normal_part(b, &mut k, scope);
            let (grid, v) = (&manifold.grid, ray.tangent);
            let sides =
                [(&grid.left, to.x.left, v.left, out.left), (&grid.right, to.x.right, v.right, out.right)];
            for ((blocks, u, v, out), k) in sides.into_iter().zip(&k) {
                middles::difference(b, blocks, (1.0, v), u, k.as_ref(), out);
            }
        });
    }
}
