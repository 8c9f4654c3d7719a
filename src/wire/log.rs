//! What is logged, read and changed while the server runs. A change has an end: details that somebody asked for
//! one night do not fill the disk for months.

use super::Answer;
use super::Wire;
use super::backend::{Form, ok};
use super::params::Params;
use super::reply::{Code, Problem, json_answer, shown, text_answer};
use hyper::Method;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The filter of the process's log.
pub trait LogFilter: Send + Sync {
    /// The one in force.
    fn current(&self) -> InForce;

    /// Puts another one into force for so long; then the one of the settings comes back by itself. Must be called
    /// inside a runtime. Errors: why it is none.
    fn lend(self: Arc<Self>, filter: &str, time: Duration) -> Result<(), String>;

    /// Puts the one of the settings into force. Errors: why it is none.
    fn restore(&self) -> Result<(), String>;
}

/// A filter that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InForce {
    /// As it was given.
    pub filter: String,
    /// When it ends; `None`: it is the one of the settings.
    pub until: Option<SystemTime>,
}

impl Wire {
    pub(super) fn log(
        &self,
        method: &Method,
        params: &Params,
        form: Form,
    ) -> Result<Answer, Problem> {
        let none = || Problem::new(Code::WrongState, "this program's log has no filter");
        let log = self.beside.log.as_ref().ok_or_else(none)?;
        if *method != Method::POST {
            let InForce { filter, until } = log.current();
            let until = until.map(|at| humantime::format_rfc3339_seconds(at).to_string());
            return Ok(match form {
                Form::Text => text_answer(filter),
                Form::Json => json_answer(&serde_json::json!({ "filter": filter, "until": until })),
            });
        }
        // Ignored, a misspelt `filter` would be a call without one, which does something else.
        params.refuse_unknown(&["filter", "for"])?;
        let time = params.duration("for", LONGEST)?;
        let Some(filter) = params.text("filter") else {
            if time.is_some() {
                let why =
                    "parameter for says how long parameter filter holds, but filter is missing";
                return Err(Problem::bad_request(why));
            }
            log.restore().map_err(Problem::bad_request)?;
            return Ok(ok(form));
        };
        if filter.len() > MAX_FILTER_BYTES {
            let detail = format!(
                "parameter filter has {} bytes, at most {MAX_FILTER_BYTES} are allowed",
                filter.len()
            );
            return Err(Problem::bad_request(detail));
        }
        Arc::clone(log).lend(filter, time.unwrap_or(USUAL)).map_err(|why| {
            Problem::bad_request(format!("parameter filter {}: {why}", shown(filter)))
        })?;
        Ok(ok(form))
    }
}

/// How long a filter holds where nobody says: long enough to see something happen.
const USUAL: Duration = Duration::from_secs(60 * 60);
/// How long it holds at most. What is to be logged for longer is a matter of the settings.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// Far more than anybody types.
const MAX_FILTER_BYTES: usize = 1024;
