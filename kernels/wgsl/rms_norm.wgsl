// y_ij = x_ij s_i with s_i = (mean_j(x_ij^2) + epsilon)^{-1/2}, and the s_i.
//
// Launch: 256 invocations a workgroup, one workgroup a row.

struct Params {
    grid: Grid,
    x_view: View,
    y_view: View,
    s_view: View,
    cols: u32,
    epsilon: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> s: array<f32>;

@compute @workgroup_size(256)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let group = group_index(workgroup, workgroups);
    if (group >= params.grid.groups) {
        return;
    }
    let problem = params.grid.first + group / params.grid.per_problem;
    let i = group % params.grid.per_problem;
    let x_at = base(params.x_view, problem) + i * params.x_view.row_stride;
    let y_at = base(params.y_view, problem) + i * params.y_view.row_stride;
    var square = 0.0;
    for (var j = t; j < params.cols; j += 256u) {
        square = fma(x[x_at + j], x[x_at + j], square);
    }
    let scale = 1.0 / sqrt(sum_lanes(t, square) / f32(params.cols) + params.epsilon);
    for (var j = t; j < params.cols; j += 256u) {
        y[y_at + j] = x[x_at + j] * scale;
    }
    if (t == 0u) {
        s[base(params.s_view, problem) + i * params.s_view.row_stride] = scale;
    }
}
