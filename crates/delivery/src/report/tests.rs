#![allow(clippy::unwrap_used)]
//! Reports of every kind of check, with hostile text in them.

use super::*;
use domain::entity::{GateFigure, Interval, Override, Slice, Tested};
use domain::{Digest, ModelName, Range, Timestamp, VersionNumber};

fn report() -> GateReport {
    let interval = Interval { low: -0.02, high: 0.01, confidence: 0.95, method: "Tango score".into() };
    let slice = |name: &str, holm| Slice {
        name: name.into(),
        rows: 95,
        worse: 3,
        better: 9,
        challenger: 0.05,
        champion: 0.1,
        p: holm,
        holm,
        bh: holm,
        interval: None,
        accuracy: None,
    };
    let compared = Check {
        challenger: Some(0.95),
        champion: Some(0.96),
        value: Some(-0.01),
        limit: Some(-0.01),
        n: Some(285),
        needed: Some(3140),
        method: Some("Tango score".into()),
        interval: Some(interval),
        tests: vec![Tested { name: "McNemar, exact".into(), statistic: None, p: 0.3 }],
        ..Check::new("non_inferior(accuracy, margin = 0.01)", Verdict::Inconclusive, "[-0.02, 0.01]; about 3140 rows would tell")
    };
    let slices = Check {
        slices: vec![slice("size = a|b", Some(0.9)), slice("size = <script>", None)],
        ..Check::new("no_worse_slice(size)", Verdict::Pass, "worse on none of 1 slices")
    };
    GateReport {
        model: ModelName::new("demand"),
        challenger: VersionNumber(2),
        champion: Some(VersionNumber(1)),
        holdout: Range::new(Timestamp::from_ms(0), Timestamp::from_ms(86_400_000)),
        rows: 285,
        rows_hash: Digest::of(b"rows"),
        seed: 7,
        checks: vec![
            Check::new("accuracy > 0.9", Verdict::Pass, "accuracy is 0.9500"),
            Check::new("ece < 0.05", Verdict::Fail, "0.2 & \"more\" <b>\u{0}"),
            compared,
            slices,
            Check { skipped: true, ..Check::new("superior(auc)", Verdict::Inconclusive, "no champion") },
        ],
        figure: GateFigure { metric: "accuracy".into(), challenger: Some(0.95), champion: Some(0.96) },
        verdict: Verdict::Fail,
        why: "ece < 0.05: 0.2".into(),
        decided: Timestamp::from_ms(86_400_000),
        overrides: vec![Override { by: "ann".into(), reason: "seen & known".into(), at: Timestamp::from_ms(86_500_000) }],
    }
}

#[test]
fn junit_counts_and_escapes() {
    let xml = junit(&report());
    assert!(xml.contains("tests=\"5\" failures=\"1\" errors=\"1\" skipped=\"1\""), "{xml}");
    assert!(xml.contains("<failure type=\"fail\" message=\"0.2 &amp; &quot;more&quot; &lt;b&gt; \">"), "{xml}");
    assert!(
        xml.contains("<error type=\"inconclusive\"") && xml.contains("needs 3140") && xml.contains("McNemar, exact: p 3.000e-1"),
        "{xml}"
    );
    assert!(xml.contains("<skipped message=\"no champion\"/>") && xml.contains("ann at "), "{xml}");
    let balanced = |tag: &str| xml.matches(&format!("<{tag} ")).count() == xml.matches(&format!("</{tag}>")).count();
    assert!(["testsuites", "testsuite", "testcase"].into_iter().all(balanced));
}

#[test]
fn markdown_keeps_its_table() {
    let text = markdown(&report());
    assert!(text.starts_with("## Gate fails: demand@2 against @1\n"), "{text}");
    assert!(text.contains("| **inconclusive** | `non_inferior(accuracy, margin = 0.01)` | -0.01 in [-0.02, 0.01], limit -0.01, n 285, needs 3140; Tango score |"), "{text}");
    assert!(text.contains("| size = a\\|b | 95 | 3 | 9 | 0.9 |") && text.contains("| size = &lt;script> |"), "{text}");
}

#[test]
fn the_page_stands_alone_and_draws() {
    let page = html(&report());
    assert!(!page.contains("<script") && !page.contains("http") && !page.contains("url("), "nothing from elsewhere");
    assert_eq!(page.matches("<svg").count(), 1);
    assert!(page.contains("prefers-color-scheme:dark") && page.contains("class=\"limit\"") && page.contains("class=\"zero\""));
    assert!(page.contains("&lt;script&gt;") && page.contains("McNemar, exact: p 3.000e-1"));
}

#[test]
fn a_gate_that_came_to_no_check_is_one() {
    let report = GateReport { checks: vec![], verdict: Verdict::Inconclusive, why: "no labelled rows".into(), ..report() };
    assert!(junit(&report).contains("tests=\"1\" failures=\"0\" errors=\"1\""));
    assert!(markdown(&report).contains("no labelled rows") && html(&report).contains("no labelled rows"));
}
