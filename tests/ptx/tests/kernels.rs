//! Every kernel of `lr-kernels` through the interpreter, under several schedules.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use lr_kernels::ptx;
use lr_ptx::suite::{self, Progress, Suite};
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

/// What is wrong with a kernel in one precision.
fn faults(kernel: &ptx::Kernel, suite: &Suite, precision: ptx::Precision) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut progress = Progress::default();
    for schedule in [Schedule::InOrder, Schedule::Random(1), Schedule::Random(2)] {
        let options = Options { schedule, ..Options::default() };
        if let Err(message) = suite.run(kernel.source, precision, options, &mut progress) {
            wrong.push(format!("{} {precision:?} {schedule:?}: {message}", kernel.name));
        }
    }
    for (entry, lines) in &progress.executed {
        // The last instruction stands for the end of the text, which nothing reaches.
        for (line, _) in lines[..lines.len() - 1].iter().filter(|(_, executed)| !executed) {
            wrong.push(format!("{} {precision:?}: line {line} of {entry} is never executed", kernel.name));
        }
    }
    wrong
}

#[test]
fn kernels_compute_what_they_say_and_every_line_is_executed() {
    let mut jobs = Vec::new();
    for kernel in ptx::ALL {
        let Some(suite) = suite::of(kernel) else { continue };
        jobs.extend(suite::precisions(kernel.source).iter().map(|&precision| (kernel, suite, precision)));
    }
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(&(kernel, suite, precision)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    wrong.lock().unwrap().extend(faults(kernel, suite, precision));
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
