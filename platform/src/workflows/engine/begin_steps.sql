-- Steps begin: their tasks are made, or a person is asked.
update workflow_steps s
set state = b.state,
    members = b.members,
    max_parallel = b.max_parallel,
    made = b.made,
    open = b.open,
    done = 0,
    lost = b.lost,
    work_item_id = b.work_item_id,
    question = b.question::json,
    expires_at = clock_timestamp() + make_interval(secs => b.expires_seconds),
    output = null,
    error = null,
    started_at = clock_timestamp(),
    completed_at = null
from unnest($2::uuid[], $3::text[], $4::text[], $5::int[], $6::int[], $7::int[], $8::int[], $9::int[], $10::uuid[], $11::text[], $12::float8[])
     as b (workflow_id, step_id, state, members, max_parallel, made, open, lost, work_item_id, question, expires_seconds)
where s.tenant_id = $1 and s.workflow_id = b.workflow_id and s.step_id = b.step_id
