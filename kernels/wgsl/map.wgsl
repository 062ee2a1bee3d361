// x_ij = f(x_ij): sqrt(max(x, 0)), max(x, floor), numerator / max(x, floor), factor x, or the nearest
// bfloat16 (ties to even), for function = 0 to 4. NaN stays NaN.
// Launch: 256 invocations a workgroup, each problem's elements in chunks of 1024.

struct Params {
    grid: Grid,
    x_view: View,
    rows: u32,
    cols: u32,
    function: u32,
    factor: f32,
    floor: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> x: array<f32>;

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
        let at = base(params.x_view, problem) + i * params.x_view.row_stride + j;
        let value = x[at];
        if (is_nan(value)) {
            continue;
        }
        let raised = max(value, params.floor);
        switch (params.function) {
            case 0u: { x[at] = sqrt(raised); }
            case 1u: { x[at] = raised; }
            case 2u: { x[at] = params.factor / raised; }
            case 3u: { x[at] = params.factor * value; }
            default: {
                let bits = bitcast<u32>(value);
                x[at] = bitcast<f32>((bits + 0x7fffu + ((bits >> 16u) & 1u)) & 0xffff0000u);
            }
        }
    }
}
