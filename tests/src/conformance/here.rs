//! [`Here`]: a point with its frame, and the operations of its geometry as functions that return.

use crate::dense::Dense;
use lr_linalg::{Coef, Dims, Linalg, Mats, Scratch};
use lr_manifolds::{
    Base, Factors, GradientRepair, Health, HealthMut, Manifold, NormKind, Ray, Retraction, Transport,
};
use rand::rngs::StdRng;

/// A point, its frame, and the operations of its geometry on dense matrices.
pub(super) struct Here<'a, B: Linalg, M: Manifold<B>> {
    pub b: &'a B,
    pub m: &'a M,
    pub x: Factors<B>,
    frame: M::Frame,
}

fn scalar<B: Linalg>(b: &B) -> Mats<B> {
    Mats::zeros(b, Dims::scalars(1)).expect("memory")
}

fn value<B: Linalg>(b: &B, out: &Mats<B>) -> f64 {
    Dense::download(b, out.as_ref()).data[0]
}

/// Runs `work` with a fresh scope and health; panics when a factorization broke down.
fn with_health<B: Linalg, R>(b: &B, work: impl FnOnce(&lr_linalg::Scope<'_, B>, HealthMut<'_, B>) -> R) -> R {
    let mut health = Health::new(b, 1).expect("memory");
    let result = Scratch::new(b).expect("memory").scope(|s| work(s, health.as_mut()));
    assert_eq!(value(b, &health.breakdown), 0.0, "a factorization broke down");
    result
}

impl<'a, B: Linalg, M: Manifold<B>> Here<'a, B, M> {
    pub fn new(b: &'a B, m: &'a M, x: Factors<B>) -> Self {
        let mut frame = m.new_frame(b, 1).expect("memory");
        with_health(b, |s, health| m.factor(b, x.as_ref(), &mut frame, health, s));
        Self { b, m, x, frame }
    }

    pub fn base(&self) -> Base<'_, B, M> {
        Base { x: self.x.as_ref(), frame: &self.frame }
    }

    pub fn w(&self) -> Dense {
        product(self.b, &self.x)
    }

    pub fn zeros(&self) -> Factors<B> {
        Factors::zeros(self.b, self.m.grid(), 1).expect("memory")
    }

    pub fn projected(&self, v: &Factors<B>) -> Factors<B> {
        let mut out = self.zeros();
        out.as_mut().copy_from(self.b, v.as_ref());
        with_health(self.b, |s, _| self.m.project(self.b, self.base(), out.as_mut(), s));
        out
    }

    pub fn random_tangent(&self, rng: &mut StdRng) -> Factors<B> {
        let g = self.m.grid();
        let left = Dense::random(g.left.total(), g.rank, rng).upload(self.b);
        let right = Dense::random(g.right.total(), g.rank, rng).upload(self.b);
        self.projected(&Factors { left, right })
    }

    pub fn rgrad(&self, gw: &Dense) -> Factors<B> {
        let egrad = self.pulled_back(gw);
        let mut out = self.zeros();
        with_health(self.b, |s, _| {
            self.m.egrad_to_rgrad(self.b, self.base(), egrad.as_ref(), out.as_mut(), s);
        });
        out
    }

    pub fn inner(&self, u: &Factors<B>, v: &Factors<B>) -> f64 {
        let mut out = scalar(self.b);
        with_health(self.b, |s, _| {
            self.m.inner(self.b, self.base(), u.as_ref(), v.as_ref(), out.as_mut(), s);
        });
        value(self.b, &out)
    }

    pub fn norm(&self, v: &Factors<B>, kind: NormKind) -> f64 {
        let mut out = scalar(self.b);
        let mut direction = self.m.new_direction(self.b, 1).expect("memory");
        with_health(self.b, |s, mut health| {
            self.m.aim(self.b, self.base(), v.as_ref(), &mut direction, health.as_mut(), s);
            let ray = Ray { at: self.base(), tangent: v.as_ref(), direction: &direction };
            self.m.norm(self.b, ray, kind, out.as_mut(), health, s);
        });
        value(self.b, &out)
    }

    pub fn ambient(&self, v: &Factors<B>) -> Dense {
        let g = self.m.grid();
        let mut out = Mats::zeros(self.b, Dims::new(1, g.left.total(), g.right.total())).expect("memory");
        with_health(self.b, |s, _| {
            self.m.to_ambient(self.b, self.base(), v.as_ref(), out.as_mut(), s);
        });
        Dense::download(self.b, out.as_ref())
    }

    pub fn retract<R: Retraction<B, M>>(&self, r: &R, v: &Factors<B>, t: f64) -> Here<'a, B, M> {
        let (mut x, mut frame) = (self.zeros(), self.m.new_frame(self.b, 1).expect("memory"));
        let mut direction = self.m.new_direction(self.b, 1).expect("memory");
        with_health(self.b, |s, mut health| {
            self.m.aim(self.b, self.base(), v.as_ref(), &mut direction, health.as_mut(), s);
            let ray = Ray { at: self.base(), tangent: v.as_ref(), direction: &direction };
            r.retract(self.b, self.m, ray, Coef::Host(t), x.as_mut(), &mut frame, health, s);
        });
        Here { b: self.b, m: self.m, x, frame }
    }

    pub fn transported<T: Transport<B, M>>(&self, t: &T, to: &Here<'_, B, M>, v: &Factors<B>) -> Factors<B> {
        let mut out = self.zeros();
        out.as_mut().copy_from(self.b, v.as_ref());
        with_health(self.b, |s, _| {
            t.transport(
                self.b,
                self.m,
                self.base(),
                Base { x: to.x.as_ref(), frame: &to.frame },
                out.as_mut(),
                s,
            );
        });
        out
    }

    pub fn combination(&self, a: f64, u: &Factors<B>, c: f64, v: &Factors<B>) -> Factors<B> {
        let mut out = self.zeros();
        out.as_mut().axpby(self.b, Coef::Host(a), u.as_ref(), 0.0);
        out.as_mut().axpby(self.b, Coef::Host(c), v.as_ref(), 1.0);
        out
    }

    pub fn coordinates(&self, v: &Factors<B>) -> Dense {
        let (left, right) =
            (Dense::download(self.b, v.left.as_ref()), Dense::download(self.b, v.right.as_ref()));
        Dense { rows: left.rows + right.rows, cols: left.cols, data: [left.data, right.data].concat() }
    }
}

