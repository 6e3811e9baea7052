-- What has happened: events and execution logs, both in partitions by day.
--
-- Readers go forward by (xid, id) and see only rows whose transaction is older than every transaction
-- still open, so that a row that commits late is never skipped. A default partition catches what a late
-- loop made no partition for.

create sequence events_id_seq cache 1;

create table events (
    tenant_id    uuid        not null,
    xid          xid8        not null default pg_current_xact_id(),
    id           bigint      not null default nextval('events_id_seq'),
    created_at   timestamptz not null default clock_timestamp(),
    event_type   text        not null,
    entity_type  text        not null,
    entity_id    uuid        not null,
    actor_type   text        not null,
    actor_id     uuid,
    -- Of tasks only: plain columns, because the hot statements write them.
    task_seq     integer,
    attempt      integer,
    from_state   text,
    to_state     text,
    reason       text,
    fenced       boolean,
    -- Whatever else there is to know.
    data         json,
    primary key (tenant_id, xid, id, created_at)
) partition by range (created_at);
create table events_default partition of events default;
create index events_entity on events (tenant_id, entity_id, xid, id);

create sequence execution_logs_id_seq cache 1;

create table execution_logs (
    tenant_id             uuid        not null,
    xid                   xid8        not null default pg_current_xact_id(),
    id                    bigint      not null default nextval('execution_logs_id_seq'),
    created_at            timestamptz not null default clock_timestamp(),
    occurred_at           timestamptz,
    trace_id              uuid        not null,
    span_id               uuid        not null,
    parent_span_id        uuid,
    source                text        not null,
    category              text        not null,
    level                 smallint    not null,
    operation             text        not null,
    status                text        not null,
    duration_ms           bigint,
    payload               json,
    error                 json,
    workspace_id          uuid,
    workflow_id           uuid,
    task_id               uuid,
    attempt               integer,
    seq                   bigint,
    work_item_id          uuid,
    activation_id         uuid,
    role                  text,
    stage_name            text,
    is_orchestrator_task  boolean,
    execution_backend     text,
    tool_owner            text,
    actor_type            text,
    actor_id              text,
    -- Names for people: workflow_name, workspace_name, task_title, actor_name, resource_*.
    labels                json,
    primary key (tenant_id, xid, id, created_at)
) partition by range (created_at);
create table execution_logs_default partition of execution_logs default;
create index execution_logs_task on execution_logs (tenant_id, task_id, xid, id) where task_id is not null;

-- How far the log of an attempt has come: finds repetitions and gaps.
create table log_heads (
    tenant_id   uuid        not null,
    task_id     uuid        not null,
    attempt     integer     not null,
    last_seq    bigint      not null,
    updated_at  timestamptz not null,
    primary key (tenant_id, task_id, attempt)
) with (fillfactor = 70);
create index log_heads_age on log_heads (updated_at);
