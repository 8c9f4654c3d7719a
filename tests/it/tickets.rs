//! Protects the backend API: every way to pass parameters, the exact answers that backends of 2014
//! read, who is let in, and the lists.

use crate::backend::Backend;
use crate::client::Ask;
use crate::server::Running;
use crate::until;
use incoming::config::Secret;
use serde_json::Value;
use std::collections::BTreeSet;

const PREFIXES: [&str; 2] = ["/incoming/", "/incoming/0.1/"];
const FORM: &str = "application/x-www-form-urlencoded";

fn new_upload(query: &str) -> Ask {
    Ask::new("POST", &format!("/incoming/backend/new_upload{query}"))
}

fn is_id(text: &str) -> bool {
    let parts: Vec<usize> = text.split('-').map(str::len).collect();
    parts == [8, 4, 4, 4, 12]
        && text.bytes().all(|b| b == b'-' || b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        && text.as_bytes()[14] == b'4'
}

#[tokio::test]
async fn parameters_come_in_every_form() {
    let server = Running::start().await;
    let encoded = "signalFinishURL=http%3A%2F%2F127.0.0.1%3A9%2Fa%3Fb%3Dc&backendSecret=s+%C3%BC";
    let multipart = "--B\r\nContent-Disposition: form-data; name=\"signalFinishURL\"\r\n\r\n\
        http://127.0.0.1:9/a?b=c\r\n--B\r\nContent-Disposition: form-data; name=\"backendSecret\"\
        \r\n\r\ns ü\r\n--B--\r\n";
    let json = r#"{"signalFinishURL": "http://127.0.0.1:9/a?b=c", "backendSecret": "s ü",
        "removeFileWhenFinished": false, "maxBytes": 7, "length": null}"#;
    for prefix in PREFIXES {
        let target = format!("{prefix}backend/new_upload");
        let post = |media_type: &str, body: &str| {
            Ask::new("POST", &target).header("Content-Type", media_type).body(body)
        };
        let forms = [
            Ask::new("POST", &format!("{target}?{encoded}")),
            post(FORM, encoded),
            post(&format!("{FORM}; charset=utf-8"), encoded),
            post("multipart/form-data; boundary=B", multipart),
            post("application/json", json),
            // The 2014 way of some clients: a body, and parameters in the query all the same.
            Ask::new("POST", &format!("{target}?{encoded}")).header("Content-Type", FORM),
        ];
        for ask in forms {
            let reply = server.back(&ask).await.expect(200);
            assert!(is_id(&reply.text()), "exactly the id: {:?} to {ask:?}", reply.text());
            assert!(reply.header("content-type").unwrap().starts_with("text/plain"));
            // The secret came through, whatever the form was.
            let id = reply.text();
            let wrong = server.call("cancel_upload", &[("id", &id), ("backendSecret", "s")]).await;
            assert_eq!(wrong.status, 403, "{}", wrong.text());
            let right = [("id", &*id), ("backendSecret", "s ü")];
            assert_eq!(server.call("cancel_upload", &right).await.expect(200).text(), "ok");
        }
    }
}

