use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{DataType, Field, Schema};

use crate::{AsofError, AsofState, LabelIndex};

/// How the rows of one feature view meet the labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewJoin {
    /// Pairs of key columns: in the feature rows, in the labels.
    pub keys: Vec<(String, String)>,
    /// The feature rows' time: when the values became true.
    pub time: String,
    /// When a feature row became known; decides between rows of one time.
    pub created: Option<String>,
    /// Pairs of a column of the feature rows and the name it goes out under.
    pub features: Vec<(String, String)>,
    /// How old values may be, in ns, inclusive; `None` for any age. Zero asks for the label's very instant.
    pub ttl_ns: Option<i64>,
    /// Whether a row must also have been created at or before the label's time; rows without a created time are then out.
    pub created_cutoff: bool,
}

impl ViewJoin {
    /// The key columns of the labels, in the order of `keys`: what the view's [`LabelIndex`] is built on.
    pub fn label_keys(&self) -> Vec<String> {
        self.keys.iter().map(|(_, label)| label.clone()).collect()
    }
}

/// The labels with the features of all views beside them, for rows that are in memory already.
///
/// Views on the same label keys share an index. The batches of a view have one schema; a view without any batch gives
/// columns of nulls of Arrow's null type, since nothing says their types.
///
/// # Errors
/// Those of [`LabelIndex::build`], [`AsofState::new`] and [`AsofState::push`], and two columns of one name.
pub fn join(labels: &RecordBatch, time_column: &str, views: &[(ViewJoin, Vec<RecordBatch>)]) -> Result<RecordBatch, AsofError> {
    let mut fields: Vec<Arc<Field>> = labels.schema().fields().to_vec();
    let mut columns = labels.columns().to_vec();
    let mut indices: Vec<(Vec<String>, Arc<LabelIndex>)> = Vec::new();
    for (view, batches) in views {
        let Some(first) = batches.first() else {
            let null = |(_, name): &(String, String)| Arc::new(Field::new(name, DataType::Null, true));
            fields.extend(view.features.iter().map(null));
            columns.extend(view.features.iter().map(|_| new_null_array(&DataType::Null, labels.num_rows())));
            continue;
        };
        let mut keys = view.label_keys();
        keys.sort();
        let index = match indices.iter().find(|(built_on, _)| *built_on == keys) {
            Some((_, index)) => Arc::clone(index),
            None => {
                let index = Arc::new(LabelIndex::build(std::slice::from_ref(labels), time_column, &keys)?);
                indices.push((keys, Arc::clone(&index)));
                index
            }
        };
        let state = AsofState::new(index, view.clone(), first.schema())?;
        for batch in batches {
            state.push(batch)?;
        }
        fields.extend(state.fields().iter().cloned().map(Arc::new));
        columns.extend(state.finish()?);
    }
    distinct(&fields)?;
    let schema = Schema::new_with_metadata(fields, labels.schema_ref().metadata().clone());
    let options = RecordBatchOptions::new().with_row_count(Some(labels.num_rows()));
    Ok(RecordBatch::try_new_with_options(Arc::new(schema), columns, &options)?)
}

fn distinct(fields: &[Arc<Field>]) -> Result<(), AsofError> {
    let mut names = HashSet::new();
    match fields.iter().find(|field| !names.insert(field.name())) {
        Some(field) => Err(AsofError::NameTaken { column: field.name().clone() }),
        None => Ok(()),
    }
}
