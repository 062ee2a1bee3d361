//! [`Transitions`]: counted transitions between named states, from a generator or a file.
//!
//! Trips are TLC-style: parquet or CSV with the columns `PULocationID` and `DOLocationID` (any case). Lists
//! are text, one transition a line: `from to` or `from to count`, separated by commas, semicolons, tabs or
//! blanks; `#` opens a comment.

use crate::{dense::Dense, error::AppError};
use parquet::{
    column::reader::ColumnReader,
    errors::ParquetError,
    file::reader::{FileReader, SerializedFileReader},
};
use rand::{Rng, rngs::StdRng};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// Columns of a trip file: from, to.
const COLUMNS: [&str; 2] = ["pulocationid", "dolocationid"];
/// Values of a column decoded at once.
const ROWS_AT_ONCE: usize = 1 << 14;
/// States beyond which a dense matrix of them is no longer reasonable.
const MOST_STATES: usize = 20_000;

/// Counts of transitions.
#[derive(Clone, Debug)]
pub struct Transitions {
    /// Names of the states.
    pub states: Vec<String>,
    /// From, to: how often.
    counts: BTreeMap<(usize, usize), u64>,
    /// The matrix that they were drawn from, where it is known.
    pub truth: Option<Dense>,
}

impl Transitions {
    fn of(named: impl IntoIterator<Item = (String, String, u64)>) -> Self {
        let mut names: BTreeMap<String, usize> = BTreeMap::new();
        let mut counts: BTreeMap<(usize, usize), u64> = BTreeMap::new();
        for (from, to, count) in named {
            let mut state = |name: String| {
                let next = names.len();
                *names.entry(name).or_insert(next)
            };
            let pair = (state(from), state(to));
            *counts.entry(pair).or_default() += count;
        }
        let mut states = vec![String::new(); names.len()];
        names.into_iter().for_each(|(name, place)| states[place] = name);
        Self { states, counts, truth: None }
    }

    /// Transitions of a random chain: every state belongs to one of the clusters, which share a row of
    /// probabilities up to a tenth of their own.
    ///
    /// # Errors
    /// [`AppError::Data`] when there are no states, more clusters than states, or no transitions.
    pub fn generated(
        states: usize,
        clusters: usize,
        transitions: usize,
        rng: &mut StdRng,
    ) -> Result<Self, AppError> {
        if states == 0 || states > MOST_STATES || clusters == 0 || clusters > states || transitions == 0 {
            return Err(AppError::Data(format!(
                "{states} states (at most {MOST_STATES}), {clusters} clusters and {transitions} \
                 transitions make no chain"
            )));
        }
        let row = |rng: &mut StdRng| -> Vec<f64> {
            let row: Vec<f64> = (0..states).map(|_| -(1.0 - rng.random::<f64>()).ln()).collect();
            let sum: f64 = row.iter().sum();
            row.into_iter().map(|x| x / sum).collect()
        };
        let shared: Vec<Vec<f64>> = (0..clusters).map(|_| row(rng)).collect();
        let mut truth = Dense::zeros(states, states);
        for i in 0..states {
            let own = row(rng);
            let target = truth.row_mut(i);
            (0..states).for_each(|j| target[j] = 0.9 * shared[i % clusters][j] + 0.1 * own[j]);
        }
        let (mut counts, mut here): (BTreeMap<_, u64>, usize) = (BTreeMap::new(), 0);
        for _ in 0..transitions {
            let mut left: f64 = rng.random();
            let next = truth.row(here).iter().position(|p| {
                left -= p;
                left < 0.0
            });
            let next = next.unwrap_or(states - 1);
            *counts.entry((here, next)).or_default() += 1;
            here = next;
        }
        Ok(Self { states: (0..states).map(|i| i.to_string()).collect(), counts, truth: Some(truth) })
    }

    /// Number of transitions.
    pub fn total(&self) -> u64 {
        self.counts.values().sum()
    }

    /// The states that are reached and left at least `least` times, until all of those that remain are.
    ///
    /// # Errors
    /// [`AppError::Data`] when fewer than two remain, or too many.
    pub fn recurrent(&self, least: u64) -> Result<Self, AppError> {
        let n = self.states.len();
        let mut kept = vec![true; n];
        loop {
            let (mut reached, mut left) = (vec![0; n], vec![0; n]);
            for (&(from, to), &count) in &self.counts {
                if kept[from] && kept[to] {
                    left[from] += count;
                    reached[to] += count;
                }
            }
            let enough = |i: usize| left[i] >= least.max(1) && reached[i] >= least;
            let next: Vec<bool> = (0..n).map(|i| kept[i] && enough(i)).collect();
            if next == kept {
                break;
            }
            kept = next;
        }
        let mut place = vec![None; n];
        (0..n).filter(|i| kept[*i]).enumerate().for_each(|(new, old)| place[old] = Some(new));
        let states: Vec<String> = (0..n).filter(|i| kept[*i]).map(|i| self.states[i].clone()).collect();
        if !(2..=MOST_STATES).contains(&states.len()) {
            return Err(AppError::Data(format!(
                "{} of {n} states are reached and left at least {least} times; between 2 and \
                 {MOST_STATES} are needed",
                states.len()
            )));
        }
        let pair = |&(from, to): &(usize, usize)| Some((place[from]?, place[to]?));
        let counts = self.counts.iter().filter_map(|(key, count)| Some((pair(key)?, *count))).collect();
        let truth = self.truth.clone().filter(|_| states.len() == n);
        Ok(Self { states, counts, truth })
    }

