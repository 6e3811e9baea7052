-- Workspaces: the durable places in which runs happen, and what they remember.

create table workspaces (
    tenant_id       uuid        not null references tenants (id),
    id              uuid        not null,
    name            text        not null,
    slug            text        not null,
    description     text,
    repository_url  text,
    -- Settings as they are read back. The token for git is apart, because it is never read back.
    settings        json        not null,
    git_token       bytea,
    is_active       boolean     not null default true,
    created_at      timestamptz not null default clock_timestamp(),
    updated_at      timestamptz not null default clock_timestamp(),
    primary key (tenant_id, id),
    constraint workspaces_slug_key unique (tenant_id, slug)
);

-- What a workspace remembers: a row for each key, so that a change costs what it changes.
create table workspace_memory (
    tenant_id     uuid        not null,
    workspace_id  uuid        not null,
    key           text        not null,
    value         json        not null,
    -- Bytes of the key and of the value, for the limit of the whole.
    size_bytes    integer     not null check (size_bytes >= 0),
    updated_at    timestamptz not null default clock_timestamp(),
    primary key (tenant_id, workspace_id, key),
    constraint workspace_memory_workspace_fkey foreign key (tenant_id, workspace_id)
        references workspaces (tenant_id, id) on delete cascade
);
