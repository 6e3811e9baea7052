//! Events: what has happened, in an order that never skips.

use super::sse::{self, EntryStream};
use super::{Client, Filters, Result, whole};
use crate::{Event, Stretch};

impl Client {
    /// Reads a stretch of events. Filters: `after`, `limit`, `types`, `entity_id` and others.
    pub async fn list_events(&self, filters: Filters<'_>) -> Result<Stretch<Event>> {
        whole(self.get("/api/v1/events").query(filters)).await
    }

    /// Follows the events, from after `last_event_id` or from now on.
    pub async fn stream_events(
        &self,
        filters: Filters<'_>,
        last_event_id: Option<&str>,
    ) -> Result<EntryStream<Event>> {
        let request = self.get("/api/v1/events/stream").query(filters);
        sse::open(request, last_event_id, None).await
    }
}
