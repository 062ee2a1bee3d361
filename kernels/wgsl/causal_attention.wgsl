// o_i = sum_j<=i P_ij v_j with P_ij = exp(s_ij - lse_i), s_ij = q_i k_j / sqrt(head_dim), lse_i = log sum_j<=i exp(s_ij):
// block by block of keys, with the running maximum m and sum l of every row (Dao et al. 2022). A new block rescales
// what is there by exp(m_old - m_new); no matrix of scores exists.
//
// Launch: 256 invocations a workgroup, as 16 queries x 16 keys; one workgroup for every 16 queries of a problem.
// o is the accumulator, read and written only by its own workgroup.

struct Params {
    grid: Grid,
    q_view: View,
    k_view: View,
    v_view: View,
    o_view: View,
    lse_view: View,
    sequence: u32,
    width: u32,
    scale: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> q: array<f32>;
@group(0) @binding(1) var<storage, read_write> k: array<f32>;
@group(0) @binding(2) var<storage, read_write> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> o: array<f32>;
@group(0) @binding(4) var<storage, read_write> lse: array<f32>;

// 16 x 16 with a column between the rows' banks.
var<workgroup> q_tile: array<f32, 272>;
var<workgroup> k_tile: array<f32, 272>;
var<workgroup> p_tile: array<f32, 272>;

const LOWEST: f32 = -3.4028235e38;

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
    let queries = (group % params.grid.per_problem) * 16u;
    let row = t >> 4u;
    let lane = t & 15u;
    let i = queries + row;
    let q_at = base(params.q_view, problem) + i * params.q_view.row_stride;
    let o_at = base(params.o_view, problem) + i * params.o_view.row_stride;
    let inside = i < params.sequence;
    var greatest = LOWEST;
    var sum = 0.0;
    for (var keys = 0u; keys <= queries; keys += 16u) {
        let j = keys + row;
        let k_at = base(params.k_view, problem) + j * params.k_view.row_stride;
        var score = 0.0;
        for (var start = 0u; start < params.width; start += 16u) {
            let c = start + lane;
            var q_entry = 0.0;
            var k_entry = 0.0;
            if (c < params.width && inside) {
                q_entry = q[q_at + c];
            }
            if (c < params.width && j < params.sequence) {
                k_entry = k[k_at + c];
            }
            q_tile[row * 17u + lane] = q_entry;
            k_tile[row * 17u + lane] = k_entry;
            workgroupBarrier();
            for (var c = 0u; c < 16u; c++) {
                score = fma(q_tile[row * 17u + c], k_tile[lane * 17u + c], score);
            }
            workgroupBarrier();
        }
        let seen = keys + lane <= i;
        p_tile[row * 17u + lane] = select(LOWEST, score * params.scale, seen);
        workgroupBarrier();
        var highest = greatest;
        for (var c = 0u; c < 16u; c++) {
            highest = max(highest, p_tile[row * 17u + c]);
        }
        let shrink = exp(greatest - highest);
        greatest = highest;
        workgroupBarrier();
        p_tile[row * 17u + lane] = select(0.0, exp(score * params.scale - highest), seen);
        workgroupBarrier();
        var added = 0.0;
        for (var c = 0u; c < 16u; c++) {
            added += p_tile[row * 17u + c];
        }
        sum = fma(sum, shrink, added);
        if (inside) {
            let count = min(16u, params.sequence - keys);
            for (var c = lane; c < params.width; c += 16u) {
                var value = 0.0;
                if (keys != 0u) {
                    value = o[o_at + c] * shrink;
                }
                var v_at = base(params.v_view, problem) + keys * params.v_view.row_stride + c;
                for (var j = 0u; j < count; j++) {
                    value = fma(p_tile[row * 17u + j], v[v_at], value);
                    v_at += params.v_view.row_stride;
                }
                o[o_at + c] = value;
            }
        }
        workgroupBarrier();
    }
    if (inside) {
        for (var c = lane; c < params.width; c += 16u) {
            o[o_at + c] /= sum;
        }
        if (lane == 0u) {
            lse[base(params.lse_view, problem) + i * params.lse_view.row_stride] = greatest + log(sum);
        }
    }
}
