-- Multiplies one ready task, which was created through the API, into a backlog: the same rows in the same
-- drawers, with ids in the order of time as the platform makes them, roles in turn, and priorities mixed within
-- each role: 5 % critical, 10 % high, 10 % low.
-- $1, $2: numbers of the first and the last copy; $3: the task; $4: how many roles.
with made as (
    insert into tasks (
        tenant_id, id, request_holder, title, description, task_type, task_kind, role, stage_name, priority,
        is_orchestrator_task, timeout_minutes, max_abandons, on_dependency_failure, depends_on, has_output_schema,
        retry_policy, settings, input, context, role_config, environment, resource_bindings, metadata,
        created_at, updated_at
    )
    select t.tenant_id,
           (lpad(to_hex(extract(epoch from t.created_at)::bigint * 1000 + n / 16), 12, '0')
            || '7' || lpad(to_hex(n % 4096), 3, '0')
            || '8' || substr(md5(n::text), 1, 15))::uuid,
           t.request_holder, 'bench ' || lpad(n::text, 12, '0'), t.description, t.task_type, t.task_kind,
           'r' || n % $4, t.stage_name,
           case when n / $4 % 20 = 0 then 0 when n / $4 % 20 in (1, 2) then 1 when n / $4 % 20 in (3, 4) then 3 else 2 end,
           t.is_orchestrator_task, t.timeout_minutes, t.max_abandons, t.on_dependency_failure, t.depends_on,
           t.has_output_schema, t.retry_policy, t.settings, t.input, t.context, t.role_config, t.environment,
           t.resource_bindings, t.metadata, t.created_at, t.updated_at
    from tasks t
    cross join generate_series($1::bigint, $2::bigint) as n
    where t.id = $3
    returning tenant_id, id, role, priority
),
queued as (
    insert into task_queue (
        tenant_id, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, seq,
        has_dependants, state_changed_at
    )
    select m.tenant_id, m.id, q.attempt, q.task_seq, q.retry_count, q.abandon_count, q.rework_count,
           'role:' || m.role, m.priority, nextval('task_queue_seq'), q.has_dependants, q.state_changed_at
    from made m
    join task_queue q on q.tenant_id = m.tenant_id and q.task_id = $3
)
insert into events (
    tenant_id, event_type, entity_type, entity_id, actor_type, actor_id, task_seq, attempt, to_state, reason
)
select m.tenant_id, e.event_type, e.entity_type, m.id, e.actor_type, e.actor_id, e.task_seq, e.attempt, e.to_state, e.reason
from made m
join events e on e.tenant_id = m.tenant_id and e.entity_id = $3
