-- Messages: what is said to whoever holds a task.
--
-- A message is told with every heartbeat answer to the attempt that holds the task, until that attempt has
-- acknowledged it; a later attempt is told it again. `seq` orders the messages of a task: whoever sends one
-- has locked the row of the task.
create table task_messages (
    tenant_id             uuid        not null,
    id                    uuid        not null,
    seq                   bigint      generated always as identity,
    task_id               uuid        not null,
    workflow_id           uuid,
    urgency               text        not null constraint task_messages_urgency check (urgency in ('info', 'important', 'critical')),
    body                  text        not null,
    -- The orchestrator that said it, if one did.
    orchestrator_task_id  uuid,
    activation_id         uuid,
    sent_by_type          text        not null,
    sent_by               uuid        not null,
    sent_at               timestamptz not null default clock_timestamp(),
    -- The latest attempt that has acknowledged it.
    acknowledged_attempt  integer,
    acknowledged_at       timestamptz,
    primary key (tenant_id, id),
    constraint task_messages_task_fkey foreign key (tenant_id, task_id) references tasks (tenant_id, id) on delete cascade
);
create unique index task_messages_of_task on task_messages (tenant_id, task_id, seq);

-- Interventions: what operators have done about a run, or want to be done.
create table workflow_interventions (
    tenant_id          uuid        not null,
    id                 uuid        not null,
    workflow_id        uuid        not null,
    work_item_id       uuid,
    task_id            uuid,
    request_id         text,
    kind               text        not null,
    origin             text        not null,
    status             text        not null,
    summary            text        not null,
    note               text,
    structured_action  json        not null,
    metadata           json        not null,
    snapshot_version   text,
    settings_revision  integer,
    -- What woke the orchestrator with it; nothing where there was nobody to wake.
    activation_id      uuid,
    created_by_type    text        not null,
    created_by         uuid        not null,
    created_at         timestamptz not null default clock_timestamp(),
    primary key (tenant_id, id),
    constraint workflow_interventions_workflow_fkey foreign key (tenant_id, workflow_id) references workflows (tenant_id, id) on delete cascade
);
create index workflow_interventions_of_workflow on workflow_interventions (tenant_id, workflow_id, id);

-- Input packets: what a run is given to work with, at its launch and later.
create table workflow_input_packets (
    tenant_id          uuid        not null,
    id                 uuid        not null,
    workflow_id        uuid        not null,
    work_item_id       uuid,
    request_id         text,
    packet_kind        text        not null,
    source             text        not null,
    summary            text,
    structured_inputs  json        not null,
    metadata           json        not null,
    activation_id      uuid,
    created_by_type    text        not null,
    created_by         uuid        not null,
    created_at         timestamptz not null default clock_timestamp(),
    primary key (tenant_id, id),
    constraint workflow_input_packets_workflow_fkey foreign key (tenant_id, workflow_id) references workflows (tenant_id, id) on delete cascade
);
create index workflow_input_packets_of_workflow on workflow_input_packets (tenant_id, workflow_id, id);

-- The packets that an operator's words refer to.
alter table steering_messages add column linked_input_packet_ids uuid[] not null default '{}';
