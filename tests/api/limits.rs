//! How much one key, or one address, may ask.

use reqwest::Method;
use stint_tests::{Answer, Setup};

#[test]
fn a_key_that_asks_too_much_is_told_when_to_come_back() {
    Setup::new()
        .config(|config| config.limits.rate_per_second = 1)
        .test(async |t| {
            let mut answers = Vec::new();
            for _ in 0..20 {
                answers.push(t.get("/api/v1/auth/me", t.admin_key()).await);
            }
            assert_eq!(answers[0].status, 200);
            let refused = answers.iter().find(|answer| answer.status == 429);
            let refused = refused.expect("twenty at once are more than one a second");
            assert_eq!(refused.reason(), "key_rate");
            let wait: u64 = refused.header("retry-after").parse().unwrap();
            assert!((1..=5).contains(&wait), "{wait}");
            assert_eq!(refused.error()["details"]["recoverable"], true);
        });
}

#[test]
fn an_address_without_a_valid_key_is_slowed_down() {
    Setup::new()
        .config(|config| config.limits.address_rate_per_second = 1)
        .test(async |t| {
            let mut statuses = Vec::new();
            for _ in 0..20 {
                let request = t.request(Method::GET, "/api/v1/auth/me");
                let answer = Answer::of(request.bearer_auth("st_admin_wrong")).await;
                statuses.push(answer.status);
                if answer.status == 429 {
                    assert_eq!(answer.reason(), "address_rate");
                    assert!(!answer.header("retry-after").is_empty());
                }
            }
            assert_eq!(statuses[0], 401);
            assert!(statuses.contains(&429), "{statuses:?}");
            let valid = t.get("/api/v1/auth/me", t.admin_key()).await;
            assert_eq!(valid.status, 200, "a valid key is not held up by others");
        });
}
