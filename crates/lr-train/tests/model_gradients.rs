//! The hand-derived backward pass against central finite differences in f64, every element of every tensor.

use lr_linalg::{Backend, Blas, Cpu, Dims, Epilogue, Linalg, Mats, MatsRef, Reference};
use lr_manifolds::Factors;
use lr_train::{
    model::{Choices, FinalNorm, ModelShape, Parameters, Position, QkNorm, Transformer},
    neural::{IGNORE, Neural},
};

const TINY: ModelShape = ModelShape {
    layers: 2,
    heads: 4,
    kv_heads: 4,
    d_model: 6,
    head_dim: 3,
    d_ff: 10,
    sequence: 5,
    batch: 2,
    vocabulary: 7,
};

/// The paper's model.
const PAPER: Choices = Choices { final_norm: FinalNorm::On, position: Position::None, qk_norm: QkNorm::Off };
const ROPE: Choices = Choices { position: Position::Rope, ..PAPER };
const QK_NORM: Choices = Choices { qk_norm: QkNorm::On, ..PAPER };
const ROPE_AND_QK_NORM: Choices = Choices { position: Position::Rope, ..QK_NORM };

/// Tokens of a fixed pattern that leaves the last one of the vocabulary out, and targets of which some
/// are ignored.
fn batch(shape: &ModelShape) -> (Vec<u32>, Vec<u32>) {
    let known = shape.vocabulary as u32 - 1;
    let n = shape.tokens() as u32;
    let tokens = (0..n).map(|t| (t * t + 3 * t + 1) % known).collect();
    let ignored = |t: u32| (t as usize + 1).is_multiple_of(shape.sequence) || t == 1;
    let targets = (0..n).map(|t| if ignored(t) { IGNORE } else { (5 * t + 2) % known }).collect();
    (tokens, targets)
}

fn value<B: Neural>(
    b: &B,
    model: &mut Transformer<B>,
    weights: &Parameters<B>,
    batch: &(Vec<u32>, Vec<u32>),
) -> f64
where
    B::Elem: Into<f64>,
{
    let loss = model.loss(b, weights, &batch.0, &batch.1);
    b.download(loss).expect("host memory")[0].into()
}

/// Initial weights, larger so that no part of the model is near linear.
fn weights<B: Linalg<Elem = f64>>(b: &B, shape: &ModelShape, seed: u64) -> Parameters<B> {
    let mut weights = Parameters::random(b, shape, seed).expect("host memory");
    for tensor in weights.tensors_mut() {
        let scaled: Vec<f64> =
            b.download(tensor.mats.as_ref()).expect("host memory").iter().map(|x| 2.0 * x).collect();
        b.upload(&scaled, tensor.mats);
    }
    weights
}

/// Differences every element and compares relative to the element, or to a thousandth of the largest of its
/// tensor where that is more, since differences carry rounding of the loss.
fn check<B: Neural<Elem = f64>>(b: &B, shape: &ModelShape, choices: &Choices) {
    const STEP: f64 = 2e-5;
    let batch = batch(shape);
    let mut model = Transformer::new(b, shape, choices).expect("host memory");
    let mut weights = weights(b, shape, 3);
    let mut gradients = Parameters::zeros(b, shape).expect("host memory");
    for tensor in gradients.tensors_mut() {
        b.fill(f64::NAN, tensor.mats); // must be overwritten
    }
    let loss = b.download(model.forward_backward(b, &weights, &batch.0, &batch.1, &mut gradients));
    assert_eq!(loss.expect("host memory")[0], value(b, &mut model, &weights, &batch), "two ways to the loss");
    for k in 0..8 {
        let name = gradients.tensors()[k].name;
        let analytic = b.download(gradients.tensors()[k].mats).expect("host memory");
        let start = b.download(weights.tensors()[k].mats).expect("host memory");
        let largest = analytic.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        assert!(largest > 1e-4, "{name}: gradient vanishes");
        for (i, &gradient) in analytic.iter().enumerate() {
            let mut at = |offset: f64| {
                let mut moved = start.clone();
                moved[i] += offset;
                let [.., tensor] = &mut weights.tensors_mut()[..=k] else { unreachable!("k < 8") };
                b.upload(&moved, tensor.mats.as_mut());
                value(b, &mut model, &weights, &batch)
            };
            // Fourth order: error STEP^4.
            let numeric = (8.0 * (at(STEP) - at(-STEP)) - (at(2.0 * STEP) - at(-2.0 * STEP))) / (12.0 * STEP);
            let error = (numeric - gradient).abs() / gradient.abs().max(1e-3 * largest);
            assert!(
                error < 1e-6,
                "{name}[{i}]: {gradient} by hand, {numeric} by differences, error {error:e}"
            );
        }
        let [.., tensor] = &mut weights.tensors_mut()[..=k] else { unreachable!("k < 8") };
        b.upload(&start, tensor.mats.as_mut());
    }
}

