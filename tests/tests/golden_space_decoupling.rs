//! The manifold `M_h` against the golden values of an independent implementation: metric, gradient, Hessian,
//! both retractions, projection, transport, tangent cone and a descent, 1e-10 relative in f64, compared as
//! dense matrices, which know no gauge; and the optima of three problems by trust regions.

use lr_linalg::{Coef, Cpu, Dims, Linalg, Mats, Reference, Scope, Scratch};
use lr_manifolds::{
    Base, Derivatives, Factors, Health, HealthMut, LevelSet, Manifold, Ray, Retraction, SecondOrderManifold,
    SpaceDecoupling, Transport,
    level_set::{Oblique, Sphere, StackedStiefel, Unconstrained},
    space_decoupling::{
        DecouplingFrame,
        retractions::{DecouplingProjection, DecouplingRetraction},
    },
};
use lr_tests::{
    dense::Dense,
    golden::{self, Arrays},
};
use serde_json::Value;

#[path = "golden_space_decoupling/optima.rs"]
mod optima;

const TOLERANCE: f64 = 1e-10;

/// A point of one problem with its frame.
struct Here<'a, B: Linalg, S> {
    b: &'a B,
    m: &'a SpaceDecoupling<S>,
    x: Factors<B>,
    frame: DecouplingFrame<B>,
}

fn with_health<B: Linalg>(b: &B, work: impl FnOnce(&Scope<'_, B>, HealthMut<'_, B>)) {
    let mut health = Health::new(b, 1).unwrap();
    Scratch::new(b).unwrap().scope(|s| work(s, health.as_mut()));
    assert_eq!(Dense::download(b, health.breakdown.as_ref()).data, [0.0], "a factorization broke down");
}

fn pair<B: Linalg>(b: &B, left: &Dense, right: &Dense) -> Factors<B> {
    Factors { left: left.upload(b), right: right.upload(b) }
}

fn dense<B: Linalg>(b: &B, x: &Factors<B>) -> (Dense, Dense) {
    (Dense::download(b, x.left.as_ref()), Dense::download(b, x.right.as_ref()))
}

impl<'a, B: Linalg, S: LevelSet<B>> Here<'a, B, S> {
    fn new(b: &'a B, m: &'a SpaceDecoupling<S>, h: &Dense, v: &Dense) -> Self {
        let x = pair(b, h, v);
        let mut frame = m.new_frame(b, 1).unwrap();
        with_health(b, |s, health| m.factor(b, x.as_ref(), &mut frame, health, s));
        Self { b, m, x, frame }
    }

