-- Steps end. What their tasks put out is put together here, where it lies: the output of its task, or the
-- list of the outputs of its members, in their order, with null for one that did not complete.
--
-- A list that is larger than $9 bytes fails its step: whoever reads it has to hold it in memory.
with ended as materialized (
    select e.*
    from unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bool[], $8::bool[])
         as e (workflow_id, step_id, state, output, error, collects, is_list)
),
collected as materialized (
    select e.workflow_id, e.step_id, sum(octet_length(r.output::text)) as bytes,
           case when e.is_list
                then '[' || string_agg(coalesce(r.output::text, 'null'), ',' order by m.position) || ']'
                else max(r.output::text)
           end as output
    from ended e
    join workflow_step_members m on m.tenant_id = $1 and m.workflow_id = e.workflow_id and m.step_id = e.step_id
    left join task_results r on r.tenant_id = $1 and r.task_id = m.task_id and r.state = 'completed'
    where e.collects
    group by e.workflow_id, e.step_id, e.is_list
),
told as materialized (
    select s.workflow_id, s.step_id, s.is_released
    from ended e
    join workflow_steps s on s.tenant_id = $1 and s.workflow_id = e.workflow_id and s.step_id = e.step_id
)
update workflow_steps s
set state = case when c.bytes > $9 then 'failed' else e.state end,
    output = case when c.bytes > $9 then null else coalesce(e.output, c.output)::json end,
    error = case when c.bytes > $9
                 then json_build_object('category', 'output_too_large', 'recoverable', false, 'message',
                                        'its outputs are ' || c.bytes || ' bytes together, more than ' || $9)
                 else e.error::json
            end,
    question = null,
    expires_at = null,
    seconds_left = null,
    started_at = case when e.state = 'skipped' then s.started_at else coalesce(s.started_at, clock_timestamp()) end,
    completed_at = clock_timestamp(),
    is_released = s.is_released or (e.state in ('completed', 'skipped') and not coalesce(c.bytes > $9, false)) or s.is_forgiven
from ended e
join told t using (workflow_id, step_id)
left join collected c using (workflow_id, step_id)
where s.tenant_id = $1 and s.workflow_id = e.workflow_id and s.step_id = e.step_id
returning s.workflow_id as "workflow_id!", s.step_id as "step_id!", s.state as "state!", s.work_item_id as "work_item_id?",
          s.error::text as "error?", s.stage_name as "stage_name?",
          s.is_released and not t.is_released as "releases!"
