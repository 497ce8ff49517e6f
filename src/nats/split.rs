//! Cuts a detailed `/jsz` answer into the objects that it is made of, while it arrives.
//!
//! Such an answer may have hundreds of megabytes, nearly all of them in three lists within each other:
//! accounts, their streams, and the consumers of those. The entries of these lists are handed
//! out one by one, each with its own list of entries emptied, so that nobody has to hold more than one of
//! them. What is in an entry is none of this module's business: it counts brackets and leaves
//! the rest to the decoder, which is given every byte that is not white space between entries.

use super::failure::{Failure, Reason};

/// A piece of an answer. Consumers come before the stream that they are of, streams before
/// their account, and accounts before the rest of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// An entry of `consumer_detail`.
    Consumer,
    /// An entry of `stream_detail`, with `consumer_detail` emptied.
    Stream,
    /// An entry of `account_details`, with `stream_detail` emptied.
    Account,
    /// The answer, with `account_details` emptied.
    Answer,
}

impl Piece {
    /// From the whole to the smallest part.
    const LEVELS: [Self; 4] = [Self::Answer, Self::Account, Self::Stream, Self::Consumer];

    /// The list whose entries are pieces of their own.
    const fn list(self) -> Option<&'static [u8]> {
        match self {
            Self::Answer => Some(b"account_details"),
            Self::Account => Some(b"stream_detail"),
            Self::Stream => Some(b"consumer_detail"),
            Self::Consumer => None,
        }
    }
}

/// Where in the text the splitter is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Before the answer.
    Before,
    /// In a piece, outside of strings.
    Inside,
    /// In a string.
    Text,
    /// In a string, behind a backslash.
    Escape,
    /// In a list, where an entry may start or the list may end.
    Entry,
    /// In a list behind a comma, where an entry has to start.
    NextEntry,
    /// In a list behind an entry.
    AfterEntry,
    /// Behind the answer.
    After,
}

/// Takes an answer in chunks and hands out its pieces.
#[derive(Debug)]
pub struct Splitter {
    place: Place,
    /// Which piece the text belongs to now, as an index of [`Piece::LEVELS`].
    level: usize,
    /// Brackets that are open in this piece. At one, strings may be names of its fields.
    depth: usize,
    /// What came of each unfinished piece before the current chunk.
    texts: [Vec<u8>; 4],
    /// The newest string directly in a piece that may have a list of entries.
    name: Vec<u8>,
}

impl Default for Splitter {
    fn default() -> Self {
        Self {
            place: Place::Before,
            level: 0,
            depth: 0,
            texts: Default::default(),
            name: Vec::new(),
        }
    }
}

/// Bytes of a field's name that are looked at; longer names are not those of lists.
const LONGEST_NAME: usize = 32;

impl Splitter {
    /// Takes the next part of the answer and gives `take` the pieces that end in it.
    ///
    /// # Errors
    /// [`Reason::Decode`] when the text is not such an answer.
    pub fn push(
        &mut self,
        chunk: &[u8],
        mut take: impl FnMut(Piece, &[u8]),
    ) -> Result<(), Failure> {
        // Where the text of the current piece starts in this chunk.
        let mut start = 0;
        let mut at = 0;
        while at < chunk.len() {
            match self.place {
                Place::Inside => {
                    let Some(found) =
                        chunk[at..].iter().position(|byte| STRUCTURE[usize::from(*byte)])
                    else {
                        break;
                    };
                    at += found;
                    match chunk[at] {
                        b'"' => {
                            self.place = Place::Text;
                            self.name.clear();
                        }
                        b'[' if self.opens_list() => {
                            let text = &mut self.texts[self.level];
                            text.extend_from_slice(&chunk[start..=at]);
                            self.place = Place::Entry;
                        }
                        b'{' | b'[' => self.depth += 1,
                        _ => {
                            self.depth -= 1;
                            if self.depth == 0 {
                                self.end_piece(&chunk[start..=at], &mut take);
                            }
                        }
                    }
                    at += 1;
                }
                Place::Text => {
                    let rest = &chunk[at..];
                    let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
                    let length = end.unwrap_or(rest.len());
                    if self.depth == 1 && self.level < 3 && self.name.len() <= LONGEST_NAME {
                        let room = LONGEST_NAME + 1 - self.name.len();
                        self.name.extend_from_slice(&rest[..length.min(room)]);
                    }
                    at += length;
                    if let Some(end) = rest.get(length) {
                        self.place = if *end == b'"' { Place::Inside } else { Place::Escape };
                        at += 1;
                    }
                }
                Place::Escape => {
                    // Whatever it stands for, it is none of the names of lists.
                    self.name.push(b'\\');
                    self.place = Place::Text;
                    at += 1;
                }
                _ => {
                    self.between(chunk[at], &mut start, at)?;
                    at += 1;
                }
            }
        }
        if matches!(self.place, Place::Inside | Place::Text | Place::Escape) {
            self.texts[self.level].extend_from_slice(&chunk[start..]);
        }
        Ok(())
    }

    /// Says that the answer has no more parts.
    ///
    /// # Errors
    /// [`Reason::Truncated`] when it ends inside of something, [`Reason::Decode`] when it is empty.
    pub fn finish(self) -> Result<(), Failure> {
        match self.place {
            Place::After => Ok(()),
            Place::Before => Err(Failure::new(Reason::Decode, "an empty body")),
            _ => Err(Failure::new(Reason::Truncated, "the JSON text ends too early")),
        }
    }

