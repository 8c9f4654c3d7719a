//! Turns settings into the options of each module.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName};
use tokio::time::Instant;

use super::StartError;
use crate::config::{
    CallbackRule, CreateSecret, ExposedPath, LOCAL_BACKEND_GUARD, Settings, StoreKind,
    UntrustedNetworks,
};
use crate::core::callback::CallbackUrl;
use crate::core::digest::hex;
use crate::core::limits::Limits;
use crate::core::retry::RetryPolicy;
use crate::core::signing::SigningSecrets;
use crate::engine::{self, Engine};
use crate::handover::client::{self, CallError, Client, Permit, RawAnswer, Rule};
use crate::handover::signature;
use crate::net::{Address, ProxyProtocol};
use crate::storage::clock::{Clock as _, SystemClock};
use crate::storage::local::blocking::Blocking;
use crate::storage::local::journals::LocalJournals;
use crate::storage::local::options::LocalOptions;
use crate::storage::local::storage::LocalStorage;
use crate::storage::local::store::{Access as FileAccess, LocalStore};
use crate::storage::local::{lock, marker};
use crate::wire::access::Access;
use crate::wire::browser::Hosts;
use crate::wire::cors::Cors;
use crate::wire::create::{CallWebApp, Calling, Creation, NoAnswer, WebAppAnswer};
use crate::wire::{self, Surface};

/// The engine over the storage directory, which is locked from now on; none is used where a database has the logs.
pub(super) fn open_engine(settings: &Settings) -> Result<Arc<Engine>, StartError> {
    let options = engine_options(settings);
    #[cfg(feature = "cluster")]
    if settings.journal == crate::config::JournalKind::Postgres {
        return super::shared_log::open_engine(settings, options);
    }
    let directory = &settings.storage_dir;
    let access = FileAccess {
        group: settings.storage_gid,
        file_mode: settings.storage_file_mode,
        directory_mode: settings.storage_dir_mode,
    };
    let refused = |error| {
        StartError::new(format!("storage_dir {:?}", directory.display().to_string()), error)
    };
    if settings.storage_must_exist {
        marker::require(directory).map_err(refused)?;
    }
    let store = LocalStore::open(directory, access).map_err(refused)?;
    let journals = LocalJournals::open(store.directory()).map_err(refused)?;
    #[cfg(feature = "cluster")]
    let logs = store.directory();
    let clock = Arc::new(SystemClock);
    let local = LocalOptions::new(options.ack, options.min_free_bytes, settings.batch_memory());
    let (store, journals) = (Arc::new(store), Arc::new(journals));
    let storage = LocalStorage::new(store, journals, clock.clone(), local, Blocking::Threads);
    #[cfg(feature = "cluster")]
    if settings.store == StoreKind::S3 {
        return super::object_storage::open_engine(settings, options, storage, logs.path());
    }
    Ok(Engine::new(options, storage.clone(), storage, clock))
}

/// Waits until no other server uses the storage directory, so long at most: during a rollout the old one may still be
/// stopping. Whether it is free then, the start finds out.
pub async fn wait_for_storage(directory: &Path, at_most: Duration) {
    let end = Instant::now() + at_most;
    let mut told = false;
    while let Some(holder) = lock::taken(directory) {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        if !std::mem::replace(&mut told, true) {
            let at_most = humantime::format_duration(at_most);
            tracing::warn!(holder, %at_most, "waiting for another server to release the storage directory");
        }
        tokio::time::sleep(LOCK_POLL.min(left)).await;
    }
}

/// How often the lock of another server is tried.
const LOCK_POLL: Duration = Duration::from_millis(100);

/// The options of the engine.
pub(super) fn engine_options(settings: &Settings) -> engine::options::Options {
    engine::options::Options {
        ack: settings.ack.into(),
        limits: Limits {
            max_chunk_bytes: settings.max_chunk_size,
            max_upload_bytes: settings.max_upload_size,
            grid_bytes: None,
        },
        max_uploads: settings.max_uploads,
        min_free_bytes: settings.min_free_space,
        max_idle: settings.max_idle,
        retain_finished: settings.retain_finished,
        failed_retention: settings.failed_retention,
        calls: RetryPolicy {
            confirm_timeout: settings.handover_confirm_timeout,
            retry_for: settings.handover_retry_for,
        },
        call_timeout: settings.handover_timeout,
        body_timeout: settings.body_timeout,
        min_rate: settings.min_rate,
        tuning: engine::options::Tuning::default(),
    }
}

/// The options of the HTTP surface.
pub(super) fn wire_options(settings: &Settings) -> wire::Options {
    let any = settings.cors_origins.iter().any(|origin| origin == "*");
    wire::Options {
        chunk_size: settings.chunk_size,
        send_ahead: settings.send_ahead,
        doctor: settings.doctor,
        backend_page: settings.backend_page,
        frontend_url: settings.frontend_url.clone(),
        resumable_versions: settings.resumable_versions.clone(),
        resumable_104: settings.resumable_104,
        creation: creation(settings, callback_rules(settings)),
        settings: settings.to_toml().into(),
        destination: match settings.store {
            StoreKind::File => wire::Destination::File,
            StoreKind::S3 => wire::Destination::Bucket,
        },
        cors: if any { Cors::Any } else { Cors::Only(settings.cors_origins.clone()) },
        access: Access {
            allow: settings.backend_allow_effective(),
            fallback: settings.loopback_fallback(),
            hosts: Hosts { named: settings.backend_hosts.clone(), machine: machine() },
            trusted_proxies: settings.trusted_proxies.clone(),
            token: settings.backend_token.as_ref().map(|token| token.expose().to_owned()),
            operator_token: settings.operator_token.as_ref().map(|token| token.expose().to_owned()),
            client_certificate: settings.backend_tls_client_ca.is_some(),
        },
    }
}

