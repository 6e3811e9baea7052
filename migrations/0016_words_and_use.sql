-- What agents tell people (briefs, updates) and each other (handoffs), and what work has used.
--
-- Nobody is held up by any of it: no claim and no report reads or writes these tables.

-- Briefs: what came of a piece of work, for people. Whoever writes one has locked the row of the run, so that
-- the sequence of a run has no gaps. Of each run the last ones are kept.
create table operator_briefs (
    tenant_id                    uuid        not null,
    id                           uuid        not null,
    workflow_id                  uuid        not null,
    sequence_number              bigint      not null,
    request_id                   text,
    -- What the author worked on: a task, or the activation of an orchestrator.
    execution_context_id         uuid        not null,
    task_id                      uuid        not null,
    work_item_id                 uuid,
    brief_kind                   text        not null,
    brief_scope                  text        not null constraint operator_briefs_scope
                                             check (brief_scope in ('deliverable_context', 'work_item_handoff', 'workflow_timeline')),
    source_kind                  text        not null constraint operator_briefs_source
                                             check (source_kind in ('orchestrator', 'specialist')),
    source_role_name             text,
    status_kind                  text        not null,
    payload                      json        not null,
    related_artifact_ids         uuid[]      not null,
    related_intervention_ids     uuid[]      not null,
    canonical_workflow_brief_id  uuid,
    llm_turn_count               integer,
    created_by_type              text        not null,
    created_by                   uuid        not null,
    created_at                   timestamptz not null default clock_timestamp(),
    primary key (tenant_id, id),
    constraint operator_briefs_workflow_fkey foreign key (tenant_id, workflow_id) references workflows (tenant_id, id) on delete cascade
);
create unique index operator_briefs_sequence on operator_briefs (tenant_id, workflow_id, sequence_number);
create unique index operator_briefs_request on operator_briefs (tenant_id, workflow_id, created_by, request_id) where request_id is not null;

-- Updates: what an agent is doing, for people who look on.
create table operator_updates (
    tenant_id             uuid        not null,
    id                    uuid        not null,
    workflow_id           uuid        not null,
    sequence_number       bigint      not null,
    request_id            text,
    execution_context_id  uuid        not null,
    task_id               uuid        not null,
    work_item_id          uuid,
    update_kind           text        not null,
    source_kind           text        not null constraint operator_updates_source
                                      check (source_kind in ('orchestrator', 'specialist')),
    source_role_name      text,
    visibility_mode       text        not null constraint operator_updates_visibility
                                      check (visibility_mode in ('standard', 'enhanced')),
    headline              text        not null,
    summary               text,
    linked_target_ids     text[]      not null,
    promoted_brief_id     uuid,
    llm_turn_count        integer,
    created_by_type       text        not null,
    created_by            uuid        not null,
    created_at            timestamptz not null default clock_timestamp(),
    primary key (tenant_id, id),
    constraint operator_updates_workflow_fkey foreign key (tenant_id, workflow_id) references workflows (tenant_id, id) on delete cascade
);
create unique index operator_updates_sequence on operator_updates (tenant_id, workflow_id, sequence_number);
create unique index operator_updates_request on operator_updates (tenant_id, workflow_id, created_by, request_id) where request_id is not null;

-- Handoffs: what a holder leaves to whoever goes on. A task has one for each time it was sent back; while the task
-- is held its holder may write it anew.
create table task_handoffs (
    tenant_id          uuid        not null,
    id                 uuid        not null,
    workflow_id        uuid,
    work_item_id       uuid,
    task_id            uuid        not null,
    attempt            integer     not null,
    rework_count       integer     not null,
    -- How often it was written.
    revision           integer     not null,
    role               text,
    stage_name         text,
    completion_state   text        not null constraint task_handoffs_completion check (completion_state in ('full', 'blocked')),
    resolution         text        constraint task_handoffs_resolution
                                   check (resolution in ('approved', 'request_changes', 'rejected', 'blocked')),
    content            json        not null,
    created_by_type    text        not null,
    created_by         uuid        not null,
    created_at         timestamptz not null default clock_timestamp(),
    updated_at         timestamptz not null default clock_timestamp(),
    primary key (tenant_id, id),
    constraint task_handoffs_task_fkey foreign key (tenant_id, task_id) references tasks (tenant_id, id) on delete cascade
);
create unique index task_handoffs_of_task on task_handoffs (tenant_id, task_id, rework_count);
create index task_handoffs_of_item on task_handoffs (tenant_id, work_item_id, updated_at) where work_item_id is not null;

-- What an orchestrator noted last about how a work item goes on.
alter table work_items add column continuity json;

-- What work has used, as its holders report it.
create table metering_events (
    tenant_id          uuid        not null,
    id                 uuid        not null,
    task_id            uuid        not null,
    workflow_id        uuid,
    worker_id          uuid,
    agent_id           uuid,
    tokens_input       bigint      not null,
    tokens_output      bigint      not null,
    cost_usd           float8      not null,
    wall_time_ms       bigint      not null,
    cpu_ms             bigint,
    memory_peak_bytes  bigint,
    network_bytes      bigint,
    created_at         timestamptz not null default clock_timestamp(),
    primary key (tenant_id, id),
    constraint metering_events_task_fkey foreign key (tenant_id, task_id) references tasks (tenant_id, id) on delete cascade
);
create index metering_events_of_workflow on metering_events (tenant_id, workflow_id) where workflow_id is not null;
create index metering_events_of_task on metering_events (tenant_id, task_id, id);
create index metering_events_of_worker on metering_events (tenant_id, worker_id, id) where worker_id is not null;

-- The sum of a run, kept so that its budget is known without adding up. Whoever writes here has locked the run.
create table metering_totals (
    tenant_id    uuid    not null,
    workflow_id  uuid    not null,
    tokens       bigint  not null,
    cost_usd     float8  not null,
    primary key (tenant_id, workflow_id),
    constraint metering_totals_workflow_fkey foreign key (tenant_id, workflow_id) references workflows (tenant_id, id) on delete cascade
);
