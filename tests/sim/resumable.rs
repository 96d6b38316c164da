//! What was said of uploads that can be resumed: an offset never falls.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub struct Resumable(BTreeMap<String, Said>);

#[derive(Debug, Default)]
struct Said {
    /// The highest offset that was heard.
    offset: u64,
    /// Connections that send all that is left.
    finishing: u32,
    /// How many of those there have been.
    finishes: u32,
    /// All of it may have been sent: then it may be stored, and the next request begins again.
    may_be_complete: bool,
    /// How often it has been known to be incomplete after that.
    era: u32,
}

/// What a reply must not be below.
#[derive(Clone, Copy, Debug)]
pub struct Floor {
    offset: u64,
    /// How many connections had been to complete the upload by then; `None` while one was.
    finishes: Option<u32>,
    /// When the request was made; `None` while the upload may have been complete.
    era: Option<u32>,
}

impl Resumable {
    fn said(&mut self, token: &str) -> &mut Said {
        self.0.entry(token.to_owned()).or_default()
    }

    /// A request is made.
    pub fn begin(&mut self, token: &str) -> Floor {
        let said = self.said(token);
        Floor {
            offset: said.offset,
            finishes: (said.finishing == 0).then_some(said.finishes),
            era: (!said.may_be_complete).then_some(said.era),
        }
    }

    /// An offset was said to a request. If the upload may have been complete since that was made, and another has begun
    /// with the same token, the reply may be about either.
    pub fn heard(&mut self, token: &str, offset: u64, floor: Floor) -> Result<(), String> {
        let said = self.said(token);
        if said.may_be_complete {
            said.offset = offset;
        } else if floor.era == Some(said.era) {
            if offset < floor.offset {
                return Err(format!("{token}: offset {offset} was said, and {} before", floor.offset));
            }
            said.offset = said.offset.max(offset);
        }
        Ok(())
    }

    /// A client may continue from an offset below `len`, so the upload was not complete then. (What is merely asked
    /// about may be on its way to its final name.) The reply may be read long after it was sent: where another client
    /// has begun to complete the upload since the request, or has done so, the reply says nothing of that.
    pub fn resumes(&mut self, token: &str, offset: u64, len: u64, floor: Floor) {
        let said = self.said(token);
        if (1..len).contains(&offset) && offset >= floor.offset && floor.finishes == Some(said.finishes) {
            said.era += u32::from(said.may_be_complete);
            said.may_be_complete = false;
        }
    }

    /// A client continues to the end.
    pub fn finishes(&mut self, token: &str) {
        let said = self.said(token);
        said.finishing += 1;
        said.finishes += 1;
        said.may_be_complete = true;
    }

    /// Its connection is over.
    pub fn finished(&mut self, token: &str) {
        self.said(token).finishing -= 1;
    }

    /// The power went, and nothing had been promised.
    pub fn forget(&mut self) {
        for said in self.0.values_mut() {
            said.offset = 0;
        }
    }
}
