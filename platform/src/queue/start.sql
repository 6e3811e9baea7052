-- Marks held tasks as begun, and renews their leases. Total: every report gets a verdict.
--
-- Every lease is looked up and locked before it is judged, as in `complete.sql`, which says more.
with judged as materialized (
    select r.place, r.actor_type, r.actor_id, l.*,
           case when l.task_id is null then 'absent'
                when r.attempt is null and l.fenced then 'attempt_missing'
                when r.attempt <> l.attempt then 'stale'
                when r.agent_id <> l.agent_id or (r.worker_id is not null and r.worker_id is distinct from l.worker_id) then 'not_holder'
                when l.state = 'in_progress' then 'replayed'
                else 'moved'
           end as verdict
    from (
        select r.*
        from unnest($2::uuid[], $3::int[], $4::uuid[], $5::uuid[], $6::text[], $7::uuid[])
             with ordinality as r (task_id, attempt, agent_id, worker_id, actor_type, actor_id, place)
        order by r.task_id
    ) r
    left join lateral (
        select l.task_id, l.attempt, l.task_seq, l.fenced, l.agent_id, l.worker_id, l.state, l.workflow_id
        from task_leases l
        where l.tenant_id = $1 and l.task_id = r.task_id
        limit 1
        for update
    ) l on true
),
begun as (
    update task_leases l
    set state = 'in_progress',
        state_changed_at = clock_timestamp(),
        started_at = clock_timestamp(),
        task_seq = l.task_seq + 1,
        expires_at = greatest(l.expires_at, clock_timestamp() + make_interval(secs => l.lease_seconds))
    where l.tenant_id = $1 and l.task_id = any(array(select task_id from judged where verdict = 'moved'))
),
told as (
    insert into events (tenant_id, event_type, entity_type, entity_id, actor_type, actor_id, task_seq, attempt, from_state, to_state, reason, fenced, workflow_id)
    select $1, 'task.state_changed', 'task', task_id, actor_type, actor_id, task_seq + 1, attempt, 'claimed', 'in_progress', 'start', fenced, workflow_id
    from judged
    where verdict = 'moved'
)
select place as "place!", verdict as "verdict!", attempt as "attempt?",
       case verdict when 'moved' then 'in_progress' else state end as "state?"
from judged
order by 1
