-- Playbooks. Every version is a row with an id of its own, so that a run that names one is frozen to it.
-- The versions of a playbook have the same slug.

create table playbooks (
    tenant_id     uuid        not null references tenants (id),
    id            uuid        not null,
    slug          text        not null,
    version       integer     not null check (version >= 1),
    name          text        not null,
    description   text,
    outcome       text        not null,
    lifecycle     text        not null check (lifecycle in ('planned', 'ongoing')),
    kind          text        not null check (kind in ('orchestrated', 'graph')),
    -- A draft may be edited; what is published or archived never changes its definition again.
    status        text        not null check (status in ('draft', 'published', 'archived')),
    -- Whether runs may be launched from it: one version of a playbook at most.
    is_active     boolean     not null,
    -- What is different, in the words of whoever published it.
    changelog     text,
    definition    json        not null,
    published_at  timestamptz,
    created_at    timestamptz not null default clock_timestamp(),
    updated_at    timestamptz not null default clock_timestamp(),
    primary key (tenant_id, id),
    constraint playbooks_version_key unique (tenant_id, slug, version),
    constraint playbooks_active_is_published check (status = 'published' or not is_active),
    constraint playbooks_published_at check ((status = 'draft') = (published_at is null))
);
create unique index playbooks_active_key on playbooks (tenant_id, slug) where is_active;
create unique index playbooks_draft_key on playbooks (tenant_id, slug) where status = 'draft';
