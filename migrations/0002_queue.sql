-- Tasks, and the five drawers one narrow row per task moves between.
--
-- `tasks` holds the facts and is not updated on the hot path. The drawer a task's row lies in IS its
-- state: task_waiting (pending), task_queue (ready), task_leases (claimed, in_progress), task_parked
-- (waiting for a person), task_results (completed, failed, cancelled). A move deletes the row from one
-- drawer and inserts it into the next in one statement; the row lock decides every race.
--
-- The columns that travel with the row are the same in every drawer:
--   attempt         how many claims the task has had; never resets; the fence
--   task_seq        the number of its last event, so that events are gap-free per task
--   *_count         retries, abandons, reworks
--   lane, priority  where it queues: copies, so that a claim reads one narrow index
--   seq             its place in the queue, kept so that handed-back work goes first
--   has_dependants  whether its end concerns other tasks; set under a lock when one is created
-- The drawers have no foreign keys; their statements check existence.
--
-- After each vacuum and each analyze of a table the plans of its statements are made anew, which takes longer than
-- running them: a table that hardly changes must not be seen to every few seconds.

create sequence task_queue_seq cache 1;

create table tasks (
    tenant_id              uuid        not null,
    id                     uuid        not null,
    request_holder         uuid        not null,
    request_id             text,
    fingerprint            bytea,
    title                  text        not null,
    description            text,
    task_type              text        not null,
    task_kind              text        not null,
    role                   text,
    stage_name             text,
    priority               smallint    not null check (priority between 0 and 3),
    workflow_id            uuid,
    work_item_id           uuid,
    workspace_id           uuid,
    activation_id          uuid,
    parent_id              uuid,
    preferred_agent_id     uuid,
    preferred_worker_id    uuid,
    is_orchestrator_task   boolean     not null,
    timeout_minutes        integer     not null check (timeout_minutes between 1 and 240),
    max_abandons           integer     not null check (max_abandons >= 0),
    on_dependency_failure  text        not null check (on_dependency_failure in ('fail', 'cancel', 'run')),
    depends_on             uuid[]      not null,
    has_output_schema      boolean     not null,
    retry_policy           json,
    -- What only agents interpret: budgets, limits of turns, what an assessment is about.
    settings               json        not null,
    input                  json        not null,
    context                json        not null,
    role_config            json        not null,
    environment            json        not null,
    resource_bindings      json        not null,
    metadata               json        not null,
    created_at             timestamptz not null,
    updated_at             timestamptz not null,
    primary key (tenant_id, id)
) with (autovacuum_analyze_threshold = 1000);
create unique index tasks_request_key on tasks (tenant_id, request_holder, request_id) where request_id is not null;
create index tasks_parent on tasks (tenant_id, parent_id) where parent_id is not null;
create index tasks_workspace on tasks (tenant_id, workspace_id, id) where workspace_id is not null;

-- Which task still waits for which. Written with the task; an edge is taken out when it is counted off,
-- so that a task which ends twice counts once. What a task was made to depend on stands in tasks.depends_on.
create table task_dependencies (
    tenant_id  uuid not null,
    needs_id   uuid not null,
    task_id    uuid not null,
    primary key (tenant_id, needs_id, task_id)
);
create index task_dependencies_task on task_dependencies (tenant_id, task_id);

create table task_waiting (
    tenant_id              uuid        not null,
    task_id                uuid        not null,
    attempt                integer     not null,
    task_seq               integer     not null,
    retry_count            integer     not null,
    abandon_count          integer     not null,
    rework_count           integer     not null,
    lane                   text        not null,
    priority               smallint    not null,
    seq                    bigint      not null,
    workspace_id           uuid,
    workflow_id            uuid,
    has_dependants         boolean     not null,
    state_changed_at       timestamptz not null,
    progress               json,
    -- How many of the tasks it depends on have not ended as it needs.
    blocked_count          integer     not null check (blocked_count >= 0),
    on_dependency_failure  text        not null,
    available_at           timestamptz,
    primary key (tenant_id, task_id)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);
create index task_waiting_due on task_waiting (available_at) where blocked_count = 0;

create table task_queue (
    tenant_id         uuid        not null,
    task_id           uuid        not null,
    attempt           integer     not null,
    task_seq          integer     not null,
    retry_count       integer     not null,
    abandon_count     integer     not null,
    rework_count      integer     not null,
    lane              text        not null,
    priority          smallint    not null,
    seq               bigint      not null,
    workspace_id      uuid,
    workflow_id       uuid,
    has_dependants    boolean     not null,
    state_changed_at  timestamptz not null,
    progress          json,
    primary key (tenant_id, task_id)
) with (autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);
create index task_queue_order on task_queue (tenant_id, lane, priority, seq);

create table task_leases (
    tenant_id          uuid        not null,
    task_id            uuid        not null,
    attempt            integer     not null,
    task_seq           integer     not null,
    retry_count        integer     not null,
    abandon_count      integer     not null,
    rework_count       integer     not null,
    lane               text        not null,
    priority           smallint    not null,
    seq                bigint      not null,
    workspace_id       uuid,
    workflow_id        uuid,
    has_dependants     boolean     not null,
    state_changed_at   timestamptz not null,
    progress           json,
    state              text        not null check (state in ('claimed', 'in_progress')),
    agent_id           uuid        not null,
    worker_id          uuid,
    -- A lease occupies a numbered slot of its holder, and the unique indexes below let no two leases
    -- share one: capacity holds by constraint, also when two replicas claim for one holder at once.
    agent_slot         integer     not null,
    worker_slot        integer,
    -- Whether the holder must name its attempt in every report.
    fenced             boolean     not null,
    has_output_schema  boolean     not null,
    lease_seconds      integer     not null,
    expires_at         timestamptz not null,
    deadline_at        timestamptz not null,
    claimed_at         timestamptz not null,
    started_at         timestamptz,
    primary key (tenant_id, task_id)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000, autovacuum_analyze_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0, vacuum_truncate = off);
