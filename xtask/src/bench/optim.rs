//! `bench optim`: one step of each optimizer on a bank of random problems, beside AdamW on the same bank and, on
//! request, beside the peer.

use lr_linalg::{Cpu, DeviceError, Dims, Epilogue, Linalg, Mats, Scalar};
use lr_manifolds::{Factors, Grid, StiefelRetraction};
use lr_optim::{AdamW, AdamWConfig, BankOptimizer, DescentConfig, Geometry};
use lr_train::config::OptimizerName;
use serde::Serialize;
use std::time::Instant;

use super::conditions::Conditions;
use super::options::{Common, Format, OptimPeer, OptimPlan};
use super::output;
use super::peer::{Peer, Python};
use super::plot::{Mark, dot_plot};
use super::race::{Contender, race};
use super::statistics::{Rounds, rounded};

/// Step length, the default of the experiments.
const LEARNING_RATE: f64 = 1.0 / 256.0;
/// Size of a gradient's entries; normalized steps do not depend on it.
const GRADIENT_SCALE: f64 = 1e-3;

/// Shape of a bank of equal problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Bank {
    /// Pairs, or grids.
    pub problems: usize,
    /// Rows of each block on the left.
    pub m: usize,
    /// Rows on the right.
    pub n: usize,
    /// Columns of the factors.
    pub rank: usize,
    /// Blocks on the left of each problem; 1 for pairs.
    pub blocks: usize,
}

impl Bank {
    /// Checks that the problems are possible and their factors have at most `most` elements.
    ///
    /// # Errors
    /// What is too large, and what it may be.
    pub fn check(&self, most: usize) -> Result<(), String> {
        let Self { problems, m, n, rank, blocks } = *self;
        if rank > m.min(n) {
            return Err(format!("rank {rank} of {m} x {n} matrices: it may be at most {}", m.min(n)));
        }
        let factors = [problems, blocks, m.max(n), rank];
        match factors.into_iter().try_fold(1usize, usize::checked_mul) {
            Some(elements) if elements <= most => Ok(()),
            _ => Err(format!(
                "{problems} problems of {m} x {n}, rank {rank}, are too large: the factors of one side may have \
                 at most {most} elements"
            )),
        }
    }

    fn grid(&self) -> Grid {
        Grid::new(&vec![self.m; self.blocks], &[self.n], self.rank)
    }
}

/// An optimizer on a bank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Case {
    /// Which optimizer.
    pub optimizer: OptimizerName,
    /// Momentum coefficient.
    pub nu: f64,
    /// On what.
    pub bank: Bank,
}

/// What `--json` prints for a case.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    case: &'static str,
    nu: f64,
    problems: usize,
    m: usize,
    n: usize,
    r: usize,
    threads: usize,
    /// Milliseconds of a step.
    pub median_ms: f64,
    /// Time over AdamW's.
    pub adamw_ratio: f64,
    /// The peer's time over ours; `null` when it was not raced.
    pub torch_ratio: Option<f64>,
}

/// The times of a case and of those beside it.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The figures that are reported.
    #[serde(flatten)]
    pub line: Line,
    /// Milliseconds of all steps, round after round.
    pub ms: Rounds,
    /// AdamW's, on the same bank.
    pub adamw_ms: Rounds,
    /// The peer's.
    pub torch_ms: Option<Rounds>,
}

impl Outcome {
    fn new(case: &Case, threads: usize, ms: Rounds, adamw_ms: Rounds, torch_ms: Option<Rounds>) -> Self {
        let Case { optimizer, nu, bank } = *case;
        let line = Line {
            case: optimizer.as_str(),
            nu,
            problems: bank.problems,
            m: bank.m,
            n: bank.n,
            r: bank.rank,
            threads,
            median_ms: rounded(ms.spread().median),
            adamw_ratio: rounded(ms.over(&adamw_ms).median),
            torch_ratio: torch_ms.as_ref().map(|torch| rounded(torch.over(&ms).median)),
        };
        Self { line, ms, adamw_ms, torch_ms }
    }
}

/// Measures the plan's cases, prints them and writes `optim.json` and `optim.svg`.
///
/// # Errors
/// A case that cannot be measured, or a file that cannot be written.
pub fn run(plan: &OptimPlan) -> Result<(), String> {
    let mut stable = Stable::new(plan)?;
    let conditions = stable.conditions();
    let mut outcomes = Vec::new();
    if plan.common.format == Format::Table {
        println!("{HEADER}");
    }
    for case in &plan.cases {
        let outcome = stable.measure(case, plan.common.threads)?;
        output::show(plan.common.format, &outcome.line, || row(&outcome))?;
        outcomes.push(outcome);
    }
    let conditions = conditions.end();
    let plot = dot_plot("Milliseconds of one optimizer step", &marks(&outcomes))?;
    output::finish(&plan.common, "optim", &conditions, &outcomes, &plot)
}

