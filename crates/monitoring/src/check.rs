//! What is wrong with a declared monitor, before anything runs.

use crate::reference::Statistic;
use crate::rule::{Bound, Rule};
use domain::Refusal;
use domain::spec::{DriftSpec, NotifySpec, Project};

/// What an alert can be about.
pub const TOPICS: [&str; 8] = ["incident", "gate.fail", "approval", "rollout", "promotion", "escalation", "drift", "pipeline.fail"];

/// Checks `[model.NAME.monitor]`; the place of a refusal is the key inside the model.
pub fn check(project: &Project, model: &str) -> Result<(), Refusal> {
    let Some((spec, monitor)) = project.model.get(model).and_then(|spec| Some((spec, spec.monitor.as_ref()?))) else { return Ok(()) };
    if monitor.window.ms() <= 0 {
        return Err(Refusal::invalid("monitor/window", "a window has a length").at("monitor.window").hint("write \"7d\""));
    }
    if monitor.reference != "training" {
        let what = format!("reference `{}` does not work yet", monitor.reference);
        return Err(Refusal::invalid("monitor/reference", what).at("monitor.reference").hint("write \"training\""));
    }
    check_drift(&monitor.drift)?;
    if let Some(text) = &monitor.incident_if {
        let rule = Rule::parse(text).map_err(|refusal| refusal.at("monitor.incident_if"))?;
        if !matches!(rule.bound, Bound::Fixed(_)) && rule.metric.name() != spec.metric {
            let what = format!("gates keep the figure of `{}`, not of `{}`", spec.metric, rule.metric.name());
            return Err(Refusal::invalid("monitor/rule", what).at("monitor.incident_if").hint("compare the model's own metric"));
        }
    }
    if let Some(action) = &monitor.on_incident {
        if monitor.incident_if.is_none() {
            let what = "`on_incident` has no `incident_if`";
            return Err(Refusal::invalid("monitor/rule", what).at("monitor.on_incident").hint("say when a window is bad"));
        }
        if !project.pipeline.contains_key(&action.run) {
            let names: Vec<_> = project.pipeline.keys().map(String::as_str).collect();
            let refusal =
                Refusal::invalid("monitor/pipeline", format!("there is no pipeline `{}`", action.run)).at("monitor.on_incident.run");
            return Err(refusal.hint(format!("pipelines: {}", names.join(", "))));
        }
        if action.escalate_after == 0 || action.max_per_week == 0 {
            let what = "`escalate_after` and `max_per_week` are at least 1";
            return Err(Refusal::invalid("monitor/incident", what).at("monitor.on_incident"));
        }
    }
    Ok(())
}

fn check_drift(drift: &DriftSpec) -> Result<(), Refusal> {
    let numeric = [("numeric", &drift.numeric), ("prediction", &drift.prediction)];
    for (key, name) in numeric {
        if Statistic::parse(name).is_none() {
            let what = format!("`{name}` does not work yet as a distance of numbers");
            return Err(Refusal::invalid("monitor/drift", what).at(format!("monitor.drift.{key}")).hint("distances: wasserstein, psi"));
        }
    }
    if Statistic::parse(&drift.categorical) != Some(Statistic::Psi) {
        let what = format!("`{}` does not work yet as a distance of categories", drift.categorical);
        return Err(Refusal::invalid("monitor/drift", what).at("monitor.drift.categorical").hint("write \"psi\""));
    }
    match drift.threshold.iter().find(|(_, value)| !(value.is_finite() && **value > 0.0)) {
        Some((feature, _)) => {
            let refusal = Refusal::invalid("monitor/threshold", format!("the threshold of `{feature}` is a number above 0"));
            Err(refusal.at("monitor.drift.threshold"))
        }
        None => Ok(()),
    }
}

/// Checks `[notify.NAME]`.
pub fn check_notify(spec: &NotifySpec) -> Result<(), Refusal> {
    match spec.on.iter().find(|topic| !TOPICS.contains(&topic.as_str())) {
        Some(topic) => Err(Refusal::invalid("notify/topic", format!("there is no alert `{topic}`"))
            .at("on")
            .hint(format!("alerts: {}", TOPICS.join(", ")))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn project(monitor: &str) -> Project {
        let text = format!(
            r#"{{"pipeline": {{"retrain": {{}}}}, "model": {{"demand": {{"task": "regression", "metric": "mae",
                "monitor": {{"window": "7d", "origin": "2011-03-01" {monitor}}}}}}}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn each_mistake_has_its_refusal() {
        let good = r#", "incident_if": "mae > 1.5 * best.mae for 2 windows", "on_incident": {"run": "retrain"}"#;
        assert_eq!(check(&project(good), "demand"), Ok(()));
        assert_eq!(check(&project(good), "unknown"), Ok(()));
        let cases = [
            (r#", "reference": "rolling""#, "monitor/reference"),
            (r#", "drift": {"numeric": "ks"}"#, "monitor/drift"),
            (r#", "drift": {"categorical": "wasserstein"}"#, "monitor/drift"),
            (r#", "drift": {"threshold": {"temp": 0}}"#, "monitor/threshold"),
            (r#", "incident_if": "rmse > 2 * best.rmse for 2 windows""#, "monitor/rule"),
            (r#", "on_incident": {"run": "retrain"}"#, "monitor/rule"),
            (r#", "incident_if": "mae > 6 for 2 windows", "on_incident": {"run": "retrian"}"#, "monitor/pipeline"),
            (r#", "incident_if": "mae > 6 for 2 windows", "on_incident": {"run": "retrain", "escalate_after": 0}"#, "monitor/incident"),
        ];
        for (monitor, code) in cases {
            assert_eq!(check(&project(monitor), "demand").unwrap_err().code, code, "{monitor}");
        }
    }
}
