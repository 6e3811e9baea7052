//! Giving a run something to work with: an input packet, at its launch, with a work item, or later.

use protocol::{
    ActivationId, AddInputPacket, EntityType, InitialInputPacket, InputPacket, InputPacketId,
    JsonObject, WorkItemId, WorkflowId,
};
use serde_json::{Value, json};

use super::packet_store as store;
use super::{FREE_DATA_BYTES_MAX, KEPT_MAX, must_belong, wake_with};
use crate::activations::Wake;
use crate::error::Error;
use crate::holders::check_free_data;
use crate::http::{Write, check_length};
use crate::{events, workflows};

/// An input packet, checked.
pub(crate) struct Packet {
    pub(super) id: InputPacketId,
    pub(super) kind: String,
    pub(super) source: String,
    pub(super) summary: Option<String>,
    pub(super) structured_inputs: JsonObject,
    pub(super) metadata: JsonObject,
    pub(super) item: Option<WorkItemId>,
    pub(super) request_id: Option<String>,
}

impl Packet {
    /// What a run begins with.
    ///
    /// # Errors
    /// 422 for bad fields.
    pub(crate) fn of_launch(
        given: InitialInputPacket,
        request_id: Option<&str>,
    ) -> Result<Self, Error> {
        Self::initial(given, ("launch", "launch"), None, request_id)
    }

    /// What a work item begins with: of which kind, and where it comes from.
    ///
    /// # Errors
    /// 422 for bad fields.
    pub(crate) fn of_item(
        given: InitialInputPacket,
        origin: (&str, &str),
        item: WorkItemId,
        request_id: Option<&str>,
    ) -> Result<Self, Error> {
        Self::initial(given, origin, Some(item), request_id)
    }

    fn initial(
        given: InitialInputPacket,
        (kind, source): (&str, &str),
        item: Option<WorkItemId>,
        request_id: Option<&str>,
    ) -> Result<Self, Error> {
        let packet = Self {
            id: InputPacketId::new(),
            kind: kind.to_owned(),
            source: source.to_owned(),
            summary: given.summary,
            structured_inputs: given.structured_inputs.unwrap_or_default(),
            metadata: JsonObject::empty(),
            item,
            request_id: request_id.map(str::to_owned),
        };
        packet.check("initial_input_packet.")?;
        Ok(packet)
    }

    fn check(&self, within: &str) -> Result<(), Error> {
        let path = |name: &str| format!("{within}{name}");
        check_length(&path("packet_kind"), &self.kind, 1..=120)?;
        check_length(&path("source"), &self.source, 1..=120)?;
        let summary = self.summary.as_deref().unwrap_or_default();
        check_length(&path("summary"), summary, 0..=4000)?;
        for (name, data) in [
            ("structured_inputs", &self.structured_inputs),
            ("metadata", &self.metadata),
        ] {
            check_free_data(&path(name), Some(data), FREE_DATA_BYTES_MAX)?;
        }
        Ok(())
    }

    /// What the orchestrator is told of it.
    pub(crate) fn told(&self) -> Value {
        json!({
            "input_packet_id": self.id, "packet_kind": self.kind, "source": self.source, "summary": self.summary,
            "structured_inputs": self.structured_inputs,
        })
    }
}

/// Keeps a packet of a run, whose orchestrator this activation wakes with it.
///
/// # Errors
/// Those of the database.
pub(crate) async fn keep_packet(
    write: &mut Write,
    run: WorkflowId,
    packet: &Packet,
    activation: Option<ActivationId>,
) -> Result<(), Error> {
    let tenant = write.caller().tenant();
    let by = (write.caller().scope().as_str(), write.caller().actor());
    store::insert(write.conn(), tenant, run, packet, activation, by).await?;
    store::forget(write.conn(), tenant, run, KEPT_MAX).await?;
    let data = json!({
        "input_packet_id": packet.id, "packet_kind": packet.kind, "work_item_id": packet.item,
        "activation_id": activation,
    });
    let entity = (EntityType::Workflow, run.uuid());
    events::tell_of_run(write, run, entity, "workflow.input_packet_added", data).await
}

/// Gives a run something more to work with, and wakes its orchestrator with it, if there is one to wake.
///
/// # Errors
/// 404; 422 for bad fields.
pub(super) async fn add_input_packet(
    write: &mut Write,
    run: WorkflowId,
    body: AddInputPacket,
) -> Result<InputPacket, Error> {
    let packet = Packet {
        id: InputPacketId::new(),
        kind: body.packet_kind,
        source: body.source.unwrap_or_else(|| "operator".to_owned()),
        summary: body.summary,
        structured_inputs: body.structured_inputs.unwrap_or_default(),
        metadata: body.metadata.unwrap_or_default(),
        item: body.work_item_id,
        request_id: body.request_id,
    };
    packet.check("")?;
    let (tenant, workspaces) = (write.caller().tenant(), write.caller().workspace_filter());
    workflows::lock_open_run(write.conn(), tenant, run, workspaces.as_deref()).await?;
    must_belong(write, run, packet.item, None).await?;
    let told = Wake::new(
        "operator.input_packet",
        "the run was given something more to work with",
        packet.told(),
    );
    let activation = wake_with(write, run, told, packet.item).await?;
    keep_packet(write, run, &packet, activation).await?;
    store::find(write.conn(), tenant, run, packet.id).await
}
