//! What is known of an upload's file: from its ticket first, then from the client that said it first.

use super::Upload;
use crate::core::command::FileFacts;
use crate::core::dialect::Client;
use std::sync::Arc;

impl Upload {
    /// The file's harmless name, once known.
    pub fn name(&self) -> Option<&str> {
        self.ticket.file.name.as_deref().or(self.name.as_deref())
    }

    /// The file's media type as backend or browser gave it.
    pub fn media_type(&self) -> Option<&str> {
        self.ticket.file.media_type.as_deref().or(self.media_type.as_deref())
    }

    /// The header `Upload-Metadata` of the client, unchanged.
    pub fn client_metadata(&self) -> Option<&str> {
        self.ticket.file.client_metadata.as_deref().or(self.client_metadata.as_deref())
    }

    /// Who said or stored something first, if that was recorded.
    pub fn client(&self) -> Option<&Arc<Client>> {
        self.client.as_ref()
    }

    /// The facts that are not known yet. The first word on each holds, so that an upload's journal
    /// gets a handful of these records, however often a page repeats itself.
    pub(super) fn news_in(&self, facts: &FileFacts) -> FileFacts {
        FileFacts {
            length: facts.length.filter(|_| self.length.is_none()),
            name: facts.name.clone().filter(|_| self.name().is_none()),
            media_type: facts.media_type.clone().filter(|_| self.media_type().is_none()),
            last_modified: facts.last_modified.filter(|_| self.last_modified.is_none()),
            client_metadata: facts
                .client_metadata
                .clone()
                .filter(|_| self.client_metadata().is_none()),
        }
    }
}
