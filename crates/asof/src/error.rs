use arrow::datatypes::DataType;
use arrow::error::ArrowError;

/// Why a point-in-time join cannot be done. Each names the column and what was found there.
#[derive(Debug, thiserror::Error)]
pub enum AsofError {
    /// A column that the join was told to read is not there.
    #[error("no column `{column}`, there are: {found}")]
    MissingColumn {
        /// The column asked for.
        column: String,
        /// The columns that are there, separated by commas.
        found: String,
    },
    /// A time column is neither a timestamp nor a date.
    #[error("column `{column}` is {found}, a time column is a timestamp or a date")]
    TimeType {
        /// The time column.
        column: String,
        /// Its type.
        found: DataType,
    },
    /// An instant that does not fit 64 bits of nanoseconds; cutting it would invent an order.
    #[error("column `{column}` holds {value} {unit}, nanosecond times reach from 1677-09-21 to 2262-04-11")]
    TimeRange {
        /// The time column.
        column: String,
        /// The value as stored.
        value: i64,
        /// The unit of the value, since 1970-01-01 UTC.
        unit: &'static str,
    },
    /// A key of the feature rows cannot equal a key of the labels, whatever the values are.
    #[error("key `{column}` is {found}, but `{label_column}` of the labels is {expected}: cast one of them")]
    KeyType {
        /// The key column of the feature rows.
        column: String,
        /// Its type.
        found: DataType,
        /// The key column of the labels.
        label_column: String,
        /// The type the labels' keys are compared in.
        expected: DataType,
    },
    /// The view joins on other label columns than the index holds.
    #[error("the view joins on [{view}], the label index is built on [{index}]")]
    OtherKeys {
        /// The view's label key columns.
        view: String,
        /// The index's key columns.
        index: String,
    },
    /// A created cut-off needs to know when a row was created.
    #[error("a created cut-off needs the view's `created` column")]
    CutoffWithoutCreated,
    /// A pushed batch does not have the type that the schema promised.
    #[error("column `{column}` is {found}, the feature schema says {expected}")]
    TypeChanged {
        /// The column of the feature rows.
        column: String,
        /// The type in the batch.
        found: DataType,
        /// The type in the feature schema.
        expected: DataType,
    },
    /// Two columns of the joined batch would have one name.
    #[error("two columns would be named `{column}`: rename one of them")]
    NameTaken {
        /// The name.
        column: String,
    },
    /// Without a label batch the types of the keys are unknown.
    #[error("no label batches: an empty batch tells the schema")]
    NoLabels,
    /// Labels are numbered in 32 bits.
    #[error("{found} labels, one index holds at most {}", u32::MAX - 1)]
    TooManyLabels {
        /// How many there are.
        found: usize,
    },
    /// An Arrow kernel refused, for example because strings of one column pass 2 GiB.
    #[error(transparent)]
    Arrow(#[from] ArrowError),
}
