//! What was written: every key, as a flag and as a key of the file, still unread.
//!
//! The doc comment of a field is its `--help` text, so it carries the default and the unit; a test
//! in `effective.rs` holds the defaults named here against `Settings::default()`.

use serde::Deserialize;

use super::raw::{self, Raw};
use super::secret::Secret;

/// One layer of settings: the flags, the environment or the file. `None` is "not written here".
#[derive(Debug, Default, Clone, PartialEq, Eq, clap::Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[command(
    next_help_heading = "Settings (flag over environment INCOMING_KEY over file over default)"
)]
pub struct Typed {
    /// Public listener: IP:PORT, :PORT or unix:/path [default: 0.0.0.0:4000]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<Raw>,
    /// Backend listener; the same address as --listen shares one socket [default: 127.0.0.1:4001]
    #[arg(long, value_name = "ADDRESS")]
    pub backend_listen: Option<Raw>,
    /// Certificate chains (PEM) of the public or shared listener, separated by commas or repeated:
    /// each serves the names in it, the first all others [default: none, plain HTTP]
    #[arg(long, value_name = "PATH,...")]
    #[serde(deserialize_with = "raw::list")]
    pub tls_cert: Option<Vec<Raw>>,
    /// Private keys (PEM) that belong to --tls-cert, in the same order [default: none]
    #[arg(long, value_name = "PATH,...")]
    #[serde(deserialize_with = "raw::list")]
    pub tls_key: Option<Vec<Raw>>,
    /// Certificate chain (PEM) of an own backend listener [default: none, plain HTTP]
    #[arg(long, value_name = "PATH")]
    pub backend_tls_cert: Option<Raw>,
    /// Private key (PEM) that belongs to --backend-tls-cert [default: none]
    #[arg(long, value_name = "PATH")]
    pub backend_tls_key: Option<Raw>,
    /// Backends must show a certificate signed by one of these CAs (PEM) [default: none]
    #[arg(long, value_name = "PATH")]
    pub backend_tls_client_ca: Option<Raw>,
    /// Plain HTTP that sends everybody to the same path on https, usually :80; needs --tls-cert
    /// [default: none]
    #[arg(long, value_name = "ADDRESS")]
    pub redirect_listen: Option<Raw>,
    /// Where it sends them: HOST or HOST:PORT [default: none; the host that the request names, the port of
    /// --listen]
    #[arg(long, value_name = "HOST")]
    pub redirect_host: Option<Raw>,
    /// How long browsers stay on https after an answer of the public listener's TLS, for all ports of its
    /// host (Strict-Transport-Security); 0 ends it in browsers that were told [default: none]
    #[arg(long, value_name = "TIME")]
    pub hsts: Option<Raw>,
    /// Names that the server orders a certificate for by itself (ACME, TLS-ALPN-01), instead of
    /// --tls-cert; port 443 of each must lead to --listen. In programs built with the feature acme
    /// [default: none]
    #[arg(long, value_name = "NAME,...")]
    #[serde(deserialize_with = "raw::list")]
    pub acme_domains: Option<Vec<Raw>>,
    /// Mail addresses at which the authority reaches the operator [default: none]
    #[arg(long, value_name = "MAIL,...")]
    #[serde(deserialize_with = "raw::list")]
    pub acme_contact: Option<Vec<Raw>>,
    /// The authority's directory; that of Let's Encrypt is the default.
    #[arg(
        long,
        value_name = "URL",
        help = "The authority's directory [default: https://acme-v02.api.letsencrypt.org/directory]"
    )]
    pub acme_directory: Option<Raw>,
    /// CAs (PEM) that the directory's own certificate comes from [default: none; what the machine trusts]
    #[arg(long, value_name = "PATH")]
    pub acme_directory_ca: Option<Raw>,
    /// Directory of ordered certificates and the account's key; made if absent [default: ./incoming-acme]
    #[arg(long, value_name = "PATH")]
    pub acme_cache: Option<Raw>,
    /// Client addresses that may use the backend API: IPs or CIDRs, separated by commas or
    /// repeated [default: none; loopback on a shared socket without any other protection]
    #[arg(long, value_name = "CIDR,...")]
    #[serde(deserialize_with = "raw::list")]
    pub backend_allow: Option<Vec<Raw>>,
    /// Names that backend calls may have in Host, without ports, separated by commas or repeated: needed
    /// for calls over loopback without token or client certificate that use another name than
    /// localhost, the machine's own or an address; where set, for all calls without these
    /// [default: none]
    #[arg(long, value_name = "NAME,...")]
    #[serde(deserialize_with = "raw::list")]
    pub backend_hosts: Option<Vec<Raw>>,
    /// Let anyone who reaches the backend listener use it: true or false [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub backend_open: Option<Raw>,
    /// Backend calls need "Authorization: Bearer TOKEN". Other users of the machine can see flags:
    /// prefer INCOMING_BACKEND_TOKEN or the file [default: none]
    #[arg(long, value_name = "TOKEN")]
    pub backend_token: Option<Secret>,
    /// Directory of uploads and finished files; made if absent [default: ./incoming-data]
    #[arg(long, value_name = "PATH")]
    pub storage_dir: Option<Raw>,
    /// Start only where the storage directory is one already: it has the file incoming-storage, which every start
    /// puts there, or journals. Keeps an unmounted disk from being taken for an empty one: true or false
    /// [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub storage_must_exist: Option<Raw>,
    /// How long a start waits for another server to leave the storage directory, 0 for not at all; during a rollout
    /// the old one may still be stopping [default: 10s]
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
    /// What an acknowledgement means: "durable" survives a power cut, "written" a crash of the
    /// server [default: durable]
    #[arg(long, value_name = "ACK")]
    pub ack: Option<Raw>,
    /// Suggested bytes per chunk, at least 1, at most --max-chunk-size [default: 8MiB, or
    /// --max-chunk-size if that is less]
    #[arg(long, value_name = "SIZE")]
    pub chunk_size: Option<Raw>,
    /// Largest chunk taken, in bytes; set it below the body limit of a proxy in front
    /// [default: none]
    #[arg(long, value_name = "SIZE")]
    pub max_chunk_size: Option<Raw>,
    /// Suggested chunks in flight per upload, 1 to 64 [default: 4]
    #[arg(long, value_name = "COUNT")]
    pub send_ahead: Option<Raw>,
    /// Largest file taken, in bytes [default: none]
    #[arg(long, value_name = "SIZE")]
    pub max_upload_size: Option<Raw>,
    /// Most uploads at a time that take disk or owe their backend a call [default: 100000]
    #[arg(long, value_name = "COUNT")]
    pub max_uploads: Option<Raw>,
    /// Most connections open at a time [default: 10000]
    #[arg(long, value_name = "COUNT")]
    pub max_connections: Option<Raw>,
    /// Memory for bytes that clients send ahead of the disk, all connections together; at least 128KiB
    /// for each of max_connections [default: 2GiB]
    #[arg(long, value_name = "SIZE")]
    pub receive_memory: Option<Raw>,
    /// Bytes of the disk that uploads leave free; 0 for none [default: 1GiB]
    #[arg(long, value_name = "SIZE")]
    pub min_free_space: Option<Raw>,
    /// An upload without a new byte for this long is cancelled [default: 12h]
    #[arg(long, value_name = "TIME")]
    pub max_idle: Option<Raw>,
    /// How long the status of an upload that is over can be read; 0 forgets it at once
    /// [default: 1h]
    #[arg(long, value_name = "TIME")]
    pub retain_finished: Option<Raw>,
    /// How long the file of a failed handover is kept; 0 removes it at once [default: 7d]
    #[arg(long, value_name = "TIME")]
    pub failed_retention: Option<Raw>,
    /// How long one handover call may take [default: 55s]
    #[arg(long, value_name = "TIME")]
    pub handover_timeout: Option<Raw>,
    /// How long a backend that answered "wait" has for finish_upload [default: 10m]
    #[arg(long, value_name = "TIME")]
    pub handover_confirm_timeout: Option<Raw>,
    /// How long after its first call a handover is tried again before it has failed; 0 tries once [default: 24h]
    #[arg(long, value_name = "TIME")]
    pub handover_retry_for: Option<Raw>,
    /// The only hosts, IPs or CIDRs that handovers call, separated by commas or repeated
    /// [default: none, call any]
    #[arg(long, value_name = "HOST,...")]
    #[serde(deserialize_with = "raw::list")]
    pub callback_allow: Option<Vec<Raw>>,
    /// Origins of pages that may upload: `*`, or such as `https://app.example.org`, separated by
    /// commas or repeated [default: *]
    #[arg(long, value_name = "ORIGIN,...")]
    #[serde(deserialize_with = "raw::list")]
    pub cors_origins: Option<Vec<Raw>>,
    /// Proxies whose word about the client's address is taken (Forwarded, X-Forwarded-For, PROXY
    /// protocol): IPs or CIDRs, separated by commas or repeated. One wider than 10.0.0.0/8 or fc00::/7
    /// lets strangers claim any address, and is warned of [default: none]
    #[arg(long, value_name = "CIDR,...")]
    #[serde(deserialize_with = "raw::list")]
    pub trusted_proxies: Option<Vec<Raw>>,
    /// Every connection to the public or shared listener must begin with a PROXY protocol header
    /// (version 2) from one of --trusted-proxies, or on a unix socket from whoever may open it; others
    /// are closed: true or false [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub proxy_protocol: Option<Raw>,
    /// The same for an own backend listener: true or false [default: false]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub backend_proxy_protocol: Option<Raw>,
    /// Answer at /incoming/frontend/doctor, which says what proxies do to requests (`incoming
    /// doctor`): true or false [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    pub doctor: Option<Raw>,
    /// A body that stands still this long ends, its prefix kept [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub body_timeout: Option<Raw>,
    /// A body slower than this many bytes per second ends, its prefix kept: over a minute of it, and
    /// (if more than 1KiB) after its first 10 seconds; 0 for no such limit [default: 16]
    #[arg(long, value_name = "SIZE")]
    pub min_rate: Option<Raw>,
    /// How long chunks may go on at shutdown; 0 ends them at once [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub shutdown_grace: Option<Raw>,
    /// What is logged: error, warn, info, debug, trace, off, or directives such as
    /// "info,incoming=debug" [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<Raw>,
    /// How it is logged: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<Raw>,
    /// Runtimes, each on a thread of its own, that connections are dealt to, 1 to 1024
    /// [default: one per core]
    #[arg(long, value_name = "COUNT")]
    pub workers: Option<Raw>,
}

/// All keys, in the order of the fields. Taken from the flags, so that no second list can differ.
pub(crate) fn keys() -> Vec<String> {
    let flags = <Typed as clap::Args>::augment_args(clap::Command::new("keys"));
    flags.get_arguments().map(|flag| flag.get_id().as_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_flags_and_file_keys() {
        let keys = keys();
        assert_eq!(keys.len(), 52, "{keys:?}");
        for key in keys {
            let file: Typed = toml::from_str(&format!("{key} = \"x\"")).unwrap();
            assert_ne!(file, Typed::default(), "{key}");
        }
        assert!(toml::from_str::<Typed>("chunk_sise = 1").is_err());
    }
}
