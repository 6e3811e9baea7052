//! Real things of a tenant, one for each parameter that a path can have.

use serde_json::json;
use stint_protocol::client::Client;
use stint_protocol::{
    ActivationId, ClaimedTask, CreateKey, CreateTenant, GateId, InputPacketId, InterventionId,
    KeyId, MessageId, PlaybookId, Scope, SignalType, SignalWorker, SteeringSessionId, TaskId,
    TenantId, WorkItemId, WorkflowId, WorkspaceId,
};
use stint_tests::{Operation, TestPlatform, TestWorker, new_task};
use uuid::Uuid;

/// A tenant with one of everything.
pub(crate) struct World {
    pub(crate) admin: Client,
    pub(crate) worker: TestWorker,
    /// A task of the work item, which the worker's agent holds.
    pub(crate) task: TaskId,
    /// A task that waits for approval.
    approval: TaskId,
    signal: String,
    /// A message to the holder of the task.
    message: MessageId,
    key: KeyId,
    tenant: TenantId,
    log: String,
    /// A run that asks a person, with its work item.
    run: WorkflowId,
    item: WorkItemId,
    step: String,
    workspace: WorkspaceId,
    playbook: PlaybookId,
    pub(crate) led: Led,
}

/// A run whose orchestrator holds its task, with one of everything that such a run has.
pub(crate) struct Led {
    pub(crate) conductor: TestWorker,
    task: TaskId,
    run: WorkflowId,
    item: WorkItemId,
    managed: TaskId,
    gate: GateId,
    activation: ActivationId,
    session: SteeringSessionId,
    intervention: InterventionId,
    packet: InputPacketId,
    stage: String,
}

impl Led {
    async fn of(t: &TestPlatform, admin: &Client, tenant: TenantId) -> Self {
        let stage = format!("build-{tenant}");
        let definition = json!({ "stages": [{ "name": stage, "goal": "Build" }] });
        let playbook = t.playbook_of(tenant, &definition).await;
        let mut launch = t.launch_request(playbook, json!({})).await;
        launch.workspace_id = t.workspace_of(tenant).await;
        let run = admin.create_workflow(&launch).await.unwrap().workflow.id;
        let conductor = t.worker_of(admin, "conductor").plain();
        let conductor = conductor.tags(&["orchestrator"]).await;
        let held = conductor.begin().await;
        let steer = conductor.agent.steering(held.id, None);
        let item = serde_json::from_value(json!({ "title": "Item" })).unwrap();
        let item = steer.plan_work_item(&item).await.unwrap().result.unwrap();
        let plan = json!({ "title": "Part", "work_item_id": item.id, "role": "nobody" });
        let plan = serde_json::from_value(plan).unwrap();
        let managed = steer.plan_task(&plan).await.unwrap().result.unwrap();
        let request = serde_json::from_value(json!({ "summary": "Look" })).unwrap();
        let gate = steer.request_gate(&stage, &request).await.unwrap();
        let told = json!({
            "task_id": held.id, "attempt": held.attempt,
            "payload": { "short_brief": { "headline": "Here" },
                         "detailed_brief_json": { "headline": "Here", "status_kind": "final" } },
        });
        let told = serde_json::from_value(told).unwrap();
        conductor.agent.record_brief(run, &told).await.unwrap();
        let told = json!({ "task_id": held.id, "attempt": held.attempt, "payload": { "headline": "Now" } });
        let told = serde_json::from_value(told).unwrap();
        conductor.agent.record_update(run, &told).await.unwrap();
        let part = json!({ "title": "Other part", "work_item_id": item.id, "role": "hands" });
        let part = serde_json::from_value(part).unwrap();
        steer.plan_task(&part).await.unwrap();
        let hands = t.worker_of(admin, "hands").tags(&["role:hands"]).await;
        hand_off(&hands, &hands.begin().await).await;
        let words = serde_json::from_value(json!({ "request": "Hurry" })).unwrap();
        let steered = admin.steer_workflow(run, &words).await.unwrap();
        let packet = serde_json::from_value(json!({ "packet_kind": "supplemental" })).unwrap();
        let packet = admin.add_input_packet(run, &packet).await.unwrap();
        Self {
            intervention: steered.intervention_id,
            packet: packet.id,
            session: steered.steering_session_id,
            task: held.id,
            run,
            item: item.id,
            managed: managed.id,
            gate: gate.result.unwrap().id,
            activation: held.activation_id.unwrap(),
            conductor,
            stage,
        }
    }

    fn value_of(&self, parameter: &str) -> Option<String> {
        Some(match parameter {
            "task_id" => self.task.to_string(),
            "workflow_id" => self.run.to_string(),
            "work_item_id" => self.item.to_string(),
            "managed_task_id" => self.managed.to_string(),
            "gate_id" => self.gate.to_string(),
            "activation_id" => self.activation.to_string(),
            "stage_name" => self.stage.clone(),
            "session_id" => self.session.to_string(),
            "intervention_id" => self.intervention.to_string(),
            "input_packet_id" => self.packet.to_string(),
            _ => return None,
        })
    }
}

