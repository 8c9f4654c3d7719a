//! The commands against a server of a few lines, over TCP and a Unix socket.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::thread::JoinHandle;

use super::*;
use crate::client::Endpoint;

/// Answers one connection for each of `answers` and hands back what was asked: first line,
/// `authorization` header, body.
fn serve<S: Read + Write>(
    mut accept: impl FnMut() -> S + Send + 'static,
    answers: Vec<(u16, &'static str)>,
) -> JoinHandle<Vec<String>> {
    std::thread::spawn(move || {
        let mut asked = Vec::new();
        for (status, body) in answers {
            let mut stream = BufReader::new(accept());
            let (mut first, mut authorization, mut length) = (String::new(), String::new(), 0);
            stream.read_line(&mut first).unwrap();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                let line = line.trim().to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                if let Some(token) = line.strip_prefix("authorization: ") {
                    authorization = format!(" {token}");
                }
                if let Some(bytes) = line.strip_prefix("content-length: ") {
                    length = bytes.parse().unwrap();
                }
            }
            let mut sent = vec![0; length];
            stream.read_exact(&mut sent).unwrap();
            let first = first.trim().trim_end_matches(" HTTP/1.1");
            asked.push(format!("{first}{authorization} {}", String::from_utf8(sent).unwrap()));
            let length = body.len();
            let head = format!(
                "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
            );
            stream.get_mut().write_all(head.as_bytes()).unwrap();
        }
        asked
    })
}

/// Runs a command line against answers; what was printed (or the error), and what was asked.
fn dialogue(
    line: &str,
    answers: Vec<(u16, &'static str)>,
) -> (Result<String, String>, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = Endpoint::of_listener(&listener.local_addr().unwrap().to_string()).unwrap();
    let server = serve(move || listener.accept().unwrap().0, answers);
    (told(line, target), server.join().unwrap())
}

fn told(line: &str, target: Endpoint) -> Result<String, String> {
    #[derive(clap::Parser)]
    struct CommandLine {
        #[command(flatten)]
        args: UploadsArgs,
    }
    let line = std::iter::once("uploads").chain(line.split_whitespace());
    let args = <CommandLine as clap::Parser>::try_parse_from(line).unwrap().args;
    let client = BackendClient::new(target, args.token.as_ref(), &args.tls).unwrap();
    let form = if args.json { Form::Json } else { Form::Table };
    let mut out = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let command = with_secret(args.command).unwrap();
    match runtime.block_on(run(&client, command, form, &mut out)) {
        Ok(()) => Ok(String::from_utf8(out).unwrap()),
        Err(UploadsError::Output(error)) => panic!("{error}"),
        Err(error) => Err(error.to_string()),
    }
}

fn unix(path: &str) -> Endpoint {
    Endpoint::of_listener(&format!("unix:{path}")).unwrap()
}

const FIRST: &str = r#"{"uploads":[{"id":"a","state":"new","name":null,"length":null,"offset":0,
    "received":[[0,3],[5,9]],"created":1,"last_active":1}],"next":"a"}"#;
const LAST: &str = r#"{"uploads":[{"id":"b","state":"failed","name":"x\u001b","length":9,
    "offset":9,"created":1,"last_active":2}],"next":null}"#;

#[test]
fn lists_page_after_page() {
    let (said, asked) = dialogue("list --state failed --token t", vec![(200, FIRST), (200, LAST)]);
    let said = said.unwrap();
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    assert!(lines[1].contains("               7                -  1970"), "{said}");
    assert!(
        lines[2].starts_with("b ")
            && lines[2].contains("  1970-01-01T00:00:01Z  1970-01-01T00:00:02Z  x\\u{1b}"),
        "{said}"
    );
    assert_eq!(
        asked,
        [
            "GET /incoming/backend/uploads?limit=200&state=failed bearer t ",
            "GET /incoming/backend/uploads?limit=200&state=failed&after=a bearer t ",
        ]
    );
}

