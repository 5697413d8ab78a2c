//! What is wrong with `[compute]`, and which step can never run on it.

use crate::queue::{Amount, Ask, Pool};
use domain::Refusal;
use domain::spec::{ComputeSpec, Project, bytes_of};

/// Refuses settings that make no sense, queues and teams that are not declared, and steps that ask for more than the file says there is.
/// Totals that the file leaves to the machine are not known here: the pool itself refuses what it can never hold.
pub fn check(project: &Project) -> Result<(), Refusal> {
    let spec = &project.compute;
    check_settings(spec)?;
    for (name, model) in &project.model {
        let Some(scale) = model.serve.as_ref().and_then(|serve| serve.scale) else { continue };
        if scale.max == 0 || scale.min > scale.max || scale.max > 64 || !scale.target.is_finite() || scale.target <= 0.0 {
            return Err(Refusal::invalid("serve/scale", "`scale` needs min <= max, max of 1 to 64 and a target above 0")
                .at(format!("model.{name}.serve"))
                .hint("scale = { min = 0, max = 4, target = 1, idle = \"5m\" }"));
        }
    }
    let unknown = Amount { cpu: u32::MAX, mem_bytes: u64::MAX, gpu: 0 };
    let mut pool = Pool::new(spec, unknown, &[]).map_err(|refusal| refusal.at("compute"))?;
    if spec.gpu.is_none() {
        pool.total.gpu = u32::MAX;
    }
    for (name, pipeline) in &project.pipeline {
        if let Some(team) = pipeline.team.as_ref().filter(|team| !spec.team.contains_key(*team)) {
            let known: Vec<&str> = spec.team.keys().map(String::as_str).collect();
            return Err(unknown_name("team", team, &known).at(format!("pipeline.{name}.team")));
        }
        for (part, steps) in [("step", &pipeline.step), ("on_exit", &pipeline.on_exit)] {
            for (step, declared) in steps {
                let place = format!("pipeline.{name}.{part}.{step}");
                let queue = declared.queue.as_deref().unwrap_or("default");
                if queue != "default" && !spec.queue.contains_key(queue) {
                    let known: Vec<&str> = spec.queue.keys().map(String::as_str).collect();
                    return Err(unknown_name("queue", queue, &known).at(place));
                }
                let mem_bytes = declared.need.mem_bytes().map_err(|what| Refusal::invalid("step/need", what).at(place.clone()))?;
                let amount = Amount { cpu: declared.need.cpu, mem_bytes: mem_bytes.unwrap_or(0), gpu: declared.need.gpu };
                let ask = Ask { job: String::new(), amount, queue: queue.into(), team: pipeline.team.clone() };
                pool.check(&ask).map_err(|refusal| refusal.at(place))?;
            }
        }
    }
    Ok(())
}

fn unknown_name(kind: &str, name: &str, known: &[&str]) -> Refusal {
    let refusal = Refusal::invalid(if kind == "team" { "compute/team" } else { "compute/queue" }, format!("there is no {kind} `{name}`"));
    refusal.hint(if known.is_empty() { format!("declare it: [compute.{kind}.{name}]") } else { format!("declared: {}", known.join(", ")) })
}

fn check_settings(spec: &ComputeSpec) -> Result<(), Refusal> {
    let bad = |what: String, place: &str| Err(Refusal::invalid("compute/invalid", what).at(format!("compute.{place}")));
    if spec.cpu.is_some_and(|cpu| cpu <= spec.reserve.cpu) {
        return bad("the reserve leaves no cpu for jobs".into(), "reserve");
    }
    for (place, text) in [("mem", &spec.mem), ("reserve", &spec.reserve.mem)] {
        if let Some(Err(what)) = text.as_deref().map(bytes_of) {
            return bad(what, place);
        }
    }
    let prices = [spec.price.cpu_hour, spec.price.gib_hour, spec.price.gpu_hour];
    if prices.iter().any(|price| !price.is_finite() || *price < 0.0) {
        return bad("a price is a number, and at least 0".into(), "price");
    }
    for (name, team) in &spec.team {
        if !team.share.is_finite() || team.share <= 0.0 {
            return bad(format!("the share of team {name} must be more than 0"), &format!("team.{name}"));
        }
        if let Some(Err(what)) = team.mem.as_deref().map(bytes_of) {
            return bad(what, &format!("team.{name}"));
        }
    }
    Ok(())
}
