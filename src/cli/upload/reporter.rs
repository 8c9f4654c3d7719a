//! What is seen of an upload: a bar on a terminal and a line when something is in the way, or one JSON
//! object a line for programs.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::cli::terminal;
use crate::client::Observer;
use crate::core::units;

/// Drawn this often: the eye sees no more.
const PER_SECOND: u8 = 10;
/// Programs are told of progress at most this often.
const TOLD: Duration = Duration::from_secs(1);

/// Who is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// People: a bar where standard error is a terminal, lines everywhere.
    Lines,
    /// Programs.
    Json,
}

/// What is told of one file.
pub(super) struct Reporter {
    form: Form,
    name: String,
    length: u64,
    bar: ProgressBar,
    begun: Instant,
    /// What the server had when this run began to send.
    from: Cell<u64>,
    rate: RefCell<Rate>,
    acknowledged: Cell<u64>,
    /// What was last said to be in the way.
    said: RefCell<Option<String>>,
    /// Whether it was said that the web app has not taken it yet.
    untaken: Cell<bool>,
    told: Cell<Option<Instant>>,
}

impl Form {
    /// One object, where programs are told.
    pub(super) fn event(self, event: &Value) {
        if self == Self::Json {
            // Standard output may be gone.
            let _ = writeln!(terminal::stdout(), "{}", terminal::json(event).unwrap_or_default());
        }
    }

    /// One line for people.
    pub(super) fn line(self, line: &str) {
        if self == Self::Lines {
            let _ = writeln!(terminal::stdout(), "{line}");
        }
    }

    /// Something that is not as it was asked for, but no failure.
    pub(super) fn note(self, line: &str) {
        match self {
            Self::Lines => _ = writeln!(terminal::stderr(), "{line}"),
            Self::Json => self.event(&json!({ "event": "note", "detail": line })),
        }
    }
}

impl Reporter {
    /// `turn` is this file's number and how many there are.
    pub(super) fn new(form: Form, name: &str, length: u64, turn: (usize, usize)) -> Self {
        let bar = if form == Form::Lines && terminal::is_watched() {
            let target = ProgressDrawTarget::stderr_with_hz(PER_SECOND);
            let bar = ProgressBar::with_draw_target(Some(length), target);
            let template = "{prefix} {wide_bar} {percent:>3} % {bytes} of {total_bytes}  {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            // The bar writes by itself: what it gets is escaped here.
            let shown = terminal::text(name);
            bar.set_prefix(match turn {
                (_, 1) => shown,
                (number, count) => format!("[{number}/{count}] {shown}"),
            });
            bar
        } else {
            ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden())
        };
        Self {
            form,
            name: name.to_owned(),
            length,
            bar,
            begun: Instant::now(),
            from: Cell::new(0),
            rate: RefCell::default(),
            acknowledged: Cell::new(0),
            said: RefCell::new(None),
            untaken: Cell::new(false),
            told: Cell::new(None),
        }
    }

    fn event(&self, event: &str, more: Value) {
        let mut all = json!({ "event": event, "file": self.name, "size": self.length });
        if let (Some(all), Value::Object(more)) = (all.as_object_mut(), more) {
            all.extend(more);
        }
        self.form.event(&all);
    }

    /// It begins, or goes on from what the server has. Whoever knows the URL may upload.
    pub(super) fn begin(&self, url: &str, acknowledged: u64) {
        self.from.set(acknowledged);
        self.acknowledged.set(acknowledged);
        self.bar.set_position(acknowledged);
        let more = json!({ "url": url, "acknowledged": acknowledged });
        self.event(if acknowledged > 0 { "resumed" } else { "started" }, more);
    }

    /// Bytes that the server has got since this run began to send.
    pub(super) fn sent(&self) -> u64 {
        self.acknowledged.get().saturating_sub(self.from.get())
    }

    /// What is acknowledged, in percent.
    pub(super) fn percent(&self) -> u64 {
        let done = u128::from(self.acknowledged.get()) * 100;
        u64::try_from(done.checked_div(u128::from(self.length)).unwrap_or(100)).unwrap_or(100)
    }

    /// It arrived.
    pub(super) fn finished(&self) {
        self.bar.finish_and_clear();
        let (sent, took) = (self.sent(), self.begun.elapsed());
        self.form.line(&format!("{}: finished, {}", self.name, done(self.length, sent, took)));
        self.event("finished", json!({ "sent": sent, "seconds": took.as_secs_f64() }));
    }

    /// It did not. The line for standard error.
    pub(super) fn failed(&self, why: &str) -> String {
        self.bar.finish_and_clear();
        self.event("failed", json!({ "why": why, "sent": self.sent() }));
        format!("{}: {why}", self.name)
    }

    /// It is over by our own wish.
    pub(super) fn cancelled(&self) {
        self.bar.finish_and_clear();
        self.form.line(&format!("{}: cancelled", self.name));
        self.event("cancelled", json!({}));
    }
}

/// What is told to people once, programs hear each time.
impl Observer for Reporter {
    fn sending_from(&self, acknowledged: u64) {
        self.from.set(acknowledged);
        self.progress(acknowledged, 0);
    }

    fn progress(&self, acknowledged: u64, ahead: u64) {
        let now = Instant::now();
        if acknowledged > self.acknowledged.get() {
            self.said.replace(None);
        }
        self.acknowledged.set(acknowledged);
        let there = acknowledged.saturating_add(ahead).min(self.length);
        let mut rate = self.rate.borrow_mut();
        rate.note(now, there);
        let (speed, left) = (rate.per_second(), rate.left(self.length - there));
        self.bar.set_position(there);
        if self.said.borrow().is_none() {
            self.bar.set_message(pace(speed, left));
        }
        if self.told.get().is_none_or(|told| now.duration_since(told) >= TOLD) {
            self.told.set(Some(now));
            let left = left.map(|left| left.as_secs());
            let more = json!({ "acknowledged": acknowledged, "sent": self.sent(), "under_way": there.saturating_sub(acknowledged), "bytes_per_s": speed, "eta_s": left });
            self.event("progress", more);
        }
    }

