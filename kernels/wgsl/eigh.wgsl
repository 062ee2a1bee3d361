// Symmetric eigendecomposition a = Q diag(w) Q^T by cyclic Jacobi rotations, from the lower triangle: a becomes Q,
// w ascends. A pair with |a_pq| above a rounding of |a|_F is rotated by the angle with
//     tau = (a_qq - a_pp) / (2 a_pq),  t = sign(tau) / (|tau| + sqrt(1 + tau^2)),  c = 1/sqrt(1 + t^2),  s = c t,
// which makes a_pq zero, a_pp - t a_pq and a_qq + t a_pq the new diagonal. A matrix that is not finite, or needs
// more than 30 sweeps, becomes the identity with w = 0 and status 1.
//
// Steps: 0 checks and scales, each further one is a round of a sweep, the last one orders the eigenvalues. A launch
// runs the steps from `begin` to `end`; `state` keeps the power of two (zero for a failed problem), whether this
// sweep has rotated anything, whether one ended without, and the threshold.
//
// Launch: 256 invocations a workgroup, one workgroup a problem. The pairs of a round are disjoint (round-robin
// tournament); up to 256 rotate at once, all columns first, then all rows. `work` has room for one matrix.

struct Params {
    grid: Grid,
    a_view: View,
    w_view: View,
    status_view: View,
    state_view: View,
    work_view: View,
    n: u32,
    begin: u32,
    end: u32,
    last: u32,
}
@group(1) @binding(0) var<uniform> params: Params;
@group(0) @binding(0) var<storage, read_write> a: array<f32>;
@group(0) @binding(1) var<storage, read_write> w: array<f32>;
@group(0) @binding(2) var<storage, read_write> status: array<f32>;
@group(0) @binding(3) var<storage, read_write> state: array<f32>;
@group(0) @binding(4) var<storage, read_write> work: array<f32>;

const EPSILON: f32 = 1.1920929e-7;

var<workgroup> rotations: array<vec2<f32>, 256>;
var<workgroup> rotated: atomic<u32>;

fn settle() {
    storageBarrier();
    workgroupBarrier();
}

// Tangent, cosine and sine.
fn rotation(app: f32, apq: f32, aqq: f32) -> vec3<f32> {
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
    return vec3<f32>(t, length, length * t);
}

// The two indices of a pair, the smaller first; the larger is n for a bye.
fn players_of(pair: u32, round: u32, players: u32) -> vec2<u32> {
    // Player players - 1 stays; the others move on around the table.
    var left = players - 1u;
    if (pair != 0u) {
        left = (round + pair) % (players - 1u);
    }
    let right = (round + players - 1u - pair) % (players - 1u);
    return vec2<u32>(min(left, right), max(left, right));
}

// Number of eigenvalues that come before number j: smaller ones, or equal with a smaller index.
fn rank_of(w_at: u32, j: u32) -> u32 {
    var rank = 0u;
    let here = w[w_at + j];
    for (var i = 0u; i < params.n; i++) {
        let other = w[w_at + i];
        if (other < here || (other == here && i < j)) {
            rank += 1u;
        }
    }
    return rank;
}

// Checks, mirrors and scales: the power of two (zero where an entry is not finite) and the threshold.
fn start(problem: u32, t: u32) -> vec2<f32> {
    let at = base(params.a_view, problem);
    let work_at = base(params.work_view, problem);
    let n = params.n;
    let stride = params.a_view.row_stride;
    var largest = 0u;
    for (var e = t; e < n * n; e += 256u) {
        if (e % n <= e / n) {
            largest = max(largest, magnitude_bits(a[at + e / n * stride + e % n]));
        }
    }
    largest = max_lanes(t, largest);
    let finite = largest < 0x7f800000u;
    let power = power_below(largest);
    var square = 0.0;
    for (var e = t; e < n * n; e += 256u) {
        let i = e / n;
        let j = e % n;
        work[work_at + e] = select(0.0, 1.0, i == j);
        if (j <= i) {
            let x = a[at + i * stride + j] * inverse_power(power);
            a[at + i * stride + j] = x;
            a[at + j * stride + i] = x;
            square = fma(select(2.0, 1.0, i == j) * x, x, square);
        }
    }
    let threshold = EPSILON * sqrt(sum_lanes(t, square));
    settle();
    return vec2<f32>(select(0.0, power, finite), threshold);
}

