//! Windows of a champion while a canary answers beside it.

use super::*;

impl House {
    /// What a canary answered in week `n`: other features, other answers, in the champion's own stream.
    async fn answered_by_a_canary(&self, n: i64, version: u64) {
        let answer = |hour: i64| {
            let fields = [
                ("version", Scalar::Int(version as i64)),
                ("role", Scalar::Text("canary".into())),
                ("prediction", Scalar::Float(-9000.0)),
                ("temp", Scalar::Float(500.0)),
            ];
            Row { key: EntityKey::one("city", "nyc"), ..row(format!("c{hour}"), hour, hour, &fields) }
        };
        self.rows.append("prediction/demand", (168 * n..168 * (n + 1)).map(answer).collect()).await.unwrap();
    }
}

/// While a canary runs, its answers lie in the same segments as the champion's.
#[tokio::test]
async fn a_champion_is_not_judged_on_what_its_canary_answers() {
    let house = House::new().await;
    house.register(1, Some("t1"), None).await;
    house.promote(1, day(0)).await;
    house.answered_by_a_canary(0, 2).await;
    house.week(0, 1, 0.0, 10.0).await;
    assert_eq!(house.story(1), QUIET_WEEK);
    let window: Window = house.get("demand/performance-1-2011-03-01T00:00:00Z");
    assert_eq!((window.rows, window.verdict), (168, Some(Verdict::Pass)), "{:?}", window.why);
    // Nor does it amend a window that was judged.
    house.answered_by_a_canary(0, 2).await;
    house.seal("prediction/demand", day(7), day(9)).await;
    assert_eq!(house.story(5), [""; 0]);
}