    /// Two halves at random. Every state that is left at all is left once at least in both.
    pub fn split(&self, rng: &mut StdRng) -> [Self; 2] {
        let (mut first, mut second) = (BTreeMap::new(), BTreeMap::new());
        for (&key, &count) in &self.counts {
            // A sum of coins; for large counts by its normal approximation.
            let half = if count < 64 {
                (0..count).filter(|_| rng.random::<bool>()).count() as u64
            } else {
                let spread = 0.5 * (count as f64).sqrt() * crate::dense::normal(rng);
                (0.5 * count as f64 + spread).round().clamp(0.0, count as f64) as u64
            };
            for (counts, count) in [(&mut first, half), (&mut second, count - half)] {
                if count > 0 {
                    counts.insert(key, count);
                }
            }
        }
        let [mut first, mut second] = [first, second].map(|counts| Self {
            states: self.states.clone(),
            counts,
            truth: self.truth.clone(),
        });
        for state in 0..self.states.len() {
            let leaves = |half: &Self| half.counts.range((state, 0)..(state + 1, 0)).next().is_some();
            let known =
                self.counts.range((state, 0)..(state + 1, 0)).next().map(|(key, count)| (*key, *count));
            for half in [&mut first, &mut second] {
                if let Some((key, count)) = known.filter(|_| !leaves(half)) {
                    half.counts.insert(key, count);
                }
            }
        }
        [first, second]
    }

    /// The empirical transition matrix.
    ///
    /// # Errors
    /// [`AppError::Data`] naming a state that is never left.
    pub fn matrix(&self) -> Result<Dense, AppError> {
        let n = self.states.len();
        let mut p = Dense::zeros(n, n);
        for (&(from, to), &count) in &self.counts {
            p.row_mut(from)[to] = count as f64;
        }
        for (i, name) in self.states.iter().enumerate() {
            let sum: f64 = p.row(i).iter().sum();
            if sum == 0.0 {
                return Err(AppError::Data(format!(
                    "state {name:?} is never left: row {i} of the transition matrix is zero; leave the \
                     state out"
                )));
            }
            p.row_mut(i).iter_mut().for_each(|x| *x /= sum);
        }
        Ok(p)
    }
}

fn read_text(path: &Path) -> Result<String, AppError> {
    fs::read_to_string(path).map_err(|source| AppError::Read { path: path.to_owned(), source })
}

fn words(line: &str) -> Vec<&str> {
    let separator = [',', ';', '\t'].into_iter().find(|separator| line.contains(*separator));
    let trimmed = |word: &str| -> bool { !word.is_empty() };
    match separator {
        Some(separator) => line.split(separator).map(|word| word.trim().trim_matches('"')).collect(),
        None => line.split_whitespace().filter(|word| trimmed(word)).collect(),
    }
}

/// Reads a list of transitions.
///
/// # Errors
/// [`AppError`] naming file and line.
pub fn read_list(path: &Path) -> Result<Transitions, AppError> {
    parse_list(path, &read_text(path)?)
}

fn parse_list(path: &Path, text: &str) -> Result<Transitions, AppError> {
    let mut named = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let fail = |message: String| AppError::Line { path: path.to_owned(), line: number + 1, message };
        let count = match words(line)[..] {
            [from, to] if !from.is_empty() && !to.is_empty() => (from, to, 1),
            [from, to, count] if !from.is_empty() && !to.is_empty() => {
                let parsed =
                    count.parse().map_err(|_| fail(format!("the count {count:?} is no whole number")))?;
                (from, to, parsed)
            }
            _ => return Err(fail(format!("{line:?} is not `from to` or `from to count`"))),
        };
        named.push((count.0.to_owned(), count.1.to_owned(), count.2));
    }
    if named.is_empty() {
        return Err(AppError::File { path: path.to_owned(), message: "no transitions".to_owned() });
    }
    Ok(Transitions::of(named))
}

/// Reads trips from a `.parquet` file, or else from CSV.
///
/// # Errors
/// [`AppError`] naming the file, and line or column.
pub fn read_trips(path: &Path) -> Result<Transitions, AppError> {
    if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("parquet")) {
        return read_parquet(path);
    }
    parse_csv(path, &read_text(path)?)
}

