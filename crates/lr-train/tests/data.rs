//! Corpora on disk to tokens in the cache: every kind of file, every kind of damage.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use lr_train::data::{
    Corpus, CorpusOptions, CorpusSource, DataError, Progress, TokenShard, Tokenizer, load_corpus,
};
use tempfile::TempDir;

/// A folder with a corpus in `corpus` and a cache in `cache`.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        fs::create_dir(folder.path().join("corpus")).expect("folder");
        Self(folder)
    }

    fn corpus(&self, name: &str) -> PathBuf {
        self.0.path().join("corpus").join(name)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.corpus(name);
        fs::create_dir_all(path.parent().expect("has a folder")).expect("folder");
        fs::write(&path, bytes).expect("file");
        path
    }

    fn options(&self, path: &Path, max_bytes: u64) -> CorpusOptions {
        let source = CorpusSource::Path(path.to_owned());
        CorpusOptions { cache: Some(self.0.path().join("cache")), ..CorpusOptions::new(source, max_bytes) }
    }

    fn load(&self, path: &Path) -> Result<Corpus, DataError> {
        load_corpus(&self.options(path, 1 << 20), &|_| ())
    }

    fn error(&self, path: &Path) -> String {
        let error = self.load(path).map(|_| ()).expect_err("the corpus is unusable");
        let cached = fs::read_dir(self.0.path().join("cache")).map_or(0, Iterator::count);
        assert_eq!(cached, 0, "a failed build leaves nothing behind");
        error.to_string()
    }

    fn cached_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.0.path().join("cache")).expect("cache");
        entries.map(|entry| entry.expect("entry").path()).collect()
    }
}

fn texts(corpus: &Corpus) -> Vec<String> {
    let tokenizer = Tokenizer::gpt2().expect("compiled in");
    (0..corpus.shard.documents())
        .map(|document| tokenizer.decode(corpus.shard.document(document)).expect("decodes"))
        .collect()
}

#[test]
fn sources_are_named_as_on_the_command_line() {
    for (text, source) in [
        ("crates", CorpusSource::Crates),
        ("fineweb", CorpusSource::FineWeb),
        ("./crates", CorpusSource::Path(PathBuf::from("./crates"))),
    ] {
        let Ok(parsed) = text.parse::<CorpusSource>();
        assert_eq!(parsed, source);
        assert_eq!(source.to_string(), text);
    }
}

#[test]
fn a_folder_is_read_recursively_in_sorted_order() {
    let place = Place::new();
    place.put("b.txt", "Second, with an emoji: 🦀.\n");
    place.put(
        "a/z.jsonl",
        "{\"text\":\"first <|endoftext|>\",\"id\":1}\n\n{\"id\":2,\"text\":\"line\\ntwo\"}",
    );
    place.put("c.txt", "");
    place.put("notes.md", "not a corpus file");
    place.put(".hidden/x.txt", "hidden");
    let corpus = place.load(&place.corpus("")).expect("loads");
    assert_eq!(texts(&corpus), ["first <|endoftext|>", "line\ntwo", "Second, with an emoji: 🦀.\n"]);
    let summary = corpus.summary();
    assert_eq!((summary.documents, summary.bytes), (3, 56));
    assert_eq!(summary.tokens, corpus.shard.tokens().len() as u64);
    assert_eq!(summary.fingerprint.len(), 32);
}

/// As in the hub's cache, where names are links to files that are named by their content.
#[cfg(unix)]
#[test]
fn links_to_files_are_followed_and_links_to_folders_are_not() {
    let place = Place::new();
    let blob = place.0.path().join("0123abcd");
    fs::write(&blob, "linked").expect("file");
    let link = place.corpus("link.txt");
    std::os::unix::fs::symlink(&blob, &link).expect("links");
    std::os::unix::fs::symlink(place.corpus(""), place.corpus("loop")).expect("links");
    assert_eq!(texts(&place.load(&link).expect("loads")), ["linked"]);
    assert_eq!(texts(&place.load(&place.corpus("")).expect("loads")), ["linked"]);
    fs::remove_file(&blob).expect("removes");
    let error = place.load(&place.corpus("")).map(|_| ()).expect_err("broken link").to_string();
    assert!(error.contains("cannot read") && error.contains("link.txt"), "{error}");
}

