//! Protects operators from a server that starts wrong: what is impossible stops the start with
//! exit code 2 and one line that names it, for each mistake.

use crate::child::{Program, run};
use rcgen::generate_simple_self_signed;
use std::path::Path;

/// Runs it and expects exit code 2 and exactly one line that holds all of `parts`.
#[track_caller]
fn refuses(directory: &Path, arguments: &[&str], variables: &[(&str, &str)], parts: &[&str]) {
    let output = run(directory, arguments, variables);
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?} {variables:?}: {line}");
    assert_eq!(line.trim_end().lines().count(), 1, "one line: {line}");
    for part in parts {
        assert!(line.contains(part), "{part:?} in {line}");
    }
    assert!(output.stdout.is_empty());
}

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for name in ["one", "two"] {
        let made = generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        std::fs::write(directory.path().join(format!("{name}.pem")), made.cert.pem()).unwrap();
        let key = made.signing_key.serialize_pem();
        std::fs::write(directory.path().join(format!("{name}.key")), key).unwrap();
    }
    std::fs::write(directory.path().join("file"), "no directory").unwrap();
    directory
}

#[test]
fn impossible_settings_stop_the_start() {
    let home = directory();
    let base = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--backend-listen",
        "127.0.0.2:0",
        "--storage-dir",
        "data",
    ];
    let check = |flags: &[&str], parts: &[&str]| {
        refuses(home.path(), &[&base[..], flags].concat(), &[], parts);
    };
    check(&["--tls-cert", "absent", "--tls-key", "one.key"], &["tls_cert", "absent"]);
    check(&["--tls-cert", "one.pem", "--tls-key", "absent"], &["tls_key", "absent"]);
    check(&["--tls-cert", "one.pem", "--tls-key", "two.key"], &["tls_key", "two.key"]);
    check(&["--tls-cert", "file", "--tls-key", "one.key"], &["tls_cert", "file"]);
    check(&["--tls-cert", "one.pem"], &["tls_key"]);
    check(&["--chunk-size", "eight"], &["chunk_size", "eight"]);
    check(&["--chunk-size", "0"], &["chunk_size", "0"]);
    check(&["--chunk-size", "2MiB", "--max-chunk-size", "1MiB"], &["chunk_size", "max_chunk_size"]);
    check(&["--send-ahead", "99"], &["send_ahead", "99"]);
    check(&["--max-idle", "soon"], &["max_idle", "soon"]);
    check(&["--ack", "maybe"], &["ack", "maybe"]);
    check(&["--cors-origins", "no origin"], &["cors_origins", "no origin"]);
    check(&["--storage-file-mode", "0999"], &["storage_file_mode", "0999"]);
    check(&["--storage-group", "no-such-group-here"], &["storage_group", "no-such-group-here"]);
    check(&["--config", "absent.toml"], &["config", "absent.toml"]);
    assert!(!home.path().join("data/files").exists(), "nothing was begun");
}

#[test]
fn storage_must_be_a_directory_to_write_to() {
    let home = directory();
    let check = |storage: &str, parts: &[&str]| {
        let flags = ["serve", "--listen", "127.0.0.1:0", "--backend-listen", "127.0.0.2:0"];
        let flags = [&flags[..], &["--storage-dir", storage]].concat();
        refuses(home.path(), &flags, &[], &[&["storage_dir", storage], parts].concat());
    };
    check("file", &["directory"]);
    check("file/below", &[]);
    check("/proc/nothing/can/be/made/here", &[]);
    check("/sys/kernel", &["writable"]);
}

#[test]
fn backends_are_never_open_by_accident() {
    let home = directory();
    for (listen, backend) in
        [("127.0.0.1:0", "0.0.0.0:0"), ("127.0.0.1:0", "[::]:0"), ("0.0.0.0:4999", "0.0.0.0:4999")]
    {
        let flags = ["serve", "--listen", listen, "--backend-listen", backend];
        refuses(
            home.path(),
            &flags,
            &[],
            &["backend_listen", backend, "backend_token", "backend_open"],
        );
    }
    for chosen in
        [&["--backend-token", "t"][..], &["--backend-allow", "10.0.0.0/8"], &["--backend-open"]]
    {
        let flags = [&["--backend-listen", "0.0.0.0:0"][..], chosen].concat();
        drop(Program::start(home.path(), &flags));
    }
}

#[test]
fn unknown_keys_are_named_with_the_nearest_known() {
    let home = directory();
    std::fs::write(home.path().join("bad.toml"), "chunk_sise = '8MiB'\n").unwrap();
    std::fs::write(home.path().join("broken.toml"), "listen = \n").unwrap();
    let file = |name| ["serve", "--config", name];
    refuses(home.path(), &file("bad.toml"), &[], &["chunk_sise", "bad.toml", "chunk_size"]);
    refuses(home.path(), &file("broken.toml"), &[], &["broken.toml"]);
    let variables = [("INCOMING_CHUNK_SISE", "8MiB")];
    refuses(home.path(), &["serve"], &variables, &["INCOMING_CHUNK_SISE", "INCOMING_CHUNK_SIZE"]);
    let variables = [("INCOMING_CHUNK_SIZE", "huge")];
    refuses(home.path(), &["serve"], &variables, &["chunk_size", "huge", "INCOMING_CHUNK_SIZE"]);
    let flags = ["serve", "--chunk-sise", "8MiB"];
    refuses(home.path(), &flags, &[], &["--chunk-sise", "'--chunk-size'", "--help"]);
    refuses(home.path(), &["serve", "--chunk-size"], &[], &["--chunk-size", "a value is required"]);
    refuses(home.path(), &["surf"], &[], &["surf"]);
}

