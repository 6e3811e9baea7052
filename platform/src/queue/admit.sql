-- Lets tasks that were held at a gate into the queue, at their old place if they had one.
with mine as materialized (
    select task_id from task_waiting
    where tenant_id = $1 and task_id = any($2) and held = 'limit_full' and blocked_count = 0
    order by task_id
    for update skip locked
),
gone as (
    delete from task_waiting w
    where w.tenant_id = $1 and w.task_id = any(array(select task_id from mine))
    returning w.*
),
queued as (
    insert into task_queue (
        tenant_id, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, seq,
        workspace_id, workflow_id, work_item_id, has_dependants, state_changed_at, progress
    )
    select $1, task_id, attempt, task_seq + 1, retry_count, abandon_count, rework_count, lane, priority,
           case when seq <> 0 then seq else nextval('task_queue_seq') end,
           workspace_id, workflow_id, work_item_id, has_dependants, clock_timestamp(), progress
    from (select * from gone order by priority, seq = 0, seq, task_id) g
),
told as (
    insert into events (tenant_id, event_type, entity_type, entity_id, actor_type, task_seq, attempt, from_state, to_state, reason, workflow_id)
    select $1, 'task.state_changed', 'task', task_id, 'system', task_seq + 1, attempt, 'pending', 'ready', 'become_ready', workflow_id
    from gone
    order by task_id
)
select lane as "lane!", seq <> 0 as "at_old_place!", count(*) as "tasks!"
from gone
group by lane, seq <> 0