#[test]
fn lists_as_json_and_up_to_a_limit() {
    let (said, _) = dialogue("list --json", vec![(200, FIRST), (200, LAST)]);
    let items: Vec<Value> = serde_json::from_str(&said.unwrap()).unwrap();
    assert_eq!(items.len(), 2);
    let (said, asked) = dialogue("list --json --limit 1", vec![(200, FIRST)]);
    assert_eq!(serde_json::from_str::<Vec<Value>>(&said.unwrap()).unwrap().len(), 1);
    assert_eq!(asked, ["GET /incoming/backend/uploads?limit=1 "]);
    let (said, _) = dialogue("list --json", vec![(200, r#"{"uploads":[],"next":null}"#)]);
    assert_eq!(said.unwrap(), "[\n]\n");
}

#[test]
fn a_list_that_does_not_get_on_ends() {
    let (said, asked) = dialogue("list", vec![(200, FIRST), (200, FIRST)]);
    assert_eq!(said.unwrap_err(), "the server's list does not advance");
    assert_eq!(asked.len(), 2);
}

#[test]
fn shows_and_acts() {
    fn check(line: &str, answer: (u16, &'static str), said: Result<&str, &str>, asked: &str) {
        let (told, requests) = dialogue(line, vec![answer]);
        assert_eq!(told, said.map(str::to_owned).map_err(str::to_owned), "{line}");
        assert_eq!(requests, [asked], "{line}");
    }
    check(
        "show 8fff2bb1-0102-4304-8506-0708090a0b0c",
        (200, r#"{"id":"x","length":7}"#),
        Ok("id      x\nlength  7\n"),
        "GET /incoming/backend/uploads/8fff2bb1-0102-4304-8506-0708090a0b0c ",
    );
    check(
        "cancel 8fff2bb1-0102-4304-8506-0708090a0b0c --secret s&t",
        (200, "ok"),
        Ok("ok\n"),
        "POST /incoming/backend/cancel_upload id=8fff2bb1-0102-4304-8506-0708090a0b0c&backendSecret=s%26t",
    );
    check(
        "retry 8fff2bb1-0102-4304-8506-0708090a0b0c --json",
        (200, "ok"),
        Ok("{\"id\":\"8fff2bb1-0102-4304-8506-0708090a0b0c\",\"ok\":true}\n"),
        "POST /incoming/backend/retry_handover id=8fff2bb1-0102-4304-8506-0708090a0b0c&backendSecret=",
    );
    check(
        "cancel 8fff2bb1-0102-4304-8506-0708090a0b0c",
        (412, r#"{"detail":"handover has begun"}"#),
        Err("the server refused: 412 Precondition Failed: handover has begun"),
        "POST /incoming/backend/cancel_upload id=8fff2bb1-0102-4304-8506-0708090a0b0c&backendSecret=",
    );
    check(
        "retry 8fff2bb1-0102-4304-8506-0708090a0b0c",
        (403, r#"{"detail":"wrong backendSecret"}"#),
        Err("the server refused: 403 Forbidden: wrong backendSecret (operator_token needs no \
             secret; --secret-file gives the ticket's backendSecret)"),
        "POST /incoming/backend/retry_handover id=8fff2bb1-0102-4304-8506-0708090a0b0c&backendSecret=",
    );
    check(
        "show 8fff2bb1-0102-4304-8506-0708090a0b0c",
        (403, r#"{"detail":"this address may not"}"#),
        Err("the server refused: 403 Forbidden: this address may not"),
        "GET /incoming/backend/uploads/8fff2bb1-0102-4304-8506-0708090a0b0c ",
    );
}

#[test]
fn ids_may_be_shortened() {
    const ONE: &str = "71272bb1-0102-4304-8506-0708090a0b0c";
    const NONE: &str = r#"{"uploads":[{"id":"8fff2bb1-0102-4304-8506-0708090a0b0c"}],"next":null}"#;
    const TWO: &str = r#"{"uploads":[{"id":"71272bb1-0102-4304-8506-0708090a0b0c"},
        {"id":"7127ffff-0102-4304-8506-0708090a0b0c"},
        {"id":"8fff2bb1-0102-4304-8506-0708090a0b0c"}],"next":null}"#;
    let (said, asked) = dialogue("cancel 71272bb1 --json", vec![(200, TWO), (200, "ok")]);
    assert_eq!(said.unwrap(), format!("{{\"id\":\"{ONE}\",\"ok\":true}}\n"));
    let after = "71272bb1-0000-4000-0000-000000000000";
    assert_eq!(asked[0], format!("GET /incoming/backend/uploads?limit=100&after={after} "));
    assert_eq!(asked[1], format!("POST /incoming/backend/cancel_upload id={ONE}&backendSecret="));
    let (said, asked) = dialogue("show 71272bb1-01", vec![(200, TWO), (200, "{}")]);
    assert_eq!((said.as_deref(), asked.len()), (Ok(""), 2));
    assert_eq!(asked[1], format!("GET /incoming/backend/uploads/{ONE} "));
    let (said, asked) = dialogue("retry 7127", vec![(200, TWO)]);
    assert_eq!(said.unwrap_err(), "the ids of 2 uploads begin with 7127: type more of it");
    assert_eq!(asked.len(), 1, "nothing is done");
    for wrong in ["f1f", "F1F5", "f1f5*", "a/b"] {
        let nowhere = unix("/nowhere/b.sock");
        let said = told(&format!("cancel {wrong}"), nowhere).unwrap_err();
        let right = "is not a ticket id or the beginning of one: 4 characters or more, lower case";
        assert_eq!(said, format!("{wrong:?} {right}"), "nobody is asked");
    }
    let (said, _) = dialogue("show 7127", vec![(200, NONE)]);
    assert_eq!(said.unwrap_err(), "no upload has an id that begins with 7127");
}

#[test]
fn speaks_over_a_unix_socket() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("b.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let server = serve(move || listener.accept().unwrap().0, vec![(200, "{\"id\":\"x\"}")]);
    assert_eq!(
        told("show 8fff2bb1-0102-4304-8506-0708090a0b0c", unix(&path.display().to_string()))
            .unwrap(),
        "id  x\n"
    );
    assert_eq!(server.join().unwrap().len(), 1);
}

#[test]
fn says_why_nobody_answers() {
    let nowhere = unix("/nowhere/b.sock");
    let line = told("show 8fff2bb1-0102-4304-8506-0708090a0b0c", nowhere).unwrap_err();
    assert!(line.starts_with("cannot connect to unix:/nowhere/b.sock: "), "{line}");
    let (line, _) = dialogue("show 8fff2bb1-0102-4304-8506-0708090a0b0c", vec![(200, "<html>")]);
    assert!(line.unwrap_err().contains("unexpected answer from"));
}

#[test]
fn issue_13_a_secret_comes_from_a_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "s&t\n").unwrap();
    for call in ["cancel", "retry"] {
        let line = format!(
            "{call} 8fff2bb1-0102-4304-8506-0708090a0b0c --secret-file {}",
            file.path().display()
        );
        let (said, asked) = dialogue(&line, vec![(200, "{}")]);
        assert_eq!(said.as_deref(), Ok("ok\n"));
        assert!(asked[0].ends_with("&backendSecret=s%26t"), "{asked:?}");
    }
}
