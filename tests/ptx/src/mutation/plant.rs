//! Planting: every fault of one line that could be a slip of the pen.

/// A text with one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planted {
    /// Line of the fault, from 1.
    pub line: usize,
    /// That line as it was, trimmed.
    pub original: String,
    /// What was done to it: the new line, or `deleted`.
    pub fault: String,
    /// The whole text.
    pub text: String,
}

/// Replacements of a part of an opcode.
const OPERATORS: [(&str, &str); 30] = [
    (".lt.", ".le."),
    (".le.", ".lt."),
    (".gt.", ".ge."),
    (".ge.", ".gt."),
    (".lt.", ".ge."),
    (".ge.", ".lt."),
    (".le.", ".gt."),
    (".gt.", ".le."),
    (".eq.", ".ne."),
    (".ne.", ".eq."),
    (".gtu.", ".gt."),
    (".leu.", ".le."),
    (".ltu.", ".lt."),
    (".geu.", ".ge."),
    (".nan.", ".num."),
    (".num.", ".nan."),
    (".and.", ".or."),
    (".or.", ".and."),
    ("add.", "sub."),
    ("sub.", "add."),
    ("min.", "max."),
    ("max.", "min."),
    ("and.", "or."),
    ("or.", "and."),
    ("shl.", "shr."),
    ("shr.", "shl."),
    ("mul.rn.", "add.rn."),
    ("div.rn.", "mul.rn."),
    (".bfly.", ".up."),
    (".idx.", ".bfly."),
];

/// Opcodes whose first two sources may not change places.
const ORDERED: [&str; 8] = ["sub", "div", "rem", "shl", "shr", "selp", "setp", "copysign"];

/// Whether a line holds an instruction that can be changed.
fn is_instruction(line: &str) -> bool {
    let code = line.trim();
    code.ends_with(';') && !code.starts_with('.') && !code.starts_with("//")
}

/// A line's guard with its blank, its opcode, and its operands without the semicolon.
fn split(code: &str) -> (&str, &str, Vec<String>) {
    let (guard, rest) = match code.starts_with('@') {
        true => code.split_at(code.find(' ').map_or(0, |blank| blank + 1)),
        false => ("", code),
    };
    let (opcode, operands) =
        rest.trim_end_matches(';').split_once(' ').unwrap_or((rest.trim_end_matches(';'), ""));
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in operands.chars() {
        match c {
            '{' | '[' | '(' => depth += 1,
            '}' | ']' | ')' => depth -= 1,
            _ => {}
        }
        match c {
            ',' if depth == 0 => parts.push(String::new()),
            _ => parts.last_mut().into_iter().for_each(|part| part.push(c)),
        }
    }
    (guard, opcode, parts.iter().map(|part| part.trim().to_owned()).collect())
}

/// Other values for an integer literal.
fn other_integers(text: &str) -> Vec<String> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let value = match digits.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => digits.parse().ok(),
    };
    match value {
        _ if digits == "REAL_SHIFT" || digits == "REAL_SIZE" => vec!["1".into()],
        None => Vec::new(),
        Some(value) => {
            let value = if text.starts_with('-') { -value } else { value };
            let half = if value > 1 { vec![(value / 2).to_string()] } else { Vec::new() };
            [vec![(value + 1).to_string()], half].concat()
        }
    }
}

/// Other distances between the lanes of a shuffle.
fn other_distances(text: &str) -> Vec<String> {
    match text.parse::<u32>() {
        Ok(distance) if distance > 1 => vec![(distance / 2).to_string()],
        Ok(_) => vec!["2".into()],
        Err(_) => Vec::new(),
    }
}

/// Other values for an operand: a literal, a `real(...)`, or the offset of an address.
fn other_operands(operand: &str) -> Vec<String> {
    if let Some(number) = operand.strip_prefix("real(").and_then(|rest| rest.strip_suffix(')')) {
        return number.parse::<f64>().map_or(Vec::new(), |x| vec![format!("real({})", x + 1.0)]);
    }
    if let Some((base, offset)) = operand.strip_suffix(']').and_then(|inner| inner.split_once('+')) {
        return other_integers(offset).into_iter().map(|offset| format!("{base}+{offset}]")).collect();
    }
    other_integers(operand)
}

