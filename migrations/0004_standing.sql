-- How workers and agents are doing, judged by the database clock at the moment of reading.
--
-- By the beginning of the statement, not by clock_timestamp(): because that one changes under the planner's hands,
-- whoever reads one column of a view would have to pay for all of them, and some look into task_leases.
--
-- Nothing here is stored: a status follows from when the holder was last heard from, from what it said,
-- from what an operator wants, and from the leases that lie in task_leases. Lateness has no tolerance
-- but for `degraded`, which allows a beat two seconds to travel.

create view worker_standing as
    select w.tenant_id, w.id, w.name, w.runtime_type, w.connection_mode, w.routing_tags, w.capacity,
           w.heartbeat_interval_seconds, w.protocol_version, w.host_info, w.metadata, w.told_status,
           w.drain_requested_at, w.metrics, w.last_heartbeat_at, w.connected_at, w.created_at, w.updated_at,
           s.silence,
           case
               when s.silence is not null then s.silence
               when w.last_heartbeat_at < statement_timestamp() - make_interval(secs => w.heartbeat_interval_seconds + 2)
                   then 'degraded'
               when w.drain_requested_at is not null or w.said_status = 'draining'
                   then 'draining'
               when exists (select from task_leases l where l.tenant_id is not distinct from w.tenant_id and l.worker_id = w.id)
                   then 'busy'
               else 'online'
           end as status,
           (select count(*) from task_leases l where l.tenant_id is not distinct from w.tenant_id and l.worker_id = w.id) as leases,
           (select l.task_id from task_leases l
            where l.tenant_id is not distinct from w.tenant_id and l.worker_id = w.id
            order by l.claimed_at, l.task_id limit 1) as current_task_id
    from workers w
    -- How far it is gone, if it is. By itself, because it follows from the row alone, without a look at leases.
    cross join lateral (
        select case
                   when w.said_status = 'offline'
                        or w.last_heartbeat_at < statement_timestamp() - make_interval(secs => 2 * w.heartbeat_interval_seconds + 300)
                       then 'offline'
                   when w.said_status = 'disconnected'
                        or w.last_heartbeat_at < statement_timestamp() - make_interval(secs => 2 * w.heartbeat_interval_seconds)
                       then 'disconnected'
               end as silence
    ) s;

-- An agent is heard through its own heartbeat or through its worker's, whichever came last.
create view agent_standing as
    select a.tenant_id, a.id, a.worker_id, a.name, a.protocol, a.execution_mode, a.routing_tags, a.capacity,
           a.heartbeat_interval_seconds, a.protocol_version, a.tools, a.metadata, a.told_status,
           a.registered_at, a.created_at, a.updated_at,
           greatest(a.last_heartbeat_at, w.last_heartbeat_at) as last_heartbeat_at,
           s.silence,
           case
               when s.silence is not null then s.silence
               when exists (select from task_leases l where l.tenant_id is not distinct from a.tenant_id and l.agent_id = a.id)
                   then 'busy'
               else 'active'
           end as status,
           (select count(*) from task_leases l where l.tenant_id is not distinct from a.tenant_id and l.agent_id = a.id) as leases,
           (select l.task_id from task_leases l
            where l.tenant_id is not distinct from a.tenant_id and l.agent_id = a.id
            order by l.claimed_at, l.task_id limit 1) as current_task_id,
           (select max(l.claimed_at) from task_leases l
            where l.tenant_id is not distinct from a.tenant_id and l.agent_id = a.id) as last_claim_at
    from agents a
    left join worker_standing w on w.tenant_id = a.tenant_id and w.id = a.worker_id
    cross join lateral (
        select case
                   when w.silence = 'offline' then 'offline'
                   when a.last_heartbeat_at < statement_timestamp() - make_interval(secs => 2 * a.heartbeat_interval_seconds)
                        and (w.id is null or w.silence = 'disconnected')
                       then 'inactive'
               end as silence
    ) s;
