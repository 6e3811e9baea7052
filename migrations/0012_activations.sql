-- What wakes the orchestrators of runs.
--
-- An activation is one thing that an orchestrator should know of. It lies queued until a batch takes it in;
-- a batch is handed to the orchestrator as one task. A run has at most one batch that is not completed.
-- Whoever writes here has locked the row of the run, so that activations of a run have one order: `seq`.

create table activations (
    tenant_id     uuid        not null,
    id            uuid        not null,
    seq           bigint      generated always as identity,
    workflow_id   uuid        not null,
    request_id    text,
    event_type    text        not null,
    reason        text        not null,
    payload       json        not null,
    work_item_id  uuid,
    stage_name    text,
    -- When it wakes the orchestrator by itself. With something more urgent it goes along earlier.
    due_at        timestamptz not null,
    -- The batch that took it in: the id of the first activation of it.
    batch_id      uuid,
    -- Why it ended without an orchestrator having seen it.
    ignored       text,
    queued_at     timestamptz not null default clock_timestamp(),
    consumed_at   timestamptz,
    primary key (tenant_id, id),
    constraint activations_workflow_fkey foreign key (tenant_id, workflow_id) references workflows (tenant_id, id) on delete cascade
);
create index activations_of_workflow on activations (tenant_id, workflow_id, seq);
create index activations_queued on activations (tenant_id, workflow_id, seq) where batch_id is null and consumed_at is null;
create index activations_due on activations (due_at) where batch_id is null and consumed_at is null;
create index activations_batch on activations (tenant_id, batch_id, seq) where batch_id is not null;

create table activation_batches (
    tenant_id         uuid        not null,
    id                uuid        not null,
    workflow_id       uuid        not null,
    reason            text        not null check (reason in ('queued_events', 'heartbeat')),
    -- processing: its task is open. retrying: its task failed, and another one comes after a pause.
    -- stuck: it failed too often, and waits for a person.
    state             text        not null check (state in ('processing', 'retrying', 'stuck', 'completed')),
    -- How many tasks it has had, and how many of them failed since a person last stepped in.
    dispatch_attempt  integer     not null,
    failures          integer     not null default 0,
    dispatch_token    uuid        not null,
    task_id           uuid        not null,
    -- Whether an orchestrator has worked on it.
    was_taken         boolean     not null default false,
    -- When the loop looks at it: a pause is over, or it has taken long.
    look_at           timestamptz,
    stale_noticed_at  timestamptz,
    error             json,
    summary           text,
    started_at        timestamptz not null,
    finished_at       timestamptz,
    completed_at      timestamptz,
    primary key (tenant_id, id),
    constraint activation_batches_workflow_fkey foreign key (tenant_id, workflow_id) references workflows (tenant_id, id) on delete cascade
);
create unique index activation_batches_open on activation_batches (tenant_id, workflow_id) where state <> 'completed';
create index activation_batches_of_workflow on activation_batches (tenant_id, workflow_id, id);
create index activation_batches_look on activation_batches (look_at) where state <> 'completed' and look_at is not null;

-- An orchestrator's word that the run is over.
alter table workflows add column closed_at timestamptz;
-- What orchestrators keep from one activation to the next, and say at the end.
alter table workflows add column orchestration_state json not null default '{}';
alter table workflows add column completion_callouts json;

create index workflows_orchestrated on workflows (tenant_id, id) where kind = 'orchestrated' and state in ('pending', 'active');
