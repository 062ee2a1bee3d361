// out = weight <x, y> + beta out, the Frobenius inner product; with beta = 0 the old out is not read.
// Launch: 256 invocations a workgroup. A problem of at most 16384 elements takes one workgroup (`whole`); of a
// larger one, every 16384 elements leave a partial result (`partial`), which `finish` reduces: sums stay
// short, and the result is a function of the shape alone.

struct Params {
    grid: Grid,
    x_view: View,
    y_view: View,
    out_view: View,
    rows: u32,
    cols: u32,
    weight: f32,
    beta: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

const SPAN: u32 = 16384u;

// What one invocation adds up of the elements from `start` to `end`, in four sums.
fn products(problem: u32, start: u32, end: u32, t: u32) -> f32 {
    let x_base = base(params.x_view, problem);
    let y_base = base(params.y_view, problem);
    var sums = vec4<f32>(0.0);
    for (var e = start + t; e < end; e += 256u) {
        let i = e / params.cols;
        let j = e % params.cols;
        let product = x[x_base + i * params.x_view.row_stride + j] * y[y_base + i * params.y_view.row_stride + j];
        sums = vec4<f32>(sums.yzw, sums.x + product);
    }
    return (sums.x + sums.y) + (sums.z + sums.w);
}

fn deliver(problem: u32, t: u32, sum: f32) {
    if (t == 0u) {
        let at = base(params.out_view, problem);
        var value = params.weight * sum;
        if (params.beta != 0.0) {
            value = fma(params.beta, out[at], value);
        }
        out[at] = value;
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
    deliver(problem, t, sum_lanes(t, products(problem, 0u, params.rows * params.cols, t)));
}

// out is the row of partial sums of each problem.
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
    let sum = sum_lanes(t, products(problem, piece * SPAN, end, t));
    if (t == 0u) {
        out[base(params.out_view, problem) + piece] = sum;
    }
}

// x is the row of partial sums of each problem.
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
    var sum = 0.0;
    for (var piece = t; piece < params.cols; piece += 256u) {
        sum += x[base(params.x_view, problem) + piece];
    }
    deliver(problem, t, sum_lanes(t, sum));
}
