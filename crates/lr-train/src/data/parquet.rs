//! Documents in the column `text` of a parquet file, one row group and one page at a time.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parquet::basic::Type;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::reader::{FileReader, SerializedFileReader};

use super::DataError;

const COLUMN: &str = "text";
/// Documents decoded ahead of the one asked for.
const ROWS_AT_ONCE: usize = 256;

/// The documents of a parquet file, in order; missing values are passed over.
pub(super) struct ParquetDocuments {
    path: PathBuf,
    reader: SerializedFileReader<File>,
    column: usize,
    next_row_group: usize,
    row_group: Option<ColumnReaderImpl<ByteArrayType>>,
    values: std::vec::IntoIter<ByteArray>,
}

impl ParquetDocuments {
    /// Reads the footer and finds the column.
    pub(super) fn open(path: &Path) -> Result<Self, DataError> {
        let file = File::open(path).map_err(|source| DataError::Read { path: path.to_owned(), source })?;
        let reader = guarded(path, || SerializedFileReader::new(file))?;
        let schema = reader.metadata().file_metadata().schema_descr();
        let is_text = |column: usize| {
            let column = schema.column(column);
            column.path().parts() == [COLUMN]
                && column.physical_type() == Type::BYTE_ARRAY
                && column.max_rep_level() == 0
        };
        let column = (0..schema.num_columns()).find(|&column| is_text(column)).ok_or_else(|| {
            let columns: Vec<String> = schema
                .columns()
                .iter()
                .map(|column| format!("{} ({})", column.path().string(), column.physical_type()))
                .collect();
            DataError::NoTextColumn { path: path.to_owned(), columns: columns.join(", ") }
        })?;
        Ok(Self {
            path: path.to_owned(),
            reader,
            column,
            next_row_group: 0,
            row_group: None,
            values: Vec::new().into_iter(),
        })
    }

    fn next_document(&mut self) -> Result<Option<String>, DataError> {
        loop {
            if let Some(value) = self.values.next() {
                let text = std::str::from_utf8(value.data()).map_err(|error| damaged(&self.path, &error))?;
                return Ok(Some(text.to_owned()));
            }
            let path = self.path.clone();
            if !guarded(&path, || self.decode_values())? {
                return Ok(None);
            }
        }
    }

    /// Decodes the next few values; false at the end of the file.
    fn decode_values(&mut self) -> Result<bool, ParquetError> {
        let Some(row_group) = &mut self.row_group else {
            if self.next_row_group == self.reader.num_row_groups() {
                return Ok(false);
            }
            let group = self.reader.get_row_group(self.next_row_group)?;
            self.next_row_group += 1;
            return match group.get_column_reader(self.column)? {
                ColumnReader::ByteArrayColumnReader(reader) => {
                    self.row_group = Some(reader);
                    Ok(true)
                }
                _ => Err(ParquetError::General(format!("column {COLUMN} changes its type"))),
            };
        };
        let mut values = Vec::with_capacity(ROWS_AT_ONCE);
        let mut definition_levels = Vec::with_capacity(ROWS_AT_ONCE);
        let (rows, _, _) =
            row_group.read_records(ROWS_AT_ONCE, Some(&mut definition_levels), None, &mut values)?;
        self.values = values.into_iter();
        if rows == 0 {
            self.row_group = None;
        }
        Ok(true)
    }
}

/// Runs the parquet reader. On some damaged files it panics where it should return an error, which is caught
/// here; the reader is not used again.
fn guarded<T>(path: &Path, read: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, DataError> {
    match catch_unwind(AssertUnwindSafe(read)) {
        Ok(result) => result.map_err(|error| damaged(path, &error)),
        Err(_) => Err(damaged(path, &"its pages contradict one another")),
    }
}

impl Iterator for ParquetDocuments {
    type Item = Result<String, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_document().transpose()
    }
}

fn damaged(path: &Path, error: &dyn std::fmt::Display) -> DataError {
    DataError::Parquet { path: path.to_owned(), message: error.to_string() }
}

#[cfg(test)]
mod tests;
