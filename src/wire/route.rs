//! Which thing a path names. Paths are compared as they came, never decoded.

use super::assets::Script;
use super::page::PagePart;
use super::problem::{Code, Problem};
use super::{Options, Surface};
use crate::core::id::TicketId;

/// A backend call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackendCall {
    /// `new_upload`.
    NewUpload,
    /// `cancel_upload`.
    CancelUpload,
    /// `finish_upload`.
    FinishUpload,
    /// `retry_handover`.
    RetryHandover,
    /// `log`.
    Log,
    /// `overview`.
    Overview,
    /// `config`.
    Config,
    /// `uploads`.
    List,
    /// `uploads/{id}`; `None` where that is no id.
    Show(Option<TicketId>),
}

/// A part of the path doctor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoctorPart {
    /// Tells what arrived of a request.
    Probe,
    /// Judges what a client has seen.
    Findings,
}

/// What a path of a dialect that lets clients create uploads names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All uploads: here they are created.
    Collection,
    /// An upload; `None` where the last part is no id.
    Upload(Option<TicketId>),
}

/// What a path names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// An upload; `None` where the last part is no id.
    Upload(Option<TicketId>),
    /// An upload, or all of them, in the dialect tus.
    Tus(Target),
    /// The same in that of the IETF.
    Resumable(Target),
    /// Comparing an upload's bytes; `None` where the part before that is no id.
    Verify(Option<TicketId>),
    /// The path doctor.
    Doctor(DoctorPart),
    /// The browser library.
    Script(Script),
    /// A backend call.
    Backend(BackendCall),
    /// A file of the operator's page.
    Page(PagePart),
    /// `/metrics`.
    Metrics,
    /// `/healthz`.
    Health,
    /// `/readyz`.
    Ready,
    /// Nothing.
    Unknown,
}

impl Target {
    /// What is behind the name of a dialect in a path.
    fn of(rest: &str) -> Option<Self> {
        match rest.strip_prefix('/') {
            None if rest.is_empty() => Some(Self::Collection),
            None => None,
            Some("") => Some(Self::Collection),
            Some(id) => Some(Self::Upload(TicketId::parse(id).ok())),
        }
    }

    /// The id of the upload that it names.
    pub(super) fn id(self) -> Option<TicketId> {
        match self {
            Self::Collection => None,
            Self::Upload(id) => id,
        }
    }
}

impl Route {
    /// What `path` names. Every path under `/incoming/` also exists under `/incoming/0.1/`, as in
    /// the 2014 system.
    pub fn of(path: &str) -> Self {
        match path {
            "/metrics" => return Self::Metrics,
            "/healthz" => return Self::Health,
            "/readyz" => return Self::Ready,
            _ => {}
        }
        let Some(rest) = path.strip_prefix("/incoming/") else { return Self::Unknown };
        let rest = rest.strip_prefix("0.1/").unwrap_or(rest);
        match rest {
            "frontend/doctor" => Self::Doctor(DoctorPart::Probe),
            "frontend/doctor/findings" => Self::Doctor(DoctorPart::Findings),
            "backend/new_upload" => Self::Backend(BackendCall::NewUpload),
            "backend/cancel_upload" => Self::Backend(BackendCall::CancelUpload),
            "backend/finish_upload" => Self::Backend(BackendCall::FinishUpload),
            "backend/retry_handover" => Self::Backend(BackendCall::RetryHandover),
            "backend/log" => Self::Backend(BackendCall::Log),
            "backend/overview" => Self::Backend(BackendCall::Overview),
            "backend/config" => Self::Backend(BackendCall::Config),
            "backend/uploads" => Self::Backend(BackendCall::List),
            _ => {
                if let Some(id) = rest.strip_prefix("frontend/uploads/") {
                    match id.strip_suffix("/verify") {
                        Some(id) => Self::Verify(TicketId::parse(id).ok()),
                        None => Self::Upload(TicketId::parse(id).ok()),
                    }
                } else if let Some(rest) = rest.strip_prefix("frontend/tus") {
                    Target::of(rest).map_or(Self::Unknown, Self::Tus)
                } else if let Some(rest) = rest.strip_prefix("frontend/resumable") {
                    Target::of(rest).map_or(Self::Unknown, Self::Resumable)
                } else if let Some(id) = rest.strip_prefix("backend/uploads/") {
                    Self::Backend(BackendCall::Show(TicketId::parse(id).ok()))
                } else if let Some(part) = rest.strip_prefix("backend").and_then(PagePart::at) {
                    Self::Page(part)
                } else {
                    let script = rest.strip_prefix("frontend/").and_then(Script::at);
                    script.map_or(Self::Unknown, Self::Script)
                }
            }
        }
    }

    /// Whether pages of other origins may ask for it.
    pub fn is_frontend(self) -> bool {
        match self {
            Self::Upload(_)
            | Self::Tus(_)
            | Self::Resumable(_)
            | Self::Verify(_)
            | Self::Script(_)
            | Self::Doctor(_) => true,
            Self::Backend(_)
            | Self::Page(_)
            | Self::Metrics
            | Self::Health
            | Self::Ready
            | Self::Unknown => false,
        }
    }

    /// Whether it is an upload, or all of them, in any dialect.
    pub(super) fn is_upload(self) -> bool {
        matches!(self, Self::Upload(_) | Self::Tus(_) | Self::Resumable(_))
    }

    /// This route, if `surface` serves it under these settings.
    pub(super) fn on(self, surface: Surface, options: &Options) -> Result<Self, Problem> {
        let off = (matches!(self, Self::Doctor(_)) && !options.doctor)
            || (matches!(self, Self::Page(_)) && !options.backend_page);
        if off {
            return Err(Problem::new(Code::UnknownUpload, "there is nothing at this path"));
        }
        self.on_surface(surface)
    }

