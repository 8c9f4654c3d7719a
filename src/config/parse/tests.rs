//! Tables of values and what is read from them.

use super::*;

fn said(text: &str) -> Raw {
    Raw::Text(text.into())
}

#[test]
fn sizes() {
    fn check(raw: &Raw, expected: Option<u64>) {
        assert_eq!(size(raw).ok(), expected, "{raw}");
    }
    for (text, bytes) in [
        ("0", 0),
        ("512", 512),
        ("512B", 512),
        ("64KiB", 65536),
        ("8MiB", 8 << 20),
        ("8 MiB", 8 << 20),
        ("8mib", 8 << 20),
        ("1GB", 1_000_000_000),
        ("2TiB", 2 << 40),
        ("9223372036854775807", i64::MAX.cast_unsigned()),
    ] {
        check(&said(text), Some(bytes));
    }
    for wrong in [
        "",
        "MiB",
        "8M",
        "8 bananas",
        "-1",
        "+1",
        "1.5GiB",
        "0x10",
        "9223372036854775808",
        "99999999PiB",
        "8MiB/s",
    ] {
        check(&said(wrong), None);
    }
    check(&Raw::Integer(512), Some(512));
    check(&Raw::Integer(-1), None);
    check(&Raw::Boolean(true), None);
}

#[test]
fn limits_and_rates() {
    fn check(text: &str, as_limit: Option<Option<u64>>, as_rate: Option<u64>) {
        assert_eq!(limit(&said(text)).ok(), as_limit, "{text}");
        assert_eq!(rate(&said(text)).ok(), as_rate, "{text}");
    }
    check("none", Some(None), None);
    check("0", None, Some(0));
    check("1KiB", Some(Some(1024)), Some(1024));
    check("1KiB/s", None, Some(1024));
    check("x", None, None);
    assert_eq!(positive_size(&said("1")), Ok(1));
    assert!(positive_size(&said("0")).is_err());
}

#[test]
fn counts() {
    fn check(raw: &Raw, expected: Option<u32>) {
        assert_eq!(count::<u32, 1, 64>(raw).ok(), expected, "{raw}");
    }
    check(&said("1"), Some(1));
    check(&said("64"), Some(64));
    check(&Raw::Integer(4), Some(4));
    for wrong in ["0", "65", "x", "", "-1", "1.0"] {
        check(&said(wrong), None);
    }
    check(&Raw::Integer(-1), None);
    check(&Raw::Other("a list"), None);
}

#[test]
fn durations() {
    fn check(raw: &Raw, expected: Option<Duration>) {
        assert_eq!(duration(raw).ok(), expected, "{raw}");
        let positive = expected.filter(|duration| !duration.is_zero());
        assert_eq!(positive_duration(raw).ok(), positive, "{raw}");
    }
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    check(&said("0"), seconds(0));
    check(&said("0s"), seconds(0));
    check(&Raw::Integer(0), seconds(0));
    check(&said("55s"), seconds(55));
    check(&said("10m"), seconds(600));
    check(&said("1h 30m"), seconds(5400));
    check(&said("7d"), seconds(604_800));
    check(&said("250ms"), Some(Duration::from_millis(250)));
    for wrong in ["", "30", "-1s", "12 parsecs", "9999y", "none"] {
        check(&said(wrong), None);
    }
    check(&Raw::Integer(30), None);
}

#[test]
fn modes() {
    fn check(raw: &Raw, expected: Option<u32>) {
        assert_eq!(mode::<0o600>(raw).ok(), expected, "{raw}");
    }
    check(&said("0640"), Some(0o640));
    check(&said("640"), Some(0o640));
    check(&said("0o640"), Some(0o640));
    check(&said("0777"), Some(0o777));
    for wrong in ["", "0o", "+640", "648", "0440", "1777", "rw-r-----", "0x1f"] {
        check(&said(wrong), None);
    }
    check(&Raw::Integer(640), None);
    assert!(mode::<0o600>(&Raw::Integer(640)).unwrap_err().contains("\"0640\""));
}

#[test]
fn words() {
    assert_eq!(flag(&Raw::Boolean(true)), Ok(true));
    assert_eq!(flag(&said("false")), Ok(false));
    assert!(flag(&said("yes")).is_err());
    assert!(flag(&Raw::Integer(1)).is_err());
    assert_eq!(ack("durable"), Ok(Ack::Durable));
    assert_eq!(ack("written"), Ok(Ack::Written));
    assert!(ack("Durable!").is_err());
    assert_eq!(log_format("json"), Ok(LogFormat::Json));
    assert!(log_format("xml").is_err());
    assert_eq!(name(&Raw::Integer(33)), Ok("33".into()));
    assert!(name(&said("")).is_err());
    assert!(path("").is_err());
}

#[test]
fn log_filters() {
    fn check(text: &str, fits: bool) {
        assert_eq!(log_filter(text).is_ok(), fits, "{text}");
    }
    for right in ["info", "off", "WARN", "info,incoming=debug", "warn,incoming::wire=trace"] {
        check(right, true);
    }
    // Values of fields are taken as they stand: this one is no regular expression.
    check("info,[{upload=(}]=debug", true);
    for wrong in ["", "verbose", "info,", "incoming=loud", "inof", "Gg\u{8d}G\u{8d}[]:", "[ü]=info"]
    {
        check(wrong, false);
    }
}

