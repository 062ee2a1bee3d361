//! The neighbours of the paper's method on dense matrices: rank guards, normed descent, retractions, compared
//! with what their definitions say of singular values.

use lr_linalg::{Coef, Cpu, Dims, Factor, Linalg, Mats, Reference, Scratch};
use lr_manifolds::{
    Base, CholeskySafeguard, Factors, FixedRankEmbedded, FixedRankQuotient, Grid, Health, HealthMut,
    IsometryMetric, IsometrySvdRetraction, Manifold, NormKind, OrthographicRetraction,
    PartialIsometryEmbedded, PartialIsometryLifted, Ray, Retraction, Schatten, StiefelRetraction,
    SvdRetraction,
};
use lr_tests::{conformance::random_point, dense::Dense, registry::Gauge};
use rand::{SeedableRng, rngs::StdRng};

type R = Reference<f64>;

/// Singular values, descending, of a matrix of any shape.
fn singular_values(a: &Dense) -> Vec<f64> {
    let (b, tall) = (R::new(), if a.rows >= a.cols { a.clone() } else { a.t() });
    let mut u = tall.upload(&b);
    let mut s = Mats::zeros(&b, Dims::new(1, 1, tall.cols)).unwrap();
    let mut v = Mats::zeros(&b, Dims::square(1, tall.cols)).unwrap();
    let mut status = Mats::zeros(&b, Dims::scalars(1)).unwrap();
    b.svd(u.as_mut(), s.as_mut(), v.as_mut(), status.as_mut());
    s.to_vec(&b).unwrap()
}

fn product<B: Linalg>(b: &B, x: &Factors<B>) -> Dense {
    Dense::download(b, x.left.as_ref()).times(&Dense::download(b, x.right.as_ref()).t())
}

/// A point with its frame, and what the checks ask of its geometry.
struct Here<B: Linalg, M: Manifold<B>> {
    b: B,
    m: M,
    x: Factors<B>,
    frame: M::Frame,
}

impl<B: Linalg, M: Manifold<B>> Here<B, M> {
    fn new(b: B, m: M, gauge: Gauge, rng: &mut StdRng) -> Self {
        let x = random_point(&b, &m, gauge, rng);
        let mut frame = m.new_frame(&b, 1).unwrap();
        with_health(&b, |s, health| m.factor(&b, x.as_ref(), &mut frame, health, s));
        Self { b, m, x, frame }
    }

    fn base(&self) -> Base<'_, B, M> {
        Base { x: self.x.as_ref(), frame: &self.frame }
    }

    fn random_tangent(&self, rng: &mut StdRng) -> Factors<B> {
        let g = self.m.grid();
        let mut v = Factors {
            left: Dense::random(g.left.total(), g.rank, rng).upload(&self.b),
            right: Dense::random(g.right.total(), g.rank, rng).upload(&self.b),
        };
        with_health(&self.b, |s, _| self.m.project(&self.b, self.base(), v.as_mut(), s));
        v
    }

    fn ambient(&self, v: &Factors<B>) -> Dense {
        let g = self.m.grid();
        let mut out = Mats::zeros(&self.b, Dims::new(1, g.left.total(), g.right.total())).unwrap();
        with_health(&self.b, |s, _| self.m.to_ambient(&self.b, self.base(), v.as_ref(), out.as_mut(), s));
        Dense::download(&self.b, out.as_ref())
    }

    fn hazard(&self, v: &Factors<B>) -> f64 {
        let mut out = Mats::zeros(&self.b, Dims::scalars(1)).unwrap();
        self.along(v, |ray, s, health| self.m.hazard(&self.b, ray, out.as_mut(), health, s));
        Dense::download(&self.b, out.as_ref()).data[0]
    }

    fn rgrad(&self, gw: &Dense) -> Factors<B> {
        let factors = [&self.x.left, &self.x.right].map(|x| Dense::download(&self.b, x.as_ref()));
        let egrad = Factors {
            left: gw.times(&factors[1]).upload(&self.b),
            right: gw.t().times(&factors[0]).upload(&self.b),
        };
        let mut out = Factors::zeros(&self.b, self.m.grid(), 1).unwrap();
        with_health(&self.b, |s, _| {
            self.m.egrad_to_rgrad(&self.b, self.base(), egrad.as_ref(), out.as_mut(), s);
        });
        out
    }

    fn norm(&self, v: &Factors<B>, kind: NormKind) -> f64 {
        let mut out = Mats::zeros(&self.b, Dims::scalars(1)).unwrap();
        self.along(v, |ray, s, health| self.m.norm(&self.b, ray, kind, out.as_mut(), health, s));
        Dense::download(&self.b, out.as_ref()).data[0]
    }

    fn retract<T: Retraction<B, M>>(&self, r: &T, v: &Factors<B>, t: f64) -> Factors<B> {
        let mut to = Factors::zeros(&self.b, self.m.grid(), 1).unwrap();
        let mut frame = self.m.new_frame(&self.b, 1).unwrap();
        self.along(v, |ray, s, health| {
            r.retract(&self.b, &self.m, ray, Coef::Host(t), to.as_mut(), &mut frame, health, s);
        });
        to
    }

    fn along(
        &self,
        v: &Factors<B>,
        work: impl FnOnce(Ray<'_, B, M>, &lr_linalg::Scope<'_, B>, HealthMut<'_, B>),
    ) {
        let mut direction = self.m.new_direction(&self.b, 1).unwrap();
        with_health(&self.b, |s, mut health| {
            self.m.aim(&self.b, self.base(), v.as_ref(), &mut direction, health.as_mut(), s);
            work(Ray { at: self.base(), tangent: v.as_ref(), direction: &direction }, s, health);
        });
    }

    fn steepest(&self, norm: Schatten, v: &Factors<B>) -> Factors<B> {
        let mut t = Factors::zeros(&self.b, self.m.grid(), 1).unwrap();
        t.as_mut().copy_from(&self.b, v.as_ref());
        let mut direction = self.m.new_direction(&self.b, 1).unwrap();
        with_health(&self.b, |s, health| {
            self.m.steepest(&self.b, self.base(), norm, t.as_mut(), &mut direction, health, s);
        });
        t
    }
}