/// Every version of a line that the faults make of it.
fn faults(code: &str) -> Vec<String> {
    let (guard, opcode, operands) = split(code);
    let join = |guard: &str, opcode: &str, operands: &[String]| {
        let blank = if operands.iter().all(String::is_empty) { "" } else { " " };
        format!("{guard}{opcode}{blank}{};", operands.join(", "))
    };
    let mut lines = vec![String::new()];
    if let Some(name) = guard.strip_prefix("@!") {
        lines.push(join(&format!("@{name}"), opcode, &operands));
    } else if let Some(name) = guard.strip_prefix('@') {
        lines.push(join(&format!("@!{name}"), opcode, &operands));
    }
    if !guard.is_empty() {
        lines.push(join("", opcode, &operands));
    }
    for (from, to) in OPERATORS {
        // A name such as `add.` begins the opcode; `.lt.` stands inside of it.
        let found = if from.starts_with('.') { opcode.contains(from) } else { opcode.starts_with(from) };
        let first_word = opcode.starts_with("setp") || !from.starts_with('.') || opcode.starts_with("shfl");
        if found && first_word {
            lines.push(join(guard, &opcode.replacen(from, to, 1), &operands));
        }
    }
    for (k, operand) in operands.iter().enumerate().skip(1) {
        // Butterflies by 17, 9, .. add up as well as by 16, 8, ..: only other powers of two are faults.
        let distance = opcode.starts_with("shfl") && k == 2;
        for other in if distance { other_distances(operand) } else { other_operands(operand) } {
            let mut changed = operands.clone();
            changed[k] = other;
            lines.push(join(guard, opcode, &changed));
        }
    }
    let name = opcode.split('.').next().unwrap_or_default();
    let symmetric = [".eq.", ".ne.", ".equ.", ".neu."].iter().any(|relation| opcode.contains(relation));
    if ORDERED.contains(&name) && !symmetric && operands.len() > 2 && operands[1] != operands[2] {
        let mut changed = operands.clone();
        changed.swap(1, 2);
        lines.push(join(guard, opcode, &changed));
    }
    if matches!(name, "fma" | "mad") && operands.len() == 4 && operands[2] != operands[3] {
        let mut changed = operands.clone();
        changed.swap(2, 3);
        lines.push(join(guard, opcode, &changed));
    }
    if name == "fma" && operands.len() == 4 {
        let product = opcode.replacen("fma", "mul", 1);
        lines.push(join(guard, &product, &operands[..3]));
    }
    lines.retain(|line| line != code);
    lines.dedup();
    lines
}

/// Every text that differs from `source` by one fault.
pub fn plant(source: &str) -> Vec<Planted> {
    let lines: Vec<&str> = source.lines().collect();
    let mut planted = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        // Comments behind the code stay out of it.
        let code = line.split("//").next().unwrap_or_default();
        if !is_instruction(code) || code.matches(';').count() != 1 {
            continue;
        }
        for new in faults(code.trim()) {
            let mut text = lines.clone();
            text[index] = &new;
            let text = text.join("\n");
            let fault = if new.is_empty() { "deleted".to_owned() } else { new };
            planted.push(Planted { line: index + 1, original: code.trim().to_owned(), fault, text });
        }
    }
    planted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Vec<String> {
        plant(&format!("// text\n    {line}\n")).into_iter().map(|planted| planted.fault).collect()
    }

    #[test]
    fn faults_of_each_kind() {
        assert_eq!(of("bar.sync 0;"), ["deleted"]);
        assert_eq!(of("@!%p bra NEXT;"), ["deleted", "@%p bra NEXT;", "bra NEXT;"]);
        assert_eq!(
            of("setp.lt.u32 %p, %a, 32; // comment"),
            [
                "deleted",
                "setp.le.u32 %p, %a, 32;",
                "setp.ge.u32 %p, %a, 32;",
                "setp.lt.u32 %p, %a, 33;",
                "setp.lt.u32 %p, %a, 16;",
                "setp.lt.u32 %p, 32, %a;",
            ]
        );
        assert_eq!(
            of("fma.rn.real %a, %b, %c, %d;"),
            ["deleted", "fma.rn.real %a, %b, %d, %c;", "mul.rn.real %a, %b, %c;"]
        );
        assert_eq!(
            of("ld.shared.real %a, [%b+8];")[1..],
            ["ld.shared.real %a, [%b+9];", "ld.shared.real %a, [%b+4];"]
        );
        assert_eq!(of("shfl.sync.bfly.b32 %a, %b, 16, 31, -1;").len(), 6);
        assert_eq!(of("mov.real %a, real(0);"), ["deleted", "mov.real %a, real(1);"]);
        assert_eq!(of(".reg .pred %p;"), [""; 0]);
        assert_eq!(
            plant("a;\n\n  sub.u32 %a, %b, %c;\n").last().map(|p| (p.line, p.fault.as_str())),
            Some((3, "sub.u32 %a, %c, %b;"))
        );
    }
}
