-- Who there is: tenants, their keys, agents and workers; and what was already answered.
--
-- Every primary key, unique index and foreign key contains tenant_id, so that the tables can be
-- distributed by tenant. The exceptions are reference tables: tenants, key_lookups, platform_facts,
-- platform_pulse. Columns of type json are kept as they were sent and never looked into.

create table tenants (
    id          uuid        primary key,
    name        text        not null,
    slug        text        not null,
    is_active   boolean     not null default true,
    created_at  timestamptz not null default clock_timestamp(),
    updated_at  timestamptz not null default clock_timestamp(),
    constraint tenants_slug_key unique (slug)
);

-- Facts about the installation as a whole, such as the fingerprint of the sealing key.
create table platform_facts (
    name   text  primary key,
    value  bytea not null
);

-- One row, touched every second by every replica. Its age tells how long nobody could renew a lease.
create table platform_pulse (
    id       smallint    primary key check (id = 1),
    beat_at  timestamptz not null
) with (fillfactor = 10);
insert into platform_pulse values (1, clock_timestamp());

create table api_keys (
    tenant_id      uuid        not null references tenants (id),
    id             uuid        not null,
    scope          text        not null check (scope in ('agent', 'worker', 'admin', 'service')),
    owner_type     text        not null,
    owner_id       uuid,
    label          text,
    key_prefix     text        not null,
    key_hash       bytea       not null,
    workspace_ids  uuid[]      not null default '{}',
    routing_tags   text[]      not null default '{}',
    last_used_at   timestamptz,
    expires_at     timestamptz,
    revoked_at     timestamptz,
    -- The key that was made in its place. A key is rotated once.
    replaced_by    uuid,
    created_at     timestamptz not null default clock_timestamp(),
    primary key (tenant_id, id)
);
create index api_keys_owner on api_keys (tenant_id, owner_id) where owner_id is not null;

-- Leads from a key to its tenant, the only look-up that cannot name a tenant.
create table key_lookups (
    key_hash   bytea primary key,
    tenant_id  uuid  not null,
    key_id     uuid  not null
);

create table workers (
    tenant_id                   uuid        not null references tenants (id),
    id                          uuid        not null,
    name                        text        not null,
    runtime_type                text        not null,
    connection_mode             text        not null,
    routing_tags                text[]      not null,
    capacity                    integer     not null check (capacity between 1 and 1000),
    heartbeat_interval_seconds  integer     not null check (heartbeat_interval_seconds between 5 and 3600),
    protocol_version            integer,
    host_info                   json        not null,
    metadata                    json        not null,
    -- What it last said about itself; how it really is doing follows from last_heartbeat_at.
    said_status                 text        not null default 'online',
    -- The last status that an event told of.
    told_status                 text        not null default 'online',
    -- An operator's wish that it takes nothing new.
    drain_requested_at          timestamptz,
    metrics                     json        not null default '{}',
    last_heartbeat_at           timestamptz not null default clock_timestamp(),
    connected_at                timestamptz not null default clock_timestamp(),
    created_at                  timestamptz not null default clock_timestamp(),
    updated_at                  timestamptz not null default clock_timestamp(),
    primary key (tenant_id, id)
) with (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 1000);

create table agents (
    tenant_id                   uuid        not null references tenants (id),
    id                          uuid        not null,
    worker_id                   uuid,
    name                        text        not null,
    protocol                    text        not null,
    execution_mode              text        not null,
    routing_tags                text[]      not null,
    capacity                    integer     not null check (capacity between 1 and 1000),
    heartbeat_interval_seconds  integer     not null check (heartbeat_interval_seconds between 5 and 3600),
    protocol_version            integer,
    playbook_id                 uuid,
    tools                       json        not null,
    metadata                    json        not null,
    acp                         json,
    profile                     json,
    told_status                 text        not null default 'active',
    last_heartbeat_at           timestamptz not null default clock_timestamp(),
    registered_at               timestamptz not null default clock_timestamp(),
    created_at                  timestamptz not null default clock_timestamp(),
    updated_at                  timestamptz not null default clock_timestamp(),
    primary key (tenant_id, id),
    constraint agents_worker_fkey foreign key (tenant_id, worker_id) references workers (tenant_id, id) on delete cascade
) with (fillfactor = 50, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 1000);
create index agents_worker on agents (tenant_id, worker_id) where worker_id is not null;

create table worker_signals (
    tenant_id        uuid        not null,
    id               uuid        not null,
    worker_id        uuid        not null,
    signal_type      text        not null check (signal_type in ('cancel_task', 'set_draining', 'config_update')),
    task_id          uuid,
    data             json        not null,
    issued_at        timestamptz not null default clock_timestamp(),
    acknowledged_at  timestamptz,
    primary key (tenant_id, id),
    constraint worker_signals_worker_fkey foreign key (tenant_id, worker_id) references workers (tenant_id, id) on delete cascade
);
create index worker_signals_pending on worker_signals (tenant_id, worker_id, issued_at) where acknowledged_at is null;

-- What was answered under an idempotency key. The slot is taken in the transaction that has the effect.
-- holder_id is the agent or worker of the key, or the nil id for automation keys.
create table request_slots (
    tenant_id    uuid        not null,
    holder_id    uuid        not null,
    request_id   text        not null,
    operation    text        not null,
    target       text        not null,
    fingerprint  bytea       not null,
    status       smallint,
    body         bytea,
    -- Whether the body holds a key and is therefore encrypted.
    is_sealed    boolean     not null default false,
    created_at   timestamptz not null default clock_timestamp(),
    expires_at   timestamptz not null,
    primary key (tenant_id, holder_id, request_id)
);
create index request_slots_expiry on request_slots (expires_at);
