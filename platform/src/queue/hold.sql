-- Holds what waits behind a gate that was paused: ready tasks leave the queue and keep their place, clocks
-- of delays stop. What someone else is moving right now is skipped: they ask the gate again afterwards.
with clock as materialized (
    select clock_timestamp() as now
),
q as materialized (
    select task_id from task_queue
    where tenant_id = $1 and (workflow_id = $2 or work_item_id = $2)
    order by task_id
    for update skip locked
),
w as materialized (
    select task_id from task_waiting
    where tenant_id = $1 and (workflow_id = $2 or work_item_id = $2)
      and (available_at is not null or held = 'limit_full')
    order by task_id
    for update skip locked
),
gone as (
    delete from task_queue t
    where t.tenant_id = $1 and t.task_id = any(array(select task_id from q))
    returning t.*
),
held as (
    insert into task_waiting (
        tenant_id, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, seq,
        workspace_id, workflow_id, work_item_id, has_dependants, state_changed_at, progress, blocked_count,
        on_dependency_failure, held
    )
    select tenant_id, task_id, attempt, task_seq + 1, retry_count, abandon_count, rework_count, lane, priority, seq,
           workspace_id, workflow_id, work_item_id, has_dependants, clock.now, progress, 0, 'fail', 'paused'
    from gone, clock
),
stopped as (
    update task_waiting t
    set held = 'paused',
        delay_left = case when t.available_at is not null then greatest(extract(epoch from t.available_at - clock.now), 0) end,
        available_at = null
    from clock
    where t.tenant_id = $1 and t.task_id = any(array(select task_id from w))
),
told as (
    insert into events (tenant_id, event_type, entity_type, entity_id, actor_type, task_seq, attempt, from_state, to_state, reason, workflow_id)
    select $1, 'task.state_changed', 'task', task_id, 'system', task_seq + 1, attempt, 'ready', 'pending', 'pause', workflow_id
    from gone
    order by task_id
)
select count(*) as "held!" from gone
