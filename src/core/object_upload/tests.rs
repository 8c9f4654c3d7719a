//! The rules of an upload in object storage, as tables.

use super::*;
use crate::core::event::{DigestRequest, Removal, TicketFile};
use crate::core::id::TicketId;
use crate::core::time::Timestamp;
