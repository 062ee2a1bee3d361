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

use super::{IsometryMetric, PartialIsometryLifted, middles};
use crate::{Blend, FactorsMut, FactorsRef};
use lr_linalg::{Coef, Dims, Epilogue::Overwrite, Linalg, Map, MatsMut, Part, Scope};

/// A stack of middles for each side.
pub(super) type Stacks<'s, B> = [MatsMut<'s, B>; 2];

/// A gradient `share G_i - U_i K_i`.
pub(super) struct GradientParts<'s, B: Linalg> {
    /// `K_i`.
    pub k: Stacks<'s, B>,
    /// `U_i^T grad_i` where the metric corrects by it; of the left side at a single pair `-(U^T grad)^T`, which is
    /// as long, and the same where skew.
    pub own: Option<Stacks<'s, B>>,
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
        let small = self.grid.small_dims(x.problems());
        let [mut gu, mut vg, mut k, mut transposed] = [(); 4].map(|()| scope.take(small));
        b.gemm(1.0, egrad.left.t(), x.left.n(), Overwrite, gu.as_mut());
        b.gemm(1.0, x.right.t(), egrad.right.n(), Overwrite, vg.as_mut());
        b.axpby(Coef::Host(0.5), gu.as_ref(), 0.0, k.as_mut());
        b.axpby(Coef::Host(0.5), vg.as_ref(), 1.0, k.as_mut());
        if self.metric != IsometryMetric::Canonical {
            b.take_part(Part::Sym, k.as_mut());
            b.copy(k.as_ref().n(), transposed.as_mut());
            return GradientParts { k: [k, transposed], own: None };
        }
        b.copy(k.as_ref().t(), transposed.as_mut());
        // M_U^T U = G_U^T U - K^T and V^T M_V = V^T G_V - K^T.
        b.axpby(Coef::Host(1.0), transposed.as_ref(), -1.0, gu.as_mut());
        b.axpby(Coef::Host(-1.0), transposed.as_ref(), 1.0, vg.as_mut());
        GradientParts { k: [k, transposed], own: Some([gu, vg]) }
    }

    /// From the middles `U_i^T G_i` of all blocks, for all metrics.
    fn grid_parts<'s, B: Linalg>(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        egrad: FactorsRef<'_, B>,
        scope: &'s Scope<'_, B>,
    ) -> GradientParts<'s, B> {
        // The canonical metric takes G_i^T U_i off.
        let mut k = match self.metric {
            IsometryMetric::Canonical => self.overlaps(b, egrad, x, scope),
            IsometryMetric::Quotient | IsometryMetric::Embedded => self.overlaps(b, x, egrad, scope),
        };
        for (share, k) in self.shares().into_iter().zip(&mut k) {
            b.map(Map::Scale(share), k.as_mut());
        }
        if self.metric == IsometryMetric::Quotient {
            for (side, k) in k.iter_mut().enumerate() {
                b.take_part(Part::Sym, self.each(side, k.as_mut()));
            }
            return GradientParts { k, own: None };
        }
        let mut own = k.each_ref().map(|k| scope.take(k.dims()));
        if self.metric == IsometryMetric::Canonical {
            // U_i^T grad_i = K_i^T - K_i.
            for (side, (k, own)) in k.iter().zip(&mut own).enumerate() {
                b.axpby(Coef::Host(-2.0), k.as_ref(), 0.0, own.as_mut());
                b.take_part(Part::Skew, self.each(side, own.as_mut()));
            }
            return GradientParts { k, own: Some(own) };
        }
        scope.nest(|scope| {
            let mut common = scope.take(self.grid.small_dims(x.problems()));
            self.common_part(b, k.each_ref().map(MatsMut::as_ref), common.as_mut(), scope);
            let signs = [1.0, -1.0];
            for (side, ((k, own), sign)) in k.iter_mut().zip(&mut own).zip(signs).enumerate() {
                b.copy(k.as_ref().n(), own.as_mut());
                let mut each = self.each(side, k.as_mut());
                b.take_part(Part::Sym, each.as_mut());
                b.axpby(Coef::Host(sign), common.as_ref(), 1.0, each);
                b.axpby(Coef::Host(-1.0), k.as_ref(), 1.0, own.as_mut());
            }
        });
        GradientParts { k, own: Some(own) }
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

    /// `M <- nu P(M) + w grad`, and into `correction` what [`Self::correct`] says of it.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn blend<B: Linalg>(
        &self,
        b: &B,
        x: FactorsRef<'_, B>,
        egrad: FactorsRef<'_, B>,
        Blend { nu, weight, .. }: Blend,
        momentum: FactorsMut<'_, B>,
        mut correction: MatsMut<'_, B>,
        scope: &Scope<'_, B>,
    ) {
        let FactorsMut { mut left, mut right } = momentum;
        let weight_of = |share: f64| Coef::Host(weight * share);
        scope.nest(|scope| {
            let momentum = FactorsRef { left: left.as_ref(), right: right.as_ref() };
            let mut k = self.overlaps(b, x, momentum, scope);
            let gradient = self.gradient_parts(b, x, egrad, scope);
            b.fill(0.0, correction.as_mut());
            match gradient.own {
                None => self.normal_part(b, &mut k, scope),
                Some(mut own) => {
                    // U_i^T (nu P(M) + w grad), from U_i^T P(M) = U_i^T M - K_M, which is skew.
                    for (own, k) in own.iter_mut().zip(&k) {
                        b.axpby(Coef::Host(nu), k.as_ref(), weight, own.as_mut());
                    }
                    self.normal_part(b, &mut k, scope);
                    for (own, k) in own.iter_mut().zip(&k) {
                        b.axpby(Coef::Host(-nu), k.as_ref(), 1.0, own.as_mut());
                    }
                    self.correct(b, &own, &own, correction, scope);
                }
            }
            for (k, own) in k.iter_mut().zip(&gradient.k) {
                b.axpby(Coef::Host(weight), own.as_ref(), nu, k.as_mut());
            }
            let shares = self.shares();
            b.axpby(weight_of(shares[0]), egrad.left, nu, left.as_mut());
            b.axpby(weight_of(shares[1]), egrad.right, nu, right.as_mut());
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
