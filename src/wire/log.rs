//! What is logged, read and changed while the server runs.

use super::Answer;
use super::Wire;
use super::backend::{Form, ok};
use super::params::Params;
use super::reply::{Code, Problem, json_answer, shown, text_answer};
use hyper::Method;

/// The filter of the process's log.
pub trait LogFilter: Send + Sync {
    /// The one in force.
    fn current(&self) -> String;

    /// Puts another one into force; `None`: the one of the settings. Errors: why it is none.
    fn change(&self, filter: Option<&str>) -> Result<(), String>;
}

impl Wire {
    pub(super) fn log(
        &self,
        method: &Method,
        params: &Params,
        form: Form,
    ) -> Result<Answer, Problem> {
        let none = || Problem::new(Code::WrongState, "this program does not log by a filter");
        let log = self.beside.log.as_deref().ok_or_else(none)?;
        if *method != Method::POST {
            let filter = log.current();
            return Ok(match form {
                Form::Text => text_answer(filter),
                Form::Json => json_answer(&serde_json::json!({ "filter": filter })),
            });
        }
        let filter = params.text("filter");
        if let Some(long) = filter.filter(|filter| filter.len() > MAX_FILTER_BYTES) {
            let detail = format!(
                "parameter filter has {} bytes, at most {MAX_FILTER_BYTES} make one",
                long.len()
            );
            return Err(Problem::bad_request(detail));
        }
        log.change(filter).map_err(|why| {
            let given = shown(filter.unwrap_or_default());
            Problem::bad_request(format!("parameter filter {given}: {why}"))
        })?;
        Ok(ok(form))
    }
}

/// Far more than anybody types.
const MAX_FILTER_BYTES: usize = 1024;
