//! The terminal view of a running experiment: one progress bar, one line for every finished run.

use super::sparkline::sparkline;
use indicatif::{ProgressBar, ProgressStyle};
use lr_train::{
    config::ExperimentConfig,
    train::{
        experiment::Notice,
        run::{Ending, Event},
    },
};
use std::time::Duration;

/// The terminal view: one progress bar, one line for every finished run.
pub struct Display {
    bar: ProgressBar,
    runs: usize,
    done: usize,
    /// Training losses of the run in progress, as far as this session saw them.
    losses: Vec<f64>,
    validation: f64,
    step_seconds: f64,
}

impl Display {
    pub fn new(config: &ExperimentConfig) -> Self {
        let runs = config.optimizers.len() * config.seeds.len();
        let (validation, step_seconds) = (f64::NAN, f64::NAN);
        Self { bar: ProgressBar::new(0), runs, done: 0, losses: Vec::new(), validation, step_seconds }
    }

    /// Takes the progress bar away; the lines stay.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.bar.set_style(style);
        }
    }

    pub fn show(&mut self, notice: Notice) {
        match notice {
            Notice::MovedAside(folder) => {
                self.bar.println(format!("the older experiment was moved to {}", folder.display()));
            }
            Notice::Tokenizing(progress) => {
                self.style("tokenizing {bar:32} {bytes}/{total_bytes} ({eta} left)");
                self.bar.set_length(progress.bytes_total);
                self.bar.set_position(progress.bytes_done);
            }
            Notice::Corpus(c) => self.say(&format!(
                "corpus {}: {} documents, {} tokens for training, {} for validation, vocabulary {}",
                c.source, c.documents, c.train_tokens, c.validation_tokens, c.vocabulary
            )),
            Notice::Kept(run) => {
                self.done += 1;
                self.say(&format!("{run}: finished before, kept"));
            }
            Notice::Run(event) => self.show_event(event),
            Notice::Ended(run, ending) => {
                self.done += 1;
                match ending {
                    Ending::Finished(s) => self.say(&format!(
                        "{run}: training loss {:.4}, validation loss {:.4}, {:.0} tokens/s",
                        s.final_train_loss, s.final_val_loss, s.tokens_per_s
                    )),
                    Ending::Diverged { reason, .. } => self.say(&format!("diverged: {reason}")),
                    Ending::Interrupted { step } => self.say(&format!("{run}: stopped at step {step}")),
                }
            }
        }
    }

    fn show_event(&mut self, event: Event) {
        match event {
            Event::Started { run, from, steps } => {
                (self.step_seconds, self.validation) = (f64::NAN, f64::NAN);
                self.losses.clear();
                self.style("[{prefix}] {bar:24} {pos}/{len} {msg} ({eta} left)");
                self.bar.set_prefix(format!("{}/{} {run}", self.done + 1, self.runs));
                self.bar.set_length(steps as u64);
                self.bar.set_position(from as u64);
                self.bar.reset_eta();
            }
            Event::Stepped { step, loss, tokens, time } => {
                let seconds = time.as_secs_f64();
                let smooth = if self.step_seconds.is_nan() {
                    seconds
                } else {
                    0.9 * self.step_seconds + 0.1 * seconds
                };
                self.step_seconds = smooth;
                self.losses.push(loss);
                self.bar.set_message(format!(
                    "{} loss {loss:.3} validation {:.3} {:.0} tokens/s",
                    sparkline(&self.losses, 16),
                    self.validation,
                    tokens as f64 / smooth
                ));
                self.bar.set_position(step as u64);
            }
            Event::Validated { loss, .. } => self.validation = loss,
        }
        self.bar.enable_steady_tick(Duration::from_secs(1));
    }

    /// A line that stays, also where there is no terminal to draw a bar on.
    fn say(&self, line: &str) {
        self.bar.suspend(|| println!("{line}"));
    }
}