fn with_health<B: Linalg>(b: &B, work: impl FnOnce(&lr_linalg::Scope<'_, B>, HealthMut<'_, B>)) {
    let mut health = Health::new(b, 1).unwrap();
    Scratch::new(b).unwrap().scope(|s| work(s, health.as_mut()));
    assert_eq!(Dense::download(b, health.breakdown.as_ref()).data, [0.0], "a factorization broke down");
}

fn block(w: &Dense, g: &Grid, i: usize, j: usize) -> Dense {
    let (rows, cols) = (g.left.ranges().nth(i).unwrap(), g.right.ranges().nth(j).unwrap());
    Dense::from_fn(rows.len(), cols.len(), |a, c| w.at(rows.start + a, cols.start + c))
}

fn grids() -> [Grid; 3] {
    [Grid::singleton(9, 7, 3), Grid::new(&[5, 5], &[4, 4, 4], 3), Grid::new(&[4, 6], &[5, 3], 3)]
}

#[test]
fn hazards_are_those_of_the_dense_matrices() {
    for g in grids() {
        let mut rng = StdRng::seed_from_u64(31);
        let m = FixedRankEmbedded::new(g.clone()).unwrap();
        let here = Here::new(Cpu::<f64>::new(), m, Gauge::General, &mut rng);
        let (v, w, r) = (here.random_tangent(&mut rng), product(&here.b, &here.x), g.rank);
        let whole = singular_values(&w)[r - 1];
        let blocks = (0..g.left.count()).flat_map(|i| (0..g.right.count()).map(move |j| (i, j)));
        let least =
            blocks.map(|(i, j)| singular_values(&block(&w, &g, i, j))[r - 1]).fold(f64::MAX, f64::min);
        let expected = (1.0 / least + 1.0 / whole) * singular_values(&here.ambient(&v))[0];
        let found = here.hazard(&v);
        assert!((found / expected - 1.0).abs() < 1e-10, "embedded {g:?}: {found} {expected}");

        let m = FixedRankQuotient::new(g.clone(), CholeskySafeguard::Off).unwrap();
        let here = Here::new(Cpu::<f64>::new(), m, Gauge::General, &mut rng);
        let v = here.random_tangent(&mut rng);
        // |A_i^+ T_i|_2 by the definition: the pseudo-inverse from the singular value decomposition is that
        // of the normal equations, here with the inverse of a 3 x 3 matrix through its adjugate.
        let mut expected = 0.0f64;
        for (blocks, x, v) in [(&g.left, &here.x.left, &v.left), (&g.right, &here.x.right, &v.right)] {
            let (x, v) = (Dense::download(&here.b, x.as_ref()), Dense::download(&here.b, v.as_ref()));
            for rows in blocks.ranges() {
                let part = |a: &Dense| Dense::from_fn(rows.len(), r, |i, j| a.at(rows.start + i, j));
                let (a, t) = (part(&x), part(&v));
                let pseudo = inverse3(&a.t().times(&a)).times(&a.t());
                expected = expected.max(singular_values(&pseudo.times(&t))[0]);
            }
        }
        let found = here.hazard(&v);
        assert!((found / expected - 1.0).abs() < 1e-9, "quotient {g:?}: {found} {expected}");
    }
}