    /// Whether the bracket that comes now opens the list of this piece's entries.
    fn opens_list(&self) -> bool {
        self.depth == 1 && Piece::LEVELS[self.level].list() == Some(&self.name)
    }

    /// Takes a byte outside of all pieces; a piece that it opens starts at `at` of the chunk.
    fn between(&mut self, byte: u8, start: &mut usize, at: usize) -> Result<(), Failure> {
        self.place = match (self.place, byte) {
            (place, b' ' | b'\n' | b'\r' | b'\t') => place,
            (Place::Before, b'{') => {
                *start = at;
                self.depth = 1;
                Place::Inside
            }
            (Place::Entry | Place::NextEntry, b'{') => {
                *start = at;
                self.level += 1;
                self.depth = 1;
                Place::Inside
            }
            (Place::AfterEntry, b',') => Place::NextEntry,
            (Place::Entry | Place::AfterEntry, b']') => {
                *start = at;
                self.name.clear();
                Place::Inside
            }
            (Place::Before, b'[') => return Err(unexpected("a list instead of an object")),
            (Place::Before, b'<') => return Err(unexpected("HTML instead of JSON")),
            _ => return Err(unexpected("unexpected content")),
        };
        Ok(())
    }

    /// Hands out the current piece, whose last part is `end`.
    fn end_piece(&mut self, end: &[u8], take: &mut impl FnMut(Piece, &[u8])) {
        let (piece, text) = (Piece::LEVELS[self.level], &mut self.texts[self.level]);
        // Nearly all pieces are within one chunk and need not be copied.
        if text.is_empty() {
            take(piece, end);
        } else {
            text.extend_from_slice(end);
            take(piece, text);
            text.clear();
        }
        if self.level == 0 {
            self.place = Place::After;
        } else {
            self.level -= 1;
            self.depth = 1;
            self.place = Place::AfterEntry;
        }
    }
}

fn unexpected(what: &str) -> Failure {
    Failure::new(Reason::Decode, what)
}

/// Whether a byte outside of strings opens or closes something. A table, because most of the time
/// is spent here.
const STRUCTURE: [bool; 256] = {
    let mut table = [false; 256];
    let bytes = b"\"{}[]";
    let mut at = 0;
    while at < bytes.len() {
        table[bytes[at] as usize] = true;
        at += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Pieces = Vec<(Piece, String)>;

    fn split(text: &str, size: usize) -> Result<Pieces, Failure> {
        let mut pieces = Pieces::new();
        let mut splitter = Splitter::default();
        for chunk in text.as_bytes().chunks(size) {
            splitter.push(chunk, |piece, text| {
                pieces.push((piece, String::from_utf8(text.to_vec()).unwrap()));
            })?;
        }
        splitter.finish().map(|()| pieces)
    }

    const ANSWER: &str = r#" {"server_id":"A","account_details": [
        {"name":"a]}\"","stream_detail":[
          {"name":"s","config":{"consumer_detail":[{"x":1}]},
           "consumer_detail":[{"name":"}{"} , {"name":"\\","deep":[[{}]]}],"sources":[{}]},
          {"name":"t","consumer_detail":[]} ],"id":"K"},
        {"name":"consumer_detail","stream_detail":null}],"total":2}
        "#;

    fn expected() -> Pieces {
        let own = |piece, text: &str| (piece, text.to_owned());
        vec![
            own(Piece::Consumer, r#"{"name":"}{"}"#),
            own(Piece::Consumer, r#"{"name":"\\","deep":[[{}]]}"#),
            own(
                Piece::Stream,
                r#"{"name":"s","config":{"consumer_detail":[{"x":1}]},
           "consumer_detail":[],"sources":[{}]}"#,
            ),
            own(Piece::Stream, r#"{"name":"t","consumer_detail":[]}"#),
            own(Piece::Account, r#"{"name":"a]}\"","stream_detail":[],"id":"K"}"#),
            own(Piece::Account, r#"{"name":"consumer_detail","stream_detail":null}"#),
            own(Piece::Answer, r#"{"server_id":"A","account_details": [],"total":2}"#),
        ]
    }

    #[test]
    fn pieces_are_the_same_however_the_text_arrives() {
        for size in 1..=ANSWER.len() {
            assert_eq!(split(ANSWER, size).unwrap(), expected(), "chunks of {size}");
        }
    }

    #[test]
    fn an_answer_that_ends_early_is_truncated_wherever_it_ends() {
        let text = ANSWER.trim();
        for end in 1..text.len() {
            let failure = split(&text[..end], 7).unwrap_err();
            assert_eq!(failure.reason, Reason::Truncated, "{}", &text[..end]);
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in [
            "",
            " ",
            "[1]",
            "<html>",
            "7",
            "{} {}",
            r#"{"account_details":[1]}"#,
            r#"{"account_details":[{} {}]}"#,
            r#"{"account_details":[{},]}"#,
            r#"{"account_details":[,{}]}"#,
            r#"{"account_details":[{},,{}]}"#,
        ] {
            assert_eq!(split(text, 3).unwrap_err().reason, Reason::Decode, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in "[\\[\\]{}\",:\\\\ a-c]{0,60}", size in 1_usize..9) {
            let _ = split(&text, size);
            let _ = split(&format!("{{\"account_details\":[{{\"stream_detail\":[{text}"), size);
        }
    }
}
