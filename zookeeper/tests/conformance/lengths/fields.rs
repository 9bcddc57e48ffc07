//! Requests as lists of fields, of which one can be encoded with a wrong length.

use crate::wire::Body;

/// One field of a request.
#[derive(Clone, Debug)]
pub(crate) enum Field {
    Bool(bool),
    Int(i32),
    Long(i64),
    Text(String),
    Buffer(Vec<u8>),
    List(Vec<Vec<Field>>),
}

/// Replacement for the length of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    /// -1 and no content: Jute's encoding of null.
    Null,
    /// This number and no content.
    Without(i32),
    /// `i32::MAX`, followed by the content.
    Huge,
    /// One more than the rest of the frame.
    BeyondFrame,
    /// The frame ends inside the length.
    Cut,
    /// The length is right, the content is not UTF-8.
    NotUtf8,
}

impl Length {
    pub(crate) const ALL: [Self; 9] = [
        Self::Null,
        Self::Without(-2),
        Self::Without(i32::MIN),
        Self::Without(0),
        Self::Without(i32::MAX),
        Self::Huge,
        Self::BeyondFrame,
        Self::Cut,
        Self::NotUtf8,
    ];
}

/// Counts the fields that have a length, at any depth.
pub(crate) fn count(fields: &[Field]) -> usize {
    let of_field = |field: &Field| match field {
        Field::Bool(_) | Field::Int(_) | Field::Long(_) => 0,
        Field::Text(_) | Field::Buffer(_) => 1,
        Field::List(elements) => 1 + elements.iter().map(|fields| count(fields)).sum::<usize>(),
    };
    fields.iter().map(of_field).sum()
}

/// Encodes a request; `changed` is the number of a field with a length, and the replacement of that length.
pub(crate) fn encode(fields: &[Field], changed: Option<(usize, Length)>) -> Body {
    let mut encoder = Encoder { out: Body::new(), next: 0, changed, length_at: None };
    encoder.fields(fields);
    encoder.finish()
}

struct Encoder {
    out: Body,
    /// Number of the next field with a length.
    next: usize,
    changed: Option<(usize, Length)>,
    /// Position of the changed length.
    length_at: Option<usize>,
}

impl Encoder {
    fn fields(&mut self, fields: &[Field]) {
        for field in fields {
            match field {
                Field::Bool(value) => self.out.0.push(u8::from(*value)),
                Field::Int(value) => self.int(*value),
                Field::Long(value) => self.out.0.extend(value.to_be_bytes()),
                Field::Text(text) => {
                    let change = self.change();
                    let bytes: &[u8] =
                        if change == Some(Length::NotUtf8) { b"/\xff\xe4" } else { text.as_bytes() };
                    self.part(change, bytes.len(), |encoder| encoder.out.0.extend(bytes));
                }
                Field::Buffer(bytes) => {
                    let change = self.change();
                    self.part(change, bytes.len(), |encoder| encoder.out.0.extend(bytes));
                }
                Field::List(elements) => {
                    let change = self.change();
                    self.part(change, elements.len(), |encoder| {
                        elements.iter().for_each(|fields| encoder.fields(fields));
                    });
                }
            }
        }
    }

    /// Returns the replacement of the length that is encoded next.
    fn change(&mut self) -> Option<Length> {
        let number = self.next;
        self.next += 1;
        self.changed.filter(|(changed, _)| *changed == number).map(|(_, length)| length)
    }

    fn part(&mut self, change: Option<Length>, length: usize, content: impl FnOnce(&mut Self)) {
        if change.is_some() {
            self.length_at = Some(self.out.0.len());
        }
        let length = i32::try_from(length).unwrap();
        match change {
            Some(Length::Null) => self.int(-1),
            Some(Length::Without(other)) => self.int(other),
            _ => {
                self.int(length);
                content(self);
            }
        }
    }

    fn int(&mut self, value: i32) {
        self.out.0.extend(value.to_be_bytes());
    }

    fn finish(mut self) -> Body {
        let (Some((_, length)), Some(at)) = (self.changed, self.length_at) else { return self.out };
        let rest = i32::try_from(self.out.0.len() - at - 4).unwrap();
        match length {
            Length::Huge => self.out.0[at..at + 4].copy_from_slice(&i32::MAX.to_be_bytes()),
            Length::BeyondFrame => self.out.0[at..at + 4].copy_from_slice(&(rest + 1).to_be_bytes()),
            Length::Cut => self.out.0.truncate(at + 2),
            _ => {}
        }
        self.out
    }
}
