//! Whoever has typed something wrong, or has changed a file: what is in the way is said, and the same command with the
//! right words gets the file there.

use super::*;
use crate::backend::Script;
use std::io::Read;

/// A child, and what it says to standard error. Killed when dropped.
struct Said {
    child: Child,
    said: Arc<Mutex<String>>,
}

impl Said {
    fn by(mut child: Child) -> Self {
        let (mut errors, said) = (child.stderr.take().unwrap(), Arc::<Mutex<String>>::default());
        let kept = Arc::clone(&said);
        std::thread::spawn(move || {
            let mut bytes = [0; 1024];
            while let Ok(count @ 1..) = errors.read(&mut bytes) {
                *kept.lock().unwrap() += &String::from_utf8_lossy(&bytes[..count]);
            }
        });
        Self { child, said }
    }

    fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }
}

impl Drop for Said {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A web app knows its own calls by a secret, and says no to all others for ever.
#[tokio::test]
async fn a_forgotten_secret_is_told_of_and_can_be_given_later() {
    let stage = Stage::set(1 << 20).await;
    let (child, first) = stage.stalled().await;
    stage.backend.answer_for(id(&first), vec![Script::Answer(404, "no"); 1000]);
    let mut child = Said::by(child);
    stage.gate.open();
    // The web app's no is told of by itself, where there is no terminal to draw a bar on.
    let told = "film.mp4: all bytes are on the server; the web app has not taken the file yet";
    until("what is in the way", async || child.said().starts_with(told).then_some(())).await;
    kill_process(Pid::from_child(&child.child), Signal::INT).unwrap();
    until("its end", async || child.child.try_wait().unwrap()).await;
    let last = "incoming: film.mp4: stopped at 100 %; run the same command to resume\n";
    until("last words", async || child.said().ends_with(last).then_some(())).await;
    assert_eq!(child.said().lines().count(), 2, "{}", child.said());
    let all = stage.uploads().await;
    assert_eq!((all.len(), &all[0]["state"]), (1, &json!("handing_over")));
    // Where no other user of the machine sees it.
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "sesame\n").unwrap();
    let output = stage.upload(&["--secret-file", secret.path().to_str().unwrap()]).await;
    assert!(output.status.success(), "{}", error(&output));
    let all = stage.uploads().await;
    let second = all.iter().find(|upload| upload["id"] != first["id"]).unwrap();
    stage.arrived(id(second), &stage.content).await;
    let calls = stage.backend.calls_for(id(second), 1).await;
    assert_eq!(calls[0].field("backendSecret"), "sesame");
    // The first one is still remembered, by its own words.
    assert_eq!(stage.remembered(), 1);
}

/// What only a comparison finds: size and both ends are the same.
#[tokio::test]
async fn a_file_changed_in_its_middle_begins_anew_where_that_is_asked_for() {
    let stage = Stage::set(1 << 20).await;
    let upload = stage.killed().await;
    stage.gate.open();
    let mut changed = stage.content.clone();
    changed[300_000] ^= 1;
    stage.change(&changed, Some(SystemTime::now() + Duration::from_secs(5)));
    let output = stage.upload(&[]).await;
    assert_eq!(output.status.code(), Some(1));
    let line = error(&output);
    assert!(line.contains("(the server has other bytes): nothing more is sent; "), "{line}");
    assert!(line.contains("; --restart-changed cancels that upload and starts over"), "{line}");
    let output = stage.upload(&["--restart-changed"]).await;
    assert!(output.status.success(), "{}", error(&output));
    let all = stage.uploads().await;
    let (old, new): (Vec<_>, Vec<_>) = all.iter().partition(|one| one["id"] == upload["id"]);
    assert_eq!((old.len(), new.len(), &old[0]["state"]), (1, 1, &json!("cancelled")));
    stage.arrived(id(new[0]), &changed).await;
}

/// A whole file is the web app's; it cannot be cancelled any more, and keeps no other from being uploaded.
#[tokio::test]
async fn a_file_that_changed_after_it_was_sent_begins_anew_beside_it() {
    let stage = Stage::set(1 << 20).await;
    let (mut child, upload) = stage.stalled().await;
    stage.backend.answer_for(id(&upload), vec![Script::Answer(404, "no"); 1000]);
    stage.gate.open();
    stage.server.upload(id(&upload)).reaches("handing_over").await;
    child.kill().unwrap();
    child.wait().unwrap();
    let other = content(52, SIZE + 5);
    stage.change(&other, None);
    let output = stage.upload(&["--restart-changed"]).await;
    assert!(output.status.success(), "{}", error(&output));
    let all = stage.uploads().await;
    let new = all.iter().find(|other| other["id"] != upload["id"]);
    stage.arrived(id(new.unwrap()), &other).await;
}