#[test]
fn networks() {
    fn check(text: &str, expected: Option<&str>) {
        let network = network(text).ok().map(|network| network.to_string());
        assert_eq!(network.as_deref(), expected, "{text}");
    }
    check("10.0.0.0/8", Some("10.0.0.0/8"));
    check("10.1.2.3/8", Some("10.0.0.0/8"));
    check("10.1.2.3", Some("10.1.2.3/32"));
    check("::1", Some("::1/128"));
    check("fd00::/8", Some("fd00::/8"));
    // Addresses are judged in their IPv4 form; an IPv4-mapped network would never match.
    check("::ffff:10.1.2.3", Some("10.1.2.3/32"));
    check("::ffff:10.0.0.0/104", Some("10.0.0.0/8"));
    check("::ffff:0:0/96", Some("0.0.0.0/0"));
    check("::/0", Some("::/0"));
    for wrong in ["", "10.0.0.0/33", "host", "10.0.0", "*"] {
        check(wrong, None);
    }
}

#[test]
fn callback_rules() {
    fn check(text: &str, expected: Option<&CallbackRule>) {
        assert_eq!(callback_rule(text).ok().as_ref(), expected, "{text}");
    }
    let host = |host: &str| CallbackRule::Host(host.into());
    let net = |net: &str| CallbackRule::Net(net.parse().unwrap());
    check("app.example.org", Some(&host("app.example.org")));
    check("App.Example.ORG.", Some(&host("app.example.org")));
    check("localhost", Some(&host("localhost")));
    check("web_1", Some(&host("web_1")));
    check("10.0.0.0/8", Some(&net("10.0.0.0/8")));
    check("::1", Some(&net("::1/128")));
    for wrong in ["", "*.example.org", "http://a", "a:80", "1.2.3.256", "-a", "a..b", "a b"] {
        check(wrong, None);
    }
}

#[test]
fn origins() {
    fn check(text: &str, expected: Option<&str>) {
        assert_eq!(origin(text).ok().as_deref(), expected, "{text}");
    }
    check("*", Some("*"));
    check("https://app.example.org", Some("https://app.example.org"));
    check("HTTPS://App.Example.org:443", Some("https://app.example.org"));
    check("http://localhost:8080", Some("http://localhost:8080"));
    check("http://[::1]:80", Some("http://[::1]"));
    check("http://[::1]", Some("http://[::1]"));
    check("capacitor://localhost", Some("capacitor://localhost"));
    for wrong in [
        "",
        "example.org",
        "https://",
        "https://a/",
        "https://a/b",
        "https://*.a",
        "https://a:x",
        "https://a:0",
        "https://u@a",
        "null",
        "1a://b",
        "http://[::g]",
    ] {
        check(wrong, None);
    }
}

#[test]
fn orders() {
    fn check(read: &Result<String, String>, expected: Option<&str>) {
        assert_eq!(read.as_deref().ok(), expected, "{read:?}");
    }
    check(&domain("Upload.Example.org."), Some("upload.example.org"));
    for wrong in ["", "*.example.org", "10.0.0.1", "a:1", "https://a", "::1", "a b"] {
        check(&domain(wrong), None);
    }
    check(&mail("ops@example.org"), Some("ops@example.org"));
    check(&mail("mailto:ops@example.org"), Some("ops@example.org"));
    for wrong in ["", "ops", "@example.org", "ops@", "a b@example.org", "ops@a/b", "a@b@c"] {
        check(&mail(wrong), None);
    }
    check(&https_url("https://acme.example:14000/dir"), Some("https://acme.example:14000/dir"));
    for wrong in ["", "http://acme.example/", "https://", "https://a b/", "acme.example"] {
        check(&https_url(wrong), None);
    }
}

#[test]
fn hosts_of_urls() {
    fn check(text: &str, expected: Option<&str>) {
        let shown = host_port(text).map(|host| host.to_string());
        assert_eq!(shown.ok().as_deref(), expected, "{text}");
    }
    check("Upload.Example.org", Some("upload.example.org"));
    check("upload.example.org:8443", Some("upload.example.org:8443"));
    check("10.0.0.1:443", Some("10.0.0.1:443"));
    check("[::1]", Some("[::1]"));
    check("[::1]:443", Some("[::1]:443"));
    for wrong in
        ["", ":443", "a:", "a:0", "a:70000", "a:+1", "https://a", "a/b", "::1", "u@a", "a b", "[a]"]
    {
        check(wrong, None);
    }
}

#[test]
fn urls_of_creation() {
    let front = |given: &str, expected: Option<&str>| {
        assert_eq!(http_url(given).ok().as_deref(), expected, "{given}");
    };
    front(
        "https://up.example.org/incoming/frontend",
        Some("https://up.example.org/incoming/frontend"),
    );
    front("http://[::1]:4000/x/", Some("http://[::1]:4000/x"));
    for wrong in [
        "",
        "up.example.org",
        "ftp://a/b",
        "https://a/b?c",
        "https://a/b#c",
        "https://a b",
        "https://a:0/",
    ] {
        front(wrong, None);
    }
    let called = |given: &str| callback_url(given).is_ok();
    assert!(called("http://127.0.0.1:8000/tickets?from=incoming"));
    assert!(!called("http://u:p@a/") && !called("/tickets") && !called("http://"));
    let header = |given: &str| forward_header(given).ok();
    assert_eq!(header("X-User").as_deref(), Some("x-user"));
    for wrong in ["Host", "content-length", "Transfer-Encoding", "a b", ""] {
        assert_eq!(header(wrong), None, "{wrong}");
    }
}
