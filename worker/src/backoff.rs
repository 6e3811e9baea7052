//! The pause before something is tried again: doubling, bounded, and spread by chance.

use std::time::Duration;

/// Grows from `first` to `longest`. Half of each pause is left to chance, so that many workers
/// that met the same outage do not come back in step.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    steps: u32,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            steps: 0,
        }
    }

    /// The next pause; never shorter than what the platform asked for.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let whole = self
            .first
            .saturating_mul(1 << self.steps.min(20))
            .min(self.longest);
        self.steps += 1;
        let pause = whole.mul_f64(0.5 + rand::random::<f64>() / 2.0);
        match asked {
            // Those who were asked to come back at the same moment must not do so in step either.
            Some(asked) => pause.max(asked.mul_f64(1.0 + rand::random::<f64>() / 4.0)),
            None => pause,
        }
    }

    pub(crate) fn reset(&mut self) {
        self.steps = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(200);
    const LONGEST: Duration = Duration::from_secs(10);

    #[test]
    fn pauses_double_up_to_the_longest() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        for step in 0..40_u32 {
            let whole = FIRST.saturating_mul(1 << step.min(20)).min(LONGEST);
            let pause = backoff.next(None);
            assert!(pause <= whole && pause >= whole / 2, "{step}: {pause:?}");
        }
        backoff.reset();
        assert!(backoff.next(None) <= FIRST);
    }

    #[test]
    fn a_pause_is_never_shorter_than_asked_for() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        let asked = Duration::from_secs(7);
        assert!(backoff.next(Some(asked)) >= asked);
    }
}