    fn base(&self) -> Base<'_, B, SpaceDecoupling<S>> {
        Base { x: self.x.as_ref(), frame: &self.frame }
    }

    fn zeros(&self) -> Factors<B> {
        Factors::zeros(self.b, self.m.grid(), 1).unwrap()
    }

    /// `(E V, E^T H)`, or with other factors.
    fn pulled(&self, e: &Dense, h: &Dense, v: &Dense) -> Factors<B> {
        pair(self.b, &e.times(v), &e.t().times(h))
    }

    fn gradient(&self, e: &Dense) -> Factors<B> {
        let (h, v) = dense(self.b, &self.x);
        let (egrad, mut out) = (self.pulled(e, &h, &v), self.zeros());
        with_health(self.b, |s, _| {
            self.m.egrad_to_rgrad(self.b, self.base(), egrad.as_ref(), out.as_mut(), s);
        });
        out
    }

    fn hessian(&self, e: &Dense, d: &Dense, eta: &Factors<B>) -> Factors<B> {
        let ((h, v), (k, vp)) = (dense(self.b, &self.x), dense(self.b, eta));
        let (egrad, along, ehess) = (self.pulled(e, &h, &v), self.pulled(e, &k, &vp), self.pulled(d, &h, &v));
        let mut out = self.zeros();
        let f = Derivatives { egrad: egrad.as_ref(), egrad_along: along.as_ref(), ehess: ehess.as_ref() };
        with_health(self.b, |s, _| {
            self.m.ehess_to_rhess(self.b, self.base(), eta.as_ref(), f, out.as_mut(), s);
        });
        out
    }

    fn inner(&self, u: &Factors<B>, v: &Factors<B>) -> f64 {
        let mut out = Mats::zeros(self.b, Dims::scalars(1)).unwrap();
        with_health(self.b, |s, _| {
            self.m.inner(self.b, self.base(), u.as_ref(), v.as_ref(), out.as_mut(), s);
        });
        Dense::download(self.b, out.as_ref()).data[0]
    }

    fn retract(&self, r: DecouplingRetraction, v: &Factors<B>, t: f64) -> Here<'a, B, S> {
        let (mut x, mut frame) = (self.zeros(), self.m.new_frame(self.b, 1).unwrap());
        with_health(self.b, |s, health| {
            let ray = Ray { at: self.base(), tangent: v.as_ref(), direction: &() };
            r.retract(self.b, self.m, ray, Coef::Host(t), x.as_mut(), &mut frame, health, s);
        });
        Here { b: self.b, m: self.m, x, frame }
    }

    /// The ambient pair `(K V^T + H Vp^T, -(Vp V^T + V Vp^T))`.
    fn ambient(&self, eta: &Factors<B>) -> [Dense; 2] {
        let ((h, v), (k, vp)) = (dense(self.b, &self.x), dense(self.b, eta));
        let g = vp.times(&v.t());
        [k.times(&v.t()).plus(1.0, &h.times(&vp.t())), g.plus(1.0, &g.t()).plus(-2.0, &g.plus(1.0, &g.t()))]
    }

    fn point(&self) -> [Dense; 2] {
        let (h, v) = dense(self.b, &self.x);
        let identity = Dense::from_fn(v.rows, v.rows, |i, j| f64::from(i == j));
        [h.times(&v.t()), identity.plus(-1.0, &v.times(&v.t()))]
    }
}

/// The worst relative error so far, with what made it.
struct Errors<'a> {
    case: &'a str,
    worst: f64,
    lines: Vec<String>,
}

impl Errors<'_> {
    fn add(&mut self, what: &str, error: f64) {
        self.worst = if error.is_nan() { error } else { self.worst.max(error) };
        if error.is_nan() || error > TOLERANCE {
            self.lines.push(format!("{}: {what} is off by {error:.2e}", self.case));
        }
    }

    fn matrices(&mut self, what: &str, ours: &[Dense; 2], arrays: &mut Arrays, names: [&str; 2]) {
        for (ours, name) in ours.iter().zip(names) {
            self.add(&format!("{what}, {name}"), ours.relative_error(&arrays.matrix(name)));
        }
    }

    fn number(&mut self, what: &str, ours: f64, arrays: &mut Arrays, name: &str) {
        let golden = arrays.number(name);
        self.add(what, (ours - golden).abs() / golden.abs().max(1.0));
    }
}

