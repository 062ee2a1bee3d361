//! Parquet files that the tests write, whole and damaged.

use std::fs;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::Int64Type;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use tempfile::TempDir;

use super::*;
use crate::data::{CorpusOptions, CorpusSource, load_corpus};

/// Writes row groups of (optional) texts beside a column of numbers.
fn write_parquet(path: &Path, column: &str, compression: Compression, groups: &[Vec<Option<&str>>]) {
    let schema = format!("message schema {{ REQUIRED INT64 id; OPTIONAL BYTE_ARRAY {column} (UTF8); }}");
    let schema = Arc::new(parse_message_type(&schema).expect("schema"));
    let properties = Arc::new(WriterProperties::builder().set_compression(compression).build());
    let file = File::create(path).expect("file");
    let mut writer = SerializedFileWriter::new(file, schema, properties).expect("writer");
    for group in groups {
        let mut rows = writer.next_row_group().expect("row group");
        let ids: Vec<i64> = (0..group.len() as i64).collect();
        let mut numbers = rows.next_column().expect("column").expect("ids");
        numbers.typed::<Int64Type>().write_batch(&ids, None, None).expect("writes");
        numbers.close().expect("closes");
        let values: Vec<ByteArray> = group.iter().flatten().map(|&text| ByteArray::from(text)).collect();
        let levels: Vec<i16> = group.iter().map(|text| i16::from(text.is_some())).collect();
        let mut documents = rows.next_column().expect("column").expect("texts");
        documents.typed::<ByteArrayType>().write_batch(&values, Some(&levels), None).expect("writes");
        documents.close().expect("closes");
        rows.close().expect("closes");
    }
    writer.close().expect("closes");
}

fn read(path: &Path) -> Result<Vec<String>, DataError> {
    ParquetDocuments::open(path)?.collect()
}

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("temporary folder");
    let path = folder.path().join("web.parquet");
    (folder, path)
}

#[test]
fn row_groups_nulls_and_compressions_are_read() {
    let long = "A longer document. ".repeat(5000);
    let many: Vec<String> = (0..1000).map(|row| format!("document {row}")).collect();
    let groups = [
        vec![Some("one"), None, Some("Ünïcode"), Some(&long), Some("")],
        many.iter().map(|text| Some(text.as_str())).collect(),
        vec![None, None],
        vec![Some("end")],
    ];
    let expected: Vec<&str> = groups.iter().flatten().flatten().copied().collect();
    for compression in [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(Default::default())]
    {
        let (_folder, path) = place();
        write_parquet(&path, "text", compression, &groups);
        assert_eq!(read(&path).expect("reads"), expected, "{compression}");
    }
}

#[test]
fn a_parquet_file_is_a_corpus() {
    let (folder, path) = place();
    write_parquet(&path, "text", Compression::SNAPPY, &[vec![Some("Hello"), Some(""), None, Some(" world")]]);
    let source = CorpusSource::Path(folder.path().to_owned());
    let options =
        CorpusOptions { cache: Some(folder.path().join("cache")), ..CorpusOptions::new(source, 1000) };
    let shard = load_corpus(&options, &|_| ()).expect("loads").shard;
    assert_eq!((shard.documents(), shard.document(0), shard.document(1)), (2, &[15496][..], &[995][..]));
}

#[test]
fn a_file_without_text_lists_its_columns() {
    let (_folder, path) = place();
    write_parquet(&path, "body", Compression::SNAPPY, &[vec![Some("one")]]);
    let error = read(&path).expect_err("no such column").to_string();
    assert!(
        error.contains("web.parquet: no string column \"text\"; it has id (INT64), body (BYTE_ARRAY)"),
        "{error}"
    );
}

#[test]
fn a_truncated_file_is_an_error() {
    let (_folder, path) = place();
    write_parquet(&path, "text", Compression::SNAPPY, &[vec![Some("one")], vec![Some("two")]]);
    let whole = fs::read(&path).expect("reads");
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).expect("file");
        let error = read(&path).expect_err("truncated").to_string();
        assert!(error.contains("web.parquet: damaged or unsupported parquet"), "{error}");
    }
}

#[test]
fn every_altered_byte_ends_in_documents_or_an_error() {
    let (folder, path) = place();
    let text = "Words that compress well. ".repeat(20);
    write_parquet(&path, "text", Compression::SNAPPY, &[vec![Some(&text), None], vec![Some("two")]]);
    let whole = fs::read(&path).expect("reads");
    let mut errors = 0;
    for at in 0..whole.len() {
        for mask in [0x01, 0xff] {
            let mut altered = whole.clone();
            altered[at] ^= mask;
            // A new file each time: some file systems write a truncated one to disk at once.
            let path = folder.path().join(format!("{at}-{mask}.parquet"));
            fs::write(&path, &altered).expect("file");
            // Many alterations are harmless (names, statistics); none may panic or hang.
            if let Err(error) = read(&path) {
                assert!(error.to_string().contains(&format!("{at}-{mask}.parquet")), "{error}");
                errors += 1;
            }
            fs::remove_file(&path).expect("removes");
        }
    }
    assert!(errors > 100, "the damage is noticed: {errors}");
}