    fn comparing(&self, bytes: u64) {
        self.bar.set_message("comparing");
        self.event("comparing", json!({ "bytes": bytes }));
    }

    fn handing_over(&self, reason: Option<&str>) {
        self.bar.set_position(self.length);
        self.bar.set_message(terminal::text(reason.unwrap_or("handing over")));
        self.event("handing_over", json!({ "reason": reason }));
    }

    fn not_taken(&self, reason: Option<&str>) {
        if self.form == Form::Json || self.untaken.replace(true) {
            return;
        }
        let why = reason.unwrap_or("the web app has not taken the file yet");
        let where_told = "see its answers with `incoming uploads show` and in the server's log";
        self.note(&format!("all bytes are on the server; {why} ({where_told})"));
    }

    fn waiting(&self, why: &str, pause: Duration) {
        self.event("waiting", json!({ "why": why, "retry_in_s": pause.as_secs_f64() }));
        if self.form == Form::Json || self.said.borrow().is_some() {
            return;
        }
        self.said.replace(Some(why.to_owned()));
        self.bar.set_message("waiting");
        self.note(&format!("{why}; trying again"));
    }

    fn note(&self, line: &str) {
        self.bar.suspend(|| self.form.note(&format!("{}: {line}", self.name)));
    }
}

/// How large a file is, and what of it was sent in this run.
fn done(length: u64, sent: u64, took: Duration) -> String {
    let (whole, seconds) = (units::size(length), took.as_secs_f64());
    if sent == 0 && length > 0 {
        return format!("{whole}, all of which the server already had");
    }
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = match sent {
        0 => String::new(),
        _ => format!(" ({}/s)", units::size(sent.saturating_mul(1000) / millis)),
    };
    match length - sent.min(length) {
        0 => format!("{whole} in {seconds:.1} s{rate}"),
        before => {
            let (sent, before) = (units::size(sent), units::size(before));
            format!("{whole}: {sent} sent now in {seconds:.1} s{rate}, {before} before")
        }
    }
}

fn pace(speed: Option<u64>, left: Option<Duration>) -> String {
    let speed = speed.map(|speed| format!("{}/s", units::size(speed))).unwrap_or_default();
    let left = left.map(|left| format!("  {} left", units::duration(left))).unwrap_or_default();
    format!("{speed}{left}")
}

/// Over so long: a few chunks of a slow line.
const SPAN: Duration = Duration::from_secs(20);
/// A sample at most this often.
const STEP: Duration = Duration::from_millis(200);

/// Bytes over time.
#[derive(Debug, Default)]
pub(super) struct Rate {
    samples: VecDeque<(Instant, u64)>,
}

impl Rate {
    /// So many bytes by now.
    pub(super) fn note(&mut self, now: Instant, bytes: u64) {
        // Less than before: a chunk has to go out again.
        if self.samples.back().is_some_and(|(_, before)| *before > bytes) {
            self.samples.clear();
        }
        let recent = |at: &(Instant, u64)| now.duration_since(at.0) < STEP;
        if self.samples.len() > 1 && self.samples.back().is_some_and(recent) {
            self.samples.pop_back();
        }
        self.samples.push_back((now, bytes));
        while self.samples.len() > 2 && now.duration_since(self.samples[1].0) > SPAN {
            self.samples.pop_front();
        }
    }

    /// Bytes per second, once there is something to tell.
    pub(super) fn per_second(&self) -> Option<u64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        let millis = u64::try_from(last.0.duration_since(first.0).as_millis()).ok()?;
        let bytes = last.1 - first.1;
        (millis > 0).then(|| bytes.saturating_mul(1000) / millis)
    }

    /// How long so many bytes take at this rate.
    pub(super) fn left(&self, bytes: u64) -> Option<Duration> {
        let rate = self.per_second().filter(|rate| *rate > 0)?;
        Some(Duration::from_secs(bytes.div_ceil(rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_before_is_not_said_to_be_sent_now() {
        let check = |length, sent, expected: &str| {
            assert_eq!(done(length, sent, Duration::from_secs(2)), expected);
        };
        check(4 << 20, 4 << 20, "4 MiB in 2.0 s (2 MiB/s)");
        check(4 << 20, 1 << 20, "4 MiB: 1 MiB sent now in 2.0 s (512 KiB/s), 3 MiB before");
        check(4 << 20, 0, "4 MiB, all of which the server already had");
        check(0, 0, "0 bytes in 2.0 s");
    }

    #[test]
    fn is_that_of_the_last_seconds() {
        let begun = Instant::now();
        let mut rate = Rate::default();
        assert_eq!((rate.per_second(), rate.left(5)), (None, None));
        let mut note = |second: u64, bytes: u64| {
            rate.note(begun + Duration::from_secs(second), bytes);
            (rate.per_second(), rate.left(1000))
        };
        assert_eq!(note(0, 500), (None, None));
        assert_eq!(note(10, 1500), (Some(100), Some(Duration::from_secs(10))));
        // The fast beginning is forgotten.
        for second in 11..60 {
            note(second, 1500 + second);
        }
        assert_eq!(note(60, 1560), (Some(1), Some(Duration::from_secs(1000))));
        assert_eq!(note(61, 900), (None, None), "a chunk goes out again");
        assert_eq!(note(62, 900), (Some(0), None));
    }
}