#[test]
fn the_byte_limit_takes_whole_first_documents() {
    let place = Place::new();
    let path = place.put("x.jsonl", "{\"text\":\"12345\"}\n".repeat(10));
    let load = |limit| load_corpus(&place.options(&path, limit), &|_| ());
    assert_eq!(load(24).expect("loads").shard.documents(), 4);
    assert_eq!(load(25).expect("loads").shard.documents(), 5);
    assert_eq!(load(1000).expect("loads").shard.documents(), 10);
    assert_eq!(place.cached_files().len(), 3, "every limit has its own shard");
    let error = load(4).map(|_| ()).expect_err("no document fits").to_string();
    assert!(error.contains("x.jsonl is empty") && error.contains("limit of 4 bytes"), "{error}");
}

#[test]
fn progress_reaches_the_end() {
    let place = Place::new();
    let path = place.put("x.txt", "Some text to be tokenized.\n".repeat(400_000));
    let seen = Mutex::new(Vec::new());
    let record = |progress| seen.lock().expect("lock").push(progress);
    load_corpus(&place.options(&path, 1 << 30), &record).expect("loads");
    let seen = seen.into_inner().expect("lock");
    assert!(seen.len() > 2 && seen.is_sorted_by_key(|progress| progress.bytes_done));
    assert_eq!(seen.last(), Some(&Progress { bytes_done: 10_800_000, bytes_total: 10_800_000 }));
}

#[test]
fn unusable_corpora_are_errors_that_name_file_and_remedy() {
    let place = Place::new();
    let error = place.error(&place.corpus("absent.txt"));
    assert!(error.contains("absent.txt does not exist; give --corpus"), "{error}");

    for (name, bytes, expected) in [
        ("empty.txt", &b""[..], "empty.txt is empty"),
        ("image.png", b"\x89PNG", "image.png: not a corpus file; expected .txt, .jsonl, .parquet"),
        ("binary.txt", b"text\xff\xfe", "binary.txt: not UTF-8 text at byte 4;"),
        ("nul.txt", b"text\0\0", "nul.txt: not UTF-8 text at byte 4;"),
        ("blank.jsonl", b"\n \n", "blank.jsonl is empty"),
        (
            "field.jsonl",
            b"{\"text\":\"a\"}\n\n{\"body\":\"b\"}\n",
            "field.jsonl, line 3: missing field `text`;",
        ),
        ("type.jsonl", b"{\"text\":\"a\"}\n{\"text\":7}\n", "type.jsonl, line 2: invalid type"),
        ("syntax.jsonl", b"{\"text\":\"a\"\n", "syntax.jsonl, line 1: EOF while parsing an object;"),
        ("bytes.jsonl", b"{\"text\":\"\xff\"}\n", "bytes.jsonl, line 1: "),
        ("noise.parquet", b"this is no parquet file", "noise.parquet: damaged or unsupported parquet"),
        ("empty.parquet", b"", "empty.parquet: damaged or unsupported parquet"),
    ] {
        let error = place.error(&place.put(name, bytes));
        assert!(error.contains(expected), "{error}");
    }

    fs::create_dir(place.corpus("folder")).expect("folder");
    let error = place.error(&place.corpus("folder"));
    assert!(error.contains("folder is empty: the folder holds no .txt"), "{error}");
}

