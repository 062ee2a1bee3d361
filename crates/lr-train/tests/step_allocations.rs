//! A warmed-up training step, from the batch to the moved parameters, allocates nothing on the CPU.

use lr_linalg::Cpu;
use lr_train::{
    config::{ExperimentConfig, OptimizerName, Preset},
    data::{IGNORE, TokenBatch},
    train::trainer::Trainer,
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

/// Counts allocations of the whole process.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, data: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is passed on.
        unsafe { System.dealloc(data, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_warm_training_step_allocates_nothing() {
    let config = ExperimentConfig { momentum: 0.875, ..ExperimentConfig::preset(Preset::Smoke) };
    let (sequence, vocabulary) = (config.model.sequence, config.model.vocabulary as u32);
    let mut batch = TokenBatch::new(config.model.batch, sequence);
    for (t, token) in batch.inputs.iter_mut().enumerate() {
        *token = (t as u32 * 7919) % vocabulary;
    }
    for (t, target) in batch.targets.iter_mut().enumerate() {
        *target = if (t + 1) % sequence == 0 { IGNORE } else { (t as u32 * 104_729) % vocabulary };
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    pool.install(|| {
        for optimizer in OptimizerName::ALL {
            let mut trainer = Trainer::new(&Cpu::<f32>::new(), &config, *optimizer, 0).unwrap();
            let mut step = || {
                trainer.differentiate(&batch);
                trainer.update();
            };
            // A worker that meets its first slice late still grows its scratch then; a step that allocates
            // by itself leaves no window free of it.
            let quiet = (0..100).any(|_| {
                let before = ALLOCATIONS.load(Ordering::Relaxed);
                (0..10).for_each(|_| step());
                ALLOCATIONS.load(Ordering::Relaxed) == before
            });
            assert!(quiet, "{optimizer}: allocations in every window of ten steps");
        }
    });
}
