//! Deliberate faults: what a server may do wrong. The simulation has to find each of them.

/// One fault of all servers of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mutation {
    /// Bytes are acknowledged when the append that counts them is sent.
    AckBeforeAppend,
    /// An append without an answer is taken for one that did not happen.
    UnsureAppendIsNo,
    /// An append without an answer is taken for one that happened.
    UnsureAppendIsYes,
    /// An append goes to the end of the log, whatever was seen.
    BlindAppend,
    /// Fragments are removed when the cell they fill is composed, as one known server does.
    DeleteBeforeCount,
    /// Fragments are removed when the list of parts is recorded, before the object is there.
    CleanBeforePublished,
    /// The author of a fragment removes it when another append was first, and counts it all the same.
    DeleteWhenBehind,
    /// A part is named by a record before the store has answered.
    StoredWithoutAnswer,
    /// A direct part without an answer is sent again under its number.
    PartSentAgain,
    /// A copy of a cell without an answer is sent again under its number.
    CopySentAgain,
    /// Leave to send direct parts is not recorded.
    ClaimNotRecorded,
    /// The list of parts is what the store lists, not what the log says.
    CompleteFromListing,
    /// Parts that no record names are not looked for.
    OrphansIgnored,
    /// The list is recorded without the parts that no record names.
    OrphansNotRecorded,
    /// `Complete` without an answer is taken for done.
    UnsureCompleteIsDone,
    /// A multipart upload that is gone is taken for completed.
    GoneIsDone,
    /// What is missing at the first look is taken for lost.
    FirstLookIsProof,
    /// Names of objects are counted, by each server.
    NamesRepeat,
    /// All generations of an upload become the same object.
    OneKeyForAll,
    /// Answers come from memory, without reading on in the log.
    StaleReads,
    /// A log that was set back is not noticed: appends are told by their numbers alone.
    SeqAlone,
    /// Calls begin without a record.
    CallNotRecorded,
    /// Calls begin however long ago they were recorded.
    LateCall,
    /// Calls are made without the hold.
    CallWithoutHold,
    /// An object is removed at the end of its retention without a record of that.
    ReleaseNotRecorded,
}

pub(crate) const ALL: [Mutation; 25] = [
    Mutation::AckBeforeAppend,
    Mutation::UnsureAppendIsNo,
    Mutation::UnsureAppendIsYes,
    Mutation::BlindAppend,
    Mutation::DeleteBeforeCount,
    Mutation::CleanBeforePublished,
    Mutation::DeleteWhenBehind,
    Mutation::StoredWithoutAnswer,
    Mutation::PartSentAgain,
    Mutation::CopySentAgain,
    Mutation::ClaimNotRecorded,
    Mutation::CompleteFromListing,
    Mutation::OrphansIgnored,
    Mutation::OrphansNotRecorded,
    Mutation::UnsureCompleteIsDone,
    Mutation::GoneIsDone,
    Mutation::FirstLookIsProof,
    Mutation::NamesRepeat,
    Mutation::OneKeyForAll,
    Mutation::StaleReads,
    Mutation::SeqAlone,
    Mutation::CallNotRecorded,
    Mutation::LateCall,
    Mutation::CallWithoutHold,
    Mutation::ReleaseNotRecorded,
];
