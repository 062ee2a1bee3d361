//! AdamW against numbers from PyTorch 2.15: `torch.optim.AdamW([p], lr=0.01)` in float64, three steps.

use lr_linalg::{Cpu, Dims, Linalg, Mats, Reference};
use lr_optim::{AdamW, AdamWConfig, StateDict};

const START: [f64; 4] = [0.5, -1.25, 2.0, 0.0];
const GRADIENTS: [[f64; 4]; 3] = [[0.1, -0.2, 3.0, 0.0], [-0.4, 0.05, 1.0, 1e-9], [0.3, 0.3, -2.0, 0.0]];
const TORCH: [[f64; 4]; 3] = [
    [0.4899500009999999, -1.2398750005, 1.9898000000333333, 0.0],
    [0.49549604074841286, -1.2350563316099947, 1.9808903805650497, -0.0004915493116144774],
    [0.4951833085671077, -1.2381453949776515, 1.9784200393176334, -0.0008054760727734166],
];

fn trajectory<B: Linalg<Elem = f64>>(b: &B) {
    let dims = Dims::new(1, 2, 2);
    let mut x = Mats::from_slice(b, dims, &START).unwrap();
    let mut adamw = AdamW::new(b, AdamWConfig::default(), &[dims]).unwrap();
    for (gradient, torch) in GRADIENTS.iter().zip(TORCH) {
        // Through a saved state every time, so that the state is all there is.
        let mut dict = StateDict::default();
        adamw.save(b, "a", &mut dict).unwrap();
        adamw = AdamW::new(b, AdamWConfig::default(), &[dims]).unwrap();
        adamw.load(b, "a", &dict).unwrap();
        let g = Mats::from_slice(b, dims, gradient).unwrap();
        adamw.step_tensors(b, [(x.as_mut(), g.as_ref())], 0.01);
        for (ours, torch) in x.to_vec(b).unwrap().into_iter().zip(torch) {
            assert!((ours - torch).abs() <= 1e-14, "{ours} against {torch}");
        }
    }
}

#[test]
fn steps_are_those_of_pytorch() {
    trajectory(&Reference::<f64>::new());
    trajectory(&Cpu::<f64>::new());
}