fn parse_csv(path: &Path, text: &str) -> Result<Transitions, AppError> {
    let mut lines = text.lines().enumerate();
    let header = lines.next().map_or("", |(_, line)| line);
    let names: Vec<String> = words(header).iter().map(|name| name.to_lowercase()).collect();
    let column = |wanted: &str| {
        names.iter().position(|name| name == wanted).ok_or_else(|| AppError::Line {
            path: path.to_owned(),
            line: 1,
            message: format!("no column {wanted}; the header has {}", names.join(", ")),
        })
    };
    let columns = [column(COLUMNS[0])?, column(COLUMNS[1])?];
    let mut named = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let fail = |message: String| AppError::Line { path: path.to_owned(), line: number + 1, message };
        let values = words(line);
        if values.len() != names.len() {
            return Err(fail(format!("{} values under {} columns", values.len(), names.len())));
        }
        let [from, to] = columns.map(|place| values[place]);
        if from.is_empty() || to.is_empty() {
            continue;
        }
        for zone in [from, to] {
            if zone.parse::<i64>().is_err() {
                return Err(fail(format!("{zone:?} is no zone number")));
            }
        }
        named.push((from.to_owned(), to.to_owned(), 1));
    }
    if named.is_empty() {
        return Err(AppError::File { path: path.to_owned(), message: "no trips".to_owned() });
    }
    Ok(Transitions::of(named))
}

fn read_parquet(path: &Path) -> Result<Transitions, AppError> {
    let file = File::open(path).map_err(|source| AppError::Read { path: path.to_owned(), source })?;
    let damaged = |message: String| AppError::File { path: path.to_owned(), message };
    // On some damaged files the reader panics where it should return an error.
    let read = catch_unwind(AssertUnwindSafe(|| zones(file)));
    let [from, to] = match read {
        Ok(Ok(columns)) => columns,
        Ok(Err(error)) => return Err(damaged(error.to_string())),
        Err(_) => return Err(damaged("its pages contradict one another".to_owned())),
    };
    if from.len() != to.len() {
        return Err(damaged(format!("{} pickups and {} drop-offs", from.len(), to.len())));
    }
    let trips =
        from.into_iter().zip(to).filter_map(|(from, to)| Some((from?.to_string(), to?.to_string(), 1)));
    let transitions = Transitions::of(trips);
    if transitions.counts.is_empty() { Err(damaged("no trips".to_owned())) } else { Ok(transitions) }
}

/// Both columns, with their missing values.
fn zones(file: File) -> Result<[Vec<Option<i64>>; 2], ParquetError> {
    let reader = SerializedFileReader::new(file)?;
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let names: Vec<String> =
        schema.columns().iter().map(|column| column.path().string().to_lowercase()).collect();
    let place = |wanted: &str| {
        names.iter().position(|name| name == wanted).ok_or_else(|| {
            ParquetError::General(format!("no column {wanted}; the file has {}", names.join(", ")))
        })
    };
    let mut columns = [Vec::new(), Vec::new()];
    for (column, wanted) in columns.iter_mut().zip(COLUMNS) {
        let place = place(wanted)?;
        for group in 0..reader.num_row_groups() {
            let levels = schema.column(place).max_def_level();
            match reader.get_row_group(group)?.get_column_reader(place)? {
                ColumnReader::Int32ColumnReader(mut values) => loop {
                    let (mut found, mut defined) = (Vec::new(), Vec::new());
                    let rows = values.read_records(ROWS_AT_ONCE, Some(&mut defined), None, &mut found)?.0;
                    if rows == 0 {
                        break;
                    }
                    spread(found.into_iter().map(i64::from), &defined, rows, levels, column);
                },
                ColumnReader::Int64ColumnReader(mut values) => loop {
                    let (mut found, mut defined) = (Vec::new(), Vec::new());
                    let rows = values.read_records(ROWS_AT_ONCE, Some(&mut defined), None, &mut found)?.0;
                    if rows == 0 {
                        break;
                    }
                    spread(found.into_iter(), &defined, rows, levels, column);
                },
                _ => return Err(ParquetError::General(format!("column {wanted} holds no whole numbers"))),
            }
        }
    }
    Ok(columns)
}

/// Puts the values where their definition levels say that there is one.
fn spread(
    mut values: impl Iterator<Item = i64>,
    defined: &[i16],
    rows: usize,
    level: i16,
    out: &mut Vec<Option<i64>>,
) {
    if level == 0 {
        out.extend(values.map(Some));
        return;
    }
    out.extend(defined.iter().take(rows).map(|at| if *at == level { values.next() } else { None }));
}

#[cfg(test)]
mod tests;
