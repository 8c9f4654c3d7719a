//! The settings, one row each. To add one: a row here, its use, a rule in `rules.rs` if it depends on others, and
//! `UPDATE_DOCS=1 cargo test --lib config::table` for `docs/configuration.md`.
//!
//! A row says whether a running server can change it (`reload`, `restart`), the key (flag, variable and field have the
//! same name), the type, the kind of its values (`kind.rs`, `texts.rs`, `units.rs`: how they are read and shown), the
//! default as one would write it, and what the help says after that. The doc comment is the help: it says the unit and
//! the bounds.

pub(super) mod setting;

use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::kind::*;
use super::texts::*;
use super::types::{
    Ack, CallbackRule, CreateSecret, ExposedPath, JournalKind, LogFormat, Secret, StoreKind,
};
use super::units::*;
use crate::core::callback::CallbackUrl;
use crate::core::grid::MIN_PART_BYTES;
use crate::core::host::HostPort;
use crate::core::signing::UrlSecrets;
use crate::net::{Address, InterimTo};
use setting::{Setting, settings};

/// Counts of uploads are signed elsewhere.
const MOST_UPLOADS: u64 = i64::MAX.cast_unsigned();
/// Beyond any file table; bounds what is allocated for the count alone.
const MOST_CONNECTIONS: u64 = 1 << 20;
/// A server holds whole parts in memory.
const MOST_PART_BYTES: u64 = 1 << 30;
/// A signature lasts no longer. Source: AWS Signature Version 4, query parameters, `X-Amz-Expires`.
const MOST_PRESIGNED_SECONDS: u64 = 7 * 24 * 3600;
/// One upload has an eighth of it, and asks for 1 MiB at a time.
const LEAST_PART_MEMORY: u64 = 8 << 20;

