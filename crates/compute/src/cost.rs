//! What a job costs.

use domain::Span;
use domain::spec::Price;

/// The price of what a job held for so long: `hours * (cpus * cpu_hour + GiB * gib_hour + gpus * gpu_hour)`, in the currency of the prices.
///
/// ```
/// let price = domain::spec::Price { cpu_hour: 0.04, gib_hour: 0.005, gpu_hour: 2.5, currency: "EUR".into() };
/// let half_an_hour = domain::Span::from_ms(1_800_000);
/// assert_eq!(compute::cost::of(&price, half_an_hour, 2, 4 << 30, 1), 0.5 * (2.0 * 0.04 + 4.0 * 0.005 + 2.5));
/// ```
pub fn of(price: &Price, held: Span, cpu: u32, mem_bytes: u64, gpu: u32) -> f64 {
    let hours = held.ms().max(0) as f64 / 3_600_000.0;
    let gib = mem_bytes as f64 / f64::from(1 << 30);
    hours * (f64::from(cpu) * price.cpu_hour + gib * price.gib_hour + f64::from(gpu) * price.gpu_hour)
}