    /// This route, if it belongs to `surface`.
    pub(super) fn on_surface(self, surface: Surface) -> Result<Self, Problem> {
        let served = match surface {
            Surface::Shared => true,
            Surface::Public => self.is_frontend(),
            Surface::Backend => !self.is_frontend(),
        };
        if served && self != Self::Unknown {
            return Ok(self);
        }
        Err(Problem::new(
            Code::UnknownUpload,
            "there is nothing at this path on this listener; uploads are at \
             /incoming/frontend/uploads/{id}, the backend's calls at /incoming/backend/ on the \
             backend listener",
        ))
    }

    /// The id of the upload that it names, whole.
    pub(super) fn ticket(self) -> Option<String> {
        self.id().map(|id| id.to_string())
    }

    /// The id of the upload that it names, shortened for the log.
    pub(super) fn upload(self) -> Option<String> {
        self.id().map(TicketId::short)
    }

    fn id(self) -> Option<TicketId> {
        match self {
            Self::Upload(id) | Self::Verify(id) | Self::Backend(BackendCall::Show(id)) => id,
            Self::Tus(target) | Self::Resumable(target) => target.id(),
            Self::Script(_)
            | Self::Doctor(_)
            | Self::Backend(_)
            | Self::Page(_)
            | Self::Metrics
            | Self::Health
            | Self::Ready
            | Self::Unknown => None,
        }
    }

    /// A word for the log: never the id.
    pub fn word(self) -> &'static str {
        match self {
            Self::Upload(_) => "upload",
            Self::Tus(_) => "tus",
            Self::Resumable(_) => "resumable",
            Self::Verify(_) => "verify",
            Self::Doctor(DoctorPart::Probe) => "doctor",
            Self::Doctor(DoctorPart::Findings) => "doctor_findings",
            Self::Script(_) => "script",
            Self::Backend(BackendCall::NewUpload) => "new_upload",
            Self::Backend(BackendCall::CancelUpload) => "cancel_upload",
            Self::Backend(BackendCall::FinishUpload) => "finish_upload",
            Self::Backend(BackendCall::RetryHandover) => "retry_handover",
            Self::Backend(BackendCall::List | BackendCall::Show(_)) => "uploads",
            Self::Backend(BackendCall::Log) => "log",
            Self::Backend(BackendCall::Overview) => "overview",
            Self::Backend(BackendCall::Config) => "config",
            Self::Page(_) => "page",
            Self::Metrics => "metrics",
            Self::Health => "healthz",
            Self::Ready => "readyz",
            Self::Unknown => "unknown",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let id = "0a0b0c0d-0102-4304-8506-0708090a0b0c";
        let parsed = TicketId::parse(id).unwrap();
        let check = |path: &str, expected| assert_eq!(Route::of(path), expected, "{path}");
        for prefix in ["/incoming/", "/incoming/0.1/"] {
            check(&format!("{prefix}frontend/uploads/{id}"), Route::Upload(Some(parsed)));
            check(&format!("{prefix}frontend/uploads/{id}/"), Route::Upload(None));
            check(&format!("{prefix}frontend/uploads/{id}/verify"), Route::Verify(Some(parsed)));
            check(&format!("{prefix}frontend/uploads/{id}/verify/"), Route::Upload(None));
            check(&format!("{prefix}frontend/uploads//verify"), Route::Verify(None));
            check(&format!("{prefix}frontend/uploads/..%2f{id}"), Route::Upload(None));
            check(&format!("{prefix}frontend/uploads/{}", id.to_uppercase()), Route::Upload(None));
            check(&format!("{prefix}frontend/doctor"), Route::Doctor(DoctorPart::Probe));
            check(
                &format!("{prefix}frontend/doctor/findings"),
                Route::Doctor(DoctorPart::Findings),
            );
            for script in ["incoming.js", "incoming-ui.js", "locales/de.js"] {
                let expected = Route::Script(Script::at(script).unwrap());
                check(&format!("{prefix}frontend/{script}"), expected);
            }
            check(&format!("{prefix}frontend/incoming.js/"), Route::Unknown);
            check(&format!("{prefix}frontend/"), Route::Unknown);
            check(&format!("{prefix}backend/new_upload"), Route::Backend(BackendCall::NewUpload));
            check(
                &format!("{prefix}backend/uploads/{id}"),
                Route::Backend(BackendCall::Show(Some(parsed))),
            );
            check(&format!("{prefix}frontend/../backend/new_upload"), Route::Unknown);
            for part in ["", "/", "/page.js", "/page.css"] {
                let expected = Route::Page(PagePart::at(part).unwrap());
                check(&format!("{prefix}backend{part}"), expected);
            }
            check(&format!("{prefix}backend/page.html"), Route::Unknown);
            check(&format!("{prefix}backend//"), Route::Unknown);
            check(&format!("{prefix}backendpage.js"), Route::Unknown);
        }
        check("/", Route::Unknown);
        check("/incoming/0.2/backend/new_upload", Route::Unknown);
        check("//incoming/backend/new_upload", Route::Unknown);
        check("/metrics", Route::Metrics);
    }

    #[test]
    fn each_surface_serves_its_own() {
        let backend = Route::Backend(BackendCall::NewUpload);
        assert!(backend.on_surface(Surface::Public).is_err());
        assert!(backend.on_surface(Surface::Backend).is_ok());
        assert!(Route::Metrics.on_surface(Surface::Public).is_err());
        assert!(Route::Upload(None).on_surface(Surface::Backend).is_err());
        assert!(Route::Upload(None).on_surface(Surface::Shared).is_ok());
        assert!(Route::Unknown.on_surface(Surface::Shared).is_err());
    }
}
