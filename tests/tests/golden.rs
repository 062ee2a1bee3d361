//! Our optimizers against trajectories made by an independent implementation: points, gradients,
//! momenta, norms and repairs to 1e-10 relative in f64.

#[cfg(any(feature = "cuda", feature = "wgpu"))]
#[path = "../../crates/lr-linalg/tests/common/devices.rs"]
mod devices;

use lr_linalg::{Cpu, Dims, Linalg, Mats, Reference, Scratch};
use lr_manifolds::{
    Base, Factors, GradientRepair, Grid, Health, Manifold, NormKind, Ray, Retraction, State,
    StiefelRetraction, Timing, Transport,
};
use lr_optim::{BankOptimizer, Cadence, DescentConfig, Normalization, RiemannianDescent, StateDict};
use lr_tests::{
    dense::Dense,
    golden::{self, Arrays, Case, Index},
    registry::{self, Claims, Visitor},
};
use std::cmp::Ordering;

const TOLERANCE: f64 = 1e-10;

/// Runs one case on one geometry and keeps the worst error.
struct Runner<'a, B> {
    b: &'a B,
    case: &'a Case,
    index: &'a Index,
    arrays: &'a mut Arrays,
    tolerance: f64,
    worst: f64,
}

fn upload<B: Linalg>(b: &B, left: &Dense, right: &Dense) -> Factors<B> {
    Factors { left: left.upload(b), right: right.upload(b) }
}

fn download<B: Linalg>(b: &B, x: &Factors<B>) -> (Dense, Dense) {
    (Dense::download(b, x.left.as_ref()), Dense::download(b, x.right.as_ref()))
}

/// Works at a fixed point `x` with its frame.
struct Local<'a, B: Linalg, M: Manifold<B>> {
    b: &'a B,
    manifold: &'a M,
    x: &'a Factors<B>,
    frame: M::Frame,
    health: Health<B>,
}

impl<'a, B: Linalg, M: Manifold<B>> Local<'a, B, M> {
    fn new(b: &'a B, manifold: &'a M, x: &'a Factors<B>) -> Self {
        let (mut frame, mut health) = (manifold.new_frame(b, 1).unwrap(), Health::new(b, 1).unwrap());
        Scratch::new(b).unwrap().scope(|s| manifold.factor(b, x.as_ref(), &mut frame, health.as_mut(), s));
        Self { b, manifold, x, frame, health }
    }

    /// At the point where `optimizer` is after a step, with the frame that its momentum refers to.
    fn of(b: &'a B, manifold: &'a M, x: &'a Factors<B>, optimizer: &impl BankOptimizer<B>) -> Self {
        let mut here = Self::new(b, manifold, x);
        let mut dict = StateDict::default();
        optimizer.save(b, "o", &mut dict).unwrap();
        for (name, part) in here.frame.parts_mut() {
            dict.load(b, &format!("o.frame.{name}"), [part.as_mut()]).unwrap();
        }
        here
    }

    fn base(&self) -> Base<'_, B, M> {
        Base { x: self.x.as_ref(), frame: &self.frame }
    }

    fn rgrad(&self, egrad: &Factors<B>) -> Factors<B> {
        let mut out = Factors::zeros(self.b, self.manifold.grid(), 1).unwrap();
        Scratch::new(self.b)
            .unwrap()
            .scope(|s| self.manifold.egrad_to_rgrad(self.b, self.base(), egrad.as_ref(), out.as_mut(), s));
        out
    }

    /// The momentum between steps, transported to here if it still has to be.
    fn momentum(&self, timing: Timing, optimizer: &impl BankOptimizer<B>) -> Factors<B> {
        let mut v = saved_momentum(self.b, self.manifold, optimizer);
        if timing == Timing::WithNextGradient {
            self.project(&mut v);
        }
        v
    }

    fn project(&self, v: &mut Factors<B>) {
        Scratch::new(self.b).unwrap().scope(|s| self.manifold.project(self.b, self.base(), v.as_mut(), s));
    }

    fn make_consistent(&mut self, repair: GradientRepair, v: &mut Factors<B>) {
        let Self { b, manifold, x, frame, health } = self;
        let at = Base { x: x.as_ref(), frame: &*frame };
        let health = health.as_mut();
        Scratch::new(*b).unwrap().scope(|s| manifold.make_consistent(b, at, repair, v.as_mut(), health, s));
    }

    fn ambient(&self, v: &Factors<B>) -> Dense {
        let (m, n) = (self.manifold.grid().left.total(), self.manifold.grid().right.total());
        let mut out = Mats::zeros(self.b, Dims::new(1, m, n)).unwrap();
        Scratch::new(self.b)
            .unwrap()
            .scope(|s| self.manifold.to_ambient(self.b, self.base(), v.as_ref(), out.as_mut(), s));
        Dense::download(self.b, out.as_ref())
    }

    fn norm(&mut self, v: &Factors<B>, kind: NormKind) -> f64 {
        let b = self.b;
        let mut out = Mats::zeros(b, Dims::scalars(1)).unwrap();
        let mut direction = self.manifold.new_direction(b, 1).unwrap();
        let Self { manifold, x, frame, health, .. } = self;
        let at = Base { x: x.as_ref(), frame: &*frame };
        let mut health = health.as_mut();
        Scratch::new(b).unwrap().scope(|s| {
            manifold.aim(b, at, v.as_ref(), &mut direction, health.as_mut(), s);
            let ray = Ray { at, tangent: v.as_ref(), direction: &direction };
            manifold.norm(b, ray, kind, out.as_mut(), health, s);
        });
        Dense::download(b, out.as_ref()).data[0]
    }
}