#[test]
fn the_second_load_takes_the_cache() {
    let place = Place::new();
    let path = place.put("x.txt", "Some text.\n");
    let first = place.load(&path).expect("loads");
    let options = place.options(&path, 1 << 20);
    let again = load_corpus(&options, &|_| panic!("nothing is tokenized")).expect("loads");
    assert_eq!(again.shard.tokens(), first.shard.tokens());
    assert_eq!(again.summary(), first.summary());
    assert_eq!(place.cached_files(), [first.shard.path()]);

    place.put("x.txt", "Other, longer text.\n");
    assert_eq!(texts(&place.load(&path).expect("loads")), ["Other, longer text.\n"]);
}

#[test]
fn a_damaged_cache_is_detected_and_built_again() {
    let place = Place::new();
    let path = place.put("x.jsonl", "{\"text\":\"Some text here.\"}\n{\"text\":\"And there.\"}\n");
    let first = place.load(&path).expect("loads");
    let shard = first.shard.path().to_owned();
    let whole = fs::read(&shard).expect("reads");
    // A mapped file must not change: the damaged one takes its place, as the real one would.
    let replace = |bytes: &[u8]| {
        fs::remove_file(&shard).expect("removes");
        fs::write(&shard, bytes).expect("file");
    };
    let altered = (0..whole.len()).map(|at| {
        let mut altered = whole.clone();
        altered[at] ^= 1;
        altered
    });
    let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
    let longer = [&whole[..], &[0]].concat();
    for (number, damaged) in altered.chain(cut).chain([longer]).enumerate() {
        replace(&damaged);
        let error = TokenShard::open(&shard).map(|_| ()).expect_err("damaged");
        assert!(
            matches!(&error, DataError::CorruptCache { path, .. } if *path == shard),
            "{number}: {error}"
        );
        if number % 16 == 0 {
            let again = place.load(&path).expect("builds again");
            assert_eq!(again.shard.tokens(), first.shard.tokens(), "{number}");
            assert_eq!(fs::read(&shard).expect("reads"), whole, "{number}");
            assert_eq!(place.cached_files().len(), 1);
        }
    }

    let other = place.put("y.txt", "Another corpus.");
    let other = place.load(&other).expect("loads").shard.path().to_owned();
    fs::remove_file(&shard).expect("removes");
    fs::rename(&other, &shard).expect("renames");
    assert_eq!(place.load(&path).expect("builds again").shard.tokens(), first.shard.tokens());
}

#[test]
fn an_unwritable_cache_folder_is_an_error() {
    let place = Place::new();
    let path = place.put("x.txt", "Some text.\n");
    let file = place.put("file", "in the way");
    let options = CorpusOptions { cache: Some(file.join("cache")), ..place.options(&path, 100) };
    let error = load_corpus(&options, &|_| ()).map(|_| ()).expect_err("below a file").to_string();
    assert!(error.contains("file/cache") && error.contains("LOWRANK_CACHE"), "{error}");
}

#[test]
fn the_crates_corpus_loads_from_this_workspace() {
    let place = Place::new();
    let options = CorpusOptions { source: CorpusSource::Crates, ..place.options(Path::new(""), 300_000) };
    let corpus = load_corpus(&options, &|_| ()).expect("Cargo.lock pins dependencies");
    let summary = corpus.summary();
    assert!(summary.bytes <= 300_000 && summary.bytes > 150_000, "{summary:?}");
    assert!(summary.documents > 5, "{summary:?}");
    assert!(texts(&corpus).concat().contains("fn "), "the text of crates has functions");
    let again = load_corpus(&options, &|_| panic!("nothing is tokenized")).expect("loads");
    assert_eq!(again.summary(), summary);
}

#[cfg(not(feature = "fineweb"))]
#[test]
fn fineweb_that_is_not_compiled_in_says_so() {
    let place = Place::new();
    let options = CorpusOptions { source: CorpusSource::FineWeb, ..place.options(Path::new(""), 100) };
    let error = load_corpus(&options, &|_| ()).map(|_| ()).expect_err("not compiled in").to_string();
    assert!(error.contains("--features fineweb") && error.contains("--corpus PATH"), "{error}");
}