/// Everything that lasts from case to case.
pub struct Stable<'a> {
    plan: &'a OptimPlan,
    peer: Option<(Python, Peer)>,
}

impl<'a> Stable<'a> {
    /// Starts the peer if there is to be one. Where it cannot be had, standard error says how to install it, and
    /// the bench goes on without.
    ///
    /// # Errors
    /// A peer that is there and does not start.
    pub fn new(plan: &'a OptimPlan) -> Result<Self, String> {
        let python = plan.peer.and_then(|OptimPeer::Torch| output::or_say(Python::find()));
        let start = |python: Python| {
            let peer = Peer::start(&python, "torch_optim.py", plan.common.threads)?;
            Ok::<_, String>((python, peer))
        };
        Ok(Self { plan, peer: python.map(start).transpose()? })
    }

    /// The conditions of what follows.
    pub fn conditions(&self) -> Conditions {
        let torch = self.peer.as_ref().map(|(python, _)| python.torch.clone());
        Conditions::begin(self.plan.common.threads, torch)
    }

    /// Measures one case on `threads` threads; the peer keeps those that it was started with.
    ///
    /// # Errors
    /// Why it cannot be measured.
    pub fn measure(&mut self, case: &Case, threads: usize) -> Result<Outcome, String> {
        let peer = self.peer.as_mut().map(|(_, peer)| peer);
        match self.plan.device {
            #[cfg(feature = "openblas")]
            lr_train::config::Device::CpuOpenblas => {
                measure(&Cpu::<f32, lr_linalg::OpenBlas>::new(), &self.plan.common, case, threads, peer)
            }
            // The plan has been checked: no other device is built in.
            _ => measure(&Cpu::<f32>::new(), &self.plan.common, case, threads, peer),
        }
    }
}

fn measure<B: Linalg>(
    b: &B,
    common: &Common,
    case: &Case,
    threads: usize,
    mut peer: Option<&mut Peer>,
) -> Result<Outcome, String> {
    let pool = output::pool(threads)?;
    let explain = |error: &dyn std::fmt::Display| format!("{} nu {}: {error}", case.optimizer, case.nu);
    let adamw_case = Case { optimizer: OptimizerName::Adamw, nu: 0.0, ..*case };
    let contender =
        |case: &Case| pool.install(|| Bench::new(b, &pool, case)).map_err(|error| explain(&error));
    let (mut own, mut adamw) = (contender(case)?, contender(&adamw_case)?);
    if let Some(peer) = &mut peer {
        peer.set_up(&PeerCase::from(case)).map_err(|error| explain(&error))?;
    }
    let mut contenders: Vec<&mut dyn Contender> = vec![&mut own, &mut adamw];
    if let Some(peer) = peer {
        contenders.push(peer);
    }
    let mut times = race(&mut contenders, common.turns).map_err(|error| explain(&error))?.into_iter();
    own.check().map_err(|error| explain(&error))?;
    match (times.next(), times.next()) {
        (Some(ms), Some(adamw_ms)) => Ok(Outcome::new(case, threads, ms, adamw_ms, times.next())),
        _ => Err(explain(&"no times were taken")),
    }
}

/// What `torch_optim.py` is asked to set up.
#[derive(Serialize)]
struct PeerCase {
    case: &'static str,
    nu: f64,
    problems: usize,
    m: usize,
    n: usize,
    r: usize,
    grid: bool,
}

impl From<&Case> for PeerCase {
    fn from(case: &Case) -> Self {
        let Bank { problems, m, n, rank, blocks } = case.bank;
        Self { case: case.optimizer.as_str(), nu: case.nu, problems, m, n, r: rank, grid: blocks > 1 }
    }
}

/// An optimizer on random orthonormal factors, with the constant gradient of a linear function of `W`.
struct Bench<'a, B: Linalg> {
    b: B,
    pool: &'a rayon::ThreadPool,
    x: Factors<B>,
    gradient: Factors<B>,
    optimizer: Box<dyn BankOptimizer<B>>,
}

