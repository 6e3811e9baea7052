//! How much one key, or one address, may ask of this replica.

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use protocol::{ErrorCode, KeyId, ReasonCode};

use crate::config::LimitConfig;
use crate::error::{Error, Refused};

/// Token buckets, each held for one key or address on this replica alone.
pub struct Rates {
    ordinary: DefaultKeyedRateLimiter<KeyId>,
    hot: DefaultKeyedRateLimiter<KeyId>,
    failures: DefaultKeyedRateLimiter<IpAddr>,
}

impl Rates {
    /// Buckets that hold two seconds' worth.
    pub fn new(limits: &LimitConfig) -> Self {
        let quota = |per_second: u32| {
            let rate = NonZeroU32::new(per_second.max(1)).expect("at least 1");
            Quota::per_second(rate)
                .allow_burst(rate.saturating_mul(NonZeroU32::new(2).expect("2 is not 0")))
        };
        Self {
            ordinary: RateLimiter::keyed(quota(limits.rate_per_second)),
            hot: RateLimiter::keyed(quota(limits.hot_rate_per_second)),
            failures: RateLimiter::keyed(quota(limits.address_rate_per_second)),
        }
    }

    /// Takes `items` tokens of a key.
    ///
    /// # Errors
    /// 429 `key_rate` with `Retry-After`.
    pub fn spend(&self, key: KeyId, is_hot: bool, items: u32) -> Result<(), Error> {
        let bucket = if is_hot { &self.hot } else { &self.ordinary };
        let items = NonZeroU32::new(items.max(1)).expect("at least 1");
        match bucket.check_key_n(&key, items) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(until)) => Err(refuse(
                ReasonCode::KeyRate,
                "this key makes more requests than it may on this replica",
                until
                    .wait_time_from(DefaultClock::default().now())
                    .as_secs_f64(),
            )),
            Err(_) => Err(refuse(
                ReasonCode::KeyRate,
                "the batch is larger than this key's rate allows at once",
                1.0,
            )),
        }
    }

    /// Counts a failed authentication of an address.
    ///
    /// # Errors
    /// 429 `address_rate` when there were too many.
    pub fn count_failure(&self, address: IpAddr) -> Result<(), Error> {
        self.failures.check_key(&address).map_err(|until| {
            let wait = until.wait_time_from(DefaultClock::default().now());
            refuse(
                ReasonCode::AddressRate,
                "too many requests without a valid key came from this address",
                wait.as_secs_f64(),
            )
        })
    }

    /// Forgets keys and addresses whose buckets are full again.
    pub fn forget_idle(&self) {
        self.ordinary.retain_recent();
        self.hot.retain_recent();
        self.failures.retain_recent();
    }
}

fn refuse(reason: ReasonCode, message: &str, wait_seconds: f64) -> Error {
    Refused::new(ErrorCode::RateLimited, message)
        .reason(reason)
        .hint("slow down, and repeat the request after Retry-After")
        .retry_after(wait_seconds.ceil().max(1.0) as u64)
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_request_after_the_burst_is_refused() {
        let mut limits = Config::for_database("postgres://nowhere/none").limits;
        limits.rate_per_second = 5;
        let rates = Rates::new(&limits);
        let key = KeyId::new();
        for _ in 0..10 {
            rates.spend(key, false, 1).unwrap();
        }
        let refusal = rates.spend(key, false, 1).unwrap_err();
        assert_eq!(refusal.refusal().unwrap().code(), ErrorCode::RateLimited);
        rates
            .spend(KeyId::new(), false, 1)
            .expect("another key has a bucket of its own");
    }
}
