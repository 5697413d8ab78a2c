//! Judges windows when they close, and once more when rows come late.

use super::ReferenceShelf;
use crate::declared::{Declared, deployment};
use crate::judge::{Bar, Evidence, Judgement, judge_input, judge_performance, moved_features};
use crate::react::stream_of;
use crate::rows::{self, Labels, Predicted};
use crate::rule::Rule;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use domain::entity::{Monitor, Segment, Window, WindowKind};
use domain::{Batch, Entity, Event, Fault, ModelName, Range, Recorded, Verdict};
use ports::{MetadataStore, RowLog, World, decide};
use stats::Metric;
use std::sync::Arc;

/// The worker that judges.
pub struct JudgeWorker {
    pub store: Arc<dyn MetadataStore>,
    pub rows: Arc<dyn RowLog>,
    pub shelf: Arc<ReferenceShelf>,
}

/// A window with what the store knows about it.
struct Case {
    window: Window,
    declared: Declared,
    threshold: Option<f64>,
    rule: Option<Rule>,
    /// The input window of the same range.
    input: Option<Window>,
    predictions: Vec<Segment>,
    labels: Vec<Segment>,
}

#[async_trait]
impl reactor::Worker for JudgeWorker {
    fn name(&self) -> &'static str {
        "monitoring.judge"
    }

    fn wants(&self, event: &Event) -> bool {
        match event {
            Event::WindowClosed { .. } => true,
            Event::SegmentSealed { stream, .. } => stream_of(stream).is_some(),
            _ => false,
        }
    }

    async fn work(&self, event: &Recorded) -> Result<(), Fault> {
        match &event.event {
            Event::WindowClosed { model, version, kind, range, .. } => {
                let Some(case) = self.case(model, &window_key(model, *kind, version.0, *range))? else { return Ok(()) };
                if case.window.verdict.is_some() {
                    return Ok(());
                }
                let judged = self.judged(&case, event).await?;
                self.record(&judged, event, first_verdict).await
            }
            Event::SegmentSealed { stream, segment, .. } => self.late(event, stream, *segment).await,
            _ => Ok(()),
        }
    }
}

fn window_key(model: &ModelName, kind: WindowKind, version: u64, range: Range) -> String {
    format!("{model}/{}-{version}-{}", kind.word(), range.from)
}

impl JudgeWorker {
    fn case(&self, model: &ModelName, key: &str) -> Result<Option<Case>, Fault> {
        let world = World::new(self.store.snapshot()?);
        let (Some(window), Some(declared)) = (world.get::<Window>(key)?, Declared::model(&world, model)?) else { return Ok(None) };
        let rule = declared.monitor.incident_if.as_deref().map(Rule::parse).transpose();
        let rule = rule.map_err(|refusal| Fault::because("reading a rule of the applied project", refusal))?;
        let deployment = deployment(&world, model)?;
        let threshold = rule.as_ref().and_then(|rule| rule.threshold(&deployment));
        let input = world.get::<Window>(&window_key(model, WindowKind::Input, window.version.0, window.range))?;
        let segments = |stream: &str| world.scope::<Segment>(&format!("{stream}:{model}"));
        let (predictions, labels) = (segments("prediction")?, segments("label")?);
        Ok(Some(Case { window, declared, threshold, rule, input, predictions, labels }))
    }

    /// The window with its verdict.
    async fn judged(&self, case: &Case, event: &Recorded) -> Result<Window, Fault> {
        let Window { model, version, kind, range, whole, .. } = &case.window;
        let lost = overlapping(&case.predictions, *range).map(|segment| segment.lost).sum();
        let batches = self.read(&case.predictions, *range).await?;
        let (found, judgement) = match kind {
            WindowKind::Input => {
                let reference = self.shelf.get(model, *version, event.at).await?;
                let names = reference.iter().flat_map(|reference| &reference.features).map(|watched| watched.name.as_str());
                let found = rows::predictions(&batches, *version, *range, &names.collect::<Vec<_>>())?;
                let evidence = evidence(&found, *whole, lost, case);
                let judgement = judge_input(&evidence, reference.as_deref().map_err(String::as_str));
                (found.len(), judgement)
            }
            WindowKind::Performance => {
                let labels = Labels::new(&self.read(&case.labels, *range).await?, *range)?;
                let found = rows::predictions(&batches, *version, *range, &[])?;
                let named = Metric::parse(&case.declared.spec.metric);
                let Some(metric) = case.rule.as_ref().map(|rule| rule.metric).or(named) else {
                    return Err(Fault::broken(format!("`{}` is no metric", case.declared.spec.metric)));
                };
                let bar = Bar { metric, rule: case.rule.as_ref(), threshold: case.threshold };
                let judgement = judge_performance(&evidence(&found, *whole, lost, case), &labels, &bar, case.input.as_ref());
                (found.len(), judgement)
            }
        };
        let Judgement { verdict, why, drift, performance } = judgement;
        let own = match kind {
            WindowKind::Input => &case.predictions,
            WindowKind::Performance => &case.labels,
        };
        Ok(Window {
            lost,
            rows: found as u64,
            verdict: Some(verdict),
            why: Some(why),
            drift,
            performance,
            segments: own.last().map_or(0, |segment| segment.number + 1),
            ..case.window.clone()
        })
    }

