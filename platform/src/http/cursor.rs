//! Places in a stream of rows that is read forward: events and execution logs.
//!
//! Rows are ordered by the transaction that wrote them, then by their number. A reader takes only
//! what lies at or below the *newest settled* row: the last row whose transaction is older than every
//! transaction still open. Up to there nothing can be added any more, so nothing is ever skipped,
//! however long a writer holds its transaction open while others commit.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::error::Error;

/// A place in a stream: a row, by its transaction and its number. Clients see it as opaque text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The transaction that wrote the row.
    pub xid: u64,
    /// The number of the row.
    pub id: i64,
}

impl Cursor {
    /// Before the first row.
    pub const START: Self = Self { xid: 0, id: 0 };
    /// After the last row.
    pub const END: Self = Self {
        xid: u64::MAX,
        id: i64::MAX,
    };

    /// A row as a statement returns it, with the transaction as text.
    pub(crate) fn of_row(xid: &str, id: i64) -> Result<Self, Error> {
        let xid = xid.parse::<u64>().map_err(anyhow::Error::from)?;
        Ok(Self { xid, id })
    }

    /// The transaction as statements take it: `$n::text::xid8`.
    pub(crate) fn xid_text(self) -> String {
        self.xid.to_string()
    }

    /// The place right behind this row, for ranges that exclude their end.
    pub fn behind(self) -> Self {
        Self {
            xid: self.xid,
            id: self.id.saturating_add(1),
        }
    }

    /// Reads the text a client sent.
    ///
    /// # Errors
    /// 400 that names the parameter.
    pub fn parse(parameter: &str, text: &str) -> Result<Self, Error> {
        let refuse = || {
            Error::invalid(format!(
                "{parameter} is not a cursor; pass one on as the platform returned it, or leave it out"
            ))
        };
        let bytes: [u8; 16] = BASE64_URL_SAFE_NO_PAD
            .decode(text)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(refuse)?;
        let both = u128::from_be_bytes(bytes);
        let id = i64::try_from(both & u128::from(u64::MAX)).map_err(|_| refuse())?;
        let xid = u64::try_from(both >> 64).map_err(|_| refuse())?;
        Ok(Self { xid, id })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let both = (u128::from(self.xid) << 64) | u128::from(self.id.unsigned_abs());
        f.write_str(&BASE64_URL_SAFE_NO_PAD.encode(both.to_be_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_as_it_was_written() {
        for (xid, id) in [
            (0, 0),
            (1, 2),
            (u64::from(u32::MAX) + 7, i64::MAX),
            (u64::MAX, 5),
        ] {
            let cursor = Cursor { xid, id };
            assert_eq!(Cursor::parse("after", &cursor.to_string()).unwrap(), cursor);
        }
    }

    #[test]
    fn what_is_not_a_cursor_is_refused_by_the_name_of_its_parameter() {
        for text in ["", "1", "latest!", "AAAA", "//////////////////////"] {
            let refusal = Cursor::parse("after", text).unwrap_err();
            assert!(refusal.to_string().contains("after is not a cursor"));
        }
        // A number that no row can have.
        let negative = BASE64_URL_SAFE_NO_PAD.encode(u128::MAX.to_be_bytes());
        assert!(Cursor::parse("cursor", &negative).is_err());
    }

    #[test]
    fn the_transaction_decides_before_the_number() {
        let early = Cursor { xid: 5, id: 900 };
        let late = Cursor { xid: 6, id: 1 };
        assert!(early < late && early < early.behind() && early.behind() < late);
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_read_as_a_cursor_is_written_the_same(text in "[A-Za-z0-9_-]{22}|\\PC{0,40}") {
            if let Ok(cursor) = Cursor::parse("after", &text) {
                proptest::prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }
}
