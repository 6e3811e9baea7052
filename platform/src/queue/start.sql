-- Marks held tasks as begun, and renews their leases. Total: every report gets a verdict.
--
-- The update judges and moves in one probe per report, as in `complete.sql`, which says more.
with reports as materialized (
    select r.*
    from unnest($2::uuid[], $3::int[], $4::uuid[], $5::uuid[], $6::text[], $7::uuid[])
         with ordinality as r (task_id, attempt, agent_id, worker_id, actor_type, actor_id, place)
    order by r.task_id
),
begun as (
    update task_leases l
    set state = 'in_progress',
        state_changed_at = clock_timestamp(),
        started_at = clock_timestamp(),
        task_seq = l.task_seq + 1,
        expires_at = greatest(l.expires_at, clock_timestamp() + make_interval(secs => l.lease_seconds))
    from reports r
    where l.tenant_id = $1
      and l.task_id = r.task_id
      and (l.attempt = r.attempt or (r.attempt is null and not l.fenced))
      and (r.agent_id is null or r.agent_id = l.agent_id)
      and (r.worker_id is null or r.worker_id = l.worker_id)
      and l.state = 'claimed'
    returning r.place, r.actor_type, r.actor_id, l.task_id, l.task_seq, l.attempt, l.fenced, l.workflow_id
),
told as (
    insert into events (tenant_id, event_type, entity_type, entity_id, actor_type, actor_id, task_seq, attempt, from_state, to_state, reason, fenced, workflow_id)
    select $1, 'task.state_changed', 'task', task_id, actor_type, actor_id, task_seq, attempt, 'claimed', 'in_progress', 'start', fenced, workflow_id
    from begun
),
left_over as materialized (
    select r.* from reports r where (r.place in (select b.place from begun b)) is not true
)
select b.place as "place!", 'moved' as "verdict!", b.attempt as "attempt?", 'in_progress' as "state?"
from begun b
union all
select r.place,
       case when l.task_id is null then 'absent'
            when r.attempt is null and l.fenced then 'attempt_missing'
            when r.attempt <> l.attempt then 'stale'
            when r.agent_id <> l.agent_id or (r.worker_id is not null and r.worker_id is distinct from l.worker_id) then 'not_holder'
            when l.state = 'in_progress' then 'replayed'
            else 'again'
       end,
       l.attempt,
       l.state
from left_over r
left join task_leases l on l.tenant_id = $1 and l.task_id = r.task_id
order by 1
