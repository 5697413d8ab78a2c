//! What the stores say no to, in the same words whichever the store.

use domain::{ExperimentId, Kind, Refusal, RunId};

/// No such run.
pub fn no_run(id: &RunId) -> Refusal {
    Refusal::not_found("run/not_found", format!("no run `{id}`"))
}

/// The run is in the bin: nothing can be logged to it.
pub fn deleted_run(id: &RunId) -> Refusal {
    Refusal::conflict("run/deleted", format!("run `{id}` is deleted")).hint("restore it first")
}

/// A run of that id is there already.
pub fn taken_run(id: &RunId) -> Refusal {
    Refusal::new(Kind::Exists, "run/exists", format!("run `{id}` is there already"))
}

/// No such experiment.
pub fn no_experiment(id: &ExperimentId) -> Refusal {
    Refusal::not_found("experiment/not_found", format!("no experiment `{id}`"))
}

/// The name belongs to another experiment, perhaps a deleted one.
pub fn taken_experiment(name: &str) -> Refusal {
    Refusal::new(Kind::Exists, "experiment/exists", format!("experiment `{name}` is there already, perhaps deleted"))
        .hint("restore it, or take another name")
}

/// Only what is in the bin can be purged.
pub fn active_run(id: &RunId) -> Refusal {
    Refusal::conflict("run/active", format!("run `{id}` is not deleted")).hint("delete it first")
}

/// Only what is in the bin can be purged.
pub fn active_experiment(id: &ExperimentId) -> Refusal {
    Refusal::conflict("experiment/active", format!("experiment `{id}` is not deleted")).hint("delete it first")
}

/// Its runs go first, one by one.
pub fn full_experiment(id: &ExperimentId) -> Refusal {
    Refusal::conflict("experiment/has_runs", format!("experiment `{id}` still has runs")).hint("purge its runs first")
}

/// A param is set once.
pub fn changed_param(key: &str, old: &str, new: &str) -> Refusal {
    Refusal::conflict("param/immutable", format!("param `{key}` is `{old}` and cannot become `{new}`"))
}

/// A page token that this search did not give.
pub fn bad_token(token: &str) -> Refusal {
    Refusal::invalid("search/token", format!("`{token}` is not a page token of this search")).hint("begin again without a token")
}
