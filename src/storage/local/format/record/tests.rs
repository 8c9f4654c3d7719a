//! What is written is read, and damage is seen.

use super::*;
use crate::core::time::Timestamp;
use proptest::prelude::*;

fn ticket(created: Stamp) -> Ticket {
    Ticket {
        secret: "s".into(),
        removal: Removal::Keep,
        max_bytes: Some(5),
        digest: DigestRequest::Sha256,
        metadata: "{}".into(),
        idle_timeout: Some(Duration::from_secs(3)),
        ..Ticket::new(TicketId::from_random([9; 16]), created, "https://backend/x?y=ü".into())
    }
}

/// One of each kind, with times as they are written now, and as versions did that knew dates alone.
pub(crate) fn all() -> Vec<Record> {
    let mut records = timed(Stamp { date: Timestamp(77), uptime: Uptime::first_of(5) });
    records.extend(timed(Stamp { date: Timestamp(78), uptime: Uptime::NONE }));
    records.push(Record::Run(RunIdentity { boot: [3; 16], mount: 12 }));
    records.push(Record::Synced { before: 99 });
    records.push(Record::Faulted);
    records.push(Record::Counted { from: Uptime(9) });
    records
}

fn timed(at: Stamp) -> Vec<Record> {
    [
        Event::Created(Box::new(ticket(at))),
        Event::Created(Box::new(Ticket {
            file: TicketFile {
                name: Some("ä.txt".into()),
                media_type: None,
                client_metadata: Some("filename dw==".into()),
            },
            ..ticket(at)
        })),
        Event::Created(Box::new(Ticket {
            signing: SigningSecrets::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
            ..ticket(at)
        })),
        Event::Created(Box::new(Ticket { format: CallFormat::Json, ..ticket(at) })),
        Event::Created(Box::new(Ticket {
            signing: SigningSecrets::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(),
            format: CallFormat::Json,
            ..ticket(at)
        })),
        Event::Bound {
            at,
            length: None,
            name: None,
            media_type: Some("text/plain".into()),
            last_modified: None,
            client_metadata: Some("filename dw==".into()),
        },
        Event::Bound {
            at,
            length: Some(9),
            name: Some("ä".into()),
            media_type: None,
            last_modified: Some(4),
            client_metadata: None,
        },
        Event::SentBy(Arc::new(Client { dialect: Dialect::Tus, agent: Some("Uppy/4".into()) })),
        Event::SentBy(Arc::default()),
        Event::Stored { at, extent: Extent::new(3, 9).unwrap(), durability: Durability::Durable },
        Event::Stored { at, extent: Extent::new(3, 9).unwrap(), durability: Durability::Written },
        Event::Published { at },
        Event::Digested { sha256: [7; 32] },
        Event::CallBegun { at },
        Event::CallEnded { at, outcome: CallOutcome::Wait },
        Event::CallEnded { at, outcome: CallOutcome::Retry("status 500".into()) },
        Event::Finished { at },
        Event::Failed { at, reason: "r".into() },
        Event::RetryAsked { at },
        Event::Cancelled { at, reason: String::new(), notice: Notice::Due },
        Event::Cancelled { at, reason: "x".into(), notice: Notice::NotDue },
        Event::NoticeEnded { at },
        Event::Partial { at },
        Event::Final { at, parts: [TicketId::from_random([8; 16]); 2].into(), length: 12 },
        Event::Taken { at, into: TicketId::from_random([7; 16]) },
        Event::Joined { at, into: TicketId::from_random([7; 16]) },
    ]
    .map(Record::Event)
    .into()
}

#[test]
fn what_is_written_is_read() {
    let mut bytes = Vec::new();
    for record in all() {
        encode(&record, &mut bytes);
    }
    let mut rest = bytes.as_slice();
    for record in all() {
        let (read, size) = decode(rest).unwrap();
        assert_eq!(read, record);
        rest = &rest[size..];
    }
    assert!(rest.is_empty() && decode(rest) == Err(Undecoded::Torn));
}

#[test]
fn no_record_survives_damage() {
    for record in all() {
        let mut bytes = Vec::new();
        encode(&record, &mut bytes);
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), Err(Undecoded::Torn), "{record:?} cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x20;
            assert_ne!(
                decode(&damaged).map(|(read, _)| read),
                Ok(record.clone()),
                "{record:?} at {at}"
            );
        }
    }
}

/// What a later version adds is told from a torn tail: a new kind, and a field behind those of a known one.
#[test]
fn a_record_of_another_version_is_known_as_one() {
    let framed = |body: &[u8]| {
        let mut bytes = u32::try_from(body.len()).unwrap().to_le_bytes().to_vec();
        bytes.extend(crc32c::crc32c(body).to_le_bytes());
        bytes.extend(body);
        bytes
    };
    let unknown = |kind, size| Err(Undecoded::Unknown { kind, size });
    assert_eq!(decode(&framed(&[99, 1, 2])), unknown(99, 11));
    assert_eq!(decode(&framed(&[kind::FAULTED, 1])), unknown(kind::FAULTED, 10));
    assert_eq!(decode(&framed(&[kind::SYNCED, 1])), unknown(kind::SYNCED, 10));
    assert_eq!(decode(&framed(&[0])), unknown(0, 9));
    let cut = framed(&[99, 1, 2]);
    assert_eq!(decode(&cut[..10]), Err(Undecoded::Torn));
    // Zeros have the checksum of nothing.
    assert_eq!(decode(&[0; 100]), Err(Undecoded::Torn));
}

proptest! {
    #[test]
    fn anything_can_be_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        // Also behind a checksum that fits.
        let mut framed = u32::try_from(bytes.len()).unwrap().to_le_bytes().to_vec();
        framed.extend(crc32c::crc32c(&bytes).to_le_bytes());
        framed.extend(&bytes);
        let _ = decode(&framed);
    }
}
