-- Tasks have ended as their dependants need: counts them off, and queues whoever waits for nothing else.
--
-- The rows of the dependants are locked in the order of their ids, so that two ends of one fan-in add
-- up. $3 restricts to dependants with one of these policies (null: all). What has been counted off is
-- taken out: a task may end twice, when it is retried or cancelled after its end.
with settled as (
    delete from task_dependencies d
    using task_waiting w
    where d.tenant_id = $1 and d.needs_id = any($2)
      and w.tenant_id = $1 and w.task_id = d.task_id and w.blocked_count > 0
      and ($3::text[] is null or w.on_dependency_failure = any($3))
    returning d.task_id
),
fulfilled as materialized (
    select task_id, count(*)::int as count
    from settled
    group by task_id
),
held_back as materialized (
    select w.*, f.count
    from task_waiting w
    join fulfilled f on f.task_id = w.task_id
    where w.tenant_id = $1 and w.blocked_count > 0
      and ($3::text[] is null or w.on_dependency_failure = any($3))
    order by w.task_id
    for update of w
),
judged as materialized (
    select h.*,
           greatest(h.blocked_count - h.count, 0) as still_blocked,
           g.gate,
           h.blocked_count - h.count <= 0 and coalesce(h.available_at <= clock_timestamp(), h.delay_left is null)
               and not h.needs_approval as may_run,
           -- The loop release_due asks the person.
           h.blocked_count - h.count <= 0 and h.needs_approval and h.available_at is null and h.delay_left is null as is_asked
    from held_back h
    cross join lateral (
        select case when h.workflow_id is not null then task_gate($1, h.workflow_id, h.work_item_id, h.lane) end as gate
    ) g
),
counted as (
    update task_waiting w
    set blocked_count = j.still_blocked,
        held = case when j.may_run then j.gate else w.held end,
        available_at = case when j.may_run then null when j.is_asked then clock_timestamp() else w.available_at end
    from judged j
    where w.tenant_id = $1 and w.task_id = j.task_id and not (j.may_run and j.gate is null)
),
gone as (
    delete from task_waiting w
    using judged j
    where w.tenant_id = $1 and w.task_id = j.task_id and j.may_run and j.gate is null
    returning j.*
),
queued as (
    insert into task_queue (
        tenant_id, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, seq,
        workspace_id, workflow_id, work_item_id, has_dependants, state_changed_at, progress
    )
    select $1, task_id, attempt, task_seq + 1, retry_count, abandon_count, rework_count, lane, priority, nextval('task_queue_seq'),
           workspace_id, workflow_id, work_item_id, has_dependants, clock_timestamp(), progress
    from (select * from gone order by task_id) g
),
told as (
    insert into events (tenant_id, event_type, entity_type, entity_id, actor_type, task_seq, attempt, from_state, to_state, reason, workflow_id)
    select $1, 'task.state_changed', 'task', task_id, 'system', task_seq + 1, attempt, 'pending', 'ready', 'become_ready', workflow_id
    from gone
    order by task_id
)
select lane as "lane!", workflow_id, work_item_id, gate is not null as "is_held!", count(*) as "tasks!"
from judged
where may_run
group by lane, workflow_id, work_item_id, gate is not null
