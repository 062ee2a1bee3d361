//! Every kernel of `lr-kernels` through the interpreter, under several schedules.

use lr_kernels::ptx;
use lr_ptx::suite::{self, Progress};
use lr_ptx::{Options, Schedule};

#[test]
fn every_kernel_has_cases() {
    for kernel in ptx::ALL {
        assert!(suite::of(kernel).is_some(), "no cases for the kernel {}", kernel.name);
    }
    for suite in suite::ALL {
        assert!(ptx::ALL.iter().any(|kernel| kernel.name == suite.kernel), "no kernel {}", suite.kernel);
    }
}

#[test]
fn kernels_compute_what_they_say_and_every_line_is_executed() {
    let mut wrong = Vec::new();
    for kernel in ptx::ALL {
        let Some(suite) = suite::of(kernel) else { continue };
        for &precision in suite::precisions(kernel.source) {
            let mut progress = Progress::default();
            for schedule in [Schedule::InOrder, Schedule::Random(1), Schedule::Random(2)] {
                let options = Options { schedule, ..Options::default() };
                if let Err(message) = suite.run(kernel.source, precision, options, &mut progress) {
                    wrong.push(format!("{} {precision:?} {schedule:?}: {message}", kernel.name));
                }
            }
            for (entry, lines) in &progress.executed {
                // The last instruction stands for the end of the text, which nothing reaches.
                for (line, executed) in &lines[..lines.len() - 1] {
                    if !executed {
                        wrong.push(format!(
                            "{} {precision:?}: line {line} of {entry} is never executed",
                            kernel.name
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