settings! {
    "Listeners" {
        /// Public listener: IP:PORT, :PORT or unix:/path
        restart listen: Address = ADDRESS, "0.0.0.0:4000";
        // Safe without any further setting.
        /// Backend listener; give it the address of --listen to share one socket
        restart backend_listen: Address = ADDRESS, "127.0.0.1:4001";
    }
    "TLS" {
        /// Certificate chains (PEM) of the public or shared listener, separated by commas or repeated; each serves the
        /// names in it, the first also all other names
        restart tls_cert: Vec<PathBuf> = PATH, "none", ", plain HTTP";
        /// Private keys (PEM) that belong to --tls-cert, in the same order
        restart tls_key: Vec<PathBuf> = PATH, "none";
        // Fewer connections, and what it costs is small; only interim answers (104) need HTTP/1.1.
        /// Offer HTTP/2 by ALPN on the public or shared listener; without it only http/1.1 is offered, over which iOS can
        /// resume uploads: true or false
        restart http2: bool = BOOL, "true";
        /// Certificate chain (PEM) of a separate backend listener
        restart backend_tls_cert: Option<PathBuf> = PATH, "none", ", plain HTTP";
        /// Private key (PEM) that belongs to --backend-tls-cert
        restart backend_tls_key: Option<PathBuf> = PATH, "none";
        /// CAs (PEM); backends must present a client certificate signed by one of them
        restart backend_tls_client_ca: Option<PathBuf> = PATH, "none";
        /// Plain HTTP listener that redirects every request to the same path on https, usually :80; needs --tls-cert
        restart redirect_listen: Option<Address> = ADDRESS, "none";
        /// Target of these redirects: HOST or HOST:PORT
        restart redirect_host: Option<HostPort> = HOST, "none", "; the host of the request and the port of --listen";
        // None by default: it binds every port of the host, so the operator has to ask for it.
        /// Strict-Transport-Security: how long browsers use only https for this host, on all its ports, after an answer
        /// over TLS; 0 revokes an earlier value
        restart hsts: Option<Duration> = OPTIONAL_TIME, "none";
        /// Host names for which the server obtains a certificate itself (ACME, TLS-ALPN-01), instead of --tls-cert;
        /// port 443 of each must lead to --listen. Only in programs built with the feature acme
        restart acme_domains: Vec<String> = DOMAIN, "none";
        /// Mail addresses at which the certificate authority can reach you
        restart acme_contact: Vec<String> = MAIL, "none";
        /// ACME directory of the certificate authority
        restart acme_directory: String = HTTPS_URL, "https://acme-v02.api.letsencrypt.org/directory";
        /// CAs (PEM) for the TLS certificate of that directory
        restart acme_directory_ca: Option<PathBuf> = PATH, "none", "; the machine's trusted roots";
        /// Directory of obtained certificates and the account key, created if absent
        restart acme_cache: PathBuf = PATH, "./incoming-acme";
    }
    "Backend API" {
        /// Client addresses that may call the backend API: IPs or CIDRs, separated by commas or repeated
        reload backend_allow: Vec<IpNet> =
            NETWORK, "none", "; loopback on a shared socket without any other protection";
        /// Host names that backend calls may use, without ports, separated by commas or repeated. Calls over loopback
        /// without token or client certificate need it, unless they use localhost, the machine's name or an address. If
        /// set, it applies to all calls without token or client certificate
        reload backend_hosts: Vec<String> = HOST_NAME, "none";
        /// Allow everyone who can reach the backend listener to call it: true or false
        reload backend_open: bool = BOOL, "false";
        /// Token that backend calls must send as "Authorization: Bearer TOKEN". Other local users can see flags: prefer
        /// INCOMING_BACKEND_TOKEN or the file
        reload backend_token: Option<Secret> = TOKEN, "none";
        /// Token of the operator, sent like --backend-token: it shows everything that the server knows, and cancels uploads and
        /// retries handovers without their backendSecret, but issues no tickets. Other local users can see flags: prefer
        /// INCOMING_OPERATOR_TOKEN or the file
        reload operator_token: Option<Secret> = TOKEN, "none";
        // It can do nothing that a call without it cannot.
        /// Serve the operator's page, /incoming/backend/, on the backend listener: true or false
        reload backend_page: bool = BOOL, "true";
    }
    "Storage" {
        // One visible place, for the traces of a first try.
        /// Directory of uploads and finished files, created if absent
        restart storage_dir: PathBuf = PATH, "./incoming-data";
        /// Refuse to start if the storage directory was never used: it has neither journals nor the file
        /// incoming-storage, which every start creates. Protects from an unmounted disk: true or false
        restart storage_must_exist: bool = BOOL, "false";
        /// How long a start waits for another server to release the storage directory, such as the old one during a
        /// rollout; 0 does not wait
        restart lock_wait: Duration = TIME, "10s";
        /// Group (name or number) of finished files and their directory
        restart storage_group: Option<String> = GROUP, "none", ", the server's";
        /// Mode of finished files, octal
        restart storage_file_mode: u32 = FILE_MODE, "0600";
        /// Mode of the directory of finished files, octal
        restart storage_dir_mode: u32 = DIR_MODE, "0700";
        // Lost bytes cost more than a sync.
        /// What acknowledged bytes survive: "durable" a power cut, "written" a crash of the server
        restart ack: Ack = ACK, "durable";
    }
    "Object storage" {
        /// Where bytes and finished files go: "file" for the storage directory, "s3" for a bucket. Only in programs built with
        /// the feature cluster
        restart store: StoreKind = STORE, "file";
        /// Bucket of finished files
        restart s3_bucket: Option<String> = BUCKET, "none";
        /// URL of the store, without the bucket
        restart s3_endpoint: Option<String> = ENDPOINT, "none", ", AWS in --s3-region";
        /// Region that requests are signed for
        restart s3_region: String = VISIBLE, "us-east-1";
        /// What all keys in the bucket begin with
        restart s3_prefix: Option<String> = PREFIX, "none";
        /// Name the bucket in the path of a URL, not in its host: true or false
        restart s3_path_style: Option<bool> = BOOL, "none", ", true with --s3-endpoint";
        /// Access key
        restart s3_access_key: Option<String> =
            VISIBLE, "none", "; found as AWS's own tools do: environment, shared files, web identity, ECS, EC2";
        /// Secret key. Other local users can see flags: prefer INCOMING_S3_SECRET_KEY or the file
        restart s3_secret_key: Option<Secret> = SECRET, "none";
        /// Adds the field url to handovers: a presigned URL, with which the web app reads the object for so long without keys of
        /// its own; at most 7d, and no longer than temporary credentials last
        restart s3_presign: Option<Duration> = seconds_up_to::<MOST_PRESIGNED_SECONDS>(), "none", ", no field url";
        /// Bytes of a part, from 5MiB to 1GiB; longer files have larger ones
        restart s3_part_size: u64 = size_within::<MIN_PART_BYTES, MOST_PART_BYTES>(), "8MiB";
        // MinIO removes multipart uploads after 24 h, whatever is done with them.
        /// When an unfinished multipart upload is made an object, so that the store does not remove it: well before its rules
        /// do
        restart s3_multipart_lifetime: Duration = POSITIVE_TIME, "20h";
        // 128 parts of 8 MiB.
        /// Memory for bytes that wait for the bucket, of all uploads; one upload has an eighth of it. From 8MiB
        restart part_memory: u64 = size_within::<LEAST_PART_MEMORY, MOST_BYTES>(), "1GiB";
        /// Requests to the store at once, 1 to 1024
        restart s3_requests: usize = count::<usize, 1, 1024>(), "64";
    }
    "Shared log" {
        /// Where the logs of uploads lie: "file" for the storage directory, "postgres" for a database that any number of
        /// servers share, which then keep nothing themselves; needs --store s3
        restart journal: JournalKind = JOURNAL, "file";
        /// The database: postgres://USER:PASSWORD@HOST/DATABASE, with several hosts separated by commas and sslmode as libpq
        /// has it. Other local users can see flags: prefer INCOMING_POSTGRES_URL or the file
        restart postgres_url: Option<Secret> = SECRET, "none";
        /// Connections to the database for uploads, 1 to 64; three more are for all else
        restart postgres_connections: usize = count::<usize, 1, 64>(), "8";
    }
    "Uploads and memory" {
        // Few enough requests to hide the round trip, and little to send again when one breaks.
        /// Chunk size suggested to clients, at least 1, at most --max-chunk-size
        reload chunk_size: u64 = POSITIVE_SIZE, "8MiB", ", or --max-chunk-size if that is less";
        // Chunks stream, so a large one costs no memory.
        /// Largest accepted chunk; set it below the body limit of a proxy in front
        reload max_chunk_size: Option<u64> = LIMIT, "none";
        // Browsers open six HTTP/1.1 connections, of which a page needs one for the long poll and one to cancel.
        /// Chunks in flight per upload suggested to clients, 1 to 64
        reload send_ahead: u32 = count::<u32, 1, 64>(), "4";
        /// Largest accepted file
        reload max_upload_size: Option<u64> = LIMIT, "none";
        // Bounds memory and directory entries.
        /// Limit of uploads that use disk space or have a pending call to their backend
        reload max_uploads: u64 = count::<u64, 1, MOST_UPLOADS>(), "100000";
        /// Limit of open connections
        restart max_connections: usize = count::<usize, 1, MOST_CONNECTIONS>(), "10000";
        /// Memory for received bytes that wait for the disk, for all connections together; at least 128KiB for each of
        /// max_connections
        restart receive_memory: u64 = POSITIVE_SIZE, "2GiB";
        // The machine and the journals must go on when uploads cannot.
        /// Disk space that uploads leave free; 0 for none
        reload min_free_space: u64 = SIZE, "1GiB";
    }
    "Lifetimes" {
        // A laptop closed over night goes on in the morning.
        /// Cancel an upload after this long without a new byte
        reload max_idle: Duration = POSITIVE_TIME, "12h";
        /// How long the status of a finished or cancelled upload can be read; 0 forgets it at once
        reload retain_finished: Duration = TIME, "1h";
        // Longer than a weekend.
        /// How long the file of a failed handover is kept; 0 deletes it at once
        reload failed_retention: Duration = TIME, "7d";
    }
    "Handovers" {
        // Below the usual 60 s of proxies.
        /// Time limit of one handover call
        reload handover_timeout: Duration = POSITIVE_TIME, "55s";
        /// How long to wait for finish_upload after a backend answered "wait"
        reload handover_confirm_timeout: Duration = POSITIVE_TIME, "10m";
        /// How long a handover is retried after its first call before it fails; 0 tries once
        reload handover_retry_for: Duration = TIME, "24h";
        /// Secrets that sign the handovers of tickets without signingSecret, each after the URL that signalFinishURL must
        /// begin with; the longest one counts, and two secrets sign while the web app changes from one to the other:
        /// `https://app.example.org/uploads whsec_NEW whsec_OLD`. Other local users can see flags: prefer
        /// INCOMING_SIGNING_SECRETS or the file
        reload signing_secrets: Vec<UrlSecrets> = URL_SECRETS, "none";
        /// Hosts, IPs or CIDRs that handovers may call, separated by commas or repeated
        reload callback_allow: Vec<CallbackRule> = CALLBACK_RULE, "none", ", call any";
    }
    "Browsers and other clients" {
        // The ticket is what protects an upload, and no cookie is ever used.
        /// Origins of pages that may upload: `*`, or origins such as `https://app.example.org`, separated by commas or
        /// repeated
        reload cors_origins: Vec<String> = ORIGIN, "*";
        /// The URL at which clients reach /incoming/frontend, with scheme, host and path, for answers that name an
        /// upload by its URL
        reload frontend_url: Option<String> = HTTP_URL, "none", ", answers name paths";
        // Each is of a draft that clients spoke: 3 is iOS 17, 6 iOS 18.1, 8 iOS 26.
        /// Interop versions of resumable uploads (IETF) that are spoken, 3 to 10, separated by commas or repeated; a client
        /// that names another one is served as one that names none, and gets no 104
        reload resumable_versions: Vec<u8> = count::<u8, 3, 10>(), "3, 4, 5, 6, 7, 8, 9, 10";
        // nginx takes a 104 for the answer, and uploads of HTTP/2 clients fail.
        /// When creations of resumable uploads get 104, with which iOS can resume: "direct" over the server's own TLS,
        /// unless Via, Forwarded, X-Forwarded-*, X-Real-IP or --trusted-proxies tell of a proxy; "always", if all proxies in
        /// front pass it on (`incoming doctor` tells); "never"
        reload resumable_104: InterimTo = INTERIM_TO, "direct";
        /// The web app's URL that is asked for a ticket when a tus or resumable client creates an upload
        reload create_url: Option<CallbackUrl> = CALLBACK_URL, "none", ", only the web app creates uploads";
        // Somebody waits for the upload to begin.
        /// Time limit of one call of --create-url
        reload create_timeout: Duration = POSITIVE_TIME, "10s";
        /// Headers of the client's request that a call of --create-url passes on, separated by commas or repeated
        reload create_forward_headers: Vec<String> = HEADER, "authorization, cookie";
        /// Sent as createSecret with a call of --create-url. One that is whsec_ and base64, or two of them with a
        /// space between, sign the call instead, as signingSecret does with handovers. Other local users can see flags: prefer INCOMING_CREATE_SECRET or the file
        reload create_secret: Option<CreateSecret> = CREATE_SECRET, "none";
    }
    "Proxies in front" {
        /// Proxies that are trusted to name the client's address (Forwarded, X-Forwarded-For, PROXY protocol): IPs or
        /// CIDRs, separated by commas or repeated. A network wider than 10.0.0.0/8 or fc00::/7 causes a warning, since
        /// clients in it can spoof their address
        reload trusted_proxies: Vec<IpNet> = NETWORK, "none";
        /// Require a PROXY protocol header (version 2) on every connection to the public or shared listener, from one
        /// of --trusted-proxies or over a unix socket; other connections are closed: true or false
        restart proxy_protocol: bool = BOOL, "false";
        /// The same for a separate backend listener: true or false
        restart backend_proxy_protocol: bool = BOOL, "false";
    }
    "Operation" {
        // It keeps nothing and is bounded.
        /// Serve /incoming/frontend/doctor, with which `incoming doctor` diagnoses proxies: true or false
        reload doctor: bool = BOOL, "true";
        /// End a request body that stalls for this long; its prefix is kept
        reload body_timeout: Duration = POSITIVE_TIME, "30s";
        // What each of 64 bodies gets of a line of 1 KiB/s. Slow lines are welcome, bodies that are meant never to end are not.
        /// End a request body slower than this many bytes per second; its prefix is kept. Measured over a minute and,
        /// if more than 1KiB, also after the first 10 seconds; 0 for no limit
        reload min_rate: u64 = RATE, "16";
        /// How long running transfers may continue at shutdown; 0 ends them at once
        reload shutdown_grace: Duration = TIME, "30s";
        /// Log filter: error, warn, info, debug, trace, off, or directives such as "info,incoming=debug"
        reload log: String = FILTER, "info";
        /// Log format: text or json
        restart log_format: LogFormat = LOG_FORMAT, "text";
        /// Worker threads, 1 to 1024
        restart workers: usize = WORKERS, "one per CPU core";
    }
}

