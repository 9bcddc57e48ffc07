//! Jute, the encoding of ZooKeeper's protocol: big-endian numbers, strings and buffers prefixed by their length,
//! vectors prefixed by their count. Used by [`protocol`](super::protocol).
//!
//! The reader trusts no input: every length is compared with the rest of the frame before any allocation, and for any
//! bytes the result is a value or [`Malformed`].

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Maximum length of a frame, in bytes: ZooKeeper's default `jute.maxbuffer`.
pub(crate) const MAX_FRAME: usize = 0xf_ffff;

/// Error: the bytes are not a record of the expected type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed record")]
pub(crate) struct Malformed;

/// Reader of one frame, from its beginning to its end.
#[derive(Debug)]
pub(crate) struct Reader {
    frame: Bytes,
}

impl Reader {
    /// Creates a reader of `frame`, which excludes its length.
    pub(crate) fn new(frame: Bytes) -> Self {
        Self { frame }
    }

    /// Returns the number of unread bytes.
    #[cfg(test)]
    pub(crate) fn remaining(&self) -> usize {
        self.frame.len()
    }

    /// Reads one byte; any value but 0 is true, as in Java.
    pub(crate) fn bool(&mut self) -> Result<bool, Malformed> {
        Ok(self.frame.try_get_u8().map_err(|_| Malformed)? != 0)
    }

    /// Reads an `int`.
    pub(crate) fn int(&mut self) -> Result<i32, Malformed> {
        self.frame.try_get_i32().map_err(|_| Malformed)
    }

    /// Reads a `long`.
    pub(crate) fn long(&mut self) -> Result<i64, Malformed> {
        self.frame.try_get_i64().map_err(|_| Malformed)
    }

    /// Reads a `buffer` and copies it: a slice of the frame would keep all data that was read with it in memory as long
    /// as a znode holds the slice. A length of -1 denotes null.
    pub(crate) fn buffer(&mut self) -> Result<Option<Bytes>, Malformed> {
        Ok(self.slice()?.map(|part| Bytes::copy_from_slice(&part)))
    }

    /// Reads a length, and that number of bytes of the frame.
    fn slice(&mut self) -> Result<Option<Bytes>, Malformed> {
        let length = self.int()?;
        if length == -1 {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| Malformed)?;
        if length > self.frame.len() {
            return Err(Malformed);
        }
        Ok(Some(self.frame.split_to(length)))
    }

    /// Reads a `ustring`, which may be null. Bytes that are not UTF-8 become replacement characters, as in Java.
    pub(crate) fn string(&mut self) -> Result<Option<String>, Malformed> {
        Ok(self.slice()?.map(|part| String::from_utf8_lossy(&part).into_owned()))
    }

    /// Returns true if the next value is null: the length -1.
    pub(crate) fn next_is_null(&self) -> bool {
        self.frame.starts_with(&(-1_i32).to_be_bytes())
    }

    /// Reads a `ustring` that must not be null.
    pub(crate) fn required_string(&mut self) -> Result<String, Malformed> {
        self.string()?.ok_or(Malformed)
    }

