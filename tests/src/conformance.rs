//! The axioms of a Riemannian geometry, checked numerically on any combination of backend, geometry,
//! retraction and transport. Tangent vectors are drawn through `project`, never from the gradient
//! under test; slopes are measured on the dense matrix `W`, which knows no coordinates.

mod here;

use crate::{
    dense::Dense,
    registry::{Acceleration, Claims, Gauge, Invariance, Visitor},
};
use here::{Here, product, settled};
use lr_linalg::Linalg;
use lr_manifolds::{Factors, GradientRepair, Manifold, NormKind, Order, Retraction, Transport};
use lr_optim::{BankOptimizer, DescentConfig, Normalization, RiemannianDescent};
use rand::{Rng, SeedableRng, rngs::StdRng};

/// One check on one combination.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Backend, geometry, retraction, transport, shape.
    pub combination: String,
    /// The axiom.
    pub check: &'static str,
    /// What was measured.
    pub value: f64,
    /// What it had to stay below (or above, for slopes and expected failures).
    pub bound: f64,
    /// Whether it did.
    pub verdict: Verdict,
}

/// Outcome of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Passed,
    /// Not as it should be.
    Failed,
}

/// Runs all checks and collects the findings.
#[derive(Debug)]
pub struct Suite<'a, B> {
    /// Backend.
    pub b: &'a B,
    /// Name of the backend with its engine.
    pub backend: &'static str,
    /// Relative tolerance of identities: a few hundred roundings.
    pub tolerance: f64,
    /// Everything checked.
    pub findings: Vec<Finding>,
}

/// A random point: blockwise orthonormal factors, or these times well-conditioned matrices.
pub fn random_point<B: Linalg, M: Manifold<B>>(b: &B, m: &M, gauge: Gauge, rng: &mut StdRng) -> Factors<B> {
    let g = m.grid();
    let mut side = |blocks: &lr_manifolds::Blocks| {
        let data: Vec<f64> = blocks
            .ranges()
            .flat_map(|rows| {
                let height = rows.len();
                let block = Dense::random(height.max(g.rank), g.rank, rng).orthonormalized();
                block.data[..height * g.rank].to_vec()
            })
            .collect();
        let q = Dense { rows: blocks.total(), cols: g.rank, data };
        match gauge {
            Gauge::Orthogonal => q,
            Gauge::General => q.times(&well_conditioned(g.rank, rng)),
        }
    };
    let (left, right) = (side(&g.left), side(&g.right));
    Factors { left: left.upload(b), right: right.upload(b) }
}

fn well_conditioned(r: usize, rng: &mut StdRng) -> Dense {
    Dense::from_fn(r, r, |i, j| if i == j { 1.5 } else { 0.0 } + 0.4 / r as f64 * rng.random_range(-1.0..1.0))
}

/// Exponent `p` of `error ~ t^p` between two step lengths; infinite when both are at rounding level.
fn slope(errors: [f64; 2], ratio: f64, floor: f64) -> f64 {
    if errors[1] < floor { f64::INFINITY } else { (errors[0] / errors[1]).ln() / ratio.ln() }
}

