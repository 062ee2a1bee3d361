// Solves M y = x for every row or column x of a matrix, in place; M is op(T) on the left, its transpose on the
// right: M_ik = t[i t_row + k t_col]. Only the entries that are known to be M's triangle are read. A zero on the
// diagonal gives infinities.
//
// Launch: 64 invocations a workgroup, one for each row or column; element i of it is at x[i x_step].

struct Params {
    grid: Grid,
    t_view: View,
    x_view: View,
    order: u32,
    vectors: u32,
    forward: u32,
    t_row: u32,
    t_col: u32,
    x_step: u32,
    x_vector: u32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> triangle: array<f32>;
@group(0) @binding(1) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = group_index(workgroup, workgroups);
    if (group >= params.grid.groups) {
        return;
    }
    let problem = params.grid.first + group / params.grid.per_problem;
    let vector = (group % params.grid.per_problem) * 64u + lane;
    if (vector >= params.vectors) {
        return;
    }
    let t_base = base(params.t_view, problem);
    let x_base = base(params.x_view, problem) + vector * params.x_vector;
    for (var step = 0u; step < params.order; step++) {
        let i = select(params.order - 1u - step, step, params.forward == 1u);
        let first = select(i + 1u, 0u, params.forward == 1u);
        let row = t_base + i * params.t_row;
        var rest = x[x_base + i * params.x_step];
        var k = first;
        for (; k + 4u <= first + step; k += 4u) {
            let t_at = row + k * params.t_col;
            let x_at = x_base + k * params.x_step;
            rest = fma(-triangle[t_at], x[x_at], rest);
            rest = fma(-triangle[t_at + params.t_col], x[x_at + params.x_step], rest);
            rest = fma(-triangle[t_at + 2u * params.t_col], x[x_at + 2u * params.x_step], rest);
            rest = fma(-triangle[t_at + 3u * params.t_col], x[x_at + 3u * params.x_step], rest);
        }
        for (; k < first + step; k++) {
            rest = fma(-triangle[row + k * params.t_col], x[x_base + k * params.x_step], rest);
        }
        x[x_base + i * params.x_step] = rest / triangle[row + i * params.t_col];
    }
}