fn manifold_case<B: Linalg, S: LevelSet<B>>(b: &B, set: S, arrays: &mut Arrays, errors: &mut Errors<'_>) {
    let [m, n, r, s] = ["m", "n", "r", "s"].map(|name| arrays.number(name) as usize);
    let manifold = SpaceDecoupling::new(m, n, r, set, arrays.number("omega")).unwrap();
    let here = Here::new(b, &manifold, &arrays.matrix("H"), &arrays.matrix("V"));
    errors.number("dimension", Manifold::<B>::dim(&manifold) as f64, arrays, "dim");
    errors.matrices("point", &here.point(), arrays, ["X", "G"]);
    let u = pair(b, &arrays.matrix("K"), &arrays.matrix("Vp"));
    let v = pair(b, &arrays.matrix("K2"), &arrays.matrix("Vp2"));
    errors.matrices("tangent", &here.ambient(&u), arrays, ["eta_X", "eta_G"]);
    errors.number("metric", here.inner(&u, &v), arrays, "inner_u_v");

    let (e, d) = (arrays.matrix("egrad"), arrays.matrix("ehess_eta"));
    let gradient = here.gradient(&e);
    errors.matrices("gradient", &here.ambient(&gradient), arrays, ["grad_X", "grad_G"]);
    errors.number("gradient norm", here.inner(&gradient, &gradient).sqrt(), arrays, "grad_norm");
    let hessian = here.hessian(&e, &d, &u);
    errors.matrices("Hessian", &here.ambient(&hessian), arrays, ["hess_X", "hess_G"]);
    errors.number("<Hess u, u>", here.inner(&hessian, &u), arrays, "hess_uu");
    errors.number("<Hess u, v>", here.inner(&hessian, &v), arrays, "hess_uv");

    let t = arrays.number("t_retr");
    for (retraction, names) in [
        (DecouplingRetraction::First, ["retr1_X", "retr1_G"]),
        (DecouplingRetraction::Second, ["retr2_X", "retr2_G"]),
    ] {
        let end = here.retract(retraction, &u, t);
        errors.matrices(Retraction::<B, SpaceDecoupling<S>>::name(&retraction), &end.point(), arrays, names);
    }

    let (zx, zg) = (arrays.matrix("ZX"), arrays.matrix("ZG"));
    let (h, w) = (arrays.matrix("H"), arrays.matrix("V"));
    let mut projected = here.pulled(&zx, &h, &w);
    let bv = zg.times(&w).upload(b);
    with_health(b, |s, _| manifold.project_ambient(b, here.base(), bv.as_ref(), projected.as_mut(), s));
    errors.matrices("projection", &here.ambient(&projected), arrays, ["proj_X", "proj_G"]);

    let target =
        Here::new(b, &manifold, &arrays.matrix("transp_target_H"), &arrays.matrix("transp_target_V"));
    let mut moved = here.zeros();
    moved.as_mut().copy_from(b, u.as_ref());
    with_health(b, |s, _| {
        DecouplingProjection.transport(b, &manifold, here.base(), target.base(), moved.as_mut(), s);
    });
    errors.matrices("transport", &target.ambient(&moved), arrays, ["transp_proj_X", "transp_proj_G"]);

    let mut cone = Mats::zeros(b, Dims::new(1, m, n)).unwrap();
    let mut squares = Mats::zeros(b, Dims::new(1, 1, 3)).unwrap();
    let dense_e = e.upload(b);
    with_health(b, |scope, health| {
        let (x, e) = (here.x.as_ref(), dense_e.as_ref());
        manifold.tangent_cone(b, x, e, s, cone.as_mut(), squares.as_mut(), health.breakdown, scope);
    });
    errors.add("cone", Dense::download(b, cone.as_ref()).relative_error(&arrays.matrix("cone_P")));
    let squares = Dense::download(b, squares.as_ref()).data;
    for (value, name) in squares.iter().zip(["cone_sq_K", "cone_sq_J", "cone_sq_R"]) {
        errors.number(name, *value, arrays, name);
    }
    errors.number("measure", squares.iter().sum::<f64>().sqrt(), arrays, "cone_measure");
}

/// Two hundred steps of gradient descent on a masked fit, with each retraction.
fn fit_case<B: Linalg>(b: &B, arrays: &mut Arrays, errors: &mut Errors<'_>) {
    let (a, mask) = (arrays.matrix("A"), arrays.matrix("mask"));
    let (h, v, step) = (arrays.matrix("H0"), arrays.matrix("V0"), arrays.number("step"));
    let manifold = SpaceDecoupling::new(a.rows, a.cols, h.cols, Oblique, arrays.number("omega")).unwrap();
    for (retraction, prefix) in
        [(DecouplingRetraction::First, "retr1"), (DecouplingRetraction::Second, "retr2")]
    {
        let [costs, norms] =
            ["costs", "gradnorms"].map(|what| arrays.matrix(&format!("{prefix}_{what}")).data);
        let mut here = Here::new(b, &manifold, &h, &v);
        for iteration in 0..costs.len() {
            let [x, _] = here.point();
            let residual = x.plus(-1.0, &a);
            let e = Dense::from_fn(a.rows, a.cols, |i, j| mask.at(i, j) * residual.at(i, j));
            let gradient = here.gradient(&e);
            // Late costs are squares of roundings: compared on the scale of the first.
            let cost = 0.5 * e.norm() * e.norm();
            errors.add(&format!("{prefix} cost {iteration}"), (cost - costs[iteration]).abs() / costs[0]);
            let norm = here.inner(&gradient, &gradient).sqrt();
            errors.add(&format!("{prefix} norm {iteration}"), (norm - norms[iteration]).abs() / norms[0]);
            here = here.retract(retraction, &gradient, -step);
            if let 1 | 10 = iteration + 1 {
                let golden = arrays.matrix(&format!("{prefix}_X_iter{}", iteration + 1));
                errors.add(
                    &format!("{prefix} point {}", iteration + 1),
                    here.point()[0].relative_error(&golden),
                );
            }
        }
    }
}

