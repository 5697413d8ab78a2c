//! Pages of a search, laid end to end, are the search, whatever is added and deleted meanwhile.
#![allow(clippy::unwrap_used)]

use super::page::Search;
use domain::Timestamp;
use domain::entity::{Experiment, LifecycleStage, Tag};
use domain::filter::{OrderBy, Target};
use domain::{ExperimentId, filter::Expr};
use proptest::prelude::*;
use std::cmp::Ordering;

fn experiment(id: u64, created: i64, name: &str, tag: Option<&str>) -> Experiment {
    Experiment {
        id: ExperimentId::new(id.to_string()),
        name: name.into(),
        artifact_location: String::new(),
        lifecycle_stage: LifecycleStage::Active,
        created: Timestamp::from_ms(created),
        updated: Timestamp::from_ms(created),
        tags: tag.iter().map(|value| Tag::new("k", *value)).collect(),
    }
}

fn experiments() -> impl Strategy<Value = Vec<Experiment>> {
    let one = (0i64..5, "[ab]{1,2}", proptest::option::of("[xy]"));
    let number = |all: Vec<(i64, String, Option<String>)>| {
        (1..).zip(all).map(|(id, (created, name, tag))| experiment(id, created, &name, tag.as_deref())).collect()
    };
    proptest::collection::vec(one, 0..20).prop_map(number)
}

fn search(filter: &str, order: &[String], token: Option<&str>, limit: usize) -> Search {
    Search::parse::<Experiment>(&Target::EXPERIMENTS, Some(filter), order, token, limit, "").unwrap()
}

proptest! {
    #[test]
    fn pages_end_to_end_are_the_whole(
        all in experiments(),
        filter in proptest::sample::select(vec!["", "name LIKE 'a%'", "tags.k = 'x'", "creation_time >= 2 AND tags.k IS NULL"]),
        order in proptest::sample::subsequence(vec!["tags.k DESC", "name", "creation_time DESC"], 0..3),
        limit in 1usize..6,
        gone in proptest::collection::vec(any::<proptest::sample::Index>(), 0..4),
    ) {
        let order: Vec<String> = order.into_iter().map(str::to_owned).collect();
        // The naive answer: filter, then sort by the keys, newest and highest id last in question.
        let (expr, keys) = (Expr::parse(filter, &Target::EXPERIMENTS).unwrap(), order.iter().map(|key| OrderBy::parse(key, &Target::EXPERIMENTS).unwrap()).collect::<Vec<_>>());
        let number = |experiment: &Experiment| experiment.id.as_str().parse::<u64>().unwrap();
        let mut naive: Vec<Experiment> = all.iter().filter(|experiment| expr.matches(*experiment)).cloned().collect();
        naive.sort_by(|a, b| {
            let by_keys = keys.iter().map(|key| key.compare(a, b)).find(|order| *order != Ordering::Equal).unwrap_or(Ordering::Equal);
            by_keys.then(b.created.cmp(&a.created)).then(number(b).cmp(&number(a)))
        });
        // What is seen already is deleted after the first page, and something new comes before it: neither moves the rest.
        let (first, mut token) = search(filter, &order, None, limit).page(all.clone()).unwrap();
        let mut later = all.clone();
        if !all.is_empty() {
            let gone: Vec<_> = gone.iter().map(|index| index.get(&all).id.clone()).collect();
            later.retain(|experiment| !(gone.contains(&experiment.id) && first.iter().any(|seen| seen.id == experiment.id)));
        }
        let mut read = first;
        while let Some(next) = token {
            let (page, after) = search(filter, &order, Some(&next), limit).page(later.clone()).unwrap();
            prop_assert!(!page.is_empty() && page.len() <= limit);
            read.extend(page);
            token = after;
        }
        prop_assert_eq!(read, naive);
    }
}

#[test]
fn a_token_is_for_its_own_search() {
    let all: Vec<_> = (1..4).map(|id| experiment(id, 0, "a", None)).collect();
    let token = search("", &[], None, 1).page(all).unwrap().1.unwrap();
    let other = Search::parse::<Experiment>(&Target::EXPERIMENTS, Some("name = 'a'"), &[], Some(&token), 1, "");
    assert!(other.is_err() && Search::parse::<Experiment>(&Target::EXPERIMENTS, None, &[], Some("nonsense"), 1, "").is_err());
}
