-- Hands the next ready tasks of the wanted lanes to a batch of claimants, one each.
--
-- All claimants of one call want the same lanes. $12..$14 name a lane, a priority and the seq beyond
-- which to look (a hint). Candidates are found by index prefix, then locked with `skip locked`, so that
-- replicas pass each other; twice as many are looked at as are wanted, so that a collision with another
-- replica still fills the batch. The insert into task_leases takes a numbered slot of the holder: the
-- unique indexes there let no two leases share one, whoever else claims for the holder at this moment.
with clock as materialized (
    select clock_timestamp() as now
),
claimants as materialized (
    select c.*,
           case when a.id is null then 'gone'
                when w.drain_requested_at is not null or w.said_status in ('draining', 'offline') then 'draining'
           end as refusal
    from unnest($2::uuid[], $3::uuid[], $4::int[], $5::int[], $6::text[], $7::int[], $8::bool[], $9::bool[], $10::text[], $11::uuid[])
         with ordinality as c (agent_id, worker_id, agent_capacity, worker_capacity, request_id, lease_seconds, fenced, starts, actor_type, actor_id, place)
    left join agents a on a.tenant_id = $1 and a.id = c.agent_id
    left join workers w on w.tenant_id = $1 and w.id = c.worker_id
),
-- A repeated claim request: the same attempt, as long as it lives.
earlier as materialized (
    select c.place, r.task_id, r.attempt, l.task_id is not null as lives
    from claimants c
    join claim_requests r on r.tenant_id = $1 and r.agent_id = c.agent_id and r.request_id = c.request_id
    left join task_leases l on l.tenant_id = $1 and l.task_id = r.task_id and l.attempt = r.attempt
),
-- A holder of capacity 1 that still holds a task gets it back as a new attempt, so that an older
-- process of the same name is stale.
regaining as materialized (
    select distinct on (c.agent_id) c.*, l.state as held_state
    from claimants c
    join task_leases l on l.tenant_id = $1 and l.agent_id = c.agent_id
    where c.refusal is null
      and c.agent_capacity = 1
      and not exists (select from earlier e where e.place = c.place)
      -- A restricted key gets nothing back that it could not have claimed.
      and ($15::uuid[] is null or l.workspace_id = any($15))
      and ($16::uuid is null or l.workflow_id = $16)
      -- What was called off is not begun again.
      and l.cancel_by is null
    order by c.agent_id, c.place
),
regained as (
    update task_leases l
    set attempt = l.attempt + 1,
        task_seq = l.task_seq + case when r.starts then 2 else 1 end,
        state = case when r.starts then 'in_progress' else 'claimed' end,
        state_changed_at = clock.now,
        fenced = r.fenced,
        lease_seconds = r.lease_seconds,
        expires_at = clock.now + make_interval(secs => r.lease_seconds),
        deadline_at = clock.now + (l.deadline_at - l.claimed_at),
        claimed_at = clock.now,
        started_at = case when r.starts then clock.now end
    from regaining r, clock
    where l.tenant_id = $1 and l.agent_id = r.agent_id
    returning r.place, r.request_id, r.starts, r.actor_type, r.actor_id, r.held_state, l.*
),
agent_slots as materialized (
    select s.*, free.slot as agent_slot
    from (
        select c.*, row_number() over (partition by c.agent_id order by c.place) as nth
        from claimants c
        where c.refusal is null
          and not exists (select from earlier e where e.place = c.place)
          and not exists (select from regaining r where r.agent_id = c.agent_id)
    ) s
    cross join lateral (
        select slot
        from generate_series(1, s.agent_capacity) as slot
        where not exists (
            select from task_leases l where l.tenant_id = $1 and l.agent_id = s.agent_id and l.agent_slot = slot
        )
        order by slot
        offset s.nth - 1
        limit 1
    ) free
),
seated as materialized (
    select s.*, free.slot as worker_slot, row_number() over (order by s.place) as turn
    from (
        select a.*, row_number() over (partition by a.worker_id order by a.place) as nth_of_worker
        from agent_slots a
    ) s
    left join lateral (
        select slot
        from generate_series(1, s.worker_capacity) as slot
        where not exists (
            select from task_leases l where l.tenant_id = $1 and l.worker_id = s.worker_id and l.worker_slot = slot
        )
        order by slot
        offset s.nth_of_worker - 1
        limit 1
    ) free on true
    where s.worker_id is null or free.slot is not null
),
candidates as materialized (
    select found.spot, found.priority, found.seq
    from unnest($12::text[], $13::smallint[], $14::bigint[]) as wanted (lane, priority, beyond)
    cross join lateral (
        select q.ctid as spot, q.priority, q.seq
        from task_queue q
        where q.tenant_id = $1
          and q.lane = wanted.lane
          and q.priority = wanted.priority
          and q.seq > wanted.beyond
          -- A `case`, because of an `or` the planner thinks that hardly a row passes, and then it
          -- prefers to sort the whole lane instead of walking the index until it has enough.
          and case when $15::uuid[] is null and $16::uuid is null then true
                   else ($15 is null or q.workspace_id = any($15)) and ($16 is null or q.workflow_id = $16)
              end
        order by q.seq
        limit (select 2 * count(*) from seated)
    ) found
    order by found.priority, found.seq
    limit (select 2 * count(*) from seated)
),
locked as materialized (
    select q.task_id, q.priority, q.seq
    from task_queue q
    where q.tenant_id = $1 and q.ctid = any(array(select spot from candidates))
    order by q.priority, q.seq
    limit (select count(*) from seated)
    for update skip locked
),
taken as (
    delete from task_queue q
    where q.tenant_id = $1 and q.task_id = any(array(select task_id from locked))
    returning q.*
),
dealt as materialized (
    select s.place, s.request_id, s.starts, s.actor_type, s.actor_id, s.agent_id, s.worker_id, s.agent_slot,
           s.worker_slot, s.fenced, s.lease_seconds, t.*
    from (select q.*, row_number() over (order by q.priority, q.seq) as turn from taken q) t
    join seated s using (turn)
),
leased as (
    insert into task_leases (
        tenant_id, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, seq,
        workspace_id, workflow_id, has_dependants, state_changed_at, progress, state, agent_id, worker_id,
        agent_slot, worker_slot, fenced, has_output_schema, lease_seconds, expires_at, deadline_at, claimed_at, started_at, work_item_id
    )
    select d.tenant_id, d.task_id, d.attempt + 1, d.task_seq + case when d.starts then 2 else 1 end, d.retry_count,
           d.abandon_count, d.rework_count, d.lane, d.priority, d.seq, d.workspace_id, d.workflow_id,
           d.has_dependants, clock.now, d.progress, case when d.starts then 'in_progress' else 'claimed' end,
           d.agent_id, d.worker_id, d.agent_slot, d.worker_slot, d.fenced, t.has_output_schema, d.lease_seconds,
           clock.now + make_interval(secs => d.lease_seconds), clock.now + make_interval(mins => t.timeout_minutes),
           clock.now, case when d.starts then clock.now end, d.work_item_id
    from dealt d
    join tasks t on t.tenant_id = $1 and t.id = d.task_id
    cross join clock
    order by d.agent_id, d.agent_slot
),
remembered as (
    insert into claim_requests (tenant_id, agent_id, request_id, task_id, attempt, claimed_at)
    select $1, g.agent_id, g.request_id, g.task_id, g.attempt, clock.now
    from (
        select agent_id, request_id, task_id, attempt + 1 as attempt from dealt
        union all
        select agent_id, request_id, task_id, attempt from regained
    ) g
    cross join clock
    where g.request_id is not null
),
told as (
    insert into events (tenant_id, event_type, entity_type, entity_id, actor_type, actor_id, task_seq, attempt, from_state, to_state, reason, fenced, workflow_id)
    select $1, 'task.state_changed', 'task', e.task_id, e.actor_type, e.actor_id, e.task_seq, e.attempt, e.from_state, e.to_state, e.reason, e.fenced, e.workflow_id
    from (
        select task_id, actor_type, actor_id, task_seq + 1 as task_seq, attempt + 1 as attempt,
               'ready' as from_state, 'claimed' as to_state, 'claim' as reason, fenced, workflow_id
        from dealt
        union all
        select task_id, actor_type, actor_id, task_seq + 2, attempt + 1, 'claimed', 'in_progress', 'start', fenced, workflow_id
        from dealt
        where starts
        union all
        select task_id, actor_type, actor_id, task_seq - case when starts then 1 else 0 end, attempt, held_state, 'claimed', 'claim_again', fenced, workflow_id
        from regained
        union all
        select task_id, actor_type, actor_id, task_seq, attempt, 'claimed', 'in_progress', 'start', fenced, workflow_id
        from regained
        where starts
    ) e
    order by e.task_id, e.task_seq
),
-- From what was dealt, not from what the insert returned: that would join two lists of the batch's size,
-- of which the planner knows nothing.
given as (
    select d.place, 'claimed' as verdict, d.task_id, d.attempt + 1 as attempt, d.lane, d.seq,
           case when d.starts then 'in_progress' else 'claimed' end as state, d.retry_count, d.abandon_count, d.rework_count,
           d.agent_id, d.worker_id, clock.now as claimed_at, case when d.starts then clock.now end as started_at,
           clock.now + make_interval(secs => d.lease_seconds) as expires_at, d.lease_seconds, d.progress
    from dealt d
    cross join clock
    union all
    select r.place, 'claimed', r.task_id, r.attempt, r.lane, r.seq, r.state, r.retry_count, r.abandon_count, r.rework_count,
           r.agent_id, r.worker_id, r.claimed_at, r.started_at, r.expires_at, r.lease_seconds, r.progress
    from regained r
    union all
    select e.place, 'replayed', l.task_id, l.attempt, l.lane, l.seq, l.state, l.retry_count, l.abandon_count, l.rework_count,
           l.agent_id, l.worker_id, l.claimed_at, l.started_at, l.expires_at, l.lease_seconds, l.progress
    from earlier e
    join task_leases l on l.tenant_id = $1 and l.task_id = e.task_id and l.attempt = e.attempt
    where e.lives
)
select c.place as "place!",
       coalesce(
           g.verdict,
           case when e.place is not null then 'spent' end,
           c.refusal,
           case when s.place is not null then 'nothing' else 'full' end
       ) as "verdict!",
       (select count(*) from candidates) as "candidates!",
       coalesce(g.task_id, e.task_id) as "task_id?",
       coalesce(g.attempt, e.attempt) as "attempt?",
       g.lane as "lane?",
       g.seq as "seq?",
       g.state as "state?",
       g.retry_count as "retry_count?",
       g.abandon_count as "abandon_count?",
       g.rework_count as "rework_count?",
       g.agent_id as "agent_id?",
       g.worker_id as "worker_id?",
       g.claimed_at as "claimed_at?",
       g.started_at as "started_at?",
       g.expires_at as "expires_at?",
       g.lease_seconds as "lease_seconds?",
       g.progress::text as "progress?",
       t.workflow_id as "workflow_id?",
       t.work_item_id as "work_item_id?",
       t.workspace_id as "workspace_id?",
       t.activation_id as "activation_id?",
       t.title as "title?",
       t.description as "description?",
       t.task_type as "task_type?",
       t.task_kind as "task_kind?",
       t.role as "role?",
       t.stage_name as "stage_name?",
       t.priority as "priority?",
       t.timeout_minutes as "timeout_minutes?",
       t.depends_on as "depends_on?",
       t.settings::text as "settings?",
       t.input::text as "input?",
       t.context::text as "context?",
       t.role_config::text as "role_config?",
       t.environment::text as "environment?",
       t.metadata::text as "metadata?",
       t.is_orchestrator_task as "is_orchestrator_task?",
       t.created_at as "created_at?"
from claimants c
left join given g on g.place = c.place
left join earlier e on e.place = c.place
left join seated s on s.place = c.place
left join tasks t on t.tenant_id = $1 and t.id = g.task_id
order by c.place