impl<B: Linalg> Suite<'_, B> {
    fn below(&mut self, combination: &str, check: &'static str, value: f64, bound: f64) {
        let verdict = if value <= bound { Verdict::Passed } else { Verdict::Failed };
        self.findings.push(Finding { combination: combination.to_owned(), check, value, bound, verdict });
    }

    fn above(&mut self, combination: &str, check: &'static str, value: f64, bound: f64) {
        let verdict = if value >= bound { Verdict::Passed } else { Verdict::Failed };
        self.findings.push(Finding { combination: combination.to_owned(), check, value, bound, verdict });
    }

    fn tangents<M: Manifold<B>>(&mut self, name: &str, here: &Here<'_, B, M>, rng: &mut StdRng) {
        let (u, v) = (here.random_tangent(rng), here.random_tangent(rng));
        let again = here.coordinates(&here.projected(&v)).relative_error(&here.coordinates(&v));
        self.below(name, "project is the identity on tangents", again, self.tolerance);

        let columns: Vec<Dense> =
            (0..here.m.dim() + 3).map(|_| here.ambient(&here.random_tangent(rng))).collect();
        let span = Dense::from_fn(columns[0].data.len(), columns.len(), |i, j| columns[j].data[i]);
        let rank = span.rank(10.0 * self.tolerance) as f64;
        self.below(name, "rank of random tangents = dim", (rank - here.m.dim() as f64).abs(), 0.0);

        let (left, right) = (here.inner(&u, &v), here.inner(&v, &u));
        self.below(
            name,
            "the metric is symmetric",
            (left - right).abs() / left.abs().max(1.0),
            self.tolerance,
        );
        let square = here.inner(&v, &v).sqrt();
        let norm = here.norm(&v, NormKind::Metric);
        self.below(name, "norm^2 = <v, v>", (norm - square).abs() / square, self.tolerance);
        if here.m.has_norm(NormKind::Spectral) {
            let spectral = here.norm(&v, NormKind::Spectral);
            let dense = spectral_norm(&here.ambient(&v));
            self.below(name, "spectral norm of the ambient tangent", (spectral - dense).abs() / dense, 1e-3);
        }

        let g = here.m.grid();
        let gw = Dense::random(g.left.total(), g.right.total(), rng);
        let rgrad = here.rgrad(&gw);
        let residual = here.coordinates(&here.projected(&rgrad)).relative_error(&here.coordinates(&rgrad));
        self.below(name, "the gradient is tangent", residual, self.tolerance);
        let (riesz, direct) = (here.inner(&rgrad, &v), gw.dot(&here.ambient(&v)));
        let scale = gw.norm() * here.ambient(&v).norm();
        self.below(name, "Riesz: <rgrad, v> = <G_W, dW(v)>", (riesz - direct).abs() / scale, self.tolerance);
    }

    /// Consistency of gradients (paper B.4): consistent pairs pass unchanged, others become tangent, and in
    /// the embedded geometries the least-squares repair leaves a residual orthogonal to every pulled-back
    /// tangent.
    fn consistency<M: Manifold<B>>(&mut self, name: &str, here: &Here<'_, B, M>, rng: &mut StdRng) {
        let g = here.m.grid();
        let gw = Dense::random(g.left.total(), g.right.total(), rng);
        let (sane, plain) = (here.pulled_back(&gw), here.rgrad(&gw));
        let wild = Factors {
            left: Dense::random(g.left.total(), g.rank, rng).upload(self.b),
            right: Dense::random(g.right.total(), g.rank, rng).upload(self.b),
        };
        let defect = here.consistency_defect(&sane);
        self.below(name, "consistent gradients have no defect", defect, self.tolerance);
        // Skew 1 x 1 matrices are zero: gradients of partial isometries of rank 1 are always consistent.
        if g.rank > 1 {
            self.above(name, "inconsistent gradients have one", here.consistency_defect(&wild), 0.05);
        }
        for repair in [GradientRepair::Projection, GradientRepair::LeastSquares] {
            let kept = here.coordinates(&here.consistent(repair, &sane));
            let change = kept.relative_error(&here.coordinates(&plain));
            self.below(name, "repairs leave consistent gradients", change, 3.0 * self.tolerance);
            let mended = here.consistent(repair, &wild);
            let again = here.coordinates(&here.projected(&mended));
            let residual = again.relative_error(&here.coordinates(&mended));
            self.below(name, "repaired gradients are tangent", residual, 3.0 * self.tolerance);
        }
        if !here.m.has_norm(NormKind::Spectral) {
            return;
        }
        let fitted = here.pulled_back(&here.ambient(&here.consistent(GradientRepair::LeastSquares, &wild)));
        let residual = here.coordinates(&here.combination(1.0, &fitted, -1.0, &wild));
        let v = here.coordinates(&here.pulled_back(&here.ambient(&here.random_tangent(rng))));
        let cosine = residual.dot(&v).abs() / (here.coordinates(&wild).norm() * v.norm());
        self.below(name, "least squares leave an orthogonal residual", cosine, 3.0 * self.tolerance);
    }

    fn retraction<M: Manifold<B>, R: Retraction<B, M>>(
        &mut self,
        name: &str,
        here: &Here<'_, B, M>,
        r: &R,
        space: Acceleration,
        rng: &mut StdRng,
    ) {
        let v = here.random_tangent(rng);
        let v = here.combination(1.0 / here.norm(&v, NormKind::Metric), &v, 0.0, &v);
        let (w, dw) = (here.w(), here.ambient(&v));
        let still = here.retract(r, &v, 0.0).w().relative_error(&w);
        self.below(name, "R(0) = x", still, self.tolerance);
        let zero = here.zeros();
        let zero_move = here.retract(r, &zero, 1.0).w().relative_error(&w);
        self.below(name, "a zero tangent does not move", zero_move, self.tolerance);

        let steps = [0.08, 0.02];
        let ends = steps.map(|t| (t, here.retract(r, &v, t)));
        let moved = ends.each_ref().map(|(t, end)| end.w().plus(-1.0, &w).plus(-t, &dw));
        let floor = 10.0 * self.tolerance;
        let first = slope([moved[0].norm(), moved[1].norm()], steps[0] / steps[1], floor);
        self.above(name, "R'(0) = v: slope 2", first, 1.8);
        if r.order(here.m) == Order::Second && space != Acceleration::Own {
            let acceleration = match space {
                Acceleration::Ambient | Acceleration::Own => moved.map(|e| here.tangential_part(&e)),
                Acceleration::Lifted | Acceleration::Canonical => ends.each_ref().map(|(t, end)| {
                    let curve = here.combination(1.0, &end.x, -1.0, &here.x);
                    let mut rest = here.combination(1.0, &curve, -t, &v);
                    if space == Acceleration::Canonical {
                        rest = here.combination(1.0, &rest, -0.5 * t * t, &here.canonical_acceleration(&v));
                    }
                    here.coordinates(&here.projected(&rest)).norm()
                }),
            };
            let second = slope(acceleration, steps[0] / steps[1], floor);
            self.above(name, "second order: slope 3", second, 2.7);
        }
    }

    fn transports<M: Manifold<B>, R: Retraction<B, M>, T: Transport<B, M>>(
        &mut self,
        name: &str,
        here: &Here<'_, B, M>,
        r: &R,
        t: &T,
        rng: &mut StdRng,
    ) {
        let (u, v, step) = (here.random_tangent(rng), here.random_tangent(rng), here.random_tangent(rng));
        let length = 0.3 / here.norm(&step, NormKind::Metric);
        let to = here.retract(r, &step, length);
        let (tu, tv) = (here.transported(t, &to, &u), here.transported(t, &to, &v));
        let landed = to.coordinates(&to.projected(&tv)).relative_error(&to.coordinates(&tv));
        self.below(name, "transport lands in the tangent space", landed, self.tolerance);
        let mixed = here.transported(t, &to, &here.combination(2.0, &u, -0.5, &v));
        let linear =
            to.coordinates(&mixed).relative_error(&to.coordinates(&to.combination(2.0, &tu, -0.5, &tv)));
        self.below(name, "transport is linear", linear, self.tolerance);
        let stay = here.retract(r, &step, 0.0);
        let same = stay.ambient(&here.transported(t, &stay, &v)).relative_error(&here.ambient(&v));
        self.below(name, "transport at zero is the identity", same, 3.0 * self.tolerance);
        // A projection never lengthens in the metric it is orthogonal in, and loses little nearby.
        let near = here.retract(r, &step, 0.01 * length);
        let change = near.ambient(&here.transported(t, &near, &v)).plus(-1.0, &here.ambient(&v)).norm();
        self.below(name, "transport is continuous", change / here.ambient(&v).norm(), 0.1);
    }

    /// Three optimizer steps from two factorizations of one `W`.
    fn gauge<M: Manifold<B>, R: Retraction<B, M>, T: Transport<B, M>>(
        &mut self,
        name: &str,
        (m, r, t): (&M, &R, &T),
        claims: Claims,
        x: &Factors<B>,
        rng: &mut StdRng,
    ) {
        let b = self.b;
        let rank = m.grid().rank;
        let change = match claims.gauge {
            Gauge::General => well_conditioned(rank, rng),
            Gauge::Orthogonal => Dense::random(rank, rank, rng).orthonormalized(),
        };
        let inverse_transposed = inverse(&change).t();
        let (left, right) = (Dense::download(b, x.left.as_ref()), Dense::download(b, x.right.as_ref()));
        let starts = [(left.clone(), right.clone()), (left.times(&change), right.times(&inverse_transposed))];
        let gws: Vec<Dense> = (0..3).map(|_| Dense::random(left.rows, right.rows, rng)).collect();
        let ends = starts.map(|(left, right)| {
            let mut x = Factors { left: left.upload(b), right: right.upload(b) };
            let config = DescentConfig {
                momentum: 0.5,
                normalization: Normalization::by(NormKind::Metric),
                ..DescentConfig::default()
            };
            let mut optimizer =
                RiemannianDescent::new(b, m.clone(), r.clone(), t.clone(), config, 1).expect("optimizer");
            for gw in &gws {
                let (left, right) =
                    (Dense::download(b, x.left.as_ref()), Dense::download(b, x.right.as_ref()));
                let egrad =
                    Factors { left: gw.times(&right).upload(b), right: gw.t().times(&left).upload(b) };
                optimizer.step(b, x.as_mut(), egrad.as_ref(), 0.2);
                let measures = optimizer.measure(b, x.as_ref(), egrad.as_ref()).expect("device");
                assert_eq!((measures.broken, measures.repairs.safeguards), (None, 0), "{name}");
            }
            product(b, &x)
        });
        let difference = ends[1].relative_error(&ends[0]);
        match claims.invariance {
            Invariance::Holds => {
                self.below(name, "steps do not depend on the factors", difference, 10.0 * self.tolerance)
            }
            // r = 1: the gauge group of orthonormal factors is only a sign, which QR respects.
            Invariance::Fails if rank > 1 => {
                self.above(name, "steps depend on the factors (QR)", difference, 1e-4)
            }
            Invariance::Fails => {}
        }
    }
}