fn inverse3(a: &Dense) -> Dense {
    let minor = |i: usize, j: usize| {
        let (p, q) = ((i + 1) % 3, (i + 2) % 3);
        let (s, t) = ((j + 1) % 3, (j + 2) % 3);
        a.at(p, s) * a.at(q, t) - a.at(p, t) * a.at(q, s)
    };
    let determinant: f64 = (0..3).map(|j| a.at(0, j) * minor(0, j)).sum();
    Dense::from_fn(3, 3, |i, j| minor(j, i) / determinant)
}

/// The sharper condition for partial isometries: just inside it the retracted matrix is the nearest partial
/// isometry to a matrix of rank r, and the condition's two sides agree with the dense ones.
#[test]
fn the_isometry_hazard_is_the_sharper_condition() {
    let mut rng = StdRng::seed_from_u64(37);
    for r in [2, 3, 4] {
        let m = PartialIsometryEmbedded::new(Grid::singleton(9, 8, r), StiefelRetraction::Polar).unwrap();
        let here = Here::new(R::new(), m, Gauge::Orthogonal, &mut rng);
        for _ in 0..5 {
            let v = here.random_tangent(&mut rng);
            let (hazard, t2) = (here.hazard(&v), singular_values(&here.ambient(&v))[0]);
            assert!(hazard <= t2 + 1e-12, "the plain condition 2 |t v|_2 < 1 is never the weaker one");
            // K, E, F of the tangent matrix, and the two sides at 0.99 of the safe length.
            let (u, w) = (
                Dense::download(&here.b, here.x.left.as_ref()),
                Dense::download(&here.b, here.x.right.as_ref()),
            );
            let xi = here.ambient(&v);
            let k = u.t().times(&xi).times(&w);
            let e = xi.times(&w).plus(-1.0, &u.times(&k));
            let f = xi.t().times(&u).plus(-1.0, &w.times(&k.t()));
            if hazard == 0.0 {
                continue;
            }
            let t = 0.99 / hazard;
            let shifted = Dense::from_fn(r, r, |i, j| t * k.at(i, j) + f64::from(i == j));
            let sigma = singular_values(&shifted)[r - 1];
            // |E (I + tK)^{-1} F^T| <= |E| |F| / sigma.
            let bound = t * t * singular_values(&e)[0] * singular_values(&f)[0] / sigma;
            assert!(bound < sigma, "{bound} {sigma}");
            let beyond = (t / 0.99 * 1.01).powi(2) * singular_values(&e)[0] * singular_values(&f)[0];
            let kappa = singular_values(&k)[r - 1];
            assert!(beyond > 1.0 + (t / 0.99 * 1.01 * kappa).powi(2), "the hazard is sharp for this bound");
            let end = product(&here.b, &here.retract(&IsometrySvdRetraction, &v, t));
            let values = singular_values(&end);
            assert!(values[..r].iter().all(|s| (s - 1.0).abs() < 1e-12) && values[r] < 1e-12, "{values:?}");
        }
    }
    // In factor space every step is safe.
    for metric in [IsometryMetric::Quotient, IsometryMetric::Canonical, IsometryMetric::Embedded] {
        let m = PartialIsometryLifted::new(Grid::new(&[5, 5], &[6], 3), metric).unwrap();
        let here = Here::new(R::new(), m, Gauge::Orthogonal, &mut rng);
        assert_eq!(here.hazard(&here.random_tangent(&mut rng)), 0.0);
    }
}

/// Within the safe length the rank stays, in each block and in the whole.
#[test]
fn safe_steps_keep_the_rank() {
    let mut rng = StdRng::seed_from_u64(41);
    for g in grids() {
        let m = FixedRankEmbedded::new(g.clone()).unwrap();
        let here = Here::new(R::new(), m, Gauge::General, &mut rng);
        for _ in 0..5 {
            let v = here.random_tangent(&mut rng);
            let w =
                product(&here.b, &here.retract(&SvdRetraction { floor: 0.0 }, &v, -0.99 / here.hazard(&v)));
            for i in 0..g.left.count() {
                for j in 0..g.right.count() {
                    assert!(singular_values(&block(&w, &g, i, j))[g.rank - 1] > 1e-6);
                }
            }
        }
    }
}

