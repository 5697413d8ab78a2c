//! What can be searched for, and by which fields.

/// An attribute that a filter may name.
pub(super) struct Attribute {
    /// The first is the canonical name, the others are what clients also write.
    pub(super) names: &'static [&'static str],
    pub(super) is_number: bool,
    /// Whether `IN` and `NOT IN` are allowed.
    pub(super) in_list: bool,
    /// Whether a number may be in quotes.
    pub(super) quoted: bool,
}

/// A kind of thing that can be searched for.
pub struct Target {
    pub(super) what: &'static str,
    pub(super) attributes: &'static [Attribute],
    pub(super) has_metrics: bool,
    pub(super) has_params: bool,
    pub(super) has_datasets: bool,
    /// Whether `IN` and `NOT IN` are allowed for params and tags too.
    pub(super) lists_values: bool,
}

const fn text(names: &'static [&'static str]) -> Attribute {
    Attribute { names, is_number: false, in_list: false, quoted: false }
}

const fn listed(names: &'static [&'static str]) -> Attribute {
    Attribute { names, is_number: false, in_list: true, quoted: false }
}

const fn number(names: &'static [&'static str]) -> Attribute {
    Attribute { names, is_number: true, in_list: false, quoted: false }
}

const fn number_or_quoted(names: &'static [&'static str]) -> Attribute {
    Attribute { names, is_number: true, in_list: false, quoted: true }
}

impl Target {
    /// Tracking runs.
    pub const RUNS: Target = Target {
        what: "runs",
        attributes: &[
            listed(&["run_id"]),
            text(&["run_name", "run name", "Run name", "Run Name"]),
            text(&["status"]),
            text(&["user_id"]),
            text(&["artifact_uri"]),
            number(&["start_time", "created", "Created"]),
            number(&["end_time"]),
            // Ours: how long it took, in milliseconds; a run that goes on has none.
            number(&["duration"]),
        ],
        has_metrics: true,
        has_params: true,
        has_datasets: true,
        lists_values: false,
    };

    /// Experiments.
    pub const EXPERIMENTS: Target = Target {
        what: "experiments",
        attributes: &[text(&["name"]), listed(&["experiment_id"]), number(&["creation_time"]), number(&["last_update_time"])],
        has_metrics: false,
        has_params: false,
        has_datasets: false,
        lists_values: false,
    };

    /// Registered models.
    pub const MODELS: Target = Target {
        what: "registered models",
        attributes: &[listed(&["name"]), number(&["creation_timestamp"]), number(&["last_updated_timestamp", "timestamp"])],
        has_metrics: false,
        has_params: false,
        has_datasets: false,
        lists_values: false,
    };

    /// Versions of registered models.
    pub const VERSIONS: Target = Target {
        what: "model versions",
        attributes: &[
            listed(&["name"]),
            listed(&["run_id"]),
            text(&["source_path"]),
            number_or_quoted(&["version_number"]),
            number(&["creation_timestamp"]),
            number(&["last_updated_timestamp"]),
        ],
        has_metrics: false,
        has_params: false,
        has_datasets: false,
        lists_values: false,
    };

    /// Logged models.
    pub const LOGGED_MODELS: Target = Target {
        what: "logged models",
        attributes: &[
            listed(&["name"]),
            listed(&["model_id"]),
            listed(&["model_type"]),
            listed(&["status"]),
            listed(&["source_run_id"]),
            number(&["creation_timestamp", "creation_time"]),
            number(&["last_updated_timestamp", "last_updated_time"]),
        ],
        has_metrics: true,
        has_params: true,
        has_datasets: false,
        lists_values: true,
    };

    /// Evaluation datasets.
    pub const DATASETS: Target = Target {
        what: "datasets",
        attributes: &[
            listed(&["name"]),
            number(&["created_time"]),
            number(&["last_update_time"]),
            text(&["created_by"]),
            text(&["last_updated_by"]),
        ],
        has_metrics: false,
        has_params: false,
        has_datasets: false,
        lists_values: false,
    };

    pub(super) fn attribute(&self, name: &str) -> Option<&'static Attribute> {
        self.attributes.iter().find(|attribute| attribute.names.contains(&name))
    }

    /// The canonical attributes, for messages.
    pub(super) fn names(&self) -> String {
        self.attributes.iter().map(|attribute| attribute.names[0]).collect::<Vec<_>>().join(", ")
    }
}
