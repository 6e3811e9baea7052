-- Hands the next ready tasks to a batch of claimants: the function `claim_next` of the
-- migrations says how, and what the rows mean.
select c.place as "place!", c.verdict as "verdict!", c.candidates, c.oldest_lease, c.task_id, c.attempt,
       c.lane, c.seq, c.state, c.retry_count, c.abandon_count, c.rework_count, c.agent_id, c.worker_id, c.claimed_at,
       c.started_at, c.expires_at, c.lease_seconds, c.progress, c.workflow_id, c.work_item_id, c.workspace_id,
       c.activation_id, c.title, c.description, c.task_type, c.task_kind, c.role, c.stage_name, c.priority,
       c.timeout_minutes, c.depends_on, c.settings, c.input, c.context, c.role_config, c.environment, c.metadata,
       c.is_orchestrator_task, c.created_at
from claim_next($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21) c
