// Reductions over a workgroup of 256 invocations, by halving; every invocation must call them.

var<workgroup> lanes: array<f32, 256>;
var<workgroup> lane_bits: array<u32, 256>;

fn sum_lanes(t: u32, x: f32) -> f32 {
    lanes[t] = x;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half >>= 1u) {
        if (t < half) {
            lanes[t] += lanes[t + half];
        }
        workgroupBarrier();
    }
    let total = lanes[0];
    workgroupBarrier();
    return total;
}

// Bits of magnitudes are ordered like these, infinity above all numbers and NaN above infinity.
fn max_lanes(t: u32, bits: u32) -> u32 {
    lane_bits[t] = bits;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half >>= 1u) {
        if (t < half) {
            lane_bits[t] = max(lane_bits[t], lane_bits[t + half]);
        }
        workgroupBarrier();
    }
    let largest = lane_bits[0];
    workgroupBarrier();
    return largest;
}

// The power of two just below a magnitude, given by its bits; kept where its inverse is a normal number, too.
fn power_below(bits: u32) -> f32 {
    let exponent = clamp(bits >> 23u, 1u, 253u);
    return bitcast<f32>(select(exponent, 127u, bits == 0u) << 23u);
}

// 1 / power, exactly.
fn inverse_power(power: f32) -> f32 {
    return bitcast<f32>((254u - (bitcast<u32>(power) >> 23u)) << 23u);
}

// The greatest number; what it makes of a NaN is open.
fn greatest_lanes(t: u32, x: f32) -> f32 {
    lanes[t] = x;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half >>= 1u) {
        if (t < half) {
            lanes[t] = max(lanes[t], lanes[t + half]);
        }
        workgroupBarrier();
    }
    let greatest = lanes[0];
    workgroupBarrier();
    return greatest;
}