create unique index task_leases_agent_slot on task_leases (tenant_id, agent_id, agent_slot);
create unique index task_leases_worker_slot on task_leases (tenant_id, worker_id, worker_slot) where worker_id is not null;
create index task_leases_expiry on task_leases (expires_at);

create table task_parked (
    tenant_id         uuid        not null,
    task_id           uuid        not null,
    attempt           integer     not null,
    task_seq          integer     not null,
    retry_count       integer     not null,
    abandon_count     integer     not null,
    rework_count      integer     not null,
    lane              text        not null,
    priority          smallint    not null,
    seq               bigint      not null,
    workspace_id      uuid,
    workflow_id       uuid,
    has_dependants    boolean     not null,
    state_changed_at  timestamptz not null,
    progress          json,
    state             text        not null check (state in ('awaiting_approval', 'output_pending_assessment', 'escalated')),
    agent_id          uuid,
    worker_id         uuid,
    claimed_at        timestamptz,
    started_at        timestamptz,
    output            json,
    error             json,
    metrics           json,
    git_info          json,
    verification      json,
    primary key (tenant_id, task_id)
);

create table task_results (
    tenant_id         uuid        not null,
    task_id           uuid        not null,
    attempt           integer     not null,
    task_seq          integer     not null,
    retry_count       integer     not null,
    abandon_count     integer     not null,
    rework_count      integer     not null,
    lane              text        not null,
    priority          smallint    not null,
    seq               bigint      not null,
    workspace_id      uuid,
    workflow_id       uuid,
    has_dependants    boolean     not null,
    state_changed_at  timestamptz not null,
    progress          json,
    state             text        not null check (state in ('completed', 'failed', 'cancelled')),
    agent_id          uuid,
    worker_id         uuid,
    claimed_at        timestamptz,
    started_at        timestamptz,
    output            json,
    error             json,
    metrics           json,
    git_info          json,
    verification      json,
    primary key (tenant_id, task_id)
) with (autovacuum_analyze_threshold = 1000);
create index task_results_unhappy on task_results (tenant_id, task_id) where state <> 'completed';

-- Which claim request got which attempt, so that a repeated claim gets the same one.
create table claim_requests (
    tenant_id   uuid        not null,
    agent_id    uuid        not null,
    request_id  text        not null,
    task_id     uuid        not null,
    attempt     integer     not null,
    claimed_at  timestamptz not null,
    primary key (tenant_id, agent_id, request_id)
);
create index claim_requests_age on claim_requests (claimed_at);

-- Where every task is now: one row per task, from whichever drawer it lies in.
create view task_positions as
    select tenant_id, task_id, 'pending' as state, attempt, task_seq, retry_count, abandon_count, rework_count,
           lane, priority, state_changed_at, progress, workspace_id,
           blocked_count, available_at,
           null::uuid as agent_id, null::uuid as worker_id, null::timestamptz as claimed_at, null::timestamptz as started_at,
           null::timestamptz as expires_at,
           null::json as output, null::json as error, null::json as metrics, null::json as git_info, null::json as verification
    from task_waiting
    union all
    select tenant_id, task_id, 'ready', attempt, task_seq, retry_count, abandon_count, rework_count,
           lane, priority, state_changed_at, progress, workspace_id,
           0, null, null, null, null, null, null, null, null, null, null, null
    from task_queue
    union all
    select tenant_id, task_id, state, attempt, task_seq, retry_count, abandon_count, rework_count,
           lane, priority, state_changed_at, progress, workspace_id,
           0, null, agent_id, worker_id, claimed_at, started_at, expires_at, null, null, null, null, null
    from task_leases
    union all
    select tenant_id, task_id, state, attempt, task_seq, retry_count, abandon_count, rework_count,
           lane, priority, state_changed_at, progress, workspace_id,
           0, null, agent_id, worker_id, claimed_at, started_at, null, output, error, metrics, git_info, verification
    from task_parked
    union all
    select tenant_id, task_id, state, attempt, task_seq, retry_count, abandon_count, rework_count,
           lane, priority, state_changed_at, progress, workspace_id,
           0, null, agent_id, worker_id, claimed_at, started_at, null, output, error, metrics, git_info, verification
    from task_results;

-- The one projection of a task: its facts and its position.
create view task_records as
    select t.tenant_id, t.id, t.workflow_id, t.work_item_id, t.workspace_id, t.activation_id, t.parent_id, t.title,
           t.description, t.task_type, t.task_kind, t.role, t.stage_name, t.priority, p.state, p.state_changed_at,
           p.attempt, p.retry_count, p.abandon_count, p.rework_count, p.agent_id, p.worker_id, p.claimed_at,
           p.started_at, p.expires_at, p.progress::text as progress, p.available_at, t.depends_on, p.blocked_count,
           t.on_dependency_failure, t.input::text as input, t.context::text as context, p.output::text as output,
           p.error::text as error, p.metrics::text as metrics, p.git_info::text as git_info,
           p.verification::text as verification, t.role_config::text as role_config,
           t.environment::text as environment, t.metadata::text as metadata, t.retry_policy::text as retry_policy,
           t.settings::text as settings, t.request_id, t.is_orchestrator_task, t.timeout_minutes, t.max_abandons,
           t.preferred_agent_id, t.preferred_worker_id, t.created_at, t.updated_at
    from tasks t
    join task_positions p on p.tenant_id = t.tenant_id and p.task_id = t.id;
