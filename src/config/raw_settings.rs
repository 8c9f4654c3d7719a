//! Settings as written: every key, as a flag and as a key of the file, not parsed yet.
//!
//! The doc comment of a field is its `--help` text, so it says the default and the unit; a test
//! in `effective.rs` compares the defaults named here with `Settings::default()`.

use serde::Deserialize;

use super::raw::{self, Raw};
use super::secret::Secret;

/// One layer of settings: the flags, the environment or the file. `None` is "not written here".
#[derive(Debug, Default, Clone, PartialEq, Eq, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(next_help_heading = "Settings (priority: flag, environment INCOMING_KEY, file, default)")]
pub struct RawSettings {
    /// Public listener: IP:PORT, :PORT or unix:/path [default: 0.0.0.0:4000]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<Raw>,
    /// Backend listener; give it the address of --listen to share one socket [default: 127.0.0.1:4001]
    #[arg(long, value_name = "ADDRESS")]
    pub backend_listen: Option<Raw>,
    /// Certificate chains (PEM) of the public or shared listener, separated by commas or repeated; each
    /// serves the names in it, the first also all other names [default: none, plain HTTP]
    #[arg(long, value_name = "PATH,...")]
    #[serde(deserialize_with = "raw::list")]
    pub tls_cert: Option<Vec<Raw>>,
    /// Private keys (PEM) that belong to --tls-cert, in the same order [default: none]
    #[arg(long, value_name = "PATH,...")]
    #[serde(deserialize_with = "raw::list")]
    pub tls_key: Option<Vec<Raw>>,
    /// Certificate chain (PEM) of a separate backend listener [default: none, plain HTTP]
    #[arg(long, value_name = "PATH")]
    pub backend_tls_cert: Option<Raw>,
    /// Private key (PEM) that belongs to --backend-tls-cert [default: none]
    #[arg(long, value_name = "PATH")]
    pub backend_tls_key: Option<Raw>,
    /// CAs (PEM); backends must present a client certificate signed by one of them [default: none]
    #[arg(long, value_name = "PATH")]
    pub backend_tls_client_ca: Option<Raw>,
    /// Plain HTTP listener that redirects every request to the same path on https, usually :80; needs --tls-cert
    /// [default: none]
    #[arg(long, value_name = "ADDRESS")]
    pub redirect_listen: Option<Raw>,
    /// Target of these redirects: HOST or HOST:PORT [default: none; the host of the request and the port of
    /// --listen]
    #[arg(long, value_name = "HOST")]
    pub redirect_host: Option<Raw>,
    /// Strict-Transport-Security: how long browsers use only https for this host, on all its ports, after an
    /// answer over TLS; 0 revokes an earlier value [default: none]
    #[arg(long, value_name = "TIME")]
    pub hsts: Option<Raw>,
    /// Host names for which the server obtains a certificate itself (ACME, TLS-ALPN-01), instead of
    /// --tls-cert; port 443 of each must lead to --listen. Only in programs built with the feature acme
    /// [default: none]
    #[arg(long, value_name = "NAME,...")]
    #[serde(deserialize_with = "raw::list")]
    pub acme_domains: Option<Vec<Raw>>,
    /// Mail addresses at which the certificate authority can reach you [default: none]
    #[arg(long, value_name = "MAIL,...")]
    #[serde(deserialize_with = "raw::list")]
    pub acme_contact: Option<Vec<Raw>>,
    /// The authority's directory; that of Let's Encrypt is the default.
    #[arg(
        long,
        value_name = "URL",
        help = "ACME directory of the certificate authority [default: https://acme-v02.api.letsencrypt.org/directory]"
    )]
    pub acme_directory: Option<Raw>,
    /// CAs (PEM) for the TLS certificate of that directory [default: none; the machine's trusted roots]
    #[arg(long, value_name = "PATH")]
    pub acme_directory_ca: Option<Raw>,
    /// Directory of obtained certificates and the account key, created if absent [default: ./incoming-acme]
    #[arg(long, value_name = "PATH")]
    pub acme_cache: Option<Raw>,
    /// Client addresses that may call the backend API: IPs or CIDRs, separated by commas or
    /// repeated [default: none; loopback on a shared socket without any other protection]
    #[arg(long, value_name = "CIDR,...")]
    #[serde(deserialize_with = "raw::list")]
    pub backend_allow: Option<Vec<Raw>>,
    /// Host names that backend calls may use, without ports, separated by commas or repeated. Calls over
    /// loopback without token or client certificate need it, unless they use localhost, the machine's
    /// name or an address. If set, it applies to all calls without token or client certificate
    /// [default: none]
    #[arg(long, value_name = "NAME,...")]
    #[serde(deserialize_with = "raw::list")]
    pub backend_hosts: Option<Vec<Raw>>,
    /// Allow everyone who can reach the backend listener to call it: true or false [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub backend_open: Option<Raw>,
    /// Token that backend calls must send as "Authorization: Bearer TOKEN". Other local users can see flags:
    /// prefer INCOMING_BACKEND_TOKEN or the file [default: none]
    #[arg(long, value_name = "TOKEN")]
    pub backend_token: Option<Secret>,
    /// Directory of uploads and finished files, created if absent [default: ./incoming-data]
    #[arg(long, value_name = "PATH")]
    pub storage_dir: Option<Raw>,
    /// Refuse to start if the storage directory was never used: it has neither journals nor the file
    /// incoming-storage, which every start creates. Protects from an unmounted disk: true or false
    /// [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub storage_must_exist: Option<Raw>,
    /// How long a start waits for another server to release the storage directory, such as the old one during a
    /// rollout; 0 does not wait [default: 10s]
    #[arg(long, value_name = "TIME")]
    pub lock_wait: Option<Raw>,
    /// Group (name or number) of finished files and their directory [default: none, the server's]
    #[arg(long, value_name = "GROUP")]
    pub storage_group: Option<Raw>,
    /// Mode of finished files, octal [default: 0600]
    #[arg(long, value_name = "MODE")]
    pub storage_file_mode: Option<Raw>,
    /// Mode of the directory of finished files, octal [default: 0700]
    #[arg(long, value_name = "MODE")]
    pub storage_dir_mode: Option<Raw>,
    /// What acknowledged bytes survive: "durable" a power cut, "written" a crash of the server
    /// [default: durable]
    #[arg(long, value_name = "ACK")]
    pub ack: Option<Raw>,
    /// Chunk size suggested to clients, at least 1, at most --max-chunk-size [default: 8MiB, or
    /// --max-chunk-size if that is less]
    #[arg(long, value_name = "SIZE")]
    pub chunk_size: Option<Raw>,
    /// Largest accepted chunk; set it below the body limit of a proxy in front [default: none]
    #[arg(long, value_name = "SIZE")]
    pub max_chunk_size: Option<Raw>,
    /// Chunks in flight per upload suggested to clients, 1 to 64 [default: 4]
    #[arg(long, value_name = "COUNT")]
    pub send_ahead: Option<Raw>,
    /// Largest accepted file [default: none]
    #[arg(long, value_name = "SIZE")]
    pub max_upload_size: Option<Raw>,
    /// Limit of uploads that use disk space or have a pending call to their backend [default: 100000]
    #[arg(long, value_name = "COUNT")]
    pub max_uploads: Option<Raw>,
    /// Limit of open connections [default: 10000]
    #[arg(long, value_name = "COUNT")]
    pub max_connections: Option<Raw>,
    /// Memory for received bytes that wait for the disk, for all connections together; at least 128KiB
    /// for each of max_connections [default: 2GiB]
    #[arg(long, value_name = "SIZE")]
    pub receive_memory: Option<Raw>,
    /// Disk space that uploads leave free; 0 for none [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub min_free_space: Option<Raw>,
    /// Cancel an upload after this long without a new byte [default: 12h]
    #[arg(long, value_name = "TIME")]
    pub max_idle: Option<Raw>,
    /// How long the status of a finished or cancelled upload can be read; 0 forgets it at once
    /// [default: 1h]
    #[arg(long, value_name = "TIME")]
    pub retain_finished: Option<Raw>,
    /// How long the file of a failed handover is kept; 0 deletes it at once [default: 7d]
    #[arg(long, value_name = "TIME")]
    pub failed_retention: Option<Raw>,
    /// Time limit of one handover call [default: 55s]
    #[arg(long, value_name = "TIME")]
    pub handover_timeout: Option<Raw>,
    /// How long to wait for finish_upload after a backend answered "wait" [default: 10m]
    #[arg(long, value_name = "TIME")]
    pub handover_confirm_timeout: Option<Raw>,
    /// How long a handover is retried after its first call before it fails; 0 tries once [default: 24h]
    #[arg(long, value_name = "TIME")]
    pub handover_retry_for: Option<Raw>,
    /// Hosts, IPs or CIDRs that handovers may call, separated by commas or repeated
    /// [default: none, call any]
    #[arg(long, value_name = "HOST,...")]
    #[serde(deserialize_with = "raw::list")]
    pub callback_allow: Option<Vec<Raw>>,
    /// Origins of pages that may upload: `*`, or origins such as `https://app.example.org`, separated by
    /// commas or repeated [default: *]
    #[arg(long, value_name = "ORIGIN,...")]
    #[serde(deserialize_with = "raw::list")]
    pub cors_origins: Option<Vec<Raw>>,
    /// The URL at which clients reach /incoming/frontend, with scheme, host and path,
    /// for answers that name an upload by its URL [default: none, answers name paths]
    #[arg(long, value_name = "URL")]
    pub frontend_url: Option<Raw>,
    /// The web app's URL that is asked for a ticket when a tus or resumable client creates an upload
    /// [default: none, only the web app creates uploads]
    #[arg(long, value_name = "URL")]
    pub create_url: Option<Raw>,
    /// Time limit of one call of --create-url [default: 10s]
    #[arg(long, value_name = "TIME")]
    pub create_timeout: Option<Raw>,
    /// Headers of the client's request that a call of --create-url passes on, separated by commas or repeated
    /// [default: authorization, cookie]
    #[arg(long, value_name = "NAME,...")]
    #[serde(deserialize_with = "raw::list")]
    pub create_forward_headers: Option<Vec<Raw>>,
    /// Sent as createSecret with a call of --create-url. Other local users can see flags: prefer
    /// INCOMING_CREATE_SECRET or the file [default: none]
    #[arg(long, value_name = "SECRET")]
    pub create_secret: Option<Secret>,
    /// Proxies that are trusted to name the client's address (Forwarded, X-Forwarded-For, PROXY
    /// protocol): IPs or CIDRs, separated by commas or repeated. A network wider than 10.0.0.0/8 or
    /// fc00::/7 causes a warning, since clients in it can spoof their address [default: none]
    #[arg(long, value_name = "CIDR,...")]
    #[serde(deserialize_with = "raw::list")]
    pub trusted_proxies: Option<Vec<Raw>>,
    /// Require a PROXY protocol header (version 2) on every connection to the public or shared listener,
    /// from one of --trusted-proxies or over a unix socket; other connections are closed: true or false
    /// [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub proxy_protocol: Option<Raw>,
    /// The same for a separate backend listener: true or false [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub backend_proxy_protocol: Option<Raw>,
    /// Serve /incoming/frontend/doctor, with which `incoming doctor` diagnoses proxies: true or false
    /// [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub doctor: Option<Raw>,
    /// End a request body that stalls for this long; its prefix is kept [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub body_timeout: Option<Raw>,
    /// End a request body slower than this many bytes per second; its prefix is kept. Measured over a
    /// minute and, if more than 1KiB, also after the first 10 seconds; 0 for no limit [default: 16]
    #[arg(long, value_name = "SIZE")]
    pub min_rate: Option<Raw>,
    /// How long running transfers may continue at shutdown; 0 ends them at once [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub shutdown_grace: Option<Raw>,
    /// Log filter: error, warn, info, debug, trace, off, or directives such as "info,incoming=debug"
    /// [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<Raw>,
    /// Log format: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<Raw>,
    /// Worker threads, 1 to 1024 [default: one per CPU core]
    #[arg(long, value_name = "COUNT")]
    pub workers: Option<Raw>,
}

/// All keys, in the order of the fields. Taken from the flags, so that no second list can differ.
pub(crate) fn keys() -> Vec<String> {
    let flags = <RawSettings as clap::Args>::augment_args(clap::Command::new("keys"));
    flags.get_arguments().map(|flag| flag.get_id().as_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_flags_and_file_keys() {
        let keys = keys();
        assert_eq!(keys.len(), 57, "{keys:?}");
        for key in keys {
            let file: RawSettings = toml::from_str(&format!("{key} = \"x\"")).unwrap();
            assert_ne!(file, RawSettings::default(), "{key}");
        }
        assert!(toml::from_str::<RawSettings>("chunk_sise = 1").is_err());
    }
}
