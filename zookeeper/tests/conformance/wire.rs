//! Records of the protocol for the raw client, encoded and decoded independently of the server's own code.

/// Bytes of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body(pub(crate) Vec<u8>);

impl Body {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn bool(mut self, value: bool) -> Self {
        self.0.push(u8::from(value));
        self
    }

    pub(crate) fn int(mut self, value: i32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn long(mut self, value: i64) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub(crate) fn bytes(mut self, value: &[u8]) -> Self {
        self = self.int(i32::try_from(value.len()).unwrap());
        self.0.extend(value);
        self
    }

    pub(crate) fn none(self) -> Self {
        self.int(-1)
    }

    pub(crate) fn string(self, value: &str) -> Self {
        self.bytes(value.as_bytes())
    }

    pub(crate) fn strings<S: AsRef<str>>(self, values: &[S]) -> Self {
        let body = self.int(i32::try_from(values.len()).unwrap());
        values.iter().fold(body, |body, value| body.string(value.as_ref()))
    }

    pub(crate) fn acl(self, acl: &[Acl]) -> Self {
        let body = self.int(i32::try_from(acl.len()).unwrap());
        acl.iter().fold(body, |body, (perms, scheme, id)| body.int(*perms).string(scheme).string(id))
    }

    pub(crate) fn with(mut self, more: Body) -> Self {
        self.0.extend(more.0);
        self
    }
}

/// Permissions, scheme, id.
pub(crate) type Acl = (i32, String, String);

pub(crate) fn acl(perms: i32, scheme: &str, id: &str) -> Acl {
    (perms, scheme.to_owned(), id.to_owned())
}

pub(crate) fn open() -> Vec<Acl> {
    vec![acl(31, "world", "anyone")]
}

/// Encodes a `create`.
pub(crate) fn create(path: &str, data: &[u8], acl: &[Acl], flags: i32) -> Body {
    Body::new().string(path).bytes(data).acl(acl).int(flags)
}

/// Encodes the header of an operation in a `multi`.
pub(crate) fn multi_header(operation: i32) -> Body {
    Body::new().int(operation).bool(false).int(-1)
}

/// Encodes the end of a `multi`.
pub(crate) fn multi_end() -> Body {
    Body::new().int(-1).bool(true).int(-1)
}

/// Bytes of a reply.
#[derive(Clone, Debug)]
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) czxid: i64,
    pub(crate) mzxid: i64,
    pub(crate) ctime: i64,
    pub(crate) mtime: i64,
    pub(crate) version: i32,
    pub(crate) cversion: i32,
    pub(crate) aversion: i32,
    pub(crate) ephemeral_owner: i64,
    pub(crate) data_length: i32,
    pub(crate) num_children: i32,
    pub(crate) pzxid: i64,
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (taken, rest) = self.0.split_first_chunk().expect("the reply goes on");
        self.0 = rest;
        *taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn bool(&mut self) -> bool {
        self.take::<1>() != [0]
    }

    pub(crate) fn int(&mut self) -> i32 {
        i32::from_be_bytes(self.take())
    }

    pub(crate) fn long(&mut self) -> i64 {
        i64::from_be_bytes(self.take())
    }

    pub(crate) fn bytes(&mut self) -> Option<Vec<u8>> {
        let length = usize::try_from(self.int()).ok()?;
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Some(taken.to_vec())
    }

    pub(crate) fn string(&mut self) -> String {
        String::from_utf8(self.bytes().unwrap()).unwrap()
    }

    pub(crate) fn vector<T>(&mut self, mut element: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.int()).map(|_| element(self)).collect()
    }

    /// Reads a vector of names and sorts it: the order of names is up to the server.
    pub(crate) fn names(&mut self) -> Vec<String> {
        let mut names = self.vector(Self::string);
        names.sort();
        names
    }

    pub(crate) fn acl(&mut self) -> Vec<Acl> {
        self.vector(|fields| (fields.int(), fields.string(), fields.string()))
    }

    pub(crate) fn stat(&mut self) -> Stat {
        Stat {
            czxid: self.long(),
            mzxid: self.long(),
            ctime: self.long(),
            mtime: self.long(),
            version: self.int(),
            cversion: self.int(),
            aversion: self.int(),
            ephemeral_owner: self.long(),
            data_length: self.int(),
            num_children: self.int(),
            pzxid: self.long(),
        }
    }
}
