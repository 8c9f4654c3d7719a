//! Protects the handover: exactly the form that backends read since 2014, and a file that cannot
//! get lost whatever the backend answers, also over restarts.

use crate::backend::{Backend, Script};
use crate::client::Ask;
use crate::content::{content, sha256};
use crate::server::Running;
use crate::until;
use incoming::config::CallbackRule;
use incoming::core::signing::{SigningSecrets, UrlSecrets};
use serde_json::json;
use std::time::Duration;

/// The fields that old backends expect, always.
const OLD: [&str; 6] =
    ["id", "filename", "filenameFromBrowser", "backendSecret", "cancelled", "cancelReason"];

#[tokio::test]
async fn done_with_exactly_these_fields() {
    let backend = Backend::start().await;
    // The word counts, not how it is written.
    backend.answer([Script::Answer(200, "  DONE\r\n")]);
    let server = Running::start().await;
    let secret = "ge heim&=+%ü\u{1f600}";
    let metadata = r#"{"user": 7, "note": "a&b=c+d ü"}"#;
    let params = [("backendSecret", secret), ("metadata", metadata), ("digest", "sha-256")];
    let upload = server.ticket_with(&backend.url(), &params).await;
    let file = content(40, 123_456);
    upload.bind(r#"{"name": "Übung – 例.pdf", "length": 123456}"#).await.expect(200);
    let path = upload.file();
    upload.put_whole(&file).await.expect(200);
    upload.reaches("finished").await;
    let calls = backend.calls_for(&upload.id, 1).await;
    let call = &calls[0];
    assert_eq!((&*call.method, &*call.target), ("POST", "/finished?app=1"));
    assert_eq!(call.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(call.header("idempotency-key"), Some(&*upload.id));
    let mut fields = call.fields.clone();
    let digest = fields.iter().position(|(name, _)| name == "digest").expect("a digest");
    assert!(fields.remove(digest).1.ends_with(&sha256(&file)), "{:?}", call.fields);
    fields.sort();
    let mut expected = [
        ("id", &*upload.id),
        ("filename", path.to_str().unwrap()),
        ("filenameFromBrowser", "Übung – 例.pdf"),
        ("backendSecret", secret),
        ("cancelled", "no"),
        ("cancelReason", ""),
        ("length", "123456"),
        ("metadata", metadata),
        ("attempt", "1"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    expected.sort();
    assert_eq!(fields, expected);
    assert_eq!(call.sha256, Some(sha256(&file)));
    assert!(path.is_absolute());
    // `done` has been recorded: the file goes, and nothing is called again.
    until("the file is removed", async || (!path.exists()).then_some(())).await;
    assert_eq!(server.traces(&upload.id), ["ID.journal"]);
    assert_eq!(backend.calls().len(), 1);
}

const SIGNING: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

#[tokio::test]
async fn signed_where_the_ticket_has_a_secret_for_that() {
    let backend = Backend::start().await;
    backend.answer([Script::Answer(503, "later"), Script::Answer(200, "done")]);
    let server = Running::start().await;
    let newer = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let params = [("signingSecret", &*format!("{newer} {SIGNING}")), ("metadata", "a+b=ü &")];
    let upload = server.ticket_with(&backend.url(), &params).await;
    upload.put_whole(b"x").await.expect(200);
    upload.reaches("finished").await;
    let secrets = |text| SigningSecrets::parse(text).unwrap();
    for call in backend.calls_for(&upload.id, 2).await {
        assert_eq!(call.header("webhook-id"), Some(&*upload.id));
        assert_eq!(call.header("idempotency-key"), Some(&*upload.id));
        let seconds = call.header("webhook-timestamp").unwrap().parse::<u64>().unwrap();
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        assert!(now.abs_diff(seconds) < 60, "{seconds} at {now}");
        let signature = call.header("webhook-signature").unwrap();
        for secret in [newer, SIGNING] {
            assert!(secrets(secret).verify(&upload.id, seconds, &call.body, signature));
        }
        assert!(!secrets(SIGNING).verify(&upload.id, seconds + 1, &call.body, signature));
        assert_eq!(call.field("backendSecret"), "");
        assert!(call.fields.iter().all(|(_, value)| !value.contains("whsec")));
    }
    // It is no secret that a call would have to repeat.
    let cancelled = server.ticket_with(&backend.url(), &[("signingSecret", SIGNING)]).await;
    server.front(&Ask::new("DELETE", &cancelled.url)).await.expect(200);
    let call = backend.calls_for(&cancelled.id, 1).await.remove(0);
    assert!(call.header("webhook-signature").is_some_and(|it| it.starts_with("v1,")));
    let plain = server.ticket(&backend).await;
    plain.put_whole(b"x").await.expect(200);
    assert_eq!(backend.calls_for(&plain.id, 1).await[0].header("webhook-signature"), None);
}

#[tokio::test]
async fn signed_by_the_server_where_the_ticket_has_no_secret() {
    let backend = Backend::start().await;
    let base = backend.url().split("/finished").next().unwrap().to_owned();
    let other = "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    let row = |text: String| UrlSecrets::parse(&text).unwrap();
    let server = Running::start_with(|settings| {
        settings.signing_secrets = vec![
            row(format!("{base}/finished {other} {SIGNING}")),
            row(format!("http://elsewhere.example/ {SIGNING}")),
        ];
    })
    .await;
    let of = async |params: &[(&str, &str)], url: &str| {
        let upload = server.ticket_with(url, params).await;
        upload.put_whole(b"x").await.expect(200);
        let call = backend.calls_for(&upload.id, 1).await.remove(0);
        call.header("webhook-signature").map(|signature| {
            let seconds = call.header("webhook-timestamp").unwrap().parse().unwrap();
            [other, SIGNING].map(|secret| {
                let secret = SigningSecrets::parse(secret).unwrap();
                secret.verify(&upload.id, seconds, &call.body, signature)
            })
        })
    };
    assert_eq!(of(&[], &backend.url()).await, Some([true, true]));
    // Its own secret counts for a ticket that has one.
    assert_eq!(of(&[("signingSecret", SIGNING)], &backend.url()).await, Some([false, true]));
    assert_eq!(of(&[], &format!("{base}/finishedx")).await, None);
}

#[tokio::test]
async fn in_json_where_the_ticket_says_so() {
    let backend = Backend::start().await;
    backend.answer([
        Script::Answer(200, r#"{"answer": "perhaps"}"#),
        Script::Answer(200, r#"{"answer": "done", "note": 1}"#),
    ]);
    let server = Running::start().await;
    let json = [("callbackFormat", "json"), ("signingSecret", SIGNING), ("metadata", "a&\"ü")];
    let upload = server.ticket_with(&backend.url(), &json).await;
    upload.bind(r#"{"name": "Ü \"1\".pdf", "type": "a/b"}"#).await.expect(200);
    upload.put_whole(b"file").await.expect(200);
    upload.reaches("finished").await;
    let call = backend.calls_for(&upload.id, 2).await.remove(1);
    assert_eq!(call.header("content-type"), Some("application/json"));
    assert_eq!(call.header("idempotency-key"), Some(&*upload.id));
    let secret = SigningSecrets::parse(SIGNING).unwrap();
    let seconds = call.header("webhook-timestamp").unwrap().parse::<u64>().unwrap();
    let signature = call.header("webhook-signature").unwrap();
    assert!(secret.verify(&upload.id, seconds, &call.body, signature));
    let mut event: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
    let at = event["timestamp"].take();
    let at = humantime::parse_rfc3339(at.as_str().unwrap()).unwrap();
    let at = at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert!(at.abs_diff(seconds) <= 1, "{at} {seconds}");
    let data = json!({
        "id": upload.id, "filename": upload.file(), "filenameFromBrowser": "Ü \"1\".pdf", "backendSecret": "",
        "cancelReason": "", "length": 4, "metadata": "a&\"ü", "type": "a/b", "attempt": 2,
    });
    assert_eq!(event, json!({"type": "upload.finished", "timestamp": null, "data": data}));
    // It holds after a restart, and for a file that will not come.
    let json = [("callbackFormat", "json"), ("backendSecret", "b")];
    let id = server.ticket_with(&backend.url(), &json).await.id;
    let server = server.restart().await;
    let target = format!("{}?reason=no", server.upload(&id).url);
    server.front(&Ask::new("DELETE", &target)).await.expect(200);
    let call = backend.calls_for(&id, 1).await.remove(0);
    let event: serde_json::Value = serde_json::from_slice(&call.body).unwrap();
    assert_eq!(event["type"], "upload.cancelled");
    let found =
        ["filename", "backendSecret", "cancelReason", "length"].map(|it| &event["data"][it]);
    assert_eq!(found, [&json!(""), &json!("b"), &json!("no"), &json!(null)]);
    let wrong = [("signalFinishURL", &*backend.url()), ("callbackFormat", "xml")];
    server.call("new_upload", &wrong).await.expect(400);
}

#[tokio::test]
async fn a_signature_that_is_refused_by_a_clock_that_is_wrong_says_so() {
    let backend = Backend::start().await;
    let late =
        b"HTTP/1.1 401 X\r\nDate: Fri, 27 Nov 2020 10:00:00 GMT\r\nContent-Length: 0\r\n\r\n";
    let server = Running::start().await;
    for (params, told) in [(&[("signingSecret", SIGNING)][..], true), (&[], false)] {
        backend.answer((0..5).map(|_| Script::Raw(late)));
        let upload = server.ticket_with(&backend.url(), params).await;
        upload.put_whole(b"x").await.expect(200);
        let shown = async || upload.shown().await["reason"].as_str().map(str::to_owned);
        let reason = until("a reason", shown).await;
        assert!(reason.contains("status 401"), "{reason}");
        assert_eq!(reason.contains("its clock and this one are"), told, "{reason}");
    }
}

#[tokio::test]
async fn a_backend_that_says_retry_after_is_called_no_sooner() {
    let backend = Backend::start().await;
    let busy = b"HTTP/1.1 503 X\r\nRetry-After: 4\r\nContent-Length: 0\r\n\r\n";
    backend.answer([Script::Raw(busy), Script::Answer(200, "done")]);
    let server = Running::start().await;
    let upload = server.ticket(&backend).await;
    upload.put_whole(b"x").await.expect(200);
    let calls = backend.calls_for(&upload.id, 2).await;
    let pause = calls[1].at.duration_since(calls[0].at);
    // Without it the second call comes after 0.8 to 1.2 s.
    assert!(pause >= Duration::from_secs(4), "{pause:?}");
}

#[tokio::test]
async fn nothing_asked_for_leaves_the_old_fields() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let upload = server.ticket(&backend).await;
    upload.put_whole(b"x").await.expect(200);
    let calls = backend.calls_for(&upload.id, 1).await;
    for name in OLD {
        calls[0].field(name);
    }
    assert_eq!(calls[0].field("backendSecret"), "");
    assert_eq!(calls[0].field("filenameFromBrowser"), "unnamed");
    assert!(calls[0].fields.iter().all(|(name, _)| name != "digest"));
}

#[tokio::test]
async fn kept_where_the_backend_wants_it_kept() {
    let backend = Backend::start().await;
    let server = Running::start_with(|settings| {
        settings.storage_file_mode = 0o640;
        settings.storage_dir_mode = 0o750;
    })
    .await;
    let file = content(41, 10_000);
    for word in ["false", "0", "F"] {
        let keep = [("removeFileWhenFinished", word)];
        let upload = server.ticket_with(&backend.url(), &keep).await;
        upload.put_whole(&file).await.expect(200);
        upload.reaches("finished").await;
        assert_eq!(std::fs::read(upload.file()).unwrap(), file);
        assert_eq!(upload.shown().await["path"], upload.file().to_str().unwrap());
        use std::os::unix::fs::PermissionsExt;
        let mode =
            |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&upload.file()), 0o640);
        assert_eq!(mode(upload.file().parent().unwrap()), 0o750);
        let journal = server.storage().join(format!("{}.journal", upload.id));
        assert_eq!(mode(&journal), 0o600, "journals hold secrets");
    }
    let params = [("removeFileWhenFinished", "T")];
    let upload = server.ticket_with(&backend.url(), &params).await;
    upload.put_whole(&file).await.expect(200);
    upload.reaches("finished").await;
    until("the file is removed", async || (!upload.file().exists()).then_some(())).await;
}

#[tokio::test]
async fn names_from_browsers_are_harmless() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let long = "ä".repeat(300);
    let kanji = "漢".repeat(100) + ".pdf";
    let cases = [
        ("film.mp4", "film.mp4".to_owned()),
        ("../../x\0<script>", "x<script>".into()),
        ("..\\..\\windows\\system.ini", "system.ini".into()),
        ("/etc/passwd", "passwd".into()),
        ("a/b\\c", "c".into()),
        ("..", "unnamed".into()),
        (".", "unnamed".into()),
        ("", "unnamed".into()),
        ("dir/", "unnamed".into()),
        ("\u{202E}gpj.exe", "gpj.exe".into()),
        ("a\u{2066}b\u{2069}c\u{200F}d\u{FEFF}", "abcd".into()),
        ("line\r\nSet-Cookie: x", "lineSet-Cookie: x".into()),
        ("\u{7f}\u{9b}31m", "31m".into()),
        ("a&cancelled=yes", "a&cancelled=yes".into()),
        ("%2e%2e%2fx", "%2e%2e%2fx".into()),
        ("日本語 \u{1f600}.txt", "日本語 \u{1f600}.txt".into()),
        (&long, "ä".repeat(127)),
        (&kanji, "漢".repeat(83) + ".pdf"),
    ];
    for (name, expected) in cases {
        let upload = server.ticket(&backend).await;
        let status = upload.bind(&json!({"name": name, "length": 0}).to_string()).await.expect(200);
        assert_eq!(status.json()["name"], expected, "{name:?}");
        let calls = backend.calls_for(&upload.id, 1).await;
        assert_eq!(calls[0].field("filenameFromBrowser"), expected, "{name:?}");
        assert_eq!(calls[0].field("filename"), upload.file().to_str().unwrap());
    }
}

#[tokio::test]
async fn wait_until_the_backend_says_finished() {
    let backend = Backend::start().await;
    backend.answer([Script::Answer(200, " Wait\n")]);
    let server = Running::start().await;
    let upload = server.ticket_with(&backend.url(), &[("backendSecret", "s")]).await;
    let finish = [("id", &*upload.id), ("backendSecret", "s")];
    assert_eq!(server.call("finish_upload", &finish).await.status, 412, "nothing to finish yet");
    upload.put_whole(b"x").await.expect(200);
    backend.calls_for(&upload.id, 1).await;
    assert_eq!(upload.status().await["state"], "handing_over");
    assert!(upload.file().exists());
    server.call("finish_upload", &[("id", &upload.id)]).await.expect(403);
    assert!(upload.file().exists());
    for _ in 0..2 {
        assert_eq!(server.call("finish_upload", &finish).await.expect(200).text(), "ok");
        assert_eq!(upload.status().await["state"], "finished");
    }
    until("the file is removed", async || (!upload.file().exists()).then_some(())).await;
    let (id, server) = (upload.id.clone(), server.restart().await);
    let finish = [("id", &*id), ("backendSecret", "s")];
    assert_eq!(server.call("finish_upload", &finish).await.expect(200).text(), "ok");
    assert_eq!(server.call("cancel_upload", &finish).await.status, 412);
    assert_eq!(server.call("retry_handover", &finish).await.status, 412);
    assert_eq!(backend.calls().len(), 1);
}

/// An eager backend finishes before its answer to the call was read.
#[tokio::test]
async fn finished_before_the_answer_was_read() {
    let backend = Backend::start().await;
    backend.answer([Script::Silence]);
    let server = Running::start().await;
    let upload = server.ticket(&backend).await;
    upload.put_whole(b"x").await.expect(200);
    backend.calls_for(&upload.id, 1).await;
    server.call("finish_upload", &[("id", &upload.id)]).await.expect(200);
    assert_eq!(upload.status().await["state"], "finished");
}

#[tokio::test]
async fn a_backend_that_said_wait_and_forgot_is_called_again() {
    let backend = Backend::start().await;
    backend.answer([Script::Answer(200, "wait"), Script::Answer(200, "wait")]);
    let server = Running::start_with(|settings| {
        settings.handover_confirm_timeout = Duration::from_millis(100);
    })
    .await;
    let upload = server.ticket(&backend).await;
    upload.put_whole(b"x").await.expect(200);
    let calls = backend.calls_for(&upload.id, 3).await;
    let attempts: Vec<_> = calls.iter().map(|call| call.field("attempt")).collect();
    assert_eq!(attempts, ["1", "2", "3"]);
    upload.reaches("finished").await;
}

#[tokio::test]
async fn called_again_until_it_answers() {
    let backend = Backend::start().await;
    let server = Running::start_with(|settings| {
        settings.handover_timeout = Duration::from_millis(500);
    })
    .await;
    // Each first answer, and what the browser is told meanwhile.
    let firsts = [
        (Script::Answer(500, "done"), "500"),
        (Script::Answer(404, "done"), "404"),
        (Script::Answer(201, "done"), "201"),
        (Script::Answer(200, "thanks"), "thanks"),
        (Script::Answer(200, ""), ""),
        (Script::Answer(200, "done."), "done."),
        (Script::Raw(b"this is no HTTP\r\n\r\n"), ""),
        (Script::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\ndone"), ""),
        (Script::Raw(b""), ""),
        (Script::Silence, ""),
    ];
    let mut uploads = Vec::new();
    for (script, told) in firsts {
        let upload = server.ticket(&backend).await;
        backend.answer_for(&upload.id, [script.clone()]);
        upload.put_whole(b"whole").await.expect(200);
        uploads.push((upload, script, told));
    }
    for (upload, script, told) in &uploads {
        backend.calls_for(&upload.id, 1).await;
        let reason = until("a reason", async || {
            let status = upload.shown().await;
            assert_ne!(status["state"], "finished", "{script:?}");
            status["reason"].as_str().map(str::to_owned)
        });
        let reason = reason.await;
        assert!(reason.contains(told), "{told:?} in {reason:?}");
    }
    for (upload, script, _) in &uploads {
        upload.reaches("finished").await;
        let calls = backend.calls_for(&upload.id, 2).await;
        assert_eq!(calls.len(), 2, "{script:?}");
        for (number, call) in calls.iter().enumerate() {
            assert_eq!(call.field("attempt"), (number + 1).to_string(), "{script:?}");
            assert_eq!(call.header("idempotency-key"), Some(&*upload.id));
            assert_eq!(call.sha256, Some(sha256(b"whole")), "the file stays meanwhile");
        }
        assert_eq!(upload.status().await["reason"], json!(null));
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (backend, elsewhere) = (Backend::start().await, Backend::start().await);
    backend.answer([Script::Redirect(elsewhere.url())]);
    let server = Running::start().await;
    let upload = server.ticket(&backend).await;
    upload.put_whole(b"x").await.expect(200);
    upload.reaches("finished").await;
    assert_eq!(backend.calls_for(&upload.id, 2).await.len(), 2);
    assert!(elsewhere.calls().is_empty());
}

#[tokio::test]
async fn only_places_that_may_be_called() {
    let backend = Backend::start().await;
    let server = Running::start_with(|settings| {
        settings.callback_allow = vec![
            CallbackRule::Net("10.0.0.0/8".parse().unwrap()),
            CallbackRule::Host("app.example".into()),
        ];
    })
    .await;
    let port = backend.url().rsplit(':').next().unwrap().to_owned();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]"] {
        let upload = server.ticket_with(&format!("http://{host}:{port}"), &[]).await;
        upload.put_whole(b"x").await.expect(200);
        let reason =
            until("a reason", async || upload.shown().await["reason"].as_str().map(str::to_owned));
        let reason = reason.await;
        assert!(reason.contains("not allowed"), "{host}: {reason}");
        assert!(upload.file().exists());
    }
    assert!(backend.calls().is_empty());
    let allow = |settings: &mut incoming::config::Settings| {
        settings.callback_allow = vec![CallbackRule::Net("127.0.0.0/8".parse().unwrap())];
    };
    let server = server.restart_with(allow).await;
    let upload = server.ticket(&backend).await;
    upload.put_whole(b"x").await.expect(200);
    upload.reaches("finished").await;
}

#[tokio::test]
async fn a_backend_that_is_down_gets_it_later() {
    let address = Backend::nobody().await;
    let server = Running::start().await;
    let upload = server.ticket_with(&Backend::url_of(address), &[]).await;
    let file = content(42, 50_000);
    upload.put_whole(&file).await.expect(200);
    until("an unanswered call", async || {
        let status = upload.status().await;
        (status["state"] == "handing_over" && status["reason"].is_string()).then_some(())
    })
    .await;
    let backend = Backend::start_at(address).await;
    let calls = backend.calls_for(&upload.id, 1).await;
    assert_eq!(calls[0].sha256, Some(sha256(&file)));
    upload.reaches("finished").await;
}

#[tokio::test]
async fn owed_calls_are_made_after_a_restart() {
    let address = Backend::nobody().await;
    let server = Running::start().await;
    let url = Backend::url_of(address);
    let whole = server.ticket_with(&url, &[]).await;
    whole.put_whole(b"whole").await.expect(200);
    let cancelled = server.ticket_with(&url, &[]).await;
    cancelled.ask("DELETE").await.expect(200);
    for upload in [&whole, &cancelled] {
        until("a call in vain", async || {
            (upload.shown().await["handover_attempts"].as_u64() >= Some(1)).then_some(())
        })
        .await;
    }
    let ids = [whole.id.clone(), cancelled.id.clone()];
    // Down over one whole life of the server, too.
    let server = server.restart().await.restart().await;
    let backend = Backend::start_at(address).await;
    let server = server.restart().await;
    let calls = backend.calls_for(&ids[0], 1).await;
    assert_eq!(calls[0].sha256, Some(sha256(b"whole")));
    assert!(calls[0].field("attempt").parse::<u32>().unwrap() >= 2);
    server.upload(&ids[0]).reaches("finished").await;
    assert_eq!(backend.calls_for(&ids[1], 1).await[0].field("cancelled"), "yes");
    // Recorded is recorded.
    let server = server.restart().await;
    let last = server.ticket(&backend).await;
    last.put_whole(b"last").await.expect(200);
    last.reaches("finished").await;
    for id in &ids {
        assert_eq!(backend.calls_for(id, 1).await.len(), 1);
    }
}

#[tokio::test]
async fn failed_keeps_the_file_for_another_try() {
    let backend = Backend::start().await;
    let server = Running::start_with(|settings| settings.handover_retry_for = Duration::ZERO).await;
    let upload = server.ticket(&backend).await;
    backend.answer_for(&upload.id, [Script::Answer(500, "")]);
    let file = content(43, 20_000);
    upload.put_whole(&file).await.expect(200);
    let failed = upload.reaches("failed").await;
    // The web app's answer is for the web app's people, not for whoever holds the id.
    assert!(!failed["reason"].as_str().unwrap().contains("500"), "{failed}");
    let shown = upload.shown().await;
    assert!(shown["reason"].as_str().unwrap().contains("500"), "{shown}");
    assert_eq!(std::fs::read(upload.file()).unwrap(), file);
    upload.put_whole(&file).await.problem(410, "upload-over", 8);
    upload.ask("DELETE").await.problem(410, "upload-over", 8);
    upload.bind("").await.problem(410, "upload-over", 8);
    assert_eq!(server.call("finish_upload", &[("id", &upload.id)]).await.status, 412);
    let (id, server) = (upload.id.clone(), server.restart().await);
    let upload = server.upload(&id);
    assert_eq!(upload.status().await["state"], "failed");
    assert_eq!(server.call("retry_handover", &[("id", &id)]).await.expect(200).text(), "ok");
    upload.reaches("finished").await;
    let calls = backend.calls_for(&id, 2).await;
    assert_eq!(calls[1].sha256, Some(sha256(&file)));
    assert_eq!(calls[1].field("attempt"), "2");
}

#[tokio::test]
async fn a_file_that_the_backend_took_is_finished() {
    let backend = Backend::start().await;
    let server = Running::start_with(|settings| {
        settings.handover_timeout = Duration::from_secs(1);
    })
    .await;
    let upload = server.ticket_with(&backend.url(), &[("removeFileWhenFinished", "false")]).await;
    // It moves the file away, and its answer is lost.
    backend.answer_for(&upload.id, [Script::Silence]);
    upload.put_whole(b"x").await.expect(200);
    backend.calls_for(&upload.id, 1).await;
    std::fs::rename(upload.file(), server.directory.path().join("taken")).unwrap();
    let (id, server) = (upload.id.clone(), server.restart().await);
    server.upload(&id).reaches("finished").await;
    assert_eq!(backend.calls_for(&id, 1).await.len(), 1, "no call for a file that is gone");
    assert!(server.directory.path().join("taken").exists());
}

#[tokio::test]
async fn retry_asks_again_at_once() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let upload = server.ticket(&backend).await;
    backend.answer_for(&upload.id, vec![Script::Answer(503, ""); 3]);
    assert_eq!(server.call("retry_handover", &[("id", &upload.id)]).await.status, 412);
    upload.put_whole(b"x").await.expect(200);
    for count in 1..=3 {
        backend.calls_for(&upload.id, count).await;
        until("the end of a call", async || {
            upload.status().await["reason"].is_string().then_some(())
        })
        .await;
        server.call("retry_handover", &[("id", &upload.id)]).await.expect(200);
    }
    upload.reaches("finished").await;
}

/// The call is due the moment the file is in its place; nobody may look a moment too early, find
/// nothing owed and forget it.
#[tokio::test]
async fn no_completed_file_is_overlooked() {
    let backend = Backend::start().await;
    let server = Running::start_with(|settings| settings.workers = 2).await;
    let connection = async || {
        let mut uploads = Vec::new();
        for _ in 0..100 {
            let upload = server.ticket(&backend).await;
            upload.bind(r#"{"length": 0}"#).await.expect(200);
            uploads.push(upload);
        }
        uploads
    };
    let (first, second, third) = tokio::join!(connection(), connection(), connection());
    for upload in first.iter().chain(&second).chain(&third) {
        upload.reaches("finished").await;
    }
}

/// While a call is under way no second one is made, whatever happens to the upload meanwhile: the
/// digest is computed, a client repeats its last request.
#[tokio::test]
async fn one_call_at_a_time() {
    let backend = Backend::start().await;
    let server = Running::start_with(|settings| {
        settings.handover_timeout = Duration::from_secs(1);
    })
    .await;
    for params in [&[][..], &[("digest", "sha-256")]] {
        let upload = server.ticket_with(&backend.url(), params).await;
        backend.answer_for(&upload.id, [Script::Silence]);
        let file = content(44, 10_000);
        upload.put_whole(&file).await.expect(200);
        for _ in 0..5 {
            upload.put_whole(&file).await.expect(200);
            upload.put(0, &file, 10_000).await.expect(200);
        }
        upload.reaches("finished").await;
        let calls = backend.calls_for(&upload.id, 2).await;
        assert_eq!(calls.len(), 2, "{params:?}");
        // The time-out of the first, then a pause.
        let between = calls[1].at.duration_since(calls[0].at);
        assert!(between >= Duration::from_millis(1_500), "{params:?}: {between:?}");
    }
}
