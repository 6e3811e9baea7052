-- Stage gates: a person looks at a stage before the run goes on.
--
-- A gate is one request. The newest of a stage that was not superseded is the one that counts; the run is
-- locked by whoever makes, supersedes or decides one.

create table stage_gates (
    tenant_id             uuid        not null,
    id                    uuid        not null,
    workflow_id           uuid        not null,
    stage_name            text        not null,
    status                text        not null constraint stage_gates_status
                                      check (status in ('awaiting_approval', 'approved', 'rejected', 'changes_requested', 'blocked')),
    request_summary       text        not null,
    recommendation        text,
    concerns              text[]      not null,
    key_artifacts         json        not null,
    requested_by_type     text        not null,
    requested_by          uuid,
    requested_by_task_id  uuid,
    requested_at          timestamptz not null default clock_timestamp(),
    decision              text,
    decision_feedback     text,
    decided_by_type       text,
    decided_by            uuid,
    decided_at            timestamptz,
    superseded_by         uuid,
    superseded_at         timestamptz,
    history               json        not null,
    primary key (tenant_id, id),
    constraint stage_gates_stage_fkey foreign key (tenant_id, workflow_id, stage_name)
        references workflow_stages (tenant_id, workflow_id, name) on delete cascade
);
create unique index stage_gates_current on stage_gates (tenant_id, workflow_id, stage_name) where superseded_at is null;
create index stage_gates_waiting on stage_gates (tenant_id, requested_at, id) where status = 'awaiting_approval' and superseded_at is null;
create index stage_gates_of_workflow on stage_gates (tenant_id, workflow_id, id);
