//! WGSL through naga: parsed, validated, and its workgroup memory within what every adapter of the WebGPU
//! standard has.

use lr_kernels::wgsl;
use naga::AddressSpace;
use naga::front::wgsl::parse_str;
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// Bytes of workgroup memory that the WebGPU standard promises.
const WORKGROUP_BYTES: u32 = 16 << 10;

/// Invocations of a workgroup that it promises.
const INVOCATIONS: u32 = 256;

/// Checks every file; what is wrong.
pub fn faults() -> Vec<String> {
    let faults: Vec<String> = wgsl::ALL.iter().flat_map(|kernel| check(kernel.name, kernel.source)).collect();
    println!("wgsl: {} files validated, {} faults", wgsl::ALL.len(), faults.len());
    faults
}

fn check(name: &str, source: &str) -> Vec<String> {
    let module = match parse_str(source) {
        Ok(module) => module,
        Err(error) => return vec![format!("{name}.wgsl: {}", error.emit_to_string(source))],
    };
    let info = match Validator::new(ValidationFlags::all(), Capabilities::empty()).validate(&module) {
        Ok(info) => info,
        Err(error) => return vec![format!("{name}.wgsl: {}", error.emit_to_string(source))],
    };
    let mut faults = Vec::new();
    for (index, entry) in module.entry_points.iter().enumerate() {
        let uses = info.get_entry_point(index);
        let bytes: u32 = module
            .global_variables
            .iter()
            .filter(|(handle, variable)| {
                variable.space == AddressSpace::WorkGroup && !uses[*handle].is_empty()
            })
            .map(|(_, variable)| module.types[variable.ty].inner.size(module.to_ctx()))
            .sum();
        let invocations: u32 = entry.workgroup_size.iter().product();
        if bytes > WORKGROUP_BYTES || invocations > INVOCATIONS {
            faults.push(format!(
                "{name}.wgsl: {} takes {bytes} bytes of workgroup memory and {invocations} invocations; every \
                 adapter has {WORKGROUP_BYTES} and {INVOCATIONS}",
                entry.name
            ));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn shaders_that_do_not_fit_are_faults() {
        let shader = |bytes: u32, body: &str| {
            format!(
                "var<workgroup> s: array<u32, {}>;\n@compute @workgroup_size(64) fn main() {{ s[0] = 1u; {body} }}",
                bytes / 4
            )
        };
        assert!(check("k", &shader(16 << 10, "")).is_empty());
        assert!(check("k", &shader(17 << 10, ""))[0].contains("17408 bytes"));
        assert!(check("k", &shader(64, "let x: f32 = 1u;"))[0].starts_with("k.wgsl"));
        assert!(check("k", "fn")[0].starts_with("k.wgsl"));
    }
}