/// Who has made several mistakes learns of all that can be told at once, and of none twice: not of what a wrong value
/// or an unknown key comes to.
#[test]
fn all_mistakes_are_told_one_a_line() {
    let home = directory();
    let check = |file: &str, variables: &[(&str, &str)], keys: &[&str]| {
        std::fs::write(home.path().join("a.toml"), file).unwrap();
        let output = run(home.path(), &["check-config", "--config", "a.toml"], variables);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        let found: Vec<_> =
            told.lines().map(|line| line.split([' ', ':']).nth(2).unwrap()).collect();
        assert_eq!(found, keys, "{told}");
        assert!(told.lines().all(|line| line.starts_with("incoming: ")), "{told}");
    };
    let unknown = [("INCOMING_ACKS", "x"), ("INCOMING_LISTENN", "x")];
    check(
        "chunk_sise = 1\nsend_ahead = 0\n",
        &unknown,
        &["INCOMING_ACKS", "INCOMING_LISTENN", "chunk_sise", "send_ahead"],
    );
    let wrong =
        "send_ahead = 0\nack = 'maybe'\nmax_idle = 'soon'\nlisten = 'x'\ntls_cert = 'absent'\n";
    check(wrong, &[], &["listen", "ack", "send_ahead", "max_idle", "tls_cert"]);
    let odd =
        "chunk_size = 2\nmax_chunk_size = 1\ncors_origins = ['*', 'https://a']\nhsts = '1d'\n";
    check(odd, &[], &["hsts", "chunk_size", "cors_origins"]);
    let absent =
        "tls_cert = 'no.pem'\ntls_key = 'no.key'\nstorage_group = 'no'\nstorage_dir = 'file'\n";
    check(absent, &[], &["tls_cert", "tls_key", "storage_group", "storage_dir"]);
    // A mistake of each kind; and of a certificate whose key is unknown nothing else.
    let all = "tls_crt = 'no.pem'\ntls_key = 'no.key'\nhsts = '1d'\nsend_ahead = 0\nstorage_group = 'no'\n\
               backend_listen = '0.0.0.0:4001'\nstorage_dir = 'file'\n";
    check(all, &[], &["tls_crt", "send_ahead", "backend_listen", "storage_group", "storage_dir"]);
    let sockets = "listen = 'unix:/no/dir/a'\nbackend_listen = 'unix:/no/dir/b'\nack = 'x'\n";
    check(sockets, &[], &["ack", "listen", "backend_listen"]);
}

#[test]
fn sockets_that_are_taken() {
    let home = directory();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let flags = ["serve", "--listen", &address, "--backend-listen", "127.0.0.2:0"];
    refuses(home.path(), &flags, &[], &["listen", &address, "in use"]);
    let _running = Program::start(home.path(), &[]);
    let flags = [
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--backend-listen",
        "127.0.0.2:0",
        "--storage-dir",
        "data",
        "--lock-wait",
        "0",
    ];
    refuses(home.path(), &flags, &[], &["storage_dir", "another server", "process"]);
}

#[test]
fn flags_over_environment_over_file() {
    let home = directory();
    let file = "chunk_size = '1MiB'\nsend_ahead = 1\nmax_idle = '1h'\n";
    std::fs::write(home.path().join("a.toml"), file).unwrap();
    let variables = [("INCOMING_SEND_AHEAD", "2"), ("INCOMING_MAX_IDLE", "2h")];
    let flags = ["check-config", "--config", "a.toml", "--max-idle", "3h"];
    let output = run(home.path(), &flags, &variables);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let shown = String::from_utf8(output.stdout).unwrap();
    let value = |key: &str| {
        let line = shown.lines().find(|line| line.starts_with(&format!("{key} = ")));
        line.unwrap_or_else(|| panic!("{key} in\n{shown}")).to_owned()
    };
    assert!(value("chunk_size").contains("1MiB"), "{shown}");
    assert!(value("send_ahead").contains('2'), "{shown}");
    assert!(value("max_idle").contains("3h"), "{shown}");
    let secret = run(home.path(), &["check-config", "--backend-token", "hush-hush"], &[]);
    assert!(!String::from_utf8_lossy(&secret.stdout).contains("hush-hush"));
}

