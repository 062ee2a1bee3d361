//! A warmed-up training pass allocates nothing on the CPU backend.

#[path = "../../../tests/support/counting_allocator.rs"]
mod counting_allocator;

use counting_allocator::assert_settles;
use lr_linalg::Cpu;
use lr_train::{
    model::{Choices, ModelShape, Parameters, Position, QkNorm, Transformer},
    neural::IGNORE,
};

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
        let weights = Parameters::random(&b, &shape, 1).expect("host memory");
        let mut gradients = Parameters::zeros(&b, &shape).expect("host memory");
        let tokens: Vec<u32> = (0..shape.tokens() as u32).map(|t| t % 700).collect();
        let mut targets = tokens.clone();
        targets[5] = IGNORE;
        let almost_low_rank = Choices { position: Position::Rope, qk_norm: QkNorm::On, ..Choices::default() };
        for choices in [Choices::default(), almost_low_rank] {
            let mut model = Transformer::new(&b, &shape, &choices).expect("host memory");
            assert_settles("forward and backward", || {
                model.forward_backward(&b, &weights, &tokens, &targets, &mut gradients);
                model.loss(&b, &weights, &tokens, &targets);
            });
        }
    });
}
