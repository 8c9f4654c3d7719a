//! What is seen of an upload: a bar on a terminal, and a line when something is in the way.

use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Drawn this often: the eye sees no more.
const PER_SECOND: u8 = 10;

/// The bar's clock goes on when nothing else happens.
const TICK: Duration = Duration::from_millis(250);

/// The progress of one file.
pub(super) struct Progress {
    name: String,
    bar: ProgressBar,
    begun: Instant,
    /// What was last said to be in the way.
    said: RefCell<Option<String>>,
}

impl Progress {
    /// Shows a bar where standard error is a terminal; elsewhere nothing.
    pub(super) fn new(name: String, length: u64) -> Self {
        if !std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::hidden());
            return Self { name, bar, begun: Instant::now(), said: RefCell::new(None) };
        }
        let target = ProgressDrawTarget::stderr_with_hz(PER_SECOND);
        let bar = ProgressBar::with_draw_target(Some(length), target);
        let template = "{prefix} {wide_bar} {percent:>3} % {bytes} of {total_bytes}  \
                        {bytes_per_sec}  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(name.clone());
        bar.enable_steady_tick(TICK);
        Self { name, bar, begun: Instant::now(), said: RefCell::new(None) }
    }

    /// What the server had before this start: no work of ours.
    pub(super) fn begin_at(&self, bytes: u64) {
        self.bar.set_position(bytes);
        self.bar.reset_eta();
    }

    /// Bytes acknowledged by now.
    pub(super) fn acknowledged(&self, bytes: u64) {
        self.said.replace(None);
        self.bar.set_position(bytes);
        self.bar.set_message("");
    }

    /// All of it is there; the web app is taking it over.
    pub(super) fn handing_over(&self, reason: Option<String>) {
        self.bar.set_message(reason.unwrap_or_else(|| "handing over".into()));
    }

    /// Something is in the way and will be tried again. Said once, until something gets on.
    pub(super) fn trouble(&self, why: &str) {
        if self.said.borrow().is_some() {
            return;
        }
        self.said.replace(Some(why.to_owned()));
        let line = format!("{}: {why}; trying again", self.name);
        self.bar.set_message("waiting");
        // Nobody is left to be told when standard error is gone.
        self.bar.suspend(|| _ = writeln!(std::io::stderr(), "{line}"));
    }

    /// The line of a file that arrived, with what was sent in this run.
    pub(super) fn finished(&self, sent: u64) -> String {
        self.bar.finish_and_clear();
        let took = self.begun.elapsed();
        let rate = if sent > 0 { rate(sent, took) } else { String::new() };
        let length = HumanBytes(self.bar.length().unwrap_or_default());
        format!("{}: finished, {length} in {:.1} s{rate}", self.name, took.as_secs_f64())
    }

    /// The line of a file that did not arrive.
    pub(super) fn failed(&self, why: &str) -> String {
        self.bar.finish_and_clear();
        format!("{}: {why}", self.name)
    }
}

fn rate(sent: u64, took: Duration) -> String {
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX).max(1);
    format!(" ({}/s)", HumanBytes(sent.saturating_mul(1000) / millis))
}