/// Normed descent with the nuclear norm: a tangent matrix of rank 1 and norm 1, whose inner product with the
/// gradient is the largest singular value of `Xi V` or `Xi^T U`, which no other tangent exceeds.
#[test]
fn schatten_one_directions_are_leading_singular_pairs() {
    let mut rng = StdRng::seed_from_u64(43);
    let mut sides = [0, 0];
    for trial in 0..12 {
        let g = grids()[trial % 3].clone();
        let here = Here::new(R::new(), FixedRankEmbedded::new(g).unwrap(), Gauge::General, &mut rng);
        let v = here.random_tangent(&mut rng);
        let t = here.steepest(Schatten::One, &v);
        let (xi, dense) = (here.ambient(&v), here.ambient(&t));
        let values = singular_values(&dense);
        assert!((values[0] - 1.0).abs() < 1e-12 && values[1] < 1e-12, "{values:?}");
        let mut projected = here.steepest(Schatten::One, &v);
        with_health(&here.b, |s, _| here.m.project(&here.b, here.base(), projected.as_mut(), s));
        assert!(here.ambient(&projected).relative_error(&dense) < 1e-12, "tangent");
        let [c, d] =
            [&v.left, &v.right].map(|side| singular_values(&Dense::download(&here.b, side.as_ref()))[0]);
        sides[usize::from(d > c)] += 1;
        assert!((xi.dot(&dense) / c.max(d) - 1.0).abs() < 1e-12);
        for _ in 0..20 {
            let other = here.ambient(&here.random_tangent(&mut rng));
            let nuclear: f64 = singular_values(&other).iter().sum();
            assert!(xi.dot(&other) / nuclear <= xi.dot(&dense) + 1e-12);
        }
    }
    assert!(sides[0] > 0 && sides[1] > 0, "both sides led at times: {sides:?}");
}

/// Normed descent with the spectral norm: tangent, of spectral norm 1, and within a few percent of the bound
/// that any normal completion gives.
#[test]
fn schatten_infinity_directions_are_nearly_optimal() {
    let mut rng = StdRng::seed_from_u64(47);
    for trial in 0..9 {
        let g = grids()[trial % 3].clone();
        let here = Here::new(R::new(), FixedRankEmbedded::new(g).unwrap(), Gauge::General, &mut rng);
        let v = here.random_tangent(&mut rng);
        let xi = here.ambient(&v);
        let t = here.ambient(&here.steepest(Schatten::Infinity, &v));
        assert!((singular_values(&t)[0] - 1.0).abs() < 1e-10);
        let reached = xi.dot(&t);
        // Duality: <Xi, T> <= |Xi + N|_* for every normal N.
        let bases =
            [&here.x.left, &here.x.right].map(|x| Dense::download(&here.b, x.as_ref()).orthonormalized());
        let bound = least_completion(&xi, &bases);
        assert!(reached <= bound * (1.0 + 1e-9), "{reached} exceeds the bound {bound}");
        assert!(reached >= 0.95 * bound, "{reached} of {bound}");
    }
}

/// The least `|Xi + N|_*` that subgradient steps find over the normal `N = (I - U U^T) N (I - V V^T)`.
fn least_completion(xi: &Dense, [u, v]: &[Dense; 2]) -> f64 {
    let normal = |n: &Dense| {
        let left = n.plus(-1.0, &u.times(&u.t().times(n)));
        left.plus(-1.0, &left.times(v).times(&v.t()))
    };
    let nuclear = |a: &Dense| singular_values(a).iter().sum::<f64>();
    let (mut total, mut best) = (xi.clone(), nuclear(xi));
    for step in 0..400 {
        total = total.plus(-0.5 / (1.0 + 0.05 * f64::from(step)), &normal(&polar(&total)));
        best = best.min(nuclear(&total));
    }
    best
}