impl<B: Linalg> Runner<'_, B> {
    fn compare(&mut self, what: &str, ours: &Dense, golden: &Dense) {
        let error = ours.relative_error(golden);
        // `f64::max` prefers a number to NaN.
        self.worst = if error.is_nan() { error } else { self.worst.max(error) };
        if error.is_nan() || error > self.tolerance {
            println!("{} on {}: {what} is off by {error:.2e}", self.case.name, B::NAME);
        }
    }

    fn normalization(&self) -> Normalization {
        let clamp = self.index.clamp;
        match self.case.normalize.as_str() {
            "none" => Normalization::None,
            "metric" => Normalization::Unit { norm: NormKind::Metric, clamp },
            "spectral" => Normalization::Unit { norm: NormKind::Spectral, clamp },
            other => panic!("{}: unknown normalization {other}", self.case.name),
        }
    }

    fn trajectory<M: Manifold<B>, R: Retraction<B, M>, T: Transport<B, M>>(&mut self, m: M, r: R, t: T) {
        let (b, nu, timing) = (self.b, self.case.nu, t.timing());
        let normalization = self.normalization();
        let config = DescentConfig { momentum: nu, normalization, ..DescentConfig::default() };
        let mut optimizer = RiemannianDescent::new(b, m.clone(), r, t, config, 1).expect("optimizer");
        let mut x = upload(b, &self.arrays.matrix("A0"), &self.arrays.matrix("B0"));
        let [gw, w, g, momenta, a_golden, b_golden] =
            ["GW", "W", "G", "M", "A", "B"].map(|name| self.arrays.matrices(name));
        let mu = self.arrays.matrices("mu").pop();
        for step in 0..gw.len() {
            let (a, right) = download(b, &x);
            let egrad = upload(b, &gw[step].times(&right), &gw[step].t().times(&a));
            let mut here = if step == 0 { Local::new(b, &m, &x) } else { Local::of(b, &m, &x, &optimizer) };
            let mut momentum = here.rgrad(&egrad);
            self.compare(&format!("gradient {step}"), &here.ambient(&momentum), &g[step]);
            if let (Some(mu), Normalization::Unit { norm, .. }) = (&mu, normalization) {
                if nu > 0.0 {
                    momentum = average(b, nu, &momentum, here.momentum(timing, &optimizer));
                }
                let ours = Dense::from_fn(1, 1, |_, _| here.norm(&momentum, norm));
                self.compare(&format!("norm {step}"), &ours, &Dense::from_fn(1, 1, |_, _| mu.data[step]));
            }
            optimizer.step(b, x.as_mut(), egrad.as_ref(), self.case.lr);
            let (a, right) = download(b, &x);
            self.compare(&format!("point {step}"), &a.times(&right.t()), &w[step + 1]);
            if nu > 0.0 {
                let here = Local::of(b, &m, &x, &optimizer);
                let ours = here.ambient(&here.momentum(timing, &optimizer));
                self.compare(&format!("momentum {step}"), &ours, &momenta[step]);
            }
            if self.case.factors_unique {
                self.compare(&format!("left factor {step}"), &a, &a_golden[step + 1]);
                self.compare(&format!("right factor {step}"), &right, &b_golden[step + 1]);
            }
        }
    }

    /// Repairs of a momentum, or of a gradient made from inconsistent pulled-back gradients; with the latter
    /// one step of the optimizer that uses it.
    fn repair<M: Manifold<B>, R: Retraction<B, M>, T: Transport<B, M>>(&mut self, m: M, r: R, t: T) {
        let b = self.b;
        let (left, right) = starting_point(self.arrays);
        let mut x = upload(b, &left, &right);
        if let [c_star] = &self.arrays.matrices("C_star")[..] {
            let mut v = upload(b, &self.arrays.matrix("C"), &self.arrays.matrix("D"));
            Local::new(b, &m, &x).project(&mut v);
            let (c, d) = download(b, &v);
            self.compare("repaired C", &c, c_star);
            let d_star = self.arrays.matrix("D_star");
            self.compare("repaired D", &d, &d_star);
            return;
        }
        let Some(lifted) = self.arrays.matrices("XA").pop() else {
            let egrad = upload(b, &self.arrays.matrix("GA"), &self.arrays.matrix("GB"));
            let repair = match self.case.repair.as_deref() {
                Some("sylvester") => GradientRepair::LeastSquares,
                _ => GradientRepair::Projection,
            };
            let mut here = Local::new(b, &m, &x);
            let mut v = here.rgrad(&egrad);
            here.make_consistent(repair, &mut v);
            let ours = here.ambient(&v);
            let golden = self.arrays.matrix("Xi");
            self.compare("repaired gradient", &ours, &golden);
            let config = DescentConfig {
                normalization: Normalization::None,
                gradient_cadence: Cadence::EveryStep,
                gradient_repair: repair,
                ..DescentConfig::default()
            };
            let mut optimizer = RiemannianDescent::new(b, m, r, t, config, 1).expect("optimizer");
            optimizer.step(b, x.as_mut(), egrad.as_ref(), self.case.lr);
            let (a, right) = download(b, &x);
            let golden = self.arrays.matrix("W1");
            self.compare("the step with it", &a.times(&right.t()), &golden);
            return;
        };
        let given = upload(b, &lifted, &self.arrays.matrix("XB"));
        let mut here = Local::new(b, &m, &x);
        let mut momentum = upload(b, &lifted, &self.arrays.matrix("XB"));
        here.project(&mut momentum);
        // The cheap version averages the two sums and leaves the lift as it comes out.
        let (mut exact, cheap) = (here.rgrad(&given), here.rgrad(&given));
        here.make_consistent(GradientRepair::LeastSquares, &mut exact);
        for (what, ending, v) in [("mom", "", momentum), ("grad", "", exact), ("grad", "_cheap", cheap)] {
            let (left, right) = download(b, &v);
            for (side, ours) in [("A", left), ("B", right)] {
                let name = format!("{what}{side}{ending}");
                if let Some(golden) = self.arrays.matrices(&name).pop() {
                    self.compare(&name, &ours, &golden);
                }
            }
        }
    }
}

