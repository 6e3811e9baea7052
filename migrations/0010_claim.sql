-- Handing out, as a function: a lone claim is one call and one commit, and what the ordinary claim does not
-- need (repeated requests, leases that are taken over) is not even prepared.
--
-- Capacity is counted from living leases under a lock on their holder. Locks come first: every statement of
-- a function sees what had committed when that statement began, so the count sees what the last holder of
-- the lock did. Leases are numbered in the order in which they were given, so that a replica which knows the
-- oldest living one of a holder need not walk over the index entries of all that ended before it.

create sequence task_lease_no cache 1;
drop index task_leases_agent_slot;
drop index task_leases_worker_slot;
alter table task_leases drop column agent_slot, drop column worker_slot;
alter table task_leases add column lease_no bigint not null default nextval('task_lease_no');
-- No index of these small tables begins with the tenant. Where few rows live the planner thinks that walking all
-- of a tenant's costs no more than a look for one of them, and such a walk passes every dead entry.
create index task_leases_agent on task_leases (agent_id, lease_no);
create index task_leases_worker on task_leases (worker_id, lease_no) where worker_id is not null;
alter table task_leases drop constraint task_leases_pkey, add primary key (task_id, tenant_id);
alter table task_queue drop constraint task_queue_pkey, add primary key (task_id, tenant_id);

-- A claim that also starts makes two moves, and one row of events stands for both: `via_state` is the state in
-- between, and the second move is the start. Such a row has the number before its own for the first one, so
-- numbers are given by twos.
alter table events add column via_state text;
alter sequence events_id_seq increment by 2;

-- One row for each move of a task.
create view task_moves as
    select e.tenant_id, e.xid, e.id - m.before as id, e.created_at, e.entity_id as task_id, e.workflow_id, e.actor_type,
           e.actor_id, e.task_seq - m.before as task_seq, e.attempt,
           case when m.before = 0 and e.via_state is not null then e.via_state else e.from_state end as from_state,
           case when m.before = 1 then e.via_state else e.to_state end as to_state,
           case when m.before = 0 and e.via_state is not null then 'start' else e.reason end as reason,
           e.fenced
    from events e
    join (values (1), (0)) as m (before) on m.before = 0 or e.via_state is not null
    where e.entity_type = 'task' and e.task_seq is not null;

-- Hands the next ready tasks to a batch of claimants, one each.
--
-- Claimants that want the same lanes are one set, and stand together; `claimants_end` tells where each set ends among
-- them. `lanes` are all that any of them wants, `takers` how many claimants may take from each, `shared` whether more
-- than one set does; `beyond` has four numbers for each lane, one for each priority: the seq beyond which to look (a
-- hint). `set_lanes` are the numbers of the lanes of one set after the other, and `lanes_end` tells where each ends there.
--
-- Each lane is looked into once for the batch, by index prefix: fleets differ in their tags. What lies there is then
-- dealt to the sets, and locked with `skip locked`, so that replicas pass each other; twice as many are looked at as are
-- wanted, so that a collision with another replica still fills the batch. `oldest_leases` bounds the count of a holder's
-- leases (a hint).
--
-- Rows come in no order, one for each claimant that got something or was refused, and one of the verdict `seen` for
-- each set, whose place is the number of the set. Claimants without a row got nothing. `full` is who holds as much as
-- it may; who would have had room, but for earlier claims of the batch, is asked to come `later`.
create function claim_next(
    tenant uuid, claimants_end int[], agents uuid[], workers uuid[], agent_capacities int[], worker_capacities int[], request_ids text[],
    lease_lengths int[], fences bool[], starting bool[], actor_types text[], actors uuid[], oldest_leases bigint[],
    lanes text[], takers int[], shared bool[], beyond bigint[], set_lanes int[], lanes_end int[], only_workspaces uuid[],
    only_workflow uuid
) returns table (
    place int, verdict text, candidates int, oldest_lease bigint, task_id uuid, attempt int, lane text, seq bigint,
    state text, retry_count int, abandon_count int, rework_count int, agent_id uuid, worker_id uuid,
    claimed_at timestamptz, started_at timestamptz, expires_at timestamptz, lease_seconds int, progress text,
    workflow_id uuid, work_item_id uuid, workspace_id uuid, activation_id uuid, title text, description text,
    task_type text, task_kind text, role text, stage_name text, priority smallint, timeout_minutes int,
    depends_on uuid[], settings text, input text, context text, role_config text, environment text, metadata text,
    is_orchestrator_task bool, created_at timestamptz
)
language plpgsql
as $$
#variable_conflict use_column
declare
    moment timestamptz;
    last_lease constant bigint := 9223372036854775807;
    -- One for each claimant, in their order: why it takes nothing out of the queue; null when it may.
    verdicts text[];
    -- The oldest living lease of its holder; null when there is none.
    living bigint[];
    -- What a repeated request got before.
    known_verdicts text[];
    known_tasks uuid[];
    known_attempts int[];
    -- Places of those who may have a task.
    waiting bigint[];
    first_waiting int := 1;
    -- Where the candidates lie, one lane after the other, each in the order in which it is worked off; where each lane ends.
    found tid[] := '{}';
    found_end int[] := '{}';
    of_lane tid[];
    -- Whether sets want the same tasks, and have to be served one after the other.
    one_by_one bool := false;
    first_set int := 1;
    last_set int;
    looked record;
    -- How many candidates each set has seen.
    seen int[] := '{}';
    -- Where the tasks lie that are handed out, and who gets them.
    spots tid[] := '{}';
    getters bigint[] := '{}';