#[test]
fn multi_head_attention_with_final_norm() {
    check(&Cpu::<f64>::new(), &TINY, &PAPER);
}

#[test]
fn multi_head_attention_without_final_norm() {
    check(&Cpu::<f64>::new(), &TINY, &Choices { final_norm: FinalNorm::Off, ..PAPER });
}

#[test]
fn grouped_query_attention() {
    check(&Cpu::<f64>::new(), &ModelShape { kv_heads: 2, ..TINY }, &PAPER);
}

#[test]
fn multi_query_attention_on_the_reference_backend() {
    check(&Reference::<f64>::new(), &ModelShape { kv_heads: 1, layers: 1, ..TINY }, &PAPER);
}

#[test]
fn rotated_queries_and_keys() {
    check(&Cpu::<f64>::new(), &ModelShape { head_dim: 4, ..TINY }, &ROPE);
}

#[test]
fn normalized_queries_and_keys() {
    check(&Cpu::<f64>::new(), &TINY, &QK_NORM);
}

#[test]
fn grouped_query_attention_with_normalized_and_rotated_queries_and_keys() {
    let shape = ModelShape { kv_heads: 2, head_dim: 4, ..TINY };
    check(&Cpu::<f64>::new(), &shape, &ROPE_AND_QK_NORM);
    check(&Reference::<f64>::new(), &ModelShape { kv_heads: 1, layers: 1, ..shape }, &ROPE_AND_QK_NORM);
}

/// Largest relative distance between `A^T G_A` and `G_B^T B` over the problems of a bank: zero where the loss is
/// a function of the products `A B^T`, because both are `A^T G_W B`.
fn inconsistency<B: Linalg<Elem = f64>>(b: &B, x: &Factors<B>, g: &Factors<B>) -> f64 {
    let product = |left: MatsRef<'_, B>, right: MatsRef<'_, B>| {
        let dims = Dims::square(left.dims().batch, left.dims().cols);
        let mut out = Mats::zeros(b, dims).expect("host memory");
        b.gemm(1.0, left.t(), right.n(), Epilogue::Overwrite, out.as_mut());
        out.to_vec(b).expect("host memory")
    };
    let (from_a, from_b) =
        (product(x.left.as_ref(), g.left.as_ref()), product(g.right.as_ref(), x.right.as_ref()));
    let size = from_a.iter().chain(&from_b).fold(0.0f64, |m, v| m.max(v.abs()));
    from_a.iter().zip(&from_b).fold(0.0f64, |m, (a, b)| m.max((a - b).abs())) / size
}

#[test]
fn only_rotation_and_norm_of_queries_and_keys_make_the_gradients_of_a_pair_inconsistent() {
    let b = Cpu::<f64>::new();
    for kv_heads in [4, 1] {
        let shape = ModelShape { kv_heads, head_dim: 4, ..TINY };
        let batch = batch(&shape);
        let weights = weights(&b, &shape, 6);
        for (choices, consistent) in [(PAPER, true), (ROPE, false), (QK_NORM, false)] {
            let mut model = Transformer::new(&b, &shape, &choices).expect("host memory");
            let mut gradients = Parameters::zeros(&b, &shape).expect("host memory");
            model.forward_backward(&b, &weights, &batch.0, &batch.1, &mut gradients);
            let defect = inconsistency(&b, &weights.qk, &gradients.qk);
            assert!(if consistent { defect < 1e-12 } else { defect > 1e-2 }, "{choices:?}: {defect:e}");
            let defect = inconsistency(&b, &weights.vo, &gradients.vo);
            assert!(defect < 1e-12, "values and outputs under {choices:?}: {defect:e}");
        }
    }
}

