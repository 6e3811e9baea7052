//! Whether a failed attempt is followed by another one, and after which pause.

use protocol::{BackoffStrategy, RetryPolicy, TaskError};

/// Failures that pass by themselves, unless the policy names others.
const RETRYABLE_CATEGORIES: &[&str] = &[
    "timeout",
    "transient_error",
    "resource_unavailable",
    "network_error",
];
/// Longest pause.
const PAUSE_SECONDS_MAX: f64 = 86_400.0;
/// By which share a pause is lengthened or shortened at random unless the policy says: enough that a
/// hundred tasks which failed together do not come back together.
const JITTER: f64 = 0.1;

/// The pause before the next attempt, or none when there is to be no other one.
///
/// `dice` is a random number from 0 to 1; `asked` the pause that the holder asked for.
pub(super) fn pause_seconds(
    policy: Option<&RetryPolicy>,
    error: &TaskError,
    retry_count: i32,
    asked: Option<f64>,
    dice: f64,
) -> Option<f64> {
    let policy = policy?;
    if retry_count >= policy.max_attempts || !is_retryable(policy, error) {
        return None;
    }
    if let Some(asked) = asked {
        return Some(asked.clamp(0.0, PAUSE_SECONDS_MAX));
    }
    let first = policy.initial_backoff_seconds.unwrap_or(0.0);
    let retry = f64::from(retry_count + 1);
    let pause = match policy.backoff_strategy.unwrap_or(BackoffStrategy::Fixed) {
        BackoffStrategy::Fixed => first,
        BackoffStrategy::Linear => first * retry,
        BackoffStrategy::Exponential => first * 2f64.powi(retry_count.min(30)),
    };
    let jitter = policy.jitter.unwrap_or(JITTER) * (2.0 * dice - 1.0);
    Some((pause.min(PAUSE_SECONDS_MAX) * (1.0 + jitter)).clamp(0.0, PAUSE_SECONDS_MAX))
}

fn is_retryable(policy: &RetryPolicy, error: &TaskError) -> bool {
    let category = error.category.as_deref().unwrap_or("unknown");
    match (error.recoverable, &policy.retryable_categories) {
        (Some(false), _) => false,
        // A policy that names categories means these and no others.
        (_, Some(named)) => named.iter().any(|name| name == category),
        (Some(true), None) => true,
        (None, None) => RETRYABLE_CATEGORIES.contains(&category),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(strategy: BackoffStrategy) -> RetryPolicy {
        RetryPolicy {
            max_attempts: 3,
            backoff_strategy: Some(strategy),
            initial_backoff_seconds: Some(4.0),
            jitter: Some(0.0),
            retryable_categories: None,
        }
    }

    fn error(category: &str, recoverable: Option<bool>) -> TaskError {
        TaskError {
            category: Some(category.to_owned()),
            message: "x".to_owned(),
            recoverable,
            details: None,
        }
    }

    fn pause(policy: &RetryPolicy, retry_count: i32) -> Option<f64> {
        pause_seconds(
            Some(policy),
            &error("timeout", None),
            retry_count,
            None,
            0.5,
        )
    }

    #[test]
    fn pauses_grow_as_the_strategy_says() {
        let grow = |strategy| {
            (0..3)
                .map(|retry| pause(&policy(strategy), retry).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(grow(BackoffStrategy::Fixed), [4.0, 4.0, 4.0]);
        assert_eq!(grow(BackoffStrategy::Linear), [4.0, 8.0, 12.0]);
        assert_eq!(grow(BackoffStrategy::Exponential), [4.0, 8.0, 16.0]);
    }

    #[test]
    fn after_the_last_retry_there_is_none() {
        assert_eq!(pause(&policy(BackoffStrategy::Fixed), 3), None);
        assert_eq!(
            pause_seconds(None, &error("timeout", None), 0, None, 0.5),
            None
        );
    }

    #[test]
    fn jitter_spreads_around_the_pause() {
        let mut policy = policy(BackoffStrategy::Fixed);
        policy.jitter = Some(0.5);
        let at =
            |dice| pause_seconds(Some(&policy), &error("timeout", None), 0, None, dice).unwrap();
        assert_eq!((at(0.0), at(0.5), at(1.0)), (2.0, 4.0, 6.0));
    }

    #[test]
    fn recoverable_decides_before_the_category() {
        let policy = policy(BackoffStrategy::Fixed);
        let retried =
            |error: TaskError| pause_seconds(Some(&policy), &error, 0, None, 0.5).is_some();
        assert!(retried(error("anything", Some(true))));
        assert!(!retried(error("timeout", Some(false))));
        assert!(retried(error("network_error", None)));
        assert!(!retried(error("anything", None)));
    }

    #[test]
    fn a_policy_that_names_categories_means_no_others() {
        let mut policy = policy(BackoffStrategy::Fixed);
        policy.retryable_categories = Some(vec!["flaky".to_owned()]);
        let retried =
            |error: TaskError| pause_seconds(Some(&policy), &error, 0, None, 0.5).is_some();
        assert!(retried(error("flaky", None)));
        assert!(!retried(error("timeout", Some(true))));
    }

    #[test]
    fn the_holder_may_ask_for_a_pause_of_its_own() {
        let policy = policy(BackoffStrategy::Exponential);
        assert_eq!(
            pause_seconds(Some(&policy), &error("timeout", None), 0, Some(33.0), 0.0),
            Some(33.0)
        );
    }
}
