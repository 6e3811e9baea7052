-- Ends the hold of tasks behind a gate that was paused and is open again, unless another gate of theirs is
-- not: delays go on with what was left of them, all others wait to be let in.
with mine as materialized (
    select task_id from task_waiting
    where tenant_id = $1 and (workflow_id = $2 or work_item_id = $2) and held = 'paused'
      and task_gate($1, workflow_id, work_item_id, lane) is distinct from 'paused'
    order by task_id
    for update skip locked
)
update task_waiting w
set held = case when w.delay_left is null and w.blocked_count = 0 then 'limit_full' end,
    available_at = clock_timestamp() + make_interval(secs => w.delay_left),
    delay_left = null
where w.tenant_id = $1 and w.task_id = any(array(select task_id from mine))