/// The gradient of a policy's expected return.
fn policy_case<B: Linalg>(b: &B, arrays: &mut Arrays, errors: &mut Errors<'_>) {
    let (h, v, e) = (arrays.matrix("H"), arrays.matrix("V"), arrays.matrix("egrad"));
    let manifold = SpaceDecoupling::new(h.rows, v.rows, h.cols, Oblique, arrays.number("omega")).unwrap();
    let here = Here::new(b, &manifold, &h, &v);
    let golden = pair(b, &arrays.matrix("grad_K"), &arrays.matrix("grad_Vp"));
    let (ours, golden) = (here.ambient(&here.gradient(&e)), here.ambient(&golden));
    for (ours, golden) in ours.iter().zip(&golden) {
        errors.add("gradient", ours.relative_error(golden));
    }
}

/// The errors of a case, or none of a kind that this test does not know.
fn run<'a, B: Linalg>(b: &B, case: &'a str, arrays: &mut Arrays) -> Option<Errors<'a>> {
    let mut errors = Errors { case, worst: 0.0, lines: Vec::new() };
    match case.split('_').collect::<Vec<_>>()[..] {
        ["mh", "none", ..] => manifold_case(b, Unconstrained, arrays, &mut errors),
        ["mh", "oblique", ..] => manifold_case(b, Oblique, arrays, &mut errors),
        ["mh", "sphere", ..] => manifold_case(b, Sphere, arrays, &mut errors),
        ["mh", "stiefel", ..] => {
            let height = arrays.number("p") as usize;
            manifold_case(b, StackedStiefel { height }, arrays, &mut errors);
        }
        ["fit", ..] => fit_case(b, arrays, &mut errors),
        ["rl", ..] => policy_case(b, arrays, &mut errors),
        ["graphsim", ..] => optima::graph_similarity(arrays, &mut errors),
        ["sync", ..] => optima::synchronization(arrays, &mut errors),
        ["markov", ..] => optima::markov_chain(arrays, &mut errors),
        _ => return None,
    }
    Some(errors)
}

#[test]
fn space_decoupling_agrees_with_the_golden_values() {
    let dir = golden::folder().join("space-decoupling");
    let index: Value = golden::read_index(&dir).unwrap();
    let files: Vec<&String> = index["files"].as_object().map_or(Vec::new(), |files| files.keys().collect());
    assert!(!files.is_empty(), "{}: the index holds no case", dir.display());
    let (mut ran, mut worst, mut lines) = (0, 0.0f64, Vec::new());
    for file in &files {
        let mut arrays = Arrays::open(&dir.join(file)).unwrap();
        // What asks for a solver needs the CPU's speed and runs once.
        let solved = ["graphsim", "sync", "markov"].iter().any(|kind| file.starts_with(kind));
        let reference = (!solved).then(|| run(&Reference::<f64>::new(), file, &mut arrays)).flatten();
        let found = [reference, run(&Cpu::<f64>::new(), file, &mut arrays)];
        ran += usize::from(found[1].is_some());
        for errors in found.into_iter().flatten() {
            worst = if errors.worst.is_nan() { errors.worst } else { worst.max(errors.worst) };
            lines.extend(errors.lines);
        }
    }
    golden::announce(ran, files.len(), "space-decoupling", worst).unwrap();
    assert!(ran == files.len() && lines.is_empty(), "beyond {TOLERANCE:e} relative:\n{}", lines.join("\n"));
}
