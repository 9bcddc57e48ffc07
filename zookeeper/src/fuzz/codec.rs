//! Fuzz target that decodes one frame as every message that a client may send.

use bytes::{Bytes, BytesMut};

use crate::acl::RequestedAcl;
use crate::protocol::{ConnectRequest, Paths, Read, Request, Write, decode};

/// Decodes bytes as a first frame and as a request. A successfully decoded message is encoded and decoded again, which
/// must give an equal message, and must not use more memory than is plausible for its bytes.
pub fn codec(bytes: &[u8]) {
    let frame = Bytes::copy_from_slice(bytes);
    if let Ok(request) = ConnectRequest::decode(frame.clone()) {
        let mut out = BytesMut::new();
        request.encode(&mut out);
        assert_eq!(ConnectRequest::decode(out.freeze()).as_ref(), Ok(&request));
    }
    if let Ok((xid, Ok(request))) = decode(frame) {
        let weight = weight(&request);
        assert!(weight <= 32 * bytes.len() + 256, "{weight} bytes of memory for {} bytes", bytes.len());
        let mut out = BytesMut::new();
        request.encode(xid, &mut out);
        assert_eq!(decode(out.freeze()), Ok((xid, Ok(request))));
    }
}

/// Returns the bytes of memory that a request uses beyond the frame, which its buffers are slices of.
fn weight(request: &Request) -> usize {
    match request {
        Request::Write(write) => of_write(write),
        Request::Multi(writes) => of_vector(writes) + writes.iter().map(of_write).sum::<usize>(),
        Request::MultiRead(reads) => {
            let of_read = |(Read::Data { path } | Read::Children { path }): &Read| path.capacity();
            of_vector(reads) + reads.iter().map(of_read).sum::<usize>()
        }
        Request::SetWatches(watches) => {
            let all =
                [&watches.data, &watches.exist, &watches.child, &watches.persistent, &watches.recursive];
            all.into_iter().map(of_paths).sum()
        }
        Request::Exists { path, .. }
        | Request::GetData { path, .. }
        | Request::GetChildren { path, .. }
        | Request::GetAcl { path }
        | Request::CheckWatches { path, .. }
        | Request::RemoveWatches { path, .. }
        | Request::Auth { scheme: path, .. }
        | Request::GetEphemerals { prefix: path }
        | Request::GetAllChildrenNumber { path }
        | Request::AddWatch { path, .. } => path.capacity(),
        Request::Sync { path } => path.as_ref().map_or(0, String::capacity),
        Request::Ping
        | Request::Sasl { .. }
        | Request::Reconfig
        | Request::WhoAmI
        | Request::CloseSession => 0,
    }
}

fn of_write(write: &Write) -> usize {
    let of_part = |part: &Option<Box<str>>| part.as_ref().map_or(0, |part| part.len());
    let of_acl = |acl: &Vec<RequestedAcl>| {
        of_vector(acl) + acl.iter().map(|acl| of_part(&acl.scheme) + of_part(&acl.id)).sum::<usize>()
    };
    match write {
        Write::Create(create) => create.path.as_ref().map_or(0, String::capacity) + of_acl(&create.acl),
        Write::SetAcl { path, acl, .. } => path.capacity() + of_acl(acl),
        Write::Delete { path, .. } | Write::SetData { path, .. } | Write::Check { path, .. } => {
            path.capacity()
        }
    }
}

fn of_paths(paths: &Paths) -> usize {
    let of_path = |path: &Option<String>| path.as_ref().map_or(0, String::capacity);
    paths.as_ref().map_or(0, |paths| of_vector(paths) + paths.iter().map(of_path).sum::<usize>())
}

fn of_vector<T>(elements: &Vec<T>) -> usize {
    elements.capacity() * size_of::<T>()
}