impl World {
    /// Makes one of everything.
    pub(crate) async fn of(t: &TestPlatform, admin: Client) -> Self {
        let worker = t.worker_of(&admin, "holder").capacity(5).await;
        let mut asking = new_task("asking");
        asking.requires_approval = Some(true);
        let approval = admin.create_task(&asking).await.unwrap().id;
        let tenant = admin.get_identity().await.unwrap().tenant_id;
        let step = format!("ask_{}", Uuid::new_v4().simple());
        let definition = json!({
            "kind": "graph", "stages": [{ "name": "ask" }],
            "steps": { step.clone(): { "kind": "approval", "stage": "ask", "message": "Go on?" } },
        });
        let playbook = t.playbook_of(tenant, &definition).await;
        let mut launch = t.launch_request(playbook, json!({})).await;
        launch.workspace_id = t.workspace_of(tenant).await;
        let run = admin.create_workflow(&launch).await.unwrap();
        // A task of its work item, which the worker holds.
        let mut part = new_task("held");
        part.work_item_id = Some(run.work_items[0].id);
        let task = admin.create_task(&part).await.unwrap().id;
        let held = worker.begin().await;
        assert_eq!(held.id, task);
        let signal = admin
            .signal_worker(
                worker.worker_id,
                &SignalWorker {
                    signal_type: SignalType::ConfigUpdate,
                    task_id: None,
                    data: None,
                    request_id: None,
                },
            )
            .await
            .unwrap()
            .signal_id;
        let words = serde_json::from_value(json!({ "message": "Hurry" })).unwrap();
        let message = admin.send_message(task, &words).await.unwrap().id;
        let key = admin.create_key(&plain_key(Scope::Service)).await;
        // An admin does not make keys above its own scope where that is forbidden.
        let key = match key {
            Ok(key) => key.id,
            Err(_) => admin.create_key(&plain_key(Scope::Admin)).await.unwrap().id,
        };
        let logs = json!({ "entries": [{
            "trace_id": Uuid::new_v4(), "span_id": Uuid::new_v4(), "source": "runtime",
            "category": "tool", "operation": "look", "status": "completed",
            "task_id": task, "attempt": held.attempt, "seq": 1,
        }]});
        let taken = t
            .post("/api/v1/logs/ingest", &worker.agent_key, &logs)
            .await;
        assert_eq!(taken.data()["accepted"], 1, "{}", taken.text);
        let log = admin.list_logs(&[]).await.unwrap().data[0].id.clone();
        let workspace = serde_json::from_value(json!({
            "name": "Place", "slug": "place", "memory": { (memory_key(tenant)): 1 },
        }));
        let workspace = admin
            .create_workspace(&workspace.unwrap())
            .await
            .unwrap()
            .id;
        let playbook = serde_json::from_value(json!({
            "name": "Plan", "outcome": "Something", "draft": true, "definition": {},
        }));
        let playbook = admin.create_playbook(&playbook.unwrap()).await.unwrap().id;
        hand_off(&worker, &held).await;
        let used = json!({ "taskId": task, "attempt": held.attempt });
        let used = serde_json::from_value(used).unwrap();
        worker.agent.meter_usage(&used).await.unwrap();
        let led = Led::of(t, &admin, tenant).await;
        Self {
            led,
            run: run.workflow.id,
            item: run.work_items[0].id,
            step,
            admin,
            worker,
            task,
            approval,
            signal: signal.to_string(),
            message,
            key,
            tenant,
            log,
            workspace,
            playbook,
        }
    }

    /// The real thing for a parameter of the path of an operation.
    pub(crate) fn value_for(&self, operation: &Operation, parameter: &str) -> String {
        let is_led = ["orchestrator", "activations", "gates", "steering", "briefs"]
            .contains(&operation.tag());
        let led = is_led.then(|| self.led.value_of(parameter)).flatten();
        led.unwrap_or_else(|| self.value_of(parameter))
    }

    fn value_of(&self, parameter: &str) -> String {
        match parameter {
            "task_id" => self.task.to_string(),
            "approval_id" => self.approval.to_string(),
            "worker_id" => self.worker.worker_id.to_string(),
            "agent_id" => self.worker.agent_id.to_string(),
            "signal_id" => self.signal.clone(),
            "message_id" => self.message.to_string(),
            "key_id" => self.key.to_string(),
            "tenant_id" => self.tenant.to_string(),
            "log_id" => self.log.clone(),
            "workflow_id" => self.run.to_string(),
            "work_item_id" => self.item.to_string(),
            "step_id" => self.step.clone(),
            "workspace_id" => self.workspace.to_string(),
            "playbook_id" => self.playbook.to_string(),
            "memory_key" => memory_key(self.tenant),

            _ => panic!("no fixture for {{{parameter}}}: make one in World"),
        }
    }
}

/// Leaves something to whoever goes on with a task.
async fn hand_off(holder: &TestWorker, held: &ClaimedTask) {
    let left = json!({ "attempt": held.attempt, "summary": "Half", "completion_state": "full" });
    let left = serde_json::from_value(left).unwrap();
    holder.agent.submit_handoff(held.id, &left).await.unwrap();
}

/// A key that no other tenant's workspace remembers anything under.
fn memory_key(tenant: TenantId) -> String {
    format!("note-{tenant}")
}

/// A key of a scope that belongs to no agent or worker.
pub(crate) fn plain_key(scope: Scope) -> CreateKey {
    CreateKey {
        scope,
        owner_type: None,
        owner_id: None,
        label: None,
        expires_at: None,
        workspace_ids: Vec::new(),
        routing_tags: Vec::new(),
        request_id: None,
    }
}

/// A tenant beside the default one.
pub(crate) struct OtherTenant {
    pub(crate) id: TenantId,
    pub(crate) key: String,
    pub(crate) admin: Client,
}

impl OtherTenant {
    /// Makes one.
    pub(crate) async fn of(t: &TestPlatform) -> Self {
        let made = t
            .admin()
            .create_tenant(&CreateTenant {
                name: "Other".to_owned(),
                slug: "other".to_owned(),
                request_id: None,
            })
            .await
            .unwrap();
        Self {
            id: made.tenant.id,
            admin: t.first().client(&made.admin_api_key),
            key: made.admin_api_key,
        }
    }
}
