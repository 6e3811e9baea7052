-- What a run lets through to its workers, and what waits for a person.
--
-- A gate belongs to a workflow, or to one of its work items, and is made with it. It is open, paused or
-- cancelled, and may have limits. Whoever makes a task ready asks the gates of its run (task_gate); a task
-- that may not pass lies in task_waiting, with the reason in `held`. Tasks without a workflow have no gate.
create table task_gates (
    tenant_id         uuid        not null,
    id                uuid        not null,
    workflow_id       uuid        not null,
    state             text        not null,
    state_changed_at  timestamptz not null,
    -- How many tasks may be ready or held at once: behind this gate, and behind that of each work item.
    active_max        integer,
    item_active_max   integer,
    -- How many work items may have such tasks at once.
    items_max         integer,
    primary key (tenant_id, id),
    constraint task_gates_state check (state in ('open', 'paused', 'cancelled')),
    constraint task_gates_limits check (active_max > 0 and item_active_max > 0 and items_max > 0)
);
create index task_gates_workflow on task_gates (tenant_id, workflow_id);
create index task_gates_closed on task_gates (state_changed_at) where state <> 'open';

-- Why a task may not become ready: `paused` (or cancelled, which ends it at once), `limit_full` when its run
-- has limits, which are then counted under a lock; null when nothing stands in its way.
create function task_gate(tenant uuid, workflow uuid, work_item uuid, lane text) returns text
    language sql stable
as $$
    select case when bool_or(g.state <> 'open') then 'paused'
                when lane <> 'orchestrator' and lane not like 'orchestrator@%'
                 and bool_or(g.active_max is not null or g.item_active_max is not null or g.items_max is not null)
                then 'limit_full'
           end
    from task_gates g
    where g.tenant_id = tenant and g.id in (workflow, work_item)
$$;

alter table task_waiting add column work_item_id uuid;
alter table task_queue   add column work_item_id uuid;
alter table task_leases  add column work_item_id uuid;
alter table task_parked  add column work_item_id uuid;
alter table task_results add column work_item_id uuid;

-- What keeps a task at the gate, and how much of a delay was left when the clock was stopped.
alter table task_waiting add column held text constraint task_waiting_held check (held in ('paused', 'limit_full'));
alter table task_waiting add column delay_left double precision;

-- Until when the holder of a task whose run was cancelled may still report its end.
alter table task_leases add column cancel_by timestamptz;

create index task_waiting_item on task_waiting (tenant_id, work_item_id) where work_item_id is not null;
create index task_queue_item   on task_queue   (tenant_id, work_item_id) where work_item_id is not null;
create index task_leases_item  on task_leases  (tenant_id, work_item_id) where work_item_id is not null;
create index task_parked_item  on task_parked  (tenant_id, work_item_id) where work_item_id is not null;
-- The order in which tasks pass a full gate: of a run, and of a work item.
create index task_waiting_gate on task_waiting (tenant_id, workflow_id, priority, (seq = 0), seq, task_id) where held = 'limit_full';
create index task_waiting_item_gate on task_waiting (tenant_id, workflow_id, work_item_id, priority, (seq = 0), seq, task_id) where held = 'limit_full';

-- People: which tasks they must let run, how often they may send one back, what they are asked.
alter table tasks add column requires_approval boolean not null default false;
alter table tasks add column max_reworks integer not null default 10 constraint tasks_max_reworks check (max_reworks between 0 and 100);
alter table task_waiting add column needs_approval boolean not null default false;
alter table task_parked add column question json;

create or replace view task_records as
    select t.tenant_id, t.id, t.workflow_id, t.work_item_id, t.workspace_id, t.activation_id, t.parent_id, t.title,
           t.description, t.task_type, t.task_kind, t.role, t.stage_name, t.priority, p.state, p.state_changed_at,
           p.attempt, p.retry_count, p.abandon_count, p.rework_count, p.agent_id, p.worker_id, p.claimed_at,
           p.started_at, p.expires_at, p.progress::text as progress, p.available_at, t.depends_on, p.blocked_count,
           t.on_dependency_failure, t.input::text as input, t.context::text as context, p.output::text as output,
           p.error::text as error, p.metrics::text as metrics, p.git_info::text as git_info,
           p.verification::text as verification, t.role_config::text as role_config,
           t.environment::text as environment, t.metadata::text as metadata, t.retry_policy::text as retry_policy,
           t.settings::text as settings, t.request_id, t.is_orchestrator_task, t.timeout_minutes, t.max_abandons,
           t.preferred_agent_id, t.preferred_worker_id, t.created_at, t.updated_at, t.requires_approval, t.max_reworks,
           (select k.question::text from task_parked k where k.tenant_id = t.tenant_id and k.task_id = t.id) as question
    from tasks t
    join task_positions p on p.tenant_id = t.tenant_id and p.task_id = t.id;
