//! The corpus of a path: text, JSON-lines and parquet files, and folders of them.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use serde::Deserialize;

use super::DataError;
use super::parquet::ParquetDocuments;
use super::source::DocumentStream;

/// A text file up to twice this long is one document; a longer one is cut after every such stretch.
const TEXT_STRETCH: usize = 64 << 10;
/// Longest accepted line of a .jsonl file, so that a hostile file cannot fill the memory.
const MAX_JSONL_LINE: u64 = 64 << 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    JsonLines,
    Parquet,
}

impl Kind {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "txt" => Some(Self::Text),
            "jsonl" => Some(Self::JsonLines),
            "parquet" => Some(Self::Parquet),
            _ => None,
        }
    }
}

struct CorpusFile {
    path: PathBuf,
    kind: Kind,
    bytes: u64,
    modified_nanoseconds: u128,
}

/// The corpus files at a path, in sorted order.
pub(super) struct CorpusFiles {
    files: Vec<CorpusFile>,
}

impl CorpusFiles {
    /// `path` itself when it is a file, else every .txt, .jsonl and .parquet file below it, in sorted order;
    /// hidden files and folders are passed over, as are links to folders.
    pub(super) fn list(path: &Path) -> Result<Self, DataError> {
        let metadata = fs::metadata(path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => DataError::Missing { path: path.to_owned() },
            _ => DataError::Read { path: path.to_owned(), source },
        })?;
        // One spelling for a file from wherever it is named, so that its cache is found again. Links are kept:
        // what they lead to may have no telling extension.
        let path =
            std::path::absolute(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
        let mut files = Vec::new();
        if metadata.is_dir() {
            list_folder(&path, &mut files)?;
            if files.is_empty() {
                return Err(DataError::Empty {
                    corpus: path.display().to_string(),
                    reason: "the folder holds no .txt, .jsonl or .parquet file".to_owned(),
                });
            }
            files.sort_by(|a, b| a.path.cmp(&b.path));
        } else {
            let kind = Kind::of(&path).ok_or_else(|| DataError::UnsupportedFile { path: path.clone() })?;
            files.push(describe(path, kind, &metadata));
        }
        Ok(Self { files })
    }

    /// Names, sizes and modification times.
    pub(super) fn identity(&self) -> String {
        let mut identity = "files, rules 1".to_owned();
        for CorpusFile { path, bytes, modified_nanoseconds, .. } in &self.files {
            identity.push_str(&format!("\n{bytes} {modified_nanoseconds} {}", path.display()));
        }
        identity
    }

    /// Documents in the order of the files and of the documents in each, and about how many bytes they have.
    pub(super) fn documents(self) -> (DocumentStream, Option<u64>) {
        let compressed = self.files.iter().any(|file| file.kind == Kind::Parquet);
        let bytes = (!compressed).then(|| self.files.iter().map(|file| file.bytes).sum());
        let documents = self.files.into_iter().flat_map(|file| match open(file) {
            Ok(documents) => documents,
            Err(error) => Box::new(std::iter::once(Err(error))),
        });
        (Box::new(documents), bytes)
    }
}

fn describe(path: PathBuf, kind: Kind, metadata: &fs::Metadata) -> CorpusFile {
    let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    CorpusFile {
        path,
        kind,
        bytes: metadata.len(),
        modified_nanoseconds: modified.map_or(0, |duration| duration.as_nanos()),
    }
}

fn list_folder(folder: &Path, files: &mut Vec<CorpusFile>) -> Result<(), DataError> {
    let read_error = |source| DataError::Read { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(read_error)? {
        let entry = entry.map_err(read_error)?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let (path, kind) = (entry.path(), entry.file_type().map_err(read_error)?);
        if kind.is_dir() {
            list_folder(&path, files)?;
        } else if let Some(corpus_kind) = Kind::of(&path) {
            let metadata =
                fs::metadata(&path).map_err(|source| DataError::Read { path: path.clone(), source })?;
            if metadata.is_file() {
                files.push(describe(path, corpus_kind, &metadata));
            }
        }
    }
    Ok(())
}

fn open(file: CorpusFile) -> Result<DocumentStream, DataError> {
    let CorpusFile { path, kind, .. } = file;
    if kind == Kind::Parquet {
        return Ok(Box::new(ParquetDocuments::open(&path)?));
    }
    let input = match File::open(&path) {
        Ok(input) => BufReader::with_capacity(TEXT_STRETCH, input),
        Err(source) => return Err(DataError::Read { path, source }),
    };
    Ok(match kind {
        Kind::Text => Box::new(TextDocuments { path, input, offset: 0, buffer: Vec::new() }),
        Kind::JsonLines => Box::new(JsonLines { path, input, line: 0, buffer: Vec::new() }),
        Kind::Parquet => Box::new(std::iter::empty()),
    })
}

/// The documents of a .txt file: a short file is one; a long one is cut at the first blank line (else line end,
/// else character) after every [`TEXT_STRETCH`], so that a corpus in a single file can be shuffled and split.
struct TextDocuments {
    path: PathBuf,
    input: BufReader<File>,
    offset: u64,
    buffer: Vec<u8>,
}

impl TextDocuments {
    fn next_document(&mut self) -> Result<Option<String>, DataError> {
        let wanted = (2 * TEXT_STRETCH + 1).saturating_sub(self.buffer.len());
        (&mut self.input)
            .take(wanted as u64)
            .read_to_end(&mut self.buffer)
            .map_err(|source| DataError::Read { path: self.path.clone(), source })?;
        if self.buffer.is_empty() {
            return Ok(None);
        }
        let end = if self.buffer.len() > 2 * TEXT_STRETCH { cut(&self.buffer) } else { self.buffer.len() };
        let rest = self.buffer.split_off(end);
        let bytes = std::mem::replace(&mut self.buffer, rest);
        let not_text =
            |at: usize| DataError::NotText { path: self.path.clone(), offset: self.offset + at as u64 };
        let text = String::from_utf8(bytes).map_err(|error| not_text(error.utf8_error().valid_up_to()))?;
        // Text has no NUL; a binary file that happens to be UTF-8 does.
        if let Some(at) = text.find('\0') {
            return Err(not_text(at));
        }
        self.offset += end as u64;
        Ok(Some(text))
    }
}

/// Where to cut text that goes on: after a blank line if there is one in the second half, and so on.
fn cut(text: &[u8]) -> usize {
    let second = &text[TEXT_STRETCH..];
    if let Some(at) = second.windows(2).position(|pair| pair == b"\n\n") {
        return TEXT_STRETCH + at + 2;
    }
    if let Some(at) = second.iter().position(|&byte| byte == b'\n') {
        return TEXT_STRETCH + at + 1;
    }
    // A character has at most three continuation bytes; more are no text, and reported as such.
    let is_start = |&end: &usize| text[end] & 0b1100_0000 != 0b1000_0000;
    (text.len() - 4..text.len()).rev().find(is_start).unwrap_or(text.len())
}

impl Iterator for TextDocuments {
    type Item = Result<String, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_document().transpose()
    }
}

