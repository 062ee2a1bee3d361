//! Retractions of the lifted geometries, factor by factor, and the projection as their transport.

use super::{IsometryMetric, LiftedDirection, LiftedFrame, PartialIsometryLifted, middles};
use crate::{
    Base, FactorsMut, FactorsRef, HealthMut, Manifold, Order, Ray, Retraction, Room, StiefelRetraction,
    Timing, Transport,
    grid::Pass,
    manifold::take_pair,
    stiefel::{follow, tilted_gram},
};
use lr_linalg::{Coef, Dims, Epilogue::Overwrite, Linalg, MatsMut, MatsRef, PolarMethod, Scope};

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
        mut to: FactorsMut<'_, B>,
        frame: &mut LiftedFrame<B>,
        mut health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        if *self == Self::Polar {
            scope.nest(|scope| {
                let mut z = take_pair(scope, ray.at.x);
                let start = ray.at.frame;
                manifold.tilt(b, ray.at.x, ray.tangent, t, z.as_mut());
                manifold.polar(b, (start, ray.tangent, ray.direction), t, z, to, frame, health, scope);
            });
            return;
        }
        frame.forget(b);
        let grid = &manifold.grid;
        let (x, v, to) = (ray.at.x, ray.tangent, &mut to);
        let sides =
            [(&grid.left, x.left, v.left, &mut to.left), (&grid.right, x.right, v.right, &mut to.right)];
        for (blocks, x, v, to) in sides {
            for pass in blocks.passes() {
                let to = pass.of_mut(to.as_mut());
                on_blocks(b, &pass, t, health.as_mut(), scope, |t, health, scope| {
                    follow(b, *self, [pass.of(x), pass.of(v)], t, to, health, scope);
                });
            }
        }
    }

    fn advance(
        &self,
        b: &B,
        manifold: &PartialIsometryLifted,
        mut x: FactorsMut<'_, B>,
        frame: &mut LiftedFrame<B>,
        (tangent, direction): (FactorsRef<'_, B>, &LiftedDirection<B>),
        t: Coef<'_, B>,
        Room { x: mut z, frame: next }: Room<'_, B, PartialIsometryLifted>,
        health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        if *self == Self::Polar {
            // U is not needed any more once Z is there.
            manifold.tilt(b, x.as_ref(), tangent, t, z.as_mut());
            manifold.polar(b, (frame, tangent, direction), t, z, x, next, health, scope);
        } else {
            let ray = Ray { at: Base { x: x.as_ref(), frame: &*frame }, tangent, direction };
            self.retract(b, manifold, ray, t, z.as_mut(), next, health, scope);
            x.copy_from(b, z.as_ref());
        }
        std::mem::swap(frame, next);
    }
}

impl PartialIsometryLifted {
    /// `Z = U + t M` for all blocks.
    fn tilt<B: Linalg>(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        v: FactorsRef<'_, B>,
        t: Coef<'_, B>,
        z: FactorsMut<'_, B>,
    ) {
        b.add_scaled(x.left, t, v.left, z.left);
        b.add_scaled(x.right, t, v.right, z.right);
    }

    /// `to` becomes the polar factors of the blocks of `z`, which is lost, reached from a point with the frame `start`
    /// along `tangent`; and `end` its frame. Where the middles of the tangent vector are known they are continued, see
    /// [`super::frame`].
    #[allow(clippy::too_many_arguments)]
    fn polar<B: Linalg>(
        &self,
        b: &B,
        (start, tangent, direction): (&LiftedFrame<B>, FactorsRef<'_, B>, &LiftedDirection<B>),
        t: Coef<'_, B>,
        z: FactorsMut<'_, B>,
        to: FactorsMut<'_, B>,
        end: &mut LiftedFrame<B>,
        mut health: HealthMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let middles = direction.middles(b, t, scope).filter(|_| start.is_young(b));
        let stacks = end.middles_mut().into_iter().enumerate();
        let sides = [
            (&self.grid.left, tangent.left, z.left, to.left),
            (&self.grid.right, tangent.right, z.right, to.right),
        ];
        for ((side, mut stack), (blocks, m, mut z, mut to)) in stacks.zip(sides) {
            for (index, pass) in blocks.passes().enumerate() {
                let (z, to) = (pass.of_mut(z.as_mut()), pass.of_mut(to.as_mut()));
                on_blocks(b, &pass, t, health.as_mut(), scope, |t, health, scope| match middles {
                    None => b.polar_into(PolarMethod::default(), z, to, health.breakdown, scope),
                    Some(middles) => {
                        let before = middles::view(&pass, index, middles[side]);
                        let after = middles::view_mut(&pass, index, stack.as_mut());
                        continue_polar(b, [pass.of(m), before], t, [z, to, after], health, scope);
                    }
                });
            }
        }
        match middles {
            None => end.forget(b),
            Some(_) => end.age_from(b, start),
        }
    }
}

/// `to = z P`, the polar factor of `z = u + t m` from `omega = u^T m` and the Gram matrix of `m`; and `to^T m`.
fn continue_polar<B: Linalg>(
    b: &B,
    [m, omega]: [MatsRef<'_, B>; 2],
    t: Coef<'_, B>,
    [z, to, after]: [MatsMut<'_, B>; 3],
    health: HealthMut<'_, B>,
    scope: &Scope<'_, B>,
) {
    scope.nest(|scope| {
        let [mut gram, mut moved, mut tilted, mut factor] = [(); 4].map(|()| scope.take(omega.dims()));
        b.gemm(1.0, m.t(), m.n(), Overwrite, gram.as_mut());
        tilted_gram(b, [omega, gram.as_ref()], t, moved.as_mut(), tilted.as_mut(), scope);
        b.gram_inverse_sqrt(
            PolarMethod::default(),
            tilted.as_ref(),
            factor.as_mut(),
            health.breakdown,
            scope,
        );
        b.gemm(1.0, factor.as_ref().n(), moved.as_ref().n(), Overwrite, after);
        b.gemm(1.0, z.as_ref().n(), factor.as_ref().n(), Overwrite, to);
    });
}

/// Runs `work` on the blocks of one pass, with the length of the step for each of them; what breaks down there breaks
/// down its problem.
fn on_blocks<B: Linalg>(
    b: &B,
    pass: &Pass,
    t: Coef<'_, B>,
    health: HealthMut<'_, B>,
    scope: &Scope<'_, B>,
    work: impl FnOnce(Coef<'_, B>, HealthMut<'_, B>, &Scope<'_, B>),
) {
    let problems = health.breakdown.dims().batch;
    let blocks = problems * pass.blocks();
    scope.nest(|scope| {
        let [mut breakdown, mut repairs, mut exact_steps] = [(); 3].map(|()| scope.status(blocks));
        let mut each = scope.take(Dims::scalars(blocks));
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
        work(t, own, scope);
        let flags = breakdown.as_ref().reshape(Dims::new(problems, pass.blocks(), 1));
        b.flag_above(0.0, flags, health.breakdown);
    });
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