impl<B: Linalg> Visitor<B> for Runner<'_, B> {
    fn visit<M: Manifold<B>, R: Retraction<B, M>, T: Transport<B, M>>(
        &mut self,
        m: M,
        r: R,
        t: T,
        _: Claims,
    ) {
        match self.case.kind.as_str() {
            "trajectory" => self.trajectory(m, r, t),
            "repair" => self.repair(m, r, t),
            other => panic!("{}: unknown type {other}", self.case.name),
        }
    }
}

/// `(A0, B0)`, or the bases `(U, V)` in cases that are about coordinates alone.
fn starting_point(arrays: &mut Arrays) -> (Dense, Dense) {
    match arrays.matrices("A0").pop() {
        Some(a) => (a, arrays.matrix("B0")),
        None => (arrays.matrix("U"), arrays.matrix("V")),
    }
}

fn average<B: Linalg>(b: &B, nu: f64, rgrad: &Factors<B>, mut momentum: Factors<B>) -> Factors<B> {
    momentum.as_mut().axpby(b, lr_linalg::Coef::Host(1.0 - nu), rgrad.as_ref(), nu);
    momentum
}

fn saved_momentum<B: Linalg, M: Manifold<B>>(b: &B, m: &M, optimizer: &impl BankOptimizer<B>) -> Factors<B> {
    let mut dict = StateDict::default();
    optimizer.save(b, "o", &mut dict).unwrap();
    let mut v = Factors::zeros(b, m.grid(), 1).unwrap();
    dict.load(b, "o.momentum.left", [v.left.as_mut()]).unwrap();
    dict.load(b, "o.momentum.right", [v.right.as_mut()]).unwrap();
    v
}

