-- Takes a batch of reported outputs: from task_leases to task_results, or to task_parked when a person
-- must look at the output. Total: every report gets a verdict, and only `moved` has an effect.
--
-- $15 says whether this call may move tasks whose end concerns others (`has_dependants`): the caller
-- then carries out the consequences in the same transaction. Without it they are left where they are. Nobody
-- assesses the output of a task whose run was cancelled meanwhile: that task is cancelled with it.
--
-- Every lease is looked up by its key and locked, in the order of their ids, so that two batches do not wait
-- for each other in a circle; what was judged under the lock then holds. Nothing here joins one batch-sized
-- list with another one: such a list has no statistics, and a nested loop over two of 256 rows costs more
-- than all the rest.
-- The lease is taken out by its key, not by the place that was locked: a renewal that committed meanwhile has
-- moved the row, and the new place is not visible to this statement, so nothing would be taken out.
with judged as materialized (
    select r.place, r.output, r.metrics, r.git_info, r.verification, r.actor_type, r.actor_id, l.*,
           case when l.cancel_by is not null and r.to_state <> 'completed' then 'cancelled' else r.to_state end as to_state,
           case when l.task_id is null then 'absent'
                when r.attempt is null and l.fenced then 'attempt_missing'
                when r.attempt <> l.attempt then 'stale'
                when r.agent_id <> l.agent_id or (r.worker_id is not null and r.worker_id is distinct from l.worker_id) then 'not_holder'
                when not (l.state = any($14::text[])) then 'not_started'
                when l.has_output_schema and not r.checked then 'check_output'
                when l.has_dependants and not $15::bool then 'has_dependants'
                else 'moved'
           end as verdict
    from (
        select r.*
        from unnest($2::uuid[], $3::int[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::bool[], $12::text[], $13::uuid[])
             with ordinality as r (task_id, attempt, agent_id, worker_id, to_state, output, metrics, git_info, verification, checked, actor_type, actor_id, place)
        order by r.task_id
    ) r
    left join lateral (
        select l.* from task_leases l
        where l.tenant_id = $1 and l.task_id = r.task_id
        limit 1
        for update
    ) l on true
),
gone as (
    delete from task_leases l
    where l.tenant_id = $1 and l.task_id = any(array(select task_id from judged where verdict = 'moved'))
),
ended as (
    insert into task_results (
        tenant_id, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, seq,
        workspace_id, workflow_id, work_item_id, has_dependants, state_changed_at, progress, state, agent_id, worker_id,
        claimed_at, started_at, output, metrics, git_info, verification
    )
    select tenant_id, task_id, attempt, task_seq + 1, retry_count, abandon_count, rework_count, lane, priority, seq,
           workspace_id, workflow_id, work_item_id, has_dependants, clock_timestamp(), progress, to_state, agent_id, worker_id,
           claimed_at, started_at, output::json, metrics::json, git_info::json, verification::json
    from judged
    where verdict = 'moved' and to_state in ('completed', 'cancelled')
),
parked as (
    insert into task_parked (
        tenant_id, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, seq,
        workspace_id, workflow_id, work_item_id, has_dependants, state_changed_at, progress, state, agent_id, worker_id,
        claimed_at, started_at, output, metrics, git_info, verification
    )
    select tenant_id, task_id, attempt, task_seq + 1, retry_count, abandon_count, rework_count, lane, priority, seq,
           workspace_id, workflow_id, work_item_id, has_dependants, clock_timestamp(), progress, to_state, agent_id, worker_id,
           claimed_at, started_at, output::json, metrics::json, git_info::json, verification::json
    from judged
    where verdict = 'moved' and to_state not in ('completed', 'cancelled')
),
told as (
    insert into events (tenant_id, event_type, entity_type, entity_id, actor_type, actor_id, task_seq, attempt, from_state, to_state, reason, fenced, workflow_id)
    select $1, 'task.state_changed', 'task', task_id, actor_type, actor_id, task_seq + 1, attempt, state, to_state,
           case to_state when 'completed' then 'complete' when 'cancelled' then 'cancel' else 'hold_for_assessment' end, fenced, workflow_id
    from judged
    where verdict = 'moved'
)
select place as "place!", verdict as "verdict!", attempt as "attempt?", to_state as "to_state!",
       workflow_id as "workflow_id?", work_item_id as "work_item_id?"
from judged
order by 1