impl<'a, B: Linalg> Bench<'a, B> {
    fn new(b: &B, pool: &'a rayon::ThreadPool, case: &Case) -> Result<Self, String> {
        let Case { optimizer: name, nu, bank } = *case;
        let (x, gradient) = random_problems(b, &bank).map_err(|error| error.to_string())?;
        let optimizer: Box<dyn BankOptimizer<B>> = if name == OptimizerName::Adamw {
            let config = AdamWConfig::default();
            Box::new(AdamW::for_bank(b, config, x.as_ref()).map_err(|error| error.to_string())?)
        } else {
            let name = name.as_str();
            let geometry: Geometry =
                name.strip_prefix("grid-").unwrap_or(name).parse().map_err(|error| format!("{error}"))?;
            let config = DescentConfig { momentum: nu, ..DescentConfig::default() };
            geometry
                .optimizer(b, bank.grid(), StiefelRetraction::Polar, config, bank.problems)
                .map_err(|error| error.to_string())?
        };
        Ok(Self { b: b.clone(), pool, x, gradient, optimizer })
    }

    /// Fails where a problem broke down: its time says nothing.
    fn check(&mut self) -> Result<(), String> {
        let measures = self.optimizer.measure(&self.b, self.x.as_ref(), self.gradient.as_ref());
        match measures.map_err(|error| error.to_string())?.broken {
            Some(problem) => Err(format!("problem {problem} broke down")),
            None => Ok(()),
        }
    }
}

impl<B: Linalg> Contender for Bench<'_, B> {
    fn turn(&mut self, warm: usize, steps: usize) -> Result<Vec<f64>, String> {
        let Self { b, pool, x, gradient, optimizer } = self;
        let times = pool.install(|| {
            let mut times = Vec::with_capacity(warm + steps);
            for _ in 0..warm + steps {
                let started = Instant::now();
                optimizer.step(b, x.as_mut(), gradient.as_ref(), LEARNING_RATE);
                b.sync()?;
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
            Ok::<_, DeviceError>(times)
        });
        Ok(times.map_err(|error| error.to_string())?.split_off(warm))
    }
}

/// Factors with orthonormal blocks, and `(G B, G^T A)` for `G = P Q^T` with random `P` and `Q` of the factors'
/// shapes: a consistent gradient, without the dense `G`.
fn random_problems<B: Linalg>(b: &B, bank: &Bank) -> Result<(Factors<B>, Factors<B>), DeviceError> {
    let Bank { problems, m, n, rank, blocks } = *bank;
    let (left, right) = (Dims::new(problems, blocks * m, rank), Dims::new(problems, n, rank));
    let mut random = Random(1);
    let mut orthonormal = |dims: Dims, rows: usize| -> Result<Mats<B>, DeviceError> {
        let each = Dims::new(dims.len() / (rows * rank), rows, rank);
        let mut q = Mats::from_slice(b, each, &random.values(each))?;
        let mut r = Mats::zeros(b, Dims::square(each.batch, rank))?;
        let mut status = Mats::zeros(b, Dims::scalars(each.batch))?;
        b.qr(q.as_mut(), r.as_mut(), status.as_mut());
        Mats::from_slice(b, dims, &q.to_vec(b)?)
    };
    let x = Factors { left: orthonormal(left, m)?, right: orthonormal(right, n)? };
    let p = Mats::from_slice(b, left, &random.values(left))?;
    let q = Mats::from_slice(b, right, &random.values(right))?;
    let times_small = |tall: &Mats<B>, other: &Mats<B>, factor: &Mats<B>| -> Result<Mats<B>, DeviceError> {
        let mut small = Mats::zeros(b, Dims::square(problems, rank))?;
        b.gemm(GRADIENT_SCALE, other.as_ref().t(), factor.as_ref().n(), Epilogue::Overwrite, small.as_mut());
        let mut product = Mats::zeros(b, tall.dims())?;
        b.gemm(1.0, tall.as_ref().n(), small.as_ref().n(), Epilogue::Overwrite, product.as_mut());
        Ok(product)
    };
    let gradient = Factors { left: times_small(&p, &q, &x.right)?, right: times_small(&q, &p, &x.left)? };
    Ok((x, gradient))
}

/// Uniform numbers on [-1, 1) from a 64-bit linear congruence (Knuth's MMIX constants).
pub struct Random(pub u64);

impl Random {
    /// The next 31 bits.
    pub fn bits(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as u32
    }

    /// As many numbers as `dims` has elements.
    pub fn values<T: Scalar>(&mut self, dims: Dims) -> Vec<T> {
        (0..dims.len()).map(|_| T::from_f64(f64::from(self.bits()) / f64::from(1u32 << 30) - 1.0)).collect()
    }
}