begin
    perform pg_advisory_xact_lock(holder.key)
    from (
        select distinct uuid_hash_extended(coalesce(c.worker_id, c.agent_id), 0) as key
        from unnest(agents, workers) as c (agent_id, worker_id)
        order by 1
    ) holder;
    moment := clock_timestamp();

    -- A repeated claim request: the same attempt, as long as it lives.
    if num_nonnulls(variadic request_ids) > 0 then
        select array_agg(case when l.task_id is not null then 'replayed' when r.task_id is not null then 'spent' end order by c.place),
               array_agg(r.task_id order by c.place),
               array_agg(r.attempt order by c.place)
        into known_verdicts, known_tasks, known_attempts
        from unnest(agents, request_ids) with ordinality as c (agent_id, request_id, place)
        left join lateral (
            select r.task_id, r.attempt from claim_requests r
            where r.tenant_id = tenant and r.agent_id = c.agent_id and r.request_id = c.request_id
            limit 1
        ) r on true
        left join lateral (
            select l.task_id from task_leases l
            where l.tenant_id = tenant and l.task_id = r.task_id and l.attempt = r.attempt
            limit 1
        ) l on true;
    end if;

    -- Who may have a task. The joins are written as single probes: the planner knows nothing about the lengths
    -- of these lists. Leases are looked up in a way that the index of their holder alone can serve: between two pairs of
    -- holder and number. To the planner a table whose rows are nearly all dead is empty, and any index as good as
    -- another: it would walk a whole one for a tenant, or for a number, which are the last columns there. And beside
    -- an equality of the holder the lower pair would only filter: the walk would begin with the holder's first lease.
    select array_agg(s.verdict order by s.place), array_agg(s.oldest order by s.place),
           array_agg(s.place order by s.place) filter (where s.verdict is null)
    into verdicts, living, waiting
    from (
        select a.place, a.oldest,
               case when a.verdict is not null then a.verdict
                    when row_number() over (partition by a.worker_id, a.verdict is null order by a.place) <= a.room_of_worker
                         or a.room_of_worker is null then null
                    when a.room_of_worker > 0 then 'later'
                    else 'full'
               end as verdict
        from (
            select c.place, c.worker_id, c.oldest, c.room_of_worker,
                   case when c.refusal is not null then c.refusal
                        when c.of_agent + c.nth_of_agent <= c.agent_capacity then null
                        -- A holder of capacity 1 that still holds a task gets it back as a new attempt, so that
                        -- an older process of the same name is stale.
                        when c.agent_capacity = 1 and c.may_regain and c.nth_of_agent = 1 then 'regains'
                        when c.of_agent < c.agent_capacity then 'later'
                        else 'full'
                   end as verdict
            from (
                select c.place, c.agent_id, c.worker_id, c.agent_capacity, c.refusal, held.of_agent, held.oldest, held.may_regain,
                       c.worker_capacity - held.of_all as room_of_worker,
                       row_number() over (partition by c.agent_id, c.refusal is null order by c.place) as nth_of_agent
                from (
                    select c.*, coalesce(c.known, case when a.id is null then 'gone' when w.drains then 'draining' end) as refusal
                    from unnest(agents, workers, agent_capacities, worker_capacities, oldest_leases, known_verdicts) with ordinality
                         as c (agent_id, worker_id, agent_capacity, worker_capacity, oldest_lease, known, place)
                    left join lateral (
                        select a.id from agents a where a.tenant_id = tenant and a.id = c.agent_id limit 1
                    ) a on true
                    left join lateral (
                        select w.drain_requested_at is not null or w.said_status in ('draining', 'offline') as drains
                        from workers w where w.tenant_id = tenant and w.id = c.worker_id limit 1
                    ) w on true
                ) c
                cross join lateral (
                    select count(*) as of_all, count(*) filter (where l.agent_id = c.agent_id) as of_agent, min(l.lease_no) as oldest,
                           -- A restricted key gets nothing back that it could not have claimed, and what was called off
                           -- is not begun again.
                           bool_or(l.agent_id = c.agent_id and l.cancel_by is null
                                   and (only_workspaces is null or l.workspace_id = any(only_workspaces))
                                   and (only_workflow is null or l.workflow_id = only_workflow)) as may_regain
                    from (
                        select l.agent_id, l.lease_no, l.cancel_by, l.workspace_id, l.workflow_id from task_leases l
                        where l.tenant_id is not distinct from tenant and l.worker_id is not null
                          and (l.worker_id, l.lease_no) >= (c.worker_id, c.oldest_lease)
                          and (l.worker_id, l.lease_no) <= (c.worker_id, last_lease)
                        union all
                        select l.agent_id, l.lease_no, l.cancel_by, l.workspace_id, l.workflow_id from task_leases l
                        where c.worker_id is null and l.tenant_id is not distinct from tenant
                          and (l.agent_id, l.lease_no) >= (c.agent_id, c.oldest_lease)
                          and (l.agent_id, l.lease_no) <= (c.agent_id, last_lease)
                    ) l
                ) held
            ) c
        ) a
    ) s;

    if 'regains' = any(verdicts) then
        with regaining as materialized (
            select c.*, l.task_id, l.state as held_state
            from unnest(verdicts, agents, request_ids, lease_lengths, fences, starting, actor_types, actors) with ordinality
                 as c (verdict, agent_id, request_id, lease_seconds, fenced, starts, actor_type, actor_id, place)
            cross join lateral (
                select l.task_id, l.state from task_leases l
                where l.tenant_id is not distinct from tenant and l.agent_id = c.agent_id and l.cancel_by is null
                  and (only_workspaces is null or l.workspace_id = any(only_workspaces))
                  and (only_workflow is null or l.workflow_id = only_workflow)
                limit 1
            ) l
            where c.verdict = 'regains'
        ),
        regained as (
            update task_leases l
            set attempt = l.attempt + 1,
                task_seq = l.task_seq + case when r.starts then 2 else 1 end,
                state = case when r.starts then 'in_progress' else 'claimed' end,
                state_changed_at = moment,
                fenced = r.fenced,
                lease_seconds = r.lease_seconds,
                expires_at = moment + make_interval(secs => r.lease_seconds),
                deadline_at = moment + (l.deadline_at - l.claimed_at),
                claimed_at = moment,
                started_at = case when r.starts then moment end
            from regaining r
            where l.tenant_id = tenant and l.task_id = r.task_id
            returning r.place, r.request_id, r.starts, r.actor_type, r.actor_id, r.held_state, l.agent_id, l.task_id, l.attempt,
                      l.task_seq, l.fenced, l.workflow_id
        ),
        remembered as (
            insert into claim_requests (tenant_id, agent_id, request_id, task_id, attempt, claimed_at)
            select tenant, r.agent_id, r.request_id, r.task_id, r.attempt, moment from regained r where r.request_id is not null
        ),
        told as (
            insert into events (tenant_id, event_type, entity_type, entity_id, actor_type, actor_id, task_seq, attempt, from_state, via_state, to_state, reason, fenced, workflow_id)
            select tenant, 'task.state_changed', 'task', r.task_id, r.actor_type, r.actor_id, r.task_seq, r.attempt, r.held_state,
                   case when r.starts then 'claimed' end, case when r.starts then 'in_progress' else 'claimed' end,
                   'claim_again', r.fenced, r.workflow_id
            from regained r
            order by r.task_id
        )
        -- A lease that ended in this moment cannot be had back; its holder asks again.
        select array_agg(case when r.place is not null then 'claimed' when u.verdict = 'regains' then 'full' else u.verdict end order by u.place),
               array_agg(coalesce(r.task_id, u.task_id) order by u.place)
        into verdicts, known_tasks
        from unnest(verdicts, known_tasks) with ordinality as u (verdict, task_id, place)
        left join regained r on r.place = u.place;
    end if;

    for of_lane in
        select array(
            select candidate.spot
            from unnest(beyond[4 * lane.nth - 3 : 4 * lane.nth]) with ordinality as look (beyond, nth)
            cross join lateral (
                select q.ctid as spot, q.seq
                from task_queue q
                where q.tenant_id = tenant
                  and q.lane = lane.name
                  and q.priority = look.nth - 1
                  and q.seq > look.beyond
                  -- A `case`, because of an `or` the planner thinks that hardly a row passes, and then it
                  -- prefers to sort the whole lane instead of walking the index until it has enough.
                  and case when only_workspaces is null and only_workflow is null then true
                           else (only_workspaces is null or q.workspace_id = any(only_workspaces))
                                and (only_workflow is null or q.workflow_id = only_workflow)
                      end
                order by q.seq
                limit 2 * lane.takers
            ) candidate
            order by look.nth, candidate.seq
            limit 2 * lane.takers
        )
        from unnest(lanes, takers) with ordinality as lane (name, takers, nth)
        order by lane.nth
    loop
        found := found || of_lane;
        found_end := found_end || cardinality(found);
        one_by_one := one_by_one or (shared[cardinality(found_end)] and cardinality(of_lane) > 0);
    end loop;

    -- Until they are locked others may take these tasks. But no other row comes to lie where they lie: the snapshot
    -- of the statement that calls this function keeps what was deleted after it.
    while first_set <= cardinality(claimants_end) loop
        last_set := case when one_by_one then first_set else cardinality(claimants_end) end;
        for looked in
            select choice.wanted, choice.candidates,
                   array(
                       select q.ctid
                       from task_queue q
                       where q.tenant_id = tenant and q.ctid = any(choice.candidates)
                       order by q.priority, q.seq
                       limit choice.wanted
                       for update skip locked
                   ) as locked
            from generate_series(first_set, last_set) as s (nth)
            cross join lateral (
                select who.wanted,
                       array(
                           select candidate.spot
                           from unnest(set_lanes[coalesce(lanes_end[s.nth - 1], 0) + 1 : lanes_end[s.nth]]) as lane (nth)
                           cross join lateral (
                               select lies.spot
                               from unnest(found[coalesce(found_end[lane.nth - 1], 0) + 1 : found_end[lane.nth]]) as lies (spot)
                               -- What an earlier set got is locked, but not for this transaction.
                               where lies.spot not in (select unnest(spots))
                               limit 2 * who.wanted
                           ) candidate
                       ) as candidates
                from cardinality(array_positions(
                         verdicts[coalesce(claimants_end[s.nth - 1], 0) + 1 : claimants_end[s.nth]], null)) as who (wanted)
                -- Once for each set, though two look at it.
                offset 0
            ) choice
            order by s.nth
        loop
            seen := seen || cardinality(looked.candidates);
            spots := spots || looked.locked;
            getters := getters || waiting[first_waiting : first_waiting + cardinality(looked.locked) - 1];
            first_waiting := first_waiting + looked.wanted;
        end loop;
        first_set := last_set + 1;
    end loop;

    if cardinality(spots) > 0 then
        return query
        with taken as (
            delete from task_queue q
            using unnest(spots, getters) as deal (spot, place)
            where q.tenant_id = tenant and q.ctid = deal.spot
            returning q.*, deal.place
        ),
        dealt as materialized (
            select q.*, case when starting[q.place] then 2 else 1 end as moves, lease_lengths[q.place] as lease_seconds,
                   nextval('task_lease_no') as lease_no,
                   t.activation_id, t.title, t.description, t.task_type, t.task_kind, t.role, t.stage_name, t.timeout_minutes,
                   t.depends_on, t.settings, t.input, t.context, t.role_config, t.environment, t.metadata,
                   t.is_orchestrator_task, t.has_output_schema, t.created_at
            from taken q
            cross join lateral (select t.* from tasks t where t.tenant_id = tenant and t.id = q.task_id limit 1) t
        ),
        leased as (
            insert into task_leases (
                tenant_id, task_id, attempt, task_seq, retry_count, abandon_count, rework_count, lane, priority, seq,
                workspace_id, workflow_id, work_item_id, has_dependants, state_changed_at, progress, state, agent_id, worker_id,
                lease_no, fenced, has_output_schema, lease_seconds, expires_at, deadline_at, claimed_at, started_at
            )
            select tenant, d.task_id, d.attempt + 1, d.task_seq + d.moves, d.retry_count, d.abandon_count, d.rework_count,
                   d.lane, d.priority, d.seq, d.workspace_id, d.workflow_id, d.work_item_id, d.has_dependants, moment,
                   d.progress, case d.moves when 1 then 'claimed' else 'in_progress' end, agents[d.place], workers[d.place],
                   d.lease_no, fences[d.place], d.has_output_schema, d.lease_seconds,
                   moment + make_interval(secs => d.lease_seconds), moment + make_interval(mins => d.timeout_minutes),
                   moment, case d.moves when 2 then moment end
            from dealt d
        ),
        remembered as (
            insert into claim_requests (tenant_id, agent_id, request_id, task_id, attempt, claimed_at)
            select tenant, agents[d.place], request_ids[d.place], d.task_id, d.attempt + 1, moment
            from dealt d
            where request_ids[d.place] is not null
        ),
        told as (
            insert into events (tenant_id, event_type, entity_type, entity_id, actor_type, actor_id, task_seq, attempt, from_state, via_state, to_state, reason, fenced, workflow_id)
            select tenant, 'task.state_changed', 'task', d.task_id, actor_types[d.place], actors[d.place], d.task_seq + d.moves,
                   d.attempt + 1, 'ready', case d.moves when 2 then 'claimed' end,
                   case d.moves when 1 then 'claimed' else 'in_progress' end, 'claim', fences[d.place], d.workflow_id
            from dealt d
        )
        select d.place::int, 'claimed', null::int, least(living[d.place], d.lease_no), d.task_id, d.attempt + 1, d.lane,
               d.seq, case d.moves when 1 then 'claimed' else 'in_progress' end, d.retry_count, d.abandon_count, d.rework_count,
               agents[d.place], workers[d.place], moment, case d.moves when 2 then moment end,
               moment + make_interval(secs => d.lease_seconds), d.lease_seconds, d.progress::text, d.workflow_id, d.work_item_id,
               d.workspace_id, d.activation_id, d.title, d.description, d.task_type, d.task_kind, d.role, d.stage_name,
               d.priority, d.timeout_minutes, d.depends_on, d.settings::text, d.input::text, d.context::text,
               d.role_config::text, d.environment::text, d.metadata::text, d.is_orchestrator_task, d.created_at
        from dealt d;
    end if;

    if num_nonnulls(variadic verdicts) > 0 then
        return query
        select v.place::int, v.verdict, null::int, living[v.place], v.task_id, coalesce(l.attempt, v.attempt),
               l.lane, l.seq, l.state, l.retry_count, l.abandon_count, l.rework_count, l.agent_id, l.worker_id, l.claimed_at,
               l.started_at, l.expires_at, l.lease_seconds, l.progress::text, t.workflow_id, t.work_item_id, t.workspace_id,
               t.activation_id, t.title, t.description, t.task_type, t.task_kind, t.role, t.stage_name, t.priority,
               t.timeout_minutes, t.depends_on, t.settings::text, t.input::text, t.context::text, t.role_config::text,
               t.environment::text, t.metadata::text, t.is_orchestrator_task, t.created_at
        from unnest(verdicts, known_tasks, known_attempts) with ordinality as v (verdict, task_id, attempt, place)
        left join lateral (
            select l.* from task_leases l
            where l.tenant_id = tenant and l.task_id = v.task_id and v.verdict <> 'spent'
            limit 1
        ) l on true
        left join lateral (
            select t.* from tasks t where t.tenant_id = tenant and t.id = l.task_id limit 1
        ) t on true
        where v.verdict is not null;
    end if;

    for nth in 1 .. cardinality(seen) loop
        place := nth;
        verdict := 'seen';
        candidates := seen[nth];
        return next;
    end loop;
end
$$;
