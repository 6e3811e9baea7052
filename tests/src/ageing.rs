//! Time passes by ageing rows.

use stint_platform::loops::Turn;
use stint_protocol::TaskId;

use crate::platform::TestPlatform;

impl TestPlatform {
    async fn age(&self, statement: &'static str, seconds: f64) {
        sqlx::query(statement)
            .bind(seconds)
            .execute(&self.sql)
            .await
            .expect("rows can be aged");
    }

    /// Shows that a replica lives, as its loop does every second.
    pub async fn beat_pulse(&self) {
        self.execute("update platform_pulse set beat_at = clock_timestamp()")
            .await;
    }

    /// Makes all leases, with their claims and deadlines, this much older.
    pub async fn age_leases(&self, seconds: f64) {
        self.age(
            "update task_leases set expires_at = expires_at - make_interval(secs => $1),
                    deadline_at = deadline_at - make_interval(secs => $1),
                    claimed_at = claimed_at - make_interval(secs => $1),
                    started_at = started_at - make_interval(secs => $1)",
            seconds,
        )
        .await;
        // No lease of the platform's ends earlier than it began to look.
        self.first().app().hints.forget_everything();
    }

    /// Makes the beat of the replicas this much older.
    pub async fn age_pulse(&self, seconds: f64) {
        self.age(
            "update platform_pulse set beat_at = beat_at - make_interval(secs => $1)",
            seconds,
        )
        .await;
    }

    /// Brings delays and pauses this much closer to their end.
    pub async fn age_waiting(&self, seconds: f64) {
        self.age(
            "update task_waiting set available_at = available_at - make_interval(secs => $1)",
            seconds,
        )
        .await;
    }

    /// Makes workers and agents silent for this much longer.
    pub async fn age_holders(&self, seconds: f64) {
        self.age(
            "with w as (update workers set last_heartbeat_at = last_heartbeat_at - make_interval(secs => $1))
             update agents set last_heartbeat_at = last_heartbeat_at - make_interval(secs => $1)",
            seconds,
        )
        .await;
    }

    /// Lets the lease of one task end, and the loop find it.
    pub async fn lose_lease(&self, task: TaskId) -> Turn {
        sqlx::query("update task_leases set expires_at = clock_timestamp() - interval '1 second' where task_id = $1")
            .bind(task.uuid())
            .execute(&self.sql)
            .await
            .expect("a lease can be aged");
        self.expire_leases().await
    }

    /// One turn of the loop that expires leases, on a platform that has been there all the time.
    pub async fn expire_leases(&self) -> Turn {
        self.beat_pulse().await;
        self.run_loop("expire_leases").await
    }

    /// Lets every delay and pause end, and the loop find them.
    pub async fn release_due(&self) -> Turn {
        self.execute("update task_waiting set available_at = clock_timestamp() - interval '1 second' where available_at is not null")
            .await;
        self.run_loop("release_due").await
    }
}
