//! A tokenized corpus in one file, checked when it is opened and then mapped into memory.
//!
//! Layout: [`Header`] (80 bytes), the tokens of all documents in order as `u16`, zero bytes up to a multiple of
//! 8, and `documents + 1` token offsets as `u64`. Numbers are in the machine's own byte order: a shard is a
//! cache, and one from a machine of the other order fails the version check. The checksum is XXH3 (64 bits) of
//! everything after the header, followed by the header up to the checksum.

use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use bytemuck::{Pod, Zeroable};
use memmap2::Mmap;
use xxhash_rust::xxh3::Xxh3;

use super::DataError;
use super::temporary::TemporaryFile;
use super::tokenizer::{TOKENIZER_ID, VOCABULARY};

const MAGIC: [u8; 8] = *b"LRTOKENS";
const VERSION: u64 = 1;
const HEADER_BYTES: usize = size_of::<Header>();
const CHECKSUMMED_HEADER_BYTES: usize = HEADER_BYTES - size_of::<u64>();

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Header {
    magic: [u8; 8],
    version: u64,
    tokenizer: [u8; 16],
    fingerprint: [u64; 2],
    documents: u64,
    tokens: u64,
    text_bytes: u64,
    checksum: u64,
}

/// What a corpus was made from: two shards with the same fingerprint hold the same tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u64; 2]);

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}{:016x}", self.0[0], self.0[1])
    }
}

/// The tokens of a corpus, document by document, memory-mapped and immutable. End-of-text tokens are not
/// stored; the loader puts them in.
#[derive(Debug)]
pub struct TokenShard {
    map: Mmap,
    path: PathBuf,
    fingerprint: Fingerprint,
    documents: usize,
    tokens: usize,
    text_bytes: u64,
}

impl TokenShard {
    /// Maps a shard and checks all of it: sizes, checksum, offsets and token ids.
    ///
    /// # Errors
    /// [`DataError::Read`] when the file cannot be opened, [`DataError::CorruptCache`] when it is truncated,
    /// altered, or of another version.
    pub fn open(path: &Path) -> Result<Self, DataError> {
        let read_error = |source| DataError::Read { path: path.to_owned(), source };
        let corrupt = |message: String| DataError::CorruptCache { path: path.to_owned(), message };
        let file = File::open(path).map_err(read_error)?;
        let length = file.metadata().map_err(read_error)?.len();
        if length < HEADER_BYTES as u64 {
            return Err(corrupt(format!("{length} bytes are less than a header")));
        }
        // SAFETY: a map is undefined behaviour when the file changes under it. Shards are written under another
        // name, renamed when complete, and never written again; replacing one leaves the mapped inode alone.
        let map = unsafe { Mmap::map(&file) }.map_err(read_error)?;
        let header: Header = bytemuck::pod_read_unaligned(&map[..HEADER_BYTES]);
        if header.magic != MAGIC || header.version != VERSION || header.tokenizer != *TOKENIZER_ID {
            return Err(corrupt("it is no token shard of this version".to_owned()));
        }
        let expected = file_bytes(header.documents, header.tokens);
        if expected != Some(map.len()) {
            return Err(corrupt(format!(
                "{} bytes do not fit its {} documents and {} tokens",
                map.len(),
                header.documents,
                header.tokens
            )));
        }
        let mut hasher = Xxh3::new();
        hasher.update(&map[HEADER_BYTES..]);
        hasher.update(&map[..CHECKSUMMED_HEADER_BYTES]);
        if hasher.digest() != header.checksum {
            return Err(corrupt("its checksum does not match".to_owned()));
        }
        let shard = Self {
            path: path.to_owned(),
            fingerprint: Fingerprint(header.fingerprint),
            // The file's length holds both counts, so that they fit.
            documents: header.documents as usize,
            tokens: header.tokens as usize,
            text_bytes: header.text_bytes,
            map,
        };
        let offsets = shard.offsets();
        let ordered = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
        if !ordered || offsets.first() != Some(&0) || offsets.last() != Some(&header.tokens) {
            return Err(corrupt("its document offsets are out of order".to_owned()));
        }
        if shard.tokens().iter().any(|&token| usize::from(token) >= VOCABULARY) {
            return Err(corrupt("it holds tokens outside the vocabulary".to_owned()));
        }
        Ok(shard)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the shard was made from.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Number of documents, at least 1.
    pub fn documents(&self) -> usize {
        self.documents
    }

    /// Bytes of text behind the tokens.
    pub fn text_bytes(&self) -> u64 {
        self.text_bytes
    }

    /// The tokens of all documents, one after another, each below [`VOCABULARY`].
    pub fn tokens(&self) -> &[u16] {
        bytemuck::cast_slice(&self.map[HEADER_BYTES..HEADER_BYTES + 2 * self.tokens])
    }

    /// The tokens of one document.
    ///
    /// # Panics
    /// When `document` is not below [`TokenShard::documents`].
    #[track_caller]
    pub fn document(&self, document: usize) -> &[u16] {
        let offsets = self.offsets();
        &self.tokens()[offsets[document] as usize..offsets[document + 1] as usize]
    }

    fn offsets(&self) -> &[u64] {
        bytemuck::cast_slice(&self.map[self.map.len() - 8 * (self.documents + 1)..])
    }
}

/// Length of a shard's file, if it fits the address space.
fn file_bytes(documents: u64, tokens: u64) -> Option<usize> {
    let token_bytes = tokens.checked_mul(2)?.checked_next_multiple_of(8)?;
    let offset_bytes = documents.checked_add(1)?.checked_mul(8)?;
    usize::try_from(token_bytes.checked_add(offset_bytes)?.checked_add(HEADER_BYTES as u64)?).ok()
}

/// Writes a shard document by document; nothing appears under the final name before [`ShardWriter::finish`].
pub(super) struct ShardWriter {
    file: BufWriter<File>,
    temporary: TemporaryFile,
    hasher: Xxh3,
    offsets: Vec<u64>,
    text_bytes: u64,
}

impl ShardWriter {
    /// Starts the shard that will be called `path`, creating its folder.
    pub(super) fn create(path: &Path) -> Result<Self, DataError> {
        let (temporary, file) = TemporaryFile::create(path)?;
        let mut writer = Self {
            file: BufWriter::with_capacity(1 << 20, file),
            temporary,
            hasher: Xxh3::new(),
            offsets: vec![0],
            text_bytes: 0,
        };
        let placeholder = [0; HEADER_BYTES];
        writer.file.write_all(&placeholder).map_err(|source| writer.temporary.write_error(source))?;
        Ok(writer)
    }

