//! A warmed-up training pass allocates nothing on the CPU backend.

use lr_linalg::Cpu;
use lr_train::{
    model::{FinalNorm, ModelShape, Parameters, Transformer},
    neural::IGNORE,
};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: forwards to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract is the same.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_warmed_up_pass_allocates_nothing() {
    let shape = ModelShape {
        layers: 2,
        heads: 4,
        kv_heads: 2,
        d_model: 64,
        head_dim: 16,
        d_ff: 128,
        sequence: 160,
        batch: 4,
        vocabulary: 700,
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("a pool");
    pool.install(|| {
        let b = Cpu::<f32>::new();
        let mut model = Transformer::new(&b, &shape, FinalNorm::On).expect("host memory");
        let weights = Parameters::random(&b, &shape, 1).expect("host memory");
        let mut gradients = Parameters::zeros(&b, &shape).expect("host memory");
        let tokens: Vec<u32> = (0..shape.tokens() as u32).map(|t| t % 700).collect();
        let mut targets = tokens.clone();
        targets[5] = IGNORE;
        // Threads warm up their own scratch memory when work reaches them.
        rayon::broadcast(|_| {
            let serial = Cpu::<f32>::with_threads(lr_linalg::Threads::Serial);
            let mut model = Transformer::new(&serial, &shape, FinalNorm::On).expect("host memory");
            let mut gradients = Parameters::zeros(&serial, &shape).expect("host memory");
            let weights = Parameters::random(&serial, &shape, 1).expect("host memory");
            model.forward_backward(&serial, &weights, &tokens, &targets, &mut gradients);
        });
        model.forward_backward(&b, &weights, &tokens, &targets, &mut gradients);
        model.loss(&b, &weights, &tokens, &targets);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        for _ in 0..3 {
            model.forward_backward(&b, &weights, &tokens, &targets, &mut gradients);
            model.loss(&b, &weights, &tokens, &targets);
        }
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0);
    });
}
