//! Headers that prove to a backend that this server calls. Source: Standard Webhooks; see [`SigningSecrets`].

use std::time::{SystemTime, UNIX_EPOCH};

use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use crate::core::signing::SigningSecrets;

/// The headers of a call that is made now; none if there are no secrets. `id` is the same for all calls about one upload.
pub fn headers(secrets: &SigningSecrets, id: &str, body: &[u8]) -> HeaderMap {
    if secrets.is_empty() {
        return HeaderMap::new();
    }
    // A clock before 1970 makes a signature that no backend takes: it is late.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let fields = [
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", now.to_string()),
        ("webhook-signature", secrets.sign(id, now, body)),
    ];
    fields
        .into_iter()
        .filter_map(|(name, value)| {
            Some((HeaderName::from_static(name), HeaderValue::try_from(value).ok()?))
        })
        .collect()
}
