//! Keys as 64-bit words and dense numbers: what the labels and the feature rows are matched by.

use std::hash::BuildHasher;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::buffer::NullBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, UInt64Type};
use arrow::row::{RowConverter, Rows, SortField};
use hashbrown::{DefaultHashBuilder, HashTable};

use crate::AsofError;
use crate::columns::list;

/// "No key", "no bucket": numbers are dense and never get here.
pub(crate) const NONE: u32 = u32::MAX;

/// The labels' distinct keys, numbered in the order they were first seen.
///
/// A key is found by a 64-bit word. One integer column is its own word, so equal words are equal keys. Any other key is
/// written as row bytes; the word is their hash, and the bytes are compared as well.
pub(crate) struct KeyTable {
    columns: Vec<String>,
    types: Vec<DataType>,
    rows: Option<RowKeys>,
    table: HashTable<(u64, u32)>,
    hasher: DefaultHashBuilder,
}

struct RowKeys {
    converter: RowConverter,
    seen: Rows,
}

/// The keys of one batch: a word a row, and the row bytes where the word does not say it all.
struct Words {
    words: Vec<u64>,
    rows: Option<Rows>,
    nulls: Option<NullBuffer>,
}

impl KeyTable {
    /// An empty table for key `columns` of the labels, of the types found there.
    pub(crate) fn new(columns: &[String], found: &[DataType]) -> Result<Self, AsofError> {
        let types: Vec<DataType> = found.iter().map(canonical).collect();
        let rows = match types.as_slice() {
            [DataType::Int64 | DataType::UInt64] => None,
            _ => Some(RowKeys::new(&types)?),
        };
        Ok(Self { columns: columns.to_vec(), types, rows, table: HashTable::new(), hasher: DefaultHashBuilder::default() })
    }

    /// The labels' key columns.
    pub(crate) fn columns(&self) -> &[String] {
        &self.columns
    }

    /// How many distinct keys there are.
    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether keys of type `found` can equal the labels' keys in position `at`; the error names `column`.
    pub(crate) fn check(&self, at: usize, column: &str, found: &DataType) -> Result<(), AsofError> {
        let integer = |t: &DataType| matches!(t, DataType::Int64 | DataType::UInt64);
        let (ours, theirs) = (&self.types[at], canonical(found));
        if *ours == theirs || theirs == DataType::Null || (integer(ours) && integer(&theirs)) {
            return Ok(());
        }
        Err(AsofError::KeyType {
            column: column.to_owned(),
            found: found.clone(),
            label_column: self.columns[at].clone(),
            expected: ours.clone(),
        })
    }

    /// The number of each row's key, new ones numbered on; `NONE` where a part of it is null.
    pub(crate) fn number(&mut self, keys: &[ArrayRef], n_rows: usize) -> Result<Vec<u32>, AsofError> {
        let Words { words, rows, nulls } = self.words(keys, n_rows)?;
        let mut numbers = Vec::with_capacity(n_rows);
        for (row, &word) in words.iter().enumerate() {
            if nulls.as_ref().is_some_and(|n| n.is_null(row)) {
                numbers.push(NONE);
                continue;
            }
            let hash = self.hasher.hash_one(word);
            let same = |entry: &(u64, u32)| self.is_same(entry, word, rows.as_ref(), row);
            if let Some(&(_, number)) = self.table.find(hash, same) {
                numbers.push(number);
                continue;
            }
            let number = self.table.len() as u32;
            let hasher = &self.hasher;
            self.table.insert_unique(hash, (word, number), |(word, _)| hasher.hash_one(word));
            if let (Some(ours), Some(rows)) = (&mut self.rows, &rows) {
                ours.seen.push(rows.row(row));
            }
            numbers.push(number);
        }
        Ok(numbers)
    }

    /// The number of each row's key; `NONE` where no label has it or a part of it is null.
    pub(crate) fn find(&self, keys: &[ArrayRef], n_rows: usize) -> Result<Vec<u32>, AsofError> {
        let Words { words, rows, nulls } = self.words(keys, n_rows)?;
        let entry = |row: usize, word: u64| {
            let hash = self.hasher.hash_one(word);
            match &rows {
                None => self.table.find(hash, |entry| entry.0 == word),
                rows => self.table.find(hash, |entry| self.is_same(entry, word, rows.as_ref(), row)),
            }
        };
        let number = |(row, &word)| match &nulls {
            Some(nulls) if nulls.is_null(row) => NONE,
            _ => entry(row, word).map_or(NONE, |&(_, number)| number),
        };
        Ok(words.iter().enumerate().map(number).collect())
    }

    fn is_same(&self, entry: &(u64, u32), word: u64, rows: Option<&Rows>, row: usize) -> bool {
        entry.0 == word
            && match (&self.rows, rows) {
                (Some(ours), Some(rows)) => ours.seen.row(entry.1 as usize) == rows.row(row),
                _ => true,
            }
    }

    /// Values that the labels' type cannot hold become null here, and so match nothing.
    fn words(&self, keys: &[ArrayRef], n_rows: usize) -> Result<Words, AsofError> {
        let keys = keys.iter().zip(&self.types).map(|(key, to)| cast(key, to)).collect::<Result<Vec<_>, _>>()?;
        let nulls = keys.iter().fold(None, |nulls, key| NullBuffer::union(nulls.as_ref(), key.logical_nulls().as_ref()));
        let (words, rows) = match &self.rows {
            None => (integers(&keys[0]), None),
            Some(ours) => {
                let rows = ours.convert(keys, n_rows)?;
                let words = rows.iter().map(|row| self.hasher.hash_one(row.data())).collect();
                (words, Some(rows))
            }
        };
        Ok(Words { words, rows, nulls })
    }
}

impl RowKeys {
    fn new(types: &[DataType]) -> Result<Self, AsofError> {
        let mut fields: Vec<SortField> = types.iter().cloned().map(SortField::new).collect();
        if fields.is_empty() {
            fields.push(SortField::new(DataType::Boolean));
        }
        let converter = RowConverter::new(fields)?;
        let seen = converter.empty_rows(0, 0);
        Ok(Self { converter, seen })
    }

    /// A view without keys has one value for everybody: all its rows share one constant key.
    fn convert(&self, mut keys: Vec<ArrayRef>, n_rows: usize) -> Result<Rows, AsofError> {
        if keys.is_empty() {
            keys.push(std::sync::Arc::new(BooleanArray::from(vec![false; n_rows])));
        }
        Ok(self.converter.convert_columns(&keys)?)
    }
}

/// The type that keys of type `found` are compared in: integers by value, strings and bytes however they are stored.
fn canonical(found: &DataType) -> DataType {
    match found {
        DataType::Dictionary(_, values) => canonical(values),
        found if found.is_integer() && *found != DataType::UInt64 => DataType::Int64,
        DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::LargeBinary | DataType::BinaryView => DataType::Binary,
        found => found.clone(),
    }
}

fn integers(key: &ArrayRef) -> Vec<u64> {
    match key.data_type() {
        DataType::UInt64 => key.as_primitive::<UInt64Type>().values().to_vec(),
        _ => {
            let key = key.as_primitive::<Int64Type>();
            key.values().iter().map(|value| *value as u64).collect()
        }
    }
}

/// Key columns for a message.
pub(crate) fn names(columns: &[String]) -> String {
    list(columns.iter().map(String::as_str))
}
