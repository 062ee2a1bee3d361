// One-sided Jacobi of tall matrices (m >= n): rotations of pairs of columns, a <- a J and v <- v J, until all
// columns of a are orthogonal (Golub and Van Loan, section 8.6.3). Leaves U diag(s), divided by a power of two,
// in a, its columns by descending norm; these norms in s, and V in v. The QR of what is left in a then gives U,
// completed where singular values vanish. For |a_p . a_q| above a rounding,
//     tau = (|a_q|^2 - |a_p|^2) / (2 a_p . a_q),  t = sign(tau) / (|tau| + sqrt(1 + tau^2)),  c = 1/sqrt(1 + t^2),
//     (a_p, a_q) <- (c a_p - s a_q, s a_p + c a_q),  s = c t.
// A matrix that is not finite, or needs more than 30 sweeps, becomes the identity with s = 0, v = I and status 1.
//
// Steps: 0 checks and scales, each further one is a round of a sweep, the last one orders the columns. A launch runs
// the steps from `begin` to `end`; `state` keeps the power of two (zero for a failed problem), whether this sweep
// has rotated anything, and whether one ended without.
//
// Launch: 256 invocations a workgroup, one workgroup a problem. The pairs of a round are disjoint (round-robin
// tournament) and rotate at once; each has 256 / (pairs, a power of two) invocations for its rows. `work` has
// room for a packed copy of a.

