// Shared by every kernel: how a parameter block begins, where a view's elements lie, and tests of bits.
// Comparisons with NaN are not trusted: a compiler may assume that there are none.

// How a launch is spread: `groups` workgroups, `per_problem` of them for each problem from `first` on.
struct Grid { groups: u32, first: u32, per_problem: u32, unused: u32 }

// A batch of matrices with contiguous columns; problem p of the launch reads matrix p / ratio. Offsets count
// from the start of the bound window and may wrap: only the sum has to lie inside.
struct View { offset: u32, batch_stride: u32, row_stride: u32, ratio: u32 }

fn base(view: View, problem: u32) -> u32 {
    return view.offset + (problem / view.ratio) * view.batch_stride;
}

// Number of this workgroup: dispatches are folded into two dimensions.
fn group_index(workgroup: vec3<u32>, workgroups: vec3<u32>) -> u32 {
    return workgroup.x + workgroup.y * workgroups.x;
}

fn magnitude_bits(x: f32) -> u32 {
    return bitcast<u32>(x) & 0x7fffffffu;
}

fn is_nan(x: f32) -> bool {
    return magnitude_bits(x) > 0x7f800000u;
}

fn is_finite(x: f32) -> bool {
    return magnitude_bits(x) < 0x7f800000u;
}

// Elements that a workgroup of an element-wise kernel handles, four for each of its 256 invocations.
const CHUNK: u32 = 1024u;
