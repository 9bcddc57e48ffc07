//! Arguments of scripts in MessagePack, which Redis unpacks without a call for each value.

/// Values in MessagePack.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Packed(pub(super) Vec<u8>);

impl Packed {
    /// Adds a text.
    pub(super) fn text(&mut self, text: impl AsRef<[u8]>) {
        let text = text.as_ref();
        let length = text.len();
        match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short), _) if short < 32 => self.0.push(0xa0 | short),
            (Ok(short), _) => self.0.extend([0xd9, short]),
            (_, Ok(length)) => {
                self.0.push(0xda);
                self.0.extend(length.to_be_bytes());
            }
            _ => {
                self.0.push(0xdb);
                self.length(length);
            }
        }
        self.0.extend(text);
    }

    /// Adds a number of something, or an index.
    pub(super) fn number(&mut self, number: usize) {
        match u8::try_from(number) {
            Ok(small) if small < 128 => self.0.push(small),
            _ => {
                self.0.push(0xce);
                self.length(number);
            }
        }
    }

    /// Begins a list of this length, whose elements must follow.
    pub(super) fn list(&mut self, length: usize) {
        self.0.push(0xdd);
        self.length(length);
    }

    fn length(&mut self, length: usize) {
        self.0.extend(u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of <https://github.com/msgpack/msgpack/blob/master/spec.md>.
    #[test]
    fn values_are_in_messagepack() {
        let packed = |pack: &dyn Fn(&mut Packed)| {
            let mut values = Packed::default();
            pack(&mut values);
            values.0
        };
        assert_eq!(packed(&|values| values.text("ab")), b"\xa2ab");
        for (length, head) in [
            (31, &b"\xbf"[..]),
            (32, b"\xd9\x20"),
            (255, b"\xd9\xff"),
            (256, b"\xda\x01\x00"),
            (65_535, b"\xda\xff\xff"),
            (65_536, b"\xdb\x00\x01\x00\x00"),
        ] {
            let text = vec![b'x'; length];
            assert_eq!(packed(&|values| values.text(&text)), [head, &text[..]].concat());
        }
        assert_eq!(packed(&|values| values.number(127)), b"\x7f");
        assert_eq!(packed(&|values| values.number(128)), b"\xce\x00\x00\x00\x80");
        assert_eq!(packed(&|values| values.list(3)), b"\xdd\x00\x00\x00\x03");
    }
}