/// Head of the table.
pub const HEADER: &str = "\
case                     nu  bank                          ms (min..max)          / AdamW (min..max)     torch ms (min..max)    torch / ours (min..max)";

/// The table's row.
pub fn row(outcome: &Outcome) -> String {
    let Line { case, nu, problems, m, n, r, .. } = outcome.line;
    let torch = outcome.torch_ms.as_ref();
    format!(
        "{case:<22} {nu:>5}  {:<28}  {:<21}  {:<20}  {:<21}  {}",
        format!("{problems} of {m} x {n}, r {r}"),
        output::spread(outcome.ms.spread()),
        output::spread(outcome.ms.over(&outcome.adamw_ms)),
        torch.map_or("-".to_owned(), |torch| output::spread(torch.spread())),
        torch.map_or("-".to_owned(), |torch| output::spread(torch.over(&outcome.ms))),
    )
}

fn marks(outcomes: &[Outcome]) -> Vec<Mark> {
    let mark = |outcome: &Outcome| {
        let mut values = vec![("ours", outcome.ms.spread()), ("AdamW", outcome.adamw_ms.spread())];
        values.extend(outcome.torch_ms.as_ref().map(|torch| ("PyTorch", torch.spread())));
        Mark { label: format!("{}, nu {}", outcome.line.case, outcome.line.nu), values }
    };
    outcomes.iter().map(mark).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> Case {
        let bank = Bank { problems: 96, m: 512, n: 512, rank: 64, blocks: 1 };
        Case { optimizer: OptimizerName::FixedEmbedded, nu: 0.0, bank }
    }

    #[test]
    fn a_json_line_has_these_keys_and_no_others() {
        let rounds = |ms: f64| Rounds(vec![vec![ms]]);
        let raced = Outcome::new(&case(), 2, rounds(20.0), rounds(4.0), Some(rounds(250.0)));
        assert_eq!(
            serde_json::to_string(&raced.line).unwrap(),
            r#"{"case":"fixed-embedded","nu":0.0,"problems":96,"m":512,"n":512,"r":64,"threads":2,"median_ms":20.0,"adamw_ratio":5.0,"torch_ratio":12.5}"#
        );
        let alone = Outcome::new(&case(), 2, rounds(20.0), rounds(4.0), None);
        assert!(serde_json::to_string(&alone.line).unwrap().ends_with(r#""torch_ratio":null}"#));
    }

    #[test]
    fn the_peer_is_asked_for_the_same_problem() {
        let grid = Case { bank: Bank { blocks: 8, problems: 12, ..case().bank }, ..case() };
        let json = |case: &Case| serde_json::to_string(&PeerCase::from(case)).unwrap();
        assert_eq!(
            json(&case()),
            r#"{"case":"fixed-embedded","nu":0.0,"problems":96,"m":512,"n":512,"r":64,"grid":false}"#
        );
        assert!(json(&grid).ends_with(r#""problems":12,"m":512,"n":512,"r":64,"grid":true}"#));
    }

    #[test]
    fn random_problems_are_orthonormal_block_by_block_and_their_gradients_consistent() {
        let b = Cpu::<f64>::new();
        let (x, gradient) =
            random_problems(&b, &Bank { problems: 2, m: 7, n: 5, rank: 3, blocks: 2 }).unwrap();
        assert_eq!(x.left.dims(), Dims::new(2, 14, 3));
        let product = |a: &Mats<Cpu<f64>>, c: &Mats<Cpu<f64>>| {
            let mut small = Mats::zeros(&b, Dims::square(2, 3)).unwrap();
            b.gemm(1.0, a.as_ref().t(), c.as_ref().n(), Epilogue::Overwrite, small.as_mut());
            small.to_vec(&b).unwrap()
        };
        // Two orthonormal blocks above one another: twice the identity.
        for (k, entry) in product(&x.left, &x.left).into_iter().enumerate() {
            let expected = if k % 9 % 4 == 0 { 2.0 } else { 0.0 };
            assert!((entry - expected).abs() < 1e-14);
        }
        // A^T G_A = G_B^T B.
        let (one, other) = (product(&x.left, &gradient.left), product(&gradient.right, &x.right));
        assert!(one.iter().zip(&other).all(|(a, c)| (a - c).abs() < 1e-15));
        assert!(one.iter().any(|a| a.abs() > 1e-6));
    }
}
