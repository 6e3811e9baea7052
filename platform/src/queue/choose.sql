-- Which of the tasks held at the gates of a run ($2) may pass now: by priority, then age, as far as there is
-- room in the run ($3, null: unlimited), in each work item ($4, and that of its own gate), and for work items
-- beside each other ($5). Run under the lock of the run's limits, in a statement of its own.
with recursive
room as materialized (
    select case when $3::int is not null then greatest($3 - (
               select count(*) from (
                   (select from task_queue where tenant_id = $1 and workflow_id = $2 and lane <> 'orchestrator' and lane not like 'orchestrator@%' limit $3)
                   union all
                   (select from task_leases where tenant_id = $1 and workflow_id = $2 and lane <> 'orchestrator' and lane not like 'orchestrator@%' limit $3)
               ) active
           ), 0) end as of_run
),
-- Each work item with tasks at the gate, once, by steps along the index.
items (work_item_id) as (
    (select work_item_id from task_waiting
     where tenant_id = $1 and workflow_id = $2 and held = 'limit_full'
     order by work_item_id
     limit 1)
    union all
    select (select w.work_item_id from task_waiting w
            where w.tenant_id = $1 and w.workflow_id = $2 and w.held = 'limit_full' and w.work_item_id > i.work_item_id
            order by w.work_item_id
            limit 1)
    from items i
    where i.work_item_id is not null
),
busy as materialized (
    select distinct active.work_item_id
    from (
        select work_item_id from task_queue
        where $5::int is not null and tenant_id = $1 and workflow_id = $2 and lane <> 'orchestrator' and lane not like 'orchestrator@%'
        union all
        select work_item_id from task_leases
        where $5::int is not null and tenant_id = $1 and workflow_id = $2 and lane <> 'orchestrator' and lane not like 'orchestrator@%'
    ) active
    where active.work_item_id is not null
),
ranked as (
    select i.work_item_id, b.work_item_id is not null as is_busy,
           least($4::int, g.active_max) as active_max,
           row_number() over (
               partition by b.work_item_id is not null
               order by first.priority, first.is_new, first.seq, first.task_id
           ) as place
    from items i
    left join busy b on b.work_item_id = i.work_item_id
    left join task_gates g on g.tenant_id = $1 and g.id = i.work_item_id
    cross join lateral (
        select w.priority, w.seq = 0 as is_new, w.seq, w.task_id from task_waiting w
        where w.tenant_id = $1 and w.workflow_id = $2 and w.work_item_id = i.work_item_id and w.held = 'limit_full'
        order by w.priority, (w.seq = 0), w.seq, w.task_id
        limit 1
    ) first
    where i.work_item_id is not null
),
candidates as (
    select chosen.*
    from ranked r
    cross join lateral (
        select w.task_id, w.priority, w.seq from task_waiting w
        where w.tenant_id = $1 and w.workflow_id = $2 and w.work_item_id = r.work_item_id and w.held = 'limit_full'
        order by w.priority, (w.seq = 0), w.seq, w.task_id
        limit case when r.active_max is not null then greatest(r.active_max - (
            (select count(*) from task_queue q where q.tenant_id = $1 and q.work_item_id = r.work_item_id)
            + (select count(*) from task_leases l where l.tenant_id = $1 and l.work_item_id = r.work_item_id)
        ), 0) end
    ) chosen
    where $5::int is null or r.is_busy or r.place <= $5 - (select count(*) from busy)
    union all
    select w.task_id, w.priority, w.seq from task_waiting w
    where w.tenant_id = $1 and w.workflow_id = $2 and w.work_item_id is null and w.held = 'limit_full'
)
select task_id as "task_id!"
from candidates
order by priority, seq = 0, seq, task_id
limit (select of_run from room)