/// The setting of this key.
pub(super) fn setting_of(key: &str) -> Option<&'static Setting> {
    TABLE.iter().find(|setting| setting.key == key)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::path::Path;

    use super::*;

    /// What follows the introduction of `docs/configuration.md`.
    fn documentation() -> String {
        let mut page = String::new();
        let mut group = "";
        for setting in TABLE {
            if setting.group != group {
                group = setting.group;
                write!(page, "\n## {group}\n").unwrap();
            }
            let list = if setting.list { ", ..." } else { "" };
            let reload = if setting.reloadable { "reloadable" } else { "needs a restart" };
            let default = match setting.default {
                text if text.contains(' ') || text == "none" => text.to_owned(),
                text => format!("`{text}`"),
            };
            let Setting { key, value_name, note, help, .. } = setting;
            write!(page, "\n### {key}\n\n{}.\n\n", help.trim_start()).unwrap();
            writeln!(page, "`{value_name}{list}`; default {default}{note}; {reload}.").unwrap();
        }
        page
    }

    /// `UPDATE_DOCS=1 cargo test --lib config::table` writes it.
    #[test]
    fn the_documentation_is_made_of_the_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
        let found = std::fs::read_to_string(&path).unwrap();
        let (head, _) = found.split_once("config::table -->\n").unwrap();
        let made = format!("{head}config::table -->\n{}", documentation());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            return std::fs::write(&path, &made).unwrap();
        }
        assert!(found == made, "{path:?} differs from the table: run with UPDATE_DOCS=1");
    }
}
