//! What happens in schedules, counted: a simulation in which something never happens says nothing of it.

use incoming::core::event::Event;
use incoming::core::object_upload::ObjectUpload;
use incoming::core::piece_event::{Missing, ObjectEvent, Piece, PieceEvent};

/// Something that has to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Seen {
    DirectPart,
    Fragment,
    PublishedAtOnce,
    Composed,
    /// Under the other number, because the first was used in vain.
    ComposedAgain,
    Sealed,
    SealedWithOrphans,
    ListedAgain,
    LaterGeneration,
    LostObject,
    LostMultipart,
    LostPart,
    Cancelled,
    Failed,
    SetBack,
}

pub(crate) const SEEN: [Seen; 15] = [
    Seen::DirectPart,
    Seen::Fragment,
    Seen::PublishedAtOnce,
    Seen::Composed,
    Seen::ComposedAgain,
    Seen::Sealed,
    Seen::SealedWithOrphans,
    Seen::ListedAgain,
    Seen::LaterGeneration,
    Seen::LostObject,
    Seen::LostMultipart,
    Seen::LostPart,
    Seen::Cancelled,
    Seen::Failed,
    Seen::SetBack,
];

pub(crate) fn seen(truth: &ObjectUpload, event: &ObjectEvent) -> Option<Seen> {
    let current = truth.pieces().current();
    let event = match event {
        ObjectEvent::Upload(Event::Cancelled { .. }) => return Some(Seen::Cancelled),
        ObjectEvent::Upload(Event::Failed { .. }) => return Some(Seen::Failed),
        ObjectEvent::Upload(_) => return None,
        ObjectEvent::Piece(event) => event,
    };
    Some(match event {
        PieceEvent::Stored { piece: Piece::Part { .. }, .. } => Seen::DirectPart,
        PieceEvent::Stored { piece: Piece::Fragment { .. }, .. } => Seen::Fragment,
        PieceEvent::Composed { number, .. } if number.is_direct() => Seen::ComposedAgain,
        PieceEvent::Composed { .. } => Seen::Composed,
        PieceEvent::Sealing { .. } if current.is_some_and(|it| !it.is_open()) => Seen::ListedAgain,
        PieceEvent::Sealing { orphans, .. } if !orphans.is_empty() => Seen::SealedWithOrphans,
        PieceEvent::Sealed { .. } => Seen::Sealed,
        PieceEvent::Opened { generation, .. } if *generation > 0 => Seen::LaterGeneration,
        PieceEvent::Lost { missing: Missing::Object(_) } => Seen::LostObject,
        PieceEvent::Lost { missing: Missing::Multipart { .. } } => Seen::LostMultipart,
        PieceEvent::Lost { missing: Missing::Part { .. } } => Seen::LostPart,
        PieceEvent::Published { .. } if truth.upload().length().is_none() => Seen::PublishedAtOnce,
        PieceEvent::Published { .. } if current.is_none() => Seen::PublishedAtOnce,
        _ => return None,
    })
}
