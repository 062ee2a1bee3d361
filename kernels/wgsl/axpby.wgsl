// y = alpha x + beta y, alpha one constant or one device scalar for each problem (device_alpha = 1); with
// beta = 0 the old y is not read.
// Launch: 256 invocations a workgroup, each problem's elements in chunks of 1024.

struct Params {
    grid: Grid,
    alpha_view: View,
    x_view: View,
    y_view: View,
    rows: u32,
    cols: u32,
    alpha: f32,
    beta: f32,
    device_alpha: u32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> alphas: array<f32>;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

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
    let start = (group % params.grid.per_problem) * CHUNK + t;
    let end = min(params.rows * params.cols, (group % params.grid.per_problem + 1u) * CHUNK);
    for (var e = start; e < end; e += 256u) {
        let i = e / params.cols;
        let j = e % params.cols;
        var alpha = params.alpha;
        if (params.device_alpha == 1u) {
            alpha = alphas[base(params.alpha_view, problem)];
        }
        let at = base(params.y_view, problem) + i * params.y_view.row_stride + j;
        var value = alpha * x[base(params.x_view, problem) + i * params.x_view.row_stride + j];
        if (params.beta != 0.0) {
            value = fma(params.beta, y[at], value);
        }
        y[at] = value;
    }
}
