-- Child workflows: runs that other runs have launched.
--
-- The end of a child is told to its parent as an activation, which needs no lock on the parent: whoever
-- locks a parent and its children locks the parent first.

alter table workflows add column parent_workflow_id uuid;
create index workflows_parent on workflows (tenant_id, parent_workflow_id, id) where parent_workflow_id is not null;
create index workflows_open_children on workflows (tenant_id, parent_workflow_id)
    where parent_workflow_id is not null and state not in ('completed', 'failed', 'cancelled');
