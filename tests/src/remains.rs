//! What a test must not leave behind.

use sqlx::Row as _;

use crate::platform::TestPlatform;
use crate::run::until;

impl TestPlatform {
    /// Looks at what a test that has passed left behind.
    pub(crate) async fn look_at_remains(&self) {
        let misfits = self.misfits.take();
        assert!(
            misfits.is_empty(),
            "answers differ from what the API description declares:\n{}",
            misfits.join("\n")
        );
        let errors = self.errors.take();
        assert!(
            errors.is_empty(),
            "the platform logged errors that the test did not expect: {errors:#?}"
        );
        until("no transaction is left open", async || {
            self.open_transactions().await == 0
        })
        .await;
        self.assert_one_drawer_per_task().await;
        self.assert_events_without_gaps().await;
    }

    async fn open_transactions(&self) -> i64 {
        sqlx::query_scalar(
            "select count(*) from pg_stat_activity
             where datname = $1 and state like 'idle in transaction%'",
        )
        .bind(self.database.name())
        .fetch_one(&self.sql)
        .await
        .expect("the server tells what its sessions do")
    }

    /// Each task lies in exactly one drawer.
    ///
    /// # Panics
    /// When one lies in none or in several.
    pub async fn assert_one_drawer_per_task(&self) {
        let rows = sqlx::query(
            "select t.title, array_remove(array_agg(p.state), null) as states
             from tasks t
             left join task_positions p on p.tenant_id = t.tenant_id and p.task_id = t.id
             group by t.tenant_id, t.id
             having count(p.task_id) <> 1",
        )
        .fetch_all(&self.sql)
        .await
        .expect("the drawers can be read");
        let strays: Vec<(String, Vec<String>)> = rows
            .iter()
            .map(|row| (row.get("title"), row.get("states")))
            .collect();
        assert!(strays.is_empty(), "not in exactly one drawer: {strays:?}");
    }

    /// The events of each task are numbered from 1 without a gap, up to the number in its drawer.
    ///
    /// # Panics
    /// When a number is missing or there twice.
    pub async fn assert_events_without_gaps(&self) {
        let rows = sqlx::query(
            "select t.title, p.task_seq, coalesce(array_agg(e.task_seq order by e.task_seq) filter (where e.task_seq is not null), '{}') as seqs
             from tasks t
             join task_positions p on p.tenant_id = t.tenant_id and p.task_id = t.id
             left join task_moves e on e.tenant_id = t.tenant_id and e.task_id = t.id
             group by t.tenant_id, t.id, p.task_seq
             having count(e.task_seq) <> p.task_seq or count(distinct e.task_seq) <> p.task_seq
                 or min(e.task_seq) <> 1 or max(e.task_seq) <> p.task_seq",
        )
        .fetch_all(&self.sql)
        .await
        .expect("the events can be read");
        let gaps: Vec<(String, i32, Vec<i32>)> = rows
            .iter()
            .map(|row| (row.get("title"), row.get("task_seq"), row.get("seqs")))
            .collect();
        assert!(gaps.is_empty(), "events with gaps: {gaps:?}");
    }
}