/// The documents of a .jsonl file: the field `text` of every line; blank lines are passed over.
struct JsonLines {
    path: PathBuf,
    input: BufReader<File>,
    line: u64,
    buffer: Vec<u8>,
}

#[derive(Deserialize)]
struct JsonDocument {
    text: String,
}

impl JsonLines {
    fn next_document(&mut self) -> Result<Option<String>, DataError> {
        loop {
            self.buffer.clear();
            let read = (&mut self.input)
                .take(MAX_JSONL_LINE)
                .read_until(b'\n', &mut self.buffer)
                .map_err(|source| DataError::Read { path: self.path.clone(), source })?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            let failure =
                |message: String| DataError::Jsonl { path: self.path.clone(), line: self.line, message };
            if read as u64 == MAX_JSONL_LINE && self.buffer.last() != Some(&b'\n') {
                return Err(failure(format!("longer than {} MiB", MAX_JSONL_LINE >> 20)));
            }
            if self.buffer.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let document: JsonDocument = serde_json::from_slice(&self.buffer).map_err(|error| {
                let message = error.to_string();
                // The parser saw one line only: its own line number would mislead.
                failure(message.split(" at line ").next().unwrap_or(&message).to_owned())
            })?;
            return Ok(Some(document.text));
        }
    }
}

impl Iterator for JsonLines {
    type Item = Result<String, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_document().transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text_documents(text: &[u8]) -> Result<Vec<String>, DataError> {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("corpus.txt");
        fs::write(&path, text).expect("file");
        CorpusFiles::list(&path)?.documents().0.collect()
    }

    #[test]
    fn long_text_is_cut_at_blank_lines_and_nothing_is_lost() {
        let paragraph = "A paragraph of some words.\nIt goes on: é.\n\n".to_owned();
        let text = paragraph.repeat(8000);
        let documents = text_documents(text.as_bytes()).expect("reads");
        assert_eq!(documents.concat(), text);
        assert!(documents.len() > 3);
        for document in &documents {
            assert!(document.len() <= 2 * TEXT_STRETCH && document.ends_with("\n\n"));
        }
        assert_eq!(text_documents(paragraph.as_bytes()).expect("reads"), [paragraph]);
    }

    #[test]
    fn text_without_line_ends_is_cut_between_characters() {
        for shift in 0..4 {
            let text = "x".repeat(shift) + &"😀".repeat(100_000);
            let documents = text_documents(text.as_bytes()).expect("reads");
            assert!(documents.len() > 2);
            assert_eq!(documents.concat(), text);
        }
        let lines = "0123456789\n".repeat(20_000);
        let documents = text_documents(lines.as_bytes()).expect("reads");
        assert!(documents.iter().all(|document| document.ends_with('\n')));
        assert_eq!(documents.concat(), lines);
    }

    #[test]
    fn a_binary_file_is_named_with_the_offset() {
        let mut bytes = "é\n".repeat(100_000).into_bytes();
        bytes[250_002] = 0xff;
        for bytes in [bytes, [0x80; 300_000].to_vec(), b"\x7fELF\0\0".to_vec()] {
            let at = bytes.iter().position(|&byte| matches!(byte, 0 | 0xff | 0x80)).expect("planted");
            let error = text_documents(&bytes).expect_err("binary").to_string();
            assert!(error.contains(&format!("corpus.txt: not UTF-8 text at byte {at};")), "{error}");
        }
    }
}
