-- Tasks of runs have ended, or are open again: their members follow, and the steps are counted anew.
--
-- The caller holds the rows of the runs. What has changed is counted as a difference, so that it does not
-- matter how many members a step has, and a task that ends twice counts once.
with changes as materialized (
    select c.task_id, c.state
    from unnest($2::uuid[], $3::text[]) as c (task_id, state)
),
old as materialized (
    select m.workflow_id, m.step_id, m.position, m.state as old_state, c.state as new_state
    from changes c
    join workflow_step_members m on m.tenant_id = $1 and m.task_id = c.task_id
    where m.state <> c.state
),
moved as (
    update workflow_step_members m
    set state = o.new_state
    from old o
    where m.tenant_id = $1 and m.workflow_id = o.workflow_id and m.step_id = o.step_id and m.position = o.position
),
deltas as (
    select workflow_id, step_id,
           sum((new_state = 'open')::int - (old_state = 'open')::int)::int as open,
           sum((new_state = 'completed')::int - (old_state = 'completed')::int)::int as done,
           sum((new_state in ('failed', 'cancelled'))::int - (old_state in ('failed', 'cancelled'))::int)::int as lost
    from old
    group by workflow_id, step_id
)
update workflow_steps s
set open = s.open + d.open,
    done = s.done + d.done,
    lost = s.lost + d.lost,
    -- A step that had ended is judged again, with the members that it has now; what came of it is forgotten.
    state = case when s.state in ('completed', 'failed') or d.open > 0 then 'running' else s.state end,
    output = case when s.state in ('completed', 'failed') or d.open > 0 then null else s.output end,
    error = case when s.state in ('completed', 'failed') or d.open > 0 then null else s.error end,
    completed_at = case when s.state in ('completed', 'failed') or d.open > 0 then null else s.completed_at end
from deltas d
where s.tenant_id = $1 and s.workflow_id = d.workflow_id and s.step_id = d.step_id
returning s.workflow_id as "workflow_id!", s.step_id as "step_id!", s.state as "state!", s.members as "members!", s.max_parallel as "max_parallel!",
          s.made as "made!", s.open as "open!", s.lost as "lost!", s.work_item_id as "work_item_id?",
          d.open > 0 and s.open = d.open as "is_reopened!"
