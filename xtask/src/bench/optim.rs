//! `bench optim`: one step of each optimizer on a bank of random problems, beside AdamW on the same bank and, on
//! request, beside the peer.

use lr_linalg::{Cpu, Linalg};
use lr_train::config::OptimizerName;
use serde::Serialize;

use super::bank::{Bank, Case, Steps};
use super::conditions::Conditions;
use super::options::{Common, Format, OptimPeer, OptimPlan};
use super::output;
use super::peer::{Peer, Python};
use super::plot::{Mark, dot_plot};
use super::race::{Contender, race};
use super::statistics::{Rounds, rounded};

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
    let mut stable = Stable::new(plan);
    let conditions = stable.conditions();
    let mut outcomes = Vec::new();
    if plan.common.format == Format::Table {
        println!("{}", head());
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
    /// the bench goes on without, as it does wherever the peer fails.
    pub fn new(plan: &'a OptimPlan) -> Self {
        let python = plan.peer.and_then(|OptimPeer::Torch| output::or_say(Python::find()));
        let start = |python: Python| {
            let peer = Peer::start(&python, "torch_optim.py", plan.common.threads);
            Some((python, output::or_say(peer)?))
        };
        Self { plan, peer: python.and_then(start) }
    }

    /// The conditions of what follows.
    pub fn conditions(&self) -> Conditions {
        let torch = self.peer.as_ref().map(|(python, _)| python.torch.clone());
        Conditions::begin(self.plan.common.threads, torch)
    }

    /// Measures one case on `threads` threads, which are the plan's wherever there is a peer.
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
            #[cfg(feature = "wgpu")]
            lr_train::config::Device::Wgpu(index) => {
                let b = lr_linalg::Wgpu::new(index).map_err(|error| error.to_string())?;
                measure(&b, &self.plan.common, case, threads, peer)
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
    peer: Option<&mut Peer>,
) -> Result<Outcome, String> {
    let pool = output::pool(threads)?;
    let explain = |error: &dyn std::fmt::Display| format!("{} nu {}: {error}", case.optimizer, case.nu);
    let adamw_case = Case { optimizer: OptimizerName::Adamw, nu: 0.0, ..*case };
    let contender =
        |case: &Case| pool.install(|| Steps::new(b, &pool, case)).map_err(|error| explain(&error));
    let (mut own, mut adamw) = (contender(case)?, contender(&adamw_case)?);
    let peer = peer.and_then(|peer| {
        let ready = peer.set_up(&PeerCase::from(case)).map(|()| peer);
        output::or_say(ready.map_err(|error| explain(&error)))
    });
    let mut contenders: Vec<&mut dyn Contender> = vec![&mut own, &mut adamw];
    if let Some(peer) = peer {
        contenders.push(peer);
    }
    let mut times =
        race(&mut contenders, common.turns).into_iter().map(|times| times.map_err(|error| explain(&error)));
    own.check().map_err(|error| explain(&error))?;
    match (times.next(), times.next()) {
        (Some(ms), Some(adamw_ms)) => {
            Ok(Outcome::new(case, threads, ms?, adamw_ms?, times.next().and_then(output::or_say)))
        }
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

/// Head of the table.
pub fn head() -> String {
    format!(
        "{:<22} {:>5}  {:<24}  {:<21}  {:<20}  {}",
        "case",
        "nu",
        "bank",
        "ms (min..max)",
        "/ AdamW",
        output::peer_head()
    )
}

/// The table's row.
pub fn row(outcome: &Outcome) -> String {
    let Line { case, nu, problems, m, n, r, .. } = outcome.line;
    format!(
        "{case:<22} {nu:>5}  {:<24}  {:<21}  {:<20}  {}",
        format!("{problems} of {m} x {n}, r {r}"),
        output::spread(outcome.ms.spread()),
        output::spread(outcome.ms.over(&outcome.adamw_ms)),
        output::peer_columns(&outcome.ms, outcome.torch_ms.as_ref()),
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
}