#[tokio::test]
async fn issue_15_the_ticket_names_the_file() {
    let (server, backend) = (Running::start().await, Backend::start().await);
    let call = |body: serde_json::Value| {
        let ask = new_upload("").header("Content-Type", "application/json");
        let mut body = body;
        body["signalFinishURL"] = backend.url().into();
        ask.body(body.to_string())
    };
    let metadata = "filename YS9iLnR4dA==,filetype dGV4dC9wbGFpbg==, x ,name Yw==";
    let of_header = serde_json::json!({"uploadMetadata": metadata});
    let over_it =
        serde_json::json!({"uploadMetadata": metadata, "name": "dir/ü.mp4", "type": "video/mp4"});
    for (body, name_of, type_of) in
        [(of_header, "b.txt", "text/plain"), (over_it, "ü.mp4", "video/mp4")]
    {
        let id = server.back(&call(body)).await.expect(200).text();
        let upload = server.upload(&id);
        let status = upload.status().await;
        assert_eq!((&status["state"], &status["name"]), (&"new".into(), &name_of.into()));
        // What the client says comes second.
        let bound = upload.bind(r#"{"name": "other", "type": "x/y"}"#).await;
        assert_eq!(bound.expect(200).json()["name"], name_of);
        upload.put_whole(b"abc").await.expect(200);
        let calls = backend.calls_for(&id, 1).await;
        assert_eq!(calls[0].field("filenameFromBrowser"), name_of);
        assert_eq!(calls[0].field("type"), type_of);
        assert_eq!(calls[0].field("uploadMetadata"), metadata);
    }
    let long = serde_json::json!({"uploadMetadata": "x".repeat((16 << 10) + 1)});
    let refused = server.back(&call(long)).await.expect(400).text();
    assert!(refused.contains("Upload-Metadata"), "{refused}");
}

#[tokio::test]
async fn json_for_who_asks_for_it() {
    let server = Running::start().await;
    let ask =
        new_upload("?signalFinishURL=http://127.0.0.1:9/").header("Accept", "application/json");
    let ticket = server.back(&ask).await.expect(200).json();
    let id = ticket["id"].as_str().unwrap();
    assert!(is_id(id));
    assert_eq!(ticket["url"], format!("/incoming/frontend/uploads/{id}"));
    assert_eq!(ticket["tus_url"], format!("/incoming/frontend/tus/{id}"));
    assert_eq!(ticket["resumable_url"], format!("/incoming/frontend/resumable/{id}"));
    assert!(ticket["expires"].as_str().unwrap().ends_with('Z'), "{ticket}");
    assert_eq!(server.upload(id).status().await["state"], "new");
    let bad = new_upload("?signalFinishURL=nonsense").header("Accept", "application/json");
    let detail = server.back(&bad).await.problem(400, "bad-request", 1);
    assert!(detail.contains("signalFinishURL") && detail.contains("nonsense"), "{detail}");
    let text = "text/html, application/json;q=0.9";
    let both = server.back(&new_upload("").header("Accept", text)).await;
    both.problem(400, "bad-request", 1);
    let lines = new_upload("").header("Accept", "text/html").header("Accept", "application/json");
    server.back(&lines).await.problem(400, "bad-request", 1);
    for none in ["application/json;q=0", "application/json; Q=0.000, text/plain", "*/*"] {
        let reply = server.back(&new_upload("").header("Accept", none)).await.expect(400);
        assert_eq!(reply.header("content-type"), Some("text/plain; charset=utf-8"), "{none}");
    }
}

#[tokio::test]
async fn bad_parameters_are_named_with_their_value() {
    let server = Running::start().await;
    let good = "signalFinishURL=http://127.0.0.1:9/";
    let cases: [(&str, &str, &str); 27] = [
        ("", "signalFinishURL", ""),
        ("?signalFinishURL=", "signalFinishURL", ""),
        ("?signalFinishURL=nonsense", "signalFinishURL", "nonsense"),
        ("?signalFinishURL=/path", "signalFinishURL", "/path"),
        ("?signalFinishURL=//host/path", "signalFinishURL", "//host/path"),
        ("?signalFinishURL=ftp://host/", "signalFinishURL", "ftp://host/"),
        ("?signalFinishURL=javascript:alert(1)", "signalFinishURL", "javascript:alert(1)"),
        ("?signalFinishURL=http://", "signalFinishURL", "http://"),
        ("?signalFinishURL=http:///path", "signalFinishURL", "http:///path"),
        ("?signalFinishURL=http://host:99999/", "signalFinishURL", "99999"),
        ("?signalFinishURL=http://host:port/", "signalFinishURL", "host:port"),
        ("?signalFinishURL=http://host:0/", "signalFinishURL", "host:0"),
        ("?signalFinishURL=http://a@b@host/", "signalFinishURL", "a@b@host"),
        ("?signalFinishURL=http://a:b@c:d@host/", "signalFinishURL", "a:b@c:d@host"),
        ("?signalFinishURL=http://[::1/", "signalFinishURL", "[::1"),
        ("?signalFinishURL=http://[::1]2:80/", "signalFinishURL", "[::1]2:80"),
        ("?signalFinishURL=http://[]:81/", "signalFinishURL", "[]:81"),
        ("?GOOD&destType=s3", "destType", "s3"),
        ("?GOOD&removeFileWhenFinished=yes", "removeFileWhenFinished", "yes"),
        ("?GOOD&removeFileWhenFinished=tRUE", "removeFileWhenFinished", "tRUE"),
        ("?GOOD&maxBytes=-1", "maxBytes", "-1"),
        ("?GOOD&maxBytes=1e6", "maxBytes", "1e6"),
        ("?GOOD&length=18446744073709551616", "length", "18446744073709551616"),
        ("?GOOD&length=9223372036854775807", "length", "9223372036854775807"),
        ("?GOOD&digest=md5", "digest", "md5"),
        ("?GOOD&idleTimeout=soon", "idleTimeout", "soon"),
        ("?GOOD&idleTimeout=0", "idleTimeout", "0"),
    ];
    let mut wrong = String::new();
    for (query, name, value) in cases {
        let reply = server.back(&new_upload(&query.replace("GOOD", good))).await;
        let line = reply.text();
        let fine = reply.status == 400
            && line.lines().count() == 1
            && line.contains(name)
            && line.contains(value);
        if !fine {
            wrong += &format!("{query}: {} {line:?}\n", reply.status);
        }
    }
    assert!(wrong.is_empty(), "expected 400 and a line with name and value:\n{wrong}");
    for yes in ["1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"] {
        let query = format!("?{good}&destType=file&removeFileWhenFinished={yes}");
        server.back(&new_upload(&query)).await.expect(200);
    }
}

#[tokio::test]
async fn bad_bodies_are_refused() {
    let server = Running::start().await;
    let post =
        |media_type: &str, body: &str| new_upload("").header("Content-Type", media_type).body(body);
    let url = "http://127.0.0.1:9/";
    let cases = [
        (post("application/json", "{"), "JSON"),
        (post("application/json", "[1]"), "JSON"),
        (
            post("application/json", &format!(r#"{{"signalFinishURL": ["{url}"]}}"#)),
            "signalFinishURL",
        ),
        (post("text/plain", url), "text/plain"),
        (post("multipart/form-data", "x"), "multipart"),
        (post("multipart/form-data; boundary=B", "no part"), "multipart"),
    ];
    for (ask, part) in cases {
        let reply = server.back(&ask).await.expect(400);
        assert!(reply.text().contains(part), "{part} in {}", reply.text());
    }
    let huge = post(FORM, &format!("signalFinishURL={url}&metadata={}", "x".repeat(300_000)));
    server.back(&huge).await.expect(413);
}

#[tokio::test]
async fn unknown_ids_and_wrong_secrets() {
    let server = Running::start().await;
    let upload = server.ticket_with("http://127.0.0.1:9/", &[("backendSecret", "right")]).await;
    let absent = "00000000-0000-4000-8000-000000000000";
    for call in ["cancel_upload", "finish_upload", "retry_handover"] {
        for id in [absent, "..%2f", "", &upload.id.to_uppercase()] {
            let line = server.call(call, &[("id", id)]).await.expect(400).text();
            assert!(line.contains("id") && line.contains(id), "{call}: {line}");
        }
        let missing = server.call(call, &[]).await.expect(400).text();
        assert!(missing.contains("id"), "{missing}");
        for secret in ["", "wrong", "righ", "right "] {
            let params = [("id", &*upload.id), ("backendSecret", secret)];
            let line = server.call(call, &params).await.expect(403).text();
            assert!(line.contains("backendSecret"), "{line}");
            assert!(!line.contains("right"), "{line}");
        }
    }
    // Nothing of that has changed it.
    assert_eq!(upload.status().await["state"], "new");
    let show = format!("/incoming/backend/uploads/{absent}");
    server.back(&Ask::new("GET", &show)).await.expect(404);
}

#[tokio::test]
async fn the_token_guards_every_call() {
    let token = |settings: &mut incoming::config::Settings| {
        settings.backend_token = Some(Secret::new("tok-en"));
    };
    let server = Running::start_with(token).await;
    let calls = [
        ("POST", "/incoming/backend/new_upload?signalFinishURL=http://127.0.0.1:9/"),
        ("POST", "/incoming/0.1/backend/new_upload?signalFinishURL=http://127.0.0.1:9/"),
        ("POST", "/incoming/backend/cancel_upload?id=x"),
        ("POST", "/incoming/backend/finish_upload?id=x"),
        ("POST", "/incoming/backend/retry_handover?id=x"),
        ("GET", "/incoming/backend/uploads"),
        ("GET", "/incoming/backend/uploads/x"),
    ];
    for (method, target) in calls {
        for value in
            [None, Some("Bearer wrong"), Some("tok-en"), Some("Basic tok-en"), Some("Bearer ")]
        {
            let mut ask = Ask::new(method, target);
            ask.headers.extend(value.map(|value| ("Authorization".to_owned(), value.to_owned())));
            let reply = server.back(&ask).await.expect(401);
            assert_eq!(reply.header("www-authenticate"), Some("Bearer"), "{target}");
            assert!(!reply.text().contains("tok-en"), "{}", reply.text());
        }
        let ask = Ask::new(method, target).header("Authorization", "Bearer tok-en");
        assert_ne!(server.back(&ask).await.status, 401, "{target}");
    }
    let ask = Ask::new("GET", "/incoming/backend/uploads").header("Accept", "application/json");
    server.back(&ask).await.problem(401, "forbidden", 3);
    // A balancer has no token.
    server.back(&Ask::new("GET", "/healthz")).await.expect(200);
}

#[tokio::test]
async fn only_addresses_that_are_let_in() {
    let server = Running::start_with(|settings| {
        settings.backend_allow = vec!["10.0.0.0/8".parse().unwrap()];
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    let list = Ask::new("GET", "/incoming/backend/uploads");
    server.back(&list).await.expect(403);
    server.back(&list.clone().header("X-Forwarded-For", "10.1.2.3")).await.expect(200);
    server.back(&list.clone().header("X-Forwarded-For", "8.8.8.8")).await.expect(403);
    server.back(&list.header("X-Forwarded-For", "10.1.2.3, 8.8.8.8")).await.expect(403);
}

#[tokio::test]
async fn other_methods_learn_the_right_ones() {
    let server = Running::start().await;
    let upload = server.lonely_ticket().await;
    let show = format!("/incoming/backend/uploads/{}", upload.id);
    let cases = [
        ("GET", "/incoming/backend/new_upload?signalFinishURL=http://h/", "POST"),
        ("PUT", "/incoming/0.1/backend/cancel_upload", "POST"),
        ("DELETE", "/incoming/backend/finish_upload", "POST"),
        ("GET", "/incoming/backend/retry_handover", "POST"),
        ("POST", "/incoming/backend/uploads", "GET, HEAD"),
        ("DELETE", &show, "GET, HEAD"),
        ("POST", "/metrics", "GET, HEAD"),
        ("POST", "/healthz", "GET, HEAD"),
    ];
    for (method, target, allow) in cases {
        let reply = server.back(&Ask::new(method, target)).await.expect(405);
        assert_eq!(reply.header("allow"), Some(allow), "{method} {target}");
    }
    for method in ["PATCH", "TRACE", "PROPFIND"] {
        let reply = server.front(&Ask::new(method, &upload.url)).await;
        let detail = reply.problem(405, "method-not-allowed", 5);
        assert!(detail.contains(method), "{detail}");
        assert_eq!(reply.header("allow"), Some("GET, HEAD, POST, PUT, DELETE, OPTIONS"));
    }
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let mut ids = BTreeSet::new();
    for _ in 0..7 {
        ids.insert(server.ticket(&backend).await.id);
    }
    let finished = server.ticket(&backend).await;
    finished.put_whole(b"all of it").await.expect(200);
    finished.reaches("finished").await;
    let page = async |query: &str| {
        let ask = Ask::new("GET", &format!("/incoming/backend/uploads{query}"));
        server.back(&ask).await.expect(200).json()
    };
    let ids_of = |page: &serde_json::Value| -> Vec<String> {
        let uploads = page["uploads"].as_array().unwrap();
        uploads.iter().map(|upload| upload["id"].as_str().unwrap().to_owned()).collect()
    };
    // Walking the pages meets each upload once, filtered by state, however long the pages are.
    for limit in [1, 3, 7, 100] {
        let (mut seen, mut after) = (Vec::new(), String::new());
        loop {
            let page = page(&format!("?state=new&limit={limit}{after}")).await;
            let some = ids_of(&page);
            assert!(some.len() <= limit);
            seen.extend(some);
            let Some(next) = page["next"].as_str() else { break };
            after = format!("&after={next}");
        }
        assert_eq!(seen, ids.iter().cloned().collect::<Vec<_>>(), "limit {limit}");
    }
    assert_eq!(ids_of(&page("?state=finished").await), std::slice::from_ref(&finished.id));
    assert_eq!(ids_of(&page("").await).len(), 8);
    for (query, name, value) in [
        ("?state=odd", "state", "odd"),
        ("?after=odd", "after", "odd"),
        ("?limit=odd", "limit", "odd"),
        ("?limit=0", "limit", "0"),
    ] {
        let ask = Ask::new("GET", &format!("/incoming/backend/uploads{query}"));
        let line = server.back(&ask).await.expect(400).text();
        assert!(line.contains(name) && line.contains(value), "{query}: {line}");
    }
    let shown = finished.shown().await;
    assert_eq!(shown["state"], "finished");
    assert_eq!(shown["length"], 9);
    assert_eq!(shown["handover_attempts"], 1);
    assert_eq!(shown["path"], serde_json::Value::Null, "the file is removed");
    for field in ["created", "last_active"] {
        assert!(shown[field].as_str().unwrap().ends_with('Z'), "{field} in {shown}");
    }
}

/// Issue 15: whoever said or sent something first; after a restart too, and whoever goes on with it.
#[tokio::test]
async fn issue_15_an_upload_says_which_client_it_was() {
    let backend = Backend::start().await;
    let server = Running::start().await;
    let (native, tus) = (server.ticket(&backend).await, server.ticket(&backend).await);
    let none = native.shown().await;
    assert_eq!((&none["dialect"], &none["user_agent"]), (&Value::Null, &Value::Null));
    native.put(0, b"01234", 10).await.expect(200);
    let patch = |offset: usize, agent: &str| {
        let ask = Ask::new("PATCH", &format!("/incoming/frontend/tus/{}", tus.id));
        let ask = ask.header("Tus-Resumable", "1.0.0").header("User-Agent", agent);
        let ask = ask.header("Content-Type", "application/offset+octet-stream");
        ask.header("Upload-Offset", &offset.to_string()).body("01")
    };
    // What is refused is nobody's.
    server.front(&patch(3, "a")).await.expect(409);
    let long = format!("TUSKit/3 {}", "x".repeat(300));
    server.front(&patch(0, &long)).await.expect(204);
    server.front(&patch(2, "another")).await.expect(204);
    let sent =
        [(native.id.clone(), "native", Value::Null), (tus.id.clone(), "tus", long[..200].into())];
    drop((native, tus));
    let server = server.restart().await;
    for (id, dialect, agent) in sent {
        let ask = Ask::new("GET", &format!("/incoming/backend/uploads/{id}"));
        let shown = server.back(&ask).await.expect(200).json();
        assert_eq!((&shown["dialect"], &shown["user_agent"]), (&dialect.into(), &agent));
    }
}

#[tokio::test]
async fn no_more_uploads_than_allowed() {
    let backend = Backend::start().await;
    let server = Running::start_with(|settings| settings.max_uploads = 2).await;
    let (first, _second) = (server.ticket(&backend).await, server.ticket(&backend).await);
    let reply = server.call("new_upload", &[("signalFinishURL", &backend.url())]).await;
    assert!(reply.clone().expect(429).header("retry-after").is_some(), "{reply:?}");
    assert!(reply.text().contains('2'), "{}", reply.text());
    first.ask("DELETE").await.expect(200);
    // Until its backend was told of it, it counts.
    backend.calls_for(&first.id, 1).await;
    until("a place", async || {
        let reply = server.call("new_upload", &[("signalFinishURL", &backend.url())]).await;
        (reply.status == 200).then_some(())
    })
    .await;
}

/// What is over counts for as long as it takes disk or owes a call, after a restart too.
#[tokio::test]
async fn issue_13_what_waits_for_its_backend_counts() {
    let gone = "http://127.0.0.1:9/";
    let server = Running::start_with(|settings| settings.max_uploads = 2).await;
    let (full, ended) = (server.ticket_with(gone, &[]).await, server.ticket_with(gone, &[]).await);
    full.put_whole(b"whole").await.expect(200);
    ended.ask("DELETE").await.expect(200);
    let (full, ended) = (full.id, ended.id);
    let refused = async |server: &Running| {
        let reply = server.call("new_upload", &[("signalFinishURL", gone)]).await.expect(429);
        assert!(reply.text().contains("2 uploads are open"), "{}", reply.text());
    };
    refused(&server).await;
    let server = server.restart().await;
    until("all are counted", async || {
        let metrics = server.back(&Ask::new("GET", "/metrics")).await.expect(200).text();
        metrics.lines().any(|line| line == "incoming_uploads_open 2").then_some(())
    })
    .await;
    refused(&server).await;
    server.call("cancel_upload", &[("id", &ended)]).await.expect(200);
    server.ticket_with(gone, &[]).await;
    refused(&server).await;
    server.call("finish_upload", &[("id", &full)]).await.expect(200);
    server.ticket_with(gone, &[]).await;
    refused(&server).await;
}

#[tokio::test]
async fn issue_13_the_texts_of_a_ticket_are_short() {
    let server = Running::start().await;
    let url = "http://127.0.0.1:9/";
    for (name, most) in [("metadata", 16 << 10), ("backendSecret", 4 << 10)] {
        let params = |text: &str| {
            let params = [("signalFinishURL", url), (name, text)];
            let text =
                form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
            Ask::new("POST", "/incoming/backend/new_upload")
                .header("Content-Type", "application/x-www-form-urlencoded")
                .body(text.as_bytes())
        };
        server.back(&params(&"m".repeat(most))).await.expect(200);
        let line = server.back(&params(&"m".repeat(most + 1))).await.expect(400).text();
        assert!(line.contains(name) && line.contains(&most.to_string()), "{line}");
    }
    let long = format!("{url}{}", "u".repeat(8 << 10));
    let line = server.call("new_upload", &[("signalFinishURL", &long)]).await.expect(400).text();
    assert!(line.contains("signalFinishURL") && line.contains("8192"), "{line}");
}

/// A backend gone wild does not get more by asking for all at once.
#[tokio::test]
async fn no_more_uploads_than_allowed_at_once() {
    let server = Running::start_with(|settings| {
        settings.max_uploads = 3;
        settings.workers = 2;
    })
    .await;
    let params = [("signalFinishURL", "http://127.0.0.1:9/")];
    let mut given = 0;
    let mut asked = tokio::task::JoinSet::new();
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
    for _ in 0..40 {
        let (place, query) = (server.backend.clone(), query.clone());
        let request = Ask::new("POST", &format!("/incoming/backend/new_upload?{query}"));
        asked.spawn(async move { crate::client::ask(&place, &request).await.status });
    }
    while let Some(status) = asked.join_next().await {
        match status.unwrap() {
            200 => given += 1,
            status => assert_eq!(status, 429),
        }
    }
    assert_eq!(given, 3);
    let metrics = server.back(&Ask::new("GET", "/metrics")).await.expect(200).text();
    assert!(metrics.lines().any(|line| line == "incoming_uploads_open 3"), "{metrics}");
}
