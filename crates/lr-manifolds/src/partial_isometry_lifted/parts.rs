//! What gradients and projections take off along the point, `share g_i - U_i K_i`, stacked over the blocks of
//! each side; and the momentum that takes both off at once.
//!
//! With `P(M) = M - U K_M` and `grad = share G - U K_G`
//!
//! ```text
//! nu P(M) + w grad = nu M + w share G - U (nu K_M + w K_G),
//! ```
//!
//! which costs the overlaps of `M` and of `G` with `U` and one product a side. `K_M` and `K_G` differ for
//! inconsistent gradients, so that each is made of its own overlaps. The overlap of the sum, which some metrics
//! need, follows from these by `U_i^T U_i = I`.

use super::{IsometryMetric, LiftedDirection, PartialIsometryLifted, middles};
use crate::{Base, Blend, FactorsMut, FactorsRef, Timing};
use lr_linalg::{Coef, Dims, Linalg, Map, MatsMut, Part, Scope};

/// A stack of middles for each side.
pub(super) type Stacks<'s, B> = [MatsMut<'s, B>; 2];

/// A gradient `share G_i - U_i K_i`.
pub(super) struct GradientParts<'s, B: Linalg> {
    /// `K_i`.
    pub k: Stacks<'s, B>,
    /// `share U_i^T G_i`.
    overlaps: Stacks<'s, B>,
}

impl<'s, B: Linalg> GradientParts<'s, B> {
    /// `U_i^T grad_i`, by `U_i^T U_i = I`, in place of the overlaps; and `K_i`.
    pub fn own(mut self, b: &B) -> (Stacks<'s, B>, Stacks<'s, B>) {
        for (k, overlap) in self.k.iter().zip(&mut self.overlaps) {
            b.axpby(Coef::Host(-1.0), k.as_ref(), 1.0, overlap.as_mut());
        }
        (self.k, self.overlaps)
    }
}

impl PartialIsometryLifted {
    /// The shares `(1/J, 1/I)` of the egrad that are the gradient's.
    fn shares(&self) -> [f64; 2] {
        // A single pair has one block a side.
        let (j, i) = self.weights();
        [1.0 / j, 1.0 / i]
    }

