-- Like choose.sql, for a run without limits of its work items: as far as there is room in the run ($3, null:
-- unlimited), what comes first along the index.
select w.task_id as "task_id!"
from task_waiting w
where w.tenant_id = $1 and w.workflow_id = $2 and w.held = 'limit_full'
order by w.priority, (w.seq = 0), w.seq, w.task_id
limit case when $3::int is not null then greatest($3 - (
    select count(*) from (
        (select from task_queue where tenant_id = $1 and workflow_id = $2 and lane <> 'orchestrator' and lane not like 'orchestrator@%' limit $3)
        union all
        (select from task_leases where tenant_id = $1 and workflow_id = $2 and lane <> 'orchestrator' and lane not like 'orchestrator@%' limit $3)
    ) active
), 0) end