// Rotates the pairs of one round.
fn rotate(problem: u32, round: u32, players: u32, threshold: f32, t: u32) {
    let at = base(params.a_view, problem);
    let work_at = base(params.work_view, problem);
    let n = params.n;
    let stride = params.a_view.row_stride;
    let pairs = players / 2u;
    for (var block = 0u; block < pairs; block += 256u) {
        let count = min(pairs - block, 256u);
        let mine = players_of(block + t, round, players);
        var turning = false;
        var diagonal = vec2<f32>(0.0);
        var cs = vec2<f32>(1.0, 0.0);
        if (t < count && mine.y < n) {
            let app = a[at + mine.x * stride + mine.x];
            let apq = a[at + mine.y * stride + mine.x];
            let aqq = a[at + mine.y * stride + mine.y];
            turning = abs(apq) > threshold;
            if (turning) {
                let tcs = rotation(app, apq, aqq);
                diagonal = vec2<f32>(fma(-tcs.x, apq, app), fma(tcs.x, apq, aqq));
                cs = tcs.yz;
                atomicStore(&rotated, 1u);
            }
        }
        rotations[t] = cs;
        workgroupBarrier();
        for (var e = t; e < n * count; e += 256u) {
            let turn = rotations[e % count];
            let pq = players_of(block + e % count, round, players);
            if (turn.y != 0.0) {
                let row = at + e / count * stride;
                let x = a[row + pq.x];
                let y = a[row + pq.y];
                a[row + pq.x] = fma(turn.x, x, -turn.y * y);
                a[row + pq.y] = fma(turn.y, x, turn.x * y);
                let vectors = work_at + e / count * n;
                let u = work[vectors + pq.x];
                let v = work[vectors + pq.y];
                work[vectors + pq.x] = fma(turn.x, u, -turn.y * v);
                work[vectors + pq.y] = fma(turn.y, u, turn.x * v);
            }
        }
        settle();
        for (var e = t; e < n * count; e += 256u) {
            let turn = rotations[e / n];
            let pq = players_of(block + e / n, round, players);
            if (turn.y != 0.0) {
                let upper = at + pq.x * stride + e % n;
                let lower = at + pq.y * stride + e % n;
                let x = a[upper];
                let y = a[lower];
                a[upper] = fma(turn.x, x, -turn.y * y);
                a[lower] = fma(turn.y, x, turn.x * y);
            }
        }
        settle();
        if (turning) {
            a[at + mine.x * stride + mine.x] = diagonal.x;
            a[at + mine.y * stride + mine.y] = diagonal.y;
            a[at + mine.x * stride + mine.y] = 0.0;
            a[at + mine.y * stride + mine.x] = 0.0;
        }
        settle();
    }
}

fn give_up(problem: u32, t: u32) {
    let n = params.n;
    for (var e = t; e < n * n; e += 256u) {
        a[base(params.a_view, problem) + e / n * params.a_view.row_stride + e % n] = select(0.0, 1.0, e / n == e % n);
    }
    for (var j = t; j < n; j += 256u) {
        w[base(params.w_view, problem) + j] = 0.0;
    }
    if (t == 0u) {
        status[base(params.status_view, problem)] = 1.0;
    }
}

// Eigenvalues, and the vectors in their order.
fn finish(problem: u32, power: f32, t: u32) {
    let at = base(params.a_view, problem);
    let w_at = base(params.w_view, problem);
    let work_at = base(params.work_view, problem);
    let n = params.n;
    let stride = params.a_view.row_stride;
    for (var j = t; j < n; j += 256u) {
        w[w_at + j] = power * a[at + j * stride + j];
    }
    settle();
    for (var j = t; j < n; j += 256u) {
        let rank = rank_of(w_at, j);
        for (var k = 0u; k < n; k++) {
            a[at + k * stride + rank] = work[work_at + k * n + j];
        }
    }
    settle();
    for (var j = t; j < n; j += 256u) {
        work[work_at + rank_of(w_at, j)] = w[w_at + j];
    }
    settle();
    for (var j = t; j < n; j += 256u) {
        w[w_at + j] = work[work_at + j];
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
    var scale = vec2<f32>(state[state_at], state[state_at + 3u]);
    var busy = state[state_at + 1u] != 0.0;
    var done = state[state_at + 2u] != 0.0;
    workgroupBarrier();
    var step = params.begin;
    if (step == 0u) {
        scale = start(problem, t);
        busy = false;
        done = scale.x == 0.0;
        step = 1u;
    }
    if (t == 0u) {
        atomicStore(&rotated, select(0u, 1u, busy));
    }
    workgroupBarrier();
    let players = params.n + (params.n & 1u);
    for (; step < min(params.end, params.last) && !done; step++) {
        let round = (step - 1u) % (players - 1u);
        rotate(problem, round, players, scale.y, t);
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
        state[state_at] = scale.x;
        state[state_at + 1u] = select(0.0, 1.0, atomicLoad(&rotated) != 0u);
        state[state_at + 2u] = select(0.0, 1.0, done);
        state[state_at + 3u] = scale.y;
    }
    if (params.end > params.last) {
        if (done && scale.x != 0.0) {
            finish(problem, scale.x, t);
        } else {
            give_up(problem, t);
        }
    }
}
