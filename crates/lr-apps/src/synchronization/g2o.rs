//! Pose graphs in the text format of g2o: `VERTEX_SE3:QUAT id x y z qx qy qz qw` and `EDGE_SE3:QUAT i j x y z
//! qx qy qz qw [information]`; only the rotations are used.
//!
//! A pose is `world <- body`, an edge `body i <- body j`, `R_i^T R_j`. With `P_i = R_i^T` a measurement is
//! `P_j P_i^T = (R_i^T R_j)^T`. Vertices are initial guesses, not the truth; other tags are refused by name.

use super::graph::{CameraGraph, Measurement, Rotation, from_quaternion, transposed};
use crate::error::AppError;
use std::{collections::BTreeMap, fs, path::Path};

/// Reads a pose graph.
///
/// # Errors
/// [`AppError`] naming file and line of what is malformed.
pub fn read(path: &Path) -> Result<CameraGraph, AppError> {
    let text = fs::read_to_string(path).map_err(|source| AppError::Read { path: path.to_owned(), source })?;
    parse(path, &text)
}

fn parse(path: &Path, text: &str) -> Result<CameraGraph, AppError> {
    let mut numbers: BTreeMap<u64, usize> = BTreeMap::new();
    let mut edges: Vec<(usize, u64, u64, Rotation)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let fail = |message: String| AppError::Line { path: path.to_owned(), line: number + 1, message };
        let mut words = line.split_whitespace();
        let Some(tag) = words.next() else { continue };
        let words: Vec<&str> = words.collect();
        let id = |place: usize| -> Result<u64, AppError> {
            let word = words.get(place).ok_or_else(|| fail(format!("{tag} without its vertex number")))?;
            word.parse().map_err(|_| fail(format!("{word:?} is no vertex number")))
        };
        let rotation = |first: usize| -> Result<Rotation, AppError> {
            let mut q = [0.0; 4];
            for (k, q) in q.iter_mut().enumerate() {
                let word = words
                    .get(first + 3 + k)
                    .ok_or_else(|| fail(format!("{tag} needs x y z qx qy qz qw after its vertex numbers")))?;
                *q = word.parse().map_err(|_| fail(format!("{word:?} is no number")))?;
            }
            from_quaternion(q).ok_or_else(|| fail(format!("the quaternion {q:?} is no rotation")))
        };
        match tag {
            "VERTEX_SE3:QUAT" => {
                rotation(1)?;
                let (vertex, next) = (id(0)?, numbers.len());
                if numbers.insert(vertex, next).is_some() {
                    return Err(fail(format!("vertex {vertex} is given twice")));
                }
            }
            "EDGE_SE3:QUAT" => edges.push((number + 1, id(0)?, id(1)?, rotation(2)?)),
            "FIX" => {}
            comment if comment.starts_with('#') => {}
            other => {
                let known = "VERTEX_SE3:QUAT, EDGE_SE3:QUAT, FIX";
                return Err(fail(format!("unknown tag {other:?}; known are {known}")));
            }
        }
    }
    if edges.is_empty() {
        return Err(AppError::File { path: path.to_owned(), message: "no EDGE_SE3:QUAT line".to_owned() });
    }
    if numbers.is_empty() {
        // Edges alone name the cameras.
        for vertex in edges.iter().flat_map(|(_, i, j, _)| [*i, *j]) {
            let next = numbers.len();
            numbers.entry(vertex).or_insert(next);
        }
    }
    let mut measurements: Vec<Measurement> = Vec::with_capacity(edges.len());
    let mut seen = BTreeMap::new();
    for (line, i, j, rotation) in edges {
        let fail = |message: String| AppError::Line { path: path.to_owned(), line, message };
        let camera = |vertex: u64| {
            numbers.get(&vertex).copied().ok_or_else(|| fail(format!("vertex {vertex} was not given")))
        };
        let (from, to) = (camera(i)?, camera(j)?);
        if from == to {
            return Err(fail(format!("an edge from vertex {i} to itself")));
        }
        // Several measurements of one pair: the first counts.
        if seen.insert((from.min(to), from.max(to)), line).is_none() {
            measurements.push(Measurement { from, to, rotation: transposed(&rotation) });
        }
    }
    Ok(CameraGraph { cameras: numbers.len(), measurements, truth: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synchronization::graph::times;

    fn parsed(text: &str) -> Result<CameraGraph, String> {
        parse(Path::new("poses.g2o"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn rotations_come_out_in_the_order_of_the_edges() {
        // Body 1 is body 0 turned by 90 degrees about z.
        let text = "VERTEX_SE3:QUAT 7 0 0 0 0 0 0 1\nVERTEX_SE3:QUAT 9 1 0 0 0 0 0.7071068 0.7071068\n\
                    EDGE_SE3:QUAT 7 9 1 0 0 0 0 0.7071068 0.7071068 1 0 0 0 0 0 1 0 0 0 0 1 0 0 0 1 0 0 1 0 1\n";
        let graph = parsed(text).unwrap();
        graph.validate().unwrap();
        let m = graph.measurements[0];
        assert_eq!((graph.cameras, m.from, m.to), (2, 0, 1));
        // P_1 P_0^T with P = R^T: the transpose of the turn.
        let expected = [[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]];
        let difference = times(&m.rotation, &transposed(&expected));
        assert!((0..3).all(|k| (difference[k][k] - 1.0).abs() < 1e-6), "{:?}", m.rotation);
    }

    #[test]
    fn malformed_lines_are_named() {
        let edge = "EDGE_SE3:QUAT 0 1 0 0 0 0 0 0 1";
        for (text, expected) in [
            ("VERTEX_SE3:QUAT 0 0 0 0 0 0\n".to_owned(), "poses.g2o, line 1: VERTEX_SE3:QUAT needs"),
            (format!("{edge}\nEDGE_SE3:QUAT 0 x 0 0 0 0 0 0 1"), "line 2: \"x\" is no vertex number"),
            (format!("{edge}\nEDGE_SE3:QUAT 1 2 0 0 0 0 0 zero 1"), "line 2: \"zero\" is no number"),
            ("EDGE_SE3:QUAT 0 1 0 0 0 0 0 0 0".to_owned(), "line 1: the quaternion"),
            ("EDGE_SE3:QUAT 0 1 0 0 0 0 0 NaN 0".to_owned(), "line 1: the quaternion"),
            ("EDGE_SE2 0 1 0 0 0".to_owned(), "line 1: unknown tag \"EDGE_SE2\""),
            (format!("VERTEX_SE3:QUAT 0 0 0 0 0 0 0 1\n{edge}"), "line 2: vertex 1 was not given"),
            (String::new(), "no EDGE_SE3:QUAT line"),
        ] {
            let message = parsed(&text).unwrap_err();
            assert!(message.contains(expected), "{message}");
        }
    }
}
