//! Values now: the online store, ttl at the request's time, on-demand expressions.

use crate::FeatureError;
use crate::catalog::{Catalog, OnDemandView, View};
use crate::tables::Tables;
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions, TimestampMillisecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use domain::entity::MaterializationState;
use domain::{Actor, Batch, EntityKey, Event, Fault, Refusal, Scalar, Timestamp};
use indexmap::IndexMap;
use ports::{MetadataStore, OnlineRow, OnlineStore, decide, scalar_at, scalars_to_array};
use serde::Serialize;
use std::sync::Arc;

/// How a value was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Present,
    /// The row is there, its value is null.
    Null,
    /// Nothing is known of the entity.
    NotFound,
    /// The newest row is older than the ttl, or younger than the request.
    OutsideMaxAge,
    /// Computed from the request.
    OnDemand,
}

/// What is asked for one row.
#[derive(Clone, Debug)]
pub struct Lookup {
    pub key: EntityKey,
    pub time: Timestamp,
    /// The request's own columns.
    pub request: IndexMap<String, Scalar>,
}

/// Feature values, one row a lookup, with how each was found.
#[derive(Clone, Debug)]
pub struct OnlineRows {
    pub batch: RecordBatch,
    /// By column, then by row.
    pub statuses: Vec<Vec<Status>>,
    pub times: Vec<Vec<Option<Timestamp>>>,
}

/// Rows of a view's query as the online store keeps them. Rows without key or time are left out: nobody can ask for them.
pub(crate) fn online_rows(view: &View, rows: &RecordBatch) -> Result<Vec<OnlineRow>, Fault> {
    let column = |name: &str| rows.column_by_name(name).ok_or_else(|| Fault::broken(format!("view {} gives no column {name}", view.name)));
    let keys = column(&view.key)?;
    let times = millis(column(&view.time)?)?;
    let created = view.created.as_deref().map(column).transpose()?.map(millis).transpose()?;
    let features: Vec<&ArrayRef> = view.features.iter().map(|field| column(field.name())).collect::<Result<_, _>>()?;
    let at = |array: &ArrayRef, row: usize| {
        let values = array.as_primitive::<Int64Type>();
        (!values.is_null(row)).then(|| Timestamp::from_ms(values.value(row)))
    };
    let mut found = Vec::with_capacity(rows.num_rows());
    for row in 0..rows.num_rows() {
        let (Some(time), key) = (at(&times, row), scalar_at(keys, row)) else { continue };
        if key == Scalar::Null {
            continue;
        }
        found.push(OnlineRow {
            key: EntityKey::one(&view.key, key.to_string()),
            time,
            created: created.as_ref().and_then(|created| at(created, row)),
            values: features.iter().map(|feature| scalar_at(feature, row)).collect(),
        });
    }
    Ok(found)
}

/// Milliseconds since 1970, whatever the unit.
pub(crate) fn millis(array: &ArrayRef) -> Result<ArrayRef, Fault> {
    let what = |e| Fault::because("reading times", e);
    let instants = cast(array, &DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()))).map_err(what)?;
    cast(&instants, &DataType::Int64).map_err(what)
}

impl Catalog {
    /// The entity columns that views are looked up by.
    pub fn entity_columns(&self, views: &[String]) -> Vec<String> {
        let snapshot = self.snapshot();
        let mut columns: Vec<String> = Vec::new();
        for view in views.iter().filter_map(|name| snapshot.views.get(name)) {
            if !columns.contains(&view.key) {
                columns.push(view.key.clone());
            }
        }
        columns
    }

    /// The columns of the named views in order, one row a lookup.
    pub fn online(&self, store: &dyn OnlineStore, views: &[String], lookups: &[Lookup]) -> Result<OnlineRows, FeatureError> {
        let snapshot = self.snapshot();
        let mut gathered = Gathered::default();
        for name in views {
            if let Some(view) = snapshot.views.get(name) {
                gathered.look_up(store, view, lookups)?;
            } else if !snapshot.on_demand.contains_key(name) {
                let applied = snapshot.project.as_ref().is_some_and(|project| project.spec.feature.contains_key(name));
                return Err(match applied {
                    true => Refusal::not_found("feature/no_rows", format!("feature view {name} has no rows yet"))
                        .hint("push rows to its source, or add files"),
                    false => {
                        Refusal::not_found("feature/not_found", format!("there is no feature view `{name}`")).hint("trimtab feature ls")
                    }
                }
                .into());
            }
        }
        for view in views.iter().filter_map(|name| snapshot.on_demand.get(name)) {
            self.compute(view, &mut gathered, lookups)?;
        }
        gathered.in_order(views, &snapshot.views, &snapshot.on_demand, lookups.len())
    }

    fn compute(&self, view: &OnDemandView, gathered: &mut Gathered, lookups: &[Lookup]) -> Result<(), FeatureError> {
        let input = with_request(&gathered.batch(lookups.len())?, lookups)?;
        let out = self.expressions(&view.exprs, &input.schema())?.evaluate(&input)?;
        for (field, column) in out.schema().fields().iter().zip(out.columns()) {
            gathered.add(field.as_ref().clone(), column.clone(), vec![Status::OnDemand; lookups.len()], vec![None; lookups.len()]);
        }
        Ok(())
    }
}

