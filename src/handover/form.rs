//! The form that a backend is sent: what docs/protocol.md says of the finish URL.

use crate::core::digest::hex;
use crate::core::name;
use crate::engine::delivery::{Call, CallKind};

/// The fields, in order.
pub fn fields(call: &Call) -> Vec<(&'static str, String)> {
    let (upload, ticket) = (&call.upload, call.upload.ticket());
    let (filename, cancelled, reason) = match call.kind {
        CallKind::CancelNotice => (String::new(), "yes", upload.reason().unwrap_or_default()),
        CallKind::Handover => (call.file.to_string(), "no", ""),
    };
    let mut fields = vec![
        ("id", ticket.id.to_string()),
        ("filename", filename),
        ("filenameFromBrowser", upload.name().unwrap_or(name::UNNAMED).to_owned()),
        ("backendSecret", ticket.secret.clone()),
        ("cancelled", cancelled.to_owned()),
        ("cancelReason", reason.to_owned()),
        ("length", upload.length().map(|length| length.to_string()).unwrap_or_default()),
        ("metadata", ticket.metadata.clone()),
    ];
    fields.extend(upload.media_type().map(|it| ("type", it.to_owned())));
    fields.extend(upload.client_metadata().map(|it| ("uploadMetadata", it.to_owned())));
    if let Some(sha256) = upload.sha256() {
        fields.push(("digest", format!("sha-256={}", hex(sha256))));
    }
    fields.push(("attempt", call.attempt.to_string()));
    fields
}

/// The body of the request.
pub(super) fn encode(call: &Call) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(fields(call)).finish()
}
