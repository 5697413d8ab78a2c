//! A histogram of latencies of bounded size, whose quantiles have a bounded error.

/// Buckets: the last begins at 10 µs · 2^23.75, 141 s.
pub const BUCKETS: usize = 97;
/// Where the first bucket ends, in µs; what is faster is in it too.
const FIRST_US: f64 = 10.0;
/// Buckets while a latency doubles.
const A_DOUBLING: f64 = 4.0;

/// Counts by latency: bucket k > 0 holds [10 µs · 2^((k-1)/4), 10 µs · 2^(k/4)), so a quantile, told as its bucket's geometric middle, is at most
/// 2^(1/8) - 1 = 9.1 % off (above 10 µs and below 141 s).
///
/// ```
/// let mut seen = stats::latency::Histogram::default();
/// (1..=1000).for_each(|ms| seen.record(1_000 * ms));
/// let p99 = seen.quantile(0.99).unwrap();
/// assert!((p99 / 990_000.0 - 1.0).abs() < 0.091);
/// assert_eq!(seen.quantile(0.5).map(|us| us > 450_000.0 && us < 550_000.0), Some(true));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    counts: Box<[u64; BUCKETS]>,
    sum_us: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { counts: Box::new([0; BUCKETS]), sum_us: 0 }
    }
}

/// The bucket of a latency in µs.
pub fn bucket(us: u64) -> usize {
    let us = us as f64;
    if us < FIRST_US { 0 } else { (1 + (A_DOUBLING * (us / FIRST_US).log2()) as usize).min(BUCKETS - 1) }
}

/// Where a bucket ends, in µs; the last one does not.
pub fn end_us(bucket: usize) -> f64 {
    FIRST_US * (bucket as f64 / A_DOUBLING).exp2()
}

impl Histogram {
    /// Counts a latency in µs.
    pub fn record(&mut self, us: u64) {
        self.counts[bucket(us)] += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// Adds what another has counted.
    pub fn add(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(other.counts.iter()).for_each(|(own, more)| *own += more);
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum in µs.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// Counts by bucket.
    pub fn counts(&self) -> &[u64; BUCKETS] {
        &self.counts
    }

    /// The latency in µs that a share `q` in 0..=1 does not exceed; `None` when nothing was counted.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = (q * self.count() as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        let found = self.counts.iter().position(|count| {
            below += count;
            *count > 0 && below >= rank
        })?;
        Some(if found == 0 { FIRST_US / 2.0 } else { (end_us(found - 1) * end_us(found)).sqrt() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_lies_in_its_bucket() {
        for us in [0, 9, 10, 11, 12, 999, 1_000, 1_000_000, 60_000_000] {
            let at = bucket(us);
            assert!((us as f64) < end_us(at), "{us}");
            assert!(at == 0 || us as f64 >= end_us(at - 1) - 1e-6, "{us}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_of_sums_are_those_of_all() {
        let (mut left, mut right, mut all) = (Histogram::default(), Histogram::default(), Histogram::default());
        for n in 0..10_000_u64 {
            let us = 20 + (n * n) % 777_777;
            if n % 3 == 0 { &mut left } else { &mut right }.record(us);
            all.record(us);
        }
        left.add(&right);
        assert_eq!(left, all);
        assert_eq!(all.count(), 10_000);
        let mut sorted: Vec<u64> = (0..10_000_u64).map(|n| 20 + (n * n) % 777_777).collect();
        sorted.sort_unstable();
        for q in [0.01, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let exact = sorted[((q * 10_000.0_f64).ceil() as usize).max(1) - 1] as f64;
            let told = all.quantile(q).unwrap_or_default();
            assert!((told / exact - 1.0).abs() < 0.091, "{q}: {told} for {exact}");
        }
        assert_eq!(Histogram::default().quantile(0.5), None);
    }
}
