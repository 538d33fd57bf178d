//! A simulated sensor: cases reported each hour of an outbreak, with reports that never come.
//!
//! Integers alone, so that every machine sees the same samples.

/// Samples in a day.
pub const SAMPLES_PER_DAY: u32 = 24;

/// The sensor's state.
#[derive(Debug, Clone)]
pub struct Sensor {
    hour: u32,
    random: u32,
}

impl Sensor {
    /// A sensor at hour 0.
    pub fn new(seed: u32) -> Self {
        Sensor { hour: 0, random: seed | 1 }
    }

    /// The next hour's report; `None` when it is missing.
    ///
    /// The rate doubles every 6 days up to day 30 and halves every 6 days after it. One report in 16 is missing, and
    /// from day 20 to day 21 all of them.
    pub fn sample(&mut self) -> Option<u16> {
        let day = self.hour / SAMPLES_PER_DAY;
        self.hour += 1;
        let (missing, noise) = (self.next().is_multiple_of(16), self.next() % 5);
        let doublings = if day < 30 { day / 6 } else { (60 - day.min(60)) / 6 };
        let rate = (1 << doublings) + noise;
        (!missing && !(20..22).contains(&day)).then(|| u16::try_from(rate).unwrap_or(u16::MAX))
    }

    /// Xorshift of 32 bits (Marsaglia 2003).
    fn next(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random >> 8
    }
}
