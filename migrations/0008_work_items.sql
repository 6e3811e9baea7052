-- Work items: what a run is about, on its board. A step of a graph makes one; people make others.
--
-- There is no column for a state: an item is completed when `completed_at` says so, paused or called off
-- when a request stands, blocked when `blocked_state` says so. How its tasks do is read from them.

create table work_items (
    tenant_id              uuid        not null,
    id                     uuid        not null,
    workflow_id            uuid        not null,
    parent_work_item_id    uuid,
    request_id             text,
    -- The step of a graph that made it.
    step_id                text,
    branch_key             text,
    stage_name             text,
    title                  text        not null,
    goal                   text,
    acceptance_criteria    text,
    column_id              text        not null,
    owner_role             text,
    next_expected_actor    text,
    next_expected_action   text,
    blocked_state          text        check (blocked_state in ('blocked')),
    blocked_reason         text,
    rework_count           integer     not null default 0,
    priority               smallint    not null check (priority between 0 and 3),
    notes                  text,
    created_by             text        not null check (created_by in ('orchestrator', 'api', 'webhook', 'manual', 'graph')),
    metadata               json        not null,
    pause_requested_at     timestamptz,
    cancel_requested_at    timestamptz,
    completed_at           timestamptz,
    created_at             timestamptz not null default clock_timestamp(),
    updated_at             timestamptz not null default clock_timestamp(),
    primary key (tenant_id, id),
    constraint work_items_workflow_fkey foreign key (tenant_id, workflow_id) references workflows (tenant_id, id) on delete cascade
) with (fillfactor = 80);
create index work_items_workflow on work_items (tenant_id, workflow_id, id);
create index work_items_open on work_items (tenant_id, workflow_id, stage_name) where completed_at is null and cancel_requested_at is null;
create index work_items_parent on work_items (tenant_id, parent_work_item_id) where parent_work_item_id is not null;

create index tasks_work_item on tasks (tenant_id, work_item_id, id) where work_item_id is not null;
