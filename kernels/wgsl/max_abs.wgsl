// out = max(out, max |x_ij|); a NaN in either makes it NaN.
// Launch: 256 invocations a workgroup. A problem of at most 16384 elements takes one workgroup (`whole`); of a
// larger one, every 16384 elements leave a partial result (`partial`), which `finish` reduces: sums stay
// short, and the result is a function of the shape alone.

struct Params {
    grid: Grid,
    x_view: View,
    out_view: View,
    rows: u32,
    cols: u32,
    weight: f32,
    beta: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> out: array<f32>;

const SPAN: u32 = 16384u;

// Bits of the largest magnitude among the elements from `start` to `end`, as one invocation sees them.
fn largest(problem: u32, start: u32, end: u32, t: u32) -> u32 {
    let x_base = base(params.x_view, problem);
    var bits = 0u;
    for (var e = start + t; e < end; e += 256u) {
        bits = max(bits, magnitude_bits(x[x_base + e / params.cols * params.x_view.row_stride + e % params.cols]));
    }
    return bits;
}

fn deliver(problem: u32, t: u32, bits: u32) {
    let at = base(params.out_view, problem);
    if (t == 0u) {
        let old = out[at];
        // A magnitude replaces a NaN only if it is one itself, and always a number below it.
        if (!is_nan(old) && (bits > 0x7f800000u || bitcast<f32>(bits) > old)) {
            out[at] = bitcast<f32>(bits);
        }
    }
}

@compute @workgroup_size(256)
fn whole(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let group = group_index(workgroup, workgroups);
    if (group >= params.grid.groups) {
        return;
    }
    let problem = params.grid.first + group;
    deliver(problem, t, max_lanes(t, largest(problem, 0u, params.rows * params.cols, t)));
}

// out is the row of partial results of each problem.
@compute @workgroup_size(256)
fn partial(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let group = group_index(workgroup, workgroups);
    if (group >= params.grid.groups) {
        return;
    }
    let problem = params.grid.first + group / params.grid.per_problem;
    let piece = group % params.grid.per_problem;
    let end = min((piece + 1u) * SPAN, params.rows * params.cols);
    let bits = max_lanes(t, largest(problem, piece * SPAN, end, t));
    if (t == 0u) {
        out[base(params.out_view, problem) + piece] = bitcast<f32>(bits);
    }
}

// x is the row of partial results of each problem.
@compute @workgroup_size(256)
fn finish(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let group = group_index(workgroup, workgroups);
    if (group >= params.grid.groups) {
        return;
    }
    let problem = params.grid.first + group;
    deliver(problem, t, max_lanes(t, largest(problem, 0u, params.cols, t)));
}