    async fn read(&self, segments: &[Segment], range: Range) -> Result<Vec<RecordBatch>, Fault> {
        let mut batches = Vec::new();
        for segment in overlapping(segments, range) {
            batches.push(self.rows.read(segment).await?);
        }
        Ok(batches)
    }

    /// Writes the window, unless somebody has meanwhile; `say` tells what that means.
    async fn record(
        &self,
        judged: &Window,
        event: &Recorded,
        say: fn(&World, &Window, &mut Batch) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let recorded = decide(&*self.store, |world| {
            let mut batch = Batch::reacting("monitoring.judge", event);
            let known = world.get::<Window>(&judged.key())?;
            if known.is_some_and(|known| known.verdict.is_none() || known.segments < judged.segments) {
                batch.write(judged);
                say(world, judged, &mut batch)?;
            }
            Ok((batch, ()))
        });
        recorded.await.map_err(|e| Fault::because("recording the verdict of a window", e))
    }

    /// A sealed segment with rows of windows that were judged without it: they are judged again, and say so.
    async fn late(&self, event: &Recorded, stream: &str, number: u64) -> Result<(), Fault> {
        let Some((kind, model)) = stream_of(stream) else { return Ok(()) };
        let (segment, windows) = {
            let world = World::new(self.store.snapshot()?);
            let Some(segment) = world.get::<Segment>(&format!("{}/{number:010}", stream.replace('/', ":")))? else { return Ok(()) };
            let closed = world.scope::<Monitor>(model)?.iter().filter_map(|monitor| crate::windows::closed_to(monitor, kind)).max();
            if closed.is_none_or(|closed| closed <= segment.time.from) {
                return Ok(());
            }
            let mut windows = world.scope::<Window>(model)?;
            let late = |window: &Window| window.kind == kind && window.verdict.is_some() && window.segments <= number;
            windows.retain(|window| late(window) && overlaps(segment.time, window.range));
            (segment, windows)
        };
        if windows.is_empty() {
            return Ok(());
        }
        let batch = self.rows.read(&segment).await?;
        for window in windows {
            // Rows of a canary or a shadow change nothing of what the champion is judged on.
            let late = match window.kind {
                WindowKind::Input => rows::predictions(std::slice::from_ref(&batch), window.version, window.range, &[])?.len() as u64,
                WindowKind::Performance => rows::count(&batch, window.range)?,
            };
            let Some(case) = self.case(&window.model, &window.key())?.filter(|_| late > 0) else { continue };
            let mut judged = self.judged(&case, event).await?;
            judged.late = window.late + late;
            judged.why = judged.why.map(|why| format!("{why}; amended: {} rows came after it was judged", judged.late));
            self.record(&judged, event, amended).await?;
        }
        Ok(())
    }
}

fn evidence<'a>(rows: &'a [Predicted], whole: bool, lost: u64, case: &Case) -> Evidence<'a> {
    Evidence { rows, whole, lost, min_rows: case.declared.monitor.min_rows }
}

fn overlaps(a: Range, b: Range) -> bool {
    a.from < b.to && b.from < a.to
}

fn overlapping(segments: &[Segment], range: Range) -> impl Iterator<Item = &Segment> {
    segments.iter().filter(move |segment| overlaps(segment.time, range))
}

fn first_verdict(world: &World, window: &Window, batch: &mut Batch) -> Result<(), Fault> {
    let (model, version, kind, range) = (window.model.clone(), window.version, window.kind, window.range);
    let (verdict, why) = (window.verdict.unwrap_or(Verdict::Inconclusive), window.why.clone().unwrap_or_default());
    let performance = window.performance.as_ref();
    let (metric, threshold) = (performance.and_then(|p| p.value), performance.and_then(|p| p.threshold));
    batch.say(Event::WindowJudged {
        model: model.clone(),
        version,
        kind,
        range,
        whole: window.whole,
        verdict,
        metric,
        threshold,
        why: why.clone(),
    });
    if kind == WindowKind::Performance || verdict != Verdict::Fail {
        return Ok(());
    }
    let features = moved_features(&window.drift);
    let before = Range::new(range.from - (range.to - range.from), range.from);
    let before = world.get::<Window>(&window_key(&model, kind, version.0, before))?;
    let known = before.filter(|before| before.verdict == Some(Verdict::Fail)).map_or_else(Vec::new, |before| moved_features(&before.drift));
    let news = features.iter().any(|feature| !known.contains(feature));
    batch.say(Event::DriftFound { model: model.clone(), version, range, features });
    // People hear of a feature when it moves, not every week that it stays away.
    if news {
        let title = format!("{model}: version {version}, {range}: {why}");
        batch.say(Event::AlertRaised { topic: "drift".into(), model: Some(model), title });
    }
    Ok(())
}

fn amended(_: &World, window: &Window, batch: &mut Batch) -> Result<(), Fault> {
    batch.say(Event::WindowAmended {
        model: window.model.clone(),
        version: window.version,
        kind: window.kind,
        range: window.range,
        late: window.late,
        verdict: window.verdict.unwrap_or(Verdict::Inconclusive),
        why: window.why.clone().unwrap_or_default(),
    });
    Ok(())
}
