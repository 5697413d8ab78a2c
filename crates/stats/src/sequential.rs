//! Tests that may be looked at after every observation: the mixture sequential probability ratio test.

/// What an observation of an arm is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arm {
    /// 0 or 1, such as right and wrong.
    Binary,
    /// Any number, such as an absolute error.
    Real,
}

/// The mSPRT of a challenger against a champion with a normal mixture: a p that holds at any time, however often one looks.
///
/// With `d` the difference of the running means (challenger minus champion) and `s² = V_a/n_a + V_b/n_b` its variance,
/// `Λ = √(s²/(s²+τ²)) · exp(τ²d²/(2 s²(s²+τ²)))` and `p = min(p before, 1/Λ)`. For as many observations in both arms this is
/// Johari's formula with `s² = V/n`. The share of a binary arm is taken as `(hits + ½)/(n + 1)` in its variance.
///
/// τ² is the variance of the differences that are looked for and must be set beforehand: 0.01 for accuracies. The test is
/// asymptotic: demand a minimum of observations.
///
/// Sources: Johari, Pekelis and Walsh 2015, arXiv:1512.04922; Robbins 1970, Ann Math Stat 41:1397.
/// ```
/// use stats::{Arm, Msprt};
/// let mut test = Msprt::new(Arm::Binary, 0.01);
/// (0..400).for_each(|i| test.observe(f64::from(i % 10 != 0), f64::from(i % 2)));
/// assert!(test.p() < 0.001 && test.difference().unwrap() < -0.3);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Msprt {
    arm: Arm,
    tau2: f64,
    champion: Sum,
    challenger: Sum,
    p: f64,
}

/// Count, mean and sum of squared deviations (Welford).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sum {
    n: f64,
    mean: f64,
    squares: f64,
}

impl Sum {
    fn add(&mut self, x: f64) {
        self.n += 1.0;
        let before = x - self.mean;
        self.mean += before / self.n;
        self.squares += before * (x - self.mean);
    }

    /// The variance of one observation.
    fn variance(&self, arm: Arm) -> f64 {
        match arm {
            Arm::Binary => {
                let share = (self.mean * self.n + 0.5) / (self.n + 1.0);
                share * (1.0 - share)
            }
            Arm::Real if self.n > 1.0 => self.squares / (self.n - 1.0),
            Arm::Real => f64::NAN,
        }
    }
}

impl Msprt {
    /// A test that has seen nothing. `tau2` above 0.
    pub fn new(arm: Arm, tau2: f64) -> Msprt {
        Msprt { arm, tau2, champion: Sum::default(), challenger: Sum::default(), p: 1.0 }
    }

    /// One observation of each arm.
    pub fn observe(&mut self, champion: f64, challenger: f64) {
        self.champion.add(champion);
        self.challenger.add(challenger);
        self.look();
    }

    /// One observation of the champion alone; look when an instant is whole.
    pub fn observe_champion(&mut self, value: f64) {
        self.champion.add(value);
    }

    /// One observation of the challenger alone.
    pub fn observe_challenger(&mut self, value: f64) {
        self.challenger.add(value);
    }

    /// Takes what was observed so far into p.
    pub fn look(&mut self) {
        if let (Some(d), Some(s2)) = (self.difference(), self.variance()) {
            let ratio = (s2 / (s2 + self.tau2)).ln() / 2.0 + self.tau2 * d * d / (2.0 * s2 * (s2 + self.tau2));
            self.p = self.p.min((-ratio).exp());
        }
    }

    /// The always-valid p of no difference, in (0, 1].
    pub fn p(&self) -> f64 {
        self.p
    }

    /// Observations of champion and challenger.
    pub fn n(&self) -> (u64, u64) {
        (self.champion.n as u64, self.challenger.n as u64)
    }

    /// Means of champion and challenger; `None` before each was observed.
    pub fn means(&self) -> Option<(f64, f64)> {
        (self.champion.n > 0.0 && self.challenger.n > 0.0).then_some((self.champion.mean, self.challenger.mean))
    }

    /// Mean of the challenger minus that of the champion.
    pub fn difference(&self) -> Option<f64> {
        self.means().map(|(old, new)| new - old)
    }

    /// The confidence sequence at `level`: it holds the difference at all times at once. `None` before there is a variance.
    pub fn interval(&self, level: f64) -> Option<(f64, f64)> {
        let (d, s2) = (self.difference()?, self.variance()?);
        if !(level > 0.0 && level < 1.0) {
            return None;
        }
        let bound = 2.0 * (1.0 / (1.0 - level)).ln() + ((s2 + self.tau2) / s2).ln();
        let half = (s2 * (s2 + self.tau2) / self.tau2 * bound).sqrt();
        Some((d - half, d + half))
    }

    fn variance(&self) -> Option<f64> {
        let s2 = self.champion.variance(self.arm) / self.champion.n + self.challenger.variance(self.arm) / self.challenger.n;
        (s2.is_finite() && s2 > 0.0).then_some(s2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_seen_says_nothing() {
        let test = Msprt::new(Arm::Real, 0.01);
        assert_eq!((test.p(), test.difference(), test.interval(0.95)), (1.0, None, None));
        let mut constant = Msprt::new(Arm::Real, 0.01);
        (0..100).for_each(|_| constant.observe(1.0, 2.0));
        assert_eq!(constant.p(), 1.0, "without a spread there is no evidence");
    }

    #[test]
    fn arms_of_different_sizes_agree_with_equal_ones_in_the_limit() {
        let (mut whole, mut split) = (Msprt::new(Arm::Binary, 0.01), Msprt::new(Arm::Binary, 0.01));
        for i in 0..300 {
            let (old, new) = (f64::from(i % 5 != 0), f64::from(i % 3 != 0));
            whole.observe(old, new);
            split.observe_champion(old);
            split.observe_challenger(new);
        }
        split.look();
        assert_eq!((split.difference(), split.interval(0.95)), (whole.difference(), whole.interval(0.95)));
        assert!(whole.p() <= split.p(), "looking more often finds no less");
    }
}