pub(super) fn product<B: Linalg>(b: &B, x: &Factors<B>) -> Dense {
    Dense::download(b, x.left.as_ref()).times(&Dense::download(b, x.right.as_ref()).t())
}

impl<B: Linalg, M: Manifold<B>> Here<'_, B, M> {
    /// `X Omega` of every factor, `Omega = U^T M`, `X = M - U Omega`.
    pub fn canonical_acceleration(&self, v: &Factors<B>) -> Factors<B> {
        let g = self.m.grid();
        let side = |blocks: &lr_manifolds::Blocks, x: &Mats<B>, v: &Mats<B>| {
            let (x, v) = (Dense::download(self.b, x.as_ref()), Dense::download(self.b, v.as_ref()));
            let rows = |a: &Dense, rows: std::ops::Range<usize>| {
                Dense::from_fn(rows.len(), a.cols, |i, j| a.at(rows.start + i, j))
            };
            let data: Vec<f64> = blocks
                .ranges()
                .flat_map(|range| {
                    let (u, m) = (rows(&x, range.clone()), rows(&v, range));
                    let omega = u.t().times(&m);
                    m.plus(-1.0, &u.times(&omega)).times(&omega).data
                })
                .collect();
            Dense { rows: v.rows, cols: v.cols, data }.upload(self.b)
        };
        Factors { left: side(&g.left, &self.x.left, &v.left), right: side(&g.right, &self.x.right, &v.right) }
    }

    pub fn consistent(&self, repair: GradientRepair, egrad: &Factors<B>) -> Factors<B> {
        let mut out = self.zeros();
        with_health(self.b, |s, health| {
            self.m.egrad_to_rgrad(self.b, self.base(), egrad.as_ref(), out.as_mut(), s);
            self.m.make_consistent(self.b, self.base(), repair, out.as_mut(), health, s);
        });
        out
    }

    pub fn consistency_defect(&self, egrad: &Factors<B>) -> f64 {
        let mut out = scalar(self.b);
        with_health(self.b, |s, _| {
            self.m.consistency_defect(self.b, self.base(), egrad.as_ref(), out.as_mut(), s);
        });
        value(self.b, &out)
    }

    /// `(G B, G^T A)` of a dense `G`.
    pub fn pulled_back(&self, g: &Dense) -> Factors<B> {
        let (left, right) =
            (Dense::download(self.b, self.x.left.as_ref()), Dense::download(self.b, self.x.right.as_ref()));
        Factors { left: g.times(&right).upload(self.b), right: g.t().times(&left).upload(self.b) }
    }

    /// Norm of the Riemannian gradient of `<error, W>`: what of `error` lies along the manifold.
    pub fn tangential_part(&self, error: &Dense) -> f64 {
        let g = self.rgrad(error);
        self.norm(&g, NormKind::Metric)
    }
}

/// The point itself, or what the geometry makes of it when it restores orthonormal factors and constraints.
pub(super) fn settled<B: Linalg, M: Manifold<B>>(b: &B, m: &M, mut x: Factors<B>) -> Factors<B> {
    let mut frame = m.new_frame(b, 1).expect("memory");
    with_health(b, |s, mut health| {
        m.factor(b, x.as_ref(), &mut frame, health.as_mut(), s);
        m.reorthogonalize(b, x.as_mut(), &mut frame, health, s);
    });
    x
}