struct Params {
    grid: Grid,
    a_view: View,
    s_view: View,
    v_view: View,
    status_view: View,
    state_view: View,
    work_view: View,
    m: u32,
    n: u32,
    begin: u32,
    end: u32,
    last: u32,
    orthogonal: f32,
    noise: f32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> s: array<f32>;
@group(0) @binding(2) var<storage, read_write> v: array<f32>;
@group(0) @binding(3) var<storage, read_write> status: array<f32>;
@group(0) @binding(4) var<storage, read_write> state: array<f32>;
@group(0) @binding(5) var<storage, read_write> work: array<f32>;


// Shares of |a_p|^2, a_p . a_q and |a_q|^2.
var<workgroup> shares: array<vec3<f32>, 256>;
var<workgroup> rotated: atomic<u32>;

fn settle() {
    storageBarrier();
    workgroupBarrier();
}

fn rotation(app: f32, apq: f32, aqq: f32) -> vec2<f32> {
    let tau = (aqq - app) / (2.0 * apq);
    let side = select(1.0, -1.0, tau < 0.0);
    var t = side / (abs(tau) + sqrt(fma(tau, tau, 1.0)));
    if (abs(tau) > 1e6) {
        t = 0.5 / tau;
    }
    let c = 1.0 / sqrt(fma(t, t, 1.0));
    // One correction: square roots and quotients of a GPU may be off by a few roundings, always the same way.
    let defect = 0.5 * (fma(-c, c, 1.0) - (c * t) * (c * t));
    let length = fma(c, defect, c);
    return vec2<f32>(length, length * t);
}

// Number of columns that come before column j: longer ones, or as long with a smaller index.
fn rank_of(s_at: u32, j: u32) -> u32 {
    var rank = 0u;
    let here = s[s_at + j];
    for (var i = 0u; i < params.n; i++) {
        let other = s[s_at + i];
        if (other > here || (other == here && i < j)) {
            rank += 1u;
        }
    }
    return rank;
}

// Checks and scales: the power of two, or zero where an entry is not finite.
fn start(problem: u32, t: u32) -> f32 {
    let at = base(params.a_view, problem);
    let v_at = base(params.v_view, problem);
    let m = params.m;
    let n = params.n;
    let stride = params.a_view.row_stride;
    var largest = 0u;
    for (var e = t; e < m * n; e += 256u) {
        largest = max(largest, magnitude_bits(a[at + e / n * stride + e % n]));
    }
    largest = max_lanes(t, largest);
    let finite = largest < 0x7f800000u;
    let power = power_below(largest);
    for (var e = t; e < m * n; e += 256u) {
        a[at + e / n * stride + e % n] *= inverse_power(power);
    }
    for (var e = t; e < n * n; e += 256u) {
        v[v_at + e / n * params.v_view.row_stride + e % n] = select(0.0, 1.0, e / n == e % n);
    }
    settle();
    return select(0.0, power, finite);
}

// Rotates the pairs of one round.
fn rotate(problem: u32, round: u32, players: u32, t: u32) {
    let at = base(params.a_view, problem);
    let v_at = base(params.v_view, problem);
    let stride = params.a_view.row_stride;
    let v_stride = params.v_view.row_stride;
    let pairs = players / 2u;
    var width = 1u;
    while (width < pairs && width < 256u) {
        width *= 2u;
    }
    let rows = 256u / width;
    for (var block = 0u; block < pairs; block += width) {
        let pair = block + t % width;
        let first = t / width;
        // Player players - 1 stays; the others move on around the table.
        var left = players - 1u;
        if (pair != 0u) {
            left = (round + pair) % (players - 1u);
        }
        let right = (round + players - 1u - pair) % (players - 1u);
        let p = min(left, right);
        let q = max(left, right);
        let valid = pair < pairs && q < params.n;
        var share = vec3<f32>(0.0);
        if (valid) {
            for (var k = first; k < params.m; k += rows) {
                let x = a[at + k * stride + p];
                let y = a[at + k * stride + q];
                share = fma(vec3<f32>(x, x, y), vec3<f32>(x, y, y), share);
            }
        }
        shares[t] = share;
        workgroupBarrier();
        var total = vec3<f32>(0.0);
        for (var k = t % width; k < 256u; k += width) {
            total += shares[k];
        }
        if (valid && abs(total.y) > params.orthogonal * sqrt(total.x) * sqrt(total.z) + params.noise) {
            atomicStore(&rotated, 1u);
            let cs = rotation(total.x, total.y, total.z);
            for (var k = first; k < params.m; k += rows) {
                let x = a[at + k * stride + p];
                let y = a[at + k * stride + q];
                a[at + k * stride + p] = fma(cs.x, x, -cs.y * y);
                a[at + k * stride + q] = fma(cs.y, x, cs.x * y);
            }
            for (var k = first; k < params.n; k += rows) {
                let x = v[v_at + k * v_stride + p];
                let y = v[v_at + k * v_stride + q];
                v[v_at + k * v_stride + p] = fma(cs.x, x, -cs.y * y);
                v[v_at + k * v_stride + q] = fma(cs.y, x, cs.x * y);
            }
        }
        settle();
    }
}

fn give_up(problem: u32, t: u32) {
    let n = params.n;
    for (var e = t; e < params.m * n; e += 256u) {
        a[base(params.a_view, problem) + e / n * params.a_view.row_stride + e % n] = select(0.0, 1.0, e / n == e % n);
    }
    for (var e = t; e < n * n; e += 256u) {
        v[base(params.v_view, problem) + e / n * params.v_view.row_stride + e % n] = select(0.0, 1.0, e / n == e % n);
    }
    for (var j = t; j < n; j += 256u) {
        s[base(params.s_view, problem) + j] = 0.0;
    }
    if (t == 0u) {
        status[base(params.status_view, problem)] = 1.0;
    }
}

// Singular values, and the columns of a and v in their order.
fn finish(problem: u32, power: f32, t: u32) {
    let at = base(params.a_view, problem);
    let s_at = base(params.s_view, problem);
    let v_at = base(params.v_view, problem);
    let work_at = base(params.work_view, problem);
    let m = params.m;
    let n = params.n;
    let stride = params.a_view.row_stride;
    let v_stride = params.v_view.row_stride;
    for (var j = t; j < n; j += 256u) {
        var square = 0.0;
        for (var k = 0u; k < m; k++) {
            let x = a[at + k * stride + j];
            square = fma(x, x, square);
        }
        s[s_at + j] = sqrt(square);
    }
    settle();
    for (var j = t; j < n; j += 256u) {
        let rank = rank_of(s_at, j);
        for (var k = 0u; k < m; k++) {
            work[work_at + k * n + rank] = a[at + k * stride + j];
        }
    }
    settle();
    for (var e = t; e < m * n; e += 256u) {
        a[at + e / n * stride + e % n] = work[work_at + e];
    }
    settle();
    for (var j = t; j < n; j += 256u) {
        let rank = rank_of(s_at, j);
        for (var k = 0u; k < n; k++) {
            work[work_at + k * n + rank] = v[v_at + k * v_stride + j];
        }
    }
    settle();
    for (var e = t; e < n * n; e += 256u) {
        v[v_at + e / n * v_stride + e % n] = work[work_at + e];
    }
    settle();
    for (var j = t; j < n; j += 256u) {
        work[work_at + rank_of(s_at, j)] = power * s[s_at + j];
    }
    settle();
    for (var j = t; j < n; j += 256u) {
        s[s_at + j] = work[work_at + j];
    }
}

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
    let problem = params.grid.first + group;
    let state_at = base(params.state_view, problem);
    var power = state[state_at];
    var busy = state[state_at + 1u] != 0.0;
    var done = state[state_at + 2u] != 0.0;
    workgroupBarrier();
    var step = params.begin;
    if (step == 0u) {
        power = start(problem, t);
        busy = false;
        done = power == 0.0;
        step = 1u;
    }
    if (t == 0u) {
        atomicStore(&rotated, select(0u, 1u, busy));
    }
    workgroupBarrier();
    let players = params.n + (params.n & 1u);
    for (; step < min(params.end, params.last) && !done; step++) {
        let round = (step - 1u) % (players - 1u);
        rotate(problem, round, players, t);
        if (round + 2u == players) {
            done = atomicLoad(&rotated) == 0u;
            workgroupBarrier();
            if (t == 0u) {
                atomicStore(&rotated, 0u);
            }
            workgroupBarrier();
        }
    }
    if (t == 0u) {
        state[state_at] = power;
        state[state_at + 1u] = select(0.0, 1.0, atomicLoad(&rotated) != 0u);
        state[state_at + 2u] = select(0.0, 1.0, done);
    }
    if (params.end > params.last) {
        if (done && power != 0.0) {
            finish(problem, power, t);
        } else {
            give_up(problem, t);
        }
    }
}
