//! Times training steps of the transformer with AdamW on random tokens:
//! `cargo run --release -p lr-train --example step -- [paper|small|small50k] [steps] [threads]`.
//!
//! Prints the least and the median time of a step, tokens a second, peak memory, and where the time goes,
//! from the tracing spans of the model.

use lr_linalg::{AdamWCoefficients, Cpu, Scalar};
use lr_train::{
    model::{Choices, ModelShape, Parameters, Transformer},
    neural::Neural,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use tracing::{Subscriber, span};

/// Time spent in spans, by name. Spans here do not nest and are entered on one thread.
#[derive(Clone, Default)]
struct Phases(Arc<Mutex<Totals>>);

#[derive(Default)]
struct Totals {
    names: Vec<&'static str>,
    entered: Option<Instant>,
    spent: BTreeMap<&'static str, Duration>,
}

impl Phases {
    fn totals(&self) -> std::sync::MutexGuard<'_, Totals> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subscriber for Phases {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("lr_train")
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let (mut totals, name) = (self.totals(), attributes.metadata().name());
        let known = totals.names.iter().position(|n| *n == name);
        let index = known.unwrap_or_else(|| {
            totals.names.push(name);
            totals.names.len() - 1
        });
        span::Id::from_u64(index as u64 + 1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, _event: &tracing::Event<'_>) {}

    fn enter(&self, _span: &span::Id) {
        self.totals().entered = Some(Instant::now());
    }

    fn exit(&self, span: &span::Id) {
        let mut totals = self.totals();
        if let Some(start) = totals.entered.take() {
            let name = totals.names[span.into_u64() as usize - 1];
            *totals.spent.entry(name).or_default() += start.elapsed();
        }
    }
}

fn shape(preset: &str) -> Option<ModelShape> {
    let small = ModelShape {
        layers: 2,
        heads: 4,
        kv_heads: 4,
        d_model: 128,
        head_dim: 32,
        d_ff: 512,
        sequence: 128,
        batch: 8,
        vocabulary: 8192,
    };
    match preset {
        "paper" => Some(ModelShape {
            layers: 6,
            heads: 8,
            kv_heads: 8,
            d_model: 512,
            head_dim: 64,
            d_ff: 2048,
            sequence: 512,
            batch: 8,
            vocabulary: 50257,
        }),
        "small" => Some(small),
        "small50k" => Some(ModelShape { vocabulary: 50257, ..small }),
        _ => None,
    }
}

fn peak_memory_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<f64>().ok()? / 1e3)
}

/// Processor time of all threads so far; unlike wall time it hardly depends on what else is running.
fn processor_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    // User and system time, the 14th and 15th field of the file, in ticks of 10 ms.
    Some((fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?) / 100.0)
}

fn race<B: Neural>(
    b: &B,
    shape: &ModelShape,
    steps: usize,
    phases: &Phases,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut model = Transformer::new(b, shape, &Choices::default())?;
    let mut weights = Parameters::random(b, shape, 0)?;
    let mut gradients = Parameters::zeros(b, shape)?;
    let (mut first, mut second) = (Parameters::zeros(b, shape)?, Parameters::zeros(b, shape)?);
    let mut rng = StdRng::seed_from_u64(1);
    let mut random = || -> Vec<u32> {
        (0..shape.tokens()).map(|_| rng.random_range(0..shape.vocabulary as u32)).collect()
    };
    let (tokens, targets) = (random(), random());
    let mut times = Vec::new();
    let mut loss = 0.0;
    let mut processor = None;
    for step in 0..=steps {
        if step == 1 {
            processor = processor_seconds();
            phases.totals().spent.clear();
        }
        let start = Instant::now();
        loss =
            b.download(model.forward_backward(b, &weights, &tokens, &targets, &mut gradients))?[0].to_f64();
        let span = tracing::trace_span!("adamw").entered();
        let coefficients = AdamWCoefficients {
            lr: 3e-4,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            weight_decay: 0.01,
            bias_correction1: 1.0 - 0.9f64.powi(step as i32 + 1),
            bias_correction2: 1.0 - 0.999f64.powi(step as i32 + 1),
        };
        let moments = first.tensors_mut().into_iter().zip(second.tensors_mut());
        for ((x, g), (m, v)) in weights.tensors_mut().into_iter().zip(gradients.tensors()).zip(moments) {
            b.adamw(coefficients, g.mats, m.mats, v.mats, x.mats);
        }
        drop(span);
        if step > 0 {
            times.push(start.elapsed().as_secs_f64());
        }
    }
    let processor = processor_seconds().zip(processor).map(|(end, start)| (end - start) / steps as f64);
    times.sort_by(f64::total_cmp);
    let (least, median) = (times[0], times[times.len() / 2]);
    println!(
        "{}: min {least:.4} s, median {median:.4} s a step ({:.3} s of processor), {:.0} tokens/s, \
         peak {:.0} MB, loss {loss:.4}",
        B::NAME,
        processor.unwrap_or(f64::NAN),
        shape.tokens() as f64 / median,
        peak_memory_mb().unwrap_or(f64::NAN)
    );
    for (name, spent) in &phases.totals().spent {
        println!("  {name:32} {:9.2} ms a step", spent.as_secs_f64() * 1e3 / steps as f64);
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize, default: &str| arguments.get(i).map_or(default, |a| a).to_owned();
    let shape = shape(&argument(0, "small")).ok_or("the presets are paper, small and small50k")?;
    let steps = argument(1, "5").parse::<usize>()?.max(1);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(argument(2, "2").parse()?).build()?;
    let phases = Phases::default();
    tracing::subscriber::set_global_default(phases.clone())?;
    // The pool's threads report errors as text, which can be sent between them.
    let run = || race(&Cpu::<f32>::new(), &shape, steps, &phases).map_err(|e| e.to_string());
    Ok(pool.install(run)?)
}
