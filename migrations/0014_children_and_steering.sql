-- Child workflows: runs that other runs have launched.
--
-- The end of a child is told to its parent as an activation, which needs no lock on the parent: whoever
-- locks a parent and its children locks the parent first.

alter table workflows add column parent_workflow_id uuid;
create index workflows_parent on workflows (tenant_id, parent_workflow_id, id) where parent_workflow_id is not null;
create index workflows_open_children on workflows (tenant_id, parent_workflow_id)
    where parent_workflow_id is not null and state not in ('completed', 'failed', 'cancelled');

-- Steering: what operators tell the orchestrator of a run, in conversations.
create table steering_sessions (
    tenant_id    uuid        not null,
    id           uuid        not null,
    workflow_id  uuid        not null,
    title        text        not null,
    created_at   timestamptz not null default clock_timestamp(),
    updated_at   timestamptz not null default clock_timestamp(),
    primary key (tenant_id, id),
    constraint steering_sessions_workflow_fkey foreign key (tenant_id, workflow_id) references workflows (tenant_id, id) on delete cascade
);
create index steering_sessions_of_workflow on steering_sessions (tenant_id, workflow_id, id);

create table steering_messages (
    tenant_id              uuid        not null,
    id                     uuid        not null,
    session_id             uuid        not null,
    body                   text        not null,
    work_item_id           uuid,
    task_id                uuid,
    base_snapshot_version  text,
    activation_id          uuid        not null,
    created_by_type        text        not null,
    created_by             uuid        not null,
    created_at             timestamptz not null default clock_timestamp(),
    primary key (tenant_id, id),
    constraint steering_messages_session_fkey foreign key (tenant_id, session_id) references steering_sessions (tenant_id, id) on delete cascade
);
create index steering_messages_of_session on steering_messages (tenant_id, session_id, id);