    /// Reads a vector whose elements take at least `min_size` bytes each, or null. A negative count other than that of
    /// null reads as an empty vector, as in Java.
    pub(crate) fn vector<T>(
        &mut self,
        min_size: usize,
        mut element: impl FnMut(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<Vec<T>>, Malformed> {
        let count = self.int()?;
        if count == -1 {
            return Ok(None);
        }
        let count = usize::try_from(count).unwrap_or(0);
        if count > self.frame.len() / min_size.max(1) {
            return Err(Malformed);
        }
        (0..count).map(|_| element(self)).collect::<Result<_, _>>().map(Some)
    }

    /// Reads a vector of strings. The vector and each string may be null.
    pub(crate) fn strings(&mut self) -> Result<Option<Vec<Option<String>>>, Malformed> {
        self.vector(4, Self::string)
    }
}

/// Writer of consecutive records.
pub(crate) trait Write: BufMut {
    /// Writes one byte, 0 or 1.
    fn bool(&mut self, value: bool) {
        self.put_u8(u8::from(value));
    }

    /// Writes an `int`.
    fn int(&mut self, value: i32) {
        self.put_i32(value);
    }

    /// Writes a `long`.
    fn long(&mut self, value: i64) {
        self.put_i64(value);
    }

    /// Writes a length or a count. All lengths here fit in an `int`.
    fn count(&mut self, length: usize) {
        self.put_i32(i32::try_from(length).unwrap_or(i32::MAX));
    }

    /// Writes a `buffer`, or the -1 that denotes null.
    fn buffer(&mut self, value: Option<&[u8]>) {
        match value {
            Some(bytes) => {
                self.count(bytes.len());
                self.put_slice(bytes);
            }
            None => self.put_i32(-1),
        }
    }

    /// Writes a `ustring`.
    fn string(&mut self, value: &str) {
        self.buffer(Some(value.as_bytes()));
    }

    /// Writes a `ustring` that may be null.
    fn optional_string(&mut self, value: Option<&str>) {
        self.buffer(value.map(str::as_bytes));
    }

    /// Writes a vector of strings.
    fn strings<'a>(&mut self, values: impl ExactSizeIterator<Item = &'a str>) {
        self.count(values.len());
        for value in values {
            self.string(value);
        }
    }
}

impl<B: BufMut> Write for B {}

/// Appends a frame: its length, then the output of `body`.
pub(crate) fn frame(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_i32(0);
    body(out);
    let length = i32::try_from(out.len() - start - 4).unwrap_or(i32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn written_records_are_read(
            flag: bool, int: i32, long: i64, text: String,
            data: Option<Vec<u8>>, names: Vec<String>,
        ) {
            let mut out = BytesMut::new();
            out.bool(flag);
            out.int(int);
            out.long(long);
            out.string(&text);
            Write::buffer(&mut out, data.as_deref());
            out.strings(names.iter().map(String::as_str));
            let mut reader = Reader::new(out.freeze());
            prop_assert_eq!(reader.bool(), Ok(flag));
            prop_assert_eq!(reader.int(), Ok(int));
            prop_assert_eq!(reader.long(), Ok(long));
            prop_assert_eq!(reader.string(), Ok(Some(text)));
            prop_assert_eq!(reader.buffer(), Ok(data.map(Bytes::from)));
            prop_assert_eq!(reader.strings(), Ok(Some(names.into_iter().map(Some).collect())));
            prop_assert_eq!(reader.remaining(), 0);
        }

        #[test]
        fn truncated_record_is_malformed(text: String, names in prop::collection::vec(".{0,9}", 1..5), cut: prop::sample::Index) {
            let mut out = BytesMut::new();
            out.string(&text);
            out.strings(names.iter().map(String::as_str));
            let whole = out.freeze();
            let mut reader = Reader::new(whole.slice(..cut.index(whole.len())));
            prop_assert!(reader.string().and_then(|_| reader.strings()).is_err());
        }
    }

    #[test]
    fn a_length_beyond_the_frame_is_refused_before_anything_is_allocated() {
        for length in [i32::MAX, i32::MIN, -2, 5] {
            let mut out = BytesMut::new();
            out.int(length);
            out.put_slice(b"four");
            assert_eq!(Reader::new(out.clone().freeze()).buffer(), Err(Malformed), "{length}");
            assert_eq!(Reader::new(out.clone().freeze()).string(), Err(Malformed), "{length}");
            let strings = if length < 0 { Ok(Some(Vec::new())) } else { Err(Malformed) };
            assert_eq!(Reader::new(out.freeze()).strings(), strings, "{length}");
        }
    }

    #[test]
    fn null_strings_and_vectors_are_not_empty_ones() {
        let reader = |length: i32| Reader::new(Bytes::copy_from_slice(&length.to_be_bytes()));
        assert_eq!((reader(-1).string(), reader(0).string()), (Ok(None), Ok(Some(String::new()))));
        assert_eq!((reader(-1).strings(), reader(0).strings()), (Ok(None), Ok(Some(Vec::new()))));
        assert_eq!(reader(-1).required_string(), Err(Malformed));
    }

    #[test]
    fn a_string_that_is_not_utf8_has_replacement_characters() {
        let mut out = BytesMut::new();
        Write::buffer(&mut out, Some(b"/a\xff\xe4"));
        assert_eq!(Reader::new(out.freeze()).string(), Ok(Some("/a\u{fffd}\u{fffd}".to_owned())));
    }

    #[test]
    fn frame_starts_with_its_length() {
        let mut out = BytesMut::from(&b"before"[..]);
        frame(&mut out, |out| out.put_slice(b"body"));
        assert_eq!(&out[..], b"before\0\0\0\x04body");
    }
}
