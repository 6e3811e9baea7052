-- Moves tasks from whichever drawer they lie in to another one: every move off the hot path.
--
-- Per task ($2): from which states it may move ($3, an array literal), the attempt it must have ($4,
-- null for any), and where it goes. A task that lies elsewhere is left alone and its state told.
-- What the caller passes as null is kept from before, unless $11 says to forget the outcome. What is to
-- become ready and may not pass the gate of its run waits there, and keeps its place.
with orders as materialized (
    select o.*
    from unnest(
             $2::uuid[], $3::text[], $4::int[], $5::text[], $6::float8[], $7::bool[], $8::int[], $9::int[], $10::int[], $11::bool[],
             $12::text[], $13::text[], $14::text[], $15::text[], $16::text[], $17::text[], $18::text[], $19::text[], $20::uuid[], $21::text[], $22::text[]
         ) with ordinality as o (
             id, from_states, wanted_attempt, to_state, delay_seconds, keeps_place, retries, abandons, reworks, forgets_outcome,
             new_output, new_error, new_metrics, new_git_info, new_verification, new_progress, reason, actor_type, actor_id, event_data, question, place
         )
),
clock as materialized (
    select clock_timestamp() as now
),
-- Rows are locked drawer by drawer in the order of their ids.
w as materialized (select * from task_waiting where tenant_id = $1 and task_id = any($2) order by task_id for update),
q as materialized (select * from task_queue where tenant_id = $1 and task_id = any($2) order by task_id for update),
l as materialized (select * from task_leases where tenant_id = $1 and task_id = any($2) order by task_id for update),
p as materialized (select * from task_parked where tenant_id = $1 and task_id = any($2) order by task_id for update),
r as materialized (select * from task_results where tenant_id = $1 and task_id = any($2) order by task_id for update),
found as (
    select task_id, 'pending' as state, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, seq,
           workspace_id, workflow_id, work_item_id, has_dependants, progress, blocked_count, on_dependency_failure, null::uuid as agent_id, null::uuid as worker_id,
           null::timestamptz as claimed_at, null::timestamptz as started_at, null::json as output, null::json as error,
           null::json as metrics, null::json as git_info, null::json as verification, null::bool as fenced
    from w
    union all
    select task_id, 'ready', attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, seq,
           workspace_id, workflow_id, work_item_id, has_dependants, progress, 0, null, null, null, null, null, null, null, null, null, null, null
    from q
    union all
    select task_id, state, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, seq,
           workspace_id, workflow_id, work_item_id, has_dependants, progress, 0, null, agent_id, worker_id, claimed_at, started_at, null, null, null, null, null, fenced
    from l
    union all
    select task_id, state, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, seq,
           workspace_id, workflow_id, work_item_id, has_dependants, progress, 0, null, agent_id, worker_id, claimed_at, started_at, output, error, metrics, git_info, verification, null
    from p
    union all
    select task_id, state, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, seq,
           workspace_id, workflow_id, work_item_id, has_dependants, progress, 0, null, agent_id, worker_id, claimed_at, started_at, output, error, metrics, git_info, verification, null
    from r
),
judged as materialized (
    select o.*, f.*,
           case when f.task_id is null then 'absent'
                when f.state <> all(o.from_states::text[]) then 'elsewhere'
                when o.wanted_attempt <> f.attempt then 'elsewhere'
                else 'moved'
           end as verdict
    from orders o
    left join found f on f.task_id = o.id
),
movers as materialized (select id from judged where verdict = 'moved'),
gone_w as (delete from task_waiting d where d.tenant_id = $1 and d.task_id = any($2) and d.task_id in (select id from movers) returning d.task_id),
gone_q as (delete from task_queue d where d.tenant_id = $1 and d.task_id = any($2) and d.task_id in (select id from movers) returning d.task_id),
gone_l as (delete from task_leases d where d.tenant_id = $1 and d.task_id = any($2) and d.task_id in (select id from movers) returning d.task_id),
gone_p as (delete from task_parked d where d.tenant_id = $1 and d.task_id = any($2) and d.task_id in (select id from movers) returning d.task_id),
gone_r as (delete from task_results d where d.tenant_id = $1 and d.task_id = any($2) and d.task_id in (select id from movers) returning d.task_id),
-- What was deleted is what is inserted: the inserts read the deletes, so they come after them.
moved as materialized (
    select j.place, j.id as task_id,
           case when j.to_state = 'ready' and gate.word is not null then 'pending' else j.to_state end as to_state,
           case when j.to_state = 'ready' then gate.word
                when j.to_state = 'pending' and gate.word = 'paused' then 'paused'
           end as held,
           j.attempt, j.task_seq + 1 as task_seq,
           j.retry_count + j.retries as retry_count, j.abandon_count + j.abandons as abandon_count, j.rework_count + j.reworks as rework_count,
           j.lane, j.priority, case when j.keeps_place then j.seq else 0 end as old_seq,
           j.workspace_id, j.workflow_id, j.work_item_id, j.has_dependants, coalesce(j.new_progress::json, j.progress) as progress,
           case when j.to_state = 'pending' then j.blocked_count else 0 end as blocked_count,
           coalesce(j.on_dependency_failure, 'fail') as on_dependency_failure,
           case when gate.word is distinct from 'paused' then clock.now + make_interval(secs => j.delay_seconds) end as available_at,
           case when gate.word = 'paused' then j.delay_seconds end as delay_left,
           j.question,
           case when j.forgets_outcome then null else j.agent_id end as agent_id,
           case when j.forgets_outcome then null else j.worker_id end as worker_id,
           case when j.forgets_outcome then null else j.claimed_at end as claimed_at,
           case when j.forgets_outcome then null else j.started_at end as started_at,
           coalesce(j.new_output::json, case when not j.forgets_outcome then j.output end) as output,
           coalesce(j.new_error::json, case when not j.forgets_outcome then j.error end) as error,
           coalesce(j.new_metrics::json, case when not j.forgets_outcome then j.metrics end) as metrics,
           coalesce(j.new_git_info::json, case when not j.forgets_outcome then j.git_info end) as git_info,
           coalesce(j.new_verification::json, case when not j.forgets_outcome then j.verification end) as verification
    from (
        select task_id from gone_w union all select task_id from gone_q union all select task_id from gone_l
        union all select task_id from gone_p union all select task_id from gone_r
    ) g
    join judged j on j.id = g.task_id
    cross join lateral (
        select case when j.workflow_id is not null and j.to_state in ('ready', 'pending')
                    then task_gate($1, j.workflow_id, j.work_item_id, j.lane)
               end as word
    ) gate
    cross join clock
),
into_waiting as (
    insert into task_waiting (
        tenant_id, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, seq,
        workspace_id, workflow_id, work_item_id, has_dependants, state_changed_at, progress, blocked_count, on_dependency_failure,
        available_at, delay_left, held
    )
    select $1, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, old_seq,
           workspace_id, workflow_id, work_item_id, has_dependants, clock.now, progress, blocked_count, on_dependency_failure,
           available_at, delay_left, held
    from moved, clock
    where to_state = 'pending'
),
into_queue as (
    insert into task_queue (
        tenant_id, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, seq,
        workspace_id, workflow_id, work_item_id, has_dependants, state_changed_at, progress
    )
    select $1, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority,
           case when old_seq <> 0 then old_seq else nextval('task_queue_seq') end,
           workspace_id, workflow_id, work_item_id, has_dependants, clock.now, progress
    from (select * from moved where to_state = 'ready' order by place) m, clock
),
into_parked as (
    insert into task_parked (
        tenant_id, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, seq,
        workspace_id, workflow_id, work_item_id, has_dependants, state_changed_at, progress, state, agent_id, worker_id, claimed_at, started_at,
        output, error, metrics, git_info, verification, question
    )
    select $1, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, old_seq,
           workspace_id, workflow_id, work_item_id, has_dependants, clock.now, progress, to_state, agent_id, worker_id, claimed_at, started_at,
           output, error, metrics, git_info, verification, question::json
    from moved, clock
    where to_state in ('awaiting_approval', 'output_pending_assessment', 'escalated')
),
into_results as (
    insert into task_results (
        tenant_id, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, seq,
        workspace_id, workflow_id, work_item_id, has_dependants, state_changed_at, progress, state, agent_id, worker_id, claimed_at, started_at,
        output, error, metrics, git_info, verification
    )
    select $1, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, old_seq,
           workspace_id, workflow_id, work_item_id, has_dependants, clock.now, progress, to_state, agent_id, worker_id, claimed_at, started_at,
           output, error, metrics, git_info, verification
    from moved, clock
    where to_state in ('completed', 'failed', 'cancelled')
),
told as (
    insert into events (tenant_id, event_type, entity_type, entity_id, actor_type, actor_id, task_seq, attempt, from_state, to_state, reason, fenced, data, workflow_id)
    select $1, 'task.state_changed', 'task', j.id, j.actor_type, j.actor_id, m.task_seq, m.attempt, j.state, m.to_state, j.reason, j.fenced, j.event_data::json, m.workflow_id
    from moved m
    join judged j on j.id = m.task_id
    order by m.task_id
)
select j.place as "place!",
       j.verdict as "verdict!",
       j.state as "from_state?",
       j.attempt as "attempt?",
       j.lane as "lane?",
       j.has_dependants as "has_dependants?",
       j.work_item_id as "work_item_id?",
       m.held is not null as "is_held!",
       j.agent_id as "agent_id?",
       j.worker_id as "worker_id?",
       j.workflow_id as "workflow_id?",
       j.error::text as "error?",
       j.output::text as "output?"
from judged j
left join moved m on m.place = j.place
order by j.place