fn spectral_norm(a: &Dense) -> f64 {
    let gram = a.t().times(a);
    let mut v = Dense::from_fn(a.cols, 1, |i, _| 1.0 + 0.1 * (i as f64).sin());
    for _ in 0..500 {
        let w = gram.times(&v);
        v = Dense::from_fn(w.rows, 1, |i, _| w.at(i, 0) / w.norm());
    }
    a.times(&v).norm()
}

fn inverse(a: &Dense) -> Dense {
    let n = a.rows;
    let mut work = Dense::from_fn(n, 2 * n, |i, j| if j < n { a.at(i, j) } else { f64::from(i == j - n) });
    for k in 0..n {
        let pivot =
            (k..n).max_by(|i, j| work.at(*i, k).abs().total_cmp(&work.at(*j, k).abs())).expect("rows");
        for j in 0..2 * n {
            work.data.swap(k * 2 * n + j, pivot * 2 * n + j);
        }
        let scale = work.at(k, k);
        (0..2 * n).for_each(|j| work.data[k * 2 * n + j] /= scale);
        for i in (0..n).filter(|i| *i != k) {
            let factor = work.at(i, k);
            (0..2 * n).for_each(|j| work.data[i * 2 * n + j] -= factor * work.data[k * 2 * n + j]);
        }
    }
    Dense::from_fn(n, n, |i, j| work.at(i, j + n))
}

impl<B: Linalg> Visitor<B> for Suite<'_, B> {
    fn visit<M, R, T>(&mut self, m: M, r: R, t: T, claims: Claims)
    where
        M: Manifold<B>,
        R: Retraction<B, M>,
        T: Transport<B, M>,
    {
        let g = m.grid();
        let heights = |blocks: &lr_manifolds::Blocks| {
            blocks.ranges().map(|rows| rows.len().to_string()).collect::<Vec<_>>().join("+")
        };
        let shape = format!("{}x{} r{}", heights(&g.left), heights(&g.right), g.rank);
        let name = format!("{} {} {} {} {shape}", self.backend, m.name(), r.name(), t.name());
        let mut rng = StdRng::seed_from_u64(7);
        let x = settled(self.b, &m, random_point(self.b, &m, claims.gauge, &mut rng));
        self.gauge(&name, (&m, &r, &t), claims, &x, &mut rng);
        let here = Here::new(self.b, &m, x);
        self.tangents(&name, &here, &mut rng);
        self.consistency(&name, &here, &mut rng);
        self.retraction(&name, &here, &r, claims.acceleration, &mut rng);
        self.transports(&name, &here, &r, &t, &mut rng);
    }
}