/// Adds the request's columns as `request.NAME`, and its time as `request.ts`.
fn with_request(features: &RecordBatch, lookups: &[Lookup]) -> Result<RecordBatch, Fault> {
    let mut fields: Vec<Arc<Field>> = features.schema().fields().iter().cloned().collect();
    let mut columns = features.columns().to_vec();
    let mut add = |name: String, column: ArrayRef| {
        fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
        columns.push(column);
    };
    let times = TimestampMillisecondArray::from_iter_values(lookups.iter().map(|lookup| lookup.time.ms())).with_timezone("UTC");
    add("request.ts".into(), Arc::new(times));
    if let Some(first) = lookups.first() {
        for name in first.request.keys().filter(|name| *name != "ts") {
            let values: Vec<&Scalar> = lookups.iter().map(|lookup| lookup.request.get(name).unwrap_or(&Scalar::Null)).collect();
            add(format!("request.{name}"), scalars_to_array(&values));
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|e| Fault::because("putting a request together", e))
}

#[derive(Default)]
struct Gathered {
    columns: IndexMap<String, (Field, ArrayRef, Vec<Status>, Vec<Option<Timestamp>>)>,
}

impl Gathered {
    fn add(&mut self, field: Field, column: ArrayRef, statuses: Vec<Status>, times: Vec<Option<Timestamp>>) {
        self.columns.insert(field.name().clone(), (field, column, statuses, times));
    }

    fn look_up(&mut self, store: &dyn OnlineStore, view: &View, lookups: &[Lookup]) -> Result<(), FeatureError> {
        let keys: Vec<EntityKey> =
            lookups.iter().map(|lookup| EntityKey::one(&view.key, lookup.key.0.get(&view.key).cloned().unwrap_or_default())).collect();
        let found = store.get(&view.online_name(), &keys)?;
        let judged: Vec<(Status, Option<OnlineRow>)> =
            found.into_iter().zip(lookups).map(|(row, lookup)| judge(view, row, lookup.time)).collect();
        for (index, field) in view.features.iter().enumerate() {
            let mut values = Vec::with_capacity(judged.len());
            let mut statuses = Vec::with_capacity(judged.len());
            let mut times = Vec::with_capacity(judged.len());
            for (status, row) in &judged {
                let value = row.as_ref().and_then(|row| row.values.get(index)).unwrap_or(&Scalar::Null);
                statuses.push(if *status == Status::Present && *value == Scalar::Null { Status::Null } else { *status });
                times.push(row.as_ref().map(|row| row.time));
                values.push(value);
            }
            let column = cast(&scalars_to_array(&values), field.data_type())
                .map_err(|e| Fault::because(format!("reading feature {}", field.name()), e))?;
            self.add(field.clone(), column, statuses, times);
        }
        Ok(())
    }

    fn batch(&self, rows: usize) -> Result<RecordBatch, Fault> {
        let fields: Vec<Field> = self.columns.values().map(|(field, ..)| field.clone()).collect();
        let columns = self.columns.values().map(|(_, column, ..)| column.clone()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
            .map_err(|e| Fault::because("putting features together", e))
    }

    fn in_order(
        mut self,
        views: &[String],
        known: &std::collections::HashMap<String, View>,
        on_demand: &std::collections::HashMap<String, OnDemandView>,
        rows: usize,
    ) -> Result<OnlineRows, FeatureError> {
        let mut ordered = Gathered::default();
        for name in views {
            let of_view = known.get(name).map(|view| view.features.iter().map(|field| field.name().clone()).collect::<Vec<_>>());
            let of_demand = on_demand.get(name).map(|view| view.exprs.iter().map(|(name, _)| name.clone()).collect());
            for column in of_view.or(of_demand).unwrap_or_default() {
                if let Some(found) = self.columns.swap_remove(&column) {
                    ordered.columns.insert(column, found);
                }
            }
        }
        let batch = ordered.batch(rows)?;
        let (statuses, times) = ordered.columns.into_values().map(|(_, _, statuses, times)| (statuses, times)).unzip();
        Ok(OnlineRows { batch, statuses, times })
    }
}

/// Whether a row may be used at a time: not younger than the request, and within its ttl.
fn judge(view: &View, row: Option<OnlineRow>, at: Timestamp) -> (Status, Option<OnlineRow>) {
    match row {
        None => (Status::NotFound, None),
        Some(row) if row.time > at || view.ttl.is_some_and(|ttl| row.time < at - ttl) => (Status::OutsideMaxAge, None),
        Some(row) => (Status::Present, Some(row)),
    }
}

impl Tables {
    /// Brings the online store up to a view's table; newer values that were pushed meanwhile stay.
    pub async fn materialize(&self, online: &dyn OnlineStore, view: &View) -> Result<u64, FeatureError> {
        let Some(info) = self.info(&view.source).await? else { return Ok(0) };
        let mut newest = None;
        let mut rows = 0;
        for batch in self.query(&view.source, view.sql.clone()).await? {
            let found = online_rows(view, &batch)?;
            newest = newest.max(found.iter().map(|row| row.time).max());
            rows += found.len() as u64;
            online.put(&view.online_name(), found).await?;
        }
        let now = self.clock.event_now();
        let state =
            MaterializationState { view: view.name.clone(), version: view.version, table_version: info.version, rows, newest, at: now };
        tell_materialized(&*self.store, &state).await?;
        Ok(rows)
    }
}

/// Told once for the same rows: who asks again, after a crash or for good measure, changes nothing.
async fn tell_materialized(store: &dyn MetadataStore, state: &MaterializationState) -> Result<(), FeatureError> {
    decide(store, |world| {
        let batch = Batch::new(Actor::System("features.materialize".into()), state.at);
        let known = world.get::<MaterializationState>(&state.view)?;
        if known.is_some_and(|known| MaterializationState { at: state.at, ..known } == *state) {
            return Ok((batch, ()));
        }
        Ok((batch.put(state).event(Event::FeaturesMaterialized { view: state.view.clone(), rows: state.rows }), ()))
    })
    .await?;
    Ok(())
}
