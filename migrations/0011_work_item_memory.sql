-- What work items remember: values that were put into the memory of their workspace in their name.

-- The work item in whose name the value was put there last.
alter table workspace_memory add column work_item_id uuid;
create index workspace_memory_work_item on workspace_memory (tenant_id, work_item_id) where work_item_id is not null;

-- What was remembered, and forgotten, in the name of a work item. Of each work item the last ones are kept.
create table work_item_memory_changes (
    tenant_id     uuid        not null,
    work_item_id  uuid        not null,
    id            uuid        not null,
    key           text        not null,
    action        text        not null constraint work_item_memory_changes_action check (action in ('remembered', 'forgotten')),
    -- Null when it was forgotten, or is too large to be kept twice.
    value         json,
    size_bytes    integer     not null,
    actor_type    text        not null,
    actor_id      uuid        not null,
    created_at    timestamptz not null default clock_timestamp(),
    primary key (tenant_id, work_item_id, id),
    constraint work_item_memory_changes_item_fkey foreign key (tenant_id, work_item_id)
        references work_items (tenant_id, id) on delete cascade
);