/// With these `backend_allow` and the addresses in the log mean nothing.
#[tokio::test]
async fn strangers_that_are_trusted_are_told_of() {
    let home = tempfile::tempdir().unwrap();
    let check = |flags: &[&str], word: Option<&str>| {
        let output = run(home.path(), &[&["check-config", "--backend-open"], flags].concat(), &[]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && !output.stdout.is_empty(), "{told}");
        assert_eq!(told.lines().count(), usize::from(word.is_some()), "{told}");
        for part in word.into_iter().chain(word.map(|_| "clients can spoof their address")) {
            assert!(told.contains(part), "{part:?} in {told}");
        }
    };
    check(&["--trusted-proxies", "10.0.0.0/8"], None);
    check(&["--trusted-proxies", "0.0.0.0/0"], Some("trusted_proxies = 0.0.0.0/0 includes"));
    check(&["--trusted-proxies", "10.0.0.1,::/0", "--proxy-protocol"], Some("PROXY headers"));
    let program = Program::start(home.path(), &["--trusted-proxies", "10.0.0.1,0.0.0.0/0"]);
    let log = program.log();
    let line = log.lines().find(|line| line.contains("clients can spoof their address"));
    let line: serde_json::Value = serde_json::from_str(line.expect("a warning")).unwrap();
    assert_eq!(
        (line["level"].as_str(), line["networks"].as_str()),
        (Some("WARN"), Some("0.0.0.0/0"))
    );
}

/// What other users of the machine could read or replace is told by the check and by the start, with the fix; a
/// storage directory that is somebody else's stops both.
#[test]
fn issue_13_what_other_users_can_read_or_replace_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let home = directory();
    let at = |name: &str| home.path().join(name);
    let set = |name: &str, mode| {
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set("", 0o755);
    std::fs::create_dir(at("data")).unwrap();
    set("data", 0o700);
    std::fs::write(at("incoming.toml"), "backend_token = 'hush-hush-hush-hush'\n").unwrap();
    let flags = ["--config", "incoming.toml", "--tls-cert", "one.pem", "--tls-key", "one.key"];
    let told = || {
        let check = [&["check-config", "--storage-dir", "data"], &flags[..]].concat();
        let output = run(home.path(), &check, &[]);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{told}");
        told.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    for name in ["incoming.toml", "one.key"] {
        set(name, 0o640);
    }
    assert_eq!(told(), [""; 0]);
    for name in ["incoming.toml", "one.key"] {
        set(name, 0o644);
    }
    set("data", 0o755);
    let expected = [
        ("config = \"incoming.toml\": ", "chmod o-r incoming.toml"),
        ("tls_key = \"one.key\": ", "chmod o-r one.key"),
        ("storage_dir = \"data\": ", "chmod o-r data"),
    ];
    let lines = told();
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, (begins, fix)) in lines.iter().zip(expected) {
        assert!(line.starts_with(&format!("incoming: warning: {begins}")), "{line}");
        assert!(line.ends_with(fix) && line.contains("(mode 0"), "{line}");
    }
    let program = Program::start(home.path(), &flags);
    let log = program.log();
    let warned: Vec<serde_json::Value> = log
        .lines()
        .filter(|line| line.contains("path exposed to other local users"))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let found: Vec<_> = warned.iter().map(|line| line["setting"].as_str().unwrap()).collect();
    assert_eq!(found, ["config", "tls_key", "storage_dir"], "{log}");
    for (line, (_, fix)) in warned.iter().zip(expected) {
        assert_eq!((line["level"].as_str(), line["fix"].as_str()), (Some("WARN"), Some(fix)));
    }
    assert!(!log.contains("hush"), "{log}");
    drop(program);

    let refused = |parts: &[&str]| {
        for command in ["serve", "check-config"] {
            let arguments = [command, "--listen", "127.0.0.1:0", "--storage-dir", "data"];
            refuses(home.path(), &arguments, &[], &[&["storage_dir = \"data\""], parts].concat());
        }
    };
    set("data", 0o777);
    refused(&["mode 0777", "chmod o-w data"]);
    set("data", 0o700);
    // Where tests run as root they can give a directory away.
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(at("data"), Some(12345), None).unwrap();
        refused(&["belongs to user 12345", "chown 0 data"]);
    }
}

/// Where it is on TCP without a guard, whoever is on the machine may call the backend API; a choice is not warned of.
#[tokio::test]
async fn issue_13_a_backend_that_is_open_to_local_users_is_told_of() {
    const WARNING: &str = "every local user can call the backend API";
    let check = |flags: &[&str], times: usize| {
        let home = tempfile::tempdir().unwrap();
        let program = Program::start(home.path(), flags);
        let log = program.log();
        let told: Vec<_> = log.lines().filter(|line| line.contains(WARNING)).collect();
        assert_eq!(told.len(), times, "{flags:?}\n{log}");
        for line in told {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["level"], "WARN");
            let fix = line["fix"].as_str().unwrap();
            assert!(fix.contains("unix:") && fix.contains("backend_token"), "{fix}");
        }
        // The same before an upgrade, where it is looked for.
        let checked = run(home.path(), &[&["check-config"], flags].concat(), &[]);
        let warned = String::from_utf8(checked.stderr).unwrap();
        assert_eq!(warned.matches(WARNING).count(), times, "{flags:?}\n{warned}");
    };
    check(&[], 1);
    check(&["--backend-token", "t"], 0);
    check(&["--backend-allow", "127.0.0.0/8"], 0);
    check(&["--backend-open"], 0);
}