/// The worst error of a case.
fn run<B: Linalg>(b: &B, case: &Case, index: &Index, arrays: &mut Arrays, tolerance: f64) -> f64 {
    let partial = case.name.contains("partial");
    let optimizer = match case.optimizer.as_deref() {
        Some(name) => name,
        // The momentum repairs in CD-coordinates name no optimizer.
        None if partial => "partial-embedded",
        None => "fixed-embedded",
    };
    let (a, right) = starting_point(arrays);
    let sizes = |given: &[usize], rows| if given.is_empty() { vec![rows] } else { given.to_vec() };
    let grid = Grid::new(&sizes(&case.m_sizes, a.rows), &sizes(&case.n_sizes, right.rows), a.cols);
    let stiefel = match case.retraction.as_deref() {
        Some("qr") => StiefelRetraction::Qr,
        _ => StiefelRetraction::Polar,
    };
    let mut runner = Runner { b, case, index, arrays, tolerance, worst: 0.0 };
    registry::visit_named(optimizer, &grid, stiefel, &mut runner);
    runner.worst
}

fn run_on_every_backend(case: &Case, index: &Index, arrays: &mut Arrays) -> f64 {
    let mut worst = run(&Reference::<f64>::new(), case, index, arrays, TOLERANCE);
    worst = worst.max(run(&Cpu::<f64>::new(), case, index, arrays, TOLERANCE));
    #[cfg(feature = "openblas")]
    {
        worst = worst.max(run(&Cpu::<f64, lr_linalg::OpenBlas>::new(), case, index, arrays, TOLERANCE));
    }
    worst
}

/// Tolerance in f32, for the largest entry of a matrix. A step is about ten products and factorizations in a row, whose
/// sums have about ten terms: the error bounds of sums and products add up to a hundred roundings.
const SINGLE: f64 = 100.0 * f32::EPSILON as f64;

/// Every case on one backend.
fn follow<B: Linalg>(b: &B, what: &str, tolerance: f64) {
    let dir = golden::folder().join("optimizers");
    let index: Index = golden::read_index(&dir).unwrap();
    let (mut worst, mut failed) = (0.0f64, Vec::new());
    for case in &index.cases {
        let mut arrays = Arrays::open(&dir.join(&case.file)).unwrap();
        let error = run(b, case, &index, &mut arrays, tolerance);
        worst = worst.max(error);
        // Not "above": a NaN fails.
        if !matches!(error.partial_cmp(&tolerance), Some(Ordering::Less | Ordering::Equal)) {
            failed.push(format!("{}: {error:.2e}", case.name));
        }
    }
    println!("golden trajectories on {what}: worst relative error {worst:.2e}");
    assert!(failed.is_empty(), "{what}: beyond {tolerance:e} relative:\n{}", failed.join("\n"));
}

#[test]
fn single_precision_follows_the_golden_trajectories() {
    follow(&Cpu::<f32>::new(), "cpu f32", SINGLE);
}

#[cfg(feature = "cuda")]
#[test]
fn cuda_follows_the_golden_trajectories() {
    if let (Some(double), Some(single)) = (devices::cuda::<f64>(), devices::cuda::<f32>()) {
        follow(&double, "cuda f64", TOLERANCE);
        follow(&single, "cuda f32", SINGLE);
    }
}

#[cfg(feature = "wgpu")]
#[test]
fn wgpu_follows_the_golden_trajectories() {
    if let Some(b) = devices::wgpu() {
        follow(b, "wgpu f32", SINGLE);
    }
}

#[test]
fn optimizers_follow_the_golden_trajectories() {
    let dir = golden::folder().join("optimizers");
    let index: Index = golden::read_index(&dir).unwrap();
    assert!(!index.cases.is_empty(), "{}: the index holds no case", dir.display());
    let (mut ran, mut worst, mut failed) = (0, 0.0f64, Vec::new());
    for case in &index.cases {
        let mut arrays = Arrays::open(&dir.join(&case.file)).unwrap();
        let error = run_on_every_backend(case, &index, &mut arrays);
        ran += 1;
        worst = worst.max(error);
        // Not "above": a NaN fails.
        if !matches!(error.partial_cmp(&TOLERANCE), Some(Ordering::Less | Ordering::Equal)) {
            failed.push(format!("{}: {error:.2e}", case.name));
        }
    }
    golden::announce(ran, index.cases.len(), "optimizers", worst).unwrap();
    assert!(failed.is_empty(), "beyond {TOLERANCE:e} relative:\n{}", failed.join("\n"));
}