/// `U V^T` of the singular value decomposition, without the directions of vanishing singular values.
fn polar(a: &Dense) -> Dense {
    if a.rows < a.cols {
        return polar(&a.t()).t();
    }
    let b = R::new();
    let mut u = a.upload(&b);
    let mut s = Mats::zeros(&b, Dims::new(1, 1, a.cols)).unwrap();
    let mut v = Mats::zeros(&b, Dims::square(1, a.cols)).unwrap();
    let mut status = Mats::zeros(&b, Dims::scalars(1)).unwrap();
    b.svd(u.as_mut(), s.as_mut(), v.as_mut(), status.as_mut());
    let (u, s, v) = (Dense::download(&b, u.as_ref()), s.to_vec(&b).unwrap(), Dense::download(&b, v.as_ref()));
    let kept = Dense::from_fn(a.rows, a.cols, |i, j| if s[j] > 1e-10 * s[0] { u.at(i, j) } else { 0.0 });
    kept.times(&v.t())
}

#[test]
fn zero_has_no_steepest_direction() {
    let mut rng = StdRng::seed_from_u64(53);
    let here =
        Here::new(R::new(), FixedRankEmbedded::new(grids()[0].clone()).unwrap(), Gauge::General, &mut rng);
    let zero = Factors::zeros(&here.b, &grids()[0], 1).unwrap();
    for norm in [Schatten::One, Schatten::Infinity] {
        assert_eq!(here.ambient(&here.steepest(norm, &zero)).norm(), 0.0, "{norm:?}");
    }
}

/// The orthographic retraction ends above `W + t Xi` in the normal space at `W`, in rank r.
#[test]
fn the_orthographic_retraction_adds_a_normal_matrix() {
    let mut rng = StdRng::seed_from_u64(59);
    for g in grids() {
        let here = Here::new(
            Cpu::<f64>::new(),
            FixedRankEmbedded::new(g.clone()).unwrap(),
            Gauge::General,
            &mut rng,
        );
        let (v, w) = (here.random_tangent(&mut rng), product(&here.b, &here.x));
        let t = 0.3 / here.hazard(&v);
        let end = product(&here.b, &here.retract(&OrthographicRetraction::default(), &v, t));
        let n = end.plus(-1.0, &w).plus(-t, &here.ambient(&v));
        let u = Dense::download(&here.b, here.x.left.as_ref()).orthonormalized();
        let q = Dense::download(&here.b, here.x.right.as_ref()).orthonormalized();
        assert!(u.t().times(&n).norm() < 1e-12 && n.times(&q).norm() < 1e-12 && n.norm() > 1e-6);
        assert!(singular_values(&end)[g.rank] < 1e-12);
    }
}

/// With one block the grid's embedded geometry of partial isometries is the singleton's: same gradient, norms and
/// first-order move; the points differ from second order on, because the retractions do.
#[test]
fn a_grid_of_one_block_is_the_singleton_to_first_order() {
    let (b, grid) = (Cpu::<f64>::new(), Grid::singleton(9, 7, 3));
    let single = PartialIsometryEmbedded::new(grid.clone(), StiefelRetraction::Polar).unwrap();
    let lifted = PartialIsometryLifted::new(grid.clone(), IsometryMetric::Embedded).unwrap();
    let single = Here::new(b, single, Gauge::Orthogonal, &mut StdRng::seed_from_u64(83));
    let lifted = Here::new(b, lifted, Gauge::Orthogonal, &mut StdRng::seed_from_u64(83));
    assert_eq!(
        product(&single.b, &single.x).relative_error(&product(&lifted.b, &lifted.x)),
        0.0,
        "one point"
    );
    let gw = Dense::random(9, 7, &mut StdRng::seed_from_u64(89));
    let (one, other) = (single.rgrad(&gw), lifted.rgrad(&gw));
    let xi = single.ambient(&one);
    assert!(lifted.ambient(&other).relative_error(&xi) < 1e-13, "one gradient");
    for kind in [NormKind::Metric, NormKind::Spectral] {
        let (one, other) = (single.norm(&one, kind), lifted.norm(&other, kind));
        assert!((one - other).abs() < 1e-10 * one, "{kind:?}: {one} {other}");
    }
    let apart = |t: f64| {
        let one = product(&single.b, &single.retract(&IsometrySvdRetraction, &one, t));
        one.plus(-1.0, &product(&lifted.b, &lifted.retract(&StiefelRetraction::Polar, &other, t))).norm()
    };
    let length = xi.norm();
    let (far, near) = (apart(0.02 / length), apart(0.01 / length));
    assert!(far > 1e-9 && (far / near).log2() > 1.8, "second order: {far:e} {near:e}");
}