    /// Appends a document of `text_bytes` bytes of text.
    pub(super) fn push(&mut self, tokens: &[u16], text_bytes: u64) -> Result<(), DataError> {
        self.write_body(bytemuck::cast_slice(tokens))?;
        self.offsets.push(self.tokens() + tokens.len() as u64);
        self.text_bytes += text_bytes;
        Ok(())
    }

    /// Tokens so far.
    pub(super) fn tokens(&self) -> u64 {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// Completes the shard and gives it its name.
    pub(super) fn finish(mut self, fingerprint: Fingerprint) -> Result<(), DataError> {
        let tokens = self.tokens();
        let padding = (2 * tokens).next_multiple_of(8) - 2 * tokens;
        self.write_body(&[0; 8][..padding as usize])?;
        let offsets = std::mem::take(&mut self.offsets);
        self.write_body(bytemuck::cast_slice(&offsets))?;
        let mut header = Header {
            magic: MAGIC,
            version: VERSION,
            tokenizer: *TOKENIZER_ID,
            fingerprint: fingerprint.0,
            documents: offsets.len() as u64 - 1,
            tokens,
            text_bytes: self.text_bytes,
            checksum: 0,
        };
        self.hasher.update(&bytemuck::bytes_of(&header)[..CHECKSUMMED_HEADER_BYTES]);
        header.checksum = self.hasher.digest();
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.write_all(bytemuck::bytes_of(&header)))
            .and_then(|()| self.file.flush())
            .map_err(|source| self.temporary.write_error(source))?;
        drop(self.file);
        self.temporary.persist()
    }

    fn write_body(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.hasher.update(bytes);
        self.file.write_all(bytes).map_err(|source| self.temporary.write_error(source))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("new/shard");
        let documents: [&[u16]; 5] = [&[1, 2, 3], &[], &[50_256], &[7; 1000], &[]];
        let mut writer = ShardWriter::create(&path).expect("creates");
        for document in documents {
            writer.push(document, 10).expect("writes");
        }
        assert!(!path.exists(), "no final name before the end");
        writer.finish(Fingerprint([3, 4])).expect("finishes");
        let shard = TokenShard::open(&path).expect("opens");
        assert_eq!(shard.documents(), documents.len());
        for (number, document) in documents.into_iter().enumerate() {
            assert_eq!(shard.document(number), document);
        }
        assert_eq!(shard.tokens(), documents.concat());
        assert_eq!((shard.text_bytes(), shard.fingerprint()), (50, Fingerprint([3, 4])));
        assert_eq!(std::fs::read_dir(folder.path().join("new")).expect("folder").count(), 1);
    }

    #[test]
    fn tokens_outside_the_vocabulary_are_refused_whatever_the_checksum_says() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("shard");
        let mut writer = ShardWriter::create(&path).expect("creates");
        writer.push(&[50_257], 1).expect("writes");
        writer.finish(Fingerprint([0, 0])).expect("finishes");
        let error = TokenShard::open(&path).expect_err("token 50257").to_string();
        assert!(error.contains("outside the vocabulary"), "{error}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_that_leaves_nothing_behind() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let path = folder.path().join("shard");
        let mut writer = ShardWriter::create(&path).expect("creates");
        // Every write to this device fails as on a full disk.
        let full = File::options().write(true).open("/dev/full").expect("device");
        writer.file = BufWriter::new(full);
        writer.push(&[1, 2, 3], 10).expect("is buffered");
        let error = writer.finish(Fingerprint([0, 0])).expect_err("no space").to_string();
        assert!(error.contains("shard: No space left") && error.contains("LOWRANK_CACHE"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0);
    }
}
