-- Runs of playbooks: the run itself, its stages, and the steps of a graph with their members.
--
-- A run is frozen to one version of its playbook. What a run of a graph has still to do stands in
-- workflow_steps: how many of the steps that a step needs have not ended (`unmet`), and, for a step that
-- makes tasks, how far it has come. Whether anything of a run is open, failed or startable is asked of
-- partial indexes, so that the end of one task costs the same in a run of ten and of ten thousand.
--
-- Whoever changes a run locks its row here first, then its tasks, then its steps.

create table workflows (
    tenant_id                     uuid        not null references tenants (id),
    id                            uuid        not null,
    workspace_id                  uuid        not null,
    playbook_id                   uuid        not null,
    playbook_version              integer     not null,
    kind                          text        not null check (kind in ('graph', 'orchestrated')),
    lifecycle                     text        not null check (lifecycle in ('planned', 'ongoing')),
    name                          text        not null,
    request_id                    text,
    state                         text        not null check (state in ('pending', 'active', 'paused', 'completed', 'failed', 'cancelled')),
    pause_requested_at            timestamptz,
    cancel_requested_at           timestamptz,
    -- Parameters as they were given, and as templates see them: with their defaults.
    parameters                    json        not null,
    input                         json        not null,
    context                       json        not null,
    metadata                      json        not null,
    config_overrides              json        not null,
    instruction_config            json        not null,
    -- What a task may take unless its step says so: the platform's setting at the time of the launch.
    task_timeout_minutes          integer     not null,
    token_budget                  bigint,
    cost_cap_usd                  float8,
    max_duration_minutes          integer,
    live_visibility_mode          text        check (live_visibility_mode in ('standard', 'enhanced')),
    settings_revision             integer     not null default 0,
    settings_updated_by           uuid,
    settings_updated_at           timestamptz,
    root_workflow_id              uuid        not null,
    previous_attempt_workflow_id  uuid,
    attempt_number                integer     not null,
    redrive_reason                text,
    output                        json,
    error                         json,
    started_at                    timestamptz,
    completed_at                  timestamptz,
    created_at                    timestamptz not null default clock_timestamp(),
    updated_at                    timestamptz not null default clock_timestamp(),
    primary key (tenant_id, id)
);
create index workflows_workspace on workflows (tenant_id, workspace_id, id);
create index workflows_playbook on workflows (tenant_id, playbook_id, id);
create index workflows_root on workflows (tenant_id, root_workflow_id, attempt_number);
create index workflows_ended on workflows (tenant_id, completed_at) where completed_at is not null;

create table workflow_stages (
    tenant_id        uuid        not null,
    workflow_id      uuid        not null,
    name             text        not null,
    id               uuid        not null,
    position         integer     not null,
    goal             text        not null,
    guidance         text,
    iteration_count  integer     not null default 0,
    summary          text,
    started_at       timestamptz,
    completed_at     timestamptz,
    primary key (tenant_id, workflow_id, name),
    constraint workflow_stages_workflow_fkey foreign key (tenant_id, workflow_id) references workflows (tenant_id, id) on delete cascade
);

create table workflow_steps (
    tenant_id       uuid        not null,
    workflow_id     uuid        not null,
    step_id         text        not null,
    position        integer     not null,
    kind            text        not null,
    stage_name      text,
    state           text        not null check (state in ('pending', 'running', 'waiting', 'completed', 'failed', 'skipped', 'cancelled')),
    -- How many of the steps that it needs have not ended, and how many have ended without being skipped.
    unmet           integer     not null check (unmet >= 0),
    lived           integer     not null default 0,
    -- Whether those that need it have been told of its end: they are told once.
    is_released     boolean     not null default false,
    -- Whether its failure leaves the run to go on.
    is_forgiven     boolean     not null,
    -- Of a step that makes tasks: how many members it has and how many of them may be open at once; how
    -- many have been made, are open, have completed, have ended otherwise.
    members         integer     not null default 0,
    max_parallel    integer     not null default 1,
    made            integer     not null default 0,
    open            integer     not null default 0 check (open >= 0),
    done            integer     not null default 0,
    lost            integer     not null default 0,
    work_item_id    uuid,
    -- Of a step that waits for a person: what it asks, when it gives up, and what was left of its time
    -- when the run was paused.
    question        json,
    expires_at      timestamptz,
    seconds_left    float8,
    output          json,
    error           json,
    started_at      timestamptz,
    completed_at    timestamptz,
    primary key (tenant_id, workflow_id, step_id),
    constraint workflow_steps_workflow_fkey foreign key (tenant_id, workflow_id) references workflows (tenant_id, id) on delete cascade
) with (fillfactor = 80);
create index workflow_steps_startable on workflow_steps (tenant_id, workflow_id, step_id) where state = 'pending' and unmet = 0;
create index workflow_steps_open on workflow_steps (tenant_id, workflow_id, step_id) where state in ('running', 'waiting');
create index workflow_steps_failed on workflow_steps (tenant_id, workflow_id, step_id) where state in ('failed', 'cancelled') and not is_forgiven;
create index workflow_steps_stage on workflow_steps (tenant_id, workflow_id, stage_name) where stage_name is not null and state in ('pending', 'running', 'waiting', 'failed');
create index workflow_steps_asking on workflow_steps (tenant_id, workflow_id, step_id) where state = 'waiting';
create index workflow_steps_expiry on workflow_steps (expires_at) where expires_at is not null and state = 'waiting';
create index workflow_steps_work_item on workflow_steps (tenant_id, work_item_id) where work_item_id is not null;

-- The members of a step that makes tasks: one for a task, one for each item of a list.
create table workflow_step_members (
    tenant_id    uuid    not null,
    workflow_id  uuid    not null,
    step_id      text    not null,
    position     integer not null,
    item         json,
    task_id      uuid,
    state        text    not null check (state in ('pending', 'open', 'completed', 'failed', 'cancelled')),
    -- Why it has no task, where it failed before it had one.
    error        json,
    primary key (tenant_id, workflow_id, step_id, position),
    constraint workflow_step_members_step_fkey foreign key (tenant_id, workflow_id, step_id)
        references workflow_steps (tenant_id, workflow_id, step_id) on delete cascade
) with (fillfactor = 80);
create unique index workflow_step_members_task on workflow_step_members (tenant_id, task_id) where task_id is not null;

-- The tasks of a run, in whichever drawer. Tasks outside of runs are in none of these indexes.
create index tasks_workflow on tasks (tenant_id, workflow_id, id) where workflow_id is not null;
create index task_waiting_workflow on task_waiting (tenant_id, workflow_id, task_id) where workflow_id is not null;
create index task_queue_workflow on task_queue (tenant_id, workflow_id, task_id) where workflow_id is not null;
create index task_leases_workflow on task_leases (tenant_id, workflow_id, task_id) where workflow_id is not null;
create index task_parked_workflow on task_parked (tenant_id, workflow_id, task_id) where workflow_id is not null;
create index task_results_workflow on task_results (tenant_id, workflow_id, state) where workflow_id is not null;

-- What has happened in a run: to itself, its work items and its tasks.
alter table events add column workflow_id uuid;
create index events_workflow on events (tenant_id, workflow_id, xid, id) where workflow_id is not null;