/// The machine's host name; empty where it is not text.
fn machine() -> String {
    rustix::system::uname().nodename().to_str().unwrap_or_default().to_ascii_lowercase()
}

/// Logs a warning where every user of this machine may call the backend API and no setting says so.
pub(super) fn warn_of_open_backend(settings: &Settings, address: &Address) {
    if settings.opens_backend_to_local_users(address) {
        tracing::warn!(%address, fix = LOCAL_BACKEND_GUARD, "every local user can call the backend API");
    }
}

/// Logs a warning for each setting that is mostly a mistake.
pub(super) fn log_warnings(settings: &Settings) {
    if let Some(UntrustedNetworks { networks, believed }) = settings.untrusted_networks() {
        tracing::warn!(
            networks,
            believed,
            "trusted_proxies includes untrusted networks: clients can spoof their address"
        );
    }
    for setting in settings.short_tokens() {
        let at_least = Settings::TOKEN_CHARS;
        tracing::warn!(setting, at_least, "token can be guessed: it is short");
    }
    for ExposedPath { setting, path, problem, fix } in &settings.exposed_paths {
        let path = path.display().to_string();
        tracing::warn!(setting, path, problem, fix, "path exposed to other local users");
    }
}

/// Who says who the clients of a listener are, if it asks for that.
pub(super) fn proxy_protocol(settings: &Settings, surface: Surface) -> Option<Arc<ProxyProtocol>> {
    let asked = match surface {
        Surface::Public | Surface::Shared => settings.proxy_protocol,
        Surface::Backend => settings.backend_proxy_protocol,
    };
    asked.then(|| Arc::new(ProxyProtocol::new(settings.trusted_proxies.clone())))
}

/// Who makes the handovers.
pub(super) fn handover_client(settings: &Settings) -> Client {
    let (timeout, allow) = (settings.handover_timeout, callback_rules(settings));
    Client::new(client::Options { timeout, allow }).signing(settings.signing_secrets.clone())
}

/// Who may be called.
fn callback_rules(settings: &Settings) -> Vec<client::Rule> {
    let rules = settings.callback_allow.iter().map(|rule| match rule {
        CallbackRule::Host(host) => client::Rule::Host(host.clone()),
        CallbackRule::Net(net) => client::Rule::Net(*net),
    });
    rules.collect()
}

/// Whom the wire asks, if a web app is named. `allow`: who may be called.
pub(super) fn creation(settings: &Settings, allow: Vec<Rule>) -> Option<Creation> {
    let url = settings.create_url.clone()?;
    let options = client::Options { timeout: settings.create_timeout, allow };
    let names = settings.create_forward_headers.iter();
    let (secret, signing) = match settings.create_secret.clone() {
        Some(CreateSecret::Sent(secret)) => (Some(secret.expose().to_owned()), None),
        Some(CreateSecret::Signing(signing)) => (None, Some(signing)),
        None => (None, None),
    };
    let client = Client::new(options);
    let inner = Inner { client, url, signing: signing.unwrap_or_default() };
    Some(Creation {
        web_app: Arc::new(WebApp(Arc::new(inner))),
        forward_headers: names.filter_map(|name| name.parse::<HeaderName>().ok()).collect(),
        secret,
    })
}

struct WebApp(Arc<Inner>);

struct Inner {
    client: Client,
    url: CallbackUrl,
    signing: SigningSecrets,
}

impl CallWebApp for WebApp {
    fn post(&self, form: String, mut headers: HeaderMap, slot: Permit) -> Calling {
        let inner = Arc::clone(&self.0);
        Box::pin(async move {
            // Each call has an id of its own, by which the web app can tell that it comes again.
            let id = SystemClock.random().map_err(|error| NoAnswer(error.to_string()))?;
            headers.extend(signature::headers(&inner.signing, &hex(&id), form.as_bytes()));
            let posted = inner.client.post(&inner.url, form, headers, slot);
            answer(posted.await).map_err(|why| NoAnswer(why.to_string()))
        })
    }
}

/// An answer that was read to its end.
fn answer(posted: Result<RawAnswer, CallError>) -> Result<WebAppAnswer, Unread> {
    let raw = posted?;
    if !raw.is_whole() {
        return Err(Unread::TooLong);
    }
    Ok(WebAppAnswer { status: raw.status, media_type: raw.media_type, body: raw.body? })
}

/// Why an answer cannot be used.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("the answer cannot be read: {0}")]
    Unreadable(#[from] client::Unreadable),
    #[error("the answer is longer than 64 KiB")]
    TooLong,
}
