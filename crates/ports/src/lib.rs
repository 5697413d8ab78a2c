//! The narrow traits through which the blocks reach the world, each with a conformance suite and an in-memory twin.
//!
//! A trait is the minimum for implementors; comfort lives in extension traits and in [`World`]. A port changes in its
//! conformance suite first; every back end runs that suite, the in-memory twin included. Row batches cross as Arrow
//! record batches; no SQL engine, no HTTP and no file format is visible here.

mod artifacts;
mod behaviour;
mod clock;
mod code;
mod compute;
pub mod conformance;
mod curve;
mod expr;
pub mod memory;
mod metadata;
mod model;
mod notifier;
mod offline;
mod online;
mod place;
mod poster;
mod predicted;
pub mod refusals;
mod rowlog;
mod runs;
mod sealer;
mod signature;
pub mod text;
mod world;

pub use artifacts::{ArtifactExt, ArtifactInfo, ArtifactStore, ByteStream, Stored};
pub use behaviour::{Behaviour, Failure};
pub use clock::Clock;
pub use code::{CheckoutError, CodeSource, Wanted};
pub use compute::{ComputeBackend, ComputeError, JobEnd, JobId, JobLimits, JobSpec, LimitsBy, OutOfMemory, PoolJob, PoolState};
pub use curve::{Bucket, Curve, CurveBuilder, CurvePoint, sample};
pub use expr::{CompiledExprs, ExprEngine};
pub use metadata::{CommitError, Committed, Document, Listing, MetadataStore, PROJECT, Snapshot};
pub use model::{
    LoadError, ModelFiles, ModelHandle, ModelRuntime, OnnxConverter, OnnxCopy, OnnxFiles, Params, PredictError, ScoreError, Scorer,
    WorkerUse, no_params,
};
pub use notifier::{Delivery, Notifier};
pub use offline::{FeatureRows, OfflineEngine, PitRequest, PitView, QueryError, TableData, TableInfo};
pub use online::{OnlineRow, OnlineStore, PutReport};
pub use place::{Place, Sorted};
pub use poster::{Post, Posted, Poster, is_public};
pub use predicted::{Outputs, Predicted, Said, Several};
pub use rowlog::{AppendError, OpenPart, ROW_COLUMNS, RowLog, rows_to_batch, scalar_at, scalars_to_array};
pub use runs::{
    DATASETS_MAX, DatasetSummary, HistoryPage, KEYS_MAX, Keys, Page, RunLog, RunSearch, RunStore, SearchError, TextHit, ViewType,
};
pub use sealer::Sealer;
pub use signature::{ColumnSpec, ColumnType, Inputs, Signature};
pub use world::{World, decide};
