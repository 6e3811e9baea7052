-- Creates tasks and lays each into its first drawer: task_waiting when it is blocked, not yet due, or kept
-- at the gate of its run, else task_queue. A request id that was used before makes no task; the caller then
-- answers with the task that was made first. The end of a task of a run concerns others from the beginning:
-- its run.
with clock as materialized (
    select clock_timestamp() as now
),
wanted as materialized (
    select w.*, cardinality(w.waits_for::uuid[]) as blocked_count,
           case when w.workflow_id is not null then task_gate($1, w.workflow_id, w.work_item_id, w.lane) end as gate,
           w.waits_for <> '{}' as is_blocked,
           coalesce(w.available_at > clock.now, false) as is_delayed
    from unnest(
             $2::uuid[], $3::uuid[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[],
             $11::text[], $12::smallint[], $13::uuid[], $14::uuid[], $15::uuid[], $16::uuid[], $17::bool[], $18::int[],
             $19::int[], $20::text[], $21::text[], $22::bool[], $23::text[], $24::text[], $25::text[], $26::text[],
             $27::text[], $28::text[], $29::text[], $30::text[], $31::text[], $32::text[], $33::timestamptz[], $34::text[], $35::uuid[],
             $36::uuid[], $37::uuid[], $38::int[], $39::bool[]
         ) with ordinality as w (
             id, request_holder, request_id, fingerprint, title, description, task_type, task_kind, role,
             stage_name, priority, workspace_id, parent_id, preferred_agent_id, preferred_worker_id, is_orchestrator_task, timeout_minutes,
             max_abandons, on_dependency_failure, depends_on, has_output_schema, retry_policy, settings, input, context,
             role_config, environment, resource_bindings, metadata, lane, waits_for, available_at, actor_type, actor_id,
             workflow_id, work_item_id, max_reworks, requires_approval, place
         )
    cross join clock
),
made as (
    insert into tasks (
        tenant_id, id, request_holder, request_id, fingerprint, title, description, task_type, task_kind, role,
        stage_name, priority, workspace_id, parent_id, preferred_agent_id, preferred_worker_id, is_orchestrator_task,
        timeout_minutes, max_abandons, on_dependency_failure, depends_on, has_output_schema, retry_policy, settings,
        input, context, role_config, environment, resource_bindings, metadata, workflow_id, work_item_id, max_reworks,
        requires_approval, created_at, updated_at
    )
    select $1, id, request_holder, request_id, fingerprint, title, description, task_type, task_kind, role,
           stage_name, priority, workspace_id, parent_id, preferred_agent_id, preferred_worker_id, is_orchestrator_task,
           timeout_minutes, max_abandons, on_dependency_failure, depends_on::uuid[], has_output_schema, retry_policy::json, settings::json,
           input::json, context::json, role_config::json, environment::json, resource_bindings::json, metadata::json, workflow_id, work_item_id, max_reworks,
           requires_approval, clock.now, clock.now
    from wanted, clock
    order by place
    on conflict (tenant_id, request_holder, request_id) where request_id is not null do nothing
    returning id
),
born as materialized (
    select w.*, w.is_blocked or w.is_delayed or w.requires_approval or w.gate is not null as must_wait,
           w.gate = 'paused' and (w.is_delayed or not w.is_blocked) and (w.is_delayed or not w.requires_approval) as is_stopped
    from wanted w
    join made m on m.id = w.id
),
waiting as (
    insert into task_waiting (
        tenant_id, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, seq,
        workspace_id, workflow_id, work_item_id, has_dependants, state_changed_at, blocked_count, on_dependency_failure,
        available_at, delay_left, held, needs_approval
    )
    select $1, id, 0, 1, 0, 0, 0, lane, priority, 0, workspace_id, workflow_id, work_item_id, workflow_id is not null, clock.now, blocked_count, on_dependency_failure,
           case when is_stopped is not true then available_at end,
           case when is_stopped and is_delayed then extract(epoch from available_at - clock.now) end,
           case when is_stopped then 'paused'
                when gate = 'limit_full' and not is_blocked and not is_delayed and not requires_approval then 'limit_full'
           end,
           requires_approval
    from born, clock
    where must_wait
),
queued as (
    insert into task_queue (
        tenant_id, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, seq,
        workspace_id, workflow_id, work_item_id, has_dependants, state_changed_at
    )
    select $1, b.id, 0, 1, 0, 0, 0, b.lane, b.priority, nextval('task_queue_seq'), b.workspace_id, b.workflow_id, b.work_item_id, b.workflow_id is not null, clock.now
    from (select * from born where not must_wait order by place) b, clock
),
-- Only what it still waits for: `unblock.sql` takes out what has been counted off.
needs as (
    insert into task_dependencies (tenant_id, needs_id, task_id)
    select distinct $1::uuid, n.needs_id, b.id
    from born b
    cross join lateral unnest(b.waits_for::uuid[]) as n (needs_id)
),
told as (
    insert into events (tenant_id, event_type, entity_type, entity_id, actor_type, actor_id, task_seq, attempt, to_state, reason, workflow_id)
    select $1, 'task.created', 'task', id, actor_type, actor_id, 1, 0, case when must_wait then 'pending' else 'ready' end, 'create', workflow_id
    from born
    order by place
)
select w.place as "place!", b.id is not null as "is_made!", clock.now as "made_at!",
       not (w.is_blocked or w.is_delayed or w.requires_approval or w.gate is not null) as "is_ready!",
       w.requires_approval and not w.is_blocked and not w.is_delayed as "is_asked!",
       w.gate is not null as "is_held!"
from wanted w
cross join clock
left join born b on b.id = w.id
order by w.place