/// Every block of a grid starts with orthonormal columns, not only the stack.
#[test]
fn the_maps_of_a_group_start_orthonormal_one_by_one() {
    let (b, shape) = (Cpu::<f64>::new(), ModelShape { kv_heads: 2, ..TINY });
    let weights = Parameters::random(&b, &shape, 8).expect("host memory");
    for side in [&weights.qk.left, &weights.qk.right, &weights.vo.left, &weights.vo.right] {
        let blocks = side.dims().len() / (shape.d_model * shape.head_dim);
        let maps = side.as_ref().reshape(Dims::new(blocks, shape.d_model, shape.head_dim));
        let mut gram = Mats::zeros(&b, Dims::square(blocks, shape.head_dim)).expect("host memory");
        b.gemm(1.0, maps.t(), maps.n(), Epilogue::Overwrite, gram.as_mut());
        b.add_diagonal(-1.0, gram.as_mut());
        let defect = gram.to_vec(&b).expect("host memory").iter().fold(0.0f64, |m, x| m.max(x.abs()));
        assert!(defect < 1e-13, "{blocks} blocks: {defect:e}");
    }
}

/// Chunks of the unembedding and blocks of attention: sizes beyond one block, along random directions.
#[test]
fn directional_derivatives_across_block_boundaries() {
    let shape = ModelShape { sequence: 130, batch: 5, head_dim: 4, heads: 2, kv_heads: 1, layers: 1, ..TINY };
    let (b, batch) = (Cpu::<f64>::new(), batch(&shape));
    let mut model = Transformer::new(&b, &shape, &PAPER).expect("host memory");
    let mut weights = weights(&b, &shape, 5);
    let mut gradients = Parameters::zeros(&b, &shape).expect("host memory");
    model.forward_backward(&b, &weights, &batch.0, &batch.1, &mut gradients);
    for k in 0..8 {
        let start = b.download(weights.tensors()[k].mats).expect("host memory");
        let gradient = b.download(gradients.tensors()[k].mats).expect("host memory");
        let direction: Vec<f64> = (0..start.len()).map(|i| (17.0 * (i + k) as f64).sin()).collect();
        let analytic: f64 = gradient.iter().zip(&direction).map(|(g, d)| g * d).sum();
        let mut at = |t: f64| {
            let moved: Vec<f64> = start.iter().zip(&direction).map(|(x, d)| x + t * d).collect();
            let [.., tensor] = &mut weights.tensors_mut()[..=k] else { unreachable!("k < 8") };
            b.upload(&moved, tensor.mats.as_mut());
            value(&b, &mut model, &weights, &batch)
        };
        let t = 1e-5;
        let numeric = (8.0 * (at(t) - at(-t)) - (at(2.0 * t) - at(-2.0 * t))) / (12.0 * t);
        at(0.0);
        let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
        assert!((numeric - analytic).abs() < 1e-6 * norm, "tensor {k}: {analytic} by hand, {numeric}");
    }
}

#[test]
fn a_batch_without_counted_targets_has_neither_loss_nor_gradient() {
    let b = Cpu::<f64>::new();
    let mut model = Transformer::new(&b, &TINY, &PAPER).expect("host memory");
    let weights = weights(&b, &TINY, 1);
    let mut gradients = Parameters::zeros(&b, &TINY).expect("host memory");
    let targets = vec![IGNORE; TINY.tokens()];
    let loss = model.forward_backward(&b, &weights, &vec![0; TINY.tokens()], &targets, &mut gradients);
    assert_eq!(b.download(loss).expect("host memory"), [0.0]);
    for tensor in gradients.tensors() {
        assert!(b.download(tensor.mats).expect("host memory").iter().all(|&g| g == 0.0), "{}", tensor.name);
    }
}

