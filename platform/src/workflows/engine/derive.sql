-- Where runs are in their lives, derived from what they consist of. Every question is asked of a partial
-- index that holds open things only, so that it costs the same in a large run.
select w.id, w.kind, w.name, w.state as "state!", w.playbook_id, w.parent_workflow_id,
       case
           when w.cancel_requested_at is not null then 'cancelled'
           when w.pause_requested_at is not null then 'paused'
           when w.kind = 'graph' then
               case
                   when exists (select from workflow_steps s where s.tenant_id = $1 and s.workflow_id = w.id and s.state in ('running', 'waiting'))
                        or exists (select from workflow_steps s where s.tenant_id = $1 and s.workflow_id = w.id and s.state = 'pending' and s.unmet = 0)
                        or exists (select from work_items i where i.tenant_id = $1 and i.workflow_id = w.id and i.step_id is null
                                                              and i.completed_at is null and i.cancel_requested_at is null)
                       then 'active'
                   when failed.step_id is not null then 'failed'
                   else 'completed'
               end
           when w.closed_at is not null then 'completed'
           when exists (select from work_items i where i.tenant_id = $1 and i.workflow_id = w.id and i.completed_at is null and i.cancel_requested_at is null)
               then 'active'
           when exists (select from workflows c where c.tenant_id = $1 and c.parent_workflow_id = w.id and c.state not in ('completed', 'failed', 'cancelled'))
               then 'active'
           when exists (select from stage_gates g where g.tenant_id = $1 and g.workflow_id = w.id and g.status = 'awaiting_approval' and g.superseded_at is null)
               then 'active'
           -- Its orchestrator is at work, or is about to be: it may have more in mind. A run that people drive, because
           -- no orchestrator has ever taken what wakes it, does not wait for one.
           when exists (
                    select from activation_batches b
                    where b.tenant_id = $1 and b.workflow_id = w.id and b.state <> 'completed'
                      and (o.has_orchestrator
                           or exists (select from task_leases l where l.tenant_id = $1 and l.task_id = b.task_id)
                           or exists (select from task_parked k where k.tenant_id = $1 and k.task_id = b.task_id))
                )
               then 'active'
           -- Nothing of it is open. As long as there are stages, an orchestrator goes on, and says when it is over.
           when w.lifecycle = 'planned' and exists (select from work_items i where i.tenant_id = $1 and i.workflow_id = w.id)
                and not (o.has_orchestrator
                         and exists (select from workflow_stages g where g.tenant_id = $1 and g.workflow_id = w.id and g.completed_at is null))
               then case
                        when exists (select from work_items i where i.tenant_id = $1 and i.workflow_id = w.id and i.completed_at is not null)
                            then 'completed'
                        -- All of its work was called off, and so is the run.
                        else 'cancelled'
                    end
           else 'pending'
       end as "derived!",
       failed.step_id as "failed_step?", failed.state as "failed_state?", failed.error as "failed_error?"
from workflows w
left join lateral (
    select s.step_id, s.state, s.error::text as error
    from workflow_steps s
    where s.tenant_id = $1 and s.workflow_id = w.id and s.state in ('failed', 'cancelled') and not s.is_forgiven
    order by s.step_id
    limit 1
) failed on true
cross join lateral (
    select exists (select from activation_batches b where b.tenant_id = $1 and b.workflow_id = w.id and b.was_taken) as has_orchestrator
) o
where w.tenant_id = $1 and w.id = any($2)
order by w.id
