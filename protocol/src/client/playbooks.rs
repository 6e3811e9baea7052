//! Playbooks, in versions.

use super::{Client, Filters, Result, data, done, whole};
use crate::{
    ArchivePlaybook, CreatePlaybook, DeletedPlaybookFamily, Page, Playbook, PlaybookComparison,
    PlaybookDeleteImpact, PlaybookId, PlaybookValidation, PublishPlaybook, UpdatePlaybook,
    ValidatePlaybook,
};

impl Client {
    /// Makes a playbook, and publishes it unless it is to be a draft.
    pub async fn create_playbook(&self, playbook: &CreatePlaybook) -> Result<Playbook> {
        data(self.post("/api/v1/playbooks", playbook)).await
    }

    /// Lists versions of playbooks. Filters: `q`, `slug`, `status`, `is_active`, `page`, `per_page`.
    pub async fn list_playbooks(&self, filters: Filters<'_>) -> Result<Page<Playbook>> {
        whole(self.get("/api/v1/playbooks").query(filters)).await
    }

    /// Looks for every mistake in a definition. Nothing is stored.
    pub async fn validate_playbook(&self, wanted: &ValidatePlaybook) -> Result<PlaybookValidation> {
        data(self.post("/api/v1/playbooks/validate", wanted)).await
    }

    /// Reads one version.
    pub async fn get_playbook(&self, id: PlaybookId) -> Result<Playbook> {
        data(self.get(&format!("/api/v1/playbooks/{id}"))).await
    }

    /// Changes single fields of a draft, or makes the next version.
    pub async fn update_playbook(
        &self,
        id: PlaybookId,
        change: &UpdatePlaybook,
    ) -> Result<Playbook> {
        data(self.patch(&format!("/api/v1/playbooks/{id}"), change)).await
    }

    /// Changes the whole of a draft, or makes the next version.
    pub async fn replace_playbook(
        &self,
        id: PlaybookId,
        playbook: &UpdatePlaybook,
    ) -> Result<Playbook> {
        data(self.put(&format!("/api/v1/playbooks/{id}"), playbook)).await
    }

    /// Lists the versions of the playbook that this one belongs to. Filters: `page`, `per_page`.
    pub async fn list_playbook_versions(
        &self,
        id: PlaybookId,
        filters: Filters<'_>,
    ) -> Result<Page<Playbook>> {
        whole(
            self.get(&format!("/api/v1/playbooks/{id}/versions"))
                .query(filters),
        )
        .await
    }

    /// Tells what is different in another version.
    pub async fn compare_playbooks(
        &self,
        id: PlaybookId,
        with: PlaybookId,
    ) -> Result<PlaybookComparison> {
        let request = self.get(&format!("/api/v1/playbooks/{id}/compare"));
        data(request.query(&[("with", with)])).await
    }

    /// Publishes a draft.
    pub async fn publish_playbook(
        &self,
        id: PlaybookId,
        wanted: &PublishPlaybook,
    ) -> Result<Playbook> {
        data(self.post(&format!("/api/v1/playbooks/{id}/publish"), wanted)).await
    }

    /// Archives a playbook, or restores a version of it.
    pub async fn archive_playbook(
        &self,
        id: PlaybookId,
        wanted: &ArchivePlaybook,
    ) -> Result<Playbook> {
        data(self.patch(&format!("/api/v1/playbooks/{id}/archive"), wanted)).await
    }

    /// Tells what hangs on a playbook.
    pub async fn get_playbook_delete_impact(&self, id: PlaybookId) -> Result<PlaybookDeleteImpact> {
        data(self.get(&format!("/api/v1/playbooks/{id}/delete-impact"))).await
    }

    /// Deletes one version.
    pub async fn delete_playbook(&self, id: PlaybookId) -> Result<()> {
        done(self.delete(&format!("/api/v1/playbooks/{id}"))).await
    }
    /// Deletes all versions of a playbook, with their runs.
    pub async fn delete_playbook_family(&self, id: PlaybookId) -> Result<DeletedPlaybookFamily> {
        data(self.delete(&format!("/api/v1/playbooks/{id}/permanent"))).await
    }
}
