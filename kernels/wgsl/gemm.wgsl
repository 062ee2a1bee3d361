// c = alpha op(a) op(b) + beta d, op transposing where the flag is 1; d may be c itself, and is not read with
// beta = 0. a is m x k, b is k x n as read.
//
// Launch: 256 invocations a workgroup, as 16 x 16. `wide`: a workgroup computes 64 x 64 elements of one problem,
// 4 x 4 an invocation, from tiles of 64 x 16 and 16 x 64 (8.5 KiB of workgroup memory). `narrow`: 16 x 16
// elements, one an invocation, from tiles of 16 x 16 (2 KiB). Every element is summed in the order of k: a Gram
// matrix is symmetric to the last bit.

struct Params {
    grid: Grid,
    a_view: View,
    b_view: View,
    d_view: View,
    c_view: View,
    m: u32,
    n: u32,
    k: u32,
    a_transposed: u32,
    b_transposed: u32,
    alpha: f32,
    beta: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> d: array<f32>;
@group(0) @binding(3) var<storage, read_write> c: array<f32>;

// Tiles with k along the rows; 68 keeps rows apart in the banks and aligned to four elements.
const STRIDE: u32 = 68u;
var<workgroup> a_tile: array<f32, 1088>;
var<workgroup> b_tile: array<f32, 1088>;

fn deliver(problem: u32, i: u32, j: u32, sum: f32) {
    if (i < params.m && j < params.n) {
        var value = params.alpha * sum;
        if (params.beta != 0.0) {
            value = fma(params.beta, d[base(params.d_view, problem) + i * params.d_view.row_stride + j], value);
        }
        c[base(params.c_view, problem) + i * params.c_view.row_stride + j] = value;
    }
}

// op(a)_il, zero outside.
fn a_at(at: u32, i: u32, l: u32) -> f32 {
    if (i >= params.m || l >= params.k) {
        return 0.0;
    }
    if (params.a_transposed == 1u) {
        return a[at + l * params.a_view.row_stride + i];
    }
    return a[at + i * params.a_view.row_stride + l];
}

// op(b)_lj, zero outside.
fn b_at(at: u32, l: u32, j: u32) -> f32 {
    if (l >= params.k || j >= params.n) {
        return 0.0;
    }
    if (params.b_transposed == 1u) {
        return b[at + j * params.b_view.row_stride + l];
    }
    return b[at + l * params.b_view.row_stride + j];
}

@compute @workgroup_size(16, 16)
fn wide(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let group = group_index(workgroup, workgroups);
    if (group >= params.grid.groups) {
        return;
    }
    let problem = params.grid.first + group / params.grid.per_problem;
    let tile = group % params.grid.per_problem;
    let across = (params.n + 63u) / 64u;
    let row = tile / across * 64u;
    let col = tile % across * 64u;
    let a_base = base(params.a_view, problem);
    let b_base = base(params.b_view, problem);
    var sum0 = vec4<f32>(0.0);
    var sum1 = vec4<f32>(0.0);
    var sum2 = vec4<f32>(0.0);
    var sum3 = vec4<f32>(0.0);
    for (var start = 0u; start < params.k; start += 16u) {
        for (var e = t; e < 1024u; e += 256u) {
            // Neighbours read neighbours, whichever way the operand is stored.
            let long = e & 63u;
            let short = e >> 6u;
            let l = e & 15u;
            let far = e >> 4u;
            if (params.a_transposed == 1u) {
                a_tile[short * STRIDE + long] = a_at(a_base, row + long, start + short);
            } else {
                a_tile[l * STRIDE + far] = a_at(a_base, row + far, start + l);
            }
            if (params.b_transposed == 1u) {
                b_tile[l * STRIDE + far] = b_at(b_base, start + l, col + far);
            } else {
                b_tile[short * STRIDE + long] = b_at(b_base, start + short, col + long);
            }
        }
        workgroupBarrier();
        for (var l = 0u; l < 16u; l++) {
            let x = l * STRIDE + local.y * 4u;
            let y = l * STRIDE + local.x * 4u;
            let right = vec4<f32>(b_tile[y], b_tile[y + 1u], b_tile[y + 2u], b_tile[y + 3u]);
            sum0 = fma(vec4<f32>(a_tile[x]), right, sum0);
            sum1 = fma(vec4<f32>(a_tile[x + 1u]), right, sum1);
            sum2 = fma(vec4<f32>(a_tile[x + 2u]), right, sum2);
            sum3 = fma(vec4<f32>(a_tile[x + 3u]), right, sum3);
        }
        workgroupBarrier();
    }
    let i = row + local.y * 4u;
    let j = col + local.x * 4u;
    for (var s = 0u; s < 4u; s++) {
        deliver(problem, i, j + s, sum0[s]);
        deliver(problem, i + 1u, j + s, sum1[s]);
        deliver(problem, i + 2u, j + s, sum2[s]);
        deliver(problem, i + 3u, j + s, sum3[s]);
    }
}

@compute @workgroup_size(16, 16)
fn narrow(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_id) local: vec3<u32>,
) {
    let group = group_index(workgroup, workgroups);
    if (group >= params.grid.groups) {
        return;
    }
    let problem = params.grid.first + group / params.grid.per_problem;
    let tile = group % params.grid.per_problem;
    let across = (params.n + 15u) / 16u;
    let row = tile / across * 16u;
    let col = tile % across * 16u;
    let a_base = base(params.a_view, problem);
    let b_base = base(params.b_view, problem);
    var sum = 0.0;
    for (var start = 0u; start < params.k; start += 16u) {
        if (params.a_transposed == 1u) {
            a_tile[local.y * STRIDE + local.x] = a_at(a_base, row + local.x, start + local.y);
        } else {
            a_tile[local.x * STRIDE + local.y] = a_at(a_base, row + local.y, start + local.x);
        }
        if (params.b_transposed == 1u) {
            b_tile[local.x * STRIDE + local.y] = b_at(b_base, start + local.x, col + local.y);
        } else {
            b_tile[local.y * STRIDE + local.x] = b_at(b_base, start + local.y, col + local.x);
        }
        workgroupBarrier();
        for (var l = 0u; l < 16u; l++) {
            sum = fma(a_tile[l * STRIDE + local.y], b_tile[l * STRIDE + local.x], sum);
        }
        workgroupBarrier();
    }
    deliver(problem, row + local.y, col + local.x, sum);
}
