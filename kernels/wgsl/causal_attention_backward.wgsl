// Backward of causal_attention (Dao et al. 2022, algorithm 4). Probabilities come back as P_ij = exp(s_ij - lse_i);
// with delta_i = do_i o_i, dP_ij = do_i v_j and dS_ij = P_ij (dP_ij - delta_i) / sqrt(head_dim),
//     dq_i = sum_j dS_ij k_j  (entry `queries`),   dk_j = sum_i dS_ij q_i,  dv_j = sum_i P_ij do_i  (entry `keys`),
// dk and dv added to the old values where add is 1. Sums run over blocks in a fixed order.
//
// Launch: 256 invocations a workgroup, as 16 queries x 16 keys; one workgroup for every 16 queries (keys) of a
// problem. `queries` comes first and leaves delta. The gradients are accumulators of their own workgroups.

struct Params {
    grid: Grid,
    q_view: View,
    k_view: View,
    v_view: View,
    d_o_view: View,
    lse_view: View,
    delta_view: View,
    first_view: View,
    second_view: View,
    sequence: u32,
    width: u32,
    scale: f32,
    add: u32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> q: array<f32>;
@group(0) @binding(1) var<storage, read_write> k: array<f32>;
@group(0) @binding(2) var<storage, read_write> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> d_o: array<f32>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;
@group(0) @binding(5) var<storage, read_write> delta: array<f32>;
// o and dq for `queries`, dk and dv for `keys`.
@group(0) @binding(6) var<storage, read_write> first: array<f32>;
@group(0) @binding(7) var<storage, read_write> second: array<f32>;

// 16 x 16 with a column between the rows' banks.
var<workgroup> q_tile: array<f32, 272>;
var<workgroup> k_tile: array<f32, 272>;
var<workgroup> d_o_tile: array<f32, 272>;
var<workgroup> v_tile: array<f32, 272>;

// s_ij without its scale and dP_ij for i = queries + row, j = keys + lane, in invocation (row, lane).
fn products(problem: u32, queries: u32, keys: u32, row: u32, lane: u32) -> vec2<f32> {
    let i = queries + row;
    let j = keys + row;
    var sums = vec2<f32>(0.0);
    for (var start = 0u; start < params.width; start += 16u) {
        let c = start + lane;
        let place = row * 17u + lane;
        q_tile[place] = 0.0;
        k_tile[place] = 0.0;
        d_o_tile[place] = 0.0;
        v_tile[place] = 0.0;
        if (c < params.width && i < params.sequence) {
            q_tile[place] = q[base(params.q_view, problem) + i * params.q_view.row_stride + c];
            d_o_tile[place] = d_o[base(params.d_o_view, problem) + i * params.d_o_view.row_stride + c];
        }
        if (c < params.width && j < params.sequence) {
            k_tile[place] = k[base(params.k_view, problem) + j * params.k_view.row_stride + c];
            v_tile[place] = v[base(params.v_view, problem) + j * params.v_view.row_stride + c];
        }
        workgroupBarrier();
        for (var c = 0u; c < 16u; c++) {
            sums.x = fma(q_tile[row * 17u + c], k_tile[lane * 17u + c], sums.x);
            sums.y = fma(d_o_tile[row * 17u + c], v_tile[lane * 17u + c], sums.y);
        }
        workgroupBarrier();
    }
    return sums;
}

// P_ij and dS_ij, zero where key j is not seen.
fn probabilities(problem: u32, i: u32, j: u32, sums: vec2<f32>) -> vec2<f32> {
    if (j > i || i >= params.sequence) {
        return vec2<f32>(0.0);
    }
    let total = lse[base(params.lse_view, problem) + i * params.lse_view.row_stride];
    let d = delta[base(params.delta_view, problem) + i * params.delta_view.row_stride];
    let p = exp(sums.x * params.scale - total);
    return vec2<f32>(p, p * (sums.y - d) * params.scale);
}

@compute @workgroup_size(256)
fn queries(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let group = group_index(workgroup, workgroups);
    if (group >= params.grid.groups) {
        return;
    }
    let problem = params.grid.first + group / params.grid.per_problem;
    let block = (group % params.grid.per_problem) * 16u;
    let row = t >> 4u;
    let lane = t & 15u;
    let i = block + row;
    let inside = i < params.sequence;
    var share = 0.0;
    if (inside) {
        for (var c = lane; c < params.width; c += 16u) {
            share = fma(d_o[base(params.d_o_view, problem) + i * params.d_o_view.row_stride + c],
                first[base(params.first_view, problem) + i * params.first_view.row_stride + c], share);
        }
    }
    q_tile[row * 17u + lane] = share;
    workgroupBarrier();
    if (inside && lane == 0u) {
        var sum = 0.0;
        for (var c = 0u; c < 16u; c++) {
            sum += q_tile[row * 17u + c];
        }
        delta[base(params.delta_view, problem) + i * params.delta_view.row_stride] = sum;
    }
    storageBarrier();
    workgroupBarrier();
    let dq_at = base(params.second_view, problem) + i * params.second_view.row_stride;
    for (var keys = 0u; keys <= block; keys += 16u) {
        let sums = products(problem, block, keys, row, lane);
        q_tile[row * 17u + lane] = probabilities(problem, i, keys + lane, sums).y;
        workgroupBarrier();
        if (inside) {
            let count = min(16u, params.sequence - keys);
            for (var c = lane; c < params.width; c += 16u) {
                var value = 0.0;
                if (keys != 0u) {
                    value = second[dq_at + c];
                }
                var k_at = base(params.k_view, problem) + keys * params.k_view.row_stride + c;
                for (var j = 0u; j < count; j++) {
                    value = fma(q_tile[row * 17u + j], k[k_at], value);
                    k_at += params.k_view.row_stride;
                }
                second[dq_at + c] = value;
            }
        }
        workgroupBarrier();
    }
}

@compute @workgroup_size(256)
fn keys(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) t: u32,
) {
    let group = group_index(workgroup, workgroups);
    if (group >= params.grid.groups) {
        return;
    }
    let problem = params.grid.first + group / params.grid.per_problem;
    let block = (group % params.grid.per_problem) * 16u;
    let row = t >> 4u;
    let lane = t & 15u;
    // Row of the gradients that this invocation adds to.
    let j = block + row;
    let dk_at = base(params.first_view, problem) + j * params.first_view.row_stride;
    let dv_at = base(params.second_view, problem) + j * params.second_view.row_stride;
    for (var queries = block; queries < params.sequence; queries += 16u) {
        let sums = products(problem, queries, block, row, lane);
        let found = probabilities(problem, queries + row, block + lane, sums);
        q_tile[row * 17u + lane] = found.x;
        k_tile[row * 17u + lane] = found.y;
        workgroupBarrier();
        if (j < params.sequence) {
            let count = min(16u, params.sequence - queries);
            for (var c = lane; c < params.width; c += 16u) {
                var dk = 0.0;
                var dv = 0.0;
                if (queries != block || params.add == 1u) {
                    dk = first[dk_at + c];
                    dv = second[dv_at + c];
                }
                var q_at = base(params.q_view, problem) + queries * params.q_view.row_stride + c;
                var d_o_at = base(params.d_o_view, problem) + queries * params.d_o_view.row_stride + c;
                for (var i = 0u; i < count; i++) {
                    dv = fma(q_tile[i * 17u + row], d_o[d_o_at], dv);
                    dk = fma(k_tile[i * 17u + row], q[q_at], dk);
                    q_at += params.q_view.row_stride;
                    d_o_at += params.d_o_view.row_stride;
                }
                first[dk_at + c] = dk;
                second[dv_at + c] = dv;
            }
        }
        workgroupBarrier();
    }
}
