//! The line of each proxy's configuration, or of the server's own, that fixes a finding.

use super::observed::Proxy;
use serde::Serialize;

/// Where a line belongs, and the line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConfigFix {
    /// The program: `nginx`, `haproxy`, `caddy`, `apache` or `incoming`.
    pub program: &'static str,
    /// Its line, or what to take out.
    pub line: String,
}

impl ConfigFix {
    /// A setting of the server's own.
    pub(super) fn setting(line: impl Into<String>) -> Self {
        Self { program: "incoming", line: line.into() }
    }
}

/// A kind of trouble, with the names it is about.
#[derive(Clone, Copy, Debug)]
pub(super) enum ProxyIssue<'a> {
    Buffering,
    Cap,
    SilentClient,
    SilentServer,
    Method(&'a str),
    RequestHeader(&'a str),
    AnswerHeader(&'a str),
    Doubled(&'a str),
    Preflight,
    Page,
    Prefix,
    Query,
    Cache,
    Exposed,
    Nameless,
    TwoNames,
    Window,
}

/// The lines for this issue: of `proxy`, or of each where it is not known which is in front.
pub(super) fn config_fixes(proxy: Option<Proxy>, issue: ProxyIssue<'_>) -> Vec<ConfigFix> {
    let all = [Proxy::Nginx, Proxy::Haproxy, Proxy::Caddy, Proxy::Apache];
    let asked = all.into_iter().filter(|one| proxy.is_none_or(|proxy| proxy == *one));
    let fix = |proxy: Proxy| ConfigFix { program: proxy.word(), line: line(proxy, issue) };
    asked.map(fix).collect()
}

fn line(proxy: Proxy, issue: ProxyIssue<'_>) -> String {
    let [nginx, haproxy, caddy, apache] = match issue {
        ProxyIssue::Method(name) => return method(proxy, name),
        ProxyIssue::RequestHeader(name) => return request_header(proxy, name),
        ProxyIssue::AnswerHeader(name) => return answer_header(proxy, name),
        ProxyIssue::Doubled(name) => return doubled(proxy, name),
        ProxyIssue::Buffering => [
            "proxy_request_buffering off;",
            "take out: option http-buffer-request",
            "take out of reverse_proxy: request_buffers (2.6: buffer_requests, max_buffer_size)",
            "take out: SetInputFilter BUFFER, SetEnv proxy-sendcl",
        ],
        ProxyIssue::Cap => [
            "client_max_body_size 0;",
            "take out the http-request deny rule on req.body_size or req.hdr(content-length)",
            "take out: request_body { max_size ... }",
            "take out: SecRequestBodyLimit, or the rule on Content-Length (LimitRequestBody does not bind a proxy)",
        ],
        ProxyIssue::SilentClient => [
            "client_body_timeout 300s;",
            "timeout client 300s  (and timeout server 300s)",
            "take out of the global options: servers { timeouts { read_body ... } }",
            "RequestReadTimeout header=20-40,MinRate=500 body=0  (and Timeout 300)",
        ],
        ProxyIssue::SilentServer => [
            "proxy_read_timeout 300s;",
            "timeout server 300s  (in mode tcp: and timeout client 300s)",
            "take out of reverse_proxy's transport http: response_header_timeout, read_timeout",
            "ProxyTimeout 300  (and Timeout 300, and no timeout= on the ProxyPass line)",
        ],
        ProxyIssue::Preflight => [
            "take out: if ($request_method = OPTIONS) { return ...; }",
            "take out: http-request return ... if METH_OPTIONS",
            "take out the respond for method OPTIONS",
            "take out: RewriteCond %{REQUEST_METHOD} OPTIONS and its RewriteRule ... [R=204]",
        ],
        ProxyIssue::Page => [
            "proxy_intercept_errors off;",
            "take out the http-response return (or errorfile) rule on status",
            "take out of reverse_proxy: handle_response",
            "ProxyErrorOverride Off",
        ],
        ProxyIssue::Prefix => [
            "proxy_pass http://incoming;  (nothing behind the name, not even /)",
            "take out: http-request set-path, http-request replace-path",
            "handle in place of handle_path, and no uri strip_prefix",
            "ProxyPass \"/incoming/frontend/\" \"http://127.0.0.1:4000/incoming/frontend/\"",
        ],
        ProxyIssue::Query => [
            "proxy_pass http://incoming;  (and no rewrite ...?;)",
            "take out: http-request set-query, http-request set-uri",
            "take out: uri query, rewrite",
            "no [QSD] on a RewriteRule",
        ],
        ProxyIssue::Cache => [
            "proxy_cache off;",
            "take out: http-request cache-use",
            "take out: cache",
            "CacheDisable /incoming/",
        ],
        ProxyIssue::Exposed => [
            "location ~ ^/incoming/(0\\.1/)?frontend/ { ... }  (in place of /incoming/ or /)",
            "use_backend incoming if { path_beg /incoming/frontend/ /incoming/0.1/frontend/ }",
            "@uploads path /incoming/frontend/* /incoming/0.1/frontend/*",
            "ProxyPass \"/incoming/frontend/\" ... and ProxyPass \"/incoming/0.1/frontend/\" ...  (in place of /incoming/ or /)",
        ],
        ProxyIssue::Nameless => [
            "proxy_set_header X-Forwarded-For $remote_addr;",
            "option forwardfor  (or send-proxy-v2 on the server line, with proxy_protocol = true)",
            "take out: header_up -X-Forwarded-For",
            "ProxyAddHeaders On",
        ],
        ProxyIssue::TwoNames => [
            "proxy_set_header Forwarded \"\";",
            "http-request del-header Forwarded",
            "header_up -Forwarded",
            "RequestHeader unset Forwarded early",
        ],
        ProxyIssue::Window => [
            "http2_body_preread_size 1m;  and client_body_buffer_size 1m;",
            "tune.h2.initial-window-size 1048576  (global)",
            "none: Caddy's window is 1 MiB and fixed; something before it is in the way",
            "H2WindowSize 1048576",
        ],
    };
    let line = match proxy {
        Proxy::Nginx => nginx,
        Proxy::Haproxy => haproxy,
        Proxy::Caddy => caddy,
        Proxy::Apache => apache,
    };
    line.to_owned()
}

fn method(proxy: Proxy, name: &str) -> String {
    match proxy {
        Proxy::Nginx => {
            format!("limit_except without {name}, or if ($request_method ...): take it out")
        }
        Proxy::Haproxy => format!("take out the http-request deny rule on METH_{name} or method"),
        Proxy::Caddy => format!("take out the method matcher that leaves out {name}"),
        Proxy::Apache => {
            format!("<Limit>, <LimitExcept> or AllowMethods without {name}: take it out")
        }
    }
}

fn request_header(proxy: Proxy, name: &str) -> String {
    match proxy {
        Proxy::Nginx => format!("take out: proxy_set_header {name} ...;"),
        Proxy::Haproxy => format!("take out: http-request del-header {name} (or set-header)"),
        Proxy::Caddy => format!("take out: header_up -{name} (or request_header)"),
        Proxy::Apache => format!("take out: RequestHeader unset {name} (or set)"),
    }
}

fn answer_header(proxy: Proxy, name: &str) -> String {
    match proxy {
        Proxy::Nginx => format!("take out: proxy_hide_header {name};"),
        Proxy::Haproxy => format!("take out: http-response del-header {name} (or set-header)"),
        Proxy::Caddy => format!("take out: header_down -{name} (or header)"),
        Proxy::Apache => format!("take out: Header unset {name} (or set)"),
    }
}

fn doubled(proxy: Proxy, name: &str) -> String {
    match proxy {
        Proxy::Nginx => format!("take out: add_header {name} ...;"),
        Proxy::Haproxy => format!("take out: http-response add-header {name} ..."),
        Proxy::Caddy => format!("take out: header_down +{name} ... (or header)"),
        Proxy::Apache => format!("take out: Header always set {name} ... (or add)"),
    }
}
