//! What a call to a backend says: a form as in 2014, or JSON.

use std::time::SystemTime;

use serde_json::{Map, Value};

use crate::core::digest::hex;
use crate::core::event::CallFormat;
use crate::core::name;
use crate::engine::delivery::{Call, CallKind};
use crate::storage::location::{Location, ObjectLocation};

/// The fields of the form, in order.
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
    if let (CallKind::Handover, Location::Object(object)) = (call.kind, &call.file) {
        let ObjectLocation { bucket, key, etag, version } = object;
        let named = [("bucket", bucket), ("key", key), ("etag", etag), ("versionId", version)];
        fields.extend(named.map(|(name, value)| (name, value.clone())));
        fields.extend(call.url.iter().map(|url| ("url", url.clone())));
    }
    fields.push(("attempt", call.attempt.to_string()));
    fields
}

/// The body of a call that is made now, and its media type.
pub(super) fn encode(call: &Call, now: SystemTime) -> (&'static str, String) {
    match call.upload.ticket().format {
        CallFormat::Form => {
            let mut form = form_urlencoded::Serializer::new(String::new());
            ("application/x-www-form-urlencoded", form.extend_pairs(fields(call)).finish())
        }
        CallFormat::Json => ("application/json", json(call, now)),
    }
}

/// The fields of the form with their JSON types, as an event of Standard Webhooks.
fn json(call: &Call, now: SystemTime) -> String {
    let data: Map<String, Value> = fields(call)
        .into_iter()
        .filter(|(name, _)| *name != "cancelled")
        .map(|(name, value)| {
            let value = match name {
                "length" => call.upload.length().map_or(Value::Null, Value::from),
                "attempt" => Value::from(call.attempt),
                _ => Value::String(value),
            };
            (name.to_owned(), value)
        })
        .collect();
    let event = match call.kind {
        CallKind::Handover => "upload.finished",
        CallKind::CancelNotice => "upload.cancelled",
    };
    let timestamp = humantime::format_rfc3339_seconds(now).to_string();
    serde_json::json!({ "type": event, "timestamp": timestamp, "data": data }).to_string()
}