/// A position cannot see later ones: other tokens there leave its loss as it was.
#[test]
fn attention_is_causal() {
    let b = Cpu::<f64>::new();
    let mut model = Transformer::new(&b, &TINY, &PAPER).expect("host memory");
    let weights = weights(&b, &TINY, 2);
    let (tokens, _) = batch(&TINY);
    let only =
        |t: usize| -> Vec<u32> { (0..TINY.tokens()).map(|i| if i == t { 1 } else { IGNORE }).collect() };
    let mut changed = tokens.clone();
    changed[3] = (changed[3] + 1) % 6;
    for t in 0..TINY.tokens() {
        let before = value(&b, &mut model, &weights, &(tokens.clone(), only(t)));
        let after = value(&b, &mut model, &weights, &(changed.clone(), only(t)));
        assert_eq!(before != after, (3..TINY.sequence).contains(&t), "position {t}");
    }
}

#[test]
#[should_panic(expected = "outside a vocabulary of 7")]
fn a_token_outside_the_vocabulary_is_refused() {
    let b = Cpu::<f64>::new();
    let mut model = Transformer::new(&b, &TINY, &PAPER).expect("host memory");
    let weights = weights(&b, &TINY, 2);
    let n = TINY.tokens();
    model.loss(&b, &weights, &vec![7; n], &vec![0; n]);
}

#[test]
fn initial_loss_is_near_that_of_guessing_and_weights_are_as_specified() {
    let shape =
        ModelShape { d_model: 64, head_dim: 16, d_ff: 128, sequence: 32, batch: 4, vocabulary: 500, ..TINY };
    let b = Cpu::<f32>::new();
    let mut model = Transformer::new(&b, &shape, &PAPER).expect("host memory");
    let weights = Parameters::random(&b, &shape, 11).expect("host memory");
    let (tokens, targets) = batch(&shape);
    let loss: f64 = value(&b, &mut model, &weights, &(tokens, targets));
    // Logits have variance 1/3, which adds about 1/6.
    assert!((loss - 500f64.ln()).abs() < 0.5, "{loss}");
    let bounds = [("embedding", 500f32), ("unembedding", 64.0), ("mlp.up", 64.0), ("mlp.down", 128.0)];
    for tensor in weights.tensors() {
        let values = b.download(tensor.mats).expect("host memory");
        match bounds.iter().find(|(name, _)| *name == tensor.name) {
            Some((name, input)) => {
                let (a, largest) = (1.0 / input.sqrt(), values.iter().fold(0f32, |m, x| m.max(x.abs())));
                assert!(largest <= a && largest > 0.99 * a, "{name}: {largest} of {a}");
            }
            None => {
                let d = tensor.mats.dims();
                let mut gram = Mats::zeros(&b, Dims::square(d.batch, d.cols)).expect("host memory");
                b.gemm(1.0, tensor.mats.t(), tensor.mats.n(), Epilogue::Overwrite, gram.as_mut());
                b.add_diagonal(-1.0, gram.as_mut());
                let defect = gram.to_vec(&b).expect("host memory").iter().fold(0f32, |m, x| m.max(x.abs()));
                assert!(defect < 1e-5, "{}: orthogonality defect {defect}", tensor.name);
            }
        }
    }
    let again = Parameters::random(&b, &shape, 11).expect("host memory");
    let other = Parameters::random(&b, &shape, 12).expect("host memory");
    for ((x, y), z) in weights.tensors().iter().zip(again.tensors()).zip(other.tensors()) {
        let [x, y, z] = [x.mats, y.mats, z.mats].map(|m| b.download(m).expect("host memory"));
        assert!(x == y && x != z);
    }
}

#[test]
fn rounded_copies_hold_bfloat16_values() {
    let b = Cpu::<f32>::new();
    let masters = Parameters::random(&b, &TINY, 4).expect("host memory");
    let mut rounded = Parameters::zeros(&b, &TINY).expect("host memory");
    rounded.round_to_bf16_from(&b, &masters);
    for (rounded, master) in rounded.tensors().iter().zip(masters.tensors()) {
        let values = b.download(rounded.mats).expect("host memory");
        for (r, m) in values.iter().zip(b.download(master.mats).expect("host memory")) {
            assert_eq!(r.to_bits() & 0xffff, 0, "{}: {r} has more than 8 bits", rounded.name);
            assert!((r - m).abs() <= m.abs() / 256.0);
        }
    }
}
