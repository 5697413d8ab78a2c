//! What is wrong with sources, entities, features and the models that use them, found before anything is applied.

use domain::spec::{FeatureSpec, Project};
use domain::{Name, Refusal};

/// Refuses the first mistake, with its place (`feature.NAME`).
pub fn check(project: &Project) -> Result<(), Refusal> {
    for (name, source) in &project.source {
        let place = format!("source.{name}");
        Name::parse(name).map_err(|refusal| refusal.at(&place))?;
        if source.path.is_none() && !source.push {
            return Err(Refusal::invalid("source/empty", format!("source {name} has neither `path` nor `push`")).at(place));
        }
        if let Some(path) = &source.path
            && !(path.ends_with(".parquet") || path.ends_with(".csv"))
        {
            let what = format!("source {name} reads `{path}`, which is neither Parquet nor CSV");
            return Err(Refusal::invalid("source/format", what).at(format!("{place}.path")).hint("end the path with .parquet or .csv"));
        }
    }
    for (name, feature) in &project.feature {
        let place = format!("feature.{name}");
        Name::parse(name).map_err(|refusal| refusal.at(&place))?;
        check_feature(project, name, feature).map_err(|refusal| if refusal.place.is_some() { refusal } else { refusal.at(place) })?;
    }
    for (model, spec) in &project.model {
        let used = spec.serve.iter().flat_map(|serve| &serve.features);
        known(project, used).map_err(|refusal| refusal.at(format!("model.{model}.serve.features")))?;
    }
    for (pipeline, spec) in &project.pipeline {
        for (step, declared) in &spec.step {
            let place = format!("pipeline.{pipeline}.step.{step}");
            known(project, &declared.materialize).map_err(|refusal| refusal.at(&place))?;
            let Some(set) = &declared.training_set else { continue };
            known(project, &set.features).map_err(|refusal| refusal.at(&place))?;
            if !project.source.contains_key(&set.labels) {
                return Err(unknown("source", &set.labels, project.source.keys()).at(place));
            }
            if !project.model.contains_key(&set.model) {
                return Err(unknown("model", &set.model, project.model.keys()).at(place));
            }
            if set.until != "trigger.time" && domain::Timestamp::parse(&set.until).is_none() {
                let what = format!("`until` is `trigger.time` or a time, not `{}`", set.until);
                return Err(Refusal::invalid("training_set/until", what).at(place));
            }
        }
    }
    Ok(())
}

fn check_feature(project: &Project, name: &str, feature: &FeatureSpec) -> Result<(), Refusal> {
    let is_view = feature.sql.is_some() || feature.from.is_some() || feature.entity.is_some();
    if is_view != feature.on_demand.is_empty() {
        return Err(Refusal::invalid("feature/kind", format!("feature {name} must have either `entity`, `from`, `sql` or `on_demand`")));
    }
    if !is_view {
        return Ok(());
    }
    let missing = |key: &str| Refusal::invalid("feature/incomplete", format!("feature view {name} has no `{key}`"));
    let entity = feature.entity.as_ref().ok_or_else(|| missing("entity"))?;
    let from = feature.from.as_ref().ok_or_else(|| missing("from"))?;
    feature.sql.as_ref().ok_or_else(|| missing("sql"))?;
    if !project.entity.contains_key(entity) {
        return Err(unknown("entity", entity, project.entity.keys()));
    }
    if !project.source.contains_key(from) {
        return Err(unknown("source", from, project.source.keys()));
    }
    Ok(())
}

fn known<'a>(project: &Project, used: impl IntoIterator<Item = &'a String>) -> Result<(), Refusal> {
    match used.into_iter().find(|view| !project.feature.contains_key(*view)) {
        Some(view) => Err(unknown("feature view", view, project.feature.keys())),
        None => Ok(()),
    }
}

fn unknown<'a>(noun: &str, name: &str, known: impl Iterator<Item = &'a String>) -> Refusal {
    let names: Vec<&str> = known.map(String::as_str).collect();
    let code = format!("{}/not_found", noun.replace(' ', "_"));
    Refusal::invalid(&code, format!("there is no {noun} `{name}`")).hint(if names.is_empty() {
        format!("declare [{}.{name}]", noun.split(' ').next().unwrap_or(noun))
    } else {
        format!("declared: {}", names.join(", "))
    })
}
