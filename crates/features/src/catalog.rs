//! The applied feature views, resolved: what each reads, by which key, and which columns come out.

use crate::FeatureError;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use domain::entity::{AppliedProject, FeatureViewVersion};
use domain::spec::{FeatureSpec, Project, SourceSpec};
use domain::{Refusal, Span};
use parking_lot::RwLock;
use ports::{CompiledExprs, ExprEngine, FeatureRows, MetadataStore, OfflineEngine, TableData, World};
use std::collections::HashMap;
use std::sync::Arc;

/// A feature view over a source's table.
#[derive(Clone, Debug)]
pub struct View {
    pub name: String,
    pub version: u64,
    pub source: String,
    pub sql: String,
    /// The entity's key column.
    pub key: String,
    pub time: String,
    pub created: Option<String>,
    pub ttl: Option<Span>,
    pub online: bool,
    /// Names and types of the features, in order.
    pub features: Vec<Field>,
}

impl View {
    /// The name in the online store.
    pub fn online_name(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

/// An on-demand feature view: name and expression, in order.
#[derive(Clone, Debug)]
pub struct OnDemandView {
    pub name: String,
    pub exprs: Vec<(String, String)>,
}

/// What is applied now. Replaced as a whole when a project is applied.
#[derive(Default)]
pub(crate) struct Snapshot {
    pub(crate) project: Option<Arc<AppliedProject>>,
    pub(crate) views: HashMap<String, View>,
    pub(crate) on_demand: HashMap<String, OnDemandView>,
    /// Columns of each source's table.
    pub(crate) tables: HashMap<String, SchemaRef>,
}

/// The applied feature views, and expressions compiled for them.
pub struct Catalog {
    store: Arc<dyn MetadataStore>,
    offline: Arc<dyn OfflineEngine>,
    exprs: Arc<dyn ExprEngine>,
    now: RwLock<Arc<Snapshot>>,
    compiled: RwLock<HashMap<String, Arc<dyn CompiledExprs>>>,
}

/// Compiled expressions kept; request columns are the callers' choice, so the number must be bounded.
const KEPT: usize = 512;

impl Catalog {
    /// An empty catalog; [`Catalog::reload`] fills it.
    pub fn new(store: Arc<dyn MetadataStore>, offline: Arc<dyn OfflineEngine>, exprs: Arc<dyn ExprEngine>) -> Arc<Catalog> {
        Arc::new(Catalog { store, offline, exprs, now: RwLock::default(), compiled: RwLock::default() })
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.now.read().clone()
    }

    /// The applied project.
    pub fn project(&self) -> Result<Arc<AppliedProject>, Refusal> {
        self.snapshot()
            .project
            .clone()
            .ok_or_else(|| Refusal::not_found("project/none", "no project file is applied").hint("trimtab apply"))
    }

    /// A feature view by name.
    pub fn view(&self, name: &str) -> Option<View> {
        self.snapshot().views.get(name).cloned()
    }

    /// All feature views, by name.
    pub fn views(&self) -> Vec<View> {
        let mut views: Vec<View> = self.snapshot().views.values().cloned().collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }

    /// Reads the applied project anew: at start, and when one was applied.
    pub async fn reload(&self) -> Result<(), FeatureError> {
        let (project, versions) = {
            let world = World::new(self.store.snapshot()?);
            (world.project()?, world.list::<FeatureViewVersion>()?)
        };
        let Some(project) = project else { return Ok(()) };
        let mut found = Snapshot::default();
        for source in project.spec.source.keys() {
            if let Some(schema) = self.table_schema(source).await? {
                found.tables.insert(source.clone(), schema);
            }
        }
        for (name, feature) in &project.spec.feature {
            if !feature.on_demand.is_empty() {
                let exprs = feature.on_demand.iter().map(|(name, text)| (name.clone(), text.clone())).collect();
                found.on_demand.insert(name.clone(), OnDemandView { name: name.clone(), exprs });
                continue;
            }
            let version = versions.iter().filter(|version| version.name == *name).map(|version| version.version).max().unwrap_or(1);
            let schema = feature.from.as_ref().and_then(|from| found.tables.get(from)).cloned();
            if let Some(mut view) = self.describe(&project.spec, name, feature, schema).await? {
                view.version = version;
                found.views.insert(name.clone(), view);
            }
        }
        found.project = Some(project);
        *self.now.write() = Arc::new(found);
        Ok(())
    }

    /// Columns of a source's table; `None` while nothing was written to it.
    pub async fn table_schema(&self, source: &str) -> Result<Option<SchemaRef>, FeatureError> {
        if self.offline.table(source).await?.is_none() {
            return Ok(None);
        }
        let query = FeatureRows { sql: format!("select * from \"{source}\" limit 0"), tables: vec![table_of(source)] };
        Ok(self.offline.query(&query).await?.first().map(|batch| batch.schema()))
    }

    /// A view with its columns; `None` while its source has no rows to tell them from.
    pub async fn describe(
        &self,
        project: &Project,
        name: &str,
        feature: &FeatureSpec,
        table: Option<SchemaRef>,
    ) -> Result<Option<View>, FeatureError> {
        let (Some(entity), Some(source), Some(sql)) = (&feature.entity, &feature.from, &feature.sql) else { return Ok(None) };
        let place = format!("feature.{name}");
        let declared =
            project.source.get(source).ok_or_else(|| Refusal::invalid("source/not_found", format!("there is no source `{source}`")))?;
        let key = project.entity.get(entity).map(|entity| entity.key.clone()).unwrap_or_default();
        let Some(table) = table else { return Ok(None) };
        let output = if declared.push {
            // Pushed rows take the same way, so the query must work row by row.
            self.exprs.row_query(sql, source, table).map_err(|refusal| refusal.at(place.clone()))?.output()
        } else {
            let query = FeatureRows { sql: format!("select * from ({sql}) limit 0"), tables: vec![table_of(source)] };
            let rows = self.offline.query(&query).await.map_err(FeatureError::from);
            let rows = rows.map_err(|error| match error {
                FeatureError::Refused(refusal) => FeatureError::Refused(refusal.at(place.clone())),
                other => other,
            })?;
            rows.first().map_or_else(|| Arc::new(Schema::empty()), |batch| batch.schema())
        };
        let view = resolve(name, feature, declared, &key, source, sql, &output).map_err(|refusal| refusal.at(place))?;
        Ok(Some(view))
    }

    /// On-demand expressions over the given columns, compiled once.
    pub(crate) fn expressions(&self, exprs: &[(String, String)], input: &SchemaRef) -> Result<Arc<dyn CompiledExprs>, Refusal> {
        self.compile(format!("{exprs:?} over {input:?}"), || self.exprs.expressions(exprs, input.clone()))
    }

    /// A view's query as pushed rows go through it, compiled once.
    pub(crate) fn row_query(&self, view: &View, input: &SchemaRef) -> Result<Arc<dyn CompiledExprs>, Refusal> {
        self.compile(format!("{} over {input:?}", view.sql), || self.exprs.row_query(&view.sql, &view.source, input.clone()))
    }

    fn compile(
        &self,
        key: String,
        make: impl FnOnce() -> Result<Arc<dyn CompiledExprs>, Refusal>,
    ) -> Result<Arc<dyn CompiledExprs>, Refusal> {
        if let Some(found) = self.compiled.read().get(&key) {
            return Ok(found.clone());
        }
        let made = make()?;
        let mut compiled = self.compiled.write();
        if compiled.len() >= KEPT {
            compiled.clear();
        }
        compiled.insert(key, made.clone());
        Ok(made)
    }
}

/// A source's table under its own name.
pub(crate) fn table_of(source: &str) -> (String, TableData) {
    (source.into(), TableData::Table { table: source.into(), version: None })
}

fn resolve(
    name: &str,
    feature: &FeatureSpec,
    source: &SourceSpec,
    key: &str,
    from: &str,
    sql: &str,
    output: &SchemaRef,
) -> Result<View, Refusal> {
    let has = |column: &str| output.column_with_name(column).is_some();
    let names: Vec<&str> = output.fields().iter().map(|field| field.name().as_str()).collect();
    let missing = |what: &str, column: &str| {
        Refusal::invalid("feature/column", format!("the query of {name} gives no column `{column}` ({what})"))
            .hint(format!("it gives: {}", names.join(", ")))
    };
    if !has(key) {
        return Err(missing("the entity's key", key));
    }
    if !has(&source.time) {
        return Err(missing("the source's time", &source.time));
    }
    let created = source.created.clone().filter(|created| has(created));
    let own = |column: &str| column == key || column == source.time || Some(column) == created.as_deref();
    let features: Vec<Field> =
        output.fields().iter().filter(|field| !own(field.name())).map(|field| field.as_ref().clone().with_nullable(true)).collect();
    if features.is_empty() {
        return Err(Refusal::invalid("feature/empty", format!("the query of {name} gives no feature besides key and times")));
    }
    if let Some(nested) = features.iter().find(|field| field.data_type().is_nested() || matches!(field.data_type(), DataType::Binary)) {
        return Err(Refusal::invalid("feature/type", format!("feature `{}` of {name} is {}", nested.name(), nested.data_type()))
            .hint("a feature is a number, a text, a boolean or a time"));
    }
    Ok(View {
        name: name.into(),
        version: 1,
        source: from.into(),
        sql: sql.into(),
        key: key.into(),
        time: source.time.clone(),
        created,
        ttl: feature.ttl,
        online: feature.online,
        features,
    })
}