    /// `U_i^T V_i`.
    pub(super) fn overlaps<'s, B: Linalg>(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        v: FactorsRef<'_, B>,
        scope: &'s Scope<'_, B>,
    ) -> Stacks<'s, B> {
        let small = self.grid.small_dims(x.problems());
        [(&self.grid.left, x.left, v.left), (&self.grid.right, x.right, v.right)].map(|(blocks, u, v)| {
            let mut out = scope.take(middles::dims(blocks, small));
            middles::of(b, blocks, u, v, out.as_mut());
            out
        })
    }

    /// `k`, seen as one matrix a block.
    fn each<'a, B: Linalg>(&self, side: usize, k: MatsMut<'a, B>) -> MatsMut<'a, B> {
        let blocks = [&self.grid.left, &self.grid.right][side].count();
        let Dims { batch, cols, .. } = k.dims();
        k.reshape(Dims::square(batch * blocks, cols))
    }

    /// Turns the overlaps `U_i^T M_Ui` into the `K_i` that the projection of `(M_U, M_V)` takes off:
    /// `sym(U_i^T M_Ui) + Omega`.
    pub(super) fn normal_part<B: Linalg>(&self, b: &B, k: &mut Stacks<'_, B>, scope: &Scope<'_, B>) {
        let (j, i) = self.weights();
        scope.nest(|scope| {
            let small = self.grid.small_dims(k[0].dims().batch);
            let (mut omega, mut skew) = (scope.take(small), scope.take(small));
            b.fill(0.0, omega.as_mut());
            // The symmetric parts go; the skew parts of all blocks make Omega.
            for (weight, k) in [j, i].into_iter().zip(&*k) {
                middles::sum(b, weight / (2.0 * i * j), k.as_ref(), skew.as_mut());
                b.take_part(Part::Skew, skew.as_mut());
                b.axpby(Coef::Host(1.0), skew.as_ref(), 1.0, omega.as_mut());
            }
            for (side, k) in k.iter_mut().enumerate() {
                let mut coefficients = self.each(side, k.as_mut());
                b.take_part(Part::Sym, coefficients.as_mut());
                b.axpby(Coef::Host(1.0), omega.as_ref(), 1.0, coefficients);
            }
        });
    }

    /// What the gradient is made of.
    pub(super) fn gradient_parts<'s, B: Linalg>(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        egrad: FactorsRef<'_, B>,
        scope: &'s Scope<'_, B>,
    ) -> GradientParts<'s, B> {
        if self.grid.is_singleton() && self.metric != IsometryMetric::Embedded {
            self.singleton_parts(b, x, egrad, scope)
        } else {
            self.grid_parts(b, x, egrad, scope)
        }
    }

    fn singleton_parts<'s, B: Linalg>(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        egrad: FactorsRef<'_, B>,
        scope: &'s Scope<'_, B>,
    ) -> GradientParts<'s, B> {
        let overlaps = self.overlaps(b, x, egrad, scope);
        let mut k = overlaps.each_ref().map(|k| scope.take(k.dims()));
        let ([left, right], [gu, vg]) = (&mut k, &overlaps);
        b.copy(gu.as_ref().t(), left.as_mut());
        b.axpby(Coef::Host(0.5), vg.as_ref(), 0.5, left.as_mut());
        if self.metric != IsometryMetric::Canonical {
            b.take_part(Part::Sym, left.as_mut());
        }
        b.copy(left.as_ref().t(), right.as_mut());
        GradientParts { k, overlaps }
    }

    /// From the middles `U_i^T G_i` of all blocks, for all metrics.
    fn grid_parts<'s, B: Linalg>(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        egrad: FactorsRef<'_, B>,
        scope: &'s Scope<'_, B>,
    ) -> GradientParts<'s, B> {
        let mut overlaps = self.overlaps(b, x, egrad, scope);
        for (share, overlap) in self.shares().into_iter().zip(&mut overlaps) {
            b.map(Map::Scale(share), overlap.as_mut());
        }
        let mut k = overlaps.each_ref().map(|k| scope.take(k.dims()));
        for (side, (k, overlap)) in k.iter_mut().zip(&mut overlaps).enumerate() {
            let mut each = self.each(side, k.as_mut());
            let overlap = self.each(side, overlap.as_mut());
            match self.metric {
                // The canonical metric takes G_i^T U_i off.
                IsometryMetric::Canonical => b.copy(overlap.as_ref().t(), each),
                IsometryMetric::Quotient | IsometryMetric::Embedded => {
                    b.copy(overlap.as_ref().n(), each.as_mut());
                    b.take_part(Part::Sym, each);
                }
            }
        }
        if self.metric == IsometryMetric::Embedded {
            scope.nest(|scope| {
                let mut common = scope.take(self.grid.small_dims(x.problems()));
                self.common_part(b, overlaps.each_ref().map(MatsMut::as_ref), common.as_mut(), scope);
                for (side, (k, sign)) in k.iter_mut().zip([1.0, -1.0]).enumerate() {
                    b.axpby(Coef::Host(sign), common.as_ref(), 1.0, self.each(side, k.as_mut()));
                }
            });
        }
        GradientParts { k, overlaps }
    }

    /// The gradient `share G_i - U_i K_i`.
    pub(super) fn gradient<B: Linalg>(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        egrad: FactorsRef<'_, B>,
        k: &Stacks<'_, B>,
        out: FactorsMut<'_, B>,
    ) {
        let [left, right] = self.shares();
        let sides = [
            (left, &self.grid.left, x.left, egrad.left, out.left),
            (right, &self.grid.right, x.right, egrad.right, out.right),
        ];
        for ((share, blocks, u, g, out), k) in sides.into_iter().zip(k) {
            middles::difference(b, blocks, (share, g), u, k.as_ref(), out);
        }
    }

    /// `v_i <- v_i - U_i K_i`.
    pub(super) fn take_off<B: Linalg>(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        k: &Stacks<'_, B>,
        v: FactorsMut<'_, B>,
    ) {
        let sides = [(&self.grid.left, x.left, v.left), (&self.grid.right, x.right, v.right)];
        for ((blocks, u, v), k) in sides.into_iter().zip(k) {
            middles::subtract(b, blocks, u, k.as_ref(), v);
        }
    }

    /// `M <- nu P(M) + w grad`, and into `direction` what is known of it.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn blend<B: Linalg>(
        &self,
        b: &B,
        at: Base<'_, B, Self>,
        egrad: FactorsRef<'_, B>,
        Blend { nu, weight, transport }: Blend,
        momentum: FactorsMut<'_, B>,
        direction: &mut LiftedDirection<B>,
        scope: &Scope<'_, B>,
    ) {
        let (x, FactorsMut { mut left, mut right }) = (at.x, momentum);
        scope.nest(|scope| {
            let momentum = FactorsRef { left: left.as_ref(), right: right.as_ref() };
            let mut k = match at.frame.middles(b) {
                Some(known) => known.map(|known| {
                    let mut k = scope.take(known.dims());
                    b.copy(known.n(), k.as_mut());
                    k
                }),
                None => self.overlaps(b, x, momentum, scope),
            };
            let (gradient, mut own) = self.gradient_parts(b, x, egrad, scope).own(b);
            // U_i^T (nu P(M) + w grad), from U_i^T P(M) = U_i^T M - K_M, which is skew.
            for (own, k) in own.iter_mut().zip(&k) {
                b.axpby(Coef::Host(nu), k.as_ref(), weight, own.as_mut());
            }
            self.normal_part(b, &mut k, scope);
            for (own, k) in own.iter_mut().zip(&k) {
                b.axpby(Coef::Host(-nu), k.as_ref(), 1.0, own.as_mut());
            }
            b.fill(0.0, direction.correction.as_mut());
            self.correct(b, &own, &own, direction.correction.as_mut(), scope);
            for (k, gradient) in k.iter_mut().zip(&gradient) {
                b.axpby(Coef::Host(weight), gradient.as_ref(), nu, k.as_mut());
            }
            match transport {
                Timing::WithNextGradient => direction.learn(b, &own, &k),
                // Another vector will be at the end of the step.
                Timing::AfterRetraction => direction.forget(),
            }
            let weights = self.shares().map(|share| Coef::Host(weight * share));
            for ((weight, g), m) in
                weights.into_iter().zip([egrad.left, egrad.right]).zip([&mut left, &mut right])
            {
                b.axpby(weight, g, nu, m.as_mut());
            }
            self.take_off(b, x, &k, FactorsMut { left: left.as_mut(), right: right.as_mut() });
        });
    }

    /// Adds to `out` what distinguishes `<m, n>` from the quotient metric's, given the overlaps `U_i^T M_i` and
    /// `U_i^T N_i` of the two.
    ///
    /// Canonical: less half of `J <U_i^T M_Ui, U_i^T N_Ui>` and of `I <V_j^T M_Vj, V_j^T N_Vj>`. Embedded: see
    /// [`embedded_metric`](super::embedded_metric).
    pub(super) fn correct<B: Linalg>(
        &self,
        b: &B,
        m: &Stacks<'_, B>,
        n: &Stacks<'_, B>,
        mut out: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let (j, i) = self.weights();
        match self.metric {
            IsometryMetric::Quotient => {}
            IsometryMetric::Canonical => {
                for ((weight, m), n) in [j, i].into_iter().zip(m).zip(n) {
                    b.dot(-0.5 * weight, m.as_ref(), n.as_ref(), 1.0, out.as_mut());
                }
            }
            IsometryMetric::Embedded => self.subtract_cross_terms(b, m, n, out, scope),
        }
    }
}
