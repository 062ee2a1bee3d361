//! The PyTorch peers of `benches/peers`: finding a Python that has torch, and asking a peer for steps.
//!
//! A peer is a process that answers one JSON line with another; `benches/peers/turns.py` states the protocol.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::conditions::OPENBLAS_VARIABLES;
use super::race::Contender;
use crate::tidy::workspace_root;

/// Variable that names the Python to use.
const VARIABLE: &str = "LR_PYTHON";

/// A Python that has torch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Python {
    program: PathBuf,
    /// Version of torch.
    pub torch: String,
}

impl Python {
    /// The Python that `$LR_PYTHON` names, or `python3`, whichever has torch.
    ///
    /// # Errors
    /// Where it was looked for, what was wrong there, and how to install it.
    pub fn find() -> Result<Self, String> {
        let named = env::var_os(VARIABLE).filter(|name| !name.is_empty());
        let mut candidates = vec![(PathBuf::from("python3"), "python3".to_owned())];
        if let Some(name) = named {
            let shown = format!("${VARIABLE} ({})", name.to_string_lossy());
            candidates.insert(0, (name.into(), shown));
        }
        Self::among(&candidates)
    }

    fn among(candidates: &[(PathBuf, String)]) -> Result<Self, String> {
        let mut tried = String::new();
        for (program, shown) in candidates {
            match torch_version(program) {
                Ok(torch) => return Ok(Self { program: program.clone(), torch }),
                Err(reason) => tried.push_str(&format!("  {shown}: {reason}\n")),
            }
        }
        Err(format!(
            "PyTorch was not found:\n{tried}Install it, and name that Python:\n  \
             python3 -m venv ~/torch\n  \
             ~/torch/bin/pip install torch --index-url https://download.pytorch.org/whl/cpu\n  \
             export {VARIABLE}=~/torch/bin/python"
        ))
    }
}

fn torch_version(program: &PathBuf) -> Result<String, String> {
    let output = Command::new(program)
        .args(["-c", "import torch; print(torch.__version__)"])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(said.lines().last().unwrap_or("`import torch` failed").to_owned())
}

/// A running peer.
#[derive(Debug)]
pub struct Peer {
    script: &'static str,
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Request<'a, S> {
    Setup(&'a S),
    Turn { warm: usize, steps: usize },
    Memory {},
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Answer<T> {
    Error { error: String },
    Value(T),
}

#[derive(Deserialize)]
struct Ready {
    #[serde(rename = "ready")]
    _ready: bool,
}

#[derive(Deserialize)]
struct Times {
    ms: Vec<f64>,
}

#[derive(Deserialize)]
struct Memory {
    peak_rss_mb: f64,
}

impl Peer {
    /// Starts `benches/peers/<script>`, which is to use `threads` threads.
    ///
    /// # Errors
    /// Why it cannot be started.
    pub fn start(python: &Python, script: &'static str, threads: usize) -> Result<Self, String> {
        let path = workspace_root().join("benches/peers").join(script);
        let mut command = Command::new(&python.program);
        for variable in OPENBLAS_VARIABLES {
            command.env_remove(variable);
        }
        let mut child = command
            .arg(&path)
            .args(["--serve", "--threads", &threads.to_string()])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{} cannot be started: {error}", path.display()))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => {
                Ok(Self { script, child, input: Some(input), output: BufReader::new(output) })
            }
            _ => Err(format!("{} has no standard input and output", path.display())),
        }
    }

    /// Makes what `arguments` say ready to be stepped; they are those of the script's `setup`.
    ///
    /// # Errors
    /// What the script says.
    pub fn set_up(&mut self, arguments: &impl Serialize) -> Result<(), String> {
        self.ask::<_, Ready>(&Request::Setup(arguments)).map(|_| ())
    }

    /// Largest resident memory of the peer so far, MB (10^6 bytes).
    ///
    /// # Errors
    /// What the script says.
    pub fn peak_rss_mb(&mut self) -> Result<f64, String> {
        self.ask::<(), Memory>(&Request::Memory {}).map(|memory| memory.peak_rss_mb)
    }

    fn ask<S: Serialize, T: DeserializeOwned>(&mut self, request: &Request<'_, S>) -> Result<T, String> {
        let script = self.script;
        let mut line = serde_json::to_string(request).map_err(|error| format!("{script}: {error}"))?;
        line.push('\n');
        let input = self.input.as_mut().ok_or("the peer was ended")?;
        let sent = input.write_all(line.as_bytes()).and_then(|()| input.flush());
        sent.map_err(|error| format!("{script} does not listen: {error}"))?;
        let mut answer = String::new();
        match self.output.read_line(&mut answer) {
            Ok(0) => return Err(format!("{script} ended without an answer; its messages are above")),
            Ok(_) => {}
            Err(error) => return Err(format!("{script} cannot be read: {error}")),
        }
        match serde_json::from_str(&answer) {
            Ok(Answer::Value(value)) => Ok(value),
            Ok(Answer::Error { error }) => Err(format!("{script}: {error}")),
            Err(_) => Err(format!("{script} answered {:?}", answer.trim())),
        }
    }
}

impl Contender for Peer {
    fn turn(&mut self, warm: usize, steps: usize) -> Result<Vec<f64>, String> {
        let times = self.ask::<(), Times>(&Request::Turn { warm, steps })?.ms;
        if times.len() == steps { Ok(times) } else { Err(format!("{}: {} times", self.script, times.len())) }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The end of its input ends the peer.
        drop(self.input.take());
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_torch_the_message_says_where_it_looked_and_how_to_install_it() {
        let nowhere = PathBuf::from("/nonexistent/python");
        let message = Python::among(&[(nowhere, "$LR_PYTHON (/nonexistent/python)".to_owned())]).unwrap_err();
        for part in
            ["$LR_PYTHON (/nonexistent/python): cannot be started", "pip install torch", "export LR_PYTHON="]
        {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn the_first_candidate_with_torch_is_taken_and_a_failing_one_is_named() {
        // `true` succeeds and `false` fails whatever their arguments.
        let candidate = |name: &str| (PathBuf::from(name), name.to_owned());
        let found = Python::among(&[candidate("false"), candidate("true")]).unwrap();
        assert_eq!(found.program, PathBuf::from("true"));
        assert!(Python::among(&[candidate("false")]).unwrap_err().contains("false: `import torch` failed"));
    }

    #[test]
    fn requests_are_written_as_the_peers_read_them() {
        let line = |request: &Request<'_, [u8; 1]>| serde_json::to_string(request).unwrap();
        assert_eq!(line(&Request::Setup(&[7])), r#"{"setup":[7]}"#);
        assert_eq!(line(&Request::Turn { warm: 1, steps: 3 }), r#"{"turn":{"warm":1,"steps":3}}"#);
        assert_eq!(line(&Request::Memory {}), r#"{"memory":{}}"#);
    }
}
