-- A page of whatever waits for a person, the oldest first; each row repeats how many there are in all. A page
-- behind the last one has one row without a source.
with waiting as materialized (
    select w.*
    from (
        select 'task' as source, p.task_id as id, p.workflow_id, p.workspace_id, p.state_changed_at as since
        from task_parked p
        where p.tenant_id = $1 and p.state = any($2)
        union all
        select 'step', s.work_item_id, s.workflow_id, r.workspace_id, s.started_at
        from workflow_steps s
        join workflows r on r.tenant_id = $1 and r.id = s.workflow_id
        where s.tenant_id = $1 and s.state = 'waiting' and $3
        union all
        select 'gate', g.id, g.workflow_id, r.workspace_id, g.requested_at
        from stage_gates g
        join workflows r on r.tenant_id = $1 and r.id = g.workflow_id and r.state not in ('completed', 'failed', 'cancelled')
        where g.tenant_id = $1 and g.status = 'awaiting_approval' and g.superseded_at is null and $9
    ) w
    where ($4::uuid[] is null or w.workspace_id = any($4))
      and ($5::uuid is null or w.workspace_id = $5)
      and ($6::uuid is null or w.workflow_id = $6)
)
select c.total as "total!", p.source as "source?", p.id as "id?"
from (select count(*) as total from waiting) c
left join (select source, id, since from waiting order by since, id limit $7 offset $8) p on true
order by p.since, p.id
